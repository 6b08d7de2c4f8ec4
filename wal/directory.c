/*
 * What a store does with directories: making a log, removing one, listing them, and emptying what a
 * crash left half done. A log comes into being, and goes, by one rename, so that a crash leaves the
 * whole of it or nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/log.h"

#define TMP_NAME_BYTES 33

/* ---- syncing the directories ---- */

int dir_sync_all(struct store *store)
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
        int rc = dir_sync_all(store);
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

static void distrust_names(struct store *store, int error)
{
    pthread_mutex_lock(&store->dir_sync.lock);
    if (store->dir_sync.error == 0)
        store->dir_sync.error = error;
    pthread_mutex_unlock(&store->dir_sync.lock);
}

int dir_names_error(struct store *store)
{
    pthread_mutex_lock(&store->dir_sync.lock);
    int error = store->dir_sync.error;
    pthread_mutex_unlock(&store->dir_sync.lock);
    /* Callers take those codes for a refusal that ends when there is room again; this does not. */
    return wal_error_is_refusal(error) ? -EIO : error;
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

/* Whether a name is of the kind that hex_of() makes: whatever else is in there is not ours. */
static bool is_hex_name(const char *name)
{
    return strlen(name) == TMP_NAME_BYTES - 1 && strspn(name, "0123456789abcdef") == strlen(name);
}

static int purge_entry(void *context, const char *name, bool is_dir)
{
    struct purge *purge = context;
    if (!is_dir || !is_hex_name(name))
        return 0;
    int rc = purge_log(purge->io, purge->dir, name);
    /* A folder that somebody put into a log is not ours to remove, and no reason not to start. */
    return rc == -ENOTEMPTY ? 0 : rc;
}

int dir_purge(struct store *store, int dir)
{
    struct purge purge = {store->io, dir};
    return store->io->ops->list(store->io, dir, purge_entry, &purge);
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

/* A name that may be lost must not be found by anybody: undo it by a change of its own. The files
 * stay for the next start, which syncs before it empties tmp. */
static int take_back(struct store *store, const char *name, const char *tmp_name)
{
    return store->io->ops->rename(store->io, store->logs_dir, name, store->tmp_dir, tmp_name);
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
    /* A rename may answer with an error and have happened all the same; where it has not, the name in
     * tmp is taken and cannot be taken back. */
    if (rc < 0 && take_back(store, wal->name, tmp_name) < 0 &&
        purge_log(io, store->tmp_dir, tmp_name) == -ENOENT)
        distrust_names(store, rc); /* it did happen, and stays */
    return rc;
}

/* Errors: -EEXIST; others: it may stand or not. */
int dir_make_log(struct store *store, const char *name, const struct wal_state_update *updates,
                 size_t update_count)
{
    CLEANUP(log_freep) struct wal *wal = log_new(store, name);
    if (!wal)
        return -ENOMEM;
    int rc = store->io->ops->random(store->io, wal->id.bytes, sizeof(wal->id.bytes));
    for (size_t i = 0; i < update_count && rc == 0; i++) {
        const struct wal_state_update *update = &updates[i];
        if (!update->key || update->key_bytes == 0 || update->key_bytes > WAL_STATE_KEY_BYTES_MAX)
            rc = -EINVAL;
        else if (update->value && update->value_bytes > WAL_STATE_BYTES_MAX)
            rc = -E2BIG;
        else
            rc = state_change(&wal->state, update->key, update->key_bytes, update->value,
                              update->value_bytes, 0);
    }
    if (rc == 0 && wal->state.bytes > WAL_STATE_BYTES_MAX)
        rc = -E2BIG;
    if (rc < 0)
        return rc;
    state_commit(&wal->state, 0);

    rc = dir_names_error(store);
    if (rc < 0)
        return rc;
    char tmp_name[TMP_NAME_BYTES];
    hex_of(tmp_name, &wal->id);
    rc = make_log_in_tmp(wal, tmp_name);
    if (rc < 0 || DEFECT(SKIP_CREATE_DIR_SYNC))
        return rc;
    rc = share_dir_sync(store);
    if (rc < 0)
        take_back(store, name, tmp_name);
    return rc;
}

/* ---- removing a log ---- */

int dir_remove_log(struct store *store, const char *name)
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
