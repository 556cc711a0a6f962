/* Why a job waits: one reason, the one that holds it back now. */
#include "check.h"
#include "base/text.h"
#include "core/waiting.h"
#include <string.h>

static struct job job;

static struct waiting_facts usual(void)
{
    job = (struct job){.task_type = "film", .status = JOB_PENDING, .run_at = NOW};
    return (struct waiting_facts){.job = &job,
                                  .now = NOW,
                                  .live = 3,
                                  .serving = 2,
                                  .slots = 4,
                                  .free_slots = 1,
                                  .before = 0,
                                  .before_exact = true,
                                  .run_mean_us = 100 * USEC_PER_SEC};
}

static struct waiting_verdict judge(const struct waiting_facts *f, enum waiting why, const char *words)
{
    struct waiting_verdict v;
    waiting_judge(f, &v);
    assert_string_equal(waiting_name(v.why), waiting_name(why));
    if (!strstr(v.words, words))
        fail_msg("'%s' does not say '%s'", v.words, words);
    return v;
}

static void test_who_does_not_wait(void **state)
{
    struct waiting_facts f = usual();
    job.status = JOB_RUNNING;
    job.attempt = 3;
    assert_int_equal(judge(&f, WAITING_RUNNING, "attempt 3").likely_at, 0);
    job.status = JOB_CANCELLED;
    assert_int_equal(judge(&f, WAITING_FINISHED, "cancelled").likely_at, 0);
}

static void test_its_own_reasons_come_before_the_workers(void **state)
{
    struct waiting_facts f = usual();
    f.serving = f.free_slots = f.slots = 0;
    f.before = -1;
    job.run_at = NOW + 60 * USEC_PER_SEC;
    struct waiting_verdict v = judge(&f, WAITING_SCHEDULED, "not due until 20");
    assert_int_equal(v.until, job.run_at);
    assert_int_equal(v.likely_at, 0); /* nobody would take it */
    f.serving = f.slots = 1;
    job.retries = 2;
    v = judge(&f, WAITING_BACKING_OFF, "retry 2");
    assert_int_equal(v.until, job.run_at);
    assert_int_equal(v.likely_at, job.run_at);
    job.waiting_on = 1;
    assert_int_equal(judge(&f, WAITING_FOR_JOBS, "1 other job to").until, 0);
}

static void test_workers_and_their_slots(void **state)
{
    struct waiting_facts f = usual();
    assert_int_equal(judge(&f, WAITING_NEXT, "next of its lane").likely_at, NOW);
    f.before =
        2; /* one slot is free, four end a job every 25 s: the third from the head waits for the second that ends */
    assert_int_equal(judge(&f, WAITING_BEHIND, "2 jobs stand before it").likely_at, NOW + 50 * USEC_PER_SEC);
    f.free_slots = 0;
    f.before = 1;
    assert_int_equal(
        judge(&f, WAITING_NO_SLOT, "1 job stands before it, and no slot is free: 2 workers run it, with 4 slots")
            .likely_at,
        NOW + 50 * USEC_PER_SEC);
    f.before = 0;
    assert_int_equal(judge(&f, WAITING_NO_SLOT, "no slot is free").likely_at, NOW + 25 * USEC_PER_SEC);
    f.before = 10000;
    f.before_exact = false;
    judge(&f, WAITING_NO_SLOT, "more than 10000 jobs stand");
    f.run_mean_us = -1; /* no history */
    assert_int_equal(judge(&f, WAITING_NO_SLOT, "").likely_at, 0);
    f.run_mean_us = INT64_MAX;
    assert_int_equal(judge(&f, WAITING_NO_SLOT, "").likely_at, 0);
    f.serving = f.slots = 0;
    assert_int_equal(judge(&f, WAITING_NO_WORKER, "none of the 3 live workers runs 'film'").likely_at, 0);
}

static void test_drained_workers_are_named(void **state)
{
    struct waiting_facts f = usual();
    f.drained = 1;
    f.drained_names[0] = "gpu-1";
    judge(&f, WAITING_NEXT, ""); /* others serve */
    f.serving = f.slots = f.free_slots = 0;
    struct waiting_verdict v =
        judge(&f, WAITING_DRAINED, "the worker that runs 'film' is drained; resume one or start another: gpu-1");
    assert_int_equal(v.likely_at, 0);
    f.drained = 4;
    f.drained_names[1] = "gpu-2";
    f.drained_names[2] = "gpu-3";
    judge(&f, WAITING_DRAINED,
          "all 4 workers that run 'film' are drained; resume one or start another: gpu-1, gpu-2, gpu-3, ...");
    f.drained = 2;
    v = judge(&f, WAITING_DRAINED, "gpu-1, gpu-2");
    assert_null(strstr(v.words, "gpu-3"));
    char name[301] = "x";
    for (size_t i = 1; i < sizeof(name) - 1; i++)
        name[i] = (char)(i % 2 ? 0xc3 : 0xa9); /* a character of two bytes is not cut */
    f.drained_names[0] = name;
    for (size_t from = 0; from < 2; from++) {
        f.drained_names[0] = from ? "é" : name;
        f.drained_names[1] = name;
        v = judge(&f, WAITING_DRAINED, " another: ");
        assert_true(utf8_valid(v.words, strlen(v.words)));
    }
    f.paused_at = NOW;
    judge(&f, WAITING_PAUSED, "is paused since 20");
}

static void test_a_paused_queue_comes_before_its_workers(void **state)
{
    struct waiting_facts f = usual();
    char reason[1001];
    f.paused_at = NOW;
    f.before = 2;
    assert_int_equal(judge(&f, WAITING_PAUSED, "2 jobs stand before it, and its queue is paused since 20").likely_at,
                     0);
    f.serving = 0;
    f.paused_by = "ada";
    f.paused_reason = "no disk";
    judge(&f, WAITING_PAUSED, " by ada: no disk");
    memset(reason, 0xc3, sizeof(reason));
    for (size_t i = 1; i < sizeof(reason); i += 2)
        reason[i] = (char)0xa9; /* a character of two bytes is not cut */
    reason[sizeof(reason) - 1] = '\0';
    f.paused_reason = reason;
    struct waiting_verdict v = judge(&f, WAITING_PAUSED, " by ada: ");
    assert_true(utf8_valid(v.words, strlen(v.words)));
    job.run_at = NOW + 60 * USEC_PER_SEC; /* its own reasons go first */
    judge(&f, WAITING_SCHEDULED, "not due until 20");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_does_not_wait), cmocka_unit_test(test_its_own_reasons_come_before_the_workers),
        cmocka_unit_test(test_workers_and_their_slots), cmocka_unit_test(test_drained_workers_are_named),
        cmocka_unit_test(test_a_paused_queue_comes_before_its_workers)};
    return cmocka_run_group_tests_name("waiting", tests, NULL, NULL);
}
