#pragma once
/* Spans of jobs, made of what the engine applied. */
#include "core/job.h"
#include "store/store.h"
#include "trace/exporter.h"

struct spans {
    struct exporter *exporter;
    double share; /* 0..1: of jobs that were submitted in no trace, how many are recorded */
};

/** For engine_config.applied; `spans` is a struct spans. */
void spans_applied(void *spans, const struct op *op, usec now);
/** What the handler of a claimed job is to continue, its attempt's `run`. @param spans  NULL: none is sent, the job's own trace passes.
 * @return NULL: the job is part of no trace; else borrowed from the job, or `room` */
const char *spans_claimed(const struct spans *spans, const struct job *job, char room[TRACEPARENT_MAX]);
