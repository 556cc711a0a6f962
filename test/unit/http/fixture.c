#include "fixture.h"
#include "base/json.h"
#include "base/sha256.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Handlers */

static void reply_text(struct http_request *req, const char *text)
{
    http_reply_text(req, 200, "text/plain", text, strlen(text));
}

static void get_ping(struct http_request *req)
{
    reply_text(req, "pong");
}

static void get_echo(struct http_request *req)
{
    static const char *const known[] = {"q", "tag", NULL};
    const char *unknown = http_query_unknown(req, known), *q = http_query(req, "q");
    struct err err = {0};
    if (unknown) {
        err_field(&err, unknown, "unknown");
        http_reply_err(req, &err);
        return;
    }
    const char *text =
        arena_printf(http_arena(req), "%s|%s|%s", http_param(req, "a"), http_param(req, "b"), q ? q : "-");
    for (size_t i = 0; http_query_nth(req, "tag", i); i++)
        text = arena_printf(http_arena(req), "%s,%s", text, http_query_nth(req, "tag", i));
    reply_text(req, text);
}

static void post_json(struct http_request *req)
{
    size_t n;
    const char *body = http_body(req, &n);
    struct buf out;
    buf_init(&out, 4096);
    buf_add(&out, body, n);
    if (n == 0)
        buf_adds(&out, "null");
    http_reply_json(req, 201, &out);
}

static void post_empty(struct http_request *req)
{
    http_reply_empty(req, 204);
}

static void answer_now(void *arg)
{
    reply_text(arg, "later");
}

/* Every other time on a server thread. */
static void *answer_later(void *arg)
{
    static atomic_uint turn;
    if (atomic_fetch_add(&turn, 1) % 2)
        http_run(arg, answer_now, arg);
    else
        answer_now(arg);
    return NULL;
}

static void post_defer(struct http_request *req)
{
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    assert_int_equal(pthread_create(&thread, &attr, answer_later, req), 0);
    pthread_attr_destroy(&attr);
}

static void post_much(struct http_request *req)
{
    char *text = malloc(MUCH_BYTES);
    assert_non_null(text);
    for (size_t i = 0; i < MUCH_BYTES; i++)
        text[i] = (char)('a' + (i >> 4) % 26);
    http_reply_text(req, 200, "text/plain", text, MUCH_BYTES);
    free(text);
}

static void get_hold(struct http_request *req)
{
    struct fixture *f = http_app(req);
    f->held = req;
    sem_post(&f->held_sem);
}

struct upload {
    struct fixture *f;
    struct sha256 *hash;
    size_t n;
    struct buf taken; /* the latest piece: what came after it must not be in its memory */
    uint64_t sum;
};

static uint64_t bytes_sum(const struct buf *b)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < b->len; i++)
        sum = sum * 31 + (unsigned char)b->data[i];
    return sum;
}

static void upload_free(void *data)
{
    struct upload *u = data;
    sha256_free(u->hash);
    buf_release(&u->taken);
    sem_post(&u->f->freed_sem);
    free(u);
}

static int upload_begin(struct http_request *req, struct err *err)
{
    struct upload *u = calloc(1, sizeof *u);
    u->f = http_app(req);
    u->hash = sha256_new();
    u->f->seen = 0;
    http_set_data(req, u, upload_free);
    return ERR_OK;
}

/* Keeps it until the next one comes. */
static int upload_piece(struct http_request *req, struct buf *piece, struct err *err)
{
    struct upload *u = http_data(req);
    struct buf before = u->taken;
    if (bytes_sum(&before) != u->sum)
        return err_set(err, ERR_CORRUPT, 0, "a piece changed after it was taken");
    if (u->n == 0)
        sem_post(&u->f->first_sem);
    sha256_add(u->hash, piece->data, piece->len);
    u->n += piece->len;
    u->taken = *piece;
    u->sum = bytes_sum(piece);
    before.max = piece->max;
    *piece = before;
    u->f->seen = u->n;
    sem_post(&u->f->piece_sem);
    return ERR_OK;
}

static void upload_end(struct http_request *req)
{
    struct upload *u = http_data(req);
    uint8_t hash[32];
    char hex[SHA256_HEX_MAX];
    sha256_end(u->hash, hash);
    hex_format(hash, 32, hex);
    reply_text(req, arena_printf(http_arena(req), "%zu %s", u->n, hex));
}

static int full_piece(struct http_request *req, struct buf *piece, struct err *err)
{
    return err_set(err, ERR_NO_SPACE, 0, "the disk is full");
}

static int refuse_begin(struct http_request *req, struct err *err)
{
    return err_set(err, ERR_STALE_TOKEN, 0, "that token is stale");
}

static void never(struct http_request *req)
{
    fail_msg("handler called after its body failed");
}

