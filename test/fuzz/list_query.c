/* GET /v1/jobs: what stands behind the question mark. */
#include "fuzz.h"
#include "api/list.h"
#include "http/internal.h"

static const char *const repeatable[] = {"label", NULL};
static const struct http_route route = {.method = "GET", .path = "/v1/jobs", .repeatable = repeatable};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char host[] = "127.0.0.1";
    uint8_t segments = http_route_segments(route.path);
    struct http_server server = {.routes = &route, .n_routes = 1, .route_segments = &segments, .host = host};
    struct http_request req = {.server = &server, .method = "GET", .content_length = -1};
    struct job_filter f = {0};
    struct err err = {0};
    req.arena = arena_new(HTTP_ARENA_MAX);
    MUST(req.arena);
    char *query = arena_strndup(req.arena, (const char *)data, size);
    req.uri = arena_printf(req.arena, "/v1/jobs?%s", query);
    MUST(query && req.uri);
    int rc = http_parse_uri(&req, &err);
    if (rc == ERR_OK)
        rc = http_find_route(&req, &err);
    if (rc == ERR_OK)
        rc = list_parse(&req, &f, &err);
    must_explain(rc, &err);
    if (rc == ERR_OK) {
        MUST(f.limit >= 1 && f.limit <= 1000 && f.status >= -1 && f.status < JOB_STATUS_COUNT);
        MUST(f.n_labels <= FILTER_LABELS_MAX);
        for (size_t i = 0; i < f.n_labels; i++)
            MUST(f.labels[i].key && *f.labels[i].key && strlen(f.labels[i].key) <= JOB_LABEL_KEY_MAX);
    }
    arena_free(req.arena);
    return 0;
}
