/* Batches without a server: lines of any shape in bounded memory, defaults spliced into a line, the state file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/fs.h"
#include "cli/batch_line.h"
#include "cli/batch_state.h"
#include "cli/lines.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

/* A file without a name that holds `n` bytes. */
static int file_of(const char *text, size_t n)
{
    char path[] = "/tmp/haul-lines-XXXXXX";
    struct err err;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(fs_write_all(fd, text, n, &err), ERR_OK);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void expect_line(struct lines *l, const char *text, int64_t number, int64_t offset)
{
    struct line line;
    struct err err;
    assert_int_equal(lines_next(l, &line, &err), LINE_TEXT);
    assert_int_equal(line.bytes, strlen(text));
    assert_memory_equal(line.text, text, strlen(text));
    assert_int_equal(line.number, number);
    assert_int_equal(l->offset, offset);
}

static void test_lines_with_every_kind_of_end(void **state)
{
    static const char text[] = "\xEF\xBB\xBF{1}\r\n\n \t\r\n{2}\n\xEF\xBB\xBF{3}\n{4}\r\r\n{5}";
    struct lines l;
    struct line line;
    struct err err;
    AUTO_FD int fd = file_of(text, sizeof(text) - 1);
    lines_init(&l, fd, 0, 0);
    expect_line(&l, "{1}", 1, 8);
    expect_line(&l, "{2}", 4, 17);
    expect_line(&l, "\xEF\xBB\xBF{3}", 5, 24); /* a mark is one at the start only */
    expect_line(&l, "{4}\r", 6, 30);
    expect_line(&l, "{5}", 7, 33);
    assert_int_equal(lines_next(&l, &line, &err), LINE_END);
    assert_int_equal(lines_next(&l, &line, &err), LINE_END);
    lines_release(&l);
}

static void test_a_file_of_nothing_has_no_lines(void **state)
{
    static const char *const texts[] = {"", "\n", "\r\n\r\n", "\xEF\xBB\xBF", "\xEF\xBB\xBF\n", "  \t"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct lines l;
        struct line line;
        struct err err;
        AUTO_FD int fd = file_of(texts[i], strlen(texts[i]));
        lines_init(&l, fd, 0, 0);
        assert_int_equal(lines_next(&l, &line, &err), LINE_END);
        lines_release(&l);
    }
}

/* What a line's number and offset are does not depend on where reading began. */
static void test_lines_go_on_where_an_earlier_reading_stopped(void **state)
{
    char text[4000];
    size_t n = 0;
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "{\"i\":%d}%s", i, i % 7 ? "\n" : "\r\n\n");
    AUTO_FD int fd = file_of(text, n);
    for (int stop = 0; stop < 100; stop += 9) {
        struct lines whole, rest;
        struct line a, b;
        struct err err;
        lseek(fd, 0, SEEK_SET);
        lines_init(&whole, fd, 0, 0);
        for (int i = 0; i <= stop; i++)
            assert_int_equal(lines_next(&whole, &a, &err), LINE_TEXT);
        AUTO_FD int other = file_of(text, n);
        lseek(other, whole.offset, SEEK_SET);
        lines_init(&rest, other, whole.offset, whole.number);
        for (;;) {
            enum line_kind k = lines_next(&whole, &a, &err);
            assert_int_equal(lines_next(&rest, &b, &err), k);
            if (k == LINE_END)
                break;
            assert_int_equal(a.number, b.number);
            assert_int_equal(whole.offset, rest.offset);
            assert_int_equal(a.bytes, b.bytes);
            assert_memory_equal(a.text, b.text, (size_t)a.bytes);
        }
        lines_release(&whole);
        lines_release(&rest);
    }
}

static void test_long_lines_are_passed_over_with_their_number_and_size(void **state)
{
    const size_t sizes[] = {LINE_BYTES_MAX - 1, LINE_BYTES_MAX, LINE_BYTES_MAX + 1, LINE_BYTES_MAX + 2,
                            3 * LINE_BYTES_MAX + 17};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t n = sizes[i] + 9;
        AUTO_FREE char *text = malloc(n);
        memset(text, 'x', n);
        memcpy(text, "{1}\n", 4);
        memcpy(text + n - 5, "\n{3}\n", 5);
        AUTO_FD int fd = file_of(text, n);
        struct lines l;
        struct line line;
        struct err err;
        lines_init(&l, fd, 0, 0);
        expect_line(&l, "{1}", 1, 4);
        assert_int_equal(lines_next(&l, &line, &err), sizes[i] > LINE_BYTES_MAX ? LINE_TOO_LONG : LINE_TEXT);
        assert_int_equal(line.number, 2);
        assert_int_equal(line.bytes, sizes[i]);
        expect_line(&l, "{3}", 3, (int64_t)n);
        assert_int_equal(lines_next(&l, &line, &err), LINE_END);
        assert_true(l.cap <= 2 * LINE_BYTES_MAX);
        lines_release(&l);
    }
}

