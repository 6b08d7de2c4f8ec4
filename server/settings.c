#include "server/settings.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/api.h"
#include "wal/base.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define TIB (GIB * 1024)
#define MS UINT64_C(1000)
#define SECOND (MS * 1000)
#define MINUTE (SECOND * 60)
#define HOUR (MINUTE * 60)
#define DAY (HOUR * 24)
#define YEAR (DAY * 365)

#define AT(field) .offset = offsetof(struct config, field)
#define TEXT(field, what) .type = SETTING_TEXT, AT(field), .values = (what)
#define CHOICE(field, choices) .type = SETTING_CHOICE, AT(field), .values = (choices)
#define MODE(field) .type = SETTING_MODE, AT(field), .values = "MODE"
#define SET(field, choices) .type = SETTING_SET, AT(field), .values = (choices)
#define SWITCH(field) .type = SETTING_SWITCH, AT(field), .values = "on|off"
#define COUNT(field, least, most)                                                                  \
    .type = SETTING_COUNT, AT(field), .values = "N", .min = (least), .max = (most)
#define SIZE(field, least, most)                                                                   \
    .type = SETTING_SIZE, AT(field), .values = "SIZE", .min = (least), .max = (most)
#define TIME(field, least, most)                                                                   \
    .type = SETTING_TIME, AT(field), .values = "TIME", .min = (least), .max = (most)

