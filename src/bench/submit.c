#include "bench/submit.h"
#include "base/auto.h"
#include "base/json.h"

int submit_init(struct submit *s, const struct names *names, unsigned servers, unsigned connections, unsigned batch,
                uint64_t most, struct err *err)
{
    *s = (struct submit){.servers = servers, .batch = batch, .most = most};
    s->conns = calloc(connections, sizeof(*s->conns));
    s->forms = calloc(servers, sizeof(*s->forms));
    if (!s->conns || !s->forms)
        return err_set(err, ERR_NO_MEMORY, 0, "%u connections", connections);
    int rc = ERR_OK;
    for (unsigned i = 0; i < servers && !rc; i++)
        rc = form_init(&s->forms[i], &names[i], batch, err);
    return rc;
}

void submit_release(struct submit *s)
{
    for (unsigned i = 0; s->forms && i < s->servers; i++)
        form_release(&s->forms[i]);
    free(s->forms);
    free(s->conns);
    s->forms = NULL;
    s->conns = NULL;
}

bool submit_next(struct submit *s, unsigned i, int64_t at_ns)
{
    if (s->most && s->asked >= s->most)
        return false;
    s->conns[i] = (struct submit_conn){.first = s->asked, .at_ns = at_ns};
    s->asked += s->batch;
    return true;
}

void submit_build(struct submit *s, unsigned i, const char **ret, size_t *ret_n)
{
    struct form *form = &s->forms[i % s->servers];
    form_fill(form, s->conns[i].first, (uint64_t)s->conns[i].at_ns);
    *ret = form->text.data;
    *ret_n = form->text.len;
}

enum taken refused(const struct answer *a, struct err *err)
{
    answer_refusal(a, err);
    return a->status >= 429 && err_repeatable(err->code) ? TAKEN_AGAIN : TAKEN_WRONG;
}

/* ---- a batch's answer: {"results":[...],"created":N,"duplicates":N,"refused":N} ---- */

static bool number_behind(const char *p, size_t n, const char *key, unsigned *ret)
{
    const char *at = memmem(p, n, key, strlen(key)), *end = p + n;
    unsigned v = 0;
    if (!at)
        return false;
    at += strlen(key);
    if (at >= end || *at < '0' || *at > '9')
        return false;
    for (; at < end && *at >= '0' && *at <= '9' && v < 100000; at++)
        v = v * 10 + (unsigned)(*at - '0');
    *ret = v;
    return true;
}

/* The first item that was refused, as if it had been alone. */
static enum taken refused_item(const struct answer *a, struct err *err)
{
    struct err ignored = {0};
    json_t *doc = NULL, *r;
    size_t i;
    enum taken t = TAKEN_WRONG;
    err_set(err, ERR_CORRUPT, 0, "the server refused some of a batch and does not say which");
    if (json_parse(a->body, a->n, &doc, &ignored) == ERR_OK)
        json_array_foreach (json_object_get(doc, "results"), i, r) {
            AUTO_FREE char *text = json_text(json_object_get(r, "problem"), JSON_COMPACT);
            if (!text || !json_object_get(r, "problem"))
                continue;
            struct answer one = {
                .status = (int)json_integer_value(json_object_get(r, "status")), .body = text, .n = strlen(text)};
            t = refused(&one, err);
            break;
        }
    json_decref(doc);
    return t;
}

static enum taken take_batch(struct submit *s, unsigned i, const struct answer *a, struct err *err)
{
    size_t tail = MIN(a->n, (size_t)100);
    unsigned created, duplicates, refusals;
    const char *p = a->body + a->n - tail;
    if (!number_behind(p, tail, "\"created\":", &created) || !number_behind(p, tail, "\"duplicates\":", &duplicates) ||
        !number_behind(p, tail, "\"refused\":", &refusals) || created + duplicates + refusals != s->batch) {
        err_set(err, ERR_CORRUPT, 0, "the server's answer to a batch does not tell of its %u jobs", s->batch);
        return TAKEN_WRONG;
    }
    s->acknowledged += created + duplicates - s->conns[i].counted;
    s->conns[i].counted = created + duplicates;
    return refusals ? refused_item(a, err) : TAKEN;
}

enum taken submit_take(struct submit *s, unsigned i, const struct answer *a, int64_t ns, struct err *err)
{
    enum taken t = TAKEN;
    if (a->status != 200 && a->status != 201)
        return refused(a, err);
    if (s->batch > 1)
        t = take_batch(s, i, a, err);
    else
        s->acknowledged++; /* 200: the first answer was lost on its way, the job is there */
    if (t == TAKEN)
        latency_add(&s->latency, ns);
    return t;
}

/* ---- alone ---- */

static bool next(void *self, unsigned i, bool ending)
{
    return !ending && submit_next(self, i, 0);
}

static int build(void *self, unsigned i, const char **ret, size_t *ret_n, struct err *err)
{
    submit_build(self, i, ret, ret_n);
    return ERR_OK;
}

static enum taken take(void *self, unsigned i, const struct answer *a, int64_t ns, struct err *err)
{
    return submit_take(self, i, a, ns, err);
}

struct workload submit_workload(struct submit *s)
{
    return (struct workload){.next = next, .build = build, .take = take, .self = s};
}
