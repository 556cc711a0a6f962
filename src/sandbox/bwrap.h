#pragma once
/* bubblewrap's arguments for one sandbox. */
#include "base/buf.h"
#include "base/err.h"
#include "sandbox/sandbox.h"

/** Where bubblewrap is, by PATH. ERR_NOT_FOUND says how to get it. `ret` is PATH_MAX bytes. */
int bwrap_find(char *ret, struct err *err);
/** The whole set, NUL-separated as --args wants it, without the command. */
int bwrap_args(const struct sandbox_spec *spec, struct buf *ret, struct err *err);
