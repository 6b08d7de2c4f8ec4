/*
 * Fuzz target for wal/format.c and wal/compress.c: arbitrary bytes as frames, bodies, compressed bodies,
 * attribute lists and segment headers. What is decoded must be consistent, must encode to the bytes it came from, and may not
 * read a byte past them: the input always lies in a block of exactly its size.
 *
 * Random bytes never carry a right checksum, so behind the first byte, which chooses what the rest
 * is, a second one says what to put right before decoding: then the input is the fields, and the
 * checks behind the checksum are reached. README.md beside this file tells how to run it.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wal/base.h"
#include "wal/compress.h"
#include "wal/crc32c.h"
#include "wal/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    AS_FRAME,
    AS_BODY,
    AS_ATTRIBUTES,
    AS_SEGMENT,
    AS_ITEMS_TO_WRITE,
    AS_ATTRIBUTES_TO_WRITE,
    KINDS,
};

/* Of the second byte. */
enum {
    SEAL = 1 << 0,       /* the header's checksum */
    NAME = 1 << 1,       /* magic, version and end mark */
    PLACE = 1 << 2,      /* the position in the header */
    ITEM_CRCS = 1 << 3,  /* the checksum of each item, and its padding */
    BODY_SIZE = 1 << 4,  /* body_bytes: as many as can be read as items */
    BODY_COUNT = 1 << 5, /* items_crc and the counts */
    COMPRESS = 1 << 6,   /* the body: what can be read as items, compressed */
    UNPACK = 1 << 7,     /* the flags and the checksum of the body, as if it were compressed */
};

/* What is left of the input; beyond its end it is zeros. */
struct input {
    const uint8_t *data;
    size_t size;
};

static void input_take(struct input *input, void *bytes, size_t size)
{
    size_t taken = size < input->size ? size : input->size;

    memset(bytes, 0, size);
    if (taken > 0)
        memcpy(bytes, input->data, taken);
    input->data += taken;
    input->size -= taken;
}

