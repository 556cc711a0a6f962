#pragma once
/* The worker: an agent that polls, and one supervisor process for every job it runs. */

/** `haul worker ...`. argv[0] is the command's name, options follow. Returns the exit status. */
int worker_main(int argc, char **argv);
/** `haul supervise --dir ATTEMPT --lock-fd N [--report]`: started by the agent only. */
int supervise_main(int argc, char **argv);
