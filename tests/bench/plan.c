/* The points of the benchmark, group by group: which workloads with which parameters. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"
#include "wal/base.h"

#define ALL_LOGS 10000u
#define ALL_LOGS_QUICK 1000u
/* What a committer has in flight at most. */
#define IN_FLIGHT_MAX 128u

static bool is_wanted(const struct bench *bench, const struct point *point)
{
    const char *only = bench->options.only;

    return !only || strcmp(only, point->group) == 0 || strstr(point->name, only);
}

/* The points themselves stay where they are once made: workloads keep pointers to them. */
__attribute__((format(printf, 3, 4))) static void add(struct bench *bench, struct point point,
                                                      const char *format, ...)
{
    struct point *copy = malloc(sizeof(*copy));
    va_list arguments;

    must(copy && bench->point_count < BENCH_POINTS_MAX);
    va_start(arguments, format);
    vsnprintf(point.name, sizeof(point.name), format, arguments);
    va_end(arguments);
    if (!is_wanted(bench, &point)) {
        free(copy);
        return;
    }
    *copy = point;
    bench->points[bench->point_count++] = copy;
}

static const char *size_text(unsigned bytes)
{
    static char text[4][16];
    static unsigned turn;
    char *out = text[turn++ % ARRAY_SIZE(text)];

    if (bytes >= 1u << 20)
        snprintf(out, sizeof(text[0]), "%uMiB", bytes >> 20);
    else if (bytes >= 1u << 10)
        snprintf(out, sizeof(text[0]), "%uKiB", bytes >> 10);
    else
        snprintf(out, sizeof(text[0]), "%uB", bytes);
    return out;
}

static void add_raw_sync(struct bench *bench, const char *group, unsigned bytes)
{
    struct point point = {.group = group, .workload = &raw_sync_workload, .record_bytes = bytes};

    add(bench, point, "raw pwritev2 %s zeroed", size_text(bytes));
    if (bytes <= BLOCK_BYTES)
        return;
    point.growing = true;
    add(bench, point, "raw pwritev2 %s growing", size_text(bytes));
    point.allocated = true;
    add(bench, point, "raw pwritev2 %s allocated", size_text(bytes));
}

static void add_raw_ring(struct bench *bench, const char *group, unsigned files, unsigned in_flight)
{
    struct point point = {
        .group = group,
        .workload = &raw_ring_workload,
        .record_bytes = BLOCK_BYTES,
        .logs = files,
        .in_flight = min_u64(files, in_flight),
    };

    add(bench, point, "raw ring 4KiB f%u q%u", files, point.in_flight);
}

static void add_log(struct bench *bench, const char *group, const char *backend, enum log_mode mode,
                    unsigned bytes, unsigned clients, unsigned logs, unsigned committers)
{
    static const char *const modes[] = {"driven", "threads", "feeder", "wait", "wait-driven"};
    struct point point = {
        .group = group,
        .workload = &log_workload,
        .backend = backend,
        .mode = mode,
        .record_bytes = bytes,
        .clients = clients,
        .logs = logs,
        .committers = committers,
        .keep = logs >= ALL_LOGS,
    };

    add(bench, point, "log %s %s%s %s c%u l%u", backend, modes[mode], committers > 1 ? "x2" : "",
        size_text(bytes), clients, logs);
}

/* One log, small records: how latency and rate go with the number of clients. */
static void plan_clients(struct bench *bench, const char *backend)
{
    static const unsigned clients[] = {1, 8, 64, 512, 4096};
    static const enum log_mode modes[] = {MODE_DRIVEN, MODE_THREADS};

    for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
        for (unsigned i = 0; i < ARRAY_SIZE(clients); i++)
            add_log(bench, "clients", backend, modes[m], 100, clients[i], 1, 1);
    }
    add_log(bench, "clients", backend, MODE_WAIT, 100, 1, 1, 1);
    add_log(bench, "clients", backend, MODE_WAIT_DRIVEN, 100, 1, 1, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i += 2)
        add_log(bench, "clients", backend, MODE_DRIVEN, 1024, clients[i], 1, 1);
}

