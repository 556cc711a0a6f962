/* What is SQLite's own: failing commits, readers beside the writer, files that are not ours. Built with fault points. */
#include "fixture.h"
#include "sqlite_by_hand.h"
#include "base/fs.h"
#include "store/sqlite/schema.h"
#include "store/snapshot.h"
#include "store/sqlite/sqlite.h"
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/stat.h>

const struct store_driver *contract_driver;

/* HAUL_FAULTS_AT (set by main): the 2nd op, the 3rd commit and the 5th sync of this process fail. */
static void test_failing_commits_are_told_apart(void **state)
{
    struct world *w = *state;
    struct op *a = submit_op(w, "encode"), *b = submit_op(w, "encode"), *c = submit_op(w, "encode");

    apply_all(w, (struct op *[]){a, b, c}, 3); /* op 2: a refusal of its own */
    assert_ok(a);
    assert_refused(b, ERR_INTERNAL);
    assert_ok(c);
    assert_int_equal(apply(w, b), ERR_OK);
    struct op *full = submit_op(w, "encode");
    full->u.submit.job.dedup_key = "full"; /* which is not remembered then */
    apply(w, full);                        /* commit 3: rolled back for certain */
    assert_refused(full, ERR_NO_SPACE);
    assert_int_equal(ready(w, "encode"), 3);
    assert_int_equal(apply(w, full), ERR_OK); /* and space came back */
    assert_false(full->u.submit.duplicate);
    struct job job = claim(w, w->worker, "encode");
    assert_int_equal(job.attempt, 1);
    struct op *unknown = complete_op(w, &job, NULL, 0);
    apply(w, unknown); /* sync 5 */
    assert_refused(unknown, ERR_UNKNOWN_OUTCOME);
    struct op *after = submit_op(w, "encode");
    apply(w, after);
    assert_refused(after, ERR_UNAVAILABLE);
    struct job seen; /* what is in the log is shown to nobody either */
    assert_int_equal(w->d->job_get(w->s, "default", &job.job_id, w->arena, &seen, NULL), ERR_UNAVAILABLE);
    world_reopen(w);
    assert_int_equal(apply(w, complete_op(w, &job, NULL, 0)), ERR_OK); /* safe to repeat */
    assert_int_equal(get(w, job.job_id).status, JOB_SUCCESS);
    assert_counts(w);
}

/* A claim that is rolled back leaves its job where the next claim looks. */
static void test_rolled_back_claim_is_given_again(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct op *op = claim_op(w, w->worker, "p", "encode", 1);
    op->arena = arena_new(64); /* too small for the answer */
    apply(w, op);
    assert_refused(op, ERR_NO_MEMORY);
    arena_free(op->arena);
    assert_int_equal(claim(w, w->worker, "encode").attempt, 1);
}

/* An op that fails after it wrote has its batch tried again: its neighbours are done once, whatever the first try made of them. */
static void test_an_op_that_fails_late_leaves_its_neighbours_alone(void **state)
{
    struct world *w = *state;
    struct job before = submit(w, "encode");
    struct op *first = submit_op(w, "encode"), *again = submit_op(w, "encode"), *last = submit_op(w, "encode");
    struct op *poor = claim_op(w, w->worker, "p", "encode", 1), *done = NULL;
    struct uuid asked = again->u.submit.job.job_id;

    first->u.submit.job.dedup_key = again->u.submit.job.dedup_key = "k";
    poor->arena = arena_new(64); /* too small for the answer: its worker's row is written by then */
    apply_all(w, (struct op *[]){first, again, poor, last}, 4);
    arena_free(poor->arena);
    assert_ok(first);
    assert_false(first->u.submit.duplicate);
    assert_ok(again);
    assert_true(again->u.submit.duplicate);
    assert_true(uuid_equal(&again->u.submit.job.job_id, &first->u.submit.job.job_id));
    assert_refused(poor, ERR_NO_MEMORY);
    assert_ok(last);
    assert_int_equal(ready(w, "encode"), 3);
    assert_int_equal(w->d->job_get(w->s, "default", &asked, w->arena, &(struct job){0}, NULL), ERR_NOT_FOUND);
    assert_counts(w);

    struct job job = claim(w, w->worker, "encode"); /* the head is where it was */
    assert_true(uuid_equal(&job.job_id, &before.job_id));
    poor = claim_op(w, w->worker, "q", "encode", 1);
    poor->arena = arena_new(64);
    done = complete_op(w, &job, NULL, 0);
    apply_all(w, (struct op *[]){done, poor}, 2);
    arena_free(poor->arena);
    assert_ok(done);
    assert_int_equal(done->u.complete.status, JOB_SUCCESS);
    assert_refused(poor, ERR_NO_MEMORY);
    assert_int_equal(get(w, job.job_id).status, JOB_SUCCESS);
    assert_counts(w);
    world_reopen(w);
    assert_counts(w);
    assert_int_equal(ready(w, "encode"), 2);
}

