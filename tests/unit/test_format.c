/* wal/format.c: the bytes on disk, and what is refused when they are not what was written. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "wal/base.h"
#include "wal/crc32c.h"
#include "wal/format.h"

#define SALT UINT64_C(0xa1a2a3a4a5a6a7a8)
#define POSITION UINT64_C(0x3132333435363000)

/* A copy in a block of exactly its size, so that a sanitizer sees the first byte read past it. */
static void *exact_copy(const void *data, size_t size)
{
    void *copy = malloc(size > 0 ? size : 1);

    assert_non_null(copy);
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

static const struct segment_header segment_example = {
    .kind = SEGMENT_APPENDED,
    .log = {{0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed,
             0xee, 0xef}},
    .segment_no = 0x1112131415161718,
    .base_offset = 0x2122232425262728,
    .base_bytes = 0x3132333435363738,
    .base_frame = 0x4142434445464748,
    .salt = SALT,
    .prev_end = 0x5152535455565758,
    .prev_crc = 0x61626364,
    .created_ns = 0x7172737475767778,
};

/* A header without a body: every field has bytes of its own. */
static const struct frame_header frame_example = {
    .body_bytes = 0x00012340,
    .items_crc = 0x81828384,
    .base_offset = 0x0102030405060708,
    .base_bytes = 0x1112131415161718,
    .frame_no = 0x2122232425262728,
    .durable_frame = 0x2122232425262727,
    .position = POSITION,
    .timestamp_ns = 0x4142434445464748,
    .record_count = 0x1200,
    .item_count = 0x1234,
    .prev_crc = 0x51525354,
    .flags = FRAME_STATE,
    .zero_sectors = 0x61,
};

/* Puts a number into bytes as little endian, whatever the layout of the machine. */
static void put_le(uint8_t *bytes, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

/* Makes the checksum of a segment header right again after its bytes were changed: what a different
 * program would have written, as opposed to damage. */
static void segment_reseal(uint8_t *block)
{
    put_le(block + 4092, crc32c(0, block, 4092), 4);
}

static void frame_reseal(uint8_t *bytes, uint64_t salt)
{
    uint8_t salt_bytes[8];

    put_le(salt_bytes, salt, 8);
    put_le(bytes + 4, crc32c(crc32c(0, salt_bytes, 8), bytes + 8, FRAME_HEADER_BYTES - 8), 4);
}

static void assert_segment_headers_equal(const struct segment_header *a,
                                         const struct segment_header *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_memory_equal(&a->log, &b->log, sizeof(a->log));
    assert_int_equal(a->segment_no, b->segment_no);
    assert_int_equal(a->base_offset, b->base_offset);
    assert_int_equal(a->base_bytes, b->base_bytes);
    assert_int_equal(a->base_frame, b->base_frame);
    assert_int_equal(a->salt, b->salt);
    assert_int_equal(a->prev_end, b->prev_end);
    assert_int_equal(a->prev_crc, b->prev_crc);
    assert_int_equal(a->created_ns, b->created_ns);
}

static void assert_frame_headers_equal(const struct frame_header *a, const struct frame_header *b)
{
    assert_int_equal(a->body_bytes, b->body_bytes);
    assert_int_equal(a->items_crc, b->items_crc);
    assert_int_equal(a->plain_bytes, b->plain_bytes);
    assert_int_equal(a->body_crc, b->body_crc);
    assert_int_equal(a->base_offset, b->base_offset);
    assert_int_equal(a->base_bytes, b->base_bytes);
    assert_int_equal(a->frame_no, b->frame_no);
    assert_int_equal(a->durable_frame, b->durable_frame);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->timestamp_ns, b->timestamp_ns);
    assert_int_equal(a->record_count, b->record_count);
    assert_int_equal(a->item_count, b->item_count);
    assert_int_equal(a->prev_crc, b->prev_crc);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->zero_sectors, b->zero_sectors);
    assert_int_equal(a->crc, b->crc);
}

/* --- Segment headers --- */

static void a_segment_header_reads_back_as_it_was_written(void **state)
{
    uint8_t block[WAL_BLOCK_BYTES];
    struct segment_header header;

    segment_header_encode(&segment_example, block);

    uint8_t *read = exact_copy(block, sizeof(block));

    assert_int_equal(segment_header_decode(&header, read), 0);
    assert_segment_headers_equal(&header, &segment_example);
    free(read);
}

/* A change of the format that nobody meant to make would still read back what it wrote, and make
 * every log on disk unreadable. These bytes were computed by another program. */
static void a_segment_header_has_exactly_these_bytes(void **state)
{
    static const uint8_t begin[96] = {
        0x4c, 0x4f, 0x47, 0x53, 0x45, 0x47, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x10,
        0x00, 0x00, 0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb,
        0xec, 0xed, 0xee, 0xef, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x28, 0x27,
        0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31,
        0x48, 0x47, 0x46, 0x45, 0x44, 0x43, 0x42, 0x41, 0xa8, 0xa7, 0xa6, 0xa5, 0xa4, 0xa3,
        0xa2, 0xa1, 0x58, 0x57, 0x56, 0x55, 0x54, 0x53, 0x52, 0x51, 0x78, 0x77, 0x76, 0x75,
        0x74, 0x73, 0x72, 0x71, 0x64, 0x63, 0x62, 0x61, 0x00, 0x00, 0x00, 0x00};
    static const uint8_t crc[4] = {0x75, 0xe3, 0x79, 0xba};
    uint8_t expected[WAL_BLOCK_BYTES] = {0};
    uint8_t block[WAL_BLOCK_BYTES];

    memcpy(expected, begin, sizeof(begin));
    memcpy(expected + 4092, crc, sizeof(crc));
    memset(block, 0xaa, sizeof(block));
    segment_header_encode(&segment_example, block);
    assert_memory_equal(block, expected, sizeof(block));
}

/* A segment whose header is damaged must not be scanned under a wrong salt, offset or predecessor;
 * and whoever was refused must not find half a header in its variable. */
static void any_flipped_bit_in_a_segment_header_is_refused(void **state)
{
    uint8_t block[WAL_BLOCK_BYTES];
    struct segment_header header = {.segment_no = 99};

    segment_header_encode(&segment_example, block);
    for (unsigned bit = 0; bit < 8 * WAL_BLOCK_BYTES; bit++) {
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(segment_header_decode(&header, block), -EBADMSG);
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(header.segment_no, 99);
    assert_int_equal(segment_header_decode(&header, block), 0);
}

/* A file that was allocated and never written. */
static void a_block_of_zeros_is_no_segment_header(void **state)
{
    uint8_t block[WAL_BLOCK_BYTES] = {0};
    struct segment_header header;

    assert_int_equal(segment_header_decode(&header, block), -EBADMSG);
}

/* After a downgrade the operator is to read "newer version", not "damaged": the one is answered by
 * upgrading again, the other by repairs that destroy. */
static void a_segment_of_a_newer_version_or_kind_is_unsupported_and_not_damaged(void **state)
{
    static const struct {
        unsigned at, size;
        uint64_t value;
        int expected;
    } changes[] = {
        {8, 2, WAL_FORMAT_VERSION + 1, -EPROTONOSUPPORT},
        {8, 2, 0xffff, -EPROTONOSUPPORT},
        {10, 2, 3, -EPROTONOSUPPORT},   /* kind */
        {10, 2, 1, -EBADMSG},           /* packed, and nothing tells where it ends */
        {10, 2, 2, -EBADMSG},           /* the same, compressed */
        {12, 4, 512, -EPROTONOSUPPORT}, /* bytes of a block */
        {8, 2, 0, -EBADMSG},            /* a version that never was */
        {0, 1, 'l', -EBADMSG},          /* magic: some other file with a checksum like ours */
        {7, 1, 2, -EBADMSG},            /* magic, the last byte */
        {92, 1, 1, -EBADMSG},           /* of packed segments alone, the first byte … */
        {143, 1, 1, -EBADMSG},          /* … and the last */
        {144, 1, 1, -EBADMSG},          /* reserved, the first byte */
        {4091, 1, 1, -EBADMSG},         /* reserved, the last byte */
    };

    for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
        uint8_t block[WAL_BLOCK_BYTES];
        struct segment_header header;

        segment_header_encode(&segment_example, block);
        put_le(block + changes[i].at, changes[i].value, changes[i].size);
        segment_reseal(block);
        assert_int_equal(segment_header_decode(&header, block), changes[i].expected);
    }
}

