#include "app/alert_sending.h"
#include <unistd.h>

static void describe(struct alert_sending *s, size_t i, const struct objectives *objectives)
{
    const struct alert_rule *rule = &s->alerts->rules[i];
    const bool burns = rule->kind == ALERT_FAST_BURN || rule->kind == ALERT_SLOW_BURN;

    alert_text(rule, s->texts[i], sizeof(s->texts[i]));
    s->topics[i] = (struct notify_topic){.name = rule->name,
                                         .severity = rule->severity,
                                         .what = alert_kind_name(rule->kind),
                                         .objective = burns ? objectives->items[rule->objective].name : NULL,
                                         .text = s->texts[i],
                                         .above = rule->above,
                                         .clear_at = rule->clear_at};
}

int alert_sending_start(struct alert_sending *ret, const struct alert_options *alerts,
                        const struct objectives *objectives, const struct receivers *receivers, struct err *err)
{
    ret->notify = NULL;
    ret->alerts = alerts;
    if (receivers->n == 0)
        return ERR_OK;
    if (gethostname(ret->server, sizeof(ret->server) - 1) < 0)
        snprintf(ret->server, sizeof(ret->server), "?");
    for (size_t i = 0; i < alerts->n_rules; i++)
        describe(ret, i, objectives);
    const struct notify_config config = {.receivers = receivers->items,
                                         .n_receivers = receivers->n,
                                         .topics = ret->topics,
                                         .n_topics = alerts->n_rules,
                                         .server = ret->server};
    return notify_new(&config, &ret->notify, err);
}

/* One that is above its bound, but not for long enough yet, is neither. */
static enum notify_is is(const struct alert *a)
{
    return a->state == ALERT_FIRING ? NOTIFY_FIRING : a->state == ALERT_PENDING ? NOTIFY_UNDECIDED : NOTIFY_QUIET;
}

void alert_sending_looked(void *self, const struct alert *alerts)
{
    const struct alert_sending *s = self;
    struct notify_state states[ALERTS_MAX];

    for (size_t i = 0; i < s->alerts->n_rules; i++)
        states[i] = (struct notify_state){.is = is(&alerts[i]),
                                          .value = alerts[i].value,
                                          .fired_at = alerts[i].fired_at,
                                          .resolved_at = alerts[i].resolved_at};
    notify_tell(s->notify, states);
}
