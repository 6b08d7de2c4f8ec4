/*
 * GET /logs/{log}/records/{offset}: one record, the exact bytes, or a part of them. A record never
 * changes, so its entity tag is strong and its offset names it for ever.
 *
 * Conditions are looked at in the order of RFC 9110, 13.2.2, and only once the record has been read:
 * If-Match, then If-None-Match, then Range with If-Range. If-Unmodified-Since is for things that
 * have a time of modification, and is ignored.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "api/errors.h"
#include "api/etag.h"
#include "api/parse.h"
#include "api/request.h"
#include "wal/base.h"

enum progress request_refuse_record(struct request *request, struct wal *wal, int error,
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
        response_header(&request->response, "Log-Next-Offset", "%" PRIu64, entry->gap_end);
        return PROGRESS_ANSWERED;
    }
    default: return request_fail(request, WHEN_READING, error);
    }
}

static void add_validators(struct response *response, const char *etag)
{
    response_header(response, "ETag", "%s", etag);
    response_header(response, "Cache-Control", "private, no-cache");
}

/* The range is asked for by GET only, and counts only while the record is the one that the client
 * has a part of. */
static enum range range_of(const struct request *request, const char *etag, uint64_t bytes,
                           uint64_t *ret_begin, uint64_t *ret_end)
{
    const char *const *headers = request->facts.headers;
    const char *condition = headers[HTTP_IF_RANGE];
    if (request->facts.method != HTTP_GET || (condition && strcmp(condition, etag) != 0))
        return RANGE_WHOLE;
    return range_parse(headers[HTTP_RANGE], bytes, ret_begin, ret_end);
}

static void refuse_range(struct request *request, const char *etag, uint64_t bytes)
{
    response_problem_number(&request->response, PROBLEM_RANGE_NOT_SATISFIABLE, "bytes", bytes,
                            "The record has %" PRIu64
                            " bytes, the first of them is byte 0. Ask for a range that begins "
                            "inside, or for the whole without Range.",
                            bytes);
    response_header(&request->response, "Content-Range", "bytes */%" PRIu64, bytes);
    add_validators(&request->response, etag);
}

/* Bytes [begin, end) of the record. A 304 is sent without them, and yet tells how many they are. */
static void answer_bytes(struct request *request, unsigned status, const char *etag,
                         const struct wal_entry *entry, uint64_t begin, uint64_t end)
{
    struct response *response = &request->response;
    struct text body = {0};
    char timestamp[TIMESTAMP_BYTES];
    text_add(&body, (const char *)entry->data + begin, end - begin);
    response_text(response, status, "application/octet-stream", &body);
    if (response->status != status)
        return;
    timestamp_print(timestamp, entry->timestamp_ns);
    add_validators(response, etag);
    response_header(response, "Log-Timestamp", "%s", timestamp);
    response_header(response, "Accept-Ranges", "bytes");
    if (status == 206)
        response_header(response, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%zu", begin,
                        end - 1, entry->size);
}

static bool is_listed(const char *list, const char *etag, enum etag_comparison comparison)
{
    return etag_list_is_any(list) || etag_list_has(list, etag, comparison);
}

static void answer_entry(struct request *request, struct wal *wal, const struct wal_entry *entry)
{
    const char *const *headers = request->facts.headers;
    uint64_t begin = 0, end = entry->size;
    char etag[ETAG_BYTES];
    etag_print(etag, wal, entry->offset);
    if (headers[HTTP_IF_MATCH] && !is_listed(headers[HTTP_IF_MATCH], etag, ETAG_STRONG)) {
        response_problem(&request->response, PROBLEM_PRECONDITION,
                         "The record's entity tag is in the ETag header and not in your If-Match: "
                         "the log was deleted and made anew, or the tag is of another record.");
        add_validators(&request->response, etag);
        return;
    }
    if (headers[HTTP_IF_NONE_MATCH] && is_listed(headers[HTTP_IF_NONE_MATCH], etag, ETAG_WEAK)) {
        answer_bytes(request, 304, etag, entry, begin, end);
        return;
    }
    switch (range_of(request, etag, entry->size, &begin, &end)) {
    case RANGE_UNSATISFIABLE: refuse_range(request, etag, entry->size); break;
    case RANGE_PART: answer_bytes(request, 206, etag, entry, begin, end); break;
    default: answer_bytes(request, 200, etag, entry, begin, end); break;
    }
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
        return request_refuse_record(request, held.wal, -ENODATA, NULL);

    struct wal_entry entry = {0};
    int rc = wal_cursor_open(&cursor, held.wal, request->offset);
    if (rc == 0)
        rc = wal_cursor_next(cursor, &entry);
    if (rc < 0)
        return request_refuse_record(request, held.wal, rc, &entry);
    must(entry.offset == request->offset);
    answer_entry(request, held.wal, &entry);
    return PROGRESS_ANSWERED;
}
