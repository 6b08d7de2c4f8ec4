/*
 * Repairing a log. The format needs no element of its own for it: a segment that is followed by
 * another one may hold damage, which readers are told of as a gap when they come to it. So damage in
 * the last segment is repaired by beginning the next one, whose header tells where its predecessor
 * ends, damage included, and at which offset the log goes on.
 *
 * The header of a segment can be made again from the frame behind it, which was written with it and
 * says the same; the salt is found by running the checksum of that frame backwards. Where that frame
 * is lost as well, or the file, an empty segment takes the place: its records are a gap.
 */
#include "wal/repair.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wal/crc32c.h"
#include "wal/inspect_end.h"
#include "wal/inspect_folder.h"
#include "wal/log.h"

#define COPY_BYTES (1u << 20)
#define TMP_NAME "repair.tmp"

struct repair {
    struct store *store;
    struct wal_io *io;
    int dir;
    struct inspection found;
};

/* ---- what is to be done ---- */

static bool is_in_last(const struct inspection *found, const struct inspect_damage *damage)
{
    return damage->segment_no == found->rest->last.segment_no;
}

enum repair_plan repair_plan(const struct inspection *found)
{
    enum repair_plan plan = found->torn_end > 0 ? REPAIR_TORN : REPAIR_NOTHING;
    for (size_t i = 0; i < found->damage_count; i++) {
        const struct inspect_damage *damage = &found->damages[i];
        if (damage->lost == INSPECT_OVERLAP || !found->rest)
            return REPAIR_IMPOSSIBLE;
        if (damage->lost != INSPECT_BYTES)
            plan = REPAIR_SEGMENTS;
        if (plan == REPAIR_SEGMENTS)
            continue;
        if (is_in_last(found, damage))
            plan = REPAIR_NEW;
        else if (!damage->known && plan != REPAIR_NEW)
            plan = REPAIR_SET_ASIDE;
    }
    return plan;
}

/* ---- setting bytes aside ---- */

static int copy_range(struct repair *repair, int from, int to, uint64_t begin, uint64_t end)
{
    struct wal_io *io = repair->io;
    uint8_t *data = aligned_alloc(WAL_BLOCK_BYTES, COPY_BYTES);
    int rc = data ? 0 : -ENOMEM;
    for (uint64_t position = begin; position < end && rc == 0;) {
        uint64_t bytes = min_u64(COPY_BYTES, end - position);
        int64_t got = io->ops->read(io, from, data, bytes, position);
        if (got == -EIO) { /* what can be read of it */
            bytes = min_u64(WAL_SECTOR_BYTES, end - position);
            got = io->ops->read(io, from, data, bytes, position);
            if (got == -EIO)
                memset(data, 0, (size_t)(got = (int64_t)bytes));
        }
        /* What is zero was, in most cases, never there. */
        if (got > 0 && (data[0] != 0 || memcmp(data, data + 1, (size_t)got - 1) != 0))
            rc = io->ops->write(io, to, data, (size_t)got, position - begin, false);
        if (got <= 0) {
            rc = (int)got;
            break; /* the file is shorter than it was */
        }
        position += (uint64_t)got;
    }
    free(data);
    return rc;
}

/* Copies [begin, end) of a segment to a file beside it, whole or not at all. */
static int set_aside(struct repair *repair, uint64_t number, uint64_t begin, uint64_t end)
{
    struct wal_io *io = repair->io;
    char from_name[SEGMENT_NAME_BYTES], name[DAMAGED_NAME_BYTES];
    segment_name(from_name, number);
    damaged_name(name, number, begin, end);
    int rc = io->ops->remove_file(io, repair->dir, TMP_NAME);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    int from = io->ops->open_file(io, repair->dir, from_name, WAL_OPEN_READ);
    if (from < 0)
        return from;
    int to = io->ops->open_file(io, repair->dir, TMP_NAME, WAL_OPEN_WRITE | WAL_OPEN_CREATE);
    rc = to < 0 ? to : copy_range(repair, from, to, begin, end);
    if (rc == 0)
        rc = io->ops->sync(io, to);
    io->ops->close(io, from);
    if (to >= 0)
        io->ops->close(io, to);
    if (rc == 0)
        rc = io->ops->rename(io, repair->dir, TMP_NAME, repair->dir, name);
    if (rc == -EEXIST) /* by a repair that was cut short */
        rc = io->ops->remove_file(io, repair->dir, TMP_NAME);
    return rc == 0 ? io->ops->sync(io, repair->dir) : rc;
}

