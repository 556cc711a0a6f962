#pragma once
/* A store on a clock that stands still, and one-line ops. Everything lives in one arena until the test ends. */
#include "base/auto.h"
#include "store/store.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct world {
    const struct store_driver *d;
    struct store *s;
    struct clock_fake clock;
    struct rng_seeded seed;
    struct rng rng;
    struct policy policy;
    struct arena *arena;
    char dir[64];
    const char *url;
    unsigned decided;
    struct uuid worker, other;
};

extern const struct store_driver *contract_driver; /* the one under test */
extern const char *(*contract_fresh)(void);        /* an empty database's URL; NULL: a folder is all it needs */
extern void (*contract_check)(void); /* after each test, of what the driver keeps in its own way; or NULL */
extern bool contract_overlap;        /* a batch is applied while the one before it is synced */

int world_setup(void **state);
int world_teardown(void **state);
void world_reopen(struct world *w); /* the process ends and starts again */
void later(struct world *w, usec by_us);

struct op *op_make(struct world *w, enum op_kind kind);
enum err_code apply(struct world *w, struct op *op); /* alone in its batch */
void applied(struct world *w, struct op *op);        /* likewise, and it is not refused */
void apply_all(struct world *w, struct op **ops, size_t n);

struct uuid id_make(struct world *w);
struct op *submit_op(struct world *w, const char *task_type);
struct job submit(struct world *w, const char *task_type);
/** A poll that wants `count` of the job's lane. */
struct op *claim_op(struct world *w, struct uuid worker, const char *poll_id, const char *task_type, unsigned count);
/** Takes one of that type, which there must be. */
struct job claim(struct world *w, struct uuid worker, const char *task_type);
struct op *heartbeat(struct world *w, const struct job *job);
struct op *fail_op(struct world *w, const struct job *job, enum outcome outcome, bool permanent);
struct op *complete_op(struct world *w, const struct job *job, const char *const *outputs, size_t n);
struct op *log_op(struct world *w, const struct job *job, int64_t offset, const char *text);
struct op *job_op(struct world *w, enum op_kind kind, struct uuid id);
struct op *output_op(struct world *w, const struct job *job, const char *name);
struct op *sweep(struct world *w, enum op_kind kind); /* applied */
struct uuid blob(struct world *w, const char *bytes); /* added */
const char *ref(struct world *w, struct uuid blob_id);

struct job get(struct world *w, struct uuid id);
struct attempt attempt_of(struct world *w, struct uuid id, uint32_t n);
int64_t refs(struct world *w, struct uuid blob_id);   /* -1: no row */
size_t ready(struct world *w, const char *task_type); /* in its lane */
/** The maintained counts are those of a recount. */
void assert_counts(struct world *w);
void assert_ok(const struct op *op);
void assert_refused(const struct op *op, enum err_code code);
