/*
 * Edge case 11: kills the program under load, again and again on the same directory, and compares
 * what is left with what was acknowledged. It proves that a receipt is sent only for what a restart
 * finds again, that each append is there once and whole, and that HTTP loses nothing of that. It
 * proves nothing about syncing: a killed process leaves the page cache behind. For that see
 * tests/power.
 */
#include "tests/load/kill.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/load/pages.h"
#include "wal/base.h"

#define GONE_US (30 * SECOND_US)

static void fail(struct kill_run *run, int status)
{
    if (run->status == 0)
        run->status = status;
}

/* ---- one writer ---- */

static void make_body(struct writer *writer)
{
    const struct journal *journal = &writer->run->journal;
    bool text = writes_text(writer->number);
    struct content_id id = writer->first;
    size_t at = 0;
    for (uint32_t i = 0; i < writer->count; i++, id.sequence++) {
        at += content_make(writer->body + at, journal->seed, id, text);
        if (writer->count > 1)
            writer->body[at++] = '\n';
    }
    writer->bytes = at - (writer->count > 1 ? writer->count : 0);
}

/* As many records as stay well below the limit of a body, whatever their sizes. */
static uint32_t choose_count(struct writer *writer)
{
    if (!writer->run->batches || !writes_text(writer->number))
        return 1;
    return 1 + (uint32_t)random_below(&writer->random, BATCH_MAX);
}

/* Some writers can send again what got no receipt: they number their appends, or give them keys. */
static bool is_producer(const struct writer *writer)
{
    return writer->run->retries && writer->number % 4 == 1;
}

static bool has_keys(const struct writer *writer)
{
    return writer->run->retries && writer->number % 4 == 2;
}

static void send_append(struct writer *writer, bool again)
{
    char target[64], name[32], headers[128] = "";
    bool batch = writer->count > 1;
    if (batch)
        (void)snprintf(headers, sizeof(headers), "Content-Type: application/x-ndjson\r\n");
    else if (again && has_keys(writer) && is_planted(writer->run->program, "twice"))
        headers[0] = '\0';
    else if (is_producer(writer))
        (void)snprintf(headers, sizeof(headers),
                       "Producer-Id: w%u\r\nProducer-Epoch: 0\r\nProducer-Seq: %u\r\n",
                       writer->number, writer->numbers[writer->log]);
    else if (has_keys(writer))
        (void)snprintf(headers, sizeof(headers), "Idempotency-Key: w%u-%u\r\n", writer->number,
                       writer->first.sequence);
    log_name(writer->log, name);
    (void)snprintf(target, sizeof(target), "/logs/%s", name);
    writer->in_flight = true;
    client_post(&writer->client, target, headers, writer->body,
                writer->bytes + (batch ? writer->count : 0));
}

static void append(struct writer *writer)
{
    struct kill_run *run = writer->run;
    writer->count = choose_count(writer);
    writer->log = (uint32_t)random_below(&writer->random, JOURNAL_LOGS);
    writer->first.writer = writer->number;
    writer->first.sequence =
        journal_issue(&run->journal, writer->number, writer->log, writer->count);
    make_body(writer);
    send_append(writer, false);
}

/* What a kill has left open is sent again by those who can; the others go on behind it. */
static void begin_appending(struct writer *writer)
{
    if (writer->in_flight && (is_producer(writer) || has_keys(writer)))
        send_append(writer, true);
    else
        append(writer);
}

/* A receipt claims neither more nor less than was sent. */
static bool receipt_fits(const struct writer *writer, const struct receipt *receipt)
{
    char name[32];
    log_name(writer->log, name);
    return strcmp(receipt->log, name) == 0 && receipt->count == writer->count &&
           receipt->next_offset == receipt->offset + writer->count &&
           receipt->committed_offset >= receipt->next_offset && receipt->committed &&
           (writer->count > 1 || receipt->bytes == writer->bytes);
}

