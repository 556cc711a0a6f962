/* Routing, and answers: at once, later, from elsewhere, one after another. */
#include "fixture.h"
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_params_and_query(void **state)
{
    struct fixture *f = *state;
    struct answer a = ask(f, "GET /echo/a%20b/x/%C3%A4+?q=1+2%2B3 HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "a b|ä+|1 2+3");
    free(a.body);
    a = ask(f, "GET /echo/1/x/2 HTTP/1.1\r\n" HOST "\r\n");
    assert_string_equal(a.body, "1|2|-");
    free(a.body);
    a = ask(f, "GET /echo/1/x/2?z=1 HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(strstr(a.body, "\"field\":\"z\""));
    expect_problem(&a, 422, "invalid");
    a = ask(f, "GET /echo/1/x/2?tag=b&q=3&tag=a&tag=b&tag HTTP/1.1\r\n" HOST "\r\n");
    assert_string_equal(a.body, "1|2|3,b,a,b,");
    free(a.body);
    a = ask(f, "GET /echo/1/x/2?q=1&tag=1&q=1 HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(strstr(a.body, "\"field\":\"q\""));
    expect_problem(&a, 400, "malformed");
    a = ask(f, "GET /ping?tag=1&tag=2 HTTP/1.1\r\n" HOST "\r\n"); /* repeatable elsewhere */
    expect_problem(&a, 400, "malformed");
}

static void test_request_id(void **state)
{
    struct fixture *f = *state;
    char id[256], long_id[300];
    struct answer a = ask(f, "GET /ping HTTP/1.1\r\n" HOST "X-Request-Id: abc-123\r\n\r\n");
    assert_string_equal(answer_header(&a, "X-Request-Id", id, sizeof id), "abc-123");
    assert_string_equal(answer_header(&a, "X-Content-Type-Options", id, sizeof id), "nosniff");
    free(a.body);
    a = ask(f, "GET /ping HTTP/1.1\r\n" HOST "X-Request-Id: a b\r\n\r\n");
    assert_int_equal(strlen(answer_header(&a, "X-Request-Id", id, sizeof id)), 32);
    free(a.body);
    snprintf(long_id, sizeof long_id, "GET /ping HTTP/1.1\r\n" HOST "X-Request-Id: %0129d\r\n\r\n", 1);
    a = ask(f, long_id);
    assert_int_equal(strlen(answer_header(&a, "X-Request-Id", id, sizeof id)), 32);
    free(a.body);
}

static void test_head_is_get_without_body(void **state)
{
    struct fixture *f = *state;
    char value[64];
    int fd = client_open(f);
    for (int i = 0; i < 2; i++) { /* twice: nothing of a body is left on the connection */
        client_puts(fd, "HEAD /ping HTTP/1.1\r\n" HOST "\r\n");
        struct answer a = client_read(fd, true);
        assert_int_equal(a.status, 200);
        assert_string_equal(answer_header(&a, "Content-Length", value, sizeof value), "4");
        free(a.body);
        client_puts(fd, "HEAD /file HTTP/1.1\r\n" HOST "\r\n");
        a = client_read(fd, true);
        assert_int_equal(a.status, 200);
        assert_string_equal(answer_header(&a, "Content-Length", value, sizeof value), "1000000");
        assert_string_equal(answer_header(&a, "ETag", value, sizeof value), "\"etag1\"");
        free(a.body);
    }
    client_puts(fd, "HEAD /stream HTTP/1.1\r\n" HOST "\r\nGET /ping HTTP/1.1\r\n" HOST "\r\n");
    struct answer a = client_read(fd, true);
    assert_int_equal(a.status, 200);
    free(a.body);
    a = client_read(fd, false);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "pong");
    free(a.body);
    close(fd);
}

