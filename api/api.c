/*
 * The routes, and the way of a request through them: the gate, the route, the body, the answer.
 */
#include "api/api.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "api/cors.h"
#include "api/errors.h"
#include "api/limits.h"
#include "api/parse.h"
#include "api/request.h"
#include "wal/base.h"

/* A body that is only read past, so that the connection can be used again. */
#define SWALLOW_BYTES_MAX (64u << 10)

/* A document of settings. */
#define JSON_BYTES_MAX (64u << 10)

/* Of a route: its path, what it takes in the query, its handler, and the right it wants. */
#define GET_ROUTE(path, parameters, answer, access) GET_HEEDING(path, parameters, answer, 0, access)
#define GET_HEEDING(path, parameters, answer, heeds, access)                                       \
    {                                                                                              \
        path, parameters, answer, HTTP_GET, BODY_NONE, false, heeds, false, false, access, 0       \
    }
/* The same of the service as a whole, which --open may open to everybody. */
#define GET_SERVICE(path, parameters, answer, heeds, access, opened_by)                            \
    {                                                                                              \
        path, parameters, answer, HTTP_GET, BODY_NONE, false, heeds, false, false, access,         \
            opened_by                                                                              \
    }

/* The second door: streams of the Durable Streams protocol. */
#define STREAM_PATH "/v1/stream/{log}"

static const struct route routes[] = {
    GET_ROUTE("/logs", "prefix after limit ", answer_logs, ACCESS_NAMES),
    GET_ROUTE("/logs/{log}", "", answer_log_description, ACCESS_LOG_READ),
    {"/logs/{log}", "", answer_log_create, HTTP_PUT, BODY_JSON, true, 0, true, false,
     ACCESS_LOG_ADMIN, 0},
    {"/logs/{log}", "ack ", answer_log_append, HTTP_POST, BODY_RECORDS, true,
     HEEDS(HTTP_PREFER) | HEEDS(HTTP_IF_MATCH) | HEEDS(HTTP_IDEMPOTENCY_KEY) |
         HEEDS(HTTP_PRODUCER_ID) | HEEDS(HTTP_PRODUCER_EPOCH) | HEEDS(HTTP_PRODUCER_SEQ),
     false, false, ACCESS_LOG_APPEND, 0},
    {"/logs/{log}", "", answer_log_change, HTTP_PATCH, BODY_JSON, true, 0, false, false,
     ACCESS_LOG_ADMIN, 0},
    {"/logs/{log}", "", answer_log_delete, HTTP_DELETE, BODY_NONE, true, 0, true, false,
     ACCESS_LOG_ADMIN, 0},
    GET_ROUTE("/logs/{log}/offsets", "wait_for timeout ", answer_log_offsets, ACCESS_LOG_READ),
    GET_HEEDING("/logs/{log}/records", "offset at limit max_bytes wait encoding ", answer_records,
                HEEDS(HTTP_ACCEPT) | HEEDS(HTTP_LAST_EVENT_ID), ACCESS_LOG_READ),
    GET_HEEDING("/logs/{log}/records/{offset}", "", answer_record,
                HEEDS(HTTP_IF_MATCH) | HEEDS(HTTP_IF_NONE_MATCH) | HEEDS(HTTP_RANGE) |
                    HEEDS(HTTP_IF_RANGE),
                ACCESS_LOG_READ),
    GET_ROUTE("/logs/{log}/stats", "", answer_log_stats, ACCESS_LOG_READ),
    {"/logs/{log}/sync", "", answer_log_sync, HTTP_POST, BODY_NONE, true, 0, false, false,
     ACCESS_LOG_APPEND, 0},
    {"/logs/{log}/trim", "before ", answer_log_trim, HTTP_POST, BODY_NONE, true, 0, false, false,
     ACCESS_LOG_ADMIN, 0},
    GET_SERVICE("/stats", "", answer_stats, 0, ACCESS_ALL_LOGS, API_OPEN_STATS),
    GET_SERVICE("/metrics", "", answer_metrics, 0, ACCESS_ALL_LOGS, API_OPEN_METRICS),
    GET_SERVICE("/livez", "verbose ", answer_livez, 0, ACCESS_TOKEN, API_OPEN_HEALTH),
    GET_SERVICE("/healthz", "verbose ", answer_livez, 0, ACCESS_TOKEN, API_OPEN_HEALTH),
    GET_SERVICE("/readyz", "verbose ", answer_readyz, 0, ACCESS_TOKEN, API_OPEN_HEALTH),
    GET_SERVICE("/version", "", answer_version, 0, ACCESS_TOKEN, API_OPEN_VERSION),
    GET_SERVICE("/openapi.yaml", "", answer_openapi, HEEDS(HTTP_IF_NONE_MATCH), ACCESS_TOKEN,
                API_OPEN_OPENAPI),
    {STREAM_PATH, "offset live cursor ", answer_stream_read, HTTP_GET, BODY_NONE, false,
     HEEDS(HTTP_IF_NONE_MATCH), false, true, ACCESS_LOG_READ, 0},
    {STREAM_PATH, "", answer_stream_create, HTTP_PUT, BODY_RECORDS, true,
     HEEDS(HTTP_STREAM_CLOSED) | HEEDS(HTTP_STREAM_TTL) | HEEDS(HTTP_STREAM_EXPIRES_AT) |
         HEEDS(HTTP_STREAM_FORKED_FROM) | HEEDS(HTTP_STREAM_FORK_OFFSET) |
         HEEDS(HTTP_STREAM_FORK_SUB_OFFSET),
     true, true, ACCESS_LOG_APPEND, 0},
    {STREAM_PATH, "", answer_stream_append, HTTP_POST, BODY_RECORDS, true,
     HEEDS(HTTP_STREAM_CLOSED) | HEEDS(HTTP_STREAM_SEQ) | HEEDS(HTTP_PRODUCER_ID) |
         HEEDS(HTTP_PRODUCER_EPOCH) | HEEDS(HTTP_PRODUCER_SEQ),
     false, true, ACCESS_LOG_APPEND, 0},
    {STREAM_PATH, "", answer_stream_delete, HTTP_DELETE, BODY_NONE, true, 0, true, true,
     ACCESS_LOG_ADMIN, 0},
};

