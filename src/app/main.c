/* One program: the server, the worker and the command line. */
#include "app/server_main.h"
#include "cli/cli.h"
#include "worker/worker.h"

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "server") == 0)
        return server_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "worker") == 0)
        return worker_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "supervise") == 0)
        return supervise_main(argc - 1, argv + 1);
    return cli_main(argc, argv);
}
