/* The observer: what the store holds of each job, told when it is another thing; and all of it at the end. */
#include "base/sha256.h" /* hex */
#include "sim.h"

static struct known_job *job_known(struct server *v, const struct uuid *id)
{
    for (size_t i = 0; i < v->n_jobs; i++)
        if (uuid_equal(&v->jobs[i].id, id))
            return &v->jobs[i];
    if (v->n_jobs == JOBS_MAX)
        return NULL;
    v->jobs[v->n_jobs] = (struct known_job){.id = *id};
    return &v->jobs[v->n_jobs++];
}

static void dirty(struct server *v, const struct uuid *id)
{
    struct known_job *k = job_known(v, id);

    if (k)
        k->dirty = true;
}

void observe_all(struct server *v)
{
    for (size_t i = 0; i < v->n_jobs; i++)
        v->jobs[i].dirty = true;
}

void observe_op(struct server *v, const struct op *op)
{
    switch (op->kind) {
    case OP_SUBMIT:
        dirty(v, &op->u.submit.job.job_id);
        break;
    case OP_CLAIM:
        observe_all(v); /* it may have called some overdue */
        break;
    case OP_HEARTBEAT:
        dirty(v, &op->u.heartbeat.job_id);
        break;
    case OP_CHECKPOINT:
        dirty(v, &op->u.checkpoint.job_id);
        break;
    case OP_COMPLETE:
        dirty(v, &op->u.complete.job_id);
        break;
    case OP_FAIL:
        dirty(v, &op->u.fail.job_id);
        break;
    case OP_CANCEL:
    case OP_RETRY:
        dirty(v, &op->u.job.job_id);
        break;
    case OP_SWEEP_LEASES:
    case OP_SWEEP_DUE:
    case OP_SWEEP_RETENTION:
        if (op->u.sweep.touched)
            observe_all(v);
        break;
    default:
        break;
    }
}

static struct event state_of(const struct sim *s, const struct job *job)
{
    usec wait_us = job->run_at - s->server.cfg.store_driver->now(s->server.cfg.store);
    struct event e = {.kind = EV_STATE,
                      .job = job->job_id,
                      .status = (int64_t)job->status + 1,
                      .attempt = job->attempt,
                      .outcome = job->last_outcome,
                      .max_attempts = job->max_attempts,
                      .retries = job->retries,
                      .interruptions = job->interruptions,
                      .losses = job->losses,
                      .version = job->version,
                      .confirmed = job->confirmed,
                      .cancel = job->cancel_requested_at != 0};

    if (job->status == JOB_PENDING && wait_us > 0)
        e.due_us = s->now + s->server.skip_us + wait_us;
    snprintf(e.key, sizeof e.key, "%s", job->dedup_key ? job->dedup_key : "");
    return e;
}

enum err_code job_read(struct sim *s, const struct uuid *id, struct job *ret)
{
    const struct server *v = &s->server;

    arena_reset(v->scratch);
    return (enum err_code)v->cfg.store_driver->job_get(v->cfg.store, "default", id, v->scratch, ret, NULL);
}

static void tell_gone(struct sim *s, struct known_job *k)
{
    const struct server *v = &s->server;
    struct event *e = history_add(&s->history, s->now + v->skip_us, EV_GONE);

    k->gone = true;
    e->job = k->id;
    e->age_us = k->finished_at ? v->cfg.store_driver->now(v->cfg.store) - k->finished_at : 0;
}

void observe(struct sim *s)
{
    struct server *v = &s->server;

    for (size_t i = 0; i < v->n_jobs; i++) {
        struct known_job *k = &v->jobs[i];
        struct job job;
        if (!k->dirty)
            continue;
        k->dirty = false;
        const enum err_code rc = job_read(s, &k->id, &job);
        if (rc == ERR_NOT_FOUND && k->seen && !k->gone)
            tell_gone(s, k);
        if (rc != ERR_OK)
            continue;
        k->finished_at = job.finished_at;
        struct event e = state_of(s, &job), was = k->last;
        if (e.due_us && e.due_us - was.due_us < SEC && was.due_us - e.due_us < SEC)
            e.due_us =
                was.due_us; /* the same, whenever it is looked at; after a restart the store's time may be another */
        if (k->seen && memcmp(&e, &was, sizeof e) == 0)
            continue;
        k->seen = true;
        k->last = e;
        struct event *out = history_add(&s->history, s->now, EV_STATE);
        *out = e;
        out->t = s->now + v->skip_us;
    }
}

static void final_outputs(struct sim *s, struct event *e)
{
    struct server *v = &s->server;
    struct output *rows = NULL;
    size_t n = 0;

    if (v->cfg.store_driver->outputs(v->cfg.store, &e->job, v->scratch, &rows, &n, NULL) != ERR_OK)
        return;
    for (size_t i = 0; i < n && i < EVENT_OUTPUTS_MAX; i++) {
        const struct blob *b = blob_find(v, &rows[i].blob_id);
        uint8_t sha[32];
        if (!b || !b->there)
            continue;
        produced_hash(&b->bytes, sha);
        if (b->bytes.size != rows[i].size || memcmp(sha, rows[i].sha256, sizeof sha) != 0)
            continue;
        struct event_output *o = &e->outputs[e->n_outputs++];
        snprintf(o->name, sizeof o->name, "%s", rows[i].name);
        o->size = b->bytes.size;
        hex_format(sha, 8, o->sha256);
    }
}

static void final_attempts(struct sim *s, const struct uuid *id)
{
    const struct server *v = &s->server;
    struct attempt *rows = NULL;
    size_t n = 0;

    if (v->cfg.store_driver->attempts(v->cfg.store, id, v->scratch, &rows, &n, NULL) != ERR_OK)
        return;
    for (size_t i = 0; i < n; i++) {
        struct event *e = history_add(&s->history, s->now, EV_ATTEMPT);
        e->job = *id;
        e->attempt = rows[i].attempt;
        e->outcome = rows[i].outcome;
        snprintf(e->who, sizeof e->who, "%s", rows[i].worker_name);
    }
}

void observe_end(struct sim *s)
{
    const struct server *v = &s->server;
    struct arena *arena = arena_new(16u << 20);
    struct job_filter f = {.project = "default", .status = -1, .limit = 100};
    struct job_page page = {0};

    if (v->cfg.store_driver->job_list(v->cfg.store, &f, arena, &page, NULL) == ERR_OK)
        for (size_t i = 0; i < page.n; i++) {
            struct job job;
            if (job_read(s, &page.jobs[i].job_id, &job) != ERR_OK)
                continue;
            struct event e = state_of(s, &job);
            e.t = s->now;
            e.kind = EV_FINAL;
            final_outputs(s, &e);
            *history_add(&s->history, s->now, EV_FINAL) = e;
            final_attempts(s, &page.jobs[i].job_id);
        }
    arena_free(arena);
}
