/*
 * Packing: a sealed segment of many small frames becomes one of few. The new file is written beside
 * the old one as pack.tmp, synced, read back from the disk and held against the old one, and only
 * then takes its name, by one rename. A crash leaves the name with the old file or the new one, which
 * hold the same records and changes; a pack.tmp that is left over recovery removes.
 *
 * Two chores: writing, which a worker of its own does at a rate that is set; and taking the name, in
 * the lane of rotations and trims, so that the syncs of a log's directory never overlap and a file
 * that a trim removed does not come back. Readers that have the old file open go on reading it.
 *
 * Whatever goes wrong, the segment stays as it was: nothing here fails a log. A segment that is not
 * as it was written is never packed, since that would give its damage fresh checksums.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "wal/log.h"
#include "wal/pack_file.h"

/* Less than an eighth of a file is not worth reading and writing it for. */
#define GAIN_PART 8
/* So much has to be free on the disk beside what is to stay free, in files like the old one: one is
 * for the new file, the other for what is appended meanwhile. */
#define ROOM_FILES 2
/* Longest sleep of the worker before it looks whether the log is wanted closed. */
#define NAP_US 20000

struct pack {
    struct chore chore;
    struct wal *wal;
    struct pack_file file;
    uint64_t from_bytes; /* of the old file */
    int error;
    bool named;            /* the new file has the name of the segment */
    _Atomic bool unwanted; /* the log is being closed */
};

/* ---- which one ---- */

/* A file of this size at least would come of it. */
static uint64_t least_bytes(const struct segment *segment, const struct segment *next)
{
    uint64_t records = next->header.base_offset - segment->header.base_offset;
    uint64_t bytes = next->header.base_bytes - segment->header.base_bytes;
    return 2ull * WAL_BLOCK_BYTES + bytes + records * ITEM_HEADER_BYTES;
}

static bool is_worth_it(uint64_t from_bytes, uint64_t to_bytes)
{
    return to_bytes + from_bytes / GAIN_PART <= from_bytes;
}

static bool can_be_packed(const struct segment *segment, const struct segment *next,
                          uint64_t first_offset)
{
    const struct segment_header *header = &segment->header;
    return header->kind == SEGMENT_APPENDED && !segment->pack_tried &&
           segment->end_offset > first_offset &&
           header->segment_no + 1 == next->header.segment_no &&
           segment->end == next->header.prev_end && next->header.base_bytes >= header->base_bytes;
}

/* The oldest segment that can be packed: its facts are copied, for it may be trimmed meanwhile. */
static bool find_candidate_locked(struct wal *wal, struct pack *pack)
{
    for (size_t i = 0; i + 1 < wal->segment_count; i++) {
        struct segment *segment = wal->segments[i], *next = wal->segments[i + 1];
        const bool is_dense = !is_worth_it(segment->file_bytes, least_bytes(segment, next));
        if (!can_be_packed(segment, next, wal->first_offset) || (is_dense && !pack->file.compress))
            continue;
        segment->pack_tried = true;
        pack->from_bytes = segment->file_bytes;
        pack->file.is_dense = is_dense;
        pack->file.from = segment->header;
        pack->file.seal = (struct segment_seal){
            .original_end = next->header.prev_end,
            .original_crc = next->header.prev_crc,
            .end_frame = next->header.base_frame,
            .end_offset = next->header.base_offset,
            .end_bytes = next->header.base_bytes,
        };
        return true;
    }
    return false;
}

/* The segment that is being packed; NULL: trimmed meanwhile. */
static struct segment *find_segment_locked(struct pack *pack)
{
    struct wal *wal = pack->wal;
    for (size_t i = 0; i + 1 < wal->segment_count; i++) {
        if (wal->segments[i]->header.segment_no == pack->file.from.segment_no)
            return wal->segments[i];
    }
    return NULL;
}

/* ---- writing: a worker ---- */

static bool is_unwanted(struct pack *pack)
{
    struct wal *wal = pack->wal;
    pthread_mutex_lock(&wal->lock);
    bool unwanted = wal->closing || wal->failed || !find_segment_locked(pack);
    pthread_mutex_unlock(&wal->lock);
    return unwanted;
}

/* Gives back what waits for the worker and has become unwanted: a log that is being closed waits for
 * that. */
static void give_back_unwanted(struct store *store)
{
    if (!atomic_exchange(&store->pack_unwanted, false))
        return;
    struct chore *unwanted = NULL, **end = &store->lanes[LANE_PACK].chores;
    pthread_mutex_lock(&store->chore_lock);
    while (*end) {
        struct chore *chore = *end;
        if (!atomic_load(&chore->wal->packing->unwanted)) {
            end = &chore->next;
            continue;
        }
        *end = chore->next;
        chore->next = unwanted;
        unwanted = chore;
    }
    store->lanes[LANE_PACK].chores_end = end;
    pthread_mutex_unlock(&store->chore_lock);
    while (unwanted) {
        struct chore *chore = unwanted;
        unwanted = chore->next;
        chore->wal->packing->error = -ECANCELED;
        chore_hand_back(chore->committer, chore);
    }
}

