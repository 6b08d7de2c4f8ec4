/* api/ndjson.c: a body of lines becomes records, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "api/ndjson.h"
#include "wal/base.h"

#define RECORD_MAX 8

static void ndjson_done(struct ndjson *ndjson)
{
    free(ndjson->records);
}

/* Splits `body` and compares; "|" stands between the records of `wanted`. */
static void expect_split(const char *body, size_t bytes, const char *wanted)
{
    CLEANUP(ndjson_done) struct ndjson lines = {0};
    assert_int_equal(ndjson_split(body, bytes, RECORD_MAX, &lines), 0);
    char joined[256] = "";
    size_t at = 0;
    uint64_t total = 0;
    for (size_t i = 0; i < lines.count; i++) {
        memcpy(joined + at, lines.records[i].data, lines.records[i].size);
        at += lines.records[i].size;
        joined[at++] = '|';
        total += lines.records[i].size;
    }
    assert_int_equal(at, strlen(wanted));
    assert_memory_equal(joined, wanted, at);
    assert_int_equal(lines.bytes, total);
}

/* What a client means by a line must not depend on how it ends its last one. */
static void lines_become_records_with_or_without_a_last_newline(void **state)
{
    expect_split("a\nbb\nccc", 8, "a|bb|ccc|");
    expect_split("a\nbb\nccc\n", 9, "a|bb|ccc|");
    expect_split("a", 1, "a|");
}

/* Shippers end batches with an empty line, and a record cannot be empty. */
static void empty_lines_are_skipped_wherever_they_stand(void **state)
{
    expect_split("\n\na\n\n\nb\n\n", 9, "a|b|");
}

/* Nothing is parsed: a CR is a byte like any other, and so is NUL. */
static void every_other_byte_stays(void **state)
{
    expect_split("{\"a\"\r\n\r\n \n", 10, "{\"a\"\r|\r| |");
    CLEANUP(ndjson_done) struct ndjson lines = {0};
    assert_int_equal(ndjson_split("a\0b\n\0", 5, RECORD_MAX, &lines), 0);
    assert_int_equal(lines.count, 2);
    assert_int_equal(lines.records[0].size, 3);
    assert_memory_equal(lines.records[0].data, "a\0b", 3);
    assert_int_equal(lines.records[1].size, 1);
}

static void a_body_without_a_record_is_refused(void **state)
{
    struct ndjson lines;
    assert_int_equal(ndjson_split("", 0, RECORD_MAX, &lines), -ENODATA);
    assert_int_equal(ndjson_split(NULL, 0, RECORD_MAX, &lines), -ENODATA);
    assert_int_equal(ndjson_split("\n\n\n", 3, RECORD_MAX, &lines), -ENODATA);
}

/* The limit of a record holds for each line, also the last one. */
static void a_line_of_the_limit_fits_and_one_byte_more_does_not(void **state)
{
    struct ndjson lines;
    expect_split("12345678\n1", 10, "12345678|1|");
    assert_int_equal(ndjson_split("1\n123456789\n", 12, RECORD_MAX, &lines), -EMSGSIZE);
    assert_int_equal(ndjson_split("1\n123456789", 11, RECORD_MAX, &lines), -EMSGSIZE);
}

/* One frame takes so many records and no more; empty lines do not count. */
static void as_many_records_as_one_frame_takes_fit_and_one_more_does_not(void **state)
{
    size_t bytes = 3 * ((size_t)WAL_APPEND_RECORDS_MAX + 1);
    char *body = malloc(bytes);
    assert_non_null(body);
    for (size_t i = 0; i < bytes; i++)
        body[i] = i % 3 == 0 ? 'x' : '\n';

    struct ndjson lines;
    assert_int_equal(ndjson_split(body, bytes, RECORD_MAX, &lines), -E2BIG);
    assert_int_equal(ndjson_split(body, bytes - 3, RECORD_MAX, &lines), 0);
    assert_int_equal(lines.count, WAL_APPEND_RECORDS_MAX);
    assert_int_equal(lines.bytes, WAL_APPEND_RECORDS_MAX);
    ndjson_done(&lines);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_become_records_with_or_without_a_last_newline),
        cmocka_unit_test(empty_lines_are_skipped_wherever_they_stand),
        cmocka_unit_test(every_other_byte_stays),
        cmocka_unit_test(a_body_without_a_record_is_refused),
        cmocka_unit_test(a_line_of_the_limit_fits_and_one_byte_more_does_not),
        cmocka_unit_test(as_many_records_as_one_frame_takes_fit_and_one_more_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
