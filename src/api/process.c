#include "api/process.h"
#include "base/auto.h"
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void read_memory(struct process *ret)
{
    long long virtual_pages, resident_pages;
    FILE *f = fopen("/proc/self/statm", "re");

    if (!f)
        return;
    if (fscanf(f, "%lld %lld", &virtual_pages, &resident_pages) == 2) {
        ret->virtual_bytes = virtual_pages * sysconf(_SC_PAGESIZE);
        ret->resident_bytes = resident_pages * sysconf(_SC_PAGESIZE);
    }
    fclose(f);
}

static int64_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int64_t n = -3; /* ".", "..", and the descriptor that reads them */

    if (!dir)
        return 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n > 0 ? n : 0;
}

void process_read(struct process *ret)
{
    struct timespec cpu;
    struct rlimit limit;

    *ret = (struct process){.open_fds = count_fds()};
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
        ret->cpu_us = (usec)cpu.tv_sec * USEC_PER_SEC + cpu.tv_nsec / 1000;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        ret->max_fds = limit.rlim_cur == RLIM_INFINITY ? INT64_MAX : (int64_t)limit.rlim_cur;
    read_memory(ret);
}
