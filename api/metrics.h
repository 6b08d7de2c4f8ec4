/* A snapshot in the text format of Prometheus, version 0.0.4. */
#ifndef API_METRICS_H
#define API_METRICS_H

#include "api/snapshot.h"
#include "api/text.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

void metrics_add(struct text *text, const struct snapshot *snapshot,
                 const struct log_samples *logs);

/* The value of a label, escaped, without its quotes. UTF-8 stays as it is. */
void metrics_add_escaped(struct text *text, const char *value);

#endif
