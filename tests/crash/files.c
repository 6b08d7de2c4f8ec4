/*
 * What only the files tell. Recovery reads the last segment and readers skip changes of the state, so
 * what a segment before it holds of those, packed or not, is looked at here: whatever stands in the
 * frames of one segment adds up to the STATE frame of the next.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/crash/history.h"
#include "wal/base.h"
#include "wal/inspect.h"
#include "wal/state.h"

typedef unsigned long long ull;

struct reading {
    struct history *history;
    struct log_model *log;
    struct state running; /* after all items so far */
    struct state head;    /* of the STATE frame at hand */
    bool in_head, has_running, is_compressed;
};

struct lookup {
    const struct state *other;
    uint64_t count;
    bool differs;
};

static int compare_entry(void *context, const void *key, uint16_t key_bytes, const void *value,
                         uint32_t value_bytes)
{
    struct lookup *lookup = context;
    uint32_t bytes;
    const void *other = state_get_committed(lookup->other, key, key_bytes, &bytes);

    lookup->count++;
    lookup->differs =
        lookup->differs || !other || bytes != value_bytes || memcmp(other, value, value_bytes) != 0;
    return 0;
}

static bool are_equal(const struct state *a, const struct state *b)
{
    struct lookup in_b = {.other = b}, in_a = {.other = a};

    state_each(a, true, compare_entry, &in_b);
    state_each(b, true, compare_entry, &in_a);
    return !in_a.differs && !in_b.differs && in_a.count == in_b.count;
}

static void leave_head(struct reading *reading, ull segment_no)
{
    if (!reading->in_head)
        return;
    if (reading->has_running && !are_equal(&reading->running, &reading->head))
        violation(reading->history, reading->log,
                  "the changes before segment %llu do not add up to its state", segment_no);
    state_done(&reading->running);
    reading->running = reading->head;
    reading->head = (struct state){0};
    reading->in_head = false;
    reading->has_running = true;
}

static int see_segment(void *context, const struct inspect_segment *segment)
{
    struct reading *reading = context;

    reading->is_compressed = segment->is_compressed;
    return 0;
}

static int see_frame(void *context, const struct inspect_frame *frame)
{
    struct reading *reading = context;

    /* Programs that do not know of compression go by the kind of the segment. */
    if (frame->is_compressed && !reading->is_compressed)
        violation(reading->history, reading->log,
                  "segment %llu does not say that frames of it are compressed",
                  (ull)frame->segment_no);
    reading->history->totals->compressed += frame->is_compressed;
    leave_head(reading, frame->segment_no);
    reading->in_head = frame->is_state;
    return 0;
}

static int see_item(void *context, const struct inspect_frame *frame,
                    const struct inspect_item *item)
{
    struct reading *reading = context;
    struct state *state = reading->in_head ? &reading->head : &reading->running;

    (void)frame;
    if (item->kind != INSPECT_SET && item->kind != INSPECT_REMOVE)
        return 0;
    must(state_change(state, item->key, item->key_bytes,
                      item->kind == INSPECT_SET ? item->data : NULL, item->data_bytes, 0) == 0);
    state_commit(state, 0);
    return 0;
}

void check_files(struct history *history, struct log_model *log)
{
    struct wal_io *io = history->spy.io;
    struct reading reading = {.history = history, .log = log};
    struct inspect_visitor visitor = {
        .context = &reading, .segment = see_segment, .frame = see_frame, .item = see_item};
    struct inspection found;
    char path[64] = "data/logs/";

    strcat(path, log->name);
    int dir = io->ops->open_dir(io, WAL_IO_CWD, path);

    if (dir < 0)
        violation(history, log, "its directory does not open: %d", dir);
    int rc = wal_inspect(io, dir, &visitor, &found);

    io->ops->close(io, dir);
    if (rc != 0)
        violation(history, log, "an inspection of its files failed with %d", rc);
    leave_head(&reading, 0);
    for (size_t i = 0; i < found.damage_count; i++)
        violation(history, log, "segment %llu at %llu: %s", (ull)found.damages[i].segment_no,
                  (ull)found.damages[i].position, found.damages[i].what);
    state_done(&reading.running);
    inspection_done(&found);
}
