/* A request as it arrived, as a value: what the gate judges before anything is made of it. */
#ifndef API_HTTP_H
#define API_HTTP_H

#include <stddef.h>

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER
};

/* The headers that anything here looks at. None of them may be there twice. */
enum http_known {
    HTTP_HOST,
    HTTP_CONTENT_LENGTH,
    HTTP_TRANSFER_ENCODING,
    HTTP_CONTENT_ENCODING,
    HTTP_CONTENT_TYPE,
    HTTP_EXPECT,
    HTTP_ORIGIN,
    HTTP_SEC_FETCH_SITE,
    HTTP_ACCEPT,
    HTTP_PREFER,
    HTTP_RANGE,
    HTTP_IF_RANGE,
    HTTP_IF_MATCH,
    HTTP_IF_NONE_MATCH,
    HTTP_IF_UNMODIFIED_SINCE,
    HTTP_IDEMPOTENCY_KEY,
    HTTP_PRODUCER_ID,
    HTTP_PRODUCER_EPOCH,
    HTTP_PRODUCER_SEQ,
    HTTP_STREAM_SEQ,
    HTTP_STREAM_CLOSED,
    HTTP_STREAM_TTL,
    HTTP_STREAM_EXPIRES_AT,
    HTTP_STREAM_FORKED_FROM,
    HTTP_STREAM_FORK_OFFSET,
    HTTP_STREAM_FORK_SUB_OFFSET,
    HTTP_LAST_EVENT_ID,
    HTTP_AUTHORIZATION,
    HTTP_KNOWN_COUNT
};

#define HTTP_HEADERS_MAX 64
#define HTTP_TARGET_BYTES_MAX 1024

/* All headers together, each counted with some room for itself, unless configured otherwise. The
 * library keeps the head of a request and that of its answer in one piece of memory: what is larger
 * could be read, but no longer be answered, and an append would be durable without anybody being
 * told. */
#define HTTP_HEADERS_BYTES_MAX 6144
#define HTTP_HEADER_OWN_BYTES 64

struct http_header {
    const char *name, *value;
    size_t name_bytes, value_bytes;
};

struct http_head {
    const char *method, *version;
    const char *target;  /* raw: as sent, nothing decoded; cut off behind HTTP_TARGET_BYTES_MAX */
    size_t target_bytes; /* as sent */
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t header_count; /* as sent; only the first HTTP_HEADERS_MAX are kept */
};

#endif