static int64_t fd_read(void *arg, int64_t at, void *buf, size_t max)
{
    return pread((int)(intptr_t)arg, buf, max, at);
}

static void fd_close(void *arg)
{
    close((int)(intptr_t)arg);
}

static struct http_file file_of(int fd, int64_t size)
{
    const int own = dup(fd);
    return (struct http_file){
        .size = size, .read = fd_read, .close = fd_close, .arg = (void *)(intptr_t)own, .fd = own};
}

static void get_file(struct http_request *req)
{
    struct fixture *f = http_app(req);
    http_reply_file(req, file_of(f->file_fd, FILE_BYTES), "application/octet-stream", "\"etag1\"", FILE_MODIFIED_S,
                    "na\"me ä", (struct http_file_check){0});
}

static void get_nothing(struct http_request *req)
{
    struct fixture *f = http_app(req);
    http_reply_file(req, file_of(f->file_fd, 0), "text/plain", NULL, 0, NULL, (struct http_file_check){0});
}

static void get_short(struct http_request *req)
{
    struct fixture *f = http_app(req);
    http_reply_file(req, file_of(f->file_fd, FILE_BYTES + 10), "text/plain", NULL, 0, NULL,
                    (struct http_file_check){0});
}

/* LARGE_BYTES, looked at: a /spoilt file turns out to be so at its end. */
static bool large_add(void *arg, const void *p, size_t n, bool last)
{
    return true;
}

static bool spoilt_add(void *arg, const void *p, size_t n, bool last)
{
    return !last;
}

static void large_free(void *arg)
{
    struct fixture *f = arg;
    sem_post(&f->freed_sem);
}

static void get_large(struct http_request *req)
{
    struct fixture *f = http_app(req);
    const bool spoilt = strcmp(http_path(req), "/spoilt") == 0;
    http_reply_file(req, file_of(f->large_fd, LARGE_BYTES + (strcmp(http_path(req), "/large-short") == 0 ? 10 : 0)),
                    "application/octet-stream", "\"large\"", FILE_MODIFIED_S, NULL,
                    (struct http_file_check){.add = spoilt ? spoilt_add : large_add, .free = large_free, .arg = f});
}

/* LARGE_BYTES that nobody looks at, of a file that the kernel may send. */
struct passed {
    struct fixture *f;
    int fd;
    int folder; /* which no kernel sends */
};

static int64_t passed_read(void *arg, int64_t at, void *buf, size_t max)
{
    const struct passed *p = arg;
    return pread(p->fd, buf, max, at);
}

static void passed_close(void *arg)
{
    struct passed *p = arg;
    close(p->fd);
    close(p->folder);
    sem_post(&p->f->freed_sem);
    free(p);
}

static void get_passed(struct http_request *req)
{
    struct passed *p = malloc(sizeof *p);
    *p = (struct passed){.f = http_app(req)};
    p->fd = dup(p->f->large_fd);
    p->folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct http_file file = {.size = LARGE_BYTES, .read = passed_read, .close = passed_close, .arg = p, .fd = p->fd};
    if (strcmp(http_path(req), "/passed-short") == 0)
        file.size += 10;
    else if (strcmp(http_path(req), "/read") == 0)
        file.fd = -1;
    else if (strcmp(http_path(req), "/unpassed") == 0)
        file.fd = p->folder;
    http_reply_file(req, file, "application/octet-stream", "\"large\"", FILE_MODIFIED_S, NULL,
                    (struct http_file_check){0});
}

struct counter {
    struct fixture *f;
    unsigned calls;
    bool endless, flood;
};

static int64_t counter_read(void *arg, void *buf, size_t max)
{
    struct counter *c = arg;
    c->calls++;
    if (c->flood) {
        memset(buf, 'x', max);
        return (int64_t)max;
    }
    if (c->endless)
        return c->calls == 1 ? snprintf(buf, max, "first") : 0;
    if (c->calls % 2) /* every other time there is nothing yet */
        return 0;
    if (c->calls > 2 * STREAM_CHUNKS)
        return -1;
    return snprintf(buf, max, "chunk %u\n", c->calls / 2);
}

static void counter_free(void *arg)
{
    struct counter *c = arg;
    sem_post(&c->f->freed_sem);
    free(c);
}

static void get_stream(struct http_request *req)
{
    struct counter *c = calloc(1, sizeof *c);
    c->f = http_app(req);
    c->endless = strcmp(http_path(req), "/endless") == 0;
    c->flood = strcmp(http_path(req), "/flood") == 0;
    http_reply_stream(req, 200, "text/plain",
                      (struct http_stream){.read = counter_read, .free = counter_free, .arg = c, .retry_ms = 1});
}

