/*
 * How much each client may have: connections at a time by its address, requests and bytes a second by
 * its token, or without one by its address. An address of IPv6 is its network of 64 bits, since that
 * is what one client has; the other side of a socket in the file system has none.
 *
 * A rate is kept as a moment: that at which all that was taken will have been paid for. A client may
 * be a second ahead of it. So nothing is done as time passes, whoever's moment has passed need not be
 * remembered, and when there will be room again is known and not guessed. Bytes are counted when they
 * are there, however many: who has taken too many is let in again once they are paid for.
 *
 * Belongs to the loop's thread.
 */
#ifndef API_CLIENTS_H
#define API_CLIENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "api/list.h"

/* 0: no limit. */
struct client_limits {
    uint32_t connections_max;
    uint64_t requests_per_second;
    uint64_t bytes_per_second;
};

struct client;

#define CLIENT_SECRET_BYTES 16
#define CLIENT_BUCKETS 4096u

struct clients {
    struct client_limits limits;
    struct client *buckets[CLIENT_BUCKETS];
    struct list_node idle; /* those that nobody holds, the oldest first */
    size_t idle_count;
    uint8_t secret[CLIENT_SECRET_BYTES]; /* so that nobody can choose who shares a bucket */
};

/* Errors: those of the system's source of randomness. */
int clients_init(struct clients *clients, const struct client_limits *limits);
void clients_done(struct clients *clients); /* nobody may hold any */

/* Whether anything is limited: otherwise no client is ever looked for. */
bool clients_are_limited(const struct clients *clients);

/* A connection from this address. False: it has enough of them, or there is no memory. *ret_client is
 * held until clients_disconnect(), or NULL if it has no address or there is no limit. */
bool clients_connect(struct clients *clients, const struct sockaddr *address,
                     struct client **ret_client);
/* The same connection is about to be held by two. */
void clients_share(struct client *client);                               /* NULL is fine */
void clients_disconnect(struct clients *clients, struct client *client); /* likewise */

/* The client of a token, held until clients_put(). NULL: no memory. */
struct client *clients_get(struct clients *clients, const uint8_t *digest);
struct client *clients_hold(struct client *client); /* once more; NULL is fine */
void clients_put(struct clients *clients, struct client *client);

enum client_rate { CLIENT_FINE, CLIENT_TOO_MANY_REQUESTS, CLIENT_TOO_MANY_BYTES };

/* Takes one request, if it may have one. If not, *ret_wait_us is how long until it may. */
enum client_rate clients_take_request(const struct clients *clients, struct client *client,
                                      uint64_t now_us, uint64_t *ret_wait_us);

/* So many bytes have been sent or received for it. */
void clients_take_bytes(const struct clients *clients, struct client *client, uint64_t now_us,
                        uint64_t bytes);

#endif