static uint64_t input_number(struct input *input, unsigned size)
{
    uint8_t bytes[8] = {0};
    uint64_t value = 0;

    input_take(input, bytes, size);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static void put_le(uint8_t *bytes, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

static void *allocate(size_t size)
{
    void *block = calloc(1, size > 0 ? size : 1);

    must(block);
    return block;
}

static void check_attributes(const void *list, uint16_t bytes)
{
    const uint8_t *end = (const uint8_t *)list + bytes;
    bool well_formed = attributes_are_well_formed(list, bytes);
    volatile uint8_t sum = 0;

    for (unsigned type = 0; type < 20; type++) {
        const void *value = NULL;
        uint16_t value_bytes = 0;
        int error = attribute_find(list, bytes, (uint16_t)type, &value, &value_bytes);

        must((error == -EBADMSG) == !well_formed);
        if (error == 0) {
            const uint8_t *first = value;

            must(first >= (const uint8_t *)list + 4 && first + value_bytes <= end);
            for (unsigned i = 0; i < value_bytes; i++)
                sum = (uint8_t)(sum + first[i]);
        } else {
            must(error == -EBADMSG || error == -ENOENT);
            must(!value && value_bytes == 0);
        }
    }
}

/* Walks a body and writes what was found again. Returns the bytes that could be read as items. */
static uint32_t check_items(const uint8_t *body, uint32_t body_bytes, bool is_packed,
                            struct frame_header *ret_found)
{
    struct item_walk walk = {.body = body, .body_bytes = body_bytes, .is_packed = is_packed};
    struct item item;
    uint32_t begin = 0;
    int error;

    *ret_found = (struct frame_header){0};
    while ((error = item_next(&walk, &item)) == 0) {
        uint64_t size = item_bytes(item.attribute_bytes, item.data_bytes);
        uint32_t used = ITEM_HEADER_BYTES + item.attribute_bytes + item.data_bytes;
        uint8_t *again = allocate(size);

        must(walk.position == begin + size && walk.position <= body_bytes);
        must(item.kind >= ITEM_RECORD && item.kind <= ITEM_TIME);
        must(is_packed || (item.kind != ITEM_TIME && item.timestamp_high == 0));
        must(item.kind != ITEM_TIME || item_is_intact(&item));
        must((item.kind != ITEM_TRIM && item.kind != ITEM_TIME) || item.data_bytes == 8);
        must((const uint8_t *)item.attributes == body + begin + ITEM_HEADER_BYTES);
        must((const uint8_t *)item.data == (const uint8_t *)item.attributes + item.attribute_bytes);
        ret_found->items_crc = item_encode(&item, ret_found->items_crc, again);
        must(memcmp(again, body + begin, used) == 0);
        if (item_is_intact(&item))
            must(memcmp(again, body + begin, size) == 0);
        free(again);

        check_attributes(item.attributes, item.attribute_bytes);
        ret_found->item_count++;
        ret_found->record_count += item.kind == ITEM_RECORD;
        begin = walk.position;
    }
    must(error == -EBADMSG || (error == -ENODATA && begin == body_bytes));
    must(walk.position == begin);
    return begin;
}

static void repair_items(uint8_t *body, uint32_t body_bytes)
{
    struct item_walk walk = {.body = body, .body_bytes = body_bytes};
    struct item item;
    uint32_t begin = 0;

    while (item_next(&walk, &item) == 0) {
        uint32_t used = ITEM_HEADER_BYTES + item.attribute_bytes + item.data_bytes;

        put_le(body + begin + 4,
               item_crc(item.attributes, item.attribute_bytes, item.data, item.data_bytes), 4);
        memset(body + begin + used, 0, walk.position - begin - used);
        begin = walk.position;
    }
}

static void repair_frame_header(uint8_t *bytes, unsigned repairs, uint64_t salt, uint64_t position,
                                uint32_t body_bytes, const struct frame_header *found)
{
    uint8_t salt_bytes[8];

    if (repairs & NAME) {
        put_le(bytes, 0x31544D43, 4);
        put_le(bytes + 78, WAL_FORMAT_VERSION, 2);
        memset(bytes + 92, FRAME_END_MARK, 4);
    }
    if (repairs & PLACE)
        put_le(bytes + 48, position, 8);
    if (repairs & BODY_SIZE)
        put_le(bytes + 8, body_bytes, 4);
    if (repairs & BODY_COUNT) {
        put_le(bytes + 12, found->items_crc, 4);
        put_le(bytes + 64, found->record_count, 4);
        put_le(bytes + 68, found->item_count, 4);
    }
    if (repairs & SEAL) {
        put_le(salt_bytes, salt, 8);
        put_le(bytes + 4, crc32c(crc32c(0, salt_bytes, 8), bytes + 8, FRAME_HEADER_BYTES - 8), 4);
    }
}

/* Makes the frame a compressed one of the items that were found, if they get smaller by that, which fits
 * where they stand. */
static void compress_items(uint8_t *bytes, uint8_t *body, uint32_t readable,
                           const struct frame_header *found)
{
    struct frame_header header = *found;
    struct compressor compressor = {0};
    uint8_t *packed = allocate(readable);

    header.flags = FRAME_PACKED;
    header.body_bytes = readable;
    if (frame_compress(&compressor, &header, body, packed, readable) == 0) {
        must(header.flags == (FRAME_PACKED | FRAME_COMPRESSED) && header.plain_bytes == readable);
        must(header.body_bytes < readable);
        memcpy(body, packed, header.body_bytes);
        put_le(bytes + 8, header.body_bytes, 4);
        put_le(bytes + 76, header.flags, 2);
        put_le(bytes + 84, header.plain_bytes, 4);
        put_le(bytes + 88, header.body_crc, 4);
    }
    compressor_done(&compressor);
    free(packed);
}

/* The promises of format.h about a header that was decoded. */
static void check_frame_header(struct frame_header header, uint64_t salt, uint64_t position,
                               const uint8_t *bytes)
{
    uint8_t again[FRAME_HEADER_BYTES];
    struct frame_header other;
    uint32_t crc = header.crc;

    must(header.position == position);
    must(header.body_bytes <= FRAME_BODY_BYTES_MAX && header.item_count <= FRAME_ITEMS_MAX);
    must(frame_items_bytes(&header) <= FRAME_BODY_BYTES_MAX);
    must((uint64_t)header.item_count * ITEM_HEADER_BYTES <= frame_items_bytes(&header));
    must(header.record_count <= header.item_count);
    must(header.base_offset + header.record_count >= header.base_offset);
    must(header.base_bytes + frame_items_bytes(&header) >= header.base_bytes);
    must(frame_items_bytes(&header) % 8 == 0 && header.body_bytes <= frame_items_bytes(&header));
    must(header.item_count > 0 || header.body_bytes == 0);
    must(header.durable_frame <= header.frame_no);
    must(header.zero_sectors <= (FRAME_HEADER_BYTES + header.body_bytes) / WAL_SECTOR_BYTES);
    must(header.flags < 2 * FRAME_COMPRESSED);
    must(!(header.flags & FRAME_COMPRESSED) || (header.flags & FRAME_PACKED));
    must(!(header.flags & FRAME_CLEAN) || (header.flags & FRAME_MARK));
    must(!(header.flags & FRAME_MARK) || header.item_count == 0);
    frame_header_encode(&header, salt, again);
    must(header.crc == crc);
    must(memcmp(again, bytes, sizeof(again)) == 0);

    /* One bit of salt always changes the checksum. */
    must(frame_header_decode(&other, salt ^ 1, position, bytes) == -EBADMSG);
    must(frame_header_decode(&other, salt, position + WAL_BLOCK_BYTES, bytes) == -EBADMSG);
}

/* What is unpacked is checked as anything else; with anything behind the body, or any bit of it turned,
 * nothing is. */
static void check_compressed(struct frame_header header, const uint8_t *body, uint32_t choice)
{
    static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}; /* for zstd */
    struct unpacked unpacked = {0};
    struct frame_header found;
    const uint8_t *items;
    const uint32_t bytes = header.body_bytes;
    uint8_t *exact = allocate(bytes), *longer = allocate(bytes + sizeof(skippable));

    memcpy(exact, body, bytes);
    int rc = frame_open(&unpacked, &header, exact, true, &items);
    must(rc == 0 || rc == -EBADMSG);
    if (rc == 0) {
        must(check_items(items, header.plain_bytes, true, &found) == header.plain_bytes);
        must(found.items_crc == header.items_crc && found.item_count == header.item_count);
        memcpy(longer, body, bytes);
        memcpy(longer + bytes, skippable, sizeof(skippable));
        for (uint32_t more = 1; more <= sizeof(skippable); more++) {
            header.body_bytes = bytes + more;
            header.body_crc = crc32c(0, longer, bytes + more);
            must(frame_open(&unpacked, &header, longer, false, &items) == -EBADMSG);
        }
        header.body_crc = crc32c(0, exact, bytes);
        header.body_bytes = bytes;
        exact[choice % bytes] ^= (uint8_t)(1u << choice / bytes % 8);
        must(frame_open(&unpacked, &header, exact, false, &items) == -EBADMSG);
    }
    unpacked_done(&unpacked);
    free(longer);
    free(exact);
}

static void check_body(const struct frame_header *header, const uint8_t *body)
{
    if (header->flags & FRAME_COMPRESSED) {
        check_compressed(*header, body, header->crc);
        return;
    }
    struct frame_header found;
    uint32_t readable = check_items(body, header->body_bytes, header->flags & FRAME_PACKED, &found);
    bool agrees = readable == header->body_bytes && found.items_crc == header->items_crc &&
                  found.item_count == header->item_count &&
                  found.record_count == header->record_count;
    int shallow = frame_body_verify(header, body, false);
    int deep = frame_body_verify(header, body, true);

    must(shallow == (agrees ? 0 : -EBADMSG));
    must(deep == 0 || deep == -EBADMSG);
    must(deep != 0 || shallow == 0);
}

static void fuzz_frame(struct input input, unsigned repairs)
{
    static const uint8_t zeros[FRAME_HEADER_BYTES];
    uint64_t salt = input_number(&input, 8);
    uint64_t position = input_number(&input, 8);
    uint8_t *bytes = allocate(FRAME_HEADER_BYTES);
    uint8_t *body;
    uint32_t body_bytes;
    struct frame_header header;
    struct frame_header found;
    uint8_t untouched[sizeof(header)];

    input_take(&input, bytes, FRAME_HEADER_BYTES);
    body_bytes = (uint32_t)input.size;
    body = allocate(body_bytes);
    input_take(&input, body, body_bytes);
    if (repairs & ITEM_CRCS)
        repair_items(body, body_bytes);

    if (repairs & COMPRESS)
        bytes[76] |= FRAME_PACKED;
    uint32_t readable = check_items(body, body_bytes, bytes[76] & FRAME_PACKED, &found);

    if (repairs & UNPACK) {
        put_le(bytes + 8, body_bytes, 4);
        put_le(bytes + 76, FRAME_PACKED | FRAME_COMPRESSED, 2);
        put_le(bytes + 88, crc32c(0, body, body_bytes), 4);
        repairs &= ~(unsigned)BODY_SIZE;
    }
    if (repairs & COMPRESS) {
        put_le(bytes + 8, readable, 4);
        compress_items(bytes, body, readable, &found);
        repairs = (repairs & ~(unsigned)BODY_SIZE) | BODY_COUNT;
    }
    repair_frame_header(bytes, repairs, salt, position, readable, &found);

    memset(&header, 0x5a, sizeof(header));
    memset(untouched, 0x5a, sizeof(untouched));

    int error = frame_header_decode(&header, salt, position, bytes);

    if (error == 0) {
        check_frame_header(header, salt, position, bytes);
        if (header.body_bytes <= body_bytes)
            check_body(&header, body);
    } else {
        must(error == -EBADMSG || error == -ENODATA || error == -EPROTONOSUPPORT);
        must(memcmp(untouched, (const uint8_t *)&header, sizeof(header)) == 0);
        must((error == -ENODATA) == (memcmp(bytes, zeros, sizeof(zeros)) == 0));
    }
    free(body);
    free(bytes);
}

static void fuzz_body(struct input input, unsigned repairs)
{
    uint8_t *body = allocate(input.size);
    uint32_t body_bytes = (uint32_t)input.size;
    struct frame_header found;

    input_take(&input, body, body_bytes);
    if (repairs & ITEM_CRCS)
        repair_items(body, body_bytes);
    check_items(body, body_bytes, repairs & NAME, &found);
    free(body);
}

static void fuzz_attributes(struct input input)
{
    uint16_t bytes = (uint16_t)min_u64(input.size, UINT16_MAX);
    uint8_t *list = allocate(bytes);

    input_take(&input, list, bytes);
    check_attributes(list, bytes);
    free(list);
}

/* Puts what the input describes into a list of limited room: each is found again, or refused and
 * the list as it was. */
static void fuzz_attributes_to_write(struct input input)
{
    size_t capacity = input_number(&input, 1);
    uint8_t *list = allocate(capacity);
    uint16_t bytes = 0;

    while (input.size > 0) {
        uint16_t type = (uint16_t)input_number(&input, 1);
        uint16_t value_bytes = (uint16_t)input_number(&input, 2);
        uint16_t before = bytes;
        const void *found;
        uint16_t found_bytes;

        if (value_bytes > input.size)
            break;

        bool is_first = attribute_find(list, bytes, type, &found, &found_bytes) == -ENOENT;
        int error = attribute_put(list, capacity, &bytes, type, input.data, value_bytes);

        if (error == 0) {
            must(bytes == before + 4 + value_bytes && bytes <= capacity);
            must(attribute_find(list, bytes, type, &found, &found_bytes) == 0);
        } else {
            must(error == -EMSGSIZE && bytes == before);
            must((size_t)bytes + 4 + value_bytes > capacity);
        }
        if (error == 0 && is_first)
            must(found_bytes == value_bytes && memcmp(found, input.data, value_bytes) == 0);
        must(attributes_are_well_formed(list, bytes));
        input.data += value_bytes;
        input.size -= value_bytes;
    }
    free(list);
}

static void fuzz_segment(struct input input, unsigned repairs)
{
    uint8_t *block = allocate(WAL_BLOCK_BYTES);
    uint8_t again[WAL_BLOCK_BYTES];
    struct segment_header header;

    input_take(&input, block, WAL_BLOCK_BYTES);
    if (repairs & NAME) {
        memcpy(block, "LOGSEG\0\1", 8);
        put_le(block + 8, WAL_FORMAT_VERSION, 2);
    }
    if (repairs & PLACE) {
        put_le(block + 10, SEGMENT_APPENDED, 2);
        put_le(block + 12, WAL_BLOCK_BYTES, 4);
    }
    if (repairs & SEAL)
        put_le(block + 4092, crc32c(0, block, 4092), 4);

    int error = segment_header_decode(&header, block);

    if (error == 0) {
        segment_header_encode(&header, again);
        must(memcmp(again, block, sizeof(again)) == 0);
    } else {
        must(error == -EBADMSG || error == -EPROTONOSUPPORT);
    }
    free(block);
}

/* The next item that the input describes, its attributes and data in memory of their own. */
static struct item input_item(struct input *input)
{
    struct item item = {
        .kind = (uint8_t)(ITEM_RECORD + input_number(input, 1) % ITEM_TRIM),
        .timestamp_delta_us = (uint32_t)input_number(input, 4),
        .attribute_bytes = (uint16_t)input_number(input, 1),
        .data_bytes = (uint32_t)input_number(input, 2) % 2048,
    };

    if (item.kind == ITEM_TRIM)
        item.data_bytes = 8;

    uint8_t *attributes = allocate(item.attribute_bytes);
    uint8_t *data = allocate(item.data_bytes);

    input_take(input, attributes, item.attribute_bytes);
    input_take(input, data, item.data_bytes);
    item.attributes = attributes;
    item.data = data;
    item.crc = item_crc(attributes, item.attribute_bytes, data, item.data_bytes);
    return item;
}

static uint32_t zero_sectors_by_definition(const uint8_t *frame, uint32_t body_bytes)
{
    uint32_t count = 0;

    for (uint32_t begin = 0; begin < FRAME_HEADER_BYTES + body_bytes; begin += WAL_SECTOR_BYTES) {
        uint32_t ones = 0;

        for (uint32_t i = 0; i < WAL_SECTOR_BYTES; i++)
            ones |= frame[begin + i];
        count += ones == 0;
    }
    return count;
}

/* What recovery makes of a frame that a write that stopped, or a disk that forgets, has changed. */
static bool is_torn(const uint8_t *frame, uint64_t salt)
{
    struct frame_header header;

    if (frame_header_decode(&header, salt, WAL_BLOCK_BYTES, frame) == 0)
        return frame_can_be_torn(&header, frame);

    uint8_t *sector = allocate(WAL_SECTOR_BYTES);

    memcpy(sector, frame, WAL_SECTOR_BYTES);

    bool torn = frame_can_be_torn(NULL, sector);

    free(sector);
    return torn;
}

static bool is_whole(const uint8_t *frame, uint64_t salt)
{
    struct frame_header header;

    return frame_header_decode(&header, salt, WAL_BLOCK_BYTES, frame) == 0 &&
           frame_body_verify(&header, frame + FRAME_HEADER_BYTES, true) == 0;
}

static unsigned bits_in_sector(const uint8_t *frame, uint64_t at)
{
    const uint8_t *sector = frame + at / WAL_SECTOR_BYTES * WAL_SECTOR_BYTES;
    unsigned bits = 0;

    for (unsigned i = 0; i < WAL_SECTOR_BYTES; i++)
        bits += (unsigned)__builtin_popcount(sector[i]);
    return bits;
}

/* Any frame cut anywhere, and any that lost sectors, is known as torn, or is whole; any with one
 * bit changed is not torn. `choice` says where, and which sectors. The frame stays as it is. */
static void check_tearing(const uint8_t *frame, uint32_t body_bytes, uint64_t salt, uint64_t choice)
{
    uint64_t size = frame_bytes(body_bytes);
    uint64_t at = choice % size;
    uint8_t *left = allocate(size);

    memcpy(left, frame, at);
    must(is_torn(left, salt));

    memcpy(left, frame, size);
    left[at] ^= (uint8_t)(1u << choice / size % 8);
    /* A sector with no other bit is lost with it, and losing sectors is what a torn write does. */
    if (bits_in_sector(left, at) > 0 || at >= FRAME_HEADER_BYTES + body_bytes)
        must(!is_torn(left, salt));
    must(!is_whole(left, salt) || at >= FRAME_HEADER_BYTES + body_bytes);

    memcpy(left, frame, size);
    for (uint64_t i = 0; i < size / WAL_SECTOR_BYTES; i++) {
        if (choice >> i % 64 & 1)
            memset(left + i * WAL_SECTOR_BYTES, 0, WAL_SECTOR_BYTES);
    }
    must(is_whole(left, salt) || is_torn(left, salt));
    free(left);
}

/* Lays the items out in a frame, in memory that was not zero before, and frees what they point to.
 */
static uint8_t *frame_of_items(struct frame_header *header, struct item *items, uint64_t salt)
{
    uint64_t size = frame_bytes(header->body_bytes);
    uint8_t *frame = allocate(size);
    uint8_t *next = frame + FRAME_HEADER_BYTES;

    memset(frame, 0xaa, size); /* all but the items is for frame_finish() to write */
    for (uint32_t i = 0; i < header->item_count; i++) {
        header->items_crc = item_encode(&items[i], header->items_crc, next);
        next += item_bytes(items[i].attribute_bytes, items[i].data_bytes);
        free((void *)items[i].attributes);
        free((void *)items[i].data);
    }
    must(next == frame + FRAME_HEADER_BYTES + header->body_bytes);
    frame_finish(header, frame);
    frame_header_encode(header, salt, frame);
    must(header->zero_sectors == zero_sectors_by_definition(frame, header->body_bytes));
    must(header->zero_sectors == frame_zero_sectors(frame, header->body_bytes));
    must(frame_padding_is_intact(frame, header->body_bytes));
    return frame;
}

/* Writes a frame of the items that the input describes: it must read back, any change of a single
 * byte of it must be found, and it must be known as torn where it is. */
static void fuzz_items_to_write(struct input input)
{
    enum { ITEMS_MAX = 16 };
    struct frame_header header = {.frame_no = 7, .durable_frame = 7, .position = WAL_BLOCK_BYTES};
    uint64_t salt = input_number(&input, 8);
    uint32_t damage_at = (uint32_t)input_number(&input, 2);
    uint8_t damage = (uint8_t)(input_number(&input, 1) | 1);
    struct item items[ITEMS_MAX];

    while (header.item_count < ITEMS_MAX && input.size > 0) {
        struct item item = input_item(&input);

        header.body_bytes += (uint32_t)item_bytes(item.attribute_bytes, item.data_bytes);
        header.record_count += item.kind == ITEM_RECORD;
        items[header.item_count++] = item;
    }

    uint8_t *frame = frame_of_items(&header, items, salt);

    must(frame_header_decode(&header, salt, WAL_BLOCK_BYTES, frame) == 0);
    check_frame_header(header, salt, WAL_BLOCK_BYTES, frame);
    check_body(&header, frame + FRAME_HEADER_BYTES);
    must(is_whole(frame, salt));
    check_tearing(frame, header.body_bytes, salt, salt ^ damage_at);

    frame[damage_at % (FRAME_HEADER_BYTES + header.body_bytes)] ^= damage;
    must(!is_whole(frame, salt));
    free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    unsigned kind = (unsigned)input_number(&input, 1) % KINDS;
    unsigned repairs = (unsigned)input_number(&input, 1);

    switch (kind) {
    case AS_FRAME: fuzz_frame(input, repairs); break;
    case AS_BODY: fuzz_body(input, repairs); break;
    case AS_ATTRIBUTES: fuzz_attributes(input); break;
    case AS_SEGMENT: fuzz_segment(input, repairs); break;
    case AS_ITEMS_TO_WRITE: fuzz_items_to_write(input); break;
    default: fuzz_attributes_to_write(input);
    }
    return 0;
}
