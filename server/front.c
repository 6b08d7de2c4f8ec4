#include "server/front.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api/api.h"
#include "wal/base.h"

#define EVENTS_MAX 64
#define ACCEPTS_IN_A_ROW 16
#define RECORDS_IN_A_ROW 8
#define LOOK_MS 250 /* how often deadlines are looked at */

/* How long a client that has taken everything may take to close a connection that has been said goodbye
 * to. */
#define GOODBYE_US UINT64_C(2000000)

/* The plain side holds so much before the service waits for its client. */
#define PLAIN_BUFFER_BYTES (64 * 1024)

enum stage {
    STAGE_HANDSHAKE,
    STAGE_OPEN,
    STAGE_ENDING,  /* the service has closed its side: the goodbye is on its way */
    STAGE_GOODBYE, /* … and is said: whatever still comes is thrown away */
};

/* One of the two descriptors of a tunnel, as epoll knows it. */
struct side {
    struct tunnel *tunnel; /* NULL: none, but what is below */
    int fd;
    uint32_t events; /* asked for; 0: not in the epoll */
};

/* Bytes that were read on one side and have not been taken by the other. */
struct rest {
    char *bytes; /* on the heap; NULL: none */
    size_t count, sent;
};

struct tunnel {
    struct tunnel *next, **link;
    struct tls_session *session;
    struct side client, plain;
    struct rest in, out; /* to the service, to the client */
    enum stage stage;
    bool client_ended;      /* it sends nothing more … */
    bool told_end;          /* … and the service knows */
    bool deaf;              /* the service reads nothing more */
    uint64_t until_us;      /* 0: no deadline */
    uint64_t taken_bytes;   /* what had gone to the client when that was set */
    int left;               /* of what has been sent, in the kernel, behind a goodbye … */
    uint64_t left_since_us; /* … and for how long it has been so much */
    struct sockaddr_storage address;
    socklen_t address_bytes;
};

struct arrival {
    struct arrival *next;
    struct front_arrival arrival;
};

struct front {
    struct front_config config;
    pthread_t thread;
    int epoll_fd, wake_fd, arrivals_fd;

    /* Of the thread alone. */
    struct side listener, waker;
    struct tunnel *tunnels;
    unsigned count;
    bool is_ending;
    bool is_listening, is_exhausted; /* exhausted: no descriptors left, for a moment */
    uint64_t looked_us;
    char record[TLS_RECORD_BYTES];

    pthread_mutex_t mutex;
    struct tls_identity *identity;
    struct arrival *first, **end;
    struct front_stats stats;
    bool quiesced;
    uint64_t end_at_us; /* 0: not yet */
};

/* Here and for accept4(): those of the C library are defined anew in api/wire.c, which belongs to another
 * thread. */
static void end_sending(int fd)
{
    (void)syscall(SYS_shutdown, fd, SHUT_WR);
}

/* ---- what epoll is asked ---- */

/* A side that nothing is wanted of is taken out: else its end would be told again and again. */
static void ask(struct front *front, struct side *side, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = side};
    int operation = side->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (side->fd < 0 || events == side->events)
        return;
    if (events == 0)
        operation = EPOLL_CTL_DEL;
    if (epoll_ctl(front->epoll_fd, operation, side->fd, &event) == 0)
        side->events = events;
    else if (side->tunnel) /* no memory for that: cut off with the next look at the clock */
        side->tunnel->until_us = 1;
}

static uint32_t client_events(const struct tunnel *tunnel)
{
    uint32_t events = tunnel->out.bytes ? EPOLLOUT : 0;
    switch (tunnel->stage) {
    case STAGE_HANDSHAKE:
        return tls_wants_to_send(tunnel->session) ? (uint32_t)EPOLLOUT : (uint32_t)EPOLLIN;
    case STAGE_OPEN: break;
    case STAGE_ENDING: return EPOLLOUT;
    case STAGE_GOODBYE: return EPOLLIN;
    }
    if (!tunnel->client_ended && !tunnel->in.bytes && !tunnel->deaf)
        events |= EPOLLIN;
    return events;
}

