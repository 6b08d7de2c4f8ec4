/*
 * What a log does when its disk does not: whose append gets which answer, what may be written after
 * it, and who must not notice. The rule that everything here serves: an error before anything was
 * written is a refusal, and the log goes on; any other ends the log until it is opened again, since
 * after a failed sync the kernel may call the next one a success.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/io.h"

static void arm(struct fixture *f, enum sim_kind kind, uint64_t times, int error,
                enum sim_effect effect)
{
    sim_arm(f->disk,
            &(struct sim_fault){.kind = kind, .times = times, .error = error, .effect = effect});
}

static uint64_t tries(struct fixture *f, enum sim_kind kind)
{
    const struct sim_counters *counters = sim_counters(f->disk);
    return counters->done[kind] + counters->failed[kind];
}

static int append_data(struct wal *wal, const void *data, size_t size, struct wal_token *ret_token)
{
    struct wal_record record = {.data = data, .size = size};
    return wal_append(wal, &record, 1, NULL, NULL, ret_token);
}

/* ---- The durable write itself ----------------------------------------------------------------- */

static void check_failed_commit(struct fixture *f, int error, enum sim_effect effect)
{
    /* Codes that promise "not written", or "try again", are not passed on: nobody knows that. */
    int told = error == -EFBIG ? -EFBIG : -EIO;
    struct wal *other = fixture_get(f, "other", true);
    commit_number(f->wal, 0, 3000);
    commit_number(other, 0, 100);
    fixture_settle(f);
    sim_arm(f->disk, &(struct sim_fault){.kind = SIM_WRITE_DURABLE,
                                         .times = 1,
                                         .error = error,
                                         .effect = effect,
                                         .bytes = 1024});
    struct witness witnesses[4];
    struct wal_token tokens[4];
    witness_begin();
    for (uint64_t i = 0; i < ARRAY_SIZE(witnesses); i++) {
        uint8_t data[3000];
        record_fill(data, sizeof(data), 1 + i);
        struct wal_record record = {.data = data, .size = sizeof(data)};
        assert_int_equal(
            wal_append(f->wal, &record, 1, NULL, witness_handler(&witnesses[i]), &tokens[i]), 0);
    } /* the first will be on its way while the others wait behind it */
    assert_int_equal(wait_for(f->wal, tokens[0]), told);
    uint64_t writes = tries(f, SIM_WRITE_DURABLE), syncs = tries(f, SIM_SYNC_FILE);
    for (size_t i = 0; i < ARRAY_SIZE(witnesses); i++) {
        assert_int_equal(witnesses[i].calls, 1);
        assert_int_equal(witnesses[i].status, told);
        assert_int_equal(witnesses[i].order, i + 1);
        assert_int_equal(wal_poll(f->wal, tokens[i]), told);
    }
    struct wal_stats stats = stats_of(f->wal);
    assert_int_equal(stats.status, told);
    assert_int_equal(stats.failed_with, error == 0 ? -EIO : error);
    assert_int_equal(stats.positions.committed_offset, 1);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(append_data(f->wal, "x", 1, NULL), told);
        assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), told);
        assert_int_equal(wal_trim(f->wal, 1, NULL, NULL), told);
        fixture_settle(f);
    }
    assert_int_equal(tries(f, SIM_WRITE_DURABLE), writes);
    assert_int_equal(tries(f, SIM_SYNC_FILE), syncs);
    expect_numbers(f, f->wal, 0, 1, 3000);
    commit_number(other, 1, 100);
    expect_numbers(f, other, 0, 2, 100);
}

/* Edge case 4 and 5: whatever the write or its sync says, and however much of it happened all the
 * same, the log is over: every waiter is told, in order, nothing more is taken, and nothing is
 * written or synced over what may half stand there. Its neighbour does not notice. */
static void a_failed_commit_ends_the_log(void **state)
{
    struct fixture *f = fixture_of(state);
    const int errors[] = {-EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM, 0};
    f->config.log.mark_idle_us = 50000;
    f->config.log.batch_records_max = 1;
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        for (int effect = SIM_NOTHING; effect <= SIM_EVERYTHING; effect++) {
            if (errors[i] == 0 && effect != SIM_PARTLY && effect != SIM_NOTHING)
                continue;
            sim_reset(f->disk, (uint64_t)effect);
            fixture_begin(f);
            check_failed_commit(f, errors[i], (enum sim_effect)effect);
            assert_true(fixture_close(f) < 0);
            sim_disarm(f->disk);
            /* Opened again, the log is read from the disk: all of the batch is there, or none. */
            fixture_open(f);
            f->wal = fixture_get(f, FIXTURE_LOG, false);
            uint64_t end = positions_of(f->wal).committed_offset;
            assert_in_range(end, 1, 2);
            assert_int_equal(wal_status(f->wal), 0);
            if (effect == SIM_NOTHING || effect == SIM_PARTLY)
                assert_int_equal(end, 1);
            expect_numbers(f, f->wal, 0, end, 3000);
            commit_number(f->wal, end, 3000);
            assert_int_equal(fixture_close(f), 0);
        }
    }
    f->checks_overwrites = false;
}

/* Edge case 1: a short write is a failure, at whatever byte it ends. */
static void a_short_write_is_never_acknowledged(void **state)
{
    struct fixture *f = fixture_of(state);
    f->checks_overwrites = false; /* torn bytes are cleared */
    for (uint64_t bytes = 1; bytes < 8192; bytes += bytes < 200 ? 5 : 311) {
        sim_reset(f->disk, bytes);
        fixture_begin(f);
        commit_number(f->wal, 0, 7000);
        fixture_settle(f);
        sim_arm(f->disk,
                &(struct sim_fault){
                    .kind = SIM_WRITE_DURABLE, .times = 1, .effect = SIM_PARTLY, .bytes = bytes});
        struct wal_token token = append_number(f->wal, 1, 7000);
        assert_int_equal(wait_for(f->wal, token), -EIO);
        fixture_crash(f);
        fixture_open(f);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
        assert_int_equal(wal_status(f->wal), 0);
        /* Bytes that carry nothing may be what was missing. */
        uint64_t end = positions_of(f->wal).committed_offset;
        assert_in_range(end, 1, bytes > 7000 ? 2 : 1);
        expect_numbers(f, f->wal, 0, end, 7000);
        commit_number(f->wal, end, 7000);
        assert_int_equal(fixture_close(f), 0);
    }
}

