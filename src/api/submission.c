/* A submission as text -> op. Nearly all are read by submission_plain.c; this reads whatever it gives up, and words the errors. */
#include "api/submission.h"
#include "api/submission_plain.h"
#include "api/traced.h"
#include "base/sha256.h"
#include "base/text.h"

#define IDEMPOTENCY_WINDOW_US (INT64_C(24) * 3600 * USEC_PER_SEC)

int ref_parse(const char *ref, const char *field, struct uuid *ret, struct err *err)
{
    if (strncmp(ref, "blob:", 5) != 0)
        return err_field(err, field, "only blob: is accepted for now (\"blob:\" and the id of an upload)");
    if (!uuid_parse(ref + 5, ret))
        return err_field(err, field, "'%.64s' is not the id of a blob", ref + 5);
    return ERR_OK;
}

/* Refs are compared and looked up as text: one spelling only. */
const char *ref_canonical(const char *ref, const char *field, struct arena *arena, struct err *err)
{
    struct uuid id;
    char text[UUID_STR_MAX];
    if (ref_parse(ref, field, &id, err) != ERR_OK)
        return NULL;
    uuid_format(&id, text);
    const char *canonical = arena_printf(arena, "blob:%s", text);
    if (!canonical)
        no_memory(err);
    return canonical;
}

static int read_name(struct json_reader *r, const char *key, bool required, struct arena *arena, const char **ret)
{
    const char *s = json_get_string(r, key, required, 1, JOB_NAME_MAX);
    *ret = NULL;
    if (!s)
        return r->code;
    if (!name_valid(s, JOB_NAME_MAX))
        return r->code = err_field(r->err, key,
                                   "must be a name: letters, digits and . _ : -, beginning with a letter or digit");
    *ret = arena_strdup(arena, s);
    return *ret ? ERR_OK : (r->code = no_memory(r->err));
}

static int read_input(json_t *item, size_t i, const struct job_input *before, struct arena *arena,
                      struct job_input *ret, struct err *err)
{
    struct json_reader r;
    char where[48], field[ERR_FIELD_MAX];
    snprintf(where, sizeof(where), "inputs[%zu].", i);
    json_reader_init(&r, item, where, err);
    const char *name = json_get_string(&r, "name", true, 1, 255);
    const char *ref = json_get_string(&r, "ref", true, 1, 1024);
    int rc = json_reader_end(&r);
    if (rc)
        return rc;
    snprintf(field, sizeof(field), "inputs[%zu].name", i);
    if (!filename_valid(name))
        return err_field(err, field, "must be a file name of 1 to 255 bytes without '/'");
    for (size_t k = 0; k < i; k++)
        if (strcmp(before[k].name, name) == 0)
            return err_field(err, field, "'%.100s' is there twice", name);
    ret->name = arena_strdup(arena, name);
    if (!ret->name)
        return no_memory(err);
    snprintf(field, sizeof(field), "inputs[%zu].ref", i);
    ret->ref = ref_canonical(ref, field, arena, err);
    return ret->ref ? ERR_OK : (int)err->code;
}

static int read_inputs(struct json_reader *r, struct arena *arena, struct job *job)
{
    json_t *array = json_get_value(r, "inputs", false, JSON_ARRAY);
    size_t n = json_array_size(array);
    if (r->code)
        return r->code;
    if (n > JOB_INPUTS_MAX)
        return r->code = err_field(r->err, "inputs", "must have at most %d items", JOB_INPUTS_MAX);
    struct job_input *inputs = arena_array(arena, n + 1, sizeof(*inputs)); /* + payload_ref */
    if (!inputs)
        return r->code = no_memory(r->err);
    for (size_t i = 0; i < n; i++) {
        int rc = read_input(json_array_get(array, i), i, inputs, arena, &inputs[i], r->err);
        if (rc)
            return r->code = rc;
    }
    if (job->payload_ref) {
        bool known = false, taken = false;
        for (size_t i = 0; i < n; i++) {
            known = known || strcmp(inputs[i].ref, job->payload_ref) == 0;
            taken = taken || strcmp(inputs[i].name, "payload") == 0;
        }
        if (!known && taken)
            return r->code =
                       err_field(r->err, "payload_ref", "would become the input 'payload', which is there already");
        if (!known && n == JOB_INPUTS_MAX)
            return r->code =
                       err_field(r->err, "inputs", "must have at most %d items, payload_ref included", JOB_INPUTS_MAX);
        if (!known)
            inputs[n++] = (struct job_input){.name = "payload", .ref = job->payload_ref};
    }
    job->inputs = inputs;
    job->n_inputs = n;
    return ERR_OK;
}