static uint32_t plain_events(const struct tunnel *tunnel)
{
    if (tunnel->stage != STAGE_OPEN)
        return 0;
    return (tunnel->in.bytes ? (uint32_t)EPOLLOUT : 0) |
           (tunnel->out.bytes ? 0 : (uint32_t)EPOLLIN);
}

/* ---- the life of a tunnel ---- */

static void close_side(struct front *front, struct side *side)
{
    ask(front, side, 0);
    if (side->fd >= 0)
        close(side->fd);
    side->fd = -1;
}

static void close_tunnel(struct front *front, struct tunnel *tunnel)
{
    close_side(front, &tunnel->client);
    close_side(front, &tunnel->plain);
    tls_close(tunnel->session);
    free(tunnel->in.bytes);
    free(tunnel->out.bytes);
    *tunnel->link = tunnel->next;
    if (tunnel->next)
        tunnel->next->link = tunnel->link;
    front->count--;
    pthread_mutex_lock(&front->mutex);
    front->stats.handshakes_failed += tunnel->stage == STAGE_HANDSHAKE;
    pthread_mutex_unlock(&front->mutex);
    free(tunnel);
}

/* What the kernel still holds for the client goes, too. */
static void cut_off(struct front *front, struct tunnel *tunnel)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(tunnel->client.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close_tunnel(front, tunnel);
}

/* False: no memory. */
static bool keep(struct rest *rest, const char *bytes, size_t count)
{
    rest->bytes = malloc(count);
    if (!rest->bytes)
        return false;
    memcpy(rest->bytes, bytes, count);
    rest->count = count;
    rest->sent = 0;
    return true;
}

static void drop(struct rest *rest)
{
    free(TAKE(rest->bytes));
    rest->count = rest->sent = 0;
}

/* ---- from the service to the client ---- */

/* Begins anew whenever the client has taken something. */
static void set_taking(const struct front *front, struct tunnel *tunnel)
{
    uint64_t taken = tls_sent_bytes(tunnel->session);
    if (tunnel->until_us == 0 || taken != tunnel->taken_bytes)
        tunnel->until_us = api_now_us() + front->config.taking_us;
    tunnel->taken_bytes = taken;
}

/* 1: all is sent; 0: the rest is kept; an error: the tunnel is of no use. */
static int send_record(struct front *front, struct tunnel *tunnel, const char *bytes, size_t count)
{
    size_t sent = 0;
    while (sent < count) {
        ssize_t rc = tls_send(tunnel->session, bytes + sent, count - sent);
        if (rc == -EAGAIN) {
            set_taking(front, tunnel);
            if (tunnel->out.bytes) {
                tunnel->out.sent += sent;
                return 0;
            }
            return keep(&tunnel->out, bytes + sent, count - sent) ? 0 : -ENOMEM;
        }
        if (rc < 0)
            return (int)rc;
        sent += (size_t)rc;
    }
    drop(&tunnel->out);
    tunnel->until_us = 0;
    return 1;
}

static int send_rest(struct front *front, struct tunnel *tunnel)
{
    struct rest *out = &tunnel->out;
    return out->bytes ? send_record(front, tunnel, out->bytes + out->sent, out->count - out->sent)
                      : 1;
}

/* The client is given time to take all there is before the connection ends for good. */
static int say_end(struct tunnel *tunnel)
{
    int rc = tls_say_end(tunnel->session);
    if (rc == -EAGAIN)
        return 0;
    if (rc < 0)
        return rc;
    end_sending(tunnel->client.fd);
    tunnel->stage = STAGE_GOODBYE;
    tunnel->until_us = api_now_us() + GOODBYE_US;
    return 0;
}

