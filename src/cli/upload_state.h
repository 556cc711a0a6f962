#pragma once
/* Which upload a file was on its way in, so that the same command goes on with it: a line in a file below the user's state folder. What
 * goes wrong here costs the going on, never the upload. */
#include "client/haul.h"
#include <limits.h>

struct upload_state {
    char path[PATH_MAX]; /* "": nothing can be kept */
};

/** @param ret_upload  "" when there is none, or not of this file as it is now */
void upload_state_load(struct upload_state *s, const char *server, int fd, char ret_upload[HAUL_UPLOAD_MAX]);
void upload_state_save(const struct upload_state *s, const char *upload);
void upload_state_drop(const struct upload_state *s);
