/*
 * A snapshot in the text format of Prometheus: base units (seconds, bytes), `_total` for what only
 * rises, one HELP and one TYPE for each name. What a log counts in its own life is summed up by the
 * store over all logs, so that nothing falls when one is closed or deleted; for single logs there
 * are four gauges and no more, since each is a series that somebody has to store.
 */
#include "api/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "wal/base.h"

void metrics_add_escaped(struct text *text, const char *value)
{
    while (*value) {
        size_t plain = strcspn(value, "\\\"\n");
        text_add(text, value, plain);
        value += plain;
        if (*value == '\0')
            return;
        text_add(text, *value == '\n' ? "\\n" : *value == '"' ? "\\\"" : "\\\\", 2);
        value++;
    }
}

/* ---- the pieces of a line ---- */

struct label {
    const char *name, *value;
};

#define LABELS(...) ((const struct label[]){__VA_ARGS__, {NULL, NULL}})

static void add_string(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

static void add_head(struct text *text, const char *name, const char *type, const char *help)
{
    text_format(text, "# HELP %s ", name);
    add_string(text, help);
    text_format(text, "\n# TYPE %s %s\n", name, type);
}

/* `labels` ends with one without a name; NULL: none. */
static void add_name(struct text *text, const char *name, const struct label *labels)
{
    add_string(text, name);
    for (unsigned i = 0; labels && labels[i].name; i++) {
        text_format(text, "%s%s=\"", i == 0 ? "{" : ",", labels[i].name);
        metrics_add_escaped(text, labels[i].value);
        add_string(text, "\"");
    }
    add_string(text, labels ? "} " : " ");
}

static void add_value(struct text *text, const char *name, const struct label *labels,
                      uint64_t value)
{
    add_name(text, name, labels);
    text_format(text, "%" PRIu64 "\n", value);
}

/* Microseconds as seconds, without loss. */
static void add_seconds(struct text *text, uint64_t us)
{
    text_format(text, "%" PRIu64 ".%06" PRIu64 "\n", us / 1000000, us % 1000000);
}

static void add_counter(struct text *text, const char *name, const char *help, uint64_t value)
{
    add_head(text, name, "counter", help);
    add_value(text, name, NULL, value);
}

static void add_gauge(struct text *text, const char *name, const char *help, uint64_t value)
{
    add_head(text, name, "gauge", help);
    add_value(text, name, NULL, value);
}

static void add_time(struct text *text, const char *name, const char *type, const char *help,
                     uint64_t us)
{
    add_head(text, name, type, help);
    add_name(text, name, NULL);
    add_seconds(text, us);
}

/* The shortest form of a bound: what is compared as text elsewhere has no zeros at its end. */
static void print_bound(char ret_bound[32], uint64_t bound, bool is_time)
{
    if (!is_time) {
        snprintf(ret_bound, 32, "%" PRIu64, bound);
        return;
    }
    int bytes = snprintf(ret_bound, 32, "%" PRIu64 ".%06" PRIu64, bound / 1000000, bound % 1000000);
    while (ret_bound[bytes - 1] == '0')
        ret_bound[--bytes] = '\0';
    if (ret_bound[bytes - 1] == '.')
        ret_bound[bytes - 1] = '\0';
}

static void add_histogram(struct text *text, const char *name, const char *help,
                          const struct store_histogram *histogram, bool is_time)
{
    char bound[32], bucket[64], sum[64], count[64];
    uint64_t seen = 0;
    snprintf(bucket, sizeof(bucket), "%s_bucket", name);
    snprintf(sum, sizeof(sum), "%s_sum", name);
    snprintf(count, sizeof(count), "%s_count", name);
    add_head(text, name, "histogram", help);
    for (unsigned i = 0; i < histogram->bound_count; i++) {
        seen += histogram->counts[i];
        print_bound(bound, histogram->bounds[i], is_time);
        add_value(text, bucket, LABELS({"le", bound}), seen);
    }
    seen += histogram->counts[histogram->bound_count];
    add_value(text, bucket, LABELS({"le", "+Inf"}), seen);
    if (is_time) {
        add_name(text, sum, NULL);
        add_seconds(text, histogram->sum);
    } else {
        add_value(text, sum, NULL, histogram->sum);
    }
    add_value(text, count, NULL, seen);
}

/* ---- what there is to tell ---- */

static void add_program(struct text *text, const struct snapshot *snapshot)
{
    const struct build *build = &snapshot->build;
    const struct store_stats *store = &snapshot->store;
    add_head(text, "wald_build_info", "gauge", "Which program this is; the value is always 1.");
    add_value(text, "wald_build_info",
              LABELS({"version", build->version}, {"compiler", build->compiler},
                     {"build_type", build->type}, {"libmicrohttpd", build->http_library},
                     {"backend", store->backend}),
              1);
    add_head(text, "wald_io_info", "gauge",
             "How durable writes are done, and why that way; the value is always 1.");
    add_value(text, "wald_io_info",
              LABELS({"backend", store->backend}, {"direct", store->direct ? "true" : "false"},
                     {"reason", store->reason}),
              1);
    add_time(text, "wald_uptime_seconds", "gauge", "Time since the service started.",
             snapshot->uptime_us);
    add_gauge(text, "wald_draining", "Whether the service is stopping and takes no more appends.",
              snapshot->draining);
}

static void add_commits(struct text *text, const struct store_totals *totals)
{
    add_counter(text, "wald_committed_records_total",
                "Records made durable, over all logs, since the service started.",
                totals->commit_records);
    add_counter(text, "wald_committed_bytes_total", "Bytes of those records, without headers.",
                totals->commit_bytes);
    add_counter(text, "wald_commits_total",
                "Group commits: durable writes that made records durable.", totals->commits);
    add_histogram(text, "wald_commit_records", "Records that shared one commit.",
                  &totals->commit_sizes, false);
    add_gauge(text, "wald_commit_records_max", "Most records that ever shared one commit.",
              totals->commit_records_max);
    add_histogram(text, "wald_commit_duration_seconds",
                  "Time from append to durable, of the oldest record of each commit.",
                  &totals->commit_us, true);
    add_counter(text, "wald_syncs_total",
                "Durable writes that came back whole: commits, marks and new segments.",
                totals->syncs);
    add_histogram(text, "wald_sync_duration_seconds",
                  "Time of the durable write of each commit and mark alone.", &totals->sync_us,
                  true);
    add_counter(text, "wald_segment_rotations_total", "Segments begun behind another.",
                totals->rotations);
    add_counter(text, "wald_packed_segments_total", "Segments rewritten densely.", totals->packs);
    add_counter(text, "wald_packed_saved_bytes_total", "Disk space that was saved by that.",
                totals->pack_bytes_saved);
    add_counter(text, "wald_pack_failures_total",
                "Segments left as they were after an error, damage in them included.",
                totals->pack_failures);
    add_counter(text, "wald_write_retries_total",
                "Durable writes sent again after they had been interrupted.",
                totals->write_retries);
    add_counter(text, "wald_write_errors_total", "Durable writes that failed.",
                totals->write_errors);
    add_counter(text, "wald_log_failures_total",
                "Logs that failed and take no appends until the service is started again.",
                totals->failures);
    add_counter(text, "wald_logs_created_total", "Logs made.", totals->logs_created);
    add_counter(text, "wald_logs_deleted_total", "Logs deleted.", totals->logs_deleted);
    add_counter(
        text, "wald_name_syncs_total",
        "Syncs of the directories of logs, shared by those that are made or deleted together.",
        totals->name_syncs);
    add_head(text, "wald_append_refusals_total", "counter",
             "Appends refused by the log: queue is full, no space on the disk, another shortage "
             "(files, memory, stopping), or the log is at its quota. Nothing was written.");
    add_value(text, "wald_append_refusals_total", LABELS({"reason", "queue"}),
              totals->refusals_queue);
    add_value(text, "wald_append_refusals_total", LABELS({"reason", "space"}),
              totals->refusals_space);
    add_value(text, "wald_append_refusals_total", LABELS({"reason", "other"}),
              totals->refusals_other);
    add_value(text, "wald_append_refusals_total", LABELS({"reason", "quota"}),
              totals->refusals_quota);
}

static void add_trims(struct text *text, const struct snapshot *snapshot)
{
    const struct wal_trims *trims = snapshot->store.totals.trims;
    add_head(
        text, "wald_trims_total", "counter",
        "Trims that moved the beginning of a log: on request, or by the limit of retention that "
        "decided.");
    for (unsigned i = 0; i < WAL_TRIM_REASONS; i++)
        add_value(text, "wald_trims_total",
                  LABELS({"reason", trim_reason_name((enum wal_trim_reason)i)}), trims[i].count);
    add_head(text, "wald_trimmed_records_total", "counter", "Records that went with those trims.");
    for (unsigned i = 0; i < WAL_TRIM_REASONS; i++)
        add_value(text, "wald_trimmed_records_total",
                  LABELS({"reason", trim_reason_name((enum wal_trim_reason)i)}), trims[i].records);
    add_gauge(text, "wald_retention_paused",
              "Whether the clock has jumped and is not believed, so that nothing goes by its age.",
              snapshot->retention_paused);
}

static void add_queue(struct text *text, const struct snapshot *snapshot)
{
    const struct store_stats *store = &snapshot->store;
    add_gauge(text, "wald_pending_records", "Records queued for the disk or on their way to it.",
              store->pending_records);
    add_gauge(text, "wald_pending_bytes", "Bytes of those records, with their headers.",
              store->pending_bytes);
    add_gauge(text, "wald_batch_memory_bytes", "Memory of commits that wait or are in flight.",
              store->memory_bytes);
    add_gauge(text, "wald_appends_waiting", "Appends whose answer waits for the disk.",
              snapshot->appends_waiting);
    add_counter(text, "wald_committer_rounds_total", "Passes of the committers.", store->rounds);
    add_counter(text, "wald_committer_writes_total", "Durable writes that were started.",
                store->writes);
}

/*
 * Whether a status is told of before it was ever answered: what alerts are made of has to begin at 0,
 * or its first time is no increase.
 */
static bool told_at_zero(unsigned status)
{
    return status == 500 || status == 503 || status == 507;
}

static void add_answers(struct text *text, const struct api_counters *counters)
{
    static const char name[] = "wald_http_requests_total";
    add_head(text, name, "counter",
             "Requests that are over, by route and status; HEAD counts as GET, and what has no "
             "route as other.");
    for (size_t i = 0; i < counters->route_count; i++) {
        const struct route_answers *route = &counters->routes[i];
        for (unsigned status = 0; status < STATUS_COUNT; status++) {
            if (route->by_status[status] == 0 && !told_at_zero(status + STATUS_MIN))
                continue;
            char code[16];
            snprintf(code, sizeof(code), "%u", status + STATUS_MIN);
            add_value(text, name,
                      LABELS({"method", route->method}, {"route", route->path}, {"code", code}),
                      route->by_status[status]);
        }
    }
}

static void add_http(struct text *text, const struct snapshot *snapshot)
{
    const struct api_counters *counters = snapshot->counters;
    add_answers(text, counters);
    add_counter(text, "wald_turns_total",
                "Turns of the loop that serves; with nothing to do there is hardly one a second.",
                counters->turns);
    add_counter(text, "wald_http_requests_begun_total", "Requests that began, this one included.",
                counters->requests);
    add_counter(
        text, "wald_http_requests_aborted_total",
        "Requests that ended without an answer of this service: the client was gone, or sent "
        "more than the HTTP library takes.",
        counters->aborted);
    add_gauge(text, "wald_http_requests_in_progress", "Requests under way, this one included.",
              snapshot->in_progress);
    add_gauge(text, "wald_http_connections", "Connections open, this one included.",
              counters->connections);
    add_gauge(text, "wald_http_connections_parked",
              "Of these, those that are set aside until a log has grown for them.",
              counters->connections_parked);
    add_counter(text, "wald_http_connections_total", "Connections taken.",
                counters->connections_total);
    add_counter(text, "wald_http_connections_refused_total",
                "Connections closed at once, since their address had enough of them.",
                counters->connections_refused);
    add_counter(text, "wald_tls_handshakes_total", "Handshakes of TLS that were done.",
                counters->tls_handshakes);
    add_counter(text, "wald_tls_handshakes_failed_total",
                "Handshakes of TLS that failed, or were not done in time.",
                counters->tls_handshakes_failed);
    add_gauge(text, "wald_followers", "Streams of events open.", snapshot->followers);
    add_counter(text, "wald_followers_total", "Streams of events begun.",
                snapshot->followers_total);
    add_head(text, "wald_http_refusals_total", "counter",
             "Answers that were a problem document, by its type.");
    for (unsigned i = 0; i < PROBLEM_COUNT; i++)
        add_value(text, "wald_http_refusals_total", LABELS({"type", problem_type((enum problem)i)}),
                  counters->problems[i]);
}

static void add_disk(struct text *text, const struct snapshot *snapshot)
{
    const struct store_stats *store = &snapshot->store;
    add_gauge(text, "wald_disk_free_bytes", "Free on the file system of the data directory.",
              store->free_bytes);
    add_gauge(text, "wald_disk_size_bytes", "Size of that file system.", store->size_bytes);
    add_gauge(text, "wald_disk_floor_bytes",
              "With less free than that, appends and new logs are refused (--space-floor).",
              snapshot->floor_bytes);
    add_gauge(text, "wald_disk_writable",
              "Whether the last durable write succeeded; on a quiet service /readyz makes one.",
              snapshot->health.error == 0);
    add_time(text, "wald_disk_last_write_age_seconds", "gauge", "Time since that write came back.",
             snapshot->health.age_us);
    add_gauge(text, "wald_write_handles", "Files open for appending.", store->write_handles);
}

static void add_store_logs(struct text *text, const struct snapshot *snapshot)
{
    const struct store_stats *store = &snapshot->store;
    add_gauge(text, "wald_logs", "Logs that there are.", store->logs);
    add_gauge(text, "wald_logs_open",
              "Logs that are open; others are opened when they are first used.", store->logs_open);
    add_gauge(text, "wald_logs_failed", "Open logs that failed and take no appends.",
              store->logs_failed);
    add_gauge(text, "wald_logs_damaged", "Open logs that are damaged and take no appends.",
              store->logs_damaged);
    const struct store_scrub *scrub = &store->scrub;
    add_gauge(
        text, "wald_damaged_places",
        "Places in the files of all logs that were found damaged, as of the last look at each "
        "log, and are neither repaired nor deleted.",
        scrub->places);
    add_counter(text, "wald_damage_found_total",
                "Damaged places found by reading everything again.", scrub->found);
    add_counter(text, "wald_scrub_bytes_total", "Bytes read again to look for damage.",
                scrub->bytes);
    add_counter(text, "wald_scrub_logs_total", "Logs looked at for damage.", scrub->logs);
    add_counter(text, "wald_scrub_passes_total", "Times that all logs were looked at.",
                scrub->passes);
    add_counter(text, "wald_scrub_errors_total",
                "Logs that could not be looked at, for another reason than damage.", scrub->errors);
    add_gauge(text, "wald_logs_disk_bytes",
              "Files of all open logs, with space made ready for what comes.",
              store->bytes_on_disk);
}

static void add_log_gauge(struct text *text, const struct log_samples *logs, const char *name,
                          const char *help, uint64_t (*value)(const struct log_sample *sample))
{
    if (logs->count == 0)
        return;
    add_head(text, name, "gauge", help);
    for (size_t i = 0; i < logs->count; i++)
        add_value(text, name, LABELS({"log", logs->samples[i].name}), value(&logs->samples[i]));
}

static uint64_t first_offset_of(const struct log_sample *sample)
{
    return sample->first_offset;
}

static uint64_t committed_offset_of(const struct log_sample *sample)
{
    return sample->committed_offset;
}

static uint64_t bytes_on_disk_of(const struct log_sample *sample)
{
    return sample->bytes_on_disk;
}

static uint64_t writable_of(const struct log_sample *sample)
{
    return sample->writable;
}

static void add_logs(struct text *text, const struct log_samples *logs)
{
    add_gauge(text, "wald_logs_unlisted",
              "Open logs that have no series of their own here, since there are too many.",
              logs->left_out);
    add_log_gauge(text, logs, "wald_log_first_offset",
                  "Oldest record kept. Only logs that are open are listed.", first_offset_of);
    add_log_gauge(text, logs, "wald_log_committed_offset",
                  "Records below it are durable. Only logs that are open are listed.",
                  committed_offset_of);
    add_log_gauge(text, logs, "wald_log_disk_bytes",
                  "Files of the log. Only logs that are open are listed.", bytes_on_disk_of);
    add_log_gauge(text, logs, "wald_log_writable",
                  "Whether the log takes appends: 0 if it failed, is damaged or closing. Only logs "
                  "that are open are listed.",
                  writable_of);
}

/* The names that every program uses for these. */
static void add_process(struct text *text, const struct snapshot *snapshot)
{
    const struct process_stats *process = &snapshot->process;
    add_time(text, "process_cpu_seconds_total", "counter",
             "Total user and system CPU time spent in seconds.", process->cpu_us);
    add_gauge(text, "process_resident_memory_bytes", "Resident memory size in bytes.",
              process->resident_bytes);
    add_gauge(text, "process_virtual_memory_bytes", "Virtual memory size in bytes.",
              process->virtual_bytes);
    add_gauge(text, "process_open_fds", "Number of open file descriptors.", process->open_fds);
    add_gauge(text, "process_max_fds", "Maximum number of open file descriptors.",
              process->max_fds);
    add_time(text, "process_start_time_seconds", "gauge",
             "Start time of the process since unix epoch in seconds.", snapshot->started_us);
}

void metrics_add(struct text *text, const struct snapshot *snapshot, const struct log_samples *logs)
{
    add_program(text, snapshot);
    add_commits(text, &snapshot->store.totals);
    add_trims(text, snapshot);
    add_queue(text, snapshot);
    add_http(text, snapshot);
    add_disk(text, snapshot);
    add_store_logs(text, snapshot);
    add_logs(text, logs);
    add_process(text, snapshot);
    text->failed = text->failed || logs->failed;
}
