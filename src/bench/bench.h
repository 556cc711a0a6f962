#pragma once
/* What a server reaches: submissions, whole lives of jobs, and how soon an idle one starts a job. Every figure counts acknowledged work only,
 * and stands beside the bare limits of the same disk in the same run. Called by cli/bench.c. */
#include "base/err.h"
#include "bench/bare.h"
#include "bench/latency.h"
#include <stdbool.h>
#include <stdio.h>

enum bench_kind { BENCH_SUBMIT, BENCH_LIFE, BENCH_START };

struct bench_plan {
    enum bench_kind kind;
    const char *server; /* URL, or several with commas between; NULL: our own, on a temporary folder */
    const char *data;   /* where the temporary folder lies */
    const char *queue;  /* NULL: one of this run's own */
    unsigned connections, batch, workers;
    unsigned seconds;   /* 0: until all of `jobs` are done */
    uint64_t jobs;      /* at most so many; 0: no limit */
    unsigned rate;      /* jobs a second that become due, for `seconds`; 0: as many as it takes */
    unsigned samples;   /* start: of each kind */
    bool (*stop)(void); /* asked now and then; NULL: never */
};

struct bench_step {
    const char *name; /* "submit", "lease"...; start: "sync" too, the disk's own beside each submission */
    struct latency latency;
};

#define BENCH_STEPS 5

struct bench_report {
    const struct bench_plan *plan;          /* borrowed */
    const char *what;                       /* of kind: "submit" */
    char url[4400], disk[32], queue[64];    /* url: of each server, commas between */
    char submitted_at[400], leased_at[400]; /* start: the first and the last of them */
    unsigned n_servers;
    bool begun;            /* there is something to tell */
    uint64_t acknowledged; /* jobs: submitted, or completed; start: samples */
    uint64_t requests, repeats, broken, unsent;
    struct err first; /* the first refusal or broken connection */
    double elapsed_s;
    double client_cpu_s, server_cpu_s;    /* during the load; server: -1 when it is not ours */
    int64_t server_peak_bytes;            /* memory; -1 when it is not ours */
    int64_t counted;                      /* jobs that the server itself counts of this run; -1: not asked */
    struct bench_step steps[BENCH_STEPS]; /* the first one is what the figure is about */
    unsigned n_steps;
    struct bare_rate sync, sqlite[BARE_SQLITE];
    unsigned n_sqlite;
};

/** Runs it. `ret` is filled as far as it came, also on an error. */
int bench_run(const struct bench_plan *plan, struct bench_report *ret, struct err *err);

/** For people, and for programs. */
void bench_print(const struct bench_report *r, FILE *f);
int bench_print_json(const struct bench_report *r, FILE *f, struct err *err);
