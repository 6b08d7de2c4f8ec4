/*
 * Reading a log in order. Frames are immutable once durable, so readers share nothing with the
 * committer but a few numbers: which segments there are, and where the committed part of each ends.
 *
 * Reads go through the page cache first. A frame that does not check out there is read again from
 * the disk itself before it is called damaged: read-ahead may have cached blocks of zeros just
 * before a direct write filled them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wal/compress.h"
#include "wal/log.h"

#define WINDOW_BYTES (256u << 10)

/* The part of a segment's facts that a reader needs, copied under the log's lock. */
struct extent {
    uint64_t segment_no;
    uint16_t kind;
    uint64_t salt; /* of this file of the segment: a packed one has another */
    uint64_t base_offset;
    uint64_t end; /* bytes up to the end of the last committed frame */
    uint64_t end_offset;
    uint64_t next_base; /* base_offset of the next segment, or end_offset of the last one */
};

struct wal_cursor {
    struct wal *wal;
    uint64_t offset; /* of the next record to return */

    bool has_extent;
    struct extent extent;
    int handle;        /* of the segment, through the page cache; -1: closed */
    int direct_handle; /* past the page cache, opened when something does not check out */

    uint8_t *window; /* what was read of the file */
    size_t capacity;
    uint64_t window_begin, window_end;
    struct unpacked unpacked; /* the frame at hand, if it is compressed */

    uint64_t position; /* of the frame that follows the current one, or of the first to look at */
    bool in_frame;
    struct frame_header frame;
    struct item_walk walk;
    uint64_t frame_next; /* offset of the next record in the walk … */
    uint64_t bytes_next; /* … and the bytes of all records of the log before it */
};

int wal_cursor_open(struct wal_cursor **ret_cursor, struct wal *wal, uint64_t offset)
{
    struct wal_cursor *cursor = calloc(1, sizeof(*cursor));
    if (!cursor)
        return -ENOMEM;
    cursor->wal = wal;
    cursor->offset = offset;
    cursor->handle = cursor->direct_handle = -1;
    *ret_cursor = cursor;
    return 0;
}

static void close_handles(struct wal_cursor *cursor)
{
    struct wal_io *io = cursor->wal->store->io;
    if (cursor->handle >= 0)
        read_handle_keep(cursor->wal, cursor->extent.segment_no, cursor->extent.salt,
                         cursor->handle);
    if (cursor->direct_handle >= 0)
        io->ops->close(io, cursor->direct_handle);
    cursor->handle = cursor->direct_handle = -1;
}

static void leave_segment(struct wal_cursor *cursor)
{
    close_handles(cursor);
    cursor->has_extent = cursor->in_frame = false;
    cursor->window_begin = cursor->window_end = 0;
}

void wal_cursor_close(struct wal_cursor *cursor)
{
    if (!cursor)
        return;
    close_handles(cursor);
    buffer_put(&cursor->wal->store->scratch, cursor->window, cursor->capacity);
    unpacked_done(&cursor->unpacked);
    free(cursor);
}

void wal_cursor_closep(struct wal_cursor **cursor)
{
    wal_cursor_close(*cursor);
}

void wal_cursor_seek(struct wal_cursor *cursor, uint64_t offset)
{
    /* Going on within the frame at hand costs nothing; anything else looks the offset up again. */
    if (cursor->in_frame && offset == cursor->offset)
        return;
    cursor->offset = offset;
    leave_segment(cursor);
}

/* ---- finding segments and frames ---- */

