/*
 * Payloads that look like frames of the log they are appended to: what a client would store who
 * wanted a crash to end in a false recovery. Everything a client could guess is right, and even the
 * salt is a real one, that of another segment.
 */
#ifndef CRASH_FORGERY_H
#define CRASH_FORGERY_H

#include <stdbool.h>

#include "tests/crash/oracle.h"

/* Makes the content of a record that stands alone in the next frame of the log. False: no memory
 * left for it, or the log has no segment yet. */
bool forge_content(struct history *history, struct log_model *log, struct content *content);

#endif