/* The choices stand in the order of the enums they are numbers of. */
const struct setting settings[] = {
    {"config", TEXT(file, "FILE"), .otherwise = "none", .not_in_file = true,
     .help = "settings from a file of lines such as \"listen = 127.0.0.1:8080\". The environment "
             "goes before it, and flags go before both"},
    {"data", TEXT(data, "DIR"), .otherwise = "none, it has to be given",
     .help = "where the logs are; made if missing. One process at a time owns it"},
    {"listen", TEXT(listen, "ADDRESS:PORT"), .fallback = "127.0.0.1:8080",
     .help = "where to listen; [::1]:8080 for IPv6. Port 0 takes a free one, and the line with "
             "event=ready tells which. unix:PATH is a socket in the file system"},
    {"socket-mode", MODE(socket_mode), .fallback = "660",
     .help = "who may connect to a socket in the file system: its permissions, in octal"},
    {"host", .type = SETTING_NAMES, AT(hosts), .values = "NAME",
     .otherwise = "loopback names on a loopback address, else any name",
     .help = "a name to answer to in Host, beside those of the loopback; may be repeated, or hold "
             "several with commas between them"},
    {"cors-origin", .type = SETTING_ORIGINS, AT(cors_origins), .values = "ORIGIN",
     .otherwise = "none: a page of another site can neither read nor write",
     .help =
         "the origin of web pages that may call the service from a browser, such as "
         "https://app.example.com, or * for all of them, and then any page that its visitor "
         "opens can do whatever the visitor could; may be repeated, or hold several with commas "
         "between them"},
    {"tokens", TEXT(tokens, "FILE"), .otherwise = "none: everybody may do everything",
     .help = "the tokens that requests have to present, one a line, as wald token makes them; read "
             "again on SIGHUP"},
    {"open", SET(open, "health|metrics|stats|version|openapi|none"), .fallback = "health",
     .help = "what is answered without a token, where there are tokens: a list with commas of "
             "health (/livez, /readyz, /healthz), metrics, stats (of the whole service), version "
             "and openapi; or none"},
    {"tls-cert", TEXT(tls_cert, "FILE"), .otherwise = "none: no TLS",
     .help = "the certificate to speak TLS with, in PEM, with what leads to its root behind it; "
             "TLS 1.2 and 1.3. Read again on SIGHUP, with its key: new connections get the new "
             "one, and the others go on"},
    {"tls-key", TEXT(tls_key, "FILE"), .otherwise = "none: no TLS",
     .help = "its key, in PEM, without a password"},
    {"io", CHOICE(io, "auto|uring|posix"), .fallback = "auto",
     .help = "how to write: io_uring, plain system calls, or io_uring where it is allowed (auto). "
             "uring refuses to start where it cannot be had"},
    {"direct", CHOICE(direct, "auto|on|off"), .fallback = "auto",
     .help = "write past the cache of the system where the file system allows it (auto). on "
             "refuses to start where it does not"},
    {"allow-volatile", SWITCH(allow_volatile), .fallback = "off",
     .help = "accept a data directory in memory (tmpfs, ramfs), which loses everything with the "
             "power; receipts then say so"},
    {"sandbox", CHOICE(sandbox, "auto|on|off"), .fallback = "auto",
     .help = "give up what serving does not need: privileges, files outside of the data directory, "
             "other system calls, memory dumps. auto takes what the kernel has, on refuses to "
             "start where some of it is missing"},
    {"auto-create", SWITCH(auto_create), .fallback = "on",
     .help = "an append to a log that does not exist makes it; off: it is refused with 404"},
    {"log-format", CHOICE(log_format, "logfmt|json"), .fallback = "logfmt",
     .help = "how each event is written, one a line, to stderr"},

    {"max-record-bytes", SIZE(record_bytes_max, 1, WAL_RECORD_BYTES_MAX), .fallback = "1MiB",
     .help = "a larger record is refused with 413"},
    {"max-batch-bytes", SIZE(batch_bytes_max, 1, WAL_APPEND_BYTES_MAX), .fallback = "16MiB",
     .help = "a larger body of many records is refused with 413"},
    {"max-header-bytes", SIZE(header_bytes_max, 2 * KIB, 64 * KIB), .fallback = "6KiB",
     .help = "longer headers, each counted with 64 bytes of its own, are refused with 431. Every "
             "connection takes that much memory and 2KiB, or with --cors-origin 3KiB"},
    {"connections-max", COUNT(connections_max, 1, 1000000),
     .otherwise = "a fifth of the open files that are allowed",
     .help = "connections at a time; further ones wait in the backlog of the kernel until one is "
             "closed"},
    {"followers-max", COUNT(followers_max, 1, 1000000),
     .otherwise = "a fifth of the open files that are allowed",
     .help = "streams of events at a time, which are no connections in the sense above; further "
             "ones are refused with 503"},
    {"client-connections-max", COUNT(client_connections_max, 0, 1000000), .fallback = "0",
     .help = "connections at a time from one address (of IPv6: one network of 64 bits), with "
             "streams of events; further ones are closed at once. 0: no limit but the others"},
    {"client-requests-per-second", COUNT(client_requests_per_second, 0, 1000000), .fallback = "0",
     .help = "requests of one token, or of one address without a token; further ones are refused "
             "with 429 and Retry-After, but for those after health. 0: no limit"},
    {"client-bytes-per-second", SIZE(client_bytes_per_second, 0, TIB), .fallback = "0KiB",
     .help = "bytes of bodies, of requests and answers together, of one token, or of one address "
             "without a token; who has had more gets 429 until they are paid for. Streams of "
             "events do not count. 0: no limit"},
    {"header-timeout", TIME(header_timeout_us, 100 * MS, HOUR), .fallback = "10s",
     .help = "the head of a request has to be complete so long after the connection was made, or "
             "after its first line; then 408, and the connection is closed"},
    {"body-timeout", TIME(body_timeout_us, 100 * MS, HOUR), .fallback = "30s",
     .help = "the body of a request has to be complete so long after its head; then 408, and the "
             "connection is closed"},
    {"answer-timeout", TIME(answer_timeout_us, 100 * MS, HOUR), .fallback = "1m",
     .help = "a client that has not taken its answer by then is cut off, and so is one that takes "
             "nothing of a stream of events for so long"},
    {"idle-timeout", TIME(idle_timeout_us, 100 * MS, HOUR), .fallback = "1m",
     .help = "a connection is closed when no request has followed the last one by then"},
    {"long-poll-timeout", TIME(long_poll_timeout_us, 100 * MS, HOUR), .fallback = "30s",
     .help = "a request that waits for records is answered after that long at the latest"},
    {"heartbeat", TIME(heartbeat_us, 100 * MS, HOUR), .fallback = "15s",
     .help = "a stream of events that has been silent for so long is sent a comment, so that "
             "nobody on the way takes it for dead"},
    {"stream-life", TIME(stream_life_us, 100 * MS, HOUR), .fallback = "1m",
     .help =
         "a stream of events at /v1/stream is ended after that long, and its client comes again"},
    {"body-memory", SIZE(body_memory_bytes, 64 * KIB, TIB), .fallback = "256MiB",
     .help = "of all bodies that are arriving or waiting at a time; beyond it 503"},
    {"answer-memory", SIZE(answer_memory_bytes, 64 * KIB, TIB), .fallback = "256MiB",
     .help = "of all answers that clients are still taking; beyond it reading gets 503. As much "
             "again may be on its way to those who follow logs; beyond it they wait"},
    {"queue-bytes", SIZE(queue_bytes_max, 4 * KIB, TIB), .fallback = "64MiB",
     .help = "records of one log that wait for the disk; beyond it 503"},
    {"queue-memory", SIZE(queue_memory_bytes, MIB, TIB), .fallback = "256MiB",
     .help = "records of all logs that wait for the disk; beyond it 503"},
    {"space-floor", .type = SETTING_FLOOR, AT(space_floor), .values = "SIZE|N%", .max = TIB,
     .otherwise = "64MiB, or 5% of the disk if that is less",
     .help = "with less free on the disk, appends and new logs are refused with 507, and /readyz "
             "says that the service is not ready; reading, trimming and deleting go on. 0KiB: no "
             "floor"},
    {"retain-age", TIME(retain_age_us, 0, 100 * YEAR), .fallback = "0s",
     .help = "for logs that are not told otherwise: keep the records of the last so much time. A "
             "record goes when every limit of retention that is set lets it; 0s: no such limit"},
    {"retain-bytes", SIZE(retain_bytes, 0, 1024 * TIB), .fallback = "0KiB",
     .help = "likewise: keep the newest records that have so many bytes together; 0KiB: no such "
             "limit"},
    {"retain-records", COUNT(retain_records, 0, 1000000000000000), .fallback = "0",
     .help = "likewise: keep so many of the newest records; 0: no such limit"},
    {"retain-interval", TIME(retain_interval_us, 10 * MS, DAY), .fallback = "10s",
     .help = "how often logs are looked through for records that may go"},
    {"quota-bytes", SIZE(quota_bytes, 0, 1024 * TIB), .fallback = "0KiB",
     .help = "for logs that are not told otherwise: an append with which the records kept would "
             "have more bytes is refused with 429; 0KiB: no quota"},
    {"quota-records", COUNT(quota_records, 0, 1000000000000000), .fallback = "0",
     .help = "likewise: with which more records would be kept; 0: no quota"},
    {"metrics-logs-max", COUNT(metrics_logs_max, 0, 1000000), .fallback = "1000",
     .help = "logs with series of their own in /metrics; the others are only counted"},
    {"logs-max", COUNT(logs_max, 1, 1u << 24), .fallback = "65536",
     .help = "logs open at a time; those that nobody uses are closed to make room"},
    {"log-count-max", COUNT(log_count_max, 0, 1000000000000), .fallback = "1000000",
     .help = "logs that there may be; with so many, one more is refused with 507. 0: no limit"},
    {"batch-delay", TIME(batch_delay_us, 0, 10 * SECOND), .fallback = "0s",
     .help = "wait so long for company before a commit; 0s: commit at once, and what arrives "
             "meanwhile together after it"},
    {"segment-bytes", SIZE(segment_bytes, 16 * KIB, TIB), .fallback = "64MiB",
     .help = "a file of a log; trimming gives space back file by file"},
    {"pack", SWITCH(pack), .fallback = "on",
     .help =
         "full files of logs are rewritten densely in the background, since a small record that "
         "was committed alone takes 4 KiB"},
    {"pack-compression", CHOICE(pack_compression, "none|zstd"), .fallback = "none",
     .help = "what is rewritten is compressed, too, where that makes it smaller; a record is then "
             "read by unpacking the 128 KiB around it. Files that are packed already stay as they "
             "are"},
    {"pack-rate", SIZE(pack_rate, 64 * KIB, TIB), .fallback = "64MiB",
     .help = "read and written for that in a second, at most"},
    {"scrub-rate", SIZE(scrub_bytes_per_s, 0, TIB), .fallback = "4MiB",
     .help = "all logs are read again and again, so much a second, to find damage before a reader "
             "does; 0: they are not"},
    {"scrub-interval", TIME(scrub_interval_us, 100 * MS, 8760 * HOUR), .fallback = "24h",
     .help = "so long after it has read all logs it begins again; for the first time five minutes "
             "after the start, or earlier if this is less"},
    {"shutdown-timeout", TIME(shutdown_timeout_us, 0, HOUR), .fallback = "10s",
     .help = "a stop waits so long for requests that are still arriving and answers that are not "
             "taken; for the disk it waits without a limit"},
};

