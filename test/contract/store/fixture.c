#include "fixture.h"
#include "base/fs.h"
#include "base/sha256.h"

const char *(*contract_fresh)(void);
void (*contract_check)(void);
bool contract_overlap;

static void decided(void *arg)
{
    ((struct world *)arg)->decided++;
}

static void world_open(struct world *w)
{
    struct store_config config = {.dir = w->dir,
                                  .url = w->url,
                                  .clock = clock_fake_view(&w->clock),
                                  .rng = w->rng,
                                  .policy = w->policy,
                                  .tell_ends = true};
    struct err err = {0};

    if (w->d->open(&config, &w->s, &err) != ERR_OK)
        fail_msg("open: %s", err.msg);
    if (contract_overlap && w->d->overlap(w->s, true, &err) != ERR_OK)
        fail_msg("overlap: %s", err.msg);
}

int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    const char *tmp = getenv("TMPDIR");

    assert_non_null(w);
    w->d = contract_driver;
    w->clock = (struct clock_fake){.wall_us = 1700000000 * USEC_PER_SEC, .boot_us = 1000 * USEC_PER_SEC};
    w->seed.state = 42;
    w->rng = rng_seeded_view(&w->seed);
    w->policy = policy_default();
    w->arena = arena_new(256u << 20);
    snprintf(w->dir, sizeof(w->dir), "%s/haul-contract-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(w->dir));
    w->url = contract_fresh ? contract_fresh() : NULL;
    w->worker = id_make(w);
    w->other = id_make(w);
    world_open(w);
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    struct world *w = *state;

    if (contract_check)
        contract_check();
    w->d->close(w->s);
    fs_remove_tree(w->dir, NULL);
    arena_free(w->arena);
    free(w);
    return 0;
}

void world_reopen(struct world *w)
{
    usec before = w->d->now(w->s);

    w->d->close(w->s);
    world_open(w);
    /* A database has a clock of its own, which no test holds: what passed before the end passes now. */
    if (w->d->now(w->s) < before)
        later(w, before - w->d->now(w->s));
}

void later(struct world *w, usec by_us)
{
    clock_fake_advance(&w->clock, by_us);
}

struct op *op_make(struct world *w, enum op_kind kind)
{
    struct op *op = arena_alloc(w->arena, sizeof(*op));

    assert_non_null(op);
    op->kind = kind;
    op->project = "default";
    op->arena = w->arena;
    return op;
}

void apply_all(struct world *w, struct op **ops, size_t n)
{
    unsigned before = w->decided;

    w->d->apply(w->s, ops, n, decided, w);
    while (w->decided == before && w->d->poll)
        w->d->poll(w->s, true);
    assert_int_equal(w->decided, before + 1);
}

enum err_code apply(struct world *w, struct op *op)
{
    apply_all(w, &op, 1);
    return op->err.code;
}

void assert_ok(const struct op *op)
{
    if (op->err.code != ERR_OK)
        fail_msg("refused: %s: %s", err_name(op->err.code), op->err.msg);
}

void applied(struct world *w, struct op *op)
{
    apply(w, op);
    assert_ok(op);
}

void assert_refused(const struct op *op, enum err_code code)
{
    if (op->err.code != code)
        fail_msg("expected %s, got %s: %s", err_name(code), err_name(op->err.code), op->err.msg);
    assert_true(op->err.msg[0] != 0);
    assert_int_equal(op->n_changes, 0);
}

struct uuid id_make(struct world *w)
{
    return uuid_v7(w->clock.wall_us, w->rng);
}

struct op *submit_op(struct world *w, const char *task_type)
{
    struct op *op = op_make(w, OP_SUBMIT);

    op->u.submit.job = (struct job){.job_id = id_make(w),
                                    .queue = task_type,
                                    .task_type = task_type,
                                    .priority = 5,
                                    .payload = "{\"a\": 1}",
                                    .labels = "{}"};
    return op;
}

struct job submit(struct world *w, const char *task_type)
{
    struct op *op = submit_op(w, task_type);

