/* Hints between servers over one PostgreSQL. Nothing here looks by itself: what a server hears, it heard of another. */
#include "base/auto.h"
#include "broker/notify/message.h"
#include "broker/notify/notify.h"
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define WAIT_S 60

struct server {
    const struct broker_driver *d;
    struct broker *broker;
    pthread_mutex_t lock;
    pthread_cond_t news;
    char heard[64]; /* the latest: queue/task_type/priority */
    unsigned jobs;  /* in all */
    unsigned lost, back;
};

static void told(void *self, struct broker_told *t)
{
    struct server *s = self;
    pthread_mutex_lock(&s->lock);
    snprintf(s->heard, sizeof(s->heard), "%s/%s/%d", t->queue, t->task_type, t->priority);
    s->jobs += t->jobs;
    pthread_cond_broadcast(&s->news);
    pthread_mutex_unlock(&s->lock);
    s->d->settle(s->broker, t, BROKER_CLAIMED);
}

static void changed(void *self, const struct err *err)
{
    struct server *s = self;
    pthread_mutex_lock(&s->lock);
    s->lost += err != NULL;
    s->back += err == NULL;
    pthread_cond_broadcast(&s->news);
    pthread_mutex_unlock(&s->lock);
}

static void up(struct server *s, const char *deployment)
{
    struct err err = {0};
    *s = (struct server){.d = broker_notify(), .lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};
    const struct broker_config config = {
        .url = getenv("HAUL_TEST_POSTGRES"), .deployment = deployment, .rng = rng_real()};
    const struct broker_calls calls = {.told = told, .changed = changed, .self = s};
    if (s->d->open(&config, &s->broker, &err) || s->d->start(s->broker, &calls, &err))
        fail_msg("%s", err.msg);
}

static void down(struct server *s)
{
    s->d->stop(s->broker);
    s->d->close(s->broker);
}

static void announce(struct server *s, const char *queue, const char *task_type, int priority)
{
    const struct broker_job job = {.queue = queue, .task_type = task_type, .priority = priority};
    s->d->announce(s->broker, &job);
}

static uint64_t announced(struct server *s)
{
    struct broker_state st;
    s->d->state(s->broker, &st);
    return st.announced;
}

/* It tells nothing before it knows that somebody waits: announces until it does. */
static void announce_heard(struct server *s, const char *queue, const char *task_type, int priority)
{
    const uint64_t before = announced(s);
    for (int i = 0; i < WAIT_S * 200 && announced(s) == before; i++) {
        announce(s, queue, task_type, priority);
        (void)poll(NULL, 0, 5);
    }
    assert_true(announced(s) > before);
}

static void wait_until(struct server *s, const unsigned *count, unsigned at_least)
{
    struct timespec until;
    int rc = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&s->lock);
    while (*count < at_least && rc == 0)
        rc = pthread_cond_timedwait(&s->news, &s->lock, &until);
    const bool reached = *count >= at_least;
    pthread_mutex_unlock(&s->lock);
    assert_true(reached);
}

static void test_server_whose_worker_waits_hears_of_a_job_elsewhere(void **state)
{
    struct server a, b;
    up(&a, "one");
    up(&b, "one");
    b.d->want(b.broker, NULL, "encode", 4);
    announce_heard(&a, "night", "encode", 7);
    wait_until(&b, &b.jobs, 1);
    assert_string_equal(b.heard, "night/encode/7");
    assert_int_equal(a.jobs, 0);
    down(&a);
    down(&b);
}

/* Who came later is told who waits. */
static void test_server_that_comes_later_is_told_who_waits(void **state)
{
    struct server a, b;
    up(&b, "later");
    b.d->want(b.broker, "q", "encode", 1);
    up(&a, "later");
    announce_heard(&a, "q", "encode", 5);
    wait_until(&b, &b.jobs, 1);
    down(&a);
    down(&b);
}

static void test_nobody_is_told_while_nobody_waits(void **state)
{
    struct server a, b;
    up(&a, "nobody");
    up(&b, "nobody");
    announce(&a, "q", "encode", 5);
    assert_int_equal(announced(&a), 0);
    b.d->want(b.broker, "q", "encode", 1);
    announce_heard(&a, "q", "other", 5); /* of a type that none of b's workers runs: passed over */
    announce(&a, "q", "encode", 4);
    wait_until(&b, &b.jobs, 1);
    assert_string_equal(b.heard, "q/encode/4");
    down(&a);
    down(&b);
}

static void test_many_jobs_are_told_of_together(void **state)
{
    struct server a, b;
    up(&a, "many");
    up(&b, "many");
    b.d->want(b.broker, "q", "encode", 1);
    announce_heard(&a, "q", "encode", 5);
    const unsigned before = (unsigned)announced(&a);
    for (int i = 0; i < 1000; i++)
        announce(&a, "q", "encode", 5);
    wait_until(&b, &b.jobs, before + 1000);
    assert_int_equal(b.jobs, before + 1000);
    down(&a);
    down(&b);
}

