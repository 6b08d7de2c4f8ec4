/*
 * Fuzz target for the gate alone (api/gate.h), with heads as the HTTP library hands them over, in which
 * anything may stand. What must hold: a refusal is a problem document, and closes the connection; what
 * is let in says in one way only how long its body is, whom it asks, and who is asking.
 *
 * The first byte are choices: bit 0 any host, bit 1 a configured origin, bit 2 any origin. Lines follow,
 * which end with LF: METHOD, TARGET, VERSION, then "NAME: VALUE".
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/gate.h"
#include "wal/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES_MAX = HTTP_HEADERS_MAX + 8 };

struct head {
    struct http_head http;
    char *text;
    unsigned line_count;
};

static void add_header(struct http_head *http, char *line)
{
    char *value = strstr(line, ": ");
    size_t name_bytes = strlen(line), value_bytes = 0;

    if (value) {
        name_bytes = (size_t)(value - line);
        *value = '\0';
        value += 2;
        value_bytes = strlen(value);
    }
    if (http->header_count < HTTP_HEADERS_MAX)
        http->headers[http->header_count] =
            (struct http_header){line, value ? value : "", name_bytes, value_bytes};
    http->header_count++;
}

static void read_head(struct head *head, const uint8_t *data, size_t size)
{
    head->text = calloc(1, size + 1);
    must(head->text);
    if (size > 0)
        memcpy(head->text, data, size);
    head->http.method = head->http.target = head->http.version = "";

    char *line, *rest = head->text;

    while ((line = strsep(&rest, "\n")) != NULL && head->line_count < LINES_MAX) {
        switch (head->line_count++) {
        case 0: head->http.method = line; break;
        case 1: head->http.target = line; break;
        case 2: head->http.version = line; break;
        default: add_header(&head->http, line); break;
        }
    }
    head->http.target_bytes = strlen(head->http.target);
}

/* How often a header is there, and its value. */
static unsigned count_of(const struct http_head *head, const char *name, const char **ret_value)
{
    unsigned count = 0;

    for (unsigned i = 0; i < head->header_count; i++) {
        if (strcasecmp(head->headers[i].name, name) == 0) {
            *ret_value = head->headers[i].value;
            count++;
        }
    }
    return count;
}

static void check_lengths(const struct http_head *head, const struct gate_facts *facts)
{
    const char *length = NULL, *coding = NULL;
    unsigned lengths = count_of(head, "Content-Length", &length);
    unsigned codings = count_of(head, "Transfer-Encoding", &coding);

    must(lengths + codings <= 1);
    must(facts->chunked == (codings == 1));
    must(codings == 0 || strcasecmp(coding, "chunked") == 0);
    if (lengths == 1) {
        must(strspn(length, "0123456789") == strlen(length) && length[0] != '\0');
        must(facts->content_length == strtoull(length, NULL, 10));
    } else {
        must(facts->content_length == 0);
    }
    must(facts->has_body == (facts->chunked || facts->content_length > 0) || lengths == 1);
}

static void check_admitted(const struct gate_config *config, const struct http_head *head,
                           const struct gate_facts *facts)
{
    const char *host = NULL, *value = NULL;
    unsigned hosts = count_of(head, "Host", &host);

    must(head->header_count <= HTTP_HEADERS_MAX && head->target_bytes <= HTTP_TARGET_BYTES_MAX);
    must(head->target[0] == '/' || facts->method == HTTP_OPTIONS);
    for (const char *c = head->target; *c; c++)
        must(*c > ' ' && *c <= '~');
    must(hosts == 1 || (hosts == 0 && strcmp(head->version, "HTTP/1.0") == 0));
    for (unsigned i = 0; i < head->header_count; i++) {
        must(head->headers[i].name_bytes > 0 && !strpbrk(head->headers[i].name, " \t\r:"));
        must(!strpbrk(head->headers[i].value, "\r\n"));
    }
    must(count_of(head, "Origin", &value) <= 1);
    must(!facts->allow_origin || config->origin_count > 0);
    check_lengths(head, facts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const hosts[] = {"logs.example.com"};
    static const char *const origins[] = {"*", "https://app.example.com"};
    unsigned choices = size > 0 ? data[0] : 0;
    const struct gate_config config = {
        .hosts = hosts,
        .host_count = ARRAY_SIZE(hosts),
        .any_host = choices & 1,
        .origins = choices & 4 ? origins : origins + 1,
        .origin_count = (choices & 6) != 0,
    };
    struct head *head = calloc(1, sizeof(*head));
    struct gate_facts facts = {0};
    struct response refusal = {0};

    must(head);
    read_head(head, data + (size > 0), size > 0 ? size - 1 : 0);
    if (gate_admits(&config, &head->http, &facts, &refusal)) {
        must(refusal.status == 0);
        check_admitted(&config, &head->http, &facts);
    } else {
        must(refusal.status >= 400 && refusal.status < 600 && refusal.body_bytes > 0);
    }
    response_clear(&refusal);
    free(head->text);
    free(head);
    return 0;
}
