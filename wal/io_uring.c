/*
 * The disk seam on io_uring. Owns the ring and how an operation becomes entries of it; files are
 * io_file.c's, and what a failed write means is commit.c's.
 *
 * The life of an operation: ring_submit() puts it in a list. ring_wait() turns the list into
 * submission entries, hands them over and sleeps in the same system call, and reaps what the kernel
 * completed. On direct files a durable write is one entry that carries RWF_DSYNC: no worker thread
 * of the kernel takes part. On buffered files it is a write linked to a data sync, because there
 * the kernel would need a worker for either.
 *
 * What can fail: a linked pair. The link is cut by a failed or short write, and then the sync comes
 * back as -ECANCELED; but a pair that reaches the kernel in two calls is not linked at all, and its
 * sync would succeed whatever became of the write. So both go in one call or not at all, and where
 * the kernel itself stops between them the sync is taken back (mend_split_pair).
 *
 * No filter of system calls sees what goes through a ring, so the ring itself is told at its making
 * what it may be used for: reading, writing, syncing, reserving, and nothing of openat or connect.
 *
 * The kernel may refuse a submission for now (-EAGAIN, -EBUSY): completions are reaped and it is
 * tried again, for a while. What it will not take even so comes back with -EAGAIN as its result.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/io_file.h"

/* Room for a linked pair beside the entry that listens for ring_wake(). */
#define ENTRIES_MIN 4u

/* How often a submission that the kernel refuses is repeated, and how long in between. */
#define REFUSALS_MAX 64u
#define REFUSAL_PAUSE_NS 1000000

/* How often a ring is asked for again that there was no memory for, and how long in between. */
#define SETUPS_MAX 50u
#define SETUP_PAUSE_NS 10000000

/* One entry carries its length in 32 bits, and one write stops short of 2 GiB. */
#define WRITE_BYTES_MAX (1u << 30)

/*
 * Where the ring's thread is, as far as ring_wake() needs to know. Only one asleep has to be
 * signalled; one that is busy sees WAKE_CALLED before it sleeps next. Read and changed by exchanges
 * alone, so that of two threads one always sees what the other did.
 */
enum wake_state { WAKE_BUSY, WAKE_ASLEEP, WAKE_CALLED };

struct wal_ring {
    struct io_uring uring;
    bool direct;
    unsigned entries;
    pthread_t owner;

    /* The ring's thread only. */
    struct op_list queued; /* accepted, without a submission entry yet */
    struct op_list done;
    unsigned in_flight; /* accepted and not handed back */
    unsigned started;   /* with an entry, in the submission queue or taken by the kernel */
    bool wake_armed;    /* a read of wake_fd is in the ring */
    int wake_fd;
    int poll_fd;         /* -1 until ring_poll_fd() */
    uint64_t wake_count; /* where that read puts what it read; nobody looks */

    /* Any thread. */
    _Atomic int signal_fd; /* what ring_wake() writes to: wake_fd, later poll_fd */
    _Atomic int wake_state;
};

/*
 * What an entry's user data points to: the ring for the read of wake_fd, the operation for its
 * write or allocation, one byte further for its sync, and nothing for an entry taken back.
 */
static void *sync_data(struct wal_op *op)
{
    return (char *)op + 1;
}

static bool is_sync_data(const void *data)
{
    return (uintptr_t)data & 1;
}

/* The sync speaks only for bytes that were written: a write that failed or fell short reports
 * itself, and the -ECANCELED that it caused does not hide it. */
static int64_t verdict(int64_t written, int64_t synced, uint64_t size)
{
    if (written < 0 || (uint64_t)written != size || synced == 0)
        return written;

    return synced < 0 ? synced : -EIO;
}

