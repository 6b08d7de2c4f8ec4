/*
 * api/life.c and api/fork.c on a simulated disk: which logs are there, for whom, and what a power cut at
 * any moment leaves of them. Requests come in as values, where the transport would make them.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/sim/sim_disk.h"
#include "tests/support/call.h"
#include "wal/base.h"

#define PASSES_MAX 1000000

/* ---- the world ---- */

static struct {
    struct sim_disk *disk;
    struct store *store;
    struct api *api;
} world;

static void hear(void *context, const struct api_event *event)
{
}

static void world_open(void)
{
    struct store_config config;
    store_config_default(&config);
    config.custom_io = sim_io(world.disk);
    config.threads = config.worker = false;
    config.ring_entries = 8;
    config.lock_timeout_ms = 0;
    config.log.segment_bytes = UINT64_C(1) << 20;
    assert_int_equal(store_open(&world.store, "data", &config, NULL), 0);
    const struct api_config api = {.store = world.store,
                                   .version = "test",
                                   .record_bytes_max = 1u << 20,
                                   .auto_create = true,
                                   .long_poll_max_us = 1000000,
                                   .any_host = true,
                                   .tell = hear};
    assert_int_equal(api_new(&world.api, &api), 0);
    world.api->life.has_walked = true; /* until a test wants it */
}

static void pass(void)
{
    assert_true(store_run(world.store, 0, 1000) >= 0);
}

/* Everything that has begun comes to its end. */
static void drain(void)
{
    for (int i = 0; api_in_progress(world.api) > 0; i++) {
        assert_true(i < PASSES_MAX);
        pass();
    }
}

/* The service looks after its logs until there is nothing left to do. */
static void tidy(void)
{
    world.api->life.has_walked = false;
    for (int i = 0; i < 1000; i++) {
        world.api->life.rest_until_us = 0;
        life_run(world.api);
        drain();
    }
}

static void world_close(void)
{
    drain();
    api_free(TAKE(world.api));
    (void)store_close(world.store, UINT64_MAX);
}

static int setup(void **state)
{
    const struct sim_options options = {.direct = true, .check_buffers = true};
    assert_int_equal(sim_disk_new(&options, &world.disk), 0);
    return 0;
}

static int teardown(void **state)
{
    if (!world.api) /* else the test has failed in the middle, and leaves everything */
        sim_disk_free(world.disk);
    world.api = NULL;
    return 0;
}

static void begin_world(uint64_t seed)
{
    sim_reset(world.disk, seed);
    world_open();
}

/* ---- requests ---- */

static void start(struct call *call, const char *method, const char *target,
                  const char *const *headers, const char *body, size_t bytes)
{
    if (call_begin(call, world.api, method, target, headers, bytes) == BEGIN_READ)
        call_answer(call, body, bytes);
    else
        call->progress = PROGRESS_ANSWERED;
}

/* The loop's part. False: it waits. */
static bool step(struct call *call)
{
    while (call->progress == PROGRESS_WAITING && call->resumed)
        call_go_on(call);
    return call->progress == PROGRESS_ANSWERED;
}

static unsigned finish(struct call *call)
{
    for (int i = 0; !step(call); i++) {
        assert_true(i < PASSES_MAX);
        pass();
    }
    return call->request.response.status;
}

static unsigned ask(const char *method, const char *target, const char *const *headers,
                    const char *body)
{
    struct call call;
    start(&call, method, target, headers, body, body ? strlen(body) : 0);
    unsigned status = finish(&call);
    request_close(&call.request);
    return status;
}

static void expect(unsigned wanted, const char *method, const char *target,
                   const char *const *headers, const char *body)
{
    unsigned status = ask(method, target, headers, body);
    if (status != wanted)
        fail_msg("%s %s: %u, wanted %u", method, target, status, wanted);
}

#define STREAM(name) "/v1/stream/" name
#define TEXT "Content-Type: text/plain"
#define FROM(name) "Stream-Forked-From: /v1/stream/" name
#define START "Stream-Fork-Offset: 0000000000000000_0000000000000000"

