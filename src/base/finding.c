#include "base/finding.h"
#include <stdarg.h>
#include <stdio.h>

void finding_add(struct findings *f, enum finding_level level, const char *check, const char *remedy, const char *fmt,
                 ...)
{
    char said[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(said, sizeof(said), fmt, ap);
    va_end(ap);
    f->take(f, &(struct finding){level, check, said, remedy ? remedy : ""});
}
