#pragma once
/* `haul doctor`. argv[0] is "doctor". @return exit status: 0 when nothing failed, 1 otherwise. */
int doctor_main(int argc, char **argv);
