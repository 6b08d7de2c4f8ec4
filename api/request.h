/*
 * One request on its way through the service, from its head to its answer. Belongs to one thread:
 * the loop's, which is also the one that drives the store's committer.
 */
#ifndef API_REQUEST_H
#define API_REQUEST_H

#include "api/access.h"
#include "api/api.h"
#include "api/append.h"
#include "api/auth.h"
#include "api/clients.h"
#include "api/errors.h"
#include "api/follow.h"
#include "api/gate.h"
#include "api/life.h"
#include "api/progress.h"
#include "api/response.h"
#include "api/snapshot.h"
#include "api/stream.h"
#include "api/target.h"
#include "api/watch.h"

struct request;

/* What a request needs of its connection if it cannot be answered at once. */
struct request_transport {
    /* Before anything is begun that could call resume(). */
    void (*suspend)(struct request *request);
    /* The same for a wait that takes no longer than a commit: cheaper while it lasts a moment, and
     * dearer if it lasts. */
    void (*suspend_briefly)(struct request *request);
    /* The same for a wait that may last: watch_end() may be called for it, when its client is found to
     * have hung up. Before the next call the head may have been read a second time. */
    void (*suspend_for_long)(struct request *request);
    /* Exactly once after any of them, never from inside it: request_finish() is due. That may
     * suspend again. */
    void (*resume)(struct request *request);
};

/* What a request may carry. */
enum route_body {
    BODY_NONE,
    BODY_RECORDS, /* a record, or with application/x-ndjson many; may be compressed */
    BODY_JSON,    /* a small document */
};

#define HEEDS(header) (UINT32_C(1) << (header))

struct route {
    const char *path;       /* "{log}" and "{offset}" stand for any segment of that kind */
    const char *parameters; /* the names allowed in the query, each with a space behind it */
    enum progress (*answer)(struct request *request);
    enum http_method method;
    enum route_body body;
    bool changes;   /* something, and is refused while the service stops */
    uint32_t heeds; /* HEEDS() of conditions, promises and wishes: it sees no others */
    bool unopened;  /* its log is not opened for it, since it is there to make it or to delete it */
    bool is_stream; /* of the second door: what it does not know in the query it passes over */
    enum access access;
    unsigned opened_by; /* --open: by which of enum api_open; 0: it always wants a token */
};

/* How records are written in a page. */
enum page_form {
    PAGE_LINES,    /* a JSON object a line */
    PAGE_DOCUMENT, /* one JSON object */
    PAGE_FRAMES,   /* binary: see api/records.c */
    PAGE_EVENTS,   /* no page: a stream of events, without an end */
    PAGE_FORM_COUNT
};

struct follower;

/* Which records a request wants, and how. */
struct page_query {
    uint64_t begin, limit, bytes_max;
    enum page_form form;
    bool base64; /* all data in base64, also what is UTF-8 */
};

struct request {
    /* Set by request_open(). */
    struct api *api;
    const struct request_transport *transport;
    struct client *client; /* held: whose connection it comes by; NULL: nobody's in particular */
    struct client *payer;  /* held: who is charged for it, if it is another, by a token; or NULL */

    /* Set by request_begin(). Strings point into the raw target or into the head. */
    const struct route *route;
    struct target target;
    struct gate_facts facts;
    struct auth_identity who;
    uint64_t judged_by; /* which tokens said what that one may: see auth_number */
    const char *log;
    uint64_t offset;
    size_t body_bytes_max;
    char *kept_head; /* by request_keep_head(), on the heap */

    /* The body: kept by the transport as long as the request. */
    const char *body;
    size_t body_bytes;

    struct response response;
    struct follower *follower; /* what goes on behind the answer: for the transport to take */

    /* While PROGRESS_WAITING. */
    void (*finish)(struct request *request);
    struct waiter waiter;
    struct page_query page;
    struct wal *wal;
    struct wal_handler handler;
    struct wal_token token;
    int status;
    uint64_t decided_us; /* when the news came, on the monotonic clock */

    /* The log of the path, while the handler begins: see request_get_log(). */
    struct wal *held;
    int open_error;
    bool made;        /* by this request */
    unsigned makings; /* tried */
    bool is_dead;     /* there is one that is none for clients: making it clears the name first */
    bool has_ended, has_waited_for_end; /* by itself; and it is being removed, or was */
    bool is_kept;                       /* … and it keeps its name, since it has forks */
    bool was_looked_for;                /* on the disk, since there is no space to make it */
    bool is_free;                       /* nothing is under the name, as far as could be seen */
    bool is_making;
    struct making making;

    /* Another log that it needs: see request_open_other(). */
    struct wal *other;
    int other_error;
    enum progress (*go_on)(struct request *request); /* in place of finish() */
    enum progress (*next_step)(struct request *request);
    struct store_log_waiter log_waiter;
    struct life_waiter life_waiter;

