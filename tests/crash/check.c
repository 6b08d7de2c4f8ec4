/*
 * Holds the store against the oracle. Whatever is seen here binds the store from then on: a record
 * that was read, a committed_offset that was told, may never be taken back.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/crash/history.h"
#include "wal/base.h"

typedef unsigned long long ull;

/* ---- what has become of the queued units ----------------------------------------------------- */

/* What is known of a unit: from the log if it may be asked, else from its handler. */
static int result_of(struct history *history, struct log_model *log, const struct unit *unit,
                     bool may_ask)
{
    if (!may_ask)
        return unit->handler_ran ? unit->handler_status : -EINPROGRESS;

    int rc = wal_poll(log->wal, unit->token);

    if (unit->handler_ran && rc != unit->handler_status)
        violation(history, log, "append at %llu: its handler got %d, wal_poll() says %d",
                  (ull)unit->token.begin, unit->handler_status, rc);
    return rc;
}

static void learn_failure(struct history *history, struct log_model *log, int error)
{
    if (faults_shown(history) == 0)
        violation(history, log, "failed with %d, but the disk did nothing wrong", error);
    if (!log->failed)
        history->totals->failed_logs++;
    log->failed = true;
    log->failure = error;
}

static void learn_refusal(struct history *history, struct log_model *log, struct unit *unit,
                          int error)
{
    if (error != -ESHUTDOWN && !has_known_want(history))
        violation(history, log, "append at %llu: refused with %d without a reason",
                  (ull)unit->token.begin, error);
    if (error == -ESHUTDOWN && !history->is_closing)
        violation(history, log, "append at %llu: refused as if the log were being closed",
                  (ull)unit->token.begin);
    unit->status = UNIT_REFUSED;
    history->totals->refused_units++;
    trace(history, "  %s: append at %llu was refused with %d", log->name, (ull)unit->token.begin,
          error);
}

struct settling {
    bool may_ask;    /* wal_poll() */
    bool is_pending; /* an earlier unit is known to be undecided */
    bool is_refused;
    bool is_unknown;
};

static void settle_unit(struct history *history, struct log_model *log, struct unit *unit,
                        struct settling *seen)
{
    bool can_ask = seen->may_ask && unit->has_token;
    int rc = result_of(history, log, unit, can_ask);

    if (rc == -EINPROGRESS) {
        /* Refusing takes the whole queue: what comes behind a refused append is refused too. */
        if (!can_ask && seen->is_refused)
            unit->status = UNIT_REFUSED;
        seen->is_pending = seen->is_pending || can_ask;
        return;
    }
    if (seen->is_pending)
        violation(history, log, "append at %llu: decided (%d) before an earlier one",
                  (ull)unit->token.begin, rc);
    if (rc == 0 && seen->is_unknown)
        violation(history, log, "append at %llu: acknowledged after the log failed",
                  (ull)unit->token.begin);
    if (rc == 0) {
        unit->status = UNIT_DURABLE;
        history->totals->acknowledged += unit->record_count;
    } else if (wal_error_is_refusal(rc)) {
        learn_refusal(history, log, unit, rc);
        seen->is_refused = true;
    } else {
        unit->status = UNIT_UNKNOWN;
        seen->is_unknown = true;
        learn_failure(history, log, rc);
    }
}

static void settle(struct history *history, struct log_model *log, bool may_ask)
{
    struct settling seen = {.may_ask = may_ask};

    for (uint32_t i = log->durable_units; i < log->unit_count; i++) {
        if (log->units[i]->status == UNIT_QUEUED)
            settle_unit(history, log, log->units[i], &seen);
        else
            seen.is_unknown = seen.is_unknown || log->units[i]->status == UNIT_UNKNOWN;
    }
    if (seen.is_refused && !model_drop_refused(log))
        violation(history, log, "an append behind a refused one was not refused: a hole");
    for (uint32_t i = log->unit_count; i > log->durable_units; i--) {
        if (log->units[i - 1]->status == UNIT_DURABLE) {
            model_durable(log, i);
            break;
        }
    }
}

void check_settle(struct history *history, struct log_model *log)
{
    if (!is_dead(history) && !history->is_over)
        settle(history, log, log->wal != NULL);
}

void check_told(struct history *history, struct log_model *log)
{
    settle(history, log, false);
}

