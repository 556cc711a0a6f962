#include "check.h"

static usec ceiling(const struct policy *p, uint32_t retries)
{
    double exact = (double)p->backoff_base_us;

    for (uint32_t i = 0; i < retries; i++)
        exact *= 2;
    return exact > (double)p->backoff_cap_us ? p->backoff_cap_us : (usec)exact;
}

static void test_within_bounds_for_any_dice(void **state)
{
    struct rng_seeded seed = test_seed();
    struct rng rng = rng_seeded_view(&seed);
    struct policy p = policy_default();

    for (int i = 0; i < 200000; i++) {
        uint32_t retries = (uint32_t)(rng_u64(rng) % 20);
        usec got = backoff_us(&p, retries, rng_u64(rng));

        assert_true(got >= 0 && got <= ceiling(&p, retries));
    }
}

static void test_both_ends_are_reached(void **state)
{
    struct policy p = policy_default();

    for (uint32_t retries = 0; retries < 70; retries++) {
        assert_int_equal(backoff_us(&p, retries, 0), 0);
        assert_int_equal(backoff_us(&p, retries, UINT64_MAX), ceiling(&p, retries));
    }
    assert_int_equal(backoff_us(&p, 0, UINT64_MAX), 5 * USEC_PER_SEC);
    assert_int_equal(backoff_us(&p, 3, UINT64_MAX), 40 * USEC_PER_SEC);
    assert_int_equal(backoff_us(&p, UINT32_MAX, UINT64_MAX), 3600 * USEC_PER_SEC);
}

static void test_full_jitter_is_even(void **state)
{
    struct rng_seeded seed = {.state = 42}; /* fixed: the bound below is a statement about these dice */
    struct rng rng = rng_seeded_view(&seed);
    struct policy p = policy_default();
    unsigned bins[10] = {0};

    for (int i = 0; i < 100000; i++) {
        usec got = backoff_us(&p, 4, rng_u64(rng));

        bins[MIN(got * 10 / ceiling(&p, 4), 9)]++;
    }
    for (size_t i = 0; i < ARRAY_LEN(bins); i++)
        assert_in_range(bins[i], 9500, 10500);
}

static void test_odd_policies(void **state)
{
    struct policy p = policy_default();

    p.backoff_base_us = 0;
    assert_int_equal(backoff_us(&p, 9, UINT64_MAX), 0);
    p = policy_default();
    p.backoff_cap_us = 1; /* below the base */
    assert_int_equal(backoff_us(&p, 0, UINT64_MAX), 1);
    p.backoff_base_us = USEC_NEVER - 1;
    p.backoff_cap_us = USEC_NEVER;
    assert_int_equal(backoff_us(&p, 5, UINT64_MAX), USEC_NEVER); /* no overflow */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_within_bounds_for_any_dice),
        cmocka_unit_test(test_both_ends_are_reached),
        cmocka_unit_test(test_full_jitter_is_even),
        cmocka_unit_test(test_odd_policies),
    };

    return cmocka_run_group_tests_name("core retry", tests, NULL, NULL);
}
