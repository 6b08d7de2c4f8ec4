/*
 * The bytes on disk: segment headers, frames and the items in them. Encoding and decoding only, no
 * files and no locks: every function is pure and may be called from any thread. Numbers on disk are
 * little endian. README.md beside this file draws the layout. Internal to wal/.
 *
 *   segment file   header block, then frames, each beginning at a multiple of WAL_BLOCK_BYTES
 *   frame          one group commit: header, items back to back, zeros up to the next block
 *   item           one record, or one change of the log's state: header, attributes, data, padding
 *
 * Decoding trusts nothing: a length is used only after the checksum over it has matched and it has
 * been held against the bytes that are there.
 */
#ifndef WAL_FORMAT_H
#define WAL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wal/io.h"

#define WAL_FORMAT_VERSION 1

#define FRAME_HEADER_BYTES 96u
#define ITEM_HEADER_BYTES 16u
/* Ceiling of one frame's body. A frame is read whole, so this bounds the memory of every reader. */
#define FRAME_BODY_BYTES_MAX (20u << 20)
#define FRAME_ITEMS_MAX (1u << 20)

/* Whether all of them are zero; none are, too. */
bool bytes_are_zero(const void *data, size_t size);

struct wal_uuid {
    uint8_t bytes[16];
};

/* Sealed segments are rewritten densely (pack.c); both kinds stand side by side. */
enum segment_kind {
    SEGMENT_APPENDED = 0, /* a frame for each group commit */
    SEGMENT_PACKED = 1,   /* the same records and changes in few frames */
    SEGMENT_COMPRESSED =
        2, /* likewise, some of them compressed: who does not know that refuses it */
};

/* How a packed segment ends, and how the one ended that it was made from: its successor knows that
 * one. All of it is known before the file has its name. */
struct segment_seal {
    uint64_t end;          /* bytes of this file up to the end of its last frame */
    uint32_t crc;          /* header checksum of that frame */
    uint64_t original_end; /* the successor's prev_end … */
    uint32_t original_crc; /* … and prev_crc */
    uint64_t end_frame;    /* the successor's base_frame … */
    uint64_t end_offset;   /* … base_offset … */
    uint64_t end_bytes;    /* … and base_bytes */
};

/* Block 0 of a segment file. */
struct segment_header {
    uint16_t kind;        /* enum segment_kind */
    struct wal_uuid log;  /* a file moved to another log is refused */
    uint64_t segment_no;  /* dense over the life of the log, from 0 */
    uint64_t base_offset; /* offset of the first record in here */
    uint64_t base_bytes;  /* payload bytes of the log before it */
    uint64_t base_frame;  /* number of the first frame in here */
    uint64_t salt;        /* seeds the frame checksums; never shown to a client */
    uint64_t prev_end;    /* bytes of the predecessor up to the end of its last frame; 0: none */
    uint32_t prev_crc;    /* header checksum of that frame: the chain goes on from it */
    uint64_t created_ns;  /* not after any timestamp in here, not before any in the predecessor */
    struct segment_seal seal; /* of packed ones; zeros otherwise */
};

static inline bool segment_is_packed(const struct segment_header *header)
{
    return header->kind == SEGMENT_PACKED || header->kind == SEGMENT_COMPRESSED;
}

enum {
    FRAME_STATE = 1 << 0,  /* the items are the log's whole state, not a change of it */
    FRAME_MARK = 1 << 1,   /* no items: a witness that everything before it is durable */
    FRAME_CLEAN = 1 << 2,  /* with FRAME_MARK: the log was closed in good order behind it */
    FRAME_PACKED = 1 << 3, /* times of its items are in nanoseconds: see struct item_walk */
    FRAME_COMPRESSED =
        1 << 4, /* with FRAME_PACKED: the body is the items compressed (compress.h) */
};

