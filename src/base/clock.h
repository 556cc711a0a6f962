#pragma once
/* Time, behind a table, so that a test can hold it still. */
#include <stdint.h>

typedef int64_t usec; /* microseconds; as an instant: since the Unix epoch, or of a monotonic clock where said */

#define USEC_PER_SEC  INT64_C(1000000)
#define USEC_PER_MSEC INT64_C(1000)
#define USEC_NEVER    INT64_MAX

struct clock {
    usec (*wall_us)(void *self); /* since the epoch; may jump */
    usec (*boot_us)(void *self); /* CLOCK_BOOTTIME: never jumps, counts suspend */
    void *self;
};

/** The machine's clocks. */
struct clock clock_real(void);

/** A clock that moves only when told. */
struct clock_fake {
    usec wall_us, boot_us;
};
struct clock clock_fake_view(struct clock_fake *fake); /* borrows `fake` */
void clock_fake_advance(struct clock_fake *fake, usec by_us);
