/*
 * What a disk does to bytes that were durable, and what a log may make of it. The judge compares
 * the files before and after: a frame is hurt if any of its bytes changed, or if the header of its
 * segment did. Then, whatever was done:
 *
 *   nothing that reads differs from what was appended
 *   every record of a frame that is not hurt is served, unless the tail was cut at a hurt frame
 *   whatever is not served is told as a gap, and a gap hides no frame that is not hurt
 *   the tail may be cut in silence only if nothing behind the cut tells that it had been durable,
 *   and what stands there can come from a torn write
 *   a log that is not hurt is as it was; one that refuses appends changes nothing on the disk
 *   one that refuses appends takes them again once it is repaired, and the rules above hold as before
 *   a scrub tells of all that is not served, and of nothing that is not hurt (scrub.c)
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/history.h"
#include "tests/crash/layout.h"
#include "tests/crash/wound.h"
#include "wal/base.h"
#include "wal/compress.h"
#include "wal/repair.h"

typedef unsigned long long ull;

static struct layout before[LOGS_MAX], after;
static struct wound wounds[LOGS_MAX];

/* ---- breaking -------------------------------------------------------------------------------- */

static const struct layout_segment *any_segment(struct history *history, unsigned number)
{
    const struct layout *layout = &before[number];

    if (layout->segment_count == 0)
        return NULL;
    if (random_percent(&history->random, 60))
        return &layout->segments[layout->segment_count - 1];
    return &layout->segments[random_below(&history->random, layout->segment_count)];
}

/* A place in the written part of a segment, mostly. */
static uint64_t any_position(struct history *history, const struct layout_segment *segment)
{
    uint64_t limit = segment->size;

    if (segment->is_readable && random_percent(&history->random, 90))
        limit = segment->end;
    return random_below(&history->random, limit);
}

static void flip_bits(struct history *history, const struct layout_segment *segment)
{
    for (unsigned i = random_between(&history->random, 1, 3); i > 0; i--)
        sim_flip_bit(history->disk, segment->path, any_position(history, segment),
                     random_below(&history->random, 8));
}

static void zero_blocks(struct history *history, const struct layout_segment *segment)
{
    uint64_t block = any_position(history, segment) / WAL_BLOCK_BYTES;

    for (unsigned i = random_between(&history->random, 1, 3); i > 0; i--)
        sim_zero_block(history->disk, segment->path, block++);
}

/* A block behind the header that stands where another one should. */
static void copy_block(struct history *history, const struct layout_segment *segment)
{
    const struct layout_segment *from =
        any_segment(history, random_below(&history->random, history->swarm.log_count));
    uint64_t block = any_position(history, segment) / WAL_BLOCK_BYTES;

    if (!from || block == 0)
        return;
    /* The same place of another file is what a lost remapping brings. */
    uint64_t from_block = random_percent(&history->random, 50)
                              ? block
                              : any_position(history, from) / WAL_BLOCK_BYTES;

    if (from_block > 0)
        sim_copy_block(history->disk, from->path, from_block, segment->path, block);
}

/* The beginning of another file. With frames of that file behind it nobody could tell. */
static void copy_header(struct history *history)
{
    unsigned count = history->swarm.log_count;
    const struct layout_segment *from = any_segment(history, random_below(&history->random, count));
    const struct layout_segment *to = any_segment(history, random_below(&history->random, count));

    if (from && to)
        sim_copy_block(history->disk, from->path, 0, to->path, 0);
}

static void fill_garbage(struct history *history, const struct layout_segment *segment)
{
    uint64_t position = any_position(history, segment) / WAL_SECTOR_BYTES * WAL_SECTOR_BYTES;

    sim_fill_garbage(history->disk, segment->path, position,
                     random_percent(&history->random, 50) ? WAL_SECTOR_BYTES : WAL_BLOCK_BYTES);
}