/* ---- while running --------------------------------------------------------------------------- */

static void check_stats(struct history *history, struct log_model *log,
                        const struct wal_positions *positions)
{
    struct wal_stats stats;

    wal_stats(log->wal, &stats);
    if (memcmp(&stats.positions, positions, sizeof(*positions)) != 0 ||
        stats.total_operations != positions->committed_offset ||
        stats.current_offset != positions->next_offset || stats.status != wal_status(log->wal))
        violation(history, log, "wal_stats() contradicts wal_positions()");

    uint32_t count = model_prefix_of(log, positions->committed_offset, 0);

    if (stats.total_bytes_written != model_bytes(log, count))
        violation(history, log, "total_bytes_written is %llu, the records have %llu",
                  (ull)stats.total_bytes_written, (ull)model_bytes(log, count));
    if (stats.status == 0 &&
        stats.pending_entries != positions->next_offset - positions->committed_offset)
        violation(history, log, "pending_entries is %llu between %llu and %llu",
                  (ull)stats.pending_entries, (ull)positions->committed_offset,
                  (ull)positions->next_offset);
    uint64_t records = 0;
    uint64_t bytes = 0;

    if (stats.status == 0 && model_pending(log, &records, &bytes) &&
        (stats.pending_entries != records || stats.pending_bytes != bytes))
        violation(history, log, "pending: %llu records and %llu bytes, should be %llu and %llu",
                  (ull)stats.pending_entries, (ull)stats.pending_bytes, (ull)records, (ull)bytes);
    if (stats.segments == 0 || stats.commit_records > positions->committed_offset)
        violation(history, log, "statistics that cannot be");
}

static void check_first(struct history *history, struct log_model *log, uint64_t first)
{
    uint32_t count = log->durable_units;

    if (first < log->first_seen)
        violation(history, log, "first_offset fell from %llu to %llu", (ull)log->first_seen,
                  (ull)first);
    while (count < log->unit_count && model_first(log, count) < first)
        count++;
    if (model_first(log, count) != first)
        violation(history, log, "first_offset is %llu, the durable trims say %llu", (ull)first,
                  (ull)model_first(log, log->durable_units));
    log->first_seen = first;
    model_durable(log, count);
}

/* What only the spy knows: after a failed write nothing may be written over it. */
static void check_failed_write(struct history *history, struct log_model *log, int status)
{
    const struct spy_log *seen = spy_find_log(&history->spy, log->name);

    if (!seen || seen->write_error == 0)
        return;
    if (status == 0)
        violation(history, log, "a durable write failed with %d, and the log goes on",
                  seen->write_error);
    if (seen->later_writes > 0)
        violation(history, log, "%u writes after one that failed", seen->later_writes);
}

void check_positions(struct history *history, struct log_model *log)
{
    struct wal_positions positions;

    if (!log->wal || is_dead(history))
        return;
    check_settle(history, log);
    wal_positions(log->wal, &positions);
    int status = wal_status(log->wal);

    if (positions.first_offset > positions.committed_offset ||
        positions.committed_offset > positions.next_offset)
        violation(history, log, "positions out of order: %llu, %llu, %llu",
                  (ull)positions.first_offset, (ull)positions.committed_offset,
                  (ull)positions.next_offset);
    if (status != 0)
        learn_failure(history, log, status);
    else if (log->failed)
        violation(history, log, "failed with %d and then took appends again", log->failure);
    if (status == 0 && positions.next_offset != model_end(log, log->unit_count))
        violation(history, log, "next_offset is %llu, should be %llu", (ull)positions.next_offset,
                  (ull)model_end(log, log->unit_count));

    uint64_t durable = model_end(log, log->durable_units);

    if (positions.committed_offset < durable)
        violation(history, log, "committed_offset is %llu, but all below %llu is durable",
                  (ull)positions.committed_offset, (ull)durable);
    uint32_t count = model_prefix_of(log, positions.committed_offset, log->durable_units);

    if (count == UINT32_MAX)
        violation(history, log, "committed_offset %llu lies inside a batch or behind the end",
                  (ull)positions.committed_offset);
    model_durable(log, count);
    check_first(history, log, positions.first_offset);
    check_failed_write(history, log, status);
    check_stats(history, log, &positions);
    remember(history, positions.committed_offset);
}

