/*
 * Sealed segments that are rewritten densely: what is read of them stays as it was, to the last byte
 * and nanosecond, for readers that come after it, before it and in the middle; and whatever else
 * happens to the log meanwhile happens all the same. What crashes do to it the histories of
 * tests/crash look for. Most of it is done twice, the second time with compression.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/format.h"
#include "wal/repair.h"

enum { RECORDS_MAX = 2000 };

static bool compressing;

/* From the next opening on. */
static void packs(struct fixture *f)
{
    f->config.pack = true;
    f->config.pack_compression = compressing ? STORE_COMPRESSION_ZSTD : STORE_COMPRESSION_NONE;
}

/* Compression saves blocks or nothing, so what is to be compressed has to be some. */
static size_t record_bytes(void)
{
    return compressing ? 3000 : 100;
}

/* One record as it was read. */
struct told {
    uint64_t timestamp_ns, bytes_before;
    size_t size;
    uint16_t attribute_bytes;
    uint8_t attributes[64];
};

/* All segments but the last one, in the directory that is open. */
static bool all_are_packed(void *context)
{
    struct fixture *f = context;
    return totals_of(f).packs + totals_of(f).pack_failures + 1 >= stats_of(f->wal).segments;
}

static void await_packing(struct fixture *f)
{
    assert_true(fixture_until(f, all_are_packed, f));
    fixture_settle(f);
}

/* Frames of one record and of many, with attributes and changes of the state between them, some in
 * the same nanosecond and some an hour apart. */
static void append_mixture(struct fixture *f, struct wal *wal, uint64_t begin, uint64_t end)
{
    uint8_t data[3000], attributes[64];
    for (uint64_t i = begin; i < end;) {
        struct wal_record records[4];
        struct wal_state_update update = state_update(i % 3 ? "seen" : "other", i % 7 ? "1" : NULL);
        const struct wal_append_options options = {
            .expected_offset = i, .updates = &update, .update_count = i % 5 == 0};
        size_t count = min_u64(1 + i % 4, end - i), used = 0;
        uint16_t attribute_bytes = 0;
        assert_int_equal(wal_attribute_put(attributes, sizeof(attributes), &attribute_bytes,
                                           WAL_ATTRIBUTE_USER, &i, sizeof(i)),
                         0);
        for (size_t j = 0; j < count; j++) {
            size_t size = record_size(i + j, 300);
            record_fill(data + used, size, i + j);
            records[j] = (struct wal_record){.data = data + used, .size = size};
            if ((i + j) % 2) {
                records[j].attributes = attributes;
                records[j].attribute_bytes = attribute_bytes;
            }
            used += size;
        }
        struct wal_token token;
        assert_int_equal(wal_append(wal, records, count, &options, NULL, &token), 0);
        assert_int_equal(wait_for(wal, token), 0);
        if (f->disk && i % 16 == 0)
            sim_step_realtime(f->disk, INT64_C(3600000000123));
        i += count;
    }
}

static void read_told(struct fixture *f, uint64_t count, struct told *told)
{
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    struct wal_entry entry;
    for (uint64_t i = 0; i < count; i++) {
        assert_int_equal(wal_cursor_next(cursor, &entry), 0);
        assert_int_equal(entry.offset, i);
        assert_true(record_is(entry.data, entry.size, i));
        told[i] = (struct told){
            entry.timestamp_ns, entry.bytes_before, entry.size, entry.attribute_bytes, {0}};
        memcpy(told[i].attributes, entry.attributes, entry.attribute_bytes);
    }
    assert_int_equal(wal_cursor_next(cursor, &entry), -ENODATA);
    fixture_cursor_close(f, cursor);
}

static void expect_same(struct fixture *f, uint64_t count, const struct told *before)
{
    static struct told after[RECORDS_MAX];
    read_told(f, count, after);
    assert_memory_equal(after, before, count * sizeof(*before));
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    for (uint64_t i = 0; i < count; i++) {
        struct wal_entry entry;
        uint64_t offset = (i * 337) % count, found, bytes;
        wal_cursor_seek(cursor, offset);
        assert_int_equal(wal_cursor_next(cursor, &entry), 0);
        assert_int_equal(entry.offset, offset);
        assert_int_equal(wal_bytes_before(f->wal, offset, &bytes), 0);
        assert_int_equal(bytes, before[offset].bytes_before);
        assert_int_equal(wal_offset_at(f->wal, before[offset].timestamp_ns, &found), 0);
        assert_true(found <= offset && before[found].timestamp_ns == before[offset].timestamp_ns);
        assert_true(found == 0 || before[found - 1].timestamp_ns < before[offset].timestamp_ns);
    }
    fixture_cursor_close(f, cursor);
}

