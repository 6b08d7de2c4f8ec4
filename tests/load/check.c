#include "tests/load/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/load/load.h"
#include "tests/load/pages.h"
#include "wal/base.h"

#define VIOLATIONS_SHOWN 10
#define PAGE_RECORDS 1000

/* Reading one log. */
struct walk {
    struct checker *checker;
    struct log_book *book;
    unsigned log;
    char name[32];
    uint64_t next;
    uint64_t committed_offset;
    uint32_t next_sequence[JOURNAL_WRITERS];
    struct content_id last; /* the record before */
    uint32_t missing;       /* of its batch; 0: it was the last of it */
    bool known;             /* there is a record before */
};

void checker_init(struct checker *checker, struct journal *journal)
{
    *checker = (struct checker){.journal = journal, .learns = true};
    client_init(&checker->client, NULL, NULL, NULL, NULL);
    checker->wanted = malloc(CONTENT_BYTES_MAX);
    must(checker->wanted);
}

void checker_done(struct checker *checker)
{
    client_done(&checker->client);
    free(checker->wanted);
}

void log_name(unsigned log, char ret_name[32])
{
    (void)snprintf(ret_name, 32, "kill-%u", log);
}

bool writes_text(uint32_t writer)
{
    return writer % 4 == 3;
}

__attribute__((format(printf, 3, 4))) static void violation(struct walk *walk, uint64_t offset,
                                                            const char *format, ...)
{
    struct checker *checker = walk->checker;
    char what[200];
    va_list values;
    va_start(values, format);
    (void)vsnprintf(what, sizeof(what), format, values);
    va_end(values);
    if (checker->violations == 0)
        (void)snprintf(checker->first_violation, sizeof(checker->first_violation), "%s", what);
    if (checker->violations++ < VIOLATIONS_SHOWN && checker->plant == PLANT_NONE)
        complain("%s, offset %" PRIu64 ": %s", walk->name, offset, what);
}

/* ---- one record ---- */

static void check_bytes(struct walk *walk, uint64_t offset, const char *data, size_t size,
                        struct content_id id)
{
    struct checker *checker = walk->checker;
    size_t wanted =
        content_make(checker->wanted, checker->journal->seed, id, writes_text(id.writer));
    if (size != wanted || memcmp(data, checker->wanted, size) != 0)
        violation(walk, offset, "holds bytes that differ from those appended");
}

/* Batches are there whole, and each writer's records in his order. */
static void check_order(struct walk *walk, uint64_t offset, struct content_id id,
                        const struct entry *entry)
{
    bool follows =
        walk->known && id.writer == walk->last.writer && id.sequence == walk->last.sequence + 1;
    if (id.sequence < walk->next_sequence[id.writer])
        violation(walk, offset, "is out of its writer's order");
    if (walk->missing > 0 && (!follows || id.sequence == entry->first))
        violation(walk, offset, "stands behind a batch that is not whole");
    if (id.sequence != entry->first && !follows)
        violation(walk, offset, "is of a batch that is not whole");
    walk->next_sequence[id.writer] = id.sequence + 1;
    walk->missing = entry->first + entry->count - id.sequence - 1;
    walk->last = id;
    walk->known = true;
}

static void check_record(struct walk *walk, uint64_t offset, const char *data, size_t size)
{
    struct checker *checker = walk->checker;
    struct content_id id = {UINT32_MAX, 0}, owner;
    const char *wrong = content_read(data, size, &id);
    struct entry *entry = journal_find(checker->journal, id);
    bool owned = journal_owner(walk->book, offset, &owner);
    checker->records_read++;
    if (!entry || entry->log != walk->log) {
        violation(walk, offset, "holds %zu bytes that were never appended here%s", size,
                  owned ? ", in place of a promised record" : "");
        walk->known = false;
        walk->missing = 0;
        return;
    }
    if (wrong)
        violation(walk, offset, "is %s", wrong);
    else
        check_bytes(walk, offset, data, size, id);
    if (entry->offset != OFFSET_NONE && entry->offset != offset)
        violation(walk, offset, "holds a record that belongs to offset %" PRIu64, entry->offset);
    if (owned && (owner.writer != id.writer || owner.sequence != id.sequence))
        violation(walk, offset,
                  "is record %" PRIu32 " of writer %" PRIu32 ", promised was %" PRIu32
                  " of %" PRIu32,
                  id.sequence, id.writer, owner.sequence, owner.writer);
    check_order(walk, offset, id, entry);
    if (checker->learns && !owned && entry->offset == OFFSET_NONE)
        journal_see(checker->journal, id, offset);
}

