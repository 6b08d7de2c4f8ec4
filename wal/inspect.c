/*
 * Looking at the files of a log. Recovery reads the last segment and stops where it must; this reads
 * everything, and behind each damage goes on at the next frame that is whole: the salt and the
 * position in a frame's checksum make sure that it is one.
 */
#include "wal/inspect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wal/base.h"
#include "wal/compress.h"
#include "wal/inspect_end.h"
#include "wal/inspect_folder.h"
#include "wal/io.h"
#include "wal/log.h"

#define WINDOW_BYTES (8u << 20)
/* The least that a record takes in a frame: a header, one byte, and padding. */
#define RECORD_BYTES_MIN 24

struct inspector {
    struct wal_io *io;
    const struct inspect_visitor *visitor;
    struct inspection *found;
    struct inspect_end *end;
    struct inspect_folder folder;
    uint64_t done_bytes;

    /* The segment at hand. */
    const struct inspect_candidate *segment;
    int handle;
    uint64_t file_end;
    uint64_t rest_end; /* where what is not zero ends, once somebody asked; 0: nobody has */
    uint8_t *window;
    size_t capacity;
    uint64_t begin, window_end;
    struct unpacked unpacked;
};

static void inspector_done(struct inspector *in)
{
    if (in->handle >= 0)
        in->io->ops->close(in->io, in->handle);
    free(in->window);
    unpacked_done(&in->unpacked);
    inspect_folder_done(&in->folder);
}

void inspection_done(struct inspection *inspection)
{
    if (inspection->rest)
        state_done(&inspection->rest->state);
    free(inspection->rest);
    free(inspection->damages);
    *inspection = (struct inspection){0};
}

/* ---- what was found ---- */

static int add_damage(struct inspector *in, struct inspect_damage damage)
{
    struct inspection *found = in->found;
    struct inspect_damage *larger =
        realloc(found->damages, (found->damage_count + 1) * sizeof(*larger));
    if (!larger)
        return -ENOMEM;
    found->damages = larger;
    /* Of the last segment a log stays damaged until a repair has begun another one. */
    bool is_last =
        damage.segment_no == in->folder.candidates[in->folder.candidate_count - 1].number;
    damage.known =
        damage.lost == INSPECT_BYTES && !is_last &&
        inspect_folder_keeps(&in->folder, damage.segment_no, damage.position, damage.end);
    damage.before_end = in->end->position;
    damage.before_crc = in->end->crc;
    damage.before_frame = in->end->frame_no;
    damage.before_bytes = in->end->bytes;
    found->damages[found->damage_count++] = damage;
    return 0;
}

/* In the segment at hand. */
static int note_damage(struct inspector *in, uint64_t position, uint64_t end, uint64_t offset,
                       uint64_t offset_end, const char *what)
{
    return add_damage(in, (struct inspect_damage){.segment_no = in->segment->number,
                                                  .position = position,
                                                  .end = end,
                                                  .offset = offset,
                                                  .offset_end = offset_end,
                                                  .what = what});
}

/* ---- reading a segment ---- */

/* Makes [position, position + bytes) addressable; what the file lacks of its last block is zeros.
 * Errors: from reading; -ENOMEM. */
static int window_get(struct inspector *in, uint64_t position, uint64_t bytes,
                      const uint8_t **ret_data)
{
    if (position < in->begin || position + bytes > in->window_end) {
        uint64_t window = in->visitor->window_bytes ? in->visitor->window_bytes : WINDOW_BYTES;
        uint64_t wanted = min_u64(max_u64(bytes, window), in->file_end - position);
        if (wanted > in->capacity) {
            free(in->window);
            in->capacity = 0;
            in->window = aligned_alloc(WAL_BLOCK_BYTES, wanted);
            if (!in->window)
                return -ENOMEM;
            in->capacity = wanted;
        }
        int64_t got = in->io->ops->read(in->io, in->handle, in->window, wanted, position);
        if (got < 0 && wanted > bytes) {
            wanted = bytes;
            got = in->io->ops->read(in->io, in->handle, in->window, wanted, position);
        }
        in->begin = in->window_end = 0;
        if (got < 0)
            return (int)got;
        memset(in->window + got, 0, wanted - (uint64_t)got);
        in->begin = position;
        in->window_end = position + wanted;
    }
    *ret_data = in->window + (position - in->begin);
    return 0;
}

