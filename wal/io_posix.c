/*
 * The disk seam on plain system calls, for where io_uring is not allowed. Owns a small pool of
 * threads per ring; files are io_file.c's, and what a failed write means is commit.c's.
 *
 * One durable write alone runs on the ring's own thread, inside ring_wait(): nothing has less
 * latency, and no other thread is woken. As soon as there are more, workers run them, because the
 * syncs of many logs cost the disk little more than one: the pool is what lets them overlap. The
 * ring's thread helps as long as it has nothing to hand back.
 *
 * Workers are started when work first waits for one, up to WORKERS_MAX, and stay until ring_free().
 * Writes without a sync and allocations are nobody's latency: a worker takes them after the durable
 * writes, and half of the pool is kept free of them.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/io_file.h"

#define WORKERS_MAX 16u
#define BACKGROUND_MAX (WORKERS_MAX / 2)
#define WORKER_STACK_BYTES (256u << 10)
#define WRITE_BYTES_MAX (1u << 30) /* as for io_uring.c, so that both take the same */

struct wal_ring {
    unsigned entries;

    /* The ring's thread only. */
    struct op_list staged; /* accepted, kept back until ring_wait() */
    unsigned in_flight;    /* accepted and not handed back */
    unsigned durable_in_flight;

    pthread_mutex_t mutex;
    pthread_cond_t work; /* workers sleep on it */
    pthread_cond_t news; /* the ring's thread sleeps on it */

    /* Guarded by mutex. */
    struct op_list durable; /* waiting for a thread */
    struct op_list background;
    unsigned durable_count;      /* waiting in durable */
    unsigned background_count;   /* waiting in background */
    unsigned background_running; /* in a worker */
    struct op_list done;
    bool called; /* ring_wake() since the last ring_wait() */
    bool asleep; /* the ring's thread waits for news */
    bool stop;
    int poll_fd; /* -1 until ring_poll_fd() */
    bool poll_signalled;
    unsigned worker_count;
    unsigned idle_count; /* of them asleep or just woken */
    pthread_t workers[WORKERS_MAX];
};

static void run(struct wal_op *op)
{
    if (op->kind == WAL_OP_ALLOCATE)
        op->result = io_file_allocate(NULL, op->handle, op->position, op->size);
    else
        op->result = io_file_write_once(op->handle, op->data, op->size, op->position,
                                        op->kind == WAL_OP_WRITE_DURABLE);
}

static void lock(struct wal_ring *ring)
{
    must(pthread_mutex_lock(&ring->mutex) == 0);
}

static void unlock(struct wal_ring *ring)
{
    must(pthread_mutex_unlock(&ring->mutex) == 0);
}

static void tell_news_locked(struct wal_ring *ring)
{
    if (ring->asleep) {
        ring->asleep = false;
        must(pthread_cond_signal(&ring->news) == 0);
    }
    if (ring->poll_fd >= 0 && !ring->poll_signalled) {
        ring->poll_signalled = true;
        must(eventfd_write(ring->poll_fd, 1) == 0);
    }
}

static void clear_poll_fd_locked(struct wal_ring *ring)
{
    uint64_t count;

    if (ring->poll_signalled) {
        ring->poll_signalled = false;
        must(eventfd_read(ring->poll_fd, &count) == 0);
    }
}

static struct wal_op *next_op_locked(struct wal_ring *ring)
{
    struct wal_op *op = op_list_pop(&ring->durable);

    if (op) {
        ring->durable_count--;
        return op;
    }
    if (ring->background_running >= BACKGROUND_MAX)
        return NULL;

    op = op_list_pop(&ring->background);
    if (op) {
        ring->background_count--;
        ring->background_running++;
    }
    return op;
}

static void finish_locked(struct wal_ring *ring, struct wal_op *op)
{
    if (op->kind != WAL_OP_WRITE_DURABLE)
        ring->background_running--;
    op_list_push(&ring->done, op);
}