static struct fixture *begin(void **state, uint64_t segment_bytes)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = segment_bytes;
    f->config.log.mark_idle_us = 5000;
    fixture_begin(f);
    return f;
}

static uint64_t segment_file_bytes(struct fixture *f, uint64_t number)
{
    const char *path = fixture_segment(f, FIXTURE_LOG, number);
    struct stat st;
    if (f->disk)
        return (uint64_t)sim_file_bytes(f->disk, path, SIM_CACHED);
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static bool file_exists(struct fixture *f, const char *name)
{
    const char *path = fixture_file(f, FIXTURE_LOG, name);
    return f->disk ? sim_exists(f->disk, path, SIM_CACHED) : access(path, F_OK) == 0;
}

/* Of the segment of this number. */
static unsigned kind_of(struct fixture *f, uint64_t number)
{
    struct segment_header header;
    uint8_t block[WAL_BLOCK_BYTES];
    const char *path = fixture_segment(f, FIXTURE_LOG, number);
    if (f->disk) {
        assert_int_equal(sim_peek(f->disk, path, SIM_CACHED, 0, block, sizeof(block)),
                         sizeof(block));
    } else {
        int handle = open(path, O_RDONLY);
        assert_int_equal(read(handle, block, sizeof(block)), sizeof(block));
        close(handle);
    }
    assert_int_equal(segment_header_decode(&header, block), 0);
    return header.kind;
}

/* Of those that are packed. */
static unsigned kind_wanted(void)
{
    return compressing ? SEGMENT_COMPRESSED : SEGMENT_PACKED;
}

/* ---- What is read stays as it was ------------------------------------------------------------ */

static void packing_changes_nothing_that_is_read(void **state)
{
    static struct told before[RECORDS_MAX];
    struct fixture *f = begin(state, 256 << 10);
    const uint64_t count = f->disk ? RECORDS_MAX : 500;
    append_mixture(f, f->wal, 0, count);
    read_told(f, count, before);
    const uint64_t bytes = stats_of(f->wal).bytes_on_disk;
    assert_true(stats_of(f->wal).segments > 2);

    packs(f);
    fixture_reopen(f);
    await_packing(f);
    assert_int_equal(totals_of(f).pack_failures, 0);
    assert_int_equal(totals_of(f).packs, stats_of(f->wal).segments - 1);
    assert_true(stats_of(f->wal).bytes_on_disk < bytes / 2);
    assert_int_equal(kind_of(f, 0), kind_wanted());
    expect_same(f, count, before);

    /* Once packed, it is as any other after an opening, also for who does not pack. */
    f->config.pack = false;
    f->config.pack_compression = STORE_COMPRESSION_NONE;
    fixture_reopen(f);
    expect_same(f, count, before);
    commit_number(f->wal, count, 100);
    packs(f);
    fixture_reopen(f);
    fixture_settle(f);
    assert_int_equal(totals_of(f).packs, 0);
    expect_numbers(f, f->wal, 0, count + 1, 0);
    assert_false(file_exists(f, "pack.tmp"));
}

/* A record of 100 bytes alone in its commit: 4 KiB, and then not much more than itself. */
static void a_small_record_costs_little(void **state)
{
    struct fixture *f = fixture_of(state);
    const uint64_t count = f->disk ? 5000 : 1200;
    packs(f);
    f->config.log.segment_bytes = f->disk ? 16 << 20 : 4 << 20;
    fixture_begin(f);
    for (uint64_t i = 0; i < count; i++)
        commit_number(f->wal, i, 100);
    await_packing(f);
    uint64_t bytes = 0, sealed = stats_of(f->wal).segments - 1;
    assert_true(sealed > 0);
    for (uint64_t i = 0; i < sealed; i++)
        bytes += segment_file_bytes(f, i);
    /* Each sealed segment holds as many as fit, in blocks of their own. */
    uint64_t records = sealed * (f->config.log.segment_bytes / WAL_BLOCK_BYTES - 4);
    assert_true(bytes <= records * (130 + 24));
    expect_numbers(f, f->wal, 0, count, 100);
}

/* Whoever has the old file open goes on in it; whoever looked it up before the swap, and opens it
 * after, sees by its header that it is another. */
static void a_reader_reads_through_the_swap(void **state)
{
    struct fixture *f = fixture_of(state);
    packs(f);
    f->config.log.segment_bytes = 128 << 10;
    fixture_begin(f);
    struct wal_cursor *ahead = fixture_cursor(f, f->wal, 0), *late;
    struct wal_entry entry;
    const uint64_t count = f->disk ? 300 : 150;
    for (uint64_t i = 0; i < 20; i++)
        commit_number(f->wal, i, 100);
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(wal_cursor_next(ahead, &entry), 0);
    for (uint64_t i = 20; i < count; i++)
        commit_number(f->wal, i, 100);
    late = fixture_cursor(f, f->wal, 2);
    assert_int_equal(wal_cursor_next(late, &entry), 0);
    await_packing(f);
    assert_true(totals_of(f).packs >= 2);
    for (uint64_t i = 5; i < count; i++) {
        assert_int_equal(wal_cursor_next(ahead, &entry), 0);
        assert_int_equal(entry.offset, i);
        assert_true(record_is(entry.data, entry.size, i));
    }
    assert_int_equal(wal_cursor_next(ahead, &entry), -ENODATA);
    for (uint64_t i = 3; i < count; i++)
        assert_int_equal(wal_cursor_next(late, &entry), 0);
    expect_numbers(f, f->wal, 0, count, 100);
}

/* Frames of two blocks, of few records and of many small ones, and one of a single record. */
enum { WIDE = 60, NARROW = 180, WIDE_BYTES = 100, NARROW_BYTES = 20 };

static uint64_t commit_three_frames(struct fixture *f, uint64_t first)
{
    uint8_t data[WIDE * WIDE_BYTES];
    for (unsigned i = 0; i < 3; i++) {
        const size_t count = i == 0 ? WIDE : i == 1 ? NARROW : 1;
        const size_t size = i == 0 ? WIDE_BYTES : NARROW_BYTES;
        struct wal_record records[NARROW];
        struct wal_token token;
        for (size_t j = 0; j < count; j++) {
            record_fill(data + j * size, size, first + j);
            records[j] = (struct wal_record){.data = data + j * size, .size = size};
        }
        assert_int_equal(wal_append(f->wal, records, count, NULL, NULL, &token), 0);
        assert_int_equal(wait_for(f->wal, token), 0);
        first += count;
    }
    return first;
}

/* A frame that does not check out in the old file is looked up anew in the other one; nothing of what
 * was read before is taken for it. */
static void a_frame_gone_bad_in_the_old_file_is_looked_up_anew(void **state)
{
    struct fixture *f = fixture_of(state);
    const uint64_t far = 400 << 10; /* further than a reader reads ahead */
    uint8_t garbage[64];
    uint64_t count = 0;
    packs(f);
    f->config.log.segment_bytes = 1 << 20;
    fixture_begin(f);
    while (count < 40 * (WIDE + NARROW + 1))
        count = commit_three_frames(f, count);
    int old = open(fixture_segment(f, FIXTURE_LOG, 0), O_WRONLY);
    assert_true(old >= 0);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    struct wal_entry entry;
    assert_int_equal(wal_cursor_next(cursor, &entry), 0);
    while (stats_of(f->wal).segments < 2)
        count = commit_three_frames(f, count);
    await_packing(f);
    assert_int_equal(totals_of(f).packs, 1);
    /* In the last record of each frame of many. */
    memset(garbage, 0x5a, sizeof(garbage));
    for (uint64_t at = 4ull * WAL_BLOCK_BYTES; at < 1 << 20; at += 5ull * WAL_BLOCK_BYTES) {
        uint64_t end = at + FRAME_HEADER_BYTES + NARROW * item_bytes(0, NARROW_BYTES);
        if (at > far)
            assert_int_equal(pwrite(old, garbage, sizeof(garbage), (off_t)(end - 64)), 64);
    }
    close(old);
    for (uint64_t i = 1; i < count; i++) {
        assert_int_equal(wal_cursor_next(cursor, &entry), 0);
        assert_int_equal(entry.offset, i);
        assert_true(record_is(entry.data, entry.size, i));
    }
    assert_int_equal(wal_cursor_next(cursor, &entry), -ENODATA);
}

/* Readers at full speed while segments seal and are packed. */
static void reading_beside_packing_is_never_wrong(void **state)
{
    struct fixture *f = fixture_of(state);
    packs(f);
    f->config.log.segment_bytes = 64 << 10;
    fixture_begin(f);
    for (uint64_t i = 0; i < (f->disk ? 400 : 150); i++) {
        uint64_t bytes, offset;
        commit_number(f->wal, i, 100);
        expect_numbers(f, f->wal, i > 40 ? i - 40 : 0, i + 1, 100);
        offset = (i * 7) % (i + 1);
        expect_numbers(f, f->wal, offset, min_u64(offset + 2, i + 1), 100);
        assert_int_equal(wal_bytes_before(f->wal, offset, &bytes), 0);
        assert_int_equal(bytes, offset * 100);
    }
    await_packing(f);
    assert_int_equal(totals_of(f).pack_failures, 0);
}

/* ---- Beside everything else ------------------------------------------------------------------ */

/* What is trimmed while it is packed goes, and does not come back. */
static void trimmed_segments_go_packed_or_not(void **state)
{
    struct fixture *f = fixture_of(state);
    struct wal_token token;
    packs(f);
    f->config.log.segment_bytes = 64 << 10;
    fixture_begin(f);
    for (uint64_t i = 0; i < 200; i++) {
        commit_number(f->wal, i, 100);
        if (i % 20 == 19) {
            assert_int_equal(wal_trim(f->wal, i - 5, NULL, &token), 0);
            assert_int_equal(wait_for(f->wal, token), 0);
        }
    }
    await_packing(f);
    assert_false(file_exists(f, "00000000000000000000.seg"));
    expect_numbers(f, f->wal, 194, 200, 100);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 194, 200, 100);
}

