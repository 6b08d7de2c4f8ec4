/*
 * What the load tests append: records that say who wrote them, as which of his, how long they are
 * and what the sum of their bytes is, and that whoever knows writer and sequence can make again.
 */
#ifndef LOAD_CONTENT_H
#define LOAD_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTENT_BYTES_MIN 64u
#define CONTENT_BYTES_MAX (200u << 10)

struct content_id {
    uint32_t writer, sequence;
};

/* `text`: printable bytes without an end of line, as a line of a batch has to be; else any bytes.
 * Returns the size: CONTENT_BYTES_MIN to CONTENT_BYTES_MAX. */
size_t content_make(char ret_data[CONTENT_BYTES_MAX], uint64_t seed, struct content_id id,
                    bool text);

/* Who wrote this? NULL if the record is whole, else what is wrong with it; *ret_id is valid unless
 * that is "no record of ours". */
const char *content_read(const char *data, size_t size, struct content_id *ret_id);

#endif