static void test_another_deployment_does_not_hear(void **state)
{
    struct server a, b, c;
    up(&a, "mine");
    up(&b, "mine");
    up(&c, "theirs");
    b.d->want(b.broker, "q", "encode", 1);
    c.d->want(c.broker, "q", "encode", 1);
    announce_heard(&a, "q", "encode", 5);
    wait_until(&b, &b.jobs, 1);
    c.d->stop(c.broker);
    assert_int_equal(c.jobs, 0);
    c.d->close(c.broker);
    down(&a);
    down(&b);
}

static void sql(const char *text)
{
    PGconn *pg = PQconnectdb(getenv("HAUL_TEST_POSTGRES"));
    PGresult *res = PQexec(pg, text);
    const ExecStatusType status = PQresultStatus(res);
    assert_true(status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK);
    PQclear(res);
    PQfinish(pg);
}

static void cut(void)
{
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'haul hints'");
}

static void test_host_that_takes_no_writes_any_more_is_left(void **state)
{
    struct server a, b;
    up(&a, "left");
    up(&b, "left");
    sql("ALTER SYSTEM SET default_transaction_read_only = on");
    sql("SELECT pg_reload_conf()");
    b.d->want(b.broker, "q", "encode", 1); /* which it says */
    wait_until(&b, &b.lost, 1);
    sql("ALTER SYSTEM RESET default_transaction_read_only");
    sql("SELECT pg_reload_conf()");
    wait_until(&b, &b.back, 1);
    announce_heard(&a, "q", "encode", 5);
    wait_until(&b, &b.jobs, 1);
    down(&a);
    down(&b);
}

static void test_connection_that_is_cut_comes_back(void **state)
{
    struct server a, b;
    struct broker_state st;
    up(&a, "cut");
    up(&b, "cut");
    b.d->want(b.broker, "q", "encode", 1);
    announce_heard(&a, "q", "encode", 5);
    wait_until(&b, &b.jobs, 1);
    cut();
    wait_until(&a, &a.back, 1);
    wait_until(&b, &b.back, 1);
    assert_int_equal(b.lost, 1);
    b.d->state(b.broker, &st);
    assert_true(st.reached);
    assert_int_equal(st.lost, 1);
    const unsigned before = b.jobs;
    announce_heard(&a, "q", "encode", 5);
    wait_until(&b, &b.jobs, before + 1);
    down(&a);
    down(&b);
}

static void test_strange_messages_are_passed_over(void **state)
{
    static const char *const strange[] = {
        "",
        "x",
        "0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef\n",
        "\n\n\nready\t1\t1\tq\tt",
        "0123456789abcdef0123456789abcdef\nready\nready\t\nready\t1\t1\nready\t1\t1\tq\nready\t1\t1\tq\t\nready\t10\t1"
        "\tq\tt"
        "\nready\t1\t0\tq\tt\nready\t1\t1000001\tq\tt\nready\t-1\t1\tq\tt\nready\t1x\t1\tq\tt\nfuture\t1"};
    for (size_t i = 0; i < ARRAY_LEN(strange); i++) {
        AUTO_FREE char *text = strdup(strange[i]);
        char *rest = NULL;
        struct line line;
        assert_non_null(text);
        if (message_speaker(text, &rest))
            assert_false(message_next(&rest, &line));
    }
}

static void test_message_is_read_as_it_was_written(void **state)
{
    struct buf b;
    struct line line;
    char *rest, name[129];
    size_t n = 0, read = 0;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    message_begin(&b, "0123456789abcdef0123456789abcdef");
    message_hello(&b);
    message_waits(&b);
    while (message_ready(&b, name, "type", (int)(n % 10), (unsigned)n + 1))
        n++;
    assert_false(b.failed);
    assert_true(b.len <= MESSAGE_BYTES_MAX);
    AUTO_FREE char *text = buf_take(&b);
    assert_string_equal(message_speaker(text, &rest), "0123456789abcdef0123456789abcdef");
    assert_true(message_next(&rest, &line) && line.kind == LINE_HELLO);
    assert_true(message_next(&rest, &line) && line.kind == LINE_WAITS);
    for (; message_next(&rest, &line); read++) {
        assert_int_equal(line.kind, LINE_READY);
        assert_string_equal(line.queue, name);
        assert_string_equal(line.task_type, "type");
        assert_int_equal(line.priority, read % 10);
        assert_int_equal(line.jobs, read + 1);
    }
    assert_int_equal(read, n);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_whose_worker_waits_hears_of_a_job_elsewhere),
        cmocka_unit_test(test_server_that_comes_later_is_told_who_waits),
        cmocka_unit_test(test_nobody_is_told_while_nobody_waits),
        cmocka_unit_test(test_many_jobs_are_told_of_together),
        cmocka_unit_test(test_another_deployment_does_not_hear),
        cmocka_unit_test(test_connection_that_is_cut_comes_back),
        cmocka_unit_test(test_host_that_takes_no_writes_any_more_is_left),
        cmocka_unit_test(test_strange_messages_are_passed_over),
        cmocka_unit_test(test_message_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