/* The last room on a disk is for appends, which would be refused while the new file takes it. */
static bool has_room(struct pack *pack, unsigned files)
{
    struct store *store = pack->wal->store;
    const uint64_t kept = atomic_load_explicit(&store->kept_free, memory_order_relaxed);
    uint64_t free_bytes, all_bytes;
    return store_space(store, &free_bytes, &all_bytes) < 0 ||
           (free_bytes >= kept && free_bytes - kept >= files * pack->from_bytes);
}

/* Whether others took so much of it that they will want what the new file takes. */
static bool is_in_the_way(struct pack *pack)
{
    const struct store *store = pack->wal->store;
    return atomic_load_explicit(&store->kept_free, memory_order_relaxed) > 0 &&
           !has_room(pack, ROOM_FILES - 1);
}

/* Keeps the worker to its rate: what one log took too much of, the next waits for. Errors: -ENOSPC;
 * -ECANCELED. */
static int pace(void *context, uint64_t bytes)
{
    struct pack *pack = context;
    struct store *store = pack->wal->store;
    const uint64_t rate = store->worker_count > 0 ? store->config.pack_bytes_per_s : 0;
    if (is_in_the_way(pack))
        return -ENOSPC;
    if (rate == 0) {
        give_back_unwanted(store);
        return is_unwanted(pack) ? -ECANCELED : 0;
    }
    uint64_t now = store_now_us(store);
    store->pack_due_us = max_u64(store->pack_due_us, now) + bytes * 1000000 / rate;
    for (;;) {
        give_back_unwanted(store);
        if (is_unwanted(pack))
            return -ECANCELED;
        now = store_now_us(store);
        if (now >= store->pack_due_us)
            return 0;
        uint64_t nap = min_u64(store->pack_due_us - now, NAP_US);
        nanosleep(&(struct timespec){.tv_nsec = (long)nap * 1000}, NULL);
    }
}

static int write_packed(struct pack *pack, int dir)
{
    struct wal_io *io = pack->wal->store->io;
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, pack->file.from.segment_no);
    if (is_unwanted(pack))
        return -ECANCELED;
    int rc = io->ops->remove_file(io, dir, PACKED_SEGMENT_NAME);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (!has_room(pack, ROOM_FILES))
        return -ENOSPC;
    pack->file.dir = dir;
    pack->file.from_name = name;
    rc = pack_file_write(&pack->file, PACKED_SEGMENT_NAME);
    pack->file.from_name = NULL;
    /* Not worth it after all: attributes, state, or what does not fit well into the frames. */
    if (rc == -EFBIG || (rc == 0 && !is_worth_it(pack->from_bytes, pack->file.file_bytes)))
        rc = -ECANCELED;
    return rc;
}

static void write_run(struct chore *chore)
{
    struct wal *wal = chore->wal;
    struct wal_io *io = wal->store->io;
    struct pack *pack = wal->packing;
    int dir = log_open_dir(wal);
    pack->error = dir < 0 ? dir : write_packed(pack, dir);
    if (dir < 0)
        return;
    if (pack->error < 0)
        io->ops->remove_file(io, dir, PACKED_SEGMENT_NAME);
    io->ops->close(io, dir);
}

/* ---- taking the name: a worker, in the lane of rotations ---- */

/* Whether the file with the segment's name is the new one, after a rename that may have failed. */
static bool has_name(struct pack *pack, int dir, const char *name)
{
    struct store *store = pack->wal->store;
    struct wal_io *io = store->io;
    struct segment_header header;
    size_t capacity;
    int handle = io->ops->open_file(io, dir, name, WAL_OPEN_READ);
    if (handle < 0)
        return false;
    uint8_t *block = buffer_get(&store->scratch, WAL_BLOCK_BYTES, &capacity);
    bool is_new =
        block && io->ops->read(io, handle, block, WAL_BLOCK_BYTES, 0) == WAL_BLOCK_BYTES &&
        segment_header_decode(&header, block) == 0 && header.salt == pack->file.header.salt;
    buffer_put(&store->scratch, block, capacity);
    io->ops->close(io, handle);
    return is_new;
}

