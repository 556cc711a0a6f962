/* Which heads plain.c may take: what is the least bit unusual is libmicrohttpd's. */
#include "http/plain_head.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LINE "POST /v1/jobs HTTP/1.1\r\n"

static enum plain_is read_text(const char *text, char *ret, size_t size, struct plain_head *head, size_t *body)
{
    size_t n = 0;
    if (plain_measure(text, strlen(text), 1000, &n, body) != PLAIN_OURS)
        return PLAIN_OTHER;
    assert_in_range(n, 4, size - 1);
    assert_memory_equal(text + n - 4, "\r\n\r\n", 4);
    memcpy(ret, text, n);
    ret[n] = '\0';
    return plain_read(ret, n, head);
}

static void test_taken_apart(void **state)
{
    char text[512];
    struct plain_head head;
    size_t body = 99;
    assert_int_equal(read_text(LINE "Host: a\r\nX-Empty:\r\nX-Y: \t b c\t \r\nContent-Length:5\r\n\r\nhello", text,
                               sizeof(text), &head, &body),
                     PLAIN_OURS);
    assert_int_equal(body, 5);
    assert_string_equal(head.method, "POST");
    assert_string_equal(head.uri, "/v1/jobs");
    assert_int_equal(head.n_lines, 4);
    assert_string_equal(head.lines[0].name, "Host");
    assert_string_equal(head.lines[0].value, "a");
    assert_string_equal(head.lines[1].value, "");
    assert_string_equal(head.lines[2].value, "b c");
    assert_string_equal(head.lines[3].value, "5");
}

static void test_plain(void **state)
{
    static const char *const heads[] = {
        "GET / HTTP/1.1\r\n\r\n",
        "GET /a%2Fb?c=d&e HTTP/1.1\r\nHost: x\r\n\r\n",
        LINE "content-LENGTH: 0\r\n\r\n",
        LINE "Content-Length: 1000\r\n\r\n",
        LINE "Connection: Keep-Alive\r\n\r\n",
        LINE "X-Content-Length: 7000\r\n\r\n",
        LINE "X: \xc3\xa4\r\n\r\n",
    };
    char text[512];
    struct plain_head head;
    size_t body;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        if (read_text(heads[i], text, sizeof(text), &head, &body) != PLAIN_OURS)
            fail_msg("'%s' is not taken", heads[i]);
}

static void test_others(void **state)
{
    static const char *const heads[] = {
        "",
        "\r\n\r\n",
        "\r\n" LINE "\r\n",
        LINE "Host: a\r\n", /* no end */
        "PUT / HTTP/1.1\r\n\r\n",
        "HEAD / HTTP/1.1\r\n\r\n",
        "post / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "GET * HTTP/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\n\r\n",
        LINE "Host: a\nX: b\r\n\r\n", /* a bare LF, a bare CR */
        LINE "Host: a\rX: b\r\n\r\n",
        LINE "Host: a\x7f\r\n\r\n",
        LINE "X: a\r\n folded\r\n\r\n",
        LINE "no colon\r\n\r\n",
        LINE "Content-Length: \r\n\r\n",
        LINE "Content-Length: +1\r\n\r\n",
        LINE "Content-Length: -1\r\n\r\n",
        LINE "Content-Length: 0x1\r\n\r\n",
        LINE "Content-Length: 1 \r\n\r\n",
        LINE "Content-Length: 1, 1\r\n\r\n",
        LINE "Content-Length:  1\r\n\r\n",
        LINE "Content-Length: 1001\r\n\r\n", /* over body_max */
        LINE "Content-Length: 18446744073709551617\r\n\r\n",
        LINE "Transfer-Encoding: chunked\r\n\r\n",
        LINE "transfer-encoding: identity\r\nContent-Length: 1\r\n\r\n",
        LINE "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        LINE "Upgrade: h2c\r\n\r\n",
        LINE "Connection: close\r\n\r\n",
        LINE "Connection: keep-alive, Upgrade\r\n\r\n",
        LINE "TE: trailers\r\n\r\n",
    };
    char text[512];
    struct plain_head head;
    size_t body;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        if (read_text(heads[i], text, sizeof(text), &head, &body) != PLAIN_OTHER)
            fail_msg("'%s' is taken", heads[i]);
}

/* A NUL ends no text of ours: the line that holds one is not taken. */
static void test_nul(void **state)
{
    char text[] = LINE "X: a\0b\r\n\r\n";
    struct plain_head head;
    size_t n = 0, body = 0;
    assert_int_equal(plain_measure(text, sizeof(text) - 1, 10, &n, &body), PLAIN_OURS);
    assert_int_equal(plain_read(text, n, &head), PLAIN_OTHER);
}

static void test_many_lines(void **state)
{
    char text[4096] = LINE;
    struct plain_head head;
    size_t n = 0, body = 0;
    for (int i = 0; i <= PLAIN_HEADERS_MAX; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "X: %d\r\n", i);
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "\r\n");
    assert_int_equal(plain_measure(text, strlen(text), 10, &n, &body), PLAIN_OURS);
    assert_int_equal(plain_read(text, n, &head), PLAIN_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken_apart), cmocka_unit_test(test_plain),      cmocka_unit_test(test_others),
        cmocka_unit_test(test_nul),         cmocka_unit_test(test_many_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