/* @param text  NULL: none was sent */
static int read_payload(const char *text, size_t len, struct arena *arena, struct job *job, struct err *err)
{
    if (!text) {
        text = "{}";
        len = 2;
    }
    if (len > JOB_PAYLOAD_MAX) {
        err_set(err, ERR_TOO_LARGE, 0,
                "the payload has %zu bytes, at most %d are allowed; upload it and use payload_ref", len,
                JOB_PAYLOAD_MAX);
        snprintf(err->field, sizeof(err->field), "payload");
        return ERR_TOO_LARGE;
    }
    job->payload = arena_strndup(arena, text, len);
    return job->payload ? ERR_OK : no_memory(err);
}

static int check_header_key(const char *header, const char *key, struct err *err)
{
    size_t n = strlen(header);
    if (n < 1 || n > JOB_KEY_MAX || !utf8_valid(header, n))
        return err_field(err, "Idempotency-Key", "must be text of 1 to %d bytes", JOB_KEY_MAX);
    if (key && strcmp(key, header) != 0)
        return err_field(err, "Idempotency-Key", "is not the same as dedup_key");
    return ERR_OK;
}

int submission_key(const struct origin *from, const char *key, const struct policy *policy, struct arena *arena,
                   struct op_submit *op, struct err *err)
{
    op->dedup_us = policy->dedup_us;
    if (from->source != SOURCE_MESSAGE && from->key && !(from->source == SOURCE_BATCH && key)) {
        if (check_header_key(from->key, key, err) != ERR_OK)
            return (int)err->code;
        if (!key)
            op->dedup_us = IDEMPOTENCY_WINDOW_US;
        key = from->key;
    }
    op->job.dedup_key = arena_strdup(arena, key);
    return key && !op->job.dedup_key ? no_memory(err) : ERR_OK;
}

/* The producer's id of it, else the broker's. A job keeps no member `job_id` of its producer's: ids are ours. */
static const char *message_key(struct json_reader *r, const char *message_id, const char *key, struct arena *arena)
{
    struct uuid id;
    char text[UUID_STR_MAX];
    const char *job_id = json_get_string(r, "job_id", false, 1, 64);
    json_get_int(r, "retries", 0, 0, INT32_MAX);
    if (r->code)
        return NULL;
    if (job_id && !uuid_parse(job_id, &id)) {
        r->code = err_field(r->err, "job_id", "must be a UUID");
        return NULL;
    }
    if (key)
        return key;
    if (job_id)
        uuid_format(&id, text);
    const char *ret = job_id ? arena_strdup(arena, text) : arena_printf(arena, "message/%s", message_id);
    if (!ret)
        r->code = no_memory(r->err);
    return ret;
}

static int read_key(struct json_reader *r, const struct origin *from, const struct policy *policy, struct arena *arena,
                    struct op_submit *op)
{
    const char *key = json_get_string(r, "dedup_key", false, 1, JOB_KEY_MAX);
    if (!r->code && from->source == SOURCE_MESSAGE)
        key = message_key(r, from->key, key, arena);
    return r->code ? r->code : (r->code = submission_key(from, key, policy, arena, op, r->err));
}

static void read_times(struct json_reader *r, struct op_submit *op)
{
    op->delay_us = json_get_duration(r, "delay", -1, 0, API_DURATION_MAX_US);
    op->job.run_at = json_get_time(r, "run_at", 0);
    op->start_within_us = json_get_duration(r, "start_within", 0, USEC_PER_MSEC, API_DURATION_MAX_US);
    op->job.timeout_us = json_get_duration(r, "timeout", 0, 0, API_DURATION_MAX_US);
    op->job.no_progress_us = json_get_duration(r, "no_progress_timeout", 0, 0, API_DURATION_MAX_US);
    if (r->code == ERR_OK && op->delay_us >= 0 && op->job.run_at)
        r->code = err_field(r->err, "run_at", "give delay or run_at, not both");
    if (op->delay_us < 0)
        op->delay_us = 0;
}

static int read_trace(struct json_reader *r, struct arena *arena, struct job *job)
{
    const char *parent = json_get_string(r, "traceparent", false, 1, SUBMISSION_TRACE_MAX);
    const char *state = json_get_string(r, "tracestate", false, 1, SUBMISSION_TRACE_MAX);
    return r->code ? r->code : (r->code = traced_by_members(parent, state, arena, job, r->err));
}

