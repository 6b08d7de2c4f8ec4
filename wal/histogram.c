/* Buckets as floating point numbers with a mantissa of two bits: see histogram.h. Pure. */
#include "wal/histogram.h"

#include "wal/base.h"

/* Buckets of one octave; a value below this is its own bucket. */
#define STEPS 4u
#define STEPS_LOG2 2u

static unsigned bucket_index(uint64_t value_us)
{
    if (value_us < STEPS)
        return (unsigned)value_us;

    /* What is left of the value after this shift lies in [STEPS, 2 * STEPS). */
    unsigned shift = 63u - (unsigned)__builtin_clzll(value_us) - STEPS_LOG2;
    uint64_t index = (uint64_t)shift * STEPS + (value_us >> shift);

    return (unsigned)min_u64(index, HISTOGRAM_BUCKETS - 1);
}

uint64_t histogram_bucket_end_us(unsigned index)
{
    must(index < HISTOGRAM_BUCKETS);

    if (index == HISTOGRAM_BUCKETS - 1)
        return UINT64_MAX;
    if (index < STEPS)
        return index;

    unsigned shift = index / STEPS - 1;

    return ((uint64_t)(STEPS + index % STEPS + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value_us)
{
    uint32_t *bucket = &histogram->buckets[bucket_index(value_us)];

    if (*bucket == UINT32_MAX) {
        /* Rounded up, so that a rare slow value does not vanish. */
        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
            histogram->buckets[i] = histogram->buckets[i] / 2 + histogram->buckets[i] % 2;
    }
    (*bucket)++;
    histogram->count++;
    histogram->sum_us += value_us;
    histogram->max_us = max_u64(histogram->max_us, value_us);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    unsigned halve = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if ((uint64_t)into->buckets[i] + from->buckets[i] > UINT32_MAX)
            halve = 1;
    }
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t sum = (uint64_t)into->buckets[i] + from->buckets[i];

        into->buckets[i] = (uint32_t)((sum + halve) >> halve);
    }
    into->count += from->count;
    into->sum_us += from->sum_us;
    into->max_us = max_u64(into->max_us, from->max_us);
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    must(percent >= 0 && percent <= 100);

    /* Of the buckets, since those may have been halved and `count` never is. */
    uint64_t total = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += histogram->buckets[i];

    /* The rank in whole numbers: 99.9 % of 1000 is the 999th value, not the 1000th by rounding. */
    uint64_t permille = (uint64_t)(percent * 10 + 0.5);
    uint64_t rank = max_u64((total * permille + 999) / 1000, 1);
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= rank)
            return min_u64(histogram_bucket_end_us(i), histogram->max_us);
    }
    return 0; /* it is empty */
}
