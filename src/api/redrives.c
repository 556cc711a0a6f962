/* POST and GET /v1/redrives, GET /v1/redrives/{redrive_id}, POST .../cancel: what is done to many dead letters by the server itself. */
#include "api/dead.h"
#include "api/list.h"
#include "api/read.h"
#include "api/render.h"
#include "api/routes.h"
#include "base/auto.h"
#include "base/sha256.h"
#include "base/text.h"
#include <inttypes.h>

#define LIST_ARENA_MAX (32u * 1024 * 1024) /* 1000 of them with all their labels */

static const char *const actions[REDRIVE_ACTION_COUNT] = {[REDRIVE_RETRY] = "retry", [REDRIVE_DISCARD] = "discard"};

/* --- as it looks --- */

static void render_label(struct json_writer *w, const struct label_filter *l)
{
    char text[JOB_LABEL_KEY_MAX + JOB_LABEL_VALUE_MAX + 2];
    snprintf(text, sizeof(text), "%s%s%s", l->key, l->value ? "=" : "", l->value ? l->value : "");
    jw_string(w, NULL, text);
}

static void render_filter(struct json_writer *w, const struct job_filter *f)
{
    jw_object(w, "filter");
    render_fingerprint(w, "fingerprint", f->fingerprint);
    jw_string(w, "task_type", f->task_type);
    jw_string(w, "queue", f->queue);
    jw_array(w, "labels");
    for (size_t i = 0; i < f->n_labels; i++)
        render_label(w, &f->labels[i]);
    jw_array_end(w);
    jw_time(w, "created_after", f->created_after);
    jw_time(w, "created_before", f->created_before);
    jw_time(w, "failed_before", f->failed_before);
    jw_object_end(w);
}

static void render_rate(struct json_writer *w, const struct rate *rate)
{
    char text[32];
    if (rate->n == 0) {
        jw_null(w, "rate");
        return;
    }
    snprintf(text, sizeof(text), "%" PRId64 "/%s", rate->n,
             rate->per == USEC_PER_SEC        ? "s"
             : rate->per == 60 * USEC_PER_SEC ? "m"
                                              : "h");
    jw_string(w, "rate", text);
}

static void render_redrive(struct json_writer *w, const char *key, const struct redrive *r)
{
    static const char *const states[] = {
        [REDRIVE_RUNNING] = "running", [REDRIVE_DONE] = "done", [REDRIVE_CANCELLED] = "cancelled"};
    jw_object(w, key);
    render_uuid(w, "redrive_id", &r->redrive_id);
    jw_string(w, "action", actions[r->action]);
    jw_bool(w, "dry_run", r->dry_run);
    render_filter(w, &r->filter);
    if (r->limit)
        jw_int(w, "limit", r->limit);
    else
        jw_null(w, "limit");
    render_rate(w, &r->rate);
    jw_string(w, "state", states[r->state]);
    if (r->counted)
        jw_int(w, "matched", r->matched);
    else
        jw_null(w, "matched");
    jw_int(w, "done", r->done);
    jw_int(w, "skipped", r->skipped);
    jw_time(w, "created_at", r->created_at);
    jw_time(w, "ended_at", r->ended_at);
    jw_object_end(w);
}

static void reply_redrive(struct http_request *req, int status, const struct redrive *r)
{
    struct json_writer w;
    struct buf body;
    buf_init(&body, API_ANSWER_MAX);
    jw_init(&w, &body);
    render_redrive(&w, NULL, r);
    reply_json(req, status, &body);
}

/* --- POST --- */

static int read_action(struct json_reader *r, enum redrive_action *ret)
{
    const char *text = json_get_string(r, "action", true, 1, 32);
    for (size_t i = 0; text && i < REDRIVE_ACTION_COUNT; i++)
        if (strcmp(text, actions[i]) == 0) {
            *ret = (enum redrive_action)i;
            return ERR_OK;
        }
    return r->code ? r->code : (r->code = err_field(r->err, "action", "must be retry or discard"));
}

static int read_rate(struct json_reader *r, struct rate *ret)
{
    const char *text = json_get_string(r, "rate", false, 1, 32);
    struct err why = {0};
    if (text && rate_parse(text, "rate", ret, &why) != ERR_OK)
        r->code = err_field(r->err, "rate", "%s", why.msg);
    return r->code;
}

