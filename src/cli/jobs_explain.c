/* haul jobs explain: why a job waits, and until when. */
#include "base/auto.h"
#include "cli/command.h"
#include "cli/table.h"

static void line(const char *name, const char *value)
{
    if (!*value)
        return;
    AUTO_FREE char *safe = text_safe(value);
    printf("%s%-16s%s%s\n", colour_begin(stdout, COLOUR_DIM), name, colour_end(stdout, COLOUR_DIM), safe ? safe : "");
}

static void line_position(const json_t *why)
{
    char text[64];
    if (!json_is_integer(json_object_get(why, "position")))
        return;
    snprintf(text, sizeof(text), "%s%lld", json_is_true(json_object_get(why, "position_exact")) ? "" : "behind ",
             (long long)jint(why, "position"));
    line("position", text);
}

static void line_workers(const json_t *workers)
{
    char text[160];
    snprintf(text, sizeof(text), "%lld of %lld live ones run its type, %lld of their %lld slots are free",
             (long long)jint(workers, "serving"), (long long)jint(workers, "live"),
             (long long)jint(workers, "free_slots"), (long long)jint(workers, "slots"));
    line("workers", text);
    snprintf(text, sizeof(text), "%lld live ones that run its type are drained", (long long)jint(workers, "drained"));
    if (jint(workers, "drained") > 0)
        line("drained", text);
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    char path[128];
    AUTO_FREE char *text = NULL;
    json_t *why = NULL;
    if (!cli_job_id(&command_jobs_explain, argv[0]))
        return EXIT_USAGE;
    snprintf(path, sizeof(path), "/v1/jobs/%s/explain", argv[0]);
    int status = cli_call(cli, "GET", path, &text, &why, argv[0]);
    if (status == EXIT_OK && cli->json) {
        print_json_text(text);
    } else if (status == EXIT_OK) {
        line("job", jtext(why, "job_id"));
        line("reason", jtext(why, "reason"));
        line("that is", jtext(why, "text"));
        line_position(why);
        line_workers(json_object_get(why, "workers"));
        line("likely start", jtext(why, "likely_start_at"));
        line("start deadline", jtext(why, "start_deadline_at"));
    }
    json_decref(why);
    return status;
}

const struct command command_jobs_explain = {
    .name = "jobs",
    .sub = "explain",
    .args = "ID",
    .summary = "Why a job waits: its place, what holds it back, when it will likely start.",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
