/*
 * Looking for damage. A pass of the scrub is an operation as any other, but for what may happen in the
 * middle of it: at some of its looks at the disk it stands still, and other operations run. It tells of
 * no damage where there is none, whatever was appended, trimmed, packed, removed and made anew meanwhile,
 * and whatever crashes have left. Where damage.c has been, it tells of everything that is lost.
 */
#include <errno.h>
#include <string.h>

#include "tests/crash/history.h"
#include "tests/crash/operations.h"
#include "tests/crash/wound.h"
#include "wal/base.h"

typedef unsigned long long ull;

#define PLACES_MAX 64

static struct store_scrub scrub_stats_of(struct history *history)
{
    struct store_stats stats;

    store_stats(history->store, &stats);
    return stats.scrub;
}

/* ---- while the store is at work --------------------------------------------------------------- */

/* Early looks are at names and headers, later ones at frames; some of them the second time. */
static uint32_t draw_meeting(struct history *history)
{
    return random_between(&history->random, 1, random_percent(&history->random, 50) ? 6 : 40);
}

static void run_others(void *context)
{
    struct history *history = context;

    if (is_dead(history))
        return;
    trace(history, "( the scrub stands still");
    workload_run(history, random_between(&history->random, 1, 5));
    trace(history, ") the scrub goes on");
    if (random_percent(&history->random, 60))
        history->spy.meet_in = draw_meeting(history);
}

static int count_name(void *context, const char *name, bool is_dir)
{
    (void)name;
    *(uint64_t *)context += is_dir;
    return 0;
}

/* Nobody else was at work. */
static void check_undisturbed(struct history *history, const struct store_scrub *before,
                              const struct store_scrub *after)
{
    uint64_t logs = 0;

    must(sim_list(history->disk, "data/logs", SIM_CACHED, count_name, &logs) == 0);
    if (after->logs - before->logs != logs || after->errors != before->errors)
        violation(history, NULL, "a scrub looked at %llu of %llu logs, and could not at %llu",
                  (ull)(after->logs - before->logs), (ull)logs,
                  (ull)(after->errors - before->errors));
}

void op_scrub(struct history *history)
{
    struct spy *spy = &history->spy;
    const uint64_t faults = faults_shown(history), changes = sim_changes(history->disk);
    const struct store_scrub before = scrub_stats_of(history);
    const bool is_disturbed = random_percent(&history->random, 70);
    struct store_damage place = {.what = ""};

    if (history->is_scrubbing)
        return;
    history->is_scrubbing = true;
    spy->meet = run_others;
    spy->meet_context = history;
    spy->meet_in = is_disturbed ? draw_meeting(history) : 0;
    int rc = store_scrub(history->store);

    spy->meet_in = 0;
    history->is_scrubbing = false;
    trace(history, "store_scrub: %d", rc);
    if (is_dead(history))
        return;
    remember(history, (uint64_t)(int64_t)rc);
    const struct store_scrub after = scrub_stats_of(history);

    history->totals->scrubs++;
    history->totals->disturbed_scrubs += is_disturbed;
    if (rc < 0 && !is_excused(history, rc, faults))
        violation(history, NULL, "store_scrub() failed with %d", rc);
    if (rc == 0 && after.passes != before.passes + 1)
        violation(history, NULL, "a scrub came to its end, and is not counted");
    /* What cannot be read is taken for damage. */
    if (after.found > before.found && faults_shown(history) == faults) {
        while (store_take_damage(history->store, &place))
            trace(history, "  told: %s, segment %llu at %llu: %s", place.log, (ull)place.segment_no,
                  (ull)place.position, place.what);
        violation(history, NULL,
                  "a scrub tells of damage, and there is none; in %s %llu at %llu: %s", place.log,
                  (ull)place.segment_no, (ull)place.position, place.what);
    }
    if (is_disturbed)
        return;
    if (sim_changes(history->disk) != changes)
        violation(history, NULL, "a scrub changed something on the disk");
    if (faults_shown(history) == faults && sim_options_of(history->disk)->handles_max == 0)
        check_undisturbed(history, &before, &after);
}

