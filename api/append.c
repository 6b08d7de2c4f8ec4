/*
 * POST /logs/{log}: the body is one record or, as application/x-ndjson, many.
 *
 * Everything is decided before anything is queued, on the one thread that appends: whether the
 * request has been served before, whether the log is where the client expects it. What is decided by
 * an append that is still in flight is not told before that one is durable, and shares its fate.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/append.h"
#include "api/errors.h"
#include "api/etag.h"
#include "api/load.h"
#include "api/request.h"
#include "wal/base.h"

/* Appends that were answered and are not decided. Those that are waited for are as many as there are
 * connections; of these a disk that stalls would let any number pile up. */
#define UNHEARD_MAX 65536u

static const char *header(const struct request *request, enum http_known known)
{
    return request->facts.headers[known];
}

/* ---- what is asked for ---- */

static bool read_ack(struct request *request)
{
    const char *ack = target_parameter(&request->target, "ack");
    request->append.unheard = ack && strcmp(ack, "none") == 0;
    if (!ack || request->append.unheard || strcmp(ack, "committed") == 0)
        return true;
    response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                     "\"ack\" is \"committed\", to be answered when the append is durable, or "
                     "\"none\", to be answered at once.");
    return false;
}

/* RFC 7240: the first of contradicting preferences counts, and an unknown one is no error. */
static bool prefers_minimal(const char *preferences)
{
    while (preferences && *preferences) {
        preferences += strspn(preferences, " \t,");
        size_t bytes = strcspn(preferences, " \t,;");
        if (bytes == 14 && strncasecmp(preferences, "return=minimal", 14) == 0)
            return true;
        if (bytes >= 7 && strncasecmp(preferences, "return=", 7) == 0)
            return false;
        preferences += strcspn(preferences, ",");
    }
    return false;
}

/* 1 to IDEMPOTENCY_ID_BYTES_MAX bytes of printable ASCII. */
static bool is_id(const char *text)
{
    size_t bytes = 0;
    while (text[bytes] >= 0x20 && text[bytes] <= 0x7e)
        bytes++;
    return !text[bytes] && bytes >= 1 && bytes <= IDEMPOTENCY_ID_BYTES_MAX;
}

/* Digits, leading zeros and all: that is how producers of the Durable Streams protocol may write. */
static bool read_producer_number(struct request *request, enum http_known known,
                                 uint64_t *ret_number)
{
    const char *text = header(request, known);
    uint64_t number = 0;
    bool fine = *text;
    for (; *text && fine; text++) {
        fine = *text >= '0' && *text <= '9';
        number = number * 10 + (uint64_t)(*text - '0');
        fine = fine && number <= PRODUCER_NUMBER_MAX;
    }
    *ret_number = number;
    return fine || request_refuse_header(request, known,
                                         "a decimal number from 0 to 9007199254740991 (2^53 - 1).");
}

bool append_read_producer(struct request *request)
{
    struct idempotency *idempotency = &request->append.idempotency;
    const char *key = header(request, HTTP_IDEMPOTENCY_KEY);
    const char *id = header(request, HTTP_PRODUCER_ID);
    const char *epoch = header(request, HTTP_PRODUCER_EPOCH);
    const char *seq = header(request, HTTP_PRODUCER_SEQ);

    if (!key && !id && !epoch && !seq)
        return true;
    if (key && (id || epoch || seq))
        return request_refuse_header(
            request, HTTP_IDEMPOTENCY_KEY,
            "there together with headers of a producer. Send one or the other.");
    if (!key && (!id || !epoch || !seq))
        return request_refuse_header(
            request, HTTP_PRODUCER_ID,
            "it comes together with Producer-Epoch and Producer-Seq, or all three "
            "stay away.");
    idempotency->kind = key ? IDEMPOTENCY_KEY : IDEMPOTENCY_PRODUCER;
    idempotency->id = key ? key : id;
    if (!is_id(idempotency->id))
        return request_refuse_header(request, key ? HTTP_IDEMPOTENCY_KEY : HTTP_PRODUCER_ID,
                                     "1 to 255 printable characters of ASCII.");
    return key || (read_producer_number(request, HTTP_PRODUCER_EPOCH, &idempotency->epoch) &&
                   read_producer_number(request, HTTP_PRODUCER_SEQ, &idempotency->seq));
}

static bool read_wishes(struct request *request)
{
    const char *condition = header(request, HTTP_IF_MATCH);
    request->append.minimal = prefers_minimal(header(request, HTTP_PREFER));
    if (!read_ack(request) || !append_read_producer(request))
        return false;
    if (condition && !etag_list_is_valid(condition))
        return request_refuse_header(
            request, HTTP_IF_MATCH,
            "send the offset that the append is to get, in double quotes and "
            "behind the log's id or alone, such as \"42\"; or * for a log that is "
            "there already.");
    return true;
}

