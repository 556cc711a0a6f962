/* The state folder, and who answers in it. */
#include "base/buf.h"
#include "base/fs.h"
#include "worker/presence.h"
#include "worker/state.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[64];

static int folder_make(void **state)
{
    strncpy(dir, "/tmp/haul-state-XXXXXX", sizeof dir - 1);
    return !mkdtemp(dir);
}

static int folder_end(void **state)
{
    struct err err;
    return fs_remove_tree(dir, &err);
}

static const char *in_dir(const char *name)
{
    static char path[4][512];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static void put(const char *name, const char *text)
{
    struct err err;
    assert_int_equal(fs_write_durable(in_dir(name), text, strlen(text), 0600, &err), ERR_OK);
}

static void test_attempt_names(void **state)
{
    assert_true(attempt_name_valid("01a21194-06e9-7c76-8351-2b4a971f9fe9-1"));
    assert_true(attempt_name_valid("01a21194-06e9-7c76-8351-2b4a971f9fe9-4711"));
    static const char *const others[] = {"",
                                         "lost+found",
                                         "01a21194-06e9-7c76-8351-2b4a971f9fe9",
                                         "01a21194-06e9-7c76-8351-2b4a971f9fe9-",
                                         "01a21194-06e9-7c76-8351-2b4a971f9fe9-x",
                                         "01a21194-06e9-7c76-8351-2b4a971f9fe9-1/..",
                                         "01a21194-06e9-7c76-8351-2b4a971f9fez-1",
                                         "01a21194-06e9-7c76-8351-2b4a971f9fe9_1"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (attempt_name_valid(others[i]))
            fail_msg("'%s' is no attempt", others[i]);
}

static void test_folder_is_kept_and_locked(void **state)
{
    struct state one, two;
    struct err err;
    char id[UUID_STR_MAX];
    if (state_open(dir, &one, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(state_open(dir, &two, &err), ERR_LOCKED);
    memcpy(id, one.worker_id, sizeof id);
    state_close(&one);
    put(".tmp-1", "half");
    if (state_open(dir, &two, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(two.worker_id, id);
    assert_false(fs_exists(in_dir(".tmp-1")));
    state_close(&two);
}

static void test_folder_is_refused(void **state)
{
    static const struct {
        const char *file, *text;
        int rc;
        const char *word;
    } bad[] = {
        {"format", "2\n", ERR_UNSUPPORTED, "newer"},
        {"format", "one\n", ERR_CORRUPT, "number"},
        {"format", "-1\n", ERR_CORRUPT, "number"},
        {"worker-id", "x\n", ERR_CORRUPT, "UUID"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct state s;
        struct err err;
        put(bad[i].file, bad[i].text);
        assert_int_equal(state_open(dir, &s, &err), bad[i].rc);
        if (!strstr(err.msg, bad[i].word))
            fail_msg("'%s' does not say '%s'", err.msg, bad[i].word);
        unlink(in_dir(bad[i].file));
    }
}

static void test_room(void **state)
{
    struct state s = {.lock_fd = -1};
    uint64_t free_bytes = 0;
    snprintf(s.path, sizeof s.path, "%s", dir);
    assert_true(state_has_room(&s, 0, &free_bytes));
    assert_false(state_has_room(&s, UINT64_MAX, &free_bytes));
    assert_true(free_bytes > 0);
    snprintf(s.path, sizeof s.path, "%s/absent", dir);
    assert_false(state_has_room(&s, 0, &free_bytes));
}

static void tell(void *arg, struct json_writer *w)
{
    jw_string(w, "name", arg);
}

static int connect_by_hand(void)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", dir);
    assert_int_equal(connect(fd, (const void *)&a, sizeof a), 0);
    return fd;
}

/* Clients that say nothing, read nothing and never leave are in nobody's way. */
static void test_presence(void **state)
{
    struct presence *p = NULL;
    struct err err;
    json_t *who = NULL;
    pid_t pid = 0;
    struct stat st;
    static char name[] = "me";
    assert_int_equal(presence_ask(dir, NULL, NULL, &err), ERR_NOT_FOUND);
    put("socket", "left over");
    if (presence_start(dir, tell, name, &p, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(stat(in_dir("socket"), &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0600);
    int idle[64];
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
        idle[i] = connect_by_hand();
    assert_int_equal(presence_ask(dir, &who, &pid, &err), ERR_OK);
    assert_string_equal(json_string_value(json_object_get(who, "name")), "me");
    assert_int_equal(pid, getpid());
    json_decref(who);
    presence_stop(p);
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
        close(idle[i]);
    assert_false(fs_exists(in_dir("socket")));
    assert_int_equal(presence_ask(dir, NULL, NULL, &err), ERR_NOT_FOUND);
}

/* Somebody listens and says nothing: the asker is back after a second, and knows who it is. */
static void test_silent_presence(void **state)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct err err;
    pid_t pid = 0;
    snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", dir);
    assert_int_equal(bind(fd, (const void *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(presence_ask(dir, NULL, &pid, &err), ERR_TIMEOUT);
    assert_int_equal(pid, getpid());
    close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_attempt_names), TEST(test_folder_is_kept_and_locked), TEST(test_folder_is_refused), TEST(test_room),
        TEST(test_presence),      TEST(test_silent_presence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
