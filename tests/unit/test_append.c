/*
 * api/append.c on a simulated disk: what is told while an append is still on its way, and what becomes
 * of it when the disk does not take it. Requests come in as values, where the transport would make
 * them.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/call.h"
#include "wal/base.h"

#define FOREVER_US UINT64_C(10000000)

/* ---- the service ---- */

static struct {
    struct api *api;
    unsigned events;
    struct api_event event; /* the last one */
} service;

static void hear(void *context, const struct api_event *event)
{
    service.events++;
    service.event = *event;
}

static void service_start(struct fixture *f, bool auto_create, uint32_t batch_bytes_max)
{
    const struct api_config config = {.store = f->store,
                                      .version = "test",
                                      .record_bytes_max = 1u << 20,
                                      .batch_bytes_max = batch_bytes_max,
                                      .auto_create = auto_create,
                                      .tell = hear};
    memset(&service, 0, sizeof(service));
    assert_int_equal(api_new(&service.api, &config), 0);
}

/* ---- one request ---- */

static enum begin begin(struct call *call, const char *target, size_t bytes,
                        const char *const *headers)
{
    return call_begin(call, service.api, "POST", target, headers, bytes);
}

static void post_bytes(struct call *call, const char *target, const char *const *headers,
                       const char *body, size_t bytes)
{
    assert_int_equal(begin(call, target, bytes, headers), BEGIN_READ);
    call_answer(call, body, bytes);
    call_open_log(call, service.api->config.store);
}

static void post(struct call *call, const char *target, const char *const *headers,
                 const char *body)
{
    post_bytes(call, target, headers, body, strlen(body));
}

/* It has been answered, now or after waiting; `text` is somewhere in its body or headers. */
static void expect_answer(struct call *call, unsigned status, const char *text)
{
    if (call->suspended) {
        assert_true(call->resumed);
        request_finish(&call->request);
    }
    const struct response *response = &call->request.response;
    assert_int_equal(response->status, status);
    bool found = response->body && memmem(response->body, response->body_bytes, text, strlen(text));
    for (unsigned i = 0; i < response->header_count; i++)
        found = found || strcmp(response->headers[i].name, text) == 0;
    if (!found)
        fail_msg("no %s in: %.*s", text, (int)response->body_bytes, response->body);
    request_close(&call->request);
}

static void service_stop(void)
{
    assert_int_equal(api_appends_waiting(service.api), 0);
    assert_int_equal(api_in_progress(service.api), 0);
    api_free(service.api);
}

/* ---- what rests on an append in flight ---- */

#define LOG "/logs/" FIXTURE_LOG
#define PRODUCER(epoch, seq) "Producer-Id: p", "Producer-Epoch: " epoch, "Producer-Seq: " seq

enum { KEYED, PRODUCED, REPLAY, OTHER_BODY, DUPLICATE, GAP, STALE, LATE, MOVED, SYNC, CALLS };

static struct call calls[CALLS];
static char large[100000];

/* Two appends that are not durable yet, and everything that can be said because of them. */
static void put_all_in_flight(void)
{
    memset(large, 'x', sizeof(large));
    post_bytes(&calls[KEYED], LOG, HEADERS("Idempotency-Key: k"), large, sizeof(large));
    post(&calls[PRODUCED], LOG, HEADERS(PRODUCER("3", "0")), "produced");
    post_bytes(&calls[REPLAY], LOG, HEADERS("Idempotency-Key: k"), large, sizeof(large));
    post(&calls[OTHER_BODY], LOG, HEADERS("Idempotency-Key: k"), "other");
    post(&calls[DUPLICATE], LOG, HEADERS(PRODUCER("3", "0")), "produced");
    post(&calls[GAP], LOG, HEADERS(PRODUCER("3", "2")), "produced");
    post(&calls[STALE], LOG, HEADERS(PRODUCER("2", "0")), "produced");
    post(&calls[LATE], LOG, HEADERS(PRODUCER("4", "1")), "produced");
    post(&calls[MOVED], LOG, HEADERS("If-Match: \"0\""), "moved");
    assert_int_equal(begin(&calls[SYNC], LOG "/sync", 0, NULL), BEGIN_READ);
    request_answer(&calls[SYNC].request);
}

