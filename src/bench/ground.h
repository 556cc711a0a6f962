#pragma once
/* Where a run happens: a temporary folder, the server (given, or our own in that folder), and the bare limits beside it. */
#include "bench/bare.h"
#include "bench/child.h"
#include "bench/wire.h"

struct ground {
    char dir[4000]; /* temporary; removed in the end */
    char kind[32];  /* the file system: "ext4" */
    char url[400];
    bool own; /* the server is ours */
    struct child server;
    struct address address;
    struct bare bare;
};

/** @param data  folder for the temporary one. @param server  URL, or NULL: our own. */
int ground_open(struct ground *g, const char *data, const char *server, unsigned batch, struct err *err);
void ground_close(struct ground *g);
