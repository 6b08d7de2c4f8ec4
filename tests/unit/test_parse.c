/* The small languages of headers and parameters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "api/parse.h"
#include "wal/base.h"

static const char *const offers[] = {"application/x-ndjson", "application/json",
                                     "application/octet-stream"};

static int choose(const char *accept)
{
    return accept_choose(accept, offers, 3);
}

/* Without a wish the first form is as good as any. */
static void no_accept_takes_the_first(void **state)
{
    static const char *const all[] = {NULL,
                                      "",
                                      "  ",
                                      "*/*",
                                      "application/*",
                                      "*/*;q=0.001",
                                      "text/html, application/xhtml+xml, */*;q=0.8"};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        assert_int_equal(choose(all[i]), 0);
}

/* The highest weight wins, and of equal weights the order of preference is ours. */
static void accept_is_weighed(void **state)
{
    assert_int_equal(choose("application/json"), 1);
    assert_int_equal(choose("APPLICATION/JSON"), 1);
    assert_int_equal(choose("application/json, application/x-ndjson"), 0);
    assert_int_equal(choose("application/json;q=0.9, application/x-ndjson;q=0.8"), 1);
    assert_int_equal(
        choose("application/json ; charset=utf-8 ;\tQ=0.2,application/octet-stream;q=.3"), 1);
    assert_int_equal(choose("application/octet-stream;q=0.3, application/json;q=0.299"), 2);
    assert_int_equal(choose(", ,application/octet-stream,"), 2);
}

/* The closest element decides about a type, not the most generous one. */
static void the_closest_media_range_counts(void **state)
{
    assert_int_equal(choose("application/*;q=0.5, application/x-ndjson;q=0.1"), 1);
    assert_int_equal(choose("*/*, application/x-ndjson;q=0"), 1);
    assert_int_equal(choose("application/x-ndjson;q=0, application/json;q=0, */*;q=0.1"), 2);
    assert_int_equal(choose("application/*;q=0, */*"), -1);
    assert_int_equal(choose("application/json;q=0.1, application/json;q=0.9, */*;q=0.5"), 1);
}

static void what_is_not_offered_is_not_chosen(void **state)
{
    static const char *const none[] = {
        "text/event-stream",
        "text/*",
        "application/json;q=0",
        "*/*;q=0",
        "application/jsonx",
        "application/jso",
        "application",
        "json",
        "*/json",
        "application/json/x",
        "application /json",
        "application/ json",
        "application/json;q=1.001",
        "application/json;q=2",
        "application/json;q=0.0001",
        "application/json;q=",
        "application/json;q",
        "application/json;q=\"1\"x",
        "application/json x",
        "application/json;a=\"",
        "\"application/json\"",
    };
    for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
        if (choose(none[i]) != -1)
            fail_msg("%s was taken", none[i]);
    }
}

/* A comma in quotes ends nothing, and a malformed element spoils no other. */
static void elements_are_told_apart(void **state)
{
    assert_int_equal(choose("text/x;a=\"b,application/json,\\\",\", application/octet-stream"), 2);
    assert_int_equal(choose("text/;;, x, application/octet-stream"), 2);
    assert_int_equal(choose("a\"b,application/json\", application/octet-stream"), 2);
    assert_int_equal(choose("application/json;a=\"x, y\";q=0.2, application/octet-stream;q=0.1"),
                     1);
}

static void durations_have_a_unit(void **state)
{
    static const struct {
        const char *text;
        uint64_t us;
    } fine[] = {{"500ms", 500000}, {"30s", 30000000},
                {"1m", 60000000},  {"2h", UINT64_C(7200000000)},
                {"0s", 0},         {"18446744073709s", UINT64_C(18446744073709000000)}};
    static const char *const bad[] = {"",
                                      "s",
                                      "30",
                                      "30 s",
                                      " 30s",
                                      "30S",
                                      "-1s",
                                      "+1s",
                                      "1.5s",
                                      "030s",
                                      "30sec",
                                      "30s ",
                                      "1m30s",
                                      "0x1s",
                                      "18446744073710s",
                                      "99999999999999999999999999s",
                                      "18446744073709551616ms"};
    uint64_t us;
    for (size_t i = 0; i < ARRAY_SIZE(fine); i++) {
        assert_true(duration_parse(fine[i].text, &us));
        assert_int_equal(us, fine[i].us);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (duration_parse(bad[i], &us))
            fail_msg("\"%s\" was taken for a duration", bad[i]);
    }
}

static void times_are_read_exactly(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } fine[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:00:01Z", 1000000000},
        {"1970-01-01T00:00:00.000000001Z", 1},
        {"1970-01-01T00:00:00.1Z", 100000000},
        {"1970-01-01t01:00:00z", UINT64_C(3600000000000)},
        {"1970-01-01T01:00:00+01:00", 0},
        {"1969-12-31T23:30:00-00:30", 0},
        {"2026-11-22T10:00:00.000123Z", UINT64_C(1795341600000123000)},
        {"2026-11-22T11:30:00.000123+01:30", UINT64_C(1795341600000123000)},
        {"2026-11-22T10:00:00.000123-00:00", UINT64_C(1795341600000123000)},
        {"2000-02-29T00:00:00Z", UINT64_C(951782400000000000)},
        {"2016-12-31T23:59:60Z", UINT64_C(1483228800000000000)},
        {"2017-01-01T00:59:60+01:00", UINT64_C(1483228800000000000)},
        {"1969-12-31T23:59:59.9Z", 0},
        {"0000-01-01T00:00:00Z", 0},
        {"9999-12-31T23:59:59Z", UINT64_MAX},
    };
    uint64_t ns;
    for (size_t i = 0; i < ARRAY_SIZE(fine); i++) {
        if (!timestamp_parse(fine[i].text, &ns) || ns != fine[i].ns)
            fail_msg("%s", fine[i].text);
    }
}

