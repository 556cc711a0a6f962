#pragma once
/* The bugs that are planted in core, engine and store (base/bug.h), by name. */
#include <stddef.h>
#include <stdbool.h>

struct bug {
    const char *name, *what;
};
extern const struct bug bugs[];
extern const size_t n_bugs;
/** From now on it is there. NULL: none is. false: there is no such bug, or this build has none. */
bool bug_plant(const char *name);
