/* PUT .../checkpoint and GET /v1/jobs/{job_id}/checkpoint: where the next attempt goes on. */
#include "api/read.h"
#include "api/render.h"
#include "api/routes.h"
#include "api/submission.h"
#include "base/text.h"

static int file_parse(json_t *value, bool newer, size_t i, struct arena *arena, struct checkpoint_file *ret,
                      struct err *err)
{
    struct json_reader r;
    char where[32], field[48];
    snprintf(where, sizeof(where), "files[%zu].", i);
    json_reader_init(&r, value, where, err);
    const char *name = json_get_string(&r, "name", true, 1, 255), *ref = json_get_string(&r, "ref", true, 1, 1024);
    ret->executable = json_get_bool(&r, "executable", false);
    const int rc = worker_json_end(&r, newer);
    if (rc)
        return rc;
    snprintf(field, sizeof(field), "%sname", where);
    if (!filename_valid(name))
        return err_field(err, field, "must be a file name of 1 to 255 bytes without '/'");
    snprintf(field, sizeof(field), "%sref", where);
    ret->name = arena_strdup(arena, name);
    ret->ref = ref_canonical(ref, field, arena, err);
    return !ret->ref ? (int)err->code : ret->name ? ERR_OK : no_memory(err);
}

static int parse(struct http_request *req, struct op_checkpoint *op, struct err *err)
{
    json_t *root = NULL;
    struct json_reader r;
    int rc = req_json(req, true, &root, err);
    if (rc)
        return rc;
    json_reader_init(&r, root, "", err);
    op->percent = json_get_real(&r, "percent", -1, 0, 100);
    op->sequence = json_get_int(&r, "sequence", 0, 1, INT64_MAX);
    json_t *list = json_get_value(&r, "files", true, JSON_ARRAY);
    const bool newer = req_newer(req);
    rc = worker_json_end(&r, newer);
    if (!rc && json_array_size(list) > JOB_CHECKPOINT_MAX)
        rc = err_field(err, "files", "must have at most %d items", JOB_CHECKPOINT_MAX);
    op->n_files = rc ? 0 : json_array_size(list);
    struct checkpoint_file *files = arena_array(http_arena(req), op->n_files + 1, sizeof(*files));
    if (!rc && !files)
        rc = no_memory(err);
    for (size_t i = 0; i < op->n_files && !rc; i++)
        rc = file_parse(json_array_get(list, i), newer, i, http_arena(req), &files[i], err);
    op->files = files;
    json_decref(root);
    return rc;
}

static void stored(struct call *c)
{
    reply_empty(c->req, 204);
}

void checkpoint_put(struct http_request *req)
{
    struct err err;
    struct call *c = call_enter(req, OP_CHECKPOINT, stored);
    if (!c)
        return;
    err_clear(&err);
    struct op_checkpoint *op = &c->op.u.checkpoint;
    if (req_query_none(req, &err) || req_token(req, &op->job_id, &op->token, &err) || parse(req, op, &err))
        reply_err(req, &err);
    else
        call_offer(c);
}

static void render_file(struct json_writer *w, const struct checkpoint_row *f)
{
    jw_object(w, NULL);
    jw_string(w, "name", f->name);
    render_ref(w, "ref", &f->blob_id);
    jw_int(w, "size", f->size);
    render_sha256(w, "sha256", f->sha256);
    jw_bool(w, "executable", f->executable);
    jw_object_end(w);
}

static int render(struct read_call *r, struct arena *arena, struct json_writer *w, struct err *err)
{
    struct checkpoint cp;
    const int rc = r->api->store_driver->checkpoint(r->api->store, &r->job_id, arena, &cp, err);
    if (rc)
        return rc;
    if (!cp.attempt)
        return err_set(err, ERR_NOT_FOUND, 0, "the job has no checkpoint");
    jw_object(w, NULL);
    jw_int(w, "attempt", cp.attempt);
    jw_time(w, "at", cp.at);
    if (cp.percent < 0)
        jw_null(w, "percent");
    else
        jw_real(w, "percent", cp.percent);
    jw_int(w, "bytes", cp.bytes);
    jw_array(w, "files");
    for (size_t i = 0; i < cp.n_files; i++)
        render_file(w, &cp.files[i]);
    jw_array_end(w);
    jw_object_end(w);
    return ERR_OK;
}

void checkpoint_get(struct http_request *req)
{
    read_start(req, true, render);
}
