/* One job at a time, by a scan over all lanes: at most 64 jobs a poll and 4096 lanes, so a quarter of a million comparisons
 * at worst, and nothing is allocated.
 *
 * Why nobody starves: a lane's priority rises with the wait of its head, so a job of priority 0 stands before every job of
 * priority 9 that became ready nine steps of age later. Only those that came before that instant, a finite crowd, pass it. */
#include "core/lanes.h"
#include <string.h>

static bool contains(const char *const *list, size_t n, const char *s)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], s) == 0)
            return true;
    return false;
}

bool lane_fits(const struct lane *lane, const struct want *want)
{
    return !lane->paused && contains(want->task_types, want->n_task_types, lane->task_type) &&
           (want->n_queues == 0 || contains(want->queues, want->n_queues, lane->queue));
}

static int64_t rank(const struct lane *lane, usec now_us)
{
    int64_t r = lane->priority;

    if (lane->oldest_at > 0 && lane->oldest_at < now_us)
        r += (now_us - lane->oldest_at) / LANE_AGE_US;
    return r;
}

/** Does lane `a`, given `a_take` so far, come before `b`? Equal ranks take turns, the oldest head first; an unknown age
 * (0) counts as young, or a lane that was never measured would always win. */
static bool before(const struct lane *a, unsigned a_take, const struct lane *b, unsigned b_take, usec now_us)
{
    int64_t a_rank = rank(a, now_us), b_rank = rank(b, now_us);

    if (a_rank != b_rank)
        return a_rank > b_rank;
    if (a_take != b_take)
        return a_take < b_take;

    usec a_old = a->oldest_at > 0 ? a->oldest_at : USEC_NEVER, b_old = b->oldest_at > 0 ? b->oldest_at : USEC_NEVER;

    if (a_old != b_old)
        return a_old < b_old;
    return a->lane_id < b->lane_id;
}

void lanes_choose(const struct lane *lanes, size_t n, const struct want *want, usec now_us, unsigned *ret_take)
{
    for (size_t i = 0; i < n; i++)
        ret_take[i] = 0;

    for (unsigned left = want->slots; left > 0; left--) {
        size_t best = n;

        for (size_t i = 0; i < n; i++) {
            if (ret_take[i] >= lanes[i].ready)
                continue;
            /* Ranks first, names last: comparing strings only for a lane that would win keeps the scan cheap. */
            if (best != n && !before(&lanes[i], ret_take[i], &lanes[best], ret_take[best], now_us))
                continue;
            if (lane_fits(&lanes[i], want))
                best = i;
        }
        if (best == n)
            return;
        ret_take[best]++;
    }
}