static int set_all_aside(struct repair *repair)
{
    const struct inspection *found = &repair->found;
    int rc = 0;
    for (size_t i = 0; i < found->damage_count && rc == 0; i++) {
        const struct inspect_damage *damage = &found->damages[i];
        if (!damage->known)
            rc = set_aside(repair, damage->segment_no, damage->position, damage->end);
    }
    /* It comes to lie behind the end of its segment, where it is no one's. */
    if (rc == 0 && found->torn_end > 0)
        rc = set_aside(repair, found->torn_segment, found->torn_position, found->torn_end);
    return rc;
}

/* ---- the next segment ---- */

static int name_segment(struct repair *repair, uint64_t number)
{
    struct wal_io *io = repair->io;
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, number);
    int rc = io->ops->rename(io, repair->dir, NEXT_SEGMENT_NAME, repair->dir, name);
    return rc == 0 ? io->ops->sync(io, repair->dir) : rc;
}

static int write_segment(struct repair *repair, struct wal *wal, struct segment *segment)
{
    struct wal_io *io = repair->io;
    unsigned flags = WAL_OPEN_WRITE | WAL_OPEN_CREATE | (io->direct ? WAL_OPEN_DIRECT : 0);
    struct frame_header state = segment_state_frame(&segment->header);
    int rc = io->ops->remove_file(io, repair->dir, NEXT_SEGMENT_NAME);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    int handle = io->ops->open_file(io, repair->dir, NEXT_SEGMENT_NAME, flags);
    if (handle < 0)
        return handle;
    rc = segment_write_head(wal, handle, segment, &state, 0, true);
    io->ops->close(io, handle);
    return rc == 0 ? name_segment(repair, segment->header.segment_no) : rc;
}

/* As rotation does it, but for a predecessor that is damaged. */
static int begin_segment(struct repair *repair, const char *name)
{
    CLEANUP(log_freep) struct wal *wal = log_new(repair->store, name);
    struct inspect_end *end = repair->found.rest;
    if (!wal)
        return -ENOMEM;
    struct segment *segment = segment_new();
    if (!segment)
        return -ENOMEM;
    wal->state = end->state;
    end->state = (struct state){0};
    memcpy(&wal->id, repair->found.log, sizeof(wal->id));
    atomic_store(&wal->first_offset, repair->found.first_offset);
    segment->header = (struct segment_header){
        .kind = SEGMENT_APPENDED,
        .log = wal->id,
        .segment_no = end->last.segment_no + 1,
        .base_offset = end->offset,
        .base_bytes = end->bytes,
        /* What was passed over at the end is none of the segment: nothing says that it is a frame. */
        .base_frame = end->taken_frame,
        .prev_end = end->taken_position,
        .prev_crc = end->taken_crc,
        .created_ns = end->timestamp_ns,
    };
    int rc = write_segment(repair, wal, segment);
    segment_free(segment);
    return rc;
}

/* ---- segments made again ---- */

/* Runs CRC32C backwards over bytes that are known: which register gave this one? */
static uint32_t unwind_crc(uint32_t state, const uint8_t *data, size_t bytes)
{
    const uint32_t polynomial = UINT32_C(0x82f63b78);
    while (bytes-- > 0) {
        for (unsigned bit = 0; bit < 8; bit++)
            state = state & 0x80000000u ? (state ^ polynomial) << 1 | 1 : state << 1;
        state ^= data[bytes];
    }
    return state;
}

/* The salt, or another one with the same checksum, which serves as well. */
static uint64_t find_salt(const uint8_t *frame)
{
    static const uint8_t zeros[4];
    uint32_t crc;
    memcpy(&crc, frame + 4, sizeof(crc));
    uint32_t seed = unwind_crc(~le32toh(crc), frame + 8, FRAME_HEADER_BYTES - 8);
    /* Four bytes of zero, and then those that lead from there to the seed. */
    uint32_t middle = ~crc32c(0, zeros, sizeof(zeros));
    uint32_t last = unwind_crc(seed, zeros, sizeof(zeros)) ^ middle;
    return (uint64_t)last << 32;
}

