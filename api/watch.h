/*
 * Who waits for a log to grow: requests, which are long polls and waits for an offset to be durable,
 * and followers (follow.h).
 *
 * All who wait for one log are its audience, which the log keeps for us. A request is in two heaps:
 * its log's, by the offset it waits for, and that of all deadlines. A commit looks at the first of
 * its own log's and at no others, hands all its followers on at once, and does nothing at all if
 * nobody waits there. Whoever waits holds the log, so that it stays open. Belongs to the loop's
 * thread.
 */
#ifndef API_WATCH_H
#define API_WATCH_H

#include <stdint.h>

#include "api/follow.h"
#include "api/heap.h"

struct api;
struct batch;
struct request;
struct wal;

/* As long as somebody waits. */
struct audience {
    struct wal *wal;
    struct heap_node *waiters;
    struct audience *next, **link; /* in the list of all */

    uint64_t followers;
    struct list_node idle;  /* followers who have been told all there is */
    struct list_node ready; /* … who have not, each to get a turn */
    struct list_node turn;  /* among the audiences with such */
    struct list_node busy;  /* followers who have not taken what they were sent */
    uint64_t woken_at;      /* committed_offset, when idle ones were last made ready */
    const char *end;        /* why there will be no more; NULL: there will */
    struct batch *batches[FOLLOW_FORM_COUNT]; /* the newest of each form, while some are ready */
};

/* Part of a request. */
struct waiter {
    struct heap_node by_offset, by_deadline;
    struct waiter *next, **link; /* in the list of all */
};

/* Part of the service; all zero: nobody waits. */
struct watch {
    struct audience *audiences;
    struct waiter *waiters;
    struct heap_node *deadlines; /* in microseconds of the monotonic clock */
    uint64_t count;
};

/* The log's audience, made if there is none; NULL: no memory. The caller holds the log, and joins it
 * or leaves it. */
struct audience *audience_of(struct watch *watch, struct wal *wal);

/* It is gone if nobody is left. Before the log is given back. */
void audience_leave(struct audience *audience);

/*
 * Suspends the request until committed_offset of `wal` is above `after`, timeout_us have passed, the
 * service stops, or the log is deleted; after that finish() is called, with request->status -ENOENT
 * if the log is gone and 0 otherwise: it has to look at the log itself. The caller's hold on the log
 * becomes request->wal, which finish() gives back. Without memory to wait it is as if the time had
 * passed at once.
 */
void watch_begin(struct request *request, struct wal *wal, uint64_t after, uint64_t timeout_us,
                 void (*finish)(struct request *request));

/* A request that waits here is answered now, as if its time was up. */
void watch_end(struct request *request);

/* A log was deleted, or the attempt has closed it: all who wait on it are answered, by `status`. */
void watch_log_closed(struct api *api, const char *log, int status);

/* The log was closed as a stream, durably: readers of the stream look again, and so do
 * followers; others wait on. */
void watch_stream_closed(struct api *api, struct wal *wal);

/* All requests that wait are answered, and followers get their end. */
void watch_end_all(struct api *api);

/* Those that may not be told of their log any more are answered so. */
void watch_check_rights(struct api *api);

#endif