struct frame_header {
    uint32_t body_bytes;    /* items with their padding, or those compressed; without the header */
    uint32_t items_crc;     /* CRC32C of all item headers one after the other, and so of the data */
    uint64_t base_offset;   /* offset of the first record, or of the next one if there is none */
    uint64_t base_bytes;    /* payload bytes of the log before this frame */
    uint64_t frame_no;      /* dense over the life of the log */
    uint64_t durable_frame; /* the first frame not known to be durable when this one was written */
    uint64_t position;      /* of the frame in its segment file: stale or misdirected blocks fail */
    uint64_t timestamp_ns;  /* realtime of the first item, never before that of an earlier frame */
    uint32_t record_count;
    uint32_t item_count;
    uint32_t prev_crc; /* header checksum of the frame before, across segments */
    uint16_t flags;
    uint32_t zero_sectors; /* frame_zero_sectors() when it was written: tells torn from damaged */
    uint32_t plain_bytes;  /* of FRAME_COMPRESSED: of the items … */
    uint32_t body_crc;     /* … and CRC32C of the body, which is looked at first; else 0 */
    uint32_t crc;          /* header checksum, seeded with the salt: set by encode and decode */
};

/* Bytes of a frame's items with their padding. */
static inline uint32_t frame_items_bytes(const struct frame_header *header)
{
    return header->flags & FRAME_COMPRESSED ? header->plain_bytes : header->body_bytes;
}

enum item_kind {
    ITEM_RECORD = 1,
    ITEM_STATE_SET = 2,    /* attributes: the key; data: the value */
    ITEM_STATE_REMOVE = 3, /* attributes: the key */
    ITEM_TRIM = 4,         /* data: the new first offset, 8 bytes little endian */
    ITEM_TIME = 5, /* in packed frames; data: the time that those behind it count from, 8 bytes */
};

/* What an item of a packed frame can be later than the time it counts from: 40 bits. */
#define PACKED_DELTA_MAX ((UINT64_C(1) << 40) - 1)

struct item {
    uint8_t kind;
    /* Microseconds since the frame's timestamp. In a packed frame the low 32 bits of nanoseconds
     * since that, or since the last ITEM_TIME, whose high 8 bits are … */
    uint32_t timestamp_delta_us;
    uint8_t timestamp_high; /* … here; 0 in other frames */
    uint64_t timestamp_ns;  /* set by item_next() on a walk of item_walk_of() */
    const void *attributes;
    uint16_t attribute_bytes;
    const void *data;
    uint32_t data_bytes;
    uint32_t crc; /* item_crc() of attributes and data */
};

/* A whole block of WAL_BLOCK_BYTES is written. */
void segment_header_encode(const struct segment_header *header, void *block);

/* Errors:
 *   -EBADMSG          not a segment header, or a damaged one
 *   -EPROTONOSUPPORT  whole, but of a newer version or an unknown kind */
int segment_header_decode(struct segment_header *ret_header, const void *block);

/* Of offsets, bytes and numbers in a header: no log gets there, and sums above it stay far from
 * overflow. */
#define POSITION_MAX (INT64_MAX / 2)

static inline bool segment_header_is_in_range(const struct segment_header *header)
{
    return header->segment_no <= POSITION_MAX && header->base_offset <= POSITION_MAX &&
           header->base_bytes <= POSITION_MAX && header->base_frame <= POSITION_MAX;
}

/* The last byte of a frame, at the end of its last block, and the last bytes of a frame header. A
 * write that stopped early, at whatever byte, leaves zeros there; a flipped bit does not. */
#define FRAME_END_MARK 0xa5

/* Bytes that a frame takes in the file, end mark included: a multiple of WAL_BLOCK_BYTES. */
static inline uint64_t frame_bytes(uint32_t body_bytes)
{
    return ((uint64_t)FRAME_HEADER_BYTES + body_bytes + 1 + WAL_BLOCK_BYTES - 1) &
           ~(uint64_t)(WAL_BLOCK_BYTES - 1);
}

/* Writes FRAME_HEADER_BYTES and sets header->crc. */
void frame_header_encode(struct frame_header *header, uint64_t salt, void *bytes);

/* Decodes FRAME_HEADER_BYTES that stand at `position` of a file with this salt. A header that
 * decodes has body_bytes and frame_items_bytes() <= FRAME_BODY_BYTES_MAX, and counts that can fit those.
 * Errors:
 *   -ENODATA          all FRAME_HEADER_BYTES are zero: nothing was written here
 *   -EBADMSG          no frame header of this segment and position
 *   -EPROTONOSUPPORT  whole, but of a newer version */
