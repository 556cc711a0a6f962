/* GET / and the other pages: the dashboard, one app whose first document is the same for all of them. It asks nobody but this server. */
#include "api/dashboard.h"
#include "api/request.h"
#include "api/routes.h"
#include <strings.h>

/* No code and no style in the document, nothing from elsewhere, in nobody's frame. */
#define POLICY                                                                                                         \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "          \
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

static bool is_zero(const char *weight, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (weight[i] >= '1' && weight[i] <= '9')
            return false;
    return true;
}

/* -1: `coding` is not what this element names; else whether it is allowed. */
static int element_allows(const char *element, size_t n, const char *coding)
{
    size_t n_name = strcspn(element, ",; \t");
    if (n_name != strlen(coding) || strncasecmp(element, coding, n_name) != 0)
        return -1;
    const char *q = memchr(element, '=', n);
    return !q || !is_zero(q + 1, (size_t)(element + n - q - 1));
}

bool dashboard_takes_gzip(const char *accept_encoding)
{
    int by_name = -1, by_star = -1;
    for (const char *s = accept_encoding ? accept_encoding : ""; *s;) {
        s += strspn(s, ", \t");
        size_t n = strcspn(s, ",");
        int named = element_allows(s, n, "gzip"), star = element_allows(s, n, "*");
        by_name = named >= 0 ? named : by_name;
        by_star = star >= 0 ? star : by_star;
        s += n;
    }
    return by_name >= 0 ? by_name == 1 : by_star == 1;
}

static const struct dashboard_file *find(const char *name)
{
    for (size_t i = 0; i < dashboard_n_files; i++)
        if (strcmp(dashboard_files[i].name, name) == 0)
            return &dashboard_files[i];
    return NULL;
}

/* @param lasting  its name changes with its bytes */
static void answer(struct http_request *req, const struct dashboard_file *file, bool lasting)
{
    bool packed = dashboard_takes_gzip(http_header(req, "Accept-Encoding"));
    const struct dashboard_bytes *bytes = packed ? &file->gzip : &file->plain;
    char etag[64];
    snprintf(etag, sizeof(etag), "\"%s%s\"", file->hash, packed ? "-gzip" : "");
    if (packed)
        http_set_header(req, "Content-Encoding", "gzip");
    http_set_header(req, "Vary", "Accept-Encoding");
    http_set_header(req, "Cache-Control", lasting ? "public, max-age=31536000, immutable" : "no-cache");
    http_set_header(req, "Content-Security-Policy", POLICY);
    http_set_header(req, "X-Frame-Options", "DENY");
    http_set_header(req, "Referrer-Policy", "no-referrer");
    http_set_header(req, "Cross-Origin-Opener-Policy", "same-origin");
    reply_bytes(req, file->content_type, etag, bytes->p, bytes->n);
}

void dashboard_page(struct http_request *req)
{
    if (api_enter(req))
        answer(req, find("index.html"), false);
}

void dashboard_asset(struct http_request *req)
{
    if (!api_enter(req))
        return;
    const struct dashboard_file *file = find(http_param(req, "name"));
    struct err err;
    if (file) {
        answer(req, file, strcmp(file->name, "index.html") != 0);
    } else {
        err_set(&err, ERR_NOT_FOUND, 0, "this version of the dashboard has no such file: load the page again");
        reply_err(req, &err);
    }
}
