/* Help in two columns, for commands and settings alike. */
#ifndef CLIENT_WRAP_H
#define CLIENT_WRAP_H

#include <stdio.h>

/* Prints words from a column on, over as many lines as they need and a line's end behind them, `at`
 * being the column that the cursor is in. */
void wrap_print(FILE *out, unsigned column, const char *text, unsigned at);

#endif
