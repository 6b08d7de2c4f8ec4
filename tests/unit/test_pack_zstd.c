/*
 * Packed segments with compressed frames: which segments and frames are compressed, and what damage to
 * one costs. That they hold what they held is with all packing in test_pack.c, what a compressed body
 * may be in test_compress.c.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/splitmix64.h"
#include "wal/base.h"
#include "wal/compress.h"
#include "wal/crc32c.h"
#include "wal/format.h"

enum { SIZE = 3000 };

static uint8_t *segment_copy(struct fixture *f, uint64_t number, size_t *ret_bytes)
{
    uint8_t *bytes;
    assert_int_equal(sim_copy_file(f->disk, fixture_segment(f, FIXTURE_LOG, number), SIM_CACHED,
                                   &bytes, ret_bytes),
                     0);
    return bytes;
}

struct census {
    unsigned kind, plain, compressed; /* of the segment; frames behind the STATE frame */
    struct frame_header last;         /* of those that are compressed */
    struct segment_header header;
};

static struct census census_of(struct fixture *f, uint64_t number)
{
    struct census census = {0};
    struct frame_header frame;
    size_t bytes;
    uint8_t *data = segment_copy(f, number, &bytes);
    assert_int_equal(segment_header_decode(&census.header, data), 0);
    census.kind = census.header.kind;
    for (uint64_t at = WAL_BLOCK_BYTES;
         at < bytes && frame_header_decode(&frame, census.header.salt, at, data + at) == 0;
         at += frame_bytes(frame.body_bytes)) {
        if (frame.flags & FRAME_COMPRESSED) {
            census.compressed++;
            census.last = frame;
        } else if (!(frame.flags & FRAME_STATE)) {
            census.plain++;
        }
    }
    free(data);
    return census;
}

