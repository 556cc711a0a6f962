#pragma once
/* `haul restore`. argv[0] is "restore". @return exit status. */
int restore_main(int argc, char **argv);
