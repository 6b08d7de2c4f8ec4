/*
 * What the log is meant to reach, held against what was measured. Nothing is asserted: on a machine
 * shared with others a miss may be the machine's, so range and median are printed beside the target.
 */
#include <math.h>
#include <string.h>

#include "tests/bench/bench.h"
#include "wal/base.h"

enum rule { AT_LEAST, AT_MOST };

struct target {
    const char *title;
    const char *group;
    const char *over;  /* name of a point; %s stands for the backend */
    const char *under; /* of the point it is divided by; NULL: the figure itself is meant */
    enum metric metric;
    enum rule rule;
    double bound;
};

#define BARE_4K "raw pwritev2 4KiB zeroed"
#define BARE_1M "raw pwritev2 1MiB zeroed"
#define GROWING_1M "raw pwritev2 1MiB growing"
#define FILES(n, q) "raw ring 4KiB f" #n " q" #q

#define LATENCY(mode)                                                                              \
    {                                                                                              \
        "1 client, p50 to bare p50", "clients", "log %s " mode " 100B c1 l1", BARE_4K, METRIC_P50, \
            AT_MOST, 1.15                                                                          \
    }
#define GROUPING(mode)                                                                             \
    {                                                                                              \
        "64 clients to 1", "clients", "log %s " mode " 100B c64 l1", "log %s " mode " 100B c1 l1", \
            METRIC_RATE, AT_LEAST, 20                                                              \
    }
#define MILLION(mode)                                                                              \
    {                                                                                              \
        "4096 clients, acks/s", "clients", "log %s " mode " 100B c4096 l1", NULL, METRIC_RATE,     \
            AT_LEAST, 1e6                                                                          \
    }
#define FILES_64(mode)                                                                             \
    {                                                                                              \
        "64 logs to 64 bare files", "logs", "log %s " mode " 100B c64 l64", FILES(64, 64),         \
            METRIC_RATE, AT_LEAST, 0.9                                                             \
    }
#define FILES_1000(mode)                                                                           \
    {                                                                                              \
        "1000 logs to 64 logs", "logs", "log %s " mode " 100B c1000 l1000",                        \
            "log %s " mode " 100B c64 l64", METRIC_RATE, AT_LEAST, 0.8                             \
    }
#define LARGE(mode, clients, bare, text)                                                           \
    {                                                                                              \
        "1 MiB to bare, " text, "large", "log %s " mode " 1MiB c" #clients " l1", bare,            \
            METRIC_MBPS, AT_LEAST, 0.85                                                            \
    }
#define RECOVER(kind)                                                                              \
    {                                                                                              \
        "recovery, MB/s", "recovery", "recover " kind " warm", NULL, METRIC_MBPS, AT_LEAST, 1000   \
    }
#define IDLE(kind)                                                                                 \
    {                                                                                              \
        "idle log, heap bytes", "memory", "idle %s " kind, NULL, METRIC_MALLOC, AT_MOST, 4096      \
    }

static const struct target targets[] = {
    LATENCY("driven"),
    LATENCY("threads"),
    LATENCY("wait"),
    LATENCY("wait-driven"),
    GROUPING("driven"),
    GROUPING("threads"),
    MILLION("driven"),
    MILLION("threads"),
    FILES_64("driven"),
    FILES_64("threads"),
    FILES_1000("driven"),
    FILES_1000("threads"),
    LARGE("driven", 1, BARE_1M, "zeroed"),
    LARGE("driven", 8, BARE_1M, "zeroed"),
    LARGE("threads", 8, BARE_1M, "zeroed"),
    LARGE("feeder", 8, BARE_1M, "zeroed"),
    LARGE("driven", 1, GROWING_1M, "growing"),
    LARGE("driven", 8, GROWING_1M, "growing"),
    LARGE("threads", 8, GROWING_1M, "growing"),
    LARGE("feeder", 8, GROWING_1M, "growing"),
    IDLE("made l10000"),
    IDLE("reopened l10000"),
    IDLE("made l1000"),
    IDLE("reopened l1000"),
    RECOVER("64KiB x8"),
    RECOVER("100B x8192"),
    RECOVER("100B x64"),
};

struct outcome {
    char over[64];
    struct ratio ratio;
    bool reached;
};

/* A copy of the name with the backend in place of %s. */
static void name_fill(char ret_name[64], const char *pattern, const char *backend)
{
    const char *place = strstr(pattern, "%s");

    if (place)
        snprintf(ret_name, 64, "%.*s%s%s", (int)(place - pattern), pattern, backend, place + 2);
    else
        snprintf(ret_name, 64, "%s", pattern);
}

