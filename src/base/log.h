#pragma once
/* The program's own log: one JSON object a line on stderr, or plain text on a terminal. Thread-safe.
 * Below engine, api, worker and cli nothing logs: errors are returned. */
#include "base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/** @param component  "server", "worker", "supervisor"; kept by reference. Level from HAUL_LOG_LEVEL unless set. */
void log_setup(const char *component, enum log_level level);
bool log_level_parse(const char *s, enum log_level *ret);

/** log_event(LOG_INFO, "job finished", "job_id", id, "outcome", out, NULL): pairs of strings, ended by NULL. */
void log_event(enum log_level level, const char *message, ...) __attribute__((sentinel));
/** With the error's code and text. */
void log_err(const char *message, const struct err *err);