/* Until both parts of a pair are in, `partial` keeps the write's result and `result` the sync's. */
static void complete(struct wal_ring *ring, void *data, int result)
{
    struct wal_op *op;

    if (!data)
        return;
    if (data == ring) {
        ring->wake_armed = false;
        return;
    }

    if (is_sync_data(data)) {
        op = (void *)((char *)data - 1);
        op->result = result;
    } else {
        op = data;
        op->partial = result;
    }
    must(op->parts > 0);
    if (--op->parts == 0) {
        op->result = verdict(op->partial, op->result, op->size);
        ring->started--;
        op_list_push(&ring->done, op);
    }
}

static unsigned reap(struct wal_ring *ring)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    unsigned count = 0;

    io_uring_for_each_cqe(&ring->uring, head, cqe)
    {
        complete(ring, io_uring_cqe_get_data(cqe), cqe->res);
        count++;
    }
    io_uring_cq_advance(&ring->uring, count);
    return count;
}

/* Completes what an entry stood for that the kernel has not taken. */
static void take_back(struct wal_ring *ring, struct io_uring_sqe *sqe, int error)
{
    void *data = (void *)(uintptr_t)sqe->user_data; /* NOLINT(performance-no-int-to-ptr) */

    io_uring_prep_nop(sqe);
    io_uring_sqe_set_data(sqe, NULL);
    complete(ring, data, error);
}

/* Empties the submission queue. The kernel looks at its tail in our own calls only, so between them
 * it can be moved back to where the kernel stopped. */
static void take_back_all(struct wal_ring *ring, int error)
{
    struct io_uring_sq *sq = &ring->uring.sq;
    unsigned head = *sq->khead;

    for (unsigned i = head; i != sq->sqe_tail; i++)
        take_back(ring, &sq->sqes[i & sq->ring_mask], error);
    sq->sqe_head = head;
    sq->sqe_tail = head;
    *sq->ktail = head;
}

/* A sync can only be the first entry left over if the kernel took its write and then stopped, for
 * want of memory. On its own it would not wait for the write. The same range can be sent again. */
static void mend_split_pair(struct wal_ring *ring)
{
    struct io_uring_sq *sq = &ring->uring.sq;
    struct io_uring_sqe *sqe = &sq->sqes[*sq->khead & sq->ring_mask];

    if (io_uring_sq_ready(&ring->uring) > 0 && sqe->opcode == IORING_OP_FSYNC)
        take_back(ring, sqe, -EAGAIN);
}

static struct io_uring_sqe *next_entry(struct wal_ring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

    must(sqe); /* the caller has looked */
    return sqe;
}

/* False if the submission queue lacks the room for all of it. */
static bool prepare_op(struct wal_ring *ring, struct wal_op *op)
{
    bool linked = op->kind == WAL_OP_WRITE_DURABLE && !ring->direct;
    struct io_uring_sqe *sqe;

    if (io_uring_sq_space_left(&ring->uring) < (linked ? 2 : 1))
        return false;

    op->parts = linked ? 2 : 1;
    op->partial = 0;
    op->result = 0; /* no sync, no complaint from it */
    ring->started++;
    sqe = next_entry(ring);
    if (op->kind == WAL_OP_ALLOCATE) {
        io_uring_prep_fallocate(sqe, op->handle, 0, (off_t)op->position, (off_t)op->size);
        io_uring_sqe_set_data(sqe, op);
        return true;
    }

    io_uring_prep_write(sqe, op->handle, op->data, (unsigned)op->size, op->position);
    io_uring_sqe_set_data(sqe, op);
    if (op->kind == WAL_OP_WRITE_DURABLE && !linked)
        sqe->rw_flags = RWF_DSYNC;
    if (!linked)
        return true;

    io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
    sqe = next_entry(ring);
    io_uring_prep_fsync(sqe, op->handle, IORING_FSYNC_DATASYNC);
    /* Only what was written, as RWF_DSYNC would: zeros written ahead may stay in the cache. The
     * kernel counts in the byte at the end of the range. */
    sqe->off = op->position;
    sqe->len = (unsigned)op->size - 1;
    io_uring_sqe_set_data(sqe, sync_data(op));
    return true;
}

