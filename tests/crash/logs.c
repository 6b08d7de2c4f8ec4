/*
 * Logs as wholes: getting and giving back, making, removing and opening again, and what the oracle
 * learns from each.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/history.h"
#include "tests/crash/operations.h"
#include "wal/base.h"

typedef unsigned long long ull;

/* ---- holding --------------------------------------------------------------------------------- */

struct log_model *any_log(struct history *history)
{
    return &history->logs[random_below(&history->random, history->swarm.log_count)];
}

struct log_model *held_log(struct history *history)
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
    if (wal_status(log->wal) == -EBADMSG && faults_shown(history) > history->faults_at_opening) {
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
    if (rc == -EIO && names_are_distrusted(history))
        return rc;
    if (!create && faults_shown(history) == 0 && rc == -ENOSPC)
        violation(history, log, "a full disk keeps it from being opened");
    if (!is_excused(history, rc, before) && !(create && faults_shown(history) > 0))
        violation(history, log, "store_get() failed with %d", rc);
    return rc == -ENOENT ? -EAGAIN : rc;
}

/* ---- without waiting ------------------------------------------------------------------------- */

struct asked {
    struct store_log_waiter waiter;
    bool is_told;
};

static void told(struct store_log_waiter *waiter)
{
    struct asked *asked = container_of(waiter, struct asked, waiter);

    asked->is_told = true;
}

/* Half of what is made and removed goes the way of those who do not wait, and is waited for here. */
static int wait_until_told(struct history *history, struct asked *asked, int rc)
{
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < 100000 && !asked->is_told; i++) {
        for (unsigned j = 0; j < history->swarm.config.committers; j++)
            store_run(history->store, j, 1000);
    }
    must(asked->is_told);
    return asked->waiter.status;
}

static int create_log(struct history *history, struct log_model *log,
                      const struct wal_state_update *updates, size_t count)
{
    struct asked asked = {.waiter.done = told};

    if (random_percent(&history->random, 50))
        return store_create(history->store, log->name, updates, count, &log->wal);
    int rc = store_create_async(history->store, log->name, updates, count, &asked.waiter);

    rc = wait_until_told(history, &asked, rc);
    log->wal = rc == 0 ? asked.waiter.wal : NULL;
    return rc;
}

static int delete_log(struct history *history, struct log_model *log)
{
    struct asked asked = {.waiter.done = told};

    if (random_percent(&history->random, 50))
        return store_delete(history->store, log->name);
    return wait_until_told(history, &asked,
                           store_delete_async(history->store, log->name, &asked.waiter));
}

/* ---- operations ------------------------------------------------------------------------------ */

/* The values of a call, out of the buffer that all calls share: making a log may close another, whose
 * handlers append meanwhile. To be freed. */
static uint8_t *move_values(struct call *call, uint32_t count)
{
    size_t total = 1;

    for (uint32_t i = 0; i < count; i++)
        total += call->updates[i].value_bytes;
    uint8_t *values = malloc(total);
    uint8_t *at = values;

    must(values);
    for (uint32_t i = 0; i < count; i++) {
        struct wal_state_update *update = &call->updates[i];

        if (!update->value)
            continue;
        memcpy(at, update->value, update->value_bytes);
        update->value = at;
        at += update->value_bytes;
    }
    return values;
}

void op_create(struct history *history)
{
    struct log_model *log = any_log(history);
    uint64_t before = faults_shown(history);

    if (log->existence == LOG_UNSURE || log->wal || log->is_unreadable ||
        !unit_has_room(history, log))
        return;
    if (log->existence == LOG_GONE && random_percent(&history->random, 50)) {
        log_get(history, log, true);
        return;
    }
    struct unit *unit = unit_new(history, log);
    struct call call;
    bool is_new = log->existence == LOG_GONE;

    for (uint32_t i = random_below(&history->random, UPDATES_OF_APPEND_MAX + 1); i > 0; i--)
        unit_draw_update(history, unit);
    unit_fill_call(unit, &call);
    uint8_t *values = move_values(&call, unit->update_count);
    int rc = create_log(history, log, call.updates, unit->update_count);

    free(values);

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
    else if ((rc == -EMFILE && held_count(history) >= history->swarm.config.logs_max) ||
             (rc == -E2BIG && unit_fills_state(log, unit)))
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

void op_delete(struct history *history)
{
    struct log_model *log = any_log(history);
    uint64_t before = faults_shown(history);
    uint8_t existence = log->existence;

    if (log->is_unreadable)
        return;
    if (log->wal)
        check_settle(history, log);
    history->is_closing = true;
    int rc = delete_log(history, log);

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

void op_get(struct history *history)
{
    struct log_model *log = any_log(history);

    if (log->existence == LOG_GONE && random_percent(&history->random, 80))
        log_get(history, log, true);
    else
        log_get(history, log, false);
}

void op_put(struct history *history)
{
    struct log_model *log = held_log(history);

    if (!log)
        return;
    if (history->swarm.faults || history->swarm.disk_full || history->swarm.disk.handles_max > 0) {
        /* What is refused while nobody looks would stay unknown: so let nothing wait, neither what
         * was appended nor what its handlers append. */
        wal_flush(log->wal, UINT64_MAX);
        wal_flush(log->wal, UINT64_MAX);
    }
    if (!is_dead(history))
        log_put(history, log);
}

void op_reopen(struct history *history)
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
    if (rc < 0 && !is_excused(history, rc, before) && !log->failed &&
        !(rc == -EIO && names_are_distrusted(history)))
        violation(history, log, "store_reopen() failed with %d", rc);
    if (log->handlers_due > 0)
        violation(history, log, "reopened, and %u handlers have not run", log->handlers_due);
    log->was_checked = false;
    log_get(history, log, false);
}
