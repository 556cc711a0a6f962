/* haul jobs wait */
#include "base/auto.h"
#include "base/json.h"
#include "cli/follow.h"

struct args {
    usec timeout;
};

static const struct opt options[] = {
    {"timeout", 0, OPT_DURATION, offsetof(struct args, timeout), "DURATION", 0, 0,
     "wait at most so long for all of them (exit status 4)"},
    {"wait-timeout", 0, OPT_DURATION, offsetof(struct args, timeout), "DURATION", 0, 0,
     "the same; so called with 'haul submit', where --timeout is the job's"},
};

/* The worst of them is the exit status: an error, then failed, gave up, cancelled. */
static int rank(int status)
{
    return status == EXIT_OK              ? 0
           : status == EXIT_JOB_CANCELLED ? 1
           : status == EXIT_GAVE_UP       ? 2
           : status == EXIT_JOB_FAILED    ? 3
                                          : 4;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct args *a = args;
    for (int i = 0; i < argc; i++)
        if (!cli_job_id(&command_jobs_wait, argv[i]))
            return EXIT_USAGE;
    usec until = a->timeout > 0 ? now_mono() + a->timeout : USEC_NEVER;
    json_t *jobs = json_array();
    int worst = EXIT_OK;
    for (int i = 0; i < argc; i++) {
        AUTO_FREE char *text = NULL;
        json_t *job = NULL;
        char which[32];
        snprintf(which, sizeof(which), "[%d/%d]", i + 1, argc);
        int status = follow(cli, argv[i], argc > 1 ? which : NULL, until, i > 0, &text);
        if (rank(status) > rank(worst))
            worst = status;
        if (text && json_parse(text, strlen(text), &job, NULL) == ERR_OK) {
            if (!cli->json && !(term_is(stdout) && term_is(stderr))) /* on one terminal, follow has said so already */
                printf("%s %s\n", argv[i], jtext(job, "status"));
            fflush(stdout);
            json_array_append_new(jobs, job);
        }
    }
    if (cli->json)
        print_json(jobs);
    json_decref(jobs);
    return worst;
}

const struct command command_jobs_wait = {
    .name = "jobs",
    .sub = "wait",
    .args = "ID...",
    .summary = "Follow jobs to their end; the exit status tells the worst.",
    .detail =
        "A terminal shows a bar with percent, rate and time left; elsewhere there is a line for each tenth. Several\n"
        "jobs are shown one after the other, in the order given.\n"
        "Exit status: 0 all succeeded, 1 one failed, 3 one was cancelled, 4 waiting gave up.",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
