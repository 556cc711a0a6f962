#pragma once
/* Within the room: what the kernel says of this process. */
#include "base/clock.h"
#include <stdint.h>

struct process {
    usec cpu_us;
    int64_t resident_bytes, virtual_bytes, open_fds, max_fds;
};
/** What cannot be read is 0. Reads /proc: not for the engine's thread. */
void process_read(struct process *ret);
