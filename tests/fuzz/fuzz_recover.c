/*
 * Fuzz target for opening a log (wal/recover.c) and reading it (wal/cursor.c): arbitrary bytes as
 * the segment files of a log on the simulated disk. Whatever stands there, the log must open or be
 * refused in bounded time and memory, serve no record that is not what its checksum says, and give
 * the same answers when it is opened again.
 *
 * An input is a base (nothing, or a log that the library itself wrote), choices, and a list of
 * changes to the files: damage, bytes, files of other names, or hostile numbers in headers. Then
 * what the choices ask for is put right, checksums above all: behind them are the checks worth
 * reaching. README.md beside this file has the format.
 *
 * Where no change was more than damage, nobody can have made up a checksum: then each record served
 * must be the one that was appended at its offset, and a single flipped bit must not lose any
 * unnoticed.
 */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_disk.h"
#include "wal/base.h"
#include "wal/crc32c.h"
#include "wal/format.h"
#include "wal/store.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define UNDER_ASAN
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define UNDER_ASAN
#endif
#ifdef UNDER_ASAN
size_t __sanitizer_get_current_allocated_bytes(void); /* NOLINT: gcc has no header for it */
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    FILES_MAX = 8,
    FILE_BYTES_MAX = 96 << 10,
    CHANGES_MAX = 64,
    ORIGINALS_MAX = 64,
    /* Records that the files have room for. */
    SERVED_MAX = FILES_MAX * FILE_BYTES_MAX / ITEM_HEADER_BYTES,
    /* In one life of the store. Reading all of the largest log takes a tenth of it. */
    OPERATIONS_MAX = 50000,
    MEMORY_BYTES_MAX = 96 << 20,
    RUNS_MAX = 2000,
    RECORD_BYTES_MAX = 12000,
};

#define DATA "data"
#define LOG_NAME "log"
#define LOG_PATH DATA "/logs/" LOG_NAME

/* The first byte: what the changes are made to. */
enum base_kind { BASE_EMPTY, BASE_FRESH, BASE_SMALL, BASE_SEGMENTS, BASE_LARGE, BASES };

/* The second byte: what is put right behind the changes. */
enum {
    SEAL = 1 << 0,    /* checksums of segment headers and frame headers */
    NAME = 1 << 1,    /* magic, version, end mark, block size; the number of the segment */
    PLACE = 1 << 2,   /* positions of frames */
    ITEMS = 1 << 3,   /* checksums of the items, and what headers say of the body as a whole */
    CHAIN = 1 << 4,   /* each frame has the checksum of the one before it */
    NUMBERS = 1 << 5, /* frame numbers, offsets and bytes go on from the segment header's */
    LINKS = 1 << 6,   /* segment headers go on from the segment before */
    ZEROS = 1 << 7,   /* zero sectors as they are, end marks of frames */
};

/* The third byte: what is done with the log. */
enum {
    APPEND = 1 << 0,
    APPEND_LARGE = 1 << 1, /* more than a block, if anything */
    TRIM = 1 << 2,
    CRASH = 1 << 3,      /* the first life ends by a power cut */
    BUFFERED = 1 << 4,   /* no direct I/O */
    UNRESERVED = 1 << 5, /* a disk that cannot reserve space */
    SHORT = 1 << 6,      /* segments as short as can be: appends begin new ones */
};

/* The bytes of the changes that follow. */
enum change {
    FLIP_BIT,
    ZERO_BLOCKS,
    ZERO_SECTORS,
    CUT, /* zeros from somewhere to the end */
    COPY_BLOCK,
    DUPLICATE_BLOCK, /* and shift what is behind it */
    RESIZE,
    RENUMBER,
    DELETE,
    DUPLICATE_FILE,
    /* From here on more than damage: bytes of the input. */
    NEW_FILE,
    POKE,
    SEGMENT_FIELD,
    FRAME_FIELD,
    ITEM_FIELD,
    CHANGES,
};

/* ---- The input ---------------------------------------------------------------------------- */

/* What is left of it; beyond its end it is zeros. */
struct input {
    const uint8_t *data;
    size_t size;
};

static void input_take(struct input *input, void *bytes, size_t size)
{
    size_t taken = min_u64(size, input->size);

    memset(bytes, 0, size);
    if (taken > 0)
        memcpy(bytes, input->data, taken);
    input->data += taken;
    input->size -= taken;
}

