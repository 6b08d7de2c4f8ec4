/*
 * Fuzz target for the way of a request: the gate, the target, the route, its parameters, the body and
 * the answer (api/), on a store on the simulated disk. What is not asked for politely must change
 * nothing, and nothing may be answered with a 500.
 *
 * The first byte of an input are choices. What follows are requests, each behind a byte of 0x1e:
 * lines that end with LF, the first of them "METHOD TARGET VERSION", the others "NAME: VALUE", an
 * empty line, and the body. A line need not be well-formed: whatever stands in a part is that part,
 * as it would be if the HTTP library handed it over.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/cors.h"
#include "api/request.h"
#include "tests/support/sim_store.h"
#include "wal/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    REQUESTS_MAX = 8,
    RUNS_MAX = 2000,
    RECORD_BYTES_MAX = 4096,
    SEPARATOR = 0x1e,
};

/* The first byte. */
enum {
    ANY_HOST = 1 << 0,
    VOLATILE = 1 << 1,
    DRAIN = 1 << 2, /* before the last request */
    SOME_ORIGIN = 1 << 3,
    ANY_ORIGIN = 1 << 4,
    LEAVE = 1 << 5, /* the clients do, while their logs are opened or made */
};

static struct sim_disk *disk;

/* A request with all that its pointers point to, each string in a block of its own. */
struct trial {
    struct request request;
    struct http_head head;
    char *strings[3 + 2 * HTTP_HEADERS_MAX];
    unsigned string_count;
    const uint8_t *body;
    size_t body_bytes;
    bool resumed, leaves;
};

/* ---- the input ---- */

/* Up to the first byte of `end`, which is taken, too; or all of it. */
static const uint8_t *take_until(const uint8_t **input, size_t *left, uint8_t end,
                                 size_t *ret_bytes)
{
    const uint8_t *begin = *input;
    const uint8_t *found = *left > 0 ? memchr(begin, end, *left) : NULL;

    *ret_bytes = found ? (size_t)(found - begin) : *left;
    size_t taken = *ret_bytes + (found != NULL);

    *input += taken;
    *left -= taken;
    return begin;
}

/* As the library hands strings over: they end at the first NUL. */
static const char *keep(struct trial *trial, const uint8_t *bytes, size_t count)
{
    size_t length = count > 0 ? strnlen((const char *)bytes, count) : 0;
    char *string = malloc(length + 1);

    must(string && trial->string_count < ARRAY_SIZE(trial->strings));
    if (length > 0)
        memcpy(string, bytes, length);
    string[length] = '\0';
    trial->strings[trial->string_count++] = string;
    return string;
}

static void read_header(struct trial *trial, const uint8_t *line, size_t bytes)
{
    struct http_head *head = &trial->head;

    if (head->header_count++ >= HTTP_HEADERS_MAX)
        return;

    struct http_header *header = &head->headers[head->header_count - 1];
    size_t name_bytes;
    const uint8_t *name = take_until(&line, &bytes, ':', &name_bytes);

    header->name = keep(trial, name, name_bytes);
    while (bytes > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        bytes--;
    }
    header->value = keep(trial, line, bytes);
    header->name_bytes = strlen(header->name);
    header->value_bytes = strlen(header->value);
}

static void read_head(struct trial *trial, const uint8_t *input, size_t left)
{
    struct http_head *head = &trial->head;
    size_t bytes;
    const uint8_t *line = take_until(&input, &left, '\n', &bytes);
    const uint8_t *part = line;
    size_t part_bytes;

    take_until(&part, &bytes, ' ', &part_bytes);
    head->method = keep(trial, line, part_bytes);
    line = part;
    take_until(&part, &bytes, ' ', &part_bytes);
    head->target_bytes = part_bytes > 0 ? strnlen((const char *)line, part_bytes) : 0;
    head->target = keep(trial, line, min_u64(head->target_bytes, HTTP_TARGET_BYTES_MAX));
    head->version = keep(trial, part, bytes);

    while (left > 0) {
        line = take_until(&input, &left, '\n', &bytes);
        if (bytes == 0)
            break;
        read_header(trial, line, bytes);
    }
    trial->body = input;
    trial->body_bytes = left;
}

/* ---- the connection ---- */

static void suspend(struct request *request)
{
}

static void resume(struct request *request)
{
    struct trial *trial = container_of(request, struct trial, request);

    must(!trial->resumed);
    trial->resumed = true;
}

static const struct request_transport transport = {suspend, suspend, suspend, resume};

static void ignore_event(void *context, const struct api_event *event)
{
}

static void forget_head(struct trial *trial)
{
    while (trial->string_count > 0)
        free(trial->strings[--trial->string_count]);
}

/* The client is gone, and the head with it. */
static void leave(struct trial *trial)
{
    struct request *request = &trial->request;

    trial->leaves = false;
    must(request_keep_head(request));
    forget_head(trial);
}

/* Lets the disk work until the request is decided. */
static void wait_for(struct trial *trial)
{
    struct api *api = trial->request.api;

    do {
        for (unsigned i = 0; i < RUNS_MAX && !trial->resumed; i++) {
            must(store_run(api->config.store, 0, api_appends_waiting(api) > 0 ? UINT64_MAX : 0) >=
                 0);
            if (i == RUNS_MAX / 2)
                api_drain(api); /* what waits for other requests waits no longer */
        }
        must(trial->resumed);
        trial->resumed = false;
        if (trial->leaves && trial->request.go_on)
            leave(trial);
    } while (request_finish(&trial->request) == PROGRESS_WAITING);
}

/* Lets the disk work until nothing is in progress any more: appends are, that were answered before
 * they were durable. */
