/* What is refused before routing. libmicrohttpd 0.9.75 lets pass what makes two HTTP servers disagree on where a body ends:
 * Transfer-Encoding beside Content-Length, two Content-Lengths, a space before the colon. */
#include "base/auto.h"
#include "http/internal.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/socket.h>

static bool is_token(const char *s)
{
    static const bool may[256] = {
        ['0' ... '9'] = true, ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['!'] = true, ['#'] = true, ['$'] = true,
        ['%'] = true,         ['&'] = true,         ['\''] = true,        ['*'] = true, ['+'] = true, ['-'] = true,
        ['.'] = true,         ['^'] = true,         ['_'] = true,         ['`'] = true, ['|'] = true, ['~'] = true};
    size_t n = 0;
    while (may[(unsigned char)s[n]])
        n++;
    return n > 0 && !s[n];
}

static unsigned count(const struct http_request *req, const char *name, const char **ret_value)
{
    unsigned n = 0;
    for (size_t i = 0; i < req->header.n; i++)
        if (http_name_is(req->header.items[i].name, name) && n++ == 0)
            *ret_value = req->header.items[i].value;
    return n;
}

static int check_headers(struct http_request *req, struct err *err)
{
    size_t total = strlen(req->uri);
    for (size_t i = 0; i < req->header.n; i++) {
        const struct http_pair *h = &req->header.items[i];
        if (!h->name || !h->value)
            return err_set(err, ERR_NO_MEMORY, 0, "no memory for the headers");
        if (!is_token(h->name))
            return err_set(err, ERR_MALFORMED, 0, "a header name holds a character that is not allowed there");
        total += strlen(h->name) + strlen(h->value) + 4;
    }
    if (total > HTTP_HEADERS_MAX || req->header.n >= HTTP_PAIRS_MAX)
        return err_set(err, ERR_HEADERS_TOO_LARGE, 0, "the headers are over the limit of %zu bytes or %d lines",
                       HTTP_HEADERS_MAX, HTTP_PAIRS_MAX);
    return ERR_OK;
}

static int read_length(const char *s, int64_t *ret)
{
    int64_t n = 0;
    if (!*s)
        return -1;
    for (; *s; s++)
        if (!isdigit((unsigned char)*s) || __builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *s - '0', &n))
            return -1;
    *ret = n;
    return 0;
}

int http_check_framing(struct http_request *req, const char *version, bool *ret_framing, struct err *err)
{
    const char *length = NULL, *encoding = NULL, *host = NULL, *expect = NULL, *type = NULL;
    unsigned n_length = count(req, "Content-Length", &length), n_encoding = count(req, "Transfer-Encoding", &encoding);
    req->has_body = n_length || n_encoding;
    req->expects_continue = count(req, "Expect", &expect) > 0 && strcasecmp(expect, "100-continue") == 0;
    *ret_framing = true;
    int rc = check_headers(req, err);
    if (rc != ERR_OK)
        return rc;
    if (n_length && n_encoding)
        return err_set(err, ERR_MALFORMED, 0, "Transfer-Encoding together with Content-Length");
    if (n_length > 1)
        return err_set(err, ERR_MALFORMED, 0, "more than one Content-Length");
    if (n_encoding && (n_encoding > 1 || strcasecmp(encoding, "chunked") != 0 || strcmp(version, "HTTP/1.1") != 0))
        return err_set(err, ERR_MALFORMED, 0, "the only Transfer-Encoding understood is 'chunked', with HTTP/1.1");
    if (n_length && read_length(length, &req->content_length) < 0)
        return err_set(err, ERR_MALFORMED, 0, "Content-Length is no number");
    if (count(req, "Host", &host) != 1)
        return err_set(err, ERR_MALFORMED, 0, "exactly one Host header is required");
    if (count(req, "Content-Type", &type) > 1)
        return err_set(err, ERR_MALFORMED, 0, "more than one Content-Type");
    req->has_body = n_encoding || req->content_length > 0;
    *ret_framing = false;
    return ERR_OK;
}

/* Host and Origin: no web page, and no name that someone points at us, may use a server that listens for its neighbours. */

