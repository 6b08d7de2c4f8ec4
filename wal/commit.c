/*
 * The committer's side of a log: one batch becomes one frame, one durable write, one decision.
 *
 * At most one frame of a log is on its way to the disk, so there are no holes to reason about: the
 * frame is durable, or it is not and nothing follows it. What can go wrong, and what is done:
 *
 *   EINTR, EAGAIN before any byte   the same range is sent again
 *   no room, no descriptor          found before anything is written: the waiting appends are
 *                                   refused, their offsets go back, the log goes on
 *   any other error, a short write,
 *   a failed sync                   the log has failed for good. Nothing is written over what may
 *                                   half stand there: after a failed sync the kernel may have
 *                                   dropped the data and call the next sync a success
 */
#include <errno.h>

#include "wal/log.h"

#define WRITE_ATTEMPTS_MAX 1000

static uint64_t now_us(const struct wal *wal)
{
    return store_now_us(wal->store);
}

/* ---- the handle for writing ---- */

static int open_active(struct wal *wal)
{
    struct wal_io *io = wal->store->io;
    int dir = log_open_dir(wal);
    if (dir < 0)
        return dir;
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, wal->active->header.segment_no);
    int handle =
        io->ops->open_file(io, dir, name, WAL_OPEN_WRITE | (io->direct ? WAL_OPEN_DIRECT : 0));
    io->ops->close(io, dir);
    return handle;
}

int log_open_handle(struct wal *wal)
{
    if (wal->handle >= 0) {
        handle_touch(wal);
        return 0;
    }

    int handle = open_active(wal);
    while ((handle == -EMFILE || handle == -ENFILE) && handle_close_oldest(wal->committer))
        handle = open_active(wal);
    if (handle < 0)
        return handle;
    wal->handle = handle;
    handle_add(wal);
    return 0;
}

void log_close_handle(struct wal *wal)
{
    if (wal->handle < 0)
        return;
    must(wal->phase != PHASE_COMMIT && !wal->space_busy);
    handle_remove(wal);
    wal->store->io->ops->close(wal->store->io, wal->handle);
    wal->handle = -1;
}

/* ---- deciding ---- */

static void run_handlers(struct wal_handler *handler, uint64_t write_began_us, int status)
{
    while (handler) {
        /* done() may free or reuse the handler. */
        struct wal_handler *next = handler->next;
        handler->write_began_us = write_began_us;
        handler->done(handler, handler->token, status);
        handler = next;
    }
}

/* Hands batches over to commit_run_handlers(), in order. */
static void decide_batches(struct wal *wal, struct batch *batch, int status)
{
    struct committer *committer = wal->committer;
    while (batch) {
        struct batch *next = batch->next;
        buffer_put(&wal->store->pool, TAKE(batch->frame), batch->capacity);
        batch->status = status;
        batch->next = NULL;
        *committer->told_end = batch;
        committer->told_end = &batch->next;
        committer->decided++;
        batch = next;
    }
}

void commit_run_handlers(struct committer *committer)
{
    while (committer->told) {
        struct batch *batch = committer->told;
        committer->told = batch->next;
        if (!committer->told)
            committer->told_end = &committer->told;
        struct wal_handler *handlers = batch->handlers;
        uint64_t write_began_us = batch->write_began_us;
        int status = batch->status;
        batch_free(&committer->store->pool, batch);
        run_handlers(handlers, write_began_us, status);
    }
}

/* Takes the held batch and the whole queue, in order. */
static struct batch *take_all_locked(struct wal *wal)
{
    struct batch *all = wal->queue_first;
    if (wal->held) {
        wal->held->next = all;
        all = wal->held;
    }
    wal->held = NULL;
    wal->queue_first = wal->queue_last = NULL;
    wal->queue_records = wal->queue_bytes = 0;
    wal->busy = wal->hurry = wal->delaying = false;
    return all;
}

