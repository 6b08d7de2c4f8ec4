/*
 * The second door (api/stream*.c) on a simulated disk: what is told while something is on its way to
 * the disk, and what becomes of it when the disk does not take it. Requests come in as values, where
 * the transport would make them.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/call.h"
#include "wal/base.h"

#define STREAM "/v1/stream/" FIXTURE_LOG
#define LOG "/logs/" FIXTURE_LOG
#define BYTES "Content-Type: application/octet-stream"
#define TEXT "Content-Type: text/plain"
#define CLOSED "Stream-Closed: true"
#define PRODUCER(epoch, seq) "Producer-Id: p", "Producer-Epoch: " epoch, "Producer-Seq: " seq

/* ---- the service, and one request ---- */

static struct api *api;

static void hear(void *context, const struct api_event *event)
{
}

static void service_start(struct fixture *f)
{
    const struct api_config config = {.store = f->store,
                                      .version = "test",
                                      .record_bytes_max = 1u << 20,
                                      .auto_create = true,
                                      .long_poll_max_us = 1000000000,
                                      .tell = hear};
    assert_int_equal(api_new(&api, &config), 0);
}

static bool is_quiet(void *context)
{
    return api_in_progress(api) == 0;
}

/* What removes streams that did not come to be has begun by itself, and comes to its end. */
static void service_stop(struct fixture *f)
{
    assert_true(fixture_until(f, is_quiet, NULL));
    assert_int_equal(api_appends_waiting(api), 0);
    api_free(api);
}

static void ask(struct call *call, const char *method, const char *target,
                const char *const *headers, const char *body)
{
    assert_int_equal(call_begin(call, api, method, target, headers, strlen(body)), BEGIN_READ);
    call_answer(call, body, strlen(body));
    call_open_log(call, api->config.store);
}

static const char *header_of(const struct call *call, const char *name)
{
    const struct response *response = &call->request.response;
    for (unsigned i = 0; i < response->header_count; i++) {
        if (strcmp(response->headers[i].name, name) == 0)
            return response->headers[i].value;
    }
    return "";
}

/* It has been answered, now or after waiting. */
static void expect_answer(struct call *call, unsigned status, const char *text)
{
    const struct response *response = &call->request.response;
    if (call->suspended) {
        assert_true(call->resumed);
        request_finish(&call->request);
    }
    if (response->status != status ||
        !memmem(response->body ? response->body : "", response->body_bytes, text, strlen(text)))
        fail_msg("%u, wanted %u with %s in: %.*s", response->status, status, text,
                 (int)response->body_bytes, response->body);
    request_close(&call->request);
}

static void expect_now(const char *method, const char *target, unsigned status, const char *body,
                       const char *closed)
{
    struct call call;
    ask(&call, method, target, NULL, "");
    assert_false(call.suspended);
    assert_string_equal(header_of(&call, "Stream-Closed"), closed);
    expect_answer(&call, status, body);
}

struct crowd {
    struct call *calls;
    size_t count;
};

static bool all_are_decided(void *context)
{
    const struct crowd *crowd = context;
    for (size_t i = 0; i < crowd->count; i++) {
        if (!crowd->calls[i].resumed)
            return false;
    }
    return true;
}

/* ---- a close in flight ---- */

enum { LAST, AFTER, CLOSE, DUPLICATE, GAP, STANDS, DIFFERS, OTHER_DOOR, CALLS };

static struct call calls[CALLS];
static struct crowd crowd = {calls, CALLS};

/* The last append of the stream, and all that can be said because of it. */
static void put_close_in_flight(void)
{
    ask(&calls[LAST], "POST", STREAM, HEADERS(BYTES, CLOSED, PRODUCER("0", "0")), "last");
    ask(&calls[AFTER], "POST", STREAM, HEADERS(BYTES), "more");
    ask(&calls[CLOSE], "POST", STREAM, HEADERS(CLOSED), "");
    ask(&calls[DUPLICATE], "POST", STREAM, HEADERS(BYTES, CLOSED, PRODUCER("0", "0")), "last");
    ask(&calls[GAP], "POST", STREAM, HEADERS(BYTES, PRODUCER("0", "7")), "x");
    ask(&calls[STANDS], "PUT", STREAM, HEADERS(CLOSED), "");
    ask(&calls[DIFFERS], "PUT", STREAM, NULL, "");
    ask(&calls[OTHER_DOOR], "POST", LOG, NULL, "more");
    for (size_t i = 0; i < CALLS; i++)
        call_expect_waiting(&calls[i]);
}

/* Nobody hears of the close before it is durable: not who it refuses, nor who reads. */
static void nothing_is_told_of_a_close_before_it_is_durable(void **state)
{
    struct fixture *f = fixture_start(state);
    service_start(f);
    put_close_in_flight();
    expect_now("HEAD", STREAM, 200, "", "");
    expect_now("GET", STREAM, 200, "", "");
    expect_now("GET", LOG, 200, "\"closed\":false", "");
    assert_true(fixture_until(f, all_are_decided, &crowd));

    expect_answer(&calls[LAST], 200, "");
    expect_answer(&calls[AFTER], 409, "problems/closed");
    expect_answer(&calls[CLOSE], 204, "");
    expect_answer(&calls[DUPLICATE], 204, "");
    expect_answer(&calls[GAP], 409, "problems/closed");
    expect_answer(&calls[STANDS], 200, "");
    expect_answer(&calls[DIFFERS], 409, "problems/conflict");
    expect_answer(&calls[OTHER_DOOR], 409, "problems/closed");
    expect_now("HEAD", STREAM, 200, "", "true");
    expect_now("GET", STREAM, 200, "last", "true");
    expect_now("GET", LOG, 200, "\"closed\":true", "");
    service_stop(f);
}