static int open_lost(struct repair *repair, const struct inspect_damage *damage, unsigned flags)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, damage->segment_no);
    if (flags & WAL_OPEN_WRITE)
        flags |= repair->io->direct ? WAL_OPEN_DIRECT : 0;
    return repair->io->ops->open_file(repair->io, repair->dir, name, flags);
}

/* The STATE frame of a file without a header, a salt for it, and whether another frame follows. */
static bool read_first_frame(struct repair *repair, int handle, struct frame_header *ret_frame,
                             uint64_t *ret_salt, bool *ret_has_second)
{
    struct wal_io *io = repair->io;
    _Alignas(WAL_BLOCK_BYTES) uint8_t block[WAL_BLOCK_BYTES];
    struct frame_header next;
    if (io->ops->read(io, handle, block, sizeof(block), WAL_BLOCK_BYTES) != WAL_BLOCK_BYTES)
        return false;
    uint64_t salt = find_salt(block);
    if (frame_header_decode(ret_frame, salt, WAL_BLOCK_BYTES, block) < 0 ||
        !(ret_frame->flags & FRAME_STATE))
        return false;
    uint64_t position = WAL_BLOCK_BYTES + frame_bytes(ret_frame->body_bytes);
    *ret_has_second =
        io->ops->read(io, handle, block, sizeof(block), position) == WAL_BLOCK_BYTES &&
        frame_header_decode(&next, salt, position, block) == 0 && next.prev_crc == ret_frame->crc;
    *ret_salt = salt;
    return true;
}

/* Whether the first frame of the file says which segment this is; any frame can be given a salt, so
 * something else has to agree: the end of the segment before, or another frame behind. */
static bool derive_header(struct repair *repair, const struct inspect_damage *damage, int handle,
                          struct segment_header *header)
{
    struct frame_header frame;
    uint64_t salt;
    bool has_second;
    if (!read_first_frame(repair, handle, &frame, &salt, &has_second))
        return false;
    bool follows = damage->before_end > 0 && damage->before_crc == frame.prev_crc &&
                   damage->offset == frame.base_offset;
    if (!follows && !(damage->before_end == 0 && has_second))
        return false;
    header->salt = salt;
    header->base_offset = frame.base_offset;
    header->base_bytes = frame.base_bytes;
    header->base_frame = frame.frame_no;
    header->prev_crc = frame.prev_crc;
    header->created_ns = frame.timestamp_ns;
    return true;
}

/* What kind of segment the frames of a file are of, and the last one of them, which ends where the file
 * does; its position is 0 if that one is lost. */
static uint16_t kind_by_frames(struct repair *repair, int handle, uint64_t salt, uint64_t file_end,
                               struct frame_header *ret_last)
{
    struct wal_io *io = repair->io;
    _Alignas(WAL_BLOCK_BYTES) uint8_t block[WAL_BLOCK_BYTES];
    uint16_t flags = 0;
    for (uint64_t position = WAL_BLOCK_BYTES; position < file_end;) {
        bool whole = io->ops->read(io, handle, block, sizeof(block), position) == WAL_BLOCK_BYTES &&
                     frame_header_decode(ret_last, salt, position, block) == 0;
        if (!whole)
            *ret_last = (struct frame_header){0};
        position += whole ? frame_bytes(ret_last->body_bytes) : WAL_BLOCK_BYTES;
        flags |= ret_last->flags;
    }
    if (flags & FRAME_COMPRESSED)
        return SEGMENT_COMPRESSED;
    return flags & FRAME_PACKED ? SEGMENT_PACKED : SEGMENT_APPENDED;
}

/* What the segment behind a packed one says of the end of the original. If its header is lost, too,
 * its first frame says most of it, provided that it begins where the last packed frame ends. */
