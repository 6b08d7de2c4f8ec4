/*
 * Opening a log whose files are not as they were left: torn ends, damage, blocks and files that
 * strayed, versions of the future. Three promises are held against each case: nothing that was
 * acknowledged disappears without a word, nothing is served that was not appended, and what is
 * damaged stays as it is.
 *
 * Power cuts are tests/crash; here files are edited on purpose, on the simulated disk for the many
 * cases, and on a real one for a few.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/crc32c.h"
#include "wal/format.h"

enum { SECTORS = WAL_BLOCK_BYTES / WAL_SECTOR_BYTES, FRAMES_MAX = 64 };

/* Where fields stand that are changed here; wal/README.md has the tables. */
enum {
    SEGMENT_VERSION_AT = 8,
    SEGMENT_CRC_AT = WAL_BLOCK_BYTES - 4,
    FRAME_CRC_AT = 4,
    FRAME_BODY_BYTES_AT = 8,
    FRAME_RECORDS_AT = 64,
    FRAME_ITEMS_AT = 68,
    FRAME_VERSION_AT = 78,
    ITEM_BYTES_AT = 0,
};

/* ---- Looking into segment files ------------------------------------------------------------------ */

struct frame_at {
    uint64_t position, bytes;
    struct frame_header header;
};

struct segment_file {
    char path[256];
    uint8_t *data;
    size_t size;
    struct segment_header header;
    struct frame_at frames[FRAMES_MAX];
    size_t count;
};

static void parse_segment(struct segment_file *file)
{
    assert_int_equal(segment_header_decode(&file->header, file->data), 0);
    uint64_t position = WAL_BLOCK_BYTES;
    file->count = 0;
    while (position < file->size) {
        struct frame_at *frame = &file->frames[file->count];
        if (frame_header_decode(&frame->header, file->header.salt, position,
                                file->data + position) < 0)
            break;
        frame->position = position;
        frame->bytes = frame_bytes(frame->header.body_bytes);
        position += frame->bytes;
        assert_true(++file->count < FRAMES_MAX);
    }
}

/* What the file holds now; segment_free_file() gives it back. */
static struct segment_file *load_segment(struct fixture *f, const char *log, uint64_t number)
{
    struct segment_file *file = calloc(1, sizeof(*file));
    assert_non_null(file);
    snprintf(file->path, sizeof(file->path), "%s", fixture_segment(f, log, number));
    assert_int_equal(sim_copy_file(f->disk, file->path, SIM_DURABLE, &file->data, &file->size), 0);
    parse_segment(file);
    return file;
}

static void free_segment(struct segment_file *file)
{
    free(file->data);
    free(file);
}

static const struct frame_at *last_frame(const struct segment_file *file)
{
    assert_true(file->count > 0);
    return &file->frames[file->count - 1];
}

struct torn_files {
    char name[128];
    unsigned count;
};

static int note_torn(void *context, const char *name, bool is_dir)
{
    struct torn_files *torn = context;
    if (strstr(name, ".torn.")) {
        snprintf(torn->name, sizeof(torn->name), "%s", name);
        torn->count++;
    }
    return 0;
}

static struct torn_files torn_files_of(struct fixture *f)
{
    struct torn_files torn = {0};
    assert_int_equal(
        sim_list(f->disk, fixture_file(f, FIXTURE_LOG, ""), SIM_CACHED, note_torn, &torn), 0);
    return torn;
}

/* The file as it was loaded, and no bytes set aside any more. */
static void restore(struct fixture *f, const struct segment_file *file)
{
    assert_int_equal(sim_truncate(f->disk, file->path, file->size), 0);
    assert_int_equal(sim_poke(f->disk, file->path, 0, file->data, file->size), 0);
    for (;;) {
        struct torn_files torn = torn_files_of(f);
        if (torn.count == 0)
            break;
        assert_int_equal(sim_delete(f->disk, fixture_file(f, FIXTURE_LOG, torn.name)), 0);
    }
}

static bool is_unchanged(struct fixture *f, const struct segment_file *file)
{
    uint8_t *data;
    size_t size;
    assert_int_equal(sim_copy_file(f->disk, file->path, SIM_DURABLE, &data, &size), 0);
    bool same = size == file->size && memcmp(data, file->data, size) == 0;
    free(data);
    return same;
}

/* ---- Opening, and reading all that can be read --------------------------------------------------- */

struct finding {
    int rc; /* of opening the log */
    int status;
    struct wal_recovery recovery;
    struct wal_positions positions;
    uint64_t served;    /* records read, each of them the right one */
    uint64_t missing;   /* offsets reported as gaps */
    uint64_t first_gap; /* where the first gap begins; UINT64_MAX: there is none */
    uint64_t gap_end;   /* where it ends */
};

static void read_all(struct fixture *f, struct wal *wal, struct finding *finding)
{
    struct wal_cursor *cursor = fixture_cursor(f, wal, finding->positions.first_offset);
    uint64_t expected = finding->positions.first_offset;
    uint64_t bytes = UINT64_MAX; /* of the records so far, unless a gap leaves it open */
    for (;;) {
        struct wal_entry entry;
        int rc = wal_cursor_next(cursor, &entry);
        if (rc == -ENODATA)
            break;
        assert_int_equal(entry.offset, expected);
        if (rc == 0) {
            assert_true(record_is(entry.data, entry.size, entry.offset));
            assert_true(bytes == UINT64_MAX || bytes == entry.bytes_before);
            bytes = entry.bytes_before + entry.size;
            finding->served++;
            expected++;
            continue;
        }
        bytes = UINT64_MAX;
        assert_int_equal(rc, -EBADMSG);
        assert_true(entry.gap_end > entry.offset);
        if (finding->first_gap == UINT64_MAX) {
            finding->first_gap = entry.offset;
            finding->gap_end = entry.gap_end;
        }
        finding->missing += entry.gap_end - entry.offset;
        expected = entry.gap_end;
    }
    assert_int_equal(expected, finding->positions.committed_offset);
    assert_int_equal(finding->positions.next_bytes, finding->positions.committed_bytes);
    if (finding->positions.committed_offset == 0)
        assert_int_equal(finding->positions.committed_bytes, 0);
    else if (bytes != UINT64_MAX)
        assert_int_equal(finding->positions.committed_bytes, bytes);
    fixture_cursor_close(f, cursor);
}

/* Opens the store and the log, reads it from end to end, and leaves it open. */
static struct finding look(struct fixture *f)
{
    struct finding finding = {.first_gap = UINT64_MAX};
    struct wal *wal = NULL;
    fixture_open(f);
    finding.rc = store_get(f->store, FIXTURE_LOG, false, &wal);
    if (finding.rc < 0)
        return finding;
    store_put(f->store, wal);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    finding.status = wal_status(f->wal);
    finding.positions = positions_of(f->wal);
    finding.recovery = stats_of(f->wal).recovery;
    read_all(f, f->wal, &finding);
    return finding;
}

static struct finding look_and_close(struct fixture *f)
{
    struct finding finding = look(f);
    assert_int_equal(fixture_close(f), 0);
    return finding;
}

/* The log is whole up to `end`, takes appends, and is what it is at every later start, too. */
static void expect_healthy(struct fixture *f, uint64_t end)
{
    for (unsigned life = 0; life < 2; life++) {
        struct finding finding = look(f);
        assert_int_equal(finding.rc, 0);
        assert_int_equal(finding.status, 0);
        assert_int_equal(finding.positions.committed_offset, end + life);
        assert_int_equal(finding.served, end + life - finding.positions.first_offset);
        assert_int_equal(finding.missing, 0);
        assert_true(finding.recovery.damaged_offset == UINT64_MAX);
        if (life == 0)
            commit_number(f->wal, end, 50);
        assert_int_equal(fixture_close(f), 0);
    }
}

