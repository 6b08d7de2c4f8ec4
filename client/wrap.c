#include "client/wrap.h"

#include <string.h>

#define WIDTH 98u

void wrap_print(FILE *out, unsigned column, const char *text, unsigned at)
{
    while (*text) {
        unsigned word = (unsigned)strcspn(text, " ");
        if (at > column && at + 1 + word > WIDTH) {
            fputc('\n', out);
            at = 0;
        }
        if (at < column) {
            fprintf(out, "%*s", (int)(column - at), "");
            at = column;
        } else {
            at += (unsigned)fprintf(out, " ");
        }
        at += (unsigned)fprintf(out, "%.*s", (int)word, text);
        text += word + strspn(text + word, " ");
    }
    fputc('\n', out);
}
