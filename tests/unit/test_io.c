/*
 * wal/io.h: the contract of the disk seam, held against each backend on a real disk, with direct
 * and with buffered files. What only a ring of io_uring can get wrong is in test_io_uring.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/tempdir.h"
#include "wal/base.h"
#include "wal/io.h"

#define BLOCK ((size_t)WAL_BLOCK_BYTES)
#define SECOND_US 1000000u
/* Long enough for any disk, short enough for a test that found a lost completion. */
#define PATIENCE_US (60ull * SECOND_US)

static const struct variant {
    const char *name;
    int (*make)(bool direct, struct wal_io **ret_io);
    bool direct;
} variants[] = {
    {"uring, direct", wal_io_uring_new, true},
    {"uring, buffered", wal_io_uring_new, false},
    {"posix, direct", wal_io_posix_new, true},
    {"posix, buffered", wal_io_posix_new, false},
};

/* Of the test at hand. */
static const struct variant *variant;
static char *folder;
static struct wal_io *io;
static int dir;

/* What system calls of ours sync: stands in for the one of the C library. */
static _Atomic unsigned synced_writes;

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
ssize_t pwritev2(int fd, const struct iovec *iovec, int count, off_t offset, int flags)
{
    if (flags & RWF_DSYNC)
        atomic_fetch_add(&synced_writes, 1);
    return syscall(SYS_pwritev2, fd, iovec, (long)count, (long)offset, 0L, (long)flags);
}

static int setup(void **state)
{
    folder = tempdir_make();
    if (variant->make(variant->direct, &io) != 0)
        return -1;
    dir = io->ops->open_dir(io, WAL_IO_CWD, folder);
    return dir < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    io->ops->close(io, dir);
    io->ops->free(io);
    tempdir_remove(folder);
    free(folder);
    return 0;
}

/* ---- small helpers ---- */

static uint64_t now_us(void)
{
    return io->ops->monotonic_us(io);
}

static void sleep_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)nanosleep(&time, NULL);
}

/* Skips the test where the kernel gives this process no ring. */
static struct wal_ring *open_ring(unsigned entries, int keep)
{
    struct wal_ring *ring = NULL;
    int rc = io->ops->ring_new(io, entries, keep, &ring);

    if (rc == -EPERM || rc == -ENOSYS || rc == -EACCES) {
        print_message("no ring here: %s\n", strerror(-rc));
        skip();
    }
    assert_int_equal(rc, 0);
    return ring;
}

static int create(const char *name)
{
    int handle = io->ops->open_file(
        io, dir, name, WAL_OPEN_CREATE | WAL_OPEN_WRITE | (variant->direct ? WAL_OPEN_DIRECT : 0));

    assert_true(handle >= 0);
    return handle;
}

static unsigned char *new_blocks(size_t bytes, unsigned seed)
{
    unsigned char *data = aligned_alloc(BLOCK, bytes);

    assert_non_null(data);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)((i * 2654435761u + seed) >> 7);
    return data;
}

static bool is_zero(const unsigned char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != 0)
            return false;
    }
    return true;
}

/* Reads through a second, buffered handle, as readers of a log do. */
static void assert_file_holds(const char *name, const unsigned char *data, size_t bytes,
                              uint64_t position)
{
    unsigned char *found = new_blocks(bytes, 99);
    int handle = io->ops->open_file(io, dir, name, WAL_OPEN_READ);

    assert_true(handle >= 0);
    assert_int_equal(io->ops->read(io, handle, found, bytes, position), bytes);
    assert_memory_equal(found, data, bytes);
    io->ops->close(io, handle);
    free(found);
}

/* Waits until `count` of ops are done, and that each is handed back once. */
static void wait_for(struct wal_ring *ring, struct wal_op *ops, unsigned total, unsigned count)
{
    uint64_t begin_us = now_us();
    unsigned char *seen = calloc(total, 1);

    assert_non_null(seen);
    while (count > 0) {
        struct wal_op *next;

        for (struct wal_op *op = io->ops->ring_wait(ring, SECOND_US); op; op = next) {
            size_t index = (size_t)(op - ops);

            next = op->next;
            assert_true(op >= ops && index < total);
            assert_int_equal(seen[index], 0);
            seen[index] = 1;
            assert_true(count > 0);
            count--;
        }
        assert_true(now_us() - begin_us < PATIENCE_US);
    }
    free(seen);
}

static int64_t run_op(struct wal_ring *ring, struct wal_op op)
{
    struct wal_op mine = op;

    io->ops->ring_submit(ring, &mine);
    wait_for(ring, &mine, 1, 1);
    return mine.result;
}

static struct wal_op durable_write(int handle, const void *data, uint64_t size, uint64_t position)
{
    return (struct wal_op){.kind = WAL_OP_WRITE_DURABLE,
                           .handle = handle,
                           .data = data,
                           .size = size,
                           .position = position};
}

/* ---- writing ---- */

