/*
 * The log of a request's path: opened before the handler of its route runs, made and deleted for it,
 * all by the store's workers, while the connection is suspended.
 *
 * Between the news and the request's turn others may have had theirs, and have deleted the log again.
 * So what the store says then is what counts, and if need be it is all done once more.
 */
#include <errno.h>
#include <string.h>

#include "api/errors.h"
#include "api/request.h"
#include "wal/base.h"

/* Others may make and delete the log all the time, but nobody is kept by that for ever. */
#define MAKINGS_MAX 100

/* ---- waiting for the store ---- */

static void store_has_done(struct store_log_waiter *waiter)
{
    struct request *request = container_of(waiter, struct request, log_waiter);
    request->transport->resume(request);
}

/* An errand of the service's own, which tells of its end in the same way. */
static void life_has_done(struct life_waiter *waiter, int status)
{
    struct request *request = container_of(waiter, struct request, life_waiter);
    request->log_waiter.status = status;
    request->transport->resume(request);
}

/* go_on() is called by request_finish(), whichever of the two waiters is done. */
static void begin_waiting(struct request *request, enum progress (*go_on)(struct request *request))
{
    request->log_waiter.done = store_has_done;
    request->life_waiter.done = life_has_done;
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
    /* What is refused from here on has changed that much; but what is not finished is none. */
    if (request->made && !stream_has(request->held, STREAM_NEWEST, STREAM_KEY_MAKING, NULL))
        request->response.note = " But the log was made for this request, and stays.";
    if (request->route->changes && request->api->draining) /* since its head was there */
        response_problem(&request->response, PROBLEM_STOPPING, NULL);
    else if (request->made || access_check_again(request)) /* what is begun is finished */
        progress = request->route->answer(request);
    give_back(request, TAKE(request->held));
    must(progress == PROGRESS_WAITING || request->response.status != 0);
    return progress;
}

static enum progress call_with_log(struct request *request, bool may_open);

static enum progress go_on_opened(struct request *request)
{
    struct wal *wal = TAKE(request->log_waiter.wal);
    request->made = false; /* if it was, it has been deleted again */
    if (request->log_waiter.status < 0)
        return call(request, request->log_waiter.status);
    enum progress progress = call_with_log(request, true);
    give_back(request, wal);
    return progress;
}

/* What that means for the request. A deletion in flight has not happened for who reads; who changes
 * something is told to come again. */
static int error_of(struct request *request, enum lifetime lifetime, struct wal_token rests_on)
{
    request->is_dead = lifetime != LIFETIME_LIVING;
    request->has_ended = lifetime == LIFETIME_ENDED;
    if (lifetime == LIFETIME_LIVING)
        return 0;
    if (lifetime != LIFETIME_SOFT_DELETED)
        return -ENOENT;
    /* Who makes a log by its name looks first whether its forks are there still. */
    if (request->route->unopened && !request->is_kept)
        return -ENOENT;
    return wal_poll(request->held, rests_on) == -EINPROGRESS ? -ESHUTDOWN : -EIDRM;
}

/* Whether the log, which is open, is there for this request. */
static int check_life(struct request *request)
{
    struct wal_token rests_on = {0};
    life_met(request->api, request->log);
    if (request->made) /* what is still being made is there for its maker */
        return 0;
    enum lifetime lifetime = life_of(request->api, request->held,
                                     request->route->changes ? STREAM_NEWEST : STREAM_COMMITTED,
                                     request_uses_log(request), &rests_on);
    int rc = error_of(request, lifetime, rests_on);
    if (rc < 0)
        give_back(request, TAKE(request->held));
    return rc;
}

static enum progress go_on_ended(struct request *request)
{
    int status = request->log_waiter.status;
    if (status == -EEXIST || status == -EIDRM)
        return call_with_log(request, true);
    return call(request, -ENOENT);
}

/*
 * A log that has ended by itself would live a full TTL again after a restart. So nobody hears that it
 * is gone before it is; but if it cannot be removed, it has ended all the same. Who makes a log of that
 * name clears it anyway.
 */
static bool has_to_go(struct request *request)
{
    if (!request->has_ended || request->route->unopened || request->has_waited_for_end)
        return false;
    request->has_waited_for_end = true;
    return true;
}

/* Removes a log of the request's name that is dead, if there is one. */
static enum progress clear_name(struct request *request,
                                enum progress (*go_on)(struct request *request))
{
    begin_waiting(request, go_on);
    return wait_for_store(request, life_clear(request->api, request->log, &request->life_waiter));
}

