#pragma once
/* Submissions that outside producers publish to a broker's stream: parsed, checked and deduplicated as those of POST /v1/jobs. */
#include "api/api.h"
#include "broker/broker.h"

/** Any thread. Settles it once it is durable, known, or refused with a reason; what the store cannot decide now is deferred. */
void intake_submit(struct api *api, struct broker_submission *s);
