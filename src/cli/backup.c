/* haul backup: the archive passes by and is checked on its way; under the file's name it appears whole or not at all. */
#include "backup/backup.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/timefmt.h"
#include "cli/command.h"
#include "cli/term.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

struct args {
    bool force;
};

static const struct opt options[] = {
    {"force", 'f', OPT_FLAG, offsetof(struct args, force), NULL, 0, 0, "replace FILE when it is there"},
};

struct passing {
    int fd;
    struct backup_tail tail;
    char head[BACKUP_PEEK_BYTES];
    size_t n_head;
    bool known; /* the manifest was read */
    struct backup_manifest manifest;
    struct bar bar;
    struct err io;
};

static int take(void *arg, const char *p, size_t n)
{
    struct passing *b = arg;

    if (!b->known && b->n_head < sizeof(b->head)) {
        size_t more = MIN(n, sizeof(b->head) - b->n_head);
        memcpy(b->head + b->n_head, p, more);
        b->n_head += more;
        b->known = backup_manifest_peek(b->head, b->n_head, &b->manifest);
    }
    backup_tail_add(&b->tail, p, n);
    return fs_write_all(b->fd, p, n, &b->io) != ERR_OK;
}

static int progress(void *arg, int64_t done, int64_t total)
{
    struct passing *b = arg;

    if (done == 0) {
        bar_line(&b->bar, -1, "the server makes a snapshot");
        return interrupted();
    }
    return bar_progress(&b->bar, done, b->known ? b->manifest.archive_bytes : -1);
}

/** @return EXIT_OK, or a status whose error was printed */
static int fetch(struct cli *cli, struct passing *b, struct backup_end *ret)
{
    struct haul_error herr;
    struct err err = {0};
    int status = EXIT_OK;
    struct haul_client *c = cli_client(cli, &status);

    if (!c)
        return status;
    int rc = haul_fetch(c, "/v1/backup", take, progress, b, &herr);
    bar_clear(&b->bar);
    if (b->io.code != ERR_OK)
        return cli_err(&b->io, "backup");
    if (rc != HAUL_OK)
        return cli_haul_err(cli, &herr, "backup");
    if (backup_tail_end(&b->tail, ret, &err) != ERR_OK)
        return cli_err(&err, "backup");
    if (b->known)
        return EXIT_OK;
    err_set(&err, ERR_CORRUPT, 0, "what came is not a backup: is %s a haul server?", cli->server);
    return cli_err(&err, NULL);
}

static void print_summary(struct cli *cli, const struct passing *b, const struct backup_end *end, const char *file)
{
    const struct backup_manifest *m = &b->manifest;
    FILE *out = strcmp(file, "-") == 0 ? stderr : stdout;
    char when[RFC3339_MAX], bytes[32];

    rfc3339_format(m->created_at, when);
    if (cli->json) {
        AUTO_FREE char *text = NULL;
        json_t *doc =
            json_pack("{s:s,s:I,s:s,s:I,s:I,s:I,s:I,s:I}", "file", file, "bytes",
                      (json_int_t)end->bytes + BACKUP_TAIL_BYTES, "created_at", when, "jobs", (json_int_t)m->jobs,
                      "blobs", (json_int_t)m->blobs, "blob_bytes", (json_int_t)m->blob_bytes, "database_bytes",
                      (json_int_t)m->database_bytes, "damaged_blobs", (json_int_t)end->damaged);
        text = json_text(doc, JSON_COMPACT);
        fprintf(out, "%s\n", text ? text : "null");
        json_decref(doc);
        return;
    }
    AUTO_FREE char *safe = text_safe(file);
    bytes_format(end->bytes + BACKUP_TAIL_BYTES, bytes);
    fprintf(out, "%s: %lld job%s and %lld blob%s of %s, %s\n",
            out == stderr ? "backup"
            : safe        ? safe
                          : "backup",
            (long long)m->jobs, m->jobs == 1 ? "" : "s", (long long)m->blobs, m->blobs == 1 ? "" : "s", when, bytes);
}

