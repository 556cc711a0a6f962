#pragma once
/* Files between the server and an attempt's scratch. */
#include "worker/attempt.h"
#include "worker/lease.h"

/** How a stage ended other than well: what the attempt will be reported as. */
struct failure {
    const char *outcome; /* "error", "timeout", ...; NULL while there is none */
    bool permanent;
    char message[1024];
};
void failure_set(struct failure *f, const char *outcome, bool permanent, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/** scratch with payload.json and every input. Repeats until it has them, or the lease is gone or cancelled or `stop_fd` is readable (then
 * ERR_CANCELLED), or no repetition can help (then `f` says why). */
int inputs_fetch(const struct attempt *a, struct lease *l, int stop_fd, int64_t *ret_bytes, struct failure *f,
                 struct err *err);

/** Names in out/, regular files only, sorted; each is an owned string. Anything else there is a failure that names it. */
int outputs_list(const char *scratch, struct string_list *ret, struct failure *f, struct err *err);
/** Does the host let outputs be read safely at all? `folder` is any folder. ERR_UNSUPPORTED says what is in the way. */
int outputs_probe(const char *folder, struct err *err);
/** Opens out/NAME and nothing but a regular file that is really there: no link, no mount, no way out. */
int output_open(const char *scratch, const char *name, int *ret_fd, int64_t *ret_size, struct err *err);
void string_list_free(struct string_list *l);
