/*
 * Reading a log: by offset, in order, by time, from the end; beside appends, rotations and trims;
 * and what trimming takes away. What damaged files do to a reader is in test_recover.c.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wal/base.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

#define FOREVER_US UINT64_C(10000000)

/* A log of several segments, whose frames hold from one to some dozens of records. */
static uint64_t fill_segments(struct fixture *f, struct wal *wal, uint64_t count)
{
    uint64_t next = positions_of(wal).next_offset, end = next + count;
    for (unsigned round = 0; next < end; round++) {
        size_t batch = 1 + (round * 7) % 23;
        if (batch > end - next)
            batch = end - next;
        append_numbers(wal, next, batch, 700);
        next += batch;
        if (round % 3 == 0)
            assert_int_equal(wal_flush(wal, FIXTURE_PATIENCE_US), 0);
    }
    assert_int_equal(wal_flush(wal, FIXTURE_PATIENCE_US), 0);
    return end;
}

static struct fixture *start_with_segments(void **state, uint64_t count)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 32 << 10;
    f->config.log.batch_records_max = 40;
    f->config.log.mark_idle_us = 5000;
    fixture_begin(f);
    fill_segments(f, f->wal, count);
    assert_true(stats_of(f->wal).segments >= 4);
    return f;
}

static void expect_at(struct wal_cursor *cursor, uint64_t offset)
{
    struct wal_entry entry;
    assert_int_equal(wal_cursor_next(cursor, &entry), 0);
    assert_int_equal(entry.offset, offset);
    assert_true(record_is(entry.data, entry.size, offset));
}

static void expect_end(struct wal_cursor *cursor)
{
    struct wal_entry entry;
    assert_int_equal(wal_cursor_next(cursor, &entry), -ENODATA);
}

/* ---- By offset ------------------------------------------------------------------------------- */

/* Any offset is a place to begin, wherever it lies in its frame and its segment. */
static void reading_may_begin_at_any_offset(void **state)
{
    struct fixture *f = start_with_segments(state, 800);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    for (unsigned life = 0; life < 2; life++) {
        for (uint64_t offset = 0; offset < 800; offset++) {
            wal_cursor_seek(cursor, (offset * 337) % 800);
            expect_at(cursor, (offset * 337) % 800);
        }
        wal_cursor_seek(cursor, 795);
        for (uint64_t offset = 795; offset < 800; offset++)
            expect_at(cursor, offset);
        expect_end(cursor);
        fixture_reopen(f); /* the index is gone, and comes back by reading */
        cursor = fixture_cursor(f, f->wal, 3);
        expect_at(cursor, 3);
    }
    expect_numbers(f, f->wal, 0, 800, 0);
}

/* The end is not an error but a place to wait; nothing beyond it can be read. */
static void the_end_of_a_log_is_a_place_to_go_on_from(void **state)
{
    struct fixture *f = fixture_start(state);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    expect_end(cursor);
    for (uint64_t i = 0; i < 10; i++) {
        commit_number(f->wal, i, 3000);
        expect_at(cursor, i);
        expect_end(cursor);
        expect_end(cursor);
    }
    wal_cursor_seek(cursor, 12);
    expect_end(cursor);
    commit_numbers(f->wal, 10, 5, 100);
    expect_at(cursor, 12);
}

/* Edge case 26: a reader must never see a record that a power cut could take back. */
static void a_cursor_never_passes_what_is_committed(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    fixture_begin(f);
    append_number(f->wal, 0, 100);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    expect_end(cursor);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    append_number(f->wal, 1, 100);
    expect_at(cursor, 0);
    expect_end(cursor);
    if (f->disk) {
        wal_submit(f->wal);
        fixture_run(f); /* on its way to the disk: still not there */
        expect_end(cursor);
    }
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_at(cursor, 1);
    expect_end(cursor);
}

/* The pointers of an entry are good until the next call, and any number of cursors may stand
 * anywhere. */
