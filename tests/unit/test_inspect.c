/*
 * Looking at the files of a log, and repairing them. Each case makes the same log on the simulated
 * disk, hurts it in one place, and holds what the inspection says against what recovery and readers
 * find; then it is repaired, and read and appended to again. Repairs are cut short at each change of
 * the disk, too.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "wal/base.h"
#include "wal/format.h"
#include "wal/inspect.h"
#include "wal/inspect_folder.h"
#include "wal/repair.h"

enum { RECORDS = 24, SIZE = 3000, SEGMENTS_MAX = 16, FRAMES_MAX = 128 };

#define FOLDER "data/logs/" FIXTURE_LOG

/* What readers find. */
struct view {
    int status;
    uint64_t first, committed;
    bool served[RECORDS * 64];
    bool told[RECORDS * 64]; /* as a gap */
};

/* Full segments are packed before anything is hurt. */
static bool packs_segments;

static void make_log(struct fixture *f)
{
    sim_reset(f->disk, 7);
    f->config.pack = packs_segments;
    f->config.pack_compression = STORE_COMPRESSION_ZSTD;
    fixture_begin(f);
    for (uint64_t i = 0; i < RECORDS; i++) {
        commit_number(f->wal, i, SIZE);
        if (i == 3 || i == RECORDS - 3) {
            struct wal_state_update update = state_update("key", i == 3 ? "old" : "new");
            const struct wal_append_options options = {
                .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
            struct wal_token token;
            assert_int_equal(wal_append(f->wal, NULL, 0, &options, NULL, &token), 0);
            assert_int_equal(wait_for(f->wal, token), 0);
        }
    }
    fixture_settle(f);
    assert_int_equal(totals_of(f).packs > 0, packs_segments);
    f->config.pack = false;
    assert_int_equal(fixture_close(f), 0);
    sim_settle(f->disk);
    struct segment_header header;
    uint8_t block[WAL_BLOCK_BYTES];
    assert_int_equal(
        sim_peek(f->disk, FOLDER "/00000000000000000000.seg", SIM_DURABLE, 0, block, sizeof(block)),
        sizeof(block));
    assert_int_equal(segment_header_decode(&header, block), 0);
    assert_int_equal(header.kind, packs_segments ? SEGMENT_COMPRESSED : SEGMENT_APPENDED);
}

static struct fixture *begin(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 32 << 10;
    f->checks_overwrites = false;
    return f;
}

static void inspect(struct fixture *f, struct inspection *found)
{
    struct wal_io *io = sim_io(f->disk);
    int dir = io->ops->open_dir(io, WAL_IO_CWD, FOLDER);
    assert_true(dir >= 0);
    assert_int_equal(wal_inspect(io, dir, NULL, found), 0);
    io->ops->close(io, dir);
}

static void read_view(struct fixture *f, struct view *view)
{
    struct wal_entry entry;
    struct wal *wal = f->wal;
    int rc;
    memset(view, 0, sizeof(*view));
    view->status = wal_status(wal);
    view->first = positions_of(wal).first_offset;
    view->committed = positions_of(wal).committed_offset;
    struct wal_cursor *cursor = fixture_cursor(f, wal, view->first);
    while ((rc = wal_cursor_next(cursor, &entry)) != -ENODATA) {
        assert_true(rc == 0 || rc == -EBADMSG);
        for (uint64_t o = entry.offset; o < entry.gap_end || (rc == 0 && o == entry.offset); o++) {
            assert_true(o < ARRAY_SIZE(view->told));
            view->served[o] = rc == 0;
            view->told[o] = rc < 0;
        }
        if (rc == 0)
            assert_true(record_is(entry.data, entry.size, entry.offset));
    }
    fixture_cursor_close(f, cursor);
}

static void look(struct fixture *f, struct view *view)
{
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    read_view(f, view);
}

static bool is_in_damage(const struct inspection *found, uint64_t offset)
{
    for (size_t i = 0; i < found->damage_count; i++) {
        const struct inspect_damage *damage = &found->damages[i];
        if (offset >= damage->offset && offset < damage->offset_end)
            return true;
    }
    return false;
}

static bool is_named(const struct inspection *found, uint64_t segment_no, uint64_t position)
{
    for (size_t i = 0; i < found->damage_count; i++) {
        const struct inspect_damage *damage = &found->damages[i];
        if (damage->segment_no == segment_no && position >= damage->position &&
            position < damage->end)
            return true;
    }
    return found->torn_end > 0 && found->torn_segment == segment_no &&
           position >= found->torn_position && position < found->torn_end;
}

struct layout {
    uint64_t bytes[SEGMENTS_MAX]; /* of what is used of each segment */
    unsigned count;
    bool served[RECORDS * 64];
    struct inspect_frame frames[FRAMES_MAX];
    size_t frame_count;
};

/* What was done to a segment, and what has to be made of it. */
struct wound {
    uint64_t segment_no, begin, end;
    bool must_be_named;
    uint64_t
        lost_from; /* of the last file: nothing tells of records from there on; 0: all are told */
};

/* Every record of a frame that was not touched is served, but for those behind a tail that was cut:
 * nothing tells that they had ever been there. Without its header a segment is lost as a whole. */
static void check_served(const struct layout *layout, const struct wound *wound,
                         const struct inspection *found, const struct view *view)
{
    for (size_t i = 0; i < layout->frame_count; i++) {
        const struct inspect_frame *frame = &layout->frames[i];
        bool is_there = frame->segment_no == wound->segment_no;
        bool is_hurt =
            is_there &&
            (wound->begin < WAL_BLOCK_BYTES ||
             (wound->begin < frame->position + frame->bytes && wound->end > frame->position));
        for (uint64_t o = frame->base_offset;
             !is_hurt && o < frame->base_offset + frame->record_count; o++)
            assert_true(view->served[o] || o >= found->next_offset);
    }
}

/* What stood in a segment when it was repaired, and whether the copies have it. */
struct kept {
    uint8_t *data[SEGMENTS_MAX];
    size_t bytes[SEGMENTS_MAX];
};

static void keep(struct fixture *f, struct kept *kept)
{
    memset(kept, 0, sizeof(*kept));
    for (uint64_t s = 0; s < SEGMENTS_MAX; s++) {
        const char *path = fixture_segment(f, FIXTURE_LOG, s);
        if (sim_exists(f->disk, path, SIM_DURABLE))
            assert_int_equal(
                sim_copy_file(f->disk, path, SIM_DURABLE, &kept->data[s], &kept->bytes[s]), 0);
    }
}

/* The file that has the bytes of a place, which may have grown when the log was looked at anew. */
static const char *copy_of(struct fixture *f, const struct inspect_damage *damage,
                           const struct inspection *after, uint64_t *ret_begin)
{
    char name[DAMAGED_NAME_BYTES];
    *ret_begin = damage->position;
    damaged_name(name, damage->segment_no, damage->position, damage->end);
    for (size_t i = 0; i < after->damage_count; i++) {
        const struct inspect_damage *known = &after->damages[i];
        if (sim_exists(f->disk, fixture_file(f, FIXTURE_LOG, name), SIM_DURABLE))
            break;
        if (known->segment_no != damage->segment_no || known->position > damage->position ||
            known->end < damage->end)
            continue;
        *ret_begin = known->position;
        damaged_name(name, known->segment_no, known->position, known->end);
    }
    return fixture_file(f, FIXTURE_LOG, name);
}

static void check_kept(struct fixture *f, const struct kept *kept, const struct inspection *before,
                       const struct inspection *after)
{
    for (size_t i = 0; i < before->damage_count; i++) {
        const struct inspect_damage *damage = &before->damages[i];
        if (damage->lost != INSPECT_BYTES && damage->lost != INSPECT_HEADER)
            continue;
        uint64_t begin;
        uint8_t *copy;
        size_t bytes;
        const char *path = copy_of(f, damage, after, &begin);
        assert_int_equal(sim_copy_file(f->disk, path, SIM_DURABLE, &copy, &bytes), 0);
        const uint8_t *was = kept->data[damage->segment_no];
        for (uint64_t at = damage->position; at < damage->end; at++) {
            /* What the file lacks is as good as zeros. */
            assert_int_equal(at - begin < bytes ? copy[at - begin] : 0,
                             at < kept->bytes[damage->segment_no] ? was[at] : 0);
        }
        free(copy);
    }
}

static void kept_done(struct kept *kept)
{
    for (uint64_t s = 0; s < SEGMENTS_MAX; s++)
        free(kept->data[s]);
}

/* The log of one place that was hurt: named, told of, repaired, and none the worse for it. */
static void check_case(struct fixture *f, const struct wound *wound, const struct layout *layout)
{
    struct inspection before, after;
    struct view view, repaired;
    struct kept kept;
    const bool *old_served = layout->served;
    inspect(f, &before);
    if (wound->must_be_named)
        assert_true(is_named(&before, wound->segment_no, wound->begin));
    keep(f, &kept);

    look(f, &view);
    assert_int_equal(fixture_close(f), 0);
    if (before.verdict == INSPECT_INTACT)
        assert_int_equal(view.status, 0);
    if (before.verdict != INSPECT_DAMAGED)
        assert_int_equal(view.committed, before.next_offset);
    for (uint64_t o = 0; o < RECORDS; o++) {
        /* What the inspection does not call damaged is served, and what is not served is told. */
        if (!view.served[o])
            assert_true(is_in_damage(&before, o) || o >= before.next_offset);
        if (!view.served[o] && view.status == 0)
            assert_true(view.told[o] || o >= view.committed);
    }
    check_served(layout, wound, &before, &view);

    if (before.verdict == INSPECT_DAMAGED) {
        enum repair_plan plan;
        unsigned headers;
        fixture_open(f);
        int rc = store_repair(f->store, FIXTURE_LOG, &plan, &headers);
        assert_int_equal(fixture_close(f), 0);
        assert_int_equal(rc, 0);
        inspect(f, &after);
        check_kept(f, &kept, &before, &after);
        assert_int_equal(after.verdict, INSPECT_INTACT);
        assert_int_equal(after.damage_count, after.known_count);
        look(f, &repaired);
        assert_int_equal(repaired.status, 0);
        for (uint64_t o = 0; o < RECORDS; o++) {
            assert_true(repaired.served[o] >= view.served[o]);
            assert_true(repaired.served[o] || repaired.told[o] || !old_served[o] ||
                        (wound->lost_from > 0 && o >= wound->lost_from));
        }
        /* No offset is given twice, and the next ones are read back. */
        assert_true(positions_of(f->wal).next_offset >=
                    (wound->lost_from > 0 ? wound->lost_from : RECORDS));
        uint64_t next = positions_of(f->wal).next_offset;
        commit_number(f->wal, next, SIZE);
        expect_numbers(f, f->wal, next, next + 1, SIZE);
        assert_int_equal(fixture_close(f), 0);
        inspection_done(&after);
    }
    kept_done(&kept);
    inspection_done(&before);
}

static int note_frame(void *context, const struct inspect_frame *frame)
{
    struct layout *layout = context;
    assert_true(frame->segment_no < SEGMENTS_MAX);
    layout->bytes[frame->segment_no] = frame->position + frame->bytes;
    layout->count = (unsigned)frame->segment_no + 1;
    assert_true(layout->frame_count < FRAMES_MAX);
    layout->frames[layout->frame_count++] = *frame;
    return 0;
}

static void learn_layout(struct fixture *f, struct layout *layout)
{
    const struct inspect_visitor visitor = {.context = layout, .frame = note_frame};
    struct wal_io *io = sim_io(f->disk);
    struct inspection found;
    memset(layout, 0, sizeof(*layout));
    make_log(f);
    int dir = io->ops->open_dir(io, WAL_IO_CWD, FOLDER);
    assert_int_equal(wal_inspect(io, dir, &visitor, &found), 0);
    io->ops->close(io, dir);
    assert_int_equal(found.verdict, INSPECT_INTACT);
    assert_int_equal(found.damage_count, 0);
    assert_int_equal(found.records, RECORDS);
    assert_int_equal(found.next_offset, RECORDS);
    assert_true(found.clean);
    assert_true(layout->count >= 4);
    for (uint64_t o = 0; o < RECORDS; o++)
        layout->served[o] = true;
    inspection_done(&found);
}

static void every_block_of_zeros_is_named_and_repaired(void **state)
{
    struct fixture *f = begin(state);
    struct layout layout;
    learn_layout(f, &layout);
    for (uint64_t s = 0; s < layout.count; s++) {
        for (uint64_t at = 0; at < layout.bytes[s]; at += WAL_BLOCK_BYTES) {
            bool is_end = s + 1 == layout.count && at + WAL_BLOCK_BYTES == layout.bytes[s];
            make_log(f);
            assert_int_equal(
                sim_zero_block(f->disk, fixture_segment(f, FIXTURE_LOG, s), at / WAL_BLOCK_BYTES),
                0);
            /* The last frame, a mark, leaves nothing behind that could tell of it. */
            const struct wound wound = {s, at, at + WAL_BLOCK_BYTES, .must_be_named = !is_end};
            check_case(f, &wound, &layout);
        }
    }
}

/* With ALL=yes in the environment each byte and each length, which takes a minute or two. */
static uint64_t step(uint64_t usual)
{
    const char *all = getenv("ALL");
    return all && strcmp(all, "yes") == 0 ? 1 : usual;
}

/* How many cases there were; with ALL=yes somebody wants to know. */
static void tell(const char *what, unsigned cases)
{
    if (step(2) == 1)
        print_message("%s: %u cases\n", what, cases);
}

static void bytes_turned_everywhere_are_named_and_repaired(void **state)
{
    struct fixture *f = begin(state);
    struct layout layout;
    unsigned cases = 0;
    learn_layout(f, &layout);
    for (uint64_t s = 0; s < layout.count; s++) {
        for (uint64_t at = 0; at < layout.bytes[s];
             at += step(at % WAL_BLOCK_BYTES < 112 ? 3 : 251), cases++) {
            uint8_t byte = 0;
            const char *path = fixture_segment(f, FIXTURE_LOG, s);
            make_log(f);
            assert_int_equal(sim_peek(f->disk, path, SIM_DURABLE, at, &byte, 1), 1);
            byte ^= 0xff;
            assert_int_equal(sim_poke(f->disk, path, at, &byte, 1), 0);
            const struct wound wound = {s, at, at + 1, .must_be_named = true};
            check_case(f, &wound, &layout);
        }
    }
    tell("bytes turned", cases);
}

/* From where on a cut may be none: where the items of a segment's last frame end, of a log's last
 * segment those of its first. What follows are zeros and a mark, without which a frame is as good. */
static uint64_t may_end_at(const struct layout *layout, uint64_t segment_no)
{
    uint64_t end = 0;
    for (size_t i = 0; i < layout->frame_count; i++) {
        const struct inspect_frame *frame = &layout->frames[i];
        if (frame->segment_no == segment_no)
            end = frame->position + FRAME_HEADER_BYTES + frame->body_bytes;
        if (segment_no + 1 == layout->count && end > 0)
            break;
    }
    return end;
}

/* Zeros that a file lacks are as good as there. */
static bool is_zero_from(struct fixture *f, const char *path, uint64_t begin, uint64_t end)
{
    uint8_t byte = 0;
    for (; begin < end && byte == 0; begin++)
        assert_int_equal(sim_peek(f->disk, path, SIM_DURABLE, begin, &byte, 1), 1);
    return byte == 0;
}

/* The first record that a cut of the last file may take away without a trace. */
static uint64_t lost_from(const struct layout *layout, uint64_t segment_no, uint64_t cut)
{
    for (size_t i = 0; i < layout->frame_count; i++) {
        const struct inspect_frame *frame = &layout->frames[i];
        if (frame->segment_no == segment_no && frame->position + frame->bytes > cut)
            return frame->base_offset;
    }
    return RECORDS;
}

/* Of a log's last file a cut may leave what looks like an end; every other one is told, if it takes
 * more than what fills up a frame. */
static void every_length_is_named_and_repaired(void **state)
{
    struct fixture *f = begin(state);
    struct layout layout;
    unsigned cases = 0;
    learn_layout(f, &layout);
    for (uint64_t s = 0; s < layout.count; s++) {
        bool is_last = s + 1 == layout.count;
        for (uint64_t at = 0; at < layout.bytes[s]; at += step(509), cases++) {
            make_log(f);
            const char *path = fixture_segment(f, FIXTURE_LOG, s);
            bool may_hide = is_zero_from(f, path, at, may_end_at(&layout, s));
            assert_int_equal(sim_truncate(f->disk, path, at), 0);
            const struct wound wound = {.segment_no = s,
                                        .begin = at,
                                        .end = layout.bytes[s],
                                        .lost_from = is_last ? lost_from(&layout, s, at) : 0};
            struct inspection found;
            inspect(f, &found);
            assert_true(found.verdict != INSPECT_INTACT || may_hide);
            inspection_done(&found);
            check_case(f, &wound, &layout);
        }
    }
    tell("lengths", cases);
}

static void repair_at_once(struct fixture *f)
{
    struct inspection found;
    enum repair_plan plan;
    unsigned headers;
    inspect(f, &found);
    assert_int_equal(found.verdict, INSPECT_DAMAGED);
    inspection_done(&found);
    fixture_open(f);
    assert_int_equal(store_repair(f->store, FIXTURE_LOG, &plan, &headers), 0);
    assert_int_equal(fixture_close(f), 0);
    inspect(f, &found);
    assert_int_equal(found.verdict, INSPECT_INTACT);
    assert_int_equal(found.damage_count, found.known_count);
    inspection_done(&found);
}

/* Each frame of the last segment as one of another life of the log, with nothing behind it: the repair
 * blanks it, and then nothing stands where there had been something. */
static void a_frame_that_follows_nothing_is_repaired_at_once(void **state)
{
    struct fixture *f = begin(state);
    struct layout layout;
    learn_layout(f, &layout);
    const uint64_t s = layout.count - 1;
    for (size_t i = 0; i < layout.frame_count; i++) {
        _Alignas(WAL_BLOCK_BYTES) uint8_t block[WAL_BLOCK_BYTES];
        struct segment_header segment;
        struct frame_header frame;
        const uint64_t at = layout.frames[i].position;
        if (layout.frames[i].segment_no != s)
            continue;
        make_log(f);
        const char *path = fixture_segment(f, FIXTURE_LOG, s);
        assert_int_equal(sim_peek(f->disk, path, SIM_DURABLE, 0, block, sizeof(block)),
                         sizeof(block));
        assert_int_equal(segment_header_decode(&segment, block), 0);
        assert_int_equal(sim_peek(f->disk, path, SIM_DURABLE, at, block, sizeof(block)),
                         sizeof(block));
        assert_int_equal(frame_header_decode(&frame, segment.salt, at, block), 0);
        frame.prev_crc ^= 1;
        frame_header_encode(&frame, segment.salt, block);
        assert_int_equal(sim_poke(f->disk, path, at, block, sizeof(block)), 0);
        for (uint64_t next = at + WAL_BLOCK_BYTES; next < layout.bytes[s]; next += WAL_BLOCK_BYTES)
            assert_int_equal(sim_zero_block(f->disk, path, next / WAL_BLOCK_BYTES), 0);
        repair_at_once(f);
    }
}

/* A file ends within a frame of which the header is there, and within a block; the header of the next
 * one, which would say how long it was, is lost. */
static void half_a_frame_before_a_lost_header_is_repaired_at_once(void **state)
{
    enum { BATCH = 8, LENGTH = 1000 };
    struct fixture *f = begin(state);
    for (uint64_t blocks = 2; blocks < f->config.log.segment_bytes / WAL_BLOCK_BYTES - 1;
         blocks++) {
        sim_reset(f->disk, 7);
        fixture_begin(f);
        for (uint64_t i = 0; i < 2 * RECORDS; i += BATCH)
            commit_numbers(f->wal, i, BATCH, SIZE);
        assert_int_equal(fixture_close(f), 0);
        sim_settle(f->disk);
        const char *path = fixture_segment(f, FIXTURE_LOG, 0);
        assert_int_equal(sim_truncate(f->disk, path, blocks * WAL_BLOCK_BYTES + LENGTH), 0);
        path = fixture_segment(f, FIXTURE_LOG, 1);
        assert_int_equal(sim_zero_block(f->disk, path, 0), 0);
        repair_at_once(f);
    }
}

static void swap_blocks(struct fixture *f, const char *one, const char *other, uint64_t at)
{
    uint8_t a[WAL_BLOCK_BYTES], b[WAL_BLOCK_BYTES];
    assert_int_equal(sim_peek(f->disk, one, SIM_DURABLE, at, a, sizeof(a)), sizeof(a));
    assert_int_equal(sim_peek(f->disk, other, SIM_DURABLE, at, b, sizeof(b)), sizeof(b));
    assert_int_equal(sim_poke(f->disk, one, at, b, sizeof(b)), 0);
    assert_int_equal(sim_poke(f->disk, other, at, a, sizeof(a)), 0);
}

/* A second log of the same shape, from which blocks stray into the first. */
static void make_two_logs(struct fixture *f)
{
    make_log(f);
    fixture_open(f);
    struct wal *other = fixture_get(f, "other", true);
    for (uint64_t i = 0; i < RECORDS; i++)
        commit_number(other, 1000 + i, SIZE);
    assert_int_equal(fixture_close(f), 0);
    sim_settle(f->disk);
}

/* Every block of each segment with the same block of the next segment, and of the other log. What is
 * in its place there is as well written as any, but for the place. */
static void blocks_that_changed_places_are_named_and_repaired(void **state)
{
    struct fixture *f = begin(state);
    struct layout layout;
    char one[512], other[512];
    unsigned cases = 0;
    learn_layout(f, &layout);
    for (unsigned how = 0; how < 2; how++) {
        for (uint64_t s = 0; s + 1 < layout.count; s++) {
            for (uint64_t at = 0; at < min_u64(layout.bytes[s], layout.bytes[s + 1]);
                 at += WAL_BLOCK_BYTES, cases++) {
                make_two_logs(f);
                strcpy(one, fixture_segment(f, FIXTURE_LOG, s));
                strcpy(other, how == 0 ? fixture_segment(f, FIXTURE_LOG, s + 1)
                                       : fixture_segment(f, "other", s));
                swap_blocks(f, one, other, at);
                struct wound wound = {s, at, at + WAL_BLOCK_BYTES, .must_be_named = true};
                struct layout untouched = layout;
                /* Two places are hurt: of the frames of the other segment nothing is asked. */
                for (size_t i = 0; how == 0 && i < untouched.frame_count; i++) {
                    if (untouched.frames[i].segment_no == s + 1)
                        untouched.frames[i].record_count = 0;
                }
                check_case(f, &wound, &untouched);
            }
        }
    }
    tell("blocks swapped", cases);
}

static void headers_are_made_again_without_loss(void **state)
{
    struct fixture *f = begin(state);
    struct layout layout;
    learn_layout(f, &layout);
    make_log(f);
    for (uint64_t s = 1; s < layout.count; s++)
        assert_int_equal(sim_zero_block(f->disk, fixture_segment(f, FIXTURE_LOG, s), 0), 0);
    enum repair_plan plan;
    unsigned headers;
    fixture_open(f);
    assert_int_equal(store_repair(f->store, FIXTURE_LOG, &plan, &headers), 0);
    assert_int_equal(headers, layout.count - 1);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    expect_numbers(f, f->wal, 0, RECORDS, SIZE);
    expect_state(f->wal, "key", "new");
    commit_number(f->wal, RECORDS, SIZE);
    assert_int_equal(fixture_close(f), 0);
    struct inspection found;
    inspect(f, &found);
    assert_int_equal(found.verdict, INSPECT_INTACT);
    assert_int_equal(found.damage_count, 0);
    inspection_done(&found);
}

/* How many records stood in a last frame without a header nobody knows: offsets that may have been
 * given are passed over. */
static void a_last_frame_without_a_header_keeps_its_offsets(void **state)
{
    struct fixture *f = begin(state);
    struct inspection found;
    sim_reset(f->disk, 7);
    fixture_begin(f);
    commit_number(f->wal, 0, SIZE);
    commit_numbers(f->wal, 1, RECORDS - 1, 100);
    fixture_kill(f);
    sim_settle(f->disk);
    uint8_t byte = 0x77; /* of the magic of the third frame: the state, one record, the others */
    assert_int_equal(
        sim_poke(f->disk, fixture_segment(f, FIXTURE_LOG, 0), 3 * WAL_BLOCK_BYTES, &byte, 1), 0);
    inspect(f, &found);
    assert_int_equal(found.verdict, INSPECT_DAMAGED);
    assert_int_equal(found.damage_count, 1);
    assert_int_equal(found.damages[0].offset, 1);
    assert_true(found.damages[0].offset_end == INSPECT_UNKNOWN);
    inspection_done(&found);
    const struct layout layout = {.served = {true}};
    const struct wound wound = {0, 3 * WAL_BLOCK_BYTES, 4 * WAL_BLOCK_BYTES, .must_be_named = true};
    check_case(f, &wound, &layout);
}

/* Opening a log clears what was torn; an inspection only tells of it. */
static void a_torn_end_is_told_from_damage(void **state)
{
    struct fixture *f = begin(state);
    struct inspection found;
    enum repair_plan plan;
    unsigned headers;
    sim_reset(f->disk, 7);
    fixture_begin(f);
    for (uint64_t i = 0; i < 3; i++)
        commit_number(f->wal, i, SIZE);
    fixture_kill(f);
    sim_settle(f->disk);
    const char *path = fixture_segment(f, FIXTURE_LOG, 0);
    static const uint8_t zeros[WAL_SECTOR_BYTES];
    assert_int_equal(
        sim_poke(f->disk, path, 4 * WAL_BLOCK_BYTES + 2 * WAL_SECTOR_BYTES, zeros, sizeof(zeros)),
        0);
    inspect(f, &found);
    assert_int_equal(found.verdict, INSPECT_TORN);
    assert_int_equal(found.damage_count, 0);
    assert_int_equal(found.torn_position, 4 * WAL_BLOCK_BYTES);
    assert_int_equal(found.next_offset, 2);
    assert_int_equal(repair_plan(&found), REPAIR_TORN);
    inspection_done(&found);
    fixture_open(f);
    assert_int_equal(store_repair(f->store, FIXTURE_LOG, &plan, &headers), 0);
    assert_int_equal(plan, REPAIR_TORN);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    expect_numbers(f, f->wal, 0, 2, SIZE);
    assert_int_equal(fixture_close(f), 0);
    inspect(f, &found);
    assert_int_equal(found.verdict, INSPECT_INTACT);
    inspection_done(&found);
}

/* An empty file stands in for it, and its records are a gap. */
static void a_missing_segment_becomes_a_gap(void **state)
{
    struct fixture *f = begin(state);
    struct layout layout;
    learn_layout(f, &layout);
    for (uint64_t s = 0; s + 1 < layout.count; s++) {
        for (unsigned how = 0; how < 3; how++) {
            make_log(f);
            const char *path = fixture_segment(f, FIXTURE_LOG, s);
            if (how == 0)
                assert_int_equal(sim_delete(f->disk, path), 0);
            else
                assert_int_equal(sim_truncate(f->disk, path, how == 1 ? 0 : 3 * WAL_BLOCK_BYTES),
                                 0);
            if (how == 0 && s + 2 < layout.count) /* two at once */
                assert_int_equal(sim_delete(f->disk, fixture_segment(f, FIXTURE_LOG, s + 1)), 0);
            const struct wound wound = {s, 3 * WAL_BLOCK_BYTES, layout.bytes[s],
                                        .must_be_named = how == 2};
            struct layout untouched = layout;
            for (size_t i = 0; how < 2 && i < untouched.frame_count; i++) {
                uint64_t segment_no = untouched.frames[i].segment_no;
                if (segment_no == s || (how == 0 && segment_no == s + 1))
                    untouched.frames[i].record_count = 0;
            }
            check_case(f, &wound, &untouched);
        }
    }
}

static void a_log_without_a_whole_header_is_beyond_repair(void **state)
{
    struct fixture *f = begin(state);
    struct inspection found;
    enum repair_plan plan;
    unsigned headers;
    sim_reset(f->disk, 7);
    fixture_begin(f);
    assert_int_equal(fixture_close(f), 0);
    sim_settle(f->disk);
    assert_int_equal(sim_truncate(f->disk, fixture_segment(f, FIXTURE_LOG, 0), 0), 0);
    inspect(f, &found);
    assert_int_equal(found.verdict, INSPECT_DAMAGED);
    inspection_done(&found);
    fixture_open(f);
    assert_int_equal(store_repair(f->store, FIXTURE_LOG, &plan, &headers), -EBADMSG);
    assert_int_equal(headers, 0);
    assert_int_equal(store_repair(f->store, "none", &plan, &headers), -ENOENT);
}

static void hurt(struct fixture *f, const struct layout *layout, unsigned what)
{
    uint64_t last = layout->count - 1;
    make_log(f);
    if (what == 0)
        sim_zero_block(f->disk, fixture_segment(f, FIXTURE_LOG, last), 2);
    else if (what == 1)
        sim_zero_block(f->disk, fixture_segment(f, FIXTURE_LOG, last), 1);
    else if (what == 2)
        sim_zero_block(f->disk, fixture_segment(f, FIXTURE_LOG, 1), 3);
    else if (what == 3)
        sim_zero_block(f->disk, fixture_segment(f, FIXTURE_LOG, last), 0);
    else if (what == 4)
        sim_delete(f->disk, fixture_segment(f, FIXTURE_LOG, 1));
    else
        sim_truncate(f->disk, fixture_segment(f, FIXTURE_LOG, 1), 3 * WAL_BLOCK_BYTES);
    sim_settle(f->disk);
}

static void a_repair_that_is_cut_short_is_begun_again(void **state)
{
    struct fixture *f = begin(state);
    struct layout layout;
    struct view whole, view;
    learn_layout(f, &layout);
    for (unsigned what = 0; what < 6; what++) {
        hurt(f, &layout, what);
        look(f, &whole);
        assert_int_equal(fixture_close(f), 0);
        bool died = true;
        unsigned cuts = 0;
        for (uint64_t k = 1; died; k++) {
            hurt(f, &layout, what);
            enum repair_plan plan;
            unsigned headers;
            sim_crash_seed(f->disk, k);
            fixture_open(f);
            sim_crash_at_change(f->disk, sim_changes(f->disk) + k);
            int rc = store_repair(f->store, FIXTURE_LOG, &plan, &headers);
            died = sim_is_dead(f->disk);
            assert_true(died || rc == 0);
            cuts += died;
            fixture_crash(f);
            /* As damaged as before, or repaired: never cut off in silence. */
            look(f, &view);
            for (uint64_t o = 0; o < RECORDS; o++)
                assert_true(view.served[o] >= whole.served[o]);
            assert_int_equal(fixture_close(f), 0);
            fixture_open(f);
            assert_int_equal(store_repair(f->store, FIXTURE_LOG, &plan, &headers), 0);
            f->wal = fixture_get(f, FIXTURE_LOG, false);
            read_view(f, &view);
            assert_int_equal(view.status, 0);
            for (uint64_t o = 0; o < RECORDS; o++)
                assert_true(view.served[o] >= whole.served[o] && (view.served[o] || view.told[o]));
            expect_state(f->wal, "key", "new");
            assert_int_equal(fixture_close(f), 0);
        }
        assert_true(cuts > 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SIM(every_block_of_zeros_is_named_and_repaired),
        ON_SIM(bytes_turned_everywhere_are_named_and_repaired),
        ON_SIM(every_length_is_named_and_repaired),
        ON_SIM(a_frame_that_follows_nothing_is_repaired_at_once),
        ON_SIM(half_a_frame_before_a_lost_header_is_repaired_at_once),
        ON_SIM(blocks_that_changed_places_are_named_and_repaired),
        ON_SIM(headers_are_made_again_without_loss),
        ON_SIM(a_last_frame_without_a_header_keeps_its_offsets),
        ON_SIM(a_torn_end_is_told_from_damage),
        ON_SIM(a_missing_segment_becomes_a_gap),
        ON_SIM(a_log_without_a_whole_header_is_beyond_repair),
        ON_SIM(a_repair_that_is_cut_short_is_begun_again),
    };
    int failed = cmocka_run_group_tests_name("as appended", tests, NULL, NULL);
    packs_segments = true;
    return failed + cmocka_run_group_tests_name("compressed", tests, NULL, NULL);
}
