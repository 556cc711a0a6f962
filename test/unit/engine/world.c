#include "world.h"
#include "base/fs.h"
#include "base/sha256.h"
#include <sqlite3.h>

void world_engine(struct world *w, const struct store_driver *driver)
{
    struct err err = {0};

    engine_free(w->engine);
    w->engine = NULL;
    w->cfg.store_driver = driver ? driver : store_sqlite();
    if (engine_new(&w->cfg, &w->engine, &err) != ERR_OK)
        fail_msg("engine: %s", err.msg);
}

int world_batches;

static void apply_counted(struct store *s, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    world_batches++;
    store_sqlite()->apply(s, ops, n, decided, arg);
}

void world_engine_counted(struct world *w)
{
    static struct store_driver counting;

    counting = *store_sqlite();
    counting.apply = apply_counted;
    world_engine(w, &counting);
}

void world_open(struct world *w)
{
    struct err err = {0};
    struct store_config sc = {.dir = w->dir,
                              .clock = clock_fake_view(&w->store_clock),
                              .rng = rng_seeded_view(&w->dice),
                              .policy = w->cfg.policy};

    if (store_sqlite()->open(&sc, &w->cfg.store, &err) != ERR_OK)
        fail_msg("open: %s", err.msg);
    w->cfg.clock = clock_fake_view(&w->clock);
    w->cfg.rng = sc.rng;
    world_engine(w, NULL);
}

void world_close(struct world *w)
{
    engine_free(w->engine);
    w->engine = NULL;
    store_sqlite()->close(w->cfg.store);
}

int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    snprintf(w->dir, sizeof w->dir, "%s/haul-engine-XXXXXX", fs_exists("/dev/shm") ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->dir));
    w->clock.wall_us = INT64_C(1800000000) * SEC;
    w->clock.boot_us = 5000 * SEC;
    w->store_clock = w->clock;
    w->dice.state = 42;
    w->cfg.policy = policy_default();
    w->arena = arena_new(256u << 20);
    world_open(w);
    *state = w;
    return 0;
}

/* The counters are those of a recount, and nothing runs without a lease. */
static void assert_sound(struct world *w)
{
    const struct store_driver *d = store_sqlite();
    struct stat_row *rows = NULL;
    size_t n = 0;
    int64_t sum[JOB_STATUS_COUNT] = {0};

    assert_int_equal(d->stats(w->cfg.store, w->arena, &rows, &n, NULL), ERR_OK);
    for (size_t i = 0; i < n; i++)
        for (int st = 0; st < JOB_STATUS_COUNT; st++)
            sum[st] += rows[i].by_status[st];
    for (int st = 0; st < JOB_STATUS_COUNT; st++) {
        struct job_filter f = {.project = "default", .status = st, .limit = 1000};
        struct job_page page;

        assert_int_equal(d->job_list(w->cfg.store, &f, w->arena, &page, NULL), ERR_OK);
        assert_int_equal(page.n, sum[st]);
        for (size_t i = 0; i < page.n; i++)
            assert_int_equal(page.jobs[i].lease_until > 0, st == JOB_RUNNING);
    }
}

int world_teardown(void **state)
{
    struct world *w = *state;

    assert_sound(w);
    world_close(w);
    arena_free(w->arena);
    fs_remove_tree(w->dir, NULL);
    free(w);
    return 0;
}

void advance(struct world *w, usec by)
{
    clock_fake_advance(&w->clock, by);
    clock_fake_advance(&w->store_clock, by);
}

void settle(struct world *w)
{
    for (int i = 0; i < 8; i++)
        engine_step(w->engine);
}

void pass(struct world *w, usec by)
{
    while (by > 0) {
        usec step = MIN(by, 5 * SEC);
        advance(w, step);
        settle(w);
        by -= step;
    }
}

static void count_done(struct op *op)
{
    (*(int *)op->owner)++;
}

struct op *op_new(struct world *w, enum op_kind kind, int *done)
{
    struct op *op = arena_alloc(w->arena, sizeof *op);
    *op = (struct op){.kind = kind, .project = "default", .arena = w->arena, .done = count_done, .owner = done};
    return op;
}

int decide(struct world *w, struct op *op)
{
    int done = 0;
    op->owner = &done;
    engine_offer(w->engine, op);
    settle(w);
    assert_int_equal(done, 1);
    return (int)op->err.code;
}

struct op *submit_op(struct world *w, const char *type, int *done)
{
    struct op *op = op_new(w, OP_SUBMIT, done);
    struct job *job = &op->u.submit.job;
    job->job_id = uuid_v7(w->clock.wall_us, w->cfg.rng);
    job->project = "default";
    job->queue = job->task_type = type;
    job->priority = 5;
    job->payload = job->labels = "{}";
    job->max_attempts = 5;
    op->u.submit.dedup_us = w->cfg.policy.dedup_us;
    return op;
}

struct uuid submit(struct world *w, const char *type)
{
    struct op *op = submit_op(w, type, NULL);
    assert_int_equal(decide(w, op), ERR_OK);
    return op->u.submit.job.job_id;
}

static void polled(struct lease_poll *p, struct claimed *claimed, size_t n, const struct err *err)
{
    struct answer *a = p->owner;
    a->calls++;
    a->n = n;
    a->code = err ? err->code : ERR_OK;
    if (n)
        a->job = claimed[0].job;
}