static bool read_successor(struct repair *repair, uint64_t number, uint64_t end,
                           const struct frame_header *last, struct segment_header *ret_next)
{
    struct wal_io *io = repair->io;
    _Alignas(WAL_BLOCK_BYTES) uint8_t block[WAL_BLOCK_BYTES];
    struct frame_header frame;
    char name[SEGMENT_NAME_BYTES];
    uint64_t salt;
    bool has_second = false;
    segment_name(name, number);
    int handle = io->ops->open_file(io, repair->dir, name, WAL_OPEN_READ);
    if (handle < 0)
        return false;
    bool found = io->ops->read(io, handle, block, sizeof(block), 0) == WAL_BLOCK_BYTES &&
                 segment_header_decode(ret_next, block) == 0 && ret_next->segment_no == number;
    bool derived = !found && last->position > 0 &&
                   read_first_frame(repair, handle, &frame, &salt, &has_second) && has_second &&
                   frame.base_offset == last->base_offset + last->record_count &&
                   frame.base_bytes >= last->base_bytes &&
                   frame.base_bytes - last->base_bytes <= frame_items_bytes(last);
    io->ops->close(io, handle);
    if (derived)
        *ret_next = (struct segment_header){
            .prev_end = end, /* so will its own header say when it is made again */
            .prev_crc = frame.prev_crc,
            .base_frame = frame.frame_no,
            .base_offset = frame.base_offset,
            .base_bytes = frame.base_bytes,
        };
    return found || derived;
}

/* Makes the header that of a packed segment, if that is what the frames are of. Where nothing tells
 * how the original ended, the records are served all the same. */
static void derive_seal(struct repair *repair, int handle, struct segment_header *header)
{
    struct wal_io *io = repair->io;
    _Alignas(WAL_BLOCK_BYTES) uint8_t block[WAL_BLOCK_BYTES];
    struct segment_header next, packed = *header;
    struct frame_header last = {0};
    const int64_t file_bytes = io->ops->file_bytes(io, handle);
    const uint64_t end = file_bytes < 0 ? 0 : round_up((uint64_t)file_bytes, WAL_BLOCK_BYTES);
    packed.kind = kind_by_frames(repair, handle, header->salt, end, &last);
    if (packed.kind == SEGMENT_APPENDED ||
        !read_successor(repair, header->segment_no + 1, end, &last, &next))
        return;
    packed.seal = (struct segment_seal){
        .end = end,
        .crc = last.crc,
        .original_end = next.prev_end,
        .original_crc = next.prev_crc,
        .end_frame = next.base_frame,
        .end_offset = next.base_offset,
        .end_bytes = next.base_bytes,
    };
    segment_header_encode(&packed, block);
    if (segment_header_decode(&packed, block) == 0) /* they fit each other */
        *header = packed;
}

/* The header of a segment of which nothing is known but where it belongs: with a salt of its own, so
 * that whatever stands behind it is no frame. */
static int invent_header(struct repair *repair, const struct inspect_damage *damage,
                         struct segment_header *header)
{
    header->base_offset = damage->offset;
    header->base_bytes = damage->before_bytes;
    header->base_frame = damage->before_frame;
    header->prev_crc = damage->before_crc;
    header->created_ns = 0;
    return repair->io->ops->random(repair->io, &header->salt, sizeof(header->salt));
}

/* Which log this is. A lone segment has lost that with its header, but for what may be left of it. */
static int find_id(struct repair *repair, int handle, struct wal_uuid *ret_id)
{
    static const struct wal_uuid none;
    struct wal_io *io = repair->io;
    *ret_id = none;
    memcpy(ret_id, repair->found.log, sizeof(*ret_id));
    if (repair->found.segments == 0 && handle >= 0)
        (void)io->ops->read(io, handle, ret_id, sizeof(*ret_id), 16);
    if (memcmp(ret_id, &none, sizeof(none)) == 0)
        return io->ops->random(io, ret_id, sizeof(*ret_id));
    return 0;
}

static int plan_header(struct repair *repair, const struct inspect_damage *damage,
                       struct segment_header *header)
{
    int handle = -ENOENT;
    *header = (struct segment_header){
        .kind = SEGMENT_APPENDED, .segment_no = damage->segment_no, .prev_end = damage->before_end};
    if (damage->lost == INSPECT_HEADER) {
        handle = open_lost(repair, damage, WAL_OPEN_READ);
        if (handle < 0)
            return handle;
    }
    bool derived = handle >= 0 && derive_header(repair, damage, handle, header);
    if (derived)
        derive_seal(repair, handle, header);
    int rc = find_id(repair, handle, &header->log);
    if (handle >= 0)
        repair->io->ops->close(repair->io, handle);
    /* With no other segment there is nothing that an invented one could follow. */
    if (rc == 0 && !derived && repair->found.segments == 0)
        return -EBADMSG;
    return rc == 0 && !derived ? invent_header(repair, damage, header) : rc;
}

