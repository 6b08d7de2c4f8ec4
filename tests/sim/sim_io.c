#include "tests/sim/sim_call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The synchronous half of wal/io.h: handles, names, contents and clocks. */

enum { NAME_BYTES_MAX = 255 };

/* A call of the synchronous half takes its time here; an op of a ring has had it. */
static struct call call_sync(struct sim_disk *disk, enum sim_kind kind,
                             const struct sim_inode *inode, const char *path, uint64_t position,
                             uint64_t size)
{
    disk->now_us += sim_latency_us(disk);
    return sim_call_begin(disk, kind, inode, path, position, size);
}

/* --- Handles ---------------------------------------------------------------------------------- */

struct sim_handle *sim_handle_find(struct sim_disk *disk, int handle)
{
    int64_t index = (int64_t)handle - disk->handle_base;
    if (index < 0 || index >= disk->handle_count || !disk->handles[index].open)
        return NULL;
    return &disk->handles[index];
}

int sim_handle_error(struct sim_disk *disk, int handle)
{
    if (disk->dead || (handle >= 0 && handle < disk->handle_base))
        return -EIO;
    disk->counters.misuses++;
    return -EBADF;
}

static struct sim_inode *handle_inode(struct sim_disk *disk, int handle)
{
    struct sim_handle *found = sim_handle_find(disk, handle);
    return found ? found->inode : NULL;
}

/* The lowest number that is free, as the kernel does it: use after close hits something. */
static unsigned handle_slot(const struct sim_disk *disk)
{
    unsigned index = 0;
    while (index < disk->handle_count && disk->handles[index].inode)
        index++;
    return index;
}

static bool handles_are_full(const struct sim_disk *disk)
{
    return disk->options.handles_max && handle_slot(disk) >= disk->options.handles_max;
}

static int handle_new(struct sim_disk *disk, struct sim_inode *inode, unsigned flags)
{
    unsigned index = handle_slot(disk);
    if (handles_are_full(disk))
        return -EMFILE;
    if (index == disk->handle_room) {
        disk->handle_room = disk->handle_room ? disk->handle_room * 2 : 64;
        disk->handles = realloc(disk->handles, disk->handle_room * sizeof(*disk->handles));
        must(disk->handles);
    }
    if (index == disk->handle_count)
        disk->handle_count++;
    disk->handles[index] = (struct sim_handle){.inode = inode, .flags = flags, .open = true};
    inode->opens++;
    return disk->handle_base + (int)index;
}

void sim_handle_settle(struct sim_disk *disk, struct sim_handle *handle)
{
    if (handle->open || handle->keeps > 0)
        return;
    struct sim_inode *inode = handle->inode;
    handle->inode = NULL;
    /* On a dead disk the images are left as they are for the crash to come. */
    if (disk->dead)
        return;
    if (handle->is_lock)
        inode->locked = false;
    inode->opens--;
    sim_inode_settle(&disk->store, inode);
}

static void sim_close(struct wal_io *io, int handle)
{
    struct sim_disk *disk = disk_of(io);
    struct sim_handle *found = sim_handle_find(disk, handle);
    if (!found) {
        disk->counters.misuses += handle < 0 || handle >= disk->handle_base;
        return;
    }
    found->open = false;
    sim_handle_settle(disk, found);
}

void sim_handles_kill(struct sim_disk *disk)
{
    for (unsigned i = 0; i < disk->handle_count; i++) {
        struct sim_handle *handle = &disk->handles[i];
        handle->open = false;
        handle->keeps = 0;
        if (handle->inode)
            sim_handle_settle(disk, handle);
    }
}

