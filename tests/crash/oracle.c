#include "tests/crash/oracle.h"

#include <string.h>

#include "wal/base.h"

void model_clear(struct log_model *log)
{
    log->unit_count = 0;
    log->durable_units = 0;
    log->first_seen = 0;
    log->id_known = false;
    log->failed = false;
    log->failure = 0;
}

uint64_t model_end(const struct log_model *log, uint32_t count)
{
    return count == 0 ? 0 : log->units[count - 1]->end;
}

uint64_t model_first(const struct log_model *log, uint32_t count)
{
    return count == 0 ? 0 : log->units[count - 1]->first;
}

uint64_t model_bytes(const struct log_model *log, uint32_t count)
{
    return count == 0 ? 0 : log->units[count - 1]->bytes;
}

/* Gives the unit its place as number `index` of the line. */
static void place_unit(struct log_model *log, uint32_t index, struct unit *unit)
{
    uint64_t begin = model_end(log, index);

    must(begin + unit->record_count <= LOG_RECORDS_MAX);
    log->units[index] = unit;
    unit->end = begin + unit->record_count;
    unit->first = max_u64(model_first(log, index), unit->trim_before);
    unit->bytes = model_bytes(log, index);
    for (uint32_t i = 0; i < unit->record_count; i++) {
        log->records[begin + i] = &unit->records[i];
        unit->bytes += unit->records[i].content.size;
    }
}

void model_push(struct log_model *log, struct unit *unit)
{
    must(log->unit_count < LOG_UNITS_MAX);
    place_unit(log, log->unit_count, unit);
    log->unit_count++;
}

bool model_drop_refused(struct log_model *log)
{
    uint32_t kept = log->durable_units;
    bool dense = true;

    for (uint32_t i = log->durable_units; i < log->unit_count; i++) {
        struct unit *unit = log->units[i];
        uint64_t end = unit->end;

        if (unit->status == UNIT_REFUSED)
            continue;
        place_unit(log, kept++, unit);
        dense = dense && unit->end == end;
    }
    log->unit_count = kept;
    return dense;
}

void model_cut(struct log_model *log, uint32_t count)
{
    must(count <= log->unit_count);
    log->unit_count = count;
    log->durable_units = count;
    for (uint32_t i = 0; i < count; i++)
        log->units[i]->status = UNIT_DURABLE;
}

void model_state(const struct log_model *log, uint32_t count, struct state_view *ret_view)
{
    memset(ret_view, 0, sizeof(*ret_view));
    for (uint32_t i = 0; i < count; i++) {
        const struct unit *unit = log->units[i];

        for (uint32_t j = 0; j < unit->update_count; j++) {
            const struct update *update = &unit->updates[j];

            ret_view->updates[update->key] = update->removes ? NULL : update;
        }
    }
}

uint32_t model_prefix_of(const struct log_model *log, uint64_t end, uint32_t count)
{
    while (count < log->unit_count && model_end(log, count) < end)
        count++;
    return model_end(log, count) == end ? count : UINT32_MAX;
}

uint32_t model_units_through(const struct log_model *log, uint64_t offset)
{
    uint32_t low = 0;
    uint32_t high = log->unit_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (log->units[middle]->end <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low + 1;
}

bool model_pending(const struct log_model *log, uint64_t *ret_records, uint64_t *ret_bytes)
{
    *ret_records = *ret_bytes = 0;
    for (uint32_t i = log->durable_units; i < log->unit_count; i++) {
        const struct unit *unit = log->units[i];

        if (unit->status != UNIT_QUEUED || !unit->has_token)
            return false;
        *ret_records += unit->record_count;
        *ret_bytes += unit->body_bytes;
    }
    return true;
}

void model_durable(struct log_model *log, uint32_t count)
{
    must(count <= log->unit_count);
    for (uint32_t i = log->durable_units; i < count; i++)
        log->units[i]->status = UNIT_DURABLE;
    if (count > log->durable_units)
        log->durable_units = count;
}

/* Short, long, and sharing a beginning: what a table of keys may confuse. */
static uint8_t long_key[WAL_STATE_KEY_BYTES_MAX];

const uint8_t *key_name(unsigned key, uint16_t *ret_bytes)
{
    static const char *const names[KEYS] = {"a", "ab", "abc", "settings", "producer/7", NULL};

    must(key < KEYS);
    if (names[key]) {
        *ret_bytes = (uint16_t)strlen(names[key]);
        return (const uint8_t *)names[key];
    }
    memset(long_key, 'a', sizeof(long_key));
    *ret_bytes = sizeof(long_key);
    return long_key;
}

unsigned key_find(const void *name, uint16_t bytes)
{
    for (unsigned key = 0; key < KEYS; key++) {
        uint16_t key_bytes;
        const uint8_t *key_bytes_at = key_name(key, &key_bytes);

        if (key_bytes == bytes && memcmp(key_bytes_at, name, bytes) == 0)
            return key;
    }
    return KEYS;
}
