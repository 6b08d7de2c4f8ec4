#include "wal/base.h"

#include <stdio.h>
#include <stdlib.h>

void must_failed(const char *condition, const char *file, int line, const char *function)
{
    fprintf(stderr, "level=fatal event=assertion_failed condition=\"%s\" at=%s:%d function=%s\n",
            condition, file, line, function);
    abort();
}
