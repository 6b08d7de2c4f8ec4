/*
 * The log's own state: keys and values that change in the same frames as the records beside them.
 * Deduplication and settings rest on it, so it may neither run ahead of the records nor fall behind.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/base.h"

#define FOREVER_US UINT64_C(10000000)

/* Appends the record of this number, if size is not 0, and the updates, as one batch. */
static int append_updates(struct wal *wal, uint64_t number, size_t size,
                          const struct wal_state_update *updates, size_t count,
                          struct wal_token *ret_token)
{
    uint8_t data[256];
    assert_true(size <= sizeof(data));
    record_fill(data, size, number);
    struct wal_record record = {.data = data, .size = size};
    struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = updates, .update_count = count};
    return wal_append(wal, &record, size > 0 ? 1 : 0, &options, NULL, ret_token);
}

static void set(struct wal *wal, const char *key, const char *value)
{
    struct wal_state_update update = state_update(key, value);
    assert_int_equal(append_updates(wal, 0, 0, &update, 1, NULL), 0);
    assert_int_equal(wal_flush(wal, FIXTURE_PATIENCE_US), 0);
}

/* A second request with the same key has to find the first one even while that is still being
 * written; and its answer must wait for the same write. */
static void a_lookup_finds_the_newest_value_and_what_it_rests_on(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    fixture_begin(f);
    set(f->wal, "key", "old");
    struct wal_state_update update = state_update("key", "new");
    struct wal_token token, rests_on;
    assert_int_equal(append_updates(f->wal, 0, 10, &update, 1, &token), 0);

    char value[16] = "";
    size_t bytes;
    assert_int_equal(wal_state_get(f->wal, "key", 3, value, sizeof(value), &bytes, &rests_on), 0);
    assert_int_equal(bytes, 3);
    assert_memory_equal(value, "new", 3);
    assert_int_equal(wal_poll(f->wal, rests_on), -EINPROGRESS);
    assert_int_equal(rests_on.ticket, token.ticket);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(wal_poll(f->wal, rests_on), 0);
    assert_int_equal(wal_state_get(f->wal, "key", 3, value, sizeof(value), &bytes, &rests_on), 0);
    assert_int_equal(wal_poll(f->wal, rests_on), 0);

    /* That there is no such key any more may rest on a write, too. */
    update = state_update("key", NULL);
    assert_int_equal(append_updates(f->wal, 0, 0, &update, 1, &token), 0);
    assert_int_equal(wal_state_get(f->wal, "key", 3, value, sizeof(value), &bytes, &rests_on),
                     -ENOENT);
    assert_int_equal(wal_poll(f->wal, rests_on), -EINPROGRESS);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_state(f->wal, "key", NULL);
}

/* Values are bytes: they may be empty, hold zeros, and be longer than the caller's buffer. */
static void values_are_bytes_of_any_kind(void **state)
{
    struct fixture *f = fixture_start(state);
    const uint8_t key[] = {0, 1, 0, 0xff};
    struct wal_state_update updates[] = {
        {.key = key, .key_bytes = sizeof(key), .value = "\0\0x", .value_bytes = 3},
        {.key = "empty", .key_bytes = 5, .value = "", .value_bytes = 0},
        {.key = "removed", .key_bytes = 7, .value = NULL, .value_bytes = 99},
    };
    struct wal_token token;
    assert_int_equal(append_updates(f->wal, 0, 0, updates, 3, &token), 0);
    assert_int_equal(token.begin, token.end);
    assert_int_equal(wait_for(f->wal, token), 0);
    fixture_reopen(f);
    uint8_t value[2] = {9, 9};
    size_t bytes = 99;
    assert_int_equal(wal_state_get(f->wal, key, sizeof(key), value, 2, &bytes, NULL), 0);
    assert_int_equal(bytes, 3); /* of the value, not of what was copied */
    assert_memory_equal(value, "\0\0", 2);
    assert_int_equal(wal_state_get(f->wal, key, sizeof(key), NULL, 0, &bytes, NULL), 0);
    assert_int_equal(bytes, 3);
    assert_int_equal(wal_state_get(f->wal, "empty", 5, value, 2, &bytes, NULL), 0);
    assert_int_equal(bytes, 0);
    assert_int_equal(wal_state_get(f->wal, "removed", 7, value, 2, &bytes, NULL), -ENOENT);
    assert_int_equal(wal_state_get(f->wal, "empt", 4, value, 2, &bytes, NULL), -ENOENT);
}

struct table {
    unsigned keys, removed;
    uint64_t bytes;
};

static int count_key(void *context, const void *key, uint16_t key_bytes, const void *value,
                     uint32_t value_bytes)
{
    struct table *table = context;
    table->keys++;
    table->bytes += key_bytes + value_bytes;
    return table->keys == table->removed ? 42 : 0;
}

