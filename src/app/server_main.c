/* `haul server`: opens what the server needs, serves until it is told to stop, closes in the order that loses nothing. */
#include "app/server_main.h"
#include "api/api.h"
#include "app/alert_sending.h"
#include "app/broker_calls.h"
#include "app/drivers.h"
#include "app/server_options.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/log.h"
#include "store/move.h"
#include "store/snapshot.h"
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#define READ_THREADS    4
#define READ_QUEUE      1024
#define BYTES_THREADS   4
#define S3_THREADS      16 /* which wait for a network more than they work */
#define BYTES_QUEUE     4096
#define BACKUP_FOLDER   "backup.tmp"
#define BLOBS_FOLDER    "blobs"
#define LARGE_BYTES     (1 << 20)
#define TRACES_FLUSH_US (2 * USEC_PER_SEC)
#define STOP_LIMIT_US   (INT64_C(20) * USEC_PER_SEC)

struct server {
    struct server_options options;
    int lock_fd;
    const struct store_driver *store_driver;
    struct store *store;
    const struct blob_driver *blob_driver;
    struct blobs *blobs;
    char deployment[UUID_STR_MAX]; /* the same for all servers over one store */
    struct broker_link broker;
    struct pool *reads, *bytes;
    struct alert_sending sending;
    struct engine *engine; /* until the loop owns it */
    struct loop *loop;
    struct http_server *http;
    struct api api;
    bool api_up;
    struct spans spans;
    char backup_dir[PATH_MAX];
};

static int take_lock(struct server *s, struct err *err)
{
    char path[PATH_MAX];
    int rc = fs_mkdirs(s->options.data, 0700, err);
    if (!rc)
        rc = fs_join(path, sizeof(path), s->options.data, "lock", err);
    if (!rc)
        rc = s->store_driver->shared ? fs_lock_shared(path, &s->lock_fd, err) : fs_lock(path, &s->lock_fd, err);
    if (rc == ERR_LOCKED)
        return err_set(err, ERR_LOCKED, 0, "another server uses the data folder '%.180s'", s->options.data);
    return rc ? err_wrap(err, rc, "data folder") : ERR_OK;
}

/* Half of what it should hold is not what was promised; and of two that hold the same, each would hand out the same jobs. */
static int check_moved(struct server *s, struct err *err)
{
    const char *mark = NULL, *moved = NULL;
    struct arena *arena = arena_new(65536);
    int rc = arena ? s->store_driver->meta_get(s->store, STORE_META_MOVE, arena, &mark, err)
                   : err_set(err, ERR_NO_MEMORY, 0, "start");
    if (!rc && mark)
        rc =
            err_set(err, ERR_CONFLICT, 0,
                    "the database is the target of a move that was not finished: run 'haul migrate' again, to its end");
    if (!rc)
        rc = s->store_driver->meta_get(s->store, STORE_META_MOVED, arena, &moved, err);
    if (!rc && moved)
        rc = err_set(err, ERR_CONFLICT, 0, "all was moved %.320s; " MOVED_REMEDY, moved);
    arena_free(arena);
    return rc;
}

/* Two servers with folders of their own, or a database beside the wrong folder, would answer 404 for what was promised. */
static int check_folder(struct server *s, const char *folder_id, struct err *err)
{
    const struct store_driver *d = s->store_driver;
    const char *known = NULL;
    struct arena *arena = arena_new(65536);
    int rc = arena ? d->meta_get(s->store, STORE_META_BLOB_FOLDER, arena, &known, err)
                   : err_set(err, ERR_NO_MEMORY, 0, "start");
    if (!rc && !known)
        rc = d->meta_set(s->store, STORE_META_BLOB_FOLDER, folder_id, err);
    if (!rc && !known) /* another server may have been first */
        rc = d->meta_get(s->store, STORE_META_BLOB_FOLDER, arena, &known, err);
    if (!rc && known && strcmp(known, folder_id) != 0)
        rc = err_set(err, ERR_CONFLICT, 0, "the %s is %s, but the database belongs to %s",
                     s->options.blob ? "bucket's id" : "blob folder", folder_id, known);
    arena_free(arena);
    return rc;
}

static bool has_bytes(const char *dir, const char *sub, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/%s%s%s", dir, sub, *sub ? "/" : "", name);
    return n > 0 && (size_t)n < sizeof(path) && fs_size(path) > 0;
}

