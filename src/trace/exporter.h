#pragma once
/* Sends spans to a collector by OTLP over HTTP, from a thread of its own. Who adds a span never waits for a network: a span that finds no
 * room is dropped, and counted. */
#include "base/config.h"
#include "base/err.h"
#include "trace/span.h"

struct exporter;

struct exporter_config {
    const char *url;            /* as exporter_url makes it; copied */
    struct string_list headers; /* as headers_parse makes them; copied */
    usec flush_us;              /* how long exporter_free may take to send what is left */
    size_t spans_max;           /* that wait; 0: 8192 */
    usec gather_us;             /* how long the first one waits for others; 0: 0.5 s */
    usec backoff_us;            /* before the first repetition, doubled with each; 0: 0.5 s */
    unsigned tries_max;         /* of a batch that the collector does not take now; 0: 7 */
};

/** Checks a collector's address. @param base  http(s)://HOST[:PORT][/PATH]; `whole`: it is the URL itself, else "/v1/traces" is put behind it.
 * @param ret  owned. ERR_INVALID names `field`;
 * credentials are refused, and not repeated: an address is logged. */
int exporter_url(const char *base, bool whole, const char *field, char **ret, struct err *err);
int exporter_new(const struct exporter_config *config, struct exporter **ret, struct err *err);
/** Any thread. Copies. */
void exporter_add(struct exporter *x, const struct span *s);
struct exporter_counts {
    uint64_t exported, dropped;
};
/** Any thread. */
void exporter_counts(struct exporter *x, struct exporter_counts *ret);
/** Sends what is left, for a while: what is not taken by then is dropped. NULL accepted. */
void exporter_free(struct exporter *x);
