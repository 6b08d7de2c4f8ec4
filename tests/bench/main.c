/*
 * wal_bench: what the log costs beside the disk alone, measured in the same minutes. See README.md.
 * This file reads the options and goes through the groups, round by round.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "wal/base.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = 1;
}

static void usage(FILE *file)
{
    fputs("usage: wal_bench [options]\n"
          "  --dir DIR         measure on this disk (default: the current folder); not a tmpfs\n"
          "  --seconds S       of each visit (default 1)\n"
          "  --rounds N        visits of each point (default 5)\n"
          "  --quick           3 rounds of 0.2 s, fewer logs: to see that it runs\n"
          "  --only NAME       one group, or the points whose name contains NAME\n"
          "  --backend NAME    uring, posix or both (default)\n"
          "  --retries N       repeat a visit that others disturbed (default 2) …\n"
          "  --others PERCENT  … by using more than this of one core (default 25)\n"
          "  --realtime        run before all other processes (SCHED_FIFO), where they never rest\n"
          "  --json FILE       write all samples as JSON, too\n"
          "  --list            name groups and points, and measure nothing\n"
          "  --help\n",
          file);
}

enum {
    OPTION_DIR = 1,
    OPTION_SECONDS,
    OPTION_ROUNDS,
    OPTION_QUICK,
    OPTION_ONLY,
    OPTION_BACKEND,
    OPTION_RETRIES,
    OPTION_OTHERS,
    OPTION_REALTIME,
    OPTION_JSON,
    OPTION_LIST,
    OPTION_HELP
};

static const struct option long_options[] = {
    {"dir", required_argument, NULL, OPTION_DIR},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"rounds", required_argument, NULL, OPTION_ROUNDS},
    {"quick", no_argument, NULL, OPTION_QUICK},
    {"only", required_argument, NULL, OPTION_ONLY},
    {"backend", required_argument, NULL, OPTION_BACKEND},
    {"retries", required_argument, NULL, OPTION_RETRIES},
    {"others", required_argument, NULL, OPTION_OTHERS},
    {"realtime", no_argument, NULL, OPTION_REALTIME},
    {"json", required_argument, NULL, OPTION_JSON},
    {"list", no_argument, NULL, OPTION_LIST},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

/* False: the value is no number in [low, high]. */
static bool number_read(const char *text, double low, double high, double *ret_value)
{
    char *end;

    *ret_value = strtod(text, &end);
    return end != text && *end == '\0' && *ret_value >= low && *ret_value <= high;
}

static bool backend_read(struct options *options, const char *text)
{
    options->uring = strcmp(text, "uring") == 0 || strcmp(text, "both") == 0;
    options->posix = strcmp(text, "posix") == 0 || strcmp(text, "both") == 0;
    return options->uring || options->posix;
}

static bool option_read(struct options *options, int option, const char *value)
{
    double number;
    bool good = true;

    switch (option) {
    case OPTION_DIR: options->dir = value; break;
    case OPTION_JSON: options->json = value; break;
    case OPTION_ONLY: options->only = value; break;
    case OPTION_LIST: options->list = true; break;
    case OPTION_REALTIME: options->realtime = true; break;
    case OPTION_BACKEND: good = backend_read(options, value); break;
    case OPTION_SECONDS: good = number_read(value, 0.05, 60, &options->seconds); break;
    case OPTION_OTHERS: good = number_read(value, 0, 1e6, &options->foreign_max); break;
    case OPTION_ROUNDS:
        good = number_read(value, 1, BENCH_ROUNDS_MAX, &number);
        options->rounds = good ? (unsigned)number : 0;
        break;
    case OPTION_RETRIES:
        good = number_read(value, 0, 100, &number);
        options->retries = good ? (unsigned)number : 0;
        break;
    case OPTION_QUICK:
        options->quick = true;
        options->seconds = 0.2;
        options->rounds = 3;
        options->retries = 0;
        break;
    case OPTION_HELP: usage(stdout); exit(0);
    default: good = false;
    }
    return good;
}

static bool options_read(struct options *options, int count, char **arguments)
{
    int option;

    *options = (struct options){
        .dir = ".",
        .seconds = 1,
        .rounds = 5,
        .retries = 2,
        .foreign_max = 25,
        .uring = true,
        .posix = true,
    };
    while ((option = getopt_long(count, arguments, "", long_options, NULL)) != -1) {
        if (!option_read(options, option, optarg)) {
            if (option != '?')
                fprintf(stderr, "wal_bench: %s is not a value for that option\n", optarg);
            return false;
        }
    }
    return optind == count;
}

