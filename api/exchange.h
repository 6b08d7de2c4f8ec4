/*
 * An exchange is a request and what the transport keeps for it, from the first line of its head until
 * its answer is out: its body and its answer, which all together are bounded, and what it waits for.
 * Belongs to the loop's thread.
 */
#ifndef API_EXCHANGE_H
#define API_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/park.h"
#include "api/request.h"

struct link;
struct mhd;

enum stage {
    STAGE_HEAD,     /* the target is known, the headers are not */
    STAGE_BODY,     /* collecting the body */
    STAGE_PUT_OFF,  /* suspended until there is time for it */
    STAGE_SWALLOW,  /* the response is there, and waits for the body to pass */
    STAGE_WAITING,  /* suspended, held, or parked */
    STAGE_DECIDED,  /* to be resumed, or resumed and to be finished */
    STAGE_ANSWERED, /* the response has been handed over */
};

struct exchange {
    struct request request;
    struct mhd *mhd;
    struct exchanges *all;
    struct link *link; /* NULL: parked; or its client is gone, and it goes on without it */
    enum stage stage;
    bool is_held;    /* the library does not know that it waits */
    bool waits_long; /* and is to be parked, or suspended, before the library goes on */
    bool is_parked;  /* the library does not know of it */
    bool is_again;   /* its head is to be read a second time */
    struct parked parked;
    struct exchange *next; /* in the queue it is in, which is one at most */
    enum stage put_off_from;
    bool is_old;     /* HTTP/1.0 */
    bool has_waited; /* having been put off, it is answered, or waits for news */

    char *body;
    size_t body_capacity;
    uint64_t swallowed_bytes;
    size_t answer_bytes; /* of the body that has been handed over */

    char *laid_out; /* a short answer, on the heap, while it is being sent */

    size_t target_bytes;
    char target[HTTP_TARGET_BYTES_MAX + 1]; /* raw; taken apart by request_begin() */
};

/* What they share. */
struct exchanges {
    uint64_t body_bytes_total, body_bytes;
    uint64_t answer_bytes_total, answer_bytes;
    /* Kept for the next requests: they are larger than what malloc() hands out quickly. */
    struct exchange *spare;
    unsigned spare_count;
};

/* None may be left. */
void exchanges_done(struct exchanges *exchanges);

/* All zero but for the target, which is not there yet, and `all`. NULL: no memory. */
struct exchange *exchange_new(struct exchanges *exchanges);

/* Gives back all it holds. It is waiting for nothing; if it is decided and was not answered, nobody is
 * there to be told. */
void exchange_close(struct exchange *exchange);

/* Whether the request was there whole and is not done with: what it asks for has to be done whether or
 * not its client is there to hear of it. False for one that changes nothing. */
bool exchange_is_unfinished(const struct exchange *exchange);

/* Goes on without its client, until it waits for something again or can be closed. */
enum progress exchange_carry_on(struct exchange *exchange);

/* Takes some more of the body, and refuses the request if it is too large. False: it has been refused,
 * and too much came after that. */
bool exchange_take_body(struct exchange *exchange, const char *data, size_t bytes);
void exchange_drop_body(struct exchange *exchange);

/* The response is handed over: from now on it counts among all that are being taken, unless it is
 * refused for want of memory, which changes it. */
void exchange_count_answer(struct exchange *exchange);

/* The answer is a stream of events, which goes on by a descriptor of its own. The library has nothing
 * unsent then, and knows no other way to let go of a connection than to close it: so it closes `fd`,
 * which is its own. What it has read behind this request is not acted on any more, as Connection: close
 * says. False: the response says why not. */
bool exchange_give_away(struct exchange *exchange, int fd);

/* ---- queues ---- */

struct queue {
    struct exchange *first, **end;
};

void queue_init(struct queue *queue);
void queue_add(struct queue *queue, struct exchange *exchange);
struct exchange *queue_take(struct queue *queue); /* the first one, or NULL */

#endif
