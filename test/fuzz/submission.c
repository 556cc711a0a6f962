/* POST /v1/jobs: the body, and the header that goes with it (the first line, when it begins with '#'). */
#include "fuzz.h"
#include "api/render.h"
#include "api/submission.h"
#include "../unit/api/alike.h"

/* What was accepted can be shown: the answer is JSON, with the payload as it came. */
static void shown(const struct op_submit *op)
{
    struct buf body;
    struct json_writer w;
    struct err err = {0};
    json_t *doc = NULL;
    const char *payload;
    size_t n;

    buf_init(&body, 8u << 20);
    jw_init(&w, &body);
    render_job(&w, NULL, &op->job, &(struct job_view){0});
    MUST(json_parse(buf_str(&body), body.len, &doc, &err) == ERR_OK);
    json_decref(doc);
    MUST(json_raw_member(buf_str(&body), body.len, "payload", &payload, &n));
    MUST(n == strlen(op->job.payload) && memcmp(payload, op->job.payload, n) == 0);
    buf_release(&body);
}

/* The short way of reading it, where it gives an answer, gives the one of the long way. */
static void alike(const char *body, size_t n, const char *key, enum source source)
{
    const struct origin from = {source, key};
    const struct policy policy = policy_default();
    struct arena *arena = arena_new(16u << 20);
    struct op_submit plain, strict;
    struct err err = {0};
    MUST(arena);
    if (submission_plain(body, n, &from, &policy, arena, &plain)) {
        MUST(submission_strict(body, n, &from, &policy, arena, &strict, &err) == ERR_OK);
        MUST(submissions_alike(&plain, &strict));
    }
    arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(16u << 20);
    struct policy policy = policy_default();
    struct op_submit op = {0};
    struct err err = {0};
    const char *key = NULL, *body = (const char *)data;
    MUST(arena);

    const char *line = size > 0 && data[0] == '#' ? memchr(data, '\n', size) : NULL;
    if (line) {
        key = arena_strndup(arena, body + 1, (size_t)(line - body - 1));
        size -= (size_t)(line + 1 - body);
        body = line + 1;
    }
    alike(body, size, key, SOURCE_REQUEST);
    alike(body, size, key, SOURCE_BATCH);
    int rc = submission_parse(body, size, key, &policy, arena, &op, &err);
    must_explain(rc, &err);
    if (rc == ERR_OK) {
        uint8_t one[32], two[32];
        shown(&op);
        MUST(submission_hash(&op, one, &err) == ERR_OK && submission_hash(&op, two, &err) == ERR_OK);
        MUST(memcmp(one, two, sizeof(one)) == 0);
        MUST(strlen(op.job.payload) <= JOB_PAYLOAD_MAX && op.job.priority >= 0 && op.job.priority <= JOB_PRIORITY_MAX);
        MUST(op.job.n_inputs <= JOB_INPUTS_MAX);
    }
    arena_free(arena);
    return 0;
}
