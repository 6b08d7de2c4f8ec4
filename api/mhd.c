/*
 * Sockets to requests and back, on libmicrohttpd: the only file that knows it.
 *
 * The library runs on our loop and on our thread (its own epoll thread stalls when exactly 128·k
 * sockets are ready, in all releases up to 1.0.1). Each request is an exchange:
 *
 *   target_seen()   the request line is there; nothing has been decoded or cut off yet
 *   serve()         first call: the head is complete, and is judged
 *   serve()         once for each piece of the body
 *   serve()         the body is complete: answered, or suspended and on its way to the disk
 *   serve()         after the resume: the answer
 *   finished()      the answer is out, or the connection is gone
 *
 * An append is decided by the store's committer, which this thread drives too. Its handler only
 * puts the exchange on the list `decided`; mhd_run() resumes all of them together. A resume from any
 * other thread would be lost by 0.9.75. While suspended, a connection has no timeout, and stopping
 * the library would abort the process: so the loop does not close before all have been answered.
 */
#include "api/mhd.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/request.h"
#include "wal/base.h"

/* The library clears this much for every request; bodies pass through it in pieces. */
#define CONNECTION_BYTES 8192

/* Rounds of mhd_run() before the loop looks after the committer again. */
#define ROUNDS_MAX 8

/* What is read of a body after it has been refused, in the hope of its end. */
#define REFUSED_BODY_BYTES_MAX (4u << 20)

enum stage {
    STAGE_HEAD,     /* the target is known, the headers are not */
    STAGE_BODY,     /* collecting the body */
    STAGE_SWALLOW,  /* the response is there, and waits for the body to pass */
    STAGE_WAITING,  /* suspended */
    STAGE_DECIDED,  /* to be resumed, or resumed and to be finished */
    STAGE_ANSWERED, /* the response has been handed over */
};

struct exchange {
    struct request request;
    struct mhd *mhd;
    struct MHD_Connection *connection;
    enum stage stage;
    struct exchange *next_decided;

    char *body;
    size_t body_capacity;
    uint64_t swallowed_bytes;

    size_t target_bytes;
    char target[]; /* raw; taken apart by request_begin() */
};

struct mhd {
    struct MHD_Daemon *daemon;
    struct api *api;
    int poll_fd;
    uint64_t body_bytes_total, body_bytes;
    bool quiesced;

    struct exchange *decided, **decided_end; /* in the order of decision */
};

/* ---- suspending and resuming ---- */

static void suspend(struct request *request)
{
    struct exchange *exchange = container_of(request, struct exchange, request);
    must(exchange->stage == STAGE_BODY);
    exchange->stage = STAGE_WAITING;
    MHD_suspend_connection(exchange->connection);
}

static void resume(struct request *request)
{
    struct exchange *exchange = container_of(request, struct exchange, request);
    must(exchange->stage == STAGE_WAITING);
    exchange->stage = STAGE_DECIDED;
    exchange->next_decided = NULL;
    *exchange->mhd->decided_end = exchange;
    exchange->mhd->decided_end = &exchange->next_decided;
}

static const struct request_transport transport = {suspend, resume};

static void resume_decided(struct mhd *mhd)
{
    struct exchange *exchange = TAKE(mhd->decided);
    mhd->decided_end = &mhd->decided;
    while (exchange) {
        struct exchange *next = exchange->next_decided;
        MHD_resume_connection(exchange->connection);
        exchange = next;
    }
}

/* ---- the life of an exchange ---- */

/* What this returns is what serve() finds in *context. */
static void *target_seen(void *argument, const char *target, struct MHD_Connection *connection)
{
    struct mhd *mhd = argument;
    size_t bytes = target ? strlen(target) : 0;
    size_t kept = (size_t)min_u64(bytes, HTTP_TARGET_BYTES_MAX);
    struct exchange *exchange = calloc(1, sizeof(*exchange) + kept + 1);
    if (!exchange)
        return NULL;

    exchange->mhd = mhd;
    exchange->connection = connection;
    exchange->target_bytes = bytes;
    if (kept > 0)
        memcpy(exchange->target, target, kept);
    request_open(&exchange->request, mhd->api, &transport);
    return exchange;
}

static void drop_body(struct exchange *exchange)
{
    exchange->mhd->body_bytes -= exchange->body_capacity;
    exchange->body_capacity = 0;
    free(TAKE(exchange->body));
}

static void finished(void *argument, struct MHD_Connection *connection, void **context,
                     enum MHD_RequestTerminationCode reason)
{
    struct exchange *exchange = *context;
    if (!exchange)
        return;
    must(exchange->stage != STAGE_WAITING);
    if (exchange->stage == STAGE_DECIDED) /* resumed, and found to be gone: nobody to tell */
        request_finish(&exchange->request);
    *context = NULL;
    drop_body(exchange);
    request_close(&exchange->request);
    free(exchange);
}

/* ---- the answer ---- */

