#include "tests/support/store_fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/splitmix64.h"
#include "tests/support/tempdir.h"
#include "wal/base.h"

#ifdef __SANITIZE_THREAD__
#define UNDER_TSAN true
#else
#define UNDER_TSAN false
#endif

/* ---- Setting up ---------------------------------------------------------------------------------- */

static void make_folder(struct fixture *f)
{
    char *path = tempdir_make();
    must(strlen(path) < sizeof(f->path));
    snprintf(f->path, sizeof(f->path), "%s", path);
    free(path);
}

static int setup(void **state, enum fixture_kind kind)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    f->kind = kind;
    f->threads = kind == FIXTURE_POSIX || kind == FIXTURE_URING;
    f->checks_overwrites = true;
    store_config_default(&f->config);
    f->config.threads = f->config.worker = f->threads;
    f->config.lock_timeout_ms = 0;
    if (kind == FIXTURE_SIM) {
        snprintf(f->path, sizeof(f->path), FIXTURE_SIM_PATH);
        struct sim_options options = {.direct = true, .check_buffers = true};
        if (sim_disk_new(&options, &f->disk) < 0)
            return -1;
        f->config.custom_io = sim_io(f->disk);
    } else {
        make_folder(f);
    }
    if (kind == FIXTURE_POSIX || (kind == FIXTURE_DRIVEN && UNDER_TSAN))
        f->config.io = STORE_IO_POSIX;
    if (kind == FIXTURE_URING)
        f->config.io = STORE_IO_URING;
    *state = f;
    return 0;
}

int fixture_setup_sim(void **state)
{
    return setup(state, FIXTURE_SIM);
}

int fixture_setup_posix(void **state)
{
    return setup(state, FIXTURE_POSIX);
}

int fixture_setup_uring(void **state)
{
    return setup(state, FIXTURE_URING);
}

int fixture_setup_driven(void **state)
{
    return setup(state, FIXTURE_DRIVEN);
}

static bool disk_is_well(struct fixture *f)
{
    const struct sim_counters *counters = sim_counters(f->disk);
    bool well = true;
    if (sim_handles(f->disk) > 0 || sim_rings(f->disk) > 0) {
        print_error("%u handles and %u rings are left over\n", sim_handles(f->disk),
                    sim_rings(f->disk));
        well = false;
    }
    if (counters->misuses > 0 || counters->idle_waits > 0) {
        print_error("%" PRIu64 " misuses of the disk, %" PRIu64 " waits for nothing\n",
                    counters->misuses, counters->idle_waits);
        well = false;
    }
    if (counters->overwrites > 0 && f->checks_overwrites) {
        print_error("%" PRIu64 " durable bytes were written over, first in %s at %" PRIu64 "\n",
                    counters->overwrites, counters->overwrite_name, counters->overwrite_position);
        well = false;
    }
    return well;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    bool well = true;
    if (f->store)
        (void)fixture_close(f);
    if (f->disk) {
        well = disk_is_well(f);
        sim_disk_free(f->disk);
    } else {
        tempdir_remove(f->path);
    }
    free(f);
    return well ? 0 : -1;
}

/* ---- Opening and closing ------------------------------------------------------------------------- */

/* Why there is no io_uring; NULL: there is. Asked once a program. */
static const char *uring_refusal(struct fixture *f)
{
    static bool asked, refused;
    static char reason[256] = "ThreadSanitizer cannot see the kernel's side of a ring";
    if (!asked && !UNDER_TSAN) {
        struct store *store;
        int rc = store_open(&store, f->path, &f->config, reason);
        if (rc == 0)
            (void)store_close(store, UINT64_MAX);
        refused = rc == -EPERM || rc == -ENOSYS || rc == -ENOMEM;
    }
    asked = true;
    return refused || UNDER_TSAN ? reason : NULL;
}

struct fixture *fixture_of(void **state)
{
    struct fixture *f = *state;
    const char *refusal = f->kind == FIXTURE_URING ? uring_refusal(f) : NULL;
    if (refusal) {
        print_message("skipped: %s\n", refusal);
        skip();
    }
    return f;
}

void fixture_begin(struct fixture *f)
{
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, true);
}

struct fixture *fixture_start(void **state)
{
    struct fixture *f = fixture_of(state);
    fixture_begin(f);
    return f;
}

void fixture_open(struct fixture *f)
{
    char reason[256] = "";
    int rc = store_open(&f->store, f->path, &f->config, reason);
    if (rc < 0)
        f->store = NULL;
    if (rc < 0 && reason[0])
        print_error("%s\n", reason);
    assert_int_equal(rc, 0);
}

int fixture_close(struct fixture *f)
{
    for (size_t i = 0; i < ARRAY_SIZE(f->cursors); i++)
        wal_cursor_close(TAKE(f->cursors[i]));
    for (size_t i = 0; i < ARRAY_SIZE(f->held); i++) {
        if (f->held[i])
            store_put(f->store, TAKE(f->held[i]));
    }
    f->wal = NULL;
    return store_close(TAKE(f->store), UINT64_MAX);
}