static void wake_waiters_locked(struct wal *wal)
{
    wal->committer->has_news = true;
    if (wal->waiters > 0)
        pthread_cond_broadcast(&wal->decided);
}

void log_step_later(struct wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    bool tell = !wal->ready;
    wal->ready = true;
    pthread_mutex_unlock(&wal->lock);
    if (tell)
        committer_ready(wal->committer, wal);
}

void log_fail(struct wal *wal, int error)
{
    must(error < 0 && wal->phase != PHASE_COMMIT);
    timer_clear(wal);
    wal->phase = PHASE_IDLE;

    pthread_mutex_lock(&wal->lock);
    if (!wal->failed) {
        totals_add_failure(&wal->committer->totals);
        /* Codes that would tell a caller "nothing was written" or "try again" must not leave here. */
        bool ambiguous = wal_error_is_refusal(error) || error == -EAGAIN || error == -EINTR;
        wal->failed_with = error;
        wal->failed = ambiguous ? -EIO : error;
    }
    error = wal->failed;
    struct batch *all = take_all_locked(wal);
    wake_waiters_locked(wal);
    pthread_mutex_unlock(&wal->lock);

    decide_batches(wal, all, error);
    log_step_later(wal); /* a close may be waiting */
}

static void note_refusal_locked(struct wal *wal, int error)
{
    struct refusal *newest = &wal->refusals[(wal->refusal_count - 1) % REFUSALS_KEPT];
    if (wal->refusal_count > 0 && newest->last == wal->decided_ticket && newest->error == error) {
        newest->last = wal->last_ticket;
        return;
    }
    wal->refusals[wal->refusal_count++ % REFUSALS_KEPT] =
        (struct refusal){wal->decided_ticket + 1, wal->last_ticket, error};
}

static void count_refusals_locked(struct wal *wal, uint64_t count, int error)
{
    if (error == -ENOSPC || error == -EDQUOT)
        wal->counters.refusals_space += count;
    else
        wal->counters.refusals_other += count;
    totals_add_refusals(&wal->committer->totals, count, error);
}

void log_refuse(struct wal *wal, int error)
{
    must(wal->phase != PHASE_COMMIT);
    wal->phase = PHASE_IDLE;

    pthread_mutex_lock(&wal->lock);
    if (wal->decided_ticket < wal->last_ticket) {
        note_refusal_locked(wal, error);
        count_refusals_locked(wal, wal->last_ticket - wal->decided_ticket, error);
    }
    wal->decided_ticket = wal->last_ticket;
    if (!DEFECT(KEEP_OFFSETS_OF_REFUSED)) {
        wal->next_offset = atomic_load_explicit(&wal->committed_offset, memory_order_relaxed);
        wal->next_bytes = wal->committed_bytes;
    }
    state_refuse(&wal->state);
    struct batch *all = take_all_locked(wal);
    wake_waiters_locked(wal);
    pthread_mutex_unlock(&wal->lock);

    decide_batches(wal, all, error);
    log_step_later(wal);
}

/* What could not be started: refused where that is certain, else the log fails. */
static void give_up(struct wal *wal, int error)
{
    if (wal_error_is_refusal(error))
        log_refuse(wal, error);
    else
        log_fail(wal, error);
}

static void count_commit_locked(struct wal *wal, const struct batch *batch, uint64_t now)
{
    uint64_t sync_us = now - wal->commit_begin_us;
    struct totals *totals = &wal->committer->totals;
    wal->counters.syncs++;
    histogram_add(&wal->counters.sync_us, sync_us);
    if (!batch || batch->record_count == 0) {
        totals_add_write(totals, now, sync_us, 0, 0, 0);
        return;
    }
    totals_add_write(totals, now, sync_us, now - batch->opened_us, batch->record_count,
                     batch->payload_bytes);
    wal->counters.commits++;
    wal->counters.commit_records += batch->record_count;
    wal->counters.commit_bytes += batch->payload_bytes;
    wal->counters.commit_records_max =
        max_u64(wal->counters.commit_records_max, batch->record_count);
    histogram_add(&wal->counters.commit_us, now - batch->opened_us);
}