static struct segment *find_segment_locked(const struct wal *wal, uint64_t offset)
{
    /* The last segment that begins at or before the offset: several may begin at the same one when
     * the earlier of them hold no records. */
    size_t low = 0, high = wal->segment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (wal->segments[middle]->header.base_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? wal->segments[low - 1] : NULL;
}

static void copy_extent_locked(const struct wal *wal, const struct segment *segment,
                               struct extent *extent)
{
    *extent = (struct extent){
        .segment_no = segment->header.segment_no,
        .kind = segment->header.kind,
        .salt = segment->header.salt,
        .base_offset = segment->header.base_offset,
        .end = segment->end,
        .end_offset = segment->end_offset,
        .next_base = segment->end_offset,
    };
    for (size_t i = 0; i + 1 < wal->segment_count; i++) {
        if (wal->segments[i] == segment)
            extent->next_base = wal->segments[i + 1]->header.base_offset;
    }
    if (DEFECT(READ_PAST_COMMIT)) {
        extent->end = segment->file_bytes;
        extent->end_offset = UINT64_MAX;
    }
}

static bool is_committed(const struct wal_cursor *cursor)
{
    if (DEFECT(READ_PAST_COMMIT))
        return true;
    /* Pairs with the store in commit.c: the frame below this offset is on the disk. */
    return cursor->offset <
           atomic_load_explicit(&cursor->wal->committed_offset, memory_order_acquire);
}

/* Finds the segment of the cursor's offset and a place in it from which to look for the frame.
 * Errors: -ENODATA, -ERANGE; -EBADMSG: the offset lies before the first segment there is. */
static int enter_segment(struct wal_cursor *cursor, struct wal_entry *entry)
{
    struct wal *wal = cursor->wal;
    int rc = 0;
    leave_segment(cursor);
    pthread_mutex_lock(&wal->lock);
    struct segment *segment = find_segment_locked(wal, cursor->offset);
    if (cursor->offset < wal->first_offset) {
        rc = -ERANGE;
    } else if (!is_committed(cursor)) {
        rc = -ENODATA;
    } else if (!segment) {
        entry->gap_end = wal->segments[0]->header.base_offset;
        rc = -EBADMSG;
    } else {
        copy_extent_locked(wal, segment, &cursor->extent);
        cursor->position = frame_index_find(&segment->index, cursor->offset, WAL_BLOCK_BYTES);
    }
    pthread_mutex_unlock(&wal->lock);
    cursor->has_extent = rc == 0;
    return rc;
}

static bool is_same_file(const struct wal_cursor *cursor, const struct segment *segment)
{
    return segment && segment->header.segment_no == cursor->extent.segment_no &&
           segment->header.salt == cursor->extent.salt;
}

/* The active segment has grown: its committed end moves. One that was packed meanwhile has positions
 * of its own: it is entered anew. */
static void refresh_extent(struct wal_cursor *cursor)
{
    struct wal *wal = cursor->wal;
    pthread_mutex_lock(&wal->lock);
    struct segment *segment = find_segment_locked(wal, cursor->offset);
    bool same = is_same_file(cursor, segment);
    bool packed = !same && segment && segment->header.segment_no == cursor->extent.segment_no;
    if (same)
        copy_extent_locked(wal, segment, &cursor->extent);
    pthread_mutex_unlock(&wal->lock);
    if (packed)
        leave_segment(cursor);
}

static void note_in_index(struct wal_cursor *cursor, const struct frame_header *frame)
{
    struct wal *wal = cursor->wal;
    pthread_mutex_lock(&wal->lock);
    struct segment *segment = find_segment_locked(wal, frame->base_offset);
    if (is_same_file(cursor, segment))
        frame_index_add(&segment->index, frame->base_offset, frame->timestamp_ns, frame->position);
    pthread_mutex_unlock(&wal->lock);
}

/* ---- reading the file ---- */

static int open_segment(struct wal_cursor *cursor, unsigned flags)
{
    struct wal *wal = cursor->wal;
    struct wal_io *io = wal->store->io;
    int dir = log_open_dir(wal);
    if (dir < 0)
        return dir;
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, cursor->extent.segment_no);
    int handle = io->ops->open_file(io, dir, name, flags);
    io->ops->close(io, dir);
    return handle;
}

static int reserve_window(struct wal_cursor *cursor, uint64_t bytes)
{
    if (bytes <= cursor->capacity)
        return 0;
    struct buffer_pool *pool = &cursor->wal->store->scratch;
    buffer_put(pool, cursor->window, cursor->capacity);
    cursor->capacity = 0;
    cursor->window = buffer_get(pool, bytes, &cursor->capacity);
    cursor->window_begin = cursor->window_end = 0;
    return cursor->window ? 0 : -ENOMEM;
}

