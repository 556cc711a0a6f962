/* A redrive: made, followed, told of. */
#include "cli/dlq_redrive.h"
#include "base/auto.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/uuid.h"
#include "cli/patient.h"

#define LOOK_FIRST_MS 50
#define LOOK_MAX_MS   1000

static bool runs(const json_t *r)
{
    return strcmp(jtext(r, "state"), "running") == 0;
}

static const char *past(const json_t *r)
{
    return strcmp(jtext(r, "action"), "retry") == 0 ? "retried" : "discarded";
}

/* A call that is repeated while the server is away; its answer becomes *redrive. */
static int call(struct cli *cli, const char *method, const char *path, const char *body, const char *key,
                struct bar *bar, json_t **redrive)
{
    AUTO_FREE char *text = NULL;
    json_t *doc = NULL;
    struct haul_error herr;
    struct err err = {0};
    int status = EXIT_OK;
    if (!cli_client(cli, &status))
        return status;
    int rc = call_patiently(cli, method, path, body, key, bar, &text, NULL, &herr);
    bar_clear(bar);
    if (rc != HAUL_OK)
        return cli_haul_err(cli, &herr, NULL);
    if (json_parse(text, strlen(text), &doc, &err) != ERR_OK)
        return cli_err(&err, "the server's answer");
    json_decref(*redrive);
    *redrive = doc;
    return EXIT_OK;
}

int redrive_make(struct cli *cli, const char *body, json_t **ret)
{
    struct bar bar = {.label = "redrive:"};
    struct uuid id = uuid_v7(now_wall(), rng_real());
    char key[UUID_STR_MAX];
    uuid_format(&id, key);
    interrupt_catch();
    int status = call(cli, "POST", "/v1/redrives", body, key, &bar, ret);
    interrupt_release();
    return status;
}

static void show(struct bar *bar, const json_t *r)
{
    char text[64];
    const bool counted = json_is_integer(json_object_get(r, "matched"));
    const int64_t n = jint(r, "matched"), done = jint(r, "done");
    if (!term_is(stderr))
        return;
    snprintf(text, sizeof(text), counted ? "%lld of %lld" : "counting", (long long)done, (long long)n);
    bar_line(bar, counted && n > 0 ? (double)done / (double)n : -1, text);
}

/* A signal: it goes on without us. */
static void leave(const json_t *r)
{
    const char *id = jtext(r, "redrive_id");
    if (json_is_true(json_object_get(r, "dry_run")))
        return;
    fprintf(stderr, "haul: %lld jobs %s so far, and the server goes on\n", (long long)jint(r, "done"), past(r));
    fprintf(stderr, "haul: 'haul dlq redrives %.36s' shows it, 'haul dlq cancel %.36s' ends it\n", id, id);
}

int redrive_follow(struct cli *cli, json_t **redrive)
{
    struct bar bar = {.label = jtext(*redrive, "action")};
    char path[80];
    int status = EXIT_OK, ms = LOOK_FIRST_MS;
    snprintf(path, sizeof(path), "/v1/redrives/%.36s", jtext(*redrive, "redrive_id"));
    AUTO_FREE char *label = strdup(bar.label); /* the object is replaced */
    bar.label = label ? label : "";
    interrupt_catch();
    while (status == EXIT_OK && runs(*redrive)) {
        show(&bar, *redrive);
        if (interrupt_poll(-1, ms) < 0)
            break;
        ms = MIN(ms * 2, LOOK_MAX_MS);
        status = call(cli, "GET", path, NULL, NULL, &bar, redrive);
    }
    bar_clear(&bar);
    if (interrupted() && runs(*redrive))
        leave(*redrive);
    interrupt_release();
    return status;
}

int redrive_tell(const struct cli *cli, const json_t *r)
{
    const int64_t done = jint(r, "done"), n = jint(r, "matched"), skipped = jint(r, "skipped");
    const char *state = jtext(r, "state");
    if (cli->json)
        print_json(r);
    else if (runs(r))
        printf("%.36s\n", jtext(r, "redrive_id"));
    else if (json_is_true(json_object_get(r, "dry_run")))
        printf("%lld %s would be %s\n", (long long)n, n == 1 ? "job" : "jobs", past(r));
    else
        printf("%lld %s %s\n", (long long)done, done == 1 ? "job" : "jobs", past(r));
    if (skipped > 0)
        fprintf(stderr, "haul: %lld more matched, but somebody else had retried or discarded them by then\n",
                (long long)skipped);
    if (strcmp(state, "cancelled") != 0)
        return EXIT_OK;
    fprintf(stderr, "haul: the redrive was cancelled\n");
    return err_exit(ERR_CANCELLED);
}
