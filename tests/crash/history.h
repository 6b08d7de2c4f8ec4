/*
 * One history: a store on a simulated disk lives several lives, each of them cut short at some
 * operation, and is held against the oracle after each. A seed decides all of it.
 *
 *   history.c   options by seed, lives, ways to die
 *   workload.c  random operations; those on logs as wholes are in logs.c, appends in append.c
 *   check.c     holds the store against the oracle
 *   files.c     looks at what the files hold
 *   damage.c    breaks files, and judges what the store makes of them
 *   scrub.c     looks for damage while the store is at work, and judges what was found
 *   spy.c       watches the disk for what only the disk can tell
 */
#ifndef CRASH_HISTORY_H
#define CRASH_HISTORY_H

#include "tests/crash/oracle.h"
#include "tests/crash/random.h"
#include "tests/crash/spy.h"
#include "tests/sim/sim_disk.h"
#include "wal/store.h"

/* What is added up over histories. */
struct totals {
    uint64_t histories;
    uint64_t operations;   /* of the workload */
    uint64_t opens;        /* of stores */
    uint64_t crashes;      /* power cuts */
    uint64_t kills;        /* kill -9: the page cache lives on */
    uint64_t closes;       /* in good order */
    uint64_t acknowledged; /* records */
    uint64_t verified;     /* records read and compared */
    uint64_t torn;         /* recoveries that cut a torn write */
    uint64_t refused_units;
    uint64_t failed_logs;   /* by faults */
    uint64_t damaged_logs;  /* refused appends after damage */
    uint64_t repaired_logs; /* of those */
    uint64_t beyond_repair;
    uint64_t gaps;              /* reported by cursors */
    uint64_t cut_tails;         /* damage that cannot be told from a crash */
    uint64_t refused_undamaged; /* must stay 0; a violation ends the search before it counts */
    uint64_t packed;            /* segments */
    uint64_t compressed;        /* frames, at the end, or when damage is done */
    uint64_t scrubs;            /* passes of the scrub */
    uint64_t disturbed_scrubs;  /* of those, with other operations in the middle of them */
    uint64_t scrub_places;      /* damaged places that it told of */
    uint64_t repeated;          /* histories run twice */
    uint64_t hash;              /* sum over histories, so that their order does not matter */
};

struct run_options {
    bool damage;
    bool trace;        /* what the workload does, on stderr */
    bool trace_disk;   /* and what the disk does */
    const char *flags; /* to be repeated on the line that replays */
};

#define UNITS_MAX 4096
#define RECORDS_MAX 32768
#define UPDATES_MAX 8192
#define IDS_MAX 256
#define STORED_BYTES_MAX (4u << 20)

/* Memory of one history; nothing is given back before its end. */
struct pools {
    struct unit units[UNITS_MAX];
    struct record records[RECORDS_MAX];
    struct update updates[UPDATES_MAX];
    uint8_t ids[IDS_MAX][16]; /* of all logs ever made */
    uint8_t stored[STORED_BYTES_MAX];
    uint32_t unit_count, record_count, update_count, id_count;
    size_t stored_bytes;
};

#define OPERATIONS_MAX 32
#define BATCH_RECORDS_MAX 40
#define FAULTS_OF_LIFE_MAX 12

/* How this history is: some of everything is switched off, so that the rest goes further. */
struct swarm {
    unsigned log_count;
    unsigned lives;
    unsigned operations; /* of a life, at most */
    struct store_config config;
    struct sim_options disk;
    uint8_t weights[OPERATIONS_MAX]; /* of the operations of workload.c */
    uint32_t record_bytes;           /* usual size of a record, at most */
    unsigned big_percent;            /* of records that are far larger */
    unsigned zeros_percent;          /* of records that are zeros, or have holes */
    unsigned attributes_percent, updates_percent, handler_percent, again_percent;
    unsigned batch_records; /* in one append, at most */
    bool big_state;         /* values that fill the state */
    bool faults;
    bool disk_full;
    bool kills;
    bool forgeries; /* payloads that hold frames */
};

struct history {
    const struct run_options *options;
    struct totals *totals;
    uint64_t seed;
    struct random random; /* decides what happens */
    struct swarm swarm;
    struct sim_disk *disk;
    struct spy spy;
    struct store *store; /* NULL: none is open */
    struct log_model logs[LOGS_MAX];
    struct pools *pools;
    uint64_t next_sequence; /* of units */
    uint64_t next_content;
    uint64_t hash;              /* of what calls returned */
    unsigned faults_armed;      /* in this life */
    bool rename_fails;          /* one of them is a rename's */
    uint64_t faults_at_opening; /* faults_shown() when the store was opened */
    uint64_t name_failures_at_opening;
    bool is_over;      /* what the store says after the cut counts no more */
    bool is_full;      /* the disk has a limit now */
    bool was_full;     /* it had one since the store was opened */
    bool is_closing;   /* a log or the store is on its way out: -ESHUTDOWN is fine */
    bool is_appending; /* inside wal_append(), where no handler may run */
    bool is_scrubbing; /* what runs is in the middle of a scrub */
};

