/*
 * What the service does with a request, apart from how requests arrive: the routes, what they mean
 * for the store, and every refusal. Public.
 */
#ifndef API_API_H
#define API_API_H

#include <stdbool.h>
#include <stdint.h>

#include "api/space.h"
#include "wal/store.h"

struct api;

/* Something an operator should hear of. */
struct api_event {
    const char *name; /* "append_failed", ... */
    const char *log;  /* NULL: none in particular */
    int error;        /* a negative errno; 0: good news */
};

/* No longer one than that may be among the origins of a configuration. */
#define CORS_ORIGIN_BYTES_MAX 255

/* Something that the process has given up, or why it has not: for GET /stats. */
struct api_layer {
    const char *name;
    bool active;
    const char *text;
};

/* What may be open to everybody: bits, in the order of the choices of --open. */
enum api_open {
    API_OPEN_HEALTH = 1 << 0, /* /livez, /readyz, /healthz */
    API_OPEN_METRICS = 1 << 1,
    API_OPEN_STATS = 1 << 2, /* of the whole service */
    API_OPEN_VERSION = 1 << 3,
    API_OPEN_OPENAPI = 1 << 4,
};

struct auth;

struct api_config {
    struct store *store; /* the caller's; its committer 0 is driven by the thread that serves */
    const char *version;
    uint32_t record_bytes_max;
    uint32_t batch_bytes_max;  /* of an NDJSON body, up to WAL_APPEND_BYTES_MAX; 0: that much */
    uint32_t header_bytes_max; /* of all headers of a request; 0: HTTP_HEADERS_BYTES_MAX */
    bool auto_create;          /* the first append to a log makes it */
    struct space_floor space_floor; /* with less free than this nothing new is taken */
    uint64_t retain_interval_us;    /* between two looks at what logs may let go; 0: never */
    uint32_t metrics_logs_max;      /* logs with series of their own in /metrics; 0: none */
    bool is_volatile; /* the data does not outlive the machine's memory, and receipts say so */

    /* The longest that a request waits for a log to grow; one that asks for more is answered after
     * this, as if it had asked for it. */
    uint64_t long_poll_max_us;

    /* Streams of events: how many at a time, how much of what was sent to all of them may wait until
     * it is taken, and how long a client may take none of it before it is cut off; how often one at
     * /logs is sent something in any case; how long one at /v1/stream goes on, 0: without an end. */
    uint32_t followers_max;
    uint64_t follow_bytes_total;
    uint64_t answer_timeout_us, heartbeat_us, stream_life_us;

    /* The names of Host that are answered to beside those of the loopback; any_host: every name.
     * The strings are the caller's. */
    const char *const *hosts;
    unsigned host_count;
    bool any_host;
    bool is_tls; /* clients come by https */

    /* Origins of the web pages that may call the service, as browsers write them, such as
     * "https://app.example.com"; "*" is every one. None: only pages that it delivers itself. */
    const char *const *origins;
    unsigned origin_count;

    const struct api_layer *layers; /* the caller's, and may change until the first request */
    unsigned layer_count;

    /* The tokens that requests have to present; NULL: everybody may do everything. They are the
     * service's from here on. And what is answered without one: a set of enum api_open. */
    struct auth *auth;
    unsigned open;

    /* What one client may have; 0: no limit. See api/clients.h. */
    uint32_t client_connections_max;
    uint64_t client_requests_per_second, client_bytes_per_second;

    void (*tell)(void *context, const struct api_event *event);
    void *context;
};

/* Errors: -ENOMEM, or another that says that there is no file left. */
int api_new(struct api **ret_api, const struct api_config *config);
void api_free(struct api *api); /* NULL is fine; no request may be left */

/* Takes other tokens from now on, if there were any before. Streams of events whose token has lost the
 * right to them are cut off; what else has begun is finished. */
void api_set_auth(struct api *api, struct auth *auth);

/* From now on appends and deletions are refused, and /readyz says no. What is queued is committed. */
void api_drain(struct api *api);

/* The descriptor that polls readable when clients who follow a log have something to be done. */
int api_poll_fd(const struct api *api);

/* What has begun and has not ended, which is requests until their answer has been sent, streams of
 * events, and appends that were answered before they were durable; and how many of these wait for the
 * disk: those appends, requests whose log is being opened, made or deleted, and questions after
 * readiness. */
uint64_t api_in_progress(const struct api *api);
uint64_t api_appends_waiting(const struct api *api);

/* Microseconds of the monotonic clock, which the store goes by too. Any thread. */
uint64_t api_now_us(void);

/* What whoever speaks TLS for the service has counted so far: handshakes that were done, those that
 * failed, and connections that were refused before them. */
void api_count_tls(struct api *api, uint64_t handshakes, uint64_t failed, uint64_t refused);

/* A connection was opened, or has been closed; so many of those that are open are parked. */
void api_count_connection(struct api *api, bool opened);
void api_count_parked(struct api *api, unsigned parked);

/* The loop has come round. */
void api_count_turn(struct api *api);

#endif
