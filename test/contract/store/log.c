/* Logs: appended by offset, cut in the middle, closed with their attempt. */
#include "suite.h"

#define HEAD (INT64_C(8) << 20)
#define TAIL (INT64_C(8) << 20)

static struct log_part log_at(struct world *w, struct uuid id, uint32_t attempt, int64_t offset, char *buf, size_t max)
{
    struct log_part part = {0};

    assert_int_equal(w->d->log_read(w->s, &id, attempt, offset, buf, max, &part, NULL), ERR_OK);
    return part;
}

static void assert_log(struct world *w, struct uuid id, int64_t offset, const char *expected, int64_t total, bool ended)
{
    char buf[64];
    struct log_part part = log_at(w, id, 1, offset, buf, sizeof(buf));

    assert_int_equal(part.n, strlen(expected));
    assert_memory_equal(buf, expected, part.n);
    assert_int_equal(part.at, offset);
    assert_int_equal(part.total, total);
    assert_int_equal(part.ended, ended);
}

static struct op *append(struct world *w, const struct job *job, int64_t offset, int64_t skipped, const char *text)
{
    struct op *op = log_op(w, job, offset, text);

    op->u.log.skipped = skipped;
    apply(w, op);
    return op;
}

static void appended(struct world *w, const struct job *job, int64_t offset, int64_t skipped, const char *text,
                     int64_t next)
{
    struct op *op = append(w, job, offset, skipped, text);

    assert_ok(op);
    assert_int_equal(op->u.log.next_offset, next);
}

static struct job running(struct world *w)
{
    submit(w, "encode");
    return claim(w, w->worker, "encode");
}

static void test_log_repeats_and_gaps(void **state)
{
    struct world *w = *state;
    struct job job = running(w);

    assert_log(w, job.job_id, 0, "", 0, false);
    appended(w, &job, 0, 0, "hello ", 6);
    appended(w, &job, 0, 0, "hello ", 6);    /* a repeat */
    appended(w, &job, 3, 0, "lo world", 11); /* half of it known */
    assert_refused(append(w, &job, 12, 0, "!"), ERR_CONFLICT);
    struct op *op = log_op(w, &job, 0, "");
    op->u.log.n = JOB_LOG_CHUNK_MAX + 1;
    apply(w, op);
    assert_refused(op, ERR_TOO_LARGE);
    appended(w, &job, 0, 0, "", 11); /* asks where it is */
    assert_log(w, job.job_id, 0, "hello world", 11, false);
    assert_log(w, job.job_id, 4, "o world", 11, false);
    assert_log(w, job.job_id, 11, "", 11, false);
    apply(w, complete_op(w, &job, NULL, 0));
    assert_log(w, job.job_id, 7, "orld", 11, true);
    char buf[4];
    struct log_part part;
    assert_int_equal(w->d->log_read(w->s, &job.job_id, 2, 0, buf, 4, &part, NULL), ERR_NOT_FOUND);
}

static void assert_cut(struct world *w, const struct job *job, int64_t from, int64_t to, int64_t total)
{
    char buf[64];
    struct log_part part = log_at(w, job->job_id, 1, from, buf, sizeof(buf));

    assert_int_equal(part.at, to);
    assert_int_equal(part.n, total - to);
    assert_int_equal(part.cut_from, from);
    assert_int_equal(part.cut_to, to);
    assert_int_equal(part.total, total);
}

static void test_log_skips(void **state)
{
    struct world *w = *state;
    struct job job = running(w);
    char buf[64];

    appended(w, &job, 0, 0, "head", 4);
    assert_refused(append(w, &job, 9, 10, "x"), ERR_INVALID); /* more than there is before it */
    assert_refused(append(w, &job, 9, -1, "x"), ERR_INVALID);
    assert_refused(append(w, &job, 9, 4, "x"), ERR_CONFLICT); /* one byte nobody owns up to */
    appended(w, &job, 100, 96, "tail", 104);
    appended(w, &job, 100, 96, "tail", 104); /* a repeat */
    assert_cut(w, &job, 4, 100, 104);
    struct log_part part = log_at(w, job.job_id, 1, 2, buf, sizeof(buf));
    assert_int_equal(part.n, 2); /* a piece ends at the cut */
    part = log_at(w, job.job_id, 1, 50, buf, sizeof(buf));
    assert_int_equal(part.at, 100);
    assert_memory_equal(buf, "tail", 4);
    /* The answer to the last piece was lost, and meanwhile its sender had to leave out more: counted from what he knew. */
    appended(w, &job, 200, 196, "late", 204);
    assert_cut(w, &job, 4, 200, 204); /* the second cut swallowed what was between */
    appended(w, &job, 204, 0, "st", 206);
    part = log_at(w, job.job_id, 1, 0, buf, sizeof(buf));
    assert_int_equal(part.n, 4);
    part = log_at(w, job.job_id, 1, 201, buf, sizeof(buf));
    assert_int_equal(part.at, 201);
    assert_memory_equal(buf, "atest", 5);
    /* a piece that leaves out more and has nothing to say moves the end all the same */
    appended(w, &job, 300, 94, "", 300);
    part = log_at(w, job.job_id, 1, 206, buf, sizeof(buf));
    assert_int_equal(part.at, 300);
    assert_int_equal(part.n, 0);
}

