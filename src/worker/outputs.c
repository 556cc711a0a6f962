/* A handler is not trusted: out/ may hold links to the host's files, pipes that block, devices. */
#include "worker/transfer.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#define OUTPUTS_MAX 1000

static int beneath(int dir, const char *name, int flags)
{
    const unsigned more =
        (flags & O_PATH) ? O_CLOEXEC : O_CLOEXEC | O_NONBLOCK | O_NOCTTY; /* openat2 refuses these with O_PATH */
    const struct open_how how = {.flags = (unsigned)flags | more,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    return (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
}

int outputs_probe(const char *folder, struct err *err)
{
    AUTO_FD int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO_FD int same = dir < 0 ? -1 : beneath(dir, ".", O_RDONLY | O_DIRECTORY);
    if (same < 0 && (errno == ENOSYS || errno == EPERM))
        return err_set(
            err, ERR_UNSUPPORTED, errno,
            "outputs cannot be read safely: openat2 is kept from us, by a kernel before 5.6 or a system call "
            "filter (an old container engine's, systemd's RestrictSUIDSGID=)");
    return same < 0 ? err_set(err, ERR_IO, errno, "open '%.150s'", folder) : ERR_OK;
}

/* The folder itself may have been replaced by a link. */
int scratch_folder_open(const char *scratch, const char *folder, int *ret_fd, struct err *err)
{
    AUTO_FD int dir = open(scratch, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir < 0)
        return err_set(err, ERR_IO, errno, "open '%s'", scratch);
    *ret_fd = beneath(dir, folder, O_RDONLY | O_DIRECTORY);
    return *ret_fd < 0 ? err_set(err, ERR_INVALID, errno, "%s/ is no longer the folder it was", folder) : ERR_OK;
}

int scratch_file_look(int dir, const char *folder, const char *name, struct stat *ret, struct err *err)
{
    AUTO_FD int path =
        beneath(dir, name, O_PATH | O_NOFOLLOW); /* looks before it opens: opening a device may do things */
    if (path < 0 || fstat(path, ret))
        return err_set(err, ERR_INVALID, errno, "%s/%.150s cannot be taken", folder, name);
    if (!S_ISREG(ret->st_mode))
        return err_set(err, ERR_INVALID, 0, "%s/%.100s is %s: only regular files directly in %s/ are taken", folder,
                       name,
                       S_ISDIR(ret->st_mode)    ? "a folder"
                       : S_ISLNK(ret->st_mode)  ? "a symbolic link"
                       : S_ISFIFO(ret->st_mode) ? "a pipe"
                                                : "no file",
                       folder);
    return ERR_OK;
}

int scratch_file_open(const char *scratch, const char *folder, const char *name, int *ret_fd, struct stat *ret,
                      struct err *err)
{
    AUTO_FD int dir = -1;
    int rc = scratch_folder_open(scratch, folder, &dir, err);
    if (!rc)
        rc = scratch_file_look(dir, folder, name, ret, err);
    if (rc)
        return rc;
    AUTO_FD int fd = beneath(dir, name, O_RDONLY);
    if (fd < 0 || fstat(fd, ret) || !S_ISREG(ret->st_mode))
        return err_set(err, ERR_INVALID, errno, "%s/%.150s cannot be read", folder, name);
    *ret_fd = TAKE_FD(fd);
    return ERR_OK;
}

int output_open(const char *scratch, const char *name, int *ret_fd, int64_t *ret_size, struct err *err)
{
    struct stat st;
    const int rc = scratch_file_open(scratch, "out", name, ret_fd, &st, err);
    if (!rc)
        *ret_size = st.st_size;
    return rc;
}

void string_list_free(struct string_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    *l = (struct string_list){NULL, 0};
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int entry_take(const char *scratch, const char *name, struct string_list *l, struct failure *f, struct err *err)
{
    AUTO_FD int fd = -1;
    int64_t size;
    if (!filename_valid(name))
        return failure_set(f, "error", false, "an output's name must be UTF-8 without control characters"), ERR_INVALID;
    if (l->n == OUTPUTS_MAX)
        return failure_set(f, "error", false, "more than %d files in out/: pack them into one", OUTPUTS_MAX),
               ERR_INVALID;
    const int rc = output_open(scratch, name, &fd, &size, err);
    if (rc)
        return failure_set(f, "error", false, "%s", err->msg), rc;
    return (l->items[l->n] = strdup(name)) ? (l->n++, ERR_OK) : err_set(err, ERR_NO_MEMORY, 0, "outputs");
}

int outputs_list(const char *scratch, struct string_list *ret, struct failure *f, struct err *err)
{
    int out = -1, rc = scratch_folder_open(scratch, "out", &out, err);
    if (rc)
        return failure_set(f, "error", false, "%s", err->msg), rc;
    DIR *d = fdopendir(out);
    struct string_list l = {calloc(OUTPUTS_MAX + 1, sizeof *l.items), 0};
    if (!d || !l.items)
        rc = err_set(err, ERR_NO_MEMORY, 0, "outputs");
    for (const struct dirent *e; !rc && (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            rc = entry_take(scratch, e->d_name, &l, f, err);
    if (d)
        closedir(d);
    else
        close(out);
    if (rc) {
        string_list_free(&l);
        return rc;
    }
    qsort(l.items, l.n, sizeof *l.items, name_order);
    *ret = l;
    return ERR_OK;
}
