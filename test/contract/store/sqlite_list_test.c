/* How SQLite makes a list: along an index, never sorting, and in a time that does not depend on how much there is. */
#include "fixture.h"
#include "base/fs.h"
#include "store/sqlite/list_query.h"
#include "store/sqlite/schema.h"
#include "store/sqlite/sqlite.h"
#include <sys/stat.h>

const struct store_driver *contract_driver;

static void explain(sqlite3 *db, const char *query, char *ret, size_t size)
{
    sqlite3_stmt *st = NULL;
    char *sql = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", query);

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    while (sqlite3_step(st) == SQLITE_ROW) {
        size_t n = strlen(ret);
        snprintf(ret + n, size - n, "%s\n", (const char *)sqlite3_column_text(st, 3));
    }
    assert_true(strlen(ret) + 1 < size);
    sqlite3_free(sql);
    sqlite3_finalize(st);
}

/* The plan of a filter's query, one step a line. Of a walk along postings only that there is one. */
static void plan_of(struct sqlite_conn *c, const struct job_filter *f, char *ret, size_t size)
{
    struct list_walk w;

    assert_int_equal(list_walk_open(&c->conn, f, &w, NULL), ERR_OK);
    snprintf(ret, size, "%s", w.walk ? "POSTINGS\n" : "");
    if (w.st)
        explain(c->db, sqlite3_sql(w.st), ret, size);
    list_walk_close(&w);
}

static bool scans(const char *plan)
{
    static const char scan[] = "SCAN ", nothing[] = "SCAN CONSTANT ROW";

    while ((plan = strstr(plan, scan)) && strncmp(plan, nothing, strlen(nothing)) == 0)
        plan += strlen(nothing);
    return plan;
}

static void test_P29_no_filter_scans_or_sorts(void **state)
{
    struct world *w = *state;
    struct sqlite_conn c;
    char path[128], plan[4096];

    submit(w, "encode"); /* not empty */
    snprintf(path, sizeof(path), "%s/haul.db", w->dir);
    assert_int_equal(conn_open(&c, path, false, clock_fake_view(&w->clock), NULL), ERR_OK);
    for (unsigned bits = 0; bits < 1u << 10; bits++)
        for (int status = -1; status < JOB_STATUS_COUNT; status++) {
            struct job_filter f = {.project = "default", .status = status, .limit = 50};
            if (bits & 1)
                f.task_type = "encode";
            if (bits & 2)
                f.queue = "encode";
            if (bits & 4)
                f.labels[f.n_labels++] = (struct label_filter){"k", "v"};
            if (bits & 8)
                f.labels[f.n_labels++] = (struct label_filter){"l", NULL};
            if (bits & 16)
                f.created_after = USEC_PER_SEC;
            if (bits & 32)
                f.created_before = w->clock.wall_us;
            if (bits & 64)
                f.before = w->worker;
            if (bits & 128)
                f.fingerprint = 7;
            if (bits & 256)
                f.failed_before = w->clock.wall_us;
            if (bits & 512)
                f.text = "text";
            plan_of(&c, &f, plan, sizeof(plan));
            if (scans(plan) || strstr(plan, "TEMP B-TREE"))
                fail_msg("bits %u, status %d:\n%s", bits, status, plan);
        }
    conn_close(&c);
}

static size_t looked_at(struct sqlite_conn *c, const struct job_filter *f)
{
    struct list_walk w;
    struct uuid id;
    bool more, fits;
    size_t n = 0;

    assert_int_equal(list_walk_open(&c->conn, f, &w, NULL), ERR_OK);
    while (list_walk_next(&w, &more, &id, &fits, NULL) == ERR_OK && more)
        n++;
    list_walk_close(&w);
    return n;
}

