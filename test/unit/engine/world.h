#pragma once
/* The engine on a fake clock, without threads, over the real SQLite store; and one-line ops. Everything lives in one arena until the
 * test ends. Before it does, what the store counts is compared with a recount. */
#include "base/auto.h"
#include "engine/engine.h"
#include "store/sqlite/sqlite.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SEC        USEC_PER_SEC
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

struct world {
    char dir[64];
    struct clock_fake clock, store_clock; /* the engine's and the store's: advance() moves both */
    struct rng_seeded dice;
    struct engine_config cfg;
    struct engine *engine; /* NULL while the server is away */
    struct arena *arena;
};

int world_setup(void **state);
int world_teardown(void **state);
void world_open(struct world *w); /* the server starts */
void world_close(struct world *w);
/** Another engine over the same store: with `driver` in the store's place, or NULL for the store itself. */
void world_engine(struct world *w, const struct store_driver *driver);
/** Another engine over the store itself, which counts the batches that it is given in world_batches. */
void world_engine_counted(struct world *w);
extern int world_batches;

void advance(struct world *w, usec by); /* nobody looks meanwhile */
void settle(struct world *w);
void pass(struct world *w, usec by); /* in steps small enough that the engine is never late */

struct op *op_new(struct world *w, enum op_kind kind, int *done); /* `done` counts its calls */
int decide(struct world *w, struct op *op);                       /* offers and settles; its outcome */
struct op *submit_op(struct world *w, const char *type, int *done);
struct uuid submit(struct world *w, const char *type);

struct answer {
    int calls;
    size_t n;
    enum err_code code;
    struct job job; /* the first */
};
/** A poll for one "encode". */
struct lease_poll *poll_new(struct world *w, uint8_t worker, const char *id, struct answer *a);
struct job claim(struct world *w, uint8_t worker, const char *id); /* there must be one */
int heartbeat(struct world *w, const struct job *job);
int complete(struct world *w, const struct job *job, enum job_status *ret);

int fail_with(struct world *w, const struct job *job, enum outcome outcome, usec retry_after_us);
int act(struct world *w, enum op_kind kind, struct uuid id); /* OP_CANCEL, OP_RETRY */
/** Stages an output, which completing publishes when it is named. */
void stage(struct world *w, const struct job *job, const char *name);
int complete_with(struct world *w, const struct job *job, const char *output, enum job_status *ret);

struct job look(struct world *w, struct uuid id);
struct attempt attempt_of(struct world *w, struct uuid id, uint32_t n);
size_t published(struct world *w, struct uuid id); /* outputs */
/** Everything the store holds but its idea of time, to be compared. */
const char *everything(struct world *w);
