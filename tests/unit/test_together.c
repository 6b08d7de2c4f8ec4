/*
 * What looks through the files of a log while something else changes them: a scrub, a reader or the
 * packing of a segment is stopped at each of its operations in turn, and there the rest happens:
 * appends, new segments, packing, trims, limits, the end of the log and another one of its name. What is
 * damaged is found all the same, what is whole is never called damaged, and every record is read as it
 * was written.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "wal/base.h"
#include "wal/format.h"

enum { RECORDS = 110, SIZE = 300, SEGMENT_BYTES = 64 << 10, HURT_SEGMENT = 6, TRIMMED = 30 };

/* ---- Stopping at an operation ----------------------------------------------------------------- */

static struct {
    const struct wal_io_ops *real;
    struct wal_io_ops ops;
    struct fixture *f;
    void (*action)(struct fixture *f);
    unsigned at, count;
    bool is_armed, is_acting;
    bool every_look; /* once more whenever a folder is listed */
} hook;

static void meet(void)
{
    if (!hook.is_armed || hook.is_acting || ++hook.count < hook.at)
        return;
    hook.is_armed = false;
    hook.is_acting = true;
    hook.action(hook.f);
    hook.is_acting = false;
}

static int hooked_open_dir(struct wal_io *io, int dir, const char *name)
{
    meet();
    return hook.real->open_dir(io, dir, name);
}

static int hooked_open_file(struct wal_io *io, int dir, const char *name, unsigned flags)
{
    meet();
    return hook.real->open_file(io, dir, name, flags);
}

static int64_t hooked_read(struct wal_io *io, int handle, void *data, size_t size,
                           uint64_t position)
{
    meet();
    return hook.real->read(io, handle, data, size, position);
}

static int hooked_list(struct wal_io *io, int dir,
                       int (*visit)(void *context, const char *name, bool is_dir), void *context)
{
    if (hook.every_look && !hook.is_acting) {
        hook.is_armed = true;
        hook.count = 0;
    }
    meet();
    return hook.real->list(io, dir, visit, context);
}

static int hooked_write(struct wal_io *io, int handle, const void *data, size_t size,
                        uint64_t position, bool durable)
{
    meet();
    return hook.real->write(io, handle, data, size, position, durable);
}

static int hooked_sync(struct wal_io *io, int handle)
{
    meet();
    return hook.real->sync(io, handle);
}

static int hooked_replace(struct wal_io *io, int dir, const char *from, const char *to)
{
    meet();
    return hook.real->replace(io, dir, from, to);
}

static void hook_into(struct fixture *f)
{
    struct wal_io *io = f->config.custom_io;
    memset(&hook, 0, sizeof(hook));
    hook.f = f;
    hook.real = io->ops;
    hook.ops = *io->ops;
    hook.ops.open_dir = hooked_open_dir;
    hook.ops.open_file = hooked_open_file;
    hook.ops.read = hooked_read;
    hook.ops.list = hooked_list;
    hook.ops.write = hooked_write;
    hook.ops.sync = hooked_sync;
    hook.ops.replace = hooked_replace;
    io->ops = &hook.ops;
}

