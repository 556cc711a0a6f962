/* Real sandboxes on this machine: what the tree may do, and that nothing of it is left. */
#include "sandbox/sandbox.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct run {
    char dir[64];
    int log[2], report[2];
    struct sandbox *box;
    enum sandbox_level level;
};

static const char *const host_paths[] = {"/usr", "/bin", "/lib", "/lib64", NULL};
static const char *const host_env[] = {"PATH=/usr/bin:/bin", "LANG=C", NULL};

static int start(struct run *r, const char *const *argv, struct err *err)
{
    strncpy(r->dir, "/tmp/haul-test-XXXXXX", sizeof r->dir - 1);
    assert_non_null(mkdtemp(r->dir));
    assert_int_equal(pipe2(r->log, O_CLOEXEC), 0);
    assert_int_equal(pipe2(r->report, O_CLOEXEC), 0);
    const struct sandbox_spec spec = {.level = r->level,
                                      .argv = argv,
                                      .env = host_env,
                                      .work_dir = r->dir,
                                      .read_only = host_paths,
                                      .file_size_max = 1 << 20,
                                      .log_fd = r->log[1],
                                      .report_fd = r->report[1]};
    const int rc = sandbox_start(&spec, &r->box, err);
    close(r->log[1]);
    close(r->report[1]);
    return rc;
}

static void shell(struct run *r, const char *script)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    struct err err;
    err_clear(&err);
    if (start(r, argv, &err))
        fail_msg("%s", err.msg);
}

static int end(struct run *r)
{
    struct pollfd p = {.fd = sandbox_event_fd(r->box), .events = POLLIN};
    while (poll(&p, 1, 60000) < 0 && errno == EINTR) {
    }
    int status = -1;
    usec cpu;
    int64_t peak;
    struct err err;
    assert_int_equal(sandbox_result(r->box, &status, &cpu, &peak, &err), ERR_OK);
    return status;
}

