/* Lists: what a filter asks for, all of it, once, newest first; by labels and by time too. */
#include "suite.h"
#include <stdlib.h>

static size_t count_of(struct world *w, struct job_filter f)
{
    struct job_page page = {0};
    size_t n = 0;

    f.project = f.project ? f.project : "default";
    f.limit = 2;
    do {
        assert_int_equal(w->d->job_list(w->s, &f, w->arena, &page, NULL), ERR_OK);
        n += page.n;
        f.before = page.next;
    } while (page.more);
    return n;
}

static struct job_filter label(const char *key, const char *value)
{
    return (struct job_filter){.status = -1, .labels = {{key, value}}, .n_labels = 1};
}

static struct uuid labelled(struct world *w, const char *labels)
{
    struct op *op = submit_op(w, "encode");

    op->u.submit.job.labels = labels;
    apply(w, op);
    assert_ok(op);
    later(w, 1000);
    return op->u.submit.job.job_id;
}

static void test_labels_follow_a_job(void **state)
{
    struct world *w = *state;
    struct uuid id = labelled(w, "{\"a\":\"1\",\"b\":\"\"}");
    struct job_filter both = label("a", "1"), other = label("a", "1");

    labelled(w, "{\"a\":\"2\"}");
    submit(w, "encode");
    both.labels[both.n_labels++] = (struct label_filter){"b", NULL};
    for (int step = 0; step < 3; step++) {
        assert_int_equal(count_of(w, label("a", "1")), 1);
        assert_int_equal(count_of(w, label("a", NULL)), 2);
        assert_int_equal(count_of(w, label("b", "")), 1);
        assert_int_equal(count_of(w, label("b", "1")), 0);
        assert_int_equal(count_of(w, label("1", NULL)), 0);
        assert_int_equal(count_of(w, both), 1);
        assert_int_equal(apply(w, job_op(w, step == 1 ? OP_RETRY : OP_CANCEL, id)), ERR_OK); /* to history and back */
    }
    other.project = "another";
    assert_int_equal(count_of(w, other), 0);
    other = label("a", "1");
    other.status = JOB_PENDING;
    assert_int_equal(count_of(w, other), 0);
    other.status = JOB_CANCELLED;
    assert_int_equal(count_of(w, other), 1);
    assert_int_equal(apply(w, job_op(w, OP_DISCARD, id)), ERR_OK);
    assert_int_equal(count_of(w, label("a", NULL)), 1);
    assert_int_equal(count_of(w, both), 0);
}

static void test_labels_are_any_text(void **state)
{
    struct world *w = *state;

    labelled(w,
             "{\"a=b\":\"c\",\"quo\\\"te\":\"back\\\\slash\",\"\\u00fc\":\"\\u0001\",\"$.x\":\"null\",\"'\":\"%_*\"}");
    assert_int_equal(count_of(w, label("a=b", "c")), 1);
    assert_int_equal(count_of(w, label("quo\"te", "back\\slash")), 1);
    assert_int_equal(count_of(w, label("ü", "\x01")), 1);
    assert_int_equal(count_of(w, label("$.x", "null")), 1);
    assert_int_equal(count_of(w, label("'", "%_*")), 1);
    assert_int_equal(count_of(w, label("'", "%_**")), 0);
    assert_int_equal(count_of(w, label("A=B", "c")), 0);
}

/* A refused submission leaves no label behind. */
static void test_refused_labels(void **state)
{
    struct world *w = *state;
    struct uuid none = id_make(w);
    struct job_input missing = {"in", ref(w, none)};
    struct op *op = submit_op(w, "encode");

    op->u.submit.job.labels = "{\"a\":\"1\"}";
    op->u.submit.job.inputs = &missing;
    op->u.submit.job.n_inputs = 1;
    assert_int_equal(apply(w, op), ERR_INVALID);
    assert_int_equal(count_of(w, label("a", NULL)), 0);
}

/* --- any filter, against a look at every job --- */

#define JOBS 240

static const char *const keys[] = {"k", "l", "m"};
static const char *const values[] = {"0", "1", "two"};
static const char *const types[] = {"encode", "scale", "thumb"};
static const char *const queues[] = {"q", "r"};

struct known {
    struct uuid id;
    const char *type, *queue, *value[ARRAY_LEN(keys)]; /* NULL: not labelled */
    enum job_status status;
    usec created_at;
    bool gone;
};

static unsigned pick(struct world *w, unsigned n)
{
    uint64_t v;
    w->rng.fill(w->rng.self, &v, sizeof(v));
    return (unsigned)(v % n);
}

