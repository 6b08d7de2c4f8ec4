/* Lists of entity tags, as If-Match has them (RFC 9110, 8.8.3 and 13.1.1). */
#ifndef API_ETAG_H
#define API_ETAG_H

#include <stdbool.h>

/* Whether it is "*" or a list of one or more tags. */
bool etag_list_is_valid(const char *list);

bool etag_list_is_any(const char *list); /* "*" */

/* Whether a valid list has this tag, given with its quotes. The comparison is the strong one: a
 * weak tag is never the same. */
bool etag_list_has(const char *list, const char *etag);

#endif
