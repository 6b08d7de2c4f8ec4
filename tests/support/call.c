#include "tests/support/call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "wal/base.h"

static void suspend(struct request *request)
{
    struct call *call = container_of(request, struct call, request);
    assert_false(call->suspended);
    call->suspended = true;
}

static void resume(struct request *request)
{
    struct call *call = container_of(request, struct call, request);
    assert_true(call->suspended && !call->resumed);
    call->resumed = true;
}

static void add_header(struct call *call, struct http_head *head, const char *line)
{
    char *name = call->names[head->header_count];
    const char *value = strchr(line, ':') + 2;
    const size_t name_bytes = (size_t)(value - 2 - line);
    assert_true(head->header_count < CALL_HEADERS_MAX && name_bytes < sizeof(call->names[0]));
    memcpy(name, line, name_bytes);
    head->headers[head->header_count++] =
        (struct http_header){name, value, name_bytes, strlen(value)};
}

enum begin call_begin(struct call *call, struct api *api, const char *method, const char *target,
                      const char *const *headers, size_t bytes)
{
    static const struct request_transport transport = {suspend, suspend, suspend, resume};
    struct http_head head = {.method = method, .version = "HTTP/1.1", .target = target};
    *call = (struct call){0};
    snprintf(call->target, sizeof(call->target), "%s", target);
    snprintf(call->length, sizeof(call->length), "Content-Length: %zu", bytes);
    head.target_bytes = strlen(target);
    add_header(call, &head, "Host: localhost");
    if (bytes > 0 || strcmp(method, "POST") == 0)
        add_header(call, &head, call->length);
    for (; headers && *headers; headers++)
        add_header(call, &head, *headers);
    request_open(&call->request, api, &transport);
    return request_begin(&call->request, &head, call->target);
}

void call_answer(struct call *call, const char *body, size_t bytes)
{
    call->request.body = body;
    call->request.body_bytes = bytes;
    call->progress = request_answer(&call->request);
}

void call_go_on(struct call *call)
{
    assert_true(call->resumed);
    call->suspended = call->resumed = false;
    call->progress = request_finish(&call->request);
}

void call_open_log(struct call *call, struct store *store)
{
    while (call->request.go_on) {
        while (!call->resumed)
            assert_true(store_run(store, 0, 1000) >= 0);
        call_go_on(call);
    }
}

void call_expect_waiting(const struct call *call)
{
    assert_true(call->suspended && !call->resumed);
}
