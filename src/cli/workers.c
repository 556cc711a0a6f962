/* haul workers */
#include "base/auto.h"
#include "base/buf.h"
#include "cli/command.h"
#include "cli/table.h"

static void row(struct table *t, const json_t *w)
{
    struct buf b;
    const char *state = jtext(w, "state"), *key;
    json_t *version;
    char seen[32];
    buf_init(&b, 64 << 10);
    json_object_foreach (json_object_get(w, "handlers"), key, version) {
        const char *v = json_string_value(version);
        buf_printf(&b, "%s%s%s%s", b.len ? " " : "", key, v && *v ? "@" : "", v ? v : "");
    }
    table_cell(t, jtext(w, "name"));
    table_cell(t, jtext(w, "host"));
    table_cell_colour(t, state, status_colour(state));
    table_cellf(t, "%lld/%lld", (long long)jint(w, "slots_busy"), (long long)jint(w, "slots_total"));
    const json_t *load = json_object_get(w, "load");
    char used[32], total[32];
    if (json_is_object(load)) {
        bytes_format(jint(load, "memory_bytes"), used);
        bytes_format(jint(load, "memory_total_bytes"), total);
        table_cellf(t, "%.1f/%lld", jreal(load, "cpu"), (long long)jint(load, "cpus"));
        table_cellf(t, "%s/%s", used, total);
    } else {
        table_cell(t, "-");
        table_cell(t, "-");
    }
    table_cell(t, jtext(w, "isolation"));
    table_cell(t, jtext(w, "version"));
    ago_format(jtext(w, "last_seen"), now_wall(), seen);
    table_cell(t, seen);
    table_cell(t, buf_str(&b));
    buf_release(&b);
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    AUTO_FREE char *text = NULL;
    json_t *doc = NULL;
    int status = cli_call(cli, "GET", "/v1/workers", &text, &doc, "workers");
    if (status != EXIT_OK)
        return status;
    if (cli->json)
        print_json_text(text);
    else
        print_rows(json_object_get(doc, "workers"),
                   "*NAME|*HOST|STATE|>BUSY|>CPU|>MEMORY|ISOLATION|VERSION|SEEN|*HANDLERS", row,
                   "no workers; 'haul worker' starts one");
    json_decref(doc);
    return EXIT_OK;
}

const struct command command_workers = {
    .name = "workers",
    .args = "",
    .summary = "List the workers that the server knows.",
    .run = run,
};
