/* Packing: once, by whoever comes first, over what a crash left, and never what may still grow. */
#include "base/fs.h"
#include "blob/folder/folder.h"
#include "engine/packed.h"
#include "world.h"
#include <dirent.h>

/* --- the format --- */

struct file {
    char bytes[1 << 20];
    size_t n;
};

static int file_add(void *arg, const void *p, size_t n, struct err *err)
{
    struct file *f = arg;

    assert_true(f->n + n <= sizeof f->bytes);
    memcpy(f->bytes + f->n, p, n);
    f->n += n;
    return ERR_OK;
}

struct memory {
    struct blob_reader reader;
    const struct file *file;
};

static int64_t memory_read(struct blob_reader *r, int64_t at, void *p, size_t n, struct err *err)
{
    size_t got = at < r->size ? MIN(n, (size_t)(r->size - at)) : 0;

    memcpy(p, ((struct memory *)r)->file->bytes + at, got);
    return (int64_t)got;
}

static void memory_close(struct blob_reader *r)
{
    free(r);
}

static int opened(const struct file *f, size_t n, struct packed **ret)
{
    struct memory *m = calloc(1, sizeof *m);

    assert_non_null(m);
    *m = (struct memory){.reader = {.size = (int64_t)n, .read = memory_read, .close = memory_close, .fd = -1},
                         .file = f};
    return packed_open(&m->reader, ret, NULL);
}

/* What stands at an offset: lines, so that it compresses, with bytes that do not. */
static char byte_at(int64_t at)
{
    return at % 61 == 60 ? '\n' : at % 7 ? (char)('a' + at / 61 % 26) : (char)((uint64_t)at * 2654435761u >> 16);
}

static void fill(char *p, int64_t at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = byte_at(at + (int64_t)i);
}

#define HEAD_N  700000
#define TAIL_AT INT64_C(5000000000)
#define TAIL_N  300001

static struct file *packed_file(void)
{
    struct file *f = calloc(1, sizeof *f);
    struct packed_writer *w = NULL;
    static char piece[70000];

    assert_int_equal(packed_writer_new(file_add, f, &w, NULL), ERR_OK);
    for (int64_t at = 0; at < HEAD_N; at += 70000) {
        fill(piece, at, sizeof piece);
        assert_int_equal(packed_add(w, at, piece, sizeof piece, NULL), ERR_OK);
    }
    for (int64_t at = 0, n; at < TAIL_N; at += n) {
        n = MIN(50001, TAIL_N - at);
        fill(piece, TAIL_AT + at, (size_t)n);
        assert_int_equal(packed_add(w, TAIL_AT + at, piece, (size_t)n, NULL), ERR_OK);
    }
    assert_int_equal(packed_end(w, NULL), ERR_OK);
    packed_writer_free(w);
    return f;
}

static void assert_piece(struct packed *p, int64_t offset, size_t max, int64_t at, size_t least)
{
    static char buf[400000], expected[400000];
    struct log_part part = {0};

    assert_int_equal(packed_read(p, offset, buf, max, &part, NULL), ERR_OK);
    assert_true(part.n >= least && part.n <= max);
    if (part.n == 0)
        return;
    assert_int_equal(part.at, at);
    fill(expected, at, part.n);
    assert_memory_equal(buf, expected, part.n);
}

static void test_packed_log_reads_from_any_offset(void **state)
{
    struct file *f = packed_file();
    struct packed *p = NULL;

    assert_true(f->n < HEAD_N / 2);
    assert_int_equal(opened(f, f->n, &p), ERR_OK);
    assert_piece(p, 0, 100, 0, 100);
    assert_piece(p, 699990, 100, 699990, 10);        /* to the cut */
    assert_piece(p, 5, 10, 5, 10);                   /* back */
    assert_piece(p, 262140, 100, 262140, 4);         /* to a frame's end */
    assert_piece(p, 262144, 400000, 262144, 262144); /* a whole frame */
    assert_piece(p, 700000, 100, TAIL_AT, 100);      /* in the cut */
    assert_piece(p, TAIL_AT - 1, 100, TAIL_AT, 100);
    assert_piece(p, TAIL_AT + 300000, 100, TAIL_AT + 300000, 1);
    assert_piece(p, TAIL_AT + TAIL_N, 100, 0, 0); /* the end */
    packed_close(p);
    free(f);
}

