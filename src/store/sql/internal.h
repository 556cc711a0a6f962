#pragma once
/* What the stores that speak SQL share: the ops, the rows they are made of, and the reads. A driver adds its connections, its tables, how
 * its transaction of a batch is made, and what struct sql_own asks for. Layers: query (statements) <- rows, blobs <- one file per kind of
 * op <- the driver's apply; read beside them. */
#include "store/sql/query.h"
#include "store/store.h"
#include <stdatomic.h>

#define READ_DEADLINE_US (250 * USEC_PER_MSEC)
#define COUNTERS_MAX     20000              /* with that many rows no new pair of queue and task type is taken in */
#define MARKS            4096               /* lanes with a low-water mark */
#define MARKS_US         (5 * USEC_PER_SEC) /* where several servers write, no mark is believed for longer */

/* The least and the greatest of two: the databases have other names for that. Each is written twice. */
#define SQL_LEAST(a, b) "CASE WHEN " a " < " b " THEN " a " ELSE " b " END"
#define SQL_MOST(a, b)  "CASE WHEN " a " > " b " THEN " a " ELSE " b " END"

/* In a driver whose sql_own says so, AND finished_at = 0. */
#define LIVE " /*live*/"

/** Of job ?1, attempt ?2, at ?3; ?12 is the job's status from now on. */
#define ATTEMPT_DECIDE(also, where)                                                                                    \
    "UPDATE attempts SET ended_at = ?3, outcome = ?4, exit_code = ?5, signal = ?6, cpu_us = ?7, peak_memory_bytes = "  \
    "?8, bytes_in = ?9, bytes_out = ?10, error = ?11, decided = 1, answer_status = ?12, answer_run_at = ?13, "         \
    "log_state = ?14" also " WHERE job_id = ?1 AND attempt = ?2" where
#define LOGS_RELEASE(where)                                                                                            \
    "UPDATE blobs SET refs = refs - " SQL_LEAST(                                                                       \
        "refs", "1") ", expires_at = ?3 WHERE blob_id IN (SELECT log_blob "                                            \
                     "FROM attempts WHERE job_id = ?1 AND log_blob IS NOT NULL AND " where ")"

struct tx;
struct row;
struct known_key;
struct reading;
struct job_look;

typedef int label_fn(struct tx *t, const struct job *job, const char *key, const char *value);

/** What a driver does in its own way. */
struct sql_own {
    bool
        shared; /* other servers write, too: what is known in memory of counts, lanes and times is a part, or out of date */
    /* statements */
    const char
        *given_before; /* job_id: ?1 worker ?2 poll_id ?3 project; from the poll's attempts to their jobs, in order */
    const char
        *chunk_join; /* to a log's last chunk, of job ?1 attempt ?2, bytes ?3, if it ends at ?4 and stays within ?5 */
    const char *chunks_some; /* deletes ?2 chunks of job ?1 */
    const char *
        dead_next; /* project, status, job_id, fingerprint of ?4 jobs that are not pending, behind project ?1, status ?2 and job ?3, in
                              that order; NULL: this driver never had dead letters without a fingerprint */
    /* Where attempts lie by the end of their job, as history does: ?2 of the job, 0 while it is in jobs. Statements about attempts of such jobs
     * only say so at the end of their WHERE, with LIVE. */
    const char *attempts_move;   /* of job ?1 to ?2, from ?3; NULL: they do not lie so */
    const char *attempts_delete; /* of job ?1 */
    const char *attempt_decide;  /* ATTEMPT_DECIDE, and where the job has ended, the attempt goes along */
    const char *logs_release;    /* LOGS_RELEASE, of job ?1; ?3 is now */
    const char *lanes_ready;     /* as lane_row reads them: lanes where jobs stand */
    /* rows that submissions insert, and may be put off; their strings are borrowed until the batch ends */
    int (*insert_job)(struct tx *t, const struct row *row);
    label_fn *insert_label;
    /** What lists find a removed job by. May be put off likewise. */
    int (*remove_postings)(struct tx *t, const struct job *job);
    int (*heads)(struct tx *t, int64_t lane_id, int64_t above, size_t max, struct row *ret,
                 size_t *ret_n); /* claim_heads */
    /* keys.h */
    int (*key_find)(struct tx *t, const char *key, struct known_key *ret);
    int (*key_add)(struct tx *t, const char *key, const struct known_key *what, usec expires_at);
    int (*key_forget)(struct tx *t, const char *project, const char *key, const struct uuid *job_id);
    int (*keys_expire)(struct tx *t, int64_t limit, size_t *ret_n, usec *ret_next);
    /** Is this sweep ours? Else it sets when to ask again. NULL: always. */
    int (*sweep_begin)(struct tx *t, bool *ret_ours);
    /** Up to `limit` jobs of history that finished at `until` or before, the first ones first; *ret_next: when the first of all others
     * finished, USEC_NEVER when there is none. */
    int (*history_head)(struct tx *t, int64_t limit, usec until, struct uuid *ret, size_t *ret_n, usec *ret_next);
    /** What a driver keeps in order, once a minute. May be NULL. */
    int (*house)(struct tx *t);
    /** Jobs that a filter asks for, newest first, from filter.before on. */
    int (*jobs_look)(struct conn *c, struct job_look *look, struct err *err);
    /* read.h */
    int (*read_begin)(struct store *s, usec deadline_us, struct reading *ret, struct err *err);
    void (*read_end)(struct reading *r);
};

