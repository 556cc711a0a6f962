#pragma once
/* The store: the truth about jobs. Writes are ops, applied in batches, each op with an outcome of its own; reads are a few
 * functions. A driver is a table of functions (struct store_driver); every driver passes test/contract/store. */
#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/rate.h"
#include "core/job.h"
#include "core/series.h"
#include "core/tally.h"
#include "core/lanes.h"
#include "core/remember.h"

struct store;
struct store_snapshots;
struct store_moves;
struct findings;

#define STORE_BATCH_MAX 512
#define LANES_KEPT      1000  /* empty ones are swept beyond that */
#define LANE_SEEN_MAX   20000 /* jobs of a lane that are counted, where other servers write, too */
#define OP_CLAIMS_MAX   64
#define OP_CHANGES_MAX  64 /* also the most a sweep or a claim touches */

enum op_kind {
    OP_SUBMIT,
    OP_CLAIM,
    OP_HEARTBEAT,
    OP_PROGRESS,
    OP_LOG,
    OP_LOG_PACKED,
    OP_OUTPUT,
    OP_CHECKPOINT,
    OP_COMPLETE,
    OP_FAIL,
    OP_CANCEL,
    OP_RETRY,
    OP_DISCARD,
    OP_REDRIVE,
    OP_REDRIVE_CANCEL,
    OP_PAUSE,
    OP_RESUME,
    OP_DRAIN,
    OP_UNDRAIN,
    OP_BLOB_ADD,
    OP_UPLOAD_ADD,
    OP_UPLOAD_TOUCH,
    OP_UPLOAD_END,
    OP_SWEEP_LEASES,
    OP_SWEEP_DUE,
    OP_SWEEP_BLOBS,
    OP_SWEEP_UPLOADS,
    OP_SWEEP_DEDUP,
    OP_SWEEP_RETENTION,
    OP_SWEEP_LOGS,
    OP_SWEEP_LANES,
    OP_SWEEP_DEAD,
    OP_GRACE,
    OP_TALLY,
    OP_OFFICE,
    OP_KIND_COUNT
};

/** A job just entered or left its lane: the dispatcher keeps count. */
struct lane_change {
    struct lane lane; /* `ready` is the change: +n; removed: `delta` negative */
    int delta;
    /* of one of those that entered */
    struct uuid job_id;
    const char *payload_ref; /* or NULL */
    uint32_t retries;
};

/** Attempts that ended alike in one op. */
struct ended {
    const char *queue, *task_type;
    enum outcome outcome; /* EXPIRED: no attempt, the job's start deadline passed */
    usec ran_us;          /* from the claim to the worker's report; -1 where the worker made none */
    unsigned n;
    enum job_status status; /* of the job, then */
    usec took_us;           /* from its submission to its success; -1 where it is none */
};

/** One attempt that ended, or outcome EXPIRED: one that never began. For traces. */
struct attempt_end {
    struct uuid job_id, worker_id;
    uint32_t attempt;
    const char *queue, *task_type;
    const char *traceparent, *tracestate; /* of the job, or NULL */
    const char *error;                    /* what the worker said, cut; or NULL */
    usec began_at, ended_at;              /* began: was claimed; EXPIRED: was due */
    enum outcome outcome;
    enum job_status status; /* of the job, then */
};

/** A job handed to a worker. */
struct claimed {
    struct job job; /* token minted, lease set */
};

