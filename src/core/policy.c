#include "core/job.h"
#include <stdlib.h>
#include <string.h>

struct policy policy_default(void)
{
    const usec second = USEC_PER_SEC, hour = 3600 * second, day = 24 * hour;

    return (struct policy){
        .lease_us = 60 * second,
        .heartbeat_us = 15 * second,
        .confirm_us = 10 * second,
        .poll_us = 30 * second,
        .term_grace_us = 10 * second,
        .max_attempts = 5,
        .max_interruptions = 20,
        .max_losses = 3,
        .backoff_base_us = 5 * second,
        .backoff_cap_us = hour,
        .retention_us = 30 * day,
        .dedup_us = day,
        .upload_keep_us = day,
        .uploads_max = 10000,
        .blob_unreferenced_us = day,
    };
}

static int type_compare(const void *task_type, const void *row)
{
    return strcmp(task_type, ((const struct type_policy *)row)->task_type);
}

void policy_fill(const struct policy *p, struct job *job)
{
    static const struct type_policy nothing = {0};
    const struct type_policy *t =
        p->n_types ? bsearch(job->task_type, p->types, p->n_types, sizeof(*p->types), type_compare) : NULL;

    if (!t)
        t = &nothing;
    if (job->start_deadline_at == 0 && t->start_deadline_us > 0)
        job->start_deadline_at =
            t->start_deadline_us > USEC_NEVER - job->run_at ? USEC_NEVER : job->run_at + t->start_deadline_us;
    if (job->timeout_us == 0)
        job->timeout_us = t->timeout_us;
    if (job->no_progress_us == 0)
        job->no_progress_us = t->no_progress_us;
    if (job->max_attempts == 0)
        job->max_attempts = t->max_attempts ? t->max_attempts : p->max_attempts;
}