static void cut_file(struct history *history, const struct layout_segment *segment)
{
    uint64_t size = any_position(history, segment);

    if (random_percent(&history->random, 70))
        size = size / WAL_BLOCK_BYTES * WAL_BLOCK_BYTES;
    sim_truncate(history->disk, segment->path, size);
}

/* Not the last one: that it ever was nobody can know. */
static void delete_segment(struct history *history, unsigned number)
{
    const struct layout *layout = &before[number];

    if (layout->segment_count > 1)
        sim_delete(
            history->disk,
            layout->segments[random_below(&history->random, layout->segment_count - 1)].path);
}

/* A frame of the last segment as another life of the same file would have written it, and nothing
 * behind it: a backup put back half. Every checksum is right, only the chain is not. */
static void graft_frame(struct history *history, unsigned number)
{
    const struct layout *layout = &before[number];
    unsigned first = layout->frame_count;

    while (first > 0 && layout->frames[first - 1].segment + 1 == layout->segment_count)
        first--;
    if (first == layout->frame_count)
        return;
    const struct layout_frame *frame =
        &layout->frames[first + random_below(&history->random, layout->frame_count - first)];
    const struct layout_segment *segment = &layout->segments[frame->segment];
    struct frame_header header = frame->header;
    uint8_t *copy = malloc(frame->size);

    must(copy);
    memcpy(copy, segment->bytes + frame->position, frame->size);
    uint8_t *body = copy + FRAME_HEADER_BYTES;
    struct item_walk walk = item_walk_of(&header, body);
    struct item item;
    uint32_t items_crc = 0;

    while (item_next(&walk, &item) == 0) {
        uint8_t *at = body + ((const uint8_t *)item.attributes - body) - ITEM_HEADER_BYTES;
        uint8_t *data = at + ITEM_HEADER_BYTES + item.attribute_bytes;

        if (item.kind == ITEM_RECORD)
            data[0] ^= 1;
        item.crc = item_crc(item.attributes, item.attribute_bytes, data, item.data_bytes);
        items_crc = item_encode(&item, items_crc, at);
    }
    header.items_crc = items_crc;
    header.prev_crc ^= 0x1000;
    frame_header_encode(&header, segment->header.salt, copy);
    sim_poke(history->disk, segment->path, frame->position, copy, frame->size);
    free(copy);
    for (uint64_t at = frame->position + frame->size; at < segment->end; at += WAL_BLOCK_BYTES)
        sim_zero_block(history->disk, segment->path, at / WAL_BLOCK_BYTES);
}

static void hurt_something(struct history *history)
{
    unsigned number = random_below(&history->random, history->swarm.log_count);
    const struct layout_segment *segment = any_segment(history, number);
    uint32_t dice = random_below(&history->random, 92);

    if (!segment || segment->size == 0)
        return;
    trace(history, "damage: %s, kind %u", segment->path, dice);
    if (dice < 35)
        flip_bits(history, segment);
    else if (dice < 55)
        zero_blocks(history, segment);
    else if (dice < 68)
        copy_block(history, segment);
    else if (dice < 80)
        fill_garbage(history, segment);
    else if (dice < 86)
        cut_file(history, segment);
    else
        delete_segment(history, number);
}

static const struct layout_segment *find_after(const struct layout_segment *segment)
{
    for (unsigned i = 0; i < after.segment_count; i++) {
        if (strcmp(after.segments[i].path, segment->path) == 0)
            return &after.segments[i];
    }
    return NULL;
}

/* What a file lacks of its last block reads as zeros. */
static bool differs(const struct layout_segment *old, const struct layout_segment *new,
                    uint64_t position, uint64_t size)
{
    if (!new || position + size > round_up(new->size, WAL_BLOCK_BYTES))
        return true;
    uint64_t common = position < new->size ? min_u64(size, new->size - position) : 0;

    if (memcmp(old->bytes + position, new->bytes + position, common) != 0)
        return true;
    for (uint64_t i = common; i < size; i++) {
        if (old->bytes[position + i] != 0)
            return true;
    }
    return false;
}

