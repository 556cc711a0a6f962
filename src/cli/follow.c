/* Following a job to its end. */
#include "cli/follow.h"
#include "base/auto.h"
#include "base/json.h"
#include "base/timefmt.h"

#define POLL_S  30
#define AWAY_US (10 * 60 * USEC_PER_SEC) /* a server that stays away longer than this is given up */

struct view {
    struct bar bar;
    char status[16];
    char message[300];
    double percent; /* -1: never reported */
    double found;   /* the percentage that was there already: nobody knows since when; -1: none, or it has changed */
    int64_t attempt;
    int tenth; /* last tenth told in plain text */
};

static bool finished(const char *status)
{
    return strcmp(status, "success") == 0 || strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0;
}

int follow_exit(const char *status)
{
    if (strcmp(status, "success") == 0)
        return EXIT_OK;
    return strcmp(status, "cancelled") == 0 ? EXIT_JOB_CANCELLED : EXIT_JOB_FAILED;
}

/* "3.1 %/min, left 18m00s"; "" while nothing is known. */
static void pace_format(const struct view *v, char ret[80])
{
    char rate[32], left[32] = "";
    usec left_us;
    eta_rate_format(&v->bar.eta, rate);
    if (eta_left(&v->bar.eta, now_mono(), &left_us))
        left_format(left_us, left);
    snprintf(ret, 80, "%s%s%s%s", rate, *rate && *left ? ", " : "", *left ? "left " : "", left);
}

/* On a terminal: one line, redrawn. */
static void view_draw(struct view *v)
{
    char text[480], pace[80];
    if (strcmp(v->status, "running") == 0 && v->percent >= 0) {
        pace_format(v, pace);
        snprintf(text, sizeof(text), "%s%s%s", pace, *pace && v->message[0] ? "  " : "", v->message);
        bar_line(&v->bar, v->percent / 100, text);
    } else {
        snprintf(text, sizeof(text), "%s%s%s%s", v->status, v->message[0] ? " (" : "", v->message,
                 v->message[0] ? ")" : "");
        bar_line(&v->bar, -1, text);
    }
}

/* Elsewhere: a line for each change worth one. */
static void view_tell(struct view *v, bool new_status)
{
    if (new_status)
        fprintf(stderr, "%s %s%s%s%s\n", v->bar.label, v->status, v->message[0] ? " (" : "", v->message,
                v->message[0] ? ")" : "");
    int tenth = (int)(v->percent / 10);
    if (v->percent >= 0 && strcmp(v->status, "running") == 0 && tenth != v->tenth) {
        char pace[80];
        pace_format(v, pace);
        fprintf(stderr, "%s running %d%%%s%s\n", v->bar.label, (int)v->percent, *pace ? ", " : "", pace);
        v->tenth = tenth;
    }
}

static void view_update(struct view *v, const json_t *job)
{
    const char *status = jtext(job, "status");
    const json_t *progress = json_object_get(job, "progress");
    int64_t attempt = jint(job, "attempt");
    bool running = strcmp(status, "running") == 0;
    bool fresh = strcmp(status, v->status) != 0 || (running && attempt != v->attempt);
    if (attempt != v->attempt) {
        v->bar.eta = (struct eta){0};
        v->tenth = 0;
    }
    v->attempt = attempt;
    v->percent = json_is_object(progress) ? jreal(progress, "percent") : -1;
    if (!v->status[0] && running)
        v->found = v->percent;
    else if (v->found != v->percent)
        v->found = -1;
    if (v->percent >= 0 && running && v->found < 0)
        eta_see(&v->bar.eta, now_mono(), v->percent / 100);
    snprintf(v->status, sizeof(v->status), "%s", status);
    v->message[0] = '\0';
    const char *text = running ? jtext(progress, "message") : jtext(job, "waiting_reason");
    AUTO_FREE char *safe = text_safe(text);
    if (running && attempt > 1 && fresh && !*text)
        snprintf(v->message, sizeof(v->message), "attempt %lld", (long long)attempt);
    else if (safe)
        snprintf(v->message, sizeof(v->message), "%.*s", (int)text_fit(safe, 200), safe);
    if (finished(status))
        return;
    if (term_is(stderr))
        view_draw(v);
    else
        view_tell(v, fresh);
}

