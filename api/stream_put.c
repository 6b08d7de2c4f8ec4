/*
 * PUT /v1/stream/{log}: makes a stream, with what it holds from its beginning on. What is there
 * already as it was asked for is as good as made.
 *
 * A stream without content is one step: its properties are part of the log's first frame. With
 * content it is two, and until the second is durable the log carries a mark (STREAM_KEY_MAKING) that
 * keeps it from being there for anybody: so a crash between them leaves nothing that a repeated PUT
 * could take for the whole.
 */
#include <errno.h>
#include <string.h>

#include "api/errors.h"
#include "api/request.h"
#include "api/stream_put.h"
#include "wal/base.h"

#define HOST_BYTES_MAX 255
#define UPDATES_MAX 4

void wish_done(struct wish *wish)
{
    load_done(&wish->load);
}

/* "x/y", whatever follows. */
static bool is_shaped_like_a_type(const char *value)
{
    const char *slash = strchr(value, '/');
    return slash && slash > value && slash[1] && slash < value + strcspn(value, "; \t,");
}

static bool read_type(struct request *request, struct wish *wish)
{
    const char *type = request->facts.headers[HTTP_CONTENT_TYPE];
    wish->has_type = type && is_shaped_like_a_type(type);
    wish->type = wish->has_type ? type : STREAM_TYPE_DEFAULT;
    size_t bytes = 0;
    while (wish->type[bytes] >= 0x20 && wish->type[bytes] <= 0x7e)
        bytes++;
    if (!wish->type[bytes] && bytes <= STREAM_TYPE_BYTES_MAX)
        return true;
    response_problem(&request->response, PROBLEM_BAD_HEADER,
                     "Content-Type: at most %d printable characters of ASCII.",
                     STREAM_TYPE_BYTES_MAX);
    return false;
}

static bool read_lifespan(struct request *request, struct wish *wish)
{
    const char *ttl = request->facts.headers[HTTP_STREAM_TTL];
    const char *time = request->facts.headers[HTTP_STREAM_EXPIRES_AT];
    if (ttl && time)
        return request_refuse_header(
            request, HTTP_STREAM_TTL,
            "there together with Stream-Expires-At. Send one or the other.");
    if (ttl && !lifespan_read_ttl(&wish->lifespan, ttl))
        return request_refuse_header(
            request, HTTP_STREAM_TTL,
            "a whole number of seconds from 0, in digits alone and without "
            "leading zeros.");
    if (time && !lifespan_read_time(&wish->lifespan, time))
        return request_refuse_header(request, HTTP_STREAM_EXPIRES_AT,
                                     "a time of RFC 3339, such as 2027-01-31T12:00:00Z or "
                                     "2027-01-31T13:00:00.5+01:00.");
    return true;
}

bool wish_split(struct request *request, struct wish *wish, const char *type)
{
    if (wish->load.body_bytes == 0)
        return true;
    if (stream_type_is_json(type))
        return load_messages(request, &wish->load, false);
    return load_bytes(request, &wish->load);
}

static bool read_wish(struct request *request, struct wish *wish)
{
    wish->closed = stream_wants_closed(request);
    if (!read_type(request, wish) || !read_lifespan(request, wish) ||
        !fork_wish_read(request, &wish->fork) || !load_unpack(request, &wish->load))
        return false;
    return (wish->fork.source && !wish->has_type) || wish_split(request, wish, wish->type);
}

/* ---- answers ---- */

static void say_stream(struct request *request, unsigned status)
{
    request->response.status = status;
    stream_add_state(request);
}

void say_made(struct request *request)
{
    const char *host = request->facts.headers[HTTP_HOST];
    say_stream(request, 201);
    if (host && strlen(host) <= HOST_BYTES_MAX)
        response_header(&request->response, "Location", "%s://%s/v1/stream/%s",
                        request->api->config.is_tls ? "https" : "http", host, request->log);
    else
        response_header(&request->response, "Location", "/v1/stream/%s", request->log);
}

static void say_standing(struct request *request)
{
    say_stream(request, 200);
}

