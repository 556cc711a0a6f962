/* GET /v1/alerts, and what GET /v1/slis says of objectives. */
#include "api/alerts.h"
#include "api/boards_made.h"
#include "api/routes.h"
#include "api/survey.h"
#include "base/auto.h"

#define TEXT_MAX 256

static void seconds(struct json_writer *w, const char *key, usec us)
{
    if (us)
        jw_duration_s(w, key, us);
    else
        jw_null(w, key);
}

static void render_objective(struct json_writer *w, const struct objective *o, const struct objective_report *r)
{
    bool start = o->kind == OBJECTIVE_START;

    jw_object(w, NULL);
    jw_string(w, "name", o->name);
    jw_string(w, "task_type", o->task_type);
    jw_string(w, "queue", o->queue);
    jw_string(w, "kind", objective_kind_name(o->kind));
    seconds(w, "within_s", o->within_us);
    jw_string(w, "dead_letters", start ? NULL : o->keep_dead ? "keep" : "fail");
    jw_real(w, "objective", o->target);
    jw_duration_s(w, "window_s", o->window_us);
    jw_int(w, "good", (int64_t)r->window.good);
    jw_int(w, "bad", (int64_t)r->window.bad);
    jw_real(w, "budget_left", r->budget_left);
    jw_real(w, "burn_5m", r->burn[BURN_5M]);
    jw_real(w, "burn_30m", r->burn[BURN_30M]);
    jw_real(w, "burn_1h", r->burn[BURN_1H]);
    jw_real(w, "burn_6h", r->burn[BURN_6H]);
    jw_string(w, "state", objective_state_name(r->state));
    jw_object_end(w);
}

void render_objectives(struct json_writer *w, const struct engine_alerts *a)
{
    jw_array(w, "objectives");
    for (size_t i = 0; a->objectives && i < a->config->n_objectives; i++)
        render_objective(w, &a->config->objectives[i], &a->objectives[i]);
    jw_array_end(w);
}

void render_alert(struct json_writer *w, const char *key, const struct engine_alerts_config *config,
                  const struct alert_rule *rule, const struct alert *alert)
{
    bool burns = rule->kind == ALERT_FAST_BURN || rule->kind == ALERT_SLOW_BURN;
    char text[TEXT_MAX];

    alert_text(rule, text, sizeof(text));
    jw_object(w, key);
    jw_string(w, "name", rule->name);
    jw_string(w, "what", alert_kind_name(rule->kind));
    jw_string(w, "objective", burns ? config->objectives[rule->objective].name : NULL);
    jw_string(w, "severity", rule->severity);
    jw_real(w, "above", rule->above);
    jw_real(w, "clear_at", rule->clear_at);
    jw_duration_s(w, "for_s", rule->for_us);
    seconds(w, "window_s", rule->window_us);
    jw_string(w, "state", alert_state_name(alert->state));
    jw_time(w, "since", alert->since);
    jw_time(w, "fired_at", alert->fired_at);
    jw_time(w, "resolved_at", alert->resolved_at);
    jw_real(w, "value", alert->value);
    jw_string(w, "text", text);
    jw_object_end(w);
}

void render_alerts(struct json_writer *w, const struct engine_alerts *a)
{
    jw_array(w, "alerts");
    for (size_t i = 0; a->alerts && i < a->config->n_rules; i++)
        render_alert(w, NULL, a->config, &a->config->rules[i], &a->alerts[i]);
    jw_array_end(w);
}

static int render_body(struct buf *body, const struct survey *s, size_t max, struct err *err)
{
    struct json_writer w;

    buf_init(body, max);
    jw_init(&w, body);
    jw_object(&w, NULL);
    render_alerts(&w, &s->engine.alerts);
    jw_bool(&w, "sending", notify_tells(s->api->notify));
    int rc = render_receivers(&w, s->api->notify, s->arena, err);
    jw_object_end(&w);
    if (rc)
        buf_release(body);
    return rc;
}

static int render(struct survey *s, struct err *err)
{
    struct buf body;

    if (render_body(&body, s, API_ANSWER_MAX, err) != ERR_OK)
        return (int)err->code;
    reply_json(s->req, 200, &body);
    return ERR_OK;
}

void alerts_get(struct http_request *req)
{
    survey_start(req, render);
}

static int board_render(struct survey *s, struct err *err)
{
    struct buf text;

    if (render_body(&text, s, BOARD_TEXT_MAX, err) != ERR_OK)
        return (int)err->code;
    board_made(s->board, &text);
    survey_free(s);
    return ERR_OK;
}

void board_alerts_make(struct board *board)
{
    survey_board(board, board_render);
}
