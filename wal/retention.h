/*
 * What a log keeps and how much it takes: which of its oldest records may go, and whether an append
 * is within its quota. The decisions are pure; retention.c looks up what they rest on. Internal to
 * wal/.
 */
#ifndef WAL_RETENTION_H
#define WAL_RETENTION_H

#include "wal/wal.h"

/* `own` where it says something, else `otherwise`. */
void limits_merge(struct wal_limits *ret_limits, const struct wal_limits *own,
                  const struct wal_limits *otherwise);

/* Where each limit alone would let the log begin. */
struct retention_cuts {
    uint64_t by_age, by_bytes, by_records;
};

/* Every limit that is set keeps what it keeps: so the log is to begin at the least of its cuts, and
 * that one is the reason. False: no limit is set, or nothing lies below it. */
bool retention_decide(const struct wal_limits *limits, const struct retention_cuts *cuts,
                      uint64_t first_offset, uint64_t *ret_before,
                      enum wal_trim_reason *ret_reason);

/* What an append would come to. */
struct quota_facts {
    uint64_t kept_records, kept_bytes; /* what is in the log, what is queued included */
    uint64_t records, bytes;           /* of the append */
};

bool quota_admits(const struct wal_limits *limits, const struct quota_facts *facts);

/* ---- for wal.c and commit.c; the caller holds the log's lock ---- */

struct batch;

/* Errors: -EXFULL: the log is at its quota. */
int quota_check_locked(struct wal *wal, uint64_t records, uint64_t bytes);

/* The batch, which is durable now, has trimmed the log: counts it. */
void trim_count_locked(struct wal *wal, const struct batch *batch);

/* Whether these are still the limits of the log, what is in flight included. */
bool limits_stand_locked(struct wal *wal, const struct wal_limits *limits);

/* ---- in wal.c ---- */

/* wal_trim() for this reason; limits: only as long as they stand, NULL: in any case.
 * Errors: also -ESTALE: they do not. */
int log_trim(struct wal *wal, uint64_t before, enum wal_trim_reason reason,
             const struct wal_limits *limits, struct wal_handler *handler,
             struct wal_token *ret_token);

/* ---- for store.c ---- */

struct store;
struct retention;
void retention_init(struct retention *retention);
void retention_done(struct retention *retention);
/* Ends a pass that is under way, and waits for its end. The store is closing. */
void retention_stop(struct store *store);

#endif
