/*
 * One request to the service as a value, where the transport would make it: what it says, and whether it
 * waits. For tests of api/ that have no transport, and drive the store themselves.
 */
#ifndef TESTS_SUPPORT_CALL_H
#define TESTS_SUPPORT_CALL_H

#include "api/request.h"

#define CALL_HEADERS_MAX 16

struct call {
    struct request request;
    char target[256], length[32];
    char names[CALL_HEADERS_MAX][64];
    bool suspended, resumed;
    enum progress progress;
};

#define HEADERS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* A head, and a body of so many bytes to come. Headers are lines, "Name: value", which have to live as
 * long as the call; NULL: none. */
enum begin call_begin(struct call *call, struct api *api, const char *method, const char *target,
                      const char *const *headers, size_t bytes);

/* The body is there. The request is answered, or waits. */
void call_answer(struct call *call, const char *body, size_t bytes);

/* It was resumed, and goes on. */
void call_go_on(struct call *call);

/* Waits until its log is opened or made, which comes before everything else; committer 0 is driven. */
void call_open_log(struct call *call, struct store *store);

void call_expect_waiting(const struct call *call);

#endif
