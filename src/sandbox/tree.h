#pragma once
/* What a process and its descendants use, as /proc shows it. */
#include "base/clock.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TREE_MAX 4096 /* processes that are counted */

/** @param root  its own CPU is left out (it is init), that of its children is not
 * @param ret_memory_bytes  resident sets, summed
 * @return false: it has no descendants that can be seen */
bool tree_usage(pid_t root, usec *ret_cpu_us, int64_t *ret_memory_bytes);
