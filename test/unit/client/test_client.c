/* libhaul against scripted answers: errors understood, calls repeated, bytes checked and resumed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/auto.h"
#include "client/haul.h"
#include "server.h"
#include <fcntl.h>
#include <sys/mman.h>

#define OK_JSON                                                                                                        \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\nConnection: "                          \
    "close\r\n\r\n{\"ok\":true}"
/* SHA-256 and XXH3 (128 bits) of "hello world" */
#define HELLO_SUM "Haul-Body-Xxh128: df8d09e93f874900a99b8775cc15b6c7\r\n"
#define OTHER_SUM "Haul-Body-Xxh128: df8d09e93f874900a99b8775cc15b6c8\r\n"
#define OTHER_SHA "0000000000000000000000000000000000000000000000000000000000000000"
#define HELLO_SHA "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"

static struct haul_client *client(const struct scripted *s)
{
    struct haul_error err;
    struct haul_client *c = haul_client_new(scripted_url(s), "test", &err);
    assert_non_null(c);
    return c;
}

static int memory_file(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    if (text)
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static void assert_holds(int fd, const char *text)
{
    char got[256] = "";
    ssize_t n = pread(fd, got, sizeof(got) - 1, 0);
    assert_true(n >= 0);
    assert_string_equal(got, text);
}

static void test_urls_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {
        "", "127.0.0.1:8420", "ftp://x", "http://", "http://u:p@h", "http://h/?q=1", "http://h#f", "file:///etc"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct haul_error err;
        assert_null(haul_client_new(bad[i], NULL, &err));
        assert_int_equal(err.rc, HAUL_LOCAL);
        assert_non_null(strstr(err.message, "http://127.0.0.1:8420"));
    }
}

