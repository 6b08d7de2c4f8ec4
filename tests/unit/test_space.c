/*
 * api/space.c: how much is to stay free, and whether a client may be told when to come again. A floor
 * that is too high refuses what there is room for; a promise that is not kept sends clients in vain.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "api/space.h"
#include "wal/base.h"
#include "wal/wal.h"

#define MIB (UINT64_C(1) << 20)

/* A small disk is not closed by a floor that is meant for large ones. */
static void the_floor_is_what_was_said_and_by_default_fits_the_disk(void **state)
{
    static const struct {
        struct space_floor floor;
        uint64_t size, expected;
    } cases[] = {
        {{.is_default = true}, 16 * MIB, 16 * MIB / 100 * 5},
        {{.is_default = true}, 1280 * MIB, 64 * MIB - 4}, /* by hundredths, rounded down */
        {{.is_default = true}, 1281 * MIB, 64 * MIB},
        {{.is_default = true}, UINT64_MAX, 64 * MIB},
        {{.is_default = true}, 0, 0},
        {{.bytes = 0}, 1000 * MIB, 0},
        {{.bytes = 5 * MIB}, 10, 5 * MIB},
        {{.percent = 20}, 1000, 200},
        {{.percent = 90}, UINT64_MAX, UINT64_MAX / 100 * 90},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(space_floor_of(&cases[i].floor, cases[i].size), cases[i].expected);
}

/* Only where the next pass cannot but make room. The largest record has 10 bytes. */
static void a_promise_of_room_is_made_only_where_it_is_certain(void **state)
{
    static const struct {
        struct wal_limits limits; /* retain: age, bytes, records; quota: bytes, records */
        uint64_t records, bytes;
        bool promised;
    } cases[] = {
        {{0, 0, 3, 0, 4}, 1, 5, true},
        {{0, 0, 3, 0, 4}, 2, 5, false},
        {{0, 0, 3, 0, 4}, 5, 5, false},
        {{0, 0, 4, 0, 4}, 1, 5, false},
        {{1, 0, 3, 0, 4}, 1, 5, false}, /* what is young stays */
        {{0, 1, 3, 0, 4}, 1, 5, false}, /* and what the bytes keep */
        {{0, 0, 3, 9, 4}, 1, 5, false}, /* and there is another quota */
        {{0, 0, 0, 0, 4}, 1, 5, false},
        {{0, 0, 3, 0, 4}, 0, 0, false}, /* it is not known how much is wanted */
        {{0, 50, 0, 65, 0}, 1, 5, true},
        {{0, 50, 0, 64, 0}, 1, 5, false},
        {{0, 50, 0, 14, 0}, 1, 5, false},
        {{0, 50, 0, 65, 9}, 1, 5, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(space_will_come(&cases[i].limits, 10, cases[i].records, cases[i].bytes),
                         cases[i].promised);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_floor_is_what_was_said_and_by_default_fits_the_disk),
        cmocka_unit_test(a_promise_of_room_is_made_only_where_it_is_certain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
