#pragma once
/* `haul worker stop` and `haul worker --drain`: the worker of a state folder claims nothing more; what it runs is waited for, or handed
 * back. Needs no server. argv[0] is not looked at. */
#include <stdbool.h>

int stop_main(int argc, char **argv);

/** Asks the supervisor of the attempt in `dir` to end its handler and hand the job back; may be repeated. False: none could be asked. */
bool stop_hand_back(const char *dir);