/* Conditions and promises that a client relies on. Ignoring one would be a lie. */
static const enum http_known promises[] = {
    HTTP_IF_MATCH,    HTTP_IF_NONE_MATCH,  HTTP_IF_UNMODIFIED_SINCE, HTTP_IDEMPOTENCY_KEY,
    HTTP_PRODUCER_ID, HTTP_PRODUCER_EPOCH, HTTP_PRODUCER_SEQ,
};

uint64_t api_now_us(void)
{
    struct timespec now;
    must(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* A count for each route, and one more for what has none. */
static int counters_init(struct api_counters *counters)
{
    counters->route_count = ARRAY_SIZE(routes) + 1;
    counters->routes = calloc(counters->route_count, sizeof(*counters->routes));
    if (!counters->routes)
        return -ENOMEM;

    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        counters->routes[i].method = gate_method_name(routes[i].method);
        counters->routes[i].path = routes[i].path;
        must(routes[i].access != ACCESS_NONE);
    }
    counters->routes[ARRAY_SIZE(routes)].method = counters->routes[ARRAY_SIZE(routes)].path =
        "other";
    return 0;
}

int api_new(struct api **ret_api, const struct api_config *config)
{
    struct api *api = calloc(1, sizeof(*api));
    if (!api || counters_init(&api->counters) < 0) {
        free(api);
        return -ENOMEM;
    }
    int rc = follow_open(&api->follow, config);
    if (rc < 0) {
        free(api->counters.routes);
        free(api);
        return rc;
    }

    api->config = *config;
    must(config->batch_bytes_max <= WAL_APPEND_BYTES_MAX);
    if (config->batch_bytes_max == 0)
        api->config.batch_bytes_max = WAL_APPEND_BYTES_MAX;
    api->gate = (struct gate_config){
        .hosts = config->hosts,
        .host_count = config->host_count,
        .any_host = config->any_host,
        .origins = config->origins,
        .origin_count = config->origin_count,
        .header_bytes_max = config->header_bytes_max,
    };
    rc = clients_init(&api->clients, &(struct client_limits){config->client_connections_max,
                                                             config->client_requests_per_second,
                                                             config->client_bytes_per_second});
    if (rc < 0) {
        close(api->follow.epoll_fd);
        free(api->counters.routes);
        free(api);
        return rc;
    }
    life_init(api);
    space_begin(api);
    api->auth = config->auth;
    api->begun_us = api_now_us();
    api->started_us = process_started_us();
    *ret_api = api;
    return 0;
}

void api_free(struct api *api)
{
    if (!api)
        return;
    follow_close(api);
    must(api_in_progress(api) == 0 && api->watch.count == 0);
    life_done(api);
    auth_free(api->auth);
    clients_done(&api->clients);
    free(api->counters.routes);
    free(api);
}

void api_set_auth(struct api *api, struct auth *auth)
{
    must(api->auth && auth);
    auth_free(api->auth);
    api->auth = auth;
    api->auth_number++;
    follow_check_rights(api);
    watch_check_rights(api);
}

void api_drain(struct api *api)
{
    api->draining = true;
    store_drain(api->config.store);
    watch_end_all(api);
}

uint64_t api_in_progress(const struct api *api)
{
    return api->in_progress + api->appends_unheard + api->follow.count + life_in_progress(api);
}

int api_poll_fd(const struct api *api)
{
    return api->follow.epoll_fd;
}

uint64_t api_appends_waiting(const struct api *api)
{
    return api->appends_waiting + api->appends_unheard + api->probes_waiting + api->logs_waiting +
           life_in_progress(api);
}

void api_count_connection(struct api *api, bool opened)
{
    api->counters.connections_total += opened;
    if (opened)
        api->counters.connections++;
    else
        api->counters.connections--;
}

void api_count_parked(struct api *api, unsigned parked)
{
    api->counters.connections_parked = parked;
}

void api_count_turn(struct api *api)
{
    api->counters.turns++;
}

uint64_t api_uptime_us(const struct api *api)
{
    return api_now_us() - api->begun_us;
}

/* ---- finding the route ---- */

void api_routes_each(void (*found)(void *context, const struct route *route), void *context)
{
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
        found(context, &routes[i]);
}

static bool segment_matches(const char *pattern, size_t bytes, const char *segment)
{
    return pattern[0] == '{' || (strlen(segment) == bytes && memcmp(pattern, segment, bytes) == 0);
}

static bool route_matches(const struct route *route, const struct target *target)
{
    const char *pattern = route->path;
    for (unsigned i = 0; i < target->segment_count; i++) {
        if (i == TARGET_SEGMENTS_MAX || *pattern != '/')
            return false;
        pattern++;
        size_t bytes = strcspn(pattern, "/");
        if (!segment_matches(pattern, bytes, target->segments[i]))
            return false;
        pattern += bytes;
    }
    return *pattern == '\0';
}

/* HEAD is wherever GET is. */
static bool method_matches(const struct route *route, enum http_method method)
{
    return route->method == method || (method == HTTP_HEAD && route->method == HTTP_GET);
}

/* The methods of the request's path, as Allow lists them; "" if there is no such path. */
static void list_methods(const struct request *request, char ret_allow[64])
{
    ret_allow[0] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        size_t bytes = strlen(ret_allow);
        if (route_matches(&routes[i], &request->target))
            snprintf(ret_allow + bytes, 64 - bytes, "%s%s, ", gate_method_name(routes[i].method),
                     routes[i].method == HTTP_GET ? ", HEAD" : "");
    }
    if (ret_allow[0])
        snprintf(ret_allow + strlen(ret_allow), 64 - strlen(ret_allow), "OPTIONS");
}

