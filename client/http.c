#include "client/http.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/say.h"
#include "wal/base.h"

#define LIBRARY "libcurl-gnutls.so.4"
#define LIBRARY_PACKAGE "libcurl3-gnutls"

#define CONNECT_TIMEOUT_S 10L
/* A commit may wait for a slow disk. */
#define SILENCE_S 60u

/* More than any page: a record of 16 MiB, each byte of it escaped as six, and some room. */
#define ANSWER_BYTES_MAX (128u << 20)

struct http {
    CURL *curl;
    const char *url, *token, *ca_file;
    const char *socket; /* NULL: the address in `url` counts */
    CURLcode code;
    char trouble[CURL_ERROR_SIZE];
    struct http_answer *answer; /* to the request under way */
    bool head_ended;
};

/*
 * The library is loaded by the first command that asks for something, and not linked: it brings twenty
 * others along, which would cost the service memory, time at its start, and the small image its size.
 * Its header still has the last word on the type of each function.
 */
#define LIBRARY_FUNCTIONS(FUNCTION)                                                                \
    FUNCTION(global_init)                                                                          \
    FUNCTION(global_cleanup)                                                                       \
    FUNCTION(easy_init)                                                                            \
    FUNCTION(easy_cleanup)                                                                         \
    FUNCTION(easy_reset)                                                                           \
    FUNCTION(easy_setopt)                                                                          \
    FUNCTION(easy_perform)                                                                         \
    FUNCTION(easy_getinfo)                                                                         \
    FUNCTION(easy_strerror)                                                                        \
    FUNCTION(slist_append)                                                                         \
    FUNCTION(slist_free_all)

#define MEMBER(name) __typeof__(curl_##name) *name;
static struct {
    void *handle; /* stays until the process ends */
    LIBRARY_FUNCTIONS(MEMBER)
} library;
#undef MEMBER

#define FIND(name)                                                                                 \
    library.name = (__typeof__(library.name))dlsym(library.handle, "curl_" #name);                 \
    if (!library.name)                                                                             \
        return false;

static bool load_library(void)
{
    if (!library.handle)
        library.handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library.handle)
        return false;
    LIBRARY_FUNCTIONS(FIND)
    return true;
}
#undef FIND

struct http *http_open(const char *url, const char *token, const char *ca_file)
{
    if (!load_library()) {
        complain("libcurl, which this command talks to the service with, cannot be loaded: %s. "
                 "Install the package " LIBRARY_PACKAGE ", or give the command on a machine that "
                 "has it.",
                 dlerror());
        return NULL;
    }
    struct http *http = calloc(1, sizeof(*http));
    if (!http || library.global_init(CURL_GLOBAL_DEFAULT) != 0 ||
        !(http->curl = library.easy_init())) {
        http_close(http);
        complain_memory();
        return NULL;
    }
    http->url = url;
    if (strncmp(url, "unix:", 5) == 0) {
        http->socket = url + 5;
        http->url = "http://localhost";
    }
    http->token = token;
    http->ca_file = ca_file;
    return http;
}

void http_close(struct http *http)
{
    if (!http)
        return;
    library.easy_cleanup(http->curl);
    library.global_cleanup();
    free(http);
}

static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct http_answer *answer = context;
    if (answer->body.bytes + count > ANSWER_BYTES_MAX)
        return 0;
    buffer_add(&answer->body, data, count);
    return answer->body.failed ? 0 : count;
}

static bool is_named(const char *line, size_t bytes, const char *name, const char **ret_value)
{
    size_t length = strlen(name);
    if (bytes <= length || strncasecmp(line, name, length) != 0 || line[length] != ':')
        return false;
    const char *value = line + length + 1;
    while (value < line + bytes && *value == ' ')
        value++;
    *ret_value = value;
    return true;
}

/* A number, up to the end of the line, which the library always hands over. */
static uint64_t number_of(const char *value)
{
    uint64_t number = 0;
    if (*value < '0' || *value > '9')
        return HTTP_NO_NUMBER;
    for (; *value >= '0' && *value <= '9'; value++) {
        if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
            __builtin_add_overflow(number, (uint64_t)(*value - '0'), &number))
            return HTTP_NO_NUMBER;
    }
    return *value == '\r' || *value == '\n' ? number : HTTP_NO_NUMBER;
}

static size_t take_header(char *line, size_t size, size_t count, void *context)
{
    static const char problem[] = "application/problem+json";
    struct http *http = context;
    struct http_answer *answer = http->answer;
    const char *value;
    if (count == 0 || line[count - 1] != '\n')
        return count;
    /* There may be several heads: interim ones come first. */
    http->head_ended = line[0] == '\r' || line[0] == '\n';
    if (is_named(line, count, "Log-Next-Offset", &value))
        answer->next_offset = number_of(value);
    else if (is_named(line, count, "Log-Committed-Offset", &value))
        answer->committed_offset = number_of(value);
    else if (is_named(line, count, "Retry-After", &value))
        answer->retry_after_s = number_of(value);
    else if (is_named(line, count, "Content-Type", &value))
        answer->is_problem = strncasecmp(value, problem, sizeof(problem) - 1) == 0;
    return count;
}

