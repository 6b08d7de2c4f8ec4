#include "api/response.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/errors.h"
#include "wal/base.h"

void response_header_static(struct response *response, const char *name, const char *value)
{
    must(response->header_count < RESPONSE_HEADERS_MAX);
    response->headers[response->header_count].name = name;
    response->headers[response->header_count++].value = value;
}

void response_header(struct response *response, const char *name, const char *format, ...)
{
    char *value = response->values + response->values_bytes;
    size_t room = sizeof(response->values) - response->values_bytes;
    va_list arguments;

    va_start(arguments, format);
    int bytes = vsnprintf(value, room, format, arguments);
    va_end(arguments);
    must(bytes >= 0 && (size_t)bytes < room);
    response->values_bytes += (size_t)bytes + 1;
    response_header_static(response, name, value);
}

void response_header_text(struct response *response, const char *name, const char *value)
{
    size_t bytes = strlen(value) + 1;
    char *kept = response->values + response->values_bytes;
    must(bytes <= sizeof(response->values) - response->values_bytes);
    memcpy(kept, value, bytes);
    response->values_bytes += bytes;
    response_header_static(response, name, kept);
}

void response_text(struct response *response, unsigned status, const char *content_type,
                   struct text *body)
{
    must(response->status == 0);
    if (body->failed) {
        text_done(body);
        response_clear(response);
        response_problem(response, PROBLEM_NO_MEMORY, NULL);
        return;
    }
    response->status = status;
    response->body = body->data;
    response->body_bytes = body->bytes;
    *body = (struct text){0};
    response_header_text(response, "Content-Type", content_type);
}

void response_clear(struct response *response)
{
    free(response->body);
    response->status = 0;
    response->problem = 0;
    response->body = NULL;
    response->body_bytes = 0;
    response->header_count = 0;
    response->values_bytes = 0;
}