const unsigned setting_count = ARRAY_SIZE(settings);
_Static_assert(ARRAY_SIZE(settings) <= CONFIG_SETTINGS_MAX, "room for the origins");

struct unit {
    const char *name;
    uint64_t size;
};

static const struct unit sizes[] = {{"TiB", TIB}, {"GiB", GIB}, {"MiB", MIB},
                                    {"KiB", KIB}, {"", 1},      {NULL, 0}};
static const struct unit times[] = {{"d", DAY}, {"h", HOUR}, {"m", MINUTE}, {"s", SECOND},
                                    {"ms", MS}, {"us", 1},   {NULL, 0}};
static const struct unit counts[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(const struct setting *setting)
{
    switch (setting->type) {
    case SETTING_FLOOR:
    case SETTING_SIZE: return sizes;
    case SETTING_TIME: return times;
    case SETTING_COUNT: return counts;
    default: return NULL;
    }
}

const struct setting *setting_find(const char *name, size_t bytes)
{
    for (unsigned i = 0; i < setting_count; i++) {
        if (strlen(settings[i].name) == bytes && memcmp(settings[i].name, name, bytes) == 0)
            return &settings[i];
    }
    return NULL;
}

void setting_variable(const struct setting *setting, char ret_name[SETTING_NAME_BYTES])
{
    must(strlen(setting->name) + 6 <= SETTING_NAME_BYTES);
    char *end = ret_name + sprintf(ret_name, "WALD_");
    for (const char *c = setting->name; *c; c++)
        *end++ = (char)(*c == '-' ? '_' : toupper((unsigned char)*c));
    *end = '\0';
}

/* ---- numbers with units ---- */

static bool parse_digits(const char **text, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *c = *text;
    for (; *c >= '0' && *c <= '9'; c++) {
        if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
            __builtin_add_overflow(number, (uint64_t)(*c - '0'), &number))
            return false;
    }
    if (c == *text)
        return false;
    *text = c;
    *ret_number = number;
    return true;
}