/* Whoever rebuilds its tables at a start must meet each key once, with its newest value. */
static void all_keys_can_be_walked(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = FOREVER_US;
    fixture_begin(f);
    for (unsigned i = 0; i < 100; i++) {
        char key[24], value[24];
        snprintf(key, sizeof(key), "k%02u", i);
        snprintf(value, sizeof(value), "v%02u", i);
        struct wal_state_update update = state_update(key, i % 10 == 9 ? NULL : value);
        assert_int_equal(append_updates(f->wal, 0, 0, &update, 1, NULL), 0);
        if (i == 50)
            assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    }
    struct table table = {0};
    assert_int_equal(wal_state_each(f->wal, count_key, &table), 0);
    assert_int_equal(table.keys, 90);
    assert_int_equal(table.bytes, 90 * 6);
    table = (struct table){.removed = 5};
    assert_int_equal(wal_state_each(f->wal, count_key, &table), 42);
    assert_int_equal(table.keys, 5);
    fixture_reopen(f);
    table = (struct table){0};
    assert_int_equal(wal_state_each(f->wal, count_key, &table), 0);
    assert_int_equal(table.keys, 90);
}

/* A batch is all or nothing, and its state changes are part of it. */
static void a_refused_batch_changes_no_state(void **state)
{
    struct fixture *f = fixture_start(state);
    set(f->wal, "key", "old");
    struct wal_state_update updates[] = {state_update("key", "new"), state_update("more", "x")};
    struct wal_append_options options = {
        .expected_offset = 5, .updates = updates, .update_count = 2};
    struct wal_record record = {.data = "x", .size = 1};
    assert_int_equal(wal_append(f->wal, &record, 1, &options, NULL, NULL), -ESTALE);
    options.expected_offset = WAL_ANY_OFFSET;
    record.size = 0;
    assert_int_equal(wal_append(f->wal, &record, 1, &options, NULL, NULL), -EINVAL);
    record.size = (1 << 20) + 1;
    assert_int_equal(wal_append(f->wal, &record, 1, &options, NULL, NULL), -EMSGSIZE);
    updates[1].key_bytes = 0;
    assert_int_equal(append_updates(f->wal, 0, 10, updates, 2, NULL), -EINVAL);
    expect_state(f->wal, "key", "old");
    expect_state(f->wal, "more", NULL);
    assert_int_equal(positions_of(f->wal).next_offset, 0);
}

