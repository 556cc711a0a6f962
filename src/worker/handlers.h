#pragma once
/* handlers.yaml: what this worker can run. */
#include "base/config.h"
#include "base/err.h"
#include "sandbox/sandbox.h"

#define PERMANENT_CODES_MAX 64

struct handler {
    char *task_type;
    struct string_list command; /* items[0] is an absolute path */
    char *version;
    usec timeout_us;           /* 0 = none */
    usec no_progress_us;       /* 0 = none */
    struct string_list verify; /* looks at what the handler left, as `command` is; empty: nothing does */
    usec verify_timeout_us;    /* 0 = none */
    bool bare;                 /* isolation: none */
    unsigned char permanent[PERMANENT_CODES_MAX];
    size_t n_permanent;
    struct string_list read_only;
    struct string_list env; /* "K=V" */
    uint64_t file_size_max;
    usec checkpoint_us;      /* how often, also unasked; 0: only when asked and when told to stop */
    uint64_t checkpoint_max; /* bytes of all its files; 0: takes none */
};

struct handlers {
    struct handler *items;
    size_t n;
};

int handlers_load(const char *path, struct handlers **ret, struct err *err);
void handlers_free(struct handlers *h);
const struct handler *handlers_find(const struct handlers *h, const char *task_type); /* NULL when absent */
/** May it run where the host allows no more than `level`? */
bool handler_runs_at(const struct handler *h, enum sandbox_level level);