static void test_call_sends_and_returns_json(void **state)
{
    struct step steps[] = {{OK_JSON, 0}};
    struct scripted *s = scripted_start(steps, 1);
    struct haul_client *c = client(s);
    struct haul_error err;
    AUTO_FREE char *text = NULL;
    assert_int_equal(haul_call(c, "POST", "/v1/x?y=1", "{\"a\":1}", "1.token", 0, &text, &err), HAUL_OK);
    assert_string_equal(text, "{\"ok\":true}");
    scripted_join(s);
    const char *r = scripted_request(s, 0);
    assert_int_equal(strncmp(r, "POST /v1/x?y=1 HTTP/1.1\r\n", 25), 0);
    assert_non_null(strstr(r, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(r, "\r\nHaul-Token: 1.token\r\n"));
    assert_non_null(strstr(r, "\r\n\r\n{\"a\":1}"));
    assert_null(strstr(r, "Expect"));
    assert_null(strstr(r, "Idempotency-Key"));
    haul_client_free(c);
    scripted_free(s);
}

static void test_problem_is_read(void **state)
{
    struct step steps[] = {
        {"HTTP/1.1 409 Conflict\r\nContent-Type: application/problem+json\r\nConnection: close\r\n\r\n"
         "{\"type\":\"urn:haul:problem:stale_token\",\"title\":\"t\",\"status\":409,\"detail\":\"the lease is over\","
         "\"code\":\"stale_token\",\"field\":\"token\"}",
         0}};
    struct scripted *s = scripted_start(steps, 1);
    struct haul_client *c = client(s);
    struct haul_error err;
    assert_int_equal(haul_call_repeated(c, "POST", "/v1/x", "{}", NULL, "k", 5, NULL, &err), HAUL_REFUSED);
    assert_int_equal(err.status, 409);
    assert_string_equal(err.code, "stale_token");
    assert_string_equal(err.field, "token");
    assert_string_equal(err.message, "the lease is over");
    assert_false(err.repeatable);
    haul_client_free(c);
    scripted_free(s);
}

static void test_answer_without_a_problem_still_says_something(void **state)
{
    struct step steps[] = {{"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>", 0}};
    struct scripted *s = scripted_start(steps, 1);
    struct haul_client *c = client(s);
    struct haul_error err;
    assert_int_equal(haul_call(c, "GET", "/x", NULL, NULL, 0, NULL, &err), HAUL_REFUSED);
    assert_int_equal(err.status, 404);
    assert_string_equal(err.code, "http_404");
    assert_non_null(strstr(err.message, "404"));
    haul_client_free(c);
    scripted_free(s);
}

static void test_redirect_is_not_followed(void **state)
{
    struct step steps[] = {
        {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 0}};
    struct scripted *s = scripted_start(steps, 1);
    struct haul_client *c = client(s);
    struct haul_error err;
    assert_int_equal(haul_call(c, "GET", "/x", NULL, NULL, 0, NULL, &err), HAUL_REFUSED);
    assert_int_equal(err.status, 302);
    haul_client_free(c);
    scripted_free(s);
}

static void test_busy_and_unknown_are_repeated_with_the_same_key(void **state)
{
    struct step steps[] = {
        {"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n{\"code\":\"busy\",\"detail\":\"later\"}", 0},
        {NULL, 0},
        {OK_JSON, 0},
    };
    struct scripted *s = scripted_start(steps, 3);
    struct haul_client *c = client(s);
    struct haul_error err;
    AUTO_FREE char *text = NULL;
    assert_int_equal(haul_call_repeated(c, "POST", "/v1/jobs", "{}", NULL, "key-1", 5, &text, &err), HAUL_OK);
    scripted_join(s);
    for (size_t i = 0; i < 3; i++)
        assert_non_null(strstr(scripted_request(s, i), "\r\nIdempotency-Key: key-1\r\n"));
    haul_client_free(c);
    scripted_free(s);
}

static void test_tries_are_bounded(void **state)
{
    struct step busy = {"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n", 0};
    struct step steps[] = {busy, busy};
    struct scripted *s = scripted_start(steps, 2);
    struct haul_client *c = client(s);
    struct haul_error err;
    assert_int_equal(haul_call_repeated(c, "GET", "/x", NULL, NULL, NULL, 2, NULL, &err), HAUL_REFUSED);
    assert_int_equal(err.status, 503);
    assert_true(err.repeatable);
    haul_client_free(c);
    scripted_free(s);
}

static void test_nobody_there(void **state)
{
    struct haul_error err;
    struct haul_client *c = haul_client_new("http://127.0.0.1:1/", NULL, &err);
    assert_int_equal(haul_call(c, "GET", "/x", NULL, NULL, 0, NULL, &err), HAUL_NETWORK);
    assert_true(err.repeatable);
    assert_int_equal(err.status, 0);
    assert_non_null(strstr(err.message, "127.0.0.1:1"));
    haul_client_free(c);
}

static void test_upload_is_checked(void **state)
{
    struct step steps[] = {
        {"HTTP/1.1 201 Created\r\nConnection: "
         "close\r\n\r\n{\"ref\":\"blob:0198c0de-0000-7000-8000-000000000000\",\"size\":11,\"sha256\":\"" HELLO_SHA
         "\"}",
         0},
        {"HTTP/1.1 201 Created\r\nConnection: "
         "close\r\n\r\n{\"ref\":\"blob:0198c0de-0000-7000-8000-000000000000\",\"size\":10,\"sha256\":\"" HELLO_SHA
         "\"}",
         0},
    };
    struct scripted *s = scripted_start(steps, 2);
    struct haul_client *c = client(s);
    struct haul_error err;
    char ref[64], sha[65];
    AUTO_FD int fd = memory_file("hello world");
    assert_int_equal(haul_upload(c, NULL, NULL, fd, 11, NULL, NULL, ref, sha, &err), HAUL_OK);
    assert_string_equal(ref, "blob:0198c0de-0000-7000-8000-000000000000");
    assert_string_equal(sha, HELLO_SHA);
    assert_int_equal(haul_upload(c, "/v1/jobs/a/attempts/1/outputs/o", "1.t", fd, 11, NULL, NULL, ref, sha, &err),
                     HAUL_REFUSED);
    assert_string_equal(err.code, "corrupt");
    scripted_join(s);
    assert_int_equal(strncmp(scripted_request(s, 0), "POST /v1/blobs ", 15), 0);
    assert_non_null(strstr(scripted_request(s, 0), "\r\n\r\nhello world"));
    assert_int_equal(strncmp(scripted_request(s, 1), "PUT /v1/jobs/a/attempts/1/outputs/o ", 36), 0);
    haul_client_free(c);
    scripted_free(s);
}

static void test_file_that_shrinks_is_an_error(void **state)
{
    struct step steps[] = {{NULL, 0}};
    struct scripted *s = scripted_start(steps, 1);
    struct haul_client *c = client(s);
    struct haul_error err;
    AUTO_FD int fd = memory_file("hello");
    assert_int_equal(haul_upload(c, NULL, NULL, fd, 11, NULL, NULL, NULL, NULL, &err), HAUL_LOCAL);
    assert_non_null(strstr(err.message, "shorter"));
    haul_client_free(c);
    scripted_free(s);
}

#define UPLOAD   "/v1/uploads/0198c0de-0000-7000-8000-000000000000"
#define CLOSE    "Tus-Resumable: 1.0.0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
#define CREATED  "HTTP/1.1 201 Created\r\nLocation: " UPLOAD "\r\n" CLOSE
#define STANDS   "HTTP/1.1 200 OK\r\nUpload-Offset: "
#define FINISHED "Haul-Blob-Ref: blob:0198c0de-0000-7000-8000-000000000000\r\nHaul-Sha256: " HELLO_SHA "\r\n" CLOSE
#define DONE     "HTTP/1.1 204 No Content\r\nUpload-Offset: 11\r\n" FINISHED

/** One resumable upload of "hello world" against what the server says. */
static int resumable(const struct step *steps, size_t n, const char *upload, struct scripted **ret,
                     struct haul_error *err)
{
    struct scripted *s = scripted_start(steps, n);
    struct haul_client *c = client(s);
    struct haul_resume resume = {.at_least = 1};
    char ref[64] = "";
    AUTO_FD int fd = memory_file("hello world");
    snprintf(resume.upload, sizeof(resume.upload), "%s", upload);
    int rc = haul_upload_file(c, fd, 11, &resume, NULL, NULL, ref, NULL, err);
    scripted_join(s);
    if (rc == HAUL_OK)
        assert_string_equal(ref, "blob:0198c0de-0000-7000-8000-000000000000");
    if (rc == HAUL_OK)
        assert_string_equal(resume.upload, "");
    haul_client_free(c);
    *ret = s;
    return rc;
}

static void assert_asked(const struct scripted *s, size_t i, const char *start, const char *header, const char *body)
{
    const char *request = scripted_request(s, i), *end = strstr(request, "\r\n\r\n");
    if (strncmp(request, start, strlen(start)) != 0 || (header && !strstr(request, header)) || !end ||
        strcmp(end + 4, body) != 0)
        fail_msg("request %zu: %s", i, request);
}

static void test_P19_an_upload_goes_on_after_cuts(void **state)
{
    struct step steps[] = {{CREATED, 0}, {NULL, 0}, {STANDS "6\r\n" CLOSE, 0}, {NULL, 0}, {STANDS "3\r\n" CLOSE, 0},
                           {DONE, 0}};
    struct scripted *s;
    struct haul_error err;
    assert_int_equal(resumable(steps, 6, "", &s, &err), HAUL_OK);
    assert_asked(s, 0, "POST /v1/uploads ", "\r\nUpload-Length: 11\r\n", "");
    assert_asked(s, 1, "PATCH " UPLOAD " ", "\r\nUpload-Offset: 0\r\n", "hello world");
    assert_asked(s, 2, "HEAD " UPLOAD " ", "\r\nTus-Resumable: 1.0.0\r\n", "");
    assert_asked(s, 3, "PATCH " UPLOAD " ", "\r\nUpload-Offset: 6\r\n", "world");
    /* after a power cut there may be less */
    assert_asked(s, 5, "PATCH " UPLOAD " ", "\r\nUpload-Offset: 3\r\n", "lo world");
    scripted_free(s);
}

static void test_P19_an_upload_of_an_earlier_run_goes_on(void **state)
{
    struct step there[] = {{STANDS "6\r\n" CLOSE, 0}, {DONE, 0}}, whole[] = {{STANDS "11\r\n" FINISHED, 0}};
    struct step gone[] = {{"HTTP/1.1 404 Not Found\r\n" CLOSE, 0}, {CREATED, 0}, {DONE, 0}};
    struct step no_id[] = {{CREATED, 0}, {DONE, 0}};
    struct scripted *s;
    struct haul_error err;
    assert_int_equal(resumable(there, 2, UPLOAD, &s, &err), HAUL_OK);
    assert_asked(s, 1, "PATCH " UPLOAD " ", "\r\nUpload-Offset: 6\r\n", "world");
    scripted_free(s);
    assert_int_equal(resumable(whole, 1, UPLOAD, &s, &err), HAUL_OK);
    scripted_free(s);
    assert_int_equal(resumable(gone, 3, UPLOAD, &s, &err), HAUL_OK);
    assert_asked(s, 2, "PATCH " UPLOAD " ", "\r\nUpload-Offset: 0\r\n", "hello world");
    scripted_free(s);
    assert_int_equal(resumable(no_id, 2, "/v1/jobs", &s, &err), HAUL_OK);
    scripted_free(s);
}

static void test_an_upload_beside_another_writer_or_with_a_lost_answer(void **state)
{
    struct step steps[] = {
        {CREATED, 0},
        {"HTTP/1.1 409 Conflict\r\nRetry-After: 0\r\n" CLOSE, 0}, /* another one writes */
        {"HTTP/1.1 503 Service Unavailable\r\n" CLOSE, 0},        /* its last byte is being stored */
        {STANDS "11\r\n" FINISHED, 0},
    };
    struct scripted *s;
    struct haul_error err;
    assert_int_equal(resumable(steps, 4, "", &s, &err), HAUL_OK);
    scripted_free(s);
}

static void test_an_upload_that_cannot_go_on(void **state)
{
    static const char other[] =
        "HTTP/1.1 204 No Content\r\nUpload-Offset: 11\r\n"
        "Haul-Blob-Ref: blob:0198c0de-0000-7000-8000-000000000000\r\n"
        "Haul-Sha256: 0000000000000000000000000000000000000000000000000000000000000000\r\n" CLOSE;
    struct step changed[] = {{CREATED, 0}, {other, 0}}, refused[] = {{CREATED, 0}, {"HTTP/1.1 422 No\r\n" CLOSE, 0}};
    struct step nonsense[] = {{STANDS "12\r\n" CLOSE, 0}},
                nowhere[] = {{"HTTP/1.1 201 Created\r\nLocation: /x\r\n" CLOSE, 0}};
    struct step forgets[10];
    struct scripted *s;
    struct haul_error err;
    assert_int_equal(resumable(changed, 2, "", &s, &err), HAUL_REFUSED);
    assert_non_null(strstr(err.message, "changed while it was sent"));
    scripted_free(s);
    assert_int_equal(resumable(refused, 2, "", &s, &err), HAUL_REFUSED);
    assert_int_equal(err.status, 422);
    scripted_free(s);
    assert_int_equal(resumable(nonsense, 1, UPLOAD, &s, &err), HAUL_REFUSED);
    assert_string_equal(err.code, "corrupt");
    scripted_free(s);
    assert_int_equal(resumable(nowhere, 1, "", &s, &err), HAUL_REFUSED);
    assert_string_equal(err.code, "corrupt");
    scripted_free(s);
    for (size_t i = 0; i < ARRAY_LEN(forgets); i++)
        forgets[i] = (struct step){i % 2 ? "HTTP/1.1 404 Not Found\r\n" CLOSE : CREATED, 0};
    assert_int_equal(resumable(forgets, ARRAY_LEN(forgets), "", &s, &err), HAUL_REFUSED);
    assert_non_null(strstr(err.message, "forgot"));
    scripted_free(s);
}

#define STORED(sum, sha)                                                                                               \
    "HTTP/1.1 201 Created\r\n" sum                                                                                     \
    "Connection: close\r\n\r\n{\"ref\":\"blob:0198c0de-0000-7000-8000-000000000000\",\"size\":11,\"sha256\":\"" sha    \
    "\"}"
#define DONE_AS(sum, sha)                                                                                              \
    "HTTP/1.1 204 No Content\r\nUpload-Offset: 11\r\n" sum                                                             \
    "Haul-Blob-Ref: blob:0198c0de-0000-7000-8000-000000000000\r\nHaul-Sha256: " sha "\r\n" CLOSE

/* Where the answer has the sum of what was sent, the file is not read again for its SHA-256, and the server's is believed. Else it is. */
static void test_what_arrived_is_known_by_its_sum(void **state)
{
    struct step whole[] = {
        {STORED(HELLO_SUM, OTHER_SHA), 0}, {STORED(OTHER_SUM, HELLO_SHA), 0}, {STORED(OTHER_SUM, OTHER_SHA), 0}};
    static const struct {
        const char *answer, *sha; /* NULL: refused */
    } rows[] = {{DONE_AS(HELLO_SUM, OTHER_SHA), OTHER_SHA},
                {DONE_AS(OTHER_SUM, HELLO_SHA), HELLO_SHA},
                {DONE_AS(OTHER_SUM, OTHER_SHA), NULL},
                {DONE_AS("", OTHER_SHA), NULL}};
    struct haul_error err;
    char sha[65];
    AUTO_FD int fd = memory_file("hello world");
    struct scripted *s = scripted_start(whole, 3);
    struct haul_client *c = client(s);
    assert_int_equal(haul_upload(c, "/v1/o", NULL, fd, 11, NULL, NULL, NULL, sha, &err), HAUL_OK);
    assert_string_equal(sha, OTHER_SHA);
    assert_int_equal(haul_upload(c, "/v1/o", NULL, fd, 11, NULL, NULL, NULL, sha, &err), HAUL_OK);
    assert_string_equal(sha, HELLO_SHA);
    assert_int_equal(haul_upload(c, "/v1/o", NULL, fd, 11, NULL, NULL, NULL, sha, &err), HAUL_REFUSED);
    assert_string_equal(err.code, "corrupt");
    haul_client_free(c);
    scripted_free(s);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct step steps[] = {{CREATED, 0}, {rows[i].answer, 0}};
        struct haul_resume resume = {.at_least = 1};
        s = scripted_start(steps, 2);
        c = client(s);
        const int rc = haul_upload_file(c, fd, 11, &resume, NULL, NULL, NULL, sha, &err);
        assert_int_equal(rc, rows[i].sha ? HAUL_OK : HAUL_REFUSED);
        assert_string_equal(rc == HAUL_OK ? sha : err.code, rows[i].sha ? rows[i].sha : "corrupt");
        haul_client_free(c);
        scripted_free(s);
    }
}