/* One visit, repeated while other processes take too much of the machine; of several the one that
 * was disturbed least is kept. */
static void point_visit(struct bench *bench, struct point *point)
{
    const struct options *options = &bench->options;
    struct sample best, sample;

    for (unsigned try = 0; try <= options->retries && !interrupted; try++) {
        if (try > 0)
            sleep_until_ns(now_ns() + 500000000);
        for (unsigned m = 0; m < METRIC_COUNT; m++)
            sample.value[m] = NAN;
        point->error = point->workload->run(bench, point, &sample);
        if (point->error < 0)
            return;
        if (try == 0 || sample.value[METRIC_FOREIGN] < best.value[METRIC_FOREIGN])
            best = sample;
        if (best.value[METRIC_FOREIGN] <= options->foreign_max)
            break;
    }
    if (!interrupted)
        point->samples[point->sample_count++] = best;
}

static void progress(const struct point *point, unsigned round)
{
    if (!isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r%-60s", "");
    if (point)
        fprintf(stderr, "\rround %u: %s", round + 1, point->name);
    else
        fputc('\r', stderr);
    fflush(stderr);
}

static void group_run(struct bench *bench, const char *group)
{
    for (unsigned round = 0; round < bench->options.rounds; round++) {
        for (size_t i = 0; i < bench->point_count && !interrupted; i++) {
            struct point *point = bench->points[i];

            if (strcmp(point->group, group) != 0 || point->error < 0)
                continue;
            if (point->rounds_max > 0 && round >= point->rounds_max)
                continue;
            progress(point, round);
            if (round == 0 && point->workload->prepare)
                point->error = point->workload->prepare(bench, point);
            if (point->error == 0)
                point_visit(bench, point);
        }
    }
    for (size_t i = 0; i < bench->point_count; i++) {
        struct point *point = bench->points[i];

        if (strcmp(point->group, group) == 0 && point->workload->finish &&
            (point->state || !point->workload->prepare))
            point->workload->finish(bench, point);
    }
    progress(NULL, 0);
}

static void bench_run(struct bench *bench)
{
    const char *group = "";

    report_header(bench);
    for (size_t i = 0; i < bench->point_count && !interrupted; i++) {
        if (strcmp(bench->points[i]->group, group) == 0)
            continue;
        group = bench->points[i]->group;
        group_run(bench, group);
        report_group(bench, group);
    }
    machine_load(bench->machine.load_end);
    targets_print(bench);
    printf("\nload at the end: %s\n", bench->machine.load_end);
}

/* 10,000 logs have 10,000 files open. */
static void limits_raise(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Threads started later have it from this one. The kernel threads that take part stay as they are. */
static int realtime_start(void)
{
    struct sched_param parameter = {.sched_priority = 5};

    return sched_setscheduler(0, SCHED_FIFO, &parameter) < 0 ? -errno : 0;
}

static int fail(const char *what, int rc)
{
    fprintf(stderr, "wal_bench: %s: %s\n", what,
            rc == -ENOTBLK ? "lies in memory, not on a disk" : strerror(-rc));
    return 1;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    struct options *options = &bench.options;
    int rc;

    if (!options_read(options, argc, argv)) {
        usage(stderr);
        return 64;
    }
    plan_make(&bench);
    for (size_t i = 0; options->list && i < bench.point_count; i++)
        printf("%-10s %s\n", bench.points[i]->group, bench.points[i]->name);
    if (options->list)
        return 0;

    if (options->realtime && (rc = realtime_start()) < 0)
        return fail("--realtime", rc);
    rc = machine_describe(&bench.machine, options->dir);
    if (rc == 0)
        rc = bench_dir_make(bench.dir, sizeof(bench.dir), options->dir);
    if (rc < 0)
        return fail(options->dir, rc);
    limits_raise();
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);

    stores_describe(&bench);
    bench_run(&bench);
    if (options->json)
        rc = report_json(&bench, options->json);
    tree_remove(bench.dir);
    for (size_t i = 0; i < bench.point_count; i++)
        free(bench.points[i]);
    return rc < 0 ? fail(options->json, rc) : interrupted != 0;
}
