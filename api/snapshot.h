/*
 * What is told of the service as a whole, as one value: taken once, and written by json.c for GET
 * /stats or by metrics.c for GET /metrics. So the two agree. What is told of one log comes from
 * wal_stats() in both.
 */
#ifndef API_SNAPSHOT_H
#define API_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/api.h"
#include "api/errors.h"
#include "api/process.h"
#include "wal/store.h"

#define STATUS_MIN 100
#define STATUS_COUNT 500

/* The answers to the requests of one route, by status. */
struct route_answers {
    const char *method, *path; /* "other" for what has no route */
    uint64_t by_status[STATUS_COUNT];
};

/* Counted as requests come and go. All but the connections open never fall. */
struct api_counters {
    uint64_t turns;              /* of the loop */
    uint64_t requests;           /* begun */
    uint64_t aborted;            /* ended without an answer: the client was gone */
    uint64_t connections;        /* open now */
    uint64_t connections_parked; /* of those, they wait for a log to grow, outside the library */
    uint64_t connections_total;
    uint64_t connections_refused; /* beyond what one address may have */
    uint64_t tls_handshakes, tls_handshakes_failed;
    uint64_t tls_refused;             /* of connections_refused, before a handshake */
    uint64_t problems[PROBLEM_COUNT]; /* answers that were problem documents, by kind */
    struct route_answers *routes;     /* the last: what has no route */
    size_t route_count;
};

/* Which program this is. */
struct build {
    const char *version, *compiler, *type; /* type: of the build, such as RelWithDebInfo */
    const char *http_library, *json_library;
};

struct snapshot {
    struct build build;
    bool draining;
    uint64_t started_us; /* of the process, since 1970; 0: not known */
    uint64_t uptime_us;
    uint64_t in_progress, appends_waiting;
    uint64_t followers, followers_total;
    const struct api_counters *counters; /* as long as the loop does nothing else */
    struct store_stats store;
    struct store_health health;
    struct process_stats process;
    uint64_t floor_bytes;  /* with less free than that nothing new is taken */
    bool retention_paused; /* the clock is not believed */
    const struct api_layer *layers;
    unsigned layer_count;
};

/* "request", "age", "bytes" or "records". */
const char *trim_reason_name(enum wal_trim_reason reason);

struct api;
void snapshot_take(const struct api *api, struct snapshot *ret_snapshot);

/* Answers with statuses from `begin` on and below `end`, of all routes. */
uint64_t snapshot_answers(const struct snapshot *snapshot, unsigned begin, unsigned end);

/* The part of a log's stats that is told of many. */
struct log_sample {
    char name[129];
    bool writable;
    uint64_t first_offset, committed_offset, bytes_on_disk;
};

struct log_samples {
    struct log_sample *samples; /* by name */
    size_t count;
    uint64_t left_out; /* open logs beyond the ceiling */
    bool failed;       /* there was no memory */
};

/* Of the open logs, at most metrics_logs_max; of the same moment as the snapshot. */
void snapshot_logs(const struct api *api, const struct snapshot *snapshot,
                   struct log_samples *ret_samples);
void log_samples_done(struct log_samples *samples); /* for CLEANUP() */

#endif
