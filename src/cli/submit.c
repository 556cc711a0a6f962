/* haul submit: files up, a job in, perhaps followed to its end. */
#include "base/auto.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/text.h"
#include "base/timefmt.h"
#include "cli/batch.h"
#include "cli/follow.h"
#include "cli/payload.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define INPUTS_MAX 64
#define POST_TRIES 10

struct args {
    struct text_list inputs, pairs, labels;
    const char *payload, *payload_ref, *queue, *dedup_key, *out;
    const char *delay, *run_at, *start_within, *timeout, *no_progress_timeout, *traceparent;
    int64_t priority, max_attempts;
    usec wait_timeout;
    bool wait;
    struct batch_args batch;
};

static const struct opt options[] = {
    {"input", 'i', OPT_LIST, offsetof(struct args, inputs), "[NAME=]FILE", 0, 0,
     "send FILE; the handler finds it as in/NAME (default: the file's own name)"},
    {"payload", 0, OPT_TEXT, offsetof(struct args, payload), "JSON", 0, 0,
     "parameters of the task (default {}); @FILE reads them from a file"},
    {"param", 'p', OPT_LIST, offsetof(struct args, pairs), "KEY=VALUE", 0, 0,
     "one parameter; true, false, null and numbers are taken as such"},
    {"payload-ref", 0, OPT_TEXT, offsetof(struct args, payload_ref), "URI", 0, 0,
     "a blob that is there already (default: the first input)"},
    {"queue", 'q', OPT_TEXT, offsetof(struct args, queue), "NAME", 0, 0, "queue (default: the task type)"},
    {"label", 'l', OPT_LIST, offsetof(struct args, labels), "KEY=VALUE", 0, 0, "a label to remember with the job"},
    {"dedup-key", 0, OPT_TEXT, offsetof(struct args, dedup_key), "KEY", 0, 0,
     "a second submission with the same key gives the first job"},
    {"delay", 0, OPT_TEXT, offsetof(struct args, delay), "DURATION", 0, 0,
     "do not start before this much time has passed"},
    {"run-at", 0, OPT_TEXT, offsetof(struct args, run_at), "TIME", 0, 0,
     "do not start before TIME: 10m (from now), 2026-12-01 10:00 (local), RFC 3339"},
    {"start-within", 0, OPT_TEXT, offsetof(struct args, start_within), "DURATION", 0, 0,
     "fail the job when it has not been started within so long from now"},
    {"priority", 0, OPT_INT, offsetof(struct args, priority), "0-9", 0, 9, "9 goes first (default 5)"},
    {"max-attempts", 0, OPT_INT, offsetof(struct args, max_attempts), "N", 1, 100,
     "attempts before it is failed (default 5)"},
    {"timeout", 0, OPT_TEXT, offsetof(struct args, timeout), "DURATION", 0, 0, "longest time of one attempt"},
    {"no-progress-timeout", 0, OPT_TEXT, offsetof(struct args, no_progress_timeout), "DURATION", 0, 0,
     "end an attempt that writes neither a report nor a log for so long"},
    {"traceparent", 0, OPT_TEXT, offsetof(struct args, traceparent), "TEXT", 0, 0,
     "the trace that the job is part of (W3C Trace Context; default: $TRACEPARENT and $TRACESTATE)"},
    {"batch", 'b', OPT_TEXT, offsetof(struct args, batch.file), "FILE", 0, 0,
     "submit a job for each line of FILE (- is stdin); other options are for lines without"},
    {"ids", 0, OPT_TEXT, offsetof(struct args, batch.ids), "FILE", 0, 0,
     "batch: write the jobs' ids there, one a line, in the order of the lines (- is stdout)"},
    {"rejects", 0, OPT_TEXT, offsetof(struct args, batch.rejects), "FILE", 0, 0,
     "batch: write the lines that are refused there, as they are"},
    {"max-errors", 0, OPT_INT, offsetof(struct args, batch.max_errors), "N", 0, INT32_MAX,
     "batch: stop when more than N lines are refused (default 100)"},
    {"key", 0, OPT_TEXT, offsetof(struct args, batch.key), "KEY", 0, 0,
     "batch: name the run: the same lines under the same KEY are submitted once in 24 h"},
    {"state", 0, OPT_TEXT, offsetof(struct args, batch.state), "FILE", 0, 0,
     "batch: remember there how far it came (default: the batch's name and .haul-state)"},
    {"restart", 0, OPT_FLAG, offsetof(struct args, batch.restart), NULL, 0, 0,
     "batch: forget an earlier run that did not come to its end, and begin with line 1"},
    {"wait", 'w', OPT_FLAG, offsetof(struct args, wait), NULL, 0, 0,
     "follow the job to its end; the exit status tells how it ended"},
    {"wait-timeout", 0, OPT_DURATION, offsetof(struct args, wait_timeout), "DURATION", 0, 0,
     "wait at most so long (exit status 4); implies --wait"},
    {"out", 'o', OPT_TEXT, offsetof(struct args, out), "DIR", 0, 0,
     "download the outputs into DIR after success; implies --wait"},
};

