/*
 * Whether the disk takes durable writes: what the last one of the store came to, and a probe where
 * there has been none for a while. The probe writes one block of its own file in the data directory,
 * always the same, so it costs a sync and no space, and runs on a worker: a disk that hangs holds
 * up nobody else.
 */
#include <errno.h>

#include "wal/log.h"

#define PROBE_NAME "probe"

static int open_probe(struct wal_io *io, int dir)
{
    int handle = io->ops->open_file(io, dir, PROBE_NAME, WAL_OPEN_WRITE);
    if (handle == -ENOENT)
        handle = io->ops->open_file(io, dir, PROBE_NAME, WAL_OPEN_WRITE | WAL_OPEN_CREATE);
    return handle;
}

static void probe_run(struct chore *chore)
{
    struct store *store = container_of(chore, struct store, health.chore);
    struct wal_io *io = store->io;
    int rc = open_probe(io, store->dir);
    if (rc >= 0) {
        int handle = rc;
        rc = io->ops->write(io, handle, store->zeros, WAL_BLOCK_BYTES, 0, true);
        io->ops->close(io, handle);
    }
    pthread_mutex_lock(&store->health.lock);
    store->health.probed_us = store_now_us(store);
    store->health.probe_error = rc;
    pthread_mutex_unlock(&store->health.lock);
}

static void probe_done(struct chore *chore)
{
    struct store *store = container_of(chore, struct store, health.chore);
    pthread_mutex_lock(&store->health.lock);
    struct store_waiter *waiter = TAKE(store->health.waiters);
    store->health.probing = false;
    pthread_cond_broadcast(&store->health.changed);
    pthread_mutex_unlock(&store->health.lock);
    chore->committer->has_news = true; /* health_wait() may have been waiting for just that */

    while (waiter) {
        struct store_waiter *next = waiter->next; /* done() may free the waiter */
        waiter->done(waiter);
        waiter = next;
    }
}

void store_probe(struct store *store, struct store_waiter *waiter)
{
    struct health *health = &store->health;
    pthread_mutex_lock(&health->lock);
    waiter->next = health->waiters;
    health->waiters = waiter;
    bool start = !health->probing;
    if (start) {
        health->probing = true;
        health->probing_since_us = store_now_us(store);
    }
    pthread_mutex_unlock(&health->lock);
    if (!start)
        return;
    health->chore.run = probe_run;
    health->chore.done = probe_done;
    chore_start(&store->committers[0], &health->chore);
    committer_wake(&store->committers[0]);
}

void health_wait(struct store *store)
{
    struct health *health = &store->health;
    struct committer *committer = &store->committers[0];
    pthread_mutex_lock(&health->lock);
    while (health->probing) {
        pthread_mutex_unlock(&health->lock);
        /* -EPERM: another thread drives it. */
        int rc = store->config.threads ? -EPERM : committer_run(committer, UINT64_MAX);
        pthread_mutex_lock(&health->lock);
        if (rc == -EPERM && health->probing)
            pthread_cond_wait(&health->changed, &health->lock);
    }
    pthread_mutex_unlock(&health->lock);
}

void store_health(struct store *store, struct store_health *ret_health)
{
    struct totals sum;
    totals_begin(&sum);
    for (unsigned i = 0; i < store->committer_count; i++)
        totals_sum(&sum, &store->committers[i].totals);

    pthread_mutex_lock(&store->health.lock);
    const struct health *health = &store->health;
    uint64_t now = store_now_us(store);
    bool probed_last = health->probed_us >= sum.written_us;
    uint64_t written_us = probed_last ? health->probed_us : sum.written_us;
    *ret_health = (struct store_health){
        .names_error = dir_names_error(store),
        .error = probed_last ? health->probe_error : sum.written_error,
        .age_us = now > written_us ? now - written_us : 0,
        .probing = health->probing,
        .probing_us =
            health->probing && now > health->probing_since_us ? now - health->probing_since_us : 0,
    };
    pthread_mutex_unlock(&store->health.lock);
}

void health_init(struct health *health)
{
    pthread_mutex_init(&health->lock, NULL);
    pthread_cond_init(&health->changed, NULL);
}

void health_done(struct health *health)
{
    must(!health->probing);
    pthread_mutex_destroy(&health->lock);
    pthread_cond_destroy(&health->changed);
}
