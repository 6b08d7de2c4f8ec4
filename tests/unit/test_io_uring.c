/*
 * wal/io_uring.c: what a ring does when the kernel refuses, stops half way or is an old one. Such
 * kernels are played by standing in for four functions of liburing; everything else is real. The
 * contract that all backends share is in test_io.c.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/tempdir.h"
#include "wal/base.h"
#include "wal/io.h"

#define BLOCK ((size_t)WAL_BLOCK_BYTES)
#define SECOND_US 1000000u
#define PATIENCE_US (60ull * SECOND_US)

/* ---- the kernel, as it is and as it may be ---- */

static struct {
    /* What to do. */
    int error;              /* given to the next `times` submissions, which submit nothing */
    unsigned times;         /* UINT32_MAX: for ever */
    unsigned entries_taken; /* the next submission stops after so many; 0: does not */
    unsigned setup_flags;   /* those a kernel of the time does not know */
    unsigned features_lost;
    /* What was seen. */
    struct io_uring *ring; /* the last one made */
    unsigned submissions;
    unsigned pairs;
    unsigned broken_pairs;
    unsigned synced_writes; /* single entries that sync what they write */
} kernel;

static void *real(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    assert_non_null(function);
    return function;
}

/* Whether this is the data sync of all that the entry before it writes, and waits for it. */
static bool is_pair(const struct io_uring_sqe *write, const struct io_uring_sqe *sync)
{
    return write && write->opcode == IORING_OP_WRITE && (write->flags & IOSQE_IO_LINK) &&
           !(write->flags & IOSQE_IO_HARDLINK) && sync->fd == write->fd &&
           sync->fsync_flags == IORING_FSYNC_DATASYNC && sync->off <= write->off &&
           sync->off + sync->len + 1 >= write->off + write->len;
}

/* Each sync right behind its write, and no write at the end whose sync would come later. */
static void look_at_entries(const struct io_uring *ring)
{
    const struct io_uring_sq *sq = &ring->sq;
    const struct io_uring_sqe *last = NULL;

    kernel.submissions++;
    for (unsigned i = *sq->khead; i != sq->sqe_tail; i++) {
        const struct io_uring_sqe *sqe = &sq->sqes[i & sq->ring_mask];

        if (sqe->opcode == IORING_OP_FSYNC) {
            kernel.pairs++;
            kernel.broken_pairs += !is_pair(last, sqe);
        }
        kernel.synced_writes +=
            sqe->opcode == IORING_OP_WRITE && !sqe->flags && sqe->rw_flags == RWF_DSYNC;
        last = sqe;
    }
    kernel.broken_pairs += last && (last->flags & IOSQE_IO_LINK);
}

/* True if the submission is not to reach the kernel as it is; *answer is its result then. */
static bool interfere(struct io_uring *ring, int *answer)
{
    look_at_entries(ring);
    if (kernel.times > 0) {
        kernel.times -= kernel.times != UINT32_MAX;
        *answer = kernel.error;
        return true;
    }
    if (kernel.entries_taken > 0) {
        struct io_uring_sq *sq = &ring->sq;

        sq->sqe_head = sq->sqe_tail;
        *sq->ktail = sq->sqe_tail;
        *answer = (int)syscall(SYS_io_uring_enter, ring->ring_fd, kernel.entries_taken, 0,
                               IORING_ENTER_GETEVENTS, NULL, 0);
        kernel.entries_taken = 0;
        return true;
    }
    return false;
}

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p)
{
    int (*setup)(unsigned, struct io_uring *, struct io_uring_params *) = real(__func__);
    int rc;

    if (p->flags & kernel.setup_flags)
        return -EINVAL;

    rc = setup(entries, ring, p);
    if (rc == 0) {
        kernel.ring = ring;
        ring->features &= ~kernel.features_lost;
    }
    return rc;
}

int io_uring_submit_and_get_events(struct io_uring *ring)
{
    int (*submit)(struct io_uring *) = real(__func__);
    int answer;

    return interfere(ring, &answer) ? answer : submit(ring);
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
    int (*submit)(struct io_uring *, unsigned) = real(__func__);
    int answer;

    return interfere(ring, &answer) ? answer : submit(ring, wait_nr);
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr,
                                     unsigned wait_nr, struct __kernel_timespec *ts,
                                     sigset_t *sigmask)
{
    int (*submit)(struct io_uring *, struct io_uring_cqe **, unsigned, struct __kernel_timespec *,
                  sigset_t *) = real(__func__);
    int answer;

    return interfere(ring, &answer) ? answer : submit(ring, cqe_ptr, wait_nr, ts, sigmask);
}

