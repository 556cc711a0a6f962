#include "worker/environment.h"
#include "base/auto.h"

#define OWN_MAX 14

int environment_make(const struct attempt *a, bool resumed, struct string_list *ret, struct err *err)
{
    const bool boxed = a->level == SANDBOX_NAMESPACES;
    char *lines[OWN_MAX] = {NULL};
    size_t n = 0;
    bool bad = asprintf(&lines[n++], "HAUL_JOB_ID=%s", a->job_id) < 0;
    bad = asprintf(&lines[n++], "HAUL_TASK_TYPE=%s", a->task_type) < 0 || bad;
    bad = asprintf(&lines[n++], "HAUL_ATTEMPT=%u", a->number) < 0 || bad;
    bad = asprintf(&lines[n++], "HAUL_QUEUE=%s", a->queue) < 0 || bad;
    bad = asprintf(&lines[n++], "HAUL_RETRIES=%lld", (long long)a->retries) < 0 || bad;
    bad = asprintf(&lines[n++], "HAUL_MAX_ATTEMPTS=%lld", (long long)a->max_attempts) < 0 || bad;
    bad = asprintf(&lines[n++], "HAUL_REPORT_FD=3") < 0 || bad;
    bad = asprintf(&lines[n++], "HOME=%s", boxed ? SANDBOX_WORK_DIR : a->scratch) < 0 || bad;
    bad = asprintf(&lines[n++], "TMPDIR=/tmp") < 0 || bad;
    bad = asprintf(&lines[n++], "PATH=/usr/local/bin:/usr/bin:/bin") < 0 || bad;
    bad = asprintf(&lines[n++], "LANG=C.UTF-8") < 0 || bad;
    if (*a->traceparent)
        bad = asprintf(&lines[n++], "TRACEPARENT=%s", a->traceparent) < 0 || bad;
    if (*a->traceparent && *a->tracestate)
        bad = asprintf(&lines[n++], "TRACESTATE=%s", a->tracestate) < 0 || bad;
    if (resumed)
        bad = asprintf(&lines[n++], "HAUL_RESUME=1") < 0 || bad;
    ret->items = calloc(OWN_MAX + a->env.n + 1, sizeof *ret->items);
    bad = bad || !ret->items;
    for (size_t i = 0; i < n && !bad; i++) {
        const size_t name_n = strcspn(lines[i], "=") + 1;
        bool own = true;
        for (size_t k = 0; k < a->env.n && own; k++) /* the entry's PATH wins over ours */
            own = strncmp(a->env.items[k], lines[i], name_n) != 0;
        if (own)
            ret->items[ret->n++] = lines[i];
        else
            free(lines[i]);
    }
    for (size_t i = 0; i < a->env.n && !bad; i++)
        bad = !(ret->items[ret->n++] = strdup(a->env.items[i]));
    return bad ? err_set(err, ERR_NO_MEMORY, 0, "environment") : ERR_OK;
}