static void take_receipt(struct client *client, const struct answer *answer)
{
    struct writer *writer = client->owner;
    struct kill_run *run = writer->run;
    struct receipt receipt;
    if (answer->status != 200 || !receipt_read(answer, &receipt) ||
        !receipt_fits(writer, &receipt)) {
        complain("writer %u, record %u: answered with %u: %.*s", writer->number,
                 writer->first.sequence, answer->status, (int)min_u64(answer->body_bytes, 300),
                 answer->body);
        fail(run, EXIT_VIOLATION);
        return;
    }
    struct log_book *log = &run->journal.logs[writer->log];
    log->committed_offset = max_u64(log->committed_offset, receipt.committed_offset);
    if (!journal_acknowledge(&run->journal, writer->first, receipt.offset)) {
        complain("writer %u, record %u: offset %" PRIu64
                 " of %s is another record's, or the record "
                 "is there twice",
                 writer->number, writer->first.sequence, receipt.offset, receipt.log);
        fail(run, EXIT_VIOLATION);
        return;
    }
    writer->in_flight = false;
    writer->numbers[writer->log]++;
    if (!run->stopping)
        append(writer);
}

static void lose_connection(struct client *client, int error)
{
    struct writer *writer = client->owner;
    struct kill_run *run = writer->run;
    run->open--;
    if (run->stopping)
        return;
    complain("writer %u: the connection was lost: %s", writer->number, strerror(-error));
    fail(run, EXIT_VIOLATION);
}

/* ---- one cycle ---- */

static int begin_load(struct kill_run *run)
{
    run->stopping = false;
    run->acknowledged_before = run->journal.appends_acknowledged;
    for (unsigned i = 0; i < JOURNAL_WRITERS; i++) {
        struct writer *writer = &run->writers[i];
        int rc = client_connect(&writer->client, run->program->port, 0);
        if (rc < 0) {
            complain("connecting: %s", strerror(-rc));
            return EXIT_TROUBLE;
        }
        run->open++;
        begin_appending(writer);
    }
    return 0;
}

/* Until a random time after the first receipt. */
static void load_until_moment(struct kill_run *run)
{
    const struct options *options = run->program->options;
    uint64_t stall_us = clock_us() + options->stall_s * SECOND_US;
    while (run->status == 0 && run->journal.appends_acknowledged == run->acknowledged_before) {
        loop_turn(&run->loop, 10);
        if (clock_us() < stall_us)
            continue;
        complain("nothing was acknowledged for %u s", options->stall_s);
        fail(run, EXIT_VIOLATION);
    }
    uint64_t spread_us = (options->moment_ms_max - options->moment_ms_min) * UINT64_C(1000) + 1;
    uint64_t moment_us = clock_us() + options->moment_ms_min * UINT64_C(1000) +
                         random_below(&run->random, spread_us);
    while (run->status == 0 && clock_us() < moment_us)
        loop_turn(&run->loop, 1);
}

/* Receipts that had been sent by then count. */
static void take_last_receipts(struct kill_run *run)
{
    uint64_t until_us = clock_us() + GONE_US;
    while (run->open > 0 && run->status == 0) {
        loop_turn(&run->loop, 10);
        if (clock_us() < until_us)
            continue;
        complain("%u connections outlive their program", run->open);
        fail(run, EXIT_TROUBLE);
    }
}

/* Kills up to three processes while they start, or soon after. */
static int kill_starts(struct kill_run *run)
{
    uint64_t times = 1 + random_below(&run->random, 3);
    int status = 0;
    for (uint64_t i = 0; i < times && status == 0; i++) {
        status = program_launch(run->program);
        sleep_us(random_below(&run->random, 30000));
        if (status == 0)
            status = program_kill(run->program);
    }
    return status;
}

static int check(struct kill_run *run, bool from_begin)
{
    int violations = checker_run(&run->checker, run->program->port, from_begin);
    if (violations == 0)
        return 0;
    if (violations < 0 && !program_is_running(run->program))
        return EXIT_VIOLATION;
    if (violations > 0)
        complain("cycle %u: %d violations", run->cycle, violations);
    return violations < 0 ? EXIT_TROUBLE : EXIT_VIOLATION;
}

