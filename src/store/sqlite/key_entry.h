#pragma once
/* Where something that has a hash is to be found. */
#include <stddef.h>
#include <stdint.h>

struct key_entry {
    int64_t hash;
    int64_t row; /* a key's (key_rows.h) */
};

/** Of entries sorted by hash, the first of low..high (exclusive) that is not below a hash; `high` when there is none. */
static inline size_t key_entries_from(const struct key_entry *all, size_t low, size_t high, int64_t hash)
{
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (all[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}
