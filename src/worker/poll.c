/* The agent's poll: says what this machine can run, asks for it, and has each job that comes started. */
#include "worker/agent.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "worker/attempt.h"
#include <poll.h>

#define POLL_WAIT_MS 30000

/* Once when it begins and once when it ends; by the poll thread, between two polls, so that it is true. */
static void room_say(struct agent *g, bool *said)
{
    char free_text[32], least[32];
    pthread_mutex_lock(&g->lock);
    const bool now = g->no_room;
    snprintf(free_text, sizeof free_text, "%llu", (unsigned long long)g->free_bytes);
    pthread_mutex_unlock(&g->lock);
    if (now == *said)
        return;
    *said = now;
    snprintf(least, sizeof least, "%llu", (unsigned long long)g->set.min_free);
    log_event(now ? LOG_WARN : LOG_INFO,
              now ? "no room for another job: nothing is claimed until there is" : "there is room again: claiming",
              "state", g->state.path, "free_bytes", free_text, "min_free", least, NULL);
}

/* The end of the JSON value that begins at p; text is known to be valid. */
static const char *value_end(const char *p, const char *end)
{
    int depth = 0;
    bool quoted = false;
    for (; p < end; p++) {
        if (quoted) {
            if (*p == '\\')
                p++;
            else if (*p == '"')
                quoted = false;
        } else if (*p == '"')
            quoted = true;
        else if (*p == '{' || *p == '[')
            depth++;
        else if ((*p == '}' || *p == ']') && --depth == 0)
            return p + 1;
    }
    return end;
}

/* Once when it begins and once when it ends: it stays, so that nothing starts it anew and has it take jobs at once. */
static void drained_note(struct agent *g, bool drained)
{
    pthread_mutex_lock(&g->lock);
    const bool before = g->drained;
    g->drained = drained;
    pthread_mutex_unlock(&g->lock);
    if (drained != before)
        log_event(LOG_INFO,
                  drained ? "drained by the server: it gives this worker nothing more; the jobs that run go on"
                          : "no longer drained by the server",
                  NULL);
}

/* Works on the raw text: a payload must reach the handler byte for byte. False when a job could not be started here. */
static bool jobs_start(struct agent *g, const char *answer, usec sent_us)
{
    json_t *doc = NULL;
    struct err err;
    const char *list;
    size_t list_n;
    err_clear(&err);
    if (!json_parse(answer, strlen(answer), &doc, &err) &&
        !json_raw_member(answer, strlen(answer), "jobs", &list, &list_n))
        err_set(&err, ERR_CORRUPT, 0, "there are no jobs in it");
    const bool drained = json_is_true(json_object_get(doc, "drained"));
    json_decref(doc);
    if (err.code != ERR_OK) {
        log_err("lease answer", &err);
        return false;
    }
    bool all = true;
    drained_note(g, drained);
    pthread_mutex_lock(&g->lock);
    for (const char *p = list, *end = list + list_n; !g->closed && (p = memchr(p, '{', (size_t)(end - p)));) {
        const char *after = value_end(p, end);
        err_clear(&err);
        /* What is not started is never confirmed, so the server gives it to another. */
        if (g->no_room)
            log_event(LOG_WARN, "a job came when there was no room any more: left to another worker", NULL);
        else if (job_start(g, p, (size_t)(after - p), sent_us, &err)) {
            log_err("start a job", &err);
            all = false;
        }
        p = after;
    }
    pthread_mutex_unlock(&g->lock);
    return all;
}

static void load_write(struct agent *g, struct json_writer *w)
{
    struct host_load l;
    if (!host_look(&g->meter, boot_now(), &l))
        return;
    jw_object(w, "load");
    jw_int(w, "cpus", l.cpus);
    jw_real(w, "cpu", (double)(int64_t)(l.cpu * 1000 + 0.5) / 1000);
    jw_int(w, "memory_bytes", l.memory_bytes);
    jw_int(w, "memory_total_bytes", l.memory_total_bytes);
    jw_object_end(w);
}

static char *poll_body(struct agent *g, const char *poll_id, unsigned busy, unsigned want)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, 1U << 20);
    jw_init(&w, &b);
    jw_object(&w, NULL);
    jw_string(&w, "worker_id", g->state.worker_id);
    jw_string(&w, "poll_id", poll_id);
    jw_string(&w, "name", g->set.name);
    jw_string(&w, "host", g->host);
    jw_string(&w, "version", HAUL_VERSION);
    jw_string(&w, "isolation", sandbox_level_name(g->level));
    jw_object(&w, "handlers");
    for (size_t i = 0; i < g->handlers->n; i++)
        if (handler_runs_at(&g->handlers->items[i], g->level))
            jw_string(&w, g->handlers->items[i].task_type, g->handlers->items[i].version);
    jw_object_end(&w);
    if (g->set.queues.n) {
        jw_array(&w, "queues");
        for (size_t i = 0; i < g->set.queues.n; i++)
            jw_string(&w, NULL, g->set.queues.items[i]);
        jw_array_end(&w);
    }
    jw_int(&w, "slots", want);
    jw_int(&w, "slots_total", g->set.slots);
    jw_int(&w, "slots_busy", busy);
    load_write(g, &w);
    jw_string(&w, "wait", want ? "30s" : "0s");
    jw_object_end(&w);
    return buf_take(&b);
}

