/*
 * Fuzz target for api/ndjson.h: bodies of lines, taken apart and held against a second, slower way of
 * doing so. The input is the longest line that is allowed, less one, as a byte; and the body.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/ndjson.h"
#include "wal/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The line that begins at `at`, without its end. */
static size_t line_bytes(const char *body, size_t bytes, size_t at)
{
    size_t end = at;

    while (end < bytes && body[end] != '\n')
        end++;
    return end - at;
}

/* What a split has to come to, byte by byte; `split` is what it came to. */
static int expect(const char *body, size_t bytes, uint32_t longest, const struct ndjson *split,
                  int rc)
{
    size_t count = 0;
    uint64_t total = 0;

    for (size_t at = 0; at < bytes; at++) {
        size_t length = line_bytes(body, bytes, at);

        if (length > longest) {
            must(rc != -EMSGSIZE || split->count == count);
            return -EMSGSIZE;
        }
        if (length > 0) {
            if (rc == 0) {
                must(count < split->count);
                must(split->records[count].data == body + at);
                must(split->records[count].size == length);
            }
            count++;
            total += length;
        }
        at += length;
    }
    if (rc == 0)
        must(count == split->count && total == split->bytes);
    return count > 0 ? 0 : -ENODATA;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;

    uint32_t longest = 1 + (uint32_t)data[0];
    size_t bytes = size - 1;
    /* Of exactly this size, so that a byte read behind it is seen. */
    char *body = calloc(1, bytes > 0 ? bytes : 1);
    struct ndjson split = {0};

    must(body);
    if (bytes > 0)
        memcpy(body, data + 1, bytes);

    int rc = ndjson_split(body, bytes, longest, &split);

    must(rc == expect(body, bytes, longest, &split, rc) || rc == -E2BIG);
    if (rc == 0)
        free(split.records);
    free(body);
    return 0;
}
