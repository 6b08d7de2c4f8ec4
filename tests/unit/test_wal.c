/*
 * wal/wal.h, one log: appends and their limits, tokens, handlers and barriers, each on all backends.
 * State is in test_wal_state.c, grouping in test_wal_groups.c, reading in test_wal_read.c, and what
 * a failing disk does in test_faults.c.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wal/base.h"

/* Appends wait this long for company, which in these tests is for good. */
#define FOREVER_US UINT64_C(10000000)

static int append_bytes(struct wal *wal, const void *data, size_t size)
{
    struct wal_record record = {.data = data, .size = size};
    return wal_append(wal, &record, 1, NULL, NULL, NULL);
}

static int append_batch(struct wal *wal, const void *data, size_t size, size_t count)
{
    struct wal_record *records = calloc(count, sizeof(*records));
    assert_non_null(records);
    for (size_t i = 0; i < count; i++)
        records[i] = (struct wal_record){.data = data, .size = size};
    int rc = wal_append(wal, records, count, NULL, NULL, NULL);
    free(records);
    return rc;
}

static uint64_t cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ---- Appending ------------------------------------------------------------------------------- */

/* What the log is for. */
static void a_record_is_read_back_as_it_was_appended(void **state)
{
    struct fixture *f = fixture_start(state);
    struct wal_token token = append_number(f->wal, 0, 100);
    assert_int_equal(token.begin, 0);
    assert_int_equal(token.end, 1);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_int_equal(positions_of(f->wal).committed_offset, 1);
    expect_numbers(f, f->wal, 0, 1, 100);
}

/* Offsets are the log's public numbers: dense, in order of the calls, whatever the batches. */
static void batches_take_offsets_one_after_the_other(void **state)
{
    struct fixture *f = fixture_start(state);
    uint64_t next = 0;
    for (size_t count = 1; count <= 64; count *= 4) {
        struct wal_token token = append_numbers(f->wal, next, count, 500);
        assert_int_equal(token.begin, next);
        assert_int_equal(token.end, next + count);
        next = token.end;
    }
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_numbers(f, f->wal, 0, next, 0);
}

/* The caller's buffer is free again when the call returns, long before the write. Edge case 23: a
 * client that goes away takes nothing with it. */
static void the_callers_memory_is_copied(void **state)
{
    struct fixture *f = fixture_start(state);
    uint8_t data[3000];
    for (uint64_t i = 0; i < 20; i++) {
        record_fill(data, sizeof(data), i);
        assert_int_equal(append_bytes(f->wal, data, sizeof(data)), 0);
        memset(data, 0xee, sizeof(data));
    }
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_numbers(f, f->wal, 0, 20, sizeof(data));
}

