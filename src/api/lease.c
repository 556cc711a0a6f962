/* POST /v1/lease: a worker's long poll, and the jobs it gets. */
#include "api/lease.h"
#include "api/render.h"
#include "api/routes.h"
#include "api/submission.h"
#include "base/text.h"
#include <inttypes.h>

#define LEASE_ARENA_MAX  (48u * 1024 * 1024) /* 64 jobs with everything at its largest, twice */
#define LEASE_ANSWER_MAX (32u * 1024 * 1024)
#define QUICK_BYTES      (64u * 1024) /* of payloads in an answer that a server thread writes by itself */
#define HANDLERS_MAX     1024
#define QUEUES_MAX       256

struct lease_call {
    struct api *api;
    struct http_request *req;
    struct lease_poll poll;
    struct loop_letter letter;
    struct lease_request ask;
    const struct claimed *claimed;
    size_t n;
};

static bool poll_id_valid(const char *s)
{
    return s && *s && strlen(s) <= 64;
}

static int copy(struct arena *arena, const char *s, const char **ret, struct json_reader *r)
{
    *ret = arena_strdup(arena, s);
    return s && !*ret ? (r->code = no_memory(r->err)) : r->code;
}

static int read_handlers(struct json_reader *r, json_t *map, struct arena *arena, struct lease_request *ask)
{
    size_t n = json_object_size(map), i = 0;
    const char **types = arena_array(arena, n, sizeof(*types)), **versions = arena_array(arena, n, sizeof(*versions));
    const char *k;
    json_t *v;
    if (!types || !versions)
        return r->code = no_memory(r->err);
    json_object_foreach (map, k, v) {
        types[i] = arena_strdup(arena, k);
        versions[i] = arena_strdup(arena, json_string_value(v));
        if (!types[i] || !versions[i])
            return r->code = no_memory(r->err);
        i++;
    }
    ask->want.task_types = types;
    ask->versions = versions;
    ask->want.n_task_types = n;
    return ERR_OK;
}

#define LOAD_CPUS_MAX 65536

/* Written anew: what is kept holds these members and no others. */
static int read_load(struct json_reader *outer, bool newer, struct arena *arena, const char **ret)
{
    struct json_reader r;
    json_t *load = json_get_value(outer, "load", false, JSON_OBJECT);
    if (!load)
        return outer->code;
    json_reader_init(&r, load, "load.", outer->err);
    const int64_t cpus = json_get_int(&r, "cpus", 0, 1, LOAD_CPUS_MAX);
    const double cpu = json_get_real(&r, "cpu", -1, 0, LOAD_CPUS_MAX);
    const int64_t used = json_get_int(&r, "memory_bytes", -1, 0, INT64_MAX);
    const int64_t total = json_get_int(&r, "memory_total_bytes", -1, 0, INT64_MAX);
    outer->code = worker_json_end(&r, newer);
    if (!outer->code && (cpus < 1 || cpu < 0 || used < 0 || total < 0))
        outer->code = err_field(outer->err, "load", "must have cpus, cpu, memory_bytes and memory_total_bytes");
    if (outer->code)
        return outer->code;
    *ret = arena_printf(
        arena, "{\"cpus\":%" PRId64 ",\"cpu\":%.3f,\"memory_bytes\":%" PRId64 ",\"memory_total_bytes\":%" PRId64 "}",
        cpus, cpu, used, total);
    return *ret ? ERR_OK : (outer->code = no_memory(outer->err));
}

