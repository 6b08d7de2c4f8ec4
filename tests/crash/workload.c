/*
 * Random operations. Each tells the oracle what was asked for before or after asking the store, and
 * holds the answer against what the store may answer now. When the disk has died meanwhile the answer
 * counts no more: what was in flight is there after the next opening, or is not.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/forgery.h"
#include "tests/crash/history.h"
#include "wal/base.h"

typedef unsigned long long ull;

#define WAIT_US UINT64_C(60000000)
#define UPDATES_OF_APPEND_MAX 3

static uint8_t data_buffer[16 * CONTENT_BYTES_MAX];
static uint8_t attribute_buffer[BATCH_RECORDS_MAX][CONTENT_ATTRIBUTE_BYTES_MAX];

/* ---- logs ------------------------------------------------------------------------------------ */

static struct log_model *any_log(struct history *history)
{
    return &history->logs[random_below(&history->random, history->swarm.log_count)];
}

/* A log that is held; NULL if there is none. */
static struct log_model *held_log(struct history *history)
{
    unsigned count = history->swarm.log_count;
    unsigned begin = random_below(&history->random, count);

    for (unsigned i = 0; i < count; i++) {
        struct log_model *log = &history->logs[(begin + i) % count];

        if (log->wal)
            return log;
    }
    return NULL;
}

static unsigned held_count(const struct history *history)
{
    unsigned count = 0;

    for (unsigned i = 0; i < history->swarm.log_count; i++)
        count += history->logs[i].wal != NULL;
    return count;
}

static void close_cursor(struct log_model *log)
{
    wal_cursor_close(log->cursor);
    log->cursor = NULL;
}

void log_put(struct history *history, struct log_model *log)
{
    if (!log->wal)
        return;
    close_cursor(log);
    check_settle(history, log);
    /* Another life of the log may give out the same tickets again. */
    for (uint32_t i = 0; i < log->unit_count; i++)
        log->units[i]->has_token = false;
    store_put(history->store, log->wal);
    log->wal = NULL;
}

static bool is_new_id(const struct history *history, const uint8_t id[16])
{
    for (uint32_t i = 0; i < history->pools->id_count; i++) {
        if (memcmp(history->pools->ids[i], id, 16) == 0)
            return false;
    }
    return true;
}

static void learn_id(struct history *history, struct log_model *log)
{
    uint8_t id[16];

    wal_id(log->wal, id);
    if (log->id_known && memcmp(log->id, id, sizeof(id)) == 0)
        return;
    if (!is_new_id(history, id))
        violation(history, log, "its id is one that another log had");
    if (log->id_known && log->existence == LOG_PRESENT)
        violation(history, log, "its id has changed");
    if (log->id_known)
        model_clear(log); /* the removal did take place, and this is a new log */
    log->id_known = true;
    memcpy(log->id, id, sizeof(id));
    if (history->pools->id_count < IDS_MAX)
        memcpy(history->pools->ids[history->pools->id_count++], id, sizeof(id));
}

/* The log is held now. */
static int learn_log(struct history *history, struct log_model *log)
{
    if (wal_status(log->wal) == -EBADMSG &&
        faults_shown(history) > history->faults_at_opening) {
        /* What cannot be read is taken for damage, until the log is opened again. */
        store_put(history->store, log->wal);
        log->wal = NULL;
        log->is_unreadable = true;
        return -EAGAIN;
    }
    learn_id(history, log);
    spy_forget_log(&history->spy, log->name);
    log->existence = LOG_PRESENT;
    log->handler_sequence = 0;
    log->is_fresh = !log->was_checked;
    /* A log that had failed may have been closed meanwhile, and opened again from the disk. */
    if (log->was_checked && !(log->failed && wal_status(log->wal) == 0)) {
        check_positions(history, log);
        return 0;
    }
    log->was_checked = true;
    return check_recovered(history, log) ? 0 : -EAGAIN;
}