    applied(w, op);
    later(w, 1000); /* ids made later are greater */
    return op->u.submit.job;
}

static struct lane lane_of(struct world *w, const char *task_type)
{
    struct lane *lanes = NULL;
    size_t n = 0;
    struct err err = {0};

    assert_int_equal(w->d->lanes(w->s, w->arena, &lanes, &n, &err), ERR_OK);
    for (size_t i = 0; i < n; i++)
        if (strcmp(lanes[i].task_type, task_type) == 0)
            return lanes[i];
    return (struct lane){0};
}

size_t ready(struct world *w, const char *task_type)
{
    return (size_t)lane_of(w, task_type).ready;
}

struct op *claim_op(struct world *w, struct uuid worker, const char *poll_id, const char *task_type, unsigned count)
{
    struct op *op = op_make(w, OP_CLAIM);
    struct op_claim *c = &op->u.claim;

    c->worker_id = worker;
    c->poll_id = poll_id;
    c->worker_name = "w1";
    c->handlers = "{\"encode\": \"7\"}";
    c->slots_total = 8;
    c->n_tokens = count;
    c->tokens = arena_array(w->arena, count, sizeof(*c->tokens));
    assert_non_null(c->tokens);
    for (size_t i = 0; i < count; i++)
        c->tokens[i] = token_mint(0, w->rng);
    const struct lane lane = lane_of(w, task_type);
    c->take[0].lane_id = lane.lane_id;
    c->take[0].queue = lane.queue;
    c->take[0].count = count;
    c->n_take = 1;
    return op;
}

struct job claim(struct world *w, struct uuid worker, const char *task_type)
{
    char poll[40];
    struct uuid id = id_make(w);

    uuid_format(&id, poll);
    struct op *op = claim_op(w, worker, arena_strdup(w->arena, poll), task_type, 1);
    applied(w, op);
    assert_int_equal(op->u.claim.n_claimed, 1);
    return op->u.claim.claimed[0].job;
}

struct op *heartbeat(struct world *w, const struct job *job)
{
    struct op *op = op_make(w, OP_HEARTBEAT);

    op->u.heartbeat.job_id = job->job_id;
    op->u.heartbeat.token = job->token;
    apply(w, op);
    return op;
}

struct op *fail_op(struct world *w, const struct job *job, enum outcome outcome, bool permanent)
{
    struct op *op = op_make(w, OP_FAIL);

    op->u.fail.job_id = job->job_id;
    op->u.fail.token = job->token;
    op->u.fail.failure =
        (struct job_failure){.outcome = outcome, .permanent = permanent, .error_log = "it broke", .dice = 7};
    op->u.fail.usage = (struct usage){.exit_code = 3, .cpu_us = 500};
    return op;
}

struct op *complete_op(struct world *w, const struct job *job, const char *const *outputs, size_t n)
{
    struct op *op = op_make(w, OP_COMPLETE);

    op->u.complete.job_id = job->job_id;
    op->u.complete.token = job->token;
    op->u.complete.outputs = outputs;
    op->u.complete.n_outputs = n;
    op->u.complete.usage = (struct usage){.cpu_us = 1234, .peak_memory_bytes = 99};
    return op;
}

struct op *log_op(struct world *w, const struct job *job, int64_t offset, const char *text)
{
    struct op *op = op_make(w, OP_LOG);

    op->u.log =
        (struct op_log){.job_id = job->job_id, .token = job->token, .offset = offset, .bytes = text, .n = strlen(text)};
    return op;
}

struct op *job_op(struct world *w, enum op_kind kind, struct uuid id)
{
    struct op *op = op_make(w, kind);

    op->u.job.job_id = id;
    return op;
}

struct op *output_op(struct world *w, const struct job *job, const char *name)
{
    struct op *op = op_make(w, OP_OUTPUT);

    op->u.output =
        (struct op_output){.job_id = job->job_id, .token = job->token, .name = name, .blob_id = id_make(w), .size = 4};
    sha256_once(name, strlen(name), op->u.output.sha256);
    return op;
}