/* Where the blocks of [position, end) that are not zero end; `position`: there are none. What cannot
 * be read is not known to be zero. */
static int find_rest(struct inspector *in, uint64_t position, uint64_t end, uint64_t *ret_end)
{
    *ret_end = position;
    for (; position < end; position += WAL_BLOCK_BYTES) {
        const uint8_t *block = NULL;
        int rc = window_get(in, position, WAL_BLOCK_BYTES, &block);
        if (rc < 0 && rc != -EIO)
            return rc;
        if (rc == -EIO || !bytes_are_zero(block, WAL_BLOCK_BYTES))
            *ret_end = position + WAL_BLOCK_BYTES;
    }
    return 0;
}

/* ---- one frame ---- */

static void describe_frame(const struct inspector *in, const struct frame_header *header,
                           struct inspect_frame *ret_frame)
{
    *ret_frame = (struct inspect_frame){
        .segment_no = in->segment->number,
        .position = header->position,
        .bytes = frame_bytes(header->body_bytes),
        .frame_no = header->frame_no,
        .base_offset = header->base_offset,
        .base_bytes = header->base_bytes,
        .durable_frame = header->durable_frame,
        .timestamp_ns = header->timestamp_ns,
        .body_bytes = header->body_bytes,
        .items_bytes = frame_items_bytes(header),
        .record_count = header->record_count,
        .item_count = header->item_count,
        .crc = header->crc,
        .prev_crc = header->prev_crc,
        .is_state = header->flags & FRAME_STATE,
        .is_mark = header->flags & FRAME_MARK,
        .is_clean = header->flags & FRAME_CLEAN,
        .is_packed = header->flags & FRAME_PACKED,
        .is_compressed = header->flags & FRAME_COMPRESSED,
    };
}

/* What a change does to the state of the log, if it is whole. */
static int apply_change(struct inspector *in, const struct item *item)
{
    struct inspect_end *end = in->end;
    uint64_t offset;
    if (item->kind == ITEM_STATE_SET || item->kind == ITEM_STATE_REMOVE)
        return state_change(&end->state, item->attributes, item->attribute_bytes,
                            item->kind == ITEM_STATE_SET ? item->data : NULL, item->data_bytes, 0);
    if (item_trims(item, &offset))
        in->found->first_offset = max_u64(in->found->first_offset, min_u64(offset, end->offset));
    return 0;
}

static int visit_item(struct inspector *in, const struct inspect_frame *frame,
                      const struct item *item, bool is_intact)
{
    static const enum inspect_item_kind kinds[] = {
        [ITEM_RECORD] = INSPECT_RECORD,
        [ITEM_STATE_SET] = INSPECT_SET,
        [ITEM_STATE_REMOVE] = INSPECT_REMOVE,
        [ITEM_TRIM] = INSPECT_TRIM,
    };
    if (!in->visitor->item || item->kind == 0 || item->kind >= ARRAY_SIZE(kinds))
        return 0;
    struct inspect_item told = {
        .kind = kinds[item->kind],
        .offset = in->end->offset,
        .timestamp_ns = item->timestamp_ns,
        .key = item->attributes,
        .key_bytes = item->attribute_bytes,
        .data = item->data,
        .data_bytes = item->data_bytes,
        .is_intact = is_intact,
    };
    (void)item_trims(item, &told.offset);
    return in->visitor->item(in->visitor->context, frame, &told);
}