struct pressure {
    struct world *w;
    struct uuid id;
    atomic_bool stop;
    atomic_uint reads, refused;
};

static void *read_on(void *arg)
{
    struct pressure *p = arg;

    while (!atomic_load(&p->stop)) {
        struct arena *arena = arena_new(16u << 20);
        struct job job;
        struct job_page page;
        struct job_filter f = {.project = "default", .status = -1, .limit = 20};
        int one = p->w->d->job_get(p->w->s, "default", &p->id, arena, &job, NULL);
        int many = p->w->d->job_list(p->w->s, &f, arena, &page, NULL);
        atomic_fetch_add(&p->reads, 1);
        atomic_fetch_add(&p->refused, one != ERR_OK || many != ERR_OK);
        arena_free(arena);
    }
    return NULL;
}

static void test_P24_readers_do_not_hold_up_the_writer_nor_grow_the_log(void **state)
{
    struct world *w = *state;
    struct pressure p = {.w = w, .id = submit(w, "encode").job_id};
    pthread_t threads[6];
    char payload[JOB_PAYLOAD_MAX + 1], wal[128];
    struct stat st;
    off_t most = 0;

    memset(payload, 'x', sizeof(payload) - 1);
    payload[0] = payload[sizeof(payload) - 2] = '"';
    payload[sizeof(payload) - 1] = 0;
    snprintf(wal, sizeof(wal), "%s/haul.db-wal", w->dir);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &p), 0);
    for (int batch = 0; batch < 40; batch++) { /* 160 MB */
        struct op *ops[64];
        struct arena *arena = arena_new(64u << 20);
        for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
            ops[i] = submit_op(w, "encode");
            ops[i]->arena = arena;
            ops[i]->u.submit.job.payload = payload;
        }
        apply_all(w, ops, ARRAY_LEN(ops));
        for (size_t i = 0; i < ARRAY_LEN(ops); i++)
            assert_ok(ops[i]);
        arena_free(arena);
        if (stat(wal, &st) == 0)
            most = MAX(most, st.st_size);
    }
    while (atomic_load(&p.reads) < 10)
        ;
    atomic_store(&p.stop, true);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&p.refused), 0);
    assert_true(most < 100 << 20); /* the gate of 64 MiB, and a batch on top; 160 MB were written */
}

/* A clock that leaps at every look makes any read late. */
static usec leap(void *self)
{
    struct clock_fake *fake = self;
    return fake->boot_us += USEC_PER_SEC;
}

static usec wall(void *self)
{
    return ((struct clock_fake *)self)->wall_us;
}