/* A close that was not written was none, and nobody is told of one. */
static void what_rests_on_a_refused_close_is_refused(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.space_bytes = 8 << 10;
    f->config.log.batch_delay_us = 1000;
    fixture_begin(f);
    fixture_settle(f);
    service_start(f);
    static char large[100000];
    memset(large, 'x', sizeof(large) - 1);
    struct call first;
    sim_options_of(f->disk)->capacity_blocks = sim_used_blocks(f->disk);
    ask(&first, "POST", STREAM, HEADERS(BYTES), large);
    put_close_in_flight();
    assert_true(fixture_until(f, all_are_decided, &crowd));
    expect_answer(&first, 507, "no-space");
    for (size_t i = 0; i < CALLS; i++)
        expect_answer(&calls[i], 507, "no-space");

    sim_options_of(f->disk)->capacity_blocks = 0;
    expect_now("GET", STREAM, 200, "", "");
    ask(&first, "POST", STREAM, HEADERS(BYTES, PRODUCER("0", "0")), "not the last");
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    assert_string_equal(header_of(&first, "Stream-Closed"), "");
    expect_answer(&first, 200, "");
    expect_now("GET", STREAM, 200, "not the last", "");
    service_stop(f);
}

static void what_rests_on_a_failed_close_has_an_unknown_outcome(void **state)
{
    struct fixture *f = fixture_start(state);
    service_start(f);
    const struct sim_fault fault = {.kind = SIM_WRITE_DURABLE, .times = 1, .error = -EIO};
    sim_arm(f->disk, &fault);
    put_close_in_flight();
    assert_true(fixture_until(f, all_are_decided, &crowd));
    for (size_t i = 0; i < CALLS; i++)
        expect_answer(&calls[i], 500, "\"outcome\":\"unknown\"");
    expect_now("GET", STREAM, 200, "", ""); /* it is read as it was */
    service_stop(f);
}

/* ---- Stream-Seq in flight ---- */

static void a_sequence_in_flight_is_passed_when_it_is_durable(void **state)
{
    struct fixture *f = fixture_start(state);
    struct call first, second;
    service_start(f);
    ask(&first, "POST", STREAM, HEADERS(BYTES, "Stream-Seq: b"), "one");
    ask(&second, "POST", STREAM, HEADERS(BYTES, "Stream-Seq: a"), "two");
    call_expect_waiting(&second);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_answer(&first, 204, "");
    expect_answer(&second, 409, "stream-seq");
    service_stop(f);
}

/* ---- a stream that is being made with content ---- */

#define NEW "/v1/stream/new"

/* Until its content is durable there is no stream, and who asks for the same waits for that. */
static void a_stream_is_there_when_its_content_is_durable(void **state)
{
    struct fixture *f = fixture_start(state);
    struct call made[2];
    struct crowd both = {made, 2};
    service_start(f);
    ask(&made[0], "PUT", NEW, HEADERS(TEXT), "content");
    call_expect_waiting(&made[0]);
    expect_now("GET", NEW, 404, "log-not-found", "");
    expect_now("HEAD", NEW, 404, "", "");
    expect_now("GET", "/logs/new", 404, "log-not-found", "");
    ask(&made[1], "PUT", NEW, HEADERS(TEXT), "other");
    call_expect_waiting(&made[1]);
    assert_true(fixture_until(f, all_are_decided, &both));
    expect_answer(&made[0], 201, "");
    expect_answer(&made[1], 200, "");
    expect_now("GET", NEW, 200, "content", "");
    service_stop(f);
}

/* What a crash leaves of it is no stream that an answer could take for the whole. */
static void a_stream_without_the_content_it_was_made_with_is_none(void **state)
{
    struct fixture *f = fixture_start(state);
    const struct sim_fault fault = {.kind = SIM_WRITE_DURABLE, .times = 1, .error = -EIO};
    struct call made;
    struct crowd alone = {&made, 1};
    service_start(f);
    ask(&made, "PUT", NEW, HEADERS(TEXT), "content");
    sim_arm(f->disk, &fault);
    assert_true(fixture_until(f, all_are_decided, &alone));
    expect_answer(&made, 500, "\"outcome\":\"unknown\"");
    expect_now("GET", NEW, 404, "log-not-found", "");
    service_stop(f);
    fixture_crash(f);
    fixture_open(f);
    service_start(f);
    ask(&made, "GET", NEW, NULL, "");
    expect_answer(&made, 404, "log-not-found");
    ask(&made, "POST", NEW, HEADERS(TEXT), "more");
    assert_true(made.request.response.status >= 400); /* nothing is appended to what is none */
    request_close(&made.request);
    service_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SIM(nothing_is_told_of_a_close_before_it_is_durable),
        ON_SIM(what_rests_on_a_refused_close_is_refused),
        ON_SIM(what_rests_on_a_failed_close_has_an_unknown_outcome),
        ON_SIM(a_sequence_in_flight_is_passed_when_it_is_durable),
        ON_SIM(a_stream_is_there_when_its_content_is_durable),
        ON_SIM(a_stream_without_the_content_it_was_made_with_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
