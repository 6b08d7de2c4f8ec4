#include "api/watch.h"

#include <string.h>

#include "api/request.h"
#include "wal/base.h"

static struct request *request_of(struct waiter *waiter)
{
    return container_of(waiter, struct request, waiter);
}

/* The log keeps the root of the heap of those who wait on it: found without a search. */
static void log_add(struct wal *wal, struct waiter *waiter, uint64_t after)
{
    struct heap_node *heap = wal_user(wal);
    heap_add(&heap, &waiter->by_offset, after);
    wal_set_user(wal, heap);
}

static void log_remove(struct wal *wal, struct waiter *waiter)
{
    struct heap_node *heap = wal_user(wal);
    heap_remove(&heap, &waiter->by_offset);
    wal_set_user(wal, heap);
}

void watch_begin(struct request *request, struct wal *wal, uint64_t after, uint64_t timeout_us,
                 void (*finish)(struct request *request))
{
    struct watch *watch = &request->api->watch;
    struct waiter *waiter = &request->waiter;
    uint64_t deadline_us;
    if (__builtin_add_overflow(api_now_us(), timeout_us, &deadline_us))
        deadline_us = UINT64_MAX;

    request->wal = wal;
    request->finish = finish;
    request->transport->suspend(request);
    log_add(wal, waiter, after);
    heap_add(&watch->deadlines, &waiter->by_deadline, deadline_us);
    waiter->next = watch->waiters;
    waiter->link = &watch->waiters;
    if (waiter->next)
        waiter->next->link = &waiter->next;
    watch->waiters = waiter;
    watch->count++;
}

static void end(struct api *api, struct waiter *waiter, int status)
{
    struct request *request = request_of(waiter);
    log_remove(request->wal, waiter);
    heap_remove(&api->watch.deadlines, &waiter->by_deadline);
    *waiter->link = waiter->next;
    if (waiter->next)
        waiter->next->link = waiter->link;
    api->watch.count--;
    request->status = status;
    request->transport->resume(request);
}

void watch_log_closed(struct api *api, const char *log, int status)
{
    struct waiter *next;
    for (struct waiter *waiter = api->watch.waiters; waiter; waiter = next) {
        next = waiter->next;
        if (strcmp(request_of(waiter)->log, log) == 0)
            end(api, waiter, status);
    }
}

void watch_stream_closed(struct api *api, struct wal *wal)
{
    struct waiter *next;
    for (struct waiter *waiter = api->watch.waiters; waiter; waiter = next) {
        next = waiter->next;
        struct request *request = request_of(waiter);
        if (request->wal == wal && request->route->is_stream)
            end(api, waiter, 0);
    }
}

void watch_end_all(struct api *api)
{
    while (api->watch.waiters)
        end(api, api->watch.waiters, 0);
}

void api_log_moved(struct api *api, struct wal *wal)
{
    struct heap_node *first = wal_user(wal);
    if (!first)
        return;

    struct wal_positions positions;
    wal_positions(wal, &positions);
    while (first && first->key < positions.committed_offset) {
        end(api, container_of(first, struct waiter, by_offset), 0);
        first = wal_user(wal);
    }
}

uint64_t api_run_timers(struct api *api)
{
    if (!api->watch.deadlines)
        return UINT64_MAX;

    uint64_t now_us = api_now_us();
    struct heap_node *first;
    while ((first = api->watch.deadlines) && first->key <= now_us)
        end(api, container_of(first, struct waiter, by_deadline), 0);
    return first ? first->key - now_us : UINT64_MAX;
}
