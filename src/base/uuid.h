#pragma once
/* UUIDs: version 7 (RFC 9562, section 5.7) to make, any version to read. */
#include "base/clock.h"
#include "base/rng.h"
#include <stdbool.h>
#include <stdint.h>

#define UUID_STR_MAX 37

struct uuid {
    uint8_t b[16];
};

struct uuid uuid_v7(usec wall_us, struct rng rng);
usec uuid_v7_us(const struct uuid *u); /* when it was made, cut to a millisecond; of another version: meaningless */
bool uuid_parse(const char *s, struct uuid *ret); /* canonical 36 characters, either case; else false */
void uuid_format(const struct uuid *u, char ret[UUID_STR_MAX]);
bool uuid_is_nil(const struct uuid *u);
bool uuid_equal(const struct uuid *a, const struct uuid *b);
int uuid_compare(const struct uuid *a, const struct uuid *b);