int log_get(struct history *history, struct log_model *log, bool create)
{
    uint64_t before = faults_shown(history);

    if (log->wal)
        return 0;
    if (log->is_unreadable)
        return -EAGAIN;
    int rc = store_get(history->store, log->name, create, &log->wal);

    trace(history, "store_get(%s, %s): %d", log->name, create ? "create" : "", rc);
    if (rc < 0)
        log->wal = NULL;
    if (create && log->existence == LOG_GONE) {
        model_clear(log);
        log->existence = LOG_UNSURE;
    }
    if (is_dead(history))
        return -EAGAIN;
    remember(history, (uint64_t)(int64_t)rc);
    if (rc == 0 && log->existence == LOG_GONE)
        violation(history, log, "it was removed, or never made, and is there");
    if (rc == 0)
        return learn_log(history, log);
    if (rc == -ENOENT && !create && log->existence != LOG_PRESENT)
        return rc;
    if (rc == -EMFILE && held_count(history) >= history->swarm.config.logs_max)
        return rc;
    if (!is_excused(history, rc, before) && !(create && faults_shown(history) > 0))
        violation(history, log, "store_get() failed with %d", rc);
    return rc == -ENOENT ? -EAGAIN : rc;
}

/* ---- units ----------------------------------------------------------------------------------- */

static bool has_room(const struct history *history, const struct log_model *log)
{
    const struct pools *pools = history->pools;

    return log->unit_count + 2 < LOG_UNITS_MAX && pools->unit_count + 2 < UNITS_MAX &&
           model_end(log, log->unit_count) + 2 * BATCH_RECORDS_MAX < LOG_RECORDS_MAX &&
           pools->record_count + 2 * BATCH_RECORDS_MAX < RECORDS_MAX &&
           pools->update_count + UPDATES_OF_APPEND_MAX < UPDATES_MAX;
}

static void unit_done(struct wal_handler *handler, struct wal_token token, int status);

static struct unit *unit_new(struct history *history, struct log_model *log)
{
    struct pools *pools = history->pools;

    must(pools->unit_count < UNITS_MAX);
    struct unit *unit = &pools->units[pools->unit_count++];

    *unit = (struct unit){
        .handler = {.done = unit_done},
        .log = log,
        .records = &pools->records[pools->record_count],
        .updates = &pools->updates[pools->update_count],
        .has_token = true,
        .sequence = ++history->next_sequence,
    };
    return unit;
}

static uint32_t draw_size(struct history *history)
{
    struct random *random = &history->random;
    uint32_t segment = (uint32_t)history->swarm.config.log.segment_bytes;

    if (!random_percent(random, history->swarm.big_percent))
        return random_between(random, 1, history->swarm.record_bytes);
    if (random_percent(random, 70))
        return random_between(random, 1, 20000);
    if (random_percent(random, 70))
        return random_between(random, 1, segment);
    return random_between(random, segment - 8192, segment + 40000);
}

static void draw_record(struct history *history, struct unit *unit)
{
    struct random *random = &history->random;
    struct record *record = &unit->records[unit->record_count++];

    history->pools->record_count++;
    *record = (struct record){.content = {.number = ++history->next_content,
                                          .size = draw_size(history)}};
    if (random_percent(random, history->swarm.zeros_percent))
        record->content.kind = random_percent(random, 50) ? CONTENT_ZEROS : CONTENT_HOLES;
    if (random_percent(random, history->swarm.attributes_percent))
        record->content.attribute_kind = random_percent(random, 90) ? 1 : 2;
}

static void draw_update(struct history *history, struct unit *unit)
{
    struct random *random = &history->random;
    struct update *update = &unit->updates[unit->update_count++];
    uint32_t limit = random_percent(random, 90) ? 200 : 9000;

    if (history->swarm.big_state && random_percent(random, 20))
        limit = 600000;
    history->pools->update_count++;
    *update = (struct update){
        .key = (uint8_t)random_below(random, KEYS),
        .removes = random_percent(random, 20),
        .value = {.number = ++history->next_content, .size = random_below(random, limit)},
    };
    content_write(&update->value, data_buffer);
    update->hash = content_hash(data_buffer, update->value.size);
}

