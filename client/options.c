#include "client/options.h"

#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "client/say.h"
#include "client/wrap.h"
#include "wal/base.h"

#define URL_DEFAULT "http://127.0.0.1:8080"

enum option_type { OPTION_SWITCH, OPTION_TEXT, OPTION_COUNT, OPTION_TIME, OPTION_CHOICE };

struct option_row {
    const char *name;
    char letter;       /* 0: none */
    const char *value; /* what to call it, or the choices; NULL: takes none */
    const char *help;
    enum option_type type;
    unsigned commands;
    size_t offset; /* in struct options */
};

#define AT(field) offsetof(struct options, field)
#define FOR_READERS (FOR_READ | FOR_TAIL)
#define FOR_ALL (FOR_APPEND | FOR_READERS | FOR_LS | FOR_STATS | FOR_TRIM | FOR_EXPORT | FOR_IMPORT)

static const struct option_row rows[] = {
    {"lines", 'l', NULL, "each line is a record, without its end; empty lines are none",
     OPTION_SWITCH, FOR_APPEND, AT(lines)},
    {"producer", 0, "NAME",
     "append as this producer, which the log remembers for good: retries are exact however late "
     "they come, and a newer process of the name takes over from an older one. Without it the log "
     "knows a retry by a key, one of its newest 1000",
     OPTION_TEXT, FOR_APPEND, AT(producer)},
    {"offset", 0, "OFFSET", "begin there: a number, -N (the last N), earliest or latest",
     OPTION_TEXT, FOR_READERS, AT(offset)},
    {"last", 'n', "N", "begin with the last N records", OPTION_COUNT, FOR_READERS, AT(last)},
    {"at", 0, "TIME",
     "begin with the first record appended then or later: a time of RFC 3339, such as "
     "2026-11-22T10:00:00Z",
     OPTION_TEXT, FOR_READERS, AT(at)},
    {"limit", 0, "N", "stop after so many records", OPTION_COUNT, FOR_READERS, AT(limit)},
    {"follow", 'f', NULL,
     "go on with what is appended from now on; a service that is lost is waited for", OPTION_SWITCH,
     FOR_READERS, AT(follow)},
    {"separator", 's', "newline|nul|none|length",
     "what is between records: behind each a newline (the default) or a NUL, or nothing; length: "
     "before each its length, 4 bytes, the most significant first",
     OPTION_CHOICE, FOR_READERS, AT(separator)},
    {"skip-damaged", 0, NULL,
     "go on behind records that are damaged; each gap is told, and the exit status is 65",
     OPTION_SWITCH, FOR_READERS | FOR_EXPORT, AT(skip_damaged)},
    {"long", 'l', NULL, "with positions, number of records and bytes on disk of each log",
     OPTION_SWITCH, FOR_LS, AT(details)},
    {"before", 0, "OFFSET", "drop the records below this offset", OPTION_COUNT, FOR_TRIM,
     AT(before)},
    {"keep", 0, "N", "drop all but the last N records", OPTION_COUNT, FOR_TRIM, AT(keep)},
    {"json", 0, NULL, "print JSON, as the service sends it", OPTION_SWITCH,
     FOR_APPEND | FOR_READERS | FOR_LS | FOR_STATS | FOR_TRIM, AT(json)},
    {"quiet", 'q', NULL, "no progress on stderr", OPTION_SWITCH,
     FOR_APPEND | FOR_EXPORT | FOR_IMPORT, AT(quiet)},
    {"retry-for", 0, "TIME",
     "keep trying for so long when the service is lost or says to try later: 500ms, 30s, 5m, 1h, "
     "forever; 0s: never. The default is 1m; forever for --follow; 0s for ls, stats and trim",
     OPTION_TIME, FOR_ALL, AT(retry_us)},
    {"url", 0, "URL",
     "where the service is, such as " URL_DEFAULT
     " or unix:/run/wald/socket; without it WALD_URL of the environment, else " URL_DEFAULT,
     OPTION_TEXT, FOR_ALL, AT(url)},
    {"ca-file", 0, "FILE",
     "whom to believe of a service with https: certificates in PEM; without it WALD_CA_FILE of the "
     "environment, else those that the system knows",
     OPTION_TEXT, FOR_ALL, AT(ca_file)},
    {"token-file", 0, "FILE",
     "a file whose first line is the token to present; without it WALD_TOKEN of the environment, "
     "else none",
     OPTION_TEXT, FOR_ALL, AT(token_file)},
    {"help", 'h', NULL, "this text", OPTION_SWITCH, FOR_ALL, AT(help)},
};

/* ---- values ---- */

static bool parse_count(const char *text, uint64_t *ret_number, const char **ret_end)
{
    uint64_t number = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9'; c++) {
        if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
            __builtin_add_overflow(number, (uint64_t)(*c - '0'), &number))
            return false;
    }
    *ret_number = number;
    *ret_end = c;
    return c > text && number < OPTION_FOREVER;
}