/* ---- Scenes --------------------------------------------------------------------------------------- */

/* A log whose process was killed right after `count` records were acknowledged, in a frame each: no
 * mark stands behind the last one. */
static struct fixture *killed_log(void **state, uint64_t count, size_t size)
{
    struct fixture *f = fixture_of(state);
    f->checks_overwrites = false;
    f->config.log.mark_idle_us = 0;
    fixture_begin(f);
    for (uint64_t i = 0; i < count; i++)
        commit_number(f->wal, i, size);
    fixture_run(f);
    fixture_kill(f);
    sim_settle(f->disk);
    return f;
}

/* As much as a power cut could have left of the last frame: these of its sectors. */
static void keep_sectors(struct fixture *f, const struct segment_file *file, uint64_t mask)
{
    const struct frame_at *frame = last_frame(file);
    static const uint8_t zeros[WAL_SECTOR_BYTES];
    assert_true(frame->bytes / WAL_SECTOR_BYTES <= 64); /* a bit for each */
    for (uint64_t i = 0; i < frame->bytes / WAL_SECTOR_BYTES; i++) {
        uint64_t at = frame->position + i * WAL_SECTOR_BYTES;
        const uint8_t *data = mask >> i & 1 ? file->data + at : zeros;
        assert_int_equal(sim_poke(f->disk, file->path, at, data, WAL_SECTOR_BYTES), 0);
    }
}

/* ---- Torn ends ------------------------------------------------------------------------------------ */

/* Edge case 13: a power cut may keep any of the sectors of the frame that was on its way. Whatever is
 * left of it, the log is what had been acknowledged, goes on from there, and says what it cut. */
static void a_torn_frame_is_cut_whatever_sectors_are_left(void **state)
{
    struct fixture *f = killed_log(state, 4, 3700);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    assert_int_equal(last_frame(file)->bytes, WAL_BLOCK_BYTES);
    for (uint64_t mask = 0; mask < 1u << SECTORS; mask++) {
        restore(f, file);
        keep_sectors(f, file, mask);
        bool whole = mask == (1u << SECTORS) - 1;
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.rc, 0);
        assert_int_equal(finding.status, 0);
        assert_int_equal(finding.served, whole ? 4 : 3);
        assert_int_equal(finding.positions.next_offset, whole ? 4 : 3);
        assert_int_equal(finding.recovery.torn_bytes, whole || mask == 0 ? 0 : WAL_BLOCK_BYTES);
        if (finding.recovery.torn_bytes > 0)
            assert_int_equal(finding.recovery.torn_offset, 3);
        assert_int_equal(torn_files_of(f).count, finding.recovery.torn_bytes > 0);
        if (mask % 16 == 5) {
            restore(f, file);
            keep_sectors(f, file, mask);
            expect_healthy(f, 3);
        }
    }
    free_segment(file);
}

/* The same for a frame of several blocks: stopped after any sector, and at any byte; and any sectors
 * of it at random. */
static void a_long_torn_frame_is_cut_wherever_it_stopped(void **state)
{
    /* A size that leaves no padding but the end mark: every byte counts. */
    struct fixture *f =
        killed_log(state, 3, 5 * WAL_BLOCK_BYTES - 8 - FRAME_HEADER_BYTES - ITEM_HEADER_BYTES);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    const struct frame_at *frame = last_frame(file);
    assert_int_equal(frame->bytes, 5 * WAL_BLOCK_BYTES);
    uint64_t sectors = frame->bytes / WAL_SECTOR_BYTES;
    for (uint64_t count = 0; count < sectors; count++) {
        restore(f, file);
        keep_sectors(f, file, (UINT64_C(1) << count) - 1);
        assert_int_equal(look_and_close(f).served, 2);
    }
    uint64_t random = 1;
    for (unsigned i = 0; i < 200; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t mask = random >> 20 & ((UINT64_C(1) << sectors) - 1);
        restore(f, file);
        keep_sectors(f, file, mask & ~(UINT64_C(1) << random % 7)); /* never all of them */
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.status, 0);
        assert_int_equal(finding.served, 2);
    }
    static uint8_t zeros[5 * WAL_BLOCK_BYTES];
    for (uint64_t kept = 1; kept < frame->bytes; kept += kept < 600 ? 7 : 331) {
        if (kept > frame->bytes - 8)
            break; /* the record is whole */
        restore(f, file);
        assert_int_equal(
            sim_poke(f->disk, file->path, frame->position + kept, zeros, frame->bytes - kept), 0);
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.rc, 0);
        assert_int_equal(finding.status, 0);
        assert_int_equal(finding.served, 2);
    }
    free_segment(file);
}

/* Nobody was told of those bytes, and yet somebody may want to look at them: they are kept. */
static void torn_bytes_are_set_aside_as_they_were(void **state)
{
    struct fixture *f = killed_log(state, 3, 9000);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    const struct frame_at *frame = last_frame(file);
    keep_sectors(f, file, 0x2f0f7);
    uint8_t *before = malloc(frame->bytes), *after = malloc(frame->bytes);
    assert_true(before && after);
    int64_t bytes =
        sim_peek(f->disk, file->path, SIM_CACHED, frame->position, before, frame->bytes);
    assert_int_equal(bytes, frame->bytes);
    struct finding finding = look_and_close(f);
    assert_int_equal(finding.recovery.torn_bytes, frame->bytes);
    assert_int_equal(finding.recovery.torn_offset, 2);
    struct torn_files torn = torn_files_of(f);
    assert_int_equal(torn.count, 1);
    assert_int_equal(strncmp(torn.name, "00000000000000000000.seg.torn.", 30), 0);
    const char *path = fixture_file(f, FIXTURE_LOG, torn.name);
    assert_int_equal(sim_peek(f->disk, path, SIM_DURABLE, 0, after, frame->bytes), frame->bytes);
    assert_memory_equal(before, after, frame->bytes);
    assert_int_equal(look_and_close(f).recovery.torn_bytes, 0);
    assert_int_equal(torn_files_of(f).count, 1);
    free(before);
    free(after);
    free_segment(file);
}

/* A disk too full for the copy must not keep the log from opening. */
static void a_full_disk_does_not_stop_the_cut(void **state)
{
    struct fixture *f = killed_log(state, 3, 9000);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    keep_sectors(f, file, 0x2f0f7);
    sim_options_of(f->disk)->capacity_blocks = sim_used_blocks(f->disk);
    struct finding finding = look_and_close(f);
    assert_int_equal(finding.rc, 0);
    assert_int_equal(finding.status, 0);
    assert_int_equal(finding.served, 2);
    sim_options_of(f->disk)->capacity_blocks = 0;
    expect_healthy(f, 2);
    free_segment(file);
}

/* Edge case 12: the repair of a torn end is itself cut short, at each of its operations, by power
 * cuts and by kills. The next repair finds the same log. */
static void a_cut_during_the_repair_changes_nothing(void **state)
{
    struct fixture *f = killed_log(state, 3, 17000);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    unsigned cut = 0;
    for (uint64_t k = 1;; k++) {
        restore(f, file);
        keep_sectors(f, file, k % 2 ? 0xff00ffff07 : 0x1);
        sim_settle(f->disk);
        sim_crash_seed(f->disk, k);
        sim_crash_at_change(f->disk, sim_changes(f->disk) + k);
        struct store *store;
        struct wal *wal;
        int rc = store_open(&store, f->path, &f->config, NULL);
        int got = rc < 0 ? rc : store_get(store, FIXTURE_LOG, false, &wal);
        bool died = sim_is_dead(f->disk);
        if (died || k % 2)
            sim_crash(f->disk);
        else
            sim_kill(f->disk);
        if (got == 0)
            store_put(store, wal);
        if (rc == 0)
            (void)store_close(store, UINT64_MAX);
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.status, 0);
        assert_int_equal(finding.served, 2);
        cut += died;
        if (!died)
            break;
    }
    assert_true(cut > 5);
    expect_healthy(f, 2);
    free_segment(file);
}

