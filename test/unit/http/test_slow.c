/* Slow clients cost a connection for a bounded time; who waits for us is never cut for it. */
#include "fixture.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BYTES_MAX 3000 /* at 10 ms each: a server that never cuts fails the test */

static bool cut(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
}

/* Sends `byte` again and again, slowly, until the server closes. Fails when it never does, or answers first. */
static void dribble_until_cut(int fd, char byte)
{
    for (int i = 0; i < BYTES_MAX; i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDHUP};
        if (poll(&p, 1, 10) > 0) {
            assert_true(cut(fd));
            return;
        }
        if (send(fd, &byte, 1, MSG_NOSIGNAL) < 0)
            return;
    }
    fail_msg("the server did not cut a slow sender");
}

static void slow_header(const struct fixture *f)
{
    int fd = client_open(f);
    client_puts(fd, "GET /ping HTTP/1.1\r\n" HOST "X-Slow: ");
    dribble_until_cut(fd, 'a');
    close(fd);
}

static void test_header(void **state)
{
    slow_header(*state);
}

static void test_first_byte_never_comes(void **state)
{
    int fd = client_open(*state);
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDHUP};
    assert_int_equal(poll(&p, 1, 60000), 1);
    assert_true(cut(fd));
    close(fd);
}

static void test_body(void **state)
{
    int fd = client_open(*state);
    client_puts(fd, "POST /json HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n");
    dribble_until_cut(fd, ' ');
    close(fd);
}

static void test_chunked_body(void **state)
{
    int fd = client_open(*state);
    client_puts(fd, "POST /json HTTP/1.1\r\n" HOST
                    "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n");
    dribble_until_cut(fd, ' ');
    close(fd);
}

static void test_upload(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_puts(fd, "POST /upload HTTP/1.1\r\n" HOST
                    "Content-Type: application/octet-stream\r\nContent-Length: 100000\r\n\r\nx");
    sem_wait(&f->first_sem);
    dribble_until_cut(fd, 'x');
    sem_wait(&f->freed_sem); /* what it had begun is undone */
    close(fd);
}

static void test_large_upload(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_puts(fd, "POST /upload HTTP/1.1\r\n" HOST
                    "Content-Type: application/octet-stream\r\nContent-Length: 100000000\r\n\r\nx");
    sem_wait(&f->first_sem);
    dribble_until_cut(fd, 'x');
    sem_wait(&f->freed_sem);
    close(fd);
}

static void test_large_upload_that_stops(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_puts(fd, "POST /upload HTTP/1.1\r\n" HOST
                    "Content-Type: application/octet-stream\r\nContent-Length: 100000000\r\n\r\nx");
    sem_wait(&f->freed_sem);
    assert_true(cut(fd));
    close(fd);
}

static void test_readers_of_a_large_file_that_do_not_read(void **state)
{
    struct fixture *f = *state;
    const int looked_at = client_open(f), passed = client_open(f);
    client_puts(looked_at, "GET /large HTTP/1.1\r\n" HOST "\r\n");
    client_puts(passed, "GET /passed HTTP/1.1\r\n" HOST "\r\n");
    sem_wait(&f->freed_sem);
    sem_wait(&f->freed_sem);
    close(looked_at);
    close(passed);
}

static void test_reader_that_does_not_read(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_puts(fd, "GET /flood HTTP/1.1\r\n" HOST "\r\n");
    sem_wait(&f->freed_sem); /* the server let go */
    close(fd);
}

/* Two slow headers were cut one after the other: several times the patience has passed, and the server has looked. */
static void let_patience_pass(const struct fixture *f)
{
    slow_header(f);
    slow_header(f);
}

static void test_who_waits_for_an_answer_is_not_cut(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_puts(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    sem_wait(&f->held_sem);
    let_patience_pass(f);
    http_reply_text(f->held, 200, "text/plain", "late", 4);
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 200);
    free(a.body);
    close(fd);
}

static void test_who_follows_a_silent_stream_is_not_cut(void **state)
{
    struct fixture *f = *state;
    char first[4096];
    int fd = client_open(f);
    client_puts(fd, "GET /endless HTTP/1.1\r\n" HOST "\r\n");
    size_t n = 0;
    while (n < sizeof(first) - 1 && !memmem(first, n, "first\r\n", 7)) {
        ssize_t got = recv(fd, first + n, sizeof(first) - 1 - n, 0);
        assert_true(got > 0);
        n += (size_t)got;
    }
    for (int i = 0; i < 5; i++) /* a reader has six times the patience */
        let_patience_pass(f);
    assert_false(cut(fd));
    close(fd);
    sem_wait(&f->freed_sem);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_impatient, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_header),
        TEST(test_first_byte_never_comes),
        TEST(test_body),
        TEST(test_chunked_body),
        TEST(test_upload),
        TEST(test_large_upload),
        TEST(test_large_upload_that_stops),
        TEST(test_readers_of_a_large_file_that_do_not_read),
        TEST(test_reader_that_does_not_read),
        TEST(test_who_waits_for_an_answer_is_not_cut),
        TEST(test_who_follows_a_silent_stream_is_not_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
