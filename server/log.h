/*
 * What the process has to say: one line for each event on stderr, as key=value pairs (logfmt) or as
 * an object of JSON.
 *
 *   struct log_line line;
 *   log_begin(&line, "info", "ready");
 *   log_text(&line, "listen", address);
 *   log_end(&line);
 *
 * A line is written whole or not at all, and never waited for: what nobody reads in time is dropped
 * and counted, and the next line that can be written is preceded by one that tells how many.
 */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_format { LOG_LOGFMT, LOG_JSON };

struct log_line {
    char text[1024];
    size_t bytes;
    bool full; /* something has been cut off, and nothing more is taken */
};

/* Before the first line; without it, logfmt. Looks at what stderr is, so that it can be written to
 * without waiting. */
void log_open(enum log_format format);
void log_close(void);

void log_begin(struct log_line *line, const char *level, const char *event);
void log_text(struct log_line *line, const char *key, const char *value);   /* quoted if need be */
void log_quoted(struct log_line *line, const char *key, const char *value); /* always quoted */
void log_number(struct log_line *line, const char *key, uint64_t value);
void log_end(struct log_line *line);

/* The line as it would be written, with its end; for log_end() and tests. */
void log_finish(struct log_line *line);

#endif
