/* Medians, ratios, and the two forms in which they are given out: tables for people, and JSON. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"
#include "wal/base.h"

/* Heading of the table's column, and key in the JSON. */
static const struct {
    const char *heading, *key;
} metrics[METRIC_COUNT] = {
    [METRIC_RATE] = {"ops/s", "ops_per_s"},
    [METRIC_P50] = {"p50 us", "p50_us"},
    [METRIC_P99] = {"p99 us", "p99_us"},
    [METRIC_P999] = {"p999 us", "p999_us"},
    [METRIC_MAX] = {"max us", "max_us"},
    [METRIC_MBPS] = {"MB/s", "mb_per_s"},
    [METRIC_GROUP] = {"group", "records_per_commit"},
    [METRIC_OVERLAP] = {"writes/pass", "writes_per_pass"},
    [METRIC_SYNC_P50] = {"sync p50", "sync_p50_us"},
    [METRIC_CPU] = {"cpu us/op", "cpu_us_per_op"},
    [METRIC_FOREIGN] = {"others %", "foreign_user_cpu_percent"},
    [METRIC_MALLOC] = {"heap B/log", "heap_bytes_per_log"},
    [METRIC_RSS] = {"RSS B/log", "resident_bytes_per_log"},
    [METRIC_DISK] = {"disk B/log", "disk_bytes_per_log"},
    [METRIC_FILES] = {"fds/log", "descriptors_per_log"},
};

static int double_compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static double samples_median(const double *values, size_t count)
{
    double sorted[BENCH_ROUNDS_MAX];

    if (count == 0)
        return NAN;
    must(count <= BENCH_ROUNDS_MAX);
    memcpy(sorted, values, count * sizeof(*values));
    qsort(sorted, count, sizeof(*sorted), double_compare);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

static struct ratio values_summary(const double *values, size_t count)
{
    struct ratio summary = {.median = samples_median(values, count), .low = NAN, .high = NAN};

    for (size_t i = 0; i < count; i++) {
        summary.low = fmin(summary.low, values[i]); /* fmin() prefers a number to NAN */
        summary.high = fmax(summary.high, values[i]);
    }
    return summary;
}

struct ratio point_summary(const struct point *point, enum metric metric)
{
    double values[BENCH_ROUNDS_MAX];

    if (!point)
        return (struct ratio){NAN, NAN, NAN};
    for (unsigned i = 0; i < point->sample_count; i++)
        values[i] = point->samples[i].value[metric];
    return values_summary(values, point->sample_count);
}

double point_median(const struct point *point, enum metric metric)
{
    return point_summary(point, metric).median;
}

/* Round by round, since both were measured within seconds of each other there. */
struct ratio point_ratio(const struct point *over, const struct point *under, enum metric metric)
{
    double values[BENCH_ROUNDS_MAX];
    size_t count = 0;

    if (!over || !under)
        return (struct ratio){NAN, NAN, NAN};
    for (unsigned i = 0; i < over->sample_count && i < under->sample_count; i++)
        values[count++] = over->samples[i].value[metric] / under->samples[i].value[metric];
    return values_summary(values, count);
}

struct point *point_find(const struct bench *bench, const char *group, const char *name)
{
    for (size_t i = 0; i < bench->point_count; i++) {
        struct point *point = bench->points[i];

        if (strcmp(point->name, name) == 0 && strcmp(point->group, group) == 0)
            return point;
    }
    return NULL;
}

void report_header(const struct bench *bench)
{
    const struct machine *machine = &bench->machine;
    const struct options *options = &bench->options;

    printf("kernel       %s\n", machine->kernel);
    printf("processors   %u x %s, %.0f GiB\n", machine->cores, machine->cpu, machine->memory_gib);
    printf("file system  %s\n", machine->file_system);
    printf("disk         %s\n", machine->disk);
    for (unsigned i = 0; i < ARRAY_SIZE(machine->store_backend); i++) {
        if (machine->store_backend[i][0])
            printf("backend      %s\n", machine->store_backend[i]);
    }
    printf("load         %s\n", machine->load_begin);
    printf("method       %u rounds of %g s each, medians; a visit during which other processes "
           "used\n             more than %g %% of a core is repeated up to %u times\n",
           options->rounds, options->seconds, options->foreign_max, options->retries);
    if (options->realtime)
        printf("             real-time priority, since other processes keep the machine busy\n");
}

/* Columns that no point of the group has are left out. */
static unsigned columns_of(const struct bench *bench, const char *group, enum metric *ret_columns)
{
    unsigned count = 0;

    for (unsigned m = 0; m < METRIC_COUNT; m++) {
        for (size_t i = 0; i < bench->point_count; i++) {
            const struct point *point = bench->points[i];

            if (strcmp(point->group, group) == 0 && !isnan(point_median(point, m))) {
                ret_columns[count++] = m;
                break;
            }
        }
    }
    return count;
}

static const char *number_text(char *text, size_t capacity, double value)
{
    if (isnan(value))
        snprintf(text, capacity, "-");
    else
        snprintf(text, capacity, "%.*f", value >= 100 ? 0 : value >= 10 ? 1 : 2, value);
    return text;
}

static void row_print(const struct point *point, const enum metric *columns, unsigned count)
{
    char text[32], range[64];

    printf("%-34s", point->name);
    if (point->sample_count == 0) {
        printf("  %s\n", point->error < 0 ? strerror(-point->error) : "not run");
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        struct ratio summary = point_summary(point, columns[i]);

        printf(" %10s", number_text(text, sizeof(text), summary.median));
        if (columns[i] != METRIC_RATE)
            continue;
        snprintf(range, sizeof(range), "%.0f-%.0f", summary.low, summary.high);
        printf(" %17s", range);
    }
    if (point->error < 0)
        printf("  then %s", strerror(-point->error));
    printf("\n");
}

void report_group(const struct bench *bench, const char *group)
{
    enum metric columns[METRIC_COUNT];
    unsigned count = columns_of(bench, group, columns);

    printf("\n%-34s", group);
    for (unsigned i = 0; i < count; i++) {
        printf(" %10s", metrics[columns[i]].heading);
        if (columns[i] == METRIC_RATE)
            printf(" %17s", "range");
    }
    printf("\n");
    for (size_t i = 0; i < bench->point_count; i++) {
        if (strcmp(bench->points[i]->group, group) == 0)
            row_print(bench->points[i], columns, count);
    }
    fflush(stdout);
}

void json_string(FILE *file, const char *text)
{
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', file);
        if ((unsigned char)*text >= ' ')
            fputc(*text, file);
    }
    fputc('"', file);
}

