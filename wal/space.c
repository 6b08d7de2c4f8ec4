/*
 * Space ahead of the log's end. A durable write into blocks that were written before costs one trip
 * to the disk; one that makes the file longer, or fills reserved but unwritten blocks, drags the
 * file system's journal along. So zeros are written ahead of the end while commits go on beside
 * them, in steps that last a while at the rate at which the log grows: larger ones where a log is busy
 * (each step disturbs its commits once), small ones where a thousand logs are (their zeros would take
 * the disk from the commits). Before large frames space is only reserved: zeroing would write every
 * byte twice.
 *
 * A frame never goes where no space was made. That is where a full disk shows itself: before
 * anything was written, so that the append can be refused and the log stays whole.
 */
#include <errno.h>

#include "wal/log.h"

#define RESERVE_STEP_BYTES_MAX (16u << 20)
/* A step that lasted less than this is followed by one of twice the size, one that lasted more by one
 * of half the size. Measured with 1, 64 and 1000 busy logs: docs/benchmarks.md. */
#define STEP_LASTS_US_MIN 60000
#define STEP_LASTS_US_MAX 200000

static void space_done(struct ring_op *op);

static bool frames_are_large(const struct wal *wal)
{
    return wal->last_frame_bytes >= LARGE_FRAME_BYTES;
}

/* Where this segment stops growing ahead: a mark may stand behind its last frame. */
static uint64_t space_limit(const struct wal *wal)
{
    return round_up(wal->config.segment_bytes, WAL_BLOCK_BYTES) + WAL_BLOCK_BYTES;
}

static void submit(struct wal *wal, enum wal_op_kind kind, uint64_t bytes)
{
    uint64_t position = wal->space_end;
    if (DEFECT(SPACE_OVER_FRAMES) && kind == WAL_OP_WRITE)
        position = wal->first_position;

    wal->space.attempts = 0;
    wal->space.done = space_done;
    wal->space.op = (struct wal_op){
        .kind = kind,
        .handle = wal->handle,
        .data = kind == WAL_OP_WRITE ? wal->store->zeros : NULL,
        .size = bytes,
        .position = position,
    };
    wal->space_busy = true;
    committer_submit(wal->committer, &wal->space);
}

bool space_is_spared(const struct wal *wal)
{
    return atomic_load_explicit(&wal->store->spares_space, memory_order_relaxed);
}

static void start(struct wal *wal, uint64_t end)
{
    uint64_t needed = end > wal->space_end ? end - wal->space_end : 0;
    uint64_t limit = space_limit(wal);
    uint64_t step = space_is_spared(wal) ? 0 : wal->space_step;
    uint64_t ahead = limit > wal->space_end ? min_u64(step, limit - wal->space_end) : 0;
    uint64_t bytes = round_up(max_u64(needed, ahead), WAL_BLOCK_BYTES);
    bool reserve = !wal->zeros_only && (frames_are_large(wal) || needed > ZEROS_BYTES);
    if (reserve)
        submit(wal, WAL_OP_ALLOCATE, bytes);
    else
        submit(wal, WAL_OP_WRITE, min_u64(bytes, ZEROS_BYTES));
}

void space_make(struct wal *wal, uint64_t end)
{
    if (wal->space_busy)
        return; /* space_done() looks again */
    int rc = log_open_handle(wal);
    if (rc == 0)
        start(wal, end);
    else if (wal_error_is_refusal(rc))
        log_refuse(wal, rc);
    else
        log_fail(wal, rc);
}

void space_keep_ahead(struct wal *wal)
{
    uint64_t taken = wal->write_position + frame_bytes(wal->frame.body_bytes);
    if (wal->space_busy || wal->fail_later || space_is_spared(wal) ||
        wal->space_end >= space_limit(wal) || wal->space_end >= taken + wal->space_step / 2)
        return;
    start(wal, 0);
}

static uint64_t step_bytes_max(const struct wal *wal)
{
    return frames_are_large(wal) && !wal->zeros_only ? RESERVE_STEP_BYTES_MAX : ZEROS_BYTES;
}

static void adapt_step(struct wal *wal)
{
    uint64_t now = store_now_us(wal->store);
    uint64_t lasted = now - wal->space_made_us;
    uint64_t step = wal->space_step;
    wal->space_made_us = now;
    if (lasted < STEP_LASTS_US_MIN)
        step *= 2;
    else if (lasted > STEP_LASTS_US_MAX)
        step /= 2;
    step = max_u64(round_down(step, WAL_BLOCK_BYTES), wal->config.space_bytes);
    wal->space_step = (uint32_t)min_u64(step, step_bytes_max(wal));
}

static void space_is_ready(struct wal *wal, uint64_t bytes)
{
    wal->space_end += bytes;
    adapt_step(wal);
    pthread_mutex_lock(&wal->lock);
    wal->active->file_bytes = max_u64(wal->active->file_bytes, wal->space_end);
    pthread_mutex_unlock(&wal->lock);
}

static void space_failed(struct wal *wal, int error)
{
    bool needed = wal->phase == PHASE_SPACE;
    if (wal_error_is_refusal(error)) {
        if (needed && wal->space_step == 0)
            log_refuse(wal, error);
        /* Else what was wanted ahead may be all that did not fit. The disk is asked again, for no
         * more than a frame needs, once one needs it. */
        wal->space_step = 0;
        return;
    }
    /* Not a frame was touched, but what stands in those blocks is unknown now. */
    if (wal->phase == PHASE_COMMIT)
        wal->fail_later = error;
    else
        log_fail(wal, error);
}

static void space_done(struct ring_op *op)
{
    struct wal *wal = op->wal;
    int64_t result = op->op.result;
    if ((result == -EINTR || result == -EAGAIN) && ++op->attempts < 1000) {
        committer_submit(wal->committer, op);
        return;
    }

    wal->space_busy = false;
    if (result == -EOPNOTSUPP && op->op.kind == WAL_OP_ALLOCATE) {
        wal->zeros_only = true;
    } else if (result < 0) {
        space_failed(wal, (int)result);
    } else {
        uint64_t bytes = op->op.kind == WAL_OP_WRITE ? (uint64_t)result : op->op.size;
        bytes = round_down(bytes, WAL_BLOCK_BYTES);
        if (bytes == 0)
            space_failed(wal,
                         -ENOSPC); /* a short write tells of the error that the next one meets */
        else
            space_is_ready(wal, bytes);
    }

    if (wal->phase == PHASE_ROTATE) {
        rotate_start(wal);
        return;
    }
    if (wal->phase == PHASE_SPACE)
        wal->phase = PHASE_IDLE;
    log_step_later(wal);
}
