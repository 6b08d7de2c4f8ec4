/*
 * The journal of a power test: what a process on the log was about to do, and what it was promised,
 * written to a pipe in lines of 40 bytes. The other end is a program that no power cut and no kill
 * reaches, so what stands in the journal is what a client would know.
 *
 * Two rules make it proof. An ISSUE line is in the pipe before the call, so nothing may ever be
 * found in the log that was not issued. An ACK line follows the log's promise, so whatever it names
 * must be found, for ever.
 */
#ifndef POWER_JOURNAL_H
#define POWER_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/power/content.h"

#define LINE_MAGIC 0x4a50u

enum line_kind {
    LINE_READY = 1, /* the store is open; offset: microseconds that took */
    LINE_OPENED,    /* a log is open; offset: its committed_offset */
    LINE_ISSUE,     /* append number `append` of `writer` is about to be queued */
    LINE_ACK,       /* it is durable, its first record at `offset` */
    LINE_SEEN,      /* not acknowledged, but read after a restart: from now on it must stay */
    LINE_STATE_ISSUE,
    LINE_STATE_ACK,
    LINE_TRIM_ISSUE, /* offset: the new first offset */
    LINE_TRIM_ACK,
    LINE_CREATE_ISSUE,
    LINE_CREATE_ACK,
    LINE_DELETE_ISSUE,
    LINE_DELETE_ACK,
    LINE_ERROR,    /* an operation on a log failed with `status`; outcomes after that are unknown */
    LINE_DRAINED,  /* the store was closed in good order; offset: appends without an answer */
    LINE_VERIFIED, /* offset: acknowledged records compared with the journal */
    LINE_CUT,      /* the driver's: the file system is about to be shut down under buffered writes,
                      and promises that are later than this line's time do not count; see cut.c */
    LINE_KINDS,
};

struct line {
    uint16_t magic;
    uint16_t kind;
    uint16_t writer;
    uint16_t reserved;
    uint32_t run;
    uint32_t log;
    uint32_t append; /* or the number of a state change */
    int32_t status;
    uint64_t offset;
    uint64_t time_us; /* CLOCK_MONOTONIC, set by line_finish() */
};
_Static_assert(sizeof(struct line) == 40, "what goes through the pipe");

/* Writers 0 to 3 are the workload's; the last appends on behalf of the verifier. */
enum {
    WRITER_WAIT,   /* wal_append, wal_wait */
    WRITER_WINDOW, /* many handlers in flight */
    WRITER_CHAIN,  /* each handler appends the next */
    WRITER_FLUSH,  /* a few appends, then wal_flush */
    WRITER_VERIFIER,
    WRITERS,
};

#define BASE_LOGS 4u     /* logs 0 to 3 live as long as the directory */
#define EXTRA_LOG_MIN 8u /* later ones come and go, each number once */
#define EXTRA_LOGS_PER_RUN 8u

/* "log-3", "extra-17" */
void log_name(uint32_t log, char ret_name[32]);
/* The way back; UINT32_MAX: no name of ours. */
uint32_t log_number(const char *name);

/* What every line has: magic and time. */
void line_finish(struct line *line);

/* Writes one line to stdout, all of it; the process ends if nobody reads any more. */
void journal_emit(struct line line);

/* A writer's progress on one state key, ordered by run and number. */
struct progress {
    bool any;
    uint32_t run, number;
};

bool progress_less(struct progress a, struct progress b);

/* What the journal knows of one log. */
struct log_model {
    bool may_exist, must_exist;
    uint64_t trim_issued, trim_acked;
    uint64_t acked_end;     /* one past the last record that must be there */
    uint64_t opened_at;     /* committed_offset at the latest opening: appends go on from here */
    struct power_id *acked; /* by offset - acked_base; writer == UINT16_MAX: nothing known */
    uint64_t acked_base, acked_capacity;
    uint32_t *issued;          /* appends: [(run - run_min) * WRITERS + writer] */
    uint32_t run_min, run_end; /* the runs that appended to it */
    struct progress update_issued[WRITERS], update_acked[WRITERS]; /* state beside records */
    struct progress state_issued[WRITERS], state_acked[WRITERS];   /* state alone */
};

struct journal {
    uint64_t seed;
    struct log_model *logs;
    uint32_t log_count;
    uint64_t cut_us; /* promises from then on do not count; UINT64_MAX: all do */
};

/* Reads a journal. What contradicts itself (an offset given twice, one below what was committed) is
 * handed to violation(). Returns 0 or a negative errno. */
int journal_load(struct journal *journal, const char *path, uint64_t seed,
                 void (*violation)(uint32_t log, uint64_t offset, const char *format, ...));
void journal_done(struct journal *journal);

/* Who must stand at an offset; false: nothing is known of it. */
bool journal_acked_at(const struct log_model *log, uint64_t offset, struct power_id *ret_id);
/* Appends issued by a writer in a run. */
uint32_t journal_issued(const struct log_model *log, uint32_t run, unsigned writer);

#endif