static void test_keep_alive_and_pipelining(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    const char *mix = "GET /echo/1/x/2 HTTP/1.1\r\n" HOST "\r\n"
                      "POST /defer HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"
                      "GET /nowhere HTTP/1.1\r\n" HOST "Connection: keep-alive\r\n\r\n";
    client_puts(fd, mix);
    struct answer a = client_read(fd, false);
    assert_string_equal(a.body, "1|2|-");
    free(a.body);
    a = client_read(fd, false);
    assert_string_equal(a.body, "later");
    free(a.body);
    a = client_read(fd, false);
    expect_problem(&a, 404, "not_found");
    close(fd);

    fd = client_open(f);
    for (int i = 0; i < 50; i++)
        client_puts(fd,
                    "POST /json HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nContent-Length: 4\r\n\r\ntrue"
                    "POST /defer HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
                    "DELETE /json HTTP/1.1\r\n" HOST "\r\n");
    for (int i = 0; i < 50; i++) {
        a = client_read(fd, false);
        assert_int_equal(a.status, 201);
        assert_string_equal(a.body, "true");
        free(a.body);
        a = client_read(fd, false);
        assert_string_equal(a.body, "later");
        free(a.body);
        a = client_read(fd, false);
        assert_int_equal(a.status, 204);
        free(a.body);
    }
    client_puts(fd, "GET /ping HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    a = client_read(fd, false);
    assert_string_equal(a.body, "pong");
    free(a.body);
    assert_true(client_closed(fd));
    close(fd);
}

static void *defer_many(void *arg)
{
    int fd = client_open(arg);
    for (int i = 0; i < 300; i++) {
        client_puts(fd, "POST /defer HTTP/1.1\r\n" HOST "\r\n");
        struct answer a = client_read(fd, false);
        assert_int_equal(a.status, 200);
        assert_string_equal(a.body, "later");
        free(a.body);
    }
    close(fd);
    return NULL;
}

/* The reply and the suspension meet in every order there is. */
static void test_reply_races_suspend(void **state)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, defer_many, *state), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        ;
}

/* A client whose request a handler holds. */
static int client_held(struct fixture *f)
{
    int fd = client_open(f);
    client_puts(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&f->held_sem);
    return fd;
}

static void test_held_request(void **state)
{
    struct fixture *f = *state;
    int fd = client_held(f);
    assert_true(http_alive(f->held));
    http_set_header(f->held, "X-Mine", "1");
    http_set_header(f->held, "X-Evil", "1\r\nX-Injected: 1"); /* left out */
    http_reply_text(f->held, 202, "text/plain", "", 0);
    struct answer a = client_read(fd, false);
    char value[32];
    assert_int_equal(a.status, 202);
    assert_string_equal(answer_header(&a, "X-Mine", value, sizeof value), "1");
    assert_null(answer_header(&a, "X-Injected", value, sizeof value));
    free(a.body);
    close(fd);
}

static void test_client_leaves_held_request(void **state)
{
    struct fixture *f = *state;
    int fd = client_held(f);
    close(fd);
    while (http_alive(f->held)) /* the end of loopback's queue; bounded by the test's time-out */
        sched_yield();
    http_reply_empty(f->held, 204);
}

/* A request that goes on elsewhere (http_run). */
struct going {
    struct http_request *req;
    pthread_t on;
    int calls;
    sem_t done;
};

static void go_answer(void *arg)
{
    struct going *g = arg;
    g->on = pthread_self();
    g->calls++;
    http_reply_text(g->req, 200, "text/plain", "made", 4);
    sem_post(&g->done);
}

static void go_on(void *arg)
{
    struct going *g = arg;
    g->calls++;
    http_run(g->req, go_answer, g);
}

static void going_init(struct going *g, struct fixture *f)
{
    *g = (struct going){.req = f->held, .on = pthread_self()};
    sem_init(&g->done, 0, 0);
}