static struct segment_header packed_example(void)
{
    struct segment_header header = segment_example;

    header.kind = SEGMENT_PACKED;
    header.base_offset = 10;
    header.base_bytes = 1000;
    header.base_frame = 5;
    header.seal = (struct segment_seal){.end = 3 * WAL_BLOCK_BYTES,
                                        .crc = 0x61626364,
                                        .original_end = 40 * WAL_BLOCK_BYTES,
                                        .original_crc = 0x71727374,
                                        .end_frame = 44,
                                        .end_offset = 48,
                                        .end_bytes = 4800};
    return header;
}

/* Where a packed segment ends, and where the one it was made from did. */
static void the_header_of_a_packed_segment_reads_back_as_it_was_written(void **state)
{
    const struct segment_header written = packed_example();
    struct segment_header header;
    uint8_t block[WAL_BLOCK_BYTES];

    segment_header_encode(&written, block);
    assert_int_equal(segment_header_decode(&header, block), 0);
    assert_int_equal(header.kind, SEGMENT_PACKED);
    assert_memory_equal(&header.seal.end, &written.seal.end, 8);
    assert_int_equal(header.seal.crc, 0x61626364);
    assert_int_equal(header.seal.original_end, 40 * WAL_BLOCK_BYTES);
    assert_int_equal(header.seal.original_crc, 0x71727374);
    assert_int_equal(header.seal.end_frame, 44);
    assert_int_equal(header.seal.end_offset, 48);
    assert_int_equal(header.seal.end_bytes, 4800);
    assert_int_equal(header.salt, written.salt);
}

/* A program from before there was compression knows the kinds 0 and 1, and takes any other for that of a
 * newer version: so that it damages nothing, what it cannot read has to be one of those. */
static void a_compressed_segment_is_of_a_kind_of_its_own(void **state)
{
    struct segment_header written = packed_example(), header;
    uint8_t block[WAL_BLOCK_BYTES];

    written.kind = SEGMENT_COMPRESSED;
    segment_header_encode(&written, block);
    assert_int_equal(block[10], 2);
    assert_int_equal(block[11], 0);
    assert_int_equal(segment_header_decode(&header, block), 0);
    assert_int_equal(header.kind, SEGMENT_COMPRESSED);
    assert_true(segment_is_packed(&header));
    assert_int_equal(header.seal.end_bytes, 4800);
}

static void a_packed_segment_whose_ends_make_no_sense_is_refused(void **state)
{
    static const struct {
        unsigned at, size;
        uint64_t value;
        int expected;
    } changes[] = {
        {96, 8, 2 * WAL_BLOCK_BYTES, 0},    /* end: of a state alone */
        {96, 8, WAL_BLOCK_BYTES, -EBADMSG}, /* without it */
        {96, 8, 3 * WAL_BLOCK_BYTES + 1, -EBADMSG},
        {96, 8, 40 * WAL_BLOCK_BYTES, 0},        /* as long as the original … */
        {96, 8, 41 * WAL_BLOCK_BYTES, -EBADMSG}, /* … or longer */
        {104, 8, 40 * WAL_BLOCK_BYTES + 512, -EBADMSG},
        {104, 8, UINT64_MAX - 4095, -EBADMSG},
        {116, 4, 1, -EBADMSG},  /* reserved */
        {120, 8, 5, -EBADMSG},  /* end_frame: not even the first frame */
        {128, 8, 10, 0},        /* end_offset: no record … */
        {128, 8, 9, -EBADMSG},  /* … or fewer */
        {136, 8, 999, -EBADMSG} /* end_bytes */
    };

    for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
        const struct segment_header written = packed_example();
        struct segment_header header;
        uint8_t block[WAL_BLOCK_BYTES];

        segment_header_encode(&written, block);
        put_le(block + changes[i].at, changes[i].value, changes[i].size);
        segment_reseal(block);
        if (segment_header_decode(&header, block) != changes[i].expected)
            fail_msg("line %u is not %d", i, changes[i].expected);
    }
}

/* --- Frame headers --- */

static void a_frame_header_reads_back_as_it_was_written(void **state)
{
    struct frame_header written = frame_example;
    struct frame_header header;
    uint8_t bytes[FRAME_HEADER_BYTES];

    frame_header_encode(&written, SALT, bytes);

    uint8_t *read = exact_copy(bytes, sizeof(bytes));

    assert_int_equal(frame_header_decode(&header, SALT, POSITION, read), 0);
    assert_frame_headers_equal(&header, &written);
    free(read);
}

/* As for segment headers: computed by another program. */
static void a_frame_header_has_exactly_these_bytes(void **state)
{
    static const uint8_t expected[FRAME_HEADER_BYTES] = {
        0x43, 0x4d, 0x54, 0x31, 0xda, 0xb0, 0xb1, 0x0c, 0x40, 0x23, 0x01, 0x00, 0x84, 0x83,
        0x82, 0x81, 0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0x18, 0x17, 0x16, 0x15,
        0x14, 0x13, 0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0x27, 0x27,
        0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0x00, 0x30, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31,
        0x48, 0x47, 0x46, 0x45, 0x44, 0x43, 0x42, 0x41, 0x00, 0x12, 0x00, 0x00, 0x34, 0x12,
        0x00, 0x00, 0x54, 0x53, 0x52, 0x51, 0x01, 0x00, 0x01, 0x00, 0x61, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xa5, 0xa5, 0xa5, 0xa5};
    struct frame_header header = frame_example;
    uint8_t bytes[FRAME_HEADER_BYTES];

    frame_header_encode(&header, SALT, bytes);
    assert_memory_equal(bytes, expected, sizeof(bytes));
    assert_int_equal(header.crc, 0x0cb1b0da);
}

/* The flags are on disk as numbers, and so are the kinds of items and the end mark. */
static void flags_kinds_and_the_mark_have_these_numbers(void **state)
{
    assert_int_equal(FRAME_END_MARK, 0xa5);
    assert_int_equal(FRAME_STATE, 1);
    assert_int_equal(FRAME_MARK, 2);
    assert_int_equal(FRAME_CLEAN, 4);
    assert_int_equal(FRAME_PACKED, 8);
    assert_int_equal(FRAME_COMPRESSED, 16);
    assert_int_equal(ITEM_RECORD, 1);
    assert_int_equal(ITEM_STATE_SET, 2);
    assert_int_equal(ITEM_STATE_REMOVE, 3);
    assert_int_equal(ITEM_TRIM, 4);
}