static int fill_window(struct wal_cursor *cursor, int handle, uint64_t position, uint64_t bytes)
{
    struct wal_io *io = cursor->wal->store->io;
    int rc = reserve_window(cursor, bytes);
    if (rc < 0)
        return rc;
    cursor->window_begin = cursor->window_end = 0;
    int64_t got = io->ops->read(io, handle, cursor->window, bytes, position);
    if (got < 0)
        return (int)got;
    /* A file that ends early is damage, which the checksums will tell. */
    memset(cursor->window + got, 0, bytes - (uint64_t)got);
    cursor->window_begin = position;
    cursor->window_end = position + bytes;
    return 0;
}

/* A segment may be packed between looking it up and opening its file, or between two openings: then
 * the file's header tells. Errors: from reading. */
static int read_packed_header(struct wal_cursor *cursor, int handle,
                              struct segment_header *ret_header, bool *ret_other)
{
    *ret_other = false;
    if (!cursor->wal->store->config.pack || cursor->extent.kind != SEGMENT_APPENDED)
        return 0;
    int rc = fill_window(cursor, handle, 0, WAL_BLOCK_BYTES);
    if (rc == -ENOMEM)
        return rc;
    *ret_other = rc == 0 && segment_header_decode(ret_header, cursor->window) == 0 &&
                 segment_is_packed(ret_header) && ret_header->salt != cursor->extent.salt &&
                 ret_header->segment_no == cursor->extent.segment_no &&
                 memcmp(&ret_header->log, &cursor->wal->id, sizeof(ret_header->log)) == 0;
    cursor->window_begin = cursor->window_end = 0;
    return 0;
}

/* Errors: -ESTALE: it is not the file that the extent is of, but the cursor has all it takes to look
 * for its offset once more. */
static int open_cached(struct wal_cursor *cursor)
{
    struct segment_header header;
    bool other;
    cursor->handle = read_handle_take(cursor->wal, cursor->extent.segment_no, cursor->extent.salt);
    if (cursor->handle >= 0)
        return 0;
    cursor->handle = open_segment(cursor, WAL_OPEN_READ);
    if (cursor->handle < 0)
        return cursor->handle;
    int rc = read_packed_header(cursor, cursor->handle, &header, &other);
    if (rc < 0) {
        close_handles(cursor);
        return rc;
    }
    if (!other)
        return 0;
    cursor->extent.kind = header.kind;
    cursor->extent.salt = header.salt;
    cursor->extent.end = header.seal.end;
    cursor->extent.end_offset = cursor->extent.next_base = header.seal.end_offset;
    cursor->position = WAL_BLOCK_BYTES;
    return -ESTALE;
}

/* Errors: as open_cached(). */
static int open_direct(struct wal_cursor *cursor)
{
    struct segment_header header;
    bool other, direct = cursor->wal->store->io->direct;
    cursor->direct_handle = open_segment(cursor, direct ? WAL_OPEN_DIRECT : WAL_OPEN_UNCACHED);
    if (cursor->direct_handle < 0)
        return cursor->direct_handle;
    int rc = read_packed_header(cursor, cursor->direct_handle, &header, &other);
    if (rc == 0 && !other)
        return 0;
    leave_segment(cursor);
    return rc < 0 ? rc : -ESTALE;
}

/* Makes [position, position + bytes) of the segment addressable, bytes at most up to its end. */
static int read_window(struct wal_cursor *cursor, uint64_t position, uint64_t bytes,
                       const uint8_t **ret_data)
{
    if (position < cursor->window_begin || position + bytes > cursor->window_end) {
        int rc = cursor->handle < 0 ? open_cached(cursor) : 0;
        if (rc < 0)
            return rc;
        uint64_t ahead = min_u64(WINDOW_BYTES, cursor->extent.end - position);
        rc = fill_window(cursor, cursor->handle, position, max_u64(bytes, ahead));
        if (rc == -EIO && ahead > bytes) /* it may lie in what was not asked for */
            rc = fill_window(cursor, cursor->handle, position, bytes);
        if (rc < 0)
            return rc;
    }
    *ret_data = cursor->window + (position - cursor->window_begin);
    return 0;
}