/* With `may_open` a log that is not open is opened first. */
static enum progress call_with_log(struct request *request, bool may_open)
{
    struct store *store = request->api->config.store;
    request->is_dead = false;
    request->has_ended = false;
    if (!request->log)
        return call(request, 0);
    int rc = store_get_open(store, request->log, &request->held);
    if (rc == 0)
        rc = check_life(request);
    if (has_to_go(request))
        return clear_name(request, go_on_ended);
    if (rc != -EAGAIN)
        return call(request, rc);
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

void request_end_making(struct request *request)
{
    if (request->is_making)
        life_making_end(&request->making);
    request->is_making = false;
}

/* Its life begins when it is made, whether or not whoever asked for it is still there: others may have
 * used it before that one has its turn. */
static void store_has_made(struct store_log_waiter *waiter)
{
    struct request *request = container_of(waiter, struct request, log_waiter);
    struct lifespan lifespan;
    if (waiter->status == 0) {
        lifespan_of(waiter->wal, &lifespan);
        expiry_expect(&request->api->life.expiry, request->log, &lifespan, api_now_us());
    }
    store_has_done(waiter);
}

/* Not if it has been deleted since then, nor if there is another one by now. */
static bool is_there(struct request *request, const struct wal *made)
{
    struct store *store = request->api->config.store;
    struct wal *wal;
    if (!made || store_get_open(store, request->log, &wal) < 0)
        return false;
    store_put(store, wal);
    return wal == made;
}

static enum progress go_on_made(struct request *request)
{
    struct wal *wal = TAKE(request->log_waiter.wal);
    int status = request->log_waiter.status;
    request->made = is_there(request, wal);
    if (status < 0 && status != -EEXIST)
        return call(request, status);
    /* Made by somebody else: it is opened, unless it has been deleted again by then, and so on. */
    bool give_up = !request->made && request->makings++ == MAKINGS_MAX;
    enum progress progress = give_up
                                 ? call(request, -EAGAIN)
                                 : call_with_log(request, status < 0 || !request->route->unopened);
    give_back(request, wal);
    return progress;
}

/* Either there is no log now, which the handler is told, and makes it; or there is one. */
static enum progress go_on_cleared(struct request *request)
{
    int status = request->log_waiter.status;
    request->is_dead = false;
    request->is_kept = status == -EIDRM;
    request->is_free = status == 0;
    if (status == 0)
        return call(request, -ENOENT);
    if (status == -EEXIST || status == -EIDRM)
        return call_with_log(request, true);
    return call(request, status);
}

enum progress request_clear_name(struct request *request)
{
    return clear_name(request, go_on_cleared);
}

enum progress request_make_log(struct request *request, const struct wal_state_update *updates,
                               size_t count)
{
    if (request->is_dead)
        return request_clear_name(request);
    if (!space_admits(request->api, SPACE_OF_LOG_BYTES)) {
        /* One that is there, and only not open, needs no space. */
        bool may_be_there = request->route->unopened && !request->was_looked_for;
        request->was_looked_for = true;
        return may_be_there ? call_with_log(request, true) : call(request, ERROR_BELOW_FLOOR);
    }
    if (!request->is_making)
        life_making_begin(request->api, &request->making, request->log);
    request->is_making = true;
    begin_waiting(request, go_on_made);
    request->log_waiter.done = store_has_made;
    return wait_for_store(request, store_create_async(request->api->config.store, request->log,
                                                      updates, count, &request->log_waiter));
}

/* ---- several steps ---- */

static enum progress go_on_steps(struct request *request)
{
    request->wal = TAKE(request->log_waiter.wal);
    request->status = request->log_waiter.status;
    return TAKE(request->next_step)(request);
}

void request_begin_steps(struct request *request, enum progress (*go_on)(struct request *request))
{
    begin_waiting(request, go_on_steps);
    request->next_step = go_on;
}

enum progress request_begun_steps(struct request *request, int rc)
{
    return wait_for_store(request, rc);
}

enum progress request_look_again(struct request *request)
{
    request->is_free = false;
    return call_with_log(request, true);
}

static enum progress go_on_other(struct request *request)
{
    request->other = TAKE(request->log_waiter.wal);
    request->other_error = request->log_waiter.status;
    return call(request, -ENOENT);
}

enum progress request_open_other(struct request *request, const char *name)
{
    must(!request->other);
    begin_waiting(request, go_on_other);
    return wait_for_store(request,
                          store_open_async(request->api->config.store, name, &request->log_waiter));
}

/* ---- deleting it ---- */

static enum progress go_on_deleted(struct request *request)
{
    request->status = request->log_waiter.status;
    request->finish(request);
    must(request->response.status != 0);
    return PROGRESS_ANSWERED;
}

enum progress request_delete_log(struct request *request, void (*finish)(struct request *request))
{
    begin_waiting(request, go_on_deleted);
    request->finish = finish;
    return wait_for_store(request, life_delete(request->api, request->log, &request->life_waiter));
}

/* ---- the client is gone ---- */

void request_abandon(struct request *request)
{
    if (!request->go_on) {
        /* What nobody hears is made all the same, and the head of the request may be gone already. */
        memset(request->facts.headers, 0, sizeof(request->facts.headers));
        request->finish(request);
        response_clear(&request->response);
        return;
    }
    bool made = request->go_on == go_on_made && request->log_waiter.status == 0;
    request->go_on = NULL;
    request->api->logs_waiting--;
    give_back(request, TAKE(request->log_waiter.wal));
    if (made) { /* and perhaps not finished, which nobody will do now */
        request_end_making(request);
        life_tidy(request->api, request->log);
    }
}
