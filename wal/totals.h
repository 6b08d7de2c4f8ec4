/*
 * What all logs of one committer have done since the store was opened. A log takes its counters with
 * it when it is closed or deleted; these stay, so that what is told of the store as a whole never
 * falls. Internal to wal/.
 */
#ifndef WAL_TOTALS_H
#define WAL_TOTALS_H

#include <pthread.h>

#include "wal/histogram.h"
#include "wal/store.h"

struct totals {
    pthread_mutex_t lock; /* the innermost: taken once a commit, and under any other lock */
    struct store_totals counts;
    struct histogram commit_us, sync_us;
    /* The last durable write: when it came back, on the store's clock, and with what. */
    uint64_t written_us;
    int written_error;
};

void totals_init(struct totals *totals);
void totals_done(struct totals *totals);

/* A durable write came back whole at `now_us` and took `sync_us`. With `records` 0 it was a mark,
 * and the rest is 0 too; else a commit, whose oldest record waited for `commit_us`. */
void totals_add_write(struct totals *totals, uint64_t now_us, uint64_t sync_us, uint64_t commit_us,
                      uint64_t records, uint64_t bytes);

/* A durable write came back with a negative errno, or short. */
void totals_add_failed_write(struct totals *totals, uint64_t now_us, int error);

/* A log failed for good. */
void totals_add_failure(struct totals *totals);

/* A segment was started. */
void totals_add_rotation(struct totals *totals);

/* A segment was packed, which saved so many bytes; an error: it was left as it was. */
void totals_add_pack(struct totals *totals, uint64_t saved_bytes, int error);

void totals_add_retry(struct totals *totals);

/* Appends refused with this error. */
void totals_add_refusals(struct totals *totals, uint64_t count, int error);

/* A trim moved the beginning of a log by so many records. */
void totals_add_trim(struct totals *totals, enum wal_trim_reason reason, uint64_t records);

/* All zero, but with bounds: what totals_sum() adds to. */
void totals_begin(struct totals *sum);

/* Adds everything, and keeps the newer of the last writes. `sum` belongs to the caller, and its lock is not taken. */
void totals_sum(struct totals *sum, struct totals *totals);

/* Fills the latencies of sum->counts from the histograms. */
void totals_finish(struct totals *sum);

/* Count, percentiles and so on of a histogram. */
void latency_of(struct wal_latency *ret_latency, const struct histogram *histogram);

#endif