/* OPTIONS is wherever anything is. */
static void answer_methods(struct request *request)
{
    char allow[64];
    list_methods(request, allow);
    if (!allow[0]) {
        response_problem(&request->response, PROBLEM_PATH_NOT_FOUND, NULL);
        return;
    }
    if (request->facts.method == HTTP_OPTIONS)
        request->response.status = 200;
    else
        response_problem(&request->response, PROBLEM_METHOD_NOT_ALLOWED, NULL);
    response_header(&request->response, "Allow", "%s", allow);
    if (request->facts.method == HTTP_OPTIONS)
        cors_answer_preflight(&request->response, &request->facts, allow);
}

/* Takes the path's variable parts. */
static bool read_path(struct request *request)
{
    const char *pattern = request->route->path;
    for (unsigned i = 0; i < request->target.segment_count; i++) {
        pattern++;
        if (strncmp(pattern, "{log}", 5) == 0)
            request->log = request->target.segments[i];
        if (strcmp(pattern, "{offset}") == 0 &&
            !number_parse(request->target.segments[i], &request->offset)) {
            response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                             "The last part of the path is the offset of a record: a decimal "
                             "number from 0, without a sign.");
            return false;
        }
        pattern += strcspn(pattern, "/");
    }
    if (request->log && request->route->is_stream && strcmp(request->log, "__ds") == 0) {
        response_problem(&request->response, PROBLEM_PATH_NOT_FOUND,
                         "The protocol keeps this name for subscriptions, which this service does "
                         "not have.");
        return false;
    }
    if (request->log && !store_name_is_valid(request->log)) {
        response_problem(&request->response, PROBLEM_BAD_NAME, NULL);
        return false;
    }
    return true;
}

