/*
 * Requests that wait for a commit of their log.
 *
 * The connection is suspended before anything is queued, since the answer may come at any moment
 * from then on. The committer runs decided(), which only passes the news to the connection's loop;
 * the answer is made there, after every request of the same commit has been passed on.
 */
#include "api/errors.h"
#include "api/request.h"
#include "wal/base.h"

static void decided(struct wal_handler *handler, struct wal_token token, int status)
{
    struct request *request = container_of(handler, struct request, handler);
    request->token = token;
    request->status = status;
    request->decided_us = api_now_us();
    api_log_moved(request->api, request->wal);
    request->transport->resume(request);
}

void request_wait(struct request *request, void (*finish)(struct request *request))
{
    request->handler.done = decided;
    request->finish = finish;
    request->api->appends_waiting++;
    request->transport->suspend_briefly(request);
}

enum progress request_give_back(struct request *request)
{
    store_put(request->api->config.store, TAKE(request->wal));
    return PROGRESS_ANSWERED;
}

void request_waited(struct request *request)
{
    request_give_back(request);
    request->api->appends_waiting--;
}

static void finish_refused(struct request *request)
{
    request_fail(request, WHEN_APPENDING, request->status);
    request_waited(request);
}

void request_wait_refused(struct request *request, int error)
{
    request->status = error;
    request->finish = finish_refused;
    request->transport->resume(request);
}

enum progress request_wait_for_all(struct request *request, void (*finish)(struct request *request))
{
    request_wait(request, finish);
    int rc = wal_flush_async(request->wal, &request->handler);
    if (rc < 0)
        request_wait_refused(request, rc);
    return PROGRESS_WAITING;
}
