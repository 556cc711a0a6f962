/* Large bodies to a server of this machine, which do not pass through libcurl: what is asked, what is answered, what goes wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/sha256.h"
#include "base/text.h"
#include "base/xxh128.h"
#include "client/haul.h"
#include "server.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#define BYTES   ((size_t)(9 << 20) + 12344) /* pagemap is read by eights */
#define CREATED "HTTP/1.1 201 Created\r\n"
#define CLOSE   "Connection: close\r\n"
#define PATH    "/v1/jobs/a/attempts/1/outputs/o"

struct large {
    int fd;
    char *bytes;
    char sha[SHA256_HEX_MAX], sum[XXH128_HEX_MAX];
};

static struct large made;

static int large_make(void **state)
{
    struct xxh128 *x = xxh128_new();
    uint8_t sha[32], sum[XXH128_BYTES];
    made.fd = memfd_create("large", MFD_CLOEXEC);
    made.bytes = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        made.bytes[i] = (char)('a' + (i * 2654435761U >> 11) % 26);
    assert_int_equal(write(made.fd, made.bytes, BYTES), (ssize_t)BYTES);
    sha256_once(made.bytes, BYTES, sha);
    hex_format(sha, sizeof(sha), made.sha);
    xxh128_add(x, made.bytes, BYTES);
    xxh128_digest(x, sum);
    hex_format(sum, sizeof(sum), made.sum);
    xxh128_free(x);
    return 0;
}

static int large_unmake(void **state)
{
    close(made.fd);
    free(made.bytes);
    return 0;
}

/** What was made once, by a descriptor of its own. */
static struct large large_new(void)
{
    struct large f = made;
    f.fd = fcntl(made.fd, F_DUPFD_CLOEXEC, 0);
    assert_true(f.fd >= 0);
    return f;
}

static void large_free(struct large *f)
{
    close(f->fd);
}

/** What a server says that took all of it. Owned. @param headers  each with its line's end */
static char *stored(const struct large *f, const char *headers)
{
    struct buf b;
    buf_init(&b, 4096);
    buf_printf(&b,
               "%s%sHaul-Body-Xxh128: %s\r\n\r\n{\"ref\":\"blob:0198c0de-0000-7000-8000-000000000000\","
               "\"size\":%zu,\"sha256\":\"%s\"}",
               CREATED, headers, f->sum, BYTES, f->sha);
    assert_false(b.failed);
    return buf_take(&b);
}

struct upload_case {
    struct large file;
    struct scripted *server;
    struct haul_client *client;
    struct haul_error err;
    char sha[SHA256_HEX_MAX];
    int64_t told, stop_at;
};

static int on_progress(void *arg, int64_t done, int64_t total)
{
    struct upload_case *u = arg;
    assert_true(done >= 0 && done <= total);
    u->told = done;
    return u->stop_at > 0 && done >= u->stop_at;
}

/** `size` bytes of the file, to a server that was started for it. */
static int upload_to(struct upload_case *u, struct scripted *server, int64_t size)
{
    u->server = server;
    AUTO_FREE char *url = NULL;
    assert_true(asprintf(&url, "%s/under/", scripted_url(u->server)) > 0);
    u->client = haul_client_new(url, "test/1", &u->err);
    assert_non_null(u->client);
    return haul_upload(u->client, PATH, "1.token", u->file.fd, size, on_progress, u, NULL, u->sha, &u->err);
}

static int upload(struct upload_case *u, const char *answer, size_t n)
{
    const struct step step = {answer, n};
    return upload_to(u, scripted_start(&step, 1), (int64_t)BYTES);
}

static void upload_end(struct upload_case *u)
{
    haul_client_free(u->client);
    scripted_free(u->server);
    large_free(&u->file);
}

static void test_the_request_is_as_libcurl_would_make_it(void **state)
{
    struct upload_case u = {.file = large_new()};
    AUTO_FREE char *answer = stored(&u.file, CLOSE), *host = NULL, *length = NULL;
    assert_int_equal(upload(&u, answer, 0), HAUL_OK);
    assert_string_equal(u.sha, u.file.sha);
    assert_int_equal(u.told, BYTES);
    scripted_join(u.server);
    const char *r = scripted_request(u.server, 0), *body = strstr(r, "\r\n\r\n");
    assert_true(asprintf(&host, "\r\nHost: %s\r\n", scripted_url(u.server) + 7) > 0);
    assert_true(asprintf(&length, "\r\nContent-Length: %zu\r\n", BYTES) > 0);
    assert_int_equal(strncmp(r, "PUT /under" PATH " HTTP/1.1\r\n", strlen("PUT /under" PATH " HTTP/1.1\r\n")), 0);
    for (size_t i = 0; i < 6; i++)
        assert_non_null(
            strstr(r, (const char *[]){host, length, "\r\nUser-Agent: test/1\r\n", "\r\nHaul-Token: 1.token\r\n",
                                       "\r\nContent-Type: application/octet-stream\r\n", "\r\n" CLOSE}[i]));
    assert_null(strstr(r, "Expect"));
    assert_non_null(body);
    assert_memory_equal(body + 4, u.file.bytes, 512 << 10);
    upload_end(&u);
}

