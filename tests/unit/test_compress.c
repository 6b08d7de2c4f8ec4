/*
 * Bodies of frames that are compressed: what was put in comes out, and of what is not as it was
 * written nothing does, whoever made it and however right its checksums are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "wal/base.h"
#include "wal/compress.h"
#include "wal/crc32c.h"

enum { ITEMS_MAX = 400, ROOM = 256 << 10 };

struct sample {
    struct frame_header header; /* of the items as they are */
    uint8_t items[ROOM];
    struct frame_header packed; /* of the compressed frame */
    uint8_t body[ROOM];
};

static void add_record(struct sample *sample, const void *data, uint32_t bytes)
{
    struct frame_header *header = &sample->header;
    struct item item = {.kind = ITEM_RECORD, .data = data, .data_bytes = bytes};

    item.crc = item_crc(NULL, 0, data, bytes);
    assert_true(header->body_bytes + item_bytes(0, bytes) <= ROOM);
    header->items_crc = item_encode(&item, header->items_crc, sample->items + header->body_bytes);
    header->body_bytes += (uint32_t)item_bytes(0, bytes);
    header->item_count++;
    header->record_count++;
}

static void compress(struct sample *sample)
{
    struct compressor compressor = {0};

    sample->packed = sample->header;
    assert_int_equal(
        frame_compress(&compressor, &sample->packed, sample->items, sample->body, ROOM), 0);
    compressor_done(&compressor);
}

/* Lines such as services log. */
static struct sample *sample_of_lines(unsigned count)
{
    struct sample *sample = calloc(1, sizeof(*sample));
    char line[200];

    assert_non_null(sample);
    sample->header.flags = FRAME_PACKED;
    for (unsigned i = 0; i < count; i++) {
        int bytes = snprintf(line, sizeof(line),
                             "{\"level\":\"info\",\"user\":%u,\"path\":\"/orders/%u\",\"ms\":%u}",
                             i * 7919 % 1000, i, i * i % 97);
        add_record(sample, line, (uint32_t)bytes);
    }
    compress(sample);
    return sample;
}

/* From memory of just the size of the body, so that a sanitizer sees who reads behind it. */
static int open_deep(const struct frame_header *header, const void *body, bool deep)
{
    struct unpacked unpacked = {0};
    const uint8_t *items;
    uint8_t *exact = malloc(header->body_bytes);

    assert_non_null(exact);
    memcpy(exact, body, header->body_bytes);
    int rc = frame_open(&unpacked, header, exact, deep, &items);
    assert_true(rc == 0 || rc == -EBADMSG);
    unpacked_done(&unpacked);
    free(exact);
    return rc;
}

/* With the checksum that somebody would give it who forged it. */
static int open_forged(struct frame_header header, const void *body, size_t bytes)
{
    header.body_bytes = (uint32_t)bytes;
    header.body_crc = crc32c(0, body, bytes);
    return open_deep(&header, body, true);
}

static void what_was_compressed_comes_out(void **state)
{
    struct unpacked unpacked = {0};

    (void)state;
    /* Larger ones and smaller ones in turn, in the same memory. */
    for (unsigned count = ITEMS_MAX; count > 2; count = count % 2 ? count * 2 / 3 : count - 1) {
        struct sample *sample = sample_of_lines(count);
        const uint8_t *items;

        assert_int_equal(sample->packed.flags, FRAME_PACKED | FRAME_COMPRESSED);
        assert_int_equal(sample->packed.plain_bytes, sample->header.body_bytes);
        assert_true(sample->packed.body_bytes < sample->header.body_bytes);
        assert_int_equal(frame_items_bytes(&sample->packed), sample->header.body_bytes);
        assert_int_equal(frame_open(&unpacked, &sample->packed, sample->body, true, &items), 0);
        assert_memory_equal(items, sample->items, sample->header.body_bytes);
        assert_int_equal(frame_open(&unpacked, &sample->header, sample->items, true, &items), 0);
        assert_ptr_equal(items, sample->items);
        free(sample);
    }
    unpacked_done(&unpacked);
}

/* Such a frame stays as it is, to the last field of its header. */
static void what_does_not_get_smaller_is_refused(void **state)
{
    struct sample *sample = calloc(1, sizeof(*sample));
    struct compressor compressor = {0};
    uint8_t noise[3000];
    uint64_t random = 1;

    (void)state;
    assert_non_null(sample);
    for (unsigned i = 0; i < sizeof(noise); i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        noise[i] = (uint8_t)(random >> 56);
    }
    sample->header.flags = FRAME_PACKED;
    add_record(sample, noise, sizeof(noise));
    const struct frame_header before = sample->header;
    assert_int_equal(
        frame_compress(&compressor, &sample->header, sample->items, sample->body, ROOM), -EMSGSIZE);
    assert_memory_equal(&sample->header, &before, sizeof(before));

    /* Nor what gets smaller, but not so small. */
    struct sample *lines = sample_of_lines(100);
    const struct frame_header plain = lines->header;
    assert_int_equal(frame_compress(&compressor, &lines->header, lines->items, lines->body,
                                    lines->packed.body_bytes - 1),
                     -EMSGSIZE);
    assert_memory_equal(&lines->header, &plain, sizeof(plain));
    compressor_done(&compressor);
    free(lines);
    free(sample);
}