/* The end of the log is found by the first header that is refused. */
static void any_flipped_bit_in_a_frame_header_is_refused(void **state)
{
    struct frame_header written = frame_example;
    struct frame_header header = {.frame_no = 99};
    uint8_t bytes[FRAME_HEADER_BYTES];

    frame_header_encode(&written, SALT, bytes);
    for (unsigned bit = 0; bit < 8 * FRAME_HEADER_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(frame_header_decode(&header, SALT, POSITION, bytes), -EBADMSG);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(header.frame_no, 99);
    assert_int_equal(frame_header_decode(&header, SALT, POSITION, bytes), 0);
}

/* A block that the disk put elsewhere, or that was copied within the file, is whole and ours. */
static void a_frame_at_another_position_is_refused(void **state)
{
    struct frame_header written = frame_example;
    struct frame_header header;
    uint8_t bytes[FRAME_HEADER_BYTES];

    frame_header_encode(&written, SALT, bytes);
    assert_int_equal(frame_header_decode(&header, SALT, POSITION + WAL_BLOCK_BYTES, bytes),
                     -EBADMSG);
    assert_int_equal(frame_header_decode(&header, SALT, 0, bytes), -EBADMSG);
}

/* Every bit of the salt counts, or it would be shorter than it looks to who has to guess it. */
static void a_frame_of_a_segment_with_another_salt_is_refused(void **state)
{
    struct frame_header written = frame_example;
    struct frame_header header;
    uint8_t bytes[FRAME_HEADER_BYTES];

    frame_header_encode(&written, SALT, bytes);
    assert_int_equal(frame_header_decode(&header, 0, POSITION, bytes), -EBADMSG);
    for (unsigned bit = 0; bit < 64; bit++)
        assert_int_equal(frame_header_decode(&header, SALT ^ UINT64_C(1) << bit, POSITION, bytes),
                         -EBADMSG);
}

/* Recovery looks for frames at every block behind a damaged one. A client may put there what it
 * likes: a record holding a frame of a log of its own, right down to position and numbers. */
static void a_frame_inside_a_payload_is_no_frame_of_the_segment(void **state)
{
    const uint64_t second = UINT64_C(2) * WAL_BLOCK_BYTES; /* position of the second block */
    uint8_t *frame = calloc(2, WAL_BLOCK_BYTES);
    uint8_t *payload = calloc(2, WAL_BLOCK_BYTES);
    uint8_t *forged = payload + WAL_BLOCK_BYTES - FRAME_HEADER_BYTES - ITEM_HEADER_BYTES;
    struct frame_header forgery = {.position = second, .frame_no = 2, .flags = FRAME_MARK};
    struct frame_header header = {
        .position = WAL_BLOCK_BYTES, .frame_no = 1, .record_count = 1, .item_count = 1};

    assert_non_null(frame);
    assert_non_null(payload);
    frame_header_encode(&forgery, SALT + 1, forged);

    struct item item = {
        .kind = ITEM_RECORD, .data = payload, .data_bytes = 2 * WAL_BLOCK_BYTES - 112};

    item.crc = item_crc(NULL, 0, item.data, item.data_bytes);
    header.body_bytes = (uint32_t)item_bytes(0, item.data_bytes);
    header.items_crc = item_encode(&item, 0, frame + FRAME_HEADER_BYTES);
    frame_header_encode(&header, SALT, frame);

    /* It stands at the start of the second block, and would pass for one who knows its salt. */
    struct frame_header found;

    assert_int_equal(frame_header_decode(&found, SALT, WAL_BLOCK_BYTES, frame), 0);
    assert_int_equal(frame_header_decode(&found, SALT + 1, second, frame + WAL_BLOCK_BYTES), 0);
    assert_int_equal(frame_header_decode(&found, SALT, second, frame + WAL_BLOCK_BYTES), -EBADMSG);
    free(payload);
    free(frame);
}

/* The clean end of a log is zeros; a single bit among them is not, and must be looked at. */
static void only_zeros_throughout_are_nothing_written(void **state)
{
    uint8_t bytes[FRAME_HEADER_BYTES] = {0};
    struct frame_header header;

    assert_int_equal(frame_header_decode(&header, SALT, POSITION, bytes), -ENODATA);
    for (unsigned i = 0; i < FRAME_HEADER_BYTES; i++) {
        bytes[i] = 0x80;
        assert_int_equal(frame_header_decode(&header, SALT, POSITION, bytes), -EBADMSG);
        bytes[i] = 0;
    }
    memset(bytes, 0xff, sizeof(bytes)); /* what flash memory looks like when erased */
    assert_int_equal(frame_header_decode(&header, SALT, POSITION, bytes), -EBADMSG);
}

/* As for segments; also where the newer version gave the other fields another meaning. */
static void a_frame_of_a_newer_version_is_unsupported_and_not_damaged(void **state)
{
    struct frame_header written = frame_example;
    struct frame_header header;
    uint8_t bytes[FRAME_HEADER_BYTES];

    frame_header_encode(&written, SALT, bytes);
    put_le(bytes + 78, WAL_FORMAT_VERSION + 1, 2);
    assert_int_equal(frame_header_decode(&header, SALT, POSITION, bytes), -EBADMSG);
    frame_reseal(bytes, SALT);
    assert_int_equal(frame_header_decode(&header, SALT, POSITION, bytes), -EPROTONOSUPPORT);

    memset(bytes + 8, 0xff, FRAME_HEADER_BYTES - 8);
    frame_reseal(bytes, SALT);
    assert_int_equal(frame_header_decode(&header, SALT, POSITION, bytes), -EPROTONOSUPPORT);
}

/* Who reads the counts and lengths of a header allocates and adds by them. A right checksum over
 * nonsense is a mistake in a writer, or somebody who found the salt. */
static void a_frame_header_that_makes_no_sense_is_refused_despite_its_checksum(void **state)
{
    static const struct {
        unsigned at, size;
        uint64_t value;
        int expected;
    } changes[] = {
        {8, 4, 0x12340, 0}, /* body_bytes: as in the example */
        {8, 4, FRAME_BODY_BYTES_MAX, 0},
        {8, 4, FRAME_BODY_BYTES_MAX + 8, -EBADMSG},
        {8, 4, 0xffffffff, -EBADMSG},
        {8, 4, 0xfffffff8, -EBADMSG},
        {8, 4, 0x12344, -EBADMSG}, /* items are padded to 8 */
        {8, 4, 0, -EBADMSG},       /* with items */
        {68, 4, 0x1235, -EBADMSG}, /* item_count: one more than there is room for */
        {68, 4, 0xffffffff, -EBADMSG},
        {68, 4, 0x1200, 0},        /* all of them records */
        {68, 4, 0x11ff, -EBADMSG}, /* fewer than records */
        {68, 4, 0, -EBADMSG},
        {64, 4, 0, 0}, /* record_count: a frame of state alone */
        {64, 4, 0xffffffff, -EBADMSG},
        {16, 8, UINT64_MAX - 0x1200, 0},        /* base_offset: the last possible */
        {16, 8, UINT64_MAX - 0x11ff, -EBADMSG}, /* the next offset would wrap around */
        {24, 8, UINT64_MAX - 0x12340, 0},       /* base_bytes */
        {24, 8, UINT64_MAX - 0x1233f, -EBADMSG},
        {40, 8, 0x2122232425262728, 0},        /* durable_frame: this very frame is the first */
        {40, 8, 0x2122232425262729, -EBADMSG}, /* this frame was durable before it was written */
        {80, 4, 145, 0},                       /* zero_sectors: all of 146 but the header's */
        {80, 4, 146, -EBADMSG},
        {76, 2, 0, 0}, /* flags */
        {76, 2, FRAME_PACKED, 0},
        {76, 2, 32, -EBADMSG}, /* unknown ones */
        {76, 2, 0x8000, -EBADMSG},
        {76, 2, FRAME_MARK, -EBADMSG},  /* with items */
        {76, 2, FRAME_CLEAN, -EBADMSG}, /* without FRAME_MARK */
        {78, 2, 0, -EBADMSG},           /* a version that never was */
        {0, 1, 'c', -EBADMSG},          /* magic */
        {84, 1, 1, -EBADMSG},           /* of compressed frames, the first and the last byte */
        {91, 1, 1, -EBADMSG},
        {92, 1, 0, -EBADMSG}, /* the end mark, likewise */
        {95, 1, 0, -EBADMSG},
        {95, 1, 0xa4, -EBADMSG},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
        struct frame_header header = frame_example;
        uint8_t bytes[FRAME_HEADER_BYTES];

        frame_header_encode(&header, SALT, bytes);
        put_le(bytes + changes[i].at, changes[i].value, changes[i].size);
        frame_reseal(bytes, SALT);

        int error = frame_header_decode(&header, SALT, POSITION, bytes);

        if (error != changes[i].expected)
            fail_msg("line %u, byte %u: %d and not %d", i, changes[i].at, error,
                     changes[i].expected);
    }

    /* And a body without any item in it. */
    struct frame_header header = frame_example;
    uint8_t bytes[FRAME_HEADER_BYTES];

    frame_header_encode(&header, SALT, bytes);
    put_le(bytes + 64, 0, 8); /* both counts */
    frame_reseal(bytes, SALT);
    assert_int_equal(frame_header_decode(&header, SALT, POSITION, bytes), -EBADMSG);
}

/* What a compressed frame says of its items bounds the memory of who unpacks it. */
static void a_compressed_frame_that_makes_no_sense_is_refused_despite_its_checksum(void **state)
{
    const uint32_t flags = FRAME_PACKED | FRAME_COMPRESSED;
    const struct {
        uint32_t flags, body_bytes, plain_bytes;
        int expected;
    } tries[] = {
        {flags, 0x12340, 0x12348, 0},
        {flags, 0x1233b, 0x12340, 0}, /* any number of bytes */
        {flags, 1, FRAME_BODY_BYTES_MAX, 0},
        {flags, 1, FRAME_BODY_BYTES_MAX + 8, -EBADMSG},
        {flags, 1, 0xfffffff8, -EBADMSG},
        {flags, 0, 0x12340, -EBADMSG},
        {flags, 0x12340, 0x12340, -EBADMSG}, /* not smaller */
        {flags, 0x12348, 0x12340, -EBADMSG},
        {flags, 0x1000, 0x12344, -EBADMSG}, /* items are padded to 8 */
        {flags, 0x1000, 0x12000, -EBADMSG}, /* no room for so many items */
        {flags, 0x1000, 0, -EBADMSG},
        {FRAME_COMPRESSED, 0x1000, 0x12340, -EBADMSG},
        {flags | FRAME_STATE, 0x1000, 0x12340, -EBADMSG},
        {flags | FRAME_MARK, 0x1000, 0x12340, -EBADMSG},
        {FRAME_PACKED, 0x12340, 0x12348, -EBADMSG},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(tries); i++) {
        struct frame_header header = frame_example;
        uint8_t bytes[FRAME_HEADER_BYTES];

        header.item_count = 0x1234;
        header.zero_sectors = 0;
        frame_header_encode(&header, SALT, bytes);
        put_le(bytes + 8, tries[i].body_bytes, 4);
        put_le(bytes + 76, tries[i].flags, 2);
        put_le(bytes + 84, tries[i].plain_bytes, 4);
        frame_reseal(bytes, SALT);

        int error = frame_header_decode(&header, SALT, POSITION, bytes);

        if (error != tries[i].expected)
            fail_msg("line %u: %d and not %d", i, error, tries[i].expected);
        if (error == 0)
            assert_int_equal(frame_items_bytes(&header), tries[i].plain_bytes);
    }
}

/* A million empty items fit the largest body, and the ceiling on their number is one of its own. */
static void a_frame_has_at_most_so_many_items(void **state)
{
    struct frame_header header = {
        .position = POSITION, .body_bytes = FRAME_BODY_BYTES_MAX, .item_count = FRAME_ITEMS_MAX};
    uint8_t bytes[FRAME_HEADER_BYTES];

    frame_header_encode(&header, SALT, bytes);
    assert_int_equal(frame_header_decode(&header, SALT, POSITION, bytes), 0);
    put_le(bytes + 68, FRAME_ITEMS_MAX + 1, 4);
    frame_reseal(bytes, SALT);
    assert_int_equal(frame_header_decode(&header, SALT, POSITION, bytes), -EBADMSG);
}

/* A frame without a body is a mark, clean or not, or the state of a log that has none. */
static void a_frame_without_items_is_valid(void **state)
{
    static const uint16_t flags[] = {0, FRAME_STATE, FRAME_MARK, FRAME_MARK | FRAME_CLEAN};

    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        struct frame_header written = {.position = POSITION, .flags = flags[i]};
        struct frame_header header;
        uint8_t bytes[FRAME_HEADER_BYTES];

        frame_header_encode(&written, SALT, bytes);
        assert_int_equal(frame_header_decode(&header, SALT, POSITION, bytes), 0);
        assert_int_equal(frame_body_verify(&header, NULL, true), 0);
        assert_int_equal(header.flags, flags[i]);
        assert_frame_headers_equal(&header, &written);
    }
}