static void draw_unit(struct history *history, struct unit *unit)
{
    struct random *random = &history->random;

    for (uint32_t i = random_between(random, 1, history->swarm.batch_records); i > 0; i--)
        draw_record(history, unit);
    if (random_percent(random, history->swarm.updates_percent)) {
        for (uint32_t i = random_between(random, 1, UPDATES_OF_APPEND_MAX); i > 0; i--)
            draw_update(history, unit);
        if (random_percent(random, 20)) {
            history->pools->record_count -= unit->record_count;
            unit->record_count = 0; /* the state alone changes */
        }
    }
    unit->has_handler = random_percent(random, history->swarm.handler_percent);
    unit->again = unit->has_handler && random_percent(random, history->swarm.again_percent);
    if (unit->has_handler && random_percent(random, 20))
        unit->has_token = false;
}

/* What wal_append() wants to see, until the next call. */
struct call {
    struct wal_record records[BATCH_RECORDS_MAX];
    struct wal_state_update updates[UPDATES_OF_APPEND_MAX];
    struct wal_append_options options;
};

static void fill_call(const struct unit *unit, struct call *call)
{
    uint8_t *at = data_buffer;

    must(unit->record_count <= BATCH_RECORDS_MAX && unit->update_count <= UPDATES_OF_APPEND_MAX);
    for (uint32_t i = 0; i < unit->record_count; i++) {
        const struct content *content = &unit->records[i].content;

        must(at + content->size <= data_buffer + sizeof(data_buffer));
        content_write(content, at);
        call->records[i] = (struct wal_record){
            .data = at,
            .size = content->size,
            .attributes = attribute_buffer[i],
            .attribute_bytes = content_write_attributes(content, attribute_buffer[i]),
        };
        at += content->size;
    }
    for (uint32_t i = 0; i < unit->update_count; i++) {
        const struct update *update = &unit->updates[i];
        uint16_t key_bytes;

        must(at + update->value.size <= data_buffer + sizeof(data_buffer));
        content_write(&update->value, at);
        call->updates[i] = (struct wal_state_update){
            .key = key_name(update->key, &key_bytes),
            .value = update->removes ? NULL : at,
            .value_bytes = update->removes ? 0 : update->value.size,
        };
        call->updates[i].key_bytes = key_bytes;
        at += update->value.size;
    }
    call->options = (struct wal_append_options){
        .expected_offset = WAL_ANY_OFFSET,
        .updates = call->updates,
        .update_count = unit->update_count,
    };
}

/* A queued unit enters the line; its token must be what the oracle foresees. */
static void learn_queued(struct history *history, struct log_model *log, struct unit *unit)
{
    uint64_t next = model_end(log, log->unit_count);

    if (unit->has_handler)
        log->handlers_due++;
    if (unit->handler_entered)
        violation(history, log, "a handler ran inside the call that queued it");
    if (unit->has_token &&
        (unit->token.begin != next || unit->token.end != next + unit->record_count))
        violation(history, log, "an append got [%llu, %llu), the next offset is %llu",
                  (ull)unit->token.begin, (ull)unit->token.end, (ull)next);
    unit->token.begin = next;
    unit->token.end = next + unit->record_count;
    log->is_fresh = false;
    model_push(log, unit);
}

/* Whether the state would be too large with this unit; near the limit either answer is right. */
static bool state_is_large(struct log_model *log, const struct unit *unit)
{
    struct state_view view;
    uint64_t bytes = 0;

    model_state(log, log->unit_count, &view);
    for (uint32_t i = 0; i < unit->update_count; i++)
        view.updates[unit->updates[i].key] = &unit->updates[i];
    for (unsigned key = 0; key < KEYS; key++)
        bytes += view.updates[key] && !view.updates[key]->removes ? view.updates[key]->value.size : 0;
    return bytes > WAL_STATE_BYTES_MAX - 8192;
}

