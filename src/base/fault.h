#pragma once
/* Named fault points: places where a test can make a call fail. Compiled out unless HAUL_FAULTS is defined.
 *     if (FAULT("sqlite.commit")) return err_set(err, ERR_IO, EIO, "commit");
 * HAUL_FAULTS_AT="name:N" in the environment makes the Nth pass of `name` fail ("name:N+" every pass from N on). */
#include <stdbool.h>
#ifdef HAUL_FAULTS
bool fault_hit(const char *name);
#define FAULT(name) fault_hit(name)
#else
#define FAULT(name) false
#endif
