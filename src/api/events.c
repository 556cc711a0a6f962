/* GET /v1/events: server-sent events. One stream tells of all that its reader asks for: a browser allows six connections to a host. */
#include "api/events.h"
#include "api/list.h"
#include "api/routes.h"
#include "base/auto.h"

#define EVENTS_TYPE "text/event-stream"
#define RETRY_MS    150                 /* costs a look at the feed */
#define BEAT_US     (15 * USEC_PER_SEC) /* a proxy cuts what is silent for a minute, often */
#define KEPT_BYTES  ((size_t)64 << 10)  /* of the buffer of a stream that has nothing to say */

static const char *const board_names[BOARD_COUNT] = {"counts", "workers", "slis", "alerts"};

void events_emit(struct events *ev, const char *name, const struct buf *data)
{
    struct event_id id = {.epoch = ev->api->epoch,
                          .place = ev->told,
                          .attempt = ev->log.text.attempt,
                          .offset = ev->log.on ? event_log_offset(&ev->log) : 0};
    char text[EVENT_ID_MAX];
    if (data->failed) {
        ev->reset = "large";
        return;
    }
    event_id_format(&id, text);
    buf_printf(&ev->out, "id: %s\nevent: %s\ndata: ", text, name);
    size_t from = ev->out.len;
    buf_add(&ev->out, data->data, data->len);
    for (size_t i = from; i < ev->out.len;
         i++) /* in JSON they only stand between tokens; here they would end the line */
        if (ev->out.data[i] == '\n' || ev->out.data[i] == '\r')
            ev->out.data[i] = ' ';
    buf_adds(&ev->out, "\n\n");
}

static void emit_reset(struct events *ev)
{
    struct json_writer w;
    struct buf data;
    buf_init(&data, 256);
    jw_init(&w, &data);
    jw_object(&w, NULL);
    jw_string(&w, "reason", ev->reset);
    jw_object_end(&w);
    ev->reset = NULL;
    events_emit(ev, "reset", &data);
    buf_release(&data);
}

static void fill_boards(struct events *ev)
{
    for (size_t i = 0; i < BOARD_COUNT; i++) {
        if (!ev->board[i])
            continue;
        struct board_text *text = board_get(&ev->api->boards, (enum board_id)i, ev->board_seen[i]);
        if (!text)
            continue;
        struct buf data = {.data = text->data, .len = text->n};
        events_emit(ev, board_names[i], &data);
        ev->board_seen[i] = text->version;
        board_put(&ev->api->boards, text);
    }
}

static void fill(struct events *ev)
{
    usec now = ev->api->clock.boot_us(ev->api->clock.self);
    if (!ev->begun) {
        ev->begun = true;
        buf_adds(&ev->out, "retry: 2000\n\n");
        if (ev->reset)
            emit_reset(ev);
    }
    event_jobs_fill(ev);
    event_log_fill(ev);
    fill_boards(ev);
    if (ev->reset)
        emit_reset(ev);
    if (ev->out.len == 0 && now >= ev->beat_at)
        buf_adds(&ev->out, ":\n\n");
    if (ev->out.len > 0)
        ev->beat_at = now + BEAT_US;
}

static int64_t events_read(void *arg, void *buf, size_t max)
{
    struct events *ev = arg;
    if (ev->sent == ev->out.len) {
        if (ev->out.cap > KEPT_BYTES)
            buf_release(&ev->out);
        buf_reset(&ev->out);
        ev->sent = 0;
        if (atomic_load(&ev->api->draining))
            return -1; /* the reader comes again, to whoever serves then */
        fill(ev);
        if (ev->out.failed)
            return -2;
    }
    size_t n = MIN(max, ev->out.len - ev->sent);
    if (n > 0)
        memcpy(buf, ev->out.data + ev->sent, n);
    ev->sent += n;
    return (int64_t)n;
}

static void events_free(void *arg)
{
    struct events *ev = arg;
    atomic_fetch_sub(&ev->api->event_streams, 1);
    event_log_release(&ev->log);
    buf_release(&ev->out);
    free(ev);
}

/* --- what is asked for --- */

static int read_topic(struct http_request *req, const char *key, bool *ret, struct err *err)
{
    int64_t on = 0;
    int rc = req_query_int(req, key, 0, 0, 1, &on, err);
    *ret = on == 1;
    return rc;
}

static int read_id(const char *text, const char *key, struct uuid *ret, struct err *err)
{
    return uuid_parse(text, ret) && !uuid_is_nil(ret) ? ERR_OK : err_field(err, key, "must be the id of a job");
}

static int read_singles(struct http_request *req, struct events *ev, struct err *err)
{
    const char *text;
    int rc = ERR_OK;
    for (size_t i = 0; !rc && (text = http_query_nth(req, "job", i)) != NULL; i++) {
        if (i == EVENTS_JOBS_MAX)
            return err_field(err, "job", "at most %d may be followed in one stream; 'jobs' follows all",
                             EVENTS_JOBS_MAX);
        ev->job[i].version = -1;
        rc = read_id(text, "job", &ev->job[ev->n_job++].id, err);
    }
    return rc;
}