/* The same from the disk itself. */
static int read_direct(struct wal_cursor *cursor, uint64_t position, uint64_t bytes,
                       const uint8_t **ret_data)
{
    int rc = cursor->direct_handle < 0 ? open_direct(cursor) : 0;
    if (rc < 0)
        return rc;
    rc = fill_window(cursor, cursor->direct_handle, position, bytes);
    *ret_data = cursor->window;
    return rc;
}

typedef int read_fn(struct wal_cursor *cursor, uint64_t position, uint64_t bytes,
                    const uint8_t **ret_data);

/* Decodes the frame at a position. Errors: -EBADMSG; others from reading. */
static int decode_frame(struct wal_cursor *cursor, read_fn *read, uint64_t position,
                        struct frame_header *ret_frame, const uint8_t **ret_items, bool deep)
{
    const struct extent *extent = &cursor->extent;
    const uint8_t *data;
    if (position + WAL_BLOCK_BYTES > extent->end)
        return -EBADMSG;
    int rc = read(cursor, position, WAL_BLOCK_BYTES, &data);
    if (rc < 0)
        return rc;
    if (frame_header_decode(ret_frame, extent->salt, position, data) < 0)
        return -EBADMSG;
    uint64_t bytes = frame_bytes(ret_frame->body_bytes);
    if (position + bytes > extent->end || ret_frame->base_offset < extent->base_offset ||
        ret_frame->base_offset + ret_frame->record_count > extent->end_offset)
        return -EBADMSG;
    if (!ret_items)
        return 0;
    rc = read(cursor, position, bytes, &data);
    if (rc < 0)
        return rc;
    return frame_open(&cursor->unpacked, ret_frame, data + FRAME_HEADER_BYTES, deep, ret_items);
}

static int load_frame(struct wal_cursor *cursor, uint64_t position, struct frame_header *ret_frame,
                      const uint8_t **ret_items)
{
    bool deep = !DEFECT(SKIP_ITEM_CHECK);
    int rc = decode_frame(cursor, read_window, position, ret_frame, ret_items, ret_items && deep);
    if (rc != -EBADMSG)
        return rc;
    rc = decode_frame(cursor, read_direct, position, ret_frame, ret_items, ret_items && deep);
    if (rc == -EBADMSG && ret_items && deep) /* one record may be damaged, the others not */
        rc = decode_frame(cursor, read_direct, position, ret_frame, ret_items, false);
    return rc;
}

/* ---- moving ---- */

/* The frame at cursor->position cannot be read: finds the next one that can, and tells the gap. */
static int skip_damage(struct wal_cursor *cursor, struct wal_entry *entry)
{
    const struct extent *extent = &cursor->extent;
    struct frame_header frame;
    uint64_t gap_end = extent->next_base, position = cursor->position + WAL_BLOCK_BYTES;
    for (; position < extent->end; position += WAL_BLOCK_BYTES) {
        int rc = decode_frame(cursor, read_window, position, &frame, NULL, false);
        /* The frame that holds the offset, or the first one behind it. */
        if (rc == 0 && (frame.base_offset >= cursor->offset ||
                        frame.base_offset + frame.record_count > cursor->offset)) {
            gap_end = max_u64(frame.base_offset, cursor->offset);
            break;
        }
        if (rc < 0 && rc != -EBADMSG)
            return rc;
    }
    cursor->position = position;
    entry->gap_end = gap_end;
    if (entry->gap_end <= cursor->offset)
        return 0; /* nothing was lost but frames without records, or before the offset */
    cursor->offset = entry->gap_end;
    return -EBADMSG;
}

/* The cursor stands behind the last frame of its segment, or in none: finds where to go on.
 * Errors: as wal_cursor_next(). */
