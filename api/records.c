/*
 * GET /logs/{log}/records: a page of durable records, in the form that the client accepts.
 *
 *   application/x-ndjson      a JSON object a line (the default)
 *   application/json          {"records":[...],"next_offset":N}
 *   application/octet-stream  frames, without a gap, to the end of the body:
 *
 *       bytes 0 to 7    the record's offset          all numbers unsigned, the most
 *       bytes 8 to 15   its timestamp: nanoseconds   significant byte first
 *                       since 1970 of UTC
 *       bytes 16 to 19  the number of bytes n
 *       n bytes         the record
 *
 * A page ends after `limit` records, or before the record with which its records would take more
 * than `max_bytes` bytes in that form (the first always comes), or before one that cannot be read.
 *
 *   text/event-stream         no page: records without an end, as they become durable (follow.h)
 *
 * With `wait`, a page that would be empty is made later: when the record at its offset is durable,
 * or when the time is up, and then it is empty after all. That is no error: the client asks again
 * from Log-Next-Offset.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "api/errors.h"
#include "api/json.h"
#include "api/parse.h"
#include "api/request.h"
#include "wal/base.h"

#define LIMIT_DEFAULT 1000
#define LIMIT_MAX 10000
#define PAGE_BYTES_DEFAULT (1u << 20)
#define PAGE_BYTES_MAX (16u << 20)

/* In the order of enum page_form, which is the order of preference. */
static const char *const media_types[PAGE_FORM_COUNT] = {
    [PAGE_LINES] = "application/x-ndjson",
    [PAGE_DOCUMENT] = "application/json",
    [PAGE_FRAMES] = "application/octet-stream",
    [PAGE_EVENTS] = "text/event-stream",
};

struct frame_head {
    uint64_t offset_be, timestamp_ns_be;
    uint32_t bytes_be;
} __attribute__((packed));
_Static_assert(sizeof(struct frame_head) == 20, "what clients read");

/* ---- what is asked for ---- */

static bool read_form(struct request *request)
{
    const char *encoding = target_parameter(&request->target, "encoding");
    int form = accept_choose(request->facts.headers[HTTP_ACCEPT], media_types, PAGE_FORM_COUNT);
    if (form < 0) {
        response_problem(&request->response, PROBLEM_NOT_ACCEPTABLE,
                         "Records are to be had as application/x-ndjson, application/json, "
                         "application/octet-stream and, without an end, text/event-stream. Name "
                         "one of them in Accept, or leave Accept out.");
        return false;
    }
    if (encoding && strcmp(encoding, "base64") != 0) {
        response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                         "\"encoding\" is \"base64\", or left out: then data is text where it is "
                         "UTF-8, and in base64 where it is not.");
        return false;
    }
    request->page.form = (enum page_form)form;
    request->page.base64 = encoding;
    return true;
}

/* Where the page begins: "offset", or "at" a time. Answers and returns false if that is not to be
 * had. */
static bool read_begin(struct request *request, struct wal *wal)
{
    const char *offset = target_parameter(&request->target, "offset");
    const char *at = target_parameter(&request->target, "at");
    struct wal_positions positions;
    uint64_t number;
    wal_positions(wal, &positions);
    request->page.begin = positions.first_offset;
    if (at && offset) {
        response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                         "\"at\" and \"offset\" both say where to begin. Send one of them.");
        return false;
    }
    if (at) {
        if (!timestamp_parse(at, &number)) {
            response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                             "\"at\" is a time of RFC 3339, such as 2026-11-22T10:00:00Z or "
                             "2026-11-22T11:00:00.5+01:00, with at most nine digits behind the "
                             "point.");
            return false;
        }
        int rc = wal_offset_at(wal, number, &request->page.begin);
        if (rc < 0)
            request_fail(request, WHEN_READING, rc);
        return rc == 0;
    }
    if (!offset || strcmp(offset, "earliest") == 0 || number_parse(offset, &request->page.begin))
        return true;
    if (strcmp(offset, "latest") == 0) {
        request->page.begin = positions.committed_offset;
        return true;
    }
    if (offset[0] == '-' && number_parse(offset + 1, &number) && number > 0) {
        request->page.begin = wal_offset_of_last(wal, number);
        return true;
    }
    response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                     "\"offset\" is a decimal number from 0, \"earliest\", \"latest\", or -N for "
                     "the last N records.");
    return false;
}

/* A stream that broke off goes on behind the last record that arrived: what a browser sends by itself
 * goes before what the program asked for when it began. */
static bool read_last_event(struct request *request)
{
    const char *id = request->facts.headers[HTTP_LAST_EVENT_ID];
    uint64_t number;
    if (!id || !*id)
        return true;
    if (number_parse(id, &number) && number < UINT64_MAX) {
        request->page.begin = number + 1;
        return true;
    }
    response_problem(&request->response, PROBLEM_BAD_HEADER,
                     "Last-Event-ID is the id of an event of this log, which is the offset of a "
                     "record: a decimal number. Send that, or leave the header out.");
    return false;
}

/* ---- the stream ---- */

static bool read_stream(struct request *request)
{
    static const char *const of_pages[] = {"wait", "max_bytes"};
    for (size_t i = 0; i < ARRAY_SIZE(of_pages); i++) {
        if (!target_parameter(&request->target, of_pages[i]))
            continue;
        response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                         "\"%s\" is for pages, and text/event-stream is a stream that waits in any "
                         "case. Leave it out.",
                         of_pages[i]);
        return false;
    }
    return request_number(request, "limit", 1, LIMIT_MAX, 0, &request->page.limit);
}

