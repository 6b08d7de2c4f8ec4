/* splitmix64 (Steele, Lea and Flood, 2014): one word of state, so that a seed is all that chance needs
 * to run again, and any number makes a stream of its own. */
#ifndef SUPPORT_SPLITMIX64_H
#define SUPPORT_SPLITMIX64_H

#include <stdint.h>

/* The finalizer: neighbouring values come out unrelated. */
static inline uint64_t splitmix64_mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

static inline uint64_t splitmix64_next(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    return splitmix64_mix(*state);
}

/* The first number of the stream that begins at `seed`. */
static inline uint64_t splitmix64_of(uint64_t seed)
{
    return splitmix64_next(&seed);
}

#endif
