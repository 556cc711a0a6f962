#include "blob/s3/place.h"
#include "base/auto.h"
#include "base/timefmt.h"
#include <ctype.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#define FIELD "blob"

struct parts {
    char endpoint[400], style[16];
};

static bool bucket_good(const char *s)
{
    size_t n = strlen(s);

    for (const char *c = s; *c; c++)
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && !strchr(".-", *c))
            return false;
    return n >= 3 && n <= 63 && isalnum((unsigned char)s[0]) && isalnum((unsigned char)s[n - 1]);
}

static bool copy(const char *value, char *ret, size_t size)
{
    size_t n = strlen(value);

    if (n == 0 || n >= size)
        return false;
    memcpy(ret, value, n + 1);
    return true;
}

static int duration(const char *name, const char *value, usec min, usec max, usec *ret, struct err *err)
{
    struct err why = {0};

    if (duration_parse(value, name, ret, &why) != ERR_OK)
        return err_field(err, FIELD, "%s: %.200s", name, why.msg);
    return *ret >= min && *ret <= max ? ERR_OK
                                      : err_field(err, FIELD, "%s must be from %llds to %llds", name,
                                                  (long long)(min / USEC_PER_SEC), (long long)(max / USEC_PER_SEC));
}

static int take_direct(struct s3_place *p, const char *value, struct err *err)
{
    p->direct = strcmp(value, "no") != 0;
    p->direct_up = strcmp(value, "yes") == 0;
    return p->direct == p->direct_up || strcmp(value, "downloads") == 0
               ? ERR_OK
               : err_field(err, FIELD, "direct must be yes, downloads or no");
}

static int take(struct s3_place *p, struct parts *parts, const char *name, const char *value, struct err *err)
{
    bool good = true;

    if (strcmp(name, "endpoint") == 0)
        good = copy(value, parts->endpoint, sizeof(parts->endpoint));
    else if (strcmp(name, "region") == 0)
        good = copy(value, p->region, sizeof(p->region)) &&
               strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(value);
    else if (strcmp(name, "style") == 0)
        good = copy(value, parts->style, sizeof(parts->style)) && (!strcmp(value, "path") || !strcmp(value, "virtual"));
    else if (strcmp(name, "credentials") == 0)
        good = copy(value, p->credentials, sizeof(p->credentials));
    else if (strcmp(name, "ca") == 0)
        good = copy(value, p->ca, sizeof(p->ca));
    else if (strcmp(name, "direct") == 0)
        return take_direct(p, value, err);
    else if (strcmp(name, "timeout") == 0)
        return duration(name, value, USEC_PER_SEC, 600 * USEC_PER_SEC, &p->timeout_us, err);
    else if (strcmp(name, "abandoned") == 0)
        return duration(name, value, USEC_PER_SEC, INT64_C(365) * 86400 * USEC_PER_SEC, &p->abandoned_us, err);
    else
        return err_field(err, FIELD,
                         "'%.40s' is none of endpoint, region, style, credentials, ca, direct, timeout, abandoned",
                         name);
    return good ? ERR_OK
                : err_field(err, FIELD, "%s has a bad value%s", name,
                            strcmp(name, "style") == 0 ? ": it must be path or virtual" : "");
}

static int take_query(struct s3_place *p, struct parts *parts, char *query, struct err *err)
{
    char *rest = query;
    int rc = ERR_OK;

    for (char *pair; rc == ERR_OK && (pair = strsep(&rest, "&"));) {
        char *value = strchr(pair, '=');

        if (!*pair)
            continue;
        if (!value)
            return err_field(err, FIELD, "'%.40s' has no value", pair);
        *value++ = '\0';
        char *plain = curl_easy_unescape(NULL, value, 0, NULL);

        rc = plain ? take(p, parts, pair, plain, err) : err_set(err, ERR_NO_MEMORY, 0, "blob");
        curl_free(plain);
    }
    return rc;
}

static int set_prefix(struct s3_place *p, const char *path, struct err *err)
{
    size_t n = strlen(path);

    while (n > 0 && path[n - 1] == '/')
        n--;
    if (n > 400)
        return err_field(err, FIELD, "the prefix must have at most 400 bytes");
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)path[i]) && !strchr("-_./", path[i]))
            return err_field(err, FIELD, "the prefix may have letters, digits and -_./");
    if (n > 0)
        snprintf(p->prefix, sizeof(p->prefix), "%.*s/", (int)n, path);
    return ERR_OK;
}

/** Scheme and host of the endpoint; a port that is the scheme's own is not said, as curl does not. */
static int set_origin(struct s3_place *p, const char *endpoint, bool virtual, struct err *err)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL, *user = NULL, *query = NULL;
    bool good = u && curl_url_set(u, CURLUPART_URL, endpoint, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK && strcmp(path, "/") == 0 &&
                (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) && strlen(host) < 200 &&
                curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER &&
                curl_url_get(u, CURLUPART_QUERY, &query, 0) == CURLUE_NO_QUERY;

    if (good) {
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT);
        snprintf(p->host, sizeof(p->host), "%s%s%s%s%s", virtual ? p->bucket : "", virtual ? "." : "", host,
                 port ? ":" : "", port ? port : "");
        snprintf(p->origin, sizeof(p->origin), "%s://%s", scheme, p->host);
        snprintf(p->root, sizeof(p->root), virtual ? "/" : "/%s/", p->bucket);
        p->loopback = strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0;
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(path);
    curl_free(user);
    curl_free(query);
    curl_url_cleanup(u);
    return good ? ERR_OK
                : err_field(err, FIELD, "endpoint must be like https://s3.example:9000, without user, path and query");
}

int s3_place_parse(const char *url, struct s3_place *ret, struct err *err)
{
    struct parts parts = {.endpoint = ""};
    const char *region = getenv("AWS_REGION");

    *ret = (struct s3_place){.direct = true,
                             .direct_up = true,
                             .timeout_us = 20 * USEC_PER_SEC,
                             .abandoned_us = INT64_C(86400) * USEC_PER_SEC};
    if (strncmp(url, "s3://", 5) != 0)
        return err_field(err, FIELD, "must begin with s3://");
    AUTO_FREE char *text = strdup(url + 5);

    if (!text)
        return err_set(err, ERR_NO_MEMORY, 0, "blob");
    char *query = text, *bucket = strsep(&query, "?"), *path = bucket;

    (void)strsep(&path, "/");
    if (!bucket_good(bucket))
        return err_field(err, FIELD,
                         "must be like s3://bucket/prefix: a bucket has 3 to 63 small letters, digits, '-' and '.'");
    snprintf(ret->bucket, sizeof(ret->bucket), "%s", bucket);
    int rc = set_prefix(ret, path ? path : "", err);

    if (rc == ERR_OK && query)
        rc = take_query(ret, &parts, query, err);
    if (rc != ERR_OK)
        return rc;
    if (!ret->region[0] && !(region && copy(region, ret->region, sizeof(ret->region))))
        snprintf(ret->region, sizeof(ret->region), "us-east-1");
    bool virtual = parts.style[0] ? strcmp(parts.style, "virtual") == 0 : !parts.endpoint[0];

    if (!parts.endpoint[0])
        snprintf(parts.endpoint, sizeof(parts.endpoint), "https://s3.%s.amazonaws.com", ret->region);
    return set_origin(ret, parts.endpoint, virtual, err);
}