static int write_block(struct repair *repair, int handle, const void *block, uint64_t position)
{
    int rc = repair->io->ops->write(repair->io, handle, block, WAL_BLOCK_BYTES, position, true);
    return rc == 0 ? repair->io->ops->sync(repair->io, handle) : rc;
}

/* Takes out what reads as a frame and has no place in the log, when its copy is durable: readers go by
 * checksums. From the end backwards, since the first one tells that this is not through. */
static int blank_frames(struct repair *repair, const struct inspect_damage *damage)
{
    static const _Alignas(WAL_BLOCK_BYTES) uint8_t zeros[WAL_BLOCK_BYTES];
    _Alignas(WAL_BLOCK_BYTES) uint8_t block[WAL_BLOCK_BYTES];
    struct wal_io *io = repair->io;
    struct segment_header header;
    struct frame_header frame;
    int from = open_lost(repair, damage, WAL_OPEN_READ);
    int to = from < 0 ? from : open_lost(repair, damage, WAL_OPEN_WRITE);
    int rc = to < 0 ? to : 0;
    bool known = rc == 0 && io->ops->read(io, from, block, sizeof(block), 0) == WAL_BLOCK_BYTES &&
                 segment_header_decode(&header, block) == 0;
    uint64_t position = round_up(damage->end, WAL_BLOCK_BYTES);
    while (known && rc == 0 && position > damage->position) {
        position -= WAL_BLOCK_BYTES;
        memset(block, 0, sizeof(block)); /* what the file lacks of its last block */
        if (io->ops->read(io, from, block, sizeof(block), position) > 0 &&
            frame_header_decode(&frame, header.salt, position, block) == 0)
            rc = write_block(repair, to, zeros, position);
    }
    if (to >= 0)
        io->ops->close(io, to);
    if (from >= 0)
        io->ops->close(io, from);
    return rc;
}

static int blank_all(struct repair *repair)
{
    int rc = 0;
    for (size_t i = 0; i < repair->found.damage_count && rc == 0; i++) {
        if (repair->found.damages[i].has_no_place && !repair->found.damages[i].known)
            rc = blank_frames(repair, &repair->found.damages[i]);
    }
    return rc;
}

/* A write of one block that is torn leaves a header that does not decode, as before. */
static int mend_header(struct repair *repair, const struct inspect_damage *damage)
{
    _Alignas(WAL_BLOCK_BYTES) uint8_t block[WAL_BLOCK_BYTES];
    struct segment_header header;
    int rc = plan_header(repair, damage, &header);
    if (rc == 0)
        rc = set_aside(repair, damage->segment_no, 0, WAL_BLOCK_BYTES);
    if (rc < 0)
        return rc;
    segment_header_encode(&header, block);
    int handle = open_lost(repair, damage, WAL_OPEN_WRITE);
    if (handle < 0)
        return handle;
    rc = write_block(repair, handle, block, 0);
    repair->io->ops->close(repair->io, handle);
    return rc;
}

/* An empty file in the place of one that is gone: its records become a gap. */
static int mend_file(struct repair *repair, const struct inspect_damage *damage)
{
    struct wal_io *io = repair->io;
    _Alignas(WAL_BLOCK_BYTES) uint8_t block[WAL_BLOCK_BYTES];
    struct segment_header header;
    int rc = plan_header(repair, damage, &header);
    if (rc < 0)
        return rc;
    segment_header_encode(&header, block);
    rc = io->ops->remove_file(io, repair->dir, NEXT_SEGMENT_NAME);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    unsigned flags = WAL_OPEN_WRITE | WAL_OPEN_CREATE | (io->direct ? WAL_OPEN_DIRECT : 0);
    int handle = io->ops->open_file(io, repair->dir, NEXT_SEGMENT_NAME, flags);
    if (handle < 0)
        return handle;
    rc = write_block(repair, handle, block, 0);
    io->ops->close(io, handle);
    return rc == 0 ? name_segment(repair, damage->segment_no) : rc;
}