/* A disk that leaves garbage in a torn sector is not one that this format is made for: a refusal is
 * allowed there. What was acknowledged is served even so. */
static void garbage_in_a_torn_frame_loses_nothing(void **state)
{
    struct fixture *f = killed_log(state, 3, 3700);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    const struct frame_at *frame = last_frame(file);
    for (uint64_t mask = 1; mask < 1u << SECTORS; mask += 3) {
        restore(f, file);
        for (uint64_t i = 0; i < SECTORS; i++) {
            if (mask >> i & 1)
                sim_fill_garbage(f->disk, file->path, frame->position + i * WAL_SECTOR_BYTES,
                                 WAL_SECTOR_BYTES);
        }
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.rc, 0);
        assert_true(finding.served >= 2);
        if (finding.served < 3)
            assert_true(finding.status == -EBADMSG || finding.recovery.torn_bytes > 0);
    }
    free_segment(file);
}

/* ---- Damage in the last segment -------------------------------------------------------------------- */

/* Edge case 14: one bit, anywhere in the last frame, which no later one vouches for. A torn write
 * cannot look like that, so the frame was whole once, and may have been acknowledged: the log must not
 * cut it away and go on. */
static void a_flipped_bit_in_the_last_frame_is_damage(void **state)
{
    struct fixture *f = killed_log(state, 3, 3500);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    const struct frame_at *frame = last_frame(file);
    unsigned refused = 0;
    for (uint64_t at = 0; at < frame->bytes; at++) {
        restore(f, file);
        assert_int_equal(sim_flip_bit(f->disk, file->path, frame->position + at, at % 8), 0);
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.rc, 0);
        assert_int_equal(finding.recovery.torn_bytes, 0);
        if (finding.status == 0) {
            assert_int_equal(finding.served, 3); /* a byte that carries nothing */
            continue;
        }
        assert_int_equal(finding.status, -EBADMSG);
        assert_int_equal(finding.served, 2);
        assert_int_equal(finding.recovery.damaged_offset, 2);
        refused++;
    }
    assert_true(refused >= FRAME_HEADER_BYTES + ITEM_HEADER_BYTES + 3500);
    free_segment(file);
}

/* The same in the middle: everything on both sides is served, and the gap is told to the record. */
static void a_flipped_bit_in_a_middle_frame_is_a_gap(void **state)
{
    struct fixture *f = killed_log(state, 5, 3500);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    assert_int_equal(file->count, 6); /* state, and five records */
    const struct frame_at *frame = &file->frames[3];
    unsigned gaps = 0;
    for (uint64_t at = 0; at < frame->bytes; at++) {
        restore(f, file);
        assert_int_equal(sim_flip_bit(f->disk, file->path, frame->position + at, at % 8), 0);
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.rc, 0);
        assert_int_equal(finding.positions.committed_offset, 5);
        assert_int_equal(finding.served + finding.missing, 5);
        if (finding.missing == 0)
            continue;
        gaps++;
        assert_int_equal(finding.status, -EBADMSG);
        assert_int_equal(finding.missing, 1);
        assert_int_equal(finding.first_gap, 2);
        assert_int_equal(finding.gap_end, 3);
        assert_int_equal(finding.recovery.damaged_offset, 2);
    }
    assert_true(gaps >= FRAME_HEADER_BYTES + ITEM_HEADER_BYTES + 3500);
    free_segment(file);
}

/* Of a frame with many records only those are lost that the damage hits. */
static void a_flipped_bit_in_one_record_costs_that_record(void **state)
{
    struct fixture *f = killed_log(state, 1, 100);
    f->config.log.batch_delay_us = 10000000;
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    for (uint64_t i = 1; i < 11; i++)
        append_number(f->wal, i, 100);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    append_number(f->wal, 11, 100);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    fixture_kill(f);
    sim_settle(f->disk);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    assert_int_equal(file->frames[2].header.record_count, 10);
    uint64_t item = file->frames[2].position + FRAME_HEADER_BYTES + 4 * item_bytes(0, 100);
    assert_int_equal(sim_flip_bit(f->disk, file->path, item + ITEM_HEADER_BYTES + 50, 3), 0);
    struct finding finding = look_and_close(f);
    assert_int_equal(finding.status, -EBADMSG);
    assert_int_equal(finding.served, 11);
    assert_int_equal(finding.first_gap, 5);
    assert_int_equal(finding.gap_end, 6);
    free_segment(file);
}

/* Edge case 15: a block of zeros in the middle looks like the end of the log to whoever stops at the
 * first one. Edge case 13: so does the place of a mark or a state frame without records. */
static void a_zeroed_block_in_the_middle_is_damage(void **state)
{
    struct fixture *f = killed_log(state, 0, 1);
    f->config.log.mark_idle_us = 1000;
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    for (uint64_t i = 0; i < 6; i++) {
        commit_number(f->wal, i, i % 2 ? 9000 : 100);
        fixture_pause(f, 5000); /* a mark */
    }
    fixture_kill(f);
    sim_settle(f->disk);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    assert_true(file->count >= 12);
    const struct frame_at *last = last_frame(file);
    assert_true(last->header.flags & FRAME_MARK);
    for (uint64_t block = 2; block * WAL_BLOCK_BYTES < last->position; block++) {
        restore(f, file);
        assert_int_equal(sim_zero_block(f->disk, file->path, block), 0);
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.rc, 0);
        assert_int_equal(finding.status, -EBADMSG);
        assert_int_equal(finding.recovery.torn_bytes, 0);
        assert_int_equal(finding.positions.committed_offset, 6);
        assert_int_equal(finding.served + finding.missing, 6);
        assert_true(finding.missing <= 1); /* none if the block was a mark */
    }
    free_segment(file);
}

/* The state at the head of a segment was durable before the file had its name. */
static void a_damaged_state_frame_is_damage(void **state)
{
    struct fixture *f = killed_log(state, 3, 100);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    for (unsigned zeroed = 0; zeroed < 2; zeroed++) {
        restore(f, file);
        if (zeroed)
            sim_zero_block(f->disk, file->path, 1);
        else
            sim_flip_bit(f->disk, file->path, WAL_BLOCK_BYTES + 20, 1);
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.rc, 0);
        assert_int_equal(finding.status, -EBADMSG);
        assert_int_equal(finding.served, 3); /* records need no state */
    }
    free_segment(file);
}

/* What is damaged is left as it is, for whoever can do better; it is read, and takes nothing more;
 * and the logs beside it do not notice. */
