#pragma once
/* Where the objects are: s3://bucket/prefix?endpoint=...&region=... taken apart. Pure, but for the region that AWS_REGION names. */
#include "base/clock.h"
#include "base/err.h"
#include <stdbool.h>

struct s3_place {
    char bucket[64];
    char prefix[512]; /* "" or ending in '/' */
    char origin[512]; /* "https://host:port", the bucket in it where the style is virtual */
    char host[320];   /* as the header Host has it */
    char root[80];    /* "/" or "/bucket/" */
    char region[64];
    char credentials[512], ca[512]; /* files; "": none named */
    bool loopback;
    bool direct, direct_up; /* downloads, uploads: between S3 and whoever wants or has the bytes */
    usec timeout_us;        /* without a byte */
    usec abandoned_us;      /* after which an upload that nobody finished is given up */
};

/** ERR_INVALID names the parameter. Secrets do not belong there, and none is taken. */
int s3_place_parse(const char *url, struct s3_place *ret, struct err *err);
