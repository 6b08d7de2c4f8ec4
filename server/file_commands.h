/* The commands on files and machines: each takes the words from its own name on, and returns the
 * status to exit with. */
#ifndef SERVER_FILE_COMMANDS_H
#define SERVER_FILE_COMMANDS_H

#include <stdio.h>

/* Runs the command that argv[0] names; -1: there is none of that name. */
int file_commands_run(int argc, const char *const *argv);

/* A line for each. */
void file_commands_list(FILE *out);

int command_verify(int argc, const char *const *argv);
int command_dump(int argc, const char *const *argv);
int command_repair(int argc, const char *const *argv);
int command_doctor(int argc, const char *const *argv);
int command_token(int argc, const char *const *argv);
int command_crashtest(int argc, const char *const *argv);

#endif