static int tell(struct cli *cli, const struct passing *b, const struct backup_end *end, const char *file)
{
    struct err err = {0};

    print_summary(cli, b, end, file);
    if (end->damaged == 0)
        return EXIT_OK;
    err_set(&err, ERR_CORRUPT, 0,
            "%lld blobs are missing or damaged on the server (its log names them): the backup holds all the rest, and "
            "'haul restore --allow-damaged' takes it",
            (long long)end->damaged);
    return cli_err(&err, "backup");
}

static int local_err(int sys, const char *what, const char *path)
{
    struct err err = {0};

    err_set(&err, ERR_IO, sys, "%s '%s'", what, path);
    return cli_err(&err, "backup");
}

static int exists_err(const char *path)
{
    struct err err = {0};

    err_set(&err, ERR_CONFLICT, 0, "'%s' is there already: name another file, or say --force to replace it", path);
    return cli_err(&err, "backup");
}

/* Durable before it has its name. Without --force a file that appeared meanwhile is not replaced either. */
static int publish(int fd, const char *temp, const char *path, const char *dir, bool force)
{
    struct err err = {0};

    if (fsync(fd) != 0)
        return local_err(errno, "sync", temp);
    int rc = force ? rename(temp, path) : renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE);
    if (rc != 0 && !force && (errno == EINVAL || errno == ENOSYS)) /* a file system without it */
        rc = rename(temp, path);
    if (rc != 0)
        return errno == EEXIST ? exists_err(path) : local_err(errno, "name", path);
    return fs_sync_dir(dir, &err) == ERR_OK ? EXIT_OK : cli_err(&err, "backup");
}

static int to_file(struct cli *cli, struct passing *b, const char *path, bool force)
{
    struct backup_end end;
    struct stat st;
    const char *slash = strrchr(path, '/');
    AUTO_FREE char *dir = slash ? strndup(path, (size_t)(slash - path + 1)) : strdup("."), *temp = NULL;
    char random[33];

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return local_err(S_ISDIR(st.st_mode) ? EISDIR : EINVAL, "write", path);
    if (lstat(path, &st) == 0 && !force)
        return exists_err(path);
    rng_hex128(rng_real(), random);
    if (!dir || asprintf(&temp, "%s/.haul-backup-%.16s.partial", dir, random) < 0) {
        temp = NULL;
        return local_err(ENOMEM, "make a name beside", path);
    }
    AUTO_FD int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600); /* it holds everything */
    if (fd < 0)
        return local_err(errno, "create a file beside", path);
    b->fd = fd;
    interrupt_catch();
    int status = fetch(cli, b, &end);
    if (status == EXIT_OK)
        status = publish(fd, temp, path, dir, force);
    if (status != EXIT_OK)
        unlink(temp);
    interrupt_release();
    return status == EXIT_OK ? tell(cli, b, &end, path) : status;
}

static int to_stdout(struct cli *cli, struct passing *b)
{
    struct backup_end end;

    if (term_is(stdout))
        return cli_usage(&command_backup, "a backup is no text: name a file, or lead it into a pipe");
    b->fd = STDOUT_FILENO;
    int status = fetch(cli, b, &end);
    return status == EXIT_OK ? tell(cli, b, &end, "-") : status;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct args *a = args;
    struct err err = {0};
    struct passing *b = calloc(1, sizeof(*b));

    if (!b || backup_tail_init(&b->tail, &err) != ERR_OK) {
        free(b);
        return local_err(ENOMEM, "back up to", argv[0]);
    }
    b->bar.label = "backup";
    int status = strcmp(argv[0], "-") == 0 ? to_stdout(cli, b) : to_file(cli, b, argv[0], a->force);
    backup_tail_release(&b->tail);
    free(b);
    return status;
}

const struct command command_backup = {
    .name = "backup",
    .args = "FILE",
    .summary = "Copy everything the server keeps into one file ('-': standard output), while it runs.",
    .detail = "FILE is a tar archive of the database and all blobs as they were at one moment; it appears whole and "
              "checked, or\n"
              "not at all. It holds every payload and output: keep it as you keep those. 'haul restore' takes it back.",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