/* ---- reading --------------------------------------------------------------------------------- */

void check_entry(struct history *history, struct log_model *log, const struct wal_entry *entry)
{
    size_t at = 0;

    if (entry->offset >= model_end(log, log->unit_count))
        violation(history, log, "offset %llu was read and never appended", (ull)entry->offset);
    struct record *record = log->records[entry->offset];

    if (!content_is(&record->content, entry->data, entry->size, &at))
        violation(history, log, "offset %llu reads wrong: %zu bytes, should be %u, differs at %zu",
                  (ull)entry->offset, entry->size, record->content.size, at);
    if (!content_attributes_are(&record->content, entry->attributes, entry->attribute_bytes))
        violation(history, log, "offset %llu has wrong attributes", (ull)entry->offset);
    if (record->timestamp_ns != 0 && record->timestamp_ns != entry->timestamp_ns)
        violation(history, log, "offset %llu: its timestamp was %llu and is %llu",
                  (ull)entry->offset, (ull)record->timestamp_ns, (ull)entry->timestamp_ns);
    if (entry->offset > 0 && log->records[entry->offset - 1]->timestamp_ns > entry->timestamp_ns)
        violation(history, log, "offset %llu is older than the one before", (ull)entry->offset);
    record->timestamp_ns = entry->timestamp_ns;
    model_durable(log, max_u64(log->durable_units, model_units_through(log, entry->offset)));
    history->totals->verified++;
}

/* One step of a cursor that stands at `offset`: 0 and the record is right, or an error that is. */
int check_next(struct history *history, struct log_model *log, struct wal_cursor *cursor,
               uint64_t offset)
{
    struct wal_positions positions;
    struct wal_entry entry;
    uint64_t before = faults_shown(history);

    wal_positions(log->wal, &positions);
    int rc = wal_cursor_next(cursor, &entry);

    if (is_dead(history))
        return -EIO;
    if (rc == 0 && entry.offset != offset)
        violation(history, log, "a cursor at %llu served %llu", (ull)offset, (ull)entry.offset);
    if (rc == 0 && (offset < positions.first_offset || offset >= positions.committed_offset))
        violation(history, log, "offset %llu was served, but only [%llu, %llu) may be", (ull)offset,
                  (ull)positions.first_offset, (ull)positions.committed_offset);
    if (rc == 0)
        check_entry(history, log, &entry);
    else if (rc == -ENODATA && offset < positions.committed_offset)
        violation(history, log, "a cursor at %llu sees the end, which is %llu", (ull)offset,
                  (ull)positions.committed_offset);
    else if (rc == -ERANGE && offset >= positions.first_offset)
        violation(history, log, "a cursor at %llu is below the first offset, which is %llu",
                  (ull)offset, (ull)positions.first_offset);
    else if (rc == -EBADMSG)
        violation(history, log, "offset %llu: damage, up to %llu, where nothing was damaged",
                  (ull)entry.offset, (ull)entry.gap_end);
    else if (rc == -ENOENT && log->existence == LOG_GONE)
        return rc; /* its files are gone, but for those that were open */
    else if (rc != -ENODATA && rc != -ERANGE && !is_excused(history, rc, before))
        violation(history, log, "offset %llu: reading failed with %d", (ull)offset, rc);
    return rc;
}

bool check_read(struct history *history, struct log_model *log, uint64_t offset, uint64_t count)
{
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    int rc = wal_cursor_open(&cursor, log->wal, offset);

    must(rc == 0);
    while (count-- > 0) {
        rc = check_next(history, log, cursor, offset);
        if (rc == -ENODATA || rc == -ERANGE)
            return true;
        if (rc < 0)
            return false;
        offset++;
    }
    return true;
}

/* ---- state ----------------------------------------------------------------------------------- */

struct seen_state {
    bool is_present[KEYS];
    uint64_t hash[KEYS];
    unsigned strangers; /* keys that no update ever named, or one named twice */
};

static int see_key(void *context, const void *key, uint16_t key_bytes, const void *value,
                   uint32_t value_bytes)
{
    struct seen_state *seen = context;
    unsigned number = key_find(key, key_bytes);

    if (number == KEYS || seen->is_present[number]) {
        seen->strangers++;
        return 0;
    }
    seen->is_present[number] = true;
    seen->hash[number] = content_hash(value, value_bytes);
    return 0;
}

