/*
 * Fuzz target for api/json_scan.h, which decides what goes into a JSON stream: whatever it lets in is
 * sent to every reader inside an array, and one message that is none would make all of them
 * unreadable. So it is held against another parser, jansson, in both directions.
 *
 * The input is a body as it is sent.
 */
#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_scan.h"
#include "wal/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum verdict {
    IS_JSON,
    IS_NONE,
    IS_BEYOND, /* what jansson, and no grammar, has against it: its numbers have limits */
};

static enum verdict judge(const char *text, size_t bytes)
{
    json_error_t error;

    if (bytes > 0 && memchr(text, '\0', bytes)) /* jansson takes one behind a number */
        return IS_NONE;

    json_t *value = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);

    if (value) {
        json_decref(value);
        return IS_JSON;
    }
    enum json_error_code code = json_error_code(&error);

    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
                   code == json_error_stack_overflow
               ? IS_BEYOND
               : IS_NONE;
}

/* Each message, within the body, and JSON by itself. Returns what ended the walk. */
static int walk(const char *text, size_t bytes, size_t *ret_count)
{
    struct json_messages messages;
    const char *message, *last = text;
    size_t message_bytes;
    int rc = json_messages_begin(&messages, text, bytes);

    *ret_count = 0;
    while (rc == 0 && (rc = json_messages_next(&messages, &message, &message_bytes)) == 0) {
        uint64_t at;

        must(message >= last && message_bytes > 0 && message + message_bytes <= text + bytes);
        must(json_scan_document(message, message_bytes, &at) == 0 && at == message_bytes);
        must(judge(message, message_bytes) != IS_NONE);
        last = message + message_bytes;
        (*ret_count)++;
    }
    if (rc != -ENODATA)
        must(messages.error_at <= bytes);
    return rc;
}

/* How many messages jansson sees: the elements of an array, or one. */
static size_t count_by(const char *text, size_t bytes)
{
    json_t *value = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

    must(value);
    size_t count = json_is_array(value) ? json_array_size(value) : 1;

    json_decref(value);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Of exactly this size, so that a byte read behind it is seen. */
    char *text = malloc(size > 0 ? size : 1);
    uint64_t at;
    size_t count;

    must(text);
    if (size > 0)
        memcpy(text, data, size);

    int rc = json_scan_document(text, size, &at);
    int walked = walk(text, size, &count);
    enum verdict verdict = judge(text, size);

    must(at <= size && (rc == 0 || rc == -EBADMSG || rc == -E2BIG));
    must(walked == -ENODATA || walked == -EBADMSG || walked == -E2BIG);
    if (rc == 0) {
        must(at == size && verdict != IS_NONE);
        must(walked == -ENODATA);
    } else if (rc == -EBADMSG) {
        must(verdict != IS_JSON);
        must(walked != -ENODATA);
    }
    if (walked == -ENODATA && verdict == IS_JSON)
        must(count == count_by(text, size));
    free(text);
    return 0;
}