/* The call was refused: it must have had a reason, and has changed nothing. */
static void check_refused_call(struct history *history, struct log_model *log, int status, int rc)
{
    bool is_waiting = log->durable_units < log->unit_count || log->handlers_due > 0;

    if (status != 0 && rc != status)
        violation(history, log, "an append got %d from a log whose status is %d", rc, status);
    if (status == 0 && !(rc == -EAGAIN && is_waiting))
        violation(history, log, "an append was refused with %d", rc);
}

static void append(struct history *history, struct log_model *log, struct unit *unit,
                   uint64_t expected_offset)
{
    struct call call;
    int status = wal_status(log->wal);
    bool is_stale = expected_offset != WAL_ANY_OFFSET &&
                    expected_offset != model_end(log, log->unit_count);

    fill_call(unit, &call);
    call.options.expected_offset = expected_offset;
    bool has_options = unit->update_count > 0 || expected_offset != WAL_ANY_OFFSET;

    history->is_appending = true;
    int rc = wal_append(log->wal, call.records, unit->record_count,
                        has_options ? &call.options : NULL,
                        unit->has_handler ? &unit->handler : NULL,
                        unit->has_token ? &unit->token : NULL);

    history->is_appending = false;
    trace(history, "wal_append(%s, %u records, %u updates): %d at %llu", log->name,
          unit->record_count, unit->update_count, rc, (ull)unit->token.begin);
    remember(history, (uint64_t)(int64_t)rc);
    if (rc == 0 && is_stale)
        violation(history, log, "appended, although the expected offset was wrong");
    if (rc == 0 && status != 0)
        violation(history, log, "appended, although its status is %d", status);
    if (rc == 0)
        learn_queued(history, log, unit);
    else if (!(is_stale && rc == -ESTALE && status == 0) &&
             !(rc == -E2BIG && status == 0 && state_is_large(log, unit)))
        check_refused_call(history, log, status, rc);
}

static void append_one(struct history *history, struct log_model *log)
{
    if (!has_room(history, log))
        return;
    struct unit *unit = unit_new(history, log);

    draw_record(history, unit);
    unit->records[0].content.size = min_u64(unit->records[0].content.size, 100);
    append(history, log, unit, WAL_ANY_OFFSET);
}

/* ---- handlers -------------------------------------------------------------------------------- */

static void check_barrier(struct history *history, struct log_model *log,
                          const struct unit *barrier, int status)
{
    for (uint32_t i = log->durable_units; i < log->unit_count; i++) {
        struct unit *unit = log->units[i];

        if (unit->sequence > barrier->sequence || !unit->has_token || !log->wal)
            continue;
        if (wal_poll(log->wal, unit->token) == -EINPROGRESS)
            violation(history, log, "a barrier was told %d while an append before it is in flight",
                      status);
    }
}

static void unit_done(struct wal_handler *handler, struct wal_token token, int status)
{
    struct unit *unit = container_of(handler, struct unit, handler);
    struct log_model *log = unit->log;
    struct history *history = log->history;

    if (unit->handler_entered)
        violation(history, log, "a handler ran twice");
    if (history->is_appending)
        violation(history, log, "a handler ran inside wal_append()");
    unit->handler_entered = true;
    must(log->handlers_due > 0);
    log->handlers_due--;
    memset(handler, 0xa5, sizeof(*handler)); /* it is the caller's again */
    if (history->is_over || is_dead(history))
        return;

    remember(history, token.end ^ (uint64_t)(int64_t)status);
    trace(history, "  %s: handler of [%llu, %llu): %d", log->name, (ull)token.begin,
          (ull)token.end, status);
    if (unit->sequence < log->handler_sequence)
        violation(history, log, "handlers ran out of order");
    log->handler_sequence = unit->sequence;
    if (unit->is_barrier) {
        check_barrier(history, log, unit, status);
        return;
    }
    if (token.begin != unit->token.begin || token.end != unit->token.end)
        violation(history, log, "the handler of [%llu, %llu) was told [%llu, %llu)",
                  (ull)unit->token.begin, (ull)unit->token.end, (ull)token.begin, (ull)token.end);
    if (unit->status == UNIT_DURABLE && status != 0)
        violation(history, log, "append at %llu: seen to be durable, then told %d",
                  (ull)unit->token.begin, status);
    unit->handler_ran = true;
    unit->handler_status = status;
    if (unit->again && log->wal && wal_status(log->wal) == 0) {
        check_settle(history, log);
        append_one(history, log);
    }
}

