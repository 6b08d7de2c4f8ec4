/* Heads of answers that are not written by the library. */
#ifndef API_HEAD_H
#define API_HEAD_H

#include <stdbool.h>

#include "api/text.h"

/* The line of the status and that of the date. For one thread. */
void head_begin(struct text *head, unsigned status, const char *reason);

/* One more line; `head` is a struct text. Always true: the text remembers what memory was short for. */
bool head_add(void *head, const char *name, const char *value);

#endif
