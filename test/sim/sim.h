#pragma once
/* A simulated installation: one server (the real engine over the real store), workers and clients that keep the wire's rules, a network
 * between them, faults. One thread, one clock, one seed. README.md tells how it hangs together. */
#include "base/auto.h"
#include "disk.h"
#include "engine/engine.h"
#include "history.h"

#define SEC          USEC_PER_SEC
#define HOSTS_MAX    6  /* workers first, then clients */
#define SLOTS_MAX    8  /* attempts on a worker */
#define JOBS_MAX     32 /* rows there may be */
#define SUBMITS_MAX  8
#define ANSWER_JOBS  8
#define OUTPUTS_EACH 2
#define BLOBS_MAX    1024

struct sim;

/* --- the network: questions and answers (sim.c) --- */

enum rpc_kind {
    RPC_SUBMIT,
    RPC_CANCEL,
    RPC_RETRY,
    RPC_WATCH,
    RPC_POLL,
    RPC_BEAT,
    RPC_OUTPUT,
    RPC_COMPLETE,
    RPC_FAIL,
    RPC_UPLOAD,
    RPC_BLOB,
    RPC_CHECKPOINT,
    RPC_RESTORE
};

struct produced { /* by a handler: its bytes follow from the number */
    uint64_t number;
    int64_t size;
};

struct answer {
    enum err_code code;
    struct uuid job_id;
    enum job_status status;
    int64_t version;
    bool cancel, more; /* more: it is not over */
    usec lease_us;
    struct {
        struct uuid id;
        struct token token;
    } claimed[ANSWER_JOBS];
    size_t n;
    struct uuid blob_id;      /* UPLOAD, BLOB */
    struct produced restored; /* RESTORE; size 0: there is no checkpoint */
};

struct rpc {
    enum rpc_kind kind;
    unsigned host;
    unsigned life; /* of that host: of an earlier one nobody waits any more */
    bool open;
    int64_t op; /* in the history */
    usec sent_us;
    struct uuid job_id;
    struct token token;
    int64_t after_version; /* WATCH */
    const struct submission *submission;
    char poll_id[24];
    usec wait_us;
    unsigned slots;
    struct produced
        outputs[OUTPUTS_EACH]; /* OUTPUT: the `which`th; COMPLETE: the first `n_outputs`; BLOB, CHECKPOINT: the first */
    struct uuid blob_id;       /* CHECKPOINT; BLOB: of an upload, else nil */
    int64_t sequence;          /* CHECKPOINT */
    unsigned which, n_outputs;
    struct job_failure failure;
    void (*on)(struct sim *s, struct rpc *r, const struct answer *a); /* a NULL: unknown */
    void *owner;
    unsigned cookie; /* the owner's: does it still wait for this one? */
};

/** In the sim's memory, to be filled in. */
struct rpc *rpc_new(struct sim *s, enum rpc_kind kind, unsigned host,
                    void (*on)(struct sim *s, struct rpc *r, const struct answer *a), void *owner);
/** Sends it; `on` is called once, unless its host ends before. */
void rpc_send(struct sim *s, struct rpc *r, usec timeout_us);
/** By the server. */
void rpc_answer(struct sim *s, struct rpc *r, const struct answer *a, usec after_us);

/* --- the server (server.c) --- */

struct known_job {
    struct uuid id;
    bool dirty, seen, gone;
    usec finished_at; /* by the store's clock */
    struct event last;
};

struct blob {
    struct uuid id;
    struct produced bytes;
    bool there;
};

struct server {
    struct engine_config cfg;
    struct engine *engine; /* NULL: it is down */
    unsigned life, cuts;
    usec boot_offset_us, wall_offset_us; /* its clocks, against the true one */
    usec skip_us, busy_until_us;         /* a slow disk holds its thread up */
    usec paused_until_us;
    usec step_at_us;  /* when it is to be stepped next */
    unsigned batches; /* applied so far */
    struct known_job jobs[JOBS_MAX];
    size_t n_jobs;
    struct blob blobs[BLOBS_MAX];
    size_t n_blobs;
    bool blobs_fail;
    usec blobs_slow_us;
    struct arena *scratch;
};

/** Once, before the first run: the store that each begins with. */
void server_prepare(uint64_t seed);
void server_start(struct sim *s);
void server_crash(struct sim *s, bool power, usec back_after_us);
void server_pause(struct sim *s, usec us);
void server_end(struct sim *s);           /* the finals, and closes */
bool server_dead(const struct server *v); /* it is down, or its disk was cut off and it has not found out */
usec server_wall_us(void *sim);
void server_step_at(struct sim *s, usec at); /* at the latest */
struct blob *blob_find(struct server *v, const struct uuid *id);
void produced_hash(const struct produced *p, uint8_t ret[32]);

