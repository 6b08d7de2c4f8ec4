#include "tests/sim/sim_call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Rings. An op waits in `queued` until ring_wait() starts it, is then in flight until a moment
 * drawn from the seed, and lands: only then does it do anything to the disk. Several that are due
 * together come back in the order of those moments, so completions are in any order.
 */

/* An op in flight. */
struct flight {
    struct wal_op *op;
    struct sim_inode *inode; /* NULL: the handle was none for writing */
    uint64_t due_us;
    uint64_t order;
    uint64_t sum; /* of the data, to see it changed */
};

struct wal_ring {
    struct sim_disk *disk;
    struct wal_ring *next, **link;
    uint64_t life;
    int keep;
    bool woken;
    unsigned entries, flight_count, queued_count;
    uint64_t order;
    struct wal_op *queued, **queued_tail;
    struct flight flights[];
};

int sim_ring_new(struct wal_io *io, unsigned entries, int keep, struct wal_ring **ret_ring)
{
    struct sim_disk *disk = disk_of(io);
    struct call call = sim_call_begin(disk, SIM_RING_NEW, NULL, NULL, 0, entries);
    struct sim_handle *kept = keep < 0 ? NULL : sim_handle_find(disk, keep);
    int rc = keep < 0 || kept ? 0 : sim_handle_error(disk, keep);
    rc = (int)sim_call_end(&call, rc);
    if (rc < 0)
        return rc;

    must(entries > 0);
    struct wal_ring *ring = calloc(1, sizeof(*ring) + entries * sizeof(struct flight));
    must(ring);
    ring->disk = disk;
    ring->life = disk->life;
    ring->keep = keep;
    ring->entries = entries;
    ring->queued_tail = &ring->queued;
    ring->next = disk->rings;
    ring->link = &disk->rings;
    if (ring->next)
        ring->next->link = &ring->next;
    disk->rings = ring;
    if (kept)
        kept->keeps++;
    *ret_ring = ring;
    return 0;
}

void sim_ring_free(struct wal_ring *ring)
{
    struct sim_disk *disk = ring->disk;
    disk->counters.misuses += ring->flight_count + ring->queued_count > 0;
    if (ring->keep >= 0 && ring->life == disk->life) {
        struct sim_handle *kept = &disk->handles[ring->keep - disk->handle_base];
        kept->keeps--;
        sim_handle_settle(disk, kept);
    }
    *ring->link = ring->next;
    if (ring->next)
        ring->next->link = ring->link;
    free(ring);
}

void sim_ring_submit(struct wal_ring *ring, struct wal_op *op)
{
    must(ring->flight_count + ring->queued_count < ring->entries);
    must(op->size > 0 && sim_is_aligned(op->data, op->size, op->position));
    must((op->kind == WAL_OP_ALLOCATE) == (op->data == NULL));
    op->next = NULL;
    *ring->queued_tail = op;
    ring->queued_tail = &op->next;
    ring->queued_count++;
}

static uint64_t data_sum(const struct sim_disk *disk, const struct wal_op *op)
{
    uint64_t sum = 0;
    const uint8_t *data = op->data;
    for (uint64_t at = 0; disk->options.check_buffers && data && at < op->size; at += sizeof(sum)) {
        uint64_t word;
        memcpy(&word, data + at, sizeof(word));
        sum = (sum ^ word) * 0x9e3779b97f4a7c15u + (sum >> 31);
    }
    return sum;
}

/* Handles are looked up here: from now on the op holds on to its file, whoever closes it. */
static void ring_start(struct wal_ring *ring)
{
    struct sim_disk *disk = ring->disk;
    while (ring->queued) {
        struct wal_op *op = ring->queued;
        ring->queued = op->next;
        struct sim_handle *handle = sim_handle_find(disk, op->handle);
        bool usable = handle && !handle->inode->is_dir && (handle->flags & WAL_OPEN_WRITE);
        disk->counters.misuses += !usable;
        ring->flights[ring->flight_count++] = (struct flight){
            .op = op,
            .inode = usable ? handle->inode : NULL,
            .due_us = disk->now_us + sim_latency_us(disk),
            .order = ring->order++,
            .sum = data_sum(disk, op),
        };
        if (usable)
            handle->inode->opens++;
    }
    ring->queued_tail = &ring->queued;
    ring->queued_count = 0;
}

static int64_t flight_apply(struct sim_disk *disk, const struct flight *flight,
                            enum sim_effect effect, uint64_t bytes)
{
    const struct wal_op *op = flight->op;
    if (!flight->inode)
        return -EBADF;
    if (op->kind == WAL_OP_ALLOCATE)
        return effect == SIM_NOTHING
                   ? 0
                   : sim_allocate_apply(disk, flight->inode, op->position, op->size);
    struct transfer transfer = {op->data, op->size, op->position, op->kind == WAL_OP_WRITE_DURABLE};
    int reason;
    return sim_write_apply(disk, flight->inode, transfer, effect, bytes, &reason);
}

