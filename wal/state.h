/*
 * A log's own state: keys and values that change in the same frames as the records. It is kept
 * twice over while changes are in flight: the committed value, which a new segment repeats and to
 * which refused changes fall back, and the newest one, which callers see. The caller locks.
 * Internal to wal/.
 */
#ifndef WAL_STATE_H
#define WAL_STATE_H

#include <stdbool.h>
#include <stdint.h>

struct state_entry;
struct state_change;

struct state {
    struct state_entry *entries; /* hash table, NULL while empty */
    struct state_change *first;  /* changes not committed yet, oldest first */
    struct state_change *last;
    uint64_t bytes; /* what the newest values would take in a frame */
};

void state_done(struct state *state);

/* Queues a change (value NULL removes the key) that commits with `ticket`. Tickets never fall.
 * Errors: -ENOMEM: nothing changed. */
int state_change(struct state *state, const void *key, uint16_t key_bytes, const void *value,
                 uint32_t value_bytes, uint64_t ticket);

/* Commits the changes up to and including `ticket`. Needs no memory, so it cannot fail. */
void state_commit(struct state *state, uint64_t ticket);

/* Takes back every change that is not committed. */
void state_refuse(struct state *state);

/* Takes back the changes of `ticket` alone, the newest ones: their append could not be queued. */
void state_refuse_ticket(struct state *state, uint64_t ticket);

/* The newest value: NULL if there is no such key. *ret_ticket: the change it rests on, 0 if that is
 * committed (also set when the newest change removed the key). */
const void *state_get(const struct state *state, const void *key, uint16_t key_bytes,
                      uint32_t *ret_bytes, uint64_t *ret_ticket);

/* The committed value: NULL if there is no such key. */
const void *state_get_committed(const struct state *state, const void *key, uint16_t key_bytes,
                                uint32_t *ret_bytes);

/* Walks the committed or the newest values. */
int state_each(const struct state *state, bool committed,
               int (*visit)(void *context, const void *key, uint16_t key_bytes, const void *value,
                            uint32_t value_bytes),
               void *context);

#endif
