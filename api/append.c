/*
 * POST /logs/{log}: the body is one record.
 *
 * The connection is suspended before the record is queued, since the answer may come at any moment
 * from then on. The committer runs append_done(), which only passes the news to the connection's
 * loop; the receipt is made there, after every record of the same commit has been passed on.
 */
#include <errno.h>
#include <inttypes.h>

#include "api/errors.h"
#include "api/json.h"
#include "api/request.h"
#include "wal/base.h"

static void append_done(struct wal_handler *handler, struct wal_token token, int status)
{
    struct request *request = container_of(handler, struct request, handler);
    request->token = token;
    request->status = status;
    api_log_moved(request->api, request->wal);
    request->transport->resume(request);
}

static void answer_receipt(struct request *request)
{
    struct response *response = &request->response;
    struct wal_positions positions;
    struct text body = {0};

    wal_positions(request->wal, &positions);
    must(positions.committed_offset >= request->token.end);
    json_add_receipt(&body, &(struct json_receipt){
                                .log = request->log,
                                .token = request->token,
                                .committed_offset = positions.committed_offset,
                                .is_volatile = request->api->config.is_volatile,
                                .bytes = request->body_bytes,
                            });
    response_text(response, 200, "application/json", &body);
    if (response->status != 200) {
        /* No memory to say so, but the record is durable: that much has to be true. */
        response_clear(response);
        response->status = 200;
    }
    char etag[ETAG_BYTES];
    etag_print(etag, request->wal, request->token.begin);
    response_header(response, "Location", "/logs/%s/records/%" PRIu64, request->log,
                    request->token.begin);
    response_header(response, "ETag", "%s", etag);
}

static void finish_append(struct request *request)
{
    if (request->status == 0)
        answer_receipt(request);
    else
        request_fail(request, WHEN_COMMITTED, request->status);
    store_put(request->api->config.store, TAKE(request->wal));
    request->api->appends_waiting--;
}

/* The append was refused at once, after the connection had been suspended for it. */
static void finish_refused(struct request *request)
{
    request_fail(request, WHEN_APPENDING, request->status);
    store_put(request->api->config.store, TAKE(request->wal));
    request->api->appends_waiting--;
}

enum progress answer_log_append(struct request *request)
{
    if (request->body_bytes == 0) {
        response_problem(&request->response, PROBLEM_EMPTY_RECORD, NULL);
        return PROGRESS_ANSWERED;
    }
    int rc = store_get(request->api->config.store, request->log, true, &request->wal);
    if (rc < 0)
        return request_fail(request, WHEN_OPENING, rc);

    struct wal_record record = {.data = request->body, .size = request->body_bytes};
    request->handler.done = append_done;
    request->finish = finish_append;
    request->api->appends_waiting++;
    request->transport->suspend(request);
    rc = wal_append(request->wal, &record, 1, NULL, &request->handler, NULL);
    if (rc < 0) {
        request->status = rc;
        request->finish = finish_refused;
        request->transport->resume(request);
    }
    return PROGRESS_WAITING;
}
