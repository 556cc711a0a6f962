/* Errors, memory, text, hashes, files, the pool. */
#include "test.h"

#include "base/arena.h"
#include "base/auto.h"
#include "base/base64.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/md5.h"
#include "base/pool.h"
#include "base/sha256_behind.h"
#include "base/text.h"
#include "base/xxh128_update.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/stat.h>

static void test_errors_gather_context(void **state)
{
    struct err err;
    (void)state;
    assert_int_equal(err_set(&err, ERR_IO, ENOSPC, "commit"), ERR_NO_SPACE);
    assert_int_equal(err_wrap(&err, ERR_NO_SPACE, "claim from '%s'", "video"), ERR_NO_SPACE);
    assert_string_equal(err.msg, "claim from 'video': commit: No space left on device");
    assert_int_equal(err.sys, ENOSPC);
    assert_int_equal(err_set(&err, ERR_IO, ENOMEM, "x"), ERR_NO_MEMORY);
    assert_int_equal(err_field(&err, "priority", "must be 0 to 9, got %d", 12), ERR_INVALID);
    assert_string_equal(err.field, "priority");
    assert_string_equal(err.msg, "priority: must be 0 to 9, got 12");
    assert_int_equal(err_set(NULL, ERR_BUSY, 0, "x"), ERR_BUSY);
    err_clear(&err);
    assert_int_equal(err.code, ERR_OK);
    assert_string_equal(err_name(ERR_STALE_TOKEN), "stale_token");
    assert_int_equal(err_from_name("stale_token"), ERR_STALE_TOKEN);
    assert_int_equal(err_from_name("?"), ERR_INTERNAL);
    assert_int_equal(err_http(ERR_NOT_FOUND), 404);
    assert_true(err_repeatable(ERR_BUSY));
    assert_int_equal(err_exit(ERR_USAGE), 2);
}

static void test_long_errors_are_cut_between_characters(void **state)
{
    struct err err;
    char text[600];
    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'a', shift);
        for (size_t i = shift; i + 3 < sizeof(text); i += 3)
            memcpy(text + i, "\xe2\x82\xac", 4);
        err_set(&err, ERR_INVALID, 0, "%s", text);
        assert_true(utf8_valid(err.msg, strlen(err.msg)));
        assert_true(strlen(err.msg) >= ERR_MSG_MAX - 4);
        err_wrap(&err, ERR_INVALID, "b");
        assert_true(utf8_valid(err.msg, strlen(err.msg)));
        err_field(&err, text, "x");
        assert_true(utf8_valid(err.field, strlen(err.field)));
    }
}

static void test_arena_keeps_its_limit(void **state)
{
    struct arena *arena = arena_new(10000);
    (void)state;
    assert_null(arena_alloc(arena, 10001));
    assert_null(arena_alloc(arena, SIZE_MAX));
    assert_null(arena_array(arena, SIZE_MAX / 2, 3));
    assert_non_null(arena_alloc(arena, 0));
    char *s = arena_printf(arena, "%s-%d", "a", 7);
    assert_string_equal(s, "a-7");
    for (int n = 126; n <= 129; n++) { /* around what is formatted at once */
        s = arena_printf(arena, "%0*d", n, 7);
        assert_int_equal(strlen(s), n);
        assert_int_equal(s[n - 1], '7');
    }
    assert_string_equal(arena_strndup(arena, "abcdef", 3), "abc");
    assert_null(arena_strdup(arena, NULL));
    size_t n = 0;
    for (char *p; (p = arena_alloc(arena, 100)) != NULL; n++) {
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_int_equal(p[99], 0);
        memset(p, 1, 100);
    }
    assert_true(n >= 80 && n <= 100);
    assert_true(arena_used(arena) <= 10000);
    arena_free(arena);
    arena_free(NULL);
}

static void test_buffer_keeps_its_max(void **state)
{
    struct buf buf;
    (void)state;
    buf_init(&buf, 10);
    assert_string_equal(buf_str(&buf), "");
    buf_adds(&buf, "12345");
    buf_printf(&buf, "%d", 67890);
    assert_false(buf.failed);
    assert_string_equal(buf_str(&buf), "1234567890");
    buf_addc(&buf, 'x');
    assert_true(buf.failed);
    assert_null(buf_take(&buf));
    buf_reset(&buf);
    buf_adds(&buf, "abc");
    buf_drop_front(&buf, 2);
    assert_string_equal(buf_str(&buf), "c");
    buf_drop_front(&buf, 99);
    assert_string_equal(buf_str(&buf), "");
    buf_printf(&buf, "%s", "12345678901");
    assert_true(buf.failed);
    buf_reset(&buf);
    AUTO_FREE char *taken = buf_take(&buf);
    assert_string_equal(taken, "");
    assert_null(buf.data);
    buf_release(&buf);
}

