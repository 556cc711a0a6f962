#include "cli/alert_rules.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/timefmt.h"
#include "cli/command.h"

#define EXPR_MAX ((size_t)16 << 10)

static void duration(const json_t *alert, const char *key, char ret[48])
{
    usec us = (usec)(jreal(alert, key) * 1e6);

    duration_format(us, ret);
}

static const json_t *objective_of(const json_t *alert, const json_t *objectives)
{
    json_t *o = NULL;
    size_t i;

    json_array_foreach (objectives, i, o)
        if (strcmp(jtext(o, "name"), jtext(alert, "objective")) == 0)
            return o;
    return NULL;
}

/** "HaulQueueDepth". */
static void rule_name(const char *what, struct buf *b)
{
    buf_adds(b, "Haul");
    for (bool upper = true; *what; what++) {
        if (*what != '_')
            buf_addc(b, upper && *what >= 'a' && *what <= 'z' ? (char)(*what - 'a' + 'A') : *what);
        upper = *what == '_';
    }
}

/** The number that an alert with bounds of its own looks at. */
static void value_expr(const json_t *alert, struct buf *b)
{
    const char *what = jtext(alert, "what");
    char window[48];

    duration(alert, "window_s", window);
    if (strcmp(what, "queue_depth") == 0)
        buf_adds(b, "sum by (instance) (haul_ready_jobs)");
    else if (strcmp(what, "oldest_ready_age") == 0)
        buf_adds(b, "max by (instance) (haul_oldest_ready_age_seconds)");
    else if (strcmp(what, "dlq_growth") == 0)
        buf_printf(b, "sum by (instance) (increase(haul_jobs_finished_total{status=\"failed\"}[%s]))", window);
    else
        buf_printf(b,
                   "sum by (instance) (rate(haul_jobs_finished_total{status=\"failed\"}[%s])) / "
                   "sum by (instance) (rate(haul_jobs_finished_total{status=~\"success|failed\"}[%s]))",
                   window, window);
}

/** Above one bound, or above the other while it fires: ALERTS is what Prometheus writes of its own alerts. */
static void bounded_expr(const json_t *alert, struct buf *b)
{
    buf_adds(b, "(");
    value_expr(alert, b);
    buf_printf(b, ") > %.15g or ((", jreal(alert, "above"));
    value_expr(alert, b);
    buf_printf(b, ") > %.15g and on (instance) ALERTS{alertname=\"", jreal(alert, "clear_at"));
    rule_name(jtext(alert, "what"), b);
    buf_adds(b, "\",alertstate=\"firing\"})");
}

static void burn_expr(const json_t *alert, double bad_share, const char *span, struct buf *b)
{
    const char *name = jtext(alert, "objective");

    buf_printf(
        b,
        "sum by (instance, objective) (rate(haul_objective_events_total{objective=\"%s\",result=\"bad\"}[%s])) / "
        "sum by (instance, objective) (rate(haul_objective_events_total{objective=\"%s\"}[%s])) > %.15g",
        name, span, name, span, bad_share);
}

static void expr(const json_t *alert, const json_t *objectives, struct buf *b)
{
    const json_t *objective = objective_of(alert, objectives);
    bool fast = strcmp(jtext(alert, "what"), "fast_burn") == 0;

    if (!objective) {
        bounded_expr(alert, b);
        return;
    }
    double bad_share = jreal(alert, "above") * (1 - jreal(objective, "objective"));
    burn_expr(alert, bad_share, fast ? "1h" : "6h", b);
    buf_adds(b, " and ");
    burn_expr(alert, bad_share, fast ? "5m" : "30m", b);
}

static void print_quoted(const char *key, const char *text)
{
    json_t *value = json_string(text);
    AUTO_FREE char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

    printf("%s: %s\n", key, quoted ? quoted : "\"\"");
    json_decref(value);
}

static void print_rule(const json_t *alert, const json_t *objectives)
{
    struct buf b;
    char wait[48];

    buf_init(&b, EXPR_MAX);
    rule_name(jtext(alert, "what"), &b);
    printf("      - alert: %s\n", buf_str(&b));
    buf_reset(&b);
    expr(alert, objectives, &b);
    print_quoted("        expr", buf_str(&b));
    buf_release(&b);
    duration(alert, "for_s", wait);
    printf("        for: %s\n        labels: {severity: %s}\n        annotations:\n", wait, jtext(alert, "severity"));
    print_quoted("          summary", jtext(alert, "text"));
}

void alert_rules_print(const json_t *alerts, const json_t *objectives)
{
    const json_t *alert;
    size_t i;

    printf("# The server's own alerts as rules for Prometheus: haul alerts --prometheus-rules (docs/alerts.md).\n"
           "groups:\n  - name: haul-alerts\n    rules:%s\n",
           json_array_size(alerts) ? "" : " []");
    json_array_foreach (alerts, i, alert)
        print_rule(alert, objectives);
}