/* What stands at offset `at` of a log that any piece of can be checked. */
static void pattern(int64_t at, char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(((uint64_t)at + i) * 2654435761u >> 13);
}

/* Walks what is kept and checks every byte. @return how many */
static int64_t walk(struct world *w, const struct job *job, int64_t *ret_head, int64_t *ret_tail_at)
{
    static char buf[100000], expected[100000];
    int64_t at = 0, kept = 0;

    *ret_head = *ret_tail_at = 0;
    for (;;) {
        struct log_part part = log_at(w, job->job_id, 1, at, buf, sizeof(buf));
        if (part.n == 0)
            return kept;
        if (part.at > at) {
            assert_int_equal(*ret_tail_at, 0); /* once */
            *ret_head = at;
            *ret_tail_at = part.at;
        }
        pattern(part.at, expected, part.n);
        assert_memory_equal(buf, expected, part.n);
        at = part.at + (int64_t)part.n;
        kept += (int64_t)part.n;
    }
}

static int64_t fill(struct world *w, const struct job *job, int64_t at, int64_t to, size_t piece)
{
    static char bytes[JOB_LOG_CHUNK_MAX];

    while (at < to) {
        struct op *op = op_make(w, OP_LOG);
        pattern(at, bytes, piece);
        op->u.log =
            (struct op_log){.job_id = job->job_id, .token = job->token, .offset = at, .bytes = bytes, .n = piece};
        apply(w, op);
        assert_ok(op);
        at = op->u.log.next_offset;
    }
    return at;
}

static void test_log_keeps_head_and_tail(void **state)
{
    struct world *w = *state;
    struct job job = running(w);
    int64_t head, tail_at, total = 0;

    for (int64_t mib = 5; mib <= 30; mib += 5) {
        total = fill(w, &job, total, mib << 20, 60000);
        int64_t kept = walk(w, &job, &head, &tail_at);
        assert_true(kept <= HEAD + TAIL + JOB_LOG_CHUNK_MAX);
        if (mib <= 15)
            assert_int_equal(kept, total);
    }
    assert_int_equal(head, HEAD); /* to the byte */
    assert_true(total - tail_at >= TAIL);
    assert_true(total - tail_at < TAIL + 60000);
    apply(w, complete_op(w, &job, NULL, 0));
    assert_int_equal(attempt_of(w, job.job_id, 1).log_bytes, total);
}

/* Words now and then, by the ten thousand, also across the head's end: whole, and cut as exactly as any other log. */
static void test_log_of_many_small_pieces(void **state)
{
    struct world *w = *state;
    struct job job = running(w);
    int64_t head, tail_at, total = fill(w, &job, 0, 100000, 61);

    assert_int_equal(walk(w, &job, &head, &tail_at), total);
    total = fill(w, &job, total, HEAD - 20000, 60000);
    total = fill(w, &job, total, HEAD + 100000, 97);
    total = fill(w, &job, total, HEAD + TAIL + 150000, 50000);
    total = fill(w, &job, total, total + 50000, 97);
    int64_t kept = walk(w, &job, &head, &tail_at);
    assert_int_equal(head, HEAD);
    assert_int_equal(kept, HEAD + total - tail_at);
    assert_true(total - tail_at >= TAIL && total - tail_at < TAIL + 60000);
}