void fixture_reopen(struct fixture *f)
{
    assert_int_equal(fixture_close(f), 0);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
}

void fixture_kill(struct fixture *f)
{
    sim_kill(f->disk);
    (void)fixture_close(f);
}

void fixture_crash(struct fixture *f)
{
    sim_crash(f->disk);
    (void)fixture_close(f);
}

struct wal *fixture_get(struct fixture *f, const char *name, bool create)
{
    size_t slot = 0;
    while (slot < ARRAY_SIZE(f->held) && f->held[slot])
        slot++;
    assert_true(slot < ARRAY_SIZE(f->held));
    assert_int_equal(store_get(f->store, name, create, &f->held[slot]), 0);
    return f->held[slot];
}

void fixture_put(struct fixture *f, struct wal *wal)
{
    for (size_t i = 0; i < ARRAY_SIZE(f->held); i++) {
        if (f->held[i] == wal) {
            store_put(f->store, TAKE(f->held[i]));
            return;
        }
    }
    fail_msg("the fixture does not hold this log");
}

struct wal_cursor *fixture_cursor(struct fixture *f, struct wal *wal, uint64_t offset)
{
    size_t slot = 0;
    while (slot < ARRAY_SIZE(f->cursors) && f->cursors[slot])
        slot++;
    assert_true(slot < ARRAY_SIZE(f->cursors));
    assert_int_equal(wal_cursor_open(&f->cursors[slot], wal, offset), 0);
    return f->cursors[slot];
}

void fixture_cursor_close(struct fixture *f, struct wal_cursor *cursor)
{
    for (size_t i = 0; i < ARRAY_SIZE(f->cursors); i++) {
        if (f->cursors[i] == cursor) {
            wal_cursor_close(TAKE(f->cursors[i]));
            return;
        }
    }
    fail_msg("the fixture does not know this cursor");
}

/* ---- Time ------------------------------------------------------------------------------------------ */

uint64_t fixture_now_us(struct fixture *f)
{
    if (f->disk)
        return sim_now_us(f->disk);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void fixture_run(struct fixture *f)
{
    if (!f->threads)
        assert_true(store_run(f->store, 0, 0) >= 0);
}

void fixture_pause(struct fixture *f, uint64_t us)
{
    uint64_t end = fixture_now_us(f) + us;
    for (uint64_t now; (now = fixture_now_us(f)) < end;) {
        if (f->threads)
            usleep((useconds_t)(end - now));
        else
            assert_true(store_run(f->store, 0, end - now) >= 0);
    }
}

bool fixture_until(struct fixture *f, bool (*holds)(void *context), void *context)
{
    uint64_t end = fixture_now_us(f) + FIXTURE_PATIENCE_US;
    while (!holds(context)) {
        if (fixture_now_us(f) > end)
            return false;
        fixture_pause(f, 500);
    }
    return true;
}

/* A machine that is busy elsewhere may be late with marks: the store has settled when nothing was
 * written for as long as the slowest timer takes. */
void fixture_settle(struct fixture *f)
{
    uint64_t quiet_us = f->config.log.mark_idle_us;
    uint64_t end = fixture_now_us(f) + FIXTURE_PATIENCE_US;
    struct store_stats before, after;
    store_stats(f->store, &after);
    do {
        before = after;
        fixture_pause(f, 2 * quiet_us + 20000);
        store_stats(f->store, &after);
    } while ((after.writes != before.writes || after.totals.syncs != before.totals.syncs) &&
             fixture_now_us(f) < end);
}

const char *fixture_file(struct fixture *f, const char *log, const char *file)
{
    static char path[1024];
    snprintf(path, sizeof(path), "%s/logs/%s%s%s", f->path, log, *file ? "/" : "", file);
    return path;
}

const char *fixture_segment(struct fixture *f, const char *log, uint64_t number)
{
    char name[64];
    snprintf(name, sizeof(name), "%020" PRIu64 ".seg", number);
    return fixture_file(f, log, name);
}

/* ---- Records ------------------------------------------------------------------------------------- */

/* No byte is ever zero, so that no part of a record looks like space that was not written. Half of the
 * bits say nothing, so that what compresses it gets somewhere. */
static uint64_t record_word(uint64_t number, size_t index)
{
    return (splitmix64_mix(number * 1000003 + index + 1) & UINT64_C(0x0f0f0f0f0f0f0f0f)) |
           UINT64_C(0x4040404040404040);
}

void record_fill(void *data, size_t size, uint64_t number)
{
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
        uint64_t word = record_word(number, at / sizeof(word));
        memcpy((uint8_t *)data + at, &word, min_u64(size - at, sizeof(word)));
    }
}

bool record_is(const void *data, size_t size, uint64_t number)
{
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
        uint64_t word = record_word(number, at / sizeof(word));
        if (memcmp((const uint8_t *)data + at, &word, min_u64(size - at, sizeof(word))) != 0)
            return false;
    }
    return true;
}