/* The one thing all else is for. */
static void a_durable_write_reads_back(void **state)
{
    struct wal_ring *ring = open_ring(4, -1);
    unsigned char *data = new_blocks(8 * BLOCK, 1);
    int handle = create("file");

    assert_int_equal(run_op(ring, durable_write(handle, data, BLOCK, 0)), BLOCK);
    assert_int_equal(run_op(ring, durable_write(handle, data + BLOCK, 7 * BLOCK, BLOCK)),
                     7 * BLOCK);
    assert_file_holds("file", data, 8 * BLOCK, 0);
    assert_int_equal(io->ops->file_bytes(io, handle), 8 * BLOCK);

    unsigned char *found = new_blocks(8 * BLOCK, 2);

    assert_int_equal(io->ops->read(io, handle, found, 8 * BLOCK, 0), 8 * BLOCK);
    assert_memory_equal(found, data, 8 * BLOCK);
    free(found);
    free(data);
    io->ops->close(io, handle);
    io->ops->ring_free(ring);
}

/* A log that skips this is fast, and passes every test that does not cut the power. What a ring
 * asks of the kernel is looked at in test_io_uring.c. */
static void durable_means_synced(void **state)
{
    unsigned char *data = new_blocks(BLOCK, 1);
    int handle = create("file");

    atomic_store(&synced_writes, 0);
    assert_int_equal(io->ops->write(io, handle, data, BLOCK, 0, false), 0);
    assert_int_equal(atomic_load(&synced_writes), 0);
    assert_int_equal(io->ops->write(io, handle, data, BLOCK, 0, true), 0);
    assert_int_equal(atomic_load(&synced_writes), 1);

    if (variant->make == wal_io_posix_new) {
        struct wal_ring *ring = open_ring(4, -1);
        struct wal_op ops[3];

        for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
            ops[i] = durable_write(handle, data, BLOCK, (uint64_t)i * BLOCK);
            if (i == 2)
                ops[i].kind = WAL_OP_WRITE;
            io->ops->ring_submit(ring, &ops[i]);
        }
        wait_for(ring, ops, ARRAY_SIZE(ops), ARRAY_SIZE(ops));
        assert_int_equal(atomic_load(&synced_writes), 3);
        io->ops->ring_free(ring);
    }
    free(data);
    io->ops->close(io, handle);
}

/* A frame larger than what one page-sized transfer or one worker's appetite covers. */
static void a_large_write_is_one_operation(void **state)
{
    const size_t bytes = 16u << 20;
    struct wal_ring *ring = open_ring(4, -1);
    unsigned char *data = new_blocks(bytes, 1);
    int handle = create("file");

    assert_int_equal(run_op(ring, durable_write(handle, data, bytes, 0)), bytes);
    assert_file_holds("file", data, bytes, 0);
    free(data);
    io->ops->close(io, handle);
    io->ops->ring_free(ring);
}

/* A lost completion is a client that waits for ever; a doubled one is an acknowledgement too many.
 * As many as the ring takes, at random places of several files, over and over. */
static void each_of_many_operations_completes_once(void **state)
{
    enum { COUNT = 256, FILES = 8, ROUNDS = 4 };
    struct wal_ring *ring = open_ring(COUNT, -1);
    unsigned char *data = new_blocks(COUNT * BLOCK, 7);
    struct wal_op *ops = calloc(COUNT, sizeof(*ops));
    int handles[FILES];
    char name[16];

    assert_non_null(ops);
    for (int i = 0; i < FILES; i++) {
        (void)snprintf(name, sizeof(name), "file%d", i);
        handles[i] = create(name);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            unsigned at = (i + round * 37) % COUNT;

            ops[i] = durable_write(handles[at % FILES], data + (size_t)at * BLOCK, BLOCK,
                                   (uint64_t)(at / FILES) * BLOCK);
            io->ops->ring_submit(ring, &ops[i]);
        }
        wait_for(ring, ops, COUNT, COUNT);
        for (unsigned i = 0; i < COUNT; i++)
            assert_int_equal(ops[i].result, BLOCK);
        assert_null(io->ops->ring_wait(ring, 0));
    }
    for (unsigned at = 0; at < COUNT; at++) {
        (void)snprintf(name, sizeof(name), "file%u", at % FILES);
        assert_file_holds(name, data + (size_t)at * BLOCK, BLOCK, (uint64_t)(at / FILES) * BLOCK);
    }

    for (int i = 0; i < FILES; i++)
        io->ops->close(io, handles[i]);
    free(ops);
    free(data);
    io->ops->ring_free(ring);
}

