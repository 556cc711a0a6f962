#pragma once
/* Randomness, behind a table, so that a seed can replay a run. */
#include <stddef.h>
#include <stdint.h>

struct rng {
    void (*fill)(void *self, void *p, size_t n);
    void *self;
};

/** The kernel's (getrandom). */
struct rng rng_real(void);

/** Deterministic, for tests and simulation only (splitmix64). */
struct rng_seeded {
    uint64_t state;
};
struct rng rng_seeded_view(struct rng_seeded *seeded); /* borrows */

uint64_t rng_u64(struct rng rng);
/** 16 random bytes as 32 lower-case hex digits and NUL. */
void rng_hex128(struct rng rng, char ret[33]);
