#include "cli/spark.h"
#include "base/auto.h"
#include <string.h>

static double most(const double *values, size_t from, size_t to)
{
    double v = 0;
    for (size_t i = from; i < to; i++)
        v = MAX(v, values[i]);
    return v;
}

void spark_format(const double *values, size_t n, char ret[SPARK_MAX])
{
    const double top = most(values, 0, n);
    const double stretch = n > SPARK_COLUMNS ? (double)n / SPARK_COLUMNS : 1;
    char *p = ret;
    for (size_t i = 0; i < n && i < SPARK_COLUMNS; i++) {
        const size_t from = (size_t)((double)i * stretch), to = (size_t)((double)(i + 1) * stretch);
        const double v = most(values, from, i + 1 == SPARK_COLUMNS ? n : to);
        *p++ = (char)0xE2; /* U+2581, the lowest, to U+2588 */
        *p++ = (char)0x96;
        *p++ = (char)(0x81 + (top > 0 ? (int)(v / top * 7 + 0.5) : 0));
    }
    *p = 0;
}