/* A gap behind the head: what came before it is kept as long as all fits, then goes as a whole. */
static void test_log_skips_behind_the_head(void **state)
{
    struct world *w = *state;
    struct job job = running(w);
    int64_t kept, head, tail_at, total = fill(w, &job, 0, INT64_C(10) << 20, 60000);
    struct op *op = op_make(w, OP_LOG);
    char bytes[1000];

    pattern(total + 5000, bytes, sizeof(bytes));
    op->u.log = (struct op_log){.job_id = job.job_id,
                                .token = job.token,
                                .offset = total + 5000,
                                .skipped = 5000,
                                .bytes = bytes,
                                .n = sizeof(bytes)};
    apply(w, op);
    assert_ok(op);
    assert_int_equal(walk(w, &job, &head, &tail_at), total + 1000);
    assert_int_equal(head, total);
    total = fill(w, &job, total + 6000, INT64_C(17) << 20, 60000);
    kept = walk(w, &job, &head, &tail_at);
    assert_int_equal(kept, HEAD + total - tail_at);
    assert_int_equal(head, HEAD);
    total = fill(w, &job, total, INT64_C(30) << 20, 60000);
    kept = walk(w, &job, &head, &tail_at);
    assert_int_equal(kept, HEAD + total - tail_at);
    assert_true(total - tail_at >= TAIL && total - tail_at < TAIL + 60000);
}

static void test_log_any_bytes(void **state)
{
    struct world *w = *state;
    struct job job = running(w);
    static const char text[] = "a\0b\xff\xfe\x1b[31m\0";
    struct op *op = log_op(w, &job, 0, "");
    char buf[64];

    op->u.log.bytes = text;
    op->u.log.n = sizeof(text);
    apply(w, op);
    appended(w, &job, sizeof(text), 0, "end", sizeof(text) + 3);
    apply(w, complete_op(w, &job, NULL, 0)); /* which makes one row of them */
    assert_int_equal(log_at(w, job.job_id, 1, 0, buf, sizeof(buf)).n, sizeof(text) + 3);
    assert_memory_equal(buf, text, sizeof(text));
    assert_memory_equal(buf + sizeof(text), "end", 3);
}

/* A lapsed attempt may come back and write on; it is closed once it cannot. */
static void test_log_is_open_while_its_token_is_good(void **state)
{
    struct world *w = *state;
    struct job job = running(w);

    apply(w, heartbeat(w, &job));
    appended(w, &job, 0, 0, "one ", 4);
    later(w, w->policy.lease_us);
    sweep(w, OP_SWEEP_LEASES);
    assert_int_equal(get(w, job.job_id).status, JOB_PENDING);
    assert_log(w, job.job_id, 0, "one ", 4, false);
    appended(w, &job, 4, 0, "two ", 8);
    assert_ok(heartbeat(w, &job));
    appended(w, &job, 8, 0, "three", 13);
    later(w, w->policy.lease_us);
    sweep(w, OP_SWEEP_LEASES);
    struct job second = claim(w, w->other, "encode");
    assert_log(w, job.job_id, 0, "one two three", 13, true);
    assert_refused(append(w, &job, 13, 0, "!"), ERR_STALE_TOKEN);
    struct log_part part = log_at(w, job.job_id, 2, 0, NULL, 0);
    assert_false(part.ended);
    apply(w, job_op(w, OP_CANCEL, job.job_id));
    apply(w, fail_op(w, &second, OUTCOME_CANCELLED, false));
    assert_true(log_at(w, job.job_id, 2, 0, NULL, 0).ended);
}

static void test_log_of_a_cancelled_lapsed_attempt_is_closed(void **state)
{
    struct world *w = *state;
    struct job job = running(w);

    appended(w, &job, 0, 0, "x", 1);
    later(w, w->policy.confirm_us);
    sweep(w, OP_SWEEP_LEASES);
    assert_log(w, job.job_id, 0, "x", 1, false);
    apply(w, job_op(w, OP_CANCEL, job.job_id));
    assert_log(w, job.job_id, 0, "x", 1, true);
}

static struct op *packed_op(struct world *w, const struct job *job, struct uuid blob_id)
{
    struct op *op = op_make(w, OP_LOG_PACKED);

    op->u.log_packed =
        (struct op_log_packed){.job_id = job->job_id, .attempt = job->attempt, .blob_id = blob_id, .size = 1234};
    return op;
}

