/*
 * GET and HEAD /v1/stream/{log}: the bytes of a stream from a position on, as far as they go in one
 * answer; with live=long-poll the answer waits until there is something.
 *
 * An answer begins and ends between records, but for one: a position may lie inside a record, and
 * then what is left of that comes first. Of JSON a message is never divided.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "api/errors.h"
#include "api/etag.h"
#include "api/request.h"
#include "wal/base.h"

/* An answer ends before the record with which it would hold more; the first always comes. */
#define CHUNK_BYTES (1u << 20)

/* Cursors keep caches from answering a live read with what they were told for another one: they count
 * intervals of so long from 2024-10-09 on, and a reader that comes back within one gets a later one. */
#define CURSOR_EPOCH_S INT64_C(1728432000)
#define CURSOR_INTERVAL_S 20
#define CURSOR_JITTER_MAX 180 /* intervals: an hour */
#define CURSOR_MAX ((UINT64_C(1) << 53) - 1)

#define STREAM_ETAG_BYTES 128

/* ---- what is asked for ---- */

static bool refuse_parameter(struct request *request, const char *advice)
{
    response_problem(&request->response, PROBLEM_BAD_PARAMETER, "%s", advice);
    return false;
}

static bool read_offset(struct request *request)
{
    struct stream *stream = &request->stream;
    const char *offset = target_parameter(&request->target, "offset");
    stream->begin_is_open = !offset || strcmp(offset, "-1") == 0;
    stream->is_now = offset && strcmp(offset, "now") == 0;
    if (stream->begin_is_open || stream->is_now || stream_token_parse(offset, &stream->begin))
        return true;
    return refuse_parameter(request,
                            "\"offset\" is a Stream-Next-Offset that an earlier answer had, "
                            "-1 for the beginning, or now for the end.");
}

static bool read_live(struct request *request)
{
    const char *live = target_parameter(&request->target, "live");
    const char *cursor = target_parameter(&request->target, "cursor");
    if (!live)
        return true;
    if (!target_parameter(&request->target, "offset"))
        return refuse_parameter(request,
                                "\"live\" goes with \"offset\", the position from which to "
                                "go on. Send both.");
    request->stream.is_events = strcmp(live, "sse") == 0;
    if (!request->stream.is_events && strcmp(live, "long-poll") != 0)
        return refuse_parameter(request, "\"live\" is \"long-poll\" or \"sse\", or left out.");
    request->stream.is_live = true;
    uint64_t number;
    if (cursor && number_parse(cursor, &number) && number <= CURSOR_MAX)
        request->stream.cursor = number;
    return true;
}

/* ---- where reading begins ---- */

static bool is_behind(const struct stream_position *one, const struct stream_position *other)
{
    return one->records > other->records ||
           (one->records == other->records && one->bytes > other->bytes);
}

static enum progress refuse_position(struct request *request)
{
    refuse_parameter(request, "\"offset\" is no position of this stream: its two numbers do not "
                              "belong together. Take it from an answer of this stream, or begin "
                              "with -1.");
    return request_give_back(request);
}

/* What is behind the tail is read as the tail. */
static void settle_begin(struct request *request)
{
    struct stream *stream = &request->stream;
    struct stream_position tail = stream_tail(request->wal);
    struct wal_positions positions;
    wal_positions(request->wal, &positions);
    if (stream->begin_is_open)
        stream->begin.records = positions.first_offset;
    if (stream->is_now || (!stream->begin_is_open && is_behind(&stream->begin, &tail)))
        stream->begin = tail;
}

/* ---- answers ---- */

uint64_t stream_cursor(uint64_t sent)
{
    int64_t since_s = (int64_t)time(NULL) - CURSOR_EPOCH_S;
    uint64_t current = since_s > 0 ? (uint64_t)since_s / CURSOR_INTERVAL_S : 0;
    return sent < current ? current : sent + 1 + arc4random_uniform(CURSOR_JITTER_MAX);
}

static void add_cursor(struct request *request)
{
    response_header(&request->response, "Stream-Cursor", "%" PRIu64,
                    stream_cursor(request->stream.cursor));
}

/* Where the answer ends, and what is to be known of that. */
static void add_end(struct request *request, bool up_to_date, bool closed)
{
    stream_add_next(request, &request->stream.end);
    if (up_to_date)
        response_header(&request->response, "Stream-Up-To-Date", "true");
    if (closed)
        stream_add_closed(request);
}

static void print_etag(const struct request *request, struct wal *wal, bool closed,
                       char ret_etag[STREAM_ETAG_BYTES])
{
    const struct stream *stream = &request->stream;
    char log[ETAG_BYTES];
    etag_print(log, wal, stream->begin.records);
    snprintf(ret_etag, STREAM_ETAG_BYTES, "%.*s.%" PRIu64 ":%" PRIu64 ".%" PRIu64 "%s\"",
             (int)strlen(log) - 1, log, stream->begin.bytes, stream->end.records, stream->end.bytes,
             closed ? ":c" : "");
}

