/* haul version */
#include "cli/command.h"

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    printf(cli->json ? "{\"version\":\"%s\"}\n" : "haul %s\n", HAUL_VERSION);
    return EXIT_OK;
}

const struct command command_version = {
    .name = "version",
    .args = "",
    .summary = "Print the version.",
    .run = run,
};
