/* Whose fault is a lost attempt? A job that kills its worker must be stopped; one that was only near an outage must not pay.
 *
 * Workers renew every heartbeat. What takes several of them away at once ends their leases within one heartbeat of each other,
 * while a worker that is well never has so little left of its own. So when the first of them lapses the others can be told
 * already, and when the last one does the others were lost a moment ago: no loss is charged too early and nothing has to be given
 * back. The margin is for answers that took their time. */
#include "base/auto.h"
#include "core/job.h"

usec loss_window_us(const struct policy *p)
{
    const usec spread_us = p->heartbeat_us + p->heartbeat_us / 4;
    const usec well_us = (p->lease_us - p->heartbeat_us) / 4 * 3; /* less than what is left just before a renewal */

    return MAX(MIN(spread_us, well_us), 0);
}

bool loss_charged(const struct policy *p, const struct loss *loss)
{
    if (loss->before >= p->max_interruptions) /* everything is bounded, the benefit of the doubt too */
        return true;
    if (loss->lease_until < loss->grace_until) /* not renewed since an outage of ours */
        return false;
    return !loss->others;
}
