#include "api/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "api/target.h"
#include "wal/base.h"

/* tchar of RFC 9110. */
#define TOKEN_CHARACTERS                                                                           \
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

#define NS_PER_SECOND UINT64_C(1000000000)
#define SECONDS_PER_DAY INT64_C(86400)

static const char *skip_space(const char *text)
{
    return text + strspn(text, " \t");
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- Accept ---- */

struct media_range {
    const char *type, *subtype;
    size_t type_bytes, subtype_bytes;
    unsigned quality; /* in thousandths */
};

/* Behind a quoted string that begins here; NULL: it does not end. */
static const char *skip_quoted(const char *text)
{
    for (text++; *text && *text != '"'; text++) {
        if (*text == '\\' && text[1])
            text++;
    }
    return *text ? text + 1 : NULL;
}

/* "0.5", "1", "1.000", ...: at most three digits, and at most 1. */
static bool read_quality(const char *text, size_t bytes, unsigned *ret_quality)
{
    unsigned quality = 0, unit = 1000;
    if (bytes == 0 || bytes > 5 || text[0] > '1' || (bytes > 1 && text[1] != '.'))
        return false;
    for (size_t i = 0; i < bytes; i++) {
        if (i == 1)
            continue;
        if (!is_digit(text[i]))
            return false;
        quality += (unsigned)(text[i] - '0') * unit;
        unit /= 10;
    }
    *ret_quality = quality;
    return quality <= 1000;
}

/* One parameter, the weight perhaps. Returns what is behind it; NULL: malformed. */
static const char *read_parameter(const char *text, struct media_range *range)
{
    size_t name_bytes = strspn(text, TOKEN_CHARACTERS);
    const char *value = text + name_bytes;
    if (name_bytes == 0 || *value++ != '=')
        return NULL;
    if (*value == '"')
        return skip_quoted(value);
    size_t value_bytes = strspn(value, TOKEN_CHARACTERS);
    if (value_bytes == 0)
        return NULL;
    bool is_weight = name_bytes == 1 && (*text == 'q' || *text == 'Q');
    if (is_weight && !read_quality(value, value_bytes, &range->quality))
        return NULL;
    return value + value_bytes;
}

/* One element of the list. Returns the comma or the end behind it; NULL: malformed. */
static const char *read_media_range(const char *text, struct media_range *ret_range)
{
    *ret_range = (struct media_range){.type = text, .quality = 1000};
    ret_range->type_bytes = strspn(text, TOKEN_CHARACTERS);
    text += ret_range->type_bytes;
    if (ret_range->type_bytes == 0 || *text++ != '/')
        return NULL;
    ret_range->subtype = text;
    ret_range->subtype_bytes = strspn(text, TOKEN_CHARACTERS);
    if (ret_range->subtype_bytes == 0)
        return NULL;
    text = skip_space(text + ret_range->subtype_bytes);
    while (text && *text == ';') {
        text = skip_space(text + 1);
        if (*text && *text != ';' && *text != ',')
            text = read_parameter(text, ret_range);
        if (text)
            text = skip_space(text);
    }
    return text && (!*text || *text == ',') ? text : NULL;
}

/* The comma or the end behind an element that cannot be read. */
static const char *skip_element(const char *text)
{
    while (*text && *text != ',') {
        const char *behind = *text == '"' ? skip_quoted(text) : text + 1;
        text = behind ? behind : text + strlen(text);
    }
    return text;
}

static bool names(const char *part, size_t part_bytes, const char *text, size_t bytes)
{
    return part_bytes == bytes && strncasecmp(part, text, bytes) == 0;
}

/* How closely a media range names a type: 3 by name, 2 by its main type, 1 with all others, 0 not. */
static unsigned closeness(const struct media_range *range, const char *offer)
{
    size_t type_bytes = strcspn(offer, "/");
    const char *subtype = offer + type_bytes + 1;
    bool any_subtype = names(range->subtype, range->subtype_bytes, "*", 1);
    if (names(range->type, range->type_bytes, "*", 1))
        return any_subtype ? 1 : 0;
    if (!names(range->type, range->type_bytes, offer, type_bytes))
        return 0;
    if (any_subtype)
        return 2;
    return names(range->subtype, range->subtype_bytes, subtype, strlen(subtype)) ? 3 : 0;
}

/* The weight of the element that names the type most closely. */
static unsigned quality_of(const char *accept, const char *offer)
{
    unsigned closest = 0, quality = 0;
    while (*(accept += strspn(accept, " \t,"))) {
        struct media_range range;
        const char *behind = read_media_range(accept, &range);
        unsigned close = behind ? closeness(&range, offer) : 0;
        if (close > closest || (close > 0 && close == closest && range.quality > quality)) {
            closest = close;
            quality = range.quality;
        }
        accept = behind ? behind : skip_element(accept);
    }
    return quality;
}

int accept_choose(const char *accept, const char *const *offers, unsigned count)
{
    int best = -1;
    unsigned best_quality = 0;
    if (!accept || !*skip_space(accept))
        return 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned quality = quality_of(accept, offers[i]);
        if (quality > best_quality) {
            best = (int)i;
            best_quality = quality;
        }
    }
    return best;
}

/* ---- durations and times ---- */

