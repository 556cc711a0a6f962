/* GET /v1/queues and /v1/queues/{queue}, POST .../pause and .../resume. */
#include "api/render.h"
#include "api/routes.h"
#include "api/survey.h"
#include "base/auto.h"
#include "base/text.h"

/* --- as they look --- */

struct queue_sums {
    const char *queue;
    int64_t by_status[JOB_STATUS_COUNT];
    uint64_t ready;
    usec oldest_at;
    double per_min[RATE_COUNT];
    bool partly; /* of some of its types the engine does not know */
};

static void sums_add(struct queue_sums *q, const struct survey *s, const struct stat_row *row)
{
    size_t at = survey_pair(s, row);
    const struct metrics_pair *pair = &s->engine.pairs[at];

    for (unsigned st = 0; st < JOB_STATUS_COUNT; st++)
        q->by_status[st] += row->by_status[st];
    q->partly = q->partly || at == 0;
    if (at == 0)
        return;
    q->ready += pair->ready;
    if (pair->oldest_at && (!q->oldest_at || pair->oldest_at < q->oldest_at))
        q->oldest_at = pair->oldest_at;
    survey_rates_add(s, pair, q->per_min);
}

static void render_pause(struct json_writer *w, const struct pause *p)
{
    jw_time(w, "paused_at", p ? p->at : 0);
    jw_string(w, "paused_by", p ? p->by : NULL);
    jw_string(w, "paused_reason", p ? p->reason : NULL);
}

static void render_queue(struct json_writer *w, const struct survey *s, const struct queue_sums *q)
{
    jw_object(w, NULL);
    jw_string(w, "queue", q->queue);
    render_pause(w, survey_pause(s, q->queue));
    for (unsigned st = 0; st < JOB_STATUS_COUNT; st++)
        jw_int(w, job_status_name((enum job_status)st), q->by_status[st]);
    if (q->partly) {
        jw_null(w, "ready");
        jw_null(w, "oldest_ready_age_s");
    } else {
        jw_int(w, "ready", (int64_t)q->ready);
        jw_duration_s(w, "oldest_ready_age_s", q->oldest_at ? MAX(s->engine.now - q->oldest_at, 0) : 0);
    }
    survey_render_rates(w, q->partly ? NULL : q->per_min);
    jw_object_end(w);
}

/* The next queue by name: of those that have jobs, whose rows stand together, and of those that are paused. false: there is none. */
static bool next_queue(const struct survey *s, size_t *row, size_t *pause, struct queue_sums *ret)
{
    const char *a = *row < s->n_stats ? s->stats[*row].queue : NULL;
    const char *b = *pause < s->n_pauses ? s->pauses[*pause].queue : NULL;

    if (!a && !b)
        return false;
    *ret = (struct queue_sums){.queue = !a || (b && strcmp(b, a) < 0) ? b : a};
    while (*row < s->n_stats && strcmp(s->stats[*row].queue, ret->queue) == 0)
        sums_add(ret, s, &s->stats[(*row)++]);
    if (b && strcmp(b, ret->queue) == 0)
        ++*pause;
    return true;
}

static int render_all(struct survey *s, struct err *err)
{
    size_t row = 0, pause = 0;
    struct queue_sums q;
    struct json_writer w;
    struct buf body;

    buf_init(&body, API_LIST_MAX);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    jw_array(&w, "queues");
    while (next_queue(s, &row, &pause, &q))
        render_queue(&w, s, &q);
    jw_array_end(&w);
    jw_object_end(&w);
    reply_json(s->req, 200, &body);
    return ERR_OK;
}

static int read_queue(struct http_request *req, const char **ret, struct err *err)
{
    *ret = http_param(req, "queue");
    if (plain_name_valid(*ret))
        return ERR_OK;
    return err_field(err, "queue", "must be the name of a queue: 1 to %d of A-Z a-z 0-9 . _ : -", JOB_NAME_MAX);
}

static int render_one(struct survey *s, struct err *err)
{
    size_t row = 0, pause = 0;
    const char *name = NULL;
    struct queue_sums q;
    struct json_writer w;
    struct buf body;
    int rc = read_queue(s->req, &name, err);

    if (rc)
        return rc;
    while (next_queue(s, &row, &pause, &q))
        if (strcmp(q.queue, name) == 0) {
            buf_init(&body, API_ANSWER_MAX);
            jw_init(&w, &body);
            render_queue(&w, s, &q);
            reply_json(s->req, 200, &body);
            return ERR_OK;
        }
    return err_set(err, ERR_NOT_FOUND, 0, "queue '%s' has no jobs and is not paused", name);
}

void queues_get(struct http_request *req)
{
    survey_start(req, render_all);
}

void queue_get(struct http_request *req)
{
    survey_start(req, render_one);
}

/* --- pause, resume --- */

static void decided(struct call *c)
{
    const struct op_pause *op = &c->op.u.pause;
    struct json_writer w;
    struct buf body;

    buf_init(&body, API_ANSWER_MAX);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    jw_string(&w, "queue", op->pause.queue);
    render_pause(&w, c->op.kind == OP_PAUSE ? &op->pause : NULL);
    jw_bool(&w, "changed", op->changed);
    jw_object_end(&w);
    reply_json(c->req, 200, &body);
}

static int read_pause(struct http_request *req, struct pause *p, struct err *err)
{
    json_t *root = NULL;
    struct json_reader r;
    int rc = req_json(req, false, &root, err);

    if (rc || !root)
        return rc;
    json_reader_init(&r, root, "", err);
    (void)read_words(&r, "by", PAUSE_BY_MAX, http_arena(req), &p->by); /* the first error sticks */
    (void)read_words(&r, "reason", PAUSE_REASON_MAX, http_arena(req), &p->reason);
    rc = json_reader_end(&r);
    json_decref(root);
    return rc;
}

static void act(struct http_request *req, enum op_kind kind)
{
    struct err err;
    struct call *c = call_enter(req, kind, decided);

    if (!c)
        return;
    err_clear(&err);
    struct pause *p = &c->op.u.pause.pause;
    if (req_query_none(req, &err) || read_queue(req, &p->queue, &err) ||
        (kind == OP_PAUSE ? read_pause(req, p, &err) : req_no_json(req, &err)))
        reply_err(req, &err);
    else
        call_offer(c);
}

void queue_pause_post(struct http_request *req)
{
    act(req, OP_PAUSE);
}

void queue_resume_post(struct http_request *req)
{
    act(req, OP_RESUME);
}
