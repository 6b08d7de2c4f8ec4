#include "api/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/base.h"

#define CAPACITY_MIN 256

/* Room for `bytes` more, or NULL. */
static char *make_room(struct text *text, size_t bytes)
{
    if (text->failed)
        return NULL;
    if (text->capacity - text->bytes >= bytes)
        return text->data + text->bytes;

    size_t capacity = max_u64(text->capacity, CAPACITY_MIN);
    while (capacity - text->bytes < bytes && capacity <= SIZE_MAX / 4)
        capacity *= 2;
    char *data = capacity - text->bytes < bytes ? NULL : realloc(text->data, capacity);
    if (!data) {
        text->failed = true;
        return NULL;
    }
    text->data = data;
    text->capacity = capacity;
    return data + text->bytes;
}

void text_add(struct text *text, const void *data, size_t bytes)
{
    char *room = make_room(text, bytes);
    if (!room || bytes == 0)
        return;

    memcpy(room, data, bytes);
    text->bytes += bytes;
}

void text_format(struct text *text, const char *format, ...)
{
    char piece[256];
    va_list arguments;

    va_start(arguments, format);
    int bytes = vsnprintf(piece, sizeof(piece), format, arguments);
    va_end(arguments);
    must(bytes >= 0 && (size_t)bytes < sizeof(piece));
    text_add(text, piece, (size_t)bytes);
}

void text_add_string(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

char *number_print(char *at, uint64_t number)
{
    char digits[NUMBER_BYTES_MAX];
    char *first = digits + sizeof(digits);
    do
        *--first = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    size_t bytes = (size_t)(digits + sizeof(digits) - first);
    memcpy(at, first, bytes);
    return at + bytes;
}

void text_add_number(struct text *text, uint64_t number)
{
    char digits[NUMBER_BYTES_MAX];
    text_add(text, digits, (size_t)(number_print(digits, number) - digits));
}

void text_add_base64(struct text *text, const void *data, size_t bytes)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    const uint8_t *in = data;
    char *out = make_room(text, (bytes + 2) / 3 * 4);
    if (!out)
        return;

    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        uint32_t group = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                         (left > 2 ? in[i + 2] : 0);
        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = digits[left > 1 ? group >> 6 & 63 : 64];
        *out++ = digits[left > 2 ? group & 63 : 64];
    }
    text->bytes += (bytes + 2) / 3 * 4;
}

void text_cut(struct text *text, size_t bytes)
{
    if (text->failed || bytes == text->bytes)
        return;
    text->bytes = bytes;
    char *data = realloc(text->data, max_u64(bytes, CAPACITY_MIN));
    if (data) { /* else there is more than it needs, which is no harm */
        text->data = data;
        text->capacity = max_u64(bytes, CAPACITY_MIN);
    }
}

void text_done(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}
