/* haul jobs cancel, retry, discard: one call for each id, each reported, none stops the others. */
#include "base/auto.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/term.h"

static int act_on(struct cli *cli, const char *verb, const char *id, json_t *report)
{
    char path[128];
    AUTO_FREE char *text = NULL;
    struct haul_error herr;
    json_t *job = NULL;
    int status = EXIT_OK;
    struct haul_client *c = cli_client(cli, &status);
    if (!c)
        return status;
    bool discard = strcmp(verb, "discard") == 0;
    snprintf(path, sizeof(path), discard ? "/v1/jobs/%s" : "/v1/jobs/%s/%s", id, verb);
    if (haul_call_repeated(c, discard ? "DELETE" : "POST", path, NULL, NULL, NULL, 3, &text, &herr) != HAUL_OK) {
        json_array_append_new(
            report, json_pack("{s:s,s:b,s:s,s:s}", "job_id", id, "ok", 0, "code", herr.code, "detail", herr.message));
        return cli_haul_err(cli, &herr, id);
    }
    const char *now = discard ? "discarded" : "done";
    if (!discard && json_parse(text, strlen(text), &job, NULL) == ERR_OK)
        now = jtext(job, "status");
    bool asked = strcmp(verb, "cancel") == 0 && strcmp(now, "running") == 0;
    json_array_append_new(report, json_pack("{s:s,s:b,s:s}", "job_id", id, "ok", 1, "status", now));
    if (!cli->json)
        printf("%s %s\n", id, asked ? "is asked to stop" : now);
    json_decref(job);
    return EXIT_OK;
}

static int act(struct cli *cli, const struct command *cmd, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (!cli_job_id(cmd, argv[i]))
            return EXIT_USAGE;
    json_t *report = json_array();
    int status = EXIT_OK;
    for (int i = 0; i < argc; i++) {
        int rc = act_on(cli, cmd->sub, argv[i], report);
        if (status == EXIT_OK)
            status = rc;
    }
    if (cli->json)
        print_json(report);
    json_decref(report);
    return status;
}

static int run_cancel(struct cli *cli, const void *args, int argc, char **argv)
{
    return act(cli, &command_jobs_cancel, argc, argv);
}

static int run_retry(struct cli *cli, const void *args, int argc, char **argv)
{
    return act(cli, &command_jobs_retry, argc, argv);
}

static int run_discard(struct cli *cli, const void *args, int argc, char **argv)
{
    return act(cli, &command_jobs_discard, argc, argv);
}

const struct command command_jobs_cancel = {
    .name = "jobs",
    .sub = "cancel",
    .args = "ID...",
    .summary = "Cancel jobs; running ones are asked to stop.",
    .min_args = 1,
    .max_args = -1,
    .run = run_cancel,
};
const struct command command_jobs_retry = {
    .name = "jobs",
    .sub = "retry",
    .args = "ID...",
    .summary = "Run failed or cancelled jobs again.",
    .min_args = 1,
    .max_args = -1,
    .run = run_retry,
};
const struct command command_jobs_discard = {
    .name = "jobs",
    .sub = "discard",
    .args = "ID...",
    .summary = "Forget finished jobs, with their logs and outputs.",
    .min_args = 1,
    .max_args = -1,
    .run = run_discard,
};
