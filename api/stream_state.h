/*
 * What a log knows of itself as a stream, in its own state: the properties that the Durable Streams
 * protocol gives it. A log without any of them is a stream of application/octet-stream that is open.
 */
#ifndef API_STREAM_STATE_H
#define API_STREAM_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "wal/wal.h"

#define STREAM_KEY_TYPE "s:type"       /* the content type, verbatim */
#define STREAM_KEY_TTL "s:ttl"         /* seconds, decimal */
#define STREAM_KEY_EXPIRES "s:expires" /* the time of RFC 3339 as it was given */
#define STREAM_KEY_CLOSED "s:closed"   /* there: it takes no appends any more */
#define STREAM_KEY_SEQ "s:seq"         /* the last Stream-Seq */
#define STREAM_KEY_FORK "s:fork"       /* of a fork: what it is a fork of */
#define STREAM_KEY_DELETED "s:deleted" /* there: deleted, and kept for its forks */
/* There: the log is not all that was asked for yet (the first content or the prefix of a fork is
 * missing), and for clients it does not exist. */
#define STREAM_KEY_MAKING "s:forking"

#define STREAM_FORMAT 1 /* the first byte of values that are not text */

#define STREAM_TYPE_BYTES_MAX 255
#define STREAM_TYPE_DEFAULT "application/octet-stream"
#define STREAM_SEQ_BYTES_MAX 255

enum stream_view {
    STREAM_COMMITTED, /* what belongs to the records that can be read: for reading */
    STREAM_NEWEST,    /* what is queued, which may be in flight: for deciding about changes */
};

/* Text of a property with a zero behind it, or "" and false if there is none. With STREAM_NEWEST
 * *rests_on, if given, is moved on to the append that this rests on, if that is a later one. */
bool stream_get(struct wal *wal, enum stream_view view, const char *key, char *ret_value,
                size_t capacity, struct wal_token *rests_on);

/* Whether there is such a property. */
bool stream_has(struct wal *wal, enum stream_view view, const char *key,
                struct wal_token *rests_on);

/* The change that gives a property this value, or with NULL takes it away. Strings are kept by the
 * caller until the log has copied them. */
struct wal_state_update stream_set(const char *key, const char *value);
struct wal_state_update stream_set_closed(void);

/* The stream's content type, which is there always. */
void stream_type_get(struct wal *wal, enum stream_view view,
                     char ret_type[STREAM_TYPE_BYTES_MAX + 1], struct wal_token *rests_on);

/* Whether two content types name the same media type: parameters and case do not matter. */
bool stream_type_is_same(const char *one, const char *other);

/* Whether messages are JSON. */
bool stream_type_is_json(const char *type);

bool stream_is_json(struct wal *wal);

#endif
