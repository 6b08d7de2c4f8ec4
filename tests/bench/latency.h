/*
 * A histogram of latencies in nanoseconds, cut finely enough that the ratio of two percentiles means
 * something: 128 buckets an octave, so a percentile is off by less than one percent. (The log's own
 * histogram, four buckets an octave, is made to be small.) All zeros is an empty histogram.
 */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <stdint.h>

#define LATENCY_STEPS_LOG2 7u
#define LATENCY_STEPS (1u << LATENCY_STEPS_LOG2)
#define LATENCY_OCTAVES 32u /* up to 2^38 ns, about 4.6 minutes */
#define LATENCY_BUCKETS (LATENCY_STEPS * LATENCY_OCTAVES)

struct latency {
    uint64_t count, max_ns;
    uint32_t buckets[LATENCY_BUCKETS];
};

void latency_add(struct latency *latency, uint64_t value_ns);

/* Adds all values of `from`, which keeps them. */
void latency_merge(struct latency *into, const struct latency *from);

/* The middle of the bucket of the value that `fraction` (0 to 1) of all values do not exceed, in
 * microseconds. 0 if there is none. */
double latency_percentile_us(const struct latency *latency, double fraction);

#endif
