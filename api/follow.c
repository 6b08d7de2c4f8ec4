#include "api/follow.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/batch.h"
#include "api/events.h"
#include "api/request.h"
#include "wal/base.h"

/* What a turn may take: one follower in 5 to 20 µs. */
#define TURN_US 3000

/* Sockets looked at in a turn. */
#define EVENTS_MAX 256

/* Followers of one log that are served before those of the next. */
#define IN_A_ROW 16

/* What a client may send behind its request, which nobody reads. */
#define UNREAD_BYTES_MAX (64u << 10)

/* What waits in the kernel for a client that is slow to take it, beyond what is on its way. */
#define UNSENT_BYTES_MAX (128u << 10)

/* "ffffffffffffffff\r\n" before a chunk, and behind it an event of control and the last chunk. */
#define PREFIX_BYTES 24
#define SUFFIX_BYTES 512

/* What is on its way to a client: three pieces, of which the one in the middle is shared. */
struct outgoing {
    struct batch *batch; /* NULL: none; a reference */
    const char *prefix, *suffix;
    size_t prefix_bytes, suffix_bytes;
    size_t sent; /* of all */
};

struct follower {
    struct list_node node; /* in the one ring that it is in */
    struct auth_identity who;
    struct client *client; /* whose connection it is; NULL: nobody's */
    struct api *api;
    struct audience *audience;
    struct outgoing *pending; /* what did not go out at once, with its text; NULL: nothing */
    uint64_t next;            /* the record that comes next */
    uint64_t left;            /* how many more are wanted; UINT64_MAX: all */
    uint64_t bytes_before;    /* of /v1/stream: payload before where it is … */
    uint64_t skip;            /* … which is so far into that record */
    uint64_t cursor;          /* of /v1/stream: never told less than this */
    bool (*is_closed)(struct wal *wal);
    struct deadline quiet; /* a heartbeat is due, or what is pending must have moved */
    struct deadline life;  /* the stream has been long enough */
    int fd;
    uint32_t unread_bytes;
    enum follow_form form;
    bool head_only, plain;
    bool greeted;  /* of /v1/stream: it has been told where it stands */
    bool leaving;  /* it sends no more: it gets what there is, and then its end */
    bool is_over;  /* it has lasted long enough, and ends with its next control */
    bool finished; /* nothing comes behind what is pending */
};

static bool is_stream(const struct follower *follower)
{
    return follower->form >= FOLLOW_STREAM_TEXT;
}

static struct follower *follower_at(struct list_node *node)
{
    return container_of(node, struct follower, node);
}

/* ---- beginning and end ---- */

int follow_open(struct follow *follow, const struct api_config *config)
{
    *follow = (struct follow){.epoll_fd = epoll_create1(EPOLL_CLOEXEC), .wait_us = UINT64_MAX};
    if (follow->epoll_fd < 0)
        return -errno;
    list_init(&follow->turns);
    list_init(&follow->starved);
    deadlines_init(&follow->deadlines,
                   (const uint64_t[DEADLINE_KINDS]){
                       [DEADLINE_TAKING] = config->answer_timeout_us,
                       [DEADLINE_HEARTBEAT] = config->heartbeat_us,
                       [DEADLINE_CONTROL] = config->long_poll_max_us,
                       [DEADLINE_LIFE] = config->stream_life_us,
                   },
                   api_now_us());
    return 0;
}

static void free_pending(struct follower *follower)
{
    if (follower->pending)
        batch_put(follower->pending->batch);
    free(TAKE(follower->pending));
}

/* None of its followers is ready: it has no turn, and what they shared is of no use. */
static void rest(struct audience *audience)
{
    list_remove(&audience->turn);
    for (unsigned form = 0; form < FOLLOW_FORM_COUNT; form++)
        batch_put(TAKE(audience->batches[form]));
}

/* Gives back all but the socket. */
static void free_follower(struct follower *follower)
{
    struct api *api = follower->api;
    struct audience *audience = follower->audience;
    struct wal *wal = audience->wal;
    bool is_last = audience->followers == 1;
    free_pending(follower);
    deadline_clear(&api->follow.deadlines, &follower->quiet);
    deadline_clear(&api->follow.deadlines, &follower->life);
    api_disconnect(api, follower->client);
    list_remove(&follower->node);
    free(follower);
    api->follow.count--;
    audience->followers--;
    if (is_last) {
        rest(audience);
        if (api->follow.serving == audience)
            api->follow.serving = NULL;
    }
    audience_leave(audience);
    store_put(api->config.store, wal);
}

