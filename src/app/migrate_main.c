/* The command line of `haul migrate`: options, progress, what is said at the end. */
#include "app/migrate_main.h"
#include "app/migrate.h"
#include "app/usage.h"
#include "base/auto.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/term.h"
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <sys/stat.h>

#define LINE_US  (10 * USEC_PER_SEC) /* between two lines where there is no terminal */
#define WRITE_US 12  /* about what a row takes to be written and compared, for a dry run's word on time */
#define BYTES_US 200 /* likewise: bytes of blobs a microsecond */

struct options {
    const char *from, *to, *unmark;
    bool dry_run, allow_damaged, json, help;
};

static void print_help(void)
{
    puts("Usage: haul migrate --from CONFIG --to CONFIG\n"
         "       haul migrate --unmark CONFIG\n\n"
         "Moves all that the server of one configuration file keeps (jobs, history, logs, blobs) into what the other "
         "one names:\n"
         "from the embedded store to PostgreSQL, or back. Both servers must be stopped; the target must be empty. The "
         "source is\n"
         "only read, until all is moved and compared: then a note is left in it, and no server starts on it any more. "
         "Stopped or\n"
         "killed, the same command goes on where it was; until it is done no server starts on the target.\n\n"
         "Options:\n"
         "      --from CONFIG               configuration file of the server as it was\n"
         "      --to CONFIG                 configuration file of the server as it will be\n"
         "      --dry-run                   look at both, count, and change nothing\n"
         "      --allow-damaged             move all the rest although blobs are missing or damaged\n"
         "      --unmark CONFIG             take the note away, so that a server may start there again\n"
         "      --json                      print JSON\n"
         "  -h, --help                      print this help");
}

static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"from", required_argument, NULL, 'f'},   {"to", required_argument, NULL, 't'},
        {"dry-run", no_argument, NULL, 'n'},      {"allow-damaged", no_argument, NULL, 'a'},
        {"unmark", required_argument, NULL, 'u'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {0}};

    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        if (c == 'f')
            o->from = optarg;
        else if (c == 't')
            o->to = optarg;
        else if (c == 'n')
            o->dry_run = true;
        else if (c == 'a')
            o->allow_damaged = true;
        else if (c == 'u')
            o->unmark = optarg;
        else if (c == 'j')
            o->json = true;
        else if (c == 'h')
            o->help = true;
        else
            return usage("migrate", argv[optind - 1],
                         c == ':' ? "this option needs a value" : "there is no such option");
    }
    if (o->help)
        return EXIT_OK;
    if (optind < argc)
        return usage("migrate", argv[optind], "one argument too many");
    if (o->unmark && (!*o->unmark || o->from || o->to || o->dry_run || o->allow_damaged))
        return usage("migrate", "--unmark", "takes a configuration file, and no other option but --json");
    if (o->unmark)
        return EXIT_OK;
    if (!o->from || !*o->from)
        return usage("migrate", "--from", "is missing: the configuration file of the server as it was");
    if (!o->to || !*o->to)
        return usage("migrate", "--to", "is missing: the configuration file of the server as it will be");
    return EXIT_OK;
}

/* --- while it works --- */

struct watch {
    struct bar bar;
    enum migrate_stage stage;
    usec begun, told; /* of the stage; the latest line */
    int64_t done;     /* as told */
    bool terminal;
};

static const char *const stage_words[] = {
    [MIGRATE_ROWS] = "rows", [MIGRATE_BLOBS] = "blobs", [MIGRATE_CHECK] = "compared"};

static void words_of(const struct migrate_progress *p, double seconds, char ret[160])
{
    char left[32] = "", done[32], total[32], rate[32];
    double fast = seconds > 0 ? (double)(p->done - p->before) / seconds : 0;

    if (p->stage == MIGRATE_BLOBS) {
        bytes_format(p->done, done);
        bytes_format(p->total, total);
        bytes_format((int64_t)fast, rate);
    } else {
        snprintf(done, sizeof(done), "%lld", (long long)p->done);
        snprintf(total, sizeof(total), "%lld rows", (long long)p->total);
        snprintf(rate, sizeof(rate), "%.0f rows", fast);
    }
    if (fast > 0)
        left_format((usec)((double)(p->total - p->done) / fast * USEC_PER_SEC), left);
    snprintf(ret, 160, "%s of %s, %s/s%s%s%s", done, total, rate, *left ? ", " : "", left, *left ? " left" : "");
}

static int progress(void *arg, const struct migrate_progress *p)
{
    struct watch *w = arg;
    usec now = now_mono();
    char text[160];

    if (p->stage != w->stage || w->begun == 0) {
        w->stage = p->stage;
        w->begun = now;
        w->told = 0;
        w->done = -1;
    }
    bool last = p->done >= p->total && p->done > w->done,
         due = now - w->told >= (w->terminal ? USEC_PER_SEC / 10 : LINE_US);
    if (interrupted())
        return 1;
    if (w->told && !last && !due)
        return 0;
    w->told = now;
    w->done = p->done;
    words_of(p, (double)(now - w->begun) / USEC_PER_SEC, text);
    w->bar.label = stage_words[p->stage];
    if (w->terminal)
        bar_line(&w->bar, p->total > 0 ? (double)p->done / (double)p->total : 1, text);
    else
        fprintf(stderr, "%s: %s\n", stage_words[p->stage], text);
    return 0;
}

/* --- at the end --- */

