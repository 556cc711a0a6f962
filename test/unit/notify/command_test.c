/* A command: what it gets, what becomes of one that fails, hangs, or leaves something behind. */
#include "check.h"
#include "notify/command.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

static struct outcome run_with(const char *script, usec timeout, int stop_fd)
{
    char *words[] = {(char *)(uintptr_t) "/bin/sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)script, NULL};
    struct receiver r = {.command = {.items = words, .n = 3}, .timeout = timeout};
    const struct message m = {.id = "01936d5e-7b11-7aaa-8bbb-5a6b7c8d9e0f",
                              .receiver = "pager",
                              .server = "host",
                              .topic = {.name = "queue_depth",
                                        .severity = "critical",
                                        .what = "queue_depth",
                                        .text = "a 'text'",
                                        .above = 500},
                              .state = {.value = 501, .fired_at = 1795582800 * USEC_PER_SEC}};
    struct outcome o;

    command_run(&r, &m, stop_fd, &o);
    return o;
}

static struct outcome run(const char *script)
{
    return run_with(script, 20 * USEC_PER_SEC, -1);
}

static void assert_failed(const struct outcome *o, const char *why)
{
    assert_int_equal(o->what, DELIVERY_FAILED);
    if (!strstr(o->why, why))
        fail_msg("'%s' does not say '%s'", o->why, why);
}

static void test_what_it_gets(void **state)
{
    struct outcome o =
        run("test \"$(cat)\" = '{\"type\":\"alert.firing\",\"id\":\"01936d5e-7b11-7aaa-8bbb-5a6b7c8d9e0f\","
            "\"timestamp\":null,\"data\":{\"alert\":\"queue_depth\",\"state\":\"firing\",\"severity\":\"critical\","
            "\"what\":\"queue_depth\",\"objective\":null,\"value\":501,\"above\":500,\"clear_at\":0,"
            "\"fired_at\":\"2026-11-25T05:00:00Z\",\"resolved_at\":null,\"text\":\"a "
            "'\"'\"'text'\"'\"'\",\"server\":\"host\"}}' || { echo body; exit 1; }\n"
            "test "
            "\"$HAUL_ALERT_NAME/$HAUL_ALERT_STATE/$HAUL_ALERT_SEVERITY/$HAUL_ALERT_VALUE/$HAUL_ALERT_ABOVE/"
            "$HAUL_ALERT_RECEIVER/$HAUL_ALERT_TEST\" = "
            "queue_depth/firing/critical/501/500/pager/0 || { echo environment; exit 1; }\n"
            "test \"$HAUL_ALERT_FIRED_AT$HAUL_ALERT_RESOLVED_AT\" = 2026-11-25T05:00:00Z || { echo times; exit 1; }");
    if (o.what != DELIVERY_SENT)
        fail_msg("%s", o.why);
}

static void test_what_it_does_not_get(void **state)
{
    AUTO_FD int secret = open("/dev/null", O_RDONLY); /* not CLOEXEC */
    struct outcome o;

    setenv("DATABASE_PASSWORD", "x", 1);
    o = run("test -z \"$DATABASE_PASSWORD\" && for f in /proc/$$/fd/*; do case $f in */[012]) ;; *) test ! -e $f || { "
            "echo $f; exit 1; };; esac; done; "
            "test $(pwd) = / && test \"$(ps -o pgid= $$ 2>/dev/null || echo $$)\" -eq $$");
    assert_true(secret > 2);
    if (o.what != DELIVERY_SENT)
        fail_msg("%s", o.why);
}

static void test_one_that_fails(void **state)
{
    struct outcome o = run("echo the gateway is away >&2; exit 3");

    assert_failed(&o, "exit status 3: the gateway is away");
    o = run("kill -9 $$");
    assert_failed(&o, "killed by signal 9");
    o = run("for i in 1 2 3 4 5 6 7 8 9; do printf %01000d 0; done; printf '\\377\\001end'; exit 1");
    assert_failed(&o, "end");
    assert_true(strlen(o.why) < WHY_MAX);
}

static void test_one_that_is_not_there(void **state)
{
    char *words[] = {(char *)(uintptr_t) "/no/such/program", NULL};
    struct receiver r = {.command = {.items = words, .n = 1}, .timeout = USEC_PER_SEC};
    const struct message m = {
        .id = "1", .receiver = "r", .server = "s", .topic = {.name = "a", .severity = "info", .text = ""}};
    struct outcome o;

    command_run(&r, &m, -1, &o);
    assert_failed(&o, "run '/no/such/program': No such file or directory");
}

/* Whether a process is there, by what it wrote down. */
static bool lives(const char *path)
{
    char text[32] = "";
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    char state[64] = "", line[512] = "";
    snprintf(state, sizeof(state), "/proc/%ld/stat", strtol(text, NULL, 10));
    AUTO_FD int stat = open(state, O_RDONLY | O_CLOEXEC);
    if (stat < 0 || read(stat, line, sizeof(line) - 1) <= 0)
        return false;
    const char *after = strrchr(line, ')'); /* a zombie is dead: who inherits it has not looked yet */
    return after && after[2] != 'Z' && after[2] != 'X';
}

static void assert_dies(const char *path)
{
    const struct timespec moment = {.tv_nsec = 1000000};

    for (int i = 0; i < 20000 && lives(path); i++)
        nanosleep(&moment, NULL); /* SIGKILL was sent; the kernel takes its time */
    assert_false(lives(path));
    unlink(path);
}

static void test_one_that_hangs(void **state)
{
    struct outcome o = run_with("sleep 1000 & echo $! >/tmp/haul-test-child.$PPID; wait", 300 * USEC_PER_MSEC, -1);
    char path[64];

    assert_failed(&o, "killed after 300ms (timeout)");
    snprintf(path, sizeof(path), "/tmp/haul-test-child.%d", getpid());
    assert_dies(path);
}

static void test_one_that_leaves_children(void **state)
{
    struct outcome o = run("sleep 1000 & echo $! >/tmp/haul-test-child.$PPID");
    char path[64];

    assert_int_equal(o.what, DELIVERY_SENT); /* though the child holds its output open still */
    snprintf(path, sizeof(path), "/tmp/haul-test-child.%d", getpid());
    assert_dies(path);
}

static void test_one_that_does_not_read(void **state)
{
    struct outcome o = run("exec <&-; exit 0");

    assert_int_equal(o.what, DELIVERY_SENT);
}

static void test_the_end_waits_for_nobody(void **state)
{
    AUTO_FD int stop = eventfd(1, EFD_CLOEXEC);
    struct outcome o = run_with("exec sleep 1000", 3600 * USEC_PER_SEC, stop);

    assert_failed(&o, "the server stops");
}

static void assert_check(const char *program, const char *says)
{
    char *words[] = {(char *)(uintptr_t)program, NULL};
    struct receiver r = {.command = {.items = words, .n = 1}};
    struct err err = {0};
    int rc = command_check(&r, &err);

    if (says ? !rc || !strstr(err.msg, says) : rc)
        fail_msg("%s: %s", program, err.msg);
}

static void test_programs(void **state)
{
    assert_check("/bin/sh", NULL);
    assert_check("sh", NULL);
    assert_check("./sh", "must be an absolute path");
    assert_check("/no/such/program", "cannot be run");
    assert_check("no-such-program", "cannot be run");
    assert_check("/etc/passwd", "cannot be run");
    assert_check("", "cannot be run");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_it_gets),
                                       cmocka_unit_test(test_what_it_does_not_get),
                                       cmocka_unit_test(test_one_that_fails),
                                       cmocka_unit_test(test_one_that_is_not_there),
                                       cmocka_unit_test(test_one_that_hangs),
                                       cmocka_unit_test(test_one_that_leaves_children),
                                       cmocka_unit_test(test_one_that_does_not_read),
                                       cmocka_unit_test(test_the_end_waits_for_nobody),
                                       cmocka_unit_test(test_programs)};

    signal(SIGPIPE, SIG_IGN); /* as a server does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
