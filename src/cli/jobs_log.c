/* haul jobs log */
#include "base/auto.h"
#include "base/buf.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/term.h"

#define AWAY_TRIES 60

struct args {
    bool follow;
    int64_t attempt;
};

static const struct opt options[] = {
    {"follow", 'f', OPT_FLAG, offsetof(struct args, follow), NULL, 0, 0, "go on printing until the attempt ends"},
    {"attempt", 'a', OPT_INT, offsetof(struct args, attempt), "N", 1, 1000000,
     "log of this attempt (default: the latest)"},
};

struct printer {
    struct safe_stream out;
    int64_t printed; /* bytes of the log */
    int64_t skip;    /* bytes of this answer that were printed before */
};

static int take(void *arg, const char *p, size_t n)
{
    struct printer *w = arg;
    int64_t drop = MIN(w->skip, (int64_t)n);
    w->skip -= drop;
    p += drop;
    n -= (size_t)drop;
    w->printed += (int64_t)n;
    int failed = safe_stream_write(&w->out, p, n);
    return failed || fflush(stdout) != 0;
}

/* In JSON there is one object with the whole text: it is collected first. */
static int collect(void *arg, const char *p, size_t n)
{
    struct buf *b = arg;
    buf_add(b, p, n);
    return b->failed;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct args *a = args;
    struct haul_error herr;
    int status = EXIT_OK;
    char path[192];
    if (!cli_job_id(&command_jobs_log, argv[0]))
        return EXIT_USAGE;
    int n = snprintf(path, sizeof(path), "/v1/jobs/%s/log%s", argv[0], a->follow || a->attempt > 0 ? "?" : "");
    if (a->attempt > 0)
        n +=
            snprintf(path + n, sizeof(path) - (size_t)n, "attempt=%lld%s", (long long)a->attempt, a->follow ? "&" : "");
    if (a->follow)
        snprintf(path + n, sizeof(path) - (size_t)n, "follow=1");
    struct haul_client *c = cli_client(cli, &status);
    if (!c)
        return status;
    if (cli->json) {
        struct buf b;
        buf_init(&b, 32 << 20);
        if (haul_stream(c, path, collect, &b, &herr) != HAUL_OK)
            status = cli_haul_err(cli, &herr, argv[0]);
        if (status == EXIT_OK) {
            struct buf doc;
            struct json_writer w;
            buf_init(&doc, (size_t)200 << 20);
            jw_init(&w, &doc);
            jw_object(&w, NULL);
            jw_string(&w, "job_id", argv[0]);
            jw_stringn(&w, "log", buf_str(&b), b.len);
            jw_object_end(&w);
            print_json_text(buf_str(&doc));
            buf_release(&doc);
        }
        buf_release(&b);
        return status;
    }
    struct printer w = {0};
    safe_stream_init(&w.out, stdout);
    for (unsigned tries = 0;;) {
        int64_t before = w.printed;
        w.skip = w.printed;
        int rc = haul_stream(c, path, take, &w, &herr);
        if (rc == HAUL_OK)
            break;
        bool passing = rc == HAUL_NETWORK || (rc == HAUL_REFUSED && herr.repeatable);
        if (w.printed > before)
            tries = 0;
        cli->met = cli->met || w.printed > 0;
        if (!passing || !a->follow || !cli->met || ++tries > AWAY_TRIES) {
            safe_stream_end(&w.out);
            return cli_haul_err(cli, &herr, argv[0]);
        }
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL); /* the server restarts: go on where the text was cut */
    }
    safe_stream_end(&w.out);
    return EXIT_OK;
}

const struct command command_jobs_log = {
    .name = "jobs",
    .sub = "log",
    .args = "ID",
    .summary = "Print what a job's handler wrote.",
    .detail = "On a terminal control characters are shown as \\xNN; into a pipe or file the bytes go as they are.",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