/* Moves every position past the batch, which is durable now (or holds nothing that could be). */
static void publish_locked(struct wal *wal, struct batch *batch)
{
    wal->queue_records -= batch->record_count;
    wal->queue_bytes -= batch->body_bytes;
    wal->committed_bytes += batch->payload_bytes;
    wal->decided_ticket = batch->last_ticket;
    wal->batch_hint = batch->body_bytes;
    trim_count_locked(wal, batch);
    wal->first_offset = max_u64(wal->first_offset, batch->trim_before);
    state_commit(&wal->state, batch->last_ticket);
    if (batch->record_count > 0) {
        /* Pairs with the acquire loads of readers: whoever sees this offset may read the frame. */
        atomic_store_explicit(&wal->committed_offset, batch->base_offset + batch->record_count,
                              memory_order_release);
    }
    wake_waiters_locked(wal);
}

static void decide_held(struct wal *wal)
{
    struct batch *batch = wal->held;
    wal->held = NULL;
    bool trimmed = batch && batch->trim_before > 0;
    if (batch) {
        batch->next = NULL;
        decide_batches(wal, batch, 0);
    }
    if (trimmed)
        rotate_sweep(wal);
}

/* The frame in flight is durable. */
static void commit_succeeded(struct wal *wal)
{
    uint64_t now = now_us(wal);
    wal->write_position += frame_bytes(wal->frame.body_bytes);
    wal->next_frame_no++;
    wal->last_crc = wal->frame.crc;
    wal->last_frame_bytes = wal->frame.body_bytes;
    wal->mark_due = !(wal->frame.flags & FRAME_MARK);
    wal->clean = wal->frame.flags & FRAME_CLEAN;
    wal->last_commit_us = now;

    pthread_mutex_lock(&wal->lock);
    struct segment *active = wal->active;
    frame_index_add(&active->index, wal->frame.base_offset, wal->frame.timestamp_ns,
                    wal->frame.position);
    active->end = wal->write_position;
    active->end_offset = wal->frame.base_offset + wal->frame.record_count;
    count_commit_locked(wal, wal->held, now);
    if (wal->held)
        publish_locked(wal, wal->held);
    bool more = wal->queue_first || wal->closing || (wal->mark_due && wal->timer == TIMER_NONE);
    wal->busy = false;
    bool tell = more && !wal->ready;
    wal->ready = wal->ready || more;
    pthread_mutex_unlock(&wal->lock);

    if (wal->mark_frame) {
        buffer_put(&wal->store->pool, wal->mark_frame, WAL_BLOCK_BYTES);
        wal->mark_frame = NULL;
    }
    if (tell)
        committer_ready(wal->committer, wal);
    decide_held(wal);
}

static bool is_transient(const struct wal_op *op)
{
    return op->result == -EINTR || op->result == -EAGAIN;
}

static void commit_done(struct ring_op *op)
{
    struct wal *wal = op->wal;
    if (is_transient(&op->op) && ++op->attempts < WRITE_ATTEMPTS_MAX) {
        pthread_mutex_lock(&wal->lock);
        wal->counters.write_retries++;
        pthread_mutex_unlock(&wal->lock);
        totals_add_retry(&wal->committer->totals);
        committer_submit(wal->committer, op);
        return;
    }

    bool whole = op->op.result == (int64_t)op->op.size;
    if (DEFECT(IGNORE_SHORT_WRITE) && op->op.result > 0)
        whole = true;
    if (DEFECT(RETRY_FAILED_SYNC) && !whole && op->attempts++ < 2) {
        committer_submit(wal->committer, op);
        return;
    }

    wal->phase = PHASE_IDLE;
    if (DEFECT(ACK_BEFORE_COMPLETION) && !wal->mark_frame) {
        log_step_later(wal);
        return;
    }
    if (whole) {
        int fail_later = wal->fail_later;
        commit_succeeded(wal);
        if (fail_later)
            log_fail(wal, fail_later);
        return;
    }

    if (wal->mark_frame) {
        buffer_put(&wal->store->pool, wal->mark_frame, WAL_BLOCK_BYTES);
        wal->mark_frame = NULL;
    }
    int error = op->op.result < 0 ? (int)op->op.result : -EIO;
    totals_add_failed_write(&wal->committer->totals, now_us(wal), error);
    if (DEFECT(GO_ON_AFTER_FAILED_SYNC) && wal->held)
        log_refuse(wal, -EIO);
    else
        log_fail(wal, error);
}

