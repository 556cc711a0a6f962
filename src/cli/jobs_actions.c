/* haul jobs cancel, retry, discard: by ids, or all that a filter matches. */
#include "cli/action.h"
#include "base/auto.h"

static const struct opt options[] = {
    FILTER_OPTIONS(action_args, filter),
    ACTION_OPTIONS,
};

static const struct action action_cancel = {
    .cmd = &command_jobs_cancel,
    .statuses = {"pending", "running"},
    .verb = "Cancel",
    .can = "only pending and running jobs can be cancelled",
    .past = "cancelled",
};
static const struct action action_retry = {
    .cmd = &command_jobs_retry,
    .statuses = {"failed", "cancelled"},
    .verb = "Retry",
    .can = "only failed and cancelled jobs can be retried",
    .past = "retried",
};
static const struct action action_discard = {
    .cmd = &command_jobs_discard,
    .statuses = {"success", "failed", "cancelled"},
    .verb = "Discard",
    .can = "only jobs that are success, failed or cancelled can be discarded",
    .past = "discarded",
};

static int run_cancel(struct cli *cli, const void *args, int argc, char **argv)
{
    return act(cli, &action_cancel, args, argc, argv);
}

static int run_retry(struct cli *cli, const void *args, int argc, char **argv)
{
    return act(cli, &action_retry, args, argc, argv);
}

static int run_discard(struct cli *cli, const void *args, int argc, char **argv)
{
    return act(cli, &action_discard, args, argc, argv);
}

#define HOW                                                                                                            \
    "With a filter the jobs are counted first and shown by status and type; a terminal asks, elsewhere --yes is\n"     \
    "needed. Exactly what was counted is acted upon, newest first; a job that has changed meanwhile may be refused\n"  \
    "(exit status 13). A filter that matches nothing is no error. "

const struct command command_jobs_cancel = {
    .name = "jobs",
    .sub = "cancel",
    .args = "[ID...]",
    .summary = "Cancel jobs; running ones are asked to stop.",
    .detail = HOW "Examples:\n"
                  "  haul jobs cancel --type transcode_v1 --label customer=acme\n"
                  "  haul jobs cancel --status pending --created-before 2d --yes",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .max_args = -1,
    .run = run_cancel,
};
const struct command command_jobs_retry = {
    .name = "jobs",
    .sub = "retry",
    .args = "[ID...]",
    .summary = "Run failed or cancelled jobs again.",
    .detail = HOW "Examples:\n"
                  "  haul jobs retry --status failed --type transcode_v1 --created-after 12h\n"
                  "  haul jobs retry --all --dry-run",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .max_args = -1,
    .run = run_retry,
};
const struct command command_jobs_discard = {
    .name = "jobs",
    .sub = "discard",
    .args = "[ID...]",
    .summary = "Forget finished jobs, with their logs and outputs.",
    .detail = HOW "Examples:\n"
                  "  haul jobs discard --status cancelled --created-before 2026-11-01\n"
                  "  haul jobs discard --label batch=test --limit 100",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .max_args = -1,
    .run = run_discard,
};
