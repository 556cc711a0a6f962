#pragma once
/* The server's heart: committer, dispatcher, sweepers. Owns no thread, reads no clock or dice of its own: it is driven.
 * All functions are called on one thread (the engine's); loop.h is the real-time driver with threads. */
#include "core/job.h"
#include "store/store.h"
#include "blob/blob.h"
#include "broker/broker.h"
#include "engine/alerts.h"

struct engine;

struct engine_config {
    const struct store_driver *store_driver;
    struct store *store;
    const struct blob_driver *blob_driver; /* may be NULL in tests: swept bytes are not removed */
    struct blobs *blobs;
    const struct broker_driver *broker_driver; /* may be NULL: nobody else is told */
    struct broker *broker;
    struct clock clock;
    struct rng rng;
    struct policy policy;
    size_t ops_max;     /* waiting ops; 8192 */
    size_t polls_max;   /* held long polls; 10000 */
    size_t overlap_ops; /* so many must wait for a batch to begin beside one in flight; 128 */
    size_t beside_ops;  /* likewise, where the store applies batches side by side; 16 */
    /** For what would hold the engine's thread up: runs `work(arg)` elsewhere, then `done(e, arg)` on the engine's thread. false: not now,
     * neither is called. NULL: no log is packed, and the engine waits while bytes are removed. The loop brings its own. */
    bool (*offload)(void *self, void (*work)(void *arg), void (*done)(struct engine *e, void *arg), void *arg);
    void *offload_self;
    struct engine_alerts_config alerts;
    /** Hears of each op that was applied, before its owner does; on the engine's thread, which it may not hold up. NULL: nobody wants to.
     * @param now  the store's time */
    void (*applied)(void *self, const struct op *op, usec now);
    void *applied_self;
};

int engine_new(const struct engine_config *config, struct engine **ret, struct err *err);
/** Decides everything that waits with ERR_UNAVAILABLE. NULL accepted. */
void engine_free(struct engine *e);

/** Where the store can tell (store_driver.wakes), `wake(arg)` is called on any thread when a step has something to do for what it decided, and
 * steps do not wait for it. NULL: they do again. */
void engine_wakes(struct engine *e, void (*wake)(void *arg), void *arg);

/** Takes the op; op->done comes later, once. Over the bound: done at once with ERR_BUSY. */
void engine_offer(struct engine *e, struct op *op);

/** A worker's long poll. `done` is called once with what was claimed: n = 0 when its time is over; err set on failure. */
struct lease_poll {
    struct uuid worker_id;
    char poll_id[65];
    const char *worker_name, *worker_host, *worker_version, *isolation, *handlers, *load;
    struct want want;
    unsigned slots_total, slots_busy;
    usec wait_us;
    struct arena *arena;                 /* what is borrowed above lives here, and so does the answer */
    bool (*alive)(struct lease_poll *p); /* is the client still there? NULL: yes */
    bool drained;                        /* out: the worker is given nothing until somebody says so */
    void (*done)(struct lease_poll *p, struct claimed *claimed, size_t n, const struct err *err);
    void *owner;
    /* the engine's */
    struct engine *engine;
    usec until_boot_us;
    bool asked;     /* the store was asked once: it knows the worker, and whether this id was answered before */
    bool in_flight; /* a claim for it is on its way */
    struct lease_poll *prev, *next;
};
void engine_poll(struct engine *e, struct lease_poll *p);
/** The client is gone: forget the poll; `done` is called with ERR_CANCELLED. */
void engine_poll_drop(struct engine *e, struct lease_poll *p);

/** In these lanes there may be work that was made elsewhere: by another server, or as a broker tells. A hint: the store decides.
 * Of each: project, queue, task_type and priority, and lane_id where it is known, else 0; `ready` how many jobs more may stand there, at
 * least 1. The strings are copied. A lane of no id that is not known here has the store's lanes read again. */
void engine_lanes_hint(struct engine *e, const struct lane *lanes, size_t n);

/** The same of one lane, by whoever wants to hear what came of it: a broker's message. */
struct lane_hint {
    const char *queue, *task_type; /* borrowed until done */
    int priority;
    unsigned jobs; /* 1.. */
    /** Called once: the lane was asked (BROKER_CLAIMED, BROKER_NOTHING), no worker that waits here can run it (BROKER_NOBODY), or the store
     * did not answer (BROKER_LATER). */
    void (*done)(struct lane_hint *h, enum broker_outcome outcome);
    void *owner;
    /* the engine's */
    int64_t lane_id;       /* 0: none is known yet */
    uint64_t reads_before; /* of the lanes, from the store */
    bool told;             /* the lanes were told */
    bool asked;            /* a claim from the lane is on its way */
    struct lane_hint *prev, *next;
};
void engine_hint(struct engine *e, struct lane_hint *h);

/** Somebody waits for news of a job. `fire` is called once: on a change, at the deadline, or when the engine ends. */
struct watch {
    struct uuid job_id;
    usec wait_us;
    bool log_too; /* fire on log appends as well */
    void (*fire)(struct watch *w);
    void *owner;
    usec until_boot_us;
    struct watch *prev, *next;
};
void engine_watch(struct engine *e, struct watch *w);
void engine_unwatch(struct engine *e, struct watch *w); /* fires it if it still waits */
/** A number that is another one once something about the job was decided, its log included. A hint, which any thread may ask for:
 * whoever follows a log does so before he reads the store again. It may move for another job's sake. */
uint64_t engine_news(const struct engine *e, const struct uuid *job_id);
/** The jobs that were decided lately (engine/feed.h). Any thread may read it, as long as the engine lives. */
struct feed *engine_feed(struct engine *e);

/** A copy of the store, for a backup: made between batches, a step at a time. */
struct snapshot {
    const char *dir;                   /* where the copy goes: there, and empty */
    bool (*alive)(struct snapshot *s); /* does anybody still want it? NULL: yes */
    /** Called once. err NULL: the copy is whole, and no blob is swept until engine_snapshot_end. */
    void (*whole)(struct snapshot *s, const struct err *err);
    void *owner;
    /* the engine's */
    struct store_snapshot *copying;
    bool told;
};
/** One at a time: else ERR_CONFLICT. */
void engine_snapshot(struct engine *e, struct snapshot *s);
/** Its owner has what it needs of the blobs. */
void engine_snapshot_end(struct engine *e, struct snapshot *s);

/** At the start, before anything else uses store and blobs: removes the bytes of uploads that no row speaks of. */
int engine_remove_leftovers(const struct engine_config *cfg, struct err *err);

/** Before the first step: the config's offload, by whoever drives the engine. */
void engine_offload(struct engine *e,
                    bool (*offload)(void *self, void (*work)(void *arg), void (*done)(struct engine *e, void *arg),
                                    void *arg),
                    void *self);

/** Does what is due: batches, claims for polls, sweeps, time-outs. @return when to be called again at the latest, on the boot clock. */
usec engine_step(struct engine *e);
/** No new polls get work; held polls are answered empty; a snapshot that is not whole is given up; what can wait is swept no
 * more. Ops go on. */
void engine_drain(struct engine *e);
bool engine_idle(const struct engine *e); /* no op waits or is in flight, no bytes are being removed */
/** The outcome of a batch is not known (a sync failed): only a restart, which reads what is on disk, can tell. */
bool engine_lost(const struct engine *e);