/* A slow packing holds up neither a deletion nor a shutdown, and leaves nothing behind. */
static void closing_and_deleting_do_not_wait_for_it(void **state)
{
    struct fixture *f = fixture_of(state);
    packs(f);
    f->config.pack_bytes_per_s = 4096;
    f->config.log.segment_bytes = 128 << 10;
    fixture_begin(f);
    struct wal *other = fixture_get(f, "other", true);
    for (uint64_t i = 0; i < 80; i++) {
        commit_number(f->wal, i, 100);
        commit_number(other, i, 100);
    }
    assert_true(stats_of(f->wal).segments > 1);
    fixture_put(f, other);
    uint64_t began = fixture_now_us(f);
    assert_int_equal(store_delete(f->store, "other"), 0);
    fixture_reopen(f);
    /* At its rate the first segment alone would take half a minute. */
    if (f->kind == FIXTURE_POSIX || f->kind == FIXTURE_URING)
        assert_true(fixture_now_us(f) - began < 15000000);
    assert_int_equal(store_get(f->store, "other", false, &other), -ENOENT);
    expect_numbers(f, f->wal, 0, 80, 100);
    f->config.pack = false;
    fixture_reopen(f);
    assert_false(file_exists(f, "pack.tmp"));
}

static void what_a_crash_left_over_is_removed(void **state)
{
    struct fixture *f = begin(state, 64 << 10);
    commit_number(f->wal, 0, 100);
    assert_int_equal(fixture_close(f), 0);
    int handle = open(fixture_file(f, FIXTURE_LOG, "pack.tmp"), O_CREAT | O_WRONLY, 0600);
    assert_true(handle >= 0);
    close(handle);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_false(file_exists(f, "pack.tmp"));
}

