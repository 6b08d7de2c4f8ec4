#include "api/space.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "api/errors.h"
#include "api/request.h"
#include "wal/base.h"

/* How long what is known of free space is taken for true, and how soon after a look there may be
 * another one, when what was let in has used up what was free. */
#define LOOK_US UINT64_C(100000)
#define LOOK_AGAIN_US UINT64_C(1000)

/* What an append takes beside its records: a frame's padding, and its part of what is made ready. */
#define FRAME_BYTES 8192u

/* ---- the floor ---- */

uint64_t space_floor_of(const struct space_floor *floor, uint64_t size_bytes)
{
    uint64_t share = size_bytes / 100 * (floor->is_default ? SPACE_FLOOR_PERCENT : floor->percent);
    if (floor->is_default)
        return min_u64(share, SPACE_FLOOR_BYTES);
    return floor->percent > 0 ? share : floor->bytes;
}

/* That it is above again is told when there is some room to go on with: at the edge it would be told
 * again and again. */
static void tell(struct api *api)
{
    struct space *space = &api->space;
    uint64_t enough = space->floor_bytes + (space->is_below ? space->floor_bytes / 8 : 0);
    bool is_below = space->free_bytes < enough;
    struct api_event event = {is_below ? "space_below_floor" : "space_above_floor", NULL,
                              is_below ? -ENOSPC : 0};
    if (space->is_below != is_below)
        api->config.tell(api->config.context, &event);
    space->is_below = is_below;
}

/* Whether so much is free above the floor. */
static bool is_enough(const struct space *space, uint64_t bytes)
{
    return !space->is_known ||
           space->free_bytes >= space->floor_bytes + space->let_in_bytes + bytes;
}

static void look(struct api *api, uint64_t now_us)
{
    struct space *space = &api->space;
    uint64_t size_bytes;
    space->looked_us = now_us;
    space->let_in_bytes =
        store_pending_bytes(api->config.store); /* the disk does not know of it yet */
    /* A file system that does not tell is left to say by itself that it is full. */
    space->is_known = store_space(api->config.store, &space->free_bytes, &size_bytes) == 0;
    if (!space->is_known)
        return;
    space->floor_bytes = space_floor_of(&api->config.space_floor, size_bytes);
    store_keep_free(api->config.store, space->floor_bytes);
    store_spare_space(api->config.store, !is_enough(space, space->floor_bytes));
    tell(api);
}

void space_begin(struct api *api)
{
    uint64_t free_bytes, size_bytes;
    if (store_space(api->config.store, &free_bytes, &size_bytes) == 0)
        store_keep_free(api->config.store, space_floor_of(&api->config.space_floor, size_bytes));
}

bool space_admits(struct api *api, uint64_t bytes)
{
    struct space *space = &api->space;
    uint64_t now_us = api_now_us();
    uint64_t age_us = now_us - space->looked_us;
    if (space->looked_us == 0 || age_us >= LOOK_US ||
        (!is_enough(space, space->floor_bytes + bytes) && age_us >= LOOK_AGAIN_US))
        look(api, now_us);
    /* What is let in at the very edge may reach below it, by one append: so that a floor of 0 is none. */
    if (space->floor_bytes > 0 && !is_enough(space, 0))
        return false;
    space->let_in_bytes += bytes;
    return true;
}

int space_append(struct api *api, struct wal *wal, const struct wal_record *records, size_t count,
                 const struct wal_append_options *options, struct wal_handler *handler)
{
    uint64_t bytes = FRAME_BYTES;
    for (size_t i = 0; i < count; i++)
        bytes += records[i].size;
    if (count > 0 && !space_admits(api, bytes))
        return ERROR_BELOW_FLOOR;
    int rc = wal_append(wal, records, count, options, handler, NULL);
    if (rc == -EXFULL && wal_measure(wal) > 0)
        rc = wal_append(wal, records, count, options, handler, NULL);
    return rc;
}

/* ---- refusals ---- */

void space_say_below_floor(struct request *request)
{
    const struct space *space = &request->api->space;
    response_problem(
        &request->response, PROBLEM_SPACE_FLOOR,
        "Nothing was changed. With what is on its way there, %" PRIu64 " bytes are free "
        "on the disk, and %" PRIu64 " are to stay free (--space-floor). Trim or delete "
        "logs, or make room on the disk: appends work again as soon as there is space, "
        "without a restart.",
        space->free_bytes - min_u64(space->free_bytes, space->let_in_bytes), space->floor_bytes);
}

static uint64_t divide_up(uint64_t number, uint64_t by)
{
    return number / by + (number % by > 0);
}

bool space_will_come(const struct wal_limits *limits, uint64_t record_bytes_max, uint64_t records,
                     uint64_t bytes)
{
    if (limits->retain_age_us > 0 || records == 0)
        return false;
    if (limits->retain_records > 0 && limits->retain_bytes == 0)
        return limits->quota_bytes == 0 && records <= limits->quota_records &&
               limits->retain_records <= limits->quota_records - records;
    /* The record that reaches over the limit is kept whole. */
    if (limits->retain_bytes > 0 && limits->retain_records == 0)
        return limits->quota_records == 0 && record_bytes_max + bytes <= limits->quota_bytes &&
               limits->retain_bytes <= limits->quota_bytes - record_bytes_max - bytes;
    return false;
}

static void print_quota(char text[64], const char *what, uint64_t quota)
{
    text[0] = '\0';
    if (quota > 0)
        snprintf(text, 64, "%" PRIu64 " %s", quota, what);
}

void space_say_over_quota(struct request *request)
{
    const struct api *api = request->api;
    const struct appended *wanted = &request->append.appended;
    struct wal_limits limits;
    char bytes[64], records[64];
    if (!request->wal) {
        response_problem(&request->response, PROBLEM_QUOTA, NULL);
        return;
    }
    wal_limits_get(request->wal, NULL, NULL, &limits);
    print_quota(bytes, "bytes", limits.quota_bytes);
    print_quota(records, "records", limits.quota_records);
    response_problem(
        &request->response, PROBLEM_QUOTA,
        "Nothing was changed. The log keeps at most %s%s%s, and this append would pass "
        "that. Trim it, let it retain less, or raise its quota: PATCH /logs/%s.",
        records, bytes[0] && records[0] ? " and " : "", bytes, request->log);
    if (space_will_come(&limits, api->config.record_bytes_max, wanted->count, wanted->bytes))
        response_header(&request->response, "Retry-After", "%" PRIu64,
                        1 + divide_up(api->config.retain_interval_us, 1000000));
}

/* ---- upkeep ---- */

static uint64_t retain(struct api *api)
{
    struct upkeep *upkeep = &api->upkeep;
    uint64_t now_us = api_now_us();
    if (api->draining || api->config.retain_interval_us == 0)
        return UINT64_MAX;
    if (now_us < upkeep->due_us)
        return upkeep->due_us - now_us;
    uint64_t realtime_ns = expiry_realtime_ns();
    upkeep->is_paused = !expiry_believes(&api->life.expiry, now_us, realtime_ns);
    upkeep->due_us = now_us + api->config.retain_interval_us;
    store_retain(api->config.store, upkeep->is_paused ? 0 : realtime_ns);
    (void)space_admits(api, 0); /* so that it is told when there is room again */
    return api->config.retain_interval_us;
}

uint64_t upkeep_run(struct api *api)
{
    return min_u64(store_close_unread(api->config.store), retain(api));
}