static int begin_end(struct front *front, struct tunnel *tunnel)
{
    close_side(front, &tunnel->plain);
    drop(&tunnel->in);
    tunnel->stage = STAGE_ENDING;
    tunnel->until_us = api_now_us() + front->config.taking_us;
    return say_end(tunnel);
}

static int move_out(struct front *front, struct tunnel *tunnel)
{
    int rc = send_rest(front, tunnel);
    for (int i = 0; i < RECORDS_IN_A_ROW && rc > 0; i++) {
        ssize_t got = recvfrom(tunnel->plain.fd, front->record, sizeof(front->record), MSG_DONTWAIT,
                               NULL, NULL);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : begin_end(front, tunnel);
        if (got == 0)
            return begin_end(front, tunnel);
        rc = send_record(front, tunnel, front->record, (size_t)got);
    }
    return rc < 0 ? rc : 0;
}

/* ---- from the client to the service ---- */

/* A service that does not read any more has its reasons, and may still be answering. */
static void go_deaf(struct tunnel *tunnel)
{
    tunnel->deaf = true;
    drop(&tunnel->in);
}

/* As send_record(), to the plain side. */
static int pass_on(struct tunnel *tunnel, const char *bytes, size_t count)
{
    ssize_t sent = sendto(tunnel->plain.fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        go_deaf(tunnel);
        return 1;
    }
    if (sent < 0)
        sent = 0;
    if (tunnel->in.bytes)
        tunnel->in.sent += (size_t)sent;
    else if ((size_t)sent < count && !keep(&tunnel->in, bytes + sent, count - (size_t)sent))
        return -ENOMEM;
    if ((size_t)sent < count)
        return 0;
    drop(&tunnel->in);
    return 1;
}

static void tell_end(struct tunnel *tunnel)
{
    if (tunnel->client_ended && !tunnel->in.bytes && !tunnel->told_end) {
        end_sending(tunnel->plain.fd);
        tunnel->told_end = true;
    }
}

static int move_in(struct front *front, struct tunnel *tunnel)
{
    struct rest *in = &tunnel->in;
    int rc = in->bytes ? pass_on(tunnel, in->bytes + in->sent, in->count - in->sent) : 1;
    for (int i = 0; i < RECORDS_IN_A_ROW && rc > 0 && !tunnel->client_ended && !tunnel->deaf; i++) {
        ssize_t got = tls_receive(tunnel->session, front->record, sizeof(front->record));
        if (got == -EAGAIN)
            break;
        if (got < 0)
            return (int)got;
        tunnel->client_ended = got == 0;
        if (got > 0)
            rc = pass_on(tunnel, front->record, (size_t)got);
    }
    if (rc >= 0)
        tell_end(tunnel);
    return rc < 0 ? rc : 0;
}

/* ---- handshakes ---- */

/* The service gets one end of a pair. Without descriptors or memory for it there is no connection. */
static int arrive(struct front *front, struct tunnel *tunnel)
{
    int pair[2], size = PLAIN_BUFFER_BYTES;
    struct arrival *arrival = calloc(1, sizeof(*arrival));
    uint64_t one = 1;
    if (!arrival)
        return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
        free(arrival);
        return -errno;
    }
    (void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    tunnel->plain = (struct side){.tunnel = tunnel, .fd = pair[0]};
    tunnel->stage = STAGE_OPEN;
    tunnel->until_us = 0;
    arrival->arrival = (struct front_arrival){pair[1], tunnel->address, tunnel->address_bytes};
    pthread_mutex_lock(&front->mutex);
    *front->end = arrival;
    front->end = &arrival->next;
    front->stats.handshakes++;
    pthread_mutex_unlock(&front->mutex);
    must(write(front->arrivals_fd, &one, sizeof(one)) == sizeof(one));
    return 0;
}

static int shake_hands(struct front *front, struct tunnel *tunnel)
{
    int rc = tls_handshake(tunnel->session);
    if (rc == -EAGAIN)
        return 0;
    return rc < 0 ? rc : arrive(front, tunnel);
}

