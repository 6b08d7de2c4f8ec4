#include "tests/load/journal.h"

#include <stdlib.h>
#include <string.h>

#include "wal/base.h"

void journal_init(struct journal *journal, uint64_t seed)
{
    *journal = (struct journal){.seed = seed};
}

void journal_done(struct journal *journal)
{
    for (unsigned i = 0; i < JOURNAL_WRITERS; i++)
        free(journal->writers[i].entries);
    for (unsigned i = 0; i < JOURNAL_LOGS; i++)
        free(journal->logs[i].who);
}

uint32_t journal_issue(struct journal *journal, uint32_t writer, uint32_t log, uint32_t count)
{
    struct writer_book *book = &journal->writers[writer];
    uint32_t first = (uint32_t)book->count;
    while (book->capacity < book->count + count) {
        book->capacity = max_u64(1024, 2 * book->capacity);
        book->entries = realloc(book->entries, book->capacity * sizeof(*book->entries));
        must(book->entries);
    }
    for (uint32_t i = 0; i < count; i++)
        book->entries[book->count++] =
            (struct entry){.offset = OFFSET_NONE, .first = first, .count = count, .log = log};
    return first;
}

struct entry *journal_find(struct journal *journal, struct content_id id)
{
    if (id.writer >= JOURNAL_WRITERS || id.sequence >= journal->writers[id.writer].count)
        return NULL;
    return &journal->writers[id.writer].entries[id.sequence];
}

bool journal_owner(const struct log_book *log, uint64_t offset, struct content_id *ret_id)
{
    if (offset >= log->capacity || log->who[offset].sequence == UINT32_MAX)
        return false;
    *ret_id = log->who[offset];
    return true;
}

static void own(struct log_book *log, uint64_t offset, struct content_id id)
{
    if (offset >= log->capacity) {
        size_t capacity = max_u64(max_u64(1024, 2 * log->capacity), offset + 1);
        log->who = realloc(log->who, capacity * sizeof(*log->who));
        must(log->who);
        memset(log->who + log->capacity, 0xff, (capacity - log->capacity) * sizeof(*log->who));
        log->capacity = capacity;
    }
    log->who[offset] = id;
    log->end = max_u64(log->end, offset + 1);
}

void journal_see(struct journal *journal, struct content_id id, uint64_t offset)
{
    struct entry *entry = journal_find(journal, id);
    entry->offset = offset;
    own(&journal->logs[entry->log], offset, id);
}

bool journal_acknowledge(struct journal *journal, struct content_id first, uint64_t offset)
{
    uint32_t count = journal_find(journal, first)->count;
    struct log_book *log = &journal->logs[journal_find(journal, first)->log];
    struct content_id other, id = first;
    for (uint32_t i = 0; i < count; i++, id.sequence++) {
        struct entry *entry = journal_find(journal, id);
        if (entry->offset != OFFSET_NONE && entry->offset != offset + i)
            return false;
        if (journal_owner(log, offset + i, &other) &&
            (other.writer != id.writer || other.sequence != id.sequence))
            return false;
        journal_see(journal, id, offset + i);
        entry->acknowledged = true;
    }
    journal->appends_acknowledged++;
    journal->records_acknowledged += count;
    return true;
}
