/*
 * PUT /logs/{log}: makes a log with settings. They are part of its first frame, so that there is no
 * moment at which it stands without them, and they do not change afterwards.
 *
 * GET /logs/{log}: what the log is.
 */
#include "api/settings.h"

#include <errno.h>
#include <string.h>

#include "api/errors.h"
#include "api/json.h"
#include "api/request.h"
#include "wal/base.h"

/* In the log's state. */
#define DURABILITY_KEY "s:durability"
#define DURABILITY_COMMITTED "committed"

void settings_get(struct wal *wal, struct settings *ret_settings)
{
    char value[sizeof(DURABILITY_COMMITTED)];
    size_t bytes;
    int rc = wal_state_get(wal, DURABILITY_KEY, strlen(DURABILITY_KEY), value, sizeof(value),
                           &bytes, NULL);
    *ret_settings = (struct settings){
        .floor_committed = rc == 0 && bytes == strlen(DURABILITY_COMMITTED) &&
                           memcmp(value, DURABILITY_COMMITTED, bytes) == 0,
    };
}

bool settings_update(const struct settings *settings, struct wal_state_update *ret_update)
{
    *ret_update = (struct wal_state_update){
        .key = DURABILITY_KEY,
        .key_bytes = strlen(DURABILITY_KEY),
        .value = DURABILITY_COMMITTED,
        .value_bytes = strlen(DURABILITY_COMMITTED),
    };
    return settings->floor_committed;
}

static void describe(struct request *request, struct wal *wal, unsigned status)
{
    char type[STREAM_TYPE_BYTES_MAX + 1];
    struct json_log log = {.name = request->log,
                           .created_ns = wal_created_ns(wal),
                           .content_type = type,
                           .closed = stream_has(wal, STREAM_COMMITTED, STREAM_KEY_CLOSED, NULL)};
    struct text body = {0};
    struct lifespan lifespan;
    struct fork_origin origin;
    stream_type_get(wal, STREAM_COMMITTED, type, NULL);
    wal_id(wal, log.id);
    wal_stats(wal, &log.stats);
    settings_get(wal, &log.settings);
    lifespan_of(wal, &lifespan);
    uint64_t ttl_s = lifespan.ttl_us / 1000000;
    if (lifespan.has_ttl)
        log.ttl_s = &ttl_s;
    if (lifespan.has_time)
        log.expires = lifespan.text;
    if (fork_origin_of(wal, &origin))
        log.forked_from = origin.source;
    json_add_log(&body, &log);
    response_text(&request->response, status, "application/json", &body);
}

enum progress answer_log_description(struct request *request)
{
    CLEANUP(held_log_done) struct held_log held = {NULL, NULL};
    if (request_hold_log(request, &held))
        describe(request, held.wal, 200);
    return PROGRESS_ANSWERED;
}

static const char *durability_of(const struct settings *settings)
{
    return settings->floor_committed ? DURABILITY_COMMITTED : "none";
}

static void say_standing(struct request *request)
{
    describe(request, request->wal, 200);
}

static void say_differs(struct request *request)
{
    struct settings settings;
    settings_get(request->wal, &settings);
    const struct settings wanted = {.floor_committed = !settings.floor_committed};
    response_problem(&request->response, PROBLEM_CONFLICT,
                     "The log stands, with \"durability\":\"%s\" where this request wants \"%s\". "
                     "Settings do not change: use the log as it is, or make one of another name.",
                     durability_of(&settings), durability_of(&wanted));
}

/* The log stands already: that is fine if it is what the client wants. The first content of a stream
 * may still be in flight, and if it is refused there has been no log. */
static enum progress answer_standing(struct request *request, const struct settings *wanted)
{
    struct settings settings;
    struct wal_token rests_on = {0};
    (void)stream_has(request->wal, STREAM_NEWEST, STREAM_KEY_MAKING, &rests_on);
    settings_get(request->wal, &settings);
    bool same = settings.floor_committed == wanted->floor_committed;
    return say_resting(request, rests_on, same ? say_standing : say_differs);
}

/* Suspended until the log is durable; answer_log_create() is called again then. */
static enum progress make(struct request *request, const struct settings *settings)
{
    struct wal_state_update update;
    size_t count = settings_update(settings, &update) ? 1 : 0;
    return request_make_log(request, &update, count);
}

static enum progress answer_made(struct request *request)
{
    describe(request, request->wal, 201);
    if (request->response.status != 201) {
        /* No memory to describe it, but it has been made: that much has to be true. */
        response_clear(&request->response);
        request->response.status = 201;
    }
    response_header(&request->response, "Location", "/logs/%s", request->log);
    return request_give_back(request);
}

enum progress answer_log_create(struct request *request)
{
    struct settings wanted = {0};
    char advice[JSON_ADVICE_BYTES];
    if (!json_read_settings(request->body, request->body_bytes, &wanted, advice)) {
        if (errno == ENOMEM)
            response_problem(&request->response, PROBLEM_NO_MEMORY, NULL);
        else
            response_problem(&request->response, PROBLEM_BAD_SETTINGS, "%s", advice);
        return PROGRESS_ANSWERED;
    }
    int rc = request_get_log(request, &request->wal);
    if (rc == -ENOENT)
        return make(request, &wanted);
    if (rc < 0)
        return request_fail(request, WHEN_OPENING, rc);
    return request->made ? answer_made(request) : answer_standing(request, &wanted);
}
