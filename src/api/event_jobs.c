/* Changes of jobs as events: of those that a filter asks for, and of single ones. */
#include "api/events.h"
#include "api/list.h"
#include "api/render.h"
#include "base/auto.h"

#define LOOK_US       (200 * USEC_PER_MSEC)
#define AFTER_MANY_US USEC_PER_SEC /* who is told to read everything again is not told so all the time */
#define FEED_PIECE    256
#define TOLD_BYTES    ((size_t)256 << 10) /* then they are sent first */

static struct events_job *single(struct events *ev, const struct uuid *id)
{
    for (size_t i = 0; i < ev->n_job; i++)
        if (uuid_equal(&ev->job[i].id, id))
            return &ev->job[i];
    return NULL;
}

/* false: there are `max` others */
static bool pend(struct events *ev, const struct uuid *id, size_t max)
{
    for (size_t i = 0; i < ev->n_pending; i++)
        if (uuid_equal(&ev->pending[i], id))
            return true;
    if (ev->n_pending >= max)
        return false;
    ev->pending[ev->n_pending++] = *id;
    return true;
}

static void note(struct events *ev, const struct uuid *id)
{
    if (single(ev, id))
        pend(ev, id, EVENTS_PENDING_MAX);
    else if (ev->jobs && !pend(ev, id, EVENTS_LOOK_MAX))
        ev->reset = "many";
}

/* Sweepers do not say which jobs they changed. */
static void note_swept(struct events *ev)
{
    for (size_t i = 0; i < ev->n_job; i++)
        pend(ev, &ev->job[i].id, EVENTS_PENDING_MAX);
    if (ev->jobs)
        ev->reset = "swept";
}

/* After a reset all are read again by whom it concerns, but single jobs are told all the same: there are few. */
static void drop_pending(struct events *ev)
{
    size_t n = 0;
    for (size_t i = 0; i < ev->n_pending; i++)
        if (single(ev, &ev->pending[i]))
            ev->pending[n++] = ev->pending[i];
    ev->n_pending = n;
}

/* Where it stands as the stream begins: it is read by whom it concerns. */
static int64_t version_now(const struct events *ev, const struct uuid *id)
{
    struct arena *arena = arena_new(API_ANSWER_MAX);
    struct job job = {.version = -1};
    struct err err = {0};
    int rc =
        arena ? ev->api->store_driver->job_get(ev->api->store, API_PROJECT, id, arena, &job, &err) : no_memory(&err);
    const int64_t version = rc == ERR_OK ? job.version : rc == ERR_NOT_FOUND ? -2 : -1;
    arena_free(arena);
    return version;
}

/* What other servers did is not in the feed: single jobs are looked at, and of all others it is known only that some changed. */
static void scan_elsewhere(struct events *ev, usec now)
{
    const bool first = !ev->elsewhere_at;
    if (!ev->api->store_driver->elsewhere || now < ev->elsewhere_at)
        return;
    ev->elsewhere_at = now + ELSEWHERE_US;
    for (size_t i = 0; i < ev->n_job; i++)
        if (first)
            ev->job[i].version = version_now(ev, &ev->job[i].id);
        else
            pend(ev, &ev->job[i].id, EVENTS_PENDING_MAX);
    const int64_t mark = ev->jobs ? elsewhere_mark(ev->api, now) : 0;
    if (!first && mark != ev->elsewhere)
        ev->reset = "elsewhere";
    ev->elsewhere = mark;
}

static void scan(struct events *ev, usec now)
{
    struct uuid ids[FEED_PIECE];
    size_t n = FEED_PIECE;
    bool missed = false;
    while (n == FEED_PIECE) {
        n = feed_read(loop_feed(ev->api->loop), &ev->at, ids, FEED_PIECE, &missed);
        if (missed) {
            note_swept(ev);
            ev->reset = "behind";
        }
        for (size_t i = 0; i < n; i++) {
            if (uuid_is_nil(&ids[i]))
                note_swept(ev);
            else
                note(ev, &ids[i]);
        }
    }
    scan_elsewhere(ev, now);
    if (ev->reset)
        drop_pending(ev);
}

static void tell_job(struct events *ev, struct arena *arena, const struct job *job)
{
    struct json_writer w;
    struct buf data;
    struct err err;
    buf_init(&data, EVENTS_OUT_MAX);
    jw_init(&w, &data);
    if (render_job_brief(ev->api, arena, &w, NULL, job, &err) == ERR_OK)
        events_emit(ev, "job", &data);
    else
        ev->reset = "behind";
    buf_release(&data);
}

static void tell_left(struct events *ev, const struct uuid *id, const char *status)
{
    struct json_writer w;
    struct buf data;
    buf_init(&data, 256);
    jw_init(&w, &data);
    jw_object(&w, NULL);
    render_uuid(&w, "job_id", id);
    jw_string(&w, "status", status);
    jw_object_end(&w);
    events_emit(ev, "left", &data);
    buf_release(&data);
}

static void tell(struct events *ev, const struct uuid *id, struct events_job *one)
{
    struct arena *arena = arena_new(API_ANSWER_MAX);
    struct job job;
    struct err err;
    err_clear(&err);
    int rc =
        arena ? ev->api->store_driver->job_get(ev->api->store, API_PROJECT, id, arena, &job, &err) : no_memory(&err);
    if (rc == ERR_NOT_FOUND) {
        if (!one || one->version != -2)
            tell_left(ev, id, NULL);
        if (one)
            one->version = -2;
    } else if (rc)
        ev->reset = "behind"; /* the store is slow: who needs it looks himself */
    else if (one ? job.version != one->version : list_fits(&ev->filter, &job))
        tell_job(ev, arena, &job);
    else if (!one && list_fits_but_status(&ev->filter, &job))
        tell_left(ev, id, job_status_name(job.status));
    if (one && !rc)
        one->version = job.version;
    arena_free(arena);
}

void event_jobs_fill(struct events *ev)
{
    usec now = ev->api->clock.boot_us(ev->api->clock.self);
    if (!ev->n_job && !ev->jobs) {
        ev->at = ev->told = feed_head(loop_feed(ev->api->loop));
        return;
    }
    if (ev->next_pending == ev->n_pending && now >= ev->look_at) {
        ev->told = ev->at;
        ev->n_pending = ev->next_pending = 0;
        scan(ev, now);
        ev->look_at = now + (ev->reset ? AFTER_MANY_US : LOOK_US);
    }
    while (ev->next_pending < ev->n_pending && ev->out.len < TOLD_BYTES) {
        const struct uuid *id = &ev->pending[ev->next_pending++];
        if (ev->next_pending == ev->n_pending)
            ev->told = ev->at; /* by the last one: who is cut off before it is told of them again */
        tell(ev, id, single(ev, id));
    }
    if (ev->next_pending == ev->n_pending)
        ev->told = ev->at;
}