static void arm(unsigned at, bool every_look, void (*action)(struct fixture *f))
{
    hook.action = action;
    hook.at = at;
    hook.count = 0;
    hook.is_armed = true;
    hook.every_look = every_look;
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLOW true /* ten times, and the stops are the same */
#else
#define SLOW false
#endif

/* Each of the first ones, and some of the many alike that follow. */
static unsigned next_stop(unsigned at)
{
    return at + 1 + (SLOW ? 6 : at / 32);
}

/* Whether it was met. */
static bool disarm(void)
{
    bool met = !hook.is_armed;
    hook.is_armed = hook.every_look = false;
    return met;
}

/* ---- A log with segments that can be packed ---------------------------------------------------- */

static struct fixture *begin(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = SEGMENT_BYTES;
    f->config.pack_compression = STORE_COMPRESSION_ZSTD;
    f->checks_overwrites = false;
    hook_into(f);
    return f;
}

static uint64_t packs(struct fixture *f)
{
    struct store_stats stats;
    store_stats(f->store, &stats);
    return stats.totals.packs;
}

static struct store_scrub scrub_of(struct fixture *f)
{
    struct store_stats stats;
    store_stats(f->store, &stats);
    return stats.scrub;
}

/* Nothing of it is packed until the committer gets to run. */
static void make_log(struct fixture *f, bool is_open)
{
    sim_reset(f->disk, 11);
    f->config.pack = false;
    fixture_begin(f);
    for (uint64_t i = 0; i < RECORDS; i++)
        commit_number(f->wal, i, SIZE);
    assert_int_equal(fixture_close(f), 0);
    sim_settle(f->disk);
    f->config.pack = true;
    fixture_open(f);
    f->wal = is_open ? fixture_get(f, FIXTURE_LOG, false) : NULL;
    assert_int_equal(packs(f), 0);
}

static void hurt(struct fixture *f)
{
    const char *path = fixture_segment(f, FIXTURE_LOG, HURT_SEGMENT);
    assert_int_equal(sim_flip_bit(f->disk, path, 5 * WAL_BLOCK_BYTES + 200, 3), 0);
}

static void have_log(struct fixture *f)
{
    if (!f->wal)
        f->wal = fixture_get(f, FIXTURE_LOG, false);
}

/* ---- What happens meanwhile --------------------------------------------------------------------- */

static void pack(struct fixture *f)
{
    have_log(f);
    fixture_settle(f);
    assert_true(packs(f) > 0);
}

static void grow(struct fixture *f)
{
    have_log(f);
    for (uint64_t i = positions_of(f->wal).next_offset, end = i + 40; i < end; i++)
        commit_number(f->wal, i, SIZE);
    fixture_settle(f);
}

static void trim(struct fixture *f)
{
    struct wal_token token;
    have_log(f);
    assert_int_equal(wal_trim(f->wal, TRIMMED, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    fixture_settle(f);
}

/* At least one file less each time, as with limits that reach further than a scrub comes in the same time. */
static void trim_one_more(struct fixture *f)
{
    struct wal_token token;
    have_log(f);
    const uint64_t before = positions_of(f->wal).first_offset + SEGMENT_BYTES / WAL_BLOCK_BYTES;
    assert_int_equal(wal_trim(f->wal, before, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    fixture_settle(f);
}

static void grow_and_trim(struct fixture *f)
{
    grow(f);
    trim(f);
}

static void open_and_close(struct fixture *f)
{
    grow(f);
    fixture_put(f, f->wal);
    f->wal = NULL;
    assert_int_equal(store_close_idle(f->store, FIXTURE_LOG), 0);
}

static void append_without_waiting(struct fixture *f)
{
    have_log(f);
    for (unsigned i = 0; i < 20; i++) {
        (void)append_number(f->wal, positions_of(f->wal).next_offset, SIZE);
        fixture_run(f);
    }
}

static void make_anew(struct fixture *f)
{
    if (f->wal)
        fixture_put(f, f->wal);
    f->wal = NULL;
    assert_int_equal(store_delete(f->store, FIXTURE_LOG), 0);
    f->wal = fixture_get(f, FIXTURE_LOG, true);
    for (uint64_t i = 0; i < 20; i++)
        commit_number(f->wal, i, SIZE);
    append_without_waiting(f);
}

/* The first ones leave what is hurt where it is. */
static void (*const actions[])(struct fixture *) = {
    pack,      grow, trim, trim_one_more, grow_and_trim, open_and_close, append_without_waiting,
    make_anew,
};
enum { KEEPING_ACTIONS = 7 };

/* ---- A scrub ------------------------------------------------------------------------------------ */

/* One pass, stopped at that operation, of a log that is open or not; whether it came to that. */
static bool scrub(struct fixture *f, unsigned at, bool every_look, size_t action)
{
    arm(at, every_look, actions[action]);
    assert_int_equal(store_scrub(f->store), 0);
    /* Of a log that is another one at each look nothing can be told. */
    bool is_elusive = every_look && actions[action] == make_anew;
    assert_true(is_elusive || scrub_of(f).logs == 1);
    assert_int_equal(scrub_of(f).logs + scrub_of(f).errors, 1);
    return disarm();
}

static void nothing_whole_is_called_damaged(void **state)
{
    struct fixture *f = begin(state);
    for (size_t i = 0; i < 4 * ARRAY_SIZE(actions); i++) {
        bool met = true;
        for (unsigned at = 1; met; at = next_stop(at)) {
            make_log(f, i % 2);
            met = scrub(f, at, i & 2, i / 4);
            assert_int_equal(scrub_of(f).found, 0);
            assert_int_equal(scrub_of(f).places, 0);
            assert_int_equal(fixture_close(f), 0);
        }
    }
}

static void what_is_damaged_is_found_and_nothing_else(void **state)
{
    struct fixture *f = begin(state);
    for (size_t i = 0; i < 4 * KEEPING_ACTIONS; i++) {
        bool met = true;
        for (unsigned at = 1; met; at = next_stop(at)) {
            struct store_damage damage;
            make_log(f, i % 2);
            hurt(f);
            met = scrub(f, at, i & 2, i / 4);
            assert_int_equal(store_damages(f->store, FIXTURE_LOG, &damage, 1), 1);
            assert_int_equal(damage.segment_no, HURT_SEGMENT);
            assert_int_equal(damage.offset_end, damage.offset + 1);
            assert_int_equal(fixture_close(f), 0);
        }
    }
}

/* The log is gone when the last of it has been read. */
static void delete_log(struct fixture *f)
{
    if (f->wal)
        fixture_put(f, f->wal);
    f->wal = NULL;
    assert_int_equal(store_delete(f->store, FIXTURE_LOG), 0);
}

static void what_was_deleted_is_damaged_no_more(void **state)
{
    struct fixture *f = begin(state);
    bool met = true;
    for (unsigned at = 1; met; at = next_stop(at)) {
        make_log(f, at % 2);
        hurt(f);
        arm(at, false, delete_log);
        assert_int_equal(store_scrub(f->store), 0);
        assert_int_equal(scrub_of(f).errors, 0);
        met = disarm();
        assert_int_equal(scrub_of(f).places, !met);
        assert_int_equal(fixture_close(f), 0);
    }
}

/* ---- Readers ------------------------------------------------------------------------------------ */

/* From the first record there is to the last one, wherever those are meanwhile. */
static void read_all(struct fixture *f)
{
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, positions_of(f->wal).first_offset);
    struct wal_entry entry;
    uint64_t offset = positions_of(f->wal).first_offset;
    int rc;
    while ((rc = wal_cursor_next(cursor, &entry)) != -ENODATA) {
        if (rc == -ERANGE) {
            assert_true(offset < TRIMMED);
            offset = positions_of(f->wal).first_offset;
            wal_cursor_seek(cursor, offset);
            continue;
        }
        assert_int_equal(rc, 0);
        assert_int_equal(entry.offset, offset);
        assert_int_equal(entry.bytes_before, offset * SIZE);
        assert_true(record_is(entry.data, entry.size, offset));
        offset++;
    }
    assert_int_equal(offset, positions_of(f->wal).committed_offset);
    fixture_cursor_close(f, cursor);
}

static void what_is_read_is_as_it_was_written(void **state)
{
    struct fixture *f = begin(state);
    for (size_t i = 0; i < KEEPING_ACTIONS; i++) {
        bool met = actions[i] != open_and_close; /* a reader holds its log */
        for (unsigned at = 1; met; at = next_stop(at)) {
            make_log(f, true);
            arm(at, false, actions[i]);
            read_all(f);
            met = disarm();
            assert_int_equal(fixture_close(f), 0);
        }
    }
}

/* ---- Limits ------------------------------------------------------------------------------------- */

/* A limit in the middle of a segment lets go what it would let go of a log that nobody touches. */
static void a_limit_lets_go_what_it_always_would(void **state)
{
    enum { KEPT = 25 };
    struct fixture *f = begin(state);
    bool met = true;
    for (unsigned at = 1; met; at = next_stop(at)) {
        uint64_t before;
        struct wal_token token;
        make_log(f, true);
        f->config.limits = (struct wal_limits){.retain_bytes = KEPT * SIZE};
        f->wal = NULL;
        assert_int_equal(fixture_close(f), 0);
        fixture_open(f);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
        arm(at, false, pack);
        assert_int_equal(wal_retain(f->wal, 0, &before, &token), 0);
        met = disarm();
        assert_int_equal(before, RECORDS - KEPT);
        assert_int_equal(wait_for(f->wal, token), 0);
        read_all(f);
        assert_int_equal(positions_of(f->wal).first_offset, before);
        f->config.limits = (struct wal_limits){.retain_bytes = 0};
        assert_int_equal(fixture_close(f), 0);
    }
}

/* ---- Packing ------------------------------------------------------------------------------------ */

/* Nothing in here runs the committer: it is at work. */
static void look_and_trim(struct fixture *f)
{
    assert_int_equal(store_scrub(f->store), 0);
    assert_int_equal(scrub_of(f).found, 0);
    read_all(f);
    assert_int_equal(wal_trim(f->wal, TRIMMED, NULL, NULL), 0);
}

static void a_segment_that_is_being_packed_is_as_any_other(void **state)
{
    struct fixture *f = begin(state);
    bool met = true;
    for (unsigned at = 1; met; at = next_stop(at)) {
        make_log(f, true);
        arm(at, false, look_and_trim);
        fixture_settle(f);
        met = disarm();
        read_all(f);
        assert_int_equal(positions_of(f->wal).first_offset, met ? TRIMMED : 0);
        fixture_reopen(f);
        read_all(f);
        assert_int_equal(store_scrub(f->store), 0);
        assert_int_equal(scrub_of(f).found, 0);
        assert_int_equal(fixture_close(f), 0);
    }
}

/* ---- All at once -------------------------------------------------------------------------------- */

enum { AT_ONCE_US = 1500000, READERS = 2, KEPT_RECORDS = 150 };

struct at_once {
    struct wal *wal;
    atomic_bool stop;
    atomic_uint wrong;
    atomic_ulong records;
};

/* Reads from the first record there is to the last one, again and again. */
static void *read_beside(void *argument)
{
    struct at_once *shared = argument;
    while (!atomic_load(&shared->stop)) {
        struct wal_cursor *cursor;
        struct wal_positions positions;
        struct wal_entry entry;
        wal_positions(shared->wal, &positions);
        uint64_t offset = positions.first_offset;
        int rc = wal_cursor_open(&cursor, shared->wal, offset);
        if (rc < 0) {
            atomic_fetch_add(&shared->wrong, 1);
            break;
        }
        while ((rc = wal_cursor_next(cursor, &entry)) == 0) {
            bool right = entry.offset == offset && entry.bytes_before == offset * SIZE &&
                         entry.size == SIZE && record_is(entry.data, entry.size, offset);
            atomic_fetch_add(&shared->wrong, !right);
            atomic_fetch_add(&shared->records, 1);
            offset++;
        }
        /* -ERANGE: it was trimmed under the reader */
        atomic_fetch_add(&shared->wrong, rc != -ENODATA && rc != -ERANGE);
        wal_cursor_close(cursor);
    }
    return NULL;
}

/* With threads for everything that has one: nothing is wrong, found damaged, or left over. */
static void all_at_once(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = SEGMENT_BYTES;
    f->config.pack_compression = STORE_COMPRESSION_ZSTD;
    f->config.pack = true;
    f->config.limits.retain_records = KEPT_RECORDS;
    f->config.scrub_bytes_per_s = UINT64_C(1) << 30;
    f->config.scrub_interval_us = 1000;
    fixture_begin(f);
    struct at_once shared = {.wal = f->wal};
    pthread_t readers[READERS];
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_beside, &shared), 0);
    uint64_t count = 0, until = fixture_now_us(f) + AT_ONCE_US;
    int rc = 0;
    while (rc == 0 && fixture_now_us(f) < until) {
        uint8_t data[SIZE];
        struct wal_record record = {.data = data, .size = SIZE};
        struct wal_token token;
        record_fill(data, SIZE, count);
        rc = wal_append(f->wal, &record, 1, NULL, NULL, &token);
        if (rc == 0 && count % 4 == 0)
            rc = wal_wait(f->wal, token, FIXTURE_PATIENCE_US);
        if (count % 16 == 0)
            store_retain(f->store, 0);
        if (count % 512 == 511)
            rc = wal_trim(f->wal, positions_of(f->wal).committed_offset - KEPT_RECORDS / 3, NULL,
                          NULL);
        count++;
    }
    atomic_store(&shared.stop, true);
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    assert_int_equal(rc, 0);
    assert_int_equal(atomic_load(&shared.wrong), 0);
    assert_true(atomic_load(&shared.records) > 0);
    struct store_stats stats;
    store_stats(f->store, &stats);
    assert_int_equal(stats.scrub.found, 0);
    assert_int_equal(stats.scrub.errors, 0);
    assert_int_equal(stats.totals.pack_failures, 0);
    f->config.limits.retain_records = 0;
    fixture_reopen(f);
    expect_numbers(f, f->wal, positions_of(f->wal).first_offset, count, SIZE);
    assert_int_equal(store_scrub(f->store), 0);
    store_stats(f->store, &stats);
    assert_int_equal(stats.scrub.found, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SIM(nothing_whole_is_called_damaged),
        ON_SIM(what_is_damaged_is_found_and_nothing_else),
        ON_SIM(what_was_deleted_is_damaged_no_more),
        ON_SIM(what_is_read_is_as_it_was_written),
        ON_SIM(a_limit_lets_go_what_it_always_would),
        ON_SIM(a_segment_that_is_being_packed_is_as_any_other),
        ON_DISKS(all_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
