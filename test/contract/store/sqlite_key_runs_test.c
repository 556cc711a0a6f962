/* The index of keys (sqlite/key_runs.c): what was taken is found, however it was merged; what is gone leaves; nothing is lost to a rollback or a
 * stop. */
#include "store/sqlite/key_runs.h"
#include "base/rng.h"
#include "sqlite_by_hand.h"
#include "store/sqlite/driver.h"
#include "store/sqlite/schema.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
    PORTION = 1000, /* four chunks, the last one not full */
    BATCH = 40,     /* keys that came with one */
    PACE = 2,
    ROWS_MAX = 200000
};

/* A key's bytes, each in a row of its own: its length, a hash of the request, a job, both hashes, itself. */
#define ENTRY                                                                                                          \
    "\x01\x01"                                                                                                         \
    "0123456789abcdef"                                                                                                 \
    "0123456789abcdef0123456789abcdef"                                                                                 \
    "0123456789abcdef0123456789abcdef"                                                                                 \
    "k"

struct world {
    struct sqlite_conn w;
    struct key_runs *runs;
    struct rng_seeded seed;
    struct key_entry all[ROWS_MAX]; /* all that was ever taken */
    size_t n;
    struct key_entry portion[PORTION];
};

static void ok(int rc, const struct err *err)
{
    if (rc != ERR_OK)
        fail_msg("%s", err->msg);
}

static void sql(struct world *w, const char *text)
{
    run_sql(w->w.db, text);
}

static int64_t ask(struct world *w, const char *text)
{
    return number_of(w->w.db, text);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct err err = {0};

    assert_non_null(w);
    w->seed.state = 5;
    ok(conn_open(&w->w, ":memory:", true, clock_real(), &err), &err);
    for (unsigned i = 0; i < sqlite_n_migrations; i++)
        sql(w, sqlite_migrations[i]);
    ok(key_runs_load(&w->w.conn, &w->runs, &err), &err);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    key_runs_free(w->runs);
    conn_close(&w->w);
    free(w);
    return 0;
}

static void reload(struct world *w)
{
    struct err err = {0};

    key_runs_free(w->runs);
    ok(key_runs_load(&w->w.conn, &w->runs, &err), &err);
}

static int by_hash(const void *a, const void *b)
{
    const struct key_entry *x = a, *y = b;

    return (x->hash > y->hash) - (x->hash < y->hash);
}

/** The next rows of the table, which are the next portion. @param hash  of all of them; 0: each has one of its own */
static void take(struct world *w, int64_t hash)
{
    struct err err = {0};

    for (size_t i = 0; i < PORTION; i++) {
        int64_t its = hash ? hash : (int64_t)rng_u64(rng_seeded_view(&w->seed));
        assert_true(w->n < ROWS_MAX);
        w->all[w->n] = w->portion[i] = (struct key_entry){its, (int64_t)w->n + 1};
        w->n++;
        ok(q_run(&w->w.conn, NULL, &err, "INSERT INTO key_rows VALUES (?1, 1, 'p', 1, CAST(?2 AS BLOB))", "it",
                 (int64_t)w->n, ENTRY),
           &err);
    }
    qsort(w->portion, PORTION, sizeof(w->portion[0]), by_hash);
    key_runs_take(w->runs, w->portion, PORTION);
}

/** @return whether the portion is a run */
static bool batch(struct world *w, size_t entries, bool commit)
{
    struct err err = {0};
    bool written = false;

    sql(w, "BEGIN");
    ok(key_runs_advance(&w->w.conn, w->runs, entries, &written, &err), &err);
    sql(w, commit ? "COMMIT" : "ROLLBACK");
    key_runs_settle(w->runs, commit);
    return written && commit;
}

/** As it comes: a portion's keys arrive, batch by batch, while the one before is written. */
static void portions(struct world *w, int n, int64_t hash)
{
    for (int i = 0; i < n; i++) {
        bool written = false;
        take(w, hash);
        for (int came = 0; came < PORTION; came += BATCH)
            written = batch(w, PACE * BATCH, true) || written;
        assert_true(written);
    }
}

static void all_moved(struct world *w)
{
    while (key_runs_busy(w->runs))
        batch(w, 1000000, true);
}

static size_t found(struct world *w, int64_t hash, int64_t row)
{
    struct key_walk walk = {0};
    struct err err = {0};
    int64_t its;
    size_t n = 0;

    do {
        ok(key_runs_next(&w->w.conn, w->runs, hash, &walk, &its, &err), &err);
        n += its == row;
    } while (its);
    return n;
}

