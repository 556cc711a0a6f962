/* What every driver of blobs promises (blob/blob.h): the folder, or s3 below a prefix of its own where HAUL_TEST_S3 names a bucket. */
#include "check.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct room {
    const struct blob_driver *d;
    struct blobs *b;
    char dir[PATH_MAX]; /* or URL */
    char folder_id[UUID_STR_MAX];
};

static const struct blob_driver *driver; /* the one under test */

/** "s3://bucket/?..." with a prefix in place. */
static void make_url(char ret[PATH_MAX])
{
    const char *url = getenv("HAUL_TEST_S3"), *query = strchr(url, '?');
    struct uuid id = new_id();
    char name[UUID_STR_MAX];

    uuid_format(&id, name);
    snprintf(ret, PATH_MAX, "%.*s%s%s", (int)(query - url), url, name, query);
}

static int set_up(void **state)
{
    struct room *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    r->d = driver;
    if (driver == blob_folder())
        make_dir(r->dir);
    else
        make_url(r->dir);
    OK(r->d->open(r->dir, &r->b, r->folder_id, &err));
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct room *r = *state;

    r->d->close(r->b);
    if (driver == blob_folder())
        drop_dir(r->dir);
    free(r);
    return 0;
}

static void reopen(struct room *r)
{
    char id[UUID_STR_MAX];

    r->d->close(r->b);
    OK(r->d->open(r->dir, &r->b, id, &err));
    assert_string_equal(id, r->folder_id); /* the same folder says the same */
}

static void put(struct room *r, const struct uuid *id, const char *p, size_t n, size_t chunk)
{
    struct blob_upload *u;
    int64_t size = -1;
    uint8_t hash[32], want[32];

    OK(r->d->begin(r->b, id, &u, &err));
    for (size_t at = 0; at < n; at += chunk)
        OK(r->d->write(u, p + at, MIN(chunk, n - at), &err));
    OK(r->d->commit(u, &size, hash, &err));
    assert_int_equal(size, n);
    sha256_once(p, n, want);
    assert_memory_equal(hash, want, 32);
}

static void expect_bytes(struct room *r, const struct uuid *id, const char *p, size_t n)
{
    struct blob_reader *reader = NULL;
    struct err e = {0};

    OK(r->d->open_read(r->b, id, &reader, &err));
    assert_int_equal(reader->size, n);

    AUTO_FREE char *got = malloc(n + 1);

    assert_non_null(got);
    assert_int_equal(read_fully(reader, 0, got, n + 1, &e), n);
    assert_memory_equal(got, p, n);
    if (n > 10) { /* from anywhere: back, forward, over the end */
        assert_int_equal(read_fully(reader, (int64_t)n - 7, got, 4, &e), 4);
        assert_memory_equal(got, p + n - 7, 4);
        assert_int_equal(read_fully(reader, 1, got, 5, &e), 5);
        assert_memory_equal(got, p + 1, 5);
        assert_int_equal(read_fully(reader, (int64_t)n - 3, got, 9, &e), 3);
        assert_memory_equal(got, p + n - 3, 3);
        assert_int_equal(reader->read(reader, (int64_t)n + 5, got, 9, &e), 0);
    }
    blob_reader_close(reader);
}

static void expect_absent(struct room *r, const struct uuid *id)
{
    struct blob_reader *reader = NULL;
    struct err err = {0};

    assert_int_equal(r->d->open_read(r->b, id, &reader, &err), ERR_NOT_FOUND);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_null(reader);
}

static void test_bytes_come_back(void **state)
{
    struct room *r = *state;
    static const size_t sizes[] = {0, 1, 4095, 65536, 65537, 1000003};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        AUTO_FREE char *p = some_bytes(sizes[i], i);
        struct uuid id = new_id();

        put(r, &id, p, sizes[i], 5000);
        expect_bytes(r, &id, p, sizes[i]);
        reopen(r);
        expect_bytes(r, &id, p, sizes[i]);
    }
}

static void test_hash_of_many_mebibytes(void **state)
{
    struct room *r = *state;
    const size_t n = 37 * 1024 * 1024 + 11;
    AUTO_FREE char *p = some_bytes(n, 99);
    struct uuid id = new_id();

    put(r, &id, p, n, 65536 + 13);
    expect_bytes(r, &id, p, n);
}