/* Headers and deduplication keys live beside the record and have to come back with it. */
static void attributes_come_back_beside_their_record(void **state)
{
    struct fixture *f = fixture_start(state);
    uint8_t list[64];
    uint16_t bytes = 0;
    assert_int_equal(wal_attribute_put(list, sizeof(list), &bytes, WAL_ATTRIBUTE_HEADER, "a: 1", 4),
                     0);
    assert_int_equal(
        wal_attribute_put(list, sizeof(list), &bytes, WAL_ATTRIBUTE_IDEMPOTENCY_KEY, "key", 3), 0);
    struct wal_record records[] = {
        {.data = "first", .size = 5, .attributes = list, .attribute_bytes = bytes},
        {.data = "second", .size = 6},
    };
    struct wal_token token;
    assert_int_equal(wal_append(f->wal, records, 2, NULL, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    fixture_reopen(f);

    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    struct wal_entry entry;
    assert_int_equal(wal_cursor_next(cursor, &entry), 0);
    assert_int_equal(entry.attribute_bytes, bytes);
    assert_memory_equal(entry.attributes, list, bytes);
    assert_memory_equal(entry.data, "first", 5);
    const void *value;
    uint16_t value_bytes;
    assert_int_equal(wal_attribute_find(entry.attributes, entry.attribute_bytes,
                                        WAL_ATTRIBUTE_IDEMPOTENCY_KEY, &value, &value_bytes),
                     0);
    assert_int_equal(value_bytes, 3);
    assert_memory_equal(value, "key", 3);
    assert_int_equal(wal_cursor_next(cursor, &entry), 0);
    assert_int_equal(entry.attribute_bytes, 0);
    assert_memory_equal(entry.data, "second", 6);
}

/* The largest list there can be, and lists that are none. */
static void attributes_have_a_form_and_a_limit(void **state)
{
    struct fixture *f = fixture_start(state);
    static uint8_t list[70000], value[UINT16_MAX - 4];
    uint16_t bytes = 0;
    memset(value, 'v', sizeof(value));
    assert_int_equal(
        wal_attribute_put(list, sizeof(list), &bytes, WAL_ATTRIBUTE_USER, value, sizeof(value)), 0);
    assert_int_equal(bytes, UINT16_MAX);
    assert_int_equal(wal_attribute_put(list, sizeof(list), &bytes, WAL_ATTRIBUTE_USER, "", 0),
                     -EMSGSIZE);

    struct wal_record record = {
        .data = "x", .size = 1, .attributes = list, .attribute_bytes = bytes};
    struct wal_token token;
    assert_int_equal(wal_append(f->wal, &record, 1, NULL, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    struct wal_entry entry;
    assert_int_equal(wal_cursor_next(cursor, &entry), 0);
    assert_int_equal(entry.attribute_bytes, bytes);
    assert_memory_equal(entry.attributes, list, bytes);

    record.attribute_bytes = 3; /* less than the head of one attribute */
    assert_int_equal(wal_append(f->wal, &record, 1, NULL, NULL, NULL), -EINVAL);
    record.attribute_bytes = 100; /* its value would reach past the end */
    assert_int_equal(wal_append(f->wal, &record, 1, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(positions_of(f->wal).next_offset, 1);
}

/* A record without bytes would be told from none only by its header; the service has no use for it,
 * and the model of this log let it share its offset with the next. Edge case 25: body of 0 bytes. */
static void an_empty_record_is_refused(void **state)
{
    struct fixture *f = fixture_start(state);
    assert_int_equal(append_bytes(f->wal, "", 0), -EINVAL);
    assert_int_equal(append_bytes(f->wal, NULL, 1), -EINVAL);
    assert_int_equal(wal_append(f->wal, NULL, 0, NULL, NULL, NULL), -EINVAL);
    struct wal_record records[] = {{.data = "a", .size = 1}, {.data = "", .size = 0}};
    assert_int_equal(wal_append(f->wal, records, 2, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(positions_of(f->wal).next_offset, 0);
    assert_int_equal(stats_of(f->wal).pending_entries, 0);
    commit_number(f->wal, 0, 1);
}

/* Edge case 25: exactly at the cap, and one byte more. */
static void a_record_is_taken_at_its_limit_and_refused_above(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.record_bytes_max = 1000;
    fixture_begin(f);
    uint8_t data[1001] = {1};
    struct wal_record records[] = {{.data = data, .size = 1}, {.data = data, .size = 1001}};
    assert_int_equal(append_bytes(f->wal, data, 1001), -EMSGSIZE);
    assert_int_equal(wal_append(f->wal, records, 2, NULL, NULL, NULL), -EMSGSIZE);
    assert_int_equal(positions_of(f->wal).next_offset, 0);
    commit_number(f->wal, 0, 1000);
    expect_numbers(f, f->wal, 0, 1, 1000);
}

/* The hard ceilings: a record, and so a batch, of 16 MiB goes in one frame, and comes back. */
static void a_batch_may_have_16_mib_and_no_more(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.record_bytes_max = WAL_RECORD_BYTES_MAX;
    fixture_begin(f);
    uint8_t *data = calloc(1, WAL_APPEND_BYTES_MAX + 1);
    assert_non_null(data);
    record_fill(data, WAL_APPEND_BYTES_MAX, 0);

    int too_large = append_bytes(f->wal, data, WAL_APPEND_BYTES_MAX + 1);
    int in_sum = append_batch(f->wal, data, WAL_APPEND_BYTES_MAX / 4 + 1, 4);
    uint8_t attribute[4] = {0};
    struct wal_record record = {
        .data = data, .size = WAL_APPEND_BYTES_MAX, .attributes = attribute, .attribute_bytes = 4};
    int with_attributes = wal_append(f->wal, &record, 1, NULL, NULL, NULL);
    int exactly = append_bytes(f->wal, data, WAL_APPEND_BYTES_MAX);
    free(data);
    assert_int_equal(too_large, -EMSGSIZE);
    assert_int_equal(in_sum, -EMSGSIZE);
    assert_int_equal(with_attributes, -EMSGSIZE);
    assert_int_equal(exactly, 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(stats_of(f->wal).commits, 1);
    expect_numbers(f, f->wal, 0, 1, WAL_APPEND_BYTES_MAX);
}

/* A batch is one frame, whole or not there, so its ceiling is the frame's. */
static void a_batch_may_have_65536_records_and_no_more(void **state)
{
    struct fixture *f = fixture_start(state);
    assert_int_equal(append_batch(f->wal, "x", 1, WAL_APPEND_RECORDS_MAX + 1), -EMSGSIZE);
    assert_int_equal(positions_of(f->wal).next_offset, 0);
    struct wal_token token = append_numbers(f->wal, 0, WAL_APPEND_RECORDS_MAX, 16);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_int_equal(stats_of(f->wal).commits, 1);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 0, WAL_APPEND_RECORDS_MAX, 0);
}

/* Edge case 25: a segment may end exactly with a batch, and a record may be larger than a segment:
 * it gets a longer file of its own. */
static void batches_may_end_with_a_segment_or_be_larger_than_one(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 64 << 10;
    f->config.log.space_bytes = 8 << 10;
    fixture_begin(f);
    /* A header block, a block of state, and 14 frames of one block. */
    uint64_t next = 0;
    for (; next < 14; next++)
        commit_number(f->wal, next, 3000);
    assert_int_equal(stats_of(f->wal).segments, 1);
    commit_number(f->wal, next++, 3000);
    assert_int_equal(stats_of(f->wal).segments, 2);
    commit_number(f->wal, next++, 200 << 10);
    assert_int_equal(stats_of(f->wal).segments, 3);
    commit_number(f->wal, next++, 1);
    assert_int_equal(stats_of(f->wal).segments, 4);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 0, next, 0);
}

/* ---- Limits of what waits -------------------------------------------------------------------- */

/* Every queue has a ceiling: without one a slow disk fills the memory. What is refused leaves no
 * trace, and what was taken goes on. */
static void a_queue_full_of_records_refuses_more(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    f->config.log.queue_records_max = 10;
    fixture_begin(f);
    append_numbers(f->wal, 0, 9, 10);
    assert_int_equal(append_batch(f->wal, "x", 1, 2), -EAGAIN);
    append_number(f->wal, 9, 10);
    struct witness witness;
    struct wal_record record = {.data = "x", .size = 1};
    struct wal_token untouched = {7, 8, 9};
    assert_int_equal(wal_append(f->wal, &record, 1, NULL, witness_handler(&witness), &untouched),
                     -EAGAIN);
    assert_int_equal(untouched.ticket, 9);

    struct wal_stats stats = stats_of(f->wal);
    assert_int_equal(stats.pending_entries, 10);
    assert_int_equal(stats.refusals_queue, 2);
    assert_int_equal(stats.positions.next_offset, 10);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(stats_of(f->wal).pending_entries, 0);
    assert_int_equal(witness.calls, 0);
    append_number(f->wal, 10, 10);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_numbers(f, f->wal, 0, 11, 0);
}

static void a_queue_full_of_bytes_refuses_more(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    f->config.log.queue_bytes_max = 10160; /* 16 of them are the head of each record */
    fixture_begin(f);
    for (uint64_t i = 0; i < 10; i++)
        append_number(f->wal, i, 1000);
    assert_int_equal(append_bytes(f->wal, "x", 1), -EAGAIN);
    assert_int_equal(stats_of(f->wal).pending_bytes, 10 * 1016);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(stats_of(f->wal).pending_bytes, 0);
    expect_numbers(f, f->wal, 0, 10, 1000);
}

/* A limit below what one append may have must not shut that append out for good. */
static void an_append_above_the_queue_limit_goes_alone(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.queue_records_max = 1;
    f->config.log.queue_bytes_max = 1;
    fixture_begin(f);
    for (uint64_t i = 0; i < 20; i += 5)
        commit_numbers(f->wal, i, 5, 100);
    expect_numbers(f, f->wal, 0, 20, 0);
}

struct retry {
    struct wal *wal;
    const void *data;
    size_t size;
    int rc;
};

static bool is_taken(void *context)
{
    struct retry *retry = context;
    retry->rc = append_bytes(retry->wal, retry->data, retry->size);
    return retry->rc != -EAGAIN;
}

/* The memory for all queues together has a limit of its own: many logs, each within its queue,
 * must not fill it either. */
static void the_memory_of_all_queues_has_a_limit(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    f->config.memory_bytes_max = 1 << 20;
    fixture_begin(f);
    struct wal *other = fixture_get(f, "other", true);
    append_number(f->wal, 0, 500 << 10);
    uint64_t taken = 0;
    static uint8_t data[100 << 10];
    record_fill(data, sizeof(data), 1);
    int rc;
    while ((rc = append_bytes(other, data, sizeof(data))) == 0)
        taken++;
    assert_int_equal(rc, -EAGAIN);
    assert_in_range(taken, 1, 6);
    assert_int_equal(stats_of(other).refusals_queue, 1);
    struct store_stats stats;
    store_stats(f->store, &stats);
    assert_true(stats.memory_bytes <= 2 << 20); /* buffers come in powers of two */

    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    struct retry retry = {other, data, sizeof(data), 0};
    assert_true(fixture_until(f, is_taken, &retry)); /* the memory is given back a moment later */
    assert_int_equal(retry.rc, 0);
    assert_int_equal(wal_flush(other, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(positions_of(other).committed_offset, taken + 1);
}

/* ---- Expected offsets ------------------------------------------------------------------------ */

/* A writer that must be the only one finds out about any other before anything is queued. */
static void an_append_at_the_wrong_offset_is_refused(void **state)
{
    struct fixture *f = fixture_start(state);
    struct wal_record record = {.data = "x", .size = 1};
    struct wal_append_options options = {.expected_offset = 0};
    assert_int_equal(wal_append(f->wal, &record, 1, &options, NULL, NULL), 0);
    assert_int_equal(wal_append(f->wal, &record, 1, &options, NULL, NULL), -ESTALE);
    options.expected_offset = 2;
    assert_int_equal(wal_append(f->wal, &record, 1, &options, NULL, NULL), -ESTALE);
    options.expected_offset = 1;
    assert_int_equal(wal_append(f->wal, &record, 1, &options, NULL, NULL), 0);
    options.expected_offset = WAL_ANY_OFFSET;
    assert_int_equal(wal_append(f->wal, &record, 1, &options, NULL, NULL), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(positions_of(f->wal).committed_offset, 3);
}

struct contender {
    struct wal *wal;
    pthread_t thread;
    unsigned won;
    int rc;
};

/* Appends at each offset from 0 to 99, if it is the first to. */
static void *contend(void *argument)
{
    struct contender *contender = argument;
    for (uint64_t offset = 0; offset < 100; offset++) {
        struct wal_record record = {.data = &offset, .size = sizeof(offset)};
        struct wal_append_options options = {.expected_offset = offset};
        int rc = wal_append(contender->wal, &record, 1, &options, NULL, NULL);
        contender->won += rc == 0;
        if (rc < 0 && rc != -ESTALE)
            contender->rc = rc;
    }
    return NULL;
}

/* Of all who expect the same offset one gets it. */
static void one_of_many_gets_the_expected_offset(void **state)
{
    struct fixture *f = fixture_start(state);
    struct contender contenders[4] = {0};
    for (size_t i = 0; i < ARRAY_SIZE(contenders); i++) {
        contenders[i].wal = f->wal;
        assert_int_equal(pthread_create(&contenders[i].thread, NULL, contend, &contenders[i]), 0);
    }
    unsigned won = 0;
    for (size_t i = 0; i < ARRAY_SIZE(contenders); i++) {
        pthread_join(contenders[i].thread, NULL);
        assert_int_equal(contenders[i].rc, 0);
        won += contenders[i].won;
    }
    assert_int_equal(won, 100);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    for (uint64_t offset = 0; offset < 100; offset++) {
        struct wal_entry entry;
        assert_int_equal(wal_cursor_next(cursor, &entry), 0);
        assert_memory_equal(entry.data, &offset, sizeof(offset));
    }
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

/* Asking must tell "not yet" from "yes", without sleeping, at any time afterwards. */
static void a_token_can_be_polled_for_ever(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    fixture_begin(f);
    struct wal_token tokens[100];
    for (uint64_t i = 0; i < ARRAY_SIZE(tokens); i++) {
        tokens[i] = append_number(f->wal, i, 10);
        assert_int_equal(wal_poll(f->wal, tokens[i]), -EINPROGRESS);
    }
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    append_number(f->wal, 100, 10);
    for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
        assert_int_equal(wal_poll(f->wal, tokens[i]), 0);
        assert_int_equal(wal_wait(f->wal, tokens[i], 0), 0);
    }
}

/* The model of this log waited in a loop that never slept. Here a waiter costs nothing, and has a
 * limit: one append that waits for company, and a process that does nothing meanwhile. */
static void waiting_sleeps_and_ends_in_time(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    fixture_begin(f);
    struct wal_token token = append_number(f->wal, 0, 10);
    uint64_t begin_us = fixture_now_us(f), begin_cpu_us = cpu_us();
    assert_int_equal(wal_wait(f->wal, token, 400000), -ETIMEDOUT);
    uint64_t waited_us = fixture_now_us(f) - begin_us, used_us = cpu_us() - begin_cpu_us;
    assert_true(waited_us >= 400000);
    assert_true(waited_us < 9000000);
    assert_true(used_us < 200000);
    assert_int_equal(wal_wait(f->wal, token, 0), -ETIMEDOUT);
    int rc = wal_flush(f->wal, 0); /* it ends the delay; a committer's thread may be that quick */
    assert_true(rc == -ETIMEDOUT || rc == 0);
    assert_int_equal(wait_for(f->wal, token), 0);
}

/* An append with no traffic behind it must not wait for some: nobody flushes here. */
static void a_lone_append_commits_by_itself(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = 20000;
    fixture_begin(f);
    uint64_t begin_us = fixture_now_us(f);
    struct wal_token token = append_number(f->wal, 0, 10);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_true(fixture_now_us(f) - begin_us >= 20000);
    expect_numbers(f, f->wal, 0, 1, 10);
}

struct waiter {
    struct wal *wal;
    struct wal_token token;
    pthread_t thread;
    int status;
};

static void *wait_in_thread(void *argument)
{
    struct waiter *waiter = argument;
    waiter->status = wal_wait(waiter->wal, waiter->token, FIXTURE_PATIENCE_US);
    return NULL;
}

/* Many threads may wait for the same or for different appends; each is woken. */
static void every_waiter_is_woken(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = 50000;
    fixture_begin(f);
    struct waiter waiters[16] = {0};
    struct wal_token tokens[8];
    for (uint64_t i = 0; i < ARRAY_SIZE(tokens); i++)
        tokens[i] = append_number(f->wal, i, 10);
    for (size_t i = 0; i < ARRAY_SIZE(waiters); i++) {
        waiters[i] = (struct waiter){.wal = f->wal, .token = tokens[i / 2], .status = 1};
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_in_thread, &waiters[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(waiters); i++) {
        pthread_join(waiters[i].thread, NULL);
        assert_int_equal(waiters[i].status, 0);
    }
}

/* ---- Handlers -------------------------------------------------------------------------------- */

static int append_with(struct wal *wal, uint64_t number, struct wal_handler *handler,
                       struct wal_token *ret_token)
{
    uint8_t data[64];
    record_fill(data, sizeof(data), number);
    struct wal_record record = {.data = data, .size = sizeof(data)};
    witness_enter();
    int rc = wal_append(wal, &record, 1, NULL, handler, ret_token);
    witness_leave();
    return rc;
}

/* A server answers from its handlers: each has to come, once, in the order of the log, and never
 * while the append that it belongs to is still being made. */
static void handlers_run_once_in_order_and_outside_the_call(void **state)
{
    struct fixture *f = fixture_start(state);
    enum { COUNT = 500 };
    static struct witness witnesses[COUNT];
    static struct wal_token tokens[COUNT];
    witness_begin();
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_int_equal(append_with(f->wal, i, witness_handler(&witnesses[i]), &tokens[i]), 0);
        if (i % 50 == 0)
            fixture_run(f);
    }
    assert_int_equal(fixture_close(f), 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(witnesses[i].calls, 1);
        assert_int_equal(witnesses[i].status, 0);
        assert_int_equal(witnesses[i].order, i + 1);
        assert_false(witnesses[i].inside);
        assert_memory_equal(&witnesses[i].token, &tokens[i], sizeof(tokens[i]));
    }
}

struct chain {
    struct wal_handler handler;
    struct wal *wal;
    unsigned left;
    int rc;
    _Atomic bool ended;
};

/* Uses everything that takes the log's lock, and appends the next record with the same handler. */
static void append_next(struct wal_handler *handler, struct wal_token token, int status)
{
    struct chain *chain = container_of(handler, struct chain, handler);
    struct wal_positions positions;
    wal_positions(chain->wal, &positions);
    int rc = status;
    if (rc == 0 && (wal_poll(chain->wal, token) != 0 || positions.committed_offset < token.end))
        rc = -EPROTO; /* the handler came before what it tells of */
    if (rc == 0 && --chain->left > 0) {
        uint8_t data[64];
        record_fill(data, sizeof(data), token.end);
        struct wal_record record = {.data = data, .size = sizeof(data)};
        rc = wal_append(chain->wal, &record, 1, NULL, handler, NULL);
    }
    chain->rc = rc;
    if (rc < 0 || chain->left == 0)
        atomic_store(&chain->ended, true);
}

static bool chain_has_ended(void *context)
{
    struct chain *chain = context;
    return atomic_load(&chain->ended);
}

/* Handlers hold no lock, and the handler's memory is the caller's again as soon as it runs. */
static void a_handler_may_append_again(void **state)
{
    struct fixture *f = fixture_start(state);
    struct chain chain = {.handler = {.done = append_next}, .wal = f->wal, .left = 50};
    assert_int_equal(append_with(f->wal, 0, &chain.handler, NULL), 0);
    assert_true(fixture_until(f, chain_has_ended, &chain));
    assert_int_equal(chain.rc, 0);
    assert_int_equal(chain.left, 0);
    expect_numbers(f, f->wal, 0, 50, 64);
}

struct last_will {
    struct wal_handler handler;
    _Atomic unsigned *freed;
};

static void free_itself(struct wal_handler *handler, struct wal_token token, int status)
{
    struct last_will *will = container_of(handler, struct last_will, handler);
    atomic_fetch_add(will->freed, 1);
    free(will);
}

static void a_handler_may_free_itself(void **state)
{
    struct fixture *f = fixture_start(state);
    _Atomic unsigned freed = 0;
    for (unsigned i = 0; i < 20; i++) {
        struct last_will *will = malloc(sizeof(*will));
        assert_non_null(will);
        *will = (struct last_will){.handler = {.done = free_itself}, .freed = &freed};
        assert_int_equal(append_with(f->wal, i, &will->handler, NULL), 0);
    }
    assert_int_equal(fixture_close(f), 0);
    assert_int_equal(atomic_load(&freed), 20);
}

/* ---- Barriers -------------------------------------------------------------------------------- */

/* The model of this log let a barrier return while another thread's batch had left the queue and
 * not reached the disk. The commit in flight has to be waited for, too. */
static void a_barrier_covers_what_is_in_flight(void **state)
{
    struct fixture *f = fixture_start(state);
    for (uint64_t i = 0; i < 50; i++) {
        struct wal_token flying = append_number(f->wal, 2 * i, 10);
        fixture_run(f); /* takes it out of the queue and starts the write */
        if (i % 2 == 0) {
            assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
            assert_int_equal(wal_poll(f->wal, flying), 0);
        }
        struct wal_token queued = append_number(f->wal, 2 * i + 1, 10);
        assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
        assert_int_equal(wal_poll(f->wal, flying), 0);
        assert_int_equal(wal_poll(f->wal, queued), 0);
    }
    expect_numbers(f, f->wal, 0, 100, 10);
}

static void a_barrier_of_an_idle_log_returns_at_once(void **state)
{
    struct fixture *f = fixture_start(state);
    assert_int_equal(wal_flush(f->wal, 0), 0);
    commit_number(f->wal, 0, 1);
    assert_int_equal(wal_flush(f->wal, 0), 0);
    struct wal_stats before = stats_of(f->wal);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(wal_flush(f->wal, 0), 0);
    assert_true(stats_of(f->wal).commits == before.commits);
}

static void a_barrier_ends_the_delay(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    fixture_begin(f);
    uint64_t begin_us = fixture_now_us(f);
    append_numbers(f->wal, 0, 3, 100);
    append_number(f->wal, 3, 100);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_true(fixture_now_us(f) - begin_us < FOREVER_US / 2);
    assert_int_equal(stats_of(f->wal).commits, 1);
    /* The next append waits again. */
    struct wal_token token = append_number(f->wal, 4, 100);
    assert_int_equal(wal_wait(f->wal, token, 50000), -ETIMEDOUT);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
}

/* For who wants the write begun and has better to do than to wait. */
static void submitting_ends_the_delay_without_waiting(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    fixture_begin(f);
    wal_submit(f->wal); /* nothing queued: nothing happens */
    uint64_t begin_us = fixture_now_us(f);
    struct wal_token token = append_number(f->wal, 0, 100);
    wal_submit(f->wal);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_true(fixture_now_us(f) - begin_us < FOREVER_US / 2);
    token = append_number(f->wal, 1, 100);
    assert_int_equal(wal_wait(f->wal, token, 50000), -ETIMEDOUT);
    wal_submit(f->wal);
    assert_int_equal(wait_for(f->wal, token), 0);
}

/* The same barrier for a server that does not sleep. It has to answer when nothing is on its way,
 * too, and even then not from inside the call. */
static void a_barrier_with_a_handler_comes_after_all_before_it(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    fixture_begin(f);
    struct witness alone, append, barrier, second;
    witness_begin();
    witness_enter();
    int rc = wal_flush_async(f->wal, witness_handler(&alone));
    witness_leave();
    assert_int_equal(rc, 0);
    witness_await(f, 1);
    assert_int_equal(alone.calls, 1);
    assert_int_equal(alone.status, 0);

    assert_int_equal(append_with(f->wal, 0, witness_handler(&append), NULL), 0);
    fixture_run(f);
    witness_enter();
    rc = wal_flush_async(f->wal, witness_handler(&barrier));
    witness_leave();
    assert_int_equal(rc, 0);
    assert_int_equal(wal_flush_async(f->wal, witness_handler(&second)), 0);
    witness_await(f, 4);
    assert_int_equal(append.order, 2);
    assert_int_equal(barrier.order, 3);
    assert_int_equal(second.order, 4);
    assert_false(alone.inside || append.inside || barrier.inside);
    assert_int_equal(barrier.token.begin, 1);
    assert_int_equal(barrier.token.end, 1);
    assert_int_equal(positions_of(f->wal).committed_offset, 1);
}

/* An append that joins a barrier which nobody has looked at yet is measured from its own call. */
static void an_append_behind_a_waiting_barrier_is_timed_from_its_call(void **state)
{
    struct fixture *f = fixture_start(state);
    fixture_pause(f, 3000000);
    struct witness barrier;
    witness_begin();
    assert_int_equal(wal_flush_async(f->wal, witness_handler(&barrier)), 0);
    struct wal_token token = append_number(f->wal, 0, 10);
    assert_int_equal(wait_for(f->wal, token), 0);
    witness_await(f, 1);
    assert_true(stats_of(f->wal).commit_latency.max_us < 2000000);
}

/* ---- Many threads ---------------------------------------------------------------------------- */

struct writer {
    struct wal *wal;
    pthread_t thread;
    unsigned number, count;
    uint64_t offsets[500];
    int rc;
};

struct written {
    uint32_t writer, index;
};

static void *write_many(void *argument)
{
    struct writer *writer = argument;
    for (uint32_t i = 0; i < writer->count && writer->rc == 0; i++) {
        struct written written = {writer->number, i};
        struct wal_record record = {.data = &written, .size = sizeof(written)};
        struct wal_token token;
        writer->rc = wal_append(writer->wal, &record, 1, NULL, NULL, &token);
        if (writer->rc == 0 && i % 16 == 15)
            writer->rc = wal_wait(writer->wal, token, FIXTURE_PATIENCE_US);
        writer->offsets[i] = token.begin;
    }
    if (writer->rc == 0)
        writer->rc = wal_flush(writer->wal, FIXTURE_PATIENCE_US);
    return NULL;
}

/* Offsets are given out and records queued in one step: the model of this log did it in two, and
 * the order of the two could differ. What a thread was told is where its record is. */
static void records_of_many_threads_are_where_their_tokens_say(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 64 << 10; /* with rotations on the way */
    f->config.log.batch_records_max = 8;
    fixture_begin(f);
    static struct writer writers[4];
    memset(writers, 0, sizeof(writers));
    for (unsigned i = 0; i < ARRAY_SIZE(writers); i++) {
        writers[i].wal = f->wal;
        writers[i].number = i;
        writers[i].count = ARRAY_SIZE(writers[i].offsets);
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_many, &writers[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(writers); i++)
        pthread_join(writers[i].thread, NULL);
    assert_int_equal(positions_of(f->wal).committed_offset, 4 * ARRAY_SIZE(writers[0].offsets));
    fixture_reopen(f);

    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    uint32_t next[ARRAY_SIZE(writers)] = {0};
    struct wal_entry entry;
    while (wal_cursor_next(cursor, &entry) == 0) {
        struct written written;
        assert_int_equal(entry.size, sizeof(written));
        memcpy(&written, entry.data, sizeof(written));
        assert_in_range(written.writer, 0, ARRAY_SIZE(writers) - 1);
        assert_int_equal(written.index, next[written.writer]++);
        assert_int_equal(writers[written.writer].offsets[written.index], entry.offset);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(writers); i++) {
        assert_int_equal(writers[i].rc, 0);
        assert_int_equal(next[i], writers[i].count);
    }
}

/* ---- Opening again ------------------------------------------------------------------------------ */

/* The model of this log began at offset 0 with each start, over what was there. */
static void a_reopened_log_goes_on_behind_its_end(void **state)
{
    struct fixture *f = fixture_start(state);
    uint64_t next = 0;
    for (unsigned life = 0; life < 5; life++) {
        assert_int_equal(positions_of(f->wal).next_offset, next);
        assert_int_equal(positions_of(f->wal).committed_offset, next);
        struct wal_token token = append_numbers(f->wal, next, 10, 2000);
        assert_int_equal(token.begin, next);
        commit_number(f->wal, next + 10, 5000);
        next += 11;
        fixture_reopen(f);
        assert_true(stats_of(f->wal).recovery.clean);
        expect_numbers(f, f->wal, 0, next, 0);
    }
}

/* Where data end cannot be told from the zeros of space made ahead by looking for zeros. */
static void records_of_zeros_are_records(void **state)
{
    struct fixture *f = fixture_start(state);
    static const uint8_t zeros[20000];
    const size_t sizes[] = {1, 8, 512, 4096, 20000, 3};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        assert_int_equal(append_bytes(f->wal, zeros, sizes[i]), 0);
        assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    }
    fixture_reopen(f);
    assert_int_equal(positions_of(f->wal).committed_offset, ARRAY_SIZE(sizes));
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct wal_entry entry;
        assert_int_equal(wal_cursor_next(cursor, &entry), 0);
        assert_int_equal(entry.size, sizes[i]);
        assert_memory_equal(entry.data, zeros, sizes[i]);
    }
}

/* ---- Closing -------------------------------------------------------------------------------------- */

/* Edge case 24: what was queued when the end came is written, and its waiters are told. */
static void closing_writes_what_is_queued(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    f->config.log.batch_records_max = 7;
    fixture_begin(f);
    static struct witness witnesses[100];
    for (uint64_t i = 0; i < ARRAY_SIZE(witnesses); i++)
        assert_int_equal(append_with(f->wal, i, witness_handler(&witnesses[i]), NULL), 0);
    uint64_t begin_us = fixture_now_us(f);
    assert_int_equal(fixture_close(f), 0);
    assert_true(fixture_now_us(f) - begin_us < FOREVER_US / 2);
    for (size_t i = 0; i < ARRAY_SIZE(witnesses); i++) {
        assert_int_equal(witnesses[i].calls, 1);
        assert_int_equal(witnesses[i].status, 0);
    }
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_true(stats_of(f->wal).recovery.clean);
    expect_numbers(f, f->wal, 0, ARRAY_SIZE(witnesses), 64);
}

/* When there is no time left, nobody is left without an answer: what is on its way to the disk is
 * waited for, the rest is refused, and was not written. */
static void closing_without_time_refuses_what_is_not_on_its_way(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_records_max = 1;
    fixture_begin(f);
    static struct witness witnesses[50];
    for (uint64_t i = 0; i < ARRAY_SIZE(witnesses); i++)
        assert_int_equal(append_with(f->wal, i, witness_handler(&witnesses[i]), NULL), 0);
    fixture_run(f); /* starts the first */
    fixture_put(f, f->wal);
    assert_int_equal(store_close(TAKE(f->store), 0), 0);
    size_t written = 0;
    while (written < ARRAY_SIZE(witnesses) && witnesses[written].status == 0)
        written++;
    if (!f->threads)
        assert_in_range(written, 1, 2);
    for (size_t i = 0; i < ARRAY_SIZE(witnesses); i++) {
        assert_int_equal(witnesses[i].calls, 1);
        assert_int_equal(witnesses[i].status, i < written ? 0 : -ESHUTDOWN);
    }
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_int_equal(positions_of(f->wal).next_offset, written);
    expect_numbers(f, f->wal, 0, written, 64);
}

static void *append_until_shutdown(void *argument)
{
    struct writer *writer = argument;
    while (writer->rc == 0) {
        struct wal_record record = {.data = "x", .size = 1};
        struct wal_token token;
        writer->rc = wal_append(writer->wal, &record, 1, NULL, NULL, &token);
        if (writer->rc == 0) {
            writer->rc = wal_wait(writer->wal, token, FIXTURE_PATIENCE_US);
            writer->count += writer->rc == 0;
        }
    }
    return NULL;
}

/* The model of this log could take an append after its last flush, which then never ended. Here
 * each append races with the shutdown to one of two answers. Edge case 24: 503 for new ones. */
static void an_append_during_shutdown_is_answered_one_way_or_the_other(void **state)
{
    struct fixture *f = fixture_start(state);
    static struct writer writers[4];
    memset(writers, 0, sizeof(writers));
    for (size_t i = 0; i < ARRAY_SIZE(writers); i++) {
        writers[i].wal = f->wal;
        assert_int_equal(
            pthread_create(&writers[i].thread, NULL, append_until_shutdown, &writers[i]), 0);
    }
    fixture_pause(f, 30000);
    store_drain(f->store);
    unsigned acknowledged = 0;
    for (size_t i = 0; i < ARRAY_SIZE(writers); i++) {
        pthread_join(writers[i].thread, NULL);
        assert_int_equal(writers[i].rc, -ESHUTDOWN);
        acknowledged += writers[i].count;
    }
    assert_int_equal(wal_status(f->wal), -ESHUTDOWN);
    assert_int_equal(positions_of(f->wal).committed_offset, acknowledged);
    fixture_reopen(f);
    assert_int_equal(positions_of(f->wal).committed_offset, acknowledged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(a_record_is_read_back_as_it_was_appended),
        ON_ALL(batches_take_offsets_one_after_the_other),
        ON_ALL(the_callers_memory_is_copied),
        ON_ALL(attributes_come_back_beside_their_record),
        ON_ALL(attributes_have_a_form_and_a_limit),
        ON_ALL(an_empty_record_is_refused),
        ON_ALL(a_record_is_taken_at_its_limit_and_refused_above),
        ON_ALL(a_batch_may_have_16_mib_and_no_more),
        ON_ALL(a_batch_may_have_65536_records_and_no_more),
        ON_ALL(batches_may_end_with_a_segment_or_be_larger_than_one),
        ON_ALL(a_queue_full_of_records_refuses_more),
        ON_ALL(a_queue_full_of_bytes_refuses_more),
        ON_ALL(an_append_above_the_queue_limit_goes_alone),
        ON_ALL(the_memory_of_all_queues_has_a_limit),
        ON_ALL(an_append_at_the_wrong_offset_is_refused),
        ON_DISKS(one_of_many_gets_the_expected_offset),
        ON_ALL(a_token_can_be_polled_for_ever),
        ON_ALL(waiting_sleeps_and_ends_in_time),
        ON_ALL(a_lone_append_commits_by_itself),
        ON_DISKS(every_waiter_is_woken),
        ON_ALL(handlers_run_once_in_order_and_outside_the_call),
        ON_ALL(a_handler_may_append_again),
        ON_ALL(a_handler_may_free_itself),
        ON_ALL(a_barrier_covers_what_is_in_flight),
        ON_ALL(a_barrier_of_an_idle_log_returns_at_once),
        ON_ALL(a_barrier_ends_the_delay),
        ON_ALL(submitting_ends_the_delay_without_waiting),
        ON_ALL(a_barrier_with_a_handler_comes_after_all_before_it),
        ON_SIM(an_append_behind_a_waiting_barrier_is_timed_from_its_call),
        ON_DISKS(records_of_many_threads_are_where_their_tokens_say),
        ON_ALL(a_reopened_log_goes_on_behind_its_end),
        ON_ALL(records_of_zeros_are_records),
        ON_ALL(closing_writes_what_is_queued),
        ON_ALL(closing_without_time_refuses_what_is_not_on_its_way),
        ON_DISKS(an_append_during_shutdown_is_answered_one_way_or_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
