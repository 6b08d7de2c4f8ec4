#include "server/commands.h"

#include <string.h>

#include "server/file_commands.h"

int command_run(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "help") == 0) {
        const char *const asked[] = {argv[2], "--help", NULL};
        return file_commands_run(2, asked);
    }
    return argc > 1 ? file_commands_run(argc - 1, (const char *const *)argv + 1) : -1;
}

void commands_list(FILE *out)
{
    file_commands_list(out);
}
