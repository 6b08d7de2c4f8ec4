/*
 * What the process has to say: one line for each event on stderr, as key=value pairs (logfmt).
 *
 *   struct log_line line;
 *   log_begin(&line, "info", "ready");
 *   log_text(&line, "listen", address);
 *   log_end(&line);
 */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include <stddef.h>
#include <stdint.h>

struct log_line {
    char text[1024];
    size_t bytes;
};

void log_begin(struct log_line *line, const char *level, const char *event);
void log_text(struct log_line *line, const char *key, const char *value);   /* quoted if need be */
void log_quoted(struct log_line *line, const char *key, const char *value); /* always quoted */
void log_number(struct log_line *line, const char *key, uint64_t value);
void log_end(struct log_line *line);

#endif
