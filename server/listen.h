/* The listening socket. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include <stdbool.h>

struct listener {
    int fd;
    char address[96]; /* as it turned out, with the port that port 0 became */
    bool is_loopback;
};

struct addrinfo;

/* What "address:port" or "[address]:port" stands for, to be given to freeaddrinfo(). On failure
 * *ret_reason is a sentence, as of listen_open(). Errors: -EINVAL. */
int listen_resolve(const char *address, struct addrinfo **ret_info, const char **ret_reason);

/* Listens on "address:port" or "[address]:port". On failure *ret_reason is a sentence (static text
 * or of strerror()). Errors: -EINVAL: not an address; others from the system. */
int listen_open(struct listener *ret_listener, const char *address, const char **ret_reason);

#endif