static void commit_noise(struct fixture *f, size_t size)
{
    static uint8_t data[100000];
    static uint64_t word;
    struct wal_record record = {.data = data, .size = size};
    struct wal_token token;
    for (size_t at = 0; at < size; at += sizeof(word)) {
        uint64_t mixed = splitmix64_mix(++word);
        memcpy(data + at, &mixed, min_u64(sizeof(mixed), size - at));
    }
    assert_int_equal(wal_append(f->wal, &record, 1, NULL, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
}

static void append_noise(struct fixture *f, unsigned count)
{
    while (count-- > 0)
        commit_noise(f, 100000);
}

/* Frames of large batches are dense as they are: what can be gained is compression. Where nothing can,
 * that is found early, and the segment stays as it was, which is no failure. */
static void dense_segments_are_compressed_if_that_helps(void **state)
{
    struct fixture *f = fixture_of(state);
    uint64_t count = 0;
    f->config.pack = true;
    f->config.pack_compression = STORE_COMPRESSION_ZSTD;
    f->config.log.segment_bytes = 2 << 20;
    fixture_begin(f);
    while (stats_of(f->wal).segments < 2) {
        commit_numbers(f->wal, count, 200, 2000);
        count += 200;
    }
    fixture_settle(f);
    assert_int_equal(totals_of(f).packs, 1);
    assert_int_equal(census_of(f, 0).kind, SEGMENT_COMPRESSED);
    assert_true(census_of(f, 0).compressed > 5);
    assert_true(census_of(f, 0).header.seal.end < (2 << 20) * 3 / 4);
    expect_numbers(f, f->wal, 0, count, 0);

    append_noise(f, 65);
    fixture_settle(f);
    const struct store_totals totals = totals_of(f);
    assert_true(stats_of(f->wal).segments > 4);
    assert_int_equal(census_of(f, 2).kind, SEGMENT_APPENDED);
    assert_int_equal(totals.pack_failures, 0);
    const uint64_t reads = sim_counters(f->disk)->done[SIM_READ];
    const uint64_t sealed = stats_of(f->wal).segments;
    append_noise(f, 40);
    fixture_settle(f);
    /* Of each the beginning alone was read. */
    assert_true(stats_of(f->wal).segments >= sealed + 2);
    assert_true(sim_counters(f->disk)->done[SIM_READ] - reads <=
                3 * (stats_of(f->wal).segments - sealed));
    assert_int_equal(totals_of(f).pack_failures, 0);
}

/* A frame that would not get smaller stays as it is, beside others that do; and a segment of which none
 * does is as if there were no compression, for older programs, too. */
static void frames_that_do_not_get_smaller_are_left(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.pack = true;
    f->config.pack_compression = STORE_COMPRESSION_ZSTD;
    f->config.log.segment_bytes = 1 << 20;
    fixture_begin(f);
    for (uint64_t i = 0; i < 130; i++)
        commit_number(f->wal, i, 1500);
    append_noise(f, 2);
    while (stats_of(f->wal).segments < 2)
        commit_number(f->wal, 0, 300);
    fixture_settle(f);
    struct census census = census_of(f, 0);
    assert_int_equal(census.kind, SEGMENT_COMPRESSED);
    assert_true(census.compressed > 0 && census.plain > 0);

    /* Nothing but noise, in commits of their own so that it is packed. */
    for (unsigned i = 0; stats_of(f->wal).segments < 3; i++)
        commit_number(f->wal, i, 20);
    for (unsigned i = 0; stats_of(f->wal).segments < 4; i++)
        commit_noise(f, 4100);
    fixture_settle(f);
    census = census_of(f, 2);
    assert_int_equal(census.kind, SEGMENT_PACKED);
    assert_true(census.compressed == 0 && census.plain > 0);
}

/* Damage costs the records of its frame and no others, whoever looks: readers, the scrub, and an
 * inspection, by which a repair goes. */
static void damage_costs_one_compressed_frame(void **state)
{
    struct fixture *f = fixture_of(state);
    uint64_t count = 0;
    f->checks_overwrites = false;
    f->config.pack = true;
    f->config.pack_compression = STORE_COMPRESSION_ZSTD;
    f->config.log.segment_bytes = 2 << 20;
    fixture_begin(f);
    while (stats_of(f->wal).segments < 2)
        commit_number(f->wal, count++, 3000);
    fixture_settle(f);
    assert_int_equal(totals_of(f).pack_failures, 0);
    const struct census census = census_of(f, 0);
    assert_true(census.compressed > 5);
    char path[256];
    strcpy(path, fixture_segment(f, FIXTURE_LOG, 0));
    assert_int_equal(fixture_close(f), 0);
    sim_settle(f->disk);
    assert_int_equal(
        sim_flip_bit(f->disk, path,
                     census.last.position + FRAME_HEADER_BYTES + census.last.body_bytes / 2, 3),
        0);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_int_equal(wal_status(f->wal), 0);

    const uint64_t begin = census.last.base_offset, end = begin + census.last.record_count;
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    struct wal_entry entry;
    uint64_t next = 0;
    for (int rc; (rc = wal_cursor_next(cursor, &entry)) != -ENODATA;) {
        assert_int_equal(entry.offset, next);
        assert_int_equal(rc, next == begin ? -EBADMSG : 0);
        next = rc == 0 ? next + 1 : entry.gap_end;
        if (rc < 0)
            assert_int_equal(next, end);
        else
            assert_true(record_is(entry.data, entry.size, entry.offset));
    }
    assert_int_equal(next, count);

    struct store_damage damage;
    assert_int_equal(store_scrub(f->store), 0);
    assert_int_equal(store_damages(f->store, FIXTURE_LOG, &damage, 1), 1);
    assert_int_equal(damage.position, census.last.position);
    assert_int_equal(damage.end, census.last.position + frame_bytes(census.last.body_bytes));
    assert_int_equal(damage.offset, begin);
    assert_int_equal(damage.offset_end, end);
}

/* A log of 30 records, the first segment with a compressed frame. */
static struct fixture *start_compressed(void **state)
{
    struct fixture *f = fixture_of(state);
    f->checks_overwrites = false;
    f->config.pack = true;
    f->config.pack_compression = STORE_COMPRESSION_ZSTD;
    f->config.log.segment_bytes = 64 << 10;
    fixture_begin(f);
    for (uint64_t i = 0; i < 30; i++)
        commit_number(f->wal, i, SIZE);
    fixture_settle(f);
    assert_true(census_of(f, 0).compressed > 0);
    return f;
}

/* Puts a frame in the place of the last compressed one of the first segment, with all its checksums. */
static void plant_frame(struct fixture *f, struct frame_header *header, uint8_t *frame)
{
    const struct census census = census_of(f, 0);
    const uint64_t bytes = frame_bytes(census.last.body_bytes);
    assert_int_equal(frame_bytes(header->body_bytes), bytes);
    header->body_crc = crc32c(0, frame + FRAME_HEADER_BYTES, header->body_bytes);
    frame_finish(header, frame);
    frame_header_encode(header, census.header.salt, frame);
    char path[256];
    strcpy(path, fixture_segment(f, FIXTURE_LOG, 0));
    assert_int_equal(fixture_close(f), 0);
    sim_settle(f->disk);
    assert_int_equal(sim_poke(f->disk, path, header->position, frame, bytes), 0);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
}

/* Reads from `begin` on, up to the gap that is there, and holds what the scrub finds against it. */
static void expect_one_gap(struct fixture *f, uint64_t begin, uint64_t gap, uint64_t gap_end)
{
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, begin);
    struct wal_entry entry;
    struct store_damage damage;
    for (uint64_t i = begin; i < gap; i++)
        assert_int_equal(wal_cursor_next(cursor, &entry), 0);
    assert_int_equal(wal_cursor_next(cursor, &entry), -EBADMSG);
    assert_int_equal(entry.offset, gap);
    assert_int_equal(entry.gap_end, gap_end);
    assert_int_equal(store_scrub(f->store), 0);
    assert_int_equal(store_damages(f->store, FIXTURE_LOG, &damage, 1), 1);
    assert_int_equal(damage.offset, gap);
    assert_int_equal(damage.offset_end, gap_end);
    const struct census census = census_of(f, 0);
    assert_int_equal(damage.position, census.last.position);
    assert_int_equal(damage.end, census.last.position + frame_bytes(census.last.body_bytes));
    fixture_cursor_close(f, cursor);
}

/* Who knows the salt can give anything a checksum. What stands behind a body is no part of it. */
static void a_forged_end_of_a_compressed_frame_is_a_gap(void **state)
{
    static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0};
    struct fixture *f = start_compressed(state);
    struct frame_header header = census_of(f, 0).last;
    size_t bytes;
    uint8_t *data = segment_copy(f, 0, &bytes), *frame = data + header.position;
    memcpy(frame + FRAME_HEADER_BYTES + header.body_bytes, skippable, sizeof(skippable));
    header.body_bytes += sizeof(skippable);
    plant_frame(f, &header, frame);
    free(data);
    expect_one_gap(f, header.base_offset, header.base_offset,
                   header.base_offset + header.record_count);
}

