/*
 * The log of a request's path: opened before the handler of its route runs, made and deleted for it,
 * all by the store's workers, while the connection is suspended.
 *
 * Between the news and the request's turn others may have had theirs, and have deleted the log again.
 * So what the store says then is what counts, and if need be it is all done once more.
 */
#include <errno.h>

#include "api/errors.h"
#include "api/request.h"
#include "api/watch.h"
#include "wal/base.h"

/* Others may make and delete the log all the time, but nobody is kept by that for ever. */
#define MAKINGS_MAX 100

/* ---- waiting for the store ---- */

static void store_has_done(struct store_log_waiter *waiter)
{
    struct request *request = container_of(waiter, struct request, log_waiter);
    request->transport->resume(request);
}

static void begin_waiting(struct request *request, enum progress (*go_on)(struct request *request))
{
    request->log_waiter.done = store_has_done;
    request->log_waiter.wal = NULL;
    request->go_on = go_on;
    request->finish = NULL;
    request->api->logs_waiting++;
    request->transport->suspend(request);
}

/* The store has been asked: if it refused to be, that is the news. */
static enum progress wait_for_store(struct request *request, int rc)
{
    if (rc < 0) {
        request->log_waiter.status = rc;
        request->transport->resume(request);
    }
    return PROGRESS_WAITING;
}

static void give_back(struct request *request, struct wal *wal)
{
    if (wal)
        store_put(request->api->config.store, wal);
}

/* ---- calling the handler ---- */

static enum progress call(struct request *request, int open_error)
{
    enum progress progress = PROGRESS_ANSWERED;
    request->open_error = open_error;
    if (request->made) /* what is refused from here on has changed that much */
        request->response.note = " But the log was made for this request, and stays.";
    if (request->route->changes && request->api->draining) /* since its head was there */
        response_problem(&request->response, PROBLEM_STOPPING, NULL);
    else
        progress = request->route->answer(request);
    give_back(request, TAKE(request->held));
    must(progress == PROGRESS_WAITING || request->response.status != 0);
    return progress;
}

static enum progress call_with_log(struct request *request, bool may_open);

static enum progress go_on_opened(struct request *request)
{
    struct wal *wal = TAKE(request->log_waiter.wal);
    request->api->logs_waiting--;
    request->made = false; /* if it was, it has been deleted again */
    if (request->log_waiter.status < 0)
        return call(request, request->log_waiter.status);
    enum progress progress = call_with_log(request, true);
    give_back(request, wal);
    return progress;
}

/* What is still being made is there for its maker alone. */
static int check_made(struct request *request)
{
    bool changes = request->route->changes;
    if (request->made || !stream_has(request->held, changes ? STREAM_NEWEST : STREAM_COMMITTED,
                                     STREAM_KEY_MAKING, NULL))
        return 0;
    give_back(request, TAKE(request->held));
    return changes ? -EAGAIN : -ENOENT;
}

/* With `may_open` a log that is not open is opened first. */
static enum progress call_with_log(struct request *request, bool may_open)
{
    struct store *store = request->api->config.store;
    if (!request->log)
        return call(request, 0);
    int rc = store_get_open(store, request->log, &request->held);
    if (rc != -EAGAIN)
        return call(request, rc < 0 ? rc : check_made(request));
    if (!may_open)
        return call(request, -ENOENT);
    begin_waiting(request, go_on_opened);
    return wait_for_store(request, store_open_async(store, request->log, &request->log_waiter));
}

enum progress request_open_log(struct request *request)
{
    return call_with_log(request, !request->route->unopened);
}

int request_get_log(struct request *request, struct wal **ret_wal)
{
    if (request->open_error < 0)
        return request->open_error;
    must(request->held);
    *ret_wal = TAKE(request->held);
    return 0;
}

/* ---- making it ---- */

static enum progress go_on_made(struct request *request)
{
    struct wal *wal = TAKE(request->log_waiter.wal);
    int status = request->log_waiter.status;
    request->api->logs_waiting--;
    request->made = status == 0;
    if (status < 0 && status != -EEXIST)
        return call(request, status);
    /* Made by somebody else: it is opened, unless it has been deleted again by then, and so on. */
    bool give_up = request->makings++ == MAKINGS_MAX;
    enum progress progress = give_up
                                 ? call(request, -EAGAIN)
                                 : call_with_log(request, status < 0 || !request->route->unopened);
    give_back(request, wal);
    return progress;
}

enum progress request_make_log(struct request *request, const struct wal_state_update *updates,
                               size_t count)
{
    begin_waiting(request, go_on_made);
    return wait_for_store(request, store_create_async(request->api->config.store, request->log,
                                                      updates, count, &request->log_waiter));
}

/* ---- deleting it ---- */

static void store_has_deleted(struct store_log_waiter *waiter)
{
    struct request *request = container_of(waiter, struct request, log_waiter);
    /* At once: a new log of the same name may be next. */
    watch_log_closed(request->api, request->log, waiter->status == 0 ? -ENOENT : 0);
    request->transport->resume(request);
}

static enum progress go_on_deleted(struct request *request)
{
    request->api->logs_waiting--;
    request->status = request->log_waiter.status;
    request->finish(request);
    must(request->response.status != 0);
    return PROGRESS_ANSWERED;
}

enum progress request_delete_log(struct request *request, void (*finish)(struct request *request))
{
    begin_waiting(request, go_on_deleted);
    request->log_waiter.done = store_has_deleted;
    request->finish = finish;
    return wait_for_store(request, store_delete_async(request->api->config.store, request->log,
                                                      &request->log_waiter));
}

/* ---- the client is gone ---- */

void request_abandon(struct request *request)
{
    if (!request->go_on) {
        request->finish(request);
        return;
    }
    request->go_on = NULL;
    request->api->logs_waiting--;
    give_back(request, TAKE(request->log_waiter.wal));
}
