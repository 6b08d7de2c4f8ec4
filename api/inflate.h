/* Bodies compressed with gzip (RFC 1952), inflated in memory and never beyond a limit. */
#ifndef API_INFLATE_H
#define API_INFLATE_H

#include <stddef.h>

/*
 * Inflates `data`, one member of gzip or several behind each other. *ret_inflated is the caller's,
 * to be freed, and may be NULL if *ret_bytes is 0. At no time is more memory taken than bytes_max
 * and what zlib itself needs (some 44 KiB).
 * Errors:
 *   -EMSGSIZE  it would be more than bytes_max; nothing behind that was inflated
 *   -EBADMSG   not gzip, damaged, cut off, or followed by something else
 *   -ENOMEM
 */
int inflate_gzip(const void *data, size_t bytes, size_t bytes_max, char **ret_inflated,
                 size_t *ret_bytes);

#endif