/* The items of a frame whose structure is whole. */
static int take_items(struct inspector *in, const struct frame_header *header,
                      const struct inspect_frame *frame, const uint8_t *items)
{
    struct item_walk walk = item_walk_of(header, items);
    struct item item;
    uint64_t began = 0;
    for (int rc; (rc = item_next(&walk, &item)) == 0; began = walk.position) {
        uint64_t position = frame->position + FRAME_HEADER_BYTES + began;
        uint64_t position_end = position + (walk.position - began);
        bool is_record = item.kind == ITEM_RECORD, is_intact = item_is_intact(&item);
        if (frame->is_compressed) { /* its bytes are everybody's */
            position = frame->position;
            position_end = position + frame->bytes;
        }
        if (!is_intact)
            rc = note_damage(in, position, position_end, in->end->offset,
                             in->end->offset + is_record,
                             is_record ? "a record does not match its checksum"
                                       : "a change of the log's state does not match its checksum");
        else if (!is_record)
            rc = apply_change(in, &item);
        if (rc == 0)
            rc = visit_item(in, frame, &item, is_intact);
        if (rc != 0)
            return rc;
        if (is_record) {
            in->end->offset++;
            in->end->bytes += item.data_bytes;
            in->end->timestamp_ns = item.timestamp_ns;
            in->found->records += is_intact;
        }
    }
    state_commit(&in->end->state, 0);
    return 0;
}

static void note_taken(struct inspect_end *end)
{
    end->taken_position = end->position;
    end->taken_frame = end->frame_no;
    end->taken_crc = end->crc;
}

/* Moves behind a frame of which at least the header is whole. */
static int take_frame(struct inspector *in, const struct frame_header *header, const uint8_t *data)
{
    struct inspect_end *end = in->end;
    struct inspect_frame frame;
    const uint8_t *items = NULL;
    const char *fault = "a frame cannot be read";
    int rc = 0;
    if (data) {
        rc = frame_open(&in->unpacked, header, data + FRAME_HEADER_BYTES, false, &items);
        fault = rc < 0 ? "a frame does not match its checksum" : NULL;
    }
    if (rc < 0 && rc != -EBADMSG)
        return rc;
    describe_frame(in, header, &frame);
    if ((header->flags & FRAME_STATE) && !fault) {
        state_done(&end->state);
        end->state = (struct state){0};
    }
    end->offset = header->base_offset;
    end->bytes = header->base_bytes;
    end->timestamp_ns = max_u64(end->timestamp_ns, header->timestamp_ns);
    rc = 0;
    if (in->visitor->frame)
        rc = in->visitor->frame(in->visitor->context, &frame);
    if (rc == 0 && fault)
        rc = note_damage(in, frame.position, frame.position + frame.bytes, header->base_offset,
                         header->base_offset + header->record_count, fault);
    else if (rc == 0)
        rc = take_items(in, header, &frame, items);
    if (rc == 0 && !fault && !frame_padding_is_fine(data, header->body_bytes)) {
        uint64_t used = frame.position + FRAME_HEADER_BYTES + header->body_bytes;
        rc = note_damage(in, used, frame.position + frame.bytes, end->offset, end->offset,
                         "what fills up a frame is not as written; no record is hurt");
    }
    if (rc != 0)
        return rc;

    if (fault) /* its payload: at most what it has room for */
        end->bytes = header->base_bytes + frame_items_bytes(header);
    end->offset = header->base_offset + header->record_count;
    end->position = frame.position + frame.bytes;
    end->frame_no = header->frame_no + 1;
    end->crc = header->crc;
    end->bytes_unknown = fault != NULL;
    note_taken(end);
    in->found->frames += !fault;
    in->found->clean = header->flags & FRAME_CLEAN;
    return 0;
}

/* ---- one segment ---- */

static bool follows(const struct inspector *in, const struct frame_header *header)
{
    const struct inspect_end *end = in->end;
    return header->frame_no == end->frame_no && header->prev_crc == end->crc &&
           header->base_offset == end->offset &&
           (header->base_bytes == end->bytes || end->bytes_unknown) &&
           !!(header->flags & FRAME_STATE) == (end->position == WAL_BLOCK_BYTES);
}

/* The header of a frame that stands at a position, whatever it has to do with the others.
 * Errors: -EBADMSG: none does, also where the disk cannot be read; others from reading. */
static int frame_at(struct inspector *in, uint64_t position, struct frame_header *ret_header)
{
    const uint8_t *block;
    int rc = window_get(in, position, WAL_BLOCK_BYTES, &block);
    if (rc == 0 && frame_header_decode(ret_header, in->segment->header.salt, position, block) == 0)
        return 0;
    return rc == 0 || rc == -EIO ? -EBADMSG : rc;
}

