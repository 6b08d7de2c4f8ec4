/* What the commands on files share: their options, what they say, and which logs they are about. */
#ifndef SERVER_FILES_H
#define SERVER_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum files_status {
    FILES_OK = 0,
    FILES_DAMAGED = 1,
    FILES_TORN = 2,
    FILES_USAGE = 64,
    FILES_NEWER = 65,  /* written by a newer version */
    FILES_SYSTEM = 71, /* no memory */
    FILES_IO = 74,
    FILES_IN_USE = 75,
};

/* An option with its value behind it or after "=", or, with `flag`, without one. */
struct files_option {
    const char *name; /* without the dashes */
    const char *help; /* "N  what it does" */
    bool *flag;
    const char **text;
    uint64_t *number; /* decimal */
};

struct files_usage {
    const char *arguments; /* "DIR|LOG-DIR" */
    const char *about;     /* a paragraph; ends with a newline */
    const char *statuses;  /* likewise */
    const struct files_option *options;
    size_t option_count;
    unsigned arguments_min, arguments_max;
};

/* Reads argv[1] and what follows; *ret_arguments gets what is no option. Returns -1 to go on, else the
 * status to exit with: after --help, or a mistake, about which it has been said what is wrong. */
int files_options(const struct files_usage *usage, int argc, const char *const *argv,
                  const char **ret_arguments, unsigned *ret_count);

/* "wald verify: ..." and the end of a line, on stderr. */
void files_name_command(const char *name);
void files_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The status for a negative errno about `what`, which is said. */
int files_error(const char *what, int error);

/* Flushes stdout; what could not be written makes any status FILES_IO. */
int files_finish(int status);

/* A string of JSON, quoted. What is no UTF-8 is U+FFFD. */
void files_json_text(FILE *out, const void *text, size_t bytes);

/*
 * Calls visit for each log of a data directory, or for the one whose folder it is; `log`: that one
 * alone, or NULL. Unless `live`, the directory is locked against a service meanwhile, without writing.
 * Returns the worst status: the greatest of FILES_OK, FILES_TORN and FILES_DAMAGED, or an error.
 */
typedef int files_visit(void *context, const char *name, const char *path);
int files_each_log(const char *path, const char *log, bool live, files_visit *visit, void *context);

/* Which of two statuses is to be told. */
int files_worse(int a, int b);

/* The data directory and the name of the log that a log's folder is of. */
bool files_split(const char *path, char *ret_dir, char *ret_name, size_t capacity);
bool files_is_log(const char *path);

/* How far it has come: a bar on stderr where that is a terminal, elsewhere nothing. */
struct files_bar {
    const char *what;
    uint64_t shown_us;
    bool is_shown, is_off;
};
void files_bar_show(struct files_bar *bar, uint64_t done, uint64_t total);
void files_bar_clear(struct files_bar *bar);

uint64_t files_now_us(void);

#endif