/* ---- a turn of a tunnel ---- */

/* Reads past what comes, so that the kernel does not take it for an error and throw away what the client
 * has not read yet. */
static int listen_past(struct front *front, struct tunnel *tunnel)
{
    ssize_t got =
        recvfrom(tunnel->client.fd, front->record, sizeof(front->record), MSG_DONTWAIT, NULL, NULL);
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)) ? 0 : -ECONNRESET;
}

static void run_tunnel(struct front *front, struct tunnel *tunnel)
{
    int rc = 0;
    if (tunnel->stage == STAGE_HANDSHAKE)
        rc = shake_hands(front, tunnel);
    if (rc == 0 && tunnel->stage == STAGE_OPEN)
        rc = move_in(front, tunnel);
    if (rc == 0 && tunnel->stage == STAGE_OPEN)
        rc = move_out(front, tunnel);
    else if (rc == 0 && tunnel->stage == STAGE_ENDING)
        rc = say_end(tunnel);
    else if (rc == 0 && tunnel->stage == STAGE_GOODBYE)
        rc = listen_past(front, tunnel);
    if (rc < 0) {
        close_tunnel(front, tunnel);
        return;
    }
    ask(front, &tunnel->client, client_events(tunnel));
    ask(front, &tunnel->plain, plain_events(tunnel));
}

/* ---- accepting ---- */

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
    const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;
    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET)
        return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    if (a->ss_family != AF_INET6)
        return false;
    size_t bytes = IN6_IS_ADDR_V4MAPPED(&a6->sin6_addr) ? 16 : 8;
    return memcmp(&a6->sin6_addr, &b6->sin6_addr, bytes) == 0;
}

/* Handshakes count here, which the service does not know of. */
static bool has_enough(const struct front *front, const struct sockaddr_storage *address)
{
    unsigned count = 0;
    if (front->config.per_address_max == 0 || address->ss_family == AF_UNIX)
        return false;
    for (const struct tunnel *tunnel = front->tunnels; tunnel; tunnel = tunnel->next)
        count += tunnel->stage < STAGE_GOODBYE && same_address(&tunnel->address, address);
    return count >= front->config.per_address_max;
}

static struct tls_session *new_session(struct front *front, int fd)
{
    pthread_mutex_lock(&front->mutex);
    struct tls_identity *identity = tls_identity_hold(front->identity);
    pthread_mutex_unlock(&front->mutex);
    struct tls_session *session = tls_open(identity, fd);
    tls_identity_put(identity);
    return session;
}

static void count_refused(struct front *front)
{
    pthread_mutex_lock(&front->mutex);
    front->stats.refused++;
    pthread_mutex_unlock(&front->mutex);
}

