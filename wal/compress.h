/*
 * Bodies of frames that are compressed, which some of packed segments are: the items as one frame of
 * zstd, and nothing behind it. Whoever reads frames gets at their items here, compressed or not. Any
 * thread. Internal to wal/.
 */
#ifndef WAL_COMPRESS_H
#define WAL_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wal/format.h"

/* Where the items of one frame at a time are unpacked to; zeros at first. */
struct unpacked {
    uint8_t *items;
    size_t capacity;
};

void unpacked_done(struct unpacked *unpacked);

/*
 * The items of a frame, from its body as it stands in the file, and that they are what the header says:
 * see frame_body_verify(). They are good as long as the body is, and until the next call.
 * Errors: -EBADMSG: they are not; *ret_items is NULL, or with a body that is not compressed that one;
 * -ENOMEM.
 */
int frame_open(struct unpacked *unpacked, const struct frame_header *header, const void *body,
               bool deep, const uint8_t **ret_items);

/* What compresses one frame after the other; zeros at first. */
struct compressor {
    void *context;
};

void compressor_done(struct compressor *compressor);

/*
 * Compresses items that a header describes, to at most `room` bytes, and makes it that of a compressed
 * frame. Errors: -EMSGSIZE: they do not fit, and the header is as it was; -ENOMEM.
 */
int frame_compress(struct compressor *compressor, struct frame_header *header, const void *items,
                   void *body, size_t room);

#endif
