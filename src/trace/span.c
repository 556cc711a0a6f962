#include "trace/span.h"
#include "base/auto.h"
#include "base/sha256.h"
#include "base/text.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STATUS_ERROR 2
#define RANDOM_BITS  56

static void attribute(struct span *s, struct span_attribute a)
{
    if (s->n_attributes < ARRAY_LEN(s->attributes))
        s->attributes[s->n_attributes++] = a;
}

void span_text(struct span *s, const char *key, const char *text)
{
    if (text)
        attribute(s, (struct span_attribute){.key = key, .text = text});
}

void span_number(struct span *s, const char *key, int64_t number)
{
    attribute(s, (struct span_attribute){.key = key, .number = number});
}

void span_id(const struct uuid *job_id, uint32_t attempt, const char *name, uint8_t ret[8])
{
    char id[UUID_STR_MAX], key[128];
    uint8_t hash[32];

    uuid_format(job_id, id);
    snprintf(key, sizeof key, "haul span %s %" PRIu32 " %s", id, attempt, name);
    sha256_once(key, strlen(key), hash);
    memcpy(ret, hash, 8);
    ret[7] |= 1; /* never all zero */
}

void trace_of_job(const struct uuid *job_id, double share, struct trace_context *ret)
{
    uint64_t random = 0;

    for (size_t i = sizeof job_id->b - RANDOM_BITS / 8; i < sizeof job_id->b; i++)
        random = random << 8 | job_id->b[i];
    *ret = (struct trace_context){.flags = TRACE_RANDOM};
    memcpy(ret->trace_id, job_id->b, sizeof ret->trace_id);
    if (random >= (uint64_t)((1 - share) * (double)(UINT64_C(1) << RANDOM_BITS)))
        ret->flags |= TRACE_SAMPLED;
}

/* 64-bit numbers are strings in Protobuf's JSON. */
static void write_number(struct json_writer *w, const char *key, int64_t v, const char *zeros)
{
    char text[32];

    snprintf(text, sizeof text, "%" PRId64 "%s", v, zeros);
    jw_string(w, key, text);
}

static void write_hex(struct json_writer *w, const char *key, const uint8_t *p, size_t n)
{
    char text[33];

    hex_format(p, n, text);
    jw_string(w, key, text);
}

static void write_attribute(struct json_writer *w, const struct span_attribute *a)
{
    jw_object(w, NULL);
    jw_string(w, "key", a->key);
    jw_object(w, "value");
    if (a->text)
        jw_string(w, "stringValue", a->text);
    else
        write_number(w, "intValue", a->number, "");
    jw_object_end(w);
    jw_object_end(w);
}

static void write_status(struct json_writer *w, const char *message)
{
    const char *text = message ? message : "";

    jw_object(w, "status");
    jw_int(w, "code", STATUS_ERROR);
    if (*text)
        jw_stringn(w, "message", text, utf8_cut(text, strnlen(text, SPAN_MESSAGE_MAX)));
    jw_object_end(w);
}

void span_write(struct json_writer *w, const struct span *s)
{
    static const uint8_t none[sizeof s->parent_id];

    jw_object(w, NULL);
    write_hex(w, "traceId", s->context.trace_id, sizeof s->context.trace_id);
    write_hex(w, "spanId", s->context.span_id, sizeof s->context.span_id);
    if (memcmp(s->parent_id, none, sizeof none) != 0)
        write_hex(w, "parentSpanId", s->parent_id, sizeof s->parent_id);
    if (s->tracestate)
        jw_string(w, "traceState", s->tracestate);
    jw_int(w, "flags", s->context.flags);
    jw_string(w, "name", s->name);
    jw_int(w, "kind", s->kind);
    write_number(w, "startTimeUnixNano", s->start_at, "000");
    write_number(w, "endTimeUnixNano", s->end_at < s->start_at ? s->start_at : s->end_at, "000");
    jw_array(w, "attributes");
    for (size_t i = 0; i < s->n_attributes; i++)
        write_attribute(w, &s->attributes[i]);
    jw_array_end(w);
    if (s->failed)
        write_status(w, s->message);
    jw_object_end(w);
}

static void write_text(struct json_writer *w, const char *key, const char *text)
{
    if (text)
        write_attribute(w, &(struct span_attribute){.key = key, .text = text});
}

void spans_begin(struct json_writer *w, const char *service, const char *instance, const char *host)
{
    jw_object(w, NULL);
    jw_object(w, "resource");
    jw_array(w, "attributes");
    write_text(w, "service.name", service);
    write_text(w, "service.version", HAUL_VERSION);
    write_text(w, "service.instance.id", instance);
    write_text(w, "host.name", host);
    jw_array_end(w);
    jw_object_end(w);
    jw_array(w, "scopeSpans");
    jw_object(w, NULL);
    jw_object(w, "scope");
    jw_string(w, "name", "haul");
    jw_string(w, "version", HAUL_VERSION);
    jw_object_end(w);
    jw_array(w, "spans");
}

void spans_end(struct json_writer *w)
{
    jw_array_end(w);
    jw_object_end(w);
    jw_array_end(w);
    jw_object_end(w);
}
