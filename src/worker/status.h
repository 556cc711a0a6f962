#pragma once
/* `haul worker status`: what runs on this machine, with or without an agent, without a server. argv[0] is "status". */
int status_main(int argc, char **argv);
