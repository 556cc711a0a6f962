/* A job's spans:
 *
 *   (its submitter's span)
 *     submit                       when it was accepted
 *       wait                       of each attempt: from when it was due to the claim
 *       attempt                    from the claim to the worker's report, or the end of the lease
 *         download run verify checkpoint upload     as the worker said
 *
 * Ids follow from the job's id, so that a server need not know what another one sent. */
#include "api/spans.h"
#include "api/report.h"
#include "base/auto.h"

#define SUBMIT_MAX_US (60 * USEC_PER_SEC) /* an id that is older is not of the moment when the request came */

/** What a job's spans have in common. */
struct base {
    const struct uuid *job_id;
    const char *queue, *task_type, *traceparent, *tracestate;
};

struct name {
    char job_id[UUID_STR_MAX], worker_id[UUID_STR_MAX];
};

static struct base base_of(const struct job *job)
{
    return (struct base){&job->job_id, job->queue, job->task_type, job->traceparent, job->tracestate};
}

/** @return is it recorded? ret->span_id: that of who submitted it, or all zeros */
static bool trace_of(const struct spans *spans, const struct uuid *job_id, const char *traceparent,
                     struct trace_context *ret)
{
    if (!traceparent || !traceparent_parse(traceparent, ret))
        trace_of_job(job_id, spans->share, ret);
    return ret->flags & TRACE_SAMPLED;
}

static struct span span_of(const struct base *b, const struct trace_context *trace, uint32_t attempt, const char *name,
                           struct name *text)
{
    struct span s = {.context = *trace, .tracestate = b->tracestate, .name = name, .kind = SPAN_INTERNAL};

    span_id(b->job_id, attempt, name, s.context.span_id);
    uuid_format(b->job_id, text->job_id);
    span_text(&s, "messaging.system", "haul");
    span_text(&s, "messaging.destination.name", b->queue);
    span_text(&s, "messaging.message.id", text->job_id);
    span_text(&s, "haul.task_type", b->task_type);
    if (attempt)
        span_number(&s, "haul.attempt", attempt);
    return s;
}

/* ---- submit, wait ---- */

static void submitted(const struct spans *spans, const struct job *job, usec now)
{
    const struct base b = base_of(job);
    const usec asked = uuid_v7_us(&job->job_id);
    struct trace_context trace;
    struct name text;

    if (!trace_of(spans, b.job_id, b.traceparent, &trace))
        return;
    struct span s = span_of(&b, &trace, 0, "submit", &text);
    memcpy(s.parent_id, trace.span_id, sizeof s.parent_id);
    s.kind = SPAN_PRODUCER;
    span_text(&s, "messaging.operation.type", "send");
    span_text(&s, "messaging.operation.name", "submit");
    s.start_at = asked <= job->created_at && job->created_at - asked < SUBMIT_MAX_US ? asked : job->created_at;
    s.end_at = now;
    exporter_add(spans->exporter, &s);
}

static void waited(const struct spans *spans, const struct base *b, uint32_t attempt, usec due_at, usec until,
                   bool expired)
{
    struct trace_context trace;
    struct name text;

    if (!trace_of(spans, b->job_id, b->traceparent, &trace))
        return;
    struct span s = span_of(b, &trace, attempt, "wait", &text);
    if (expired) { /* a retried job may wait for the same attempt again */
        span_id(b->job_id, attempt, "expired", s.context.span_id);
        span_text(&s, "error.type", "expired");
        s.failed = true;
        s.message = "its start deadline passed";
    }
    span_id(b->job_id, 0, "submit", s.parent_id);
    s.start_at = MIN(due_at, until);
    s.end_at = until;
    exporter_add(spans->exporter, &s);
}

static void claimed(const struct spans *spans, const struct op_claim *claim)
{
    for (size_t i = 0; i < claim->n_claimed && !claim->again; i++) {
        const struct job *job = &claim->claimed[i].job;
        const struct base b = base_of(job);
        waited(spans, &b, job->attempt, job->run_at, job->started_at, false);
    }
}

/* ---- attempt, and what it was spent on ---- */

static void fail_with(struct span *s, const struct attempt_end *end)
{
    s->failed = true;
    s->message = end->error ? end->error : outcome_name(end->outcome);
    span_text(s, "error.type", outcome_name(end->outcome));
}

