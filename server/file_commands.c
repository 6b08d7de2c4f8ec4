#include "server/file_commands.h"

#include <string.h>

#include "server/files.h"
#include "wal/base.h"

static const struct {
    const char *name, *arguments, *help;
    int (*run)(int argc, const char *const *argv);
} commands[] = {
    {"verify", "DIR|LOG-DIR", "checks the files of logs, and names each damage", command_verify},
    {"dump", "DIR|LOG-DIR", "prints the frames and records in the files", command_dump},
    {"repair", "DIR|LOG-DIR", "makes damaged logs take appends again", command_repair},
    {"doctor", "[DIR]", "looks at kernel, limits and disk, with remedies", command_doctor},
    {"token", "NAME RIGHTS LOGS", "makes a token for wald serve --tokens", command_token},
    {"crashtest", "DIR", "kills a writer again and again, on your disk", command_crashtest},
};

int file_commands_run(int argc, const char *const *argv)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(argv[0], commands[i].name) != 0)
            continue;
        files_name_command(commands[i].name);
        return commands[i].run(argc, argv);
    }
    return -1;
}

void file_commands_list(FILE *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        int at = fprintf(out, "       wald %s %s", commands[i].name, commands[i].arguments);
        fprintf(out, "%*s%s\n", at < 43 ? 43 - at : 1, "", commands[i].help);
    }
}