    struct append append;
    struct stream stream;
    struct store_waiter probe; /* of a question after readiness */
};

/* The request is all zero but for `client`. */
void request_open(struct request *request, struct api *api,
                  const struct request_transport *transport);

/* Its answer has been sent, or never will be. It must not be waiting. */
void request_close(struct request *request);

enum begin {
    BEGIN_READ,    /* read the body, at most body_bytes_max bytes, then request_answer() */
    BEGIN_SWALLOW, /* the response is there; the body, if any, has to be read past first */
    BEGIN_REFUSE,  /* the response is there; nothing more is read from the connection */
};

/* Judges the head. `raw` is a copy of the target that is taken apart in place and, like the head's
 * strings, lives as long as the request. */
enum begin request_begin(struct request *request, const struct http_head *head, char *raw);

/* The head is gone for now: the request waits without it, and what pointed into it is not there. */
void request_forget_head(struct request *request);

/* The same, but what is still needed of it is kept: the request goes on without its client. False: no
 * memory for that. */
bool request_keep_head(struct request *request);

/* It is there again, but for the target, which the request has kept: nothing is judged anew. False:
 * it is not the same. */
bool request_read_again(struct request *request, const struct http_head *head);

/* So much of a body has been received or is about to be sent: what a client may have of that in a
 * second is limited. */
void request_count_bytes(struct request *request, uint64_t bytes);

/* A connection from this address (NULL: it has none). False: it has enough of them. What
 * *ret_client is then, api_disconnect() has to be given. */
bool api_connect(struct api *api, const struct sockaddr *address, struct client **ret_client);
void api_disconnect(struct api *api, struct client *client);

/* The body is longer than body_bytes_max. */
void request_refuse_size(struct request *request);

/* There is no memory for the body. */
void request_refuse_memory(struct request *request);

/* Whether what is to be done next, to make the answer or to get on with it, takes so long that others
 * should not wait for many of its kind: a record may lie in a frame of many megabytes. */
bool request_takes_long(const struct request *request);

/* Whether what the request does is a use of its log, so that its time to live begins anew. */
bool request_uses_log(const struct request *request);

/* It did not arrive in time, and its client has been told so past everything here; it is closed next.
 * NULL: there was no request yet, only a connection. */
void api_count_late(struct api *api, struct request *request);

/* The body is there. */
enum progress request_answer(struct request *request);

/* After resume(): makes the response, or goes on and waits for something else. */
enum progress request_finish(struct request *request);

/* After resume(), in place of request_finish(), if the client is gone: gives back what the request
 * holds, and there is no answer. What it waited to begin is not begun: one that changes something should
 * be finished (request_keep_head), unless that is refused in any case. */
void request_abandon(struct request *request);

/* Every route once, in the order in which they are tried: for what has to agree with them. HEAD is
 * wherever GET is, and OPTIONS everywhere, without a route of its own. */
void api_routes_each(void (*found)(void *context, const struct route *route), void *context);

/* ---- for the handlers of routes ---- */

/* Committed records of a log are more, or its readers have to look again: called for every commit,
 * by its first handler at the latest. */
void api_log_moved(struct api *api, struct wal *wal);

/* For the transport's loop: resumes the requests that have waited long enough. Returns in how many
 * microseconds to call it again at the latest; UINT64_MAX: nobody waits. */
uint64_t api_run_timers(struct api *api);

struct api {
    struct api_config config;
    struct gate_config gate;
    struct auth *auth;    /* NULL: everybody may do everything */
    uint64_t auth_number; /* of how many tables of tokens it is the last */
    struct clients clients;
    bool draining;
    uint64_t begun_us;
    uint64_t started_us; /* of the process, since 1970 */
    uint64_t in_progress, appends_waiting, probes_waiting;
    uint64_t logs_waiting;    /* requests that wait for a log to be opened, made or deleted */
    uint64_t appends_unheard; /* answered already, and not decided yet */
    struct watch watch;
    struct follow follow;
    struct life life;
    struct space space;
    struct upkeep upkeep;
    struct api_counters counters;
};

/* Answers with what a negative errno means, and tells the operator if it is grave. */
enum progress request_fail(struct request *request, enum moment moment, int error);

uint64_t api_uptime_us(const struct api *api);

/* Waiting for a commit of request->wal, which the request holds. In this order:
 *
 *   request_wait()     before anything is queued; then queue with &request->handler
 *   request_wait_refused()  if nothing was queued: answers with what the error means
 *   finish()           is called once it is decided: makes the response by request->status ...
 *   request_waited()   ... and calls this last, which gives the log back */
void request_wait(struct request *request, void (*finish)(struct request *request));
void request_wait_refused(struct request *request, int error);
void request_waited(struct request *request);

/* The same for everything that is queued on the log now, without queueing more. */
enum progress request_wait_for_all(struct request *request,
                                   void (*finish)(struct request *request));