/* ---- the records ---- */

static bool refuse_empty(struct request *request)
{
    if (load_is_batch(request))
        response_problem(&request->response, PROBLEM_EMPTY_RECORD,
                         "Send at least one line that is not empty: each is a record.");
    else
        response_problem(&request->response, PROBLEM_EMPTY_RECORD, NULL);
    return false;
}

static bool read_records(struct request *request, struct load *load)
{
    if (!load_unpack(request, load))
        return false;
    if (load->body_bytes == 0)
        return refuse_empty(request);
    bool many = load_is_batch(request);
    if (request->append.idempotency.kind == IDEMPOTENCY_KEY)
        digest_of(request->append.idempotency.body, many ? 'n' : 'r', load->body, load->body_bytes);
    if (many)
        return load_lines(request, load);
    load_one(load);
    return true;
}

/* ---- the log ---- */

/* A request that cannot succeed on a new log makes none. */
static bool may_create(const struct request *request)
{
    const struct idempotency *idempotency = &request->append.idempotency;
    return request->api->config.auto_create && !header(request, HTTP_IF_MATCH) &&
           !(idempotency->kind == IDEMPOTENCY_PRODUCER && idempotency->seq > 0);
}

static void refuse_missing(struct request *request)
{
    if (header(request, HTTP_IF_MATCH))
        say_moved(request);
    else if (!request->api->config.auto_create)
        response_problem(&request->response, PROBLEM_LOG_NOT_FOUND,
                         "Appends do not make logs here: make it with PUT first.");
    else
        say_gap(request); /* number 0 would make the log */
}

/* True: request->wal is it. Else it is answered, or will be: *ret_progress. */
static bool open_log(struct request *request, enum progress *ret_progress)
{
    int rc = request_get_log(request, &request->wal);
    if (rc == -ENOENT && may_create(request))
        *ret_progress = request_make_log(request, NULL, 0);
    else if (rc == -ENOENT)
        refuse_missing(request);
    else if (rc < 0)
        request_fail(request, WHEN_OPENING, rc);
    return rc == 0;
}

/* ---- answers that rest on an append in flight ---- */

static enum progress say_now(struct request *request, int fate)
{
    if (fate == 0)
        request->append.say(request);
    else
        request_fail(request, WHEN_COMMITTED, fate);
    return PROGRESS_ANSWERED;
}

static void finish_resting(struct request *request)
{
    /* The barrier may have been refused although what the answer rests on was not. */
    struct wal_token rests_on = request->append.rests_on;
    say_now(request, rests_on.ticket > 0 ? wal_poll(request->wal, rests_on) : request->status);
    request_waited(request);
}

enum progress say_resting(struct request *request, struct wal_token rests_on,
                          void (*say)(struct request *request))
{
    request->append.say = say;
    request->append.rests_on = rests_on;
    int fate = wal_poll(request->wal, rests_on);
    if (fate == -EINPROGRESS)
        return request_wait_for_all(request, finish_resting);
    say_now(request, fate);
    return request_give_back(request);
}

/* ---- what stands against appending ---- */

void (*append_words(enum judgement judgement))(struct request *request)
{
    switch (judgement) {
    case JUDGED_NEW: break;
    case JUDGED_REPEAT: return say_committed;
    case JUDGED_OLD: return say_already;
    case JUDGED_OTHER_BODY: return say_other_body;
    case JUDGED_STALE_EPOCH: return say_stale_epoch;
    case JUDGED_LATE_START: return say_late_start;
    case JUDGED_GAP: return say_gap;
    case JUDGED_TOO_MANY: return say_too_many_producers;
    }
    return NULL;
}

/* The log's settings want every append to be durable before it is answered. */
static bool has_floor(struct wal *wal, struct wal_token *ret_rests_on)
{
    static const char key[] = "s:durability", floor[] = "committed";
    char value[sizeof(floor)];
    size_t bytes;
    return wal_state_get(wal, key, sizeof(key) - 1, value, sizeof(value), &bytes, ret_rests_on) ==
               0 &&
           bytes == sizeof(floor) - 1 && memcmp(value, floor, bytes) == 0;
}

/* Whether the log ends where If-Match has it. */
static bool is_expected(const struct request *request, uint64_t next_offset)
{
    const char *list = header(request, HTTP_IF_MATCH);
    if (!list || etag_list_is_any(list))
        return true;
    char etag[ETAG_BYTES];
    etag_print(etag, request->wal, next_offset);
    if (etag_list_has(list, etag, ETAG_STRONG))
        return true;
    snprintf(etag, sizeof(etag), "\"%" PRIu64 "\"", next_offset);
    return etag_list_has(list, etag, ETAG_STRONG);
}

