#include "base/auto.h"
#include "http/internal.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define IDLE_S        75 /* keep-alive without a request */
#define PATIENCE_S    10 /* with slow clients, unless the configuration says otherwise */
#define LOOK_US_MAX   HTTP_SECOND
#define STOP_DRAIN_S  3     /* answers that are being sent when the server stops */
#define BUSY_RETRY_US 10000 /* bytes pool full */

int64_t http_now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * HTTP_SECOND + ts.tv_nsec / 1000;
}

static struct timespec timespec_of(int64_t us)
{
    return (struct timespec){.tv_sec = us / HTTP_SECOND, .tv_nsec = (us % HTTP_SECOND) * 1000};
}

void http_deadline(struct http_connection *c, int64_t in_us)
{
    if (c)
        atomic_store(&c->deadline_us, in_us == INT64_MAX ? INT64_MAX : http_now_us() + in_us);
}

void http_server_unref(struct http_server *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    for (size_t i = 0; i < s->n_hosts; i++)
        free(s->hosts[i]);
    free(s->hosts);
    free(s->host);
    free(s->counters);
    free(s->route_segments);
    pthread_mutex_destroy(&s->list);
    pthread_mutex_destroy(&s->leaf);
    pthread_cond_destroy(&s->timer_cond);
    pthread_cond_destroy(&s->idle_cond);
    free(s);
}

/* Tasks and timers */

static void run_task(void *arg)
{
    struct http_request *req = arg;
    struct http_server *s = req->server;
    req->task(req);
    http_request_unref(req); /* first: to free its data may need what is freed once http_stop is over */
    pthread_mutex_lock(&s->leaf);
    s->n_tasks--;
    pthread_cond_broadcast(&s->idle_cond);
    pthread_mutex_unlock(&s->leaf);
}

void http_dispatch_later(struct http_request *req, int64_t in_us)
{
    struct http_server *s = req->server;
    pthread_mutex_lock(&s->leaf);
    if (!s->timer_stop) { /* else nobody would take it from the list */
        http_request_ref(req);
        req->timer_due_us = http_now_us() + in_us;
        req->timer_next = s->timers;
        s->timers = req;
        pthread_cond_signal(&s->timer_cond);
    }
    pthread_mutex_unlock(&s->leaf);
}

void http_dispatch(struct http_request *req)
{
    struct http_server *s = req->server;
    http_request_ref(req);
    pthread_mutex_lock(&s->leaf);
    s->n_tasks++;
    pthread_mutex_unlock(&s->leaf);
    if (pool_run(s->pool, run_task, req, NULL) == ERR_OK)
        return;
    /* Never an error to the client: its connection waits, and with it its sender. */
    http_dispatch_later(req, BUSY_RETRY_US);
    http_request_unref(req);
    pthread_mutex_lock(&s->leaf);
    s->n_tasks--;
    pthread_cond_broadcast(&s->idle_cond);
    pthread_mutex_unlock(&s->leaf);
}

void http_count_replying(struct http_server *s, int by)
{
    pthread_mutex_lock(&s->leaf);
    s->n_replying = by > 0 ? s->n_replying + 1 : s->n_replying - 1;
    pthread_cond_broadcast(&s->idle_cond);
    pthread_mutex_unlock(&s->leaf);
}

/* An end of stream that came together with the last request is not noticed by 0.9.75 (epoll, edge-triggered): the connection would
 * stay until it is idle for too long. */
