/* What a log can be told about itself when it is made, and tells of itself. */
#ifndef API_SETTINGS_H
#define API_SETTINGS_H

#include <stdbool.h>

struct wal;

struct settings {
    bool floor_committed; /* no append may be answered before it is durable */
};

/* Kept in the log's own state. A log that was made without settings has the defaults: all zero. */
void settings_get(struct wal *wal, struct settings *ret_settings);

/* The change of the state that makes them so; false: there is none to make. */
struct wal_state_update;
bool settings_update(const struct settings *settings, struct wal_state_update *ret_update);

#endif