int frame_header_decode(struct frame_header *ret_header, uint64_t salt, uint64_t position,
                        const void *bytes);

/* Prepares a frame whose body stands in place: zeros behind the body, the end mark, and
 * header->zero_sectors. frame_header_encode() comes next. `frame` has frame_bytes() bytes. */
void frame_finish(struct frame_header *header, void *frame);

/* How many of the sectors that overlap the first FRAME_HEADER_BYTES + body_bytes of the frame are
 * all zero. */
uint32_t frame_zero_sectors(const void *frame, uint32_t body_bytes);

/* Whether a frame that is not whole can be what a write left that never ended: written into zeros,
 * each sector as it was to be or still zero, or the write stopped at some byte. What cannot is
 * damage to something that had been whole. `header` is NULL where the header does not decode; then
 * only the first sector of `frame` is looked at, otherwise frame_bytes() of it. */
bool frame_can_be_torn(const struct frame_header *header, const void *frame);

/* Bytes an item takes in a body, a multiple of 8. */
static inline uint64_t item_bytes(uint32_t attribute_bytes, uint64_t data_bytes)
{
    return (ITEM_HEADER_BYTES + (uint64_t)attribute_bytes + data_bytes + 7) & ~UINT64_C(7);
}

uint32_t item_crc(const void *attributes, uint32_t attribute_bytes, const void *data,
                  size_t data_bytes);

/* Writes item_bytes() bytes: header, attributes, data and zero padding; item->crc must be set.
 * Returns items_crc continued over this item's header. */
uint32_t item_encode(const struct item *item, uint32_t items_crc, void *bytes);

/* Walks the items of one frame: begin with item_walk_of(). */
struct item_walk {
    const uint8_t *body;
    uint32_t body_bytes;
    uint32_t position;
    bool is_packed;
    uint64_t time_ns; /* that the next item's time counts from */
};

/* The items are the body of the frame, or what that unpacks to: see frame_open(). */
struct item_walk item_walk_of(const struct frame_header *header, const void *items);

/* The next item, its pointers into the body. The item's own checksum is not verified: see
 * item_is_intact().
 * Errors:
 *   -ENODATA  the body ends here
 *   -EBADMSG  what stands here is no item */
int item_next(struct item_walk *walk, struct item *ret_item);

/* Whether attributes and data match the item's checksum and the padding is zero. */
bool item_is_intact(const struct item *item);

/* Whether the item is a trim that can be read, and then the offset of the first record that stays. */
bool item_trims(const struct item *item, uint64_t *ret_offset);

/* Verifies that the items are what the header says: items_crc, counts and the structure; with `deep`
 * each item's checksum as well. Who reads frames calls frame_open(), which calls this.
 * Errors:
 *   -EBADMSG  it is not */
int frame_body_verify(const struct frame_header *header, const void *items, bool deep);

/* Whether the bytes from the end of the body to the end of the frame are as written. */
bool frame_padding_is_intact(const void *frame, uint32_t body_bytes);

/* The same, or all zeros: a write that stopped behind the last item leaves no end mark, and counts. */
bool frame_padding_is_fine(const void *frame, uint32_t body_bytes);

/* Attributes: a list of {type u16, bytes u16, value}, not padded. */

/* Appends one to a list of *bytes bytes in `list` with room for `capacity`; grows *bytes.
 * Errors:
 *   -EMSGSIZE  it does not fit, or the list would pass 65535 bytes */
int attribute_put(void *list, size_t capacity, uint16_t *bytes, uint16_t type, const void *value,
                  uint16_t value_bytes);

/* Finds the first attribute of this type. Errors: -ENOENT; -EBADMSG: the list is malformed. */
int attribute_find(const void *list, uint16_t bytes, uint16_t type, const void **ret_value,
                   uint16_t *ret_value_bytes);

/* Whether the list can be walked to its very end. */
bool attributes_are_well_formed(const void *list, uint16_t bytes);

#endif