struct op_submit {
    struct job job;       /* in: id minted; created_at, status, lane are the store's to set. out: as it stands */
    usec delay_us;        /* run_at = now + delay, unless job.run_at is set */
    usec start_within_us; /* start_deadline_at = now + this; 0 none */
    uint8_t
        request_hash[32]; /* of the request as sent; zeros: none, then its content decides whether it is a repetition */
    usec dedup_us;        /* window of the key */
    struct submit_hashes hashes; /* in: by submit_hash, of `job`; not made: the store does */
    bool id_only;                /* in: of a known key's job the id is enough, `job` is else left as it was */
    bool duplicate;              /* out: the key was known; job is the first one */
    struct job *asked; /* the store's: what `job` was before it was filled or became the first one; NULL at first */
};
struct op_claim { /* a worker's poll: repeats what the poll id was given before, else takes */
    struct uuid worker_id;
    const char *poll_id;                                                /* 1..64 */
    const char *worker_name, *worker_host, *worker_version, *isolation; /* recorded with last_seen; NULL leaves as is */
    const char *handlers; /* JSON object text {task_type: version} or NULL */
    const char *load;     /* JSON object text: how busy its host is; NULL: it did not say */
    unsigned slots_total, slots_busy;
    struct {
        int64_t lane_id;
        const char *queue; /* the lane's; may be NULL where the count is 0 */
        unsigned count;
        bool from_start; /* ignore the remembered mark */
        bool paused;     /* out: the queue is, so nothing was taken */
    } take[16];
    size_t n_take;
    struct token *tokens;    /* secrets minted, one a job; the store fills `attempt` in */
    size_t n_tokens;         /* at most OP_CLAIMS_MAX */
    struct claimed *claimed; /* out, in the op's arena */
    size_t n_claimed;
    bool again;   /* out: they were claimed before, by the same poll id */
    bool drained; /* out: the worker is, so no lane was looked at */
};
struct op_heartbeat {
    struct uuid job_id;
    struct token token;
    const struct sample
        *samples; /* by time; those that are no later than the last one, or are from the future, are passed over */
    size_t n_samples;
    usec lease_until;
    bool cancel; /* out: both, and */
    enum job_status was;
};
struct op_progress {
    struct uuid job_id;
    struct token token;
    double percent;
    const char *message;
};
/* A log's offsets count bytes as the handler wrote them, whether they are kept or not. Kept are its first JOB_LOG_HEAD_MAX bytes and its
 * last JOB_LOG_TAIL_MAX (and less than a chunk more); between them there is at most one cut. */
