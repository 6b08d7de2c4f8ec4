/*
 * Group commit and what is counted: how appends become frames, what bounds a frame and what it waits
 * for, and that the statistics say so.
 */
#include "tests/support/store_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wal/base.h"

#define FOREVER_US UINT64_C(10000000)

/* ---- What a group waits for ------------------------------------------------------------------ */

/* A setting that is read and does nothing is worse than none: in the model of this log the delay
 * was such a one. */
static void the_batch_delay_delays(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = 100000;
    fixture_begin(f);
    for (uint64_t round = 0; round < 3; round++) {
        uint64_t begin_us = fixture_now_us(f);
        struct wal_token first = append_number(f->wal, 2 * round, 10);
        fixture_pause(f, 30000);
        assert_int_equal(wal_poll(f->wal, first), -EINPROGRESS);
        struct wal_token second = append_number(f->wal, 2 * round + 1, 10);
        assert_int_equal(wait_for(f->wal, first), 0);
        assert_true(fixture_now_us(f) - begin_us >= 100000);
        assert_int_equal(wal_poll(f->wal, second), 0); /* it was the company */
        assert_int_equal(stats_of(f->wal).commits, round + 1);
    }
}

static void without_a_delay_a_commit_starts_at_once(void **state)
{
    struct fixture *f = fixture_start(state);
    uint64_t begin_us = fixture_now_us(f);
    for (uint64_t i = 0; i < 10; i++)
        commit_number(f->wal, i, 10);
    assert_true(fixture_now_us(f) - begin_us < FOREVER_US);
    assert_int_equal(stats_of(f->wal).commits, 10);
}

/* A full group has nothing to wait for. */
static void a_group_full_of_records_ends_the_delay(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    f->config.log.batch_records_max = 4;
    fixture_begin(f);
    struct wal_token token = append_numbers(f->wal, 0, 3, 10);
    assert_int_equal(wal_wait(f->wal, token, 30000), -ETIMEDOUT);
    append_number(f->wal, 3, 10);
    uint64_t begin_us = fixture_now_us(f);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_true(fixture_now_us(f) - begin_us < FOREVER_US / 2);
    assert_int_equal(stats_of(f->wal).commits, 1);
    assert_int_equal(stats_of(f->wal).commit_records_max, 4);
}

static void a_group_full_of_bytes_ends_the_delay(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    f->config.log.batch_bytes_max = 2000;
    fixture_begin(f);
    struct wal_token token = append_number(f->wal, 0, 1000);
    assert_int_equal(wal_wait(f->wal, token, 30000), -ETIMEDOUT);
    struct wal_token next = append_number(f->wal, 1, 1000); /* would not fit: begins another */
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_int_equal(wal_poll(f->wal, next), -EINPROGRESS);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(stats_of(f->wal).commits, 2);
}

/* ---- What bounds a group --------------------------------------------------------------------- */

/* The limits bound how long the last of a group waits for the first, and the memory of one frame. */
static void groups_hold_no_more_records_than_they_may(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    f->config.log.batch_records_max = 7;
    fixture_begin(f);
    for (uint64_t i = 0; i < 100; i++)
        append_number(f->wal, i, 10);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    struct wal_stats stats = stats_of(f->wal);
    assert_int_equal(stats.commit_records_max, 7);
    assert_int_equal(stats.commit_records, 100);
    assert_true(stats.commits >= 15); /* 100 / 7, rounded up */
    expect_numbers(f, f->wal, 0, 100, 10);
}

static void groups_hold_no_more_bytes_than_they_may(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    f->config.log.batch_bytes_max = 5000;
    fixture_begin(f);
    for (uint64_t i = 0; i < 40; i++)
        append_number(f->wal, i, 1000);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(stats_of(f->wal).commit_records_max, 4);
    assert_int_equal(stats_of(f->wal).commits, 10);
    expect_numbers(f, f->wal, 0, 40, 1000);
}

