/*
 * Encoding and decoding of what format.h describes. The structs here are the layout on disk, byte
 * for byte; they are copied to and from the buffers, so these need no alignment. Fields ending in
 * _le are little endian on every machine.
 *
 * Whether a header makes sense is one function for both directions: what it refuses is an error
 * when it was read and a broken assertion when it is about to be written.
 */
#include "wal/format.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "wal/base.h"
#include "wal/crc32c.h"

#define FRAME_MAGIC UINT32_C(0x31544D43) /* "CMT1" */
#define FRAME_FLAGS_KNOWN (FRAME_STATE | FRAME_MARK | FRAME_CLEAN | FRAME_PACKED | FRAME_COMPRESSED)
#define ATTRIBUTE_HEADER_BYTES 4u

static const uint8_t SEGMENT_MAGIC[8] = {'L', 'O', 'G', 'S', 'E', 'G', 0, 1};
static const uint8_t END_MARK[4] = {FRAME_END_MARK, FRAME_END_MARK, FRAME_END_MARK, FRAME_END_MARK};

struct disk_segment_header {
    uint8_t magic[8];
    uint16_t version_le;
    uint16_t kind_le;
    uint32_t block_bytes_le;
    struct wal_uuid log;
    uint64_t segment_no_le;
    uint64_t base_offset_le;
    uint64_t base_bytes_le;
    uint64_t base_frame_le;
    uint64_t salt_le;
    uint64_t prev_end_le;
    uint64_t created_ns_le;
    uint32_t prev_crc_le;
    /* Of a packed segment; zeros otherwise. */
    uint32_t seal_crc_le;
    uint64_t seal_end_le;
    uint64_t original_end_le;
    uint32_t original_crc_le;
    uint32_t seal_reserved; /* zero */
    uint64_t end_frame_le;
    uint64_t end_offset_le;
    uint64_t end_bytes_le;
    uint8_t reserved[3948]; /* zeros */
    uint32_t crc_le;        /* of all bytes before it */
} __attribute__((packed));

_Static_assert(sizeof(struct disk_segment_header) == WAL_BLOCK_BYTES, "on-disk layout");
_Static_assert(offsetof(struct disk_segment_header, log) == 16, "on-disk layout");
_Static_assert(offsetof(struct disk_segment_header, salt_le) == 64, "on-disk layout");
_Static_assert(offsetof(struct disk_segment_header, created_ns_le) == 80, "on-disk layout");
_Static_assert(offsetof(struct disk_segment_header, seal_crc_le) == 92, "on-disk layout");
_Static_assert(offsetof(struct disk_segment_header, reserved) == 144, "on-disk layout");
_Static_assert(offsetof(struct disk_segment_header, crc_le) == 4092, "on-disk layout");

struct disk_frame_header {
    uint32_t magic_le;
    uint32_t crc_le; /* of the salt and all bytes after this field */
    uint32_t body_bytes_le;
    uint32_t items_crc_le;
    uint64_t base_offset_le;
    uint64_t base_bytes_le;
    uint64_t frame_no_le;
    uint64_t durable_frame_le;
    uint64_t position_le;
    uint64_t timestamp_ns_le;
    uint32_t record_count_le;
    uint32_t item_count_le;
    uint32_t prev_crc_le;
    uint16_t flags_le;
    uint16_t version_le;
    uint32_t zero_sectors_le;
    /* Of a compressed frame; zeros otherwise. */
    uint32_t plain_bytes_le;
    uint32_t body_crc_le;
    uint8_t end_mark[4]; /* FRAME_END_MARK each */
} __attribute__((packed));

_Static_assert(sizeof(struct disk_frame_header) == FRAME_HEADER_BYTES, "on-disk layout");
_Static_assert(offsetof(struct disk_frame_header, body_bytes_le) == 8, "on-disk layout");
_Static_assert(offsetof(struct disk_frame_header, base_offset_le) == 16, "on-disk layout");
_Static_assert(offsetof(struct disk_frame_header, record_count_le) == 64, "on-disk layout");
_Static_assert(offsetof(struct disk_frame_header, version_le) == 78, "on-disk layout");
_Static_assert(offsetof(struct disk_frame_header, plain_bytes_le) == 84, "on-disk layout");