/* GET: the status, and whether the body is what it has to be. */
static unsigned read_all(const char *target, const char *wanted)
{
    struct call call;
    start(&call, "GET", target, NULL, NULL, 0);
    unsigned status = finish(&call);
    const struct response *response = &call.request.response;
    if (status == 200) {
        assert_int_equal(response->body_bytes, strlen(wanted));
        assert_memory_equal(response->body, wanted, response->body_bytes);
    }
    request_close(&call.request);
    return status;
}

static void expect_content(const char *target, const char *wanted)
{
    assert_int_equal(read_all(target, wanted), 200);
}

/* ---- what is on the disk ---- */

struct names {
    char text[1024];
};

static int add_name(void *context, const char *name)
{
    struct names *list = context;
    size_t bytes = strlen(list->text);
    snprintf(list->text + bytes, sizeof(list->text) - bytes, "%s ", name);
    return 0;
}

static void expect_names(const char *wanted)
{
    struct names list = {""};
    assert_int_equal(store_list(world.store, "", "", add_name, &list), 0);
    assert_string_equal(list.text, wanted);
}

/* ---- forks ---- */

/* 120 KB each: with five of them a copy takes two chunks. */
#define RECORD_BYTES 120000
#define RECORDS 5

static char record[RECORD_BYTES + 1], source[RECORDS * RECORD_BYTES + 1],
    forked[RECORDS * RECORD_BYTES + 5];

static void make_source(void)
{
    source[0] = '\0';
    char *end = source;
    expect(201, "PUT", STREAM("src"), HEADERS(TEXT), NULL);
    for (int i = 0; i < RECORDS; i++) {
        memset(record, 'a' + i, RECORD_BYTES);
        expect(204, "POST", STREAM("src"), HEADERS(TEXT), record);
        end = stpcpy(end, record);
    }
    snprintf(forked, sizeof(forked), "%stail", source);
}

/* The plain life of a fork. */
static void a_fork_has_the_prefix_and_goes_on_by_itself(void **state)
{
    begin_world(1);
    make_source();
    expect(201, "PUT", STREAM("fork"), HEADERS(FROM("src")), "tail");
    expect_content(STREAM("fork"), forked);
    expect(204, "POST", STREAM("src"), HEADERS(TEXT), "more");
    expect_content(STREAM("fork"), forked);
    expect(200, "PUT", STREAM("fork"), HEADERS(FROM("src")), NULL);
    expect(409, "PUT", STREAM("fork"), HEADERS(TEXT), NULL);
    expect(409, "PUT", STREAM("fork"), HEADERS(FROM("src"), START), NULL);
    expect(204, "DELETE", STREAM("src"), NULL, NULL);
    expect(410, "GET", STREAM("src"), NULL, NULL);
    expect(410, "GET", "/logs/src", NULL, NULL);
    expect(410, "POST", "/logs/src", NULL, "x");
    expect(410, "DELETE", "/logs/src", NULL, NULL);
    expect(410, "PUT", "/logs/src", NULL, NULL);
    expect(409, "PUT", STREAM("src"), HEADERS(TEXT), NULL);
    expect(409, "PUT", STREAM("fork2"), HEADERS(FROM("src")), NULL);
    expect_content(STREAM("fork"), forked);
    expect(204, "DELETE", "/logs/fork", NULL, NULL);
    drain();
    expect(404, "GET", STREAM("src"), NULL, NULL);
    expect_names("");
    world_close();
}

