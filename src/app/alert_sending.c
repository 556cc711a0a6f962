#include "app/alert_sending.h"
#include "base/auto.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/uuid.h"

#define OFFICE      "office/alerts"
#define HELD_US     (20 * USEC_PER_SEC) /* so long nobody tells when its holder is gone */
#define ASK_US      (5 * USEC_PER_SEC)
#define UNSURE_US   (90 * USEC_PER_SEC) /* what other servers count is up to a minute late */
#define ARENA_BYTES ((size_t)4 << 20)

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

/* Where there are no others it is the same after a restart: there is nobody to wait for. */
static void name_holder(struct alert_sending *s)
{
    const struct clock clock = clock_real();
    const struct uuid id = uuid_v7(clock.wall_us(clock.self), rng_real());

    snprintf(s->holder, sizeof(s->holder), "self");
    if (s->shared)
        uuid_format(&id, s->holder);
}

int alert_sending_start(struct alert_sending *ret, const struct alert_options *alerts,
                        const struct objectives *objectives, const struct receivers *receivers, bool shared,
                        struct err *err)
{
    ret->notify = NULL;
    ret->alerts = alerts;
    ret->shared = shared;
    if (receivers->n == 0)
        return ERR_OK;
    if (gethostname(ret->server, sizeof(ret->server) - 1) < 0)
        snprintf(ret->server, sizeof(ret->server), "?");
    for (size_t i = 0; i < alerts->n_rules; i++)
        describe(ret, i, objectives);
    name_holder(ret);
    buf_init(&ret->notes, NOTIFY_NOTES_MAX);
    buf_init(&ret->last_notes, NOTIFY_NOTES_MAX);
    const struct notify_config config = {.receivers = receivers->items,
                                         .n_receivers = receivers->n,
                                         .topics = ret->topics,
                                         .n_topics = alerts->n_rules,
                                         .server = ret->server};
    return notify_new(&config, &ret->notify, err);
}

/* --- the office --- */

static usec now_boot(void)
{
    const struct clock clock = clock_real();

    return clock.boot_us(clock.self);
}

static bool prepare(struct alert_sending *s, struct op *op, struct buf *notes)
{
    struct arena *arena = op->arena;

    if (arena)
        arena_reset(arena);
    else
        arena = arena_new(ARENA_BYTES);
    *op = (struct op){.kind = OP_OFFICE, .project = "default", .arena = arena, .owner = s};
    buf_reset(notes);
    s->flying = notify_notes(s->notify, notes);
    op->u.office = (struct op_office){
        .key = OFFICE, .holder = s->holder, .notes = notify_tells(s->notify) ? buf_str(notes) : NULL};
    return arena && !notes->failed;
}

static void answered(struct op *op)
{
    struct alert_sending *s = op->owner;
    const struct op_office *office = &op->u.office;

    s->asking = false;
    if (op->err.code != ERR_OK || s->leaving)
        return; /* the store is away: as it was, rather twice than not at all */
    s->asked = true;
    s->noted = s->flying;
    if (office->held && (office->taken || !notify_tells(s->notify))) {
        s->sure_boot_us = s->shared ? now_boot() + UNSURE_US : 0;
        notify_begin(s->notify, office->was);
    } else if (!office->held && notify_tells(s->notify)) {
        notify_rest(s->notify);
    } else {
        return;
    }
    s->noted = notify_noted(s->notify);
    if (s->shared)
        log_event(LOG_INFO, office->held ? "this server sends alerts from now on" : "another server sends alerts now",
                  NULL);
}

/* Looks come every so often; the office is to outlast some of them. */
static usec held_for(const struct alert_sending *s)
{
    return MAX(HELD_US, 3 * s->alerts->every);
}

static void ask(struct alert_sending *s, struct engine *e)
{
    const usec now = now_boot();
    const bool news = notify_tells(s->notify) && notify_noted(s->notify) != s->noted;

    if (s->asking || s->leaving || (s->asked && !news && !(s->shared && now >= s->ask_boot_us)))
        return;
    if (!prepare(s, &s->op, &s->notes))
        return;
    s->op.done = answered;
    s->op.u.office.for_us = held_for(s);
    s->asking = true;
    s->ask_boot_us = now + ASK_US;
    engine_offer(e, &s->op);
}

/* --- alerts --- */

/* One that is above its bound, but not for long enough yet, is neither. Of one that this server did not see fire it may not know yet, or the
 * value may lie between the bounds, where it stays what it was. */
static enum notify_is is(const struct alert_sending *s, size_t i, const struct alert *a)
{
    const bool seen = a->fired_at != 0 || now_boot() >= s->sure_boot_us;

    if (a->state == ALERT_FIRING)
        return NOTIFY_FIRING;
    return a->state == ALERT_PENDING || !seen || a->value > s->alerts->rules[i].clear_at ? NOTIFY_UNDECIDED
                                                                                         : NOTIFY_QUIET;
}

void alert_sending_looked(void *self, struct engine *e, const struct alert *alerts)
{
    struct alert_sending *s = self;
    struct notify_state states[ALERTS_MAX];

    for (size_t i = 0; i < s->alerts->n_rules; i++)
        states[i] = (struct notify_state){.is = is(s, i, &alerts[i]),
                                          .value = alerts[i].value,
                                          .fired_at = alerts[i].fired_at,
                                          .resolved_at = alerts[i].resolved_at};
    notify_tell(s->notify, states);
    ask(s, e);
}

/* --- the end --- */

static void left(struct op *op) {}

static void leave(struct engine *e, void *arg)
{
    struct alert_sending *s = arg;

    s->leaving = true;
    if (!notify_tells(s->notify) || !prepare(s, &s->last, &s->last_notes))
        return;
    s->last.done = left;
    engine_offer(e, &s->last);
}

void alert_sending_stop(struct alert_sending *s, struct loop *loop)
{
    notify_stop(s->notify);
    if (s->notify && loop)
        loop_post(loop, &s->letter, leave, s);
}

void alert_sending_release(struct alert_sending *s)
{
    notify_free(TAKE_PTR(s->notify));
    arena_free(TAKE_PTR(s->op.arena));
    arena_free(TAKE_PTR(s->last.arena));
    buf_release(&s->notes);
    buf_release(&s->last_notes);
}
