/* Sixteen writers, and kill -9 at any moment. */
#ifndef LOAD_KILL_H
#define LOAD_KILL_H

#include "tests/load/check.h"
#include "tests/load/load.h"

#define BATCH_MAX 20u

struct kill_run;

struct writer {
    struct kill_run *run;
    struct client client;
    uint32_t number;
    uint64_t random;
    struct content_id first; /* of the append in flight */
    uint32_t log, count;
    size_t bytes; /* of its records */
    bool in_flight;
    uint32_t numbers[JOURNAL_LOGS]; /* the next number of each log, as a producer */
    char *body;
};

struct kill_run {
    struct program *program;
    struct loop loop;
    struct journal journal;
    struct checker checker;
    struct writer writers[JOURNAL_WRITERS];
    bool batches, retries;
    bool stopping; /* no more appends */
    unsigned cycle;
    unsigned open; /* connections */
    uint64_t acknowledged_before, random;
    int status;
};

/* Starts the program. 0, or an exit status with the reason printed. */
int kill_open(struct kill_run *run, struct program *program);
void kill_close(struct kill_run *run);

/* Load, a kill, a restart, and a check. Leaves the program running. 0, or an exit status. */
int kill_cycle(struct kill_run *run);

#endif
