/*
 * The second front door: /v1/stream/{log}, logs as streams of the Durable Streams protocol. What its
 * requests have in common; the rules are in docs/durable-streams.md.
 *
 *   stream.c       the gate of every request, HEAD, DELETE
 *   stream_put.c   making a stream
 *   stream_post.c  appending and closing
 *   stream_read.c  reading, and waiting for more
 *
 * For reading, a stream is what is durable, and nothing that is in flight (STREAM_COMMITTED). For
 * changing it, it is what has been queued (STREAM_NEWEST), and an answer that rests on something in
 * flight waits for that and shares its fate: say_resting().
 */
#ifndef API_STREAM_H
#define API_STREAM_H

#include <stdbool.h>

#include "api/stream_state.h"
#include "api/stream_token.h"

struct request;

/* The part of a request that only streams have. */
struct stream {
    struct stream_position begin; /* of reading */
    struct stream_position end;   /* behind what was appended or read */
    bool begin_is_open;           /* reading begins with a record whatever its bytes are */
    bool is_now;                  /* reading begins at the tail */
    bool is_live;                 /* it waits for more … */
    bool is_events;               /* … as a stream of events */
    bool has_body, closes;        /* something is appended; it is the last that is */
    uint64_t cursor;              /* as the client sent it; 0: none */
};

/* Begins every request to a stream that has to be there: the request holds it as request->wal; or it
 * is answered, and false is returned. */
bool stream_begin(struct request *request);

/* Whether the request has Stream-Closed: true. */
bool stream_wants_closed(const struct request *request);

/* ---- what answers carry ---- */

void stream_add_next(struct request *request, const struct stream_position *position);
void stream_add_closed(struct request *request);
/* All three of request->wal: its type, its tail, and whether it is closed. */
void stream_add_state(struct request *request);
void stream_add_end(struct request *request); /* when it ends by itself, if it does */

/* What a live answer tells to a client that came with the cursor `sent`; 0: with none. */
uint64_t stream_cursor(uint64_t sent);

/* The tail as readers see it, and whether nothing follows it any more. */
struct stream_position stream_tail(struct wal *wal);
bool stream_is_closed(struct wal *wal);

/* ---- refusals: for say_resting(), or at once ---- */

void stream_say_missing(struct request *request); /* 404 */
void stream_say_closed(struct request *request);  /* 409, with where the stream ended */

#endif
