#pragma once
/* Within the room: what the headers of the tus protocol say (https://tus.io/protocols/resumable-upload, 1.0.0). Pure. */
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

#define TUS_VERSION      "1.0.0"
#define TUS_EXTENSIONS   "creation,expiration,termination"
#define TUS_METADATA_MAX 4096

/** A count of bytes in header `name`: digits only. NULL: it is required. */
int tus_bytes_parse(const char *text, const char *name, int64_t *ret, struct err *err);
/** "key base64,key base64,key": each key once, values well-formed. Of `sha256` the value is looked at: 64 hexadecimal digits.
 * @param text  NULL or empty: no metadata */
int tus_metadata_parse(const char *text, bool *ret_hashed, uint8_t ret_sha256[32], struct err *err);