static bool add_headers(struct MHD_Response *out, const struct exchange *exchange)
{
    const struct response *response = &exchange->request.response;
    bool fine = true;
    bool has_cache_control = false;
    for (unsigned i = 0; i < response->header_count; i++) {
        fine = fine && MHD_add_response_header(out, response->headers[i].name,
                                               response->headers[i].value) == MHD_YES;
        if (strcmp(response->headers[i].name, "Cache-Control") == 0)
            has_cache_control = true;
    }
    if (!has_cache_control)
        fine = fine && MHD_add_response_header(out, "Cache-Control", "no-store") == MHD_YES;
    fine = fine && MHD_add_response_header(out, "X-Content-Type-Options", "nosniff") == MHD_YES;
    if (response->close || exchange->mhd->quiesced)
        fine = fine && MHD_add_response_header(out, "Connection", "close") == MHD_YES;
    return fine;
}

/* Hands the response over. Without memory to do so the connection is closed. */
static enum MHD_Result answer(struct exchange *exchange)
{
    struct response *response = &exchange->request.response;
    struct MHD_Response *out = MHD_create_response_from_buffer(response->body_bytes, response->body,
                                                               MHD_RESPMEM_MUST_FREE);
    if (!out)
        return MHD_NO;
    response->body = NULL; /* it is the library's now */
    response->body_bytes = 0;

    enum MHD_Result result = MHD_NO;
    if (add_headers(out, exchange))
        result = MHD_queue_response(exchange->connection, response->status, out);
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
    head.method = method;
    head.version = version;
    head.target = exchange->target;
    head.target_bytes = exchange->target_bytes;
    head.header_count = 0;
    MHD_get_connection_values_n(exchange->connection, MHD_HEADER_KIND, collect_header, &head);

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

    size_t capacity = (size_t)min_u64(max_u64(wanted, 2 * (uint64_t)exchange->body_capacity),
                                      request->body_bytes_max);
    size_t more = capacity - exchange->body_capacity;
    char *body = NULL;
    if (more <= mhd->body_bytes_total - mhd->body_bytes)
        body = realloc(exchange->body, capacity);
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
    memcpy(exchange->body + exchange->request.body_bytes, data, bytes);
    exchange->request.body_bytes += bytes;
    return MHD_YES;
}

static enum MHD_Result serve(void *argument, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *body,
                             size_t *body_bytes, void **context)
{
    struct exchange *exchange = *context;
    if (!exchange) /* there was no memory for it */
        return MHD_NO;
    if (exchange->stage == STAGE_HEAD)
        return begin(exchange, method, version);
    if (*body_bytes > 0) {
        size_t bytes = *body_bytes;
        *body_bytes = 0;
        return take_body(exchange, body, bytes);
    }
    switch (exchange->stage) {
    case STAGE_BODY:
        exchange->request.body = exchange->body;
        if (request_answer(&exchange->request) == PROGRESS_WAITING)
            return MHD_YES;
        break;
    case STAGE_DECIDED: request_finish(&exchange->request); break;
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

static struct MHD_Daemon *start_daemon(struct mhd *mhd, const struct mhd_config *config)
{
    MHD_set_panic_func(panic, NULL);
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, serve, mhd,
        MHD_OPTION_LISTEN_SOCKET, config->listen_fd, MHD_OPTION_URI_LOG_CALLBACK, target_seen, mhd,
        MHD_OPTION_NOTIFY_COMPLETED, finished, NULL, MHD_OPTION_UNESCAPE_CALLBACK, leave_as_is,
        NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_LIMIT, config->connections_max,
        MHD_OPTION_CONNECTION_TIMEOUT, config->idle_timeout_s, MHD_OPTION_END);
}

int mhd_open(struct mhd **ret_mhd, const struct mhd_config *config, struct api *api)
{
    struct mhd *mhd = calloc(1, sizeof(*mhd));
    if (!mhd)
        return -ENOMEM;
    mhd->api = api;
    mhd->body_bytes_total = config->body_bytes_total;
    mhd->decided_end = &mhd->decided;
    mhd->daemon = start_daemon(mhd, config);
    if (!mhd->daemon) { /* which has closed the socket or not, depending on the reason */
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

uint64_t mhd_run(struct mhd *mhd)
{
    MHD_UNSIGNED_LONG_LONG left_ms = 0;
    bool timer = true;

    resume_decided(mhd);
    for (int round = 0; round < ROUNDS_MAX && timer && left_ms == 0; round++) {
        must(MHD_run(mhd->daemon) == MHD_YES);
        timer = MHD_get_timeout(mhd->daemon, &left_ms) == MHD_YES;
    }
    if (mhd->decided)
        return 0; /* refused at once, or decided by a deletion that did the committer's work */
    return timer ? left_ms * 1000 : UINT64_MAX;
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
    must(api_appends_waiting(mhd->api) == 0 && !mhd->decided);
    MHD_stop_daemon(mhd->daemon);
    must(mhd->body_bytes == 0);
    free(mhd);
}
