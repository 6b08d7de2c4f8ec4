/*
 * power_writer verify: opens the store as a restarted service would, reads every log from end to
 * end and holds it against the journal. What was read counts as promised from then on: it is told
 * to the journal, so that the next verification wants to find it again. At last each log takes one
 * more append, which must get the offset right behind what was there.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "wal/base.h"

#include "tests/power/writer.h"

#define VIOLATIONS_SHOWN 12
#define WAIT_US (30ull * 1000 * 1000)

struct verifier {
    const struct options *options;
    struct journal journal;
    struct store *store;
    uint64_t verified;
    struct power_append want; /* made from the id of the record that is being compared */
    bool want_valid;
};

/* Reading one log. */
struct reading {
    struct verifier *verifier;
    struct log_model *model;
    struct wal *wal;
    uint32_t log;
    struct wal_positions at;
    uint64_t next;         /* offset */
    uint64_t timestamp_ns; /* of the record before */
    struct power_id last;  /* the record before */
    bool any;              /* there is one */
    uint32_t *streams;     /* one past the last append seen of each run and writer; 0: none */
    struct progress updates[WRITERS];
};

static const struct options *asked; /* for messages */
static unsigned violations;

__attribute__((format(printf, 3, 4))) static void violation(uint32_t log, uint64_t offset,
                                                            const char *format, ...)
{
    char name[32];
    va_list values;
    if (violations++ >= VIOLATIONS_SHOWN)
        return;
    log_name(log, name);
    (void)fprintf(stderr,
                  "power: seed %llu run %u: %s offset %llu: ", (unsigned long long)asked->seed,
                  asked->run, name, (unsigned long long)offset);
    va_start(values, format);
    (void)vfprintf(stderr, format, values);
    va_end(values);
    (void)fputc('\n', stderr);
}

static void tell(enum line_kind kind, uint32_t log, uint64_t offset)
{
    journal_emit((struct line){.kind = (uint16_t)kind,
                               .writer = WRITER_VERIFIER,
                               .run = asked->run,
                               .log = log,
                               .offset = offset});
}

static void tell_seen(uint32_t log, uint64_t offset, struct power_id id)
{
    journal_emit((struct line){.kind = LINE_SEEN,
                               .writer = id.writer,
                               .run = id.run,
                               .log = log,
                               .append = id.append,
                               .offset = offset});
}

/* Where two byte strings differ first; `size` if nowhere. */
static size_t first_difference(const unsigned char *a, const unsigned char *b, size_t size)
{
    size_t at = 0;
    while (at < size && a[at] == b[at])
        at++;
    return at;
}

static void compare_contents(struct reading *reading, const struct wal_entry *entry,
                             struct power_id id)
{
    struct verifier *verifier = reading->verifier;
    struct power_id first = id;
    first.index = 0;
    if (!verifier->want_valid || !power_id_equal(verifier->want.id, first)) {
        power_append_make(&verifier->want, asked->seed, first);
        verifier->want_valid = true;
    }
    if (id.index >= verifier->want.count) {
        violation(reading->log, entry->offset, "has index %u in a batch of %u", id.index,
                  verifier->want.count);
        return;
    }

    const struct wal_record *want = &verifier->want.records[id.index];
    if (entry->size != want->size) {
        violation(reading->log, entry->offset, "has %zu bytes, %zu were appended", entry->size,
                  want->size);
        return;
    }
    size_t at = first_difference(entry->data, want->data, want->size);
    if (at < want->size)
        violation(reading->log, entry->offset, "differs in byte %zu of %zu", at, want->size);
    if (entry->attribute_bytes != want->attribute_bytes ||
        (want->attribute_bytes > 0 &&
         memcmp(entry->attributes, want->attributes, want->attribute_bytes) != 0))
        violation(reading->log, entry->offset,
                  "has %u bytes of attributes that are not the %u "
                  "appended",
                  entry->attribute_bytes, want->attribute_bytes);
}

/* Batches are there whole, and each writer's appends in their order, each once, none left out. */
static void compare_order(struct reading *reading, uint64_t offset, struct power_id id)
{
    uint64_t seed = asked->seed;
    bool begins = id.index == 0;
    bool follows = reading->any && id.index == reading->last.index + 1;
    if (!begins && follows) {
        struct power_id before = id;
        before.index--;
        follows = power_id_equal(before, reading->last);
    }
    /* A trim may begin in the middle of a batch, a crash may not end there. */
    if (!begins && !follows && offset != reading->at.first_offset)
        violation(reading->log, offset, "is record %u of a batch whose records before are not here",
                  id.index);
    if (begins && reading->any &&
        reading->last.index + 1u != power_append_count(seed, reading->last))
        violation(reading->log, offset, "begins a batch behind one that is not whole");
    if (follows)
        return;

    uint32_t *stream =
        &reading->streams[(size_t)(id.run - reading->model->run_min) * WRITERS + id.writer];
    if (*stream == 0 ? reading->at.first_offset == 0 && id.append != 0 : id.append != *stream)
        violation(reading->log, offset,
                  "is append %u of writer %u in run %u, where append %u was expected", id.append,
                  id.writer, id.run, *stream);
    *stream = id.append + 1;
}

