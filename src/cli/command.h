#pragma once
/* What a command is: a row in the table of commands.c, with its options in a table of its own. Parser and --help come from both. */
#include "base/clock.h"
#include "base/err.h"
#include "cli/exit.h"
#include "client/haul.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What every command gets. */
struct cli {
    char *server; /* URL, after flags, environment and file */
    char *config; /* --config, or NULL */
    bool json;
    bool met;                   /* the server has answered */
    struct haul_client *client; /* made by cli_client */
};

struct text_list {
    char **items; /* borrowed from argv; the array is freed by the dispatcher */
    size_t n;
};

enum opt_kind {
    OPT_FLAG,    /* bool */
    OPT_TEXT,    /* const char *, borrowed from argv */
    OPT_LIST,    /* struct text_list: may be given more than once */
    OPT_INT,     /* int64_t; min - 1 when not given */
    OPT_DURATION /* usec; the text is checked here and sent as it is */
};

struct opt {
    const char *name;
    char letter; /* 0: none */
    enum opt_kind kind;
    size_t offset;    /* into the command's own struct */
    const char *arg;  /* shown in --help */
    int64_t min, max; /* OPT_INT */
    const char *help;
};

#define ARGS_MAX 512 /* largest struct a command binds its options to */

struct command {
    const char *name, *sub; /* "jobs", "list"; sub NULL for a command of one word */
    const char *args;       /* "ID..." */
    const char *summary;    /* one line */
    const char *detail;     /* more for --help, or NULL */
    const struct opt *options;
    size_t n_options;
    int min_args, max_args; /* positional ones; max -1: any number */
    int (*run)(struct cli *cli, const void *args, int argc,
               char **argv); /* positional only. NULL: app/main.c runs it */
};

extern const struct command *const commands[]; /* ended by NULL */
extern const struct command command_submit, command_jobs_list, command_jobs_show, command_jobs_explain,
    command_jobs_log, command_jobs_cancel, command_jobs_retry, command_jobs_discard, command_jobs_wait,
    command_jobs_outputs, command_dlq_list, command_dlq_show, command_dlq_retry, command_dlq_discard,
    command_dlq_redrives, command_dlq_cancel, command_queues_list, command_queues_pause, command_queues_resume,
    command_workers_list, command_workers_drain, command_workers_resume, command_top, command_alerts_test,
    command_alerts, command_objectives, command_blob_put, command_blob_get, command_status, command_version,
    command_help, command_server, command_worker, command_worker_status, command_backup, command_restore,
    command_migrate, command_doctor, command_bench_submit, command_bench_life, command_bench_start;

/** Prints an error on stderr with what to do. @return the exit status for it. */
int cli_usage(const struct command *cmd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int cli_err(const struct err *err, const char *what);
/** `what` may be NULL: "submit: priority: must be 0 to 9". */
int cli_haul_err(const struct cli *cli, const struct haul_error *err, const char *what);
int haul_error_exit(const struct haul_error *err);

/** The client, made on first use. NULL: an error was printed and *ret_exit is set. */
struct haul_client *cli_client(struct cli *cli, int *ret_exit);
/** Calls and parses the answer. EXIT_OK or a status whose error was printed. ret_text and ret may be NULL.
 * `quiet`: leave printing to the caller. */
int cli_call(struct cli *cli, const char *method, const char *path, char **ret_text, json_t **ret, const char *what);

/** A job id is a UUID in full; prints the usage error when it is not. */
bool cli_job_id(const struct command *cmd, const char *s);

/** "ada@host", for whoever asks who did it: who runs this, where. Caller: json_decref. */
json_t *cli_who(void);

/** Prints JSON text with a newline. */
void print_json_text(const char *text);
void print_json(const json_t *doc);
struct table;
/** A table with a row for each item of an array; where there is none, `none` to stderr. */
void print_rows(const json_t *items, const char *titles, void (*row)(struct table *t, const json_t *item),
                const char *none);

/* help.c */
void help_command(const struct command *cmd, FILE *f);
void help_all(FILE *f);
int help_group(const char *name, FILE *f); /* subcommands of "jobs"; -1 when there is no such group */

/* Members of a JSON answer, forgiving: "" and 0 when absent. Borrowed. */
const char *jtext(const json_t *obj, const char *key);
int64_t jint(const json_t *obj, const char *key);
double jreal(const json_t *obj, const char *key);
/** "0.4", "120": a rate; "?" where it is not known. */
void jrate_format(const json_t *obj, const char *key, char ret[32]);
/** Appends `text` to `ret` percent-encoded for a query or path. */
struct buf;
void url_add(struct buf *buf, const char *text);
