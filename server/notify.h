/*
 * What is said to the service manager, and what it hands over: systemd's protocols of readiness and of
 * listening sockets, which others speak too. They are a datagram and two variables, so there is no
 * library for them here: libsystemd would bring six more into the image for what is below.
 *
 * Where nobody listens (NOTIFY_SOCKET is not set) nothing is said.
 */
#ifndef SERVER_NOTIFY_H
#define SERVER_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct notify {
    int fd;               /* connected to the manager; -1: there is none */
    uint64_t watchdog_us; /* it wants to hear of us this often; 0: never */
    uint64_t said_us;     /* when it last did */
};

/* Connects: later the process may not be able to. Errors, with a sentence in *ret_reason: the socket
 * cannot be reached. */
int notify_open(struct notify *ret_notify, const char **ret_reason);
void notify_close(struct notify *notify);

/* One or more lines of "NAME=value". Does not wait: what the manager does not take is lost. */
void notify_say(struct notify *notify, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Called by the loop whenever it has done its work, and by nobody else: so the manager hears that the
 * loop turns, and restarts a service whose loop does not. Returns how long the loop may sleep until it
 * has to be back here, in microseconds; UINT64_MAX: no limit. */
uint64_t notify_turn(struct notify *notify, uint64_t now_us);

/* The listening socket that the manager has opened for this process (LISTEN_FDS); -ENOENT: none.
 * Errors, with a sentence: -EINVAL: several, or something else. */
int notify_socket(const char **ret_reason);

#endif