static void make_job(struct world *w, struct known *k)
{
    char labels[128] = "{";
    struct op *op = submit_op(w, types[pick(w, ARRAY_LEN(types))]);

    *k = (struct known){.type = op->u.submit.job.task_type, .queue = queues[pick(w, 2)]};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        unsigned v = pick(w, i == 0 ? 20 : 4); /* one label is rare */
        if (v >= ARRAY_LEN(values))
            continue;
        k->value[i] = values[v];
        size_t n = strlen(labels);
        snprintf(labels + n, sizeof(labels) - n, "%s\"%s\":\"%s\"", n > 1 ? "," : "", keys[i], values[v]);
    }
    op->u.submit.job.labels = arena_printf(w->arena, "%s}", labels);
    op->u.submit.job.queue = k->queue;
    apply(w, op);
    assert_ok(op);
    k->id = op->u.submit.job.job_id;
    k->created_at = op->u.submit.job.created_at;
    if (pick(w, 3) == 0) {
        assert_int_equal(apply(w, job_op(w, OP_CANCEL, k->id)), ERR_OK);
        k->status = JOB_CANCELLED;
        k->gone = pick(w, 4) == 0;
        if (k->gone)
            assert_int_equal(apply(w, job_op(w, OP_DISCARD, k->id)), ERR_OK);
    }
}

static bool fits(const struct known *k, const struct job_filter *f)
{
    bool all = !k->gone && (f->status < 0 || f->status == (int)k->status) &&
               (!f->task_type || !strcmp(f->task_type, k->type)) && (!f->queue || !strcmp(f->queue, k->queue)) &&
               (!f->created_after || k->created_at >= f->created_after) &&
               (!f->created_before || k->created_at < f->created_before);

    for (size_t i = 0; i < f->n_labels; i++)
        for (size_t n = 0; n < ARRAY_LEN(keys); n++)
            if (!strcmp(f->labels[i].key, keys[n]))
                all = all && k->value[n] && (!f->labels[i].value || !strcmp(f->labels[i].value, k->value[n]));
    return all;
}

static int newest_first(const void *a, const void *b)
{
    return uuid_compare(&((const struct known *)b)->id, &((const struct known *)a)->id);
}

static struct job_filter any_filter(struct world *w, const struct known *all)
{
    struct job_filter f = {.project = "default", .status = -1, .limit = 1 + pick(w, 40)};

    if (pick(w, 3) == 0)
        f.status = pick(w, 2) ? JOB_PENDING : JOB_CANCELLED;
    if (pick(w, 3) == 0)
        f.task_type = types[pick(w, ARRAY_LEN(types))];
    if (pick(w, 4) == 0)
        f.queue = queues[pick(w, 2)];
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (pick(w, 3) == 0)
            f.labels[f.n_labels++] =
                (struct label_filter){keys[i], pick(w, 3) ? values[pick(w, ARRAY_LEN(values))] : NULL};
    if (pick(w, 3) == 0)
        f.created_after = all[pick(w, JOBS)].created_at + (usec)pick(w, 3) - 1;
    if (pick(w, 3) == 0)
        f.created_before = all[pick(w, JOBS)].created_at + (usec)pick(w, 3) - 1;
    return f;
}

/* The wall clock that ids come from leaps about by days meanwhile: times are those of created_at all the same. */
static void test_any_filter_finds_exactly_what_fits(void **state)
{
    struct world *w = *state;
    static struct known all[JOBS];
    const char *seed = getenv("HAUL_SEED");

    w->seed.state = seed ? strtoull(seed, NULL, 10) : 7;
    print_message("seed %llu (HAUL_SEED)\n", (unsigned long long)w->seed.state);
    for (size_t i = 0; i < JOBS; i++) {
        if (i % 50 == 20)
            w->clock.wall_us += ((usec)pick(w, 2000) - 1000) * 600 * USEC_PER_SEC;
        if (i == 130)
            world_reopen(w);
        later(w, (usec)(1 + pick(w, 100)) * USEC_PER_SEC);
        make_job(w, &all[i]);
    }
    qsort(all, JOBS, sizeof(all[0]), newest_first);
    for (int round = 0; round < 500; round++) {
        struct job_filter f = any_filter(w, all);
        struct job_page page = {0};
        size_t at = 0;
        do {
            struct arena *arena = arena_new(4u << 20);
            assert_int_equal(w->d->job_list(w->s, &f, arena, &page, NULL), ERR_OK);
            for (size_t i = 0; i < page.n; i++, at++) {
                while (at < JOBS && !fits(&all[at], &f))
                    at++;
                assert_true(at < JOBS && uuid_equal(&page.jobs[i].job_id, &all[at].id));
            }
            assert_true(!page.more || page.n == f.limit); /* nothing here takes long enough to be cut */
            f.before = page.next;
            arena_free(arena);
        } while (page.more);
        for (; at < JOBS; at++)
            assert_false(fits(&all[at], &f));
    }
}