bool duration_parse(const char *text, uint64_t *ret_us)
{
    static const struct {
        const char *name;
        uint64_t us;
    } units[] = {{"ms", 1000}, {"s", 1000000}, {"m", 60000000}, {"h", 3600000000}};
    char digits[24];
    uint64_t number;
    size_t count = strspn(text, "0123456789");
    if (count >= sizeof(digits))
        return false;
    memcpy(digits, text, count);
    digits[count] = '\0';
    if (!number_parse(digits, &number))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (strcmp(text + count, units[i].name) == 0)
            return !__builtin_mul_overflow(number, units[i].us, ret_us);
    }
    return false;
}

/* Reads text of the shape of a pattern, whose zeros stand for digits; each other character ends a
 * field. Returns what is behind it, or NULL. */
static const char *read_fields(const char *text, const char *pattern, int *fields)
{
    *fields = 0;
    for (; *pattern; pattern++, text++) {
        if (*pattern == '0' && is_digit(*text))
            *fields = *fields * 10 + (*text - '0');
        else if (*pattern != '0' && (*text == *pattern || (*pattern == 'T' && *text == 't')))
            *++fields = 0;
        else
            return NULL;
    }
    return text;
}

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* The fraction of a second, if there is one. Returns what is behind it, or NULL. */
static const char *read_fraction(const char *text, uint64_t *ret_ns)
{
    uint64_t unit = NS_PER_SECOND;
    *ret_ns = 0;
    if (*text != '.')
        return text;
    for (text++; is_digit(*text) && unit > 1; text++) {
        unit /= 10;
        *ret_ns += (uint64_t)(*text - '0') * unit;
    }
    return unit < NS_PER_SECOND ? text : NULL;
}

/* "Z" or "+01:00", at the end of the text. */
static bool read_zone(const char *text, int64_t *ret_seconds)
{
    int fields[2];
    *ret_seconds = 0;
    if (*text == 'Z' || *text == 'z')
        return text[1] == '\0';
    if (*text != '+' && *text != '-')
        return false;
    const char *end = read_fields(text + 1, "00:00", fields);
    if (!end || *end || fields[0] > 23 || fields[1] > 59)
        return false;
    int minutes = fields[0] * 60 + fields[1];
    *ret_seconds = (int64_t)(*text == '-' ? -minutes : minutes) * 60;
    return true;
}

bool timestamp_parse(const char *text, uint64_t *ret_ns)
{
    int field[6];
    uint64_t fraction_ns;
    int64_t zone_seconds;
    text = read_fields(text, "0000-00-00T00:00:00", field);
    if (text)
        text = read_fraction(text, &fraction_ns);
    if (!text || !read_zone(text, &zone_seconds))
        return false;
    if (field[1] < 1 || field[1] > 12 || field[2] < 1 || field[2] > days_of(field[0], field[1]) ||
        field[3] > 23 || field[4] > 59 || field[5] > 60)
        return false;

    struct tm tm = {.tm_year = field[0] - 1900,
                    .tm_mon = field[1] - 1,
                    .tm_mday = field[2],
                    .tm_hour = field[3],
                    .tm_min = field[4],
                    .tm_sec = field[5]};
    int64_t seconds = (int64_t)timegm(&tm) - zone_seconds;
    if (field[5] == 60 && seconds % SECONDS_PER_DAY != 0)
        return false; /* a leap second is the last one of a day of UTC */
    if (seconds < 0)
        *ret_ns = 0;
    else if ((uint64_t)seconds >= UINT64_MAX / NS_PER_SECOND)
        *ret_ns = UINT64_MAX;
    else
        *ret_ns = (uint64_t)seconds * NS_PER_SECOND + fraction_ns;
    return true;
}

void timestamp_print(char ret_text[TIMESTAMP_BYTES], uint64_t timestamp_ns)
{
    time_t seconds = (time_t)(timestamp_ns / NS_PER_SECOND);
    struct tm utc;
    must(gmtime_r(&seconds, &utc));
    size_t bytes = strftime(ret_text, TIMESTAMP_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
    must(bytes > 0);
    snprintf(ret_text + bytes, TIMESTAMP_BYTES - bytes, ".%06" PRIu64 "Z",
             timestamp_ns / 1000 % 1000000);
}

/* ---- ranges ---- */

/* Decimal digits, if there are any; what is beyond 64 bits is as good as the largest number. */
static const char *read_position(const char *text, uint64_t *ret_position)
{
    uint64_t position = 0;
    for (; is_digit(*text); text++) {
        if (__builtin_mul_overflow(position, 10, &position) ||
            __builtin_add_overflow(position, (uint64_t)(*text - '0'), &position)) {
            position = UINT64_MAX;
            text += strspn(text, "0123456789");
            break;
        }
    }
    *ret_position = position;
    return text;
}

enum range range_parse(const char *range, uint64_t bytes, uint64_t *ret_begin, uint64_t *ret_end)
{
    uint64_t first, last;
    if (!range || strncasecmp(range, "bytes=", 6) != 0)
        return RANGE_WHOLE;
    range += 6;
    const char *dash = read_position(range, &first);
    const char *end = *dash == '-' ? read_position(dash + 1, &last) : NULL;
    bool has_first = dash > range, has_last = end && end > dash + 1;
    if (!end || *end || (!has_first && !has_last) || (has_first && has_last && first > last))
        return RANGE_WHOLE;

    if (!has_first) { /* the last so many */
        first = bytes - min_u64(last, bytes);
        has_last = false;
    }
    if (first >= bytes)
        return RANGE_UNSATISFIABLE;
    *ret_begin = first;
    *ret_end = has_last && last < bytes ? last + 1 : bytes;
    return RANGE_PART;
}
