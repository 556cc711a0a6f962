/* Files to the server and from it, with a progress bar. */
#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/text.h"
#include "cli/follow.h"
#include "cli/patient.h"
#include "cli/upload_state.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define TRIES            6
#define WRITE_BACK_BYTES (8 << 20) /* is begun every so often, so that the sync at the end is short */

static void begun(void *arg, const char *upload)
{
    upload_state_save(arg, upload);
}

/* Goes on with what an earlier run of the command began, and sees to it that a later one can. */
static int file_send(struct cli *cli, struct haul_client *c, int fd, int64_t size, struct bar *bar, char *ret_ref,
                     char *ret_sha256, struct haul_error *err)
{
    struct upload_state state;
    struct haul_resume resume = {.begun = begun, .arg = &state, .patience_ms = PATIENCE_US / 1000};
    upload_state_load(&state, cli->server, fd, resume.upload);
    int rc = haul_upload_file(c, fd, size, &resume, bar_progress, bar, ret_ref, ret_sha256, err);
    bool later = rc == HAUL_NETWORK || rc == HAUL_ABORTED || (rc == HAUL_REFUSED && err->repeatable);
    if (!later || !resume.upload[0])
        upload_state_drop(&state);
    return rc;
}

int blob_send(struct cli *cli, int fd, int64_t size, const char *label, char *ret_ref, char *ret_sha256)
{
    int status = EXIT_OK;
    struct haul_client *c = cli_client(cli, &status);
    if (!c)
        return status;
    /* A server that is not there at all is told at once; one that vanishes on the way is given time. */
    if (!cli->met && (status = cli_call(cli, "GET", "/healthz", NULL, NULL, NULL)) != EXIT_OK)
        return status;
    AUTO_FREE char *safe = text_safe(label);
    struct bar bar = {.label = safe ? safe : ""};
    struct haul_error herr;
    const bool resumes = size >= HAUL_RESUME_BYTES; /* by itself, and for longer */
    for (unsigned n = 1;; n++) {
        int rc = resumes ? file_send(cli, c, fd, size, &bar, ret_ref, ret_sha256, &herr)
                         : haul_upload(c, NULL, NULL, fd, size, bar_progress, &bar, ret_ref, ret_sha256, &herr);
        bar_clear(&bar);
        if (rc == HAUL_OK)
            return EXIT_OK;
        bool passing = rc == HAUL_NETWORK || (rc == HAUL_REFUSED && herr.repeatable);
        if (!passing || n >= TRIES || resumes || size < 0) /* what a pipe gave cannot be sent again */
            return cli_haul_err(cli, &herr, safe);
        bar = (struct bar){.label = bar.label};
        int64_t ms = MAX((int64_t)250 << n, (int64_t)MIN(herr.retry_after_s, 30) * 1000);
        nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
    }
}

static int local_err(int sys, const char *what, const char *path)
{
    struct err err = {0};
    err_set(&err, ERR_IO, sys, "%s '%s'", what, path);
    return cli_err(&err, NULL);
}

struct arriving {
    struct bar bar;
    int fd;
    bool reserved;
    int64_t asked; /* bytes whose write-back was asked for */
    struct pool
        *flusher; /* one thread: where the disk has enough to do, beginning a write-back waits. NULL: does without */
    _Atomic int64_t done;
    int64_t started; /* the thread's: bytes whose write-back was begun */
};

/* What goes wrong here, the sync will tell. */
static void write_back(void *arg)
{
    struct arriving *a = arg;
    int64_t done = atomic_load(&a->done);
    sync_file_range(a->fd, a->started, done - a->started, SYNC_FILE_RANGE_WRITE);
    a->started = done;
}

static int arriving_progress(void *arg, int64_t done, int64_t total)
{
    struct arriving *a = arg;
    if (total > 0 && !a->reserved) {
        fallocate(a->fd, FALLOC_FL_KEEP_SIZE, 0, total); /* in one piece, and no search for room with every write */
        a->reserved = true;
    }
    if (a->flusher && done - a->asked >= WRITE_BACK_BYTES) {
        a->asked = done;
        atomic_store(&a->done, done);
        pool_run(a->flusher, write_back, a, NULL); /* busy: the next one does this part, too */
    }
    return bar_progress(&a->bar, done, total);
}

int blob_fetch(struct cli *cli, const char *ref, const char *path, const char *label)
{
    int status = EXIT_OK;
    struct haul_client *c = cli_client(cli, &status);
    if (!c)
        return status;
    AUTO_FREE char *temp = NULL, *safe = text_safe(label);
    char random[33];
    rng_hex128(rng_real(), random);
    const char *slash = strrchr(path, '/');
    if (asprintf(&temp, "%.*s.haul-%.16s", slash ? (int)(slash - path + 1) : 0, path, random) < 0) {
        temp = NULL;
        return local_err(ENOMEM, "make a name beside", path);
    }
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return local_err(EISDIR, "write", path);
    AUTO_FD int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return local_err(errno, "create a file beside", path);
    struct arriving a = {.bar = {.label = safe ? safe : ""}, .fd = fd};
    struct haul_error herr;
    interrupt_catch();
    pool_new("write-back", 1, 1, &a.flusher, NULL);
    int rc = haul_download(c, ref, fd, arriving_progress, &a, NULL, &herr);
    pool_free(a.flusher);
    bar_clear(&a.bar);
    if (rc != HAUL_OK) {
        status = cli_haul_err(cli, &herr, safe);
        unlink(temp);
    } else if (fsync(fd) != 0) { /* without it a power cut may leave the name with a hole behind it */
        status = local_err(errno, "sync what was downloaded for", path);
        unlink(temp);
    } else if (rename(temp, path) != 0) {
        status = local_err(errno, "write", path);
        unlink(temp);
    }
    interrupt_release();
    return status;
}

int outputs_fetch(struct cli *cli, const char *job_id, const char *dir)
{
    char path[128];
    json_t *doc = NULL;
    struct err err = {0};
    snprintf(path, sizeof(path), "/v1/jobs/%s/outputs", job_id);
    int status = cli_call(cli, "GET", path, NULL, &doc, job_id);
    if (status != EXIT_OK)
        return status;
    if (fs_mkdirs(dir, 0777, &err) != ERR_OK) {
        json_decref(doc);
        return cli_err(&err, NULL);
    }
    size_t i;
    json_t *o;
    json_array_foreach (json_object_get(doc, "outputs"), i, o) {
        const char *name = jtext(o, "name");
        AUTO_FREE char *to = NULL;
        if (!filename_valid(name)) { /* a name must not lead out of the folder */
            err_set(&err, ERR_INVALID, 0, "an output is named '%.100s', which is no plain file name: not downloaded",
                    name);
            status = cli_err(&err, job_id);
            break;
        }
        if (asprintf(&to, "%s/%s", dir, name) < 0) {
            to = NULL;
            status = local_err(ENOMEM, "make the path of", name);
            break;
        }
        status = blob_fetch(cli, jtext(o, "ref"), to, name);
        if (status != EXIT_OK)
            break;
        AUTO_FREE char *safe = text_safe(to);
        char size[32];
        bytes_format(jint(o, "size"), size);
        fprintf(stderr, "%s (%s)\n", safe ? safe : to, size);
    }
    json_decref(doc);
    return status;
}
