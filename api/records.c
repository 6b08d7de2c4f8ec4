/* Reading records: one as it is, or many as lines of JSON. Only what is durable is ever read. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "api/errors.h"
#include "api/json.h"
#include "api/request.h"
#include "wal/base.h"

#define LIMIT_DEFAULT 1000
#define LIMIT_MAX 10000

/* A page ends with the record that passes this. */
#define PAGE_BYTES_MAX (1u << 20)

/* Why a record cannot be had. */
static enum progress refuse_record(struct request *request, struct wal *wal, int error,
                                   const struct wal_entry *entry)
{
    struct wal_positions positions;
    wal_positions(wal, &positions);
    switch (error) {
    case -ENODATA:
        response_problem_number(&request->response, PROBLEM_RECORD_NOT_FOUND, "committed_offset",
                                positions.committed_offset,
                                "The log holds the offsets below %" PRIu64
                                ". Ask again when it has grown.",
                                positions.committed_offset);
        return PROGRESS_ANSWERED;
    case -ERANGE:
        response_problem_number(
            &request->response, PROBLEM_TRIMMED, "first_offset", positions.first_offset,
            "The oldest record still kept is at offset %" PRIu64 ". Go on from there.",
            positions.first_offset);
        return PROGRESS_ANSWERED;
    case -EBADMSG: {
        struct api_event event = {"record_damaged", request->log, error};
        request->api->config.tell(request->api->config.context, &event);
        response_problem_number(
            &request->response, PROBLEM_RECORD_DAMAGED, "gap_end", entry->gap_end,
            "The records from offset %" PRIu64 " to %" PRIu64
            " cannot be read. Go on from offset %" PRIu64 ", and restore the others from a backup.",
            entry->offset, entry->gap_end - 1, entry->gap_end);
        return PROGRESS_ANSWERED;
    }
    default: return request_fail(request, WHEN_READING, error);
    }
}

/* ---- one record ---- */

/* The header's list of entity tags, weak or not, or "*" (RFC 9110, 13.1.2). */
static bool etag_is_listed(const char *list, const char *etag)
{
    if (!list)
        return false;
    if (strcmp(list, "*") == 0)
        return true;
    const char *found = strstr(list, etag);
    return found && (found == list || strchr("/, \t", found[-1]));
}

static void answer_entry(struct request *request, struct wal *wal, const struct wal_entry *entry)
{
    struct response *response = &request->response;
    struct text body = {0};
    char etag[ETAG_BYTES];
    etag_print(etag, wal, entry->offset);
    /* A 304 is sent without the body, and yet tells its size. */
    unsigned status = etag_is_listed(request->facts.headers[HTTP_IF_NONE_MATCH], etag) ? 304 : 200;
    text_add(&body, entry->data, entry->size);
    response_text(response, status, "application/octet-stream", &body);
    if (response->status != status)
        return;
    response_header(response, "ETag", "%s", etag);
    response_header(response, "Cache-Control", "private, no-cache");
}

enum progress answer_record(struct request *request)
{
    CLEANUP(held_log_done) struct held_log held = {NULL, NULL};
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    if (!request_hold_log(request, &held))
        return PROGRESS_ANSWERED;

    /* A cursor reads from next_offset at most. */
    struct wal_positions positions;
    wal_positions(held.wal, &positions);
    if (request->offset >= positions.committed_offset)
        return refuse_record(request, held.wal, -ENODATA, NULL);

    struct wal_entry entry = {0};
    int rc = wal_cursor_open(&cursor, held.wal, request->offset);
    if (rc == 0)
        rc = wal_cursor_next(cursor, &entry);
    if (rc < 0)
        return refuse_record(request, held.wal, rc, &entry);
    must(entry.offset == request->offset);
    answer_entry(request, held.wal, &entry);
    return PROGRESS_ANSWERED;
}

/* ---- many records ---- */

/* "offset": a number, "earliest", "latest", or "-N" for the last N. */
static bool read_begin(struct request *request, struct wal *wal,
                       const struct wal_positions *positions, uint64_t *ret_begin)
{
    const char *value = target_parameter(&request->target, "offset");
    uint64_t count;
    *ret_begin = positions->first_offset;
    if (!value || strcmp(value, "earliest") == 0 || number_parse(value, ret_begin))
        return true;
    if (strcmp(value, "latest") == 0) {
        *ret_begin = positions->committed_offset;
        return true;
    }
    if (value[0] == '-' && number_parse(value + 1, &count) && count > 0) {
        *ret_begin = wal_offset_of_last(wal, count);
        return true;
    }
    response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                     "\"offset\" is a decimal number from 0, \"earliest\", \"latest\", or -N for "
                     "the last N records.");
    return false;
}

/* Adds lines until the page is full or something is in the way. */
static int read_page(struct wal_cursor *cursor, uint64_t limit, struct text *page,
                     uint64_t *next_offset, struct wal_entry *ret_entry)
{
    for (uint64_t count = 0; count < limit && page->bytes < PAGE_BYTES_MAX; count++) {
        int rc = wal_cursor_next(cursor, ret_entry);
        if (rc < 0)
            return rc;
        json_add_record_line(page, ret_entry);
        *next_offset = ret_entry->offset + 1;
    }
    return 0;
}

enum progress answer_records(struct request *request)
{
    CLEANUP(held_log_done) struct held_log held = {NULL, NULL};
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    CLEANUP(text_done) struct text page = {0};
    struct wal_positions positions;
    struct wal_entry entry = {0};
    uint64_t limit, next_offset;

    if (!request_number(request, "limit", 1, LIMIT_MAX, LIMIT_DEFAULT, &limit) ||
        !request_hold_log(request, &held))
        return PROGRESS_ANSWERED;
    wal_positions(held.wal, &positions);
    if (!read_begin(request, held.wal, &positions, &next_offset))
        return PROGRESS_ANSWERED;

    if (next_offset < positions.committed_offset) {
        int rc = wal_cursor_open(&cursor, held.wal, next_offset);
        if (rc == 0)
            rc = read_page(cursor, limit, &page, &next_offset, &entry);
        /* What is in the way of the first record is told; behind others the page ends there, and
         * the next request, which asks on from it, will be told. */
        if (rc < 0 && rc != -ENODATA && page.bytes == 0)
            return refuse_record(request, held.wal, rc, &entry);
        wal_positions(held.wal, &positions);
    }
    response_text(&request->response, 200, "application/x-ndjson", &page);
    if (request->response.status == 200) {
        response_header(&request->response, "Log-Next-Offset", "%" PRIu64, next_offset);
        response_header(&request->response, "Log-Committed-Offset", "%" PRIu64,
                        positions.committed_offset);
    }
    return PROGRESS_ANSWERED;
}