/* Whether writing it ends the process, as a broken assertion does. */
static bool frame_header_encode_aborts(struct frame_header header)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        frame_header_encode(&header, SALT, bytes);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* What is refused when it is read would lose acknowledged data if it could be written. */
static void a_header_that_would_be_refused_is_never_written(void **state)
{
    struct frame_header header = frame_example;

    assert_false(frame_header_encode_aborts(header));
    header.record_count = header.item_count + 1;
    assert_true(frame_header_encode_aborts(header));
    header = frame_example;
    header.flags = 16;
    assert_true(frame_header_encode_aborts(header));
}

/* --- Frames --- */

/* Frames begin at blocks, so one byte too many costs a block, and 4 GiB must not wrap to 0. The end
 * mark has its byte even where header and body would just fit. */
static void a_frame_takes_whole_blocks_and_room_for_its_end_mark(void **state)
{
    assert_int_equal(frame_bytes(0), 4096);
    assert_int_equal(frame_bytes(3999), 4096);
    assert_int_equal(frame_bytes(4000), 8192);
    assert_int_equal(frame_bytes(4096 + 3999), 8192);
    assert_int_equal(frame_bytes(4096 + 4000), 12288);
    assert_int_equal(frame_bytes(FRAME_BODY_BYTES_MAX), FRAME_BODY_BYTES_MAX + 4096);
    assert_int_equal(frame_bytes(UINT32_MAX), UINT64_C(0x100001000));
}

/* Torn and damaged are told apart by this number alone: a sector too few is a refusal after a plain
 * power cut, a sector too many is acknowledged data cut away. */
static void zero_sectors_are_counted_over_header_and_body(void **state)
{
    const uint32_t body_bytes = 8000; /* ends in the 16th sector, 160 bytes before the 17th */
    uint8_t *frame = calloc(1, frame_bytes(body_bytes));

    assert_non_null(frame);
    assert_int_equal(frame_bytes(body_bytes), 8192);
    assert_int_equal(frame_zero_sectors(frame, body_bytes), 16);

    /* Whichever byte of a sector it is, the sector is not zero. */
    for (unsigned i = 0; i < 16 * WAL_SECTOR_BYTES; i++) {
        frame[i] = 1;
        assert_int_equal(frame_zero_sectors(frame, body_bytes), 15);
        frame[i] = 0;
    }
    for (unsigned i = 0; i < 16; i++) {
        frame[i * WAL_SECTOR_BYTES + i * 31] = 0x80;
        assert_int_equal(frame_zero_sectors(frame, body_bytes), 15 - i);
    }
    free(frame);
}

/* Behind the body are zeros and the end mark, which is looked at by itself. */
static void sectors_behind_the_body_are_not_counted(void **state)
{
    uint8_t *frame = calloc(2, WAL_BLOCK_BYTES);

    assert_non_null(frame);
    assert_int_equal(frame_zero_sectors(frame, 0), 1);
    assert_int_equal(frame_zero_sectors(frame, 416), 1);
    assert_int_equal(frame_zero_sectors(frame, 417), 2);
    assert_int_equal(frame_zero_sectors(frame, 424), 2);
    assert_int_equal(frame_zero_sectors(frame, 4000), 8);
    assert_int_equal(frame_zero_sectors(frame, 4008), 9);
    free(frame);
}

/* What stands behind the body is as written, or somebody else wrote there. */
static void padding_of_a_frame_is_zeros_and_an_end_mark(void **state)
{
    static const uint32_t sizes[] = {0, 8, 3992, 4000, 4008};

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t end = FRAME_HEADER_BYTES + sizes[i];
        size_t size = frame_bytes(sizes[i]);
        uint8_t *frame = malloc(size);

        assert_non_null(frame);
        memset(frame, 0xff, end);
        memset(frame + end, 0, size - end);
        frame[size - 1] = FRAME_END_MARK;
        assert_true(frame_padding_is_intact(frame, sizes[i]));
        for (size_t at = end; at < size; at++) {
            frame[at] ^= 1;
            assert_false(frame_padding_is_intact(frame, sizes[i]));
            frame[at] ^= 1;
        }
        frame[size - 1] = 0;
        assert_false(frame_padding_is_intact(frame, sizes[i]));
        free(frame);
    }
}