/* ---- one file, one ring ---- */

static char *folder;
static struct wal_io *io;
static struct wal_ring *ring;
static unsigned char *data;
static int handle;

static int open_ring(unsigned entries)
{
    int rc = io->ops->ring_new(io, entries, -1, &ring);

    if (rc == -EPERM || rc == -EACCES || (rc == -ENOSYS && !kernel.features_lost)) {
        print_message("no ring here: %s\n", strerror(-rc));
        skip();
    }
    return rc;
}

static void open_all(bool direct, unsigned entries)
{
    unsigned flags = WAL_OPEN_CREATE | WAL_OPEN_WRITE | (direct ? WAL_OPEN_DIRECT : 0);
    int dir;

    assert_int_equal(wal_io_uring_new(direct, &io), 0);
    assert_int_equal(open_ring(entries), 0);
    dir = io->ops->open_dir(io, WAL_IO_CWD, folder);
    assert_true(dir >= 0);
    handle = io->ops->open_file(io, dir, "file", flags);
    assert_true(handle >= 0);
    io->ops->close(io, dir);
}

static int setup(void **state)
{
    memset(&kernel, 0, sizeof(kernel));
    folder = tempdir_make();
    data = aligned_alloc(BLOCK, 2 * BLOCK);
    io = NULL;
    ring = NULL;
    handle = -1;
    if (!data)
        return -1;
    memset(data, 'x', 2 * BLOCK);
    return 0;
}

static int teardown(void **state)
{
    if (ring)
        io->ops->ring_free(ring);
    if (handle >= 0)
        io->ops->close(io, handle);
    if (io)
        io->ops->free(io);
    free(data);
    tempdir_remove(folder);
    free(folder);
    return 0;
}

static void submit(struct wal_op *op, unsigned index)
{
    *op = (struct wal_op){.kind = WAL_OP_WRITE_DURABLE,
                          .handle = handle,
                          .data = data,
                          .size = BLOCK,
                          .position = (uint64_t)index * BLOCK};
    io->ops->ring_submit(ring, op);
}

/* How many were handed back; none of them twice, for that would be more than there are. */
static unsigned wait_for(unsigned count)
{
    uint64_t begin_us = io->ops->monotonic_us(io);
    unsigned done = 0;

    while (done < count && io->ops->monotonic_us(io) - begin_us < PATIENCE_US) {
        for (struct wal_op *op = io->ops->ring_wait(ring, SECOND_US); op; op = op->next)
            done++;
    }
    return done;
}

static int64_t write_one(void)
{
    struct wal_op op;

    submit(&op, 0);
    assert_int_equal(wait_for(1), 1);
    return op.result;
}

/* ---- pairs ---- */

/* Four entries: one listens for wakes, two are the first pair, and one is left, into which half a
 * pair would fit. Its write and its sync would then be strangers to each other. */
static void a_pair_is_never_split_over_two_submissions(void **state)
{
    struct wal_op ops[4];

    open_all(false, 4);
    assert_int_equal(kernel.ring->sq.ring_entries, 4);
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
            submit(&ops[i], i);
        assert_int_equal(wait_for(ARRAY_SIZE(ops)), ARRAY_SIZE(ops));
        for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
            assert_int_equal(ops[i].result, BLOCK);
    }
    assert_int_equal(kernel.pairs, 50 * ARRAY_SIZE(ops));
    assert_int_equal(kernel.broken_pairs, 0);
}

/* The kernel may run out of memory between the two. It then starts the write alone, and a sync sent
 * later would not wait for it: the operation must come back as one to be repeated. */