static bool all_are_decided(void *context)
{
    for (size_t i = 0; i < CALLS; i++) {
        if (!calls[i].resumed)
            return false;
    }
    return true;
}

/* An answer that a power cut could make a lie is not given. */
static void nothing_is_told_before_what_it_rests_on_is_durable(void **state)
{
    struct fixture *f = fixture_start(state);
    service_start(f, true, 0);
    put_all_in_flight();
    for (size_t i = 0; i < CALLS; i++)
        call_expect_waiting(&calls[i]);
    assert_int_equal(api_appends_waiting(service.api), CALLS);
    assert_true(fixture_until(f, all_are_decided, NULL));

    expect_answer(&calls[KEYED], 200, "\"offset\":0,\"count\":1");
    expect_answer(&calls[PRODUCED], 200, "\"offset\":1,\"count\":1");
    expect_answer(&calls[REPLAY], 200, "Idempotency-Replayed");
    expect_answer(&calls[OTHER_BODY], 422, "idempotency-key-reused");
    expect_answer(&calls[DUPLICATE], 200, "\"offset\":1,\"count\":1");
    expect_answer(&calls[GAP], 409, "Producer-Expected-Seq");
    expect_answer(&calls[STALE], 403, "\"producer_epoch\":3");
    expect_answer(&calls[LATE], 400, "bad-header");
    expect_answer(&calls[MOVED], 412, "\"next_offset\":2");
    expect_answer(&calls[SYNC], 200, "\"committed_offset\":2");
    service_stop();
    assert_int_equal(positions_of(f->wal).next_offset, 2);
}

/* Without space the first append is not written, so it was no append that the others could repeat;
 * and once there is space, each of them is as good as new. */
static void what_rests_on_a_refused_append_is_refused_and_may_be_tried_again(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.space_bytes = 8 << 10;
    fixture_begin(f);
    fixture_settle(f);
    service_start(f, true, 0);
    sim_options_of(f->disk)->capacity_blocks = sim_used_blocks(f->disk);
    put_all_in_flight();
    assert_true(fixture_until(f, all_are_decided, NULL));
    for (size_t i = 0; i < CALLS; i++)
        expect_answer(&calls[i], 507, "no-space");
    assert_int_equal(positions_of(f->wal).next_offset, 0);

    sim_options_of(f->disk)->capacity_blocks = 0;
    post(&calls[OTHER_BODY], LOG, HEADERS("Idempotency-Key: k"), "other");
    post(&calls[STALE], LOG, HEADERS(PRODUCER("2", "0")), "produced");
    post(&calls[GAP], LOG, HEADERS(PRODUCER("2", "1")), "produced");
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_answer(&calls[OTHER_BODY], 200, "\"offset\":0,");
    expect_answer(&calls[STALE], 200, "\"offset\":1,");
    expect_answer(&calls[GAP], 200, "\"offset\":2,");
    service_stop();
}

/* When the disk fails nobody knows what became of the first one; a duplicate is no wiser. */
static void what_rests_on_a_failed_append_has_an_unknown_outcome(void **state)
{
    struct fixture *f = fixture_start(state);
    service_start(f, true, 0);
    const struct sim_fault fault = {.kind = SIM_WRITE_DURABLE, .times = 1, .error = -EIO};
    sim_arm(f->disk, &fault);
    put_all_in_flight();
    assert_true(fixture_until(f, all_are_decided, NULL));
    for (size_t i = 0; i < CALLS; i++)
        expect_answer(&calls[i], 500, "\"outcome\":\"unknown\"");

    /* From then on it is the log that has failed, for those that ask what was in flight, too. */
    post(&calls[DUPLICATE], LOG, HEADERS(PRODUCER("3", "1")), "produced");
    expect_answer(&calls[DUPLICATE], 503, "log-failed");
    service_stop();
    assert_int_equal(wal_status(f->wal), -EIO);
}

/* ---- appends that nobody waits for ---- */

static bool nothing_is_waiting(void *context)
{
    return api_appends_waiting(service.api) == 0;
}

