#include "api/json_scan.h"

#include <errno.h>
#include <string.h>

#include "wal/base.h"

/* Where the scan stands, and what it is in: a bit for each container around it. */
struct scan {
    const char *at, *end;
    unsigned depth;
    uint8_t objects[JSON_SCAN_DEPTH_MAX / 8]; /* set: an object, else an array */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r'))
        scan->at++;
}

/* The next byte without taking it; 0 at the end, which stands nowhere in the grammar. */
static char peek(const struct scan *scan)
{
    if (scan->at == scan->end)
        return '\0';
    return *scan->at;
}

static bool take(struct scan *scan, char c)
{
    bool there = scan->at < scan->end && *scan->at == c;
    scan->at += there;
    return there;
}

/* ---- strings ---- */

/* One character of UTF-8 beyond ASCII (RFC 3629: shortest form, no surrogates, up to U+10FFFF). */
static bool take_utf8(struct scan *scan)
{
    const uint8_t *at = (const uint8_t *)scan->at;
    size_t left = (size_t)(scan->end - scan->at);
    size_t more = at[0] >= 0xf0 ? 3 : at[0] >= 0xe0 ? 2 : 1;
    uint8_t min = 0x80, max = 0xbf;
    if (at[0] < 0xc2 || at[0] > 0xf4 || left <= more)
        return false;
    if (at[0] == 0xe0)
        min = 0xa0;
    if (at[0] == 0xed)
        max = 0x9f;
    if (at[0] == 0xf0)
        min = 0x90;
    if (at[0] == 0xf4)
        max = 0x8f;
    if (at[1] < min || at[1] > max)
        return false;
    for (size_t i = 2; i <= more; i++) {
        if (at[i] < 0x80 || at[i] > 0xbf)
            return false;
    }
    scan->at += 1 + more;
    return true;
}

/* The four digits behind "\u". */
static bool take_unit(struct scan *scan, unsigned *ret_unit)
{
    unsigned unit = 0;
    if (scan->end - scan->at < 4)
        return false;
    for (unsigned i = 0; i < 4; i++) {
        char c = scan->at[i];
        if (is_digit(c))
            unit = unit * 16 + (unsigned)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            unit = unit * 16 + 10 + (unsigned)((c | 0x20) - 'a');
        else
            return false;
    }
    scan->at += 4;
    *ret_unit = unit;
    return true;
}

/* Behind the backslash. */
static bool take_escape(struct scan *scan)
{
    unsigned unit, low;
    char c = peek(scan);
    if (c && strchr("\"\\/bfnrt", c)) {
        scan->at++;
        return true;
    }
    if (!take(scan, 'u') || !take_unit(scan, &unit))
        return false;
    if (unit < 0xd800 || unit > 0xdfff)
        return true;
    return unit <= 0xdbff && take(scan, '\\') && take(scan, 'u') && take_unit(scan, &low) &&
           low >= 0xdc00 && low <= 0xdfff;
}

static bool take_string(struct scan *scan)
{
    if (!take(scan, '"'))
        return false;
    while (scan->at < scan->end) {
        uint8_t c = (uint8_t)*scan->at;
        if (c >= 0x80) {
            if (!take_utf8(scan))
                return false;
            continue;
        }
        if (c < 0x20)
            return false;
        scan->at++;
        if (c == '"')
            return true;
        if (c == '\\' && !take_escape(scan))
            return false;
    }
    return false;
}

/* ---- other values that hold none ---- */

static bool take_digits(struct scan *scan)
{
    if (!is_digit(peek(scan)))
        return false;
    while (is_digit(peek(scan)))
        scan->at++;
    return true;
}

static bool take_number(struct scan *scan)
{
    take(scan, '-');
    if (!take(scan, '0') && !take_digits(scan))
        return false;
    if (take(scan, '.') && !take_digits(scan))
        return false;
    if (!take(scan, 'e') && !take(scan, 'E'))
        return true;
    if (!take(scan, '+'))
        take(scan, '-');
    return take_digits(scan);
}

static bool take_word(struct scan *scan, const char *word)
{
    for (; *word; word++) {
        if (!take(scan, *word))
            return false;
    }
    return true;
}

static bool take_scalar(struct scan *scan)
{
    switch (peek(scan)) {
    case '"': return take_string(scan);
    case 't': return take_word(scan, "true");
    case 'f': return take_word(scan, "false");
    case 'n': return take_word(scan, "null");
    default: return take_number(scan);
    }
}

/* ---- containers ---- */

static bool in_object(const struct scan *scan)
{
    unsigned level = scan->depth - 1;
    return scan->objects[level / 8] >> level % 8 & 1;
}

