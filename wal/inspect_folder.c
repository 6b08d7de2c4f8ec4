#include "wal/inspect_folder.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/base.h"
#include "wal/inspect.h"
#include "wal/io.h"
#include "wal/log.h"

/* Room for one more. Errors: -ENOMEM. */
static int grow(void **list, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return 0;
    size_t wanted = *room ? *room * 2 : 16;
    void *larger = realloc(*list, wanted * size);
    if (!larger)
        return -ENOMEM;
    *list = larger;
    *room = wanted;
    return 0;
}

bool inspect_segment_number(const char *name, uint64_t *ret_number)
{
    return segment_number(name, ret_number);
}

void damaged_name(char ret_name[DAMAGED_NAME_BYTES], uint64_t segment_no, uint64_t begin,
                  uint64_t end)
{
    snprintf(ret_name, DAMAGED_NAME_BYTES, "%020" PRIu64 ".seg.damaged.%" PRIu64 "-%" PRIu64,
             segment_no, begin, end);
}

static bool read_set_aside(const char *name, struct inspect_range *ret_range)
{
    char expected[DAMAGED_NAME_BYTES];
    unsigned long long number, begin, end;
    if (sscanf(name, "%20llu.seg.damaged.%20llu-%20llu", &number, &begin, &end) != 3)
        return false;
    *ret_range = (struct inspect_range){number, begin, end};
    damaged_name(expected, number, begin, end);
    return strcmp(name, expected) == 0;
}

static int visit_name(void *context, const char *name, bool is_dir)
{
    struct inspect_folder *folder = context;
    uint64_t number;
    struct inspect_range range;
    if (is_dir)
        return 0;
    if (segment_number(name, &number)) {
        void *list = folder->candidates;
        int rc = grow(&list, folder->candidate_count, &folder->candidate_room,
                      sizeof(*folder->candidates));
        folder->candidates = list;
        if (rc == 0)
            folder->candidates[folder->candidate_count++] =
                (struct inspect_candidate){.number = number};
        return rc;
    }
    if (read_set_aside(name, &range)) {
        void *list = folder->set_aside;
        int rc = grow(&list, folder->set_aside_count, &folder->set_aside_room,
                      sizeof(*folder->set_aside));
        folder->set_aside = list;
        if (rc == 0)
            folder->set_aside[folder->set_aside_count++] = range;
        return rc;
    }
    return 0;
}

static int compare_candidates(const void *a, const void *b)
{
    const struct inspect_candidate *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

int inspect_folder_open(const struct inspect_folder *folder, uint64_t number)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, number);
    return folder->io->ops->open_file(folder->io, folder->dir, name,
                                      WAL_OPEN_READ |
                                          (folder->direct ? WAL_OPEN_DIRECT : WAL_OPEN_UNCACHED));
}

int inspect_folder_reopen(const struct inspect_folder *folder, struct inspect_candidate *candidate)
{
    struct wal_io *io = folder->io;
    _Alignas(WAL_BLOCK_BYTES) uint8_t block[WAL_BLOCK_BYTES];
    struct segment_header header;
    int handle = inspect_folder_open(folder, candidate->number);
    if (handle < 0 || io->ops->read(io, handle, block, sizeof(block), 0) != sizeof(block) ||
        segment_header_decode(&header, block) < 0 || !segment_is_packed(&header) ||
        header.segment_no != candidate->number || header.salt == candidate->header.salt ||
        memcmp(&header.log, &candidate->header.log, sizeof(header.log)) != 0)
        return handle;
    int64_t file_bytes = io->ops->file_bytes(io, handle);
    if (file_bytes >= 0) {
        candidate->header = header;
        candidate->file_bytes = (uint64_t)file_bytes;
    }
    return handle;
}

static int load_header(struct inspect_folder *folder, struct inspect_candidate *candidate)
{
    struct wal_io *io = folder->io;
    _Alignas(WAL_BLOCK_BYTES) uint8_t block[WAL_BLOCK_BYTES];
    int handle = inspect_folder_open(folder, candidate->number);
    if (handle < 0)
        return handle;
    int64_t got = io->ops->read(io, handle, block, sizeof(block), 0);
    int64_t file_bytes = io->ops->file_bytes(io, handle);
    io->ops->close(io, handle);
    if (file_bytes < 0)
        return (int)file_bytes;
    if (got < 0 && got != -EIO)
        return (int)got;
    candidate->file_bytes = (uint64_t)file_bytes;
    folder->total_bytes += candidate->file_bytes;
    int rc = got == WAL_BLOCK_BYTES ? segment_header_decode(&candidate->header, block) : -EBADMSG;
    if (rc == -EPROTONOSUPPORT)
        return rc;
    if (got == -EIO)
        candidate->fault = "the header of the segment cannot be read";
    else if (got < WAL_BLOCK_BYTES)
        candidate->fault = "the file ends within the header of the segment";
    else if (rc < 0)
        candidate->fault = "the header of the segment does not match its checksum";
    else if (candidate->header.segment_no != candidate->number ||
             !segment_header_is_in_range(&candidate->header))
        candidate->fault = "the header is that of another segment";
    return 0;
}

