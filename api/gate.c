#include "api/gate.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "api/cors.h"
#include "api/errors.h"
#include "api/target.h"
#include "wal/base.h"

struct name {
    const char *text;
    size_t bytes;
};
#define NAME(text)                                                                                 \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static const struct name known_names[HTTP_KNOWN_COUNT] = {
    [HTTP_HOST] = NAME("Host"),
    [HTTP_CONTENT_LENGTH] = NAME("Content-Length"),
    [HTTP_TRANSFER_ENCODING] = NAME("Transfer-Encoding"),
    [HTTP_CONTENT_ENCODING] = NAME("Content-Encoding"),
    [HTTP_CONTENT_TYPE] = NAME("Content-Type"),
    [HTTP_EXPECT] = NAME("Expect"),
    [HTTP_ORIGIN] = NAME("Origin"),
    [HTTP_SEC_FETCH_SITE] = NAME("Sec-Fetch-Site"),
    [HTTP_ACCEPT] = NAME("Accept"),
    [HTTP_PREFER] = NAME("Prefer"),
    [HTTP_RANGE] = NAME("Range"),
    [HTTP_IF_RANGE] = NAME("If-Range"),
    [HTTP_IF_MATCH] = NAME("If-Match"),
    [HTTP_IF_NONE_MATCH] = NAME("If-None-Match"),
    [HTTP_IF_UNMODIFIED_SINCE] = NAME("If-Unmodified-Since"),
    [HTTP_IDEMPOTENCY_KEY] = NAME("Idempotency-Key"),
    [HTTP_PRODUCER_ID] = NAME("Producer-Id"),
    [HTTP_PRODUCER_EPOCH] = NAME("Producer-Epoch"),
    [HTTP_PRODUCER_SEQ] = NAME("Producer-Seq"),
    [HTTP_STREAM_SEQ] = NAME("Stream-Seq"),
    [HTTP_STREAM_CLOSED] = NAME("Stream-Closed"),
    [HTTP_STREAM_TTL] = NAME("Stream-TTL"),
    [HTTP_STREAM_EXPIRES_AT] = NAME("Stream-Expires-At"),
    [HTTP_STREAM_FORKED_FROM] = NAME("Stream-Forked-From"),
    [HTTP_STREAM_FORK_OFFSET] = NAME("Stream-Fork-Offset"),
    [HTTP_STREAM_FORK_SUB_OFFSET] = NAME("Stream-Fork-Sub-Offset"),
    [HTTP_LAST_EVENT_ID] = NAME("Last-Event-ID"),
    [HTTP_AUTHORIZATION] = NAME("Authorization"),
};

const char *gate_header_name(enum http_known header)
{
    return known_names[header].text;
}

/* What a byte may be part of: tchar of RFC 9110, and the names and addresses of hosts. */
enum { IN_TOKEN = 1, IN_HOST = 2 };
static const uint8_t byte_kinds[256] = {
    ['0' ... '9'] = IN_TOKEN | IN_HOST,
    ['A' ... 'Z'] = IN_TOKEN | IN_HOST,
    ['a' ... 'z'] = IN_TOKEN | IN_HOST,
    ['-'] = IN_TOKEN | IN_HOST,
    ['.'] = IN_TOKEN | IN_HOST,
    ['_'] = IN_TOKEN | IN_HOST,
    ['!'] = IN_TOKEN,
    ['#' ... '\''] = IN_TOKEN,
    ['*' ... '+'] = IN_TOKEN,
    ['^'] = IN_TOKEN,
    ['`'] = IN_TOKEN,
    ['|'] = IN_TOKEN,
    ['~'] = IN_TOKEN,
};

static bool is_token(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (!(byte_kinds[(unsigned char)text[i]] & IN_TOKEN))
            return false;
    }
    return bytes > 0;
}