static void compare_record(struct reading *reading, const struct wal_entry *entry)
{
    uint64_t offset = entry->offset;
    struct power_id id, acked;
    bool known = journal_acked_at(reading->model, offset, &acked);
    bool ours =
        power_id_read(entry->data, entry->size, entry->attributes, entry->attribute_bytes, &id);
    if (!ours || id.log != reading->log ||
        id.append >= journal_issued(reading->model, id.run, id.writer)) {
        violation(reading->log, offset, "holds %zu bytes that were never appended here%s",
                  entry->size, known ? ", in place of an acknowledged record" : "");
        reading->any = false;
        return;
    }
    if (known && !power_id_equal(id, acked))
        violation(reading->log, offset,
                  "holds record %u of append %u of writer %u in run %u; acknowledged was %u of %u "
                  "of %u in %u",
                  id.index, id.append, id.writer, id.run, acked.index, acked.append, acked.writer,
                  acked.run);
    reading->verifier->verified += known;

    compare_order(reading, offset, id);
    compare_contents(reading, entry, id);
    if (entry->timestamp_ns < reading->timestamp_ns)
        violation(reading->log, offset, "is older than the record before it");
    reading->timestamp_ns = entry->timestamp_ns;
    reading->last = id;
    reading->any = true;

    if (id.index + 1u == power_append_count(asked->seed, id)) {
        if (!known)
            tell_seen(reading->log, offset - id.index, id);
        if (power_append_changes_state(asked->seed, id))
            reading->updates[id.writer] = (struct progress){true, id.run, id.append};
    }
}

static void read_records(struct reading *reading)
{
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    struct wal_entry entry;
    int rc = wal_cursor_open(&cursor, reading->wal, reading->at.first_offset);
    if (rc < 0) {
        violation(reading->log, reading->at.first_offset, "no cursor: %s", strerror(-rc));
        return;
    }

    reading->next = reading->at.first_offset;
    while ((rc = wal_cursor_next(cursor, &entry)) == 0 || rc == -EBADMSG) {
        if (entry.offset != reading->next)
            violation(reading->log, reading->next, "is not there: the next one read is %llu",
                      (unsigned long long)entry.offset);
        if (rc < 0) {
            violation(reading->log, entry.offset, "is damaged, up to %llu",
                      (unsigned long long)entry.gap_end);
            if (entry.gap_end <= entry.offset)
                return;
            reading->next = entry.gap_end;
            reading->any = false;
            continue;
        }
        compare_record(reading, &entry);
        reading->next = entry.offset + 1;
    }
    if (rc != -ENODATA)
        violation(reading->log, reading->next, "cannot be read: %s", strerror(-rc));
    if (reading->next != reading->at.committed_offset)
        violation(reading->log, reading->next, "is the end of what is read; committed are %llu",
                  (unsigned long long)reading->at.committed_offset);
    if (reading->any && reading->last.index + 1u != power_append_count(asked->seed, reading->last))
        violation(reading->log, reading->next, "is in the middle of a batch, and the log ends");

    wal_cursor_seek(cursor, reading->at.first_offset - 1);
    if (reading->at.first_offset > 0 && wal_cursor_next(cursor, &entry) != -ERANGE)
        violation(reading->log, reading->at.first_offset - 1, "is trimmed, and yet not refused");
}

