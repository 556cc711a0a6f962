/* Keys in their packed rows (sqlite/key_rows.c): each is found as it was put in, and alone forgotten; rows have their bounds; what is damaged is
 * said to be. */
#include "store/sqlite/key_rows.h"
#include "sqlite_by_hand.h"
#include "store/sqlite/driver.h"
#include "store/sqlite/schema.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define UNTIL 1000

struct world {
    struct sqlite_conn w;
    struct key_pack pack;
    char text[8192];
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

/* --- keys; all of one follows from its number --- */

static struct uuid job_of(int64_t row)
{
    return (struct uuid){{1, 0, (uint8_t)(row >> 8), (uint8_t)row}};
}

/** With zero bytes, and of two kinds: with a hash of the request, and without. */
static void hashes_of(int64_t row, uint8_t request[32], uint8_t content[32])
{
    memset(request, 0, 32);
    memset(content, 0, 32);
    request[31] = row % 3 == 0 ? (uint8_t)(row | 1) : 0;
    content[0] = content[31] = (uint8_t)row;
}

static void put(struct world *w, int64_t row, const char *project, const char *key, usec expires_at)
{
    struct err err = {0};
    uint8_t request[32], content[32];

    hashes_of(row, request, content);
    ok(key_pack_add(&w->w.conn, &w->pack,
                    &(struct packed_key){.row = row,
                                         .project = project,
                                         .key = key,
                                         .n_key = strlen(key),
                                         .job_id = job_of(row),
                                         .request_hash = request,
                                         .content_hash = content,
                                         .expires_at = expires_at},
                    &err),
       &err);
}

static const char *key_of(int64_t row, char ret[16])
{
    snprintf(ret, 16, "key-%lld", (long long)row);
    return ret;
}

static void end(struct world *w)
{
    struct err err = {0};

    ok(key_pack_end(&w->w.conn, &w->pack, &err), &err);
}

/** Consecutive, in project p. */
static void put_some(struct world *w, int64_t from, int64_t to, usec expires_at)
{
    char key[16];

    for (int64_t row = from; row < to; row++)
        put(w, row, "p", key_of(row, key), expires_at);
    end(w);
}

static bool there(struct world *w, int64_t row, const char *project, const char *key)
{
    struct known_key its;
    struct err err = {0};
    uint8_t request[32], content[32];
    usec expires_at = 0;

    ok(key_row_find(&w->w.conn, row, project, key, &its, &expires_at, &err), &err);
    if (!its.found)
        return false;
    hashes_of(row, request, content);
    assert_memory_equal(its.job_id.b, job_of(row).b, sizeof(its.job_id.b));
    assert_memory_equal(its.request_hash, request, 32);
    assert_memory_equal(its.content_hash, content, 32);
    assert_true(expires_at >= UNTIL);
    return true;
}

static bool has(struct world *w, int64_t row)
{
    char key[16];
    bool its = there(w, row, "p", key_of(row, key));

    assert_int_equal(there(w, row, NULL, NULL), its);
    return its;
}

static void forget(struct world *w, int64_t row, const struct uuid *job_id)
{
    struct err err = {0};

    ok(key_row_forget(&w->w.conn, row, job_id, &err), &err);
}

/** "ROW+N ..." */
static const char *rows(struct world *w)
{
    sqlite3_stmt *st;

    assert_int_equal(sqlite3_prepare_v2(w->w.db,
                                        "SELECT coalesce(group_concat(row || '+' || n, ' '), '') FROM (SELECT row, n"
                                        " FROM key_rows ORDER BY row)",
                                        -1, &st, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    snprintf(w->text, sizeof(w->text), "%s", (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    return w->text;
}

static int take_row(void *arg, const struct packed_key *key, struct err *err)
{
    char *text = arg, want[16];
    size_t n = strlen(text);

    assert_string_equal(key->project, "p");
    assert_int_equal(key->n_key, strlen(key_of(key->row, want)));
    assert_memory_equal(key->key, want, key->n_key);
    assert_true(uuid_equal(&key->job_id, (const struct uuid[]){job_of(key->row)}));
    snprintf(text + n, 1024 - n, "%s%lld", n ? " " : "", (long long)key->row);
    return ERR_OK;
}

static const char *each(struct world *w, int64_t after, int64_t limit)
{
    struct err err = {0};

    w->text[0] = '\0';
    ok(key_rows_each(&w->w.conn, after, limit, take_row, w->text, &err), &err);
    return w->text;
}

/* --- tests --- */

static void test_keys_that_belong_together_share_a_row(void **state)
{
    struct world *w = *state;
    struct {
        int64_t row;
        const char *project;
        usec expires_at;
    } puts[] = {{1, "p", UNTIL},     {2, "p", UNTIL},      {3, "q", UNTIL}, {4, "q", UNTIL + 1}, {5, "q", UNTIL + 1},
                {7, "q", UNTIL + 1}, {8, "qq", UNTIL + 1}, {9, "p", UNTIL}, {10, "p", UNTIL}};

    for (size_t i = 0; i < ARRAY_LEN(puts); i++)
        put(w, puts[i].row, puts[i].project, "k", puts[i].expires_at);
    end(w);
    end(w); /* there is nothing any more */
    assert_string_equal(rows(w), "1+2 3+1 4+2 7+1 8+1 9+2");
    for (size_t i = 0; i < ARRAY_LEN(puts); i++) {
        assert_true(there(w, puts[i].row, puts[i].project, "k"));
        assert_false(there(w, puts[i].row, "r", "k"));
        assert_false(there(w, puts[i].row, puts[i].project, "kk"));
        assert_false(there(w, puts[i].row, puts[i].project, "l"));
    }
    assert_false(there(w, 0, NULL, NULL));
    assert_false(there(w, 6, NULL, NULL));
    assert_false(there(w, 11, NULL, NULL));
    assert_false(there(w, INT64_MAX, NULL, NULL));
}

static void test_a_row_is_full_before_it_is_too_long(void **state)
{
    struct world *w = *state;
    char key[256];

    for (int64_t row = 1; row <= 2 * 255; row++) {
        snprintf(key, sizeof(key), "%0*lld", (int)(row > 255 ? 255 : row), (long long)(row % 10));
        put(w, row, "p", key, UNTIL);
    }
    end(w);
    for (int64_t row = 1; row <= 2 * 255; row++) {
        snprintf(key, sizeof(key), "%0*lld", (int)(row > 255 ? 255 : row), (long long)(row % 10));
        assert_true(there(w, row, "p", key));
    }
    assert_int_equal(number_of(w->w.db, "SELECT sum(n) FROM key_rows"), 2 * 255);
    assert_true(number_of(w->w.db, "SELECT max(length(entries)) FROM key_rows") <= KEY_ROW_BYTES);
    assert_true(
        number_of(w->w.db, "SELECT min(length(entries)) FROM key_rows WHERE row < (SELECT max(row) FROM key_rows)") >
        KEY_ROW_BYTES - 2 - 16 - 64 - 255);
}

static void test_a_key_that_cannot_lie_there_is_refused(void **state)
{
    struct world *w = *state;
    struct err err = {0};
    uint8_t none[32] = {0};
    char text[257];
    struct packed_key key = {
        .row = 1, .project = "p", .key = text, .request_hash = none, .content_hash = none, .job_id = job_of(1)};

    memset(text, 'x', 256);
    text[256] = '\0';
    assert_int_equal(key_pack_add(&w->w.conn, &w->pack, &key, &err), ERR_INTERNAL);
    key.n_key = 256;
    assert_int_equal(key_pack_add(&w->w.conn, &w->pack, &key, &err), ERR_INTERNAL);
    key.n_key = 1;
    key.project = text;
    assert_int_equal(key_pack_add(&w->w.conn, &w->pack, &key, &err), ERR_INTERNAL);
    end(w);
    assert_string_equal(rows(w), "");
}

static void test_a_key_is_forgotten_alone(void **state)
{
    struct world *w = *state;
    struct uuid other = job_of(99), third;
    const int64_t order[] = {1, 5, 3, 2, 4};

    put_some(w, 1, 6, UNTIL);
    put_some(w, 6, 8, UNTIL + 1);
    forget(w, 3, &other);
    forget(w, 8, NULL);
    forget(w, 0, NULL);
    for (int64_t row = 1; row < 8; row++)
        assert_true(has(w, row));
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        assert_string_equal(rows(w), "1+5 6+2");
        third = job_of(order[i]);
        forget(w, order[i], i % 2 ? &third : NULL);
        forget(w, order[i], i % 2 ? &third : NULL); /* again */
        for (size_t k = 0; k < ARRAY_LEN(order); k++)
            assert_int_equal(has(w, order[k]), k > i);
    }
    assert_string_equal(rows(w), "6+2"); /* with its last key the row goes */
    assert_true(has(w, 6) && has(w, 7));
}

static void test_a_nil_id_forgets_nothing(void **state)
{
    struct world *w = *state;
    struct uuid nil = {0};

    put_some(w, 1, 3, UNTIL);
    forget(w, 1, NULL);
    forget(w, 1, &nil);
    assert_true(has(w, 2));
}

static void test_keys_are_told_in_order(void **state)
{
    struct world *w = *state;
    struct err err = {0};
    int64_t n = 0;

    ok(key_rows_floor(&w->w.conn, &n, &err), &err);
    assert_true(n == INT64_MAX);
    ok(key_rows_top(&w->w.conn, &n, &err), &err);
    assert_int_equal(n, 0);
    assert_string_equal(each(w, 0, 10), "");
    put_some(w, 3, 7, UNTIL);
    put_some(w, 9, 12, UNTIL);
    put_some(w, 12, 13, UNTIL);
    assert_string_equal(rows(w), "3+4 9+3 12+1");
    ok(key_rows_floor(&w->w.conn, &n, &err), &err);
    assert_int_equal(n, 3);
    ok(key_rows_top(&w->w.conn, &n, &err), &err);
    assert_int_equal(n, 12);
    assert_string_equal(each(w, 0, INT64_MAX), "3 4 5 6 9 10 11 12");
    assert_string_equal(each(w, 0, 0), "");
    assert_string_equal(each(w, 2, 3), "3 4 5"); /* a row may be cut at either end */
    assert_string_equal(each(w, 5, 3), "6 9 10");
    assert_string_equal(each(w, 10, 1), "11");
    assert_string_equal(each(w, 7, 1), "9");
    assert_string_equal(each(w, 12, 1), "");
    forget(w, 4, NULL);
    forget(w, 6, NULL);
    forget(w, 12, NULL);
    assert_string_equal(each(w, 3, 2), "5 9"); /* what is forgotten does not count */
    assert_string_equal(each(w, 6, 99), "9 10 11");
}

static void expire(struct world *w, usec now, int64_t limit, size_t want_n, usec want_next, const char *left)
{
    struct err err = {0};
    size_t n;
    usec next;

    ok(key_rows_expire(&w->w.conn, now, limit, &n, &next, &err), &err);
    assert_int_equal(n, want_n);
    assert_true(next == want_next);
    assert_string_equal(rows(w), left);
}

static void test_what_is_over_goes_from_the_head(void **state)
{
    struct world *w = *state;

    expire(w, UNTIL, 10, 0, USEC_NEVER, "");
    put_some(w, 1, 5, UNTIL);
    put_some(w, 5, 8, UNTIL + 1);
    put_some(w, 8, 9, UNTIL + 9);
    put_some(w, 9, 11, UNTIL + 1); /* waits for the one before */
    put_some(w, 11, 13, UNTIL + 20);
    forget(w, 2, NULL);
    expire(w, UNTIL - 1, 10, 0, UNTIL, "1+4 5+3 8+1 9+2 11+2");
    expire(w, UNTIL + 1, 0, 0, UNTIL, "1+4 5+3 8+1 9+2 11+2");
    expire(w, UNTIL + 1, 1, 3, UNTIL + 1, "5+3 8+1 9+2 11+2"); /* a whole row, of which three were there */
    expire(w, UNTIL + 1, 10, 3, UNTIL + 9, "8+1 9+2 11+2");
    expire(w, UNTIL + 9, 3, 3, UNTIL + 20, "11+2");
    expire(w, UNTIL + 20, 2, 2, USEC_NEVER, "");
}

/* --- damage --- */

static int told(void *arg, const struct packed_key *key, struct err *err)
{
    return ERR_OK;
}

/** What each function says of the one row there is; all the same. */
static int all_say(struct world *w, struct err *err)
{
    struct conn *c = &w->w.conn;
    struct known_key its;
    usec expires_at, next;
    size_t n;
    int codes[4];

    run_sql(w->w.db, "SAVEPOINT looks");
    codes[0] = key_row_find(c, 2, "p", "key-2", &its, &expires_at, err);
    codes[1] = key_rows_each(c, 0, 99, told, NULL, err);
    codes[2] = key_row_forget(c, 2, NULL, err);
    codes[3] = key_rows_expire(c, UNTIL, 99, &n, &next, err);
    run_sql(w->w.db, "ROLLBACK TO looks");
    for (size_t i = 1; i < ARRAY_LEN(codes); i++)
        assert_int_equal(codes[i], codes[0]);
    return codes[0];
}

static void test_damage_is_refused(void **state)
{
    struct world *w = *state;
    static const char *const damage[] = {
        "UPDATE key_rows SET n = 2",
        "UPDATE key_rows SET n = 4",
        "UPDATE key_rows SET n = 0",
        "UPDATE key_rows SET n = -1",
        "UPDATE key_rows SET n = 9223372036854775807",
        "UPDATE key_rows SET row = 0",
        "UPDATE key_rows SET row = -5",
        "UPDATE key_rows SET entries = x''",
        "UPDATE key_rows SET entries = x'00'",
        "UPDATE key_rows SET entries = zeroblob(1000)",
        "UPDATE key_rows SET entries = 'text'",
        "UPDATE key_rows SET entries = 17",
        "UPDATE key_rows SET entries = CAST(entries || x'01' AS BLOB)",
        "UPDATE key_rows SET entries = CAST(entries || entries AS BLOB)",
        "UPDATE key_rows SET entries = CAST(x'0502' || substr(entries, 3) AS BLOB)", /* a flag that there is none of */
        "UPDATE key_rows SET entries = CAST(x'FF' || substr(entries, 2) AS BLOB)",
        "UPDATE key_rows SET n = 100, entries = zeroblob(5000)",
    };

    put_some(w, 1, 4, UNTIL);
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        struct err err = {0};
        run_sql(w->w.db, "BEGIN");
        run_sql(w->w.db, damage[i]);
        assert_int_equal(all_say(w, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.msg, "of key_rows are damaged"));
        run_sql(w->w.db, "ROLLBACK");
    }
    assert_true(has(w, 1) && has(w, 2) && has(w, 3));
}

/* Cut anywhere it is damaged; with any byte turned around it is read to its end or not at all (under the address sanitizer). */
static void test_no_damage_is_read_past(void **state)
{
    struct world *w = *state;
    char sql[256];

    put_some(w, 1, 4, UNTIL);
    int64_t size = number_of(w->w.db, "SELECT length(entries) FROM key_rows");
    for (int64_t at = 0; at < size; at++) {
        struct err err = {0};
        run_sql(w->w.db, "BEGIN");
        snprintf(sql, sizeof(sql), "UPDATE key_rows SET entries = substr(entries, 1, %lld)", (long long)at);
        run_sql(w->w.db, sql);
        assert_int_equal(all_say(w, &err), ERR_CORRUPT);
        run_sql(w->w.db, "ROLLBACK");
        run_sql(w->w.db, "BEGIN");
        snprintf(
            sql, sizeof(sql),
            "UPDATE key_rows SET entries = CAST(substr(entries, 1, %lld) || x'F1' || substr(entries, %lld) AS BLOB)",
            (long long)at, (long long)at + 2);
        run_sql(w->w.db, sql);
        int rc = all_say(w, &err);
        assert_true(rc == ERR_OK || rc == ERR_CORRUPT);
        run_sql(w->w.db, "ROLLBACK");
    }
}

/* --- of schema 19 --- */

static void test_rows_of_before_keep_their_numbers(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct err err = {0};
    char key[256];
    uint8_t request[32], content[32];
    struct uuid job_id;

    assert_non_null(w);
    ok(conn_open(&w->w, ":memory:", true, clock_real(), &err), &err);
    for (unsigned i = 0; i < 19; i++)
        run_sql(w->w.db, sqlite_migrations[i]);
    for (int64_t n = 1; n <= 255; n++) {
        snprintf(key, sizeof(key), "%s%0*d", n > 6 ? "\xc3\xbc" : "", (int)(n > 6 ? n - 2 : n), 0);
        assert_int_equal(strlen(key), n);
        job_id = job_of(2 * n);
        hashes_of(2 * n, request, content);
        ok(q_run(&w->w.conn, NULL, &err,
                 "INSERT INTO dedup (rowid, project, key, job_id, request_hash, content_hash, expires_at)"
                 " VALUES (?1, 'p', ?2, ?3, ?4, ?5, 1000)",
                 "itubb", 2 * n, key, &job_id, (const void *)request, (size_t)32, (const void *)content, (size_t)32),
           &err);
    }
    run_sql(w->w.db, "INSERT INTO dedup VALUES ('p', '', randomblob(16), zeroblob(32), zeroblob(32), 1000),"
                     " ('p', 'k', x'01', zeroblob(32), zeroblob(32), 1000)"); /* which no server made */
    for (unsigned i = 19; i < sqlite_n_migrations; i++)
        run_sql(w->w.db, sqlite_migrations[i]);
    assert_int_equal(number_of(w->w.db, "SELECT count(*) FROM key_rows"), 255);
    for (int64_t n = 1; n <= 255; n++) {
        snprintf(key, sizeof(key), "%s%0*d", n > 6 ? "\xc3\xbc" : "", (int)(n > 6 ? n - 2 : n), 0);
        assert_true(there(w, 2 * n, "p", key));
        assert_false(there(w, 2 * n - 1, NULL, NULL));
    }
    void *its = w;
    teardown(&its);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_keys_that_belong_together_share_a_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_row_is_full_before_it_is_too_long, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_key_that_cannot_lie_there_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_key_is_forgotten_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_nil_id_forgets_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys_are_told_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_over_goes_from_the_head, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_damage_is_read_past, setup, teardown),
        cmocka_unit_test(test_rows_of_before_keep_their_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
