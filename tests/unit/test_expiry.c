/*
 * api/expiry.c: which logs have ended, on clocks that the test turns; and what the headers may say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/expiry.h"
#include "wal/base.h"

#define SECOND_US UINT64_C(1000000)
#define SECOND_NS UINT64_C(1000000000)
#define BEGUN_US (1000 * SECOND_US)
#define BEGUN_NS (UINT64_C(1790000000) * SECOND_NS)

static struct {
    struct expiry expiry;
    uint64_t passed_us; /* since the beginning */
    int64_t wrong_ns;   /* of the realtime clock */
} world;

static uint64_t now_us(void)
{
    return BEGUN_US + world.passed_us;
}

static uint64_t realtime_ns(void)
{
    return BEGUN_NS + world.passed_us * 1000 + (uint64_t)world.wrong_ns;
}

static int setup(void **state)
{
    memset(&world, 0, sizeof(world));
    expiry_init(&world.expiry, 3, now_us(), realtime_ns());
    return 0;
}

static int teardown(void **state)
{
    expiry_done(&world.expiry);
    assert_null(world.expiry.by_use);
    assert_null(world.expiry.by_time);
    return 0;
}

static void pass(uint64_t seconds)
{
    world.passed_us += seconds * SECOND_US;
}

static bool meet(const char *name, uint8_t id, const struct lifespan *lifespan, bool uses)
{
    uint8_t bytes[16] = {id};
    return expiry_meet(&world.expiry, &(struct expiry_meeting){.name = name,
                                                               .id = bytes,
                                                               .lifespan = lifespan,
                                                               .uses = uses,
                                                               .now_us = now_us(),
                                                               .realtime_ns = realtime_ns()});
}

static struct lifespan ttl(const char *text)
{
    struct lifespan lifespan;
    assert_true(lifespan_read_ttl(&lifespan, text));
    return lifespan;
}

/* Ends so many seconds after the beginning. */
static struct lifespan until(uint64_t seconds)
{
    return (struct lifespan){.has_time = true, .expires_ns = BEGUN_NS + seconds * SECOND_NS};
}

static void expect_taken(const char *name)
{
    char taken[129];
    bool some = expiry_take(&world.expiry, now_us(), realtime_ns(), taken);
    if (!name) {
        assert_false(some);
        return;
    }
    assert_true(some);
    assert_string_equal(taken, name);
}

static uint64_t wait_us(void)
{
    return expiry_wait_us(&world.expiry, now_us(), realtime_ns());
}

/* What is refused is what clients of the protocol must never take for a time to live. */
static void a_ttl_is_a_plain_number(void **state)
{
    static const char *const bad[] = {"",
                                      "00060",
                                      "+60",
                                      "60.5",
                                      "6e1",
                                      "-1",
                                      "abc",
                                      " 60",
                                      "60 ",
                                      "0x10",
                                      "00",
                                      "60s",
                                      "1234567890123456789012345678901234567890"
                                      "123456789012345678901234567890"};
    struct lifespan lifespan;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (lifespan_read_ttl(&lifespan, bad[i]))
            fail_msg("accepted: %s", bad[i]);
    }
    lifespan = ttl("0");
    assert_int_equal(lifespan.ttl_us, 0);
    lifespan = ttl("3600");
    assert_int_equal(lifespan.ttl_us, 3600 * SECOND_US);
    assert_string_equal(lifespan.text, "3600");
    /* Longer than 64 bits of microseconds, and of seconds: no end within anybody's lifetime. */
    lifespan = ttl("18446744073709551615");
    assert_true(lifespan.ttl_us == UINT64_MAX);
    lifespan = ttl("99999999999999999999999");
    assert_true(lifespan.ttl_us == UINT64_MAX);
}