/* Behind its body a frame has bytes that nobody needs, but the file must have them. */
static bool frame_is_hurt(const struct layout_segment *old, const struct layout_segment *new,
                          const struct layout_frame *frame)
{
    return !new || frame->position + frame->size > round_up(new->size, WAL_BLOCK_BYTES) ||
           differs(old, new, frame->position, FRAME_HEADER_BYTES + frame->header.body_bytes);
}

/* What can come from a write that never ended; without the frame's header nobody can tell. */
static bool looks_torn(const struct layout_segment *new, const struct layout_frame *frame,
                       const uint8_t *old_bytes)
{
    uint8_t *bytes = calloc(1, frame->size);

    must(bytes);
    if (new && frame->position < new->size)
        memcpy(bytes, new->bytes + frame->position,
               min_u64(frame->size, new->size - frame->position));
    bool is_torn = memcmp(bytes, old_bytes, FRAME_HEADER_BYTES) != 0 ||
                   frame_can_be_torn(&frame->header, bytes);

    free(bytes);
    return is_torn;
}

/* Which of a frame's records can still be told from damage: all of them, or, if its header and
 * those of its items are whole, each by its own checksum. */
static void assess_records(struct wound *wound, const struct layout_frame *frame, bool is_hurt,
                           const struct layout_segment *new)
{
    CLEANUP(unpacked_done) struct unpacked unpacked = {0};
    const struct frame_header *header = &frame->header;
    struct frame_header found;
    const uint8_t *items;
    struct item item;
    uint64_t offset = header->base_offset;

    if (!is_hurt) {
        memset(wound->whole_records + offset, true, header->record_count);
        return;
    }
    if (!new || !new->is_readable || frame->position + frame->size > new->size)
        return;
    const uint8_t *bytes = new->bytes + frame->position;

    if (frame_header_decode(&found, new->header.salt, frame->position, bytes) < 0 ||
        found.crc != header->crc ||
        frame_open(&unpacked, &found, bytes + FRAME_HEADER_BYTES, false, &items) < 0)
        return;
    struct item_walk walk = item_walk_of(&found, items);

    while (item_next(&walk, &item) == 0) {
        if (item.kind == ITEM_RECORD)
            wound->whole_records[offset++] = item_is_intact(&item);
    }
}

static void assess(struct history *history, unsigned number)
{
    const struct layout *layout = &before[number];
    struct wound *wound = &wounds[number];

    memset(wound, 0, sizeof(*wound));
    layout_read(&after, history->disk, history->logs[number].name, SIM_DURABLE);
    for (unsigned i = 0; i < layout->segment_count; i++) {
        const struct layout_segment *old = &layout->segments[i];
        const struct layout_segment *new = find_after(old);
        bool has_changed = !new || new->size != old->size || differs(old, new, 0, old->size);

        wound->hurt_headers[i] = differs(old, new, 0, min_u64(old->size, WAL_BLOCK_BYTES));
        wound->is_missing[i] = !new;
        wound->hurt_segments[i] = has_changed;
        wound->is_hurt = wound->is_hurt || has_changed;
    }
    for (unsigned i = 0; i < layout->frame_count; i++) {
        const struct layout_frame *frame = &layout->frames[i];
        const struct layout_segment *old = &layout->segments[frame->segment];

        const struct layout_segment *new = find_after(old);

        history->totals->compressed += !!(frame->header.flags & FRAME_COMPRESSED);
        wound->hurt_frames[i] =
            wound->hurt_headers[frame->segment] || frame_is_hurt(old, new, frame);
        wound->cut_frames[i] =
            wound->hurt_frames[i] && new && frame->position + frame->size > new->size;
        assess_records(wound, frame, wound->hurt_frames[i], new);
        wound->torn_frames[i] =
            wound->hurt_frames[i] && looks_torn(new, frame, old->bytes + frame->position);
        wound->end = frame->header.base_offset + frame->header.record_count;
    }
    layout_done(&after);
}

