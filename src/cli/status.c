/* haul status: is the server there, what stands in its queues, who works. */
#include "base/auto.h"
#include "cli/command.h"
#include "cli/table.h"

/* For how long the oldest job that could run has waited. */
static void print_wait(struct table *t, const json_t *q)
{
    char text[32];
    if (jint(q, "ready") == 0) { /* none, or not told */
        table_cell(t, "");
        return;
    }
    left_format((usec)(jreal(q, "oldest_ready_age_s") * 1e6), text);
    table_cell(t, text);
}

static void print_queues(const json_t *queues)
{
    static const char *const counts[] = {"pending", "running", "success", "failed", "cancelled"};
    size_t i;
    json_t *q;
    if (json_array_size(queues) == 0) {
        printf("queues   none yet\n");
        return;
    }
    struct table *t = table_new("*QUEUE|*TYPE|>PENDING|>WAITS|>RUNNING|>SUCCESS|>FAILED|>CANCELLED");
    json_array_foreach (queues, i, q) {
        table_cell(t, jtext(q, "queue"));
        table_cell(t, jtext(q, "task_type"));
        for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
            char text[32];
            int64_t n = jint(q, counts[k]);
            snprintf(text, sizeof(text), "%lld", (long long)n);
            table_cell_colour(t, text, n > 0 ? status_colour(counts[k]) : COLOUR_DIM);
            if (k == 0)
                print_wait(t, q);
        }
    }
    fputc('\n', stdout);
    table_print(t, stdout, 0);
    table_free(t);
}

/* Those that share a database; one alone is told of already. */
static void print_servers(const json_t *servers)
{
    const size_t n = json_array_size(servers);
    size_t i;
    json_t *s;
    json_array_foreach (servers, i, s) {
        AUTO_FREE char *name = text_safe(jtext(s, "name")), *version = text_safe(jtext(s, "version"));
        if (n > 1)
            printf("%s%s, version %s, %s%s\n", i == 0 ? "servers  " : "         ", name ? name : "",
                   version ? version : "", jtext(s, "state"),
                   json_is_true(json_object_get(s, "self")) ? " (this one answered)" : "");
    }
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    json_t *stats = NULL, *workers = NULL, *w;
    size_t i, live = 0;
    int64_t busy = 0, slots = 0;
    int status = cli_call(cli, "GET", "/v1/stats", NULL, &stats, "status");
    if (status == EXIT_OK)
        status = cli_call(cli, "GET", "/v1/workers", NULL, &workers, "status");
    if (status != EXIT_OK) {
        json_decref(stats);
        return status;
    }
    if (cli->json) {
        json_t *doc =
            json_pack("{s:s,s:O,s:O*,s:O,s:O}", "url", haul_client_server(cli->client), "server",
                      json_object_get(stats, "server"), "servers", json_object_get(stats, "servers"), "queues",
                      json_object_get(stats, "queues"), "workers", json_object_get(workers, "workers"));
        print_json(doc);
        json_decref(doc);
    } else {
        const json_t *server = json_object_get(stats, "server");
        char up[32];
        AUTO_FREE char *version = text_safe(jtext(server, "version"));
        json_array_foreach (json_object_get(workers, "workers"), i, w) {
            if (strcmp(jtext(w, "state"), "gone") == 0)
                continue;
            live++;
            busy += jint(w, "slots_busy");
            slots += jint(w, "slots_total");
        }
        left_format((usec)(jreal(server, "uptime_s") * 1e6), up);
        printf("server   %s, version %s, up %s\n", haul_client_server(cli->client), version ? version : "", up);
        print_servers(json_object_get(stats, "servers"));
        printf("workers  %zu live, %lld of %lld slots busy%s\n", live, (long long)busy, (long long)slots,
               live == 0 ? "; 'haul worker' starts one" : "");
        print_queues(json_object_get(stats, "queues"));
    }
    json_decref(stats);
    json_decref(workers);
    return EXIT_OK;
}

const struct command command_status = {
    .name = "status",
    .args = "",
    .summary = "Is the server there, what stands in its queues, who works.",
    .run = run,
};