size_t record_size(uint64_t number, size_t size_max)
{
    return 1 + splitmix64_mix(number ^ 0x5bd1e995) % size_max;
}

struct wal_token append_number(struct wal *wal, uint64_t number, size_t size)
{
    uint8_t *data = malloc(size);
    assert_non_null(data);
    record_fill(data, size, number);
    struct wal_record record = {.data = data, .size = size};
    struct wal_token token = {0};
    int rc = wal_append(wal, &record, 1, NULL, NULL, &token);
    free(data);
    assert_int_equal(rc, 0);
    return token;
}

struct wal_token append_numbers(struct wal *wal, uint64_t first, size_t count, size_t size_max)
{
    struct wal_record *records = calloc(count, sizeof(*records));
    uint8_t *data = malloc(count * size_max);
    assert_true(records && data);
    for (size_t i = 0; i < count; i++) {
        records[i].data = data + i * size_max;
        records[i].size = record_size(first + i, size_max);
        record_fill(data + i * size_max, records[i].size, first + i);
    }
    struct wal_token token = {0};
    int rc = wal_append(wal, records, count, NULL, NULL, &token);
    free(records);
    free(data);
    assert_int_equal(rc, 0);
    return token;
}

int wait_for(struct wal *wal, struct wal_token token)
{
    return wal_wait(wal, token, FIXTURE_PATIENCE_US);
}

void commit_number(struct wal *wal, uint64_t number, size_t size)
{
    struct wal_token token = append_number(wal, number, size);
    assert_int_equal(wait_for(wal, token), 0);
}

void commit_numbers(struct wal *wal, uint64_t first, size_t count, size_t size_max)
{
    struct wal_token token = append_numbers(wal, first, count, size_max);
    assert_int_equal(wait_for(wal, token), 0);
}

void expect_numbers(struct fixture *f, struct wal *wal, uint64_t begin, uint64_t end, size_t size)
{
    struct wal_cursor *cursor = fixture_cursor(f, wal, begin);
    struct wal_entry entry;
    uint64_t last_ns = 0;
    for (uint64_t offset = begin; offset < end; offset++) {
        assert_int_equal(wal_cursor_next(cursor, &entry), 0);
        assert_int_equal(entry.offset, offset);
        if (size > 0)
            assert_int_equal(entry.size, size);
        assert_true(record_is(entry.data, entry.size, offset));
        assert_true(entry.timestamp_ns >= last_ns);
        last_ns = entry.timestamp_ns;
    }
    if (end == positions_of(wal).committed_offset)
        assert_int_equal(wal_cursor_next(cursor, &entry), -ENODATA);
    fixture_cursor_close(f, cursor);
}

struct wal_positions positions_of(struct wal *wal)
{
    struct wal_positions positions;
    wal_positions(wal, &positions);
    return positions;
}

struct wal_stats stats_of(struct wal *wal)
{
    struct wal_stats stats;
    wal_stats(wal, &stats);
    return stats;
}

struct store_totals totals_of(struct fixture *f)
{
    struct store_stats stats;
    store_stats(f->store, &stats);
    return stats.totals;
}

void expect_state(struct wal *wal, const char *key, const char *value)
{
    char found[256] = "";
    size_t bytes = 0;
    int rc = wal_state_get(wal, key, (uint16_t)strlen(key), found, sizeof(found) - 1, &bytes, NULL);
    if (!value) {
        assert_int_equal(rc, -ENOENT);
        return;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(bytes, strlen(value));
    assert_string_equal(found, value);
}

struct wal_state_update state_update(const char *key, const char *value)
{
    return (struct wal_state_update){
        .key = key,
        .key_bytes = (uint16_t)strlen(key),
        .value = value,
        .value_bytes = value ? (uint32_t)strlen(value) : 0,
    };
}

/* ---- Handlers ------------------------------------------------------------------------------------ */

static _Atomic unsigned witness_count;
static _Thread_local bool inside_call;

void witness_begin(void)
{
    atomic_store(&witness_count, 0);
}

unsigned witness_calls(void)
{
    return atomic_load(&witness_count);
}

static bool witnesses_were_called(void *context)
{
    const unsigned *calls = context;
    return witness_calls() >= *calls;
}

void witness_await(struct fixture *f, unsigned calls)
{
    assert_true(fixture_until(f, witnesses_were_called, &calls));
}

static void witness_done(struct wal_handler *handler, struct wal_token token, int status)
{
    struct witness *witness = container_of(handler, struct witness, handler);
    witness->token = token;
    witness->status = status;
    witness->inside = inside_call;
    witness->calls++;
    /* The only writer is the committer's thread; the count is raised last, so that who sees it may
     * read the rest. */
    witness->order = atomic_load(&witness_count) + 1;
    atomic_store(&witness_count, witness->order);
}

struct wal_handler *witness_handler(struct witness *witness)
{
    *witness = (struct witness){.handler = {.done = witness_done}, .status = 1};
    return &witness->handler;
}

void witness_enter(void)
{
    inside_call = true;
}

void witness_leave(void)
{
    inside_call = false;
}