/* A batch is atomic, so one that passes the limits of a group is a group of its own, not cut. */
static void a_batch_above_the_limits_is_a_group_of_its_own(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    f->config.log.batch_records_max = 3;
    f->config.log.batch_bytes_max = 2000;
    fixture_begin(f);
    append_number(f->wal, 0, 10);
    append_numbers(f->wal, 1, 50, 500);
    append_number(f->wal, 51, 10);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(stats_of(f->wal).commits, 3);
    assert_int_equal(stats_of(f->wal).commit_records_max, 50);
    expect_numbers(f, f->wal, 0, 52, 0);
}

/* Natural batching, the heart of the throughput: what queues while a write is on its way is the next
 * write, so a hundred appends cost two. */
static void what_queues_during_a_write_is_the_next_write(void **state)
{
    struct fixture *f = fixture_start(state);
    append_number(f->wal, 0, 10);
    fixture_run(f);
    for (uint64_t i = 1; i < 100; i++)
        append_number(f->wal, i, 10);
    struct store_stats before, after;
    store_stats(f->store, &before);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    store_stats(f->store, &after);
    assert_int_equal(stats_of(f->wal).commits, 2);
    assert_int_equal(stats_of(f->wal).commit_records_max, 99);
    assert_int_equal(after.writes - before.writes, 1);
    expect_numbers(f, f->wal, 0, 100, 10);
}

struct clients {
    struct wal *wal;
    pthread_t thread;
    int rc;
};

static void *append_and_wait(void *argument)
{
    struct clients *client = argument;
    for (unsigned i = 0; i < 50 && client->rc == 0; i++) {
        struct wal_record record = {.data = "record", .size = 6};
        struct wal_token token;
        client->rc = wal_append(client->wal, &record, 1, NULL, NULL, &token);
        if (client->rc == 0)
            client->rc = wal_wait(client->wal, token, FIXTURE_PATIENCE_US);
    }
    return NULL;
}

/* The same with clients that each wait for their own append: fewer writes than appends, without any
 * delay. In the model of this log a group never filled. */
static void clients_that_wait_share_their_writes(void **state)
{
    struct fixture *f = fixture_start(state);
    struct clients clients[16];
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
        clients[i] = (struct clients){.wal = f->wal};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, append_and_wait, &clients[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
        pthread_join(clients[i].thread, NULL);
        assert_int_equal(clients[i].rc, 0);
    }
    struct wal_stats stats = stats_of(f->wal);
    assert_int_equal(stats.commit_records, 50 * ARRAY_SIZE(clients));
    assert_true(stats.commits < stats.commit_records);
    assert_true(stats.commit_records_max > 1);
}

/* Edge case 7 and 8, as far as a log can see: many more logs than the ring has entries are ready at
 * once, and each is served in its turn. */
