#include "wal/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Out of memory while the table grows must be an error here, not the end of the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "wal/base.h"
#include "wal/format.h"

struct state_entry {
    UT_hash_handle hh;
    struct state_change *committed; /* NULL: no committed value */
    struct state_change *newest;    /* == committed when nothing is in flight */
    uint16_t key_bytes;
    uint8_t key[];
};

struct state_change {
    struct state_change *next;     /* in the queue of changes not committed yet */
    struct state_change *previous; /* the newest value before this one, or NULL */
    struct state_entry *entry;
    uint64_t ticket;
    uint32_t value_bytes;
    bool removes;
    uint8_t value[];
};

static uint64_t change_bytes(const struct state_change *change)
{
    if (!change || change->removes)
        return 0;
    return item_bytes(change->entry->key_bytes, change->value_bytes);
}

static struct state_entry *find(const struct state *state, const void *key, uint16_t key_bytes)
{
    struct state_entry *entry = NULL;
    HASH_FIND(hh, state->entries, key, key_bytes, entry);
    return entry;
}

static void remove_entry_if_empty(struct state *state, struct state_entry *entry)
{
    if (entry->newest && (entry->newest != entry->committed || !entry->committed->removes))
        return;
    HASH_DEL(state->entries, entry);
    free(entry->committed);
    free(entry);
}

void state_done(struct state *state)
{
    state_refuse(state);
    struct state_entry *entry, *next;
    HASH_ITER(hh, state->entries, entry, next) {
        HASH_DEL(state->entries, entry);
        free(entry->committed);
        free(entry);
    }
    state->bytes = 0;
}

static struct state_entry *add_entry(struct state *state, const void *key, uint16_t key_bytes)
{
    struct state_entry *entry = calloc(1, sizeof(*entry) + key_bytes);
    if (!entry)
        return NULL;
    memcpy(entry->key, key, key_bytes);
    entry->key_bytes = key_bytes;

    HASH_ADD_KEYPTR(hh, state->entries, entry->key, key_bytes, entry);
    if (!entry->hh.tbl) {
        free(entry);
        return NULL;
    }
    return entry;
}

int state_change(struct state *state, const void *key, uint16_t key_bytes, const void *value,
                 uint32_t value_bytes, uint64_t ticket)
{
    must(!state->last || state->last->ticket <= ticket);
    struct state_change *change = malloc(sizeof(*change) + value_bytes);
    if (!change)
        return -ENOMEM;

    struct state_entry *entry = find(state, key, key_bytes);
    if (!entry)
        entry = add_entry(state, key, key_bytes);
    if (!entry) {
        free(change);
        return -ENOMEM;
    }

    *change = (struct state_change){.entry = entry,
                                    .previous = entry->newest,
                                    .ticket = ticket,
                                    .value_bytes = value ? value_bytes : 0,
                                    .removes = !value};
    if (value)
        memcpy(change->value, value, value_bytes);
    state->bytes = state->bytes - change_bytes(entry->newest) + change_bytes(change);
    entry->newest = change;

    if (state->last)
        state->last->next = change;
    else
        state->first = change;
    state->last = change;
    return 0;
}

void state_commit(struct state *state, uint64_t ticket)
{
    while (state->first && state->first->ticket <= ticket) {
        struct state_change *change = state->first;
        struct state_entry *entry = change->entry;
        state->first = change->next;
        if (!state->first)
            state->last = NULL;

        free(entry->committed);
        entry->committed = change;
        change->next = NULL;
        change->previous = NULL;
        if (entry->newest == change)
            remove_entry_if_empty(state, entry);
    }
}

/* Undoes the newest change of the queue. Changes of one key are undone newest first. */
static void undo(struct state *state, struct state_change *change)
{
    struct state_entry *entry = change->entry;
    must(entry->newest == change);
    state->bytes = state->bytes - change_bytes(change) + change_bytes(change->previous);
    entry->newest = change->previous;
    free(change);
    remove_entry_if_empty(state, entry);
}

static void refuse_from(struct state *state, struct state_change *first)
{
    /* The queue is singly linked and is undone from its end: turn the tail part around first. */
    struct state_change *reversed = NULL;
    while (first) {
        struct state_change *next = first->next;
        first->next = reversed;
        reversed = first;
        first = next;
    }
    while (reversed) {
        struct state_change *next = reversed->next;
        undo(state, reversed);
        reversed = next;
    }
}

void state_refuse(struct state *state)
{
    struct state_change *first = state->first;
    state->first = state->last = NULL;
    refuse_from(state, first);
}

void state_refuse_ticket(struct state *state, uint64_t ticket)
{
    struct state_change *kept = NULL, *first = state->first;
    while (first && first->ticket < ticket) {
        kept = first;
        first = first->next;
    }
    state->last = kept;
    if (kept)
        kept->next = NULL;
    else
        state->first = NULL;
    refuse_from(state, first);
}

const void *state_get(const struct state *state, const void *key, uint16_t key_bytes,
                      uint32_t *ret_bytes, uint64_t *ret_ticket)
{
    *ret_ticket = 0;
    struct state_entry *entry = find(state, key, key_bytes);
    if (!entry)
        return NULL;
    struct state_change *change = entry->newest;
    if (change != entry->committed)
        *ret_ticket = change->ticket;
    if (change->removes)
        return NULL;
    *ret_bytes = change->value_bytes;
    return change->value;
}

const void *state_get_committed(const struct state *state, const void *key, uint16_t key_bytes,
                                uint32_t *ret_bytes)
{
    struct state_entry *entry = find(state, key, key_bytes);
    struct state_change *change = entry ? entry->committed : NULL;
    if (!change || change->removes)
        return NULL;
    *ret_bytes = change->value_bytes;
    return change->value;
}

int state_each(const struct state *state, bool committed,
               int (*visit)(void *context, const void *key, uint16_t key_bytes, const void *value,
                            uint32_t value_bytes),
               void *context)
{
    struct state_entry *entry, *next;
    HASH_ITER(hh, state->entries, entry, next) {
        const struct state_change *change = committed ? entry->committed : entry->newest;
        if (!change || change->removes)
            continue;
        int rc = visit(context, entry->key, entry->key_bytes, change->value, change->value_bytes);
        if (rc != 0)
            return rc;
    }
    return 0;
}
