/*
 * A sparse index of one segment: where some of its frames begin, at least INDEX_SPACING_BYTES
 * apart. It makes reads start close to what they look for and is never needed for correctness, so
 * running out of memory only makes it sparser. The caller locks. Internal to wal/.
 */
#ifndef WAL_INDEX_H
#define WAL_INDEX_H

#include <stdint.h>

#define INDEX_SPACING_BYTES (64u << 10)

struct index_entry {
    uint64_t offset;       /* base_offset of the frame */
    uint64_t timestamp_ns; /* of the frame */
    uint64_t position;     /* of the frame in its file */
};

struct frame_index {
    struct index_entry *entries; /* by position; offsets and timestamps never fall */
    uint32_t count, capacity;
};

void frame_index_done(struct frame_index *index);

/* Notes a frame that stands behind all noted ones; others, and those too close, are passed over. */
void frame_index_add(struct frame_index *index, uint64_t offset, uint64_t timestamp_ns,
                     uint64_t position);

/* Position of the last noted frame whose offset is at most `offset`, or `fallback`. */
uint64_t frame_index_find(const struct frame_index *index, uint64_t offset, uint64_t fallback);

/* Offset of the last noted frame whose timestamp is before timestamp_ns, or `fallback`. */
uint64_t frame_index_offset_before(const struct frame_index *index, uint64_t timestamp_ns,
                                   uint64_t fallback);

#endif