static void view_away(struct view *v, const struct haul_error *err)
{
    if (strcmp(v->status, "away") == 0)
        return;
    snprintf(v->status, sizeof(v->status), "away");
    snprintf(v->message, sizeof(v->message), "the server does not answer; trying again");
    if (term_is(stderr))
        view_draw(v);
    else
        view_tell(v, true);
}

static int gave_up(struct view *v, const char *job_id, const char *why)
{
    bar_clear(&v->bar);
    fprintf(stderr, "haul: gave up waiting for %s: %s. The job goes on; 'haul jobs wait %s' waits again.\n", job_id,
            why, job_id);
    return EXIT_GAVE_UP;
}

int follow(struct cli *cli, const char *job_id, const char *which, usec give_up_us, bool met, char **ret_text)
{
    int status = EXIT_OK;
    struct haul_client *c = cli_client(cli, &status);
    if (!c)
        return status;
    char label[80];
    snprintf(label, sizeof(label), "%.30s%s%.36s", which ? which : "", which ? " " : "", job_id);
    struct view v = {.bar = {.label = label}, .percent = -1, .found = -1};
    int64_t version = -1;
    usec away_since = 0;
    for (unsigned tries = 0;;) {
        char path[160];
        usec now = now_mono();
        if (now >= give_up_us)
            return gave_up(&v, job_id, "the time is over");
        int64_t wait_s = POLL_S;
        if (give_up_us != USEC_NEVER)
            wait_s = MIN(wait_s, (give_up_us - now) / USEC_PER_SEC + 1);
        if (version < 0)
            snprintf(path, sizeof(path), "/v1/jobs/%s", job_id);
        else
            snprintf(path, sizeof(path), "/v1/jobs/%s?wait=%llds&version=%lld", job_id, (long long)wait_s,
                     (long long)version);
        AUTO_FREE char *text = NULL;
        struct haul_error herr;
        struct err err = {0};
        json_t *job = NULL;
        int rc = haul_call(c, "GET", path, NULL, NULL, version < 0 ? 0 : wait_s * 1000, &text, &herr);
        if (rc != HAUL_OK) {
            bool passing = rc == HAUL_NETWORK || (rc == HAUL_REFUSED && herr.repeatable);
            if (!passing || !met) {
                bar_clear(&v.bar);
                return cli_haul_err(cli, &herr, job_id);
            }
            if (!away_since)
                away_since = now;
            if (now - away_since > AWAY_US)
                return gave_up(&v, job_id, "the server stays away");
            view_away(&v, &herr);
            int64_t ms = MIN((int64_t)250 << MIN(tries, 4u), (int64_t)3000);
            tries++;
            nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
            continue;
        }
        met = true;
        away_since = 0;
        tries = 0;
        if (json_parse(text, strlen(text), &job, &err) != ERR_OK) {
            bar_clear(&v.bar);
            return cli_err(&err, "the server's answer");
        }
        version = jint(job, "version");
        view_update(&v, job);
        if (finished(v.status)) {
            bar_clear(&v.bar);
            status = follow_exit(v.status);
            follow_epilogue(job);
            json_decref(job);
            if (ret_text)
                *ret_text = TAKE_PTR(text);
            return status;
        }
        json_decref(job);
    }
}

void follow_epilogue(const json_t *job)
{
    const char *status = jtext(job, "status"), *id = jtext(job, "job_id"), *log = jtext(job, "error_log");
    char took[32] = "";
    usec from, to;
    if (rfc3339_parse(jtext(job, "started_at"), &from) && rfc3339_parse(jtext(job, "finished_at"), &to))
        left_format(to - from, took);
    enum colour c = status_colour(status);
    fprintf(stderr, "%.36s %s%s%s%s%s", id, colour_begin(stderr, c), status, colour_end(stderr, c),
            took[0] ? " after " : "", took);
    int64_t attempt = jint(job, "attempt");
    if (attempt > 1)
        fprintf(stderr, ", attempt %lld", (long long)attempt);
    fputc('\n', stderr);
    if (strcmp(status, "failed") == 0 && *log) {
        struct safe_stream s;
        safe_stream_init(&s, stderr);
        safe_stream_write(&s, log, strlen(log));
        safe_stream_end(&s);
        if (log[strlen(log) - 1] != '\n')
            fputc('\n', stderr);
    }
}
