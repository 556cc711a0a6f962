/* POST /v1/jobs, GET /v1/jobs/{job_id} (with ?wait). */
#include "api/render.h"
#include "api/routes.h"
#include "api/submission.h"
#include "api/traced.h"

static void submitted(struct call *c)
{
    const struct op_submit *s = &c->op.u.submit;
    char id[UUID_STR_MAX], location[64];
    uuid_format(&s->job.job_id, id);
    snprintf(location, sizeof(location), "/v1/jobs/%s", id);
    http_set_header(c->req, "Location", location);
    reply_job(c->api, c->req, s->duplicate ? 200 : 201, &s->job);
}

void jobs_submit(struct http_request *req)
{
    struct err err;
    struct call *c = call_enter(req, OP_SUBMIT, submitted);
    if (!c)
        return;
    err_clear(&err);
    const struct api *api = c->api;
    size_t n = 0;
    const char *body = http_body(req, &n);
    if (req_query_none(req, &err) ||
        submission_parse(body, n, http_header(req, "Idempotency-Key"), &api->policy, http_arena(req), &c->op.u.submit,
                         &err) ||
        traced_by_headers(req, http_arena(req), &c->op.u.submit.job, &err) ||
        submit_hash(c->op.project, &c->op.u.submit.job, &c->op.u.submit.hashes, &err)) {
        reply_err(req, &err);
        return;
    }
    c->op.u.submit.job.job_id = uuid_v7(api->clock.wall_us(api->clock.self), api->rng);
    call_offer(c);
}

/* --- get, with wait ---
 * The watch is set first (engine's thread), then the job is read (pool), so that no change falls between. Two things happen in
 * any order: the watch fires, and the read ends. Each sets its bit; who comes second goes on:
 *   read first, nothing new:  the watch's firing starts another read
 *   read first, an answer:    the watch is taken back on the engine's thread, then the answer goes out (nobody holds it any more)
 *   watch first:              another read, at once
 * That other read answers, unless nothing visible changed and there is time left: then all of it starts again. */
enum { GET_FIRED = 1, GET_READ = 2, GET_ANSWER = 4 /* the read found what to say */ };

struct get_call {
    struct api *api;
    struct http_request *req;
    struct uuid job_id;
    int64_t since; /* answer when the version is above; -1: not known before the first read */
    usec until_boot_us;
    struct watch watch;
    struct loop_letter letter; /* one at a time is on its way */
    atomic_uint state;
    struct err err;
    struct job job;
    struct arena *arena; /* of the latest read */
};

static void get_free(void *data)
{
    struct get_call *g = data;
    arena_free(g->arena);
    free(g);
}

static void get_read(struct get_call *g)
{
    err_clear(&g->err);
    arena_free(g->arena);
    g->arena = arena_new(API_ANSWER_MAX);
    if (g->arena)
        g->api->store_driver->job_get(g->api->store, API_PROJECT, &g->job_id, g->arena, &g->job, &g->err);
    else
        no_memory(&g->err);
}

static void get_answer_task(void *arg)
{
    struct get_call *g = arg;
    if (g->err.code != ERR_OK)
        reply_err(g->req, &g->err);
    else
        reply_job_read(g->api, g->req, 200, &g->job);
}

static void get_now_task(void *arg)
{
    get_read(arg);
    get_answer_task(arg);
}

static void get_watch(struct engine *e, void *arg);

static void get_again_task(void *arg)
{
    struct get_call *g = arg;
    usec left_us = g->until_boot_us - g->api->clock.boot_us(g->api->clock.self);
    get_read(g);
    if (g->err.code != ERR_OK || g->since < 0 || g->job.version > g->since || left_us <= 0 ||
        atomic_load(&g->api->draining)) {
        get_answer_task(g);
        return;
    }
    atomic_store(&g->state, 0);
    g->watch.wait_us = left_us;
    loop_post(g->api->loop, &g->letter, get_watch, g);
}

static void get_fired(struct watch *w)
{
    struct get_call *g = w->owner;
    unsigned before = atomic_fetch_or(&g->state, GET_FIRED);
    if ((before & GET_READ) && !(before & GET_ANSWER))
        req_run(g->req, g->api->reads, get_again_task, g);
}

static void get_take_back(struct engine *e, void *arg)
{
    struct get_call *g = arg;
    engine_unwatch(e, &g->watch);
    req_run(g->req, g->api->reads, get_answer_task, g);
}

static void get_first_task(void *arg)
{
    struct get_call *g = arg;
    get_read(g);
    bool answer = g->err.code != ERR_OK || (g->since >= 0 && g->job.version > g->since) ||
                  g->job.status == JOB_SUCCESS; /* for ever: nothing to wait for */
    bool fresh = g->since < 0;
    if (fresh && g->err.code == ERR_OK && !(atomic_load(&g->state) & GET_FIRED))
        g->since = g->job.version;
    unsigned before = atomic_fetch_or(&g->state, GET_READ | (answer ? GET_ANSWER : 0u));
    if ((before & GET_FIRED) && fresh) {
        get_now_task(g); /* it changed since the request came; whether this read saw it cannot be told, so look again */
    } else if (before & GET_FIRED) {
        get_again_task(g);
    } else if (answer) {
        loop_post(g->api->loop, &g->letter, get_take_back, g);
    }
}

static void get_watch(struct engine *e, void *arg)
{
    struct get_call *g = arg;
    struct err err;
    err_clear(&err);
    engine_watch(e, &g->watch);
    if (pool_run(g->api->reads, get_first_task, g, &err) == ERR_OK)
        return;
    unsigned before = atomic_fetch_or(&g->state, GET_READ | GET_ANSWER);
    if (!(before & GET_FIRED))
        engine_unwatch(e, &g->watch);
    reply_err(g->req, &err);
}

static int get_parse(struct http_request *req, struct get_call *g, struct err *err)
{
    static const char *const known[] = {"wait", "version", NULL};
    int rc = req_query_only(req, known, err);
    if (!rc)
        rc = req_job_id(req, &g->job_id, err);
    if (!rc)
        rc = req_query_duration(req, "wait", 0, API_WAIT_MAX_US, &g->watch.wait_us, err);
    return rc ? rc : req_query_int(req, "version", -1, 0, INT64_MAX, &g->since, err);
}

void jobs_get(struct http_request *req)
{
    struct err err;
    struct api *api = api_enter(req);
    if (!api)
        return;
    err_clear(&err);
    struct get_call *g = calloc(1, sizeof(*g));
    if (g)
        http_set_data(req, g, get_free);
    if (!g ? no_memory(&err) : get_parse(req, g, &err)) {
        reply_err(req, &err);
        return;
    }
    g->api = api;
    g->req = req;
    g->until_boot_us = api->clock.boot_us(api->clock.self) + g->watch.wait_us;
    g->watch.job_id = g->job_id;
    g->watch.fire = get_fired;
    g->watch.owner = g;
    atomic_init(&g->state, 0);
    if (g->watch.wait_us > 0 && !atomic_load(&api->draining))
        loop_post(api->loop, &g->letter, get_watch, g);
    else
        req_run(req, api->reads, get_now_task, g);
}
