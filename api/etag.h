/*
 * The entity tag of a record, and lists of tags, as If-Match and If-None-Match have them (RFC 9110,
 * 8.8.3, 13.1.1, 13.1.2).
 */
#ifndef API_ETAG_H
#define API_ETAG_H

#include <stdbool.h>

#include "wal/wal.h"

/* Of the record at an offset, or of the end of the log if it is next_offset. The log's id, which is
 * new each time a log is made, is part of it: nothing of a deleted log passes for its successor's. */
#define ETAG_BYTES 64
void etag_print(char ret_etag[ETAG_BYTES], struct wal *wal, uint64_t offset);

/* Whether it is "*" or a list of one or more tags. */
bool etag_list_is_valid(const char *list);

bool etag_list_is_any(const char *list); /* "*" */

/* Whether a list has this tag, given with its quotes; it is read up to where it is malformed. The
 * weak comparison takes W/"a" for "a", the strong one never. */
enum etag_comparison { ETAG_STRONG, ETAG_WEAK };
bool etag_list_has(const char *list, const char *etag, enum etag_comparison comparison);

#endif
