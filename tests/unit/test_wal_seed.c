/*
 * The seven scenarios that the design behind this project was tested with, U1 to U7, each with what
 * they lacked: the bytes are read back, after the log was opened again.
 *
 * There a token was completed by hand; here the disk does it. What they called waiting for a token
 * is wal_wait(), a tracked list of tokens is an array of handlers, and group commit is how every
 * log works.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "wal/base.h"

/* U1: a token is not complete, then it is, and waiting for it gives the result. */
static void u1_a_token_completes_with_its_100_bytes(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = 20000;
    fixture_begin(f);
    struct wal_token token = append_number(f->wal, 0, 100);
    assert_int_equal(wal_poll(f->wal, token), -EINPROGRESS);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_int_equal(wal_poll(f->wal, token), 0);
    assert_int_equal(stats_of(f->wal).total_bytes_written, 100);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 0, 1, 100);
}

/* U2: error 5, which is EIO. Here the disk has it, and what failed is not there afterwards. */
static void u2_a_token_fails_with_error_5(void **state)
{
    struct fixture *f = fixture_start(state);
    commit_number(f->wal, 0, 100);
    fixture_settle(f);
    sim_arm(f->disk, &(struct sim_fault){.kind = SIM_WRITE_DURABLE, .times = 1, .error = -EIO});
    struct wal_token token = append_number(f->wal, 1, 100);
    assert_int_equal(wait_for(f->wal, token), -5);
    assert_int_equal(wal_poll(f->wal, token), -5);
    assert_int_equal(fixture_close(f), -5);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    expect_numbers(f, f->wal, 0, 1, 100);
}

/* U3: five bytes, a flush, and the statistics say 5 bytes and 1 operation. */
static void u3_five_bytes_are_written_flushed_and_counted(void **state)
{
    struct fixture *f = fixture_start(state);
    struct wal_record record = {.data = "hello", .size = 5};
    assert_int_equal(wal_append(f->wal, &record, 1, NULL, NULL, NULL), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(stats_of(f->wal).total_bytes_written, 5);
    assert_int_equal(stats_of(f->wal).total_operations, 1);
    fixture_reopen(f);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    struct wal_entry entry;
    assert_int_equal(wal_cursor_next(cursor, &entry), 0);
    assert_int_equal(entry.size, 5);
    assert_memory_equal(entry.data, "hello", 5);
    assert_int_equal(wal_cursor_next(cursor, &entry), -ENODATA);
}

/* U4: ten writes in batches of four, and all of them are complete after a flush. */
static void u4_ten_writes_in_batches_of_four_complete(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_records_max = 4;
    f->config.log.batch_delay_us = 10000000;
    fixture_begin(f);
    struct wal_token tokens[10];
    for (uint64_t i = 0; i < 10; i++)
        tokens[i] = append_number(f->wal, i, 64);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(wal_poll(f->wal, tokens[i]), 0);
    assert_int_equal(stats_of(f->wal).total_operations, 10);
    assert_int_equal(stats_of(f->wal).commits, 3);
    assert_int_equal(stats_of(f->wal).commit_records_max, 4);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 0, 10, 64);
}

struct client {
    struct wal *wal;
    pthread_t thread;
    unsigned number;
    int rc;
};

/* 16 bytes, of which the first two tell the writer and its write. */
static void fill(uint8_t data[16], unsigned writer, unsigned index)
{
    memset(data, (int)('A' + writer), 16);
    data[0] = (uint8_t)writer;
    data[1] = (uint8_t)index;
}

static void *write_hundred(void *argument)
{
    struct client *client = argument;
    for (unsigned i = 0; i < 100 && client->rc == 0; i++) {
        uint8_t data[16];
        fill(data, client->number, i);
        struct wal_record record = {.data = data, .size = sizeof(data)};
        struct wal_token token;
        client->rc = wal_append(client->wal, &record, 1, NULL, NULL, &token);
        if (client->rc == 0)
            client->rc = wal_wait(client->wal, token, FIXTURE_PATIENCE_US);
    }
    return NULL;
}

/* U5: four threads with a hundred writes each make 400 operations. There, only batches of one did
 * not hang; here, the size of groups is free. */
static void u5_four_threads_write_a_hundred_records_each(void **state)
{
    struct fixture *f = fixture_start(state);
    struct client clients[4];
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
        clients[i] = (struct client){.wal = f->wal, .number = i};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, write_hundred, &clients[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
        pthread_join(clients[i].thread, NULL);
        assert_int_equal(clients[i].rc, 0);
    }
    assert_int_equal(stats_of(f->wal).total_operations, 400);
    fixture_reopen(f);

    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    unsigned next[4] = {0};
    for (unsigned i = 0; i < 400; i++) {
        struct wal_entry entry;
        assert_int_equal(wal_cursor_next(cursor, &entry), 0);
        assert_int_equal(entry.size, 16);
        unsigned writer = ((const uint8_t *)entry.data)[0];
        assert_in_range(writer, 0, 3);
        uint8_t expected[16];
        fill(expected, writer, next[writer]++);
        assert_memory_equal(entry.data, expected, 16);
    }
}

