/* The writer's file layer (sqlite/vfs.h): a commit and a checkpoint in few writes, whole for every reader, and nothing of them when a write fails; and a
 * checkpoint's sync that is owed is made before the log is begun anew. */
#include "fixture.h"
#include "sqlite_by_hand.h"
#include "base/fs.h"
#include "store/sqlite/driver.h"
#include "store/sqlite/vfs.h"
#include <semaphore.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

/* What lies below: the platform's files, with the writes and syncs of logs and databases counted, one of which may fail. */
enum kind { LOG, DB, KINDS };

static struct {
    sqlite3_vfs *platform, vfs;
    const sqlite3_io_methods *real[KINDS];
    sqlite3_io_methods methods[KINDS];
    unsigned writes[KINDS], syncs[KINDS];
    unsigned fail_at[KINDS]; /* the how manieth write fails; 0 none */
    bool no_sync;            /* the database's fail */
    bool torn;               /* a write may damage others' bytes in its sectors, says the disk */
    sem_t db_synced;
    unsigned synced_first; /* how many syncs of the database there were when the log's header was written last */
} below;

static enum kind kind_of(const sqlite3_file *file)
{
    return file->pMethods == &below.methods[LOG] ? LOG : DB;
}

static int below_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
    enum kind k = kind_of(file);

    if (k == LOG && at == 0)
        below.synced_first = below.syncs[DB];
    return ++below.writes[k] == below.fail_at[k] ? SQLITE_FULL : below.real[k]->xWrite(file, p, n, at);
}

static int below_sync(sqlite3_file *file, int flags)
{
    enum kind k = kind_of(file);

    below.syncs[k]++;
    if (k == DB && below.no_sync)
        return SQLITE_IOERR_FSYNC;
    int rc = below.real[k]->xSync(file, flags);
    if (k == DB)
        sem_post(&below.db_synced);
    return rc;
}

static int below_traits(sqlite3_file *file)
{
    int traits = below.real[kind_of(file)]->xDeviceCharacteristics(file);

    return below.torn ? traits & ~SQLITE_IOCAP_POWERSAFE_OVERWRITE : traits;
}

static int below_open(sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    int rc = below.platform->xOpen(below.platform, name, file, flags, ret_flags);
    enum kind k = flags & SQLITE_OPEN_WAL ? LOG : DB;

    if (rc == SQLITE_OK && (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_DB))) {
        below.real[k] = file->pMethods;
        below.methods[k] = *file->pMethods;
        below.methods[k].xWrite = below_write;
        below.methods[k].xSync = below_sync;
        below.methods[k].xDeviceCharacteristics = below_traits;
        file->pMethods = &below.methods[k];
    }
    return rc;
}

static void count_anew(void)
{
    memset(below.writes, 0, sizeof(below.writes));
    memset(below.syncs, 0, sizeof(below.syncs));
    while (sem_trywait(&below.db_synced) == 0)
        ;
}

static int group_setup(void **state)
{
    below.platform = sqlite3_vfs_find(NULL);
    below.vfs = *below.platform;
    below.vfs.zName = "below";
    below.vfs.xOpen = below_open;
    assert_int_equal(sqlite3_vfs_register(&below.vfs, 1), SQLITE_OK);
    assert_non_null(vfs_name());
    assert_int_equal(sem_init(&below.db_synced, 0, 0), 0);
    return sqlite3_vfs_register(below.platform, 1); /* readers do without it */
}

struct log {
    char dir[64], path[96];
    sqlite3 *writer, *reader;
    sqlite3_file *db;
};

