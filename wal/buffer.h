/*
 * Block-aligned buffers for frames, in powers of two from 4 KiB, kept for reuse. One pool serves a
 * whole store and counts what is handed out, so that waiting appends have a ceiling in memory.
 * Any thread. Internal to wal/.
 */
#ifndef WAL_BUFFER_H
#define WAL_BUFFER_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "wal/format.h"

#define BUFFER_CLASSES 14 /* 4 KiB << 13 = 32 MiB, more than the longest frame */
#define BUFFER_KEPT_BYTES_MAX (8u << 20)

struct buffer_pool {
    pthread_mutex_t lock;
    /* Guarded by lock. */
    void *kept[BUFFER_CLASSES]; /* free buffers, linked through their first word */
    size_t kept_bytes;
    /* Written under lock, read by anyone. */
    _Atomic uint64_t used_bytes;
};

void buffer_pool_init(struct buffer_pool *pool);
void buffer_pool_done(struct buffer_pool *pool);

/* A buffer of at least `bytes` (at most FRAME_BODY_BYTES_MAX and a header), aligned to
 * WAL_BLOCK_BYTES, its content arbitrary; NULL without memory. */
void *buffer_get(struct buffer_pool *pool, size_t bytes, size_t *ret_capacity);

/* `capacity` as buffer_get() returned it. NULL is fine. */
void buffer_put(struct buffer_pool *pool, void *buffer, size_t capacity);

#endif