static int read_log(struct http_request *req, struct events *ev, struct err *err)
{
    const char *text = http_query(req, "log");
    struct event_log *l = &ev->log;
    int64_t attempt = 0;
    int rc = req_query_int(req, "log_attempt", 0, 1, UINT32_MAX, &attempt, err);
    if (!rc)
        rc = req_query_int(req, "log_offset", 0, 0, INT64_MAX - JOB_LOG_CHUNK_MAX, &l->text.at, err);
    if (!rc && text)
        rc = read_id(text, "log", &l->text.job_id, err);
    if (!rc && !text && (http_query(req, "log_attempt") || http_query(req, "log_offset")))
        rc = err_field(err, "log", "is required with log_attempt and log_offset");
    l->on = text != NULL;
    l->fixed = attempt > 0;
    l->text.attempt = (uint32_t)attempt;
    l->text.api = ev->api;
    l->text.end = -1;
    l->text.left = INT64_MAX;
    return rc;
}

static bool filtered(const struct job_filter *f)
{
    return f->status >= 0 || f->task_type || f->queue || f->n_labels;
}

static int read_topics(struct http_request *req, struct events *ev, struct err *err)
{
    static const char *const known[] = {"jobs",       "status",        "task_type", "queue",   "label",
                                        "job",        "log",           "counts",    "workers", "log_attempt",
                                        "log_offset", "last_event_id", "slis",      "alerts",  NULL};
    bool any = false;
    int rc = req_query_only(req, known, err);
    if (!rc)
        rc = read_topic(req, "jobs", &ev->jobs, err);
    if (!rc)
        rc = list_filter(req, &ev->filter, err);
    if (!rc && !ev->jobs && filtered(&ev->filter))
        rc = err_field(err, "jobs", "must be 1 where jobs are filtered");
    if (!rc)
        rc = read_singles(req, ev, err);
    if (!rc)
        rc = read_log(req, ev, err);
    for (size_t i = 0; !rc && i < BOARD_COUNT; i++) {
        rc = read_topic(req, board_names[i], &ev->board[i], err);
        any = any || ev->board[i];
    }
    if (!rc && !any && !ev->jobs && !ev->n_job && !ev->log.on)
        rc = err_field(err, "jobs",
                       "at least one topic is required: jobs=1, job=ID, log=ID, counts=1, workers=1 or slis=1");
    return rc;
}

/* What an EventSource sends is what it was sent by somebody: no id is an error. */
static void resume(struct http_request *req, struct events *ev)
{
    const char *text = http_header(req, "Last-Event-ID");
    struct event_id id;
    ev->at = ev->told = feed_head(loop_feed(ev->api->loop));
    ev->reset = "new";
    if (!text)
        text = http_query(req, "last_event_id");
    if (!text || !*text)
        return;
    ev->reset = "restarted";
    if (!event_id_parse(text, &id))
        return;
    if (ev->log.on && id.attempt > 0 && (!ev->log.fixed || ev->log.text.attempt == id.attempt)) {
        ev->log.text.attempt = id.attempt;
        ev->log.text.at = id.offset;
    }
    if (id.epoch != ev->api->epoch)
        return;
    ev->at = ev->told = id.place; /* should that be forgotten by now, the first look says so */
    ev->reset = NULL;
}

static int start(struct http_request *req, struct events *ev, struct err *err)
{
    if (atomic_fetch_add(&ev->api->event_streams, 1) >= ev->api->event_streams_max)
        return err_set(err, ERR_BUSY, 0,
                       "%u event streams are open, which is the most this server serves (event_streams); ask for what "
                       "you need now and then instead",
                       ev->api->event_streams_max);
    int rc = read_topics(req, ev, err);
    if (!rc)
        resume(req, ev);
    return rc;
}

void events_get(struct http_request *req)
{
    struct err err;
    struct api *api = api_enter(req);
    if (!api)
        return;
    err_clear(&err);
    struct events *ev = calloc(1, sizeof(*ev));
    if (!ev) {
        no_memory(&err);
        reply_err(req, &err);
        return;
    }
    ev->api = api;
    buf_init(&ev->out, EVENTS_OUT_MAX);
    if (start(req, ev, &err)) {
        events_free(ev);
        reply_err(req, &err);
        return;
    }
    http_set_header(req, "Cache-Control", "no-store");
    http_set_header(req, "X-Accel-Buffering", "no"); /* nginx would gather them */
    reply_stream(req, 200, EVENTS_TYPE,
                 (struct http_stream){.read = events_read, .free = events_free, .arg = ev, .retry_ms = RETRY_MS});
}
