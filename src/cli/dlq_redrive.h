#pragma once
/* Redrives on the server: made, followed, told of. */
#include "cli/command.h"
#include "cli/term.h"

/* Each prints its errors and returns an exit status. A redrive is its object as the API gives it; json_decref. */

/** POST /v1/redrives, repeated under one key until there is an answer. */
int redrive_make(struct cli *cli, const char *body, json_t **ret);
/** Waits for its end, showing how far it is. A server that is away is waited for. A signal ends the waiting and the command, not the redrive.
 * @param redrive  in and out: as it was last seen */
int redrive_follow(struct cli *cli, json_t **redrive);
/** What became of it, in a line; with --json the object. A cancelled one is an error's exit status. */
int redrive_tell(const struct cli *cli, const json_t *redrive);