static int read_name(struct json_reader *r, const char *key, struct arena *arena, const char **ret)
{
    const char *s = json_get_string(r, key, false, 1, JOB_NAME_MAX);
    if (!s)
        return r->code;
    if (!name_valid(s, JOB_NAME_MAX))
        return r->code = err_field(r->err, arena_printf(arena, "%s%s", r->where, key), "is not a name");
    *ret = arena_strdup(arena, s);
    return *ret ? ERR_OK : (r->code = no_memory(r->err));
}

static bool label_valid(const char *s)
{
    struct label_filter l;
    return label_split(s, NULL, &l);
}

static int read_labels(struct json_reader *r, struct arena *arena, struct job_filter *f)
{
    const char *const *labels = NULL;
    size_t n = 0;
    if (read_strings(r, "labels", FILTER_LABELS_MAX, label_valid,
                     "key=value, or key for any value; a key has 1 to 63 bytes, a value at most 255", arena, &labels,
                     &n))
        return r->code;
    for (size_t i = 0; i < n; i++)
        if (!label_split(labels[i], arena, &f->labels[f->n_labels++]))
            return r->code = no_memory(r->err);
    return ERR_OK;
}

static int read_filter(json_t *value, struct arena *arena, struct job_filter *f, struct err *err)
{
    struct json_reader r;
    json_reader_init(&r, value, "filter.", err);
    const char *fingerprint = json_get_string(&r, "fingerprint", false, 1, 64);
    if (!r.code)
        r.code = fingerprint_read(fingerprint, "filter.fingerprint", &f->fingerprint, err);
    if (read_name(&r, "task_type", arena, &f->task_type) || read_name(&r, "queue", arena, &f->queue) ||
        read_labels(&r, arena, f))
        return r.code;
    f->created_after = json_get_time(&r, "created_after", 0);
    f->created_before = json_get_time(&r, "created_before", 0);
    f->failed_before = json_get_time(&r, "failed_before", 0);
    return json_reader_end(&r);
}

static int read_key(struct http_request *req, struct op_redrive *op, struct err *err)
{
    const char *key = http_header(req, "Idempotency-Key");
    size_t n = key ? strlen(key) : 0;
    if (key && (n < 1 || n > JOB_KEY_MAX || !utf8_valid(key, n)))
        return err_field(err, "Idempotency-Key", "must be text of 1 to %d bytes", JOB_KEY_MAX);
    op->key = key;
    return ERR_OK;
}

/* Same request, same hash: it is made of how the redrive looks before it has an id, a time and a state. */
static int hash(struct op_redrive *op, struct err *err)
{
    struct json_writer w;
    struct buf text;
    buf_init(&text, API_JSON_MAX);
    jw_init(&w, &text);
    render_redrive(&w, NULL, &op->redrive);
    int rc = text.failed ? no_memory(err) : ERR_OK;
    if (!rc)
        sha256_once(text.data, text.len, op->request_hash);
    buf_release(&text);
    return rc;
}

static int parse(struct http_request *req, struct op_redrive *op, struct err *err)
{
    struct redrive *d = &op->redrive;
    json_t *root = NULL;
    struct json_reader r;
    int rc = req_json(req, true, &root, err);
    if (rc)
        return rc;
    json_reader_init(&r, root, "", err);
    (void)read_action(&r, &d->action); /* the first error sticks */
    json_t *filter = json_get_value(&r, "filter", true, JSON_OBJECT);
    d->limit = json_get_int(&r, "limit", 0, 1, INT32_MAX);
    d->dry_run = json_get_bool(&r, "dry_run", false);
    rc = read_rate(&r, &d->rate);
    if (!rc)
        rc = json_reader_end(&r);
    if (!rc)
        rc = read_filter(filter, http_arena(req), &d->filter, err);
    json_decref(root);
    if (!rc)
        rc = read_key(req, op, err);
    return rc ? rc : hash(op, err);
}

static void made(struct call *c)
{
    const struct op_redrive *op = &c->op.u.redrive;
    char id[UUID_STR_MAX], location[64];
    uuid_format(&op->redrive.redrive_id, id);
    snprintf(location, sizeof(location), "/v1/redrives/%s", id);
    http_set_header(c->req, "Location", location);
    reply_redrive(c->req, op->duplicate ? 200 : 201, &op->redrive);
}