/* A batch's memory was used before: what is left of that must neither reach the disk nor count. */
static void finishing_a_frame_writes_all_that_is_behind_its_body(void **state)
{
    static const uint32_t sizes[] = {0, 8, 408, 416, 424, 3992, 4000, 4008, 8088, 8096};

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t size = frame_bytes(sizes[i]);
        uint8_t *frame = malloc(size);
        struct frame_header header = {.body_bytes = sizes[i], .zero_sectors = 77};

        assert_non_null(frame);
        memset(frame, 0xee, size);
        frame_finish(&header, frame);
        assert_true(frame_padding_is_intact(frame, sizes[i]));
        assert_int_equal(header.zero_sectors, 0);
        for (size_t at = FRAME_HEADER_BYTES; at < FRAME_HEADER_BYTES + sizes[i]; at++)
            assert_int_equal(frame[at], 0xee);
        free(frame);
    }
}

/* What is counted is the frame as it will stand on the disk: the sector of the header is not zero,
 * though its bytes are still to come, nor is that of the end mark, if the body reaches into it. */
static void finishing_a_frame_counts_its_zero_sectors(void **state)
{
    static const struct {
        uint32_t body_bytes, zero_sectors;
    } frames[] = {{0, 0}, {8, 0}, {416, 0}, {424, 1}, {3992, 6}, {4000, 7}, {4008, 8}, {8088, 14}};

    for (unsigned i = 0; i < ARRAY_SIZE(frames); i++) {
        uint8_t *frame = calloc(1, frame_bytes(frames[i].body_bytes));
        struct frame_header header = {.body_bytes = frames[i].body_bytes};

        assert_non_null(frame);
        frame_finish(&header, frame);
        assert_int_equal(header.zero_sectors, frames[i].zero_sectors);
        free(frame);
    }
}

/* --- Items --- */

/* A frame's body in the making, in memory that was not zero before. */
struct body {
    uint8_t bytes[4096];
    struct frame_header header;
};

static void body_init(struct body *body)
{
    memset(body->bytes, 0xaa, sizeof(body->bytes));
    body->header = (struct frame_header){.position = POSITION};
}

static void body_add(struct body *body, struct item item)
{
    item.crc = item_crc(item.attributes, item.attribute_bytes, item.data, item.data_bytes);
    body->header.items_crc =
        item_encode(&item, body->header.items_crc, body->bytes + body->header.body_bytes);
    body->header.body_bytes += (uint32_t)item_bytes(item.attribute_bytes, item.data_bytes);
    body->header.item_count++;
    body->header.record_count += item.kind == ITEM_RECORD;
}

static const uint8_t trim_data[8] = {42};

/* One of each kind. */
static void body_fill(struct body *body)
{
    body_init(body);
    body_add(body, (struct item){.kind = ITEM_RECORD,
                                 .timestamp_delta_us = 0x01020304,
                                 .attributes = "\x07\x01\x02\0hi",
                                 .attribute_bytes = 6,
                                 .data = "hello",
                                 .data_bytes = 5});
    body_add(body, (struct item){.kind = ITEM_STATE_SET,
                                 .attributes = "key",
                                 .attribute_bytes = 3,
                                 .data = "value",
                                 .data_bytes = 5});
    body_add(body, (struct item){.kind = ITEM_RECORD});
    body_add(body,
             (struct item){.kind = ITEM_STATE_REMOVE, .attributes = "key", .attribute_bytes = 3});
    body_add(body, (struct item){.kind = ITEM_TRIM, .data = trim_data, .data_bytes = 8});
}

static int body_verify(const struct body *body, bool deep)
{
    uint8_t *copy = exact_copy(body->bytes, body->header.body_bytes);
    int error = frame_body_verify(&body->header, copy, deep);

    free(copy);
    return error;
}

static void items_read_back_as_they_were_written(void **state)
{
    struct body body;

    body_fill(&body);

    struct item_walk walk = {.body = body.bytes, .body_bytes = body.header.body_bytes};
    struct item item;

    assert_int_equal(item_next(&walk, &item), 0);
    assert_int_equal(item.kind, ITEM_RECORD);
    assert_int_equal(item.timestamp_delta_us, 0x01020304);
    assert_int_equal(item.attribute_bytes, 6);
    assert_memory_equal(item.attributes, "\x07\x01\x02\0hi", 6);
    assert_int_equal(item.data_bytes, 5);
    assert_memory_equal(item.data, "hello", 5);
    assert_true(item_is_intact(&item));
    assert_int_equal(item_next(&walk, &item), 0);
    assert_int_equal(item.kind, ITEM_STATE_SET);
    assert_memory_equal(item.attributes, "key", 3);
    assert_memory_equal(item.data, "value", 5);
    assert_int_equal(item_next(&walk, &item), 0);
    assert_int_equal(item.kind, ITEM_RECORD);
    assert_int_equal(item.attribute_bytes, 0);
    assert_int_equal(item.data_bytes, 0);
    assert_true(item_is_intact(&item));
    assert_int_equal(item_next(&walk, &item), 0);
    assert_int_equal(item.kind, ITEM_STATE_REMOVE);
    assert_int_equal(item_next(&walk, &item), 0);
    assert_int_equal(item.kind, ITEM_TRIM);
    assert_memory_equal(item.data, trim_data, 8);
    assert_int_equal(item_next(&walk, &item), -ENODATA);
    assert_int_equal(item_next(&walk, &item), -ENODATA);
    assert_int_equal(body_verify(&body, false), 0);
    assert_int_equal(body_verify(&body, true), 0);
}

