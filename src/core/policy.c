#include "core/job.h"

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