static void cursors_do_not_disturb_each_other(void **state)
{
    struct fixture *f = start_with_segments(state, 300);
    struct wal_cursor *cursors[FIXTURE_CURSORS_MAX];
    struct wal_entry entries[FIXTURE_CURSORS_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(cursors); i++)
        cursors[i] = fixture_cursor(f, f->wal, i * 70);
    for (uint64_t step = 0; step < 80; step++) {
        for (size_t i = 0; i < ARRAY_SIZE(cursors); i++)
            assert_int_equal(wal_cursor_next(cursors[i], &entries[i]), 0);
        for (size_t i = 0; i < ARRAY_SIZE(cursors); i++) {
            assert_int_equal(entries[i].offset, i * 70 + step);
            assert_true(record_is(entries[i].data, entries[i].size, entries[i].offset));
        }
    }
}

/* What only makes reading faster can be given back at any time. */
static void reading_works_without_indexes(void **state)
{
    struct fixture *f = start_with_segments(state, 400);
    wal_shrink(f->wal);
    expect_numbers(f, f->wal, 0, 400, 0);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 399);
    expect_at(cursor, 399);
    for (uint64_t offset = 0; offset < 400; offset += 17) {
        wal_shrink(f->wal);
        wal_cursor_seek(cursor, offset);
        expect_at(cursor, offset);
    }
}

/* Marks and changes of state are frames without records: a reader steps over them. */
static void frames_without_records_are_stepped_over(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.mark_idle_us = 1000;
    fixture_begin(f);
    for (uint64_t i = 0; i < 20; i++) {
        commit_number(f->wal, i, 100);
        struct wal_state_update update = state_update("key", i % 2 ? "odd" : "even");
        struct wal_append_options options = {
            .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
        assert_int_equal(wal_append(f->wal, NULL, 0, &options, NULL, NULL), 0);
        assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
        fixture_pause(f, 2000);
    }
    assert_int_equal(stats_of(f->wal).commits, 20);
    assert_true(stats_of(f->wal).syncs >= 40);
    expect_numbers(f, f->wal, 0, 20, 100);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 0, 20, 100);
}

/* ---- By time, and from the end --------------------------------------------------------------- */

/* Every question by time has one answer, which a walk over all timestamps gives as well. */
static void a_time_is_found_as_a_walk_would_find_it(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 32 << 10;
    fixture_begin(f);
    enum { COUNT = 200 };
    static uint64_t times[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        sim_step_realtime(f->disk, (int64_t)((i * 7919) % 5) * 1000000);
        append_number(f->wal, i, 500);
        if (i % 3 == 0)
            assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    }
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(wal_trim(f->wal, 20, NULL, NULL), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    for (unsigned life = 0; life < 2; life++) {
        struct wal_cursor *cursor = fixture_cursor(f, f->wal, 20);
        for (uint64_t i = 20; i < COUNT; i++) {
            struct wal_entry entry;
            assert_int_equal(wal_cursor_next(cursor, &entry), 0);
            times[i] = entry.timestamp_ns;
        }
        fixture_cursor_close(f, cursor);
        for (uint64_t i = 20; i < COUNT; i++) {
            for (int delta = -1; delta <= 1; delta++) {
                uint64_t asked = times[i] + (uint64_t)(int64_t)delta, expected = 20, found;
                while (expected < COUNT && times[expected] < asked)
                    expected++;
                assert_int_equal(wal_offset_at(f->wal, asked, &found), 0);
                assert_int_equal(found, expected);
            }
        }
        uint64_t found;
        assert_int_equal(wal_offset_at(f->wal, 0, &found), 0);
        assert_int_equal(found, 20);
        assert_int_equal(wal_offset_at(f->wal, UINT64_MAX, &found), 0);
        assert_int_equal(found, COUNT);
        fixture_reopen(f);
    }
}

/* Edge case 22: the wall clock is set back and forth. Along a log time never falls, and waiting goes
 * by a clock that nobody sets. */
static void timestamps_never_fall(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = 10000;
    f->config.log.segment_bytes = 32 << 10;
    fixture_begin(f);
    const int64_t hour_ns = INT64_C(3600) * 1000000000;
    const int64_t steps[] = {0, hour_ns, -2 * hour_ns, 5, -hour_ns, 24 * hour_ns, -48 * hour_ns};
    uint64_t next = 0;
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        sim_step_realtime(f->disk, steps[i]);
        for (unsigned k = 0; k < 10; k++) {
            uint64_t begin_us = fixture_now_us(f);
            struct wal_token token = append_number(f->wal, next++, 900);
            assert_int_equal(wait_for(f->wal, token), 0);
            assert_in_range(fixture_now_us(f) - begin_us, 10000, 100000);
        }
        if (i % 2)
            fixture_reopen(f);
    }
    expect_numbers(f, f->wal, 0, next, 900); /* looks at the timestamps, too */
    uint64_t found;
    assert_int_equal(wal_offset_at(f->wal, UINT64_MAX, &found), 0);
    assert_int_equal(found, next);
}

