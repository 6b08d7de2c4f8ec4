/* The commands that talk to a service. Each file of a command has its function; commands.c has the
 * table. */
#ifndef CLIENT_COMMANDS_H
#define CLIENT_COMMANDS_H

#include <stdio.h>

#include "client/options.h"
#include "client/service.h"

/* Runs the command that argv[0] names. Returns the status to exit with; -1: there is no such
 * command, and nothing was done. */
int client_run(int argc, char **argv);

/* A line for each. */
void client_list(FILE *out);

/* ---- one for each command: 0, or the status to exit with when it has been said why ---- */

int command_append(struct service *service, const struct options *options);
int command_export(struct service *service, const struct options *options);
int command_import(struct service *service, const struct options *options);
int command_ls(struct service *service, const struct options *options);
int command_read(struct service *service, const struct options *options);
int command_stats(struct service *service, const struct options *options);
int command_tail(struct service *service, const struct options *options);
int command_trim(struct service *service, const struct options *options);

/* Says why stdout cannot be written to, and returns EXIT_IO. */
int complain_stdout(void);

/* Flushes stdout; EXIT_IO if that, or anything before, failed. */
int finish_stdout(void);

#endif
