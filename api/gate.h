/*
 * The gate: what every request has to pass before anything is made of it. Two readers of one
 * connection (a proxy and this service, or the HTTP library and this code) must never disagree on
 * where a request ends or what it asks for, so whatever could be read in two ways is refused.
 */
#ifndef API_GATE_H
#define API_GATE_H

#include "api/http.h"
#include "api/response.h"

struct gate_config {
    /* Names the service answers to beside those of the loopback; with any_host, to every name. */
    const char *const *hosts;
    unsigned host_count;
    bool any_host;
    /* Origins of the web pages that may call the service besides its own; "*" is every one. */
    const char *const *origins;
    unsigned origin_count;
    uint32_t header_bytes_max; /* 0: HTTP_HEADERS_BYTES_MAX */
};

/* What the headers say, once they say only one thing. Strings point into the head. */
struct gate_facts {
    enum http_method method;
    bool has_body, chunked;
    uint64_t content_length; /* 0 if chunked */
    bool expects_continue;
    const char *allow_origin;              /* for Access-Control-Allow-Origin: a value, or NULL */
    const char *headers[HTTP_KNOWN_COUNT]; /* their values; NULL: not there */
};

/* "GET", ...; not of HTTP_OTHER. */
const char *gate_method_name(enum http_method method);

/* "Content-Type", ... */
const char *gate_header_name(enum http_known header);

/* Whether a value of Content-Type or a part of Accept names this media type; parameters are free. */
bool gate_is_media_type(const char *value, const char *type);

/* Whether a value of Content-Encoding is gzip, by either of its names. */
bool gate_is_gzip(const char *value);

/* False: refused, and the response says why; the connection cannot be used any further. Of the facts,
 * only allow_origin counts then. */
bool gate_admits(const struct gate_config *config, const struct http_head *head,
                 struct gate_facts *ret_facts, struct response *ret_refusal);

#endif
