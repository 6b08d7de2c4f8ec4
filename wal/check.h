/* What can be found out about a directory before a store is made in it. Blocks on the disk. */
#ifndef WAL_CHECK_H
#define WAL_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "wal/store.h"

struct wal_check {
    bool is_uring, is_direct; /* what was taken */
    char reason[160];         /* one sentence: what was taken, or why nothing was */
};

/* Makes one durable write in the directory as a store with these choices would, through a file that is
 * removed again. Errors: as store_open(). */
int wal_check_io(const char *path, enum store_io io, enum store_direct direct,
                 struct wal_check *ret_check);

/* Makes `count` durable writes of `bytes`, a multiple of 4096 up to 1 MiB, one after the other, into
 * space made ready as commits find it, and tells how many microseconds each took, in rising order.
 * Uses `count` * `bytes` of space for the time. Errors: -EINVAL; others from the file system. */
int wal_check_latency(const char *path, unsigned count, uint32_t bytes, uint32_t *ret_us);

/* In a test build (defects.h), switches a deliberate mistake of the log on, so that a tool can be seen
 * to find it; in any other build, and for NULL, does nothing. */
void wal_plant_defect(const char *name);

#endif