/* ---- faults that are pretended ---- */

static bool is_at_plant(const struct walk *walk, enum plant plant, uint64_t offset)
{
    const struct checker *checker = walk->checker;
    return checker->plant == plant && walk->log == checker->plant_log &&
           offset == checker->plant_offset;
}

/* Calls check_record() with the record that stands at `other`. */
static void check_other(struct walk *walk, uint64_t offset, uint64_t other)
{
    struct content_id id;
    char *data = malloc(CONTENT_BYTES_MAX);
    must(data && journal_owner(walk->book, other, &id));
    size_t size = content_make(data, walk->checker->journal->seed, id, writes_text(id.writer));
    check_record(walk, offset, data, size);
    free(data);
}

/* True: the record has been dealt with. */
static bool pretend(struct walk *walk, uint64_t offset, char *data, size_t *size)
{
    const struct checker *checker = walk->checker;
    bool later = walk->log == checker->plant_log && offset == checker->plant_later;
    if (is_at_plant(walk, PLANT_ALTER, offset))
        data[*size - 1] ^= 1;
    if (is_at_plant(walk, PLANT_CUT, offset))
        *size -= 1;
    if (is_at_plant(walk, PLANT_STRANGER, offset))
        memset(data, 'x', *size);
    if (later && (checker->plant == PLANT_DOUBLE || checker->plant == PLANT_SWAP)) {
        check_other(walk, offset, checker->plant_offset);
        return true;
    }
    if (is_at_plant(walk, PLANT_SWAP, offset)) {
        check_other(walk, offset, checker->plant_later);
        return true;
    }
    /* The journal tells of it as well: its owners have changed places. */
    if (checker->plant == PLANT_REORDER && (later || is_at_plant(walk, PLANT_REORDER, offset))) {
        check_other(walk, offset, offset);
        return true;
    }
    return false;
}

/* ---- one log ---- */

static bool visit(void *context, uint64_t offset, char *data, size_t size)
{
    struct walk *walk = context;
    if (is_at_plant(walk, PLANT_DROP, offset))
        return true;
    if (offset != walk->next)
        violation(walk, walk->next, "is not there: behind it comes %" PRIu64, offset);
    if (!pretend(walk, offset, data, &size))
        check_record(walk, offset, data, size);
    walk->next = max_u64(walk->next, offset) + 1;
    return true;
}

static int ask(struct walk *walk, const char *rest, unsigned wanted, struct answer *ret_answer)
{
    char target[128];
    (void)snprintf(target, sizeof(target), "/logs/%s%s", walk->name, rest);
    client_get(&walk->checker->client, target);
    int rc = client_ask(&walk->checker->client, ret_answer);
    if (rc < 0)
        complain("GET %s: %s", target, strerror(-rc));
    else if (ret_answer->status != wanted && wanted != 0)
        violation(walk, walk->next, "GET %s was answered with %u: %.*s", target, ret_answer->status,
                  (int)min_u64(ret_answer->body_bytes, 60), ret_answer->body);
    return rc;
}

