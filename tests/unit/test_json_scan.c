/* api/json_scan.c: what is JSON, beside another parser of it; and what the messages of a body are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "api/json_scan.h"
#include "wal/base.h"

/* Scans a copy of exactly this size, so that a sanitizer sees a byte that is read behind it. */
static int scan(const char *text, size_t bytes, uint64_t *ret_at)
{
    char *copy = malloc(bytes ? bytes : 1);
    assert_non_null(copy);
    memcpy(copy, text, bytes);
    int rc = json_scan_document(copy, bytes, ret_at);
    free(copy);
    return rc;
}

static void expect_json(const char *text)
{
    uint64_t at;
    if (scan(text, strlen(text), &at) != 0)
        fail_msg("refused at %u: %s", (unsigned)at, text);
    assert_int_equal(at, strlen(text));
}

static void expect_none(const char *text, size_t bytes)
{
    uint64_t at;
    if (scan(text, bytes, &at) != -EBADMSG)
        fail_msg("taken: %.*s", (int)bytes, text);
    assert_true(at <= bytes);
}

static void the_grammar_is_accepted(void **state)
{
    static const char *const texts[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "7",
        "-12",
        "10.5",
        "-0.0e-0",
        "1e9",
        "1E+9",
        "2.5e-300",
        "123456789012345678901234567890",
        "1e400",
        "0.1234567890123456789012345",
        "\"\"",
        "\"a\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0000\\u00e9\\uFFFF\\ud83d\\ude00\\uDBFF\\uDFFF\"",
        "\"\x7f\"",
        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
        "\"\xf4\x8f\xbf\xbf\"",
        "\"\xed\x9f\xbf\xee\x80\x80\"",
        "[]",
        "{}",
        "[1]",
        "[ ]",
        "{ }",
        "[1,2,[3,[4]],{}]",
        "{\"a\":1}",
        "{\"a\":{\"b\":[{\"c\":null}]},\"d\":[]}",
        "{\"\":0}",
        "{\"a\":1,\"a\":2}",
        " \t\r\n1\n",
        "[ 1 ,\t2 ]\r\n",
        "{ \"a\" : [ ] , \"b\" : { } }",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        expect_json(texts[i]);
}

static const char *const no_json[] = {
    "",
    " ",
    "nul",
    "nulll",
    "True",
    "NaN",
    "Infinity",
    "-",
    "+1",
    "01",
    "-01",
    ".5",
    "1.",
    "1.e5",
    "1e",
    "1e+",
    "0x10",
    "1_000",
    "1 2",
    "\"",
    "\"a",
    "\"\\\"",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u123g\"",
    "\"\\ud800\"",
    "\"\\udc00\"",
    "\"\\udc00\\udc00\"",
    "\"\\ud800\\u0041\"",
    "\"\\ud800a\"",
    "\"\\ude00\\ud83d\"",
    "\"\t\"",
    "\"\n\"",
    "'a'",
    "a",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1}",
    "{",
    "}",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{a:1}",
    "{1:1}",
    "{\"a\" 1}",
    "{\"a\":1]",
    "{,}",
    "[]]",
    "{}{}",
    "[1],",
    "//c\n1",
    "1/**/",
    /* UTF-8 that is none: alone, too long, cut off, surrogates, beyond U+10FFFF. */
    "\"\x80\"",
    "\"\xbf\"",
    "\"\xc0\xaf\"",
    "\"\xc1\xbf\"",
    "\"\xe0\x9f\xbf\"",
    "\"\xf0\x8f\xbf\xbf\"",
    "\"\xc3\"",
    "\"\xe2\x82\"",
    "\"\xf0\x9f\x98\"",
    "\"\xed\xa0\x80\"",
    "\"\xed\xbf\xbf\"",
    "\"\xf4\x90\x80\x80\"",
    "\"\xf5\x80\x80\x80\"",
    "\"\xff\"",
    "\"\xc3(\"",
    "\"\xe2(\xa1\"",
    "\"\xf0\x9f(\x80\"",
};

static void whatever_else_is_refused(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(no_json); i++)
        expect_none(no_json[i], strlen(no_json[i]));
    expect_none("\xef\xbb\xbf\x31", 4); /* a byte order mark, or other space than there is */
    expect_none("\x0b\x31", 2);
    expect_none("\xc2\xa0\x31", 3);
    expect_none("\0", 1);
    expect_none("1\0", 2);
    expect_none("\"a\0\"", 4);
    expect_none("\"\xc3", 2); /* cut off at the very end */
    expect_none("\"\xf0\x9f\x98", 4);
    expect_none("\"\\u00", 5);
    expect_none("tru", 3);
}

