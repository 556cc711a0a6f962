/* haul dlq retry, discard: of dead letters, by cause, at a pace. */
#include "cli/action.h"
#include "base/auto.h"

static const struct opt options[] = {
    {"group", 'g', OPT_TEXT, offsetof(struct action_args, filter.fingerprint), "FINGERPRINT", 0, 0,
     "those with this fingerprint, as 'haul dlq list --group' prints it"},
    FILTER_OPTIONS_ANY(action_args, filter),
    {"failed-before", 0, OPT_TEXT, offsetof(struct action_args, filter.failed_before), "TIME", 0, 0,
     "that failed before TIME"},
    {"rate", 'r', OPT_TEXT, offsetof(struct action_args, rate), "N/s", 0, 0,
     "so many a second (/s), minute (/m) or hour (/h); this command keeps the pace while it runs"},
    ACTION_OPTIONS,
};

static const struct action action_retry = {
    .cmd = &command_dlq_retry,
    .statuses = {"failed"},
    .verb = "Retry",
    .can = "only dead letters can be retried here",
    .past = "retried",
    .dead = true,
};
static const struct action action_discard = {
    .cmd = &command_dlq_discard,
    .statuses = {"failed"},
    .verb = "Discard",
    .can = "only dead letters can be discarded here",
    .past = "discarded",
    .dead = true,
};

static int run_retry(struct cli *cli, const void *args, int argc, char **argv)
{
    return act(cli, &action_retry, args, argc, argv);
}

static int run_discard(struct cli *cli, const void *args, int argc, char **argv)
{
    return act(cli, &action_discard, args, argc, argv);
}

#define HOW                                                                                                            \
    "The dead letters are counted first and shown by type; a terminal asks, elsewhere --yes is needed. Exactly what\n" \
    "was counted is acted upon, each once, newest first. --rate is kept by this command: when it is stopped, so is\n"  \
    "the redrive, and the same command takes the rest. A fingerprint that no dead letter has: exit status 12.\n"

const struct command command_dlq_retry = {
    .name = "dlq",
    .sub = "retry",
    .args = "",
    .summary = "Run dead letters again, all of one cause, at a pace.",
    .detail = HOW "Examples:\n"
                  "  haul dlq retry --group 3f1c0d7a9be24456 --rate 2/s\n"
                  "  haul dlq retry --type transcode_v1 --created-after 12h --limit 10 --yes\n"
                  "  haul dlq retry --all --dry-run",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .run = run_retry,
};
const struct command command_dlq_discard = {
    .name = "dlq",
    .sub = "discard",
    .args = "",
    .summary = "Forget dead letters, with their logs and outputs.",
    .detail = HOW "Examples:\n"
                  "  haul dlq discard --group 3f1c0d7a9be24456\n"
                  "  haul dlq discard --all --failed-before 30d --yes",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .run = run_discard,
};