static void test_reads_have_a_deadline(void **state)
{
    struct world *w = *state;
    struct clock leaping = {.wall_us = wall, .boot_us = leap, .self = &w->clock};
    struct store_config config = {.dir = w->dir, .clock = leaping, .rng = w->rng, .policy = w->policy};
    struct stat_row *rows;
    struct op *ops[STORE_BATCH_MAX];
    size_t n;

    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        ops[i] = submit_op(w, arena_printf(w->arena, "encode%zu", i)); /* a counter each */
    apply_all(w, ops, ARRAY_LEN(ops));
    w->d->close(w->s);
    assert_int_equal(w->d->open(&config, &w->s, NULL), ERR_OK);
    assert_int_equal(w->d->stats(w->s, w->arena, &rows, &n, NULL), ERR_TIMEOUT);
    assert_int_equal(get(w, ops[0]->u.submit.job.job_id).status, JOB_PENDING); /* short reads never look at the clock */
}

static void execute(struct world *w, const char *sql)
{
    char path[128];
    sqlite3 *db;

    snprintf(path, sizeof(path), "%s/haul.db", w->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static struct store_upgrade told[4096];
static size_t n_told;

static void note_upgrade(const struct store_upgrade *u)
{
    if (n_told < ARRAY_LEN(told))
        told[n_told++] = *u;
}

/* Each step as it begins, in order; and while it runs. Where there is nothing to bring forward nothing is said. */
static void test_an_upgrade_is_told(void **state)
{
    struct world *w = *state;
    struct clock leaping = {.wall_us = wall, .boot_us = leap, .self = &w->clock};
    struct store_config config = {
        .dir = w->dir, .clock = leaping, .rng = w->rng, .policy = w->policy, .upgrading = note_upgrade};
    char path[128];
    unsigned step = 1;
    usec longest = 0;

    w->d->close(w->s);
    snprintf(path, sizeof(path), "%s/haul.db", w->dir);
    unlink(path);
    execute(w, sqlite_migrations[0]);
    execute(w, "WITH RECURSIVE k(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM k WHERE i < 20000)"
               " INSERT INTO dedup SELECT 'default', 'key-' || i, zeroblob(16), zeroblob(32), zeroblob(32), i FROM k");
    execute(w, "PRAGMA user_version = 1; PRAGMA application_id = 1751217516");
    n_told = 0;
    assert_int_equal(w->d->open(&config, &w->s, NULL), ERR_OK);
    for (size_t i = 0; i < n_told; i++) {
        step += told[i].for_us == 0;
        assert_int_equal(told[i].from, 1);
        assert_int_equal(told[i].to, sqlite_n_migrations);
        assert_int_equal(told[i].step, step);
        longest = MAX(longest, told[i].for_us);
    }
    assert_int_equal(step, sqlite_n_migrations);
    assert_true(longest >= UPGRADE_TOLD_US);
    assert_true(told[n_told - 1].for_us >= UPGRADE_TOLD_US); /* while keys are read into memory and indexed, too */
    w->d->close(w->s);
    n_told = 0;
    assert_int_equal(w->d->open(&config, &w->s, NULL), ERR_OK);
    assert_int_equal(n_told, 0);
}

static void test_files_of_others_are_refused(void **state)
{
    struct world *w = *state;
    struct store_config config = {
        .dir = w->dir, .clock = clock_fake_view(&w->clock), .rng = w->rng, .policy = w->policy};
    struct store *s = NULL;
    struct err err = {0};

    w->d->close(w->s);
    execute(w, "PRAGMA user_version = 9999");
    assert_int_equal(w->d->open(&config, &s, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "newer"));
    execute(w, "PRAGMA user_version = 0; PRAGMA application_id = 7");
    assert_int_equal(w->d->open(&config, &s, &err), ERR_CORRUPT);
    execute(
        w, arena_printf(w->arena, "PRAGMA user_version = %u; PRAGMA application_id = 1751217516", sqlite_n_migrations));
    assert_int_equal(w->d->open(&config, &w->s, &err), ERR_OK);
}

static int64_t rows_of(struct world *w, const struct uuid *job_id)
{
    char path[128], sql[256];
    sqlite3 *db;
    sqlite3_stmt *tables, *st;
    int64_t sum = 0;
    int n_tables = 0;

    snprintf(path, sizeof(path), "%s/haul.db", w->dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT m.name FROM sqlite_schema m, pragma_table_info(m.name) c"
                                        " WHERE m.type = 'table' AND c.name = 'job_id'",
                                        -1, &tables, NULL),
                     SQLITE_OK);
    for (; sqlite3_step(tables) == SQLITE_ROW; n_tables++) {
        snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s WHERE job_id = ?1",
                 (const char *)sqlite3_column_text(tables, 0));
        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
        sqlite3_bind_blob(st, 1, job_id->b, 16, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(st), SQLITE_ROW);
        sum += sqlite3_column_int64(st, 0);
        sqlite3_finalize(st);
    }
    sqlite3_finalize(tables);
    sqlite3_close(db);
    assert_true(n_tables >= 7);
    return sum;
}

