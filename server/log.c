#include "server/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Behind this there is room for one quotation mark and the end of the line. */
#define LINE_BYTES_MAX (sizeof(((struct log_line *)NULL)->text) - 2)

static void add(struct log_line *line, const char *text, size_t bytes)
{
    /* A line that is too long is cut: better than none. */
    size_t room = line->bytes < LINE_BYTES_MAX ? LINE_BYTES_MAX - line->bytes : 0;
    if (bytes > room)
        bytes = room;
    memcpy(line->text + line->bytes, text, bytes);
    line->bytes += bytes;
}

static void add_string(struct log_line *line, const char *text)
{
    add(line, text, strlen(text));
}

static void add_timestamp(struct log_line *line)
{
    struct timespec now;
    struct tm utc;
    char date[32], text[64];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof(text), "time=%s.%03ldZ", date, now.tv_nsec / 1000000);
    add_string(line, text);
}

void log_begin(struct log_line *line, const char *level, const char *event)
{
    line->bytes = 0;
    add_timestamp(line);
    add_string(line, " level=");
    add_string(line, level);
    add_string(line, " event=");
    add_string(line, event);
}

static void add_key(struct log_line *line, const char *key)
{
    add_string(line, " ");
    add_string(line, key);
    add_string(line, "=");
}

void log_quoted(struct log_line *line, const char *key, const char *value)
{
    add_key(line, key);
    add_string(line, "\"");
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        char escaped[8];
        if (c == '"' || c == '\\')
            snprintf(escaped, sizeof(escaped), "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            snprintf(escaped, sizeof(escaped), "\\u%04x", c);
        else
            snprintf(escaped, sizeof(escaped), "%c", c);
        add_string(line, escaped);
    }
    if (line->bytes <= LINE_BYTES_MAX)
        line->text[line->bytes++] = '"';
}

void log_text(struct log_line *line, const char *key, const char *value)
{
    bool plain = *value;
    for (const char *c = value; *c && plain; c++)
        plain = *c > ' ' && *c != 0x7f && *c != '"' && *c != '=' && *c != '\\';
    if (!plain) {
        log_quoted(line, key, value);
        return;
    }
    add_key(line, key);
    add_string(line, value);
}

void log_number(struct log_line *line, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    add_key(line, key);
    add_string(line, text);
}

/* One write, so that lines of several processes do not mix. */
void log_end(struct log_line *line)
{
    line->text[line->bytes++] = '\n';
    const char *next = line->text;
    while (line->bytes > 0) {
        ssize_t written = write(STDERR_FILENO, next, line->bytes);
        if (written <= 0)
            return; /* there is nowhere to tell of it */
        next += written;
        line->bytes -= (size_t)written;
    }
}
