/* Uploads that may be resumed: a row until the last byte makes a blob of it, or time or somebody ends it. */
#include "suite.h"
#include "base/sha256.h"

static struct op *add_op(struct world *w, int64_t size, const char *metadata)
{
    struct op *op = op_make(w, OP_UPLOAD_ADD);

    op->u.upload.row = (struct upload_row){.upload_id = id_make(w), .size = size, .metadata = metadata};
    return op;
}

static struct upload_row add(struct world *w, int64_t size)
{
    struct op *op = add_op(w, size, NULL);

    apply(w, op);
    assert_ok(op);
    return op->u.upload.row;
}

static struct op *id_op(struct world *w, enum op_kind kind, struct uuid id)
{
    struct op *op = op_make(w, kind);

    op->u.upload.row.upload_id = id;
    apply(w, op);
    return op;
}

static bool known(struct world *w, struct uuid id, bool expired, struct upload_row *ret)
{
    int rc = w->d->upload_get(w->s, "default", &id, expired, w->arena, ret, NULL);

    assert_true(rc == ERR_OK || rc == ERR_NOT_FOUND);
    return rc == ERR_OK;
}

static struct op *finish_op(struct world *w, struct uuid id, const char *bytes)
{
    struct op *op = op_make(w, OP_BLOB_ADD);

    op->u.blob_add.row = (struct blob_row){.blob_id = id, .size = (int64_t)strlen(bytes)};
    op->u.blob_add.uploaded = true;
    sha256_once(bytes, strlen(bytes), op->u.blob_add.row.sha256);
    return op;
}

static void test_an_upload_is_remembered_as_announced(void **state)
{
    struct world *w = *state;
    struct op *op = add_op(w, INT64_C(5) << 40, "filename Y2xpcA==,empty");
    struct upload_row row;

    op->u.upload.row.hashed = true;
    sha256_once("clip", 4, op->u.upload.row.sha256);
    apply(w, op);
    assert_ok(op);
    world_reopen(w);
    assert_true(known(w, op->u.upload.row.upload_id, false, &row));
    assert_int_equal(row.size, INT64_C(5) << 40);
    assert_true(row.hashed);
    assert_memory_equal(row.sha256, op->u.upload.row.sha256, 32);
    assert_string_equal(row.metadata, "filename Y2xpcA==,empty");
    assert_int_equal(row.created_at, op->u.upload.row.created_at);
    assert_int_equal(row.expires_at, row.created_at + w->policy.upload_keep_us);

    struct upload_row plain = add(w, 0);
    assert_true(known(w, plain.upload_id, false, &row));
    assert_false(row.hashed);
    assert_null(row.metadata);
    assert_int_equal(w->d->upload_get(w->s, "another", &plain.upload_id, false, w->arena, &row, NULL), ERR_NOT_FOUND);
}

static void test_the_last_byte_makes_it_a_blob_in_one_step(void **state)
{
    struct world *w = *state;
    struct upload_row row, upload = add(w, 4);
    struct op *finish = finish_op(w, upload.upload_id, "four");

    apply(w, finish);
    assert_ok(finish);
    assert_int_equal(refs(w, upload.upload_id), 0);
    assert_false(known(w, upload.upload_id, true, &row));
    /* and what is no upload any more becomes no blob */
    struct upload_row ended = add(w, 4);
    assert_ok(id_op(w, OP_UPLOAD_END, ended.upload_id));
    finish = finish_op(w, ended.upload_id, "four");
    apply(w, finish);
    assert_refused(finish, ERR_NOT_FOUND);
    assert_int_equal(refs(w, ended.upload_id), -1);
    assert_refused(id_op(w, OP_UPLOAD_END, ended.upload_id), ERR_NOT_FOUND);
    assert_refused(id_op(w, OP_UPLOAD_TOUCH, ended.upload_id), ERR_NOT_FOUND);
    assert_refused(id_op(w, OP_UPLOAD_END, upload.upload_id), ERR_NOT_FOUND);
}

static void test_P19_what_rests_too_long_is_swept(void **state)
{
    struct world *w = *state;
    const usec keep = w->policy.upload_keep_us;
    struct upload_row row, rests = add(w, 1), goes_on = add(w, 2);

    assert_int_equal(sweep(w, OP_SWEEP_UPLOADS)->u.sweep.next_at, rests.expires_at);
    later(w, keep - 1);
    struct op *touch = id_op(w, OP_UPLOAD_TOUCH, goes_on.upload_id);
    assert_ok(touch);
    assert_true(touch->u.upload.row.expires_at >= goes_on.expires_at + keep - 1);
    assert_int_equal(sweep(w, OP_SWEEP_UPLOADS)->u.sweep.n_removed, 0);
    assert_true(known(w, rests.upload_id, false, &row));
    later(w, 1000);
    assert_false(known(w, rests.upload_id, false, &row)); /* swept or not */
    assert_true(known(w, rests.upload_id, true, &row));
    assert_refused(id_op(w, OP_UPLOAD_END, rests.upload_id), ERR_NOT_FOUND);
    struct op *s = sweep(w, OP_SWEEP_UPLOADS);
    assert_int_equal(s->u.sweep.n_removed, 1);
    assert_true(uuid_equal(&s->u.sweep.removed[0], &rests.upload_id));
    assert_int_equal(s->u.sweep.next_at, touch->u.upload.row.expires_at);
    assert_false(known(w, rests.upload_id, true, &row));
    assert_true(known(w, goes_on.upload_id, false, &row));
}

static void test_uploads_are_bounded_in_number(void **state)
{
    struct world *w = *state;
    const size_t most = OP_CHANGES_MAX + 10;
    struct uuid first = {{0}};

    w->policy.uploads_max = (int64_t)most;
    world_reopen(w);
    for (size_t i = 0; i < most; i++)
        first = add(w, 1).upload_id;
    struct op *more = add_op(w, 1, NULL);
    apply(w, more);
    assert_refused(more, ERR_BUSY);
    assert_ok(id_op(w, OP_UPLOAD_END, first));
    add(w, 1);
    /* they go in passes */
    later(w, w->policy.upload_keep_us);
    struct op *s = sweep(w, OP_SWEEP_UPLOADS);
    assert_int_equal(s->u.sweep.n_removed, OP_CHANGES_MAX);
    assert_true(s->u.sweep.more);
    s = sweep(w, OP_SWEEP_UPLOADS);
    assert_int_equal(s->u.sweep.n_removed, 10);
    assert_false(s->u.sweep.more);
}

const struct CMUnitTest upload_tests[] = {
    TEST(test_an_upload_is_remembered_as_announced),
    TEST(test_the_last_byte_makes_it_a_blob_in_one_step),
    TEST(test_P19_what_rests_too_long_is_swept),
    TEST(test_uploads_are_bounded_in_number),
};
const size_t n_upload_tests = ARRAY_LEN(upload_tests);
