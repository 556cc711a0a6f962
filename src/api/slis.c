/* GET /v1/slis: is all well? Of this server, over the last minutes; and whether what was promised is kept. */
#include "api/alerts.h"
#include "api/boards_made.h"
#include "api/routes.h"
#include "api/survey.h"
#include "base/auto.h"

static void quantile(struct json_writer *w, const char *key, const struct histogram *h,
                     const struct histogram_bounds *bounds, double q)
{
    double us = histogram_quantile(h, bounds, q);
    if (us < 0)
        jw_null(w, key);
    else
        jw_real(w, key, us / 1e6);
}

static void success_rate(struct json_writer *w, const char *key, const struct window_totals *last)
{
    uint64_t good = last->finished[JOB_SUCCESS], all = good + last->finished[JOB_FAILED];
    if (all == 0)
        jw_null(w, key);
    else
        jw_real(w, key, (double)good / (double)all);
}

static void per_second(struct json_writer *w, const char *key, uint64_t n, const struct window_totals *last)
{
    if (last->at <= 0)
        jw_null(w, key);
    else
        jw_real(w, key, (double)n / ((double)last->at / 1e6));
}

static void render_all(struct json_writer *w, const struct engine_metrics *m)
{
    const struct window_totals *last = &m->last_1m;
    uint64_t ready = 0, finished = 0;
    for (size_t i = 0; i < m->n_pairs; i++)
        ready += m->pairs[i].ready;
    for (size_t i = 0; i < JOB_STATUS_COUNT; i++)
        finished += last->finished[i];
    jw_int(w, "queue_depth", (int64_t)ready);
    quantile(w, "job_start_latency_p95_s", &m->last_5m.start_us, &metrics_start_bounds, 0.95);
    quantile(w, "job_completion_latency_p99_s", &m->last_5m.complete_us, &metrics_run_bounds, 0.99);
    success_rate(w, "job_success_rate_1m", &m->last_1m);
    success_rate(w, "job_success_rate_5m", &m->last_5m);
    per_second(w, "started_per_s", histogram_total(&last->start_us), last);
    per_second(w, "finished_per_s", finished, last);
}

static void render_slis(struct buf *body, const struct survey *s, size_t max)
{
    struct json_writer w;
    buf_init(body, max);
    jw_init(&w, body);
    jw_object(&w, NULL);
    jw_time(&w, "at", s->engine.now);
    jw_object(&w, "all");
    render_all(&w, &s->engine);
    jw_object_end(&w);
    render_objectives(&w, &s->engine.alerts);
    jw_object_end(&w);
}

static int render(struct survey *s, struct err *err)
{
    struct buf body;
    render_slis(&body, s, API_ANSWER_MAX);
    reply_json(s->req, 200, &body);
    return ERR_OK;
}

void slis_get(struct http_request *req)
{
    survey_start(req, render);
}

static int board_render(struct survey *s, struct err *err)
{
    struct buf text;
    render_slis(&text, s, BOARD_TEXT_MAX);
    board_made(s->board, &text);
    survey_free(s);
    return ERR_OK;
}

void board_slis_make(struct board *board)
{
    survey_board(board, board_render);
}