/* `whole`: it has been sent all that there was to send. Otherwise what the kernel still holds goes,
 * too. What the client sent behind its request is read first, or the kernel would take that for an
 * error and throw away what the client has not read yet. */
static void close_follower(struct follower *follower, bool whole)
{
    int fd = follower->fd;
    char unread[4096];
    if (whole) {
        for (unsigned i = 0; i < UNREAD_BYTES_MAX / sizeof(unread); i++) {
            if (recvfrom(fd, unread, sizeof(unread), MSG_DONTWAIT, NULL, NULL) <= 0)
                break;
        }
        shutdown(fd, SHUT_WR);
    } else {
        struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    epoll_ctl(follower->api->follow.epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    close(fd);
    free_follower(follower);
}

/* ---- the request ---- */

static void add_headers(struct request *request, enum follow_form form)
{
    struct response *response = &request->response;
    response->status = 200;
    response_header(response, "Content-Type", "text/event-stream");
    response_header(response, "Cache-Control", "no-cache");
    if (form == FOLLOW_STREAM_BASE64)
        response_header(response, "stream-sse-data-encoding", "base64");
}

static bool has_room(struct request *request)
{
    struct api *api = request->api;
    if (api->draining) {
        response_problem(&request->response, PROBLEM_STOPPING, NULL);
    } else if (api->follow.count >= api->config.followers_max) {
        response_problem_number(
            &request->response, PROBLEM_TOO_MANY_FOLLOWERS, "followers_max",
            api->config.followers_max,
            "%" PRIu64
            " streams of events are open, and no more are allowed. Try again later, read "
            "pages with wait= instead, or start the service with a larger --followers-max.",
            api->follow.count);
    }
    return request->response.status == 0;
}

enum progress follow_begin(struct request *request, struct wal *wal,
                           const struct follow_query *query)
{
    struct held_log held
        __attribute__((cleanup(held_log_done))) = {request->api->config.store, wal};
    struct api *api = request->api;
    if (!has_room(request))
        return PROGRESS_ANSWERED;
    struct follower *follower = calloc(1, sizeof(*follower));
    struct audience *audience = follower ? audience_of(&api->watch, wal) : NULL;
    if (!audience) {
        free(follower);
        return request_fail(request, WHEN_READING, -ENOMEM);
    }

    *follower = (struct follower){
        .api = api,
        .who = request->who,
        .audience = audience,
        .next = query->begin,
        .left = query->limit ? query->limit : UINT64_MAX,
        .bytes_before = query->bytes_before,
        .skip = query->skip,
        .cursor = query->cursor ? stream_cursor(query->cursor) : 0,
        .is_closed = query->is_closed,
        .fd = -1,
        .form = query->form,
        .head_only = request->facts.method == HTTP_HEAD,
    };
    list_init(&follower->node);
    audience->followers++;
    api->follow.count++;
    held.wal = NULL;
    request->follower = follower;
    add_headers(request, query->form);
    return PROGRESS_ANSWERED;
}

void follow_drop(struct request *request)
{
    if (request->follower)
        free_follower(TAKE(request->follower));
}

/* ---- rings ---- */

static void make_ready(struct follower *follower)
{
    struct audience *audience = follower->audience;
    list_remove(&follower->node);
    list_add(&audience->ready, &follower->node);
    if (list_is_empty(&audience->turn))
        list_add(&follower->api->follow.turns, &audience->turn);
}

void follow_wake(struct api *api, struct audience *audience, const char *reason)
{
    if (reason && !audience->end)
        audience->end = reason;
    list_move_all(&audience->ready, &audience->idle);
    if (!list_is_empty(&audience->ready) && list_is_empty(&audience->turn))
        list_add(&api->follow.turns, &audience->turn);
}

static void set_quiet(struct follower *follower, enum deadline_kind kind)
{
    deadline_set(&follower->api->follow.deadlines, &follower->quiet, kind);
}

static void go_idle(struct follower *follower)
{
    list_remove(&follower->node);
    list_add(&follower->audience->idle, &follower->node);
}

/* ---- sending ---- */

/* Returns 1 when all is out, 0 if the socket takes no more now, or -1: nobody is there. */
static int send_some(int fd, struct outgoing *out)
{
    for (;;) {
        struct iovec pieces[3] = {
            {(void *)out->prefix, out->prefix_bytes},
            {out->batch ? out->batch->text.data : NULL, out->batch ? out->batch->text.bytes : 0},
            {(void *)out->suffix, out->suffix_bytes},
        };
        size_t skip = out->sent;
        size_t left = 0;
        for (unsigned i = 0; i < ARRAY_SIZE(pieces); i++) {
            size_t gone = min_u64(skip, pieces[i].iov_len);
            pieces[i].iov_base = gone > 0 ? (char *)pieces[i].iov_base + gone : pieces[i].iov_base;
            pieces[i].iov_len -= gone;
            skip -= gone;
            left += pieces[i].iov_len;
        }
        if (left == 0)
            return 1;
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = ARRAY_SIZE(pieces)};
        ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        out->sent += (size_t)sent;
    }
}

/* With its text behind it; the batch's reference goes along. NULL: no memory. */
static struct outgoing *keep(const struct outgoing *out)
{
    struct outgoing *kept = malloc(sizeof(*kept) + out->prefix_bytes + out->suffix_bytes);
    if (!kept)
        return NULL;
    *kept = *out;
    kept->prefix = (char *)(kept + 1);
    kept->suffix = kept->prefix + out->prefix_bytes;
    char *end = mempcpy(kept + 1, out->prefix, out->prefix_bytes);
    if (out->suffix_bytes > 0)
        memcpy(end, out->suffix, out->suffix_bytes);
    return kept;
}

/* Sends what goes out at once, and keeps the rest. False: the follower is gone. */
static bool send_out(struct follower *follower, struct outgoing *out)
{
    int rc = send_some(follower->fd, out);
    if (rc == 0)
        follower->pending = keep(out);
    if (rc != 0 || !follower->pending)
        batch_put(out->batch);
    if (rc < 0 || (rc == 0 && !follower->pending)) {
        close_follower(follower, false);
        return false;
    }
    if (follower->pending) {
        list_remove(&follower->node);
        list_add(&follower->audience->busy, &follower->node);
        set_quiet(follower, DEADLINE_TAKING);
    } else {
        set_quiet(follower, is_stream(follower) ? DEADLINE_CONTROL : DEADLINE_HEARTBEAT);
    }
    return true;
}

/* A batch (or NULL; its reference is taken) and an event or none behind it, as one chunk; with
 * `last` that is the end of the body. False: the follower is gone. */
static bool send_events(struct follower *follower, struct batch *batch, const struct text *event,
                        bool last)
{
    char prefix[PREFIX_BYTES], suffix[SUFFIX_BYTES];
    size_t chunk = (batch ? batch->text.bytes : 0) + event->bytes;
    struct outgoing out = {.batch = batch, .prefix = prefix, .suffix = suffix};
    char *end = suffix;
    must(!event->failed && event->bytes + 8 < sizeof(suffix));
    follower->finished = last;
    if (event->bytes > 0)
        end = mempcpy(end, event->data, event->bytes);
    if (!follower->plain && chunk > 0) {
        out.prefix_bytes = (size_t)snprintf(prefix, sizeof(prefix), "%zx\r\n", chunk);
        end = mempcpy(end, "\r\n", 2);
    }
    if (!follower->plain && last)
        end = mempcpy(end, "0\r\n\r\n", 5);
    out.suffix_bytes = (size_t)(end - suffix);
    if (!send_out(follower, &out))
        return false;
    if (last && !follower->pending) {
        close_follower(follower, true);
        return false;
    }
    return true;
}

/* Only what is pending. False: gone, or still pending. */
static bool send_pending(struct follower *follower)
{
    size_t before = follower->pending->sent;
    int rc = send_some(follower->fd, follower->pending);
    if (rc < 0) {
        close_follower(follower, false);
        return false;
    }
    if (rc == 0) {
        bool is_timed = follower->quiet.is_set && follower->quiet.kind == DEADLINE_TAKING;
        if (follower->pending->sent > before || !is_timed)
            set_quiet(follower, DEADLINE_TAKING);
        list_remove(&follower->node);
        list_add(&follower->audience->busy, &follower->node);
        return false;
    }
    free_pending(follower);
    if (follower->finished) {
        close_follower(follower, true);
        return false;
    }
    set_quiet(follower, is_stream(follower) ? DEADLINE_CONTROL : DEADLINE_HEARTBEAT);
    return true;
}

/* ---- what comes next ---- */

/* Where a reader of /v1/stream stands. Returns whether that is the end of a closed stream. */
static bool add_control(struct follower *follower, struct text *text)
{
    struct wal *wal = follower->audience->wal;
    struct wal_positions positions;
    wal_positions(wal, &positions);
    bool up_to_date = follower->next >= positions.committed_offset;
    struct events_control control = {
        .next_offset = follower->next,
        .bytes_before = follower->bytes_before,
        .cursor = max_u64(stream_cursor(0), follower->cursor),
        .up_to_date = up_to_date,
        .closed = up_to_date && follower->is_closed && follower->is_closed(wal),
    };
    events_add_control(text, &control);
    follower->greeted = true;
    return control.closed;
}

static void send_end(struct follower *follower, const char *reason)
{
    CLEANUP(text_done) struct text event = {0};
    if (reason && !is_stream(follower))
        events_add_end(&event, reason);
    if (event.failed)
        close_follower(follower, false);
    else
        (void)send_events(follower, NULL, &event, true);
}

/* What clients are slow to take is bounded, and nothing is refused that nothing is in the way of. */
static bool is_crowded(const struct api *api)
{
    return api->follow.bytes > 0 &&
           api->follow.bytes + BATCH_BYTES > api->config.follow_bytes_total;
}

/* The batch that begins where the follower is: the newest of its form, if that is it.
 * Errors: as batch_make(), and -EAGAIN: too much is being taken by others. */
static int find_batch(struct follower *follower, struct batch **ret_batch)
{
    struct api *api = follower->api;
    struct batch **newest = &follower->audience->batches[follower->form];
    if (*newest && (*newest)->begin == follower->next && follower->skip == 0 &&
        (*newest)->records <= follower->left) {
        *ret_batch = batch_share(*newest);
        return 0;
    }
    if (is_crowded(api))
        batch_put(TAKE(*newest)); /* it may be what is in the way */
    if (is_crowded(api))
        return -EAGAIN;
    int rc = batch_make(ret_batch, api, follower->audience->wal, follower->form, follower->next,
                        follower->skip, follower->left);
    if (rc == 0 && follower->skip == 0 && follower->left >= BATCH_RECORDS_MAX) {
        batch_put(*newest);
        *newest = batch_share(*ret_batch);
    }
    return rc;
}

static void send_batch(struct follower *follower)
{
    CLEANUP(text_done) struct text event = {0};
    struct batch *batch;
    bool last = false;
    int rc = find_batch(follower, &batch);
    if (rc == -EAGAIN) {
        list_remove(&follower->node);
        list_add(&follower->api->follow.starved, &follower->node);
        return;
    }
    if (rc < 0) {
        /* At /v1/stream the client comes again, and is told why it cannot go on. */
        send_end(follower, rc == -ENOENT ? "deleted" : "failed");
        return;
    }
    follower->next = batch->end;
    follower->skip = 0;
    follower->bytes_before += batch->payload_bytes;
    if (follower->left < UINT64_MAX)
        follower->left -= batch->records;
    if (is_stream(follower)) {
        last = add_control(follower, &event);
    } else if (follower->left == 0) {
        events_add_end(&event, "limit");
        last = true;
    }
    if (event.failed) {
        batch_put(batch);
        close_follower(follower, false);
        return;
    }
    (void)send_events(follower, batch, &event, last);
}

/* Told where it stands, without records. False: the follower is gone. */
static bool send_control(struct follower *follower)
{
    CLEANUP(text_done) struct text event = {0};
    bool last = add_control(follower, &event);
    if (event.failed) {
        close_follower(follower, false);
        return false;
    }
    return send_events(follower, NULL, &event, last);
}

static bool is_closed_now(const struct follower *follower)
{
    return follower->is_closed && follower->is_closed(follower->audience->wal);
}

/* One step of a follower who is ready: it is in another ring after it, or gone, or has one more to
 * do. */
static void step(struct follower *follower)
{
    struct wal_positions positions;
    if (follower->pending && !send_pending(follower))
        return;
    if (follower->head_only) {
        close_follower(follower, true);
        return;
    }
    if (follower->audience->end) {
        send_end(follower, follower->audience->end);
        return;
    }
    if (follower->is_over && follower->greeted) {
        send_end(follower, NULL);
        return;
    }
    wal_positions(follower->audience->wal, &positions);
    if (follower->next < positions.committed_offset) {
        send_batch(follower);
        return;
    }
    if (is_stream(follower) && (!follower->greeted || is_closed_now(follower))) {
        if (!send_control(follower))
            return;
    }
    if (follower->pending)
        return;
    if (follower->leaving)
        send_end(follower, NULL);
    else
        go_idle(follower);
}

static void serve_audience(struct api *api, struct audience *audience, uint64_t until_us)
{
    struct list_node *node;
    api->follow.serving = audience;
    for (unsigned i = 0; i < IN_A_ROW && (node = list_first(&audience->ready)) != NULL; i++) {
        if (i > 0 && api_now_us() >= until_us)
            break;
        list_remove(node); /* behind the others, if it has more to do */
        list_add(&audience->ready, node);
        step(follower_at(node));
        if (!api->follow.serving)
            return; /* the audience has gone with the last of them */
    }
    api->follow.serving = NULL;
    if (list_is_empty(&audience->ready))
        rest(audience);
}

/* ---- the loop's turns ---- */

/* Something has changed that its next step looks at. */
static void look_again(struct follower *follower)
{
    if (!follower->pending)
        make_ready(follower);
}

/* Nobody reads what comes behind the request. False: the follower is gone. */
static bool read_past(struct follower *follower)
{
    char unread[4096];
    for (;;) {
        ssize_t bytes = recvfrom(follower->fd, unread, sizeof(unread), MSG_DONTWAIT, NULL, NULL);
        if (bytes > 0)
            follower->unread_bytes += (uint32_t)bytes;
        if (follower->unread_bytes > UNREAD_BYTES_MAX ||
            (bytes < 0 && errno != EAGAIN && errno != EINTR)) {
            close_follower(follower, false);
            return false;
        }
        if (bytes == 0) { /* perhaps it still reads */
            follower->leaving = true;
            look_again(follower);
        }
        if (bytes <= 0)
            return true;
    }
}

static void look_at_sockets(struct follow *follow)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(follow->epoll_fd, events, EVENTS_MAX, 0);
    for (int i = 0; i < count; i++) {
        struct follower *follower = events[i].data.ptr;
        if (events[i].events & (EPOLLERR | EPOLLHUP)) {
            close_follower(follower, false);
            continue;
        }
        if (events[i].events & (EPOLLIN | EPOLLRDHUP) && !read_past(follower))
            continue;
        if (events[i].events & EPOLLOUT && follower->pending)
            make_ready(follower);
    }
}

