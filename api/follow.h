/*
 * Followers: clients that a log is told to as it grows, as server-sent events, for as long as they
 * like. They are taken out of libmicrohttpd: of each there is a socket and a few hundred bytes.
 *
 *   follow_begin()   a handler: the request is one for a stream of events
 *   follow_start()   the transport: here is the socket; the library has let go of it
 *   follow_run()     the loop: a turn of it
 *
 * A follower is in one ring at a time. Idle ones wait at their log (watch.h), and a commit moves all
 * of them at once to those that are ready, whatever their number. follow_run() gives each of these
 * its next batch of records, one after the other, for as long as a turn may take. What the socket
 * does not take makes the follower wait for the socket, with that batch and no more: it reads on from
 * its offset later, so nothing is queued for it and nothing is lost. Batches are shared by those who
 * want the same records in the same form.
 *
 * Belongs to the loop's thread.
 */
#ifndef API_FOLLOW_H
#define API_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "api/deadline.h"
#include "api/list.h"
#include "api/progress.h"
#include "api/text.h"

struct api;
struct api_config;
struct audience;
struct request;
struct wal;

enum follow_form {
    FOLLOW_RECORDS,        /* /logs: an event a record … */
    FOLLOW_RECORDS_BASE64, /* … with data in base64, text or not */
    FOLLOW_STREAM_TEXT,    /* /v1/stream: events of data and control */
    FOLLOW_STREAM_JSON,
    FOLLOW_STREAM_BASE64,
    FOLLOW_FORM_COUNT
};

/* All but the first two may be left zero at /logs. */
struct follow_query {
    uint64_t begin; /* the first record that is sent, now or when it comes */
    enum follow_form form;
    uint64_t limit;        /* the stream ends after so many records; 0: it does not */
    uint64_t bytes_before; /* /v1/stream: payload bytes of the log before where it begins … */
    uint64_t skip;         /* … which is so far into the first record */
    uint64_t cursor;       /* /v1/stream: what the client came with; 0: nothing */
    /* /v1/stream: whether the stream is closed, and durably so; NULL: it is not. */
    bool (*is_closed)(struct wal *wal);
};

/*
 * Answers with a stream of events: headers, and records as they come. `wal` is the request's hold on
 * the log, which is the follower's from now on or, if the answer is a refusal, is given back. What
 * is wrong with where it begins has been told before. HEAD gets the same headers, and nothing else.
 */
enum progress follow_begin(struct request *request, struct wal *wal,
                           const struct follow_query *query);

/* ---- for the transport ---- */

/* The request's stream goes to this socket, behind `head`, which has been taken over empty; in
 * chunks, or, `plain`, to the end of the connection. The follower is the socket's owner now, and no
 * part of the request any more. */
void follow_start(struct request *request, int fd, struct text *head, bool plain);

/* There is nobody to send it to. None was begun: fine. */
void follow_drop(struct request *request);

/* ---- for the loop ---- */

struct follow {
    int epoll_fd; /* polls readable when follow_run() has work */
    uint64_t count;
    uint64_t started;         /* ever, all that follow_start() was called for */
    uint64_t bytes;           /* of all batches that are still being taken */
    struct list_node turns;   /* of audiences that have followers who are ready */
    struct list_node starved; /* followers there was no memory for */
    struct audience *serving; /* whose turn it is; NULL: nobody's, or it has gone */
    struct deadlines deadlines;
    uint64_t wait_us; /* what follow_run() returned last */
};

/* Errors: -errno of making the epoll. */
int follow_open(struct follow *follow, const struct api_config *config);

/* Cuts off those whose token does not give them the right to follow any more. */
void follow_check_rights(struct api *api);

/* Cuts off those that are left. */
void follow_close(struct api *api);

/* A turn, which takes a few milliseconds at most and never sleeps. Returns in how many microseconds to
 * call it again at the latest; UINT64_MAX: no timer. */
uint64_t follow_run(struct api *api);

/* ---- for watch.c ---- */

/* There are news of the log for all its followers, or with a `reason` (static text) their end. */
void follow_wake(struct api *api, struct audience *audience, const char *reason);

#endif
