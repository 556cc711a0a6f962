#pragma once
/* No broker: servers claim from the store alone. */
#include "broker/broker.h"

const struct broker_driver *broker_none(void);