/* One log, large records: the bandwidth of the disk. */
static void plan_large(struct bench *bench, const char *backend)
{
    static const unsigned clients[] = {1, 4, 8};

    add_log(bench, "large", backend, MODE_DRIVEN, 64u << 10, 1, 1, 1);
    add_log(bench, "large", backend, MODE_DRIVEN, 64u << 10, 8, 1, 1);
    add_log(bench, "large", backend, MODE_DRIVEN, 64u << 10, 64, 1, 1);
    add_log(bench, "large", backend, MODE_THREADS, 64u << 10, 64, 1, 1);
    add_log(bench, "large", backend, MODE_FEEDER, 64u << 10, 64, 1, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
        add_log(bench, "large", backend, MODE_DRIVEN, 1u << 20, clients[i], 1, 1);
        add_log(bench, "large", backend, MODE_THREADS, 1u << 20, clients[i], 1, 1);
        add_log(bench, "large", backend, MODE_FEEDER, 1u << 20, clients[i], 1, 1);
    }
}

/* Many logs with one writer each: how many durable writes a second. */
static void plan_logs(struct bench *bench, const char *backend)
{
    static const unsigned logs[] = {1, 16, 64, 1000};

    for (unsigned i = 0; i < ARRAY_SIZE(logs); i++)
        add_log(bench, "logs", backend, MODE_DRIVEN, 100, logs[i], logs[i], 1);
    for (unsigned i = 1; i < ARRAY_SIZE(logs); i++)
        add_log(bench, "logs", backend, MODE_THREADS, 100, logs[i], logs[i], 1);
    for (unsigned i = 2; i < ARRAY_SIZE(logs); i++)
        add_log(bench, "logs", backend, MODE_THREADS, 100, logs[i], logs[i], 2);
    if (!bench->options.quick)
        add_log(bench, "logs", backend, MODE_DRIVEN, 100, ALL_LOGS, ALL_LOGS, 1);
}

static void plan_recovery(struct bench *bench, const char *backend)
{
    struct point bare = {
        .group = "recovery", .workload = &raw_read_workload, .record_bytes = 1u << 20};

    add(bench, bare, "raw pread 1MiB direct");

    /* Record size, and records in a commit. */
    static const unsigned kinds[][2] = {{64u << 10, 8}, {100, 8192}, {100, 64}};

    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        for (unsigned step = STEP_RECOVER; step <= STEP_READ; step++) {
            for (unsigned cold = 0; cold <= 1; cold++) {
                struct point point = {
                    .group = "recovery",
                    .workload = &recovery_workload,
                    .backend = backend,
                    .record_bytes = kinds[i][0],
                    .clients = kinds[i][1],
                    .cold = cold,
                    .step = step,
                };

                add(bench, point, "%s %s x%u %s", step == STEP_RECOVER ? "recover" : "cursor",
                    size_text(point.record_bytes), point.clients, cold ? "cold" : "warm");
            }
        }
    }
}

static void plan_memory(struct bench *bench, const char *backend)
{
    struct point point = {
        .group = "memory",
        .workload = &idle_workload,
        .backend = backend,
        .record_bytes = 100,
        .logs = bench->options.quick ? ALL_LOGS_QUICK : ALL_LOGS,
        .step = STEP_MAKE,
        .rounds_max = 2,
    };

    add(bench, point, "idle %s made l%u", backend, point.logs);
    point.step = STEP_REOPEN;
    add(bench, point, "idle %s reopened l%u", backend, point.logs);
}

void plan_make(struct bench *bench)
{
    const struct options *options = &bench->options;
    const char *backends[] = {options->uring ? "uring" : NULL, options->posix ? "posix" : NULL};
    const char *first = options->uring ? "uring" : "posix";

    /* First of all, while the heap is fresh. */
    plan_memory(bench, first);

    add_raw_sync(bench, "clients", BLOCK_BYTES);
    add_raw_ring(bench, "clients", 1, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(backends); i++) {
        if (backends[i])
            plan_clients(bench, backends[i]);
    }

    add_raw_sync(bench, "large", 64u << 10);
    add_raw_sync(bench, "large", 1u << 20);
    for (unsigned i = 0; i < ARRAY_SIZE(backends); i++) {
        if (backends[i])
            plan_large(bench, backends[i]);
    }

    add_raw_ring(bench, "logs", 16, UINT32_MAX);
    add_raw_ring(bench, "logs", 64, UINT32_MAX);
    add_raw_ring(bench, "logs", 256, UINT32_MAX);
    add_raw_ring(bench, "logs", 1000, IN_FLIGHT_MAX);
    add_raw_ring(bench, "logs", 1000, UINT32_MAX);
    for (unsigned i = 0; i < ARRAY_SIZE(backends); i++) {
        if (backends[i])
            plan_logs(bench, backends[i]);
    }

    plan_recovery(bench, first);
}
