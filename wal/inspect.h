/*
 * Looking at the files of a log without changing them: every segment, frame and record, with what
 * is wrong and where. For tools that run beside a store, or without one; recovery (recover.c) has
 * eyes of its own, and tests hold the two against each other. Any thread.
 */
#ifndef WAL_INSPECT_H
#define WAL_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wal_io;

enum inspect_verdict {
    INSPECT_INTACT,
    INSPECT_TORN,    /* intact but for the end of a write that was never acknowledged */
    INSPECT_DAMAGED, /* something that had been durable is not as it was */
};

#define INSPECT_UNKNOWN UINT64_MAX

/* What of a segment is lost. */
enum inspect_lost {
    INSPECT_BYTES,   /* what stands between two positions */
    INSPECT_HEADER,  /* the header */
    INSPECT_FILE,    /* the whole file */
    INSPECT_END,     /* the end of a file that is not the last */
    INSPECT_OVERLAP, /* nothing: it has offsets that another has, too */
};

/* One place that is not as it was written. */
struct inspect_damage {
    uint64_t segment_no;
    uint64_t position, end;      /* bytes of the file; both 0: the file as a whole */
    uint64_t offset, offset_end; /* records concerned; the end may be INSPECT_UNKNOWN, and with no
                                     record concerned the two are the same */
    const char *what;            /* static text */
    bool known;                  /* a repair has set the bytes aside, and readers are told */
    enum inspect_lost lost;
    bool has_no_place; /* no frame that follows: whatever reads as one there is none of the log */
    /* private: the end of what stands before it */
    uint64_t before_end, before_frame, before_bytes;
    uint32_t before_crc;
};

/* A segment as its header says. */
struct inspect_segment {
    uint64_t segment_no, base_offset, base_bytes, base_frame, prev_end, created_ns, file_bytes;
    uint32_t prev_crc;
    uint8_t log[16];
    bool is_packed;     /* rewritten densely: see pack.c … */
    bool is_compressed; /* … with frames that are compressed */
};

enum inspect_item_kind { INSPECT_RECORD, INSPECT_SET, INSPECT_REMOVE, INSPECT_TRIM };

/* A frame whose header is whole, and where it stands. */
struct inspect_frame {
    uint64_t segment_no, position, bytes;
    uint64_t frame_no, base_offset, base_bytes, durable_frame, timestamp_ns;
    uint32_t body_bytes, items_bytes, record_count, item_count, crc, prev_crc;
    bool is_state, is_mark, is_clean, is_packed, is_compressed;
};

/* One item of a frame; the pointers stay good until the visit returns. */
struct inspect_item {
    enum inspect_item_kind kind;
    uint64_t offset; /* of a record; of a trim the new first offset */
    uint64_t timestamp_ns;
    const void *key; /* of the state; of a record its attributes */
    uint16_t key_bytes;
    const void *data;
    uint32_t data_bytes;
    bool is_intact;
};

/* What is told on the way; each may be NULL. A non-zero return ends the inspection and is returned. */
struct inspect_visitor {
    void *context;
    int (*segment)(void *context, const struct inspect_segment *segment);
    int (*frame)(void *context, const struct inspect_frame *frame);
    int (*item)(void *context, const struct inspect_frame *frame, const struct inspect_item *item);
    int (*progress)(void *context, uint64_t bytes, uint64_t total_bytes);
    uint32_t window_bytes; /* to read at a time, a multiple of 4096; 0: 8 MiB */
    bool direct;           /* past the page cache by O_DIRECT; false: after dropping what it has */
    bool live; /* the log may be in use: its oldest segments may go by a trim meanwhile */
};

struct inspect_end; /* private: what repair.c goes on from */

struct inspection {
    enum inspect_verdict verdict; /* known damage does not count */
    struct inspect_damage *damages;
    size_t damage_count, known_count;
    uint64_t segments, frames, records, bytes; /* that were intact; bytes of all files */
    uint64_t first_offset, next_offset;
    uint64_t torn_segment, torn_position,
        torn_end; /* of INSPECT_TORN, or beside damage; 0, 0: none */
    bool clean;   /* the log was closed in good order */
    uint8_t log[16];
    struct inspect_end *rest;
};

/*
 * Reads all of a log's folder. `dir` is a handle of open_dir(). What lies below the first offset has
 * been trimmed, and damage there is told of where recovery would meet it alone.
 *
 * Errors: -ENODATA: there is no segment in it; -ENOENT: those that were in it are gone; -EPROTONOSUPPORT: written by a newer version;
 * -ENOMEM; others from the disk, but not -EIO, which is damage.
 */
int wal_inspect(struct wal_io *io, int dir, const struct inspect_visitor *visitor,
                struct inspection *ret_inspection);
/* The same for a folder by its path, on system calls. */
int wal_inspect_path(const char *path, const struct inspect_visitor *visitor,
                     struct inspection *ret_inspection);

void inspection_done(struct inspection *inspection);

/* The number in the name of a segment's file; false: it is none. */
bool inspect_segment_number(const char *name, uint64_t *ret_number);

#endif
