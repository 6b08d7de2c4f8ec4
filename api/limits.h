/* Whether the client of a request may have it now: --client-requests-per-second and its like. */
#ifndef API_LIMITS_H
#define API_LIMITS_H

#include <stdbool.h>

struct request;

/* When it is known who asks, and what has been refused by then is replaced. False: refused, and the
 * response says when to come again. */
bool limits_admit(struct request *request);

#endif
