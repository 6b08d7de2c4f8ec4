/*
 * Web pages of other origins. A browser lets a page read what another origin answers, or send it
 * anything but the simplest of requests, only where that answer says so. Here none does, unless the
 * page's origin has been configured; and what browsers send without asking, the gate refuses.
 *
 * A preflight, which asks what a request would be allowed, is answered for any origin with the
 * methods and headers there are: that is what openapi.yaml says, and no part of the data. What opens
 * the door to a page is Access-Control-Allow-Origin, and only configured origins get that.
 */
#ifndef API_CORS_H
#define API_CORS_H

#include "api/gate.h"

/* Whether there is a configured origin: then answers may have more headers. */
bool cors_is_open(const struct gate_config *config);

/* What Access-Control-Allow-Origin says to a request with this Origin (NULL: without one): "*", or
 * the very string given, or NULL, which is no such header. */
const char *cors_allowed(const struct gate_config *config, const char *origin);

/* Calls add() for each of the headers that every answer to a request of these facts carries on behalf
 * of browsers, to whatever it may be. `facts` NULL: its head has not been seen. The strings are static
 * or those of the facts. False: add() was, and the others are not there. */
bool cors_headers(const struct gate_config *config, const struct gate_facts *facts,
                  bool (*add)(void *out, const char *name, const char *value), void *out);

/* The further headers of an answer to OPTIONS, if it was a page that asked. `methods` are those of the
 * path, as in Allow. */
void cors_answer_preflight(struct response *response, const struct gate_facts *facts,
                           const char *methods);

#endif
