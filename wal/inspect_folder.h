/*
 * What is in the folder of a log: which files are segments of it, by their names and headers, and
 * which bytes repairs have set aside. Internal to wal/.
 */
#ifndef WAL_INSPECT_FOLDER_H
#define WAL_INSPECT_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wal/format.h"

struct wal_io;

/* A file with the name of a segment. */
struct inspect_candidate {
    uint64_t number, file_bytes;
    struct segment_header header;
    const char *fault; /* NULL: the header is whole, and of this log */
};

struct inspect_range {
    uint64_t number, begin, end;
};

/* `io` and `dir`, a handle of open_dir(), are the caller's; the rest begins as zeros. */
struct inspect_folder {
    struct wal_io *io;
    int dir;
    bool direct;                          /* by O_DIRECT */
    bool live;                            /* the oldest segments may be trimmed meanwhile */
    struct inspect_candidate *candidates; /* by number */
    size_t candidate_count, candidate_room;
    struct inspect_range *set_aside;
    size_t set_aside_count, set_aside_room;
    uint64_t total_bytes; /* of the segments */
};

/* Looks at all files. *ret_log becomes the id of the log, if any segment tells it.
 * Errors: -ENODATA: there is no segment; -EPROTONOSUPPORT; -ENOMEM; others from the disk, but not -EIO,
 * which is a fault. */
int inspect_folder_list(struct inspect_folder *folder, uint8_t ret_log[16]);
void inspect_folder_done(struct inspect_folder *folder);

/* A handle for reading. Errors: from the disk. */
int inspect_folder_open(const struct inspect_folder *folder, uint64_t segment_no);

/* The same for a segment that was listed. A store may have packed it meanwhile: then its header and
 * its length are read anew. */
int inspect_folder_reopen(const struct inspect_folder *folder, struct inspect_candidate *candidate);

/* Whether copies, one or several, keep the bytes [begin, end) of a segment. */
bool inspect_folder_keeps(const struct inspect_folder *folder, uint64_t segment_no, uint64_t begin,
                          uint64_t end);

/* Of the file that keeps the bytes [begin, end) of a segment when a repair has set them aside. */
#define DAMAGED_NAME_BYTES 96
void damaged_name(char ret_name[DAMAGED_NAME_BYTES], uint64_t segment_no, uint64_t begin,
                  uint64_t end);

#endif
