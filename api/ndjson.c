#include "api/ndjson.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The next line that is not empty; NULL: there is none. *at moves behind it. */
static const char *next_line(const char **at, const char *end, size_t *ret_bytes)
{
    while (*at < end && **at == '\n')
        (*at)++;
    if (*at == end)
        return NULL;
    const char *line = *at;
    const char *line_end = memchr(line, '\n', (size_t)(end - line));
    if (!line_end)
        line_end = end;
    *at = line_end;
    *ret_bytes = (size_t)(line_end - line);
    return line;
}

/* Counts, and sees that every line can be a record. */
static int measure(const char *body, size_t bytes, uint32_t record_bytes_max, struct ndjson *ndjson)
{
    const char *at = body;
    size_t line_bytes;
    while (next_line(&at, body + bytes, &line_bytes)) {
        if (line_bytes > record_bytes_max)
            return -EMSGSIZE;
        if (++ndjson->count > WAL_APPEND_RECORDS_MAX)
            return -E2BIG;
        ndjson->bytes += line_bytes;
    }
    return ndjson->count > 0 ? 0 : -ENODATA;
}

int ndjson_split(const char *body, size_t bytes, uint32_t record_bytes_max,
                 struct ndjson *ret_ndjson)
{
    *ret_ndjson = (struct ndjson){0};
    int rc = bytes > 0 ? measure(body, bytes, record_bytes_max, ret_ndjson) : -ENODATA;
    if (rc < 0)
        return rc;
    struct wal_record *records = calloc(ret_ndjson->count, sizeof(*records));
    if (!records)
        return -ENOMEM;

    const char *at = body;
    for (size_t i = 0; i < ret_ndjson->count; i++)
        records[i].data = next_line(&at, body + bytes, &records[i].size);
    ret_ndjson->records = records;
    return 0;
}
