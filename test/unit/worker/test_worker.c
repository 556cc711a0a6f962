/* The worker's pieces that need no server: handlers.yaml, report lines, the kept log, outputs that lie, journal and environment. */
#include "base/buf.h"
#include "base/fs.h"
#include "base/text.h"
#include "worker/completion.h"
#include "worker/handlers.h"
#include "worker/logs.h"
#include "worker/reports.h"
#include "worker/transfer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static int folder_make(void **state)
{
    strncpy(dir, "/tmp/haul-worker-XXXXXX", sizeof dir - 1);
    return !mkdtemp(dir);
}

static int folder_end(void **state)
{
    struct err err;
    return fs_remove_tree(dir, &err);
}

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static int load(const char *yaml, struct handlers **ret, struct err *err)
{
    err_clear(err);
    assert_int_equal(fs_write_durable(in_dir("h.yaml"), yaml, strlen(yaml), 0600, err), ERR_OK);
    return handlers_load(in_dir("h.yaml"), ret, err);
}

static void test_handlers(void **state)
{
    struct handlers *h = NULL;
    struct err err;
    if (load("handlers:\n  a: {command: [./x, one], version: \"7\", timeout: 90s, permanent_exit_codes: [64, 65], env: "
             "{K: v}}\n"
             "  b: {command: [sh], isolation: none, read_only: [/usr]}\n",
             &h, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(h->n, 2);
    const struct handler *a = handlers_find(h, "a"), *b = handlers_find(h, "b");
    assert_string_equal(a->command.items[1], "one");
    assert_int_equal(a->command.items[0][0], '/');
    assert_string_equal(a->version, "7");
    assert_int_equal(a->timeout_us, 90 * USEC_PER_SEC);
    assert_int_equal(a->n_permanent, 2);
    assert_string_equal(a->env.items[0], "K=v");
    assert_string_equal(a->read_only.items[a->read_only.n - 1], dir);
    assert_false(handler_runs_at(a, SANDBOX_NONE));
    assert_true(handler_runs_at(b, SANDBOX_NONE));
    assert_int_equal(b->read_only.n, 1);
    assert_null(handlers_find(h, "c"));
    handlers_free(h);
}

static void test_handlers_refused(void **state)
{
    static const struct {
        const char *yaml, *word;
    } bad[] = {
        {"handlers: {}\n", "at least one"},
        {"handlers:\n  a: {version: \"1\"}\n", "command"},
        {"handlers:\n  a: {command: [x], comand: 1}\n", "comand"},
        {"handlers:\n  a: {command: [x], permanent_exit_codes: [300]}\n", "255"},
        {"handlers:\n  a: {command: [x], isolation: some}\n", "isolation"},
        {"handlers:\n  a: {command: [x], env: {HAUL_X: y}}\n", "HAUL_"},
        {"handlers:\n  a b: {command: [x]}\n", "task type"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct handlers *h = NULL;
        struct err err;
        assert_int_not_equal(load(bad[i].yaml, &h, &err), ERR_OK);
        if (!strstr(err.msg, bad[i].word) && !strstr(err.field, bad[i].word))
            fail_msg("'%s' does not name '%s'", err.msg, bad[i].word);
    }
}

static void test_report_lines(void **state)
{
    double percent = -1;
    const char *message = NULL;
    assert_int_equal(report_parse("progress 12.5 at it", &percent, &message), REPORT_PROGRESS);
    assert_true(percent > 12.4 && percent < 12.6);
    assert_string_equal(message, "at it");
    assert_int_equal(report_parse("progress 100", &percent, &message), REPORT_PROGRESS);
    assert_string_equal(message, "");
    assert_int_equal(report_parse("error it broke", &percent, &message), REPORT_ERROR);
    assert_string_equal(message, "it broke");
    assert_int_equal(report_parse("checkpoint", &percent, &message), REPORT_CHECKPOINT);
    assert_int_equal(report_parse("checkpoint of part 7", &percent, &message), REPORT_CHECKPOINT);
    static const char *const none[] = {"",
                                       "checkpoints",
                                       "check",
                                       "progress",
                                       "progress x",
                                       "progress 101",
                                       "progress -1",
                                       "progress nan",
                                       "progress 5x",
                                       "hello"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(report_parse(none[i], &percent, &message), REPORT_NONE);
}

/* What a reader gets who begins at 0. @return where the bytes behind the cut begin, 0: there is none */
static int64_t kept(struct logs *l, struct buf *b)
{
    char chunk[LOG_CHUNK_MAX];
    int64_t cut_to = 0, at = 0, want = 0;
    buf_init(b, 32U << 20);
    for (size_t n; (n = logs_read(l, &at, chunk, sizeof chunk)); want = at += (int64_t)n) {
        if (at > want)
            cut_to = at;
        buf_add(b, chunk, n);
    }
    assert_false(b->failed);
    return cut_to;
}

static void test_log_short(void **state)
{
    struct logs *l = NULL;
    struct err err;
    struct buf b;
    char last[5];
    assert_int_equal(logs_open(dir, 0, &l, &err), ERR_OK);
    logs_add(l, "hello ", 6);
    logs_add(l, "world", 5);
    logs_seal(l);
    kept(l, &b);
    assert_string_equal(buf_str(&b), "hello world");
    buf_release(&b);
    assert_int_equal(logs_last(l, last, 5), 5);
    assert_memory_equal(last, "world", 5);
    char *text = error_log_make("exit status 3", l);
    assert_string_equal(text, "exit status 3\n\nhello world");
    free(text);
    logs_free(l);
}

/* The server takes 16 KiB: whatever the handler's last words were, its failure can be told. */
static void test_error_log_of_broken_bytes(void **state)
{
    struct logs *l = NULL;
    struct err err;
    char cause[REPORT_LINE_MAX], bytes[8192];
    memset(cause, 'c', sizeof cause);
    cause[sizeof cause - 1] = 0;
    memset(bytes, 0xff, sizeof bytes);
    memcpy(bytes + sizeof bytes - 13, "\0\xc3\xa9 the end\xe2\x82", 13);
    assert_int_equal(logs_open(dir, 0, &l, &err), ERR_OK);
    logs_add(l, bytes, sizeof bytes);
    char *text = error_log_make(cause, l);
    assert_true(utf8_valid(text, strlen(text)));
    assert_int_equal(strlen(text), sizeof cause - 1 + 2 + 4096);
    assert_non_null(strstr(text, "? \xc3\xa9 the end??"));
    free(text);
    logs_free(l);
}

static void lines_add(struct logs *l, int from, int to)
{
    char line[64];
    for (int i = from; i < to; i++) { /* 31 bytes a line */
        snprintf(line, sizeof line, "line %025d\n", i);
        logs_add(l, line, 31);
    }
}

static void assert_line(const char *p, int i)
{
    char line[64];
    snprintf(line, sizeof line, "line %025d\n", i);
    assert_memory_equal(p, line, 31);
}

/* 40 MiB in: the first 8 MiB and the last are there to the byte, also from disk after a crash of the supervisor. */
static void test_log_head_and_tail(void **state)
{
    struct logs *l = NULL;
    struct err err;
    struct buf b;
    const int n = 40 * 32768;
    int64_t total = 0;
    for (int round = 0; round < 2; round++) {
        assert_int_equal(logs_open(dir, total, &l, &err), ERR_OK);
        if (!round)
            lines_add(l, 0, n);
        total = logs_total(l);
        assert_int_equal(total, (int64_t)n * 31);
        logs_seal(l);
        assert_int_equal(kept(l, &b), total - LOG_TAIL_MAX);
        assert_int_equal(b.len, LOG_HEAD_MAX + LOG_TAIL_MAX);
        assert_line(b.data, 0);
        assert_line(b.data + LOG_HEAD_MAX / 31 * 31 - 31, (int)(LOG_HEAD_MAX / 31) - 1);
        assert_line(b.data + b.len - 31, n - 1);
        assert_line(b.data + b.len - LOG_TAIL_MAX / 31 * 31, n - (int)(LOG_TAIL_MAX / 31));
        buf_release(&b);
        logs_free(l);
    }
}

/* A reader behind the head is given everything as long as the ring holds it, and is told where it goes on once it does not. */
static void test_log_ring_overtakes(void **state)
{
    struct logs *l = NULL;
    struct err err;
    char chunk[62];
    int64_t at = 0;
    const int head = (int)(LOG_HEAD_MAX / 31) + 1, ring = (int)(LOG_RING_MAX / 31);
    assert_int_equal(logs_open(dir, 0, &l, &err), ERR_OK);
    lines_add(l, 0, head);
    at = (int64_t)head * 31;
    const int64_t behind = at;
    assert_int_equal(logs_read(l, &at, chunk, sizeof chunk), 0);
    lines_add(l, head, head + ring);
    assert_int_equal(logs_read(l, &at, chunk, sizeof chunk), sizeof chunk);
    assert_int_equal(at, behind);
    assert_line(chunk, head);
    lines_add(l, head + ring, head + ring + 2);
    assert_int_equal(logs_read(l, &at, chunk, sizeof chunk), sizeof chunk);
    assert_int_equal(at, logs_total(l) - LOG_TAIL_MAX);
    at = 31; /* the head stays */
    assert_int_equal(logs_read(l, &at, chunk, sizeof chunk), sizeof chunk);
    assert_int_equal(at, 31);
    assert_line(chunk, 1);
    logs_free(l);
}

static void test_log_says_on_a_line_of_its_own(void **state)
{
    struct logs *l;
    struct err err;
    char text[64] = "";
    int64_t at = 0;
    assert_int_equal(logs_open(dir, 0, &l, &err), ERR_OK);
    logs_say(l, "haul: one");
    logs_add(l, "half", 4);
    logs_say(l, "haul: two");
    logs_add(l, "whole\n", 6);
    logs_say(l, "haul: three");
    logs_read(l, &at, text, sizeof text);
    assert_string_equal(text, "haul: one\nhalf\nhaul: two\nwhole\nhaul: three\n");
    logs_free(l);
}

static void outputs_refused(const char *word)
{
    struct string_list l = {NULL, 0};
    struct failure f = {0};
    struct err err;
    assert_int_not_equal(outputs_list(dir, &l, &f, &err), ERR_OK);
    assert_string_equal(f.outcome, "error");
    if (!strstr(f.message, word))
        fail_msg("'%s' does not name '%s'", f.message, word);
}

static void test_outputs(void **state)
{
    struct string_list l = {NULL, 0};
    struct failure f = {0};
    struct err err;
    assert_int_equal(mkdir(in_dir("out"), 0700), 0);
    assert_int_equal(outputs_list(dir, &l, &f, &err), ERR_OK);
    assert_int_equal(l.n, 0);
    string_list_free(&l);
    fs_write_durable(in_dir("out/b"), "x", 1, 0600, &err);
    fs_write_durable(in_dir("out/a"), "xyz", 3, 0600, &err);
    assert_int_equal(outputs_list(dir, &l, &f, &err), ERR_OK);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.items[0], "a");
    string_list_free(&l);
    int fd = -1;
    int64_t size = 0;
    assert_int_equal(output_open(dir, "a", &fd, &size, &err), ERR_OK);
    assert_int_equal(size, 3);
    close(fd);
    assert_int_not_equal(output_open(dir, "../h.yaml", &fd, &size, &err), ERR_OK);

    assert_int_equal(symlink("/etc/passwd", in_dir("out/link")), 0);
    outputs_refused("symbolic link");
    unlink(in_dir("out/link"));
    assert_int_equal(mkfifo(in_dir("out/fifo"), 0600), 0);
    outputs_refused("pipe"); /* and does not block on it */
    unlink(in_dir("out/fifo"));
    assert_int_equal(mkdir(in_dir("out/sub"), 0700), 0);
    outputs_refused("folder");
    rmdir(in_dir("out/sub"));
    assert_int_equal(rename(in_dir("out"), in_dir("moved")), 0);
    assert_int_equal(symlink("/etc", in_dir("out")), 0);
    outputs_refused("out/");
}

static void test_attempt_round_trip(void **state)
{
    struct handlers *h = NULL;
    struct err err;
    struct attempt *a = NULL;
    if (load("handlers:\n  t: {command: [/bin/true], timeout: 90s, checkpoint_interval: 10m}\n", &h, &err))
        fail_msg("%s", err.msg);
    /* numbers and order of the payload must survive as they were sent */
    const char *job =
        "{\"job_id\":\"01a21194-06e9-7c76-8351-2b4a971f9fe9\",\"attempt\":3,\"token\":\"3.ab\",\"task_type\":\"t\","
        "\"queue\":\"q\","
        "\"payload\":{\"b\":1.10,\"a\":[1e3,\"}\"]},\"inputs\":[{\"name\":\"n\",\"ref\":\"blob:x\",\"size\":5,"
        "\"sha256\":\"\"}],"
        "\"timeout_s\":null,\"lease_s\":6,\"heartbeat_s\":1.5,\"term_grace_s\":2,\"retries\":1,\"max_attempts\":5}";
    const struct attempt_origin o = {"http://127.0.0.1:1", SANDBOX_NAMESPACES, 77, 78, 900 * USEC_PER_SEC};
    assert_int_equal(attempt_write(dir, job, strlen(job), h->items, &o, &err), ERR_OK);
    if (attempt_read(dir, &a, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(a->payload_n, strlen("{\"b\":1.10,\"a\":[1e3,\"}\"]}"));
    assert_memory_equal(a->payload, "{\"b\":1.10,\"a\":[1e3,\"}\"]}", a->payload_n);
    assert_int_equal(a->number, 3);
    assert_int_equal(a->timeout_us, 90 * USEC_PER_SEC);
    assert_int_equal(a->heartbeat_us, 1500 * USEC_PER_MSEC);
    assert_int_equal(a->n_inputs, 1);
    assert_int_equal(a->checkpoint_us, 600 * USEC_PER_SEC);
    assert_int_equal(a->checkpoint_max, INT64_C(16) << 30); /* the default is a limit */
    assert_int_equal(a->level, SANDBOX_NAMESPACES);
    attempt_free(a);
    const char *evil =
        "{\"job_id\":\"j\",\"attempt\":1,\"token\":\"t\",\"inputs\":[{\"name\":\"../x\",\"ref\":\"blob:x\"}]}";
    assert_int_equal(attempt_write(dir, evil, strlen(evil), h->items, &o, &err), ERR_OK);
    assert_int_equal(attempt_read(dir, &a, &err), ERR_CORRUPT);
    handlers_free(h);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_handlers),
        TEST(test_handlers_refused),
        TEST(test_report_lines),
        TEST(test_log_short),
        TEST(test_log_head_and_tail),
        TEST(test_log_ring_overtakes),
        TEST(test_log_says_on_a_line_of_its_own),
        TEST(test_error_log_of_broken_bytes),
        TEST(test_outputs),
        TEST(test_attempt_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
