#pragma once
/* The handler's lines on descriptor 3, and the thread that carries them and the log to the server while it runs. */
#include "worker/attempt.h"
#include "worker/logs.h"

#define REPORT_LINE_MAX      4096
#define PROGRESS_MESSAGE_MAX 257 /* the server takes no longer ones */

struct progress {
    double percent;
    char message[PROGRESS_MESSAGE_MAX];
};
/** One call to the server: a haul_rc. */
int progress_post(const struct attempt *a, struct haul_client *c, const struct progress *p, struct haul_error *he);

struct reports;
/** Starts the sending thread. Borrows `a` and `log`. */
int reports_start(const struct attempt *a, struct logs *log, struct reports **ret, struct err *err);
/** Bytes from descriptor 3, in any pieces. */
void reports_add(struct reports *r, const char *p, size_t n);
/** There is more log to send. */
void reports_log_grew(struct reports *r);
/** The handler has ended: a last line without its end counts, too. */
void reports_end(struct reports *r);
/** Was there a `checkpoint` line since this was asked last? `ret_percent`: the progress before it; below 0: none. */
bool reports_checkpoint(struct reports *r, double *ret_percent);
/** The last `error` line, or "" */
const char *reports_error(const struct reports *r);
/** Another program begins: what the one before said of an error is not its word. */
void reports_error_forget(struct reports *r);
/** Stops the thread. How much of the log the server has: `ret_log_sent`. */
void reports_stop(struct reports *r, int64_t *ret_log_sent);
/** The last progress; false when there was none. From any thread. */
bool reports_progress(struct reports *r, struct progress *ret);
/** After reports_stop: the last progress, when the server does not have it. */
bool reports_unsent(const struct reports *r, struct progress *ret);
void reports_free(struct reports *r); /* stopped before; NULL accepted */

/** One line, NUL-terminated: what it says. Pure. */
enum report_kind { REPORT_NONE, REPORT_PROGRESS, REPORT_ERROR, REPORT_CHECKPOINT };
enum report_kind report_parse(const char *line, double *ret_percent, const char **ret_message);
