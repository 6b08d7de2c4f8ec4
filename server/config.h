/*
 * How the service is set up: flags go before the environment, that before a file, that before the
 * defaults. Every field acts.
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "api/space.h"
#include "server/log.h"
#include "wal/store.h"

#define CONFIG_NAMES_MAX 16
#define CONFIG_SETTINGS_MAX 64

struct config_names {
    const char *names[CONFIG_NAMES_MAX];
    unsigned count;
};

/* Where a value came from: the later, the stronger. */
enum config_origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENVIRONMENT, ORIGIN_FLAG };

/* Sizes in bytes, times in microseconds. What each means, and its default, is in settings.c. */
struct config {
    const char *file; /* NULL: none */
    const char *data; /* the data directory */
    const char *listen;
    unsigned socket_mode; /* of a socket in the file system */
    struct config_names hosts;
    struct config_names cors_origins; /* of the pages that may call from a browser */
    unsigned io;                      /* enum store_io */
    unsigned direct;                  /* enum store_direct */
    unsigned log_format;              /* enum log_format */
    unsigned sandbox;                 /* enum sandbox_mode */
    unsigned pack_compression;        /* enum store_compression */
    bool allow_volatile, auto_create, pack;
    const char *tokens;             /* a file; NULL: everybody may do everything */
    const char *tls_cert, *tls_key; /* files; NULL: no TLS */
    unsigned open;                  /* a set of enum api_open */
    bool live; /* a healthcheck asks no more than whether the service is alive */
    uint64_t record_bytes_max, batch_bytes_max, header_bytes_max;
    uint64_t connections_max; /* 0: as many as the limit of open files leaves room for */
    uint64_t followers_max;   /* likewise */
    uint64_t client_connections_max, client_requests_per_second, client_bytes_per_second;
    uint64_t header_timeout_us, body_timeout_us, answer_timeout_us, idle_timeout_us;
    uint64_t long_poll_timeout_us, shutdown_timeout_us;
    uint64_t heartbeat_us, stream_life_us;
    uint64_t body_memory_bytes, answer_memory_bytes;
    uint64_t queue_bytes_max, queue_memory_bytes;
    uint64_t metrics_logs_max;
    struct space_floor space_floor;
    uint64_t retain_age_us, retain_bytes, retain_records, retain_interval_us;
    uint64_t quota_bytes, quota_records;
    uint64_t logs_max, log_count_max;
    uint64_t batch_delay_us;
    uint64_t segment_bytes;
    uint64_t pack_rate; /* bytes a second */
    uint64_t scrub_bytes_per_s, scrub_interval_us;

    enum config_origin origins[CONFIG_SETTINGS_MAX]; /* in the order of the settings */
    /* Variables of the environment that look like settings and are none. */
    struct config_names strangers;
    struct config_text *texts; /* private: what the strings point into */
};

enum config_result {
    CONFIG_SERVE,       /* *ret_config is filled, and to be given to config_done() */
    CONFIG_HEALTHCHECK, /* the same, of the service that is to be asked */
    CONFIG_DONE,        /* a question such as --help was answered on `out` */
    CONFIG_WRONG,       /* a sentence on `errors` says what is wrong, and what would be right */
};

/* `environment` is a list of "NAME=value" that ends with NULL. */
enum config_result config_load(struct config *ret_config, int argc, const char *const *argv,
                               const char *const *environment, FILE *out, FILE *errors);

void config_done(struct config *config);

/* A copy that lives as long as the configuration; NULL: no memory. */
const char *config_keep(struct config *config, const char *text, size_t bytes);

/* ---- private to config.c and config_file.c ---- */

/* Called for each key of a file with the number of its line; false: that is wrong, and has been
 * said. */
typedef bool (*config_file_visit)(void *context, const char *key, const char *value, unsigned line);

/* Reads a file of "key = value" lines. False: it could not be read to its end, or is malformed, and
 * `errors` says where; or a visit returned false. */
bool config_file_read(const char *path, config_file_visit visit, void *context, FILE *errors);

#endif
