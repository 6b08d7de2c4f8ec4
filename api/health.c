/*
 * Is the service alive, and is it ready for work?
 *
 * Alive is that it answers: the loop turns. Whoever restarts what is not alive gains nothing by it
 * when the disk is full or broken, so that is not asked here.
 *
 * Ready is what a load balancer wants to know. Whether the disk takes writes is known from the last
 * durable write, of a commit or of a probe. If that is older than FRESH_US the request waits for a
 * probe: one small write by a worker of the store, which everybody who asks meanwhile shares. A disk
 * that hangs does not come back with it, so who asks after HANGING_US is told that at once.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/errors.h"
#include "api/json.h"
#include "api/request.h"
#include "wal/base.h"

#define FRESH_US UINT64_C(2000000)
#define HANGING_US UINT64_C(3000000)

#define CHECKS_MAX 5
#define CHECK_TEXT_BYTES 192

struct checks {
    struct json_check list[CHECKS_MAX];
    char texts[CHECKS_MAX][CHECK_TEXT_BYTES];
    unsigned count;
};

static void add_check(struct checks *checks, const char *name, bool ok, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void add_check(struct checks *checks, const char *name, bool ok, const char *format, ...)
{
    must(checks->count < CHECKS_MAX);
    char *text = checks->texts[checks->count];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, CHECK_TEXT_BYTES, format, arguments);
    va_end(arguments);
    checks->list[checks->count++] = (struct json_check){name, ok, text};
}

/* ---- the checks of readiness ---- */

static void check_disk(struct checks *checks, const struct store_health *health)
{
    double age_s = (double)health->age_us / 1e6;
    if (health->names_error < 0)
        add_check(checks, "disk", false,
                  "a sync of the directories failed (%s): logs that are not open cannot be had "
                  "until the disk is sound and the service is started again",
                  strerror(-health->names_error));
    else if (health->probing && health->probing_us >= HANGING_US)
        add_check(checks, "disk", false,
                  "a small write begun %.1f s ago has not come back: look at the disk",
                  (double)health->probing_us / 1e6);
    else if (health->error < 0)
        add_check(checks, "disk", false,
                  "the last durable write, %.1f s ago, failed (%s): look at the disk", age_s,
                  strerror(-health->error));
    else
        add_check(checks, "disk", true, "the last durable write, %.1f s ago, succeeded", age_s);
}

static void check_space(struct checks *checks, const struct store_stats *stats, uint64_t floor)
{
    if (stats->size_bytes == 0)
        add_check(checks, "space", false, "the file system does not tell how much is free");
    else if (stats->free_bytes < floor)
        add_check(checks, "space", false,
                  "%" PRIu64 " bytes are free, and %" PRIu64
                  " are to stay free, so appends are refused: delete or trim logs, or make room on "
                  "the disk",
                  stats->free_bytes, floor);
    else
        add_check(checks, "space", true,
                  "%" PRIu64 " bytes are free, and %" PRIu64 " are to stay free", stats->free_bytes,
                  floor);
}

/* One bad log is told, and does not take the good ones away from their users, nor do damaged ones
 * take away what can still be read. All failed is a disk that failed. */
static void check_logs(struct checks *checks, const struct store_stats *stats)
{
    bool all_failed = stats->logs_open > 0 && stats->logs_failed == stats->logs_open;
    add_check(checks, "logs", !all_failed,
              "%" PRIu64 " open, %" PRIu64 " failed, %" PRIu64 " damaged; %" PRIu64
              " damaged places found by the scrub%s",
              stats->logs_open, stats->logs_failed, stats->logs_damaged, stats->scrub.places,
              all_failed ? ": look at the disk, and start the service again" : "");
}

static void run_checks(const struct api *api, struct checks *checks)
{
    struct store_stats stats;
    struct store_health health;
    store_stats(api->config.store, &stats);
    store_health(api->config.store, &health);
    add_check(checks, "recovery", true,
              "the data directory is open; each log is recovered when it is first used");
    check_disk(checks, &health);
    check_space(checks, &stats, space_floor_of(&api->config.space_floor, stats.size_bytes));
    check_logs(checks, &stats);
    add_check(checks, "stopping", !api->draining,
              api->draining ? "the service is stopping" : "the service is not stopping");
}

/* ---- answers ---- */

static bool is_verbose(const struct request *request)
{
    return target_parameter(&request->target, "verbose");
}

/* `verbose` is there or not, and takes no value. */
static bool check_verbose(struct request *request)
{
    const char *value = target_parameter(&request->target, "verbose");
    if (!value || value[0] == '\0')
        return true;
    response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                     "\"verbose\" takes no value: ask for ?verbose, or leave it out.");
    return false;
}

static void answer_ok(struct request *request, const struct checks *checks)
{
    struct text body = {0};
    if (is_verbose(request)) {
        json_add_checks(&body, checks->list, checks->count);
        response_text(&request->response, 200, "application/json", &body);
    } else {
        text_format(&body, "ok\n");
        response_text(&request->response, 200, "text/plain; charset=utf-8", &body);
    }
}

static void answer_not_ready(struct request *request, const struct checks *checks)
{
    enum problem problem = request->api->draining ? PROBLEM_STOPPING : PROBLEM_NOT_READY;
    char detail[480] = "";
    for (unsigned i = 0; i < checks->count; i++) {
        size_t bytes = strlen(detail);
        if (!checks->list[i].ok)
            snprintf(detail + bytes, sizeof(detail) - bytes, "%s%s: %s", bytes ? "; " : "",
                     checks->list[i].name, checks->list[i].text);
    }
    response_problem_checks(&request->response, problem, checks->list,
                            is_verbose(request) ? checks->count : 0, "%s.", detail);
}

static void answer_checks(struct request *request)
{
    struct checks checks = {.count = 0};
    bool ready = true;
    run_checks(request->api, &checks);
    for (unsigned i = 0; i < checks.count; i++)
        ready = ready && checks.list[i].ok;
    if (ready)
        answer_ok(request, &checks);
    else
        answer_not_ready(request, &checks);
}

enum progress answer_livez(struct request *request)
{
    struct checks checks = {.count = 0};
    if (!check_verbose(request))
        return PROGRESS_ANSWERED;
    add_check(&checks, "loop", true, "the loop that serves requests turns: it made this answer");
    answer_ok(request, &checks);
    return PROGRESS_ANSWERED;
}

/* ---- waiting for a probe ---- */

static void probe_done(struct store_waiter *waiter)
{
    struct request *request = container_of(waiter, struct request, probe);
    request->transport->resume(request);
}

static void finish_readyz(struct request *request)
{
    request->api->probes_waiting--;
    answer_checks(request);
}

static bool wants_probe(const struct api *api)
{
    struct store_health health;
    store_health(api->config.store, &health);
    bool hangs = health.probing && health.probing_us >= HANGING_US;
    return !api->draining && !hangs && health.age_us > FRESH_US;
}

enum progress answer_readyz(struct request *request)
{
    if (!check_verbose(request))
        return PROGRESS_ANSWERED;
    if (!wants_probe(request->api)) {
        answer_checks(request);
        return PROGRESS_ANSWERED;
    }
    request->finish = finish_readyz;
    request->probe.done = probe_done;
    request->api->probes_waiting++;
    request->transport->suspend(request);
    store_probe(request->api->config.store, &request->probe);
    return PROGRESS_WAITING;
}
