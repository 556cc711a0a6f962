#pragma once
/* What the attempt before kept, back in checkpoint/ before the handler begins. */
#include "worker/checkpoint_dir.h"
#include "worker/logs.h"
#include "worker/transfer.h"

struct restored {
    struct kept_files files; /* with their blobs; none: the handler begins at the beginning */
    double percent;          /* how far the work was; below 0: not known */
};
/** `why` of a checkpoint that could not be had is said in the log, and the attempt begins at the beginning: it fails only where this
 * machine cannot write. Errors as inputs_fetch's. @param ret  released by the caller, also on error */
int checkpoint_restore(const struct attempt *a, struct logs *log, struct lease *l, int stop_fd, struct restored *ret,
                       struct failure *f, struct err *err);
