#pragma once
/* The dashboard: the files of web/dist, in this program as bytes. The table is made by the build (scripts/embed-dashboard.py). */
#include <stdbool.h>
#include <stddef.h>

struct dashboard_bytes {
    const char *p;
    size_t n;
};

struct dashboard_file {
    const char *name, *content_type, *hash; /* name: the last segment of its path; hash: of its bytes, in hex */
    struct dashboard_bytes plain, gzip;
};

extern const struct dashboard_file dashboard_files[];
extern const size_t dashboard_n_files;

/** Does `Accept-Encoding` (NULL: absent) allow gzip? RFC 9110, 12.5.3: named with a weight above 0, or covered by `*`. Pure. */
bool dashboard_takes_gzip(const char *accept_encoding);
