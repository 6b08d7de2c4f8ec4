/*
 * wal/totals.c and wal/health.c: what is told of a store as a whole. Monitoring computes rates from
 * it, so nothing may fall while the process lives, and nothing may be counted twice or not at all.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <string.h>

#include "wal/base.h"
#include "wal/totals.h"

static uint64_t count_of(const struct store_histogram *histogram)
{
    uint64_t count = 0;
    for (unsigned i = 0; i <= histogram->bound_count; i++)
        count += histogram->counts[i];
    return count;
}

/* ---- Histograms ------------------------------------------------------------------------------ */

/* A bound belongs to the values below it: "le" says less or equal. */
static void a_value_is_counted_below_the_first_bound_that_reaches_it(void **state)
{
    struct totals totals;
    totals_init(&totals);
    const struct store_histogram *histogram = &totals.counts.sync_us;
    assert_int_equal(histogram->bounds[0], 50);
    assert_int_equal(histogram->bounds[histogram->bound_count - 1], 8192000);
    for (unsigned i = 0; i < histogram->bound_count; i++) {
        uint64_t bound = histogram->bounds[i];
        assert_true(i == 0 || histogram->bounds[i - 1] < bound);
        totals_add_write(&totals, 1, bound, 0, 0, 0);
        assert_int_equal(histogram->counts[i], i == 0 ? 1 : 2);
        totals_add_write(&totals, 1, bound + 1, 0, 0, 0);
        assert_int_equal(histogram->counts[i + 1], 1);
    }
    assert_int_equal(count_of(histogram), 2 * histogram->bound_count);
    assert_int_equal(totals.counts.syncs, 2 * histogram->bound_count);
    assert_int_equal(totals.counts.commits, 0);
    assert_int_equal(count_of(&totals.counts.commit_us), 0);
    totals_done(&totals);
}

/* Several committers make one store: their sums, the largest of their groups, the newest write. */
static void totals_of_committers_add_up(void **state)
{
    struct totals one, two, sum;
    totals_init(&one);
    totals_init(&two);
    totals_add_write(&one, 1000, 60, 700, 3, 30);
    totals_add_write(&two, 2000, 70, 9000000, 5, 50);
    totals_add_failed_write(&one, 1500, -EIO);
    totals_begin(&sum);
    totals_sum(&sum, &one);
    totals_sum(&sum, &two);
    totals_finish(&sum);
    assert_int_equal(sum.counts.commits, 2);
    assert_int_equal(sum.counts.syncs, 2);
    assert_int_equal(sum.counts.write_errors, 1);
    assert_int_equal(sum.counts.commit_records, 8);
    assert_int_equal(sum.counts.commit_bytes, 80);
    assert_int_equal(sum.counts.commit_records_max, 5);
    assert_int_equal(sum.counts.commit_sizes.counts[2], 1); /* 3, of 2 < n <= 4 */
    assert_int_equal(sum.counts.commit_sizes.counts[3], 1);
    assert_int_equal(sum.counts.commit_sizes.sum, 8);
    assert_int_equal(sum.counts.sync_us.counts[1], 2);
    assert_int_equal(sum.counts.sync_us.sum, 130);
    assert_int_equal(sum.counts.commit_us.counts[5], 1);
    assert_int_equal(sum.counts.commit_us.counts[20], 1);
    assert_int_equal(sum.counts.commit_latency.max_us, 9000000);
    assert_int_equal(sum.counts.sync_latency.count, 2);
    assert_int_equal(sum.written_us, 2000);
    assert_int_equal(sum.written_error, 0);
    totals_done(&one);
    totals_done(&two);
}

/* ---- Logs come and go ------------------------------------------------------------------------ */

static void expect_totals(struct fixture *f, uint64_t records, uint64_t bytes)
{
    struct store_totals totals = totals_of(f);
    assert_int_equal(totals.commit_records, records);
    assert_int_equal(totals.commit_bytes, bytes);
    assert_int_equal(totals.commits, count_of(&totals.commit_us));
    assert_int_equal(totals.commits, totals.commit_latency.count);
    assert_int_equal(totals.commits, count_of(&totals.commit_sizes));
    assert_int_equal(totals.commit_records, totals.commit_sizes.sum);
    assert_int_equal(count_of(&totals.sync_us), totals.sync_latency.count);
    assert_true(totals.syncs >= count_of(&totals.sync_us));
    assert_true(totals.commits <= totals.syncs);
}