/* ---- Damage ---------------------------------------------------------------------------------- */

/* Fresh checksums over damaged records would make them whole for ever. */
static void a_damaged_segment_is_left_as_it_is(void **state)
{
    struct fixture *f = begin(state, 64 << 10);
    f->checks_overwrites = false;
    for (uint64_t i = 0; i < 60; i++)
        commit_number(f->wal, i, 100);
    assert_true(stats_of(f->wal).segments > 3);
    assert_int_equal(fixture_close(f), 0);
    sim_settle(f->disk);
    /* In the data of a record. */
    char path[256];
    strcpy(path, fixture_segment(f, FIXTURE_LOG, 1));
    assert_int_equal(sim_flip_bit(f->disk, path, 3 * WAL_BLOCK_BYTES + 130, 3), 0);

    uint8_t *before, *after;
    size_t bytes, bytes_after;
    assert_int_equal(sim_copy_file(f->disk, path, SIM_CACHED, &before, &bytes), 0);
    packs(f);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    await_packing(f);
    assert_int_equal(totals_of(f).pack_failures, 1);
    assert_int_equal(totals_of(f).packs, stats_of(f->wal).segments - 2);
    assert_int_equal(sim_copy_file(f->disk, path, SIM_CACHED, &after, &bytes_after), 0);
    assert_int_equal(bytes, bytes_after);
    assert_memory_equal(before, after, bytes);
    free(before);
    free(after);

    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    struct wal_entry entry;
    unsigned gaps = 0, served = 0;
    int rc;
    while ((rc = wal_cursor_next(cursor, &entry)) != -ENODATA) {
        gaps += rc == -EBADMSG;
        served += rc == 0;
    }
    assert_int_equal(gaps, 1);
    assert_int_equal(served, 59);
}

