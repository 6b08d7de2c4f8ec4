/*
 * Where records are in bytes: what stands before each, and where the log's positions are in that
 * count. What damaged files do to it is in test_recover.c.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <string.h>

#include "wal/base.h"

#define FOREVER_US UINT64_C(10000000)

/* Reads the log from `first` on, and sees that each record knows the bytes before it. */
static uint64_t expect_bytes(struct fixture *f, uint64_t first, uint64_t bytes)
{
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, first);
    struct wal_entry entry;
    int rc;
    while ((rc = wal_cursor_next(cursor, &entry)) == 0) {
        assert_int_equal(entry.bytes_before, bytes);
        bytes += entry.size;
    }
    assert_int_equal(rc, -ENODATA);
    assert_int_equal(positions_of(f->wal).committed_bytes, bytes);
    fixture_cursor_close(f, cursor);
    return bytes;
}

static void commit_batches(struct wal *wal, uint64_t count)
{
    for (uint64_t next = positions_of(wal).next_offset, end = next + count; next < end;) {
        size_t batch = (size_t)min_u64(1 + next % 13, end - next);
        commit_numbers(wal, next, batch, 900);
        next += batch;
    }
}

static struct fixture *start_with_segments(void **state, uint64_t count)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 32 << 10;
    f->config.log.mark_idle_us = 5000;
    fixture_begin(f);
    commit_batches(f->wal, count);
    assert_true(stats_of(f->wal).segments >= 3);
    return f;
}

/* A token of the second door names a place in bytes, which has to be the same one after a rotation, a
 * restart, and wherever reading begins. */
static void every_record_knows_the_bytes_before_it(void **state)
{
    struct fixture *f = start_with_segments(state, 300);
    uint64_t sums[301];
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    sums[0] = 0;
    for (uint64_t i = 0; i < 300; i++) {
        struct wal_entry entry;
        assert_int_equal(wal_cursor_next(cursor, &entry), 0);
        sums[i + 1] = sums[i] + entry.size;
    }
    fixture_cursor_close(f, cursor);
    for (unsigned life = 0; life < 2; life++) {
        for (uint64_t i = 0; i <= 300; i++) {
            uint64_t bytes;
            assert_int_equal(wal_bytes_before(f->wal, i, &bytes), 0);
            assert_int_equal(bytes, sums[i]);
        }
        uint64_t bytes;
        assert_int_equal(wal_bytes_before(f->wal, 301, &bytes), -ENODATA);
        expect_bytes(f, 0, 0);
        assert_int_equal(stats_of(f->wal).total_bytes_written, sums[300]);
        fixture_reopen(f);
    }
}

/* Trimming takes records away, and moves no place. */
static void bytes_are_counted_from_the_beginning_also_of_a_trimmed_log(void **state)
{
    struct fixture *f = start_with_segments(state, 300);
    struct wal_token token;
    uint64_t before, bytes;
    assert_int_equal(wal_bytes_before(f->wal, 217, &before), 0);
    assert_int_equal(wal_trim(f->wal, 217, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    for (unsigned life = 0; life < 2; life++) {
        assert_int_equal(wal_bytes_before(f->wal, 216, &bytes), -ERANGE);
        assert_int_equal(wal_bytes_before(f->wal, 0, &bytes), -ERANGE);
        assert_int_equal(wal_bytes_before(f->wal, 217, &bytes), 0);
        assert_int_equal(bytes, before);
        expect_bytes(f, 217, before);
        fixture_reopen(f);
    }
    /* To its very end: nothing is there to read it from. */
    uint64_t end = positions_of(f->wal).committed_bytes;
    assert_int_equal(wal_trim(f->wal, 300, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    for (unsigned life = 0; life < 2; life++) {
        assert_int_equal(wal_bytes_before(f->wal, 300, &bytes), 0);
        assert_int_equal(bytes, end);
        fixture_reopen(f);
    }
    commit_batches(f->wal, 20);
    expect_bytes(f, 300, end);
}

/* What is queued is counted where the next append goes, and not where readers look. */
static void bytes_move_with_the_offsets(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    fixture_begin(f);
    append_number(f->wal, 0, 100);
    append_numbers(f->wal, 1, 3, 1);
    struct wal_positions positions = positions_of(f->wal);
    assert_int_equal(positions.committed_bytes, 0);
    assert_int_equal(positions.next_bytes, 103);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    positions = positions_of(f->wal);
    assert_int_equal(positions.committed_bytes, 103);
    assert_int_equal(positions.next_bytes, 103);

    struct wal_record record = {.data = "x", .size = 0};
    assert_int_equal(wal_append(f->wal, &record, 1, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(positions_of(f->wal).next_bytes, 103);
}

/* Bytes of refused appends are given back with their offsets. */
static void bytes_of_refused_appends_are_given_back(void **state)
{
    struct fixture *f = fixture_start(state);
    commit_number(f->wal, 0, 100);
    fixture_settle(f);
    sim_options_of(f->disk)->capacity_blocks = sim_used_blocks(f->disk);
    struct wal_token token = append_number(f->wal, 1, 1 << 19);
    assert_int_equal(positions_of(f->wal).next_bytes, 100 + (1 << 19));
    assert_int_equal(wait_for(f->wal, token), -ENOSPC);
    assert_int_equal(positions_of(f->wal).next_bytes, 100);
    assert_int_equal(positions_of(f->wal).committed_bytes, 100);
    sim_options_of(f->disk)->capacity_blocks = 0;
    commit_number(f->wal, 1, 50);
    expect_bytes(f, 0, 0);
}

/* Recovery counts what it keeps. */
static void a_power_cut_leaves_bytes_and_offsets_together(void **state)
{
    struct fixture *f = start_with_segments(state, 200);
    f->checks_overwrites = false;
    append_numbers(f->wal, 200, 5, 4000);
    fixture_run(f);
    fixture_crash(f);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    uint64_t end = positions_of(f->wal).committed_offset;
    assert_true(end == 200 || end == 205);
    expect_bytes(f, 0, 0);
    commit_number(f->wal, end, 77);
    expect_bytes(f, 0, 0);
}

/* Readers of the state see what belongs to the records that they see. */
static void committed_state_belongs_to_committed_records(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    fixture_begin(f);
    struct wal_state_update update = state_update("key", "old");
    struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
    char value[16];
    size_t bytes;
    assert_int_equal(wal_append(f->wal, NULL, 0, &options, NULL, NULL), 0);
    assert_int_equal(wal_state_get_committed(f->wal, "key", 3, value, sizeof(value), &bytes),
                     -ENOENT);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    update = state_update("key", NULL);
    assert_int_equal(wal_append(f->wal, NULL, 0, &options, NULL, NULL), 0);
    assert_int_equal(wal_state_get_committed(f->wal, "key", 3, value, sizeof(value), &bytes), 0);
    assert_int_equal(bytes, 3);
    assert_memory_equal(value, "old", 3);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(wal_state_get_committed(f->wal, "key", 3, value, sizeof(value), &bytes),
                     -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(every_record_knows_the_bytes_before_it),
        ON_ALL(bytes_are_counted_from_the_beginning_also_of_a_trimmed_log),
        ON_ALL(bytes_move_with_the_offsets),
        ON_SIM(bytes_of_refused_appends_are_given_back),
        ON_SIM(a_power_cut_leaves_bytes_and_offsets_together),
        ON_ALL(committed_state_belongs_to_committed_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