struct lease_poll *poll_new(struct world *w, uint8_t worker, const char *id, struct answer *a)
{
    static const char *const types[] = {"encode"};
    struct lease_poll *p = arena_alloc(w->arena, sizeof *p);
    memset(a, 0, sizeof *a);
    p->worker_id.b[15] = worker;
    snprintf(p->poll_id, sizeof p->poll_id, "%s", id);
    p->worker_name = p->worker_host = "w";
    p->worker_version = "1";
    p->isolation = "none";
    p->handlers = "{\"encode\":\"1\"}";
    p->want = (struct want){.task_types = types, .n_task_types = 1, .slots = 1};
    p->slots_total = 1;
    p->wait_us = 30 * SEC;
    p->arena = w->arena;
    p->done = polled;
    p->owner = a;
    return p;
}

struct job claim(struct world *w, uint8_t worker, const char *id)
{
    struct answer a;
    engine_poll(w->engine, poll_new(w, worker, id, &a));
    settle(w);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 1);
    return a.job;
}

int heartbeat(struct world *w, const struct job *job)
{
    struct op *op = op_new(w, OP_HEARTBEAT, NULL);
    op->u.heartbeat.job_id = job->job_id;
    op->u.heartbeat.token = job->token;
    return decide(w, op);
}

int complete(struct world *w, const struct job *job, enum job_status *ret)
{
    return complete_with(w, job, NULL, ret);
}

struct job look(struct world *w, struct uuid id)
{
    struct job job;
    struct err err = {0};
    if (w->cfg.store_driver->job_get(w->cfg.store, "default", &id, w->arena, &job, &err) != ERR_OK)
        fail_msg("job_get: %s", err.msg);
    return job;
}

int fail_with(struct world *w, const struct job *job, enum outcome outcome, usec retry_after_us)
{
    struct op *op = op_new(w, OP_FAIL, NULL);

    op->u.fail.job_id = job->job_id;
    op->u.fail.token = job->token;
    op->u.fail.failure =
        (struct job_failure){.outcome = outcome, .error_log = "boom", .retry_after_us = retry_after_us};
    return decide(w, op);
}

int act(struct world *w, enum op_kind kind, struct uuid id)
{
    struct op *op = op_new(w, kind, NULL);

    op->u.job.job_id = id;
    return decide(w, op);
}

void stage(struct world *w, const struct job *job, const char *name)
{
    struct op *op = op_new(w, OP_OUTPUT, NULL);

    op->u.output = (struct op_output){.job_id = job->job_id,
                                      .token = job->token,
                                      .name = name,
                                      .blob_id = uuid_v7(w->clock.wall_us, w->cfg.rng),
                                      .size = 4};
    sha256_once(name, strlen(name), op->u.output.sha256);
    assert_int_equal(decide(w, op), ERR_OK);
}

int complete_with(struct world *w, const struct job *job, const char *output, enum job_status *ret)
{
    struct op *op = op_new(w, OP_COMPLETE, NULL);

    op->u.complete.job_id = job->job_id;
    op->u.complete.token = job->token;
    op->u.complete.outputs = &output;
    op->u.complete.n_outputs = output ? 1 : 0;
    int rc = decide(w, op);
    if (ret)
        *ret = op->u.complete.status;
    return rc;
}

struct attempt attempt_of(struct world *w, struct uuid id, uint32_t n)
{
    struct attempt *all = NULL;
    size_t count = 0;

    assert_int_equal(store_sqlite()->attempts(w->cfg.store, &id, w->arena, &all, &count, NULL), ERR_OK);
    assert_in_range(n, 1, count);
    return all[n - 1];
}

size_t published(struct world *w, struct uuid id)
{
    struct output *rows = NULL;
    size_t n = 0;

    assert_int_equal(store_sqlite()->outputs(w->cfg.store, &id, w->arena, &rows, &n, NULL), ERR_OK);
    return n;
}

static const char *table_text(struct world *w, sqlite3 *db, const char *table, const char *text)
{
    sqlite3_stmt *st;

    assert_int_equal(
        sqlite3_prepare_v2(db, arena_printf(w->arena, "SELECT * FROM %s ORDER BY 1, 2", table), -1, &st, NULL),
        SQLITE_OK);
    while (sqlite3_step(st) == SQLITE_ROW) {
        text = arena_printf(w->arena, "%s\n%s", text, table);
        for (int i = 0; i < sqlite3_column_count(st); i++) {
            char hex[2 * 32 + 1] = "";
            uint8_t hash[32];
            size_t n = (size_t)sqlite3_column_bytes(st, i);
            if (sqlite3_column_type(st, i) == SQLITE_BLOB && n > 0) {
                sha256_once(sqlite3_column_blob(st, i), n, hash);
                hex_format(hash, sizeof(hash), hex);
            }
            const char *value = (const char *)sqlite3_column_text(st, i);
            text = arena_printf(w->arena, "%s|%s", text, *hex ? hex : value ? value : "NULL");
        }
    }
    sqlite3_finalize(st);
    return text;
}

const char *everything(struct world *w)
{
    static const char *const tables[] = {"jobs",     "history", "inputs",  "attempts", "outputs", "log_chunks",
                                         "key_rows", "blobs",   "uploads", "workers",  "counters"};
    const char *text = "";
    sqlite3 *db;

    assert_int_equal(sqlite3_open_v2(arena_printf(w->arena, "%s/haul.db", w->dir), &db, SQLITE_OPEN_READONLY, NULL),
                     SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        text = table_text(w, db, tables[i], text);
    sqlite3_close(db);
    assert_true(strlen(text) > 0);
    return text;
}
