/*
 * What the files of the benchmark share. A *point* is one row of the tables: a workload with fixed
 * parameters. The points of a *group* are visited in turn, round after round, so that the disk alone
 * and the log are measured within seconds of each other; a *sample* is what one visit measured.
 * Everything that is printed is a median over the samples of a point, or over the ratios of the
 * samples of two points of the same round.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/bench/latency.h"

#define BENCH_ROUNDS_MAX 101u
#define BENCH_POINTS_MAX 256u
#define BLOCK_BYTES 4096u

enum metric {
    METRIC_RATE, /* acknowledged appends, or durable writes, per second */
    METRIC_P50,  /* latency, microseconds */
    METRIC_P99,
    METRIC_P999,
    METRIC_MAX,
    METRIC_MBPS,     /* payload, 10^6 bytes per second */
    METRIC_GROUP,    /* records per commit */
    METRIC_OVERLAP,  /* durable writes that a committer started per pass */
    METRIC_SYNC_P50, /* of the durable write alone, as the log itself saw it */
    METRIC_CPU,      /* user + system time of this process per operation, microseconds */
    METRIC_FOREIGN,  /* user time of all other processes meanwhile, percent of one core */
    METRIC_MALLOC,   /* bytes on the heap per log */
    METRIC_RSS,      /* resident bytes per log */
    METRIC_DISK,     /* bytes on disk per log */
    METRIC_FILES,    /* open descriptors per log */
    METRIC_COUNT
};

/* NAN where a metric does not apply. */
struct sample {
    double value[METRIC_COUNT];
};

enum log_mode {
    MODE_DRIVEN,  /* the measuring thread calls store_run(); done() appends again */
    MODE_THREADS, /* a committer thread; done() appends again on it */
    MODE_FEEDER,  /* a committer thread; done() hands over to a second thread that appends */
    MODE_WAIT,    /* a committer thread; the measuring thread appends and waits, one at a time */
    MODE_WAIT_DRIVEN, /* the same without a committer thread: the waiter does the work itself */
};

/* Of recovery.c, and of idle.c. */
enum step { STEP_RECOVER, STEP_READ, STEP_MAKE, STEP_REOPEN };

struct bench;
struct point;

/* What kind of workload a point is. Any function may be NULL; they return 0 or a negative errno. */
struct workload {
    /* Once, before the first round of the group. */
    int (*prepare)(struct bench *bench, struct point *point);
    /* One visit: *ret_sample comes filled with NAN. */
    int (*run)(struct bench *bench, struct point *point, struct sample *ret_sample);
    /* Once, after the last round; also after a failed prepare. */
    void (*finish)(struct bench *bench, struct point *point);
};

struct point {
    char name[64];
    const char *group;
    const struct workload *workload;

    /* Parameters; each workload reads its own. */
    const char *backend; /* "uring", "posix"; NULL for the disk alone */
    enum log_mode mode;
    unsigned record_bytes;
    unsigned clients;
    unsigned logs; /* or files */
    unsigned committers;
    unsigned in_flight; /* of a raw ring: the cap */
    bool growing;       /* raw: append to a growing file instead of overwriting zeros */
    bool allocated;     /* raw, with growing: into blocks reserved by fallocate() */
    bool cold;          /* recovery: after dropping the page cache */
    bool keep;          /* keep the files from round to round: making them takes long */
    enum step step;

    unsigned rounds_max; /* visits, where fewer do; 0: as many as asked for */

    void *state; /* the workload's, between prepare and finish */
    int error;   /* negative errno that ended this point, or 0 */
    unsigned sample_count;
    struct sample samples[BENCH_ROUNDS_MAX];
};

struct options {
    const char *dir;
    const char *json;
    const char *only; /* a group, or part of a point's name; NULL: all */
    double seconds;   /* of one visit */
    unsigned rounds;
    unsigned retries;   /* visits repeated because other processes used the machine */
    double foreign_max; /* … more than this, percent of one core */
    bool quick;
    bool uring, posix;
    bool list;
    bool realtime; /* SCHED_FIFO */
};