/* The sum speaks of one request: where there was another one before it, all of the file is held against the SHA-256. */
static void test_the_sum_of_a_later_request_proves_nothing(void **state)
{
    struct step cut[] = {{CREATED, 0}, {NULL, 0}, {STANDS "0\r\n" CLOSE, 0}, {DONE_AS(HELLO_SUM, OTHER_SHA), 0}};
    struct step rest[] = {{STANDS "6\r\n" CLOSE, 0}, {DONE_AS(HELLO_SUM, OTHER_SHA), 0}};
    struct scripted *s;
    struct haul_error err;
    assert_int_equal(resumable(cut, 4, "", &s, &err), HAUL_REFUSED);
    assert_string_equal(err.code, "corrupt");
    scripted_free(s);
    assert_int_equal(resumable(rest, 2, UPLOAD, &s, &err), HAUL_REFUSED);
    assert_string_equal(err.code, "corrupt");
    scripted_free(s);
}

static void test_a_server_without_resumable_uploads_gets_the_file_in_one_request(void **state)
{
    struct step steps[] = {
        {"HTTP/1.1 404 Not Found\r\n" CLOSE, 0},
        {"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n{\"ref\":\"blob:0198c0de-0000-7000-8000-000000000000\","
         "\"size\":11,\"sha256\":\"" HELLO_SHA "\"}",
         0},
    };
    struct scripted *s;
    struct haul_error err;
    assert_int_equal(resumable(steps, 2, "", &s, &err), HAUL_OK);
    assert_asked(s, 1, "POST /v1/blobs ", NULL, "hello world");
    scripted_free(s);
}