static bool send_heartbeat(struct follower *follower)
{
    CLEANUP(text_done) struct text event = {0};
    events_add_heartbeat(&event);
    if (event.failed) {
        close_follower(follower, false);
        return false;
    }
    return send_events(follower, NULL, &event, false);
}

/* Whoever was not woken for any reason looks at the log again at last. */
static void beat(struct follower *follower)
{
    if (is_stream(follower) ? send_control(follower) : send_heartbeat(follower))
        look_again(follower);
}

/* Few are due at a time, since each is due so long after it was sent something. */
static void look_at_clock(struct follow *follow, uint64_t until_us)
{
    struct deadline *deadline;
    while (api_now_us() < until_us && (deadline = deadlines_take(&follow->deadlines)) != NULL) {
        struct follower *follower = deadline->kind == DEADLINE_LIFE
                                        ? container_of(deadline, struct follower, life)
                                        : container_of(deadline, struct follower, quiet);
        if (deadline->kind == DEADLINE_TAKING) {
            close_follower(follower, false);
        } else if (deadline->kind == DEADLINE_LIFE) {
            follower->is_over = true;
            look_again(follower);
        } else {
            beat(follower);
        }
    }
}

/* Whether the next of those there was no memory for may try again. */
static bool starves(const struct api *api)
{
    const struct list_node *first = list_first(&api->follow.starved);
    return first &&
           (!is_crowded(api) || container_of(first, const struct follower, node)->audience->end);
}