static bool stream_ended(const struct http_connection *c)
{
    char byte;
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* libmicrohttpd's time-out counts idleness only: a sender of one byte a second would stay for ever. */
static void cut_slow_connections(struct http_server *s, int64_t now_us)
{
    pthread_mutex_lock(&s->list);
    for (struct http_connection *c = s->connections; c; c = c->next)
        if (atomic_load(&c->deadline_us) <= now_us || (atomic_load(&c->idle) && stream_ended(c))) {
            atomic_store(&c->deadline_us, INT64_MAX);
            shutdown(c->fd, SHUT_RDWR);
        }
    pthread_mutex_unlock(&s->list);
}

/* Unlinks the timers that are due; the others' earliest into *ret_next_us. */
static struct http_request *take_due(struct http_server *s, int64_t now_us, int64_t *ret_next_us)
{
    struct http_request *due = NULL, **link = &s->timers;
    while (*link) {
        struct http_request *req = *link;
        if (req->timer_due_us <= now_us || s->timer_stop) {
            *link = req->timer_next;
            req->timer_next = due;
            due = req;
        } else {
            *ret_next_us = MIN(*ret_next_us, req->timer_due_us);
            link = &req->timer_next;
        }
    }
    return due;
}

static void *timer_main(void *arg)
{
    struct http_server *s = arg;
    const int64_t look_us = MIN(LOOK_US_MAX, s->patience_us);
    int64_t next_cut_us = http_now_us() + look_us;
    pthread_mutex_lock(&s->leaf);
    for (;;) {
        int64_t now_us = http_now_us(), next_us = next_cut_us;
        struct http_request *due = take_due(s, now_us, &next_us);
        bool stop = s->timer_stop, cut = now_us >= next_cut_us;
        if (due || cut) {
            pthread_mutex_unlock(&s->leaf);
            while (due) {
                struct http_request *req = due;
                due = req->timer_next;
                if (!stop)
                    http_dispatch(req);
                http_request_unref(req);
            }
            if (cut) {
                cut_slow_connections(s, now_us);
                next_cut_us = now_us + look_us;
            }
            pthread_mutex_lock(&s->leaf);
            continue;
        }
        if (stop)
            break;
        struct timespec until = timespec_of(next_us);
        pthread_cond_timedwait(&s->timer_cond, &s->leaf, &until);
    }
    pthread_mutex_unlock(&s->leaf);
    return NULL;
}

/* Connections */

void http_connection_link(struct http_server *s, struct http_connection *c)
{
    pthread_mutex_lock(&s->list);
    c->prev = NULL;
    c->next = s->connections;
    if (c->next)
        c->next->prev = c;
    s->connections = c;
    s->n_connections++;
    pthread_mutex_unlock(&s->list);
}

void http_connection_unlink(struct http_server *s, struct http_connection *c)
{
    pthread_mutex_lock(&s->list);
    if (c->prev)
        c->prev->next = c->next;
    else
        s->connections = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->n_connections--;
    pthread_mutex_unlock(&s->list);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct http_connection *c = calloc(1, sizeof *c);
        *socket_context = c;
        if (!c || !info) {
            free(c);
            *socket_context = NULL;
            return;
        }
        c->fd = info->connect_fd;
        http_deadline(c, s->patience_us);
        http_connection_link(s, c);
        return;
    }
    struct http_connection *c = *socket_context;
    if (!c)
        return;
    http_connection_unlink(s, c);
    *socket_context = NULL;
    free(c);
}

/* Start */

static int listen_on(const char *host, uint16_t port, int *ret_fd, uint16_t *ret_port, struct err *err)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *v4 = (void *)&address;
    struct sockaddr_in6 *v6 = (void *)&address;
    socklen_t n;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        n = sizeof *v4;
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        n = sizeof *v6;
    } else {
        return err_field(err, "listen", "'%s' is no numeric address", host);
    }
    AUTO_FD int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, ERR_IO, errno, "socket");
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, n) < 0 || listen(fd, 1024) < 0)
        return err_set(err, errno == EADDRINUSE ? ERR_CONFLICT : ERR_IO, errno, "listen on %s port %u", host, port);
    n = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &n) < 0)
        return err_set(err, ERR_IO, errno, "getsockname");
    *ret_port = ntohs(address.ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
    *ret_fd = TAKE_FD(fd);
    return ERR_OK;
}