/* What is refused leaves no reference, which would keep the source from going. */
static void a_fork_that_is_refused_leaves_nothing(void **state)
{
    begin_world(1);
    make_source();
    expect(409, "PUT", STREAM("a"), HEADERS(FROM("src"), "Content-Type: application/json"), "1");
    expect(400, "PUT", STREAM("a"),
           HEADERS(FROM("src"), "Stream-Fork-Offset: 0000000000000001_0000000000000001"), NULL);
    expect(400, "PUT", STREAM("a"), HEADERS(FROM("src"), "Stream-Fork-Offset: 1"), NULL);
    expect(400, "PUT", STREAM("a"), HEADERS(FROM("src"), "Stream-Fork-Sub-Offset: 1"), NULL);
    expect(400, "PUT", STREAM("a"), HEADERS(FROM("src"), START, "Stream-Fork-Sub-Offset: 600001"),
           NULL);
    expect(400, "PUT", STREAM("a"), HEADERS("Stream-Forked-From: src"), NULL);
    expect(404, "PUT", STREAM("a"), HEADERS(FROM("nothing")), NULL);
    expect(404, "PUT", STREAM("a"), HEADERS(FROM("a")), NULL);
    expect(204, "DELETE", STREAM("src"), NULL, NULL);
    expect_names("");

    make_source();
    expect(200, "POST", "/logs/src/trim?before=1", NULL, NULL);
    expect(410, "PUT", STREAM("a"), HEADERS(FROM("src")), NULL);
    expect(201, "PUT", STREAM("a"), HEADERS(FROM("src"), START), NULL);
    expect_content(STREAM("a"), "");
    world_close();
}

static void a_sub_offset_ends_inside_a_record(void **state)
{
    begin_world(1);
    expect(201, "PUT", STREAM("src"), HEADERS(TEXT), "first");
    expect(204, "POST", STREAM("src"), HEADERS(TEXT), "second");
    expect(204, "POST", STREAM("src"), HEADERS(TEXT), "third");
    expect(201, "PUT", STREAM("a"),
           HEADERS(FROM("src"), "Stream-Fork-Offset: 0000000000000001_0000000000000005",
                   "Stream-Fork-Sub-Offset: 3"),
           "!");
    expect_content(STREAM("a"), "firstsec!");
    expect(201, "PUT", STREAM("b"), HEADERS(FROM("src"), START, "Stream-Fork-Sub-Offset: 13"),
           NULL);
    expect_content(STREAM("b"), "firstsecondth");
    expect(201, "PUT", STREAM("c"), HEADERS(FROM("src"), START, "Stream-Fork-Sub-Offset: 16"),
           NULL);
    expect_content(STREAM("c"), "firstsecondthird");
    world_close();
}

/* The fork counts from its first step on: its source goes softly, and is copied to the end. */
static void a_source_that_is_deleted_meanwhile_is_still_copied(void **state)
{
    for (unsigned passes = 0; passes < 30; passes++) {
        struct call call;
        begin_world(1 + passes);
        make_source();
        start(&call, "PUT", STREAM("fork"), HEADERS(FROM("src")), "tail", 4);
        for (unsigned i = 0; i < passes && !step(&call); i++)
            pass();
        expect(204, "DELETE", STREAM("src"), NULL, NULL);
        unsigned status = finish(&call);
        request_close(&call.request);
        drain();
        if (status == 201) {
            expect_content(STREAM("fork"), forked);
            expect(410, "GET", STREAM("src"), NULL, NULL);
        } else { /* the deletion came before all */
            assert_true(status == 404 || status == 409 || status == 503);
            expect(404, "GET", STREAM("fork"), NULL, NULL);
            expect_names("");
        }
        world_close();
    }
}

static void a_source_that_is_trimmed_meanwhile_ends_the_fork(void **state)
{
    unsigned refused = 0;
    for (unsigned passes = 0; passes < 30; passes++) {
        struct call call;
        begin_world(1 + passes);
        make_source();
        start(&call, "PUT", STREAM("fork"), HEADERS(FROM("src")), "tail", 4);
        for (unsigned i = 0; i < passes && !step(&call); i++)
            pass();
        expect(200, "POST", "/logs/src/trim?before=5", NULL, NULL);
        unsigned status = finish(&call);
        request_close(&call.request);
        drain();
        if (status == 201) {
            expect_content(STREAM("fork"), forked);
        } else {
            assert_int_equal(status, 410);
            refused++;
            expect(404, "GET", STREAM("fork"), NULL, NULL);
            expect_names("src ");
            expect(204, "DELETE", STREAM("src"), NULL, NULL);
            expect_names("");
        }
        world_close();
    }
    assert_in_range(refused, 1, 29);
}

