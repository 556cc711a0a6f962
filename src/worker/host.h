#pragma once
/* How busy the worker's host is, from /proc: all of it, not only haul's jobs. In a container it is that of the machine around it. */
#include "base/clock.h"
#include <stdbool.h>
#include <stdint.h>

struct host_load {
    unsigned cpus; /* online */
    double cpu;    /* CPUs that were busy on the average of the last half second or more, 0..cpus */
    int64_t memory_bytes, memory_total_bytes; /* not available to a new program; of all */
};
struct host_meter {
    usec looked_us;
    uint64_t busy, all; /* ticks then */
    bool known;
    struct host_load load;
};

/** Begin with a zeroed meter. @return false: not known yet (the first look only begins), or there is no such /proc */
bool host_look(struct host_meter *m, usec boot_us, struct host_load *ret);
