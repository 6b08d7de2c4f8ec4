/*
 * What a log must hold. Everything that was appended to a log is a line of units: a unit is one
 * wal_append() or wal_trim(), and is atomic. Whatever happens, the log holds some prefix of that
 * line: at least the units that are known to be durable, at most all of them. Refused units leave
 * the line. Records, state and first offset are all functions of the prefix.
 *
 * A unit is known to be durable when its handler, wal_poll() or wal_wait() said so, but also when
 * anything of it was seen: a record that was read, a committed_offset above it. This file knows no
 * store and no disk; check.c compares.
 */
#ifndef CRASH_ORACLE_H
#define CRASH_ORACLE_H

#include "tests/crash/content.h"
#include "wal/wal.h"

#define LOGS_MAX 6
#define KEYS 6
#define LOG_UNITS_MAX 512
#define LOG_RECORDS_MAX 4096

struct history;
struct log_model;

struct record {
    struct content content;
    uint64_t timestamp_ns; /* 0: never seen */
};

/* A change of one key of the log's state. */
struct update {
    uint8_t key; /* below KEYS */
    bool removes;
    struct content value;
    uint64_t hash; /* of the value */
};

enum unit_status {
    UNIT_QUEUED,
    UNIT_DURABLE,
    UNIT_REFUSED, /* with the promise that nothing was written */
    UNIT_UNKNOWN, /* the log failed: written or not */
};

struct unit {
    struct wal_handler handler;
    struct log_model *log;
    struct wal_token token;
    uint64_t sequence; /* grows along all appends and barriers of a history */
    struct record *records;
    struct update *updates;
    uint32_t record_count, update_count;
    uint64_t trim_before; /* 0: none */
    int handler_status;
    uint8_t status; /* enum unit_status */
    bool has_token; /* wal_poll() may be asked */
    bool has_handler;
    bool handler_ran;     /* and its status counts */
    bool handler_entered; /* it ran, and maybe too late to count */
    bool is_barrier;      /* wal_flush_async(): not in the line */
    bool again;           /* its handler appends one more */
    uint64_t body_bytes;  /* that it takes in a frame */
    /* Of the prefix that ends with this unit. */
    uint64_t end, first, bytes;
};

enum existence {
    LOG_GONE,
    LOG_PRESENT,
    LOG_UNSURE, /* a creation or removal was cut short: either */
};

struct log_model {
    struct history *history;
    unsigned number; /* of its name */
    char name[16];
    uint8_t existence; /* enum existence */
    bool id_known;
    uint8_t id[16];
    bool failed; /* it told so */
    int failure; /* the error it told */

    struct unit *units[LOG_UNITS_MAX];
    uint32_t unit_count;
    uint32_t durable_units; /* the prefix that cannot be lost any more */
    struct record *records[LOG_RECORDS_MAX];
    uint64_t first_seen; /* first_offset never falls below it */

    /* The session: what is open now. */
    struct wal *wal;
    struct wal_cursor *cursor;
    uint64_t cursor_offset;
    bool is_fresh;      /* nothing was appended since the disk was read */
    bool is_clean;      /* the store was closed in good order, so nothing can be torn */
    bool was_checked;   /* since the store was opened */
    bool is_unreadable; /* a fault was in the way when it was opened; until the store closes */
    uint32_t handlers_due;
    uint64_t handler_sequence; /* of the last handler that ran */
};

/* The newest update of each key, NULL where there is none. */
struct state_view {
    const struct update *updates[KEYS];
};

/* A log that was just made: nothing in it. */
void model_clear(struct log_model *log);

/* Adds a unit to the line. */
void model_push(struct log_model *log, struct unit *unit);

/* Takes refused units out of the line. Returns false if what is left has a hole. */
bool model_drop_refused(struct log_model *log);

/* Forgets the units from `count` on: a crash has lost them. */
void model_cut(struct log_model *log, uint32_t count);

/* Of the first `count` units: one past the last record, first offset, bytes of payload, state. */
uint64_t model_end(const struct log_model *log, uint32_t count);
uint64_t model_first(const struct log_model *log, uint32_t count);
uint64_t model_bytes(const struct log_model *log, uint32_t count);
void model_state(const struct log_model *log, uint32_t count, struct state_view *ret_view);

/* The shortest prefix that holds the record before `end`, but at least `count` units; UINT32_MAX if
 * none ends exactly at `end`, which would be a torn batch. */
uint32_t model_prefix_of(const struct log_model *log, uint64_t end, uint32_t count);

/* The number of units up to the one that holds this record. */
uint32_t model_units_through(const struct log_model *log, uint64_t offset);

/* What waits for a decision: records, and bytes in frames. False: not all of it is known. */
bool model_pending(const struct log_model *log, uint64_t *ret_records, uint64_t *ret_bytes);

/* The first `count` units are durable. */
void model_durable(struct log_model *log, uint32_t count);

/* Name of a key of the state; *ret_bytes is its size. */
const uint8_t *key_name(unsigned key, uint16_t *ret_bytes);
/* The key of this name, KEYS if none has it. */
unsigned key_find(const void *name, uint16_t bytes);

#endif