static void feed_starved(struct api *api)
{
    for (unsigned i = 0; i < IN_A_ROW && starves(api); i++)
        make_ready(follower_at(list_first(&api->follow.starved)));
}

static void take_turns(struct api *api, uint64_t until_us)
{
    struct list_node *node;
    while (api_now_us() < until_us && (node = list_first(&api->follow.turns)) != NULL) {
        struct audience *audience = container_of(node, struct audience, turn);
        list_remove(node);
        list_add(&api->follow.turns, node); /* behind the other logs */
        serve_audience(api, audience, until_us);
    }
}

uint64_t follow_run(struct api *api)
{
    struct follow *follow = &api->follow;
    if (follow->count == 0)
        return follow->wait_us = UINT64_MAX;

    uint64_t now_us = api_now_us();
    uint64_t until_us = now_us + TURN_US;
    deadlines_look(&follow->deadlines, now_us, follow->wait_us);
    look_at_sockets(follow);
    look_at_clock(follow, until_us);
    feed_starved(api);
    take_turns(api, until_us);
    deadlines_look(&follow->deadlines, api_now_us(), 0);
    bool waits = list_is_empty(&follow->turns) && !starves(api);
    follow->wait_us = waits ? deadlines_wait_us(&follow->deadlines) : 0;
    return follow->wait_us;
}

