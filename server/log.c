#include "server/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Behind this there is room for what closes a line: a quotation mark, a brace, its end. */
#define LINE_BYTES_MAX (sizeof(((struct log_line *)NULL)->text) - 3)

enum way {
    WAY_WRITE,    /* a file: it may be full, but it does not keep us waiting */
    WAY_NONBLOCK, /* a descriptor of our own that does not wait */
    WAY_POLL,     /* one that waits, so it is asked first */
    WAY_SEND,     /* a socket, such as that of a journal */
};

static struct {
    enum log_format format;
    enum way way;
    int fd;
    uint64_t lost;
} log_state = {.way = WAY_POLL, .fd = STDERR_FILENO};

/* ---- where it goes ---- */

/*
 * O_NONBLOCK belongs to the open file, which a shell or a supervisor shares with us: setting it
 * there would change their side, too. Opened anew, a pipe or a terminal has flags of its own.
 */
void log_open(enum log_format format)
{
    struct stat about;
    log_state.format = format;
    if (fstat(STDERR_FILENO, &about) < 0)
        return;
    if (S_ISSOCK(about.st_mode)) {
        log_state.way = WAY_SEND;
    } else if (S_ISFIFO(about.st_mode) || S_ISCHR(about.st_mode)) {
        int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0) {
            log_state.way = WAY_NONBLOCK;
            log_state.fd = fd;
        }
    } else {
        log_state.way = WAY_WRITE;
    }
}

void log_close(void)
{
    if (log_state.fd != STDERR_FILENO)
        close(log_state.fd);
    log_state.fd = STDERR_FILENO;
    log_state.way = WAY_POLL;
}

static bool can_write(void)
{
    struct pollfd asked = {.fd = log_state.fd, .events = POLLOUT};
    return log_state.way != WAY_POLL || poll(&asked, 1, 0) == 1;
}

/* One write, so that lines of several processes do not mix. A pipe takes a line of this size whole
 * or not at all. */
static bool write_line(const char *text, size_t bytes)
{
    while (bytes > 0 && can_write()) {
        ssize_t written = log_state.way == WAY_SEND
                              ? send(log_state.fd, text, bytes, MSG_DONTWAIT | MSG_NOSIGNAL)
                              : write(log_state.fd, text, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false; /* there is nowhere to tell of it */
        text += written;
        bytes -= (size_t)written;
    }
    return bytes == 0;
}

/* ---- characters ---- */

static bool is_continuation(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* How many bytes the character at `text` has in UTF-8; 0: that is none. */
static size_t character_bytes(const unsigned char *text)
{
    unsigned char c = text[0];
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        return is_continuation(text[1]) ? 2 : 0;
    if (c >= 0xe0 && c <= 0xef) {
        bool fine = is_continuation(text[1]) && is_continuation(text[2]);
        bool overlong = c == 0xe0 && text[1] < 0xa0;
        bool surrogate = c == 0xed && text[1] >= 0xa0;
        return fine && !overlong && !surrogate ? 3 : 0;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        bool fine =
            is_continuation(text[1]) && is_continuation(text[2]) && is_continuation(text[3]);
        bool out_of_range = (c == 0xf0 && text[1] < 0x90) || (c == 0xf4 && text[1] >= 0x90);
        return fine && !out_of_range ? 4 : 0;
    }
    return 0;
}

/* ---- a line ---- */

/* All of it or nothing: what is cut in the middle could not be read any more. */
static bool add(struct log_line *line, const char *text, size_t bytes)
{
    if (line->full || bytes > LINE_BYTES_MAX - line->bytes) {
        line->full = true;
        return false;
    }
    memcpy(line->text + line->bytes, text, bytes);
    line->bytes += bytes;
    return true;
}

static bool add_string(struct log_line *line, const char *text)
{
    return add(line, text, strlen(text));
}

static bool is_json(void)
{
    return log_state.format == LOG_JSON;
}

/* In either format a quoted value is a string of JSON. One that is too long is cut between two
 * characters. */
static void add_quoted(struct log_line *line, const char *value)
{
    if (!add_string(line, "\""))
        return;
    const unsigned char *c = (const unsigned char *)value;
    while (*c) {
        char escaped[8];
        size_t bytes = character_bytes(c);
        if (*c == '"' || *c == '\\')
            snprintf(escaped, sizeof(escaped), "\\%c", *c);
        else if (*c < 0x20 || *c == 0x7f)
            snprintf(escaped, sizeof(escaped), "\\u%04x", *c);
        else if (bytes == 0) /* the mark for what is no character */
            snprintf(escaped, sizeof(escaped), "\\ufffd");
        else
            snprintf(escaped, sizeof(escaped), "%.*s", (int)bytes, (const char *)c);
        if (!add_string(line, escaped))
            break;
        c += bytes > 0 ? bytes : 1;
    }
    line->text[line->bytes++] = '"'; /* there is room for it */
    line->full = line->full || line->bytes >= LINE_BYTES_MAX;
}

/* Room for the key and for at least something of its value, or none of it. */
static bool add_key(struct log_line *line, const char *key, size_t value_bytes)
{
    char text[64];
    int bytes = is_json() ? snprintf(text, sizeof(text), "%s\"%s\":", line->bytes ? "," : "{", key)
                          : snprintf(text, sizeof(text), "%s%s=", line->bytes ? " " : "", key);
    if (line->full || (size_t)bytes + value_bytes > LINE_BYTES_MAX - line->bytes) {
        line->full = true;
        return false;
    }
    return add(line, text, (size_t)bytes);
}

void log_quoted(struct log_line *line, const char *key, const char *value)
{
    if (add_key(line, key, 2))
        add_quoted(line, value);
}

void log_text(struct log_line *line, const char *key, const char *value)
{
    bool plain = *value && !is_json();
    for (const char *c = value; *c && plain; c++)
        plain = *c > ' ' && *c != 0x7f && *c != '"' && *c != '=' && *c != '\\';
    if (!plain)
        log_quoted(line, key, value);
    else if (add_key(line, key, strlen(value)))
        add_string(line, value);
}

void log_number(struct log_line *line, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    if (add_key(line, key, strlen(text)))
        add_string(line, text);
}

static void add_timestamp(struct log_line *line)
{
    struct timespec now;
    struct tm utc;
    char date[32], text[64];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof(text), "%s.%03ldZ", date, now.tv_nsec / 1000000);
    log_text(line, "time", text);
}

void log_begin(struct log_line *line, const char *level, const char *event)
{
    line->bytes = 0;
    line->full = false;
    add_timestamp(line);
    log_text(line, "level", level);
    log_text(line, "event", event);
}

void log_finish(struct log_line *line)
{
    if (is_json())
        line->text[line->bytes++] = '}';
    line->text[line->bytes++] = '\n';
}

static bool tell_of_lost(void)
{
    struct log_line line;
    log_begin(&line, "warning", "log_lines_lost");
    log_number(&line, "count", log_state.lost);
    log_finish(&line);
    return write_line(line.text, line.bytes);
}

void log_end(struct log_line *line)
{
    log_finish(line);
    if (log_state.lost > 0 && tell_of_lost())
        log_state.lost = 0;
    if (log_state.lost > 0 || !write_line(line->text, line->bytes))
        log_state.lost++;
}
