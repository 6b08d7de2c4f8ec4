/*
 * Sockets to requests and back, on libmicrohttpd: the only file that knows it.
 *
 * The library runs on our loop and on our thread (its own epoll thread stalls when exactly 128·k
 * sockets are ready, in all releases up to 1.0.1). Each request is an exchange:
 *
 *   recv()          api/wire.c sees each byte before the library does
 *   target_seen()   the request line is there; nothing has been decoded or cut off yet
 *   serve()         first call: the head is complete, and is judged
 *   serve()         once for each piece of the body
 *   serve()         the body is complete: answered, or suspended or held, and on its way to the disk
 *   serve()         when that is decided: the answer, or one more wait: the log that an append wants
 *                   may have to be opened, and made, before the append is on its way
 *   finished()      the answer is out, or the connection is gone
 *
 * An append is decided by the store's committer, which this thread drives too, and so is a request
 * that waits for one, unless its time runs out first. All that does is to put the exchange on the
 * list `decided`, whose connections mhd_run() resumes all together; or, if the connection is held, to
 * let serve() answer when the library comes to it. A resume from any other thread would be lost by
 * 0.9.75. Stopping the library while a connection is suspended would abort the process: so the loop
 * does not close before all have been answered.
 *
 * The library's own time-out only measures silence, and whoever drips a byte now and then is never
 * cut off by it. So it is off, and each connection has a deadline (deadline.h) for what its client
 * has to do next: the head of a request, its body, taking the answer, the next request. While it
 * waits for us, it has none. The library has no call to close a connection: we shut its
 * socket down, the library sees that as any other end, and closes.
 */
#include "api/mhd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <microhttpd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/cors.h"
#include "api/deadline.h"
#include "api/errors.h"
#include "api/head.h"
#include "api/request.h"
#include "api/text.h"
#include "api/wire.h"
#include "wal/base.h"

/* Beside the headers: the request line, and the head of the answer. The library clears all of it for
 * every request; bodies pass through it in pieces. */
#define CONNECTION_OWN_BYTES 2048

/* And for what it says to the web pages of configured origins. */
#define CONNECTION_CORS_BYTES 1024

/* How strictly requests are read, in the words of newer versions of the library and of older ones.
 * 1 is as strict as a server for everybody can be. */
#if MHD_VERSION >= 0x00097701
#define STRICTNESS MHD_OPTION_CLIENT_DISCIPLINE_LVL
#else
#define STRICTNESS MHD_OPTION_STRICT_FOR_CLIENT
#endif

/* Rounds of mhd_run() before the loop looks after the committer again. */
#define ROUNDS_MAX 8

/* An answer of this size goes into the buffers of the kernel, whether or not the client takes it. */
#define SMALL_ANSWER_BYTES (16u << 10)

/* How long a turn of mhd_run() goes on beginning answers that take long. */
#define TURN_US 5000

/* What each body may hold in any case. Bodies that are never finished can use up what all may hold
 * together, and small ones must get past them. */
#define OWN_BODY_BYTES (16u << 10)

/* What is read of a body after it has been refused, in the hope of its end. */
#define REFUSED_BODY_BYTES_MAX (4u << 20)

/* Exchanges that are kept for the next requests. */
#define SPARE_MAX 1024

/* Connections that wait for a commit without being suspended. */
#define HELD_MAX 512

enum stage {
    STAGE_HEAD,     /* the target is known, the headers are not */
    STAGE_BODY,     /* collecting the body */
    STAGE_PUT_OFF,  /* suspended until there is time for it */
    STAGE_SWALLOW,  /* the response is there, and waits for the body to pass */
    STAGE_WAITING,  /* suspended, or held */
    STAGE_DECIDED,  /* to be resumed, or resumed and to be finished */
    STAGE_ANSWERED, /* the response has been handed over */
};

/* A connection, from its beginning to its end. */
struct link {
    struct mhd *mhd;
    struct MHD_Connection *connection;
    struct exchange *exchange; /* the one under way, if there is one */
    struct deadline deadline;
    bool is_over; /* it has been told so, and nothing it sent is acted on any more */
};