/* Reads all of it: what comes out is right, whether or not it comes to the end. */
static int read_through(struct packed *p, int64_t *ret_n)
{
    static char buf[100000], expected[100000];
    struct log_part part = {0};

    *ret_n = 0;
    for (int64_t at = 0;; at = part.at + (int64_t)part.n) {
        int rc = packed_read(p, at, buf, sizeof buf, &part, NULL);
        if (rc || part.n == 0)
            return rc;
        fill(expected, part.at, part.n);
        assert_memory_equal(buf, expected, part.n);
        *ret_n += (int64_t)part.n;
    }
}

static void test_damage_is_seen(void **state)
{
    struct file *f = packed_file();
    struct packed *p = NULL;
    int64_t n;
    int seen = 0, tried = 0;

    for (size_t at = 0; at < f->n; at += at < 100 ? 1 : f->n / 50) {
        f->bytes[at] ^= 0x10;
        assert_int_equal(opened(f, f->n, &p), ERR_OK);
        int rc = read_through(p, &n);
        assert_true(rc == ERR_CORRUPT ||
                    (rc == ERR_OK && n == HEAD_N + TAIL_N)); /* zstd has a bit that means nothing */
        packed_close(p);
        f->bytes[at] ^= 0x10;
        seen += rc == ERR_CORRUPT;
        tried++;
    }
    assert_true(seen >= tried - 1);
    assert_int_equal(opened(f, f->n - 1, &p), ERR_OK); /* cut short */
    assert_int_equal(read_through(p, &n), ERR_CORRUPT);
    packed_close(p);
    free(f);
}

/* --- the engine --- */

struct packing {
    int asked;
    enum { RUN, REFUSE, HOLD, CRASH_AFTER_WORK } how;
    void (*done)(struct engine *e, void *arg);
    void *arg;
    struct world *w;
};
static struct packing packing;

static bool offload(void *self, void (*work)(void *arg), void (*done)(struct engine *e, void *arg), void *arg)
{
    struct packing *p = self;

    p->asked++;
    if (p->how == REFUSE)
        return false;
    work(arg);
    if (p->how == RUN)
        done(p->w->engine, arg);
    p->done = done;
    p->arg = arg;
    return true;
}

static void folder_open(struct world *w)
{
    char dir[128], id[UUID_STR_MAX];

    packing = (struct packing){.w = w};
    snprintf(dir, sizeof dir, "%s/blobs", w->dir);
    w->cfg.blob_driver = blob_folder();
    w->cfg.offload = offload;
    w->cfg.offload_self = &packing;
    assert_int_equal(w->cfg.blob_driver->open(dir, &w->cfg.blobs, id, NULL), ERR_OK);
    world_engine(w, NULL);
}

static void folder_close(struct world *w)
{
    w->cfg.blob_driver->close(w->cfg.blobs);
    w->cfg.blob_driver = NULL;
    world_engine(w, NULL);
}

/* Files under the folder's 256 names. */
static int blobs_there(struct world *w)
{
    int n = 0;

    for (int i = 0; i < 256; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/blobs/%02x", w->dir, i);
        DIR *d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d));)
            n += e->d_name[0] != '.';
        closedir(d);
    }
    return n;
}

static struct log_part log_look(struct world *w, const struct job *job)
{
    struct log_part part = {0};

    assert_int_equal(store_sqlite()->log_read(w->cfg.store, &job->job_id, job->attempt, 0, NULL, 0, &part, NULL),
                     ERR_OK);
    return part;
}

static bool is_packed(struct world *w, const struct job *job)
{
    struct log_part part = log_look(w, job);

    return !uuid_is_nil(&part.blob_id);
}

static void log_write_by(struct world *w, const struct job *job, int64_t bytes, size_t by)
{
    static char piece[50000];

    for (int64_t at = 0; at < bytes; at += (int64_t)by) {
        struct op *op = op_new(w, OP_LOG, NULL);
        fill(piece, at, by);
        op->u.log = (struct op_log){.job_id = job->job_id, .token = job->token, .offset = at, .bytes = piece, .n = by};
        assert_int_equal(decide(w, op), ERR_OK);
    }
}

static void log_write(struct world *w, const struct job *job, int64_t bytes)
{
    log_write_by(w, job, bytes, 50000);
}

static struct job run_one(struct world *w, const char *poll_id, int64_t bytes)
{
    submit(w, "encode");
    struct job job = claim(w, 1, poll_id);
    log_write(w, &job, bytes);
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    settle(w);
    return job;
}

