/*
 * What an open log costs that has nothing to do: all logs are made and given one record each, and
 * are left alone until the store has gone quiet. The second step opens the same logs again, where
 * nobody has appended yet.
 */
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "wal/base.h"
#include "wal/store.h"

struct usage {
    double heap, resident, files;
};

static double files_open(void)
{
    double count = 0;
    DIR *dir = opendir("/proc/self/fd");

    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

static struct usage usage_now(void)
{
    struct mallinfo2 info = mallinfo2();
    unsigned long long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file) {
        if (fscanf(file, "%llu %llu", &total, &resident) != 2)
            resident = 0;
        fclose(file);
    }
    return (struct usage){
        .heap = (double)info.uordblks + (double)info.hblkhd,
        .resident = (double)resident * (double)sysconf(_SC_PAGESIZE),
        .files = files_open(),
    };
}

static void idle_path(const struct bench *bench, const struct point *point, char *ret_path,
                      size_t capacity)
{
    snprintf(ret_path, capacity, "%.500s/idle-%s-%u", bench->dir, point->backend, point->logs);
}

/* Until nothing was written for a second: longer than the time after which a log is marked. */
static void wait_quiet(struct store *store)
{
    struct store_stats stats;
    uint64_t changed = now_ns(), writes = 0;

    while (now_ns() - changed < 1000000000) {
        sleep_until_ns(now_ns() + 20000000);
        store_stats(store, &stats);
        if (stats.writes != writes)
            changed = now_ns();
        writes = stats.writes;
    }
}

static int append_to_each(const struct point *point, struct wal **wals)
{
    static const char text[100] = "one record";
    struct wal_record record = {.data = text, .size = point->record_bytes};
    int rc = 0;

    must(point->record_bytes <= sizeof(text));
    for (unsigned i = 0; rc == 0 && i < point->logs; i++)
        rc = wal_append(wals[i], &record, 1, NULL, NULL, NULL);
    for (unsigned i = 0; rc == 0 && i < point->logs; i++)
        rc = wal_flush(wals[i], UINT64_MAX);
    return rc;
}

static int measure(const struct point *point, struct store *store, struct wal **wals,
                   struct sample *ret_sample)
{
    struct usage before = usage_now(), after;
    double *value = ret_sample->value;
    double disk = 0, count = point->logs;
    struct window window;
    int rc;

    window_open(&window);
    rc = logs_get(store, wals, point->logs, point->step == STEP_MAKE);
    window_close(&window);
    if (rc == 0 && point->step == STEP_MAKE)
        rc = append_to_each(point, wals);
    if (rc < 0)
        return rc;

    wait_quiet(store);
    after = usage_now();
    window_report(&window, NULL, point->logs, 0, ret_sample);
    for (unsigned i = 0; i < point->logs; i++) {
        struct wal_stats stats;

        wal_stats(wals[i], &stats);
        disk += (double)stats.bytes_on_disk;
    }
    value[METRIC_MBPS] = NAN;
    value[METRIC_MALLOC] = (after.heap - before.heap) / count;
    value[METRIC_RSS] = (after.resident - before.resident) / count;
    value[METRIC_FILES] = (after.files - before.files) / count;
    value[METRIC_DISK] = disk / count;
    return 0;
}

static int idle_run(struct bench *bench, struct point *point, struct sample *ret_sample)
{
    struct wal **wals = calloc(point->logs, sizeof(struct wal *));
    struct store *store;
    char path[600];
    int rc;

    must(wals);
    idle_path(bench, point, path, sizeof(path));
    if (point->step == STEP_MAKE)
        tree_remove(path);
    malloc_trim(0);
    rc = bench_store_open(&store, path, point->backend, true, 1, 0);
    if (rc < 0) {
        free(wals);
        return rc;
    }
    rc = measure(point, store, wals, ret_sample);

    for (unsigned i = 0; i < point->logs; i++) {
        if (wals[i])
            store_put(store, wals[i]);
    }
    int close_rc = store_close(store, UINT64_MAX);

    free(wals);
    return rc < 0 ? rc : close_rc;
}

static void idle_finish(struct bench *bench, struct point *point)
{
    char path[600];

    idle_path(bench, point, path, sizeof(path));
    tree_remove(path);
}

const struct workload idle_workload = {
    .run = idle_run,
    .finish = idle_finish,
};