struct input {
    char *name; /* borrowed from argv or the path */
    const char *path;
    int fd;
    int64_t size;
    char ref[64];
};

/* "NAME=FILE"; a '=' behind a '/' belongs to the file's name. */
static void input_split(char *text, struct input *in)
{
    char *eq = strchr(text, '='), *slash = strchr(text, '/');
    in->path = text;
    if (eq && eq != text && (!slash || eq < slash) && access(text, F_OK) != 0) {
        *eq = '\0';
        in->name = text;
        in->path = eq + 1;
        return;
    }
    char *last = strrchr(text, '/');
    in->name = last ? last + 1 : text;
}

static int inputs_open(const struct command *cmd, const struct text_list *list, struct input *in)
{
    struct err err = {0};
    if (list->n > INPUTS_MAX)
        return cli_usage(cmd, "at most %d inputs can be given", INPUTS_MAX);
    for (size_t i = 0; i < list->n; i++) {
        struct stat st;
        input_split(list->items[i], &in[i]);
        in[i].fd = open(in[i].path, O_RDONLY | O_CLOEXEC);
        if (in[i].fd < 0 || fstat(in[i].fd, &st) != 0) {
            err_set(&err, ERR_IO, errno, "input '%s'", in[i].path);
            return cli_err(&err, NULL);
        }
        if (!S_ISREG(st.st_mode))
            return cli_usage(cmd, "input '%s' is not a regular file; 'haul blob put -' takes a pipe", in[i].path);
        in[i].size = st.st_size;
        if (!filename_valid(in[i].name))
            return cli_usage(cmd, "'%s' cannot be the name of an input: give one with --input NAME=FILE", in[i].name);
        for (size_t k = 0; k < i; k++)
            if (strcmp(in[k].name, in[i].name) == 0)
                return cli_usage(cmd, "two inputs are named '%s': rename one with --input NAME=FILE", in[i].name);
    }
    return EXIT_OK;
}

/* What the options say, checked and made ready for the wire. */
struct request {
    const char *task; /* NULL: each line of a batch has its own */
    char *payload;    /* JSON; NULL: not given */
    char run_at[RFC3339_MAX];
};

static int payload_read(const struct command *cmd, const struct args *a, char **ret)
{
    struct err err = {0};
    json_t *doc = NULL;
    *ret = NULL;
    if (a->payload && a->pairs.n > 0)
        return cli_usage(cmd, "--payload and -p cannot be given together");
    if (a->pairs.n > 0) {
        int rc = payload_from_pairs(a->pairs.items, a->pairs.n, &doc, &err);
        if (rc == ERR_USAGE)
            return cli_usage(cmd, "%s", err.msg);
        if (rc != ERR_OK)
            return cli_err(&err, NULL);
        *ret = json_text(doc, JSON_COMPACT);
    } else if (a->payload && a->payload[0] == '@') {
        struct buf b;
        buf_init(&b, 1 << 20);
        FILE *f = strcmp(a->payload, "@-") == 0 ? stdin : fopen(a->payload + 1, "re");
        if (!f) {
            err_set(&err, ERR_IO, errno, "payload '%s'", a->payload + 1);
            return cli_err(&err, NULL);
        }
        char piece[4096];
        for (size_t n; (n = fread(piece, 1, sizeof(piece), f)) > 0;)
            buf_add(&b, piece, n);
        bool bad = ferror(f) || b.failed;
        if (f != stdin)
            fclose(f);
        if (bad) {
            buf_release(&b);
            err_set(&err, ERR_IO, 0, "payload '%s': cannot be read, or larger than 1 MiB", a->payload + 1);
            return cli_err(&err, NULL);
        }
        *ret = b.len > 0 ? buf_take(&b) : strdup("");
    } else if (a->payload) {
        *ret = strdup(a->payload);
    } else {
        return EXIT_OK;
    }
    json_decref(doc);
    doc = NULL;
    if (!*ret) {
        err_set(&err, ERR_NO_MEMORY, 0, "out of memory");
        return cli_err(&err, NULL);
    }
    if (json_parse(*ret, strlen(*ret), &doc, &err) != ERR_OK)
        return cli_usage(cmd, "the payload is not JSON: %s", err.msg);
    json_decref(doc);
    return EXIT_OK;
}