static void *pour(void *arg)
{
    char piece[65536];
    memset(piece, 'x', sizeof(piece));
    while (write(*(int *)arg, piece, sizeof(piece)) > 0)
        ;
    return NULL;
}

static void test_a_line_without_end_is_an_error_and_no_loop(void **state)
{
    int ends[2];
    pthread_t writer;
    struct lines l;
    struct line line;
    struct err err;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "{1}\n", 4), 4);
    assert_int_equal(pthread_create(&writer, NULL, pour, &ends[1]), 0);
    lines_init(&l, ends[0], 0, 0);
    expect_line(&l, "{1}", 1, 4);
    assert_int_equal(lines_next(&l, &line, &err), LINE_FAILED);
    assert_int_equal(err.code, ERR_TOO_LARGE);
    assert_non_null(strstr(err.msg, "line 2 "));
    assert_true(l.cap <= 2 * LINE_BYTES_MAX);
    lines_release(&l);
    close(ends[0]);
    pthread_join(writer, NULL);
    close(ends[1]);
}

static void expect_sent(const char *defaults_text, const char *line, const char *want)
{
    json_t *defaults = json_loads(defaults_text, 0, NULL);
    struct buf out;
    struct err err;
    bool own;
    assert_non_null(defaults);
    buf_init(&out, 4096);
    assert_int_equal(batch_line(line, strlen(line), defaults, &out, &own, &err), ERR_OK);
    assert_string_equal(buf_str(&out), want);
    assert_int_equal(own, strstr(line, "\"dedup_key\":\"") != NULL);
    buf_release(&out);
    json_decref(defaults);
}

static void test_defaults_are_for_members_that_the_line_has_not(void **state)
{
    expect_sent("{}", "{\"task_type\":\"t\"}", "{\"task_type\":\"t\"}");
    expect_sent("{}", " {\"a\" : 1.10, \"b\":9007199254740993 } ", "{\"a\" : 1.10, \"b\":9007199254740993 } ");
    expect_sent("{\"task_type\":\"t\"}", "{}", "{\"task_type\":\"t\"}");
    expect_sent("{\"task_type\":\"t\",\"priority\":7}", "{}", "{\"task_type\":\"t\",\"priority\":7}");
    expect_sent("{\"task_type\":\"t\",\"priority\":7}", "{\"payload\":{}}",
                "{\"task_type\":\"t\",\"priority\":7,\"payload\":{}}");
    expect_sent("{\"task_type\":\"t\",\"priority\":7}", "{ \"task_type\":\"own\"}",
                "{\"priority\":7, \"task_type\":\"own\"}");
    expect_sent("{\"task_type\":\"t\"}", "{\"task_type\":\"own\",\"dedup_key\":\"k\"}",
                "{\"task_type\":\"own\",\"dedup_key\":\"k\"}");
    expect_sent("{\"payload\":{\"a\":[1,\"x\\n\"]}}", "{\"queue\":null}",
                "{\"payload\":{\"a\":[1,\"x\\n\"]},\"queue\":null}");
}

static void test_labels_of_line_and_options_come_together(void **state)
{
    const char *d = "{\"labels\":{\"who\":\"me\",\"run\":\"1\"}}";
    expect_sent(d, "{\"a\":1}", "{\"labels\":{\"who\":\"me\",\"run\":\"1\"},\"a\":1}");
    expect_sent(d, "{\"a\":1,\"labels\":{}}", "{\"a\":1,\"labels\":{\"who\":\"me\",\"run\":\"1\"}}");
    expect_sent(d, "{\"labels\": { \"run\":\"2\"},\"a\":1}", "{\"labels\": {\"who\":\"me\", \"run\":\"2\"},\"a\":1}");
    expect_sent(d, "{\"labels\":{\"who\":\"you\",\"run\":\"2\"}}", "{\"labels\":{\"who\":\"you\",\"run\":\"2\"}}");
    expect_sent(d, "{\"labels\":null}", "{\"labels\":null}");
    /* a label that is named like a time is a label */
    expect_sent("{\"labels\":{\"delay\":\"x\"}}", "{\"labels\":{\"run_at\":\"y\"}}",
                "{\"labels\":{\"delay\":\"x\",\"run_at\":\"y\"}}");
}

static void test_a_line_that_says_when_takes_no_other_time(void **state)
{
    expect_sent("{\"delay\":\"10m\",\"priority\":1}", "{\"run_at\":\"2030-01-01T00:00:00Z\"}",
                "{\"priority\":1,\"run_at\":\"2030-01-01T00:00:00Z\"}");
    expect_sent("{\"run_at\":\"2030-01-01T00:00:00Z\"}", "{\"delay\":5}", "{\"delay\":5}");
    expect_sent("{\"delay\":\"10m\"}", "{\"a\":1}", "{\"delay\":\"10m\",\"a\":1}");
}

