/* The bodies that workers send: the first byte chooses lease, complete or fail; a capital is a newer worker. */
#include "fuzz.h"
#include "api/lease.h"
#include "api/report.h"

static void lease(json_t *root, bool newer, struct arena *arena)
{
    struct lease_request ask;
    struct err err = {0};
    int rc = lease_parse(root, newer, 30 * USEC_PER_SEC, arena, &ask, &err);
    must_explain(rc, &err);
    if (rc == ERR_OK)
        MUST(ask.want.slots <= 64 && /* 0: full, and only reports in */ ask.want.n_task_types > 0 &&
             !uuid_is_nil(&ask.worker_id));
}

static void complete(json_t *root, bool newer, struct arena *arena)
{
    struct op_complete op = {0};
    struct err err = {0};
    int rc = complete_parse(root, newer, arena, &op, &err);
    must_explain(rc, &err);
    if (rc == ERR_OK)
        MUST(op.n_outputs <= JOB_OUTPUTS_MAX);
}

static void fail(json_t *root, bool newer, struct arena *arena)
{
    struct op_fail op = {0};
    struct err err = {0};
    int rc = fail_parse(root, newer, arena, &op, &err);
    must_explain(rc, &err);
    if (rc == ERR_OK)
        MUST(op.failure.outcome > OUTCOME_SUCCESS && op.failure.outcome < OUTCOME_COUNT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(16u << 20);
    struct err err = {0};
    json_t *root = NULL;
    MUST(arena);
    int rc = size > 0 ? json_parse((const char *)data + 1, size - 1, &root, &err) : ERR_MALFORMED;
    const int what = rc == ERR_OK ? data[0] | 0x20 : 0;
    const bool newer = rc == ERR_OK && !(data[0] & 0x20);
    if (what == 'l')
        lease(root, newer, arena);
    else if (what == 'c')
        complete(root, newer, arena);
    else if (what == 'f')
        fail(root, newer, arena);
    json_decref(root);
    arena_free(arena);
    return 0;
}
