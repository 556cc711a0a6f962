#include "app/broker_calls.h"
#include "api/intake.h"
#include "base/auto.h"
#include "base/log.h"

/* An announcement on its way through the engine. */
struct telling {
    struct loop_letter letter;
    struct lane_hint hint;
    struct broker_link *link;
    struct broker_told *told;
};

static void telling_done(struct lane_hint *h, enum broker_outcome outcome)
{
    struct telling *t = h->owner;

    t->link->driver->settle(t->link->broker, t->told, outcome);
    free(t);
}

static void tell(struct engine *e, void *arg)
{
    engine_hint(e, &((struct telling *)arg)->hint);
}

static void told(void *self, struct broker_told *told)
{
    struct broker_link *link = self;
    struct telling *t = calloc(1, sizeof(*t));

    if (!t) {
        link->driver->settle(link->broker, told, BROKER_LATER);
        return;
    }
    *t = (struct telling){.link = link, .told = told};
    t->hint = (struct lane_hint){.queue = told->queue,
                                 .task_type = told->task_type,
                                 .priority = told->priority,
                                 .jobs = told->jobs,
                                 .done = telling_done,
                                 .owner = t};
    loop_post(link->loop, &t->letter, tell, t);
}

static void submitted(void *self, struct broker_submission *s)
{
    struct broker_link *link = self;

    intake_submit(link->api, s);
}

static void changed(void *self, const struct err *err)
{
    if (err)
        log_err("the broker is lost: servers claim from the store directly", err);
    else
        log_event(LOG_INFO, "the broker is there again", NULL);
}

struct broker_calls broker_link_calls(struct broker_link *link)
{
    return (struct broker_calls){.told = told, .submitted = submitted, .changed = changed, .self = link};
}
