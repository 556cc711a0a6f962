/* A submission without a tree: each member is read from the text straight into the op. It says of nothing that it is wrong, but gives up
 * at whatever is not plainly right (ADR 11); submission.c decides then, and says why. */
#include "api/submission_plain.h"
#include "api/submission.h"
#include "api/traced.h"
#include "base/auto.h"
#include "base/json_pull.h"
#include "base/text.h"

#define PLAIN_LABELS 16

enum member { TASK_TYPE, QUEUE, PAYLOAD, LABELS, DEDUP_KEY, PRIORITY, MAX_ATTEMPTS, TRACEPARENT, TRACESTATE, MEMBERS };

struct text {
    const char *s;
    size_t n;
};

#define TEXT(literal)                                                                                                  \
    {                                                                                                                  \
        literal, sizeof(literal) - 1                                                                                   \
    }
static const struct text names[MEMBERS] = {[TASK_TYPE] = TEXT("task_type"),       [QUEUE] = TEXT("queue"),
                                           [PAYLOAD] = TEXT("payload"),           [LABELS] = TEXT("labels"),
                                           [DEDUP_KEY] = TEXT("dedup_key"),       [PRIORITY] = TEXT("priority"),
                                           [MAX_ATTEMPTS] = TEXT("max_attempts"), [TRACEPARENT] = TEXT("traceparent"),
                                           [TRACESTATE] = TEXT("tracestate")};

struct reading {
    struct json_pull json;
    struct arena *arena;
    struct job *job;
    const char *key, *traceparent, *tracestate;
};

/* MEMBERS: none of ours */
static unsigned member_of(struct text key)
{
    unsigned i = 0;
    while (i < MEMBERS && (names[i].n != key.n || memcmp(names[i].s, key.s, key.n) != 0))
        i++;
    return i;
}

/* As json_get_string and no longer than `max`: 1024 at most, so without control characters. */
static bool read_text(struct reading *r, size_t max, const char **ret)
{
    struct text t;
    if (!json_pull_string(&r->json, &t.s, &t.n) || t.n < 1 || t.n > max || memchr(t.s, 0x7f, t.n))
        return false;
    *ret = arena_strndup(r->arena, t.s, t.n);
    return *ret != NULL;
}

static bool read_name(struct reading *r, const char **ret)
{
    return read_text(r, JOB_NAME_MAX, ret) && name_valid(*ret, JOB_NAME_MAX);
}

static bool read_payload(struct reading *r)
{
    struct text t;
    if (!json_pull_text(&r->json, &t.s, &t.n) || t.n > JOB_PAYLOAD_MAX)
        return false;
    r->job->payload = arena_strndup(r->arena, t.s, t.n);
    return r->job->payload != NULL;
}

static bool read_number(struct reading *r, int64_t min, int64_t max, int64_t *ret)
{
    return json_pull_integer(&r->json, ret) && *ret >= min && *ret <= max;
}

struct label {
    struct text key, value;
};

static int by_bytes(struct text a, struct text b)
{
    int d = memcmp(a.s, b.s, MIN(a.n, b.n));
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

/* Into its place among the n that are sorted. @return false: its key is there already */
static bool label_place(struct label *labels, size_t n, struct label new)
{
    int d = 0;
    while (n > 0 && (d = by_bytes(labels[n - 1].key, new.key)) > 0) {
        labels[n] = labels[n - 1];
        n--;
    }
    labels[n] = new;
    return n == 0 || d != 0;
}

static char *put(char *to, struct text t, char behind)
{
    *to++ = '"';
    memcpy(to, t.s, t.n);
    to += t.n;
    *to++ = '"';
    *to++ = behind;
    return to;
}

/* As json_map_text: no space, sorted. What needs no escape when it is read needs none when it is written. */
static const char *labels_text(const struct label *labels, size_t n, struct arena *arena)
{
    size_t size = sizeof("{}");
    for (size_t i = 0; i < n; i++)
        size += labels[i].key.n + labels[i].value.n + sizeof("\"\":\"\",") - 1;
    char *text = arena_array(arena, size, 1), *to = text;
    if (!text)
        return NULL;
    *to++ = '{';
    for (size_t i = 0; i < n; i++) {
        to = put(to, labels[i].key, ':');
        to = put(to, labels[i].value, i + 1 < n ? ',' : '}');
    }
    if (n == 0)
        *to = '}';
    return text;
}

static bool read_labels(struct reading *r)
{
    struct label labels[PLAIN_LABELS], l;
    size_t n = 0;
    int more;
    if (!json_pull_object(&r->json))
        return false;
    while ((more = json_pull_member(&r->json, &l.key.s, &l.key.n)) == 1) {
        if (n == PLAIN_LABELS || !json_pull_string(&r->json, &l.value.s, &l.value.n) || l.key.n < 1 ||
            l.key.n > JOB_LABEL_KEY_MAX || l.value.n > JOB_LABEL_VALUE_MAX || !label_place(labels, n, l))
            return false;
        n++;
    }
    if (more < 0)
        return false;
    r->job->labels = labels_text(labels, n, r->arena);
    return r->job->labels != NULL;
}

static bool read_member(struct reading *r, unsigned member)
{
    struct job *job = r->job;
    int64_t number = 0;
    bool right = false;
    switch (member) {
    case TASK_TYPE:
        return read_name(r, &job->task_type);
    case QUEUE:
        return read_name(r, &job->queue);
    case PAYLOAD:
        return read_payload(r);
    case LABELS:
        return read_labels(r);
    case DEDUP_KEY:
        return read_text(r, JOB_KEY_MAX, &r->key);
    case PRIORITY:
        right = read_number(r, 0, JOB_PRIORITY_MAX, &number);
        job->priority = (int)number;
        return right;
    case MAX_ATTEMPTS:
        right = read_number(r, 1, SUBMISSION_ATTEMPTS_MAX, &number);
        job->max_attempts = (uint32_t)number;
        return right;
    case TRACEPARENT:
        return read_text(r, SUBMISSION_TRACE_MAX, &r->traceparent);
    case TRACESTATE:
        return read_text(r, SUBMISSION_TRACE_MAX, &r->tracestate);
    default:
        return false;
    }
}

static bool read_members(struct reading *r)
{
    struct text key;
    unsigned seen = 0;
    int more;
    if (!json_pull_object(&r->json))
        return false;
    while ((more = json_pull_member(&r->json, &key.s, &key.n)) == 1) {
        unsigned member = member_of(key);
        if (seen >> member & 1 || !read_member(r, member))
            return false;
        seen |= 1u << member;
    }
    return more == 0 && json_pull_end(&r->json);
}

bool submission_plain(const char *body, size_t n, const struct origin *from, const struct policy *policy,
                      struct arena *arena, struct op_submit *ret)
{
    struct job *job = &ret->job;
    struct reading r = {.json = json_pull(body, n), .arena = arena, .job = job};
    struct err err;
    if (from->source == SOURCE_MESSAGE)
        return false;
    err_clear(&err);
    memset(ret, 0, sizeof(*ret));
    job->priority = SUBMISSION_PRIORITY;
    job->labels = job->payload = "{}";
    if (!read_members(&r) || !job->task_type)
        return false;
    if (!job->queue)
        job->queue = job->task_type;
    return submission_key(from, r.key, policy, arena, ret, &err) == ERR_OK &&
           traced_by_members(r.traceparent, r.tracestate, arena, job, &err) == ERR_OK;
}