/* The database is made before its blob folder: a folder alone has lost it, and a new database would have every blob removed. */
static int check_database_there(const char *data, struct err *err)
{
    if (has_bytes(data, "", app_store_embedded()->snapshots->file) ||
        !has_bytes(data, BLOBS_FOLDER, app_blob_folder()->id_file))
        return ERR_OK;
    return err_set(
        err, ERR_CORRUPT, 0,
        "'%.300s' has blobs but no database any more; restore a backup (haul restore), or name a new --data folder",
        data);
}

/* Who waits for a start that takes long sees what it does. */
static void upgrading(const struct store_upgrade *u)
{
    char from[16], step[16], to[16], seconds[24];
    snprintf(from, sizeof(from), "%u", u->from);
    snprintf(step, sizeof(step), "%u", u->step);
    snprintf(to, sizeof(to), "%u", u->to);
    snprintf(seconds, sizeof(seconds), "%lld", (long long)(u->for_us / USEC_PER_SEC));
    log_event(LOG_INFO, u->for_us ? "the database is still brought forward" : "the database is brought forward",
              "schema", step, "from", from, "to", to, "for_s", seconds, NULL);
}

static int open_data(struct server *s, const struct policy *policy, struct err *err)
{
    char path[PATH_MAX], folder_id[UUID_STR_MAX];
    struct store_config config = {.dir = s->options.data,
                                  .url = s->options.store,
                                  .read_url = s->options.store_read,
                                  .clock = clock_real(),
                                  .rng = rng_real(),
                                  .policy = *policy,
                                  .tell_ends = s->options.otlp_url != NULL,
                                  .upgrading = upgrading};
    int rc = config.url ? ERR_OK : check_database_there(s->options.data, err);
    if (!rc)
        rc = s->store_driver->open(&config, &s->store, err);
    if (!rc)
        rc = check_moved(s, err);
    if (rc)
        return rc;
    rc = app_blob_driver(s->options.blob, &s->blob_driver, err);
    if (!rc)
        rc = fs_join(path, sizeof(path), s->options.data, BLOBS_FOLDER, err);
    if (!rc)
        rc = s->blob_driver->open(s->options.blob ? s->options.blob : path, &s->blobs, folder_id, err);
    if (!rc && s->blob_driver->share)
        rc = s->blob_driver->share(s->blobs, s->store_driver->shared, err);
    if (rc)
        return err_wrap(err, rc, s->options.blob ? "open the blobs in S3" : "open the blob folder");
    rc = fs_join(s->backup_dir, sizeof(s->backup_dir), s->options.data, BACKUP_FOLDER, err);
    if (!rc)
        rc = fs_remove_tree(s->backup_dir, err); /* a crash during a backup left it */
    memcpy(s->deployment, folder_id, sizeof(folder_id));
    return rc ? rc : check_folder(s, folder_id, err);
}

static int open_broker(struct server *s, struct err *err)
{
    const struct broker_config config = {.url = s->options.broker ? s->options.broker : s->options.store,
                                         .deployment = s->deployment,
                                         .intake = s->options.broker_intake,
                                         .rng = rng_real()};
    int rc = app_broker_driver(s->options.broker, s->options.store, &s->broker.driver, err);
    return rc ? rc : s->broker.driver->open(&config, &s->broker.broker, err);
}

static int start_broker(struct server *s, struct err *err)
{
    struct broker_state state;
    s->broker.loop = s->loop;
    s->broker.api = &s->api;
    const struct broker_calls calls = broker_link_calls(&s->broker);
    s->broker.driver->state(s->broker.broker, &state);
    if (!state.reached)
        log_event(LOG_WARN, "the broker is not there: servers claim from the store directly", "detail", state.why,
                  NULL);
    if (state.warning[0])
        log_event(LOG_WARN, "the broker may lose messages", "detail", state.warning, NULL);
    return s->broker.driver->start(s->broker.broker, &calls, err);
}

static atomic_bool store_lost;

/* Retrying a sync that failed can lie (the kernel may have dropped the pages): end, and let the next start read the disk. */
static void on_lost(void)
{
    store_lost = true;
    kill(getpid(), SIGTERM);
}

