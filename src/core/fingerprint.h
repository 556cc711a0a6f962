#pragma once
/* Fingerprints: dead letters of one cause share one, whatever ids, numbers and paths their messages name. Pure. */
#include "core/job.h"

#define FINGERPRINT_MAX       17  /* 16 hex digits and the end */
#define FINGERPRINT_CAUSE_MAX 513 /* bytes of a folded message, its end included */

/**
 * The part of an error_log that says why, with all that differs between jobs of one cause folded:
 * numbers, times, UUIDs, hex and every other word with a digit become `#`, paths and URLs `*`, quoted strings `'*'`, and runs of white
 * space one space. Up to three digits after the words `status`, `signal` and `code` stay: they tell causes apart.
 *
 * @param error_log  or NULL, any bytes; only what stands before the first empty line (the log's last lines follow it) counts
 * @param ret        the folded message, cut at FINGERPRINT_CAUSE_MAX - 1 bytes
 *
 * Never fails.
 */
void fingerprint_cause(const char *error_log, char ret[FINGERPRINT_CAUSE_MAX]);

/** Equal for equal task type, outcome and folded message; never 0. Never fails. */
uint64_t fingerprint_make(const char *task_type, enum outcome outcome, const char *error_log);
/** 16 lower-case hex digits. */
void fingerprint_format(uint64_t fingerprint, char ret[FINGERPRINT_MAX]);
/** As fingerprint_format writes it, and nothing else. 0 is none. */
bool fingerprint_parse(const char *s, uint64_t *ret);
