#pragma once
/* A process as /proc shows it: what both init and those who must do its work without it want to know. */
#include <stdbool.h>
#include <sys/types.h>

struct process {
    pid_t pid, parent;
    char state;
    bool ours;                                    /* the caller's to use */
    unsigned long long own_ticks, children_ticks; /* CPU: its own, and that of its children that it waited for */
    long long pages;                              /* resident */
};

/** @param pid  a name in /proc. false: no process, or it is gone. */
bool sandbox_process_read(const char *pid, struct process *ret);
