#pragma once
/* Bugs planted on purpose, so that a test can show that test/sim catches their like. Compiled out unless HAUL_PLANTED is defined, which
 * only test/sim's own build of a few rooms does.
 *     if (BUG("forget-grace")) return; */
#include <stdbool.h>
#ifdef HAUL_PLANTED
bool bug_planted(const char *name); /* test/sim/planted.c */
#define BUG(name) bug_planted(name)
#else
#define BUG(name) false
#endif
