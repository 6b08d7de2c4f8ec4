/*
 * A store as a whole: opening its directory, choosing the disk backend, starting and stopping the
 * threads that serve its logs. The logs themselves are in registry.c, their directories in
 * directory.c.
 */
#include "wal/store.h"

#include <errno.h>
#include <libgen.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "wal/log.h"

#define FORMAT_NAME "format"
#define FORMAT_TEXT "wald data directory, layout 1\n"
#define LOCK_NAME "lock"
#define BUCKETS 4096
#define LOCK_RETRY_US (10 * 1000)

/* ---- configuration ---- */

void store_config_default(struct store_config *ret_config)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur > 1u << 20)
        files.rlim_cur = 1u << 20;
    *ret_config = (struct store_config){
        .io = STORE_IO_AUTO,
        .direct = STORE_DIRECT_AUTO,
        .committers = 1,
        .ring_entries = 256,
        .threads = true,
        .worker = true,
        .logs_max = 65536,
        .write_handles_max = (unsigned)max_u64(files.rlim_cur / 4 * 3, 8),
        .memory_bytes_max = 256u << 20,
        .lock_timeout_ms = 5000,
    };
    wal_config_default(&ret_config->log);
}

int store_config_check(const struct store_config *config, const char **ret_field)
{
    const struct {
        uint64_t value, min, max;
        const char *text;
    } fields[] = {
        {config->io, STORE_IO_AUTO, STORE_IO_POSIX, "io: auto, uring or posix"},
        {config->direct, STORE_DIRECT_AUTO, STORE_DIRECT_OFF, "direct: auto, on or off"},
        {config->pack_compression, STORE_COMPRESSION_NONE, STORE_COMPRESSION_ZSTD,
         "pack_compression: none or zstd"},
        {config->committers, 1, 64, "committers: 1 to 64"},
        {config->ring_entries, 8, 4096, "ring_entries: 8 to 4096"},
        {is_power_of_two(config->ring_entries), 1, 1, "ring_entries: a power of two"},
        {config->logs_max, 1, 1u << 24, "logs_max: 1 to 16777216"},
        {config->write_handles_max, 1, 1u << 24, "write_handles_max: 1 to 16777216"},
        {config->scrub_bytes_per_s == 0 || config->scrub_interval_us > 0, 1, 1,
         "scrub_interval_us: above 0"},
        {config->memory_bytes_max, 1u << 20, UINT64_MAX >> 1, "memory_bytes_max: at least 1 MiB"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        if (fields[i].value < fields[i].min || fields[i].value > fields[i].max) {
            if (ret_field)
                *ret_field = fields[i].text;
            return -EINVAL;
        }
    }
    return wal_config_check(&config->log, ret_field);
}

uint64_t store_now_us(const struct store *store)
{
    return store->io->ops->monotonic_us(store->io);
}

/* ---- opening ---- */

static void say(char *ret_reason, const char *what, int error)
{
    if (ret_reason)
        snprintf(ret_reason, 256, "%s: %s", what, strerror(-error));
}

/* Syncs the directory that holds the data directory. It is done even if that stood already: the
 * process that made it may have been killed before it came to this. */
static int sync_parent(struct wal_io *io, const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    int parent = io->ops->open_dir(io, WAL_IO_CWD, dirname(copy));
    free(copy);
    if (parent == -EACCES)
        return 0; /* not ours to read, so somebody else made what stands in it */
    if (parent < 0)
        return parent;
    int rc = io->ops->sync(io, parent);
    io->ops->close(io, parent);
    return rc;
}

static int make_data_dir(struct wal_io *io, const char *path)
{
    int rc = io->ops->make_dir(io, WAL_IO_CWD, path);
    return rc < 0 && rc != -EEXIST ? rc : sync_parent(io, path);
}

static int choose_io(struct store *store, const char *path, char *ret_reason)
{
    if (store->config.custom_io) {
        store->io = store->config.custom_io;
        return make_data_dir(store->io, path);
    }

    /* The probe writes into the directory, so it has to be there before the backend is known. */
    struct wal_io *plain;
    int rc = wal_io_posix_new(false, &plain);
    if (rc == 0) {
        rc = make_data_dir(plain, path);
        plain->ops->free(plain);
    }
    if (rc < 0) {
        say(ret_reason, path, rc);
        return rc;
    }
    char reason[160] = "";
    rc = wal_io_probe(path, (enum wal_io_choice)store->config.io,
                      (enum wal_direct_choice)store->config.direct, &store->io, reason);
    store->owns_io = rc == 0;
    if (rc < 0 && ret_reason)
        snprintf(ret_reason, 256, "%s: %s", path, reason);
    return rc;
}

static int lock_dir(struct store *store, char *ret_reason)
{
    struct wal_io *io = store->io;
    uint64_t until = store_now_us(store) + (uint64_t)store->config.lock_timeout_ms * 1000;
    for (;;) {
        store->lock_handle = io->ops->lock(io, store->dir, LOCK_NAME);
        if (store->lock_handle != -EWOULDBLOCK)
            break;
        if (store_now_us(store) >= until) {
            if (ret_reason)
                snprintf(ret_reason, 256, "another process has this data directory open");
            return -EWOULDBLOCK;
        }
        /* A process that was killed keeps the lock until its writes in flight have landed. */
        usleep(LOCK_RETRY_US);
    }
    if (store->lock_handle < 0)
        say(ret_reason, LOCK_NAME, store->lock_handle);
    return store->lock_handle < 0 ? store->lock_handle : 0;
}

static int write_format(struct store *store)
{
    struct wal_io *io = store->io;
    int handle = io->ops->open_file(io, store->dir, FORMAT_NAME, WAL_OPEN_WRITE | WAL_OPEN_CREATE);
    if (handle < 0)
        return handle;
    int rc = io->ops->write(io, handle, FORMAT_TEXT, strlen(FORMAT_TEXT), 0, false);
    if (rc == 0)
        rc = io->ops->sync(io, handle);
    io->ops->close(io, handle);
    return rc;
}

/* The layout's version. A file cut short is from a first start that a crash ended. */
static int check_format(struct store *store, char *ret_reason)
{
    struct wal_io *io = store->io;
    int handle = io->ops->open_file(io, store->dir, FORMAT_NAME, WAL_OPEN_READ);
    if (handle == -ENOENT)
        return write_format(store);
    if (handle < 0)
        return handle;
    char text[sizeof(FORMAT_TEXT) + 16] = "";
    int64_t got = io->ops->read(io, handle, text, sizeof(text) - 1, 0);
    io->ops->close(io, handle);
    if (got < 0)
        return (int)got;
    if (strcmp(text, FORMAT_TEXT) == 0)
        return 0;
    if (strncmp(text, FORMAT_TEXT, strlen(text)) != 0) {
        if (ret_reason)
            snprintf(ret_reason, 256,
                     "the data directory is not one of wald, or of a newer version");
        return -EPROTONOSUPPORT;
    }
    int rc = io->ops->remove_file(io, store->dir, FORMAT_NAME);
    return rc < 0 ? rc : write_format(store);
}

static int open_subdir(struct store *store, const char *name, int *ret_handle)
{
    struct wal_io *io = store->io;
    int rc = io->ops->make_dir(io, store->dir, name);
    if (rc < 0 && rc != -EEXIST)
        return rc;
    *ret_handle = io->ops->open_dir(io, store->dir, name);
    return *ret_handle < 0 ? *ret_handle : 0;
}

static int open_layout(struct store *store, const char *path, char *ret_reason)
{
    struct wal_io *io = store->io;
    store->dir = io->ops->open_dir(io, WAL_IO_CWD, path);
    if (store->dir < 0) {
        say(ret_reason, path, store->dir);
        return store->dir;
    }
    int rc = lock_dir(store, ret_reason);
    if (rc < 0)
        return rc;
    rc = check_format(store, ret_reason);
    if (rc == 0)
        rc = open_subdir(store, "logs", &store->logs_dir);
    if (rc == 0)
        rc = open_subdir(store, "tmp", &store->tmp_dir);
    if (rc == 0)
        rc = open_subdir(store, "trash", &store->trash_dir);
    if (rc == 0)
        rc = io->ops->sync(io, store->dir);
    /* A rename that is not durable yet may show a log under its old name as well: what is in tmp
     * must not be emptied before it is settled which of them stands. */
    if (rc == 0)
        rc = dir_sync_all(store);
    if (rc == 0)
        rc = dir_purge(store, store->tmp_dir);
    if (rc == 0)
        rc = dir_purge(store, store->trash_dir);
    if (rc == 0)
        rc = dir_count_logs(store);
    if (rc < 0 && ret_reason && ret_reason[0] == '\0')
        say(ret_reason, path, rc);
    return rc;
}

/* ---- threads ---- */

struct committer_start {
    struct committer *committer;
    sem_t started;
    int rc;
};

static void *committer_thread(void *argument)
{
    struct committer_start *start = argument;
    struct committer *committer = start->committer;
    /* The first pass makes the ring, which belongs to this thread. */
    int rc = start->rc = committer_run(committer, 0);
    sem_post(&start->started);
    bool stop = rc < 0;
    while (!stop) {
        committer_run(committer, UINT64_MAX);
        pthread_mutex_lock(&committer->lock);
        stop = committer->stop;
        pthread_mutex_unlock(&committer->lock);
    }
    committer_free_ring(committer); /* it belongs to this thread */
    return NULL;
}

static int start_committer(struct store *store, unsigned number)
{
    struct committer_start start = {.committer = &store->committers[number]};
    sem_init(&start.started, 0, 0);
    int rc = -pthread_create(&store->threads[store->thread_count], NULL, committer_thread, &start);
    if (rc == 0) {
        store->thread_count++;
        while (sem_wait(&start.started) < 0 && errno == EINTR)
            continue;
        rc = start.rc < 0 ? start.rc : 0;
    }
    sem_destroy(&start.started);
    return rc;
}

/* -EAGAIN would be -EWOULDBLOCK, and that is about the lock. */
static int refuse_without_thread(char *ret_reason)
{
    if (ret_reason)
        snprintf(ret_reason, 256,
                 "no thread can be started: raise the limit of processes (ulimit -u, or that of "
                 "the container; 32 is enough)");
    return -ENOMEM;
}

/* Signals are for the caller's threads. */
static int start_threads(struct store *store, char *ret_reason)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = 0;
    /* Two for recovery: a log that takes long to open does not hold up the next. */
    static const enum lane lanes[WORKERS] = {LANE_LOGS, LANE_NAMES, LANE_OPEN,
                                             LANE_OPEN, LANE_PACK,  LANE_KEEP};
    for (unsigned i = 0; store->config.worker && i < WORKERS && rc == 0; i++) {
        if (lanes[i] == LANE_PACK && !store->config.pack)
            continue;
        struct worker *worker = &store->workers[store->worker_count];
        worker->store = store;
        worker->lane = lanes[i];
        rc = -pthread_create(&worker->thread, NULL, store_worker, worker);
        store->worker_count += rc == 0;
    }
    for (unsigned i = 0; store->config.threads && i < store->committer_count && rc == 0; i++)
        rc = start_committer(store, i);
    if (rc == 0)
        rc = scrub_start(store);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == -EAGAIN ? refuse_without_thread(ret_reason) : rc;
}