struct exchange {
    struct request request;
    struct mhd *mhd;
    struct link *link; /* NULL: the connection is gone, and the request is still being decided */
    enum stage stage;
    bool is_held;
    struct exchange *next; /* in the queue it is in, which is one at most */
    enum stage put_off_from;
    bool is_old;     /* HTTP/1.0 */
    bool has_waited; /* having been put off, it is answered, or waits for news */

    char *body;
    size_t body_capacity;
    uint64_t swallowed_bytes;
    size_t answer_bytes; /* of the body that has been handed over */
    char *laid_out;      /* a short answer, on the heap, while it is being sent */

    size_t target_bytes;
    char target[HTTP_TARGET_BYTES_MAX + 1]; /* raw; taken apart by request_begin() */
};

/* What is cleared for a new request: the target behind it is written anyway. */
#define EXCHANGE_CLEARED_BYTES offsetof(struct exchange, target)

struct queue {
    struct exchange *first, **end;
};

struct mhd {
    struct MHD_Daemon *daemon;
    struct api *api;
    int poll_fd;
    uint64_t body_bytes_total, body_bytes;
    uint64_t answer_bytes_total, answer_bytes;
    unsigned suspended;
    unsigned held;     /* of those, the ones that the library does not know to wait */
    bool news_of_held; /* some have been decided, and are not answered yet */
    unsigned answers_begun, answers_sent; /* in this round of the library */
    bool quiesced;
    bool vacancy; /* a connection has been closed: the library looks for another when it is run */

    struct deadlines deadlines;
    uint64_t wait_us; /* what mhd_run() returned last */

    struct queue decided; /* in the order of decision */

    struct MHD_Response *stand_in; /* for short answers */

    /* They are larger than what malloc() hands out quickly. */
    struct exchange *spare;
    unsigned spare_count;

    uint64_t turn_end_us;
    struct queue put_off; /* in the order of arrival */
};

/* ---- suspending and resuming ---- */

static void queue_init(struct queue *queue)
{
    queue->first = NULL;
    queue->end = &queue->first;
}

static void queue_add(struct queue *queue, struct exchange *exchange)
{
    exchange->next = NULL;
    *queue->end = exchange;
    queue->end = &exchange->next;
}

/* The first one, or NULL. */
static struct exchange *queue_take(struct queue *queue)
{
    struct exchange *exchange = queue->first;
    if (exchange)
        queue->first = exchange->next;
    if (!queue->first)
        queue->end = &queue->first;
    return exchange;
}

static void suspend_in(struct exchange *exchange, enum stage stage)
{
    struct link *link = exchange->link;
    exchange->stage = stage;
    link->mhd->suspended++;
    deadline_clear(&link->mhd->deadlines, &link->deadline);
    MHD_suspend_connection(link->connection);
}

static void resume_now(struct exchange *exchange)
{
    exchange->mhd->suspended--;
    MHD_resume_connection(exchange->link->connection);
}

static void suspend(struct request *request)
{
    struct exchange *exchange = container_of(request, struct exchange, request);
    must(exchange->stage == STAGE_BODY || exchange->stage == STAGE_DECIDED);
    exchange->has_waited = false;
    suspend_in(exchange, STAGE_WAITING);
}

/* The library is told nothing, and comes back to serve() in each of its rounds until there is an
 * answer. That saves the two system calls with which it takes a suspended connection out of its epoll
 * and puts it back, one to read what is not there, and the signal for each resume; it costs a look at
 * each such connection a round, so it is for a moment and for no more than HELD_MAX. */
static void suspend_briefly(struct request *request)
{
    struct exchange *exchange = container_of(request, struct exchange, request);
    struct mhd *mhd = exchange->mhd;
    if (mhd->held == HELD_MAX) {
        suspend(request);
        return;
    }
    must(exchange->stage == STAGE_BODY || exchange->stage == STAGE_DECIDED);
    exchange->has_waited = false;
    exchange->stage = STAGE_WAITING;
    exchange->is_held = true;
    mhd->held++;
    mhd->suspended++;
    deadline_clear(&mhd->deadlines, &exchange->link->deadline);
}

static void resume(struct request *request)
{
    struct exchange *exchange = container_of(request, struct exchange, request);
    struct mhd *mhd = exchange->mhd;
    must(exchange->stage == STAGE_WAITING);
    exchange->stage = STAGE_DECIDED;
    if (exchange->is_held && exchange->link) {
        exchange->is_held = false;
        mhd->held--;
        mhd->suspended--;
        mhd->news_of_held = true;
        return;
    }
    queue_add(&mhd->decided, exchange);
}