/* False if operations are left over that the submission queue had no room for. */
static bool prepare(struct wal_ring *ring)
{
    if (!ring->wake_armed && ring->poll_fd < 0) {
        struct io_uring_sqe *sqe;

        if (io_uring_sq_space_left(&ring->uring) < 1)
            return false;

        sqe = next_entry(ring);
        io_uring_prep_read(sqe, ring->wake_fd, &ring->wake_count, sizeof(ring->wake_count), 0);
        io_uring_sqe_set_data(sqe, ring);
        ring->wake_armed = true;
    }
    while (ring->queued.first) {
        if (!prepare_op(ring, ring->queued.first))
            return false;
        (void)op_list_pop(&ring->queued);
    }
    return true;
}

static bool was_called(struct wal_ring *ring)
{
    /* Only to end the sleep; the exchange in uring_wait() is what pairs with ring_wake(). */
    return atomic_load_explicit(&ring->wake_state, memory_order_relaxed) == WAKE_CALLED;
}

static bool has_news(struct wal_ring *ring)
{
    return ring->done.first || was_called(ring);
}

/* False if ring_wake() was called since the last wait. */
static bool fall_asleep(struct wal_ring *ring)
{
    int state = WAKE_BUSY;

    /* Pairs with the exchange in uring_wake(): it sees us asleep, or we see that it called. */
    return atomic_compare_exchange_strong_explicit(&ring->wake_state, &state, WAKE_ASLEEP,
                                                   memory_order_acq_rel, memory_order_acquire) ||
           state == WAKE_ASLEEP;
}

static void clear_poll_fd(struct wal_ring *ring)
{
    uint64_t count;

    if (ring->poll_fd >= 0)
        (void)!read(ring->poll_fd, &count, sizeof(count));
}

/*
 * The kernel does a limited amount of deferred work in one call, of which some completes nothing
 * (the start of a linked sync), and what it leaves over it does not signal again: before a caller
 * goes to sleep on poll_fd, none may be left. The ring's descriptor tells, to one who asks.
 */
static bool has_deferred_work(const struct wal_ring *ring)
{
    struct pollfd pollfd = {.fd = ring->uring.ring_fd, .events = POLLIN};

    return poll(&pollfd, 1, 0) > 0;
}

/* Hands over what is prepared and sleeps until something completes. */
static int enter(struct wal_ring *ring, uint64_t sleep_us)
{
    struct timespec limit = {.tv_sec = (time_t)(sleep_us / 1000000u),
                             .tv_nsec = (long)(sleep_us % 1000000u) * 1000};
    struct __kernel_timespec kernel_limit = {.tv_sec = limit.tv_sec, .tv_nsec = limit.tv_nsec};
    struct io_uring_cqe *cqe;

    if (sleep_us == 0)
        return io_uring_submit_and_get_events(&ring->uring);

    if (ring->poll_fd >= 0) {
        struct pollfd pollfd = {.fd = ring->poll_fd, .events = POLLIN};
        int rc = io_uring_submit_and_get_events(&ring->uring);

        if (rc < 0 || has_deferred_work(ring))
            return rc;
        (void)ppoll(&pollfd, 1, sleep_us == UINT64_MAX ? NULL : &limit, NULL);
        clear_poll_fd(ring);
        return io_uring_get_events(&ring->uring);
    }

    if (sleep_us == UINT64_MAX)
        return io_uring_submit_and_wait(&ring->uring, 1);

    return io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, &kernel_limit, NULL);
}

enum next_step { STEP_ON, STEP_AGAIN, STEP_GIVE_UP };

/* Looks after the entries that an enter() with this answer left behind. `progress` is whether it
 * took or completed anything. */