static bool parameter_is_allowed(const struct route *route, const char *name)
{
    const char *found = route->parameters;
    size_t bytes = strlen(name);
    while (*found) {
        size_t word = strcspn(found, " ");
        if (word == bytes && memcmp(found, name, bytes) == 0)
            return true;
        found += word + 1;
    }
    return false;
}

static bool read_query(struct request *request)
{
    const struct target *target = &request->target;
    if (target->parameter_count > TARGET_PARAMETERS_MAX) {
        response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                         "The query has more parameters than any request here takes.");
        return false;
    }
    for (unsigned i = 0; i < target->parameter_count; i++) {
        const char *name = target->parameters[i].name;
        const char *problem = NULL;
        bool is_known = parameter_is_allowed(request->route, name);
        if (!is_known && request->route->is_stream)
            continue;
        if (!is_known)
            problem = "is not a parameter of this request in this version. Leave it out.";
        else if (target_parameter(target, name) != target->parameters[i].value)
            problem = "is there more than once. Send it once.";
        if (problem) {
            response_problem(&request->response, PROBLEM_BAD_PARAMETER, "\"%.64s\" %s", name,
                             problem);
            return false;
        }
    }
    return true;
}

static bool find_route(struct request *request)
{
    for (size_t i = 0; i < ARRAY_SIZE(routes) && !request->route; i++) {
        if (route_matches(&routes[i], &request->target) &&
            method_matches(&routes[i], request->facts.method))
            request->route = &routes[i];
    }
    if (!request->route) {
        answer_methods(request);
        return false;
    }
    return read_path(request) && access_check(request) && read_query(request);
}

/* ---- the way of a request ---- */

/* What a request that changes something can be told before its body is read. */
static bool check_change(struct request *request)
{
    const struct route *route = request->route;
    for (size_t i = 0; i < ARRAY_SIZE(promises); i++) {
        if (!request->facts.headers[promises[i]] || route->heeds & HEEDS(promises[i]))
            continue;
        response_problem(&request->response, PROBLEM_UNSUPPORTED_HEADER,
                         "This request does not act on %s, so it is refused rather than served "
                         "without it. Send it without that header.",
                         gate_header_name(promises[i]));
        return false;
    }
    if (request->api->draining)
        response_problem(&request->response, PROBLEM_STOPPING, NULL);
    return request->response.status == 0;
}

static bool check_body(struct request *request)
{
    const struct gate_facts *facts = &request->facts;
    const char *encoding = facts->headers[HTTP_CONTENT_ENCODING];
    enum route_body body = request->route->body;
    if (facts->has_body && body == BODY_NONE)
        response_problem(&request->response, PROBLEM_UNEXPECTED_BODY, NULL);
    else if (encoding && strcasecmp(encoding, "identity") != 0 &&
             !(body == BODY_RECORDS && gate_is_gzip(encoding)))
        response_problem(&request->response, PROBLEM_UNSUPPORTED_ENCODING, NULL);
    request->body_bytes_max =
        body == BODY_RECORDS ? append_body_bytes_max(request) : JSON_BYTES_MAX;
    return request->response.status == 0;
}

/* What a route does not heed its handler does not see: so nothing is acted on that is not in the
 * table, and, since the two are held against each other, in openapi.yaml. */
static void hide_unheeded(struct request *request)
{
    static const enum http_known wishes[] = {
        HTTP_ACCEPT,
        HTTP_PREFER,
        HTTP_RANGE,
        HTTP_IF_RANGE,
        HTTP_LAST_EVENT_ID,
        HTTP_STREAM_SEQ,
        HTTP_STREAM_CLOSED,
        HTTP_STREAM_TTL,
        HTTP_STREAM_EXPIRES_AT,
        HTTP_STREAM_FORKED_FROM,
        HTTP_STREAM_FORK_OFFSET,
        HTTP_STREAM_FORK_SUB_OFFSET,
    };
    const char **headers = request->facts.headers;
    uint32_t heeds = request->route->heeds;
    for (size_t i = 0; i < ARRAY_SIZE(wishes); i++) {
        if (!(heeds & HEEDS(wishes[i])))
            headers[wishes[i]] = NULL;
    }
    for (size_t i = 0; i < ARRAY_SIZE(promises); i++) {
        if (!(heeds & HEEDS(promises[i])))
            headers[promises[i]] = NULL;
    }
}