/* Limits of keys and values, at and above. */
static void keys_and_values_have_limits(void **state)
{
    struct fixture *f = fixture_start(state);
    static char key[WAL_STATE_KEY_BYTES_MAX + 1], value[WAL_STATE_BYTES_MAX + 1];
    memset(key, 'k', sizeof(key));
    memset(value, 'v', sizeof(value));
    struct wal_state_update update = {
        .key = key, .key_bytes = sizeof(key), .value = "x", .value_bytes = 1};
    assert_int_equal(append_updates(f->wal, 0, 0, &update, 1, NULL), -EINVAL);
    update.key_bytes = sizeof(key) - 1;
    assert_int_equal(append_updates(f->wal, 0, 0, &update, 1, NULL), 0);
    update.key = NULL;
    assert_int_equal(append_updates(f->wal, 0, 0, &update, 1, NULL), -EINVAL);

    update = (struct wal_state_update){
        .key = "big", .key_bytes = 3, .value = value, .value_bytes = sizeof(value)};
    assert_int_equal(append_updates(f->wal, 0, 0, &update, 1, NULL), -E2BIG);
    update.value_bytes = WAL_STATE_BYTES_MAX; /* with its head it is too large */
    assert_int_equal(append_updates(f->wal, 0, 0, &update, 1, NULL), -E2BIG);
    update.value_bytes = WAL_STATE_BYTES_MAX - 4096;
    assert_int_equal(append_updates(f->wal, 0, 0, &update, 1, NULL), 0);

    /* Now it is nearly full: the sum counts, a smaller value makes room, and so does removing. */
    struct wal_state_update more = {
        .key = "more", .key_bytes = 4, .value = value, .value_bytes = 4096};
    assert_int_equal(append_updates(f->wal, 0, 10, &more, 1, NULL), -E2BIG);
    expect_state(f->wal, "more", NULL);
    update.value_bytes = 10;
    struct wal_state_update both[] = {update, more};
    assert_int_equal(append_updates(f->wal, 0, 10, both, 2, NULL), 0);
    update.value = NULL;
    assert_int_equal(append_updates(f->wal, 0, 0, &update, 1, NULL), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    fixture_reopen(f);
    expect_state(f->wal, "big", NULL);
    size_t bytes;
    assert_int_equal(wal_state_get(f->wal, "more", 4, NULL, 0, &bytes, NULL), 0);
    assert_int_equal(bytes, 4096);
    assert_int_equal(positions_of(f->wal).committed_offset, 1);
}

/* Each segment repeats the state, so that older ones can go: what is set once is there for good,
 * whatever is trimmed and however often the log is opened. */
static void state_outlives_reopening_rotation_and_trim(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 32 << 10;
    fixture_begin(f);
    set(f->wal, "once", "for ever");
    set(f->wal, "gone", "soon");
    set(f->wal, "gone", NULL);
    char last[24] = "";
    for (uint64_t i = 0; i < 60; i++) {
        snprintf(last, sizeof(last), "%" PRIu64, i);
        struct wal_state_update update = state_update("last", last);
        struct wal_token token;
        assert_int_equal(append_updates(f->wal, i, 200, &update, 1, &token), 0);
        assert_int_equal(wait_for(f->wal, token), 0);
        if (i % 20 == 10)
            fixture_reopen(f);
        if (i % 20 == 15)
            assert_int_equal(wal_trim(f->wal, i, NULL, NULL), 0);
        expect_state(f->wal, "once", "for ever");
        expect_state(f->wal, "gone", NULL);
        expect_state(f->wal, "last", last);
    }
    fixture_settle(f);
    assert_true(stats_of(f->wal).rotations > 0);
    fixture_reopen(f);
    assert_int_equal(positions_of(f->wal).first_offset, 55);
    expect_state(f->wal, "once", "for ever");
    expect_state(f->wal, "gone", NULL);
    expect_state(f->wal, "last", "59");
    expect_numbers(f, f->wal, 55, 60, 200);
}

/* Records and state changes of a batch are one frame: a power cut at any operation leaves both or
 * neither. Were they two frames, some cut would come between them. */
static void records_and_their_state_survive_a_cut_together(void **state)
{
    struct fixture *f = fixture_of(state);
    fixture_begin(f);
    unsigned with = 0, without = 0;
    for (uint64_t k = 1; k < 60; k++) {
        assert_int_equal(fixture_close(f), 0);
        sim_reset(f->disk, k);
        fixture_begin(f);
        sim_settle(f->disk);
        sim_crash_at(f->disk, sim_ops(f->disk) + k % 12 + 1);
        for (uint64_t i = 0; i < 6; i++) {
            char value[24];
            snprintf(value, sizeof(value), "%" PRIu64, i);
            struct wal_state_update update = state_update("last", value);
            struct wal_token token;
            if (append_updates(f->wal, i, 100, &update, 1, &token) < 0 ||
                wait_for(f->wal, token) < 0)
                break;
        }
        fixture_crash(f);
        fixture_open(f);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
        uint64_t records = positions_of(f->wal).committed_offset;
        char value[24] = "";
        snprintf(value, sizeof(value), "%" PRIu64, records - 1);
        expect_state(f->wal, "last", records > 0 ? value : NULL);
        with += records > 0;
        without += records < 6;
    }
    assert_true(with > 0 && without > 0);
}

/* Many appends change the same key while earlier changes are still in flight. */
static void changes_of_one_key_follow_each_other(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_records_max = 3;
    fixture_begin(f);
    for (unsigned i = 0; i < 100; i++) {
        char value[24];
        snprintf(value, sizeof(value), "%u", i);
        struct wal_state_update updates[] = {
            state_update("key", "overwritten in the same batch"),
            state_update("key", i % 7 == 6 ? NULL : value),
            state_update("other", i % 2 ? "odd" : NULL),
        };
        assert_int_equal(append_updates(f->wal, i, 10, updates, 3, NULL), 0);
        if (i % 5 == 0)
            fixture_run(f);
        expect_state(f->wal, "key", i % 7 == 6 ? NULL : value);
    }
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_state(f->wal, "key", "99");
    expect_state(f->wal, "other", "odd");
    fixture_reopen(f);
    expect_state(f->wal, "key", "99");
    expect_state(f->wal, "other", "odd");
    expect_numbers(f, f->wal, 0, 100, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(a_lookup_finds_the_newest_value_and_what_it_rests_on),
        ON_ALL(values_are_bytes_of_any_kind),
        ON_ALL(all_keys_can_be_walked),
        ON_ALL(a_refused_batch_changes_no_state),
        ON_ALL(keys_and_values_have_limits),
        ON_ALL(state_outlives_reopening_rotation_and_trim),
        ON_SIM(records_and_their_state_survive_a_cut_together),
        ON_ALL(changes_of_one_key_follow_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