struct op_log {
    struct uuid job_id;
    struct token token;
    int64_t offset,
        skipped; /* the `skipped` bytes before `offset` will never come. ERR_CONFLICT: a gap nobody owned up to */
    const void *bytes;
    size_t n;
    int64_t next_offset; /* out */
};
struct
    op_log_packed { /* a closed log lies in a blob now, or cannot be packed (nil). ERR_CONFLICT: it needs it no longer */
    struct uuid job_id;
    uint32_t attempt;
    struct uuid blob_id;
    int64_t size;
    uint8_t sha256[32];
};
struct op_output {
    struct uuid job_id;
    struct token token;
    const char *name;
    struct uuid blob_id;
    bool stored; /* its row must be there already: ERR_INVALID; else it is added */
    int64_t size;
    uint8_t sha256[32];
};
struct checkpoint_file {
    const char *name, *ref; /* "blob:<uuid>" */
    bool executable;
};
/* Takes the place of the job's last one. ERR_INVALID names what is wrong with a file; nothing changes then. */
struct op_checkpoint {
    struct uuid job_id;
    struct token token;
    const struct checkpoint_file *files;
    size_t n_files; /* at most JOB_CHECKPOINT_MAX */
    double percent; /* how far the work was; below 0: not known */
    int64_t
        sequence; /* rises within an attempt: one that is not above the last one's came late, and changes nothing. 0: not told */
};
struct usage {
    int exit_code;
    int signal;
    usec cpu_us;
    int64_t peak_memory_bytes, bytes_in, bytes_out;
    const struct sample *samples; /* what heartbeats did not tell, as they do. Reads leave it NULL */
    size_t n_samples;
};
#define PARTS_MAX 8
enum part_kind { PART_DOWNLOAD, PART_RUN, PART_VERIFY, PART_CHECKPOINT, PART_UPLOAD, PART_COUNT };
/** What a worker spent the time of an attempt on. For traces: not kept. */
struct part {
    enum part_kind kind;
    usec at_us, took_us; /* at: since it heard of its claim */
};
struct parts {
    struct part items[PARTS_MAX];
    size_t n;
};
struct op_complete { /* a decided token: the stored answer again */
    struct uuid job_id;
    struct token token;
    struct usage usage;
    const struct parts *phases; /* or NULL */
    const char *const *outputs;
    size_t n_outputs;       /* names staged before, all of which must exist: ERR_INVALID names a missing one */
    enum job_status status; /* out */
};
struct op_fail {
    struct uuid job_id;
    struct token token;
    struct usage usage;
    const struct parts *phases; /* or NULL */
    struct job_failure failure;
    enum job_status status;
    usec run_at;
};
struct op_job {
    struct uuid job_id;
    bool id_only;   /* in: of the job below, the id and the status are enough */
    struct job job; /* out: as it stands after (cancel, retry), or stood (discard) */
};
#define FILTER_LABELS_MAX 8
struct label_filter {
    const char *key, *value; /* value NULL: any */
};
struct job_filter {
    const char *project;
    int status; /* -1 any */
    const char *task_type, *queue;
    struct label_filter labels[FILTER_LABELS_MAX]; /* all of them */
    size_t n_labels;
    usec created_after;   /* that instant or later; 0 any */
    usec created_before;  /* earlier than that; 0 any */
    uint64_t fingerprint; /* dead letters of it; 0 any job */
    usec failed_before;   /* finished earlier than that; 0 any */
    const char *text;     /* core/search.h; NULL any. Of lists only: no redrive's */
    struct uuid before;   /* nil: newest */
    unsigned limit;       /* 1..1000 */
};
enum redrive_action { REDRIVE_RETRY, REDRIVE_DISCARD, REDRIVE_ACTION_COUNT };
enum redrive_state { REDRIVE_RUNNING, REDRIVE_DONE, REDRIVE_CANCELLED };
#define REDRIVES_RUNNING_MAX 100
#define REDRIVES_DAY_MAX     10000
#define REDRIVES_KEPT        1000 /* the newest, and those of the last day */
/** What is done to dead letters, newest first, each at most once: to those that failed before it was made. */
struct redrive {
    struct uuid redrive_id;
    const char *project;
    enum redrive_action action;
    bool dry_run;             /* only count */
    struct job_filter filter; /* which; failed_before is at most created_at. Its `before` and `limit` are not used */
    int64_t limit;            /* 0: all that match */
    struct rate rate;
    enum redrive_state state;
    bool counted; /* `matched` is known; before that nothing is done */
    int64_t matched, done,
        skipped; /* skipped: had been retried or discarded otherwise when their turn came; once it is done */
    usec created_at, next_at, ended_at; /* next_at: when more are taken */
};
struct
    op_redrive { /* make it, ERR_NOT_FOUND: no dead letter has that fingerprint; or cancel it: in is its id, a second time does nothing */
    struct redrive redrive; /* id minted */
    const char *key;        /* or NULL; remembered for a day. ERR_CONFLICT: of another request */
    uint8_t request_hash[32];
    bool duplicate; /* out: the key was known; redrive is the first one */
};
#define PAUSES_MAX       1000
#define PAUSE_BY_MAX     200
#define PAUSE_REASON_MAX 1000
/** A queue from which nobody takes jobs; whatever else happens to them goes on. */
struct pause {
    const char *queue;
    usec at;                 /* since when */
    const char *by, *reason; /* as whoever paused it says; NULL: they did not */
};
struct
    op_pause { /* OP_PAUSE: one that is paused stays as it is; ERR_CONFLICT when PAUSES_MAX are. OP_RESUME: in is the queue */
    struct pause pause; /* in: but `at`. out: as it stands, or stood until it was resumed */
    bool changed;       /* out: it was not so before */
};
#define DRAIN_BY_MAX 200
struct
    op_drain { /* OP_DRAIN: the worker is given nothing more until OP_UNDRAIN; one that is drained stays as it is. ERR_NOT_FOUND: nobody
                     knows it; OP_DRAIN only, ERR_ILLEGAL_STATE: it is gone */
    struct uuid worker_id;
    usec gone_after_us; /* in: it is when it was silent for longer */
    const char *by;     /* in: who does it, or NULL. out: who did */
    usec at;            /* out: since when it is, or was until now; 0: it was not */
    bool changed;       /* out: it was not so before */
};
struct blob_row {
    struct uuid blob_id;
    const char *project;
    int64_t size;
    uint8_t sha256[32];
    bool summed;        /* xxh128 is known: its bytes came in one request */
    uint8_t xxh128[16]; /* as of xxh128_digest */
    int64_t refs;
    usec created_at, expires_at;
};
struct op_blob_add {
    struct blob_row row;
    bool uploaded; /* in: the upload of that id ends with it, in the same transaction. ERR_NOT_FOUND: it is gone */
};
/** An upload that may be resumed, until it is a blob of the same id. */
struct upload_row {
    struct uuid upload_id;
    const char *project;
    int64_t size; /* of the whole, as announced */
    bool hashed;  /* sha256 was announced */
    uint8_t sha256[32];
    const char *metadata; /* as sent, or NULL */
    usec created_at, expires_at;
};
struct op_upload { /* add, touch (it expires later), end. ERR_NOT_FOUND; add: ERR_BUSY when there are `uploads_max` */
    struct upload_row row; /* touch, end: in is its id. out: expires_at */
};
struct
    op_sweep { /* out: how many were touched, when to come again, and the blobs whose rows are gone (bytes to remove) */
    unsigned limit;
    usec as_of; /* in, leases: only what had lapsed by then, however long the op waited. 0: now */
    size_t touched;
    bool more;
    usec next_at; /* USEC_NEVER: nothing waits */
    struct uuid *removed;
    size_t n_removed;
    struct log_name *logs; /* OP_SWEEP_LOGS: closed, and to be packed */
    size_t n_logs;
    int64_t lanes[OP_CHANGES_MAX];                   /* OP_SWEEP_LANES: `touched` of them, that are gone */
    size_t redrives, redriven[REDRIVE_ACTION_COUNT]; /* OP_SWEEP_DEAD: that run now; jobs that this pass took */
};
struct log_name {
    const char *project;
    struct uuid job_id;
    uint32_t attempt;
};
struct op_grace {
    usec until;
};
/** Adds events to a tally that is kept under a key; servers over one store add to the same. */
struct op_tally {
    const char *key;          /* "tally/NAME"; borrowed until done */
    const struct tally *more; /* likewise */
    struct tally *total;      /* out, in the arena: with those of all servers */
};

