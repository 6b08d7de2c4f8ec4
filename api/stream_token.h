/*
 * Positions in a stream as clients of the Durable Streams protocol see them: a token of two numbers,
 * "records_bytes", of 16 digits each. The first counts the records that lie wholly before the
 * position, the second their bytes and those of the record it may lie inside of. Both only grow
 * along the stream, so tokens compare like the places they name. Pure functions of text.
 */
#ifndef API_STREAM_TOKEN_H
#define API_STREAM_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#define STREAM_TOKEN_BYTES 34 /* with the zero behind it */
#define STREAM_NUMBER_MAX UINT64_C(9999999999999999)

struct stream_position {
    uint64_t records, bytes;
};

/* Neither number may be above STREAM_NUMBER_MAX. */
void stream_token_print(char ret_token[STREAM_TOKEN_BYTES], const struct stream_position *position);

/* False: it is not what stream_token_print() writes. */
bool stream_token_parse(const char *text, struct stream_position *ret_position);

/* Whether behind `end` there is room for so much more, in numbers that tokens can tell. */
bool stream_token_has_room(const struct stream_position *end, uint64_t records, uint64_t bytes);

#endif