/* Whatever of it the disk has no room for: nothing of it stays. */
static void a_full_disk_leaves_nothing_of_a_fork(void **state)
{
    unsigned refused = 0, made = 0;
    for (unsigned blocks = 0; blocks < 400; blocks += 20) {
        begin_world(1);
        make_source();
        sim_options_of(world.disk)->capacity_blocks = sim_used_blocks(world.disk) + blocks;
        unsigned status = ask("PUT", STREAM("fork"), HEADERS(FROM("src")), "tail");
        drain();
        sim_options_of(world.disk)->capacity_blocks = 0;
        if (status == 201) {
            made++;
            expect_content(STREAM("fork"), forked);
        } else {
            assert_int_equal(status, 507);
            refused++;
            expect(404, "GET", STREAM("fork"), NULL, NULL);
            expect_names("src ");
            expect(204, "DELETE", STREAM("src"), NULL, NULL);
            expect_names("");
        }
        world_close();
    }
    assert_true(refused > 2 && made > 2);
}

/* A full disk must not keep anybody from deleting. */
static void a_source_with_forks_is_deleted_on_a_full_disk(void **state)
{
    begin_world(1);
    make_source();
    expect(201, "PUT", STREAM("fork"), HEADERS(FROM("src")), "tail");
    struct sim_fault fault = {.kind = SIM_WRITE_DURABLE, .times = UINT64_MAX, .error = -ENOSPC};
    sim_arm(world.disk, &fault);
    expect(204, "DELETE", STREAM("src"), NULL, NULL);
    sim_disarm(world.disk);
    expect(404, "GET", STREAM("src"), NULL, NULL);
    expect_content(STREAM("fork"), forked);
    expect(204, "DELETE", STREAM("fork"), NULL, NULL);
    drain();
    expect_names("");
    world_close();
}

static void a_stop_ends_a_fork_cleanly(void **state)
{
    for (unsigned passes = 0; passes < 30; passes++) {
        struct call call;
        begin_world(1 + passes);
        make_source();
        start(&call, "PUT", STREAM("fork"), HEADERS(FROM("src")), "tail", 4);
        for (unsigned i = 0; i < passes && !step(&call); i++)
            pass();
        api_drain(world.api);
        unsigned status = finish(&call);
        request_close(&call.request);
        world_close();
        world_open();
        tidy();
        if (status == 201) {
            expect_content(STREAM("fork"), forked);
        } else {
            assert_int_equal(status, 503);
            expect(404, "GET", STREAM("fork"), NULL, NULL);
            expect_names("src ");
        }
        world_close();
    }
}

/* ---- power cuts ---- */

enum outcome { NOT_BEGUN, UNKNOWN, DONE };

static enum outcome run(unsigned wanted, const char *method, const char *target,
                        const char *const *headers, const char *body)
{
    if (sim_is_dead(world.disk))
        return NOT_BEGUN;
    unsigned status = ask(method, target, headers, body);
    if (sim_is_dead(world.disk)) /* nobody heard it */
        return UNKNOWN;
    assert_int_equal(status, wanted);
    return DONE;
}

/* What the answers that were heard allow. */
static void check_fork(enum outcome made, enum outcome deleted, unsigned status)
{
    if (made == DONE && deleted == NOT_BEGUN)
        assert_int_equal(status, 200);
    else if (made == NOT_BEGUN || deleted == DONE)
        assert_int_equal(status, 404);
    else
        assert_true(status == 200 || status == 404);
}

static void check_source(enum outcome deleted, unsigned status, unsigned fork)
{
    if (deleted == NOT_BEGUN)
        assert_int_equal(status, 200);
    else if (deleted == DONE)
        assert_int_equal(status, fork == 200 ? 410 : 404);
    else
        assert_true(status == 200 || status == (fork == 200 ? 410 : 404));
}

/* A fork is made, its source deleted, and then the fork: and the power goes at one moment of that.
 * Returns false if the moment came too late. */
