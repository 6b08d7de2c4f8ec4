/* The listening socket: of TCP, or in the file system. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct listener {
    int fd;
    char address[128]; /* as it turned out, with the port that port 0 became */
    bool is_loopback;  /* nobody from another machine reaches it */

    /* Of a socket in the file system: where it is, and which one. */
    char path[108];
    dev_t device;
    ino_t inode;
};

/* What an address to listen on stands for. */
struct listen_address {
    struct sockaddr_storage name;
    socklen_t bytes;
};

/* "address:port", "[address]:port" or "unix:/path". On failure *ret_reason is a sentence, as of
 * listen_open(). Errors: -EINVAL. */
int listen_resolve(const char *address, struct listen_address *ret_address,
                   const char **ret_reason);

/* Listens there; a socket in the file system gets this mode, and takes the place of one that nobody
 * listens on any more. On failure *ret_reason is a sentence (static text or of strerror()).
 * Errors: -EINVAL: not an address; others from the system. */
int listen_open(struct listener *ret_listener, const char *address, mode_t mode,
                const char **ret_reason);

/* Closes it, if fd is not -1 by now, and removes it from the file system, if it is there. */
void listen_close(struct listener *listener);

/* Listens on a socket that somebody else has opened, of TCP or in the file system, which stays theirs to
 * remove. */
void listen_adopt(struct listener *ret_listener, int fd);

#endif
