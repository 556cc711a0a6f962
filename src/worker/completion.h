#pragma once
/* How an attempt ended: written to disk before anyone is told, told until someone answers. */
#include "base/buf.h"
#include "worker/attempt.h"
#include "worker/logs.h"
#include "worker/phases.h"
#include "worker/reports.h"
#include "worker/transfer.h"

struct meter;

struct ending {
    const char *outcome; /* "success", "error", "timeout", "stalled", "signal", "interrupted", "cancelled" */
    bool permanent;
    const char *error_log; /* not for success */
    struct string_list outputs;
    const struct progress *progress; /* the last one, when the server does not have it yet; else NULL */
    int exit_code, signal;           /* -1: none */
    struct meter *meter;             /* what it holds goes along; or NULL */
    usec cpu_us;
    int64_t peak_bytes, bytes_in, log_total;
    struct phase_times phases;
};
/** completion.json's text. @param ret  initialised here, released by the caller also on error */
int completion_text(const struct attempt *a, const struct ending *e, struct buf *ret, struct err *err);
/** completion.json, durable. Without room for it, whatever of the scratch the ending does not need goes first. */
int completion_journal(const struct attempt *a, const struct buf *text, bool success, struct err *err);
/** Sends the rest of the log, the outputs, and the ending; repeats each until answered. ERR_OK also when the server no longer wants it
 * (the token is stale): then nothing is left to do. @param text  NULL: completion.json  @param log  sealed; NULL: log.kept is opened */
int completion_deliver(const struct attempt *a, const struct buf *text, struct logs *log, int64_t log_sent,
                       struct err *err);
bool completion_exists(const char *dir);
/** cause, then the last 4 KiB of the log. Owned by the caller. */
char *error_log_make(const char *cause, struct logs *log);