static bool cut_and_check(uint64_t moment, uint64_t seed)
{
    begin_world(seed);
    make_source();
    drain();
    sim_settle(world.disk);
    sim_crash_at_change(world.disk, sim_changes(world.disk) + moment);
    enum outcome made = run(201, "PUT", STREAM("fork"), HEADERS(FROM("src")), "tail");
    enum outcome source_gone = run(204, "DELETE", STREAM("src"), NULL, NULL);
    enum outcome fork_gone = run(204, "DELETE", STREAM("fork"), NULL, NULL);
    drain();
    bool was_cut = sim_is_dead(world.disk);
    world_close();
    sim_crash(world.disk);

    world_open();
    unsigned fork = read_all(STREAM("fork"), forked);
    check_fork(made, fork_gone, fork);
    tidy();
    assert_int_equal(read_all(STREAM("fork"), forked), fork);
    unsigned src = read_all(STREAM("src"), source);
    check_source(source_gone, src, fork);
    expect_names(fork == 200 ? (src == 404 ? "fork " : "fork src ") : (src == 200 ? "src " : ""));

    /* References that count for nothing count for nothing. */
    if (src == 200) {
        expect(204, "DELETE", STREAM("src"), NULL, NULL);
        assert_int_equal(read_all(STREAM("src"), ""), fork == 200 ? 410 : 404);
    }
    if (fork == 200)
        expect(204, "DELETE", STREAM("fork"), NULL, NULL);
    drain();
    expect_names("");
    world_close();
    return was_cut;
}

static void a_power_cut_leaves_what_the_answers_allow(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        uint64_t moment = 1;
        while (cut_and_check(moment, seed))
            moment++;
        assert_true(moment > 20);
    }
}

/* A name that is used again at once must not be taken for its predecessor's. */
static bool cut_and_check_again(uint64_t moment)
{
    begin_world(7);
    make_source();
    expect(201, "PUT", STREAM("fork"), HEADERS(FROM("src")), "tail");
    drain();
    sim_settle(world.disk);
    sim_crash_at_change(world.disk, sim_changes(world.disk) + moment);
    enum outcome gone = run(204, "DELETE", STREAM("fork"), NULL, NULL);
    enum outcome other = run(201, "PUT", STREAM("fork"), HEADERS(TEXT), "other");
    drain();
    bool was_cut = sim_is_dead(world.disk);
    world_close();
    sim_crash(world.disk);

    world_open();
    tidy();
    if (other != NOT_BEGUN)
        assert_int_equal(gone, DONE);
    if (other == DONE)
        expect_content(STREAM("fork"), "other");
    /* A log of that name is there or not: if it is no fork, the source goes for good. */
    unsigned status = ask("GET", STREAM("fork"), NULL, NULL);
    bool is_fork = status == 200 && gone != DONE;
    expect(204, "DELETE", STREAM("src"), NULL, NULL);
    assert_int_equal(read_all(STREAM("src"), ""), is_fork ? 410 : 404);
    world_close();
    return was_cut;
}

static void a_reference_is_not_inherited_with_the_name(void **state)
{
    uint64_t moment = 1;
    while (cut_and_check_again(moment))
        moment++;
    assert_true(moment > 5);
}

/* ---- ends ---- */

static void nap(unsigned ms)
{
    usleep(ms * 1000);
}