static enum next_step after_enter(struct wal_ring *ring, int answer, bool progress,
                                  unsigned *refusals)
{
    static const struct timespec pause = {.tv_nsec = REFUSAL_PAUSE_NS};
    bool for_good =
        answer < 0 && answer != -ETIME && answer != -EINTR && answer != -EAGAIN && answer != -EBUSY;

    mend_split_pair(ring);
    if (!for_good && io_uring_sq_ready(&ring->uring) == 0)
        return STEP_ON;
    if (!for_good && progress)
        return STEP_AGAIN;

    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    if (!for_good && ++*refusals < REFUSALS_MAX)
        return STEP_AGAIN;

    take_back_all(ring, for_good ? answer : -EAGAIN);
    /* A ring that fails for good under writes in flight: neither their results nor the memory that
     * they read from can be had again, short of a restart. */
    must(!for_good || ring->started == 0);
    return STEP_GIVE_UP;
}

static uint64_t time_left(uint64_t timeout_us, uint64_t begin_us)
{
    uint64_t passed_us;

    if (timeout_us == 0 || timeout_us == UINT64_MAX)
        return timeout_us;

    passed_us = io_file_monotonic_us(NULL) - begin_us;
    return passed_us < timeout_us ? timeout_us - passed_us : 0;
}

static struct wal_op *uring_wait(struct wal_ring *ring, uint64_t timeout_us)
{
    uint64_t begin_us = io_file_monotonic_us(NULL);
    bool polled = ring->poll_fd >= 0;
    unsigned refusals = 0;
    struct wal_op *done;
    enum next_step step;

    clear_poll_fd(ring);
    (void)reap(ring);
    do {
        bool prepared = prepare(ring);
        unsigned ready = io_uring_sq_ready(&ring->uring);
        uint64_t sleep_us = 0;
        unsigned reaped;
        int answer;

        if (prepared && !ring->done.first)
            sleep_us = time_left(timeout_us, begin_us);
        if (sleep_us > 0 && !fall_asleep(ring))
            sleep_us = 0;

        answer = enter(ring, sleep_us);
        reaped = reap(ring);
        step = after_enter(ring, answer, reaped > 0 || io_uring_sq_ready(&ring->uring) < ready,
                           &refusals);
        if (step == STEP_ON && (!prepared || (polled && has_deferred_work(ring))))
            step = STEP_AGAIN;
    } while (step == STEP_AGAIN ||
             (step == STEP_ON && !has_news(ring) && time_left(timeout_us, begin_us) > 0));

    /* Pairs with the exchange in uring_wake(): what its caller did before is seen from here on. A
     * caller with an event loop sleeps outside, on poll_fd. */
    (void)atomic_exchange_explicit(&ring->wake_state, polled ? WAKE_ASLEEP : WAKE_BUSY,
                                   memory_order_acq_rel);
    done = op_list_take(&ring->done);
    for (const struct wal_op *op = done; op; op = op->next)
        ring->in_flight--;
    return done;
}

static void uring_wake(struct wal_ring *ring)
{
    /* Pairs with fall_asleep() and with the exchange in uring_wait(). */
    if (atomic_exchange_explicit(&ring->wake_state, WAKE_CALLED, memory_order_acq_rel) !=
        WAKE_ASLEEP)
        return;

    /* Pairs with the store in uring_poll_fd(). */
    must(eventfd_write(atomic_load_explicit(&ring->signal_fd, memory_order_acquire), 1) == 0);
}

/*
 * An eventfd of its own. The ring's descriptor will not do: with IORING_SETUP_DEFER_TASKRUN a
 * completion is not posted before the ring's thread enters the kernel for it, and who sleeps in
 * poll() on the ring is not woken for that (6.18). A registered eventfd is signalled all the same.
 */
