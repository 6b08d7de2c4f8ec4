/*
 * New segments, and the removal of trimmed ones.
 *
 * A new segment is born whole. Its header and its first frame, which repeats the log's state, are
 * durable in a file named next.tmp before that file gets its name; only when the directory is synced
 * does the log go on in it. The header tells where the predecessor ended and the checksum of its
 * last frame, so its name is also the seal of the predecessor. A crash in between leaves a next.tmp,
 * which recovery removes, and the log goes on in the old segment.
 */
#include <errno.h>
#include <string.h>

#include "wal/log.h"

#define SALT_BYTES 8

/* ---- the head of a segment ---- */

struct frame_header segment_state_frame(const struct segment_header *header)
{
    return (struct frame_header){
        .base_offset = header->base_offset,
        .base_bytes = header->base_bytes,
        .frame_no = header->base_frame,
        .durable_frame = header->base_frame,
        .timestamp_ns = header->created_ns,
        .prev_crc = header->prev_crc,
    };
}

int segment_write_head(struct wal *wal, int handle, struct segment *segment,
                       struct frame_header *state, uint64_t prepared_bytes, bool durable)
{
    struct store *store = wal->store;
    struct wal_io *io = store->io;
    int rc = io->ops->random(io, &segment->header.salt, SALT_BYTES);
    if (rc < 0)
        return rc;
    if (DEFECT(SKIP_SALT))
        segment->header.salt = 1;

    uint8_t *frame;
    size_t frame_capacity, capacity;
    state->position = WAL_BLOCK_BYTES;
    rc = log_state_frame(wal, state, segment->header.salt, &frame, &frame_capacity);
    if (rc < 0)
        return rc;

    uint64_t head_bytes = WAL_BLOCK_BYTES + frame_bytes(state->body_bytes);
    uint64_t bytes = head_bytes;
    if (prepared_bytes < head_bytes)
        bytes = max_u64(head_bytes, wal->config.space_bytes);
    uint8_t *head = buffer_get(&store->scratch, bytes, &capacity);
    if (!head) {
        buffer_put(&store->scratch, frame, frame_capacity);
        return -ENOMEM;
    }
    segment_header_encode(&segment->header, head);
    memcpy(head + WAL_BLOCK_BYTES, frame, head_bytes - WAL_BLOCK_BYTES);
    memset(head + head_bytes, 0, bytes - head_bytes);
    rc = io->ops->write(io, handle, head, bytes, 0, durable);
    buffer_put(&store->scratch, head, capacity);
    buffer_put(&store->scratch, frame, frame_capacity);

    segment->end = head_bytes;
    segment->end_offset = segment->header.base_offset;
    segment->file_bytes = max_u64(bytes, prepared_bytes);
    return rc;
}

/* ---- rotation ---- */

static int open_next(struct wal *wal, int dir)
{
    struct wal_io *io = wal->store->io;
    unsigned flags = WAL_OPEN_WRITE | (io->direct ? WAL_OPEN_DIRECT : 0);
    if (wal->prepared)
        return io->ops->open_file(io, dir, NEXT_SEGMENT_NAME, flags);

    int rc = io->ops->remove_file(io, dir, NEXT_SEGMENT_NAME);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    return io->ops->open_file(io, dir, NEXT_SEGMENT_NAME, flags | WAL_OPEN_CREATE);
}

static int name_next(struct wal *wal, int dir, struct segment *segment)
{
    struct wal_io *io = wal->store->io;
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, segment->header.segment_no);
    int rc = io->ops->rename(io, dir, NEXT_SEGMENT_NAME, dir, name);
    if (rc < 0)
        return rc;
    wal->rotate_named = true;
    rc = DEFECT(SKIP_ROTATE_DIR_SYNC) ? 0 : io->ops->sync(io, dir);
    if (rc < 0) {
        /* The change may be lost and yet be shown until the next boot, and the next sync may call
         * it a success. Undoing it is a new change, which recovery syncs before it goes on. */
        io->ops->rename(io, dir, name, dir, NEXT_SEGMENT_NAME);
    }
    return rc;
}