/* As long again as the next segment says, with zeros for what is gone. */
static int mend_end(struct repair *repair, const struct inspect_damage *damage)
{
    static const _Alignas(WAL_BLOCK_BYTES) uint8_t zeros[WAL_BLOCK_BYTES];
    int handle = open_lost(repair, damage, WAL_OPEN_WRITE);
    if (handle < 0)
        return handle;
    int rc = write_block(repair, handle, zeros, damage->end - WAL_BLOCK_BYTES);
    repair->io->ops->close(repair->io, handle);
    return rc;
}

/* Errors: -EBADMSG: that cannot be done. */
static int mend(struct repair *repair, const struct inspect_damage *damage)
{
    switch (damage->lost) {
    case INSPECT_HEADER: return mend_header(repair, damage);
    case INSPECT_FILE: return mend_file(repair, damage);
    case INSPECT_END: return mend_end(repair, damage);
    default: return -EBADMSG;
    }
}

/* ---- the whole ---- */

/* What the page cache shows may not be on the disk: see recovery. */
static int sync_last(struct repair *repair)
{
    struct wal_io *io = repair->io;
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, repair->found.rest->last.segment_no);
    if (repair->found.segments == 0)
        return 0;
    int handle = io->ops->open_file(io, repair->dir, name, WAL_OPEN_WRITE);
    if (handle < 0)
        return handle;
    int rc = io->ops->sync(io, handle);
    io->ops->close(io, handle);
    return rc == 0 ? io->ops->sync(io, repair->dir) : rc;
}

static int look(struct repair *repair)
{
    inspection_done(&repair->found);
    return wal_inspect(repair->io, repair->dir, NULL, &repair->found);
}

/* The first of the segments that are lost is made again, and then the log looked at anew. */
static int mend_segments(struct repair *repair, unsigned *ret_mended)
{
    while (repair_plan(&repair->found) == REPAIR_SEGMENTS) {
        size_t i = 0;
        while (repair->found.damages[i].lost == INSPECT_BYTES)
            i++;
        int rc = mend(repair, &repair->found.damages[i]);
        if (rc < 0)
            return rc;
        ++*ret_mended;
        rc = look(repair);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int repair_log(struct repair *repair, const char *name, enum repair_plan *ret_plan,
                      unsigned *ret_mended)
{
    int rc = look(repair);
    if (rc == 0)
        rc = sync_last(repair);
    if (rc == 0)
        rc = look(repair);
    if (rc == 0)
        rc = mend_segments(repair, ret_mended);
    if (rc < 0)
        return rc;
    *ret_plan = repair_plan(&repair->found);
    if (*ret_plan != REPAIR_SET_ASIDE && *ret_plan != REPAIR_NEW)
        return *ret_plan == REPAIR_IMPOSSIBLE ? -EBADMSG : 0;
    /* A torn end alone stays for recovery. */
    if (*ret_plan == REPAIR_SET_ASIDE)
        repair->found.torn_end = 0;
    rc = set_all_aside(repair);
    if (rc == 0)
        rc = blank_all(repair);
    if (rc == 0 && *ret_plan == REPAIR_NEW)
        rc = begin_segment(repair, name);
    return rc;
}

/* Opening it is the proof, and does what recovery does. */
static int open_once(struct store *store, const char *name)
{
    struct wal *wal;
    int rc = store_get(store, name, false, &wal);
    if (rc < 0)
        return rc;
    rc = wal_status(wal);
    store_put(store, wal);
    return rc;
}

int store_repair(struct store *store, const char *name, enum repair_plan *ret_plan,
                 unsigned *ret_mended)
{
    struct repair repair = {.store = store, .io = store->io};
    *ret_mended = 0;
    *ret_plan = REPAIR_IMPOSSIBLE;
    if (!store_name_is_valid(name))
        return -EINVAL;
    pthread_mutex_lock(&store->lock);
    bool is_open = registry_find_locked(store, name) != NULL;
    pthread_mutex_unlock(&store->lock);
    if (is_open)
        return -EBUSY;
    repair.dir = repair.io->ops->open_dir(repair.io, store->logs_dir, name);
    if (repair.dir < 0)
        return repair.dir;
    int rc = repair_log(&repair, name, ret_plan, ret_mended);
    repair.io->ops->close(repair.io, repair.dir);
    inspection_done(&repair.found);
    return rc == 0 ? open_once(store, name) : rc;
}
