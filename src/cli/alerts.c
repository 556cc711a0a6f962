/* haul alerts, haul objectives */
#include "base/auto.h"
#include "cli/alert_rules.h"
#include "cli/command.h"
#include "cli/table.h"

static enum colour state_colour(const char *state)
{
    if (strcmp(state, "firing") == 0 || strcmp(state, "fast_burn") == 0)
        return COLOUR_RED;
    if (strcmp(state, "pending") == 0 || strcmp(state, "slow_burn") == 0)
        return COLOUR_YELLOW;
    return strcmp(state, "ok") == 0 ? COLOUR_GREEN : COLOUR_DIM;
}

/* "" where there is no number. */
static void number_cell(struct table *t, const json_t *obj, const char *key)
{
    if (json_is_number(json_object_get(obj, key)))
        table_cellf(t, "%.6g", jreal(obj, key));
    else
        table_cell(t, "");
}

static void alert_row(struct table *t, const json_t *a)
{
    const char *state = jtext(a, "state");
    char since[32] = "";

    if (*jtext(a, "since"))
        ago_format(jtext(a, "since"), now_wall(), since);
    table_cell(t, jtext(a, "name"));
    table_cell_colour(t, state, state_colour(state));
    table_cell(t, since);
    number_cell(t, a, "value");
    number_cell(t, a, "above");
    table_cell(t, jtext(a, "severity"));
    table_cell(t, jtext(a, "text"));
}

static void objective_row(struct table *t, const json_t *o)
{
    const char *state = jtext(o, "state");
    char within[32];

    left_format((usec)(jreal(o, "within_s") * 1e6), within);
    table_cell(t, jtext(o, "name"));
    table_cell_colour(t, state, state_colour(state));
    table_cellf(t, "%.5g%% %s%s", jreal(o, "objective") * 100,
                strcmp(jtext(o, "kind"), "start") == 0 ? "start within " : "succeed",
                strcmp(jtext(o, "kind"), "start") == 0 ? within : "");
    table_cell(t, *jtext(o, "task_type") ? jtext(o, "task_type") : "all");
    table_cellf(t, "%lld", (long long)jint(o, "good"));
    table_cellf(t, "%lld", (long long)jint(o, "bad"));
    table_cellf(t, "%.1f%%", jreal(o, "budget_left") * 100);
    number_cell(t, o, "burn_5m");
    number_cell(t, o, "burn_1h");
    number_cell(t, o, "burn_6h");
}

static void receiver_row(struct table *t, const json_t *r)
{
    char sent[32] = "", failed[32] = "";

    ago_format(jtext(r, "sent_at"), now_wall(), sent);
    ago_format(jtext(r, "failed_at"), now_wall(), failed);
    table_cell(t, jtext(r, "receiver"));
    table_cell(t, jtext(r, "to"));
    table_cellf(t, "%lld", (long long)jint(r, "sent"));
    table_cell(t, sent);
    if (jint(r, "waiting"))
        table_cell_colour(t, "waiting", COLOUR_YELLOW);
    else
        table_cell(t, "");
    table_cell(t, failed);
    table_cell(t, jtext(r, "error"));
}

static void print_receivers(const json_t *doc)
{
    const json_t *receivers = json_object_get(doc, "receivers");

    if (json_array_size(receivers) == 0)
        return;
    puts(json_is_true(json_object_get(doc, "sending")) ? "" : "\nAnother server sends alerts now; of this one:");
    print_rows(receivers, "*RECEIVER|TO|>SENT|LAST|NEWS|FAILED|*BECAUSE", receiver_row, "");
}

/** The rows of array `key` of what `path` answers. */
static int show(struct cli *cli, const char *path, const char *key, const char *titles,
                void (*row)(struct table *t, const json_t *item), const char *none)
{
    json_t *doc = NULL;
    int status = cli_call(cli, "GET", path, NULL, &doc, key);

    if (status != EXIT_OK)
        return status;
    const json_t *items = json_object_get(doc, key);
    if (cli->json) {
        json_t *shown = json_pack("{s:O, s:O*, s:O*}", key, items, "sending", json_object_get(doc, "sending"),
                                  "receivers", json_object_get(doc, "receivers"));
        print_json(shown);
        json_decref(shown);
    } else {
        print_rows(items, titles, row, none);
        print_receivers(doc);
    }
    json_decref(doc);
    return EXIT_OK;
}

struct alerts_args {
    bool prometheus_rules;
};
static const struct opt alerts_options[] = {
    {"prometheus-rules", 0, OPT_FLAG, offsetof(struct alerts_args, prometheus_rules), NULL, 0, 0,
     "print them as a rule file of Prometheus, with the same meaning"},
};

static int print_rules(struct cli *cli)
{
    json_t *alerts = NULL, *slis = NULL;
    int status = cli_call(cli, "GET", "/v1/alerts", NULL, &alerts, "alerts");

    if (status == EXIT_OK)
        status = cli_call(cli, "GET", "/v1/slis", NULL, &slis, "objectives");
    if (status == EXIT_OK)
        alert_rules_print(json_object_get(alerts, "alerts"), json_object_get(slis, "objectives"));
    json_decref(alerts);
    json_decref(slis);
    return status;
}

static int run_alerts(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct alerts_args *a = args;

    if (a->prometheus_rules)
        return print_rules(cli);
    return show(cli, "/v1/alerts", "alerts", "*ALERT|STATE|SINCE|>VALUE|>ABOVE|SEVERITY|*SAYS", alert_row,
                "no alerts; section alerts of the server's configuration turned all of them off");
}

static int run_objectives(struct cli *cli, const void *args, int argc, char **argv)
{
    return show(cli, "/v1/slis", "objectives",
                "*OBJECTIVE|STATE|PROMISE|*TYPE|>GOOD|>BAD|>BUDGET LEFT|>BURN 5M|>1H|>6H", objective_row,
                "no objectives; section objectives of the server's configuration declares them");
}

const struct command command_alerts = {
    .name = "alerts",
    .args = "",
    .summary = "Alerts: which fire, what they look at, and whom they are sent to.",
    .options = alerts_options,
    .n_options = ARRAY_LEN(alerts_options),
    .run = run_alerts,
};

const struct command command_objectives = {
    .name = "objectives",
    .args = "",
    .summary = "What is promised, how much error budget is left, and how fast it burns.",
    .run = run_objectives,
};
