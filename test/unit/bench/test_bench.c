/* bench's parts: quantiles, requests patched in place, claims read without a tree, and the reader of answers, cut anywhere. */
#include "base/auto.h"
#include "base/json.h"
#include "bench/form.h"
#include "bench/latency.h"
#include "bench/wire.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <fcntl.h>

static const struct names names = {
    .host = "127.0.0.1:8420", .type = "bench_v1", .queue = "bench-1", .run = "0123456789abcdef"};

/* ---- quantiles ---- */

static void test_quantiles_are_within_2_percent(void **state)
{
    struct latency *l = calloc(1, sizeof(*l));
    assert_non_null(l);
    assert_int_equal(latency_at(l, 0.5), 0);
    for (int64_t i = 1; i <= 100000; i++)
        latency_add(l, i * 1000);
    static const double shares[] = {0.01, 0.5, 0.95, 0.99, 1};
    for (size_t i = 0; i < ARRAY_LEN(shares); i++) {
        double exact = shares[i] * 1e8, got = (double)latency_at(l, shares[i]);
        assert_true(got >= exact && got <= exact * 1.016 + 1);
    }
    assert_int_equal(l->max_ns, 100000000);
    free(l);
}

static void test_every_size_has_its_bucket(void **state)
{
    struct latency *l = calloc(1, sizeof(*l));
    assert_non_null(l);
    for (int shift = 0; shift < 63; shift++)
        for (int d = -1; d <= 1; d++) {
            int64_t v = (INT64_C(1) << shift) + d;
            *l = (struct latency){0};
            latency_add(l, v);
            latency_add(l, INT64_MAX);
            int64_t at = latency_at(l, 0.5), most = INT64_C(3600) * 1000000000;
            assert_true(at >= MIN(v, most) && at <= MIN(v, most) + MIN(v, most) / 63);
        }
    *l = (struct latency){0};
    latency_add(l, -5); /* a clock that cannot go back did */
    assert_int_equal(latency_at(l, 1), 0);
    free(l);
}

static void test_quantiles_of_two_together(void **state)
{
    struct latency *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
    assert_non_null(a);
    assert_non_null(b);
    latency_add(a, 10);
    latency_add(b, 30);
    latency_merge(a, b);
    assert_int_equal(a->n, 2);
    assert_int_equal(latency_at(a, 0.5), 10);
    assert_int_equal(latency_at(a, 1), 30);
    free(a);
    free(b);
}

/* ---- requests ---- */

static json_t *body_of(const struct buf *b)
{
    struct err err = {0};
    json_t *doc = NULL;
    const char *blank = strstr(b->data, "\r\n\r\n"), *length = strstr(b->data, "Content-Length: ");
    assert_non_null(blank);
    assert_non_null(length);
    assert_int_equal(strtoul(length + 16, NULL, 10), b->len - (size_t)(blank + 4 - b->data));
    assert_int_equal(json_parse(blank + 4, strlen(blank + 4), &doc, &err), ERR_OK);
    return doc;
}

static void test_a_submission_is_whole_whatever_is_patched_in(void **state)
{
    struct form f;
    struct err err = {0};
    assert_int_equal(form_init(&f, &names, 1, &err), ERR_OK);
    form_fill(&f, 1234567, UINT64_C(9223372036854775807));
    assert_non_null(strstr(f.text.data, "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:8420\r\n"));
    assert_non_null(strstr(f.text.data, "\r\nIdempotency-Key: 0123456789abcdef0000000001234567\r\n"));
    json_t *doc = body_of(&f.text), *payload = json_object_get(doc, "payload");
    assert_string_equal(json_string_value(json_object_get(doc, "task_type")), "bench_v1");
    assert_string_equal(json_string_value(json_object_get(doc, "queue")), "bench-1");
    assert_string_equal(json_string_value(json_object_get(payload, "url")), "s3://bucket/clip-0001234567.mov");
    assert_string_equal(json_string_value(json_object_get(payload, "bench")), "0123456789abcdef-9223372036854775807");
    json_decref(doc);
    form_release(&f);
}

