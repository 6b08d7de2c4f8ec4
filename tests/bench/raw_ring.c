/*
 * The disk alone, through one ring: each file has at most one direct write with RWF_DSYNC in
 * flight, and the next one follows as soon as it is done. This is what a committer of many logs
 * asks of the kernel, without a log around it.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "wal/base.h"

struct raw_file {
    int fd;
    uint64_t position;
    uint64_t begin_ns;
    struct raw_file *next; /* in the queue of those that wait for a place in flight */
};

struct raw_ring {
    struct raw_file *files;
    uint64_t file_bytes;
    void *data;
};

/* One visit. */
struct raw_run {
    struct io_uring ring;
    struct raw_file *first, **last; /* files with nothing in flight, first come first served */
    unsigned in_flight;
    uint64_t now_ns, measure_ns; /* completions from measure_ns on count */
    struct latency *latency;
};

static int raw_ring_prepare(struct bench *bench, struct point *point)
{
    struct raw_ring *raw = calloc(1, sizeof(*raw));
    int rc = 0;

    must(raw);
    point->state = raw;
    raw->data = random_bytes_new(point->record_bytes);
    raw->files = calloc(point->logs, sizeof(*raw->files));
    must(raw->files);
    raw->file_bytes = round_down(min_u64((256ull << 20) / point->logs, 64ull << 20), BLOCK_BYTES);
    for (unsigned i = 0; i < point->logs; i++)
        raw->files[i].fd = -1;
    for (unsigned i = 0; rc == 0 && i < point->logs; i++) {
        char name[64];

        snprintf(name, sizeof(name), "ring-%u-%u-%u", point->logs, point->in_flight, i);
        rc = zeroed_file_new(bench->dir, name, raw->file_bytes, &raw->files[i].fd);
    }
    return rc;
}

static void raw_ring_finish(struct bench *bench, struct point *point)
{
    struct raw_ring *raw = point->state;

    for (unsigned i = 0; i < point->logs; i++) {
        if (raw->files[i].fd >= 0)
            close(raw->files[i].fd);
    }
    free(raw->files);
    free(raw->data);
    free(raw);
    point->state = NULL;
}

static void queue_put(struct raw_run *run, struct raw_file *file)
{
    file->next = NULL;
    *run->last = file;
    run->last = &file->next;
}

static struct raw_file *queue_take(struct raw_run *run)
{
    struct raw_file *file = run->first;

    run->first = file->next;
    if (!run->first)
        run->last = &run->first;
    return file;
}

static void submit_waiting(struct raw_run *run, struct raw_ring *raw, const struct point *point)
{
    while (run->first && run->in_flight < point->in_flight) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&run->ring);
        struct raw_file *file = queue_take(run);

        must(sqe);
        if (file->position + point->record_bytes > raw->file_bytes)
            file->position = 0;
        io_uring_prep_write(sqe, file->fd, raw->data, point->record_bytes, file->position);
        sqe->rw_flags = RWF_DSYNC;
        io_uring_sqe_set_data(sqe, file);
        file->begin_ns = run->now_ns;
        file->position += point->record_bytes;
        run->in_flight++;
    }
}

/* Takes what is done off the ring. */
static int reap(struct raw_run *run, const struct point *point)
{
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    int rc = 0;

    run->now_ns = now_ns();
    io_uring_for_each_cqe(&run->ring, head, cqe)
    {
        struct raw_file *file = io_uring_cqe_get_data(cqe);

        if (cqe->res != (int)point->record_bytes)
            rc = cqe->res < 0 ? cqe->res : -EIO;
        if (run->now_ns >= run->measure_ns)
            latency_add(run->latency, run->now_ns - file->begin_ns);
        queue_put(run, file);
        count++;
    }
    io_uring_cq_advance(&run->ring, count);
    run->in_flight -= count;
    return rc;
}

static int raw_loop(struct raw_run *run, struct raw_ring *raw, const struct point *point,
                    uint64_t end_ns)
{
    int rc = 0;

    while (rc == 0 && run->now_ns < end_ns) {
        submit_waiting(run, raw, point);
        rc = io_uring_submit_and_wait(&run->ring, 1);
        if (rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY)
            rc = reap(run, point);
    }
    return rc;
}

static int ring_new(struct io_uring *ring, unsigned entries)
{
    int rc =
        io_uring_queue_init(entries, ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

    return rc == -EINVAL ? io_uring_queue_init(entries, ring, 0) : rc;
}

static int raw_ring_run(struct bench *bench, struct point *point, struct sample *ret_sample)
{
    struct raw_ring *raw = point->state;
    struct raw_run run = {.last = &run.first, .measure_ns = UINT64_MAX};
    uint64_t visit_ns = (uint64_t)(bench->options.seconds * 1e9);
    struct window window;
    int rc = ring_new(&run.ring, 1024);

    if (rc < 0)
        return rc;
    run.latency = calloc(1, sizeof(*run.latency));
    must(run.latency);
    for (unsigned i = 0; i < point->logs; i++)
        queue_put(&run, &raw->files[i]);

    run.now_ns = now_ns();
    rc = raw_loop(&run, raw, point, run.now_ns + visit_ns / 5);
    window_open(&window);
    run.measure_ns = window.begin_ns;
    if (rc == 0)
        rc = raw_loop(&run, raw, point, window.begin_ns + visit_ns);
    window_close(&window);
    window_report(&window, run.latency, run.latency->count,
                  run.latency->count * point->record_bytes, ret_sample);

    while (run.in_flight > 0) {
        if (io_uring_submit_and_wait(&run.ring, 1) < 0)
            break;
        (void)reap(&run, point);
    }
    io_uring_queue_exit(&run.ring);
    free(run.latency);
    return rc;
}

const struct workload raw_ring_workload = {
    .prepare = raw_ring_prepare,
    .run = raw_ring_run,
    .finish = raw_ring_finish,
};