void redrives_post(struct http_request *req)
{
    struct err err;
    struct call *c = call_enter(req, OP_REDRIVE, made);
    if (!c)
        return;
    err_clear(&err);
    if (req_query_none(req, &err) || parse(req, &c->op.u.redrive, &err)) {
        reply_err(req, &err);
        return;
    }
    c->op.u.redrive.redrive.redrive_id = uuid_v7(c->api->clock.wall_us(c->api->clock.self), c->api->rng);
    call_offer(c);
}

/* --- one of them --- */

static int read_id(struct http_request *req, struct uuid *ret, struct err *err)
{
    const char *text = http_param(req, "redrive_id");
    if (uuid_parse(text, ret))
        return ERR_OK;
    return err_set(err, ERR_NOT_FOUND, 0, "no redrive '%.64s'", text);
}

static void cancelled(struct call *c)
{
    reply_redrive(c->req, 200, &c->op.u.redrive.redrive);
}

void redrive_cancel_post(struct http_request *req)
{
    struct err err;
    struct call *c = call_enter(req, OP_REDRIVE_CANCEL, cancelled);
    if (!c)
        return;
    err_clear(&err);
    if (req_query_none(req, &err) || read_id(req, &c->op.u.redrive.redrive.redrive_id, &err) ||
        req_no_json(req, &err)) {
        reply_err(req, &err);
        return;
    }
    call_offer(c);
}

struct redrive_call {
    struct api *api;
    struct http_request *req;
    struct uuid id; /* nil: a page */
    struct redrive_filter filter;
};

static int render_page(struct redrive_call *c, struct arena *arena, struct json_writer *w, struct err *err)
{
    struct redrive_page page;
    int rc = c->api->store_driver->redrives(c->api->store, &c->filter, arena, &page, err);
    if (rc)
        return rc;
    jw_object(w, NULL);
    jw_array(w, "redrives");
    for (size_t i = 0; i < page.n; i++)
        render_redrive(w, NULL, &page.redrives[i]);
    jw_array_end(w);
    render_uuid(w, "next_cursor", page.more ? &page.redrives[page.n - 1].redrive_id : &(struct uuid){{0}});
    jw_object_end(w);
    return ERR_OK;
}

static int render_one(struct redrive_call *c, struct arena *arena, struct json_writer *w, struct err *err)
{
    struct redrive r;
    int rc = c->api->store_driver->redrive_get(c->api->store, API_PROJECT, &c->id, arena, &r, err);
    if (!rc)
        render_redrive(w, NULL, &r);
    return rc;
}

static int read_render(void *arg, struct arena *arena, struct json_writer *w, struct err *err)
{
    struct redrive_call *c = arg;
    return uuid_is_nil(&c->id) ? render_page(c, arena, w, err) : render_one(c, arena, w, err);
}

static void read_task(void *arg)
{
    struct redrive_call *c = arg;
    read_answer(c->req, LIST_ARENA_MAX, read_render, c);
}

static int parse_page(struct http_request *req, struct redrive_filter *f, struct err *err)
{
    static const char *const known[] = {"limit", "cursor", NULL};
    const char *cursor = http_query(req, "cursor");
    int64_t limit = 0;
    int rc = req_query_only(req, known, err);
    if (!rc)
        rc = req_query_int(req, "limit", 50, 1, 1000, &limit, err);
    if (!rc && cursor && !uuid_parse(cursor, &f->before))
        rc = err_field(err, "cursor", "must be the next_cursor of an earlier answer");
    f->project = API_PROJECT;
    f->limit = (unsigned)limit;
    return rc;
}

static void start_read(struct http_request *req, bool one)
{
    struct err err;
    struct api *api = api_enter(req);
    if (!api)
        return;
    err_clear(&err);
    struct redrive_call *c = arena_alloc(http_arena(req), sizeof(*c));
    int rc = !c ? no_memory(&err) : one ? req_query_none(req, &err) : parse_page(req, &c->filter, &err);
    if (!rc && one)
        rc = read_id(req, &c->id, &err);
    if (!rc && one && uuid_is_nil(&c->id))
        rc = err_set(&err, ERR_NOT_FOUND, 0, "no redrive has the nil id");
    if (rc) {
        reply_err(req, &err);
        return;
    }
    c->api = api;
    c->req = req;
    req_run(req, api->reads, read_task, c);
}

void redrives_get(struct http_request *req)
{
    start_read(req, false);
}

void redrive_get(struct http_request *req)
{
    start_read(req, true);
}
