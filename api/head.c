#include "api/head.h"

#include <time.h>

/* The date of the current second, as headers have it: most answers share it with others. */
static const char *date_now(void)
{
    static time_t made_at = -1;
    static char date[64];
    time_t now = time(NULL);
    if (now != made_at) {
        struct tm utc;
        gmtime_r(&now, &utc);
        strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc);
        made_at = now;
    }
    return date;
}

void head_begin(struct text *head, unsigned status, const char *reason)
{
    text_add_string(head, "HTTP/1.1 ");
    text_add_number(head, status);
    text_add(head, " ", 1);
    text_add_string(head, reason);
    text_add(head, "\r\n", 2);
    head_add(head, "Date", date_now());
}

bool head_add(void *head, const char *name, const char *value)
{
    text_add_string(head, name);
    text_add(head, ": ", 2);
    text_add_string(head, value);
    text_add(head, "\r\n", 2);
    return true;
}