static void test_goes_on_on_a_server_thread(void **state)
{
    struct fixture *f = *state;
    struct going g;
    int fd = client_held(f);
    going_init(&g, f);
    http_run(f->held, go_on, &g);
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "made");
    wait_for(&g.done);
    assert_int_equal(g.calls, 2);
    assert_false(pthread_equal(g.on, pthread_self()));
    free(a.body);
    close(fd);
    sem_destroy(&g.done);
}

static void test_goes_on_without_its_client(void **state)
{
    struct fixture *f = *state;
    struct going g;
    int fd = client_held(f);
    close(fd);
    while (http_alive(f->held))
        sched_yield();
    going_init(&g, f);
    http_run(f->held, go_on, &g);
    wait_for(&g.done);
    assert_int_equal(g.calls, 2);
    sem_destroy(&g.done);
}

static void *stop_server(void *arg)
{
    struct fixture *f = arg;
    http_stop(f->server);
    f->server = NULL;
    return NULL;
}

/* A handler that was not told to hurry replies into a stopped server: nothing is touched that is gone. */
static void test_stop_with_held_request(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    int fd = client_held(f);
    assert_int_equal(pthread_create(&thread, NULL, stop_server, f), 0);
    pthread_join(thread, NULL);
    assert_true(client_closed(fd));
    close(fd);
    assert_false(http_alive(f->held));
    http_reply_empty(f->held, 204);
}

static void test_goes_on_after_the_stop(void **state)
{
    struct fixture *f = *state;
    struct going g;
    int fd = client_held(f);
    stop_server(f);
    assert_true(client_closed(fd));
    close(fd);
    going_init(&g, f);
    http_run(f->held, go_on, &g);
    assert_int_equal(g.calls, 2);
    assert_true(pthread_equal(g.on, pthread_self()));
    sem_destroy(&g.done);
}

/* Whoever comes first, the stop or the server's thread: it is called once. */
static void test_goes_on_while_it_stops(void **state)
{
    struct fixture *f = *state;
    struct going g;
    int fd = client_held(f);
    going_init(&g, f);
    http_run(f->held, go_on, &g);
    stop_server(f);
    wait_for(&g.done);
    assert_int_equal(g.calls, 2);
    close(fd);
    sem_destroy(&g.done);
}

/* An answer given right before the stop still arrives. */
static void test_answer_before_stop_arrives(void **state)
{
    struct fixture *f = *state;
    int fd = client_held(f);
    http_quiesce(f->server);
    http_reply_text(f->held, 200, "text/plain", "x", 1);
    http_stop(f->server);
    f->server = NULL;
    struct answer a = client_read(fd, false);
    char value[32];
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Connection", value, sizeof value), "close");
    free(a.body);
    close(fd);
}

/* A client that says no more with its request is let go once answered, not kept for the next one. */
static void test_half_closed_with_the_request(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_puts(fd, "GET /ping HTTP/1.1\r\n" HOST "\r\nGET /ping HTTP/1.1\r\n" HOST "\r\n");
    shutdown(fd, SHUT_WR);
    for (int i = 0; i < 2; i++) {
        struct answer a = client_read(fd, false);
        assert_int_equal(a.status, 200);
        free(a.body);
    }
    assert_true(client_closed(fd));
    close(fd);
}

static void test_one_byte_at_a_time(void **state)
{
    struct fixture *f = *state;
    const char *request =
        "POST /json?x=1 HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    int fd = client_open(f);
    for (const char *s = request; *s; s++)
        client_send(fd, s, 1);
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 201);
    free(a.body);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_params_and_query, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_request_id, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_head_is_get_without_body, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_keep_alive_and_pipelining, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_reply_races_suspend, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_held_request, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_client_leaves_held_request, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_goes_on_on_a_server_thread, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_goes_on_without_its_client, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_goes_on_after_the_stop, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_goes_on_while_it_stops, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_stop_with_held_request, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_answer_before_stop_arrives, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_half_closed_with_the_request, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_one_byte_at_a_time, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
