/*
 * Appending: what a random append holds, the call, and what its handler may be told. To the oracle
 * a trim is an append too.
 */
#include <errno.h>
#include <string.h>

#include "tests/crash/forgery.h"
#include "tests/crash/history.h"
#include "tests/crash/operations.h"
#include "wal/base.h"
#include "wal/format.h"

typedef unsigned long long ull;

static uint8_t data_buffer[16 * CONTENT_BYTES_MAX];
static uint8_t attribute_buffer[BATCH_RECORDS_MAX][CONTENT_ATTRIBUTE_BYTES_MAX];

/* ---- units ----------------------------------------------------------------------------------- */

bool unit_has_room(const struct history *history, const struct log_model *log)
{
    const struct pools *pools = history->pools;

    return log->unit_count + 2 < LOG_UNITS_MAX && pools->unit_count + 2 < UNITS_MAX &&
           model_end(log, log->unit_count) + 2ull * BATCH_RECORDS_MAX < LOG_RECORDS_MAX &&
           pools->record_count + 2 * BATCH_RECORDS_MAX < RECORDS_MAX &&
           pools->update_count + UPDATES_OF_APPEND_MAX < UPDATES_MAX;
}

static void unit_done(struct wal_handler *handler, struct wal_token token, int status);

struct unit *unit_new(struct history *history, struct log_model *log)
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

void unit_draw_record(struct history *history, struct unit *unit)
{
    struct random *random = &history->random;
    struct record *record = &unit->records[unit->record_count++];

    history->pools->record_count++;
    *record =
        (struct record){.content = {.number = ++history->next_content, .size = draw_size(history)}};
    if (random_percent(random, history->swarm.zeros_percent))
        record->content.kind = random_percent(random, 50) ? CONTENT_ZEROS : CONTENT_HOLES;
    if (random_percent(random, history->swarm.attributes_percent))
        record->content.attribute_kind = random_percent(random, 90) ? 1 : 2;
}

void unit_draw_update(struct history *history, struct unit *unit)
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
        unit_draw_record(history, unit);
    if (random_percent(random, history->swarm.updates_percent)) {
        for (uint32_t i = random_between(random, 1, UPDATES_OF_APPEND_MAX); i > 0; i--)
            unit_draw_update(history, unit);
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

static uint64_t body_bytes_of(const struct call *call, const struct unit *unit)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < unit->record_count; i++)
        bytes += item_bytes(call->records[i].attribute_bytes, call->records[i].size);
    for (uint32_t i = 0; i < unit->update_count; i++)
        bytes += item_bytes(call->updates[i].key_bytes, call->updates[i].value_bytes);
    return bytes;
}

void unit_fill_call(struct unit *unit, struct call *call)
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
    unit->body_bytes = body_bytes_of(call, unit);
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

bool unit_fills_state(const struct log_model *log, const struct unit *unit)
{
    struct state_view view;
    uint64_t bytes = 0;

    model_state(log, log->unit_count, &view);
    for (uint32_t i = 0; i < unit->update_count; i++)
        view.updates[unit->updates[i].key] = &unit->updates[i];
    for (unsigned key = 0; key < KEYS; key++)
        bytes +=
            view.updates[key] && !view.updates[key]->removes ? view.updates[key]->value.size : 0;
    return bytes > WAL_STATE_BYTES_MAX - 8192;
}

/* Whether the queue has no room for this unit beside what waits. */
static bool queue_is_full(const struct history *history, const struct log_model *log,
                          const struct unit *unit)
{
    const struct wal_config *config = &history->swarm.config.log;
    bool is_waiting = log->durable_units < log->unit_count || log->handlers_due > 0;
    uint64_t records;
    uint64_t bytes;

    if (!is_waiting || !model_pending(log, &records, &bytes))
        return is_waiting;
    return records + unit->record_count > config->queue_records_max ||
           bytes + unit->body_bytes > config->queue_bytes_max;
}