static const struct request_transport transport = {suspend, suspend_briefly, resume};

static void close_exchange(struct exchange *exchange);

static void resume_decided(struct mhd *mhd)
{
    struct exchange *exchange;
    while ((exchange = queue_take(&mhd->decided)) != NULL) {
        if (exchange->link) {
            resume_now(exchange);
            continue;
        }
        mhd->suspended--;
        close_exchange(exchange);
    }
}

/* ---- taking turns ---- */

/* A page takes milliseconds to make, and the library comes with all requests that have arrived,
 * be it hundreds, before the committer has its turn; one commit can make the news of as many that
 * waited for it. What there is no time for waits, so that nobody who appends waits for all of them. */
static bool put_off(struct exchange *exchange)
{
    struct mhd *mhd = exchange->mhd;
    if (!request_takes_long(&exchange->request) || exchange->has_waited ||
        (!mhd->put_off.first && api_now_us() < mhd->turn_end_us))
        return false;
    exchange->put_off_from = exchange->stage;
    queue_add(&mhd->put_off, exchange);
    suspend_in(exchange, STAGE_PUT_OFF);
    return true;
}

static void resume_put_off(struct mhd *mhd)
{
    if (!mhd->put_off.first || api_now_us() >= mhd->turn_end_us)
        return;
    struct exchange *exchange = queue_take(&mhd->put_off);
    exchange->stage = exchange->put_off_from;
    exchange->has_waited = true;
    resume_now(exchange);
}

/* ---- the life of an exchange ---- */

static int descriptor_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    must(info);
    return info->connect_fd;
}

static struct link *link_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* What a body of this capacity takes of that which all may hold together. */
static size_t shared_bytes(size_t capacity)
{
    return capacity > OWN_BODY_BYTES ? capacity - OWN_BODY_BYTES : 0;
}

static void drop_body(struct exchange *exchange)
{
    exchange->mhd->body_bytes -= shared_bytes(exchange->body_capacity);
    exchange->body_capacity = 0;
    free(TAKE(exchange->body));
}

/* NULL: no memory. */
static struct exchange *new_exchange(struct mhd *mhd)
{
    struct exchange *exchange = mhd->spare;
    if (exchange) {
        mhd->spare = exchange->next;
        mhd->spare_count--;
    } else {
        exchange = malloc(sizeof(*exchange));
    }
    if (exchange)
        memset(exchange, 0, EXCHANGE_CLEARED_BYTES);
    return exchange;
}

static void free_exchange(struct mhd *mhd, struct exchange *exchange)
{
    free(exchange->laid_out);
    if (mhd->spare_count == SPARE_MAX) {
        free(exchange);
        return;
    }
    exchange->next = mhd->spare;
    mhd->spare = exchange;
    mhd->spare_count++;
}

static void close_exchange(struct exchange *exchange)
{
    if (exchange->stage == STAGE_DECIDED) /* its client is found to be gone: nobody to tell */
        request_abandon(&exchange->request);
    exchange->mhd->answer_bytes -= exchange->answer_bytes;
    drop_body(exchange);
    request_close(&exchange->request);
    free_exchange(exchange->mhd, exchange);
}

static void end_exchange(struct link *link)
{
    struct exchange *exchange = TAKE(link->exchange);
    struct mhd *mhd = link->mhd;
    if (exchange->laid_out)
        wire_send_instead(descriptor_of(link->connection), NULL, 0);
    if (exchange->stage == STAGE_WAITING) {
        must(exchange->is_held);
        mhd->held--;
        exchange->link = NULL; /* closed by resume_decided() */
    } else {
        close_exchange(exchange);
    }
    deadline_set(&mhd->deadlines, &link->deadline, DEADLINE_IDLE);
}

