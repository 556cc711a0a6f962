#pragma once
/* `haul migrate`. argv[0] is "migrate". @return exit status. */
int migrate_main(int argc, char **argv);