struct op *sweep(struct world *w, enum op_kind kind)
{
    struct op *op = op_make(w, kind);

    op->u.sweep.limit = OP_CHANGES_MAX;
    applied(w, op);
    return op;
}

struct uuid blob(struct world *w, const char *bytes)
{
    struct op *op = op_make(w, OP_BLOB_ADD);

    op->u.blob_add.row = (struct blob_row){.blob_id = id_make(w), .size = (int64_t)strlen(bytes)};
    sha256_once(bytes, strlen(bytes), op->u.blob_add.row.sha256);
    applied(w, op);
    return op->u.blob_add.row.blob_id;
}

const char *ref(struct world *w, struct uuid blob_id)
{
    char text[UUID_STR_MAX];

    uuid_format(&blob_id, text);
    return arena_printf(w->arena, "blob:%s", text);
}

struct job get(struct world *w, struct uuid id)
{
    struct job job;
    struct err err = {0};

    if (w->d->job_get(w->s, "default", &id, w->arena, &job, &err) != ERR_OK)
        fail_msg("get: %s", err.msg);
    return job;
}

struct attempt attempt_of(struct world *w, struct uuid id, uint32_t n)
{
    struct attempt *all = NULL;
    size_t count = 0;
    struct err err = {0};

    assert_int_equal(w->d->attempts(w->s, &id, w->arena, &all, &count, &err), ERR_OK);
    assert_true(n >= 1 && n <= count);
    assert_int_equal(all[n - 1].attempt, n);
    return all[n - 1];
}

int64_t refs(struct world *w, struct uuid blob_id)
{
    struct blob_row row;
    int rc = w->d->blob_get(w->s, "default", &blob_id, w->arena, &row, NULL);

    if (rc == ERR_NOT_FOUND)
        return -1;
    assert_int_equal(rc, ERR_OK);
    return row.refs;
}

/* Groups are what their members add up to. */
static void assert_groups(struct world *w)
{
    struct dead_page groups;
    struct job_page page;
    size_t n_failed = 0, sum = 0;

    assert_int_equal(
        w->d->dead_groups(w->s, &(struct dead_filter){.project = "default", .limit = 1000}, w->arena, &groups, NULL),
        ERR_OK);
    assert_int_equal(w->d->job_list(w->s,
                                    &(struct job_filter){.project = "default", .status = JOB_FAILED, .limit = 1000},
                                    w->arena, &page, NULL),
                     ERR_OK);
    n_failed = page.n;
    for (size_t i = 0; i < groups.n; i++) {
        struct job_filter f = {
            .project = "default", .status = JOB_FAILED, .fingerprint = groups.groups[i].fingerprint, .limit = 1000};
        assert_int_equal(w->d->job_list(w->s, &f, w->arena, &page, NULL), ERR_OK);
        assert_int_equal(page.n, groups.groups[i].jobs);
        assert_true(page.n > 0);
        sum += page.n;
    }
    if (groups.complete)
        assert_int_equal(sum, n_failed);
}

void assert_counts(struct world *w)
{
    struct stat_row *rows = NULL;
    size_t n = 0;
    int64_t sum[JOB_STATUS_COUNT] = {0};

    assert_groups(w);
    assert_int_equal(w->d->stats(w->s, w->arena, &rows, &n, NULL), ERR_OK);
    for (size_t i = 0; i < n; i++)
        for (int st = 0; st < JOB_STATUS_COUNT; st++)
            sum[st] += rows[i].by_status[st];
    for (int st = 0; st < JOB_STATUS_COUNT; st++) {
        struct job_filter f = {.project = "default", .status = st, .limit = 1000};
        struct job_page page;
        struct err err = {0};
        if (w->d->job_list(w->s, &f, w->arena, &page, &err) != ERR_OK)
            fail_msg("list: %s", err.msg);
        assert_int_equal(page.n, sum[st]);
    }
}