static void the_last_records_are_found_from_the_end(void **state)
{
    struct fixture *f = fixture_start(state);
    assert_int_equal(wal_offset_of_last(f->wal, 5), 0);
    commit_numbers(f->wal, 0, 10, 100);
    assert_int_equal(wal_offset_of_last(f->wal, 0), 10);
    assert_int_equal(wal_offset_of_last(f->wal, 3), 7);
    assert_int_equal(wal_offset_of_last(f->wal, 10), 0);
    assert_int_equal(wal_offset_of_last(f->wal, UINT64_MAX), 0);
    assert_int_equal(wal_trim(f->wal, 4, NULL, NULL), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(wal_offset_of_last(f->wal, 10), 4);
    assert_int_equal(wal_offset_of_last(f->wal, 6), 4);
    assert_int_equal(wal_offset_of_last(f->wal, 5), 5);
}

/* ---- Trimming -------------------------------------------------------------------------------- */

static bool segment_exists(struct fixture *f, uint64_t number)
{
    const char *path = fixture_segment(f, FIXTURE_LOG, number);
    return f->disk ? sim_exists(f->disk, path, SIM_CACHED) : access(path, F_OK) == 0;
}

struct removal {
    struct fixture *f;
    uint64_t number;
};

static bool segment_is_gone(void *context)
{
    const struct removal *removal = context;
    return !segment_exists(removal->f, removal->number);
}

/* Trimming is for good: from the moment it is durable the records cannot be read, the files below go,
 * and no start brings them back. */
static void what_is_trimmed_is_gone_for_good(void **state)
{
    struct fixture *f = start_with_segments(state, 600);
    uint64_t bytes = stats_of(f->wal).bytes_on_disk;
    struct wal_token token;
    assert_int_equal(wal_trim(f->wal, 400, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_int_equal(positions_of(f->wal).first_offset, 400);
    struct removal removal = {f, 0};
    assert_true(fixture_until(f, segment_is_gone, &removal));
    assert_true(stats_of(f->wal).bytes_on_disk < bytes);
    for (unsigned life = 0; life < 2; life++) {
        struct wal_cursor *cursor = fixture_cursor(f, f->wal, 399);
        struct wal_entry entry;
        assert_int_equal(wal_cursor_next(cursor, &entry), -ERANGE);
        wal_cursor_seek(cursor, 0);
        assert_int_equal(wal_cursor_next(cursor, &entry), -ERANGE);
        wal_cursor_seek(cursor, 400);
        expect_at(cursor, 400);
        expect_numbers(f, f->wal, 400, 600, 0);
        assert_false(segment_exists(f, 0));
        fixture_reopen(f);
        assert_int_equal(positions_of(f->wal).first_offset, 400);
        assert_int_equal(stats_of(f->wal).recovery.records, 200);
    }
}

/* Edge case 12: a power cut at any moment of a trim leaves the old beginning with all of its records,
 * or the new one. Files that went before the trim was durable would leave a hole. */
static void a_cut_during_a_trim_leaves_the_old_or_the_new_beginning(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 32 << 10;
    unsigned old = 0, new = 0;
    bool died = true;
    for (uint64_t k = 1; died; k++) {
        sim_reset(f->disk, k);
        fixture_begin(f);
        for (uint64_t i = 0; i < 30; i++)
            commit_number(f->wal, i, 3000);
        fixture_settle(f);
        sim_settle(f->disk);
        sim_crash_at_change(f->disk, sim_changes(f->disk) + k);
        struct wal_token token;
        int rc = wal_trim(f->wal, 20, NULL, &token);
        if (rc == 0)
            rc = wait_for(f->wal, token);
        if (!sim_is_dead(f->disk))
            fixture_settle(f);
        died = sim_is_dead(f->disk);
        fixture_crash(f);
        fixture_open(f);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
        uint64_t first = positions_of(f->wal).first_offset;
        assert_true(first == 20 || (first == 0 && rc < 0));
        assert_int_equal(wal_status(f->wal), 0);
        expect_numbers(f, f->wal, first, 30, 3000);
        old += first == 0;
        new += first == 20;
        assert_int_equal(fixture_close(f), 0);
    }
    assert_true(old > 0 && new > 2);
    f->checks_overwrites = false;
}

/* Everything may go; the log goes on where it was, with no offset used twice. */
static void a_log_trimmed_to_its_end_goes_on_there(void **state)
{
    struct fixture *f = start_with_segments(state, 300);
    struct wal_token token;
    assert_int_equal(wal_trim(f->wal, 300, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    fixture_reopen(f);
    struct wal_positions positions = positions_of(f->wal);
    assert_int_equal(positions.first_offset, 300);
    assert_int_equal(positions.committed_offset, 300);
    assert_int_equal(stats_of(f->wal).total_operations, 300);
    fill_segments(f, f->wal, 200);
    expect_numbers(f, f->wal, 300, 500, 0);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 300, 500, 0);
}

/* Nobody may trim what could still be taken back, and a second trim to the same place is fine. */
static void a_trim_stays_below_what_is_committed(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    fixture_begin(f);
    append_numbers(f->wal, 0, 10, 10);
    assert_int_equal(wal_trim(f->wal, 1, NULL, NULL), -ERANGE);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(wal_trim(f->wal, 11, NULL, NULL), -ERANGE);
    assert_int_equal(wal_trim(f->wal, UINT64_MAX, NULL, NULL), -ERANGE);
    assert_int_equal(positions_of(f->wal).first_offset, 0);
}

/* A trim that has nothing to do is fine, and is answered like any other: through the token, or
 * through the handler, and then with a token, too. */
static void a_trim_of_nothing_is_answered_like_any_other(void **state)
{
    struct fixture *f = fixture_start(state);
    commit_numbers(f->wal, 0, 10, 10);
    struct wal_token token;
    struct witness witness;
    witness_begin();
    assert_int_equal(wal_trim(f->wal, 5, witness_handler(&witness), &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    witness_await(f, 1);
    assert_int_equal(positions_of(f->wal).first_offset, 5);
    for (uint64_t before = 0; before <= 5; before++) {
        struct wal_token nothing = {1, 2, UINT64_MAX};
        assert_int_equal(wal_trim(f->wal, before, NULL, NULL), 0);
        assert_int_equal(wal_trim(f->wal, before, NULL, &nothing), 0);
        assert_int_equal(wait_for(f->wal, nothing), 0);
        nothing.ticket = UINT64_MAX;
        assert_int_equal(wal_trim(f->wal, before, witness_handler(&witness), &nothing), 0);
        assert_int_equal(wait_for(f->wal, nothing), 0);
        assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
        witness_await(f, (unsigned)before + 2);
        assert_int_equal(positions_of(f->wal).first_offset, 5);
    }
    assert_int_equal(fixture_close(f), 0);
    assert_int_equal(witness.calls, 1);
    assert_int_equal(witness.status, 0);
}

/* ---- Beside appends, rotation and trim ----------------------------------------------------------- */

struct live {
    struct wal *wal;
    pthread_t thread;
    uint64_t end;         /* reads up to here */
    _Atomic bool *failed; /* nobody needs to go on */
    uint64_t read, jumps;
    const char *broken;
};

static const char *check_entry(struct live *live, const struct wal_entry *entry, uint64_t expected)
{
    struct wal_positions positions;
    wal_positions(live->wal, &positions);
    if (entry->offset != expected)
        return "an offset was left out or came twice";
    if (entry->offset >= positions.committed_offset)
        return "a record was read before it was committed";
    if (!record_is(entry->data, entry->size, entry->offset))
        return "a record is not what was appended";
    return NULL;
}

/* Follows the log to its end, however it moves; a trim makes it jump. */
static void *follow(void *argument)
{
    struct live *live = argument;
    struct wal_cursor *cursor;
    if (wal_cursor_open(&cursor, live->wal, 0) < 0)
        return NULL;
    uint64_t expected = 0;
    while (!live->broken && expected < live->end && !atomic_load(live->failed)) {
        struct wal_entry entry;
        int rc = wal_cursor_next(cursor, &entry);
        if (rc == 0) {
            live->broken = check_entry(live, &entry, expected++);
            live->read++;
        } else if (rc == -ENODATA) {
            usleep(100);
        } else if (rc == -ERANGE) {
            struct wal_positions positions;
            wal_positions(live->wal, &positions);
            if (positions.first_offset <= expected)
                live->broken = "-ERANGE for what is not trimmed";
            expected = positions.first_offset;
            wal_cursor_seek(cursor, expected);
            live->jumps++;
        } else {
            live->broken = strerror(-rc);
        }
    }
    wal_cursor_close(cursor);
    return NULL;
}

static void run_followers(struct fixture *f, uint64_t count, bool trims)
{
    static struct live live[3];
    _Atomic bool failed = false;
    for (size_t i = 0; i < ARRAY_SIZE(live); i++) {
        live[i] = (struct live){.wal = f->wal, .end = count, .failed = &failed};
        assert_int_equal(pthread_create(&live[i].thread, NULL, follow, &live[i]), 0);
    }
    for (uint64_t next = 0; next < count; next += 10) {
        append_numbers(f->wal, next, 10, 900);
        if (next % 50 == 0 && wal_flush(f->wal, FIXTURE_PATIENCE_US) < 0)
            atomic_store(&failed, true);
        uint64_t committed = positions_of(f->wal).committed_offset;
        if (trims && next % 200 == 0 && wal_trim(f->wal, committed, NULL, NULL) < 0)
            atomic_store(&failed, true);
    }
    if (wal_flush(f->wal, FIXTURE_PATIENCE_US) < 0)
        atomic_store(&failed, true);
    for (size_t i = 0; i < ARRAY_SIZE(live); i++)
        pthread_join(live[i].thread, NULL);
    assert_false(atomic_load(&failed));
    for (size_t i = 0; i < ARRAY_SIZE(live); i++) {
        if (live[i].broken)
            fail_msg("%s", live[i].broken);
        if (!trims)
            assert_int_equal(live[i].read, count);
    }
}

/* Edge case 26: three readers at the heels of a writer, over many rotations. */
static void readers_follow_a_writer_over_rotations(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 128 << 10;
    fixture_begin(f);
    run_followers(f, 2000, false);
    assert_true(stats_of(f->wal).rotations > 3);
}

/* The same while what they are about to read is trimmed away under them. */
static void readers_survive_trims_under_them(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 64 << 10;
    fixture_begin(f);
    run_followers(f, 2000, true);
    assert_true(positions_of(f->wal).first_offset > 0);
}

/* A cursor on a trimmed segment's file: the file is removed and the descriptor's number is used
 * again. Edge case 31 from the reader's side. */
static void a_cursor_in_a_removed_segment_says_so(void **state)
{
    struct fixture *f = start_with_segments(state, 400);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    expect_at(cursor, 0);
    struct wal_token token;
    assert_int_equal(wal_trim(f->wal, 300, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    struct removal removal = {f, 0};
    assert_true(fixture_until(f, segment_is_gone, &removal));
    /* What it holds in its hand it may still hand out; then it must say that the rest is gone. */
    struct wal_entry entry;
    int rc;
    uint64_t offset = 1;
    while ((rc = wal_cursor_next(cursor, &entry)) == 0) {
        assert_int_equal(entry.offset, offset);
        assert_true(record_is(entry.data, entry.size, offset++));
    }
    assert_int_equal(rc, -ERANGE);
    assert_true(offset < 300);
    wal_cursor_seek(cursor, 300);
    expect_at(cursor, 300);
}

/* ---- Far into a file ----------------------------------------------------------------------------- */

/* Edge case 28: a segment of more than 4 GiB. Records of zeros, of which the simulated disk keeps
 * nothing but the heads. */
static void a_segment_may_pass_4_gib(void **state)
{
    struct fixture *f = fixture_of(state);
    if (IS_SANITIZED) {
        print_message("skipped: 4 GiB take a sanitizer minutes, and no other path than 1 MiB\n");
        skip();
    }
    f->config.log.record_bytes_max = WAL_RECORD_BYTES_MAX;
    f->config.log.segment_bytes = UINT64_C(16) << 30;
    fixture_begin(f);
    enum { COUNT = 260 };
    uint8_t *zeros = calloc(1, WAL_RECORD_BYTES_MAX);
    assert_non_null(zeros);
    for (unsigned i = 0; i < COUNT; i++) {
        struct wal_record record = {.data = zeros, .size = WAL_RECORD_BYTES_MAX};
        struct wal_token token;
        assert_int_equal(wal_append(f->wal, &record, 1, NULL, NULL, &token), 0);
        assert_int_equal(wait_for(f->wal, token), 0);
    }
    commit_number(f->wal, COUNT, 5000);
    fixture_reopen(f);
    assert_int_equal(stats_of(f->wal).segments, 1);
    assert_true(stats_of(f->wal).bytes_on_disk > UINT64_C(4) << 30);
    expect_numbers(f, f->wal, COUNT, COUNT + 1, 5000);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, COUNT - 2);
    for (unsigned i = 0; i < 2; i++) {
        struct wal_entry entry;
        assert_int_equal(wal_cursor_next(cursor, &entry), 0);
        assert_int_equal(entry.size, WAL_RECORD_BYTES_MAX);
        assert_memory_equal(entry.data, zeros, WAL_RECORD_BYTES_MAX);
    }
    free(zeros);
    commit_number(f->wal, COUNT + 1, 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(reading_may_begin_at_any_offset),
        ON_ALL(the_end_of_a_log_is_a_place_to_go_on_from),
        ON_ALL(a_cursor_never_passes_what_is_committed),
        ON_ALL(cursors_do_not_disturb_each_other),
        ON_ALL(reading_works_without_indexes),
        ON_ALL(frames_without_records_are_stepped_over),
        ON_SIM(a_time_is_found_as_a_walk_would_find_it),
        ON_SIM(timestamps_never_fall),
        ON_ALL(the_last_records_are_found_from_the_end),
        ON_ALL(what_is_trimmed_is_gone_for_good),
        ON_SIM(a_cut_during_a_trim_leaves_the_old_or_the_new_beginning),
        ON_ALL(a_log_trimmed_to_its_end_goes_on_there),
        ON_ALL(a_trim_stays_below_what_is_committed),
        ON_ALL(a_trim_of_nothing_is_answered_like_any_other),
        ON_DISKS(readers_follow_a_writer_over_rotations),
        ON_DISKS(readers_survive_trims_under_them),
        ON_ALL(a_cursor_in_a_removed_segment_says_so),
        ON_SIM(a_segment_may_pass_4_gib),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
