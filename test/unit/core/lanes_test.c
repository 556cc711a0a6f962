#include "check.h"
#include "core/lanes.h"

static const char *const types[] = {"transcode", "thumbnail"};

static struct want want_slots(unsigned slots)
{
    return (struct want){.task_types = types, .n_task_types = ARRAY_LEN(types), .slots = slots};
}

static struct lane a_lane(int64_t id, int priority, uint64_t ready, usec waited)
{
    return (struct lane){.lane_id = id,
                         .project = "default",
                         .queue = "video",
                         .task_type = "transcode",
                         .priority = priority,
                         .ready = ready,
                         .oldest_at = NOW - waited};
}

static void test_fits(void **state)
{
    struct lane lane = a_lane(1, 5, 1, 0);
    struct want want = want_slots(1);
    const char *queues[] = {"audio", "video"};

    assert_true(lane_fits(&lane, &want));
    want.queues = queues;
    want.n_queues = 2;
    assert_true(lane_fits(&lane, &want));
    want.n_queues = 1;
    assert_false(lane_fits(&lane, &want));
    want.n_queues = 0;
    lane.task_type = "index";
    assert_false(lane_fits(&lane, &want));
    want.n_task_types = 0; /* runs nothing, gets nothing */
    lane.task_type = "transcode";
    assert_false(lane_fits(&lane, &want));
}

static void test_priority_high_first(void **state)
{
    struct lane lanes[] = {a_lane(1, 1, 5, 0), a_lane(2, 9, 3, 0), a_lane(3, 5, 5, 0)};
    struct want want = want_slots(5);
    unsigned take[3];

    lanes_choose(lanes, 3, &want, NOW, take);
    assert_int_equal(take[0], 0);
    assert_int_equal(take[1], 3);
    assert_int_equal(take[2], 2);
}

static void test_a_step_for_every_age(void **state)
{
    struct want want = want_slots(1);
    unsigned take[2];
    struct lane lanes[] = {a_lane(1, 4, 1, LANE_AGE_US), a_lane(2, 5, 1, 0)};

    lanes_choose(lanes, 2, &want, NOW, take); /* equal now: the older head */
    assert_int_equal(take[0], 1);
    lanes[0].oldest_at++; /* just not */
    lanes_choose(lanes, 2, &want, NOW, take);
    assert_int_equal(take[1], 1);
    lanes[0].oldest_at = 0; /* unknown: no age */
    lanes_choose(lanes, 2, &want, NOW, take);
    assert_int_equal(take[1], 1);
    lanes[1].oldest_at = NOW + 100 * LANE_AGE_US; /* of the future: no age either, and no penalty */
    lanes_choose(lanes, 2, &want, NOW, take);
    assert_int_equal(take[1], 1);
}

static void test_equals_take_turns(void **state)
{
    struct lane lanes[] = {a_lane(1, 5, 100, 1), a_lane(2, 5, 100, 3), a_lane(3, 5, 1, 2)};
    struct want want = want_slots(6);
    unsigned take[3];

    lanes_choose(lanes, 3, &want, NOW, take);
    assert_int_equal(take[2], 1);
    assert_int_equal(take[1], 3); /* the older head has the odd one */
    assert_int_equal(take[0], 2);

    struct lane turned[] = {lanes[1], lanes[2], lanes[0]}; /* where a lane stands in the list means nothing */

    lanes_choose(turned, 3, &want, NOW, take);
    assert_int_equal(take[0], 3);
    assert_int_equal(take[1], 1);
    assert_int_equal(take[2], 2);
}

static void test_nothing_to_do(void **state)
{
    struct lane lanes[] = {a_lane(1, 5, 0, 0), a_lane(2, 9, 9, 0)};
    struct want want = want_slots(4);
    unsigned take[2] = {77, 77};

    lanes[1].task_type = "index";
    lanes_choose(lanes, 2, &want, NOW, take);
    assert_int_equal(take[0] + take[1], 0);
    want.slots = 0;
    lanes[1].task_type = "transcode";
    lanes_choose(lanes, 2, &want, NOW, take);
    assert_int_equal(take[0] + take[1], 0);
    lanes_choose(NULL, 0, &want, NOW, NULL);
}

static void test_bounded_and_complete_for_any_lanes(void **state)
{
    struct rng_seeded seed = test_seed();
    struct rng rng = rng_seeded_view(&seed);

    for (int round = 0; round < 2000; round++) {
        struct lane lanes[40];
        unsigned take[40], sum = 0;
        size_t n = rng_u64(rng) % ARRAY_LEN(lanes);
        uint64_t there = 0;
        struct want want = want_slots((unsigned)(rng_u64(rng) % 65));

        for (size_t i = 0; i < n; i++) {
            lanes[i] =
                a_lane((int64_t)i, (int)(rng_u64(rng) % 10), rng_u64(rng) % 8, (usec)(rng_u64(rng) % 20) * LANE_AGE_US);
            if (rng_u64(rng) % 3 == 0)
                lanes[i].task_type = "index";
            else
                there += lanes[i].ready;
        }
        lanes_choose(lanes, n, &want, NOW, take);
        for (size_t i = 0; i < n; i++) {
            assert_true(take[i] <= lanes[i].ready);
            assert_true(take[i] == 0 || lane_fits(&lanes[i], &want));
            sum += take[i];
        }
        assert_int_equal(sum, MIN(there, want.slots)); /* no slot stays empty while a job fits */
    }
}

/** A lane of priority 9 that is filled faster than it is emptied, beside one job of priority 0. */
static void test_no_lane_starves(void **state)
{
    struct want want = want_slots(1);
    const usec second = USEC_PER_SEC;
    usec high_head = NOW,
         served_at = 0; /* two jobs a second arrive, one a second is served: the head ages half as fast */

    for (usec now = NOW; served_at == 0 && now < NOW + 3600 * second; now += second) {
        struct lane lanes[] = {a_lane(1, 0, 1, 0), a_lane(2, 9, 1000000, 0)};
        unsigned take[2];

        lanes[1].oldest_at = high_head;
        lanes_choose(lanes, 2, &want, now, take);
        assert_int_equal(take[0] + take[1], 1);
        if (take[0])
            served_at = now;
        else
            high_head += second / 2;
    }
    assert_true(served_at > 0);
    /* not before those that stood at most nine steps behind it, and not long after */
    assert_in_range(served_at - NOW, 9 * LANE_AGE_US, 20 * LANE_AGE_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_priority_high_first),
        cmocka_unit_test(test_a_step_for_every_age),
        cmocka_unit_test(test_equals_take_turns),
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_bounded_and_complete_for_any_lanes),
        cmocka_unit_test(test_no_lane_starves),
    };

    return cmocka_run_group_tests_name("core lanes", tests, NULL, NULL);
}
