/* The jobs of a type or label (sqlite/postings.c, posting_walk.c): what was added is walked in the order of ids, within bounds, however commits overlapped;
 * what was taken away is gone; many are a row. */
#include "store/sqlite/posting_walk.h"
#include "base/rng.h"
#include "sqlite_by_hand.h"
#include "store/sqlite/schema.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define ALL_MAX   20000
#define LONG_KEY  "a-key-that-is-as-long-as-any-key-may-be-which-is-63-bytes-long."
#define LONG_TEXT LONG_KEY LONG_KEY LONG_KEY LONG_KEY "123"

static const char *const projects[] = {"default", "other"}, *const keys[] = {"k", LONG_KEY},
                         *const values[] = {"", "v", LONG_TEXT};

/* Each posting of a test is one of a label, and one of a key: by its name alone. */
static const enum posting_of kinds[] = {POSTING_KEY, POSTING_LABEL};

struct world {
    struct sqlite_conn w;
    struct rng_seeded seed;
    struct posting all[ALL_MAX]; /* what is there */
    size_t n;
    usec now;
};

static void ok(int rc, const struct err *err)
{
    if (rc != ERR_OK)
        fail_msg("%s", err->msg);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct err err = {0};

    assert_non_null(w);
    assert_int_equal(strlen(LONG_KEY), 63);
    assert_int_equal(strlen(LONG_TEXT), 255);
    w->seed.state = 11;
    w->now = 1700000000 * USEC_PER_SEC;
    ok(conn_open(&w->w, ":memory:", true, clock_real(), &err), &err);
    for (unsigned i = 0; i < sqlite_n_migrations; i++)
        run_sql(w->w.db, sqlite_migrations[i]);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    conn_close(&w->w);
    free(w);
    return 0;
}

static uint64_t dice(struct world *w, uint64_t sides)
{
    return rng_u64(rng_seeded_view(&w->seed)) % sides;
}

static struct posting *post(struct world *w, const char *project, const char *key, const char *value, usec at)
{
    assert_true(w->n < ALL_MAX);
    w->all[w->n] = (struct posting){project, key, value, uuid_v7(at, rng_seeded_view(&w->seed))};
    return &w->all[w->n++];
}

static void add(struct world *w, struct posting *from, size_t n)
{
    const struct posting *some[POSTINGS_MAX];
    struct err err = {0};

    for (size_t i = 0; i < n; i++)
        some[i] = from + i;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
        ok(postings_add(&w->w.conn, kinds[k], some, n, &err), &err);
}

/* Those of `all` from there on, which move up. */
static void take_away(struct world *w, size_t at, size_t n)
{
    struct posting gone[POSTINGS_MAX];
    const struct posting *some[POSTINGS_MAX];
    struct err err = {0};

    for (size_t i = 0; i < n; i++) {
        gone[i] = w->all[at + i];
        some[n - 1 - i] = &gone[i];
    }
    memmove(w->all + at, w->all + at + n, (w->n - at - n) * sizeof(w->all[0]));
    w->n -= n;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
        ok(postings_remove(&w->w.conn, kinds[k], some, n, &err), &err);
}

static int64_t rows(struct world *w)
{
    return number_of(w->w.db, "SELECT count(*) FROM postings");
}

/* Each row lies in one page. */
static void assert_none_spilt(struct world *w)
{
    if (sqlite3_compileoption_used("ENABLE_DBSTAT_VTAB"))
        assert_int_equal(
            number_of(w->w.db, "SELECT count(*) FROM dbstat WHERE name = 'postings' AND pagetype = 'overflow'"), 0);
}

static int newest_first(const void *a, const void *b)
{
    return uuid_compare(b, a);
}

static int by_id(const void *a, const void *b)
{
    const struct posting *x = a, *y = b;

    return uuid_compare(&x->job_id, &y->job_id);
}

