#pragma once
/* What the server itself counts of a queue: acknowledged and counted must agree. */
#include "base/err.h"
#include "bench/wire.h"

struct counted {
    int64_t all, success;
};

int counted_get(const struct address *to, const char *queue, struct counted *ret, struct err *err);