/* A detail that says where spares a search through a megabyte. */
static void the_place_of_the_mistake_is_told(void **state)
{
    uint64_t at;
    assert_int_equal(scan("[1, 2, x]", 9, &at), -EBADMSG);
    assert_int_equal(at, 7);
    assert_int_equal(scan("{\"a\": tru}", 10, &at), -EBADMSG);
    assert_int_equal(at, 9);
    assert_int_equal(scan("1 2", 3, &at), -EBADMSG);
    assert_int_equal(at, 2);
}

/* What nests deeper than a reader can follow would crash it; ours has no stack to overflow. */
static void nesting_has_a_limit(void **state)
{
    static char text[6 * JSON_SCAN_DEPTH_MAX + 1]; /* an odd number */
    uint64_t at;
    for (unsigned kind = 0; kind < 3; kind++) {
        for (unsigned depth = JSON_SCAN_DEPTH_MAX - 1; depth <= JSON_SCAN_DEPTH_MAX + 1; depth++) {
            size_t bytes = 0, end = 0;
            char closing[JSON_SCAN_DEPTH_MAX + 1];
            for (unsigned i = 0; i < depth; i++) {
                bool is_object = kind == 1 || (kind == 2 && i % 3 == 1);
                const char *opening = is_object ? "{\"\":" : "[";
                memcpy(text + bytes, opening, strlen(opening));
                bytes += strlen(opening);
                closing[end++] = is_object ? '}' : ']';
            }
            text[bytes++] = '1';
            while (end > 0)
                text[bytes++] = closing[--end];
            bool fits = depth <= JSON_SCAN_DEPTH_MAX;
            assert_int_equal(scan(text, bytes, &at), fits ? 0 : -E2BIG);
        }
    }
    /* Deep, but one after the other. */
    for (size_t i = 0; i + 1 < sizeof(text); i += 2)
        memcpy(text + i, i ? ",7" : "[7", 2);
    text[sizeof(text) - 1] = ']';
    assert_int_equal(scan(text, sizeof(text), &at), 0);
    char *flood = malloc(1 << 20);
    assert_non_null(flood);
    memset(flood, '[', 1 << 20);
    assert_int_equal(scan(flood, 1 << 20, &at), -E2BIG);
    assert_int_equal(at, JSON_SCAN_DEPTH_MAX);
    free(flood);
}

/* ---- beside another parser ---- */

static uint64_t seed = 20241009;

