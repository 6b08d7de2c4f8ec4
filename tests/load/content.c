#include "tests/load/content.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/load/load.h"
#include "wal/base.h"

/* "W0003 S00000017 B00000123 C0123456789abcdef:" and then the filling. */
#define HEAD_BYTES 44u

/* Mostly small records, some of many blocks, some that are larger than 64 KiB. */
static size_t size_of(uint64_t hash)
{
    unsigned choice = hash % 200;
    uint64_t spread = hash >> 16;
    if (choice < 150)
        return CONTENT_BYTES_MIN + spread % 512;
    if (choice < 190)
        return CONTENT_BYTES_MIN + spread % (8u << 10);
    if (choice < 198)
        return CONTENT_BYTES_MIN + spread % (64u << 10);
    return (64u << 10) + spread % (CONTENT_BYTES_MAX - (64u << 10) + 1);
}

static uint64_t sum_of(const char *data, size_t size)
{
    uint64_t sum = size;
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, data + at, min_u64(sizeof(word), size - at));
        sum = splitmix64_of(sum ^ word);
    }
    return sum;
}

static void fill(char *data, size_t size, uint64_t hash, bool text)
{
    uint64_t state = hash;
    for (size_t at = 0; at < size; at++) {
        if (at % 8 == 0)
            state = splitmix64_of(state);
        unsigned char byte = (unsigned char)(state >> (at % 8 * 8));
        data[at] = (char)(text ? ' ' + byte % 95 : byte);
    }
    /* Recovery tells torn writes by their zeros, so some records look like one. */
    if (!text && hash % 16 == 0)
        memset(data + size / 4, 0, size / 2);
}

size_t content_make(char ret_data[CONTENT_BYTES_MAX], uint64_t seed, struct content_id id,
                    bool text)
{
    uint64_t hash = splitmix64_of(splitmix64_of(seed ^ id.writer) ^ id.sequence);
    size_t size = size_of(hash);
    char head[HEAD_BYTES + 1];
    fill(ret_data + HEAD_BYTES, size - HEAD_BYTES, hash, text || hash % 3 == 0);
    int bytes =
        snprintf(head, sizeof(head), "W%04" PRIu32 " S%08" PRIu32 " B%08zu C%016" PRIx64 ":",
                 id.writer, id.sequence, size, sum_of(ret_data + HEAD_BYTES, size - HEAD_BYTES));
    must(bytes == HEAD_BYTES);
    memcpy(ret_data, head, HEAD_BYTES);
    return size;
}

const char *content_read(const char *data, size_t size, struct content_id *ret_id)
{
    char head[HEAD_BYTES + 1] = "";
    uint32_t writer, sequence;
    uint64_t bytes, sum;
    int length = 0;
    memcpy(head, data, min_u64(size, HEAD_BYTES));
    /* NOLINTNEXTLINE(cert-err34-c): the widths keep all of them in range */
    int fields = sscanf(head, "W%4" SCNu32 " S%8" SCNu32 " B%8" SCNu64 " C%16" SCNx64 ":%n",
                        &writer, &sequence, &bytes, &sum, &length);
    if (fields != 4 || length != HEAD_BYTES)
        return "no record of ours";
    *ret_id = (struct content_id){writer, sequence};
    if (size != bytes)
        return "not as long as it was";
    return sum == sum_of(data + HEAD_BYTES, size - HEAD_BYTES) ? NULL : "not what it was";
}
