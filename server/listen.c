#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096
#define UNIX_PREFIX "unix:"

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

static int open_socket(const struct listen_address *address)
{
    int one = 1;
    int fd = socket(address->name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* Without it a restart would have to wait for the old connections to be forgotten. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, (const struct sockaddr *)&address->name, address->bytes) < 0 ||
        listen(fd, BACKLOG) < 0) {
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

static int resolve_path(const char *path, struct listen_address *ret_address,
                        const char **ret_reason)
{
    struct sockaddr_un *name = (struct sockaddr_un *)(void *)&ret_address->name;
    size_t bytes = strlen(path);
    if (bytes == 0 || bytes >= sizeof(name->sun_path)) {
        *ret_reason = "behind unix: it wants the path of a socket, of 1 to 107 bytes";
        return -EINVAL;
    }
    name->sun_family = AF_UNIX;
    memcpy(name->sun_path, path, bytes + 1);
    ret_address->bytes = sizeof(*name);
    return 0;
}

int listen_resolve(const char *address, struct listen_address *ret_address, const char **ret_reason)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char host[256];
    const char *port;
    struct addrinfo *info;

    *ret_address = (struct listen_address){.bytes = 0};
    if (strncmp(address, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
        return resolve_path(address + strlen(UNIX_PREFIX), ret_address, ret_reason);
    if (!split(address, host, sizeof(host), &port)) {
        *ret_reason = "it is not of the form ADDRESS:PORT or unix:PATH";
        return -EINVAL;
    }
    if (!port_is_fine(port)) {
        *ret_reason = "its port is not a number from 0 to 65535";
        return -EINVAL;
    }
    int rc = getaddrinfo(host, port, &hints, &info);
    if (rc != 0) {
        *ret_reason = gai_strerror(rc);
        return -EINVAL;
    }
    ret_address->bytes = info->ai_addrlen;
    memcpy(&ret_address->name, info->ai_addr, info->ai_addrlen);
    freeaddrinfo(info);
    return 0;
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
        return "not allowed: an ordinary user may listen on ports from 1024 on (CAP_NET_BIND_SERVICE "
               "allows the others), and make a socket in a directory that he may write to";
    case -EEXIST:
        return "there is something at this path that is no socket: choose another, or remove it";
    default: return strerror(-error);
    }
}

/* ---- sockets in the file system ---- */

static const char *path_of(const struct listen_address *address)
{
    return ((const struct sockaddr_un *)(const void *)&address->name)->sun_path;
}

/* A socket stays when its process is killed. One that refuses connections is nobody's. */
static int clear_path(const struct listen_address *address)
{
    struct stat status;
    if (lstat(path_of(address), &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode))
        return -EEXIST;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int rc = connect(fd, (const struct sockaddr *)&address->name, address->bytes);
    bool is_stale = rc < 0 && errno == ECONNREFUSED;
    close(fd);
    if (!is_stale)
        return -EADDRINUSE;
    return unlinkat(AT_FDCWD, path_of(address), 0) < 0 ? -errno : 0;
}

/* Until its mode is set it is for its owner alone: the umask says so. */
static int open_path(struct listener *listener, const struct listen_address *address, mode_t mode)
{
    struct stat status;
    int rc = clear_path(address);
    if (rc < 0)
        return rc;
    mode_t before = umask(077);
    int fd = open_socket(address);
    umask(before);
    if (fd < 0)
        return fd;
    if (fchmodat(AT_FDCWD, path_of(address), mode, 0) < 0 || lstat(path_of(address), &status) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    snprintf(listener->path, sizeof(listener->path), "%s", path_of(address));
    snprintf(listener->address, sizeof(listener->address), UNIX_PREFIX "%s", listener->path);
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
    listener->is_loopback = true;
    return fd;
}

int listen_open(struct listener *ret_listener, const char *address, mode_t mode,
                const char **ret_reason)
{
    struct listen_address resolved;
    int rc = listen_resolve(address, &resolved, ret_reason);
    if (rc < 0)
        return rc;
    bool is_path = resolved.name.ss_family == AF_UNIX;
    int fd = is_path ? open_path(ret_listener, &resolved, mode) : open_socket(&resolved);
    if (fd < 0) {
        *ret_reason = explain(fd);
        return fd;
    }
    ret_listener->fd = fd;
    if (!is_path)
        describe(ret_listener);
    return 0;
}

void listen_adopt(struct listener *ret_listener, int fd)
{
    struct sockaddr_un name = {0};
    socklen_t bytes = sizeof(name) - 1;
    ret_listener->fd = fd;
    if (getsockname(fd, (struct sockaddr *)&name, &bytes) < 0 || name.sun_family != AF_UNIX) {
        describe(ret_listener);
        return;
    }
    snprintf(ret_listener->address, sizeof(ret_listener->address), "unix:%.80s", name.sun_path);
    ret_listener->is_loopback = true;
}

void listen_close(struct listener *listener)
{
    struct stat status;
    if (listener->fd >= 0)
        close(listener->fd);
    listener->fd = -1;
    if (listener->path[0] && lstat(listener->path, &status) == 0 &&
        status.st_dev == listener->device && status.st_ino == listener->inode)
        (void)unlinkat(AT_FDCWD, listener->path, 0);
    listener->path[0] = '\0';
}