/* The call was refused: it must have had a reason, and has changed nothing. */
static void check_refused_call(struct history *history, struct log_model *log,
                               const struct unit *unit, int status, int rc)
{
    if (status != 0 && rc != status)
        violation(history, log, "an append got %d from a log whose status is %d", rc, status);
    if (status == 0 && !(rc == -EAGAIN && queue_is_full(history, log, unit)))
        violation(history, log, "an append was refused with %d", rc);
}

void append_unit(struct history *history, struct log_model *log, struct unit *unit,
                 uint64_t expected_offset)
{
    struct call call;
    int status = wal_status(log->wal);
    bool is_stale =
        expected_offset != WAL_ANY_OFFSET && expected_offset != model_end(log, log->unit_count);

    unit_fill_call(unit, &call);
    call.options.expected_offset = expected_offset;
    bool has_options = unit->update_count > 0 || expected_offset != WAL_ANY_OFFSET;

    history->is_appending = true;
    int rc = wal_append(
        log->wal, call.records, unit->record_count, has_options ? &call.options : NULL,
        unit->has_handler ? &unit->handler : NULL, unit->has_token ? &unit->token : NULL);

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
             !(rc == -E2BIG && status == 0 && unit_fills_state(log, unit)))
        check_refused_call(history, log, unit, status, rc);
}

