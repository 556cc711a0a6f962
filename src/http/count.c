/* What was answered, by route. Counters that any thread adds to; a reader may see a request's class before its duration. */
#include "http/internal.h"

#define MS INT64_C(1000)

const struct histogram_bounds http_duration_bounds = {13,
                                                      {MS, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS,
                                                       500 * MS, 1000 * MS, 2500 * MS, 10000 * MS, 30000 * MS,
                                                       60000 * MS}};

void http_count(struct http_request *req, int status)
{
    struct http_server *s = req->server;
    struct http_counter *c = &s->counters[req->route ? (size_t)(req->route - s->routes) : s->n_routes];
    int64_t took_us = http_now_us() - req->began_us;
    unsigned class = (unsigned)status / 100;

    atomic_fetch_add_explicit(&c->by_class[class < HTTP_CLASSES ? class : 0], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->buckets[histogram_bucket(&http_duration_bounds, took_us)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->sum_us, took_us, memory_order_relaxed);
}

void http_counts(struct http_request *req, struct http_route_count *ret)
{
    struct http_server *s = req->server;

    for (size_t i = 0; i <= s->n_routes; i++) {
        struct http_counter *c = &s->counters[i];

        ret[i] = (struct http_route_count){.route = i < s->n_routes ? &s->routes[i] : NULL};
        for (size_t k = 0; k < HTTP_CLASSES; k++)
            ret[i].by_class[k] = atomic_load_explicit(&c->by_class[k], memory_order_relaxed);
        for (size_t k = 0; k <= HISTOGRAM_BOUNDS_MAX; k++)
            ret[i].duration_us.counts[k] = atomic_load_explicit(&c->buckets[k], memory_order_relaxed);
        ret[i].duration_us.sum = atomic_load_explicit(&c->sum_us, memory_order_relaxed);
    }
}
