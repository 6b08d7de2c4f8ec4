/*
 * Opening a log: reading what its directory holds, and telling a torn end from damage.
 *
 * Sealed segments are checked by their headers; their frames are verified when they are read. The
 * last segment is read whole, from the disk and not from the page cache: after a failed sync the
 * cache may show bytes that the disk lacks. Where the chain of valid frames ends, one of four
 * things is true:
 *
 *   clean     nothing but zeros follows
 *   damaged   a later frame proves that this place had been durable; or what stands here cannot
 *             come from a torn write, which leaves each sector whole, and so zero or as written
 *   torn      a write that was never acknowledged: its bytes are set aside in a file and cleared
 *
 * A damaged log is left exactly as it is. It opens for reading, tells where it is damaged, and
 * takes no appends.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/compress.h"
#include "wal/log.h"

/* Frames that do not fit what is left of a window are read again: a window is much larger. */
#define SCAN_BYTES (8u << 20)

/* ---- a window on a file ---- */

struct window {
    struct wal_io *io;
    struct buffer_pool *pool;
    int handle;
    uint64_t file_bytes; /* rounded up to blocks; what the file lacks of that reads as zeros */
    uint8_t *data;
    size_t capacity;
    uint64_t begin, end; /* what `data` holds */
};

static void window_done(struct window *window)
{
    buffer_put(window->pool, window->data, window->capacity);
}

/* Makes [position, position + bytes) of the file addressable; block-aligned, within file_bytes.
 * Errors: from reading; -ENOMEM. */
static int window_get(struct window *window, uint64_t position, uint64_t bytes,
                      const uint8_t **ret_data)
{
    if (position < window->begin || position + bytes > window->end) {
        uint64_t wanted = min_u64(max_u64(bytes, SCAN_BYTES), window->file_bytes - position);
        if (wanted > window->capacity) {
            buffer_put(window->pool, window->data, window->capacity);
            window->data = buffer_get(window->pool, wanted, &window->capacity);
            if (!window->data) {
                window->capacity = 0;
                return -ENOMEM;
            }
        }
        int64_t got =
            window->io->ops->read(window->io, window->handle, window->data, wanted, position);
        if (got < 0 && wanted > bytes) {
            /* What cannot be read may lie in what was not asked for. */
            wanted = bytes;
            got = window->io->ops->read(window->io, window->handle, window->data, wanted, position);
        }
        if (got < 0) {
            window->begin = window->end = 0;
            return (int)got;
        }
        memset(window->data + got, 0, wanted - (uint64_t)got);
        window->begin = position;
        window->end = position + wanted;
    }
    *ret_data = window->data + (position - window->begin);
    return 0;
}

/* ---- the segments of a directory ---- */

struct names {
    uint64_t *numbers;
    size_t count, capacity;
    bool stray_next, stray_pack;
    int error;
};