/* Edge case 1 and 6 on a real disk: a limit on the size of files cuts the write short, in the middle
 * of space that was made ready. Direct writes carry their sync; buffered ones are linked to it, and
 * the kernel cuts the link. Either way nobody is told that it was written. */
static void a_write_cut_by_the_system_is_never_acknowledged(void **state)
{
    struct fixture *f = fixture_of(state);
    const enum store_direct modes[] = {STORE_DIRECT_AUTO, STORE_DIRECT_OFF};
    struct rlimit limit, low;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        f->config.direct = modes[i];
        f->config.log.space_bytes = 1 << 20; /* none is made while the limit is low */
        f->config.log.mark_idle_us = 0;
        fixture_begin(f);
        uint64_t base = positions_of(f->wal).next_offset;
        assert_int_equal(base, 2 * i);
        commit_number(f->wal, base, 100);
        low = limit;
        low.rlim_cur = (16 + 4 * i) * 4096; /* a block into the next frame, or a little more */
        while (low.rlim_cur > stats_of(f->wal).bytes_on_disk)
            low.rlim_cur -= 4096;
        /* Header, state, and one frame for each commit so far: this one has 100 blocks. */
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
        struct wal_token token = append_number(f->wal, base + 1, 400000);
        int rc = wait_for(f->wal, token);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        assert_int_equal(rc, -EIO);
        assert_int_equal(wal_status(f->wal), -EIO);
        assert_int_equal(append_data(f->wal, "x", 1, NULL), -EIO);
        assert_int_equal(fixture_close(f), -EIO);

        fixture_open(f);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
        assert_int_equal(positions_of(f->wal).committed_offset, base + 1);
        assert_true(stats_of(f->wal).recovery.torn_bytes > 0);
        commit_number(f->wal, base + 1, 100);
        expect_numbers(f, f->wal, 0, base + 2, 100);
        assert_int_equal(fixture_close(f), 0);
    }
    signal(SIGXFSZ, before);
}

/* Edge case 2: interrupted before any byte was written is no failure: the same range is sent again,
 * and counted. */
static void interrupted_writes_are_sent_again(void **state)
{
    struct fixture *f = fixture_start(state);
    const int errors[] = {-EINTR, -EAGAIN};
    fixture_settle(f);
    for (uint64_t i = 0; i < ARRAY_SIZE(errors); i++) {
        uint64_t retries = stats_of(f->wal).write_retries;
        arm(f, SIM_WRITE_DURABLE, 7, errors[i], SIM_NOTHING);
        commit_number(f->wal, i, 3000);
        assert_int_equal(stats_of(f->wal).write_retries, retries + 7);
        sim_disarm(f->disk);
    }
    arm(f, SIM_WRITE, 5, -EINTR, SIM_NOTHING); /* zeros ahead, likewise */
    for (uint64_t i = 2; i < 60; i++)
        commit_number(f->wal, i, 3000);
    assert_int_equal(wal_status(f->wal), 0);
    sim_disarm(f->disk);
    expect_numbers(f, f->wal, 0, 60, 3000);

    /* Not for ever; and what ends it must not read as "try again". */
    arm(f, SIM_WRITE_DURABLE, UINT64_MAX, -EAGAIN, SIM_NOTHING);
    struct wal_token token = append_number(f->wal, 60, 3000);
    assert_int_equal(wait_for(f->wal, token), -EIO);
    assert_int_equal(append_data(f->wal, "x", 1, NULL), -EIO);
    assert_int_equal(stats_of(f->wal).failed_with, -EAGAIN);
    sim_disarm(f->disk);
}

/* A mark is a write like any other: where it fails nobody knows what stands there. And one is enough. */
static void an_idle_log_is_marked_once(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.mark_idle_us = 20000;
    fixture_begin(f);
    fixture_pause(f, 200000);
    uint64_t writes = tries(f, SIM_WRITE_DURABLE);
    commit_number(f->wal, 0, 100);
    assert_int_equal(tries(f, SIM_WRITE_DURABLE), writes + 1);
    fixture_pause(f, 10000);
    assert_int_equal(tries(f, SIM_WRITE_DURABLE), writes + 1);
    fixture_pause(f, 2000000);
    assert_int_equal(tries(f, SIM_WRITE_DURABLE), writes + 2);
    assert_int_equal(stats_of(f->wal).commits, 1);

    commit_number(f->wal, 1, 100);
    arm(f, SIM_WRITE_DURABLE, 1, -EIO, SIM_NOTHING);
    fixture_pause(f, 100000);
    assert_int_equal(wal_status(f->wal), -EIO);
    assert_int_equal(append_data(f->wal, "x", 1, NULL), -EIO);
    expect_numbers(f, f->wal, 0, 2, 100);
}

/* ---- No room ------------------------------------------------------------------------------------ */

/* Appends until the disk has no more; each answer is either success or a refusal. */
static uint64_t fill_disk(struct fixture *f, uint64_t next, size_t bytes,
                          struct wal_token *ret_refused)
{
    for (unsigned i = 0; i < 1000; i++) {
        struct wal_token token = append_number(f->wal, next, bytes);
        assert_int_equal(token.begin, next);
        int rc = wait_for(f->wal, token);
        *ret_refused = token;
        if (rc == -ENOSPC)
            return next;
        assert_int_equal(rc, 0);
        next++;
    }
    fail_msg("the disk did not fill up");
    return next;
}