static void a_damaged_log_reads_and_refuses_and_is_left_alone(void **state)
{
    struct fixture *f = killed_log(state, 5, 3500);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    sim_zero_block(f->disk, file->path, file->frames[3].position / WAL_BLOCK_BYTES);
    sim_poke(f->disk, file->path, file->frames[5].position + 512, "torn?", 5);
    sim_settle(f->disk);
    free_segment(file);
    file = calloc(1, sizeof(*file));
    assert_non_null(file);
    snprintf(file->path, sizeof(file->path), "%s", fixture_segment(f, FIXTURE_LOG, 0));
    sim_copy_file(f->disk, file->path, SIM_DURABLE, &file->data, &file->size);

    for (unsigned life = 0; life < 3; life++) {
        struct finding finding = look(f);
        assert_int_equal(finding.status, -EBADMSG);
        assert_int_equal(finding.served, 3); /* 0, 1 and 3: the last one is damaged, too */
        uint64_t bytes;
        assert_int_equal(wal_bytes_before(f->wal, 2, &bytes), -EBADMSG);
        assert_int_equal(wal_bytes_before(f->wal, 3, &bytes), 0);
        assert_int_equal(bytes, 3 * 3500);
        struct wal_record record = {.data = "x", .size = 1};
        struct witness witness;
        assert_int_equal(wal_append(f->wal, &record, 1, NULL, witness_handler(&witness), NULL),
                         -EBADMSG);
        assert_int_equal(wal_trim(f->wal, 1, NULL, NULL), -EBADMSG);
        assert_int_equal(wal_flush_async(f->wal, witness_handler(&witness)), -EBADMSG);
        struct store_stats stats;
        store_stats(f->store, &stats);
        assert_int_equal(stats.logs_damaged, 1);
        struct wal *other = fixture_get(f, "other", true);
        commit_number(other, life, 100);
        expect_numbers(f, other, 0, life + 1, 100);
        fixture_pause(f, 1000000);
        assert_int_equal(fixture_close(f), 0);
        assert_int_equal(witness.calls, 0);
        assert_true(is_unchanged(f, file));
        assert_int_equal(torn_files_of(f).count, 0);
    }
    free_segment(file);
}

/* ---- Blocks that strayed --------------------------------------------------------------------------- */

/* Edge case 16: a disk that wrote a block to the wrong place, or not at all, so that an older block
 * stands there. It has a checksum that matches, and is still not the one. */
static void a_block_from_elsewhere_is_never_taken_for_its_place(void **state)
{
    struct fixture *f = fixture_of(state);
    f->checks_overwrites = false;
    f->config.log.mark_idle_us = 0;
    f->config.log.segment_bytes = 32 << 10;
    fixture_begin(f);
    struct wal *other = fixture_get(f, "other", true);
    for (uint64_t i = 0; i < 10; i++) {
        commit_number(f->wal, i, 3000);
        commit_number(other, i, 3000);
    }
    fixture_run(f);
    fixture_kill(f);
    sim_settle(f->disk);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 1);
    assert_int_equal(file->count, 5); /* state, and 6 to 9 */
    char sources[3][256];
    snprintf(sources[0], 256, "%s", file->path);
    snprintf(sources[1], 256, "%s", fixture_segment(f, FIXTURE_LOG, 0));
    snprintf(sources[2], 256, "%s", fixture_segment(f, "other", 1));
    for (size_t source = 0; source < ARRAY_SIZE(sources); source++) {
        for (uint64_t from = 1; from < 6; from++) {
            for (uint64_t to = 2; to < 7; to++) {
                if (source == 0 && from == to)
                    continue;
                restore(f, file);
                sim_copy_block(f->disk, sources[source], from, file->path, to);
                struct finding finding = look_and_close(f);
                assert_int_equal(finding.rc, 0);
                assert_int_equal(finding.status, -EBADMSG);
                /* Behind the end nothing is lost; in the last frame's place it is not vouched for. */
                assert_int_equal(finding.served, to == 6 ? 10 : 9);
                assert_int_equal(finding.missing, to == 6 || to == 5 ? 0 : 1);
            }
        }
    }
    free_segment(file);
}

/* ---- Forgery --------------------------------------------------------------------------------------- */

/* A frame, whole in itself, of one record that nobody appended, as a client could send it. */
static void forge(uint8_t *frame, uint64_t salt, uint64_t position, uint64_t frame_no)
{
    struct item item = {.kind = ITEM_RECORD, .data = "forged!", .data_bytes = 7};
    item.crc = item_crc(NULL, 0, item.data, item.data_bytes);
    struct frame_header header = {
        .body_bytes = (uint32_t)item_bytes(0, 7),
        .base_offset = 1,
        .base_bytes = 100,
        .frame_no = frame_no,
        .durable_frame = frame_no,
        .position = position,
        .record_count = 1,
        .item_count = 1,
    };
    memset(frame, 0, WAL_BLOCK_BYTES);
    header.items_crc = item_encode(&item, 0, frame + FRAME_HEADER_BYTES);
    frame_finish(&header, frame);
    frame_header_encode(&header, salt, frame);
}

static bool is_zero(const uint8_t *data, size_t size)
{
    return data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

/* Edge case 17: a payload that holds well-formed frames at every block, made by somebody who knows
 * everything but the salt. Torn or whole, they stay payload: neither served, nor taken as a witness
 * that turns a torn end into damage. */
static void a_frame_inside_a_payload_is_payload(void **state)
{
    struct fixture *f = killed_log(state, 1, 100);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    struct wal *mine = fixture_get(f, "mine", true); /* whose salt the client might know */
    commit_number(mine, 0, 100);
    static uint8_t payload[7 * WAL_BLOCK_BYTES];
    const uint64_t begin =
        3 * (uint64_t)WAL_BLOCK_BYTES; /* of the frame that will hold the payload */
    const size_t lead = WAL_BLOCK_BYTES - FRAME_HEADER_BYTES - ITEM_HEADER_BYTES;
    record_fill(payload, sizeof(payload), 1);
    struct segment_file *hers = load_segment(f, "mine", 0);
    const uint64_t salts[] = {0, 1, hers->header.salt};
    for (uint64_t i = 0; i < 6; i++)
        forge(payload + lead + i * WAL_BLOCK_BYTES, salts[i % ARRAY_SIZE(salts)],
              begin + (i + 1) * WAL_BLOCK_BYTES, 3 + i);
    struct wal_record record = {.data = payload, .size = sizeof(payload)};
    assert_int_equal(wal_append(f->wal, &record, 1, NULL, NULL, NULL), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    fixture_kill(f);
    sim_settle(f->disk);

    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    const struct frame_at *frame = last_frame(file);
    assert_int_equal(frame->position, begin);
    assert_int_not_equal(file->header.salt, hers->header.salt);
    assert_memory_equal(file->data + begin + WAL_BLOCK_BYTES, payload + lead, WAL_BLOCK_BYTES);
    uint64_t used = (FRAME_HEADER_BYTES + frame->header.body_bytes) / WAL_SECTOR_BYTES;
    for (uint64_t lost = 0; lost <= used; lost++) {
        if (is_zero(file->data + begin + lost * WAL_SECTOR_BYTES, WAL_SECTOR_BYTES))
            continue; /* of a forged frame: nothing would be lost */
        restore(f, file);
        keep_sectors(f, file, ~(UINT64_C(1) << lost));
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.status, 0);
        assert_int_equal(finding.served, 1);
        assert_true(finding.recovery.torn_bytes > 0);
    }
    restore(f, file);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 1);
    struct wal_entry entry;
    assert_int_equal(wal_cursor_next(cursor, &entry), 0);
    assert_int_equal(entry.size, sizeof(payload));
    assert_memory_equal(entry.data, payload, sizeof(payload));
    assert_int_equal(wal_cursor_next(cursor, &entry), -ENODATA);
    free_segment(file);
    free_segment(hers);
}

/* Even a forger's reach has limits in the other direction: each segment has a salt of its own. */
static void every_segment_has_a_salt_of_its_own(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 32 << 10;
    fixture_begin(f);
    commit_number(fixture_get(f, "other", true), 0, 10);
    for (uint64_t i = 0; i < 30; i++)
        commit_number(f->wal, i, 3000);
    uint64_t salts[6];
    for (uint64_t i = 0; i < ARRAY_SIZE(salts); i++) {
        struct segment_file *file =
            i < 5 ? load_segment(f, FIXTURE_LOG, i) : load_segment(f, "other", 0);
        salts[i] = file->header.salt;
        for (uint64_t k = 0; k < i; k++)
            assert_true(salts[k] != salts[i]);
        free_segment(file);
    }
}

