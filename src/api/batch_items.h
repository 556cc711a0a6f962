#pragma once
/* Within the room: the body of POST /v1/jobs:batch -> its submissions as text. Pure. */
#include "api/request.h"

struct batch_item {
    const char *text; /* borrowed from the body */
    size_t n;
};
/** Refuses what is no batch: members beside `jobs`, no item, more than `max_items` (ERR_TOO_LARGE), what is not JSON around the
 * items. Whether each item is JSON shows when it is parsed. */
int batch_items(const char *body, size_t n, size_t max_items, struct arena *arena, struct batch_item **ret,
                size_t *ret_n, struct err *err);
/** Does the item, refused so when it was parsed, make the whole body no JSON? JSON that is refused (a key twice, too deep) is the
 * item's own affair, and so is JSON that is no submission. */
bool batch_item_breaks(const struct batch_item *item, const struct err *refusal);
/** KEY/INDEX in the arena; NULL without a key, ERR_INVALID when there is no room for the index behind it. */
int batch_key(const char *key, size_t index, struct arena *arena, const char **ret, struct err *err);