/* Edge case 3: a full disk refuses appends before anything is written. The log is whole, is read, and
 * goes on when there is room, with offsets that nobody else got. */
static void a_full_disk_refuses_until_there_is_room(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 256 << 10;
    fixture_begin(f);
    uint64_t next = 0;
    struct wal_token refused[4];
    for (unsigned round = 0; round < ARRAY_SIZE(refused); round++) {
        sim_options_of(f->disk)->capacity_blocks = sim_used_blocks(f->disk) + 20;
        next = fill_disk(f, next, 3000, &refused[round]);
        struct wal_stats stats = stats_of(f->wal);
        assert_int_equal(stats.status, 0);
        assert_int_equal(stats.failed_with, 0);
        assert_int_equal(stats.positions.next_offset, next);
        assert_int_equal(stats.pending_entries, 0);
        assert_int_equal(stats.refusals_space, round + 1);
        assert_true(wal_error_is_refusal(-ENOSPC));
        expect_numbers(f, f->wal, 0, next, 3000);

        sim_options_of(f->disk)->capacity_blocks = 0;
        commit_number(f->wal, next++, 3000);
        for (unsigned i = 0; i <= round; i++)
            assert_int_equal(wal_poll(f->wal, refused[i]), -ENOSPC); /* it stays what it was */
        if (round % 2)
            fixture_reopen(f);
        if (round % 2) {
            for (unsigned i = 0; i <= round; i++)
                refused[i] = refused[round]; /* tokens are of one life */
            break;
        }
    }
    expect_numbers(f, f->wal, 0, next, 3000);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 0, next, 3000);
}

/* Space is made ahead in large steps, and yet the last blocks of a disk are used: what does not fit
 * ahead refuses nothing that fits itself. */
static void a_step_that_does_not_fit_refuses_nothing_that_does(void **state)
{
    struct fixture *f = fixture_of(state);
    const size_t bytes = 300000;
    const uint64_t frame_blocks = 74, frames = 100;
    fixture_begin(f);
    fixture_settle(f);
    sim_options_of(f->disk)->capacity_blocks = sim_used_blocks(f->disk) + frames * frame_blocks;
    struct wal_token refused;
    uint64_t end = fill_disk(f, 0, bytes, &refused);
    assert_in_range(end, frames, frames + 1);
    expect_numbers(f, f->wal, 0, end, bytes);
    sim_options_of(f->disk)->capacity_blocks = 0;
    commit_number(f->wal, end, bytes);
}

/* All that queued behind a refused append is refused with it: no holes. Their state changes go back,
 * their handlers are told in order, and their offsets are free again. */
static void what_waits_behind_a_refused_append_is_refused_with_it(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.space_bytes = 8 << 10;
    f->config.log.batch_records_max = 1;
    fixture_begin(f);
    struct wal_state_update update = state_update("key", "kept");
    struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
    struct wal_record record = {.data = "x", .size = 1};
    assert_int_equal(wal_append(f->wal, &record, 1, &options, NULL, NULL), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    fixture_settle(f);
    sim_options_of(f->disk)->capacity_blocks = sim_used_blocks(f->disk);

    struct witness witnesses[5];
    struct wal_token tokens[5];
    uint8_t data[100000] = {1};
    witness_begin();
    for (size_t i = 0; i < ARRAY_SIZE(witnesses); i++) {
        char value[2] = {(char)('a' + i), 0};
        update = state_update(i % 2 ? "key" : "new", value);
        record = (struct wal_record){.data = data, .size = i == 0 ? sizeof(data) : 1};
        assert_int_equal(
            wal_append(f->wal, &record, 1, &options, witness_handler(&witnesses[i]), &tokens[i]),
            0);
    }
    expect_state(f->wal, "key", "d");
    for (size_t i = 0; i < ARRAY_SIZE(witnesses); i++) {
        assert_int_equal(wait_for(f->wal, tokens[i]), -ENOSPC);
        assert_int_equal(witnesses[i].calls, 1);
        assert_int_equal(witnesses[i].status, -ENOSPC);
        assert_int_equal(witnesses[i].order, i + 1);
    }
    expect_state(f->wal, "key", "kept");
    expect_state(f->wal, "new", NULL);
    assert_int_equal(positions_of(f->wal).next_offset, 1);
    assert_int_equal(stats_of(f->wal).refusals_space, 5);

    sim_options_of(f->disk)->capacity_blocks = 0;
    struct wal_token again = append_number(f->wal, 1, 100);
    assert_int_equal(again.begin, 1);
    assert_int_equal(wait_for(f->wal, again), 0);
    assert_int_equal(wal_poll(f->wal, tokens[0]), -ENOSPC);
    fixture_reopen(f);
    expect_state(f->wal, "key", "kept");
    assert_int_equal(positions_of(f->wal).committed_offset, 2);
}

/* The log remembers so many refusals; of a token older than that it says that it does not know, which
 * is not the same as success. */
static void a_refusal_is_never_forgotten_into_a_success(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.space_bytes = 8 << 10;
    f->config.log.segment_bytes = 32 << 10; /* no space is ever ready for a large record */
    fixture_begin(f);
    fixture_settle(f);
    struct wal_token tokens[40];
    static const uint8_t data[100000] = {1};
    for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
        sim_options_of(f->disk)->capacity_blocks = sim_used_blocks(f->disk);
        for (unsigned again = 0; again < 3; again++) { /* in a row they are remembered as one */
            assert_int_equal(append_data(f->wal, data, sizeof(data), &tokens[i]), 0);
            assert_int_equal(wait_for(f->wal, tokens[i]), -ENOSPC);
        }
        assert_int_equal(wal_flush(f->wal, UINT64_MAX), -ENOSPC);
        sim_options_of(f->disk)->capacity_blocks = 0;
        assert_int_equal(wait_for(f->wal, append_number(f->wal, i, 10)), 0);
        assert_int_equal(wal_flush(f->wal, UINT64_MAX), 0);
    }
    unsigned forgotten = 0;
    for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
        int rc = wal_poll(f->wal, tokens[i]);
        assert_true(rc == -ENOSPC || rc == -ESTALE);
        assert_true(rc == -ESTALE || i >= ARRAY_SIZE(tokens) - 20);
        forgotten += rc == -ESTALE;
    }
    assert_in_range(forgotten, 1, ARRAY_SIZE(tokens) - 1);
    sim_options_of(f->disk)->capacity_blocks = 0;
}

