/*
 * Stands between the log and the simulated disk. It watches what only the disk can tell: which log
 * a failed write belonged to, and whether that log was written to again. And it kills the process
 * in the middle of things: at some change of the disk the kernel takes away all handles, and
 * whatever the process still tries is refused. Somebody else may get a turn in the middle of things, too.
 */
#ifndef CRASH_SPY_H
#define CRASH_SPY_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/sim_disk.h"

#define SPY_HANDLES 4096
#define SPY_LOGS 8

struct spy_log {
    char name[16];
    int write_error; /* of the first durable write that failed; short writes are -EIO. 0: none */
    uint32_t later_writes; /* durable writes to the log's files that were begun after it */
};

struct spy {
    struct sim_disk *disk;
    struct wal_io *io;
    struct wal_io_ops ops;           /* what the log sees */
    const struct wal_io_ops *real;   /* the disk's own */
    int logs_dir;                    /* handle of the directory of logs */
    uint8_t handle_log[SPY_HANDLES]; /* number of the log plus one, 0: none */
    struct spy_log logs[SPY_LOGS];
    unsigned log_count;
    uint32_t kill_in; /* so many changes of the disk are spared; 0: no kill is planned */
    bool is_killed;
    uint32_t meet_in; /* meet() is called before so many more looks at the disk; 0: never */
    void (*meet)(void *context);
    void *meet_context;
};

/* Puts itself in front of the disk's backend. One spy at a time is active in a process. */
void spy_init(struct spy *spy, struct sim_disk *disk);
void spy_done(struct spy *spy);

/* A store is about to be opened, by another process if one was killed: forgets all but the plan. */
void spy_reset(struct spy *spy);

/* The log was opened again, or its name is another log's now. */
void spy_forget_log(struct spy *spy, const char *name);

/* NULL if nothing of this log was opened yet. */
const struct spy_log *spy_find_log(struct spy *spy, const char *name);

#endif
