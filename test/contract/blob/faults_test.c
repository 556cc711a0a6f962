/* Each step of an upload made to fail: nothing is seen, nothing is left, and the next upload goes well.
 * Faults are read from the environment once a process, so each is tried in a child. */
#include "check.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static bool empty(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct err err;

    if (fs_join(path, sizeof(path), dir, name, &err) != ERR_OK)
        return false;

    DIR *at = opendir(path);
    bool none = at != NULL;

    for (struct dirent *e; at && (e = readdir(at));)
        none &= e->d_name[0] == '.';
    if (at)
        closedir(at);
    return none;
}

static int upload(const struct blob_driver *d, struct blobs *b, const struct uuid *id)
{
    struct blob_upload *u;
    struct err err = {0};
    int64_t size;
    uint8_t hash[32];
    int rc = d->begin(b, id, &u, &err);

    if (rc != ERR_OK)
        return rc;
    rc = d->write(u, "half", 4, &err);
    if (rc != ERR_OK && d->write(u, "more", 4, &err) != rc) /* a failed write sticks */
        return ERR_INTERNAL;
    int end = d->commit(u, &size, hash, &err);

    return rc != ERR_OK && end != rc ? ERR_INTERNAL : end;
}

/** In the child. @return 0, or the number of what went wrong. */
static int attempt(const char *dir, enum err_code want)
{
    const struct blob_driver *d = blob_folder();
    struct blobs *b;
    char fid[UUID_STR_MAX], fan[3];
    struct err err = {0};
    struct uuid id = new_id();
    struct blob_reader *r;

    snprintf(fan, sizeof(fan), "%02x", id.b[15]);
    if (d->open(dir, &b, fid, &err) != ERR_OK)
        return 1;
    if (upload(d, b, &id) != (int)want)
        return 2;
    if (d->open_read(b, &id, &r, &err) != ERR_NOT_FOUND)
        return 3;
    if (!empty(dir, "tmp") || !empty(dir, fan))
        return 4;
    if (upload(d, b, &id) != ERR_OK || d->open_read(b, &id, &r, &err) != ERR_OK || r->size != 4)
        return 5;
    blob_reader_close(r);
    d->close(b);
    return 0;
}

static void test_every_step(void **state)
{
    static const struct {
        const char *at;
        enum err_code want;
    } rows[] = {
        {"folder.create:1", ERR_IO}, {"folder.write:1", ERR_NO_SPACE}, {"folder.sync:1", ERR_IO},
        {"folder.rename:1", ERR_IO}, {"folder.sync_dir:1", ERR_IO},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char dir[PATH_MAX];

        make_dir(dir);

        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
            setenv("HAUL_FAULTS_AT", rows[i].at, 1);
            _exit(attempt(dir, rows[i].want));
        }

        int status;

        while (waitpid(pid, &status, 0) < 0)
            assert_int_equal(errno, EINTR);
        drop_dir(dir);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("%s: step %d (status %x)", rows[i].at, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                     (unsigned)status);
    }
}

static int take_more(const struct blob_driver *d, struct blob_upload *u)
{
    struct buf piece;
    struct err err = {0};

    buf_init(&piece, 4096);
    buf_adds(&piece, "more");

    int rc = d->take(u, &piece, &err);

    buf_release(&piece);
    return rc;
}

/** In the child: a step of a resumable upload fails, and what was sure before is there still. @return as attempt() */
static int resume_attempt(const char *dir)
{
    const struct blob_driver *d = blob_folder();
    struct blobs *b;
    struct blob_upload *u = NULL;
    char fid[UUID_STR_MAX];
    struct err err = {0};
    struct uuid id = new_id();
    int64_t at = 0, size = 0;
    uint8_t hash[32], want[32];
    bool failed = false;

    if (d->open(dir, &b, fid, &err) != ERR_OK)
        return 1;
    for (int tries = 0; at < 8 || size == 0; tries++) {
        if (tries > 9)
            return 2;
        int64_t sure = at;
        if (d->resume(b, &id, &u, &at, &err) != ERR_OK) {
            failed = true;
            continue;
        }
        if (at < sure || at % 4 != 0)
            return 3;
        if (at < 8 &&
            ((at == 0 ? d->write(u, "half", 4, &err) : take_more(d, u)) != ERR_OK || d->sync(u, &err) != ERR_OK)) {
            failed = true;
            d->leave(u);
            continue;
        }
        if (at < 8) {
            at += 4;
            d->leave(u);
        } else if (d->commit(u, &size, hash, &err) != ERR_OK) {
            failed = true;
            size = 0;
        }
    }
    sha256_once("halfmore", 8, want);
    if (!failed || size != 8 || memcmp(hash, want, 32) != 0)
        return 4;
    if (d->discard(b, &id, &err) != ERR_OK || !empty(dir, "uploads"))
        return 5;
    d->close(b);
    return 0;
}

static void test_every_step_of_a_resumable_upload(void **state)
{
    static const char *const rows[] = {"folder.resume:1", "folder.resume:2", "folder.write:1",   "folder.write:2",
                                       "folder.sync:1",   "folder.sync:2",   "folder.sync:3",    "folder.mark:1",
                                       "folder.mark:2",   "folder.rename:1", "folder.sync_dir:1"};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char dir[PATH_MAX];
        int status;

        make_dir(dir);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            setenv("HAUL_FAULTS_AT", rows[i], 1);
            _exit(resume_attempt(dir));
        }
        while (waitpid(pid, &status, 0) < 0)
            assert_int_equal(errno, EINTR);
        drop_dir(dir);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("%s: step %d (status %x)", rows[i], WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                     (unsigned)status);
    }
}

/** In the child: a file system without hard links. @return 0, or the number of what went wrong */
static int link_by_copy(const char *dir)
{
    const struct blob_driver *d = blob_folder();
    struct blobs *b;
    char fid[UUID_STR_MAX], path[BLOB_PATH_MAX], to[PATH_MAX], got[8] = "";
    struct err err = {0};
    struct uuid id = new_id();
    struct stat st;
    int64_t size;

    if (d->open(dir, &b, fid, &err) != ERR_OK || upload(d, b, &id) != ERR_OK)
        return 1;
    if (fs_join(to, sizeof(to), dir, "snapshot", &err) != ERR_OK || fs_mkdirs(to, 0700, &err) != ERR_OK)
        return 2;
    AUTO_FD int at = open(to, O_RDONLY | O_DIRECTORY);
    if (d->link(b, &id, at, &size, &err) != ERR_OK || size != 4)
        return 3;
    d->path(&id, path);
    if (fstatat(at, path, &st, 0) < 0 || st.st_nlink != 1 || st.st_size != 4)
        return 4;
    AUTO_FD int fd = openat(at, path, O_RDONLY);
    if (read(fd, got, sizeof(got)) != 4 || strcmp(got, "half") != 0)
        return 5;
    d->close(b);
    return 0;
}

static void test_a_file_system_without_links(void **state)
{
    char dir[PATH_MAX];
    int status;

    make_dir(dir);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setenv("HAUL_FAULTS_AT", "folder.link:1", 1);
        _exit(link_by_copy(dir));
    }
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    drop_dir(dir);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_step),
                                       cmocka_unit_test(test_every_step_of_a_resumable_upload),
                                       cmocka_unit_test(test_a_file_system_without_links)};

    return cmocka_run_group_tests_name("blob faults", tests, NULL, NULL);
}