static bool stopping(struct agent *g)
{
    pthread_mutex_lock(&g->lock);
    const bool s = g->stopping;
    pthread_mutex_unlock(&g->lock);
    return s;
}

/* Free slots that want a job: none when all are taken, or when the disk is too full. */
static unsigned slots_wanted(struct agent *g)
{
    pthread_mutex_lock(&g->lock);
    const int64_t slots = g->no_room ? 0 : MAX(g->set.slots - (int64_t)g->busy, 0);
    pthread_mutex_unlock(&g->lock);
    return (unsigned)MIN(slots, 64);
}

/* HAUL_LOCAL: the server answered, but a job could not be started here. */
static int poll_once(struct agent *g, const char *poll_id, unsigned want, struct haul_error *he)
{
    AUTO_FREE char *body = poll_body(g, poll_id, busy_now(g), want);
    AUTO_FREE char *answer = NULL;
    const usec sent_us = boot_now();
    if (!body)
        return HAUL_LOCAL;
    const int rc = haul_call(g->client, "POST", "/v1/lease", body, NULL, want ? POLL_WAIT_MS : 0, &answer, he);
    if (rc != HAUL_OK)
        return rc;
    pthread_mutex_lock(&g->lock);
    g->answered_us = boot_now();
    pthread_mutex_unlock(&g->lock);
    return jobs_start(g, answer ? answer : "", sent_us) ? HAUL_OK : HAUL_LOCAL;
}

/* What came of a poll, for the log; and how often it failed by now. */
static unsigned poll_note(struct agent *g, int rc, unsigned failures, const char *before, const struct haul_error *he)
{
    const char *server = haul_client_server(g->client);
    if (rc == HAUL_OK && failures && server == before)
        log_event(LOG_INFO, "server answers again", "server", server, NULL);
    if (rc == HAUL_REFUSED || (rc == HAUL_NETWORK && !failures))
        log_event(LOG_WARN, "poll failed, trying again", "server", before, "why", he->message, NULL);
    if (server != before)
        log_event(LOG_INFO, "using another server", "server", server, "before", before, NULL);
    return rc == HAUL_OK ? 0 : failures + (rc != HAUL_ABORTED);
}

/* May the server have given jobs to this poll that we have not heard of? */
static bool outcome_unknown(int rc, const struct haul_error *he)
{
    return rc == HAUL_NETWORK || rc == HAUL_ABORTED || (rc == HAUL_REFUSED && he->repeatable);
}

/* With a free slot a long poll; without one a word every half minute that this worker lives and what it has. */
void *poll_run(void *arg)
{
    struct agent *g = arg;
    struct haul_error he = {0};
    char poll_id[33];
    int rc = HAUL_OK;
    bool no_room_said = false;
    usec told_us = 0; /* when the server last heard that nothing is wanted */
    rng_hex128(rng_real(), poll_id);
    for (unsigned failures = 0; !stopping(g);) {
        uint64_t n;
        (void)!read(g->wake_fd, &n, sizeof n);
        haul_client_interrupt(g->client, false); /* before the looks at what it was about */
        const unsigned want = slots_wanted(g);
        room_say(g, &no_room_said);
        const usec rest_us = want || !told_us ? 0 : told_us + POLL_WAIT_MS * USEC_PER_MSEC - boot_now();
        if (stopping(g))
            break;
        if (rest_us > 0) {
            struct pollfd p = {.fd = g->wake_fd, .events = POLLIN};
            (void)poll(&p, 1, (int)(rest_us / USEC_PER_MSEC + 1));
            continue;
        }
        const char *before = haul_client_server(g->client);
        rc = poll_once(g, poll_id, want, &he);
        told_us = rc == HAUL_OK && !want ? boot_now() : 0;
        failures = poll_note(g, rc, failures, before, &he);
        if (!outcome_unknown(rc, &he)) /* else the same id, so that claims made for it are not lost */
            rng_hex128(rng_real(), poll_id);
        if (failures && !he.elsewhere)
            backoff_wait(failures, 10 * USEC_PER_SEC, g->wake_fd);
    }
    haul_client_interrupt(g->client, false);
    haul_client_timeout(g->client, SETTLE_MS);
    if (outcome_unknown(rc, &he)) /* a claim that crossed our farewell still gets its supervisor */
        (void)poll_once(g, poll_id, 0, &he);
    pthread_mutex_lock(&g->lock);
    g->settled = true;
    pthread_mutex_unlock(&g->lock);
    return NULL;
}
