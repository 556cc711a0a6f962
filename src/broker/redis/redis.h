#pragma once
/* Redis Streams as a broker: redis://, rediss://, redis+unix:// (docs/redis.md). */
#include "broker/broker.h"

const struct broker_driver *broker_redis(void);