/* False where the points were not measured in this run. */
static bool target_evaluate(const struct bench *bench, const struct target *target,
                            const char *backend, struct outcome *ret_outcome)
{
    char under_name[64] = "";
    struct point *over, *under = NULL;

    name_fill(ret_outcome->over, target->over, backend);
    over = point_find(bench, target->group, ret_outcome->over);
    if (target->under) {
        name_fill(under_name, target->under, backend);
        under = point_find(bench, target->group, under_name);
    }
    ret_outcome->ratio = target->under ? point_ratio(over, under, target->metric)
                                       : point_summary(over, target->metric);
    if (isnan(ret_outcome->ratio.median))
        return false;

    ret_outcome->reached = target->rule == AT_LEAST ? ret_outcome->ratio.median >= target->bound
                                                    : ret_outcome->ratio.median <= target->bound;
    return true;
}

/* Calls visit for each target and backend that was measured. */
static void targets_each(const struct bench *bench,
                         void (*visit)(void *context, const struct target *target,
                                       const struct outcome *outcome),
                         void *context)
{
    static const char *const backends[] = {"uring", "posix"};
    struct outcome outcome;

    for (unsigned t = 0; t < ARRAY_SIZE(targets); t++) {
        /* A target that does not name the backend is looked at once. */
        unsigned count = strstr(targets[t].over, "%s") ? ARRAY_SIZE(backends) : 1;

        for (unsigned b = 0; b < count; b++) {
            if (target_evaluate(bench, &targets[t], backends[b], &outcome))
                visit(context, &targets[t], &outcome);
        }
    }
}

static void target_print(void *context, const struct target *target, const struct outcome *outcome)
{
    bool large = target->bound >= 100;
    char range[64];

    snprintf(range, sizeof(range), large ? "%.0f-%.0f" : "%.2f-%.2f", outcome->ratio.low,
             outcome->ratio.high);
    printf("%-27s %-34s ", target->title, outcome->over);
    printf(large ? "%10.0f" : "%10.2f", outcome->ratio.median);
    printf(" %17s  %s ", range, target->rule == AT_LEAST ? ">=" : "<=");
    printf(large ? "%-8.0f" : "%-8.2f", target->bound);
    printf(" %s\n", outcome->reached ? "reached" : "missed");
}

/* Where the ring loses against plain system calls. */
static void backends_compare(const struct bench *bench)
{
    unsigned points = 0, lost = 0;

    for (size_t i = 0; i < bench->point_count; i++) {
        const struct point *uring = bench->points[i];
        char name[64];

        if (strncmp(uring->name, "log uring ", 10) != 0)
            continue;
        snprintf(name, sizeof(name), "log posix %.50s", uring->name + 10);
        struct ratio ratio = point_ratio(uring, point_find(bench, uring->group, name), METRIC_RATE);

        if (isnan(ratio.median))
            continue;
        points++;
        if (ratio.median >= 1)
            continue;
        if (lost++ == 0)
            printf("\nuring below posix, by rate\n");
        printf("  %-34s %5.2f  (%.2f-%.2f)\n", uring->name + 10, ratio.median, ratio.low,
               ratio.high);
    }
    if (points > 0)
        printf("\nuring at least as fast as posix at %u of %u points\n", points - lost, points);
}

void targets_print(const struct bench *bench)
{
    printf("\n%-27s %-34s %10s %17s  %-11s\n", "target", "point", "median", "range", "bound");
    targets_each(bench, target_print, NULL);
    backends_compare(bench);
}

struct json_context {
    FILE *file;
    bool more;
};

static void target_json(void *context, const struct target *target, const struct outcome *outcome)
{
    struct json_context *json = context;
    FILE *file = json->file;

    fputs(json->more ? ",\n" : "", file);
    json->more = true;
    fputs("    {\"title\": ", file);
    json_string(file, target->title);
    fputs(", \"point\": ", file);
    json_string(file, outcome->over);
    fputs(", \"median\": ", file);
    json_number(file, outcome->ratio.median);
    fputs(", \"low\": ", file);
    json_number(file, outcome->ratio.low);
    fputs(", \"high\": ", file);
    json_number(file, outcome->ratio.high);
    fprintf(file, ", \"%s\": %g, \"reached\": %s}",
            target->rule == AT_LEAST ? "at_least" : "at_most", target->bound,
            outcome->reached ? "true" : "false");
}

void targets_json(const struct bench *bench, FILE *file)
{
    struct json_context context = {.file = file};

    targets_each(bench, target_json, &context);
}
