#include "tests/load/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/load/load.h"
#include "wal/base.h"

#define EVENTS_MAX 512
#define READ_BYTES (64u << 10)
#define ANSWER_BYTES_MAX (64u << 20)

/* ---- the loop ---- */

int loop_open(struct loop *ret_loop)
{
    ret_loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return ret_loop->epoll_fd < 0 ? -errno : 0;
}

void loop_close(struct loop *loop)
{
    close(loop->epoll_fd);
}

/* Tells the loop what the client waits for now. */
static void watch(struct client *client)
{
    uint32_t wanted = client->deaf ? 0 : EPOLLIN;
    if (client_unsent(client) > 0)
        wanted |= EPOLLOUT;
    if (!client->loop || client->fd < 0 || wanted == client->watched)
        return;
    struct epoll_event event = {.events = wanted, .data.ptr = client};
    must(epoll_ctl(client->loop->epoll_fd, EPOLL_CTL_MOD, client->fd, &event) == 0);
    client->watched = wanted;
}

/* ---- connecting ---- */

void client_init(struct client *client, struct loop *loop,
                 void (*answered)(struct client *client, const struct answer *answer),
                 void (*gone)(struct client *client, int error), void *owner)
{
    *client =
        (struct client){.loop = loop, .answered = answered, .gone = gone, .owner = owner, .fd = -1};
}

void client_done(struct client *client)
{
    client_close(client, false);
    free(client->in);
    free(client->out);
    client->in = client->out = NULL;
    client->in_capacity = client->out_capacity = 0;
}