static usec expected(const struct migrate *m)
{
    double us = (double)m->rows * WRITE_US;

    if (m->read_rate > 0)
        us += 2 * (double)m->rows / m->read_rate * USEC_PER_SEC;
    return (usec)us + (m->same_folder ? 0 : m->blob_bytes / BYTES_US);
}

static void print_json_result(const struct migrate *m, const struct options *o)
{
    json_t *tables = json_object();

    for (unsigned i = 0; i < move_n_tables; i++)
        json_object_set_new(tables, move_tables[i].name, json_integer((json_int_t)m->table_rows[i]));
    json_t *doc = json_pack("{s:b,s:b,s:I,s:o,s:I,s:I,s:b,s:I}", "dry_run", (int)o->dry_run, "resumed", (int)m->resumed,
                            "rows", (json_int_t)m->rows, "tables", tables, "blobs", (json_int_t)m->blobs, "blob_bytes",
                            (json_int_t)m->blob_bytes, "same_blob_folder", (int)m->same_folder, "damaged_blobs",
                            (json_int_t)m->damaged);
    if (o->dry_run)
        json_object_set_new(doc, "expected_s", json_real((double)expected(m) / USEC_PER_SEC));
    print_json(doc);
    json_decref(doc);
}

static void print_result(const struct migrate *m, const struct options *o)
{
    char bytes[32], left[32];

    if (o->json) {
        print_json_result(m, o);
        return;
    }
    bytes_format(m->blob_bytes, bytes);
    for (unsigned i = 0; i < move_n_tables; i++)
        if (m->table_rows[i] > 0)
            printf("%-17s %12lld\n", move_tables[i].name, (long long)m->table_rows[i]);
    printf("%lld rows and %lld blobs of %s%s\n", (long long)m->rows, (long long)m->blobs, bytes,
           m->same_folder ? " (which stay in their folder)" : "");
    if (o->dry_run) {
        left_format(expected(m), left);
        printf("This would %s, in about %s. Nothing was changed.\n",
               m->resumed ? "go on with a move that was begun" : "be moved", left);
        return;
    }
    if (m->damaged)
        printf("%lld blobs are missing or damaged, as they were in the source; the first is %s\n",
               (long long)m->damaged, m->first_damaged);
    printf(
        "Moved, and compared: the target holds what the source holds.\n"
        "Next: start the server with '--config %s', none starts with the old one any more. What ran goes on with its "
        "worker.\n",
        o->to);
}

static int fail(const struct err *err)
{
    AUTO_FREE char *safe = text_safe(err->msg);

    fprintf(stderr, "haul migrate: %s%s%s\n", err->field, *err->field ? ": " : "", safe ? safe : "error");
    return err_exit(err->code);
}

static int read_config(const char *file, struct server_options *ret, struct err *err)
{
    char name[] = "server", flag[] = "--config";
    AUTO_FREE char *path = strdup(file);
    char *argv[] = {name, flag, path, NULL};
    bool help;
    int rc = path ? server_options_read(3, argv, ret, &help, err) : err_set(err, ERR_NO_MEMORY, 0, "configuration");

    return rc;
}

static int run(const struct options *o)
{
    struct server_options from = {0}, to = {0};
    struct watch watch = {.terminal = term_is(stderr)};
    struct migrate m = {.from = &from,
                        .to = &to,
                        .dry_run = o->dry_run,
                        .allow_damaged = o->allow_damaged,
                        .progress = progress,
                        .arg = &watch};
    struct err err = {0};
    int rc = read_config(o->from, &from, &err);

    if (rc == ERR_OK)
        rc = read_config(o->to, &to, &err);
    if (rc == ERR_OK) {
        interrupt_catch();
        rc = migrate_run(&m, &err);
        bar_clear(&watch.bar);
        interrupt_release();
    }
    int status = rc == ERR_OK ? EXIT_OK : fail(&err);
    if (rc == ERR_OK)
        print_result(&m, o);
    migrate_release(&m);
    server_options_release(&from);
    server_options_release(&to);
    return status;
}

static void print_unmarked(const struct options *o, const char *was)
{
    AUTO_FREE char *safe = text_safe(was);

    if (o->json) {
        json_t *doc = json_pack("{s:b,s:s}", "unmarked", 1, "was", safe ? safe : "");
        print_json(doc);
        json_decref(doc);
        return;
    }
    printf("A server may start with '%s' again. All had been moved %s: see that none runs there, it would hand out the "
           "same jobs.\n",
           o->unmark, safe ? safe : "elsewhere");
}

static int unmark(const struct options *o)
{
    struct server_options options = {0};
    char was[MOVE_MOVED_MAX] = "";
    struct err err = {0};
    int rc = read_config(o->unmark, &options, &err);

    if (rc == ERR_OK)
        rc = migrate_unmark(&options, was, &err);
    if (rc == ERR_OK)
        print_unmarked(o, was);
    server_options_release(&options);
    return rc == ERR_OK ? EXIT_OK : fail(&err);
}

int migrate_main(int argc, char **argv)
{
    struct options o = {0};

    setlocale(LC_CTYPE, "C.UTF-8"); /* columns of the bar */
    signal(SIGPIPE, SIG_IGN);       /* a database that goes away is an error, not an end */
    int status = read_options(argc, argv, &o);
    if (status != EXIT_OK)
        return status;
    if (o.help) {
        print_help();
        return EXIT_OK;
    }
    return o.unmark ? unmark(&o) : run(&o);
}