static int find_segment(struct wal_cursor *cursor, struct wal_entry *entry)
{
    if (cursor->has_extent)
        refresh_extent(cursor);
    if (cursor->has_extent && cursor->position < cursor->extent.end)
        return 0;
    if (DEFECT(READ_PAST_COMMIT) && cursor->has_extent)
        return -ENODATA;
    if (cursor->has_extent && cursor->offset < cursor->extent.next_base) {
        entry->gap_end = cursor->offset = cursor->extent.next_base; /* a segment is missing */
        leave_segment(cursor);
        return -EBADMSG;
    }
    int rc = enter_segment(cursor, entry);
    if (rc == -EBADMSG)
        cursor->offset = entry->gap_end;
    return rc;
}

/* Looks at the frame at the cursor's position and moves behind it; *ret_items stays NULL if the
 * cursor's offset is not in it. Errors: as wal_cursor_next(). */
static int take_frame(struct wal_cursor *cursor, struct wal_entry *entry, const uint8_t **ret_items)
{
    struct frame_header frame;
    int rc = load_frame(cursor, cursor->position, &frame, NULL);
    if (rc == 0 && frame.base_offset > cursor->offset) {
        entry->gap_end = cursor->offset = frame.base_offset; /* the frames before it are gone */
        return -EBADMSG;
    }
    if (rc == 0 && frame.base_offset + frame.record_count > cursor->offset)
        rc = load_frame(cursor, cursor->position, &frame, ret_items);
    if (rc < 0)
        *ret_items = NULL; /* what did not check out is not to be walked, whatever comes next */
    if (rc == -EBADMSG)
        return skip_damage(cursor, entry);
    if (rc < 0)
        return rc;
    note_in_index(cursor, &frame);
    cursor->position += frame_bytes(frame.body_bytes);
    cursor->frame = frame;
    return 0;
}

/* Moves into the frame that holds the cursor's offset. Errors: as wal_cursor_next(). */
static int find_frame(struct wal_cursor *cursor, struct wal_entry *entry)
{
    const uint8_t *items = NULL;
    while (!items) {
        if (!is_committed(cursor))
            return -ENODATA;
        int rc = 0;
        if (!cursor->has_extent || cursor->position >= cursor->extent.end)
            rc = find_segment(cursor, entry);
        if (rc == 0 && cursor->position < cursor->extent.end)
            rc = take_frame(cursor, entry, &items);
        if (rc < 0 && rc != -ESTALE)
            return rc;
    }
    cursor->frame_next = cursor->frame.base_offset;
    cursor->bytes_next = cursor->frame.base_bytes;
    cursor->walk = item_walk_of(&cursor->frame, items);
    cursor->in_frame = true;
    return 0;
}

/* The next record of the frame at hand that is not before the cursor's offset.
 * Errors: -ENODATA: the frame ends; -EBADMSG: this record is damaged. */
static int next_in_frame(struct wal_cursor *cursor, struct wal_entry *entry)
{
    struct item item;
    while (item_next(&cursor->walk, &item) == 0) {
        if (item.kind != ITEM_RECORD)
            continue;
        uint64_t offset = cursor->frame_next++;
        uint64_t bytes_before = cursor->bytes_next;
        cursor->bytes_next += item.data_bytes;
        if (offset < cursor->offset)
            continue;
        cursor->offset = offset + 1;
        *entry = (struct wal_entry){
            .offset = offset,
            .bytes_before = bytes_before,
            .timestamp_ns = item.timestamp_ns,
            .data = item.data,
            .size = item.data_bytes,
            .attributes = item.attributes,
            .attribute_bytes = item.attribute_bytes,
            .gap_end = offset + 1,
        };
        if (DEFECT(UNPACK_UNCHECKED) && cursor->frame.flags & FRAME_COMPRESSED)
            return 0;
        if (!DEFECT(SKIP_ITEM_CHECK) && !item_is_intact(&item))
            return -EBADMSG;
        return 0;
    }
    cursor->in_frame = false;
    return -ENODATA;
}

