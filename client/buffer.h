/* Bytes that grow. What could not be kept for want of memory is remembered in `failed`. */
#ifndef CLIENT_BUFFER_H
#define CLIENT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct buffer {
    char *data; /* `bytes` of them, and a NUL behind */
    size_t bytes, room;
    bool failed;
};

/* Room for so many more bytes and the NUL; false: no memory. What is put there is to be counted in
 * `bytes` by the caller. */
bool buffer_reserve(struct buffer *buffer, size_t bytes);

void buffer_add(struct buffer *buffer, const void *data, size_t bytes);
void buffer_format(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Drops so many bytes at the front. */
void buffer_drop(struct buffer *buffer, size_t bytes);

/* Empty again, with its room. */
void buffer_clear(struct buffer *buffer);

void buffer_done(struct buffer *buffer);

#endif