static void *worker_main(void *context)
{
    struct wal_ring *ring = context;

    lock(ring);
    for (;;) {
        struct wal_op *op = next_op_locked(ring);

        if (op) {
            unlock(ring);
            run(op);
            lock(ring);
            finish_locked(ring, op);
            tell_news_locked(ring);
        } else if (ring->stop) {
            break;
        } else {
            ring->idle_count++;
            must(pthread_cond_wait(&ring->work, &ring->mutex) == 0);
            ring->idle_count--;
        }
    }
    unlock(ring);
    return NULL;
}

/* Signals belong to the threads of the program, so a worker is born with all of them blocked. */
static int start_worker_locked(struct wal_ring *ring)
{
    pthread_t *worker = &ring->workers[ring->worker_count];
    pthread_attr_t attr;
    sigset_t all, before;
    int rc;

    must(pthread_attr_init(&attr) == 0);
    must(pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES) == 0);
    must(sigfillset(&all) == 0);
    must(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    rc = pthread_create(worker, &attr, worker_main, ring);
    must(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    must(pthread_attr_destroy(&attr) == 0);
    if (rc != 0)
        return -rc;

    (void)pthread_setname_np(*worker, "wal-io");
    ring->worker_count++;
    return 0;
}

/* One worker for each of `count` operations that wait, as far as there are any. Where none can be
 * started the ring's thread does their work. */
static void rouse_workers_locked(struct wal_ring *ring, unsigned count)
{
    unsigned idle = ring->idle_count;

    for (unsigned i = 0; i < count && i < idle; i++)
        must(pthread_cond_signal(&ring->work) == 0);
    while (idle < count && ring->worker_count < WORKERS_MAX) {
        if (start_worker_locked(ring) < 0)
            break;
        idle++;
    }
}

/* Gives what was submitted to the workers, but keeps a durable write that has no company. */
static struct wal_op *post_staged_locked(struct wal_ring *ring, bool will_help)
{
    struct wal_op *alone = NULL;
    struct wal_op *op;
    unsigned waiting;

    while ((op = op_list_pop(&ring->staged))) {
        if (op->kind != WAL_OP_WRITE_DURABLE) {
            op_list_push(&ring->background, op);
            ring->background_count++;
        } else if (ring->durable_in_flight == 1) {
            alone = op;
        } else {
            op_list_push(&ring->durable, op);
            ring->durable_count++;
        }
    }

    waiting = (unsigned)min_u64(ring->background_count, BACKGROUND_MAX - ring->background_running) +
              ring->durable_count;
    if (will_help && ring->durable_count > 0)
        waiting--;
    rouse_workers_locked(ring, waiting);
    return alone;
}

static void run_unlocked(struct wal_ring *ring, struct wal_op *op)
{
    unlock(ring);
    run(op);
    lock(ring);
    finish_locked(ring, op);
}

/* What the ring's own thread should run rather than sleep. */
static struct wal_op *help_locked(struct wal_ring *ring, bool may_help)
{
    if (ring->worker_count == 0 || (may_help && ring->durable_count > 0))
        return next_op_locked(ring);

    return NULL;
}

/* False when the time is over. */
static bool sleep_locked(struct wal_ring *ring, const struct timespec *deadline)
{
    int rc;

    ring->asleep = true;
    if (deadline)
        rc = pthread_cond_timedwait(&ring->news, &ring->mutex, deadline);
    else
        rc = pthread_cond_wait(&ring->news, &ring->mutex);
    must(rc == 0 || rc == ETIMEDOUT);
    ring->asleep = false;
    return rc == 0;
}

static struct timespec deadline_after(uint64_t timeout_us)
{
    struct timespec at;

    must(clock_gettime(CLOCK_MONOTONIC, &at) == 0);
    at.tv_sec += (time_t)(timeout_us / 1000000u);
    at.tv_nsec += (long)(timeout_us % 1000000u) * 1000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

static struct wal_op *posix_wait(struct wal_ring *ring, uint64_t timeout_us)
{
    struct timespec deadline = {0};
    bool endless = timeout_us == UINT64_MAX;
    bool may_help = timeout_us > 0; /* a caller with an event loop has better to do */
    struct wal_op *done;
    struct wal_op *op;

    if (!endless && timeout_us > 0)
        deadline = deadline_after(timeout_us);

    lock(ring);
    clear_poll_fd_locked(ring);
    op = post_staged_locked(ring, may_help && !ring->done.first && !ring->called);
    if (op)
        run_unlocked(ring, op);
    while (!ring->done.first && !ring->called) {
        op = help_locked(ring, may_help);
        if (op)
            run_unlocked(ring, op);
        else if (timeout_us == 0 || !sleep_locked(ring, endless ? NULL : &deadline))
            break;
    }
    ring->called = false;
    done = op_list_take(&ring->done);
    unlock(ring);

    for (op = done; op; op = op->next) {
        ring->in_flight--;
        if (op->kind == WAL_OP_WRITE_DURABLE)
            ring->durable_in_flight--;
    }
    return done;
}

static void posix_wake(struct wal_ring *ring)
{
    lock(ring);
    ring->called = true;
    tell_news_locked(ring);
    unlock(ring);
}

/* Signalled by ring_wake() and by workers. A durable write that is alone runs inside the caller's
 * ring_wait(0), which then blocks for as long as the write takes and returns it. */
static int posix_poll_fd(struct wal_ring *ring)
{
    int fd;

    lock(ring);
    if (ring->poll_fd < 0) {
        /* Readable from the start: something may be waiting already. */
        ring->poll_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        ring->poll_signalled = ring->poll_fd >= 0;
    }
    fd = ring->poll_fd >= 0 ? ring->poll_fd : -errno;
    unlock(ring);
    return fd;
}

static void posix_submit(struct wal_ring *ring, struct wal_op *op)
{
    must(ring->in_flight < ring->entries);
    must(op->kind == WAL_OP_ALLOCATE || (op->size > 0 && op->size <= WRITE_BYTES_MAX));
    ring->in_flight++;
    if (op->kind == WAL_OP_WRITE_DURABLE)
        ring->durable_in_flight++;
    op_list_push(&ring->staged, op);
}

static void posix_ring_free(struct wal_ring *ring)
{
    if (!ring)
        return;

    must(ring->in_flight == 0);
    lock(ring);
    ring->stop = true;
    must(pthread_cond_broadcast(&ring->work) == 0);
    unlock(ring);
    for (unsigned i = 0; i < ring->worker_count; i++)
        must(pthread_join(ring->workers[i], NULL) == 0);

    if (ring->poll_fd >= 0)
        (void)close(ring->poll_fd);
    must(pthread_cond_destroy(&ring->work) == 0);
    must(pthread_cond_destroy(&ring->news) == 0);
    must(pthread_mutex_destroy(&ring->mutex) == 0);
    free(ring);
}

/* `keep` needs no care here: a system call in progress outlives nothing but itself, and the kernel
 * closes the files of a process only when its last thread has left such a call. */
static int posix_ring_new(struct wal_io *io, unsigned entries, int keep, struct wal_ring **ret_ring)
{
    struct wal_ring *ring = calloc(1, sizeof(*ring));
    pthread_condattr_t attr;

    must(entries > 0);
    if (!ring)
        return -ENOMEM;

    ring->entries = entries;
    ring->poll_fd = -1;
    must(pthread_mutex_init(&ring->mutex, NULL) == 0);
    must(pthread_condattr_init(&attr) == 0);
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    must(pthread_cond_init(&ring->work, NULL) == 0);
    must(pthread_cond_init(&ring->news, &attr) == 0);
    must(pthread_condattr_destroy(&attr) == 0);
    *ret_ring = ring;
    return 0;
}

static void posix_free(struct wal_io *io)
{
    free(io);
}

static const struct wal_io_ops posix_ops = {
    IO_FILE_OPS,
    .name = "posix",
    .free = posix_free,
    .ring_new = posix_ring_new,
    .ring_free = posix_ring_free,
    .ring_submit = posix_submit,
    .ring_wait = posix_wait,
    .ring_wake = posix_wake,
    .ring_poll_fd = posix_poll_fd,
};

int wal_io_posix_new(bool direct, struct wal_io **ret_io)
{
    struct wal_io *io = calloc(1, sizeof(*io));

    if (!io)
        return -ENOMEM;

    io->ops = &posix_ops;
    io->direct = direct;
    (void)snprintf(io->reason, sizeof(io->reason), "system calls, as the program demanded");
    *ret_io = io;
    return 0;
}