/* The directory and the last name of (dir, name) in a call. */
static int name_at(struct sim_disk *disk, int dir, const char *name, struct sim_inode **ret_dir,
                   const char **ret_name)
{
    if (dir == WAL_IO_CWD) {
        int rc = sim_dir_walk(disk->store.root, name, SIM_CACHED, ret_dir, ret_name);
        if (rc < 0)
            return rc;
    } else {
        must(!strchr(name, '/') && strcmp(name, "..") != 0);
        *ret_name = name;
        *ret_dir = handle_inode(disk, dir);
        if (!*ret_dir)
            return sim_handle_error(disk, dir);
        if (!(*ret_dir)->is_dir)
            return -ENOTDIR;
    }
    return strlen(*ret_name) > NAME_BYTES_MAX ? -ENAMETOOLONG : 0;
}

static int inode_at(struct sim_disk *disk, int dir, const char *name, struct sim_inode **ret_inode)
{
    int rc = name_at(disk, dir, name, ret_inode, &name);
    if (rc < 0 || strcmp(name, ".") == 0)
        return rc;
    struct sim_entry *entry = sim_dir_find(*ret_inode, name, strlen(name), SIM_CACHED);
    if (!entry)
        return -ENOENT;
    *ret_inode = entry->inode;
    return 0;
}

/* --- Names ------------------------------------------------------------------------------------ */

static int open_inode(struct call *call, struct sim_inode *inode, unsigned flags)
{
    call->inode_id = inode->id;
    /* An error is reported: what was done stays, but nobody would close the handle. */
    return call->error ? call->error : handle_new(call->disk, inode, flags);
}

static int sim_open_dir(struct wal_io *io, int dir, const char *name)
{
    struct sim_disk *disk = disk_of(io);
    struct call call = call_sync(disk, SIM_OPEN_DIR, NULL, name, 0, 0);
    int rc = 0;
    if (call.effect != SIM_NOTHING) {
        struct sim_inode *inode;
        rc = inode_at(disk, dir, name, &inode);
        if (rc == 0)
            rc = inode->is_dir ? open_inode(&call, inode, 0) : -ENOTDIR;
    }
    return (int)sim_call_end(&call, rc);
}

static int file_create(struct sim_disk *disk, int dir, const char *name,
                       struct sim_inode **ret_inode)
{
    struct sim_inode *parent;
    int rc = name_at(disk, dir, name, &parent, &name);
    /* Without a number for its handle, a file is not made. */
    if (rc == 0 && handles_are_full(disk))
        rc = -EMFILE;
    return rc < 0 ? rc : sim_dir_create(&disk->store, parent, name, false, ret_inode);
}

static int sim_open_file(struct wal_io *io, int dir, const char *name, unsigned flags)
{
    struct sim_disk *disk = disk_of(io);
    bool create = flags & WAL_OPEN_CREATE;
    struct call call = call_sync(disk, create ? SIM_CREATE : SIM_OPEN_FILE, NULL, name, 0, flags);
    int rc = 0;
    if (call.effect != SIM_NOTHING) {
        struct sim_inode *inode;
        rc = create ? file_create(disk, dir, name, &inode) : inode_at(disk, dir, name, &inode);
        /* As on a real disk, a file made for a handle that is then refused is there. */
        if (rc == 0 && disk->options.no_direct && (flags & WAL_OPEN_DIRECT))
            rc = -EINVAL;
        if (rc == 0 && !inode->is_dir && (flags & WAL_OPEN_UNCACHED))
            sim_file_forget_dropped(&disk->store, inode);
        if (rc == 0)
            rc = inode->is_dir ? -EISDIR : open_inode(&call, inode, flags);
    }
    return (int)sim_call_end(&call, rc);
}

static int sim_make_dir(struct wal_io *io, int dir, const char *name)
{
    struct sim_disk *disk = disk_of(io);
    struct call call = call_sync(disk, SIM_MAKE_DIR, NULL, name, 0, 0);
    int rc = 0;
    if (call.effect != SIM_NOTHING) {
        struct sim_inode *parent;
        struct sim_inode *inode;
        rc = name_at(disk, dir, name, &parent, &name);
        if (rc == 0 && strcmp(name, ".") == 0)
            rc = -EEXIST;
        if (rc == 0)
            rc = sim_dir_create(&disk->store, parent, name, true, &inode);
        if (rc == 0)
            call.inode_id = inode->id;
    }
    return (int)sim_call_end(&call, rc);
}