/* No frame that follows stands from the position on. Readers go by checksums, and would take one that
 * merely has no place there: a repair is not through until there is none at the beginning.
 * Errors: from reading; -ENOMEM. */
static int note_no_frame(struct inspector *in, uint64_t until, uint64_t offset_end)
{
    const struct inspect_end *end = in->end;
    struct frame_header header;
    int rc = note_damage(in, end->position, until, end->offset, offset_end,
                         "what stands here is no frame of the log");
    if (rc < 0)
        return rc;
    struct inspect_damage *damage = &in->found->damages[in->found->damage_count - 1];
    damage->has_no_place = true;
    if (!damage->known)
        return 0;
    rc = frame_at(in, end->position, &header);
    damage->known = rc == -EBADMSG;
    return damage->known ? 0 : rc;
}

/* Whether a later frame of the last segment proves that what stands here had been durable. */
static int find_witness(struct inspector *in, uint64_t end, bool *ret_witness)
{
    struct frame_header header;
    *ret_witness = false;
    for (uint64_t position = in->end->position + WAL_BLOCK_BYTES; position < end && !*ret_witness;
         position += WAL_BLOCK_BYTES) {
        int rc = frame_at(in, position, &header);
        if (rc < 0 && rc != -EBADMSG)
            return rc;
        *ret_witness = rc == 0 && header.durable_frame > in->end->frame_no;
    }
    return 0;
}

/* Whether what stands at the end of the last segment can come from a write that was torn. */
static int can_be_torn(struct inspector *in, bool *ret_torn)
{
    uint64_t position = in->end->position;
    struct frame_header header;
    const uint8_t *data;
    *ret_torn = false;
    int rc = window_get(in, position, WAL_BLOCK_BYTES, &data);
    if (rc < 0)
        return rc == -EIO ? 0 : rc;
    if (frame_header_decode(&header, in->segment->header.salt, position, data) < 0) {
        *ret_torn = frame_can_be_torn(NULL, data);
        return 0;
    }
    if (!follows(in, &header))
        return 0;
    uint64_t bytes = frame_bytes(header.body_bytes);
    uint64_t there = min_u64(bytes, in->file_end - position);
    uint8_t *frame = calloc(1, bytes);
    if (!frame)
        return -ENOMEM;
    rc = window_get(in, position, there, &data);
    if (rc == 0) {
        memcpy(frame, data, there);
        *ret_torn = frame_can_be_torn(&header, frame);
    }
    free(frame);
    return rc == -EIO ? 0 : rc;
}

/* Whether what stands at the position, which is no whole frame, is a write that was torn and no damage.
 * Only the last segment has such; its first frame was whole before anything followed. */
static int is_torn(struct inspector *in, uint64_t end, bool *ret_torn)
{
    bool witness;
    *ret_torn = false;
    if (in->end->position <= WAL_BLOCK_BYTES)
        return 0;
    int rc = find_witness(in, end, &witness);
    return rc == 0 && !witness ? can_be_torn(in, ret_torn) : rc;
}

/* The next frame behind the place that has none. Errors: -ENODATA: there is none. */
static int find_frame(struct inspector *in, uint64_t limit, struct frame_header *ret_header)
{
    for (uint64_t position = in->end->position + WAL_BLOCK_BYTES; position < limit;
         position += WAL_BLOCK_BYTES) {
        int rc = frame_at(in, position, ret_header);
        if (rc < 0 && rc != -EBADMSG)
            return rc;
        if (rc == 0 && ret_header->frame_no > in->end->frame_no &&
            ret_header->base_offset >= in->end->offset && ret_header->base_offset <= POSITION_MAX &&
            position + frame_bytes(ret_header->body_bytes) <= limit)
            return 0;
    }
    return -ENODATA;
}

struct bounds {
    uint64_t limit;     /* frames end here at the latest */
    bool is_last;       /* what was being written may be torn */
    bool is_sealed;     /* frames reach up to the limit */
    uint64_t next_base; /* offset of the next segment's first record, or INSPECT_UNKNOWN */
};