struct machine {
    char kernel[96];
    char file_system[160];
    char disk[160];
    char cpu[96];
    unsigned cores;
    double memory_gib;
    char load_begin[64], load_end[64];
    char store_backend[2][224]; /* what the log says of each backend here: name, direct, reason */
};

struct bench {
    struct options options;
    struct machine machine;
    char dir[512]; /* the benchmark's own folder, removed at the end */
    size_t point_count;
    struct point *points[BENCH_POINTS_MAX];
};

/* machine.c: what this runs on, the time, files and folders. */
int machine_describe(struct machine *machine, const char *dir);
void machine_load(char ret_text[64]);
uint64_t now_ns(void);
void sleep_until_ns(uint64_t when_ns);
double cpu_seconds_own(void);     /* user + system of this process */
double cpu_seconds_foreign(void); /* user time of the machine without that of this process */
int bench_dir_make(char *ret_path, size_t capacity, const char *parent);
void tree_remove(const char *path);  /* and waits until the file system has digested it */
void tree_settle(const char *path);  /* waits for the work that removed files leave behind */
void *random_bytes_new(size_t size); /* aligned to BLOCK_BYTES; aborts without memory */

/* The time a visit measures: opened and closed by the workload around its steady state. */
struct window {
    uint64_t begin_ns, end_ns;
    double cpu, foreign; /* seconds, used meanwhile once it is closed */
};
void window_open(struct window *window);
void window_close(struct window *window);
/* What every workload reports of a closed window: rate, latencies, throughput and CPU. */
void window_report(const struct window *window, const struct latency *latency, uint64_t operations,
                   uint64_t bytes, struct sample *ret_sample);

/* plan.c: which points there are. */
void plan_make(struct bench *bench);

/* The workloads. */
extern const struct workload raw_sync_workload; /* raw.c: one system call after the other */
extern const struct workload raw_read_workload; /* raw.c: from one end to the other */
extern const struct workload raw_ring_workload; /* raw_ring.c: one ring, many files */
extern const struct workload log_workload;      /* log.c: closed-loop clients of the log */
extern const struct workload recovery_workload; /* recovery.c: reopening, and reading it all */
extern const struct workload idle_workload;     /* idle.c: memory of open logs that do nothing */

/* stores.c: what the workloads do with the log's stores. */
struct store;
struct wal;
/* Fills machine.store_backend by opening a store with each backend that is asked for. */
void stores_describe(struct bench *bench);
/* The defaults but for these (segment_bytes 0: the default too); says on stderr why it failed. */
int bench_store_open(struct store **ret_store, const char *path, const char *backend, bool threads,
                     unsigned committers, uint64_t segment_bytes);
/* The name of a log by its number. */
#define LOG_NAME_FORMAT "log-%05u"
/* Gets (makes) the logs number 0 to count - 1. On failure wals[] holds those that were got. */
int logs_get(struct store *store, struct wal **wals, unsigned count, bool create);

/* raw.c, for raw_ring.c too: a file of written zeros, open for direct writes. */
int zeroed_file_new(const char *dir, const char *name, uint64_t bytes, int *ret_fd);

/* report.c */
double point_median(const struct point *point, enum metric metric);
struct ratio {
    double median, low, high; /* NAN: one of the two was not measured */
};
struct ratio point_ratio(const struct point *over, const struct point *under, enum metric metric);
struct ratio point_summary(const struct point *point, enum metric metric);
struct point *point_find(const struct bench *bench, const char *group, const char *name);
void json_string(FILE *file, const char *text);
void json_number(FILE *file, double value);
void report_header(const struct bench *bench);
void report_group(const struct bench *bench, const char *group);
int report_json(const struct bench *bench, const char *path);

/* targets.c */
void targets_print(const struct bench *bench);
void targets_json(const struct bench *bench, FILE *file);

#endif