/* ---- Lengths that lie ------------------------------------------------------------------------------ */

static void put_u32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

/* The checksum as if whoever changed the header knew the salt. */
static void sign_frame(uint8_t *frame, uint64_t salt)
{
    uint8_t bytes[8];
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(salt >> (8 * i));
    uint32_t crc = crc32c(0, bytes, sizeof(bytes));
    put_u32(frame + FRAME_CRC_AT, crc32c(crc, frame + 8, FRAME_HEADER_BYTES - 8));
}

/* Edge case 18: lengths and counts that overflow, or point outside, in a header whose checksum
 * matches. None may be believed, in the last frame or in the middle. */
static void lengths_that_lie_are_not_believed(void **state)
{
    struct fixture *f = killed_log(state, 4, 3500);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    const struct {
        unsigned at;
        uint32_t value;
        bool of_item;
    } lies[] = {
        {FRAME_BODY_BYTES_AT, 0, false},
        {FRAME_BODY_BYTES_AT, 0xffffffff, false},
        {FRAME_BODY_BYTES_AT, 0xfffffff8, false},
        {FRAME_BODY_BYTES_AT, 1 << 20, false},
        {FRAME_BODY_BYTES_AT, 16, false},
        {FRAME_BODY_BYTES_AT, 8000, false},
        {FRAME_RECORDS_AT, 0, false},
        {FRAME_RECORDS_AT, 2, false},
        {FRAME_RECORDS_AT, 0xffffffff, false},
        {FRAME_ITEMS_AT, 0, false},
        {FRAME_ITEMS_AT, 2, false},
        {FRAME_ITEMS_AT, 0xffffffff, false},
        {ITEM_BYTES_AT, 0xffffffff, true},
        {ITEM_BYTES_AT, 0xfffffff0, true},
        {ITEM_BYTES_AT, 0, true},
        {ITEM_BYTES_AT, 3496, true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        for (size_t number = 3; number < 5; number++) {
            const struct frame_at *frame = &file->frames[number];
            uint8_t changed[WAL_BLOCK_BYTES];
            memcpy(changed, file->data + frame->position, sizeof(changed));
            put_u32(changed + lies[i].at + (lies[i].of_item ? FRAME_HEADER_BYTES : 0),
                    lies[i].value);
            if (lies[i].of_item) /* the sum of the item heads is in the frame's */
                put_u32(changed + 12, crc32c(0, changed + FRAME_HEADER_BYTES, ITEM_HEADER_BYTES));
            sign_frame(changed, file->header.salt);
            restore(f, file);
            sim_poke(f->disk, file->path, frame->position, changed, sizeof(changed));
            struct finding finding = look_and_close(f);
            assert_int_equal(finding.rc, 0);
            assert_int_equal(finding.served, 3);
            /* A last frame that claims more than is there is one whose write was cut short. */
            if (number == 4 && finding.recovery.torn_bytes > 0)
                assert_true(lies[i].at == FRAME_BODY_BYTES_AT && lies[i].value > 4096);
            else
                assert_int_equal(finding.status, -EBADMSG);
        }
    }
    free_segment(file);
}

/* A frame that is whole, at its place, under the right salt, and yet not the next one: an older version
 * of that block, as a disk gives back that lost a write. The chain is what tells. */
static void a_frame_out_of_sequence_is_not_taken(void **state)
{
    struct fixture *f = killed_log(state, 4, 3500);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    for (unsigned lie = 0; lie < 5; lie++) {
        for (size_t number = 3; number < 5; number++) {
            if (number == 3 && lie >= 2)
                continue; /* no disk has ever had such a frame, and a reader goes by what it says */
            struct frame_header header = file->frames[number].header;
            uint8_t changed[WAL_BLOCK_BYTES];
            memcpy(changed, file->data + file->frames[number].position, sizeof(changed));
            header.prev_crc ^= lie == 0;
            header.frame_no -= lie == 1;
            header.durable_frame = header.frame_no;
            header.base_offset += lie == 2;
            header.base_offset -= lie == 3;
            header.base_bytes += lie == 4 ? 8 : 0;
            frame_header_encode(&header, file->header.salt, changed);
            restore(f, file);
            sim_poke(f->disk, file->path, header.position, changed, sizeof(changed));
            struct finding finding = look_and_close(f);
            assert_int_equal(finding.rc, 0);
            assert_int_equal(finding.status, -EBADMSG);
            assert_true(finding.served >= 2);
        }
    }
    free_segment(file);
}

/* ---- Files that are missing, strayed or cut -------------------------------------------------------- */

/* A log of five segments and more, closed in good order. */
static struct fixture *many_segments(void **state)
{
    struct fixture *f = fixture_of(state);
    f->checks_overwrites = false;
    f->config.log.segment_bytes = 32 << 10;
    fixture_begin(f);
    for (uint64_t i = 0; i < 32; i++)
        commit_number(f->wal, i, 3000);
    assert_true(stats_of(f->wal).segments >= 5);
    assert_int_equal(fixture_close(f), 0);
    sim_settle(f->disk);
    return f;
}

static void write_file(struct fixture *f, const char *path, const void *data, size_t size)
{
    struct wal_io *io = sim_io(f->disk);
    int handle = io->ops->open_file(io, WAL_IO_CWD, path, WAL_OPEN_WRITE | WAL_OPEN_CREATE);
    assert_true(handle >= 0);
    assert_int_equal(io->ops->write(io, handle, data, size, 0, true), 0);
    io->ops->close(io, handle);
    sim_settle(f->disk);
}

/* Edge case 19: a segment in the middle is gone. What is left on both sides is served, and exactly
 * the rest is reported as missing. */
static void a_missing_segment_is_a_gap(void **state)
{
    struct fixture *f = many_segments(state);
    for (uint64_t number = 0; number < 4; number++) {
        struct segment_file *file = load_segment(f, FIXTURE_LOG, number);
        struct segment_file *next = load_segment(f, FIXTURE_LOG, number + 1);
        assert_int_equal(sim_delete(f->disk, file->path), 0);
        struct finding finding = look_and_close(f);
        uint64_t lost = next->header.base_offset - file->header.base_offset;
        assert_int_equal(finding.rc, 0);
        assert_int_equal(finding.status, -EBADMSG);
        assert_int_equal(finding.positions.committed_offset, 32);
        assert_int_equal(finding.missing, lost);
        assert_int_equal(finding.served, 32 - lost);
        assert_int_equal(finding.first_gap, file->header.base_offset);
        assert_true(finding.recovery.damaged_offset <= file->header.base_offset);
        write_file(f, file->path, file->data, file->size);
        free_segment(file);
        free_segment(next);
    }
    expect_healthy(f, 32);
}

/* Edge case 19: a file whose name and header disagree, by a rename or a copy of somebody. */
static void a_renamed_or_doubled_segment_is_not_served_twice(void **state)
{
    struct fixture *f = many_segments(state);
    struct segment_file *first = load_segment(f, FIXTURE_LOG, 1);
    struct segment_file *second = load_segment(f, FIXTURE_LOG, 2);
    /* A copy of 1 in the place of 2. */
    sim_delete(f->disk, second->path);
    write_file(f, second->path, first->data, first->size);
    struct finding finding = look_and_close(f);
    assert_int_equal(finding.status, -EBADMSG);
    assert_int_equal(finding.served + finding.missing, 32);
    assert_int_equal(finding.first_gap, second->header.base_offset);
    sim_delete(f->disk, second->path);
    write_file(f, second->path, second->data, second->size);

    /* A copy of 1 behind the end, with a number that is nobody's yet. */
    char path[256];
    snprintf(path, sizeof(path), "%s", fixture_segment(f, FIXTURE_LOG, 77));
    write_file(f, path, first->data, first->size);
    finding = look_and_close(f);
    assert_int_equal(finding.status, -EBADMSG);
    assert_int_equal(finding.served, 32);
    assert_int_equal(finding.missing, 0);
    sim_delete(f->disk, path);
    expect_healthy(f, 32);
    free_segment(first);
    free_segment(second);
}

/* Edge case 16: a whole segment of another log in the place of one of this log's, or behind its end.
 * Its records are not this log's, however well they check out, and it does not hide those that are. */
static void a_segment_of_another_log_is_not_served(void **state)
{
    struct fixture *f = many_segments(state);
    fixture_open(f);
    struct wal *other = fixture_get(f, "other", true);
    for (uint64_t i = 0; i < 60; i++)
        commit_number(other, 1000 + i, 3000); /* records that read_all() would not know */
    assert_int_equal(fixture_close(f), 0);
    sim_settle(f->disk);
    const uint64_t numbers[] = {0, 2, 3, 4, 8};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        char path[256];
        struct segment_file *foreign = load_segment(f, "other", numbers[i]);
        snprintf(path, sizeof(path), "%s", fixture_segment(f, FIXTURE_LOG, numbers[i]));
        uint8_t *mine = NULL;
        size_t size = 0;
        if (sim_copy_file(f->disk, path, SIM_DURABLE, &mine, &size) == 0)
            sim_delete(f->disk, path);
        write_file(f, path, foreign->data, foreign->size);
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.rc, 0);
        assert_int_equal(finding.status, -EBADMSG);
        assert_int_equal(finding.positions.committed_offset, 32);
        assert_int_equal(finding.served + finding.missing, 32);
        assert_in_range(finding.missing, mine ? 1 : 0, mine ? 6 : 0);
        sim_delete(f->disk, path);
        if (mine)
            write_file(f, path, mine, size);
        free(mine);
        free_segment(foreign);
    }
    expect_healthy(f, 32);
}

