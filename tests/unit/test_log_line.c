/* server/log.c: whatever a name or a reason holds, a line can be read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

#include "server/log.h"
#include "wal/base.h"

static int begin_json(void **state)
{
    log_open(LOG_JSON);
    return 0;
}

static int begin_logfmt(void **state)
{
    log_open(LOG_LOGFMT);
    return 0;
}

static int end_format(void **state)
{
    log_close();
    return 0;
}

static json_t *read_json(struct log_line *line)
{
    json_error_t error;
    log_finish(line);
    assert_true(line->bytes <= sizeof(line->text));
    assert_int_equal(line->text[line->bytes - 1], '\n');
    assert_null(memchr(line->text, '\n', line->bytes - 1));
    json_t *object = json_loadb(line->text, line->bytes, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        print_error("%s: %.*s", error.text, (int)line->bytes, line->text);
    assert_non_null(object);
    assert_true(json_is_object(object));
    return object;
}

static const char *member(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "(none)";
}

static void a_line_of_json_has_its_members(void **state)
{
    struct log_line line;
    log_begin(&line, "info", "ready");
    log_text(&line, "listen", "127.0.0.1:1");
    log_number(&line, "pid", UINT64_C(18446744073709551));
    log_quoted(&line, "empty", "");
    json_t *object = read_json(&line);
    assert_string_equal(member(object, "level"), "info");
    assert_string_equal(member(object, "event"), "ready");
    assert_string_equal(member(object, "listen"), "127.0.0.1:1");
    assert_string_equal(member(object, "empty"), "");
    assert_int_equal(strlen(member(object, "time")), strlen("2026-11-23T10:00:00.000Z"));
    assert_int_equal(json_integer_value(json_object_get(object, "pid")),
                     UINT64_C(18446744073709551));
    json_decref(object);
}

/* Every byte there is, and what only looks like UTF-8. */
static void any_bytes_come_back_or_as_the_mark_for_no_character(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"a\"b\\c", "a\"b\\c"},
        {"a\nb\tc\x01\x1f\x7f", "a\nb\tc\x01\x1f\x7f"},
        {"Gr\xc3\xbc\xc3\x9f\x65", "Gr\xc3\xbc\xc3\x9f\x65"},
        {"\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\xff", "\xef\xbf\xbd"},
        {"\xc3", "\xef\xbf\xbd"},
        {"\xc3x", "\xef\xbf\xbdx"},
        {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf0\x9f\x98", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"{\"level\":\"x\"}", "{\"level\":\"x\"}"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct log_line line;
        log_begin(&line, "info", "test");
        log_text(&line, "value", cases[i].in);
        log_number(&line, "after", i);
        json_t *object = read_json(&line);
        assert_string_equal(member(object, "value"), cases[i].out);
        assert_int_equal(json_integer_value(json_object_get(object, "after")), i);
        json_decref(object);
    }
}

/* However long the parts are, the line closes: it is cut between two characters. */
static void a_line_that_is_too_long_is_still_a_line(void **state)
{
    static const char *const units[] = {"a", "\"", "\x01", "\xc3\xbc", "\xff", "\xf0\x9f\x98\x80"};
    for (size_t unit = 0; unit < ARRAY_SIZE(units); unit++) {
        for (size_t count = 100; count < 1200; count++) {
            char value[8192] = "";
            size_t bytes = strlen(units[unit]);
            for (size_t i = 0; i < count; i++)
                memcpy(value + i * bytes, units[unit], bytes + 1);
            struct log_line line;
            log_begin(&line, "info", "test");
            log_quoted(&line, "long", value);
            log_number(&line, "number", 12345678);
            log_text(&line, "text", "after");
            json_t *object = read_json(&line);
            assert_true(json_object_size(object) >= 4);
            json_decref(object);
        }
    }
}

/* In logfmt, a value never looks like another key, and a line never like two. */
static void logfmt_quotes_what_would_be_read_otherwise(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", " k=plain\n"},
        {"", " k=\"\"\n"},
        {"two words", " k=\"two words\"\n"},
        {"a=b", " k=\"a=b\"\n"},
        {"q\"q", " k=\"q\\\"q\"\n"},
        {"b\\b", " k=\"b\\\\b\"\n"},
        {"a\nb", " k=\"a\\u000ab\"\n"},
        {"\xff", " k=\"\\ufffd\"\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct log_line line;
        log_begin(&line, "info", "test");
        log_text(&line, "k", cases[i].in);
        log_finish(&line);
        char text[sizeof(line.text) + 1];
        memcpy(text, line.text, line.bytes);
        text[line.bytes] = '\0';
        const char *end = strstr(text, "event=test");
        assert_non_null(end);
        assert_string_equal(end + 10, cases[i].out);
    }
}

int main(void)
{
    const struct CMUnitTest json[] = {
        cmocka_unit_test(a_line_of_json_has_its_members),
        cmocka_unit_test(any_bytes_come_back_or_as_the_mark_for_no_character),
        cmocka_unit_test(a_line_that_is_too_long_is_still_a_line),
    };
    const struct CMUnitTest logfmt[] = {
        cmocka_unit_test(logfmt_quotes_what_would_be_read_otherwise),
    };
    return cmocka_run_group_tests_name("log_json", json, begin_json, end_format) +
           cmocka_run_group_tests_name("log_logfmt", logfmt, begin_logfmt, end_format);
}
