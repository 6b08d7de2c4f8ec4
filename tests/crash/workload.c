/*
 * Random operations. Each tells the oracle what was asked for before or after asking the store, and
 * holds the answer against what the store may answer now. When the disk has died meanwhile the
 * answer counts no more: what was in flight is there after the next opening, or is not.
 */
#include <errno.h>
#include <string.h>

#include "tests/crash/history.h"
#include "tests/crash/operations.h"
#include "wal/base.h"

typedef unsigned long long ull;

#define WAIT_US UINT64_C(60000000)

static uint8_t value_buffer[WAL_STATE_BYTES_MAX];

/* ---- operations ------------------------------------------------------------------------------ */

static void op_submit(struct history *history)
{
    struct log_model *log = held_log(history);

    if (log)
        wal_submit(log->wal);
}

static void op_run(struct history *history)
{
    static const uint64_t timeouts[] = {0, 0, 10, 1000, 100000, 1000000};
    unsigned count = random_between(&history->random, 1, 3);

    for (unsigned i = 0; i < count && !is_dead(history); i++) {
        for (unsigned j = 0; j < history->swarm.config.committers; j++) {
            uint64_t before = faults_shown(history);
            int rc = store_run(history->store, j, RANDOM_PICK(&history->random, timeouts));

            trace(history, "store_run: %d", rc);
            if (rc < 0 && !is_dead(history) && !is_excused(history, rc, before))
                violation(history, NULL, "store_run() failed with %d", rc);
        }
    }
}

/* Quiet time, in which marks are written and space is made. */
static void op_idle(struct history *history)
{
    for (unsigned i = 0; i < 4 && !is_dead(history); i++) {
        for (unsigned j = 0; j < history->swarm.config.committers; j++) {
            uint64_t delay = store_run_delay_us(history->store, j);

            store_run(history->store, j, min_u64(delay, 300000));
        }
        if (!is_dead(history))
            sim_advance(history->disk, random_below(&history->random, 300000));
    }
}

static void op_flush(struct history *history)
{
    static const uint64_t timeouts[] = {0, 20, WAIT_US, WAIT_US, UINT64_MAX};
    struct log_model *log = held_log(history);

    if (!log)
        return;
    uint64_t timeout_us = RANDOM_PICK(&history->random, timeouts);
    uint64_t sequence = history->next_sequence;
    uint64_t before = faults_shown(history);
    int rc = wal_flush(log->wal, timeout_us);

    trace(history, "wal_flush(%s, %llu): %d", log->name, (ull)timeout_us, rc);
    if (is_dead(history))
        return;
    remember(history, (uint64_t)(int64_t)rc);
    check_settle(history, log);
    if (rc == -ETIMEDOUT && timeout_us >= WAIT_US)
        violation(history, log, "a flush took more than a minute");
    if (rc < 0 && rc != -ETIMEDOUT && !log->failed && wal_status(log->wal) == 0 &&
        !is_excused(history, rc, before) && faults_shown(history) == 0)
        violation(history, log, "wal_flush() failed with %d", rc);
    if (rc < 0)
        return;
    for (uint32_t i = log->durable_units; i < log->unit_count; i++) {
        if (log->units[i]->status == UNIT_QUEUED && log->units[i]->has_token &&
            log->units[i]->sequence <= sequence)
            violation(history, log, "wal_flush() returned, and the append at %llu is in flight",
                      (ull)log->units[i]->token.begin);
    }
}

static void op_flush_async(struct history *history)
{
    struct log_model *log = held_log(history);

    if (!log || !unit_has_room(history, log))
        return;
    struct unit *unit = unit_new(history, log);

    unit->is_barrier = unit->has_handler = true;
    int status = wal_status(log->wal);
    int rc = wal_flush_async(log->wal, &unit->handler);

    trace(history, "wal_flush_async(%s): %d", log->name, rc);
    if (rc == 0)
        log->handlers_due++;
    else if (rc != status)
        violation(history, log, "wal_flush_async() failed with %d", rc);
}

static void op_wait(struct history *history)
{
    static const uint64_t timeouts[] = {0, 50, 10000, WAIT_US, UINT64_MAX};
    struct log_model *log = held_log(history);

    if (!log || log->unit_count == 0)
        return;
    struct unit *unit = log->units[random_below(&history->random, log->unit_count)];
    uint64_t timeout_us = RANDOM_PICK(&history->random, timeouts);

    if (!unit->has_token || log->durable_units == log->unit_count)
        return;
    if (timeout_us == UINT64_MAX)
        wal_submit(log->wal);
    uint64_t before = faults_shown(history);
    int rc = wal_wait(log->wal, unit->token, timeout_us);

    trace(history, "wal_wait(%s, %llu, %llu): %d", log->name, (ull)unit->token.end, (ull)timeout_us,
          rc);
    if (is_dead(history))
        return;
    remember(history, (uint64_t)(int64_t)rc);
    if (rc == -ETIMEDOUT && timeout_us >= WAIT_US)
        violation(history, log, "an append took more than a minute");
    int told = wal_poll(log->wal, unit->token);

    if (rc != told &&
        !(told == -EINPROGRESS && (rc == -ETIMEDOUT || is_excused(history, rc, before))))
        violation(history, log, "wal_wait() says %d, wal_poll() says %d", rc, told);
}

