/* What every broker driver promises. One that delivers (CONTRACT_DELIVERS) brings an announcement to one server that wants it, and again
 * until it was settled for good; any may lose some. */
#include CONTRACT_HEADER
#include "base/auto.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define HEARD_MAX 256
#define WAIT_S    30

/* A server of the deployment, as far as the driver sees one. */
struct server {
    const struct broker_driver *d;
    struct broker *broker;
    pthread_mutex_t lock;
    pthread_cond_t heard_one;
    struct broker_told *heard[HEARD_MAX];
    size_t n_heard, n_changes;
};

static void told(void *self, struct broker_told *t)
{
    struct server *s = self;
    pthread_mutex_lock(&s->lock);
    if (s->n_heard < HEARD_MAX)
        s->heard[s->n_heard++] = t;
    pthread_cond_signal(&s->heard_one);
    pthread_mutex_unlock(&s->lock);
}

static void submitted(void *self, struct broker_submission *sub)
{
    const struct server *s = self;
    s->d->settle_submission(s->broker, sub, BROKER_DEFERRED, NULL);
}

static void changed(void *self, const struct err *err)
{
    struct server *s = self;
    pthread_mutex_lock(&s->lock);
    s->n_changes++;
    pthread_mutex_unlock(&s->lock);
}

static void up(struct server *s, const char *deployment)
{
    char url[512] = "";
    struct err err = {0};
#ifdef CONTRACT_URL
    snprintf(url, sizeof(url), "%s" CONTRACT_OPTIONS, getenv(CONTRACT_URL));
#endif
    *s = (struct server){
        .d = CONTRACT_DRIVER(), .lock = PTHREAD_MUTEX_INITIALIZER, .heard_one = PTHREAD_COND_INITIALIZER};
    const struct broker_config config = {.url = url, .deployment = deployment, .rng = rng_real()};
    const struct broker_calls calls = {.told = told, .submitted = submitted, .changed = changed, .self = s};
    if (s->d->open(&config, &s->broker, &err) || s->d->start(s->broker, &calls, &err))
        fail_msg("%s", err.msg);
}

static void down(struct server *s)
{
    s->d->stop(s->broker);
    for (size_t i = 0; i < s->n_heard; i++)
        s->d->settle(s->broker, s->heard[i], BROKER_LATER);
    s->d->close(s->broker);
}

static void announce(struct server *s, const char *queue, const char *task_type, int priority)
{
    const struct clock clock = clock_real();
    const struct broker_job job = {.job_id = uuid_v7(clock.wall_us(clock.self), rng_real()),
                                   .queue = queue,
                                   .task_type = task_type,
                                   .priority = priority};
    s->d->announce(s->broker, &job);
}

#ifdef CONTRACT_DELIVERS
/* The first that was heard, to be settled; NULL: nothing for so long. */
static struct broker_told *hear(struct server *s, int seconds)
{
    struct broker_told *t = NULL;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    pthread_mutex_lock(&s->lock);
    while (!s->n_heard && pthread_cond_timedwait(&s->heard_one, &s->lock, &until) == 0)
        ;
    if (s->n_heard) {
        t = s->heard[0];
        memmove(s->heard, s->heard + 1, --s->n_heard * sizeof(s->heard[0]));
    }
    pthread_mutex_unlock(&s->lock);
    return t;
}

static void settle_next(struct server *s, const char *queue, const char *task_type, int priority,
                        enum broker_outcome outcome)
{
    struct broker_told *t = hear(s, WAIT_S);
    assert_non_null(t);
    assert_string_equal(t->queue, queue);
    assert_string_equal(t->task_type, task_type);
    assert_int_equal(t->priority, priority);
    assert_int_equal(t->jobs, 1);
    s->d->settle(s->broker, t, outcome);
}

static void test_who_wants_a_lane_hears_of_it(void **state)
{
    struct server a, b;
    up(&a, "one");
    up(&b, "one");
    b.d->want(b.broker, "night", "encode", 4);
    announce(&a, "night", "encode", 7);
    settle_next(&b, "night", "encode", 7, BROKER_CLAIMED);
    announce(&a, "night", "encode", 0);
    settle_next(&b, "night", "encode", 0, BROKER_CLAIMED);
    announce(&b, "night", "encode", 5); /* its own, too */
    settle_next(&b, "night", "encode", 5, BROKER_CLAIMED);
    assert_int_equal(a.n_heard, 0);
    down(&a);
    down(&b);
}

static void test_who_wants_any_queue_hears_of_all(void **state)
{
    struct server a, b;
    up(&a, "any");
    up(&b, "any");
    b.d->want(b.broker, NULL, "encode", 1);
    announce(&a, "encode", "encode", 5); /* its own name */
    settle_next(&b, "encode", "encode", 5, BROKER_CLAIMED);
    announce(&a, "strange:queue.9", "encode", 5);
    settle_next(&b, "strange:queue.9", "encode", 5, BROKER_CLAIMED);
    down(&a);
    down(&b);
}

