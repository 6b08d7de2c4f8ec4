/*
 * PUT /logs/{log}: makes a log with settings. They are part of its first frame, so that there is no
 * moment at which it stands without them.
 *
 * PATCH /logs/{log}: changes what it keeps and how much it takes (RFC 7396: what is named is set, and
 * null goes back to what holds for all logs). PUT does not, so that whoever only makes sure that a log
 * is there cannot take another's records away.
 *
 * GET /logs/{log}: what the log is.
 */
#include "api/settings.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/access.h"
#include "api/errors.h"
#include "api/json.h"
#include "api/request.h"
#include "wal/base.h"

/* In the log's state. */
#define DURABILITY_KEY "s:durability"
#define DURABILITY_COMMITTED "committed"

const struct settings_limit settings_limits[SETTINGS_LIMITS] = {
    {"retention", "age", 1000000, offsetof(struct wal_limits, retain_age_us)},
    {"retention", "bytes", 1, offsetof(struct wal_limits, retain_bytes)},
    {"retention", "records", 1, offsetof(struct wal_limits, retain_records)},
    {"quota", "bytes", 1, offsetof(struct wal_limits, quota_bytes)},
    {"quota", "records", 1, offsetof(struct wal_limits, quota_records)},
};

uint64_t settings_limit_get(const struct wal_limits *limits, size_t limit)
{
    return *(const uint64_t *)(const void *)((const char *)limits + settings_limits[limit].offset);
}

static void set_limit(struct wal_limits *limits, size_t limit, uint64_t value)
{
    *(uint64_t *)(void *)((char *)limits + settings_limits[limit].offset) = value;
}

void settings_wish_limit(struct settings_wish *wish, size_t limit, uint64_t value)
{
    set_limit(&wish->settings.limits, limit, value);
    wish->names_limit[limit] = true;
}

