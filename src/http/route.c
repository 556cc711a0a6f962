/* The request target: decoded once, by us, segment by segment. */
#include "base/auto.h"
#include "base/text.h"
#include "http/internal.h"
#include <ctype.h>

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10 : -1;
}

/* NULL when it holds a broken escape, a control character or what is not UTF-8. */
static char *decode(struct http_request *req, const char *s, size_t n, bool plus)
{
    char *text = arena_alloc(req->arena, n + 1);
    size_t m = 0;
    if (!text)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c == '%') {
            int high = n - i > 2 ? hex_digit(s[i + 1]) : -1;
            int low = n - i > 2 ? hex_digit(s[i + 2]) : -1;
            if (high < 0 || low < 0)
                return NULL;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return NULL;
        text[m++] = c;
    }
    text[m] = '\0';
    return utf8_valid(text, m) ? text : NULL;
}

static int parse_query(struct http_request *req, const char *s, struct err *err)
{
    while (*s) {
        size_t n = strcspn(s, "&");
        if (n) {
            const char *eq = memchr(s, '=', n);
            size_t n_name = eq ? (size_t)(eq - s) : n;
            char *name = decode(req, s, n_name, true);
            char *value = eq ? decode(req, eq + 1, n - n_name - 1, true) : arena_strdup(req->arena, "");
            if (!name || !value)
                return err_set(err, ERR_MALFORMED, 0,
                               "the query holds a broken escape or a character that is not allowed");
            if (req->query.n >= HTTP_PAIRS_MAX || !http_pairs_add(req, &req->query, name, value))
                return err_set(err, ERR_MALFORMED, 0, "too many query parameters");
        }
        s += n + (s[n] == '&');
    }
    return ERR_OK;
}

int http_parse_uri(struct http_request *req, struct err *err)
{
    const char *query = strchr(req->uri, '?');
    size_t n = query ? (size_t)(query - req->uri) : strlen(req->uri);
    req->path = arena_strndup(req->arena, req->uri, n);
    if (!req->path)
        return err_set(err, ERR_NO_MEMORY, 0, "no memory for the path");
    if (req->path[0] != '/' || strchr(req->uri, '#'))
        return err_set(err, ERR_MALFORMED, 0, "the request target must be a path");
    return query ? parse_query(req, query + 1, err) : ERR_OK;
}

static bool may_repeat(const struct http_route *route, const char *name)
{
    for (const char *const *k = route->repeatable; k && *k; k++)
        if (strcmp(*k, name) == 0)
            return true;
    return false;
}

int http_check_query(struct http_request *req, struct err *err)
{
    for (size_t i = 0; i < req->query.n; i++) {
        const char *name = req->query.items[i].name;
        for (size_t k = 0; k < i; k++)
            if (strcmp(req->query.items[k].name, name) == 0 && !may_repeat(req->route, name)) {
                err_field(err, name, "given more than once in the query: here it may be given once");
                err->code = ERR_MALFORMED;
                return ERR_MALFORMED;
            }
    }
    return ERR_OK;
}

/* Decoded segments of the path; "." and ".." and a hidden slash have no business in it. */
static int split(struct http_request *req, const char **segments, size_t *ret_n, struct err *err)
{
    const char *s = req->path + 1;
    size_t n = 0;
    for (;;) {
        size_t length = strcspn(s, "/");
        if (n == HTTP_SEGMENTS_MAX)
            return err_set(err, ERR_NOT_FOUND, 0, "no such path");
        char *text = decode(req, s, length, false);
        if (!text || strchr(text, '/') || strchr(text, '\\') || strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
            return err_set(err, ERR_MALFORMED, 0,
                           "the path holds '..', a broken escape or a character that is not allowed");
        segments[n++] = text;
        if (!s[length])
            break;
        s += length + 1;
    }
    *ret_n = n;
    return ERR_OK;
}

static bool is_param(const char *segment, size_t length)
{
    return segment[0] == '{' && length > 2 && segment[length - 1] == '}';
}

uint8_t http_route_segments(const char *pattern)
{
    uint8_t n = 0;
    for (; *pattern; pattern++)
        n = (uint8_t)(n + (*pattern == '/'));
    return n;
}

static bool match(const char *pattern, const char **segments, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (*pattern != '/')
            return false;
        pattern++;
        size_t length = strcspn(pattern, "/");
        if (is_param(pattern, length) ? !*segments[i]
                                      : strncmp(segments[i], pattern, length) != 0 || segments[i][length])
            return false;
        pattern += length;
    }
    return *pattern == '\0';
}

/* Of a pattern that matches. */
static bool take_params(struct http_request *req, const char *pattern, const char **segments, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t length = strcspn(++pattern, "/");
        if (is_param(pattern, length) &&
            !http_pairs_add(req, &req->param, arena_strndup(req->arena, pattern + 1, length - 2), segments[i]))
            return false;
        pattern += length;
    }
    return true;
}

static int refuse_method(struct http_request *req, const char *allow, struct err *err)
{
    http_set_header(req, "Allow", allow);
    return err_set(err, ERR_METHOD, 0, "this path allows %s", allow);
}

static bool fits(const struct http_request *req, const struct http_route *route)
{
    if (strcmp(route->method, "HEAD") == 0)
        return req->head;
    if (strcmp(route->method, req->method) == 0)
        return true;
    /* for clients behind what knows GET and POST only */
    const char *meant = (route->flags & HTTP_OVERRIDE) && strcmp(req->method, "POST") == 0
                            ? http_pairs_get(&req->header, "X-HTTP-Method-Override", true)
                            : NULL;
    return meant && strcmp(route->method, meant) == 0;
}

int http_find_route(struct http_request *req, struct err *err)
{
    const char *segments[HTTP_SEGMENTS_MAX];
    size_t n = 0;
    const char *allow = NULL;
    int rc = split(req, segments, &n, err);
    if (rc != ERR_OK)
        return rc;
    for (size_t i = 0; i < req->server->n_routes; i++) {
        const struct http_route *route = &req->server->routes[i];
        if (req->server->route_segments[i] != n || !match(route->path, segments, n))
            continue;
        for (const char *const *h = route->headers; h && *h; h += 2)
            http_set_header(req, h[0], h[1]);
        if (fits(req, route)) {
            if (!take_params(req, route->path, segments, n))
                return err_set(err, ERR_NO_MEMORY, 0, "no memory for the path");
            req->route = route;
            return ERR_OK;
        }
        const char *also = strcmp(route->method, "GET") == 0 ? "GET, HEAD" : route->method;
        allow = allow ? arena_printf(req->arena, "%s, %s", allow, also) : also;
    }
    if (allow)
        return refuse_method(req, allow, err);
    return err_set(err, ERR_NOT_FOUND, 0, "no such path");
}