/* What this returns is what serve() finds in *context. */
static void *target_seen(void *argument, const char *target, struct MHD_Connection *connection)
{
    struct mhd *mhd = argument;
    struct link *link = link_of(connection);
    size_t bytes = target ? strlen(target) : 0;
    size_t kept = (size_t)min_u64(bytes, HTTP_TARGET_BYTES_MAX);
    struct exchange *exchange = link ? new_exchange(mhd) : NULL;
    if (!exchange)
        return NULL;

    if (link->exchange) /* the library did not tell of its end */
        end_exchange(link);
    link->exchange = exchange;
    deadline_set(&mhd->deadlines, &link->deadline, DEADLINE_HEAD);
    exchange->mhd = mhd;
    exchange->link = link;
    exchange->target_bytes = bytes;
    if (kept > 0)
        memcpy(exchange->target, target, kept);
    exchange->target[kept] = '\0';
    request_open(&exchange->request, mhd->api, &transport);
    return exchange;
}

static void finished(void *argument, struct MHD_Connection *connection, void **context,
                     enum MHD_RequestTerminationCode reason)
{
    if (*context) {
        struct link *link = link_of(connection);
        link->mhd->answers_sent++;
        end_exchange(link);
    }
    *context = NULL;
}

/* ---- the life of a connection ---- */

static void connected(struct mhd *mhd, struct MHD_Connection *connection, void **context)
{
    struct link *link = calloc(1, sizeof(*link));
    if (link && wire_open(descriptor_of(connection)) < 0)
        free(TAKE(link));
    if (!link) { /* seen as an end by the library when it first looks at the connection */
        shutdown(descriptor_of(connection), SHUT_RDWR);
        return;
    }
    link->mhd = mhd;
    link->connection = connection;
    deadline_set(&mhd->deadlines, &link->deadline, DEADLINE_HEAD);
    *context = link;
}

static void connection_changed(void *argument, struct MHD_Connection *connection, void **context,
                               enum MHD_ConnectionNotificationCode code)
{
    struct mhd *mhd = argument;
    api_count_connection(mhd->api, code == MHD_CONNECTION_NOTIFY_STARTED);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connected(mhd, connection, context);
        return;
    }
    /* The library only listens again when it is run, and nothing else may wake it. */
    mhd->vacancy = true;
    wire_close(descriptor_of(connection));
    struct link *link = TAKE(*context);
    /* Some refusals of 0.9.75 end a request without finished(): more cookies than it has room for. */
    if (link && link->exchange)
        end_exchange(link);
    if (link)
        deadline_clear(&mhd->deadlines, &link->deadline);
    free(link);
}

/* The library takes no answer while a request is arriving, so this one goes past it: it has written
 * nothing then. The one exception is a refusal of its own, and what that left unsent is looked for. */