static int make_segment(struct wal *wal, int dir, struct segment *segment)
{
    uint64_t prepared_bytes = wal->prepared ? wal->prepared_bytes : 0;
    wal->rotate_handle = open_next(wal, dir);
    if (wal->rotate_handle < 0)
        return wal->rotate_handle;

    wal->rotate_frame = segment_state_frame(&segment->header);
    int rc = 0;
    if (DEFECT(RENAME_BEFORE_HEADER))
        rc = name_next(wal, dir, segment);
    if (rc == 0)
        rc = segment_write_head(wal, wal->rotate_handle, segment, &wal->rotate_frame,
                                prepared_bytes, true);
    if (rc == 0 && !DEFECT(RENAME_BEFORE_HEADER))
        rc = name_next(wal, dir, segment);
    return rc;
}

static void rotate_run(struct chore *chore)
{
    struct wal *wal = chore->wal;
    struct wal_io *io = wal->store->io;
    wal->rotate_named = false;
    wal->rotate_handle = -1;
    wal->rotate_segment = segment_new();
    if (!wal->rotate_segment) {
        wal->rotate_error = -ENOMEM;
        return;
    }

    pthread_mutex_lock(&wal->lock);
    wal->rotate_segment->header = (struct segment_header){
        .kind = SEGMENT_APPENDED,
        .log = wal->id,
        .segment_no = wal->active->header.segment_no + 1,
        .base_offset = atomic_load_explicit(&wal->committed_offset, memory_order_relaxed),
        .base_bytes = wal->committed_bytes,
        .base_frame = wal->next_frame_no,
        .prev_end = wal->write_position,
        .prev_crc = wal->last_crc,
        /* Appends that wait have earlier timestamps than last_timestamp_ns; the held batch is the
         * oldest of them. */
        .created_ns = wal->held ? wal->held->timestamp_ns : wal->last_timestamp_ns,
    };
    pthread_mutex_unlock(&wal->lock);

    int dir = log_open_dir(wal);
    wal->rotate_error = dir < 0 ? dir : make_segment(wal, dir, wal->rotate_segment);
    if (dir >= 0) {
        /* A rename may answer with an error and have happened all the same: then there is nothing
         * left to remove, and the log must not go on in the old segment. */
        if (wal->rotate_error < 0 && !wal->rotate_named)
            wal->rotate_named =
                io->ops->remove_file(io, dir, NEXT_SEGMENT_NAME) < 0 && wal->rotate_handle >= 0;
        io->ops->close(io, dir);
    }
    wal->prepared = false;
}

static void rotate_failed(struct wal *wal)
{
    struct wal_io *io = wal->store->io;
    if (wal->rotate_handle >= 0)
        io->ops->close(io, wal->rotate_handle);
    wal->rotate_handle = -1;
    segment_free(TAKE(wal->rotate_segment));

    /* Once the file may have its name, what is on disk is unknown: the log must not go on in the old
     * segment. Before that nothing has happened but a stray next.tmp. */
    if (!wal->rotate_named && wal_error_is_refusal(wal->rotate_error))
        log_refuse(wal, wal->rotate_error);
    else
        log_fail(wal, wal->rotate_error);
}

static void go_on_in_new_segment(struct wal *wal)
{
    struct segment *segment = TAKE(wal->rotate_segment);
    wal->active = segment;
    log_close_handle(wal);
    wal->handle = wal->rotate_handle;
    wal->rotate_handle = -1;
    handle_add(wal);

    wal->write_position = wal->first_position = segment->end;
    wal->space_end = round_down(segment->file_bytes, WAL_BLOCK_BYTES);
    wal->next_frame_no = wal->rotate_frame.frame_no + 1;
    wal->last_crc = wal->rotate_frame.crc;
    wal->mark_due = false;
    wal->clean = true;
    wal->prepare_tried = false;
    wal->phase = PHASE_IDLE;
}

static void rotate_done(struct chore *chore)
{
    struct wal *wal = chore->wal;
    if (wal->rotate_error == 0) {
        pthread_mutex_lock(&wal->lock);
        wal->rotate_error = log_add_segment_locked(wal, wal->rotate_segment);
        wal->counters.rotations++;
        wal->counters.syncs++;
        pthread_mutex_unlock(&wal->lock);
        totals_add_rotation(&wal->committer->totals);
    }
    wal->phase = PHASE_IDLE;
    if (wal->rotate_error < 0) {
        rotate_failed(wal);
        return;
    }
    go_on_in_new_segment(wal);
    log_step_later(wal);
    rotate_sweep(wal);
    wal->pack_due = true;
    pack_step(wal);
}

