#pragma once
/* What the engine's files share: the committer's queue, the dispatcher's lanes and polls, the sweepers, the watches. */
#include "engine/engine.h"
#include "engine/feed.h"
#include "engine/metrics.h"
#include <stdatomic.h>
/* Without memory uthash would end the process; so an entry that could not be added has no table. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

struct lane_entry {
    struct lane lane;  /* strings owned */
    size_t pair;       /* where it is counted in metrics */
    uint64_t reserved; /* asked for by claims on their way */
    unsigned taken;    /* jobs that were claimed here, whose announcements may come in yet; bounded */
    bool from_start;   /* the next claim must not trust the store's low-water mark: the last one came back short */
    bool moved;        /* more jobs came since the look that is under way began */
    bool seen;         /* by the latest look */
    bool pause_moved;  /* whether its queue is paused was decided here since then */
    UT_hash_handle hh;
};

struct watch_bucket {
    struct uuid job_id;
    struct watch *watches;
    UT_hash_handle hh;
};

#define PAIR_NAME_MAX (2 * JOB_NAME_MAX + 2)
struct pair_entry {
    char name[PAIR_NAME_MAX]; /* queue, a zero byte, task type */
    size_t index;
    UT_hash_handle hh;
};

struct metrics {
    struct pair_entry *names, *last; /* last found: most ops that come together are of one pair */
    struct metrics_pair *pairs;      /* [0]: METRICS_OTHER */
    size_t n_pairs, pairs_cap;
    struct histogram commit_us, commit_ops;
    uint64_t commits_failed;
    struct windows windows;
    usec began_boot_us;
    size_t redrives; /* that run, after the last pass */
    uint64_t redriven[REDRIVE_ACTION_COUNT];
};

#define NEWS_BUCKETS 1024 /* jobs share them by their id's random end */

enum sweep_id {
    SWEEP_LEASES,
    SWEEP_DUE,
    SWEEP_BLOBS,
    SWEEP_UPLOADS,
    SWEEP_DEDUP,
    SWEEP_RETENTION,
    SWEEP_LOGS,
    SWEEP_LANES,
    SWEEP_DEAD,
    SWEEP_COUNT
};

#define PACKS_MAX 8 /* logs that a sweep names at once */

struct sweeper {
    enum op_kind kind;
    usec
        period_us; /* at the latest after a pass that found nothing to wait for; USEC_NEVER: only when something is due */
    usec next_at;    /* the store's time */
    usec offered_at; /* likewise: when the latest pass began */
    bool busy;
    struct op op;
    struct engine *engine;
};

/* Waiting ops. Submissions stand apart: a flood of them may be refused and must not hold up what keeps running jobs alive. Nothing
 * else can be about a job that was not acknowledged yet, so the order of a job's ops is kept. */
enum queue_id { QUEUE_RUNNING, QUEUE_NEW, QUEUE_COUNT };
struct queue {
    struct op *first, **last; /* oldest first */
    size_t n;
};

struct engine {
    struct engine_config cfg;
    /* committer */
    struct queue queues[QUEUE_COUNT];
    size_t n_ops;         /* in both */
    struct batch *flying; /* oldest first */
    unsigned batches_in_flight;
    bool woken; /* see engine_wakes */
    bool lost;  /* see engine_lost */
    /* dispatcher */
    struct lane_entry *lanes;
    struct lease_poll *polls; /* oldest first */
    size_t n_polls;
    struct lane_choice *choice; /* scratch of dispatch_claims */
    bool lanes_stale;           /* one could not be kept: to be read from the store again */
    uint64_t lanes_reads;       /* how often that was done */
    struct lane_hint *hints;    /* oldest first; hints.c */
    struct lanes_look *look;    /* under way; looks.c */
    usec look_boot_us;          /* when the next one is due, where others write, too */
    bool work_arrived;          /* lanes or polls changed since the last look */
    bool draining;
    /* sweepers */
    struct sweeper sweepers[SWEEP_COUNT];
    unsigned removing; /* passes whose bytes are being removed, elsewhere; their sweepers are busy as long */
    struct op grace;
    bool grace_due, grace_busy;       /* to be written; on its way. Until then no lease expires */
    usec last_boot_us, last_store_us; /* at the last step; what the next one should agree with */
    usec asked_wake_us;               /* when the last step wanted to be called again, on the boot clock */
    struct snapshot *snapshot;        /* being copied, or whole and holding the blobs */
    /* packing */
    struct pack *packs; /* the first is at work */
    /* watches */
    struct watch_bucket *watches;
    struct metrics metrics;
    struct alerts *alerts; /* NULL: nobody asked for any */
    atomic_uint_fast64_t news[NEWS_BUCKETS], news_of_all;
    struct feed feed;
};

