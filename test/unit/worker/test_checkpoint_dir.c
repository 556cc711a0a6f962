/* checkpoint/ as it stood at one moment: what may lie in it, and how a change is told. */
#include "base/fs.h"
#include "worker/checkpoint_dir.h"
#include "worker/transfer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX 1000

static char dir[] = "/tmp/haul-checkpoint-XXXXXX";

static const char *in_dir(const char *name)
{
    static char paths[2][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 2];
    snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return path;
}

static int folder_make(void **state)
{
    memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
    return !mkdtemp(dir) || mkdir(in_dir("checkpoint"), 0700);
}

static int folder_end(void **state)
{
    return fs_remove_tree(dir, NULL);
}

/* In place, as a handler should not. */
static void put(const char *name, const char *text)
{
    const int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, text, strlen(text), NULL), ERR_OK);
    close(fd);
}

static struct kept_files look(void)
{
    struct kept_files k;
    struct err err;
    assert_int_equal(kept_files_read(dir, MAX, &k, &err), ERR_OK);
    return k;
}

static void refused(const char *word)
{
    struct kept_files k = {0};
    struct err err;
    assert_int_not_equal(kept_files_read(dir, MAX, &k, &err), ERR_OK);
    assert_null(k.items);
    if (!strstr(err.msg, word))
        fail_msg("'%s' does not name '%s'", err.msg, word);
}

static void test_files_by_name(void **state)
{
    struct kept_files k = look();
    assert_int_equal(k.n, 0);
    kept_files_free(&k);
    put("checkpoint/b", "four");
    put("checkpoint/a", "xyz");
    put("checkpoint/.c", "");
    assert_int_equal(chmod(in_dir("checkpoint/a"), 0755), 0);
    k = look();
    assert_int_equal(k.n, 3);
    assert_int_equal(k.bytes, 7);
    assert_string_equal(k.items[0].name, ".c");
    assert_string_equal(k.items[2].name, "b");
    assert_true(k.items[1].st.st_mode & S_IXUSR);
    assert_ptr_equal(kept_files_find(&k, "b"), &k.items[2]);
    assert_null(kept_files_find(&k, "none"));
    kept_files_free(&k);
}

static void test_what_is_no_file(void **state)
{
    put("checkpoint/good", "x");
    assert_int_equal(symlink("/etc/passwd", in_dir("checkpoint/bad")), 0);
    refused("symbolic link");
    unlink(in_dir("checkpoint/bad"));
    assert_int_equal(symlink("good", in_dir("checkpoint/bad")), 0);
    refused("symbolic link");
    unlink(in_dir("checkpoint/bad"));
    assert_int_equal(mkfifo(in_dir("checkpoint/bad"), 0600), 0);
    refused("a pipe");
    unlink(in_dir("checkpoint/bad"));
    assert_int_equal(mkdir(in_dir("checkpoint/bad"), 0700), 0);
    refused("a folder");
    rmdir(in_dir("checkpoint/bad"));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%.80s", in_dir("checkpoint/bad"));
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    refused("no file"); /* as a device is, which only root can make */
    close(fd);
}

static void test_names_that_cannot_be_said(void **state)
{
    static const char *const bad[] = {"checkpoint/a\tb", "checkpoint/\xff", "checkpoint/new\nline"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put(bad[i], "x");
        refused("name");
        unlink(in_dir(bad[i]));
    }
}

static void test_limits(void **state)
{
    char name[64], text[MAX + 1];
    memset(text, 'x', MAX);
    text[MAX] = 0;
    put("checkpoint/a", text);
    struct kept_files k = look();
    assert_int_equal(k.bytes, MAX);
    kept_files_free(&k);
    put("checkpoint/b", "x");
    refused("checkpoint_max");
    assert_int_equal(truncate(in_dir("checkpoint/b"), INT64_C(1) << 40), 0); /* sparse */
    refused("checkpoint_max");
    unlink(in_dir("checkpoint/a"));
    unlink(in_dir("checkpoint/b"));
    for (int i = 0; i <= CHECKPOINT_FILES_MAX; i++) {
        snprintf(name, sizeof name, "checkpoint/%d", i);
        put(name, "");
    }
    refused("more than 1000 files");
}

static void test_a_folder_that_is_none_any_more(void **state)
{
    assert_int_equal(rename(in_dir("checkpoint"), in_dir("moved")), 0);
    refused("no longer the folder");
    assert_int_equal(symlink("moved", in_dir("checkpoint")), 0);
    refused("no longer the folder");
    unlink(in_dir("checkpoint"));
    put("checkpoint", "x");
    refused("no longer the folder");
}

/* Opened only when it is sent: then it is found out. As whoever is not root, since root can read everything. */
static void test_a_file_that_cannot_be_read(void **state)
{
    put("checkpoint/a", "x");
    assert_int_equal(chmod(in_dir("checkpoint/a"), 0), 0);
    if (geteuid() == 0)
        assert_int_equal(chmod(dir, 0755) | chmod(in_dir("checkpoint"), 0755), 0);
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        int fd = -1;
        struct stat st;
        struct err err;
        if (geteuid() == 0 && setuid(65534))
            _exit(3);
        const int rc = scratch_file_open(dir, "checkpoint", "a", &fd, &st, &err);
        _exit(rc == ERR_INVALID && strstr(err.msg, "checkpoint/a cannot be read") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static bool settled(void)
{
    struct kept_files k = look();
    const bool is = kept_files_settled(&k);
    kept_files_free(&k);
    return is;
}

static bool stands(const struct kept_files *before)
{
    struct kept_files after = look();
    const bool is = kept_files_stand(before, &after);
    kept_files_free(&after);
    return is;
}

static void settle(void)
{
    const struct timespec tick = {.tv_nsec = 1000000};
    while (!settled())
        nanosleep(&tick, NULL);
}

static void test_a_change_is_told(void **state)
{
    put("checkpoint/a", "one");
    put("checkpoint/b", "two");
    settle();
    struct kept_files k = look();
    assert_true(stands(&k));
    put("checkpoint/new", "does not matter");
    assert_true(stands(&k));
    put("checkpoint/a", "uno"); /* as long as before, the same file */
    assert_false(stands(&k));
    kept_files_free(&k);

    settle();
    k = look();
    struct kept_files same = look();
    assert_true(kept_files_equal(&k, &same));
    const struct timespec old[2] = {k.items[1].st.st_atim, k.items[1].st.st_mtim};
    put("checkpoint/b", "dos");
    assert_int_equal(utimensat(AT_FDCWD, in_dir("checkpoint/b"), old, 0), 0); /* hiding it */
    assert_false(stands(&k));
    kept_files_free(&k);
    kept_files_free(&same);

    settle();
    k = look();
    put("other", "dos");
    assert_int_equal(rename(in_dir("other"), in_dir("checkpoint/b")), 0);
    assert_false(stands(&k));
    kept_files_free(&k);
    k = look();
    unlink(in_dir("checkpoint/b"));
    assert_false(stands(&k));
    kept_files_free(&k);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_files_by_name),
        TEST(test_what_is_no_file),
        TEST(test_names_that_cannot_be_said),
        TEST(test_limits),
        TEST(test_a_folder_that_is_none_any_more),
        TEST(test_a_file_that_cannot_be_read),
        TEST(test_a_change_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