static void op_read(struct history *history)
{
    struct log_model *log = held_log(history);
    struct wal_positions positions;

    if (!log)
        return;
    check_settle(history, log);
    wal_positions(log->wal, &positions);
    check_read(history, log, random_below(&history->random, positions.next_offset + 1),
               random_between(&history->random, 1, 40));
}

/* Goes on with the log's own cursor, which stays open over whatever happens. */
static void op_read_on(struct history *history)
{
    struct log_model *log = held_log(history);
    unsigned count = random_between(&history->random, 1, 10);

    if (!log)
        return;
    check_settle(history, log);
    if (!log->cursor) {
        log->cursor_offset = 0;
        must(wal_cursor_open(&log->cursor, log->wal, 0) == 0);
    }
    while (count-- > 0) {
        int rc = check_next(history, log, log->cursor, log->cursor_offset);

        if (rc == 0) {
            log->cursor_offset++;
            continue;
        }
        if (rc == -ERANGE && !is_dead(history)) {
            struct wal_positions positions;

            wal_positions(log->wal, &positions);
            log->cursor_offset = positions.first_offset;
            wal_cursor_seek(log->cursor, log->cursor_offset);
        }
        return;
    }
}

static void op_last(struct history *history)
{
    struct log_model *log = held_log(history);
    struct wal_positions positions;

    if (!log)
        return;
    check_settle(history, log);
    uint64_t count = random_below(&history->random, 20);
    uint64_t begin = wal_offset_of_last(log->wal, count);

    wal_positions(log->wal, &positions);
    uint64_t kept = positions.committed_offset - positions.first_offset;

    if (begin != positions.committed_offset - min_u64(count, kept))
        violation(history, log, "the last %llu records are said to begin at %llu", (ull)count,
                  (ull)begin);
    check_read(history, log, begin, UINT64_MAX);
}

static void op_find_time(struct history *history)
{
    struct log_model *log = held_log(history);

    if (!log)
        return;
    check_settle(history, log);
    uint64_t end = model_end(log, log->durable_units);
    uint64_t timestamp =
        end == 0 ? 0 : log->records[random_below(&history->random, end)]->timestamp_ns;

    check_offset_at(history, log, timestamp);
}

static void op_state(struct history *history)
{
    struct log_model *log = held_log(history);

    if (!log)
        return;
    check_state(history, log);
    if (log->failed || wal_status(log->wal) != 0 || is_dead(history))
        return;
    unsigned key = random_below(&history->random, KEYS);
    uint16_t key_bytes;
    const uint8_t *name = key_name(key, &key_bytes);
    struct state_view view;
    struct wal_token token;
    size_t bytes = 0;
    int rc = wal_state_get(log->wal, name, key_bytes, value_buffer, sizeof(value_buffer), &bytes,
                           &token);

    model_state(log, log->unit_count, &view);
    if ((rc == 0) != (view.updates[key] != NULL) || (rc < 0 && rc != -ENOENT))
        violation(history, log, "wal_state_get() says %d", rc);
    if (rc == 0 && content_hash(value_buffer, bytes) != view.updates[key]->hash)
        violation(history, log, "wal_state_get() has the wrong value");
    int told = wal_poll(log->wal, token);

    if (told != 0 && !(told == -EINPROGRESS && log->durable_units < log->unit_count))
        violation(history, log, "a value of the state rests on an append that got %d", told);
}

static void op_fill_disk(struct history *history)
{
    if (!history->swarm.disk_full || history->is_full)
        return;
    sim_options_of(history->disk)->capacity_blocks =
        sim_used_blocks(history->disk) + 1 + random_below(&history->random, 40);
    history->is_full = history->was_full = true;
    trace(history, "the disk gets full");
}

static void op_free_disk(struct history *history)
{
    if (!history->is_full)
        return;
    sim_options_of(history->disk)->capacity_blocks = 0;
    history->is_full = false;
    trace(history, "the disk has room again");
    if (!history->swarm.faults && history->swarm.disk.handles_max == 0)
        workload_prove_alive(history);
}

/* The power goes at one of the next changes of the disk. */
static void op_cut_soon(struct history *history)
{
    struct log_model *log = held_log(history);

    sim_crash_at_change(history->disk,
                        sim_changes(history->disk) + random_between(&history->random, 1, 3));
    if (log)
        wal_submit(log->wal);
}

/* More faults while it runs. */
static void op_arm(struct history *history)
{
    if (history->swarm.faults && history->faults_armed < FAULTS_OF_LIFE_MAX)
        history_arm_fault(history);
}

static void op_shrink(struct history *history)
{
    struct log_model *log = held_log(history);

    if (log)
        wal_shrink(log->wal);
}

