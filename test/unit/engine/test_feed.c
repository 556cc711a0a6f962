/* Which jobs readers are told of, and when they are told that they missed some. */
#include "engine/feed.h"
#include "world.h"

static void test_each_decision_is_told_in_order(void **state)
{
    struct world *w = *state;
    struct feed *feed = engine_feed(w->engine);
    uint64_t at = feed_head(feed);
    struct uuid told[8];
    bool missed = true;

    struct uuid one = submit(w, "encode"), two = submit(w, "encode");
    claim(w, 1, "p1");
    assert_int_equal(feed_read(feed, &at, told, 2, &missed), 2);
    assert_false(missed);
    assert_true(uuid_equal(&told[0], &one) && uuid_equal(&told[1], &two));
    assert_int_equal(feed_read(feed, &at, told, 8, &missed), 1);
    assert_true(uuid_equal(&told[0], &one));
    assert_int_equal(feed_read(feed, &at, told, 8, &missed), 0);
    assert_int_equal(at, feed_head(feed));
}

static void test_who_is_too_slow_is_told(void **state)
{
    struct feed *feed = calloc(1, sizeof *feed);
    struct uuid id = {{1}}, told[4];
    uint64_t at = 0, future = FEED_KEPT + 9;
    bool missed = true;

    feed_init(feed);
    for (size_t i = 0; i < FEED_KEPT; i++)
        feed_note(feed, &id);
    assert_int_equal(feed_read(feed, &at, told, 1, &missed), 1); /* the oldest that is kept */
    assert_false(missed);
    feed_note(feed, NULL);
    feed_note(feed, NULL);
    assert_int_equal(feed_read(feed, &at, told, 4, &missed), 0);
    assert_true(missed);
    assert_int_equal(at, FEED_KEPT + 2);
    assert_int_equal(feed_read(feed, &future, told, 4, &missed), 0); /* an id that somebody made up */
    assert_true(missed);
    feed_note(feed, NULL);
    assert_int_equal(feed_read(feed, &at, told, 4, &missed), 1);
    assert_false(missed);
    assert_true(uuid_is_nil(&told[0]));
    feed_release(feed);
    free(feed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_decision_is_told_in_order),
        cmocka_unit_test(test_who_is_too_slow_is_told),
    };
    return cmocka_run_group_tests_name("feed", tests, NULL, NULL);
}
