#pragma once
/* What the shim and whoever drives it share: a file, mapped by both. test/blackbox/shim.py knows this layout. */
#include <stdint.h>

enum shim_kind { SHIM_ALLOC, SHIM_WRITE, SHIM_SYNC, SHIM_OPEN, SHIM_NAME, SHIM_KINDS };

struct shim_point {
    _Atomic int64_t countdown; /* the call that takes it to 0 fails; 0 and below: none does */
    _Atomic int64_t onwards;   /* nonzero: every later call fails too, until the countdown is set to 0 */
    _Atomic int64_t error;     /* errno of the failing call */
    _Atomic int64_t calls;     /* made so far */
    _Atomic int64_t failed;    /* of them */
};

struct shim {
    struct shim_point points[SHIM_KINDS];
    _Atomic int64_t live; /* allocations that were not freed */
};