static bool parse_number(const struct setting *setting, const char *text, uint64_t *ret_number)
{
    uint64_t number;
    if (!parse_digits(&text, &number))
        return false;
    const struct unit *unit = units_of(setting);
    while (unit->name && strcmp(unit->name, text) != 0)
        unit++;
    if (!unit->name || __builtin_mul_overflow(number, unit->size, &number) ||
        number < setting->min || number > setting->max)
        return false;
    *ret_number = number;
    return true;
}

#define NUMBER_BYTES 32

/* In the largest unit that leaves nothing over. */
static void print_number(const struct setting *setting, uint64_t number,
                         char ret_text[NUMBER_BYTES])
{
    const struct unit *unit = units_of(setting);
    /* Nothing at all is 0s, 0KiB and 0. */
    uint64_t largest = number > 0 ? UINT64_MAX : unit == times ? SECOND : KIB;
    while (number % unit->size != 0 || unit->size > largest)
        unit++;
    snprintf(ret_text, NUMBER_BYTES, "%" PRIu64 "%s", number / unit->size, unit->name);
}

bool setting_is_list(const struct setting *setting)
{
    return setting->type == SETTING_NAMES || setting->type == SETTING_ORIGINS;
}

void setting_describe(const struct setting *setting, char *text, size_t bytes)
{
    char min[NUMBER_BYTES], max[NUMBER_BYTES];
    if (units_of(setting)) {
        print_number(setting, setting->min, min);
        print_number(setting, setting->max, max);
    }
    switch (setting->type) {
    case SETTING_TEXT:
        snprintf(text, bytes,
                 "a text that is not empty, has no control characters, no blank at "
                 "its ends and no \";\" after a blank");
        break;
    case SETTING_NAMES:
        snprintf(text, bytes,
                 "%d names at most, with commas between them, each of letters, digits and . : _ - "
                 "[ ]",
                 CONFIG_NAMES_MAX);
        break;
    case SETTING_ORIGINS:
        snprintf(text, bytes,
                 "%d origins at most, with commas between them, each * or as browsers write it: a "
                 "scheme, a host and perhaps a port, and no path, such as https://app.example.com",
                 CONFIG_NAMES_MAX);
        break;
    case SETTING_SET:
        snprintf(text, bytes, "none, or a list with commas of others of %s", setting->values);
        break;
    case SETTING_MODE:
        snprintf(text, bytes, "permissions in three octal digits, such as 660");
        break;
    case SETTING_CHOICE:
    case SETTING_SWITCH: snprintf(text, bytes, "one of %s", setting->values); break;
    case SETTING_COUNT: snprintf(text, bytes, "a number from %s to %s", min, max); break;
    case SETTING_SIZE:
        snprintf(text, bytes, "a size from %s to %s, such as 4096, 64KiB or 1MiB", min, max);
        break;
    case SETTING_FLOOR:
        snprintf(text, bytes,
                 "a size from %s to %s, such as 64KiB or 1GiB, or a share of the disk from 1%% to "
                 "90%%",
                 min, max);
        break;
    case SETTING_TIME:
        snprintf(text, bytes, "a time from %s to %s, such as 500ms, 30s or 5m", min, max);
        break;
    }
}