static int change_name(struct wal_io *io, int from_dir, const char *from, int to_dir,
                       const char *to, bool replaces)
{
    struct sim_disk *disk = disk_of(io);
    struct call call = call_sync(disk, SIM_RENAME, NULL, to, 0, 0);
    int rc = 0;
    if (call.effect != SIM_NOTHING) {
        struct sim_inode *source;
        struct sim_inode *target;
        rc = name_at(disk, from_dir, from, &source, &from);
        if (rc == 0)
            rc = name_at(disk, to_dir, to, &target, &to);
        if (rc == 0)
            rc = replaces ? sim_dir_replace(&disk->store, source, from, to)
                          : sim_dir_rename(&disk->store, source, from, target, to);
    }
    return (int)sim_call_end(&call, rc);
}

static int sim_rename(struct wal_io *io, int from_dir, const char *from, int to_dir, const char *to)
{
    return change_name(io, from_dir, from, to_dir, to, false);
}

static int sim_replace(struct wal_io *io, int dir, const char *from, const char *to)
{
    return change_name(io, dir, from, dir, to, true);
}

static int remove_name(struct sim_disk *disk, int dir, const char *name, bool is_dir)
{
    struct call call = call_sync(disk, is_dir ? SIM_REMOVE_DIR : SIM_REMOVE_FILE, NULL, name, 0, 0);
    int rc = 0;
    if (call.effect != SIM_NOTHING) {
        struct sim_inode *parent;
        rc = name_at(disk, dir, name, &parent, &name);
        if (rc == 0)
            rc = sim_dir_remove(&disk->store, parent, name, is_dir);
    }
    return (int)sim_call_end(&call, rc);
}

static int sim_remove_file(struct wal_io *io, int dir, const char *name)
{
    return remove_name(disk_of(io), dir, name, false);
}

static int sim_remove_dir(struct wal_io *io, int dir, const char *name)
{
    return remove_name(disk_of(io), dir, name, true);
}

/* Visits a snapshot in an order by seed: visit may remove entries, and sync what it removed. */
static int visit_entries(struct sim_disk *disk, const struct sim_inode *dir,
                         int (*visit)(void *, const char *, bool), void *context)
{
    size_t count = 0;
    struct sim_entry **entries = calloc(dir->live_entries + 1, sizeof(struct sim_entry *));
    must(entries);
    for (struct sim_entry *entry = dir->entries; entry; entry = entry->next) {
        if (!entry->live)
            continue;
        size_t place = rng_below(&disk->rng, count + 1);
        entries[count] = entries[place];
        entries[place] = entry;
        count++;
    }
    int rc = 0;
    disk->store.listing++;
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (entries[i]->live)
            rc = visit(context, entries[i]->name, entries[i]->inode->is_dir);
    }
    disk->store.listing--;
    free(entries);
    return rc;
}

static int sim_list_dir(struct wal_io *io, int dir,
                        int (*visit)(void *context, const char *name, bool is_dir), void *context)
{
    struct sim_disk *disk = disk_of(io);
    struct sim_inode *inode = dir == WAL_IO_CWD ? disk->store.root : handle_inode(disk, dir);
    struct call call = call_sync(disk, SIM_LIST, inode, NULL, 0, 0);
    int rc = 0;
    if (!inode)
        rc = sim_handle_error(disk, dir);
    else if (!inode->is_dir)
        rc = -ENOTDIR;
    rc = (int)sim_call_end(&call, rc);
    return rc < 0 || !inode ? rc : visit_entries(disk, inode, visit, context);
}

/* --- Contents --------------------------------------------------------------------------------- */

static uint64_t file_bytes_max(const struct sim_disk *disk)
{
    const uint64_t most = 16ull << 30;
    return min_u64(disk->options.file_bytes_max ? disk->options.file_bytes_max : most, most);
}