/* Returns 1 if there is a log to read, 0 if there is none, as there may be. */
static int check_positions(struct walk *walk)
{
    struct positions at;
    struct answer answer;
    int rc = ask(walk, "/offsets", 0, &answer);
    if (rc < 0)
        return rc;
    if (answer.status == 404 && walk->book->end == 0)
        return 0;
    if (answer.status != 200 || !positions_read(&answer, &at)) {
        violation(walk, 0, "its offsets cannot be had: %u", answer.status);
        return 0;
    }
    walk->committed_offset = at.committed_offset;
    if (at.first_offset != 0 || at.next_offset != at.committed_offset)
        violation(walk, at.next_offset, "is next; first is %" PRIu64 ", committed %" PRIu64,
                  at.first_offset, at.committed_offset);
    if (at.committed_offset < walk->book->end)
        violation(walk, at.committed_offset, "is the end; records were promised up to %" PRIu64,
                  walk->book->end);
    if (at.committed_offset < walk->book->committed_offset)
        violation(walk, at.committed_offset, "is committed, which had been %" PRIu64,
                  walk->book->committed_offset);
    if (walk->checker->learns)
        walk->book->committed_offset = max_u64(at.committed_offset, walk->book->committed_offset);
    return 1;
}

static int check_pages(struct walk *walk)
{
    while (walk->next < walk->committed_offset) {
        char rest[64];
        struct answer answer;
        uint64_t from = walk->next;
        (void)snprintf(rest, sizeof(rest), "/records?offset=%" PRIu64 "&limit=%d", from,
                       PAGE_RECORDS);
        int rc = ask(walk, rest, 200, &answer);
        if (rc < 0)
            return rc;
        const char *wrong = page_read(&answer, visit, walk);
        if (wrong)
            violation(walk, from, "begins a page of which %s", wrong);
        if (answer.status != 200 || walk->next == from) {
            violation(walk, from, "begins an empty page");
            return 0;
        }
        if (walk->next != answer_number(&answer, "Log-Next-Offset"))
            violation(walk, walk->next, "is not the Log-Next-Offset of its page");
    }
    if (walk->missing > 0)
        violation(walk, walk->next, "is in the middle of a batch that is not whole");
    return 0;
}

static int check_singles(struct walk *walk, uint64_t from)
{
    for (uint64_t offset = from; offset < walk->next; offset++) {
        char rest[64];
        struct answer answer;
        struct content_id id;
        (void)snprintf(rest, sizeof(rest), "/records/%" PRIu64, offset);
        int rc = ask(walk, rest, 200, &answer);
        if (rc < 0)
            return rc;
        if (is_at_plant(walk, PLANT_SINGLE, offset))
            answer.body[answer.body_bytes / 2] ^= 1;
        if (journal_owner(walk->book, offset, &id))
            check_bytes(walk, offset, answer.body, answer.body_bytes, id);
    }
    return 0;
}

static int check_log(struct checker *checker, unsigned log, bool from_begin)
{
    struct log_book *book = &checker->journal->logs[log];
    struct walk walk = {.checker = checker, .book = book, .log = log};
    log_name(log, walk.name);
    if (!from_begin) {
        walk.next = book->checked;
        memcpy(walk.next_sequence, book->next_sequence, sizeof(walk.next_sequence));
    }
    uint64_t from = walk.next;
    int rc = check_positions(&walk);
    if (rc <= 0)
        return rc;
    rc = check_pages(&walk);
    if (rc == 0)
        rc = check_singles(&walk, from);
    if (checker->learns) {
        book->checked = walk.next;
        memcpy(book->next_sequence, walk.next_sequence, sizeof(walk.next_sequence));
    }
    return rc;
}

int checker_run(struct checker *checker, unsigned port, bool from_begin)
{
    checker->violations = 0;
    checker->first_violation[0] = '\0';
    int rc = client_connect(&checker->client, port, 0);
    if (rc < 0)
        complain("connecting: %s", strerror(-rc));
    for (unsigned log = 0; rc == 0 && log < JOURNAL_LOGS; log++)
        rc = check_log(checker, log, from_begin);
    client_close(&checker->client, false);
    return rc < 0 ? rc : (int)checker->violations;
}
