/* Where a log goes on: after an answer that was lost, a server that was restored, a ring that went over what was not sent. */
#include "../client/server.h"
#include "base/fs.h"
#include "worker/log_send.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NEXT(n) "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"next_offset\":" #n "}"
#define CONFLICT                                                                                                       \
    "HTTP/1.1 409 Conflict\r\nContent-Type: application/problem+json\r\nConnection: close\r\n\r\n"                     \
    "{\"type\":\"urn:haul:problem:conflict\",\"title\":\"Conflict\",\"status\":409,\"code\":\"conflict\",\"detail\":"  \
    "\"gap\"}"

struct bed {
    char dir[64];
    struct logs *log;
    struct scripted *server;
    struct haul_client *client;
    struct attempt attempt;
    struct log_sender sender;
};

static void bed_start(struct bed *b, const struct step *steps, size_t n)
{
    struct err err;
    struct haul_error he;

    *b = (struct bed){.dir = "/tmp/haul-log-send-XXXXXX"};
    assert_non_null(mkdtemp(b->dir));
    assert_int_equal(logs_open(b->dir, 0, &b->log, &err), ERR_OK);
    b->server = scripted_start(steps, n);
    b->client = haul_client_new(scripted_url(b->server), NULL, &he);
    assert_non_null(b->client);
    b->attempt.job_id = "j";
    b->attempt.token = "1.t";
    b->attempt.number = 1;
    b->sender.log = b->log;
}

static void bed_end(struct bed *b)
{
    haul_client_free(b->client);
    scripted_free(b->server);
    logs_free(b->log);
    fs_remove_tree(b->dir, NULL);
}

static int push(struct bed *b, bool live, enum log_push *ret)
{
    struct haul_error he;

    return log_push(&b->attempt, b->client, &b->sender, live, ret, &he);
}

static void assert_asked(struct bed *b, size_t i, const char *query)
{
    char line[128];

    snprintf(line, sizeof line, "POST /v1/jobs/j/attempts/1/log?%s HTTP/1.1\r\n", query);
    if (strncmp(scripted_request(b->server, i), line, strlen(line)))
        fail_msg("request %zu is not %s but %.120s", i, line, scripted_request(b->server, i));
}

static void test_goes_on_where_the_server_is(void **state)
{
    static const struct step steps[] = {{CONFLICT, 0}, {NEXT(2), 0}, {NEXT(5), 0}};
    struct bed b;
    enum log_push pushed;

    bed_start(&b, steps, 3);
    logs_add(b.log, "hello", 5);
    b.sender.sent = 4; /* before the server was restored */
    assert_int_equal(push(&b, true, &pushed), HAUL_OK);
    assert_int_equal(pushed, LOG_PUSH_SENT);
    assert_int_equal(b.sender.sent, 2);
    assert_int_equal(push(&b, true, &pushed), HAUL_OK);
    assert_int_equal(b.sender.sent, 5);
    assert_int_equal(push(&b, true, &pushed), HAUL_OK);
    assert_int_equal(pushed, LOG_PUSH_NOTHING);
    scripted_join(b.server);
    assert_asked(&b, 0, "offset=4&skipped=0");
    assert_asked(&b, 1, "offset=0&skipped=0");
    assert_non_null(strstr(scripted_request(b.server, 1), "\r\nContent-Length: 0\r\n"));
    assert_asked(&b, 2, "offset=2&skipped=0");
    assert_non_null(strstr(scripted_request(b.server, 2), "\r\n\r\nllo"));
    bed_end(&b);
}

/* A server that contradicts itself is not asked for ever. */
static void test_asks_once(void **state)
{
    static const struct step steps[] = {{CONFLICT, 0}, {NEXT(0), 0}, {CONFLICT, 0}};
    struct bed b;
    enum log_push pushed;

    bed_start(&b, steps, 3);
    logs_add(b.log, "hello", 5);
    assert_int_equal(push(&b, true, &pushed), HAUL_OK);
    assert_int_equal(push(&b, true, &pushed), HAUL_REFUSED);
    scripted_join(b.server);
    bed_end(&b);
}

static void test_owns_up_to_what_the_ring_went_over(void **state)
{
    static const struct step steps[] = {{NEXT(30000000), 0}};
    static char mib[1 << 20];
    struct bed b;
    enum log_push pushed;

    bed_start(&b, steps, 1);
    for (int i = 0; i < 30; i++)
        logs_add(b.log, mib, sizeof mib);
    b.sender.sent = 9 << 20;
    assert_int_equal(push(&b, true, &pushed), HAUL_OK);
    assert_int_equal(pushed, LOG_PUSH_SENT);
    assert_int_equal(b.sender.sent, 30000000); /* the server's word */
    scripted_join(b.server);
    assert_asked(&b, 0, "offset=23068672&skipped=13631488"); /* 22 MiB, 13 MiB */
    bed_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goes_on_where_the_server_is),
        cmocka_unit_test(test_asks_once),
        cmocka_unit_test(test_owns_up_to_what_the_ring_went_over),
    };
    return cmocka_run_group_tests_name("worker log send", tests, NULL, NULL);
}