static void stop_threads(struct store *store)
{
    scrub_stop(store);
    /* The workers first: they wake rings, which go with their committers. */
    pthread_mutex_lock(&store->chore_lock);
    store->worker_stop = true;
    for (unsigned i = 0; i < LANE_COUNT; i++)
        pthread_cond_broadcast(&store->lanes[i].ready);
    pthread_mutex_unlock(&store->chore_lock);
    for (unsigned i = 0; i < store->worker_count; i++)
        pthread_join(store->workers[i].thread, NULL);
    for (unsigned i = 0; i < store->thread_count; i++) {
        struct committer *committer = &store->committers[i];
        committer_stop(committer);
        pthread_join(store->threads[i], NULL);
    }
}

/* ---- the store object ---- */

static void close_handle(struct store *store, int handle)
{
    if (handle >= 0)
        store->io->ops->close(store->io, handle);
}

static void store_free(struct store *store)
{
    if (!store)
        return;
    stop_threads(store);
    orders_done(store);
    for (unsigned i = 0; store->committers && i < store->committer_count; i++)
        committer_done(&store->committers[i]);
    if (store->io) {
        close_handle(store, store->trash_dir);
        close_handle(store, store->tmp_dir);
        close_handle(store, store->logs_dir);
        close_handle(store, store->lock_handle);
        close_handle(store, store->dir);
        if (store->owns_io)
            store->io->ops->free(store->io);
    }
    buffer_pool_done(&store->pool);
    buffer_pool_done(&store->scratch);
    read_handles_done(store);
    free(store->committers);
    free(store->threads);
    free(store->buckets);
    pthread_mutex_destroy(&store->lock);
    pthread_cond_destroy(&store->changed);
    pthread_mutex_destroy(&store->chore_lock);
    for (unsigned i = 0; i < LANE_COUNT; i++)
        pthread_cond_destroy(&store->lanes[i].ready);
    health_done(&store->health);
    retention_done(&store->retention);
    scrub_done(&store->scrub);
    pthread_mutex_destroy(&store->dir_sync.lock);
    pthread_cond_destroy(&store->dir_sync.changed);
    free(store);
}