/* --- questions (ask.c) --- */

void server_receive(struct sim *s, struct rpc *r);

/* --- the observer (observe.c) --- */

void observe_op(struct server *v, const struct op *op); /* it was decided: what it touched is looked at next */
void observe_all(struct server *v);
void observe(struct sim *s);     /* looks */
void observe_end(struct sim *s); /* tells all there is */
/** ERR_NOT_FOUND: there is no such row (any more). */
enum err_code job_read(struct sim *s, const struct uuid *id, struct job *ret);

/* --- workers (worker.c) --- */

enum attempt_phase { ATTEMPT_NONE, ATTEMPT_CONFIRM, ATTEMPT_RESTORE, ATTEMPT_RUN, ATTEMPT_REPORT };

struct attempt_run { /* a supervisor and its handler */
    enum attempt_phase phase;
    unsigned host, gen; /* gen: what was set off for an earlier use of the slot is void */
    struct uuid job_id;
    struct token token;
    usec end_us; /* of the lease, by the host's clock */
    bool handler, frozen, moving, started, cancel, interrupt, dead;
    bool journalled; /* how it ended is on disk */
    usec left_us, since_us;
    struct produced outputs[OUTPUTS_EACH];
    unsigned n_outputs, sent_outputs, round;
    struct produced checkpoint; /* the one that is being stored */
    struct uuid checkpoint_blob;
    int64_t checkpoint_sequence;
    struct job_failure failure; /* outcome SUCCESS: none */
};

struct host {
    bool worker, up;
    unsigned life;
    usec clock_offset_us, paused_until_us;
    int64_t drift_ppm;
    bool cut_to, cut_from; /* partitioned: to the server, from it */
    char name[16];
    struct attempt_run attempts[SLOTS_MAX];
    unsigned slots, polls, poll_cookie;
    char poll_id[24];
    bool polling;
};

void worker_start(struct sim *s, unsigned host); /* the machine comes up */
void worker_crash(struct sim *s, unsigned host, usec back_after_us);
void worker_pause(struct sim *s, unsigned host, usec us);
void agent_restart(struct sim *s, unsigned host);
void supervisor_kill(struct sim *s, unsigned host, unsigned slot);
void worker_interrupt(struct sim *s, unsigned host);

/* --- clients (client.c) --- */

struct submission {
    unsigned host;
    char key[24];
    uint32_t max_attempts;
    int priority;
    usec delay_us, start_within_us;
    bool acked, settled; /* settled: told that it is over, and does nothing about it */
    struct uuid job_id;
    int64_t version;
    unsigned retries_left;
    bool cancels;
    bool input, uploads;      /* it has one, and sends it as an upload that may be resumed */
    struct uuid upload, blob; /* nil: to be made yet */
};

void client_start(struct sim *s, struct submission *sub, usec in_us);
bool clients_settled(const struct sim *s);

/* --- faults (faults.c) --- */

void faults_start(struct sim *s, usec until_us);

/* --- time --- */

struct timer {
    usec at;
    uint64_t seq;
    int host; /* -1: nobody's; else it waits while that is paused, and ends with it */
    unsigned life, cookie;
    void (*fn)(struct sim *s, void *arg, unsigned cookie);
    void *arg;
};

struct sim {
    uint64_t seed;
    usec now;
    struct rng_seeded dice;
    struct timer *timers; /* a heap */
    size_t n_timers, timers_cap;
    uint64_t seq;
    struct history history;
    int64_t ops;
    struct arena *arena;
    struct policy policy;
    struct server server;
    struct host hosts[HOSTS_MAX];
    unsigned n_hosts, n_workers;
    struct submission submissions[SUBMITS_MAX];
    unsigned n_submissions;
    unsigned loss, repeat;         /* of 100 messages */
    usec delay_max_us, heal_at_us; /* no pause lasts longer */
    bool healed;
};

uint64_t dice(struct sim *s, uint64_t below);
usec dice_us(struct sim *s, usec from, usec to);
bool chance(struct sim *s, unsigned percent);

void after(struct sim *s, usec us, int host, void (*fn)(struct sim *s, void *arg, unsigned cookie), void *arg,
           unsigned cookie);
/** One seed, from the start to the end. *ret: sorted, the caller's. @return simulated time */
usec sim_run(uint64_t seed, struct history *ret);