void rotate_start(struct wal *wal)
{
    wal->phase = PHASE_ROTATE;
    /* Zeros on their way into the old segment, or a half prepared file: whichever ends last calls
     * again. */
    if (wal->space_busy || wal->prepare.busy || wal->rotate.busy)
        return;
    wal->rotate.run = rotate_run;
    wal->rotate.done = rotate_done;
    chore_start(wal->committer, &wal->rotate);
}

/* ---- preparing ---- */

static int prepare_file(struct wal *wal, int dir)
{
    struct store *store = wal->store;
    struct wal_io *io = store->io;
    wal->prepared_bytes =
        min_u64(ZEROS_BYTES, round_down(wal->config.segment_bytes, WAL_BLOCK_BYTES));
    int handle = open_next(wal, dir);
    if (handle < 0)
        return handle;
    int rc = io->ops->write(io, handle, store->zeros, wal->prepared_bytes, 0, false);
    if (rc == 0)
        rc = io->ops->sync(io, handle);
    io->ops->close(io, handle);
    return rc;
}

static void prepare_run(struct chore *chore)
{
    struct wal *wal = chore->wal;
    int dir = log_open_dir(wal);
    if (dir < 0)
        return;
    /* A failure here fails nothing: rotation makes the file itself, and meets the error then. */
    wal->prepared = prepare_file(wal, dir) == 0;
    if (!wal->prepared)
        wal->store->io->ops->remove_file(wal->store->io, dir, NEXT_SEGMENT_NAME);
    wal->store->io->ops->close(wal->store->io, dir);
}

static void prepare_done(struct chore *chore)
{
    struct wal *wal = chore->wal;
    if (wal->phase == PHASE_ROTATE)
        rotate_start(wal);
    else
        log_step_later(wal);
}

void rotate_prepare(struct wal *wal)
{
    /* First whether a worker is at it: until it has ended, `prepared` is its own. */
    if (wal->prepare.busy || wal->prepared || wal->prepare_tried || space_is_spared(wal) ||
        wal->write_position < wal->config.segment_bytes / 2)
        return;
    wal->prepare_tried = true; /* once a segment: a full disk is not asked at every commit */
    wal->prepare.run = prepare_run;
    wal->prepare.done = prepare_done;
    chore_start(wal->committer, &wal->prepare);
}

/* ---- removing what was trimmed ---- */

/* The number of the oldest segment that may go, taken out of the list; false: none. */
static bool take_trimmed(struct wal *wal, uint64_t *ret_number)
{
    pthread_mutex_lock(&wal->lock);
    struct segment *oldest = wal->segments[0];
    bool gone = wal->segment_count > 1 && oldest->end_offset <= wal->first_offset;
    if (gone) {
        *ret_number = oldest->header.segment_no;
        wal->segment_count--;
        memmove(wal->segments, wal->segments + 1, wal->segment_count * sizeof(*wal->segments));
    }
    pthread_mutex_unlock(&wal->lock);
    if (gone) {
        read_handles_forget(wal, *ret_number);
        segment_free(oldest);
    }
    return gone;
}

static void sweep_run(struct chore *chore)
{
    struct wal *wal = chore->wal;
    struct wal_io *io = wal->store->io;
    int dir = log_open_dir(wal);
    if (dir < 0)
        return; /* the files stay until the next trim, or the next opening */

    /* No sync: the trim is durable, so a file that comes back after a crash is removed again. */
    uint64_t number;
    while (take_trimmed(wal, &number)) {
        char name[SEGMENT_NAME_BYTES];
        segment_name(name, number);
        io->ops->remove_file(io, dir, name);
    }
    io->ops->close(io, dir);
}

static void sweep_done(struct chore *chore)
{
    log_step_later(chore->wal);
}

void rotate_sweep(struct wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    bool any = wal->segment_count > 1 && wal->segments[0]->end_offset <= wal->first_offset;
    pthread_mutex_unlock(&wal->lock);
    if (!any || wal->sweep.busy)
        return;
    wal->sweep.run = sweep_run;
    wal->sweep.done = sweep_done;
    chore_start(wal->committer, &wal->sweep);
}
