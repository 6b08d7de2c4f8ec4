/*
 * api/metrics.c and api/snapshot.c: what Prometheus is given. One bad label and it drops the whole
 * scrape; one series a log too many, and a service with many logs drowns it.
 */
#include "tests/support/store_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/metrics.h"
#include "api/request.h"
#include "wal/base.h"

/* ---- The text -------------------------------------------------------------------------------- */

static void expect_escaped(const char *value, const char *wanted)
{
    struct text text = {0};
    metrics_add_escaped(&text, value);
    text_add(&text, "", 1);
    assert_false(text.failed);
    assert_string_equal(text.data, wanted);
    text_done(&text);
}

/* The three characters that mean something inside the quotes, and nothing else. */
static void labels_are_escaped(void **state)
{
    expect_escaped("", "");
    expect_escaped("plain", "plain");
    expect_escaped("\\", "\\\\");
    expect_escaped("\"", "\\\"");
    expect_escaped("\n", "\\n");
    expect_escaped("a\\b\"c\nd", "a\\\\b\\\"c\\nd");
    expect_escaped("\\n", "\\\\n");
    expect_escaped("\"\"\\\\\n\n", "\\\"\\\"\\\\\\\\\\n\\n");
    expect_escaped("tab\there {le=\"1\"} # no comment", "tab\there {le=\\\"1\\\"} # no comment");
    expect_escaped("gr\xc3\xbc\xc3\x9f \xe2\x82\xac", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac");
}

struct samples {
    struct text text;
    struct snapshot snapshot;
    struct api_counters counters;
    struct route_answers routes[2];
    struct log_samples logs;
};

/* Whatever a snapshot holds, down to a reason that nobody expected. */
static void fill_snapshot(struct samples *samples)
{
    static const uint64_t bounds[] = {50, 1000, 1024000, 2000000};
    struct store_histogram histogram = {
        .bounds = bounds, .bound_count = 4, .counts = {1, 0, 2, 0, 4}, .sum = 12345678};
    samples->routes[0] = (struct route_answers){.method = "GET", .path = "/logs/{log}"};
    samples->routes[0].by_status[200 - STATUS_MIN] = 7;
    samples->routes[0].by_status[404 - STATUS_MIN] = 1;
    samples->routes[1] = (struct route_answers){.method = "other", .path = "other"};
    samples->routes[1].by_status[STATUS_COUNT - 1] = 2;
    samples->counters.routes = samples->routes;
    samples->counters.route_count = 2;
    samples->counters.problems[PROBLEM_BUSY] = 3;
    struct store_stats *store = &samples->snapshot.store;
    store->backend = "posix";
    store->reason = "said \"no\" at C:\\\nand again";
    store->totals.commit_us = store->totals.sync_us = store->totals.commit_sizes = histogram;
    store->totals.commit_records = UINT64_MAX;
    samples->snapshot.build = (struct build){"1.2.3", "cc", "Debug", "0.0", "0.0"};
    samples->snapshot.uptime_us = 1000001;
    samples->snapshot.counters = &samples->counters;
    metrics_add(&samples->text, &samples->snapshot, &samples->logs);
    text_add(&samples->text, "", 1);
    assert_false(samples->text.failed);
}

static void expect_line(const struct samples *samples, const char *line)
{
    char wanted[256];
    snprintf(wanted, sizeof(wanted), "\n%s\n", line);
    if (!strstr(samples->text.data, wanted))
        fail_msg("no line %s", line);
}

/* Histograms are cumulative, times are seconds to the last microsecond, bounds have no zeros at
 * their end. */
static void a_snapshot_is_written_as_prometheus_reads_it(void **state)
{
    static struct samples samples;
    fill_snapshot(&samples);
    expect_line(&samples, "# TYPE wald_commit_duration_seconds histogram");
    expect_line(&samples, "wald_commit_duration_seconds_bucket{le=\"0.00005\"} 1");
    expect_line(&samples, "wald_commit_duration_seconds_bucket{le=\"0.001\"} 1");
    expect_line(&samples, "wald_commit_duration_seconds_bucket{le=\"1.024\"} 3");
    expect_line(&samples, "wald_commit_duration_seconds_bucket{le=\"2\"} 3");
    expect_line(&samples, "wald_commit_duration_seconds_bucket{le=\"+Inf\"} 7");
    expect_line(&samples, "wald_commit_duration_seconds_sum 12.345678");
    expect_line(&samples, "wald_commit_duration_seconds_count 7");
    expect_line(&samples, "wald_commit_records_bucket{le=\"1024000\"} 3");
    expect_line(&samples, "wald_commit_records_sum 12345678");
    expect_line(&samples, "wald_committed_records_total 18446744073709551615");
    expect_line(&samples, "wald_uptime_seconds 1.000001");
    expect_line(&samples,
                "wald_io_info{backend=\"posix\",direct=\"false\",reason=\"said \\\"no\\\" "
                "at C:\\\\\\nand again\"} 1");
    expect_line(&samples,
                "wald_http_requests_total{method=\"GET\",route=\"/logs/{log}\",code=\"200\"} 7");
    expect_line(&samples,
                "wald_http_requests_total{method=\"GET\",route=\"/logs/{log}\",code=\"404\"} 1");
    expect_line(&samples,
                "wald_http_requests_total{method=\"other\",route=\"other\",code=\"599\"} 2");
    expect_line(&samples,
                "wald_http_requests_total{method=\"GET\",route=\"/logs/{log}\",code=\"503\"} 0");
    expect_line(&samples, "wald_http_refusals_total{type=\"busy\"} 3");
    assert_int_equal(snapshot_answers(&samples.snapshot, 200, 300), 7);
    assert_int_equal(snapshot_answers(&samples.snapshot, 400, 600), 3);
    text_done(&samples.text);
}

/* Every sample stands behind a HELP and a TYPE of its own, and no name has two of them. */
static void every_metric_has_one_help_and_one_type(void **state)
{
    static struct samples samples;
    struct log_sample logs[] = {{.name = "a", .writable = true}, {.name = "b"}};
    samples.logs = (struct log_samples){.samples = logs, .count = 2, .left_out = 5};
    fill_snapshot(&samples);
    char names[128][64];
    unsigned count = 0, lines = 0;
    char *rest = samples.text.data;
    for (char *line; (line = strtok_r(rest, "\n", &rest)); lines++) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            assert_true(count < ARRAY_SIZE(names));
            assert_int_equal(sscanf(line, "# HELP %63s", names[count]), 1);
            for (unsigned i = 0; i < count; i++)
                assert_string_not_equal(names[i], names[count]);
            count++;
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            char name[64], type[16];
            assert_int_equal(sscanf(line, "# TYPE %63s %15s", name, type), 2);
            assert_string_equal(name, names[count - 1]);
            size_t bytes = strlen(name);
            bool is_total = bytes > 6 && strcmp(name + bytes - 6, "_total") == 0;
            assert_int_equal(is_total, strcmp(type, "counter") == 0);
        } else {
            assert_true(count > 0);
            assert_memory_equal(line, names[count - 1], strlen(names[count - 1]));
        }
    }
    assert_in_range(lines, 3 * count, SIZE_MAX);
    assert_in_range(count, 40, ARRAY_SIZE(names));
    text_done(&samples.text);
}

