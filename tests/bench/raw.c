/*
 * The disk alone, by one system call after the other: pwritev2() with RWF_DSYNC on an O_DIRECT
 * descriptor, which is the cheapest durable write there is. Either over zeros written beforehand,
 * round and round, or at the end of a file that grows, whose new blocks the file system has to find
 * and to journal. And reads, in large pieces from the beginning to the end of a file, past the page
 * cache: what a recovery that trusts nothing but the disk can at most reach.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "wal/base.h"

/* A file that grows is cut back to nothing when it reaches this. */
#define GROWING_BYTES_MAX (1536ull << 20)
/* What a log would reserve at once: a segment. */
#define ALLOCATE_BYTES (64ull << 20)

struct raw_sync {
    int fd;
    void *data;
    uint64_t position, file_bytes, allocated;
};

/* Enough room that the disk cannot keep all of it in a small cache, and more for large writes. */
static uint64_t zeroed_bytes(unsigned record_bytes)
{
    return record_bytes <= BLOCK_BYTES ? 64ull << 20 : 512ull << 20;
}

int zeroed_file_new(const char *dir, const char *name, uint64_t bytes, int *ret_fd)
{
    const uint64_t step_max = 1u << 20;
    char path[700];
    void *zeros = aligned_alloc(BLOCK_BYTES, step_max);
    int rc = 0, fd;

    must(zeros);
    __builtin_memset(zeros, 0, step_max);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
    if (fd < 0)
        rc = -errno;
    for (uint64_t done = 0; rc == 0 && done < bytes; done += step_max) {
        size_t step = min_u64(bytes - done, step_max);

        if (pwrite(fd, zeros, step, (off_t)done) != (ssize_t)step)
            rc = errno ? -errno : -EIO;
    }
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    free(zeros);
    if (rc < 0) {
        if (fd >= 0)
            close(fd);
        return rc;
    }

    *ret_fd = fd;
    return 0;
}

static int raw_sync_prepare(struct bench *bench, struct point *point)
{
    struct raw_sync *raw = calloc(1, sizeof(*raw));
    char name[64];

    must(raw);
    point->state = raw;
    raw->data = random_bytes_new(point->record_bytes);
    raw->file_bytes = point->growing ? 0 : zeroed_bytes(point->record_bytes);
    snprintf(name, sizeof(name), "raw-%u%s%s", point->record_bytes, point->growing ? "g" : "",
             point->allocated ? "a" : "");
    raw->fd = -1;
    return zeroed_file_new(bench->dir, name, raw->file_bytes, &raw->fd);
}

static void raw_sync_finish(struct bench *bench, struct point *point)
{
    struct raw_sync *raw = point->state;

    if (raw->fd >= 0)
        close(raw->fd);
    free(raw->data);
    free(raw);
    point->state = NULL;
}

/* Moves to the place of the next write. */
static int raw_advance(struct raw_sync *raw, const struct point *point)
{
    if (!point->growing) {
        if (raw->position + point->record_bytes > raw->file_bytes)
            raw->position = 0;
        return 0;
    }
    if (point->allocated && raw->position + point->record_bytes > raw->allocated) {
        if (fallocate(raw->fd, 0, (off_t)raw->allocated, (off_t)ALLOCATE_BYTES) < 0)
            return -errno;
        raw->allocated += ALLOCATE_BYTES;
    }
    return 0;
}

static int raw_write(struct raw_sync *raw, const struct point *point)
{
    struct iovec part = {.iov_base = raw->data, .iov_len = point->record_bytes};
    ssize_t done;
    int rc = raw_advance(raw, point);

    if (rc < 0)
        return rc;
    done = pwritev2(raw->fd, &part, 1, (off_t)raw->position, RWF_DSYNC);
    if (done != (ssize_t)point->record_bytes)
        return done < 0 ? -errno : -EIO;
    raw->position += point->record_bytes;
    return 0;
}

/* Back to an empty file, with the disk at rest. */
static int raw_restart(struct bench *bench, struct raw_sync *raw)
{
    if (ftruncate(raw->fd, 0) < 0)
        return -errno;
    raw->position = raw->allocated = 0;
    tree_settle(bench->dir);
    return 0;
}

static int raw_sync_run(struct bench *bench, struct point *point, struct sample *ret_sample)
{
    struct raw_sync *raw = point->state;
    struct latency *latency = calloc(1, sizeof(*latency));
    struct window window;
    int rc = point->growing ? raw_restart(bench, raw) : 0;

    must(latency);
    for (unsigned i = 0; rc == 0 && i < 16; i++)
        rc = raw_write(raw, point);

    window_open(&window);
    uint64_t begin = window.begin_ns, now = begin;
    uint64_t end = begin + (uint64_t)(bench->options.seconds * 1e9);

    while (rc == 0 && now < end && (!point->growing || raw->position < GROWING_BYTES_MAX)) {
        rc = raw_write(raw, point);
        now = now_ns();
        latency_add(latency, now - begin);
        begin = now;
    }
    window_close(&window);
    window_report(&window, latency, latency->count, latency->count * point->record_bytes,
                  ret_sample);
    if (rc == 0 && point->growing)
        rc = raw_restart(bench, raw);
    free(latency);
    return rc;
}

const struct workload raw_sync_workload = {
    .prepare = raw_sync_prepare,
    .run = raw_sync_run,
    .finish = raw_sync_finish,
};

static int raw_read_run(struct bench *bench, struct point *point, struct sample *ret_sample)
{
    struct raw_sync *raw = point->state;
    uint64_t done = 0;
    struct window window;

    window_open(&window);
    while (done < raw->file_bytes) {
        ssize_t bytes = pread(raw->fd, raw->data, point->record_bytes, (off_t)done);

        if (bytes <= 0)
            return bytes < 0 ? -errno : -EIO;
        done += (uint64_t)bytes;
    }
    window_close(&window);
    window_report(&window, NULL, done / point->record_bytes, done, ret_sample);
    return 0;
}

const struct workload raw_read_workload = {
    .prepare = raw_sync_prepare,
    .run = raw_read_run,
    .finish = raw_sync_finish,
};