static int duration_option(const struct command *cmd, const char *name, const char *text, usec *ret_us)
{
    struct err err = {0};
    if (text && duration_parse(text, name, ret_us, &err) != ERR_OK)
        return cli_usage(cmd, "--%s must be a duration like 90s, 10m or 1h30m, got '%.80s'", name, text);
    return EXIT_OK;
}

static int times_check(const struct command *cmd, const struct args *a, char ret_run_at[RFC3339_MAX])
{
    struct err err = {0};
    usec now = now_wall(), delay = 0, within = USEC_NEVER, limit, run_at = now;
    int status;
    if ((status = duration_option(cmd, "delay", a->delay, &delay)) != EXIT_OK ||
        (status = duration_option(cmd, "start-within", a->start_within, &within)) != EXIT_OK ||
        (status = duration_option(cmd, "timeout", a->timeout, &limit)) != EXIT_OK ||
        (status = duration_option(cmd, "no-progress-timeout", a->no_progress_timeout, &limit)) != EXIT_OK)
        return status;
    if (a->delay && a->run_at)
        return cli_usage(cmd, "--delay and --run-at cannot be given together");
    if (a->run_at) {
        if (when_parse(a->run_at, "--run-at", now, WHEN_AHEAD, &run_at, &err) != ERR_OK)
            return cli_usage(cmd, "%s", err.msg);
        rfc3339_format(run_at, ret_run_at);
        delay = run_at > now ? run_at - now : 0;
    }
    if (within <= delay && delay > 0)
        return cli_usage(cmd, "--start-within counts from now: the job would fail before %s lets it start",
                         a->run_at ? "--run-at" : "--delay");
    return EXIT_OK;
}

static int labels_check(const struct command *cmd, const struct text_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        const char *eq = strchr(l->items[i], '=');
        if (!eq || eq == l->items[i])
            return cli_usage(cmd, "--label takes KEY=VALUE, got '%.80s'", l->items[i]);
        for (size_t k = 0; k < i; k++)
            if (strncmp(l->items[k], l->items[i], (size_t)(eq - l->items[i]) + 1) == 0)
                return cli_usage(cmd, "label '%.*s' is given twice", (int)(eq - l->items[i]), l->items[i]);
    }
    return EXIT_OK;
}