static bool has_control_bytes(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

static bool is_named(const struct http_header *header, enum http_known known)
{
    return header->name_bytes == known_names[known].bytes &&
           strncasecmp(header->name, known_names[known].text, header->name_bytes) == 0;
}

static const char *const method_names[HTTP_OTHER] = {
    [HTTP_GET] = "GET",         [HTTP_HEAD] = "HEAD",   [HTTP_POST] = "POST",
    [HTTP_PUT] = "PUT",         [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE",
    [HTTP_OPTIONS] = "OPTIONS",
};

const char *gate_method_name(enum http_method method)
{
    return method_names[method];
}

static enum http_method method_of(const char *name)
{
    enum http_method method = HTTP_GET;
    while (method < HTTP_OTHER && strcmp(method_names[method], name) != 0)
        method++;
    return method;
}

static bool refuse(struct response *refusal, enum problem problem, const char *detail)
{
    response_problem(refusal, problem, detail ? "%s" : NULL, detail);
    return false;
}

static bool refuse_header(struct response *refusal, enum http_known header, const char *advice)
{
    response_problem(refusal, PROBLEM_BAD_HEADER, "%s: %s", known_names[header].text, advice);
    return false;
}

static bool target_is_fine(const struct http_head *head, struct response *refusal)
{
    if (head->target_bytes > HTTP_TARGET_BYTES_MAX) {
        response_problem(refusal, PROBLEM_TARGET_TOO_LONG,
                         "The target has %zu bytes. No target of this service is longer than %d.",
                         head->target_bytes, HTTP_TARGET_BYTES_MAX);
        return false;
    }
    bool fine = head->target[0] == '/';
    for (const char *c = head->target; *c && fine; c++)
        fine = *c >= 0x21 && *c <= 0x7e && *c != '%' && *c != '#';
    return fine || refuse(refusal, PROBLEM_BAD_TARGET, NULL);
}

/* The library takes any method, and every HTTP/1.x. */
static bool line_is_fine(const struct http_head *head, struct response *refusal)
{
    if (!is_token(head->method, strlen(head->method)))
        return refuse(refusal, PROBLEM_BAD_REQUEST_LINE,
                      "The method has characters that no method may have.");
    if (strcmp(head->version, "HTTP/1.1") != 0 && strcmp(head->version, "HTTP/1.0") != 0)
        return refuse(refusal, PROBLEM_BAD_REQUEST_LINE,
                      "Send the request as HTTP/1.1 or HTTP/1.0.");
    return true;
}

/* Collects the known headers, and sees that every header is well-formed. */
static bool sort_headers(const struct gate_config *config, const struct http_head *head,
                         const char *known[HTTP_KNOWN_COUNT], struct response *refusal)
{
    size_t bytes_max = config->header_bytes_max ? config->header_bytes_max : HTTP_HEADERS_BYTES_MAX;
    if (head->header_count > HTTP_HEADERS_MAX) {
        response_problem(refusal, PROBLEM_TOO_MANY_HEADERS, "At most %d headers are read.",
                         HTTP_HEADERS_MAX);
        return false;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < head->header_count; i++) {
        const struct http_header *header = &head->headers[i];
        bytes += header->name_bytes + header->value_bytes + HTTP_HEADER_OWN_BYTES;
        if (!is_token(header->name, header->name_bytes))
            return refuse(refusal, PROBLEM_BAD_HEADER,
                          "The name of a header has characters that no name may have.");
        if (has_control_bytes(header->value, header->value_bytes))
            return refuse(refusal, PROBLEM_BAD_HEADER,
                          "The value of a header has control characters in it.");
        for (size_t k = 0; k < HTTP_KNOWN_COUNT; k++) {
            if (!is_named(header, k))
                continue;
            if (known[k])
                return refuse_header(refusal, k, "there more than once. Send it once.");
            known[k] = header->value;
            break;
        }
    }
    if (bytes > bytes_max) {
        response_problem(refusal, PROBLEM_TOO_MANY_HEADERS,
                         "The headers are too long together: %zu bytes are read, and each header "
                         "counts %d besides its own. Send fewer, or start the service with a "
                         "larger --max-header-bytes.",
                         bytes_max, HTTP_HEADER_OWN_BYTES);
        return false;
    }
    return true;
}

/* Where the body ends: by a length, by chunks, or at once. Never by two of them. */
static bool framing_is_clear(const struct http_head *head, struct gate_facts *facts,
                             struct response *refusal)
{
    const char *const *known = facts->headers;
    const char *length = known[HTTP_CONTENT_LENGTH];
    const char *coding = known[HTTP_TRANSFER_ENCODING];
    if (coding) {
        if (length)
            return refuse_header(refusal, HTTP_TRANSFER_ENCODING,
                                 "there together with Content-Length. Send one of them.");
        if (strcmp(head->version, "HTTP/1.1") != 0)
            return refuse_header(refusal, HTTP_TRANSFER_ENCODING,
                                 "not a header of HTTP/1.0. Send Content-Length.");
        if (strcasecmp(coding, "chunked") != 0)
            return refuse_header(refusal, HTTP_TRANSFER_ENCODING, "only \"chunked\" is read.");
        facts->chunked = facts->has_body = true;
    }
    if (length) {
        size_t digits = strspn(length, "0123456789");
        if (digits == 0 || digits > 19 || length[digits])
            return refuse_header(refusal, HTTP_CONTENT_LENGTH,
                                 "not a number of bytes. Send 1 to 19 decimal digits.");
        for (const char *digit = length; *digit; digit++)
            facts->content_length = facts->content_length * 10 + (uint64_t)(*digit - '0');
        facts->has_body = facts->content_length > 0;
    }
    return true;
}

/* "localhost", 127.0.0.1 and its neighbours, [::1]: no name that somebody else could point here. */
static bool is_loopback(const char *host, size_t bytes)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    if (bytes == 9 && strncasecmp(host, "localhost", 9) == 0)
        return true;
    if (bytes == 5 && memcmp(host, "[::1]", 5) == 0)
        return true;
    if (bytes >= sizeof(text))
        return false;
    memcpy(text, host, bytes);
    text[bytes] = '\0';
    return inet_pton(AF_INET, text, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

/* How long the name or address is that a Host begins with, if a port or nothing follows; else 0. */
static size_t host_name_bytes(const char *host)
{
    size_t bytes = 0;
    while (byte_kinds[(unsigned char)host[bytes]] & IN_HOST)
        bytes++;
    if (host[0] == '[') {
        bytes = 1 + strspn(host + 1, "0123456789abcdefABCDEF:.");
        if (bytes == 1 || host[bytes++] != ']')
            return 0;
    }
    const char *port = host + bytes;
    if (*port == ':')
        port += 1 + strspn(port + 1, "0123456789");
    return *port ? 0 : bytes;
}

static bool host_is_ours(const struct gate_config *config, const char *host, size_t bytes)
{
    if (config->any_host || is_loopback(host, bytes))
        return true;
    for (unsigned i = 0; i < config->host_count; i++) {
        if (strlen(config->hosts[i]) == bytes && strncasecmp(config->hosts[i], host, bytes) == 0)
            return true;
    }
    return false;
}

static bool host_is_fine(const struct gate_config *config, const struct http_head *head,
                         const char *host, struct response *refusal)
{
    if (!host) {
        if (strcmp(head->version, "HTTP/1.0") == 0)
            return true;
        return refuse_header(refusal, HTTP_HOST, "missing. HTTP/1.1 wants exactly one.");
    }
    size_t bytes = host_name_bytes(host);
    if (bytes == 0)
        return refuse_header(refusal, HTTP_HOST, "not a name or address with a port.");
    return host_is_ours(config, host, bytes) || refuse(refusal, PROBLEM_UNKNOWN_HOST, NULL);
}

/* Whether a page was delivered by the host that its request goes to. */
static bool origin_is_own(const char *origin, const char *host)
{
    if (strncasecmp(origin, "http://", 7) == 0)
        origin += 7;
    else if (strncasecmp(origin, "https://", 8) == 0)
        origin += 8;
    else
        return false;
    return host && strcasecmp(origin, host) == 0;
}

/* Browsers name the page that makes a request. Only pages of our own, and of configured origins, may
 * make one; but any may ask which there are, since OPTIONS changes nothing and tells nothing.
 *
 * Another port of the same machine is of the same site, but another origin. Without this a page from
 * there could tell from <object>, which loads or fails, whether there is a log or a record. */
static bool origin_is_fine(const struct gate_facts *facts)
{
    const char *site = facts->headers[HTTP_SEC_FETCH_SITE];
    const char *origin = facts->headers[HTTP_ORIGIN];
    if (facts->method == HTTP_OPTIONS || facts->allow_origin)
        return true;
    if (site && strcasecmp(site, "same-origin") != 0 && strcasecmp(site, "none") != 0)
        return false;
    return !origin || origin_is_own(origin, facts->headers[HTTP_HOST]);
}

/* Before anything is judged, so that pages that may call can read refusals, too. */
static const char *find_origin(const struct http_head *head)
{
    for (size_t i = 0; i < head->header_count && i < HTTP_HEADERS_MAX; i++) {
        if (is_named(&head->headers[i], HTTP_ORIGIN))
            return head->headers[i].value;
    }
    return NULL;
}

bool gate_is_media_type(const char *value, const char *type)
{
    size_t bytes = strlen(type);
    return strncasecmp(value, type, bytes) == 0 && (!value[bytes] || strchr("; \t", value[bytes]));
}

bool gate_is_gzip(const char *value)
{
    return strcasecmp(value, "gzip") == 0 || strcasecmp(value, "x-gzip") == 0;
}

bool gate_admits(const struct gate_config *config, const struct http_head *head,
                 struct gate_facts *ret_facts, struct response *ret_refusal)
{
    struct gate_facts facts = {.method = method_of(head->method)};
    const char **known = facts.headers;

    facts.allow_origin = ret_facts->allow_origin = cors_allowed(config, find_origin(head));
    ret_refusal->close = true;
    if (!line_is_fine(head, ret_refusal) || !target_is_fine(head, ret_refusal) ||
        !sort_headers(config, head, known, ret_refusal) ||
        !framing_is_clear(head, &facts, ret_refusal) ||
        !host_is_fine(config, head, known[HTTP_HOST], ret_refusal))
        return false;
    if (!origin_is_fine(&facts))
        return refuse(ret_refusal, PROBLEM_FOREIGN_ORIGIN, NULL);

    facts.expects_continue =
        known[HTTP_EXPECT] && strcasecmp(known[HTTP_EXPECT], "100-continue") == 0;
    ret_refusal->close = false;
    *ret_facts = facts;
    return true;
}
