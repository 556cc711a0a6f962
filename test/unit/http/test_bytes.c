/* Streamed uploads, files with ranges, streams. */
#include "base/sha256.h"
#include "fixture.h"
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define UPLOAD_BYTES ((size_t)20 << 20)

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        ;
}

static char *make_bytes(size_t n, char expected[SHA256_HEX_MAX + 24])
{
    char *bytes = calloc(1, n);
    assert_non_null(bytes);
    uint8_t hash[32];
    char hex[SHA256_HEX_MAX];
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 2654435761U >> 13);
    sha256_once(bytes, n, hash);
    hex_format(hash, 32, hex);
    snprintf(expected, SHA256_HEX_MAX + 24, "%zu %s", n, hex);
    return bytes;
}

static void upload_with_length(const struct fixture *f, const char *bytes, size_t n, const char *expected)
{
    char head[256];
    int fd = client_open(f);
    snprintf(head, sizeof head,
             "POST /upload HTTP/1.1\r\n" HOST "Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n",
             n);
    client_puts(fd, head);
    client_send(fd, bytes, n);
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, expected);
    free(a.body);
    if (n < ((size_t)8 << 20)) {
        client_puts(fd, "GET /ping HTTP/1.1\r\n" HOST "\r\n"); /* and the connection goes on */
        a = client_read(fd, false);
        assert_string_equal(a.body, "pong");
        free(a.body);
    } else { /* it was received by the task itself: test_direct.c */
        char value[32];
        assert_string_equal(answer_header(&a, "Connection", value, sizeof value), "close");
        assert_true(client_closed(fd));
    }
    close(fd);
}

static void test_upload_of_20_mb(void **state)
{
    struct fixture *f = *state;
    char expected[SHA256_HEX_MAX + 24];
    char *bytes = make_bytes(UPLOAD_BYTES, expected);
    upload_with_length(f, bytes, UPLOAD_BYTES, expected);
    wait_for(&f->freed_sem);

    int fd = client_open(f);
    client_puts(fd,
                "POST /upload HTTP/1.1\r\n" HOST
                "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 100);
    free(a.body);
    for (size_t at = 0, size = 1; at < UPLOAD_BYTES; at += size, size = size * 7 % 99991 + 1) {
        char line[32];
        if (size > UPLOAD_BYTES - at)
            size = UPLOAD_BYTES - at;
        snprintf(line, sizeof line, "%zx\r\n", size);
        client_puts(fd, line);
        client_send(fd, bytes + at, size);
        client_puts(fd, "\r\n");
        if (at + size == UPLOAD_BYTES)
            break;
    }
    client_puts(fd, "0\r\n\r\n");
    a = client_read(fd, false);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, expected);
    free(a.body);
    close(fd);
    free(bytes);
}

static void test_upload_of_nothing(void **state)
{
    char expected[SHA256_HEX_MAX + 24];
    char *bytes = make_bytes(0, expected);
    upload_with_length(*state, bytes, 0, expected);
    free(bytes);
}

struct uploader {
    const struct fixture *f;
    const char *bytes, *expected;
    size_t n;
};

static void *upload_thread(void *arg)
{
    struct uploader *u = arg;
    upload_with_length(u->f, u->bytes, u->n, u->expected);
    return NULL;
}

/* More of them than the pool takes: they wait for each other, and none fails. */
static void uploads_at_once(void **state, size_t n)
{
    char expected[SHA256_HEX_MAX + 24];
    char *bytes = make_bytes(n, expected);
    struct uploader u = {*state, bytes, expected, n};
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, upload_thread, &u), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    free(bytes);
}

static void test_uploads_at_once(void **state)
{
    uploads_at_once(state, 3000000);
}

static void test_large_uploads_at_once(void **state)
{
    uploads_at_once(state, ((size_t)8 << 20) + 1);
}

static void test_upload_cut_in_the_middle_frees_data(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) {
        int fd = client_open(f);
        client_puts(fd, "POST /upload HTTP/1.1\r\n" HOST
                        "Content-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\nsome");
        wait_for(&f->first_sem);
        close(fd);
        wait_for(&f->freed_sem);
    }
}

static void test_stop_in_mid_upload(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_puts(fd, "POST /upload HTTP/1.1\r\n" HOST
                    "Content-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\nsome");
    wait_for(&f->first_sem);
    http_stop(f->server);
    f->server = NULL;
    assert_int_equal(sem_trywait(&f->freed_sem), 0);
    assert_true(client_closed(fd));
    close(fd);
}