/* ---- taking over ---- */

/* The socket may still hold back what the library had sent on it. */
static void set_up_socket(int fd)
{
    int on = 1, off = 0, unsent = UNSENT_BYTES_MAX;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
}

static void add_hello(struct text *head, bool plain)
{
    CLEANUP(text_done) struct text hello = {0};
    events_add_hello(&hello);
    if (!plain)
        text_format(head, "%zx\r\n", hello.bytes);
    text_add(head, hello.data, hello.bytes);
    if (!plain)
        text_add(head, "\r\n", 2);
}

void follow_start(struct request *request, int fd, struct text *head, bool plain)
{
    struct follower *follower = TAKE(request->follower);
    struct follow *follow = &request->api->follow;
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.ptr = follower,
    };
    deadlines_look(&follow->deadlines, api_now_us(), follow->wait_us); /* before any is set */
    follower->client = request->client;
    clients_share(follower->client);
    follower->fd = fd;
    follower->plain = plain;
    if (!is_stream(follower) && !follower->head_only)
        add_hello(head, plain);
    follow->started++;
    set_up_socket(fd);
    struct outgoing out = {.prefix = head->data, .prefix_bytes = head->bytes};
    follower->pending = head->failed ? NULL : keep(&out);
    text_done(head);
    if (!follower->pending || epoll_ctl(follow->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        close_follower(follower, false);
        return;
    }
    if (is_stream(follower) && follow->deadlines.timeouts_us[DEADLINE_LIFE] > 0)
        deadline_set(&follow->deadlines, &follower->life, DEADLINE_LIFE);
    make_ready(follower);
}

