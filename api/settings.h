/* What a log can be told about itself when it is made, and tells of itself. */
#ifndef API_SETTINGS_H
#define API_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "wal/wal.h"

struct settings {
    bool floor_committed; /* no append may be answered before it is durable; stays as it is */
    struct wal_limits limits;
};

/* Where each limit stands in JSON, such as "retention":{"age":60}, and in struct wal_limits. */
struct settings_limit {
    const char *group, *name;
    uint64_t unit; /* of one in JSON: an age is in seconds there */
    size_t offset;
};

#define SETTINGS_LIMITS 5
extern const struct settings_limit settings_limits[SETTINGS_LIMITS];

uint64_t settings_limit_get(const struct wal_limits *limits, size_t limit);

/* What a request says about settings. */
struct settings_wish {
    struct settings settings;
    bool names_durability;
    bool names_limit[SETTINGS_LIMITS]; /* WAL_LIMIT_DEFAULT then is what the service has for all */
};

void settings_wish_limit(struct settings_wish *wish, size_t limit, uint64_t value);

/* Kept in the log's own state. A log that was made without settings has the defaults. With `rests_on`,
 * the append that the limits rest on. */
void settings_get(struct wal *wal, struct settings *ret_settings, struct wal_token *rests_on);

/* The change of the state that makes the floor so; false: there is none to make. */
struct wal_state_update;
bool settings_update(const struct settings *settings, struct wal_state_update *ret_update);

#endif
