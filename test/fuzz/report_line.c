/* What a handler writes on descriptor 3: one line. */
#include "fuzz.h"
#include "worker/reports.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(4u << 20);
    const char *message = NULL;
    double percent = -1;
    MUST(arena);
    const char *line = arena_strndup(arena, (const char *)data, size < REPORT_LINE_MAX ? size : REPORT_LINE_MAX);
    MUST(line);
    switch (report_parse(line, &percent, &message)) {
    case REPORT_PROGRESS:
        MUST(percent >= 0 && percent <= 100);
        MUST(message && strlen(message) <= strlen(line));
        break;
    case REPORT_ERROR:
        MUST(message && strlen(message) <= strlen(line));
        break;
    default:
        break;
    }
    arena_free(arena);
    return 0;
}