static void test_failing_upload_is_answered_and_closed(void **state)
{
    struct fixture *f = *state;
    char expected[SHA256_HEX_MAX + 24], value[16];
    char *bytes = make_bytes(UPLOAD_BYTES, expected);
    static const struct {
        const char *path, *code;
        int status;
    } cases[] = {{"/full", "no_space", 503}, {"/stale", "stale_token", 409}};
    for (int i = 0; i < 2; i++) {
        char head[128];
        int fd = client_open(f);
        snprintf(head, sizeof head, "POST %s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", cases[i].path,
                 UPLOAD_BYTES);
        client_puts(fd, head);
        client_send(fd, bytes, UPLOAD_BYTES);
        struct answer a = client_read(fd, false);
        if (cases[i].status == 503)
            assert_string_equal(answer_header(&a, "Retry-After", value, sizeof value), "1");
        expect_problem(&a, cases[i].status, cases[i].code);
        assert_true(client_closed(fd));
        close(fd);
        /* all of the body is here before the failure is known: the usual way */
        snprintf(head, sizeof head, "POST %s HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nab", cases[i].path);
        a = ask(f, head);
        expect_problem(&a, cases[i].status, cases[i].code);
    }
    free(bytes);
}

static struct answer get_file(const struct fixture *f, const char *headers)
{
    char request[512];
    snprintf(request, sizeof request, "GET /file HTTP/1.1\r\n" HOST "%s\r\n", headers);
    return ask(f, request);
}

static void test_file(void **state)
{
    struct fixture *f = *state;
    char value[128];
    struct answer a = get_file(f, "");
    assert_int_equal(a.status, 200);
    assert_int_equal(a.n, FILE_BYTES);
    assert_memory_equal(a.body, f->file, FILE_BYTES);
    assert_string_equal(answer_header(&a, "ETag", value, sizeof value), "\"etag1\"");
    assert_string_equal(answer_header(&a, "Accept-Ranges", value, sizeof value), "bytes");
    assert_string_equal(answer_header(&a, "Content-Disposition", value, sizeof value),
                        "attachment; filename=\"na_me __\"; filename*=UTF-8''na%22me%20%C3%A4");
    free(a.body);
    a = ask(f, "GET /nothing HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(a.status, 200);
    assert_int_equal(a.n, 0);
    free(a.body);
    a = ask(f, "GET /short HTTP/1.1\r\n" HOST "\r\n"); /* a file that shrank must not look whole */
    assert_int_equal(a.status, -200);
    free(a.body);
}

static void test_ranges(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *headers;
        int status;
        size_t first, n;
    } cases[] = {
        {"Range: bytes=0-0\r\n", 206, 0, 1},
        {"Range: bytes=10-19\r\n", 206, 10, 10},
        {"Range: bytes=999990-\r\n", 206, 999990, 10},
        {"Range: bytes=-5\r\n", 206, 999995, 5},
        {"Range: bytes=-5000000\r\n", 206, 0, FILE_BYTES},
        {"Range: bytes=300000-2000000\r\n", 206, 300000, 700000},
        {"Range: bytes=1000000-\r\n", 416, 0, 0},
        {"Range: bytes=-0\r\n", 416, 0, 0},
        {"Range: bytes=5-4\r\n", 200, 0, FILE_BYTES},
        {"Range: bytes=0-1,5-6\r\n", 200, 0, FILE_BYTES},
        {"Range: bytes=a-b\r\n", 200, 0, FILE_BYTES},
        {"Range: bytes=99999999999999999999-\r\n", 416, 0, 0},
        {"Range: lines=0-1\r\n", 200, 0, FILE_BYTES},
        {"Range: bytes=0-1\r\nIf-Range: \"etag1\"\r\n", 206, 0, 2},
        {"Range: bytes=0-1\r\nIf-Range: \"other\"\r\n", 200, 0, FILE_BYTES},
    };
    char value[64], expected[64];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer a = get_file(f, cases[i].headers);
        if (a.status != cases[i].status)
            fail_msg("%s: %d", cases[i].headers, a.status);
        if (a.status == 416) {
            assert_string_equal(answer_header(&a, "Content-Range", value, sizeof value), "bytes */1000000");
            expect_problem(&a, 416, "range_not_satisfiable");
            continue;
        }
        assert_int_equal(a.n, cases[i].n);
        assert_memory_equal(a.body, f->file + cases[i].first, a.n);
        if (a.status == 206) {
            snprintf(expected, sizeof expected, "bytes %zu-%zu/1000000", cases[i].first, cases[i].first + a.n - 1);
            assert_string_equal(answer_header(&a, "Content-Range", value, sizeof value), expected);
        }
        free(a.body);
    }
}