static void check_positions(struct reading *reading)
{
    struct wal_stats stats;
    const struct log_model *model = reading->model;
    wal_positions(reading->wal, &reading->at);
    wal_stats(reading->wal, &stats);
    const struct wal_positions *at = &reading->at;

    int status = wal_status(reading->wal);
    if (status < 0)
        violation(reading->log, at->committed_offset, "the log takes no appends: %s",
                  strerror(-status));
    if (stats.recovery.damaged_offset != UINT64_MAX)
        violation(reading->log, stats.recovery.damaged_offset, "is damaged, says recovery");
    if (at->committed_offset < model->acked_end)
        violation(reading->log, at->committed_offset,
                  "is where the log ends; %llu were acknowledged",
                  (unsigned long long)model->acked_end);
    if (at->next_offset != at->committed_offset || at->first_offset > at->committed_offset)
        violation(reading->log, at->committed_offset, "first %llu, next %llu do not fit",
                  (unsigned long long)at->first_offset, (unsigned long long)at->next_offset);
    if (at->first_offset < model->trim_acked || at->first_offset > model->trim_issued)
        violation(reading->log, at->first_offset,
                  "is the first offset; trims to %llu were acknowledged, to %llu asked for",
                  (unsigned long long)model->trim_acked, (unsigned long long)model->trim_issued);
    if (stats.total_operations != at->committed_offset)
        violation(reading->log, at->committed_offset, "total_operations is %llu",
                  (unsigned long long)stats.total_operations);
    /* One whose last frame ends where its space does has no room for the mark, and is read as after a
     * crash. Two of them at a time would be a wonder. */
    static unsigned unclean;
    if (asked->expect_clean && reading->log < BASE_LOGS && !stats.recovery.clean && ++unclean > 1)
        violation(reading->log, at->committed_offset, "the log was not closed in good order");
}

/* The newest change in a state key. False: no such key, or one that is not ours. */
static struct progress read_state(struct reading *reading, const char *key, uint16_t key_bytes)
{
    unsigned char value[POWER_STATE_BYTES_MAX];
    struct progress found = {.any = false};
    size_t size = 0;
    int rc = wal_state_get(reading->wal, key, key_bytes, value, sizeof(value), &size, NULL);
    if (rc == -ENOENT)
        return found;

    found.any = rc == 0 && size <= sizeof(value) &&
                power_state_read(value, size, &found.run, &found.number);
    if (!found.any)
        violation(reading->log, reading->at.committed_offset,
                  "state key %.*s holds %zu bytes that nobody put there (%d)", key_bytes, key, size,
                  rc);
    return found;
}

static void check_progress(struct reading *reading, const char *what, struct progress found,
                           struct progress acked, struct progress issued)
{
    if (progress_less(found, acked) || progress_less(issued, found))
        violation(reading->log, reading->at.committed_offset,
                  "%s is %s%u of run %u; acknowledged %s%u of run %u, issued %s%u of run %u", what,
                  found.any ? "" : "none/", found.number, found.run, acked.any ? "" : "none/",
                  acked.number, acked.run, issued.any ? "" : "none/", issued.number, issued.run);
}

static void check_state(struct reading *reading)
{
    const struct log_model *model = reading->model;
    for (unsigned writer = 0; writer < WRITERS; writer++) {
        char key[2];
        power_state_key(writer, key);
        struct progress found = read_state(reading, key, sizeof(key));
        struct progress last = reading->updates[writer];
        check_progress(reading, "state beside records", found, model->update_acked[writer],
                       model->update_issued[writer]);
        if (last.any && (progress_less(found, last) || progress_less(last, found)))
            violation(reading->log, reading->at.committed_offset,
                      "state of writer %u is of append %u in run %u, the records' of %u in %u",
                      writer, found.number, found.run, last.number, last.run);
    }

    struct progress found = read_state(reading, "s", 1);
    struct progress twin = read_state(reading, "t", 1);
    check_progress(reading, "state", found, model->state_acked[WRITER_WAIT],
                   model->state_issued[WRITER_WAIT]);
    bool wants_twin = found.any && found.number % 2 == 1;
    if (twin.any != wants_twin ||
        (twin.any && (twin.number != found.number || twin.run != found.run)))
        violation(reading->log, reading->at.committed_offset,
                  "two state keys changed together are of changes %u and %u", found.number,
                  twin.number);
    if (found.any)
        journal_emit((struct line){.kind = LINE_STATE_ACK,
                                   .writer = WRITER_WAIT,
                                   .run = found.run,
                                   .log = reading->log,
                                   .append = found.number});
}

/* Life goes on: one append, at the offset right behind what was found, and readable. */
static void append_one(struct reading *reading)
{
    struct verifier *verifier = reading->verifier;
    struct power_id id = {.run = asked->run, .log = reading->log, .writer = WRITER_VERIFIER};
    uint64_t end = reading->at.committed_offset;
    struct wal_token token;
    power_append_make(&verifier->want, asked->seed, id);
    verifier->want_valid = true;

    tell(LINE_ISSUE, reading->log, 0);
    int rc = wal_append(reading->wal, verifier->want.records, verifier->want.count,
                        &verifier->want.options, NULL, &token);
    if (rc == 0)
        rc = wal_wait(reading->wal, token, WAIT_US);
    if (rc < 0) {
        violation(reading->log, end, "takes no append: %s", strerror(-rc));
        return;
    }

    tell(LINE_ACK, reading->log, token.begin);
    if (token.begin != end || token.end != end + verifier->want.count)
        violation(reading->log, end, "is the end, but an append went to [%llu, %llu)",
                  (unsigned long long)token.begin, (unsigned long long)token.end);

    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    struct wal_entry entry;
    rc = wal_cursor_open(&cursor, reading->wal, token.begin);
    for (unsigned i = 0; rc == 0 && i < verifier->want.count; i++) {
        id.index = (uint16_t)i;
        rc = wal_cursor_next(cursor, &entry);
        if (rc == 0)
            compare_contents(reading, &entry, id);
    }
    if (rc < 0)
        violation(reading->log, token.begin, "was just appended, and cannot be read: %s",
                  strerror(-rc));
}

