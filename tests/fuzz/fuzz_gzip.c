/*
 * Fuzz target for api/inflate.h: bodies in gzip. The first byte of an input chooses what the rest is:
 * bytes as they are sent (even), which are inflated a second time, a byte at a time; or (odd) content,
 * which is compressed first and has to come back, whole and from no part of it.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "api/inflate.h"
#include "wal/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 1 << 16, WINDOW_BITS = 15 + 16, CONTENT_MAX = 4096 };

static char slow[BYTES_MAX + 1];

/* -EBADMSG, -EMSGSIZE, or 0 and how many bytes are in `slow`. */
static int inflate_slowly(const uint8_t *data, size_t bytes, size_t *ret_bytes)
{
    z_stream stream = {.next_in = (z_const Bytef *)data};
    int result = Z_OK;

    stream.next_out = (Bytef *)slow;
    stream.avail_out = sizeof(slow);
    must(inflateInit2(&stream, WINDOW_BITS) == Z_OK);
    for (size_t i = 0; i < bytes || result == Z_OK; i++) {
        if (result == Z_STREAM_END)
            must(inflateReset(&stream) == Z_OK);
        stream.avail_in = i < bytes;
        result = inflate(&stream, Z_SYNC_FLUSH);
        if (result == Z_BUF_ERROR && i < bytes && stream.avail_in == 0)
            result = Z_OK; /* it wants more */
        if ((result != Z_OK && result != Z_STREAM_END) || stream.avail_out == 0)
            break;
        if (i >= bytes && result == Z_OK)
            break; /* and there is no more */
    }
    inflateEnd(&stream);
    *ret_bytes = sizeof(slow) - stream.avail_out;
    if (stream.avail_out == 0)
        return -EMSGSIZE;
    return result == Z_STREAM_END ? 0 : -EBADMSG;
}

/* Of exactly this size, so that a byte read behind it is seen. */
static int inflate_all(const uint8_t *data, size_t bytes, size_t bytes_max, char **ret_inflated,
                       size_t *ret_bytes)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);

    must(copy);
    if (bytes > 0)
        memcpy(copy, data, bytes);

    int rc = inflate_gzip(copy, bytes, bytes_max, ret_inflated, ret_bytes);

    free(copy);
    return rc;
}

static void try_bytes(const uint8_t *data, size_t bytes)
{
    char *inflated = NULL;
    size_t inflated_bytes = 0, slow_bytes;
    int rc = inflate_all(data, bytes, BYTES_MAX, &inflated, &inflated_bytes);
    int slow_rc = inflate_slowly(data, bytes, &slow_bytes);

    /* Damage behind what is too large may be told, or not. */
    must(rc == slow_rc || (rc == -EBADMSG && slow_rc == -EMSGSIZE));
    if (rc == 0) {
        must(inflated_bytes == slow_bytes && inflated_bytes <= BYTES_MAX);
        must(slow_bytes == 0 || memcmp(inflated, slow, slow_bytes) == 0);
        free(inflated);
    }
}

static void try_content(const uint8_t *content, size_t bytes)
{
    uint8_t packed[2 * CONTENT_MAX];
    z_stream stream = {.next_in = (z_const Bytef *)content, .avail_in = (uInt)bytes};
    char *inflated = NULL;
    size_t inflated_bytes;

    stream.next_out = packed;
    stream.avail_out = sizeof(packed);
    must(deflateInit2(&stream, 6, Z_DEFLATED, WINDOW_BITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    must(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    size_t packed_bytes = sizeof(packed) - stream.avail_out;
    deflateEnd(&stream);

    must(inflate_all(packed, packed_bytes, bytes, &inflated, &inflated_bytes) == 0);
    must(inflated_bytes == bytes && (bytes == 0 || memcmp(inflated, content, bytes) == 0));
    free(inflated);
    if (bytes > 0)
        must(inflate_all(packed, packed_bytes, bytes - 1, &inflated, &inflated_bytes) == -EMSGSIZE);
    size_t cut = packed_bytes * (bytes > 0 ? content[0] : 0) / 256;
    must(inflate_all(packed, cut, bytes, &inflated, &inflated_bytes) == -EBADMSG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0)
        try_bytes(data + 1, size - 1);
    else if (size - 1 <= CONTENT_MAX)
        try_content(data + 1, size - 1);
    return 0;
}
