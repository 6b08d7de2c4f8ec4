/* api/stream_token.c: positions as clients see them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/stream_token.h"
#include "wal/base.h"

static void expect_token(uint64_t records, uint64_t bytes, const char *wanted)
{
    struct stream_position position = {records, bytes}, parsed;
    char token[STREAM_TOKEN_BYTES];
    stream_token_print(token, &position);
    assert_string_equal(token, wanted);
    assert_true(stream_token_parse(token, &parsed));
    assert_true(parsed.records == records && parsed.bytes == bytes);
}

/* Clients keep tokens as text, compare them as text, and send them back. */
static void a_token_is_two_numbers_of_sixteen_digits(void **state)
{
    expect_token(0, 0, "0000000000000000_0000000000000000");
    expect_token(1, 5, "0000000000000001_0000000000000005");
    expect_token(1234567890123456, 7, "1234567890123456_0000000000000007");
    expect_token(STREAM_NUMBER_MAX, STREAM_NUMBER_MAX, "9999999999999999_9999999999999999");
}

static void tokens_compare_like_the_places_they_name(void **state)
{
    static const struct stream_position places[] = {
        {0, 0},    {0, 9},     {0, 10},     {1, 10},      {9, 100},
        {10, 100}, {10, 1000}, {99, 99999}, {100, 99999},
    };
    for (size_t i = 0; i + 1 < ARRAY_SIZE(places); i++) {
        char one[STREAM_TOKEN_BYTES], next[STREAM_TOKEN_BYTES];
        stream_token_print(one, &places[i]);
        stream_token_print(next, &places[i + 1]);
        assert_true(strcmp(one, next) < 0);
    }
}

/* What we did not make is nobody's position: guessing at it would begin a reader somewhere. */
static void only_what_was_printed_is_a_token(void **state)
{
    static const char *const others[] = {
        "",
        "-1",
        "now",
        "0_0",
        "0000000000000000",
        "0000000000000000_",
        "0000000000000000_000000000000000",
        "0000000000000000_00000000000000000",
        "00000000000000000_0000000000000000",
        "000000000000000_00000000000000000",
        "0000000000000000-0000000000000000",
        "0000000000000000_000000000000000 ",
        " 000000000000000_0000000000000000",
        "0000000000000000_000000000000000a",
        "+000000000000000_0000000000000000",
        "0000000000000000_0000000000000000,",
        "000000000000000\xb2_0000000000000000",
    };
    struct stream_position position = {7, 8};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_false(stream_token_parse(others[i], &position));
    assert_true(position.records == 7 && position.bytes == 8);
}

/* A position that has no token could not be told to anybody: the append is refused before. */
static void what_passes_sixteen_digits_has_no_room(void **state)
{
    const struct stream_position begin = {0, 0},
                                 end = {STREAM_NUMBER_MAX - 1, STREAM_NUMBER_MAX - 9};
    assert_true(stream_token_has_room(&begin, 65536, 16u << 20));
    assert_true(stream_token_has_room(&begin, STREAM_NUMBER_MAX, STREAM_NUMBER_MAX));
    assert_false(stream_token_has_room(&begin, STREAM_NUMBER_MAX + 1, 1));
    assert_false(stream_token_has_room(&begin, UINT64_MAX, 1));
    assert_false(stream_token_has_room(&begin, 1, UINT64_MAX));
    assert_true(stream_token_has_room(&end, 1, 9));
    assert_false(stream_token_has_room(&end, 2, 9));
    assert_false(stream_token_has_room(&end, 1, 10));
    assert_true(stream_token_has_room(&end, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_two_numbers_of_sixteen_digits),
        cmocka_unit_test(tokens_compare_like_the_places_they_name),
        cmocka_unit_test(only_what_was_printed_is_a_token),
        cmocka_unit_test(what_passes_sixteen_digits_has_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