static uint32_t random_below(uint32_t bound)
{
    seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = (seed ^ seed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((mixed ^ mixed >> 31) >> 16) % bound;
}

struct draft {
    char text[512];
    size_t bytes;
};

static void put(struct draft *draft, const char *piece)
{
    size_t bytes = strlen(piece);
    if (draft->bytes + bytes > sizeof(draft->text))
        return;
    memcpy(draft->text + draft->bytes, piece, bytes);
    draft->bytes += bytes;
}

static const char *pick(const char *const *pieces, size_t count)
{
    return pieces[random_below((uint32_t)count)];
}

static void put_value(struct draft *draft, unsigned depth)
{
    static const char *const scalars[] = {"0",
                                          "-1",
                                          "12.5",
                                          "1e3",
                                          "-0.5E-2",
                                          "true",
                                          "false",
                                          "null",
                                          "\"\"",
                                          "\"x\"",
                                          "\"\\n\"",
                                          "\"\\u00e4\"",
                                          "\"\xc3\xa4\"",
                                          "\"\\ud83d\\ude00\"",
                                          "\"\xf0\x9f\x98\x80\""};
    static const char *const spaces[] = {"", "", "", " ", "\n", "\t "};
    unsigned kind = random_below(depth < 5 ? 4 : 2);
    put(draft, pick(spaces, ARRAY_SIZE(spaces)));
    if (kind < 2) {
        put(draft, pick(scalars, ARRAY_SIZE(scalars)));
    } else {
        unsigned count = random_below(4);
        put(draft, kind == 2 ? "[" : "{");
        for (unsigned i = 0; i < count; i++) {
            char name[16];
            snprintf(name, sizeof(name), "\"k%u\":", random_below(1000000));
            put(draft, i ? "," : "");
            put(draft, kind == 3 ? name : "");
            put_value(draft, depth + 1);
        }
        put(draft, kind == 2 ? "]" : "}");
    }
    put(draft, pick(spaces, ARRAY_SIZE(spaces)));
}

static void hurt(struct draft *draft)
{
    static const char bytes[] = "\"\\[]{}:,0e-.ut \n\x80\xc3\xed\xff";
    for (unsigned count = 1 + random_below(3); count > 0 && draft->bytes > 0; count--) {
        size_t at = random_below((uint32_t)draft->bytes);
        char byte = bytes[random_below(sizeof(bytes) - 1)];
        switch (random_below(3)) {
        case 0: draft->text[at] = byte; break;
        case 1:
            memmove(draft->text + at, draft->text + at + 1, draft->bytes - at - 1);
            draft->bytes--;
            break;
        default: draft->bytes = at; break;
        }
    }
}

static void another_parser_agrees(void **state)
{
    unsigned taken = 0, refused = 0;
    for (unsigned i = 0; i < 100000; i++) {
        struct draft draft = {.bytes = 0};
        uint64_t at;
        json_error_t error;
        put_value(&draft, 0);
        if (i % 4)
            hurt(&draft);
        int rc = scan(draft.text, draft.bytes, &at);
        json_t *value =
            json_loadb(draft.text, draft.bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        if (!value && json_error_code(&error) == json_error_numeric_overflow)
            continue; /* its numbers have an end, those of the grammar have none */
        if (!!value != (rc == 0))
            fail_msg("%d at %u, but %s: %.*s", rc, (unsigned)at, value ? "JSON" : error.text,
                     (int)draft.bytes, draft.text);
        taken += rc == 0;
        refused += rc != 0;
        json_decref(value);
    }
    assert_true(taken > 20000 && refused > 20000);
}

/* ---- messages ---- */

/* "|" stands behind each message that is wanted. */
static void expect_messages(const char *body, const char *wanted)
{
    struct json_messages messages;
    const char *message;
    size_t bytes, at = 0;
    char joined[256];
    int rc = json_messages_begin(&messages, body, strlen(body));
    while (rc == 0 && (rc = json_messages_next(&messages, &message, &bytes)) == 0) {
        assert_true(message >= body && message + bytes <= body + strlen(body));
        memcpy(joined + at, message, bytes);
        at += bytes;
        joined[at++] = '|';
    }
    assert_int_equal(rc, -ENODATA);
    assert_int_equal(at, strlen(wanted));
    assert_memory_equal(joined, wanted, at);
}

/* One level of arrays is how many are sent at once; everything below is theirs, in their own words. */
static void an_array_is_flattened_one_level(void **state)
{
    expect_messages("{\"a\":1}", "{\"a\":1}|");
    expect_messages("[1,2,3]", "1|2|3|");
    expect_messages("[[1,2],[3]]", "[1,2]|[3]|");
    expect_messages("[[[1]]]", "[[1]]|");
    expect_messages("[]", "");
    expect_messages(" [ ] \n", "");
    expect_messages("[[]]", "[]|");
    expect_messages("null", "null|");
    expect_messages("[null]", "null|");
    expect_messages("\"[1,2]\"", "\"[1,2]\"|");
}

/* Numbers beyond 64 bits, the order of members, white space: none of it is ours to change. */
static void messages_keep_their_own_text(void **state)
{
    expect_messages(" [ 1.50 , {\"b\" : 2,\n\"a\":1e2} ,\t\"\\u0041\" ] ",
                    "1.50|{\"b\" : 2,\n\"a\":1e2}|\"\\u0041\"|");
    expect_messages("\n 123456789012345678901234567890.0 \n", "123456789012345678901234567890.0|");
    expect_messages("{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":2}|");
}

static void expect_broken(const char *body, size_t bytes, uint64_t at)
{
    struct json_messages messages;
    const char *message;
    size_t message_bytes;
    int rc = json_messages_begin(&messages, body, bytes);
    while (rc == 0)
        rc = json_messages_next(&messages, &message, &message_bytes);
    assert_int_equal(rc, -EBADMSG);
    assert_int_equal(messages.error_at, at);
}

/* Nothing may be appended of a body whose end is broken: whoever collects sees the error last. */
static void a_body_is_json_to_its_end(void **state)
{
    expect_broken("", 0, 0);
    expect_broken("  ", 2, 2);
    expect_broken("[", 1, 1);
    expect_broken("[1", 2, 2);
    expect_broken("[1,", 3, 3);
    expect_broken("[1,]", 4, 3);
    expect_broken("[,1]", 4, 1);
    expect_broken("[1]]", 4, 3);
    expect_broken("[1] 2", 5, 4);
    expect_broken("[] []", 5, 3);
    expect_broken("1 2", 3, 2);
    expect_broken("1,2", 3, 1);
    expect_broken("[1 2]", 5, 3);
    expect_broken("{\"a\":1}{", 8, 7);
    expect_broken("[1,{]", 5, 4);
    expect_broken("[1,\0]", 5, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_grammar_is_accepted),
        cmocka_unit_test(whatever_else_is_refused),
        cmocka_unit_test(the_place_of_the_mistake_is_told),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(another_parser_agrees),
        cmocka_unit_test(an_array_is_flattened_one_level),
        cmocka_unit_test(messages_keep_their_own_text),
        cmocka_unit_test(a_body_is_json_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
