#pragma once
/* Files: whole reads and writes, durable renames, trees. */
#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

int fs_mkdirs(const char *path, mode_t mode, struct err *err); /* existing directories are fine */
/** Whole file into `buf` (initialised by the caller; its max bounds the size: ERR_TOO_LARGE). */
int fs_read(const char *path, struct buf *buf, struct err *err);
/** Temp file beside it, write, fsync, rename, fsync of the directory. */
int fs_write_durable(const char *path, const void *p, size_t n, mode_t mode, struct err *err);
int fs_sync_dir(const char *path, struct err *err);
/** Writes all of it, whatever write() does in between. */
int fs_write_all(int fd, const void *p, size_t n, struct err *err);
/** Removes a tree without following symbolic links; absent is fine; makes unsearchable directories of ours searchable. */
int fs_remove_tree(const char *path, struct err *err);
/** Takes a lock (flock, exclusive, not waiting) on the file, made if absent. ERR_LOCKED when held elsewhere.
 * The lock lives as long as the descriptor. */
int fs_lock(const char *path, int *ret_fd, struct err *err);
/** The same beside others who share it. */
int fs_lock_shared(const char *path, int *ret_fd, struct err *err);
bool fs_exists(const char *path);
int64_t fs_size(const char *path); /* bytes of a file; 0 when it is not there */
/** a/b joined into `ret` (PATH_MAX); ERR_TOO_LARGE when it does not fit. */
int fs_join(char *ret, size_t size, const char *a, const char *b, struct err *err);