static void test_what_is_not_wanted_waits_for_who_wants_it(void **state)
{
    struct server a, b;
    up(&a, "waits");
    up(&b, "waits");
    a.d->want(a.broker, "q", "other", 1);
    b.d->want(b.broker, "q", "encode", 1); /* and no more */
    b.d->want(b.broker, "q", "encode", -1);
    announce(&a, "q", "encode", 5);
    announce(&a, "q", "other", 5); /* heard: the one before it was passed over */
    settle_next(&a, "q", "other", 5, BROKER_CLAIMED);
    assert_int_equal(a.n_heard, 0);
    a.d->want(a.broker, "q", "encode", 1);
    settle_next(&a, "q", "encode", 5, BROKER_CLAIMED);
    down(&a);
    down(&b);
}

static void test_what_nobody_here_can_take_goes_to_another_server(void **state)
{
    struct server a, b;
    up(&a, "goes");
    up(&b, "goes");
    a.d->want(a.broker, "q", "encode", 1);
    announce(&a, "q", "encode", 5);
    struct broker_told *t = hear(&a, WAIT_S);
    assert_non_null(t);
    a.d->want(a.broker, "q", "encode", -1);
    b.d->want(b.broker, "q", "encode", 1);
    a.d->settle(a.broker, t, BROKER_NOBODY);
    settle_next(&b, "q", "encode", 5, BROKER_NOTHING);
    down(&a);
    down(&b);
}

static void test_what_was_not_decided_comes_again(void **state)
{
    struct server a;
    up(&a, "again");
    a.d->want(a.broker, "q", "encode", 1);
    announce(&a, "q", "encode", 5);
    settle_next(&a, "q", "encode", 5, BROKER_LATER);
    settle_next(&a, "q", "encode", 5, BROKER_CLAIMED);
    announce(&a, "q", "encode", 4); /* and that was the last of it */
    settle_next(&a, "q", "encode", 4, BROKER_CLAIMED);
    down(&a);
}

static void test_what_a_dead_server_had_goes_to_another(void **state)
{
    struct server a, b;
    up(&a, "dead");
    up(&b, "dead");
    a.d->want(a.broker, "q", "encode", 1);
    announce(&a, "q", "encode", 5);
    struct broker_told *t = hear(&a, WAIT_S);
    assert_non_null(t);
    a.d->stop(a.broker); /* and never settles it */
    b.d->want(b.broker, "q", "encode", 1);
    settle_next(&b, "q", "encode", 5, BROKER_CLAIMED);
    a.d->settle(a.broker, t, BROKER_LATER);
    a.d->close(a.broker);
    down(&b);
}

static void test_another_deployment_does_not_hear(void **state)
{
    struct server a, b;
    up(&a, "mine");
    up(&b, "theirs");
    a.d->want(a.broker, "q", "encode", 1);
    b.d->want(b.broker, "q", "encode", 1);
    announce(&a, "q", "encode", 5);
    settle_next(&a, "q", "encode", 5, BROKER_CLAIMED);
    announce(&b, "q", "encode", 4);
    settle_next(&b, "q", "encode", 4, BROKER_CLAIMED); /* the first that it hears */
    assert_int_equal(a.n_heard, 0);
    down(&a);
    down(&b);
}
#endif

static void test_calls_at_any_time_are_harmless(void **state)
{
    struct server a;
    struct broker_state st;
    up(&a, "calls");
    a.d->want(a.broker, "q", "never", -3);
    a.d->want(a.broker, NULL, "never", 1);
    a.d->want(a.broker, NULL, "never", -1);
    announce(&a, "q", "encode", 9);
    a.d->state(a.broker, &st);
    assert_true(st.reached);
    assert_string_equal(st.why, "");
    a.d->stop(a.broker);
    a.d->stop(a.broker);
    announce(&a, "q", "encode", 9);
    a.d->want(a.broker, "q", "encode", 1);
    a.d->state(a.broker, &st);
    a.d->close(a.broker);
    a.d->close(NULL);
    assert_int_equal(a.n_heard, 0);
    assert_int_equal(a.n_changes, 0);
}

static void test_a_broker_that_never_starts_is_closed(void **state)
{
    const struct broker_driver *d = CONTRACT_DRIVER();
    struct server a;
    up(&a, "closed");
    down(&a);
    struct broker *b = NULL;
    char url[512] = "";
#ifdef CONTRACT_URL
    snprintf(url, sizeof(url), "%s", getenv(CONTRACT_URL));
#endif
    const struct broker_config config = {.url = url, .deployment = "closed", .rng = rng_real()};
    assert_int_equal(d->open(&config, &b, NULL), ERR_OK);
    d->stop(b);
    d->close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef CONTRACT_DELIVERS
        cmocka_unit_test(test_who_wants_a_lane_hears_of_it),
        cmocka_unit_test(test_who_wants_any_queue_hears_of_all),
        cmocka_unit_test(test_what_is_not_wanted_waits_for_who_wants_it),
        cmocka_unit_test(test_what_nobody_here_can_take_goes_to_another_server),
        cmocka_unit_test(test_what_was_not_decided_comes_again),
        cmocka_unit_test(test_what_a_dead_server_had_goes_to_another),
        cmocka_unit_test(test_another_deployment_does_not_hear),
#endif
        cmocka_unit_test(test_calls_at_any_time_are_harmless),
        cmocka_unit_test(test_a_broker_that_never_starts_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