/* One of those that have a socket: the others are part of a request. */
static struct follower *any_follower(const struct api *api)
{
    struct list_node *node = list_first(&api->follow.starved);
    for (const struct audience *audience = api->watch.audiences; audience && !node;
         audience = audience->next) {
        const struct list_node *rings[] = {&audience->idle, &audience->ready, &audience->busy};
        for (unsigned i = 0; i < ARRAY_SIZE(rings) && !node; i++)
            node = list_first(rings[i]);
    }
    return node ? follower_at(node) : NULL;
}

static bool is_welcome(const struct follower *follower)
{
    struct api *api = follower->api;
    return !api->auth ||
           auth_may(api->auth, &follower->who, AUTH_READ, wal_name(follower->audience->wal));
}

/* False: the ring has gone with the last of its audience. */
static bool check_ring(const struct list_node *ring)
{
    struct list_node *next;
    for (struct list_node *node = ring->next; node != ring; node = next) {
        struct follower *follower = follower_at(node);
        bool is_last = follower->audience->followers == 1;
        next = node->next;
        if (is_welcome(follower))
            continue;
        close_follower(follower, false);
        if (is_last)
            return false;
    }
    return true;
}

void follow_check_rights(struct api *api)
{
    struct list_node *node, *next_node;
    struct audience *next;
    struct list_node *starved = &api->follow.starved;
    for (node = starved->next; node != starved; node = next_node) {
        next_node = node->next;
        if (!is_welcome(follower_at(node)))
            close_follower(follower_at(node), false);
    }
    for (struct audience *audience = api->watch.audiences; audience; audience = next) {
        next = audience->next;
        (void)(check_ring(&audience->idle) && check_ring(&audience->ready) &&
               check_ring(&audience->busy));
    }
}

void follow_close(struct api *api)
{
    struct follower *follower;
    while ((follower = any_follower(api)) != NULL)
        close_follower(follower, false);
    must(api->follow.count == 0);
    close(api->follow.epoll_fd);
}