static void request_write(struct buf *b, const struct request *q, const struct args *a, const struct input *in,
                          size_t n)
{
    struct json_writer w;
    jw_init(&w, b);
    jw_object(&w, NULL);
    if (q->task)
        jw_string(&w, "task_type", q->task);
    if (a->queue)
        jw_string(&w, "queue", a->queue);
    if (q->payload)
        jw_raw(&w, "payload", q->payload, strlen(q->payload));
    if (a->payload_ref || n > 0)
        jw_string(&w, "payload_ref", a->payload_ref ? a->payload_ref : in[0].ref);
    if (n > 0) {
        jw_array(&w, "inputs");
        for (size_t i = 0; i < n; i++) {
            jw_object(&w, NULL);
            jw_string(&w, "name", in[i].name);
            jw_string(&w, "ref", in[i].ref);
            jw_object_end(&w);
        }
        jw_array_end(&w);
    }
    if (a->labels.n > 0) {
        jw_object(&w, "labels");
        for (size_t i = 0; i < a->labels.n; i++) {
            char *eq = strchr(a->labels.items[i], '=');
            *eq = '\0';
            jw_string(&w, a->labels.items[i], eq + 1);
            *eq = '=';
        }
        jw_object_end(&w);
    }
    if (a->dedup_key)
        jw_string(&w, "dedup_key", a->dedup_key);
    if (a->delay)
        jw_string(&w, "delay", a->delay);
    if (a->run_at)
        jw_string(&w, "run_at", q->run_at);
    if (a->start_within)
        jw_string(&w, "start_within", a->start_within);
    if (a->priority >= 0)
        jw_int(&w, "priority", a->priority);
    if (a->max_attempts > 0)
        jw_int(&w, "max_attempts", a->max_attempts);
    if (a->timeout)
        jw_string(&w, "timeout", a->timeout);
    if (a->no_progress_timeout)
        jw_string(&w, "no_progress_timeout", a->no_progress_timeout);
    if (a->traceparent)
        jw_string(&w, "traceparent", a->traceparent);
    jw_object_end(&w);
}

static int post(struct cli *cli, const char *body, const char *dedup_key, char **ret_text, json_t **ret_job)
{
    struct haul_error herr;
    struct err err = {0};
    char random[33];
    int status = EXIT_OK;
    struct haul_client *c = cli_client(cli, &status);
    if (!c)
        return status;
    /* With a key, an unknown outcome is settled by asking again: there will be one job. A key that the user gave travels in the
     * body, where any text can stand. */
    rng_hex128(rng_real(), random);
    unsigned tries = cli->met ? POST_TRIES : 3;
    if (haul_call_repeated(c, "POST", "/v1/jobs", body, NULL, dedup_key ? NULL : random, tries, ret_text, &herr) !=
        HAUL_OK)
        return cli_haul_err(cli, &herr, "submit");
    cli->met = true;
    if (json_parse(*ret_text, strlen(*ret_text), ret_job, &err) != ERR_OK)
        return cli_err(&err, "the server's answer");
    return EXIT_OK;
}

static int after(struct cli *cli, const struct args *a, const char *id)
{
    AUTO_FREE char *text = NULL;
    usec until = a->wait_timeout > 0 ? now_mono() + a->wait_timeout : USEC_NEVER;
    int status = follow(cli, id, NULL, until, true, &text);
    if (status == EXIT_OK && a->out)
        status = outputs_fetch(cli, id, a->out);
    if (cli->json && text)
        print_json_text(text);
    return status;
}

static int submit(struct cli *cli, const struct args *a, const struct request *q, struct input *in)
{
    AUTO_FREE char *text = NULL;
    int status = inputs_open(&command_submit, &a->inputs, in);
    if (status != EXIT_OK)
        return status;
    for (size_t i = 0; i < a->inputs.n; i++)
        if ((status = blob_send(cli, in[i].fd, in[i].size, in[i].name, in[i].ref, NULL)) != EXIT_OK)
            return status;
    struct buf b;
    json_t *job = NULL;
    buf_init(&b, 4 << 20);
    request_write(&b, q, a, in, a->inputs.n);
    if (b.failed) {
        struct err err = {0};
        err_set(&err, ERR_TOO_LARGE, 0, "the request is too large: send large data with --input");
        status = cli_err(&err, "submit");
    } else {
        status = post(cli, b.data, a->dedup_key, &text, &job);
    }
    buf_release(&b);
    if (status != EXIT_OK)
        return status;
    bool wait = a->wait || a->out || a->wait_timeout > 0;
    char id[40];
    snprintf(id, sizeof(id), "%s", jtext(job, "job_id"));
    json_decref(job);
    if (!cli_job_id(NULL, id))
        return err_exit(ERR_INTERNAL);
    if (!cli->json)
        printf("%s\n", id);
    else if (!wait)
        print_json_text(text);
    fflush(stdout);
    return wait ? after(cli, a, id) : EXIT_OK;
}

static int request_check(const struct args *a, struct request *q)
{
    const struct command *cmd = &command_submit;
    int status = payload_read(cmd, a, &q->payload);
    if (status == EXIT_OK)
        status = labels_check(cmd, &a->labels);
    return status == EXIT_OK ? times_check(cmd, a, q->run_at) : status;
}