static void store_freep(struct store **store)
{
    store_free(*store);
}

static struct store *store_new(const struct store_config *config)
{
    struct store *store = calloc(1, sizeof(*store));
    if (!store)
        return NULL;
    store->config = *config;
    store->dir = store->logs_dir = store->tmp_dir = store->trash_dir = store->lock_handle = -1;
    buffer_pool_init(&store->pool);
    buffer_pool_init(&store->scratch);
    read_handles_init(store);
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->changed, NULL);
    pthread_mutex_init(&store->chore_lock, NULL);
    for (unsigned i = 0; i < LANE_COUNT; i++) {
        store->lanes[i].chores_end = &store->lanes[i].chores;
        pthread_cond_init(&store->lanes[i].ready, NULL);
    }
    orders_init(store);
    health_init(&store->health);
    retention_init(&store->retention);
    scrub_init(&store->scrub);
    pthread_mutex_init(&store->dir_sync.lock, NULL);
    pthread_cond_init(&store->dir_sync.changed, NULL);
    return store;
}

static int allocate_parts(struct store *store)
{
    /* Of the program and never written: it costs no memory, however many stores there are. */
    static _Alignas(WAL_BLOCK_BYTES) uint8_t zeros[ZEROS_BYTES];
    unsigned count = store->config.committers;
    store->zeros = zeros;
    store->bucket_count = BUCKETS;
    store->buckets = calloc(store->bucket_count, sizeof(*store->buckets));
    store->threads = calloc(count, sizeof(*store->threads));
    store->committers = calloc(count, sizeof(*store->committers));
    if (!store->buckets || !store->threads || !store->committers)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        int rc = committer_init(&store->committers[i], store, i);
        if (rc < 0)
            return rc;
        store->committer_count++;
    }
    return 0;
}

