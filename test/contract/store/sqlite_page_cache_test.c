/* SQLite's page cache (sqlite/page_cache.c): searched when pages go, and not at every commit. */
#include "store/sqlite/page_cache.h"
#include "sqlite_by_hand.h"
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PARKING (0x40000000u / 4096 + 1)

/* What lies below: SQLite's own, with its calls counted. */
static struct {
    sqlite3_pcache_methods2 platform;
    unsigned searched, parked;
} below;

static void below_truncate(sqlite3_pcache *p, unsigned first)
{
    below.searched++;
    below.platform.xTruncate(p, first);
}

static void below_rekey(sqlite3_pcache *p, sqlite3_pcache_page *page, unsigned before, unsigned after)
{
    below.parked += after == PARKING;
    below.platform.xRekey(p, page, before, after);
}

static int group_setup(void **state)
{
    (void)state;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETPCACHE2, &below.platform), SQLITE_OK);
    sqlite3_pcache_methods2 counted = below.platform;
    counted.xTruncate = below_truncate;
    counted.xRekey = below_rekey;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_PCACHE2, &counted), SQLITE_OK);
    sqlite_page_cache_set_up();
    return sqlite3_initialize();
}

/* In memory: commits, splits and rollbacks are those of any database. */
static int setup(void **state)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    run_sql(db, "CREATE TABLE t (k BLOB PRIMARY KEY) WITHOUT ROWID");
    below.searched = below.parked = 0;
    *state = db;
    return 0;
}

static int teardown(void **state)
{
    return sqlite3_close(*state);
}

/* One by one: statements that look rows up have trees of their own, which go at their end. */
static void insert(sqlite3 *db, unsigned rows)
{
    sqlite3_stmt *st;

    assert_int_equal(sqlite3_prepare_v2(db, "INSERT INTO t VALUES (randomblob(200))", -1, &st, NULL), SQLITE_OK);
    while (rows-- > 0) {
        assert_int_equal(sqlite3_step(st), SQLITE_DONE);
        sqlite3_reset(st);
    }
    sqlite3_finalize(st);
}

static void test_commits_of_a_tree_that_splits_search_nothing(void **state)
{
    insert(*state, 5000);
    assert_true(below.parked > 0); /* else this shows nothing */
    assert_int_equal(below.searched, 0);
    assert_sound(*state, 5000);
}

static void test_what_a_rollback_takes_back_is_forgotten(void **state)
{
    insert(*state, 100);
    for (unsigned i = 0; i < 10; i++) {
        unsigned before = below.searched;

        run_sql(*state, "BEGIN");
        insert(*state, 2000);
        run_sql(*state, "ROLLBACK");
        assert_true(below.searched > before);
        assert_sound(*state, 100 + 100 * (int64_t)i);
        insert(*state, 100);
    }
    assert_sound(*state, 1100);
}

static void test_a_database_that_shrinks_is_whole(void **state)
{
    insert(*state, 2000);
    const int64_t pages = number_of(*state, "PRAGMA page_count");
    run_sql(*state, "DELETE FROM t WHERE k IN (SELECT k FROM t ORDER BY k LIMIT 1900)");
    run_sql(*state, "VACUUM");
    assert_true(number_of(*state, "PRAGMA page_count") < pages);
    assert_true(below.searched > 0);
    insert(*state, 100);
    assert_sound(*state, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commits_of_a_tree_that_splits_search_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_rollback_takes_back_is_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_database_that_shrinks_is_whole, setup, teardown),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}
