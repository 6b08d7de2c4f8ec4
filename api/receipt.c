/* What an append is answered: receipts, and the refusals that the log's own state calls for. */
#include <inttypes.h>
#include <string.h>

#include "api/append.h"
#include "api/errors.h"
#include "api/etag.h"
#include "api/json.h"
#include "api/request.h"
#include "wal/base.h"

static const char *durability(const struct request *request)
{
    if (request->append.unheard && !request->append.replayed)
        return "none";
    return request->api->config.is_volatile ? "volatile" : "committed";
}

/* In milliseconds with three digits behind the point. */
static char *add_duration(char *at, uint64_t us)
{
    at = number_print(at, us / 1000);
    *at++ = '.';
    *at++ = (char)('0' + us / 100 % 10);
    *at++ = (char)('0' + us / 10 % 10);
    *at++ = (char)('0' + us % 10);
    return at;
}

/*
 * queue   from the last byte of the body until the durable write began: checking, inflating and
 *         opening the log, waiting for the commit before this one
 * commit  from there until the news of its end came
 */
static void add_timing(struct request *request)
{
    const struct append *append = &request->append;
    uint64_t began_us = max_u64(request->handler.write_began_us, append->begun_us);
    uint64_t queue_us = began_us - append->begun_us;
    uint64_t commit_us = max_u64(request->decided_us, began_us) - began_us;

    char value[sizeof("queue;dur=., commit;dur=.") + 2 * (size_t)(NUMBER_BYTES_MAX + 3)];
    char *end = add_duration(stpcpy(value, "queue;dur="), queue_us);
    end = add_duration(stpcpy(end, ", commit;dur="), commit_us);
    *end = '\0';
    response_header_text(&request->response, "Server-Timing", value);
}

void say_producer(struct request *request)
{
    const struct append *append = &request->append;
    if (append->idempotency.kind != IDEMPOTENCY_PRODUCER)
        return;
    /* A duplicate is told the newest number that was accepted. */
    uint64_t seq = append->replayed ? append->verdict.seq : append->idempotency.seq;
    response_header(&request->response, "Producer-Epoch", "%" PRIu64, append->idempotency.epoch);
    response_header(&request->response, "Producer-Seq", "%" PRIu64, seq);
}

/* What receipts carry beside Location and ETag. */
static void add_facts(struct request *request)
{
    struct response *response = &request->response;
    const struct append *append = &request->append;
    say_producer(request);
    if (append->replayed)
        response_header(response, "Idempotency-Replayed", "true");
    else if (!append->unheard)
        add_timing(request);
    if (append->minimal)
        response_header(response, "Preference-Applied", "return=minimal");
}

static void add_place(struct request *request)
{
    const struct appended *appended = &request->append.appended;
    char etag[ETAG_BYTES];
    etag_print(etag, request->wal, appended->begin);
    char location[sizeof("/logs//records/") + STORE_NAME_BYTES_MAX + NUMBER_BYTES_MAX];
    char *end = stpcpy(stpcpy(stpcpy(location, "/logs/"), request->log), "/records/");
    *number_print(end, appended->begin) = '\0';
    response_header_text(&request->response, "Location", location);
    response_header_text(&request->response, "ETag", etag);
}

/* Without memory for the words the status has to do: what it says is true. */
static void say_text(struct request *request, unsigned status, struct text *body)
{
    struct response *response = &request->response;
    response_text(response, status, "application/json", body);
    if (response->status != status) {
        response_clear(response);
        response->status = status;
    }
}

static void say_receipt(struct request *request, unsigned status, unsigned minimal_status)
{
    const struct appended *appended = &request->append.appended;
    if (request->append.minimal) {
        request->response.status = minimal_status;
        response_header(&request->response, "Log-Next-Offset", "%" PRIu64,
                        appended->begin + appended->count);
    } else {
        struct wal_positions positions;
        struct text body = {0};
        wal_positions(request->wal, &positions);
        json_add_receipt(&body, &(struct json_receipt){
                                    .log = request->log,
                                    .offset = appended->begin,
                                    .count = appended->count,
                                    .bytes = appended->bytes,
                                    .committed_offset = positions.committed_offset,
                                    .durability = durability(request),
                                });
        say_text(request, status, &body);
    }
    add_place(request);
    add_facts(request);
}

void say_committed(struct request *request)
{
    say_receipt(request, 200, 204);
}

/* 204 would say that it is done. */
void say_queued(struct request *request)
{
    say_receipt(request, 202, 202);
}

void say_already(struct request *request)
{
    if (request->append.minimal) {
        request->response.status = 204;
    } else {
        struct wal_positions positions;
        struct text body = {0};
        wal_positions(request->wal, &positions);
        json_add_duplicate(&body, request->log, positions.committed_offset, durability(request));
        say_text(request, 200, &body);
    }
    add_facts(request);
}

/* ---- refusals ---- */

void say_other_body(struct request *request)
{
    response_problem(&request->response, PROBLEM_KEY_REUSED, NULL);
}

void say_stale_epoch(struct request *request)
{
    uint64_t epoch = request->append.verdict.epoch;
    response_problem_number(&request->response, PROBLEM_STALE_EPOCH, "producer_epoch", epoch,
                            "This producer has gone on to epoch %" PRIu64
                            ": another of that name has taken its place. Stop, or take over in "
                            "turn with a higher epoch that begins with Producer-Seq 0.",
                            epoch);
    response_header(&request->response, "Producer-Epoch", "%" PRIu64, epoch);
}

void say_late_start(struct request *request)
{
    response_problem(
        &request->response, PROBLEM_BAD_HEADER,
        "Producer-Seq: the first append of an epoch has number 0, and the newest epoch "
        "of this producer is %" PRIu64 ".",
        request->append.verdict.epoch);
}

void say_gap(struct request *request)
{
    uint64_t expected = request->append.verdict.seq;
    uint64_t received = request->append.idempotency.seq;
    response_problem_number(&request->response, PROBLEM_PRODUCER_GAP, "expected_seq", expected,
                            "The next append of this producer has Producer-Seq %" PRIu64
                            ", and this one has %" PRIu64 ". Send what is between them first.",
                            expected, received);
    response_header(&request->response, "Producer-Expected-Seq", "%" PRIu64, expected);
    response_header(&request->response, "Producer-Received-Seq", "%" PRIu64, received);
}

void say_too_many_producers(struct request *request)
{
    response_problem_number(&request->response, PROBLEM_TOO_MANY_PRODUCERS, "producers_max",
                            PRODUCERS_MAX, NULL);
}

void say_floor(struct request *request)
{
    response_problem(&request->response, PROBLEM_DURABILITY_FLOOR, NULL);
}

void say_closed(struct request *request)
{
    response_problem(&request->response, PROBLEM_CLOSED, NULL);
}

void say_moved(struct request *request)
{
    if (!request->wal) {
        response_problem(&request->response, PROBLEM_PRECONDITION,
                         "There is no log of this name, and If-Match asks for one. Send the append "
                         "without it to make the log.");
        return;
    }
    struct wal_positions positions;
    wal_positions(request->wal, &positions);
    response_problem_number(&request->response, PROBLEM_PRECONDITION, "next_offset",
                            positions.next_offset,
                            "The next append to the log goes to offset %" PRIu64
                            ", and not to where If-Match expects it. Read what has come, and "
                            "decide anew.",
                            positions.next_offset);
}
