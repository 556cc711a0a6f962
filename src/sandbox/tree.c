/* By each thread's list of children: a look at every process of the host would cost the more the more jobs it runs. */
#include "sandbox/tree.h"
#include "base/auto.h"
#include "sandbox/process.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct tree {
    pid_t pids[TREE_MAX];
    unsigned n;
};

static void children_of_thread(struct tree *t, pid_t pid, const char *thread)
{
    char path[96];
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", pid, thread);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    int child;
    while (t->n < TREE_MAX && fscanf(f, "%d", &child) == 1)
        t->pids[t->n++] = child;
    fclose(f);
}

static void children_of(struct tree *t, pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *d = opendir(path);
    if (!d)
        return;
    for (const struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            children_of_thread(t, pid, e->d_name);
    closedir(d);
}

bool tree_usage(pid_t root, usec *ret_cpu_us, int64_t *ret_memory_bytes)
{
    const long hz = MAX(sysconf(_SC_CLK_TCK), 1), page = sysconf(_SC_PAGESIZE);
    struct tree *t = malloc(sizeof *t);
    unsigned long long ticks = 0;
    long long pages = 0;
    if (!t)
        return false;
    t->pids[0] = root;
    t->n = 1;
    for (unsigned i = 0; i < t->n; i++) {
        char name[16];
        struct process p;
        snprintf(name, sizeof name, "%d", t->pids[i]);
        if (!sandbox_process_read(name, &p))
            continue;
        ticks += p.children_ticks + (i > 0 ? p.own_ticks : 0);
        pages += i > 0 ? p.pages : 0;
        children_of(t, t->pids[i]);
    }
    const bool any = t->n > 1;
    free(t);
    *ret_cpu_us = (usec)(ticks * USEC_PER_SEC / (unsigned long long)hz);
    *ret_memory_bytes = (int64_t)pages * page;
    return any;
}