static const char *const tags[] = {"tag", NULL};
static const struct http_route routes[] = {
    {.method = "GET", .path = "/ping", .handle = get_ping},
    {.method = "GET", .path = "/echo/{a}/x/{b}", .flags = HTTP_JSON_BODY, .handle = get_echo, .repeatable = tags},
    {.method = "POST", .path = "/json", .flags = HTTP_JSON_BODY, .body_max = 1024, .handle = post_json},
    {.method = "POST", .path = "/big", .body_max = BIG_BYTES, .handle = post_empty},
    {.method = "DELETE", .path = "/json", .handle = post_empty},
    {.method = "POST", .path = "/defer", .body_max = 64, .handle = post_defer},
    {.method = "POST", .path = "/later", .flags = HTTP_JSON_BODY, .body_max = 64, .handle = post_defer},
    {.method = "POST", .path = "/much", .flags = HTTP_JSON_BODY, .handle = post_much},
    {.method = "GET", .path = "/hold", .flags = HTTP_JSON_BODY, .handle = get_hold},
    {.method = "POST", .path = "/hold", .body_max = BIG_BYTES, .handle = get_hold},
    {.method = "POST",
     .path = "/upload",
     .flags = HTTP_STREAM_BODY | HTTP_BYTES_BODY,
     .handle = upload_end,
     .begin = upload_begin,
     .on_body = upload_piece},
    {.method = "POST", .path = "/full", .flags = HTTP_STREAM_BODY, .handle = never, .on_body = full_piece},
    {.method = "POST", .path = "/stale", .flags = HTTP_STREAM_BODY, .handle = never, .begin = refuse_begin},
    {.method = "GET", .path = "/file", .handle = get_file},
    {.method = "GET", .path = "/large", .handle = get_large},
    {.method = "GET", .path = "/large-short", .handle = get_large},
    {.method = "GET", .path = "/spoilt", .handle = get_large},
    {.method = "GET", .path = "/passed", .handle = get_passed},
    {.method = "GET", .path = "/passed-short", .handle = get_passed},
    {.method = "GET", .path = "/read", .handle = get_passed},
    {.method = "GET", .path = "/unpassed", .handle = get_passed},
    {.method = "GET", .path = "/nothing", .handle = get_nothing},
    {.method = "GET", .path = "/short", .handle = get_short},
    {.method = "GET", .path = "/stream", .handle = get_stream},
    {.method = "GET", .path = "/endless", .handle = get_stream},
    {.method = "GET", .path = "/flood", .handle = get_stream},
};

/* Server */

static int setup(void **state, int64_t patience_us)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err = {0};
    static const char *const hosts[] = {"haul.example"};
    sem_init(&f->held_sem, 0, 0);
    sem_init(&f->freed_sem, 0, 0);
    sem_init(&f->first_sem, 0, 0);
    sem_init(&f->piece_sem, 0, 0);
    f->file = malloc(FILE_BYTES);
    for (size_t i = 0; i < FILE_BYTES; i++)
        f->file[i] = (unsigned char)(i * 31 + (i >> 8));
    f->file_fd = memfd_create("file", MFD_CLOEXEC);
    assert_int_equal(write(f->file_fd, f->file, FILE_BYTES), FILE_BYTES);
    f->large_fd = memfd_create("large", MFD_CLOEXEC); /* zeros, but for its ends */
    assert_int_equal(ftruncate(f->large_fd, LARGE_BYTES), 0);
    assert_int_equal(pwrite(f->large_fd, "begin", 5, 0), 5);
    assert_int_equal(pwrite(f->large_fd, "end", 3, LARGE_BYTES - 3), 3);
    /* a queue of two: the refusals of a full pool are part of every test */
    assert_int_equal(pool_new("bytes", 2, 2, &f->pool, &err), ERR_OK);
    struct http_config config = {.host = "127.0.0.1",
                                 .routes = routes,
                                 .n_routes = sizeof routes / sizeof routes[0],
                                 .app = f,
                                 .bytes_pool = f->pool,
                                 .bodies_max = BODIES_BYTES,
                                 .patience_us = patience_us,
                                 .hosts = hosts,
                                 .n_hosts = 1};
    int rc = http_start(&config, &f->server, &err);
    if (rc != ERR_OK)
        fail_msg("%s", err.msg);
    *state = f;
    return 0;
}

int fixture_setup(void **state)
{
    return setup(state, 0);
}

int fixture_setup_impatient(void **state)
{
    return setup(state, 100000);
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    http_stop(f->server);
    pool_free(f->pool);
    close(f->file_fd);
    close(f->large_fd);
    free(f->file);
    sem_destroy(&f->held_sem);
    sem_destroy(&f->freed_sem);
    sem_destroy(&f->first_sem);
    sem_destroy(&f->piece_sem);
    free(f);
    return 0;
}

/* Client */

