/* How far a request is once its handler returns. */
#ifndef API_PROGRESS_H
#define API_PROGRESS_H

enum progress {
    PROGRESS_ANSWERED, /* the response is there */
    PROGRESS_WAITING,  /* it comes later; the connection has been suspended */
};

#endif