/* Damage up to the end: no frame follows it. */
static int pass_lost_end(struct inspector *in, const struct bounds *bounds, uint64_t rest)
{
    struct inspect_end *end = in->end;
    int rc = note_no_frame(in, rest, bounds->next_base);
    uint64_t bytes = rest - end->position;
    /* More cannot have been in there, so that no offset is ever given out twice. */
    if (bounds->is_last) {
        end->offset += bytes / RECORD_BYTES_MIN;
        end->bytes += bytes;
        end->lost_end = rest;
        return rc == 0 ? -ENODATA : rc;
    }
    end->position = rest;
    return rc;
}

/* Where what stands from the position on ends. It is read once for a segment, however many places
 * of it are damaged. */
static int find_rest_end(struct inspector *in, const struct bounds *bounds, uint64_t *ret_end)
{
    int rc = 0;
    if (bounds->is_sealed)
        in->rest_end = bounds->limit;
    else if (in->rest_end == 0)
        rc = find_rest(in, in->end->position, bounds->limit, &in->rest_end);
    *ret_end = max_u64(in->rest_end, in->end->position);
    return rc;
}

/* No frame that follows stands at the position. Errors: -ENODATA: the segment ends here. */
static int pass_trouble(struct inspector *in, const struct bounds *bounds)
{
    struct inspect_end *end = in->end;
    uint64_t rest;
    int rc = find_rest_end(in, bounds, &rest);
    if (rc < 0)
        return rc;
    if (rest == end->position)
        return -ENODATA;

    bool torn = false;
    if (bounds->is_last)
        rc = is_torn(in, bounds->limit, &torn);
    if (rc < 0)
        return rc;
    if (torn) {
        in->found->torn_segment = in->segment->number;
        in->found->torn_position = end->position;
        in->found->torn_end = rest;
        return -ENODATA;
    }
    struct frame_header header;
    rc = find_frame(in, bounds->limit, &header);
    if (rc == -ENODATA)
        return pass_lost_end(in, bounds, rest);
    if (rc < 0)
        return rc;
    rc = note_no_frame(in, header.position, header.base_offset);
    end->position = header.position;
    end->frame_no = header.frame_no;
    end->offset = header.base_offset;
    end->bytes = header.base_bytes;
    end->crc = header.prev_crc;
    return rc;
}

/* Takes the frame at the position, or what stands in its place. Errors: -ENODATA: the end. */
static int take_next(struct inspector *in, const struct bounds *bounds)
{
    struct inspect_end *end = in->end;
    struct frame_header header;
    const uint8_t *data;
    uint64_t salt = in->segment->header.salt;
    if (end->position + WAL_BLOCK_BYTES > bounds->limit)
        return -ENODATA;
    int rc = window_get(in, end->position, WAL_BLOCK_BYTES, &data);
    if (rc < 0)
        return rc == -EIO ? pass_trouble(in, bounds) : rc;
    rc = frame_header_decode(&header, salt, end->position, data);
    if (rc == -EPROTONOSUPPORT)
        return rc;
    if (rc < 0 || !follows(in, &header) ||
        end->position + frame_bytes(header.body_bytes) > bounds->limit)
        return pass_trouble(in, bounds);

    rc = window_get(in, end->position, frame_bytes(header.body_bytes), &data);
    if (rc < 0 && rc != -EIO)
        return rc;
    if (rc == -EIO)
        data = NULL;
    const uint8_t *items;
    if (bounds->is_last && data &&
        frame_open(&in->unpacked, &header, data + FRAME_HEADER_BYTES, true, &items) < 0) {
        bool torn;
        rc = is_torn(in, bounds->limit, &torn);
        if (rc < 0)
            return rc;
        if (torn)
            return pass_trouble(in, bounds);
        rc = window_get(in, end->position, frame_bytes(header.body_bytes), &data);
        if (rc < 0)
            return rc;
    }
    if (end->position == WAL_BLOCK_BYTES && data)
        end->has_state_frame =
            frame_open(&in->unpacked, &header, data + FRAME_HEADER_BYTES, true, &items) == 0;
    return take_frame(in, &header, data);
}

static bool is_packed(const struct inspector *in)
{
    return segment_is_packed(&in->segment->header);
}

/* Where the file ends of a segment whose successor says this. */
static uint64_t sealed_end_of(const struct segment_header *header, uint64_t prev_end)
{
    return segment_is_packed(header) ? header->seal.end : prev_end;
}

