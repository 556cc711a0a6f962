#include "notify/outbox.h"
#include "base/auto.h"

static void settle(struct outbox *o, usec now)
{
    o->tried = false;
    o->tries = 0;
    o->since = o->due = now;
    if (o->firing == (o->told == TOLD_FIRING))
        o->waiting = false;
}

bool outbox_want(struct outbox *o, bool firing, bool tell_end, usec now)
{
    if (o->waiting && o->firing == firing)
        return false;
    if (!firing && !tell_end) {
        o->waiting = o->tried = false;
        o->told = TOLD_NOTHING;
        return false;
    }
    if (!o->waiting && o->told == TOLD_REFUSED) {
        o->told = firing ? TOLD_REFUSED : TOLD_NOTHING;
        return false;
    }
    if (firing == (o->told == TOLD_FIRING) && !o->tried) {
        o->waiting = false;
        return false;
    }
    if (!o->waiting) {
        o->tries = 0;
        o->due = now;
    }
    o->since = now;
    o->waiting = true;
    o->firing = firing;
    o->serial++;
    return true;
}

uint64_t outbox_try(struct outbox *o)
{
    o->tried = true;
    return o->serial;
}

void outbox_sent(struct outbox *o, uint64_t serial, bool firing, usec now)
{
    o->told = firing ? TOLD_FIRING : TOLD_NOTHING;
    if (serial == o->serial)
        o->waiting = false;
    settle(o, now);
}

void outbox_refused(struct outbox *o, uint64_t serial, usec now)
{
    if (serial == o->serial && o->waiting) {
        o->told = o->firing ? TOLD_REFUSED : TOLD_NOTHING;
        o->waiting = false;
    }
    settle(o, now);
}

/* Half of it is random, so that what was turned away together does not come back together. */
static usec back_off(unsigned tries, uint64_t dice)
{
    const usec half = MIN(OUTBOX_WAIT_MIN << MIN(tries, 20u), OUTBOX_WAIT_MAX) / 2;

    return half + (usec)(dice % (uint64_t)half);
}

bool outbox_failed(struct outbox *o, uint64_t serial, usec later_us, usec patience_us, uint64_t dice, usec now)
{
    if (now - o->since >= patience_us) {
        outbox_refused(o, serial, now);
        return false;
    }
    o->due = now + MAX(back_off(o->tries, dice), MIN(later_us, OUTBOX_LATER_MAX));
    o->tries++;
    return true;
}
