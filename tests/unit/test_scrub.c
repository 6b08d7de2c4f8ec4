/*
 * Damage that nobody has met yet: a scrub finds what an inspection finds, wherever it is, in logs that
 * are open and in those that are not, tells it once, and takes nothing for damage that is only on its
 * way.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/format.h"

enum { RECORDS = 24, SIZE = 3000, SEGMENT_BYTES = 32 << 10 };

static struct fixture *begin(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = SEGMENT_BYTES;
    f->checks_overwrites = false;
    return f;
}

static void make_log(struct fixture *f)
{
    fixture_begin(f);
    for (uint64_t i = 0; i < RECORDS; i++)
        commit_number(f->wal, i, SIZE);
    fixture_settle(f);
}

static struct store_scrub scrub_of(struct fixture *f)
{
    struct store_stats stats;
    store_stats(f->store, &stats);
    return stats.scrub;
}

static bool takes(struct fixture *f, uint64_t segment_no, uint64_t position)
{
    struct store_damage damage;
    bool found = false;
    while (store_take_damage(f->store, &damage)) {
        assert_string_equal(damage.log, FIXTURE_LOG);
        assert_true(strlen(damage.what) > 0);
        found = found || (damage.segment_no == segment_no && position >= damage.position &&
                          position < damage.end);
    }
    return found;
}

/* Each block in turn; the last one, a mark, leaves nothing behind that could tell of it. */
static void every_block_of_zeros_is_found(void **state)
{
    struct fixture *f = begin(state);
    bool more = true;
    for (uint64_t s = 0; more; s++) {
        uint64_t end = SEGMENT_BYTES;
        for (uint64_t at = 0; at < end; at += WAL_BLOCK_BYTES) {
            sim_reset(f->disk, 7);
            make_log(f);
            assert_int_equal(fixture_close(f), 0);
            sim_settle(f->disk);
            const char *path = fixture_segment(f, FIXTURE_LOG, s);
            more = sim_exists(f->disk, path, SIM_DURABLE);
            if (!more)
                break;
            uint8_t *data;
            size_t size;
            assert_int_equal(sim_copy_file(f->disk, path, SIM_DURABLE, &data, &size), 0);
            while (size > 0 && data[size - 1] == 0)
                size--;
            free(data);
            end = round_up(size, WAL_BLOCK_BYTES);
            const char *next = fixture_segment(f, FIXTURE_LOG, s + 1);
            bool is_last = !sim_exists(f->disk, next, SIM_DURABLE);
            path = fixture_segment(f, FIXTURE_LOG, s);
            assert_int_equal(sim_zero_block(f->disk, path, at / WAL_BLOCK_BYTES), 0);

            fixture_open(f); /* the store; the log is not */
            assert_int_equal(store_scrub(f->store), 0);
            bool found = takes(f, s, at);
            assert_true(found || (is_last && at + WAL_BLOCK_BYTES == end));
            uint64_t places = scrub_of(f).places;
            assert_int_equal(places, scrub_of(f).found);
            assert_int_equal(places > 0, found);
            /* Once more, and it is nothing new. */
            assert_int_equal(store_scrub(f->store), 0);
            assert_int_equal(scrub_of(f).found, places);
            assert_false(takes(f, s, at));
            assert_int_equal(fixture_close(f), 0);
        }
    }
}

static void hurt(const char *path, uint64_t position)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "damage", 6, (off_t)position), 6);
    assert_int_equal(close(fd), 0);
}

/* A log that is in use: it is found by itself, stands where those look who ask for the log, and goes
 * with it. */
static void a_thread_finds_it_in_a_log_that_is_open(void **state)
{
    struct fixture *f = begin(state);
    f->config.scrub_bytes_per_s = 64 << 20;
    f->config.scrub_interval_us = 20000;
    make_log(f);
    hurt(fixture_segment(f, FIXTURE_LOG, 1), 2 * WAL_BLOCK_BYTES + 200);
    struct store_damage damage = {.log = ""};
    for (uint64_t until = fixture_now_us(f) + FIXTURE_PATIENCE_US;
         !store_take_damage(f->store, &damage) && fixture_now_us(f) < until;)
        fixture_pause(f, 5000);
    assert_string_equal(damage.log, FIXTURE_LOG);
    assert_int_equal(damage.segment_no, 1);
    assert_int_equal(damage.offset_end, damage.offset + 1);
    assert_int_equal(store_damages(f->store, FIXTURE_LOG, &damage, 1), 1);
    assert_int_equal(store_damages(f->store, "other", &damage, 1), 0);
    uint64_t passes = scrub_of(f).passes;
    for (uint64_t until = fixture_now_us(f) + FIXTURE_PATIENCE_US;
         scrub_of(f).passes < passes + 2 && fixture_now_us(f) < until;)
        fixture_pause(f, 5000);
    assert_true(scrub_of(f).passes >= passes + 2);
    assert_int_equal(scrub_of(f).found, 1);
    assert_false(store_take_damage(f->store, &damage));

    commit_number(f->wal, RECORDS, SIZE); /* it goes on */
    fixture_put(f, f->wal);
    assert_int_equal(store_delete(f->store, FIXTURE_LOG), 0);
    assert_int_equal(scrub_of(f).places, 0);
}