/* A log of 30 records whose full segments are packed, for a disk that changes them by itself. */
static struct fixture *start_packed_to_be_hurt(void **state)
{
    struct fixture *f = fixture_of(state);
    f->checks_overwrites = false;
    packs(f);
    f->config.log.segment_bytes = 64 << 10;
    fixture_begin(f);
    for (uint64_t i = 0; i < 30; i++)
        commit_number(f->wal, i, record_bytes());
    await_packing(f);
    assert_int_equal(kind_of(f, 0), kind_wanted());
    return f;
}

/* One bit of many bytes of the frames of a packed segment: the record it is in is told, and never
 * served wrong. */
static void a_damaged_packed_segment_is_told(void **state)
{
    struct fixture *f = start_packed_to_be_hurt(state);
    const uint64_t end = segment_file_bytes(f, 0);
    for (uint64_t at = 2 * WAL_BLOCK_BYTES; at < end; at += compressing ? 61 : 13) {
        assert_int_equal(fixture_close(f), 0);
        sim_settle(f->disk);
        char path[256];
        strcpy(path, fixture_segment(f, FIXTURE_LOG, 0));
        assert_int_equal(sim_flip_bit(f->disk, path, at, at % 8), 0);
        fixture_open(f);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
        struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
        struct wal_entry entry;
        uint64_t next = 0;
        int rc;
        while ((rc = wal_cursor_next(cursor, &entry)) != -ENODATA) {
            assert_true(rc == 0 || rc == -EBADMSG);
            assert_int_equal(entry.offset, next);
            if (rc == 0)
                assert_true(record_is(entry.data, entry.size, entry.offset));
            next = rc == 0 ? next + 1 : entry.gap_end;
        }
        assert_int_equal(next, 30);
        assert_int_equal(fixture_close(f), 0);
        assert_int_equal(sim_flip_bit(f->disk, path, at, at % 8), 0);
        fixture_open(f);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
    }
    expect_numbers(f, f->wal, 0, 30, record_bytes());
}

/* A segment is packed only when it has a successor: if that is gone, this is known, unlike the loss
 * of what followed a segment as it was appended to. */
static void a_packed_segment_without_successor_is_damage(void **state)
{
    struct fixture *f = start_packed_to_be_hurt(state);
    const uint64_t last = stats_of(f->wal).segments - 1;
    assert_int_equal(fixture_close(f), 0);
    sim_settle(f->disk);
    assert_int_equal(sim_delete(f->disk, fixture_segment(f, FIXTURE_LOG, last)), 0);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_int_equal(wal_status(f->wal), -EBADMSG);
    const uint64_t committed = positions_of(f->wal).committed_offset;
    assert_true(committed > 0 && committed < 30);
    expect_numbers(f, f->wal, 0, committed, record_bytes());
    fixture_put(f, f->wal);
    assert_int_equal(store_close_idle(f->store, FIXTURE_LOG), 0);

    enum repair_plan plan;
    unsigned mended;
    assert_int_equal(store_repair(f->store, FIXTURE_LOG, &plan, &mended), 0);
    assert_int_equal(mended, 1);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_int_equal(wal_status(f->wal), 0);
    expect_numbers(f, f->wal, 0, committed, record_bytes());
    struct wal_token token = append_number(f->wal, committed, 100);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_true(token.begin >= committed);
}

