/*
 * TLS in front of the HTTP library. A thread of its own accepts connections and shakes hands; behind
 * each there is then a pair of sockets, by which the service gets the plain bytes as if there were no
 * TLS: the reading of each byte before the library sees it, connections that wait, and streams of events
 * that leave the library are all as they are without it. Cryptography never holds up the thread that
 * serves and commits.
 *
 * Nothing is buffered but what one side has sent and the other has not taken, one record of at most
 * 16 KiB each way: then nothing more is read.
 *
 * All functions are for the thread that serves.
 */
#ifndef SERVER_FRONT_H
#define SERVER_FRONT_H

#include <stdint.h>
#include <sys/socket.h>

#include "server/tls.h"

struct front;

struct front_config {
    int listen_fd;            /* listening, non-blocking; the front's from now on */
    unsigned connections_max; /* further ones wait in the backlog until one is closed */
    unsigned per_address_max; /* further ones are closed at once; 0: no limit */
    uint64_t handshake_us;    /* a handshake has to be done so long after the connection was made */
    uint64_t taking_us;       /* some of what was sent has to be taken by then */
    struct tls_identity *first; /* held by the caller, and by the front */
};

/* A connection whose handshake is done: the plain side of it, and who is on the other. */
struct front_arrival {
    int fd;
    struct sockaddr_storage address;
    socklen_t address_bytes;
};

/* Errors: -errno. */
int front_open(struct front **ret_front, const struct front_config *config);

/* Polls readable when there are new arrivals, until front_heard(). */
int front_poll_fd(const struct front *front);
void front_heard(struct front *front);

/* The oldest arrival, whose descriptor is the caller's then. False: there is none. */
bool front_take(struct front *front, struct front_arrival *ret_arrival);

/* New connections get this certificate; those that there are keep theirs. */
void front_set_identity(struct front *front, struct tls_identity *identity);

/* Ever: done; given up or too late; and connections beyond what one address may have, or without the
 * memory for them. */
struct front_stats {
    uint64_t handshakes, handshakes_failed, refused;
};
void front_stats(struct front *front, struct front_stats *ret_stats);

/* No more connections are accepted, and handshakes under way are given up. */
void front_quiesce(struct front *front);

/* What the service has said goes out to those who take it, for so long at most; then all ends. The
 * service has closed its side of all connections. NULL is fine. */
void front_close(struct front *front, uint64_t wait_us);

#endif
