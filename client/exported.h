/*
 * What export writes and import reads: lines of JSON (UTF-8, each with an LF at its end).
 *
 *   {"wald_export":1,"log":"orders","id":"27fe…","first_offset":5,"end_offset":7,"settings":{…}}
 *   {"offset":5,"timestamp":"2026-11-22T10:00:00.000123Z","data":"hello"}
 *   {"offset":6,"timestamp":"2026-11-22T10:00:00.000456Z","data_base64":"AP8="}
 *   {"wald_export_end":1,"records":2,"sha256":"9f86…"}
 *
 * The first says what it is, the last how many records there are and the SHA-256 of all bytes before
 * it. Between them stand the records as the service sends them: in base64 where they are not UTF-8.
 * Without its last line an export is cut, and with another sum it was changed.
 */
#ifndef CLIENT_EXPORTED_H
#define CLIENT_EXPORTED_H

#include "client/codec.h"
#include "client/lines.h"

#define EXPORT_FORMAT 1

/* A record of 16 MiB, each byte of it escaped as six, and some room. */
#define EXPORT_LINE_BYTES_MAX (100u << 20)

struct exported {
    const char *name;       /* of the file, for a person */
    uint64_t records;       /* that were read */
    uint64_t records_about; /* there are so many, says the first line */
    struct buffer settings; /* of the log, as JSON; or empty */
    /* private */
    struct lines lines;
    struct digest *digest;
};

/* Reads the first line. Returns 0, or the status to exit with when it has been said what is wrong. */
int exported_begin(struct exported *ret_exported, int fd, const char *name);
void exported_done(struct exported *exported);

/* Puts the next record into *record. *ret_is_end: there was none, and all of it was right. */
int exported_next(struct exported *exported, struct buffer *record, bool *ret_is_end);

#endif
