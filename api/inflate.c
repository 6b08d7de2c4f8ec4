/* The only file that knows zlib. */
#include "api/inflate.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

#include "wal/base.h"

#define CAPACITY_MIN (64u << 10)

/* The largest window there is, and a header of gzip around it: nothing else passes. */
#define WINDOW_BITS (15 + 16)

struct output {
    char *data;
    size_t bytes, capacity, bytes_max;
};

static void output_done(struct output *output)
{
    free(output->data);
}

static void stream_done(z_stream **stream)
{
    inflateEnd(*stream);
}

/* One byte more than the limit may be there, so that whatever is beyond it shows. */
static int make_room(struct output *output)
{
    if (output->bytes < output->capacity)
        return 0;
    uint64_t wanted = max_u64(2 * (uint64_t)output->capacity, CAPACITY_MIN);
    size_t capacity = (size_t)min_u64(wanted, (uint64_t)output->bytes_max + 1);
    char *data = realloc(output->data, capacity);
    if (!data)
        return -ENOMEM;
    output->data = data;
    output->capacity = capacity;
    return 0;
}

/* One step. 1: a member has ended; 0: go on. */
static int step(z_stream *stream, struct output *output)
{
    int rc = make_room(output);
    if (rc < 0)
        return rc;

    size_t room = output->capacity - output->bytes;
    stream->next_out = (Bytef *)output->data + output->bytes;
    stream->avail_out = (uInt)room;
    int result = inflate(stream, Z_NO_FLUSH);
    output->bytes += room - stream->avail_out;
    if (output->bytes > output->bytes_max)
        return -EMSGSIZE;

    switch (result) {
    case Z_STREAM_END: return 1;
    case Z_OK: return 0;
    case Z_MEM_ERROR: return -ENOMEM;
    /* No progress: there is no room, which is made, or no more input, which had to be there. */
    case Z_BUF_ERROR: return stream->avail_out == 0 ? 0 : -EBADMSG;
    default: return -EBADMSG;
    }
}

int inflate_gzip(const void *data, size_t bytes, size_t bytes_max, char **ret_inflated,
                 size_t *ret_bytes)
{
    must(bytes <= UINT32_MAX && bytes_max < UINT32_MAX);
    CLEANUP(output_done) struct output output = {.bytes_max = bytes_max};
    z_stream stream = {.next_in = (z_const Bytef *)data, .avail_in = (uInt)bytes};
    if (inflateInit2(&stream, WINDOW_BITS) != Z_OK)
        return -ENOMEM;

    CLEANUP(stream_done) z_stream *open = &stream;
    int rc;
    do {
        rc = step(open, &output);
        if (rc == 1 && stream.avail_in > 0) { /* another member follows, or something else */
            must(inflateReset(open) == Z_OK);
            rc = 0;
        }
    } while (rc == 0);
    if (rc < 0)
        return rc;

    *ret_bytes = output.bytes;
    *ret_inflated = TAKE(output.data);
    return 0;
}
