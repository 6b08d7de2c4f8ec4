#include "wal/index.h"

#include <stdlib.h>
#include <string.h>

void frame_index_done(struct frame_index *index)
{
    free(index->entries);
    memset(index, 0, sizeof(*index));
}

void frame_index_add(struct frame_index *index, uint64_t offset, uint64_t timestamp_ns,
                     uint64_t position)
{
    if (index->count > 0 &&
        position < index->entries[index->count - 1].position + INDEX_SPACING_BYTES)
        return;

    if (index->count == index->capacity) {
        uint32_t capacity = index->capacity ? index->capacity * 2 : 4;
        struct index_entry *entries = realloc(index->entries, capacity * sizeof(*entries));
        if (!entries)
            return;
        index->entries = entries;
        index->capacity = capacity;
    }
    index->entries[index->count++] = (struct index_entry){offset, timestamp_ns, position};
}

uint64_t frame_index_find(const struct frame_index *index, uint64_t offset, uint64_t fallback)
{
    uint32_t low = 0, high = index->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (index->entries[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? index->entries[low - 1].position : fallback;
}

uint64_t frame_index_offset_before(const struct frame_index *index, uint64_t timestamp_ns,
                                   uint64_t fallback)
{
    uint32_t low = 0, high = index->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (index->entries[middle].timestamp_ns < timestamp_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? index->entries[low - 1].offset : fallback;
}