/* Whatever tables there are by now: none may keep a row of a job that was removed, and a long log goes in several passes. */
static void test_retention_leaves_no_row_in_any_table(void **state)
{
    struct world *w = *state;
    enum { CHUNKS = 1500 };
    char line[3600]; /* long enough for a row of its own */
    struct op *op = submit_op(w, "encode");
    size_t passes = 0;

    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    op->u.submit.job.dedup_key = "k";
    op->u.submit.job.labels = "{\"film\":\"7\"}";
    apply(w, op);
    struct job job = claim(w, w->worker, "encode");
    for (int i = 0; i < CHUNKS; i += 100) {
        struct op *ops[100];
        for (int k = 0; k < 100; k++)
            ops[k] = log_op(w, &job, (i + k) * (int64_t)strlen(line), line);
        apply_all(w, ops, ARRAY_LEN(ops));
    }
    assert_int_equal(apply(w, complete_op(w, &job, NULL, 0)), ERR_OK);
    assert_true(rows_of(w, &job.job_id) > 0);
    later(w, w->policy.retention_us);
    for (bool more = true; more; passes++)
        more = sweep(w, OP_SWEEP_RETENTION)->u.sweep.more;
    assert_true(passes >= 2);
    assert_int_equal(rows_of(w, &job.job_id), 0);
}

static int64_t number(struct world *w, const char *sql)
{
    char path[128];
    sqlite3 *db;

    snprintf(path, sizeof(path), "%s/haul.db", w->dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int64_t n = number_of(db, sql);
    sqlite3_close(db);
    return n;
}

/** One op of the kind for the job of each invented task type. */
static void each_invented(struct world *w, enum op_kind kind, struct uuid *ids, size_t n)
{
    struct op *ops[STORE_BATCH_MAX];

    for (size_t from = 0, k; from < n; from += k) {
        for (k = 0; k < ARRAY_LEN(ops) && from + k < n; k++) {
            if (kind == OP_SUBMIT) {
                ops[k] = submit_op(w, arena_printf(w->arena, "t%zu", from + k));
                ids[from + k] = ops[k]->u.submit.job.job_id;
            } else {
                ops[k] = job_op(w, kind, ids[from + k]);
            }
        }
        apply_all(w, ops, k);
        for (size_t i = 0; i < k; i++)
            assert_ok(ops[i]);
    }
}

/* A client that makes up a task type for each job leaves nothing behind but its jobs. */
static void test_invented_task_types_leave_no_rows(void **state)
{
    struct world *w = *state;
    enum { INVENTED = 2500, FULL = 1200 }; /* those that stay full are more than one pass looks at */
    static struct uuid ids[INVENTED];
    struct op *op;

    each_invented(w, OP_SUBMIT, ids, INVENTED);
    each_invented(w, OP_CANCEL, ids + FULL, INVENTED - FULL);
    each_invented(w, OP_DISCARD, ids + FULL, INVENTED - FULL);
    assert_int_equal(number(w, "SELECT count(*) FROM lanes"), INVENTED);
    assert_int_equal(number(w, "SELECT count(*) FROM counters"), FULL);
    for (size_t i = 0; (op = sweep(w, OP_SWEEP_LANES))->u.sweep.more; i++) {
        assert_in_range(op->u.sweep.touched, 0, OP_CHANGES_MAX);
        assert_true(i < 100);
    }
    assert_int_equal(number(w, "SELECT count(*) FROM lanes"), FULL);
    assert_int_equal(ready(w, "t7"), 1);

    op = submit_op(w, "t2499");
    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->changes[0].lane.lane_id, INVENTED + 1); /* no id is given twice: the engine may remember it */
    assert_int_equal(claim(w, w->worker, "t2499").attempt, 1);

    each_invented(w, OP_CANCEL, ids, FULL);
    while (sweep(w, OP_SWEEP_LANES)->u.sweep.more)
        ;
    assert_in_range(number(w, "SELECT count(*) FROM lanes"), 1, LANES_KEPT);
    op = job_op(w, OP_RETRY, ids[0]); /* its lane is gone */
    assert_int_equal(apply(w, op), ERR_OK);
    assert_int_equal(claim(w, w->worker, "t0").attempt, 1);
    each_invented(w, OP_DISCARD, ids + 1, FULL - 1);
    assert_counts(w);
}