/* On the wire: each answer has the validators, and a 304 the length of what it stands for, or none. */
static void test_conditions(void **state)
{
    static const char when[] = "Sun, 06 Nov 1994 08:49:37 GMT";
    static const struct {
        const char *headers;
        int status;
    } cases[] = {
        {"If-None-Match: \"etag1\"\r\n", 304},
        {"If-None-Match: W/\"etag1\"\r\n", 304},
        {"If-None-Match: *\r\n", 304},
        {"If-None-Match: \"a\", \"etag1\"\r\n", 304},
        {"If-None-Match: \"a\"\r\nIf-None-Match: \"etag1\"\r\n", 304},
        {"If-None-Match: \"etag2\"\r\n", 200},
        {"If-None-Match: \"etag11\"\r\n", 200},
        {"If-None-Match: \"etag1\"\r\nRange: bytes=0-1\r\n", 304},
        {"If-None-Match: \"etag2\"\r\nRange: bytes=0-1\r\n", 206},
        {"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 304},
        {"If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 200},
        {"If-Match: \"etag1\"\r\n", 200},
        {"If-Match: *\r\n", 200},
        {"If-Match: \"etag1\"\r\nRange: bytes=0-1\r\n", 206},
        {"If-Match: \"etag2\"\r\n", 412},
        {"If-Match: W/\"etag1\"\r\n", 412},
        {"If-Match: \"etag2\"\r\nRange: bytes=5000000-\r\n", 412},
        {"If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 412},
        {"Range: bytes=0-1\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 206},
        {"Range: bytes=0-1\r\nIf-Range: W/\"etag1\"\r\n", 200},
        {"Range: bytes=5000000-\r\nIf-Range: \"other\"\r\n", 200},
        {"Range: bytes=0-1\r\nRange: bytes=5-6\r\n", 200},
    };
    char value[64];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer a = get_file(*state, cases[i].headers);
        if (a.status != cases[i].status)
            fail_msg("%s: %d", cases[i].headers, a.status);
        assert_string_equal(answer_header(&a, "ETag", value, sizeof value), "\"etag1\"");
        assert_string_equal(answer_header(&a, "Last-Modified", value, sizeof value), when);
        if (a.status == 412) {
            expect_problem(&a, 412, "precondition_failed");
            continue;
        }
        assert_int_equal(a.n, a.status == 200 ? FILE_BYTES : a.status == 206 ? 2 : 0);
        if (a.status == 304 && answer_header(&a, "Content-Length", value, sizeof value))
            assert_string_equal(value, "1000000");
        free(a.body);
    }
}

/* As GET, without the bytes; a range means nothing to it. */
static void test_head_of_a_file(void **state)
{
    static const struct {
        const char *headers;
        int status;
    } cases[] = {{"", 200},
                 {"Range: bytes=0-1\r\n", 200},
                 {"Range: bytes=5000000-\r\n", 200},
                 {"If-None-Match: \"etag1\"\r\n", 304},
                 {"If-Match: \"etag2\"\r\n", 412}};
    struct fixture *f = *state;
    char request[512], value[128];
    int fd = client_open(f);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(request, sizeof request, "HEAD /file HTTP/1.1\r\n" HOST "%s\r\n", cases[i].headers);
        client_puts(fd, request);
        struct answer a = client_read(fd, true);
        assert_int_equal(a.status, cases[i].status);
        assert_string_equal(answer_header(&a, "ETag", value, sizeof value), "\"etag1\"");
        assert_string_equal(answer_header(&a, "Accept-Ranges", value, sizeof value), "bytes");
        if (a.status == 200) {
            assert_string_equal(answer_header(&a, "Content-Length", value, sizeof value), "1000000");
            assert_string_equal(answer_header(&a, "Content-Type", value, sizeof value), "application/octet-stream");
            assert_non_null(answer_header(&a, "Content-Disposition", value, sizeof value));
        }
        free(a.body);
    }
    client_puts(fd, "GET /ping HTTP/1.1\r\n" HOST "\r\n"); /* nothing of a body came in between */
    struct answer a = client_read(fd, false);
    assert_string_equal(a.body, "pong");
    free(a.body);
    close(fd);
}

static void test_stream(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    for (int i = 0; i < 2; i++) {
        client_puts(fd, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
        struct answer a = client_read(fd, false);
        assert_int_equal(a.status, 200);
        const char *s = a.body;
        for (unsigned k = 1; k <= STREAM_CHUNKS; k++) {
            char line[32];
            snprintf(line, sizeof line, "chunk %u\n", k);
            assert_memory_equal(s, line, strlen(line));
            s += strlen(line);
        }
        assert_string_equal(s, "");
        free(a.body);
        wait_for(&f->freed_sem);
    }
    close(fd);
}

static void test_stream_ends_with_its_client(void **state)
{
    struct fixture *f = *state;
    char c;
    int fd = client_open(f);
    client_puts(fd, "GET /endless HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(recv(fd, &c, 1, 0), 1);
    close(fd);
    wait_for(&f->freed_sem);
    /* and with the server */
    fd = client_open(f);
    client_puts(fd, "GET /endless HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(recv(fd, &c, 1, 0), 1);
    http_stop(f->server);
    f->server = NULL;
    assert_int_equal(sem_trywait(&f->freed_sem), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_upload_of_20_mb, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_upload_of_nothing, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_uploads_at_once, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_large_uploads_at_once, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_upload_cut_in_the_middle_frees_data, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_stop_in_mid_upload, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_failing_upload_is_answered_and_closed, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_file, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_ranges, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_conditions, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_head_of_a_file, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_stream, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_stream_ends_with_its_client, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