static uint64_t get_le(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static void put_le(uint8_t *bytes, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t input_number(struct input *input, unsigned size)
{
    uint8_t bytes[8] = {0};

    input_take(input, bytes, size);
    return get_le(bytes, size);
}

/* A value for a field that now holds `before`: where sums and comparisons break, close to what it
 * was, or of the input's own. */
static uint64_t input_value(struct input *input, uint64_t before)
{
    static const uint64_t edges[] = {
        0,
        1,
        8,
        4095,
        4096,
        8192,
        UINT16_MAX,
        FRAME_BODY_BYTES_MAX,
        FRAME_BODY_BYTES_MAX + 8,
        INT32_MAX,
        UINT32_MAX - 95,
        UINT32_MAX - 7,
        UINT32_MAX,
        UINT64_C(1) << 32,
        UINT64_C(1) << 48,
        INT64_MAX / 4096 * 4096,
        INT64_MAX - 1,
        INT64_MAX,
        UINT64_C(1) << 63,
        UINT64_MAX - 70000,
        UINT64_MAX - 4095,
        UINT64_MAX - 1,
        UINT64_MAX,
    };
    unsigned choice = (unsigned)input_number(input, 1);

    switch (choice & 3) {
    case 0: return edges[choice / 4 % ARRAY_SIZE(edges)];
    case 1: return before + choice / 4 - 32;
    case 2: return before + (choice / 4 - 32) * (uint64_t)WAL_BLOCK_BYTES;
    default: return input_number(input, 8);
    }
}

/* ---- Segment files in memory --------------------------------------------------------------- */

struct file {
    uint64_t number;
    uint32_t size;
    uint8_t bytes[FILE_BYTES_MAX];
};

struct image {
    unsigned count;
    struct file files[FILES_MAX];
};

/* A log as the library wrote it. */
struct base {
    bool is_made;
    struct image image;
    uint64_t first_offset, end_offset;
    uint32_t sizes[ORIGINALS_MAX]; /* of the records by offset */
};

static struct base bases[BASES];
static struct sim_disk *disk;

static struct file *input_file(struct input *input, struct image *image)
{
    unsigned choice = (unsigned)input_number(input, 1);

    return image->count > 0 ? &image->files[choice % image->count] : NULL;
}

static uint32_t input_position(struct input *input, const struct file *file)
{
    uint32_t choice = (uint32_t)input_number(input, 3);

    return file->size > 0 ? choice % file->size : 0;
}

static uint32_t block_count(const struct file *file)
{
    return file->size / WAL_BLOCK_BYTES;
}

static uint8_t *input_block(struct input *input, struct file *file)
{
    uint32_t choice = (uint32_t)input_number(input, 1);
    uint32_t count = block_count(file);

    return count > 0 ? file->bytes + (size_t)(choice % count) * WAL_BLOCK_BYTES : NULL;
}

static struct file *file_by_number(struct image *image, uint64_t number)
{
    for (unsigned i = 0; i < image->count; i++) {
        if (image->files[i].number == number)
            return &image->files[i];
    }
    return NULL;
}

static struct file *file_new(struct image *image, uint64_t number)
{
    if (image->count == FILES_MAX || file_by_number(image, number))
        return NULL;

    struct file *file = &image->files[image->count++];

    file->number = number;
    file->size = 0;
    return file;
}

static void file_resize(struct file *file, uint32_t size)
{
    if (size > file->size)
        memset(file->bytes + file->size, 0, size - file->size);
    file->size = size;
}

static void file_delete(struct image *image, struct file *file)
{
    struct file *last = &image->files[--image->count];

    if (file == last)
        return;
    file->number = last->number;
    file->size = last->size;
    memcpy(file->bytes, last->bytes, last->size);
}

static bool is_frame(const struct file *file, uint32_t position)
{
    return position + WAL_BLOCK_BYTES <= file->size &&
           memcmp(file->bytes + position, "CMT1", 4) == 0;
}

/* The frame that the input chooses: some block that begins as one. */
static uint8_t *input_frame(struct input *input, struct file *file)
{
    unsigned choice = (unsigned)input_number(input, 1);
    unsigned count = 0;

    for (unsigned round = 0; round < 2; round++) {
        unsigned at = count > 0 ? choice % count : UINT32_MAX;

        count = 0;
        for (uint32_t position = 0; position < file->size; position += WAL_BLOCK_BYTES) {
            if (is_frame(file, position) && count++ == at)
                return file->bytes + position;
        }
    }
    return NULL;
}

/* Bytes of a frame's body that there are in the file. */
static uint32_t body_bytes_of(const struct file *file, const uint8_t *frame)
{
    uint32_t left = file->size - (uint32_t)(frame - file->bytes) - FRAME_HEADER_BYTES;

    return (uint32_t)min_u64(get_le(frame + 8, 4), left);
}

/* ---- Changes ------------------------------------------------------------------------------- */

static void change_field(struct input *input, uint8_t *bytes, unsigned size)
{
    put_le(bytes, input_value(input, get_le(bytes, size)), size);
}

static void change_segment_field(struct input *input, struct file *file)
{
    static const uint8_t fields[][2] = {{0, 8},  {8, 2},  {10, 2}, {12, 4}, {16, 8},
                                        {32, 8}, {40, 8}, {48, 8}, {56, 8}, {64, 8},
                                        {72, 8}, {80, 8}, {88, 4}, {92, 4}};
    const uint8_t *field = fields[input_number(input, 1) % ARRAY_SIZE(fields)];

    if (file->size >= WAL_BLOCK_BYTES)
        change_field(input, file->bytes + field[0], field[1]);
}

static void change_frame_field(struct input *input, struct file *file)
{
    static const uint8_t fields[][2] = {{0, 4},  {4, 4},  {8, 4},  {12, 4}, {16, 8}, {24, 8},
                                        {32, 8}, {40, 8}, {48, 8}, {56, 8}, {64, 4}, {68, 4},
                                        {72, 4}, {76, 2}, {78, 2}, {80, 4}, {84, 8}, {92, 4}};
    uint8_t *frame = input_frame(input, file);
    const uint8_t *field = fields[input_number(input, 1) % ARRAY_SIZE(fields)];

    if (frame)
        change_field(input, frame + field[0], field[1]);
}

/* One of the header's fields, or the first bytes of the data: of a trim, the offset. */
static void change_item_field(struct input *input, struct file *file)
{
    static const uint8_t fields[][2] = {{0, 4}, {4, 4}, {8, 4}, {12, 2}, {14, 1}, {15, 1}, {16, 8}};
    uint8_t *frame = input_frame(input, file);
    unsigned number = (unsigned)input_number(input, 1);
    const uint8_t *field = fields[input_number(input, 1) % ARRAY_SIZE(fields)];

    if (!frame)
        return;

    struct item_walk walk = {.body = frame + FRAME_HEADER_BYTES,
                             .body_bytes = body_bytes_of(file, frame)};
    struct item item;

    for (unsigned i = 0; i <= number; i++) {
        uint32_t begin = walk.position;

        if (item_next(&walk, &item) < 0)
            return;
        if (i == number && walk.position - begin >= (unsigned)field[0] + field[1])
            change_field(input, frame + FRAME_HEADER_BYTES + begin + field[0], field[1]);
    }
}

static void poke(struct input *input, struct file *file)
{
    uint32_t position = input_position(input, file);
    uint32_t size = (uint32_t)min_u64(input_number(input, 1) + 1, file->size - position);

    input_take(input, file->bytes + position, size);
}

static void zero_sectors(struct input *input, struct file *file)
{
    uint8_t *block = input_block(input, file);
    unsigned mask = (unsigned)input_number(input, 2);
    uint32_t left = block ? file->size - (uint32_t)(block - file->bytes) : 0;

    for (unsigned i = 0; i < 16 && (i + 1) * WAL_SECTOR_BYTES <= left; i++) {
        if (mask >> i & 1)
            memset(block + (size_t)i * WAL_SECTOR_BYTES, 0, WAL_SECTOR_BYTES);
    }
}

static void duplicate_block(struct input *input, struct file *file)
{
    uint8_t *block = input_block(input, file);

    if (!block || file->size + WAL_BLOCK_BYTES > FILE_BYTES_MAX)
        return;
    memmove(block + WAL_BLOCK_BYTES, block, file->size - (size_t)(block - file->bytes));
    file->size += WAL_BLOCK_BYTES;
}

static void copy_block(struct input *input, struct image *image, struct file *file)
{
    uint8_t *to = input_block(input, file);
    const uint8_t *from = input_block(input, input_file(input, image));

    if (to && from)
        memmove(to, from, WAL_BLOCK_BYTES);
}

static void add_file(struct input *input, struct image *image, bool is_copy)
{
    struct file *from = is_copy ? input_file(input, image) : NULL;
    struct file *file = file_new(image, input_value(input, from ? from->number : 32));

    if (!file)
        return;
    if (is_copy) {
        if (from) {
            file->size = from->size;
            memcpy(file->bytes, from->bytes, from->size);
        }
        return;
    }

    uint32_t size = (uint32_t)input_number(input, 3) % (FILE_BYTES_MAX + 1);
    uint32_t given = (uint32_t)min_u64(input_number(input, 2), size);

    file_resize(file, size);
    input_take(input, file->bytes, given);
}

static void renumber(struct input *input, struct image *image, struct file *file)
{
    uint64_t number = input_value(input, file->number);

    if (!file_by_number(image, number))
        file->number = number;
}

static void zero_from(struct file *file, uint64_t begin, uint64_t size)
{
    memset(file->bytes + begin, 0, min_u64(size, file->size - begin));
}

static void change_file(struct input *input, struct image *image, struct file *file,
                        enum change change)
{
    uint8_t *block;

    switch (change) {
    case FLIP_BIT:
        if (file->size > 0)
            file->bytes[input_position(input, file)] ^= (uint8_t)(1 << input_number(input, 1) % 8);
        break;
    case ZERO_BLOCKS:
        block = input_block(input, file);
        if (block)
            zero_from(file, (uint64_t)(block - file->bytes),
                      (input_number(input, 1) + 1) * WAL_BLOCK_BYTES);
        break;
    case ZERO_SECTORS: zero_sectors(input, file); break;
    case CUT: zero_from(file, input_position(input, file), UINT64_MAX); break;
    case COPY_BLOCK: copy_block(input, image, file); break;
    case DUPLICATE_BLOCK: duplicate_block(input, file); break;
    case RESIZE: file_resize(file, (uint32_t)input_number(input, 3) % (FILE_BYTES_MAX + 1)); break;
    case RENUMBER: renumber(input, image, file); break;
    case DELETE: file_delete(image, file); break;
    case POKE: poke(input, file); break;
    case SEGMENT_FIELD: change_segment_field(input, file); break;
    case FRAME_FIELD: change_frame_field(input, file); break;
    default: change_item_field(input, file);
    }
}

/* Returns how many changes there were, and tells whether all of them were mere damage, or flips. */
static unsigned apply_changes(struct input *input, struct image *image, bool *ret_only_damage,
                              bool *ret_only_flips)
{
    unsigned count = 0;

    for (; count < CHANGES_MAX && input->size > 0; count++) {
        enum change change = (enum change)(input_number(input, 1) % CHANGES);

        *ret_only_damage &= change < NEW_FILE;
        *ret_only_flips &= change == FLIP_BIT;
        if (change == NEW_FILE || change == DUPLICATE_FILE) {
            add_file(input, image, change == DUPLICATE_FILE);
            continue;
        }

        struct file *file = input_file(input, image);

        if (file)
            change_file(input, image, file, change);
    }
    return count;
}

/* ---- Putting right ------------------------------------------------------------------------- */

/* Where the log stands in the course of it. */
struct chain {
    bool has_segment;
    uint8_t log_id[16];
    uint64_t salt;
    uint64_t frame_no, offset, bytes, end;
    uint32_t crc;
};

static void repair_segment(struct file *file, unsigned repairs, struct chain *chain)
{
    static const uint8_t magic[8] = {'L', 'O', 'G', 'S', 'E', 'G', 0, 1};
    uint8_t *block = file->bytes;

    if (repairs & NAME) {
        memcpy(block, magic, sizeof(magic));
        put_le(block + 8, WAL_FORMAT_VERSION, 2);
        put_le(block + 10, SEGMENT_APPENDED, 2);
        put_le(block + 12, WAL_BLOCK_BYTES, 4);
        put_le(block + 32, file->number, 8);
    }
    if ((repairs & LINKS) && chain->has_segment) {
        memcpy(block + 16, chain->log_id, 16);
        put_le(block + 40, chain->offset, 8);
        put_le(block + 48, chain->bytes, 8);
        put_le(block + 56, chain->frame_no, 8);
        put_le(block + 72, chain->end, 8);
        put_le(block + 88, chain->crc, 4);
    }
    if (repairs & SEAL)
        put_le(block + 4092, crc32c(0, block, 4092), 4);

    memcpy(chain->log_id, block + 16, 16);
    chain->has_segment = true;
    chain->salt = get_le(block + 64, 8);
    chain->offset = get_le(block + 40, 8);
    chain->bytes = get_le(block + 48, 8);
    chain->frame_no = get_le(block + 56, 8);
    chain->crc = (uint32_t)get_le(block + 88, 4);
    chain->end = WAL_BLOCK_BYTES;
}

/* What a walk over the items finds; with ITEMS, after giving each its checksum and padding. */
struct found {
    uint32_t items, records, items_crc;
    uint64_t payload_bytes;
};

static struct found repair_items(uint8_t *body, uint32_t body_bytes, unsigned repairs)
{
    struct item_walk walk = {.body = body, .body_bytes = body_bytes};
    struct found found = {0};
    struct item item;
    uint32_t begin = 0;

    while (item_next(&walk, &item) == 0) {
        uint32_t used = ITEM_HEADER_BYTES + item.attribute_bytes + item.data_bytes;

        if (repairs & ITEMS) {
            put_le(body + begin + 4,
                   item_crc(item.attributes, item.attribute_bytes, item.data, item.data_bytes), 4);
            memset(body + begin + used, 0, walk.position - begin - used);
        }
        found.items_crc = crc32c(found.items_crc, body + begin, ITEM_HEADER_BYTES);
        found.items++;
        if (item.kind == ITEM_RECORD) {
            found.records++;
            found.payload_bytes += item.data_bytes;
        }
        begin = walk.position;
    }
    return found;
}

/* Returns the bytes of the frame, as far as the file has them. */
static uint64_t repair_frame(struct file *file, uint32_t position, unsigned repairs,
                             struct chain *chain)
{
    uint8_t *frame = file->bytes + position;
    uint32_t body_bytes = body_bytes_of(file, frame);
    struct found found = repair_items(frame + FRAME_HEADER_BYTES, body_bytes, repairs);
    uint64_t end = position + frame_bytes(body_bytes);
    uint8_t salt_bytes[8];

    if (repairs & NAME) {
        put_le(frame + 78, WAL_FORMAT_VERSION, 2);
        memset(frame + 92, FRAME_END_MARK, 4);
    }
    if (repairs & PLACE)
        put_le(frame + 48, position, 8);
    if (repairs & ITEMS) {
        put_le(frame + 12, found.items_crc, 4);
        put_le(frame + 64, found.records, 4);
        put_le(frame + 68, found.items, 4);
    }
    if (repairs & NUMBERS) {
        put_le(frame + 16, chain->offset, 8);
        put_le(frame + 24, chain->bytes, 8);
        put_le(frame + 32, chain->frame_no, 8);
        put_le(frame + 40, chain->frame_no, 8);
    }
    if (repairs & CHAIN)
        put_le(frame + 72, chain->crc, 4);
    if ((repairs & ZEROS) && end <= file->size) {
        file->bytes[end - 1] = FRAME_END_MARK;
        put_le(frame + 80, frame_zero_sectors(frame, body_bytes), 4);
    }
    if (repairs & SEAL) {
        put_le(salt_bytes, chain->salt, 8);
        put_le(frame + 4, crc32c(crc32c(0, salt_bytes, 8), frame + 8, FRAME_HEADER_BYTES - 8), 4);
    }
    chain->crc = (uint32_t)get_le(frame + 4, 4);
    chain->offset += found.records;
    chain->bytes += found.payload_bytes;
    chain->frame_no++;
    chain->end = end;
    return end - position;
}

static int compare_numbers(const void *a, const void *b)
{
    const struct file *x = a, *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

static int compare_files(const void *a, const void *b)
{
    return compare_numbers(*(const struct file *const *)a, *(const struct file *const *)b);
}

static void repair(struct image *image, unsigned repairs)
{
    struct file *files[FILES_MAX];
    struct chain chain = {0};

    if (repairs == 0)
        return;
    for (unsigned i = 0; i < image->count; i++)
        files[i] = &image->files[i];
    qsort(files, image->count, sizeof(void *), compare_files);
    for (unsigned i = 0; i < image->count; i++) {
        if (files[i]->size < WAL_BLOCK_BYTES)
            continue;
        repair_segment(files[i], repairs, &chain);
        for (uint64_t position = WAL_BLOCK_BYTES; position < files[i]->size;) {
            if (is_frame(files[i], (uint32_t)position))
                position += repair_frame(files[i], (uint32_t)position, repairs, &chain);
            else
                position += WAL_BLOCK_BYTES;
        }
    }
}

/* ---- The bases ----------------------------------------------------------------------------- */

/* Never a single bit in a sector: losing that bit would be losing the sector, which is what a torn
 * write does. Every fourth record has sectors of zeros in it. */
static void record_fill(uint8_t *data, size_t size, uint64_t number)
{
    for (size_t i = 0; i < size; i++)
        data[i] = number % 4 == 3 && i / 700 % 2 == 1 ? 0 : (uint8_t)((number * 31 + i * 7) | 0x81);
}

static bool record_is(const uint8_t *data, size_t size, uint64_t number)
{
    uint8_t expected[RECORD_BYTES_MAX];

    must(size <= sizeof(expected));
    record_fill(expected, size, number);
    return memcmp(data, expected, size) == 0;
}

static struct store_config config_of(unsigned choices)
{
    struct store_config config;

    store_config_default(&config);
    config.custom_io = sim_io(disk);
    config.threads = config.worker = false;
    config.ring_entries = 8;
    config.lock_timeout_ms = 0;
    config.log.space_bytes = 2 * WAL_BLOCK_BYTES;
    config.log.segment_bytes = choices & SHORT ? 4 * WAL_BLOCK_BYTES : FILE_BYTES_MAX / 2;
    return config;
}

static struct wal_token append(struct wal *wal, uint64_t number, size_t size)
{
    static uint8_t data[RECORD_BYTES_MAX];
    uint8_t attributes[32];
    struct wal_record record = {.data = data, .size = size};
    struct wal_state_update update = {
        .key = "last", .key_bytes = 4, .value = &number, .value_bytes = sizeof(number)};
    struct wal_append_options options = {
        .expected_offset = number, .updates = &update, .update_count = number % 3 == 0};
    struct wal_token token;

    record_fill(data, size, number);
    if (number % 2 == 1) {
        int error = wal_attribute_put(attributes, sizeof(attributes), &record.attribute_bytes,
                                      WAL_ATTRIBUTE_USER, "odd", 3);

        must(error == 0);
        record.attributes = attributes;
    }

    int error = wal_append(wal, &record, 1, &options, NULL, &token);

    must(error == 0);
    return token;
}

/* So many commits of so many records each. */
static void fill_log(struct wal *wal, struct base *base, unsigned commits, unsigned records,
                     size_t size)
{
    for (unsigned i = 0; i < commits; i++) {
        struct wal_token token = {0};

        for (unsigned j = 0; j < records; j++) {
            must(base->end_offset < ORIGINALS_MAX);
            base->sizes[base->end_offset] = (uint32_t)(size + (i * records + j) * 37 % 200);
            token = append(wal, base->end_offset, base->sizes[base->end_offset]);
            base->end_offset++;
        }
        must(wal_wait(wal, token, UINT64_MAX) == 0);
    }
}

static int visit_segment(void *context, const char *name, bool is_dir)
{
    struct base *base = context;
    uint8_t *data;
    size_t size;
    char path[128];
    char *end;
    uint64_t number = strtoull(name, &end, 10);

    if (strcmp(end, ".seg") != 0)
        return 0;

    struct file *file = file_new(&base->image, number);

    must(file);
    snprintf(path, sizeof(path), LOG_PATH "/%s", name);
    must(sim_copy_file(disk, path, SIM_DURABLE, &data, &size) == 0);
    must(size <= FILE_BYTES_MAX);
    file->size = (uint32_t)size;
    memcpy(file->bytes, data, size);
    free(data);
    return 0;
}

/* What is on the disk, oldest segment first. */
static void collect(struct base *base)
{
    must(sim_list(disk, LOG_PATH, SIM_DURABLE, visit_segment, base) == 0);
    qsort(base->image.files, base->image.count, sizeof(base->image.files[0]), compare_numbers);
}

/* BASE_FRESH and BASE_SMALL were closed in good order, the others are as a kill leaves them. */
static void make_base(enum base_kind kind)
{
    struct base *base = &bases[kind];
    struct store_config config = config_of(kind == BASE_SEGMENTS ? SHORT : 0);
    struct wal_state_update update = {
        .key = "setting", .key_bytes = 7, .value = "value", .value_bytes = 5};
    struct wal_token token = {0};
    struct store *store;
    struct wal *wal;

    base->is_made = true;
    sim_reset(disk, kind);
    must(store_open(&store, DATA, &config, NULL) == 0);
    must(store_create(store, LOG_NAME, &update, 1, &wal) == 0);
    if (kind == BASE_SMALL)
        fill_log(wal, base, 8, 1, 100);
    if (kind == BASE_SEGMENTS) {
        fill_log(wal, base, 3, 2, 900);
        base->first_offset = 3;
        must(wal_trim(wal, base->first_offset, NULL, &token) == 0);
        must(wal_wait(wal, token, UINT64_MAX) == 0);
        fill_log(wal, base, 5, 2, 900);
    }
    if (kind == BASE_LARGE)
        fill_log(wal, base, 3, 3, 3000);

    bool is_clean = kind == BASE_FRESH || kind == BASE_SMALL;

    if (!is_clean)
        collect(base);
    store_put(store, wal);
    must(store_close(store, UINT64_MAX) == 0);
    if (is_clean)
        collect(base);
}

/* ---- The disk ------------------------------------------------------------------------------ */

static void segment_path(char *ret_path, size_t size, uint64_t number)
{
    snprintf(ret_path, size, LOG_PATH "/%020" PRIu64 ".seg", number);
}

static void place(const struct image *image)
{
    struct wal_io *io = sim_io(disk);
    char path[128];

    must(io->ops->make_dir(io, WAL_IO_CWD, DATA) == 0);
    must(io->ops->make_dir(io, WAL_IO_CWD, DATA "/logs") == 0);
    must(io->ops->make_dir(io, WAL_IO_CWD, LOG_PATH) == 0);
    for (unsigned i = 0; i < image->count; i++) {
        const struct file *file = &image->files[i];

        segment_path(path, sizeof(path), file->number);

        int handle = io->ops->open_file(io, WAL_IO_CWD, path, WAL_OPEN_WRITE | WAL_OPEN_CREATE);

        must(handle >= 0);
        must(io->ops->write(io, handle, file->bytes, file->size, 0, false) == 0);
        io->ops->close(io, handle);
    }
    sim_settle(disk);
}

static int count_entry(void *context, const char *name, bool is_dir)
{
    ++*(unsigned *)context;
    return 0;
}

/* A damaged log is left exactly as it is. */
static void check_untouched(const struct image *image)
{
    unsigned count = 0;
    char path[128];

    must(sim_list(disk, LOG_PATH, SIM_CACHED, count_entry, &count) == 0);
    must(count == image->count);
    for (unsigned i = 0; i < image->count; i++) {
        const struct file *file = &image->files[i];
        uint8_t *data;
        size_t size;

        segment_path(path, sizeof(path), file->number);
        must(sim_copy_file(disk, path, SIM_CACHED, &data, &size) == 0);
        must(size == file->size && memcmp(data, file->bytes, size) == 0);
        free(data);
    }
}

/* ---- One life of the log ------------------------------------------------------------------- */

/* What is being done, and what is known of the log. */
struct trial {
    const struct base *base;
    const struct image *image;
    unsigned choices;
    bool only_damage;
    bool one_flip;
};

/* What a life saw before it changed anything. */
struct sight {
    int error;  /* of store_get() */
    int status; /* of the log */
    struct wal_positions positions;
    uint64_t damaged_offset;
    uint64_t torn_bytes;
    uint64_t served, gaps;
    uint64_t last;        /* offset of the last one served */
    uint32_t record_hash; /* of what was served, and which gaps were reported */
    uint32_t state_hash;
    uint64_t end;        /* of the log when the life ended */
    uint64_t overwrites; /* of durable bytes by lives before it */
};

/* What was served, for wal_offset_at(). */
static struct served {
    uint64_t offset, timestamp_ns;
} served[SERVED_MAX];

static void check_record(const struct trial *trial, const struct wal_entry *entry)
{
    const struct base *base = trial->base;
    const uint8_t *attributes = entry->attributes;

    /* The bytes before the attributes are the item's header: wal/format.h. */
    must((const uint8_t *)entry->data == attributes + entry->attribute_bytes);
    must(get_le(attributes - ITEM_HEADER_BYTES + 4, 4) ==
         item_crc(attributes, entry->attribute_bytes, entry->data, entry->size));

    if (trial->only_damage && entry->offset < base->end_offset) {
        must(entry->size == base->sizes[entry->offset]);
        must(record_is(entry->data, entry->size, entry->offset));
    }
}

static void note(struct sight *sight, const struct wal_entry *entry, int rc)
{
    uint64_t numbers[] = {(uint64_t)rc, entry->offset, rc < 0 ? entry->gap_end : entry->size};

    sight->record_hash = crc32c(sight->record_hash, numbers, sizeof(numbers));
    if (rc < 0) {
        sight->gaps++;
        return;
    }
    sight->record_hash = crc32c(sight->record_hash, entry->data, entry->size);
    must(sight->served < SERVED_MAX);
    served[sight->served++] = (struct served){entry->offset, entry->timestamp_ns};
    sight->last = entry->offset;
}

/* Reads from 0 to the end, or to `limit`. */
static void read_all(const struct trial *trial, struct wal *wal, struct sight *sight,
                     uint64_t limit)
{
    struct wal_cursor *cursor;
    uint64_t next = 0;
    unsigned steps = 0;

    must(wal_cursor_open(&cursor, wal, 0) == 0);
    for (;;) {
        struct wal_entry entry;
        int rc = wal_cursor_next(cursor, &entry);

        must(++steps <= 2 * SERVED_MAX);
        if (rc == -ENODATA)
            break;
        if (rc == -ERANGE) {
            must(next < sight->positions.first_offset);
            next = sight->positions.first_offset;
            wal_cursor_seek(cursor, next);
            continue;
        }
        must(rc == 0 || rc == -EBADMSG);
        must(entry.offset >= next && entry.offset >= sight->positions.first_offset);
        must(entry.offset < sight->positions.committed_offset);
        must(rc < 0 || !trial->only_damage || sight->served == 0 ||
             entry.timestamp_ns >= served[sight->served - 1].timestamp_ns);
        next = rc < 0 ? entry.gap_end : entry.offset + 1;
        must(next > entry.offset && next <= sight->positions.committed_offset);
        /* What stands between two records is a gap, and said to be one. */
        must(rc < 0 || sight->served == 0 || sight->gaps > 0 || entry.offset == sight->last + 1);
        if (entry.offset >= limit)
            break;
        if (rc == 0)
            check_record(trial, &entry);
        note(sight, &entry, rc);
    }
    wal_cursor_close(cursor);
}

static void check_lookups(const struct trial *trial, struct wal *wal, const struct sight *sight)
{
    const uint64_t counts[] = {0, 1, 5, INT64_MAX, UINT64_MAX};
    const struct wal_positions *positions = &sight->positions;
    uint64_t times[] = {0, 1, INT64_MAX, UINT64_MAX, 0, 0};

    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        uint64_t offset = wal_offset_of_last(wal, counts[i]);
        uint64_t kept = positions->committed_offset - positions->first_offset;

        must(offset == positions->committed_offset - min_u64(counts[i], kept));
    }
    if (sight->served > 0) {
        times[4] = served[sight->served / 2].timestamp_ns;
        times[5] = served[sight->served - 1].timestamp_ns;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(times); i++) {
        uint64_t offset;
        uint64_t first = 0;

        must(wal_offset_at(wal, times[i], &offset) == 0);
        must(offset <= positions->committed_offset);
        while (first < sight->served && served[first].timestamp_ns < times[i])
            first++;
        if (trial->only_damage)
            must(offset ==
                 (first < sight->served ? served[first].offset : positions->committed_offset));
    }
}

static int visit_state(void *context, const void *key, uint16_t key_bytes, const void *value,
                       uint32_t value_bytes)
{
    uint32_t *hash = context;

    *hash ^= crc32c(crc32c(0, key, key_bytes), value, value_bytes);
    return 0;
}

/* Looks at everything without changing it. */
static void look(const struct trial *trial, struct wal *wal, struct sight *sight, uint64_t limit)
{
    struct wal_stats stats;

    wal_positions(wal, &sight->positions);
    wal_stats(wal, &stats);
    sight->status = wal_status(wal);
    sight->damaged_offset = stats.recovery.damaged_offset;
    sight->torn_bytes = stats.recovery.torn_bytes;
    must(sight->status == 0 || sight->status == -EBADMSG);
    must((sight->status == 0) == (sight->damaged_offset == UINT64_MAX));
    must(sight->positions.first_offset <= sight->positions.committed_offset);
    must(sight->positions.committed_offset == sight->positions.next_offset);
    must(stats.total_operations == sight->positions.committed_offset);
    must(wal_state_each(wal, visit_state, &sight->state_hash) == 0);
    read_all(trial, wal, sight, limit);
    if (limit == UINT64_MAX)
        check_lookups(trial, wal, sight);
}

/* One bit may cost records, but never without a word. */
static void check_flip(const struct trial *trial, const struct sight *sight)
{
    bool told = sight->error < 0 || sight->status < 0 || sight->gaps > 0;

    if (!told)
        must(sight->positions.committed_offset == trial->base->end_offset &&
             sight->positions.first_offset == trial->base->first_offset &&
             sight->served == trial->base->end_offset - trial->base->first_offset);
}

static void run_until_decided(struct store *store, struct wal *wal, struct wal_token token)
{
    int status = wal_poll(wal, token);

    for (unsigned i = 0; status == -EINPROGRESS && i < RUNS_MAX; i++) {
        must(store_run(store, 0, UINT64_MAX) >= 0);
        status = wal_poll(wal, token);
    }
    must(status == 0);
}

/* Appends a record, and reads it back. */
static void try_append(const struct trial *trial, struct store *store, struct wal *wal,
                       struct sight *sight)
{
    static uint8_t data[RECORD_BYTES_MAX];
    size_t size = trial->choices & APPEND_LARGE ? sizeof(data) : 10;
    struct wal_record record = {.data = data, .size = size};
    struct wal_state_update update = {
        .key = "fuzz", .key_bytes = 4, .value = "x", .value_bytes = 1};
    struct wal_append_options options = {WAL_ANY_OFFSET, &update, 1};
    struct wal_token token;

    record_fill(data, size, sight->positions.next_offset);

    int error = wal_append(wal, &record, 1, &options, NULL, &token);

    must(error == sight->status);
    if (error < 0)
        return;
    must(token.begin == sight->positions.next_offset && token.end == token.begin + 1);
    run_until_decided(store, wal, token);

    struct wal_cursor *cursor;
    struct wal_entry entry;

    must(wal_cursor_open(&cursor, wal, token.begin) == 0);
    must(wal_cursor_next(cursor, &entry) == 0);
    must(entry.offset == token.begin && entry.size == size);
    must(memcmp(entry.data, data, size) == 0);
    must(wal_cursor_next(cursor, &entry) == -ENODATA);
    wal_cursor_close(cursor);
    sight->end = token.end;
}

static void try_trim(struct store *store, struct wal *wal, const struct sight *sight)
{
    const struct wal_positions *positions = &sight->positions;
    uint64_t before =
        positions->committed_offset - (positions->committed_offset - positions->first_offset) / 2;
    struct wal_token token = {0};
    int error = wal_trim(wal, before, NULL, &token);

    must(error == sight->status);
    if (error == 0)
        run_until_decided(store, wal, token);
}

/* What is in use, by the count of whoever gives it out. */
static size_t memory_bytes(void)
{
#ifdef UNDER_ASAN
    return __sanitizer_get_current_allocated_bytes();
#else
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
#endif
}

static void check_disk(const struct sight *sight)
{
    const struct sim_counters *counters = sim_counters(disk);

    must(!sim_is_dead(disk)); /* OPERATIONS_MAX */
    must(counters->misuses == 0 && counters->idle_waits == 0);
    must(counters->overwrites == sight->overwrites || sight->torn_bytes > 0);
}

/* `before` is what the life before saw; NULL in the first, in which the log is written to. */
static void live(const struct trial *trial, const struct sight *before, struct sight *sight)
{
    struct store_config config = config_of(trial->choices);
    size_t memory = memory_bytes();
    struct store *store;
    struct wal *wal;

    *sight = (struct sight){.overwrites = sim_counters(disk)->overwrites};
    sim_crash_at(disk, sim_ops(disk) + OPERATIONS_MAX);
    must(store_open(&store, DATA, &config, NULL) == 0);
    sight->error = store_get(store, LOG_NAME, false, &wal);
    must(sight->error == 0 || sight->error == -EBADMSG || sight->error == -EPROTONOSUPPORT);
    if (sight->error == 0) {
        look(trial, wal, sight, before ? before->positions.committed_offset : UINT64_MAX);
        sight->end = sight->positions.committed_offset;
        if (!before && (trial->choices & APPEND))
            try_append(trial, store, wal, sight);
        if (!before && (trial->choices & TRIM))
            try_trim(store, wal, sight);
        store_put(store, wal);
    }
    must(memory_bytes() < memory + MEMORY_BYTES_MAX);
    check_disk(sight);
    if (sight->error < 0 || sight->status < 0)
        check_untouched(trial->image);

    bool is_cut = !before && (trial->choices & CRASH);

    if (is_cut)
        sim_crash(disk);

    int error = store_close(store, UINT64_MAX);

    must(error == 0 || is_cut);
    must(sim_handles(disk) == 0 && sim_rings(disk) == 0);
    if (!is_cut)
        check_disk(sight);
    if (sight->error < 0 || sight->status < 0)
        check_untouched(trial->image);
}

/* What was served before must be served again, and what was refused, refused. */
static void check_again(const struct trial *trial, const struct sight *first,
                        const struct sight *again)
{
    bool is_writable = first->error == 0 && first->status == 0;
    bool is_trimmed = is_writable && (trial->choices & TRIM);
    bool is_changed = is_writable && (trial->choices & (TRIM | APPEND));

    must(again->error == first->error && again->status == first->status);
    must(again->damaged_offset == first->damaged_offset);
    must(again->torn_bytes == 0 || !is_writable);
    must(again->positions.committed_offset == first->end);
    must(is_changed || again->state_hash == first->state_hash);
    if (is_trimmed)
        return;
    must(again->positions.first_offset == first->positions.first_offset);
    must(again->record_hash == first->record_hash);
    must(again->served == first->served && again->gaps == first->gaps);
}

static void try_log(const struct trial *trial)
{
    struct sight first, again;

    live(trial, NULL, &first);
    if (trial->one_flip)
        check_flip(trial, &first);
    live(trial, &first, &again);
    check_again(trial, &first, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct image image;
    struct input input = {data, size};
    enum base_kind kind = (enum base_kind)(input_number(&input, 1) % BASES);
    unsigned repairs = (unsigned)input_number(&input, 1);
    struct trial trial = {.base = &bases[kind], .image = &image, .only_damage = true};
    bool only_flips = true;

    if (!disk)
        must(sim_disk_new(NULL, &disk) == 0);
    *sim_options_of(disk) = (struct sim_options){.direct = true, .check_buffers = true};
    if (kind != BASE_EMPTY && !bases[kind].is_made)
        make_base(kind);

    trial.choices = (unsigned)input_number(&input, 1);
    image.count = bases[kind].image.count;
    for (unsigned i = 0; i < image.count; i++) {
        const struct file *file = &bases[kind].image.files[i];

        image.files[i].number = file->number;
        image.files[i].size = file->size;
        memcpy(image.files[i].bytes, file->bytes, file->size);
    }

    unsigned changes = apply_changes(&input, &image, &trial.only_damage, &only_flips);

    repair(&image, repairs);
    trial.only_damage &= repairs == 0;
    trial.one_flip = changes == 1 && only_flips && repairs == 0 && kind != BASE_EMPTY;

    sim_reset(disk, repairs);
    sim_options_of(disk)->direct = !(trial.choices & BUFFERED);
    sim_options_of(disk)->no_allocate = trial.choices & UNRESERVED;
    place(&image);
    try_log(&trial);
    return 0;
}
