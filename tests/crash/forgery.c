#include "tests/crash/forgery.h"

#include <string.h>

#include "tests/crash/history.h"
#include "tests/crash/layout.h"
#include "wal/base.h"

static struct layout own, other;

/* A salt that is known to whoever has read some old file; that of this segment is not. */
static uint64_t known_salt(struct history *history, const struct layout_segment *target)
{
    uint64_t salt = 0;

    for (unsigned i = 0; i < history->swarm.log_count && salt == 0; i++) {
        layout_read(&other, history->disk, history->logs[i].name, SIM_CACHED);
        for (unsigned j = 0; j < other.segment_count; j++) {
            if (other.segments[j].is_readable && strcmp(other.segments[j].path, target->path) != 0)
                salt = other.segments[j].header.salt;
        }
        layout_done(&other);
    }
    return salt;
}

/* What a frame of this number would look like to a recovery that stands before it. */
static void forge_frame(uint8_t *block, const struct layout_segment *segment, uint64_t position,
                        const struct frame_header *last, uint32_t ahead, uint64_t salt)
{
    struct frame_header header = {
        .base_offset = last->base_offset + last->record_count + 1,
        .base_bytes = last->base_bytes,
        .frame_no = last->frame_no + 1 + ahead,
        .durable_frame = last->frame_no + 1 + ahead,
        .position = position,
        .timestamp_ns = segment->header.created_ns,
        .prev_crc = last->crc,
        .flags = FRAME_MARK,
    };

    frame_header_encode(&header, salt, block);
}

static bool forge(struct history *history, struct content *content)
{
    struct pools *pools = history->pools;
    uint32_t blocks = random_between(&history->random, 1, 4);
    uint32_t head = WAL_BLOCK_BYTES - FRAME_HEADER_BYTES - ITEM_HEADER_BYTES;
    uint32_t size = head + blocks * WAL_BLOCK_BYTES;
    const struct layout_frame *last = &own.frames[own.frame_count - 1];
    const struct layout_segment *segment = &own.segments[last->segment];

    if (pools->stored_bytes + size > STORED_BYTES_MAX)
        return false;
    uint8_t *bytes = pools->stored + pools->stored_bytes;
    uint64_t salt = known_salt(history, segment);

    pools->stored_bytes += size;
    content->kind = CONTENT_NOISE;
    content->size = size;
    content->attribute_kind = 0;
    content_write(content, bytes);
    for (uint32_t i = 0; i < blocks; i++)
        forge_frame(bytes + head + (size_t)i * WAL_BLOCK_BYTES, segment,
                    segment->end + (uint64_t)(i + 1) * WAL_BLOCK_BYTES, &last->header, i + 1, salt);
    content->kind = CONTENT_STORED;
    content->stored = bytes;
    return true;
}

bool forge_content(struct history *history, struct log_model *log, struct content *content)
{
    layout_read(&own, history->disk, log->name, SIM_CACHED);
    bool is_done = own.frame_count > 0 && forge(history, content);

    layout_done(&own);
    return is_done;
}