/** What one server at a time does: it holds the office for a while, and leaves notes to whoever comes after it. The notes are its holder's: of
 * another they are passed over. */
struct op_office {
    const char *key;    /* "office/NAME"; borrowed until done, as the others */
    const char *holder; /* 1..64, no blanks */
    usec for_us;        /* from now on; 0: it is given up */
    const char *notes;  /* NULL: they stay */
    bool held;          /* out: by `holder`; when it gives up: until now */
    bool taken;         /* out: and it was not before, so `was` is news */
    const char *was;    /* out, in the arena: the notes as they were; "" at first */
};

struct op {
    enum op_kind kind;
    const char *project;         /* whose; "default" */
    struct arena *arena;         /* where out values live; owned by whoever made the op */
    struct err err;              /* outcome: code ERR_OK or a refusal */
    void (*done)(struct op *op); /* called once, on the engine's thread, after it is durable or refused */
    void *owner;                 /* for done */
    struct op *next;             /* the engine's */
    struct lane_change *changes; /* out, in the arena: one a lane, at most OP_CHANGES_MAX */
    size_t n_changes;
    struct ended
        *ended; /* out, in the arena: at most OP_CHANGES_MAX. A report that was answered before ends nothing again */
    size_t n_ended;
    struct attempt_end *ends; /* out, in the arena: where the store was opened to tell of them */
    size_t n_ends;
    bool log_to_pack; /* out: an attempt's log was closed, and is large enough to be packed */
    union {
        struct op_submit submit;
        struct op_claim claim;
        struct op_heartbeat heartbeat;
        struct op_progress progress;
        struct op_log log;
        struct op_log_packed log_packed;
        struct op_output output;
        struct op_checkpoint checkpoint;
        struct op_complete complete;
        struct op_fail fail;
        struct op_job job;
        struct op_redrive redrive;
        struct op_pause pause;
        struct op_drain drain;
        struct op_blob_add blob_add;
        struct op_upload upload;
        struct op_sweep sweep;
        struct op_grace grace;
        struct op_tally tally;
        struct op_office office;
    } u;
};

