#include "api/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "api/errors.h"
#include "api/inflate.h"
#include "api/json_scan.h"
#include "api/ndjson.h"
#include "api/request.h"
#include "wal/base.h"

/* What gzip may add to bytes that do not compress: headers of its own, and those of its blocks. */
#define GZIP_MORE_BYTES(bytes) ((bytes) / 256 + 1024)

/* Splitting, digests and checksums of so much take about as long as making a page. */
#define LONG_BODY_BYTES (1u << 20)

void load_done(struct load *load)
{
    free(load->many);
    free(load->inflated);
}

/* ---- sizes ---- */

bool load_is_batch(const struct request *request)
{
    const char *type = request->facts.headers[HTTP_CONTENT_TYPE];
    return request->route->is_stream || (type && gate_is_media_type(type, "application/x-ndjson"));
}

static bool is_compressed(const struct request *request)
{
    const char *encoding = request->facts.headers[HTTP_CONTENT_ENCODING];
    return encoding && gate_is_gzip(encoding);
}

/* Of the body itself, whatever it was packed in. */
static size_t plain_bytes_max(const struct request *request)
{
    const struct api_config *config = &request->api->config;
    return load_is_batch(request) ? config->batch_bytes_max : config->record_bytes_max;
}

size_t append_body_bytes_max(const struct request *request)
{
    size_t max = plain_bytes_max(request);
    return is_compressed(request) ? max + GZIP_MORE_BYTES(max) : max;
}

bool append_takes_long(const struct request *request)
{
    return is_compressed(request) || request->body_bytes >= LONG_BODY_BYTES;
}

static bool refuse_record_size(struct request *request)
{
    uint32_t max = request->api->config.record_bytes_max;
    response_problem_number(&request->response, PROBLEM_RECORD_TOO_LARGE, "record_bytes_max", max,
                            "A record has at most %" PRIu32
                            " bytes here. Split it, or start the service with a larger "
                            "--max-record-bytes.",
                            max);
    return false;
}

void append_refuse_size(struct request *request)
{
    uint32_t max = request->api->config.batch_bytes_max;
    if (!load_is_batch(request)) {
        refuse_record_size(request);
        return;
    }
    response_problem_number(&request->response, PROBLEM_BATCH_TOO_LARGE, "batch_bytes_max", max,
                            "A batch has at most %" PRIu32 " bytes here. Send it in parts.", max);
}

static bool refuse_count(struct request *request)
{
    response_problem_number(
        &request->response, PROBLEM_BATCH_TOO_LARGE, "batch_records_max", WAL_APPEND_RECORDS_MAX,
        "A batch has at most %u records. Send it in parts.", WAL_APPEND_RECORDS_MAX);
    return false;
}

static bool refuse_memory(struct request *request)
{
    response_problem(&request->response, PROBLEM_NO_MEMORY, NULL);
    return false;
}

/* ---- the body ---- */

bool load_unpack(struct request *request, struct load *load)
{
    load->body = request->body;
    load->body_bytes = request->body_bytes;
    if (request->body_bytes == 0 || !is_compressed(request))
        return true;
    int rc = inflate_gzip(request->body, request->body_bytes, plain_bytes_max(request),
                          &load->inflated, &load->body_bytes);
    load->body = load->inflated;
    switch (rc) {
    case 0: return true;
    case -EMSGSIZE: append_refuse_size(request); return false;
    case -ENOMEM: return refuse_memory(request);
    default: response_problem(&request->response, PROBLEM_BAD_ENCODING, NULL); return false;
    }
}

void load_one(struct load *load)
{
    load->one = (struct wal_record){.data = load->body, .size = load->body_bytes};
    load->records = &load->one;
    load->count = 1;
    load->bytes = load->body_bytes;
}

