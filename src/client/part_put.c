/* Parts of an upload on their way to the store, each on a thread of its own. One try each: whoever started it says what is to be done next. */
#include "base/auto.h"
#include "client/internal.h"
#include <errno.h>

static size_t put_read(char *p, size_t size, size_t n, void *arg)
{
    struct part_put *w = arg;
    const int64_t done = atomic_load(&w->done);
    size_t want = MIN(size * n, (size_t)(w->size - done));
    if (want == 0)
        return 0;
    want = upload_read_size(p, want, w->at + done);
    ssize_t got;
    do
        got = pread(w->fd, p, want, w->at + done);
    while (got < 0 && errno == EINTR);
    if (got <= 0) {
        w->shrank = got == 0;
        w->sys = got < 0 ? errno : 0;
        return CURL_READFUNC_ABORT;
    }
    atomic_store(&w->done, done + got);
    return (size_t)got;
}

/* curl goes back to the start when a kept connection turns out to be dead. */
static int put_seek(void *arg, curl_off_t offset, int origin)
{
    struct part_put *w = arg;
    if (origin != SEEK_SET || offset < 0 || offset > w->size)
        return CURL_SEEKFUNC_CANTSEEK;
    atomic_store(&w->done, offset);
    return CURL_SEEKFUNC_OK;
}

static int put_look(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    struct part_put *w = arg;
    return atomic_load(&w->all->stop);
}

/* Its beginning names what is wrong. */
static size_t put_answer(char *p, size_t size, size_t n, void *arg)
{
    struct part_put *w = arg;
    const size_t keep = MIN(size * n, sizeof(w->answer) - 1 - w->answer_n);
    memcpy(w->answer + w->answer_n, p, keep);
    w->answer_n += keep;
    return size * n;
}

static void put_options(struct part_put *w, bool loopback)
{
    CURL *e = w->easy;
    curl_easy_setopt(e, CURLOPT_URL, w->url);
    curl_easy_setopt(e, CURLOPT_PROXY, loopback ? "" : NULL);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, w->headers);
    curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)w->size);
}

/** What S3 calls it: <Code>SlowDown</Code>. */
static void put_say(struct part_put *w)
{
    const char *code = strstr(w->answer, "<Code>");
    const size_t n = code ? strcspn(code + 6, "<") : 0;
    if (w->code != CURLE_OK)
        snprintf(w->why, sizeof(w->why), "%.190s", w->curl_text[0] ? w->curl_text : curl_easy_strerror(w->code));
    else
        snprintf(w->why, sizeof(w->why), "%ld %.*s", w->status, (int)MIN(n, (size_t)60), code ? code + 6 : "");
}

static void put_task(void *arg)
{
    struct part_put *w = arg;
    bool loopback = false;
    w->answer_n = 0;
    w->curl_text[0] = '\0';
    w->code = client_url_good(w->url, &loopback) ? CURLE_OK : CURLE_URL_MALFORMAT;
    if (w->code == CURLE_OK) {
        put_options(w, loopback);
        w->code = curl_easy_perform(w->easy);
        curl_easy_getinfo(w->easy, CURLINFO_RESPONSE_CODE, &w->status);
    }
    w->answer[w->answer_n] = '\0';
    if (w->status >= 400 && w->code != CURLE_ABORTED_BY_CALLBACK) /* said while more was being sent */
        w->code = CURLE_OK;
    put_say(w);
    pthread_mutex_lock(&w->all->lock);
    w->ended = true;
    pthread_cond_signal(&w->all->ends);
    pthread_mutex_unlock(&w->all->lock);
}

static bool put_prepare(struct part_put *w, const char *user_agent)
{
    CURL *e = w->easy = curl_easy_init();
    if (!e)
        return false;
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, w->curl_text);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION,
                     (long)CURL_HTTP_VERSION_1_1); /* uploads over HTTP/2 stall before curl 8.2 */
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)SILENCE_S);
    curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
    curl_easy_setopt(e, CURLOPT_USERAGENT, user_agent);
    curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, put_read);
    curl_easy_setopt(e, CURLOPT_READDATA, w);
    curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, put_seek);
    curl_easy_setopt(e, CURLOPT_SEEKDATA, w);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, put_answer);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, w);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, put_look);
    curl_easy_setopt(e, CURLOPT_XFERINFODATA, w);
    return true;
}

int part_puts_init(struct part_puts *p, const char *user_agent, struct haul_error *err)
{
    pthread_condattr_t attr;
    bool good = true;
    *p = (struct part_puts){.pool = NULL};
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->ends, &attr);
    pthread_condattr_destroy(&attr);
    for (size_t i = 0; i < PART_PUTS; i++) {
        p->at[i].all = p;
        good = good && put_prepare(&p->at[i], user_agent);
    }
    if (good && pool_new("part", PART_PUTS, PART_PUTS, &p->pool, NULL) == ERR_OK)
        return HAUL_OK;
    part_puts_release(p);
    return error_set(err, HAUL_LOCAL, "no_memory", "out of memory");
}

static void put_clear(struct part_put *w)
{
    free(w->url);
    curl_slist_free_all(w->headers);
    w->url = NULL;
    w->headers = NULL;
}

void part_puts_release(struct part_puts *p)
{
    atomic_store(&p->stop, true);
    pool_free(p->pool);
    for (size_t i = 0; i < PART_PUTS; i++) {
        curl_easy_cleanup(p->at[i].easy);
        put_clear(&p->at[i]);
    }
    pthread_cond_destroy(&p->ends);
    pthread_mutex_destroy(&p->lock);
}

struct part_put *part_puts_idle(struct part_puts *p)
{
    for (size_t i = 0; i < PART_PUTS; i++)
        if (!p->at[i].busy)
            return &p->at[i];
    return NULL;
}

void part_put_start(struct part_put *w)
{
    w->busy = true;
    w->ended = w->shrank = false;
    w->status = 0;
    w->sys = 0;
    atomic_store(&w->done, 0);
    if (pool_run(w->all->pool, put_task, w, NULL) != ERR_OK)
        put_task(w);
}

static struct part_put *ended(struct part_puts *p)
{
    for (size_t i = 0; i < PART_PUTS; i++)
        if (p->at[i].busy && p->at[i].ended)
            return &p->at[i];
    return NULL;
}

struct part_put *part_puts_ended(struct part_puts *p, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const int64_t ns = until.tv_nsec + ms % 1000 * 1000000;
    until.tv_sec += ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&p->lock);
    struct part_put *w = ended(p);
    while (!w && ms > 0 && pthread_cond_timedwait(&p->ends, &p->lock, &until) == 0)
        w = ended(p);
    pthread_mutex_unlock(&p->lock);
    if (w) {
        w->busy = false;
        put_clear(w);
    }
    return w;
}

size_t part_puts_busy(struct part_puts *p)
{
    size_t n = 0;
    for (size_t i = 0; i < PART_PUTS; i++)
        n += p->at[i].busy;
    return n;
}

int64_t part_puts_bytes(struct part_puts *p)
{
    int64_t n = 0;
    for (size_t i = 0; i < PART_PUTS; i++)
        n += p->at[i].busy ? atomic_load(&p->at[i].done) : 0;
    return n;
}
