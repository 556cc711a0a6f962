/* The log of a job as events: text that is whole characters, and where it stands. */
#include "api/events.h"
#include "api/render.h"
#include "base/auto.h"
#include "base/text.h"

#define PIECE_MAX (16 * 1024)
#define FILL_MAX  (64 * 1024)

int64_t event_log_offset(const struct event_log *log)
{
    return log->text.at - (int64_t)log->n_carry;
}

void event_log_release(struct event_log *log)
{
    log_text_release(&log->text);
}

static void begin_data(struct events *ev, struct buf *data, struct json_writer *w)
{
    buf_init(data, EVENTS_OUT_MAX);
    jw_init(w, data);
    jw_object(w, NULL);
    render_uuid(w, "job_id", &ev->log.text.job_id);
    jw_int(w, "attempt", ev->log.text.attempt);
}

static void tell(struct events *ev, int64_t offset, char *text, size_t n)
{
    struct json_writer w;
    struct buf data;
    utf8_mend(text, n);
    begin_data(ev, &data, &w);
    jw_int(&w, "offset", offset);
    jw_int(&w, "next_offset", event_log_offset(&ev->log));
    jw_stringn(&w, "text", text, n);
    jw_object_end(&w);
    events_emit(ev, "log", &data);
    buf_release(&data);
}

static void tell_end(struct events *ev)
{
    struct json_writer w;
    struct buf data;
    begin_data(ev, &data, &w);
    jw_int(&w, "next_offset", event_log_offset(&ev->log));
    jw_object_end(&w);
    events_emit(ev, "log_end", &data);
    buf_release(&data);
}

/* An attempt has begun that was not there at the last look. */
static bool next_attempt(struct event_log *l)
{
    struct api *api = l->text.api;
    struct arena *arena = arena_new(API_ANSWER_MAX);
    struct job job;
    struct err err;
    err_clear(&err);
    bool found =
        arena && api->store_driver->job_get(api->store, API_PROJECT, &l->text.job_id, arena, &job, &err) == ERR_OK;
    found = found && job.attempt > l->text.attempt;
    if (found) {
        l->text.attempt = job.attempt;
        l->text.at = l->between ? 0 : l->text.at;
        l->between = false;
    }
    l->done = err.code == ERR_NOT_FOUND;
    arena_free(arena);
    return found;
}

static void ended(struct events *ev)
{
    struct event_log *l = &ev->log;
    int64_t offset = event_log_offset(l);
    size_t n = l->n_carry;
    l->n_carry = 0;
    if (n > 0)
        tell(ev, offset, l->carry, n);
    tell_end(ev);
    log_text_release(&l->text);
    l->between = !l->fixed;
    l->done = l->fixed;
}

/* @return whether there was something */
static bool piece(struct events *ev)
{
    struct event_log *l = &ev->log;
    char text[PIECE_MAX];
    struct err err;
    int64_t offset = event_log_offset(l);
    err_clear(&err);
    memcpy(text, l->carry, l->n_carry);
    int64_t n = log_text_read(&l->text, text + l->n_carry, sizeof(text) - l->n_carry, &err);
    if (n == -1)
        ended(ev);
    else if (n == -2)
        l->done = !err_repeatable(err.code) && err.code != ERR_TIMEOUT;
    if (n <= 0)
        return false;
    size_t total = l->n_carry + (size_t)n, whole = utf8_cut(text, total);
    if (whole == 0 || total - whole >= sizeof(l->carry))
        whole = total; /* no character: it is mended */
    l->n_carry = total - whole;
    memcpy(l->carry, text + whole, l->n_carry);
    tell(ev, offset, text, whole);
    return true;
}

void event_log_fill(struct events *ev)
{
    struct event_log *l = &ev->log;
    size_t before = ev->out.len;
    if (!l->on || l->done || log_quiet(&l->look, ev->api, &l->text.job_id))
        return;
    if ((l->text.attempt == 0 || l->between) && !next_attempt(l))
        return;
    while (!l->done && !l->between && ev->out.len - before < FILL_MAX && piece(ev)) {
    }
    if (ev->out.len != before)
        l->look.at = 0; /* there may be more */
}
