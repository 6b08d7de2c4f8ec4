/*
 * The file of a packed segment: written from the frames of a sealed one, each of which is verified
 * on the way, and read back. Nothing here knows of open logs. Any thread. Internal to wal/.
 */
#ifndef WAL_PACK_FILE_H
#define WAL_PACK_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "wal/buffer.h"
#include "wal/format.h"
#include "wal/index.h"
#include "wal/io.h"

struct pack_file {
    struct wal_io *io;
    struct buffer_pool *pool;
    int dir;                    /* of the log */
    const char *from_name;      /* the sealed segment */
    struct segment_header from; /* its header, and … */
    struct segment_seal
        seal; /* … in original_end to end_bytes what its successor says of its end */
    /* Called with every so many bytes that were read or written; non-zero ends the work and is
     * returned. */
    int (*pace)(void *context, uint64_t bytes);
    void *context;
    bool compress;
    bool is_dense; /* as frames go: unless compression soon makes it smaller, that is left */

    /* What came of it. */
    struct segment_header header; /* of the packed file */
    uint64_t file_bytes;
    struct frame_index index;
};

/*
 * Makes the file `name`, synced and read back; frame_index_done() on the index in any case.
 * Errors: -EBADMSG: the sealed segment is not as it was written; -EPROTO: the new file is not as it
 * has to be; -EFBIG: it would not be shorter than the sealed one; what pace() returned; others from the
 * disk. The file may be there all the same.
 */
int pack_file_write(struct pack_file *file, const char *name);

#endif
