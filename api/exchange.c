#include "api/exchange.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/errors.h"
#include "api/head.h"
#include "api/wire.h"
#include "wal/base.h"

/* What is cleared for a new request: the target behind it is written anyway. */
#define EXCHANGE_CLEARED_BYTES offsetof(struct exchange, target)

/* An answer of this size goes into the buffers of the kernel, whether or not the client takes it. */
#define SMALL_ANSWER_BYTES (16u << 10)

/* What each body may hold in any case. Bodies that are never finished can use up what all may hold
 * together, and small ones must get past them. */
#define OWN_BODY_BYTES (16u << 10)

/* What is read of a body after it has been refused, in the hope of its end. */
#define REFUSED_BODY_BYTES_MAX (4u << 20)

/* Exchanges that are kept for the next requests. */
#define SPARE_MAX 1024

/* ---- queues ---- */

void queue_init(struct queue *queue)
{
    queue->first = NULL;
    queue->end = &queue->first;
}

void queue_add(struct queue *queue, struct exchange *exchange)
{
    exchange->next = NULL;
    *queue->end = exchange;
    queue->end = &exchange->next;
}

struct exchange *queue_take(struct queue *queue)
{
    struct exchange *exchange = queue->first;
    if (exchange)
        queue->first = exchange->next;
    if (!queue->first)
        queue->end = &queue->first;
    return exchange;
}

/* ---- bodies and answers ---- */

/* What a body of this capacity takes of that which all may hold together. */
static size_t shared_bytes(size_t capacity)
{
    return capacity > OWN_BODY_BYTES ? capacity - OWN_BODY_BYTES : 0;
}

void exchange_drop_body(struct exchange *exchange)
{
    exchange->all->body_bytes -= shared_bytes(exchange->body_capacity);
    exchange->body_capacity = 0;
    free(TAKE(exchange->body));
}

/* Grows with what has arrived, not with what was announced: an announcement costs the client
 * nothing. False: the answer says why not. */
static bool make_room(struct exchange *exchange, size_t bytes)
{
    struct request *request = &exchange->request;
    struct exchanges *all = exchange->all;
    if (bytes > request->body_bytes_max - request->body_bytes) {
        request_refuse_size(request);
        return false;
    }
    size_t wanted = request->body_bytes + bytes;
    if (wanted <= exchange->body_capacity)
        return true;

    uint64_t left = all->body_bytes_total - all->body_bytes;
    size_t capacity = (size_t)min_u64(max_u64(wanted, 2 * (uint64_t)exchange->body_capacity),
                                      request->body_bytes_max);
    if (shared_bytes(capacity) - shared_bytes(exchange->body_capacity) > left)
        capacity = wanted; /* no more than it needs then */
    size_t more = shared_bytes(capacity) - shared_bytes(exchange->body_capacity);
    char *body = more <= left ? realloc(exchange->body, capacity) : NULL;
    if (!body) {
        request_refuse_memory(request);
        return false;
    }
    all->body_bytes += more;
    exchange->body = body;
    exchange->body_capacity = capacity;
    return true;
}

bool exchange_take_body(struct exchange *exchange, const char *data, size_t bytes)
{
    request_count_bytes(&exchange->request, bytes);
    if (exchange->stage == STAGE_BODY && !make_room(exchange, bytes)) {
        exchange->stage = STAGE_SWALLOW;
        exchange_drop_body(exchange);
    }
    if (exchange->stage == STAGE_SWALLOW) {
        exchange->swallowed_bytes += bytes;
        return exchange->swallowed_bytes <= REFUSED_BODY_BYTES_MAX;
    }
    must(exchange->stage == STAGE_BODY);
    if (bytes == 0)
        return true;
    memcpy(exchange->body + exchange->request.body_bytes, data, bytes);
    exchange->request.body_bytes += bytes;
    return true;
}

/* Clients that do not take their answers cost no more than this. What has been done is told in any
 * case, and an answer that nothing else stands in the way of is never refused for its size. */