static int copy_hosts(struct http_server *s, const struct http_config *config, struct err *err)
{
    s->host = strdup(config->host ? config->host : "127.0.0.1");
    s->hosts = calloc(config->n_hosts + 1, sizeof *s->hosts);
    if (!s->host || !s->hosts)
        return err_set(err, ERR_NO_MEMORY, 0, "start the HTTP server");
    for (size_t i = 0; i < config->n_hosts; i++) {
        if (!(s->hosts[i] = strdup(config->hosts[i])))
            return err_set(err, ERR_NO_MEMORY, 0, "start the HTTP server");
        s->n_hosts++;
    }
    return ERR_OK;
}

static void be_quiet(void *cls, const char *fmt, va_list ap) {}

static int start_daemon(struct http_server *s, const struct http_config *config, struct err *err)
{
    unsigned threads = config->threads ? config->threads : 2;
    s->connections_max = MAX(config->connections_max ? config->connections_max : 10000, threads);
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)s->connections_max, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, 32 * 1024, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)http_request_completed, s},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)http_request_new, s},
        /* one thread is not a pool to libmicrohttpd: the option is left out */
        {threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, (intptr_t)threads, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    s->daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
                                     MHD_USE_NO_LISTEN_SOCKET,
                                 0, NULL, NULL, http_request_access, s, MHD_OPTION_EXTERNAL_LOGGER, be_quiet, NULL,
                                 MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (!s->daemon)
        return err_set(err, ERR_IO, errno, "start the HTTP server");
    return ERR_OK;
}

/* We accept ourselves: MHD_quiesce_daemon of 0.9.75 takes the listening socket out of a worker's epoll set from outside, races
 * with the worker doing the same, and aborts the process. */
static void accept_all(struct http_server *s)
{
    for (;;) {
        struct sockaddr_storage address;
        socklen_t n = sizeof address;
        int fd = accept4(s->listen_fd, (struct sockaddr *)&address, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (plain_accept(s, fd))
                continue;
            /* closes it when it cannot take it (connections_max) */
            (void)!MHD_add_connection(s->daemon, fd, (struct sockaddr *)&address, n);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* the connection stays in the queue and the socket readable: no spinning until descriptors are free again */
            struct pollfd stop = {.fd = s->quiesce_fd, .events = POLLIN};
            poll(&stop, 1, 100);
        }
        return;
    }
}

static void *acceptor_main(void *arg)
{
    struct http_server *s = arg;
    struct pollfd fds[2] = {{.fd = s->listen_fd, .events = POLLIN}, {.fd = s->quiesce_fd, .events = POLLIN}};
    for (;;) {
        int n = poll(fds, 2, -1);
        if (n < 0 && errno != EINTR)
            break;
        if (n > 0)
            accept_all(s);
        if (n > 0 && fds[1].revents) /* those the kernel had already taken were just served */
            break;
    }
    return NULL;
}

static int start_thread(pthread_t *thread, void *(*run)(void *), void *arg, struct err *err)
{
    int sys = pthread_create(thread, NULL, run, arg);
    return sys ? err_set(err, ERR_IO, sys, "start a thread") : ERR_OK;
}

static void stop_timer(struct http_server *s)
{
    pthread_mutex_lock(&s->leaf);
    s->timer_stop = true;
    pthread_cond_signal(&s->timer_cond);
    pthread_mutex_unlock(&s->leaf);
    pthread_join(s->timer_thread, NULL);
}

