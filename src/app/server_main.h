#pragma once
/* `haul server`. argv[0] is "server". @return exit status. */
int server_main(int argc, char **argv);