static int visit_name(void *context, const char *name, bool is_dir)
{
    struct names *names = context;
    if (is_dir)
        return 0;
    names->stray_next = names->stray_next || strcmp(name, NEXT_SEGMENT_NAME) == 0;
    names->stray_pack = names->stray_pack || strcmp(name, PACKED_SEGMENT_NAME) == 0;
    uint64_t number;
    if (!segment_number(name, &number))
        return 0; /* not ours: whoever put it there may want it */

    if (names->count == names->capacity) {
        size_t capacity = names->capacity ? names->capacity * 2 : 16;
        uint64_t *numbers = realloc(names->numbers, capacity * sizeof(*numbers));
        if (!numbers)
            return -ENOMEM;
        names->numbers = numbers;
        names->capacity = capacity;
    }
    names->numbers[names->count++] = number;
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

struct recovery {
    struct wal *wal;
    struct wal_io *io;
    int dir;
    struct names names;
    struct window window;
    struct unpacked unpacked;
    bool damaged;

    /* Where the scan of the last segment stands. */
    uint64_t position;
    uint64_t frame_no;
    uint64_t offset;
    uint64_t bytes;
    uint32_t crc;
    uint64_t timestamp_ns;
    uint16_t last_flags;
    uint64_t torn_end; /* what stands between the end and here is to be cleared; 0: nothing */
    bool unproven;     /* the last frame is not followed by one that proves it durable */
};

static void recovery_done(struct recovery *recovery)
{
    if (recovery->window.handle >= 0)
        recovery->io->ops->close(recovery->io, recovery->window.handle);
    if (recovery->dir >= 0)
        recovery->io->ops->close(recovery->io, recovery->dir);
    window_done(&recovery->window);
    unpacked_done(&recovery->unpacked);
    free(recovery->names.numbers);
}

static void note_damage(struct recovery *recovery, uint64_t offset)
{
    recovery->damaged = true;
    struct wal_recovery *found = &recovery->wal->recovery;
    found->damaged_offset = min_u64(found->damaged_offset, offset);
}

/* Errors: -EBADMSG: the header is damaged; others: the log cannot be opened now. */
static int load_header(struct recovery *recovery, uint64_t number, struct segment *segment)
{
    struct wal_io *io = recovery->io;
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, number);
    int handle = io->ops->open_file(io, recovery->dir, name, WAL_OPEN_READ);
    if (handle < 0)
        return handle;

    size_t capacity;
    uint8_t *block = buffer_get(&recovery->wal->store->scratch, WAL_BLOCK_BYTES, &capacity);
    int64_t got = block ? io->ops->read(io, handle, block, WAL_BLOCK_BYTES, 0) : -ENOMEM;
    int64_t file_bytes = io->ops->file_bytes(io, handle);
    int rc = got < 0 ? (int)got : -EBADMSG;
    if (got == WAL_BLOCK_BYTES)
        rc = segment_header_decode(&segment->header, block);
    buffer_put(&recovery->wal->store->scratch, block, capacity);
    io->ops->close(io, handle);

    if (rc == 0 && file_bytes < 0)
        rc = (int)file_bytes;
    if (rc == 0 &&
        (segment->header.segment_no != number || !segment_header_is_in_range(&segment->header)))
        rc = -EBADMSG;
    segment->file_bytes = file_bytes < 0 ? 0 : (uint64_t)file_bytes;
    return rc;
}

static int load_headers(struct recovery *recovery)
{
    struct wal *wal = recovery->wal;
    for (size_t i = 0; i < recovery->names.count; i++) {
        struct segment *segment = segment_new();
        if (!segment)
            return -ENOMEM;
        int rc = load_header(recovery, recovery->names.numbers[i], segment);
        if (rc == 0)
            rc = log_add_segment_locked(wal, segment);
        if (rc == 0)
            continue;
        segment_free(segment);
        if (rc != -EBADMSG && rc != -EIO)
            return rc;
        /* It had its name, so its header was durable. Its neighbours are served. */
        uint64_t offset =
            wal->segment_count ? wal->segments[wal->segment_count - 1]->header.base_offset : 0;
        note_damage(recovery, offset);
    }
    return wal->segment_count > 0 ? 0 : -EBADMSG;
}

/* Whether the frame that was written together with this header stands behind it. */
static bool fits_its_file(struct recovery *recovery, const struct segment *segment)
{
    struct wal_io *io = recovery->io;
    struct buffer_pool *pool = &recovery->wal->store->scratch;
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, segment->header.segment_no);
    int handle = io->ops->open_file(io, recovery->dir, name, WAL_OPEN_READ);
    if (handle < 0)
        return false;

    size_t capacity;
    uint8_t *block = buffer_get(pool, WAL_BLOCK_BYTES, &capacity);
    struct frame_header frame;
    bool fits =
        block &&
        io->ops->read(io, handle, block, WAL_BLOCK_BYTES, WAL_BLOCK_BYTES) == WAL_BLOCK_BYTES &&
        frame_header_decode(&frame, segment->header.salt, WAL_BLOCK_BYTES, block) == 0;
    buffer_put(pool, block, capacity);
    io->ops->close(io, handle);
    return fits;
}

/* How many segments say that they are of this log. */
static size_t segments_of(const struct wal *wal, const struct wal_uuid *id)
{
    size_t count = 0;
    for (size_t i = 0; i < wal->segment_count; i++)
        count += memcmp(&wal->segments[i]->header.log, id, sizeof(*id)) == 0;
    return count;
}

/* All segments are of one log. If they do not agree, a header or a file was written to the wrong
 * place: it must not make strangers of all others, wherever it stands. The log is the one that most
 * segments are of, and of these at least one whole. Nothing in a stranger is ours. */
