#include "worker/checkpoint_dir.h"
#include "base/auto.h"
#include "base/text.h"
#include "worker/transfer.h"
#include <dirent.h>
#include <errno.h>
#include <time.h>

#define SETTLE_NS 20000000 /* file times move with the kernel's tick: 10 ms at most */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct kept_file *)a)->name, ((const struct kept_file *)b)->name);
}

static int entry_take(int dir, const char *name, int64_t max_bytes, struct kept_files *k, struct err *err)
{
    struct kept_file *f = &k->items[k->n];
    if (!filename_valid(name))
        return err_set(err, ERR_INVALID, 0, "a file's name must be UTF-8 without control characters");
    if (k->n == CHECKPOINT_FILES_MAX)
        return err_set(err, ERR_TOO_LARGE, 0, "more than %d files: pack them into fewer", CHECKPOINT_FILES_MAX);
    const int rc = scratch_file_look(dir, "checkpoint", name, &f->st, err);
    if (rc && err->sys == ENOENT) /* gone again since the folder was listed */
        return err_clear(err), ERR_OK;
    if (rc)
        return rc;
    if (f->st.st_size > max_bytes - k->bytes)
        return err_set(err, ERR_TOO_LARGE, 0, "it is larger than %lld bytes (checkpoint_max)", (long long)max_bytes);
    if (!(f->name = strdup(name)))
        return err_set(err, ERR_NO_MEMORY, 0, "checkpoint");
    k->bytes += f->st.st_size;
    k->n++;
    return ERR_OK;
}

int kept_files_read(const char *scratch, int64_t max_bytes, struct kept_files *ret, struct err *err)
{
    int dir = -1, rc = scratch_folder_open(scratch, "checkpoint", &dir, err);
    if (rc)
        return rc;
    DIR *d = fdopendir(dir);
    struct kept_files k = {.items = calloc(CHECKPOINT_FILES_MAX + 1, sizeof *k.items)};
    if (!d || !k.items)
        rc = err_set(err, ERR_NO_MEMORY, 0, "checkpoint");
    for (const struct dirent *e; !rc && (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            rc = entry_take(dir, e->d_name, max_bytes, &k, err);
    if (d)
        closedir(d);
    else
        close(dir);
    if (rc) {
        kept_files_free(&k);
        return rc;
    }
    qsort(k.items, k.n, sizeof *k.items, by_name);
    *ret = k;
    return ERR_OK;
}

void kept_files_free(struct kept_files *k)
{
    for (size_t i = 0; i < k->n; i++)
        free(k->items[i].name);
    free(k->items);
    *k = (struct kept_files){0};
}

const struct kept_file *kept_files_find(const struct kept_files *k, const char *name)
{
    const struct kept_file key = {.name = (char *)(uintptr_t)name};
    return k->n ? bsearch(&key, k->items, k->n, sizeof *k->items, by_name) : NULL;
}

static bool time_same(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool kept_file_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mode == b->st_mode &&
           time_same(&a->st_mtim, &b->st_mtim) && time_same(&a->st_ctim, &b->st_ctim);
}

bool kept_files_settled(const struct kept_files *k)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < k->n; i++) {
        const struct timespec *t = &k->items[i].st.st_ctim;
        const int64_t age_s = now.tv_sec - t->tv_sec;
        if (age_s >= -1 && age_s <= 1 && age_s * 1000000000 + now.tv_nsec - t->tv_nsec < SETTLE_NS)
            return false;
    }
    return true;
}

bool kept_files_stand(const struct kept_files *before, const struct kept_files *after)
{
    for (size_t i = 0; i < before->n; i++) {
        const struct kept_file *f = kept_files_find(after, before->items[i].name);
        if (!f || !kept_file_same(&before->items[i].st, &f->st))
            return false;
    }
    return true;
}

bool kept_files_equal(const struct kept_files *a, const struct kept_files *b)
{
    return a->n == b->n && kept_files_stand(a, b);
}
