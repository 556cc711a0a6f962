#include "worker/meter.h"
#include "base/auto.h"
#include "worker/attempt.h"
#include <pthread.h>

#define FIRST_US USEC_PER_SEC

struct sample {
    usec at_us;
    double cpu;
    int64_t memory_bytes;
};
struct meter {
    usec every_us, began_us;
    usec next_us, looked_us, cpu_us; /* the loop's: when the next look is due; when the last one was, and what it saw */
    pthread_mutex_t lock;
    uint64_t taken, told; /* samples so far; that the server knows, or that were left out */
    struct sample samples[METER_MAX];
};

struct meter *meter_new(usec every_us)
{
    struct meter *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->every_us = every_us;
    m->began_us = boot_now();
    m->next_us = USEC_NEVER;
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void meter_free(struct meter *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void meter_begin(struct meter *m)
{
    m->looked_us = boot_now();
    m->cpu_us = 0;
    m->next_us = m->looked_us + MIN(m->every_us, FIRST_US);
}

usec meter_next_us(const struct meter *m)
{
    return m->next_us;
}

static void keep(struct meter *m, struct sample s)
{
    pthread_mutex_lock(&m->lock);
    m->samples[m->taken++ % METER_MAX] = s;
    if (m->taken - m->told > METER_MAX)
        m->told = m->taken - METER_MAX;
    pthread_mutex_unlock(&m->lock);
}

void meter_look(struct meter *m, const struct sandbox *box, bool still)
{
    const usec now = boot_now();
    struct sandbox_usage u;
    if (now < m->next_us)
        return;
    m->next_us = now + m->every_us;
    if (still || now <= m->looked_us || !sandbox_usage(box, &u))
        return;
    /* Less than before: of a process that nobody waited for. */
    keep(m, (struct sample){.at_us = now - m->began_us,
                            .cpu = (double)MAX(u.cpu_us - m->cpu_us, 0) / (double)(now - m->looked_us),
                            .memory_bytes = u.memory_bytes});
    m->cpu_us = MAX(u.cpu_us, m->cpu_us);
    m->looked_us = now;
}

static double rounded(double v)
{
    return (double)(int64_t)(v * 1000 + 0.5) / 1000;
}

uint64_t meter_write(struct meter *m, struct json_writer *w)
{
    pthread_mutex_lock(&m->lock);
    const uint64_t mark = m->taken > m->told ? m->taken : 0;
    if (mark)
        jw_array(w, "samples");
    for (uint64_t i = m->told; i < mark; i++) {
        const struct sample *s = &m->samples[i % METER_MAX];
        jw_object(w, NULL);
        jw_real(w, "at_s", rounded((double)s->at_us / (double)USEC_PER_SEC));
        jw_real(w, "cpu", rounded(s->cpu));
        jw_int(w, "memory_bytes", s->memory_bytes);
        jw_object_end(w);
    }
    if (mark)
        jw_array_end(w);
    pthread_mutex_unlock(&m->lock);
    return mark;
}

void meter_told(struct meter *m, uint64_t mark)
{
    pthread_mutex_lock(&m->lock);
    m->told = MAX(m->told, mark);
    pthread_mutex_unlock(&m->lock);
}
