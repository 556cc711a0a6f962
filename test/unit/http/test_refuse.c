/* What is refused before a handler sees it. */
#include "fixture.h"
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void expect(const struct fixture *f, const char *request, int status, const char *code)
{
    struct answer a = ask(f, request);
    if (a.status != status)
        print_error("request: %.300s\n", request);
    expect_problem(&a, status, code);
}

static void test_unknown_path_and_method(void **state)
{
    struct fixture *f = *state;
    expect(f, "GET /nowhere HTTP/1.1\r\n" HOST "\r\n", 404, "not_found");
    expect(f, "GET /ping/ HTTP/1.1\r\n" HOST "\r\n", 404, "not_found");
    expect(f, "GET //ping HTTP/1.1\r\n" HOST "\r\n", 404, "not_found");
    expect(f, "GET /a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a HTTP/1.1\r\n" HOST "\r\n", 404, "not_found");
    struct answer a = ask(f, "PUT /json HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}");
    char allow[64];
    assert_string_equal(answer_header(&a, "Allow", allow, sizeof allow), "POST, DELETE");
    expect_problem(&a, 405, "method_not_allowed");
    a = ask(f, "OPTIONS /ping HTTP/1.1\r\n" HOST "\r\n");
    assert_string_equal(answer_header(&a, "Allow", allow, sizeof allow), "GET, HEAD");
    expect_problem(&a, 405, "method_not_allowed");
}

static void test_path_escapes(void **state)
{
    static const char *const bad[] = {"/%2e%2e/ping",
                                      "/echo/%2E./x/b",
                                      "/echo/../ping",
                                      "/echo/a%00/x/b",
                                      "/echo/a%2fb/x/b",
                                      "/echo/%/x/b",
                                      "/echo/%zz/x/b",
                                      "/echo/%ff/x/b",
                                      "/echo/a%0a/x/b",
                                      "/echo/a%5cb/x/b",
                                      "/ping?a=%00",
                                      "/ping?a=%c3",
                                      "/ping?%2",
                                      "/ping?a=1&a=2",
                                      "http://127.0.0.1/ping",
                                      "*",
                                      "/ping#x",
                                      "/echo/%1/x/b",
                                      "/./ping"};
    char request[256];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n" HOST "\r\n", bad[i]);
        struct answer a = ask(*state, request);
        if (a.status != 400 && a.status != 422)
            fail_msg("%s: %d", bad[i], a.status);
        free(a.body);
    }
}

static void test_smuggling_is_400_and_close(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length : 4\r\n",
        "Content-Length\t: 4\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Host: localhost\r\n",
        "Bad Name: x\r\n",
    };
    char request[512];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(request, sizeof request,
                 "POST /json HTTP/1.1\r\n" HOST
                 "Content-Type: application/json\r\n%s\r\n0\r\n\r\nGET /ping HTTP/1.1\r\n" HOST "\r\n",
                 bad[i]);
        int fd = client_open(f);
        char all[8192] = "";
        size_t n = 0;
        ssize_t m;
        client_puts(fd, request);
        while (n < sizeof all - 1 && (m = recv(fd, all + n, sizeof all - 1 - n, 0)) > 0)
            n += (size_t)m;
        all[n] = '\0';
        close(fd);
        /* Some are libmicrohttpd's own refusals. The end of the connection and no second answer is what counts. */
        if (strncmp(all, "HTTP/1.1 400 ", 13) != 0 && strncmp(all, "HTTP/1.1 413 ", 13) != 0)
            fail_msg("%s: %s", bad[i], all);
        if (strstr(all, "pong"))
            fail_msg("%s: the smuggled request was answered", bad[i]);
    }
    expect(f, "POST /json HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 400, "malformed");
}

static void test_host_and_origin(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *headers;
        int status;
    } cases[] = {
        {"Host: 127.0.0.1\r\n", 200},
        {"Host: 127.0.0.1:7000\r\n", 200},
        {"Host: LocalHost:7000\r\n", 200},
        {"Host: 127.8.8.8\r\n", 200},
        {"Host: [::1]:80\r\n", 200},
        {"Host: haul.example\r\n", 200},
        {"Host: haul.example:443\r\n", 200},
        {"Host: evil.example\r\n", 421},
        {"Host: 10.0.0.1\r\n", 421},
        {"Host: localhost.evil.example\r\n", 421},
        {"Host: localhost:x\r\n", 421},
        {"Host: [::1\r\n", 421},
        {"Host: localhost\r\nOrigin: http://localhost\r\n", 200},
        {"Host: haul.example\r\nOrigin: https://haul.example\r\n", 200},
        {"Host: localhost:80\r\nOrigin: http://localhost:3000\r\n", 403},
        {"Host: localhost\r\nOrigin: http://evil.example\r\n", 403},
        {"Host: localhost\r\nOrigin: null\r\n", 403},
    };
    char request[256];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(request, sizeof request, "GET /ping HTTP/1.1\r\n%s\r\n", cases[i].headers);
        struct answer a = ask(f, request);
        if (a.status != cases[i].status)
            fail_msg("%s: %d", cases[i].headers, a.status);
        if (a.status == 421)
            expect_problem(&a, 421, "misdirected");
        else if (a.status == 403)
            expect_problem(&a, 403, "forbidden");
        free(a.body);
    }
}

