#pragma once
/* A process of the worker tells who it is: a Unix socket in its own folder, one JSON object to whoever connects. Read by the next agent
 * and by `haul worker status`. Only the folder's owner can connect. */
#include "base/err.h"
#include "base/json.h"
#include <sys/types.h>

struct presence;

/** Writes the members of the object; called from the presence's own thread, for one client at a time. */
typedef void (*presence_tell)(void *arg, struct json_writer *w);

/** Makes `dir`/socket (a left-over one is replaced) and answers on it until presence_stop. */
int presence_start(const char *dir, presence_tell tell, void *arg, struct presence **ret, struct err *err);
/** Ends the thread, removes the socket, frees. NULL accepted. */
void presence_stop(struct presence *p);

/** Who answers in `dir`, within a second. ERR_NOT_FOUND: nobody is there. ERR_TIMEOUT: somebody is, and says nothing (stopped).
 * @param ret  the object, for json_decref; may be NULL  @param ret_pid  who listens, by the kernel's word; also on ERR_TIMEOUT; may be NULL */
int presence_ask(const char *dir, json_t **ret, pid_t *ret_pid, struct err *err);