static int parse_members(struct json_reader *r, json_t *root, bool newer, usec poll_us, struct arena *arena,
                         struct lease_request *ask)
{
    const char *worker_id = json_get_string(r, "worker_id", true, 1, 64);
    const char *poll_id = json_get_string(r, "poll_id", true, 1, 64);
    const char *name = json_get_string(r, "name", false, 1, 255), *host = json_get_string(r, "host", false, 1, 255);
    const char *version = json_get_string(r, "version", false, 1, 128);
    const char *isolation = json_get_string(r, "isolation", false, 1, 64);
    if (r->code || copy(arena, name, &ask->name, r) || copy(arena, host, &ask->host, r) ||
        copy(arena, version, &ask->version, r) || copy(arena, isolation, &ask->isolation, r))
        return r->code;
    if (!uuid_parse(worker_id, &ask->worker_id) || uuid_is_nil(&ask->worker_id))
        return r->code = err_field(r->err, "worker_id", "must be a UUID");
    if (!poll_id_valid(poll_id))
        return r->code = err_field(r->err, "poll_id", "must be text of 1 to 64 bytes");
    snprintf(ask->poll_id, sizeof(ask->poll_id), "%s", poll_id);
    if (read_string_map(r, "handlers", HANDLERS_MAX, JOB_NAME_MAX, 128, true, arena, &ask->handlers))
        return r->code;
    if (!ask->handlers || json_object_size(json_object_get(root, "handlers")) == 0)
        return r->code = err_field(r->err, "handlers", "is required: {task_type: version}, at least one");
    if (read_handlers(r, json_object_get(root, "handlers"), arena, ask) ||
        read_strings(r, "queues", QUEUES_MAX, plain_name_valid, "the name of a queue", arena, &ask->want.queues,
                     &ask->want.n_queues))
        return r->code;
    int64_t slots = json_get_int(r, "slots", -1, 0, 64);
    if (!r->code && slots < 0)
        return r->code = err_field(r->err, "slots", "is required: how many jobs are wanted, 0 to 64");
    ask->want.slots = (unsigned)slots;
    ask->slots_total = (unsigned)json_get_int(r, "slots_total", slots, 0, 65536);
    ask->slots_busy = (unsigned)json_get_int(r, "slots_busy", 0, 0, 65536);
    if (read_load(r, newer, arena, &ask->load))
        return r->code;
    ask->wait_us = json_get_duration(r, "wait", poll_us, 0, API_WAIT_MAX_US);
    return worker_json_end(r, newer);
}

int lease_parse(json_t *root, bool newer, usec poll_us, struct arena *arena, struct lease_request *ret, struct err *err)
{
    struct json_reader r;
    memset(ret, 0, sizeof(*ret));
    json_reader_init(&r, root, "", err);
    return r.code ? r.code : parse_members(&r, root, newer, poll_us, arena, ret);
}

const char *lease_handler_version(const struct lease_request *ask, const char *task_type)
{
    for (size_t i = 0; i < ask->want.n_task_types; i++)
        if (strcmp(ask->want.task_types[i], task_type) == 0)
            return ask->versions[i];
    return NULL;
}

static int render_lease_inputs(struct lease_call *l, struct json_writer *w, const struct job *job, struct err *err)
{
    jw_array(w, "inputs");
    for (size_t i = 0; i < job->n_inputs; i++) {
        struct blob_row row;
        struct uuid id;
        int rc = ref_parse(job->inputs[i].ref, "inputs", &id, err);
        if (!rc)
            rc = l->api->store_driver->blob_get(l->api->store, job->project, &id, l->poll.arena, &row, err);
        if (rc)
            return rc;
        jw_object(w, NULL);
        jw_string(w, "name", job->inputs[i].name);
        jw_string(w, "ref", job->inputs[i].ref);
        jw_int(w, "size", row.size);
        render_sha256(w, "sha256", row.sha256);
        jw_object_end(w);
    }
    jw_array_end(w);
    return ERR_OK;
}

static int render_claim(struct lease_call *l, struct json_writer *w, const struct job *job, struct err *err)
{
    const struct policy *p = &l->api->policy;
    char token[TOKEN_STR_MAX], traceparent[TRACEPARENT_MAX];
    token_format(&job->token, token);
    jw_object(w, NULL);
    render_uuid(w, "job_id", &job->job_id);
    jw_int(w, "attempt", job->attempt);
    jw_string(w, "token", token);
    jw_string(w, "task_type", job->task_type);
    jw_string(w, "queue", job->queue);
    jw_raw(w, "payload", job->payload, strlen(job->payload));
    jw_string(w, "payload_ref", job->payload_ref);
    int rc = render_lease_inputs(l, w, job, err);
    if (rc)
        return rc;
    jw_raw(w, "labels", job->labels, strlen(job->labels));
    render_limits(w, job);
    render_trace(w, spans_claimed(l->api->spans, job, traceparent), job->tracestate);
    jw_int(w, "max_attempts", job->max_attempts);
    jw_int(w, "retries", job->retries);
    jw_duration_s(w, "lease_s", p->lease_us);
    jw_duration_s(w, "heartbeat_s", p->heartbeat_us);
    jw_duration_s(w, "confirm_s", p->confirm_us);
    jw_duration_s(w, "term_grace_s", p->term_grace_us);
    jw_string(w, "handler_version", lease_handler_version(&l->ask, job->task_type));
    jw_object_end(w);
    return ERR_OK;
}

