#include "server/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3 /* of those that are handed over */

/* A number of the environment, if it is meant for this process; 0: none. */
static unsigned long long number_for_us(const char *name, const char *pid_name)
{
    const char *text = getenv(name), *pid = getenv(pid_name);
    char *end;
    if (!text || (pid && strtoll(pid, NULL, 10) != getpid()))
        return 0;
    unsigned long long number = strtoull(text, &end, 10);
    return *end == '\0' ? number : 0;
}

/* A path, or with "@" a name that is in no file system. */
static int connect_to(const char *address)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t bytes = strlen(address);
    if ((address[0] != '/' && address[0] != '@') || bytes >= sizeof(name.sun_path))
        return -EINVAL;
    memcpy(name.sun_path, address, bytes);
    if (address[0] == '@')
        name.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    socklen_t name_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes);
    if (connect(fd, (const struct sockaddr *)&name, name_bytes) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int notify_open(struct notify *ret_notify, const char **ret_reason)
{
    const char *address = getenv("NOTIFY_SOCKET");
    *ret_notify = (struct notify){.fd = -1};
    if (!address || !address[0])
        return 0;
    int fd = connect_to(address);
    if (fd < 0) {
        *ret_reason =
            fd == -EINVAL ? "NOTIFY_SOCKET is neither a path nor a name with @" : strerror(-fd);
        return fd;
    }
    ret_notify->fd = fd;
    ret_notify->watchdog_us = number_for_us("WATCHDOG_USEC", "WATCHDOG_PID");
    return 0;
}

void notify_close(struct notify *notify)
{
    if (notify->fd >= 0)
        close(notify->fd);
    notify->fd = -1;
}

void notify_say(struct notify *notify, const char *format, ...)
{
    char text[512];
    va_list arguments;
    if (notify->fd < 0)
        return;
    va_start(arguments, format);
    int bytes = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (bytes > 0 && (size_t)bytes < sizeof(text))
        (void)send(notify->fd, text, (size_t)bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

uint64_t notify_turn(struct notify *notify, uint64_t now_us)
{
    /* Twice as often as wanted, as is advised. */
    uint64_t period_us = notify->watchdog_us / 2;
    if (notify->fd < 0 || period_us == 0)
        return UINT64_MAX;
    if (now_us - notify->said_us >= period_us) {
        notify_say(notify, "WATCHDOG=1");
        notify->said_us = now_us;
    }
    return notify->said_us + period_us - now_us;
}

/* ---- sockets that are handed over ---- */

static bool is_listener(int fd)
{
    int listens = 0, type = 0;
    socklen_t bytes = sizeof(listens);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) == 0 && listens &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == SOCK_STREAM;
}

int notify_socket(const char **ret_reason)
{
    unsigned long long count = getenv("LISTEN_PID") ? number_for_us("LISTEN_FDS", "LISTEN_PID") : 0;
    if (count == 0)
        return -ENOENT;
    *ret_reason = "LISTEN_FDS is not 1: wald takes one listening socket; give its unit one "
                  "ListenStream=";
    if (count != 1)
        return -EINVAL;
    *ret_reason = "the socket that was handed over (LISTEN_FDS) does not listen for connections: "
                  "it takes ListenStream= and Accept=no";
    int flags = fcntl(FIRST_FD, F_GETFL);
    if (flags < 0 || !is_listener(FIRST_FD) || fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(FIRST_FD, F_SETFL, flags | O_NONBLOCK) < 0)
        return -EINVAL;
    return FIRST_FD;
}