/* A worker that was told to stop handed it back in good order. */
static bool is_failure(const struct attempt_end *end)
{
    return end->outcome != OUTCOME_SUCCESS && end->outcome != OUTCOME_CANCELLED && end->outcome != OUTCOME_INTERRUPTED;
}

static void part(const struct spans *spans, const struct base *b, const struct attempt_end *end, const struct span *of,
                 const struct part *p, bool failed)
{
    struct name text;
    struct span s = span_of(b, &of->context, end->attempt, phase_name(p->kind), &text);
    const usec room = MAX(end->ended_at - end->began_at, 0), at = MIN(p->at_us, room);

    memcpy(s.parent_id, of->context.span_id, sizeof s.parent_id);
    s.worker = of->worker;
    s.start_at = end->began_at + at;
    s.end_at = s.start_at + MIN(p->took_us, room - at);
    if (failed)
        fail_with(&s, end);
    exporter_add(spans->exporter, &s);
}

/* Which of them it is that failed: keeping a checkpoint comes after. */
static size_t culprit(const struct parts *p)
{
    size_t i = p->n;
    while (i > 1 && p->items[i - 1].kind == PART_CHECKPOINT)
        i--;
    return i - 1;
}

/* A handler of a worker that went may have spans below its `run`. */
static struct parts phases_unknown(const struct attempt_end *end)
{
    struct parts p = {.n = end->outcome == OUTCOME_LOST};
    p.items[0] = (struct part){PART_RUN, 0, end->ended_at - end->began_at};
    return p;
}

static void attempt_ended(const struct spans *spans, const struct attempt_end *end, const struct parts *phases)
{
    const struct base b = {&end->job_id, end->queue, end->task_type, end->traceparent, end->tracestate};
    const struct parts unknown = phases_unknown(end), *parts = phases ? phases : &unknown;
    struct trace_context trace;
    struct name text;

    if (end->outcome == OUTCOME_EXPIRED) {
        waited(spans, &b, end->attempt + 1, end->began_at, end->ended_at, true);
        return;
    }
    if (!trace_of(spans, b.job_id, b.traceparent, &trace))
        return;
    struct span s = span_of(&b, &trace, end->attempt, "attempt", &text);
    span_id(b.job_id, 0, "submit", s.parent_id);
    s.kind = SPAN_CONSUMER;
    s.start_at = end->began_at;
    s.end_at = end->ended_at;
    uuid_format(&end->worker_id, text.worker_id);
    span_text(&s, "messaging.operation.type", "process");
    span_text(&s, "messaging.operation.name", "attempt");
    span_text(&s, "haul.outcome", outcome_name(end->outcome));
    span_text(&s, "haul.status", job_status_name(end->status));
    span_text(&s, "haul.worker_id", text.worker_id);
    if (is_failure(end))
        fail_with(&s, end);
    exporter_add(spans->exporter, &s);
    s.worker = text.worker_id;
    for (size_t i = 0; i < parts->n; i++)
        part(spans, &b, end, &s, &parts->items[i], is_failure(end) && i == culprit(parts));
}

void spans_applied(void *arg, const struct op *op, usec now)
{
    const struct spans *spans = arg;
    const struct parts *phases = op->kind == OP_COMPLETE ? op->u.complete.phases
                                 : op->kind == OP_FAIL   ? op->u.fail.phases
                                                         : NULL;

    if (op->kind == OP_SUBMIT && !op->u.submit.duplicate)
        submitted(spans, &op->u.submit.job, now);
    if (op->kind == OP_CLAIM)
        claimed(spans, &op->u.claim);
    for (size_t i = 0; i < op->n_ends; i++)
        attempt_ended(spans, &op->ends[i], phases);
}

const char *spans_claimed(const struct spans *spans, const struct job *job, char room[TRACEPARENT_MAX])
{
    struct trace_context trace;

    if (!spans)
        return job->traceparent;
    if (!trace_of(spans, &job->job_id, job->traceparent, &trace) && job->traceparent)
        return job->traceparent;
    span_id(&job->job_id, job->attempt, phase_name(PART_RUN), trace.span_id);
    traceparent_format(&trace, room);
    return room;
}