static void test_a_batch_has_so_many_jobs_each_its_own(void **state)
{
    static const unsigned batches[] = {2, 10, 1000};
    for (size_t k = 0; k < ARRAY_LEN(batches); k++) {
        struct form f;
        struct err err = {0};
        assert_int_equal(form_init(&f, &names, batches[k], &err), ERR_OK);
        form_fill(&f, 7, 1);
        form_fill(&f, 9999, 2); /* nothing of the one before is left */
        assert_non_null(strstr(f.text.data, "POST /v1/jobs:batch HTTP/1.1\r\n"));
        json_t *doc = body_of(&f.text), *jobs = json_object_get(doc, "jobs");
        assert_int_equal(json_array_size(jobs), batches[k]);
        for (unsigned i = 0; i < batches[k]; i++) {
            char url[64];
            const json_t *payload = json_object_get(json_array_get(jobs, i), "payload");
            snprintf(url, sizeof(url), "s3://bucket/clip-%010u.mov", 9999 + i);
            assert_string_equal(json_string_value(json_object_get(payload, "url")), url);
            assert_string_equal(json_string_value(json_object_get(payload, "bench")),
                                "0123456789abcdef-0000000000000000002");
        }
        json_decref(doc);
        form_release(&f);
    }
}

static void test_a_workers_calls_are_whole(void **state)
{
    struct buf b;
    struct claim c = {
        .job_id = "01936d5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f", .token = "3.5f0c8e1d2b3a49586776859403a2b1c0", .attempt = 3};
    buf_init(&b, 65536);
    lease_write(&b, &names, "01936d5e-0000-7123-8456-5a6b7c8d9e0f", 5, 64, "1s");
    json_t *doc = body_of(&b);
    assert_int_equal(json_integer_value(json_object_get(doc, "slots")), 64);
    json_decref(doc);
    complete_write(&b, &names, &c);
    assert_non_null(
        strstr(b.data, "POST /v1/jobs/01936d5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f/attempts/3/complete HTTP/1.1\r\n"));
    assert_non_null(strstr(b.data, "\r\nHaul-Token: 3.5f0c8e1d2b3a49586776859403a2b1c0\r\n"));
    doc = body_of(&b);
    assert_true(json_is_array(json_object_get(doc, "outputs")));
    json_decref(doc);
    buf_release(&b);
}

/* ---- claims ---- */

#define ID_1 "01936d5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f"
#define ID_2 "01936d5e-7a2b-7c3d-8e4f-5a6b7c8d9e10"
static const char two[] =
    "{\"jobs\":[{\"job_id\":\"" ID_1 "\",\"attempt\":12,\"token\":\"12.ab\",\"payload\":{\"a\":[1,{\"b\":\"}]\\\"\"}],"
    "\"token\":\"no\",\"bench\":\"0123456789abcdef-0000000000000000042\"},\"labels\":{},\"timeout_s\":null},"
    "{\"inputs\":[],\"token\":\"1.cd\",\"payload\":\"text, \\\\\",\"attempt\":1,\"job_id\":\"" ID_2 "\"}]}";

static void test_claims_are_read_past_any_payload(void **state)
{
    struct claim c;
    size_t pos = 0;
    assert_int_equal(claim_next(two, sizeof(two) - 1, &names, &pos, &c), 1);
    assert_string_equal(c.job_id, ID_1);
    assert_string_equal(c.token, "12.ab");
    assert_int_equal(c.attempt, 12);
    assert_int_equal(c.stamp_ns, 42);
    assert_int_equal(claim_next(two, sizeof(two) - 1, &names, &pos, &c), 1);
    assert_string_equal(c.job_id, ID_2);
    assert_string_equal(c.token, "1.cd");
    assert_int_equal(c.attempt, 1);
    assert_int_equal(c.stamp_ns, 0); /* another's job */
    assert_int_equal(claim_next(two, sizeof(two) - 1, &names, &pos, &c), 0);
    pos = 0;
    assert_int_equal(claim_next("{\"jobs\":[]}", 11, &names, &pos, &c), 0);
}

