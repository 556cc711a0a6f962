/* The log's frames, gathered (sqlite/wal_file.c): a commit in few writes, whole for every reader, and nothing of it when a write fails. */
#include "fixture.h"
#include "sqlite_by_hand.h"
#include "base/fs.h"
#include "store/sqlite/wal_file.h"
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

/* What lies below: the platform's files, with the writes of logs counted, one of which may fail. */
static struct {
    sqlite3_vfs *platform, vfs;
    const sqlite3_io_methods *real;
    sqlite3_io_methods methods;
    unsigned writes, fail_at; /* the how manieth fails; 0 none */
} below;

static int below_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
    return ++below.writes == below.fail_at ? SQLITE_FULL : below.real->xWrite(file, p, n, at);
}

static int below_open(sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    int rc = below.platform->xOpen(below.platform, name, file, flags, ret_flags);

    if (rc == SQLITE_OK && (flags & SQLITE_OPEN_WAL)) {
        below.real = file->pMethods;
        below.methods = *file->pMethods;
        below.methods.xWrite = below_write;
        file->pMethods = &below.methods;
    }
    return rc;
}

static int group_setup(void **state)
{
    below.platform = sqlite3_vfs_find(NULL);
    below.vfs = *below.platform;
    below.vfs.zName = "below";
    below.vfs.xOpen = below_open;
    assert_int_equal(sqlite3_vfs_register(&below.vfs, 1), SQLITE_OK);
    assert_non_null(wal_file_vfs());
    return sqlite3_vfs_register(below.platform, 1); /* readers do without it */
}

struct log {
    char dir[64], path[96];
    sqlite3 *writer, *reader;
};

static int setup(void **state)
{
    struct log *l = calloc(1, sizeof(*l));

    snprintf(l->dir, sizeof(l->dir), "/tmp/haul-wal-XXXXXX");
    assert_non_null(mkdtemp(l->dir));
    snprintf(l->path, sizeof(l->path), "%s/haul.db", l->dir);
    below.fail_at = 0;
    assert_int_equal(sqlite3_open_v2(l->path, &l->writer, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, wal_file_vfs()),
                     SQLITE_OK);
    run_sql(l->writer, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;"
                       "PRAGMA cache_spill = 0; CREATE TABLE t (i INTEGER PRIMARY KEY, filler BLOB)");
    assert_int_equal(sqlite3_open_v2(l->path, &l->reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    *state = l;
    return 0;
}

static int teardown(void **state)
{
    struct log *l = *state;

    sqlite3_close(l->reader);
    sqlite3_close(l->writer);
    assert_int_equal(fs_remove_tree(l->dir, NULL), ERR_OK);
    free(l);
    return 0;
}

/* Some 200 pages. */
#define ROWS                                                                                                           \
    "INSERT INTO t (filler) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)"             \
    " SELECT randomblob(8000) FROM n"

static void test_a_commit_of_many_pages_is_few_writes(void **state)
{
    struct log *l = *state;

    below.writes = 0;
    run_sql(l->writer, ROWS);
    assert_in_range(below.writes, 1, 12);
    assert_sound(l->reader, 100);
}

static void test_a_commit_without_sync_is_in_the_file(void **state)
{
    struct log *l = *state;

    run_sql(l->writer, "PRAGMA synchronous = NORMAL");
    run_sql(l->writer, ROWS);
    assert_sound(l->reader, 100);
}

static void test_of_a_commit_whose_write_failed_nothing_is_left(void **state)
{
    struct log *l = *state;
    unsigned failed = 0;
    int64_t rows = 0;

    for (unsigned i = 1; failed + 1 == i; i++) { /* until one goes through: each of its writes has failed once */
        below.writes = 0;
        below.fail_at = i;
        failed += sqlite3_exec(l->writer, ROWS, NULL, NULL, NULL) == SQLITE_FULL;
        below.fail_at = 0;
        rows += failed < i ? 100 : 0;
        assert_sound(l->reader, rows);
        run_sql(l->writer, "INSERT INTO t (filler) VALUES (x'00')"); /* where the failed one would have been */
        assert_sound(l->reader, ++rows);
    }
    assert_true(failed > 2);
    run_sql(l->writer, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_sound(l->reader, rows);
}

/** Pages that are written before the commit, read again, written again and taken back. */
static void test_pages_written_early_are_what_they_were(void **state)
{
    struct log *l = *state;

    run_sql(l->writer, "PRAGMA cache_spill = 1; PRAGMA cache_size = 10; BEGIN;" ROWS ";SAVEPOINT a;" ROWS
                       "; UPDATE t SET filler = randomblob(9000); ROLLBACK TO a;"
                       "UPDATE t SET filler = zeroblob(7000) WHERE i % 2");
    assert_sound(l->reader, 0);
    assert_int_equal(number_of(l->writer, "SELECT sum(length(filler)) FROM t"), 50 * 15000);
    run_sql(l->writer, "COMMIT");
    assert_sound(l->reader, 100);
    assert_int_equal(number_of(l->reader, "SELECT sum(length(filler)) FROM t"), 50 * 15000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_commit_of_many_pages_is_few_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_commit_without_sync_is_in_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_of_a_commit_whose_write_failed_nothing_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pages_written_early_are_what_they_were, setup, teardown),
    };

    return cmocka_run_group_tests(tests, group_setup, NULL);
}
