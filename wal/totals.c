/* Sums over all logs of a committer, living and gone: see totals.h. */
#include "wal/totals.h"

#include <errno.h>
#include <string.h>

#include "wal/base.h"

/* Doubling from 1 ms to 8.192 s as in other stores, so that dashboards can be compared; finer below,
 * where disks with a cache of their own live. Microseconds. */
static const uint64_t latency_bounds[] = {
    50,    100,   200,   300,    500,    750,    1000,    2000,    4000,    8000,
    16000, 32000, 64000, 128000, 256000, 512000, 1024000, 2048000, 4096000, 8192000,
};

static const uint64_t size_bounds[] = {
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536,
};

_Static_assert(ARRAY_SIZE(latency_bounds) <= STORE_BOUNDS_MAX, "it has room for them");
_Static_assert(ARRAY_SIZE(size_bounds) <= STORE_BOUNDS_MAX, "it has room for them");

static void counted_add(struct store_histogram *histogram, uint64_t value)
{
    unsigned i = 0;
    while (i < histogram->bound_count && value > histogram->bounds[i])
        i++;
    histogram->counts[i]++;
    histogram->sum += value;
}

static void counted_merge(struct store_histogram *into, const struct store_histogram *from)
{
    for (size_t i = 0; i < ARRAY_SIZE(into->counts); i++)
        into->counts[i] += from->counts[i];
    into->sum += from->sum;
}

void totals_begin(struct totals *sum)
{
    memset(sum, 0, sizeof(*sum));
    sum->counts.commit_us.bounds = sum->counts.sync_us.bounds = latency_bounds;
    sum->counts.commit_us.bound_count = sum->counts.sync_us.bound_count =
        ARRAY_SIZE(latency_bounds);
    sum->counts.commit_sizes.bounds = size_bounds;
    sum->counts.commit_sizes.bound_count = ARRAY_SIZE(size_bounds);
}

void totals_init(struct totals *totals)
{
    totals_begin(totals);
    pthread_mutex_init(&totals->lock, NULL);
}

void totals_done(struct totals *totals)
{
    pthread_mutex_destroy(&totals->lock);
}

void totals_add_write(struct totals *totals, uint64_t now_us, uint64_t sync_us, uint64_t commit_us,
                      uint64_t records, uint64_t bytes)
{
    struct store_totals *counts = &totals->counts;
    pthread_mutex_lock(&totals->lock);
    totals->written_us = now_us;
    totals->written_error = 0;
    counts->syncs++;
    counted_add(&counts->sync_us, sync_us);
    histogram_add(&totals->sync_us, sync_us);
    if (records > 0) {
        counts->commits++;
        counts->commit_records += records;
        counts->commit_bytes += bytes;
        counts->commit_records_max = max_u64(counts->commit_records_max, records);
        counted_add(&counts->commit_sizes, records);
        counted_add(&counts->commit_us, commit_us);
        histogram_add(&totals->commit_us, commit_us);
    }
    pthread_mutex_unlock(&totals->lock);
}

void totals_add_failed_write(struct totals *totals, uint64_t now_us, int error)
{
    pthread_mutex_lock(&totals->lock);
    totals->written_us = now_us;
    totals->written_error = error;
    totals->counts.write_errors++;
    pthread_mutex_unlock(&totals->lock);
}

void totals_add_failure(struct totals *totals)
{
    pthread_mutex_lock(&totals->lock);
    totals->counts.failures++;
    pthread_mutex_unlock(&totals->lock);
}

void totals_add_rotation(struct totals *totals)
{
    pthread_mutex_lock(&totals->lock);
    totals->counts.rotations++;
    totals->counts.syncs++;
    pthread_mutex_unlock(&totals->lock);
}

void totals_add_pack(struct totals *totals, uint64_t saved_bytes, int error)
{
    pthread_mutex_lock(&totals->lock);
    if (error < 0) {
        totals->counts.pack_failures++;
    } else {
        totals->counts.packs++;
        totals->counts.pack_bytes_saved += saved_bytes;
    }
    pthread_mutex_unlock(&totals->lock);
}

void totals_add_retry(struct totals *totals)
{
    pthread_mutex_lock(&totals->lock);
    totals->counts.write_retries++;
    pthread_mutex_unlock(&totals->lock);
}

void totals_add_refusals(struct totals *totals, uint64_t count, int error)
{
    pthread_mutex_lock(&totals->lock);
    switch (error) {
    case -EAGAIN: totals->counts.refusals_queue += count; break;
    case -ENOSPC:
    case -EDQUOT: totals->counts.refusals_space += count; break;
    case -EXFULL: totals->counts.refusals_quota += count; break;
    default: totals->counts.refusals_other += count; break;
    }
    pthread_mutex_unlock(&totals->lock);
}

void totals_add_trim(struct totals *totals, enum wal_trim_reason reason, uint64_t records)
{
    pthread_mutex_lock(&totals->lock);
    totals->counts.trims[reason].count++;
    totals->counts.trims[reason].records += records;
    pthread_mutex_unlock(&totals->lock);
}

void totals_sum(struct totals *sum, struct totals *totals)
{
    pthread_mutex_lock(&totals->lock);
    const struct store_totals *from = &totals->counts;
    struct store_totals *into = &sum->counts;
    into->commits += from->commits;
    into->syncs += from->syncs;
    into->commit_records += from->commit_records;
    into->commit_bytes += from->commit_bytes;
    into->commit_records_max = max_u64(into->commit_records_max, from->commit_records_max);
    into->rotations += from->rotations;
    into->packs += from->packs;
    into->pack_bytes_saved += from->pack_bytes_saved;
    into->pack_failures += from->pack_failures;
    into->refusals_queue += from->refusals_queue;
    into->refusals_space += from->refusals_space;
    into->refusals_other += from->refusals_other;
    into->refusals_quota += from->refusals_quota;
    for (unsigned i = 0; i < WAL_TRIM_REASONS; i++) {
        into->trims[i].count += from->trims[i].count;
        into->trims[i].records += from->trims[i].records;
    }
    into->write_retries += from->write_retries;
    into->write_errors += from->write_errors;
    into->failures += from->failures;
    counted_merge(&into->commit_us, &from->commit_us);
    counted_merge(&into->sync_us, &from->sync_us);
    counted_merge(&into->commit_sizes, &from->commit_sizes);
    histogram_merge(&sum->commit_us, &totals->commit_us);
    histogram_merge(&sum->sync_us, &totals->sync_us);
    if (totals->written_us > sum->written_us) {
        sum->written_us = totals->written_us;
        sum->written_error = totals->written_error;
    }
    pthread_mutex_unlock(&totals->lock);
}

void totals_finish(struct totals *sum)
{
    latency_of(&sum->counts.commit_latency, &sum->commit_us);
    latency_of(&sum->counts.sync_latency, &sum->sync_us);
}

void latency_of(struct wal_latency *ret_latency, const struct histogram *histogram)
{
    *ret_latency = (struct wal_latency){
        .count = histogram->count,
        .p50_us = histogram_percentile(histogram, 50),
        .p99_us = histogram_percentile(histogram, 99),
        .max_us = histogram->max_us,
        .sum_us = histogram->sum_us,
    };
}
