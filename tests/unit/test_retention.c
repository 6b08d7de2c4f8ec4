/*
 * wal/retention.c: which records may go, and which appends are within a quota. A record too many is
 * lost for good and one too few is only late, so every edge is held from the side of keeping.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wal/base.h"
#include "wal/retention.h"

#define NONE                                                                                       \
    {                                                                                              \
        0, 0, 0, 0, 0                                                                              \
    }

/* ---- Decisions ------------------------------------------------------------------------------- */

/* Each limit says what is kept at least, so the one that keeps most decides. */
static void a_record_goes_when_every_limit_lets_it(void **state)
{
    static const struct {
        struct wal_limits limits;
        struct retention_cuts cuts; /* age, bytes, records */
        uint64_t first, before;     /* before 0: nothing goes */
        enum wal_trim_reason reason;
    } cases[] = {
        {NONE, {9, 9, 9}, 0, 0, 0},
        {{1, 0, 0, 0, 0}, {7, 9, 9}, 0, 7, WAL_TRIM_AGE},
        {{0, 1, 0, 0, 0}, {9, 7, 9}, 0, 7, WAL_TRIM_BYTES},
        {{0, 0, 1, 0, 0}, {9, 9, 7}, 0, 7, WAL_TRIM_RECORDS},
        {{1, 1, 1, 0, 0}, {5, 6, 7}, 0, 5, WAL_TRIM_AGE},
        {{1, 1, 1, 0, 0}, {7, 5, 6}, 0, 5, WAL_TRIM_BYTES},
        {{1, 1, 1, 0, 0}, {6, 7, 5}, 0, 5, WAL_TRIM_RECORDS},
        {{1, 0, 1, 0, 0}, {6, 0, 7}, 0, 6, WAL_TRIM_AGE}, /* what is not set has no say */
        {{1, 1, 1, 0, 0}, {6, 6, 6}, 0, 6, WAL_TRIM_AGE},
        {{1, 1, 1, 0, 0}, {6, 7, 8}, 6, 0, 0}, /* one keeps what is there */
        {{0, 0, 1, 0, 0}, {9, 9, 6}, 7, 0, 0}, /* it has gone already */
        {{0, 0, 1, 0, 0}, {9, 9, 8}, 7, 8, WAL_TRIM_RECORDS},
        {{0, 0, 0, 1, 1}, {9, 9, 9}, 0, 0, 0}, /* a quota lets nothing go */
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t before = 0;
        enum wal_trim_reason reason = WAL_TRIM_REQUEST;
        bool goes =
            retention_decide(&cases[i].limits, &cases[i].cuts, cases[i].first, &before, &reason);
        assert_int_equal(goes, cases[i].before > 0);
        if (goes) {
            assert_int_equal(before, cases[i].before);
            assert_int_equal(reason, cases[i].reason);
        }
    }
}