static void a_pair_that_the_kernel_splits_is_not_a_success(void **state)
{
    for (unsigned taken = 1; taken <= 4; taken++) {
        struct wal_op ops[2];

        open_all(false, 8);
        assert_null(io->ops->ring_wait(ring, 0)); /* the listener is in */
        for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
            submit(&ops[i], i);
        kernel.entries_taken = taken;
        assert_int_equal(wait_for(ARRAY_SIZE(ops)), ARRAY_SIZE(ops));
        assert_int_equal(ops[0].result, taken == 1 ? -EAGAIN : (int)BLOCK);
        assert_int_equal(ops[1].result, taken == 3 ? -EAGAIN : (int)BLOCK);
        assert_int_equal(write_one(), BLOCK);

        (void)teardown(state);
        (void)setup(state);
    }
}

/* The device takes a write and has nothing to sync: only the sync's error tells. */
static void a_failed_sync_wins_over_a_full_write(void **state)
{
    struct wal_op ops[3];
    int file;

    open_all(false, 8);
    file = handle;
    handle = io->ops->open_file(io, WAL_IO_CWD, "/dev/null", WAL_OPEN_WRITE);
    assert_true(handle >= 0);
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        submit(&ops[i], 0);
    assert_int_equal(wait_for(ARRAY_SIZE(ops)), ARRAY_SIZE(ops));
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        assert_int_equal(ops[i].result, -EINVAL);

    io->ops->close(io, handle);
    handle = file;
    assert_int_equal(write_one(), BLOCK);
}

/* One entry is all that a direct write needs, and all that it should cost. */
static void a_direct_write_is_a_single_entry(void **state)
{
    open_all(true, 8);
    assert_int_equal(write_one(), BLOCK);
    assert_int_equal(write_one(), BLOCK);
    assert_int_equal(kernel.pairs, 0);
    assert_int_equal(kernel.synced_writes, 2);
    assert_int_equal(kernel.submissions, 2);
}

/* ---- room ---- */

/* Both parts of every operation, and the listener, complete at once: more than the completions that
 * a ring has room for by default, twice its entries. */
static void the_completion_queue_holds_all_that_can_be_in_flight(void **state)
{
    struct wal_op ops[8];

    open_all(false, ARRAY_SIZE(ops));
    assert_true(kernel.ring->cq.ring_entries >= 4 * ARRAY_SIZE(ops));
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
            submit(&ops[i], i);
        io->ops->ring_wake(ring);
        assert_int_equal(wait_for(ARRAY_SIZE(ops)), ARRAY_SIZE(ops));
        for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
            assert_int_equal(ops[i].result, BLOCK);
    }
    assert_int_equal(*kernel.ring->cq.koverflow, 0);
}

/* ---- refusals ---- */

static void a_refused_submission_is_repeated(void **state)
{
    static const int errors[] = {-EINTR, -EBUSY, -EAGAIN};

    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        for (int direct = 0; direct < 2; direct++) {
            struct wal_op ops[3];

            open_all(direct, 8);
            for (unsigned j = 0; j < ARRAY_SIZE(ops); j++)
                submit(&ops[j], j);
            kernel.error = errors[i];
            kernel.times = 5;
            assert_int_equal(wait_for(ARRAY_SIZE(ops)), ARRAY_SIZE(ops));
            for (unsigned j = 0; j < ARRAY_SIZE(ops); j++)
                assert_int_equal(ops[j].result, BLOCK);
            assert_int_equal(kernel.times, 0);

            (void)teardown(state);
            (void)setup(state);
        }
    }
}

/* A log can do something about an error, and nothing about a wait that never ends. */
static void a_refusal_without_end_ends_the_wait(void **state)
{
    struct wal_op ops[6]; /* more entries than the ring has */

    open_all(false, 8);
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        submit(&ops[i], i);
    kernel.error = -EBUSY;
    kernel.times = UINT32_MAX;
    assert_int_equal(wait_for(ARRAY_SIZE(ops)), ARRAY_SIZE(ops));
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        assert_int_equal(ops[i].result, -EAGAIN);

    kernel.times = 0;
    assert_int_equal(write_one(), BLOCK);
}

static void a_final_refusal_is_the_result(void **state)
{
    struct wal_op ops[6];

    open_all(false, 8);
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        submit(&ops[i], i);
    kernel.error = -ENXIO;
    kernel.times = UINT32_MAX;
    assert_int_equal(wait_for(ARRAY_SIZE(ops)), ARRAY_SIZE(ops));
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        assert_int_equal(ops[i].result, -ENXIO);

    kernel.times = 0;
    assert_int_equal(write_one(), BLOCK);
    assert_int_equal(kernel.broken_pairs, 0);
}

