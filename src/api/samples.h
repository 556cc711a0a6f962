#pragma once
/* Within the room: what a worker measured of an attempt, and what is kept of it. */
#include "api/request.h"

#define SAMPLES_MAX 100 /* a call */

/** The member "samples" of a worker's call; NULL and 0 when absent. Refused: too many, out of bounds. What comes late, or is from the future,
 * is no mistake: the store passes over it.
 * @param newer  req_newer(): unknown members of an item are passed over */
int read_samples(struct json_reader *r, bool newer, struct arena *arena, const struct sample **ret, size_t *ret_n);
