/* One program: the server, the worker and the command line. */
#include "app/doctor_main.h"
#include "app/migrate_main.h"
#include "app/restore_main.h"
#include "app/server_main.h"
#include "cli/cli.h"
#include "worker/worker.h"

/* `haul help server` is `haul server --help`, `haul help worker status` is `haul worker status --help`. */
static void help_of_command(int argc, char **argv)
{
    static char help[] = "--help";

    if (argc == 3 && strcmp(argv[1], "help") == 0 &&
        (strcmp(argv[2], "server") == 0 || strcmp(argv[2], "worker") == 0 || strcmp(argv[2], "restore") == 0 ||
         strcmp(argv[2], "migrate") == 0 || strcmp(argv[2], "doctor") == 0)) {
        argv[1] = argv[2];
        argv[2] = help;
    }
    if (argc == 4 && strcmp(argv[1], "help") == 0 && strcmp(argv[2], "worker") == 0 && strcmp(argv[3], "status") == 0) {
        argv[1] = argv[2];
        argv[2] = argv[3];
        argv[3] = help;
    }
}

int main(int argc, char **argv)
{
    help_of_command(argc, argv);
    if (argc > 1 && strcmp(argv[1], "server") == 0)
        return server_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "worker") == 0)
        return worker_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "restore") == 0)
        return restore_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "migrate") == 0)
        return migrate_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "doctor") == 0)
        return doctor_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "supervise") == 0)
        return supervise_main(argc - 1, argv + 1);
    return cli_main(argc, argv);
}