/* A log's own counters go when it is closed to make room, or deleted; what the store says must
 * not. */
static void totals_outlive_their_logs(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.logs_max = 2;
    f->config.log.mark_idle_us = 0;
    fixture_begin(f);
    expect_totals(f, 0, 0);
    commit_numbers(f->wal, 0, 3, 1);
    commit_number(f->wal, 3, 100);
    expect_totals(f, 4, 103);
    assert_int_equal(stats_of(f->wal).commits, 2);
    assert_int_equal(totals_of(f).commits, 2);
    assert_int_equal(totals_of(f).commit_records_max, 3);
    fixture_put(f, f->wal);

    fixture_put(f, fixture_get(f, "one", true));
    struct wal *two = fixture_get(f, "two", true); /* "log" is closed for it */
    commit_number(two, 0, 7);
    expect_totals(f, 5, 110);
    fixture_put(f, two);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_int_equal(stats_of(f->wal).commits, 0); /* a new life */
    expect_totals(f, 5, 110);
    commit_number(f->wal, 4, 1);
    fixture_put(f, f->wal);

    assert_int_equal(store_delete(f->store, FIXTURE_LOG), 0);
    assert_int_equal(store_delete(f->store, "two"), 0);
    f->wal = fixture_get(f, FIXTURE_LOG, true);
    expect_totals(f, 6, 111);
    commit_number(f->wal, 0, 9);
    expect_totals(f, 7, 120);
}

struct seen {
    unsigned count;
    uint64_t commits, bytes_on_disk, pending;
    char names[4][16];
};

static int see(void *context, const char *name, const struct wal_stats *stats)
{
    struct seen *seen = context;
    assert_true(seen->count < ARRAY_SIZE(seen->names));
    strcpy(seen->names[seen->count++], name);
    seen->commits += stats->commits;
    seen->bytes_on_disk += stats->bytes_on_disk;
    seen->pending += stats->pending_entries;
    return seen->count == ARRAY_SIZE(seen->names) ? 77 : 0;
}

/* While all logs are still open, the store's sums are those of the logs. */
static void totals_are_the_sums_of_the_logs(void **state)
{
    struct fixture *f = fixture_start(state);
    const char *names[] = {"one", "two", "three"};
    struct seen seen = {0}, again = {0};
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        struct wal *wal = fixture_get(f, names[i], true);
        if (i < 2)
            commit_numbers(wal, 0, i + 1, 1000);
    }
    assert_int_equal(store_each_open(f->store, see, &seen), 77);
    assert_int_equal(seen.count, 4);
    struct store_stats stats;
    store_stats(f->store, &stats);
    assert_int_equal(stats.totals.commits, seen.commits);
    assert_int_equal(stats.bytes_on_disk, seen.bytes_on_disk);
    assert_int_equal(stats.pending_records, seen.pending);
    assert_in_range(stats.size_bytes, stats.free_bytes, UINT64_MAX);
    store_each_open(f->store, see, &again);
    assert_memory_equal(seen.names, again.names, sizeof(seen.names));

    fixture_put(f, fixture_get(f, "two", false));
    fixture_reopen(f);
    memset(&again, 0, sizeof(again));
    assert_int_equal(store_each_open(f->store, see, &again), 0);
    assert_int_equal(again.count, 1);
    assert_string_equal(again.names[0], FIXTURE_LOG);
}

/* ---- Refusals and failures ------------------------------------------------------------------- */

static void refusals_are_counted_by_reason(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.queue_records_max = 2;
    fixture_begin(f);
    struct wal_record record = {.data = "x", .size = 1};
    for (unsigned i = 0; i < 5; i++)
        wal_append(f->wal, &record, 1, NULL, NULL, NULL);
    struct store_stats stats;
    store_stats(f->store, &stats);
    assert_int_equal(stats.totals.refusals_queue, 3);
    assert_int_equal(stats.pending_records, 2);
    assert_int_equal(stats_of(f->wal).refusals_queue, 3);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);

    sim_options_of(f->disk)->capacity_blocks = sim_used_blocks(f->disk);
    int rc = 0;
    for (unsigned i = 0; i < 1000 && rc == 0; i++) {
        struct wal_token token;
        static char large[3000];
        struct wal_record piece = {.data = large, .size = sizeof(large)};
        rc = wal_append(f->wal, &piece, 1, NULL, NULL, &token);
        if (rc == 0)
            rc = wait_for(f->wal, token);
    }
    assert_int_equal(rc, -ENOSPC);
    assert_int_equal(totals_of(f).refusals_space, 1);
    assert_int_equal(stats_of(f->wal).refusals_space, 1);
    assert_int_equal(totals_of(f).refusals_other, 0);
    sim_options_of(f->disk)->capacity_blocks = 0;
}