/* ---- values ---- */

static void *field_of(const struct setting *setting, struct config *config)
{
    return (char *)config + setting->offset;
}

static const void *field_in(const struct setting *setting, const struct config *config)
{
    return (const char *)config + setting->offset;
}

/* Whatever is taken has to be writable in a file, too. */
static bool text_is_fine(const char *text)
{
    size_t bytes = strlen(text);
    if (bytes == 0 || text[0] == ' ' || text[0] == ';' || text[bytes - 1] == ' ')
        return false;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < ' ' || c == 0x7f || (c == ' ' && text[i + 1] == ';'))
            return false;
    }
    return true;
}

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static bool is_host(const char *text, size_t bytes)
{
    return bytes > 0 && strspn(text, DIGITS LETTERS ".:-_[]") >= bytes;
}

/* What browsers send in Origin, so that one which none ever sends is noticed at once: "/" behind it
 * is, and so is a port that goes without saying. */
static bool is_origin(const char *text, size_t bytes)
{
    if (bytes == 1 && text[0] == '*')
        return true;
    size_t scheme = strspn(text, DIGITS LETTERS "+.-");
    if (bytes > CORS_ORIGIN_BYTES_MAX || scheme == 0 || scheme + 3 >= bytes ||
        strncmp(text + scheme, "://", 3) != 0 || !is_host(text + scheme + 3, bytes - scheme - 3))
        return false;
    bool http = scheme == 4 && strncasecmp(text, "http", 4) == 0;
    bool https = scheme == 5 && strncasecmp(text, "https", 5) == 0;
    return !(http && strncmp(text + bytes - 3, ":80", 3) == 0) &&
           !(https && strncmp(text + bytes - 4, ":443", 4) == 0);
}

static bool parse_list(const char *text, bool (*is_fine)(const char *text, size_t bytes),
                       struct config_names *names, struct config *config)
{
    for (;;) {
        text += strspn(text, " ");
        size_t bytes = strcspn(text, ", ");
        const char *end = text + bytes + strspn(text + bytes, " ");
        if (!is_fine(text, bytes) || (*end != '\0' && *end != ',') ||
            names->count == CONFIG_NAMES_MAX)
            return false;
        const char *name = config_keep(config, text, bytes);
        if (!name)
            return false;
        names->names[names->count++] = name;
        if (*end == '\0')
            return true;
        text = end + 1;
    }
}

/* Which of "a|b|c" a text is; -1: none. */
static int find_choice(const char *choices, const char *text)
{
    size_t bytes = strlen(text);
    for (int i = 0;; i++) {
        size_t length = strcspn(choices, "|");
        if (length == bytes && memcmp(choices, text, bytes) == 0)
            return i;
        if (choices[length] == '\0')
            return -1;
        choices += length + 1;
    }
}

static bool parse_floor(const struct setting *setting, const char *text, struct space_floor *floor)
{
    uint64_t percent;
    const char *end = text;
    *floor = (struct space_floor){0};
    if (!parse_digits(&end, &percent) || strcmp(end, "%") != 0)
        return parse_number(setting, text, &floor->bytes);
    floor->percent = (unsigned)min_u64(percent, UINT32_MAX);
    return percent >= 1 && percent <= 90;
}