/** Newest first. A search that looked at too much for one read ends early: fewer jobs than asked for, none perhaps, and `more`. */
struct job_page {
    struct job *jobs;
    size_t n;
    bool more;
    struct uuid next; /* `before` of the next page */
};
/** Dead letters of one fingerprint. */
struct dead_group {
    uint64_t fingerprint;
    const char *task_type;
    int64_t jobs;
    usec first_failed_at, last_failed_at; /* since there are any of it, those that were retried since included */
    struct uuid job_id;                   /* one of them, the last that failed if it is dead still; and of that job: */
    enum outcome outcome;
    const char *error_log;
};
struct dead_filter {
    const char *project;
    const char *task_type;
    uint64_t fingerprint; /* this one only; 0 any */
    int64_t before_jobs;  /* behind the group with so many, and */
    uint64_t before;      /* this fingerprint; 0, 0: from the first on */
    unsigned limit;       /* 1..1000 */
};
/** Most jobs first. */
struct dead_page {
    struct dead_group *groups;
    size_t n;
    bool more;
    bool complete; /* false: dead letters of an earlier version are still being entered */
};
struct redrive_filter {
    const char *project;
    struct uuid before; /* nil: newest */
    unsigned limit;     /* 1..1000 */
};
/** Newest first. */
struct redrive_page {
    struct redrive *redrives;
    size_t n;
    bool more;
};
struct attempt {
    struct uuid job_id;
    uint32_t attempt;
    struct uuid worker_id;
    const char *worker_name, *handler_version;
    usec started_at, ended_at;
    enum outcome outcome;
    struct usage usage;
    int64_t log_bytes;
    const char *error;
    double
        redone; /* how much of the attempt before it did once more, 0..1: what that one last reported, less what its checkpoint
                    * held; below 0: not known, or nothing came before */
};
struct output {
    const char *name;
    struct uuid blob_id;
    int64_t size;
    uint8_t sha256[32];
};
struct checkpoint_row {
    const char *name;
    struct uuid blob_id;
    int64_t size;
    uint8_t sha256[32];
    bool executable;
};
struct checkpoint {
    uint32_t attempt; /* 0: there is none */
    usec at;
    double percent; /* below 0: not known */
    int64_t bytes;
    size_t n_files;
    struct checkpoint_row *files; /* by name */
};
/** A piece of a log, or what there is to know about it. */
struct log_part {
    int64_t at; /* where the piece begins: above what was asked for when the bytes there were left out */
    size_t n;
    int64_t total;            /* bytes so far: where the next ones belong */
    int64_t cut_from, cut_to; /* bytes that are not kept; equal: none */
    bool ended;               /* it will not grow any more */
    struct uuid blob_id;      /* not nil: its bytes are in that blob (engine/packed.h), and none came with this piece */
};
struct worker_row {
    struct uuid worker_id;
    const char *name, *host, *version, *isolation, *handlers, *load; /* load: as of its last poll, or NULL */
    unsigned slots_total, slots_busy;
    usec first_seen, last_seen;
    usec drained_at; /* 0: it is not */
    const char *drained_by;
};
struct stat_row {
    const char *project, *queue, *task_type;
    int64_t by_status[JOB_STATUS_COUNT];
};

