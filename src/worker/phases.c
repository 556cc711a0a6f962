#include "worker/phases.h"
#include "base/auto.h"

void phases_next(struct phase_times *p, const char *name)
{
    const usec now = boot_now();
    if (p->n && p->items[p->n - 1].took_us < 0)
        p->items[p->n - 1].took_us = now - p->items[p->n - 1].at_us;
    if (name && p->n < ARRAY_LEN(p->items))
        p->items[p->n++] = (struct phase_time){name, now, -1};
}

static double seconds(usec us)
{
    return (double)us / (double)USEC_PER_SEC;
}

void phases_write(const struct attempt *a, const struct phase_times *p, struct json_writer *w)
{
    if (!*a->traceparent)
        return;
    jw_array(w, "phases");
    for (size_t i = 0; i < p->n; i++) {
        jw_object(w, NULL);
        jw_string(w, "name", p->items[i].name);
        jw_real(w, "at_s", seconds(MAX(p->items[i].at_us - a->claimed_us, 0)));
        jw_real(w, "took_s", seconds(MAX(p->items[i].took_us, 0)));
        jw_object_end(w);
    }
    jw_array_end(w);
}

void phases_append(const struct attempt *a, json_t *body, const struct phase_time *phase)
{
    json_t *phases = json_object_get(body, "phases");
    if (!json_is_array(phases) || phase->at_us < a->claimed_us)
        return;
    json_array_append_new(phases, json_pack("{s:s, s:f, s:f}", "name", phase->name, "at_s",
                                            seconds(phase->at_us - a->claimed_us), "took_s", seconds(phase->took_us)));
}