/* ---- what the ring is for ---- */

/* What the kernel makes of an entry that the log would never make. */
static int strange_entry(void (*prepare)(struct io_uring_sqe *sqe))
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(kernel.ring);
    struct io_uring_cqe *cqe;
    int result;

    assert_non_null(sqe);
    prepare(sqe);
    assert_int_equal(io_uring_submit(kernel.ring), 1);
    assert_int_equal(io_uring_wait_cqe(kernel.ring, &cqe), 0);
    result = cqe->res;
    io_uring_cqe_seen(kernel.ring, cqe);
    return result;
}

static void prepare_open(struct io_uring_sqe *sqe)
{
    io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
}

static void prepare_connect(struct io_uring_sqe *sqe)
{
    io_uring_prep_connect(sqe, 0, NULL, 0);
}

static void prepare_drain(struct io_uring_sqe *sqe)
{
    io_uring_prep_nop(sqe);
    sqe->flags |= IOSQE_IO_DRAIN;
}

static void a_ring_does_what_the_log_needs_and_nothing_else(void **state)
{
    struct iovec part = {.iov_base = &part, .iov_len = sizeof(part)};

    open_all(true, 8);
    assert_true(atomic_load(&io->ring_restricted));
    assert_int_equal(strange_entry(prepare_open), -EACCES);
    assert_int_equal(strange_entry(prepare_connect), -EACCES);
    assert_int_equal(strange_entry(prepare_drain), -EACCES);
    assert_int_equal(io_uring_register_buffers(kernel.ring, &part, 1), -EACCES);
    assert_int_equal(write_one(), BLOCK);
}

/* ---- older kernels ---- */

static void a_ring_makes_do_with_fewer_flags(void **state)
{
    static const unsigned unknown[] = {
        IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,
    };
    static const unsigned expected[] = {IORING_SETUP_COOP_TASKRUN, 0};

    for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
        for (int direct = 0; direct < 2; direct++) {
            kernel.setup_flags = unknown[i];
            open_all(direct, 8);
            assert_int_equal(kernel.ring->flags &
                                 (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_DEFER_TASKRUN),
                             expected[i]);
            assert_int_equal(write_one(), BLOCK);
            io->ops->ring_wake(ring);
            assert_null(io->ops->ring_wait(ring, PATIENCE_US));
            assert_true(io->ops->ring_poll_fd(ring) >= 0);
            assert_int_equal(write_one(), BLOCK);
            io->ops->ring_wake(ring);
            assert_null(io->ops->ring_wait(ring, PATIENCE_US));

            (void)teardown(state);
            (void)setup(state);
        }
    }
}

static void a_ring_that_could_lose_completions_is_not_used(void **state)
{
    static const unsigned features[] = {IORING_FEAT_NODROP, IORING_FEAT_EXT_ARG};

    assert_int_equal(wal_io_uring_new(true, &io), 0);
    assert_int_equal(open_ring(8), 0);
    io->ops->ring_free(TAKE(ring));
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        kernel.features_lost = features[i];
        assert_int_equal(open_ring(8), -ENOSYS);
        assert_null(ring);
    }
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(a_pair_is_never_split_over_two_submissions),
        WITH_FOLDER(a_pair_that_the_kernel_splits_is_not_a_success),
        WITH_FOLDER(a_failed_sync_wins_over_a_full_write),
        WITH_FOLDER(a_direct_write_is_a_single_entry),
        WITH_FOLDER(the_completion_queue_holds_all_that_can_be_in_flight),
        WITH_FOLDER(a_refused_submission_is_repeated),
        WITH_FOLDER(a_refusal_without_end_ends_the_wait),
        WITH_FOLDER(a_final_refusal_is_the_result),
        WITH_FOLDER(a_ring_does_what_the_log_needs_and_nothing_else),
        WITH_FOLDER(a_ring_makes_do_with_fewer_flags),
        WITH_FOLDER(a_ring_that_could_lose_completions_is_not_used),
    };

    return cmocka_run_group_tests_name("io_uring", tests, NULL, NULL) > 0;
}
