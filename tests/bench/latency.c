/* Buckets as floating point numbers with a mantissa of seven bits: see latency.h. Pure. */
#include "tests/bench/latency.h"

static unsigned bucket_of(uint64_t value_ns)
{
    if (value_ns < LATENCY_STEPS)
        return (unsigned)value_ns;

    /* What is left of the value after this shift lies in [STEPS, 2 * STEPS). */
    unsigned shift = 63u - (unsigned)__builtin_clzll(value_ns) - LATENCY_STEPS_LOG2;
    uint64_t index = (uint64_t)shift * LATENCY_STEPS + (value_ns >> shift);

    return index < LATENCY_BUCKETS ? (unsigned)index : LATENCY_BUCKETS - 1;
}

static double bucket_middle_ns(unsigned index)
{
    if (index < LATENCY_STEPS)
        return index;

    unsigned shift = index / LATENCY_STEPS - 1;
    uint64_t begin = (uint64_t)(LATENCY_STEPS + index % LATENCY_STEPS) << shift;

    return (double)begin + (double)(1ull << shift) / 2;
}

void latency_add(struct latency *latency, uint64_t value_ns)
{
    latency->buckets[bucket_of(value_ns)]++;
    latency->count++;
    if (value_ns > latency->max_ns)
        latency->max_ns = value_ns;
}

void latency_merge(struct latency *into, const struct latency *from)
{
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    into->count += from->count;
    if (from->max_ns > into->max_ns)
        into->max_ns = from->max_ns;
}

double latency_percentile_us(const struct latency *latency, double fraction)
{
    uint64_t rank = (uint64_t)(fraction * (double)latency->count + 0.5);
    uint64_t seen = 0;

    if (rank == 0)
        rank = 1;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latency->buckets[i];
        if (seen >= rank)
            return bucket_middle_ns(i) / 1e3;
    }
    return 0;
}
