/* The command line of `haul restore`: options, progress, what is said at the end. */
#include "app/restore_main.h"
#include "app/restore.h"
#include "app/usage.h"
#include "base/auto.h"
#include "base/timefmt.h"
#include "cli/command.h"
#include "cli/term.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>

struct options {
    const char *file, *data;
    bool verify_only, allow_damaged, json, help;
};

static void print_help(void)
{
    puts("Usage: haul restore FILE --data DIR\n"
         "       haul restore FILE --verify-only\n\n"
         "Checks a backup that 'haul backup' made ('-': standard input) and makes a data folder of it. Nothing is kept "
         "of a\n"
         "backup that is cut, damaged or not one; the folder appears whole, or not at all.\n\n"
         "Options:\n"
         "      --data DIR                  the data folder to make: it must be absent or empty\n"
         "      --verify-only               check everything, keep nothing\n"
         "      --allow-damaged             restore although blobs were missing or damaged when the backup was made\n"
         "      --json                      print JSON\n"
         "  -h, --help                      print this help");
}

static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"data", required_argument, NULL, 'd'},    {"verify-only", no_argument, NULL, 'v'},
        {"allow-damaged", no_argument, NULL, 'a'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {0}};

    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        if (c == 'd')
            o->data = optarg;
        else if (c == 'v')
            o->verify_only = true;
        else if (c == 'a')
            o->allow_damaged = true;
        else if (c == 'j')
            o->json = true;
        else if (c == 'h')
            o->help = true;
        else
            return usage("restore", argv[optind - 1],
                         c == ':' ? "this option needs a value" : "there is no such option");
    }
    if (o->help)
        return EXIT_OK;
    if (optind + 1 < argc)
        return usage("restore", argv[optind + 1], "one argument too many");
    if (optind >= argc)
        return usage("restore", "FILE", "is missing");
    o->file = argv[optind];
    if (!o->data && !o->verify_only)
        return usage("restore", "--data", "is missing: the folder to make");
    if (o->data && o->verify_only)
        return usage("restore", "--data", "goes not with --verify-only, which keeps nothing");
    if (o->data && !*o->data)
        return usage("restore", "--data", "is empty");
    return EXIT_OK;
}

static void print_json_summary(const struct restore *r, const struct options *o, const char *when)
{
    json_t *doc = json_pack("{s:s?,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "data", r->dir, "created_at", when,
                            "haul_version", r->manifest.haul_version, "schema", (json_int_t)r->manifest.schema, "jobs",
                            (json_int_t)r->manifest.jobs, "blobs", (json_int_t)r->manifest.blobs, "blob_bytes",
                            (json_int_t)r->manifest.blob_bytes, "bytes", (json_int_t)r->bytes, "damaged_blobs",
                            (json_int_t)r->damaged);

    print_json(doc);
    json_decref(doc);
}

static void print_summary(const struct restore *r, const struct options *o)
{
    char when[RFC3339_MAX];
    AUTO_FREE char *where = text_safe(r->dir ? r->dir : o->file);

    rfc3339_format(r->manifest.created_at, when);
    if (o->json) {
        print_json_summary(r, o, when);
        return;
    }
    printf("%s: %lld job%s and %lld blob%s of %s, written by haul %s%s\n", where ? where : "",
           (long long)r->manifest.jobs, r->manifest.jobs == 1 ? "" : "s", (long long)r->manifest.blobs,
           r->manifest.blobs == 1 ? "" : "s", when, r->manifest.haul_version, r->dir ? "" : "; the backup is whole");
    if (r->damaged)
        printf("%lld blobs are missing or damaged, as they were when the backup was made\n", (long long)r->damaged);
    if (r->dir)
        printf("Next: see that no server works with the old folder, then 'haul server --data %s'. What ran at that "
               "time goes "
               "on with its worker, or runs again.\n",
               where ? where : "DIR");
}

static int fail(struct err *err)
{
    AUTO_FREE char *safe = text_safe(err->msg);

    fprintf(stderr, "haul restore: %s\n", safe ? safe : "error");
    return err_exit(err->code);
}

static int run(const struct options *o)
{
    struct err err = {0};
    struct bar bar = {.label = o->verify_only ? "verify" : "restore"};
    AUTO_FREE char *dir = o->verify_only ? NULL : strdup(o->data);
    bool pipe = strcmp(o->file, "-") == 0;
    AUTO_FD int fd = pipe ? dup(STDIN_FILENO) : open(o->file, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        err_set(&err, ERR_IO, errno, "open '%s'", o->file);
        return fail(&err);
    }
    for (size_t n = dir ? strlen(dir) : 0; n > 1 && dir[n - 1] == '/'; n--)
        dir[n - 1] = '\0';
    struct restore r = {.fd = fd, .dir = dir, .allow_damaged = o->allow_damaged, .progress = bar_progress, .arg = &bar};
    interrupt_catch();
    int rc = restore_run(&r, &err);
    bar_clear(&bar);
    interrupt_release();
    if (rc != ERR_OK)
        return fail(&err);
    print_summary(&r, o);
    return EXIT_OK;
}

int restore_main(int argc, char **argv)
{
    struct options o = {0};

    setlocale(LC_CTYPE, "C.UTF-8"); /* names in the archive, and columns of the bar, are UTF-8 */
    signal(SIGPIPE, SIG_DFL);
    int status = read_options(argc, argv, &o);
    if (status != EXIT_OK)
        return status;
    if (o.help) {
        print_help();
        return EXIT_OK;
    }
    return run(&o);
}