/* The directory has one owner at a time. */
static void op_open_twice(struct history *history)
{
    struct store_config config = history->swarm.config;
    struct store *second;
    uint64_t before = faults_shown(history);

    config.lock_timeout_ms = 0;
    int rc = store_open(&second, "data", &config, NULL);

    trace(history, "store_open, once more: %d", rc);
    if (is_dead(history))
        return;
    if (rc != -EWOULDBLOCK && !is_excused(history, rc, before))
        violation(history, NULL, "a store that is open was opened again: %d", rc);
}

static void op_list(struct history *history)
{
    check_list(history);
}

static void op_positions(struct history *history)
{
    for (unsigned i = 0; i < history->swarm.log_count; i++)
        check_positions(history, &history->logs[i]);
}

/* ---- running --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(struct history *history);
    unsigned weight; /* beside what the swarm draws */
    bool may_open;   /* and so clear what a log ends with */
} operations[] = {
    {"append", op_append, 24, false},
    {"append_expecting", op_append_expecting, 2, false},
    {"append_wrongly", op_append_wrongly, 1, false},
    {"forge", op_forge, 3, false},
    {"submit", op_submit, 2, false},
    {"run", op_run, 12, false},
    {"idle", op_idle, 2, false},
    {"flush", op_flush, 5, false},
    {"flush_async", op_flush_async, 2, false},
    {"wait", op_wait, 4, false},
    {"trim", op_trim, 3, false},
    {"retain", op_retain, 3, false},
    {"read", op_read, 2, false},
    {"read_on", op_read_on, 3, false},
    {"last", op_last, 1, false},
    {"find_time", op_find_time, 1, false},
    {"state", op_state, 2, false},
    {"create", op_create, 2, true},
    {"delete", op_delete, 1, true},
    {"get", op_get, 3, true},
    {"put", op_put, 1, false},
    {"reopen", op_reopen, 1, true},
    {"fill_disk", op_fill_disk, 2, false},
    {"free_disk", op_free_disk, 2, true},
    {"shrink", op_shrink, 1, false},
    {"cut_soon", op_cut_soon, 1, false},
    {"arm", op_arm, 1, false},
    {"list", op_list, 1, false},
    {"open_twice", op_open_twice, 1, false},
    {"positions", op_positions, 3, false},
    {"scrub", op_scrub, 2, true},
};
_Static_assert(ARRAY_SIZE(operations) <= OPERATIONS_MAX, "one weight for each");

unsigned workload_operations(void)
{
    return ARRAY_SIZE(operations);
}

static unsigned draw_operation(struct history *history)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(operations); i++)
        sum += operations[i].weight * history->swarm.weights[i];
    if (sum == 0)
        return 0;
    uint32_t dice = random_below(&history->random, sum);

    for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
        uint32_t weight = operations[i].weight * history->swarm.weights[i];

        if (dice < weight)
            return i;
        dice -= weight;
    }
    return 0;
}

/* What is durable is never written again, but where a log is opened and a torn end cleared. */
static void check_overwrites(struct history *history, uint64_t before)
{
    const struct sim_counters *counters = sim_counters(history->disk);

    if (counters->overwrites > before)
        violation(history, NULL, "durable bytes were overwritten; the first ones in %s at %llu",
                  counters->overwrite_name, (ull)counters->overwrite_position);
}

void workload_run(struct history *history, unsigned count)
{
    /* Without a log most of what follows would do nothing. */
    if (!held_log(history)) {
        struct log_model *log = &history->logs[0];

        log_get(history, log, log->existence == LOG_GONE);
    }
    while (count-- > 0 && !is_dead(history)) {
        unsigned number = draw_operation(history);
        uint64_t overwrites = sim_counters(history->disk)->overwrites;

        trace(history, "- %s", operations[number].name);
        operations[number].run(history);
        history->totals->operations++;
        if (!operations[number].may_open)
            check_overwrites(history, overwrites);
        struct log_model *log = held_log(history);

        if (log)
            check_positions(history, log);
    }
}

static void prove_log_alive(struct history *history, struct log_model *log)
{
    struct unit *unit;

    if (!unit_has_room(history, log))
        return;
    /* What waits already may fill the queue; and a handler may append one more. */
    wal_flush(log->wal, UINT64_MAX);
    wal_flush(log->wal, UINT64_MAX);
    if (is_dead(history))
        return;
    check_settle(history, log);
    unit = unit_new(history, log);
    unit_draw_record(history, unit);
    append_unit(history, log, unit, WAL_ANY_OFFSET);
    int rc = wal_flush(log->wal, UINT64_MAX);

    if (is_dead(history))
        return;
    check_positions(history, log);
    if (rc < 0 || unit->status != UNIT_DURABLE)
        violation(history, log, "a healthy disk, and a flush says %d: the record is %s", rc,
                  unit->status == UNIT_DURABLE ? "durable" : "not durable");
}

void workload_prove_alive(struct history *history)
{
    for (unsigned i = 0; i < history->swarm.log_count && !is_dead(history); i++) {
        struct log_model *log = &history->logs[i];

        if (log->existence != LOG_PRESENT)
            continue;
        int rc = log_get(history, log, false);

        if (rc == 0 && !log->failed)
            prove_log_alive(history, log);
    }
}
