/* api/etag.c: what If-Match may say, and what it means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/etag.h"
#include "wal/base.h"

/* A condition that cannot be read must not pass for one that fails, nor for one that holds. */
static void only_lists_of_tags_are_valid(void **state)
{
    static const char *const valid[] = {
        "*",       "\"1\"",           "\"\"",      "\"1\", \"2\"",   "\"1\",\"2\"", "W/\"1\"",
        " \"1\" ", "\"1\"\t,\t\"2\"", "\"a-b,c\"", "\"1\" , W/\"2\""};
    static const char *const invalid[] = {"",        " ",        "1",          "\"1", "1\"",
                                          "\"1\",",  ",\"1\"",   "\"1\"\"2\"", "**",  "*, \"1\"",
                                          "w/\"1\"", "W/ \"1\"", "\"1 2\"",    "'1'", "\"1\";",
                                          "\"1\" 2", "W/*",      "\"1\", *"};
    for (size_t i = 0; i < ARRAY_SIZE(valid); i++)
        assert_true(etag_list_is_valid(valid[i]));
    for (size_t i = 0; i < ARRAY_SIZE(invalid); i++)
        assert_false(etag_list_is_valid(invalid[i]));
}

static void a_tag_is_found_wherever_it_stands_and_only_whole(void **state)
{
    assert_true(etag_list_has("\"12\"", "\"12\"", ETAG_STRONG));
    assert_true(etag_list_has("\"1\", \"12\"", "\"12\"", ETAG_STRONG));
    assert_true(etag_list_has("\"12\",\"1\"", "\"12\"", ETAG_STRONG));
    assert_false(etag_list_has("\"1\", \"2\"", "\"12\"", ETAG_STRONG));
    assert_false(etag_list_has("\"123\"", "\"12\"", ETAG_STRONG));
    assert_false(etag_list_has("\"1,12\"", "\"12\"", ETAG_STRONG));
}

/* If-Match wants the strong comparison (RFC 9110, 13.1.1). */
static void a_weak_tag_is_never_the_same(void **state)
{
    assert_false(etag_list_has("W/\"12\"", "\"12\"", ETAG_STRONG));
    assert_true(etag_list_has("W/\"12\", \"12\"", "\"12\"", ETAG_STRONG));
}

static void only_a_star_alone_stands_for_any(void **state)
{
    assert_true(etag_list_is_any("*"));
    assert_false(etag_list_is_any("\"*\""));
}

/* Between quotes anything is part of the tag, and what follows something malformed is not read. */
static void tags_are_compared_whole(void **state)
{
    static const struct {
        const char *list;
        bool weak, strong;
    } cases[] = {
        {"\"a-1\"", true, true},
        {"W/\"a-1\"", true, false},
        {"\"b\", \"a-1\"", true, true},
        {"\"b\",,\tW/\"a-1\" , \"c\"", true, false},
        {"W/\"a-1\", \"a-1\"", true, true},
        {"\"a,\"a-1\"", false, false},
        {"\"b, \"a-1\", \"", false, false},
        {"\"x\"a-1\"", false, false},
        {"w/\"a-1\"", false, false},
        {"a-1", false, false},
        {"\"a-1", false, false},
        {"\"a-11\"", false, false},
        {"\"a-\"", false, false},
        {"\"b\" \"a-1\"", false, false},
        {"b, \"a-1\"", false, false},
        {"*, \"b\"", false, false},
        {"", false, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *list = cases[i].list;
        if (etag_list_has(list, "\"a-1\"", ETAG_WEAK) != cases[i].weak ||
            etag_list_has(list, "\"a-1\"", ETAG_STRONG) != cases[i].strong)
            fail_msg("%s", list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_lists_of_tags_are_valid),
        cmocka_unit_test(a_tag_is_found_wherever_it_stands_and_only_whole),
        cmocka_unit_test(a_weak_tag_is_never_the_same),
        cmocka_unit_test(only_a_star_alone_stands_for_any),
        cmocka_unit_test(tags_are_compared_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
