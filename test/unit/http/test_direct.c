/* What passes libmicrohttpd by: bodies and files of 8 MiB and more. The rest of their rules is tested where those of smaller ones are. */
#include "base/auto.h"
#include "base/sha256.h"
#include "fixture.h"
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define PART_BYTES ((size_t)1 << 20)
#define ALL_BYTES  ((size_t)9 << 20)

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        ;
}

/* Until the owner of the upload has `n` bytes. */
static void wait_seen(struct fixture *f, size_t n)
{
    while (atomic_load(&f->seen) < n)
        wait_for(&f->piece_sem);
    assert_int_equal(atomic_load(&f->seen), n);
}

static int begin(const struct fixture *f, size_t n)
{
    char head[256];
    int fd = client_open(f);
    snprintf(head, sizeof head,
             "POST /upload HTTP/1.1\r\n" HOST "Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n",
             n);
    client_puts(fd, head);
    return fd;
}

static char *part_new(void)
{
    char *part = malloc(PART_BYTES);
    assert_non_null(part);
    for (size_t i = 0; i < PART_BYTES; i++)
        part[i] = (char)(i * 2654435761U >> 13);
    return part;
}

/* Nothing waits for more than the sender has sent. */
static void test_owner_has_what_came_when_the_sender_pauses(void **state)
{
    struct fixture *f = *state;
    char *part = part_new();
    int fd = begin(f, ALL_BYTES);
    client_send(fd, part, 1);
    wait_seen(f, 1);
    client_send(fd, part + 1, 4999);
    wait_seen(f, 5000);
    client_send(fd, part, PART_BYTES);
    wait_seen(f, 5000 + PART_BYTES);
    close(fd);
    wait_for(&f->freed_sem);
    free(part);
}

static void test_what_came_before_a_cut_is_handed_on(void **state)
{
    struct fixture *f = *state;
    char *part = part_new();
    int fd = begin(f, ALL_BYTES);
    client_send(fd, part, PART_BYTES);
    close(fd);
    wait_for(&f->freed_sem);
    assert_int_equal(atomic_load(&f->seen), PART_BYTES);
    free(part);
}

/* All of it was sent, and no more will be: the answer comes all the same. */
static void test_sender_that_closes_its_half_gets_the_answer(void **state)
{
    struct fixture *f = *state;
    char *part = part_new(), expected[SHA256_HEX_MAX + 24];
    struct sha256 *h = sha256_new();
    uint8_t digest[32];
    int fd = begin(f, ALL_BYTES);
    for (size_t at = 0; at < ALL_BYTES; at += PART_BYTES) {
        client_send(fd, part, PART_BYTES);
        sha256_add(h, part, PART_BYTES);
    }
    shutdown(fd, SHUT_WR);
    sha256_end(h, digest);
    sha256_free(h);
    int n = snprintf(expected, sizeof expected, "%zu ", ALL_BYTES);
    hex_format(digest, 32, expected + n);
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, expected);
    assert_true(client_closed(fd));
    free(a.body);
    free(part);
    close(fd);
}

static void test_stop_in_mid_upload(void **state)
{
    struct fixture *f = *state;
    int fd = begin(f, ALL_BYTES);
    client_puts(fd, "some");
    wait_seen(f, 4);
    http_stop(f->server);
    f->server = NULL;
    assert_int_equal(sem_trywait(&f->freed_sem), 0);
    assert_true(client_closed(fd));
    close(fd);
}

static struct answer get(const struct fixture *f, const char *path, const char *headers)
{
    char request[256];
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n" HOST "%s\r\n", path, headers);
    return ask(f, request);
}

/* Looked at, read without a look, passed on by the kernel, and by one that cannot. */
static const char *const large[] = {"/large", "/read", "/passed", "/unpassed"};

static void test_file(void **state)
{
    struct fixture *f = *state;
    char value[64];
    for (size_t i = 0; i < ARRAY_LEN(large); i++) {
        struct answer a = get(f, large[i], "");
        assert_int_equal(a.status, 200);
        assert_int_equal(a.n, LARGE_BYTES);
        assert_memory_equal(a.body, "begin", 5);
        assert_memory_equal(a.body + LARGE_BYTES - 3, "end", 3);
        assert_string_equal(answer_header(&a, "ETag", value, sizeof value), "\"large\"");
        assert_string_equal(answer_header(&a, "Connection", value, sizeof value), "close");
        free(a.body);
        a = get(f, large[i], "Range: bytes=1000-\r\n");
        assert_int_equal(a.status, 206);
        assert_int_equal(a.n, LARGE_BYTES - 1000);
        assert_memory_equal(a.body + a.n - 3, "end", 3);
        free(a.body);
    }
}

/* A HEAD, a small part and a 304 of it are as of any other: the connection goes on. */
static void test_without_its_bytes_the_connection_goes_on(void **state)
{
    int fd = client_open(*state);
    client_puts(fd, "HEAD /large HTTP/1.1\r\n" HOST "\r\n");
    struct answer a = client_read(fd, true);
    assert_int_equal(a.status, 200);
    free(a.body);
    client_puts(fd, "GET /large HTTP/1.1\r\n" HOST "If-None-Match: \"large\"\r\n\r\n");
    a = client_read(fd, true);
    assert_int_equal(a.status, 304);
    free(a.body);
    client_puts(fd, "GET /large HTTP/1.1\r\n" HOST "Range: bytes=-3\r\n\r\n");
    a = client_read(fd, false);
    assert_int_equal(a.status, 206);
    assert_string_equal(a.body, "end");
    free(a.body);
    client_puts(fd, "GET /ping HTTP/1.1\r\n" HOST "\r\n");
    a = client_read(fd, false);
    assert_string_equal(a.body, "pong");
    free(a.body);
    close(fd);
}

/* Neither one that became shorter nor one that is found to be spoilt looks whole. */
static void test_bad_file_is_cut(void **state)
{
    struct fixture *f = *state;
    static const char *const paths[] = {"/large-short", "/spoilt", "/passed-short"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct answer a = get(f, paths[i], "");
        assert_int_equal(a.status, -200);
        free(a.body);
        wait_for(&f->freed_sem);
    }
}

static int begin_get(const struct fixture *f, const char *path)
{
    char request[64], c;
    int fd = client_open(f);
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n" HOST "\r\n", path);
    client_puts(fd, request);
    assert_int_equal(recv(fd, &c, 1, 0), 1);
    return fd;
}

static void test_reader_that_leaves(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(large); i++) {
        close(begin_get(f, large[i]));
        wait_for(&f->freed_sem);
    }
}

static void test_stop_while_files_are_sent(void **state)
{
    struct fixture *f = *state;
    int fds[ARRAY_LEN(large)];
    for (size_t i = 0; i < ARRAY_LEN(large); i++)
        fds[i] = begin_get(f, large[i]);
    http_stop(f->server);
    f->server = NULL;
    for (size_t i = 0; i < ARRAY_LEN(large); i++) {
        assert_int_equal(sem_trywait(&f->freed_sem), 0);
        close(fds[i]);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_owner_has_what_came_when_the_sender_pauses),
        TEST(test_what_came_before_a_cut_is_handed_on),
        TEST(test_sender_that_closes_its_half_gets_the_answer),
        TEST(test_stop_in_mid_upload),
        TEST(test_file),
        TEST(test_without_its_bytes_the_connection_goes_on),
        TEST(test_bad_file_is_cut),
        TEST(test_reader_that_leaves),
        TEST(test_stop_while_files_are_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