static int setup(void **state)
{
    struct log *l = calloc(1, sizeof(*l));

    snprintf(l->dir, sizeof(l->dir), "/tmp/haul-wal-XXXXXX");
    assert_non_null(mkdtemp(l->dir));
    snprintf(l->path, sizeof(l->path), "%s/haul.db", l->dir);
    memset(below.fail_at, 0, sizeof(below.fail_at));
    below.no_sync = false;
    below.torn = *state != NULL;
    assert_int_equal(sqlite3_open_v2(l->path, &l->writer, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs_name()),
                     SQLITE_OK);
    run_sql(l->writer, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;"
                       "PRAGMA cache_spill = 0; CREATE TABLE t (i INTEGER PRIMARY KEY, filler BLOB)");
    assert_int_equal(sqlite3_open_v2(l->path, &l->reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_file_control(l->writer, "main", SQLITE_FCNTL_FILE_POINTER, &l->db), SQLITE_OK);
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

    count_anew();
    run_sql(l->writer, ROWS);
    assert_in_range(below.writes[LOG], 1, 12);
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
        count_anew();
        below.fail_at[LOG] = i;
        failed += sqlite3_exec(l->writer, ROWS, NULL, NULL, NULL) == SQLITE_FULL;
        below.fail_at[LOG] = 0;
        rows += failed < i ? 100 : 0;
        assert_sound(l->reader, rows);
        run_sql(l->writer, "INSERT INTO t (filler) VALUES (x'00')"); /* where the failed one would have been */
        assert_sound(l->reader, ++rows);
    }
    assert_true(failed > 2);
    run_sql(l->writer, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_sound(l->reader, rows);
}

/* There SQLite fills a sector with the last frame, over and over, and cuts the one at its end in two: wherever that is, even in a frame's header. */
static void test_commits_are_whole_on_a_disk_that_tears_sectors(void **state)
{
    struct log *l = *state;

    for (int i = 1; i <= 200; i++) {
        run_sql(l->writer, "INSERT INTO t (filler) VALUES (x'00')");
        assert_int_equal(number_of(l->reader, "SELECT count(*) FROM t"), i);
    }
    assert_sound(l->reader, 200);
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

static int checkpoint(struct log *l)
{
    return sqlite3_wal_checkpoint_v2(l->writer, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

static void test_a_checkpoint_of_many_pages_is_few_writes(void **state)
{
    struct log *l = *state;

    run_sql(l->writer, ROWS);
    count_anew();
    assert_int_equal(checkpoint(l), SQLITE_OK);
    assert_in_range(below.writes[DB], 1, 12);
    assert_int_equal(below.syncs[DB], 1);
    assert_sound(l->reader, 100);
}

/** Each of its writes fails once. @return how many it makes */
static unsigned fail_each_write(struct log *l, int64_t rows)
{
    int rc;
    unsigned i = 0;

    do {
        count_anew();
        below.fail_at[DB] = ++i;
        rc = checkpoint(l);
        below.fail_at[DB] = 0;
        assert_true(rc == SQLITE_OK || rc == SQLITE_FULL);
        assert_sound(l->writer, rows);
    } while (rc == SQLITE_FULL);
    return i - 1;
}

static void test_a_checkpoint_whose_write_failed_loses_nothing(void **state)
{
    struct log *l = *state;

    run_sql(l->writer, ROWS);
    assert_in_range(fail_each_write(l, 100), 2, 12);
    run_sql(l->writer, "INSERT INTO t (filler) VALUES (x'00')"); /* the log begins anew */
    assert_sound(l->reader, 101);
}

/* SQLite then asks for nothing behind the last page. */
static void test_nor_does_one_that_a_reader_keeps_from_its_end(void **state)
{
    struct log *l = *state;

    run_sql(l->writer, ROWS);
    run_sql(l->reader, "BEGIN");
    assert_int_equal(number_of(l->reader, "SELECT count(*) FROM t"), 100);
    run_sql(l->writer, "DELETE FROM t WHERE i > 50; INSERT INTO t (filler) VALUES (x'00')");
    assert_in_range(fail_each_write(l, 51), 50, 300); /* each page at once */
    run_sql(l->reader, "COMMIT");
    assert_sound(l->reader, 51);
    run_sql(l->writer, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_sound(l->reader, 51);
}

static void test_a_sync_that_is_owed_comes_before_the_log_begins_anew(void **state)
{
    struct log *l = *state;

    run_sql(l->writer, ROWS);
    vfs_db_owe(l->db, true);
    count_anew();
    assert_int_equal(checkpoint(l), SQLITE_OK);
    assert_int_equal(below.syncs[DB], 0);
    run_sql(l->writer, "INSERT INTO t (filler) VALUES (x'00')");
    assert_int_equal(below.synced_first, 1);

    count_anew();
    assert_int_equal(checkpoint(l), SQLITE_OK);
    assert_int_equal(vfs_db_settle(l->db), SQLITE_OK);
    assert_int_equal(vfs_db_settle(l->db), SQLITE_OK); /* none is owed any more */
    run_sql(l->writer, "INSERT INTO t (filler) VALUES (x'00')");
    assert_int_equal(below.synced_first, 1);
    assert_int_equal(below.syncs[DB], 1);

    count_anew();
    run_sql(l->writer, "PRAGMA wal_checkpoint(TRUNCATE)"); /* which cuts the log */
    assert_int_equal(below.syncs[DB], 1);
    vfs_db_owe(l->db, false);
    run_sql(l->writer, ROWS);
    assert_int_equal(checkpoint(l), SQLITE_OK);
    assert_int_equal(below.syncs[DB], 2);
    assert_sound(l->reader, 202);
}

static void test_the_thread_that_syncs_commits_makes_it(void **state)
{
    struct log *l = *state;
    struct durable d = {.db = l->db};

    assert_int_equal(durable_init(&d, NULL), ERR_OK);
    assert_int_equal(durable_start(&d, NULL), ERR_OK);
    run_sql(l->writer, ROWS);
    vfs_db_owe(l->db, true);
    count_anew();
    assert_int_equal(checkpoint(l), SQLITE_OK);
    assert_int_equal(sem_trywait(&below.db_synced), -1);
    durable_owe(&d);
    assert_int_equal(sem_wait(&below.db_synced), 0);
    durable_release(&d);
    run_sql(l->writer, "INSERT INTO t (filler) VALUES (x'00')");
    assert_int_equal(below.syncs[DB], 1);
}

static void test_a_log_whose_database_was_not_synced_stays(void **state)
{
    struct log *l = *state;
    char name[128];
    struct stat before, after;

    run_sql(l->writer, ROWS);
    vfs_db_owe(l->db, true);
    assert_int_equal(checkpoint(l), SQLITE_OK);
    snprintf(name, sizeof(name), "%s-wal", l->path);
    assert_int_equal(stat(name, &before), 0);
    below.no_sync = true;
    count_anew();
    assert_int_equal(sqlite3_exec(l->writer, ROWS, NULL, NULL, NULL), SQLITE_IOERR);
    assert_int_equal(sqlite3_extended_errcode(l->writer), SQLITE_IOERR_FSYNC);
    below.no_sync = false; /* the kernel tells once */
    assert_int_equal(vfs_db_settle(l->db), SQLITE_IOERR_FSYNC);
    assert_int_equal(sqlite3_exec(l->writer, ROWS, NULL, NULL, NULL), SQLITE_IOERR);
    assert_int_not_equal(sqlite3_wal_checkpoint_v2(l->writer, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL),
                         SQLITE_OK);
    assert_int_equal(below.writes[LOG], 0);
    assert_int_equal(stat(name, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
    assert_sound(l->reader, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_commit_of_many_pages_is_few_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_commit_without_sync_is_in_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_of_a_commit_whose_write_failed_nothing_is_left, setup, teardown),
        cmocka_unit_test_prestate_setup_teardown(test_commits_are_whole_on_a_disk_that_tears_sectors, setup, teardown,
                                                 &below),
        cmocka_unit_test_setup_teardown(test_pages_written_early_are_what_they_were, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_checkpoint_of_many_pages_is_few_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_checkpoint_whose_write_failed_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nor_does_one_that_a_reader_keeps_from_its_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_sync_that_is_owed_comes_before_the_log_begins_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_thread_that_syncs_commits_makes_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_log_whose_database_was_not_synced_stays, setup, teardown),
    };

    return cmocka_run_group_tests(tests, group_setup, NULL);
}