/* Part of the data is in the trace, so that a history whose bytes differ is not taken for the same:
 * a frame's header is at the front and holds checksums of the rest. */
static void trace_data(struct sim_disk *disk, const uint8_t *data, uint64_t size)
{
    uint64_t words[8] = {0};
    memcpy(words, data, min_u64(size, sizeof(words)));
    uint64_t sum = 0;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        sum = (sum ^ words[i]) * 0x9e3779b97f4a7c15u + (sum >> 29);
    sim_trace_mix(disk, sum);
}

int64_t sim_write_apply(struct sim_disk *disk, struct sim_inode *file, struct transfer transfer,
                        enum sim_effect effect, uint64_t bytes, int *ret_short)
{
    uint64_t max = file_bytes_max(disk);
    uint64_t size = effect == SIM_PARTLY ? min_u64(bytes, transfer.size) : transfer.size;
    *ret_short = -EIO;
    if (effect == SIM_NOTHING || size == 0)
        return 0;
    trace_data(disk, transfer.data, size);
    if (transfer.position >= max)
        return -EFBIG;
    if (size > max - transfer.position) {
        size = max - transfer.position;
        *ret_short = -EFBIG;
    }
    uint64_t granted = sim_file_reserve(&disk->store, file, transfer.position, size);
    if (granted < size)
        *ret_short = -ENOSPC;
    if (granted == 0)
        return -ENOSPC;

    struct sim_write *write =
        sim_write_new(&disk->store, file, transfer.data, granted, transfer.position);
    write->dropped = effect == SIM_DROPPED;
    sim_write_check(&disk->store, file, write);
    file->size = max_u64(file->size, transfer.position + granted);
    /* The sync of a short write is never begun. */
    if (transfer.durable && effect == SIM_EVERYTHING && granted == transfer.size)
        sim_write_commit(&disk->store, file, write);
    else
        sim_write_hold(&disk->store, file, write);
    return (int64_t)granted;
}

int sim_allocate_apply(struct sim_disk *disk, struct sim_inode *file, uint64_t position,
                       uint64_t size)
{
    uint64_t max = file_bytes_max(disk);
    if (disk->options.no_allocate)
        return -EOPNOTSUPP;
    if (position > max || size > max - position)
        return -EFBIG;
    /* What did fit stays with the file, as in ext4. */
    if (sim_file_reserve(&disk->store, file, position, size) < size)
        return -ENOSPC;
    file->size = max_u64(file->size, position + size);
    return 0;
}

bool sim_is_aligned(const void *data, uint64_t size, uint64_t position)
{
    return (((uintptr_t)data | size | position) & (WAL_BLOCK_BYTES - 1)) == 0;
}

/* Whether the handle is one of a file, for this use of it. */
static int file_at(struct sim_disk *disk, int handle, bool for_writing, const void *data,
                   uint64_t size, uint64_t position)
{
    const struct sim_handle *found = sim_handle_find(disk, handle);
    if (!found)
        return sim_handle_error(disk, handle);
    if (found->inode->is_dir)
        return -EISDIR;
    if (for_writing && !(found->flags & WAL_OPEN_WRITE)) {
        disk->counters.misuses++;
        return -EBADF;
    }
    if ((found->flags & WAL_OPEN_DIRECT) && !sim_is_aligned(data, size, position))
        return -EINVAL;
    return 0;
}

static int sim_write(struct wal_io *io, int handle, const void *data, size_t size,
                     uint64_t position, bool durable)
{
    struct sim_disk *disk = disk_of(io);
    struct sim_inode *inode = handle_inode(disk, handle);
    struct call call =
        call_sync(disk, durable ? SIM_WRITE_DURABLE : SIM_WRITE, inode, NULL, position, size);
    int64_t result = file_at(disk, handle, true, data, size, position);
    if (result == 0 && call.effect != SIM_NOTHING && size > 0) {
        struct transfer transfer = {data, size, position, durable};
        int reason;
        result = sim_write_apply(disk, inode, transfer, call.effect, call.bytes, &reason);
        if (result >= 0)
            result = (uint64_t)result < size ? reason : 0;
    }
    return (int)sim_call_end(&call, result);
}

