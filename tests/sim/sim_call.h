/*
 * The simulated disk as its operations see it: sim_disk.c has the calls, faults, power cuts and the
 * trace, sim_io.c the synchronous half of wal/io.h, sim_ring.c the rings. Private to tests/sim.
 *
 * Every operation is a call: sim_call_begin() counts it and says how much of it is to happen and
 * which error to report; the operation does so; sim_call_end() writes the trace and, at the crash
 * point, kills the disk. An op of a ring is a call at the moment of its completion. Until then its
 * data stay with the caller, so that a sanitizer sees a buffer that is freed in flight.
 */
#ifndef SIM_CALL_H
#define SIM_CALL_H

#include "tests/sim/sim_image.h"

enum { FAULTS_MAX = 16 };

/* Handles count upwards over lives, so that one of an earlier life is never taken for another. */
struct sim_handle {
    struct sim_inode *inode; /* NULL: free */
    unsigned flags;          /* of open_file */
    unsigned keeps;          /* rings that hold on to it after its close() */
    bool open;
    bool is_lock;
};

struct armed_fault {
    struct sim_fault fault;
    uint64_t seen;
};

struct sim_disk {
    struct wal_io io;
    struct sim_options options;
    struct sim_store store;
    struct sim_counters counters;

    struct sim_handle *handles;
    unsigned handle_count, handle_room;
    int handle_base;
    struct wal_ring *rings;
    uint64_t life;
    bool dead;

    uint64_t now_us;
    int64_t realtime_step_ns;
    uint64_t rng;       /* latencies, orders and faults */
    uint64_t bytes_rng; /* what random() returns */
    uint64_t crash_rng;

    uint64_t ops, changes;
    uint64_t crash_op, crash_change;
    struct armed_fault faults[FAULTS_MAX];
    unsigned fault_count;
    uint64_t hash;
};

static inline struct sim_disk *disk_of(struct wal_io *io)
{
    return container_of(io, struct sim_disk, io);
}

/* --- sim_disk.c --- */

struct call {
    struct sim_disk *disk;
    enum sim_kind kind;
    enum sim_effect effect; /* how much of it happens */
    int error;              /* what it answers all the same; 0: its own result */
    uint64_t bytes;         /* of SIM_PARTLY */
    bool dies;
    uint64_t inode_id; /* for the trace; the inode may be gone at the end */
    const char *name;
    uint64_t position, size;
};

/* `inode` and `path` name the operation in faults and traces; either may be NULL. */
struct call sim_call_begin(struct sim_disk *disk, enum sim_kind kind, const struct sim_inode *inode,
                           const char *path, uint64_t position, uint64_t size);
/* Returns what the operation answers. */
int64_t sim_call_end(struct call *call, int64_t result);
uint64_t sim_latency_us(struct sim_disk *disk);
void sim_trace_mix(struct sim_disk *disk, uint64_t value);

/* --- sim_io.c --- */

extern const struct wal_io_ops sim_io_table;

/* NULL: closed, of an earlier life, or never given out. */
struct sim_handle *sim_handle_find(struct sim_disk *disk, int handle);
/* What a handle that is none answers. */
int sim_handle_error(struct sim_disk *disk, int handle);
/* After its close() or the end of a ring that kept it. */
void sim_handle_settle(struct sim_disk *disk, struct sim_handle *handle);
void sim_handles_kill(struct sim_disk *disk);

struct transfer {
    const uint8_t *data;
    uint64_t size, position;
    bool durable;
};

/* Writes as much as the effect and the disk allow. Returns the bytes written, or the reason why
 * there were none; ret_short is the reason for fewer than asked. */
int64_t sim_write_apply(struct sim_disk *disk, struct sim_inode *file, struct transfer transfer,
                        enum sim_effect effect, uint64_t bytes, int *ret_short);
int sim_allocate_apply(struct sim_disk *disk, struct sim_inode *file, uint64_t position,
                       uint64_t size);
bool sim_is_aligned(const void *data, uint64_t size, uint64_t position);

/* --- sim_ring.c --- */

int sim_ring_new(struct wal_io *io, unsigned entries, int keep, struct wal_ring **ret_ring);
void sim_ring_free(struct wal_ring *ring);
void sim_ring_submit(struct wal_ring *ring, struct wal_op *op);
struct wal_op *sim_ring_wait(struct wal_ring *ring, uint64_t timeout_us);
void sim_ring_wake(struct wal_ring *ring);
int sim_ring_poll_fd(struct wal_ring *ring);
/* What is in flight joins the writes that no sync has covered, or is finished or cancelled. */
void sim_rings_die(struct sim_disk *disk);
void sim_rings_kill(struct sim_disk *disk);

#endif
