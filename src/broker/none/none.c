#include "broker/none/none.h"
#include "base/auto.h"

struct broker {
    bool reached;
};

static int none_open(const struct broker_config *config, struct broker **ret, struct err *err)
{
    *ret = calloc(1, sizeof(**ret));
    if (!*ret)
        return err_set(err, ERR_NO_MEMORY, 0, "broker");
    (*ret)->reached = true;
    return ERR_OK;
}

static int none_start(struct broker *b, const struct broker_calls *calls, struct err *err)
{
    return ERR_OK;
}

static void none_announce(struct broker *b, const struct broker_job *job) {}

static void none_want(struct broker *b, const char *queue, const char *task_type, int slots) {}

static void none_settle(struct broker *b, struct broker_told *t, enum broker_outcome outcome) {}

static void none_settle_submission(struct broker *b, struct broker_submission *s, enum broker_admission admission,
                                   const char *reason)
{
}

static void none_state(struct broker *b, struct broker_state *ret)
{
    *ret = (struct broker_state){.reached = b->reached};
}

static void none_stop(struct broker *b) {}

static void none_close(struct broker *b)
{
    free(b);
}

const struct broker_driver *broker_none(void)
{
    static const struct broker_driver driver = {.name = "none",
                                                .open = none_open,
                                                .start = none_start,
                                                .announce = none_announce,
                                                .want = none_want,
                                                .settle = none_settle,
                                                .settle_submission = none_settle_submission,
                                                .state = none_state,
                                                .stop = none_stop,
                                                .close = none_close};
    return &driver;
}