static int sim_allocate(struct wal_io *io, int handle, uint64_t position, uint64_t size)
{
    struct sim_disk *disk = disk_of(io);
    struct sim_inode *inode = handle_inode(disk, handle);
    struct call call = call_sync(disk, SIM_ALLOCATE, inode, NULL, position, size);
    int rc = file_at(disk, handle, true, NULL, 0, 0);
    if (rc == 0 && call.effect != SIM_NOTHING)
        rc = sim_allocate_apply(disk, inode, position, size);
    return (int)sim_call_end(&call, rc);
}

static void sync_apply(struct sim_disk *disk, struct sim_inode *inode, enum sim_effect effect)
{
    struct sim_store *store = &disk->store;
    if (effect == SIM_DROPPED) {
        if (inode->is_dir)
            sim_dir_drop(store, inode);
        else
            sim_file_drop(inode);
    } else if (effect == SIM_EVERYTHING) {
        if (!inode->is_dir)
            sim_file_commit(store, inode);
        if (inode->is_dir || disk->options.ext4_like)
            sim_dir_commit(store, disk->options.ext4_like ? NULL : inode);
    }
}

static int sim_sync(struct wal_io *io, int handle)
{
    struct sim_disk *disk = disk_of(io);
    struct sim_inode *inode = handle_inode(disk, handle);
    enum sim_kind kind = inode && inode->is_dir ? SIM_SYNC_DIR : SIM_SYNC_FILE;
    struct call call = call_sync(disk, kind, inode, NULL, 0, 0);
    int rc = inode ? 0 : sim_handle_error(disk, handle);
    if (rc == 0)
        sync_apply(disk, inode, call.effect);
    return (int)sim_call_end(&call, rc);
}

static int64_t sim_read(struct wal_io *io, int handle, void *data, size_t size, uint64_t position)
{
    struct sim_disk *disk = disk_of(io);
    struct sim_inode *inode = handle_inode(disk, handle);
    struct call call = call_sync(disk, SIM_READ, inode, NULL, position, size);
    int64_t result = file_at(disk, handle, false, data, size, position);
    if (result == 0 && !call.error) {
        bool direct = disk->handles[handle - disk->handle_base].flags & WAL_OPEN_DIRECT;
        uint64_t rest = position < inode->size ? inode->size - position : 0;
        uint64_t bytes = min_u64(size, rest);
        result = (int64_t)bytes;
        for (struct sim_read_fault *fault = inode->read_faults; fault; fault = fault->next) {
            if (position < fault->end && fault->begin < position + bytes)
                result = fault->error;
        }
        if (result > 0)
            sim_file_read(inode, direct ? SIM_DIRECT : SIM_CACHED, data, bytes, position);
    }
    return sim_call_end(&call, result);
}

static int64_t sim_bytes(struct wal_io *io, int handle)
{
    struct sim_disk *disk = disk_of(io);
    struct sim_inode *inode = handle_inode(disk, handle);
    struct call call = call_sync(disk, SIM_FILE_BYTES, inode, NULL, 0, 0);
    int64_t result = file_at(disk, handle, false, NULL, 0, 0);
    if (result == 0)
        result = (int64_t)inode->size;
    return sim_call_end(&call, result);
}

static int sim_lock(struct wal_io *io, int dir, const char *name)
{
    struct sim_disk *disk = disk_of(io);
    struct call call = call_sync(disk, SIM_LOCK, NULL, name, 0, 0);
    int rc = 0;
    if (call.effect != SIM_NOTHING) {
        struct sim_inode *inode;
        rc = inode_at(disk, dir, name, &inode);
        if (rc == -ENOENT)
            rc = file_create(disk, dir, name, &inode);
        if (rc == 0 && inode->locked)
            rc = -EWOULDBLOCK;
        if (rc == 0)
            rc = open_inode(&call, inode, 0);
        if (rc >= 0) {
            inode->locked = true;
            sim_handle_find(disk, rc)->is_lock = true;
        }
    }
    return (int)sim_call_end(&call, rc);
}