static bool parse_time(const char *text, uint64_t *ret_us)
{
    static const struct {
        const char *name;
        uint64_t us;
    } units[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {"m", 60000000}, {"h", 3600000000}};
    const char *unit;
    if (strcmp(text, "forever") == 0) {
        *ret_us = OPTION_FOREVER;
        return true;
    }
    if (!parse_count(text, ret_us, &unit))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (strcmp(unit, units[i].name) == 0)
            return !__builtin_mul_overflow(*ret_us, units[i].us, ret_us) &&
                   *ret_us < OPTION_FOREVER;
    }
    return false;
}

static bool parse_choice(const char *choices, const char *text, uint64_t *ret_choice)
{
    size_t bytes = strlen(text);
    for (*ret_choice = 0;; ++*ret_choice) {
        size_t length = strcspn(choices, "|");
        if (length == bytes && memcmp(choices, text, bytes) == 0)
            return true;
        if (choices[length] == '\0')
            return false;
        choices += length + 1;
    }
}

static bool set(const struct option_row *row, const char *text, struct options *options)
{
    void *field = (char *)options + row->offset;
    const char *end;
    switch (row->type) {
    case OPTION_SWITCH: *(bool *)field = true; return true;
    case OPTION_TEXT: *(const char **)field = text; return text[0] != '\0';
    case OPTION_COUNT: return parse_count(text, field, &end) && *end == '\0';
    case OPTION_TIME: return parse_time(text, field);
    case OPTION_CHOICE: return parse_choice(row->value, text, field);
    }
    return false;
}

static int complain_value(const struct option_row *row, const char *text)
{
    static const char *const wanted[] = {
        [OPTION_TEXT] = "a text that is not empty",
        [OPTION_COUNT] = "a number from 0",
        [OPTION_TIME] = "a time such as 500ms, 30s, 5m, 1h or forever",
    };
    if (row->type == OPTION_CHOICE)
        complain("--%s is one of %s, not \"%s\".", row->name, row->value, text);
    else
        complain("--%s is %s, not \"%s\".", row->name, wanted[row->type], text);
    return EXIT_USAGE;
}

/* ---- the command line ---- */

/* Behind what a letter can be. */
#define CODE_BASE 256

static void make_tables(enum command_bit command, struct option *longs, char *shorts)
{
    *shorts++ = ':'; /* tells a missing value from an unknown option, and says nothing itself */
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        if (!(rows[i].commands & command))
            continue;
        *longs++ = (struct option){rows[i].name, rows[i].value ? required_argument : no_argument,
                                   NULL, CODE_BASE + (int)i};
        if (rows[i].letter) {
            *shorts++ = rows[i].letter;
            if (rows[i].value)
                *shorts++ = ':';
        }
    }
    *longs = (struct option){0};
    *shorts = '\0';
}

static const struct option_row *find_row(enum command_bit command, int code)
{
    if (code >= CODE_BASE)
        return &rows[code - CODE_BASE];
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        if ((rows[i].commands & command) && rows[i].letter == code)
            return &rows[i];
    }
    return NULL;
}

static const char *ca_file_default(void)
{
    const char *file = getenv("WALD_CA_FILE");
    return file && *file ? file : NULL;
}

static const char *url_default(void)
{
    const char *url = getenv("WALD_URL");
    return url && *url ? url : URL_DEFAULT;
}

int options_read(struct options *ret_options, enum command_bit command, int argc, char **argv)
{
    struct option longs[ARRAY_SIZE(rows) + 1];
    char shorts[2 * ARRAY_SIZE(rows) + 2];
    int code;
    *ret_options = (struct options){
        .url = url_default(),
        .ca_file = ca_file_default(),
        .retry_us = OPTION_UNSET,
        .last = OPTION_UNSET,
        .limit = OPTION_UNSET,
        .before = OPTION_UNSET,
        .keep = OPTION_UNSET,
    };
    make_tables(command, longs, shorts);
    opterr = 0;
    while ((code = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (code == '?' || code == ':') {
            const char *what = code == '?' ? "is not an option of this command" : "wants a value";
            if (optopt > 0 && optopt < CODE_BASE)
                complain("-%c %s. Try: wald %s --help", optopt, what, argv[0]);
            else
                complain("%s %s. Try: wald %s --help", argv[optind - 1], what, argv[0]);
            return EXIT_USAGE;
        }
        const struct option_row *row = find_row(command, code);
        must(row);
        if (!set(row, optarg, ret_options))
            return complain_value(row, optarg);
    }
    ret_options->arguments = (const char *const *)argv + optind;
    ret_options->argument_count = (unsigned)(argc - optind);
    return 0;
}

/* ---- help ---- */

#define HELP_COLUMN 26u

void options_print(enum command_bit command, FILE *out)
{
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        if (!(rows[i].commands & command))
            continue;
        char letter[] = "    ";
        if (rows[i].letter)
            snprintf(letter, sizeof(letter), "-%c, ", rows[i].letter);
        unsigned at =
            (unsigned)fprintf(out, "  %s--%s%s%s", letter, rows[i].name, rows[i].value ? " " : "",
                              rows[i].value ? rows[i].value : "");
        if (at + 2 > HELP_COLUMN) {
            fputc('\n', out);
            at = 0;
        }
        wrap_print(out, HELP_COLUMN, rows[i].help, at);
    }
}
