/*
 * POST /logs/{log}: what a client asked for, and what is answered. append.c is the way of an append,
 * receipt.c has the words. Internal to these two and to request.h.
 */
#ifndef API_APPEND_H
#define API_APPEND_H

#include <stdbool.h>
#include <stdint.h>

#include "api/idempotency.h"
#include "api/progress.h"

struct request;

/* The part of a request that only appends have. */
struct append {
    bool is_ndjson;
    bool unheard;  /* ?ack=none: answered before it is durable */
    bool minimal;  /* Prefer: return=minimal */
    bool replayed; /* what is answered was done by an earlier request */
    struct idempotency idempotency;

    struct appended appended; /* by this request, or by the one that it repeats */
    struct verdict verdict;

    /* The answer that is due once rests_on is decided. */
    struct wal_token rests_on;
    void (*say)(struct request *request);

    uint64_t begun_us; /* when the body was there, on the monotonic clock */
};

/* ---- append.c ---- */

/* Reads Idempotency-Key, or the headers of a producer; answers and returns false if they are not what
 * they have to be. */
bool append_read_producer(struct request *request);

/* Says it once `rests_on` is durable, or what became of that instead; and gives the log back. */
enum progress say_resting(struct request *request, struct wal_token rests_on,
                          void (*say)(struct request *request));

/* What to say to a request that was judged so and is not to be appended. */
void (*append_words(enum judgement judgement))(struct request *request);

/* ---- receipt.c: each makes the response ---- */

void say_committed(struct request *request);  /* 200, or 204: what `appended` says is durable */
void say_queued(struct request *request);     /* 202 */
void say_already(struct request *request);    /* 200: accepted earlier, its place is forgotten */
void say_other_body(struct request *request); /* and the refusals */
void say_stale_epoch(struct request *request);
void say_late_start(struct request *request);
void say_gap(struct request *request);
void say_too_many_producers(struct request *request);
void say_moved(struct request *request); /* 412; request->wal NULL: there is no log */
void say_floor(struct request *request);
void say_closed(struct request *request);
void say_producer(struct request *request); /* adds what a producer is told */

#endif