/* The same answer where it is a quota, or descriptors or memory that are missing, and when it is the
 * next segment that finds no room: nothing was written, so the log goes on afterwards. Edge case 21:
 * at rotation. */
static void a_rotation_without_room_is_a_refusal(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 32 << 10;
    const struct {
        enum sim_kind kind;
        int error;
    } faults[] = {
        {SIM_CREATE, -ENOSPC},   {SIM_CREATE, -EMFILE},        {SIM_OPEN_FILE, -EMFILE},
        {SIM_OPEN_DIR, -ENFILE}, {SIM_WRITE_DURABLE, -ENOSPC}, {SIM_OPEN_DIR, -EMFILE},
        {SIM_CREATE, -EDQUOT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        sim_reset(f->disk, i);
        fixture_begin(f);
        uint64_t next = 0;
        while (stats_of(f->wal).rotations == 0)
            commit_number(f->wal, next++, 3000);
        for (unsigned k = 0; k < 5; k++)
            commit_number(f->wal, next++, 3000);
        fixture_settle(f);
        /* One more fits the segment, the next one does not. */
        sim_arm(f->disk, &(struct sim_fault){.kind = faults[i].kind,
                                             .times = UINT64_MAX,
                                             .error = faults[i].error,
                                             .name = faults[i].kind == SIM_WRITE_DURABLE ||
                                                             faults[i].kind == SIM_CREATE ||
                                                             faults[i].kind == SIM_OPEN_FILE
                                                         ? "next.tmp"
                                                         : NULL});
        int rc = 0;
        struct wal_token token = {0};
        for (unsigned k = 0; k < 3 && rc == 0; k++) {
            token = append_number(f->wal, next, 3000);
            rc = wait_for(f->wal, token);
            next += rc == 0;
        }
        sim_disarm(f->disk);
        if (rc < 0) {
            assert_int_equal(rc, faults[i].error);
            assert_int_equal(wal_status(f->wal), 0);
            assert_int_equal(positions_of(f->wal).next_offset, next);
        }
        for (unsigned k = 0; k < 10; k++)
            commit_number(f->wal, next++, 3000);
        expect_numbers(f, f->wal, 0, next, 3000);
        fixture_reopen(f);
        expect_numbers(f, f->wal, 0, next, 3000);
        assert_int_equal(fixture_close(f), 0);
    }
}

/* ---- Space ahead -------------------------------------------------------------------------------- */

/* Zeros that failed to be written: what was acknowledged stays so, what comes later is refused. No
 * frame was touched, but nobody knows what stands where the next one would go. */
static void failed_zeros_end_the_log_after_the_commit_beside_them(void **state)
{
    struct fixture *f = fixture_of(state);
    f->checks_overwrites = false;
    for (uint64_t after = 0; after < 3; after++) {
        sim_reset(f->disk, after);
        fixture_begin(f);
        sim_arm(f->disk,
                &(struct sim_fault){.kind = SIM_WRITE, .after = after, .times = 1, .error = -EIO});
        uint64_t next = 0;
        int rc = 0;
        while (next < 500 && rc == 0) {
            uint8_t data[3000];
            struct wal_token token;
            record_fill(data, sizeof(data), next);
            rc = append_data(f->wal, data, sizeof(data), &token);
            if (rc == 0)
                rc = wait_for(f->wal, token);
            next += rc == 0;
        }
        assert_int_equal(rc, -EIO);
        assert_in_range(next, 1, 400);
        assert_int_equal(wal_status(f->wal), -EIO);
        expect_numbers(f, f->wal, 0, next, 3000);
        assert_int_equal(fixture_close(f), -EIO);
        fixture_open(f);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
        assert_int_equal(positions_of(f->wal).committed_offset, next);
        commit_number(f->wal, next, 3000);
        assert_int_equal(fixture_close(f), 0);
    }
}

/* Edge case 30: appends of all sizes overtake the zeros, rotate and close while some are on their
 * way. Zeros must never land on a frame: the disk counts each durable byte that is written over. */
static void zeros_never_land_on_frames(void **state)
{
    struct fixture *f = fixture_of(state);
    static const size_t sizes[] = {10, 3000, 20000, 70000, 300000, 700000};
    for (uint64_t seed = 0; seed < 40; seed++) {
        sim_reset(f->disk, seed);
        f->config.log.space_bytes = (uint32_t)(8 << 10) << seed % 4;
        f->config.log.segment_bytes = (uint64_t)(100 << 10) << seed % 6;
        sim_options_of(f->disk)->no_allocate = seed % 5 == 0;
        sim_options_of(f->disk)->latency_us = seed % 2 ? 100 : 2000;
        fixture_begin(f);
        uint64_t next = 0;
        for (uint64_t i = 0; i < 40; i++) {
            append_number(f->wal, next, sizes[(seed * 7 + i * i) % ARRAY_SIZE(sizes)]);
            next++;
            if (i % 3 == seed % 3)
                fixture_run(f);
            if (i % 17 == 5)
                assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
        }
        fixture_reopen(f);
        expect_numbers(f, f->wal, 0, next, 0);
        assert_int_equal(fixture_close(f), 0);
        assert_int_equal(sim_counters(f->disk)->overwrites, 0);
        assert_int_equal(sim_counters(f->disk)->misuses, 0);
    }
}

/* Edge case 31: with one handle for many logs each write's file is about to be closed for the next.
 * It must not be while the disk is at work on it: the disk counts every use of a closed handle. */
static void a_handle_in_use_is_not_closed(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.write_handles_max = 1;
    f->config.log.segment_bytes = 64 << 10;
    for (uint64_t seed = 0; seed < 20; seed++) {
        sim_reset(f->disk, seed);
        fixture_open(f);
        struct wal *logs[6];
        for (unsigned i = 0; i < ARRAY_SIZE(logs); i++) {
            char name[24];
            snprintf(name, sizeof(name), "log%u", i);
            logs[i] = fixture_get(f, name, true);
        }
        for (uint64_t round = 0; round < 15; round++) {
            for (uint64_t i = 0; i < ARRAY_SIZE(logs); i++)
                append_number(logs[(i * 5 + seed) % ARRAY_SIZE(logs)], round, 7000);
            fixture_run(f);
        }
        for (unsigned i = 0; i < ARRAY_SIZE(logs); i++) {
            assert_int_equal(wal_flush(logs[i], FIXTURE_PATIENCE_US), 0);
            expect_numbers(f, logs[i], 0, 15, 7000);
        }
        assert_int_equal(fixture_close(f), 0);
        assert_int_equal(sim_counters(f->disk)->misuses, 0);
    }
}

/* ---- Directories -------------------------------------------------------------------------------- */

/* The new segment has its name, perhaps: the log must go on neither in it nor in the old one. */
static void a_failed_directory_sync_at_rotation_ends_the_log(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 32 << 10;
    for (int effect = SIM_NOTHING; effect <= SIM_EVERYTHING; effect++) {
        sim_reset(f->disk, (uint64_t)effect);
        fixture_begin(f);
        struct wal *other = fixture_get(f, "other", true);
        arm(f, SIM_SYNC_DIR, 1, -EIO, (enum sim_effect)effect);
        uint64_t next = 0;
        int rc = 0;
        while (next < 50 && rc == 0) {
            struct wal_token token = append_number(f->wal, next, 3000);
            rc = wait_for(f->wal, token);
            next += rc == 0;
        }
        assert_int_equal(rc, -EIO);
        assert_int_equal(wal_status(f->wal), -EIO);
        expect_numbers(f, f->wal, 0, next, 3000);
        commit_number(other, 0, 100);
        fixture_crash(f);
        fixture_open(f);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
        expect_numbers(f, f->wal, 0, next, 3000);
        commit_number(f->wal, next, 3000);
        assert_int_equal(fixture_close(f), 0);
    }
}

/* A log whose name may not be durable must not be found by anybody: what would be acknowledged in it
 * could vanish with the name. */
static void a_log_whose_name_is_not_durable_takes_no_appends(void **state)
{
    struct fixture *f = fixture_of(state);
    for (uint64_t k = 0; k < 30; k++) {
        sim_reset(f->disk, k);
        fixture_open(f);
        struct wal *old = fixture_get(f, "old", true), *wal;
        commit_number(old, 0, 100);
        sim_arm(f->disk, &(struct sim_fault){.kind = SIM_SYNC_DIR,
                                             .after = k / 5,
                                             .times = 1,
                                             .error = -EIO,
                                             .effect = (enum sim_effect)(k % 5)});
        int rc = store_create(f->store, "new", NULL, 0, &wal);
        bool acknowledged = false;
        if (rc < 0)
            rc = store_get(f->store, "new", true, &wal); /* as a client would try again */
        if (rc == 0) {
            struct wal_token token = append_number(wal, 0, 100);
            acknowledged = wait_for(wal, token) == 0;
            store_put(f->store, wal);
        }
        commit_number(old, 1, 100);
        fixture_crash(f);
        sim_disarm(f->disk);
        fixture_open(f);
        expect_numbers(f, fixture_get(f, "old", false), 0, 2, 100);
        if (acknowledged)
            expect_numbers(f, fixture_get(f, "new", false), 0, 1, 100);
        assert_int_equal(fixture_close(f), 0);
    }
}

/* A delete that could not be made durable is an error; the log is there or not, whole. */
static void a_failed_directory_sync_at_deletion_is_told(void **state)
{
    struct fixture *f = fixture_of(state);
    for (uint64_t k = 0; k < 15; k++) {
        sim_reset(f->disk, k);
        fixture_begin(f);
        commit_number(f->wal, 0, 100);
        fixture_put(f, f->wal);
        sim_arm(f->disk, &(struct sim_fault){.kind = SIM_SYNC_DIR,
                                             .after = k / 5,
                                             .times = 1,
                                             .error = -EIO,
                                             .effect = (enum sim_effect)(k % 5)});
        assert_int_equal(store_delete(f->store, FIXTURE_LOG), -EIO);
        fixture_crash(f);
        sim_disarm(f->disk);
        fixture_open(f);
        struct wal *wal;
        int rc = store_get(f->store, FIXTURE_LOG, false, &wal);
        assert_true(rc == 0 || rc == -ENOENT);
        if (rc == 0) {
            expect_numbers(f, wal, 0, 1, 100);
            store_put(f->store, wal);
        }
        assert_int_equal(fixture_close(f), 0);
    }
}

/* Files that cannot be removed cost space, and nothing else; the next start removes them. */
static void a_failed_removal_of_trimmed_files_harms_nothing(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 32 << 10;
    fixture_begin(f);
    for (uint64_t i = 0; i < 40; i++)
        commit_number(f->wal, i, 3000);
    arm(f, SIM_REMOVE_FILE, UINT64_MAX, -EIO, SIM_NOTHING);
    assert_int_equal(wal_trim(f->wal, 30, NULL, NULL), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    fixture_settle(f);
    commit_number(f->wal, 40, 3000);
    expect_numbers(f, f->wal, 30, 41, 3000);
    sim_disarm(f->disk);
    assert_true(sim_exists(f->disk, fixture_segment(f, FIXTURE_LOG, 0), SIM_CACHED));
    fixture_reopen(f);
    assert_false(sim_exists(f->disk, fixture_segment(f, FIXTURE_LOG, 0), SIM_CACHED));
    expect_numbers(f, f->wal, 30, 41, 3000);
}

/* ---- Reading ------------------------------------------------------------------------------------ */

/* Edge case 29: a read that fails is that reader's trouble. It may try again, and appends go on. */
static void a_failed_read_fails_that_read_alone(void **state)
{
    struct fixture *f = fixture_start(state);
    for (uint64_t i = 0; i < 10; i++)
        commit_number(f->wal, i, 3000);
    assert_int_equal(
        sim_fail_reads(f->disk, fixture_segment(f, FIXTURE_LOG, 0), 20480, 24576, -EIO), 0);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    struct wal_entry entry;
    int rc;
    uint64_t next = 0;
    while ((rc = wal_cursor_next(cursor, &entry)) == 0)
        assert_int_equal(entry.offset, next++);
    assert_int_equal(rc, -EIO);
    assert_true(next < 10);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(wal_cursor_next(cursor, &entry), -EIO);
    assert_int_equal(wal_status(f->wal), 0);
    commit_number(f->wal, 10, 3000);
    sim_disarm(f->disk);
    for (; next < 11; next++) {
        assert_int_equal(wal_cursor_next(cursor, &entry), 0);
        assert_int_equal(entry.offset, next);
        assert_true(record_is(entry.data, entry.size, next));
    }

    /* The same for descriptors that are missing, and a whole new cursor. */
    arm(f, SIM_OPEN_FILE, 2, -EMFILE, SIM_NOTHING);
    cursor = fixture_cursor(f, f->wal, 3);
    assert_int_equal(wal_cursor_next(cursor, &entry), -EMFILE);
    assert_int_equal(wal_cursor_next(cursor, &entry), -EMFILE);
    assert_int_equal(wal_cursor_next(cursor, &entry), 0);
    assert_int_equal(entry.offset, 3);
}

/* Read-ahead may have cached zeros before a direct write filled them, or a failed sync may have left
 * bytes that the disk lacks: what does not check out is read again from the disk itself before it is
 * called damage. */
static void what_the_cache_shows_is_not_believed_against_the_disk(void **state)
{
    struct fixture *f = fixture_start(state);
    commit_number(f->wal, 0, 3000);
    fixture_settle(f);
    /* A sync that lies drops the frame, and the cache still has it. */
    arm(f, SIM_WRITE_DURABLE, 1, -EIO, SIM_DROPPED);
    struct wal_token token = append_number(f->wal, 1, 3000);
    assert_int_equal(wait_for(f->wal, token), -EIO);
    fixture_put(f, f->wal);
    assert_int_equal(store_reopen(f->store, FIXTURE_LOG), 0);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_int_equal(wal_status(f->wal), 0);
    assert_int_equal(positions_of(f->wal).committed_offset, 1);
    commit_number(f->wal, 1, 100);
    commit_number(f->wal, 2, 3000);
    fixture_crash(f);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    expect_numbers(f, f->wal, 0, 3, 0);
    f->checks_overwrites = false;
}

/* A start that cannot read a part of the log must not take it for the end: it may hold what was
 * acknowledged. When the disk can read again, so can the log. */
static void a_failed_read_at_the_start_is_damage_and_not_the_end(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.mark_idle_us = 0;
    f->config.log.segment_bytes = 32 << 10;
    fixture_begin(f);
    for (uint64_t i = 0; i < 10; i++)
        commit_number(f->wal, i, 3000);
    assert_int_equal(fixture_close(f), 0);
    for (uint64_t block = 0; block < 7; block++) {
        const char *path = fixture_segment(f, FIXTURE_LOG, 1);
        sim_fail_reads(f->disk, path, block * 4096, block * 4096 + 1, -EIO);
        fixture_open(f);
        struct wal *wal;
        int rc = store_get(f->store, FIXTURE_LOG, false, &wal);
        if (rc == 0) {
            assert_int_equal(wal_status(wal), -EBADMSG);
            assert_int_equal(append_data(wal, "x", 1, NULL), -EBADMSG);
            store_put(f->store, wal);
        }
        assert_int_equal(fixture_close(f), 0);
        sim_disarm(f->disk);
    }
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_int_equal(wal_status(f->wal), 0);
    expect_numbers(f, f->wal, 0, 10, 3000);
}

/* ---- Neighbours --------------------------------------------------------------------------------- */

/* Edge case 32: many logs of one committer, some of which fail or are refused; the others commit. */
static void failing_logs_do_not_stall_the_others(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.space_bytes = 8 << 10;
    fixture_open(f);
    struct wal *logs[12];
    for (unsigned i = 0; i < ARRAY_SIZE(logs); i++) {
        char name[24];
        snprintf(name, sizeof(name), "log%u", i);
        logs[i] = fixture_get(f, name, true);
    }
    sim_arm(f->disk,
            &(struct sim_fault){.kind = SIM_WRITE_DURABLE, .after = 30, .times = 4, .error = -EIO});
    uint64_t next[ARRAY_SIZE(logs)] = {0};
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < ARRAY_SIZE(logs); i++) {
            if (wal_status(logs[i]) == 0)
                append_number(logs[i], next[i]++, 3000);
        }
        if (round % 3 == 0)
            fixture_run(f);
    }
    unsigned failed = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(logs); i++) {
        int rc = wal_flush(logs[i], FIXTURE_PATIENCE_US);
        assert_true(rc == 0 || rc == -EIO);
        failed += rc < 0;
        uint64_t end = positions_of(logs[i]).committed_offset;
        if (rc == 0)
            assert_int_equal(end, next[i]);
        expect_numbers(f, logs[i], 0, end, 3000);
    }
    assert_in_range(failed, 1, 4);
    struct store_stats stats;
    store_stats(f->store, &stats);
    assert_int_equal(stats.logs_failed, failed);
}