static void a_log_that_has_ended_is_not_there_and_goes(void **state)
{
    begin_world(1);
    expect(201, "PUT", STREAM("a"), HEADERS(TEXT, "Stream-TTL: 1"), "old");
    expect(201, "PUT", STREAM("b"), HEADERS(TEXT, "Stream-TTL: 1"), "old");
    expect(201, "PUT", STREAM("c"), HEADERS(TEXT, "Stream-Expires-At: 2026-01-01T00:00:00Z"),
           "old");
    expect(201, "PUT", STREAM("d"), HEADERS(TEXT, "Stream-TTL: 3600"), "kept");
    expect(404, "GET", STREAM("c"), NULL, NULL);
    nap(600);
    expect_content(STREAM("b"), "old"); /* which renews it */
    expect(200, "HEAD", STREAM("a"), NULL, NULL);
    expect(200, "GET", "/logs/a", NULL, NULL); /* which do not */
    nap(600);
    expect(404, "HEAD", STREAM("a"), NULL, NULL);
    expect(404, "GET", "/logs/a/records", NULL, NULL);
    expect(404, "POST", STREAM("a"), HEADERS(TEXT), "x");
    expect(404, "DELETE", STREAM("a"), NULL, NULL);
    expect_content(STREAM("b"), "old");
    expect(201, "PUT", STREAM("a"), HEADERS(TEXT), "new");
    expect_content(STREAM("a"), "new");
    expect(200, "POST", "/logs/c", NULL, "made anew");
    expect_content("/logs/c/records/0", "made anew");
    nap(1000);
    tidy();
    expect_names("a c d ");
    world_close();
}

/* What an earlier life made is found although nobody asks for it, and has a full TTL before. */
static void what_ended_before_the_start_is_found(void **state)
{
    begin_world(1);
    expect(201, "PUT", STREAM("a"), HEADERS(TEXT, "Stream-TTL: 1"), "old");
    expect(201, "PUT", STREAM("b"), HEADERS(TEXT), "kept");
    nap(1100);
    world_close();
    world_open();
    tidy();
    expect_names("a b ");
    expect(200, "HEAD", STREAM("a"), NULL, NULL);
    nap(1100);
    tidy();
    expect_names("b ");
    world_close();
}

/* A fork keeps the name of a source that has ended, and takes it along. */
static void a_source_that_ends_goes_with_its_last_fork(void **state)
{
    begin_world(1);
    expect(201, "PUT", STREAM("src"), HEADERS(TEXT, "Stream-TTL: 1"), "x");
    expect(201, "PUT", STREAM("fork"), HEADERS(FROM("src"), "Stream-TTL: 3600"), NULL);
    expect(201, "PUT", STREAM("forklet"), HEADERS(FROM("fork"), "Stream-TTL: 1"), NULL);
    nap(1100);
    expect(404, "PUT", STREAM("late"), HEADERS(FROM("src")), NULL);
    tidy();
    expect(410, "GET", STREAM("src"), NULL, NULL);
    expect(200, "GET", STREAM("fork"), NULL, NULL);
    expect(404, "GET", STREAM("forklet"), NULL, NULL);
    expect_names("fork src ");
    expect(204, "DELETE", STREAM("fork"), NULL, NULL);
    drain();
    expect_names("");
    world_close();
}

/* ---- requests that meet each other ---- */

static void pass_until_resumed(struct call *call)
{
    for (int i = 0; !call->resumed; i++) {
        assert_true(i < PASSES_MAX);
        pass();
    }
}

/* As the transport does when it finds that the client has gone. */
static void abandon(struct call *call)
{
    assert_true(call->resumed);
    request_abandon(&call->request);
    request_close(&call->request);
}

/* Between the news that a log has been made and the turn of whoever asked for it, others may have
 * deleted it and made one of their own: that is not the one that was made. */
static void what_was_made_for_others_keeps_its_end(void **state)
{
    struct call call;
    begin_world(1);
    start(&call, "PUT", STREAM("a"), HEADERS(TEXT, "Stream-TTL: 1"), NULL, 0);
    pass_until_resumed(&call);
    expect(204, "DELETE", STREAM("a"), NULL, NULL);
    expect(201, "PUT", STREAM("a"), HEADERS(TEXT, "Stream-TTL: 3600"), "kept");
    assert_int_equal(finish(&call), 409);
    request_close(&call.request);
    nap(1100);
    expect_content(STREAM("a"), "kept");
    tidy();
    expect_names("a ");
    world_close();
}

