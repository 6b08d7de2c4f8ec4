/*
 * What the body of an append holds: one record, or many. Nothing of it is kept longer than the call
 * that appends it, since the log copies the records when they are queued: so of bodies that were
 * inflated there is never more than one.
 */
#ifndef API_LOAD_H
#define API_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wal/wal.h"

struct request;

/* All zero: nothing. What is in it points into the body, or into what that was inflated to. */
struct load {
    const char *body; /* as it was before it was packed */
    size_t body_bytes;
    const struct wal_record *records;
    size_t count;
    uint64_t bytes; /* of the records together */

    struct wal_record one;
    struct wal_record *many; /* on the heap */
    char *inflated;          /* likewise */
};

void load_done(struct load *load); /* for CLEANUP() */

/* These fill it step by step; each answers and returns false if that cannot be done. */

/* The body, which may be empty. */
bool load_unpack(struct request *request, struct load *load);

/* The body as it is. */
void load_one(struct load *load);

/* The same where records have no meaning: what one record cannot hold goes into as many as it takes. */
bool load_bytes(struct request *request, struct load *load);

/* Each line that is not empty. */
bool load_lines(struct request *request, struct load *load);

/* Each message of JSON: the elements of an array, or else the one value. An empty array has none,
 * which is an error only if something is `wanted`. */
bool load_messages(struct request *request, struct load *load, bool wanted);

/* Each record has to be JSON. */
bool load_is_json(struct request *request, const struct load *load);

/* Whether the body may be many records, by what its Content-Type says at this door. */
bool load_is_batch(const struct request *request);

#endif
