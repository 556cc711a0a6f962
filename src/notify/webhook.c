/* The address is judged when the socket for it is made: what a name resolved to when it was looked at, or where a redirect points to, does
 * not matter. Redirects are not followed, and no proxy is used: either would reach where nobody looked. */
#include "notify/webhook.h"
#include "base/auto.h"
#include "base/fs.h"
#include "notify/address.h"
#include "notify/signature.h"
#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>

#define SECRET_MAX 4096
#define BODY_MAX   ((size_t)1 << 18)
#define ANSWER_MAX 65536 /* bytes of an answer that are read; nobody looks at them */

/* --- as configured --- */

static int read_keys(const struct receiver *r, struct signature_keys *ret, struct err *err)
{
    const char *field = r->secret_file ? "secret_file" : "secret_env", *text = NULL;
    struct buf file;
    int rc = ERR_OK;

    buf_init(&file, SECRET_MAX);
    if (r->secret_file) {
        rc = fs_read(r->secret_file, &file, err);
        text = buf_str(&file);
    } else if (!(text = getenv(r->secret_env))) {
        rc = err_set(err, ERR_INVALID, 0, "there is no variable %s in the server's environment", r->secret_env);
    }
    if (!rc)
        rc = signature_keys_read(text, ret, err);
    if (file.data)
        explicit_bzero(file.data, file.len);
    buf_release(&file);
    return rc ? err_wrap(err, ERR_INVALID, "%s", field) : ERR_OK;
}

static bool host_private(const char *host)
{
    const size_t n = strlen(host), tail = strlen(".localhost");
    char bare[64];
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    if (strcasecmp(host, "localhost") == 0 || (n > tail && strcasecmp(host + n - tail, ".localhost") == 0))
        return true;
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
        return !address_public((const struct sockaddr *)&v4);
    snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(host + (*host == '['), "]%"), host + (*host == '['));
    return inet_pton(AF_INET6, bare, &v6.sin6_addr) == 1 && !address_public((const struct sockaddr *)&v6);
}

static int check_parts(const struct receiver *r, const char *scheme, const char *user, const char *host,
                       struct err *err)
{
    if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
        return err_field(err, "webhook", "must be an https:// URL, got '%.16s://'", scheme);
    if (strcmp(scheme, "http") == 0 && !r->allow_http)
        return err_field(err, "webhook", "is without TLS: use https://, or set allow_http: true");
    if (user)
        return err_field(err, "webhook", "must not hold a user or a password: requests are signed instead");
    if (!r->allow_private && host_private(host))
        return err_field(err, "webhook", "'%.100s' is not a public address: set allow_private: true to reach it", host);
    return ERR_OK;
}

static int check_url(const struct receiver *r, struct err *err)
{
    char *scheme = NULL, *user = NULL, *host = NULL;
    CURLU *u = curl_url();
    int rc = u ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "receivers");

    if (!rc && (curl_url_set(u, CURLUPART_URL, r->webhook, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
                curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
                curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK))
        rc = err_field(err, "webhook", "is not a URL: write https://host/path");
    if (!rc) {
        (void)curl_url_get(u, CURLUPART_USER, &user, 0);
        rc = check_parts(r, scheme, user, host, err);
    }
    curl_free(scheme);
    curl_free(user);
    curl_free(host);
    curl_url_cleanup(u);
    return rc;
}

int webhook_check(const struct receiver *r, struct err *err)
{
    struct signature_keys keys;
    int rc = check_url(r, err);

    if (!rc && !r->secret_file == !r->secret_env)
        rc = err_field(err, "secret_file",
                       r->secret_env ? "give either secret_file or secret_env"
                                     : "a webhook is signed: give secret_file or secret_env; make a key with: "
                                       "(printf whsec_; openssl rand -base64 32) > FILE");
    if (!rc)
        rc = read_keys(r, &keys, err);
    explicit_bzero(&keys, sizeof(keys));
    if (!rc && r->ca && !fs_exists(r->ca))
        rc = err_field(err, "ca", "'%.200s' is not there", r->ca);
    return rc;
}

void webhook_origin(const struct receiver *r, char *ret, size_t size)
{
    const char *host = strstr(r->webhook, "://");
    const size_t n = host ? (size_t)(host + 3 - r->webhook) + strcspn(host + 3, "/?#") : 0;

    snprintf(ret, size, "%.*s", (int)n, r->webhook);
}

/* --- one try --- */

struct exchange {
    const struct receiver *receiver;
    struct buf body, signature;
    struct curl_slist *lines;
    bool no_memory;
    size_t answered;                     /* bytes */
    char kept_off[INET6_ADDRSTRLEN + 1]; /* an address that was not connected to */
    char text[CURL_ERROR_SIZE];
};

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct exchange *x = arg;
    struct sockaddr_in6 address = {.sin6_family = 0};

    memcpy(&address, &a->addr, MIN(a->addrlen, sizeof(address)));
    if (!x->receiver->allow_private && !address_public((const struct sockaddr *)&address)) {
        const void *at = a->family == AF_INET
                             ? (const void *)&((const struct sockaddr_in *)(const void *)&address)->sin_addr
                             : (const void *)&address.sin6_addr;
        if (!inet_ntop(a->family, at, x->kept_off, sizeof(x->kept_off)))
            snprintf(x->kept_off, sizeof(x->kept_off), "?");
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;

    x->answered += size * n;
    return x->answered > ANSWER_MAX ? 0 : size * n;
}

