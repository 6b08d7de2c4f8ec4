/*
 * The only file that knows zstd. A body is unpacked after its checksum has matched, so that what the
 * library gets to see is what this program wrote, or what somebody forged; and into memory of the size
 * that the header says, which has been held against the longest frame.
 *
 * One context for unpacking is kept for whoever comes next: it takes 100 KB, and readers come and go.
 */
#include "wal/compress.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "wal/base.h"
#include "wal/crc32c.h"
#include "wal/defects.h"

/* Lines of JSON take a fifth in frames of 128 KiB; 6 and 9 save another tenth of that, for three and
 * five times the work, which a worker does beside appends. */
#define LEVEL 3

static _Atomic(ZSTD_DCtx *) spare;

__attribute__((destructor)) static void forget_spare(void)
{
    ZSTD_freeDCtx(atomic_exchange(&spare, NULL)); /* NULL is fine */
}

void unpacked_done(struct unpacked *unpacked)
{
    free(unpacked->items);
    *unpacked = (struct unpacked){0};
}

static int reserve(struct unpacked *unpacked, size_t bytes)
{
    if (bytes <= unpacked->capacity)
        return 0;
    unpacked_done(unpacked);
    unpacked->items = malloc(bytes);
    unpacked->capacity = unpacked->items ? bytes : 0;
    return unpacked->items ? 0 : -ENOMEM;
}

static int error_of(size_t result)
{
    return ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
}

/* Errors: -EBADMSG: it does not unpack to just so many bytes, or something stands behind it. */
static int decompress(const void *body, size_t body_bytes, void *items, size_t bytes)
{
    /* The library would take further frames, and skip what calls itself skippable. */
    if (ZSTD_findFrameCompressedSize(body, body_bytes) != body_bytes)
        return -EBADMSG;
    ZSTD_DCtx *context = atomic_exchange(&spare, NULL);
    if (!context)
        context = ZSTD_createDCtx();
    if (!context)
        return -ENOMEM;
    size_t result = ZSTD_decompressDCtx(context, items, bytes, body, body_bytes);
    ZSTD_freeDCtx(atomic_exchange(&spare, context));
    if (ZSTD_isError(result))
        return error_of(result);
    return result == bytes ? 0 : -EBADMSG;
}

static int unpack(struct unpacked *unpacked, const struct frame_header *header, const void *body)
{
    if (crc32c(0, body, header->body_bytes) != header->body_crc && !DEFECT(UNPACK_UNCHECKED))
        return -EBADMSG;
    int rc = reserve(unpacked, header->plain_bytes);
    return rc == 0 ? decompress(body, header->body_bytes, unpacked->items, header->plain_bytes)
                   : rc;
}

int frame_open(struct unpacked *unpacked, const struct frame_header *header, const void *body,
               bool deep, const uint8_t **ret_items)
{
    *ret_items = body;
    if (header->flags & FRAME_COMPRESSED) {
        *ret_items = NULL;
        int rc = unpack(unpacked, header, body);
        if (rc < 0)
            return rc;
        *ret_items = unpacked->items;
        if (DEFECT(UNPACK_UNCHECKED))
            return 0;
    }
    return frame_body_verify(header, *ret_items, deep);
}

void compressor_done(struct compressor *compressor)
{
    ZSTD_freeCCtx(compressor->context);
    compressor->context = NULL;
}

int frame_compress(struct compressor *compressor, struct frame_header *header, const void *items,
                   void *body, size_t room)
{
    if (!compressor->context)
        compressor->context = ZSTD_createCCtx();
    if (!compressor->context)
        return -ENOMEM;
    size_t result =
        ZSTD_compressCCtx(compressor->context, body, room, items, header->body_bytes, LEVEL);
    if (ZSTD_isError(result))
        return error_of(result) == -ENOMEM ? -ENOMEM : -EMSGSIZE;
    if (result >= header->body_bytes)
        return -EMSGSIZE;
    header->flags |= FRAME_COMPRESSED;
    header->plain_bytes = header->body_bytes;
    header->body_bytes = (uint32_t)result;
    header->body_crc = crc32c(0, body, result);
    return 0;
}