static void a_time_is_of_rfc_3339(void **state)
{
    static const char *const bad[] = {
        "", "tomorrow", "2026-11-23", "1790000000", "2026-11-23T10:00:00", "2026-13-01T00:00:00Z"};
    struct lifespan a, b;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (lifespan_read_time(&a, bad[i]))
            fail_msg("accepted: %s", bad[i]);
    }
    assert_true(lifespan_read_time(&a, "2026-11-23T10:00:00.250Z"));
    assert_true(lifespan_read_time(&b, "2026-11-23T11:00:00.250+01:00"));
    assert_true(a.expires_ns == b.expires_ns);
    /* The same moment, and yet not what was asked for before: compared as text. */
    assert_false(lifespan_equals(&a, &b));
    assert_true(lifespan_equals(&a, &a));
}

/* A log ends a TTL after its last use, to the millisecond and not before. */
static void use_renews_and_looking_does_not(void **state)
{
    const struct lifespan two = ttl("2");
    assert_false(meet("a", 1, &two, true));
    world.passed_us += 1900000;
    assert_false(meet("a", 1, &two, true));
    world.passed_us += 1999000;
    assert_false(meet("a", 1, &two, false));
    world.passed_us += 999;
    assert_false(meet("a", 1, &two, false));
    world.passed_us += 1;
    assert_true(meet("a", 1, &two, true));
    assert_true(meet("a", 1, &two, true)); /* too late to be renewed */
}

/* After a restart nobody knows when a log was used: it has a full TTL from then on, and no more. */
static void a_log_from_before_has_a_full_ttl_from_the_start(void **state)
{
    const struct lifespan ten = ttl("10");
    pass(9);
    assert_false(meet("looked-at", 1, &ten, false));
    assert_false(meet("used", 1, &ten, true));
    pass(1);
    assert_true(meet("looked-at", 1, &ten, false));
    assert_true(meet("never-met", 1, &ten, true));
    assert_false(meet("used", 1, &ten, false));
}

static void make(const char *name, const struct lifespan *lifespan)
{
    expiry_expect(&world.expiry, name, lifespan, now_us());
}

/* A log that is made now is not taken for one from before the start, and not for its predecessor. */
static void a_log_that_is_made_has_a_full_ttl(void **state)
{
    const struct lifespan two = ttl("2"), ten = ttl("10"), none = {0};
    pass(3600);
    make("a", &two);
    assert_false(meet("a", 1, &two, false));
    pass(2);
    assert_true(meet("a", 1, &two, false));
    make("a", &ten);
    assert_false(meet("a", 2, &ten, false));
    pass(9);
    assert_false(meet("a", 2, &ten, true));
    assert_int_equal(world.expiry.count, 1);
    assert_true(meet("a", 3, &ten, true)); /* nobody made this one: it is from before the start */
    make("a", &none);
    assert_int_equal(world.expiry.count, 0);
}

/* The sweep comes to those that have ended, in order, and not to those that were used meanwhile. */
static void what_has_ended_is_taken(void **state)
{
    const struct lifespan two = ttl("2"), five = ttl("5"), at_four = until(4);
    assert_true(wait_us() == UINT64_MAX);
    meet("five", 1, &five, true);
    meet("two", 1, &two, true);
    meet("four", 1, &at_four, true);
    assert_int_equal(wait_us(), 2 * SECOND_US);
    expect_taken(NULL);
    pass(1);
    meet("five", 1, &five, true); /* until 6 */
    pass(1);
    expect_taken("two");
    expect_taken(NULL); /* once */
    expiry_forget(&world.expiry, "two");
    pass(3);
    expect_taken("four");
    expiry_forget(&world.expiry, "four");
    expect_taken(NULL);
    assert_int_equal(wait_us(), SECOND_US);
    pass(1);
    expect_taken("five");
    pass(4);
    expect_taken(NULL);
    pass(1); /* it was not removed: the next attempt */
    expect_taken("five");
}

