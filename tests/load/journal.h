/*
 * What was asked of the program and what it promised, kept by the driver, whom no kill of the
 * program reaches. Writers number their records 0, 1, 2, …; an append has one record or, if it is a
 * batch, several in a row.
 */
#ifndef LOAD_JOURNAL_H
#define LOAD_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/load/content.h"

#define JOURNAL_LOGS 4u
#define JOURNAL_WRITERS 16u
#define OFFSET_NONE UINT64_MAX

struct entry {
    uint64_t offset; /* as acknowledged, or as read once; OFFSET_NONE: neither so far */
    uint32_t first;  /* the append's first record, … */
    uint32_t count;  /* … and how many it has */
    uint32_t log;
    bool acknowledged;
};

struct writer_book {
    struct entry *entries;
    size_t count, capacity;
};

struct log_book {
    struct content_id *who; /* by offset; sequence UINT32_MAX: nobody known */
    size_t capacity;
    uint64_t end;              /* one past the last promised record */
    uint64_t committed_offset; /* the greatest one ever told */

    /* What the last check has read: where it ended, and what to expect of each writer there. */
    uint64_t checked;
    uint32_t next_sequence[JOURNAL_WRITERS];
};

struct journal {
    uint64_t seed;
    struct writer_book writers[JOURNAL_WRITERS];
    struct log_book logs[JOURNAL_LOGS];
    uint64_t appends_acknowledged, records_acknowledged;
};

void journal_init(struct journal *journal, uint64_t seed);
void journal_done(struct journal *journal);

/* Before an append of `count` records is sent. Returns the sequence of the first. */
uint32_t journal_issue(struct journal *journal, uint32_t writer, uint32_t log, uint32_t count);

/* The append has been acknowledged. False: that offset belongs to somebody else, or the record is
 * at another one, where it was read before it was sent again. */
bool journal_acknowledge(struct journal *journal, struct content_id first, uint64_t offset);

/* The record has been read at that offset, and so has to stay there. */
void journal_see(struct journal *journal, struct content_id id, uint64_t offset);

/* NULL: no such record was ever sent. */
struct entry *journal_find(struct journal *journal, struct content_id id);

/* Who has the offset. False: nobody who is known. */
bool journal_owner(const struct log_book *log, uint64_t offset, struct content_id *ret_id);

#endif