/* --- the store: a driver's own begins with it --- */

struct store {
    const struct sql_own *sql;
    struct conn *w; /* the one connection that writes; the applying thread's */
    struct clock clock;
    struct policy policy;
    bool tell_ends;
    _Atomic usec offset; /* store time = boot clock + offset */
    int64_t writer_id;   /* whose rows of counters and totals this store adds to */
    usec grace_until;    /* as committed */
    int64_t ready_next;  /* next ready_seq */
    int64_t lane_next;   /* next lane_id; none is given twice while somebody may remember it */
    int64_t lanes_seen;  /* how far the walk of op_sweep_lanes came */
    struct mark {
        int64_t lane_id, seq;     /* heads at or below were taken */
    } marks[MARKS];               /* by lane_id; a hint, so the latest of two that meet may have the place */
    usec marks_until;             /* where they are believed for a while only */
    int64_t marks_below;          /* where batches run side by side: none reaches this; else 0 */
    usec id_skew_us;              /* at most what meta says of it; 0 after a rollback */
    struct pair *pairs, *touched; /* counts.c: all; those of the batch at work */
    struct pair *pair_last;       /* looked up; or NULL */
    struct count_change *changes; /* of the batch at work, in order */
    size_t n_changes, changes_max;
    _Atomic int64_t counters; /* rows of that table: as it will be; where others write, too, as it was a while ago */
    struct dead_walk {        /* dead.c: where the last pass stopped */
        char project[JOB_NAME_MAX + 1];
        int status;
        struct uuid job_id;
    } dead_walk;
    bool checkpoints;                  /* there may be some: else no job's end looks for one */
    bool pauses, drains;               /* likewise: else no claim looks for one */
    struct arena *scratch;             /* of the op at work */
    unsigned lanes_era;                /* another one when a lane that somebody remembers may be gone */
    int64_t batch_blobs, batch_bytes;  /* what the batch at work adds to these: */
    _Atomic int64_t blobs, blob_bytes; /* as committed; read by any thread */
};

/** Memory for a store that begins as `s`, and what is loaded of it. On failure call sql_store_release all the same. */
int sql_store_init(struct store *s, const struct store_config *config, struct err *err);
/** Reads what is kept in memory, once the tables are there: counts, totals, what comes next. */
int sql_store_load(struct store *s, struct err *err);
void sql_store_release(struct store *s);
usec store_now(struct store *s);
/** Where in the lane a search may begin; 0: at its start. */
static inline int64_t lane_mark(const struct store *s, int64_t lane_id)
{
    const struct mark *m = &s->marks[(uint64_t)lane_id % MARKS];

    return m->lane_id == lane_id ? m->seq : 0;
}

/** One op at work. */
struct tx {
    struct store *s;
    struct conn *c;
    struct op *op;
    struct arena *scratch; /* gone after the op */
    usec now;
    int64_t blobs, blob_bytes; /* rows of blobs it added, and their bytes */
    struct err *err;           /* &op->err */
    bool guess;                /* only its looks are of interest: memory that outlives it must not change */
};
#define TX_SCRATCH_MAX (64u * 1024 * 1024)

/* --- rows.c: jobs --- */

struct row {
    struct job job;             /* strings in the arena it was loaded into */
    int64_t lane_id, ready_seq; /* 0: cannot be claimed */
    enum job_status was;
    bool log_closed;          /* of its latest attempt */
    uint64_t fingerprint_was; /* as it stands in dead_letters */
    usec finished_was;        /* as it stands: with it a row of history is found at once */
};

enum load { LOAD_LEAN, LOAD_FULL }; /* LEAN: payload "{}" and no inputs */

