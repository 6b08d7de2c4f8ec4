#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096

/* Splits at the last colon; brackets around the address go. */
static bool split(const char *address, char *host, size_t host_bytes, const char **ret_port)
{
    const char *colon = strrchr(address, ':');
    if (!colon || !colon[1])
        return false;
    size_t bytes = (size_t)(colon - address);
    if (bytes >= 2 && address[0] == '[' && address[bytes - 1] == ']') {
        address++;
        bytes -= 2;
    }
    if (bytes == 0 || bytes >= host_bytes)
        return false;
    memcpy(host, address, bytes);
    host[bytes] = '\0';
    *ret_port = colon + 1;
    return true;
}

/* getaddrinfo() takes a larger number for what is left of it in 16 bits. */
static bool port_is_fine(const char *port)
{
    size_t digits = strspn(port, "0123456789");
    return digits > 0 && digits <= 5 && !port[digits] && strtoul(port, NULL, 10) <= 65535;
}

static int open_socket(const struct addrinfo *info)
{
    int one = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* Without it a restart would have to wait for the old connections to be forgotten. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

static void describe(struct listener *listener)
{
    struct sockaddr_storage name = {0};
    socklen_t bytes = sizeof(name);
    char host[64] = "?", port[16] = "?";

    (void)getsockname(listener->fd, (struct sockaddr *)&name, &bytes);
    (void)getnameinfo((struct sockaddr *)&name, bytes, host, sizeof(host), port, sizeof(port),
                      NI_NUMERICHOST | NI_NUMERICSERV);
    bool v6 = name.ss_family == AF_INET6;
    snprintf(listener->address, sizeof(listener->address), v6 ? "[%s]:%s" : "%s:%s", host, port);
    const char *v4 = strncmp(host, "::ffff:", 7) == 0 ? host + 7 : host; /* within IPv6 */
    listener->is_loopback = strcmp(host, "::1") == 0 || strncmp(v4, "127.", 4) == 0;
}

int listen_resolve(const char *address, struct addrinfo **ret_info, const char **ret_reason)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char host[256];
    const char *port;

    if (!split(address, host, sizeof(host), &port)) {
        *ret_reason = "it is not of the form ADDRESS:PORT";
        return -EINVAL;
    }
    if (!port_is_fine(port)) {
        *ret_reason = "its port is not a number from 0 to 65535";
        return -EINVAL;
    }
    int rc = getaddrinfo(host, port, &hints, ret_info);
    if (rc != 0)
        *ret_reason = gai_strerror(rc);
    return rc != 0 ? -EINVAL : 0;
}

/* With what to do about it, where that can be told. */
static const char *explain(int error)
{
    switch (error) {
    case -EADDRINUSE:
        return "Address already in use: stop what listens there, or choose another port with "
               "--listen (in the environment: WALD_LISTEN)";
    case -EADDRNOTAVAIL:
        return "no network interface here has this address: choose one that does with --listen, "
               "such as 127.0.0.1:8080, or 0.0.0.0:8080 for all";
    case -EACCES:
        return "this port is not allowed to an ordinary user: choose one from 1024 on with "
               "--listen, or allow it (CAP_NET_BIND_SERVICE)";
    default: return strerror(-error);
    }
}

int listen_open(struct listener *ret_listener, const char *address, const char **ret_reason)
{
    struct addrinfo *info;
    int rc = listen_resolve(address, &info, ret_reason);
    if (rc < 0)
        return rc;
    int fd = open_socket(info);
    freeaddrinfo(info);
    if (fd < 0) {
        *ret_reason = explain(fd);
        return fd;
    }
    ret_listener->fd = fd;
    describe(ret_listener);
    return 0;
}