/* A header that is lost: what is made again in its place serves every record. */
static void a_packed_segment_gets_its_header_again(void **state)
{
    static struct told before[RECORDS_MAX];
    struct fixture *f = fixture_of(state);
    const uint64_t count = compressing ? 1000 : 200;
    f->checks_overwrites = false;
    packs(f);
    f->config.log.segment_bytes = compressing ? 256 << 10 : 64 << 10;
    fixture_begin(f);
    append_mixture(f, f->wal, 0, count);
    await_packing(f);
    read_told(f, count, before);
    assert_true(stats_of(f->wal).segments > 3);
    assert_int_equal(kind_of(f, 1), kind_wanted());
    /* Each of them, and then two at once. */
    for (uint64_t number = 0; number < 4; number++) {
        assert_int_equal(fixture_close(f), 0);
        sim_settle(f->disk);
        char path[256];
        strcpy(path, fixture_segment(f, FIXTURE_LOG, number % 3));
        assert_int_equal(sim_zero_block(f->disk, path, 0), 0);
        if (number == 3) {
            strcpy(path, fixture_segment(f, FIXTURE_LOG, 1));
            assert_int_equal(sim_zero_block(f->disk, path, 0), 0);
        }
        fixture_open(f);
        enum repair_plan plan;
        unsigned mended;
        assert_int_equal(store_repair(f->store, FIXTURE_LOG, &plan, &mended), 0);
        assert_int_equal(mended, number == 3 ? 2 : 1);
        assert_int_equal(plan, REPAIR_NOTHING);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
        assert_int_equal(wal_status(f->wal), 0);
        fixture_settle(f);
        expect_same(f, count, before);
        assert_int_equal(kind_of(f, number % 3), kind_wanted());
    }
}

/* What fills up a frame is no one's record, but a repair keeps a copy of it under its position. */
static void a_segment_with_hurt_padding_is_left_as_it_is(void **state)
{
    struct fixture *f = begin(state, 64 << 10);
    f->checks_overwrites = false;
    for (uint64_t i = 0; i < 40; i++)
        commit_number(f->wal, i, 100);
    assert_int_equal(fixture_close(f), 0);
    sim_settle(f->disk);
    char path[256];
    strcpy(path, fixture_segment(f, FIXTURE_LOG, 1));
    assert_int_equal(sim_flip_bit(f->disk, path, 3 * WAL_BLOCK_BYTES + 2000, 3), 0);
    packs(f);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    await_packing(f);
    assert_int_equal(totals_of(f).pack_failures, 1);
    assert_int_equal(totals_of(f).packs, stats_of(f->wal).segments - 2);
    expect_numbers(f, f->wal, 0, 40, 100);
}

/* Records of which but one fits a packed frame, where many shared a frame: no file comes of it that is
 * smaller, and that is no failure. */
static void a_segment_that_would_grow_is_no_failure(void **state)
{
    struct fixture *f = fixture_of(state);
    static uint8_t data[17000];
    struct wal_record records[30];
    packs(f);
    f->config.log.segment_bytes = 1 << 20;
    fixture_begin(f);
    for (unsigned i = 0; i < 30; i++)
        records[i] = (struct wal_record){.data = data, .size = sizeof(data)};
    for (unsigned i = 0; i < 12; i++) {
        struct wal_token token;
        assert_int_equal(wal_append(f->wal, records, i % 3 ? 30 : 10, NULL, NULL, &token), 0);
        assert_int_equal(wait_for(f->wal, token), 0);
    }
    fixture_settle(f);
    assert_true(stats_of(f->wal).segments > 3);
    assert_int_equal(totals_of(f).pack_failures, 0);
}

/* ---- Faults ---------------------------------------------------------------------------------- */

/* Whatever the disk refuses while a segment is packed: it stays as it was, or is packed, and the log
 * takes no notice. */
