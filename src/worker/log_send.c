#include "worker/log_send.h"
#include "base/auto.h"

#define WORTHWHILE 4096 /* less of the budget is saved up */

static bool budgeted(const struct log_sender *s, bool live)
{
    return live && s->sent >= LOG_HEAD_MAX;
}

static size_t allowance(struct log_sender *s, bool live)
{
    if (!budgeted(s, live))
        return LOG_CHUNK_MAX;
    const usec now = boot_now();
    const usec gone = MIN(now - s->budget_at_us, USEC_PER_SEC);
    s->budget = MIN(s->budget + gone * LOG_LIVE_RATE / USEC_PER_SEC, LOG_LIVE_RATE);
    s->budget_at_us = now;
    return (size_t)MIN(s->budget, LOG_CHUNK_MAX);
}

/* The server knows less than we thought (it was restored), or an answer was lost: an empty piece asks where it is. */
static int ask(const struct attempt *a, struct haul_client *c, struct log_sender *s, struct haul_error *he)
{
    int64_t next = 0;
    const int rc = haul_log_append(c, a->job_id, a->number, a->token, 0, 0, "", 0, &next, he);
    if (rc == HAUL_OK) {
        s->sent = next;
        s->asked = true;
    }
    return rc;
}

int log_push(const struct attempt *a, struct haul_client *c, struct log_sender *s, bool live, enum log_push *ret,
             struct haul_error *he)
{
    static _Thread_local char chunk[LOG_CHUNK_MAX];
    int64_t at = s->sent, next = 0;
    const size_t max = allowance(s, live);
    *ret = LOG_PUSH_LATER;
    if (max < WORTHWHILE)
        return HAUL_OK;
    const size_t n = logs_read(s->log, &at, chunk, max);
    *ret = n ? LOG_PUSH_SENT : LOG_PUSH_NOTHING;
    if (!n)
        return HAUL_OK;
    const int rc = haul_log_append(c, a->job_id, a->number, a->token, at, at - s->sent, chunk, n, &next, he);
    if (rc == HAUL_REFUSED && !s->asked && !strcmp(he->code, "conflict"))
        return ask(a, c, s, he);
    if (rc)
        return rc;
    s->asked = false;
    if (budgeted(s, live))
        s->budget -= (int64_t)n; /* it never falls below 0: no more than it was read */
    s->sent =
        next > s->sent ? next : at + (int64_t)n; /* never twice the same: a server that stands still must not hold us */
    return HAUL_OK;
}