static void test_text(void **state)
{
    (void)state;
    assert_true(utf8_valid("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10));
    assert_false(utf8_valid("\xc0\x80", 2));
    assert_false(utf8_valid("\xed\xa0\x80", 3));
    assert_false(utf8_valid("\xf4\x90\x80\x80", 4));
    assert_false(utf8_valid("\xe2\x82", 2));
    assert_false(utf8_valid("\x80", 1));
    assert_int_equal(utf8_cut("a\xe2\x82\xac", 3), 1);
    assert_int_equal(utf8_cut("a\xe2\x82\xac", 4), 4);
    assert_int_equal(utf8_cut("", 0), 0);
    assert_true(name_valid("_a.B:c-9", 8));
    assert_false(name_valid("_a.B:c-90", 8));
    assert_false(name_valid("", 8));
    assert_false(name_valid("-a", 8));
    assert_false(name_valid("a/b", 8));
    assert_false(name_valid("\xc3\xa9", 8));
    assert_true(filename_valid("caf\xc3\xa9 1.txt"));
    assert_true(filename_valid("..."));
    static const char *const bad[] = {"", ".", "..", "a/b", "a\nb", "\xff", "a\x7f"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(filename_valid(bad[i]));
}

static void test_sha256(void **state)
{
    uint8_t sum[32], again[32];
    char hex[SHA256_HEX_MAX];
    (void)state;
    sha256_once("abc", 3, sum);
    hex_format(sum, 32, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct sha256 *h = sha256_new();
    sha256_add(h, "a", 1);
    sha256_add(h, "", 0);
    sha256_add(h, "bc", 2);
    sha256_end(h, again);
    sha256_free(h);
    assert_memory_equal(sum, again, 32);
    assert_int_equal(hex_parse(hex, again, 32), 0);
    assert_memory_equal(sum, again, 32);
    assert_int_equal(hex_parse("ab", again, 2), -1);
    assert_int_equal(hex_parse("abcdef", again, 2), -1);
    assert_int_equal(hex_parse("ag", again, 1), -1);
}

/* Pieces of any length, which end before, at and behind the end of a block, and one that goes on from what was saved. */
/* RFC 1321, A.5 */
static void test_md5(void **state)
{
    uint8_t sum[MD5_BYTES];
    char hex[MD5_HEX_MAX];
    struct md5 *h = md5_new();
    md5_end(h, sum);
    hex_format(sum, sizeof(sum), hex);
    assert_string_equal(hex, "d41d8cd98f00b204e9800998ecf8427e");
    md5_add(h, "message", 7); /* anew */
    md5_add(h, "", 0);
    md5_add(h, " digest", 7);
    md5_end(h, sum);
    hex_format(sum, sizeof(sum), hex);
    assert_string_equal(hex, "f96b697d7cb7938d525a2f31aaf161d0");
    md5_free(h);
}

/** All pieces of `bytes`, as far as an owner may be ahead. @return how many were not hashed at once */
static size_t hash_behind(struct pool *pool, const char *bytes, size_t n, uint8_t ret[32])
{
    struct sha256 *h = sha256_new();
    struct sha256_behind b;
    size_t away = 0, at = 0;
    sha256_behind_init(&b, h, pool);
    for (size_t i = 1; at < n; i++) {
        size_t piece = MIN(i * 7919 % 200000, n - at); /* some are not worth a thread */
        away += sha256_behind_add(&b, bytes + at, piece);
        at += piece;
        if (i % 11 == 0)
            sha256_behind_wait(&b);
    }
    sha256_behind_wait(&b);
    sha256_behind_release(&b);
    sha256_end(h, ret);
    sha256_free(h);
    return away;
}

struct held {
    sem_t begun, go;
};

static void hold(void *arg)
{
    struct held *h = arg;
    sem_post(&h->begun);
    while (sem_wait(&h->go) != 0)
        ;
}

static void test_sha256_behind(void **state)
{
    enum { BYTES = 5000011 };
    AUTO_FREE char *bytes = malloc(BYTES);
    struct pool *pool;
    struct held held;
    uint8_t want[32], got[32];
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * 2654435761U >> 11);
    sha256_once(bytes, BYTES, want);
    assert_int_equal(hash_behind(NULL, bytes, BYTES, got), 0);
    assert_memory_equal(got, want, sizeof(want));

    assert_int_equal(pool_new("hash", 1, 0, &pool, NULL), ERR_OK);
    sem_init(&held.begun, 0, 0);
    sem_init(&held.go, 0, 0);
    while (pool_run(pool, hold, &held, NULL) != ERR_OK) /* until its thread is there */
        sched_yield();
    while (sem_wait(&held.begun) != 0)
        ;
    assert_int_equal(hash_behind(pool, bytes, BYTES, got), 0); /* that thread has other work */
    assert_memory_equal(got, want, sizeof(want));
    sem_post(&held.go);
    for (size_t away = 0; away == 0;) { /* until it is idle again */
        away = hash_behind(pool, bytes, BYTES, got);
        assert_memory_equal(got, want, sizeof(want));
    }
    pool_free(pool);
    sem_destroy(&held.begun);
    sem_destroy(&held.go);
}

/* What `xxhsum -H2` prints. */
static void xxh128_hex(const struct xxh128 *x, char ret[XXH128_HEX_MAX])
{
    uint8_t digest[XXH128_BYTES];
    xxh128_digest(x, digest);
    hex_format(digest, sizeof(digest), ret);
}

static void test_xxh128(void **state)
{
    char hex[XXH128_HEX_MAX], piece[997];
    struct xxh128 *x = xxh128_new();
    xxh128_hex(x, hex);
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
    xxh128_add(x, "hello ", 6);
    xxh128_add(x, NULL, 0);
    xxh128_add(x, "world", 5);
    xxh128_hex(x, hex);
    assert_string_equal(hex, "df8d09e93f874900a99b8775cc15b6c7");
    xxh128_reset(x);
    memset(piece, 'h', sizeof(piece));
    for (size_t left = 1000003; left > 0; left -= MIN(left, sizeof(piece)))
        xxh128_add(x, piece, MIN(left, sizeof(piece)));
    xxh128_hex(x, hex);
    assert_string_equal(hex, "9707d82c732c0edbfcf44960ae050828");
    xxh128_free(x);
}

/* Pieces of every length, at every address; both in turns, since what one leaves the other may go on from. */
static void test_xxh128_is_the_same_on_every_processor(void **state)
{
#ifdef XXH128_AVX2
    if (!__builtin_cpu_supports("avx2"))
        skip();
    enum { BYTES = 300007 };
    AUTO_FREE char *bytes = malloc(BYTES);
    char hex[3][XXH128_HEX_MAX];
    struct xxh128 *x[3] = {xxh128_new(), xxh128_new(), xxh128_new()};
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * 2654435761U >> 11);
    for (size_t at = 0, i = 1, n; at < BYTES; at += n, i++) {
        n = MIN(1 + i * 7919 % 2000, BYTES - at);
        xxh128_update_any(x[0], bytes + at, n);
        xxh128_update_avx2(x[1], bytes + at, n);
        (i % 2 ? xxh128_update_any : xxh128_update_avx2)(x[2], bytes + at, n);
        for (size_t k = 0; k < 3; k++)
            xxh128_hex(x[k], hex[k]);
        assert_string_equal(hex[1], hex[0]);
        assert_string_equal(hex[2], hex[0]);
    }
    for (size_t k = 0; k < 3; k++)
        xxh128_free(x[k]);
#else
    skip(); /* one for all */
#endif
}

static void test_sha256_in_pieces(void **state)
{
    uint8_t bytes[200], whole[32], pieces[32], saved[SHA256_STATE_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7);
    for (size_t n = 0; n <= sizeof(bytes); n++)
        for (size_t piece = 1; piece <= 70; piece++) {
            struct sha256 *h = sha256_new();

            for (size_t at = 0; at < n; at += piece)
                sha256_add(h, bytes + at, MIN(piece, n - at));
            sha256_save(h, saved);
            sha256_end(h, pieces);
            sha256_free(h);
            sha256_once(bytes, n, whole);
            assert_memory_equal(pieces, whole, sizeof(whole));
            h = sha256_load(saved);
            assert_non_null(h);
            sha256_end(h, pieces);
            sha256_free(h);
            assert_memory_equal(pieces, whole, sizeof(whole));
        }
}

/* The count of bits goes on beyond 32 of them, in pieces that fill no block. */
static void test_sha256_counts_beyond_32_bits(void **state)
{
    static const uint8_t before[] = {0, 0, 0, 0, 0xff, 0xff, 0xfe, 0, 0}, after[] = {0, 0, 0, 1, 0, 0, 0, 0x80, 16};
    uint8_t saved[SHA256_STATE_BYTES];
    struct sha256 *h = sha256_new();

    (void)state;
    sha256_save(h, saved);
    sha256_free(h);
    memcpy(saved + 32, before, sizeof(before)); /* bits so far, and bytes that wait */
    h = sha256_load(saved);
    assert_non_null(h);
    for (size_t i = 0; i < 80; i++)
        sha256_add(h, "x", 1);
    sha256_save(h, saved);
    sha256_free(h);
    assert_memory_equal(saved + 32, after, sizeof(after));
}

static char top[PATH_MAX];

static int make_top(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(top, sizeof(top), "%s/haul-test-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(top) ? 0 : -1;
}

static int drop_top(void **state)
{
    (void)state;
    return fs_remove_tree(top, NULL);
}

static const char *in_top(const char *name)
{
    static char path[PATH_MAX];
    assert_int_equal(fs_join(path, sizeof(path), top, name, NULL), ERR_OK);
    return path;
}

static void assert_hmac(const char *key, const char *text, const char *hex)
{
    char got[SHA256_HEX_MAX];
    uint8_t mac[32];

    hmac_sha256(key, strlen(key), text, strlen(text), mac);
    hex_format(mac, sizeof(mac), got);
    assert_string_equal(got, hex);
}

/* RFC 4231, cases 2 and 6 */
static void test_hmac(void **state)
{
    char key[132] = "";

    assert_hmac("Jefe", "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, 131);
    assert_hmac(key, "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

/* RFC 4648, section 10 */
static void test_base64(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    char text[16] = "";
    struct buf made;

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        const size_t n = strlen(pairs[i][0]), len = strlen(pairs[i][1]);
        buf_init(&made, 64);
        base64_write(&made, (const uint8_t *)pairs[i][0], n);
        assert_string_equal(buf_str(&made), pairs[i][1]);
        buf_release(&made);
        assert_int_equal(base64_read(pairs[i][1], len, text, sizeof(text)), n);
        assert_memory_equal(text, pairs[i][0], n);
    }
    assert_int_equal(base64_read("Zg=", 3, text, sizeof(text)), -1);
    assert_int_equal(base64_read("Z!==", 4, text, sizeof(text)), -1);
    assert_int_equal(base64_read("Zm9vYmFy", 8, text, 2), 6);
}

static void test_files(void **state)
{
    struct err err;
    struct buf buf;
    char small[4];
    struct stat st;
    (void)state;
    assert_int_equal(fs_mkdirs(in_top("a/b//c/"), 0755, &err), ERR_OK);
    assert_int_equal(fs_mkdirs(in_top("a/b//c"), 0755, &err), ERR_OK);
    assert_int_equal(fs_write_durable(in_top("a/f"), "hello", 5, 0600, &err), ERR_OK);
    assert_int_equal(fs_write_durable(in_top("a/f"), "hi", 2, 0640, &err), ERR_OK);
    assert_int_equal(stat(in_top("a/f"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(fs_mkdirs(in_top("a/f"), 0755, &err), ERR_IO);
    assert_int_equal(fs_write_durable(in_top("none/f"), "hi", 2, 0640, &err), ERR_IO);
    buf_init(&buf, 2);
    assert_int_equal(fs_read(in_top("a/f"), &buf, &err), ERR_OK);
    assert_string_equal(buf_str(&buf), "hi");
    assert_int_equal(fs_read(in_top("a/f"), &buf, &err), ERR_TOO_LARGE);
    assert_int_equal(fs_read(in_top("a/g"), &buf, &err), ERR_NOT_FOUND);
    buf_release(&buf);
    assert_int_equal(fs_join(small, sizeof(small), "a", "b", &err), ERR_OK);
    assert_string_equal(small, "a/b");
    assert_int_equal(fs_join(small, sizeof(small), "a", "bc", &err), ERR_TOO_LARGE);
    assert_true(fs_exists(in_top("a/b/c")));
    assert_false(fs_exists(in_top("a/b/d")));
}

static void test_lock_is_exclusive(void **state)
{
    struct err err;
    int fd = -1, second = -1;
    (void)state;
    assert_int_equal(fs_lock(in_top("lock"), &fd, &err), ERR_OK);
    assert_int_equal(fs_lock(in_top("lock"), &second, &err), ERR_LOCKED);
    assert_int_equal(second, -1);
    close(fd);
    assert_int_equal(fs_lock(in_top("lock"), &fd, &err), ERR_OK);
    close(fd);
}

static void test_remove_tree_does_not_follow_links(void **state)
{
    struct err err;
    char kept[PATH_MAX];
    (void)state;
    snprintf(kept, sizeof(kept), "%s", in_top("kept"));
    assert_int_equal(fs_mkdirs(in_top("kept/x"), 0755, &err), ERR_OK);
    assert_int_equal(fs_mkdirs(in_top("t/locked/in/.haul-remove-0"), 0755, &err), ERR_OK);
    assert_int_equal(fs_mkdirs(in_top("t/.haul-remove-1/y"), 0755, &err), ERR_OK);
    assert_int_equal(symlink(kept, in_top("t/link")), 0);
    assert_int_equal(symlink(kept, in_top("t/locked/in/link")), 0);
    assert_int_equal(chmod(in_top("t/locked/in"), 0500), 0);
    assert_int_equal(chmod(in_top("t/locked"), 0), 0);
    assert_int_equal(fs_remove_tree(in_top("t"), &err), ERR_OK);
    assert_false(fs_exists(in_top("t")));
    assert_true(fs_exists(in_top("kept/x")));
    assert_int_equal(fs_remove_tree(in_top("t"), &err), ERR_OK);
    assert_int_equal(symlink(kept, in_top("link")), 0);
    assert_int_equal(fs_remove_tree(in_top("link"), &err), ERR_OK);
    assert_true(fs_exists(in_top("kept/x")));
}

/* Deeper than PATH_MAX and than the descriptors of a process: only a walk that holds few of them gets through. */
static void test_remove_tree_of_any_depth(void **state)
{
    struct err err;
    (void)state;
    assert_int_equal(fs_mkdirs(in_top("deep"), 0755, &err), ERR_OK);
    int at = open(in_top("deep"), O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(mkdirat(at, "d", 0755), 0);
        int down = openat(at, "d", O_RDONLY | O_DIRECTORY);
        assert_true(down >= 0);
        close(at);
        at = down;
    }
    close(at);
    assert_int_equal(fs_remove_tree(in_top("deep"), &err), ERR_OK);
    assert_false(fs_exists(in_top("deep")));
}

struct gate {
    pthread_mutex_t lock;
    int ran;
};

static void pass_gate(void *arg)
{
    struct gate *gate = arg;
    pthread_mutex_lock(&gate->lock);
    gate->ran++;
    pthread_mutex_unlock(&gate->lock);
}

static void test_pool_is_bounded_and_drains(void **state)
{
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct pool *pool;
    struct err err;
    int taken = 0, rc;
    (void)state;
    assert_int_equal(pool_new("test", 0, 4, &pool, &err), ERR_INVALID);
    assert_int_equal(pool_new("test", 2, 4, &pool, &err), ERR_OK);
    assert_true(pool_idle(pool));
    pthread_mutex_lock(&gate.lock); /* both threads will block in their first task */
    while ((rc = pool_run(pool, pass_gate, &gate, &err)) == ERR_OK)
        taken++;
    assert_int_equal(rc, ERR_BUSY);
    assert_true(taken >= 4 && taken <= 6);
    assert_false(pool_idle(pool)); /* at most two of them can be with a thread */
    pthread_mutex_unlock(&gate.lock);
    pool_free(pool);
    assert_int_equal(gate.ran, taken);
    pool_free(NULL);
}

/* So that who frees what others may still offer to can stop it first. */
static void test_pool_that_is_stopped_refuses(void **state)
{
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct pool *pool;
    struct err err;
    (void)state;
    assert_int_equal(pool_new("test", 1, 4, &pool, &err), ERR_OK);
    assert_int_equal(pool_run(pool, pass_gate, &gate, &err), ERR_OK);
    pool_stop(pool);
    assert_int_equal(gate.ran, 1);
    assert_int_equal(pool_run(pool, pass_gate, &gate, &err), ERR_BUSY);
    pool_free(pool);
    assert_int_equal(gate.ran, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_gather_context),
        cmocka_unit_test(test_long_errors_are_cut_between_characters),
        cmocka_unit_test(test_arena_keeps_its_limit),
        cmocka_unit_test(test_buffer_keeps_its_max),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_md5),
        cmocka_unit_test(test_hmac),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_sha256_in_pieces),
        cmocka_unit_test(test_sha256_behind),
        cmocka_unit_test(test_xxh128),
        cmocka_unit_test(test_xxh128_is_the_same_on_every_processor),
        cmocka_unit_test(test_sha256_counts_beyond_32_bits),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_lock_is_exclusive),
        cmocka_unit_test(test_remove_tree_does_not_follow_links),
        cmocka_unit_test(test_remove_tree_of_any_depth),
        cmocka_unit_test(test_pool_is_bounded_and_drains),
        cmocka_unit_test(test_pool_that_is_stopped_refuses),
    };
    return cmocka_run_group_tests(tests, make_top, drop_top);
}
