#include "api/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "api/json.h"
#include "api/mhd.h"
#include "api/request.h"
#include "wal/base.h"

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

void snapshot_take(const struct api *api, struct snapshot *ret_snapshot)
{
    *ret_snapshot = (struct snapshot){
        .build = {.version = api->config.version,
                  .compiler = COMPILER,
                  .type = WALD_BUILD_TYPE,
                  .http_library = mhd_library_version(),
                  .json_library = json_library_version()},
        .draining = api->draining,
        .started_us = api->started_us,
        .uptime_us = api_uptime_us(api),
        .in_progress = api->in_progress,
        .appends_waiting = api->appends_waiting,
        .followers = api->follow.count,
        .followers_total = api->follow.started,
        .counters = &api->counters,
        .layers = api->config.layers,
        .layer_count = api->config.layer_count,
    };
    store_stats(api->config.store, &ret_snapshot->store);
    store_health(api->config.store, &ret_snapshot->health);
    process_stats(&ret_snapshot->process);
    ret_snapshot->floor_bytes =
        space_floor_of(&api->config.space_floor, ret_snapshot->store.size_bytes);
    ret_snapshot->retention_paused = api->upkeep.is_paused;
}

const char *trim_reason_name(enum wal_trim_reason reason)
{
    static const char *const names[WAL_TRIM_REASONS] = {
        [WAL_TRIM_REQUEST] = "request",
        [WAL_TRIM_AGE] = "age",
        [WAL_TRIM_BYTES] = "bytes",
        [WAL_TRIM_RECORDS] = "records",
    };
    return names[reason];
}

uint64_t snapshot_answers(const struct snapshot *snapshot, unsigned begin, unsigned end)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < snapshot->counters->route_count; i++) {
        for (unsigned status = begin; status < end; status++)
            sum += snapshot->counters->routes[i].by_status[status - STATUS_MIN];
    }
    return sum;
}

struct collection {
    struct log_samples *into;
    size_t capacity;
};

static int collect_log(void *context, const char *name, const struct wal_stats *stats)
{
    struct collection *collection = context;
    struct log_samples *into = collection->into;
    if (into->count == collection->capacity)
        return 1;
    struct log_sample *sample = &into->samples[into->count++];
    must(strlen(name) < sizeof(sample->name));
    strcpy(sample->name, name);
    sample->writable = stats->status == 0;
    sample->first_offset = stats->positions.first_offset;
    sample->committed_offset = stats->positions.committed_offset;
    sample->bytes_on_disk = stats->bytes_on_disk;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct log_sample *)a)->name, ((const struct log_sample *)b)->name);
}

void snapshot_logs(const struct api *api, const struct snapshot *snapshot,
                   struct log_samples *ret_samples)
{
    uint64_t logs_open = snapshot->store.logs_open;
    *ret_samples = (struct log_samples){0};
    struct collection collection = {ret_samples,
                                    (size_t)min_u64(api->config.metrics_logs_max, logs_open)};
    if (collection.capacity > 0) {
        ret_samples->samples = calloc(collection.capacity, sizeof(*ret_samples->samples));
        ret_samples->failed = !ret_samples->samples;
    }
    if (ret_samples->samples) {
        store_each_open(api->config.store, collect_log, &collection);
        qsort(ret_samples->samples, ret_samples->count, sizeof(*ret_samples->samples),
              compare_names);
    }
    ret_samples->left_out = logs_open - ret_samples->count;
}

void log_samples_done(struct log_samples *samples)
{
    free(samples->samples);
}