static enum progress answer_stream(struct request *request)
{
    CLEANUP(held_log_done) struct held_log held = {NULL, NULL};
    struct page_query *query = &request->page;
    struct wal_positions positions;
    if (!read_stream(request) || !request_hold_log(request, &held) ||
        !read_begin(request, held.wal) || !read_last_event(request))
        return PROGRESS_ANSWERED;

    wal_positions(held.wal, &positions);
    if (query->begin < positions.first_offset)
        return request_refuse_record(request, held.wal, -ERANGE, NULL);
    const struct follow_query follow = {
        .begin = query->begin,
        .form = query->base64 ? FOLLOW_RECORDS_BASE64 : FOLLOW_RECORDS,
        .limit = query->limit,
    };
    return follow_begin(request, TAKE(held.wal), &follow);
}

/* ---- the page ---- */

static void add_frame(struct text *text, const struct wal_entry *entry)
{
    const struct frame_head head = {
        .offset_be = htobe64(entry->offset),
        .timestamp_ns_be = htobe64(entry->timestamp_ns),
        .bytes_be = htobe32((uint32_t)entry->size),
    };
    text_add(text, &head, sizeof(head));
    text_add(text, entry->data, entry->size);
}

static void add_record(struct text *text, const struct page_query *query,
                       const struct wal_entry *entry, bool is_first)
{
    switch (query->form) {
    case PAGE_LINES:
        json_add_record(text, entry, query->base64);
        text_add(text, "\n", 1);
        break;
    case PAGE_DOCUMENT:
        if (!is_first)
            text_add(text, ",", 1);
        json_add_record(text, entry, query->base64);
        break;
    default: add_frame(text, entry); break;
    }
}

/* Adds records from query->begin on, until the page is full or something is in the way, which
 * is returned. */
static int read_records(struct wal_cursor *cursor, const struct page_query *query,
                        struct text *page, uint64_t *ret_next, struct wal_entry *ret_entry)
{
    size_t begin = page->bytes;
    *ret_next = query->begin;
    for (uint64_t count = 0; count < query->limit && !page->failed; count++) {
        size_t end = page->bytes;
        if (end - begin >= query->bytes_max)
            break;
        int rc = wal_cursor_next(cursor, ret_entry);
        if (rc < 0)
            return rc;
        add_record(page, query, ret_entry, count == 0);
        if (count > 0 && page->bytes - begin > query->bytes_max) {
            text_cut(page, end); /* it may be large, and clients are slow */
            break;
        }
        *ret_next = ret_entry->offset + 1;
    }
    return 0;
}

static enum progress answer_page(struct request *request, struct wal *wal)
{
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    CLEANUP(text_done) struct text page = {0};
    const struct page_query *query = &request->page;
    struct wal_positions positions;
    struct wal_entry entry = {0};
    uint64_t next = query->begin;

    wal_positions(wal, &positions);
    if (query->form == PAGE_DOCUMENT)
        text_format(&page, "{\"records\":[");
    if (query->begin < positions.committed_offset) {
        int rc = wal_cursor_open(&cursor, wal, query->begin);
        if (rc == 0)
            rc = read_records(cursor, query, &page, &next, &entry);
        /* What is in the way of the first record is told; behind others the page ends there, and
         * the next request, which asks on from it, will be told. */
        if (rc < 0 && rc != -ENODATA && next == query->begin)
            return request_refuse_record(request, wal, rc, &entry);
        wal_positions(wal, &positions);
    }
    if (query->form == PAGE_DOCUMENT)
        text_format(&page, "],\"next_offset\":%" PRIu64 "}\n", next);
    response_text(&request->response, 200, media_types[query->form], &page);
    if (request->response.status == 200) {
        response_header(&request->response, "Log-Next-Offset", "%" PRIu64, next);
        response_header(&request->response, "Log-Committed-Offset", "%" PRIu64,
                        positions.committed_offset);
    }
    return PROGRESS_ANSWERED;
}

static void finish_page(struct request *request)
{
    CLEANUP(held_log_done)
    struct held_log held = {request->api->config.store, TAKE(request->wal)};
    if (request->status < 0)
        request_fail(request, WHEN_OPENING, request->status);
    else
        answer_page(request, held.wal);
}

enum progress answer_records(struct request *request)
{
    CLEANUP(held_log_done) struct held_log held = {NULL, NULL};
    struct page_query *query = &request->page;
    struct wal_positions positions;
    uint64_t wait_us;

    if (!read_form(request))
        return PROGRESS_ANSWERED;
    if (query->form == PAGE_EVENTS)
        return answer_stream(request);
    if (!request_number(request, "limit", 1, LIMIT_MAX, LIMIT_DEFAULT, &query->limit) ||
        !request_number(request, "max_bytes", 1, PAGE_BYTES_MAX, PAGE_BYTES_DEFAULT,
                        &query->bytes_max) ||
        !request_patience(request, "wait", 0, &wait_us) || !request_hold_log(request, &held) ||
        !read_begin(request, held.wal))
        return PROGRESS_ANSWERED;

    wal_positions(held.wal, &positions);
    if (query->begin < positions.committed_offset || wait_us == 0 || request->api->draining)
        return answer_page(request, held.wal);
    watch_begin(request, TAKE(held.wal), query->begin, wait_us, finish_page);
    return PROGRESS_WAITING;
}