/* Behind the last frame of a packed segment, if it is as its header says: from there to the end of
 * the segment that it was made from. */
static void pass_seal(struct inspector *in)
{
    const struct segment_seal *seal = &in->segment->header.seal;
    struct inspect_end *end = in->end;
    if (!is_packed(in) || end->position != seal->end || end->crc != seal->crc)
        return;
    end->position = seal->original_end;
    end->crc = seal->original_crc;
    end->frame_no = seal->end_frame;
    note_taken(end);
}

/* The successor of a packed segment, which it had when it was packed, is lost: the header tells where
 * that began, whatever the frames are. */
static int pass_packed(struct inspector *in, bool is_last)
{
    const struct segment_seal *seal = &in->segment->header.seal;
    struct inspect_end *end = in->end;
    end->position = seal->original_end;
    end->crc = seal->original_crc;
    end->frame_no = seal->end_frame;
    end->offset = seal->end_offset;
    end->bytes = seal->end_bytes;
    note_taken(end);
    if (!is_last)
        return 0;
    return add_damage(in, (struct inspect_damage){.segment_no = in->segment->number + 1,
                                                  .offset = end->offset,
                                                  .offset_end = INSPECT_UNKNOWN,
                                                  .what = "the file of a segment is missing",
                                                  .lost = INSPECT_FILE});
}

/* What the header of the next segment tells of the end of this one. */
static int check_seal(struct inspector *in, const struct segment_header *next)
{
    const struct inspect_end *end = in->end;
    const uint64_t sealed_end = sealed_end_of(&in->segment->header, next->prev_end);
    if (in->file_end < sealed_end)
        return add_damage(in, (struct inspect_damage){.segment_no = in->segment->number,
                                                      .position = in->file_end,
                                                      .end = sealed_end,
                                                      .offset = end->offset,
                                                      .offset_end = next->base_offset,
                                                      .what = "the file is shorter than the next "
                                                              "segment says",
                                                      .lost = INSPECT_END});
    uint64_t rest;
    int rc = find_rest(in, sealed_end, in->file_end, &rest);
    if (rc == 0 && rest > sealed_end)
        rc = note_damage(in, sealed_end, rest, end->offset, max_u64(end->offset, next->base_offset),
                         "what stands behind the end of the segment is none of it");
    /* After damage up to the very end there is nothing to compare with. */
    const struct inspection *found = in->found;
    const struct inspect_damage *last =
        found->damage_count ? &found->damages[found->damage_count - 1] : NULL;
    bool was_told = last && last->segment_no == in->segment->number && last->end >= sealed_end;
    if (rc == 0 && !was_told)
        pass_seal(in);
    if (rc == 0 && !was_told &&
        (next->prev_end != end->position || next->prev_crc != end->crc ||
         next->base_frame != end->frame_no || next->base_offset != end->offset))
        rc = note_damage(in, end->position, end->position, end->offset, next->base_offset,
                         "the segment does not end as the next one says");
    return rc;
}

