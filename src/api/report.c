/* The bodies of complete and fail. */
#include "api/report.h"
#include "api/samples.h"
#include "base/auto.h"
#include "base/text.h"

static void read_usage(struct json_reader *r, bool newer, int exit_code_absent, struct arena *arena, struct usage *ret)
{
    ret->exit_code = (int)json_get_int(r, "exit_code", exit_code_absent, -1, 255);
    ret->cpu_us = json_get_duration(r, "cpu_s", 0, 0, INT64_MAX / 2);
    ret->peak_memory_bytes = json_get_int(r, "peak_memory_bytes", 0, 0, INT64_MAX);
    ret->bytes_in = json_get_int(r, "bytes_in", 0, 0, INT64_MAX);
    ret->bytes_out = json_get_int(r, "bytes_out", 0, 0, INT64_MAX);
    read_samples(r, newer, arena, &ret->samples, &ret->n_samples);
}

static const char *const phase_names[PART_COUNT] = {"download", "run", "verify", "checkpoint", "upload"};

static int phase_kind(const char *name)
{
    for (int i = 0; i < PART_COUNT; i++)
        if (strcmp(phase_names[i], name) == 0)
            return i;
    return -1;
}

static int read_phase(json_t *item, size_t i, bool newer, struct parts *ret, struct err *err)
{
    struct json_reader r;
    char where[32];
    snprintf(where, sizeof(where), "phases[%zu].", i);
    json_reader_init(&r, item, where, err);
    const char *name = json_get_string(&r, "name", true, 1, 32);
    const usec at_us = json_get_duration(&r, "at_s", 0, 0, API_DURATION_MAX_US);
    const usec took_us = json_get_duration(&r, "took_s", 0, 0, API_DURATION_MAX_US);
    int rc = worker_json_end(&r, newer);
    if (rc)
        return rc;
    int kind = phase_kind(name);
    if (kind < 0 && newer)
        return ERR_OK;
    if (kind < 0) {
        char field[ERR_FIELD_MAX];
        snprintf(field, sizeof(field), "%sname", where);
        return err_field(err, field, "must be download, run, verify, checkpoint or upload");
    }
    ret->items[ret->n++] = (struct part){(enum part_kind)kind, at_us, took_us};
    return ERR_OK;
}

static int read_phases(struct json_reader *r, bool newer, struct arena *arena, const struct parts **ret)
{
    json_t *array = json_get_value(r, "phases", false, JSON_ARRAY);
    size_t n = json_array_size(array);
    if (!array)
        return r->code;
    if (n > PARTS_MAX)
        return r->code = err_field(r->err, "phases", "must have at most %d items", PARTS_MAX);
    struct parts *phases = arena_alloc(arena, sizeof(*phases));
    if (!phases)
        return r->code = no_memory(r->err);
    for (size_t i = 0; i < n && !r->code; i++)
        r->code = read_phase(json_array_get(array, i), i, newer, phases, r->err);
    *ret = phases;
    return r->code;
}

const char *phase_name(enum part_kind kind)
{
    return phase_names[kind];
}

int complete_parse(json_t *root, bool newer, struct arena *arena, struct op_complete *ret, struct err *err)
{
    struct json_reader r;
    json_reader_init(&r, root, "", err);
    if (!r.code)
        read_strings(&r, "outputs", JOB_OUTPUTS_MAX, filename_valid, "a file name", arena, &ret->outputs,
                     &ret->n_outputs);
    read_usage(&r, newer, 0, arena, &ret->usage);
    if (r.code || read_phases(&r, newer, arena, &ret->phases))
        return r.code;
    return worker_json_end(&r, newer);
}

static int read_error_log(struct json_reader *r, struct arena *arena, const char **ret)
{
    /* A message for people: cut rather than refused, so that no report of a failure is lost for its length. */
    const char *text = json_get_string(r, "error_log", false, 0, 1024 * 1024);
    *ret = text ? arena_strndup(arena, text, utf8_cut(text, MIN(strlen(text), (size_t)JOB_ERROR_LOG_MAX))) : NULL;
    return text && !*ret ? (r->code = no_memory(r->err)) : r->code;
}

int fail_parse(json_t *root, bool newer, struct arena *arena, struct op_fail *ret, struct err *err)
{
    struct json_reader r;
    json_reader_init(&r, root, "", err);
    const char *outcome = json_get_string(&r, "outcome", true, 1, 32);
    if (outcome) {
        enum outcome o = OUTCOME_NONE;
        bool known = outcome_parse(outcome, &o);
        if (!known && newer) {
            o = OUTCOME_ERROR; /* some kind of failure: the error_log says which */
            known = true;
        }
        if (!known || o == OUTCOME_NONE || o == OUTCOME_SUCCESS || o == OUTCOME_LOST || o == OUTCOME_UNCONFIRMED ||
            o == OUTCOME_EXPIRED)
            return err_field(err, "outcome", "must be error, timeout, stalled, oom, signal, interrupted or cancelled");
        ret->failure.outcome = o;
    }
    ret->failure.permanent = json_get_bool(&r, "permanent", false);
    ret->failure.retry_after_us = json_get_duration(&r, "retry_after", 0, 0, API_DURATION_MAX_US);
    ret->usage.signal = (int)json_get_int(&r, "signal", 0, 0, 128);
    if (read_error_log(&r, arena, &ret->failure.error_log))
        return r.code;
    read_usage(&r, newer, -1, arena, &ret->usage);
    if (r.code || read_phases(&r, newer, arena, &ret->phases))
        return r.code;
    return worker_json_end(&r, newer);
}
