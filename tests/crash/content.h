/*
 * What records and state values hold. A content is a few numbers from which its bytes are made
 * again whenever they are needed, so that an oracle over thousands of records takes little memory.
 * Every function is pure once content_init() has run.
 */
#ifndef CRASH_CONTENT_H
#define CRASH_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTENT_BYTES_MAX (1u << 20)
#define CONTENT_ATTRIBUTE_BYTES_MAX 8192u

enum content_kind {
    CONTENT_NOISE,  /* does not look like anything */
    CONTENT_ZEROS,  /* looks like space that was never written */
    CONTENT_HOLES,  /* noise with a run of zeros in it: whole sectors of a frame are zero */
    CONTENT_STORED, /* bytes made elsewhere, such as forged frames */
};

struct content {
    uint64_t number; /* tells one content from all others */
    const uint8_t *stored;
    uint32_t size;
    uint8_t kind;           /* enum content_kind */
    uint8_t attribute_kind; /* 0: none; 1: one or two small ones; 2: some, one of them large */
};

void content_init(void);

/* Writes `size` bytes. */
void content_write(const struct content *content, uint8_t *bytes);

/* Writes a list of attributes, at most CONTENT_ATTRIBUTE_BYTES_MAX bytes; returns its size. */
uint16_t content_write_attributes(const struct content *content, uint8_t *bytes);

/* Whether these are the bytes; *ret_at is the first that differs, or the shorter size. */
bool content_is(const struct content *content, const void *data, size_t size, size_t *ret_at);
bool content_attributes_are(const struct content *content, const void *list, uint16_t bytes);

/* A fingerprint of any bytes. */
uint64_t content_hash(const void *data, size_t size);

#endif