static void answer_task(void *arg)
{
    struct lease_call *l = arg;
    struct buf body;
    struct json_writer w;
    struct err err;
    int rc = ERR_OK;
    err_clear(&err);
    buf_init(&body, LEASE_ANSWER_MAX);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    jw_array(&w, "jobs");
    for (size_t i = 0; i < l->n && !rc; i++)
        rc = render_claim(l, &w, &l->claimed[i].job, &err);
    jw_array_end(&w);
    if (l->poll.drained)
        jw_bool(&w, "drained", true);
    jw_object_end(&w);
    if (rc) {
        buf_release(&body);
        reply_err(l->req, &err); /* the same poll_id gets the same claims */
        return;
    }
    reply_json(l->req, 200, &body);
}

static bool alive(struct lease_poll *p)
{
    struct lease_call *l = p->owner;
    return http_alive(l->req);
}

/* Sizes and hashes of inputs come from the store; large payloads take a while to write. */
static bool needs_pool(const struct lease_call *l)
{
    size_t bytes = 0;
    for (size_t i = 0; i < l->n; i++) {
        const struct job *job = &l->claimed[i].job;
        if (job->n_inputs > 0)
            return true;
        bytes += strlen(job->payload);
    }
    return bytes > QUICK_BYTES;
}

static void done(struct lease_poll *p, struct claimed *claimed, size_t n, const struct err *err)
{
    struct lease_call *l = p->owner;
    if (err && err->code != ERR_OK) {
        reply_err(l->req, err);
        return;
    }
    l->claimed = claimed;
    l->n = n;
    if (needs_pool(l))
        req_run(l->req, l->api->reads, answer_task, l);
    else
        http_run(l->req, answer_task, l);
}

static void post(struct engine *e, void *arg)
{
    struct lease_call *l = arg;
    engine_poll(e, &l->poll);
}

static void lease_free(void *data)
{
    struct lease_call *l = data;
    arena_free(l->poll.arena);
    free(l);
}

static int parse(struct lease_call *l, struct err *err)
{
    json_t *root = NULL;
    int rc = req_query_none(l->req, err);
    if (!rc)
        rc = req_json(l->req, true, &root, err);
    if (!rc)
        rc = lease_parse(root, req_newer(l->req), l->api->policy.poll_us, l->poll.arena, &l->ask, err);
    json_decref(root);
    return rc;
}

static struct lease_call *lease_new(struct api *api, struct http_request *req)
{
    struct lease_call *l = calloc(1, sizeof(*l));
    struct arena *arena = arena_new(LEASE_ARENA_MAX);
    if (!l || !arena) {
        free(l);
        arena_free(arena);
        return NULL;
    }
    l->api = api;
    l->req = req;
    l->poll.arena = arena;
    http_set_data(req, l, lease_free);
    return l;
}

void lease_post(struct http_request *req)
{
    struct err err;
    struct api *api = api_enter(req);
    if (!api)
        return;
    err_clear(&err);
    struct lease_call *l = lease_new(api, req);
    if (!l ? no_memory(&err) : parse(l, &err)) {
        reply_err(req, &err);
        return;
    }
    struct lease_poll *p = &l->poll;
    p->worker_id = l->ask.worker_id;
    memcpy(p->poll_id, l->ask.poll_id, sizeof(p->poll_id));
    p->worker_name = l->ask.name;
    p->worker_host = l->ask.host;
    p->worker_version = l->ask.version;
    p->isolation = l->ask.isolation;
    p->handlers = l->ask.handlers;
    p->load = l->ask.load;
    p->want = l->ask.want;
    p->slots_total = l->ask.slots_total;
    p->slots_busy = l->ask.slots_busy;
    p->wait_us = l->ask.wait_us;
    p->alive = alive;
    p->done = done;
    p->owner = l;
    loop_post(api->loop, &l->letter, post, l);
}