static int uring_poll_fd(struct wal_ring *ring)
{
    int state = WAKE_BUSY;
    int fd;
    int rc;

    if (ring->poll_fd >= 0)
        return ring->poll_fd;

    /* Readable from the start: something may be waiting already. */
    fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;

    rc = io_uring_register_eventfd(&ring->uring, fd);
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    ring->poll_fd = fd;
    /* Pairs with the load in uring_wake(), which comes to it through wake_state. */
    atomic_store_explicit(&ring->signal_fd, fd, memory_order_release);
    (void)atomic_compare_exchange_strong_explicit(&ring->wake_state, &state, WAKE_ASLEEP,
                                                  memory_order_acq_rel, memory_order_acquire);
    return fd;
}

static void uring_submit(struct wal_ring *ring, struct wal_op *op)
{
    must(ring->in_flight < ring->entries);
    must(op->kind == WAL_OP_ALLOCATE || (op->size > 0 && op->size <= WRITE_BYTES_MAX));
    ring->in_flight++;
    op_list_push(&ring->queued, op);
}

/* The read of wake_fd points into the ring's memory, so it has to end before that goes. */
static void end_wake_read(struct wal_ring *ring)
{
    for (int tries = 0; ring->wake_armed && tries < 10; tries++) {
        (void)eventfd_write(ring->wake_fd, 1);
        (void)enter(ring, 100000);
        (void)reap(ring);
    }
    must(!ring->wake_armed);
}

static void uring_ring_free(struct wal_ring *ring)
{
    if (!ring)
        return;

    must(ring->in_flight == 0);
    must(pthread_equal(ring->owner, pthread_self()));
    end_wake_read(ring);
    /* The kernel takes a closed ring apart later, in its own time; `keep` must be free when we
     * return, or the same directory could not be opened again at once. */
    (void)io_uring_unregister_files(&ring->uring);
    io_uring_queue_exit(&ring->uring);
    (void)close(ring->wake_fd);
    if (ring->poll_fd >= 0)
        (void)close(ring->poll_fd);
    free(ring);
}

/* The completion queue has room for both parts of all operations, and then some. */
static int setup_once(struct io_uring *uring, unsigned entries)
{
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* 6.1: no interrupts at all */
        IORING_SETUP_COOP_TASKRUN,                               /* 5.19: fewer of them */
        0,
    };
    int rc = -EINVAL;

    for (size_t i = 0; i < ARRAY_SIZE(flags) && rc == -EINVAL; i++) {
        /* Disabled, so that it can be restricted first. */
        struct io_uring_params params = {.flags = flags[i] | IORING_SETUP_CQSIZE |
                                                  IORING_SETUP_R_DISABLED,
                                         .cq_entries = 4 * entries};

        rc = io_uring_queue_init_params(entries, uring, &params);
    }
    return rc;
}

static int setup(struct io_uring *uring, unsigned entries)
{
    static const struct timespec pause = {.tv_nsec = SETUP_PAUSE_NS};
    int rc = setup_once(uring, entries);

    /* Some kernels count rings against the limit of locked memory, and a closed ring until they
     * have come round to taking it apart: tens of milliseconds in which the ring of a probe, or of
     * a store just closed, is in the way of the next. */
    for (unsigned tries = 1; rc == -ENOMEM && tries < SETUPS_MAX; tries++) {
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        rc = setup_once(uring, entries);
    }
    if (rc < 0)
        return rc;

    /* Without the first a full completion queue loses completions; without the second a wait with a
     * limit costs an entry and a completion of its own. Linux has both since 5.11. */
    if (!(uring->features & IORING_FEAT_NODROP) || !(uring->features & IORING_FEAT_EXT_ARG)) {
        io_uring_queue_exit(uring);
        return -ENOSYS;
    }
    return 0;
}

/* Debian's shared liburing has no functions for the two calls that are made of a disabled ring. */
static int register_call(struct io_uring *uring, unsigned call, void *argument, unsigned count)
{
    return (int)syscall(SYS_io_uring_register, uring->ring_fd, call, argument, count) < 0 ? -errno
                                                                                          : 0;
}

#define ALLOW_OPERATION(name)                                                                      \
    {                                                                                              \
        .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = (name)                                      \
    }
