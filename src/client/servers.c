/* The servers of a client: the list, and the one in use.
 *
 * A client stays with a server that works. One that cannot be used is left for the next of the list; a round of all of them without an
 * answer is for the caller to wait after. */
#include "base/auto.h"
#include "base/text.h"
#include "client/internal.h"
#include <pthread.h>
#include <strings.h>

#define URL_LOOKS_LIKE "it looks like http://127.0.0.1:8420"

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

bool client_host_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           strcmp(host, "::1") == 0;
}

static bool url_refuse(const char *url, struct haul_error *err)
{
    error_set(err, HAUL_LOCAL, "invalid", "'%.200s' is not a server's URL: " URL_LOOKS_LIKE, url);
    return false;
}

/* Takes the URL apart to refuse what would be silently ignored: a query, a user, an unknown scheme. */
static bool url_check(const char *url, bool *ret_loopback, struct haul_error *err)
{
    if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
        return url_refuse(url, err);
    CURLU *u = curl_url();
    if (!u) {
        error_set(err, HAUL_LOCAL, "no_memory", "out of memory");
        return false;
    }
    char *host = NULL, *query = NULL, *user = NULL, *fragment = NULL;
    bool ok =
        curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK;
    if (ok) {
        curl_url_get(u, CURLUPART_QUERY, &query, 0);
        curl_url_get(u, CURLUPART_USER, &user, 0);
        curl_url_get(u, CURLUPART_FRAGMENT, &fragment, 0);
        *ret_loopback = client_host_loopback(host);
        ok = !query && !user && !fragment;
    }
    curl_free(host);
    curl_free(query);
    curl_free(user);
    curl_free(fragment);
    curl_url_cleanup(u);
    return ok || url_refuse(url, err);
}

/** One element of the list; @param url  consumed, without blanks around it. */
static bool server_add(struct haul_client *c, char *url, const char *urls, struct haul_error *err)
{
    AUTO_FREE char *own = url;
    bool loopback = false;
    if (!*own && (c->n > 0 || strchr(urls, ','))) {
        error_set(err, HAUL_LOCAL, "invalid", "server %u of the list '%.200s' is empty: put one comma between two URLs",
                  c->n + 1, urls);
        return false;
    }
    if (c->n == HAUL_SERVERS_MAX) {
        error_set(err, HAUL_LOCAL, "invalid", "more than %d servers in a list: name fewer", HAUL_SERVERS_MAX);
        return false;
    }
    if (!url_check(own, &loopback, err))
        return false;
    for (size_t n = strlen(own); n > 0 && own[n - 1] == '/'; n--)
        own[n - 1] = '\0';
    for (unsigned i = 0; i < c->n; i++)
        if (strcmp(c->servers[i].url, own) == 0) {
            error_set(err, HAUL_LOCAL, "invalid", "'%.200s' is twice in the list of servers: name it once", own);
            return false;
        }
    c->servers[c->n++] = (struct server){.url = TAKE_PTR(own), .loopback = loopback};
    return true;
}

static bool list_read(struct haul_client *c, const char *urls, struct haul_error *err)
{
    for (const char *p = urls;; p++) {
        const size_t n = strcspn(p, ","), blank = strspn(p, " ");
        const char *from = p + MIN(blank, n), *to = p + n;
        while (to > from && to[-1] == ' ')
            to--;
        char *url = strndup(from, (size_t)(to - from));
        if (!url) {
            error_set(err, HAUL_LOCAL, "no_memory", "out of memory");
            return false;
        }
        if (!server_add(c, url, urls, err))
            return false;
        p += n;
        if (!*p)
            return true;
    }
}

struct haul_client *haul_client_new(const char *urls, const char *user_agent, struct haul_error *err)
{
    pthread_once(&curl_once, curl_start);
    error_clear(err);
    struct haul_client *c = calloc(1, sizeof(*c));
    if (c) {
        c->easy = curl_easy_init();
        c->user_agent = strdup(user_agent ? user_agent : "libhaul/" HAUL_VERSION);
        c->timeout_ms = CALL_TIMEOUT_MS;
    }
    const bool ok = c && c->easy && c->user_agent;
    if (!ok)
        error_set(err, HAUL_LOCAL, "no_memory", "out of memory");
    if (!ok || !list_read(c, urls, err)) {
        haul_client_free(c);
        return NULL;
    }
    return c;
}

void haul_client_free(struct haul_client *c)
{
    if (!c)
        return;
    if (c->easy)
        curl_easy_cleanup(c->easy);
    for (unsigned i = 0; i < c->n; i++)
        free(c->servers[i].url);
    free(c->user_agent);
    free(c);
}

long client_connect_timeout_ms(const struct haul_client *c)
{
    return c->n > 1 ? CONNECT_NEXT_MS : CONNECT_TIMEOUT_MS;
}

const struct server *client_server(const struct haul_client *c)
{
    return &c->servers[atomic_load(&c->used)];
}

const char *haul_client_server(const struct haul_client *c)
{
    return client_server(c)->url;
}

char *haul_client_servers(const struct haul_client *c)
{
    const unsigned used = atomic_load(&c->used);
    struct buf b;
    buf_init(&b, 1U << 20);
    for (unsigned i = 0; i < c->n; i++) {
        if (i > 0)
            buf_addc(&b, ',');
        buf_adds(&b, c->servers[(used + i) % c->n].url);
    }
    char *list = b.failed ? NULL : buf_take(&b);
    buf_release(&b);
    return list;
}

/** Another one may do better: nobody is there, a proxy before it says so, or it says that it cannot serve now. */
static bool unusable(int rc, const struct haul_error *err)
{
    if (rc != HAUL_REFUSED)
        return rc == HAUL_NETWORK;
    return strcmp(err->code, "unavailable") == 0 || strcmp(err->code, "http_502") == 0 ||
           strcmp(err->code, "http_503") == 0 || strcmp(err->code, "http_504") == 0;
}

static void round_say(const struct haul_client *c, struct haul_error *err)
{
    char last[sizeof(err->message)];
    memcpy(last, err->message, sizeof(last));
    const int n =
        snprintf(err->message, sizeof(err->message), "none of %u servers can be used; the last: %s", c->n, last);
    if (n >= (int)sizeof(err->message))
        err->message[utf8_cut(err->message, sizeof(err->message) - 1)] = '\0';
}

void client_judge(struct haul_client *c, int rc, struct haul_error *err)
{
    if (!unusable(rc, err)) {
        c->down = 0;
        return;
    }
    atomic_store(&c->used, (atomic_load(&c->used) + 1) % c->n);
    c->down = (c->down + 1) % c->n;
    err->elsewhere = c->down > 0;
    if (c->n > 1 && !err->elsewhere)
        round_say(c, err);
}