static struct wal_io slow_io;
static struct wal_io_ops slow_ops;
static _Atomic bool slow;

/* Takes as long as the test wants it to. */
static int sync_slowly(struct wal_io *io, int handle)
{
    while (atomic_load(&slow))
        usleep(1000);
    return 0;
}

/* Edge case 32, with time: a log that waits for a slow directory while it starts a segment does not
 * hold up the log beside it. */
static void a_slow_log_does_not_stall_the_others(void **state)
{
    struct fixture *f = fixture_of(state);
    struct wal_io *posix;
    assert_int_equal(wal_io_posix_new(false, &posix), 0);
    slow_io = *posix;
    slow_ops = *posix->ops;
    slow_ops.sync = sync_slowly;
    slow_io.ops = &slow_ops;
    f->config.custom_io = &slow_io;
    f->config.log.batch_records_max = 1; /* the second one needs a new segment */
    f->config.log.segment_bytes = 32 << 10;
    f->config.log.mark_idle_us = 0;
    fixture_begin(f);
    struct wal *other = fixture_get(f, "other", true);
    atomic_store(&slow, true);
    append_number(f->wal, 0, 20000);
    struct wal_token last = append_number(f->wal, 1, 20000);
    int beside = 0;
    for (uint64_t i = 0; i < 3 && beside == 0; i++) {
        struct wal_token token = append_number(other, i, 10);
        beside = wait_for(other, token);
    }
    int waits = wal_poll(f->wal, last);
    atomic_store(&slow, false);
    assert_int_equal(beside, 0);
    assert_int_equal(waits, -EINPROGRESS);
    assert_int_equal(wait_for(f->wal, last), 0);
    assert_int_equal(fixture_close(f), 0);
    posix->ops->free(posix);
}

