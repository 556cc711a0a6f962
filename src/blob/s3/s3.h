#pragma once
/* Blobs as objects in S3, or in what speaks its protocol: s3://bucket/prefix?endpoint=... (place.h). Any number of servers may use a bucket at
 * once; the bytes of one upload belong to one at a time. */
#include "blob/blob.h"

const struct blob_driver *blob_s3(void);
