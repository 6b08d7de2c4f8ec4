#include "wal/buffer.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "wal/base.h"

static unsigned class_of(size_t bytes)
{
    unsigned class = 0;
    while (((size_t)WAL_BLOCK_BYTES << class) < bytes)
        class ++;
    return class;
}

void buffer_pool_init(struct buffer_pool *pool)
{
    memset(pool, 0, sizeof(*pool));
    pthread_mutex_init(&pool->lock, NULL);
}

void buffer_pool_done(struct buffer_pool *pool)
{
    must(atomic_load(&pool->used_bytes) == 0);
    for (unsigned class = 0; class < BUFFER_CLASSES; class ++) {
        while (pool->kept[class]) {
            void *buffer = pool->kept[class];
            memcpy(&pool->kept[class], buffer, sizeof(void *));
            free(buffer);
        }
    }
    pthread_mutex_destroy(&pool->lock);
}

void *buffer_get(struct buffer_pool *pool, size_t bytes, size_t *ret_capacity)
{
    unsigned class = class_of(bytes);
    must(class < BUFFER_CLASSES);
    size_t capacity = (size_t)WAL_BLOCK_BYTES << class;

    pthread_mutex_lock(&pool->lock);
    void *buffer = pool->kept[class];
    if (buffer) {
        memcpy(&pool->kept[class], buffer, sizeof(void *));
        pool->kept_bytes -= capacity;
    }
    atomic_fetch_add_explicit(&pool->used_bytes, capacity, memory_order_relaxed);
    pthread_mutex_unlock(&pool->lock);

    if (!buffer)
        buffer = aligned_alloc(WAL_BLOCK_BYTES, capacity);
    if (!buffer) {
        atomic_fetch_sub_explicit(&pool->used_bytes, capacity, memory_order_relaxed);
        return NULL;
    }
    *ret_capacity = capacity;
    return buffer;
}

void buffer_put(struct buffer_pool *pool, void *buffer, size_t capacity)
{
    if (!buffer)
        return;

    unsigned class = class_of(capacity);
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_sub_explicit(&pool->used_bytes, capacity, memory_order_relaxed);
    if (pool->kept_bytes + capacity <= BUFFER_KEPT_BYTES_MAX) {
        memcpy(buffer, &pool->kept[class], sizeof(void *));
        pool->kept[class] = buffer;
        pool->kept_bytes += capacity;
        buffer = NULL;
    }
    pthread_mutex_unlock(&pool->lock);
    free(buffer);
}
