/*
 * Requests that wait for a log to grow: long polls, and waits for an offset to be durable.
 *
 * Each is in two heaps: its log's, by the offset it waits for, and that of all deadlines. A commit
 * looks at the first of its own log's and at no others, and at nothing at all if nobody waits there.
 * Such a request holds its log, so that the log stays open. Belongs to the loop's thread.
 */
#ifndef API_WATCH_H
#define API_WATCH_H

#include <stdint.h>

#include "api/heap.h"

struct api;
struct request;
struct wal;

/* Part of a request. */
struct waiter {
    struct heap_node by_offset, by_deadline;
    struct waiter *next, **link; /* in the list of all */
};

/* Part of the service; all zero: nobody waits. */
struct watch {
    struct waiter *waiters;
    struct heap_node *deadlines; /* in microseconds of the monotonic clock */
    uint64_t count;
};

/*
 * Suspends the request until committed_offset of `wal` is above `after`, timeout_us have passed, the
 * service stops, or the log is deleted; after that finish() is called, with request->status -ENOENT
 * if the log is gone and 0 otherwise: it has to look at the log itself. The caller's hold on the log
 * becomes request->wal, which finish() gives back.
 */
void watch_begin(struct request *request, struct wal *wal, uint64_t after, uint64_t timeout_us,
                 void (*finish)(struct request *request));

/* A log was deleted, or the attempt has closed it: all who wait on it are answered, by `status`. */
void watch_log_closed(struct api *api, const char *log, int status);

/* The log was closed as a stream, durably: readers of the stream look again; others wait on. */
void watch_stream_closed(struct api *api, struct wal *wal);

/* All who wait are answered. */
void watch_end_all(struct api *api);

#endif
