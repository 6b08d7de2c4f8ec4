/*
 * Fuzz target for the small languages of targets and headers: names of logs, offsets and other numbers,
 * positions of streams, durations, times, ranges, lists of media types and of tags. Each is held
 * against a second way of reading it, or against what printing it again comes to.
 *
 * The first byte of an input chooses the language, and the rest is a text in it; a zero byte ends it.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/etag.h"
#include "api/parse.h"
#include "api/stream_token.h"
#include "api/target.h"
#include "api/text.h"
#include "wal/base.h"
#include "wal/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_name(char *text)
{
    static const char characters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t bytes = strlen(text);
    bool fine = bytes >= 1 && bytes <= STORE_NAME_BYTES_MAX && strspn(text, characters) == bytes &&
                !strchr("._-", text[0]);

    must(store_name_is_valid(text) == fine);
}

static void try_number(char *text)
{
    uint64_t number;
    char *end, printed[NUMBER_BYTES_MAX + 1] = "";

    errno = 0;
    uint64_t wanted = strtoull(text, &end, 10);
    bool fine = isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0 &&
                (text[0] != '0' || text[1] == '\0');
    must(number_parse(text, &number) == fine);
    if (!fine)
        return;
    must(number == wanted);
    *number_print(printed, number) = '\0';
    must(strcmp(printed, text) == 0);
}

static void try_position(char *text)
{
    struct stream_position position;
    char printed[STREAM_TOKEN_BYTES];

    if (!stream_token_parse(text, &position))
        return;
    must(position.records <= STREAM_NUMBER_MAX && position.bytes <= STREAM_NUMBER_MAX);
    stream_token_print(printed, &position);
    must(strcmp(printed, text) == 0);
}

static void try_duration(char *text)
{
    uint64_t us, count;
    char unit[4] = "";
    int end = -1;

    if (!duration_parse(text, &us))
        return;
    must(sscanf(text, "%" SCNu64 "%3[a-z]%n", &count, unit, &end) == 2 && text[end] == '\0');
    uint64_t unit_us = strcmp(unit, "ms") == 0  ? 1000
                       : strcmp(unit, "s") == 0 ? 1000000
                       : strcmp(unit, "m") == 0 ? 60000000
                       : strcmp(unit, "h") == 0 ? UINT64_C(3600000000)
                                                : 0;
    must(unit_us > 0 && us / unit_us == count && us % unit_us == 0);
}

static void try_time(char *text)
{
    uint64_t ns, again;
    char printed[TIMESTAMP_BYTES], twice[TIMESTAMP_BYTES];

    /* The last second of 64 bits is already beyond. */
    if (!timestamp_parse(text, &ns) || ns > UINT64_MAX - UINT64_C(1000000000))
        return;
    timestamp_print(printed, ns);
    must(timestamp_parse(printed, &again) && again == ns - ns % 1000);
    timestamp_print(twice, again);
    must(strcmp(printed, twice) == 0);
}

static void try_range(char *text)
{
    static const uint64_t sizes[] = {0, 1, 10, 65536, UINT64_MAX};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint64_t begin, end;

        if (range_parse(text, sizes[i], &begin, &end) == RANGE_PART)
            must(begin < end && end <= sizes[i]);
    }
}

static void try_accept(char *text)
{
    static const char *const offers[] = {"application/x-ndjson", "application/json", "text/plain"};
    int all = accept_choose(text, offers, ARRAY_SIZE(offers));

    must(all >= -1 && all < (int)ARRAY_SIZE(offers));
    if (all >= 0) /* what is liked best is liked by itself */
        must(accept_choose(text, offers + all, 1) == 0);
    for (unsigned i = 0; all < 0 && i < ARRAY_SIZE(offers); i++)
        must(accept_choose(text, offers + i, 1) == -1);
}

static void try_tags(char *text)
{
    static const char tag[] = "\"0123456789abcdef-7\"";
    bool strong = etag_list_has(text, tag, ETAG_STRONG);

    must(!strong || etag_list_has(text, tag, ETAG_WEAK));
    must(!strong || strstr(text, tag));
    must(!etag_list_is_any(text) || etag_list_is_valid(text));
}

/* Taken apart, nothing is there that was not, and nothing stands outside of the text. */
static void try_target(char *text)
{
    struct target target;
    size_t bytes = strlen(text);

    if (text[0] != '/')
        return;
    target_parse(text, &target);
    must(target.segment_count >= 1 && target.segment_count <= TARGET_SEGMENTS_MAX + 1);
    must(target.parameter_count <= TARGET_PARAMETERS_MAX + 1);
    for (unsigned i = 0; i < min_u64(target.segment_count, TARGET_SEGMENTS_MAX); i++) {
        const char *segment = target.segments[i];

        must(segment > text && segment <= text + bytes);
        must(!strchr(segment, '?') && (!strchr(segment, '/') || i == TARGET_SEGMENTS_MAX - 1));
    }
    for (unsigned i = 0; i < min_u64(target.parameter_count, TARGET_PARAMETERS_MAX); i++) {
        const char *name = target.parameters[i].name, *value = target.parameters[i].value;

        must(name > text && name <= text + bytes && strlen(value) <= bytes);
        must(!strchr(name, '=') && !strchr(name, '&'));
        must(target_parameter(&target, name) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const languages[])(char *) = {try_name,     try_number, try_position,
                                                try_duration, try_time,   try_range,
                                                try_accept,   try_tags,   try_target};
    if (size == 0)
        return 0;

    size_t bytes = strnlen((const char *)data + 1, size - 1);
    /* Of exactly this size, so that a byte read behind it is seen. */
    char *text = calloc(1, bytes + 1);

    must(text);
    memcpy(text, data + 1, bytes);
    languages[data[0] % ARRAY_SIZE(languages)](text);
    free(text);
    return 0;
}
