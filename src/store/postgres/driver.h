#pragma once
/* What the driver's files share. Layers: link (connecting, errors) <- conn (statements) <- schema, servers, keys <- apply, open. */
#include "store/sql/internal.h"
#include "store/sql/keys.h"
#include "store/sql/pool.h"
#include "store/sql/read.h"
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>

#define PG_VERSION_LEAST  130000
#define PG_QUERIES        8   /* open at once on a connection */
#define PG_PENDING_MAX    512 /* statements sent before their results are read */
#define PG_READ_COMMITTED "BEGIN ISOLATION LEVEL READ COMMITTED"
#define SERVER_SEEN_US    (2 * USEC_PER_SEC) /* a server's row is written this often */

/* --- link.c: connecting, and what the database said as our error --- */

/** A connection in blocking mode; the session is left as it is. ERR_UNAVAILABLE: nobody there; ERR_FORBIDDEN: not let in. */
int pg_connect(const char *url, PGconn **ret, struct err *err);
/** `state` is an SQLSTATE or NULL. */
int pg_err(const char *state, const char *message, struct err *err);
/** What a result that is an error says. */
int pg_result_err(const PGresult *res, struct err *err);
/** One statement, or several without parameters, outside pipelines. ret may be NULL. Caller: PQclear. */
int pg_exec(PGconn *pg, const char *sql, PGresult **ret, struct err *err);
/** Is that what a repetition of the whole transaction cures? */
bool pg_state_passes(const char *state);

/* --- conn.c: a connection in pipeline mode, and its statements --- */

struct pg_query {
    struct query q;
    struct pg_conn *c;
    PGresult *res;
    bool borrowed;   /* res is ahead's, and only these rows of it, behind so many columns: */
    const int *rows; /* NULL: all */
    int n_rows, shift;
    int row;
    bool used;
};
struct ahead;
struct named;
struct pg_conn {
    struct conn conn;
    PGconn *pg; /* NULL: not connected */
    struct pg_query queries[PG_QUERIES];
    size_t pending;                    /* statements whose results were not read */
    uint16_t prepares[PG_PENDING_MAX]; /* of those: the number (named.c) that one prepares; 0: it does not */
    size_t n_prepares;
    int64_t changes;     /* rows that statements changed */
    int64_t writes;      /* statements sent that may change rows */
    bool eager;          /* every statement waits for its result */
    bool writes_rows;    /* SQL_LOCK is heeded */
    struct err failed;   /* of a statement whose result came later; cleared by pg_forget */
    char state[6];       /* SQLSTATE of that */
    bool lost;           /* the connection ended, or is of no more use */
    int wait_ms;         /* a result is waited for no longer, and the connection is lost then; 0: as long as it takes */
    uint64_t trips;      /* round trips made; of all connections that this was */
    struct ahead *ahead; /* the writer's; NULL: looks and writes go one by one */
    struct named *named; /* the writer's; NULL: statements go unnamed */
    bool direct;         /* to the database itself, which keeps statements by their names */
    bool warned;         /* the database warned of something since this was cleared */
    unsigned writers;    /* a reader's: the store's count when it was opened */
};
extern const struct sql_ops pg_ops;
static inline struct pg_conn *pg_conn_of(struct conn *c)
{
    return (struct pg_conn *)c; /* which it begins with */
}
int pg_conn_open(struct pg_conn *c, const char *url, struct err *err);
void pg_conn_close(struct pg_conn *c);
/** Waits for what is pending. The first failure since pg_forget. */
int pg_settle(struct pg_conn *c, struct err *err);
/** Settles, whatever comes of it, and forgets failures, what was read ahead, and what was gathered and not sent. */
void pg_forget(struct pg_conn *c);
/** Looks are wished for from now on, and nothing is written. Only with `ahead`. */
void pg_guess(struct pg_conn *c, bool on);
/** Writes are gathered from now on, until pg_forget. */
void pg_gather(struct pg_conn *c);
/** How many looks were wished for since the last pg_ask. */
size_t pg_wished(const struct pg_conn *c);
/** Makes all looks that were wished for, in one round trip; the looks that follow are answered from that, while it holds. */
int pg_ask(struct pg_conn *c, struct err *err);
/** The looks that follow are answered as they were asked, whatever was written since. */
void pg_as_asked(struct pg_conn *c, bool on);
/** Did the batch write of this uuid, in the tables that the look names? */
bool pg_wrote(struct pg_conn *c, const char *look, const char *types, const struct uuid *id);