static void assert_packed_text(struct world *w, const struct job *job, int64_t bytes)
{
    struct log_part part = log_look(w, job);
    struct packed *p = NULL;
    struct blob_reader *blob = NULL;
    int64_t size, at = 0;

    assert_false(uuid_is_nil(&part.blob_id));
    assert_int_equal(part.total, bytes);
    assert_int_equal(w->cfg.blob_driver->open_read(w->cfg.blobs, &part.blob_id, &blob, NULL), ERR_OK);
    size = blob->size;
    assert_true(size < bytes / 2);
    assert_int_equal(packed_open(blob, &p, NULL), ERR_OK);
    for (; at < bytes; at += 1000)
        assert_piece(p, at, 1000, at, 1);
    assert_piece(p, bytes, 1000, 0, 0);
    packed_close(p);
    struct blob_row row;
    assert_int_equal(store_sqlite()->blob_get(w->cfg.store, "default", &part.blob_id, w->arena, &row, NULL), ERR_OK);
    assert_int_equal(row.refs, 1);
    assert_int_equal(row.size, size);
}

static void test_large_log_is_packed_once(void **state)
{
    struct world *w = *state;

    folder_open(w);
    struct job small = run_one(w, "p1", 50000);
    struct job large = run_one(w, "p2", 400000);
    assert_false(is_packed(w, &small));
    assert_packed_text(w, &large, 400000);
    assert_int_equal(packing.asked, 1);
    pass(w, 300 * SEC);
    world_engine(w, NULL); /* nor after a restart */
    pass(w, 300 * SEC);
    assert_int_equal(packing.asked, 1);
    assert_int_equal(blobs_there(w), 1);
    folder_close(w);
}

/* A log in thousands of rows: they go in several passes, also when the server is gone between two of them. */
static void test_rows_of_a_packed_log_go_in_passes(void **state)
{
    struct world *w = *state;

    folder_open(w);
    submit(w, "encode");
    struct job job = claim(w, 1, "p");
    log_write_by(w, &job, 1200 * 3600, 3600);
    int done = 0;
    struct op *op = op_new(w, OP_COMPLETE, &done);
    op->u.complete = (struct op_complete){.job_id = job.job_id, .token = job.token};
    engine_offer(w->engine, op);
    while (!is_packed(w, &job))
        engine_step(w->engine);
    world_engine(w, NULL);
    pass(w, 10 * SEC);
    assert_packed_text(w, &job, 1200 * 3600);
    assert_int_equal(packing.asked, 1);
    struct op *sweep = op_new(w, OP_SWEEP_LOGS, &done);
    assert_int_equal(decide(w, sweep), ERR_OK);
    assert_int_equal(sweep->u.sweep.touched, 0);
    folder_close(w);
}

static void test_many_logs_wait_their_turn(void **state)
{
    struct world *w = *state;
    struct job jobs[20];

    folder_open(w);
    packing.how = REFUSE;
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        char poll_id[16];
        snprintf(poll_id, sizeof poll_id, "p%zu", i);
        jobs[i] = run_one(w, poll_id, 100000);
    }
    packing.how = RUN;
    pass(w, 60 * SEC);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        assert_packed_text(w, &jobs[i], 100000);
    assert_int_equal(blobs_there(w), ARRAY_LEN(jobs));
    folder_close(w);
}

/* The bytes were written, and the server is gone before it could say so: they are written again, and lie there once. */
static void test_crash_between_bytes_and_row(void **state)
{
    struct world *w = *state;

    folder_open(w);
    packing.how = CRASH_AFTER_WORK;
    struct job job = run_one(w, "p", 400000);
    assert_int_equal(blobs_there(w), 1);
    assert_false(is_packed(w, &job));
    packing.how = RUN;
    world_engine(w, NULL);
    settle(w);
    assert_packed_text(w, &job, 400000);
    assert_int_equal(packing.asked, 2);
    assert_int_equal(blobs_there(w), 1);
    folder_close(w);
}

static void test_what_may_still_grow_is_not_packed(void **state)
{
    struct world *w = *state;

    folder_open(w);
    submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    log_write(w, &job, 200000);
    pass(w, 2 * w->cfg.policy.lease_us + 10 * SEC);
    assert_int_equal(look(w, job.job_id).status, JOB_PENDING); /* lapsed: its worker may come back */
    assert_int_equal(packing.asked, 0);
    struct job second = claim(w, 2, "p2");
    settle(w);
    assert_packed_text(w, &job, 200000); /* it cannot any more */
    assert_int_equal(second.attempt, 2);
    folder_close(w);
}

