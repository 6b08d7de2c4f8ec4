/*
 * HTTP/1.1 over sockets, as the load tests need it: thousands of connections in one epoll loop,
 * each request written byte for byte by the test, half of one if it likes, and clients that do not read.
 */
#ifndef LOAD_CLIENT_H
#define LOAD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop {
    int epoll_fd;
};

/* The pointers lead into the client's buffer and hold until it is used again. */
struct answer {
    unsigned status;
    const char *head; /* from the status line to the last header's end of line */
    size_t head_bytes;
    char *body;
    size_t body_bytes;
};

struct client {
    void (*answered)(struct client *client, const struct answer *answer);
    /* The connection is gone, not by client_close(): 0 if the other side closed it, else a negative
     * errno; -EPROTO: what came was no answer. */
    void (*gone)(struct client *client, int error);
    void *owner;

    /* private */
    struct loop *loop; /* NULL: for client_ask() alone */
    int fd;            /* -1: not connected */
    bool deaf;         /* reads nothing */
    uint32_t watched;
    char *out, *in;
    size_t out_at, out_bytes, out_capacity;
    size_t in_at, in_bytes, in_capacity;
    struct answer asked;
};

int loop_open(struct loop *ret_loop);
void loop_close(struct loop *loop);
/* Waits at most timeout_ms for something to happen, and serves what did. */
void loop_turn(struct loop *loop, int timeout_ms);

void client_init(struct client *client, struct loop *loop,
                 void (*answered)(struct client *client, const struct answer *answer),
                 void (*gone)(struct client *client, int error), void *owner);
void client_done(struct client *client);

/* Connects to 127.0.0.1. `window`: bytes the client's kernel takes in, 0 for the system's choice.
 * A negative errno if it cannot. */
int client_connect(struct client *client, unsigned port, int window);
/* With `reset` what is still under way is thrown away on both sides. */
void client_close(struct client *client, bool reset);
bool client_is_open(const struct client *client);
/* What was written and has not left for the kernel. */
size_t client_unsent(const struct client *client);

/* Queues bytes, and sends what can be sent. */
void client_write(struct client *client, const void *data, size_t bytes);
void client_get(struct client *client, const char *target);
/* `headers`: whole lines, or "". */
void client_post(struct client *client, const char *target, const char *headers, const void *body,
                 size_t bytes);
/* From now on takes nothing from the socket, or does again. */
void client_set_deaf(struct client *client, bool deaf);

/* Waits for the answer to what was written, on a client without a loop. 0, or a negative errno:
 * -ETIMEDOUT after a minute. */
int client_ask(struct client *client, struct answer *ret_answer);

/* The value of a header as a number; UINT64_MAX if it is not there. */
uint64_t answer_number(const struct answer *answer, const char *header);

#endif