/* What is kept by name is bounded: beyond it a new name is refused, a known one never. */
static void test_too_many_names_are_refused(void **state)
{
    struct world *w = *state;
    struct store_config config = {
        .dir = w->dir, .clock = clock_fake_view(&w->clock), .rng = w->rng, .policy = w->policy};

    submit(w, "known");
    struct job job = claim(w, w->worker, "known"); /* no pending one is left */
    w->d->close(w->s);
    execute(w, "WITH RECURSIVE k(i) AS (VALUES (2) UNION ALL SELECT i + 1 FROM k WHERE i < 20000)"
               " INSERT INTO counters SELECT 1, 'default', 'q' || i, 't', 0, 1 FROM k");
    assert_int_equal(w->d->open(&config, &w->s, NULL), ERR_OK);
    struct op *op = submit_op(w, "new");
    apply(w, op);
    assert_refused(op, ERR_CONFLICT);
    assert_non_null(strstr(op->err.msg, "labels"));
    submit(w, "known");
    assert_int_equal(apply(w, complete_op(w, &job, NULL, 0)), ERR_OK);
    job = claim(w, w->worker, "known");
    assert_int_equal(apply(w, complete_op(w, &job, NULL, 0)), ERR_OK);
    assert_refused((apply(w, op), op), ERR_CONFLICT);
    w->d->close(w->s);
    execute(w, "DELETE FROM counters WHERE queue = 'q7'");
    assert_int_equal(w->d->open(&config, &w->s, NULL), ERR_OK);
    assert_int_equal(apply(w, submit_op(w, "new")), ERR_OK);
    assert_refused((apply(w, op = submit_op(w, "newer")), op), ERR_CONFLICT);
}

#define ID           "00000000000000000000000000000001"
#define FIRST_BYTE_1 "0100000000000000000000000000000000000000000000000000000000000000"

static void test_every_earlier_schema_is_brought_up_to_date(void **state)
{
    struct world *w = *state;

    for (unsigned from = 1; from < sqlite_n_migrations; from++) {
        w->d->close(w->s);
        assert_int_equal(fs_remove_tree(w->dir, NULL), ERR_OK);
        assert_int_equal(mkdir(w->dir, 0700), 0);
        for (unsigned i = 0; i < from; i++)
            execute(w, sqlite_migrations[i]);
        execute(w, from < 20 ? "INSERT INTO dedup (project, key, job_id, request_hash, content_hash, expires_at) VALUES"
                               " ('default', 'old', x'" ID "', x'" FIRST_BYTE_1 "', zeroblob(32), 9223372036854775807)"
                             : "INSERT INTO key_rows (row, n, project, expires_at, entries) VALUES (1, 1, 'default',"
                               " 9223372036854775807, CAST(x'0301" ID "' || zeroblob(32) || x'" FIRST_BYTE_1
                               "' || 'old' AS BLOB))");
        execute(w, arena_printf(w->arena, "PRAGMA user_version = %u; PRAGMA application_id = 1751217516", from));
        struct store_config config = {
            .dir = w->dir, .clock = clock_fake_view(&w->clock), .rng = w->rng, .policy = w->policy};
        assert_int_equal(w->d->open(&config, &w->s, NULL), ERR_OK);
        submit(w, "encode");
        struct op *known = submit_op(w, "encode"); /* keys are remembered */
        known->u.submit.job.dedup_key = "old";
        known->u.submit.request_hash[0] = 1;
        known->u.submit.id_only = true;
        assert_int_equal(apply(w, known), ERR_OK);
        assert_true(known->u.submit.duplicate);
        struct job job = claim(w, w->worker, "encode");
        assert_ok(heartbeat(w, &job));
        later(w, w->policy.lease_us);
        assert_int_equal(sweep(w, OP_SWEEP_LEASES)->u.sweep.touched, 1);
        job = claim(w, w->other, "encode");
        assert_int_equal(apply(w, complete_op(w, &job, NULL, 0)), ERR_OK);
        assert_counts(w);
    }
}