static int open_socket(unsigned port, int window)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* Before connecting, since the window is agreed on then. */
    if (window > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof(window));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct timeval patience = {.tv_sec = 30}; /* also of connect() */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int client_connect(struct client *client, unsigned port, int window)
{
    must(client->fd < 0);
    int fd = open_socket(port, window);
    if (fd < 0)
        return fd;
    client->fd = fd;
    client->in_at = client->in_bytes = client->out_at = client->out_bytes = 0;
    client->watched = client->deaf ? 0 : EPOLLIN;
    if (client->loop) {
        struct epoll_event event = {.events = client->watched, .data.ptr = client};
        must(epoll_ctl(client->loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0);
    }
    return 0;
}

void client_close(struct client *client, bool reset)
{
    if (client->fd < 0)
        return;
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    if (reset)
        (void)setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(client->fd);
    client->fd = -1;
    client->out_at = client->out_bytes = 0;
}

bool client_is_open(const struct client *client)
{
    return client->fd >= 0;
}

size_t client_unsent(const struct client *client)
{
    return client->out_bytes - client->out_at;
}

static void lose(struct client *client, int error)
{
    client_close(client, false);
    if (client->gone)
        client->gone(client, error);
}

/* ---- writing ---- */

/* What could not be sent is found out by reading: an answer may have come before the end. */
static void send_some(struct client *client)
{
    while (client->fd >= 0 && client_unsent(client) > 0) {
        ssize_t sent = send(client->fd, client->out + client->out_at, client_unsent(client),
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN)
            client->out_at = client->out_bytes;
        if (sent < 0)
            break;
        client->out_at += (size_t)sent;
    }
    if (client_unsent(client) == 0)
        client->out_at = client->out_bytes = 0;
    watch(client);
}

static void grow(char **buffer, size_t *capacity, size_t wanted)
{
    if (wanted <= *capacity)
        return;
    *capacity = max_u64(wanted, 2 * *capacity);
    *buffer = realloc(*buffer, *capacity);
    must(*buffer);
}

static void queue(struct client *client, const void *data, size_t bytes)
{
    grow(&client->out, &client->out_capacity, client->out_bytes + bytes);
    if (bytes > 0)
        memcpy(client->out + client->out_bytes, data, bytes);
    client->out_bytes += bytes;
}

void client_write(struct client *client, const void *data, size_t bytes)
{
    queue(client, data, bytes);
    send_some(client);
}

void client_get(struct client *client, const char *target)
{
    char head[512];
    int bytes = snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", target);
    must(bytes > 0 && (size_t)bytes < sizeof(head));
    client_write(client, head, (size_t)bytes);
}

void client_post(struct client *client, const char *target, const char *headers, const void *body,
                 size_t bytes)
{
    char head[512];
    int head_bytes = snprintf(head, sizeof(head),
                              "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n"
                              "%s\r\n",
                              target, bytes, headers);
    must(head_bytes > 0 && (size_t)head_bytes < sizeof(head));
    queue(client, head, (size_t)head_bytes);
    client_write(client, body, bytes);
}

void client_set_deaf(struct client *client, bool deaf)
{
    client->deaf = deaf;
    watch(client);
}

/* ---- reading ---- */

/* The value of a header, and its length; NULL if it is not there. */
static const char *find_header(const struct answer *answer, const char *name, size_t *ret_bytes)
{
    size_t name_bytes = strlen(name);
    const char *end = answer->head + answer->head_bytes;
    const char *line = answer->head;
    while (line < end) {
        const char *line_end = memmem(line, (size_t)(end - line), "\r\n", 2);
        size_t bytes = (size_t)((line_end ? line_end : end) - line);
        if (bytes > name_bytes && line[name_bytes] == ':' &&
            strncasecmp(line, name, name_bytes) == 0) {
            const char *value = line + name_bytes + 1;
            while (value < line + bytes && *value == ' ')
                value++;
            *ret_bytes = (size_t)(line + bytes - value);
            return value;
        }
        line += bytes + 2;
    }
    return NULL;
}

uint64_t answer_number(const struct answer *answer, const char *header)
{
    size_t bytes;
    const char *value = find_header(answer, header, &bytes);
    if (!value || bytes == 0 || *value < '0' || *value > '9')
        return UINT64_MAX;
    return strtoull(value, NULL, 10); /* an end of line stands behind it */
}

/* Puts the pieces of a chunked body together in place. How much of the buffer it takes; 0: it is
 * not all there; negative: it is none. */
static ssize_t join_chunks(char *from, size_t bytes, size_t *ret_body_bytes)
{
    size_t at = 0, body_bytes = 0;
    for (int pass = 0; pass < 2; pass++) { /* first only looks whether all is there */
        at = body_bytes = 0;
        for (;;) {
            const char *line_end = memmem(from + at, bytes - at, "\r\n", 2);
            if (!line_end)
                return bytes - at > 32 ? -EPROTO : 0;
            char *stop;
            unsigned long size = strtoul(from + at, &stop, 16);
            if (stop == from + at || size > ANSWER_BYTES_MAX)
                return -EPROTO;
            at = (size_t)(line_end - from) + 2;
            if (bytes - at < size + 2)
                return 0;
            if (pass == 1)
                memmove(from + body_bytes, from + at, size);
            body_bytes += size;
            at += size + 2;
            if (size == 0)
                break;
        }
    }
    *ret_body_bytes = body_bytes;
    return (ssize_t)at;
}

/* How much of the buffer the next answer takes; 0: it is not all there; negative: it is none. */
static ssize_t parse(struct client *client, struct answer *ret_answer)
{
    char *head = client->in + client->in_at;
    size_t bytes = client->in_bytes - client->in_at, value_bytes;
    const char *end = memmem(head, bytes, "\r\n\r\n", 4);
    if (!end)
        return bytes > READ_BYTES ? -EPROTO : 0;
    if (bytes < 13 || memcmp(head, "HTTP/1.1 ", 9) != 0)
        return -EPROTO;

    *ret_answer = (struct answer){.status = (unsigned)strtoul(head + 9, NULL, 10),
                                  .head = head,
                                  .head_bytes = (size_t)(end - head) + 2};
    ret_answer->body = head + ret_answer->head_bytes + 2;
    size_t head_all = ret_answer->head_bytes + 2;
    if (ret_answer->status < 200 || ret_answer->status == 204 || ret_answer->status == 304)
        return (ssize_t)head_all;
    const char *coding = find_header(ret_answer, "Transfer-Encoding", &value_bytes);
    if (coding) {
        ssize_t taken = join_chunks(ret_answer->body, bytes - head_all, &ret_answer->body_bytes);
        return taken > 0 ? taken + (ssize_t)head_all : taken;
    }
    uint64_t body_bytes = answer_number(ret_answer, "Content-Length");
    if (body_bytes > ANSWER_BYTES_MAX)
        return -EPROTO;
    ret_answer->body_bytes = body_bytes;
    return bytes - head_all < body_bytes ? 0 : (ssize_t)(head_all + body_bytes);
}

static void take_answers(struct client *client)
{
    while (client->fd >= 0 && client->in_bytes > client->in_at) {
        struct answer answer;
        ssize_t taken = parse(client, &answer);
        if (taken < 0)
            lose(client, (int)taken);
        if (taken <= 0)
            return;
        client->in_at += (size_t)taken;
        if (answer.status >= 200)
            client->answered(client, &answer);
    }
}

static void read_some(struct client *client)
{
    if (client->in_at > 0)
        memmove(client->in, client->in + client->in_at, client->in_bytes - client->in_at);
    client->in_bytes -= client->in_at;
    client->in_at = 0;
    grow(&client->in, &client->in_capacity, client->in_bytes + READ_BYTES);

    ssize_t got = recv(client->fd, client->in + client->in_bytes,
                       client->in_capacity - client->in_bytes, MSG_DONTWAIT);
    if (got > 0) {
        client->in_bytes += (size_t)got;
        take_answers(client);
    } else if (got == 0) {
        lose(client, 0);
    } else if (errno != EAGAIN && errno != EINTR) {
        lose(client, -errno);
    }
}

void loop_turn(struct loop *loop, int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, timeout_ms);
    must(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; i++) {
        struct client *client = events[i].data.ptr;
        uint32_t happened = events[i].events;
        if (client->fd >= 0 && happened & EPOLLOUT)
            send_some(client);
        /* One that does not read learns by this alone that it has been closed. */
        if (client->fd >= 0 && client->deaf && happened & (EPOLLHUP | EPOLLERR))
            lose(client, -ECONNRESET);
        else if (client->fd >= 0 && !client->deaf && happened & (EPOLLIN | EPOLLHUP | EPOLLERR))
            read_some(client);
    }
}

/* ---- one question at a time ---- */

static void keep_answer(struct client *client, const struct answer *answer)
{
    client->asked = *answer;
}

int client_ask(struct client *client, struct answer *ret_answer)
{
    uint64_t until_us = clock_us() + 60 * SECOND_US;
    must(!client->loop && client->in_at == client->in_bytes);
    client->answered = keep_answer;
    client->gone = NULL;
    client->asked.status = 0;
    while (client->asked.status == 0) {
        short wanted = client_unsent(client) > 0 ? POLLIN | POLLOUT : POLLIN;
        struct pollfd ready = {.fd = client->fd, .events = wanted};
        if (client->fd < 0)
            return -ECONNRESET;
        if (clock_us() >= until_us)
            return -ETIMEDOUT;
        if (poll(&ready, 1, 1000) <= 0)
            continue;
        if (ready.revents & POLLOUT)
            send_some(client);
        if (ready.revents & ~POLLOUT)
            read_some(client);
    }
    *ret_answer = client->asked;
    return 0;
}