static void test_job_discarded_while_its_log_is_packed(void **state)
{
    struct world *w = *state;

    folder_open(w);
    packing.how = HOLD;
    struct job job = run_one(w, "p", 200000);
    assert_int_equal(blobs_there(w), 1);
    assert_int_equal(act(w, OP_DISCARD, job.job_id), ERR_OK);
    packing.done(w->engine, packing.arg);
    settle(w);
    assert_int_equal(blobs_there(w), 0);
    packing.how = RUN;
    struct job next = run_one(w, "p2", 200000); /* and packing goes on */
    assert_packed_text(w, &next, 200000);
    assert_int_equal(act(w, OP_DISCARD, next.job_id), ERR_OK); /* which gives the bytes back */
    settle(w);
    assert_int_equal(blobs_there(w), 0);
    folder_close(w);
}

static void test_retention_takes_the_blob_along(void **state)
{
    struct world *w = *state;

    folder_open(w);
    struct job job = run_one(w, "p", 200000);
    assert_packed_text(w, &job, 200000);
    for (int hours = 0; hours < 30 * 24 - 1; hours++) {
        advance(w, 3600 * SEC);
        settle(w);
    }
    assert_int_equal(blobs_there(w), 1);
    advance(w, 2 * 3600 * SEC);
    settle(w);
    pass(w, 60 * SEC);
    assert_int_equal(blobs_there(w), 0); /* at once: not after the day that an upload may wait */
    folder_close(w);
}

/* --- trouble --- */

static int commit_full(struct blob_upload *u, int64_t *ret_size, uint8_t ret_sha256[32], struct err *err)
{
    blob_folder()->abort(u);
    return err_set(err, ERR_NO_SPACE, 0, "the disk is full");
}

static void test_full_disk_costs_nothing_but_time(void **state)
{
    struct world *w = *state;
    struct blob_driver full = *blob_folder();

    folder_open(w);
    full.commit = commit_full;
    w->cfg.blob_driver = &full;
    world_engine(w, NULL);
    struct job job = run_one(w, "p", 200000);
    pass(w, 60 * SEC);
    assert_false(is_packed(w, &job));
    assert_true(packing.asked >= 2 && packing.asked <= 8); /* again and again, but not all the time */
    assert_int_equal(blobs_there(w), 0);
    w->cfg.blob_driver = blob_folder();
    world_engine(w, NULL);
    settle(w);
    assert_packed_text(w, &job, 200000);
    folder_close(w);
}

static struct uuid damaged;

static int log_read_damaged(struct store *s, const struct uuid *job_id, uint32_t attempt, int64_t offset, void *buf,
                            size_t max, struct log_part *ret, struct err *err)
{
    if (max > 0 && uuid_equal(job_id, &damaged))
        return err_set(err, ERR_CORRUPT, 0, "the log has a gap");
    return store_sqlite()->log_read(s, job_id, attempt, offset, buf, max, ret, err);
}

static void test_damaged_log_is_in_nobodys_way(void **state)
{
    struct world *w = *state;
    struct store_driver bad = *store_sqlite();

    folder_open(w);
    packing.how = REFUSE;
    struct job broken = run_one(w, "p1", 200000), good = run_one(w, "p2", 200000);
    damaged = broken.job_id;
    bad.log_read = log_read_damaged;
    packing.how = RUN;
    world_engine(w, &bad);
    settle(w);
    assert_false(is_packed(w, &broken));
    assert_packed_text(w, &good, 200000);
    packing.asked = 0;
    pass(w, 300 * SEC);
    assert_int_equal(packing.asked, 0);
    folder_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed_log_reads_from_any_offset),
        cmocka_unit_test(test_damage_is_seen),
        TEST(test_large_log_is_packed_once),
        TEST(test_rows_of_a_packed_log_go_in_passes),
        TEST(test_many_logs_wait_their_turn),
        TEST(test_crash_between_bytes_and_row),
        TEST(test_what_may_still_grow_is_not_packed),
        TEST(test_job_discarded_while_its_log_is_packed),
        TEST(test_retention_takes_the_blob_along),
        TEST(test_full_disk_costs_nothing_but_time),
        TEST(test_damaged_log_is_in_nobodys_way),
    };
    return cmocka_run_group_tests_name("engine-pack", tests, NULL, NULL);
}
