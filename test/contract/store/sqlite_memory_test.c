/* SQLite's memory (sqlite/memory.c): blocks are as large as was asked, nobody else's, and given back by whichever thread. */
#include "store/sqlite/memory.h"
#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCKS = 100, LARGEST = 5000 };

static int set_up(void **state)
{
    (void)state;
    sqlite_memory_set_up();
    return sqlite3_initialize();
}

static void check(const uint8_t *p, int n, uint8_t what)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(p[i], what);
}

/* More of a size than are kept, all written to their last byte; twice, so that the second time some are had again. */
static void test_blocks_of_every_size_are_apart(void **state)
{
    uint8_t *blocks[BLOCKS];

    (void)state;
    for (int n = 1; n <= LARGEST; n += 37)
        for (int round = 0; round < 2; round++) {
            for (int i = 0; i < BLOCKS; i++) {
                blocks[i] = sqlite3_malloc(n);
                assert_non_null(blocks[i]);
                assert_true(sqlite3_msize(blocks[i]) >= (sqlite3_uint64)n);
                memset(blocks[i], i, (size_t)n);
            }
            for (int i = 0; i < BLOCKS; i++) {
                check(blocks[i], n, (uint8_t)i);
                sqlite3_free(blocks[i]);
            }
        }
    sqlite3_free(NULL);
}

static void test_a_block_that_grows_keeps_its_bytes(void **state)
{
    uint8_t *p = NULL;

    (void)state;
    for (int n = 1; n <= LARGEST; n += 61) {
        p = sqlite3_realloc(p, n);
        assert_non_null(p);
        check(p, n > 61 ? n - 61 : 0, 0x5a);
        memset(p, 0x5a, (size_t)n);
    }
    sqlite3_free(p);
}

static void *give_back(void *arg)
{
    uint8_t **blocks = arg;

    for (int i = 0; i < BLOCKS; i++)
        sqlite3_free(blocks[i]);
    return NULL;
}

/* A thread that ends leaves nothing behind: a sanitizer or valgrind would tell. */
static void test_blocks_go_back_by_another_thread_that_ends(void **state)
{
    uint8_t *blocks[BLOCKS];
    pthread_t thread;

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < BLOCKS; i++)
            assert_non_null(blocks[i] = sqlite3_malloc(1 + i * 30));
        assert_int_equal(pthread_create(&thread, NULL, give_back, blocks), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

/* What was given back last is what comes next. */
static void test_a_thread_gets_again_what_it_gave_back(void **state)
{
    uint8_t *first, *again;

    (void)state;
#ifdef HAUL_ASAN
    skip();
#endif
    first = sqlite3_malloc(700);
    sqlite3_free(first);
    again = sqlite3_malloc(690);
    assert_ptr_equal(first, again);
    sqlite3_free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_of_every_size_are_apart),
        cmocka_unit_test(test_a_block_that_grows_keeps_its_bytes),
        cmocka_unit_test(test_blocks_go_back_by_another_thread_that_ends),
        cmocka_unit_test(test_a_thread_gets_again_what_it_gave_back),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
