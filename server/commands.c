#include "server/commands.h"

#include <string.h>

#include "client/commands.h"
#include "server/file_commands.h"

/* The words from the name of the command on. */
static int run_any(int argc, char **argv)
{
    int status = client_run(argc, argv);
    return status >= 0 ? status : file_commands_run(argc, (const char *const *)argv);
}

int command_run(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "help") == 0) {
        char help[] = "--help";
        char *asked[] = {argv[2], help, NULL};
        return run_any(2, asked);
    }
    return argc > 1 ? run_any(argc - 1, argv + 1) : -1;
}

void commands_list(FILE *out)
{
    client_list(out);
    file_commands_list(out);
}