static struct uuid with_key(struct world *w, const char *key, const char *labels)
{
    struct op *op = submit_op(w, "encode");

    op->u.submit.job.dedup_key = key;
    op->u.submit.job.labels = labels;
    apply(w, op);
    assert_ok(op);
    later(w, 1000);
    return op->u.submit.job.job_id;
}

static size_t text_count(struct world *w, const char *text)
{
    return count_of(w, (struct job_filter){.status = -1, .text = text});
}

/* In whichever table the job stands, and whichever condition leads. */
static void test_text_is_found_wherever_it_stands(void **state)
{
    struct world *w = *state;
    char id[UUID_STR_MAX], prefix[UUID_STR_MAX];
    struct uuid key = with_key(w, "Order 50%_4711", "{}");
    struct job_filter f = {.status = -1, .text = "kiel"};

    with_key(w, NULL, "{\"city\":\"K\\u0069el \\\"Nord\\\"\"}");
    with_key(w, NULL, "{\"kiel\":\"Hamburg\"}");
    struct job failed = claim(w, w->worker, "encode");
    struct op *op = fail_op(w, &failed, OUTCOME_ERROR, true);
    op->u.fail.failure.error_log = "cannot open /in/a.mp4";
    apply(w, op);
    assert_ok(op);
    assert_int_equal(text_count(w, "enCODE"), 3);
    assert_int_equal(text_count(w, "order 50%_"), 1);
    assert_int_equal(text_count(w, "r 5%4711"), 0);
    assert_int_equal(text_count(w, "r_5"), 0);
    assert_int_equal(text_count(w, "kiel \"NORD\""), 1);
    assert_int_equal(text_count(w, "OPEN /in"), 1);
    assert_int_equal(text_count(w, "nowhere"), 0);
    uuid_format(&key, id);
    assert_int_equal(text_count(w, id), 1);
    snprintf(prefix, sizeof(prefix), "%.30s", id);
    assert_in_range(text_count(w, prefix), 1, 3);
    assert_int_equal(text_count(w, id + 9), 0);
    assert_int_equal(count_of(w, f), 1);
    f.status = JOB_PENDING;
    assert_int_equal(count_of(w, f), 1);
    f.labels[f.n_labels++] = (struct label_filter){"kiel", NULL}; /* that leads, where an index does */
    assert_int_equal(count_of(w, f), 0);
    f.text = "hamb";
    assert_int_equal(count_of(w, f), 1);
    f.task_type = "encode";
    assert_int_equal(count_of(w, f), 1);
    f.project = "another";
    assert_int_equal(count_of(w, f), 0);
    assert_int_equal(apply(w, job_op(w, OP_DISCARD, failed.job_id)), ERR_OK);
    assert_int_equal(text_count(w, "OPEN /in"), 0);
    struct job job = claim(w, w->worker, "encode");
    assert_int_equal(apply(w, complete_op(w, &job, NULL, 0)), ERR_OK); /* to history */
    assert_int_equal(text_count(w, "enCODE"), 2);
}

/* Far apart: a page looks at so much, and the next one goes on behind it. */
static void test_text_that_few_have_is_found_page_by_page(void **state)
{
    struct world *w = *state;
    struct job_filter f = {.project = "default", .status = -1, .text = "needle", .limit = 50};
    struct op *ops[500];
    struct job_page page = {0};
    size_t n = 0;

    for (int batch = 0; batch < 6; batch++) {
        for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
            ops[i] = submit_op(w, "encode");
            if (batch % 5 == 0 && i == 250)
                ops[i]->u.submit.job.labels = "{\"a\":\"the needle\"}";
        }
        apply_all(w, ops, ARRAY_LEN(ops));
        later(w, 2000);
    }
    do {
        struct uuid before = f.before;
        assert_int_equal(w->d->job_list(w->s, &f, w->arena, &page, NULL), ERR_OK);
        n += page.n;
        f.before = page.next;
        assert_false(page.more && uuid_equal(&before, &page.next));
    } while (page.more);
    assert_int_equal(n, 2);
}

const struct CMUnitTest list_tests[] = {
    TEST(test_labels_follow_a_job),
    TEST(test_labels_are_any_text),
    TEST(test_refused_labels),
    TEST(test_any_filter_finds_exactly_what_fits),
    TEST(test_text_is_found_wherever_it_stands),
    TEST(test_text_that_few_have_is_found_page_by_page),
};
const size_t n_list_tests = ARRAY_LEN(list_tests);
