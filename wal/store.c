/*
 * The directory of named logs: opening it, handing out logs, making, deleting and listing them, and
 * starting and stopping the threads that serve them. A log comes into being, and goes, by one
 * rename, so that a crash leaves the whole of it or nothing.
 */
#include "wal/store.h"

#include <errno.h>
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
#define TMP_NAME_BYTES 33
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
        {config->committers, 1, 64, "committers: 1 to 64"},
        {config->ring_entries, 8, 4096, "ring_entries: 8 to 4096"},
        {is_power_of_two(config->ring_entries), 1, 1, "ring_entries: a power of two"},
        {config->logs_max, 1, 1u << 24, "logs_max: 1 to 16777216"},
        {config->write_handles_max, 1, 1u << 24, "write_handles_max: 1 to 16777216"},
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

bool store_name_is_valid(const char *name)
{
    size_t length = strnlen(name, NAME_BYTES_MAX + 1);
    if (length == 0 || length > NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        bool alphanumeric =
            (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alphanumeric && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return false;
    }
    return true;
}

static uint32_t hash_of(const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash;
}

unsigned store_committer_of(const struct store *store, const char *name)
{
    return (hash_of(name) >> 16) % store->committer_count;
}

uint64_t store_now_us(const struct store *store)
{
    return store->io->ops->monotonic_us(store->io);
}

/* ---- syncing the directories ---- */

static int sync_dirs(struct store *store)
{
    struct wal_io *io = store->io;
    const int dirs[] = {store->logs_dir, store->tmp_dir, store->trash_dir};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        int rc = io->ops->sync(io, dirs[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Makes every rename that was done before the call durable. Callers that come while a sync runs
 * share the next one. An error stays: after it a success would prove nothing. */
static int share_dir_sync(struct store *store)
{
    struct dir_sync *sync = &store->dir_sync;
    pthread_mutex_lock(&sync->lock);
    uint64_t mine = sync->started + 1;
    while (sync->finished < mine && sync->error == 0) {
        if (sync->running) {
            pthread_cond_wait(&sync->changed, &sync->lock);
            continue;
        }
        sync->running = true;
        uint64_t number = ++sync->started;
        pthread_mutex_unlock(&sync->lock);
        int rc = sync_dirs(store);
        pthread_mutex_lock(&sync->lock);
        sync->running = false;
        sync->finished = number;
        if (rc < 0)
            sync->error = rc;
        pthread_cond_broadcast(&sync->changed);
    }
    int rc = sync->error;
    pthread_mutex_unlock(&sync->lock);
    return rc;
}

/* ---- emptying a directory ---- */

struct purge {
    struct wal_io *io;
    int dir;
};

static int purge_file(void *context, const char *name, bool is_dir)
{
    struct purge *purge = context;
    if (is_dir)
        return 0;
    return purge->io->ops->remove_file(purge->io, purge->dir, name);
}

static int purge_log(struct wal_io *io, int parent, const char *name)
{
    int dir = io->ops->open_dir(io, parent, name);
    if (dir < 0)
        return dir;
    struct purge purge = {io, dir};
    int rc = io->ops->list(io, dir, purge_file, &purge);
    io->ops->close(io, dir);
    return rc < 0 ? rc : io->ops->remove_dir(io, parent, name);
}

static int purge_entry(void *context, const char *name, bool is_dir)
{
    struct purge *purge = context;
    if (is_dir)
        return purge_log(purge->io, purge->dir, name);
    return purge->io->ops->remove_file(purge->io, purge->dir, name);
}

static int purge_all(struct store *store, int dir)
{
    struct purge purge = {store->io, dir};
    return store->io->ops->list(store->io, dir, purge_entry, &purge);
}

/* ---- opening ---- */

static void say(char *ret_reason, const char *what, int error)
{
    if (ret_reason)
        snprintf(ret_reason, 256, "%s: %s", what, strerror(-error));
}

static int make_data_dir(const char *path)
{
    struct wal_io *io;
    int rc = wal_io_posix_new(false, &io);
    if (rc < 0)
        return rc;
    rc = io->ops->make_dir(io, WAL_IO_CWD, path);
    io->ops->free(io);
    return rc == -EEXIST ? 0 : rc;
}

static int choose_io(struct store *store, const char *path, char *ret_reason)
{
    if (store->config.custom_io) {
        store->io = store->config.custom_io;
        int rc = store->io->ops->make_dir(store->io, WAL_IO_CWD, path);
        return rc == -EEXIST ? 0 : rc;
    }

    int rc = make_data_dir(path);
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
        rc = sync_dirs(store);
    if (rc == 0)
        rc = purge_all(store, store->tmp_dir);
    if (rc == 0)
        rc = purge_all(store, store->trash_dir);
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

/* Signals are for the caller's threads. */
static int start_threads(struct store *store)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = 0;
    if (store->config.worker) {
        rc = -pthread_create(&store->worker, NULL, store_worker, store);
        store->worker_running = rc == 0;
    }
    for (unsigned i = 0; store->config.threads && i < store->committer_count && rc == 0; i++)
        rc = start_committer(store, i);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void stop_threads(struct store *store)
{
    for (unsigned i = 0; i < store->thread_count; i++) {
        struct committer *committer = &store->committers[i];
        pthread_mutex_lock(&committer->lock);
        committer->stop = true;
        pthread_mutex_unlock(&committer->lock);
        committer_wake(committer);
        pthread_join(store->threads[i], NULL);
    }
    if (store->worker_running) {
        pthread_mutex_lock(&store->chore_lock);
        store->worker_stop = true;
        pthread_cond_signal(&store->chore_ready);
        pthread_mutex_unlock(&store->chore_lock);
        pthread_join(store->worker, NULL);
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
    free((void *)store->zeros);
    free(store->committers);
    free(store->threads);
    free(store->buckets);
    pthread_mutex_destroy(&store->lock);
    pthread_cond_destroy(&store->changed);
    pthread_mutex_destroy(&store->chore_lock);
    pthread_cond_destroy(&store->chore_ready);
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
    store->chores_end = &store->chores;
    buffer_pool_init(&store->pool);
    buffer_pool_init(&store->scratch);
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->changed, NULL);
    pthread_mutex_init(&store->chore_lock, NULL);
    pthread_cond_init(&store->chore_ready, NULL);
    pthread_mutex_init(&store->dir_sync.lock, NULL);
    pthread_cond_init(&store->dir_sync.changed, NULL);
    return store;
}

static int allocate_parts(struct store *store)
{
    unsigned count = store->config.committers;
    store->bucket_count = BUCKETS;
    store->buckets = calloc(store->bucket_count, sizeof(*store->buckets));
    store->threads = calloc(count, sizeof(*store->threads));
    store->committers = calloc(count, sizeof(*store->committers));
    void *zeros = aligned_alloc(WAL_BLOCK_BYTES, ZEROS_BYTES);
    store->zeros = zeros;
    if (!store->buckets || !store->threads || !store->committers || !zeros)
        return -ENOMEM;
    memset(zeros, 0, ZEROS_BYTES);
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
    if (rc == 0)
        rc = start_threads(store);
    if (rc < 0) {
        if (ret_reason && ret_reason[0] == '\0')
            say(ret_reason, "starting", rc);
        return rc;
    }
    *ret_store = TAKE(store);
    return 0;
}

/* ---- the table of open logs; the caller holds the store's lock ---- */

static struct wal **bucket_of(struct store *store, const char *name)
{
    return &store->buckets[hash_of(name) % store->bucket_count];
}

static struct wal *find_locked(struct store *store, const char *name)
{
    struct wal *wal = *bucket_of(store, name);
    while (wal && strcmp(wal->name, name) != 0)
        wal = wal->next_in_bucket;
    return wal;
}

static void insert_locked(struct store *store, struct wal *wal)
{
    struct wal **bucket = bucket_of(store, wal->name);
    wal->next_in_bucket = *bucket;
    *bucket = wal;
    store->open_count++;
}

static void remove_locked(struct store *store, struct wal *wal)
{
    struct wal **link = bucket_of(store, wal->name);
    while (*link != wal)
        link = &(*link)->next_in_bucket;
    *link = wal->next_in_bucket;
    wal->next_in_bucket = NULL;
    store->open_count--;
}

static void idle_add_locked(struct store *store, struct wal *wal)
{
    wal->idle = true;
    wal->idle_newer = NULL;
    wal->idle_older = store->idle_newest;
    if (store->idle_newest)
        store->idle_newest->idle_newer = wal;
    else
        store->idle_oldest = wal;
    store->idle_newest = wal;
}

static void idle_remove_locked(struct store *store, struct wal *wal)
{
    if (!wal->idle)
        return;
    wal->idle = false;
    if (wal->idle_newer)
        wal->idle_newer->idle_older = wal->idle_older;
    else
        store->idle_newest = wal->idle_older;
    if (wal->idle_older)
        wal->idle_older->idle_newer = wal->idle_newer;
    else
        store->idle_oldest = wal->idle_newer;
    wal->idle_newer = wal->idle_older = NULL;
}

/* ---- closing one log ---- */

static void begin_close(struct wal *wal, bool abandon)
{
    pthread_mutex_lock(&wal->lock);
    wal->closing = true;
    wal->abandon = wal->abandon || abandon;
    pthread_mutex_unlock(&wal->lock);
    log_step_later(wal);
}

/* Returns when the committer has done with the log and will not touch it again.
 * Errors: -ETIMEDOUT; from making the ring of a committer that never ran. */
static int wait_closed(struct wal *wal, uint64_t deadline_us)
{
    int rc = 0;
    pthread_mutex_lock(&wal->lock);
    wal->waiters++;
    while ((!wal->closed || wal->ready) && rc == 0)
        rc = committer_wait_locked(wal, deadline_us);
    wal->waiters--;
    bool closed = wal->closed && !wal->ready;
    pthread_mutex_unlock(&wal->lock);
    return closed ? 0 : rc;
}

static void close_log(struct wal *wal)
{
    begin_close(wal, false);
    int rc = wait_closed(wal, UINT64_MAX);
    must(rc == 0);
}

/* ---- making a log ---- */

static void hex_of(char *ret_hex, const struct wal_uuid *id)
{
    for (size_t i = 0; i < sizeof(id->bytes); i++)
        snprintf(ret_hex + 2 * i, 3, "%02x", id->bytes[i]);
}

static int write_first_segment(struct wal *wal, int dir)
{
    struct wal_io *io = wal->store->io;
    struct segment segment = {
        .header = {.kind = SEGMENT_APPENDED,
                   .log = wal->id,
                   .created_ns = io->ops->realtime_ns(io)},
    };
    struct frame_header state = {.timestamp_ns = segment.header.created_ns};
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, 0);
    unsigned flags = WAL_OPEN_WRITE | WAL_OPEN_CREATE | (io->direct ? WAL_OPEN_DIRECT : 0);
    int handle = io->ops->open_file(io, dir, name, flags);
    if (handle < 0)
        return handle;
    int rc = segment_write_head(wal, handle, &segment, &state, 0);
    io->ops->close(io, handle);
    return rc < 0 ? rc : io->ops->sync(io, dir);
}

static int make_log_in_tmp(struct wal *wal, const char *tmp_name)
{
    struct store *store = wal->store;
    struct wal_io *io = store->io;
    int rc = io->ops->make_dir(io, store->tmp_dir, tmp_name);
    if (rc < 0)
        return rc;
    int dir = io->ops->open_dir(io, store->tmp_dir, tmp_name);
    rc = dir < 0 ? dir : write_first_segment(wal, dir);
    if (dir >= 0)
        io->ops->close(io, dir);
    if (rc == 0)
        rc = io->ops->rename(io, store->tmp_dir, tmp_name, store->logs_dir, wal->name);
    if (rc < 0)
        purge_log(io, store->tmp_dir, tmp_name);
    return rc;
}

/* Errors: -EEXIST; others: it may stand or not. */
static int make_log(struct store *store, const char *name, const struct wal_state_update *updates,
                    size_t update_count)
{
    CLEANUP(log_freep) struct wal *wal = log_new(store, name);
    if (!wal)
        return -ENOMEM;
    int rc = store->io->ops->random(store->io, wal->id.bytes, sizeof(wal->id.bytes));
    for (size_t i = 0; i < update_count && rc == 0; i++)
        rc = state_change(&wal->state, updates[i].key, updates[i].key_bytes, updates[i].value,
                          updates[i].value_bytes, 0);
    if (rc == 0 && wal->state.bytes > WAL_STATE_BYTES_MAX)
        rc = -E2BIG;
    if (rc < 0)
        return rc;
    state_commit(&wal->state, 0);

    char tmp_name[TMP_NAME_BYTES];
    hex_of(tmp_name, &wal->id);
    rc = make_log_in_tmp(wal, tmp_name);
    if (rc == 0 && !DEFECT(SKIP_CREATE_DIR_SYNC))
        rc = share_dir_sync(store);
    return rc;
}

/* ---- getting a log ---- */

enum get_mode { GET_EXISTING, GET_OR_CREATE, CREATE_ONLY };

struct get {
    const char *name;
    enum get_mode mode;
    const struct wal_state_update *updates;
    size_t update_count;
};

static int open_log(struct store *store, struct wal *wal, const struct get *get)
{
    int rc = get->mode == CREATE_ONLY ? -ENOENT : log_recover(wal);
    if (rc == -ENOENT && get->mode != GET_EXISTING) {
        rc = make_log(store, get->name, get->updates, get->update_count);
        if (rc == 0)
            rc = log_recover(wal);
    }
    return rc;
}

/* Makes room in the table by closing a log that nobody holds. The lock is released meanwhile. */
static int evict_locked(struct store *store)
{
    struct wal *wal = store->idle_oldest;
    if (!wal)
        return -EMFILE;
    idle_remove_locked(store, wal);
    wal->removing = true;
    pthread_mutex_unlock(&store->lock);
    close_log(wal);
    pthread_mutex_lock(&store->lock);
    remove_locked(store, wal);
    log_free(wal);
    pthread_cond_broadcast(&store->changed);
    return 0;
}

static int finish_open_locked(struct store *store, struct wal *wal, int rc)
{
    wal->opening = false;
    pthread_cond_broadcast(&store->changed);
    if (rc < 0) {
        remove_locked(store, wal);
        log_free(wal);
        return rc;
    }
    if (store->draining)
        begin_close(wal, false);
    else if (wal->mark_due)
        log_step_later(wal); /* what recovery found without proof gets its mark */
    return 0;
}

/* The lock is held on entry and on return. */
static int get_locked(struct store *store, const struct get *get, struct wal **ret_wal)
{
    struct wal *wal;
    for (;;) {
        if (store->closing)
            return -ESHUTDOWN;
        wal = find_locked(store, get->name);
        if (wal && (wal->opening || wal->removing)) {
            pthread_cond_wait(&store->changed, &store->lock);
            continue;
        }
        if (wal || store->open_count < store->config.logs_max)
            break;
        int rc = evict_locked(store);
        if (rc < 0)
            return rc;
    }
    if (wal) {
        if (get->mode == CREATE_ONLY)
            return -EEXIST;
        wal->references++;
        idle_remove_locked(store, wal);
        *ret_wal = wal;
        return 0;
    }

    wal = log_new(store, get->name);
    if (!wal)
        return -ENOMEM;
    wal->opening = true;
    wal->references = 1;
    insert_locked(store, wal);
    pthread_mutex_unlock(&store->lock);
    int rc = open_log(store, wal, get);
    pthread_mutex_lock(&store->lock);
    rc = finish_open_locked(store, wal, rc);
    if (rc == 0)
        *ret_wal = wal;
    return rc;
}

static int get(struct store *store, const struct get *get, struct wal **ret_wal)
{
    if (!store_name_is_valid(get->name))
        return -EINVAL;
    pthread_mutex_lock(&store->lock);
    int rc = get_locked(store, get, ret_wal);
    pthread_mutex_unlock(&store->lock);
    return rc;
}

int store_get(struct store *store, const char *name, bool create, struct wal **ret_wal)
{
    struct get request = {.name = name, .mode = create ? GET_OR_CREATE : GET_EXISTING};
    return get(store, &request, ret_wal);
}

int store_create(struct store *store, const char *name, const struct wal_state_update *updates,
                 size_t update_count, struct wal **ret_wal)
{
    struct get request = {name, CREATE_ONLY, updates, update_count};
    return get(store, &request, ret_wal);
}

void store_put(struct store *store, struct wal *wal)
{
    pthread_mutex_lock(&store->lock);
    must(wal->references > 0);
    bool last = --wal->references == 0;
    bool gone = last && wal->detached;
    if (last && !gone && !wal->removing)
        idle_add_locked(store, wal);
    pthread_mutex_unlock(&store->lock);
    if (gone)
        log_free(wal);
}

/* ---- deleting ---- */

static int move_to_trash(struct store *store, const char *name)
{
    struct wal_io *io = store->io;
    struct wal_uuid id;
    char trash_name[TMP_NAME_BYTES];
    int rc = io->ops->random(io, id.bytes, sizeof(id.bytes));
    if (rc < 0)
        return rc;
    hex_of(trash_name, &id);
    rc = io->ops->rename(io, store->logs_dir, name, store->trash_dir, trash_name);
    if (rc == 0 && !DEFECT(SKIP_DELETE_DIR_SYNC))
        rc = share_dir_sync(store);
    /* Durable. A failure from here on only leaves files in the trash for the next start. */
    if (rc == 0)
        purge_log(io, store->trash_dir, trash_name);
    return rc;
}

/* Takes the log out of everybody's reach; a log that is not open gets a place holder, so that
 * nobody opens it meanwhile. */
static struct wal *begin_delete_locked(struct store *store, const char *name)
{
    struct wal *wal;
    while ((wal = find_locked(store, name)) && (wal->opening || wal->removing))
        pthread_cond_wait(&store->changed, &store->lock);
    if (!wal) {
        wal = log_new(store, name);
        if (!wal)
            return NULL;
        wal->closed = true;
        wal->phase = PHASE_CLOSED;
        insert_locked(store, wal);
    }
    idle_remove_locked(store, wal);
    wal->removing = true;
    return wal;
}

int store_delete(struct store *store, const char *name)
{
    if (!store_name_is_valid(name))
        return -EINVAL;
    pthread_mutex_lock(&store->lock);
    struct wal *wal = store->closing ? NULL : begin_delete_locked(store, name);
    bool closing = store->closing;
    pthread_mutex_unlock(&store->lock);
    if (!wal)
        return closing ? -ESHUTDOWN : -ENOMEM;

    pthread_mutex_lock(&wal->lock);
    bool is_open = !wal->closed;
    pthread_mutex_unlock(&wal->lock);
    if (is_open)
        close_log(wal);
    int rc = move_to_trash(store, name);

    pthread_mutex_lock(&store->lock);
    remove_locked(store, wal);
    wal->detached = true;
    bool unused = wal->references == 0;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
    if (unused)
        log_free(wal);
    return rc;
}

int store_reopen(struct store *store, const char *name)
{
    if (!store_name_is_valid(name))
        return -EINVAL;
    pthread_mutex_lock(&store->lock);
    struct wal *wal = find_locked(store, name);
    bool held = wal && !wal->idle;
    if (wal && !held) {
        idle_remove_locked(store, wal);
        wal->removing = true;
        pthread_mutex_unlock(&store->lock);
        close_log(wal);
        pthread_mutex_lock(&store->lock);
        remove_locked(store, wal);
        log_free(wal);
        pthread_cond_broadcast(&store->changed);
    }
    pthread_mutex_unlock(&store->lock);
    if (held)
        return -EBUSY;

    int rc = store_get(store, name, false, &wal);
    if (rc == 0)
        store_put(store, wal);
    return rc;
}

/* ---- listing ---- */

struct listing {
    const char *prefix, *after;
    char (*names)[NAME_BYTES_MAX + 1];
    size_t count, capacity;
};

static int collect_name(void *context, const char *name, bool is_dir)
{
    struct listing *listing = context;
    if (!is_dir || !store_name_is_valid(name) || strcmp(name, listing->after) <= 0 ||
        strncmp(name, listing->prefix, strlen(listing->prefix)) != 0)
        return 0;
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity ? listing->capacity * 2 : 64;
        void *names = realloc(listing->names, capacity * sizeof(*listing->names));
        if (!names)
            return -ENOMEM;
        listing->names = names;
        listing->capacity = capacity;
    }
    strcpy(listing->names[listing->count++], name);
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

int store_list(struct store *store, const char *prefix, const char *after,
               int (*visit)(void *context, const char *name), void *context)
{
    struct listing listing = {.prefix = prefix, .after = after};
    int rc = store->io->ops->list(store->io, store->logs_dir, collect_name, &listing);
    if (rc == 0 && listing.count > 0)
        qsort(listing.names, listing.count, sizeof(*listing.names), compare_names);
    for (size_t i = 0; i < listing.count && rc == 0; i++)
        rc = visit(context, listing.names[i]);
    free(listing.names);
    return rc;
}

/* ---- closing the store ---- */

static void begin_close_all(struct store *store, bool abandon)
{
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < store->bucket_count; i++) {
        for (struct wal *wal = store->buckets[i]; wal; wal = wal->next_in_bucket) {
            if (!wal->opening && !wal->removing)
                begin_close(wal, abandon);
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
    begin_close_all(store, false);

    int result = 0;
    bool abandoned = false;
    for (size_t i = 0; i < store->bucket_count; i++) {
        while (store->buckets[i]) {
            struct wal *wal = store->buckets[i];
            must(wal->references == 0 && !wal->opening && !wal->removing);
            int rc = wait_closed(wal, abandoned ? UINT64_MAX : deadline);
            if (rc == -ETIMEDOUT && !abandoned) {
                abandoned = true;
                begin_close_all(store, true);
                continue;
            }
            must(rc == 0);
            if (wal->failed && result == 0)
                result = wal->failed;
            remove_locked(store, wal);
            log_free(wal);
        }
    }
    store_free(store);
    return result;
}

/* ---- stats ---- */

void store_stats(struct store *store, struct store_stats *ret_stats)
{
    struct store_stats stats = {
        .backend = store->io->ops->name,
        .reason = store->io->reason,
        .direct = store->io->direct,
        .committers = store->committer_count,
        .memory_bytes = atomic_load_explicit(&store->pool.used_bytes, memory_order_relaxed),
    };
    for (unsigned i = 0; i < store->committer_count; i++) {
        struct committer *committer = &store->committers[i];
        stats.rounds += atomic_load_explicit(&committer->rounds, memory_order_relaxed);
        stats.writes += atomic_load_explicit(&committer->writes, memory_order_relaxed);
        stats.write_handles += atomic_load_explicit(&committer->handles_open, memory_order_relaxed);
    }
    pthread_mutex_lock(&store->lock);
    stats.logs_open = store->open_count;
    for (size_t i = 0; i < store->bucket_count; i++) {
        for (struct wal *wal = store->buckets[i]; wal; wal = wal->next_in_bucket) {
            pthread_mutex_lock(&wal->lock);
            stats.logs_failed += wal->failed != 0;
            stats.logs_damaged += wal->damaged;
            pthread_mutex_unlock(&wal->lock);
        }
    }
    pthread_mutex_unlock(&store->lock);
    if (store->io->ops->free_bytes(store->io, store->dir, &stats.free_bytes) < 0)
        stats.free_bytes = 0;
    *ret_stats = stats;
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
