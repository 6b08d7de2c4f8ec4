/*
 * Searching: many histories one after the other, in one process or several, until one of them fails
 * or there are enough.
 */
#ifndef CRASH_SEARCH_H
#define CRASH_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/crash/history.h"

struct search_options {
    uint64_t first_seed;
    uint64_t histories; /* UINT64_MAX: no limit */
    uint64_t seconds;   /* 0: no limit */
    unsigned jobs;
    bool damage;
    bool verbose;
    bool meta;         /* run every history twice, not only some of them */
    const char *flags; /* beside --seed, what replays one of these histories */
};

/* Runs them and prints the summary. 0: all is well; 1: a violation was printed. */
int search_run(const struct search_options *options);

/* Runs one history, with a trace on stderr. */
int search_replay(const struct search_options *options, uint64_t seed);

/* Runs histories of both modes in this process until one fails, which ends the process with status
 * 1, or the time is over. Keeps *ret_histories up to date. */
void search_both(const struct search_options *options, uint64_t *ret_histories);

#endif
