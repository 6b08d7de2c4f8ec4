/* The answer to a request, as a value: what is sent, without how. */
#ifndef API_RESPONSE_H
#define API_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>

#include "api/text.h"

#define RESPONSE_HEADERS_MAX 16

struct response {
    unsigned status;  /* 0: none yet */
    unsigned problem; /* 1 + enum problem, 0: it is none */
    char *body;       /* on the heap; NULL if there is none */
    size_t body_bytes;
    bool close; /* the connection is of no use after it */
    const char
        *note; /* static text that ends the detail of a problem, with a space before it; NULL */

    struct {
        const char *name, *value;
    } headers[RESPONSE_HEADERS_MAX];
    unsigned header_count;
    char values[1024]; /* what the values of headers point into */
    size_t values_bytes;
};

/* `name` is static text; the value is ours to choose, so it fits and is a valid header value. */
void response_header(struct response *response, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with a value that outlives the response, of any length. */
void response_header_static(struct response *response, const char *name, const char *value);

/* The same with a value that is copied. */
void response_header_text(struct response *response, const char *name, const char *value);

/* The bytes become the response's. `content_type` is copied. If `body` ran out of memory the
 * response says so instead. */
void response_text(struct response *response, unsigned status, const char *content_type,
                   struct text *body);

/* Forgets what was said, so that something else can be. */
void response_clear(struct response *response);

#endif