/* A quota that is reached is not passed; sums that do not fit into 64 bits are. */
static void a_quota_is_reached_and_not_passed(void **state)
{
    static const struct {
        uint64_t quota_bytes, quota_records;
        struct quota_facts facts;
        bool admits;
    } cases[] = {
        {0, 0, {UINT64_MAX, UINT64_MAX, 1, 1}, true},
        {0, 10, {9, 999, 1, 999}, true},
        {0, 10, {9, 999, 2, 1}, false},
        {0, 10, {10, 0, 1, 1}, false},
        {100, 0, {999, 60, 999, 40}, true},
        {100, 0, {0, 60, 1, 41}, false},
        {100, 10, {9, 60, 1, 41}, false},
        {100, 10, {9, 60, 2, 40}, false},
        {100, 10, {9, 60, 1, 40}, true},
        {UINT64_MAX - 1, 0, {0, UINT64_MAX - 5, 1, 6}, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct wal_limits limits = {.quota_bytes = cases[i].quota_bytes,
                                          .quota_records = cases[i].quota_records};
        assert_int_equal(quota_admits(&limits, &cases[i].facts), cases[i].admits);
    }
}

static const struct wal_limits unset = {WAL_LIMIT_DEFAULT, WAL_LIMIT_DEFAULT, WAL_LIMIT_DEFAULT,
                                        WAL_LIMIT_DEFAULT, WAL_LIMIT_DEFAULT};

/* What a log was told is read back as it was, and what it was not told is not zero. */
static void limits_are_read_as_they_were_written(void **state)
{
    static const struct wal_limits all[] = {
        {1, 2, 3, 4, 5},
        NONE,
        {WAL_LIMIT_DEFAULT, WAL_LIMIT_DEFAULT, WAL_LIMIT_DEFAULT, WAL_LIMIT_DEFAULT,
         WAL_LIMIT_DEFAULT},
        {WAL_LIMIT_DEFAULT, 0, 7, WAL_LIMIT_DEFAULT, UINT64_MAX - 1},
        {UINT64_MAX - 1, UINT64_MAX - 1, UINT64_MAX - 1, UINT64_MAX - 1, UINT64_MAX - 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        char text[WAL_LIMITS_BYTES_MAX];
        struct wal_limits read;
        size_t bytes = wal_limits_print(&all[i], text);
        assert_int_equal(bytes, strlen(text));
        wal_limits_parse(text, bytes, &read);
        assert_memory_equal(&read, &all[i], sizeof(read));
    }
}

/* A log of a newer version keeps what this one understands, and what is no number limits nothing. */
static void what_is_not_understood_of_limits_is_passed_over(void **state)
{
    static const char text[] = "retain-moons=3 retain-bytes=12x  quota-bytes=18446744073709551615 "
                               "retain-records=7 quota-records= retain-age-us=99999999999999999999";
    struct wal_limits read, expected = unset;
    expected.retain_records = 7;
    wal_limits_parse(text, sizeof(text) - 1, &read);
    assert_memory_equal(&read, &expected, sizeof(read));
}

/* ---- On logs --------------------------------------------------------------------------------- */

static void set_limits(struct fixture *f, const struct wal_limits *limits)
{
    char text[WAL_LIMITS_BYTES_MAX];
    wal_limits_print(limits, text);
    struct wal_state_update update = state_update(WAL_LIMITS_KEY, text);
    struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
    struct wal_token token;
    assert_int_equal(wal_append(f->wal, NULL, 0, &options, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
}

static uint64_t retain(struct fixture *f, uint64_t realtime_ns)
{
    uint64_t before;
    struct wal_token token;
    assert_int_equal(wal_retain(f->wal, realtime_ns, &before, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_int_equal(positions_of(f->wal).first_offset, before);
    return before;
}

#define RECORDS 120

static void commit_some(struct fixture *f, uint64_t count)
{
    for (uint64_t next = positions_of(f->wal).next_offset, end = next + count; next < end;) {
        size_t batch = (size_t)min_u64(1 + next % 4, end - next);
        commit_numbers(f->wal, next, batch, 900);
        next += batch;
    }
}

static struct fixture *start_with_segments(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 32 << 10;
    fixture_begin(f);
    commit_some(f, RECORDS);
    assert_true(stats_of(f->wal).segments >= 3);
    return f;
}

/* Exactly so many are kept, whichever files they are in, and those that hold no more go. */
static void the_newest_records_are_kept(void **state)
{
    struct fixture *f = start_with_segments(state);
    uint64_t segments = stats_of(f->wal).segments;
    assert_int_equal(retain(f, 1), 0); /* no limit, nothing goes */
    set_limits(f, &(struct wal_limits){.retain_records = RECORDS + 1});
    assert_int_equal(retain(f, 1), 0);
    set_limits(f, &(struct wal_limits){.retain_records = 30});
    assert_int_equal(retain(f, 1), RECORDS - 30);
    assert_int_equal(retain(f, 1), RECORDS - 30);
    fixture_settle(f);
    if (!f->threads)
        assert_true(stats_of(f->wal).segments < segments);
    assert_int_equal(stats_of(f->wal).trims[WAL_TRIM_RECORDS].count, 1);
    assert_int_equal(stats_of(f->wal).trims[WAL_TRIM_RECORDS].records, RECORDS - 30);
    fixture_reopen(f); /* the limit is the log's own */
    commit_some(f, 5);
    assert_int_equal(retain(f, 1), RECORDS + 5 - 30);
    expect_numbers(f, f->wal, RECORDS + 5 - 30, RECORDS + 5, 0);
}

/* The least that has so many bytes is kept: one record less would have fewer. */
static void the_newest_bytes_are_kept(void **state)
{
    struct fixture *f = start_with_segments(state);
    uint64_t sums[RECORDS + 1] = {0};
    for (uint64_t i = 0; i < RECORDS; i++)
        sums[i + 1] = sums[i] + record_size(i, 900);
    set_limits(f, &(struct wal_limits){.retain_bytes = sums[RECORDS] + 1});
    assert_int_equal(retain(f, 1), 0);
    for (uint64_t first = 0; first < RECORDS; first += 1 + first / 5) {
        if (first == 47)
            fixture_reopen(f);
        for (uint64_t more = first > 0; more <= 1; more--) {
            /* As many bytes as the records from `first` on have, and before that one more. */
            set_limits(f, &(struct wal_limits){.retain_bytes = sums[RECORDS] - sums[first] + more});
            assert_int_equal(retain(f, 1), first - more);
        }
    }
    assert_true(stats_of(f->wal).trims[WAL_TRIM_BYTES].count > 2);
    assert_int_equal(stats_of(f->wal).trims[WAL_TRIM_AGE].count, 0);
}

static uint64_t timestamp_of(struct fixture *f, uint64_t offset)
{
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, offset);
    struct wal_entry entry;
    assert_int_equal(wal_cursor_next(cursor, &entry), 0);
    fixture_cursor_close(f, cursor);
    return entry.timestamp_ns;
}

/* Of the age that is kept nothing goes, to the nanosecond; without a clock nothing goes at all. */
static void young_records_are_kept(void **state)
{
    struct fixture *f = fixture_start(state);
    uint64_t stamps[20];
    for (uint64_t i = 0; i < 20; i++) {
        commit_number(f->wal, i, 100);
        fixture_pause(f, 2000);
        stamps[i] = timestamp_of(f, i);
    }
    const uint64_t hour_us = UINT64_C(3600000000), hour_ns = hour_us * 1000;
    set_limits(f, &(struct wal_limits){.retain_age_us = hour_us});
    assert_int_equal(retain(f, 0), 0); /* the clock is not believed */
    assert_int_equal(retain(f, 1), 0); /* as old as the clock itself */
    assert_int_equal(retain(f, stamps[0]), 0);
    assert_int_equal(retain(f, stamps[7] + hour_ns), 7);
    assert_int_equal(retain(f, stamps[7] + hour_ns + 1), 8);
    assert_int_equal(retain(f, stamps[6] + hour_ns), 8); /* a clock set back brings nothing back */
    fixture_reopen(f);
    assert_int_equal(retain(f, stamps[19] + hour_ns), 19);
    assert_int_equal(retain(f, stamps[19] + hour_ns + 1), 20);
    assert_int_equal(retain(f, stamps[19] + 2 * hour_ns), 20); /* there is nothing left */
    commit_number(f->wal, 20, 100);
    assert_int_equal(retain(f, stamps[19] + 2), 20);
}

/* Two limits: what either keeps is kept. And an age without a clock keeps everything. */
static void what_one_limit_keeps_the_other_does_not_take(void **state)
{
    struct fixture *f = start_with_segments(state);
    set_limits(f, &(struct wal_limits){.retain_age_us = 1000, .retain_records = 10});
    uint64_t newest = timestamp_of(f, RECORDS - 1);
    assert_int_equal(retain(f, 0), 0);
    assert_int_equal(retain(f, newest + UINT64_C(1000000000000)), RECORDS - 10);
    assert_int_equal(stats_of(f->wal).trims[WAL_TRIM_RECORDS].count, 1);
    set_limits(f, &(struct wal_limits){.retain_bytes = 1, .retain_records = 3});
    assert_int_equal(retain(f, 0), RECORDS - 3);
    set_limits(f, &(struct wal_limits){.retain_bytes = UINT64_C(1) << 40, .retain_records = 1});
    assert_int_equal(retain(f, 0), RECORDS - 3);
}

/* A limit that was raised, and is acknowledged, has to be in force for what is decided already. */
static void limits_that_changed_meanwhile_let_nothing_go(void **state)
{
    struct fixture *f = start_with_segments(state);
    struct wal_limits decided_by = {.retain_records = 10};
    struct wal_token token = {0};
    set_limits(f, &(struct wal_limits){.retain_records = 11});
    assert_int_equal(log_trim(f->wal, 50, WAL_TRIM_RECORDS, &decided_by, NULL, &token), -ESTALE);
    set_limits(f, &decided_by);
    assert_int_equal(log_trim(f->wal, 50, WAL_TRIM_RECORDS, &decided_by, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_int_equal(positions_of(f->wal).first_offset, 50);
}

/* ---- The pass -------------------------------------------------------------------------------- */

struct goal {
    struct wal *wal;
    uint64_t first_offset;
};

static bool is_reached(void *context)
{
    const struct goal *goal = context;
    return positions_of(goal->wal).first_offset == goal->first_offset;
}

/* Every open log is looked at, each by its own limits or by those of all; a closed one stays as it is. */
static void a_pass_trims_every_open_log(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.limits.retain_records = 5;
    fixture_begin(f);
    struct wal *other = fixture_get(f, "other", true);
    for (uint64_t i = 0; i < 20; i++) {
        commit_number(f->wal, i, 10);
        commit_number(other, i, 10);
    }
    set_limits(f, &(struct wal_limits){WAL_LIMIT_DEFAULT, WAL_LIMIT_DEFAULT, 8, WAL_LIMIT_DEFAULT,
                                       WAL_LIMIT_DEFAULT});
    assert_true(store_is_retained(f->store, FIXTURE_LOG));
    assert_false(store_is_retained(f->store, "none"));
    store_retain(f->store, 1);
    store_retain(f->store, 1); /* one is under way, or has just ended */
    assert_true(fixture_until(f, is_reached, &(struct goal){f->wal, 12}));
    assert_true(fixture_until(f, is_reached, &(struct goal){other, 15}));
    struct store_stats stats;
    store_stats(f->store, &stats);
    assert_int_equal(stats.totals.trims[WAL_TRIM_RECORDS].count, 2);
    assert_int_equal(stats.totals.trims[WAL_TRIM_RECORDS].records, 27);
    assert_int_equal(stats.totals.trims[WAL_TRIM_REQUEST].count, 0);
    fixture_put(f, other);
    store_retain(f->store, 1); /* closing waits for it */
}

/* ---- Quotas ---------------------------------------------------------------------------------- */

static int try_append(struct fixture *f, uint64_t number, size_t count, size_t size)
{
    uint8_t data[3][1000];
    struct wal_record records[3];
    struct wal_token token;
    for (size_t i = 0; i < count; i++) {
        record_fill(data[i], size, number + i);
        records[i] = (struct wal_record){.data = data[i], .size = size};
    }
    int rc = wal_append(f->wal, records, count, NULL, NULL, &token);
    return rc < 0 ? rc : wait_for(f->wal, token);
}

/* All of a batch or none of it, and what is refused leaves no trace. */
static void what_passes_a_quota_is_refused_whole(void **state)
{
    struct fixture *f = fixture_start(state);
    set_limits(f, &(struct wal_limits){.quota_records = 4});
    assert_int_equal(try_append(f, 0, 3, 10), 0);
    assert_int_equal(try_append(f, 3, 2, 10), -EXFULL);
    assert_int_equal(positions_of(f->wal).next_offset, 3);
    assert_int_equal(try_append(f, 3, 1, 10), 0);
    assert_int_equal(try_append(f, 4, 1, 10), -EXFULL);
    assert_int_equal(stats_of(f->wal).refusals_quota, 2);
    fixture_reopen(f);
    assert_int_equal(try_append(f, 4, 1, 10), -EXFULL);
    struct wal_token token;
    assert_int_equal(wal_trim(f->wal, 1, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_int_equal(try_append(f, 4, 1, 10), 0);
    assert_int_equal(try_append(f, 5, 1, 10), -EXFULL);
    set_limits(f, &unset); /* the state may always be changed */
    assert_int_equal(try_append(f, 5, 1, 10), 0);
    expect_numbers(f, f->wal, 1, 6, 10);
}

/* What is kept is counted from where the log begins, also when only a frame can tell how much that
 * is: never as less than it is, and exactly once it has been measured. */
static void bytes_are_counted_after_a_trim_and_an_opening(void **state)
{
    struct fixture *f = fixture_start(state);
    set_limits(f, &(struct wal_limits){.quota_bytes = 1000});
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(try_append(f, i, 1, 100), 0);
    assert_int_equal(try_append(f, 10, 1, 1), -EXFULL);
    assert_int_equal(wal_measure(f->wal), 0); /* known: nothing was trimmed */
    for (unsigned life = 0; life < 2; life++) {
        uint64_t first = 3 + life, next = 10 + 3 * life;
        struct wal_token token;
        assert_int_equal(wal_trim(f->wal, first, NULL, &token), 0);
        assert_int_equal(wait_for(f->wal, token), 0);
        if (life > 0)
            fixture_reopen(f);
        assert_int_equal(try_append(f, next, 1, 100), -EXFULL);
        assert_int_equal(wal_measure(f->wal), 1);
        uint64_t room = first - (next - 10);
        for (uint64_t i = 0; i < room; i++)
            assert_int_equal(try_append(f, next + i, 1, 100), 0);
        assert_int_equal(try_append(f, next + room, 1, 1), -EXFULL);
        assert_int_equal(wal_measure(f->wal), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_goes_when_every_limit_lets_it),
        cmocka_unit_test(a_quota_is_reached_and_not_passed),
        cmocka_unit_test(limits_are_read_as_they_were_written),
        cmocka_unit_test(what_is_not_understood_of_limits_is_passed_over),
        ON_ALL(the_newest_records_are_kept),
        ON_ALL(the_newest_bytes_are_kept),
        ON_ALL(young_records_are_kept),
        ON_ALL(what_one_limit_keeps_the_other_does_not_take),
        ON_ALL(limits_that_changed_meanwhile_let_nothing_go),
        ON_ALL(a_pass_trims_every_open_log),
        ON_ALL(what_passes_a_quota_is_refused_whole),
        ON_ALL(bytes_are_counted_after_a_trim_and_an_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