/** One of the servers that share a database. */
struct server_row {
    int64_t server_id;
    const char *name, *version;
    usec started_at, seen_at;
    bool live, self; /* live: seen of late; else what it did falls to others */
};

#define REPLICAS_MAX     8
#define REPLICA_NAME_MAX 128
enum replica_status {
    REPLICA_OK,
    REPLICA_BEHIND,  /* by more than some seconds */
    REPLICA_PRIMARY, /* it takes writes */
    REPLICA_FOREIGN, /* of another database, so far as can be seen */
    REPLICA_LOST,    /* nobody answers */
};
/** A standby that lists may be read from. */
struct replica_state {
    char name[REPLICA_NAME_MAX];
    enum replica_status status;
    char why[160];  /* "" where all is well */
    usec age_us;    /* nothing that it lacks is older, but for the way here; below 0: not known */
    uint64_t reads; /* that it was asked for */
};

/** What the store takes on its disk, and what it holds references to. */
struct store_sizes {
    int64_t blobs, blob_bytes;         /* rows, and what their bytes add up to */
    int64_t database_bytes, log_bytes; /* files; the log is what is not in the database yet */
};

/* A start that brings an older database forward, schema by schema. */
struct store_upgrade {
    unsigned from, step, to; /* schemas: the one it had, the one it is brought to now, the one it will have */
    usec for_us;             /* for how long; 0: it begins */
};
#define UPGRADE_TOLD_US (5 * USEC_PER_SEC)

struct store_config {
    const char *dir;      /* a driver of files: where */
    const char *url;      /* a driver of servers: where; may hold a password */
    const char *read_url; /* its standbys that lists may be read from; or NULL */
    struct clock clock;
    struct rng rng;
    struct policy policy;
    bool tell_ends; /* ops are to tell of each attempt that they end (op.ends) */
    /** Optional; of a driver of files, on open's thread: as each step begins, and about every UPGRADE_TOLD_US while it runs. */
    void (*upgrading)(const struct store_upgrade *u);
};

struct store_driver {
    const char *name;
    unsigned batches_max; /* batches it takes at once: of more than one, no two may hold ops of the same job */
    bool
        parallel; /* once they overlap, they are applied side by side: of those in flight only one may hold claims, or an arena's ops */
    bool shared; /* other servers write to it, too: what is known of it here may be out of date */
    int (*open)(const struct store_config *config, struct store **ret, struct err *err);
    void (*close)(struct store *s);
    usec (*now)(struct store *s); /* the store's time */
    /** Applies and makes durable, then sets each op's outcome and calls `decided(arg)`: before it returns, or from poll. */
    void (*apply)(struct store *s, struct op **ops, size_t n, void (*decided)(void *arg), void *arg);
    /** Optional, both or none. Before `overlap` was called apply decides before it returns; afterwards poll may do so, on apply's thread
     * and in apply's order (a parallel one: of those that it decides): it decides those that are durable by now; with `wait` one at any
     * rate. `thread` false: no thread is started, and it is poll that makes them so; a parallel one is ERR_UNSUPPORTED then. */
    int (*overlap)(struct store *s, bool thread, struct err *err);
    void (*poll)(struct store *s, bool wait);
    /** Optional: from now on `wake(arg)` is called, on any thread, when poll has something to decide. NULL: no more. */
    void (*wakes)(struct store *s, void (*wake)(void *arg), void *arg);