void damage_inflict(struct history *history)
{
    sim_crash(history->disk); /* what a kill has left in the cache cannot be damaged */
    for (unsigned i = 0; i < history->swarm.log_count; i++)
        layout_read(&before[i], history->disk, history->logs[i].name, SIM_DURABLE);
    uint32_t dice = random_below(&history->random, 100);

    if (dice < 8) {
        graft_frame(history, random_below(&history->random, history->swarm.log_count));
    } else if (dice < 14) {
        copy_header(history);
    } else {
        for (unsigned i = random_between(&history->random, 1, 2); i > 0; i--)
            hurt_something(history);
    }
    for (unsigned i = 0; i < history->swarm.log_count; i++)
        assess(history, i);
}

/* ---- judging --------------------------------------------------------------------------------- */

bool wound_can_be_cut(const struct layout *layout, const struct wound *wound, unsigned cut)
{
    if (cut == layout->frame_count || layout->frames[cut].segment + 1 != layout->segment_count)
        return false;
    for (unsigned i = cut; i < layout->frame_count; i++) {
        if (!wound->hurt_frames[i])
            return false;
    }
    return wound->torn_frames[cut];
}

/* Whether the log may end at `end` without a word. Frames without records that stand there may have
 * been cut or not. */
static bool cut_is_excusable(unsigned number, uint64_t end)
{
    const struct layout *layout = &before[number];
    unsigned cut = 0;

    while (cut < layout->frame_count &&
           layout->frames[cut].header.base_offset + layout->frames[cut].header.record_count <= end)
        cut++;
    for (;; cut--) {
        if (wound_can_be_cut(layout, &wounds[number], cut))
            return true;
        if (cut == 0 || layout->frames[cut - 1].header.record_count > 0)
            return false;
    }
}

/* Whether some frame that is not hurt holds one of the records [begin, end). */
static bool holds_whole_frame(unsigned number, uint64_t begin, uint64_t end, uint64_t *ret_offset)
{
    const struct layout *layout = &before[number];

    for (unsigned i = 0; i < layout->frame_count; i++) {
        const struct frame_header *header = &layout->frames[i].header;
        uint64_t frame_end = header->base_offset + header->record_count;

        if (wounds[number].hurt_frames[i] || header->base_offset >= end || frame_end <= begin)
            continue;
        *ret_offset = max_u64(begin, header->base_offset);
        return true;
    }
    return false;
}

static void judge_gap(struct history *history, struct log_model *log, uint64_t offset,
                      const struct wal_entry *entry)
{
    uint64_t whole;

    if (entry->offset != offset || entry->gap_end <= offset)
        violation(history, log, "a gap [%llu, %llu) is told by a cursor at %llu",
                  (ull)entry->offset, (ull)entry->gap_end, (ull)offset);
    for (whole = offset; whole < min_u64(entry->gap_end, LOG_RECORDS_MAX); whole++) {
        if (wounds[log->number].whole_records[whole])
            violation(history, log, "the gap [%llu, %llu) hides offset %llu, which is not hurt",
                      (ull)offset, (ull)entry->gap_end, (ull)whole);
    }
    history->totals->gaps++;
}

/* Reads a hurt log up to `end`, UINT64_MAX: all of it. */
static void judge_reading(struct history *history, struct log_model *log, uint64_t end)
{
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    struct wal_positions positions;
    struct wal_entry entry;
    int rc = -ENODATA;

    wal_positions(log->wal, &positions);
    uint64_t offset = positions.first_offset;

    must(wal_cursor_open(&cursor, log->wal, offset) == 0);
    while (offset < end && ((rc = wal_cursor_next(cursor, &entry)) == 0 || rc == -EBADMSG)) {
        if (rc == -EBADMSG) {
            judge_gap(history, log, offset, &entry);
            offset = entry.gap_end;
            continue;
        }
        if (entry.offset != offset)
            violation(history, log, "a cursor at %llu served %llu", (ull)offset, (ull)entry.offset);
        check_entry(history, log, &entry);
        offset++;
    }
    if (offset >= end)
        return;
    if (rc != -ENODATA)
        violation(history, log, "reading a hurt log failed with %d at %llu", rc, (ull)offset);
    if (offset < positions.committed_offset)
        violation(history, log, "a cursor sees the end at %llu, committed_offset is %llu",
                  (ull)offset, (ull)positions.committed_offset);
}

