#pragma once
/* Brings what the engine sees of alerts to those who want to hear of them. */
#include "app/receiver_options.h"
#include "core/alert.h"
#include "notify/notify.h"

#define ALERT_TEXT_MAX  256
#define SERVER_NAME_MAX 65

struct alert_sending {
    struct notify *notify; /* NULL: there are no receivers */
    const struct alert_options *alerts;
    char texts[ALERTS_MAX][ALERT_TEXT_MAX], server[SERVER_NAME_MAX];
    struct notify_topic topics[ALERTS_MAX];
};

/** @param ret  borrows the options; must not move */
int alert_sending_start(struct alert_sending *ret, const struct alert_options *alerts,
                        const struct objectives *objectives, const struct receivers *receivers, struct err *err);
/** engine_alerts_config.looked; `self` is a struct alert_sending. */
void alert_sending_looked(void *self, const struct alert *alerts);
