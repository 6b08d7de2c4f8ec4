/*
 * Records as server-sent events (text/event-stream of the HTML standard), in the words of both
 * doors. Functions of their arguments that add to a text; what memory is short for, the text
 * remembers.
 *
 * At /logs each record is an event: its offset as the id, and as data its JSON, which has no line
 * ends. What stands in the way of records is an event of its own kind, with the id behind which a
 * reader goes on.
 *
 * At /v1/stream all records of a batch are one event "data", followed by one event "control", which
 * tells where the reader stands.
 */
#ifndef API_EVENTS_H
#define API_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "api/text.h"
#include "wal/wal.h"

/* ---- /logs ---- */

/* Before all others: how long a client waits until it comes again. */
void events_add_hello(struct text *text);

void events_add_record(struct text *text, const struct wal_entry *entry, bool base64);

/* The records [begin, end) cannot be read. */
void events_add_gap(struct text *text, uint64_t begin, uint64_t end);

/* Those before first_offset were trimmed away before they were sent. */
void events_add_trimmed(struct text *text, uint64_t first_offset);

/* Why nothing follows; `reason` is a word of ours. */
void events_add_end(struct text *text, const char *reason);

/* A comment, so that nobody on the way takes the silence for an end. */
void events_add_heartbeat(struct text *text);

/* ---- /v1/stream ---- */

enum events_kind {
    EVENTS_TEXT,   /* the bytes, cut into lines */
    EVENTS_JSON,   /* each record is a value: an array of them */
    EVENTS_BASE64, /* the bytes in base64 */
};

/* One event of data: begin, add each record, end. */
struct events_data {
    struct text *text;
    enum events_kind kind;
    bool after_cr; /* the line has ended with a CR, and a LF that follows belongs to it */
    bool is_first;
    unsigned char carry[3]; /* what is short of three bytes, of base64 */
    unsigned carry_bytes;
};

void events_data_begin(struct events_data *data, struct text *text, enum events_kind kind);
void events_data_add(struct events_data *data, const void *bytes, size_t count);
void events_data_end(struct events_data *data);

struct events_control {
    uint64_t next_offset, bytes_before; /* the token of where the reader stands */
    uint64_t cursor;                    /* told while the stream is open */
    bool up_to_date, closed;
};

void events_add_control(struct text *text, const struct events_control *control);

#endif