struct disk_item_header {
    uint32_t data_bytes_le;
    uint32_t crc_le;
    uint32_t timestamp_delta_us_le;
    uint16_t attribute_bytes_le;
    uint8_t kind;           /* never 0, so zeros are not an item */
    uint8_t timestamp_high; /* in packed frames; else zero */
} __attribute__((packed));

_Static_assert(sizeof(struct disk_item_header) == ITEM_HEADER_BYTES, "on-disk layout");
_Static_assert(offsetof(struct disk_item_header, attribute_bytes_le) == 12, "on-disk layout");
_Static_assert(offsetof(struct disk_item_header, kind) == 14, "on-disk layout");

bool bytes_are_zero(const void *data, size_t size)
{
    const uint8_t *bytes = data;

    /* All bytes equal their neighbour, and the first is zero. Most data is refused by its first
     * byte; memcmp is the fastest loop at hand for the rest. */
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* memcpy() forbids NULL even for no bytes; an item without attributes has no pointer to them. */
static void *copy(void *to, const void *from, size_t size)
{
    if (size > 0)
        memcpy(to, from, size);
    return (uint8_t *)to + size;
}

static bool seal_is_zero(const struct disk_segment_header *disk)
{
    const uint8_t *bytes = (const uint8_t *)disk;
    size_t begin = offsetof(struct disk_segment_header, seal_crc_le);

    return bytes_are_zero(bytes + begin, offsetof(struct disk_segment_header, reserved) - begin);
}

/* Lengths and positions that fit each other. */
static bool seal_is_sound(const struct segment_header *header)
{
    const struct segment_seal *seal = &header->seal;

    return seal->end >= 2ull * WAL_BLOCK_BYTES && seal->end % WAL_BLOCK_BYTES == 0 &&
           seal->original_end % WAL_BLOCK_BYTES == 0 && seal->end <= seal->original_end &&
           seal->original_end <= POSITION_MAX && seal->end_frame <= POSITION_MAX &&
           seal->end_offset <= POSITION_MAX && seal->end_bytes <= POSITION_MAX &&
           seal->end_frame > header->base_frame && seal->end_offset >= header->base_offset &&
           seal->end_bytes >= header->base_bytes;
}

void segment_header_encode(const struct segment_header *header, void *block)
{
    must(header->kind == SEGMENT_APPENDED || segment_is_packed(header));

    struct disk_segment_header disk = {
        .version_le = htole16(WAL_FORMAT_VERSION),
        .kind_le = htole16(header->kind),
        .block_bytes_le = htole32(WAL_BLOCK_BYTES),
        .log = header->log,
        .segment_no_le = htole64(header->segment_no),
        .base_offset_le = htole64(header->base_offset),
        .base_bytes_le = htole64(header->base_bytes),
        .base_frame_le = htole64(header->base_frame),
        .salt_le = htole64(header->salt),
        .prev_end_le = htole64(header->prev_end),
        .prev_crc_le = htole32(header->prev_crc),
        .created_ns_le = htole64(header->created_ns),
        .seal_crc_le = htole32(header->seal.crc),
        .seal_end_le = htole64(header->seal.end),
        .original_end_le = htole64(header->seal.original_end),
        .original_crc_le = htole32(header->seal.original_crc),
        .end_frame_le = htole64(header->seal.end_frame),
        .end_offset_le = htole64(header->seal.end_offset),
        .end_bytes_le = htole64(header->seal.end_bytes),
    };

    must(segment_is_packed(header) || seal_is_zero(&disk));
    memcpy(disk.magic, SEGMENT_MAGIC, sizeof(disk.magic));
    disk.crc_le = htole32(crc32c(0, &disk, offsetof(struct disk_segment_header, crc_le)));
    memcpy(block, &disk, sizeof(disk));
}

int segment_header_decode(struct segment_header *ret_header, const void *block)
{
    struct disk_segment_header disk;

    memcpy(&disk, block, sizeof(disk));
    if (le32toh(disk.crc_le) != crc32c(0, &disk, offsetof(struct disk_segment_header, crc_le)))
        return -EBADMSG;
    if (memcmp(disk.magic, SEGMENT_MAGIC, sizeof(disk.magic)) != 0)
        return -EBADMSG;

    /* From here on these are the bytes that somebody wrote. Version 0 was never written; of a later
     * version nothing else can be understood. */
    if (le16toh(disk.version_le) == 0)
        return -EBADMSG;
    if (le16toh(disk.version_le) > WAL_FORMAT_VERSION)
        return -EPROTONOSUPPORT;
    if (le16toh(disk.kind_le) > SEGMENT_COMPRESSED)
        return -EPROTONOSUPPORT;
    if (le32toh(disk.block_bytes_le) != WAL_BLOCK_BYTES)
        return -EPROTONOSUPPORT;
    bool is_packed = le16toh(disk.kind_le) != SEGMENT_APPENDED;
    if (!bytes_are_zero(disk.reserved, sizeof(disk.reserved)) || disk.seal_reserved != 0 ||
        (!is_packed && !seal_is_zero(&disk)))
        return -EBADMSG;

    struct segment_header header = {
        .kind = le16toh(disk.kind_le),
        .log = disk.log,
        .segment_no = le64toh(disk.segment_no_le),
        .base_offset = le64toh(disk.base_offset_le),
        .base_bytes = le64toh(disk.base_bytes_le),
        .base_frame = le64toh(disk.base_frame_le),
        .salt = le64toh(disk.salt_le),
        .prev_end = le64toh(disk.prev_end_le),
        .prev_crc = le32toh(disk.prev_crc_le),
        .created_ns = le64toh(disk.created_ns_le),
        .seal = {.end = le64toh(disk.seal_end_le),
                 .crc = le32toh(disk.seal_crc_le),
                 .original_end = le64toh(disk.original_end_le),
                 .original_crc = le32toh(disk.original_crc_le),
                 .end_frame = le64toh(disk.end_frame_le),
                 .end_offset = le64toh(disk.end_offset_le),
                 .end_bytes = le64toh(disk.end_bytes_le)},
    };

    if (is_packed && !seal_is_sound(&header))
        return -EBADMSG;
    *ret_header = header;
    return 0;
}

/* The salt comes first: who does not know it cannot make a header, whatever the payload holds. */
static uint32_t frame_header_crc(const struct disk_frame_header *disk, uint64_t salt)
{
    uint64_t salt_le = htole64(salt);
    size_t begin = offsetof(struct disk_frame_header, body_bytes_le);

    return crc32c(crc32c(0, &salt_le, sizeof(salt_le)), (const uint8_t *)disk + begin,
                  sizeof(*disk) - begin);
}

static uint32_t frame_sectors(uint32_t body_bytes)
{
    return (uint32_t)(((uint64_t)FRAME_HEADER_BYTES + body_bytes + WAL_SECTOR_BYTES - 1) /
                      WAL_SECTOR_BYTES);
}

/* The body is there to be smaller than the items, and a STATE frame is for whoever repairs. */
static bool compression_is_sound(const struct frame_header *header)
{
    if (!(header->flags & FRAME_COMPRESSED))
        return header->plain_bytes == 0 && header->body_crc == 0;
    return (header->flags & FRAME_PACKED) && !(header->flags & FRAME_STATE) &&
           header->body_bytes > 0 && header->body_bytes < header->plain_bytes;
}

/* Lengths and counts that fit each other, and sums that later code can form without overflow. */
static bool frame_header_is_sound(const struct frame_header *header)
{
    const uint32_t items_bytes = frame_items_bytes(header);

    if (items_bytes > FRAME_BODY_BYTES_MAX || items_bytes % 8 != 0 || !compression_is_sound(header))
        return false;
    if (header->item_count > items_bytes / ITEM_HEADER_BYTES ||
        header->item_count > FRAME_ITEMS_MAX || header->record_count > header->item_count)
        return false;
    if (header->item_count == 0 && items_bytes != 0)
        return false;
    if (header->base_offset > UINT64_MAX - header->record_count ||
        header->base_bytes > UINT64_MAX - items_bytes)
        return false;
    if (header->durable_frame > header->frame_no)
        return false;
    /* The header's own sector never is zero. */
    if (header->zero_sectors >= frame_sectors(header->body_bytes))
        return false;
    if (header->flags & ~FRAME_FLAGS_KNOWN)
        return false;
    if ((header->flags & FRAME_MARK) && header->item_count != 0)
        return false;
    return !(header->flags & FRAME_CLEAN) || (header->flags & FRAME_MARK);
}

void frame_header_encode(struct frame_header *header, uint64_t salt, void *bytes)
{
    must(frame_header_is_sound(header));

    struct disk_frame_header disk = {
        .magic_le = htole32(FRAME_MAGIC),
        .body_bytes_le = htole32(header->body_bytes),
        .items_crc_le = htole32(header->items_crc),
        .base_offset_le = htole64(header->base_offset),
        .base_bytes_le = htole64(header->base_bytes),
        .frame_no_le = htole64(header->frame_no),
        .durable_frame_le = htole64(header->durable_frame),
        .position_le = htole64(header->position),
        .timestamp_ns_le = htole64(header->timestamp_ns),
        .record_count_le = htole32(header->record_count),
        .item_count_le = htole32(header->item_count),
        .prev_crc_le = htole32(header->prev_crc),
        .flags_le = htole16(header->flags),
        .version_le = htole16(WAL_FORMAT_VERSION),
        .zero_sectors_le = htole32(header->zero_sectors),
        .plain_bytes_le = htole32(header->plain_bytes),
        .body_crc_le = htole32(header->body_crc),
    };

    memcpy(disk.end_mark, END_MARK, sizeof(disk.end_mark));
    header->crc = frame_header_crc(&disk, salt);
    disk.crc_le = htole32(header->crc);
    memcpy(bytes, &disk, sizeof(disk));
}

int frame_header_decode(struct frame_header *ret_header, uint64_t salt, uint64_t position,
                        const void *bytes)
{
    struct disk_frame_header disk;

    memcpy(&disk, bytes, sizeof(disk));
    if (bytes_are_zero(&disk, sizeof(disk)))
        return -ENODATA;
    /* The checksum first: only of a whole header it makes sense to ask for its version. */
    if (le32toh(disk.crc_le) != frame_header_crc(&disk, salt))
        return -EBADMSG;
    if (le32toh(disk.magic_le) != FRAME_MAGIC || le16toh(disk.version_le) == 0)
        return -EBADMSG;
    if (le16toh(disk.version_le) > WAL_FORMAT_VERSION)
        return -EPROTONOSUPPORT;

    struct frame_header header = {
        .body_bytes = le32toh(disk.body_bytes_le),
        .items_crc = le32toh(disk.items_crc_le),
        .base_offset = le64toh(disk.base_offset_le),
        .base_bytes = le64toh(disk.base_bytes_le),
        .frame_no = le64toh(disk.frame_no_le),
        .durable_frame = le64toh(disk.durable_frame_le),
        .position = le64toh(disk.position_le),
        .timestamp_ns = le64toh(disk.timestamp_ns_le),
        .record_count = le32toh(disk.record_count_le),
        .item_count = le32toh(disk.item_count_le),
        .prev_crc = le32toh(disk.prev_crc_le),
        .flags = le16toh(disk.flags_le),
        .zero_sectors = le32toh(disk.zero_sectors_le),
        .plain_bytes = le32toh(disk.plain_bytes_le),
        .body_crc = le32toh(disk.body_crc_le),
        .crc = le32toh(disk.crc_le),
    };

    if (header.position != position ||
        memcmp(disk.end_mark, END_MARK, sizeof(disk.end_mark)) != 0 ||
        !frame_header_is_sound(&header))
        return -EBADMSG;

    *ret_header = header;
    return 0;
}

uint32_t frame_zero_sectors(const void *frame, uint32_t body_bytes)
{
    const uint8_t *sector = frame;
    uint32_t sectors = frame_sectors(body_bytes);
    uint32_t count = 0;

    for (uint32_t i = 0; i < sectors; i++, sector += WAL_SECTOR_BYTES) {
        if (bytes_are_zero(sector, WAL_SECTOR_BYTES))
            count++;
    }
    return count;
}

void frame_finish(struct frame_header *header, void *frame)
{
    uint8_t *bytes = frame;
    uint64_t end = (uint64_t)FRAME_HEADER_BYTES + header->body_bytes;
    uint64_t last = frame_bytes(header->body_bytes) - 1;

    memset(bytes + end, 0, last - end);
    bytes[last] = FRAME_END_MARK;
    /* The sector of the header is never a zero one, whatever the rest of it will be. */
    memset(bytes, FRAME_END_MARK, FRAME_HEADER_BYTES);
    header->zero_sectors = frame_zero_sectors(frame, header->body_bytes);
}

bool frame_can_be_torn(const struct frame_header *header, const void *frame)
{
    const uint8_t *bytes = frame;

    if (header)
        return bytes[frame_bytes(header->body_bytes) - 1] == 0 ||
               frame_zero_sectors(frame, header->body_bytes) > header->zero_sectors;
    /* Without its first sector, or stopped within its header. */
    return bytes[FRAME_HEADER_BYTES - 1] == 0 &&
           bytes_are_zero(bytes + FRAME_HEADER_BYTES, WAL_SECTOR_BYTES - FRAME_HEADER_BYTES);
}

bool frame_padding_is_intact(const void *frame, uint32_t body_bytes)
{
    const uint8_t *bytes = frame;
    uint64_t end = (uint64_t)FRAME_HEADER_BYTES + body_bytes;
    uint64_t last = frame_bytes(body_bytes) - 1;

    return bytes_are_zero(bytes + end, last - end) && bytes[last] == FRAME_END_MARK;
}

bool frame_padding_is_fine(const void *frame, uint32_t body_bytes)
{
    uint64_t used = (uint64_t)FRAME_HEADER_BYTES + body_bytes;

    return frame_padding_is_intact(frame, body_bytes) ||
           bytes_are_zero((const uint8_t *)frame + used, frame_bytes(body_bytes) - used);
}

uint32_t item_crc(const void *attributes, uint32_t attribute_bytes, const void *data,
                  size_t data_bytes)
{
    return crc32c(crc32c(0, attributes, attribute_bytes), data, data_bytes);
}

static bool item_is_sound(const struct item *item)
{
    switch (item->kind) {
    case ITEM_RECORD:
    case ITEM_STATE_SET:
    case ITEM_STATE_REMOVE: return true;
    case ITEM_TRIM: return item->data_bytes == sizeof(uint64_t);
    case ITEM_TIME: return item->data_bytes == sizeof(uint64_t) && item->attribute_bytes == 0;
    default: return false;
    }
}

static uint32_t item_padding_bytes(const struct item *item)
{
    uint64_t used = (uint64_t)ITEM_HEADER_BYTES + item->attribute_bytes + item->data_bytes;

    return (uint32_t)(item_bytes(item->attribute_bytes, item->data_bytes) - used);
}

uint32_t item_encode(const struct item *item, uint32_t items_crc, void *bytes)
{
    must(item_is_sound(item));

    struct disk_item_header disk = {
        .data_bytes_le = htole32(item->data_bytes),
        .crc_le = htole32(item->crc),
        .timestamp_delta_us_le = htole32(item->timestamp_delta_us),
        .attribute_bytes_le = htole16(item->attribute_bytes),
        .kind = item->kind,
        .timestamp_high = item->timestamp_high,
    };
    void *end = copy(bytes, &disk, sizeof(disk));

    end = copy(end, item->attributes, item->attribute_bytes);
    end = copy(end, item->data, item->data_bytes);
    memset(end, 0, item_padding_bytes(item));
    return crc32c(items_crc, &disk, sizeof(disk));
}

struct item_walk item_walk_of(const struct frame_header *header, const void *items)
{
    return (struct item_walk){.body = items,
                              .body_bytes = frame_items_bytes(header),
                              .is_packed = header->flags & FRAME_PACKED,
                              .time_ns = header->timestamp_ns};
}

static uint64_t time_of(struct item_walk *walk, const struct item *item)
{
    uint64_t delta = item->timestamp_delta_us;

    if (!walk->is_packed)
        return walk->time_ns + delta * 1000;
    if (item->kind == ITEM_TIME) {
        uint64_t time_le;

        memcpy(&time_le, item->data, sizeof(time_le));
        return walk->time_ns = le64toh(time_le);
    }
    return walk->time_ns + (delta | (uint64_t)item->timestamp_high << 32);
}

int item_next(struct item_walk *walk, struct item *ret_item)
{
    must(walk->position <= walk->body_bytes);

    uint32_t left = walk->body_bytes - walk->position;
    struct disk_item_header disk;

    if (left == 0)
        return -ENODATA;
    if (left < sizeof(disk))
        return -EBADMSG;

    const uint8_t *bytes = walk->body + walk->position;

    memcpy(&disk, bytes, sizeof(disk));

    struct item item = {
        .kind = disk.kind,
        .timestamp_delta_us = le32toh(disk.timestamp_delta_us_le),
        .timestamp_high = disk.timestamp_high,
        .attributes = bytes + sizeof(disk),
        .attribute_bytes = le16toh(disk.attribute_bytes_le),
        .data_bytes = le32toh(disk.data_bytes_le),
        .crc = le32toh(disk.crc_le),
    };
    uint64_t size = item_bytes(item.attribute_bytes, item.data_bytes); /* may pass 32 bits */

    bool is_of_packed = disk.timestamp_high != 0 || item.kind == ITEM_TIME;

    if (size > left || (is_of_packed && !walk->is_packed) || !item_is_sound(&item))
        return -EBADMSG;

    item.data = bytes + sizeof(disk) + item.attribute_bytes;
    if (item.kind == ITEM_TIME && !item_is_intact(&item)) /* all behind it counts from it */
        return -EBADMSG;
    item.timestamp_ns = time_of(walk, &item);
    walk->position += (uint32_t)size;
    *ret_item = item;
    return 0;
}

bool item_is_intact(const struct item *item)
{
    const uint8_t *padding = (const uint8_t *)item->data + item->data_bytes;

    return item->crc ==
               item_crc(item->attributes, item->attribute_bytes, item->data, item->data_bytes) &&
           bytes_are_zero(padding, item_padding_bytes(item));
}

bool item_trims(const struct item *item, uint64_t *ret_offset)
{
    uint64_t offset_le;
    if (item->kind != ITEM_TRIM || item->data_bytes != sizeof(offset_le))
        return false;
    memcpy(&offset_le, item->data, sizeof(offset_le));
    *ret_offset = le64toh(offset_le);
    return true;
}

int frame_body_verify(const struct frame_header *header, const void *items_of, bool deep)
{
    struct item_walk walk = item_walk_of(header, items_of);
    struct item item;
    uint32_t items_crc = 0;
    uint32_t items = 0;
    uint32_t records = 0;
    int error;

    for (;;) {
        error = item_next(&walk, &item);
        if (error < 0)
            break;

        const uint8_t *item_header = (const uint8_t *)item.attributes - ITEM_HEADER_BYTES;

        items_crc = crc32c(items_crc, item_header, ITEM_HEADER_BYTES);
        items++;
        records += item.kind == ITEM_RECORD;
        if (deep && !item_is_intact(&item))
            return -EBADMSG;
    }
    if (error != -ENODATA)
        return error;

    return items_crc == header->items_crc && items == header->item_count &&
                   records == header->record_count
               ? 0
               : -EBADMSG;
}

int attribute_put(void *list, size_t capacity, uint16_t *bytes, uint16_t type, const void *value,
                  uint16_t value_bytes)
{
    uint32_t end = (uint32_t)*bytes + ATTRIBUTE_HEADER_BYTES + value_bytes;
    uint16_t header_le[2] = {htole16(type), htole16(value_bytes)};

    if (end > capacity || end > UINT16_MAX)
        return -EMSGSIZE;

    copy(copy((uint8_t *)list + *bytes, header_le, sizeof(header_le)), value, value_bytes);
    *bytes = (uint16_t)end;
    return 0;
}

int attribute_find(const void *list, uint16_t bytes, uint16_t type, const void **ret_value,
                   uint16_t *ret_value_bytes)
{
    const uint8_t *next = list;
    uint32_t left = bytes;
    const uint8_t *found = NULL;
    uint16_t found_bytes = 0;

    /* To the very end even when it is found: in a malformed list no attribute can be trusted. */
    while (left > 0) {
        uint16_t header_le[2];

        if (left < sizeof(header_le))
            return -EBADMSG;

        memcpy(header_le, next, sizeof(header_le));
        next += sizeof(header_le);
        left -= (uint32_t)sizeof(header_le);

        uint16_t value_bytes = le16toh(header_le[1]);

        if (value_bytes > left)
            return -EBADMSG;
        if (!found && le16toh(header_le[0]) == type) {
            found = next;
            found_bytes = value_bytes;
        }
        next += value_bytes;
        left -= value_bytes;
    }
    if (!found)
        return -ENOENT;

    *ret_value = found;
    *ret_value_bytes = found_bytes;
    return 0;
}

bool attributes_are_well_formed(const void *list, uint16_t bytes)
{
    const void *value;
    uint16_t value_bytes;

    return attribute_find(list, bytes, 0, &value, &value_bytes) != -EBADMSG;
}