/* A copy of the store as it is, to be damaged. */
static const char *copy_make(struct world *w)
{
    const struct store_snapshots *d = w->d->snapshots;
    const char *dir = arena_printf(w->arena, "%s/copy", w->dir);
    struct store_snapshot *sn = NULL;
    bool whole = false;

    assert_int_equal(fs_remove_tree(dir, NULL), ERR_OK);
    assert_int_equal(fs_mkdirs(dir, 0700, NULL), ERR_OK);
    assert_int_equal(d->begin(w->s, dir, &sn, NULL), ERR_OK);
    while (!whole)
        assert_int_equal(d->step(sn, &whole, NULL), ERR_OK);
    d->end(sn);
    return dir;
}

/* @return of open or check */
static int copy_look(struct world *w, const char *dir, struct err *err)
{
    const struct store_snapshots *d = w->d->snapshots;
    struct store_copy *c = NULL;
    struct store_copy_info info;
    int rc = d->open(dir, &c, &info, err);

    if (rc == ERR_OK)
        rc = d->check(c, err);
    d->close(c);
    return rc;
}

static void test_a_damaged_copy_is_seen(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *sql;
        int want;
    } rows[] = {
        {"PRAGMA user_version = 9999", ERR_UNSUPPORTED},
        {"PRAGMA user_version = 0", ERR_CORRUPT},
        {"PRAGMA application_id = 7", ERR_CORRUPT},
        {"DROP TABLE log_chunks", ERR_CORRUPT},
        {"CREATE TRIGGER t AFTER INSERT ON jobs BEGIN DELETE FROM jobs; END", ERR_CORRUPT},
    };

    for (int i = 0; i < 200; i++)
        submit(w, "encode");
    char *dir = w->dir, saved[sizeof(w->dir)];
    snprintf(saved, sizeof(saved), "%s", dir);
    const char *copy = copy_make(w);
    struct err err = {0};
    assert_int_equal(copy_look(w, copy, &err), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        copy = copy_make(w);
        snprintf(w->dir, sizeof(w->dir), "%s", copy);
        execute(w, rows[i].sql);
        snprintf(w->dir, sizeof(w->dir), "%s", saved);
        assert_int_equal(copy_look(w, copy, &err), rows[i].want);
        assert_true(err.msg[0] != 0);
    }

    copy = copy_make(w);
    char path[128];
    snprintf(path, sizeof(path), "%s/haul.db", copy);
    AUTO_FILE FILE *f = fopen(path, "r+");
    assert_non_null(f);
    for (long at = 4096 * 3; at < 4096 * 40; at += 4096) { /* the heads of pages */
        fseek(f, at, SEEK_SET);
        fputs("damage", f);
    }
    fflush(f);
    assert_int_equal(copy_look(w, copy, &err), ERR_CORRUPT);
    assert_int_equal(ftruncate(fileno(f), 5000), 0);
    assert_int_equal(copy_look(w, copy, &err), ERR_CORRUPT);
    assert_int_equal(ftruncate(fileno(f), 0), 0);
    assert_int_equal(copy_look(w, copy, &err), ERR_CORRUPT);
}