/* Logs zero space ahead of themselves while others commit: all kinds share a ring. */
static void kinds_of_operations_mix(void **state)
{
    enum { COUNT = 30 };
    struct wal_ring *ring = open_ring(32, -1);
    unsigned char *data = new_blocks(BLOCK, 3);
    struct wal_op ops[COUNT];
    int handle = create("file");
    int allocated = create("allocated");

    for (unsigned i = 0; i < COUNT; i++) {
        ops[i] = durable_write(handle, data, BLOCK, (uint64_t)i * BLOCK);
        if (i % 3 == 1) {
            ops[i].kind = WAL_OP_WRITE;
        } else if (i % 3 == 2) {
            ops[i].kind = WAL_OP_ALLOCATE;
            ops[i].handle = allocated;
            ops[i].data = NULL;
        }
        io->ops->ring_submit(ring, &ops[i]);
    }
    wait_for(ring, ops, COUNT, COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(ops[i].result, i % 3 == 2 ? 0 : (int)BLOCK);
    assert_file_holds("file", data, BLOCK, 0);
    assert_file_holds("file", data, BLOCK, BLOCK);

    free(data);
    io->ops->close(io, handle);
    io->ops->close(io, allocated);
    io->ops->ring_free(ring);
}

/* Nothing may be in the file before the caller asks for it: a log decides what goes together. */
static void nothing_is_written_before_the_wait(void **state)
{
    struct wal_ring *ring = open_ring(4, -1);
    unsigned char *data = new_blocks(BLOCK, 3);
    int handle = create("file");
    struct wal_op op = durable_write(handle, data, BLOCK, 0);

    io->ops->ring_submit(ring, &op);
    sleep_ms(20);
    assert_int_equal(io->ops->file_bytes(io, handle), 0);
    wait_for(ring, &op, 1, 1);
    assert_int_equal(io->ops->file_bytes(io, handle), BLOCK);

    free(data);
    io->ops->close(io, handle);
    io->ops->ring_free(ring);
}

/* Recovery takes zeros for "never written". */
static void allocated_space_reads_as_zeros(void **state)
{
    const size_t bytes = 1u << 20;
    struct wal_ring *ring = open_ring(4, -1);
    unsigned char *found = new_blocks(bytes, 5);
    int handle = create("file");
    struct wal_op op = {.kind = WAL_OP_ALLOCATE, .handle = handle, .size = bytes};
    int64_t result = run_op(ring, op);

    if (result == -EOPNOTSUPP) {
        print_message("this file system cannot allocate\n");
        skip();
    }
    assert_int_equal(result, 0);
    assert_int_equal(io->ops->allocate(io, handle, bytes, bytes), 0);
    assert_int_equal(io->ops->file_bytes(io, handle), 2 * bytes);
    for (int half = 0; half < 2; half++) {
        memset(found, 1, bytes);
        assert_int_equal(io->ops->read(io, handle, found, bytes, half * bytes), bytes);
        assert_true(is_zero(found, bytes));
    }
    free(found);
    io->ops->close(io, handle);
    io->ops->ring_free(ring);
}

/* The process may write files of this size; -1 lifts the limit again. Pipes are not files, but a
 * report that goes to a file is, so the limit is large and the time under it short. */
static void limit_file_bytes(int64_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < 0 ? limit.rlim_max : (rlim_t)bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    (void)signal(SIGXFSZ, bytes < 0 ? SIG_DFL : SIG_IGN);
}

/* The mistake that loses acknowledged data: a write that fell short, believed. The disk seam says
 * what was written, and the sync that was to follow changes nothing about it. */
static void a_short_write_is_never_a_success(void **state)
{
    const uint64_t limit = 16u << 20;
    struct wal_ring *ring = open_ring(16, -1);
    unsigned char *data = new_blocks(4 * BLOCK, 5);
    struct wal_op ops[9];
    int handle = create("file");

    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        ops[i] = durable_write(handle, data, 2 * BLOCK, limit - BLOCK);
    ops[7].position = limit - 2 * BLOCK; /* fits */
    ops[8].position = limit;             /* not a byte of it does */

    limit_file_bytes((int64_t)limit);
    int64_t alone = run_op(ring, ops[0]);
    int rc = io->ops->write(io, handle, data, 2 * BLOCK, limit - BLOCK, true);
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        io->ops->ring_submit(ring, &ops[i]);
    wait_for(ring, ops, ARRAY_SIZE(ops), ARRAY_SIZE(ops));
    limit_file_bytes(-1);

    assert_int_equal(alone, BLOCK);
    assert_int_equal(rc, -EFBIG);
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(ops[i].result, BLOCK);
    assert_int_equal(ops[7].result, 2 * BLOCK);
    assert_int_equal(ops[8].result, -EFBIG);

    /* And the limit was to blame, not the test. */
    assert_int_equal(run_op(ring, durable_write(handle, data, 2 * BLOCK, limit - BLOCK)),
                     2 * BLOCK);
    free(data);
    io->ops->close(io, handle);
    io->ops->ring_free(ring);
}

/* A sync of a handle that cannot write succeeds, which must not stand for the write. */
static void the_error_of_a_write_is_reported(void **state)
{
    struct wal_ring *ring = open_ring(8, -1);
    unsigned char *data = new_blocks(BLOCK, 5);
    struct wal_op ops[4];

    io->ops->close(io, create("file"));

    int handle = io->ops->open_file(io, dir, "file", WAL_OPEN_READ);

    assert_int_equal(run_op(ring, durable_write(handle, data, BLOCK, 0)), -EBADF);
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
        ops[i] = durable_write(handle, data, BLOCK, 0);
        io->ops->ring_submit(ring, &ops[i]);
    }
    wait_for(ring, ops, ARRAY_SIZE(ops), ARRAY_SIZE(ops));
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        assert_int_equal(ops[i].result, -EBADF);

    struct wal_op allocate = {.kind = WAL_OP_ALLOCATE, .handle = handle, .size = BLOCK};

    assert_int_equal(run_op(ring, allocate), -EBADF);
    free(data);
    io->ops->close(io, handle);
    io->ops->ring_free(ring);
}