/* ---- writing ---- */

/* Fills what a frame takes from the log's position. */
static void fill_header(struct wal *wal, struct frame_header *header)
{
    header->frame_no = wal->next_frame_no;
    /* One frame in flight: all before it are durable. */
    header->durable_frame = wal->next_frame_no;
    header->position = wal->write_position;
    header->prev_crc = wal->last_crc;
    header->base_bytes = wal->committed_bytes;
}

static void submit_frame(struct wal *wal, uint8_t *frame)
{
    struct frame_header *header = &wal->frame;
    uint64_t bytes = frame_bytes(header->body_bytes);
    frame_finish(header, frame);
    frame_header_encode(header, wal->active->header.salt, frame);

    wal->commit.attempts = 0;
    wal->commit.done = commit_done;
    wal->commit.op = (struct wal_op){
        .kind = DEFECT(SKIP_DATA_SYNC) ? WAL_OP_WRITE : WAL_OP_WRITE_DURABLE,
        .handle = wal->handle,
        .data = frame,
        .size = bytes,
        .position = wal->write_position,
    };
    wal->phase = PHASE_COMMIT;
    wal->commit_begin_us = now_us(wal);
    committer_submit(wal->committer, &wal->commit);
    atomic_fetch_add_explicit(&wal->committer->writes, 1, memory_order_relaxed);
}

#ifdef WAL_PLANTED_DEFECTS
static void trim_early(struct wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    wal->first_offset = max_u64(wal->first_offset, wal->held->trim_before);
    pthread_mutex_unlock(&wal->lock);
    rotate_sweep(wal);
}
#endif

/* Starts writing the held batch, or whatever has to come first. */
static void write_held(struct wal *wal)
{
    struct batch *batch = wal->held;
    if (wal->committer->ring_error < 0) {
        log_fail(wal, wal->committer->ring_error);
        return;
    }
#ifdef WAL_PLANTED_DEFECTS
    if (DEFECT(TRIM_BEFORE_COMMIT) && batch->trim_before > 0)
        trim_early(wal);
#endif
    uint64_t bytes = frame_bytes(batch->body_bytes);
    if (wal->write_position + bytes > wal->config.segment_bytes &&
        wal->write_position > wal->first_position) {
        rotate_start(wal);
        return;
    }
    /* One block more than the frame: the mark that will prove it must never want for space. */
    uint64_t end = wal->write_position + bytes + WAL_BLOCK_BYTES;
    if (end > wal->space_end) {
        wal->phase = PHASE_SPACE;
        wal->last_frame_bytes = batch->body_bytes;
        space_make(wal, end);
        return;
    }
    int rc = log_open_handle(wal);
    if (rc < 0) {
        give_up(wal, rc);
        return;
    }

    wal->frame = (struct frame_header){
        .body_bytes = batch->body_bytes,
        .items_crc = batch->items_crc,
        .base_offset = batch->base_offset,
        .timestamp_ns = batch->timestamp_ns,
        .record_count = batch->record_count,
        .item_count = batch->item_count,
    };
    fill_header(wal, &wal->frame);
    submit_frame(wal, batch->frame);
    batch->write_began_us = wal->commit_begin_us;
    space_keep_ahead(wal);
    rotate_prepare(wal);
    if (DEFECT(ACK_BEFORE_COMPLETION)) {
        commit_succeeded(wal);
        wal->phase = PHASE_COMMIT;
    }
}

