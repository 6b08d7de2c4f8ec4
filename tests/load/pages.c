#include "tests/load/pages.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? (uint64_t)json_integer_value(value) : UINT64_MAX;
}

bool receipt_read(const struct answer *answer, struct receipt *ret_receipt)
{
    json_t *object = json_loadb(answer->body, answer->body_bytes, 0, NULL);
    const char *log = json_string_value(json_object_get(object, "log"));
    const char *durability = json_string_value(json_object_get(object, "durability"));
    bool fine = log && durability;
    if (fine) {
        *ret_receipt = (struct receipt){
            .offset = number(object, "offset"),
            .count = number(object, "count"),
            .next_offset = number(object, "next_offset"),
            .committed_offset = number(object, "committed_offset"),
            .bytes = number(object, "bytes"),
            .committed = strcmp(durability, "committed") == 0,
        };
        (void)snprintf(ret_receipt->log, sizeof(ret_receipt->log), "%s", log);
    }
    json_decref(object);
    return fine;
}

bool positions_read(const struct answer *answer, struct positions *ret_positions)
{
    json_t *object = json_loadb(answer->body, answer->body_bytes, 0, NULL);
    *ret_positions = (struct positions){
        .first_offset = number(object, "first_offset"),
        .committed_offset = number(object, "committed_offset"),
        .next_offset = number(object, "next_offset"),
    };
    bool fine = object && ret_positions->committed_offset != UINT64_MAX;
    json_decref(object);
    return fine;
}

/* What a character stands for in base64; -1: nothing. */
static int digit(char character)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = character ? strchr(digits, character) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* In place: what comes out is shorter. False: it is no base64 with its padding. */
static bool decode(char *text, size_t bytes, size_t *ret_bytes)
{
    size_t out = 0;
    if (bytes % 4 != 0)
        return false;
    for (size_t at = 0; at < bytes; at += 4) {
        unsigned padding = 0, word = 0;
        if (at + 4 == bytes)
            padding = (text[at + 3] == '=') + (unsigned)(text[at + 2] == '=');
        for (unsigned i = 0; i < 4; i++) {
            int value = i >= 4 - padding ? 0 : digit(text[at + i]);
            if (value < 0)
                return false;
            word = word << 6 | (unsigned)value;
        }
        for (unsigned i = 0; i < 3 - padding; i++)
            text[out++] = (char)(word >> (16 - 8 * i));
    }
    *ret_bytes = out;
    return true;
}

static const char *read_line(const char *line, size_t bytes, visit_fn *visit, void *context,
                             bool *ret_go_on)
{
    const char *wrong = NULL;
    json_t *object = json_loadb(line, bytes, JSON_ALLOW_NUL, NULL);
    json_t *text = json_object_get(object, "data");
    json_t *coded = json_object_get(object, "data_base64");
    uint64_t offset = number(object, "offset");
    json_t *value = text ? text : coded;
    size_t size = json_string_length(value);
    char *data = json_is_string(value) ? malloc(size + 1) : NULL;
    if (data)
        memcpy(data, json_string_value(value), size);
    if (!data || offset == UINT64_MAX || !json_object_get(object, "timestamp") || (text && coded))
        wrong = "a line is no record";
    else if (coded && !decode(data, size, &size))
        wrong = "a record is not in base64";
    else
        *ret_go_on = visit(context, offset, data, size);
    free(data);
    json_decref(object);
    return wrong;
}

const char *page_read(const struct answer *answer, visit_fn *visit, void *context)
{
    const char *line = answer->body, *end = answer->body + answer->body_bytes;
    bool go_on = true;
    while (line < end && go_on) {
        const char *line_end = memchr(line, '\n', (size_t)(end - line));
        if (!line_end)
            return "the last line has no end";
        const char *wrong = read_line(line, (size_t)(line_end - line), visit, context, &go_on);
        if (wrong)
            return wrong;
        line = line_end + 1;
    }
    return NULL;
}
