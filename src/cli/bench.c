/* haul bench submit, life, start */
#include "bench/bench.h"
#include "base/auto.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/term.h"

struct args {
    int64_t connections, batch, seconds, jobs, rate, workers, samples;
    const char *queue, *data;
};

#define CONNECTIONS                                                                                                    \
    {                                                                                                                  \
        "connections", 'c', OPT_INT, offsetof(struct args, connections), "N", 1, 1000,                                 \
            "connections, each with one request on its way (default 50)"                                               \
    }
#define BATCH                                                                                                          \
    {                                                                                                                  \
        "batch", 'b', OPT_INT, offsetof(struct args, batch), "N", 1, 1000,                                             \
            "jobs a request: 1 is POST /v1/jobs, more is POST /v1/jobs:batch (default 1)"                              \
    }
#define SECONDS                                                                                                        \
    {                                                                                                                  \
        "seconds", 's', OPT_INT, offsetof(struct args, seconds), "S", 1, 86400, "how long (default 5)"                 \
    }
#define JOBS                                                                                                           \
    {                                                                                                                  \
        "jobs", 'n', OPT_INT, offsetof(struct args, jobs), "N", 1, INT64_C(1000000000),                                \
            "end after N jobs, however long it takes unless --seconds is given"                                        \
    }
#define RATE                                                                                                           \
    {                                                                                                                  \
        "rate", 'r', OPT_INT, offsetof(struct args, rate), "N", 1, 1000000,                                            \
            "steady: N jobs a second become due, and latency counts from then (default: as many as it takes)"          \
    }
#define QUEUE                                                                                                          \
    {                                                                                                                  \
        "queue", 'q', OPT_TEXT, offsetof(struct args, queue), "NAME", 0, 0,                                            \
            "submit to this queue, whatever is in it (default: one of this run's own)"                                 \
    }
#define DATA                                                                                                           \
    {                                                                                                                  \
        "data", 0, OPT_TEXT, offsetof(struct args, data), "DIR", 0, 0,                                                 \
            "make the temporary folder in DIR: its disk is the one that is measured (default /var/tmp)"                \
    }

static const struct opt submit_options[] = {CONNECTIONS, BATCH, SECONDS, JOBS, RATE, QUEUE, DATA};
static const struct opt life_options[] = {
    CONNECTIONS,
    BATCH,
    {"workers", 0, OPT_INT, offsetof(struct args, workers), "N", 1, 64,
     "workers: polls that may be on their way at once, each for up to 64 jobs (default 4)"},
    SECONDS,
    JOBS,
    QUEUE,
    DATA};
static const struct opt start_options[] = {
    {"samples", 'n', OPT_INT, offsetof(struct args, samples), "N", 1, 100000, "of each kind (default 100)"}, DATA};

static int64_t given(int64_t v, int64_t otherwise)
{
    return v > 0 ? v : otherwise;
}

/* What stays on a server that is not ours is told, with how to be rid of it. */
static void tell_rest(const struct bench_report *r)
{
    if (r->plan->server && r->begun && r->plan->kind != BENCH_LIFE)
        fprintf(stderr, "The jobs stay on that server: 'haul jobs cancel --server %s --queue %s --yes' cancels them.\n",
                r->url, r->queue);
}

static int report(const struct cli *cli, const struct bench_report *r)
{
    struct err err = {0};
    if (!cli->json) {
        bench_print(r, stdout);
        return EXIT_OK;
    }
    return bench_print_json(r, stdout, &err) == ERR_OK ? EXIT_OK : cli_err(&err, "bench");
}

static int run(struct cli *cli, const struct command *cmd, enum bench_kind kind, const struct args *a)
{
    struct err err = {0};
    const struct bench_plan plan = {.kind = kind,
                                    .server = cli->server,
                                    .data = a->data ? a->data : "/var/tmp",
                                    .queue = a->queue,
                                    .connections = (unsigned)given(a->connections, 50),
                                    .batch = (unsigned)given(a->batch, 1),
                                    .workers = (unsigned)given(a->workers, 4),
                                    .seconds = (unsigned)given(a->seconds, a->jobs > 0 && a->rate <= 0 ? 0 : 5),
                                    .jobs = (uint64_t)given(a->jobs, 0),
                                    .rate = (unsigned)given(a->rate, 0),
                                    .samples = (unsigned)given(a->samples, 100),
                                    .stop = interrupted};
    if (a->queue && !name_valid(a->queue, 63))
        return cli_usage(cmd, "'%.80s' cannot be a queue here: 1 to 63 letters, digits and . _ : -", a->queue);
    AUTO_FREE struct bench_report *r = calloc(1, sizeof(*r));
    if (!r) {
        err_set(&err, ERR_NO_MEMORY, 0, "bench");
        return cli_err(&err, NULL);
    }
    interrupt_catch();
    int rc = bench_run(&plan, r, &err);
    int status = report(cli, r);
    tell_rest(r);
    if (rc != ERR_OK)
        status = rc == ERR_USAGE ? cli_usage(cmd, "%s", err.msg) : cli_err(&err, "bench");
    fflush(stdout);
    interrupt_release();
    return status;
}

static int run_submit(struct cli *cli, const void *args, int argc, char **argv)
{
    return run(cli, &command_bench_submit, BENCH_SUBMIT, args);
}

static int run_life(struct cli *cli, const void *args, int argc, char **argv)
{
    return run(cli, &command_bench_life, BENCH_LIFE, args);
}

static int run_start(struct cli *cli, const void *args, int argc, char **argv)
{
    return run(cli, &command_bench_start, BENCH_START, args);
}

#define SERVER_DETAIL(SPREAD)                                                                                          \
    "Without --server it starts a server of its own on a temporary folder, and removes both afterwards. HAUL_SERVER\n" \
    "and the configuration file are not looked at: no load gets onto a server that was not named.\n"                   \
    "--server URL,URL,... names servers of one installation, " SPREAD "\n"                                             \
    "What each figure means: docs/performance.md."

const struct command command_bench_submit = {
    .name = "bench",
    .sub = "submit",
    .args = "",
    .summary = "Measure submissions: rate and latency, beside the disk's own limits.",
    .detail = SERVER_DETAIL("at most 16: connections go to each in turn."),
    .options = submit_options,
    .n_options = ARRAY_LEN(submit_options),
    .run = run_submit,
};

const struct command command_bench_life = {
    .name = "bench",
    .sub = "life",
    .args = "",
    .summary = "Measure whole lives: submitted, leased and completed by workers in this process.",
    .detail = SERVER_DETAIL("at most 16: connections go to each in turn."),
    .options = life_options,
    .n_options = ARRAY_LEN(life_options),
    .run = run_life,
};

const struct command command_bench_start = {
    .name = "bench",
    .sub = "start",
    .args = "",
    .summary = "Measure how soon an idle system answers, leases, and runs a handler.",
    .detail = SERVER_DETAIL("at most 2: jobs are submitted to the first,\n"
                            "and leased and run at the second."),
    .options = start_options,
    .n_options = ARRAY_LEN(start_options),
    .run = run_start,
};