/* A table that is full costs a log time to live at most, never its life. */
static void what_there_is_no_room_for_does_not_end_early(void **state)
{
    const struct lifespan ten = ttl("10");
    meet("a", 1, &ten, true);
    meet("b", 1, &ten, true);
    meet("c", 1, &ten, true);
    pass(8);
    assert_false(meet("d", 1, &ten, true));
    assert_int_equal(world.expiry.count, 3);
    assert_true(world.expiry.is_full);
    pass(8); /* what is in the table ends all the same */
    assert_true(meet("a", 1, &ten, true));
    assert_false(meet("d", 1, &ten, true));
    expect_taken("a");
    expiry_forget(&world.expiry, "a");
    assert_false(meet("d", 1, &ten, true));
    assert_int_equal(world.expiry.count, 3);
    pass(10);
    assert_true(meet("d", 1, &ten, true));
}

static void forgetting_what_is_not_there_is_fine(void **state)
{
    expiry_forget(&world.expiry, "nothing");
    const struct lifespan none = {0};
    assert_false(meet("endless", 1, &none, true));
    assert_int_equal(world.expiry.count, 0);
}

/* A clock that somebody sets a year ahead must not take logs with it. */
static void a_jump_of_the_clock_ends_nothing(void **state)
{
    const struct lifespan at_hundred = until(100), two = ttl("2");
    assert_false(meet("a", 1, &at_hundred, true));
    pass(10);
    world.wrong_ns = 365 * 86400 * (int64_t)SECOND_NS;
    assert_false(meet("a", 1, &at_hundred, true));
    expect_taken(NULL);
    assert_false(expiry_believes(&world.expiry, now_us(), realtime_ns())); /* nor is anything old */
    assert_in_range(wait_us(), 1, 60 * SECOND_US); /* no busy loop meanwhile */
    meet("b", 1, &two, true);
    pass(2);
    assert_true(meet("b", 1, &two, true)); /* a TTL does not care */

    world.wrong_ns = 0; /* set right */
    assert_true(expiry_believes(&world.expiry, now_us(), realtime_ns()));
    assert_false(meet("a", 1, &at_hundred, true));
    pass(88);
    assert_true(meet("a", 1, &at_hundred, true));
}

static void a_new_time_that_stands_is_believed(void **state)
{
    const struct lifespan at_hundred = until(100);
    world.wrong_ns = 3600 * (int64_t)SECOND_NS;
    assert_false(meet("a", 1, &at_hundred, true));
    pass(599);
    assert_false(meet("a", 1, &at_hundred, true));
    pass(1);
    assert_true(meet("a", 1, &at_hundred, true));
}

/* Each jump is doubted anew: a clock that wanders is never believed. */
static void a_clock_that_goes_on_jumping_is_not_believed(void **state)
{
    const struct lifespan at_hundred = until(100);
    for (int i = 1; i < 10; i++) {
        world.wrong_ns = i * 3600 * (int64_t)SECOND_NS;
        assert_false(meet("a", 1, &at_hundred, true));
        pass(599);
        assert_false(meet("a", 1, &at_hundred, true));
    }
}

/* Less than a minute at a time is how clocks are set right. Backwards, what has ended lives again. */
static void small_steps_are_believed(void **state)
{
    const struct lifespan at_hundred = until(100);
    for (int i = 1; i <= 3; i++) {
        world.wrong_ns = i * 50 * (int64_t)SECOND_NS;
        assert_int_equal(meet("a", 1, &at_hundred, true), i >= 2);
    }
    world.wrong_ns = -86400 * (int64_t)SECOND_NS;
    assert_false(meet("a", 1, &at_hundred, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_ttl_is_a_plain_number, setup, teardown),
        cmocka_unit_test_setup_teardown(a_time_is_of_rfc_3339, setup, teardown),
        cmocka_unit_test_setup_teardown(use_renews_and_looking_does_not, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_from_before_has_a_full_ttl_from_the_start, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_log_that_is_made_has_a_full_ttl, setup, teardown),
        cmocka_unit_test_setup_teardown(what_has_ended_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(what_there_is_no_room_for_does_not_end_early, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(forgetting_what_is_not_there_is_fine, setup, teardown),
        cmocka_unit_test_setup_teardown(a_jump_of_the_clock_ends_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_time_that_stands_is_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_goes_on_jumping_is_not_believed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(small_steps_are_believed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