static unsigned completed(const struct witness *witnesses, size_t count)
{
    unsigned done = 0;
    for (size_t i = 0; i < count; i++)
        done += witnesses[i].calls > 0;
    return done;
}

/* U6: three tokens are tracked; how many are complete can be asked, and all can be waited for. */
static void u6_three_tracked_writes_complete_one_by_one(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_records_max = 1;
    f->config.log.batch_delay_us = 10000000; /* one alone is full, so it does not wait */
    fixture_begin(f);
    struct witness witnesses[3];
    struct wal_token last;
    witness_begin();
    const size_t sizes[] = {10, 20, 30};
    for (uint64_t i = 0; i < 3; i++) {
        uint8_t data[30];
        record_fill(data, sizes[i], i);
        struct wal_record record = {.data = data, .size = sizes[i]};
        assert_int_equal(
            wal_append(f->wal, &record, 1, NULL, witness_handler(&witnesses[i]), &last), 0);
    }
    if (!f->threads)
        assert_int_equal(completed(witnesses, 3), 0);
    assert_int_equal(wait_for(f->wal, last), 0); /* the last one ends last */
    assert_int_equal(fixture_close(f), 0);
    assert_int_equal(completed(witnesses, 3), 3);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    struct wal_cursor *cursor = fixture_cursor(f, f->wal, 0);
    for (uint64_t i = 0; i < 3; i++) {
        struct wal_entry entry;
        assert_int_equal(witnesses[i].status, 0);
        assert_int_equal(witnesses[i].token.begin, i);
        assert_int_equal(wal_cursor_next(cursor, &entry), 0);
        assert_int_equal(entry.size, sizes[i]);
        assert_true(record_is(entry.data, entry.size, i));
    }
}

/* U6 again, with a failure in the middle. There, waiting for all ended at the first error and the
 * other results were lost; here each handler has its own. */
static void u6_each_tracked_write_has_its_own_result(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_records_max = 1;
    fixture_begin(f);
    fixture_settle(f);
    sim_arm(f->disk,
            &(struct sim_fault){.kind = SIM_WRITE_DURABLE, .after = 1, .times = 1, .error = -EIO});
    struct witness witnesses[3];
    for (uint64_t i = 0; i < 3; i++) {
        struct wal_record record = {.data = "record", .size = 6};
        assert_int_equal(wal_append(f->wal, &record, 1, NULL, witness_handler(&witnesses[i]), NULL),
                         0);
    }
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), -EIO);
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(witnesses[i].calls, 1);
        assert_int_equal(witnesses[i].status, i == 0 ? 0 : -EIO);
    }
    sim_disarm(f->disk);
}

/* U7: 25 writes, groups of ten, and at most 100 ms. There, five of them never completed without a
 * flush; here nobody flushes. */
static void u7_25_writes_in_groups_of_ten_complete_without_a_flush(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_records_max = 10;
    f->config.log.batch_delay_us = 100000;
    fixture_begin(f);
    uint64_t begin_us = fixture_now_us(f);
    struct wal_token tokens[25];
    for (uint64_t i = 0; i < 25; i++)
        tokens[i] = append_number(f->wal, i, 40);
    assert_int_equal(wait_for(f->wal, tokens[19]), 0);
    bool third_still_waits = wal_poll(f->wal, tokens[24]) == -EINPROGRESS;
    for (size_t i = 0; i < 25; i++)
        assert_int_equal(wait_for(f->wal, tokens[i]), 0);
    assert_true(fixture_now_us(f) - begin_us >= 100000 || !third_still_waits);
    assert_int_equal(stats_of(f->wal).commits, 3);
    assert_int_equal(stats_of(f->wal).commit_records_max, 10);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 0, 25, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(u1_a_token_completes_with_its_100_bytes),
        ON_SIM(u2_a_token_fails_with_error_5),
        ON_ALL(u3_five_bytes_are_written_flushed_and_counted),
        ON_ALL(u4_ten_writes_in_batches_of_four_complete),
        ON_DISKS(u5_four_threads_write_a_hundred_records_each),
        ON_ALL(u6_three_tracked_writes_complete_one_by_one),
        ON_SIM(u6_each_tracked_write_has_its_own_result),
        ON_ALL(u7_25_writes_in_groups_of_ten_complete_without_a_flush),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
