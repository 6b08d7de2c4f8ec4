/*
 * Which logs are there for a client, although they are on the disk, and what becomes of the others.
 *
 *   s:forking  there while not all that was asked for is in the log, the first content of a stream or
 *              the prefix of a fork: it does not exist yet, and if nobody is making it, it goes
 *   s:deleted  there: deleted by a client, or ended by itself, and kept for the forks that it has. Its
 *              name stays taken (410), until the last of them is gone
 *
 * What is dead is removed by errands, which ask the store's workers and never sleep. There is one at a
 * time for a name, and nothing else deletes by name but a fork that undoes itself: so what an errand
 * has found out about a log still holds for the log that it deletes. Belongs to the loop's thread.
 */
#ifndef API_LIFE_H
#define API_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "api/expiry.h"
#include "api/fork.h"
#include "api/stream_state.h"
#include "wal/store.h"

struct api;
struct errand;

#define LIFE_NAME_BYTES 129

enum lifetime {
    LIFETIME_LIVING,
    LIFETIME_UNFINISHED,   /* as if there was no such log */
    LIFETIME_ENDED,        /* by itself: likewise */
    LIFETIME_SOFT_DELETED, /* its name stays taken: 410 */
};

/* What a log is at this moment; with `uses` its TTL begins anew, if it lives. With STREAM_NEWEST
 * *rests_on, if given, is moved on to the append that this rests on, if that is a later one. */
enum lifetime life_of(struct api *api, struct wal *wal, enum stream_view view, bool uses,
                      struct wal_token *rests_on);

/* ---- names that are being made ---- */

/* In place. While it is there, a log of that name that is not finished is not removed, and none has
 * ended. */
struct making {
    const char *name; /* the caller's */
    struct making *next, **link;
};

void life_making_begin(struct api *api, struct making *making, const char *name);
void life_making_end(struct making *making);
bool life_is_making(const struct api *api, const char *name);

/* ---- errands ---- */

/* The caller's, in place until done() is entered, which runs once, where the handlers of committer 0
 * run, and never from inside the call that asked for it. */
struct life_waiter {
    void (*done)(struct life_waiter *waiter, int status);
};

/*
 * Clears the name for a log to be made: what is dead under it is removed, durably. done() gets
 *   0        there is no log of that name
 *   -EEXIST  there is one, and it lives
 *   -EIDRM   it is soft-deleted, and has forks
 *   -EAGAIN  it is being made
 *   others   from opening or removing it
 * Errors (done() will not run): -ENOMEM, and those of store_open_async().
 */
int life_clear(struct api *api, const char *name, struct life_waiter *waiter);

/* Deletes a log: for good, or softly if it has forks; durable when done() gets 0. Readers who wait at it
 * are told. done() gets -ENOENT, -EIDRM, or what the store said. Errors: likewise. */
int life_delete(struct api *api, const char *name, struct life_waiter *waiter);

/* Clears the name when there is time for it, and nobody is told. */
void life_tidy(struct api *api, const char *name);

/* The fork that held this reference is gone: the source forgets it, and goes too if it was kept for
 * that one alone. Without an answer: if it comes to nothing, the reference counts for nothing. */
void life_release(struct api *api, const char *fork, const struct fork_origin *origin);

/* ---- the service's part ---- */

struct life {
    struct expiry expiry;
    struct making *makings;
    struct errand *errands; /* all of them */
    unsigned errand_count;
    struct fork *forks;
    unsigned fork_count;
    unsigned notes; /* changes of a log's state that nobody waits for */

    /* The walk through all logs after the start, for those that nobody asks for. */
    char *names; /* one behind the other, each with its zero; NULL: not listed yet */
    size_t names_bytes, names_at, names_capacity;
    bool has_walked, is_walking;
    unsigned sweeping;            /* errands of our own that are under way */
    char opened[LIFE_NAME_BYTES]; /* by the walk, to be closed again; "": none */
    uint64_t rest_until_us;
};

void life_init(struct api *api);
void life_done(struct api *api);

/* A client asks for this log: if the walk has opened it, it stays open. */
void life_met(struct api *api, const char *name);

/* What has begun and not ended; a stop waits for it. */
uint64_t life_in_progress(const struct api *api);

/* Looks after logs that have ended, a little at a time. Returns in how many microseconds to come again;
 * UINT64_MAX: something else will wake us. */
uint64_t life_run(struct api *api);

#endif
