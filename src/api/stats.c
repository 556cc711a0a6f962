/* GET /v1/stats. */
#include "api/boards_made.h"
#include "api/routes.h"
#include "api/survey.h"
#include "base/auto.h"

static void render_queue(struct json_writer *w, const struct survey *s, const struct stat_row *row)
{
    size_t at = survey_pair(s, row);
    const struct metrics_pair *pair = &s->engine.pairs[at];
    double per_min[RATE_COUNT] = {0};

    survey_rates_add(s, pair, per_min);
    jw_object(w, NULL);
    jw_string(w, "project", row->project);
    jw_string(w, "queue", row->queue);
    jw_string(w, "task_type", row->task_type);
    for (unsigned st = 0; st < JOB_STATUS_COUNT; st++)
        jw_int(w, job_status_name((enum job_status)st), row->by_status[st]);
    if (at == 0) { /* among many: told for all of them together in /metrics only */
        jw_null(w, "ready");
        jw_null(w, "oldest_ready_age_s");
    } else {
        jw_int(w, "ready", (int64_t)pair->ready);
        jw_duration_s(w, "oldest_ready_age_s", pair->oldest_at ? MAX(s->engine.now - pair->oldest_at, 0) : 0);
    }
    survey_render_rates(w, at ? per_min : NULL);
    jw_object_end(w);
}

static void render_queues(struct json_writer *w, const struct survey *s, size_t max)
{
    jw_array(w, "queues");
    for (size_t i = 0; i < MIN(s->n_stats, max); i++)
        render_queue(w, s, &s->stats[i]);
    jw_array_end(w);
}

/* The installation's, where the store knows of several. */
static int render_servers(struct json_writer *w, const struct survey *s, struct err *err)
{
    const struct store_driver *driver = s->api->store_driver;
    struct server_row *rows = NULL;
    size_t n = 0;
    int rc = driver->servers ? driver->servers(s->api->store, s->arena, &rows, &n, err) : ERR_OK;

    if (!driver->servers || rc != ERR_OK)
        return rc;
    jw_array(w, "servers");
    for (size_t i = 0; i < n; i++) {
        jw_object(w, NULL);
        jw_int(w, "server_id", rows[i].server_id);
        jw_string(w, "name", rows[i].name);
        jw_string(w, "version", rows[i].version);
        jw_time(w, "started_at", rows[i].started_at);
        jw_time(w, "last_seen", rows[i].seen_at);
        jw_string(w, "state", rows[i].live ? "live" : "gone");
        jw_bool(w, "self", rows[i].self);
        jw_object_end(w);
    }
    jw_array_end(w);
    return ERR_OK;
}

static void render_paused(struct json_writer *w, const struct survey *s)
{
    jw_array(w, "paused");
    for (size_t i = 0; i < s->n_pauses; i++)
        jw_string(w, NULL, s->pauses[i].queue);
    jw_array_end(w);
}

static int render(struct survey *s, struct err *err)
{
    struct json_writer w;
    struct buf body;

    buf_init(&body, API_LIST_MAX);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    render_queues(&w, s, s->n_stats);
    render_paused(&w, s);
    jw_object(&w, "server");
    jw_string(&w, "version", HAUL_VERSION);
    jw_duration_s(&w, "uptime_s", s->api->clock.boot_us(s->api->clock.self) - s->api->started_boot_us);
    jw_object_end(&w);
    int rc = render_servers(&w, s, err);
    if (rc != ERR_OK) {
        buf_release(&body);
        return rc;
    }
    jw_object_end(&w);
    reply_json(s->req, 200, &body);
    return ERR_OK;
}

void stats_get(struct http_request *req)
{
    survey_start(req, render);
}

/* An event holds less than an answer, and need not tell of all that many: who wants more asks for it. */
static int board_render(struct survey *s, struct err *err)
{
    struct json_writer w;
    struct buf text;

    buf_init(&text, BOARD_TEXT_MAX);
    jw_init(&w, &text);
    jw_object(&w, NULL);
    render_queues(&w, s, BOARD_ROWS_MAX);
    jw_bool(&w, "more", s->n_stats > BOARD_ROWS_MAX);
    render_paused(&w, s);
    jw_object_end(&w);
    board_made(s->board, &text);
    survey_free(s);
    return ERR_OK;
}

void board_counts_make(struct board *board)
{
    survey_board(board, board_render);
}
