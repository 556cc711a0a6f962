#pragma once
/* What the broker says, brought to where it belongs: announcements to the engine, submissions to the API, losses into the log. */
#include "api/api.h"
#include "broker/broker.h"

struct broker_link {
    const struct broker_driver *driver;
    struct broker *broker;
    struct loop *loop;
    struct api *api;
};

/** `link` lives until the broker is stopped and the loop freed. */
struct broker_calls broker_link_calls(struct broker_link *link);
