/*
 * A latency histogram of fixed size. Values up to 7 us have a bucket each; from there on every
 * octave is cut in four, up to 67 s, so a percentile is at most a quarter too high. A plain struct
 * without locks: whoever writes it owns it, others read a copy taken under the owner's lock. All
 * zeros is an empty histogram.
 */
#ifndef WAL_HISTOGRAM_H
#define WAL_HISTOGRAM_H

#include <stdint.h>

/* 0 to 3, then four for each octave from 4 us to 2^26 us, then one for everything slower. */
#define HISTOGRAM_BUCKETS 101u

struct histogram {
    uint64_t count; /* values added: exact, as are sum and max */
    uint64_t sum_us;
    uint64_t max_us;
    /* Values by size. When one of them is full all are halved: what percentiles need is their
     * proportions, and 32 bits each keep the histogram small enough for every log to carry two. */
    uint32_t buckets[HISTOGRAM_BUCKETS];
};
_Static_assert(sizeof(struct histogram) <= 600, "every log carries two");

void histogram_add(struct histogram *histogram, uint64_t value_us);

/* Adds all values of `from`, which keeps them. */
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The value that `percent` percent of all values do not exceed: the upper end of its bucket, or the
 * largest value where that is less. 100 gives the largest value itself. `percent` lies in [0, 100]
 * and is taken to one decimal. 0 if the histogram is empty. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

/* The largest value that falls into this bucket; UINT64_MAX for the last one. */
uint64_t histogram_bucket_end_us(unsigned index);

#endif
