/* What PUT /v1/stream/{log} asks for, and the parts of its answer: stream_put.c makes streams,
 * stream_fork.c those that are forks. Internal to these two. */
#ifndef API_STREAM_PUT_H
#define API_STREAM_PUT_H

#include <stdbool.h>
#include <stdint.h>

#include "api/expiry.h"
#include "api/load.h"
#include "api/progress.h"
#include "api/stream_token.h"

struct request;

struct fork_wish {
    const char *source; /* its name; NULL: it is to be no fork */
    bool has_position;
    struct stream_position position;
    uint64_t sub_offset;
};

/* Strings point into the head. */
struct wish {
    const char *type; /* what a stream is that does not say: STREAM_TYPE_DEFAULT */
    bool has_type;
    bool closed;
    struct lifespan lifespan;
    struct fork_wish fork;
    struct load load; /* of a fork that inherits its type: not split yet */
};

void wish_done(struct wish *wish); /* for CLEANUP() */

/* Splits the body as a stream of this type has it. False: it is answered. */
bool wish_split(struct request *request, struct wish *wish, const char *type);

/* Stream-Forked-From and what goes with it. False: it is answered. */
bool fork_wish_read(struct request *request, struct fork_wish *ret_wish);

/* Whether the stream, which stands, is the fork that is asked for. */
bool fork_wish_is_met(struct wal *wal, const struct fork_wish *wish);

/* Makes the fork: no stream of that name stands. The handler is called again after each step. */
enum progress make_fork(struct request *request, struct wish *wish);

/* 201, about request->wal. */
void say_made(struct request *request);

#endif