static void test_visible_only_when_whole(void **state)
{
    struct room *r = *state;
    AUTO_FREE char *p = some_bytes(100000, 1);
    struct uuid id = new_id();
    struct blob_upload *u;
    int64_t size;
    uint8_t hash[32];

    expect_absent(r, &id);
    OK(r->d->begin(r->b, &id, &u, &err));
    expect_absent(r, &id);
    for (int i = 0; i < 10; i++) {
        OK(r->d->write(u, p + i * 10000, 10000, &err));
        expect_absent(r, &id);
    }
    OK(r->d->commit(u, &size, hash, &err));
    expect_bytes(r, &id, p, 100000);
}

static void test_abort_leaves_nothing(void **state)
{
    struct room *r = *state;
    AUTO_FREE char *p = some_bytes(100000, 2);
    struct uuid id = new_id();
    struct blob_upload *u;

    OK(r->d->begin(r->b, &id, &u, &err));
    OK(r->d->write(u, p, 100000, &err));
    r->d->abort(u);
    r->d->abort(NULL);
    expect_absent(r, &id);
    put(r, &id, p, 77, 77); /* the id is free again */
    expect_bytes(r, &id, p, 77);
}

static void test_an_id_names_the_same_bytes_for_ever(void **state)
{
    struct room *r = *state;
    struct uuid id = new_id();
    struct blob_upload *u;
    int64_t size;
    uint8_t hash[32];
    struct err e = {0};

    put(r, &id, "first", 5, 5);
    OK(r->d->begin(r->b, &id, &u, &err));
    OK(r->d->write(u, "other", 5, &err));
    assert_int_equal(r->d->commit(u, &size, hash, &e), ERR_CONFLICT);
    expect_bytes(r, &id, "first", 5);
}

static void test_remove(void **state)
{
    struct room *r = *state;
    struct uuid id = new_id(), other = new_id();
    struct blob_reader *reader;
    struct err e = {0};
    char got[5];

    put(r, &id, "bytes", 5, 5);
    put(r, &other, "stays", 5, 5);
    OK(r->d->open_read(r->b, &id, &reader, &err));
    OK(r->d->remove(r->b, &id, &err));
    expect_absent(r, &id);
    if (read_fully(reader, 0, got, 5, &e) == 5) /* who was reading reads on, or is told; never other bytes */
        assert_memory_equal(got, "bytes", 5);
    else
        assert_int_equal(e.code, ERR_NOT_FOUND);
    blob_reader_close(reader);
    OK(r->d->remove(r->b, &id, &err)); /* absent is fine */
    expect_bytes(r, &other, "stays", 5);
}

static void expect_file(int dir_fd, const char *path, const char *p, size_t n)
{
    AUTO_FD int fd = openat(dir_fd, path, O_RDONLY | O_NOFOLLOW);
    AUTO_FREE char *got = malloc(n + 1);
    struct stat st;

    assert_true(fd >= 0 && got);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(read(fd, got, n + 1), n);
    assert_memory_equal(got, p, n);
}

static void test_linked_for_a_snapshot(void **state)
{
    struct room *r = *state;
    struct uuid ids[] = {new_id(), new_id(), new_id()}, absent = new_id();
    char dir[PATH_MAX], path[BLOB_PATH_MAX];
    int64_t size = -1;
    struct err e = {0};

    if (!r->d->link)
        skip(); /* which jumps: nothing is held yet */
    AUTO_FREE char *p = some_bytes(300000, 8);
    make_dir(dir);
    AUTO_FD int at = open(dir, O_RDONLY | O_DIRECTORY);
    assert_true(at >= 0);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        put(r, &ids[i], p, i * 150000, 5000);
        OK(r->d->link(r->b, &ids[i], at, &size, &err));
        assert_int_equal(size, i * 150000);
    }
    assert_int_equal(r->d->link(r->b, &absent, at, &size, &e), ERR_NOT_FOUND);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) { /* the snapshot outlives the blob */
        OK(r->d->remove(r->b, &ids[i], &err));
        r->d->path(&ids[i], path);
        expect_file(at, path, p, i * 150000);
    }
    put(r, &ids[1], "other", 5, 5);
    expect_bytes(r, &ids[1], "other", 5);
    r->d->path(&ids[1], path);
    expect_file(at, path, p, 150000);
    drop_dir(dir);
}