static int scan_segment(struct inspector *in, struct inspect_candidate *segment,
                        const struct segment_header *next, bool is_last)
{
    struct inspect_end *end = in->end;
    const struct segment_header *header = &segment->header;
    in->handle = inspect_folder_reopen(&in->folder, segment);
    if (in->handle == -ENOENT && in->visitor->live && !is_last)
        return 0; /* trimmed since it was listed, as all before it */
    if (in->handle < 0)
        return in->handle;
    in->segment = segment;
    in->begin = in->window_end = in->rest_end = 0;
    in->file_end = round_up(segment->file_bytes, WAL_BLOCK_BYTES);

    end->last = *header;
    end->file_bytes = segment->file_bytes;
    end->position = WAL_BLOCK_BYTES;
    end->frame_no = header->base_frame;
    end->offset = header->base_offset;
    end->bytes = header->base_bytes;
    end->crc = header->prev_crc;
    end->timestamp_ns = max_u64(end->timestamp_ns, header->created_ns);
    end->has_state_frame = false;
    end->lost_end = 0;
    end->bytes_unknown = false;
    note_taken(end);
    const uint64_t sealed_end = sealed_end_of(header, next ? next->prev_end : UINT64_MAX);
    struct bounds bounds = {
        .limit = min_u64(sealed_end, in->file_end),
        .is_last = is_last && !is_packed(in),
        .is_sealed = next != NULL || is_packed(in),
        .next_base = next ? next->base_offset : INSPECT_UNKNOWN,
    };
    int rc;
    while ((rc = take_next(in, &bounds)) == 0) {
        if (!in->visitor->progress)
            continue;
        rc = in->visitor->progress(in->visitor->context, in->done_bytes + end->position,
                                   in->folder.total_bytes);
        if (rc != 0)
            break;
    }
    if (rc == -ENODATA)
        rc = 0;
    if (rc == 0 && bounds.is_last && end->position == WAL_BLOCK_BYTES && end->lost_end == 0)
        rc = note_damage(in, WAL_BLOCK_BYTES, max_u64(in->file_end, 2 * WAL_BLOCK_BYTES),
                         end->offset, end->offset, "the segment lacks its first frame");
    if (rc == 0 && next)
        rc = check_seal(in, next);
    else if (rc == 0 && is_packed(in))
        rc = pass_packed(in, is_last);
    in->io->ops->close(in->io, in->handle);
    in->handle = -1;
    in->done_bytes += segment->file_bytes;
    return rc;
}

/* ---- the whole ---- */

static int visit_segment(struct inspector *in, const struct inspect_candidate *candidate)
{
    const struct segment_header *header = &candidate->header;
    in->found->segments++;
    if (!in->visitor->segment)
        return 0;
    struct inspect_segment told = {
        .segment_no = header->segment_no,
        .base_offset = header->base_offset,
        .base_bytes = header->base_bytes,
        .base_frame = header->base_frame,
        .prev_end = header->prev_end,
        .created_ns = header->created_ns,
        .file_bytes = candidate->file_bytes,
        .prev_crc = header->prev_crc,
        .is_packed = segment_is_packed(header),
        .is_compressed = header->kind == SEGMENT_COMPRESSED,
    };
    memcpy(told.log, &header->log, sizeof(told.log));
    return in->visitor->segment(in->visitor->context, &told);
}

/* Where the next segment that is whole begins. */
static uint64_t next_base(const struct inspector *in, size_t i)
{
    for (; i < in->folder.candidate_count; i++) {
        if (!in->folder.candidates[i].fault)
            return in->folder.candidates[i].header.base_offset;
    }
    return INSPECT_UNKNOWN;
}

static int note_missing(struct inspector *in, size_t i)
{
    return add_damage(in,
                      (struct inspect_damage){.segment_no = in->folder.candidates[i - 1].number + 1,
                                              .offset = in->end->offset,
                                              .offset_end = next_base(in, i),
                                              .what = "the file of a segment is missing",
                                              .lost = INSPECT_FILE});
}

static int take_candidate(struct inspector *in, size_t i)
{
    struct inspect_candidate *all = in->folder.candidates, *candidate = &all[i];
    int rc = 0;
    if (i > 0 && all[i - 1].number + 1 != candidate->number)
        rc = note_missing(in, i);
    if (rc < 0)
        return rc;
    if (candidate->fault) {
        in->done_bytes += candidate->file_bytes;
        return add_damage(in, (struct inspect_damage){.segment_no = candidate->number,
                                                      .position = 0,
                                                      .end = WAL_BLOCK_BYTES,
                                                      .offset = in->end->offset,
                                                      .offset_end = next_base(in, i + 1),
                                                      .what = candidate->fault,
                                                      .lost = INSPECT_HEADER});
    }
    if (candidate->header.base_offset < in->end->offset && in->found->segments > 0)
        rc = add_damage(in, (struct inspect_damage){.segment_no = candidate->number,
                                                    .end = WAL_BLOCK_BYTES,
                                                    .offset = candidate->header.base_offset,
                                                    .offset_end = in->end->offset,
                                                    .what = "the segment begins before the end of "
                                                            "the one before it",
                                                    .lost = INSPECT_OVERLAP});
    if (rc == 0)
        rc = visit_segment(in, candidate);
    if (rc != 0)
        return rc;
    bool is_last = i + 1 == in->folder.candidate_count;
    bool has_next = !is_last && !all[i + 1].fault && all[i + 1].number == candidate->number + 1;
    return scan_segment(in, candidate, has_next ? &all[i + 1].header : NULL, is_last);
}

