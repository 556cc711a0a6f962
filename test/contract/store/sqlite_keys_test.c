/* Keys of submissions (sqlite/keys.c): the same key is the same job, whether it is in memory, on its way into the index, in it, or read
 * again after a start. */
#include "fixture.h"
#include "sqlite_by_hand.h"
#include "base/fs.h"
#include "store/sqlite/driver.h"
#include "store/sqlite/key_rows.h"
#include "store/sqlite/schema.h"
#include "store/sqlite/sqlite.h"
#include <inttypes.h>
#include <sqlite3.h>
#include <sys/stat.h>

const struct store_driver *contract_driver;

enum {
    KEYS = 60000,
    PORTION = 49152
}; /* more than a portion (keys.c), and less than what brings all of it into the index */

#define FIRST_BYTE_1 "0100000000000000000000000000000000000000000000000000000000000000"

static sqlite3 *database(struct world *w)
{
    char path[128];
    sqlite3 *db;

    snprintf(path, sizeof(path), "%s/haul.db", w->dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return db;
}

static int64_t number(struct world *w, const char *sql)
{
    sqlite3 *db = database(w);
    int64_t n = number_of(db, sql);
    sqlite3_close(db);
    return n;
}

static int64_t indexed(struct world *w)
{
    return number(w, "SELECT coalesce(sum(entries), 0) FROM key_runs");
}

static int count_key(void *arg, const struct packed_key *key, struct err *err)
{
    ++*(int64_t *)arg;
    return ERR_OK;
}

static int64_t remembered(struct world *w)
{
    static struct sqlite_conn c;
    char path[128];
    int64_t n = 0;

    snprintf(path, sizeof(path), "%s/haul.db", w->dir);
    assert_int_equal(conn_open(&c, path, false, clock_real(), NULL), ERR_OK);
    assert_int_equal(key_rows_each(&c.conn, 0, INT64_MAX, count_key, &n, NULL), ERR_OK);
    conn_close(&c);
    return n;
}

static struct op *keyed(struct world *w, struct op *op, struct arena *arena, int key)
{
    *op = (struct op){.kind = OP_SUBMIT, .project = "default", .arena = arena};
    op->u.submit.id_only = true;
    op->u.submit.request_hash[0] = 1;
    op->u.submit.dedup_us = 100 * w->policy.retention_us;
    op->u.submit.job = (struct job){.job_id = id_make(w),
                                    .queue = "encode",
                                    .task_type = "encode",
                                    .priority = 5,
                                    .payload = "{}",
                                    .labels = "{}",
                                    .dedup_key = arena_printf(arena, "key-%d", key)};
    return op;
}

/** A submission for each of them, none of which was known. */
static void submit_keys(struct world *w, int from, int to)
{
    static struct op ops[STORE_BATCH_MAX];

    for (int i = from; i < to;) {
        struct op *batch[STORE_BATCH_MAX];
        struct arena *arena = arena_new(16u << 20);
        size_t n = 0;
        for (; n < ARRAY_LEN(ops) && i < to; n++, i++)
            batch[n] = keyed(w, &ops[n], arena, i);
        apply_all(w, batch, n);
        for (size_t k = 0; k < n; k++) {
            assert_ok(batch[k]);
            assert_false(batch[k]->u.submit.duplicate);
        }
        later(w, 1000);
        arena_free(arena);
    }
}

/** The job that a submission with the key meets or makes. */
static struct uuid meet(struct world *w, int key, bool known)
{
    struct op *op = keyed(w, op_make(w, OP_SUBMIT), w->arena, key);

    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->u.submit.duplicate, known);
    return op->u.submit.job.job_id;
}

static void meet_some(struct world *w)
{
    for (int i = 0; i < KEYS; i += 487)
        meet(w, i, true);
}

static void forget_all(struct world *w)
{
    later(w, 101 * w->policy.retention_us);
    while (sweep(w, OP_SWEEP_DEDUP)->u.sweep.more)
        ;
    assert_int_equal(remembered(w), 0);
}

