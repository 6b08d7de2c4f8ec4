#include "api/stream_token.h"

#include <stddef.h>

#include "wal/base.h"

#define DIGITS 16

static void put_number(char *at, uint64_t number)
{
    must(number <= STREAM_NUMBER_MAX);
    for (size_t i = DIGITS; i-- > 0; number /= 10)
        at[i] = (char)('0' + number % 10);
}

static bool take_number(const char *at, uint64_t *ret_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < DIGITS; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(at[i] - '0');
    }
    *ret_number = number;
    return true;
}

void stream_token_print(char ret_token[STREAM_TOKEN_BYTES], const struct stream_position *position)
{
    put_number(ret_token, position->records);
    ret_token[DIGITS] = '_';
    put_number(ret_token + DIGITS + 1, position->bytes);
    ret_token[2 * DIGITS + 1] = '\0';
}

bool stream_token_parse(const char *text, struct stream_position *ret_position)
{
    struct stream_position position;
    if (!take_number(text, &position.records) || text[DIGITS] != '_' ||
        !take_number(text + DIGITS + 1, &position.bytes) || text[2 * DIGITS + 1])
        return false;
    *ret_position = position;
    return true;
}

bool stream_token_has_room(const struct stream_position *end, uint64_t records, uint64_t bytes)
{
    return records <= STREAM_NUMBER_MAX && end->records <= STREAM_NUMBER_MAX - records &&
           bytes <= STREAM_NUMBER_MAX && end->bytes <= STREAM_NUMBER_MAX - bytes;
}
