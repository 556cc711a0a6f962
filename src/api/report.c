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

int complete_parse(json_t *root, bool newer, struct arena *arena, struct op_complete *ret, struct err *err)
{
    struct json_reader r;
    json_reader_init(&r, root, "", err);
    if (!r.code)
        read_strings(&r, "outputs", JOB_OUTPUTS_MAX, filename_valid, "a file name", arena, &ret->outputs,
                     &ret->n_outputs);
    read_usage(&r, newer, 0, arena, &ret->usage);
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
    return worker_json_end(&r, newer);
}
