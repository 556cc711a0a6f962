#include "base/clock.h"

static usec read_us(clockid_t id)
{
    struct timespec ts;
    if (clock_gettime(id, &ts) != 0)
        abort(); /* only a wrong clock id can fail */
    return (usec)ts.tv_sec * USEC_PER_SEC + (usec)(ts.tv_nsec / 1000);
}

static usec real_wall_us(void *self)
{
    (void)self;
    return read_us(CLOCK_REALTIME);
}

static usec real_boot_us(void *self)
{
    (void)self;
    return read_us(CLOCK_BOOTTIME);
}

struct clock clock_real(void)
{
    return (struct clock){.wall_us = real_wall_us, .boot_us = real_boot_us};
}

static usec fake_wall_us(void *self)
{
    return ((struct clock_fake *)self)->wall_us;
}

static usec fake_boot_us(void *self)
{
    return ((struct clock_fake *)self)->boot_us;
}

struct clock clock_fake_view(struct clock_fake *fake)
{
    return (struct clock){.wall_us = fake_wall_us, .boot_us = fake_boot_us, .self = fake};
}

void clock_fake_advance(struct clock_fake *fake, usec by_us)
{
    fake->wall_us += by_us;
    fake->boot_us += by_us;
}
