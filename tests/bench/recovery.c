/*
 * How fast a log of one long segment is recovered when it is opened, and how fast a cursor reads it
 * all. Points with the same records share one store, which the first of them writes. `clients` is
 * the number of records in each commit here.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "wal/base.h"
#include "wal/store.h"

#define LOG_BYTES (512ull << 20)
#define LOG_BYTES_QUICK (64ull << 20)
#define SEGMENT_BYTES (1ull << 30)
#define LOG_NAME "recovered"

/* From wal/README.md: what a frame takes on disk. */
#define FRAME_HEADER 96u
#define ITEM_HEADER 16u

struct recovery {
    char path[600];
    uint64_t commits, frame_bytes;
};

static void layout(const struct bench *bench, const struct point *point, struct recovery *recovery)
{
    uint64_t item = round_up(ITEM_HEADER + point->record_bytes, 8);
    uint64_t frame = round_up(FRAME_HEADER + point->clients * item, BLOCK_BYTES);
    uint64_t bytes = bench->options.quick ? LOG_BYTES_QUICK : LOG_BYTES;

    recovery->commits = bytes / frame;
    recovery->frame_bytes = recovery->commits * frame;
    snprintf(recovery->path, sizeof(recovery->path), "%.500s/recovery-%u-%u", bench->dir,
             point->record_bytes, point->clients);
}

/* Driven by this thread, so that what is appended between two waits is one commit. */
static int fill(const struct point *point, const struct recovery *recovery, struct store *store)
{
    void *data = random_bytes_new(point->record_bytes);
    struct wal_record record = {.data = data, .size = point->record_bytes};
    struct wal_token token;
    struct wal *wal = NULL;
    int rc = store_get(store, LOG_NAME, true, &wal);

    if (rc < 0) {
        free(data);
        return rc;
    }
    for (uint64_t i = 0; rc == 0 && i < recovery->commits; i++) {
        for (unsigned k = 0; rc == 0 && k < point->clients; k++)
            rc = wal_append(wal, &record, 1, NULL, NULL, &token);
        if (rc == 0)
            rc = wal_wait(wal, token, UINT64_MAX);
    }
    store_put(store, wal);
    free(data);
    return rc;
}

static int recovery_prepare(struct bench *bench, struct point *point)
{
    struct recovery *recovery = calloc(1, sizeof(*recovery));
    struct store *store;
    int rc;

    must(recovery);
    point->state = recovery;
    layout(bench, point, recovery);
    if (access(recovery->path, F_OK) == 0)
        return 0;

    rc = bench_store_open(&store, recovery->path, point->backend, false, 1, SEGMENT_BYTES);
    if (rc < 0)
        return rc;
    rc = fill(point, recovery, store);

    int close_rc = store_close(store, UINT64_MAX);

    return rc < 0 ? rc : close_rc;
}

static void recovery_finish(struct bench *bench, struct point *point)
{
    free(point->state);
    point->state = NULL;
}

/* What file_cache() is to do; nftw() hands nothing on. */
static bool cache_cold;

static int file_cache(const char *path, const struct stat *info, int type, struct FTW *where)
{
    static char buffer[1 << 20];
    int fd = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0)
        return 0;
    if (cache_cold) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    } else {
        while (read(fd, buffer, sizeof(buffer)) > 0)
            continue;
    }
    close(fd);
    return 0;
}

/* Only the pages of these files: the rest of the machine's cache is left alone. */
static void cache_set(const char *path, bool cold)
{
    tree_settle(path);
    cache_cold = cold;
    (void)nftw(path, file_cache, 32, FTW_PHYS);
}

static int read_all(struct wal *wal, uint64_t *ret_records, uint64_t *ret_bytes)
{
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    struct wal_entry entry;
    int rc = wal_cursor_open(&cursor, wal, 0);

    *ret_records = *ret_bytes = 0;
    if (rc < 0)
        return rc;
    while ((rc = wal_cursor_next(cursor, &entry)) == 0) {
        ++*ret_records;
        *ret_bytes += entry.size;
    }
    return rc == -ENODATA ? 0 : rc;
}

static int recovery_run(struct bench *bench, struct point *point, struct sample *ret_sample)
{
    struct recovery *recovery = point->state;
    uint64_t records = recovery->commits * point->clients, bytes = recovery->frame_bytes;
    struct store *store;
    struct window window;
    struct wal *wal = NULL;
    int rc = bench_store_open(&store, recovery->path, point->backend, false, 1, SEGMENT_BYTES);

    if (rc < 0)
        return rc;
    if (point->step == STEP_RECOVER) {
        cache_set(recovery->path, point->cold);
        window_open(&window);
    }
    rc = store_get(store, LOG_NAME, false, &wal);
    if (rc == 0 && point->step == STEP_READ) {
        cache_set(recovery->path, point->cold);
        window_open(&window);
        rc = read_all(wal, &records, &bytes);
    }
    if (rc == 0) {
        struct wal_positions positions;

        window_close(&window);
        window_report(&window, NULL, records, bytes, ret_sample);
        wal_positions(wal, &positions);
        if (positions.committed_offset != recovery->commits * point->clients ||
            records != positions.committed_offset)
            rc = -EBADMSG;
    }
    if (wal)
        store_put(store, wal);

    int close_rc = store_close(store, UINT64_MAX);

    return rc < 0 ? rc : close_rc;
}

const struct workload recovery_workload = {
    .prepare = recovery_prepare,
    .run = recovery_run,
    .finish = recovery_finish,
};