/* ---- waiting and waking ---- */

struct waker {
    struct wal_ring *ring;
    unsigned delay_ms;
};

static void *wake_later(void *context)
{
    const struct waker *waker = context;

    sleep_ms(waker->delay_ms);
    io->ops->ring_wake(waker->ring);
    return NULL;
}

static void a_wake_ends_the_wait(void **state)
{
    struct waker waker = {.ring = open_ring(4, -1), .delay_ms = 20};
    uint64_t begin_us = now_us();
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, wake_later, &waker), 0);
    assert_null(io->ops->ring_wait(waker.ring, PATIENCE_US));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(now_us() - begin_us < PATIENCE_US / 2);
    io->ops->ring_free(waker.ring);
}

/* A committer that found its lists empty may be told otherwise just before it sleeps. */
static void a_wake_before_the_wait_is_not_lost_and_counts_once(void **state)
{
    struct wal_ring *ring = open_ring(4, -1);
    uint64_t begin_us;

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++)
            io->ops->ring_wake(ring);
        begin_us = now_us();
        assert_null(io->ops->ring_wait(ring, PATIENCE_US));
        assert_true(now_us() - begin_us < PATIENCE_US / 2);

        begin_us = now_us();
        assert_null(io->ops->ring_wait(ring, 20000));
        assert_true(now_us() - begin_us >= 20000);
    }
    io->ops->ring_free(ring);
}

struct counter {
    struct wal_ring *ring;
    _Atomic unsigned given;
    unsigned total;
};

static void *count_and_wake(void *context)
{
    struct counter *counter = context;

    for (unsigned i = 0; i < counter->total; i++) {
        atomic_fetch_add(&counter->given, 1);
        io->ops->ring_wake(counter->ring);
        if (i % 64 == 0)
            sleep_ms(1);
    }
    return NULL;
}

/* Two threads wake as fast as they can, while writes come and go: whoever is woken sees what was
 * done before, and the last of the wakes is seen too. */
static void no_wake_is_lost_among_many(void **state)
{
    struct counter counter = {.ring = open_ring(8, -1), .total = 3000};
    unsigned char *data = new_blocks(BLOCK, 5);
    int handle = create("file");
    struct wal_op op = durable_write(handle, data, BLOCK, 0);
    pthread_t threads[2];
    bool busy = false;

    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_and_wake, &counter), 0);
    while (atomic_load(&counter.given) < 2 * counter.total) {
        uint64_t begin_us = now_us();

        if (!busy)
            io->ops->ring_submit(counter.ring, &op);
        busy = true;
        if (io->ops->ring_wait(counter.ring, PATIENCE_US)) {
            assert_int_equal(op.result, BLOCK);
            busy = false;
            /* And now with nothing in flight: only a wake ends this. */
            if (atomic_load(&counter.given) < 2 * counter.total)
                (void)io->ops->ring_wait(counter.ring, PATIENCE_US);
        }
        assert_true(now_us() - begin_us < PATIENCE_US);
    }
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    if (busy)
        wait_for(counter.ring, &op, 1, 1);
    free(data);
    io->ops->close(io, handle);
    io->ops->ring_free(counter.ring);
}

static void a_wait_keeps_its_time(void **state)
{
    struct wal_ring *ring = open_ring(4, -1);
    uint64_t begin_us = now_us();

    assert_null(io->ops->ring_wait(ring, 30000));
    assert_in_range(now_us() - begin_us, 30000, PATIENCE_US);

    begin_us = now_us();
    for (int i = 0; i < 100; i++)
        assert_null(io->ops->ring_wait(ring, 0));
    assert_true(now_us() - begin_us < SECOND_US);
    io->ops->ring_free(ring);
}

/* The ring's thread may be interrupted at any time; that is no reason to return empty-handed. */
static void on_signal(int number)
{
}

static void *signal_often(void *context)
{
    const pthread_t *target = context;

    for (int i = 0; i < 20; i++) {
        sleep_ms(2);
        (void)pthread_kill(*target, SIGUSR1);
    }
    return NULL;
}

static void a_signal_does_not_end_the_wait(void **state)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct wal_ring *ring = open_ring(4, -1);
    pthread_t self = pthread_self();
    uint64_t begin_us = now_us();
    pthread_t thread;

    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, signal_often, &self), 0);
    assert_null(io->ops->ring_wait(ring, 100000));
    assert_true(now_us() - begin_us >= 100000);
    assert_int_equal(pthread_join(thread, NULL), 0);
    io->ops->ring_free(ring);
}

