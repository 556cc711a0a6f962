/*            above                  for_us of it
 *      ok ----------> pending --------------------> firing
 *      ^  ^              |                             |  at most clear_at
 *      |  +--------------+ not above                   v
 *      +------------------------ an hour ---------- resolved ---> pending, when above
 */
#include "core/alert.h"
#include "base/auto.h"
#include "base/timefmt.h"
#include <math.h>

static double failure_rate(struct tally_sum sum)
{
    uint64_t n = sum.good + sum.bad;

    return n ? (double)sum.bad / (double)n : NAN;
}

/* Both must be above the bound; where one has no event nothing burns. */
static double lower(double a, double b)
{
    return isnan(a) || isnan(b) ? NAN : MIN(a, b);
}

double alert_value(const struct alert_rule *rule, const struct alert_facts *facts)
{
    const double *burn = NULL;

    switch (rule->kind) {
    case ALERT_QUEUE_DEPTH:
        return (double)facts->ready;
    case ALERT_FAILURE_RATE:
        return failure_rate(tally_last(facts->jobs, facts->now_us, rule->window_us));
    case ALERT_DLQ_GROWTH:
        return (double)tally_last(facts->jobs, facts->now_us, rule->window_us).bad;
    case ALERT_OLDEST_READY:
        return (double)facts->oldest_ready_us / (double)USEC_PER_SEC;
    case ALERT_FAST_BURN:
        burn = facts->objectives[rule->objective].burn;
        return lower(burn[BURN_5M], burn[BURN_1H]);
    case ALERT_SLOW_BURN:
        burn = facts->objectives[rule->objective].burn;
        return lower(burn[BURN_30M], burn[BURN_6H]);
    case ALERT_KIND_COUNT:
        break;
    }
    return NAN;
}

static enum alert_state next_state(const struct alert_rule *rule, const struct alert *a, double value, usec now_us)
{
    bool above = value > rule->above;

    switch (a->state) {
    case ALERT_FIRING:
        return value > rule->clear_at ? ALERT_FIRING : ALERT_RESOLVED;
    case ALERT_PENDING:
        if (!above)
            return ALERT_OK;
        return now_us - a->since >= rule->for_us ? ALERT_FIRING : ALERT_PENDING;
    case ALERT_RESOLVED:
        if (!above && now_us - a->since >= ALERT_RESOLVED_US)
            return ALERT_OK;
        break;
    case ALERT_OK:
        break;
    }
    if (!above)
        return a->state;
    return rule->for_us ? ALERT_PENDING : ALERT_FIRING;
}

bool alert_step(const struct alert_rule *rule, struct alert *alert, double value, usec now_us)
{
    enum alert_state next = next_state(rule, alert, value, now_us);

    alert->value = value;
    if (next == alert->state)
        return false;
    alert->state = next;
    alert->since = now_us;
    if (next == ALERT_FIRING)
        alert->fired_at = now_us;
    if (next == ALERT_RESOLVED)
        alert->resolved_at = now_us;
    return true;
}

const char *alert_kind_name(enum alert_kind kind)
{
    static const char *const names[ALERT_KIND_COUNT] = {"queue_depth",      "job_failure_rate", "dlq_growth",
                                                        "oldest_ready_age", "fast_burn",        "slow_burn"};

    return names[kind];
}

const char *alert_state_name(enum alert_state state)
{
    static const char *const names[] = {"ok", "pending", "firing", "resolved"};

    return names[state];
}

void alert_text(const struct alert_rule *rule, char *ret, size_t size)
{
    char window[48];

    duration_format(rule->window_us, window);
    switch (rule->kind) {
    case ALERT_QUEUE_DEPTH:
        snprintf(ret, size, "more than %.15g jobs are ready: more workers, or who submits them?", rule->above);
        break;
    case ALERT_FAILURE_RATE:
        snprintf(ret, size, "over %.15g %% of the jobs that ended within %s failed: a new version, or what it needs?",
                 rule->above * 100, window);
        break;
    case ALERT_DLQ_GROWTH:
        snprintf(ret, size, "more than %.15g jobs became dead letters within %s: haul dlq list", rule->above, window);
        break;
    case ALERT_OLDEST_READY:
        snprintf(ret, size, "a ready job has waited for more than %.15g s: haul jobs explain says why", rule->above);
        break;
    case ALERT_FAST_BURN:
        snprintf(ret, size, "the error budget burns %.3g times as fast as it may, for 5 minutes and for an hour",
                 rule->above);
        break;
    case ALERT_SLOW_BURN:
        snprintf(ret, size, "the error budget burns %.3g times as fast as it may, for 30 minutes and for 6 hours",
                 rule->above);
        break;
    case ALERT_KIND_COUNT:
        break;
    }
}