/* As when a shell wrote out `--batch *.ndjson`: the second one would be a task type, and its lines nobody's. */
static bool looks_like_file(const char *task)
{
    return task && strchr(task, '.') && access(task, F_OK) == 0;
}

static int batch_check(const struct cli *cli, const struct args *a, const char *task)
{
    const struct command *cmd = &command_submit;
    const char *alone = a->inputs.n > 0                  ? "input"
                        : a->payload_ref                 ? "payload-ref"
                        : a->dedup_key                   ? "dedup-key"
                        : a->wait || a->wait_timeout > 0 ? "wait"
                        : a->out                         ? "out"
                                                         : NULL;
    if (alone)
        return cli_usage(cmd, "--%s is for one job: it cannot be given with --batch", alone);
    if (looks_like_file(task))
        return cli_usage(
            cmd, "--batch takes one FILE, and '%s' stands where TASK_TYPE does: submit them one after the other", task);
    if (a->batch.ids && strcmp(a->batch.ids, "-") == 0 && cli->json)
        return cli_usage(cmd, "--ids - and --json would both write to stdout: give --ids a file");
    return EXIT_OK;
}

/* The options as a submission without what belongs to one job. */
static int batch(struct cli *cli, const struct args *a, const struct request *q)
{
    struct buf sent, typed;
    struct request raw = *q;
    int status = batch_check(cli, a, q->task);
    if (status != EXIT_OK)
        return status;
    if (a->run_at)
        snprintf(raw.run_at, sizeof(raw.run_at), "%s", a->run_at);
    buf_init(&sent, 4 << 20);
    buf_init(&typed, 4 << 20);
    request_write(&sent, q, a, NULL, 0);
    request_write(&typed, &raw, a, NULL, 0);
    if (sent.failed || typed.failed) {
        struct err err = {0};
        err_set(&err, ERR_TOO_LARGE, 0, "the options are too large");
        status = cli_err(&err, "submit");
    } else {
        status = submit_batch(cli, &a->batch, sent.data, typed.data);
    }
    buf_release(&sent);
    buf_release(&typed);
    return status;
}

static int one(struct cli *cli, const struct args *a, const struct request *q)
{
    struct input in[INPUTS_MAX];
    for (size_t i = 0; i < INPUTS_MAX; i++)
        in[i] = (struct input){.fd = -1};
    int status = submit(cli, a, q, in);
    for (size_t i = 0; i < INPUTS_MAX; i++)
        if (in[i].fd >= 0)
            close(in[i].fd);
    return status;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct args *a = args;
    const struct batch_args *b = &a->batch;
    struct request q = {.task = argc > 0 ? argv[0] : NULL};
    if (!b->file && !q.task)
        return cli_usage(&command_submit, "TASK_TYPE is missing");
    if (!b->file && (b->ids || b->rejects || b->key || b->state || b->restart || b->max_errors >= 0))
        return cli_usage(&command_submit, "--ids, --rejects, --max-errors, --key, --state and --restart need --batch");
    int status = request_check(a, &q);
    if (status == EXIT_OK)
        status = b->file ? batch(cli, a, &q) : one(cli, a, &q);
    free(q.payload);
    return status;
}

const struct command command_submit = {
    .name = "submit",
    .args = "[TASK_TYPE]",
    .summary = "Submit a job and print its id, or a file of jobs (--batch).",
    .detail = "The first --input is the job's payload_ref. A batch has one submission a line, the JSON of POST "
              "/v1/jobs, like\n"
              "  {\"task_type\": \"thumbnail_v1\", \"payload\": {\"size\": 64}, \"labels\": {\"customer\": \"acme\"}}\n"
              "A line that is refused is told with its number, the rest goes on (exit status 11). A batch that was "
              "stopped goes on\n"
              "when the same command is given again; every line becomes one job. Examples:\n"
              "  haul submit transcode_v1 --input clip.mp4 -p height=480 --wait --out results\n"
              "  haul submit --batch jobs.ndjson --ids ids.txt --rejects rejects.ndjson\n"
              "  make-jobs | haul submit thumbnail_v1 --label night=2026-11-25 --batch - --key night-2026-11-25",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .max_args = 1,
    .run = run,
};