/* ---- Logs ------------------------------------------------------------------------------------ */

static void tell(void *context, const struct api_event *event)
{
    fail_msg("%s", event->name);
}

static struct api *new_api(struct fixture *f, uint32_t logs_max)
{
    struct api *api;
    struct api_config config = {
        .store = f->store, .version = "1", .metrics_logs_max = logs_max, .tell = tell};
    assert_int_equal(api_new(&api, &config), 0);
    return api;
}

/* Beyond the ceiling logs are counted and not listed; which ones are listed does not change from one
 * scrape to the next. */
static void only_so_many_logs_have_series_of_their_own(void **state)
{
    struct fixture *f = fixture_start(state);
    const char *names[] = {"e", "d", "c", "b", "a"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        commit_numbers(fixture_get(f, names[i], true), 0, i + 1, 10);
    const unsigned open = ARRAY_SIZE(names) + 1;
    for (uint32_t max = 0; max <= open + 1; max++) {
        struct api *api = new_api(f, max);
        struct snapshot snapshot;
        struct log_samples logs, again;
        snapshot_take(api, &snapshot);
        snapshot_logs(api, &snapshot, &logs);
        snapshot_logs(api, &snapshot, &again);
        assert_false(logs.failed);
        assert_int_equal(logs.count, max < open ? max : open);
        assert_int_equal(logs.left_out, open - logs.count);
        assert_int_equal(again.count, logs.count);
        for (size_t i = 0; i < logs.count; i++) {
            const struct log_sample *log = &logs.samples[i];
            assert_true(i == 0 || strcmp(log[-1].name, log->name) < 0);
            assert_string_equal(log->name, again.samples[i].name);
            assert_true(log->writable);
            struct wal *wal = fixture_get(f, log->name, false);
            assert_int_equal(log->committed_offset, positions_of(wal).committed_offset);
            fixture_put(f, wal);
            assert_int_equal(log->first_offset, 0);
            assert_true(log->bytes_on_disk > 0);
        }
        log_samples_done(&logs);
        log_samples_done(&again);
        api_free(api);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(a_snapshot_is_written_as_prometheus_reads_it),
        cmocka_unit_test(every_metric_has_one_help_and_one_type),
        ON_SIM(only_so_many_logs_have_series_of_their_own),
        ON_DISKS(only_so_many_logs_have_series_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