/* ---- operations ------------------------------------------------------------------------------ */

static void op_append(struct history *history)
{
    struct log_model *log = held_log(history);

    if (!log || !has_room(history, log))
        return;
    check_settle(history, log);
    struct unit *unit = unit_new(history, log);

    draw_unit(history, unit);
    append(history, log, unit, WAL_ANY_OFFSET);
}

static void op_append_expecting(struct history *history)
{
    struct log_model *log = held_log(history);

    if (!log || !has_room(history, log))
        return;
    check_settle(history, log);
    struct unit *unit = unit_new(history, log);
    uint64_t next = model_end(log, log->unit_count);
    uint32_t dice = random_below(&history->random, 4);

    draw_unit(history, unit);
    append(history, log, unit, dice == 0 && next > 0 ? next - 1 : dice == 1 ? next + 1 : next);
}

/* Calls that must be refused whatever the log's position. */
static void op_append_wrongly(struct history *history)
{
    static const uint8_t torn_list[] = {1, 0, 9, 0, 'x'};
    struct log_model *log = held_log(history);

    if (!log || wal_status(log->wal) != 0)
        return;
    struct wal_record record = {.data = data_buffer, .size = 1};
    struct wal_state_update update = {.key = "a", .key_bytes = 0, .value = "b", .value_bytes = 1};
    struct wal_append_options options = {.expected_offset = WAL_ANY_OFFSET,
                                         .updates = &update,
                                         .update_count = 1};
    struct wal_token token;
    int expected = -EINVAL;
    int rc;

    switch (random_below(&history->random, 5)) {
    case 0: rc = wal_append(log->wal, &record, 0, NULL, NULL, &token); break;
    case 1: rc = wal_append(log->wal, &record, 1, &options, NULL, &token); break;
    case 2:
        record.size = 0;
        rc = wal_append(log->wal, &record, 1, NULL, NULL, &token);
        break;
    case 3:
        record.attributes = torn_list;
        record.attribute_bytes = sizeof(torn_list);
        rc = wal_append(log->wal, &record, 1, NULL, NULL, &token);
        break;
    default:
        record.size = (size_t)history->swarm.config.log.record_bytes_max + 1;
        rc = wal_append(log->wal, &record, 1, NULL, NULL, &token);
        expected = -EMSGSIZE;
        break;
    }
    if (rc != expected)
        violation(history, log, "a wrong append got %d, should get %d", rc, expected);
}

static void op_forge(struct history *history)
{
    struct log_model *log = held_log(history);

    if (!log || !history->swarm.forgeries || !has_room(history, log))
        return;
    check_settle(history, log);
    if (log->durable_units < log->unit_count)
        return; /* where the frame will stand is known only to the one who waits */
    struct unit *unit = unit_new(history, log);

    draw_record(history, unit);
    if (!forge_content(history, log, &unit->records[0].content))
        return;
    append(history, log, unit, WAL_ANY_OFFSET);
    if (random_percent(&history->random, 60))
        sim_crash_at_change(history->disk, sim_changes(history->disk) +
                                               random_between(&history->random, 1, 3));
    wal_submit(log->wal);
}

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

    if (!log || !has_room(history, log))
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

    trace(history, "wal_wait(%s, %llu, %llu): %d", log->name, (ull)unit->token.end,
          (ull)timeout_us, rc);
    if (is_dead(history))
        return;
    remember(history, (uint64_t)(int64_t)rc);
    if (rc == -ETIMEDOUT && timeout_us >= WAIT_US)
        violation(history, log, "an append took more than a minute");
    int told = wal_poll(log->wal, unit->token);

    if (rc != told && !(told == -EINPROGRESS &&
                        (rc == -ETIMEDOUT || is_excused(history, rc, before))))
        violation(history, log, "wal_wait() says %d, wal_poll() says %d", rc, told);
}