static void no_fault_of_packing_reaches_the_log(void **state)
{
    static const enum sim_kind kinds[] = {SIM_CREATE,   SIM_WRITE,     SIM_SYNC_FILE,
                                          SIM_READ,     SIM_OPEN_FILE, SIM_RENAME,
                                          SIM_SYNC_DIR, SIM_OPEN_DIR,  SIM_RANDOM};
    static const int errors[] = {-EIO, -ENOSPC, -EMFILE};
    struct fixture *f = fixture_of(state);
    f->checks_overwrites = false;
    for (unsigned i = 0; i < ARRAY_SIZE(kinds) * ARRAY_SIZE(errors) * 3; i++) {
        f->config.pack = false;
        f->config.log.segment_bytes = 64 << 10;
        sim_reset(f->disk, i);
        fixture_begin(f);
        for (uint64_t j = 0; j < 40; j++)
            commit_number(f->wal, j, record_bytes());
        packs(f);
        fixture_reopen(f);
        const struct sim_fault fault = {.kind = kinds[i % ARRAY_SIZE(kinds)],
                                        .error = errors[i / ARRAY_SIZE(kinds) % ARRAY_SIZE(errors)],
                                        .after = i / ARRAY_SIZE(kinds) / ARRAY_SIZE(errors),
                                        .times = 1,
                                        .effect = SIM_EFFECT_BY_SEED};
        sim_arm(f->disk, &fault);
        fixture_settle(f);
        sim_disarm(f->disk);
        assert_int_equal(wal_status(f->wal), 0);
        expect_numbers(f, f->wal, 0, 40, record_bytes());
        for (uint64_t j = 40; j < 60; j++)
            commit_number(f->wal, j, record_bytes());
        fixture_settle(f);
        expect_numbers(f, f->wal, 0, 60, record_bytes());
        fixture_reopen(f);
        expect_numbers(f, f->wal, 0, 60, record_bytes());
        assert_int_equal(fixture_close(f), 0);
    }
}

/* The last room on a disk is for appends: it is not filled first to find that a file does not fit. */
static void a_disk_that_is_nearly_full_is_left_alone(void **state)
{
    struct fixture *f = begin(state, 64 << 10);
    uint64_t count = 0;
    while (count < 40)
        commit_number(f->wal, count++, 3000);
    assert_int_equal(fixture_close(f), 0);
    sim_options_of(f->disk)->capacity_blocks = sim_used_blocks(f->disk) + 8;
    packs(f);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    fixture_settle(f);
    assert_int_equal(totals_of(f).packs, 0);
    assert_int_equal(sim_counters(f->disk)->failed[SIM_WRITE], 0);
    assert_false(file_exists(f, "pack.tmp"));

    sim_options_of(f->disk)->capacity_blocks = 0;
    while (count < 60)
        commit_number(f->wal, count++, 3000);
    await_packing(f);
    assert_true(totals_of(f).packs > 2);
    expect_numbers(f, f->wal, 0, count, 3000);
}

/* A log with full segments, in a store that has just been opened and is to leave so many blocks free,
 * of so many. */
static void open_with_room(struct fixture *f, uint64_t free_blocks, uint64_t kept_blocks)
{
    sim_settle(f->disk);
    sim_options_of(f->disk)->capacity_blocks = sim_used_blocks(f->disk) + free_blocks;
    f->config.pack = true;
    fixture_open(f);
    store_keep_free(f->store, kept_blocks * WAL_BLOCK_BYTES);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    fixture_settle(f);
}

/* The new file does not reach into what is to stay free, or appends would be refused for its sake. */
static void what_is_to_stay_free_stays_free(void **state)
{
    enum { SEGMENT_BLOCKS = 17, COUNT = 30, KEPT = 100, SOME = 4 };
    struct fixture *f = begin(state, 64 << 10);
    for (uint64_t i = 0; i < COUNT; i++)
        commit_number(f->wal, i, 3000);
    assert_int_equal(fixture_close(f), 0);
    open_with_room(f, KEPT + 2 * SEGMENT_BLOCKS - SOME, KEPT);
    assert_int_equal(totals_of(f).packs, 0);
    assert_int_equal(fixture_close(f), 0);
    open_with_room(f, 2 * SEGMENT_BLOCKS - SOME, UINT64_MAX / WAL_BLOCK_BYTES);
    assert_int_equal(totals_of(f).packs, 0);
    assert_int_equal(fixture_close(f), 0);
    open_with_room(f, KEPT + 2 * SEGMENT_BLOCKS + SOME, KEPT);
    assert_true(totals_of(f).packs > 1);
    expect_numbers(f, f->wal, 0, COUNT, 3000);
}