/* Cut anywhere, on a heap block of just that size: a sanitizer sees a step too far. */
static void test_claims_cut_short_are_refused(void **state)
{
    for (size_t n = 0; n < sizeof(two) - 3; n++) {
        char *cut = malloc(n + 1);
        struct claim c;
        size_t pos = 0;
        int rc;
        assert_non_null(cut);
        memcpy(cut, two, n);
        while ((rc = claim_next(cut, n, &names, &pos, &c)) == 1)
            ;
        assert_int_equal(rc, -1);
        free(cut);
    }
}

/* ---- answers ---- */

struct pair {
    struct wire w;
    int server;
};

static void pair_open(struct pair *p)
{
    int ends[2];
    wire_init(&p->w);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    p->w.fd = ends[0];
    p->server = ends[1];
}

static void pair_close(struct pair *p)
{
    wire_release(&p->w);
    close(p->server);
}

static void say(struct pair *p, const char *text, size_t n)
{
    assert_int_equal(write(p->server, text, n), n);
}

static void test_an_answer_may_come_in_pieces(void **state)
{
    static const char text[] =
        "HTTP/1.1 503 Busy\r\nX-Content-Length: 7\r\ncontent-length:  5\r\nConnection: close\r\n\r\nhello";
    for (size_t cut = 1; cut < sizeof(text) - 1; cut++) {
        struct pair p;
        struct answer a;
        struct err err = {0};
        bool whole = true;
        pair_open(&p);
        say(&p, text, cut);
        assert_int_equal(wire_receive(&p.w, &a, &whole, &err), ERR_OK);
        assert_false(whole);
        say(&p, text + cut, sizeof(text) - 1 - cut);
        assert_int_equal(wire_receive(&p.w, &a, &whole, &err), ERR_OK);
        assert_true(whole);
        assert_int_equal(a.status, 503);
        assert_true(a.close);
        assert_int_equal(a.n, 5);
        assert_memory_equal(a.body, "hello", 5);
        pair_close(&p);
    }
}

static void test_a_long_answer(void **state)
{
    struct pair p;
    struct answer a;
    struct err err = {0};
    bool whole = false;
    char piece[1000];
    memset(piece, 'x', sizeof(piece));
    pair_open(&p);
    say(&p, "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", 43);
    for (int i = 0; i < 300; i++) {
        assert_false(whole);
        say(&p, piece, sizeof(piece));
        assert_int_equal(wire_receive(&p.w, &a, &whole, &err), ERR_OK);
    }
    assert_true(whole);
    assert_int_equal(a.n, 300000);
    pair_close(&p);
}

static void test_what_is_no_answer_is_refused(void **state)
{
    static const char *const wrong[] = {
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 abc\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 33554433\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhello",
        "<html>nothing of the kind</html>",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct pair p;
        struct answer a;
        struct err err = {0};
        bool whole;
        pair_open(&p);
        say(&p, wrong[i], strlen(wrong[i]));
        if (wire_receive(&p.w, &a, &whole, &err) != ERR_CORRUPT)
            fail_msg("taken: %s", wrong[i]);
        pair_close(&p);
    }
}

static void test_a_connection_that_ends_is_told(void **state)
{
    struct pair p;
    struct answer a;
    struct err err = {0};
    bool whole;
    pair_open(&p);
    say(&p, "HTTP/1.1 200", 12);
    close(p.server);
    assert_int_equal(wire_receive(&p.w, &a, &whole, &err), ERR_OK); /* what came before it */
    assert_int_equal(wire_receive(&p.w, &a, &whole, &err), ERR_NETWORK);
    assert_int_equal(p.w.fd, -1);
    wire_release(&p.w);
}

