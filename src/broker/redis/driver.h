#pragma once
/* What the driver's files share. Three threads, each with a connection of its own: the sender (announcements, acknowledgements), the reader
 * (what is wanted), the intake. Whoever calls the driver only takes `lock` for a moment.
 *
 * Streams: PREFIX:jobs:CLASS:QUEUE/TASK_TYPE, their names by last use in the sorted set PREFIX:streams; PREFIX is haul:DEPLOYMENT, which is
 * also the consumer group. Each goes a day after its last announcement. */
#include "broker/broker.h"
#include "broker/redis/link.h"
#include <pthread.h>
#include <stdatomic.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define ANNOUNCES_MAX 10000                 /* waiting; beyond it they are dropped, and counted */
#define STREAM_MAX    10000                 /* messages; older ones go */
#define DEAD_MAX      100000                /* likewise of the dead stream */
#define STREAM_KEEP_S 86400                 /* after its last announcement */
#define UNSETTLED_MAX 4096                  /* messages handed out at once */
#define MESSAGE_MAX   ((size_t)1 << 20)     /* of a submission */
#define BLOCK_US      (500 * USEC_PER_MSEC) /* a read waits so long for messages */
#define NAME_MAX_     512                   /* of a stream */
#define ID_MAX        48                    /* of a message */

struct item { /* commands that the sender sends as they are */
    struct item *next;
    struct buf commands;
    unsigned replies;
    char *announces; /* the stream's name when it is an announcement, else NULL */
};

struct want {
    char *name; /* QUEUE/TASK_TYPE, or /TASK_TYPE: any queue */
    int slots;  /* of workers that wait */
    int asked;  /* slots of workers that waited since the last read */
    bool read;  /* the read that is under way looks there */
    UT_hash_handle hh;
};

enum part { PART_SENDER, PART_READER, PART_INTAKE, PART_ROOM, PART_COUNT };

struct broker {
    struct redis_url url;
    struct rng rng;
    char prefix[128], consumer[48];
    char *intake, *dead; /* streams, or NULL */
    struct broker_calls calls;
    int read_stop_fd, send_stop_fd;
    bool started;
    pthread_t sender, reader, admitter;
    pthread_mutex_t lock;
    pthread_cond_t sends, wanted, settled; /* on CLOCK_MONOTONIC */
    /* lock */
    struct item *first, **last;
    size_t n_announces;
    bool stopping, sender_stopping, sender_ended, stopped;
    struct want *wants;
    int64_t blocked_id; /* the reader's connection while it waits for messages; 0: it does not */
    size_t unsettled, submissions;
    unsigned drain;         /* messages a read takes at least: more while they turn out to be old */
    usec intake_rests_till; /* boot clock */
    bool down[PART_COUNT];
    struct broker_state state;
};

struct names {
    char **items;
    size_t n, cap;
};
bool names_add(struct names *names, const char *name); /* once each */
void names_free(struct names *names);

/* examine.c: as in broker.h */
void redis_examine(struct broker *b, struct findings *f);

/* driver.c */
/** A part works (NULL), or does not. */
void part_is(struct broker *b, enum part part, const struct err *err);
bool broker_stops(struct broker *b);
void wait_on(struct broker *b, pthread_cond_t *cond, usec most_us); /* with the lock */
struct link link_of(struct broker *b, int stop_fd);
const char *class_of(int priority);
/** XADD of a job, MAXLEN included. */
void add_job(struct buf *out, const struct broker *b, const char *stream, const struct broker_job *job);

/* sender.c */
struct item *item_new(size_t max_bytes);
/** XACK and XDEL of messages, with what `before` adds, in one transaction. @param ids  each ID_MAX wide */
struct item *item_acknowledge(const struct broker *b, const char *stream, const char (*ids)[ID_MAX], size_t n,
                              const struct buf *before, unsigned n_before);
/** Takes it over. NULL: nothing. */
void sender_put(struct broker *b, struct item *item);
void *sender_main(void *broker);

/* wants.c */
void wants_change(struct broker *b, const char *queue, const char *task_type, int slots);
/** Waits until something is wanted, `most_us` at most. false: the driver stops. */
bool wants_wait(struct broker *b, usec most_us);
/** What is to be read now. @param known  names of streams that there are, for who takes any queue
 * @param ret  streams, without the prefix, high class first  @param ret_count  messages of each at most, 0: nothing is wanted
 * @return whether workers wait still */
bool wants_streams(struct broker *b, const struct names *known, struct names *ret, unsigned *ret_count);
void wants_free(struct broker *b);

/* reader.c, intake.c */
void *reader_main(void *broker);
void told_settle(struct broker *b, struct broker_told *t, enum broker_outcome outcome);
void *intake_main(void *broker);
void submission_settle(struct broker *b, struct broker_submission *s, enum broker_admission admission,
                       const char *reason);

/* Both read as members of the group. */
/** XREADGROUP with `count`, of `streams`. */
void ask_read(struct buf *out, const struct broker *b, const char *const *streams, size_t n, unsigned count,
              bool block);
/** Messages whose server died: *ret is the array of them, NULL for none. `reply` to be freed. */
int ask_reclaim(struct link *l, const struct broker *b, const char *stream, unsigned count, redisReply **reply,
                redisReply **ret, struct err *err);
int make_group(struct link *l, const struct broker *b, const char *stream, bool forget, struct err *err);
/** A message: [id, [name, value...]]. NULL: it is none, or was deleted. */
const redisReply *message_fields(const redisReply *message);
const redisReply *field_of(const redisReply *fields, const char *name);
