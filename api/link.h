/*
 * A connection of the HTTP library, from its beginning to its end, and how it is ended when its client
 * takes too long. Belongs to the loop's thread.
 */
#ifndef API_LINK_H
#define API_LINK_H

#include <stdbool.h>

#include "api/deadline.h"

struct MHD_Connection;
struct api;
struct client;
struct exchange;
struct mhd;

struct link {
    struct mhd *mhd;
    struct api *api;
    struct MHD_Connection *connection;
    int fd;                    /* the library's */
    struct exchange *exchange; /* the one under way, if there is one */
    struct deadline deadline;
    struct client *client;      /* whose it is; NULL: nobody's in particular */
    bool is_over;               /* it has been told so, and nothing it sent is acted on any more */
    bool goes_on;               /* only the library is done with it: it has been parked */
    struct exchange *returning; /* it was parked, and the head will be read a second time */
};

/* What it was to have done by now has not been done. */
void link_cut_off(struct link *link, enum deadline_kind kind);

#endif