int kill_cycle(struct kill_run *run)
{
    run->cycle++;
    int status = begin_load(run);
    if (status != 0)
        return status;
    load_until_moment(run);
    run->stopping = true;
    if (run->status == 0)
        fail(run, program_kill(run->program));
    take_last_receipts(run);
    if (run->status == 0 && run->cycle % 10 == 7)
        fail(run, kill_starts(run));
    if (run->status == 0)
        fail(run, program_start(run->program));
    if (run->status == 0)
        fail(run, check(run, false));
    return run->status;
}

/* ---- all of it ---- */

/* Whether the program takes an append with these headers; where it does not, it says so with that
 * status. 0, or an exit status. */
static int settle(struct kill_run *run, enum usage wanted, const char *headers,
                  unsigned status_without, bool *ret_taken)
{
    static const char lines[] = "one\ntwo\n";
    struct client client;
    struct answer answer;
    if (wanted == USE_OFF)
        return 0;
    client_init(&client, NULL, NULL, NULL, NULL);
    int rc = client_connect(&client, run->program->port, 0);
    if (rc == 0) {
        client_post(&client, "/logs/probe", headers, lines, sizeof(lines) - 1);
        rc = client_ask(&client, &answer);
    }
    unsigned status = rc == 0 ? answer.status : 0;
    client_done(&client);
    *ret_taken = status == 200;
    if (status == 200 || (status == status_without && wanted == USE_AUTO))
        return 0;
    complain("an append was answered with %u; its headers were %s", status, headers);
    return EXIT_VIOLATION;
}

static int settle_all(struct kill_run *run)
{
    const struct options *options = run->program->options;
    int status =
        settle(run, options->batches, "Content-Type: application/x-ndjson\r\n", 415, &run->batches);
    if (status != 0)
        return status;
    return settle(run, options->retries, "Idempotency-Key: probe\r\n", 400, &run->retries);
}

int kill_open(struct kill_run *run, struct program *program)
{
    memset(run, 0, sizeof(*run));
    run->program = program;
    run->random = splitmix64_of(program->options->seed);
    journal_init(&run->journal, program->options->seed);
    checker_init(&run->checker, &run->journal);
    must(loop_open(&run->loop) == 0);
    for (unsigned i = 0; i < JOURNAL_WRITERS; i++) {
        struct writer *writer = &run->writers[i];
        writer->run = run;
        writer->number = i;
        writer->random = splitmix64_of(run->random + i);
        writer->body = malloc((size_t)BATCH_MAX * (CONTENT_BYTES_MAX + 1));
        must(writer->body);
        client_init(&writer->client, &run->loop, take_receipt, lose_connection, writer);
    }
    int status = program_start(program);
    return status == 0 ? settle_all(run) : status;
}

void kill_close(struct kill_run *run)
{
    for (unsigned i = 0; i < JOURNAL_WRITERS; i++) {
        client_done(&run->writers[i].client);
        free(run->writers[i].body);
    }
    loop_close(&run->loop);
    checker_done(&run->checker);
    journal_done(&run->journal);
}

int run_kill(struct program *program)
{
    struct kill_run run;
    int status = kill_open(&run, program);
    uint64_t begun_us = clock_us();
    while (status == 0 && run.cycle < program->options->cycles) {
        status = kill_cycle(&run);
        if (run.cycle % 20 == 0)
            printf("load kill: %u cycles, %" PRIu64 " appends acknowledged\n", run.cycle,
                   run.journal.appends_acknowledged);
        (void)fflush(stdout);
    }
    if (status == 0)
        status = check(&run, true);
    if (status == 0)
        status = program_stop(program);
    if (status != EXIT_SKIPPED)
        printf("load kill: %u cycles, %" PRIu64 " appends of %" PRIu64
               " records acknowledged (%s, %s), %" PRIu64 " records compared, %.1f s\n",
               run.cycle, run.journal.appends_acknowledged, run.journal.records_acknowledged,
               run.batches ? "with batches" : "no batches",
               run.retries ? "with retries" : "no retries", run.checker.records_read,
               (double)(clock_us() - begun_us) / 1e6);
    kill_close(&run);
    return status;
}