static void assert_found(struct world *w, size_t from, size_t step)
{
    for (size_t i = from; i < w->n; i += step)
        assert_int_equal(found(w, w->all[i].hash, w->all[i].row), 1);
    assert_int_equal(found(w, 12345, 1), 0);
}

static void test_what_was_taken_is_found(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 70; i++) {
        portions(w, 1, 0);
        assert_true(ask(w, "SELECT max(n) FROM (SELECT count(*) AS n FROM key_runs GROUP BY level)") <= 6);
        assert_found(w, (size_t)i, 997);
    }
    assert_int_equal(key_runs_entries(w->runs), 70 * PORTION);
    assert_true(ask(w, "SELECT max(level) FROM key_runs") >= 2);
    assert_found(w, 0, 7);
    /* what was merged is written over: once all, and once more what is being merged, at most */
    assert_true(ask(w, "SELECT count(*) FROM key_chunks") < 2 * 70 * PORTION / 252 + 100);
    reload(w);
    assert_int_equal(key_runs_entries(w->runs), 70 * PORTION);
    assert_found(w, 3, 7);
    all_moved(w);
    assert_found(w, 5, 7);
    assert_int_equal(ask(w, "SELECT sum(length(entries)) / 16 FROM key_chunks WHERE run IN (SELECT run FROM key_runs)"),
                     70 * PORTION);
}

/* Each batch may fail, the one that ends a merge as well. */
static void test_a_rollback_loses_nothing(void **state)
{
    struct world *w = *state;
    unsigned failed = 0;

    for (int i = 0; i < 40; i++) {
        take(w, 0);
        for (bool written = false; !written;) {
            bool commit = rng_u64(rng_seeded_view(&w->seed)) % 8 != 0;
            written = batch(w, 400, commit);
            failed += !commit;
        }
        assert_found(w, (size_t)i, 499);
        if (i % 10 == 9)
            reload(w);
    }
    assert_true(failed > 10);
    all_moved(w);
    assert_int_equal(key_runs_entries(w->runs), 40 * PORTION);
    assert_found(w, 0, 7);
}

/* A batch that removed rows is rolled back: they are there again, and nothing that began in it knows better. */
static void test_what_a_rollback_brings_back_is_found(void **state)
{
    struct world *w = *state;
    struct err err = {0};
    bool written;

    for (size_t entries = 0; entries <= 2 * BATCH; entries += BATCH) {
        take(w, 0);
        sql(w, "BEGIN");
        sql(w, "DELETE FROM key_rows");
        ok(key_runs_advance(&w->w.conn, w->runs, entries, &written, &err), &err);
        sql(w, "ROLLBACK");
        key_runs_settle(w->runs, false);
        all_moved(w);
        assert_found(w, 0, 7);
    }
}

/* A chunk that a look read is read again once it was written over: here that of the lowest hashes by the highest. */
static void test_a_chunk_that_is_written_over_is_read_again(void **state)
{
    struct world *w = *state;

    portions(w, 1, 0);
    const struct key_entry lowest = w->portion[0];
    portions(w, 3, 0);
    assert_int_equal(found(w, lowest.hash, lowest.row), 1);
    all_moved(w);
    int64_t chunks = ask(w, "SELECT max(chunk) FROM key_chunks");
    portions(w, 1, 0);
    assert_int_equal(ask(w, "SELECT max(chunk) FROM key_chunks"), chunks);
    const struct key_entry highest = w->portion[PORTION - 1];
    assert_int_equal(found(w, highest.hash, highest.row), 1);
}

static void test_what_is_gone_leaves(void **state)
{
    struct world *w = *state;

    portions(w, 12, 0);
    all_moved(w);
    assert_int_equal(key_runs_entries(w->runs), 12 * PORTION);
    sql(w, "DELETE FROM key_rows WHERE row <= 11500");
    portions(w, 1, 0);
    assert_int_equal(key_runs_entries(w->runs), 5 * PORTION); /* runs of those alone go whole, */
    assert_found(w, 11500, 7);
    portions(w, 11, 0);
    all_moved(w);
    assert_int_equal(key_runs_entries(w->runs), 500 + 12 * PORTION); /* others when they are merged */
    assert_found(w, 11500, 7);
    sql(w, "DELETE FROM key_rows");
    portions(w, 4, 0);
    sql(w, "DELETE FROM key_rows");
    portions(w, 3, 0); /* what was being merged when they went goes once it is a run */
    assert_int_equal(key_runs_entries(w->runs), 3 * PORTION);
    reload(w);
    assert_found(w, w->n - 3 * PORTION, 7);
    assert_int_equal(found(w, w->all[0].hash, 1), 0);
}

