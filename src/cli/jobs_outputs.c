/* haul jobs outputs */
#include "base/auto.h"
#include "cli/follow.h"
#include "cli/table.h"

struct args {
    const char *out;
};

static const struct opt options[] = {
    {"out", 'o', OPT_TEXT, offsetof(struct args, out), "DIR", 0, 0, "download them into DIR"},
};

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct args *a = args;
    char path[128];
    AUTO_FREE char *text = NULL;
    json_t *doc = NULL, *o;
    size_t i;
    if (!cli_job_id(&command_jobs_outputs, argv[0]))
        return EXIT_USAGE;
    snprintf(path, sizeof(path), "/v1/jobs/%s/outputs", argv[0]);
    int status = cli_call(cli, "GET", path, &text, &doc, argv[0]);
    if (status != EXIT_OK)
        return status;
    const json_t *outputs = json_object_get(doc, "outputs");
    if (cli->json) {
        print_json_text(text);
    } else if (json_array_size(outputs) == 0) {
        fprintf(stderr, "no outputs\n");
    } else if (!a->out) {
        struct table *t = table_new("*NAME|>SIZE|REF|*SHA-256");
        json_array_foreach (outputs, i, o) {
            char size[32];
            bytes_format(jint(o, "size"), size);
            table_cell(t, jtext(o, "name"));
            table_cell(t, size);
            table_cell(t, jtext(o, "ref"));
            table_cell(t, jtext(o, "sha256"));
        }
        table_print(t, stdout, 0);
        table_free(t);
    }
    json_decref(doc);
    return a->out ? outputs_fetch(cli, argv[0], a->out) : EXIT_OK;
}

const struct command command_jobs_outputs = {
    .name = "jobs",
    .sub = "outputs",
    .args = "ID",
    .summary = "List what a job made, or download it.",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