/* One record that is wrong in a frame that is right costs that record; where in the file it stands
 * nobody can say but for its frame. */
static void a_wrong_record_in_a_compressed_frame_is_a_gap_of_its_own(void **state)
{
    struct fixture *f = start_compressed(state);
    struct frame_header header = census_of(f, 0).last;
    struct compressor compressor = {0};
    struct unpacked unpacked = {0};
    const uint8_t *items;
    size_t bytes;
    uint8_t *data = segment_copy(f, 0, &bytes), *frame = data + header.position;
    const size_t room = frame_bytes(header.body_bytes);
    assert_int_equal(frame_open(&unpacked, &header, frame + FRAME_HEADER_BYTES, true, &items), 0);
    const uint64_t second = item_bytes(0, SIZE);
    unpacked.items[second + ITEM_HEADER_BYTES + 17] ^= 1;
    header.flags &= (uint16_t)~FRAME_COMPRESSED;
    header.body_bytes = header.plain_bytes;
    assert_int_equal(frame_compress(&compressor, &header, items, frame + FRAME_HEADER_BYTES, room),
                     0);
    plant_frame(f, &header, frame);
    compressor_done(&compressor);
    unpacked_done(&unpacked);
    free(data);
    expect_one_gap(f, header.base_offset, header.base_offset + 1, header.base_offset + 2);
    expect_numbers(f, f->wal, header.base_offset + 2, 30, SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SIM(dense_segments_are_compressed_if_that_helps),
        ON_SIM(frames_that_do_not_get_smaller_are_left),
        ON_SIM(damage_costs_one_compressed_frame),
        ON_SIM(a_forged_end_of_a_compressed_frame_is_a_gap),
        ON_SIM(a_wrong_record_in_a_compressed_frame_is_a_gap_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