/* A ring that cannot be made: whoever waits is told, and the store can be closed. */
static void a_store_without_a_ring_answers_and_closes(void **state)
{
    struct fixture *f = fixture_of(state);
    fixture_open(f);
    arm(f, SIM_RING_NEW, UINT64_MAX, -ENOMEM, SIM_NOTHING);
    struct wal *wal = fixture_get(f, "log", true);
    struct witness witness;
    struct wal_record record = {.data = "x", .size = 1};
    struct wal_token token;
    assert_int_equal(wal_append(wal, &record, 1, NULL, witness_handler(&witness), &token), 0);
    assert_true(wait_for(wal, token) < 0);
    (void)fixture_close(f);
    assert_int_equal(witness.calls, 1);
    assert_true(witness.status < 0);
    sim_disarm(f->disk);
    fixture_open(f);
    assert_int_equal(positions_of(fixture_get(f, "log", false)).committed_offset, 0);
}

/* ---- Every step in turn ------------------------------------------------------------------------- */

/* What the standard scenario was told. */
struct told {
    uint64_t appended;     /* records queued, at most */
    uint64_t acknowledged; /* records below it are durable */
    uint64_t trimmed;      /* a trim to here was acknowledged */
    uint64_t trim_tried;
    bool made; /* the log was made, and so must stand */
    bool other_made, other_deleted, delete_tried;
    char state[16], state_tried[16];
};