/* ---- a chunk ---- */

/* How much of the first record lies before the position: *ret_skip.
 * Errors: -EINVAL: the position is none of this stream. */
static int find_in_first(struct stream *stream, const struct wal_entry *entry, bool is_json,
                         uint64_t *ret_skip)
{
    if (stream->begin_is_open)
        stream->begin.bytes = entry->bytes_before;
    uint64_t skip = stream->begin.bytes - entry->bytes_before;
    if (stream->begin.bytes < entry->bytes_before || skip >= entry->size || (is_json && skip > 0))
        return -EINVAL;
    *ret_skip = skip;
    return 0;
}

/* The same where there is no record any more. */
static int find_at_tail(struct stream *stream, const struct stream_position *tail)
{
    if (stream->begin_is_open)
        stream->begin = *tail;
    return stream->begin.bytes == tail->bytes ? 0 : -EINVAL;
}

/* Reads records from stream->begin on until the chunk is full or something is in the way, which is
 * returned only if it is in the way of the first record: what comes next is asked for again.
 * Errors: -EINVAL: no position of this stream; as wal_cursor_next(). */
static int read_chunk(struct request *request, struct wal *wal, bool is_json, struct text *text,
                      struct wal_entry *entry)
{
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    struct stream *stream = &request->stream;
    int rc = wal_cursor_open(&cursor, wal, stream->begin.records);
    for (uint64_t count = 0; rc == 0 && !text->failed; count++) {
        rc = wal_cursor_next(cursor, entry);
        if (rc < 0)
            return count == 0 ? rc : 0;
        if (count > 0 && text->bytes + entry->size > CHUNK_BYTES)
            return 0;
        uint64_t skip = 0;
        if (count == 0)
            rc = find_in_first(stream, entry, is_json, &skip);
        if (rc < 0)
            return rc;
        if (count > 0 && is_json)
            text_add(text, ",", 1);
        text_add(text, (const char *)entry->data + skip, entry->size - skip);
        stream->end.records = entry->offset + 1;
        stream->end.bytes = entry->bytes_before + entry->size;
    }
    return rc;
}

/* Records that cannot be read are told of like everywhere, and where they end as a position of the
 * stream: nobody could make one up, since it counts their bytes, too. */
static enum progress refuse_damage(struct request *request, struct wal *wal,
                                   const struct wal_entry *entry)
{
    struct stream_position next = {.records = entry->gap_end};
    struct api_event event = {"record_damaged", request->log, -EBADMSG};
    request->api->config.tell(request->api->config.context, &event);
    int rc = wal_bytes_before(wal, next.records, &next.bytes);
    if (rc < 0) {
        request_fail(request, WHEN_READING, rc);
        return request_give_back(request);
    }
    response_problem_number(&request->response, PROBLEM_RECORD_DAMAGED, "gap_end", next.records,
                            "Of the stream %" PRIu64 " records cannot be read from here on. Go on "
                            "from the Stream-Next-Offset of this answer, and restore the others "
                            "from a backup.",
                            entry->gap_end - entry->offset);
    stream_add_next(request, &next);
    return request_give_back(request);
}

static enum progress refuse_read(struct request *request, struct wal *wal, int error,
                                 const struct wal_entry *entry)
{
    if (error == -EINVAL)
        return refuse_position(request);
    if (error == -EBADMSG)
        return refuse_damage(request, wal, entry);
    request_refuse_record(request, wal, error, entry);
    return request_give_back(request);
}

/* Drops what has been read if the client has it already. */
static void say_chunk(struct request *request, struct wal *wal, const char *type, struct text *text)
{
    struct stream_position tail = stream_tail(wal);
    bool up_to_date = request->stream.end.records >= tail.records;
    bool closed = up_to_date && stream_is_closed(wal);
    const char *known = request->facts.headers[HTTP_IF_NONE_MATCH];
    char etag[STREAM_ETAG_BYTES];
    print_etag(request, wal, closed, etag);
    if (known && !request->stream.is_now && !text->failed &&
        (etag_list_is_any(known) || etag_list_has(known, etag, ETAG_WEAK))) {
        text_done(text);
        request->response.status = 304;
    } else {
        response_text(&request->response, 200, type, text);
        if (request->response.status != 200)
            return;
    }
    add_end(request, up_to_date, closed);
    if (request->stream.is_live)
        add_cursor(request);
    if (request->stream.is_now)
        return;
    response_header(&request->response, "ETag", "%s", etag);
    response_header(&request->response, "Cache-Control", "%s",
                    up_to_date ? "private, no-cache"
                               : "private, max-age=60, stale-while-revalidate=300");
}