static int parse_members(struct json_reader *r, const char *payload, size_t payload_n, const struct origin *from,
                         const struct policy *policy, struct arena *arena, struct op_submit *op)
{
    struct job *job = &op->job;
    if (read_name(r, "task_type", true, arena, &job->task_type) || read_name(r, "queue", false, arena, &job->queue))
        return r->code;
    if (!job->queue)
        job->queue = job->task_type;
    (void)json_get_any(r, "payload"); /* any value; its text is taken */
    const char *ref = json_get_string(r, "payload_ref", false, 1, 1024);
    if (ref) {
        job->payload_ref = ref_canonical(ref, "payload_ref", arena, r->err);
        if (!job->payload_ref)
            return r->code = (int)r->err->code;
    }
    if (read_inputs(r, arena, job) ||
        read_string_map(r, "labels", JOB_LABELS_MAX, JOB_LABEL_KEY_MAX, JOB_LABEL_VALUE_MAX, false, arena,
                        &job->labels) ||
        read_key(r, from, policy, arena, op) || read_trace(r, arena, job))
        return r->code;
    if (!job->labels)
        job->labels = "{}";
    read_times(r, op);
    job->priority = (int)json_get_int(r, "priority", SUBMISSION_PRIORITY, 0, JOB_PRIORITY_MAX);
    job->max_attempts = (uint32_t)json_get_int(r, "max_attempts", 0, 1, SUBMISSION_ATTEMPTS_MAX); /* 0: not said */
    int rc = json_reader_end(r);
    return rc ? rc : read_payload(payload, payload_n, arena, job, r->err);
}

int submission_strict(const char *body, size_t n, const struct origin *from, const struct policy *policy,
                      struct arena *arena, struct op_submit *ret, struct err *err)
{
    json_t *root = NULL;
    const char *payload;
    size_t payload_n;
    int rc = json_parse_apart(body, n, "payload", &root, &payload, &payload_n, err);
    if (rc)
        return rc;
    memset(ret, 0, sizeof(*ret));
    struct json_reader r;
    json_reader_init(&r, root, "", err);
    rc = r.code ? r.code : parse_members(&r, payload, payload_n, from, policy, arena, ret);
    json_decref(root);
    return rc;
}

static int parse(const char *body, size_t n, const struct origin *from, const struct policy *policy,
                 struct arena *arena, struct op_submit *ret, struct err *err)
{
    if (n == 0)
        return err_set(err, ERR_MALFORMED, 0, "a JSON body is required");
    if (!submission_plain(body, n, from, policy, arena, ret)) {
        int rc = submission_strict(body, n, from, policy, arena, ret, err);
        if (rc)
            return rc;
    }
    ret->job.project = API_PROJECT;
    ret->job.progress = -1;
    /* Without a key nobody asks for it, and without references the store's own hash of the content tells as much. */
    return ret->job.dedup_key && ret->job.n_inputs > 0 ? submission_hash(ret, ret->request_hash, err) : ERR_OK;
}

int submission_parse(const char *body, size_t n, const char *idempotency_key, const struct policy *policy,
                     struct arena *arena, struct op_submit *ret, struct err *err)
{
    return parse(body, n, &(struct origin){SOURCE_REQUEST, idempotency_key}, policy, arena, ret, err);
}

int submission_parse_item(const char *item, size_t n, const char *batch_key, const struct policy *policy,
                          struct arena *arena, struct op_submit *ret, struct err *err)
{
    return parse(item, n, &(struct origin){SOURCE_BATCH, batch_key}, policy, arena, ret, err);
}

int submission_parse_message(const char *json, size_t n, const char *message_id, const struct policy *policy,
                             struct arena *arena, struct op_submit *ret, struct err *err)
{
    return parse(json, n, &(struct origin){SOURCE_MESSAGE, message_id}, policy, arena, ret, err);
}

/* Length before bytes, so that no two requests run together into one. */
static void hash_text(struct sha256 *h, const char *s)
{
    uint64_t n = s ? strlen(s) : UINT64_MAX;
    sha256_add(h, &n, sizeof(n));
    if (s)
        sha256_add(h, s, (size_t)n);
}

static void hash_number(struct sha256 *h, int64_t v)
{
    sha256_add(h, &v, sizeof(v));
}

int submission_hash(const struct op_submit *op, uint8_t ret[32], struct err *err)
{
    const struct job *job = &op->job;
    struct sha256 *h = sha256_new();
    if (!h)
        return no_memory(err);
    hash_text(h, job->task_type);
    hash_text(h, job->queue);
    hash_text(h, job->payload);
    hash_text(h, job->payload_ref);
    hash_number(h, (int64_t)job->n_inputs);
    for (size_t i = 0; i < job->n_inputs; i++) {
        hash_text(h, job->inputs[i].name);
        hash_text(h, job->inputs[i].ref);
    }
    hash_text(h, job->labels);
    hash_number(h, op->delay_us);
    hash_number(h, job->run_at);
    hash_number(h, op->start_within_us);
    hash_number(h, job->timeout_us);
    if (job->no_progress_us) /* what older servers hashed stays the same */
        hash_number(h, job->no_progress_us);
    hash_number(h, job->priority);
    hash_number(h, job->max_attempts ? job->max_attempts : policy_default().max_attempts); /* not what is configured */
    sha256_end(h, ret);
    sha256_free(h);
    return ERR_OK;
}
