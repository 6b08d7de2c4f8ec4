/*
 * The small languages of headers and parameters: what a client accepts, times, durations, ranges.
 * Pure functions of text.
 */
#ifndef API_PARSE_H
#define API_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* Which of `count` media types ("application/json", without parameters) a value of Accept likes
 * best (RFC 9110, 12.5.1); among equals the first. A value that is NULL or empty likes all alike;
 * elements that are malformed count for nothing. Returns the index, or -1: none of them. */
int accept_choose(const char *accept, const char *const *offers, unsigned count);

/* "500ms", "30s", "1m", "2h": a whole number and its unit. False: it is something else, or more than
 * 64 bits of microseconds. */
bool duration_parse(const char *text, uint64_t *ret_us);

/* A time of RFC 3339 with "Z" or an offset and at most nine digits of a second's fraction, in
 * nanoseconds since 1970. Earlier times give 0, those beyond 64 bits (in 2554) UINT64_MAX. */
bool timestamp_parse(const char *text, uint64_t *ret_ns);

/* The same the other way: "2026-11-22T10:00:00.000123Z", cut off behind the microseconds, so that
 * whoever asks for that time gets the record and not its successor. */
#define TIMESTAMP_BYTES 32
void timestamp_print(char ret_text[TIMESTAMP_BYTES], uint64_t timestamp_ns);

enum range {
    RANGE_WHOLE, /* no range, or none that has to be heeded: malformed, of another unit, several */
    RANGE_PART,
    RANGE_UNSATISFIABLE,
};

/* A value of Range (NULL: none) for something of `bytes` bytes (RFC 9110, 14.1.2). With RANGE_PART
 * the bytes [*ret_begin, *ret_end) are asked for: at least one. */
enum range range_parse(const char *range, uint64_t bytes, uint64_t *ret_begin, uint64_t *ret_end);

#endif