static void op_trim(struct history *history)
{
    struct log_model *log = held_log(history);
    struct wal_positions positions;

    if (!log || !has_room(history, log))
        return;
    check_positions(history, log);
    wal_positions(log->wal, &positions);
    uint64_t span = positions.committed_offset - positions.first_offset;
    uint64_t before = positions.first_offset + random_below(&history->random, span + 1);
    bool is_beyond = random_percent(&history->random, 5);
    struct unit *unit = unit_new(history, log);

    if (is_beyond)
        before = positions.committed_offset + 1;
    unit->trim_before = before;
    unit->token.ticket = UINT64_MAX;
    unit->has_handler = random_percent(&history->random, history->swarm.handler_percent);
    int status = wal_status(log->wal);
    int rc = wal_trim(log->wal, before, unit->has_handler ? &unit->handler : NULL, &unit->token);

    trace(history, "wal_trim(%s, %llu): %d", log->name, (ull)before, rc);
    if (is_beyond) {
        if (rc != -ERANGE && (status == 0 || rc != status))
            violation(history, log, "a trim beyond the end got %d", rc);
        return;
    }
    if (rc < 0) {
        check_refused_call(history, log, status, rc);
        return;
    }
    if (unit->token.ticket == UINT64_MAX)
        violation(history, log, "a trim told no token");
    if (before > positions.first_offset) {
        learn_queued(history, log, unit);
        return;
    }
    /* Nothing to do: the handler is a barrier then, and the token one that is decided. */
    unit->is_barrier = true;
    log->handlers_due += unit->has_handler;
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
    int rc = wal_state_get(log->wal, name, key_bytes, data_buffer, sizeof(data_buffer), &bytes,
                           &token);

    model_state(log, log->unit_count, &view);
    if ((rc == 0) != (view.updates[key] != NULL) || (rc < 0 && rc != -ENOENT))
        violation(history, log, "wal_state_get() says %d", rc);
    if (rc == 0 && content_hash(data_buffer, bytes) != view.updates[key]->hash)
        violation(history, log, "wal_state_get() has the wrong value");
    int told = wal_poll(log->wal, token);

    if (told != 0 && !(told == -EINPROGRESS && log->durable_units < log->unit_count))
        violation(history, log, "a value of the state rests on an append that got %d", told);
}

static void op_create(struct history *history)
{
    struct log_model *log = any_log(history);
    uint64_t before = faults_shown(history);

    if (log->existence == LOG_UNSURE || log->wal || log->is_unreadable || !has_room(history, log))
        return;
    if (log->existence == LOG_GONE && random_percent(&history->random, 50)) {
        log_get(history, log, true);
        return;
    }
    struct unit *unit = unit_new(history, log);
    struct call call;
    bool is_new = log->existence == LOG_GONE;

    for (uint32_t i = random_below(&history->random, UPDATES_OF_APPEND_MAX + 1); i > 0; i--)
        draw_update(history, unit);
    fill_call(unit, &call);
    int rc = store_create(history->store, log->name, call.updates, unit->update_count, &log->wal);

    trace(history, "store_create(%s): %d", log->name, rc);
    if (rc < 0)
        log->wal = NULL;
    if (is_new) {
        model_clear(log);
        log->existence = LOG_UNSURE;
        model_push(log, unit);
        model_durable(log, 1);
    }
    if (is_dead(history))
        return;
    remember(history, (uint64_t)(int64_t)rc);
    if (!is_new && rc == 0)
        violation(history, log, "store_create() made a log that exists");
    if (rc == 0)
        log->existence = LOG_PRESENT;
    if (rc == 0)
        learn_log(history, log);
    else if (rc == -EMFILE && held_count(history) >= history->swarm.config.logs_max)
        return;
    else if ((is_new || rc != -EEXIST) && !is_excused(history, rc, before) &&
             faults_shown(history) == 0)
        violation(history, log, "store_create() failed with %d", rc);
}

