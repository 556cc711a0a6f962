/* What is the folder's own: its layout, its id, its lock, what an open cleans up. */
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static const struct blob_driver *d;

struct room {
    char dir[PATH_MAX];
    struct blobs *b;
    char id[UUID_STR_MAX];
};

static int set_up(void **state)
{
    struct room *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    make_dir(r->dir);
    OK(d->open(r->dir, &r->b, r->id, &err));
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct room *r = *state;

    d->close(r->b);
    drop_dir(r->dir);
    free(r);
    return 0;
}

static void path_in(const struct room *r, const char *name, char ret[PATH_MAX])
{
    OK(fs_join(ret, PATH_MAX, r->dir, name, &err));
}

static unsigned entries(const struct room *r, const char *name)
{
    char path[PATH_MAX];
    unsigned n = 0;

    path_in(r, name, path);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void put(struct room *r, const struct uuid *id, const char *text)
{
    struct blob_upload *u;
    int64_t size;
    uint8_t hash[32];

    OK(d->begin(r->b, id, &u, &err));
    OK(d->write(u, text, strlen(text), &err));
    OK(d->commit(u, &size, hash, &err));
}

static void test_layout(void **state)
{
    struct room *r = *state;
    struct uuid id;
    char path[PATH_MAX];
    struct stat st;

    assert_true(uuid_parse("0193b3f0-1234-7abc-8def-0123456789Af", &id));
    put(r, &id, "bytes");
    path_in(r, "af/0193b3f0-1234-7abc-8def-0123456789af", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 5);
    assert_int_equal(st.st_mode & 0222, 0); /* nobody writes into a blob */
    assert_int_equal(entries(r, "tmp"), 0);
    path_in(r, "folder-id", path);
    assert_int_equal(stat(path, &st), 0);
}

static void test_open_makes_the_folder_and_keeps_its_id(void **state)
{
    struct room *r = *state;
    char path[PATH_MAX], id[UUID_STR_MAX], again[UUID_STR_MAX];
    struct blobs *b;
    struct uuid u;

    path_in(r, "deep/er", path);
    OK(d->open(path, &b, id, &err));
    d->close(b);
    assert_true(uuid_parse(id, &u));
    assert_string_not_equal(id, r->id);
    OK(d->open(path, &b, again, &err));
    d->close(b);
    assert_string_equal(id, again);
}

static void test_a_damaged_id_is_refused(void **state)
{
    struct room *r = *state;
    static const char *const bad[] = {
        "", "\n", "not an id\n", "0193b3f0-1234-7abc-8def-0123456789a\n",
        "0193b3f0-1234-7abc-8def-0123456789af more of it, and more than any id would ever have\n"};
    char path[PATH_MAX], id[UUID_STR_MAX];
    struct blobs *b = NULL;

    d->close(r->b);
    r->b = NULL;
    path_in(r, "folder-id", path);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {0};

        OK(fs_write_durable(path, bad[i], strlen(bad[i]), 0600, &err));
        assert_int_equal(d->open(r->dir, &b, id, &e), ERR_CORRUPT);
        assert_non_null(strstr(e.msg, "folder-id"));
        assert_null(b);
    }
}

static void test_one_process_at_a_time(void **state)
{
    struct room *r = *state;
    struct blobs *b;
    char id[UUID_STR_MAX];
    struct err e = {0};

    assert_int_equal(d->open(r->dir, &b, id, &e), ERR_LOCKED);
    d->close(r->b);
    OK(d->open(r->dir, &r->b, id, &err));
}

static void test_open_empties_tmp(void **state)
{
    struct room *r = *state;
    struct uuid kept = new_id(), cut = new_id();
    struct blob_upload *u;
    char path[PATH_MAX], id[UUID_STR_MAX];
    struct blob_reader *reader;

    put(r, &kept, "kept");
    OK(d->begin(r->b, &cut, &u, &err));
    OK(d->write(u, "half", 4, &err));
    d->abort(u);
    path_in(r, "tmp/left-by-a-crash", path);
    OK(fs_write_durable(path, "half", 4, 0400, &err));
    path_in(r, "tmp/even/a/tree", path);
    OK(fs_mkdirs(path, 0700, &err));
    assert_int_equal(entries(r, "tmp"), 2);
    d->close(r->b);
    OK(d->open(r->dir, &r->b, id, &err));
    assert_int_equal(entries(r, "tmp"), 0);
    OK(d->open_read(r->b, &kept, &reader, &err));
    blob_reader_close(reader);
}

static void test_one_upload_an_id(void **state)
{
    struct room *r = *state;
    struct uuid id = new_id();
    struct blob_upload *u, *v = NULL;
    struct err e = {0};

    OK(d->begin(r->b, &id, &u, &err));
    assert_int_equal(d->begin(r->b, &id, &v, &e), ERR_CONFLICT);
    assert_null(v);
    d->abort(u);
}

/** Who was reading reads on: the bytes are a file. */
static void test_a_reader_outlives_the_blob(void **state)
{
    struct room *r = *state;
    struct uuid id = new_id();
    struct blob_reader *reader;
    char got[5];

    put(r, &id, "bytes");
    OK(d->open_read(r->b, &id, &reader, &err));
    OK(d->remove(r->b, &id, &err));
    OK(read_fully(reader, 0, got, 5, &err) == 5 ? ERR_OK : ERR_IO);
    assert_memory_equal(got, "bytes", 5);
    blob_reader_close(reader);
}