static int below_first(const struct wal_cursor *cursor)
{
    return cursor->offset < atomic_load_explicit(&cursor->wal->first_offset, memory_order_acquire)
               ? -ERANGE
               : 0;
}

int wal_cursor_next(struct wal_cursor *cursor, struct wal_entry *ret_entry)
{
    for (;;) {
        *ret_entry = (struct wal_entry){.offset = cursor->offset};
        int rc = below_first(cursor);
        if (rc < 0)
            return rc;
        if (cursor->in_frame) {
            rc = next_in_frame(cursor, ret_entry);
            if (rc != -ENODATA)
                return rc;
        }
        rc = find_frame(cursor, ret_entry);
        if (rc == -ENOENT) {
            /* The file was removed between looking it up and opening it: trimmed, or deleted. */
            leave_segment(cursor);
            rc = below_first(cursor) < 0 ? -ERANGE : -ENOENT;
        }
        if (rc < 0)
            return rc;
    }
}

int wal_bytes_before(struct wal *wal, uint64_t offset, uint64_t *ret_bytes)
{
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    struct wal_positions positions;
    struct wal_entry entry;
    wal_positions(wal, &positions);
    if (offset < positions.first_offset)
        return -ERANGE;
    if (offset == positions.committed_offset || offset == 0) {
        *ret_bytes = offset == 0 ? 0 : positions.committed_bytes;
        return 0;
    }
    int rc = wal_cursor_open(&cursor, wal, offset);
    if (rc == 0)
        rc = wal_cursor_next(cursor, &entry);
    if (rc == -EBADMSG && entry.offset == offset && entry.gap_end == offset + 1 &&
        entry.size > 0) /* the record alone is damaged: where it begins is known */
        rc = 0;
    if (rc == 0)
        *ret_bytes = entry.bytes_before;
    return rc;
}

/* ---- by time ---- */

static uint64_t first_offset_before(struct wal *wal, uint64_t timestamp_ns)
{
    pthread_mutex_lock(&wal->lock);
    size_t low = 0, high = wal->segment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (wal->segments[middle]->header.created_ns < timestamp_ns)
            low = middle + 1;
        else
            high = middle;
    }
    uint64_t offset = wal->first_offset;
    if (low > 0) {
        const struct segment *segment = wal->segments[low - 1];
        offset =
            frame_index_offset_before(&segment->index, timestamp_ns, segment->header.base_offset);
    }
    offset = max_u64(offset, wal->first_offset);
    pthread_mutex_unlock(&wal->lock);
    return offset;
}

int wal_offset_at(struct wal *wal, uint64_t timestamp_ns, uint64_t *ret_offset)
{
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    uint64_t offset = first_offset_before(wal, timestamp_ns);
    int rc = wal_cursor_open(&cursor, wal, offset);
    if (rc < 0)
        return rc;

    for (;;) {
        struct wal_entry entry;
        rc = wal_cursor_next(cursor, &entry);
        if (rc == -ERANGE) { /* trimmed meanwhile */
            struct wal_positions positions;
            wal_positions(wal, &positions);
            wal_cursor_seek(cursor, positions.first_offset);
            continue;
        }
        if (rc == -EBADMSG)
            continue;
        if (rc == -ENODATA)
            break;
        if (rc < 0)
            return rc;
        if (entry.timestamp_ns >= timestamp_ns) {
            *ret_offset = entry.offset;
            return 0;
        }
    }
    struct wal_positions positions;
    wal_positions(wal, &positions);
    *ret_offset = positions.committed_offset;
    return 0;
}

uint64_t wal_offset_of_last(struct wal *wal, uint64_t count)
{
    struct wal_positions positions;
    wal_positions(wal, &positions);
    uint64_t kept = positions.committed_offset - positions.first_offset;
    return positions.committed_offset - min_u64(count, kept);
}

void wal_shrink(struct wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    for (size_t i = 0; i + 1 < wal->segment_count; i++)
        frame_index_done(&wal->segments[i]->index);
    pthread_mutex_unlock(&wal->lock);
}