/** By id, in jobs or history; project NULL: any. ERR_NOT_FOUND. */
int row_load(struct conn *c, const char *project, const struct uuid *id, enum load what, struct arena *arena,
             struct row *ret, struct err *err);
/** A SELECT's columns in order; what row_read understands. */
#define ROW_COLUMNS(payload)                                                                                           \
    "job_id, project, queue, task_type, priority, lane_id, " payload                                                   \
    ", payload_ref, labels, dedup_key, max_attempts, timeout_us, no_progress_us, "                                     \
    "created_at, start_deadline_at, status, run_at, waiting_on, attempt, retries, interruptions, losses, token, "      \
    "token_attempt, "                                                                                                  \
    "owner_id, lease_until, confirmed, cancel_requested_at, started_at, finished_at, last_outcome, error_log, "        \
    "progress, "                                                                                                       \
    "progress_message, progress_at, version, ready_seq, fingerprint, traceparent, tracestate"
#define ROW_READY_SEQ 36 /* its place in there */
int row_read(struct query *st, struct arena *arena, struct row *ret, struct err *err);
int row_inputs(struct conn *c, struct arena *arena, struct job *job, struct err *err);
/** New job: row, lane, inputs, counters, changes. */
int row_insert(struct tx *t, struct row *row);
/** After core changed row->job: row (moved between jobs and history as its status asks), readiness, counters, changes. */
int row_save(struct tx *t, struct row *row);
/** The same for one that goes on running: only lease, cancel request, progress and version have changed. */
int row_save_running(struct tx *t, const struct row *row);
/** Each label of a job, in the order of its text; texts live in the op's arena. */
int labels_each(struct tx *t, const struct job *job, label_fn *each);
/** Takes a job away with its attempts, outputs, log, key and references. */
int row_remove(struct tx *t, struct row *row);
/** Can this op report a change of one more lane? */
bool changes_room(const struct tx *t, int64_t lane_id);
/** Leaves out what came to nothing. At the end of the op. */
void changes_finish(struct op *op);
/** Fills in since when the lanes' heads have been ready. At the end of the batch. */
int changes_age(struct store *s, struct op **ops, size_t n, struct err *err);

/* --- dead.c: dead letters by fingerprint --- */

/** What row_save and row_remove ask for. */
int dead_save(struct tx *t, struct row *row);
int dead_remove(struct tx *t, const struct row *row);
/** Are all of them entered, those of earlier versions too? */
bool dead_entered(struct conn *c, int *rc, struct err *err);
/** Enters some of those; once all are, goes on with the redrives. */
int op_sweep_dead(struct tx *t);

/** What a walk over jobs looks for, and found. */
struct job_look {
    struct job_filter filter;
    unsigned looked_max; /* rows that it may look at */
    size_t max;          /* that it may find */
    struct uuid *ids;    /* room for so many; NULL: they are only counted */
    size_t n;
    struct uuid last; /* the last one looked at; nil: none */
    bool more;        /* it did not come to the end */
};
int read_dead_groups(struct store *s, const struct dead_filter *f, struct arena *arena, struct dead_page *ret,
                     struct err *err);

/* --- redrive.c --- */

int op_redrive(struct tx *t);
int op_redrive_cancel(struct tx *t);
/** The next few of the redrive whose turn it is. Sets all of op->u.sweep. */
int redrive_some(struct tx *t);
int read_redrive_get(struct store *s, const char *project, const struct uuid *id, struct arena *arena,
                     struct redrive *ret, struct err *err);
int read_redrives(struct store *s, const struct redrive_filter *f, struct arena *arena, struct redrive_page *ret,
                  struct err *err);

/* --- counts.c: how many jobs, in which lanes --- */

/** One job more or less in that status, or several. */
int count(struct tx *t, const struct job *job, enum job_status status, int64_t by);
/** What is kept by name (counts, lanes, series) is bounded: ERR_CONFLICT. A pair that has other jobs is never refused. */
int count_room(struct tx *t, const struct job *job);
/** Takes back what was counted since the batch's `n_changes` was `mark`. */
void counts_undo(struct store *s, size_t mark);
/** Writes what changed; then, when the batch is decided: counts_settle. */
int counts_save(struct store *s, struct err *err);
void counts_settle(struct store *s, bool committed);
int counts_load(struct store *s, struct err *err);
/** How many there are, of all servers. */
int counters_ask(struct conn *c, int64_t *ret, struct err *err);
void counts_free(struct store *s);
/** The lane where the job stands when it is ready; made if there is none. */
int lane_of(struct tx *t, const struct job *job, int64_t *ret);

