/*
 * api/idempotency.c: what was accepted is known again as long as was promised, in bounded space, and
 * after a crash exactly where the records are.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/idempotency.h"
#include "wal/base.h"

#define NUMBER_MAX PRODUCER_NUMBER_MAX

/* ---- the state machine of producers ---- */

/* The table of the protocol, row by row. */
static void a_producer_is_judged_by_its_epoch_and_then_by_its_number(void **state)
{
    const struct producer known = {.epoch = 5, .seq = 7};
    static const struct {
        uint64_t epoch, seq;
        enum judgement judgement;
    } rows[] = {
        {4, 0, JUDGED_STALE_EPOCH},  {4, 7, JUDGED_STALE_EPOCH}, {4, 8, JUDGED_STALE_EPOCH},
        {5, 0, JUDGED_OLD},          {5, 6, JUDGED_OLD},         {5, 7, JUDGED_REPEAT},
        {5, 8, JUDGED_NEW},          {5, 9, JUDGED_GAP},         {5, NUMBER_MAX, JUDGED_GAP},
        {6, 0, JUDGED_NEW},          {6, 1, JUDGED_LATE_START},  {6, 8, JUDGED_LATE_START},
        {NUMBER_MAX, 0, JUDGED_NEW},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(producer_judge(&known, rows[i].epoch, rows[i].seq), rows[i].judgement);
    assert_int_equal(producer_judge(NULL, 0, 0), JUDGED_NEW);
    assert_int_equal(producer_judge(NULL, 9, 0), JUDGED_NEW);
    assert_int_equal(producer_judge(NULL, 0, 1), JUDGED_GAP);
}

/* The state outlives the program, so its bytes are a format. */
static void a_producer_is_kept_in_these_bytes(void **state)
{
    const struct producer producer = {
        0x0102030405060708, 0x1112131415161718, {0x2122232425262728, 0x31323334, 0x41424344}};
    const uint8_t wanted[IDEMPOTENCY_VALUE_BYTES] =
        "\x01\x08\x07\x06\x05\x04\x03\x02\x01\x18\x17\x16\x15\x14\x13\x12\x11"
        "\x28\x27\x26\x25\x24\x23\x22\x21\x34\x33\x32\x31\x44\x43\x42\x41";
    uint8_t value[IDEMPOTENCY_VALUE_BYTES];
    producer_encode(&producer, value);
    assert_memory_equal(value, wanted, sizeof(wanted));

    struct producer again;
    assert_true(producer_decode(value, sizeof(value), &again));
    assert_memory_equal(&again, &producer, sizeof(again));
    assert_false(producer_decode(value, sizeof(value) - 1, &again));
    value[0] = 2;
    assert_false(producer_decode(value, sizeof(value), &again));
}

/* A key is known again by its digest: if that ever came out different, every retry across an upgrade
 * would be stored twice. SHA-256 of "rabc", cut to 16 bytes, by sha256sum. */
static void a_digest_is_the_beginning_of_sha_256(void **state)
{
    static const uint8_t wanted[DIGEST_BYTES] = {0xaa, 0xea, 0x87, 0xb4, 0x4c, 0x5d, 0x9a, 0x64,
                                                 0xd8, 0xa0, 0x17, 0x97, 0xcb, 0x73, 0x4a, 0x7a};
    uint8_t digest[DIGEST_BYTES], other[DIGEST_BYTES];
    digest_of(digest, 'r', "abc", 3);
    assert_memory_equal(digest, wanted, sizeof(wanted));
    digest_of(other, 'n', "abc", 3);
    assert_memory_not_equal(digest, other, sizeof(other));
}

/* ---- in a log ---- */

static struct idempotency keyed(const char *key, const char *body)
{
    struct idempotency asked = {.kind = IDEMPOTENCY_KEY, .id = key};
    digest_of(asked.body, 'r', body, strlen(body));
    return asked;
}

static struct idempotency produced(const char *id, uint64_t epoch, uint64_t seq)
{
    return (struct idempotency){.kind = IDEMPOTENCY_PRODUCER, .id = id, .epoch = epoch, .seq = seq};
}

static struct verdict judge(struct wal *wal, struct idempotency asked)
{
    struct verdict verdict;
    assert_int_equal(idempotency_judge(wal, &asked, &verdict), 0);
    return verdict;
}

/* Appends one record as a server would, without waiting. */
static int append(struct wal *wal, struct idempotency asked)
{
    struct wal_positions positions = positions_of(wal);
    struct appended appended = {positions.next_offset, 1, 10};
    struct idempotency_updates updates;
    idempotency_updates(wal, &asked, &appended, &updates);
    uint8_t data[10];
    record_fill(data, sizeof(data), positions.next_offset);
    struct wal_record record = {.data = data, .size = sizeof(data)};
    struct wal_append_options options = {.expected_offset = positions.next_offset,
                                         .updates = updates.list,
                                         .update_count = updates.count};
    return wal_append(wal, &record, 1, &options, NULL, NULL);
}

static void expect_judgement(struct wal *wal, struct idempotency asked, enum judgement judgement)
{
    assert_int_equal(judge(wal, asked).judgement, judgement);
}

/* A retry gets what the first attempt got, and only with the same body. */
static void a_key_is_known_again_with_its_body_and_its_place(void **state)
{
    struct fixture *f = fixture_start(state);
    commit_number(f->wal, 0, 10);
    expect_judgement(f->wal, keyed("a", "one"), JUDGED_NEW);
    assert_int_equal(append(f->wal, keyed("a", "one")), 0);

    struct verdict verdict = judge(f->wal, keyed("a", "one"));
    assert_int_equal(verdict.judgement, JUDGED_REPEAT);
    assert_int_equal(verdict.appended.begin, 1);
    assert_int_equal(verdict.appended.count, 1);
    assert_int_equal(verdict.appended.bytes, 10);
    assert_int_equal(wal_poll(f->wal, verdict.rests_on), -EINPROGRESS);
    expect_judgement(f->wal, keyed("a", "two"), JUDGED_OTHER_BODY);
    expect_judgement(f->wal, keyed("b", "one"), JUDGED_NEW);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(judge(f->wal, keyed("a", "one")).rests_on.ticket, 0);
}

/* A key and a producer of the same name are two things. */
static void keys_and_producers_do_not_meet(void **state)
{
    struct fixture *f = fixture_start(state);
    assert_int_equal(append(f->wal, keyed("same", "body")), 0);
    expect_judgement(f->wal, produced("same", 0, 0), JUDGED_NEW);
    assert_int_equal(append(f->wal, produced("same", 0, 0)), 0);
    expect_judgement(f->wal, produced("same", 0, 0), JUDGED_REPEAT);
    expect_judgement(f->wal, keyed("same", "body"), JUDGED_REPEAT);
}

/* The window is a promise in both directions: the newest thousand are known, and no more are kept. */
static void the_newest_thousand_keys_are_known_and_the_one_before_is_not(void **state)
{
    struct fixture *f = fixture_start(state);
    char key[32];
    for (int i = 0; i < 2 * IDEMPOTENCY_KEYS_MAX + 10; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_int_equal(append(f->wal, keyed(key, "body")), 0);
    }
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    for (int i = 0; i < 2 * IDEMPOTENCY_KEYS_MAX + 10; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        expect_judgement(f->wal, keyed(key, "body"),
                         i < IDEMPOTENCY_KEYS_MAX + 10 ? JUDGED_NEW : JUDGED_REPEAT);
    }
}

static int add_bytes(void *context, const void *key, uint16_t key_bytes, const void *value,
                     uint32_t value_bytes)
{
    size_t *total = context;
    *total += 24 + (size_t)key_bytes + value_bytes; /* with the header of an item, padded */
    return 0;
}

/* The longest names there may be, as many as there may be, leave half of the state to settings. */
static void keys_and_producers_together_stay_below_half_of_the_state(void **state)
{
    struct fixture *f = fixture_start(state);
    char id[IDEMPOTENCY_ID_BYTES_MAX + 1];
    memset(id, 'x', sizeof(id));
    id[sizeof(id) - 1] = '\0';
    for (int i = 0; i < PRODUCERS_MAX; i++) {
        memcpy(id, (char[]){(char)('a' + i % 10), (char)('a' + i / 10 % 10), (char)('a' + i / 100)},
               3);
        expect_judgement(f->wal, produced(id, 0, 0), JUDGED_NEW);
        assert_int_equal(append(f->wal, produced(id, 0, 0)), 0);
        assert_int_equal(append(f->wal, keyed(id, "body")), 0);
    }
    size_t total = 0;
    wal_state_each(f->wal, add_bytes, &total);
    assert_true(total < WAL_STATE_BYTES_MAX / 2);

    /* One more producer is refused; those that are known go on, also in a new epoch. */
    expect_judgement(f->wal, produced("new", 0, 0), JUDGED_TOO_MANY);
    expect_judgement(f->wal, produced(id, 0, 1), JUDGED_NEW);
    expect_judgement(f->wal, produced(id, 1, 0), JUDGED_NEW);
}

/* What was not written is not known: a retry has to get in. And what was is. */
static void a_power_cut_takes_records_and_what_is_known_of_them_together(void **state)
{
    struct fixture *f = fixture_start(state);
    assert_int_equal(append(f->wal, keyed("kept", "body")), 0);
    assert_int_equal(append(f->wal, produced("p", 3, 0)), 0);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_int_equal(append(f->wal, keyed("lost", "body")), 0);
    assert_int_equal(append(f->wal, produced("p", 3, 1)), 0);
    fixture_crash(f);
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);

    bool there = positions_of(f->wal).committed_offset == 4;
    assert_true(there || positions_of(f->wal).committed_offset == 2);
    expect_judgement(f->wal, keyed("kept", "body"), JUDGED_REPEAT);
    expect_judgement(f->wal, produced("p", 3, 0), there ? JUDGED_OLD : JUDGED_REPEAT);
    expect_judgement(f->wal, keyed("lost", "body"), there ? JUDGED_REPEAT : JUDGED_NEW);
    expect_judgement(f->wal, produced("p", 3, 1), there ? JUDGED_REPEAT : JUDGED_NEW);
}

/* A format that this program does not know must not pass for "never seen". */
static void a_state_of_a_newer_version_is_refused(void **state)
{
    struct fixture *f = fixture_start(state);
    struct wal_state_update update = state_update("p:new", "something of a later version");
    struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
    assert_int_equal(wal_append(f->wal, NULL, 0, &options, NULL, NULL), 0);
    struct idempotency asked = produced("new", 0, 0);
    struct verdict verdict;
    assert_int_equal(idempotency_judge(f->wal, &asked, &verdict), -EPROTONOSUPPORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_producer_is_judged_by_its_epoch_and_then_by_its_number),
        cmocka_unit_test(a_producer_is_kept_in_these_bytes),
        cmocka_unit_test(a_digest_is_the_beginning_of_sha_256),
        ON_SIM(a_key_is_known_again_with_its_body_and_its_place),
        ON_SIM(keys_and_producers_do_not_meet),
        ON_SIM(the_newest_thousand_keys_are_known_and_the_one_before_is_not),
        ON_SIM(keys_and_producers_together_stay_below_half_of_the_state),
        ON_SIM(a_power_cut_takes_records_and_what_is_known_of_them_together),
        ON_SIM(a_state_of_a_newer_version_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