static enum progress answer_chunk(struct request *request)
{
    CLEANUP(text_done) struct text text = {0};
    struct stream *stream = &request->stream;
    struct wal *wal = request->wal;
    struct stream_position tail = stream_tail(wal);
    struct wal_entry entry = {0};
    char type[STREAM_TYPE_BYTES_MAX + 1];
    stream_type_get(wal, STREAM_COMMITTED, type, NULL);
    bool is_json = stream_type_is_json(type);
    int rc = 0;

    if (is_json)
        text_add(&text, "[", 1);
    if (stream->begin.records < tail.records) {
        rc = read_chunk(request, wal, is_json, &text, &entry);
    } else {
        rc = find_at_tail(stream, &tail);
        stream->end = stream->begin;
    }
    if (rc < 0)
        return refuse_read(request, wal, rc, &entry);
    if (is_json)
        text_add(&text, "]", 1);
    say_chunk(request, wal, type, &text);
    return request_give_back(request);
}

/* ---- waiting ---- */

static bool is_at_tail(const struct request *request)
{
    struct stream_position tail = stream_tail(request->wal);
    return request->stream.begin.records >= tail.records &&
           (request->stream.begin.bytes == tail.bytes || request->stream.begin_is_open);
}

/* Nothing has come, and perhaps never will. */
static enum progress answer_nothing(struct request *request)
{
    request->stream.end = stream_tail(request->wal);
    request->response.status = 204;
    add_end(request, true, stream_is_closed(request->wal));
    add_cursor(request);
    return request_give_back(request);
}

static void finish_wait(struct request *request)
{
    if (request->status < 0) {
        request_fail(request, WHEN_OPENING, request->status);
        request_give_back(request);
    } else if (is_at_tail(request)) {
        answer_nothing(request);
    } else {
        request->stream.is_now = false;
        answer_chunk(request);
    }
}

static enum progress answer_live(struct request *request)
{
    if (!is_at_tail(request)) {
        request->stream.is_now = false;
        return answer_chunk(request);
    }
    if (request->stream.begin_is_open) /* the stream is empty: it begins at its tail */
        request->stream.begin = stream_tail(request->wal);
    request->stream.begin_is_open = false;
    if (stream_is_closed(request->wal) || request->api->draining)
        return answer_nothing(request);
    watch_begin(request, TAKE(request->wal), request->stream.begin.records,
                request->api->config.long_poll_max_us, finish_wait);
    return PROGRESS_WAITING;
}

/* ---- following ---- */

static enum follow_form form_of(const char *type)
{
    if (stream_type_is_json(type))
        return FOLLOW_STREAM_JSON;
    return strncasecmp(type, "text/", 5) == 0 ? FOLLOW_STREAM_TEXT : FOLLOW_STREAM_BASE64;
}

/* Whether the position is one of this stream has to be known before the stream of events begins.
 * Errors: -EINVAL: it is not; as wal_cursor_next(). */
static int find_begin(struct request *request, struct wal *wal, bool is_json,
                      struct wal_entry *entry, uint64_t *ret_skip)
{
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    struct stream *stream = &request->stream;
    struct stream_position tail = stream_tail(wal);
    *ret_skip = 0;
    if (stream->begin.records >= tail.records)
        return find_at_tail(stream, &tail);
    int rc = wal_cursor_open(&cursor, wal, stream->begin.records);
    if (rc == 0)
        rc = wal_cursor_next(cursor, entry);
    return rc == 0 ? find_in_first(stream, entry, is_json, ret_skip) : rc;
}

static enum progress answer_events(struct request *request)
{
    struct wal_entry entry = {0};
    struct follow_query query = {.is_closed = stream_is_closed, .cursor = request->stream.cursor};
    char type[STREAM_TYPE_BYTES_MAX + 1];
    stream_type_get(request->wal, STREAM_COMMITTED, type, NULL);
    query.form = form_of(type);
    int rc =
        find_begin(request, request->wal, query.form == FOLLOW_STREAM_JSON, &entry, &query.skip);
    if (rc < 0)
        return refuse_read(request, request->wal, rc, &entry);
    query.begin = request->stream.begin.records;
    query.bytes_before = request->stream.begin.bytes;
    return follow_begin(request, TAKE(request->wal), &query);
}

/* ---- without reading ---- */

static enum progress answer_head(struct request *request)
{
    request->response.status = 200;
    stream_add_state(request);
    stream_add_end(request);
    return request_give_back(request);
}

enum progress answer_stream_read(struct request *request)
{
    bool is_head = request->facts.method == HTTP_HEAD;
    if ((!is_head && (!read_offset(request) || !read_live(request))) || !stream_begin(request))
        return PROGRESS_ANSWERED;
    if (is_head)
        return answer_head(request);
    settle_begin(request);
    if (request->stream.is_events)
        return answer_events(request);
    return request->stream.is_live ? answer_live(request) : answer_chunk(request);
}
