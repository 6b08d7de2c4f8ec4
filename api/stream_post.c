/*
 * POST /v1/stream/{log}: appends the body, closes the stream, or both in one.
 *
 * What stands against it is looked for in the order that the protocol's clients know. One thing goes
 * before it: what a producer has appended already is said to be there, also of a stream that has been
 * closed since; anything else would tell a producer that its record was not taken.
 */
#include <string.h>

#include "api/errors.h"
#include "api/load.h"
#include "api/request.h"
#include "wal/base.h"

#define UPDATES_MAX (IDEMPOTENCY_UPDATES_MAX + 2)

/* ---- what is asked for ---- */

static bool read_wishes(struct request *request, struct load *load)
{
    const char *const *headers = request->facts.headers;
    const char *seq = headers[HTTP_STREAM_SEQ];
    if (!append_read_producer(request) || !load_unpack(request, load))
        return false;
    request->stream.closes = stream_wants_closed(request);
    request->stream.has_body = load->body_bytes > 0;
    if (load->body_bytes == 0 && !request->stream.closes) {
        response_problem(&request->response, PROBLEM_EMPTY_RECORD,
                         "Send what is to be appended as the body of the request, or "
                         "Stream-Closed: true to close the stream.");
        return false;
    }
    if (load->body_bytes > 0 && !headers[HTTP_CONTENT_TYPE])
        return request_refuse_header(
            request, HTTP_CONTENT_TYPE,
            "missing. It says what is appended, and has to be the stream's.");
    if (seq && (!*seq || strlen(seq) > STREAM_SEQ_BYTES_MAX))
        return request_refuse_header(request, HTTP_STREAM_SEQ, "1 to 255 characters.");
    return true;
}

/* ---- answers ---- */

static bool has_producer(const struct request *request)
{
    return request->append.idempotency.kind == IDEMPOTENCY_PRODUCER;
}

static void say_appended(struct request *request)
{
    request->response.status = has_producer(request) && request->stream.has_body ? 200 : 204;
    stream_add_next(request, &request->stream.end);
    if (request->stream.closes)
        stream_add_closed(request);
    say_producer(request);
}

static void say_duplicate(struct request *request)
{
    request->append.replayed = true;
    request->response.status = 204;
    if (stream_is_closed(request->wal))
        stream_add_closed(request);
    say_producer(request);
}

/* It was closed before, which is all that was asked for. */
static void say_closed_already(struct request *request)
{
    struct stream_position tail = stream_tail(request->wal);
    request->response.status = 204;
    stream_add_next(request, &tail);
    stream_add_closed(request);
}

static void say_passed_seq(struct request *request)
{
    response_problem(&request->response, PROBLEM_STREAM_SEQ, NULL);
}

/* ---- what stands against it ---- */

/* True: answered, or going to be: *ret_progress. So with all of these. */
static bool is_closed(struct request *request, enum progress *ret_progress)
{
    struct wal_token rests_on = {0};
    if (!stream_has(request->wal, STREAM_NEWEST, STREAM_KEY_CLOSED, &rests_on))
        return false;
    bool only_closes = request->stream.closes && !request->stream.has_body;
    *ret_progress =
        say_resting(request, rests_on,
                    only_closes && !has_producer(request) ? say_closed_already : stream_say_closed);
    return true;
}

static bool is_of_another_type(struct request *request, char type[STREAM_TYPE_BYTES_MAX + 1],
                               enum progress *ret_progress)
{
    const char *sent = request->facts.headers[HTTP_CONTENT_TYPE];
    stream_type_get(request->wal, STREAM_NEWEST, type, NULL);
    if (!request->stream.has_body || stream_type_is_same(type, sent))
        return false;
    response_problem(&request->response, PROBLEM_CONTENT_TYPE,
                     "Nothing was changed. The stream is of %s: send what is appended as that.",
                     type);
    *ret_progress = request_give_back(request);
    return true;
}

static bool is_duplicate(struct request *request, enum progress *ret_progress)
{
    const struct verdict *verdict = &request->append.verdict;
    if (verdict->judgement != JUDGED_REPEAT && verdict->judgement != JUDGED_OLD)
        return false;
    *ret_progress = say_resting(request, verdict->rests_on, say_duplicate);
    return true;
}

