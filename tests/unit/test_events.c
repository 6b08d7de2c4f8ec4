/* api/events.c: records as server-sent events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/events.h"
#include "wal/base.h"

static void expect_text(struct text *text, const char *wanted)
{
    assert_false(text->failed);
    text_add(text, "", 1);
    assert_string_equal(text->data, wanted);
    text_done(text);
}

static struct wal_entry entry_of(uint64_t offset, const char *data)
{
    return (struct wal_entry){.offset = offset, .data = data, .size = strlen(data)};
}

/* The id is what a client comes again with: of records their own, and of what stands in their place
 * the last number that it stands for. */
static void events_of_logs_carry_the_id_to_go_on_behind(void **state)
{
    struct text text = {0};
    struct wal_entry entry = entry_of(7, "a\nb");
    events_add_hello(&text);
    events_add_record(&text, &entry, false);
    expect_text(&text, "retry: 1000\n\nid: 7\ndata: {\"offset\":7,\"timestamp\":"
                       "\"1970-01-01T00:00:00.000000Z\",\"data\":\"a\\nb\"}\n\n");
    events_add_record(&text, &entry, true);
    expect_text(&text, "id: 7\ndata: {\"offset\":7,\"timestamp\":"
                       "\"1970-01-01T00:00:00.000000Z\",\"data_base64\":\"YQpi\"}\n\n");
    events_add_gap(&text, 3, 9);
    expect_text(&text, "event: gap\nid: 8\ndata: {\"begin\":3,\"end\":9}\n\n");
    events_add_trimmed(&text, 20);
    expect_text(&text, "event: trimmed\nid: 19\ndata: {\"first_offset\":20}\n\n");
    events_add_end(&text, "limit");
    expect_text(&text, "event: end\ndata: {\"reason\":\"limit\"}\n\n");
    events_add_heartbeat(&text);
    expect_text(&text, ":\n\n");
}

/* One event of data out of these records, of which NULL is the end. */
static void expect_data(enum events_kind kind, const char *const *records, const char *wanted)
{
    struct text text = {0};
    struct events_data data;
    events_data_begin(&data, &text, kind);
    for (unsigned i = 0; records[i]; i++)
        events_data_add(&data, records[i], strlen(records[i]));
    events_data_end(&data);
    expect_text(&text, wanted);
}

#define RECORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Whatever a record holds, no line of it is read as anything but data: all three ends of lines count
 * for a reader, and CRLF is one of them, also where two records meet. */
static void no_text_can_forge_an_event(void **state)
{
    expect_data(EVENTS_TEXT, RECORDS("hello"), "event: data\ndata:hello\n\n");
    expect_data(EVENTS_TEXT, RECORDS(" a"), "event: data\ndata: a\n\n");
    expect_data(EVENTS_TEXT, RECORDS("a\nb\rc\r\nd"),
                "event: data\ndata:a\ndata:b\ndata:c\ndata:d\n\n");
    expect_data(EVENTS_TEXT, RECORDS("x\n\nevent: control\ndata:{}"),
                "event: data\ndata:x\ndata:\ndata:event: control\ndata:data:{}\n\n");
    expect_data(EVENTS_TEXT, RECORDS("a\n"), "event: data\ndata:a\ndata:\n\n");
    expect_data(EVENTS_TEXT, RECORDS("\r\r\n\n"), "event: data\ndata:\ndata:\ndata:\ndata:\n\n");
}

static void records_of_text_follow_each_other_without_a_seam(void **state)
{
    expect_data(EVENTS_TEXT, RECORDS("ab", "c\nd", "e"), "event: data\ndata:abc\ndata:de\n\n");
    expect_data(EVENTS_TEXT, RECORDS("a\r", "\nb"), "event: data\ndata:a\ndata:b\n\n");
    expect_data(EVENTS_TEXT, RECORDS("a\r", "\n", "\nb"), "event: data\ndata:a\ndata:\ndata:b\n\n");
    expect_data(EVENTS_TEXT, RECORDS("a\r", "b"), "event: data\ndata:a\ndata:b\n\n");
    expect_data(EVENTS_TEXT, RECORDS("a\r\n", "\nb"), "event: data\ndata:a\ndata:\ndata:b\n\n");
}

/* Values as they were sent: nothing of them is parsed or written anew. */
static void values_become_one_array(void **state)
{
    expect_data(EVENTS_JSON, RECORDS("{\"a\": 1.0}"), "event: data\ndata:[{\"a\": 1.0}]\n\n");
    expect_data(EVENTS_JSON, RECORDS("1", "\"x\"", "[2]"), "event: data\ndata:[1,\"x\",[2]]\n\n");
    expect_data(EVENTS_JSON, RECORDS("{\n}", "2\r", "\n3"),
                "event: data\ndata:[{\ndata:},2\ndata:,\ndata:3]\n\n");
}

/* Padding stands at the end alone, wherever one record ends and the next begins. */
static void bytes_become_one_run_of_base64(void **state)
{
    expect_data(EVENTS_BASE64, RECORDS("a"), "event: data\ndata:YQ==\n\n");
    expect_data(EVENTS_BASE64, RECORDS("a", "b", "c"), "event: data\ndata:YWJj\n\n");
    expect_data(EVENTS_BASE64, RECORDS("ab", "cde", "fg"), "event: data\ndata:YWJjZGVmZw==\n\n");
    expect_data(EVENTS_BASE64, RECORDS("abcd", "e", "fghijk\nl"),
                "event: data\ndata:YWJjZGVmZ2hpamsKbA==\n\n");
}

static void a_control_says_where_the_reader_stands(void **state)
{
    struct text text = {0};
    struct events_control control = {.next_offset = 3, .bytes_before = 15, .cursor = 77};
    events_add_control(&text, &control);
    expect_text(&text, "event: control\ndata:{\"streamNextOffset\":"
                       "\"0000000000000003_0000000000000015\",\"streamCursor\":\"77\"}\n\n");
    control.up_to_date = true;
    events_add_control(&text, &control);
    expect_text(&text, "event: control\ndata:{\"streamNextOffset\":"
                       "\"0000000000000003_0000000000000015\",\"streamCursor\":\"77\","
                       "\"upToDate\":true}\n\n");
    control.closed = true;
    events_add_control(&text, &control);
    expect_text(&text, "event: control\ndata:{\"streamNextOffset\":"
                       "\"0000000000000003_0000000000000015\",\"upToDate\":true,"
                       "\"streamClosed\":true}\n\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_of_logs_carry_the_id_to_go_on_behind),
        cmocka_unit_test(no_text_can_forge_an_event),
        cmocka_unit_test(records_of_text_follow_each_other_without_a_seam),
        cmocka_unit_test(values_become_one_array),
        cmocka_unit_test(bytes_become_one_run_of_base64),
        cmocka_unit_test(a_control_says_where_the_reader_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