/* --- blobs.c: references and outputs --- */

/** ERR_INVALID naming `field` when `ref` is not a blob of the op's project. ret_sha256 may be NULL. */
int blob_check_ref(struct tx *t, const char *ref, const char *field, struct uuid *ret_id, uint8_t ret_sha256[32]);
int blob_ref(struct tx *t, const struct uuid *id, int by);
/** Its row, without references.
 * @param xxh128  16 bytes; NULL: not known
 * @param ret_new  0: there is one of that id */
int blob_insert(struct tx *t, const struct uuid *id, int64_t size, const uint8_t sha256[32], const uint8_t *xxh128,
                int64_t *ret_new);
int op_blob_add(struct tx *t);
int op_output(struct tx *t);
/** What no success published. */
int outputs_release(struct tx *t, const struct uuid *job_id);
/** Marks the named ones; ERR_INVALID names a missing one. The rest of the attempt's is released by outputs_release. */
int outputs_publish(struct tx *t, const struct uuid *job_id, uint32_t attempt, const char *const *names, size_t n);

/* --- checkpoints.c --- */

int op_checkpoint(struct tx *t);
int checkpoints_load(struct store *s, struct err *err);
/** What a new attempt does once more of the work that had `reached` so many percent; below 0: not known. */
int checkpoint_redone(struct tx *t, const struct uuid *job_id, double reached, double *ret);
/** The job needs it no more: its rows, and their references to blobs. */
int checkpoint_release(struct tx *t, const struct uuid *job_id);

/* --- pauses.c --- */

int op_pause(struct tx *t);
int op_resume(struct tx *t);
int pauses_load(struct store *s, struct err *err);
/** Is the queue paused, for the op's project? */
int queue_paused(struct tx *t, const char *queue, bool *ret);
int read_pauses(struct store *s, const char *project, struct arena *arena, struct pause **ret, size_t *ret_n,
                struct err *err);

/* --- drains.c --- */

int op_drain(struct tx *t);
int op_undrain(struct tx *t);
int drains_load(struct store *s, struct err *err);
int worker_drained(struct tx *t, const struct uuid *worker_id, bool *ret);
/** Those of workers that are not known any more. */
int drains_forget(struct tx *t);

/* --- uploads.c --- */

int op_upload_add(struct tx *t);
int op_upload_touch(struct tx *t);
int op_upload_end(struct tx *t);
/** The row of an upload that becomes a blob, or is given up. ERR_NOT_FOUND. */
int upload_remove(struct tx *t, const struct uuid *id);
/** @param now  those that expired by then are not found */
int read_upload_row(struct conn *c, const char *project, const struct uuid *id, usec now, struct arena *arena,
                    struct upload_row *ret, struct err *err);

/* --- claim.c --- */

/** The heads of a lane above `above`: rows first, changes later, since no statement may stand open over its own table while it
 * changes. Inputs come with the taking. ret has room for max. */
int claim_heads(struct tx *t, int64_t lane_id, int64_t above, size_t max, struct row *ret, size_t *ret_n);
extern const char claim_heads_sql[]; /* ROW_COLUMNS: ?1 lane ?2 above ?3 project ?4 how many */

/* --- ops --- */

int op_submit(struct tx *t);    /* submit.c */
int op_claim(struct tx *t);     /* claim.c */
int op_heartbeat(struct tx *t); /* running.c */
int op_progress(struct tx *t);
int op_log(struct tx *t); /* logs.c */
/** No byte will come any more (the token is void, or another's): a small log becomes one row, a larger one is marked to be packed.
 * Does nothing to one that is closed. */
int log_close(struct tx *t, const struct uuid *job_id, uint32_t attempt);
/* The same in two parts, around an UPDATE of the attempt that writes its log_state as well. (RETURNING would have SQLite gather the rows
 * of the UPDATE first.) */
