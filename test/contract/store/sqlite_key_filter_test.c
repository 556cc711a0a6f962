/* The filter of keys (sqlite/key_filter.c): it never misses one, and says so of few others, however many it has. */
#include "store/sqlite/key_filter.h"
#include "base/rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { KEYS = 1000000, LOOKS = 100000 };

static int64_t key(struct rng_seeded *seed)
{
    return (int64_t)rng_u64(rng_seeded_view(seed));
}

/** As the store does: a share that is full is made anew with all that it holds. */
static void grow(struct key_filter *f, unsigned share, int64_t n)
{
    struct rng_seeded seed = {1};
    int64_t first = key_filter_first(share);

    key_filter_clear(f, share, n / KEY_FILTER_SHARES);
    for (int64_t i = 0; i < n; i++) {
        int64_t hash = key(&seed);
        if (hash >= first && hash <= first + (KEY_FILTER_SPAN - 1))
            key_filter_add(f, hash);
    }
}

static void fill(struct key_filter *f)
{
    struct rng_seeded seed = {1};
    int full;

    for (int64_t i = 0; i < KEYS; i++) {
        key_filter_add(f, key(&seed));
        while ((full = key_filter_full(f)) >= 0)
            grow(f, (unsigned)full, i + 1);
    }
}

/** How many of keys that were not added it takes for some that may have been. */
static unsigned in_vain(const struct key_filter *f)
{
    struct rng_seeded seed = {2};
    unsigned n = 0;

    for (int i = 0; i < LOOKS; i++)
        n += key_filter_may_hold(f, key(&seed));
    return n;
}

static void test_it_grows_and_misses_none(void **state)
{
    struct key_filter *f = key_filter_new();
    struct rng_seeded seed = {1};

    (void)state;
    assert_non_null(f);
    assert_int_equal(in_vain(f), 0);
    fill(f);
    for (int i = 0; i < KEYS; i++)
        assert_true(key_filter_may_hold(f, key(&seed)));
    assert_true(in_vain(f) < LOOKS / 50);
    for (unsigned share = 0; share < KEY_FILTER_SHARES; share++)
        key_filter_clear(f, share, 0);
    assert_int_equal(in_vain(f), 0);
    key_filter_free(f);
}

static void test_a_share_in_doubt_may_hold_all_of_its_own(void **state)
{
    struct key_filter *f = key_filter_new();

    (void)state;
    assert_non_null(f);
    for (unsigned share = 0; share < KEY_FILTER_SHARES; share++) {
        int64_t first = key_filter_first(share);
        assert_false(key_filter_may_hold(f, first));
        key_filter_doubt(f, share);
        assert_true(key_filter_may_hold(f, first));
        assert_true(key_filter_may_hold(f, first + (KEY_FILTER_SPAN - 1)));
    }
    key_filter_clear(f, 5, 0);
    assert_false(key_filter_may_hold(f, key_filter_first(5)));
    assert_true(key_filter_may_hold(f, key_filter_first(6)));
    key_filter_free(f);
}

/* Where there are more keys than it has room for it is not made anew for each of them. */
static void test_it_stays_bounded(void **state)
{
    struct key_filter *f = key_filter_new();

    (void)state;
    assert_non_null(f);
    key_filter_clear(f, 3, 100000000);
    for (int i = 0; i < 500000; i++)
        key_filter_add(f, key_filter_first(3) + i);
    assert_int_equal(key_filter_full(f), -1);
    key_filter_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_grows_and_misses_none),
        cmocka_unit_test(test_a_share_in_doubt_may_hold_all_of_its_own),
        cmocka_unit_test(test_it_stays_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
