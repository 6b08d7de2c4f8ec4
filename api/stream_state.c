#include "api/stream_state.h"

#include <string.h>
#include <strings.h>

#include "wal/base.h"

/* How many bytes the value has, of which `capacity` are copied; -ENOENT. */
static int look_up(struct wal *wal, enum stream_view view, const char *key, void *value,
                   size_t capacity, size_t *ret_bytes, struct wal_token *rests_on)
{
    uint16_t key_bytes = (uint16_t)strlen(key);
    struct wal_token token;
    if (view == STREAM_COMMITTED)
        return wal_state_get_committed(wal, key, key_bytes, value, capacity, ret_bytes);
    int rc = wal_state_get(wal, key, key_bytes, value, capacity, ret_bytes, &token);
    if (rests_on && token.ticket > rests_on->ticket)
        *rests_on = token;
    return rc;
}

bool stream_get(struct wal *wal, enum stream_view view, const char *key, char *ret_value,
                size_t capacity, struct wal_token *rests_on)
{
    size_t bytes = 0;
    bool found = look_up(wal, view, key, ret_value, capacity - 1, &bytes, rests_on) == 0;
    ret_value[found ? min_u64(bytes, capacity - 1) : 0] = '\0';
    return found;
}

bool stream_has(struct wal *wal, enum stream_view view, const char *key, struct wal_token *rests_on)
{
    size_t bytes;
    return look_up(wal, view, key, NULL, 0, &bytes, rests_on) == 0;
}

struct wal_state_update stream_set(const char *key, const char *value)
{
    return (struct wal_state_update){
        .key = key,
        .key_bytes = (uint16_t)strlen(key),
        .value = value,
        .value_bytes = value ? (uint32_t)strlen(value) : 0,
    };
}

struct wal_state_update stream_set_closed(void)
{
    static const char closed[] = {STREAM_FORMAT, '\0'};
    return stream_set(STREAM_KEY_CLOSED, closed);
}

void stream_type_get(struct wal *wal, enum stream_view view,
                     char ret_type[STREAM_TYPE_BYTES_MAX + 1], struct wal_token *rests_on)
{
    if (!stream_get(wal, view, STREAM_KEY_TYPE, ret_type, STREAM_TYPE_BYTES_MAX + 1, rests_on))
        memcpy(ret_type, STREAM_TYPE_DEFAULT, sizeof(STREAM_TYPE_DEFAULT));
}

static size_t media_type_bytes(const char *type)
{
    return strcspn(type, "; \t");
}

bool stream_type_is_same(const char *one, const char *other)
{
    size_t bytes = media_type_bytes(one);
    return bytes == media_type_bytes(other) && strncasecmp(one, other, bytes) == 0;
}

bool stream_type_is_json(const char *type)
{
    return stream_type_is_same(type, "application/json");
}

bool stream_is_json(struct wal *wal)
{
    char type[STREAM_TYPE_BYTES_MAX + 1];
    stream_type_get(wal, STREAM_NEWEST, type, NULL);
    return stream_type_is_json(type);
}