static void drop_strangers(struct recovery *recovery)
{
    struct wal *wal = recovery->wal;
    size_t most = 0, kept = 0;
    wal->id = wal->segments[wal->segment_count - 1]->header.log;
    bool agree = segments_of(wal, &wal->id) == wal->segment_count;
    for (size_t i = wal->segment_count; !agree && i-- > 0;) {
        size_t count = segments_of(wal, &wal->segments[i]->header.log);
        if (count > most && fits_its_file(recovery, wal->segments[i])) {
            wal->id = wal->segments[i]->header.log;
            most = count;
        }
    }
    for (size_t i = 0; i < wal->segment_count; i++) {
        struct segment *segment = wal->segments[i];
        if (memcmp(&segment->header.log, &wal->id, sizeof(wal->id)) == 0) {
            wal->segments[kept++] = segment;
            continue;
        }
        note_damage(recovery, kept ? wal->segments[kept - 1]->header.base_offset : 0);
        segment_free(segment);
    }
    wal->segment_count = kept;
}

static int list_segments(struct recovery *recovery)
{
    struct wal_io *io = recovery->io;
    struct names *names = &recovery->names;
    int rc = io->ops->list(io, recovery->dir, visit_name, names);
    if (rc < 0)
        return rc;
    if (names->count > 0)
        qsort(names->numbers, names->count, sizeof(*names->numbers), compare_numbers);
    return 0;
}

/* ---- the last segment ---- */

static int open_window(struct recovery *recovery, const struct segment *segment)
{
    struct wal_io *io = recovery->io;
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, segment->header.segment_no);
    unsigned flags = WAL_OPEN_WRITE | (io->direct ? WAL_OPEN_DIRECT : 0);
    if (DEFECT(RECOVER_FROM_CACHE))
        flags = WAL_OPEN_WRITE;

    int handle = io->ops->open_file(io, recovery->dir, name, flags);
    if (handle < 0)
        return handle;
    int rc = 0;
    bool proven = recovery->wal->just_made;
    if (!proven && !DEFECT(RECOVER_FROM_CACHE)) {
        rc = io->ops->sync(io, handle);
        if (rc == 0)
            rc = io->ops->sync(io, recovery->dir);
    }
    if (rc == 0 && !io->direct && !proven && !DEFECT(RECOVER_FROM_CACHE)) {
        io->ops->close(io, handle);
        handle = io->ops->open_file(io, recovery->dir, name, flags | WAL_OPEN_UNCACHED);
        if (handle < 0)
            return handle;
    }
    recovery->window.handle = handle;
    recovery->window.file_bytes = round_up(segment->file_bytes, WAL_BLOCK_BYTES);
    return rc;
}

static int apply_item(struct recovery *recovery, const struct item *item)
{
    struct wal *wal = recovery->wal;
    uint64_t offset;
    switch (item->kind) {
    case ITEM_RECORD:
        recovery->offset++;
        recovery->bytes += item->data_bytes;
        recovery->timestamp_ns = item->timestamp_ns;
        return 0;
    case ITEM_STATE_SET:
    case ITEM_STATE_REMOVE:
        return state_change(&wal->state, item->attributes, item->attribute_bytes,
                            item->kind == ITEM_STATE_SET ? item->data : NULL, item->data_bytes, 0);
    case ITEM_TRIM:
        /* What was trimmed had been committed, and so stands before this. */
        if (item_trims(item, &offset))
            wal->first_offset = max_u64(wal->first_offset, min_u64(offset, recovery->offset));
        return 0;
    case ITEM_TIME: return 0;
    default: return -EBADMSG;
    }
}

static int apply_frame(struct recovery *recovery, const struct frame_header *header,
                       const uint8_t *items)
{
    struct wal *wal = recovery->wal;
    struct item_walk walk = item_walk_of(header, items);
    struct item item;
    uint64_t offset = recovery->offset;
    int rc;
    recovery->timestamp_ns = header->timestamp_ns;
    while ((rc = item_next(&walk, &item)) == 0) {
        rc = apply_item(recovery, &item);
        if (rc < 0)
            return rc;
    }
    if (rc != -ENODATA)
        return rc;

    state_commit(&wal->state, 0);
    frame_index_add(&wal->active->index, offset, header->timestamp_ns, header->position);
    recovery->position = header->position + frame_bytes(header->body_bytes);
    recovery->frame_no++;
    recovery->crc = header->crc;
    recovery->last_flags = header->flags;
    if (header->flags & FRAME_STATE)
        wal->first_position = recovery->position;
    recovery->unproven = !(header->flags & (FRAME_MARK | FRAME_STATE));
    wal->last_frame_bytes = header->body_bytes;
    wal->recovery.frames++;
    return 0;
}