static void settle(struct api *api)
{
    for (unsigned i = 0; i < RUNS_MAX && api_in_progress(api) > 0; i++)
        must(store_run(api->config.store, 0, UINT64_MAX) >= 0);
    must(api_in_progress(api) == 0 && api_appends_waiting(api) == 0);
}

static void receive_body(struct trial *trial, char *body)
{
    struct request *request = &trial->request;

    if (trial->body_bytes > request->body_bytes_max) {
        request_refuse_size(request);
        return;
    }
    if (trial->body_bytes > 0)
        memcpy(body, trial->body, trial->body_bytes);
    request->body = trial->body_bytes > 0 ? body : NULL;
    request->body_bytes = trial->body_bytes;
    if (request_answer(request) == PROGRESS_WAITING)
        wait_for(trial);
}

/* ---- what must hold ---- */

static bool check_header(void *out, const char *name, const char *value)
{
    bool *opened = out;

    if (strcmp(name, "Access-Control-Allow-Origin") == 0)
        *opened = true;
    for (const char *c = value; *c; c++)
        must(*c >= ' ' && *c <= '~');
    return true;
}

/* A page may read an answer only if its origin, or any, has been configured. */
static void check_cors(const struct request *request)
{
    const struct gate_config *gate = &request->api->gate;
    bool opened = false;

    must(cors_headers(gate, &request->facts, check_header, &opened));
    must(!opened || gate->origin_count > 0);
}

static void check_response(const struct response *response, bool draining)
{
    must(response->status >= 200 && response->status < 600);
    must(response->status < 500 || (draining && response->status == 503));
    must(response->header_count <= RESPONSE_HEADERS_MAX);
    must(response->body || response->body_bytes == 0);
    for (unsigned i = 0; i < response->header_count; i++) {
        for (const char *c = response->headers[i].value; *c; c++)
            must(*c >= ' ' && *c <= '~');
    }
    if (response->status >= 400) {
        static const char begin[] = "{\"type\":\"/problems/";

        must(response->body_bytes > sizeof(begin));
        must(memcmp(response->body, begin, sizeof(begin) - 1) == 0);
    }
}

/* Returns the status of the answer. */
static unsigned try_request(struct api *api, const uint8_t *input, size_t left, bool leaves)
{
    struct trial *trial = calloc(1, sizeof(*trial));

    must(trial);
    trial->leaves = leaves;
    read_head(trial, input, left);
    request_open(&trial->request, api, &transport);

    uint64_t before = sim_store_hash(api->config.store);
    char *raw = strdup(trial->head.target);
    char *body = malloc(trial->body_bytes + 1);

    must(raw && body);
    if (request_begin(&trial->request, &trial->head, raw) == BEGIN_READ)
        receive_body(trial, body);
    check_response(&trial->request.response, api->draining);
    check_cors(&trial->request);

    unsigned status = trial->request.response.status;

    /* A log that has ended by itself goes when it is asked for. */
    if (status >= 400 && !trial->request.has_waited_for_end)
        must(sim_store_hash(api->config.store) == before);
    request_close(&trial->request);
    settle(api);

    forget_head(trial);
    free(raw);
    free(body);
    free(trial);
    return status;
}

static void write_one(struct api *api, unsigned status, const char *request)
{
    must(try_request(api, (const uint8_t *)request, strlen(request), false) == status);
}

#define HOST " HTTP/1.1\nHost: localhost\n"

/* So that there is something to ask for, of each kind. */
static void write_logs(struct api *api)
{
    write_one(api, 200, "POST /logs/a" HOST "Content-Length: 5\n\nhello");
    write_one(api, 200, "POST /logs/a" HOST "Content-Length: 5\n\nhello");
    write_one(api, 201,
              "PUT /v1/stream/j" HOST
              "Content-Type: application/json\nContent-Length: 13\n\n[1,\"two\",[3]]");
    write_one(api, 201,
              "PUT /v1/stream/t" HOST "Content-Type: text/plain\nContent-Length: 4\n\ntext");
    write_one(api, 201, "PUT /v1/stream/c" HOST "Stream-Closed: true\nContent-Length: 3\n\nend");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const hosts[] = {"logs.example.com"};
    static const char *const origins[] = {"*", "https://app.example.com"};
    unsigned choices = size > 0 ? *data++ : 0;
    size_t left = size > 0 ? size - 1 : 0;
    struct api *api;

    if (!disk)
        must(sim_disk_new(NULL, &disk) == 0);

    struct store *store = sim_store_open(disk);
    const struct api_config config = {
        .store = store,
        .version = "fuzz",
        .record_bytes_max = RECORD_BYTES_MAX,
        .auto_create = true,
        .followers_max = 4,
        .follow_bytes_total = 1u << 20,
        .is_volatile = choices & VOLATILE,
        .hosts = hosts,
        .host_count = ARRAY_SIZE(hosts),
        .any_host = choices & ANY_HOST,
        .origins = choices & ANY_ORIGIN ? origins : origins + 1,
        .origin_count = (choices & ANY_ORIGIN) != 0 || (choices & SOME_ORIGIN) != 0,
        .tell = ignore_event,
    };

    must(api_new(&api, &config) == 0);
    write_logs(api);
    for (unsigned i = 0; i < REQUESTS_MAX && left > 0; i++) {
        size_t bytes;
        const uint8_t *input = take_until(&data, &left, SEPARATOR, &bytes);

        if (left == 0 && (choices & DRAIN))
            api_drain(api);
        try_request(api, input, bytes, choices & LEAVE);
    }
    api_free(api);
    sim_store_close(disk, store);
    return 0;
}