static enum sim_kind op_kind(const struct wal_op *op)
{
    switch (op->kind) {
    case WAL_OP_WRITE_DURABLE: return SIM_WRITE_DURABLE;
    case WAL_OP_WRITE: return SIM_WRITE;
    default: return SIM_ALLOCATE;
    }
}

static void flight_land(struct sim_disk *disk, const struct flight *flight)
{
    struct wal_op *op = flight->op;
    disk->counters.misuses += flight->sum != data_sum(disk, op);
    struct call call =
        sim_call_begin(disk, op_kind(op), flight->inode, NULL, op->position, op->size);
    op->result = flight_apply(disk, flight, call.effect, call.bytes);
    op->result = sim_call_end(&call, op->result);
    if (flight->inode && !disk->dead) {
        flight->inode->opens--;
        sim_inode_settle(&disk->store, flight->inode);
    }
}

/* The next to land: the earliest, and of those the first submitted. */
static struct flight *ring_next(struct wal_ring *ring)
{
    struct flight *next = NULL;
    for (unsigned i = 0; i < ring->flight_count; i++) {
        struct flight *flight = &ring->flights[i];
        if (!next || flight->due_us < next->due_us ||
            (flight->due_us == next->due_us && flight->order < next->order))
            next = flight;
    }
    return next;
}

/* Everything that is due, in order. When the disk dies on the way the rest stays in flight. */
static struct wal_op *ring_reap(struct wal_ring *ring)
{
    struct sim_disk *disk = ring->disk;
    struct wal_op *done = NULL;
    struct wal_op **tail = &done;
    while (!disk->dead) {
        struct flight *next = ring_next(ring);
        if (!next || next->due_us > disk->now_us)
            break;
        struct flight flight = *next;
        *next = ring->flights[--ring->flight_count];
        flight_land(disk, &flight);
        flight.op->next = NULL;
        *tail = flight.op;
        tail = &flight.op->next;
    }
    return done;
}

/* On a dead disk, or in a later life: nothing is looked at but the ops themselves. */
static struct wal_op *ring_fail(struct wal_ring *ring)
{
    struct wal_op *done = ring->queued;
    for (struct wal_op *op = done; op; op = op->next)
        op->result = -EIO;
    while (ring->flight_count > 0) {
        struct wal_op *op = ring->flights[--ring->flight_count].op;
        op->result = -EIO;
        op->next = done;
        done = op;
    }
    ring->queued = NULL;
    ring->queued_tail = &ring->queued;
    ring->queued_count = 0;
    return done;
}

struct wal_op *sim_ring_wait(struct wal_ring *ring, uint64_t timeout_us)
{
    struct sim_disk *disk = ring->disk;
    disk->now_us++;
    if (disk->dead || ring->life != disk->life)
        return ring_fail(ring);

    ring_start(ring);
    uint64_t limit_us = ring->woken ? 0 : min_u64(timeout_us, UINT64_MAX - disk->now_us);
    ring->woken = false;
    const struct flight *next = ring_next(ring);
    if (!next && timeout_us == UINT64_MAX) {
        disk->counters.idle_waits += limit_us > 0;
        return NULL;
    }
    if (!next || next->due_us > disk->now_us + limit_us) {
        disk->now_us += limit_us;
        return NULL;
    }
    disk->now_us = max_u64(disk->now_us, next->due_us);
    /* A thread that wakes up late finds more than one done. */
    if (rng_below(&disk->rng, 4) == 0)
        disk->now_us += sim_latency_us(disk);
    return ring_reap(ring);
}

void sim_ring_wake(struct wal_ring *ring)
{
    ring->woken = true;
}

int sim_ring_poll_fd(struct wal_ring *ring)
{
    return -ENOTSUP;
}

/* --- Ends of a life --------------------------------------------------------------------------- */

/* What no ring_wait() has started cannot reach the disk. Data are copied here, since their owner
 * will free them. */
void sim_rings_die(struct sim_disk *disk)
{
    for (struct wal_ring *ring = disk->rings; ring; ring = ring->next) {
        for (unsigned i = 0; ring->life == disk->life && i < ring->flight_count; i++)
            flight_apply(disk, &ring->flights[i], SIM_UNSYNCED, 0);
    }
}

void sim_rings_kill(struct sim_disk *disk)
{
    for (struct wal_ring *ring = disk->rings; ring; ring = ring->next) {
        for (unsigned i = 0; ring->life == disk->life && i < ring->flight_count; i++) {
            const struct flight *flight = &ring->flights[i];
            int64_t result = -ECANCELED;
            if (rng_next(&disk->rng) & 1)
                result = flight_apply(disk, flight, SIM_EVERYTHING, 0);
            sim_trace_mix(disk, (uint64_t)result);
            if (flight->inode) {
                flight->inode->opens--;
                sim_inode_settle(&disk->store, flight->inode);
            }
        }
    }
}

unsigned sim_rings(const struct sim_disk *disk)
{
    unsigned count = 0;
    for (const struct wal_ring *ring = disk->rings; ring; ring = ring->next)
        count++;
    return count;
}
