/*
 * Whether a request may have what it asks for, by the token it presents: judged when its head is there
 * and its route is known, before anything is touched and before its body is read.
 */
#ifndef API_ACCESS_H
#define API_ACCESS_H

#include <errno.h>
#include <stdbool.h>

struct request;

/* What a route wants a token to be good for. */
enum access {
    ACCESS_NONE = 0,   /* no route has it */
    ACCESS_LOG_READ,   /* the right to read the log of the path */
    ACCESS_LOG_APPEND, /* … to append to it */
    ACCESS_LOG_ADMIN,  /* … to change what it is */
    ACCESS_NAMES,      /* to read any log: names that it may not read are not told */
    ACCESS_ALL_LOGS,   /* to read all logs, as what is told is of all */
    ACCESS_TOKEN,      /* any token there is */
};

/* A token has gone from the file, or one of its rights, since the request was let in. */
#define ERROR_RIGHT_GONE (-EKEYREVOKED)

/* False: refused, and the response says why. Sets request->who. */
bool access_check(struct request *request);

/* Likewise for one that was let in, and has waited since: the tokens may be others now. */
bool access_check_again(struct request *request);

/* Whether it may still be told of its log, which it asked to read. */
bool access_is_gone(const struct request *request);

/* Answers with what ERROR_RIGHT_GONE means. */
void access_say_gone(struct request *request);

/* Whether the request may be told of this log: it is among those its token may read. */
bool access_may_see(const struct request *request, const char *log);

#endif