    /* reads: any thread; ERR_NOT_FOUND, ERR_TIMEOUT (read deadline), ERR_BUSY. Results live in `arena`. */
    int (*job_get)(struct store *s, const char *project, const struct uuid *id, struct arena *arena, struct job *ret,
                   struct err *err);
    int (*job_list)(struct store *s, const struct job_filter *f, struct arena *arena, struct job_page *ret,
                    struct err *err);
    int (*dead_groups)(struct store *s, const struct dead_filter *f, struct arena *arena, struct dead_page *ret,
                       struct err *err);
    int (*redrive_get)(struct store *s, const char *project, const struct uuid *id, struct arena *arena,
                       struct redrive *ret, struct err *err);
    int (*redrives)(struct store *s, const struct redrive_filter *f, struct arena *arena, struct redrive_page *ret,
                    struct err *err);
    /** Paused queues, by name. */
    int (*pauses)(struct store *s, const char *project, struct arena *arena, struct pause **ret, size_t *ret_n,
                  struct err *err);
    int (*attempts)(struct store *s, const struct uuid *job_id, struct arena *arena, struct attempt **ret,
                    size_t *ret_n, struct err *err);
    /** What an attempt used over time; empty: nothing was measured. ERR_NOT_FOUND: no such attempt. */
    int (*series)(struct store *s, const struct uuid *job_id, uint32_t attempt, struct series *ret, struct err *err);
    /** Published outputs of the winning attempt, by name. */
    int (*outputs)(struct store *s, const struct uuid *job_id, struct arena *arena, struct output **ret, size_t *ret_n,
                   struct err *err);
    /** The job's last checkpoint. Kept until it is success or cancelled, or removed. `arena` NULL: without its files. */
    int (*checkpoint)(struct store *s, const struct uuid *job_id, struct arena *arena, struct checkpoint *ret,
                      struct err *err);
    /** How many jobs stand before it in its lane, counted up to `max`; -1: it stands in none (not pending, or not due). */
    int (*position)(struct store *s, const struct uuid *job_id, unsigned max, int64_t *ret, struct err *err);
    /** Up to `max` bytes of an attempt's log from `offset` on, or, when that was left out, from where it goes on. */
    int (*log_read)(struct store *s, const struct uuid *job_id, uint32_t attempt, int64_t offset, void *buf, size_t max,
                    struct log_part *ret, struct err *err);
    int (*blob_get)(struct store *s, const char *project, const struct uuid *id, struct arena *arena,
                    struct blob_row *ret, struct err *err);
    /** ERR_NOT_FOUND when it has expired, swept or not. `expired` true: then too it is found. */
    int (*upload_get)(struct store *s, const char *project, const struct uuid *id, bool expired, struct arena *arena,
                      struct upload_row *ret, struct err *err);
    int (*workers)(struct store *s, struct arena *arena, struct worker_row **ret, size_t *ret_n, struct err *err);
    int (*stats)(struct store *s, struct arena *arena, struct stat_row **ret, size_t *ret_n, struct err *err);
    /** Optional, where `shared`: the servers, this one among them, by age; those that are gone for a minute or so, too. */
    int (*servers)(struct store *s, struct arena *arena, struct server_row **ret, size_t *ret_n, struct err *err);
    /** Optional, where `shared`: a number that is another one when jobs changed their status by other servers' doing. */
    int (*elsewhere)(struct store *s, int64_t *ret_mark, struct err *err);
    /** Optional: how standbys fare that lists may be read from; 0: there are none. ret_primary: reads that they were to answer, and did not.
     * Any thread. */
    size_t (*replicas)(struct store *s, struct replica_state ret[REPLICAS_MAX], uint64_t *ret_primary);
    /** Maintained, not counted: cheap. Any thread. */
    void (*sizes)(struct store *s, struct store_sizes *ret);
    /** Lanes with ready jobs, at start. */
    int (*lanes)(struct store *s, struct arena *arena, struct lane **ret, size_t *ret_n, struct err *err);
    int (*meta_get)(struct store *s, const char *key, struct arena *arena, const char **ret,
                    struct err *err); /* NULL value when absent */
    int (*meta_set)(struct store *s, const char *key, const char *value,
                    struct err *err);        /* before the first apply only. Shared: a value that is there stays */
    const struct store_snapshots *snapshots; /* optional: store/snapshot.h */
    /** Optional: says what there is to say of the database, and changes nothing. ret_folder: whose blobs it speaks of, or "". */
    void (*examine)(const struct store_config *config, struct findings *f, char ret_folder[UUID_STR_MAX]);
    const struct store_moves *moves; /* optional: store/move.h */
};