/* HAUL_FAULTS_AT: the 8th step of this process finds the disk full. */
static void test_a_full_disk_ends_the_copy_and_nothing_else(void **state)
{
    struct world *w = *state;
    const struct store_snapshots *d = w->d->snapshots;
    struct store_snapshot *sn = NULL;
    struct err err = {0};
    int rc = ERR_OK;
    const char *dir = arena_printf(w->arena, "%s/copy", w->dir);

    assert_int_equal(fs_mkdirs(dir, 0700, NULL), ERR_OK);
    submit(w, "encode");
    assert_int_equal(d->begin(w->s, dir, &sn, NULL), ERR_OK);
    for (bool whole = false; rc == ERR_OK && !whole;)
        rc = d->step(sn, &whole, &err);
    d->end(sn);
    assert_int_equal(rc, ERR_NO_SPACE);
    assert_non_null(strstr(err.msg, "full"));
    submit(w, "encode");
    assert_int_equal(copy_look(w, copy_make(w), &err), ERR_OK);
}

/* A database of the second schema, with logs: of an attempt that ended, and of one that still writes. */
static void test_logs_from_before_they_could_be_cut(void **state)
{
    struct world *w = *state;
    static const char job[] =
        "INSERT INTO jobs (job_id, project, queue, task_type, priority, lane_id, payload, labels, max_attempts,"
        " timeout_us, created_at, start_deadline_at, status, run_at, waiting_on, attempt, retries, interruptions,"
        " losses, token, token_attempt, owner_id, lease_until, confirmed, cancel_requested_at, started_at,"
        " finished_at, last_outcome, progress, progress_at, version) VALUES (x'%032x', 'default', 'encode', 'encode',"
        " 5, 1, x'7b7d', x'7b7d', 5, 0, 1, 0, %d, 1, 0, 1, 0, 0, 0, %s, 1, x'0a', 9000000000000000, 1, 0, 1, 0, 0, -1,"
        " 0, 1);"
        "INSERT INTO attempts (job_id, attempt, project, token, poll_id, worker_id, started_at, ended_at, outcome,"
        " exit_code, signal, cpu_us, peak_memory_bytes, bytes_in, bytes_out, log_bytes, decided, answer_status,"
        " answer_run_at) VALUES (x'%032x', 1, 'default', x'%032x', 'p', x'0a', 1, %d, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0);"
        "INSERT INTO log_chunks (job_id, attempt, at, bytes) VALUES (x'%032x', 1, 0, x'6f6c64'), (x'%032x', 1, 3,"
        " x'2121')";
    struct job ended = {.job_id.b[15] = 1}, grows = {.job_id.b[15] = 2, .token = {.attempt = 1, .secret[15] = 7}};
    struct log_part part = {0};
    char buf[64];

    w->d->close(w->s);
    assert_int_equal(fs_remove_tree(w->dir, NULL), ERR_OK);
    assert_int_equal(mkdir(w->dir, 0700), 0);
    execute(w, sqlite_migrations[0]);
    execute(w, sqlite_migrations[1]);
    execute(w, arena_printf(w->arena, job, 1, 3, "NULL", 1, 6, 1, 1, 1));
    execute(w, arena_printf(w->arena, job, 2, 1, "x'00000000000000000000000000000007'", 2, 7, 0, 2, 2));
    execute(w, "PRAGMA user_version = 2; PRAGMA application_id = 1751217516");
    struct store_config config = {
        .dir = w->dir, .clock = clock_fake_view(&w->clock), .rng = w->rng, .policy = w->policy};
    assert_int_equal(w->d->open(&config, &w->s, NULL), ERR_OK);
    assert_int_equal(w->d->log_read(w->s, &ended.job_id, 1, 1, buf, sizeof(buf), &part, NULL), ERR_OK);
    assert_int_equal(part.n, 4);
    assert_memory_equal(buf, "ld!!", 4);
    assert_true(part.ended);
    assert_int_equal(apply(w, log_op(w, &grows, 5, " and new")), ERR_OK);
    assert_int_equal(w->d->log_read(w->s, &grows.job_id, 1, 0, buf, sizeof(buf), &part, NULL), ERR_OK);
    assert_int_equal(part.n, 13);
    assert_memory_equal(buf, "old!! and new", 13);
    assert_false(part.ended);
}