/* --- schema.c --- */
extern const char *const postgres_migrations[]; /* made by embed.py */
extern const unsigned postgres_n_migrations;
/** Looks at the server (version, encoding) and brings the tables up to date. ERR_UNSUPPORTED when a newer program made them. */
int pg_schema(const char *url, struct err *err);
/** 0: there are no tables yet. ERR_UNSUPPORTED as above. */
int pg_schema_version(PGconn *pg, unsigned *ret, struct err *err);

/* --- examine.c, move.c --- */
void pg_examine(const struct store_config *config, struct findings *f, char ret_folder[UUID_STR_MAX]);
extern const struct store_moves postgres_moves;

/* --- the store --- */

struct replicas;

#define PG_WRITERS 4
#define PG_IDS     8 /* from one server's id to the next: the writers' own lie between. At least PG_WRITERS */

/** A batch that a writer has. */
struct flight {
    enum flight_state { FLIGHT_NONE, FLIGHT_GIVEN, FLIGHT_DONE } state;
    uint64_t number; /* in the order of apply */
    struct op **ops;
    size_t n;
    void (*decided)(void *arg);
    void *arg;
};

/** A connection that writes, what the ops of its batch work on, and a thread. To the database each is a server of its own. */
struct pg_writer {
    struct store s;
    struct pg_store *of;
    struct pg_conn w;
    struct arena *guessed;        /* what ops make while they are guessed at */
    struct heads *heads;          /* heads.c: of the batch at work */
    int64_t batch;                /* number of the latest one, in this writer's row of `batches` with its commit */
    _Atomic int64_t acknowledged; /* of the last one that was committed */
    usec retry_at, retry_us;      /* boot clock; how long the last pause was */
    pthread_t thread;
    bool threaded;
    /* guarded by of->mu */
    bool at_work;
    usec began; /* while at work: store time at which the batch was begun first */
    struct flight flight;
};
static inline struct pg_writer *pg_writer_of(struct store *s)
{
    return (struct pg_writer *)s; /* which it begins with */
}

struct pg_store {
    struct store s; /* what reads see; its writer_id is the server's id */
    char *url;
    struct pg_writer writers[PG_WRITERS];
    struct replicas
        *replicas; /* NULL: there are none; what their snapshots are held against, beside what writers acknowledged: */
    _Atomic usec joined,
        learnt; /* when this server's row was made; of when the latest is that it was told of others' jobs */
    _Atomic int64_t elsewhere; /* what it was told last */
    struct read_pool pool;
    struct pg_conn readers[READERS];
    atomic_uint opened;         /* how often a writer was: perhaps to another host, where readers are to go, too */
    atomic_bool ended;          /* an outcome is unknown: nothing is written any more */
    char name[96];              /* this server's, for people */
    usec head_from, head_until; /* where history begins, or before; believed for a while */
    pthread_t renewer, keeper;
    bool renewing, keeping;
    pthread_mutex_t mu; /* guards what follows */
    pthread_cond_t stop_cond;
    bool stopping;
    struct store_sizes sizes; /* as last asked */
    pthread_cond_t flown;     /* a flight was given, or is done */
    uint64_t flights;         /* given so far */
    bool landing;             /* the writers' threads end */
    void (*wake)(void *arg);
    void *wake_arg;
};
static inline struct pg_store *pg_of(struct store *s)
{
    return (struct pg_store *)s; /* which it begins with */
}

/* --- servers.c --- */

