#include "api/watch.h"

#include <stdlib.h>
#include <string.h>

#include "api/request.h"
#include "wal/base.h"

static struct request *request_of(struct waiter *waiter)
{
    return container_of(waiter, struct request, waiter);
}

/* ---- audiences ---- */

struct audience *audience_of(struct watch *watch, struct wal *wal)
{
    struct audience *audience = wal_user(wal);
    struct wal_positions positions;
    if (audience)
        return audience;
    audience = calloc(1, sizeof(*audience));
    if (!audience)
        return NULL;

    wal_positions(wal, &positions);
    audience->wal = wal;
    audience->woken_at = positions.committed_offset;
    list_init(&audience->idle);
    list_init(&audience->ready);
    list_init(&audience->turn);
    list_init(&audience->busy);
    audience->next = watch->audiences;
    audience->link = &watch->audiences;
    if (audience->next)
        audience->next->link = &audience->next;
    watch->audiences = audience;
    wal_set_user(wal, audience);
    return audience;
}

void audience_leave(struct audience *audience)
{
    if (audience->followers > 0 || audience->waiters)
        return;
    must(list_is_empty(&audience->turn));
    *audience->link = audience->next;
    if (audience->next)
        audience->next->link = audience->link;
    wal_set_user(audience->wal, NULL);
    free(audience);
}

/* ---- requests ---- */

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
    request->status = 0;
    request->transport->suspend_for_long(request);
    struct audience *audience = audience_of(watch, wal);
    if (!audience) {
        request->transport->resume(request);
        return;
    }
    heap_add(&audience->waiters, &waiter->by_offset, after);
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
    struct audience *audience = wal_user(request->wal);
    heap_remove(&audience->waiters, &waiter->by_offset);
    audience_leave(audience);
    heap_remove(&api->watch.deadlines, &waiter->by_deadline);
    *waiter->link = waiter->next;
    if (waiter->next)
        waiter->next->link = waiter->link;
    api->watch.count--;
    request->status = status;
    request->transport->resume(request);
}

void watch_end(struct request *request)
{
    end(request->api, &request->waiter, 0);
}

void watch_log_closed(struct api *api, const char *log, int status)
{
    struct waiter *next;
    for (struct waiter *waiter = api->watch.waiters; waiter; waiter = next) {
        next = waiter->next;
        if (strcmp(request_of(waiter)->log, log) == 0)
            end(api, waiter, status);
    }
    for (struct audience *audience = api->watch.audiences; audience; audience = audience->next) {
        if (strcmp(wal_name(audience->wal), log) == 0)
            follow_wake(api, audience, status < 0 ? "deleted" : "failed");
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
    if (wal_user(wal))
        follow_wake(api, wal_user(wal), NULL);
}

void watch_end_all(struct api *api)
{
    while (api->watch.waiters)
        end(api, api->watch.waiters, 0);
    for (struct audience *audience = api->watch.audiences; audience; audience = audience->next)
        follow_wake(api, audience, "shutdown");
}

void watch_check_rights(struct api *api)
{
    struct waiter *next;
    for (struct waiter *waiter = api->watch.waiters; waiter; waiter = next) {
        next = waiter->next;
        if (access_is_gone(request_of(waiter)))
            end(api, waiter, 0); /* and is told so when it has its turn, if that is still so */
    }
}

/* The first of those who wait for the log; the last to leave takes the audience along. */
static struct heap_node *first_waiter(struct wal *wal)
{
    const struct audience *audience = wal_user(wal);
    return audience ? audience->waiters : NULL;
}

void api_log_moved(struct api *api, struct wal *wal)
{
    if (!wal_user(wal))
        return;

    struct wal_positions positions;
    struct heap_node *first;
    wal_positions(wal, &positions);
    while ((first = first_waiter(wal)) != NULL && first->key < positions.committed_offset)
        end(api, container_of(first, struct waiter, by_offset), 0);

    /* A commit has many handlers, and the first of them has told all. */
    struct audience *audience = wal_user(wal);
    if (audience && audience->woken_at < positions.committed_offset) {
        audience->woken_at = positions.committed_offset;
        follow_wake(api, audience, NULL);
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