static size_t wanted(const struct world *w, enum posting_of of, const struct posting *p, const struct uuid *before,
                     const struct uuid *from, struct uuid *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < w->n; i++) {
        const struct posting *l = &w->all[i];
        if (strcmp(l->project, p->project) == 0 && strcmp(l->name, p->name) == 0 &&
            (of == POSTING_KEY || strcmp(l->value, p->value) == 0) &&
            (!before || uuid_compare(&l->job_id, before) < 0) && (!from || uuid_compare(&l->job_id, from) >= 0))
            ret[n++] = l->job_id;
    }
    qsort(ret, n, sizeof(*ret), newest_first);
    return n;
}

static void assert_walk(struct world *w, enum posting_of of, const struct posting *p, const struct uuid *before,
                        const struct uuid *from)
{
    static struct uuid want[ALL_MAX];
    size_t n = wanted(w, of, p, before, from, want), i = 0;
    struct posting_walk *walk;
    struct err err = {0};
    struct uuid id;
    bool more;

    ok(posting_walk_open(&w->w.conn, of, p, before, from, &walk, &err), &err);
    for (; posting_walk_next(walk, &more, &id, &err) == ERR_OK && more; i++) {
        assert_true(i < n);
        assert_memory_equal(id.b, want[i].b, sizeof(id.b));
    }
    ok((int)err.code, &err);
    assert_int_equal(i, n);
    posting_walk_close(walk);
    if (before || from)
        return;
    for (int64_t max = 1; max <= 4096; max *= 16) {
        int64_t count;
        ok(postings_count(&w->w.conn, of, p, max, &count, &err), &err);
        assert_int_equal(count, MIN((int64_t)n, max));
    }
}

static void assert_all_walks(struct world *w)
{
    for (size_t p = 0; p < ARRAY_LEN(projects); p++)
        for (size_t k = 0; k < ARRAY_LEN(keys); k++)
            for (size_t v = 0; v <= ARRAY_LEN(values); v++) {
                const enum posting_of of = v < ARRAY_LEN(values) ? POSTING_LABEL : POSTING_KEY;
                const struct posting f = {projects[p], keys[k], of == POSTING_LABEL ? values[v] : NULL, {{0}}};
                assert_walk(w, of, &f, NULL, NULL);
                if (w->n == 0)
                    continue;
                const struct uuid a = w->all[dice(w, w->n)].job_id, b = w->all[dice(w, w->n)].job_id,
                                  other = uuid_v7(w->now - (usec)dice(w, 2 * USEC_PER_SEC), rng_seeded_view(&w->seed));
                assert_walk(w, of, &f, &a, NULL);
                assert_walk(w, of, &f, NULL, &b);
                assert_walk(w, of, &f, &a, &b);
                assert_walk(w, of, &f, &other, &b);
            }
}

/* A batch of ids around now; its parts overlap those before, and some are of a clock that went back. */
static void add_some(struct world *w)
{
    size_t n = 1 + dice(w, POSTINGS_MAX), at = w->n;

    for (size_t i = 0; i < n; i++) {
        usec when = w->now + (usec)dice(w, 300 * USEC_PER_MSEC) - (dice(w, 50) == 0 ? 3600 * USEC_PER_SEC : 0);
        post(w, projects[dice(w, 8) == 0], keys[dice(w, 3) == 0], values[dice(w, ARRAY_LEN(values))], when);
    }
    w->now += (usec)dice(w, 100 * USEC_PER_MSEC);
    add(w, w->all + at, n);
}

static void test_what_is_there_is_walked(void **state)
{
    struct world *w = *state;

    for (int step = 0; step < 60; step++) {
        add_some(w);
        if (step % 3 == 2) {
            size_t n = 1 + dice(w, MIN(w->n, (size_t)POSTINGS_MAX));
            take_away(w, dice(w, w->n - n + 1), n);
        }
        if (step % 10 == 9)
            assert_all_walks(w);
    }
    assert_true(rows(w) < (int64_t)w->n); /* of two entries each */
    assert_none_spilt(w);
    while (w->n > 0) {
        size_t n = MIN(w->n, (size_t)POSTINGS_MAX);
        take_away(w, w->n - n, n);
    }
    assert_int_equal(rows(w), 0);
    assert_all_walks(w);
}