static void say_differs(struct request *request)
{
    char type[STREAM_TYPE_BYTES_MAX + 1];
    stream_type_get(request->wal, STREAM_NEWEST, type, NULL);
    bool closed = stream_has(request->wal, STREAM_NEWEST, STREAM_KEY_CLOSED, NULL);
    response_problem(&request->response, PROBLEM_CONFLICT,
                     "There is a stream of this name, and it is not what this request asks for: it "
                     "is %s and of %s, or differs in when it ends or what it is a fork of. Use it "
                     "as it is, or make one of another name.",
                     closed ? "closed" : "open", type);
}

static void say_taken(struct request *request)
{
    response_problem(&request->response, PROBLEM_CONFLICT,
                     "A stream of this name was deleted, and its forks are still there. The name "
                     "is free again when the last of them has been deleted; use another one.");
}

/* ---- making ---- */

static enum progress answer_standing(struct request *request, const struct wish *wish)
{
    char type[STREAM_TYPE_BYTES_MAX + 1];
    struct wal_token rests_on = {0};
    (void)stream_has(request->wal, STREAM_NEWEST, STREAM_KEY_MAKING, &rests_on);
    stream_type_get(request->wal, STREAM_NEWEST, type, &rests_on);
    bool closed = stream_has(request->wal, STREAM_NEWEST, STREAM_KEY_CLOSED, &rests_on);
    bool inherits = wish->fork.source;
    struct lifespan lifespan;
    lifespan_of(request->wal, &lifespan);
    bool same =
        closed == wish->closed && fork_wish_is_met(request->wal, &wish->fork) &&
        ((inherits && !wish->has_type) || stream_type_is_same(type, wish->type)) &&
        ((inherits && !wish->lifespan.text[0]) || lifespan_equals(&lifespan, &wish->lifespan));
    return say_resting(request, rests_on, same ? say_standing : say_differs);
}

/* What was made of it goes again: it is there for nobody, and takes space on a disk that is full. */
static void leave_unfinished(struct request *request)
{
    request_end_making(request);
    life_tidy(request->api, request->log);
}

static void finish_made(struct request *request)
{
    if (request->status == 0) {
        say_made(request);
    } else {
        request_fail(request, WHEN_COMMITTED, request->status);
        leave_unfinished(request);
    }
    request_waited(request);
}

/* The second step: what the stream holds, and with it the end of its making. */
static enum progress add_content(struct request *request, const struct wish *wish)
{
    struct wal_state_update updates[UPDATES_MAX];
    struct wal_append_options options = {.expected_offset = 0, .updates = updates};
    updates[options.update_count++] = stream_set(STREAM_KEY_MAKING, NULL);
    if (wish->closed)
        updates[options.update_count++] = stream_set_closed();
    request_wait(request, finish_made);
    int rc = space_append(request->api, request->wal, wish->load.records, wish->load.count,
                          &options, &request->handler);
    if (rc < 0) {
        leave_unfinished(request);
        request_wait_refused(request, rc);
    }
    return PROGRESS_WAITING;
}

static enum progress make(struct request *request, const struct wish *wish)
{
    struct wal_state_update updates[UPDATES_MAX];
    size_t count = 0;
    if (strcmp(wish->type, STREAM_TYPE_DEFAULT) != 0)
        updates[count++] = stream_set(STREAM_KEY_TYPE, wish->type);
    if (lifespan_update(&wish->lifespan, &updates[count]))
        count++;
    if (wish->load.count > 0)
        updates[count++] = stream_set(STREAM_KEY_MAKING, "");
    else if (wish->closed)
        updates[count++] = stream_set_closed();
    return request_make_log(request, updates, count);
}

static enum progress answer_made(struct request *request, const struct wish *wish)
{
    request->response.note = NULL; /* without its content it is not there for anybody */
    if (wish->load.count > 0)
        return add_content(request, wish);
    say_made(request);
    return request_give_back(request);
}

enum progress answer_stream_create(struct request *request)
{
    CLEANUP(wish_done) struct wish wish = {0};
    if (!read_wish(request, &wish))
        return PROGRESS_ANSWERED;
    int rc = request_get_log(request, &request->wal);
    if (rc == 0)
        return request->made ? answer_made(request, &wish) : answer_standing(request, &wish);
    if (rc == -ENOENT)
        return wish.fork.source ? make_fork(request, &wish) : make(request, &wish);
    if (rc == -EIDRM)
        say_taken(request);
    else
        request_fail(request, WHEN_OPENING, rc);
    return PROGRESS_ANSWERED;
}