/* A stop has to wait for them, although no request does. */
static void an_unheard_append_counts_until_it_is_decided(void **state)
{
    struct fixture *f = fixture_start(state);
    service_start(f, true, 0);
    struct call call;
    post(&call, LOG "?ack=none", NULL, "quick");
    assert_false(call.suspended);
    expect_answer(&call, 202, "\"committed_offset\":0,\"durability\":\"none\"");
    assert_int_equal(api_appends_waiting(service.api), 1);
    assert_int_equal(api_in_progress(service.api), 1);
    assert_true(fixture_until(f, nothing_is_waiting, NULL));
    assert_int_equal(positions_of(f->wal).committed_offset, 1);
    assert_int_equal(service.events, 0);
    service_stop();
}

/* Nobody else could tell of it. */
static void an_unheard_append_that_fails_is_told_to_the_operator(void **state)
{
    struct fixture *f = fixture_start(state);
    service_start(f, true, 0);
    const struct sim_fault fault = {.kind = SIM_WRITE_DURABLE, .times = 1, .error = -EIO};
    sim_arm(f->disk, &fault);
    struct call call;
    post(&call, LOG "?ack=none", NULL, "quick");
    expect_answer(&call, 202, "\"durability\":\"none\"");
    assert_true(fixture_until(f, nothing_is_waiting, NULL));
    assert_int_equal(service.events, 1);
    assert_string_equal(service.event.name, "unheard_append_failed");
    assert_int_equal(service.event.error, -EIO);
    service_stop();
}

/* A disk that stalls must not let them pile up without end; waiting ones are bounded by connections. */
static void unheard_appends_have_a_ceiling(void **state)
{
    struct fixture *f = fixture_start(state);
    service_start(f, true, 0);
    struct call call;
    for (unsigned i = 0; i < 65536; i++) {
        post(&call, LOG "?ack=none", NULL, "quick");
        assert_int_equal(call.request.response.status, 202);
        request_close(&call.request);
    }
    post(&call, LOG "?ack=none", NULL, "quick");
    expect_answer(&call, 503, "busy");
    assert_true(fixture_until(f, nothing_is_waiting, NULL));
    post(&call, LOG "?ack=none", NULL, "quick");
    expect_answer(&call, 202, "\"offset\":65536,");
    assert_true(fixture_until(f, nothing_is_waiting, NULL));
    service_stop();
}

/* The floor is a setting like any other: while it is on its way it holds if it arrives. */
static void a_durability_floor_refuses_unheard_appends(void **state)
{
    struct fixture *f = fixture_start(state);
    service_start(f, true, 0);
    struct wal_state_update update = state_update("s:durability", "committed");
    struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
    assert_int_equal(wal_append(f->wal, NULL, 0, &options, NULL, NULL), 0);
    struct call call;
    post(&call, LOG "?ack=none", NULL, "quick");
    call_expect_waiting(&call);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_answer(&call, 409, "durability-floor");
    post(&call, LOG "?ack=none", NULL, "quick");
    expect_answer(&call, 409, "durability-floor");

    /* Any other value is none. */
    update = state_update("s:durability", "none");
    assert_int_equal(wal_append(f->wal, NULL, 0, &options, NULL, NULL), 0);
    post(&call, LOG "?ack=none", NULL, "quick");
    expect_answer(&call, 202, "\"offset\":0,");
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    service_stop();
}

/* ---- limits ---- */

/* What cannot be remembered is not promised: the append is refused, and plain ones go on. */
static void an_append_that_the_state_has_no_room_for_is_refused(void **state)
{
    static const char filler[WAL_STATE_BYTES_MAX - 100];
    struct fixture *f = fixture_start(state);
    service_start(f, true, 0);
    struct wal_state_update update = {"filler", 6, filler, sizeof(filler)};
    struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
    assert_int_equal(wal_append(f->wal, NULL, 0, &options, NULL, NULL), 0);
    struct call call;
    post(&call, LOG, HEADERS("Idempotency-Key: k"), "x");
    expect_answer(&call, 409, "state-full");
    post(&call, LOG "?ack=none", HEADERS("Idempotency-Key: k"), "x");
    expect_answer(&call, 409, "state-full");
    post(&call, LOG, NULL, "x");
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_answer(&call, 200, "\"offset\":0,");
    service_stop();
}