static bool can_mark(struct wal *wal)
{
    return wal->committer->ring_error == 0 &&
           wal->write_position + WAL_BLOCK_BYTES <= wal->space_end && log_open_handle(wal) == 0;
}

/* Writes a frame without items that proves the one before it durable. False: not now. */
static bool write_mark(struct wal *wal, uint16_t flags)
{
    if (!can_mark(wal))
        return false;
    size_t capacity;
    wal->mark_frame = buffer_get(&wal->store->pool, WAL_BLOCK_BYTES, &capacity);
    if (!wal->mark_frame)
        return false;

    pthread_mutex_lock(&wal->lock);
    wal->busy = true;
    wal->frame = (struct frame_header){
        .base_offset = atomic_load_explicit(&wal->committed_offset, memory_order_relaxed),
        .timestamp_ns = wal->last_timestamp_ns,
        .flags = FRAME_MARK | flags,
    };
    pthread_mutex_unlock(&wal->lock);
    fill_header(wal, &wal->frame);
    submit_frame(wal, wal->mark_frame);
    return true;
}

/* ---- one step ---- */

/* Nothing is queued and nobody will queue anything more. */
static void finish_close(struct wal *wal, int failed)
{
    if (wal->space_busy || wal->rotate.busy || wal->prepare.busy || wal->sweep.busy ||
        !pack_leave(wal))
        return; /* what ends last steps again */
    if (wal->committer->told) {
        log_step_later(wal); /* every handler has run when a log is closed */
        return;
    }
    bool healthy = !failed && !wal->damaged;
    if (healthy && !wal->clean && write_mark(wal, FRAME_CLEAN))
        return;

    timer_clear(wal);
    log_close_handle(wal);
    wal->phase = PHASE_CLOSED;
    pthread_mutex_lock(&wal->lock);
    wal->closed = true;
    wake_waiters_locked(wal);
    struct store *told = wal->tells_closed ? wal->store : NULL;
    pthread_mutex_unlock(&wal->lock);
    if (told) /* from here on the log may be gone */
        orders_kick(told);
}

static void idle_step(struct wal *wal)
{
    pack_step(wal);
    if (!wal->mark_due || wal->config.mark_idle_us == 0)
        return;
    uint64_t due = wal->last_commit_us + wal->config.mark_idle_us;
    if (now_us(wal) < due) {
        if (wal->timer == TIMER_NONE)
            timer_set(wal, TIMER_IDLE, due);
        return;
    }
    wal_shrink(wal);
    /* Without space for it the mark waits for the next commit. */
    if (!write_mark(wal, 0))
        wal->mark_due = false;
}

/* Takes the first batch, unless it still waits for company. */
static struct batch *take_batch_locked(struct wal *wal, uint64_t *ret_delay_until)
{
    struct batch *batch = wal->queue_first;
    if (!batch)
        return NULL;
    if (wal->config.batch_delay_us > 0 && !wal->hurry && !wal->closing &&
        !log_first_batch_is_full_locked(wal)) {
        uint64_t due = batch->opened_us + wal->config.batch_delay_us;
        if (now_us(wal) < due) {
            *ret_delay_until = due;
            wal->delaying = true;
            return NULL;
        }
    }

    wal->queue_first = batch->next;
    if (!wal->queue_first) {
        wal->queue_last = NULL;
        wal->hurry = false;
    }
    wal->delaying = false;
    wal->busy = true;
    return batch;
}

static void decide_barrier(struct wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    publish_locked(wal, wal->held);
    wal->busy = false;
    pthread_mutex_unlock(&wal->lock);
    decide_held(wal);
    log_step_later(wal);
}