static void test_many_are_a_row(void **state)
{
    struct world *w = *state;
    const usec edge = (w->now / (256 * USEC_PER_MSEC) + 1) * 256 * USEC_PER_MSEC;

    for (size_t i = 0; i < POSTING_IDS_MAX; i++)
        post(w, "default", "k", "v", edge);
    add(w, w->all, POSTING_IDS_MAX);
    assert_int_equal(rows(w), 2);
    size_t at = w->n;
    for (size_t i = 0; i < POSTING_IDS_MAX + 1; i++)
        post(w, "default", "k", "v", edge);
    add(w, w->all + at, POSTING_IDS_MAX + 1);
    assert_int_equal(rows(w), 2 + 4);
    at = w->n;
    post(w, "default", "k", "v", edge - USEC_PER_MSEC); /* another 256 ms */
    post(w, "default", "k", "v", edge);
    add(w, w->all + at, 2);
    assert_int_equal(rows(w), 6 + 4);
    at = w->n;
    post(w, "default", "k", "v", edge);
    post(w, "default", "k", "w", edge); /* another value: by key they are one row */
    add(w, w->all + at, 2);
    assert_int_equal(rows(w), 10 + 3);
    at = w->n;
    for (size_t i = 0; i < POSTING_IDS_MAX; i++)
        post(w, "default", LONG_KEY, LONG_TEXT, edge);
    add(w, w->all + at, POSTING_IDS_MAX);
    assert_int_equal(rows(w), 13 + 4); /* fewer of them where texts are long */
    assert_none_spilt(w);
    assert_all_walks(w);
}

static void test_one_goes_from_its_row(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < 4; i++)
        post(w, "default", "k", "v", w->now);
    qsort(w->all, 4, sizeof(w->all[0]), by_id);
    struct posting never = w->all[0];
    never.job_id.b[15] ^= 1;
    add(w, w->all, 4);
    w->all[w->n++] = never;
    take_away(w, w->n - 1, 1); /* is not there */
    assert_all_walks(w);
    for (size_t at = 1; w->n > 0; at = w->n - 1) { /* from the middle, and the last one as long as there is one */
        take_away(w, at, 1);
        assert_all_walks(w);
        assert_int_equal(rows(w), w->n ? 2 : 0);
    }
}

/* What one label loses the other keeps, though the job is the same and next to what went. */
static void test_what_goes_is_one_label(void **state)
{
    struct world *w = *state;

    post(w, "default", "k", "v", w->now);
    post(w, "default", "k", "v", w->now);
    qsort(w->all, 2, sizeof(w->all[0]), by_id);
    w->all[2] = w->all[1];
    w->all[2].project = "other";
    w->n = 3;
    add(w, w->all, 3);
    struct posting stays = w->all[1];
    w->all[1] = w->all[2];
    w->all[2] = stays;
    take_away(w, 0, 2);
    assert_int_equal(w->n, 1);
    assert_all_walks(w);
}

static void test_damage_is_told(void **state)
{
    static const char *const damages[] = {"UPDATE postings SET others = x'00'",
                                          "UPDATE postings SET others = zeroblob(11 * 84)",
                                          "UPDATE postings SET last = x'ff'"};
    struct world *w = *state;
    const struct posting f = {"default", "k", "v", {{0}}};

    add(w, post(w, "default", "k", "v", w->now), 1);
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        struct posting_walk *walk;
        struct err err = {0};
        struct uuid id;
        bool more;
        run_sql(w->w.db, "SAVEPOINT whole");
        run_sql(w->w.db, damages[i]);
        ok(posting_walk_open(&w->w.conn, POSTING_LABEL, &f, NULL, NULL, &walk, &err), &err);
        assert_int_equal(posting_walk_next(walk, &more, &id, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.msg, "the database is damaged"));
        posting_walk_close(walk);
        run_sql(w->w.db, "ROLLBACK TO whole");
    }
    assert_all_walks(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_there_is_walked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_are_a_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_goes_from_its_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_goes_is_one_label, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