static int start_engine(struct server *s, const struct policy *policy, struct err *err)
{
    struct engine_config config = {.store_driver = s->store_driver,
                                   .store = s->store,
                                   .blob_driver = s->blob_driver,
                                   .blobs = s->blobs,
                                   .broker_driver = s->broker.driver,
                                   .broker = s->broker.broker,
                                   .clock = clock_real(),
                                   .rng = rng_real(),
                                   .policy = *policy,
                                   .ops_max = 8192,
                                   .polls_max = 10000,
                                   .alerts = {.objectives = s->options.objectives.items,
                                              .n_objectives = s->options.objectives.n,
                                              .rules = s->options.alerts.rules,
                                              .n_rules = s->options.alerts.n_rules,
                                              .every_us = s->options.alerts.every},
                                   .applied = s->spans.exporter ? spans_applied : NULL,
                                   .applied_self = &s->spans};
    if (s->sending.notify) {
        config.alerts.looked = alert_sending_looked;
        config.alerts.self = &s->sending;
    }
    int rc = engine_remove_leftovers(&config, err);
    if (!rc)
        rc = engine_new(&config, &s->engine, err);
    if (!rc && s->store_driver->overlap)
        rc = s->store_driver->overlap(s->store, true, err);
    if (!rc)
        rc = loop_start(s->engine, s->bytes, on_lost, &s->loop, err);
    if (!rc)
        s->engine = NULL;
    return rc;
}

static int start_traces(struct server *s, struct err *err)
{
    const struct exporter_config config = {
        .url = s->options.otlp_url, .headers = s->options.otlp_headers, .flush_us = TRACES_FLUSH_US};
    s->spans.share = s->options.trace_share;
    return config.url ? exporter_new(&config, &s->spans.exporter, err) : ERR_OK;
}

static int start_pools(struct server *s, struct err *err)
{
    int rc = pool_new("reads", READ_THREADS, READ_QUEUE, &s->reads, err);
    return rc ? rc : pool_new("bytes", s->options.blob ? S3_THREADS : BYTES_THREADS, BYTES_QUEUE, &s->bytes, err);
}

static void start_api(struct server *s, const struct policy *policy)
{
    s->api = (struct api){.loop = s->loop,
                          .store_driver = s->store_driver,
                          .store = s->store,
                          .blob_driver = s->blob_driver,
                          .blobs = s->blobs,
                          .broker_driver = s->broker.driver,
                          .broker = s->broker.broker,
                          .clock = clock_real(),
                          .rng = rng_real(),
                          .policy = *policy,
                          .backup_dir = s->backup_dir,
                          .spans = s->spans.exporter ? &s->spans : NULL,
                          .event_streams_max = (unsigned)s->options.event_streams,
                          .notify = s->sending.notify,
                          .reads = s->reads,
                          .bytes = s->bytes};
    api_init(&s->api);
    s->api_up = true;
}

static int start_http(struct server *s, const char *host, uint16_t port, struct err *err)
{
    const struct string_list *hosts = &s->options.hosts;
    struct http_config config = {.host = host,
                                 .port = port,
                                 .routes = api_routes,
                                 .n_routes = api_n_routes,
                                 .app = &s->api,
                                 .bytes_pool = s->api.bytes,
                                 .n_hosts = hosts->n};
    const char **names = calloc(hosts->n + 1, sizeof(*names));
    if (!names)
        return err_set(err, ERR_NO_MEMORY, 0, "start");
    for (size_t i = 0; i < hosts->n; i++)
        names[i] = hosts->items[i];
    config.hosts = names;
    int rc = http_start(&config, &s->http, err);
    free(names);
    return rc;
}

static int start(struct server *s, struct err *err)
{
    char host[64];
    uint16_t port = 0;
    struct policy policy = server_options_policy(&s->options);
    int rc = listen_parse(s->options.listen, host, &port, err);
    if (!rc && !host_is_loopback(host) && !s->options.insecure)
        rc =
            err_field(err, "listen",
                      "'%s' is beyond loopback and there are no keys yet: add --insecure to open it to everyone", host);
    if (!rc)
        rc = app_store_driver(s->options.store, &s->store_driver, err);
    if (!rc)
        rc = take_lock(s, err);
    if (!rc)
        rc = open_data(s, &policy, err);
    if (!rc)
        rc = start_pools(s, err);
    if (!rc)
        rc = open_broker(s, err);
    if (!rc)
        rc = alert_sending_start(&s->sending, &s->options.alerts, &s->options.objectives, &s->options.receivers,
                                 s->store_driver->shared, err);
    if (!rc)
        rc = start_traces(s, err);
    if (!rc)
        rc = start_engine(s, &policy, err);
    if (!rc) {
        start_api(s, &policy);
        rc = start_broker(s, err);
    }
    if (!rc)
        rc = start_http(s, host, port, err);
    if (rc)
        return rc;
    printf(strchr(host, ':') ? "haul server listening on http://[%s]:%u\n" : "haul server listening on http://%s:%u\n",
           host, http_port(s->http));
    fflush(stdout);
    return ERR_OK;
}