static bool follows(const struct recovery *recovery, const struct frame_header *header)
{
    if (DEFECT(SKIP_CHAIN_CHECK))
        return true;
    bool is_first = recovery->position == WAL_BLOCK_BYTES;
    return header->frame_no == recovery->frame_no && header->prev_crc == recovery->crc &&
           header->base_offset == recovery->offset && header->base_bytes == recovery->bytes &&
           !!(header->flags & FRAME_STATE) == is_first;
}

/* Takes the frame at the scan's position. Errors: -ENODATA: there is none that follows; others: the
 * log cannot be opened now. */
static int take_frame(struct recovery *recovery)
{
    struct window *window = &recovery->window;
    uint64_t salt = recovery->wal->active->header.salt;
    if (recovery->position + WAL_BLOCK_BYTES > window->file_bytes)
        return -ENODATA;

    const uint8_t *data, *items;
    struct frame_header header;
    int rc = window_get(window, recovery->position, WAL_BLOCK_BYTES, &data);
    if (rc < 0)
        return rc;
    rc = frame_header_decode(&header, salt, recovery->position, data);
    if (rc == -EPROTONOSUPPORT)
        return rc;
    uint64_t bytes = rc == 0 ? frame_bytes(header.body_bytes) : 0;
    if (rc < 0 || !follows(recovery, &header) || recovery->position + bytes > window->file_bytes)
        return -ENODATA;

    rc = window_get(window, recovery->position, bytes, &data);
    if (rc < 0)
        return rc;
    rc = frame_open(&recovery->unpacked, &header, data + FRAME_HEADER_BYTES, true, &items);
    if (rc < 0 && (rc != -EBADMSG || !items || !DEFECT(SKIP_BODY_CHECK)))
        return rc == -EBADMSG ? -ENODATA : rc;
    rc = apply_frame(recovery, &header, items);
    return rc == -EBADMSG ? -ENODATA : rc;
}

/* What stands from the scan's position to the end of the file. */
struct rest {
    uint64_t end;       /* behind the last block that is not zero; the position itself: all zero */
    bool witness;       /* a later frame proves that this place had been durable */
    uint64_t valid_end; /* behind the last later frame that is whole; 0: none */
    uint64_t valid_offset, valid_bytes; /* of the log's records, there */
};

/* Of the records of a frame whose structure is verified. */
static uint64_t payload_bytes(const struct frame_header *header, const uint8_t *items)
{
    struct item_walk walk = item_walk_of(header, items);
    struct item item;
    uint64_t bytes = 0;
    while (item_next(&walk, &item) == 0)
        bytes += item.kind == ITEM_RECORD ? item.data_bytes : 0;
    return bytes;
}

/* What stands behind damage was acknowledged all the same: a trim must not be undone by it. */
static int apply_later_state(struct recovery *recovery, const struct frame_header *header,
                             const uint8_t *items)
{
    const uint64_t offset = recovery->offset, bytes = recovery->bytes;
    struct item_walk walk = item_walk_of(header, items);
    struct item item;
    int rc = 0;
    recovery->offset = header->base_offset;
    while (rc == 0 && item_next(&walk, &item) == 0)
        rc = apply_item(recovery, &item);
    state_commit(&recovery->wal->state, 0);
    recovery->offset = offset;
    recovery->bytes = bytes;
    return rc == -EBADMSG ? 0 : rc;
}

static int examine_later_frame(struct recovery *recovery, uint64_t position, const uint8_t *block,
                               struct rest *rest)
{
    struct frame_header header;
    uint64_t salt = recovery->wal->active->header.salt;
    if (frame_header_decode(&header, salt, position, block) < 0 ||
        header.durable_frame <= recovery->frame_no)
        return 0;
    rest->witness = true;