int store_open(struct store **ret_store, const char *path, const struct store_config *config,
               char *ret_reason)
{
    const char *field = NULL;
    if (ret_reason)
        ret_reason[0] = '\0';
    int rc = store_config_check(config, &field);
    if (rc < 0) {
        if (ret_reason)
            snprintf(ret_reason, 256, "configuration: %s", field);
        return rc;
    }

    CLEANUP(store_freep) struct store *store = store_new(config);
    if (!store)
        return -ENOMEM;
    rc = allocate_parts(store);
    if (rc == 0)
        rc = choose_io(store, path, ret_reason);
    if (rc == 0)
        rc = open_layout(store, path, ret_reason);
    if (rc == 0 && config->before_threads)
        rc = config->before_threads(config->before_threads_context);
    if (rc == 0)
        rc = start_threads(store, ret_reason);
    if (rc < 0) {
        if (ret_reason && ret_reason[0] == '\0')
            say(ret_reason, "starting", rc);
        return rc;
    }
    store->health.probed_us = store_now_us(store); /* the layout has just been synced */
    *ret_store = TAKE(store);
    return 0;
}

/* ---- closing the store ---- */

static void begin_close_all(struct store *store, bool abandon)
{
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < store->bucket_count; i++) {
        for (struct wal *wal = store->buckets[i]; wal; wal = wal->next_in_bucket) {
            if (!wal->opening && !wal->removing)
                log_begin_close(wal, abandon);
        }
    }
    pthread_mutex_unlock(&store->lock);
}

void store_drain(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    store->draining = true;
    pthread_mutex_unlock(&store->lock);
    begin_close_all(store, false);
}

int store_close(struct store *store, uint64_t drain_timeout_us)
{
    uint64_t now = store_now_us(store);
    uint64_t deadline = drain_timeout_us > UINT64_MAX - now ? UINT64_MAX : now + drain_timeout_us;
    pthread_mutex_lock(&store->lock);
    store->closing = true;
    pthread_mutex_unlock(&store->lock);
    scrub_stop(store);
    begin_close_all(store, false);
    retention_stop(store);
    health_wait(store);
    orders_wait(store);
    begin_close_all(store, false); /* what orders have opened meanwhile */

    int result = 0;
    bool abandoned = false;
    for (size_t i = 0; i < store->bucket_count; i++) {
        while (store->buckets[i]) {
            struct wal *wal = store->buckets[i];
            int rc = log_wait_closed(wal, abandoned ? UINT64_MAX : deadline);
            if (rc == -ETIMEDOUT && !abandoned) {
                abandoned = true;
                begin_close_all(store, true);
                continue;
            }
            must(rc == 0);
            pthread_mutex_lock(&store->lock); /* the last handlers may just have given it back */
            must(wal->references == 0 && !wal->opening && !wal->removing);
            pthread_mutex_unlock(&store->lock);
            if (wal->failed && result == 0)
                result = wal->failed;
            registry_remove_locked(store, wal);
            log_free(wal);
        }
    }
    store_free(store);
    return result;
}