/* Who asked for the log is gone, but others have used it. */
static void what_was_made_for_nobody_lives_its_time(void **state)
{
    struct call call;
    begin_world(1);
    nap(1100);
    start(&call, "PUT", STREAM("a"), HEADERS(TEXT, "Stream-TTL: 1"), NULL, 0);
    pass_until_resumed(&call);
    expect(204, "POST", STREAM("a"), HEADERS(TEXT), "kept");
    abandon(&call);
    drain();
    expect_content(STREAM("a"), "kept");
    world_close();
}

/* A connection that is gone has taken the head of its request along. */
static void what_nobody_hears_is_not_made_of_the_head(void **state)
{
    struct call call;
    begin_world(1);
    start(&call, "PUT", STREAM("a"), HEADERS(TEXT), "kept", 4);
    pass_until_resumed(&call);
    assert_false(step(&call)); /* the content is on its way */
    pass_until_resumed(&call);
    call.request.facts.headers[HTTP_HOST] = (const char *)1;
    abandon(&call);
    drain();
    expect_content(STREAM("a"), "kept");
    world_close();
}

/* What is refused leaves nothing, and says nothing else. */
static void a_stop_does_not_say_that_a_part_stays(void **state)
{
    struct call call;
    begin_world(1);
    start(&call, "PUT", STREAM("a"), HEADERS(TEXT), "content", 7);
    pass_until_resumed(&call);
    api_drain(world.api);
    assert_int_equal(finish(&call), 503);
    assert_null(memmem(call.request.response.body, call.request.response.body_bytes, "stays", 5));
    request_close(&call.request);
    world_close();
    world_open();
    expect(404, "GET", STREAM("a"), NULL, NULL);
    world_close();
}

static void a_stream_without_room_for_its_content_goes(void **state)
{
    struct call call;
    begin_world(1);
    memset(record, 'x', RECORD_BYTES);
    start(&call, "PUT", STREAM("a"), HEADERS(TEXT), record, RECORD_BYTES);
    pass_until_resumed(&call);
    sim_options_of(world.disk)->capacity_blocks = sim_used_blocks(world.disk);
    assert_int_equal(finish(&call), 507);
    request_close(&call.request);
    drain();
    expect_names("");
    world_close();
}

/* Whoever asks for a stream hears of it when its content is durable, and not before. */
static void a_stream_whose_content_is_in_flight_is_not_told_of(void **state)
{
    for (unsigned full = 0; full < 2; full++) {
        struct call call, other;
        begin_world(1);
        memset(record, 'x', RECORD_BYTES);
        start(&call, "PUT", STREAM("a"), HEADERS(TEXT), record, RECORD_BYTES);
        pass_until_resumed(&call);
        if (full)
            sim_options_of(world.disk)->capacity_blocks = sim_used_blocks(world.disk);
        assert_false(step(&call));
        start(&other, "PUT", "/logs/a", NULL, NULL, 0);
        assert_int_equal(finish(&other), full ? 507 : 200);
        assert_int_equal(finish(&call), full ? 507 : 201);
        request_close(&other.request);
        request_close(&call.request);
        world_close();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_fork_has_the_prefix_and_goes_on_by_itself, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_fork_that_is_refused_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sub_offset_ends_inside_a_record, setup, teardown),
        cmocka_unit_test_setup_teardown(a_source_that_is_deleted_meanwhile_is_still_copied, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_source_that_is_trimmed_meanwhile_ends_the_fork, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_nothing_of_a_fork, setup, teardown),
        cmocka_unit_test_setup_teardown(a_source_with_forks_is_deleted_on_a_full_disk, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_stop_ends_a_fork_cleanly, setup, teardown),
        cmocka_unit_test_setup_teardown(a_power_cut_leaves_what_the_answers_allow, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reference_is_not_inherited_with_the_name, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_log_that_has_ended_is_not_there_and_goes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_ended_before_the_start_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_source_that_ends_goes_with_its_last_fork, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_made_for_others_keeps_its_end, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_made_for_nobody_lives_its_time, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_hears_is_not_made_of_the_head, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stop_does_not_say_that_a_part_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_without_room_for_its_content_goes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_stream_whose_content_is_in_flight_is_not_told_of, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