    uint64_t bytes = frame_bytes(header.body_bytes);
    if (position + bytes > recovery->window.file_bytes)
        return 0;
    const uint8_t *data, *items;
    int rc = window_get(&recovery->window, position, bytes, &data);
    if (rc == 0)
        rc = frame_open(&recovery->unpacked, &header, data + FRAME_HEADER_BYTES, true, &items);
    if (rc < 0)
        return rc == -EBADMSG ? 0 : rc;
    rest->valid_end = position + bytes;
    rest->valid_offset = header.base_offset + header.record_count;
    rest->valid_bytes = header.base_bytes + payload_bytes(&header, items);
    return apply_later_state(recovery, &header, items);
}

static int examine_rest(struct recovery *recovery, struct rest *rest)
{
    struct window *window = &recovery->window;
    *rest = (struct rest){.end = recovery->position};
    for (uint64_t position = recovery->position; position < window->file_bytes;
         position += WAL_BLOCK_BYTES) {
        const uint8_t *block;
        int rc = window_get(window, position, WAL_BLOCK_BYTES, &block);
        if (rc == -EIO) { /* whatever it holds, it is not known to be zero */
            rest->end = position + WAL_BLOCK_BYTES;
            continue;
        }
        if (rc < 0)
            return rc;
        if (bytes_are_zero(block, WAL_BLOCK_BYTES))
            continue;
        rest->end = position + WAL_BLOCK_BYTES;
        if (position == recovery->position)
            continue;
        rc = examine_later_frame(recovery, position, block, rest);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Whether what stands at the scan's position can come from a write that was torn. */
static int can_be_torn(struct recovery *recovery, bool *ret_torn)
{
    struct window *window = &recovery->window;
    const uint8_t *data;
    int rc = window_get(window, recovery->position, WAL_BLOCK_BYTES, &data);
    if (rc < 0)
        return rc;
    struct frame_header header;
    uint64_t salt = recovery->wal->active->header.salt;
    if (frame_header_decode(&header, salt, recovery->position, data) < 0) {
        *ret_torn = frame_can_be_torn(NULL, data);
        return 0;
    }
    *ret_torn = false;
    if (!follows(recovery, &header))
        return 0;

    uint64_t bytes = frame_bytes(header.body_bytes);
    uint64_t there = min_u64(bytes, window->file_bytes - recovery->position);
    size_t capacity;
    uint8_t *frame = buffer_get(window->pool, bytes, &capacity);
    if (!frame)
        return -ENOMEM;
    rc = window_get(window, recovery->position, there, &data);
    if (rc == 0) {
        memcpy(frame, data, there);
        memset(frame + there, 0, bytes - there);
        *ret_torn = frame_can_be_torn(&header, frame);
    }
    buffer_put(window->pool, frame, capacity);
    return rc;
}

/* ---- clearing a torn end ---- */

static int set_aside(struct recovery *recovery, uint64_t end)
{
    struct wal_io *io = recovery->io;
    struct wal *wal = recovery->wal;
    char name[96];
    snprintf(name, sizeof(name), "%020" PRIu64 ".seg.torn.%" PRIu64, wal->active->header.segment_no,
             io->ops->realtime_ns(io));
    int handle = io->ops->open_file(io, recovery->dir, name, WAL_OPEN_WRITE | WAL_OPEN_CREATE);
    if (handle < 0)
        return handle;

    int rc = 0;
    for (uint64_t position = recovery->position; position < end && rc == 0;) {
        uint64_t bytes = min_u64(SCAN_BYTES, end - position);
        const uint8_t *data;
        rc = window_get(&recovery->window, position, bytes, &data);
        if (rc == 0)
            rc = io->ops->write(io, handle, data, bytes, position - recovery->position, false);
        position += bytes;
    }
    if (rc == 0)
        rc = io->ops->sync(io, handle);
    io->ops->close(io, handle);
    if (rc == 0)
        rc = io->ops->sync(io, recovery->dir);
    return rc;
}

/* Writes zeros over the blocks of [begin, end) that are not zero, the last ones first. Those alone are
 * known to have space on the disk, which may be full. At most ZEROS_BYTES. */
static int clear_chunk(struct recovery *recovery, uint64_t begin, uint64_t end)
{
    struct wal_io *io = recovery->io;
    const uint8_t *data;
    int rc = window_get(&recovery->window, begin, end - begin, &data);
    if (rc == -EIO)
        return io->ops->write(io, recovery->window.handle, recovery->wal->store->zeros, end - begin,
                              begin, true);
    while (rc == 0 && end > begin) {
        uint64_t from = end;
        while (from > begin &&
               !bytes_are_zero(data + (from - WAL_BLOCK_BYTES - begin), WAL_BLOCK_BYTES))
            from -= WAL_BLOCK_BYTES;
        if (from < end)
            rc = io->ops->write(io, recovery->window.handle, recovery->wal->store->zeros,
                                end - from, from, true);
        end = from > begin ? from - WAL_BLOCK_BYTES : begin; /* the block before it is zero */
    }
    return rc;
}

static int clear_torn(struct recovery *recovery, uint64_t end)
{
    struct wal *wal = recovery->wal;
    wal->recovery.torn_bytes = end - recovery->position;
    wal->recovery.torn_offset = recovery->offset;
    if (DEFECT(LEAVE_TORN_TAIL))
        return 0;

    /* Nobody was told of these bytes, so a disk that cannot keep a copy is no reason to stop. */
    (void)set_aside(recovery, end);
    /* From the end backwards: while the first sector stands, the rest is known as one torn frame,
     * and a crash in here is recovered from in the same way. */
    int rc = 0;
    while (end > recovery->position && rc == 0) {
        uint64_t begin = end - min_u64(ZEROS_BYTES, end - recovery->position);
        rc = clear_chunk(recovery, begin, end);
        end = begin;
    }
    recovery->window.begin = recovery->window.end = 0;
    return rc;
}

/* Whether the frame at the scan's position is whole but for the data of some of its records; and
 * the bytes of those. */
static int is_hurt_in_data_alone(struct recovery *recovery, struct frame_header *ret_header,
                                 uint64_t *ret_bytes, bool *ret_hurt)
{
    struct window *window = &recovery->window;
    const uint8_t *data, *items;
    uint64_t salt = recovery->wal->active->header.salt;
    *ret_hurt = false;
    int rc = window_get(window, recovery->position, WAL_BLOCK_BYTES, &data);
    if (rc < 0)
        return rc;
    if (frame_header_decode(ret_header, salt, recovery->position, data) < 0 ||
        !follows(recovery, ret_header))
        return 0;
    uint64_t bytes = frame_bytes(ret_header->body_bytes);
    if (recovery->position + bytes > window->file_bytes)
        return 0;
    rc = window_get(window, recovery->position, bytes, &data);
    if (rc == 0)
        rc = frame_open(&recovery->unpacked, ret_header, data + FRAME_HEADER_BYTES, false, &items);
    *ret_hurt = rc == 0;
    if (*ret_hurt)
        *ret_bytes = payload_bytes(ret_header, items);
    return rc == -EBADMSG ? 0 : rc;
}

/* Puts the end of a damaged log behind all that can still be told of: readers find the gaps. */
static int pass_damage(struct recovery *recovery, const struct rest *rest)
{
    struct frame_header header;
    uint64_t bytes = 0;
    bool hurt;
    int rc = is_hurt_in_data_alone(recovery, &header, &bytes, &hurt);
    if (rc < 0 && rc != -EIO)
        return rc;
    if (hurt) {
        recovery->position += frame_bytes(header.body_bytes);
        recovery->offset = header.base_offset + header.record_count;
        recovery->bytes = header.base_bytes + bytes;
    }
    if (rest->valid_end > recovery->position) {
        recovery->position = rest->valid_end;
        recovery->offset = max_u64(recovery->offset, rest->valid_offset);
        recovery->bytes = max_u64(recovery->bytes, rest->valid_bytes);
    }
    return 0;
}

/* `unreadable`: the disk does not give back what stands at the scan's position. */
static int settle_end(struct recovery *recovery, bool unreadable)
{
    struct rest rest;
    int rc = examine_rest(recovery, &rest);
    if (rc < 0 || rest.end == recovery->position)
        return rc;

    bool torn = false;
    if (!rest.witness && !unreadable) {
        rc = can_be_torn(recovery, &torn);
        if (rc < 0)
            return rc;
    }
    /* The head of a segment was durable before the file had its name. */
    if (recovery->position == WAL_BLOCK_BYTES)
        torn = false;
    if (torn || DEFECT(TRUNCATE_AT_FIRST_BAD)) {
        recovery->torn_end = rest.end;
        return 0;
    }

    note_damage(recovery, recovery->offset);
    return pass_damage(recovery, &rest);
}

#ifdef WAL_PLANTED_DEFECTS
/* FORGET_LAST_FRAME */
static int scan_all_but_last(struct recovery *recovery)
{
    struct recovery before = *recovery, last = *recovery;
    int rc;
    while ((rc = take_frame(recovery)) == 0) {
        before = last;
        last = *recovery;
    }
    if (rc != -ENODATA || before.position == WAL_BLOCK_BYTES)
        return rc == -ENODATA ? settle_end(recovery, false) : rc;
    recovery->position = before.position;
    recovery->offset = before.offset;
    recovery->bytes = before.bytes;
    recovery->frame_no = before.frame_no;
    recovery->crc = before.crc;
    struct rest rest;
    rc = examine_rest(recovery, &rest);
    return rc < 0 ? rc : clear_torn(recovery, rest.end);
}
#endif

/* A segment is packed when it has a successor, and its header tells where that began. */
static int lack_successor(struct recovery *recovery, const struct segment_seal *seal)
{
    struct rest rest;
    int rc = examine_rest(recovery, &rest);
    note_damage(recovery, seal->end_offset);
    recovery->position = min_u64(seal->end, recovery->window.file_bytes);
    recovery->offset = seal->end_offset;
    recovery->bytes = seal->end_bytes;
    return rc;
}

static int scan_last(struct recovery *recovery)
{
    struct wal *wal = recovery->wal;
    struct segment *last = wal->active = wal->segments[wal->segment_count - 1];
    int rc = open_window(recovery, last);
    if (rc < 0)
        return rc;

    recovery->position = WAL_BLOCK_BYTES;
    recovery->frame_no = last->header.base_frame;
    recovery->offset = last->header.base_offset;
    recovery->bytes = last->header.base_bytes;
    recovery->crc = last->header.prev_crc;
    recovery->timestamp_ns = last->header.created_ns;
#ifdef WAL_PLANTED_DEFECTS
    if (DEFECT(FORGET_LAST_FRAME))
        return scan_all_but_last(recovery);
#endif
    while ((rc = take_frame(recovery)) == 0)
        continue;
    bool unreadable = rc == -EIO;
    if (rc != -ENODATA && !unreadable)
        return rc;
    if (recovery->position == WAL_BLOCK_BYTES)
        note_damage(recovery, recovery->offset); /* not even the state is whole */
    if (segment_is_packed(&last->header))
        return lack_successor(recovery, &last->header.seal);
    return settle_end(recovery, unreadable);
}

/* ---- sealed segments ---- */

/* Whether a packed segment was made from the one that its successor saw the end of. */
static bool is_sealed_by(const struct segment_header *header, const struct segment_header *next)
{
    const struct segment_seal *seal = &header->seal;
    return !segment_is_packed(header) ||
           (seal->original_end == next->prev_end && seal->original_crc == next->prev_crc &&
            seal->end_offset == next->base_offset);
}

/* Sets where each sealed segment ends, from the header of its successor, and finds what is missing.
 */
static int check_sealed(struct recovery *recovery)
{
    struct wal *wal = recovery->wal;
    size_t kept = wal->segment_count - 1;
    for (size_t i = wal->segment_count - 1; i-- > 0;) {
        struct segment *segment = wal->segments[i], *next = wal->segments[kept];
        bool adjacent = segment->header.segment_no + 1 == next->header.segment_no;
        if (segment->header.base_offset > next->header.base_offset) {
            note_damage(recovery, next->header.base_offset);
            segment_free(segment); /* its offsets are those of others */
            continue;
        }
        if (next->header.base_offset <= wal->first_offset) {
            segment_free(segment); /* trimmed: see remove_trimmed() */
            continue;
        }
        /* What a file lacks of its last block is zeros that a short write left out. */
        uint64_t file_end = round_up(segment->file_bytes, WAL_BLOCK_BYTES);
        uint64_t end = adjacent ? next->header.prev_end : file_end;
        if (segment_is_packed(&segment->header))
            end = segment->header.seal.end;
        segment->end = min_u64(end, file_end);
        segment->end_offset = next->header.base_offset;
        if (!adjacent || file_end < end || !is_sealed_by(&segment->header, &next->header))
            note_damage(recovery, segment->header.base_offset);
        wal->segments[--kept] = segment;
    }
    wal->segment_count -= kept;
    memmove(wal->segments, wal->segments + kept, wal->segment_count * sizeof(*wal->segments));
    if (wal->segments[0]->header.base_offset > wal->first_offset)
        note_damage(recovery, wal->first_offset);
    return 0;
}

/* Files below the first offset may be left over from a trim that a crash interrupted. */
static void remove_trimmed(struct recovery *recovery)
{
    const struct names *names = &recovery->names;
    uint64_t first = recovery->wal->segments[0]->header.segment_no;
    for (size_t i = 0; i < names->count && names->numbers[i] < first; i++) {
        char name[SEGMENT_NAME_BYTES];
        segment_name(name, names->numbers[i]);
        recovery->io->ops->remove_file(recovery->io, recovery->dir, name);
    }
}

static int remove_stray(struct recovery *recovery, const char *name)
{
    int rc = recovery->io->ops->remove_file(recovery->io, recovery->dir, name);
    return rc == -ENOENT ? 0 : rc;
}

/* ---- the whole ---- */

static void install_end(struct recovery *recovery)
{
    struct wal *wal = recovery->wal;
    struct segment *active = wal->active;
    wal->first_offset = min_u64(wal->first_offset, recovery->offset);
    wal->write_position = active->end = recovery->position;
    active->end_offset = recovery->offset;
    wal->next_frame_no = recovery->frame_no;
    wal->last_crc = recovery->crc;
    wal->next_offset = recovery->offset;
    wal->committed_bytes = wal->next_bytes = recovery->bytes;
    wal->last_timestamp_ns = recovery->timestamp_ns;
    wal->mark_due = recovery->unproven;
    wal->clean = wal->recovery.clean;
    wal->damaged = recovery->damaged;
    wal->pack_due = wal->store->config.pack && wal->segment_count > 1;
    atomic_store(&wal->committed_offset, recovery->offset);
}

/* What the file holds behind the last frame reads as zeros; but a file that was copied may have
 * holes there, which a frame must not be the first to fill. */
static void claim_space(struct recovery *recovery)
{
    struct wal *wal = recovery->wal;
    uint64_t file_bytes = round_down(wal->active->file_bytes, WAL_BLOCK_BYTES);
    wal->space_end = wal->write_position;
    if (file_bytes <= wal->write_position || wal->damaged)
        return;
    int rc = recovery->io->ops->allocate(recovery->io, recovery->window.handle, wal->write_position,
                                         file_bytes - wal->write_position);
    if (rc == -EOPNOTSUPP)
        wal->zeros_only = true;
    if (rc == 0)
        wal->space_end = file_bytes;
}

int log_recover(struct wal *wal)
{
    CLEANUP(recovery_done)
    struct recovery recovery = {
        .wal = wal,
        .io = wal->store->io,
        .window = {.io = wal->store->io, .pool = &wal->store->scratch, .handle = -1},
    };
    recovery.dir = log_open_dir(wal);
    if (recovery.dir < 0)
        return recovery.dir;

    int rc = list_segments(&recovery);
    if (rc == 0)
        rc = load_headers(&recovery);
    if (rc < 0)
        return rc;
    drop_strangers(&recovery);
    rc = scan_last(&recovery);
    if (wal->state.bytes > WAL_STATE_BYTES_MAX)
        note_damage(&recovery, recovery.offset); /* nobody could append that, nor fits it a frame */
    if (rc == 0)
        rc = check_sealed(&recovery);
    /* Last, and not at all if there is damage elsewhere: then nothing on the disk is changed. */
    if (rc == 0 && recovery.torn_end > 0 && !recovery.damaged)
        rc = clear_torn(&recovery, recovery.torn_end);
    if (rc < 0)
        return rc;
    if (!recovery.damaged)
        remove_trimmed(&recovery);
    if (!recovery.damaged && recovery.names.stray_next)
        rc = remove_stray(&recovery, NEXT_SEGMENT_NAME);
    if (rc == 0 && !recovery.damaged && recovery.names.stray_pack)
        rc = remove_stray(&recovery, PACKED_SEGMENT_NAME);
    if (rc < 0)
        return rc;

    bool is_new = (recovery.last_flags & FRAME_STATE) && wal->active->header.segment_no == 0;
    wal->recovery.clean = ((recovery.last_flags & FRAME_CLEAN) || is_new) &&
                          recovery.torn_end == 0 && !recovery.damaged;
    install_end(&recovery);
    claim_space(&recovery);
    wal->recovery.records = recovery.offset - min_u64(wal->first_offset, recovery.offset);
    return 0;
}
