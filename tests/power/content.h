/*
 * What the power tests append: records made from a number alone. Whoever knows who appended a
 * record (run, log, writer, append, index) can make its bytes again, so the journal of a test need
 * not hold contents, and a record found in a log can say by itself where it belongs.
 */
#ifndef POWER_CONTENT_H
#define POWER_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/splitmix64.h"
#include "wal/wal.h"

#define POWER_BATCH_MAX 64u
#define POWER_RECORD_BYTES_MAX (256u << 10)
#define POWER_STATE_BYTES_MAX 256u

/* One record. `run` numbers the processes that worked on a directory, `append` the appends of one
 * writer to one log in one run: 0, 1, 2, … without gaps. */
struct power_id {
    uint32_t run;
    uint32_t log;
    uint32_t append;
    uint16_t writer;
    uint16_t index; /* in its batch */
};

bool power_id_equal(struct power_id a, struct power_id b);

/* A whole append, ready for wal_append(). The pointers lead into the struct's own memory. */
struct power_append {
    struct power_id id; /* of its first record */
    unsigned count;
    struct wal_record records[POWER_BATCH_MAX];
    struct wal_append_options options; /* now and then it also sets the state key of its writer */
    /* private */
    struct wal_state_update update;
    char key[2];
    unsigned char value[POWER_STATE_BYTES_MAX];
    size_t used;
    unsigned char bytes[POWER_RECORD_BYTES_MAX + (64u << 10)];
};

/* Records in an append, without making them. */
unsigned power_append_count(uint64_t seed, struct power_id id);
bool power_append_changes_state(uint64_t seed, struct power_id id);

/* id.index is ignored: the append is made whole. */
void power_append_make(struct power_append *append, uint64_t seed, struct power_id id);

/* Who appended this? False: the bytes are none of ours. They are compared elsewhere. */
bool power_id_read(const void *data, size_t size, const void *attributes, uint16_t attribute_bytes,
                   struct power_id *ret_id);

/* The state key that appends of a writer set. */
void power_state_key(unsigned writer, char ret_key[2]);
/* The value of a state key after a writer's change number `number`. Returns its size. */
size_t power_state_make(unsigned char value[POWER_STATE_BYTES_MAX], uint32_t run, uint32_t number);
/* False: no value of ours. */
bool power_state_read(const unsigned char *value, size_t size, uint32_t *ret_run,
                      uint32_t *ret_number);

/* The next number of a sequence, below `limit`: splitmix64 makes every choice and byte here. */
uint64_t power_random(uint64_t *state, uint64_t limit);

#endif