/* ---- the configuration ---- */

static void without_auto_create_an_append_makes_no_log(void **state)
{
    struct fixture *f = fixture_start(state);
    struct wal *wal;
    struct call call;
    service_start(f, false, 0);
    post(&call, "/logs/none", NULL, "x");
    expect_answer(&call, 404, "log-not-found");
    post(&call, "/logs/none?ack=none", NULL, "x");
    expect_answer(&call, 404, "log-not-found");
    post(&call, "/logs/none", HEADERS(PRODUCER("0", "0")), "x");
    expect_answer(&call, 404, "log-not-found");
    post(&call, "/logs/none", HEADERS("If-Match: *"), "x");
    expect_answer(&call, 412, "precondition-failed");
    assert_int_equal(store_get(f->store, "none", false, &wal), -ENOENT);

    post(&call, LOG, NULL, "x");
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_answer(&call, 200, "\"offset\":0,");
    service_stop();
}

/* The limit holds for what comes over the wire and for what it inflates to; single records have one
 * of their own. */
static void the_limit_of_batches_is_configurable(void **state)
{
    struct fixture *f = fixture_start(state);
    struct call call;
    const char *const *ndjson = HEADERS("Content-Type: application/x-ndjson");
    service_start(f, true, 100);
    memset(large, '\n', sizeof(large));
    large[0] = 'x';
    post_bytes(&call, LOG, ndjson, large, 100);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    expect_answer(&call, 200, "\"count\":1,");
    assert_int_equal(begin(&call, LOG, 101, ndjson), BEGIN_REFUSE);
    expect_answer(&call, 413, "\"batch_bytes_max\":100");
    assert_int_equal(begin(&call, LOG, 101, NULL), BEGIN_READ);
    request_close(&call.request);
    service_stop();
}

/* Room for a log and not for its first record: the log stays, and the refusal says so. */
static void a_refused_append_tells_that_it_made_its_log(void **state)
{
    struct fixture *f = fixture_start(state);
    service_start(f, true, 0);
    static char body[900000];
    memset(body, 'x', sizeof(body));
    sim_options_of(f->disk)->capacity_blocks = sim_used_blocks(f->disk) + 40;
    struct call call;
    post_bytes(&call, "/logs/new", NULL, body, sizeof(body));
    while (call.suspended && !call.resumed)
        assert_true(store_run(f->store, 0, 1000) >= 0);
    expect_answer(&call, 507, "But the log was made for this request, and stays.");
    /* It was there for the next one, which says nothing of the kind. */
    post_bytes(&call, "/logs/new", NULL, body, sizeof(body));
    while (call.suspended && !call.resumed)
        assert_true(store_run(f->store, 0, 1000) >= 0);
    call.resumed = true;
    request_finish(&call.request);
    assert_int_equal(call.request.response.status, 507);
    assert_null(memmem(call.request.response.body, call.request.response.body_bytes, "made", 4));
    request_close(&call.request);
    post(&call, "/logs/new", NULL, "small");
    while (call.suspended && !call.resumed)
        assert_true(store_run(f->store, 0, 1000) >= 0);
    expect_answer(&call, 200, "\"offset\":0");
    service_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SIM(nothing_is_told_before_what_it_rests_on_is_durable),
        ON_SIM(what_rests_on_a_refused_append_is_refused_and_may_be_tried_again),
        ON_SIM(what_rests_on_a_failed_append_has_an_unknown_outcome),
        ON_SIM(an_unheard_append_counts_until_it_is_decided),
        ON_SIM(an_unheard_append_that_fails_is_told_to_the_operator),
        ON_SIM(unheard_appends_have_a_ceiling),
        ON_SIM(an_append_that_the_state_has_no_room_for_is_refused),
        ON_SIM(a_durability_floor_refuses_unheard_appends),
        ON_SIM(without_auto_create_an_append_makes_no_log),
        ON_SIM(the_limit_of_batches_is_configurable),
        ON_SIM(a_refused_append_tells_that_it_made_its_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