#define ALLOW_CALL(name)                                                                           \
    {                                                                                              \
        .opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = (name)                            \
    }

/* Not being able to restrict a ring is no reason not to use it; who asks is told. */
static int restrict_and_enable(struct io_uring *uring, bool *ret_restricted)
{
    struct io_uring_restriction allowed[] = {
        ALLOW_OPERATION(IORING_OP_WRITE),
        ALLOW_OPERATION(IORING_OP_FSYNC),
        ALLOW_OPERATION(IORING_OP_FALLOCATE),
        ALLOW_OPERATION(IORING_OP_READ), /* of wake_fd */
        ALLOW_OPERATION(IORING_OP_NOP),  /* an entry taken back */
        {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_IO_LINK},
        ALLOW_CALL(IORING_REGISTER_EVENTFD),
        ALLOW_CALL(IORING_REGISTER_FILES),
        ALLOW_CALL(IORING_UNREGISTER_FILES),
        ALLOW_CALL(IORING_REGISTER_RING_FDS),
        ALLOW_CALL(IORING_UNREGISTER_RING_FDS),
    };

    *ret_restricted =
        register_call(uring, IORING_REGISTER_RESTRICTIONS, allowed, ARRAY_SIZE(allowed)) == 0;
    return register_call(uring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static int uring_ring_new(struct wal_io *io, unsigned entries, int keep, struct wal_ring **ret_ring)
{
    struct wal_ring *ring = calloc(1, sizeof(*ring));
    bool restricted = false;
    int rc;

    must(entries > 0 && entries <= UINT32_MAX / 4);
    if (!ring)
        return -ENOMEM;

    ring->direct = io->direct;
    ring->entries = entries;
    ring->owner = pthread_self();
    ring->poll_fd = -1;
    ring->wake_fd = eventfd(0, EFD_CLOEXEC); /* blocking: else the read would not wait for it */
    if (ring->wake_fd < 0) {
        rc = -errno;
        free(ring);
        return rc;
    }
    atomic_init(&ring->signal_fd, ring->wake_fd);
    atomic_init(&ring->wake_state, WAKE_BUSY);

    rc = setup(&ring->uring, (unsigned)max_u64(entries, ENTRIES_MIN));
    if (rc == 0) {
        rc = restrict_and_enable(&ring->uring, &restricted);
        if (rc < 0)
            io_uring_queue_exit(&ring->uring);
    }
    if (rc < 0) {
        (void)close(ring->wake_fd);
        free(ring);
        return rc;
    }
    atomic_store_explicit(&io->ring_restricted, restricted, memory_order_relaxed);

    /*
     * After a kill the kernel may still be at work on writes in flight. It holds their ring until
     * then, and a file registered with the ring with it: so a lock on `keep` lasts until the last
     * of them is over, and the next process cannot write in between. Neither this nor the shortcut
     * for the ring's own descriptor is worth refusing to work for.
     */
    if (keep >= 0)
        (void)io_uring_register_files(&ring->uring, &keep, 1);
    (void)io_uring_register_ring_fd(&ring->uring);
    *ret_ring = ring;
    return 0;
}

static void uring_free(struct wal_io *io)
{
    free(io);
}

static const struct wal_io_ops uring_ops = {
    IO_FILE_OPS,
    .name = "uring",
    .free = uring_free,
    .ring_new = uring_ring_new,
    .ring_free = uring_ring_free,
    .ring_submit = uring_submit,
    .overlaps = true,
    .ring_wait = uring_wait,
    .ring_wake = uring_wake,
    .ring_poll_fd = uring_poll_fd,
};

int wal_io_uring_new(bool direct, struct wal_io **ret_io)
{
    struct wal_io *io = calloc(1, sizeof(*io));

    if (!io)
        return -ENOMEM;

    io->ops = &uring_ops;
    io->direct = direct;
    (void)snprintf(io->reason, sizeof(io->reason), "io_uring, as the program demanded");
    *ret_io = io;
    return 0;
}
