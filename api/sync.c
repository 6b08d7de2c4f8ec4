/*
 * POST /logs/{log}/sync and /trim: both answer with the log's positions once what they ask for is
 * durable.
 */
#include <inttypes.h>

#include "api/errors.h"
#include "api/json.h"
#include "api/request.h"
#include "wal/base.h"

/* The request keeps the log, which must exist; or it is answered. */
static bool open_log(struct request *request)
{
    struct held_log held;
    if (!request_hold_log(request, &held))
        return false;
    request->wal = held.wal;
    return true;
}

static void finish_positions(struct request *request)
{
    if (request->status < 0) {
        request_fail(request, WHEN_COMMITTED, request->status);
    } else {
        struct wal_positions positions;
        struct text body = {0};
        wal_positions(request->wal, &positions);
        json_add_positions(&body, request->log, &positions);
        response_text(&request->response, 200, "application/json", &body);
    }
    request_waited(request);
}

/* A barrier behind everything that was queued before: ?ack=none becomes certain this way. */
enum progress answer_log_sync(struct request *request)
{
    if (!open_log(request))
        return PROGRESS_ANSWERED;
    return request_wait_for_all(request, finish_positions);
}

/* 409 and not 400: nothing is wrong with the number, it is the log that is not that far, and the
 * same request may be fine a moment later. */
static enum progress refuse_beyond_end(struct request *request, uint64_t committed_offset)
{
    response_problem_number(&request->response, PROBLEM_CONFLICT, "committed_offset",
                            committed_offset,
                            "Only durable records can be trimmed away, and those end at offset "
                            "%" PRIu64 ". Ask for no more than that, or wait until there are more.",
                            committed_offset);
    return request_give_back(request);
}

enum progress answer_log_trim(struct request *request)
{
    uint64_t before;
    if (!target_parameter(&request->target, "before")) {
        response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                         "Say where to trim: ?before=N drops the records below offset N.");
        return PROGRESS_ANSWERED;
    }
    if (!request_number(request, "before", 0, UINT64_MAX, 0, &before) || !open_log(request))
        return PROGRESS_ANSWERED;

    struct wal_positions positions;
    wal_positions(request->wal, &positions);
    if (before > positions.committed_offset)
        return refuse_beyond_end(request, positions.committed_offset);
    request_wait(request, finish_positions);
    int rc = wal_trim(request->wal, before, &request->handler, NULL);
    if (rc < 0)
        request_wait_refused(request, rc);
    return PROGRESS_WAITING;
}