void json_number(FILE *file, double value)
{
    if (isfinite(value))
        fprintf(file, "%.6g", value);
    else
        fputs("null", file);
}

static void json_point(FILE *file, const struct point *point)
{
    const char *separator = "";

    fputs("    {\"group\": ", file);
    json_string(file, point->group);
    fputs(", \"name\": ", file);
    json_string(file, point->name);
    fprintf(file, ", \"error\": %d, \"samples\": {", point->error);
    for (unsigned m = 0; m < METRIC_COUNT; m++) {
        if (isnan(point_median(point, m)))
            continue;
        fprintf(file, "%s\"%s\": [", separator, metrics[m].key);
        separator = ", ";
        for (unsigned i = 0; i < point->sample_count; i++) {
            fputs(i ? ", " : "", file);
            json_number(file, point->samples[i].value[m]);
        }
        fputc(']', file);
    }
    fputs("}}", file);
}

static void json_machine(FILE *file, const struct bench *bench)
{
    const struct machine *machine = &bench->machine;
    const struct {
        const char *key, *value;
    } fields[] = {
        {"kernel", machine->kernel},           {"processor", machine->cpu},
        {"file_system", machine->file_system}, {"disk", machine->disk},
        {"uring", machine->store_backend[0]},  {"posix", machine->store_backend[1]},
        {"load_begin", machine->load_begin},   {"load_end", machine->load_end},
    };

    fprintf(file, "{\n  \"machine\": {\"cores\": %u, \"memory_gib\": %.1f", machine->cores,
            machine->memory_gib);
    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
        fprintf(file, ", \"%s\": ", fields[i].key);
        json_string(file, fields[i].value);
    }
    fprintf(file, "},\n  \"rounds\": %u,\n  \"seconds\": %g,\n  \"points\": [\n",
            bench->options.rounds, bench->options.seconds);
}

/* Every sample, not only the medians, so that other questions can be asked of the same run. */
int report_json(const struct bench *bench, const char *path)
{
    FILE *file = fopen(path, "we");

    if (!file)
        return -errno;
    json_machine(file, bench);
    for (size_t i = 0; i < bench->point_count; i++) {
        fputs(i ? ",\n" : "", file);
        json_point(file, bench->points[i]);
    }
    fputs("\n  ],\n  \"targets\": [\n", file);
    targets_json(bench, file);
    fputs("\n  ]\n}\n", file);
    return fclose(file) == 0 ? 0 : -errno;
}