usec engine_boot(const struct engine *e);
usec engine_store_now(const struct engine *e);

void commit_batches(struct engine *e);
void commit_settle(struct engine *e); /* waits until none is in flight */

int dispatch_init(struct engine *e, struct err *err);
int dispatch_load(struct engine *e, struct err *err); /* lanes and their counts, from the store */
void dispatch_lanes_seen(struct engine *e, const struct lane *lanes, size_t n); /* as a look found them */
void dispatch_look_began(struct engine *e);
bool dispatch_waits(const struct engine *e); /* a poll waits for work */
void dispatch_lane_change(struct engine *e, const struct lane_change *change);
void dispatch_note_decided(struct engine *e, const struct op *op); /* a queue was paused or resumed, perhaps */
void dispatch_lanes_gone(struct engine *e, const int64_t *lane_ids, size_t n);
void dispatch_claims(struct engine *e);
/* A submission joins a batch: where a worker waits for its like, the claim joins the same batch (one transaction, one sync). */
void dispatch_with_submission(struct engine *e, const struct op_submit *submit);
usec dispatch_timeouts(struct engine *e, usec boot_us); /* @return the next one, on the boot clock */
/* Its entry; NULL: not known. */
struct lane_entry *dispatch_lane(struct engine *e, const char *project, const char *queue, const char *task_type,
                                 int priority);
struct lane_entry *dispatch_lane_by_id(struct engine *e, int64_t lane_id);
void dispatch_end(struct engine *e, enum err_code why);
void dispatch_release(struct engine *e);

void look_step(struct engine *e);
usec look_next_boot(const struct engine *e);

/* What servers tell one another through a broker (hints.c). */
void hints_announce(struct engine *e, struct op *const *ops, size_t n); /* a batch was decided */
void hints_want(struct engine *e, const struct lease_poll *p, bool waits);
void hints_asked(struct engine *e, int64_t lane_id); /* a claim that takes from it is on its way */
/* It was decided. @param outcome  BROKER_NOBODY: it says nothing of the lane, ask again */
void hints_answered(struct engine *e, int64_t lane_id, enum broker_outcome outcome);
void hints_place(struct engine *e);  /* before claims are made: finds their lanes */
void hints_settle(struct engine *e); /* after claims were made: those that none was made for go */
void hints_end(struct engine *e);

void sweep_init(struct engine *e);
void sweep_note_decided(struct engine *e, const struct op *op); /* a decided op may bring the next pass forward */
void sweep_run(struct engine *e);
usec sweep_next_boot(const struct engine *e);

void snapshot_step(struct engine *e);
bool snapshot_copies(const struct engine *e);      /* it wants another step */
bool snapshot_holds_blobs(const struct engine *e); /* no blob may be swept */
void snapshot_give_up(struct engine *e);           /* unless it is whole */

int metrics_init(struct engine *e, struct err *err);
void metrics_release(struct engine *e);
size_t metrics_pair_index(struct engine *e, const char *queue, const char *task_type);
void metrics_note_op(struct engine *e, const struct op *op); /* decided, or refused by the engine */
void metrics_note_batch(struct engine *e, struct op *const *ops, size_t n, usec took_us);

int alerts_init(struct engine *e, struct err *err);
void alerts_release(struct engine *e);
void alerts_note_op(struct engine *e, const struct op *op); /* decided */
void alerts_step(struct engine *e);
void alerts_keep(struct engine *e); /* what was counted since is written */
usec alerts_next_boot(const struct engine *e);
int alerts_copy(const struct engine *e, struct arena *arena, struct engine_alerts *ret, struct err *err);

/* The logs a sweep found are packed, one after the other; then the next sweep looks. */
void pack_take(struct engine *e, const struct op_sweep *found);
bool pack_can(const struct engine *e); /* may a sweep look for more? */
void pack_release(struct engine *e);

void watch_note_decided(struct engine *e, const struct op *op);
usec watch_timeouts(struct engine *e, usec boot_us);
void watch_fire_all(struct engine *e);