static void test_uploads_side_by_side(void **state)
{
    struct room *r = *state;
    AUTO_FREE char *p = some_bytes(64 * 1000, 5);
    struct blob_upload *u[64];
    struct uuid ids[64];
    int64_t size;
    uint8_t hash[32], want[32];

    for (size_t i = 0; i < 64; i++) {
        ids[i] = new_id();
        OK(r->d->begin(r->b, &ids[i], &u[i], &err));
    }
    for (size_t part = 0; part < 10; part++)
        for (size_t i = 0; i < 64; i++)
            OK(r->d->write(u[i], p + i * 1000 + part * 100, 100, &err));
    for (size_t i = 0; i < 64; i++) {
        OK(r->d->commit(u[i], &size, hash, &err));
        sha256_once(p + i * 1000, 1000, want);
        assert_memory_equal(hash, want, 32);
    }
    for (size_t i = 0; i < 64; i++)
        expect_bytes(r, &ids[i], p + i * 1000, 1000);
}

/** A process that uploads and is killed in the midst of it, after `parts` parts. */
static void cut_upload(const struct room *r, const struct uuid *id, int parts)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct blobs *b;
        struct blob_upload *u;
        char fid[UUID_STR_MAX];
        struct err err;
        AUTO_FREE char *p = calloc(1, 1 << 20);

        if (!p || r->d->open(r->dir, &b, fid, &err) != ERR_OK || r->d->begin(b, id, &u, &err) != ERR_OK)
            _exit(1);
        for (int i = 0; i < parts; i++)
            if (r->d->write(u, p, 1 << 20, &err) != ERR_OK)
                _exit(2);
        raise(SIGKILL);
        _exit(3);
    }

    int status;

    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_cut_upload_leaves_nothing(void **state)
{
    struct room *r = *state;
    struct uuid whole = new_id();

    put(r, &whole, "whole", 5, 5);
    for (int parts = 0; parts < 4; parts++) {
        struct uuid id = new_id();

        r->d->close(r->b);
        cut_upload(r, &id, parts);
        OK(r->d->open(r->dir, &r->b, r->folder_id, &err));
        expect_absent(r, &id);
        put(r, &id, "again", 5, 5); /* sent again under the same id */
        expect_bytes(r, &id, "again", 5);
    }
    expect_bytes(r, &whole, "whole", 5);
}

static struct blob_upload *go_on(struct room *r, const struct uuid *id, int64_t want)
{
    struct blob_upload *u = NULL;
    int64_t at = -1;

    OK(r->d->resume(r->b, id, &u, &at, &err));
    assert_int_equal(at, want);
    return u;
}

static void expect_offset(struct room *r, const struct uuid *id, int64_t want)
{
    int64_t at = -1;
    struct err err = {0};
    int rc = r->d->offset(r->b, id, &at, &err);

    assert_int_equal(rc, want < 0 ? ERR_NOT_FOUND : ERR_OK);
    if (want >= 0)
        assert_int_equal(at, want);
}

static size_t count_unfinished(struct room *r, const struct uuid *id)
{
    struct arena *arena = arena_new(1 << 20);
    struct uuid *ids = NULL;
    size_t n = 0, found = 0;

    assert_non_null(arena);
    OK(r->d->unfinished(r->b, arena, &ids, &n, &err));
    for (size_t i = 0; i < n; i++)
        found += uuid_equal(&ids[i], id);
    arena_free(arena);
    return found;
}

static void finish(struct room *r, struct blob_upload *u, const struct uuid *id, const char *p, size_t n)
{
    int64_t size = -1;
    uint8_t hash[32], want[32];

    OK(r->d->commit(u, &size, hash, &err));
    sha256_once(p, n, want);
    assert_memory_equal(hash, want, 32);
    assert_int_equal(size, n);
    OK(r->d->discard(r->b, id, &err));
    expect_offset(r, id, -1);
    assert_int_equal(count_unfinished(r, id), 0);
    expect_bytes(r, id, p, n);
}