/* Without a word about proxies in the environment, loopback addresses go by none. */
static CURLcode set_proxy(CURL *curl)
{
    if (getenv("no_proxy") || getenv("NO_PROXY"))
        return CURLE_OK;
    return library.easy_setopt(curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
}

/* A number has to be a long, or what the option wants: the library's own check of that is in macros that
 * are not to be had through a pointer. */
#define SET(option, value)                                                                         \
    do {                                                                                           \
        CURLcode code_ = library.easy_setopt(http->curl, CURLOPT_##option, value);                 \
        if (code_ != CURLE_OK)                                                                     \
            return code_;                                                                          \
    } while (0)

static CURLcode prepare(struct http *http, const struct http_request *request, const char *url,
                        struct curl_slist *headers, struct http_answer *answer)
{
    library.easy_reset(http->curl); /* which keeps the connection */
    SET(ERRORBUFFER, http->trouble);
    SET(URL, url);
    if (http->socket)
        SET(UNIX_SOCKET_PATH, http->socket);
    SET(PROTOCOLS_STR, "http,https");
    SET(USERAGENT, "wald");
    SET(NOSIGNAL, 1L);
    SET(CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    SET(LOW_SPEED_LIMIT, 1L);
    SET(LOW_SPEED_TIME, (long)(request->wait_s + SILENCE_S));
    SET(HTTPHEADER, headers);
    if (http->token) { /* sent to the host of the address, and to no other */
        SET(HTTPAUTH, CURLAUTH_BEARER);
        SET(XOAUTH2_BEARER, http->token);
    }
    if (http->ca_file)
        SET(CAINFO, http->ca_file);
    SET(HEADERFUNCTION, take_header);
    SET(HEADERDATA, http);
    SET(WRITEFUNCTION, take_body);
    SET(WRITEDATA, answer);
    if (request->body_bytes > 0 || (request->method && strcmp(request->method, "POST") == 0)) {
        SET(POST, 1L);
        SET(POSTFIELDSIZE_LARGE, (curl_off_t)request->body_bytes);
        SET(POSTFIELDS, request->body_bytes > 0 ? request->body : "");
    }
    if (request->method)
        SET(CUSTOMREQUEST, request->method);
    return set_proxy(http->curl);
}

static CURLcode exchange(struct http *http, const struct http_request *request, const char *url,
                         struct http_answer *answer)
{
    struct curl_slist *headers = NULL;
    CURLcode code = CURLE_OK;
    for (unsigned i = 0; i < HTTP_HEADERS_MAX && request->headers[i]; i++) {
        struct curl_slist *longer = library.slist_append(headers, request->headers[i]);
        if (!longer)
            code = CURLE_OUT_OF_MEMORY;
        else
            headers = longer;
    }
    http->answer = answer;
    http->head_ended = false;
    if (code == CURLE_OK)
        code = prepare(http, request, url, headers, answer);
    if (code == CURLE_OK)
        code = library.easy_perform(http->curl);
    if (code == CURLE_OK)
        code = library.easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &answer->status);
    /* The library takes a head that is cut for a whole one. */
    if (code == CURLE_OK && !http->head_ended)
        code = CURLE_RECV_ERROR;
    library.slist_free_all(headers);
    return code;
}

int http_exchange(struct http *http, const struct http_request *request, struct http_answer *answer)
{
    CLEANUP(buffer_done) struct buffer url = {0};
    buffer_clear(&answer->body);
    answer->status = 0;
    answer->next_offset = answer->committed_offset = answer->retry_after_s = HTTP_NO_NUMBER;
    answer->is_problem = false;
    http->trouble[0] = '\0';
    buffer_format(&url, "%s%s", http->url, request->target);
    http->code = url.failed ? CURLE_OUT_OF_MEMORY : exchange(http, request, url.data, answer);
    return http->code == CURLE_OK ? 0 : -1;
}

const char *http_trouble(const struct http *http)
{
    return http->trouble[0] ? http->trouble : library.easy_strerror(http->code);
}

bool http_nobody_is_there(const struct http *http)
{
    return http->code == CURLE_COULDNT_CONNECT || http->code == CURLE_COULDNT_RESOLVE_HOST ||
           http->code == CURLE_COULDNT_RESOLVE_PROXY;
}

bool http_is_distrusted(const struct http *http)
{
    return http->code == CURLE_PEER_FAILED_VERIFICATION || http->code == CURLE_SSL_CACERT_BADFILE;
}

bool http_url_is_wrong(const struct http *http)
{
    return http->code == CURLE_URL_MALFORMAT || http->code == CURLE_UNSUPPORTED_PROTOCOL;
}
