/*
 * Sockets to requests and back. One thread runs it, from an event loop of its own that also drives
 * the store's committer. Public.
 */
#ifndef API_MHD_H
#define API_MHD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "api/api.h"

struct mhd;

struct mhd_config {
    /* Listening, non-blocking; to be left to this struct from now on. -1: none, and connections come
     * by mhd_adopt(). */
    int listen_fd;
    unsigned connections_max; /* not 0; further ones wait in the backlog until one is closed */
    uint32_t header_bytes_max;
    uint64_t body_bytes_total; /* of all bodies at a time, but for 16 KiB each; beyond it 503 */
    uint64_t
        answer_bytes_total; /* of all answers that are being taken; beyond it reading gets 503 */

    /* What a client has to be done with in so long, or is cut off: the head of a request, from the
     * connection's beginning or from its first line; the body, from the end of the head; taking the
     * answer; and sending the next request. */
    uint64_t header_timeout_us, body_timeout_us, answer_timeout_us, idle_timeout_us;
};

/* Errors, after which the process can only end: -ENOMEM; -errno of making an epoll; -EIO: libmicrohttpd does not start. */
int mhd_open(struct mhd **ret_mhd, const struct mhd_config *config, struct api *api);

/* A connection that was made elsewhere: a stream socket of this machine, which is closed in any case, by
 * a client of this address. Only while there is room. */
bool mhd_has_room(const struct mhd *mhd);
void mhd_adopt(struct mhd *mhd, int fd, const struct sockaddr *client);

/* The descriptor that polls readable when mhd_run() has work. */
int mhd_poll_fd(const struct mhd *mhd);

/* Likewise, and it polls readable when a client has hung up whose request waits. */
int mhd_parking_fd(const struct mhd *mhd);

/* Resumes what has been decided, serves what is ready, and never sleeps. Returns in how many
 * microseconds to call it again at the latest; UINT64_MAX: no timer. */
uint64_t mhd_run(struct mhd *mhd);

/* Takes no more connections and closes each one behind its next answer. */
void mhd_quiesce(struct mhd *mhd);

/* How many requests wait for the store: for the disk, or for records to come. */
unsigned mhd_suspended(const struct mhd *mhd);

const char *mhd_library_version(void);

/* None may be suspended any more; what else is under way is cut off. NULL is fine. */
void mhd_close(struct mhd *mhd);

#endif
