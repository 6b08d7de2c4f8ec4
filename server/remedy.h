/* What an operator can do about a data directory that could not be opened. */
#ifndef SERVER_REMEDY_H
#define SERVER_REMEDY_H

#include <stddef.h>

/* The end of a sentence that begins with what store_open() failed with: "; do this". Empty where
 * nothing is known. `error` is the negative errno, `path` the data directory. */
void remedy_describe(const char *path, int error, char *ret_text, size_t bytes);

#endif
