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
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/cors.h"
#include "api/deadline.h"
#include "api/errors.h"
#include "api/exchange.h"
#include "api/head.h"
#include "api/link.h"
#include "api/park.h"
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

/* How long a turn of mhd_run() goes on beginning answers that take long. */
#define TURN_US 5000

/* Connections that wait for a commit without being suspended. */
#define HELD_MAX 512

/* Parked connections that are given back to the library in a round. */
#define RETURNS_MAX 32

/* Of those who have hung up while they were parked, how many are looked at in a turn. */
#define GONE_MAX 128

struct mhd {
    struct MHD_Daemon *daemon;
    struct api *api;
    int poll_fd;
    struct exchanges exchanges;
    unsigned suspended;
    unsigned held;        /* of those, the ones that the library does not know to wait */
    bool news_of_held;    /* some have been decided, and are not answered yet */
    unsigned left_behind; /* requests without a connection, but for those that are parked */
    unsigned answers_begun, answers_sent; /* in this round of the library */
    bool quiesced;
    const struct sockaddr *arriving; /* whose connection is being adopted */
    bool vacancy; /* a connection has been closed: the library looks for another when it is run */

    struct deadlines deadlines;
    uint64_t wait_us; /* what mhd_run() returned last */

    struct queue decided; /* in the order of decision */

    struct parking parking;
    struct queue returning;         /* those of the parked that have been decided, in that order */
    struct link *returned;          /* the one that the library is being given */
    unsigned open, connections_max; /* connections of the library; those and the parked at most */

    struct MHD_Response *stand_in; /* for short answers */

    uint64_t turn_end_us;
    struct queue put_off; /* in the order of arrival */
};

/* ---- suspending and resuming ---- */

static void suspend_in(struct exchange *exchange, enum stage stage)
{
    struct link *link = exchange->link;
    exchange->stage = stage;
    exchange->mhd->suspended++;
    if (!link) /* its client is gone: see leave_behind() */
        return;
    deadline_clear(&link->mhd->deadlines, &link->deadline);
    wire_hide_end(link->fd, true);
    MHD_suspend_connection(link->connection);
}

static void carry_on(struct exchange *exchange);