/* True when readable within the time. */
static bool poll_ring(struct wal_ring *ring, int timeout_ms)
{
    struct pollfd pollfd = {.fd = io->ops->ring_poll_fd(ring), .events = POLLIN};
    int rc;

    do {
        rc = poll(&pollfd, 1, timeout_ms);
    } while (rc < 0 && errno == EINTR);
    return rc == 1;
}

/* A loop that sleeps in poll() has to hear of a wake that comes while it sleeps. (A ring with
 * deferred task work does not say so on its own descriptor.) */
static void the_poll_descriptor_tells_of_wakes(void **state)
{
    struct waker waker = {.ring = open_ring(4, -1), .delay_ms = 20};
    pthread_t thread;

    for (int round = 0; round < 3; round++) {
        while (poll_ring(waker.ring, 0))
            assert_null(io->ops->ring_wait(waker.ring, 0));

        uint64_t begin_us = now_us();

        assert_int_equal(pthread_create(&thread, NULL, wake_later, &waker), 0);
        assert_true(poll_ring(waker.ring, PATIENCE_US / 1000));
        assert_in_range(now_us() - begin_us, 19000, PATIENCE_US / 2);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_null(io->ops->ring_wait(waker.ring, 0));
    }

    uint64_t begin_us = now_us();

    assert_int_equal(pthread_create(&thread, NULL, wake_later, &waker), 0);
    while (now_us() - begin_us < 19000)
        assert_null(io->ops->ring_wait(waker.ring, PATIENCE_US));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(now_us() - begin_us < PATIENCE_US / 2);
    io->ops->ring_free(waker.ring);
}

/* More completions than the kernel handles at a time: the loop must hear of the last of them too. */
static void the_poll_descriptor_tells_of_every_completion(void **state)
{
    enum { COUNT = 200 };
    struct wal_ring *ring = open_ring(256, -1);
    unsigned char *data = new_blocks(BLOCK, 5);
    struct wal_op *ops = calloc(COUNT, sizeof(*ops));
    int handle = create("file");

    assert_non_null(ops);
    assert_true(io->ops->ring_poll_fd(ring) >= 0);
    assert_int_equal(io->ops->ring_poll_fd(ring), io->ops->ring_poll_fd(ring));
    for (unsigned round = 0; round < 4; round++) {
        unsigned left = COUNT;

        for (unsigned i = 0; i < COUNT; i++) {
            ops[i] = durable_write(handle, data, BLOCK, (uint64_t)i * BLOCK);
            io->ops->ring_submit(ring, &ops[i]);
        }
        while (left > 0) {
            /* Having asked for the descriptor does not spoil the other way to wait. */
            uint64_t timeout_us = round % 2 == 0 ? 0 : PATIENCE_US;
            struct wal_op *op = io->ops->ring_wait(ring, timeout_us);

            assert_true(op || timeout_us == 0);
            for (; op; op = op->next) {
                assert_int_equal(op->result, BLOCK);
                left--;
            }
            if (left > 0 && timeout_us == 0)
                assert_true(poll_ring(ring, PATIENCE_US / 1000));
        }
    }
    free(ops);
    free(data);
    io->ops->close(io, handle);
    io->ops->ring_free(ring);
}

static long thread_count(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    long count = -1;

    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        if (!strncmp(line, "Threads:", 8))
            count = strtol(line + 8, NULL, 10);
    }
    (void)fclose(file);
    return count;
}

/* One log, one commit at a time: no other thread has a share in its latency. */
static void a_lone_durable_write_takes_no_thread(void **state)
{
    if (variant->make != wal_io_posix_new)
        skip();

    struct wal_ring *ring = open_ring(4, -1);
    unsigned char *data = new_blocks(BLOCK, 5);
    int handle = create("file");
    long before = thread_count();

    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(run_op(ring, durable_write(handle, data, BLOCK, 0)), BLOCK);

    /* Not even in a wait that is not to sleep. */
    struct wal_op op = durable_write(handle, data, BLOCK, 0);

    io->ops->ring_submit(ring, &op);
    assert_ptr_equal(io->ops->ring_wait(ring, 0), &op);
    assert_int_equal(thread_count(), before);
    free(data);
    io->ops->close(io, handle);
    io->ops->ring_free(ring);
}

/* ---- the synchronous half ---- */