static void any_flipped_bit_is_damage(void **state)
{
    struct sample *sample = sample_of_lines(60);

    (void)state;
    for (uint32_t bit = 0; bit < 8 * sample->packed.body_bytes; bit++) {
        sample->body[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(open_deep(&sample->packed, sample->body, false), -EBADMSG);
        sample->body[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(open_deep(&sample->packed, sample->body, true), 0);
    free(sample);
}

/* The library takes what follows for another frame, or skips it. */
static void what_stands_behind_it_is_damage(void **state)
{
    static const uint8_t empty[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00, 0x00};
    static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0};
    struct sample *sample = sample_of_lines(60);
    const uint32_t bytes = sample->packed.body_bytes;
    uint8_t *end = sample->body + bytes;
    char out[8];

    (void)state;
    assert_int_equal(ZSTD_decompress(out, sizeof(out), empty, sizeof(empty)), 0);
    assert_int_equal(open_forged(sample->packed, sample->body, bytes), 0);
    *end = 0;
    assert_int_equal(open_forged(sample->packed, sample->body, bytes + 1), -EBADMSG);
    memcpy(end, empty, sizeof(empty));
    assert_int_equal(open_forged(sample->packed, sample->body, bytes + sizeof(empty)), -EBADMSG);
    memcpy(end, skippable, sizeof(skippable));
    assert_int_equal(open_forged(sample->packed, sample->body, bytes + sizeof(skippable)),
                     -EBADMSG);
    free(sample);
}

static void what_is_cut_short_is_damage(void **state)
{
    struct sample *sample = sample_of_lines(60);

    (void)state;
    for (uint32_t bytes = 1; bytes < sample->packed.body_bytes; bytes++)
        assert_int_equal(open_forged(sample->packed, sample->body, bytes), -EBADMSG);
    free(sample);
}

/* Two frames of zstd that come to the right items all the same are not how it was written. */
static void two_in_one_are_damage(void **state)
{
    struct sample *sample = sample_of_lines(60);
    const uint32_t half = sample->header.body_bytes / 2;
    size_t bytes = ZSTD_compress(sample->body, ROOM, sample->items, half, 3);

    (void)state;
    bytes += ZSTD_compress(sample->body + bytes, ROOM - bytes, sample->items + half,
                           sample->header.body_bytes - half, 3);
    assert_true(bytes < sample->header.body_bytes);
    assert_int_equal(open_forged(sample->packed, sample->body, bytes), -EBADMSG);
    free(sample);
}

/* The header says how much comes of it, and that alone is given memory: a body that says otherwise is
 * damage, also one that would fill all there is. */
static void another_size_than_the_header_says_is_damage(void **state)
{
    struct sample *sample = sample_of_lines(60);
    struct frame_header header = sample->packed;

    (void)state;
    for (int more = -64; more <= 64; more += 8) {
        header.plain_bytes = sample->packed.plain_bytes + (uint32_t)more;
        assert_int_equal(open_deep(&header, sample->body, true), more ? -EBADMSG : 0);
    }
    uint8_t *zeros = calloc(1, 64 << 20);
    assert_non_null(zeros);
    size_t bytes = ZSTD_compress(sample->body, ROOM, zeros, 64 << 20, 3);
    free(zeros);
    assert_true(bytes < sample->packed.plain_bytes);
    assert_int_equal(open_forged(sample->packed, sample->body, bytes), -EBADMSG);
    free(sample);
}

/* What an earlier frame left in the memory does not make up for what is missing of this one. */
static void half_of_the_items_are_damage(void **state)
{
    struct sample *sample = sample_of_lines(60);
    struct unpacked unpacked = {0};
    struct frame_header header = sample->packed;
    const uint8_t *items;

    (void)state;
    assert_int_equal(frame_open(&unpacked, &header, sample->body, true, &items), 0);
    header.body_bytes = (uint32_t)ZSTD_compress(sample->body, ROOM, sample->items,
                                                sample->header.body_bytes / 2, 3);
    header.body_crc = crc32c(0, sample->body, header.body_bytes);
    assert_int_equal(frame_open(&unpacked, &header, sample->body, true, &items), -EBADMSG);
    assert_null(items);
    unpacked_done(&unpacked);
    free(sample);
}

/* A record that was damaged before it was compressed is told from the others. */
static void records_keep_their_own_checksums(void **state)
{
    struct sample *sample = sample_of_lines(60);

    (void)state;
    sample->items[ITEM_HEADER_BYTES + 3] ^= 1;
    compress(sample);
    assert_int_equal(open_deep(&sample->packed, sample->body, false), 0);
    assert_int_equal(open_deep(&sample->packed, sample->body, true), -EBADMSG);
    sample->items[0] ^= 8; /* the bytes of the first record */
    compress(sample);
    assert_int_equal(open_deep(&sample->packed, sample->body, false), -EBADMSG);
    free(sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_compressed_comes_out),
        cmocka_unit_test(what_does_not_get_smaller_is_refused),
        cmocka_unit_test(any_flipped_bit_is_damage),
        cmocka_unit_test(what_stands_behind_it_is_damage),
        cmocka_unit_test(what_is_cut_short_is_damage),
        cmocka_unit_test(two_in_one_are_damage),
        cmocka_unit_test(another_size_than_the_header_says_is_damage),
        cmocka_unit_test(half_of_the_items_are_damage),
        cmocka_unit_test(records_keep_their_own_checksums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