static void what_is_no_time_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "now",
        "2026-11-22",
        "2026-11-22T10:00:00",
        "2026-11-22 10:00:00Z",
        "2026-11-22T10:00Z",
        "2026-11-22T10:00:00Zx",
        "2026-11-22T10:00:00.Z",
        "2026-11-22T10:00:00,5Z",
        "2026-11-22T10:00:00.0000000001Z",
        "2026-11-22T10:00:00+0100",
        "2026-11-22T10:00:00+01",
        "2026-11-22T10:00:00+01:00x",
        "2026-11-22T10:00:00+24:00",
        "2026-11-22T10:00:00+01:60",
        "2026-11-22T10:00:00 01:00",
        "2026-1-22T10:00:00Z",
        "2026-00-22T10:00:00Z",
        "2026-13-22T10:00:00Z",
        "2026-11-00T10:00:00Z",
        "2026-11-31T10:00:00Z",
        "2026-02-29T10:00:00Z",
        "1900-02-29T10:00:00Z",
        "2024-02-30T10:00:00Z",
        "2024-11-31T10:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T10:60:00Z",
        "2026-11-22T10:00:61Z",
        "2026-11-22T10:00:60Z",
        "2016-12-31T23:59:60+01:00",
        "+026-11-22T10:00:00Z",
        "20260-11-22T10:00:00Z",
    };
    uint64_t ns;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (timestamp_parse(bad[i], &ns))
            fail_msg("\"%s\" was taken for a time", bad[i]);
    }
}

/* A time that is printed and read again is not after the one it began as. */
static void a_printed_time_is_cut_off(void **state)
{
    static const uint64_t times[] = {0, 999, 1000, UINT64_C(1795341600000123999), UINT64_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        char text[TIMESTAMP_BYTES];
        uint64_t ns;
        timestamp_print(text, times[i]);
        assert_true(timestamp_parse(text, &ns));
        assert_true(ns == times[i] / 1000 * 1000 || times[i] == UINT64_MAX);
    }
}

static void ranges_are_cut_to_what_is_there(void **state)
{
    static const struct {
        const char *text;
        enum range range;
        uint64_t begin, end;
    } cases[] = {
        {NULL, RANGE_WHOLE, 0, 0},
        {"bytes=0-0", RANGE_PART, 0, 1},
        {"bytes=2-4", RANGE_PART, 2, 5},
        {"Bytes=2-4", RANGE_PART, 2, 5},
        {"bytes=2-", RANGE_PART, 2, 10},
        {"bytes=2-99", RANGE_PART, 2, 10},
        {"bytes=9-9", RANGE_PART, 9, 10},
        {"bytes=2-99999999999999999999999", RANGE_PART, 2, 10},
        {"bytes=2-18446744073709551615", RANGE_PART, 2, 10},
        {"bytes=-3", RANGE_PART, 7, 10},
        {"bytes=-10", RANGE_PART, 0, 10},
        {"bytes=-99", RANGE_PART, 0, 10},
        {"bytes=002-004", RANGE_PART, 2, 5},
        {"bytes=10-", RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=10-20", RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=99999999999999999999999-", RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=4-2", RANGE_WHOLE, 0, 0},
        {"bytes=", RANGE_WHOLE, 0, 0},
        {"bytes=-", RANGE_WHOLE, 0, 0},
        {"bytes=5", RANGE_WHOLE, 0, 0},
        {"bytes=a-b", RANGE_WHOLE, 0, 0},
        {"bytes=1-2x", RANGE_WHOLE, 0, 0},
        {"bytes=--1", RANGE_WHOLE, 0, 0},
        {"bytes=1--1", RANGE_WHOLE, 0, 0},
        {"bytes 1-2", RANGE_WHOLE, 0, 0},
        {"bytes=0-1,3-4", RANGE_WHOLE, 0, 0},
        {"items=0-1", RANGE_WHOLE, 0, 0},
        {"", RANGE_WHOLE, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t begin = 0, end = 0;
        enum range range = range_parse(cases[i].text, 10, &begin, &end);
        if (range != cases[i].range || begin != cases[i].begin || end != cases[i].end)
            fail_msg("%s", cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_accept_takes_the_first),
        cmocka_unit_test(accept_is_weighed),
        cmocka_unit_test(the_closest_media_range_counts),
        cmocka_unit_test(what_is_not_offered_is_not_chosen),
        cmocka_unit_test(elements_are_told_apart),
        cmocka_unit_test(durations_have_a_unit),
        cmocka_unit_test(times_are_read_exactly),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(a_printed_time_is_cut_off),
        cmocka_unit_test(ranges_are_cut_to_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