static void test_a_key_is_known_wherever_it_is(void **state)
{
    struct world *w = *state;

    submit_keys(w, 0, 7);
    submit_keys(w, 7, KEYS);
    assert_int_equal(indexed(w), 0);
    assert_true(number(w, "SELECT count(*) FROM key_chunks") > 0); /* on its way */
    meet_some(w);
    world_reopen(w);
    assert_int_equal(indexed(w), PORTION);
    assert_true(number(w, "SELECT count(*) FROM key_rows") < KEYS / 10);
    assert_int_equal(number(w, "SELECT count(*) FROM key_rows JOIN meta ON key = 'keys_indexed'"
                               " WHERE row <= value + 0 AND row + n - 1 > value + 0"),
                     1); /* it ends within a row */
    for (int i = PORTION - 50; i < PORTION + 50; i++)
        meet(w, i, true);
    meet_some(w);
    meet(w, KEYS, false);
    submit_keys(w, KEYS + 1, KEYS + 2 * PORTION); /* the next portion, beside new ones */
    assert_true(indexed(w) >= 2 * PORTION);
    meet_some(w);
    meet(w, KEYS, true);
    forget_all(w);
    world_reopen(w); /* which must not give rows again that count as indexed */
    meet(w, 5, false);
    world_reopen(w);
    meet(w, 5, true);
    meet(w, KEYS, false);
    /* what was still on its way into the index stays out of it, and what it had goes */
    submit_keys(w, 3 * KEYS, 3 * KEYS + 2 * PORTION);
    assert_true(indexed(w) > 0 && indexed(w) <= remembered(w));
    meet(w, 5, true);
}

static void test_a_key_goes_with_its_job_wherever_it_is(void **state)
{
    struct world *w = *state;
    const int places[] = {0, KEYS - 1}; /* indexed; in memory */

    submit_keys(w, 0, KEYS);
    world_reopen(w);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        struct uuid first = meet(w, places[i], true);
        assert_int_equal(apply(w, job_op(w, OP_CANCEL, first)), ERR_OK);
        later(w, w->policy.retention_us);
        assert_int_equal(sweep(w, OP_SWEEP_RETENTION)->u.sweep.touched, 1);
        assert_int_equal(remembered(w), KEYS - 1);
        struct uuid second = meet(w, places[i], false);
        assert_false(uuid_equal(&first, &second));
        assert_true(uuid_equal(&second, (const struct uuid[]){meet(w, places[i], true)}));
    }
    world_reopen(w);
    meet(w, 0, true);
    meet(w, 1, true);
}

/* Keys that came together lie in one row; when their window is over each gives way alone. */
static void test_keys_of_one_row_give_way_alone(void **state)
{
    struct world *w = *state;

    submit_keys(w, 0, 5);
    assert_int_equal(number(w, "SELECT n FROM key_rows"), 5);
    later(w, 101 * w->policy.retention_us);
    struct uuid middle = meet(w, 2, false);
    assert_int_equal(remembered(w), 5);
    assert_int_equal(number(w, "SELECT count(*) FROM key_rows"), 2);
    meet(w, 0, false);
    meet(w, 4, false);
    assert_true(uuid_equal(&middle, (const struct uuid[]){meet(w, 2, true)}));
    world_reopen(w);
    assert_true(uuid_equal(&middle, (const struct uuid[]){meet(w, 2, true)}));
    meet(w, 1, false);
    meet(w, 3, false); /* the row's last */
    assert_int_equal(remembered(w), 5);
    assert_int_equal(number(w, "SELECT min(row) FROM key_rows"), 6);
    assert_int_equal(sweep(w, OP_SWEEP_DEDUP)->u.sweep.touched, 0);
}