static void check_log(struct verifier *verifier, uint32_t log)
{
    struct log_model *model = &verifier->journal.logs[log];
    struct reading reading = {.verifier = verifier, .model = model, .log = log};
    char name[32];
    log_name(log, name);
    if (!model->may_exist && model->run_end == 0)
        return; /* only a gap in the numbers */

    int rc = store_get(verifier->store, name, false, &reading.wal);
    if (rc < 0) {
        if (rc != -ENOENT || model->must_exist)
            violation(log, 0, "the log cannot be opened, of %llu records acknowledged: %s",
                      (unsigned long long)model->acked_end, strerror(-rc));
        else
            tell(LINE_DELETE_ACK, log, 0); /* its deletion, if that was asked for, is settled */
        return;
    }

    if (!model->may_exist)
        violation(log, 0, "the log was deleted, and is back");
    size_t streams = (size_t)(model->run_end - model->run_min) * WRITERS;
    reading.streams = calloc(streams ? streams : 1, sizeof(*reading.streams));
    must(reading.streams != NULL);
    check_positions(&reading);
    tell(LINE_CREATE_ACK, log, 0);
    if (violations == 0) /* or the next verification would complain of the same once more */
        tell(LINE_OPENED, log, reading.at.committed_offset);
    if (reading.at.first_offset > 0)
        tell(LINE_TRIM_ACK, log, reading.at.first_offset);
    read_records(&reading);
    check_state(&reading);
    append_one(&reading);
    free(reading.streams);
    store_put(verifier->store, reading.wal);
}

static int check_name(void *context, const char *name)
{
    const struct journal *journal = context;
    uint32_t number = log_number(name);
    if (number >= journal->log_count || !journal->logs[number].may_exist)
        violation(number, 0, "there is a log %s, which nobody made or which was deleted", name);
    return 0;
}

/* No place of any log is damaged, whatever else was read of it: headers, state, and what is trimmed. */
static void check_damage(struct store *store)
{
    struct store_damage damage;
    int rc = store_scrub(store);
    if (rc < 0)
        violation(0, 0, "store_scrub: %s", strerror(-rc));
    while (store_take_damage(store, &damage))
        violation(log_number(damage.log), damage.offset, "segment %llu at %llu: %s",
                  (unsigned long long)damage.segment_no, (unsigned long long)damage.position,
                  damage.what);
}

static uint64_t now_us(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

int verify(const struct options *options)
{
    static struct verifier verifier;
    struct store_config config;
    char reason[256] = "";
    asked = options;
    verifier.options = options;

    int rc = journal_load(&verifier.journal, options->journal, options->seed, violation);
    if (rc < 0) {
        (void)fprintf(stderr, "power_writer: %s: %s\n", options->journal, strerror(-rc));
        return EXIT_USAGE;
    }

    uint64_t began_us = now_us();
    power_store_config(&config, options);
    rc = store_open(&verifier.store, options->dir, &config, reason);
    if (rc < 0) {
        (void)fprintf(stderr, "power: seed %llu run %u: the store cannot be opened: %s: %s\n",
                      (unsigned long long)options->seed, options->run, strerror(-rc), reason);
        return EXIT_STORE;
    }

    tell(LINE_READY, 0, now_us() - began_us);
    rc = store_list(verifier.store, "", "", check_name, &verifier.journal);
    if (rc < 0)
        violation(0, 0, "the logs cannot be listed: %s", strerror(-rc));
    for (uint32_t log = 0; log < verifier.journal.log_count; log++)
        check_log(&verifier, log);
    check_damage(verifier.store);
    tell(LINE_VERIFIED, 0, verifier.verified);
    if (options->leave_open)
        _exit(violations ? EXIT_VIOLATION : 0);

    rc = store_close(verifier.store, WAIT_US);
    if (rc < 0)
        violation(0, 0, "store_close: %s", strerror(-rc));
    journal_done(&verifier.journal);
    if (violations > VIOLATIONS_SHOWN)
        (void)fprintf(stderr, "power: … %u violations in all\n", violations);
    return violations ? EXIT_VIOLATION : 0;
}