static int commit_told(struct wal *wal, struct told *told)
{
    uint8_t data[3000];
    char value[24];
    record_fill(data, sizeof(data), told->acknowledged);
    snprintf(value, sizeof(value), "%" PRIu64, told->acknowledged);
    struct wal_state_update update = state_update("last", value);
    struct wal_append_options options = {
        .expected_offset = told->acknowledged, .updates = &update, .update_count = 1};
    struct wal_record record = {.data = data, .size = sizeof(data)};
    struct wal_token token;
    int rc = wal_append(wal, &record, 1, &options, NULL, &token);
    if (rc < 0)
        return rc;
    told->appended = token.end > told->appended ? token.end : told->appended;
    rc = wal_wait(wal, token, FIXTURE_PATIENCE_US);
    if (rc == 0)
        told->acknowledged = token.end;
    return rc;
}

/* Open, make, append over two rotations, trim, delete another log, close. Goes on after errors as far
 * as one can. */
static void run_scenario(struct fixture *f, struct told *told)
{
    struct wal *wal, *other;
    if (store_open(&f->store, f->path, &f->config, NULL) < 0) {
        f->store = NULL;
        return;
    }
    if (store_get(f->store, "other", true, &other) == 0) {
        told->other_made = true;
        store_put(f->store, other);
    }
    if (store_get(f->store, FIXTURE_LOG, true, &wal) == 0) {
        told->made = true;
        for (unsigned i = 0; i < 24; i++) {
            if (commit_told(wal, told) < 0 && wal_status(wal) < 0)
                break;
            struct wal_token token;
            if (i == 16 && told->acknowledged > 8) {
                told->trim_tried = 8;
                if (wal_trim(wal, 8, NULL, &token) == 0 &&
                    wal_wait(wal, token, FIXTURE_PATIENCE_US) == 0)
                    told->trimmed = 8;
            }
        }
        store_put(f->store, wal);
    }
    told->delete_tried = true;
    told->other_deleted = store_delete(f->store, "other") == 0;
    (void)store_close(TAKE(f->store), UINT64_MAX);
}

