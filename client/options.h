/* The options of the commands that talk to a service, as one table: it makes their parsing and their
 * help. */
#ifndef CLIENT_OPTIONS_H
#define CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define OPTION_UNSET UINT64_MAX
#define OPTION_FOREVER (UINT64_MAX - 1)

/* Who takes an option: a set of these. */
enum command_bit {
    FOR_APPEND = 1 << 0,
    FOR_READ = 1 << 1,
    FOR_TAIL = 1 << 2,
    FOR_LS = 1 << 3,
    FOR_STATS = 1 << 4,
    FOR_TRIM = 1 << 5,
    FOR_EXPORT = 1 << 6,
    FOR_IMPORT = 1 << 7,
};

/* In the order of the choices in options.c. */
enum separator { SEPARATE_NEWLINE, SEPARATE_NUL, SEPARATE_NONE, SEPARATE_LENGTH };

struct options {
    const char *url, *token_file, *ca_file, *producer, *offset, *at;
    uint64_t retry_us;                  /* OPTION_UNSET, OPTION_FOREVER */
    uint64_t last, limit, before, keep; /* OPTION_UNSET: not given */
    uint64_t separator;                 /* enum separator */
    bool quiet, lines, json, follow, skip_damaged, details;
    bool help;
    const char *const *arguments; /* what is no option */
    unsigned argument_count;
};

/* `argv` begins with the name of the command, and is put in another order. Returns 0, or EXIT_USAGE
 * when it has been said what is wrong. */
int options_read(struct options *ret_options, enum command_bit command, int argc, char **argv);

void options_print(enum command_bit command, FILE *out);

#endif