/* ---- stats ---- */

static void add_committers(struct store *store, struct store_stats *stats)
{
    struct totals sum;
    totals_begin(&sum);
    for (unsigned i = 0; i < store->committer_count; i++) {
        struct committer *committer = &store->committers[i];
        stats->rounds += atomic_load_explicit(&committer->rounds, memory_order_relaxed);
        stats->writes += atomic_load_explicit(&committer->writes, memory_order_relaxed);
        stats->write_handles +=
            atomic_load_explicit(&committer->handles_open, memory_order_relaxed);
        totals_sum(&sum, &committer->totals);
    }
    totals_finish(&sum);
    stats->totals = sum.counts;
    pthread_mutex_lock(&store->dir_sync.lock);
    stats->totals.logs_created = store->dir_sync.made;
    stats->totals.logs_deleted = store->dir_sync.removed;
    stats->totals.name_syncs = store->dir_sync.finished;
    stats->logs = store->dir_sync.names;
    pthread_mutex_unlock(&store->dir_sync.lock);
}

static void add_log(struct store_stats *stats, struct wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    stats->logs_failed += wal->failed != 0;
    stats->logs_damaged += wal->damaged;
    stats->pending_records += wal->queue_records;
    stats->pending_bytes += wal->queue_bytes;
    for (size_t i = 0; i < wal->segment_count; i++)
        stats->bytes_on_disk += wal->segments[i]->file_bytes;
    pthread_mutex_unlock(&wal->lock);
}

void store_spare_space(struct store *store, bool spare)
{
    atomic_store_explicit(&store->spares_space, spare, memory_order_relaxed);
}

void store_keep_free(struct store *store, uint64_t bytes)
{
    atomic_store_explicit(&store->kept_free, bytes, memory_order_relaxed);
}

uint64_t store_pending_bytes(const struct store *store)
{
    return atomic_load_explicit(&store->pool.used_bytes, memory_order_relaxed);
}

void store_stats(struct store *store, struct store_stats *ret_stats)
{
    struct store_stats stats = {
        .backend = store->io->ops->name,
        .reason = store->io->reason,
        .ring_restricted = atomic_load_explicit(&store->io->ring_restricted, memory_order_relaxed),
        .direct = store->io->direct,
        .committers = store->committer_count,
        .memory_bytes = store_pending_bytes(store),
    };
    add_committers(store, &stats);
    pthread_mutex_lock(&store->lock);
    stats.logs_open = store->open_count;
    for (size_t i = 0; i < store->bucket_count; i++) {
        for (struct wal *wal = store->buckets[i]; wal; wal = wal->next_in_bucket) {
            if (!wal->opening)
                add_log(&stats, wal);
        }
    }
    pthread_mutex_unlock(&store->lock);
    if (store_space(store, &stats.free_bytes, &stats.size_bytes) < 0)
        stats.free_bytes = stats.size_bytes = 0;
    scrub_stats(store, &stats.scrub);
    *ret_stats = stats;
}

int store_space(struct store *store, uint64_t *ret_free_bytes, uint64_t *ret_size_bytes)
{
    return store->io->ops->free_bytes(store->io, store->dir, ret_free_bytes, ret_size_bytes);
}

int store_each_open(struct store *store,
                    int (*visit)(void *context, const char *name, const struct wal_stats *stats),
                    void *context)
{
    int rc = 0;
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < store->bucket_count && rc == 0; i++) {
        for (struct wal *wal = store->buckets[i]; wal && rc == 0; wal = wal->next_in_bucket) {
            struct wal_stats stats;
            if (wal->opening || wal->removing)
                continue;
            wal_stats(wal, &stats);
            rc = visit(context, wal->name, &stats);
        }
    }
    pthread_mutex_unlock(&store->lock);
    return rc;
}

/* ---- driving ---- */

int store_poll_fd(struct store *store, unsigned committer)
{
    if (committer >= store->committer_count || !store->committers[committer].ring)
        return -EINVAL;
    return store->io->ops->ring_poll_fd(store->committers[committer].ring);
}

int store_run(struct store *store, unsigned committer, uint64_t timeout_us)
{
    if (committer >= store->committer_count || store->config.threads)
        return -EINVAL;
    return committer_run(&store->committers[committer], timeout_us);
}

uint64_t store_run_delay_us(struct store *store, unsigned committer)
{
    if (committer >= store->committer_count || store->config.threads)
        return UINT64_MAX;
    return committer_next_timer_us(&store->committers[committer]);
}
