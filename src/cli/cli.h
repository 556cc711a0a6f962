#pragma once
/* The command line: every command that talks to a server, and help for all of them. */

/** argv[1] is the command's name. @return the exit status (cli/exit.h). `server`, `worker` and `supervise` are run by app/main.c;
 * only their help is here: cli_main with {"haul", "help", "server"}. */
int cli_main(int argc, char **argv);
