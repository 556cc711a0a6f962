#include "api/traced.h"
#include "trace/context.h"

/* In our spelling: of a version that we do not know, what we know of it. */
static int keep(const struct trace_context *context, const char *state, struct arena *arena, struct job *job,
                struct err *err)
{
    char text[TRACEPARENT_MAX];
    traceparent_format(context, text);
    job->traceparent = arena_strdup(arena, text);
    job->tracestate = arena_strdup(arena, state);
    return !job->traceparent || (state && !job->tracestate) ? no_memory(err) : ERR_OK;
}

/* One list, whether it came in one header or in several. "": none that counts. */
static void state_gather(struct http_request *req, char ret[TRACESTATE_MAX + 2])
{
    const char *part;
    size_t n = 0;
    ret[0] = '\0';
    for (size_t i = 0; (part = http_header_nth(req, "tracestate", i)); i++) {
        n += (size_t)snprintf(ret + n, TRACESTATE_MAX + 2 - n, "%s%s", i ? "," : "", part);
        if (n > TRACESTATE_MAX)
            break;
    }
    if (n > TRACESTATE_MAX || !tracestate_valid(ret))
        ret[0] = '\0';
}

int traced_by_headers(struct http_request *req, struct arena *arena, struct job *job, struct err *err)
{
    const char *text = http_header(req, "traceparent");
    struct trace_context context;
    char state[TRACESTATE_MAX + 2];
    if (job->traceparent || !text || http_header_nth(req, "traceparent", 1) || !traceparent_parse(text, &context))
        return ERR_OK;
    state_gather(req, state);
    return keep(&context, *state ? state : NULL, arena, job, err);
}

int traced_by_members(const char *traceparent, const char *tracestate, struct arena *arena, struct job *job,
                      struct err *err)
{
    struct trace_context context;
    if (!traceparent && !tracestate)
        return ERR_OK;
    if (!traceparent)
        return err_field(err, "tracestate", "means nothing without a traceparent");
    if (!traceparent_parse(traceparent, &context))
        return err_field(
            err, "traceparent",
            "must be as W3C Trace Context says: 00-TRACE_ID-PARENT_ID-FLAGS, with 32, 16 and 2 hexadecimal "
            "digits in lower case, no id all zeros");
    if (tracestate && !tracestate_valid(tracestate))
        return err_field(
            err, "tracestate",
            "must be as W3C Trace Context says: 1 to %d members KEY=VALUE with commas between, at most %d bytes",
            TRACESTATE_MEMBERS_MAX, TRACESTATE_MAX);
    return keep(&context, tracestate, arena, job, err);
}
