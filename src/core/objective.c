/* Burn rates of two windows each, as in Google's SRE workbook: the long one says that it matters, the short one that it goes on. */
#include "core/objective.h"
#include "base/auto.h"
#include <math.h>

#define MINUTE_US (60 * USEC_PER_SEC)
#define HOUR_US   (60 * MINUTE_US)

const usec objective_burn_spans[OBJECTIVE_BURNS_COUNT] = {
    [BURN_5M] = 5 * MINUTE_US, [BURN_30M] = 30 * MINUTE_US, [BURN_1H] = HOUR_US, [BURN_6H] = 6 * HOUR_US};

bool objective_covers(const struct objective *o, const char *queue, const char *task_type)
{
    return (!o->task_type || strcmp(o->task_type, task_type) == 0) &&
           (!o->queue || strcmp(o->queue, queue ? queue : task_type) == 0);
}

enum objective_verdict objective_start(const struct objective *o, usec waited_us)
{
    if (o->kind != OBJECTIVE_START)
        return VERDICT_NONE;
    return waited_us <= o->within_us ? VERDICT_GOOD : VERDICT_BAD;
}

enum objective_verdict objective_end(const struct objective *o, enum outcome outcome, enum job_status status)
{
    if (o->kind == OBJECTIVE_START) /* it never started */
        return outcome == OUTCOME_EXPIRED ? VERDICT_BAD : VERDICT_NONE;
    if (status == JOB_FAILED)
        return o->keep_dead ? VERDICT_GOOD : VERDICT_BAD;
    return status == JOB_SUCCESS ? VERDICT_GOOD : VERDICT_NONE;
}

/** The rate that spends `share` of the budget in `span_us`. */
static double burn_of(const struct objective *o, double share, usec span_us)
{
    double rate = share * (double)o->window_us / (double)span_us;
    double half = 0.5 / (1 - o->target);

    return MIN(rate, half);
}

double objective_fast_burn(const struct objective *o)
{
    return burn_of(o, 0.02, HOUR_US);
}

double objective_slow_burn(const struct objective *o)
{
    return burn_of(o, 0.05, 6 * HOUR_US);
}

static double bad_share(struct tally_sum sum)
{
    uint64_t n = sum.good + sum.bad;

    return n ? (double)sum.bad / (double)n : NAN;
}

void objective_judge(const struct objective *o, const struct tally *counts, usec now_us, struct objective_report *ret)
{
    double allowed = 1 - o->target, fast = objective_fast_burn(o), slow = objective_slow_burn(o);
    const double *burn = ret->burn;

    ret->window = tally_last(counts, now_us, o->window_us);
    ret->budget_left = ret->window.bad ? 1 - bad_share(ret->window) / allowed : 1;
    for (size_t i = 0; i < OBJECTIVE_BURNS_COUNT; i++)
        ret->burn[i] = bad_share(tally_last(counts, now_us, objective_burn_spans[i])) / allowed;
    ret->state = burn[BURN_1H] > fast && burn[BURN_5M] > fast    ? OBJECTIVE_FAST_BURN
                 : burn[BURN_6H] > slow && burn[BURN_30M] > slow ? OBJECTIVE_SLOW_BURN
                                                                 : OBJECTIVE_OK;
}

const char *objective_kind_name(enum objective_kind kind)
{
    return kind == OBJECTIVE_START ? "start" : "success";
}

const char *objective_state_name(enum objective_state state)
{
    static const char *const names[] = {"ok", "slow_burn", "fast_burn"};

    return names[state];
}