/** A row of its own, and the database's time. */
/** store_driver's. */
int pg_elsewhere(struct store *s, int64_t *ret_mark, struct err *err);
int pg_servers(struct store *s, struct arena *arena, struct server_row **ret, size_t *ret_n, struct err *err);
int server_join(struct pg_store *s, struct err *err);
/** Sets s->joined. */
int server_joined(struct pg_store *s, struct conn *c, struct err *err);
/** It is seen from now on. */
int server_stay(struct pg_store *s, struct err *err);
void server_leave(struct pg_store *s);
/** In the batch's transaction: its number, which never falls. `batch` 0 leaves the one that stands there. */
int batch_number(struct pg_writer *w, int64_t batch, int64_t *ret, struct err *err);
/** Is the clock this machine's? A test's own is left alone. */
bool clock_is_ours(const struct pg_store *s);
/** Sets the store's time to the database's. */
int clock_ask(struct pg_store *s, struct conn *c, struct err *err);
/** What a database needs once, before its first server counts. */
int server_prepare(struct pg_store *s, struct err *err);
int pg_sweep_begin(struct tx *t, bool *ret_ours);
int pg_house(struct tx *t);

/* --- days.c: history's tables --- */

/** Makes those of the coming days, drops those of past ones that are empty. */
int pg_days(struct pg_store *s, struct err *err);
/** So once, and from now on every minute, on a thread that ends with the store's `stopping`. */
int pg_days_keep(struct pg_store *s, struct err *err);
/** Makes those that finished jobs from `from` to `until` want and have not, in the transaction at work: for a move, beside which nobody writes. */
int pg_days_cover(PGconn *pg, usec from, usec until, struct err *err);
int pg_history_head(struct tx *t, int64_t limit, usec until, struct uuid *ret, size_t *ret_n, usec *ret_next);

/* --- apply.c --- */
/** Its connection. */
int writer_open(struct pg_writer *w, struct err *err);
/** Applies a batch and sets its ops' outcomes. One thread at a time a writer. */
void writer_apply(struct pg_writer *w, struct op **ops, size_t n);

/* --- flights.c: batches in flight, each at a writer --- */
void pg_apply(struct store *s, struct op **ops, size_t n, void (*decided)(void *arg), void *arg);
int pg_overlap(struct store *s, bool thread, struct err *err);
void pg_wakes(struct store *s, void (*wake)(void *arg), void *arg);
void pg_poll(struct store *s, bool wait);
/** Ends the threads. Nothing is in flight. */
void flights_end(struct pg_store *s);
/** The batch at work begins, or begins again: @return the store's time. Marks of lanes stay below what others at work may yet commit. */
usec writer_begin(struct pg_writer *w);

/* --- guess.c, heads.c: what the ops of a batch will look at is read at once --- */

#define PG_ROUNDS 4 /* a look may depend on another one */

/** Sends what was put into the pipeline before, too. */
int pg_read_ahead(struct pg_writer *w, struct op **ops, size_t n, usec now, struct err *err);

struct heads *heads_new(void);
void heads_free(struct heads *h); /* NULL accepted */
void heads_clear(struct heads *h);
/** Another pass over the ops begins. */
void heads_rewind(struct heads *h);
/** While guessing, at the end of a pass: what claims asked for is wished for. */
int heads_wish(struct pg_writer *w, struct err *err);
int pg_heads(struct tx *t, int64_t lane_id, int64_t above, size_t max, struct row *ret, size_t *ret_n);

/* --- keys.c --- */
int pg_insert_job(struct tx *t, const struct row *row);
int pg_insert_label(struct tx *t, const struct job *job, const char *key, const char *value);
int pg_remove_labels(struct tx *t, const struct job *job);
int pg_key_find(struct tx *t, const char *key, struct known_key *ret);
int pg_key_add(struct tx *t, const char *key, const struct known_key *what, usec expires_at);
int pg_key_forget(struct tx *t, const char *project, const char *key, const struct uuid *job_id);
int pg_keys_expire(struct tx *t, int64_t limit, size_t *ret_n, usec *ret_next);

/* --- reading.c, list.c --- */
/** A transaction that only reads, in one snapshot; pg_settle says how it went. */
int pg_begin_read(struct pg_conn *c, usec deadline_us, struct err *err);
/** How long the database lets such a read take. */
int pg_read_limit_ms(usec deadline_us);
int pg_read_begin(struct store *s, usec deadline_us, struct reading *ret, struct err *err);
void pg_read_end(struct reading *r);
void pg_sizes(struct store *s, struct store_sizes *ret);
int pg_jobs_look(struct conn *c, struct job_look *look, struct err *err);
int pg_job_list(struct store *s, const struct job_filter *f, struct arena *arena, struct job_page *ret,
                struct err *err);
