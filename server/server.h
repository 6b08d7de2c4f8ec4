/* The service from its start to its end. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "server/config.h"

/* Serves until a signal says otherwise. Returns the status to exit with: 0 after a stop in good
 * order. Everything worth knowing has been said on stderr. */
int server_run(const struct config *config);

#endif
