#pragma once
/* A haul of our own, run from this very program: a server on a temporary folder, a worker for it. It ends with us, whatever ends us. */
#include "base/err.h"
#include <stdint.h>
#include <sys/types.h>

struct child {
    pid_t pid;      /* 0: none */
    int out;        /* what it prints on stdout */
    char log[4096]; /* the file that has its stderr */
};

/** @param argv  "haul", "server", ...; ended by NULL. @param log  file for its stderr */
int child_start(struct child *c, const char *const *argv, const char *log, struct err *err);
/** The first line that it prints; ERR_UNAVAILABLE with the end of its log when it ends before, ERR_TIMEOUT after 20 s. */
int child_line(struct child *c, char *ret, size_t size, struct err *err);
/** Has it ended? Then `err` tells how, with the last line of its log. */
int child_alive(struct child *c, struct err *err);
/** SIGTERM, and SIGKILL when that is not enough in 20 s. */
void child_stop(struct child *c);
int64_t child_cpu_ns(const struct child *c);     /* used so far; 0 when it is not known */
int64_t child_peak_bytes(const struct child *c); /* the most memory it had (VmHWM); 0 when it is not known */