static bool is_local_address(const struct http_request *req, const char *host)
{
    struct sockaddr_storage local;
    socklen_t n = sizeof local;
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127)
        return true;
    if (inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6))
        return true;
    /* the address this very connection came to: with a wildcard listener there are several */
    if (getsockname(req->socket->fd, (struct sockaddr *)&local, &n) < 0)
        return false;
    if (local.ss_family == AF_INET)
        return inet_pton(AF_INET, host, &v4) == 1 &&
               v4.s_addr == ((struct sockaddr_in *)(void *)&local)->sin_addr.s_addr;
    const struct in6_addr *at = &((struct sockaddr_in6 *)(void *)&local)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(at) && inet_pton(AF_INET, host, &v4) == 1)
        return memcmp(&v4, at->s6_addr + 12, 4) == 0;
    return inet_pton(AF_INET6, host, &v6) == 1 && memcmp(&v6, at, sizeof v6) == 0;
}

static bool host_known(const struct http_request *req, const char *value)
{
    char host[256];
    size_t n = strlen(value);
    if (n == 0 || n >= sizeof host)
        return false;
    for (size_t i = 0; i < req->server->n_hosts; i++)
        if (strcasecmp(value, req->server->hosts[i]) == 0)
            return true;
    const char *end = value[0] == '[' ? strchr(value, ']') : strchr(value, ':');
    const char *begin = value[0] == '[' ? value + 1 : value;
    if (value[0] == '[' && !end)
        return false;
    n = end ? (size_t)(end - begin) : strlen(begin);
    memcpy(host, begin, n);
    host[n] = '\0';
    const char *port = end ? end + (*end == ']') : "";
    if (*port && (*port != ':' || strspn(port + 1, "0123456789") != strlen(port + 1)))
        return false;
    if (strcasecmp(host, "localhost") == 0 || strcasecmp(host, req->server->host) == 0)
        return true;
    for (size_t i = 0; i < req->server->n_hosts; i++)
        if (strcasecmp(host, req->server->hosts[i]) == 0)
            return true;
    return is_local_address(req, host);
}

int http_check_origin(struct http_request *req, struct err *err)
{
    const char *host = http_header(req, "Host"), *origin = http_header(req, "Origin");
    if (!host_known(req, host))
        return err_set(err, ERR_MISDIRECTED, 0, "this server does not answer for the host '%.100s'", host);
    if (!origin)
        return ERR_OK;
    const char *rest = strncasecmp(origin, "http://", 7) == 0    ? origin + 7
                       : strncasecmp(origin, "https://", 8) == 0 ? origin + 8
                                                                 : NULL;
    if (!rest || strcasecmp(rest, host) != 0)
        return err_set(err, ERR_FORBIDDEN, 0, "requests from the origin '%.100s' are refused", origin);
    return ERR_OK;
}

static bool media_type_is(const char *value, const char *wanted)
{
    size_t n = strlen(wanted);
    if (!value || strncasecmp(value, wanted, n) != 0)
        return false;
    value += n;
    value += strspn(value, " \t");
    return *value == '\0' || *value == ';';
}

int http_check_body(struct http_request *req, struct err *err)
{
    const struct http_route *route = req->route;
    const char *type = http_header(req, "Content-Type");
    if ((route->flags & HTTP_BYTES_BODY) && !media_type_is(type, "application/octet-stream"))
        return err_set(err, ERR_MEDIA_TYPE, 0, "the content type must be application/octet-stream");
    if ((route->flags & HTTP_OFFSET_BODY) && !media_type_is(type, "application/offset+octet-stream"))
        return err_set(err, ERR_MEDIA_TYPE, 0, "the content type must be application/offset+octet-stream");
    if ((route->flags & HTTP_JSON_BODY) && req->has_body && !media_type_is(type, "application/json"))
        return err_set(err, ERR_MEDIA_TYPE, 0, "the content type must be application/json");
    if (!(route->flags & HTTP_STREAM_BODY) && req->content_length >= 0 &&
        (uint64_t)req->content_length > (uint64_t)route->body_max)
        return err_set(err, ERR_TOO_LARGE, 0, "the body is over the limit of %zu bytes", route->body_max);
    return ERR_OK;
}
