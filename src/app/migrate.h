#pragma once
/* Moves all that one configuration's server keeps into what another one's names, while neither runs. */
#include "app/server_options.h"
#include "store/move.h"

enum migrate_stage { MIGRATE_ROWS, MIGRATE_BLOBS, MIGRATE_CHECK };

struct migrate_progress {
    enum migrate_stage stage;
    int64_t done, total, before; /* rows, of all tables; bytes, of all blobs. `before` were moved by an earlier run */
};

struct migrate {
    const struct server_options *from, *to;
    bool dry_run, allow_damaged;
    /** At most once a portion. nonzero: stop, which loses nothing. */
    int (*progress)(void *arg, const struct migrate_progress *p);
    void *arg;

    /* out */
    bool resumed;                             /* an earlier run had begun it */
    bool same_folder;                         /* both keep their blobs in one folder: their bytes stay */
    int64_t rows, blobs, blob_bytes, damaged; /* blobs that are missing in the source, or not what their rows say */
    char first_damaged[UUID_STR_MAX];
    int64_t *table_rows; /* of each of move_tables; migrate_release */
    double read_rate;    /* dry run: rows a second that the source gives */
};

/** ERR_LOCKED: a server uses one of the two. ERR_CONFLICT: the target is not empty, or begun from another source. ERR_CORRUPT: what was
 * written is not what was read. ERR_CONFLICT, too: all was moved out of the source before, elsewhere. On any error but these a repetition
 * goes on where it stopped. */
int migrate_run(struct migrate *m, struct err *err);

/** Takes the note away that what a configuration's server keeps was moved, so that one starts on it again.
 * ERR_NOT_FOUND: there is none. ERR_LOCKED: a server uses the data folder.
 * @param ret_was  what it said */
int migrate_unmark(const struct server_options *of, char ret_was[MOVE_MOVED_MAX], struct err *err);
void migrate_release(struct migrate *m);