/* From here on readers look for the new positions. Those in between find out by the file's header. */
static bool install(struct pack *pack)
{
    struct wal *wal = pack->wal;
    pthread_mutex_lock(&wal->lock);
    struct segment *segment = find_segment_locked(pack);
    if (segment) {
        segment->header = pack->file.header;
        segment->end = pack->file.header.seal.end;
        segment->file_bytes = pack->file.file_bytes;
    }
    if (segment && !DEFECT(PACK_STALE_INDEX)) {
        frame_index_done(&segment->index);
        segment->index = pack->file.index;
        pack->file.index = (struct frame_index){0};
    }
    pthread_mutex_unlock(&wal->lock);
    if (segment)
        read_handles_forget(wal, pack->file.from.segment_no);
    return segment;
}

static int take_name(struct pack *pack, int dir)
{
    struct wal_io *io = pack->wal->store->io;
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, pack->file.from.segment_no);
    int rc = 0;
    if (DEFECT(PACK_REMOVE_FIRST)) {
        io->ops->remove_file(io, dir, name);
        rc = io->ops->rename(io, dir, PACKED_SEGMENT_NAME, dir, name);
    } else if (!DEFECT(PACK_RENAME_FIRST)) {
        rc = io->ops->replace(io, dir, PACKED_SEGMENT_NAME, name);
    }
    pack->named = rc == 0 || has_name(pack, dir, name);
    if (!pack->named)
        return rc;
    if (!install(pack)) { /* trimmed at this very moment */
        io->ops->remove_file(io, dir, name);
        return -ECANCELED;
    }
    /* Not for safety, since either file will do after a crash: so that the space of the old one is
     * given back now. */
    return io->ops->sync(io, dir);
}

static void name_run(struct chore *chore)
{
    struct wal *wal = chore->wal;
    struct wal_io *io = wal->store->io;
    struct pack *pack = wal->packing;
    int dir = log_open_dir(wal);
    if (dir < 0) {
        pack->error = dir;
        return;
    }
    pack->error = is_unwanted(pack) ? -ECANCELED : take_name(pack, dir);
    if (!pack->named)
        io->ops->remove_file(io, dir, PACKED_SEGMENT_NAME);
    io->ops->close(io, dir);
}

/* ---- the committer's side ---- */

static void pack_end(struct wal *wal)
{
    struct pack *pack = TAKE(wal->packing);
    struct totals *totals = &wal->committer->totals;
    const int error = pack->error;
    if (pack->named)
        totals_add_pack(totals, pack->from_bytes - pack->file.file_bytes, 0);
    else if (error != -ECANCELED)
        totals_add_pack(totals, 0, error);
    /* What is missing may be there with the next segment; until then nothing is tried. */
    if (error < 0 && wal_error_is_refusal(error)) {
        pthread_mutex_lock(&wal->lock);
        struct segment *segment = find_segment_locked(pack);
        if (segment)
            segment->pack_tried = pack->named;
        pthread_mutex_unlock(&wal->lock);
        wal->pack_due = false;
    }
    frame_index_done(&pack->file.index);
    free(pack);
    log_step_later(wal); /* a close may be waiting */
    pack_step(wal);
}

static void name_done(struct chore *chore)
{
    pack_end(chore->wal);
}

static void write_done(struct chore *chore)
{
    struct wal *wal = chore->wal;
    struct pack *pack = wal->packing;
    if (pack->error < 0) {
        pack_end(wal);
        return;
    }
    pack->chore = (struct chore){.lane = LANE_LOGS, .run = name_run, .done = name_done, .wal = wal};
    chore_start(wal->committer, &pack->chore);
}

bool pack_leave(struct wal *wal)
{
    if (!wal->packing)
        return true;
    atomic_store(&wal->packing->unwanted, true);
    atomic_store(&wal->store->pack_unwanted, true);
    return false;
}

void pack_step(struct wal *wal)
{
    struct store *store = wal->store;
    if (!store->config.pack || !wal->pack_due || wal->packing)
        return;
    struct pack *pack = calloc(1, sizeof(*pack));
    if (!pack)
        return; /* with the next segment */
    *pack = (struct pack){
        .chore = {.lane = LANE_PACK, .run = write_run, .done = write_done, .wal = wal},
        .wal = wal,
        .file = {.io = store->io,
                 .pool = &store->scratch,
                 .pace = pace,
                 .context = pack,
                 .compress = store->config.pack_compression == STORE_COMPRESSION_ZSTD},
    };
    pthread_mutex_lock(&wal->lock);
    bool able = !wal->closing && !wal->failed && !wal->damaged;
    wal->pack_due = able && find_candidate_locked(wal, pack);
    pthread_mutex_unlock(&wal->lock);
    if (!wal->pack_due) {
        free(pack);
        return;
    }
    wal->packing = pack;
    chore_start(wal->committer, &pack->chore);
}
