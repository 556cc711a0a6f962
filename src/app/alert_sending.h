#pragma once
/* Brings what the engine sees of alerts to those who want to hear of them. Of several servers over one store one tells, which holds an
 * office there (op_office); its notes are what receivers were told, so whoever comes after it, a restart too, goes on from there. */
#include "app/receiver_options.h"
#include "engine/loop.h"
#include "notify/notify.h"

#define ALERT_TEXT_MAX   256
#define SENDING_NAME_MAX 65

struct alert_sending {
    struct notify *notify; /* NULL: there are no receivers; nothing else is set then */
    const struct alert_options *alerts;
    char texts[ALERTS_MAX][ALERT_TEXT_MAX], server[SENDING_NAME_MAX];
    struct notify_topic topics[ALERTS_MAX];
    /* the office; on the engine's thread */
    char holder[SENDING_NAME_MAX];
    bool shared; /* other servers may hold it */
    bool asked, asking, leaving;
    struct op op, last;
    struct loop_letter letter;
    struct buf notes, last_notes;
    uint64_t noted, flying; /* notify_noted, as the store has it, and as it is on its way there */
    usec ask_boot_us;       /* when to ask again */
    usec sure_boot_us;      /* from then on it has heard what other servers counted */
};

/** @param ret  borrows the options; must not move @param shared  the store is other servers', too */
int alert_sending_start(struct alert_sending *ret, const struct alert_options *alerts,
                        const struct objectives *objectives, const struct receivers *receivers, bool shared,
                        struct err *err);
/** engine_alerts_config.looked; `self` is a struct alert_sending. */
void alert_sending_looked(void *self, struct engine *e, const struct alert *alerts);
/** Nothing is sent any more; the office is given up, which the loop sees to until it is freed. Before that, and after loop_drain. */
void alert_sending_stop(struct alert_sending *s, struct loop *loop);
/** After the loop was freed. */
void alert_sending_release(struct alert_sending *s);