/* The records of the log that were not told of, neither served nor as a gap, lie behind its end. */
static void judge_end(struct history *history, struct log_model *log, int status)
{
    const struct wound *wound = &wounds[log->number];
    struct wal_positions positions;
    uint64_t whole;

    wal_positions(log->wal, &positions);
    uint64_t end = positions.committed_offset;

    if (end >= wound->end)
        return;
    if (holds_whole_frame(log->number, end, wound->end, &whole))
        violation(history, log, "the log ends at %llu, but offset %llu is not hurt", (ull)end,
                  (ull)whole);
    if (status != 0)
        return;
    if (!cut_is_excusable(log->number, end))
        violation(history, log,
                  "cut in silence at %llu: the disk still tells that %llu were durable", (ull)end,
                  (ull)wound->end);
    history->totals->cut_tails++;
}

/* A file that is missing between others can be told at once, whoever reads what. */
static void judge_missing(struct history *history, struct log_model *log, int status)
{
    const struct layout *layout = &before[log->number];
    struct wal_positions positions;

    wal_positions(log->wal, &positions);
    for (unsigned i = 0; i + 1 < layout->segment_count; i++) {
        const struct layout_segment *next = &layout->segments[i + 1];

        if (status == 0 && wounds[log->number].is_missing[i] && next->is_readable &&
            next->header.base_offset > positions.first_offset)
            violation(history, log, "%s is missing, and it takes appends",
                      layout->segments[i].path);
    }
}

static uint64_t disk_fingerprint(struct history *history, const struct log_model *log)
{
    uint64_t hash = 0;

    layout_read(&after, history->disk, log->name, SIM_CACHED);
    for (unsigned i = 0; i < after.segment_count; i++)
        hash = splitmix64_mix(hash ^ content_hash(after.segments[i].bytes, after.segments[i].size));
    layout_done(&after);
    return hash;
}

static void judge_appending(struct history *history, struct log_model *log, int status)
{
    struct wal_record record = {.data = "after the damage", .size = 16};
    struct wal_positions positions;
    struct wal_token token;
    int rc = wal_append(log->wal, &record, 1, NULL, NULL, &token);

    if (status != 0) {
        if (rc != status)
            violation(history, log, "damaged (%d), and an append gets %d", status, rc);
        return;
    }
    wal_positions(log->wal, &positions);
    if (rc != 0 || wal_flush(log->wal, UINT64_MAX) != 0 || wal_poll(log->wal, token) != 0)
        violation(history, log, "it takes appends, but one got %d", rc);
    if (token.begin != positions.committed_offset)
        violation(history, log, "an append got %llu, committed_offset was %llu", (ull)token.begin,
                  (ull)positions.committed_offset);
}