/* What is free, as the disk tells it, after so many questions. */
static struct {
    const struct wal_io_ops *real;
    struct wal_io_ops ops;
    unsigned spared;
} filling;

static int fill(struct wal_io *io, int dir, uint64_t *ret_free, uint64_t *ret_total)
{
    int rc = filling.real->free_bytes(io, dir, ret_free, ret_total);
    if (filling.spared == 0)
        *ret_free = 0;
    else
        filling.spared--;
    return rc;
}

/* Others take what is free while the new file is being written: it goes, so that they find more. */
static void a_disk_that_fills_up_meanwhile_gets_the_new_file_back(void **state)
{
    struct fixture *f = begin(state, 64 << 10);
    struct wal_io *io = f->config.custom_io;
    for (uint64_t i = 0; i < 40; i++)
        commit_number(f->wal, i, 3000);
    assert_int_equal(fixture_close(f), 0);
    filling.real = io->ops;
    filling.ops = *io->ops;
    filling.ops.free_bytes = fill;
    io->ops = &filling.ops;
    for (unsigned spared = 1; spared < 6; spared++) {
        filling.spared = spared;
        open_with_room(f, 1000, 1);
        assert_int_equal(filling.spared, 0);
        assert_int_equal(totals_of(f).packs, 0);
        assert_false(file_exists(f, "pack.tmp"));
        expect_numbers(f, f->wal, 0, 40, 3000);
        assert_int_equal(fixture_close(f), 0);
    }
    io->ops = filling.real;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(packing_changes_nothing_that_is_read),
        ON_SIM(a_small_record_costs_little),
        ON(uring, a_small_record_costs_little),
        ON_ALL(a_reader_reads_through_the_swap),
        ON(driven, a_frame_gone_bad_in_the_old_file_is_looked_up_anew),
        ON_ALL(reading_beside_packing_is_never_wrong),
        ON_ALL(trimmed_segments_go_packed_or_not),
        ON_ALL(closing_and_deleting_do_not_wait_for_it),
        ON_DISKS(what_a_crash_left_over_is_removed),
        ON_SIM(a_damaged_segment_is_left_as_it_is),
        ON_SIM(a_damaged_packed_segment_is_told),
        ON_SIM(a_packed_segment_without_successor_is_damage),
        ON_SIM(a_packed_segment_gets_its_header_again),
        ON_SIM(a_segment_with_hurt_padding_is_left_as_it_is),
        ON_SIM(a_segment_that_would_grow_is_no_failure),
        ON_SIM(a_disk_that_is_nearly_full_is_left_alone),
        ON_SIM(what_is_to_stay_free_stays_free),
        ON_SIM(a_disk_that_fills_up_meanwhile_gets_the_new_file_back),
        ON_SIM(no_fault_of_packing_reaches_the_log),
    };
    const struct CMUnitTest compressed_tests[] = {
        ON_ALL(packing_changes_nothing_that_is_read),
        ON_SIM(a_small_record_costs_little),
        ON_SIM(a_reader_reads_through_the_swap),
        ON(driven, a_frame_gone_bad_in_the_old_file_is_looked_up_anew),
        ON_SIM(reading_beside_packing_is_never_wrong),
        ON_SIM(trimmed_segments_go_packed_or_not),
        ON_SIM(a_damaged_segment_is_left_as_it_is),
        ON_SIM(a_damaged_packed_segment_is_told),
        ON_SIM(a_packed_segment_without_successor_is_damage),
        ON_SIM(a_packed_segment_gets_its_header_again),
        ON_SIM(a_segment_that_would_grow_is_no_failure),
        ON_SIM(no_fault_of_packing_reaches_the_log),
    };
    int failed = cmocka_run_group_tests_name("packed", tests, NULL, NULL);
    compressing = true;
    return failed + cmocka_run_group_tests_name("compressed", compressed_tests, NULL, NULL);
}
