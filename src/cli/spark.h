#pragma once
/* A row of numbers as a row of bars. */
#include <stddef.h>

#define SPARK_COLUMNS 40
#define SPARK_MAX     (SPARK_COLUMNS * 3 + 1)

/** At most SPARK_COLUMNS characters of eight heights, from 0 to the largest; of more numbers the largest of each stretch. All zero: the
 * lowest bars. @param values  0 or above */
void spark_format(const double *values, size_t n, char ret[SPARK_MAX]);
