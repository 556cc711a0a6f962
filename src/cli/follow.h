#pragma once
/* Following a job to its end, and fetching what it made: shared by submit --wait, jobs wait and jobs outputs. */
#include "cli/command.h"
#include "cli/term.h"

/** Waits for the end of a job by long polls, showing state, percent, its rate and what is left. A server that restarts is waited for.
 * @param which  shown before the id ("[2/5]"), or NULL
 * @param give_up_us  USEC_NEVER or a monotonic instant  @param met  the server has answered before: its absence is not a typing error
 * @param ret_text  the job as it was last seen, free(); may be NULL @return enum exit_status, or an error's status (printed) */
int follow(struct cli *cli, const char *job_id, const char *which, usec give_up_us, bool met, char **ret_text);
/** What a finished job means as an exit status. */
int follow_exit(const char *status);
/** One line on stderr for how it ended, and its error_log when it failed. */
void follow_epilogue(const json_t *job);

/** Downloads all outputs of a job into `dir`, made if absent. Each comes under a temporary name first. */
int outputs_fetch(struct cli *cli, const char *job_id, const char *dir);
/** Downloads one blob to `path`, by way of a temporary file beside it. `label`: shown while it comes. */
int blob_fetch(struct cli *cli, const char *ref, const char *path, const char *label);
/** Uploads a file. @param ret_ref 64 bytes @param ret_sha256 65 bytes or NULL @param fd, size  of the open file */
int blob_send(struct cli *cli, int fd, int64_t size, const char *label, char *ret_ref, char *ret_sha256);