struct log_end {
    bool open;      /* it is closed only now */
    int64_t state;  /* log_state from now on */
    bool one_piece; /* its rows become one */
};
int log_end_look(struct tx *t, const struct uuid *job_id, uint32_t attempt, struct log_end *ret);
int log_end_done(struct tx *t, const struct uuid *job_id, uint32_t attempt, const struct log_end *end);
int op_log_packed(struct tx *t);
int op_sweep_logs(struct tx *t);
/** The packed logs of a job that is removed: nobody else refers to those blobs. @param lie_at  where its attempts lie (struct sql_own) */
int logs_release(struct tx *t, const struct uuid *job_id, usec lie_at);
/** The job for a write by token: latest, undecided, running or lapsed. */
int running_load(struct tx *t, const struct uuid *job_id, const struct token *token, struct row *ret);
int op_complete(struct tx *t); /* finish.c */
int op_fail(struct tx *t);
int op_cancel(struct tx *t);
int op_retry(struct tx *t);
int op_discard(struct tx *t);
/** Tells in op->ended that an attempt of the job ended. `ran_us` as there. */
int ended_add(struct tx *t, const struct job *job, enum outcome outcome, usec ran_us);
/** The attempt's row ends without a report of the worker. */
/** Takes the job's latest attempt's series further, if there are samples. series.c */
int series_take(struct tx *t, const struct job *job, const struct sample *samples, size_t n);
int attempt_end(struct tx *t, const struct uuid *job_id, uint32_t attempt, enum outcome outcome, const char *error);
int op_sweep_leases(struct tx *t); /* sweep.c */
int op_sweep_due(struct tx *t);
int op_sweep_blobs(struct tx *t);
int op_sweep_uploads(struct tx *t);
int op_sweep_dedup(struct tx *t);
int op_sweep_retention(struct tx *t);
int op_sweep_lanes(struct tx *t);
/** Removes a job that is finished or dead with all it has, at most about `rows` of them. *ret_whole: false when only a part of its log went. */
#define RETENTION_ROWS 1000 /* that a pass may write */
int retire_one(struct tx *t, const struct uuid *id, int64_t rows, bool *ret_whole);
/** What is left of RETENTION_ROWS since q_written said `began`. */
int rows_left(struct tx *t, int64_t began, int64_t *ret);
int op_grace(struct tx *t);
int op_tally(struct tx *t);  /* tally.c */
int op_office(struct tx *t); /* office.c */

/* --- store.c, read.c --- */
/** Applies the op of the batch at work, or refuses it: its changes are whole, or none is told. */
int op_run(struct tx *t);
/** Before an op is tried, again perhaps. false: it cannot be, and says so. */
bool op_begin(struct op *op);
/** All of a batch that was rolled back. */
void ops_fail(struct op **ops, size_t n, const struct err *err);
/** After a rollback: what was taken may stand there again, what was noted may be gone. */
void memory_forget(struct store *s);
int meta_put(struct conn *c, const char *key, const char *value, struct err *err);
int meta_int(struct conn *c, const char *key, int64_t *ret, struct err *err); /* 0 when absent */
/* How many blobs there are and what they weigh: kept in `meta`, or in `totals`, where servers have rows of their own; so that nobody has
 * to count them. */
int totals_load(struct store *s, struct err *err); /* counts once, where an older version left no totals */
int totals_ask(struct store *s, struct conn *c, struct err *err); /* of all servers, as they are now */
int totals_save(struct store *s, struct err *err);                /* in the batch's transaction: what it adds */

int read_job_get(struct store *s, const char *project, const struct uuid *id, struct arena *arena, struct job *ret,
                 struct err *err);
int read_attempts(struct store *s, const struct uuid *job_id, struct arena *arena, struct attempt **ret, size_t *ret_n,
                  struct err *err);
int read_outputs(struct store *s, const struct uuid *job_id, struct arena *arena, struct output **ret, size_t *ret_n,
                 struct err *err);
int read_checkpoint(struct store *s, const struct uuid *job_id, struct arena *arena, struct checkpoint *ret,
                    struct err *err); /* checkpoints.c */
int read_series(struct store *s, const struct uuid *job_id, uint32_t attempt, struct series *ret, struct err *err);
int read_position(struct store *s, const struct uuid *job_id, unsigned max, int64_t *ret, struct err *err);
int read_log(struct store *s, const struct uuid *job_id, uint32_t attempt, int64_t offset, void *buf, size_t max,
             struct log_part *ret, struct err *err); /* logs.c */
int read_blob_get(struct store *s, const char *project, const struct uuid *id, struct arena *arena,
                  struct blob_row *ret, struct err *err);
int read_upload_get(struct store *s, const char *project, const struct uuid *id, bool expired, struct arena *arena,
                    struct upload_row *ret, struct err *err);
int read_workers(struct store *s, struct arena *arena, struct worker_row **ret, size_t *ret_n, struct err *err);
int read_stats(struct store *s, struct arena *arena, struct stat_row **ret, size_t *ret_n, struct err *err);
int read_lanes(struct store *s, struct arena *arena, struct lane **ret, size_t *ret_n, struct err *err);
int read_meta(struct store *s, const char *key, struct arena *arena, const char **ret, struct err *err);
