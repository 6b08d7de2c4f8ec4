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

/* Files of a batch are synced behind each other, when all are written: where one sync of the file
 * system's journal saves them all, the others find nothing left to do. */
static int write_first_segment(struct wal *wal, int dir, int *ret_handle)
{
    struct wal_io *io = wal->store->io;
    struct segment segment = {
        .header = {.kind = SEGMENT_APPENDED,
                   .log = wal->id,
                   .created_ns = io->ops->realtime_ns(io)},
    };
    struct frame_header state = segment_state_frame(&segment.header);
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, 0);
    unsigned flags = WAL_OPEN_WRITE | WAL_OPEN_CREATE | (io->direct ? WAL_OPEN_DIRECT : 0);
    *ret_handle = io->ops->open_file(io, dir, name, flags);
    return *ret_handle < 0 ? *ret_handle
                           : segment_write_head(wal, *ret_handle, &segment, &state, 0, false);
}

/* A name that may be lost must not be found by anybody: undo it by a change of its own. The files
 * stay for the next start, which syncs before it empties tmp. */
static int take_back(struct store *store, const struct name_change *change)
{
    return store->io->ops->rename(store->io, store->logs_dir, change->name, store->tmp_dir,
                                  change->tmp_name);
}

/* A rename may answer with an error and have happened all the same; where it has not, the name in
 * tmp is taken and cannot be taken back. */
static void undo_making(struct store *store, struct name_change *change)
{
    if (take_back(store, change) < 0 &&
        purge_log(store->io, store->tmp_dir, change->tmp_name) == -ENOENT)
        distrust_names(store, change->rc); /* it did happen, and stays */
}

static bool stands(struct store *store, const char *name)
{
    int dir = store->io->ops->open_dir(store->io, store->logs_dir, name);
    if (dir >= 0)
        store->io->ops->close(store->io, dir);
    return dir >= 0;
}

/* Takes the log into the count, if there is room for it. */
static int count_log(struct store *store, struct name_change *change)
{
    uint64_t max = store->config.log_count_max;
    pthread_mutex_lock(&store->dir_sync.lock);
    change->counted = max == 0 || store->dir_sync.names < max;
    store->dir_sync.names += change->counted;
    pthread_mutex_unlock(&store->dir_sync.lock);
    return change->counted ? 0 : -EMLINK;
}

/* Its folder in tmp with all that is to be in it, not durable yet. */
static void begin_making(struct store *store, struct name_change *change)
{
    struct wal_io *io = store->io;
    struct wal *plan = change->plan;
    change->rc = dir_names_error(store);
    if (change->rc == 0 && stands(store, change->name))
        change->rc = -EEXIST;
    if (change->rc == 0)
        change->rc = count_log(store, change);
    if (change->rc == 0)
        change->rc = io->ops->random(io, plan->id.bytes, sizeof(plan->id.bytes));
    if (change->rc < 0)
        return;
    hex_of(change->tmp_name, &plan->id);
    change->rc = io->ops->make_dir(io, store->tmp_dir, change->tmp_name);
    if (change->rc < 0)
        return;
    int dir = io->ops->open_dir(io, store->tmp_dir, change->tmp_name);
    change->rc = dir < 0 ? dir : write_first_segment(plan, dir, &change->handle);
    if (dir >= 0)
        io->ops->close(io, dir);
    if (change->rc < 0) {
        if (change->handle >= 0)
            io->ops->close(io, change->handle);
        undo_making(store, change);
    }
}

static void sync_file(struct store *store, struct name_change *change)
{
    struct wal_io *io = store->io;
    change->rc = io->ops->sync(io, change->handle);
    io->ops->close(io, change->handle);
    if (change->rc < 0)
        undo_making(store, change);
}

static void sync_folder(struct store *store, struct name_change *change)
{
    struct wal_io *io = store->io;
    int dir = io->ops->open_dir(io, store->tmp_dir, change->tmp_name);
    change->rc = dir < 0 ? dir : io->ops->sync(io, dir);
    if (dir >= 0)
        io->ops->close(io, dir);
    if (change->rc < 0)
        undo_making(store, change);
}

static void name_made(struct store *store, struct name_change *change)
{
    change->rc = store->io->ops->rename(store->io, store->tmp_dir, change->tmp_name,
                                        store->logs_dir, change->name);
    change->renamed = change->rc == 0;
    if (change->rc < 0)
        undo_making(store, change);
}

