#include "api/events.h"

#include <inttypes.h>
#include <string.h>

#include "api/json.h"

#define RETRY_MS 1000

static void add_string(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

/* ---- /logs ---- */

void events_add_hello(struct text *text)
{
    text_format(text, "retry: %d\n\n", RETRY_MS);
}

void events_add_record(struct text *text, const struct wal_entry *entry, bool base64)
{
    text_format(text, "id: %" PRIu64 "\ndata: ", entry->offset);
    json_add_record(text, entry, base64);
    add_string(text, "\n\n");
}

void events_add_gap(struct text *text, uint64_t begin, uint64_t end)
{
    text_format(text, "event: gap\nid: %" PRIu64 "\n", end - 1);
    text_format(text, "data: {\"begin\":%" PRIu64 ",\"end\":%" PRIu64 "}\n\n", begin, end);
}

void events_add_trimmed(struct text *text, uint64_t first_offset)
{
    text_format(text, "event: trimmed\nid: %" PRIu64 "\n", first_offset - 1);
    text_format(text, "data: {\"first_offset\":%" PRIu64 "}\n\n", first_offset);
}

void events_add_end(struct text *text, const char *reason)
{
    text_format(text, "event: end\ndata: {\"reason\":\"%s\"}\n\n", reason);
}

void events_add_heartbeat(struct text *text)
{
    add_string(text, ":\n\n");
}

/* ---- /v1/stream ---- */

/* Each line begins with the name of the field, whatever stands in it: so no record can be taken for
 * a field of an event, or for its end. */
static void add_lines(struct events_data *data, const char *bytes, size_t count)
{
    const char *end = bytes + count;
    if (count > 0 && data->after_cr && *bytes == '\n')
        bytes++;
    data->after_cr = false;
    while (bytes < end) {
        const char *stop = bytes;
        while (stop < end && *stop != '\r' && *stop != '\n')
            stop++;
        text_add(data->text, bytes, (size_t)(stop - bytes));
        data->after_cr = stop < end && *stop == '\r';
        if (stop == end)
            break;
        add_string(data->text, "\ndata:");
        bytes = stop + 1;
        if (data->after_cr && bytes < end && *bytes == '\n') {
            bytes++;
            data->after_cr = false;
        }
    }
}

/* Records follow each other without padding between them: the last one or two bytes wait. */
static void add_base64(struct events_data *data, const unsigned char *bytes, size_t count)
{
    while (count > 0 && data->carry_bytes > 0 && data->carry_bytes < 3) {
        data->carry[data->carry_bytes++] = *bytes++;
        count--;
    }
    if (data->carry_bytes == 3) {
        text_add_base64(data->text, data->carry, 3);
        data->carry_bytes = 0;
    }
    size_t whole = count - count % 3;
    if (whole > 0)
        text_add_base64(data->text, bytes, whole);
    for (size_t i = whole; i < count; i++)
        data->carry[data->carry_bytes++] = bytes[i];
}

void events_data_begin(struct events_data *data, struct text *text, enum events_kind kind)
{
    *data = (struct events_data){.text = text, .kind = kind, .is_first = true};
    add_string(text, "event: data\ndata:");
    if (kind == EVENTS_JSON)
        add_string(text, "[");
}

void events_data_add(struct events_data *data, const void *bytes, size_t count)
{
    if (data->kind == EVENTS_JSON && !data->is_first)
        add_string(data->text, ",");
    if (data->kind == EVENTS_JSON)
        data->after_cr = false; /* the comma came between */
    data->is_first = false;
    if (data->kind == EVENTS_BASE64)
        add_base64(data, bytes, count);
    else
        add_lines(data, bytes, count);
}

void events_data_end(struct events_data *data)
{
    if (data->kind == EVENTS_JSON)
        add_string(data->text, "]");
    if (data->carry_bytes > 0)
        text_add_base64(data->text, data->carry, data->carry_bytes);
    add_string(data->text, "\n\n");
}

void events_add_control(struct text *text, const struct events_control *control)
{
    text_format(text,
                "event: control\ndata:{\"streamNextOffset\":\"%016" PRIu64 "_%016" PRIu64 "\"",
                control->next_offset, control->bytes_before);
    if (!control->closed)
        text_format(text, ",\"streamCursor\":\"%" PRIu64 "\"", control->cursor);
    if (control->up_to_date)
        add_string(text, ",\"upToDate\":true");
    if (control->closed)
        add_string(text, ",\"streamClosed\":true");
    add_string(text, "}\n\n");
}
