#pragma once
/* Within the room: fingerprints as they come in. */
#include "api/request.h"

/** @param text  or NULL: *ret = 0 @return ERR_INVALID naming `field` */
int fingerprint_read(const char *text, const char *field, uint64_t *ret, struct err *err);
