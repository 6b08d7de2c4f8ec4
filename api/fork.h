/*
 * Forks: a log that begins with the first records of another one, and goes on by itself.
 */
#ifndef API_FORK_H
#define API_FORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wal/store.h"
#include "wal/wal.h"

struct api;
struct fork;
struct lifespan;

#define FORK_REFERENCE_BYTES 16
#define FORKS_MAX 1000         /* of one log */
#define FORKS_UNDER_WAY_MAX 64 /* at a time, each with a buffer of half a MiB */

/* What a fork knows of where it comes from. The place is as it was asked for, or else where the source
 * ended. */
struct fork_origin {
    uint8_t reference[FORK_REFERENCE_BYTES];
    uint64_t records, bytes; /* of the source before it */
    uint64_t sub_offset;     /* behind it: bytes, or messages of a JSON stream */
    char source[129];
};

/* False: the log is no fork. */
bool fork_origin_of(struct wal *wal, struct fork_origin *ret_origin);

/* The references that a log has. visit gets the name of a fork; a non-zero return ends the walk and
 * is returned. It runs under the log's lock. */
int fork_each(struct wal *source,
              int (*visit)(void *context, const char *fork,
                           const uint8_t reference[FORK_REFERENCE_BYTES]),
              void *context);

/* Whether the source has this reference to a fork of this name. */
bool fork_is_referred_to(struct wal *source, const char *fork, const struct fork_origin *origin);

/* The change of the source's state that removes it. The key is the caller's memory. */
#define FORK_KEY_BYTES 131
struct wal_state_update fork_unrefer(char key[FORK_KEY_BYTES], const char *fork);

struct fork_plan {
    struct wal *source; /* held: it becomes the fork's on success */
    const char *name;   /* of the fork; the caller's until done() */
    uint64_t records, bytes, sub_offset;
    bool by_messages; /* sub_offset counts these */
    /* The fork's own state beside what is added here, and how long it lives; copied. */
    const struct wal_state_update *updates;
    size_t update_count;
    const struct lifespan *lifespan;

    /* Queues what comes behind the copy, together with `finish`, as one append with this handler; or
     * returns why not. Called once, when everything before it has been queued. */
    int (*append_end)(void *context, struct wal *made, uint64_t expected_offset,
                      const struct wal_state_update *finish, struct wal_handler *handler);
    /* Runs once, where the handlers of committer 0 run. With status 0 the fork is durable and whole,
     * and `made` is held for whoever is told. With another one nothing is left of it. */
    void (*done)(void *context, struct wal *made, int status);
    void *context;
};

/*
 * Makes a fork. Whoever asks has seen to it that the name is free, that the place is one of the source's,
 * and that it begins at offset 0. Errors to done(): those of creating and appending, -EEXIST: the name
 * was not free any more; -ERANGE: the source was trimmed meanwhile; -EBADMSG: it is damaged; others
 * from reading it.
 * Errors (done() will not run, and nothing was changed): -ENOMEM; -EMLINK: the source has FORKS_MAX;
 * -EAGAIN: too many are under way; those of wal_append().
 */
int fork_begin(struct api *api, const struct fork_plan *plan);

#endif