static int sim_free_bytes(struct wal_io *io, int dir, uint64_t *ret_free, uint64_t *ret_total)
{
    struct sim_disk *disk = disk_of(io);
    struct call call = call_sync(disk, SIM_FREE_BYTES, handle_inode(disk, dir), NULL, 0, 0);
    int rc = dir == WAL_IO_CWD || handle_inode(disk, dir) ? 0 : sim_handle_error(disk, dir);
    rc = (int)sim_call_end(&call, rc);
    if (rc < 0)
        return rc;
    uint64_t capacity = disk->options.capacity_blocks ? disk->options.capacity_blocks : 1u << 28;
    uint64_t used = min_u64(disk->store.used_blocks, capacity);
    *ret_free = (capacity - used) * WAL_BLOCK_BYTES;
    *ret_total = capacity * WAL_BLOCK_BYTES;
    return 0;
}

static int sim_random(struct wal_io *io, void *data, size_t size)
{
    struct sim_disk *disk = disk_of(io);
    struct call call = call_sync(disk, SIM_RANDOM, NULL, NULL, 0, size);
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
        uint64_t word = rng_next(&disk->bytes_rng);
        memcpy((uint8_t *)data + at, &word, min_u64(size - at, sizeof(word)));
    }
    return (int)sim_call_end(&call, 0);
}

/* --- Clocks ----------------------------------------------------------------------------------- */

static uint64_t sim_monotonic_us(struct wal_io *io)
{
    /* Moves, so that a loop that only looks at the clock ends. */
    return disk_of(io)->now_us++;
}

static uint64_t sim_realtime_ns(struct wal_io *io)
{
    struct sim_disk *disk = disk_of(io);
    uint32_t chance = disk->options.clock_jump_ppm;
    if (chance && rng_below(&disk->rng, 1000000) < chance) {
        int64_t seconds = (int64_t)rng_below(&disk->rng, 2 * 86400 + 1) - 86400;
        disk->realtime_step_ns += seconds * 1000000000;
    }
    const uint64_t start_ns = 1700000000000000000u;
    /* Finer than the clock that the disk runs by: no two digits of it are always zero. */
    uint64_t fine_ns = disk->now_us * 379 % 1000;
    return start_ns + disk->now_us++ * 1000 + fine_ns + (uint64_t)disk->realtime_step_ns;
}

/* --- The table -------------------------------------------------------------------------------- */

static void sim_io_free(struct wal_io *io)
{
    must(sim_rings(disk_of(io)) == 0 && sim_handles(disk_of(io)) == 0);
}

const struct wal_io_ops sim_io_table = {
    .name = "sim",
    .free = sim_io_free,
    .open_dir = sim_open_dir,
    .open_file = sim_open_file,
    .close = sim_close,
    .make_dir = sim_make_dir,
    .rename = sim_rename,
    .replace = sim_replace,
    .remove_file = sim_remove_file,
    .remove_dir = sim_remove_dir,
    .list = sim_list_dir,
    .sync = sim_sync,
    .read = sim_read,
    .write = sim_write,
    .allocate = sim_allocate,
    .file_bytes = sim_bytes,
    .lock = sim_lock,
    .free_bytes = sim_free_bytes,
    .monotonic_us = sim_monotonic_us,
    .realtime_ns = sim_realtime_ns,
    .random = sim_random,
    .ring_new = sim_ring_new,
    .ring_free = sim_ring_free,
    .ring_submit = sim_ring_submit,
    .overlaps = true,
    .ring_wait = sim_ring_wait,
    .ring_wake = sim_ring_wake,
    .ring_poll_fd = sim_ring_poll_fd,
};