static void test_resumed_at_many_offsets(void **state)
{
    struct room *r = *state;
    const size_t n = 300001;
    AUTO_FREE char *p = some_bytes(n, 77);
    struct uuid id = new_id();
    size_t at = 0;

    expect_offset(r, &id, -1);
    /* steps of every length around SHA-256's block, with and without a restart between */
    for (size_t step = 1; at < n; step = step * 2 + 1) {
        struct blob_upload *u = go_on(r, &id, (int64_t)at);
        size_t more = MIN(step, n - at);

        OK(r->d->write(u, p + at, more, &err));
        OK(r->d->sync(u, &err));
        r->d->leave(u);
        at += more;
        expect_offset(r, &id, (int64_t)at);
        if (step & 2)
            reopen(r);
        expect_offset(r, &id, (int64_t)at);
        expect_absent(r, &id);
        assert_true(count_unfinished(r, &id) > 0);
    }
    finish(r, go_on(r, &id, (int64_t)n), &id, p, n);
    reopen(r);
    expect_bytes(r, &id, p, n);
}

/** More than a driver keeps in memory: in parts, cut at a place that is no part's end. */
static void test_a_long_upload_is_resumed(void **state)
{
    struct room *r = *state;
    const size_t n = 27 * 1024 * 1024 + 5, cut = 19 * 1024 * 1024 + 77;
    AUTO_FREE char *p = some_bytes(n, 80);
    struct uuid id = new_id();
    struct blob_upload *u = go_on(r, &id, 0);

    OK(r->d->write(u, p, cut, &err));
    OK(r->d->sync(u, &err));
    OK(r->d->write(u, p + cut, 7 * 1024 * 1024, &err));
    r->d->leave(u);
    reopen(r);
    expect_offset(r, &id, (int64_t)cut);
    u = go_on(r, &id, (int64_t)cut);
    OK(r->d->write(u, p + cut, n - cut, &err));
    finish(r, u, &id, p, n);
}

static void take(struct room *r, struct blob_upload *u, struct buf *piece, const char *p, size_t n)
{
    buf_add(piece, p, n);
    assert_false(piece->failed);
    OK(r->d->take(u, piece, &err));
    assert_int_equal(piece->len, 0);
}

static void expect_sum(struct room *r, struct blob_upload *u, const char *p, size_t n)
{
    uint8_t got[XXH128_BYTES], want[XXH128_BYTES];
    struct xxh128 *x = xxh128_new();

    xxh128_add(x, p, n);
    xxh128_digest(x, want);
    xxh128_free(x);
    r->d->sum(u, got);
    assert_memory_equal(got, want, sizeof(want));
}

static void test_what_came_is_summed(void **state)
{
    struct room *r = *state;
    const size_t n = 9 * 1024 * 1024, cut = 5 * 1024 * 1024;
    AUTO_FREE char *p = some_bytes(n, 83);
    struct uuid id = new_id(), other = new_id();
    struct blob_upload *u = go_on(r, &id, 0);

    expect_sum(r, u, "", 0);
    OK(r->d->write(u, p, 70000, &err));
    OK(r->d->write(u, p + 70000, cut - 70000, &err));
    OK(r->d->sync(u, &err));
    expect_sum(r, u, p, cut); /* a sync changes nothing */
    OK(r->d->write(u, p + cut, 10, &err));
    expect_sum(r, u, p + cut, 10); /* since it was asked for */
    OK(r->d->sync(u, &err));
    r->d->leave(u);
    u = go_on(r, &id, (int64_t)cut + 10);
    OK(r->d->write(u, p + cut + 10, n - cut - 10, &err));
    expect_sum(r, u, p + cut + 10, n - cut - 10); /* since it was gone on with */
    finish(r, u, &id, p, n);

    OK(r->d->begin(r->b, &other, &u, &err));
    OK(r->d->write(u, p, n, &err));
    expect_sum(r, u, p, n);
    finish(r, u, &other, p, n);
}