void settings_get(struct wal *wal, struct settings *ret_settings, struct wal_token *rests_on)
{
    char value[sizeof(DURABILITY_COMMITTED)];
    size_t bytes;
    int rc = wal_state_get(wal, DURABILITY_KEY, strlen(DURABILITY_KEY), value, sizeof(value),
                           &bytes, NULL);
    *ret_settings = (struct settings){
        .floor_committed = rc == 0 && bytes == strlen(DURABILITY_COMMITTED) &&
                           memcmp(value, DURABILITY_COMMITTED, bytes) == 0,
    };
    wal_limits_get(wal, &ret_settings->limits, rests_on, NULL);
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
    settings_get(wal, &log.settings, NULL);
    wal_limits_get(wal, NULL, NULL, &log.limits);
    lifespan_of(wal, &lifespan);
    uint64_t ttl_s = lifespan.ttl_us / 1000000;
    if (lifespan.has_ttl)
        log.ttl_s = &ttl_s;
    if (lifespan.has_time)
        log.expires = lifespan.text;
    /* Who may not read the source is not to learn its name here: see GET /logs. */
    if (fork_origin_of(wal, &origin) && access_may_see(request, origin.source))
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

/* What is asked for is not as it is. What is not named is not asked for, but for the durability. */
static const char *difference(const struct settings *settings, const struct settings_wish *wish)
{
    if (settings->floor_committed != wish->settings.floor_committed)
        return "durability";
    for (size_t i = 0; i < SETTINGS_LIMITS; i++) {
        if (wish->names_limit[i] && settings_limit_get(&settings->limits, i) !=
                                        settings_limit_get(&wish->settings.limits, i))
            return settings_limits[i].group;
    }
    return NULL;
}

static void say_other_durability(struct request *request)
{
    struct settings settings;
    settings_get(request->wal, &settings, NULL);
    const struct settings wanted = {.floor_committed = !settings.floor_committed};
    response_problem(&request->response, PROBLEM_CONFLICT,
                     "The log stands, with \"durability\":\"%s\" where this request wants \"%s\". "
                     "That does not change: use the log as it is, or make one of another name.",
                     durability_of(&settings), durability_of(&wanted));
}

static void say_other_limits(struct request *request)
{
    response_problem(&request->response, PROBLEM_CONFLICT,
                     "The log stands, with another \"retention\" or \"quota\" than this request "
                     "wants: GET /logs/%s has them. PATCH it to change them.",
                     request->log);
}

/* The log stands already: that is fine if it is what the client wants. The first content of a stream
 * may still be in flight, and if it is refused there has been no log. */
static enum progress answer_standing(struct request *request, const struct settings_wish *wanted)
{
    struct settings settings;
    struct wal_token rests_on = {0}, limits_rest_on = {0};
    (void)stream_has(request->wal, STREAM_NEWEST, STREAM_KEY_MAKING, &rests_on);
    settings_get(request->wal, &settings, &limits_rest_on);
    if (limits_rest_on.ticket > rests_on.ticket)
        rests_on = limits_rest_on;
    const char *differs = difference(&settings, wanted);
    if (!differs)
        return say_resting(request, rests_on, say_standing);
    return say_resting(request, rests_on,
                       strcmp(differs, "durability") == 0 ? say_other_durability
                                                          : say_other_limits);
}

/* The change of the state that makes the limits so; the text is kept by the caller. */
static struct wal_state_update limits_update(const struct wal_limits *limits,
                                             char text[WAL_LIMITS_BYTES_MAX])
{
    size_t bytes = wal_limits_print(limits, text);
    return (struct wal_state_update){.key = WAL_LIMITS_KEY,
                                     .key_bytes = strlen(WAL_LIMITS_KEY),
                                     .value = bytes > 0 ? text : NULL,
                                     .value_bytes = (uint32_t)bytes};
}

/* Suspended until the log is durable; answer_log_create() is called again then. */
static enum progress make(struct request *request, const struct settings *settings)
{
    struct wal_state_update updates[2];
    char text[WAL_LIMITS_BYTES_MAX];
    size_t count = settings_update(settings, &updates[0]) ? 1 : 0;
    updates[count] = limits_update(&settings->limits, text);
    count += updates[count].value != NULL;
    return request_make_log(request, updates, count);
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
    struct settings_wish wanted;
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
        return make(request, &wanted.settings);
    if (rc < 0)
        return request_fail(request, WHEN_OPENING, rc);
    return request->made ? answer_made(request) : answer_standing(request, &wanted);
}

/* ---- changing them ---- */

static bool read_change(struct request *request, struct settings_wish *ret_wish)
{
    char advice[JSON_ADVICE_BYTES];
    bool fine = request->body_bytes > 0;
    if (!fine)
        snprintf(advice, sizeof(advice),
                 "Send what is to change as JSON, such as {\"retention\":{\"records\":1000}}; null "
                 "goes back to what the service has for all logs.");
    fine = fine && json_read_settings(request->body, request->body_bytes, ret_wish, advice);
    if (!fine)
        response_problem(&request->response, PROBLEM_BAD_SETTINGS, "%s", advice);
    return fine;
}

static void finish_change(struct request *request)
{
    if (request->status == 0)
        describe(request, request->wal, 200);
    else
        request_fail(request, WHEN_COMMITTED, request->status);
    request_waited(request);
}

static enum progress change(struct request *request, const struct wal_limits *limits)
{
    char text[WAL_LIMITS_BYTES_MAX];
    const struct wal_state_update update = limits_update(limits, text);
    const struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
    request_wait(request, finish_change);
    int rc = wal_append(request->wal, NULL, 0, &options, &request->handler, NULL);
    if (rc < 0)
        request_wait_refused(request, rc);
    return PROGRESS_WAITING;
}

enum progress answer_log_change(struct request *request)
{
    struct settings_wish wish;
    struct settings settings;
    struct wal_token rests_on;
    if (!read_change(request, &wish))
        return PROGRESS_ANSWERED;
    int rc = request_get_log(request, &request->wal);
    if (rc < 0)
        return request_fail(request, WHEN_OPENING, rc);
    settings_get(request->wal, &settings, &rests_on);
    if (wish.names_durability && wish.settings.floor_committed != settings.floor_committed) {
        say_other_durability(request);
        return request_give_back(request);
    }
    bool differs = false;
    for (size_t i = 0; i < SETTINGS_LIMITS; i++) {
        uint64_t wanted = settings_limit_get(&wish.settings.limits, i);
        differs =
            differs || (wish.names_limit[i] && wanted != settings_limit_get(&settings.limits, i));
        if (wish.names_limit[i])
            set_limit(&settings.limits, i, wanted);
    }
    return differs ? change(request, &settings.limits)
                   : say_resting(request, rests_on, say_standing);
}