static void test_what_is_no_file_is_no_blob(void **state)
{
    struct room *r = *state;
    struct uuid id;
    char path[PATH_MAX];
    struct blob_reader *reader = NULL;
    struct err e = {0};

    assert_true(uuid_parse("0193b3f0-1234-7abc-8def-0123456789af", &id));
    path_in(r, "af/0193b3f0-1234-7abc-8def-0123456789af", path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_not_equal(d->open_read(r->b, &id, &reader, &e), ERR_OK);
    assert_int_equal(unlink(path), 0);
    OK(fs_mkdirs(path, 0700, &err));
    assert_int_equal(d->open_read(r->b, &id, &reader, &e), ERR_CORRUPT);
    assert_null(reader);
}

/** What a power cut may leave of a mark, or a careless hand of the bytes: never more is believed than is sure. */
static void test_a_damaged_mark_or_file(void **state)
{
    struct room *r = *state;
    struct uuid id = new_id();
    struct blob_upload *u;
    char name[UUID_STR_MAX], sub[80], path[PATH_MAX];
    int64_t at;

    OK(d->resume(r->b, &id, &u, &at, &err));
    for (int i = 0; i < 3; i++) { /* marks 5, 10, 15 in slots 0, 1, 0 */
        OK(d->write(u, "bytes", 5, &err));
        OK(d->sync(u, &err));
    }
    d->leave(u);
    uuid_format(&id, name);
    snprintf(sub, sizeof(sub), "uploads/%s.mark", name);
    path_in(r, sub, path);
    AUTO_FD int mark = open(path, O_WRONLY);
    assert_true(mark >= 0);
    assert_int_equal(pwrite(mark, "x", 1, 20), 1); /* the latest is torn: the one before counts */
    OK(d->offset(r->b, &id, &at, &err));
    assert_int_equal(at, 10);
    OK(d->resume(r->b, &id, &u, &at, &err));
    assert_int_equal(at, 10);
    d->leave(u);
    assert_int_equal(pwrite(mark, "x", 1, 4096 + 100), 1); /* and that one, too */
    OK(d->offset(r->b, &id, &at, &err));
    assert_int_equal(at, 0);
    OK(d->resume(r->b, &id, &u, &at, &err));
    assert_int_equal(at, 0);
    OK(d->write(u, "again", 5, &err));
    OK(d->sync(u, &err));
    d->leave(u);
    snprintf(sub, sizeof(sub), "uploads/%s", name);
    path_in(r, sub, path);
    assert_int_equal(truncate(path, 3), 0); /* shorter than the mark says */
    OK(d->offset(r->b, &id, &at, &err));
    assert_int_equal(at, 0);
    OK(d->resume(r->b, &id, &u, &at, &err));
    assert_int_equal(at, 0);
    d->leave(u);
}

/** Room that it has on the disk beyond its bytes; whole blocks do not count. */
static int64_t more_room(const struct room *r, const char *folder, const struct uuid *id)
{
    char name[UUID_STR_MAX], sub[sizeof("uploads/") + UUID_STR_MAX], path[PATH_MAX];
    struct stat st;

    uuid_format(id, name);
    snprintf(sub, sizeof(sub), "%s/%s", folder, name);
    path_in(r, sub, path);
    assert_int_equal(stat(path, &st), 0);
    return MAX((int64_t)st.st_blocks * 512 - (st.st_size + 65536), 0);
}

static bool can_allocate(const struct room *r)
{
    char path[PATH_MAX];

    path_in(r, "tmp/probe", path);
    AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 4096) == 0;
}

/** What was allocated ahead of a large upload is given back when it ends or rests, and never counts as its bytes. */
static void test_room_is_allocated_ahead(void **state)
{
    enum { PIECE = 1 << 20 };
    struct room *r = *state;
    AUTO_FREE char *piece = calloc(1, PIECE);
    struct blob_upload *u;
    struct uuid id, other;
    int64_t size = 0;
    uint8_t hash[32];
    const bool can = can_allocate(r);

    assert_true(uuid_parse("0193b3f0-1234-7abc-8def-0123456789af", &id));
    assert_true(uuid_parse("0193b3f0-1234-7abc-8def-0123456789ae", &other));
    OK(d->resume(r->b, &id, &u, &size, &err));
    for (int i = 0; i < 9; i++)
        OK(d->write(u, piece, PIECE, &err));
    assert_int_equal(more_room(r, "uploads", &id) > 16 << 20, can);
    OK(d->sync(u, &err));
    d->leave(u);
    assert_int_equal(more_room(r, "uploads", &id), 0);
    OK(d->resume(r->b, &id, &u, &size, &err));
    assert_int_equal(size, 9 * PIECE);
    for (int i = 0; i < 40; i++) /* through what was allocated first */
        OK(d->write(u, piece, PIECE, &err));
    OK(d->commit(u, &size, hash, &err));
    assert_int_equal(size, 49 * PIECE);
    assert_int_equal(more_room(r, "af", &id), 0);

    OK(d->begin(r->b, &other, &u, &err));
    for (int i = 0; i < 9; i++)
        OK(d->write(u, piece, PIECE, &err));
    assert_int_equal(more_room(r, "tmp", &other) > 16 << 20, can);
    OK(d->commit(u, &size, hash, &err));
    assert_int_equal(more_room(r, "ae", &other), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_layout),
        CASE(test_open_makes_the_folder_and_keeps_its_id),
        CASE(test_a_damaged_id_is_refused),
        CASE(test_one_process_at_a_time),
        CASE(test_open_empties_tmp),
        CASE(test_one_upload_an_id),
        CASE(test_a_damaged_mark_or_file),
        CASE(test_a_reader_outlives_the_blob),
        CASE(test_room_is_allocated_ahead),
        CASE(test_what_is_no_file_is_no_blob),
    };

    d = blob_folder();
    return cmocka_run_group_tests_name("blob folder", tests, NULL, NULL);
}
