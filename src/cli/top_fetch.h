#pragma once
/* haul top asks the server on a thread of its own: keys work while an answer is awaited. */
#include "cli/top.h"
#include <stdatomic.h>

struct top_fetch;

/** One round of questions on the caller's thread. `log` only of the job that is looked at. `stop` may be NULL.
 * What went wrong stands in ret->trouble; *ret_herr (may be NULL) has it as it was. */
void top_ask(struct haul_client *c, const struct top_want *want, const atomic_bool *stop, struct top_snapshot *ret,
             struct haul_error *ret_herr);

/** @param c  used by the thread alone until top_fetch_free. NULL: an error in `err` */
struct top_fetch *top_fetch_new(struct haul_client *c, usec every_us, const struct top_want *want, struct err *err);
/** Ends within a second or two. NULL accepted. */
void top_fetch_free(struct top_fetch *f);
/** Readable when there is something for top_fetch_take. */
int top_fetch_fd(const struct top_fetch *f);
/** What is wanted from now on: asked for at once when it differs. */
void top_fetch_want(struct top_fetch *f, const struct top_want *want);
/** The body is taken. One at a time; another one meanwhile is refused (false), its body freed. */
bool top_fetch_order(struct top_fetch *f, struct top_order *order);
/** @return false: nothing new. ret_snapshot: empty (wall_us 0, no trouble) when only `said` is new; ret_said "" when nothing was said. */
bool top_fetch_take(struct top_fetch *f, struct top_snapshot *ret_snapshot, char *ret_said, size_t said_size);