static void refuse_late(struct link *link)
{
    CLEANUP(text_done) struct text out = {0};
    struct response response = {0};
    int fd = descriptor_of(link->connection);
    int unsent = 0;

    if (ioctl(fd, SIOCOUTQ, &unsent) < 0 || unsent > 0)
        return;
    response_problem(&response, PROBLEM_TIMEOUT, NULL);
    head_begin(&out, response.status, "Request Timeout");
    head_add(&out, "Connection", "close");
    for (unsigned i = 0; i < response.header_count; i++)
        head_add(&out, response.headers[i].name, response.headers[i].value);
    cors_headers(&link->mhd->api->gate, link->exchange ? &link->exchange->request.facts : NULL,
                 head_add, &out);
    text_format(&out,
                "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                "Content-Length: %zu\r\n\r\n",
                response.body_bytes);
    text_add(&out, response.body, response.body_bytes);
    if (!out.failed)
        (void)send(fd, out.data, out.bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    response_clear(&response);
    api_count_late(link->mhd->api, link->exchange ? &link->exchange->request : NULL);
}

static void cut_off(struct link *link, enum deadline_kind kind)
{
    int fd = descriptor_of(link->connection);
    link->is_over = true;
    if (kind == DEADLINE_HEAD || kind == DEADLINE_BODY) {
        refuse_late(link);
    } else if (kind == DEADLINE_ANSWER) {
        /* What it does not take would otherwise stay in the kernel's memory for long. */
        struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    shutdown(fd, SHUT_RDWR);
}

static void cut_off_late(struct mhd *mhd)
{
    struct deadline *deadline;
    while ((deadline = deadlines_take(&mhd->deadlines)) != NULL)
        cut_off(container_of(deadline, struct link, deadline), deadline->kind);
}

/* ---- the answer ---- */

typedef bool add_header_fn(void *out, const char *name, const char *value);

/* Whoever may append chooses the type of a stream. Shown as a page, it would have this service's origin,
 * and with that all the rights of its visitor. */
static bool is_content(const struct request *request)
{
    return request->route && request->route->is_stream && request->route->method == HTTP_GET &&
           request->response.problem == 0;
}

/* All but those that say how the body is sent. */
static bool each_header(const struct exchange *exchange, add_header_fn *add, void *out)
{
    const struct request *request = &exchange->request;
    const struct response *response = &request->response;
    bool fine = true;
    bool has_cache_control = false;
    for (unsigned i = 0; i < response->header_count; i++) {
        fine = fine && add(out, response->headers[i].name, response->headers[i].value);
        if (strcmp(response->headers[i].name, "Cache-Control") == 0)
            has_cache_control = true;
    }
    if (!has_cache_control)
        fine = fine && add(out, "Cache-Control", "no-store");
    fine = fine && add(out, "X-Content-Type-Options", "nosniff");
    if (is_content(request))
        fine = fine && add(out, "Content-Security-Policy", "sandbox");
    fine = fine && cors_headers(&request->api->gate, &request->facts, add, out);
    if (response->close || exchange->request.follower || exchange->mhd->quiesced)
        fine = fine && add(out, "Connection", "close");
    return fine;
}

static bool add_header(void *out, const char *name, const char *value)
{
    return MHD_add_response_header(out, name, value) == MHD_YES;
}

/* Clients that do not take their answers cost no more than this. What has been done is told in any
 * case, and an answer that nothing else stands in the way of is never refused for its size. */
static void count_answer(struct exchange *exchange)
{
    struct mhd *mhd = exchange->mhd;
    const struct route *route = exchange->request.route;
    struct response *response = &exchange->request.response;
    if (response->body_bytes > SMALL_ANSWER_BYTES && route && !route->changes &&
        mhd->answer_bytes > 0 &&
        mhd->answer_bytes + response->body_bytes > mhd->answer_bytes_total) {
        response_clear(response);
        response_problem(
            response, PROBLEM_NO_MEMORY,
            "Too many answers wait for clients that are slow to take them. Send the "
            "request again after a moment; if that goes on, ask for less at a time, or "
            "start the service with a larger --answer-memory.");
    }
    exchange->answer_bytes = response->body_bytes;
    mhd->answer_bytes += response->body_bytes;
}

/* The answer is a stream of events. The library has nothing unsent of its own now, and knows no other
 * way to let go of a connection than to close it: so it closes one of two descriptors. What it has
 * read behind this request is not acted on any more, as Connection: close says. */
static bool give_away(struct exchange *exchange)
{
    CLEANUP(text_done) struct text head = {0};
    struct request *request = &exchange->request;
    int fd = descriptor_of(exchange->link->connection);
    int own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    head_begin(&head, request->response.status, "OK");
    each_header(exchange, head_add, &head);
    if (!exchange->is_old)
        head_add(&head, "Transfer-Encoding", "chunked");
    text_add(&head, "\r\n", 2);
    if (own_fd < 0 || head.failed) {
        if (own_fd >= 0)
            close(own_fd);
        follow_drop(request);
        response_clear(&request->response);
        response_problem(&request->response,
                         head.failed ? PROBLEM_NO_MEMORY : PROBLEM_TOO_MANY_FILES, NULL);
        return false;
    }
    wire_give_away(fd);
    follow_start(request, own_fd, &head, exchange->is_old);
    return true;
}

/* ---- short answers ----
 *
 * The library makes a response out of some thirty pieces of memory, which is an eighth of the CPU time of
 * an append. So a short answer is laid out here in one piece, and sent in place of a response that is
 * always the same: wire_send_instead(). That one says 500, should it ever be seen. */

#define SHORT_BODY_BYTES 512u

/* Whether the library has no part in it: it sends no body for HEAD, and does the closing. */
static bool is_short(const struct exchange *exchange)
{
    const struct request *request = &exchange->request;
    const struct response *response = &request->response;
    return response->status >= 200 && response->status <= 204 &&
           response->body_bytes <= SHORT_BODY_BYTES && !response->close &&
           !exchange->mhd->quiesced && !exchange->is_old && exchange->stage != STAGE_HEAD &&
           request->facts.method != HTTP_HEAD &&
           !MHD_lookup_connection_value(exchange->link->connection, MHD_HEADER_KIND, "Connection");
}

static enum MHD_Result answer_short(struct exchange *exchange)
{
    struct response *response = &exchange->request.response;
    struct text out = {0};
    head_begin(&out, response->status, MHD_get_reason_phrase_for(response->status));
    each_header(exchange, head_add, &out);
    if (response->status != 204) {
        text_add_string(&out, "Content-Length: ");
        text_add_number(&out, response->body_bytes);
        text_add(&out, "\r\n", 2);
    }
    text_add(&out, "\r\n", 2);
    text_add(&out, response->body, response->body_bytes);
    exchange->laid_out = out.data;
    if (out.failed ||
        MHD_queue_response(exchange->link->connection, 500, exchange->mhd->stand_in) != MHD_YES)
        return MHD_NO;
    wire_send_instead(descriptor_of(exchange->link->connection), out.data, out.bytes);
    return MHD_YES;
}

/* Hands the response over. Without memory to do so the connection is closed. */
static enum MHD_Result answer(struct exchange *exchange)
{
    struct response *response = &exchange->request.response;
    if (exchange->request.follower && give_away(exchange)) {
        exchange->stage = STAGE_ANSWERED;
        return MHD_NO;
    }
    count_answer(exchange);
    exchange->mhd->answers_begun++;
    deadline_set(&exchange->mhd->deadlines, &exchange->link->deadline, DEADLINE_ANSWER);
    if (is_short(exchange)) {
        enum MHD_Result result = answer_short(exchange);
        exchange->stage = STAGE_ANSWERED;
        drop_body(exchange);
        return result;
    }
    struct MHD_Response *out = MHD_create_response_from_buffer(response->body_bytes, response->body,
                                                               MHD_RESPMEM_MUST_FREE);
    if (!out)
        return MHD_NO;
    response->body = NULL; /* it is the library's now */
    response->body_bytes = 0;

    enum MHD_Result result = MHD_NO;
    if (each_header(exchange, add_header, out))
        result = MHD_queue_response(exchange->link->connection, response->status, out);
    MHD_destroy_response(out);
    exchange->stage = STAGE_ANSWERED;
    drop_body(exchange);
    return result;
}

/* ---- the head ---- */

static enum MHD_Result collect_header(void *argument, enum MHD_ValueKind kind, const char *name,
                                      size_t name_bytes, const char *value, size_t value_bytes)
{
    struct http_head *head = argument;
    if (head->header_count < HTTP_HEADERS_MAX)
        head->headers[head->header_count] =
            (struct http_header){name, value ? value : "", name_bytes, value_bytes};
    head->header_count++;
    return MHD_YES;
}

static enum MHD_Result begin(struct exchange *exchange, const char *method, const char *version)
{
    struct http_head head;
    if (!wire_head_was_seen(descriptor_of(exchange->link->connection)))
        return MHD_NO;
    head.method = method;
    head.version = version;
    exchange->is_old = strcmp(version, "HTTP/1.0") == 0;
    head.target = exchange->target;
    head.target_bytes = exchange->target_bytes;
    head.header_count = 0;
    deadline_set(&exchange->mhd->deadlines, &exchange->link->deadline, DEADLINE_BODY);
    MHD_get_connection_values_n(exchange->link->connection, MHD_HEADER_KIND, collect_header, &head);

    switch (request_begin(&exchange->request, &head, exchange->target)) {
    case BEGIN_READ: exchange->stage = STAGE_BODY; return MHD_YES;
    case BEGIN_SWALLOW: exchange->stage = STAGE_SWALLOW; return MHD_YES;
    case BEGIN_REFUSE: break;
    }
    return answer(exchange);
}

/* ---- the body ---- */

/* Grows with what has arrived, not with what was announced: an announcement costs the client
 * nothing. False: the answer says why not. */
static bool make_room(struct exchange *exchange, size_t bytes)
{
    struct request *request = &exchange->request;
    struct mhd *mhd = exchange->mhd;
    if (bytes > request->body_bytes_max - request->body_bytes) {
        request_refuse_size(request);
        return false;
    }
    size_t wanted = request->body_bytes + bytes;
    if (wanted <= exchange->body_capacity)
        return true;

    uint64_t left = mhd->body_bytes_total - mhd->body_bytes;
    size_t capacity = (size_t)min_u64(max_u64(wanted, 2 * (uint64_t)exchange->body_capacity),
                                      request->body_bytes_max);
    if (shared_bytes(capacity) - shared_bytes(exchange->body_capacity) > left)
        capacity = wanted; /* no more than it needs then */
    size_t more = shared_bytes(capacity) - shared_bytes(exchange->body_capacity);
    char *body = more <= left ? realloc(exchange->body, capacity) : NULL;
    if (!body) {
        request_refuse_memory(request);
        return false;
    }
    mhd->body_bytes += more;
    exchange->body = body;
    exchange->body_capacity = capacity;
    return true;
}

/* MHD_NO cuts the connection off. */
static enum MHD_Result take_body(struct exchange *exchange, const char *data, size_t bytes)
{
    if (exchange->stage == STAGE_BODY && !make_room(exchange, bytes)) {
        exchange->stage = STAGE_SWALLOW;
        drop_body(exchange);
    }
    if (exchange->stage == STAGE_SWALLOW) {
        exchange->swallowed_bytes += bytes;
        return exchange->swallowed_bytes <= REFUSED_BODY_BYTES_MAX ? MHD_YES : MHD_NO;
    }
    must(exchange->stage == STAGE_BODY);
    if (bytes == 0)
        return MHD_YES;
    memcpy(exchange->body + exchange->request.body_bytes, data, bytes);
    exchange->request.body_bytes += bytes;
    return MHD_YES;
}

static enum MHD_Result serve(void *argument, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *body,
                             size_t *body_bytes, void **context)
{
    struct exchange *exchange = *context;
    if (!exchange || exchange->link->is_over) /* there was no memory for it; or it is too late */
        return MHD_NO;
    if (exchange->stage == STAGE_HEAD)
        return begin(exchange, method, version);
    /* Without a body, too, if the client has been told to go on with it and more requests are there
     * already: the library takes no answer then, and comes once more. */
    if (body) {
        size_t bytes = *body_bytes;
        *body_bytes = 0;
        return take_body(exchange, body, bytes);
    }
    switch (exchange->stage) {
    case STAGE_BODY:
        if (put_off(exchange))
            return MHD_YES;
        exchange->request.body = exchange->body;
        if (request_answer(&exchange->request) == PROGRESS_WAITING)
            return MHD_YES;
        break;
    case STAGE_DECIDED:
        if (put_off(exchange))
            return MHD_YES;
        if (request_finish(&exchange->request) == PROGRESS_WAITING)
            return MHD_YES;
        break;
    case STAGE_WAITING: must(exchange->is_held); return MHD_YES;
    default: must(exchange->stage == STAGE_SWALLOW); break;
    }
    return answer(exchange);
}

/* ---- the daemon ---- */

/* Nothing is decoded: the raw target is what counts. */
static size_t leave_as_is(void *argument, struct MHD_Connection *connection, char *text)
{
    return strlen(text);
}

_Noreturn static void panic(void *argument, const char *file, unsigned line, const char *reason)
{
    must_failed(reason ? reason : "libmicrohttpd gave up", file, (int)line, "libmicrohttpd");
}

static size_t connection_bytes(const struct mhd *mhd, const struct mhd_config *config)
{
    return config->header_bytes_max + CONNECTION_OWN_BYTES +
           (cors_is_open(&mhd->api->gate) ? CONNECTION_CORS_BYTES : 0);
}

static struct MHD_Daemon *start_daemon(struct mhd *mhd, const struct mhd_config *config)
{
    MHD_set_panic_func(panic, NULL);
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, serve, mhd,
        MHD_OPTION_LISTEN_SOCKET, config->listen_fd, MHD_OPTION_URI_LOG_CALLBACK, target_seen, mhd,
        MHD_OPTION_NOTIFY_COMPLETED, finished, NULL, MHD_OPTION_NOTIFY_CONNECTION,
        connection_changed, mhd, MHD_OPTION_UNESCAPE_CALLBACK, leave_as_is, NULL, STRICTNESS, 1,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, connection_bytes(mhd, config),
        MHD_OPTION_CONNECTION_LIMIT, config->connections_max, MHD_OPTION_END);
}

int mhd_open(struct mhd **ret_mhd, const struct mhd_config *config, struct api *api)
{
    struct mhd *mhd = calloc(1, sizeof(*mhd));
    if (!mhd)
        return -ENOMEM;
    mhd->api = api;
    mhd->body_bytes_total = config->body_bytes_total;
    mhd->answer_bytes_total = config->answer_bytes_total;
    deadlines_init(&mhd->deadlines,
                   (const uint64_t[DEADLINE_KINDS]){
                       [DEADLINE_HEAD] = config->header_timeout_us,
                       [DEADLINE_BODY] = config->body_timeout_us,
                       [DEADLINE_ANSWER] = config->answer_timeout_us,
                       [DEADLINE_IDLE] = config->idle_timeout_us,
                   },
                   api_now_us());
    queue_init(&mhd->decided);
    queue_init(&mhd->put_off);
    mhd->stand_in = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    mhd->daemon = mhd->stand_in ? start_daemon(mhd, config) : NULL;
    if (!mhd->daemon) { /* which has closed the socket or not, depending on the reason */
        if (mhd->stand_in)
            MHD_destroy_response(mhd->stand_in);
        free(mhd);
        return -EIO;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(mhd->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    must(info && info->epoll_fd >= 0);
    mhd->poll_fd = info->epoll_fd;
    *ret_mhd = mhd;
    return 0;
}

int mhd_poll_fd(const struct mhd *mhd)
{
    return mhd->poll_fd;
}

/* Whether the library has work that no descriptor tells of. While connections are held it always says
 * so itself, because of them: then there is more to do if it has been given answers in the round that
 * has passed, or a call took or gave all that it could. */
static bool is_pending(struct mhd *mhd)
{
    MHD_UNSIGNED_LONG_LONG left_ms;
    if (mhd->vacancy || mhd->news_of_held)
        return true;
    if (mhd->held > 0)
        return mhd->answers_begun > 0 || wire_traffic.filled > 0 ||
               wire_traffic.sent > mhd->answers_sent;
    return MHD_get_timeout(mhd->daemon, &left_ms) == MHD_YES && left_ms == 0;
}

uint64_t mhd_run(struct mhd *mhd)
{
    bool pending = true;

    uint64_t now_us = api_now_us();
    mhd->turn_end_us = now_us + TURN_US;
    deadlines_look(&mhd->deadlines, now_us, mhd->wait_us);
    resume_decided(mhd);
    for (int round = 0; round < ROUNDS_MAX && pending; round++) {
        mhd->vacancy = false;
        mhd->news_of_held = false;
        mhd->answers_begun = mhd->answers_sent = 0;
        wire_traffic.filled = wire_traffic.sent = 0;
        resume_put_off(mhd);
        must(MHD_run(mhd->daemon) == MHD_YES);
        pending = is_pending(mhd);
    }
    deadlines_look(&mhd->deadlines, api_now_us(), 0);
    cut_off_late(mhd);

    /* What is decided already was refused at once, or has waited long enough. */
    uint64_t timer_us = min_u64(api_run_timers(mhd->api), follow_run(mhd->api));
    timer_us = min_u64(timer_us, life_run(mhd->api));
    bool waits = !pending && !mhd->decided.first && !mhd->put_off.first;
    mhd->wait_us = waits ? min_u64(deadlines_wait_us(&mhd->deadlines), timer_us) : 0;
    return mhd->wait_us;
}

unsigned mhd_suspended(const struct mhd *mhd)
{
    return mhd->suspended;
}

const char *mhd_library_version(void)
{
    return MHD_get_version();
}

void mhd_quiesce(struct mhd *mhd)
{
    mhd->quiesced = true;
    MHD_socket fd = MHD_quiesce_daemon(mhd->daemon);
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
}

void mhd_close(struct mhd *mhd)
{
    if (!mhd)
        return;
    must(mhd->suspended == 0);
    MHD_stop_daemon(mhd->daemon);
    MHD_destroy_response(mhd->stand_in);
    must(mhd->body_bytes == 0 && mhd->answer_bytes == 0);
    wire_done();
    while (mhd->spare) {
        struct exchange *exchange = mhd->spare;
        mhd->spare = exchange->next;
        free(exchange);
    }
    free(mhd);
}