static bool state_matches(const struct seen_state *seen, const struct state_view *view)
{
    for (unsigned key = 0; key < KEYS; key++) {
        const struct update *update = view->updates[key];

        if (seen->is_present[key] != (update != NULL))
            return false;
        if (update && update->hash != seen->hash[key])
            return false;
    }
    return seen->strangers == 0;
}

void check_state(struct history *history, struct log_model *log)
{
    struct seen_state seen = {0};
    struct state_view view;

    check_settle(history, log);
    if (is_dead(history) || log->failed || wal_status(log->wal) != 0)
        return;
    wal_state_each(log->wal, see_key, &seen);
    model_state(log, log->unit_count, &view);
    if (!state_matches(&seen, &view))
        violation(history, log, "the state is not what the appends made of it");
}

/* ---- after opening --------------------------------------------------------------------------- */

/* The prefix that the log holds now; says what is wrong if there is none. */
static uint32_t find_prefix(struct history *history, struct log_model *log,
                            const struct wal_positions *positions, const struct seen_state *seen)
{
    uint64_t durable = model_end(log, log->durable_units);
    uint64_t committed = positions->committed_offset;

    if (committed < durable)
        violation(history, log,
                  "durable records lost: the log ends at %llu, should at %llu or more",
                  (ull)committed, (ull)durable);
    if (committed > model_end(log, log->unit_count))
        violation(history, log, "the log ends at %llu, but nothing behind %llu was ever appended",
                  (ull)committed, (ull)model_end(log, log->unit_count));
    uint32_t count = model_prefix_of(log, committed, log->durable_units);

    if (count == UINT32_MAX)
        violation(history, log, "a batch was torn apart: the log ends at %llu", (ull)committed);
    bool first_matches = false;

    /* Units without records may follow the last record, or not. */
    for (; count <= log->unit_count && model_end(log, count) == committed; count++) {
        struct state_view view;

        if (model_first(log, count) != positions->first_offset)
            continue;
        first_matches = true;
        model_state(log, count, &view);
        if (state_matches(seen, &view))
            return count;
    }
    if (!first_matches)
        violation(history, log, "first_offset is %llu, the durable trims say %llu",
                  (ull)positions->first_offset, (ull)model_first(log, log->durable_units));
    violation(history, log, "the state is not that of the records up to %llu", (ull)committed);
}

static void check_recovery_stats(struct history *history, struct log_model *log,
                                 const struct wal_positions *positions)
{
    struct wal_stats stats;

    wal_stats(log->wal, &stats);
    if (stats.recovery.damaged_offset != UINT64_MAX)
        violation(history, log, "recovery reports damage at %llu",
                  (ull)stats.recovery.damaged_offset);
    if (log->is_fresh &&
        stats.recovery.records != positions->committed_offset - positions->first_offset)
        violation(history, log, "recovery counted %llu records", (ull)stats.recovery.records);
    if (log->is_clean && stats.recovery.torn_bytes > 0)
        violation(history, log, "%llu bytes are torn, though it was closed in good order",
                  (ull)stats.recovery.torn_bytes);
    log->is_clean = false;
    if (stats.recovery.torn_bytes > 0)
        history->totals->torn++;
}

static void check_time(struct history *history, struct log_model *log,
                       const struct wal_positions *positions)
{
    uint64_t first = positions->first_offset;
    uint64_t count = positions->committed_offset - first;

    if (count == 0)
        return;
    const struct record *record = log->records[first + random_below(&history->random, count)];
    int64_t shift = (int64_t)random_below(&history->random, 3) - 1;

    check_offset_at(history, log, record->timestamp_ns + (uint64_t)shift);
}

