/* `wald healthcheck`: asks a service on this machine how it is, for containers without curl. */
#ifndef SERVER_HEALTHCHECK_H
#define SERVER_HEALTHCHECK_H

#include <stdio.h>

#include "server/config.h"

/* Asks /readyz (config->live: /livez) of the service that listens where this configuration says, and
 * writes one line about it to `out`. Blocks for two seconds at most. Returns the status to exit with:
 * 0 after a 200 in that time, else 1. */
int healthcheck_run(const struct config *config, FILE *out);

#endif
