/* One request and its answer at a time, over a connection that is kept: the only file that knows
 * libcurl. */
#ifndef CLIENT_HTTP_H
#define CLIENT_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "client/buffer.h"

#define HTTP_HEADERS_MAX 8
#define HTTP_NO_NUMBER UINT64_MAX

struct http_request {
    const char *method; /* NULL: GET */
    const char *target; /* behind the address of the service: "/logs/orders?..." */
    const char *headers[HTTP_HEADERS_MAX]; /* "Name: value", up to the first NULL */
    const void *body;
    size_t body_bytes; /* 0: no body */
    unsigned wait_s;   /* the service may be silent for so long, and some time more */
};

struct http_answer {
    long status;
    struct buffer body;
    uint64_t next_offset, committed_offset, retry_after_s; /* of headers, or HTTP_NO_NUMBER */
    bool is_problem;                                       /* by its Content-Type */
};

struct http;

/* `url` is the address of the service, without a slash at its end, and has to stay, as have `token`,
 * which every request presents (NULL: none), and `ca_file`, of those whose word for a certificate counts
 * (NULL: those of the system). NULL: no memory, or the library cannot be loaded, which has been said
 * then. Not for several threads. */
struct http *http_open(const char *url, const char *token, const char *ca_file);
void http_close(struct http *http); /* or NULL */

/* Sends the request and receives the answer, which replaces what was in *answer; its body is to be
 * freed by buffer_done(). Returns 0, or -1 without a (whole) answer: whether the service has done what
 * was asked is then not known, and http_trouble() says what happened. */
int http_exchange(struct http *http, const struct http_request *request,
                  struct http_answer *answer);

/* For a person; until the next exchange. */
const char *http_trouble(const struct http *http);

/* The last exchange failed since no connection could be made. */
bool http_nobody_is_there(const struct http *http);

/* The last exchange failed before anything was sent: the certificate of the service is not believed, or
 * there are none to believe. */
bool http_is_distrusted(const struct http *http);

/* The last exchange failed before anything was sent: an address that is none. */
bool http_url_is_wrong(const struct http *http);

#endif