/* Damage to what has been trimmed is none; but headers and the last segment are what recovery reads. */
static void drop_trimmed(struct inspection *found)
{
    size_t kept = 0;
    for (size_t i = 0; i < found->damage_count; i++) {
        const struct inspect_damage *damage = &found->damages[i];
        bool is_trimmed =
            damage->lost != INSPECT_HEADER && damage->segment_no != found->rest->last.segment_no &&
            (damage->offset < found->first_offset || damage->lost == INSPECT_FILE) &&
            damage->offset_end != INSPECT_UNKNOWN && damage->offset_end <= found->first_offset;
        if (is_trimmed)
            continue;
        found->known_count += damage->known;
        found->damages[kept++] = *damage;
    }
    found->damage_count = kept;
}

static int note_missing_first(struct inspector *in)
{
    const struct inspection *found = in->found;
    const struct inspect_candidate *first = &in->folder.candidates[0];
    if (found->segments == 0 || first->fault || first->header.base_offset <= found->first_offset)
        return 0;
    struct inspect_end *end = in->end;
    const uint64_t position = end->position, frame_no = end->frame_no, bytes = end->bytes;
    const uint32_t crc = end->crc;
    end->position = end->frame_no = end->bytes = end->crc = 0; /* nothing stands before it */
    int rc = add_damage(in, (struct inspect_damage){.segment_no = first->number - 1,
                                                    .offset = found->first_offset,
                                                    .offset_end = first->header.base_offset,
                                                    .what = "the file of a segment is missing",
                                                    .lost = INSPECT_FILE});
    end->position = position;
    end->frame_no = frame_no;
    end->bytes = bytes;
    end->crc = crc;
    return rc;
}

static int inspect_all(struct inspector *in)
{
    struct inspection *found = in->found;
    int rc = inspect_folder_list(&in->folder, found->log);
    if (rc < 0)
        return rc;
    found->bytes = in->folder.total_bytes;
    for (size_t i = 0; i < in->folder.candidate_count && rc == 0; i++)
        rc = take_candidate(in, i);
    if (rc == 0)
        rc = note_missing_first(in);
    if (rc != 0)
        return rc;
    drop_trimmed(found);
    found->next_offset = in->end->offset;
    found->first_offset = min_u64(found->first_offset, found->next_offset);
    if (found->damage_count > found->known_count)
        found->verdict = INSPECT_DAMAGED;
    else if (found->torn_end > 0)
        found->verdict = INSPECT_TORN;
    return 0;
}

int wal_inspect(struct wal_io *io, int dir, const struct inspect_visitor *visitor,
                struct inspection *ret_inspection)
{
    static const struct inspect_visitor nobody;
    CLEANUP(inspector_done)
    struct inspector in = {.io = io,
                           .folder = {.io = io,
                                      .dir = dir,
                                      .direct = visitor && visitor->direct,
                                      .live = visitor && visitor->live},
                           .visitor = visitor ? visitor : &nobody,
                           .found = ret_inspection,
                           .handle = -1};
    *ret_inspection = (struct inspection){.verdict = INSPECT_INTACT};
    in.end = ret_inspection->rest = calloc(1, sizeof(*in.end));
    int rc = in.end ? inspect_all(&in) : -ENOMEM;
    if (rc != 0)
        inspection_done(ret_inspection);
    return rc;
}

int wal_inspect_path(const char *path, const struct inspect_visitor *visitor,
                     struct inspection *ret_inspection)
{
    struct wal_io *io;
    *ret_inspection = (struct inspection){0};
    int rc = wal_io_posix_new(false, &io);
    if (rc < 0)
        return rc;
    int dir = io->ops->open_dir(io, WAL_IO_CWD, path);
    rc = dir < 0 ? dir : wal_inspect(io, dir, visitor, ret_inspection);
    if (dir >= 0)
        io->ops->close(io, dir);
    io->ops->free(io);
    return rc;
}
