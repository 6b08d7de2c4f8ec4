/*
 * What is written without memory is never something else: no text in another form, no settings that
 * are called wrong. jansson gives NULL for both, so its allocations are made to fail here.
 */
#include <setjmp.h> /* of cmocka.h, which cannot do without these four */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/json.h"
#include "api/settings.h"

static int allocations_left; /* -1: without end */

static void *allocate(size_t bytes)
{
    if (allocations_left == 0) {
        errno = ENOMEM;
        return NULL;
    }
    if (allocations_left > 0)
        allocations_left--;
    return malloc(bytes);
}

static void expect_text(const struct text *text, const char *wanted)
{
    assert_false(text->failed);
    assert_non_null(memmem(text->data, text->bytes, wanted, strlen(wanted)));
}

static void text_without_memory_is_not_told_as_base64(void **state)
{
    struct wal_entry entry = {.data = "hello", .size = 5};
    int needed = 0;
    bool failed = true;
    for (; failed; needed++) {
        struct text text = {0};
        assert_in_range(needed, 0, 20);
        allocations_left = needed;
        json_add_record(&text, &entry, false);
        allocations_left = -1;
        failed = text.failed;
        if (!failed)
            expect_text(&text, "\"data\":\"hello\"");
        text_done(&text);
    }
    assert_true(needed > 1);
}

static void what_is_no_text_is_told_as_base64(void **state)
{
    struct wal_entry entry = {.data = "\xff", .size = 1};
    struct text text = {0};
    json_add_record(&text, &entry, false);
    expect_text(&text, "\"data_base64\":\"/w==\"");
    text_done(&text);
}

static void settings_without_memory_are_not_called_wrong(void **state)
{
    static const char body[] = "{\"durability\":\"committed\"}";
    int needed = 0;
    bool read = false;
    for (; !read; needed++) {
        struct settings_wish settings;
        char advice[JSON_ADVICE_BYTES];
        assert_in_range(needed, 0, 50);
        allocations_left = needed;
        read = json_read_settings(body, strlen(body), &settings, advice);
        allocations_left = -1;
        if (read)
            assert_true(settings.settings.floor_committed);
        else
            assert_int_equal(errno, ENOMEM);
    }
    assert_true(needed > 1);
}

static void settings_that_are_wrong_are_not_a_lack_of_memory(void **state)
{
    static const char *const bodies[] = {"{", "[]", "{\"a\":1}", "{\"durability\":1}", "x"};
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        struct settings_wish settings;
        char advice[JSON_ADVICE_BYTES];
        assert_false(json_read_settings(bodies[i], strlen(bodies[i]), &settings, advice));
        assert_int_not_equal(errno, ENOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_without_memory_is_not_told_as_base64),
        cmocka_unit_test(what_is_no_text_is_told_as_base64),
        cmocka_unit_test(settings_without_memory_are_not_called_wrong),
        cmocka_unit_test(settings_that_are_wrong_are_not_a_lack_of_memory),
    };
    json_set_alloc_funcs(allocate, free);
    allocations_left = -1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
