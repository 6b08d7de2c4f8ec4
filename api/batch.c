#include "api/batch.h"

#include <errno.h>
#include <stdlib.h>

#include "api/events.h"
#include "api/request.h"
#include "wal/base.h"

static bool is_stream(enum follow_form form)
{
    return form >= FOLLOW_STREAM_TEXT;
}

static enum events_kind kind_of(enum follow_form form)
{
    switch (form) {
    case FOLLOW_STREAM_JSON: return EVENTS_JSON;
    case FOLLOW_STREAM_BASE64: return EVENTS_BASE64;
    default: return EVENTS_TEXT;
    }
}

struct batch *batch_share(struct batch *batch)
{
    batch->references++;
    return batch;
}

void batch_put(struct batch *batch)
{
    if (!batch || --batch->references > 0)
        return;
    *batch->total -= batch->text.capacity;
    text_done(&batch->text);
    free(batch);
}

/* What a reader at /logs is told in place of records that it cannot have. Returns 0 if that makes it
 * go on. */
static int add_obstacle(struct batch *batch, struct api *api, struct wal *wal,
                        struct wal_cursor *cursor, int error, const struct wal_entry *entry)
{
    if (error == -EBADMSG) {
        struct api_event event = {"record_damaged", wal_name(wal), error};
        api->config.tell(api->config.context, &event);
        events_add_gap(&batch->text, entry->offset, entry->gap_end);
        batch->end = entry->gap_end;
        return 0;
    }
    if (error == -ERANGE) {
        struct wal_positions positions;
        wal_positions(wal, &positions);
        events_add_trimmed(&batch->text, positions.first_offset);
        batch->end = positions.first_offset;
        wal_cursor_seek(cursor, batch->end);
        return 0;
    }
    return error;
}

static void took(struct batch *batch, const struct wal_entry *entry)
{
    batch->records++;
    batch->payload_bytes += entry->size;
    batch->end = entry->offset + 1;
}

static bool is_full(const struct batch *batch, uint64_t records_max)
{
    return batch->records >= records_max || batch->text.bytes >= BATCH_BYTES || batch->text.failed;
}

static int read_events(struct batch *batch, struct api *api, struct wal *wal,
                       struct wal_cursor *cursor, enum follow_form form, uint64_t records_max)
{
    int rc = 0;
    while (rc == 0 && !is_full(batch, records_max)) {
        struct wal_entry entry;
        rc = wal_cursor_next(cursor, &entry);
        if (rc < 0) {
            rc = add_obstacle(batch, api, wal, cursor, rc, &entry);
            continue;
        }
        events_add_record(&batch->text, &entry, form == FOLLOW_RECORDS_BASE64);
        took(batch, &entry);
    }
    return rc;
}

/* One event of data, and none without records. */
static int read_data(struct batch *batch, struct wal_cursor *cursor, enum follow_form form,
                     uint64_t skip, uint64_t records_max)
{
    struct events_data data;
    int rc = 0;
    while (!is_full(batch, records_max)) {
        struct wal_entry entry;
        rc = wal_cursor_next(cursor, &entry);
        if (rc < 0)
            break;
        if (batch->records == 0)
            events_data_begin(&data, &batch->text, kind_of(form));
        skip = batch->records == 0 ? min_u64(skip, entry.size) : 0;
        events_data_add(&data, (const char *)entry.data + skip, entry.size - skip);
        took(batch, &entry);
        batch->payload_bytes -= skip;
    }
    if (batch->records > 0)
        events_data_end(&data);
    return rc;
}

int batch_make(struct batch **ret_batch, struct api *api, struct wal *wal, enum follow_form form,
               uint64_t begin, uint64_t skip, uint64_t records_max)
{
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    struct batch *batch = calloc(1, sizeof(*batch));
    int rc = batch ? wal_cursor_open(&cursor, wal, begin) : -ENOMEM;
    if (rc < 0) {
        free(batch);
        return rc;
    }
    records_max = min_u64(records_max, BATCH_RECORDS_MAX);
    batch->references = 1;
    batch->begin = batch->end = begin;
    batch->total = &api->follow.bytes;
    rc = is_stream(form) ? read_data(batch, cursor, form, skip, records_max)
                         : read_events(batch, api, wal, cursor, form, records_max);
    *batch->total += batch->text.capacity;
    if (batch->text.failed || batch->text.bytes == 0) {
        rc = batch->text.failed ? -ENOMEM : rc;
        must(rc < 0);
        batch_put(batch);
        return rc;
    }
    *ret_batch = batch;
    return 0;
}