/* A batch that is rolled back and tried again, op by op, since one of its jobs has an id that is taken. */
static void test_the_key_of_an_op_that_failed_is_free(void **state)
{
    struct world *w = *state;
    struct uuid taken = meet(w, 0, false);
    struct op *batch[5];

    for (int i = 0; i < 5; i++)
        batch[i] = keyed(w, op_make(w, OP_SUBMIT), w->arena, 1 + i);
    batch[2]->u.submit.job.job_id = taken;
    apply_all(w, batch, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(batch[i]->err.code == ERR_OK, i != 2);
    assert_int_equal(remembered(w), 5);
    for (int i = 0; i < 2; i++) {
        for (int key = 0; key < 6; key++)
            if (key != 3)
                meet(w, key, true);
        world_reopen(w);
    }
    meet(w, 3, false);
    meet(w, 3, true);
}

/* A start reads rows that are not indexed: it says what is damaged, and does not begin. */
static void test_a_start_on_damaged_keys_is_refused(void **state)
{
    struct world *w = *state;
    struct store_config config = {
        .dir = w->dir, .clock = clock_fake_view(&w->clock), .rng = w->rng, .policy = w->policy};
    struct err err = {0};
    sqlite3 *db = database(w);

    submit_keys(w, 0, 50);
    w->d->close(w->s);
    run_sql(db, "CREATE TABLE copy AS SELECT * FROM key_rows;"
                "UPDATE key_rows SET entries = substr(entries, 1, length(entries) - 1) WHERE row > 1");
    assert_int_equal(w->d->open(&config, &w->s, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "of key_rows are damaged"));
    run_sql(db, "DELETE FROM key_rows; INSERT INTO key_rows SELECT * FROM copy; DROP TABLE copy");
    sqlite3_close(db);
    assert_int_equal(w->d->open(&config, &w->s, &err), ERR_OK);
    meet(w, 49, true);
}

/* So many that the filter's shares grow while a portion is on its way, and a start reads all of it again. */
static void test_keys_are_known_while_the_index_grows(void **state)
{
    struct world *w = *state;
    const int before = 205000;
    sqlite3 *db = database(w);

    run_sql(db, "INSERT INTO key_rows WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 204999)"
                " SELECT i + 1, 1, 'default', 9000000000000000000, CAST(char(4 + length(i)) || x'01' || zeroblob(15) ||"
                " x'01' || zeroblob(32) || x'" FIRST_BYTE_1 "' || 'key-' || i AS BLOB) FROM n");
    sqlite3_close(db);
    world_reopen(w);
    assert_int_equal(indexed(w), before / PORTION * PORTION);
    assert_int_equal(number(w, "SELECT count(*) FROM key_runs"), 1); /* of four */
    meet_some(w);
    submit_keys(w, before, before + KEYS);
    assert_int_equal(indexed(w), before / PORTION * PORTION);
    submit_keys(w, before + KEYS, before + KEYS + PORTION / 2);
    assert_true(indexed(w) > before);
    for (int i = 0; i < 2; i++) {
        for (int key = 1; key < before + KEYS; key += 97)
            meet(w, key, true);
        world_reopen(w);
    }
    meet(w, before + 2 * KEYS, false);
}

static void test_keys_of_an_earlier_schema_are_indexed_at_the_start(void **state)
{
    struct world *w = *state;
    struct store_config config = {
        .dir = w->dir, .clock = clock_fake_view(&w->clock), .rng = w->rng, .policy = w->policy};

    w->d->close(w->s);
    assert_int_equal(fs_remove_tree(w->dir, NULL), ERR_OK);
    assert_int_equal(mkdir(w->dir, 0700), 0);
    sqlite3 *db = database(w);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(sqlite3_exec(db, sqlite_migrations[i], NULL, NULL, NULL), SQLITE_OK);
    const char *rows = arena_printf(w->arena,
                                    "PRAGMA user_version = 5; PRAGMA application_id = 1751217516;"
                                    "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
                                    "INSERT INTO dedup SELECT 'default', 'key-' || i, zeroblob(15) || x'01',"
                                    " x'" FIRST_BYTE_1 "', zeroblob(32), 9000000000000000000 FROM n",
                                    KEYS - 1);
    assert_int_equal(sqlite3_exec(db, rows, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(w->d->open(&config, &w->s, NULL), ERR_OK);
    assert_int_equal(indexed(w), PORTION);
    meet_some(w);
    meet(w, KEYS, false);
    world_reopen(w);
    meet(w, KEYS, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_key_is_known_wherever_it_is, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_key_goes_with_its_job_wherever_it_is, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_keys_of_one_row_give_way_alone, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_the_key_of_an_op_that_failed_is_free, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_start_on_damaged_keys_is_refused, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_keys_are_known_while_the_index_grows, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_keys_of_an_earlier_schema_are_indexed_at_the_start, world_setup,
                                        world_teardown),
    };

    contract_driver = store_sqlite();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