static void test_log_packed(void **state)
{
    struct world *w = *state;
    struct job job = running(w);
    struct uuid id = id_make(w);
    char buf[64];

    fill(w, &job, 0, JOB_LOG_CHUNK_MAX + 1, 1000);
    struct op *op = sweep(w, OP_SWEEP_LOGS);
    assert_int_equal(op->u.sweep.n_logs, 0); /* it may still grow */
    assert_int_equal(apply(w, packed_op(w, &job, id)), ERR_CONFLICT);
    op = complete_op(w, &job, NULL, 0);
    apply(w, op);
    assert_true(op->log_to_pack);
    op = sweep(w, OP_SWEEP_LOGS);
    assert_int_equal(op->u.sweep.n_logs, 1);
    assert_true(uuid_equal(&op->u.sweep.logs[0].job_id, &job.job_id));
    assert_int_equal(op->u.sweep.logs[0].attempt, 1);
    assert_string_equal(op->u.sweep.logs[0].project, "default");
    assert_int_equal(apply(w, packed_op(w, &job, id)), ERR_OK);
    assert_int_equal(refs(w, id), 1);
    assert_int_equal(apply(w, packed_op(w, &job, id_make(w))), ERR_CONFLICT); /* once */
    assert_int_equal(sweep(w, OP_SWEEP_LOGS)->u.sweep.n_logs, 0);
    struct log_part part = log_at(w, job.job_id, 1, 0, buf, sizeof(buf));
    assert_true(uuid_equal(&part.blob_id, &id));
    assert_int_equal(part.n, 0);
    assert_int_equal(part.total, 66000);
    assert_true(part.ended);
    later(w, 2 * w->policy.blob_unreferenced_us); /* its reference keeps it */
    sweep(w, OP_SWEEP_BLOBS);
    assert_int_equal(refs(w, id), 1);
    assert_int_equal(apply(w, job_op(w, OP_DISCARD, job.job_id)), ERR_OK);
    op = sweep(w, OP_SWEEP_BLOBS);
    assert_int_equal(op->u.sweep.n_removed, 1);
    assert_int_equal(refs(w, id), -1);
    assert_int_equal(apply(w, packed_op(w, &job, id)), ERR_NOT_FOUND);
}

/* Thousands of rows go in several passes; from the first on the blob is what is read. */
static void test_rows_of_a_packed_log_go_bit_by_bit(void **state)
{
    struct world *w = *state;
    struct job job = running(w);
    struct uuid id = id_make(w);
    int passes = 0;
    char buf[64];

    fill(w, &job, 0, INT64_C(1700) * 3400, 3400);
    apply(w, complete_op(w, &job, NULL, 0));
    struct op *op = packed_op(w, &job, id);
    assert_int_equal(apply(w, op), ERR_OK);
    assert_true(op->log_to_pack);
    for (bool more = true; more; passes++) {
        struct log_part part = log_at(w, job.job_id, 1, 0, buf, sizeof(buf));
        assert_true(uuid_equal(&part.blob_id, &id));
        assert_int_equal(part.n, 0);
        assert_int_equal(apply(w, packed_op(w, &job, id_make(w))), ERR_CONFLICT);
        op = sweep(w, OP_SWEEP_LOGS);
        assert_int_equal(op->u.sweep.n_logs, 0);
        more = op->u.sweep.more;
    }
    assert_int_equal(passes, 3);
    assert_int_equal(sweep(w, OP_SWEEP_LOGS)->u.sweep.touched, 0);
}

/* What cannot be packed stays as it is, and waits no longer. */
static void test_log_that_cannot_be_packed(void **state)
{
    struct world *w = *state;
    struct job job = running(w);
    char buf[64];

    fill(w, &job, 0, JOB_LOG_CHUNK_MAX + 1, 1000);
    apply(w, complete_op(w, &job, NULL, 0));
    assert_int_equal(apply(w, packed_op(w, &job, (struct uuid){{0}})), ERR_OK);
    assert_int_equal(sweep(w, OP_SWEEP_LOGS)->u.sweep.n_logs, 0);
    assert_int_equal(log_at(w, job.job_id, 1, 0, buf, sizeof(buf)).n, sizeof(buf));
}

const struct CMUnitTest log_tests[] = {
    TEST(test_log_repeats_and_gaps),
    TEST(test_log_skips),
    TEST(test_log_keeps_head_and_tail),
    TEST(test_log_of_many_small_pieces),
    TEST(test_log_skips_behind_the_head),
    TEST(test_log_any_bytes),
    TEST(test_log_packed),
    TEST(test_rows_of_a_packed_log_go_bit_by_bit),
    TEST(test_log_that_cannot_be_packed),
    TEST(test_log_is_open_while_its_token_is_good),
    TEST(test_log_of_a_cancelled_lapsed_attempt_is_closed),
};
const size_t n_log_tests = ARRAY_LEN(log_tests);
