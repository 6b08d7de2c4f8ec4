/*
 * PUT /v1/stream/{log} with Stream-Forked-From: what is asked for, whether it can be had, and what is
 * said. fork.c makes it, and tells how.
 *
 * The handler is called several times, until it has what it needs: the name is free, the source is
 * open. Everything is judged then, in one go, before the first change is made.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "api/errors.h"
#include "api/request.h"
#include "api/settings.h"
#include "api/stream_put.h"
#include "wal/base.h"

#define SOURCE_PREFIX "/v1/stream/"
#define UPDATES_MAX 2 /* of what a fork takes over from its source: its type, its floor */

/* ---- what is asked for ---- */

static bool read_source(struct request *request, struct fork_wish *wish)
{
    const char *from = request->facts.headers[HTTP_STREAM_FORKED_FROM];
    if (strncmp(from, SOURCE_PREFIX, strlen(SOURCE_PREFIX)) == 0)
        wish->source = from + strlen(SOURCE_PREFIX);
    return (wish->source && store_name_is_valid(wish->source)) ||
           request_refuse_header(
               request, HTTP_STREAM_FORKED_FROM,
               "the path of a stream of this service, such as /v1/stream/orders.");
}

bool fork_wish_read(struct request *request, struct fork_wish *ret_wish)
{
    const char *const *headers = request->facts.headers;
    const char *position = headers[HTTP_STREAM_FORK_OFFSET];
    const char *sub_offset = headers[HTTP_STREAM_FORK_SUB_OFFSET];
    *ret_wish = (struct fork_wish){0};
    if (!headers[HTTP_STREAM_FORKED_FROM]) {
        if (position || sub_offset)
            return request_refuse_header(
                request, HTTP_STREAM_FORKED_FROM,
                "missing. It names the stream that the fork's offset is of.");
        return true;
    }
    ret_wish->has_position = position && strcmp(position, "now") != 0;
    if (ret_wish->has_position && strcmp(position, "-1") != 0 &&
        !stream_token_parse(position, &ret_wish->position))
        return request_refuse_header(
            request, HTTP_STREAM_FORK_OFFSET,
            "a Stream-Next-Offset that an answer of the source had, -1 for its "
            "beginning, or now for its end.");
    if (sub_offset && !number_parse(sub_offset, &ret_wish->sub_offset))
        return request_refuse_header(
            request, HTTP_STREAM_FORK_SUB_OFFSET,
            "a number from 0, in digits alone and without leading zeros: of "
            "bytes, or of messages of a JSON stream.");
    if (ret_wish->sub_offset > 0 && !ret_wish->has_position)
        return request_refuse_header(
            request, HTTP_STREAM_FORK_OFFSET,
            "missing. Without it the fork begins where the source ends, and behind "
            "that there is nothing for Stream-Fork-Sub-Offset to count.");
    return read_source(request, ret_wish);
}

bool fork_wish_is_met(struct wal *wal, const struct fork_wish *wish)
{
    struct fork_origin origin;
    bool is_fork = fork_origin_of(wal, &origin);
    if (!wish->source || !is_fork)
        return !wish->source && !is_fork;
    return strcmp(origin.source, wish->source) == 0 && origin.sub_offset == wish->sub_offset &&
           (!wish->has_position ||
            (origin.records == wish->position.records && origin.bytes == wish->position.bytes));
}

/* ---- refusals ---- */

static enum progress refuse_source(struct request *request, const struct wish *wish, int error)
{
    if (error == -ENOENT)
        response_problem(
            &request->response, PROBLEM_LOG_NOT_FOUND,
            "There is no stream %s to make a fork of. GET /logs lists those there are.",
            wish->fork.source);
    else if (error == -EIDRM)
        response_problem(&request->response, PROBLEM_CONFLICT,
                         "The stream %s was deleted, and gives no more forks.", wish->fork.source);
    else
        request_fail(request, WHEN_OPENING, error);
    return PROGRESS_ANSWERED;
}

static bool refuse_position(struct request *request)
{
    return request_refuse_header(request, HTTP_STREAM_FORK_OFFSET,
                                 "no position of the source. Send one that an answer of it had in "
                                 "Stream-Next-Offset, not behind its end.");
}

static bool refuse_trimmed(struct request *request)
{
    response_problem(&request->response, PROBLEM_TRIMMED,
                     "A fork begins with everything from the beginning of its source on, and the "
                     "first records of that have been trimmed away.");
    return false;
}

static enum progress refuse_fork(struct request *request, int error)
{
    switch (error) {
    case -ERANGE: refuse_trimmed(request); break;
    case -EMLINK:
        response_problem(&request->response, PROBLEM_CONFLICT,
                         "The source has %u forks, and takes no more. Delete those that are not "
                         "needed, or make a fork of a fork.",
                         FORKS_MAX);
        break;
    case -EBADMSG:
        response_problem(&request->response, PROBLEM_RECORD_DAMAGED,
                         "A record of the source cannot be read. Nothing was changed: fork it at a "
                         "position before the damage, or restore it from a backup.");
        break;
    default: request_fail(request, WHEN_OPENING, error); break;
    }
    return PROGRESS_ANSWERED;
}

/* ---- whether it can be had ---- */

static int source_error(struct request *request)
{
    struct wal_token rests_on = {0};
    if (request->other_error < 0)
        return request->other_error;
    switch (life_of(request->api, request->other, STREAM_NEWEST, false, &rests_on)) {
    case LIFETIME_LIVING: return 0;
    case LIFETIME_SOFT_DELETED:
        return wal_poll(request->other, rests_on) == -EINPROGRESS ? -ESHUTDOWN : -EIDRM;
    default: return -ENOENT;
    }
}