static void test_what_the_socket_does_not_take_follows(void **state)
{
    enum { BYTES = 4 << 20 };
    struct pair p;
    struct err err = {0};
    char *text = malloc(BYTES), got[65536];
    size_t have = 0;
    assert_non_null(text);
    for (size_t i = 0; i < BYTES; i++)
        text[i] = (char)(i * 7 >> 3);
    pair_open(&p);
    assert_int_equal(wire_send(&p.w, text, BYTES, &err), ERR_OK);
    assert_true(wire_has_rest(&p.w));
    while (have < BYTES) {
        ssize_t n = read(p.server, got, sizeof(got));
        assert_true(n > 0);
        assert_memory_equal(got, text + have, (size_t)n);
        have += (size_t)n;
        assert_int_equal(wire_flush(&p.w, &err), ERR_OK);
    }
    assert_false(wire_has_rest(&p.w));
    pair_close(&p);
    free(text);
}

/* ---- addresses ---- */

static void test_addresses(void **state)
{
    static const char *const right[] = {"http://127.0.0.1:8420", "http://127.0.0.1:8420/", "http://[::1]:8420",
                                        "HTTP://127.0.0.1"};
    static const char *const wrong[] = {"",
                                        "127.0.0.1:8420",
                                        "https://127.0.0.1",
                                        "http://",
                                        "http:///",
                                        "http://127.0.0.1:8420/v1",
                                        "http://127.0.0.1:8420?x",
                                        "http://me@127.0.0.1",
                                        "http://127.0.0.1:",
                                        "http://127.0.0.1:84x",
                                        "http://127.0.0.1:842000",
                                        "http://[::1",
                                        "http://[::1]8420"};
    struct address a;
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(right); i++)
        assert_int_equal(address_parse(right[i], &a, &err), ERR_OK);
    assert_int_equal(address_parse("http://[::1]:8420/", &a, &err), ERR_OK);
    assert_string_equal(a.host, "[::1]:8420");
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        if (address_parse(wrong[i], &a, &err) != ERR_USAGE)
            fail_msg("taken: %s", wrong[i]);
}

static void test_a_refusal_says_what_the_server_said(void **state)
{
    static const char body[] = "{\"code\":\"no_space\",\"detail\":\"the disk is full\"}";
    struct err err = {0};
    struct answer a = {.status = 503, .body = body, .n = sizeof(body) - 1};
    assert_int_equal(answer_refusal(&a, &err), ERR_NO_SPACE);
    assert_non_null(strstr(err.msg, "the disk is full"));
    a = (struct answer){.status = 429};
    assert_int_equal(answer_refusal(&a, &err), ERR_UNAVAILABLE);
    a = (struct answer){.status = 302, .body = "ok", .n = 2};
    assert_int_equal(answer_refusal(&a, &err), ERR_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles_are_within_2_percent),
        cmocka_unit_test(test_every_size_has_its_bucket),
        cmocka_unit_test(test_quantiles_of_two_together),
        cmocka_unit_test(test_a_submission_is_whole_whatever_is_patched_in),
        cmocka_unit_test(test_a_batch_has_so_many_jobs_each_its_own),
        cmocka_unit_test(test_a_workers_calls_are_whole),
        cmocka_unit_test(test_claims_are_read_past_any_payload),
        cmocka_unit_test(test_claims_cut_short_are_refused),
        cmocka_unit_test(test_an_answer_may_come_in_pieces),
        cmocka_unit_test(test_a_long_answer),
        cmocka_unit_test(test_what_is_no_answer_is_refused),
        cmocka_unit_test(test_a_connection_that_ends_is_told),
        cmocka_unit_test(test_what_the_socket_does_not_take_follows),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_a_refusal_says_what_the_server_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
