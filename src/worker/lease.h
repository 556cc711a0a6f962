#pragma once
/* Keeps an attempt's lease, and holds the handler still when it cannot. Threads and a connection of its own: neither the handler nor
 * a transfer can delay it. */
#include "worker/attempt.h"
#include "worker/meter.h"

enum lease_state {
    LEASE_UNCONFIRMED, /* no heartbeat was answered yet */
    LEASE_HELD,
    LEASE_LOST,    /* the token is stale: whatever we do counts for nothing */
    LEASE_ORPHANED /* nobody answered for orphan_limit */
};

struct lease;
/** @param meter  what its heartbeats tell; borrowed; NULL: nothing */
int lease_start(const struct attempt *a, struct meter *meter, struct lease **ret, struct err *err);
/** Readable when state or cancel changed; lease_look clears it. */
int lease_event_fd(const struct lease *l);
enum lease_state lease_look(struct lease *l, bool *ret_cancel);
/** Waits until it is confirmed or gone. */
enum lease_state lease_confirm(struct lease *l);
/** Waits until it is held with time left, since nothing may begin past its end, however long inputs took.
 * ERR_CANCELLED: it is gone, or `stop_fd` became readable, or it is not held and a cancel came. */
int lease_wait(struct lease *l, int stop_fd, struct err *err);
/** From now on `box` is stopped before the lease ends, continued when it is renewed, killed when it is lost. NULL: no longer. */
void lease_guard(struct lease *l, struct sandbox *box);
/** How long the handler was held still; not its time. */
usec lease_frozen_us(struct lease *l);
bool lease_frozen(struct lease *l);
/** Stops the threads and frees. NULL accepted. */
void lease_free(struct lease *l);