/* Whether a position is one of the source's, between two records. */
static bool is_position(struct wal *source, const struct stream_position *position)
{
    struct stream_position tail = stream_tail(source);
    uint64_t bytes;
    if (position->records == tail.records || position->records == 0)
        return position->bytes == (position->records == 0 ? 0 : tail.bytes);
    return position->records < tail.records &&
           wal_bytes_before(source, position->records, &bytes) == 0 && bytes == position->bytes;
}

static bool read_position(struct request *request, struct wish *wish, bool by_messages)
{
    struct stream_position tail = stream_tail(request->other);
    struct fork_wish *fork = &wish->fork;
    struct wal_positions positions;
    if (!fork->has_position)
        fork->position = tail;
    wal_positions(request->other, &positions);
    if (positions.first_offset > 0 && (fork->position.records > 0 || fork->sub_offset > 0))
        return refuse_trimmed(request);
    if (!is_position(request->other, &fork->position))
        return refuse_position(request);
    uint64_t left =
        by_messages ? tail.records - fork->position.records : tail.bytes - fork->position.bytes;
    if (fork->sub_offset <= left)
        return true;
    response_problem(&request->response, PROBLEM_BAD_HEADER,
                     "Stream-Fork-Sub-Offset: behind Stream-Fork-Offset the source has %" PRIu64
                     " %s. Ask for no more than these.",
                     left, by_messages ? "messages" : "bytes");
    return false;
}

/* ---- making it ---- */

/* The content of the fork itself. The body is still there, and is taken apart once more: what was made
 * of it when it was judged would have had to be kept all the time. */
static int append_end(void *context, struct wal *made, uint64_t expected_offset,
                      const struct wal_state_update *finish, struct wal_handler *handler)
{
    CLEANUP(wish_done) struct wish wish = {0};
    struct request *request = context;
    char type[STREAM_TYPE_BYTES_MAX + 1];
    struct wal_state_update updates[2] = {*finish};
    struct wal_append_options options = {expected_offset, updates, 1};
    stream_type_get(made, STREAM_NEWEST, type, NULL);
    if (!load_unpack(request, &wish.load) || !wish_split(request, &wish, type)) {
        response_clear(&request->response); /* it was fine before */
        return -ENOMEM;
    }
    if (stream_wants_closed(request))
        updates[options.update_count++] = stream_set_closed();
    return wal_append(made, wish.load.records, wish.load.count, &options, handler, NULL);
}

static void fork_is_done(void *context, struct wal *made, int status)
{
    struct request *request = context;
    request->log_waiter.wal = made;
    request->life_waiter.done(&request->life_waiter, status);
}

static enum progress go_on_forked(struct request *request)
{
    if (request->status == -EEXIST) /* somebody was faster: it may be what is wanted */
        return request_look_again(request);
    if (request->status < 0)
        return refuse_fork(request, request->status);
    say_made(request);
    return request_give_back(request);
}

static enum progress begin_fork(struct request *request, const struct wish *wish, const char *type,
                                bool by_messages)
{
    struct settings settings;
    struct lifespan lifespan = wish->lifespan;
    struct wal_state_update updates[UPDATES_MAX];
    struct fork_plan plan = {
        .source = request->other,
        .name = request->log,
        .records = wish->fork.position.records,
        .bytes = wish->fork.position.bytes,
        .sub_offset = wish->fork.sub_offset,
        .by_messages = by_messages,
        .updates = updates,
        .lifespan = &lifespan,
        .append_end = append_end,
        .done = fork_is_done,
        .context = request,
    };
    if (strcmp(type, STREAM_TYPE_DEFAULT) != 0)
        updates[plan.update_count++] = stream_set(STREAM_KEY_TYPE, type);
    settings_get(request->other, &settings, NULL);
    if (settings_update(&settings, &updates[plan.update_count]))
        plan.update_count++;
    if (!lifespan.has_ttl && !lifespan.has_time)
        lifespan_of(request->other, &lifespan);

    request_begin_steps(request, go_on_forked);
    int rc = fork_begin(request->api, &plan);
    if (rc == 0)
        request->other = NULL; /* the fork's */
    return request_begun_steps(request, rc);
}

enum progress make_fork(struct request *request, struct wish *wish)
{
    char source_type[STREAM_TYPE_BYTES_MAX + 1];
    if (!request->is_free)
        return request_clear_name(request);
    if (!request->other && request->other_error == 0)
        return request_open_other(request, wish->fork.source);
    int rc = source_error(request);
    if (rc < 0)
        return refuse_source(request, wish, rc);

    stream_type_get(request->other, STREAM_NEWEST, source_type, NULL);
    if (wish->has_type && !stream_type_is_same(source_type, wish->type)) {
        response_problem(&request->response, PROBLEM_CONTENT_TYPE,
                         "The source is of %s, and so are its forks. Send that, or no "
                         "Content-Type.",
                         source_type);
        return PROGRESS_ANSWERED;
    }
    const char *type = wish->has_type ? wish->type : source_type;
    bool by_messages = stream_type_is_json(type);
    if (!read_position(request, wish, by_messages) ||
        (!wish->has_type && !wish_split(request, wish, type)))
        return PROGRESS_ANSWERED;
    return begin_fork(request, wish, type, by_messages);
}