static void more_logs_than_ring_entries_are_all_served(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.ring_entries = 8;
    fixture_begin(f);
    struct wal *logs[64];
    struct wal_token tokens[ARRAY_SIZE(logs)];
    for (size_t i = 0; i < ARRAY_SIZE(logs); i++) {
        char name[16];
        snprintf(name, sizeof(name), "log-%zu", i);
        assert_int_equal(store_get(f->store, name, true, &logs[i]), 0);
    }
    for (unsigned round = 0; round < 5; round++) {
        for (size_t i = 0; i < ARRAY_SIZE(logs); i++)
            tokens[i] = append_number(logs[i], round, 50);
        for (size_t i = ARRAY_SIZE(logs); i-- > 0;)
            assert_int_equal(wait_for(logs[i], tokens[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(logs); i++) {
        expect_numbers(f, logs[i], 0, 5, 50);
        store_put(f->store, logs[i]);
    }
}

/* A log that must wait for its turn must not lose it when a timer of its own fires meanwhile. */
static void a_timer_does_not_cost_other_logs_their_turn(void **state)
{
    struct fixture *f = fixture_start(state);
    struct wal *other = fixture_get(f, "other", true);
    commit_number(f->wal, 0, 10);
    fixture_pause(f, 1000); /* from here the timer of the mark runs */
    struct witness barrier;
    witness_begin();
    assert_int_equal(wal_flush_async(f->wal, witness_handler(&barrier)), 0);
    struct wal_token token = append_number(other, 0, 10);
    if (f->disk)
        sim_advance(f->disk, UINT64_C(2) * f->config.log.mark_idle_us);
    else
        usleep(2 * f->config.log.mark_idle_us);
    assert_int_equal(wal_wait(other, token, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    witness_await(f, 1);
}

/* ---- What is counted ------------------------------------------------------------------------- */

/* The five numbers of the design that inspired this one, now with a meaning each, and the two
 * positions beside them. */
static void the_five_original_statistics_are_kept(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    fixture_begin(f);
    append_number(f->wal, 0, 100);
    append_number(f->wal, 1, 23);
    struct wal_stats stats = stats_of(f->wal);
    assert_int_equal(stats.total_bytes_written, 0);
    assert_int_equal(stats.total_operations, 0);
    assert_int_equal(stats.current_offset, 2);
    assert_int_equal(stats.pending_entries, 2);
    assert_true(stats.pending_bytes >= 123);
    assert_int_equal(stats.positions.committed_offset, 0);

    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    stats = stats_of(f->wal);
    assert_int_equal(stats.total_bytes_written, 123);
    assert_int_equal(stats.total_operations, 2);
    assert_int_equal(stats.current_offset, 2);
    assert_int_equal(stats.pending_entries, 0);
    assert_int_equal(stats.pending_bytes, 0);
    assert_int_equal(stats.positions.committed_offset, 2);
    assert_int_equal(stats.commits, 1);
    assert_int_equal(stats.commit_records, 2);
    assert_int_equal(stats.commit_bytes, 123);
    assert_int_equal(stats.status, 0);
}

/* Totals are of the log, not of the process: the model of this log counted from 0 at each start. */
static void totals_are_found_again_at_the_next_start(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 32 << 10;
    fixture_begin(f);
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < 30; i++) {
        commit_number(f->wal, i, 1000 + i);
        bytes += 1000 + i;
    }
    for (unsigned life = 0; life < 2; life++) {
        struct wal_stats stats = stats_of(f->wal);
        assert_int_equal(stats.total_bytes_written, bytes);
        assert_int_equal(stats.total_operations, 30);
        assert_int_equal(stats.current_offset, 30);
        assert_true(stats.segments > 3);
        if (life == 1) {
            assert_int_equal(stats.commits, 0);
            assert_int_equal(stats.recovery.records, 30);
        }
        fixture_reopen(f);
    }
}

/* How fast it is must be measured where it happens; each commit and each sync counts once. */
static void latencies_are_measured(void **state)
{
    struct fixture *f = fixture_start(state);
    uint64_t begin_us = fixture_now_us(f);
    for (uint64_t i = 0; i < 20; i++)
        commit_number(f->wal, i, 100);
    uint64_t passed_us = fixture_now_us(f) - begin_us;
    struct wal_stats stats = stats_of(f->wal);
    assert_int_equal(stats.commit_latency.count, 20);
    assert_true(stats.sync_latency.count >= 20);
    assert_int_equal(stats.sync_latency.count, stats.syncs);
    assert_true(stats.commit_latency.sum_us > 0);
    assert_true(stats.commit_latency.sum_us <= passed_us);
    assert_true(stats.commit_latency.p50_us <= stats.commit_latency.p99_us);
    assert_true(stats.commit_latency.p99_us <= stats.commit_latency.max_us);
    assert_true(stats.sync_latency.sum_us <= stats.commit_latency.sum_us + passed_us);
}

static uint64_t bytes_in_folder(struct fixture *f, uint64_t segments, uint64_t *ret_allocated)
{
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < segments; i++) {
        const char *path = fixture_segment(f, FIXTURE_LOG, i);
        if (f->disk) {
            int64_t size = sim_file_bytes(f->disk, path, SIM_CACHED);
            assert_true(size >= 0);
            bytes += (uint64_t)size;
        } else {
            struct stat st;
            assert_int_equal(stat(path, &st), 0);
            bytes += (uint64_t)st.st_size;
            *ret_allocated += (uint64_t)st.st_blocks * 512;
        }
    }
    return bytes;
}

/* Space is real and made before it is needed: the model of this log wrote one byte at the end of a
 * hole, and met the full disk later. What a log takes is what its files take. */
static void space_on_disk_is_made_ahead_and_counted(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 128 << 10;
    f->config.log.space_bytes = 64 << 10;
    fixture_begin(f);
    assert_int_equal(stats_of(f->wal).bytes_on_disk, 64 << 10);
    uint64_t next = 0;
    for (; next < 12; next++)
        commit_number(f->wal, next, 3000); /* two blocks are left now, and more are on their way */
    fixture_settle(f);
    assert_true(stats_of(f->wal).bytes_on_disk > 64 << 10);
    for (; next < 60; next++)
        commit_number(f->wal, next, 4000 + next);
    fixture_settle(f);
    struct wal_stats stats = stats_of(f->wal);
    uint64_t allocated = 0;
    assert_true(stats.segments >= 3);
    assert_int_equal(stats.rotations, stats.segments - 1);
    uint64_t bytes = bytes_in_folder(f, stats.segments, &allocated);
    assert_int_equal(stats.bytes_on_disk, bytes);
    if (!f->disk)
        assert_true(allocated >= bytes); /* no holes */
}

/* Once space is made, a commit changes no metadata: neither the size nor the blocks of the file.
 * That is what makes a data sync cheap. */
static void a_commit_into_space_made_ahead_leaves_the_file_as_long_as_it_was(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.space_bytes = 1 << 20;
    fixture_begin(f);
    commit_number(f->wal, 0, 100);
    fixture_settle(f);
    uint64_t bytes = stats_of(f->wal).bytes_on_disk;
    for (uint64_t i = 1; i < 50; i++)
        commit_number(f->wal, i, 100);
    assert_int_equal(stats_of(f->wal).bytes_on_disk, bytes);
    if (f->disk) {
        const struct sim_counters *counters = sim_counters(f->disk);
        assert_true(counters->done[SIM_WRITE_DURABLE] >= 50);
    }
}

struct watch {
    struct wal *wal;
    _Atomic bool stop;
    pthread_t thread;
    _Atomic uint64_t looks;
    const char *broken; /* the rule that did not hold */
};

static const char *broken_rule(const struct wal_stats *stats, const struct wal_stats *before)
{
    const struct wal_positions *at = &stats->positions;
    if (at->first_offset > at->committed_offset || at->committed_offset > at->next_offset)
        return "first <= committed <= next";
    if (at->committed_offset < before->positions.committed_offset)
        return "committed_offset never falls";
    if (at->first_offset < before->positions.first_offset)
        return "first_offset never falls";
    if (stats->total_operations != at->committed_offset || stats->current_offset != at->next_offset)
        return "totals are the positions";
    if (stats->pending_entries != at->next_offset - at->committed_offset)
        return "pending is what lies between the positions";
    if (stats->commit_records > stats->total_operations || stats->commits > stats->syncs)
        return "counters agree";
    if (stats->total_bytes_written != 8 * at->committed_offset)
        return "bytes agree with records";
    return NULL;
}

static void *watch_stats(void *argument)
{
    struct watch *watch = argument;
    struct wal_stats before = {0}, stats;
    while (!atomic_load(&watch->stop) && !watch->broken) {
        wal_stats(watch->wal, &stats);
        watch->broken = broken_rule(&stats, &before);
        before = stats;
        watch->looks++;
    }
    return NULL;
}

/* Edge case 26: whoever looks at the numbers during commits, rotations and trims must never see a
 * moment that did not exist. */
static void statistics_are_of_one_moment(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 64 << 10;
    fixture_begin(f);
    struct watch watch = {.wal = f->wal};
    assert_int_equal(pthread_create(&watch.thread, NULL, watch_stats, &watch), 0);
    while (atomic_load(&watch.looks) == 0) /* on a busy machine the commits would all be over */
        sched_yield();
    for (uint64_t i = 0; i < 200; i++) {
        for (unsigned k = 0; k < 10; k++) {
            struct wal_record record = {.data = "8 bytes!", .size = 8};
            assert_int_equal(wal_append(f->wal, &record, 1, NULL, NULL, NULL), 0);
        }
        if (i % 8 == 7)
            assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
        if (i % 40 == 39)
            assert_int_equal(
                wal_trim(f->wal, positions_of(f->wal).committed_offset / 2, NULL, NULL), 0);
    }
    atomic_store(&watch.stop, true);
    pthread_join(watch.thread, NULL);
    if (watch.broken)
        fail_msg("%s", watch.broken);
}

/* ---- Which backend --------------------------------------------------------------------------- */

/* How many rings this process has open, by looking at its descriptors. */
static unsigned rings_of_process(void)
{
    unsigned rings = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    const struct dirent *entry;
    while ((entry = readdir(folder))) {
        char path[300], target[64] = "";
        snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
        if (readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "io_uring"))
            rings++;
    }
    closedir(folder);
    return rings;
}

/* The model of this log claimed a ring and never made one. Which backend runs is said, and true. */
static void the_backend_is_the_one_that_is_named(void **state)
{
    struct fixture *f = fixture_start(state);
    commit_number(f->wal, 0, 10);
    struct store_stats stats;
    store_stats(f->store, &stats);
    assert_non_null(stats.reason);
    assert_true(stats.reason[0] != '\0');
    assert_int_equal(stats.committers, 1);
    assert_true(stats.writes >= 1);
    assert_true(stats.rounds >= 1);
    switch (f->kind) {
    case FIXTURE_SIM: assert_string_equal(stats.backend, "sim"); break;
    case FIXTURE_POSIX: assert_string_equal(stats.backend, "posix"); break;
    case FIXTURE_URING: assert_string_equal(stats.backend, "uring"); break;
    default: break;
    }
    unsigned expected = strcmp(stats.backend, "uring") == 0 ? 1 : 0;
    assert_int_equal(rings_of_process(), expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(the_batch_delay_delays),
        ON_ALL(without_a_delay_a_commit_starts_at_once),
        ON_ALL(a_group_full_of_records_ends_the_delay),
        ON_ALL(a_group_full_of_bytes_ends_the_delay),
        ON_ALL(groups_hold_no_more_records_than_they_may),
        ON_ALL(groups_hold_no_more_bytes_than_they_may),
        ON_ALL(a_batch_above_the_limits_is_a_group_of_its_own),
        ON(sim, what_queues_during_a_write_is_the_next_write),
        ON_DISKS(clients_that_wait_share_their_writes),
        ON_ALL(more_logs_than_ring_entries_are_all_served),
        ON_ALL(a_timer_does_not_cost_other_logs_their_turn),
        ON_ALL(the_five_original_statistics_are_kept),
        ON_ALL(totals_are_found_again_at_the_next_start),
        ON_ALL(latencies_are_measured),
        ON_ALL(space_on_disk_is_made_ahead_and_counted),
        ON_ALL(a_commit_into_space_made_ahead_leaves_the_file_as_long_as_it_was),
        ON_DISKS(statistics_are_of_one_moment),
        ON_ALL(the_backend_is_the_one_that_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