static int enter(struct scan *scan, bool is_object)
{
    unsigned level = scan->depth;
    if (level == JSON_SCAN_DEPTH_MAX)
        return -E2BIG;
    scan->depth++;
    uint8_t bit = (uint8_t)(1u << level % 8);
    scan->objects[level / 8] = (uint8_t)((scan->objects[level / 8] & ~bit) | (is_object ? bit : 0));
    return 0;
}

/* A member's name and what stands between it and its value. */
static bool take_name(struct scan *scan)
{
    skip_space(scan);
    if (!take_string(scan))
        return false;
    skip_space(scan);
    if (!take(scan, ':'))
        return false;
    skip_space(scan);
    return true;
}

/* Takes a scalar, or the beginning of a container and what stands before its first value.
 * *ret_whole: a value ends here. */
static int begin_value(struct scan *scan, bool *ret_whole)
{
    bool is_object = peek(scan) == '{';
    *ret_whole = true;
    if (!is_object && peek(scan) != '[')
        return take_scalar(scan) ? 0 : -EBADMSG;

    int rc = enter(scan, is_object);
    if (rc < 0)
        return rc;
    scan->at++;
    skip_space(scan);
    if (take(scan, is_object ? '}' : ']')) {
        scan->depth--;
        return 0;
    }
    *ret_whole = false;
    return is_object && !take_name(scan) ? -EBADMSG : 0;
}

/* Behind a value: the ends of containers, up to where another value stands, or to none around it. */
static int end_values(struct scan *scan)
{
    while (scan->depth > 0) {
        bool is_object = in_object(scan);
        skip_space(scan);
        if (take(scan, ',')) {
            skip_space(scan);
            return is_object && !take_name(scan) ? -EBADMSG : 0;
        }
        if (!take(scan, is_object ? '}' : ']'))
            return -EBADMSG;
        scan->depth--;
    }
    return 0;
}

/* One value, which begins where the scan stands. */
static int take_value(struct scan *scan)
{
    must(scan->depth == 0);
    do {
        bool whole;
        int rc = begin_value(scan, &whole);
        if (rc == 0 && whole)
            rc = end_values(scan);
        if (rc < 0)
            return rc;
    } while (scan->depth > 0);
    return 0;
}

int json_scan_document(const char *text, size_t bytes, uint64_t *ret_at)
{
    struct scan scan = {.at = text, .end = text + bytes};
    skip_space(&scan);
    int rc = take_value(&scan);
    if (rc == 0)
        skip_space(&scan);
    if (rc == 0 && scan.at < scan.end)
        rc = -EBADMSG;
    *ret_at = (uint64_t)(scan.at - text);
    return rc;
}

/* ---- messages ---- */

static int fail_at(struct json_messages *messages, const struct scan *scan, int error)
{
    messages->error_at = (uint64_t)(scan->at - messages->text);
    return error;
}

int json_messages_begin(struct json_messages *messages, const char *text, size_t bytes)
{
    struct scan scan = {.at = text, .end = text + bytes};
    *messages = (struct json_messages){.text = text, .end = text + bytes, .is_first = true};
    skip_space(&scan);
    messages->in_array = take(&scan, '[');
    messages->at = scan.at;
    return scan.at < scan.end ? 0 : fail_at(messages, &scan, -EBADMSG);
}

/* What stands between messages. Errors: -ENODATA: the end of them all; -EBADMSG. */
static int step(struct json_messages *messages, struct scan *scan)
{
    bool is_first = messages->is_first;
    messages->is_first = false;
    skip_space(scan);
    if (is_first && !messages->in_array)
        return 0;
    if (!messages->is_over && messages->in_array) {
        if (is_first && peek(scan) != ']')
            return 0;
        if (!is_first && take(scan, ',')) {
            skip_space(scan);
            return 0;
        }
        if (!take(scan, ']'))
            return -EBADMSG;
        messages->is_over = true;
        skip_space(scan);
    }
    return scan->at == scan->end ? -ENODATA : -EBADMSG;
}

int json_messages_next(struct json_messages *messages, const char **ret_message, size_t *ret_bytes)
{
    struct scan scan = {.at = messages->at, .end = messages->end};
    int rc = step(messages, &scan);
    messages->at = scan.at;
    if (rc == 0) {
        *ret_message = scan.at;
        rc = take_value(&scan);
        *ret_bytes = (size_t)(scan.at - *ret_message);
        messages->at = scan.at;
    }
    return rc == -EBADMSG || rc == -E2BIG ? fail_at(messages, &scan, rc) : rc;
}