static void append_one(struct history *history, struct log_model *log)
{
    if (!unit_has_room(history, log))
        return;
    struct unit *unit = unit_new(history, log);

    unit_draw_record(history, unit);
    unit->records[0].content.size = min_u64(unit->records[0].content.size, 100);
    append_unit(history, log, unit, WAL_ANY_OFFSET);
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
    trace(history, "  %s: handler of [%llu, %llu): %d", log->name, (ull)token.begin, (ull)token.end,
          status);
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

void op_append(struct history *history)
{
    struct log_model *log = held_log(history);

    if (!log || !unit_has_room(history, log))
        return;
    check_settle(history, log);
    struct unit *unit = unit_new(history, log);

    draw_unit(history, unit);
    append_unit(history, log, unit, WAL_ANY_OFFSET);
}

void op_append_expecting(struct history *history)
{
    struct log_model *log = held_log(history);

    if (!log || !unit_has_room(history, log))
        return;
    check_settle(history, log);
    struct unit *unit = unit_new(history, log);
    uint64_t next = model_end(log, log->unit_count);
    uint32_t dice = random_below(&history->random, 4);

    draw_unit(history, unit);
    append_unit(history, log, unit, dice == 0 && next > 0 ? next - 1 : dice == 1 ? next + 1 : next);
}

/* Calls that must be refused whatever the log's position. */
void op_append_wrongly(struct history *history)
{
    static const uint8_t torn_list[] = {1, 0, 9, 0, 'x'};
    struct log_model *log = held_log(history);

    if (!log || wal_status(log->wal) != 0)
        return;
    struct wal_record record = {.data = data_buffer, .size = 1};
    struct wal_state_update update = {.key = "a", .key_bytes = 0, .value = "b", .value_bytes = 1};
    struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
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

void op_forge(struct history *history)
{
    struct log_model *log = held_log(history);

    if (!log || !history->swarm.forgeries || !unit_has_room(history, log))
        return;
    check_settle(history, log);
    if (log->durable_units < log->unit_count)
        return; /* where the frame will stand is known only to the one who waits */
    struct unit *unit = unit_new(history, log);

    unit_draw_record(history, unit);
    if (!forge_content(history, log, &unit->records[0].content))
        return;
    append_unit(history, log, unit, WAL_ANY_OFFSET);
    if (random_percent(&history->random, 60))
        sim_crash_at_change(history->disk,
                            sim_changes(history->disk) + random_between(&history->random, 1, 3));
    wal_submit(log->wal);
}

void op_trim(struct history *history)
{
    struct log_model *log = held_log(history);
    struct wal_positions positions;

    if (!log || !unit_has_room(history, log))
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
    unit->body_bytes = item_bytes(0, sizeof(uint64_t));
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
        check_refused_call(history, log, unit, status, rc);
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

/* ---- retention ------------------------------------------------------------------------------- */

/* The clock as a pass of retention is told it: often at the edge of what some record's age allows. */
static uint64_t draw_realtime(struct history *history, const struct log_model *log,
                              const struct wal_positions *positions)
{
    uint32_t dice = random_below(&history->random, 10);
    uint64_t span = positions->committed_offset - positions->first_offset;

    if (dice == 0)
        return 0;
    if (dice == 1 || span == 0)
        return UINT64_MAX >> 1;
    uint64_t offset = positions->first_offset + random_below(&history->random, span);
    uint64_t age_ns = history->swarm.config.limits.retain_age_us * 1000;

    return log->records[offset]->timestamp_ns + age_ns + random_below(&history->random, 2);
}

/* Where records and bytes let the log begin, as far as the oracle knows; UINT64_MAX: neither is set. */
static uint64_t expected_cut(const struct history *history, const struct log_model *log,
                             const struct wal_positions *positions)
{
    const struct wal_limits *limits = &history->swarm.config.limits;
    uint64_t cut = UINT64_MAX, end = positions->committed_offset, bytes = 0;

    if (limits->retain_records > 0)
        cut = end - min_u64(limits->retain_records, end - positions->first_offset);
    if (limits->retain_bytes > 0) {
        while (end > positions->first_offset && bytes < limits->retain_bytes)
            bytes += log->records[--end]->content.size;
        cut = min_u64(cut, end);
    }
    return cut;
}

static void check_retained(struct history *history, struct log_model *log,
                           const struct wal_positions *positions, uint64_t realtime_ns,
                           uint64_t before)
{
    const struct wal_limits *limits = &history->swarm.config.limits;
    uint64_t age_ns = limits->retain_age_us * 1000;
    uint64_t cut = expected_cut(history, log, positions);

    if (before > positions->committed_offset || before > cut)
        violation(history, log, "retention takes the records below %llu, and keeps from %llu",
                  (ull)before, (ull)cut);
    if (age_ns == 0 && before < cut && cut != UINT64_MAX)
        violation(history, log, "retention takes the records below %llu, and not to %llu",
                  (ull)before, (ull)cut);
    for (uint64_t i = positions->first_offset; age_ns > 0 && i < before; i++) {
        uint64_t timestamp_ns = log->records[i]->timestamp_ns;

        if (realtime_ns == 0 || (timestamp_ns > 0 && timestamp_ns + age_ns >= realtime_ns))
            violation(history, log, "retention takes record %llu, which is young", (ull)i);
    }
}

/* A trim whose place the log finds by itself, from what it reads. */
void op_retain(struct history *history)
{
    struct log_model *log = held_log(history);
    struct wal_positions positions;
    uint64_t before = 0;

    if (!log || !unit_has_room(history, log))
        return;
    check_positions(history, log);
    wal_positions(log->wal, &positions);
    uint64_t realtime_ns = draw_realtime(history, log, &positions);
    uint64_t faults = faults_shown(history);
    int status = wal_status(log->wal);
    struct unit *unit = unit_new(history, log);
    int rc = wal_retain(log->wal, realtime_ns, &before, &unit->token);

    trace(history, "wal_retain(%s, %llu): %d, before %llu", log->name, (ull)realtime_ns, rc,
          (ull)before);
    remember(history, (uint64_t)(int64_t)rc);
    if (is_dead(history))
        return;
    unit->has_handler = false;
    unit->trim_before = before;
    unit->body_bytes = item_bytes(0, sizeof(uint64_t));
    if (rc < 0) {
        if (!is_excused(history, rc, faults))
            check_refused_call(history, log, unit, status, rc);
        return;
    }
    if (before > positions.first_offset)
        learn_queued(history, log, unit);
    else
        unit->is_barrier = true; /* and nobody waits at it */
    check_retained(history, log, &positions, realtime_ns, before);
}
