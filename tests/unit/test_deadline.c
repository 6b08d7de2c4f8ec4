/* api/deadline.c: who is cut off, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/deadline.h"
#include "wal/base.h"

#define SECOND UINT64_C(1000000)

static const uint64_t timeouts_us[DEADLINE_KINDS] = {
    [DEADLINE_HEAD] = 10 * SECOND,    [DEADLINE_BODY] = 30 * SECOND,
    [DEADLINE_ANSWER] = 5 * SECOND,   [DEADLINE_IDLE] = 60 * SECOND,
    [DEADLINE_TAKING] = 20 * SECOND,  [DEADLINE_HEARTBEAT] = 15 * SECOND,
    [DEADLINE_CONTROL] = 25 * SECOND, [DEADLINE_LIFE] = 90 * SECOND,
};

/* Lets time pass as a loop does that looks when it meant to. */
static void pass(struct deadlines *deadlines, uint64_t us)
{
    deadlines_look(deadlines, deadlines->seen_us + us, us);
}

static void nothing_set_is_nothing_to_wait_for(void **state)
{
    struct deadlines deadlines;
    deadlines_init(&deadlines, timeouts_us, 1000);
    assert_true(deadlines_wait_us(&deadlines) == UINT64_MAX);
    pass(&deadlines, 100 * SECOND);
    assert_null(deadlines_take(&deadlines));
}

/* Not earlier, or a client is cut off that was in time; and not later than the loop looks. */
static void each_kind_ends_after_its_own_time(void **state)
{
    for (unsigned kind = 0; kind < DEADLINE_KINDS; kind++) {
        struct deadlines deadlines;
        struct deadline deadline = {0};
        deadlines_init(&deadlines, timeouts_us, 77);
        deadline_set(&deadlines, &deadline, kind);
        assert_int_equal(deadlines_wait_us(&deadlines), timeouts_us[kind]);
        pass(&deadlines, timeouts_us[kind] - 1);
        assert_null(deadlines_take(&deadlines));
        assert_int_equal(deadlines_wait_us(&deadlines), 1);
        pass(&deadlines, 1);
        assert_int_equal(deadlines_wait_us(&deadlines), 0);
        assert_ptr_equal(deadlines_take(&deadlines), &deadline);
        assert_false(deadline.is_set);
        assert_null(deadlines_take(&deadlines));
        assert_true(deadlines_wait_us(&deadlines) == UINT64_MAX);
    }
}

/* A deadline that is set again, cleared, or was never set leaves the lists as they should be. */
static void the_lists_hold_under_any_order_of_changes(void **state)
{
    enum { COUNT = 40, STEPS = 20000 };
    struct deadline items[COUNT] = {0};
    uint64_t ends[COUNT] = {0}; /* 0: not set */
    struct deadlines deadlines;
    uint64_t random = 12345, now = 0;
    deadlines_init(&deadlines, timeouts_us, now);

    for (int step = 0; step < STEPS; step++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        unsigned i = (unsigned)(random >> 33) % COUNT;
        unsigned what = (unsigned)(random >> 50) % 8;
        if (what < 5) {
            enum deadline_kind kind = (enum deadline_kind)(what % DEADLINE_KINDS);
            deadline_set(&deadlines, &items[i], kind);
            ends[i] = now + timeouts_us[kind];
        } else if (what == 5) {
            deadline_clear(&deadlines, &items[i]);
            ends[i] = 0;
        } else {
            uint64_t us = (random >> 20) % (3 * SECOND);
            now += us;
            pass(&deadlines, us);
        }
        struct deadline *taken;
        while ((taken = deadlines_take(&deadlines)) != NULL) {
            size_t which = (size_t)(taken - items);
            assert_true(ends[which] != 0 && ends[which] <= now);
            ends[which] = 0;
        }
        uint64_t first = UINT64_MAX;
        for (unsigned k = 0; k < COUNT; k++) {
            assert_int_equal(items[k].is_set, ends[k] != 0);
            assert_true(ends[k] == 0 || ends[k] > now);
            if (ends[k] != 0)
                first = min_u64(first, ends[k]);
        }
        assert_true(deadlines_wait_us(&deadlines) ==
                    (first == UINT64_MAX ? UINT64_MAX : first - now));
    }
}

/* A loop that was busy for a minute has not read what came meanwhile. */
static void time_in_which_nobody_looked_does_not_count(void **state)
{
    struct deadlines deadlines;
    struct deadline deadline = {0};
    deadlines_init(&deadlines, timeouts_us, 0);
    deadline_set(&deadlines, &deadline, DEADLINE_HEAD);
    deadlines_look(&deadlines, 60 * SECOND, 0); /* busy for a minute */
    assert_null(deadlines_take(&deadlines));
    assert_in_range(deadlines_wait_us(&deadlines), 9 * SECOND, 10 * SECOND);
    deadlines_look(&deadlines, 120 * SECOND, SECOND); /* meant to sleep for one second of it */
    assert_null(deadlines_take(&deadlines));
    assert_in_range(deadlines_wait_us(&deadlines), 8 * SECOND, 9 * SECOND);
    pass(&deadlines, 9 * SECOND);
    assert_ptr_equal(deadlines_take(&deadlines), &deadline);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_set_is_nothing_to_wait_for),
        cmocka_unit_test(each_kind_ends_after_its_own_time),
        cmocka_unit_test(the_lists_hold_under_any_order_of_changes),
        cmocka_unit_test(time_in_which_nobody_looked_does_not_count),
    };

    return cmocka_run_group_tests_name("deadline", tests, NULL, NULL);
}