static void test_answers_of_every_shape(void **state)
{
    static const char *const before[] = {"", "HTTP/1.1 100 Continue\r\n\r\n",
                                         "HTTP/1.0 102 Processing\r\nx: y\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(before); i++)
        for (int length = 0; length < 2; length++) {
            struct upload_case u = {.file = large_new()};
            AUTO_FREE char *plain = stored(&u.file, ""), *headers = NULL, *body = NULL, *answer = NULL;
            assert_true(asprintf(&headers, "Content-Length: %zu\r\n", strlen(strchr(plain, '{'))) > 0);
            body = stored(&u.file, length ? headers : CLOSE);
            assert_true(asprintf(&answer, "%s%s", before[i], body) > 0);
            assert_int_equal(upload(&u, answer, 0), HAUL_OK);
            upload_end(&u);
        }
}

/* Each is unknown to have been stored, or not stored: never a success. */
static void test_answers_that_are_none(void **state)
{
    static const struct {
        const char *answer, *said;
    } rows[] = {
        {NULL, "without an answer"},
        {"HTTP/1.1 2", "ended early"},
        {"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{", "ended early"},
        {"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "none of a haul server"},
        {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "none of a haul server"},
        {"HTTP/2.0 x01 Created\r\n\r\n", "none of a haul server"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct upload_case u = {.file = large_new()};
        assert_int_equal(upload(&u, rows[i].answer, 0), HAUL_NETWORK);
        assert_non_null(strstr(u.err.message, rows[i].said));
        upload_end(&u);
    }
    AUTO_FREE char *endless = malloc((size_t)200 << 10);
    memset(endless, 'x', (size_t)200 << 10);
    memcpy(endless, CREATED "x: ", strlen(CREATED "x: "));
    struct upload_case u = {.file = large_new()};
    assert_int_equal(upload(&u, endless, (size_t)200 << 10), HAUL_NETWORK);
    assert_non_null(strstr(u.err.message, "too long"));
    upload_end(&u);
}

/* libcurl reads what a proxy makes of an answer. */
static void test_after_such_an_answer_it_goes_by_libcurl(void **state)
{
    struct upload_case u = {.file = large_new()};
    AUTO_FREE char *plain = stored(&u.file, "Transfer-Encoding: chunked\r\n" CLOSE), *chunked = NULL;
    char *body = strchr(plain, '{');
    assert_true(asprintf(&chunked, "%.*s%zx\r\n%s\r\n0\r\n\r\n", (int)(body - plain), plain, strlen(body), body) > 0);
    const struct step steps[] = {{chunked, 0}, {chunked, 0}};
    assert_int_equal(upload_to(&u, scripted_start(steps, 2), (int64_t)BYTES), HAUL_NETWORK);
    assert_true(u.err.repeatable);
    assert_int_equal(haul_upload(u.client, PATH, NULL, u.file.fd, (int64_t)BYTES, NULL, NULL, NULL, u.sha, &u.err),
                     HAUL_OK);
    assert_string_equal(u.sha, u.file.sha);
    upload_end(&u);
}

static void test_what_arrived_is_compared(void **state)
{
    struct upload_case u = {.file = large_new()};
    struct large other = u.file;
    memset(other.sha, '0', 64);
    AUTO_FREE char *same = stored(&other, CLOSE);
    assert_int_equal(upload(&u, same, 0), HAUL_OK); /* the sum says so; the hash is the server's word */
    upload_end(&u);

    u = (struct upload_case){.file = large_new()};
    other = u.file;
    other.sum[0] = other.sum[0] == '0' ? '1' : '0';
    AUTO_FREE char *damaged_sum = stored(&other, CLOSE);
    assert_int_equal(upload(&u, damaged_sum, 0), HAUL_OK); /* the file's own hash decides */
    assert_string_equal(u.sha, u.file.sha);
    upload_end(&u);

    u = (struct upload_case){.file = large_new()};
    memset(other.sha, '0', 64);
    AUTO_FREE char *damaged = stored(&other, CLOSE);
    assert_int_equal(upload(&u, damaged, 0), HAUL_REFUSED);
    assert_string_equal(u.err.code, "corrupt");
    upload_end(&u);
}

#define REFUSAL                                                                                                        \
    "HTTP/1.1 413 Too Large\r\nContent-Length: 43\r\n\r\n{\"code\":\"too_large\",\"detail\":\"it is large\"}, and "    \
    "more"

static void assert_refused(const struct upload_case *u, int rc)
{
    assert_int_equal(rc, HAUL_REFUSED);
    assert_int_equal(u->err.status, 413);
    assert_string_equal(u->err.code, "too_large");
}

/* Of /proc/self/pagemap, which begins with nothing but zeros. */
static void test_a_file_that_has_no_sendfile_is_copied(void **state)
{
    static const char zeros[64 << 10];
    struct upload_case u = {.file = large_new()};
    off_t at = 0;
    close(u.file.fd);
    u.file.fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    assert_true(u.file.fd >= 0);
    assert_int_equal(sendfile(STDOUT_FILENO, u.file.fd, &at, 1), -1);
    assert_refused(&u, upload(&u, REFUSAL, 0)); /* when all of it has come */
    assert_int_equal(u.told, BYTES);
    scripted_join(u.server);
    const char *body = strstr(scripted_request(u.server, 0), "\r\n\r\n");
    assert_non_null(body);
    assert_memory_equal(body + 4, zeros, sizeof(zeros));
    upload_end(&u);
}

/* A server that refuses says so while bytes still come, and takes no more of them. */
static void test_a_refusal_ends_the_sending(void **state)
{
    const struct step refusal = {REFUSAL, 0};
    struct upload_case u = {.file = large_new()};
    assert_refused(&u, upload_to(&u, scripted_start_hasty(&refusal, 1, true), (int64_t)BYTES));
    assert_true(u.told < (int64_t)BYTES);
    upload_end(&u);
}

/* As a library must: what the program does about signals is its own. */
static void test_a_connection_that_is_cut_is_no_signal(void **state)
{
    const struct step cut = {NULL, 0};
    struct upload_case u = {.file = large_new()};
    sigset_t waiting, blocked;
    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(upload_to(&u, scripted_start_hasty(&cut, 1, false), (int64_t)BYTES), HAUL_NETWORK);
    sigpending(&waiting);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    assert_false(sigismember(&waiting, SIGPIPE));
    assert_false(sigismember(&blocked, SIGPIPE));
    upload_end(&u);
}

static void test_a_file_that_shrinks_is_an_error(void **state)
{
    const struct step cut = {NULL, 0};
    struct upload_case u = {.file = large_new()};
    assert_int_equal(upload_to(&u, scripted_start(&cut, 1), (int64_t)BYTES + 1), HAUL_LOCAL);
    assert_non_null(strstr(u.err.message, "shorter"));
    upload_end(&u);
}

static void test_who_is_told_may_stop(void **state)
{
    struct upload_case u = {.file = large_new(), .stop_at = 1 << 20};
    assert_int_equal(upload(&u, NULL, 0), HAUL_ABORTED);
    assert_true(u.told < 4 << 20);
    upload_end(&u);
}

/* Nobody is there: the next server of the list gets all of it. */
static void test_the_next_server_is_asked(void **state)
{
    struct large file = large_new();
    AUTO_FREE char *answer = stored(&file, CLOSE), *urls = NULL;
    struct step nothing[1] = {{NULL, 0}}, steps[1] = {{answer, 0}};
    struct scripted *gone = scripted_start(nothing, 0), *s = scripted_start(steps, 1);
    struct haul_error err;
    char sha[SHA256_HEX_MAX];
    assert_true(asprintf(&urls, "%s,%s", scripted_url(gone), scripted_url(s)) > 0);
    scripted_free(gone);
    struct haul_client *c = haul_client_new(urls, NULL, &err);
    assert_int_equal(haul_upload(c, PATH, NULL, file.fd, (int64_t)BYTES, NULL, NULL, NULL, sha, &err), HAUL_OK);
    assert_string_equal(sha, file.sha);
    haul_client_free(c);
    scripted_free(s);
    large_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_request_is_as_libcurl_would_make_it),
        cmocka_unit_test(test_answers_of_every_shape),
        cmocka_unit_test(test_answers_that_are_none),
        cmocka_unit_test(test_after_such_an_answer_it_goes_by_libcurl),
        cmocka_unit_test(test_what_arrived_is_compared),
        cmocka_unit_test(test_a_file_that_has_no_sendfile_is_copied),
        cmocka_unit_test(test_a_refusal_ends_the_sending),
        cmocka_unit_test(test_a_connection_that_is_cut_is_no_signal),
        cmocka_unit_test(test_a_file_that_shrinks_is_an_error),
        cmocka_unit_test(test_who_is_told_may_stop),
        cmocka_unit_test(test_the_next_server_is_asked),
    };
    return cmocka_run_group_tests(tests, large_make, large_unmake);
}
