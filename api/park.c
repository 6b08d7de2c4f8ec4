#include "api/park.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "api/head.h"
#include "api/wire.h"
#include "wal/base.h"

#define EVENTS_MAX 256

int parking_open(struct parking *parking, unsigned max)
{
    *parking = (struct parking){.epoll_fd = epoll_create1(EPOLL_CLOEXEC), .max = max};
    return parking->epoll_fd < 0 ? -errno : 0;
}

void parking_close(struct parking *parking)
{
    must(parking->count == 0);
    close(parking->epoll_fd);
}

/* What is behind the head has been read, and whoever asked for leave to send it has got it. */
static bool is_over_with(const char *header)
{
    return strcasecmp(header, "Expect") == 0 || strcasecmp(header, "Content-Length") == 0 ||
           strcasecmp(header, "Transfer-Encoding") == 0;
}

void park_print_header(struct text *head, const char *name, const char *value)
{
    if (!is_over_with(name))
        head_add(head, name, value);
}

bool park_begin(struct parking *parking, struct parked *parked, int fd, struct text *head)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = parked};
    if (parking->count >= parking->max || head->failed)
        return false;
    parked->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (parked->fd < 0)
        return false;
    if (epoll_ctl(parking->epoll_fd, EPOLL_CTL_ADD, parked->fd, &event) < 0) {
        close(parked->fd);
        return false;
    }
    char *fitting = realloc(head->data, head->bytes);
    parked->head_bytes = head->bytes;
    parked->head = fitting ? fitting : head->data;
    *head = (struct text){0};
    parking->count++;
    return true;
}

void park_end(struct parking *parking, struct parked *parked)
{
    must(epoll_ctl(parking->epoll_fd, EPOLL_CTL_DEL, parked->fd, NULL) == 0);
    parking->count--;
}

int park_reopen(struct parked *parked)
{
    int fd = fcntl(parked->fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0 && wire_open(fd) < 0) {
        close(fd);
        fd = -1;
    }
    if (fd >= 0)
        wire_unread(fd, TAKE(parked->head), parked->head_bytes);
    else
        free(TAKE(parked->head));
    return fd;
}

unsigned parking_look(struct parking *parking, struct parked **ret_gone, unsigned gone_max)
{
    struct epoll_event events[EVENTS_MAX];
    int wanted = (int)min_u64(gone_max, EVENTS_MAX);
    int count = parking->count > 0 ? epoll_wait(parking->epoll_fd, events, wanted, 0) : 0;
    for (int i = 0; i < count; i++)
        ret_gone[i] = events[i].data.ptr;
    return count > 0 ? (unsigned)count : 0;
}
