#include "api/head.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "api/cors.h"
#include "api/errors.h"
#include "api/request.h"
#include "wal/base.h"

/* The date of the current second, as headers have it: most answers share it with others. */
static const char *date_now(void)
{
    static time_t made_at = -1;
    static char date[64];
    time_t now = time(NULL);
    if (now != made_at) {
        struct tm utc;
        gmtime_r(&now, &utc);
        strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc);
        made_at = now;
    }
    return date;
}

void head_begin(struct text *head, unsigned status, const char *reason)
{
    text_add_string(head, "HTTP/1.1 ");
    text_add_number(head, status);
    text_add(head, " ", 1);
    text_add_string(head, reason);
    text_add(head, "\r\n", 2);
    head_add(head, "Date", date_now());
}

bool head_add(void *head, const char *name, const char *value)
{
    text_add_string(head, name);
    text_add(head, ": ", 2);
    text_add_string(head, value);
    text_add(head, "\r\n", 2);
    return true;
}

void head_refuse(int fd, enum problem problem, const char *reason, const struct gate_config *gate,
                 const struct gate_facts *facts)
{
    CLEANUP(text_done) struct text out = {0};
    struct response response = {0};
    response_problem(&response, problem, NULL);
    head_begin(&out, response.status, reason);
    head_add(&out, "Connection", "close");
    for (unsigned i = 0; i < response.header_count; i++)
        head_add(&out, response.headers[i].name, response.headers[i].value);
    cors_headers(gate, facts, head_add, &out);
    text_format(&out,
                "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                "Content-Length: %zu\r\n\r\n",
                response.body_bytes);
    text_add(&out, response.body, response.body_bytes);
    if (!out.failed)
        (void)send(fd, out.data, out.bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    response_clear(&response);
}

/* Whoever may append chooses the type of a stream. Shown as a page, it would have this service's origin,
 * and with that all the rights of its visitor. */
static bool is_content(const struct request *request)
{
    return request->route && request->route->is_stream && request->route->method == HTTP_GET &&
           request->response.problem == 0;
}

bool head_each(const struct request *request, bool last, add_header_fn *add, void *out)
{
    const struct response *response = &request->response;
    bool fine = true;
    bool has_cache_control = false;
    for (unsigned i = 0; i < response->header_count; i++) {
        fine = fine && add(out, response->headers[i].name, response->headers[i].value);
        if (strcmp(response->headers[i].name, "Cache-Control") == 0)
            has_cache_control = true;
    }
    if (!has_cache_control)
        fine = fine && add(out, "Cache-Control", "no-store");
    fine = fine && add(out, "X-Content-Type-Options", "nosniff");
    if (is_content(request))
        fine = fine && add(out, "Content-Security-Policy", "sandbox");
    fine = fine && cors_headers(&request->api->gate, &request->facts, add, out);
    if (last)
        fine = fine && add(out, "Connection", "close");
    return fine;
}

void head_lay_out(struct text *out, const struct request *request, const char *reason)
{
    const struct response *response = &request->response;
    head_begin(out, response->status, reason);
    head_each(request, false, head_add, out);
    if (response->status != 204) {
        text_add_string(out, "Content-Length: ");
        text_add_number(out, response->body_bytes);
        text_add(out, "\r\n", 2);
    }
    text_add(out, "\r\n", 2);
    text_add(out, response->body, response->body_bytes);
}