#define BLOB "blob:0198c0de-0000-7000-8000-000000000000"
#define TAG  "ETag: \"" HELLO_SHA "\"\r\nConnection: close\r\n"

static void test_download_resumes_after_a_cut(void **state)
{
    struct step steps[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n" TAG "\r\nhello", 0},
        {"HTTP/1.1 206 Partial Content\r\nContent-Length: 6\r\nContent-Range: bytes 5-10/11\r\n" TAG "\r\n wo", 0},
        /* a server that ignores ranges sends all of it: what is there already is passed over */
        {"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n" TAG "\r\nhello world", 0},
    };
    struct scripted *s = scripted_start(steps, 3);
    struct haul_client *c = client(s);
    struct haul_error err;
    int64_t size = 0;
    AUTO_FD int fd = memory_file(NULL);
    int rc = haul_download(c, BLOB, fd, NULL, NULL, &size, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(rc, HAUL_OK);
    assert_int_equal(size, 11);
    assert_holds(fd, "hello world");
    scripted_join(s);
    assert_int_equal(strncmp(scripted_request(s, 0), "GET /v1/blobs/0198c0de-0000-7000-8000-000000000000 ", 51), 0);
    assert_non_null(strstr(scripted_request(s, 1), "\r\nRange: bytes=5-\r\n"));
    assert_non_null(strstr(scripted_request(s, 1), "\r\nIf-Range: \"" HELLO_SHA "\"\r\n"));
    assert_non_null(strstr(scripted_request(s, 2), "\r\nRange: bytes=8-\r\n"));
    haul_client_free(c);
    scripted_free(s);
}

#define WRONG "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n" TAG "\r\nhello w0rld"

/* The client looks at all of it, and says so; when it sees another hash, it asks the server to look. */
static void test_download_with_a_wrong_hash_fails(void **state)
{
    struct step steps[] = {
        {WRONG, 0},
        {"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/11\r\nContent-Length: 1\r\n" TAG "\r\nh", 0},
        {WRONG, 0},
        {"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\n"
         "{\"code\":\"corrupt\",\"detail\":\"blob 7 is damaged\"}",
         0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\nhello world", 0}};
    struct scripted *s = scripted_start(steps, ARRAY_LEN(steps));
    struct haul_client *c = client(s);
    struct haul_error err;
    AUTO_FD int fd = memory_file(NULL);
    assert_int_equal(haul_download(c, BLOB, fd, NULL, NULL, NULL, &err), HAUL_REFUSED);
    assert_string_equal(err.code, "corrupt");
    assert_non_null(strstr(err.message, HELLO_SHA));
    assert_int_equal(haul_download(c, BLOB, fd, NULL, NULL, NULL, &err), HAUL_REFUSED);
    assert_string_equal(err.code, "corrupt");
    assert_string_equal(err.message, "blob 7 is damaged");
    assert_int_equal(haul_download(c, BLOB, fd, NULL, NULL, NULL, &err),
                     HAUL_REFUSED); /* no ETag: nothing to check against */
    assert_string_equal(err.code, "corrupt");
    scripted_join(s);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        const char *r = scripted_request(s, i);
        const bool asks = i == 1 || i == 3;
        assert_int_equal(strstr(r, "\r\nRange: bytes=0-0\r\n") != NULL, asks);
        assert_int_equal(strstr(r, "\r\nHaul-Verify: client\r\n") != NULL, !asks);
    }
    haul_client_free(c);
    scripted_free(s);
}

#define SUM       "Haul-Xxh128: df8d09e93f874900a99b8775cc15b6c7\r\n"
#define WRONG_SUM "Haul-Xxh128: df8d09e93f874900a99b8775cc15b6c8\r\n"
#define OTHER_TAG "ETag: \"" OTHER_SHA "\"\r\nConnection: close\r\n"

/* A sum of all bytes that the first answer tells is what they are held against, and costs less than the hash that the ETag is. */
static void test_download_is_held_against_its_sum(void **state)
{
    struct step steps[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n" SUM OTHER_TAG "\r\nhello world", 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n" SUM OTHER_TAG "\r\nhello",
         0}, /* cut; the rest from one that tells none */
        {"HTTP/1.1 206 Partial Content\r\nContent-Length: 6\r\nContent-Range: bytes 5-10/11\r\n" OTHER_TAG "\r\n world",
         0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n" TAG "\r\nhello",
         0}, /* the other way round: it was too late for a sum */
        {"HTTP/1.1 206 Partial Content\r\nContent-Length: 6\r\nContent-Range: bytes 5-10/11\r\n" WRONG_SUM TAG
         "\r\n world",
         0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nHaul-Xxh128: df8d09e93f874900\r\n" TAG "\r\nhello world",
         0}, /* no sum */
        {"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n" WRONG_SUM TAG "\r\nhello world", 0},
        {"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/11\r\nContent-Length: 1\r\n" TAG "\r\nh", 0},
    };
    struct scripted *s = scripted_start(steps, ARRAY_LEN(steps));
    struct haul_client *c = client(s);
    struct haul_error err;
    for (int i = 0; i < 4; i++) {
        AUTO_FD int fd = memory_file(NULL);
        assert_int_equal(haul_download(c, BLOB, fd, NULL, NULL, NULL, &err), HAUL_OK);
        assert_holds(fd, "hello world");
    }
    AUTO_FD int fd = memory_file(NULL);
    assert_int_equal(haul_download(c, BLOB, fd, NULL, NULL, NULL, &err), HAUL_REFUSED);
    assert_string_equal(err.code, "corrupt");
    assert_non_null(strstr(err.message, "df8d09e93f874900a99b8775cc15b6c8"));
    scripted_join(s);
    assert_non_null(strstr(scripted_request(s, 7), "\r\nRange: bytes=0-0\r\n"));
    haul_client_free(c);
    scripted_free(s);
}

static void test_download_of_other_contents_is_not_joined(void **state)
{
    struct step steps[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n" TAG "\r\nhello", 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nETag: \"0000\"\r\nConnection: close\r\n\r\nhello_world", 0},
    };
    struct scripted *s = scripted_start(steps, 2);
    struct haul_client *c = client(s);
    struct haul_error err;
    AUTO_FD int fd = memory_file(NULL);
    assert_int_equal(haul_download(c, BLOB, fd, NULL, NULL, NULL, &err), HAUL_REFUSED);
    assert_string_equal(err.code, "corrupt");
    assert_holds(fd, "hello");
    haul_client_free(c);
    scripted_free(s);
}