/* As for the headers: computed by another program. */
static void items_have_exactly_these_bytes(void **state)
{
    static const uint8_t expected[56] = {
        0x05, 0x00, 0x00, 0x00, 0xe5, 0xc1, 0x73, 0xb4, 0x04, 0x03, 0x02, 0x01, 0x06, 0x00,
        0x01, 0x00, 0x07, 0x01, 0x02, 0x00, 0x68, 0x69, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x87, 0x29, 0x6b, 0x51, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x2a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
    struct body body;

    body_init(&body);
    body_add(&body, (struct item){.kind = ITEM_RECORD,
                                  .timestamp_delta_us = 0x01020304,
                                  .attributes = "\x07\x01\x02\0hi",
                                  .attribute_bytes = 6,
                                  .data = "hello",
                                  .data_bytes = 5});
    body_add(&body, (struct item){.kind = ITEM_TRIM, .data = trim_data, .data_bytes = 8});
    assert_int_equal(body.header.body_bytes, sizeof(expected));
    assert_memory_equal(body.bytes, expected, sizeof(expected));
    assert_int_equal(body.header.items_crc, 0xc27ff729);
}

/* Every combination of odd ends, into memory of exactly the size item_bytes() announced. */
static void an_item_takes_the_bytes_announced_and_ends_in_zeros(void **state)
{
    uint8_t source[64];

    memset(source, 0xee, sizeof(source));
    for (uint16_t attribute_bytes = 0; attribute_bytes < 20; attribute_bytes++) {
        for (uint32_t data_bytes = 0; data_bytes < 20; data_bytes++) {
            size_t size = item_bytes(attribute_bytes, data_bytes);
            size_t used = ITEM_HEADER_BYTES + attribute_bytes + data_bytes;
            uint8_t *bytes = malloc(size);
            struct item item = {
                .kind = ITEM_RECORD,
                .attributes = source,
                .attribute_bytes = attribute_bytes,
                .data = source,
                .data_bytes = data_bytes,
                .crc = item_crc(source, attribute_bytes, source, data_bytes),
            };
            struct frame_header header = {
                .body_bytes = (uint32_t)size, .item_count = 1, .record_count = 1};

            assert_non_null(bytes);
            assert_true(size % 8 == 0 && size >= used && size < used + 8);
            memset(bytes, 0xaa, size);
            header.items_crc = item_encode(&item, 0, bytes);
            for (size_t i = used; i < size; i++)
                assert_int_equal(bytes[i], 0);
            assert_int_equal(frame_body_verify(&header, bytes, true), 0);
            free(bytes);
        }
    }
}

/* Deep verification is what a reader's "this is what was written" means: data and padding too. The
 * quick one, at start, vouches for the headers, and through their checksums for the lengths. */
static void any_flipped_bit_in_a_body_is_found(void **state)
{
    struct body body;

    body_fill(&body);
    for (unsigned bit = 0; bit < 8 * body.header.body_bytes; bit++) {
        body.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(body_verify(&body, true), -EBADMSG);
        if (bit / 8 < ITEM_HEADER_BYTES)
            assert_int_equal(body_verify(&body, false), -EBADMSG);
        body.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(body_verify(&body, true), 0);

    body.bytes[ITEM_HEADER_BYTES + 6] ^= 1; /* the "h" of "hello" */
    assert_int_equal(body_verify(&body, false), 0);
}

/* Offsets are assigned by these counts: one more or less would shift every record behind it. */
static void a_body_that_differs_from_its_header_is_refused(void **state)
{
    struct body body;
    struct frame_header good;

    body_fill(&body);
    good = body.header;

    body.header.item_count = good.item_count - 1;
    assert_int_equal(body_verify(&body, false), -EBADMSG);
    body.header.item_count = good.item_count + 1;
    assert_int_equal(body_verify(&body, false), -EBADMSG);
    body.header = good;
    body.header.record_count = good.record_count - 1;
    assert_int_equal(body_verify(&body, false), -EBADMSG);
    body.header.record_count = good.record_count + 1;
    assert_int_equal(body_verify(&body, false), -EBADMSG);
    body.header = good;
    body.header.items_crc ^= 1;
    assert_int_equal(body_verify(&body, false), -EBADMSG);

    /* Shorter by an item, and in the middle of one; longer by zeros, which are no item. */
    for (uint32_t size = 0; size < good.body_bytes; size++) {
        body.header = good;
        body.header.body_bytes = size;
        assert_int_equal(body_verify(&body, false), -EBADMSG);
    }
    memset(body.bytes + good.body_bytes, 0, 64);
    for (uint32_t more = 1; more <= 64; more++) {
        body.header = good;
        body.header.body_bytes += more;
        assert_int_equal(body_verify(&body, false), -EBADMSG);
    }
}

/* The lengths in an item header are not covered by a checksum at the moment they are used: those
 * just past the end are read out of bounds, those near 4 GiB pass if the sum is made in 32 bits. */
static void an_item_longer_than_what_is_left_is_refused(void **state)
{
    static const struct {
        uint32_t data_bytes;
        uint16_t attribute_bytes;
        int expected;
    } lengths[] = {
        {0, 0, 0},
        {48, 0, 0}, /* all that is left */
        {0, 48, 0},
        {41, 0, 0}, /* with padding all that is left */
        {20, 28, 0},
        {49, 0, -EBADMSG},
        {0, 49, -EBADMSG},
        {20, 29, -EBADMSG},
        {0, 0xffff, -EBADMSG},
        {0x7fffffff, 0, -EBADMSG},
        {0x80000000, 0, -EBADMSG},
        {0xffffffff, 0, -EBADMSG},
        {0xffffffff, 0xffff, -EBADMSG},
        {0xfffffff0, 0, -EBADMSG},  /* + 16 = 0 in 32 bits */
        {0xffffffef, 0, -EBADMSG},  /* with padding 0 in 32 bits */
        {0xfffffff0, 48, -EBADMSG}, /* = 48 in 32 bits */
        {0xffff0001, 0xffff, -EBADMSG},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        uint8_t *bytes = calloc(1, 64);
        struct item_walk walk = {.body = bytes, .body_bytes = 64};
        struct item item = {.crc = 99};

        assert_non_null(bytes);
        put_le(bytes, lengths[i].data_bytes, 4);
        put_le(bytes + 12, lengths[i].attribute_bytes, 2);
        bytes[14] = ITEM_RECORD;
        assert_int_equal(item_next(&walk, &item), lengths[i].expected);
        if (lengths[i].expected == 0) {
            assert_int_equal(walk.position,
                             item_bytes(lengths[i].attribute_bytes, lengths[i].data_bytes));
            /* Reads all of it. */
            item.crc = item_crc(item.attributes, item.attribute_bytes, item.data, item.data_bytes);
            assert_true(item_is_intact(&item));
        } else {
            assert_int_equal(walk.position, 0);
            assert_int_equal(item.crc, 99);
        }
        free(bytes);
    }
}

/* A body may be cut anywhere, and what is left too short for a header. */
static void less_than_an_item_header_is_refused(void **state)
{
    for (uint32_t size = 1; size < ITEM_HEADER_BYTES; size++) {
        uint8_t *bytes = malloc(size);
        struct item_walk walk = {.body = bytes, .body_bytes = size};
        struct item item;

        assert_non_null(bytes);
        memset(bytes, ITEM_RECORD, size);
        assert_int_equal(item_next(&walk, &item), -EBADMSG);
        free(bytes);
    }
}

/* A kind this version does not know changes the state in a way it cannot follow. Kind 0 is none, so
 * that zeros are not an endless list of empty items. A trim has exactly one number in it. */
static void an_item_of_an_unknown_kind_or_shape_is_refused(void **state)
{
    static const struct {
        uint8_t kind, reserved;
        uint32_t data_bytes;
        int expected;
    } items[] = {
        {ITEM_RECORD, 0, 0, 0},      {ITEM_STATE_SET, 0, 0, 0},     {ITEM_STATE_REMOVE, 0, 0, 0},
        {ITEM_TRIM, 0, 8, 0},        {0, 0, 0, -EBADMSG},           {5, 0, 0, -EBADMSG},
        {255, 0, 0, -EBADMSG},       {ITEM_RECORD, 1, 0, -EBADMSG}, {ITEM_TRIM, 0, 7, -EBADMSG},
        {ITEM_TRIM, 0, 9, -EBADMSG}, {ITEM_TRIM, 0, 0, -EBADMSG},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(items); i++) {
        uint8_t bytes[32] = {0};
        struct item_walk walk = {.body = bytes, .body_bytes = sizeof(bytes)};
        struct item item;

        put_le(bytes, items[i].data_bytes, 4);
        bytes[14] = items[i].kind;
        bytes[15] = items[i].reserved;
        assert_int_equal(item_next(&walk, &item), items[i].expected);
    }
}

static uint32_t put_item(uint8_t *body, struct item item)
{
    item.crc = item_crc(item.attributes, item.attribute_bytes, item.data, item.data_bytes);
    item_encode(&item, 0, body);
    return (uint32_t)item_bytes(item.attribute_bytes, item.data_bytes);
}

/* In nanoseconds of 40 bits, from the frame's time or from what an item between them says. */
static void times_in_a_packed_frame_are_exact(void **state)
{
    static const uint8_t later[8] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
    uint8_t body[128] = {0};
    uint32_t bytes = put_item(body, (struct item){.kind = ITEM_RECORD,
                                                  .timestamp_delta_us = 0xfffffffe,
                                                  .timestamp_high = 0xff});

    bytes +=
        put_item(body + bytes, (struct item){.kind = ITEM_TIME, .data = later, .data_bytes = 8});
    bytes += put_item(body + bytes, (struct item){.kind = ITEM_RECORD, .timestamp_delta_us = 3});

    struct frame_header header = {
        .body_bytes = bytes, .flags = FRAME_PACKED, .timestamp_ns = 1000000001};
    struct item_walk walk = item_walk_of(&header, body);
    struct item item;

    assert_int_equal(item_next(&walk, &item), 0);
    assert_int_equal(item.timestamp_ns, 1000000001 + PACKED_DELTA_MAX - 1);
    assert_int_equal(item_next(&walk, &item), 0);
    assert_int_equal(item.kind, ITEM_TIME);
    assert_int_equal(item_next(&walk, &item), 0);
    assert_int_equal(item.timestamp_ns, UINT64_C(0x1122334455667788) + 3);
    assert_int_equal(item_next(&walk, &item), -ENODATA);

    /* All that follows would be told a wrong time. */
    body[16 + 16] ^= 1;
    walk = item_walk_of(&header, body);
    assert_int_equal(item_next(&walk, &item), 0);
    assert_int_equal(item_next(&walk, &item), -EBADMSG);
    body[16 + 16] ^= 1;

    /* In other frames there is no such thing. */
    header.flags = 0;
    walk = item_walk_of(&header, body);
    assert_int_equal(item_next(&walk, &item), -EBADMSG);
}

/* --- Torn or damaged --- */

/* A frame as it stands in a segment. */
struct whole_frame {
    struct frame_header header;
    uint8_t *bytes;
    size_t size;
};

/* With a record whose size just makes it `blocks` blocks: in two, some sectors are all zero, as
 * payloads go. No sector of it has a single bit set, for then losing that bit is losing the sector,
 * which is what a torn write does. */
static void whole_frame_init(struct whole_frame *frame, uint32_t blocks)
{
    const uint32_t data_bytes =
        blocks * WAL_BLOCK_BYTES - FRAME_HEADER_BYTES - ITEM_HEADER_BYTES - 100;
    uint8_t *data = calloc(1, data_bytes);

    assert_non_null(data);
    for (uint32_t i = 0; i < data_bytes; i++) {
        if (i / 1000 % 2 == 0)
            data[i] = (uint8_t)(i * 7 + 1);
    }

    struct item item = {.kind = ITEM_RECORD, .data = data, .data_bytes = data_bytes};

    item.crc = item_crc(NULL, 0, data, data_bytes);
    frame->header = (struct frame_header){
        .position = POSITION,
        .frame_no = 7,
        .body_bytes = (uint32_t)item_bytes(0, data_bytes),
        .item_count = 1,
        .record_count = 1,
    };
    frame->size = frame_bytes(frame->header.body_bytes);
    assert_int_equal(frame->size, blocks * WAL_BLOCK_BYTES);
    frame->bytes = malloc(frame->size);
    assert_non_null(frame->bytes);
    frame->header.items_crc = item_encode(&item, 0, frame->bytes + FRAME_HEADER_BYTES);
    frame_finish(&frame->header, frame->bytes);
    frame_header_encode(&frame->header, SALT, frame->bytes);
    free(data);
}

enum verdict { WHOLE, TORN, DAMAGED };

/* As recovery judges it; `bytes` has exactly the frame's size. */
static enum verdict judge(const uint8_t *bytes)
{
    struct frame_header header;
    bool torn;

    if (frame_header_decode(&header, SALT, POSITION, bytes) < 0) {
        uint8_t *sector = exact_copy(bytes, WAL_SECTOR_BYTES);

        torn = frame_can_be_torn(NULL, sector);
        free(sector);
    } else if (frame_body_verify(&header, bytes + FRAME_HEADER_BYTES, true) == 0) {
        return WHOLE;
    } else {
        torn = frame_can_be_torn(&header, bytes);
    }
    return torn ? TORN : DAMAGED;
}

/* Not every disk writes sectors whole. A log that took such an end for damage would refuse appends
 * after a plain power cut. */
static void a_frame_cut_at_any_byte_can_be_torn(void **state)
{
    for (uint32_t blocks = 1; blocks <= 2; blocks++) {
        struct whole_frame frame;

        whole_frame_init(&frame, blocks);
        assert_int_equal(judge(frame.bytes), WHOLE);

        uint8_t *cut = calloc(1, frame.size);
        size_t used = FRAME_HEADER_BYTES + frame.header.body_bytes;

        assert_non_null(cut);
        for (size_t bytes = 0; bytes < frame.size; bytes++) {
            const struct frame_header *header = bytes < FRAME_HEADER_BYTES ? NULL : &frame.header;

            assert_true(frame_can_be_torn(header, cut));
            /* Where nothing but what follows the body is missing, the records are whole. */
            assert_int_equal(judge(cut), memcmp(cut, frame.bytes, used) != 0 ? TORN : WHOLE);
            cut[bytes] = frame.bytes[bytes];
        }
        assert_int_equal(judge(cut), WHOLE);
        free(cut);
        free(frame.bytes);
    }
}

/* What a power cut does to disks: each sector of the write for itself. */
static void a_frame_that_lost_any_sectors_is_torn_or_whole(void **state)
{
    for (uint32_t blocks = 1; blocks <= 2; blocks++) {
        const unsigned sectors = blocks * WAL_BLOCK_BYTES / WAL_SECTOR_BYTES;
        struct whole_frame frame;

        whole_frame_init(&frame, blocks);

        uint8_t *left = malloc(frame.size);
        size_t used = FRAME_HEADER_BYTES + frame.header.body_bytes;

        assert_non_null(left);
        for (unsigned lost = 0; lost < 1u << sectors; lost++) {
            memcpy(left, frame.bytes, frame.size);
            for (unsigned i = 0; i < sectors; i++) {
                if (lost & 1u << i)
                    memset(left + i * WAL_SECTOR_BYTES, 0, WAL_SECTOR_BYTES);
            }
            bool lacks_something = memcmp(left, frame.bytes, used) != 0;

            assert_int_equal(judge(left), lacks_something ? TORN : WHOLE);
        }
        free(left);
        free(frame.bytes);
    }
}

/* Calling damage a torn write cuts away what was acknowledged. Wherever the bit is: in the last
 * byte, which a write that stopped leaves zero; in the last of the header; in the padding. */
static void a_frame_with_any_flipped_bit_is_never_torn(void **state)
{
    for (uint32_t blocks = 1; blocks <= 2; blocks++) {
        struct whole_frame frame;

        whole_frame_init(&frame, blocks);

        size_t used = FRAME_HEADER_BYTES + frame.header.body_bytes;

        for (size_t bit = 0; bit < 8 * frame.size; bit++) {
            frame.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(judge(frame.bytes), bit / 8 < used ? DAMAGED : WHOLE);
            assert_false(frame_can_be_torn(&frame.header, frame.bytes));
            frame.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_int_equal(judge(frame.bytes), WHOLE);
        free(frame.bytes);
    }
}

/* Zeros, or the beginning of a header and zeros: all else has been something whole. */
static void without_a_header_the_first_sector_decides(void **state)
{
    uint8_t *sector = calloc(1, WAL_SECTOR_BYTES);

    assert_non_null(sector);
    assert_true(frame_can_be_torn(NULL, sector));
    for (unsigned at = 0; at < WAL_SECTOR_BYTES; at++) {
        sector[at] = 1;
        assert_int_equal(frame_can_be_torn(NULL, sector), at < FRAME_HEADER_BYTES - 1);
        sector[at] = 0;
    }
    memset(sector, 0xff, FRAME_HEADER_BYTES - 1);
    assert_true(frame_can_be_torn(NULL, sector));
    memset(sector, 0xff, WAL_SECTOR_BYTES);
    assert_false(frame_can_be_torn(NULL, sector));
    free(sector);
}

/* --- Attributes --- */

static void attributes_are_found_by_their_type(void **state)
{
    uint8_t list[64];
    uint16_t bytes = 0;
    const void *value;
    uint16_t value_bytes;

    assert_int_equal(attribute_put(list, sizeof(list), &bytes, 1, "one", 3), 0);
    assert_int_equal(attribute_put(list, sizeof(list), &bytes, 0x1234, NULL, 0), 0);
    assert_int_equal(attribute_put(list, sizeof(list), &bytes, 0, "zero", 4), 0);
    assert_int_equal(attribute_put(list, sizeof(list), &bytes, 1, "again", 5), 0);
    assert_int_equal(bytes, 4 * 4 + 3 + 0 + 4 + 5);

    uint8_t *copy = exact_copy(list, bytes);

    assert_true(attributes_are_well_formed(copy, bytes));
    assert_int_equal(attribute_find(copy, bytes, 1, &value, &value_bytes), 0);
    assert_int_equal(value_bytes, 3);
    assert_memory_equal(value, "one", 3);
    assert_int_equal(attribute_find(copy, bytes, 0x1234, &value, &value_bytes), 0);
    assert_int_equal(value_bytes, 0);
    assert_int_equal(attribute_find(copy, bytes, 0, &value, &value_bytes), 0);
    assert_memory_equal(value, "zero", 4);
    assert_int_equal(attribute_find(copy, bytes, 0x3412, &value, &value_bytes), -ENOENT);
    free(copy);
}

/* As for the headers. */
static void attributes_have_exactly_these_bytes(void **state)
{
    static const uint8_t expected[] = {0x07, 0x01, 0x02, 0x00, 'h',  'i',
                                       0x34, 0x12, 0x00, 0x00, 0x00, 0x00};
    uint8_t list[12] = {0};
    uint16_t bytes = 0;

    assert_int_equal(attribute_put(list, sizeof(list), &bytes, 0x0107, "hi", 2), 0);
    assert_int_equal(attribute_put(list, sizeof(list), &bytes, 0x1234, "", 0), 0);
    assert_int_equal(bytes, 10);
    assert_memory_equal(list, expected, sizeof(list));
}

static void an_empty_list_is_well_formed_and_has_no_attribute(void **state)
{
    const void *value = NULL;
    uint16_t value_bytes = 0;

    assert_true(attributes_are_well_formed(NULL, 0));
    assert_int_equal(attribute_find(NULL, 0, 0, &value, &value_bytes), -ENOENT);
    assert_null(value);
}

/* Deduplication decides by attributes: what comes before the damage is not to be trusted either. */
static void a_malformed_list_is_refused_even_for_what_stands_before_the_damage(void **state)
{
    uint8_t list[16];
    uint16_t bytes = 0;
    const void *value = NULL;
    uint16_t value_bytes = 99;

    assert_int_equal(attribute_put(list, sizeof(list), &bytes, 1, "one", 3), 0);
    assert_int_equal(attribute_put(list, sizeof(list), &bytes, 2, "two", 3), 0);
    for (uint16_t size = 1; size < bytes; size++) {
        uint8_t *copy = exact_copy(list, size);
        bool whole = size == 7; /* just the first attribute */

        assert_int_equal(attributes_are_well_formed(copy, size), whole);
        if (!whole)
            assert_int_equal(attribute_find(copy, size, 1, &value, &value_bytes), -EBADMSG);
        free(copy);
    }
    assert_null(value);
    assert_int_equal(value_bytes, 99);

    /* A length just past the end, and the largest. */
    put_le(list + 9, 4, 2);
    assert_int_equal(attribute_find(list, bytes, 1, &value, &value_bytes), -EBADMSG);
    put_le(list + 9, 0xffff, 2);
    assert_int_equal(attribute_find(list, bytes, 2, &value, &value_bytes), -EBADMSG);
    assert_false(attributes_are_well_formed(list, bytes));
}

/* The size of a list is 16 bits on disk: past them it would wrap and lose what it held. */
static void an_attribute_that_does_not_fit_is_refused_and_leaves_the_list(void **state)
{
    size_t capacity = 70000;
    uint8_t *list = malloc(capacity);
    uint8_t *value = calloc(1, UINT16_MAX);
    uint16_t bytes = 0;

    assert_non_null(list);
    assert_non_null(value);
    assert_int_equal(attribute_put(list, 3, &bytes, 1, NULL, 0), -EMSGSIZE);
    assert_int_equal(attribute_put(list, 9, &bytes, 1, "123456", 6), -EMSGSIZE);
    assert_int_equal(bytes, 0);
    assert_int_equal(attribute_put(list, 10, &bytes, 1, "123456", 6), 0);
    assert_int_equal(attribute_put(list, capacity, &bytes, 1, value, UINT16_MAX), -EMSGSIZE);
    assert_int_equal(attribute_put(list, capacity, &bytes, 1, value, UINT16_MAX - 13), -EMSGSIZE);
    assert_int_equal(bytes, 10);
    assert_int_equal(attribute_put(list, capacity, &bytes, 1, value, UINT16_MAX - 14), 0);
    assert_int_equal(bytes, UINT16_MAX);
    assert_int_equal(attribute_put(list, capacity, &bytes, 1, NULL, 0), -EMSGSIZE);
    assert_true(attributes_are_well_formed(list, bytes));
    free(value);
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_header_reads_back_as_it_was_written),
        cmocka_unit_test(a_segment_header_has_exactly_these_bytes),
        cmocka_unit_test(any_flipped_bit_in_a_segment_header_is_refused),
        cmocka_unit_test(a_block_of_zeros_is_no_segment_header),
        cmocka_unit_test(the_header_of_a_packed_segment_reads_back_as_it_was_written),
        cmocka_unit_test(a_packed_segment_whose_ends_make_no_sense_is_refused),
        cmocka_unit_test(a_compressed_segment_is_of_a_kind_of_its_own),
        cmocka_unit_test(a_compressed_frame_that_makes_no_sense_is_refused_despite_its_checksum),
        cmocka_unit_test(times_in_a_packed_frame_are_exact),
        cmocka_unit_test(a_segment_of_a_newer_version_or_kind_is_unsupported_and_not_damaged),
        cmocka_unit_test(a_frame_header_reads_back_as_it_was_written),
        cmocka_unit_test(a_frame_header_has_exactly_these_bytes),
        cmocka_unit_test(flags_kinds_and_the_mark_have_these_numbers),
        cmocka_unit_test(any_flipped_bit_in_a_frame_header_is_refused),
        cmocka_unit_test(a_frame_at_another_position_is_refused),
        cmocka_unit_test(a_frame_of_a_segment_with_another_salt_is_refused),
        cmocka_unit_test(a_frame_inside_a_payload_is_no_frame_of_the_segment),
        cmocka_unit_test(only_zeros_throughout_are_nothing_written),
        cmocka_unit_test(a_frame_of_a_newer_version_is_unsupported_and_not_damaged),
        cmocka_unit_test(a_frame_header_that_makes_no_sense_is_refused_despite_its_checksum),
        cmocka_unit_test(a_frame_has_at_most_so_many_items),
        cmocka_unit_test(a_frame_without_items_is_valid),
        cmocka_unit_test(a_header_that_would_be_refused_is_never_written),
        cmocka_unit_test(a_frame_takes_whole_blocks_and_room_for_its_end_mark),
        cmocka_unit_test(zero_sectors_are_counted_over_header_and_body),
        cmocka_unit_test(sectors_behind_the_body_are_not_counted),
        cmocka_unit_test(padding_of_a_frame_is_zeros_and_an_end_mark),
        cmocka_unit_test(finishing_a_frame_writes_all_that_is_behind_its_body),
        cmocka_unit_test(finishing_a_frame_counts_its_zero_sectors),
        cmocka_unit_test(items_read_back_as_they_were_written),
        cmocka_unit_test(items_have_exactly_these_bytes),
        cmocka_unit_test(an_item_takes_the_bytes_announced_and_ends_in_zeros),
        cmocka_unit_test(any_flipped_bit_in_a_body_is_found),
        cmocka_unit_test(a_body_that_differs_from_its_header_is_refused),
        cmocka_unit_test(an_item_longer_than_what_is_left_is_refused),
        cmocka_unit_test(less_than_an_item_header_is_refused),
        cmocka_unit_test(an_item_of_an_unknown_kind_or_shape_is_refused),
        cmocka_unit_test(a_frame_cut_at_any_byte_can_be_torn),
        cmocka_unit_test(a_frame_that_lost_any_sectors_is_torn_or_whole),
        cmocka_unit_test(a_frame_with_any_flipped_bit_is_never_torn),
        cmocka_unit_test(without_a_header_the_first_sector_decides),
        cmocka_unit_test(attributes_are_found_by_their_type),
        cmocka_unit_test(attributes_have_exactly_these_bytes),
        cmocka_unit_test(an_empty_list_is_well_formed_and_has_no_attribute),
        cmocka_unit_test(a_malformed_list_is_refused_even_for_what_stands_before_the_damage),
        cmocka_unit_test(an_attribute_that_does_not_fit_is_refused_and_leaves_the_list),
    };

    return cmocka_run_group_tests_name("format", tests, NULL, NULL);
}