static struct store_health health_of(struct fixture *f)
{
    struct store_health health;
    store_health(f->store, &health);
    return health;
}

struct probe {
    struct store_waiter waiter;
    _Atomic bool done;
};

static void probe_done(struct store_waiter *waiter)
{
    struct probe *probe = container_of(waiter, struct probe, waiter);
    probe->done = true;
}

static bool is_done(void *context)
{
    return ((struct probe *)context)->done;
}

static void probe(struct fixture *f)
{
    struct probe probe = {.waiter.done = probe_done};
    store_probe(f->store, &probe.waiter);
    assert_true(fixture_until(f, is_done, &probe));
}

/* What a load balancer asks for: the outcome of a write that was made, not of one imagined. */
static void a_probe_tells_whether_the_disk_takes_writes(void **state)
{
    struct fixture *f = fixture_start(state);
    assert_int_equal(health_of(f).error, 0);
    fixture_pause(f, 300000);
    assert_in_range(health_of(f).age_us, 300000, UINT64_MAX);
    probe(f);
    struct store_health health = health_of(f);
    assert_int_equal(health.error, 0);
    assert_int_equal(health.names_error, 0);
    assert_false(health.probing);
    assert_in_range(health.age_us, 0, FIXTURE_PATIENCE_US);
    probe(f);
    commit_number(f->wal, 0, 10);
    assert_int_equal(health_of(f).error, 0);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 0, 1, 10);
    probe(f); /* on the file of the life before */
    assert_int_equal(health_of(f).error, 0);
}

/* Whoever comes while one is under way shares it, and closing the store waits for it. */
static void a_probe_is_shared_and_waited_for(void **state)
{
    struct fixture *f = fixture_of(state);
    fixture_open(f); /* without a log, whose closing would take its time */
    struct probe probes[3] = {0};
    for (unsigned i = 0; i < ARRAY_SIZE(probes); i++) {
        probes[i].waiter.done = probe_done;
        store_probe(f->store, &probes[i].waiter);
    }
    assert_int_equal(fixture_close(f), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(probes); i++)
        assert_true(probes[i].done);
}

static void a_failing_disk_is_known_until_it_writes_again(void **state)
{
    struct fixture *f = fixture_start(state);
    struct sim_fault fault = {
        .kind = SIM_WRITE_DURABLE, .times = UINT64_MAX, .error = -EIO, .name = "probe"};
    sim_arm(f->disk, &fault);
    probe(f);
    assert_int_equal(health_of(f).error, -EIO);
    sim_disarm(f->disk);
    sim_arm(f->disk, &(struct sim_fault){.kind = SIM_CREATE, .times = 1, .error = -EROFS});
    assert_true(sim_delete(f->disk, FIXTURE_SIM_PATH "/probe") == 0);
    probe(f);
    assert_int_equal(health_of(f).error, -EROFS);
    sim_disarm(f->disk);

    commit_number(f->wal, 0, 10); /* a commit is as good as a probe */
    assert_int_equal(health_of(f).error, 0);
    fixture_settle(f);
    fault.name = NULL;
    sim_arm(f->disk, &fault);
    struct wal_token token = append_number(f->wal, 1, 10);
    assert_int_equal(wait_for(f->wal, token), -EIO);
    assert_int_equal(health_of(f).error, -EIO);
    assert_int_equal(totals_of(f).failures, 1);
    assert_int_equal(totals_of(f).write_errors, 1);
    sim_disarm(f->disk);
    probe(f);
    assert_int_equal(health_of(f).error, 0);
    struct store_stats stats;
    store_stats(f->store, &stats);
    assert_int_equal(stats.logs_failed, 1); /* that the disk writes again does not mend the log */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_counted_below_the_first_bound_that_reaches_it),
        cmocka_unit_test(totals_of_committers_add_up),
        ON_ALL(totals_outlive_their_logs),
        ON_ALL(totals_are_the_sums_of_the_logs),
        ON_SIM(refusals_are_counted_by_reason),
        ON_ALL(a_probe_tells_whether_the_disk_takes_writes),
        ON_ALL(a_probe_is_shared_and_waited_for),
        ON_SIM(a_failing_disk_is_known_until_it_writes_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