int client_open(const struct fixture *f)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(http_port(f->server))};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    struct timeval tv = {.tv_sec = 60}; /* a hang becomes a failure */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    return fd;
}

/* What the server does not read any more is not an error: its answer is what the test looks at. */
void client_send(int fd, const void *p, size_t n)
{
    const char *s = p;
    while (n) {
        ssize_t m = send(fd, s, n, MSG_NOSIGNAL);
        if (m <= 0)
            return;
        s += m;
        n -= (size_t)m;
    }
}

void client_puts(int fd, const char *s)
{
    client_send(fd, s, strlen(s));
}

const char *answer_header(const struct answer *a, const char *name, char *ret, size_t size)
{
    size_t n = strlen(name);
    for (const char *s = strstr(a->head, "\r\n"); s && s[2]; s = strstr(s + 2, "\r\n"))
        if (strncasecmp(s + 2, name, n) == 0 && s[2 + n] == ':') {
            const char *value = s + 3 + n + strspn(s + 3 + n, " ");
            snprintf(ret, size, "%.*s", (int)strcspn(value, "\r"), value);
            return ret;
        }
    return NULL;
}

static bool read_byte(int fd, char *c)
{
    return recv(fd, c, 1, 0) == 1;
}

static bool read_exactly(int fd, struct buf *out, size_t n)
{
    char block[65536];
    while (n) {
        ssize_t m = recv(fd, block, n < sizeof block ? n : sizeof block, 0);
        if (m <= 0)
            return false;
        buf_add(out, block, (size_t)m);
        n -= (size_t)m;
    }
    return true;
}

static bool read_chunks(int fd, struct buf *out)
{
    for (;;) {
        char line[64];
        size_t n = 0;
        while (n < sizeof line - 1 && read_byte(fd, &line[n]) && line[n] != '\n')
            n++;
        line[n] = '\0';
        if (n == 0)
            return false;
        size_t size = strtoul(line, NULL, 16);
        struct buf crlf;
        buf_init(&crlf, 16);
        bool ok = read_exactly(fd, out, size) && read_exactly(fd, &crlf, 2);
        buf_release(&crlf);
        if (!ok || size == 0)
            return ok;
    }
}

struct answer client_read(int fd, bool no_body)
{
    struct answer a = {0};
    size_t n = 0;
    while (n < sizeof a.head - 1 && read_byte(fd, &a.head[n])) {
        n++;
        if (n >= 4 && memcmp(a.head + n - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    if (n < 16)
        return a;
    a.status = (int)strtol(a.head + 9, NULL, 10);
    char value[256];
    struct buf body;
    buf_init(&body, 64 << 20);
    buf_adds(&body, "");
    bool bodiless = no_body || a.status == 204 || a.status == 304 || a.status == 100;
    if (!bodiless && answer_header(&a, "Content-Length", value, sizeof value)) {
        if (!read_exactly(fd, &body, strtoul(value, NULL, 10)))
            a.status = -a.status; /* cut off */
    } else if (!bodiless && answer_header(&a, "Transfer-Encoding", value, sizeof value)) {
        if (!read_chunks(fd, &body))
            a.status = -a.status;
    }
    a.n = body.len;
    buf_addc(&body, '\0');
    a.body = buf_take(&body);
    return a;
}

bool client_closed(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

struct answer ask(const struct fixture *f, const char *request)
{
    int fd = client_open(f);
    client_puts(fd, request);
    struct answer a = client_read(fd, strncmp(request, "HEAD", 4) == 0);
    close(fd);
    return a;
}

void expect_problem(struct answer *a, int status, const char *code)
{
    char value[256], type[128];
    struct err err = {0};
    json_t *json = NULL;
    if (a->status != status)
        print_error("%s%s\n", a->head, a->body ? a->body : "");
    assert_int_equal(a->status, status);
    assert_string_equal(answer_header(a, "Content-Type", value, sizeof value), "application/problem+json");
    assert_string_equal(answer_header(a, "X-Content-Type-Options", value, sizeof value), "nosniff");
    assert_int_equal(json_parse(a->body, a->n, &json, &err), ERR_OK);
    snprintf(type, sizeof type, "urn:haul:problem:%s", code);
    assert_string_equal(json_string_value(json_object_get(json, "type")), type);
    assert_string_equal(json_string_value(json_object_get(json, "code")), code);
    assert_int_equal(json_integer_value(json_object_get(json, "status")), status);
    assert_non_null(json_string_value(json_object_get(json, "title")));
    assert_non_null(json_string_value(json_object_get(json, "detail")));
    assert_string_equal(json_string_value(json_object_get(json, "request_id")),
                        answer_header(a, "X-Request-Id", value, sizeof value));
    json_decref(json);
    free(a->body);
    a->body = NULL;
}
