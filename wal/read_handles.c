/*
 * Files of segments that were read lately, kept open for whoever reads there next: to find one by its name
 * and to look at its header is a good part of what a short read costs.
 *
 * A kept handle stands for one file of one segment, which its salt tells; frames in it never change. The
 * cursor that takes a handle has it alone. One of a segment that is trimmed, packed, deleted or closed is
 * closed as well: else it would keep the space of the file.
 */
#include "wal/log.h"

static bool is_of(const struct kept_handle *kept, const struct wal *wal)
{
    return kept->handle >= 0 && kept->wal == wal;
}

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
        if (!is_of(kept, wal) || kept->segment_no != segment_no || kept->salt != salt)
            continue;
        handle = kept->handle;
        kept->handle = -1;
    }
    pthread_mutex_unlock(&handles->lock);
    return handle;
}

/* Into a free place, or into that of the one kept longest; what is to be closed then, or -1. */
static int replace(struct read_handles *handles, const struct kept_handle *newest)
{
    pthread_mutex_lock(&handles->lock);
    struct kept_handle *place = &handles->kept[0];
    for (size_t i = 0; i < READ_HANDLES_MAX && place->handle >= 0; i++) {
        struct kept_handle *kept = &handles->kept[i];
        if (kept->handle < 0 || kept->turn < place->turn)
            place = kept;
    }
    int left = place->handle;
    *place = *newest;
    place->turn = ++handles->turns;
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
    const struct kept_handle newest = {
        .wal = wal, .segment_no = segment_no, .salt = salt, .handle = handle};
    int left = handle;
    /* In one with the look: whoever takes the segment away afterwards finds the handle. */
    pthread_mutex_lock(&wal->lock);
    if (has_segment_locked(wal, segment_no, salt))
        left = replace(&wal->store->read_handles, &newest);
    pthread_mutex_unlock(&wal->lock);
    if (left >= 0)
        wal->store->io->ops->close(wal->store->io, left);
}

void read_handles_forget(struct wal *wal, uint64_t segment_no)
{
    struct read_handles *handles = &wal->store->read_handles;
    int left[READ_HANDLES_MAX];
    size_t count = 0;
    pthread_mutex_lock(&handles->lock);
    for (size_t i = 0; i < READ_HANDLES_MAX; i++) {
        struct kept_handle *kept = &handles->kept[i];
        if (!is_of(kept, wal) || (segment_no != UINT64_MAX && kept->segment_no != segment_no))
            continue;
        left[count++] = kept->handle;
        kept->handle = -1;
    }
    pthread_mutex_unlock(&handles->lock);
    while (count > 0)
        wal->store->io->ops->close(wal->store->io, left[--count]);
}
