#include "client/commands.h"

#include <errno.h>
#include <string.h>

#include "wal/base.h"

struct client_command {
    const char *name, *arguments, *summary, *details;
    enum command_bit bit;
    unsigned arguments_min, arguments_max;
    bool begins_with_log; /* its first argument, if there is one, is the name of a log */
    int (*run)(struct service *service, const struct options *options);
};

static const struct client_command commands[] = {
    {"append", "LOG [FILE]...", "appends files or stdin to a log",
     "Each file, or stdin, becomes one record; with --lines each line does. The exit status 0\n"
     "means that all of it is durable. What is printed are the offsets it got: \"7\", or \"0..41\",\n"
     "first and last, for each run of lines that lie together. Appends that are not answered are\n"
     "sent again, and are stored once. With --lines, lines are appended as they arrive.\n",
     FOR_APPEND, 1, UINT32_MAX, true, command_append},
    {"read", "LOG", "prints the records of a log",
     "From the oldest record, unless told otherwise, to the last one that is durable now.\n",
     FOR_READ, 1, 1, true, command_read},
    {"tail", "LOG", "prints the last ten records, and with -f what comes",
     "The same as read, but beginning with the last ten records.\n", FOR_TAIL, 1, 1, true,
     command_tail},
    {"ls", "[PREFIX]", "lists the logs",
     "With -l the columns are name, first_offset, committed_offset, records and bytes on disk.\n",
     FOR_LS, 0, 1, false, command_ls},
    {"stats", "[LOG]", "counters of a log, or of the service", "", FOR_STATS, 0, 1, true,
     command_stats},
    {"trim", "LOG --before OFFSET | --keep N", "drops the oldest records of a log",
     "Prints the offset of the oldest record that is left. Trimmed records are gone for good.\n",
     FOR_TRIM, 1, 1, true, command_trim},
    {"export", "LOG [FILE]", "writes a log to a file or stdout, for import",
     "Lines of JSON: one that says what it is, one for each record that is durable now, and one\n"
     "with their number and the SHA-256 of all lines before it. FILE appears when it is whole.\n",
     FOR_EXPORT, 1, 2, true, command_export},
    {"import", "LOG [FILE]", "makes a log of what export has written",
     "The log has to be new, or to begin with the same records: an import that was cut off goes\n"
     "on where it ended. From a file, nothing is appended unless the export is whole. Offsets\n"
     "count from 0, and times are those of the import.\n",
     FOR_IMPORT, 1, 2, true, command_import},
};

static void print_help(const struct client_command *command)
{
    printf("usage: wald %s %s [OPTION]...\n\n%s%s", command->name, command->arguments,
           command->details, *command->details ? "\n" : "");
    options_print(command->bit, stdout);
    printf(
        "\nExit status: 0 done; 1 refused by the service; 64 wrong usage; 65 damaged or cut "
        "data;\n69 no service; 71 no memory; 74 a file, stdin or stdout; 75 failed for\nnow, or not known.\n");
}

static int run(const struct client_command *command, const struct options *options)
{
    struct service service;
    if (options->argument_count < command->arguments_min ||
        options->argument_count > command->arguments_max) {
        complain("%s takes %s. Try: wald %s --help", command->name, command->arguments,
                 command->name);
        return EXIT_USAGE;
    }
    if (command->begins_with_log && options->argument_count > 0 &&
        !log_name_is_fine(options->arguments[0]))
        return EXIT_USAGE;
    int status = service_open(&service, options);
    if (status != 0)
        return status;
    status = command->run(&service, options);
    service_close(&service);
    return status;
}

int client_run(int argc, char **argv)
{
    struct options options;
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(argv[0], commands[i].name) != 0)
            continue;
        int status = options_read(&options, commands[i].bit, argc, argv);
        if (status != 0)
            return status;
        if (!options.help)
            return run(&commands[i], &options);
        print_help(&commands[i]);
        return finish_stdout();
    }
    return -1;
}

void client_list(FILE *out)
{
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        int at = fprintf(out, "       wald %s %s", commands[i].name, commands[i].arguments);
        fprintf(out, "%*s%s\n", at < 43 ? 43 - at : 1, "", commands[i].summary);
    }
}

int complain_stdout(void)
{
    complain("stdout cannot be written to: %s.", strerror(errno));
    return EXIT_IO;
}

int finish_stdout(void)
{
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : complain_stdout();
}
