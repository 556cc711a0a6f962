#pragma once
/* Calls that change something and must come to an end: repeated while the server is away or busy. */
#include "cli/command.h"
#include "cli/term.h"

/** As haul_call by `method` with an Idempotency-Key (or NULL). Repeated with back-off while the outcome is unknown or the server is busy: for ten
 * minutes, or three times when it has never answered. An interrupt (interrupt_catch) ends the waiting with HAUL_ABORTED.
 * @param bar  tells on a terminal that the server is away; elsewhere a line does @param ret_tries  may be NULL
 * @return HAUL_OK, or what `err` says, not printed */
int call_patiently(struct cli *cli, const char *method, const char *path, const char *body, const char *key,
                   struct bar *bar, char **ret_text, unsigned *ret_tries, struct haul_error *err);
/** Waits before try `n` + 1: back-off, at least what the server asked for. @return false when interrupted */
bool patient_sleep(unsigned n, int retry_after_s);
#define PATIENCE_US (10 * 60 * USEC_PER_SEC)
