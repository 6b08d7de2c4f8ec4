/*
 * Files of segments that were read lately, kept open for whoever reads there next: to find one by its name
 * and to look at its header is a good part of what a short read costs.
 *
 * A kept handle stands for one file of one segment, which its salt tells; frames in it never change. The
 * cursor that takes a handle has it alone. One of a segment that is trimmed, packed, deleted or closed is
 * closed as well: else it would keep the space of the file. And so is one that nobody has used for a while.
 */
#include "wal/log.h"

/* Who reads a log step by step comes back sooner. */
#define KEPT_US 1000000

void read_handles_init(struct store *store)
{
    pthread_mutex_init(&store->read_handles.lock, NULL);
    for (size_t i = 0; i < READ_HANDLES_MAX; i++)
        store->read_handles.kept[i].handle = -1;
}

void read_handles_done(struct store *store)
{
    for (size_t i = 0; i < READ_HANDLES_MAX; i++)
        must(store->read_handles.kept[i].handle < 0);
    pthread_mutex_destroy(&store->read_handles.lock);
}

int read_handle_take(struct wal *wal, uint64_t segment_no, uint64_t salt)
{
    struct read_handles *handles = &wal->store->read_handles;
    int handle = -1;
    pthread_mutex_lock(&handles->lock);
    for (size_t i = 0; i < READ_HANDLES_MAX && handle < 0; i++) {
        struct kept_handle *kept = &handles->kept[i];
        if (kept->handle < 0 || kept->wal != wal || kept->segment_no != segment_no ||
            kept->salt != salt)
            continue;
        handle = kept->handle;
        kept->handle = -1;
    }
    pthread_mutex_unlock(&handles->lock);
    return handle;
}

/* Into a free place, or into that of the one used longest ago; what is to be closed then, or -1. */
static int replace(struct read_handles *handles, const struct kept_handle *newest)
{
    pthread_mutex_lock(&handles->lock);
    struct kept_handle *place = &handles->kept[0];
    for (size_t i = 0; i < READ_HANDLES_MAX && place->handle >= 0; i++) {
        struct kept_handle *kept = &handles->kept[i];
        if (kept->handle < 0 || kept->used_us < place->used_us)
            place = kept;
    }
    int left = place->handle;
    *place = *newest;
    pthread_mutex_unlock(&handles->lock);
    return left;
}

static bool has_segment_locked(const struct wal *wal, uint64_t segment_no, uint64_t salt)
{
    for (size_t i = wal->segment_count; i-- > 0 && !wal->deleted;) {
        const struct segment_header *header = &wal->segments[i]->header;
        if (header->segment_no == segment_no)
            return header->salt == salt;
    }
    return false;
}

void read_handle_keep(struct wal *wal, uint64_t segment_no, uint64_t salt, int handle)
{
    const struct kept_handle newest = {.wal = wal,
                                       .segment_no = segment_no,
                                       .salt = salt,
                                       .handle = handle,
                                       .used_us = store_now_us(wal->store)};
    int left = handle;
    /* In one with the look: whoever takes the segment away afterwards finds the handle. */
    pthread_mutex_lock(&wal->lock);
    if (has_segment_locked(wal, segment_no, salt))
        left = replace(&wal->store->read_handles, &newest);
    pthread_mutex_unlock(&wal->lock);
    if (left >= 0)
        wal->store->io->ops->close(wal->store->io, left);
}

/* Closes those that `is_to_go` picks. Returns when the one of the others was used that was used longest
 * ago; UINT64_MAX: there is none. */
static uint64_t close_some(struct store *store,
                           bool (*is_to_go)(const struct kept_handle *kept, const void *what),
                           const void *what)
{
    struct read_handles *handles = &store->read_handles;
    uint64_t oldest_us = UINT64_MAX;
    int left[READ_HANDLES_MAX];
    size_t count = 0;
    pthread_mutex_lock(&handles->lock);
    for (size_t i = 0; i < READ_HANDLES_MAX; i++) {
        struct kept_handle *kept = &handles->kept[i];
        if (kept->handle < 0)
            continue;
        if (is_to_go(kept, what)) {
            left[count++] = kept->handle;
            kept->handle = -1;
        } else {
            oldest_us = min_u64(oldest_us, kept->used_us);
        }
    }
    pthread_mutex_unlock(&handles->lock);
    while (count > 0)
        store->io->ops->close(store->io, left[--count]);
    return oldest_us;
}

struct gone {
    const struct wal *wal;
    uint64_t segment_no;
};

static bool is_gone(const struct kept_handle *kept, const void *what)
{
    const struct gone *gone = what;
    return kept->wal == gone->wal &&
           (gone->segment_no == UINT64_MAX || kept->segment_no == gone->segment_no);
}

void read_handles_forget(struct wal *wal, uint64_t segment_no)
{
    (void)close_some(wal->store, is_gone, &(struct gone){wal, segment_no});
}

static bool is_unused(const struct kept_handle *kept, const void *now_us)
{
    return kept->used_us + KEPT_US <= *(const uint64_t *)now_us;
}

uint64_t store_close_unread(struct store *store)
{
    const uint64_t now_us = store_now_us(store);
    const uint64_t oldest_us = close_some(store, is_unused, &now_us);
    return oldest_us == UINT64_MAX ? UINT64_MAX : oldest_us + KEPT_US - now_us;
}
