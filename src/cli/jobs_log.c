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

/* Where in the handler's own bytes the text is. The line that stands for what was left out counts for what it says: so a follower that
 * a restart cut off asks for what comes next, and for nothing twice. */
struct position {
    int64_t offset;
    size_t matched; /* of that line, digits not counted */
    int64_t left_out, digits;
};

static void position_move(struct position *p, const char *text, size_t n)
{
    static const char before[] = "\n[... haul left out ", after[] = " bytes here ...]\n";
    const size_t n_before = sizeof(before) - 1, n_all = n_before + sizeof(after) - 1;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        p->offset++;
        if (p->matched == n_before && c >= '0' && c <= '9' && p->digits < 18) {
            p->left_out = p->left_out * 10 + (c - '0');
            p->digits++;
            continue;
        }
        if (c == (p->matched < n_before ? before[p->matched] : after[p->matched - n_before])) {
            if (++p->matched < n_all)
                continue;
            p->offset += p->left_out - p->digits - (int64_t)n_all;
        }
        *p = (struct position){.offset = p->offset, .matched = c == '\n' && p->matched < n_all};
    }
}

struct printer {
    struct safe_stream out;
    struct position at;
    bool any;
};

static int take(void *arg, const char *p, size_t n)
{
    struct printer *w = arg;
    w->any = w->any || n > 0;
    position_move(&w->at, p, n);
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

static void path_make(char *path, size_t size, const struct args *a, const char *job_id, int64_t offset)
{
    int n = snprintf(path, size, "/v1/jobs/%s/log?follow=%d", job_id, a->follow);
    if (a->attempt > 0)
        n += snprintf(path + n, size - (size_t)n, "&attempt=%lld", (long long)a->attempt);
    if (offset > 0)
        snprintf(path + n, size - (size_t)n, "&offset=%lld", (long long)offset);
}

static int log_json(struct cli *cli, struct haul_client *c, const struct args *a, const char *job_id)
{
    struct haul_error herr;
    struct buf text, doc;
    struct json_writer w;
    char path[256];
    int status = EXIT_OK;
    path_make(path, sizeof(path), a, job_id, 0);
    buf_init(&text, 32 << 20);
    buf_init(&doc, (size_t)200 << 20); /* a byte may become \uXXXX */
    if (haul_stream(c, path, collect, &text, &herr) != HAUL_OK) {
        status = cli_haul_err(cli, &herr, job_id);
    } else {
        jw_init(&w, &doc);
        jw_object(&w, NULL);
        jw_string(&w, "job_id", job_id);
        jw_stringn(&w, "log", buf_str(&text), text.len);
        jw_object_end(&w);
        print_json_text(buf_str(&doc));
    }
    buf_release(&doc);
    buf_release(&text);
    return status;
}

static int log_print(struct cli *cli, struct haul_client *c, const struct args *a, const char *job_id)
{
    struct haul_error herr;
    struct printer w = {0};
    safe_stream_init(&w.out, stdout);
    for (unsigned tries = 0;;) {
        char path[256];
        int64_t before = w.at.offset;
        path_make(path, sizeof(path), a, job_id, before);
        int rc = haul_stream(c, path, take, &w, &herr);
        if (rc == HAUL_OK)
            break;
        bool passing = rc == HAUL_NETWORK || (rc == HAUL_REFUSED && herr.repeatable);
        if (w.at.offset > before)
            tries = 0;
        cli->met = cli->met || w.any;
        if (!passing || !a->follow || !cli->met || ++tries > AWAY_TRIES) {
            safe_stream_end(&w.out);
            return cli_haul_err(cli, &herr, job_id);
        }
        if (!herr.elsewhere)
            nanosleep(&(struct timespec){.tv_sec = 1}, NULL); /* the server restarts: go on where the text was cut */
    }
    safe_stream_end(&w.out);
    return EXIT_OK;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    int status = EXIT_OK;
    if (!cli_job_id(&command_jobs_log, argv[0]))
        return EXIT_USAGE;
    struct haul_client *c = cli_client(cli, &status);
    if (!c)
        return status;
    return cli->json ? log_json(cli, c, args, argv[0]) : log_print(cli, c, args, argv[0]);
}

const struct command command_jobs_log = {
    .name = "jobs",
    .sub = "log",
    .args = "ID",
    .summary = "Print what a job's handler wrote.",
    .detail =
        "On a terminal control characters are shown as \\xNN; into a pipe or file the bytes go as they are.\n"
        "Of a log longer than 16 MiB the first 8 and the last 8 are kept; a line between them tells how much was\n"
        "left out.",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
