/* Logs as wholes: listing, positions, counters, removal. */

#include "api/errors.h"
#include "api/json.h"
#include "api/request.h"
#include "wal/base.h"

#define NAMES_DEFAULT 1000
#define NAMES_MAX 10000

struct listing {
    const struct request *request;
    struct json_names names;
    uint64_t limit;
};

static int list_name(void *context, const char *name)
{
    struct listing *listing = context;
    if (!access_may_see(listing->request, name))
        return 0;
    if (listing->names.count == listing->limit)
        return 1;
    json_names_add(&listing->names, name);
    return 0;
}

/* What begins a name is a name itself, and the cursor is one. */
static bool is_name_or_empty(struct request *request, const char *parameter, const char *value)
{
    if (!value || !*value || store_name_is_valid(value))
        return true;
    response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                     "\"%s\" is a name of a log or the beginning of one: at most 128 of the "
                     "characters A-Z a-z 0-9 . _ -, of which the first is a letter or a digit. "
                     "Nothing is percent-decoded.",
                     parameter);
    return false;
}

enum progress answer_logs(struct request *request)
{
    const char *prefix = target_parameter(&request->target, "prefix");
    const char *after = target_parameter(&request->target, "after");
    struct listing listing = {.request = request};
    if (!is_name_or_empty(request, "prefix", prefix) || !is_name_or_empty(request, "after", after))
        return PROGRESS_ANSWERED;
    if (!request_number(request, "limit", 1, NAMES_MAX, NAMES_DEFAULT, &listing.limit))
        return PROGRESS_ANSWERED;

    CLEANUP(text_done) struct text body = {0};
    json_names_begin(&listing.names, &body);
    int rc = store_list(request->api->config.store, prefix ? prefix : "", after ? after : "",
                        list_name, &listing);
    if (rc < 0)
        return request_fail(request, WHEN_READING, rc);
    json_names_end(&listing.names, rc > 0);
    response_text(&request->response, 200, "application/json", &body);
    return PROGRESS_ANSWERED;
}

/* ---- positions, and waiting for one ---- */

static enum progress answer_positions(struct request *request,
                                      const struct wal_positions *positions)
{
    struct text body = {0};
    json_add_positions(&body, request->log, positions);
    response_text(&request->response, 200, "application/json", &body);
    return PROGRESS_ANSWERED;
}

static void finish_positions(struct request *request)
{
    CLEANUP(held_log_done)
    struct held_log held = {request->api->config.store, TAKE(request->wal)};
    struct wal_positions positions;
    if (request->status < 0) {
        request_fail(request, WHEN_OPENING, request->status);
        return;
    }
    wal_positions(held.wal, &positions);
    answer_positions(request, &positions);
}

/* With "wait_for" the answer comes when the records below that offset are durable, or else when the
 * time is up. It is the same answer in both cases: the client compares committed_offset. */
enum progress answer_log_offsets(struct request *request)
{
    CLEANUP(held_log_done) struct held_log held = {NULL, NULL};
    const struct target *target = &request->target;
    struct wal_positions positions;
    uint64_t wanted, timeout_us;
    if (target_parameter(target, "timeout") && !target_parameter(target, "wait_for")) {
        response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                         "\"timeout\" goes with \"wait_for\", the offset to wait for. Send both, "
                         "or neither.");
        return PROGRESS_ANSWERED;
    }
    if (!request_number(request, "wait_for", 0, UINT64_MAX, 0, &wanted) ||
        !request_patience(request, "timeout", UINT64_MAX, &timeout_us) ||
        !request_hold_log(request, &held))
        return PROGRESS_ANSWERED;

    wal_positions(held.wal, &positions);
    if (positions.committed_offset >= wanted || timeout_us == 0 || request->api->draining)
        return answer_positions(request, &positions);
    watch_begin(request, TAKE(held.wal), wanted - 1, timeout_us, finish_positions);
    return PROGRESS_WAITING;
}

/* ---- counters, removal ---- */

enum progress answer_log_stats(struct request *request)
{
    CLEANUP(held_log_done) struct held_log held = {NULL, NULL};
    if (!request_hold_log(request, &held))
        return PROGRESS_ANSWERED;

    struct wal_stats stats;
    struct store_stats store;
    struct json_damages damages;
    struct text body = {0};
    uint8_t id[16];
    wal_id(held.wal, id);
    wal_stats(held.wal, &stats);
    store_stats(held.store, &store);
    damages.count = store_damages(held.store, request->log, damages.places, JSON_DAMAGES_MAX);
    json_add_log_stats(&body, request->log, id, &stats, &store, &damages);
    response_text(&request->response, 200, "application/json", &body);
    return PROGRESS_ANSWERED;
}

static void finish_deletion(struct request *request)
{
    if (request->status < 0)
        request_fail(request, WHEN_DELETING, request->status);
    else
        request->response.status = 204;
}

/* Answered when the appends in flight are decided and the removal is durable. An attempt that fails
 * has closed the log as well. */
enum progress answer_log_delete(struct request *request)
{
    return request_delete_log(request, finish_deletion);
}