/* ---- history.c ---- */

void history_init(struct history *history, const struct run_options *options,
                  struct totals *totals);
void history_done(struct history *history);

/* Runs one history to its end; a violation ends the process. Returns its trace hash. */
uint64_t history_run(struct history *history, uint64_t seed);

/* Prints what was violated and the command that repeats it, and ends the process. `log` may be
 * NULL. */
_Noreturn void violation(struct history *history, const struct log_model *log, const char *format,
                         ...) __attribute__((format(printf, 3, 4)));

/* The same for a signal handler: the process dies of a broken assertion or of hanging. */
void history_report_death(const char *how);

/* One line of a readable trace. */
#define trace(history, ...)                                                                        \
    do {                                                                                           \
        if ((history)->options->trace)                                                             \
            trace_line((history), __VA_ARGS__);                                                    \
    } while (0)
void trace_line(struct history *history, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The power is gone, or the process was killed: what calls return from here on means nothing. */
static inline bool is_dead(const struct history *history)
{
    return history->spy.is_killed || sim_is_dead(history->disk);
}

/* Mixes what a call returned into the history's hash. */
static inline void remember(struct history *history, uint64_t value)
{
    history->hash = splitmix64_mix(history->hash ^ value) + 1;
}

/* Faults that the disk has shown so far: a call during which this grew may fail. */
uint64_t faults_shown(const struct history *history);

/* Whether the disk explains an error of a call that began when faults_shown() was `before`. */
bool is_excused(const struct history *history, int error, uint64_t before);

/* Whether a sync of a directory, or a rename, failed since the store was opened: from then on it may
 * refuse to open logs, with -EIO, until it is opened anew. */
bool names_are_distrusted(const struct history *history);

/* Makes some operation of the disk fail soon. */
void history_arm_fault(struct history *history);

/* Whether the disk explains that anything at all was refused for want of something. */
bool has_known_want(const struct history *history);

/* Opens the store; false: the disk died, or a fault was in the way. */
bool history_open(struct history *history);

/* ---- workload.c ---- */

/* The names of the operations; their weights are what a swarm draws. */
unsigned workload_operations(void);

/* Runs up to `count` random operations, or until the disk is dead. */
void workload_run(struct history *history, unsigned count);

/* Appends one small record to every log and waits for it: a healthy store can. */
void workload_prove_alive(struct history *history);

/* ---- logs.c ---- */

/* Gets a log and holds it against the oracle. -ENOENT: it is not there, and may not be. Other
 * errors: the disk or a limit is in the way. */
int log_get(struct history *history, struct log_model *log, bool create);
void log_put(struct history *history, struct log_model *log);

/* ---- check.c ---- */

/* Learns what has become of the queued units, and holds it against the rules. */
void check_settle(struct history *history, struct log_model *log);

/* The same at the end of a life: what handlers were told before it counts. */
void check_told(struct history *history, struct log_model *log);

/* While running: positions, statistics and status. */
void check_positions(struct history *history, struct log_model *log);

/* After a log was opened: it holds a prefix; finds which one, and reads all of it. False: the disk
 * died, or a fault was in the way. */
bool check_recovered(struct history *history, struct log_model *log);

/* Reads records with a cursor of its own from `offset` to the end, at most `count`. */
bool check_read(struct history *history, struct log_model *log, uint64_t offset, uint64_t count);

/* Compares one record that a cursor served; the oracle learns that it is durable. */
void check_entry(struct history *history, struct log_model *log, const struct wal_entry *entry);

/* Every key of the state, newest value. */
void check_state(struct history *history, struct log_model *log);

/* One step of a cursor that stands at `offset`: 0 and the record is right, or an error that is. */
int check_next(struct history *history, struct log_model *log, struct wal_cursor *cursor,
               uint64_t offset);

/* wal_offset_at() against the timestamps seen so far. */
void check_offset_at(struct history *history, struct log_model *log, uint64_t timestamp_ns);

/* The names that store_list() tells. False: the disk was in the way. */
bool check_list(struct history *history);

/* All logs of a store that was just opened. False: the disk was in the way. */
bool check_store(struct history *history);

/* ---- files.c ---- */

/* The files of a log that was closed in good order hold no damage, and no change of the state is lost
 * in them. */
void check_files(struct history *history, struct log_model *log);

/* ---- damage.c ---- */

/* Breaks something on the durable disk of a store that is closed. */
void damage_inflict(struct history *history);

/* Opens, reads and judges the broken store. */
void damage_judge(struct history *history);

#endif