static void test_lines_that_are_no_objects_leave_nothing_behind(void **state)
{
    static const char *const bad[] = {
        "nonsense",      "{", "[]", "1", "null", "\"x\"", "{}{}", "{\"a\":1,\"a\":2}", "{'a':1}", "{\"a\":\"\xff\"}",
        "\xEF\xBB\xBF{}"};
    json_t *defaults = json_pack("{s:s}", "task_type", "t");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf out;
        struct err err;
        bool own;
        buf_init(&out, 4096);
        buf_adds(&out, "before");
        int rc = batch_line(bad[i], strlen(bad[i]), defaults, &out, &own, &err);
        assert_true(rc == ERR_MALFORMED || rc == ERR_INVALID);
        assert_string_equal(buf_str(&out), "before");
        buf_release(&out);
    }
    json_decref(defaults);
}

static void test_state_comes_back_as_it_was_saved(void **state)
{
    char dir[] = "/tmp/haul-state-XXXXXX", path[64];
    struct err err;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/x.haul-state", dir);
    struct batch_state s = {.file = {.size = INT64_C(1) << 40, .mtime_ns = 1795582255123456789},
                            .key = "k",
                            .server = strdup("http://127.0.0.1:1"),
                            .options = strdup("{\"run_at\":\"10m\"}"),
                            .defaults = strdup("{\"run_at\":\"2030-01-01T00:00:00Z\"}"),
                            .offset = 77,
                            .line = 5,
                            .created = 3,
                            .duplicates = 1,
                            .refused = 2,
                            .ids_bytes = 37,
                            .rejects_bytes = 9,
                            .under_way = true,
                            .saved_at = 1795582255123456};
    struct batch_state back;
    memset(s.file.head_sha256, 'a', 64);
    assert_int_equal(batch_state_load(path, &back, &err), ERR_NOT_FOUND);
    assert_int_equal(batch_state_save(path, &s, &err), ERR_OK);
    assert_int_equal(batch_state_load(path, &back, &err), ERR_OK);
    assert_true(batch_identity_equal(&s.file, &back.file));
    assert_string_equal(back.key, s.key);
    assert_string_equal(back.server, s.server);
    assert_string_equal(back.options, s.options);
    assert_string_equal(back.defaults, s.defaults);
    assert_true(back.offset == 77 && back.line == 5 && back.created == 3 && back.duplicates == 1 && back.refused == 2);
    assert_true(back.ids_bytes == 37 && back.rejects_bytes == 9 && back.under_way);
    assert_int_equal(back.saved_at, s.saved_at);
    batch_state_release(&back);
    batch_state_release(&s);
    unlink(path);
    rmdir(dir);
}

static void test_damaged_state_is_told(void **state)
{
    static const char *const bad[] = {"", "nonsense", "{}", "[]", "{\"version\":2}", "{\"version\":1,\"key\":\"k\"}"};
    char dir[] = "/tmp/haul-state-XXXXXX", path[64];
    struct err err;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct batch_state s;
        assert_int_equal(fs_write_durable(path, bad[i], strlen(bad[i]), 0600, &err), ERR_OK);
        assert_int_equal(batch_state_load(path, &s, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.msg, path));
    }
    unlink(path);
    rmdir(dir);
}

static void test_identity_tells_changed_files_apart(void **state)
{
    struct batch_identity a, b;
    struct err err;
    AUTO_FD int fd = file_of("one\ntwo\n", 8);
    struct stat st;
    assert_int_equal(batch_identity_read(fd, &a, &err), ERR_OK);
    assert_int_equal(batch_identity_read(fd, &b, &err), ERR_OK);
    assert_true(batch_identity_equal(&a, &b));
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pwrite(fd, "ONE", 3, 0), 3);
    const struct timespec same[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(futimens(fd, same), 0); /* another content under the same size and time */
    assert_int_equal(batch_identity_read(fd, &b, &err), ERR_OK);
    assert_int_equal(a.mtime_ns, b.mtime_ns);
    assert_false(batch_identity_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_with_every_kind_of_end),
        cmocka_unit_test(test_a_file_of_nothing_has_no_lines),
        cmocka_unit_test(test_lines_go_on_where_an_earlier_reading_stopped),
        cmocka_unit_test(test_long_lines_are_passed_over_with_their_number_and_size),
        cmocka_unit_test(test_a_line_without_end_is_an_error_and_no_loop),
        cmocka_unit_test(test_defaults_are_for_members_that_the_line_has_not),
        cmocka_unit_test(test_labels_of_line_and_options_come_together),
        cmocka_unit_test(test_a_line_that_says_when_takes_no_other_time),
        cmocka_unit_test(test_lines_that_are_no_objects_leave_nothing_behind),
        cmocka_unit_test(test_state_comes_back_as_it_was_saved),
        cmocka_unit_test(test_damaged_state_is_told),
        cmocka_unit_test(test_identity_tells_changed_files_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