static void add_line(struct exchange *x, const char *name, const char *value)
{
    char line[1024];

    snprintf(line, sizeof(line), "%s: %s", name, value);
    struct curl_slist *more = curl_slist_append(x->lines, line);
    x->no_memory = x->no_memory || !more;
    x->lines = more ? more : x->lines;
}

static int write_request(struct exchange *x, const struct message *m, struct err *err)
{
    const int64_t now_s = clock_real().wall_us(clock_real().self) / USEC_PER_SEC;
    struct signature_keys keys;
    char stamp[24];
    int rc = read_keys(x->receiver, &keys, err);

    if (rc)
        return rc;
    message_write(m, &x->body);
    signature_write(&keys, m->id, now_s, buf_str(&x->body), x->body.len, &x->signature);
    explicit_bzero(&keys, sizeof(keys));
    snprintf(stamp, sizeof(stamp), "%lld", (long long)now_s);
    add_line(x, "Content-Type", "application/json");
    add_line(x, "webhook-id", m->id);
    add_line(x, "webhook-timestamp", stamp);
    add_line(x, "webhook-signature", buf_str(&x->signature));
    add_line(x, "Expect", "");
    return x->no_memory || x->body.failed || x->signature.failed ? err_set(err, ERR_NO_MEMORY, 0, "out of memory")
                                                                 : ERR_OK;
}

static void set_options(CURL *e, struct exchange *x)
{
    const struct receiver *r = x->receiver;

    curl_easy_setopt(e, CURLOPT_URL, r->webhook);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, r->allow_http ? "http,https" : "https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, x);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* a name server that hangs does not hold up the end */
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)(r->timeout / USEC_PER_MSEC));
    curl_easy_setopt(e, CURLOPT_USERAGENT, "haul/" HAUL_VERSION);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->lines);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->body.len);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, buf_str(&x->body));
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->text);
    if (r->ca)
        curl_easy_setopt(e, CURLOPT_CAINFO, r->ca);
}

/* @return CURLE_ABORTED_BY_CALLBACK: the end was asked for */
static CURLcode perform(CURLM *multi, CURL *e, int stop_fd)
{
    struct curl_waitfd stop = {.fd = stop_fd, .events = CURL_WAIT_POLLIN};
    const CURLMsg *msg;
    int running = 1, left = 0;

    if (curl_multi_add_handle(multi, e) != CURLM_OK)
        return CURLE_OUT_OF_MEMORY;
    for (;;) {
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            return CURLE_FAILED_INIT;
        if (!running)
            break;
        if (curl_multi_poll(multi, &stop, 1, 1000, NULL) != CURLM_OK)
            return CURLE_FAILED_INIT;
        if (stop.revents)
            return CURLE_ABORTED_BY_CALLBACK;
    }
    msg = curl_multi_info_read(multi, &left);
    return msg && msg->msg == CURLMSG_DONE ? msg->data.result : CURLE_FAILED_INIT;
}

static void judge_status(CURL *e, long status, struct outcome *ret)
{
    curl_off_t later_s = 0;

    if (status >= 200 && status < 300) {
        *ret = (struct outcome){.what = DELIVERY_SENT};
    } else if (status >= 500 || status == 408 || status == 425 || status == 429) {
        outcome_set(ret, DELIVERY_FAILED, "it answers %ld", status);
        if (curl_easy_getinfo(e, CURLINFO_RETRY_AFTER, &later_s) == CURLE_OK && later_s > 0)
            ret->later_us = (usec)MIN(later_s, (curl_off_t)(24 * 3600)) * USEC_PER_SEC;
    } else if (status >= 300 && status < 400) {
        outcome_set(ret, DELIVERY_REFUSED,
                    "it answers %ld, a redirect, which is not followed: configure where it points to", status);
    } else {
        outcome_set(ret, DELIVERY_REFUSED, "it answers %ld", status);
    }
}

static void judge(CURL *e, const struct exchange *x, CURLcode code, struct outcome *ret)
{
    long status = 0;

    curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && (code == CURLE_OK || code == CURLE_WRITE_ERROR))
        judge_status(e, status, ret);
    else if (code == CURLE_ABORTED_BY_CALLBACK)
        outcome_set(ret, DELIVERY_FAILED, "the server stops");
    else if (code != CURLE_OPERATION_TIMEDOUT && x->kept_off[0])
        outcome_set(ret, DELIVERY_FAILED, "its name resolves to %s, not a public address: allow_private: true lets it",
                    x->kept_off);
    else
        outcome_set(ret, DELIVERY_FAILED, "%s", x->text[0] ? x->text : curl_easy_strerror(code));
}

void webhook_send(const struct receiver *r, const struct message *m, int stop_fd, struct outcome *ret)
{
    struct exchange x = {.receiver = r};
    struct err err = {0};
    CURL *e = curl_easy_init();
    CURLM *multi = curl_multi_init();

    buf_init(&x.body, BODY_MAX);
    buf_init(&x.signature, SECRET_MAX);
    if (!e || !multi) {
        outcome_set(ret, DELIVERY_FAILED, "out of memory");
    } else if (write_request(&x, m, &err) != ERR_OK) {
        outcome_set(ret, DELIVERY_FAILED, "%s", err.msg);
    } else {
        set_options(e, &x);
        judge(e, &x, perform(multi, e, stop_fd), ret);
        curl_multi_remove_handle(multi, e);
    }
    curl_easy_cleanup(e);
    curl_multi_cleanup(multi);
    curl_slist_free_all(x.lines);
    buf_release(&x.body);
    buf_release(&x.signature);
}