/** Pieces that it keeps while they are hashed, with such between them that it does not, and what goes on from a sync. */
static void test_pieces_are_taken(void **state)
{
    struct room *r = *state;
    const size_t n = 9 * 1024 * 1024 + 5, cut = n / 2;
    static const size_t sizes[] = {1, 512 << 10, 100 << 10, 3000, 512 << 10, 512 << 10, 512 << 10, 512 << 10, 70000};
    AUTO_FREE char *p = some_bytes(n, 81);
    struct uuid id = new_id();
    struct buf piece;

    if (!r->d->take)
        return;
    buf_init(&piece, 1 << 20);
    struct blob_upload *u = go_on(r, &id, 0);

    for (size_t i = 0, at = 0; at < cut; i++) {
        size_t more = MIN(sizes[i % ARRAY_LEN(sizes)], cut - at);

        take(r, u, &piece, p + at, more);
        at += more;
    }
    expect_sum(r, u, p, cut);
    OK(r->d->sync(u, &err)); /* marks the hash of all of them */
    take(r, u, &piece, p + cut, 512 << 10);
    r->d->leave(u);
    u = go_on(r, &id, (int64_t)cut);
    take(r, u, &piece, p + cut, 512 << 10);
    OK(r->d->write(u, p + cut + (512 << 10), 512 << 10, &err));
    for (size_t at = cut + (1 << 20); at < n; at += MIN((size_t)512 << 10, n - at))
        take(r, u, &piece, p + at, MIN((size_t)512 << 10, n - at));
    finish(r, u, &id, p, n);
    buf_release(&piece);
}

/** Whoever goes on finds all of them, and takes nothing away: the row may be on its way. */
static void expect_whole(struct room *r, const struct uuid *id, const char *p, size_t n)
{
    struct err refused = {0};

    struct blob_upload *u = go_on(r, id, (int64_t)n);
    expect_bytes(r, id, p, n);
    assert_int_equal(r->d->write(u, "more", 4, &refused), ERR_CONFLICT);
    OK(r->d->sync(u, &err));
    r->d->leave(u);
    expect_bytes(r, id, p, n);
    u = go_on(r, id, (int64_t)n);
    OK(r->d->discard(r->b, id, &err)); /* its row was written elsewhere meanwhile */
    expect_bytes(r, id, p, n);
    finish(r, u, id, p, n);
    expect_offset(r, id, -1);
    finish(r, go_on(r, id, (int64_t)n), id, p, n);
}

static void test_a_long_commit_without_its_row_is_found_whole(void **state)
{
    struct room *r = *state;
    const size_t n = 21 * 1024 * 1024 + 5, cut = 17 * 1024 * 1024 + 77;
    AUTO_FREE char *p = some_bytes(n, 81);
    struct uuid id = new_id();
    struct blob_upload *u = go_on(r, &id, 0);
    int64_t size;
    uint8_t hash[32];

    OK(r->d->write(u, p, cut, &err));
    OK(r->d->sync(u, &err));
    OK(r->d->write(u, p + cut, n - cut, &err));
    OK(r->d->commit(u, &size, hash, &err));
    reopen(r); /* the crash */
    expect_whole(r, &id, p, n);
}

static void test_unsynced_bytes_are_not_believed(void **state)
{
    struct room *r = *state;
    AUTO_FREE char *p = some_bytes(100000, 78);
    struct uuid id = new_id();
    struct blob_upload *u = go_on(r, &id, 0);

    OK(r->d->write(u, p, 60000, &err));
    OK(r->d->sync(u, &err));
    OK(r->d->write(u, "zeros, say, after a power cut", 29, &err));
    r->d->leave(u);
    r->d->leave(NULL);
    expect_offset(r, &id, 60000);
    u = go_on(r, &id, 60000);
    OK(r->d->write(u, p + 60000, 40000, &err));
    finish(r, u, &id, p, 100000);
}

static void test_an_empty_resumable_upload(void **state)
{
    struct room *r = *state;
    struct uuid id = new_id();

    finish(r, go_on(r, &id, 0), &id, "", 0);
}

