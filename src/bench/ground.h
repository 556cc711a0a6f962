#pragma once
/* Where a run happens: a temporary folder, the servers (given, or our own in that folder), and the bare limits beside it. */
#include "bench/bare.h"
#include "bench/child.h"
#include "bench/wire.h"

#define BENCH_SERVERS_MAX 16 /* as of any other client's list */

struct ground {
    char dir[4000]; /* temporary; removed in the end */
    char kind[32];  /* the file system: "ext4" */
    char url[4400]; /* of each server, commas between */
    bool own;       /* the server is ours */
    struct child server;
    struct address servers[BENCH_SERVERS_MAX];
    unsigned n_servers;
    struct bare bare;
};

/** @param data  folder for the temporary one. @param server  URL, or several with commas between, 1 to BENCH_SERVERS_MAX, none twice; NULL: our own. */
int ground_open(struct ground *g, const char *data, const char *server, unsigned batch, struct err *err);
void ground_close(struct ground *g);
