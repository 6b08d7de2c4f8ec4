/* The words behind `wald` that are commands of their own, besides serving. */
#ifndef SERVER_COMMANDS_H
#define SERVER_COMMANDS_H

#include <stdio.h>

/* `wald COMMAND ...` or `wald help COMMAND`: runs it, and returns the status to exit with; -1: that
 * is none of these commands, and nothing was done. */
int command_run(int argc, char **argv);

/* A line for each. */
void commands_list(FILE *out);

#endif
