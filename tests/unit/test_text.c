/* Texts that grow, and numbers in digits: every answer is made of them. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/text.h"

static void expect_digits(uint64_t number)
{
    char expected[32], digits[NUMBER_BYTES_MAX + 1];
    int bytes = snprintf(expected, sizeof(expected), "%" PRIu64, number);
    memset(digits, '#', sizeof(digits));
    char *end = number_print(digits, number);
    assert_int_equal(end - digits, bytes);
    assert_memory_equal(digits, expected, (size_t)bytes);
    assert_int_equal(*end, '#'); /* nothing is written behind the end */

    struct text text = {0};
    text_add_number(&text, number);
    assert_int_equal(text.bytes, bytes);
    assert_memory_equal(text.data, expected, (size_t)bytes);
    text_done(&text);
}

static void numbers_are_printed_as_printf_prints_them(void **state)
{
    (void)state;
    expect_digits(0);
    uint64_t power = 1;
    for (unsigned digits = 1; digits <= NUMBER_BYTES_MAX; digits++, power *= 10) {
        expect_digits(power - 1);
        expect_digits(power);
        expect_digits(power + 1);
    }
    expect_digits(UINT64_MAX - 1);
    expect_digits(UINT64_MAX);
}

static void a_text_grows_and_keeps_what_it_has(void **state)
{
    (void)state;
    struct text text = {0};
    text_add(&text, NULL, 0);
    assert_null(text.data);
    size_t bytes = 0;
    for (unsigned i = 0; i < 2000; i++) {
        text_add_string(&text, "abc");
        text_add_number(&text, i % 10);
        bytes += 4;
        assert_int_equal(text.bytes, bytes);
        assert_true(text.capacity >= bytes);
    }
    for (unsigned i = 0; i < 2000; i++) {
        char piece[5] = {'a', 'b', 'c', (char)('0' + i % 10), '\0'};
        assert_memory_equal(text.data + (size_t)i * 4, piece, 4);
    }
    text_done(&text);
    assert_null(text.data);
}

static void what_does_not_fit_into_memory_is_dropped_for_good(void **state)
{
    (void)state;
    struct text text = {0};
    text_add_string(&text, "kept");
    assert_false(text_reserve(&text, SIZE_MAX / 2));
    assert_true(text.failed);
    text_add_string(&text, "dropped");
    text_add_number(&text, 1);
    text_add_base64(&text, "x", 1);
    assert_int_equal(text.bytes, 4);
    assert_memory_equal(text.data, "kept", 4);
    text_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_printed_as_printf_prints_them),
        cmocka_unit_test(a_text_grows_and_keeps_what_it_has),
        cmocka_unit_test(what_does_not_fit_into_memory_is_dropped_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
