/* Dead letters counted by fingerprint. */
#include "cli/dlq_groups.h"
#include "base/auto.h"
#include "base/timefmt.h"
#include <string.h>

char *dlq_cause(const json_t *job)
{
    const char *log = jtext(job, "error_log");
    return *log ? strndup(log, strcspn(log, "\r\n")) : strdup(jtext(job, "outcome"));
}

static usec instant(const json_t *obj, const char *key)
{
    usec us;
    return rfc3339_parse(jtext(obj, key), &us) ? us : 0;
}

/* Its example is the job that failed last: what it says is nearest to how things are now. */
static int set_example(json_t *group, const json_t *job)
{
    return json_object_set(group, "job_id", json_object_get(job, "job_id")) == 0 &&
                   json_object_set(group, "outcome", json_object_get(job, "outcome")) == 0 &&
                   json_object_set(group, "error_log", json_object_get(job, "error_log")) == 0 &&
                   json_object_set(group, "last_failed_at", json_object_get(job, "finished_at")) == 0
               ? 0
               : -1;
}

static int count(struct groups *g, const json_t *job)
{
    const char *fingerprint = jtext(job, "fingerprint");
    json_t *group = json_object_get(g->by_fingerprint, fingerprint);
    if (!group) {
        group = json_pack("{s:s,s:s,s:i,s:O,s:O}", "fingerprint", fingerprint, "task_type", jtext(job, "task_type"),
                          "jobs", 1, "first_failed_at", json_object_get(job, "finished_at"), "last_failed_at",
                          json_object_get(job, "finished_at"));
        return group && json_object_set_new(g->by_fingerprint, fingerprint, group) == 0 ? set_example(group, job) : -1;
    }
    usec at = instant(job, "finished_at");
    json_integer_set(json_object_get(group, "jobs"), jint(group, "jobs") + 1);
    if (at < instant(group, "first_failed_at"))
        json_object_set(group, "first_failed_at", json_object_get(job, "finished_at"));
    return at > instant(group, "last_failed_at") ? set_example(group, job) : 0;
}

int groups_take(void *arg, json_t *job)
{
    struct groups *g = arg;
    struct err err = {0};
    if (count(g, job) == 0)
        return EXIT_OK;
    err_set(&err, ERR_INTERNAL, 0, "a dead letter in the server's answer cannot be read, or memory is short");
    return cli_err(&err, "dlq");
}

static int most_first(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    int64_t m = jint(x, "jobs"), n = jint(y, "jobs");
    return m != n ? (m < n ? 1 : -1) : strcmp(jtext(x, "fingerprint"), jtext(y, "fingerprint"));
}

json_t *groups_sorted(const struct groups *g)
{
    size_t n = 0;
    const char *key;
    json_t *group;
    AUTO_FREE json_t **sorted = reallocarray(NULL, json_object_size(g->by_fingerprint) + 1, sizeof(json_t *));
    json_t *ret = sorted ? json_array() : NULL;
    if (!ret)
        return NULL;
    json_object_foreach (g->by_fingerprint, key, group)
        sorted[n++] = group;
    if (n > 0)
        qsort(sorted, n, sizeof(json_t *), most_first);
    for (size_t i = 0; i < n; i++)
        json_array_append(ret, sorted[i]);
    return ret;
}
