#include "api/link.h"

#include <linux/sockios.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "api/errors.h"
#include "api/exchange.h"
#include "api/head.h"

/* The library takes no answer while a request is arriving, so this one goes past it: it has written
 * nothing then. The one exception is a refusal of its own, and what that left unsent is looked for. */
static void refuse_late(struct link *link)
{
    int unsent = 0;
    if (ioctl(link->fd, SIOCOUTQ, &unsent) < 0 || unsent > 0)
        return;
    head_refuse(link->fd, PROBLEM_TIMEOUT, "Request Timeout", &link->api->gate,
                link->exchange ? &link->exchange->request.facts : NULL);
    api_count_late(link->api, link->exchange ? &link->exchange->request : NULL);
}

void link_cut_off(struct link *link, enum deadline_kind kind)
{
    link->is_over = true;
    if (kind == DEADLINE_HEAD || kind == DEADLINE_BODY) {
        refuse_late(link);
    } else if (kind == DEADLINE_ANSWER) {
        /* What it does not take would otherwise stay in the kernel's memory for long. */
        struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(link->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    shutdown(link->fd, SHUT_RDWR);
}
