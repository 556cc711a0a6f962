#pragma once
/* The trace that something is part of, as W3C Trace Context writes it in HTTP headers. Pure. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACEPARENT_MAX        56  /* as we write it, with the zero */
#define TRACESTATE_MAX         512 /* bytes */
#define TRACESTATE_MEMBERS_MAX 32
#define TRACE_SAMPLED          0x01 /* the caller records it */
#define TRACE_RANDOM           0x02 /* the trace id is random (level 2) */

struct trace_context {
    uint8_t trace_id[16]; /* not all zero */
    uint8_t span_id[8];   /* likewise */
    uint8_t flags;        /* TRACE_SAMPLED, TRACE_RANDOM; no others */
};

/** "00-32HEX-16HEX-2HEX"; of a later version, as much of it as that. Flags that we do not know are left out. */
bool traceparent_parse(const char *text, struct trace_context *ret);
void traceparent_format(const struct trace_context *c, char ret[TRACEPARENT_MAX]);
/** key=value members with commas between, some of which may be empty: at most TRACESTATE_MEMBERS_MAX and TRACESTATE_MAX bytes. */
bool tracestate_valid(const char *text);