/* ---- on a broken disk -------------------------------------------------------------------------- */

struct told {
    struct store_damage places[PLACES_MAX];
    size_t count;
};

/* Recovery gets its turn: it may clear a torn end, or find the log damaged. */
static void open_one(void *context)
{
    struct history *history = context;
    struct log_model *log = any_log(history);
    struct wal *wal;
    int rc = store_get(history->store, log->name, false, &wal);

    trace(history, "( the scrub stands still: store_get(%s): %d", log->name, rc);
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned j = 0; j < history->swarm.config.committers; j++)
            store_run(history->store, j, 0);
    }
    if (rc == 0)
        store_put(history->store, wal);
    if (random_percent(&history->random, 50))
        history->spy.meet_in = draw_meeting(history);
}

static void run_pass(struct history *history)
{
    int rc = store_scrub(history->store);

    history->spy.meet_in = 0;
    trace(history, "store_scrub: %d", rc);
    if (rc < 0)
        violation(history, NULL, "store_scrub() failed with %d", rc);
    history->totals->scrubs++;
    history->totals->scrub_places += scrub_stats_of(history).found;
}

void scrub_broken(struct history *history)
{
    struct spy *spy = &history->spy;

    spy->meet = open_one;
    spy->meet_context = history;
    const bool is_disturbed = random_percent(&history->random, 30);
    spy->meet_in = is_disturbed ? draw_meeting(history) : 0;
    history->totals->disturbed_scrubs += is_disturbed;
    run_pass(history);
    /* What was at its end before a log was opened, and is not now, is judged when all looks the same. */
    if (is_disturbed)
        run_pass(history);
}

void scrub_again(struct history *history)
{
    run_pass(history);
}

static void get_told(struct history *history, const struct log_model *log, struct told *ret_told)
{
    size_t count =
        store_damages(history->store, log->name, ret_told->places, ARRAY_SIZE(ret_told->places));

    ret_told->count = min_u64(count, ARRAY_SIZE(ret_told->places));
    for (size_t i = 0; i < ret_told->count; i++) {
        const struct store_damage *place = &ret_told->places[i];

        trace(history, "  told: %s, segment %llu at %llu to %llu, offsets %llu to %llu: %s",
              log->name, (ull)place->segment_no, (ull)place->position, (ull)place->end,
              (ull)place->offset, (ull)place->offset_end, place->what);
    }
}

static bool tells_record(const struct told *told, uint64_t offset)
{
    for (size_t i = 0; i < told->count; i++) {
        if (told->places[i].offset <= offset && offset < told->places[i].offset_end)
            return true;
    }
    return false;
}

/* Of a file in which this offset was, of the header of this segment, or of the next one's, which tells
 * where this one ends. */
static bool tells_segment(const struct told *told, uint64_t segment_no, uint64_t offset)
{
    for (size_t i = 0; i < told->count; i++) {
        const struct store_damage *place = &told->places[i];

        if (place->end == 0 && place->offset <= offset && offset <= place->offset_end)
            return true;
        if (place->position == 0 &&
            (place->segment_no == segment_no || place->segment_no == segment_no + 1))
            return true;
    }
    return false;
}

static bool tells_bytes(const struct told *told, uint64_t segment_no, uint64_t begin, uint64_t end)
{
    for (size_t i = 0; i < told->count; i++) {
        const struct store_damage *place = &told->places[i];

        if (place->segment_no == segment_no && place->position < end && place->end >= begin)
            return true;
    }
    return false;
}

/* What had been trimmed, and nobody needs to know of. */
static uint64_t trimmed_before(const struct layout *before)
{
    uint64_t first = 0;

    for (unsigned i = 0; i < before->frame_count; i++) {
        const struct layout_frame *frame = &before->frames[i];
        struct item_walk walk =
            item_walk_of(&frame->header, before->segments[frame->segment].bytes + frame->position +
                                             FRAME_HEADER_BYTES);
        struct item item;
        uint64_t offset;

        while (item_next(&walk, &item) == 0) {
            if (item_trims(&item, &offset))
                first = max_u64(first, offset);
        }
    }
    return first;
}