static bool is_out_of_turn(struct request *request, enum progress *ret_progress)
{
    const struct verdict *verdict = &request->append.verdict;
    if (verdict->judgement == JUDGED_NEW)
        return false;
    *ret_progress = say_resting(request, verdict->rests_on, append_words(verdict->judgement));
    return true;
}

static bool is_passed(struct request *request, enum progress *ret_progress)
{
    const char *seq = request->facts.headers[HTTP_STREAM_SEQ];
    char last[STREAM_SEQ_BYTES_MAX + 1];
    struct wal_token rests_on = {0};
    if (!seq ||
        !stream_get(request->wal, STREAM_NEWEST, STREAM_KEY_SEQ, last, sizeof(last), &rests_on) ||
        strcmp(seq, last) > 0)
        return false;
    *ret_progress = say_resting(request, rests_on, say_passed_seq);
    return true;
}

/* Splits the body, now that the stream's type is known. */
static bool is_not_to_be_split(struct request *request, const char *type, struct load *load,
                               enum progress *ret_progress)
{
    if (load->body_bytes == 0)
        return false;
    if (stream_type_is_json(type) ? load_messages(request, load, true) : load_bytes(request, load))
        return false;
    *ret_progress = request_give_back(request);
    return true;
}

static bool is_refused(struct request *request, struct load *load, enum progress *ret_progress)
{
    char type[STREAM_TYPE_BYTES_MAX + 1];
    return is_duplicate(request, ret_progress) || is_closed(request, ret_progress) ||
           is_of_another_type(request, type, ret_progress) ||
           is_out_of_turn(request, ret_progress) || is_passed(request, ret_progress) ||
           is_not_to_be_split(request, type, load, ret_progress);
}

/* ---- appending ---- */

static void finish_append(struct request *request)
{
    if (request->status == 0) {
        say_appended(request);
        if (request->stream.closes)
            watch_stream_closed(request->api, request->wal);
    } else {
        request_fail(request, WHEN_COMMITTED, request->status);
    }
    request_waited(request);
}

static enum progress refuse_length(struct request *request)
{
    response_problem(&request->response, PROBLEM_CONFLICT,
                     "Nothing was changed. The stream is as long as positions in it can tell: "
                     "append to another one.");
    return request_give_back(request);
}

static enum progress append(struct request *request, const struct load *load)
{
    struct append *append = &request->append;
    struct idempotency_updates producer;
    struct wal_state_update updates[UPDATES_MAX];
    struct wal_append_options options = {.updates = updates};
    struct wal_positions positions;
    wal_positions(request->wal, &positions);
    struct stream_position *end = &request->stream.end;
    *end = (struct stream_position){positions.next_offset, positions.next_bytes};
    if (!stream_token_has_room(end, load->count, load->bytes))
        return refuse_length(request);

    append->appended =
        (struct appended){positions.next_offset, (uint32_t)load->count, (uint32_t)load->bytes};
    end->records += load->count;
    end->bytes += load->bytes;
    idempotency_updates(request->wal, &append->idempotency, &append->appended, &producer);
    memcpy(updates, producer.list, producer.count * sizeof(*updates));
    options.expected_offset = positions.next_offset;
    options.update_count = producer.count;
    if (request->facts.headers[HTTP_STREAM_SEQ])
        updates[options.update_count++] =
            stream_set(STREAM_KEY_SEQ, request->facts.headers[HTTP_STREAM_SEQ]);
    if (request->stream.closes)
        updates[options.update_count++] = stream_set_closed();

    request_wait(request, finish_append);
    int rc = space_append(request->api, request->wal, load->records, load->count, &options,
                          &request->handler);
    if (rc < 0)
        request_wait_refused(request, rc);
    return PROGRESS_WAITING;
}

enum progress answer_stream_append(struct request *request)
{
    CLEANUP(load_done) struct load load = {0};
    enum progress progress = PROGRESS_ANSWERED;
    if (!read_wishes(request, &load) || !stream_begin(request))
        return progress;
    int rc =
        idempotency_judge(request->wal, &request->append.idempotency, &request->append.verdict);
    if (rc < 0) {
        request_fail(request, WHEN_OPENING, rc);
        return request_give_back(request);
    }
    return is_refused(request, &load, &progress) ? progress : append(request, &load);
}
