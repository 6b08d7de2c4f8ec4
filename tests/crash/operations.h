/*
 * What the files of random operations share: workload.c has the table and what needs no file of its
 * own, logs.c is about logs as wholes, append.c about appends.
 */
#ifndef CRASH_OPERATIONS_H
#define CRASH_OPERATIONS_H

#include "tests/crash/history.h"

#define UPDATES_OF_APPEND_MAX 3

/* What a call wants to see of a unit, until the next one is filled. */
struct call {
    struct wal_record records[BATCH_RECORDS_MAX];
    struct wal_state_update updates[UPDATES_OF_APPEND_MAX];
    struct wal_append_options options;
};

/* ---- logs.c ---- */

struct log_model *any_log(struct history *history);
/* NULL if there is none. */
struct log_model *held_log(struct history *history);

void op_create(struct history *history);
void op_delete(struct history *history);
void op_get(struct history *history);
void op_put(struct history *history);
void op_reopen(struct history *history);

/* ---- scrub.c ---- */

void op_scrub(struct history *history);

/* ---- append.c ---- */

/* Whether an append, and one that its handler makes, find room in the oracle. */
bool unit_has_room(const struct history *history, const struct log_model *log);
struct unit *unit_new(struct history *history, struct log_model *log);
void unit_draw_record(struct history *history, struct unit *unit);
void unit_draw_update(struct history *history, struct unit *unit);
void unit_fill_call(struct unit *unit, struct call *call);
/* Whether the state would be too large with this unit; near the limit either answer is right. */
bool unit_fills_state(const struct log_model *log, const struct unit *unit);

/* Calls wal_append(), and holds what it returns against the oracle. */
void append_unit(struct history *history, struct log_model *log, struct unit *unit,
                 uint64_t expected_offset);

void op_append(struct history *history);
void op_append_expecting(struct history *history);
void op_append_wrongly(struct history *history);
void op_forge(struct history *history);
void op_trim(struct history *history);
void op_retain(struct history *history);

#endif
