/*
 * Where the frames of a log stand on the simulated disk, found without asking the log: the test's
 * own reading of the format, for forging, breaking and judging.
 */
#ifndef CRASH_LAYOUT_H
#define CRASH_LAYOUT_H

#include "tests/sim/sim_disk.h"
#include "wal/format.h"

#define LAYOUT_SEGMENTS_MAX 128
#define LAYOUT_FRAMES_MAX 2048
#define LAYOUT_PATH_BYTES 96

struct layout_segment {
    char path[LAYOUT_PATH_BYTES];
    uint8_t *bytes; /* of the file */
    size_t size;
    struct segment_header header;
    bool is_readable; /* the header is whole */
    uint64_t end;     /* behind the last frame of the chain */
};

struct layout_frame {
    unsigned segment;
    uint64_t position, size;
    struct frame_header header;
};

struct layout {
    struct layout_segment segments[LAYOUT_SEGMENTS_MAX];
    struct layout_frame frames[LAYOUT_FRAMES_MAX];
    unsigned segment_count, frame_count;
};

/* Reads all segments of a log, oldest first, and the chain of whole frames in each. */
void layout_read(struct layout *layout, struct sim_disk *disk, const char *log,
                 enum sim_image image);
void layout_done(struct layout *layout);

#endif