/* Edge case 19: what others left in the folder of a log is theirs, and in nobody's way; what the log
 * itself left half made goes. */
static void stray_files_are_left_alone_and_half_made_ones_go(void **state)
{
    struct fixture *f = many_segments(state);
    const char *strays[] = {"notes.txt",
                            "00000000000000000001.seg.bak",
                            "1.seg",
                            "0000000000000000000x.seg",
                            "99999999999999999999999.seg",
                            "184467440737095516160.seg",
                            "-0000000000000000001.seg",
                            "00000000000000000000.seg.torn.1"};
    for (size_t i = 0; i < ARRAY_SIZE(strays); i++)
        write_file(f, fixture_file(f, FIXTURE_LOG, strays[i]), "stray", 5);
    struct wal_io *io = sim_io(f->disk);
    const char *folder = fixture_file(f, FIXTURE_LOG, "00000000000000000099.seg");
    assert_int_equal(io->ops->make_dir(io, WAL_IO_CWD, folder), 0);
    write_file(f, fixture_file(f, FIXTURE_LOG, "next.tmp"), "half", 4);
    sim_settle(f->disk);
    expect_healthy(f, 32);
    for (size_t i = 0; i < ARRAY_SIZE(strays); i++)
        assert_true(sim_exists(f->disk, fixture_file(f, FIXTURE_LOG, strays[i]), SIM_CACHED));
    assert_false(sim_exists(f->disk, fixture_file(f, FIXTURE_LOG, "next.tmp"), SIM_CACHED));
}

/* A file that ends too early, at each length: in the last segment, which may be a torn end or more,
 * what is left is a beginning of the log; in a sealed one it is damage, since its successor knows how
 * long it was. */
static void a_file_cut_at_any_length_is_a_beginning_or_damage(void **state)
{
    struct fixture *f = many_segments(state);
    struct segment_file *last = load_segment(f, FIXTURE_LOG, 5);
    assert_true(last->count >= 2);
    uint64_t end = last_frame(last)->position + last_frame(last)->bytes;
    for (uint64_t size = 0; size <= last->size; size += size < end ? 173 : 4096) {
        restore(f, last);
        sim_truncate(f->disk, last->path, size);
        struct finding finding = look_and_close(f);
        if (size < WAL_BLOCK_BYTES) {
            assert_int_equal(finding.rc, 0);
            assert_int_equal(finding.status, -EBADMSG);
        } else if (size >= end) {
            assert_int_equal(finding.served, 32);
        }
        assert_true(finding.served >= last->header.base_offset || finding.status == -EBADMSG);
        assert_int_equal(finding.missing, 0);
    }
    restore(f, last);
    free_segment(last);

    struct segment_file *sealed = load_segment(f, FIXTURE_LOG, 1);
    end = last_frame(sealed)->position + last_frame(sealed)->bytes;
    for (uint64_t size = 0; size < end; size += 1531) {
        restore(f, sealed);
        sim_truncate(f->disk, sealed->path, size);
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.rc, 0);
        assert_int_equal(finding.positions.committed_offset, 32);
        assert_int_equal(finding.served + finding.missing, 32);
        assert_in_range(finding.missing, size < end - 1100 ? 1 : 0, 6);
        if (size <= end - WAL_BLOCK_BYTES) /* within the last block it is found when it is read */
            assert_int_equal(finding.status, -EBADMSG);
    }
    restore(f, sealed);
    expect_healthy(f, 32);
    free_segment(sealed);
}

/* A sealed segment is verified when it is read. Damage in it is a gap there, and no reason to refuse
 * what is appended elsewhere. */
static void damage_in_a_sealed_segment_is_found_when_it_is_read(void **state)
{
    struct fixture *f = many_segments(state);
    struct segment_file *sealed = load_segment(f, FIXTURE_LOG, 2);
    const struct frame_at *frame = &sealed->frames[3];
    for (uint64_t at = 0; at < frame->bytes; at += 61) {
        restore(f, sealed);
        sim_flip_bit(f->disk, sealed->path, frame->position + at, at % 8);
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.status, 0);
        assert_int_equal(finding.served + finding.missing, 32);
        assert_true(finding.missing <= 1);
        if (finding.missing)
            assert_int_equal(finding.first_gap, frame->header.base_offset);
    }
    for (size_t block = 1; block < 8; block++) {
        restore(f, sealed);
        sim_zero_block(f->disk, sealed->path, block);
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.missing, block == 1 ? 0 : 1);
        assert_int_equal(finding.served + finding.missing, 32);
    }
    restore(f, sealed);
    expect_healthy(f, 32);
    free_segment(sealed);
}

/* ---- Headers and versions -------------------------------------------------------------------------- */

/* One bit, anywhere in the header of a segment. In the middle of a log its neighbours are served; of a
 * log that has no other, nothing can be known, and it does not open. Either way nothing changes. */
static void a_damaged_header_costs_its_segment(void **state)
{
    struct fixture *f = many_segments(state);
    struct segment_file *middle = load_segment(f, FIXTURE_LOG, 2);
    struct segment_file *next = load_segment(f, FIXTURE_LOG, 3);
    uint64_t lost = next->header.base_offset - middle->header.base_offset;
    for (uint64_t at = 0; at < WAL_BLOCK_BYTES; at += at < 100 ? 1 : 37) {
        restore(f, middle);
        sim_flip_bit(f->disk, middle->path, at, at % 8);
        struct finding finding = look_and_close(f);
        assert_int_equal(finding.rc, 0);
        assert_int_equal(finding.status, -EBADMSG);
        assert_int_equal(finding.missing, lost);
        assert_int_equal(finding.served, 32 - lost);
    }
    free_segment(middle);
    free_segment(next);
}

