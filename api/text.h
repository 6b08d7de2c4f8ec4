/* A growing run of bytes, for answers whose length is not known before they are written. */
#ifndef API_TEXT_H
#define API_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* All zero is an empty text. When memory ran out `failed` is set and stays, and what is added after
 * that is dropped: the writer asks once, at the end. */
struct text {
    char *data;
    size_t bytes, capacity;
    bool failed;
};

/* Makes room for `bytes` more, so that adding them does not look for memory again. False: there is
 * none. */
bool text_reserve(struct text *text, size_t bytes);

/* These three are in sight of their callers because every answer is made of dozens of them: a literal
 * costs no search for its end, and its few bytes no call. */
static inline void text_add(struct text *text, const void *data, size_t bytes)
{
    if (bytes == 0 || (text->capacity - text->bytes < bytes && !text_reserve(text, bytes)))
        return;
    memcpy(text->data + text->bytes, data, bytes);
    text->bytes += bytes;
}

static inline void text_add_string(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_format(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes a number's decimal digits, NUMBER_BYTES_MAX at most and no NUL, and returns where they end. */
#define NUMBER_BYTES_MAX 20
char *number_print(char *at, uint64_t number);

static inline void text_add_number(struct text *text, uint64_t number)
{
    if (text->capacity - text->bytes < NUMBER_BYTES_MAX && !text_reserve(text, NUMBER_BYTES_MAX))
        return;
    text->bytes = (size_t)(number_print(text->data + text->bytes, number) - text->data);
}

/* The encoding of RFC 4648 with padding. */
void text_add_base64(struct text *text, const void *data, size_t bytes);

/* Takes back what was added behind the first `bytes`, and the memory that it took. */
void text_cut(struct text *text, size_t bytes);

void text_done(struct text *text); /* for CLEANUP() */

#endif
