#include "client/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 4096u

bool buffer_reserve(struct buffer *buffer, size_t bytes)
{
    size_t wanted;
    if (buffer->failed || __builtin_add_overflow(buffer->bytes, bytes, &wanted) ||
        __builtin_add_overflow(wanted, 1, &wanted)) {
        buffer->failed = true;
        return false;
    }
    if (wanted <= buffer->room)
        return true;
    size_t room = buffer->room < ROOM_MIN ? ROOM_MIN : buffer->room;
    while (room < wanted)
        room += room / 2;
    char *data = realloc(buffer->data, room);
    if (!data) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->room = room;
    return true;
}

void buffer_add(struct buffer *buffer, const void *data, size_t bytes)
{
    if (!buffer_reserve(buffer, bytes))
        return;
    if (bytes > 0)
        memcpy(buffer->data + buffer->bytes, data, bytes);
    buffer->bytes += bytes;
    buffer->data[buffer->bytes] = '\0';
}

void buffer_format(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    int bytes = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (bytes < 0) {
        buffer->failed = true;
        return;
    }
    buffer_add(buffer, text, (size_t)bytes);
    free(text);
}

void buffer_drop(struct buffer *buffer, size_t bytes)
{
    if (bytes == 0)
        return;
    buffer->bytes -= bytes;
    memmove(buffer->data, buffer->data + bytes, buffer->bytes);
    buffer->data[buffer->bytes] = '\0';
}

void buffer_clear(struct buffer *buffer)
{
    buffer->bytes = 0;
    buffer->failed = false;
    if (buffer->data)
        buffer->data[0] = '\0';
}

void buffer_done(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}