/* Dead letters of before there were fingerprints are entered a few at a time, by a sweeper; until then a list says it is not complete. */
static void test_dead_letters_of_before_are_entered(void **state)
{
    struct world *w = *state;
    struct dead_page page;
    struct dead_filter f = {.project = "default"};
    unsigned passes = 0;

    for (size_t i = 0; i < 3 * OP_CHANGES_MAX; i++) {
        submit(w, "encode");
        struct job job = claim(w, w->worker, "encode");
        struct op *op = fail_op(w, &job, OUTCOME_ERROR, true);
        op->u.fail.failure.error_log = i % 3 ? "disk full" : "no frame 7";
        apply(w, op);
    }
    submit(w, "encode");
    w->d->close(w->s);
    execute(w, "UPDATE jobs SET fingerprint = 0; DELETE FROM dead_letters; DELETE FROM dead_groups;"
               "DELETE FROM meta WHERE key = 'dead_entered'");
    struct store_config config = {
        .dir = w->dir, .clock = clock_fake_view(&w->clock), .rng = w->rng, .policy = w->policy};
    assert_int_equal(w->d->open(&config, &w->s, NULL), ERR_OK);
    assert_int_equal(w->d->dead_groups(w->s, &f, w->arena, &page, NULL), ERR_OK);
    assert_true(!page.complete && page.n == 0);
    struct op *refused = log_op(w, &(struct job){.job_id = id_make(w)}, 0, "x"), *pass;
    do {
        pass = op_make(w, OP_SWEEP_DEAD);
        apply_all(w, (struct op *[]){pass, refused}, 2);
        assert_ok(pass);
        assert_int_equal(pass->u.sweep.touched, passes < 3 ? OP_CHANGES_MAX : 0);
        if (++passes == 2) /* one that was taken back is done again: its memory must not be ahead of its rows */
            world_reopen(w);
    } while (pass->u.sweep.more);
    assert_int_equal(passes, 5); /* the last one finds no redrive */
    assert_int_equal(w->d->dead_groups(w->s, &f, w->arena, &page, NULL), ERR_OK);
    assert_true(page.complete && page.n == 2);
    assert_int_equal(page.groups[0].jobs, 2 * OP_CHANGES_MAX);
    assert_non_null(page.groups[0].error_log);
    assert_counts(w);
    assert_int_equal(sweep(w, OP_SWEEP_DEAD)->u.sweep.touched, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_failing_commits_are_told_apart, world_setup,
                                        world_teardown), /* first: counts from 1 */
        cmocka_unit_test_setup_teardown(test_rolled_back_claim_is_given_again, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_an_op_that_fails_late_leaves_its_neighbours_alone, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_P24_readers_do_not_hold_up_the_writer_nor_grow_the_log, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_reads_have_a_deadline, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_retention_leaves_no_row_in_any_table, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_invented_task_types_leave_no_rows, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_too_many_names_are_refused, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_an_upgrade_is_told, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_files_of_others_are_refused, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_every_earlier_schema_is_brought_up_to_date, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_damaged_copy_is_seen, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk_ends_the_copy_and_nothing_else, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_logs_from_before_they_could_be_cut, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_dead_letters_of_before_are_entered, world_setup, world_teardown),
    };

    setenv("HAUL_FAULTS_AT", "store.op:2,sqlite.commit:3,sqlite.sync:5,sqlite.copy:8", 1);
    contract_driver = store_sqlite();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
