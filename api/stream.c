#include "api/stream.h"

#include <errno.h>
#include <strings.h>

#include "api/errors.h"
#include "api/request.h"
#include "wal/base.h"

void stream_add_next(struct request *request, const struct stream_position *position)
{
    char token[STREAM_TOKEN_BYTES];
    stream_token_print(token, position);
    response_header(&request->response, "Stream-Next-Offset", "%s", token);
}

void stream_add_closed(struct request *request)
{
    response_header(&request->response, "Stream-Closed", "true");
}

struct stream_position stream_tail(struct wal *wal)
{
    struct wal_positions positions;
    wal_positions(wal, &positions);
    return (struct stream_position){positions.committed_offset, positions.committed_bytes};
}

bool stream_is_closed(struct wal *wal)
{
    return stream_has(wal, STREAM_COMMITTED, STREAM_KEY_CLOSED, NULL);
}

void stream_add_state(struct request *request)
{
    char type[STREAM_TYPE_BYTES_MAX + 1];
    struct stream_position tail = stream_tail(request->wal);
    stream_type_get(request->wal, STREAM_COMMITTED, type, NULL);
    response_header(&request->response, "Content-Type", "%s", type);
    stream_add_next(request, &tail);
    if (stream_is_closed(request->wal))
        stream_add_closed(request);
}

void stream_add_end(struct request *request)
{
    struct lifespan lifespan;
    lifespan_of(request->wal, &lifespan);
    if (lifespan.has_ttl)
        response_header(&request->response, "Stream-TTL", "%s", lifespan.text);
    if (lifespan.has_time)
        response_header(&request->response, "Stream-Expires-At", "%s", lifespan.text);
}

bool stream_wants_closed(const struct request *request)
{
    const char *value = request->facts.headers[HTTP_STREAM_CLOSED];
    return value && strcasecmp(value, "true") == 0;
}

void stream_say_missing(struct request *request)
{
    response_problem(&request->response, PROBLEM_LOG_NOT_FOUND,
                     "A stream has to be made with PUT before it is used. GET /logs lists the logs "
                     "there are, which are the streams.");
}

void stream_say_closed(struct request *request)
{
    struct stream_position tail = stream_tail(request->wal);
    response_problem(&request->response, PROBLEM_CLOSED, NULL);
    stream_add_next(request, &tail);
    stream_add_closed(request);
}

bool stream_begin(struct request *request)
{
    int rc = request_get_log(request, &request->wal);
    if (rc == -ENOENT)
        stream_say_missing(request);
    else if (rc < 0)
        request_fail(request, WHEN_OPENING, rc);
    return rc == 0;
}

static void finish_deletion(struct request *request)
{
    if (request->status == 0)
        request->response.status = 204;
    else if (request->status == -ENOENT)
        stream_say_missing(request);
    else
        request_fail(request, WHEN_DELETING, request->status);
}

enum progress answer_stream_delete(struct request *request)
{
    return request_delete_log(request, finish_deletion);
}
