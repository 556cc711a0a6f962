#pragma once
/* Files between the server and an attempt's scratch. */
#include "worker/attempt.h"
#include "worker/lease.h"
#include <sys/stat.h>

/** How a stage ended other than well: what the attempt will be reported as. */
struct failure {
    const char *outcome; /* "error", "timeout", ...; NULL while there is none */
    bool permanent;
    char message[1024];
};
void failure_set(struct failure *f, const char *outcome, bool permanent, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/** Whom to ask whether a transfer is still wanted. */
struct wanted {
    struct lease *lease;
    int stop_fd;
};
bool unwanted(const struct wanted *w);
/** Has the worker's disk room for `need` bytes more? When not, `f` says so: `what` ("the inputs need"), and how much there is. */
bool space_lacks(const struct attempt *a, const char *what, uint64_t need, struct failure *f);
struct fetch {
    const char *folder, *kind; /* of the scratch; for messages: "input" */
    struct input file;
    mode_t mode;
};
/** A blob into FOLDER/NAME of the scratch, made anew, its SHA-256 and size checked. Repeats until it is there. ERR_CANCELLED: no longer
 * wanted. ERR_INVALID: the server does not give it, and ERR_IO: it cannot be written here; `f` says why. */
int scratch_fetch(const struct attempt *a, struct haul_client *c, struct wanted *w, const struct fetch *what,
                  int64_t *ret_size, struct failure *f, struct err *err);

/** scratch with payload.json and every input. Repeats until it has them, or the lease is gone or cancelled or `stop_fd` is readable (then
 * ERR_CANCELLED), or no repetition can help (then `f` says why). */
int inputs_fetch(const struct attempt *a, struct lease *l, int stop_fd, int64_t *ret_bytes, struct failure *f,
                 struct err *err);

/** Names in out/, regular files only, sorted; each is an owned string. Anything else there is a failure that names it. */
int outputs_list(const char *scratch, struct string_list *ret, struct failure *f, struct err *err);
/** Does the host let outputs be read safely at all? `folder` is any folder. ERR_UNSUPPORTED says what is in the way. */
int outputs_probe(const char *folder, struct err *err);
/** scratch/FOLDER, unless something else lies in its place. */
int scratch_folder_open(const char *scratch, const char *folder, int *ret_fd, struct err *err);
/** What is NAME in `dir`, the folder of that name? ERR_INVALID when it is no regular file; nothing is opened. */
int scratch_file_look(int dir, const char *folder, const char *name, struct stat *ret, struct err *err);
int scratch_file_open(const char *scratch, const char *folder, const char *name, int *ret_fd, struct stat *ret,
                      struct err *err);
/** Opens out/NAME and nothing but a regular file that is really there: no link, no mount, no way out. */
int output_open(const char *scratch, const char *name, int *ret_fd, int64_t *ret_size, struct err *err);
void string_list_free(struct string_list *l);