void exchange_count_answer(struct exchange *exchange)
{
    struct exchanges *all = exchange->all;
    const struct route *route = exchange->request.route;
    struct response *response = &exchange->request.response;
    if (response->body_bytes > SMALL_ANSWER_BYTES && route && !route->changes &&
        all->answer_bytes > 0 &&
        all->answer_bytes + response->body_bytes > all->answer_bytes_total) {
        response_clear(response);
        response_problem(
            response, PROBLEM_NO_MEMORY,
            "Too many answers wait for clients that are slow to take them. Send the "
            "request again after a moment; if that goes on, ask for less at a time, or "
            "start the service with a larger --answer-memory.");
    }
    exchange->answer_bytes = response->body_bytes;
    all->answer_bytes += response->body_bytes;
}

bool exchange_give_away(struct exchange *exchange, int fd)
{
    CLEANUP(text_done) struct text head = {0};
    struct request *request = &exchange->request;
    int own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    head_begin(&head, request->response.status, "OK");
    head_each(request, true, head_add, &head);
    if (!exchange->is_old)
        head_add(&head, "Transfer-Encoding", "chunked");
    text_add(&head, "\r\n", 2);
    if (own_fd < 0 || head.failed) {
        if (own_fd >= 0)
            close(own_fd);
        follow_drop(request);
        response_clear(&request->response);
        response_problem(&request->response,
                         head.failed ? PROBLEM_NO_MEMORY : PROBLEM_TOO_MANY_FILES, NULL);
        return false;
    }
    wire_give_away(fd);
    follow_start(request, own_fd, &head, exchange->is_old);
    return true;
}

/* ---- beginning and end ---- */

struct exchange *exchange_new(struct exchanges *exchanges)
{
    struct exchange *exchange = exchanges->spare;
    if (exchange) {
        exchanges->spare = exchange->next;
        exchanges->spare_count--;
    } else {
        exchange = malloc(sizeof(*exchange));
    }
    if (!exchange)
        return NULL;
    memset(exchange, 0, EXCHANGE_CLEARED_BYTES);
    exchange->all = exchanges;
    return exchange;
}

static void keep_or_free(struct exchanges *exchanges, struct exchange *exchange)
{
    free(exchange->laid_out);
    if (exchanges->spare_count == SPARE_MAX) {
        free(exchange);
        return;
    }
    exchange->next = exchanges->spare;
    exchanges->spare = exchange;
    exchanges->spare_count++;
}

bool exchange_is_unfinished(const struct exchange *exchange)
{
    const struct request *request = &exchange->request;
    bool was_put_off = exchange->stage == STAGE_BODY && exchange->has_waited;
    bool has_waited = exchange->stage == STAGE_DECIDED && request->go_on;
    return (was_put_off || has_waited) && request->route->changes && !request->api->draining;
}

enum progress exchange_carry_on(struct exchange *exchange)
{
    struct request *request = &exchange->request;
    enum progress progress = PROGRESS_ANSWERED;
    if (exchange->stage == STAGE_BODY) {
        request->body = exchange->body;
        progress = request_answer(request);
    } else if (request->go_on) {
        progress = request_finish(request);
    } else {
        return PROGRESS_ANSWERED; /* exchange_close() ends it */
    }
    if (progress == PROGRESS_ANSWERED) {
        response_clear(&request->response); /* which nobody gets */
        exchange->stage = STAGE_ANSWERED;
    }
    return progress;
}

void exchange_close(struct exchange *exchange)
{
    if (exchange->stage == STAGE_DECIDED) /* its client is found to be gone: nobody to tell */
        request_abandon(&exchange->request);
    exchange->all->answer_bytes -= exchange->answer_bytes;
    exchange_drop_body(exchange);
    request_close(&exchange->request);
    keep_or_free(exchange->all, exchange);
}

void exchanges_done(struct exchanges *exchanges)
{
    must(exchanges->body_bytes == 0 && exchanges->answer_bytes == 0);
    while (exchanges->spare) {
        struct exchange *exchange = exchanges->spare;
        exchanges->spare = exchange->next;
        free(exchange);
    }
}