/* Reads to the end: that comes only when no process holds the pipe any more. */
static void read_all(int fd, char *ret, size_t size)
{
    size_t n = 0;
    for (ssize_t got; n < size - 1 && (got = read(fd, ret + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    ret[n] = 0;
    close(fd);
}

static void finish(struct run *r)
{
    sandbox_free(r->box);
    r->box = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s/f", r->dir);
    unlink(path);
    rmdir(r->dir);
}

static void until_line(int fd)
{
    char c = 0;
    while (read(fd, &c, 1) == 1 && c != '\n') {
    }
    assert_int_equal(c, '\n');
}

static void each_level(void (*test)(enum sandbox_level))
{
    test(SANDBOX_NONE);
    char why[512];
    if (sandbox_probe("/tmp", why) == SANDBOX_NAMESPACES)
        test(SANDBOX_NAMESPACES);
    else
        print_message("namespaces not tested: %s\n", why);
}

static void exit_code(enum sandbox_level level)
{
    struct run r = {.level = level};
    char log[256], report[256];
    shell(&r, "echo out; echo err >&2; echo 'progress 5' >&3; exit 7");
    const int status = end(&r);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    read_all(r.log[0], log, sizeof log);
    read_all(r.report[0], report, sizeof report);
    assert_string_equal(log, "out\nerr\n");
    assert_string_equal(report, "progress 5\n");
    finish(&r);
}

static void raw_signal(enum sandbox_level level)
{
    struct run r = {.level = level};
    shell(&r, "kill -SEGV $$");
    const int status = end(&r);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    finish(&r);
}

static void orphans_end(enum sandbox_level level)
{
    struct run r = {.level = level};
    char log[256];
    /* a daemon: new session, double fork, ignores what it can, keeps the log open */
    shell(&r, "(setsid sh -c 'trap \"\" TERM HUP; (while :; do sleep 1000; done) & echo up >&3; : > f; while :; do "
              "sleep 1000; done' &) ; while [ ! -e f ]; do sleep 0.01; done; exit 0");
    until_line(r.report[0]);
    assert_int_equal(end(&r), 0);
    read_all(r.log[0], log, sizeof log); /* returns: nobody is left who holds it */
    finish(&r);
}

/* Only the bare host allows it: there init is a process like any other of the same user. */
static void test_P11_handler_that_kills_its_init_leaves_nothing(void **state)
{
    struct run r = {.level = SANDBOX_NONE};
    char log[256];
    (void)state;
    shell(&r, "(setsid sh -c '(sleep 1000 &); sleep 1000' &); (sleep 1000 &); kill -KILL $PPID; while :; do sleep "
              "1000; done");
    const int status = end(&r);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    read_all(r.log[0], log, sizeof log); /* returns: nobody is left who holds it */
    finish(&r);
}

static void term_ignored_then_killed(enum sandbox_level level)
{
    struct run r = {.level = level};
    struct err err;
    shell(&r, "trap 'echo got-term >&3' TERM; echo up >&3; while :; do sleep 0.05; done");
    until_line(r.report[0]);
    assert_int_equal(sandbox_signal(r.box, SIGTERM, &err), ERR_OK);
    until_line(r.report[0]);
    int status;
    usec cpu;
    int64_t peak;
    assert_int_equal(sandbox_result(r.box, &status, &cpu, &peak, &err), ERR_BUSY);
    assert_int_equal(sandbox_signal(r.box, SIGKILL, &err), ERR_OK);
    status = end(&r);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    finish(&r);
}

/* Stopped, the tree writes nothing more; continued, it goes on. */
static void freeze_and_thaw(enum sandbox_level level)
{
    struct run r = {.level = level};
    struct err err;
    shell(&r, "(while :; do echo x >&3; sleep 0.002; done) & while :; do echo y >&3; sleep 0.002; done");
    until_line(r.report[0]);
    assert_int_equal(sandbox_signal(r.box, SIGSTOP, &err), ERR_OK);
    fcntl(r.report[0], F_SETFL, O_NONBLOCK);
    char dump[65536];
    while (read(r.report[0], dump, sizeof dump) > 0) {
    }
    struct pollfd p = {.fd = r.report[0], .events = POLLIN};
    assert_int_equal(poll(&p, 1, 100), 0);
    assert_int_equal(sandbox_signal(r.box, SIGCONT, &err), ERR_OK);
    assert_int_equal(poll(&p, 1, 30000), 1);
    finish(&r); /* of a tree that runs */
    for (ssize_t n; (n = read(r.report[0], dump, sizeof dump)) != 0;)
        assert_true(n > 0); /* end of file, not "would block": nobody is left */
    close(r.report[0]);
}

static usec boot_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (usec)t.tv_sec * USEC_PER_SEC + t.tv_nsec / 1000;
}

/* Whether anything of the tree writes within `ms`, once what it had written is out of the pipe. */
static bool writes(const struct run *r, int ms)
{
    struct pollfd p = {.fd = r->report[0], .events = POLLIN};
    char dump[65536];
    while (read(r->report[0], dump, sizeof dump) > 0) {
    }
    return poll(&p, 1, ms) == 1;
}

/* Two orders that change nothing: once the second is answered, init has looked at the time since. */
static void looked_at_the_time(const struct run *r)
{
    struct err err;
    for (int i = 0; i < 2; i++)
        assert_int_equal(sandbox_signal(r->box, SIGCONT, &err), ERR_OK);
}

/* Past the time it was given the tree stands still, though nobody signals it; a later time lets it go on, but not what SIGSTOP holds. */
static void held_after_its_time(enum sandbox_level level)
{
    struct run r = {.level = level};
    struct err err;
    shell(&r, "(while :; do echo x >&3; sleep 0.002; done) & while :; do echo y >&3; sleep 0.002; done");
    until_line(r.report[0]);
    fcntl(r.report[0], F_SETFL, O_NONBLOCK);
    const usec end_us = boot_now() + 50 * USEC_PER_MSEC;
    sandbox_until(r.box, end_us);
    while (boot_now() <= end_us)
        (void)writes(&r, 10);
    looked_at_the_time(&r);
    assert_false(writes(&r, 100));
    sandbox_until(r.box, boot_now() + 600 * USEC_PER_SEC);
    assert_true(writes(&r, 30000));
    assert_int_equal(sandbox_signal(r.box, SIGSTOP, &err), ERR_OK);
    sandbox_until(r.box, boot_now() + 601 * USEC_PER_SEC);
    assert_false(writes(&r, 100));
    assert_int_equal(sandbox_signal(r.box, SIGCONT, &err), ERR_OK);
    assert_true(writes(&r, 30000));
    finish(&r);
    close(r.report[0]);
}

/* A child's child that lost its parent, what it holds (a shell would become its last command: hence the colon), and what one used that is gone. */
static void usage_of_the_tree(enum sandbox_level level)
{
    struct run r = {.level = level};
    struct sandbox_usage u;
    shell(&r, "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done); "
              "(x=$(head -c 30000000 /dev/zero | tr '\\0' x); echo y >&3; sleep 1000; :) & exec 3>&-; sleep 1000");
    until_line(r.report[0]);
    assert_true(sandbox_usage(r.box, &u));
    assert_in_range(u.memory_bytes, 30000000, 1000000000);
    assert_in_range(u.cpu_us, 50000, 600 * USEC_PER_SEC);
    struct err err;
    assert_int_equal(sandbox_signal(r.box, SIGKILL, &err), ERR_OK);
    end(&r);
    struct pollfd gone = {.fd = r.report[0], .events = POLLIN};
    poll(&gone, 1, 30000);
    finish(&r);
    close(r.report[0]);
}

static void file_size_limit(enum sandbox_level level)
{
    struct run r = {.level = level};
    shell(&r, "exec dd if=/dev/zero of=f bs=1M count=3 2>/dev/null");
    const int status = end(&r);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGXFSZ);
    finish(&r);
}

static void bad_commands(enum sandbox_level level)
{
    struct run r = {.level = level};
    struct err err;
    const char *const missing[] = {"/nowhere/handler", NULL};
    assert_int_equal(start(&r, missing, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nowhere/handler' does not exist"));
    finish(&r);
    const char *const plain[] = {"/etc/passwd", NULL};
    assert_int_equal(start(&r, plain, &err), ERR_FORBIDDEN);
    assert_non_null(strstr(err.msg, "chmod +x"));
    finish(&r);
}

static void test_exit_code(void **state)
{
    each_level(exit_code);
}
static void test_signal_is_raw(void **state)
{
    each_level(raw_signal);
}
static void test_P11_double_fork_leaves_nothing(void **state)
{
    each_level(orphans_end);
}
static void test_P11_term_ignored_is_killed(void **state)
{
    each_level(term_ignored_then_killed);
}
static void test_P03_freeze_and_thaw(void **state)
{
    each_level(freeze_and_thaw);
}
static void test_P03_held_after_its_time(void **state)
{
    each_level(held_after_its_time);
}

static void test_usage_of_the_tree(void **state)
{
    each_level(usage_of_the_tree);
}
static void test_file_size_limit(void **state)
{
    each_level(file_size_limit);
}
static void test_bad_commands(void **state)
{
    each_level(bad_commands);
}

static void test_confined(void **state)
{
    char why[512], report[4096];
    if (sandbox_probe("/tmp", why) != SANDBOX_NAMESPACES)
        skip();
    struct run r = {.level = SANDBOX_NAMESPACES};
    shell(
        &r,
        "leak() { echo \"leak: $1\" >&3; }\n"
        "[ -e /etc/shadow ] && leak shadow\n"
        "[ -e /root ] && leak root\n"
        "(echo x > /usr/x) 2>/dev/null && leak usr\n"
        "(echo x > /x) 2>/dev/null && leak /\n"
        "(echo x > /dev/x) 2>/dev/null && leak /dev\n"
        /* opened only: if the sandbox fails here, the machine must not suffer for it */
        "(: >> /proc/sys/kernel/core_pattern) 2>/dev/null && leak core_pattern\n"
        "(: >> /proc/sysrq-trigger) 2>/dev/null && leak sysrq\n"
        "unshare -U true 2>/dev/null && leak unshare\n"
        "mount -t tmpfs x /tmp 2>/dev/null && leak mount\n"
        "tr '\\0' '\\n' < /proc/1/environ | grep -q '^PATH' && leak environ\n"
        "[ \"$(ls /proc/self/fd | wc -l)\" -le 5 ] || leak fds\n"
        "grep -q '[1-9a-f]' /proc/self/status && grep '^CapEff' /proc/self/status | grep -q '[1-9a-f]$' && leak caps\n"
        "grep -q 'NoNewPrivs:.*1' /proc/self/status || leak privs\n"
        "[ \"$(tail -n +3 /proc/net/dev | grep -vc 'lo:')\" = 0 ] || leak net\n"
        "[ \"$(pwd)\" = " SANDBOX_WORK_DIR " ] || leak cwd\n"
        "echo ok > f || leak work\n"
        "[ $$ = 1 ] && leak pid1\n"
        "exit 0");
    assert_int_equal(end(&r), 0);
    read_all(r.report[0], report, sizeof report);
    assert_string_equal(report, "");
    finish(&r);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_code),
        cmocka_unit_test(test_signal_is_raw),
        cmocka_unit_test(test_P11_double_fork_leaves_nothing),
        cmocka_unit_test(test_P11_handler_that_kills_its_init_leaves_nothing),
        cmocka_unit_test(test_P11_term_ignored_is_killed),
        cmocka_unit_test(test_P03_freeze_and_thaw),
        cmocka_unit_test(test_P03_held_after_its_time),
        cmocka_unit_test(test_usage_of_the_tree),
        cmocka_unit_test(test_file_size_limit),
        cmocka_unit_test(test_bad_commands),
        cmocka_unit_test(test_confined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