static void remove_name(struct store *store, struct name_change *change)
{
    struct wal_io *io = store->io;
    struct wal_uuid id;
    change->rc = io->ops->random(io, id.bytes, sizeof(id.bytes));
    if (change->rc < 0)
        return;
    hex_of(change->tmp_name, &id);
    change->rc =
        io->ops->rename(io, store->logs_dir, change->name, store->trash_dir, change->tmp_name);
    change->renamed = change->rc == 0;
}

/* Makes all renames durable; the outcome is that of each of them. */
static void sync_names(struct store *store, struct name_change *changes, unsigned count)
{
    unsigned made = 0, removed = 0;
    for (unsigned i = 0; i < count; i++) {
        made += changes[i].renamed && changes[i].plan;
        removed += changes[i].renamed && !changes[i].plan;
    }
    bool sync = (made > 0 && !DEFECT(SKIP_CREATE_DIR_SYNC)) ||
                (removed > 0 && !DEFECT(SKIP_DELETE_DIR_SYNC));
    int rc = sync ? share_dir_sync(store) : 0;
    if (rc == 0) {
        pthread_mutex_lock(&store->dir_sync.lock);
        store->dir_sync.made += made;
        store->dir_sync.removed += removed;
        pthread_mutex_unlock(&store->dir_sync.lock);
        for (unsigned i = 0; i < count; i++) {
            if (changes[i].renamed && !changes[i].plan)
                scrub_forget(store, changes[i].name);
        }
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        if (!changes[i].renamed)
            continue;
        changes[i].rc = rc;
        if (changes[i].plan)
            take_back(store, &changes[i]);
    }
}

/* What was not made counts no longer, nor does what was removed. After an error it may be otherwise on
 * disk; then no names are changed any more until the next start, which counts anew. */
static void count_names(struct store *store, const struct name_change *changes, unsigned count)
{
    pthread_mutex_lock(&store->dir_sync.lock);
    for (unsigned i = 0; i < count; i++) {
        bool gone = changes[i].plan ? changes[i].counted && changes[i].rc < 0 : changes[i].renamed;
        store->dir_sync.names -= gone;
    }
    pthread_mutex_unlock(&store->dir_sync.lock);
}

void dir_change_names(struct store *store, struct name_change *changes, unsigned count)
{
    static void (*const steps[])(struct store * store, struct name_change * change) = {
        begin_making, sync_file, sync_folder, name_made};
    must(count <= NAME_CHANGES_MAX);
    for (unsigned i = 0; i < count; i++) {
        changes[i].rc = 0;
        changes[i].handle = -1;
        changes[i].counted = changes[i].renamed = false;
    }
    for (unsigned step = 0; step < ARRAY_SIZE(steps); step++) {
        for (unsigned i = 0; i < count; i++) {
            if (changes[i].plan && changes[i].rc == 0)
                steps[step](store, &changes[i]);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (!changes[i].plan)
            remove_name(store, &changes[i]);
    }
    sync_names(store, changes, count);
    count_names(store, changes, count);
}

void dir_empty_trash(struct store *store, const char *trash_name)
{
    purge_log(store->io, store->trash_dir, trash_name);
}

int dir_plan_log(struct store *store, const char *name, const struct wal_state_update *updates,
                 size_t update_count, struct wal **ret_plan)
{
    CLEANUP(log_freep) struct wal *wal = log_new(store, name);
    int rc = wal ? 0 : -ENOMEM;
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
    *ret_plan = TAKE(wal);
    return 0;
}

int dir_make_log(struct store *store, const char *name, const struct wal_state_update *updates,
                 size_t update_count)
{
    struct name_change change = {.name = name};
    int rc = dir_plan_log(store, name, updates, update_count, &change.plan);
    if (rc < 0)
        return rc;
    dir_change_names(store, &change, 1);
    log_free(change.plan);
    return change.rc;
}

/* ---- removing a log ---- */

int dir_remove_log(struct store *store, const char *name)
{
    struct name_change change = {.name = name};
    dir_change_names(store, &change, 1);
    /* Durable. A failure from here on only leaves files in the trash for the next start. */
    if (change.rc == 0)
        dir_empty_trash(store, change.tmp_name);
    return change.rc;
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

static int count_name(void *context, const char *name, bool is_dir)
{
    struct store *store = context;
    store->dir_sync.names += is_dir && store_name_is_valid(name);
    return 0;
}

int dir_count_logs(struct store *store)
{
    return store->io->ops->list(store->io, store->logs_dir, count_name, store);
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