bool load_bytes(struct request *request, struct load *load)
{
    size_t max = request->api->config.record_bytes_max;
    load_one(load);
    if (load->body_bytes <= max)
        return true;
    load->count = (load->body_bytes + max - 1) / max;
    if (load->count > WAL_APPEND_RECORDS_MAX)
        return refuse_count(request);
    load->many = malloc(load->count * sizeof(*load->many));
    if (!load->many)
        return refuse_memory(request);
    for (size_t i = 0; i < load->count; i++)
        load->many[i] = (struct wal_record){
            .data = load->body + i * max,
            .size = (size_t)min_u64(max, load->body_bytes - i * max),
        };
    load->records = load->many;
    return true;
}

bool load_lines(struct request *request, struct load *load)
{
    struct ndjson lines;
    switch (
        ndjson_split(load->body, load->body_bytes, request->api->config.record_bytes_max, &lines)) {
    case 0: break;
    case -ENODATA:
        response_problem(&request->response, PROBLEM_EMPTY_RECORD,
                         "Send at least one line that is not empty: each is a record.");
        return false;
    case -ENOMEM: return refuse_memory(request);
    case -EMSGSIZE: return refuse_record_size(request);
    default: return refuse_count(request);
    }
    load->records = load->many = lines.records;
    load->count = lines.count;
    load->bytes = lines.bytes;
    return true;
}

/* ---- JSON ---- */

static bool refuse_json(struct request *request, int error, uint64_t at, const char *what)
{
    if (error == -E2BIG)
        response_problem_number(&request->response, PROBLEM_BAD_JSON, "position", at,
                                "Nothing was changed. Values may be nested %d deep, and %s is "
                                "deeper at byte %" PRIu64 ".",
                                JSON_SCAN_DEPTH_MAX, what, at);
    else
        response_problem_number(&request->response, PROBLEM_BAD_JSON, "position", at,
                                "Nothing was changed. The log takes JSON in UTF-8 alone, and %s is "
                                "none from byte %" PRIu64 " on.",
                                what, at);
    return false;
}

/* Adds a message; the first one needs no memory. */
static int add_message(struct load *load, const char *data, size_t bytes, size_t *capacity)
{
    struct wal_record record = {.data = data, .size = bytes};
    if (load->count == 0) {
        load->one = record;
    } else if (load->count == *capacity || !load->many) {
        *capacity = max_u64(16, *capacity * 2);
        struct wal_record *many = realloc(load->many, *capacity * sizeof(*many));
        if (!many)
            return -ENOMEM;
        if (!load->many)
            many[0] = load->one;
        load->many = many;
    }
    if (load->many)
        load->many[load->count] = record;
    load->records = load->many ? load->many : &load->one;
    load->count++;
    load->bytes += bytes;
    return 0;
}

bool load_messages(struct request *request, struct load *load, bool wanted)
{
    struct json_messages messages;
    const char *message;
    size_t bytes, capacity = 0;
    int rc = json_messages_begin(&messages, load->body, load->body_bytes);
    while (rc == 0 && (rc = json_messages_next(&messages, &message, &bytes)) == 0) {
        if (bytes > request->api->config.record_bytes_max)
            return refuse_record_size(request);
        if (load->count == WAL_APPEND_RECORDS_MAX)
            return refuse_count(request);
        if (add_message(load, message, bytes, &capacity) < 0)
            return refuse_memory(request);
    }
    if (rc != -ENODATA)
        return refuse_json(request, rc, messages.error_at, "the body");
    if (load->count > 0 || !wanted)
        return true;
    response_problem(&request->response, PROBLEM_BAD_JSON,
                     "Nothing was changed. Each element of the array is a message, and there is "
                     "none in it.");
    return false;
}

bool load_is_json(struct request *request, const struct load *load)
{
    for (size_t i = 0; i < load->count; i++) {
        uint64_t at;
        int rc = json_scan_document(load->records[i].data, load->records[i].size, &at);
        if (rc < 0 && load->count == 1)
            return refuse_json(request, rc, at, "the body");
        if (rc < 0)
            return refuse_json(request, rc, at, "one of the lines");
    }
    return true;
}