/* The last choice stands alone: none. */
static bool parse_set(const char *choices, const char *text, unsigned *ret_set)
{
    int none = find_choice(choices, "none");
    *ret_set = 0;
    if (find_choice(choices, text) == none)
        return true;
    for (;;) {
        char word[32];
        text += strspn(text, " ");
        size_t bytes = strcspn(text, ", ");
        const char *end = text + bytes + strspn(text + bytes, " ");
        if (bytes >= sizeof(word) || (*end != '\0' && *end != ','))
            return false;
        *(char *)mempcpy(word, text, bytes) = '\0';
        int choice = find_choice(choices, word);
        if (choice < 0 || choice == none)
            return false;
        *ret_set |= 1u << choice;
        if (*end == '\0')
            return true;
        text = end + 1;
    }
}

bool setting_parse(const struct setting *setting, const char *text, struct config *config)
{
    void *field = field_of(setting, config);
    int choice;
    switch (setting->type) {
    case SETTING_TEXT:
        if (!text_is_fine(text))
            return false;
        *(const char **)field = config_keep(config, text, strlen(text));
        return *(const char **)field != NULL;
    case SETTING_NAMES: return parse_list(text, is_host, field, config);
    case SETTING_ORIGINS: return parse_list(text, is_origin, field, config);
    case SETTING_MODE:
        *(unsigned *)field = (unsigned)strtoul(text, NULL, 8);
        return strlen(text) == 3 && strspn(text, "01234567") == 3;
    case SETTING_SET: return parse_set(setting->values, text, field);
    case SETTING_CHOICE:
    case SETTING_SWITCH:
        choice = find_choice(setting->values, text);
        if (choice < 0)
            return false;
        if (setting->type == SETTING_SWITCH)
            *(bool *)field = choice == 0; /* on|off */
        else
            *(unsigned *)field = (unsigned)choice;
        return true;
    case SETTING_FLOOR: return parse_floor(setting, text, field);
    default: return parse_number(setting, text, field);
    }
}

static bool print_floor(const struct setting *setting, const struct space_floor *floor, FILE *out)
{
    char number[NUMBER_BYTES];
    if (floor->is_default)
        return false;
    print_number(setting, floor->bytes, number);
    if (floor->percent > 0)
        fprintf(out, "%u%%", floor->percent);
    else
        fputs(number, out);
    return true;
}

static void print_choice(const char *choices, unsigned choice, FILE *out)
{
    for (; choice > 0; choice--)
        choices += strcspn(choices, "|") + 1;
    fprintf(out, "%.*s", (int)strcspn(choices, "|"), choices);
}

static void print_set(const char *choices, unsigned set, FILE *out)
{
    const char *comma = "";
    if (set == 0)
        fputs("none", out);
    for (unsigned i = 0; set >> i; i++) {
        if (!(set >> i & 1))
            continue;
        fputs(comma, out);
        print_choice(choices, i, out);
        comma = ",";
    }
}

bool setting_print(const struct setting *setting, const struct config *config, FILE *out)
{
    const void *field = field_in(setting, config);
    const char *text;
    char number[NUMBER_BYTES];
    switch (setting->type) {
    case SETTING_TEXT:
        text = *(const char *const *)field;
        if (text)
            fputs(text, out);
        return text != NULL;
    case SETTING_NAMES:
    case SETTING_ORIGINS: return false;
    case SETTING_MODE: fprintf(out, "%03o", *(const unsigned *)field); return true;
    case SETTING_SET: print_set(setting->values, *(const unsigned *)field, out); return true;
    case SETTING_CHOICE: print_choice(setting->values, *(const unsigned *)field, out); return true;
    case SETTING_SWITCH: fputs(*(const bool *)field ? "on" : "off", out); return true;
    case SETTING_FLOOR: return print_floor(setting, field, out);
    default:
        /* No number is below its least but one that was never set. */
        if (*(const uint64_t *)field < setting->min)
            return false;
        print_number(setting, *(const uint64_t *)field, number);
        fputs(number, out);
        return true;
    }
}

const char *setting_default(const struct setting *setting)
{
    return setting->fallback ? setting->fallback : setting->otherwise;
}