static void test_content_types(void **state)
{
    struct fixture *f = *state;
    expect(f, "POST /json HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}", 415, "unsupported_media_type");
    expect(f, "POST /json HTTP/1.1\r\n" HOST "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415,
           "unsupported_media_type");
    expect(f, "POST /json HTTP/1.1\r\n" HOST "Content-Type: application/jsonx\r\nContent-Length: 2\r\n\r\n{}", 415,
           "unsupported_media_type");
    expect(f, "POST /upload HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}", 415, "unsupported_media_type");
    struct answer a = ask(f, "POST /json HTTP/1.1\r\n" HOST
                             "Content-Type: Application/JSON ; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}");
    assert_int_equal(a.status, 201);
    assert_string_equal(a.body, "{}");
    free(a.body);
    a = ask(f, "POST /json HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"); /* no body, no type needed */
    assert_int_equal(a.status, 201);
    free(a.body);
}

static void test_header_limit(void **state)
{
    struct fixture *f = *state;
    char *request = malloc(40000), *s = request;
    s += snprintf(s, 100, "GET /ping HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 180; i++)
        s += snprintf(s, 200, "X-Header-%03d: %080d\r\n", i, i);
    snprintf(s, 100, "\r\n");
    struct answer a = ask(f, request);
    expect_problem(&a, 431, "headers_too_large");
    s = request + snprintf(request, 100, "GET /ping HTTP/1.1\r\n" HOST "X-Long: ");
    memset(s, 'a', 15000);
    memcpy(s + 15000, "\r\n\r\n", 5);
    a = ask(f, request);
    assert_int_equal(a.status, 200);
    free(a.body);
    free(request);
}

static void test_body_limit(void **state)
{
    struct fixture *f = *state;
    /* told beforehand: nothing is read, yet a client that sends on gets to see the answer */
    int fd = client_open(f);
    client_puts(fd, "POST /json HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nContent-Length: 3000000\r\n\r\n");
    char block[30000];
    memset(block, ' ', sizeof block);
    for (int i = 0; i < 100; i++)
        client_send(fd, block, sizeof block);
    struct answer a = client_read(fd, false);
    expect_problem(&a, 413, "too_large");
    assert_true(client_closed(fd));
    close(fd);
    /* found out on the way */
    fd = client_open(f);
    client_puts(fd,
                "POST /json HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        client_puts(fd, "100\r\n");
        client_send(fd, block, 256);
        client_puts(fd, "\r\n");
    }
    client_puts(fd, "0\r\n\r\n");
    a = client_read(fd, false);
    expect_problem(&a, 413, "too_large");
    assert_true(client_closed(fd));
    close(fd);
    /* asked first */
    a = ask(f, "POST /json HTTP/1.1\r\n" HOST
               "Content-Type: application/json\r\nContent-Length: 3000000\r\nExpect: 100-continue\r\n\r\n");
    expect_problem(&a, 413, "too_large");
    /* a body where none belongs */
    expect(f, "GET /ping HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 413, "too_large");
    expect(f, "DELETE /json HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 413, "too_large");
    /* exactly the limit */
    fd = client_open(f);
    client_puts(fd, "POST /json HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nContent-Length: 1024\r\n\r\n");
    client_send(fd, block, 1024);
    a = client_read(fd, false);
    assert_int_equal(a.status, 201);
    assert_int_equal(a.n, 1024);
    free(a.body);
    close(fd);
}

static int big_begin(const struct fixture *f, const char *path, size_t n)
{
    static const char bytes[BIG_BYTES];
    char head[128];
    int fd = client_open(f);
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\n" HOST "Content-Length: %d\r\n\r\n", path, BIG_BYTES);
    client_puts(fd, head);
    client_send(fd, bytes, n);
    return fd;
}

static struct answer big(const struct fixture *f)
{
    int fd = big_begin(f, "/big", BIG_BYTES);
    struct answer a = client_read(fd, false);
    close(fd);
    return a;
}

/* What a request held is given back a little after its answer was read: asks until there is room. */
static void big_until_taken(const struct fixture *f)
{
    for (int status = 0; status != 204;) {
        struct answer a = big(f);
        status = a.status;
        assert_true(status == 204 || status == 503 || status == 0); /* 0: cut, where patience is short */
        free(a.body);
    }
}

/* However many send large bodies: together they take a bounded part of the memory, and small ones pass. */
static void test_bodies_of_all_requests_are_bounded(void **state)
{
    struct fixture *f = *state;
    char retry[16];
    int holds = big_begin(f, "/hold", BIG_BYTES);
    sem_wait(&f->held_sem);
    struct answer a = big(f);
    assert_string_equal(answer_header(&a, "Retry-After", retry, sizeof retry), "1");
    expect_problem(&a, 503, "busy");
    a = ask(f, "POST /json HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
    assert_int_equal(a.status, 201);
    free(a.body);
    http_reply_empty(f->held, 204);
    a = client_read(holds, false);
    assert_int_equal(a.status, 204);
    free(a.body);
    close(holds);
    big_until_taken(f);
}

/* Those who vanish in the middle give their part back, when they are noticed or cut. */
static void test_bodies_of_vanished_clients_are_given_back(void **state)
{
    for (int i = 0; i < 3; i++)
        close(big_begin(*state, "/big", BIG_BYTES - 1));
    big_until_taken(*state);
}

static void test_port_in_use(void **state)
{
    struct fixture *f = *state;
    struct http_server *second = NULL;
    struct err err = {0};
    struct http_config config = {.host = "127.0.0.1", .port = http_port(f->server), .bytes_pool = f->pool};
    assert_int_equal(http_start(&config, &second, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "in use"));
    config.host = "localhost";
    assert_int_equal(http_start(&config, &second, &err), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_unknown_path_and_method, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_path_escapes, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_smuggling_is_400_and_close, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_host_and_origin, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_content_types, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_header_limit, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_body_limit, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_bodies_of_all_requests_are_bounded, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_bodies_of_vanished_clients_are_given_back, fixture_setup_impatient,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_port_in_use, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
