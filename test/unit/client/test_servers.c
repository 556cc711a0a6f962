/* libhaul with a list of servers: bad lists are refused; a call goes to the next server when one cannot be used, at once where it can be
 * repeated, and stays there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/auto.h"
#include "client/haul.h"
#include "server.h"

#define NOBODY "http://127.0.0.1:1" /* a port where nothing listens */
#define OK_JSON                                                                                                        \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\nConnection: close\r\n\r\n"             \
    "{\"ok\":true}"
#define PROXY_503 "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
#define HAUL_503(code)                                                                                                 \
    "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n{\"code\":\"" code "\",\"detail\":\"later\"}"

static struct haul_client *client_of(const char *one, const char *other)
{
    AUTO_FREE char *list = NULL;
    struct haul_error err;
    assert_true(asprintf(&list, "%s, %s", one, other) > 0);
    struct haul_client *c = haul_client_new(list, "test", &err);
    assert_non_null(c);
    return c;
}

static void test_bad_lists_are_refused(void **state)
{
    static const struct {
        const char *list, *says;
    } bad[] = {
        {"http://a:1,", "server 2 of the list"},
        {",http://a:1", "server 1 of the list"},
        {"http://a:1,,http://b:1", "server 2 of the list"},
        {"http://a:1,b:1", "'b:1' is not a server's URL"},
        {"http://a:1,http://a:1/", "'http://a:1' is twice"},
        {"http://a:1,http://a:2,http://a:3,http://a:4,http://a:5,http://a:6,http://a:7,http://a:8,http://a:9,http://"
         "b:1,"
         "http://b:2,http://b:3,http://b:4,http://b:5,http://b:6,http://b:7,http://b:8",
         "more than 16 servers"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct haul_error err;
        assert_null(haul_client_new(bad[i].list, NULL, &err));
        assert_int_equal(err.rc, HAUL_LOCAL);
        assert_non_null(strstr(err.message, bad[i].says));
    }
}

static void test_list_begins_with_the_server_in_use(void **state)
{
    const struct step steps[] = {{OK_JSON, 0}};
    struct scripted *s = scripted_start(steps, 1);
    struct haul_client *c = client_of(NOBODY, scripted_url(s));
    struct haul_error err;
    AUTO_FREE char *before = haul_client_servers(c), *expected = NULL;
    assert_true(asprintf(&expected, "%s," NOBODY, scripted_url(s)) > 0);
    assert_string_equal(haul_client_server(c), NOBODY);
    assert_int_equal(strncmp(before, NOBODY ",", strlen(NOBODY) + 1), 0);
    assert_int_equal(haul_call(c, "GET", "/x", NULL, NULL, 0, NULL, &err), HAUL_OK);
    AUTO_FREE char *after = haul_client_servers(c);
    assert_string_equal(after, expected);
    haul_client_free(c);
    scripted_free(s);
}

/* Nothing of it was sent: also what cannot be repeated goes to the next server; and the calls after it, too. */
static void test_what_was_not_sent_goes_to_the_next_server(void **state)
{
    const struct step steps[] = {{OK_JSON, 0}, {OK_JSON, 0}};
    struct scripted *s = scripted_start(steps, 2);
    struct haul_client *c = client_of(NOBODY, scripted_url(s));
    struct haul_error err;
    assert_int_equal(haul_call(c, "POST", "/v1/lease", "{}", NULL, 0, NULL, &err), HAUL_OK);
    assert_int_equal(err.rc, HAUL_OK);
    assert_false(err.elsewhere);
    assert_string_equal(haul_client_server(c), scripted_url(s));
    assert_int_equal(haul_call(c, "POST", "/v1/lease", "{}", NULL, 0, NULL, &err), HAUL_OK);
    haul_client_free(c);
    scripted_free(s);
}

/* The first server takes the request and says nothing, or a proxy before it, or itself, that it cannot be used. */
static void goes_on(const char *answer, const char *token, bool repeated)
{
    const struct step bad[] = {{answer, 0}}, good[] = {{OK_JSON, 0}};
    struct scripted *a = scripted_start(bad, 1), *b = scripted_start(good, 1);
    struct haul_client *c = client_of(scripted_url(a), scripted_url(b));
    struct haul_error err;
    const int rc = haul_call(c, "POST", "/v1/x", "{}", token, 0, NULL, &err);
    if (!repeated) { /* it is the caller's to say whether it may happen twice */
        assert_int_not_equal(rc, HAUL_OK);
        assert_true(err.elsewhere);
        assert_int_equal(haul_call(c, "POST", "/v1/x", "{}", token, 0, NULL, &err), HAUL_OK);
    } else
        assert_int_equal(rc, HAUL_OK);
    scripted_join(b);
    assert_string_equal(haul_client_server(c), scripted_url(b));
    haul_client_free(c);
    scripted_free(a);
    scripted_free(b);
}

static void test_call_with_a_token_is_repeated_at_the_next_server(void **state)
{
    goes_on(NULL, "1.token", true);
    goes_on(PROXY_503, "1.token", true);
    goes_on(HAUL_503("unavailable"), "1.token", true);
}

static void test_call_without_one_is_left_to_its_caller(void **state)
{
    goes_on(NULL, NULL, false);
    goes_on(PROXY_503, NULL, false);
}

static void test_server_that_is_busy_is_stayed_with(void **state)
{
    const struct step busy[] = {{HAUL_503("busy"), 0}, {OK_JSON, 0}};
    struct scripted *s = scripted_start(busy, 2);
    struct haul_client *c = client_of(scripted_url(s), NOBODY);
    struct haul_error err;
    assert_int_equal(haul_call_repeated(c, "POST", "/v1/jobs", "{}", NULL, "k", 2, NULL, &err), HAUL_OK);
    assert_string_equal(haul_client_server(c), scripted_url(s));
    haul_client_free(c);
    scripted_free(s);
}

static void test_round_without_an_answer_ends(void **state)
{
    struct haul_client *c = client_of(NOBODY, "http://127.0.0.1:2");
    struct haul_error err;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(haul_call(c, "GET", "/x", NULL, NULL, 0, NULL, &err), HAUL_NETWORK);
        assert_false(err.elsewhere);
        assert_true(err.repeatable);
        assert_non_null(
            strstr(err.message, "none of 2 servers can be used; the last: cannot talk to http://127.0.0.1:2"));
    }
    haul_client_free(c);
}

static void test_one_server_is_none_to_go_on_from(void **state)
{
    struct haul_error err;
    struct haul_client *c = haul_client_new(NOBODY, "test", &err);
    assert_int_equal(haul_call(c, "GET", "/x", NULL, "t", 0, NULL, &err), HAUL_NETWORK);
    assert_false(err.elsewhere);
    assert_null(strstr(err.message, "none of"));
    haul_client_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_lists_are_refused),
        cmocka_unit_test(test_list_begins_with_the_server_in_use),
        cmocka_unit_test(test_what_was_not_sent_goes_to_the_next_server),
        cmocka_unit_test(test_call_with_a_token_is_repeated_at_the_next_server),
        cmocka_unit_test(test_call_without_one_is_left_to_its_caller),
        cmocka_unit_test(test_server_that_is_busy_is_stayed_with),
        cmocka_unit_test(test_round_without_an_answer_ends),
        cmocka_unit_test(test_one_server_is_none_to_go_on_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
