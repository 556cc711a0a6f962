/* What the commands that are not cli's say of a wrong command line. */
#include "app/usage.h"
#include "base/auto.h"
#include "cli/command.h"
#include "cli/term.h"

int usage(const char *command, const char *what, const char *problem)
{
    AUTO_FREE char *safe = text_safe(what);

    fprintf(stderr, "haul %s: %s: %s\nTry 'haul help %s'.\n", command, safe ? safe : "", problem, command);
    return EXIT_USAGE;
}