/* True: append it. Else it is answered, or will be: *ret_progress. */
static bool is_to_be_appended(struct request *request, const struct load *load,
                              enum progress *ret_progress)
{
    struct append *append = &request->append;
    struct verdict *verdict = &append->verdict;
    int rc = idempotency_judge(request->wal, &append->idempotency, verdict);
    if (rc < 0) {
        request_fail(request, WHEN_OPENING, rc);
        *ret_progress = request_give_back(request);
        return false;
    }
    if (verdict->judgement != JUDGED_NEW) {
        append->replayed = verdict->judgement == JUDGED_REPEAT || verdict->judgement == JUDGED_OLD;
        append->appended = verdict->appended;
        *ret_progress = say_resting(request, verdict->rests_on, append_words(verdict->judgement));
        return false;
    }
    struct wal_token closed = {0};
    if (stream_has(request->wal, STREAM_NEWEST, STREAM_KEY_CLOSED, &closed)) {
        *ret_progress = say_resting(request, closed, say_closed);
        return false;
    }
    if (stream_is_json(request->wal) && !load_is_json(request, load)) {
        *ret_progress = request_give_back(request);
        return false;
    }
    struct wal_token floor;
    if (append->unheard && has_floor(request->wal, &floor)) {
        *ret_progress = say_resting(request, floor, say_floor);
        return false;
    }
    return true;
}

/* ---- appending ---- */

static void finish_append(struct request *request)
{
    must(request->token.begin == request->append.appended.begin);
    if (request->status == 0)
        say_committed(request);
    else
        request_fail(request, WHEN_COMMITTED, request->status);
    request_waited(request);
}

/* An append that nobody waits for any more. */
struct unheard {
    struct wal_handler handler;
    struct api *api;
    struct wal *wal;
};

static void unheard_done(struct wal_handler *handler, struct wal_token token, int status)
{
    struct unheard *unheard = container_of(handler, struct unheard, handler);
    struct api *api = unheard->api;
    if (status < 0) {
        struct api_event event = {"unheard_append_failed", wal_name(unheard->wal), status};
        api->config.tell(api->config.context, &event);
    }
    api_log_moved(api, unheard->wal);
    store_put(api->config.store, unheard->wal);
    api->appends_unheard--;
    free(unheard);
}

static enum progress append_unheard(struct request *request, const struct load *load,
                                    const struct wal_append_options *options)
{
    bool full = request->api->appends_unheard >= UNHEARD_MAX;
    struct unheard *unheard = full ? NULL : malloc(sizeof(*unheard));
    if (!unheard) {
        request_fail(request, WHEN_APPENDING, full ? -EAGAIN : -ENOMEM);
        return request_give_back(request);
    }
    *unheard = (struct unheard){{.done = unheard_done}, request->api, request->wal};
    int rc = space_append(request->api, request->wal, load->records, load->count, options,
                          &unheard->handler);
    if (rc < 0) {
        free(unheard);
        request_fail(request, WHEN_APPENDING, rc);
        return request_give_back(request);
    }
    request->api->appends_unheard++;
    say_queued(request);
    request->wal = NULL; /* the handler's */
    return PROGRESS_ANSWERED;
}

static enum progress append_heard(struct request *request, const struct load *load,
                                  const struct wal_append_options *options)
{
    request_wait(request, finish_append);
    int rc = space_append(request->api, request->wal, load->records, load->count, options,
                          &request->handler);
    if (rc < 0)
        request_wait_refused(request, rc);
    return PROGRESS_WAITING;
}

enum progress answer_log_append(struct request *request)
{
    CLEANUP(load_done) struct load load = {0};
    struct append *append = &request->append;
    enum progress progress = PROGRESS_ANSWERED;
    if (append->begun_us == 0) /* not again when its log has been made */
        append->begun_us = api_now_us();
    if (!read_wishes(request) || !read_records(request, &load) || !open_log(request, &progress) ||
        !is_to_be_appended(request, &load, &progress))
        return progress;

    struct wal_positions positions;
    wal_positions(request->wal, &positions);
    if (!is_expected(request, positions.next_offset)) {
        append->say = say_moved;
        if (positions.next_offset > positions.committed_offset)
            return request_wait_for_all(request, finish_resting);
        say_moved(request);
        return request_give_back(request);
    }

    /* Where it goes is known before it is queued, since all appends are queued by this thread. */
    struct idempotency_updates updates;
    append->appended =
        (struct appended){positions.next_offset, (uint32_t)load.count, (uint32_t)load.bytes};
    idempotency_updates(request->wal, &append->idempotency, &append->appended, &updates);
    struct wal_append_options options = {.expected_offset = positions.next_offset,
                                         .updates = updates.list,
                                         .update_count = updates.count};
    return append->unheard ? append_unheard(request, &load, &options)
                           : append_heard(request, &load, &options);
}
