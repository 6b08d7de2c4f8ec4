/* What an inspection knows of the end of a log: where a repair goes on. Internal to wal/. */
#ifndef WAL_INSPECT_END_H
#define WAL_INSPECT_END_H

#include "wal/format.h"
#include "wal/inspect.h"
#include "wal/state.h"

struct inspect_end {
    struct segment_header last; /* of the last segment whose header is whole */
    uint64_t file_bytes;        /* of it */
    struct state state;         /* after all that is intact */
    /* Behind the last frame. If damage stands there up to lost_end, how many records and bytes are in
     * that is not known: the offset and the bytes are those of as many as fit. */
    uint64_t position, frame_no, offset, bytes, timestamp_ns;
    uint64_t lost_end; /* 0: no */
    uint32_t crc;
    /* Behind the last frame that was taken, whatever was passed over after it. */
    uint64_t taken_position, taken_frame;
    uint32_t taken_crc;
    bool bytes_unknown;   /* a frame before it could not be read: the next one tells */
    bool has_state_frame; /* the last segment begins with its STATE frame */
};

#endif