static int stop(void *arg, int64_t done, int64_t total)
{
    return 1;
}

static void test_progress_can_stop_and_local_trouble_is_local(void **state)
{
    struct step steps[] = {{"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n" TAG "\r\nhello world", 0}};
    struct scripted *s = scripted_start(steps, 1);
    struct haul_client *c = client(s);
    struct haul_error err;
    AUTO_FD int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(haul_download(c, BLOB, full, NULL, NULL, NULL, &err), HAUL_LOCAL);
    assert_string_equal(err.code, "no_space");
    assert_int_equal(haul_download(c, "blob:nonsense", full, NULL, NULL, NULL, &err), HAUL_LOCAL);
    haul_client_free(c);
    scripted_free(s);
    s = scripted_start(steps, 1);
    c = client(s);
    AUTO_FD int fd = memory_file(NULL);
    assert_int_equal(haul_download(c, BLOB, fd, stop, NULL, NULL, &err), HAUL_ABORTED);
    haul_client_free(c);
    scripted_free(s);
}

static void test_log_append(void **state)
{
    struct step steps[] = {{"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"next_offset\":107}", 0}};
    struct scripted *s = scripted_start(steps, 1);
    struct haul_client *c = client(s);
    struct haul_error err;
    int64_t next = 0;
    assert_int_equal(haul_log_append(c, "j", 2, "2.t", 100, 7, "a\0b\nc\xff!", 7, &next, &err), HAUL_OK);
    assert_int_equal(next, 107);
    scripted_join(s);
    assert_int_equal(strncmp(scripted_request(s, 0), "POST /v1/jobs/j/attempts/2/log?offset=100&skipped=7 ", 52), 0);
    assert_non_null(strstr(scripted_request(s, 0), "\r\nContent-Length: 7\r\n"));
    haul_client_free(c);
    scripted_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_that_are_none_are_refused),
        cmocka_unit_test(test_call_sends_and_returns_json),
        cmocka_unit_test(test_problem_is_read),
        cmocka_unit_test(test_answer_without_a_problem_still_says_something),
        cmocka_unit_test(test_redirect_is_not_followed),
        cmocka_unit_test(test_busy_and_unknown_are_repeated_with_the_same_key),
        cmocka_unit_test(test_tries_are_bounded),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_upload_is_checked),
        cmocka_unit_test(test_file_that_shrinks_is_an_error),
        cmocka_unit_test(test_P19_an_upload_goes_on_after_cuts),
        cmocka_unit_test(test_P19_an_upload_of_an_earlier_run_goes_on),
        cmocka_unit_test(test_an_upload_beside_another_writer_or_with_a_lost_answer),
        cmocka_unit_test(test_an_upload_that_cannot_go_on),
        cmocka_unit_test(test_what_arrived_is_known_by_its_sum),
        cmocka_unit_test(test_the_sum_of_a_later_request_proves_nothing),
        cmocka_unit_test(test_a_server_without_resumable_uploads_gets_the_file_in_one_request),
        cmocka_unit_test(test_download_resumes_after_a_cut),
        cmocka_unit_test(test_download_with_a_wrong_hash_fails),
        cmocka_unit_test(test_download_is_held_against_its_sum),
        cmocka_unit_test(test_download_of_other_contents_is_not_joined),
        cmocka_unit_test(test_progress_can_stop_and_local_trouble_is_local),
        cmocka_unit_test(test_log_append),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
