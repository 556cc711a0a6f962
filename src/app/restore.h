#pragma once
/* A data folder out of a backup's archive. All or nothing: everything is checked before the folder has its name. */
#include "backup/backup.h"

struct restore {
    int fd;             /* the archive; need not be seekable */
    const char *dir;    /* the data folder to make: absent, or empty. NULL: the archive is only checked */
    bool allow_damaged; /* blobs that were missing or damaged when the backup was made do not stop it */
    /** Called every now and then; nonzero stops. total -1: not known yet. */
    int (*progress)(void *arg, int64_t done, int64_t total);
    void *arg;
    /* out */
    struct backup_manifest manifest;
    int64_t bytes;   /* of the archive */
    int64_t damaged; /* blobs */
};

/** ERR_LOCKED, ERR_CONFLICT: the folder is in use, or holds something. ERR_CORRUPT, ERR_UNSUPPORTED: the archive. */
int restore_run(struct restore *r, struct err *err);
