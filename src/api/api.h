#pragma once
/* The API: one file per resource, from request to op and back. Owns no state of its own besides this struct. */
#include "api/blob_check.h"
#include "api/board.h"
#include "api/elsewhere.h"
#include "api/spans.h"
#include "api/writers.h"
#include "base/clock.h"
#include "base/pool.h"
#include "base/rng.h"
#include "blob/blob.h"
#include "broker/broker.h"
#include "core/job.h"
#include "engine/loop.h"
#include "http/http.h"
#include "notify/notify.h"
#include "store/store.h"
#include <pthread.h>
#include <stdatomic.h>

/** What handlers work with; everything is borrowed. Passed as http_config.app. */
struct api {
    struct loop *loop;
    const struct store_driver *store_driver;
    struct store *store;
    const struct blob_driver *blob_driver;
    struct blobs *blobs;
    const struct broker_driver *broker_driver;
    struct broker *broker; /* NULL: none is configured */
    struct notify *notify; /* NULL: alerts are sent to nobody */
    struct clock clock;
    struct rng rng;
    struct policy policy;
    struct pool *reads;         /* reads of the store */
    struct pool *bytes;         /* blob bytes */
    unsigned event_streams_max; /* open at once */
    const struct spans *spans;  /* NULL: no collector is configured */
    const char *backup_dir; /* where a snapshot lies while it is sent, beside database and blobs; NULL: no backups */

    /* set by api_init */
    usec started_boot_us, started_wall_us;
    atomic_bool draining; /* readyz says so; waits are answered at once */
    pthread_mutex_t lock;
    pthread_cond_t idle;
    unsigned in_flight; /* requests entered and not yet replied to */
    bool stopping;      /* refuses what comes in */
    struct writers writers;
    atomic_uint reading_back; /* uploads whose parts are read once and hashed */
    struct blob_checks blob_checks;
    struct boards boards;
    struct elsewhere elsewhere;
    atomic_uint event_streams; /* open ones */
    uint64_t epoch;            /* of this start: what events are numbered in */
    bool backing_up;           /* there is a snapshot: one at a time */
};

void api_init(struct api *api);
void api_release(struct api *api);
/** From now on readyz answers 503 and nobody waits. */
void api_drain(struct api *api);
/** Refuses new requests and waits until those under way were replied to, at most `limit_us`. false: some were not. */
bool api_quiesce(struct api *api, usec limit_us);

extern const struct http_route api_routes[];
extern const size_t api_n_routes;
