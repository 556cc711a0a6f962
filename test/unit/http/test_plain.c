/* Requests that pass libmicrohttpd by, and connections that go over to it. Who answered is seen by the order of headers: ours says
 * Content-Length before what the handler set. */
#include "fixture.h"
#include <errno.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define JSON "POST /json HTTP/1.1\r\n" HOST "Content-Type: application/json\r\n"

static bool is_ours(const struct answer *a)
{
    const char *length = strstr(a->head, "\nContent-Length:"), *type = strstr(a->head, "\nContent-Type:");
    assert_non_null(length);
    assert_non_null(type);
    return length < type;
}

static void expect(int fd, int status, const char *body, bool ours)
{
    char value[128];
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, status);
    assert_string_equal(a.body, body);
    assert_int_equal(is_ours(&a), ours);
    assert_non_null(answer_header(&a, "Date", value, sizeof(value)));
    assert_non_null(answer_header(&a, "X-Request-Id", value, sizeof(value)));
    assert_string_equal(answer_header(&a, "X-Content-Type-Options", value, sizeof(value)), "nosniff");
    free(a.body);
}

/* One after the other, several at once, and answered by other threads. */
static void test_answered(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    for (int i = 0; i < 3; i++) {
        client_puts(fd, JSON "Content-Length: 4\r\n\r\ntrue");
        expect(fd, 201, "true", true);
    }
    for (int i = 0; i < 40; i++)
        client_puts(fd, JSON "Content-Length: 2\r\n\r\n{}POST /later HTTP/1.1\r\n" HOST "\r\n"
                             "GET /echo/1/x/2 HTTP/1.1\r\n" HOST "\r\n");
    for (int i = 0; i < 40; i++) {
        expect(fd, 201, "{}", true);
        expect(fd, 200, "later", true);
        expect(fd, 200, "1|2|-", true);
    }
    client_puts(fd, JSON "X-Request-Id: mine\r\n\r\n");
    struct answer a = client_read(fd, false);
    char value[128];
    assert_string_equal(answer_header(&a, "X-Request-Id", value, sizeof(value)), "mine");
    free(a.body);
    shutdown(fd, SHUT_WR);
    assert_true(client_closed(fd));
    close(fd);
    fd = client_open(f); /* all it will ever say, at once */
    client_puts(fd, JSON "Content-Length: 1\r\n\r\n1" JSON "Content-Length: 1\r\n\r\n2");
    shutdown(fd, SHUT_WR);
    expect(fd, 201, "1", true);
    expect(fd, 201, "2", true);
    assert_true(client_closed(fd));
    close(fd);
}

/* What follows is libmicrohttpd's, from the first byte that is not plain, and for good. */
static void test_handed_on(void **state)
{
    static const char *const others[] = {
        "DELETE /json HTTP/1.1\r\n" HOST "\r\n",
        "GET /nowhere HTTP/1.1\r\n" HOST "\r\n",
        "POST /json HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}", /* 415 */
        JSON "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "POST /upload HTTP/1.1\r\n" HOST "Content-Type: application/octet-stream\r\nContent-Length: 3\r\n\r\nabc",
    };
    static const int status[] = {204, 404, 415, 201, 200};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        int fd = client_open(f);
        client_puts(fd, JSON "Content-Length: 4\r\n\r\ntrue");
        client_puts(fd, others[i]);
        if (status[i] < 400)
            client_puts(fd, JSON "Content-Length: 5\r\n\r\nfalse");
        expect(fd, 201, "true", true);
        struct answer a = client_read(fd, false);
        assert_int_equal(a.status, status[i]);
        free(a.body);
        if (status[i] < 400)
            expect(fd, 201, "false", false);
        close(fd);
    }
}

static void arrived(int fd)
{
    int left = 1;
    while (left > 0 && ioctl(fd, SIOCOUTQ, &left) == 0)
        sched_yield();
}

/* A body that comes in pieces is waited for; a head that does is not ours. */
static void test_in_pieces(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    for (int i = 0; i < 5; i++) {
        client_puts(fd, JSON "Content-Length: 9\r\n\r\n[1,");
        arrived(fd);
        client_puts(fd, "2,3,");
        arrived(fd);
        client_puts(fd, "4]");
        expect(fd, 201, "[1,2,3,4]", true);
    }
    client_puts(fd, "POST /js");
    arrived(fd);
    client_puts(fd, "on HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nContent-Length: 1\r\n\r\n7");
    struct answer a = client_read(fd, false);
    assert_string_equal(a.body, "7");
    free(a.body);
    close(fd);
}

/* With a server that is patient for 0.1 s. */
static void test_never_whole(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_puts(fd, JSON "Content-Length: 4\r\n\r\ntrue");
    expect(fd, 201, "true", true);
    client_puts(fd, JSON "Content-Length: 4\r\n\r\ntru");
    assert_true(client_closed(fd));
    close(fd);
}

/* An answer that the socket does not hold waits for its reader; what was asked behind it waits, too. */
static void test_much(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_puts(fd, "POST /much HTTP/1.1\r\n" HOST "\r\n" JSON "Content-Length: 4\r\n\r\ntrue");
    struct answer a = client_read(fd, false);
    assert_int_equal(a.n, MUCH_BYTES);
    assert_true(is_ours(&a));
    for (size_t i = 0; i < MUCH_BYTES; i++)
        if (a.body[i] != (char)('a' + (i >> 4) % 26))
            fail_msg("byte %zu is another", i);
    free(a.body);
    expect(fd, 201, "true", true);
    client_puts(fd, "POST /much HTTP/1.1\r\n" HOST "\r\n");
    char first;
    assert_int_equal(recv(fd, &first, 1, 0), 1);
    close(fd); /* its reader is gone */
    fd = client_open(f);
    client_puts(fd, JSON "Content-Length: 1\r\n\r\n1");
    expect(fd, 201, "1", true);
    close(fd);
}

/* A request that waits while its client goes, while the server stops accepting, and while it ends. */
static void test_held(void **state)
{
    struct fixture *f = *state;
    int gone = client_open(f), stays = client_open(f), late = client_open(f);
    client_puts(gone, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    while (sem_wait(&f->held_sem) != 0)
        assert_int_equal(errno, EINTR);
    struct http_request *first = f->held;
    assert_true(http_alive(first));
    close(gone);
    while (http_alive(first))
        sched_yield();
    http_reply_empty(first, 204);

    client_puts(stays, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    while (sem_wait(&f->held_sem) != 0)
        assert_int_equal(errno, EINTR);
    http_quiesce(f->server);
    http_reply_text(f->held, 200, "text/plain", "held", 4);
    struct answer a = client_read(stays, false);
    char value[32];
    assert_string_equal(a.body, "held");
    assert_true(is_ours(&a));
    assert_string_equal(answer_header(&a, "Connection", value, sizeof(value)), "close");
    free(a.body);
    client_puts(stays, JSON "\r\n"); /* no request any more */
    assert_true(client_closed(stays));
    close(stays);
    close(late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answered, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_handed_on, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_in_pieces, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_never_whole, fixture_setup_impatient, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_much, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_held, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