static void test_a_commit_without_its_row_is_found_whole(void **state)
{
    struct room *r = *state;
    AUTO_FREE char *p = some_bytes(90000, 79);
    struct uuid id = new_id();
    struct blob_upload *u = go_on(r, &id, 0);
    int64_t size;
    uint8_t hash[32];

    OK(r->d->write(u, p, 50000, &err));
    OK(r->d->sync(u, &err));
    OK(r->d->write(u, p + 50000, 40000, &err));
    OK(r->d->commit(u, &size, hash, &err));
    reopen(r); /* the crash */
    expect_offset(r, &id, 50000);
    expect_whole(r, &id, p, 90000);
}

static void test_discard(void **state)
{
    struct room *r = *state;
    struct uuid id = new_id();
    struct blob_upload *u = go_on(r, &id, 0);
    int64_t size;
    uint8_t hash[32];

    OK(r->d->write(u, "bytes", 5, &err));
    OK(r->d->sync(u, &err));
    OK(r->d->discard(r->b, &id, &err)); /* under its writer's hands */
    OK(r->d->write(u, "more", 4, &err));
    struct err gone = {0};
    assert_int_not_equal(r->d->commit(u, &size, hash, &gone), ERR_OK);
    expect_offset(r, &id, -1);
    expect_absent(r, &id);
    OK(r->d->discard(r->b, &id, &err)); /* absent is fine */
    r->d->leave(go_on(r, &id, 0));
    OK(r->d->discard(r->b, &id, &err));
}

struct crowd {
    struct room *r;
    uint64_t seed;
    atomic_int *wrong;
};

/** Uploads, reads back, removes: with many at once. No cmocka in here: it is not thread-safe. */
static void *crowd_run(void *arg)
{
    struct crowd *c = arg;
    struct room *r = c->r;
    struct rng_seeded s = {.state = c->seed};
    struct rng rng = rng_seeded_view(&s);

    for (int i = 0; i < 20; i++) {
        uint8_t bytes[3000], got[3000], hash[32], want[32];
        size_t n = rng_u64(rng) % sizeof(bytes);
        struct uuid id = uuid_v7(1, rng);
        struct blob_upload *u;
        struct err err;
        int64_t size = -1;
        struct blob_reader *reader = NULL;

        rng.fill(rng.self, bytes, n);
        sha256_once(bytes, n, want);
        bool good = r->d->begin(r->b, &id, &u, &err) == ERR_OK && r->d->write(u, bytes, n, &err) == ERR_OK &&
                    r->d->commit(u, &size, hash, &err) == ERR_OK && memcmp(hash, want, 32) == 0 && size == (int64_t)n &&
                    r->d->open_read(r->b, &id, &reader, &err) == ERR_OK && reader->size == (int64_t)n &&
                    read_fully(reader, 0, got, sizeof(got), &err) == (int64_t)n && memcmp(got, bytes, n) == 0 &&
                    r->d->remove(r->b, &id, &err) == ERR_OK;
        blob_reader_close(reader);
        if (!good)
            atomic_fetch_add(c->wrong, 1);
    }
    return NULL;
}

static void test_any_thread_may_use_it(void **state)
{
    pthread_t threads[8];
    struct crowd crowd[8];
    atomic_int wrong = 0;

    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        crowd[i] = (struct crowd){.r = *state, .seed = 1000 + i, .wrong = &wrong};
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_run, &crowd[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(wrong, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_bytes_come_back),
        CASE(test_hash_of_many_mebibytes),
        CASE(test_visible_only_when_whole),
        CASE(test_abort_leaves_nothing),
        CASE(test_an_id_names_the_same_bytes_for_ever),
        CASE(test_remove),
        CASE(test_linked_for_a_snapshot),
        CASE(test_uploads_side_by_side),
        CASE(test_cut_upload_leaves_nothing),
        CASE(test_resumed_at_many_offsets),
        CASE(test_a_long_upload_is_resumed),
        CASE(test_what_came_is_summed),
        CASE(test_pieces_are_taken),
        CASE(test_a_long_commit_without_its_row_is_found_whole),
        CASE(test_unsynced_bytes_are_not_believed),
        CASE(test_an_empty_resumable_upload),
        CASE(test_a_commit_without_its_row_is_found_whole),
        CASE(test_discard),
        CASE(test_any_thread_may_use_it),
    };

    driver = getenv("HAUL_TEST_S3") ? blob_s3() : blob_folder();
    return cmocka_run_group_tests_name(driver->name, tests, NULL, NULL);
}