/* Appends, new segments and trims under way, at every moment of which somebody looks. */
static void what_is_on_its_way_is_no_damage(void **state)
{
    struct fixture *f = begin(state);
    fixture_begin(f);
    uint64_t number = 0;
    for (unsigned round = 0; round < 100; round++) {
        struct wal_token token = append_number(f->wal, number++, SIZE);
        for (unsigned i = 0; i < 6; i++)
            token = append_number(f->wal, number++, SIZE);
        if (round % 10 == 9)
            assert_int_equal(wal_trim(f->wal, positions_of(f->wal).committed_offset, NULL, NULL),
                             0);
        fixture_run(f);
        assert_int_equal(store_scrub(f->store), 0);
        assert_int_equal(wait_for(f->wal, token), 0);
    }
    struct store_scrub scrub = scrub_of(f);
    assert_int_equal(scrub.found, 0);
    assert_int_equal(scrub.passes, 100);
    assert_true(scrub.bytes > 0 && scrub.logs + scrub.errors > 50);
}

/* A write that is half there looks like anything: behind the end of a log that is open nothing is
 * judged. Before it everything is. */
static void behind_the_end_of_an_open_log_nothing_is_judged(void **state)
{
    struct fixture *f = begin(state);
    make_log(f);
    uint64_t last = stats_of(f->wal).segments - 1;
    const char *path = fixture_segment(f, FIXTURE_LOG, last);
    int64_t bytes = sim_file_bytes(f->disk, path, SIM_DIRECT);
    assert_true(bytes > WAL_BLOCK_BYTES);
    assert_int_equal(sim_truncate(f->disk, path, (uint64_t)bytes + WAL_BLOCK_BYTES), 0);
    assert_int_equal(sim_fill_garbage(f->disk, path, (uint64_t)bytes, WAL_BLOCK_BYTES), 0);
    assert_int_equal(store_scrub(f->store), 0);
    assert_int_equal(scrub_of(f).found, 0);
    assert_int_equal(sim_fill_garbage(f->disk, path, WAL_BLOCK_BYTES + 200, 10), 0);
    assert_int_equal(store_scrub(f->store), 0);
    assert_true(takes(f, last, WAL_BLOCK_BYTES + 200));
}

/* One that is damaged takes no appends, so that all of it is as it stands, whether it is open or not. */
static void all_of_an_open_log_that_is_damaged_is_judged(void **state)
{
    struct fixture *f = begin(state);
    make_log(f);
    uint64_t last = stats_of(f->wal).segments - 1;
    assert_int_equal(fixture_close(f), 0);
    sim_settle(f->disk);
    assert_int_equal(sim_zero_block(f->disk, fixture_segment(f, FIXTURE_LOG, last), 0), 0);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_int_equal(wal_status(f->wal), -EBADMSG);
    assert_int_equal(store_scrub(f->store), 0);
    assert_true(takes(f, last, 0));
    assert_int_equal(fixture_close(f), 0);
}

/* Each place that is damaged is another reason to look for where the log goes on, and none to read all of
 * the rest again. */
static void many_places_are_found_by_reading_twice(void **state)
{
    enum { MANY = 600, WINDOW_BLOCKS = 64 };
    struct fixture *f = begin(state);
    f->config.log.segment_bytes = 2 << 20;
    for (unsigned is_sealed = 0; is_sealed < 2; is_sealed++) {
        sim_reset(f->disk, 7);
        fixture_begin(f);
        for (uint64_t i = 0; i < (is_sealed ? MANY : MANY / 2); i++)
            commit_number(f->wal, i, 100);
        assert_int_equal(stats_of(f->wal).segments, 1 + is_sealed);
        assert_int_equal(fixture_close(f), 0);
        sim_settle(f->disk);
        const char *path = fixture_segment(f, FIXTURE_LOG, 0);
        for (uint64_t block = 3; block < MANY / 2; block += 2)
            assert_int_equal(sim_zero_block(f->disk, path, block), 0);
        fixture_open(f);
        uint64_t ops = sim_ops(f->disk);
        assert_int_equal(store_scrub(f->store), 0);
        assert_true(scrub_of(f).found > 10);
        /* Two looks of each a window's worth, and some for opening and frames across two windows. */
        assert_true(sim_ops(f->disk) - ops < 2 * (3 * MANY / WINDOW_BLOCKS + 20));
        assert_int_equal(fixture_close(f), 0);
    }
}

/* However slow it was told to be: a store is closed at once. */
static void a_store_closes_in_the_middle_of_a_pass(void **state)
{
    struct fixture *f = begin(state);
    f->config.scrub_bytes_per_s = 1;
    f->config.scrub_interval_us = 1;
    make_log(f);
    fixture_pause(f, 20000); /* passes through no logs are over at once, but now there is one */
    uint64_t passes = scrub_of(f).passes;
    fixture_pause(f, 20000);
    assert_int_equal(scrub_of(f).passes, passes);
    assert_int_equal(fixture_close(f), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SIM(every_block_of_zeros_is_found),
        ON_DISKS(a_thread_finds_it_in_a_log_that_is_open),
        ON_SIM(what_is_on_its_way_is_no_damage),
        ON_DISKS(what_is_on_its_way_is_no_damage),
        ON_SIM(behind_the_end_of_an_open_log_nothing_is_judged),
        ON_SIM(all_of_an_open_log_that_is_damaged_is_judged),
        ON_SIM(many_places_are_found_by_reading_twice),
        ON_DISKS(a_store_closes_in_the_middle_of_a_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