/* New work first, then what waits, then what runs; the store last, when nobody can write any more. */
static void stop(struct server *s)
{
    if (s->api_up)
        api_drain(&s->api);
    if (s->loop)
        loop_drain(s->loop);
    alert_sending_stop(&s->sending, s->loop); /* answers who tries a receiver */
    if (s->broker.broker)
        s->broker.driver->stop(s->broker.broker);
    if (s->http)
        http_quiesce(s->http);
    if (s->api_up && !api_quiesce(&s->api, STOP_LIMIT_US))
        log_event(LOG_WARN, "some requests were not answered in time", NULL);
    http_stop(s->http);
    pool_stop(s->reads);
    pool_stop(s->bytes);
    loop_free(s->loop); /* what it decides yet for requests that were given up is refused by the pools */
    engine_free(s->engine);
    alert_sending_release(&s->sending);
    exporter_free(s->spans.exporter);
    if (s->broker.broker)
        s->broker.driver->close(s->broker.broker);
    pool_free(s->reads);
    pool_free(s->bytes);
    if (s->api_up)
        api_release(&s->api);
    if (s->blobs)
        s->blob_driver->close(s->blobs);
    if (s->store)
        s->store_driver->close(s->store);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    server_options_release(&s->options);
}

static int block_signals(int *ret_fd, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) /* before any thread: they inherit it */
        return err_set(err, ERR_IO, errno, "block signals");
    *ret_fd = signalfd(-1, &set, SFD_CLOEXEC);
    return *ret_fd < 0 ? err_set(err, ERR_IO, errno, "wait for signals") : ERR_OK;
}

static int wait_signal(int fd, struct err *err)
{
    struct signalfd_siginfo info;
    for (;;) {
        ssize_t n = read(fd, &info, sizeof(info));
        if (n == (ssize_t)sizeof(info))
            break;
        if (n < 0 && errno != EINTR)
            return err_set(err, ERR_IO, errno, "wait for signals");
    }
    log_event(LOG_INFO, "stopping", "signal", info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT", NULL);
    return ERR_OK;
}

static int fail(const struct err *err)
{
    fprintf(stderr, "haul server: %s\n", err->msg);
    return err_exit(err->code);
}

/* A connection is a descriptor: the usual soft limit of 1024 would be a server's limit of clients. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* What is large goes back to the system when it is freed. By itself glibc keeps such blocks from the second one on (up to 32 MiB), in an
 * arena of each thread that had one: the parts and windows of blobs in S3 grew a server by 100 MiB. */
static void give_memory_back(void)
{
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    mallopt(M_TRIM_THRESHOLD, 4 * LARGE_BYTES);
}

int server_main(int argc, char **argv)
{
    struct server *s = calloc(1, sizeof(*s));
    AUTO_FD int signals = -1;
    struct err err;
    bool help = false;
    err_clear(&err);
    if (!s) {
        err_set(&err, ERR_NO_MEMORY, 0, "start");
        return fail(&err);
    }
    s->lock_fd = -1;
    log_setup("server", LOG_INFO);
    int rc = server_options_read(argc, argv, &s->options, &help, &err);
    if (!rc && !help)
        rc = block_signals(&signals, &err);
    if (!rc && !help) {
        give_memory_back();
        raise_descriptor_limit();
        rc = start(s, &err);
    }
    if (!rc && !help)
        rc = wait_signal(signals, &err);
    if (store_lost)
        rc = err_set(
            &err, ERR_UNKNOWN_OUTCOME, 0,
            s->options.store
                ? "a write's outcome is unknown: see the log, and start again"
                : "a write's outcome is unknown (its sync failed): look at the disk of '%.300s' and start again",
            s->options.data);
    stop(s);
    free(s);
    return rc ? fail(&err) : 0;
}