/* The end of the log, from this frame on, may pass for a write that was torn. */
static bool may_be_silent(const struct layout *before, const struct wound *wound, unsigned frame)
{
    for (unsigned cut = 0; cut <= frame; cut++) {
        if (wound_can_be_cut(before, wound, cut))
            return true;
    }
    return false;
}

static void judge_frame(struct history *history, const struct log_model *log,
                        const struct layout *before, const struct wound *wound, unsigned number,
                        uint64_t first, const struct told *told)
{
    const struct layout_frame *frame = &before->frames[number];
    const struct frame_header *header = &frame->header;
    const uint64_t segment_no = before->segments[frame->segment].header.segment_no;

    /* Of a frame that was cut off some records may be whole. */
    for (uint32_t i = 0; i < header->record_count && !wound->cut_frames[number]; i++) {
        uint64_t offset = header->base_offset + i;

        if (offset >= first && !wound->whole_records[offset] && !tells_record(told, offset))
            violation(history, log, "offset %llu in segment %llu is lost, and a scrub is silent",
                      (ull)offset, (ull)segment_no);
    }
    if (header->base_offset >= first &&
        !tells_bytes(told, segment_no, frame->position, frame->position + frame->size) &&
        !tells_segment(told, segment_no, header->base_offset))
        violation(history, log, "segment %llu is hurt at %llu, and a scrub is silent",
                  (ull)segment_no, (ull)frame->position);
}

static bool had_segment(const struct layout *before, uint64_t segment_no)
{
    for (unsigned i = 0; i < before->segment_count; i++) {
        if (before->segments[i].header.segment_no == segment_no)
            return true;
    }
    return false;
}

/* Whether something is wrong in this segment, or in one beside it. */
static bool is_near_wound(const struct layout *before, const struct wound *wound,
                          uint64_t segment_no)
{
    for (unsigned i = 0; i < before->segment_count; i++) {
        uint64_t number = before->segments[i].header.segment_no;

        if (wound->hurt_segments[i] && number <= segment_no + 1 && segment_no <= number + 1)
            return true;
    }
    return false;
}

static void judge_place(struct history *history, const struct log_model *log,
                        const struct layout *before, const struct wound *wound,
                        const struct store_damage *place)
{
    /* If a trim is lost, what went by it seems to be missing. */
    bool went = wound->is_hurt && place->end == 0 && !had_segment(before, place->segment_no);

    /* Writes that were cut short leave more than zeros on such a disk. */
    if (went || history->swarm.disk.garbage || is_near_wound(before, wound, place->segment_no))
        return;
    violation(history, log, "segment %llu is whole, and a scrub tells of damage at %llu: %s",
              (ull)place->segment_no, (ull)place->position, place->what);
}

void scrub_judge(struct history *history, const struct log_model *log, const struct layout *before,
                 const struct wound *wound)
{
    static struct told told;
    uint64_t first = trimmed_before(before);

    get_told(history, log, &told);
    for (size_t i = 0; i < told.count; i++)
        judge_place(history, log, before, wound, &told.places[i]);
    if (told.count == PLACES_MAX)
        return; /* there may be more than it keeps */
    for (unsigned i = 0; i < before->frame_count; i++) {
        const struct frame_header *header = &before->frames[i].header;

        if (wound->hurt_frames[i] && header->base_offset + header->record_count > first &&
            !may_be_silent(before, wound, i))
            judge_frame(history, log, before, wound, i, first, &told);
    }
}

void scrub_judge_mended(struct history *history, const struct log_model *log)
{
    static struct told told;

    get_told(history, log, &told);
    if (told.count > 0)
        violation(history, log, "it was repaired, and a scrub tells of segment %llu at %llu: %s",
                  (ull)told.places[0].segment_no, (ull)told.places[0].position,
                  told.places[0].what);
}
