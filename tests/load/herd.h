/*
 * Polite clients: each keeps its connection, appends one small record at a time, and waits for the
 * receipt. Whatever else a scenario does, these have to get on.
 */
#ifndef LOAD_HERD_H
#define LOAD_HERD_H

#include "tests/load/client.h"
#include "tests/load/load.h"

struct herd;

struct member {
    struct herd *herd;
    struct client client;
    unsigned number;
    unsigned appended; /* acknowledged */
    unsigned goal;
};

struct herd {
    struct program *program;
    struct loop *loop;
    const char *name; /* of its logs: "name-0", … */
    unsigned logs;    /* members take turns */
    unsigned count;
    struct member *members;
    uint64_t appended;    /* by all */
    uint64_t progress_us; /* when the last receipt came */
    uint64_t longest_us;  /* between two receipts, whoever got them */
    unsigned unfinished;  /* members below their goal */
    uint64_t *ends;       /* of each log: how many records it got */
    int status;

    /* Called now and then while the herd is at work; NULL: nothing else is to be done. */
    void (*meanwhile)(void *context);
    void *context;
};

/* Connects all of them. 0, or an exit status with the reason printed. */
int herd_open(struct herd *herd, struct program *program, struct loop *loop, const char *name,
              unsigned logs, unsigned count);
void herd_close(struct herd *herd);

/* Each member appends so many records more. 0, or EXIT_VIOLATION if one was refused or lost its
 * connection, or if there was no receipt at all for options->stall_s. */
int herd_run(struct herd *herd, unsigned appends);

/* Each member appends one record, and all of these requests are there before the program looks. */
int herd_step(struct herd *herd);

/* Reads back what was appended: every record there once, and each member's in its order. */
int herd_check(struct herd *herd);

#endif