void request_open(struct request *request, struct api *api,
                  const struct request_transport *transport)
{
    request->api = api;
    request->transport = transport;
    api->counters.requests++;
    api->in_progress++;
}

static void count_answer(struct api_counters *counters, const struct request *request)
{
    const struct response *response = &request->response;
    size_t route = request->route ? (size_t)(request->route - routes) : ARRAY_SIZE(routes);
    if (response->status == 0) {
        counters->aborted++;
        return;
    }
    must(response->status >= STATUS_MIN && response->status < STATUS_MIN + STATUS_COUNT);
    counters->routes[route].by_status[response->status - STATUS_MIN]++;
    if (response->problem > 0)
        counters->problems[response->problem - 1]++;
}

void api_count_late(struct api *api, struct request *request)
{
    if (!request) {
        api->counters.problems[PROBLEM_TIMEOUT]++;
        return;
    }
    response_clear(&request->response);
    response_problem(&request->response, PROBLEM_TIMEOUT, NULL);
}

void request_close(struct request *request)
{
    must(!request->wal && !request->held);
    follow_drop(request);
    request_end_making(request);
    if (request->other)
        store_put(request->api->config.store, TAKE(request->other));
    clients_put(&request->api->clients, TAKE(request->client));
    clients_put(&request->api->clients, TAKE(request->payer));
    count_answer(&request->api->counters, request);
    response_clear(&request->response);
    free(TAKE(request->kept_head));
    request->api->in_progress--;
}

enum begin request_begin(struct request *request, const struct http_head *head, char *raw)
{
    struct gate_facts *facts = &request->facts;
    if (!gate_admits(&request->api->gate, head, facts, &request->response))
        return BEGIN_REFUSE;

    target_parse(raw, &request->target);
    bool fine = find_route(request);
    if (!limits_admit(request))
        fine = false;
    if (fine && request->route->changes)
        fine = check_change(request);
    if (fine)
        fine = check_body(request);
    if (fine && facts->content_length > request->body_bytes_max) {
        request_refuse_size(request);
        return BEGIN_REFUSE;
    }
    if (fine) {
        hide_unheeded(request);
        return BEGIN_READ;
    }

    /* A body that has not been asked for is not waited for, and an endless one is not read. */
    request->body_bytes_max = SWALLOW_BYTES_MAX;
    bool swallow = !facts->has_body ||
                   (!facts->expects_continue && facts->content_length <= SWALLOW_BYTES_MAX);
    request->response.close = !swallow;
    return swallow ? BEGIN_SWALLOW : BEGIN_REFUSE;
}

void request_forget_head(struct request *request)
{
    memset(request->facts.headers, 0, sizeof(request->facts.headers));
    request->facts.allow_origin = NULL;
}

bool request_keep_head(struct request *request)
{
    const char **headers = request->facts.headers;
    size_t bytes = 1;
    for (unsigned i = 0; i < HTTP_KNOWN_COUNT; i++)
        bytes += headers[i] ? strlen(headers[i]) + 1 : 0;
    char *kept = request->kept_head = malloc(bytes);
    if (!kept)
        return false;
    for (unsigned i = 0; i < HTTP_KNOWN_COUNT; i++) {
        if (!headers[i])
            continue;
        bytes = strlen(headers[i]) + 1;
        headers[i] = memcpy(kept, headers[i], bytes);
        kept += bytes;
    }
    request->facts.allow_origin = NULL;
    return true;
}

bool request_read_again(struct request *request, const struct http_head *head)
{
    struct response refusal = {0};
    bool admitted = gate_admits(&request->api->gate, head, &request->facts, &refusal);
    response_clear(&refusal);
    if (admitted)
        hide_unheeded(request);
    return admitted;
}

void request_refuse_size(struct request *request)
{
    response_clear(&request->response);
    if (request->route && request->route->body == BODY_JSON)
        response_problem(&request->response, PROBLEM_DOCUMENT_TOO_LARGE,
                         "The settings of a log take at most %u bytes of JSON.", JSON_BYTES_MAX);
    else
        append_refuse_size(request);
    request->response.close = true;
}

void request_refuse_memory(struct request *request)
{
    response_clear(&request->response);
    response_problem(&request->response, PROBLEM_NO_MEMORY, NULL);
}

