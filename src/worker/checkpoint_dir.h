#pragma once
/* checkpoint/ as it stood at one moment. A handler is not trusted, and goes on writing while we read. */
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define CHECKPOINT_FILES_MAX 1000 /* the server takes no more */

struct kept_file {
    char *name;
    struct stat st; /* as it was when the folder was read */
    char ref[64];   /* the blob that holds just this, or "" */
};
struct kept_files {
    struct kept_file *items; /* by name */
    size_t n;
    int64_t bytes;
};
/** @param max_bytes  of all files together. ERR_INVALID, ERR_TOO_LARGE: it cannot be a checkpoint, the message says what is wrong. */
int kept_files_read(const char *scratch, int64_t max_bytes, struct kept_files *ret, struct err *err);
void kept_files_free(struct kept_files *k);
const struct kept_file *kept_files_find(const struct kept_files *k, const char *name);
/** The same file with the same contents? By what the kernel keeps of it: a write moves its ctime, if not within one tick of the clock. */
bool kept_file_same(const struct stat *a, const struct stat *b);
/** Was none of them written in the last ticks of the clock, so that a write from now on can be told? */
bool kept_files_settled(const struct kept_files *k);
/** Every file of `before` is as it was: `before` is what the folder held at one moment. What came since does not matter. */
bool kept_files_stand(const struct kept_files *before, const struct kept_files *after);
/** Names and contents are the same. */
bool kept_files_equal(const struct kept_files *a, const struct kept_files *b);