/* Segments go from the oldest on: with one that is gone all before it are. */
static void drop_oldest(struct inspect_folder *folder, size_t count)
{
    folder->candidate_count -= count;
    memmove(folder->candidates, folder->candidates + count,
            folder->candidate_count * sizeof(*folder->candidates));
}

static int list_files(struct inspect_folder *folder)
{
    int rc = folder->io->ops->list(folder->io, folder->dir, visit_name, folder);
    if (rc < 0)
        return rc;
    if (folder->candidate_count == 0)
        return -ENODATA;
    qsort(folder->candidates, folder->candidate_count, sizeof(*folder->candidates),
          compare_candidates);
    for (size_t i = 0; i < folder->candidate_count;) {
        rc = load_header(folder, &folder->candidates[i]);
        if (rc == -ENOENT && folder->live && i + 1 < folder->candidate_count) {
            drop_oldest(folder, i + 1);
            i = 0;
            continue;
        }
        if (rc < 0)
            return rc;
        i++;
    }
    return 0;
}

/* How many segments say that they are of this log. */
static size_t segments_of(const struct inspect_folder *folder, const struct wal_uuid *id)
{
    size_t count = 0;
    for (size_t i = 0; i < folder->candidate_count; i++) {
        const struct inspect_candidate *candidate = &folder->candidates[i];
        count += !candidate->fault && memcmp(&candidate->header.log, id, sizeof(*id)) == 0;
    }
    return count;
}

/* Whether the frame that was written together with this header stands behind it. */
static bool fits_its_file(const struct inspect_folder *folder,
                          const struct inspect_candidate *candidate)
{
    _Alignas(WAL_BLOCK_BYTES) uint8_t block[WAL_BLOCK_BYTES];
    struct frame_header frame;
    int handle = inspect_folder_open(folder, candidate->number);
    if (handle < 0)
        return false;
    int64_t got = folder->io->ops->read(folder->io, handle, block, sizeof(block), WAL_BLOCK_BYTES);
    folder->io->ops->close(folder->io, handle);
    return got == WAL_BLOCK_BYTES &&
           frame_header_decode(&frame, candidate->header.salt, WAL_BLOCK_BYTES, block) == 0;
}

/* Of which log this is: the one that most segments are of, and of these at least one whole. */
static void mark_strangers(struct inspect_folder *folder, uint8_t ret_log[16])
{
    const struct wal_uuid *id = NULL;
    size_t most = 0;
    for (size_t i = folder->candidate_count; i-- > 0;) {
        const struct inspect_candidate *candidate = &folder->candidates[i];
        if (candidate->fault)
            continue;
        size_t count = segments_of(folder, &candidate->header.log);
        if (!id || (count > most && fits_its_file(folder, candidate))) {
            most = !id && !fits_its_file(folder, candidate) ? 0 : count;
            id = &candidate->header.log;
        }
    }
    if (!id)
        return;
    memcpy(ret_log, id, sizeof(*id));
    for (size_t i = 0; i < folder->candidate_count; i++) {
        struct inspect_candidate *candidate = &folder->candidates[i];
        if (!candidate->fault && memcmp(&candidate->header.log, ret_log, sizeof(*id)) != 0)
            candidate->fault = "the segment is of another log";
    }
}

int inspect_folder_list(struct inspect_folder *folder, uint8_t ret_log[16])
{
    int rc = list_files(folder);
    if (rc == 0)
        mark_strangers(folder, ret_log);
    return rc;
}

void inspect_folder_done(struct inspect_folder *folder)
{
    free(folder->candidates);
    free(folder->set_aside);
}

bool inspect_folder_keeps(const struct inspect_folder *folder, uint64_t segment_no, uint64_t begin,
                          uint64_t end)
{
    uint64_t position = begin;
    bool found = true;
    while (found && position < end) {
        found = false;
        for (size_t i = 0; i < folder->set_aside_count && !found; i++) {
            const struct inspect_range *range = &folder->set_aside[i];
            found =
                range->number == segment_no && range->begin <= position && range->end > position;
            position = found ? range->end : position;
        }
    }
    if (begin < end)
        return found;
    /* Something is missing there: a repair has copied what stood in its place, if anything did. */
    for (size_t i = 0; i < folder->set_aside_count; i++) {
        const struct inspect_range *range = &folder->set_aside[i];
        if (range->number == segment_no && range->begin == position)
            return true;
    }
    return false;
}
