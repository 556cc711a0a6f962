#include "worker/host.h"
#include "base/auto.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LEAST_US (500 * USEC_PER_MSEC)

static bool cpu_read(uint64_t *ret_busy, uint64_t *ret_all)
{
    uint64_t user, nice, system, idle, iowait, irq, softirq, steal;
    FILE *f = fopen("/proc/stat", "re");
    if (!f)
        return false;
    const int n =
        fscanf(f, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
               &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal);
    fclose(f);
    if (n != 8)
        return false;
    *ret_busy = user + nice + system + irq + softirq;
    *ret_all = *ret_busy + idle + iowait + steal;
    return true;
}

static bool memory_read(int64_t *ret_used, int64_t *ret_total)
{
    char line[256];
    int64_t total = -1, available = -1;
    FILE *f = fopen("/proc/meminfo", "re");
    if (!f)
        return false;
    while (fgets(line, sizeof line, f) && (total < 0 || available < 0)) {
        (void)sscanf(line, "MemTotal: %" SCNd64 " kB", &total);
        (void)sscanf(line, "MemAvailable: %" SCNd64 " kB", &available);
    }
    fclose(f);
    *ret_total = total * 1024;
    *ret_used = MAX(total - available, 0) * 1024;
    return total > 0 && available >= 0;
}

bool host_look(struct host_meter *m, usec boot_us, struct host_load *ret)
{
    uint64_t busy, all;
    if ((!m->looked_us || boot_us - m->looked_us >= LEAST_US) && cpu_read(&busy, &all)) {
        struct host_load *l = &m->load;
        const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        l->cpus = (unsigned)MAX(cpus, 1);
        m->known =
            m->looked_us && all > m->all && busy >= m->busy && memory_read(&l->memory_bytes, &l->memory_total_bytes);
        if (m->known)
            l->cpu = MIN((double)(busy - m->busy) / (double)(all - m->all), 1) * l->cpus;
        m->looked_us = boot_us;
        m->busy = busy;
        m->all = all;
    }
    *ret = m->load;
    return m->known;
}
