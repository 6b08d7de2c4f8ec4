/*
 * One request over one connection, with a deadline for all of it. The answers it is for are small and
 * our own: a status, headers, and a body that ends with the connection.
 */
#include "server/healthcheck.h"

#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server/listen.h"
#include "server/tls.h"
#include "wal/base.h"

#define TIMEOUT_MS INT64_C(2000)
#define ANSWER_BYTES_MAX 8192

struct exchange {
    int fd;
    struct tls_session *session; /* NULL: no TLS */
    int64_t until_ms;
    char answer[ANSWER_BYTES_MAX];
    size_t bytes;
};

static int64_t now_ms(void)
{
    struct timespec now;
    must(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for an event. Errors: -ETIMEDOUT. */
static int wait_for(const struct exchange *exchange, short events)
{
    struct pollfd asked = {.fd = exchange->fd, .events = events};
    for (;;) {
        int64_t left_ms = exchange->until_ms - now_ms();
        int rc = left_ms > 0 ? poll(&asked, 1, (int)left_ms) : 0;
        if (rc > 0)
            return 0;
        if (rc == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

/* "All addresses" is one to listen on; to connect to, it is the loopback. */
static void use_loopback(struct sockaddr *address)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)address;
    if (address->sa_family == AF_INET && v4->sin_addr.s_addr == htonl(INADDR_ANY))
        v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (address->sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr))
        v6->sin6_addr = in6addr_loopback;
}

static int connect_to(struct exchange *exchange, struct listen_address *address)
{
    int error = 0;
    socklen_t bytes = sizeof(error);
    struct sockaddr *name = (struct sockaddr *)&address->name;
    exchange->fd = socket(name->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (exchange->fd < 0)
        return -errno;
    use_loopback(name);
    if (connect(exchange->fd, name, address->bytes) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return -errno;
    int rc = wait_for(exchange, POLLOUT);
    if (rc == 0 && getsockopt(exchange->fd, SOL_SOCKET, SO_ERROR, &error, &bytes) < 0)
        rc = -errno;
    return rc < 0 ? rc : -error;
}

/* It is the service of this machine that is asked, and nothing secret is told: so its certificate may
 * be for any name. */
static int begin_tls(struct exchange *exchange)
{
    int rc;
    exchange->session = tls_open_client(exchange->fd);
    if (!exchange->session)
        return -ENOMEM;
    while ((rc = tls_handshake(exchange->session)) == -EAGAIN) {
        rc = wait_for(exchange, tls_wants_to_send(exchange->session) ? POLLOUT : POLLIN);
        if (rc < 0)
            break;
    }
    return rc;
}

/* As recv(). */
static ssize_t receive(const struct exchange *exchange, char *bytes, size_t count)
{
    if (!exchange->session)
        return recv(exchange->fd, bytes, count, 0);
    char record[TLS_RECORD_BYTES];
    ssize_t got = tls_receive(exchange->session, record, sizeof(record));
    if (got < 0) {
        errno = (int)-got;
        return -1;
    }
    if ((size_t)got > count)
        got = (ssize_t)count;
    memcpy(bytes, record, (size_t)got);
    return got;
}

static int send_request(const struct exchange *exchange, const char *path)
{
    char request[128];
    /* A name that every service answers to, whatever --host says. */
    int bytes = snprintf(request, sizeof(request),
                         "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    ssize_t sent = exchange->session ? tls_send(exchange->session, request, (size_t)bytes)
                                     : send(exchange->fd, request, (size_t)bytes, MSG_NOSIGNAL);
    if (sent < 0)
        return exchange->session ? (int)sent : -errno;
    return sent == bytes ? 0 : -EIO; /* an empty buffer takes so little whole */
}

/* To the end of the connection, and as much of it as there is room for. */
static int receive_answer(struct exchange *exchange)
{
    while (exchange->bytes < sizeof(exchange->answer) - 1) {
        int rc = wait_for(exchange, POLLIN);
        if (rc < 0)
            return rc;
        ssize_t got = receive(exchange, exchange->answer + exchange->bytes,
                              sizeof(exchange->answer) - 1 - exchange->bytes);
        if (got == 0)
            break;
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        exchange->bytes += got > 0 ? (size_t)got : 0;
    }
    exchange->answer[exchange->bytes] = '\0';
    return 0;
}

static int ask(struct exchange *exchange, struct listen_address *address, bool is_tls,
               const char *path)
{
    int rc = connect_to(exchange, address);
    if (rc == 0 && is_tls)
        rc = begin_tls(exchange);
    if (rc == 0)
        rc = send_request(exchange, path);
    return rc == 0 ? receive_answer(exchange) : rc;
}

/* The status of "HTTP/1.1 200 OK…"; 0: that is no answer of HTTP. */
static unsigned status_of(const char *answer)
{
    char *end;
    if (strncmp(answer, "HTTP/1.", 7) != 0 || answer[7] == '\0' || answer[8] != ' ')
        return 0;
    unsigned long status = strtoul(answer + 9, &end, 10);
    return end == answer + 12 ? (unsigned)status : 0;
}

/* What the problem document in an answer says, in one line. */
static void print_detail(FILE *out, const char *answer)
{
    const char *body = strstr(answer, "\r\n\r\n");
    json_t *problem = body ? json_loads(body + 4, 0, NULL) : NULL;
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    if (detail)
        fprintf(out, ": %s", detail);
    json_decref(problem);
}

static int tell(FILE *out, const struct config *config, const char *path, int rc,
                const struct exchange *exchange)
{
    unsigned status = rc == 0 ? status_of(exchange->answer) : 0;
    if (status == 200) {
        fprintf(out, "ok\n");
        return EXIT_SUCCESS;
    }
    fprintf(out, "%s of %s: ", path, config->listen);
    if (rc == -ETIMEDOUT)
        fprintf(out, "no answer within %d s", (int)(TIMEOUT_MS / 1000));
    else if (rc < 0)
        fprintf(out, "%s", strerror(-rc));
    else if (status == 0)
        fprintf(out, "what answers there does not speak HTTP");
    else
        fprintf(out, "%u", status);
    if (status != 0)
        print_detail(out, exchange->answer);
    fprintf(out, "\n");
    return EXIT_FAILURE;
}

int healthcheck_run(const struct config *config, FILE *out)
{
    struct exchange exchange = {.fd = -1, .until_ms = now_ms() + TIMEOUT_MS};
    const char *path = config->live ? "/livez" : "/readyz";
    struct listen_address address;
    const char *reason;

    if (listen_resolve(config->listen, &address, &reason) < 0) {
        fprintf(out, "%s: %s\n", config->listen, reason);
        return EXIT_FAILURE;
    }
    int rc = ask(&exchange, &address, config->tls_cert != NULL, path);
    tls_close(exchange.session);
    if (exchange.fd >= 0)
        close(exchange.fd);
    return tell(out, config, path, rc, &exchange);
}
