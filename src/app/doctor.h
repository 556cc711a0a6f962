#pragma once
/* A look at everything that a configuration needs, end to end. It changes nothing but for probes that it takes away again. */
#include "app/server_options.h"
#include "base/finding.h"

struct doctor {
    const struct server_options *options;
    const char *server; /* URL to be reached; NULL: none is asked for */
    struct findings *findings;
};
void doctor_run(const struct doctor *d);
