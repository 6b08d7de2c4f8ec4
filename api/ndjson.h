/*
 * Bodies of application/x-ndjson: each line is a record. Lines are never parsed and are kept byte
 * for byte; they end with LF alone, so that a CR before it belongs to the record. Lines of no bytes
 * are skipped, and behind the last line LF may be there or not.
 */
#ifndef API_NDJSON_H
#define API_NDJSON_H

#include <stddef.h>
#include <stdint.h>

#include "wal/wal.h"

struct ndjson {
    struct wal_record *records; /* on the heap, the caller's; they point into the body */
    size_t count;
    uint64_t bytes; /* of the records together */
};

/*
 * Errors, with nothing to be freed:
 *   -ENODATA   there are only empty lines
 *   -EMSGSIZE  a line is longer than record_bytes_max; ret_ndjson->count lines that count came before
 *   -E2BIG     more than WAL_APPEND_RECORDS_MAX records
 *   -ENOMEM
 */
int ndjson_split(const char *body, size_t bytes, uint32_t record_bytes_max,
                 struct ndjson *ret_ndjson);

#endif
