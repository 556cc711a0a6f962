/* haul alerts test: does a message get to those who are to hear of alerts? */
#include "base/auto.h"
#include "base/buf.h"
#include "cli/command.h"
#include "cli/term.h"

#define PATIENCE_MS 60000 /* a receiver has up to 30 s, and may be busy with another message */

static int try_one(struct cli *cli, const char *receiver, json_t *results)
{
    struct haul_error herr;
    struct buf path;
    AUTO_FREE char *text = NULL;
    int status = EXIT_OK;
    struct haul_client *c = cli_client(cli, &status);

    if (!c)
        return status;
    buf_init(&path, 4096);
    buf_adds(&path, "/v1/alerts/receivers/");
    url_add(&path, receiver);
    buf_adds(&path, "/test");
    if (path.failed)
        status = cli_usage(NULL, "alerts test: the name is too long");
    else if (haul_call(c, "POST", buf_str(&path), "{}", NULL, PATIENCE_MS, &text, &herr) != HAUL_OK)
        status = cli_haul_err(cli, &herr, receiver);
    buf_release(&path);
    if (status != EXIT_OK)
        return status;
    json_t *answer = json_loads(text, 0, NULL);
    const bool sent = json_is_true(json_object_get(answer, "sent"));
    AUTO_FREE char *why = text_safe(jtext(answer, "error"));
    json_array_append_new(results, answer);
    if (!cli->json)
        printf("%s: %s%s\n", receiver, sent ? "sent" : "not sent: ", sent ? "" : why ? why : "");
    return sent ? EXIT_OK : err_exit(ERR_NETWORK);
}

static int try_all(struct cli *cli, json_t *results)
{
    const json_t *receiver;
    json_t *doc = NULL;
    size_t i;
    int status = cli_call(cli, "GET", "/v1/alerts", NULL, &doc, "alerts test");

    if (status != EXIT_OK)
        return status;
    if (json_array_size(json_object_get(doc, "receivers")) == 0)
        fprintf(stderr, "no receivers; section alert_receivers of the server's configuration declares them\n");
    json_array_foreach (json_object_get(doc, "receivers"), i, receiver) {
        const int one = try_one(cli, jtext(receiver, "receiver"), results);
        status = one != EXIT_OK ? one : status;
    }
    json_decref(doc);
    return status;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    json_t *results = json_array();
    int status = argc == 0 ? try_all(cli, results) : EXIT_OK;

    for (int i = 0; i < argc; i++) {
        const int one = try_one(cli, argv[i], results);
        status = one != EXIT_OK ? one : status;
    }
    if (cli->json && json_array_size(results) > 0) {
        json_t *shown = json_pack("{s:O}", "results", results);
        print_json(shown);
        json_decref(shown);
    }
    json_decref(results);
    return status;
}

const struct command command_alerts_test = {
    .name = "alerts",
    .sub = "test",
    .args = "[RECEIVER...]",
    .summary = "Send a test message to a receiver of alerts, or to all of them.",
    .detail =
        "The server sends it as it sends alerts, once, and tells what came of it. Exit status 16: one was not sent.",
    .max_args = -1,
    .run = run,
};