static void names_are_made_once_and_private(void **state)
{
    unsigned flags = WAL_OPEN_CREATE | WAL_OPEN_WRITE | (variant->direct ? WAL_OPEN_DIRECT : 0);
    int handle = create("file");
    struct stat st;

    assert_int_equal(io->ops->open_file(io, dir, "file", flags), -EEXIST);
    assert_int_equal(fstat(handle, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(fcntl(handle, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(!!(fcntl(handle, F_GETFL) & O_DIRECT), variant->direct);
    io->ops->close(io, handle);

    assert_int_equal(io->ops->make_dir(io, dir, "sub"), 0);
    assert_int_equal(io->ops->make_dir(io, dir, "sub"), -EEXIST);
    assert_int_equal(fstatat(dir, "sub", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0700);

    assert_int_equal(symlinkat("file", dir, "link"), 0);
    assert_int_equal(io->ops->open_file(io, dir, "link", WAL_OPEN_WRITE), -ELOOP);
    assert_int_equal(io->ops->open_file(io, dir, "none", WAL_OPEN_WRITE), -ENOENT);
    assert_int_equal(io->ops->open_dir(io, dir, "file"), -ENOTDIR);
}

/* A rename is how a log and a segment come into being: it may never do away with another. */
static void a_rename_never_replaces(void **state)
{
    unsigned char *data = new_blocks(BLOCK, 1);
    int handle = create("old");

    assert_int_equal(io->ops->write(io, handle, data, BLOCK, 0, true), 0);
    io->ops->close(io, handle);
    io->ops->close(io, create("taken"));
    assert_int_equal(io->ops->make_dir(io, dir, "sub"), 0);
    assert_int_equal(io->ops->make_dir(io, dir, "other"), 0);

    int sub = io->ops->open_dir(io, dir, "sub");

    assert_true(sub >= 0);
    assert_int_equal(io->ops->rename(io, dir, "old", dir, "taken"), -EEXIST);
    assert_int_equal(io->ops->rename(io, dir, "sub", dir, "other"), -EEXIST);
    assert_int_equal(io->ops->rename(io, dir, "none", dir, "new"), -ENOENT);
    assert_file_holds("old", data, BLOCK, 0);

    assert_int_equal(io->ops->rename(io, dir, "old", sub, "new"), 0);
    assert_int_equal(io->ops->rename(io, dir, "sub", dir, "moved"), 0);
    assert_int_equal(io->ops->open_file(io, dir, "old", WAL_OPEN_READ), -ENOENT);
    assert_int_equal(io->ops->sync(io, dir), 0);
    assert_int_equal(io->ops->sync(io, sub), 0);

    assert_int_equal(io->ops->remove_dir(io, dir, "moved"), -ENOTEMPTY);
    assert_int_equal(io->ops->remove_file(io, sub, "new"), 0);
    assert_int_equal(io->ops->remove_file(io, sub, "new"), -ENOENT);
    assert_int_equal(io->ops->remove_dir(io, dir, "moved"), 0);
    io->ops->close(io, sub);
    free(data);
}

/* The other one is meant to: the file gets the name, and the file that had it stays with its readers. */
static void a_file_takes_the_place_of_another(void **state)
{
    unsigned char *data = new_blocks(BLOCK, 1), *other = new_blocks(BLOCK, 2);
    int old = create("taken"), handle = create("new");

    assert_int_equal(io->ops->write(io, old, other, BLOCK, 0, true), 0);
    assert_int_equal(io->ops->write(io, handle, data, BLOCK, 0, true), 0);
    io->ops->close(io, handle);
    assert_int_equal(io->ops->replace(io, dir, "new", "taken"), 0);
    assert_int_equal(io->ops->sync(io, dir), 0);
    assert_file_holds("taken", data, BLOCK, 0);
    assert_int_equal(io->ops->open_file(io, dir, "new", WAL_OPEN_READ), -ENOENT);
    assert_int_equal(io->ops->file_bytes(io, old), BLOCK);
    io->ops->close(io, old);
    assert_int_equal(io->ops->replace(io, dir, "none", "taken"), -ENOENT);
    assert_file_holds("taken", data, BLOCK, 0);
    free(other);
    free(data);
}

struct visits {
    unsigned files;
    unsigned dirs;
    int stop_at; /* entry to end the listing at, -1 for none */
    bool remove;
};

static int visit(void *context, const char *name, bool is_dir)
{
    struct visits *visits = context;

    assert_string_not_equal(name, ".");
    assert_string_not_equal(name, "..");
    if (is_dir)
        visits->dirs++;
    else
        visits->files++;
    if (visits->remove)
        assert_int_equal(
            is_dir ? io->ops->remove_dir(io, dir, name) : io->ops->remove_file(io, dir, name), 0);
    return (int)(visits->files + visits->dirs) == visits->stop_at ? 42 : 0;
}

static void a_listing_has_every_entry(void **state)
{
    struct visits all = {.stop_at = -1};
    struct visits some = {.stop_at = 3};
    struct visits gone = {.stop_at = -1, .remove = true};
    struct visits none = {.stop_at = -1};
    char name[16];

    for (int i = 0; i < 500; i++) {
        (void)snprintf(name, sizeof(name), "name%d", i);
        if (i % 5 == 0)
            assert_int_equal(io->ops->make_dir(io, dir, name), 0);
        else
            io->ops->close(io, create(name));
    }
    assert_int_equal(io->ops->list(io, dir, visit, &all), 0);
    assert_int_equal(all.files, 400);
    assert_int_equal(all.dirs, 100);
    assert_int_equal(io->ops->list(io, dir, visit, &some), 42);
    assert_int_equal(some.files + some.dirs, 3);
    assert_int_equal(io->ops->list(io, dir, visit, &gone), 0);
    assert_int_equal(gone.files + gone.dirs, 500);
    assert_int_equal(io->ops->list(io, dir, visit, &none), 0);
    assert_int_equal(none.files + none.dirs, 0);
}

/* Where a log ends is read off how much a read returns. */
static void a_read_is_short_only_at_the_end(void **state)
{
    const size_t tail = 100; /* a direct read ends inside a block, too */
    unsigned char *data = new_blocks(4 * BLOCK, 1);
    unsigned char *found = new_blocks(4 * BLOCK, 2);
    int handle = create("file");
    int plain = io->ops->open_file(io, dir, "file", WAL_OPEN_WRITE);

    assert_int_equal(io->ops->read(io, handle, found, BLOCK, 0), 0);
    assert_int_equal(io->ops->write(io, plain, data, 2 * BLOCK + tail, 0, false), 0);
    assert_int_equal(io->ops->sync(io, plain), 0);
    assert_int_equal(io->ops->file_bytes(io, handle), 2 * BLOCK + tail);

    assert_int_equal(io->ops->read(io, handle, found, 4 * BLOCK, 0), 2 * BLOCK + tail);
    assert_memory_equal(found, data, 2 * BLOCK + tail);
    assert_int_equal(io->ops->read(io, handle, found, BLOCK, BLOCK), BLOCK);
    assert_memory_equal(found, data + BLOCK, BLOCK);
    assert_int_equal(io->ops->read(io, handle, found, BLOCK, 2 * BLOCK), tail);
    assert_int_equal(io->ops->read(io, handle, found, BLOCK, 3 * BLOCK), 0);
    assert_int_equal(io->ops->read(io, handle, found, BLOCK, 1ull << 40), 0);
    assert_int_equal(io->ops->read(io, dir, found, BLOCK, 0), -EISDIR);

    io->ops->close(io, plain);
    io->ops->close(io, handle);
    free(found);
    free(data);
}

static bool is_in_the_cache(int fd)
{
    unsigned char resident = 0;
    void *page = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(page, MAP_FAILED);
    assert_int_equal(mincore(page, BLOCK, &resident), 0);
    assert_int_equal(munmap(page, BLOCK), 0);
    return resident & 1;
}

/* After a failed sync the cache may show what the disk lacks; recovery must not read from it. */
static void an_uncached_handle_finds_nothing_in_the_cache(void **state)
{
    unsigned char *data = new_blocks(BLOCK, 1);
    int plain, uncached;

    close(create("file"));
    plain = io->ops->open_file(io, dir, "file", WAL_OPEN_WRITE);
    assert_int_equal(io->ops->write(io, plain, data, BLOCK, 0, false), 0);
    assert_int_equal(io->ops->sync(io, plain), 0);
    assert_true(is_in_the_cache(plain));
    uncached = io->ops->open_file(io, dir, "file", WAL_OPEN_READ | WAL_OPEN_UNCACHED);
    assert_true(uncached >= 0);
    assert_false(is_in_the_cache(uncached));

    io->ops->close(io, uncached);
    io->ops->close(io, plain);
    free(data);
}

/* Segments pass 4 GiB, and offsets must not wrap there. */
static void positions_pass_4_gib(void **state)
{
    const uint64_t far = (5ull << 30) + 3 * BLOCK;
    struct wal_ring *ring = open_ring(4, -1);
    unsigned char *data = new_blocks(BLOCK, 1);
    int handle = create("file");

    assert_int_equal(run_op(ring, durable_write(handle, data, BLOCK, far)), BLOCK);
    assert_int_equal(io->ops->file_bytes(io, handle), far + BLOCK);
    assert_file_holds("file", data, BLOCK, far);
    data[0] ^= 1;
    assert_int_equal(io->ops->write(io, handle, data, BLOCK, far, true), 0);
    assert_file_holds("file", data, BLOCK, far);
    free(data);
    io->ops->close(io, handle);
    io->ops->ring_free(ring);
}

static void direct_writing_is_refused_where_it_cannot_be(void **state)
{
    static const char *const refusing[] = {"/sys/kernel/mm/transparent_hugepage/enabled",
                                           "/proc/self/comm"};

    if (!variant->direct)
        skip();
    for (size_t i = 0; i < ARRAY_SIZE(refusing); i++) {
        int plain = io->ops->open_file(io, WAL_IO_CWD, refusing[i], WAL_OPEN_WRITE);

        if (plain < 0)
            continue;
        io->ops->close(io, plain);
        assert_int_equal(
            io->ops->open_file(io, WAL_IO_CWD, refusing[i], WAL_OPEN_WRITE | WAL_OPEN_DIRECT),
            -EINVAL);
        return;
    }
    print_message("no file here that refuses O_DIRECT\n");
    skip();
}

static void clocks_chance_and_space_answer(void **state)
{
    unsigned char first[300] = {0};
    unsigned char second[300] = {0};
    uint64_t bytes = 0;
    uint64_t total_bytes = 0;
    uint64_t before = now_us();

    sleep_ms(2);
    assert_in_range(now_us() - before, 1000, PATIENCE_US);
    assert_in_range(io->ops->realtime_ns(io) / 1000000000u, (uint64_t)time(NULL) - 2,
                    (uint64_t)time(NULL) + 2);
    assert_int_equal(io->ops->random(io, first, sizeof(first)), 0);
    assert_int_equal(io->ops->random(io, second, sizeof(second)), 0);
    assert_memory_not_equal(first, second, sizeof(first));
    assert_false(is_zero(first + 256, sizeof(first) - 256));
    assert_int_equal(io->ops->free_bytes(io, dir, &bytes, &total_bytes), 0);
    assert_in_range(bytes, 1u << 20, UINT64_MAX);
    assert_in_range(total_bytes, bytes, UINT64_MAX);
}

/* ---- the lock ---- */

/* A child that takes the lock, says so, writes if it has a ring, and sleeps until it is killed. */
static pid_t start_lock_holder(bool with_ring)
{
    int ends[2];
    char answer = 'n';

    assert_int_equal(pipe(ends), 0);

    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        int handle = io->ops->lock(io, dir, "lock");
        struct wal_ring *ring;

        if (handle >= 0 && (!with_ring || io->ops->ring_new(io, 8, handle, &ring) == 0))
            answer = 'y';
        (void)!write(ends[1], &answer, 1);
        for (;;)
            (void)pause();
    }
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &answer, 1), 1);
    (void)close(ends[0]);
    assert_int_equal(answer, 'y');
    return child;
}

/* Two writers on one directory destroy it. A killed one gives it up, though perhaps not at once. */
static void the_lock_excludes_others_until_its_holder_dies(void **state)
{
    io->ops->ring_free(open_ring(4, -1)); /* or skip */
    for (int with_ring = 0; with_ring < 2; with_ring++) {
        pid_t child = start_lock_holder(with_ring);
        uint64_t begin_us = now_us();
        int handle;

        assert_int_equal(io->ops->lock(io, dir, "lock"), -EWOULDBLOCK);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while ((handle = io->ops->lock(io, dir, "lock")) == -EWOULDBLOCK) {
            assert_true(now_us() - begin_us < PATIENCE_US);
            sleep_ms(1);
        }
        assert_true(handle >= 0);
        assert_int_equal(io->ops->lock(io, dir, "lock"), -EWOULDBLOCK);
        io->ops->close(io, handle);
    }
}

/* A ring that lets go late would keep a store from being opened again after it was closed. */
static void a_freed_ring_lets_go_of_the_lock(void **state)
{
    for (int round = 0; round < 20; round++) {
        int handle = io->ops->lock(io, dir, "lock");

        assert_true(handle >= 0);
        io->ops->ring_free(open_ring(8, handle));
        io->ops->close(io, handle);
    }
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(a_durable_write_reads_back),
        WITH_FOLDER(durable_means_synced),
        WITH_FOLDER(a_large_write_is_one_operation),
        WITH_FOLDER(each_of_many_operations_completes_once),
        WITH_FOLDER(kinds_of_operations_mix),
        WITH_FOLDER(nothing_is_written_before_the_wait),
        WITH_FOLDER(allocated_space_reads_as_zeros),
        WITH_FOLDER(a_short_write_is_never_a_success),
        WITH_FOLDER(the_error_of_a_write_is_reported),
        WITH_FOLDER(a_wake_ends_the_wait),
        WITH_FOLDER(a_wake_before_the_wait_is_not_lost_and_counts_once),
        WITH_FOLDER(no_wake_is_lost_among_many),
        WITH_FOLDER(a_wait_keeps_its_time),
        WITH_FOLDER(a_signal_does_not_end_the_wait),
        WITH_FOLDER(the_poll_descriptor_tells_of_wakes),
        WITH_FOLDER(the_poll_descriptor_tells_of_every_completion),
        WITH_FOLDER(a_lone_durable_write_takes_no_thread),
        WITH_FOLDER(names_are_made_once_and_private),
        WITH_FOLDER(a_rename_never_replaces),
        WITH_FOLDER(a_file_takes_the_place_of_another),
        WITH_FOLDER(a_listing_has_every_entry),
        WITH_FOLDER(a_read_is_short_only_at_the_end),
        WITH_FOLDER(an_uncached_handle_finds_nothing_in_the_cache),
        WITH_FOLDER(positions_pass_4_gib),
        WITH_FOLDER(direct_writing_is_refused_where_it_cannot_be),
        WITH_FOLDER(clocks_chance_and_space_answer),
        WITH_FOLDER(the_lock_excludes_others_until_its_holder_dies),
        WITH_FOLDER(a_freed_ring_lets_go_of_the_lock),
    };
    int failed = 0;

    (void)umask(022);
    for (variant = variants; variant < variants + ARRAY_SIZE(variants); variant++)
        failed += cmocka_run_group_tests_name(variant->name, tests, NULL, NULL);
    return failed > 0;
}
