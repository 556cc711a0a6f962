#pragma once
/* Errors are values: made where something fails, wrapped by each layer that knows more, logged once where handled. */
#include <stdbool.h>
#include <stddef.h>

enum err_code {
#define ERR(code, name, http, repeat, exit_status) ERR_##code,
#include "base/errors.def"
#undef ERR
    ERR_COUNT
};

#define ERR_MSG_MAX   512
#define ERR_FIELD_MAX 64

/** One failure. `field` names the offending input field (JSON pointer-like, "inputs[2].name") or is empty. */
struct err {
    enum err_code code;
    int sys; /* errno, or 0 */
    char field[ERR_FIELD_MAX];
    char msg[ERR_MSG_MAX];
};

/** Sets `err` (may be NULL) and returns `code`. With `sys` != 0 ": strerror" is appended. ENOSPC and EDQUOT turn
 * ERR_IO into ERR_NO_SPACE, ENOMEM into ERR_NO_MEMORY. Over-long text is cut at a UTF-8 boundary. */
int err_set(struct err *err, enum err_code code, int sys, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/** As err_set with ERR_INVALID, naming the field: `err_field(err, "priority", "must be 0 to 9, got %d", p)`. */
int err_field(struct err *err, const char *field, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** Puts "context: " before the message. Returns `code`, so `return err_wrap(err, rc, "open store");` reads on. */
int err_wrap(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

void err_clear(struct err *err);

const char *err_name(enum err_code code);      /* wire name, "stale_token" */
int err_http(enum err_code code);              /* HTTP status */
bool err_repeatable(enum err_code code);       /* may the caller safely repeat? */
int err_exit(enum err_code code);              /* exit status of the command line */
enum err_code err_from_name(const char *name); /* ERR_INTERNAL when unknown */

#if defined(HAUL_ANALYZE) && !defined(ERR_DEFINES)
/* An analyzer looks at one file at a time. Told what these return, it knows that after them nothing was made. */
#define err_set(err, code, ...)                                                                                        \
    ({                                                                                                                 \
        err_set((err), (code), __VA_ARGS__);                                                                           \
        (int)(code);                                                                                                   \
    })
#define err_field(err, ...)                                                                                            \
    ({                                                                                                                 \
        err_field((err), __VA_ARGS__);                                                                                 \
        (int)ERR_INVALID;                                                                                              \
    })
#endif
