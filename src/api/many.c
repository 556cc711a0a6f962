#include "api/many.h"
#include "base/log.h"

static void many_free(void *data)
{
    struct many *m = data;
    arena_free(m->arena);
    free(m);
}

struct many *many_new(struct api *api, struct http_request *req, size_t arena_max, void (*decided)(struct many *m))
{
    struct many *m = calloc(1, sizeof(*m));
    if (m) {
        *m = (struct many){.api = api, .req = req, .arena = arena_new(arena_max), .decided = decided};
        http_set_data(req, m, many_free);
    }
    if (m && m->arena)
        return m;
    struct err err;
    no_memory(&err);
    reply_err(req, &err);
    return NULL;
}

static void decided_task(void *arg)
{
    struct many *m = arg;
    m->decided(m);
}

/* A thousand results take a while to write: not on the engine's thread, unless the pool is full. What is decided is answered. */
static void one_done(struct op *op)
{
    struct many *m = op->owner;
    if (--m->waiting == 0 && pool_run(m->api->reads, decided_task, m, NULL) != ERR_OK)
        m->decided(m);
}

int many_ops(struct many *m, enum op_kind kind, size_t n, struct err *err)
{
    m->ops = arena_array(m->arena, n, sizeof(*m->ops));
    if (!m->ops)
        return no_memory(err);
    m->n = n;
    for (size_t i = 0; i < n; i++) {
        struct op *op = &m->ops[i];
        op->kind = kind;
        op->project = API_PROJECT;
        op->arena = m->arena;
        op->done = one_done;
        op->owner = m;
    }
    return ERR_OK;
}

/* One letter for all of them: none is committed before the last is in the queue. The last one decided may end the request, and not
 * before the loop's last turn: nothing of `m` is looked at after it. */
static void offer_letter(struct engine *e, void *arg)
{
    struct many *m = arg;
    struct op *ops = m->ops;
    for (size_t i = 0, left = m->waiting; left > 0; i++)
        if (ops[i].err.code == ERR_OK) {
            left--;
            engine_offer(e, &ops[i]);
        }
}

void many_offer(struct many *m)
{
    for (size_t i = 0; i < m->n; i++)
        m->waiting += m->ops[i].err.code == ERR_OK;
    if (m->waiting > 0)
        loop_post(m->api->loop, &m->letter, offer_letter, m);
    else
        m->decided(m);
}

static void write_refusal(struct json_writer *w, const struct many *m, const struct err *err)
{
    jw_int(w, "status", err_http(err->code));
    http_write_problem(m->req, w, "problem", err);
    if (err_http(err->code) == 503)
        jw_int(w, "retry_after_s", 1);
}

void many_reply(struct many *m, void (*result)(struct json_writer *w, const struct many *m, size_t i),
                const struct many_count *counts, size_t n_counts)
{
    struct buf body;
    struct json_writer w;
    bool logged = false;
    buf_init(&body, API_ANSWER_MAX);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    jw_array(&w, "results");
    for (size_t i = 0; i < m->n; i++) {
        const struct err *err = &m->ops[i].err;
        jw_object(&w, NULL);
        result(&w, m, i);
        if (err->code != ERR_OK)
            write_refusal(&w, m, err);
        if (!logged && err_http(err->code) >= 500 && !err_repeatable(err->code)) {
            log_err(http_path(m->req), err); /* the first: they come in herds */
            logged = true;
        }
        if (err_http(err->code) == 503)
            http_set_header(m->req, "Retry-After", "1");
        jw_object_end(&w);
    }
    jw_array_end(&w);
    for (size_t i = 0; i < n_counts; i++)
        jw_int(&w, counts[i].name, (int64_t)counts[i].n);
    jw_object_end(&w);
    reply_json(m->req, 200, &body);
}
