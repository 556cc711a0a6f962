/* haul blob put, haul blob get */
#include "base/auto.h"
#include "cli/follow.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static int local_err(int sys, const char *path)
{
    struct err err = {0};
    err_set(&err, ERR_IO, sys, "'%s'", path);
    return cli_err(&err, NULL);
}

static int run_put(struct cli *cli, const void *args, int argc, char **argv)
{
    char ref[64], sha[65];
    bool pipe = strcmp(argv[0], "-") == 0;
    AUTO_FD int fd = pipe ? dup(STDIN_FILENO) : open(argv[0], O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return local_err(errno, argv[0]);
    if (S_ISDIR(st.st_mode))
        return local_err(EISDIR, argv[0]);
    /* Standard input may be a file that was read in part: it is taken as the stream it is. */
    int64_t size = S_ISREG(st.st_mode) && !pipe ? st.st_size : -1;
    const char *slash = strrchr(argv[0], '/');
    int status = blob_send(cli, fd, size, slash ? slash + 1 : argv[0], ref, sha);
    if (status != EXIT_OK)
        return status;
    if (cli->json) {
        char path[96];
        json_t *doc = json_pack("{s:s,s:s}", "ref", ref, "sha256", sha);
        snprintf(path, sizeof(path), "/v1/blobs/%s", strchr(ref, ':') ? strchr(ref, ':') + 1 : ref);
        json_object_set_new(doc, "url", json_string(path));
        if (size >= 0)
            json_object_set_new(doc, "size", json_integer(size));
        print_json(doc);
        json_decref(doc);
    } else {
        printf("%s\n", ref);
    }
    return EXIT_OK;
}

struct get_args {
    const char *out;
};

static const struct opt get_options[] = {
    {"output", 'o', OPT_TEXT, offsetof(struct get_args, out), "FILE", 0, 0,
     "write to FILE ('-': standard output, the default into a pipe)"},
};

static int run_get(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct get_args *a = args;
    const char *out = a->out ? a->out : argc > 1 ? argv[1] : NULL;
    struct haul_error herr;
    int status = EXIT_OK;
    if (a->out && argc > 1)
        return cli_usage(&command_blob_get, "name the file once: '%.80s' or '%.80s'", a->out, argv[1]);
    if (out && strcmp(out, "-") != 0) {
        const char *slash = strrchr(out, '/');
        return blob_fetch(cli, argv[0], out, slash ? slash + 1 : out);
    }
    if (!out && term_is(stdout))
        return cli_usage(&command_blob_get,
                         "a blob may hold anything, which can upset a terminal: name a file, or '-' if it is meant");
    struct haul_client *c = cli_client(cli, &status);
    if (!c)
        return status;
    struct bar bar = {.label = "blob"};
    /* The bar is for a terminal's standard error while the bytes go elsewhere. */
    int rc = haul_download(c, argv[0], STDOUT_FILENO, bar_progress, term_is(stdout) ? NULL : &bar, NULL, &herr);
    bar_clear(&bar);
    return rc == HAUL_OK ? EXIT_OK : cli_haul_err(cli, &herr, argv[0]);
}

const struct command command_blob_put = {
    .name = "blob",
    .sub = "put",
    .args = "FILE",
    .summary = "Upload a file ('-': standard input); prints its ref.",
    .min_args = 1,
    .max_args = 1,
    .run = run_put,
};
const struct command command_blob_get = {
    .name = "blob",
    .sub = "get",
    .args = "REF [FILE]",
    .summary = "Download a blob, checked against what was stored.",
    .options = get_options,
    .n_options = ARRAY_LEN(get_options),
    .min_args = 1,
    .max_args = 2,
    .run = run_get,
};
