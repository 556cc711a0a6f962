#pragma once
/* Spans, and OTLP's JSON of them (the Protobuf JSON mapping, with hexadecimal ids). Pure. */
#include "base/clock.h"
#include "base/json.h"
#include "base/uuid.h"
#include "trace/context.h"

enum span_kind { SPAN_INTERNAL = 1, SPAN_PRODUCER = 4, SPAN_CONSUMER = 5 }; /* as in OTLP */

#define SPAN_ATTRIBUTES_MAX 16
#define SPAN_MESSAGE_MAX    256

/** `text`, or where that is NULL `number`. */
struct span_attribute {
    const char *key, *text;
    int64_t number;
};

/** Everything is borrowed. */
struct span {
    struct trace_context context; /* its own id, and its trace's */
    uint8_t parent_id[8];         /* all zero: none */
    const char *tracestate;       /* or NULL */
    const char *name;
    enum span_kind kind;
    usec start_at, end_at;
    bool failed;
    const char *message; /* why it failed, or NULL; cut to SPAN_MESSAGE_MAX bytes */
    struct span_attribute attributes[SPAN_ATTRIBUTES_MAX];
    size_t n_attributes;
    const char *worker; /* whose work it is, by the worker's id; NULL: the server's */
};

/** What is left out for want of room is: SPAN_ATTRIBUTES_MAX. */
void span_text(struct span *s, const char *key, const char *text); /* NULL: nothing */
void span_number(struct span *s, const char *key, int64_t number);

/** The id of one of a job's spans: who knows the job knows it, and saying the same twice changes nothing.
 * @param attempt  0: of the job as a whole */
void span_id(const struct uuid *job_id, uint32_t attempt, const char *name, uint8_t ret[8]);

/** The trace of a job that was submitted in none: its id. Of `share` (0..1) of them it is recorded, the same ones that a consistent
 * sampler of OpenTelemetry takes: the id's last 56 bits are random. */
void trace_of_job(const struct uuid *job_id, double share, struct trace_context *ret);

/** One span as an element of "spans". */
void span_write(struct json_writer *w, const struct span *s);
/** Around spans of one resource: a service, and which instance of it. */
void spans_begin(struct json_writer *w, const char *service, const char *instance, const char *host);
void spans_end(struct json_writer *w);