/* Everything that was promised is there, and nothing that was not appended. */
static void check_told(struct fixture *f, const struct told *told)
{
    struct wal *wal;
    fixture_open(f);
    int rc = store_get(f->store, "other", false, &wal);
    assert_true(rc == 0 || rc == -ENOENT);
    if (rc == 0)
        store_put(f->store, wal);
    if (told->other_deleted)
        assert_int_equal(rc, -ENOENT);
    if (told->other_made && !told->delete_tried)
        assert_int_equal(rc, 0);

    rc = store_get(f->store, FIXTURE_LOG, false, &wal);
    if (rc < 0) {
        assert_int_equal(rc, -ENOENT);
        assert_false(told->made);
        assert_int_equal(fixture_close(f), 0);
        return;
    }
    store_put(f->store, wal);
    wal = fixture_get(f, FIXTURE_LOG, false);
    struct wal_positions at = positions_of(wal);
    assert_int_equal(wal_status(wal), 0);
    assert_in_range(at.committed_offset, told->acknowledged, told->appended);
    assert_in_range(at.first_offset, told->trimmed, told->trim_tried);
    expect_numbers(f, wal, at.first_offset, at.committed_offset, 3000);
    if (at.committed_offset > 0) {
        char value[24];
        snprintf(value, sizeof(value), "%" PRIu64, at.committed_offset - 1);
        expect_state(wal, "last", value);
    }
    commit_number(wal, at.committed_offset, 3000);
    assert_int_equal(fixture_close(f), 0);
}

/* Runs the scenario with the Nth operation failing, for every N until it ends without meeting the
 * fault; then a power cut or not, and all promises are checked. */
static void fail_each_operation(struct fixture *f, int error, enum sim_effect effect, bool for_good)
{
    for (uint64_t n = 0;; n++) {
        struct told told = {0};
        sim_reset(f->disk, n);
        sim_arm(f->disk, &(struct sim_fault){.kind = SIM_ANY,
                                             .after = n,
                                             .times = for_good ? UINT64_MAX : 1,
                                             .error = error,
                                             .effect = effect});
        run_scenario(f, &told);
        bool met = sim_counters(f->disk)->faults > 0;
        sim_disarm(f->disk);
        if (n % 2)
            sim_crash(f->disk);
        assert_int_equal(sim_handles(f->disk), 0);
        assert_int_equal(sim_rings(f->disk), 0);
        assert_int_equal(sim_counters(f->disk)->misuses, 0);
        check_told(f, &told);
        if (!met) {
            assert_true(n > 150); /* it was a long way, and the end of it is a clean run */
            assert_int_equal(told.acknowledged, 24);
            assert_true(told.other_deleted);
            return;
        }
    }
}

/* Edge case 12, with errors in place of power cuts: whatever fails, once or for good, from the first
 * system call to the last: no crash, and no lie. */
static void any_step_may_fail(void **state)
{
    struct fixture *f = fixture_of(state);
    f->checks_overwrites = false;
    f->config.log.segment_bytes = 32 << 10;
    f->config.log.space_bytes = 8 << 10;
    fail_each_operation(f, -EIO, SIM_EFFECT_BY_SEED, false);
    fail_each_operation(f, -EIO, SIM_EFFECT_BY_SEED, true);
    fail_each_operation(f, -EIO, SIM_NOTHING, false);
    fail_each_operation(f, -EIO, SIM_UNSYNCED, false);
    fail_each_operation(f, -ENOSPC, SIM_NOTHING, false);
    fail_each_operation(f, -ENOSPC, SIM_NOTHING, true);
    fail_each_operation(f, -EMFILE, SIM_NOTHING, false);
    fail_each_operation(f, -ENOMEM, SIM_NOTHING, true);
}

int main(void)
{
    /* Many stores are opened here: keep their memory rather than fetch it anew each time. */
    (void)mallopt(M_MMAP_THRESHOLD, 64 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 256 << 20);
    const struct CMUnitTest tests[] = {
        ON_SIM(a_failed_commit_ends_the_log),
        ON_SIM(a_short_write_is_never_acknowledged),
        ON_DISKS(a_write_cut_by_the_system_is_never_acknowledged),
        ON_SIM(interrupted_writes_are_sent_again),
        ON_SIM(an_idle_log_is_marked_once),
        ON_SIM(a_full_disk_refuses_until_there_is_room),
        ON_SIM(a_step_that_does_not_fit_refuses_nothing_that_does),
        ON_SIM(what_waits_behind_a_refused_append_is_refused_with_it),
        ON_SIM(a_refusal_is_never_forgotten_into_a_success),
        ON_SIM(a_rotation_without_room_is_a_refusal),
        ON_SIM(failed_zeros_end_the_log_after_the_commit_beside_them),
        ON_SIM(zeros_never_land_on_frames),
        ON_SIM(a_handle_in_use_is_not_closed),
        ON_SIM(a_failed_directory_sync_at_rotation_ends_the_log),
        ON_SIM(a_log_whose_name_is_not_durable_takes_no_appends),
        ON_SIM(a_failed_directory_sync_at_deletion_is_told),
        ON_SIM(a_failed_removal_of_trimmed_files_harms_nothing),
        ON_SIM(a_failed_read_fails_that_read_alone),
        ON_SIM(what_the_cache_shows_is_not_believed_against_the_disk),
        ON_SIM(a_failed_read_at_the_start_is_damage_and_not_the_end),
        ON_SIM(failing_logs_do_not_stall_the_others),
        ON(posix, a_slow_log_does_not_stall_the_others),
        ON_SIM(a_store_without_a_ring_answers_and_closes),
        ON_SIM(any_step_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