void check_offset_at(struct history *history, struct log_model *log, uint64_t timestamp_ns)
{
    struct wal_positions positions;
    uint64_t before = faults_shown(history);
    uint64_t found = 0;

    wal_positions(log->wal, &positions);
    int rc = wal_offset_at(log->wal, timestamp_ns, &found);

    if (is_dead(history))
        return;
    if (rc < 0) {
        if (!is_excused(history, rc, before))
            violation(history, log, "wal_offset_at() failed with %d", rc);
        return;
    }
    if (found < positions.first_offset || found > positions.committed_offset)
        violation(history, log, "wal_offset_at() found %llu outside [%llu, %llu]", (ull)found,
                  (ull)positions.first_offset, (ull)positions.committed_offset);
    for (uint64_t i = positions.first_offset; i < positions.committed_offset; i++) {
        uint64_t timestamp = log->records[i]->timestamp_ns;

        if (timestamp != 0 && (i < found) != (timestamp < timestamp_ns))
            violation(history, log, "wal_offset_at(%llu) found %llu; offset %llu is of %llu",
                      (ull)timestamp_ns, (ull)found, (ull)i, (ull)timestamp);
    }
}

/* A segment that was never named is removed. */
static void check_stray(struct history *history, struct log_model *log)
{
    char path[64];

    snprintf(path, sizeof(path), "data/logs/%s/next.tmp", log->name);
    if (sim_exists(history->disk, path, SIM_CACHED))
        violation(history, log, "%s was left over", path);
}

bool check_recovered(struct history *history, struct log_model *log)
{
    struct wal_positions positions;
    struct seen_state seen = {0};
    int status = wal_status(log->wal);

    if (is_dead(history))
        return false;
    if (status != 0)
        violation(history, log, "refuses appends (%d) after a restart, and nothing was damaged",
                  status);
    wal_positions(log->wal, &positions);
    wal_state_each(log->wal, see_key, &seen);
    if (positions.first_offset > positions.committed_offset ||
        positions.committed_offset != positions.next_offset)
        violation(history, log, "positions after opening: %llu, %llu, %llu",
                  (ull)positions.first_offset, (ull)positions.committed_offset,
                  (ull)positions.next_offset);
    if (positions.first_offset < log->first_seen)
        violation(history, log, "first_offset fell from %llu to %llu", (ull)log->first_seen,
                  (ull)positions.first_offset);
    model_cut(log, find_prefix(history, log, &positions, &seen));
    log->first_seen = positions.first_offset;
    log->failed = false;
    trace(history, "  %s: holds [%llu, %llu)", log->name, (ull)positions.first_offset,
          (ull)positions.committed_offset);
    if (log->is_fresh)
        check_stray(history, log);

    check_recovery_stats(history, log, &positions);
    if (!check_read(history, log, positions.first_offset, UINT64_MAX))
        return false;
    check_stats(history, log, &positions);
    check_time(history, log, &positions);
    remember(history, positions.committed_offset);
    return !is_dead(history);
}

/* ---- all logs -------------------------------------------------------------------------------- */

struct listing {
    struct history *history;
    bool is_listed[LOGS_MAX];
};

static int see_name(void *context, const char *name)
{
    struct listing *listing = context;

    for (unsigned i = 0; i < listing->history->swarm.log_count; i++) {
        if (strcmp(listing->history->logs[i].name, name) != 0)
            continue;
        if (listing->is_listed[i])
            violation(listing->history, NULL, "store_list() told %s twice", name);
        listing->is_listed[i] = true;
        return 0;
    }
    violation(listing->history, NULL, "store_list() told of %s, which nobody made", name);
}

bool check_list(struct history *history)
{
    struct listing listing = {.history = history};
    uint64_t before = faults_shown(history);
    int rc = store_list(history->store, "", "", see_name, &listing);

    if (is_dead(history))
        return false;
    if (rc < 0) {
        if (!is_excused(history, rc, before))
            violation(history, NULL, "store_list() failed with %d", rc);
        return false;
    }
    for (unsigned i = 0; i < history->swarm.log_count; i++) {
        struct log_model *log = &history->logs[i];

        if (log->existence != LOG_UNSURE && listing.is_listed[i] != (log->existence == LOG_PRESENT))
            violation(history, log, "store_list() says it is %s",
                      listing.is_listed[i] ? "there" : "not there");
    }
    return true;
}

bool check_store(struct history *history)
{
    for (unsigned i = 0; i < history->swarm.log_count; i++) {
        struct log_model *log = &history->logs[i];
        int rc = log_get(history, log, false);

        if (is_dead(history))
            return false;
        if (rc == -ENOENT)
            log->existence = LOG_GONE; /* from now on this is certain */
        else if (rc < 0 && rc != -EMFILE)
            return false;
        if (random_percent(&history->random, 30))
            log_put(history, log);
    }
    return check_list(history);
}
