#include "api/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/base.h"

#define CAPACITY_MIN 256

bool text_reserve(struct text *text, size_t bytes)
{
    if (text->capacity - text->bytes >= bytes)
        return true;
    size_t capacity = max_u64(text->capacity, CAPACITY_MIN);
    while (capacity - text->bytes < bytes && capacity <= SIZE_MAX / 4)
        capacity *= 2;
    char *data =
        text->failed || capacity - text->bytes < bytes ? NULL : realloc(text->data, capacity);
    if (!data) {
        text->failed = true;
        text->capacity = text->bytes; /* nothing finds room any more */
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
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

char *number_print(char *at, uint64_t number)
{
    size_t digits = 1;
    for (uint64_t limit = 10; number >= limit && digits < NUMBER_BYTES_MAX; limit *= 10)
        digits++;
    char *end = at + digits;
    char *digit = end;
    do
        *--digit = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return end;
}

void text_add_base64(struct text *text, const void *data, size_t bytes)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    const uint8_t *in = data;
    if (!text_reserve(text, (bytes + 2) / 3 * 4))
        return;
    char *out = text->data + text->bytes;

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