static void a_log_without_any_whole_header_does_not_open(void **state)
{
    struct fixture *f = killed_log(state, 3, 100);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    for (uint64_t at = 0; at < WAL_BLOCK_BYTES; at += at < 100 ? 1 : 37) {
        restore(f, file);
        sim_flip_bit(f->disk, file->path, at, at % 8);
        struct finding finding = look(f);
        assert_int_equal(finding.rc, -EBADMSG);
        struct wal *wal;
        assert_int_equal(store_get(f->store, FIXTURE_LOG, true, &wal),
                         -EBADMSG); /* not made anew */
        assert_int_equal(fixture_close(f), 0);
    }
    restore(f, file);
    expect_healthy(f, 3);
    free_segment(file);
}

/* A segment or a frame of a newer version is whole, and not understood: hands off. */
static void a_newer_version_is_refused_and_left_alone(void **state)
{
    struct fixture *f = killed_log(state, 3, 100);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    uint8_t block[WAL_BLOCK_BYTES];
    memcpy(block, file->data, sizeof(block));
    block[SEGMENT_VERSION_AT] = WAL_FORMAT_VERSION + 1;
    put_u32(block + SEGMENT_CRC_AT, crc32c(0, block, SEGMENT_CRC_AT));
    sim_poke(f->disk, file->path, 0, block, sizeof(block));
    assert_int_equal(look_and_close(f).rc, -EPROTONOSUPPORT);

    restore(f, file);
    uint64_t position = last_frame(file)->position;
    memcpy(block, file->data + position, sizeof(block));
    block[FRAME_VERSION_AT] = WAL_FORMAT_VERSION + 1;
    sign_frame(block, file->header.salt);
    sim_poke(f->disk, file->path, position, block, sizeof(block));
    sim_settle(f->disk);
    uint8_t *before, *after;
    size_t size;
    sim_copy_file(f->disk, file->path, SIM_DURABLE, &before, &size);
    assert_int_equal(look_and_close(f).rc, -EPROTONOSUPPORT);
    sim_copy_file(f->disk, file->path, SIM_DURABLE, &after, &size);
    assert_memory_equal(before, after, size);
    free(before);
    free(after);
    restore(f, file);
    expect_healthy(f, 3);
    free_segment(file);
}

/* Edge case 28: offsets as after ages of appends. Written by hand, since nobody has the time; near
 * 2^62, which is where headers stop being believed, the log has to go on from there. */