void log_step(struct wal *wal)
{
    uint64_t delay_until = 0;
    pthread_mutex_lock(&wal->lock);
    wal->ready = false;
    bool abandon = wal->abandon && (wal->queue_first || wal->held);
    bool idle = wal->phase == PHASE_IDLE;
    if (idle && !wal->held && !abandon)
        wal->held = take_batch_locked(wal, &delay_until);
    bool closing = wal->closing;
    int failed = wal->failed;
    if (wal->closed) /* whoever waits to free it waits for the ready list, too */
        wake_waiters_locked(wal);
    struct store *told = wal->closed && wal->tells_closed ? wal->store : NULL;
    pthread_mutex_unlock(&wal->lock);

    if (told)
        orders_kick(told);
    if (!idle)
        return; /* what is on its way steps again */
    if (abandon)
        log_refuse(wal, -ESHUTDOWN);
    else if (wal->held && wal->held->item_count == 0)
        decide_barrier(wal);
    else if (wal->held)
        write_held(wal);
    else if (delay_until > 0)
        timer_set(wal, TIMER_DELAY, delay_until);
    else if (closing)
        finish_close(wal, failed);
    else if (!failed && !wal->damaged)
        idle_step(wal);
}

/* ---- the state, whole ---- */

struct state_writer {
    uint8_t *body;
    uint32_t body_bytes;
    uint32_t item_count;
    uint32_t items_crc;
};

static void write_state_item(struct state_writer *writer, struct item *item)
{
    if (writer->body) {
        item->crc = item_crc(item->attributes, item->attribute_bytes, item->data, item->data_bytes);
        writer->items_crc = item_encode(item, writer->items_crc, writer->body + writer->body_bytes);
    }
    writer->body_bytes += (uint32_t)item_bytes(item->attribute_bytes, item->data_bytes);
    writer->item_count++;
}

static int visit_state(void *context, const void *key, uint16_t key_bytes, const void *value,
                       uint32_t value_bytes)
{
    struct item item = {.kind = ITEM_STATE_SET,
                        .attributes = key,
                        .attribute_bytes = key_bytes,
                        .data = value,
                        .data_bytes = value_bytes};
    write_state_item(context, &item);
    return 0;
}

/* Once with body NULL to measure, once to write. */
static void write_state_locked(struct wal *wal, struct state_writer *writer)
{
    if (DEFECT(EMPTY_STATE_AT_ROTATION))
        return;
    state_each(&wal->state, true, visit_state, writer);
    if (wal->first_offset > 0) {
        uint8_t before[sizeof(uint64_t)];
        for (size_t i = 0; i < sizeof(before); i++)
            before[i] = (uint8_t)(wal->first_offset >> (8 * i));
        struct item item = {.kind = ITEM_TRIM, .data = before, .data_bytes = sizeof(before)};
        write_state_item(writer, &item);
    }
}

int log_state_frame(struct wal *wal, struct frame_header *header, uint64_t salt,
                    uint8_t **ret_frame, size_t *ret_capacity)
{
    struct state_writer measure = {0};
    pthread_mutex_lock(&wal->lock);
    write_state_locked(wal, &measure);
    size_t capacity;
    uint8_t *frame = buffer_get(&wal->store->scratch, frame_bytes(measure.body_bytes), &capacity);
    if (!frame) {
        pthread_mutex_unlock(&wal->lock);
        return -ENOMEM;
    }
    struct state_writer writer = {.body = frame + FRAME_HEADER_BYTES};
    write_state_locked(wal, &writer);
    pthread_mutex_unlock(&wal->lock);

    header->flags = FRAME_STATE;
    header->body_bytes = writer.body_bytes;
    header->items_crc = writer.items_crc;
    header->item_count = writer.item_count;
    frame_finish(header, frame);
    frame_header_encode(header, salt, frame);
    *ret_frame = frame;
    *ret_capacity = capacity;
    return 0;
}