static void resume_now(struct exchange *exchange)
{
    exchange->mhd->suspended--;
    if (exchange->link)
        MHD_resume_connection(exchange->link->connection);
    else
        carry_on(exchange);
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
    if (!exchange->link || mhd->held + mhd->left_behind >= HELD_MAX) {
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

/* What comes of it is known when serve() is done with the request. */
static void suspend_for_long(struct request *request)
{
    struct exchange *exchange = container_of(request, struct exchange, request);
    must(exchange->stage == STAGE_BODY || exchange->stage == STAGE_DECIDED);
    exchange->has_waited = false;
    exchange->waits_long = true;
    exchange->stage = STAGE_WAITING;
    exchange->mhd->suspended++;
    deadline_clear(&exchange->mhd->deadlines, &exchange->link->deadline);
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
    queue_add(exchange->is_parked ? &mhd->returning : &mhd->decided, exchange);
}

static const struct request_transport transport = {suspend, suspend_briefly, suspend_for_long,
                                                   resume};

static void resume_decided(struct mhd *mhd)
{
    struct exchange *exchange;
    while ((exchange = queue_take(&mhd->decided)) != NULL)
        resume_now(exchange);
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

/* Its client is gone, and what it asked for is done all the same: if it waits for a commit, or was there
 * whole and has to change something yet. The library's head is still there. */
static bool leave_behind(struct exchange *exchange)
{
    struct mhd *mhd = exchange->mhd;
    struct request *request = &exchange->request;
    if (exchange->stage == STAGE_WAITING) {
        must(exchange->is_held);
        mhd->held--;
        request_forget_head(request);
    } else {
        if (!exchange_is_unfinished(exchange) || mhd->left_behind >= mhd->connections_max ||
            !request_keep_head(request))
            return false;
        mhd->suspended++;
        queue_add(&mhd->decided, exchange);
    }
    mhd->left_behind++;
    exchange->link = NULL;
    return true;
}

static void carry_on(struct exchange *exchange)
{
    struct mhd *mhd = exchange->mhd;
    if (put_off(exchange) || exchange_carry_on(exchange) == PROGRESS_WAITING)
        return;
    mhd->left_behind--;
    exchange_close(exchange);
}

static void end_exchange(struct link *link)
{
    struct exchange *exchange = TAKE(link->exchange);
    if (exchange->laid_out)
        wire_send_instead(link->fd, NULL, 0);
    if (!leave_behind(exchange))
        exchange_close(exchange);
    deadline_set(&link->mhd->deadlines, &link->deadline, DEADLINE_IDLE);
}

static struct exchange *come_back(struct link *link)
{
    struct exchange *exchange = TAKE(link->returning);
    exchange->link = link;
    exchange->is_again = true;
    link->exchange = exchange;
    deadline_clear(&link->mhd->deadlines, &link->deadline);
    return exchange;
}

/* What this returns is what serve() finds in *context. */
static void *target_seen(void *argument, const char *target, struct MHD_Connection *connection)
{
    struct mhd *mhd = argument;
    struct link *link = link_of(connection);
    if (link && link->returning)
        return come_back(link);
    size_t bytes = target ? strlen(target) : 0;
    size_t kept = (size_t)min_u64(bytes, HTTP_TARGET_BYTES_MAX);
    struct exchange *exchange = link ? exchange_new(&mhd->exchanges) : NULL;
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
    exchange->request.client = clients_hold(link->client);
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

/* What is taken beyond the limit waits in the kernel. Of those who are parked one at least has no place
 * here, so there is a connection that the library can close (see wire_is_full). */
static void count_places(struct mhd *mhd)
{
    wire_is_full = mhd->open + mhd->parking.count >= mhd->connections_max;
    api_count_parked(mhd->api, mhd->parking.count);
}

/* Of the other side; NULL: it has none that is known. */
static const struct sockaddr *address_of(const struct mhd *mhd, struct MHD_Connection *connection)
{
    if (mhd->arriving)
        return mhd->arriving;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    return info ? info->client_addr : NULL;
}

static void connected(struct mhd *mhd, struct MHD_Connection *connection, void **context)
{
    mhd->open++;
    count_places(mhd);
    if (mhd->returned) {
        mhd->returned->connection = connection;
        mhd->returned->fd = descriptor_of(connection);
        deadline_set(&mhd->deadlines, &mhd->returned->deadline, DEADLINE_HEAD);
        *context = TAKE(mhd->returned);
        return;
    }
    api_count_connection(mhd->api, true);
    struct link *link = calloc(1, sizeof(*link));
    if (link && !api_connect(mhd->api, address_of(mhd, connection), &link->client))
        free(TAKE(link));
    if (link && wire_open(descriptor_of(connection)) < 0) {
        api_disconnect(mhd->api, link->client);
        free(TAKE(link));
    }
    if (!link) { /* seen as an end by the library when it first looks at the connection */
        shutdown(descriptor_of(connection), SHUT_RDWR);
        return;
    }
    link->mhd = mhd;
    link->api = mhd->api;
    link->connection = connection;
    link->fd = descriptor_of(connection);
    deadline_set(&mhd->deadlines, &link->deadline, DEADLINE_HEAD);
    *context = link;
}

static void connection_changed(void *argument, struct MHD_Connection *connection, void **context,
                               enum MHD_ConnectionNotificationCode code)
{
    struct mhd *mhd = argument;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connected(mhd, connection, context);
        return;
    }
    /* The library only listens again when it is run, and nothing else may wake it. */
    mhd->vacancy = true;
    struct link *link = TAKE(*context);
    mhd->open--;
    count_places(mhd);
    if (!link || !link->goes_on)
        api_count_connection(mhd->api, false);
    /* Some refusals of 0.9.75 end a request without finished(): more cookies than it has room for. */
    if (link && link->exchange)
        end_exchange(link);
    if (link && link->returning)
        exchange_close(link->returning);
    wire_close(descriptor_of(connection));
    if (link) {
        deadline_clear(&mhd->deadlines, &link->deadline);
        if (!link->goes_on)
            api_disconnect(mhd->api, link->client);
    }
    free(link);
}

static void cut_off_late(struct mhd *mhd)
{
    struct deadline *deadline;
    while ((deadline = deadlines_take(&mhd->deadlines)) != NULL)
        link_cut_off(container_of(deadline, struct link, deadline), deadline->kind);
}

/* ---- the answer ---- */

/* All headers but those that say how the body is sent. */
static bool each_header(const struct exchange *exchange, add_header_fn *add, void *out)
{
    const struct request *request = &exchange->request;
    bool last = request->response.close || request->follower || exchange->mhd->quiesced;
    return head_each(request, last, add, out);
}

static bool add_header(void *out, const char *name, const char *value)
{
    return MHD_add_response_header(out, name, value) == MHD_YES;
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
    head_lay_out(&out, &exchange->request, MHD_get_reason_phrase_for(response->status));
    exchange->laid_out = out.data;
    if (out.failed ||
        MHD_queue_response(exchange->link->connection, 500, exchange->mhd->stand_in) != MHD_YES)
        return MHD_NO;
    wire_send_instead(exchange->link->fd, out.data, out.bytes);
    return MHD_YES;
}

/* Hands the response over. Without memory to do so the connection is closed. */
static enum MHD_Result answer(struct exchange *exchange)
{
    struct response *response = &exchange->request.response;
    if (exchange->request.follower && exchange_give_away(exchange, exchange->link->fd)) {
        exchange->stage = STAGE_ANSWERED;
        return MHD_NO;
    }
    wire_hide_end(exchange->link->fd, false);
    exchange_count_answer(exchange);
    request_count_bytes(&exchange->request, response->body_bytes);
    exchange->mhd->answers_begun++;
    deadline_set(&exchange->mhd->deadlines, &exchange->link->deadline, DEADLINE_ANSWER);
    if (is_short(exchange)) {
        enum MHD_Result result = answer_short(exchange);
        exchange->stage = STAGE_ANSWERED;
        exchange_drop_body(exchange);
        return result;
    }
    struct MHD_Response *out = MHD_create_response_from_buffer(response->body_bytes, response->body,
                                                               MHD_RESPMEM_MUST_FREE);
    if (!out) {
        exchange->stage = STAGE_ANSWERED; /* the request has been decided all the same */
        return MHD_NO;
    }
    response->body = NULL; /* it is the library's now */
    response->body_bytes = 0;

    enum MHD_Result result = MHD_NO;
    if (each_header(exchange, add_header, out))
        result = MHD_queue_response(exchange->link->connection, response->status, out);
    MHD_destroy_response(out);
    exchange->stage = STAGE_ANSWERED;
    exchange_drop_body(exchange);
    return result;
}

/* ---- waiting outside ---- */

static enum MHD_Result print_again(void *out, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    park_print_header(out, name, value ? value : "");
    return MHD_YES;
}

/* The head as it has been admitted, but for the target, which the exchange keeps. */
static void print_request(const struct exchange *exchange, struct text *head)
{
    text_format(head, "%s / HTTP/1.%c\r\n", gate_method_name(exchange->request.facts.method),
                exchange->is_old ? '0' : '1');
    MHD_get_connection_values(exchange->link->connection, MHD_HEADER_KIND, print_again, head);
    text_add(head, "\r\n", 2);
}

/* The library walks past every suspended connection whenever it resumes one, and keeps its memory. So
 * it is told to close this one, as with a stream of events, and is given it again once there is an
 * answer; it then reads the head a second time, and comes to serve() with the same exchange. Only if
 * nothing else that the client has sent is in its hands. */
static bool park(struct exchange *exchange)
{
    CLEANUP(text_done) struct text head = {0};
    struct mhd *mhd = exchange->mhd;
    struct link *link = exchange->link;
    int fd = link->fd;
    if (exchange->stage != STAGE_WAITING || mhd->quiesced || !wire_is_between(fd))
        return false;
    print_request(exchange, &head);
    if (!park_begin(&mhd->parking, &exchange->parked, fd, &head))
        return false;
    wire_give_away(fd);
    request_forget_head(&exchange->request);
    exchange->is_parked = true;
    exchange->link = NULL;
    link->exchange = NULL;
    link->goes_on = true;
    count_places(mhd);
    return true;
}

/* What the library has to do with a connection whose request waits. */
static enum MHD_Result wait_for_news(struct exchange *exchange, void **context)
{
    if (!exchange->waits_long)
        return MHD_YES;
    exchange->waits_long = false;
    if (park(exchange)) {
        *context = NULL;
        return MHD_NO;
    }
    wire_hide_end(exchange->link->fd, true);
    MHD_suspend_connection(exchange->link->connection);
    return MHD_YES;
}

/* Who sends no more perhaps still reads, so it is answered; and the library finds out the rest. */
static void answer_those_who_left(struct mhd *mhd)
{
    struct parked *gone[GONE_MAX];
    unsigned count = parking_look(&mhd->parking, gone, GONE_MAX);
    for (unsigned i = 0; i < count; i++) {
        struct exchange *exchange = container_of(gone[i], struct exchange, parked);
        if (exchange->stage == STAGE_WAITING)
            watch_end(&exchange->request);
    }
}

/* It has not come to connected(). */
static void drop_returning(struct mhd *mhd, struct exchange *exchange, int library_fd)
{
    wire_close(library_fd);
    free(TAKE(mhd->returned));
    api_disconnect(mhd->api, exchange->request.client);
    exchange_close(exchange);
    api_count_connection(mhd->api, false);
}

static void give_back(struct mhd *mhd, struct exchange *exchange)
{
    struct sockaddr_in nobody = {.sin_family = AF_INET}; /* nothing looks at it */
    struct link *link = calloc(1, sizeof(*link));
    int fd = exchange->parked.fd;
    park_end(&mhd->parking, &exchange->parked);
    exchange->is_parked = false;
    mhd->suspended--;
    if (link)
        *link = (struct link){
            .mhd = mhd, .api = mhd->api, .returning = exchange, .client = exchange->request.client};
    mhd->returned = link;
    int library_fd = park_reopen(&exchange->parked);
    if (link && library_fd >= 0 &&
        MHD_add_connection(mhd->daemon, library_fd, (struct sockaddr *)&nobody, sizeof(nobody)) ==
            MHD_YES) {
        /* What is to be read first does not come from the socket, so nothing tells of it. */
        MHD_suspend_connection(link->connection);
        MHD_resume_connection(link->connection);
    } else {
        head_refuse(fd, PROBLEM_NO_MEMORY, "Service Unavailable", &mhd->api->gate, NULL);
        if (mhd->returned || !link)
            drop_returning(mhd, exchange, library_fd);
        if (!link && library_fd >= 0)
            close(library_fd);
    }
    count_places(mhd);
    close(fd);
}

/* A few in each round, and none before those are through that have been put off: what they ask for
 * takes longer than this. */
static void give_back_some(struct mhd *mhd)
{
    for (unsigned i = 0; i < RETURNS_MAX; i++) {
        if (!mhd->returning.first || mhd->put_off.first || api_now_us() >= mhd->turn_end_us)
            return;
        give_back(mhd, queue_take(&mhd->returning));
    }
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
    if (!wire_head_was_seen(exchange->link->fd))
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

static enum MHD_Result begin_again(struct exchange *exchange, const char *method,
                                   const char *version)
{
    struct http_head head = {.method = method, .version = version, .target = "/"};
    head.target_bytes = 1;
    exchange->is_again = false;
    if (!wire_head_was_seen(exchange->link->fd))
        return MHD_NO;
    MHD_get_connection_values_n(exchange->link->connection, MHD_HEADER_KIND, collect_header, &head);
    return request_read_again(&exchange->request, &head) ? MHD_YES : MHD_NO;
}

/* ---- the calls of the library ---- */

static enum MHD_Result serve(void *argument, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *body,
                             size_t *body_bytes, void **context)
{
    struct exchange *exchange = *context;
    if (!exchange || exchange->link->is_over) /* there was no memory for it; or it is too late */
        return MHD_NO;
    if (exchange->stage == STAGE_HEAD)
        return begin(exchange, method, version);
    if (exchange->is_again)
        return begin_again(exchange, method, version);
    /* Without a body, too, if the client has been told to go on with it and more requests are there
     * already: the library takes no answer then, and comes once more. */
    if (body) {
        size_t bytes = *body_bytes;
        *body_bytes = 0;
        return exchange_take_body(exchange, body, bytes) ? MHD_YES : MHD_NO;
    }
    switch (exchange->stage) {
    case STAGE_BODY:
        if (put_off(exchange))
            return MHD_YES;
        exchange->request.body = exchange->body;
        if (request_answer(&exchange->request) == PROGRESS_WAITING)
            return wait_for_news(exchange, context);
        break;
    case STAGE_DECIDED:
        if (put_off(exchange))
            return MHD_YES;
        if (request_finish(&exchange->request) == PROGRESS_WAITING)
            return wait_for_news(exchange, context);
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
    bool listens = config->listen_fd >= 0;
    struct MHD_OptionItem own[] = {{MHD_OPTION_LISTEN_SOCKET, config->listen_fd, NULL},
                                   {MHD_OPTION_END, 0, NULL}};
    MHD_set_panic_func(panic, NULL);
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (listens ? 0 : MHD_USE_NO_LISTEN_SOCKET), 0,
        NULL, NULL, serve, mhd, MHD_OPTION_ARRAY, listens ? own : own + 1,
        MHD_OPTION_URI_LOG_CALLBACK, target_seen, mhd, MHD_OPTION_NOTIFY_COMPLETED, finished, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, connection_changed, mhd, MHD_OPTION_UNESCAPE_CALLBACK,
        leave_as_is, NULL, STRICTNESS, 1, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        connection_bytes(mhd, config), MHD_OPTION_CONNECTION_LIMIT, config->connections_max,
        MHD_OPTION_END);
}

int mhd_open(struct mhd **ret_mhd, const struct mhd_config *config, struct api *api)
{
    struct mhd *mhd = calloc(1, sizeof(*mhd));
    if (!mhd)
        return -ENOMEM;
    mhd->api = api;
    mhd->exchanges.body_bytes_total = config->body_bytes_total;
    mhd->exchanges.answer_bytes_total = config->answer_bytes_total;
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
    queue_init(&mhd->returning);
    mhd->connections_max = config->connections_max;
    int rc = parking_open(&mhd->parking, config->connections_max - 1);
    if (rc < 0) {
        free(mhd);
        return rc;
    }
    mhd->stand_in = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    mhd->daemon = mhd->stand_in ? start_daemon(mhd, config) : NULL;
    if (!mhd->daemon) { /* which has closed the socket or not, depending on the reason */
        if (mhd->stand_in)
            MHD_destroy_response(mhd->stand_in);
        parking_close(&mhd->parking);
        free(mhd);
        return -EIO;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(mhd->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    must(info && info->epoll_fd >= 0);
    mhd->poll_fd = info->epoll_fd;
    *ret_mhd = mhd;
    return 0;
}

bool mhd_has_room(const struct mhd *mhd)
{
    return !mhd->quiesced && !wire_is_full;
}

void mhd_adopt(struct mhd *mhd, int fd, const struct sockaddr *client)
{
    const struct sockaddr here = {.sa_family = AF_UNIX};         /* so it sets no options of TCP */
    deadlines_look(&mhd->deadlines, api_now_us(), mhd->wait_us); /* before any is set */
    mhd->arriving = client;
    (void)MHD_add_connection(mhd->daemon, fd, &here, sizeof(here.sa_family));
    mhd->arriving = NULL;
}

int mhd_poll_fd(const struct mhd *mhd)
{
    return mhd->poll_fd;
}

int mhd_parking_fd(const struct mhd *mhd)
{
    return mhd->parking.epoll_fd;
}

/* Whether the library has work that no descriptor tells of. While connections are held it always says
 * so itself, because of them: then there is more to do if it has been given answers in the round that
 * has passed, or a call took or gave all that it could. */
static bool is_pending(struct mhd *mhd)
{
    MHD_UNSIGNED_LONG_LONG left_ms;
    if (mhd->vacancy || mhd->news_of_held || mhd->returning.first)
        return true;
    if (mhd->held > 0)
        return mhd->answers_begun > 0 || wire_traffic.filled > 0 ||
               wire_traffic.sent > mhd->answers_sent;
    return MHD_get_timeout(mhd->daemon, &left_ms) == MHD_YES && left_ms == 0;
}

uint64_t mhd_run(struct mhd *mhd)
{
    bool pending = true;
    api_count_turn(mhd->api);

    uint64_t now_us = api_now_us();
    mhd->turn_end_us = now_us + TURN_US;
    deadlines_look(&mhd->deadlines, now_us, mhd->wait_us);
    answer_those_who_left(mhd);
    resume_decided(mhd);
    for (int round = 0; round < ROUNDS_MAX && pending; round++) {
        mhd->vacancy = false;
        mhd->news_of_held = false;
        mhd->answers_begun = mhd->answers_sent = 0;
        wire_traffic.filled = wire_traffic.sent = 0;
        resume_put_off(mhd);
        give_back_some(mhd);
        must(MHD_run(mhd->daemon) == MHD_YES);
        pending = is_pending(mhd);
    }
    deadlines_look(&mhd->deadlines, api_now_us(), 0);
    cut_off_late(mhd);

    /* What is decided already was refused at once, or has waited long enough. */
    uint64_t timer_us = min_u64(api_run_timers(mhd->api), follow_run(mhd->api));
    timer_us = min_u64(timer_us, life_run(mhd->api));
    timer_us = min_u64(timer_us, upkeep_run(mhd->api));
    bool waits = !pending && !mhd->decided.first && !mhd->put_off.first && !mhd->returning.first;
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
    parking_close(&mhd->parking);
    exchanges_done(&mhd->exchanges);
    wire_done();
    free(mhd);
}