/* For a request that holds its log, and that is answered without having waited. */
enum progress request_give_back(struct request *request);

/* The most that is read of the body of an append. */
size_t append_body_bytes_max(const struct request *request);
/* A small body may inflate to a large one, and a large one takes its time in any case. */
bool append_takes_long(const struct request *request);
/* The body of an append is larger than that. */
void append_refuse_size(struct request *request);

/* One for each route. */
enum progress answer_log_append(struct request *request);
enum progress answer_log_create(struct request *request);
enum progress answer_log_delete(struct request *request);
enum progress answer_log_change(struct request *request);
enum progress answer_log_description(struct request *request);
enum progress answer_log_offsets(struct request *request);
enum progress answer_log_stats(struct request *request);
enum progress answer_log_sync(struct request *request);
enum progress answer_log_trim(struct request *request);
enum progress answer_logs(struct request *request);
enum progress answer_record(struct request *request);
enum progress answer_records(struct request *request);
enum progress answer_stats(struct request *request);
enum progress answer_livez(struct request *request);
enum progress answer_metrics(struct request *request);
enum progress answer_readyz(struct request *request);
enum progress answer_version(struct request *request);
enum progress answer_openapi(struct request *request);
enum progress answer_stream_create(struct request *request);
enum progress answer_stream_append(struct request *request);
enum progress answer_stream_read(struct request *request);
enum progress answer_stream_delete(struct request *request);

/*
 * The log of a request's path. Before the handler of its route runs, a log that is not open is opened
 * by a worker of the store while the request is suspended, so no handler waits for the disk.
 */

/* The log, held by the caller from now on. Asked once each time the handler begins; what it returns
 * does not change before it begins anew. Errors: of store_get(). For a route with `unopened` -ENOENT
 * says that the log is not open: request_make_log() finds out whether it exists. */
int request_get_log(struct request *request, struct wal **ret_wal);

/*
 * Makes the log of the path, with `updates` (copied) in its first state. The handler returns what this
 * returns, and is called again from its beginning when that is done: request_get_log() then gives the
 * log, and request->made is true if this request has made it; false: it was there by then, made by
 * somebody else. If it could not be made request_get_log() gives the error. So in a handler:
 *
 *   rc = request_get_log(request, &wal);
 *   if (rc == -ENOENT)
 *       return request_make_log(request, updates, count);
 *
 * Nothing is taken back: a log that was made stays, empty, when what its request wanted of it is
 * refused after all, and a refusal says so.
 */
enum progress request_make_log(struct request *request, const struct wal_state_update *updates,
                               size_t count);

/* Makes the name free if that can be, without making a log: the handler is called again, and
 * request->is_free tells; if it is not, request_find_log() has what is in the way. */
enum progress request_clear_name(struct request *request);

/* Opens another log as request->other, or sets request->other_error, and calls the handler again. It is
 * given back with the request. */
enum progress request_open_other(struct request *request, const char *name);

/* For what takes several steps: suspends, and go_on() is called when request->life_waiter is done, with
 * its status in request->status, and as request->wal a log that it has brought along in
 * request->log_waiter. An error to begin with ends the wait at once. */
void request_begin_steps(struct request *request, enum progress (*go_on)(struct request *request));
enum progress request_begun_steps(struct request *request, int rc);

/* Begins anew with what is there now. */
enum progress request_look_again(struct request *request);

/* What was made is there for all to see, or will not be. */
void request_end_making(struct request *request);

/* Deletes the log of the path; finish() is called with request->status 0 or the error. All who watch
 * the log are told before that. */
enum progress request_delete_log(struct request *request, void (*finish)(struct request *request));

/* For request_answer() alone: calls the handler, with the log open. */
enum progress request_open_log(struct request *request);

/* For CLEANUP(): a log that is given back when its holder goes out of scope. */
struct held_log {
    struct store *store;
    struct wal *wal;
};

void held_log_done(struct held_log *held);

/* The request's log, which must exist; or answers why not. */
bool request_hold_log(struct request *request, struct held_log *ret_held);

/* A query parameter that is a number from min to max; `fallback` if it is not there. Answers and
 * returns false if it is something else. */
bool request_number(struct request *request, const char *name, uint64_t min, uint64_t max,
                    uint64_t fallback, uint64_t *ret_number);

/* The same for how long to wait, a duration: at most as long as any request may. */
bool request_patience(struct request *request, const char *name, uint64_t fallback,
                      uint64_t *ret_us);

/* Answers what is wrong with a header, and returns false. `advice` says what to send. */
bool request_refuse_header(struct request *request, enum http_known known, const char *advice);

/* Answers why a record cannot be had: with what wal_cursor_next() returned and found. */
enum progress request_refuse_record(struct request *request, struct wal *wal, int error,
                                    const struct wal_entry *entry);

#endif