/* The rarest condition leads, whatever order it was given in. */
static void test_the_rarest_condition_leads(void **state)
{
    struct world *w = *state;
    struct sqlite_conn c;
    char path[128], plan[4096];
    struct job_filter f = {.project = "default", .status = JOB_PENDING, .task_type = "encode", .limit = 50};

    for (int i = 0; i < 40; i++) {
        struct op *op = submit_op(w, i == 0 ? "rare" : "encode");
        op->u.submit.job.labels = i % 20 == 1 ? "{\"all\":\"x\",\"few\":\"x\"}" : "{\"all\":\"x\"}";
        apply(w, op);
        assert_ok(op);
    }
    snprintf(path, sizeof(path), "%s/haul.db", w->dir);
    assert_int_equal(conn_open(&c, path, false, clock_fake_view(&w->clock), NULL), ERR_OK);
    f.labels[f.n_labels++] = (struct label_filter){"all", "x"};
    f.labels[f.n_labels++] = (struct label_filter){"few", "x"};
    plan_of(&c, &f, plan, sizeof(plan));
    assert_non_null(strstr(plan, "POSTINGS\n"));
    assert_int_equal(looked_at(&c, &f), 2);
    f.task_type = "rare";
    plan_of(&c, &f, plan, sizeof(plan));
    assert_non_null(strstr(plan, "POSTINGS\n"));
    assert_int_equal(looked_at(&c, &f), 1);
    f.status = JOB_FAILED;
    plan_of(&c, &f, plan, sizeof(plan));
    assert_non_null(strstr(plan, "jobs_status"));
    f = (struct job_filter){.project = "default", .status = JOB_CANCELLED, .limit = 50};
    plan_of(&c, &f, plan, sizeof(plan));
    assert_non_null(strstr(plan, "history_status"));
    f.status = JOB_PENDING; /* as nearly all: along the ids */
    plan_of(&c, &f, plan, sizeof(plan));
    assert_non_null(strstr(plan, "sqlite_autoindex_jobs_1"));
    f.status = JOB_SUCCESS;
    plan_of(&c, &f, plan, sizeof(plan));
    assert_non_null(strstr(plan, "sqlite_autoindex_history_1"));
    conn_close(&c);
}

