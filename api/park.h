/*
 * Connections whose requests wait for long, outside the HTTP library: of each there is a socket, the
 * head of the request to be read once more, and nothing that anybody has to walk past. Whether a
 * client is still there is asked of the kernel. Belongs to the loop's thread.
 */
#ifndef API_PARK_H
#define API_PARK_H

#include <stdbool.h>
#include <stddef.h>

#include "api/text.h"

struct parking {
    int epoll_fd; /* polls readable when a client has hung up */
    unsigned count, max;
};

/* Part of what waits. */
struct parked {
    int fd;
    char *head; /* on the heap */
    size_t head_bytes;
};

/* Errors: -errno of making the epoll. */
int parking_open(struct parking *parking, unsigned max);

/* None may be parked any more. */
void parking_close(struct parking *parking);

/* Adds a header to the head that is going to be read once more, unless it is about what is behind the head. */
void park_print_header(struct text *head, const char *name, const char *value);

/* Keeps the socket of `fd`, by a descriptor of its own, and the head, which is taken over empty. False:
 * no room, no memory or no descriptor for it, and nothing is kept. */
bool park_begin(struct parking *parking, struct parked *parked, int fd, struct text *head);

/* The descriptor is the caller's now; the head is for park_reopen(), which is called next. */
void park_end(struct parking *parking, struct parked *parked);

/* A descriptor for the library to have, from which it reads the head first. The caller's is still there.
 * Errors: -1. */
int park_reopen(struct parked *parked);

/* Those whose clients have hung up, or send no more, since it was asked last, as far as there is room
 * for them; what is left comes with the next call. */
unsigned parking_look(struct parking *parking, struct parked **ret_gone, unsigned gone_max);

#endif
