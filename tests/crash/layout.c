#include "tests/crash/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/base.h"
#include "wal/compress.h"

struct naming {
    struct layout *layout;
    const char *log;
};

static int see_file(void *context, const char *name, bool is_dir)
{
    struct naming *naming = context;
    struct layout *layout = naming->layout;
    size_t length = strlen(name);

    if (is_dir || length < 4 || strcmp(name + length - 4, ".seg") != 0)
        return 0;
    must(layout->segment_count < LAYOUT_SEGMENTS_MAX);
    struct layout_segment *segment = &layout->segments[layout->segment_count++];

    *segment = (struct layout_segment){0};
    snprintf(segment->path, sizeof(segment->path), "data/logs/%s/%s", naming->log, name);
    return 0;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const struct layout_segment *)a)->path,
                  ((const struct layout_segment *)b)->path);
}

/* Walks the frames of one segment; each must stand where the one before it ends. */
static void read_frames(struct layout *layout, unsigned number)
{
    CLEANUP(unpacked_done) struct unpacked unpacked = {0};
    struct layout_segment *segment = &layout->segments[number];
    uint64_t position = WAL_BLOCK_BYTES;
    uint64_t frame_no = segment->header.base_frame;

    segment->end = position;
    while (position + WAL_BLOCK_BYTES <= segment->size) {
        struct frame_header header;
        const uint8_t *frame = segment->bytes + position, *items;

        if (frame_header_decode(&header, segment->header.salt, position, frame) < 0 ||
            header.frame_no != frame_no ||
            position + frame_bytes(header.body_bytes) > segment->size)
            return;
        if (frame_open(&unpacked, &header, frame + FRAME_HEADER_BYTES, true, &items) < 0)
            return;
        must(layout->frame_count < LAYOUT_FRAMES_MAX);
        layout->frames[layout->frame_count++] = (struct layout_frame){
            .segment = number,
            .position = position,
            .size = frame_bytes(header.body_bytes),
            .header = header,
        };
        position += frame_bytes(header.body_bytes);
        segment->end = position;
        frame_no++;
    }
}

void layout_read(struct layout *layout, struct sim_disk *disk, const char *log,
                 enum sim_image image)
{
    char path[LAYOUT_PATH_BYTES];
    struct naming naming = {.layout = layout, .log = log};

    layout->segment_count = layout->frame_count = 0;
    snprintf(path, sizeof(path), "data/logs/%s", log);
    if (sim_list(disk, path, image, see_file, &naming) < 0)
        return;
    qsort(layout->segments, layout->segment_count, sizeof(layout->segments[0]), compare_paths);
    for (unsigned i = 0; i < layout->segment_count; i++) {
        struct layout_segment *segment = &layout->segments[i];

        must(sim_copy_file(disk, segment->path, image, &segment->bytes, &segment->size) == 0);
        segment->is_readable = segment->size >= WAL_BLOCK_BYTES &&
                               segment_header_decode(&segment->header, segment->bytes) == 0;
        if (segment->is_readable)
            read_frames(layout, i);
    }
}

void layout_done(struct layout *layout)
{
    for (unsigned i = 0; i < layout->segment_count; i++)
        free(layout->segments[i].bytes);
    layout->segment_count = layout->frame_count = 0;
}
