/* A request's head as the wrapper sees it, after libmicrohttpd: "METHOD TARGET VERSION", then "Name: value" lines. */
#include "fuzz.h"
#include "http/internal.h"

static void nothing(struct http_request *req)
{
    (void)req;
}

static const struct http_route routes[] = {
    {.method = "POST", .path = "/v1/jobs", .flags = HTTP_JSON_BODY, .body_max = 1u << 20, .handle = nothing},
    {.method = "GET", .path = "/v1/jobs", .handle = nothing},
    {.method = "GET", .path = "/v1/jobs/{job_id}", .handle = nothing},
    {.method = "PUT",
     .path = "/v1/jobs/{job_id}/attempts/{n}/outputs/{name}",
     .flags = HTTP_STREAM_BODY | HTTP_BYTES_BODY,
     .handle = nothing},
};

/* The next line of what is left, NUL-terminated in the arena; NULL at the end. As from libmicrohttpd: no NUL within. */
static char *line_next(struct arena *arena, const char **p, const char *end)
{
    if (*p >= end)
        return NULL;
    const char *newline = memchr(*p, '\n', (size_t)(end - *p));
    size_t n = (size_t)((newline ? newline : end) - *p);
    char *line = arena_strndup(arena, *p, n);
    *p = newline ? newline + 1 : end;
    return line;
}

static void headers_read(struct http_request *req, const char *p, const char *end)
{
    for (char *line; req->header.n < HTTP_PAIRS_MAX && (line = line_next(req->arena, &p, end));) {
        char *colon = strchr(line, ':');
        if (!colon)
            continue;
        *colon = '\0';
        http_pairs_add(req, &req->header, line, colon + 1 + strspn(colon + 1, " \t"));
    }
}

static void must_be_clean(const char *s)
{
    for (; *s; s++)
        MUST((unsigned char)*s >= 0x20 && *s != 0x7f);
}

/* What passed every check says where its body ends, and nothing of its path leads elsewhere. */
static void accepted(const struct http_request *req)
{
    unsigned lengths = 0, encodings = 0;
    for (size_t i = 0; i < req->header.n; i++) {
        lengths += strcasecmp(req->header.items[i].name, "Content-Length") == 0;
        encodings += strcasecmp(req->header.items[i].name, "Transfer-Encoding") == 0;
    }
    MUST(lengths + encodings <= 1);
    MUST(req->route);
    for (size_t i = 0; i < req->param.n; i++) {
        const char *v = req->param.items[i].value;
        must_be_clean(v);
        MUST(*v && !strchr(v, '/') && strcmp(v, "..") != 0 && strcmp(v, ".") != 0);
    }
    for (size_t i = 0; i < req->query.n; i++)
        must_be_clean(req->query.items[i].value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char host[] = "127.0.0.1", method[32] = "", uri[4096] = "", version[32] = "";
    uint8_t segments[sizeof(routes) / sizeof(*routes)];
    struct http_server server = {
        .routes = routes, .n_routes = sizeof(segments), .route_segments = segments, .host = host};
    struct http_connection socket = {.fd = -1};
    struct http_request req = {.server = &server, .socket = &socket, .content_length = -1, .owes_reply = true};
    struct err err = {0};
    bool framing = false;
    const char *p = (const char *)data, *end = p + size;

    for (size_t i = 0; i < sizeof(segments); i++)
        segments[i] = http_route_segments(routes[i].path);
    req.arena = arena_new(HTTP_ARENA_MAX);
    MUST(req.arena);
    char *first = line_next(req.arena, &p, end);
    if (first && sscanf(first, "%31s %4095s %31s", method, uri, version) >= 2) {
        req.method = method;
        req.uri = uri;
        headers_read(&req, p, end);
        int rc = http_check_framing(&req, version, &framing, &err);
        if (rc == ERR_OK)
            rc = http_check_origin(&req, &err);
        if (rc == ERR_OK)
            rc = http_parse_uri(&req, &err);
        if (rc == ERR_OK)
            rc = http_find_route(&req, &err);
        if (rc == ERR_OK)
            rc = http_check_body(&req, &err);
        must_explain(rc, &err);
        if (rc == ERR_OK)
            accepted(&req);
    }
    arena_free(req.arena);
    return 0;
}