/* The log is being removed, or is gone: what is still held of it. */
static void check_removed(struct history *history, struct log_model *log)
{
    struct wal_record record = {.data = "x", .size = 1};

    if (log->handlers_due > 0)
        violation(history, log, "removed, and %u handlers have not run", log->handlers_due);
    if (!log->wal)
        return;
    int rc = wal_append(log->wal, &record, 1, NULL, NULL, NULL);

    if (rc != -ESHUTDOWN && !(rc == wal_status(log->wal) && faults_shown(history) > 0))
        violation(history, log, "an append to a removed log got %d", rc);
    for (uint32_t i = 0; i < log->unit_count; i++) {
        if (log->units[i]->status == UNIT_QUEUED && log->units[i]->has_token)
            violation(history, log, "removed, and the append at %llu is undecided",
                      (ull)log->units[i]->token.begin);
    }
    if (log->cursor)
        check_next(history, log, log->cursor, log->cursor_offset);
}

static void op_delete(struct history *history)
{
    struct log_model *log = any_log(history);
    uint64_t before = faults_shown(history);
    uint8_t existence = log->existence;

    if (log->is_unreadable)
        return;
    if (log->wal)
        check_settle(history, log);
    history->is_closing = true;
    int rc = store_delete(history->store, log->name);

    trace(history, "store_delete(%s): %d", log->name, rc);
    if (existence == LOG_PRESENT)
        log->existence = LOG_UNSURE;
    log->was_checked = false;
    if (is_dead(history))
        return;
    remember(history, (uint64_t)(int64_t)rc);
    check_settle(history, log);
    history->is_closing = false;
    if (rc == 0 && existence == LOG_GONE)
        violation(history, log, "removed, and it was not there");
    if (rc == 0) {
        log->existence = LOG_GONE;
        check_removed(history, log);
    } else if (rc == -ENOENT && existence != LOG_PRESENT) {
        return;
    } else if (!is_excused(history, rc, before) && faults_shown(history) == 0) {
        violation(history, log, "store_delete() failed with %d", rc);
    }
    if (is_dead(history))
        return;
    log_put(history, log);
}

static void op_get(struct history *history)
{
    struct log_model *log = any_log(history);

    if (log->existence == LOG_GONE && random_percent(&history->random, 80))
        log_get(history, log, true);
    else
        log_get(history, log, false);
}

static void op_put(struct history *history)
{
    struct log_model *log = held_log(history);

    if (!log)
        return;
    if (history->swarm.faults || history->swarm.disk_full) {
        /* What is refused while nobody looks would stay unknown. */
        wal_flush(log->wal, UINT64_MAX);
    }
    if (!is_dead(history))
        log_put(history, log);
}

static void op_reopen(struct history *history)
{
    struct log_model *log = held_log(history);
    uint64_t before = faults_shown(history);

    if (!log)
        return;
    if (random_percent(&history->random, 20)) {
        int rc = store_reopen(history->store, log->name);

        if (rc != -EBUSY && !is_dead(history))
            violation(history, log, "store_reopen() of a log that is held got %d", rc);
        return;
    }
    check_settle(history, log);
    log_put(history, log);
    history->is_closing = true;
    int rc = store_reopen(history->store, log->name);

    trace(history, "store_reopen(%s): %d", log->name, rc);
    if (is_dead(history))
        return;
    check_settle(history, log);
    history->is_closing = false;
    remember(history, (uint64_t)(int64_t)rc);
    if (rc < 0 && !is_excused(history, rc, before) && !log->failed)
        violation(history, log, "store_reopen() failed with %d", rc);
    if (log->handlers_due > 0)
        violation(history, log, "reopened, and %u handlers have not run", log->handlers_due);
    log->was_checked = false;
    log_get(history, log, false);
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
    {"positions", op_positions, 3, false},
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

    if (!has_room(history, log))
        return;
    /* What waits already may fill the queue. */
    int rc = wal_flush(log->wal, UINT64_MAX);

    if (is_dead(history))
        return;
    check_settle(history, log);
    unit = unit_new(history, log);
    draw_record(history, unit);
    append(history, log, unit, WAL_ANY_OFFSET);
    rc = wal_flush(log->wal, UINT64_MAX);

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