static void add_tunnel(struct front *front, int fd, const struct sockaddr_storage *address,
                       socklen_t address_bytes)
{
    int on = 1;
    struct tunnel *tunnel = has_enough(front, address) ? NULL : calloc(1, sizeof(*tunnel));
    if (tunnel && !(tunnel->session = new_session(front, fd)))
        free(TAKE(tunnel));
    if (!tunnel) {
        close(fd);
        count_refused(front);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    tunnel->client = (struct side){.tunnel = tunnel, .fd = fd};
    tunnel->plain = (struct side){.tunnel = tunnel, .fd = -1};
    tunnel->address = *address;
    tunnel->address_bytes = address_bytes;
    tunnel->until_us = api_now_us() + front->config.handshake_us;
    tunnel->next = front->tunnels;
    if (tunnel->next)
        tunnel->next->link = &tunnel->next;
    tunnel->link = &front->tunnels;
    front->tunnels = tunnel;
    front->count++;
    run_tunnel(front, tunnel);
}

static void accept_some(struct front *front)
{
    for (int i = 0; i < ACCEPTS_IN_A_ROW && front->count < front->config.connections_max; i++) {
        struct sockaddr_storage address = {0};
        socklen_t bytes = sizeof(address);
        int fd = (int)syscall(SYS_accept4, front->listener.fd, (struct sockaddr *)&address, &bytes,
                              SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            add_tunnel(front, fd, &address, bytes);
            continue;
        }
        /* Without a descriptor left it is tried again when deadlines are looked at. */
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            front->is_exhausted = true;
        if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

/* ---- the thread ---- */

/* Its deadline has passed. What was said goodbye to may still be on its way to a client that is slow:
 * the kernel knows how much. */
static void end_late(struct front *front, struct tunnel *tunnel, uint64_t now)
{
    int left = 0;
    if (tunnel->stage == STAGE_GOODBYE)
        (void)ioctl(tunnel->client.fd, SIOCOUTQ, &left);
    if (tunnel->stage == STAGE_GOODBYE && left == 0) {
        close_tunnel(front, tunnel);
        return;
    }
    if (tunnel->left == 0 || left < tunnel->left) {
        tunnel->left = left;
        tunnel->left_since_us = now;
    }
    if (tunnel->stage == STAGE_GOODBYE && now - tunnel->left_since_us < front->config.taking_us)
        tunnel->until_us = now + GOODBYE_US;
    else
        cut_off(front, tunnel);
}

static void look_at_clock(struct front *front)
{
    struct tunnel *next;
    uint64_t now = api_now_us();
    if (now - front->looked_us < LOOK_MS * 1000)
        return;
    front->looked_us = now;
    for (struct tunnel *tunnel = front->tunnels; tunnel; tunnel = next) {
        next = tunnel->next;
        bool is_last_word = tunnel->stage == STAGE_GOODBYE && front->is_ending;
        if (tunnel->until_us && (now >= tunnel->until_us || is_last_word))
            end_late(front, tunnel, now);
    }
    front->is_exhausted = false;
}

static void look_at_listener(struct front *front)
{
    bool has_room = front->count < front->config.connections_max && !front->is_exhausted;
    ask(front, &front->listener, front->is_listening && has_room ? (uint32_t)EPOLLIN : 0);
}

static void stop_listening(struct front *front)
{
    struct tunnel *next;
    front->is_listening = false;
    close_side(front, &front->listener);
    for (struct tunnel *tunnel = front->tunnels; tunnel; tunnel = next) {
        next = tunnel->next;
        if (tunnel->stage == STAGE_HANDSHAKE)
            close_tunnel(front, tunnel);
    }
}

/* False: it is time to end. */
static bool look_at_orders(struct front *front)
{
    pthread_mutex_lock(&front->mutex);
    bool quiesced = front->quiesced;
    uint64_t end_at_us = front->end_at_us;
    pthread_mutex_unlock(&front->mutex);
    if (quiesced && front->is_listening)
        stop_listening(front);
    front->is_ending = end_at_us != 0;
    return end_at_us == 0 || (front->tunnels && api_now_us() < end_at_us);
}

static void take_event(struct front *front, struct side *side)
{
    uint64_t count;
    if (side == &front->waker)
        (void)!read(side->fd, &count, sizeof(count));
    else if (side == &front->listener)
        accept_some(front);
    else
        run_tunnel(front, side->tunnel);
}

/* A tunnel has two sides in the epoll, and may be gone when the second has its turn. */
static void take_events(struct front *front, struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        struct side *side = events[i].data.ptr;
        if (!side)
            continue;
        for (int k = i + 1; k < count && side->tunnel; k++) {
            struct side *other = events[k].data.ptr;
            if (other && other->tunnel == side->tunnel)
                events[k].data.ptr = NULL;
        }
        take_event(front, side);
    }
}

static void *run(void *argument)
{
    struct front *front = argument;
    struct epoll_event events[EVENTS_MAX];
    while (look_at_orders(front)) {
        int count = epoll_wait(front->epoll_fd, events, EVENTS_MAX, LOOK_MS);
        must(count >= 0 || errno == EINTR);
        take_events(front, events, count);
        look_at_clock(front);
        look_at_listener(front);
    }
    /* What the kernel still has for those that were said goodbye to, it goes on sending. */
    while (front->tunnels) {
        if (front->tunnels->stage == STAGE_GOODBYE)
            close_tunnel(front, front->tunnels);
        else
            cut_off(front, front->tunnels);
    }
    return NULL;
}

/* ---- for the thread that serves ---- */

static void wake(struct front *front)
{
    uint64_t one = 1;
    must(write(front->wake_fd, &one, sizeof(one)) == sizeof(one));
}

static void free_front(struct front *front)
{
    struct front_arrival arrival;
    while (front_take(front, &arrival))
        close(arrival.fd);
    close_side(front, &front->listener);
    if (front->wake_fd >= 0)
        close(front->wake_fd);
    if (front->arrivals_fd >= 0)
        close(front->arrivals_fd);
    if (front->epoll_fd >= 0)
        close(front->epoll_fd);
    tls_identity_put(front->identity);
    pthread_mutex_destroy(&front->mutex);
    free(front);
}

int front_open(struct front **ret_front, const struct front_config *config)
{
    struct front *front = calloc(1, sizeof(*front));
    if (!front)
        return -ENOMEM;
    front->config = *config;
    front->identity = tls_identity_hold(config->first);
    front->end = &front->first;
    must(pthread_mutex_init(&front->mutex, NULL) == 0);
    front->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    front->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    front->arrivals_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    front->listener.fd = config->listen_fd;
    front->waker.fd = front->wake_fd;
    front->is_listening = true;
    int rc = front->epoll_fd < 0 || front->wake_fd < 0 || front->arrivals_fd < 0 ? -errno : 0;
    if (rc == 0) {
        ask(front, &front->listener, EPOLLIN);
        ask(front, &front->waker, EPOLLIN);
        rc = -pthread_create(&front->thread, NULL, run, front);
    }
    if (rc < 0)
        free_front(front);
    else
        *ret_front = front;
    return rc;
}

int front_poll_fd(const struct front *front)
{
    return front->arrivals_fd;
}

void front_heard(struct front *front)
{
    uint64_t count;
    (void)!read(front->arrivals_fd, &count, sizeof(count));
}

bool front_take(struct front *front, struct front_arrival *ret_arrival)
{
    pthread_mutex_lock(&front->mutex);
    struct arrival *arrival = front->first;
    if (arrival)
        front->first = arrival->next;
    if (!front->first)
        front->end = &front->first;
    pthread_mutex_unlock(&front->mutex);
    if (!arrival)
        return false;
    *ret_arrival = arrival->arrival;
    free(arrival);
    return true;
}

void front_set_identity(struct front *front, struct tls_identity *identity)
{
    pthread_mutex_lock(&front->mutex);
    struct tls_identity *before = front->identity;
    front->identity = tls_identity_hold(identity);
    pthread_mutex_unlock(&front->mutex);
    tls_identity_put(before);
}

void front_stats(struct front *front, struct front_stats *ret_stats)
{
    pthread_mutex_lock(&front->mutex);
    *ret_stats = front->stats;
    pthread_mutex_unlock(&front->mutex);
}

void front_quiesce(struct front *front)
{
    pthread_mutex_lock(&front->mutex);
    front->quiesced = true;
    pthread_mutex_unlock(&front->mutex);
    wake(front);
}

void front_close(struct front *front, uint64_t wait_us)
{
    struct front_arrival arrival;
    if (!front)
        return;
    while (front_take(front, &arrival)) /* nobody will */
        close(arrival.fd);
    pthread_mutex_lock(&front->mutex);
    front->quiesced = true;
    front->end_at_us = api_now_us() + wait_us + 1;
    pthread_mutex_unlock(&front->mutex);
    wake(front);
    must(pthread_join(front->thread, NULL) == 0);
    free_front(front);
}