static void judge_hurt_log(struct history *history, struct log_model *log)
{
    uint64_t fingerprint = disk_fingerprint(history, log);
    struct wal_positions positions;
    int rc = store_get(history->store, log->name, false, &log->wal);

    trace(history, "store_get(%s): %d", log->name, rc);
    if (rc < 0) {
        log->wal = NULL;
        /* Without a single header there is nothing to be opened. */
        for (unsigned i = 0; i < before[log->number].segment_count; i++) {
            if (!wounds[log->number].hurt_headers[i])
                violation(history, log, "a hurt log does not open: %d", rc);
        }
        return;
    }
    if (log->existence == LOG_GONE)
        violation(history, log, "it was removed, or never made, and is there");
    int status = wal_status(log->wal);

    trace(history, "  %s: status %d", log->name, status);
    if (status != 0 && status != -EBADMSG)
        violation(history, log, "a hurt log has status %d", status);
    wal_positions(log->wal, &positions);
    judge_reading(history, log, UINT64_MAX);
    judge_end(history, log, status);
    judge_missing(history, log, status);
    judge_appending(history, log, status);
    /* Time for segments to be packed: damage must not be packed away. */
    for (unsigned i = 0; i < 8; i++) {
        for (unsigned j = 0; j < history->swarm.config.committers; j++)
            store_run(history->store, j, 0);
    }
    judge_reading(history, log, positions.committed_offset);
    if (status != 0) {
        struct wal_stats stats;

        wal_stats(log->wal, &stats);
        if (stats.recovery.damaged_offset == UINT64_MAX)
            violation(history, log, "damaged, and nothing tells where");
        history->totals->damaged_logs++;
        wal_positions(log->wal, &positions);
        wounds[log->number].is_refusing = true;
        wounds[log->number].told_end = positions.committed_offset;
    }
    store_put(history->store, log->wal);
    log->wal = NULL;
    if (status != 0 && store_reopen(history->store, log->name) == 0 &&
        fingerprint != disk_fingerprint(history, log))
        violation(history, log, "damaged, and its files were changed");
}

/* Whether it could be repaired. */
static bool mend_log(struct history *history, struct log_model *log)
{
    struct wal_positions positions;
    enum repair_plan plan;
    unsigned mended;
    int rc = store_repair(history->store, log->name, &plan, &mended);

    trace(history, "store_repair(%s): %d, plan %d, %u segments", log->name, rc, (int)plan, mended);
    if (rc == -EBADMSG && plan == REPAIR_IMPOSSIBLE) {
        history->totals->beyond_repair++;
        return false;
    }
    if (rc < 0)
        violation(history, log, "its repair failed: %d", rc);
    rc = store_get(history->store, log->name, false, &log->wal);
    if (rc < 0 || wal_status(log->wal) != 0)
        violation(history, log, "it was repaired, and has status %d",
                  rc < 0 ? rc : wal_status(log->wal));
    wal_positions(log->wal, &positions);
    if (positions.committed_offset < wounds[log->number].told_end)
        violation(history, log, "repaired, it ends at %llu, and had told of %llu",
                  (ull)positions.committed_offset, (ull)wounds[log->number].told_end);
    judge_reading(history, log, UINT64_MAX);
    judge_appending(history, log, 0);
    store_put(history->store, log->wal);
    log->wal = NULL;
    history->totals->repaired_logs++;
    return true;
}

static void mend(struct history *history)
{
    if (!history_open(history))
        return;
    for (unsigned i = 0; i < history->swarm.log_count; i++) {
        if (wounds[i].is_refusing)
            wounds[i].is_mended = mend_log(history, &history->logs[i]);
    }
    scrub_again(history);
    for (unsigned i = 0; i < history->swarm.log_count; i++) {
        if (wounds[i].is_mended)
            scrub_judge_mended(history, &history->logs[i]);
    }
    store_close(history->store, 60000000);
    history->store = NULL;
}

void damage_judge(struct history *history)
{
    if (!history_open(history)) {
        if (!history->swarm.disk.garbage)
            violation(history, NULL, "a healthy disk does not open");
        return;
    }
    if (random_percent(&history->random, 50)) {
        scrub_broken(history);
        for (unsigned i = 0; i < history->swarm.log_count; i++)
            scrub_judge(history, &history->logs[i], &before[i], &wounds[i]);
    }
    for (unsigned i = 0; i < history->swarm.log_count; i++) {
        struct log_model *log = &history->logs[i];

        if (wounds[i].is_hurt || (history->swarm.disk.garbage && before[i].segment_count > 0)) {
            judge_hurt_log(history, log);
            continue;
        }
        int rc = log_get(history, log, false);

        if (rc == -ENOENT)
            log->existence = LOG_GONE;
        log_put(history, log);
    }
    store_close(history->store, 60000000);
    history->store = NULL;
    mend(history);
    for (unsigned i = 0; i < history->swarm.log_count; i++) {
        layout_done(&before[i]);
        history->logs[i].was_checked = false;
    }
}