int http_start(const struct http_config *config, struct http_server **ret, struct err *err)
{
    if (!config->bytes_pool)
        return err_set(err, ERR_USAGE, 0, "http_start without a pool for bytes");
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, ERR_NO_MEMORY, 0, "start the HTTP server");
    s->counters = calloc(config->n_routes + 1, sizeof *s->counters);
    s->route_segments = calloc(config->n_routes + 1, sizeof *s->route_segments);
    if (!s->counters || !s->route_segments) {
        free(s->counters);
        free(s->route_segments);
        free(s);
        return err_set(err, ERR_NO_MEMORY, 0, "start the HTTP server");
    }
    s->routes = config->routes;
    s->bodies_max = config->bodies_max ? config->bodies_max : HTTP_BODIES_MAX;
    s->n_routes = config->n_routes;
    for (size_t i = 0; i < s->n_routes; i++)
        s->route_segments[i] = http_route_segments(s->routes[i].path);
    s->app = config->app;
    s->pool = config->bytes_pool;
    s->patience_us = config->patience_us ? config->patience_us : PATIENCE_S * HTTP_SECOND;
    s->listen_fd = s->quiesce_fd = -1;
    atomic_store(&s->refs, 1);
    pthread_mutex_init(&s->list, NULL);
    pthread_mutex_init(&s->leaf, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->timer_cond, &attr);
    pthread_cond_init(&s->idle_cond, &attr);
    pthread_condattr_destroy(&attr);

    int rc = copy_hosts(s, config, err);
    if (rc == ERR_OK)
        rc = listen_on(s->host, config->port, &s->listen_fd, &s->port, err);
    if (rc == ERR_OK && (s->quiesce_fd = eventfd(0, EFD_CLOEXEC)) < 0)
        rc = err_set(err, ERR_IO, errno, "eventfd");
    bool timer = false;
    if (rc == ERR_OK)
        timer = (rc = start_thread(&s->timer_thread, timer_main, s, err)) == ERR_OK;
    if (rc == ERR_OK)
        rc = start_daemon(s, config, err);
    if (rc == ERR_OK)
        rc = plain_start(s, config->threads ? config->threads : 2, err);
    if (rc == ERR_OK)
        rc = start_thread(&s->acceptor, acceptor_main, s, err);
    if (rc == ERR_OK) {
        *ret = s;
        return ERR_OK;
    }
    plain_stop(s);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    if (timer)
        stop_timer(s);
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    if (s->quiesce_fd >= 0)
        close(s->quiesce_fd);
    http_server_unref(s);
    return rc;
}

uint16_t http_port(const struct http_server *s)
{
    return s->port;
}

/* Stop */

void http_quiesce(struct http_server *s)
{
    if (atomic_exchange(&s->quiesced, true))
        return;
    uint64_t one = 1;
    (void)!write(s->quiesce_fd, &one, sizeof one);
    pthread_join(s->acceptor, NULL);
    close(s->listen_fd);
    close(s->quiesce_fd);
}

static void resume_all(struct http_server *s)
{
    pthread_mutex_lock(&s->list);
    for (struct http_request *req = s->requests; req; req = req->next) {
        pthread_mutex_lock(&req->mutex);
        http_resume(req);
        pthread_mutex_unlock(&req->mutex);
    }
    pthread_mutex_unlock(&s->list);
}

void http_stop(struct http_server *s)
{
    if (!s)
        return;
    http_quiesce(s);
    atomic_store(&s->stopping, true); /* from here on nothing suspends */
    resume_all(s);
    while (atomic_load(&s->resuming)) /* by threads that are just about to */
        sched_yield();
    struct timespec until = timespec_of(http_now_us() + STOP_DRAIN_S * HTTP_SECOND);
    pthread_mutex_lock(&s->leaf);
    while (s->n_replying > 0)
        if (pthread_cond_timedwait(&s->idle_cond, &s->leaf, &until) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&s->leaf);
    plain_stop(s); /* first: it hands connections on */
    MHD_stop_daemon(s->daemon);
    stop_timer(s);
    pthread_mutex_lock(&s->leaf);
    while (s->n_tasks > 0)
        pthread_cond_wait(&s->idle_cond, &s->leaf);
    pthread_mutex_unlock(&s->leaf);
    http_server_unref(s);
}