bool request_takes_long(const struct request *request)
{
    enum progress (*answer)(struct request * request) = request->route->answer;
    if (request->finish) /* it has its news: only a page is still to be made */
        return answer == answer_records || answer == answer_stream_read;
    if (request->route->body == BODY_RECORDS)
        return append_takes_long(request);
    return answer == answer_records || answer == answer_record || answer == answer_logs ||
           answer == answer_stream_read;
}

/* Looking at what a log is like is none: whoever watches over logs would keep them all alive. */
bool request_uses_log(const struct request *request)
{
    enum progress (*answer)(struct request * request) = request->route->answer;
    return request->facts.method != HTTP_HEAD &&
           (answer == answer_log_append || answer == answer_records || answer == answer_record ||
            answer == answer_stream_read || answer == answer_stream_append);
}

/* Once it is answered, the log that it made is as good as any. */
static enum progress ended_by(struct request *request, enum progress progress)
{
    if (progress == PROGRESS_ANSWERED)
        request_end_making(request);
    return progress;
}

enum progress request_answer(struct request *request)
{
    must(request->response.status == 0);
    return ended_by(request, request_open_log(request));
}

enum progress request_finish(struct request *request)
{
    must(request->response.status == 0);
    if (request->go_on) {
        request->api->logs_waiting--;
        return ended_by(request, TAKE(request->go_on)(request));
    }
    if (access_is_gone(request)) /* what it waited for is not for it any more */
        request->status = ERROR_RIGHT_GONE;
    request->finish(request);
    must(request->response.status != 0);
    return ended_by(request, PROGRESS_ANSWERED);
}

/* ---- for the handlers ---- */

enum progress request_fail(struct request *request, enum moment moment, int error)
{
    static const char *const events[] = {
        [WHEN_OPENING] = "open_failed",     [WHEN_APPENDING] = "append_refused",
        [WHEN_COMMITTED] = "append_failed", [WHEN_READING] = "read_failed",
        [WHEN_DELETING] = "delete_failed",
    };
    if (error == ERROR_RIGHT_GONE) {
        access_say_gone(request);
        return PROGRESS_ANSWERED;
    }
    enum problem problem = problem_of_errno(moment, error);
    if (problem_is_grave(problem)) {
        struct api_event event = {events[moment], request->log, error};
        request->api->config.tell(request->api->config.context, &event);
    }
    if (problem == PROBLEM_QUOTA)
        space_say_over_quota(request);
    else if (problem == PROBLEM_SPACE_FLOOR)
        space_say_below_floor(request);
    else
        response_problem(&request->response, problem, NULL);
    return PROGRESS_ANSWERED;
}

bool request_refuse_header(struct request *request, enum http_known known, const char *advice)
{
    response_problem(&request->response, PROBLEM_BAD_HEADER, "%s: %s", gate_header_name(known),
                     advice);
    return false;
}

void held_log_done(struct held_log *held)
{
    if (held->wal)
        store_put(held->store, held->wal);
}

bool request_hold_log(struct request *request, struct held_log *ret_held)
{
    struct wal *wal;
    int rc = request_get_log(request, &wal);
    if (rc < 0) {
        request_fail(request, WHEN_OPENING, rc);
        return false;
    }
    *ret_held = (struct held_log){request->api->config.store, wal};
    return true;
}

bool request_number(struct request *request, const char *name, uint64_t min, uint64_t max,
                    uint64_t fallback, uint64_t *ret_number)
{
    const char *value = target_parameter(&request->target, name);
    *ret_number = fallback;
    if (!value || (number_parse(value, ret_number) && *ret_number >= min && *ret_number <= max))
        return true;

    response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                     "\"%s\" is a decimal number from %" PRIu64 " to %" PRIu64 ".", name, min, max);
    return false;
}

static bool request_duration(struct request *request, const char *name, uint64_t fallback,
                             uint64_t *ret_us)
{
    const char *value = target_parameter(&request->target, name);
    *ret_us = fallback;
    if (!value || duration_parse(value, ret_us))
        return true;
    response_problem(&request->response, PROBLEM_BAD_PARAMETER,
                     "\"%s\" is a duration: a whole number and one of the units ms, s, m, h, such "
                     "as 500ms or 30s.",
                     name);
    return false;
}

bool request_patience(struct request *request, const char *name, uint64_t fallback,
                      uint64_t *ret_us)
{
    if (!request_duration(request, name, fallback, ret_us))
        return false;
    *ret_us = min_u64(*ret_us, request->api->config.long_poll_max_us);
    return true;
}
