/*
 * Records of a log, read and written as events once, for all followers who want them. Belongs to the
 * loop's thread.
 */
#ifndef API_BATCH_H
#define API_BATCH_H

#include <stdint.h>

#include "api/follow.h"
#include "api/text.h"

/* Records are added until there is so much, or so many. */
#define BATCH_BYTES (64u << 10)
#define BATCH_RECORDS_MAX 1000u

struct batch {
    unsigned references;
    uint64_t begin, end; /* a follower at `begin` goes on from `end` */
    uint64_t records;    /* in it */
    uint64_t payload_bytes;
    struct text text;
    uint64_t *total; /* what its memory is counted in */
};

/*
 * Reads from `begin` on, at most records_max records, of the first only what is behind `skip` bytes
 * (at /v1/stream). Damaged records and what was trimmed away are
 * events of their own at /logs. The reference is the caller's.
 * Errors, of which there is no batch: -ENODATA: nothing to read; -ENOENT: the log was deleted;
 * -ENOMEM; at /v1/stream -EBADMSG and -ERANGE; others from reading.
 */
int batch_make(struct batch **ret_batch, struct api *api, struct wal *wal, enum follow_form form,
               uint64_t begin, uint64_t skip, uint64_t records_max);

struct batch *batch_share(struct batch *batch); /* one more reference */
void batch_put(struct batch *batch);            /* NULL is fine */

#endif
