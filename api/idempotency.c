#include "api/idempotency.h"

#include <errno.h>
#include <string.h>

#include "wal/base.h"

#define FORMAT 1 /* the first byte of every value of an entry */

static const char total_key[] = {'k', 'n'};

/* ---- values ---- */

static uint8_t *put_number(uint8_t *at, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *at++ = (uint8_t)(number >> (8 * i));
    return at;
}

static uint64_t take_number(const uint8_t **at, unsigned bytes)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < bytes; i++)
        number |= (uint64_t) * (*at)++ << (8 * i);
    return number;
}

static void put_appended(uint8_t *at, const struct appended *appended)
{
    at = put_number(at, appended->begin, 8);
    at = put_number(at, appended->count, 4);
    put_number(at, appended->bytes, 4);
}

static void take_appended(const uint8_t *at, struct appended *ret_appended)
{
    ret_appended->begin = take_number(&at, 8);
    ret_appended->count = (uint32_t)take_number(&at, 4);
    ret_appended->bytes = (uint32_t)take_number(&at, 4);
}

static bool value_is_ours(const uint8_t *value, size_t bytes)
{
    return bytes == IDEMPOTENCY_VALUE_BYTES && value[0] == FORMAT;
}

void producer_encode(const struct producer *producer, uint8_t ret_value[IDEMPOTENCY_VALUE_BYTES])
{
    uint8_t *at = ret_value;
    *at++ = FORMAT;
    at = put_number(at, producer->epoch, 8);
    at = put_number(at, producer->seq, 8);
    put_appended(at, &producer->last);
}

bool producer_decode(const uint8_t *value, size_t bytes, struct producer *ret_producer)
{
    if (!value_is_ours(value, bytes))
        return false;
    const uint8_t *at = value + 1;
    ret_producer->epoch = take_number(&at, 8);
    ret_producer->seq = take_number(&at, 8);
    take_appended(at, &ret_producer->last);
    return true;
}

/* ---- keys of the state ---- */

static void put_prefix(uint8_t *ret_key, const char *prefix)
{
    ret_key[0] = (uint8_t)prefix[0];
    ret_key[1] = (uint8_t)prefix[1];
}

/* Of the entry. Returns its length. */
static uint16_t entry_key(const struct idempotency *asked, uint8_t *ret_key)
{
    size_t bytes = strlen(asked->id);
    must(bytes > 0 && bytes <= IDEMPOTENCY_ID_BYTES_MAX);
    if (asked->kind == IDEMPOTENCY_PRODUCER) {
        put_prefix(ret_key, "p:");
        memcpy(ret_key + 2, asked->id, bytes);
        return (uint16_t)(2 + bytes);
    }
    /* By its digest: a thousand keys of 255 bytes, each there twice, would fill half the state. */
    put_prefix(ret_key, "k:");
    digest_of(ret_key + 2, 'k', asked->id, bytes);
    return 2 + DIGEST_BYTES;
}

/* ---- judging ---- */

enum judgement producer_judge(const struct producer *known, uint64_t epoch, uint64_t seq)
{
    if (!known)
        return seq == 0 ? JUDGED_NEW : JUDGED_GAP;
    if (epoch < known->epoch)
        return JUDGED_STALE_EPOCH;
    if (epoch > known->epoch)
        return seq == 0 ? JUDGED_NEW : JUDGED_LATE_START;
    if (seq == known->seq)
        return JUDGED_REPEAT;
    if (seq < known->seq)
        return JUDGED_OLD;
    return seq == known->seq + 1 ? JUDGED_NEW : JUDGED_GAP;
}

static int count_producer(void *context, const void *key, uint16_t key_bytes, const void *value,
                          uint32_t value_bytes)
{
    uint32_t *count = context;
    if (key_bytes > 2 && memcmp(key, "p:", 2) == 0)
        ++*count;
    return 0;
}

/* Walks the whole state, but only for the first append of a producer. */
static bool has_room_for_producer(struct wal *wal)
{
    uint32_t count = 0;
    wal_state_each(wal, count_producer, &count);
    return count < PRODUCERS_MAX;
}

static int judge_producer(struct wal *wal, const struct idempotency *asked, const uint8_t *value,
                          size_t bytes, struct verdict *verdict)
{
    struct producer known;
    if (value && !producer_decode(value, bytes, &known))
        return -EPROTONOSUPPORT;

    verdict->judgement = producer_judge(value ? &known : NULL, asked->epoch, asked->seq);
    if (value) {
        verdict->epoch = known.epoch;
        verdict->seq = known.seq;
        verdict->appended = known.last;
    }
    if (verdict->judgement == JUDGED_GAP)
        verdict->seq = value ? known.seq + 1 : 0;
    if (verdict->judgement == JUDGED_NEW && !value && wal && !has_room_for_producer(wal))
        verdict->judgement = JUDGED_TOO_MANY;
    return 0;
}

