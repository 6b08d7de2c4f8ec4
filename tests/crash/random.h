/*
 * Chance for the crash simulator: one word of state, so that a seed is all it takes to run a
 * history again.
 */
#ifndef CRASH_RANDOM_H
#define CRASH_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/support/splitmix64.h"

struct random {
    uint64_t state;
};

static inline uint64_t random_next(struct random *random)
{
    return splitmix64_next(&random->state);
}

/* Below `limit`, which is from 1 to 2^32. */
static inline uint32_t random_below(struct random *random, uint64_t limit)
{
    return (uint32_t)(((random_next(random) >> 32) * limit) >> 32);
}

/* From `low` to `high`, both included. */
static inline uint32_t random_between(struct random *random, uint32_t low, uint32_t high)
{
    return low + random_below(random, (uint64_t)high - low + 1);
}

static inline bool random_percent(struct random *random, unsigned percent)
{
    return random_below(random, 100) < percent;
}

#define RANDOM_PICK(random, array) ((array)[random_below((random), ARRAY_SIZE(array))])

#endif
