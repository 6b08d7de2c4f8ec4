/*
 * What makes a retry safe. What was accepted is remembered in the log's own state, in the same frame
 * as the records: after a crash both are there, or neither.
 *
 *   p:<producer id>   the newest epoch and sequence number of a producer, and what they appended
 *   k:<16 bytes>      an idempotency key by its digest: which body came with it, what was appended
 *   k#<slot>          the digest of the key in that slot of the window, 2 bytes, little endian
 *   kn                how many keys there ever were, 8 bytes: the next one goes to slot kn % 1000
 *
 * Both are bounded. Of keys the newest IDEMPOTENCY_KEYS_MAX are known, and each new one takes the
 * place of the oldest: a client that retries later than a thousand keyed appends may store its record
 * twice, and that is the documented window. Producers are for ever: forgetting one would let its
 * retries in again, so instead of that no further ones are taken when there are PRODUCERS_MAX. All of
 * it stays below half of WAL_STATE_BYTES_MAX. Every function is for the thread that appends.
 */
#ifndef API_IDEMPOTENCY_H
#define API_IDEMPOTENCY_H

#include "api/digest.h"
#include "wal/wal.h"

#define IDEMPOTENCY_KEYS_MAX 1000
#define IDEMPOTENCY_ID_BYTES_MAX 255 /* of keys and of producers' names */
#define PRODUCERS_MAX 1000
#define PRODUCER_NUMBER_MAX ((UINT64_C(1) << 53) - 1) /* what every JSON reader keeps exact */

enum idempotency_kind { IDEMPOTENCY_NONE, IDEMPOTENCY_KEY, IDEMPOTENCY_PRODUCER };

/* What a request says of itself. */
struct idempotency {
    enum idempotency_kind kind;
    const char *id;      /* the key, or the producer's name: up to IDEMPOTENCY_ID_BYTES_MAX bytes */
    uint64_t epoch, seq; /* of a producer */
    uint8_t body[DIGEST_BYTES]; /* with a key */
};

/* What was appended, as its receipt told. */
struct appended {
    uint64_t begin;
    uint32_t count, bytes;
};

enum judgement {
    JUDGED_NEW,         /* to be appended, with idempotency_updates() beside it */
    JUDGED_REPEAT,      /* it is there already, as `appended` */
    JUDGED_OLD,         /* it is there already; where, is not known any more */
    JUDGED_OTHER_BODY,  /* the key came with another body */
    JUDGED_STALE_EPOCH, /* the producer has a newer epoch */
    JUDGED_LATE_START,  /* a new epoch begins with sequence number 0 */
    JUDGED_GAP,         /* something before it is missing */
    JUDGED_TOO_MANY,    /* there is no room for another producer */
};

struct verdict {
    enum judgement judgement;
    struct wal_token rests_on; /* an append that may still be in flight */
    struct appended appended;
    uint64_t epoch, seq; /* the newest ones accepted; JUDGED_GAP: seq is the one expected */
};

/* `wal` NULL: a log that is not there. Errors: -EPROTONOSUPPORT: the state is of a newer version. */
int idempotency_judge(struct wal *wal, const struct idempotency *asked,
                      struct verdict *ret_verdict);

#define IDEMPOTENCY_UPDATES_MAX 4
#define IDEMPOTENCY_VALUE_BYTES 33

/* The list points into the struct. */
struct idempotency_updates {
    struct wal_state_update list[IDEMPOTENCY_UPDATES_MAX];
    size_t count;
    /* private */
    uint8_t entry_key[2 + IDEMPOTENCY_ID_BYTES_MAX], evicted_key[2 + DIGEST_BYTES];
    uint8_t slot_key[4], slot[DIGEST_BYTES], total[8];
    uint8_t entry[IDEMPOTENCY_VALUE_BYTES];
};

/* The changes of the state that go with an append that was judged new. */
void idempotency_updates(struct wal *wal, const struct idempotency *asked,
                         const struct appended *appended, struct idempotency_updates *ret_updates);

/* ---- the rules alone, for tests ---- */

struct producer {
    uint64_t epoch, seq;
    struct appended last;
};

/* What to do with (epoch, seq); `known` NULL: nothing is known of the producer. */
enum judgement producer_judge(const struct producer *known, uint64_t epoch, uint64_t seq);

void producer_encode(const struct producer *producer, uint8_t ret_value[IDEMPOTENCY_VALUE_BYTES]);
bool producer_decode(const uint8_t *value, size_t bytes, struct producer *ret_producer);

#endif