/* A client that submits, discards and submits again does not make the next look for its key ever longer. */
static void test_a_key_that_comes_again_and_again_is_there_once(void **state)
{
    struct world *w = *state;
    struct key_walk walk = {0};
    struct err err = {0};
    int64_t row, seen = 0;

    for (int i = 0; i < 5; i++) {
        take(w, 77);
        sql(w, "DELETE FROM key_rows WHERE row > 1 AND row < (SELECT max(row) FROM key_rows)");
        while (!batch(w, PACE * BATCH, true))
            ;
    }
    all_moved(w);
    do {
        ok(key_runs_next(&w->w.conn, w->runs, 77, &walk, &row, &err), &err);
        seen += row > 0;
    } while (row);
    assert_true(seen <= 4); /* of two runs: the first row, and the last of its portion when that was written */
    assert_int_equal(found(w, 77, (int64_t)w->n), 1);
    assert_int_equal(found(w, 77, 1), 1);
}

/* Many keys of one hash, all there: they are found across chunks, and in each run. */
static void test_keys_of_one_hash_are_all_found(void **state)
{
    struct world *w = *state;

    portions(w, 3, 0);
    portions(w, 3, INT64_MIN);
    portions(w, 1, INT64_MAX);
    all_moved(w);
    assert_found(w, 0, 131);
}

struct range {
    int64_t from, to;
    size_t n;
};

static void in_range(void *arg, const struct key_entry *e)
{
    struct range *r = arg;

    assert_true(e->hash >= r->from && e->hash <= r->to);
    r->n++;
}

static void test_each_of_a_range(void **state)
{
    struct world *w = *state;
    struct err err = {0};

    portions(w, 7, 0);
    sql(w, "DELETE FROM key_rows WHERE row <= 100");
    struct range ranges[] = {{INT64_MIN, INT64_MAX, 0}, {-(INT64_C(1) << 62), INT64_C(1) << 60, 0}, {5, 5, 0}};
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        struct range *r = &ranges[i];
        size_t want = 0;
        for (size_t k = 100; k < w->n; k++)
            want += w->all[k].hash >= r->from && w->all[k].hash <= r->to;
        ok(key_runs_each(&w->w.conn, w->runs, r->from, r->to, in_range, r, &err), &err);
        assert_int_equal(r->n, want);
    }
}

static void test_damage_is_refused(void **state)
{
    struct world *w = *state;
    static const char *const damage[] = {
        "DELETE FROM key_chunks WHERE nth = 2",
        "UPDATE key_chunks SET nth = 99 WHERE nth = 2",
        "UPDATE key_chunks SET entries = x'0102' WHERE nth = 2",
        "UPDATE key_runs SET level = 16",
        "UPDATE key_runs SET chunks = 0",
    };

    portions(w, 1, 0);
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        struct key_runs *runs = NULL;
        struct err err = {0};
        sql(w, "BEGIN");
        sql(w, damage[i]);
        assert_int_equal(key_runs_load(&w->w.conn, &runs, &err), ERR_CORRUPT);
        key_runs_free(runs);
        sql(w, "ROLLBACK");
    }
    sql(w, "UPDATE key_chunks SET entries = zeroblob(17)"); /* while it is used */
    struct key_walk walk = {0};
    struct err err = {0};
    int64_t row;
    assert_int_equal(key_runs_next(&w->w.conn, w->runs, w->all[0].hash, &walk, &row, &err), ERR_CORRUPT);
}

/* What a stop left of a run that was being made is no part of the index, and is written over. */
static void test_a_run_that_was_not_whole_is_written_over(void **state)
{
    struct world *w = *state;

    portions(w, 1, 0);
    for (int i = 0; i < 3; i++) {
        take(w, 0);
        for (int stops = 0; stops < 3; stops++) {
            batch(w, 600, true);
            assert_int_equal(ask(w, "SELECT count(DISTINCT run) - (SELECT count(*) FROM key_runs) FROM key_chunks"), 1);
            reload(w);
            assert_int_equal(key_runs_entries(w->runs), (i + 1) * PORTION);
            key_runs_take(w->runs, w->portion, PORTION); /* the store reads those rows again */
        }
        all_moved(w);
        assert_found(w, 0, 3);
    }
    assert_int_equal(ask(w, "SELECT max(chunk) FROM key_chunks"),
                     4 * 4 + 4 * 4); /* four portions, and what they became */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_was_taken_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_rollback_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_rollback_brings_back_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_chunk_that_is_written_over_is_read_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_gone_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_key_that_comes_again_and_again_is_there_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys_of_one_hash_are_all_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_of_a_range, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_run_that_was_not_whole_is_written_over, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
