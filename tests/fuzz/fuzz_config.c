/*
 * Fuzz target for the configuration: flags, environment and file of `wald serve`. What is taken in is
 * printed in the form of a file, and has to come to the same when that file is read; what is refused
 * comes with a sentence.
 *
 * An input is flags, variables and lines of the file, one a line: "-" begins a flag, "$" a variable (its
 * name behind WALD_, and its value); everything else is a line of the file.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/config.h"
#include "wal/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENTRIES_MAX = 64, LINE_BYTES_MAX = 190 };

struct input {
    const char *flags[ENTRIES_MAX + 8];
    int flag_count;
    const char *variables[ENTRIES_MAX + 1];
    unsigned variable_count;
    char *text; /* what all of these point into */
    char *variable_text, *variable_end;
};

/* A file in memory, that this process can name. */
static int open_file(char ret_path[64])
{
    int fd = memfd_create("settings", MFD_CLOEXEC);

    must(fd >= 0);
    snprintf(ret_path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static void add_variable(struct input *input, const char *line)
{
    if (input->variable_count == ENTRIES_MAX)
        return;
    input->variables[input->variable_count++] = input->variable_end;
    input->variable_end += sprintf(input->variable_end, "WALD_%s", line) + 1;
}

/* Takes the text apart, and writes the lines of the file. */
static void read_input(struct input *input, const uint8_t *data, size_t size, int fd)
{
    char *line, *rest = input->text;

    memcpy(input->text, data, size);
    input->text[size] = '\0';
    for (char *c = input->text; c < input->text + size; c++) {
        if (*c == '\0')
            *c = '\n';
    }
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (line[0] == '-') {
            if (input->flag_count < ENTRIES_MAX)
                input->flags[input->flag_count++] = line;
        } else if (line[0] == '$') {
            add_variable(input, line + 1);
        } else {
            must(dprintf(fd, "%s\n", line) >= 0);
        }
    }
}

/* What was said; the caller's. */
static enum config_result load(const struct input *input, bool print, char **ret_out,
                               size_t *ret_bytes)
{
    struct config config;
    char *errors = NULL;
    size_t errors_bytes = 0;
    FILE *out = open_memstream(ret_out, ret_bytes);
    FILE *err = open_memstream(&errors, &errors_bytes);
    const char *flags[ENTRIES_MAX + 9];
    int count = input->flag_count;

    must(out && err);
    memcpy(flags, input->flags, (size_t)count * sizeof(*flags));
    if (print)
        flags[count++] = "--print-config";
    enum config_result result = config_load(&config, count, flags, input->variables, out, err);
    fclose(out);
    fclose(err);
    if (result == CONFIG_WRONG)
        must(errors_bytes > 10 && strncmp(errors, "wald: ", 6) == 0);
    if (result == CONFIG_SERVE) {
        must(!print && config.record_bytes_max >= 1 && config.listen && config.data);
        config_done(&config);
    }
    free(errors);
    return result;
}

/* Longer lines of a file are refused; what they say can only come from flags and variables. */
static bool lines_are_short(const char *text)
{
    for (const char *end; *text; text = *end ? end + 1 : end) {
        end = strchrnul(text, '\n');
        if (end - text >= LINE_BYTES_MAX)
            return false;
    }
    return true;
}

/* A file that says what was taken in says the same again. */
static void try_printed(const char *printed, size_t bytes)
{
    char path[64], *again = NULL;
    size_t again_bytes = 0;
    int fd = open_file(path);
    struct input input = {.flags = {"wald", "serve", "--config", path}, .flag_count = 4};

    must(write(fd, printed, bytes) == (ssize_t)bytes);
    must(load(&input, true, &again, &again_bytes) == CONFIG_DONE);
    free(again);

    must(load(&input, false, &again, &again_bytes) == CONFIG_SERVE);
    free(again);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64], *printed = NULL;
    size_t bytes = 0;
    int fd = open_file(path);
    struct input input = {.flags = {"wald", "serve", "--config", path}, .flag_count = 4};

    input.text = malloc(size + 1);
    input.variable_text = input.variable_end = malloc(size * 6 + ENTRIES_MAX * 8);
    must(input.text && input.variable_text);
    read_input(&input, data, size, fd);

    enum config_result result = load(&input, false, &printed, &bytes);

    free(printed);
    if (result == CONFIG_SERVE) {
        must(load(&input, true, &printed, &bytes) == CONFIG_DONE);
        if (lines_are_short(printed))
            try_printed(printed, bytes);
        free(printed);
    }
    free(input.text);
    free(input.variable_text);
    close(fd);
    return 0;
}