static void offsets_near_two_to_the_62_are_offsets(void **state)
{
    struct fixture *f = killed_log(state, 0, 1);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    const uint64_t base = (UINT64_C(1) << 62) - 1000;
    uint8_t head[2 * WAL_BLOCK_BYTES];
    struct segment_header header = file->header;
    header.base_offset = base;
    header.base_bytes = UINT64_C(1) << 61;
    header.base_frame = UINT64_C(1) << 61;
    segment_header_encode(&header, head);
    struct frame_header frame = file->frames[0].header;
    frame.base_offset = base;
    frame.base_bytes = header.base_bytes;
    frame.frame_no = frame.durable_frame = header.base_frame;
    struct item item = {.kind = ITEM_TRIM, .data_bytes = 8};
    uint8_t before[8];
    for (unsigned i = 0; i < 8; i++)
        before[i] = (uint8_t)(base >> (8 * i));
    item.data = before;
    item.crc = item_crc(NULL, 0, before, 8);
    frame.body_bytes = (uint32_t)item_bytes(0, 8);
    frame.item_count = 1;
    frame.items_crc = item_encode(&item, 0, head + WAL_BLOCK_BYTES + FRAME_HEADER_BYTES);
    frame_finish(&frame, head + WAL_BLOCK_BYTES);
    frame_header_encode(&frame, header.salt, head + WAL_BLOCK_BYTES);
    sim_poke(f->disk, file->path, 0, head, sizeof(head));
    f->config.log.segment_bytes = 32 << 10;

    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    for (uint64_t i = 0; i < 20; i++) {
        struct wal_token token = append_number(f->wal, base + i, 3000);
        assert_true(token.begin == base + i);
        assert_int_equal(wait_for(f->wal, token), 0);
    }
    fixture_reopen(f);
    struct wal_positions positions = positions_of(f->wal);
    assert_true(positions.first_offset == base);
    assert_true(positions.committed_offset == base + 20);
    assert_true(stats_of(f->wal).total_bytes_written == header.base_bytes + 60000);
    expect_numbers(f, f->wal, base, base + 20, 3000);
    assert_int_equal(wal_trim(f->wal, base + 15, NULL, NULL), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_numbers(f, f->wal, base + 15, base + 20, 3000);
    assert_true(wal_offset_of_last(f->wal, 3) == base + 17);
    free_segment(file);
}

/* ---- What else a start finds out ------------------------------------------------------------------- */

/* Whether the log was closed in good order is what an operator asks first. */
static void the_clean_flag_tells_how_the_log_was_left(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.mark_idle_us = 0;
    fixture_begin(f);
    assert_true(stats_of(f->wal).recovery.clean); /* just made */
    commit_number(f->wal, 0, 100);
    fixture_kill(f);
    struct finding finding = look(f);
    assert_false(finding.recovery.clean);
    assert_int_equal(fixture_close(f), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_true(look_and_close(f).recovery.clean);
    (void)look(f);
    commit_number(f->wal, 1, 100);
    fixture_crash(f);
    finding = look(f);
    assert_false(finding.recovery.clean);
    assert_int_equal(finding.recovery.records, 2);
    assert_true(finding.recovery.frames > 0);
}

/* State and trim are found again where the end is torn: they are in the frames before. */
static void state_and_trim_survive_a_torn_end(void **state)
{
    struct fixture *f = killed_log(state, 4, 3500);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    struct wal_state_update update = state_update("key", "value");
    struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
    assert_int_equal(wal_append(f->wal, NULL, 0, &options, NULL, NULL), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(wal_trim(f->wal, 2, NULL, NULL), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    update = state_update("key", "torn away");
    uint8_t data[3500];
    record_fill(data, sizeof(data), 4);
    struct wal_record record = {.data = data, .size = sizeof(data)};
    assert_int_equal(wal_append(f->wal, &record, 1, &options, NULL, NULL), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    fixture_kill(f);
    sim_settle(f->disk);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    for (unsigned torn = 0; torn < 2; torn++) {
        restore(f, file);
        if (torn)
            keep_sectors(f, file, 0x3);
        struct finding finding = look(f);
        assert_int_equal(finding.positions.first_offset, 2);
        assert_int_equal(finding.positions.committed_offset, torn ? 4 : 5);
        expect_state(f->wal, "key", torn ? "value" : "torn away");
        assert_int_equal(fixture_close(f), 0);
    }
    free_segment(file);
}

/* ---- The same on a real disk ----------------------------------------------------------------------- */

/* What was acknowledged behind damage holds all the same: a trim is not undone by it, and the state is
 * not that of long ago. */
static void state_and_trim_behind_damage_still_hold(void **state)
{
    struct fixture *f = killed_log(state, 4, 3500);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    struct wal_state_update update = state_update("key", "newest");
    struct wal_append_options options = {WAL_ANY_OFFSET, &update, 1};
    struct wal_token token;
    assert_int_equal(wal_trim(f->wal, 2, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_int_equal(wal_append(f->wal, NULL, 0, &options, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_int_equal(fixture_close(f), 0);

    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    assert_int_equal(sim_flip_bit(f->disk, file->path, file->frames[2].position + 200, 3), 0);
    struct finding finding = look(f);
    assert_int_equal(finding.status, -EBADMSG);
    assert_int_equal(finding.positions.first_offset, 2);
    assert_int_equal(finding.served, 2);
    expect_state(f->wal, "key", "newest");
    assert_false(finding.recovery.clean);
    assert_int_equal(fixture_close(f), 0);
    free_segment(file);
}

/* One hurt record in the very last frame costs that record, as anywhere else. */
static void a_hurt_record_in_the_last_frame_costs_that_record(void **state)
{
    struct fixture *f = killed_log(state, 1, 100);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_int_equal(wait_for(f->wal, append_numbers(f->wal, 1, 100, 100)), 0);
    uint64_t bytes = positions_of(f->wal).committed_bytes;
    fixture_run(f);
    fixture_kill(f);
    sim_settle(f->disk);

    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    const struct frame_at *frame = last_frame(file);
    assert_int_equal(frame->header.record_count, 100);
    uint64_t first_payload = frame->position + FRAME_HEADER_BYTES + ITEM_HEADER_BYTES;
    assert_int_equal(sim_flip_bit(f->disk, file->path, first_payload, 0), 0);
    struct finding finding = look_and_close(f);
    assert_int_equal(finding.status, -EBADMSG);
    assert_int_equal(finding.served, 100);
    assert_int_equal(finding.missing, 1);
    assert_int_equal(finding.first_gap, 1);
    assert_int_equal(finding.positions.committed_bytes, bytes);
    free_segment(file);
}

/* A sector that cannot be read costs what stands there: not what stands before it, and nothing at all
 * where nothing stands. */
static void an_unreadable_sector_costs_what_stands_there(void **state)
{
    struct fixture *f = killed_log(state, 6, 3500);
    struct segment_file *file = load_segment(f, FIXTURE_LOG, 0);
    uint64_t behind = last_frame(file)->position + last_frame(file)->bytes + WAL_BLOCK_BYTES;
    assert_true(behind + WAL_SECTOR_BYTES < file->size);
    assert_int_equal(sim_fail_reads(f->disk, file->path, behind, behind + WAL_SECTOR_BYTES, -EIO),
                     0);
    struct finding finding = look_and_close(f);
    assert_int_equal(finding.status, 0);
    assert_int_equal(finding.served, 6);

    uint64_t inside = file->frames[4].position + 600;
    assert_int_equal(sim_fail_reads(f->disk, file->path, inside, inside + 8, -EIO), 0);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_int_equal(wal_status(f->wal), -EBADMSG);
    expect_numbers(f, f->wal, 0, 3, 3500);
    assert_int_equal(positions_of(f->wal).committed_offset, 6);
    assert_int_equal(fixture_close(f), 0);
    free_segment(file);
}

/* Recovery reads past the page cache, syncs, and writes, so its main cases are tried on real files,
 * too: damage in the middle, then a torn end. */
static void real_files_are_judged_the_same_way(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.mark_idle_us = 0;
    fixture_begin(f);
    for (uint64_t i = 0; i < 5; i++)
        commit_number(f->wal, i, 3500);
    assert_int_equal(fixture_close(f), 0);
    char path[1024];
    snprintf(path, sizeof(path), "%s", fixture_segment(f, FIXTURE_LOG, 0));
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    /* Header, state, five records, and the mark of the orderly end. */
    uint8_t saved[WAL_BLOCK_BYTES], block[WAL_BLOCK_BYTES] = {0};
    const off_t middle = 4 * (off_t)WAL_BLOCK_BYTES, mark = 7 * (off_t)WAL_BLOCK_BYTES;
    assert_int_equal(pread(fd, saved, sizeof(saved), middle), sizeof(saved));
    assert_int_equal(pwrite(fd, block, sizeof(block), middle), sizeof(block));
    struct finding finding = look_and_close(f);
    assert_int_equal(finding.status, -EBADMSG);
    assert_int_equal(finding.first_gap, 2);
    assert_int_equal(finding.served, 4);
    assert_int_equal(pwrite(fd, saved, sizeof(saved), middle), sizeof(saved));

    assert_int_equal(pwrite(fd, block, sizeof(block), mark), sizeof(block));
    assert_int_equal(pwrite(fd, block, 1024, mark - 2048),
                     1024); /* two sectors of the last record */
    close(fd);
    finding = look(f);
    assert_int_equal(finding.status, 0);
    assert_int_equal(finding.served, 4);
    assert_int_equal(finding.recovery.torn_bytes, WAL_BLOCK_BYTES);
    commit_number(f->wal, 4, 3500);
    assert_int_equal(fixture_close(f), 0);
    finding = look_and_close(f);
    assert_int_equal(finding.served, 5);
    assert_int_equal(finding.recovery.torn_bytes, 0);
}

int main(void)
{
    /* Thousands of stores are opened here: keep their memory rather than fetch it anew each time. */
    (void)mallopt(M_MMAP_THRESHOLD, 64 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 256 << 20);
    const struct CMUnitTest tests[] = {
        ON_SIM(a_torn_frame_is_cut_whatever_sectors_are_left),
        ON_SIM(a_long_torn_frame_is_cut_wherever_it_stopped),
        ON_SIM(torn_bytes_are_set_aside_as_they_were),
        ON_SIM(a_full_disk_does_not_stop_the_cut),
        ON_SIM(a_cut_during_the_repair_changes_nothing),
        ON_SIM(garbage_in_a_torn_frame_loses_nothing),
        ON_SIM(a_flipped_bit_in_the_last_frame_is_damage),
        ON_SIM(a_flipped_bit_in_a_middle_frame_is_a_gap),
        ON_SIM(a_flipped_bit_in_one_record_costs_that_record),
        ON_SIM(a_zeroed_block_in_the_middle_is_damage),
        ON_SIM(a_damaged_state_frame_is_damage),
        ON_SIM(a_damaged_log_reads_and_refuses_and_is_left_alone),
        ON_SIM(a_block_from_elsewhere_is_never_taken_for_its_place),
        ON_SIM(a_frame_inside_a_payload_is_payload),
        ON_SIM(every_segment_has_a_salt_of_its_own),
        ON_SIM(lengths_that_lie_are_not_believed),
        ON_SIM(a_frame_out_of_sequence_is_not_taken),
        ON_SIM(a_missing_segment_is_a_gap),
        ON_SIM(a_renamed_or_doubled_segment_is_not_served_twice),
        ON_SIM(a_segment_of_another_log_is_not_served),
        ON_SIM(stray_files_are_left_alone_and_half_made_ones_go),
        ON_SIM(a_file_cut_at_any_length_is_a_beginning_or_damage),
        ON_SIM(damage_in_a_sealed_segment_is_found_when_it_is_read),
        ON_SIM(a_damaged_header_costs_its_segment),
        ON_SIM(a_log_without_any_whole_header_does_not_open),
        ON_SIM(a_newer_version_is_refused_and_left_alone),
        ON_SIM(offsets_near_two_to_the_62_are_offsets),
        ON_SIM(the_clean_flag_tells_how_the_log_was_left),
        ON_SIM(state_and_trim_survive_a_torn_end),
        ON_SIM(state_and_trim_behind_damage_still_hold),
        ON_SIM(a_hurt_record_in_the_last_frame_costs_that_record),
        ON_SIM(an_unreadable_sector_costs_what_stands_there),
        ON_DISKS(real_files_are_judged_the_same_way),
        ON(driven, real_files_are_judged_the_same_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