static size_t count_of(struct world *w, const struct job_filter *f)
{
    struct job_page page;

    assert_int_equal(w->d->job_list(w->s, f, w->arena, &page, NULL), ERR_OK);
    assert_false(page.more);
    return page.n;
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

static void many(struct world *w, const char *task_type, size_t n_jobs, bool cancel)
{
    struct op *ops[STORE_BATCH_MAX];

    for (size_t done = 0, n; done < n_jobs; done += n) {
        n = MIN(n_jobs - done, ARRAY_LEN(ops));
        for (size_t i = 0; i < n; i++)
            ops[i] = submit_op(w, task_type);
        apply_all(w, ops, n);
        for (size_t i = 0; cancel && i < n; i++)
            ops[i] = job_op(w, OP_CANCEL, ops[i]->u.submit.job.job_id);
        if (cancel)
            apply_all(w, ops, n);
    }
}

/* Of a type with much history: the newest jobs of it are the pending ones, and it is known how many these are. */
static void test_the_pending_of_a_type_are_found_before_its_history(void **state)
{
    enum { OLD = 2100 }; /* more than are counted to compare */
    struct world *w = *state;
    struct sqlite_conn c;
    char path[128], plan[4096];
    struct job_filter f = {.project = "default", .status = JOB_PENDING, .task_type = "encode", .limit = 50};
    struct job last = {.version = 0};

    many(w, "encode", OLD, true);
    later(w, USEC_PER_SEC);
    for (int i = 0; i < 3; i++)
        last = submit(w, "encode");
    snprintf(path, sizeof(path), "%s/haul.db", w->dir);
    assert_int_equal(conn_open(&c, path, false, clock_fake_view(&w->clock), NULL), ERR_OK);
    assert_int_equal(looked_at(&c, &f), 3);
    assert_int_equal(count_of(w, &f), 3);
    f.before = last.job_id; /* how many of them stand behind a cursor is not: along the live ones, which are fewer */
    plan_of(&c, &f, plan, sizeof(plan));
    assert_null(strstr(plan, "POSTINGS"));
    assert_int_equal(looked_at(&c, &f), 2);
    assert_int_equal(count_of(w, &f), 2);
    f.before = (struct uuid){{0}};
    f.status = -1;
    assert_int_equal(looked_at(&c, &f), OLD + 3);
    f.status = JOB_PENDING;
    f.task_type = "never";
    assert_int_equal(looked_at(&c, &f), 0);
    many(w, "other", OLD, false);
    f.task_type = "encode";
    f.before = last.job_id; /* nor are the live ones fewer now */
    plan_of(&c, &f, plan, sizeof(plan));
    assert_non_null(strstr(plan, "POSTINGS"));
    execute(w, "UPDATE jobs SET status = 3"); /* as if all had failed */
    f.before = (struct uuid){{0}};
    f.status = JOB_FAILED;
    plan_of(&c, &f, plan, sizeof(plan));
    assert_non_null(strstr(plan, "jobs_status"));
    conn_close(&c);
}

#define OLD_JOB(table, id, status, labels)                                                                             \
    "INSERT INTO " table " (job_id, project, queue, task_type, priority, lane_id, payload, labels, max_attempts,"      \
    " timeout_us, created_at, start_deadline_at, status, run_at, waiting_on, attempt, retries, interruptions, losses," \
    " token_attempt, lease_until, confirmed, cancel_requested_at, started_at, finished_at, last_outcome, progress,"    \
    " progress_at, version) VALUES (x'" id "', 'default', 'q', 't', 5, 1, x'7b7d', CAST('" labels "' AS BLOB), 5, 0,"  \
    " 1690000000000000, 0, " status ", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 1);"

/* A database of the first schema, with labelled jobs: they are found by their labels, and by a time that their ids know nothing of. */
static void test_labels_of_an_older_schema(void **state)
{
    struct world *w = *state;
    struct store_config config = {
        .dir = w->dir, .clock = clock_fake_view(&w->clock), .rng = w->rng, .policy = w->policy};
    struct job_filter f = {.project = "default", .status = -1, .limit = 50, .n_labels = 1};

    w->d->close(w->s);
    assert_int_equal(fs_remove_tree(w->dir, NULL), ERR_OK);
    assert_int_equal(mkdir(w->dir, 0700), 0);
    execute(w, sqlite_migrations[0]);
    execute(w, "PRAGMA user_version = 1; PRAGMA application_id = 1751217516;"
               "INSERT INTO lanes VALUES (1, 'default', 'q', 't', 5);" OLD_JOB(
                   "jobs", "00000000000070008000000000000001", "3", "{\"film\":\"7\",\"who\":\"me\"}")
                   OLD_JOB("jobs", "00000000000070008000000000000002", "3", "{}")
                       OLD_JOB("history", "00000000000070008000000000000003", "2", "{\"film\":\"\\u00fc\"}"));
    assert_int_equal(w->d->open(&config, &w->s, NULL), ERR_OK);
    f.labels[0] = (struct label_filter){"film", NULL};
    assert_int_equal(count_of(w, &f), 2);
    f.labels[0].value = "ü";
    assert_int_equal(count_of(w, &f), 1);
    f.labels[0] = (struct label_filter){"who", "me"};
    assert_int_equal(count_of(w, &f), 1);
    f.n_labels = 0;
    f.created_after = 1690000000 * USEC_PER_SEC;
    f.created_before = f.created_after + 1;
    assert_int_equal(count_of(w, &f), 3);
    submit(w, "encode");
    assert_int_equal(count_of(w, &f), 3);
    f.created_before = 0;
    assert_int_equal(count_of(w, &f), 4);
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

/* A search that would take too long is cut, and goes on where it was: in the end all was looked at. */
static void test_a_long_search_comes_in_pieces(void **state)
{
    struct world *w = *state;
    struct clock leaping = {.wall_us = wall, .boot_us = leap, .self = &w->clock};
    struct store_config config = {.dir = w->dir, .clock = leaping, .rng = w->rng, .policy = w->policy};
    struct job_filter f = {.project = "default", .status = -1, .queue = "rare", .limit = 1000};
    struct op *ops[STORE_BATCH_MAX];
    size_t found = 0, pages = 0;

    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        ops[i] = submit_op(w, "encode");
        ops[i]->u.submit.job.queue = i % 100 == 0 ? "rare" : "encode";
    }
    apply_all(w, ops, ARRAY_LEN(ops));
    w->d->close(w->s);
    assert_int_equal(w->d->open(&config, &w->s, NULL), ERR_OK);
    for (bool more = true; more; pages++) {
        struct job_page page;
        assert_int_equal(w->d->job_list(w->s, &f, w->arena, &page, NULL), ERR_OK);
        for (size_t i = 0; i < page.n; i++)
            assert_string_equal(page.jobs[i].queue, "rare");
        assert_true(!page.more || uuid_is_nil(&f.before) || uuid_compare(&page.next, &f.before) < 0);
        found += page.n;
        f.before = page.next;
        more = page.more;
    }
    assert_int_equal(found, 6);
    assert_true(pages > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_P29_no_filter_scans_or_sorts, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_the_rarest_condition_leads, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_the_pending_of_a_type_are_found_before_its_history, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_labels_of_an_older_schema, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_long_search_comes_in_pieces, world_setup, world_teardown),
    };

    contract_driver = store_sqlite();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