static int judge_key(const struct idempotency *asked, const uint8_t *value, size_t bytes,
                     struct verdict *verdict)
{
    if (!value)
        return 0;
    if (!value_is_ours(value, bytes))
        return -EPROTONOSUPPORT;
    bool same = memcmp(value + 1, asked->body, DIGEST_BYTES) == 0;
    verdict->judgement = same ? JUDGED_REPEAT : JUDGED_OTHER_BODY;
    take_appended(value + 1 + DIGEST_BYTES, &verdict->appended);
    return 0;
}

int idempotency_judge(struct wal *wal, const struct idempotency *asked, struct verdict *ret_verdict)
{
    *ret_verdict = (struct verdict){.judgement = JUDGED_NEW};
    if (asked->kind == IDEMPOTENCY_NONE)
        return 0;

    uint8_t key[2 + IDEMPOTENCY_ID_BYTES_MAX], value[IDEMPOTENCY_VALUE_BYTES];
    uint16_t key_bytes = entry_key(asked, key);
    size_t bytes = 0;
    int rc = -ENOENT;
    if (wal)
        rc = wal_state_get(wal, key, key_bytes, value, sizeof(value), &bytes,
                           &ret_verdict->rests_on);
    must(rc == 0 || rc == -ENOENT);
    const uint8_t *found = rc == 0 ? value : NULL;
    return asked->kind == IDEMPOTENCY_KEY ? judge_key(asked, found, bytes, ret_verdict)
                                          : judge_producer(wal, asked, found, bytes, ret_verdict);
}

/* ---- remembering ---- */

static void add(struct idempotency_updates *updates, const void *key, size_t key_bytes,
                const void *value, size_t value_bytes)
{
    must(updates->count < IDEMPOTENCY_UPDATES_MAX);
    updates->list[updates->count++] =
        (struct wal_state_update){key, (uint16_t)key_bytes, value, (uint32_t)value_bytes};
}

/* The oldest key of the window goes in the same frame in which the new one comes. */
static void add_to_window(struct wal *wal, struct idempotency_updates *updates)
{
    uint8_t total[8] = {0};
    size_t bytes;
    const uint8_t *at = total;
    wal_state_get(wal, total_key, sizeof(total_key), total, sizeof(total), &bytes, NULL);
    uint64_t number = take_number(&at, 8);

    put_prefix(updates->slot_key, "k#");
    put_number(updates->slot_key + 2, number % IDEMPOTENCY_KEYS_MAX, 2);
    uint8_t *evicted = updates->evicted_key + 2;
    if (wal_state_get(wal, updates->slot_key, sizeof(updates->slot_key), evicted, DIGEST_BYTES,
                      &bytes, NULL) == 0) {
        put_prefix(updates->evicted_key, "k:");
        add(updates, updates->evicted_key, sizeof(updates->evicted_key), NULL, 0);
    }
    memcpy(updates->slot, updates->entry_key + 2, DIGEST_BYTES);
    put_number(updates->total, number + 1, 8);
    add(updates, updates->slot_key, sizeof(updates->slot_key), updates->slot, DIGEST_BYTES);
    add(updates, total_key, sizeof(total_key), updates->total, sizeof(updates->total));
}

void idempotency_updates(struct wal *wal, const struct idempotency *asked,
                         const struct appended *appended, struct idempotency_updates *ret_updates)
{
    ret_updates->count = 0;
    if (asked->kind == IDEMPOTENCY_NONE)
        return;

    uint16_t key_bytes = entry_key(asked, ret_updates->entry_key);
    if (asked->kind == IDEMPOTENCY_PRODUCER) {
        struct producer producer = {asked->epoch, asked->seq, *appended};
        producer_encode(&producer, ret_updates->entry);
    } else {
        ret_updates->entry[0] = FORMAT;
        memcpy(ret_updates->entry + 1, asked->body, DIGEST_BYTES);
        put_appended(ret_updates->entry + 1 + DIGEST_BYTES, appended);
        add_to_window(wal, ret_updates);
    }
    add(ret_updates, ret_updates->entry_key, key_bytes, ret_updates->entry,
        sizeof(ret_updates->entry));
}
