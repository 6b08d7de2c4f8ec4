/*
 * http_load: one thread that keeps a number of connections busy with requests, each as soon as the one
 * before it on its connection has been answered (a closed loop), and prints what came of it as one line
 * of JSON. It takes less of the machine that it shares with the server than generators that run a
 * script for each request: requests are laid out before the clock starts.
 *
 *   http_load --port P [--connections C] [--seconds S] [--warmup S] [--method M] [--path /logs/bench]
 *             [--logs L] [--body-bytes B] [--records R] [--body TEXT] [--header 'Name: value']...
 *             [--pid SERVER]
 *
 * With --logs L the path gets "-000000" to "-<L-1>" behind it: each connection goes through all of them,
 * from a place of its own. With --records R a body is R lines of B bytes. With --pid the CPU time of that
 * process is measured as well.
 *
 * An answer is read by its Content-Length, or in chunks. A status from 300 on is an error, and counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/latency.h"

#define HEAD_BYTES_MAX 4096
#define READ_BYTES (256u << 10)
#define LOGS_MAX 1000000u
#define DIGITS 6

struct options {
    uint16_t port;
    unsigned connections, logs, records;
    size_t body_bytes;
    double seconds, warmup;
    const char *method, *path, *body;
    char headers[2048];
    long pid;
};

/* A request whose head has a place for the number of the log. */
struct request {
    char head[HEAD_BYTES_MAX];
    size_t head_bytes, digits_at; /* digits_at 0: one log */
    char *body;
    size_t body_bytes;
};

struct connection {
    int fd;
    unsigned log;
    size_t sent; /* of the request */
    bool writable_wanted;
    uint64_t begun_ns;

    /* Of the answer: its head as far as it has come, then what is left of the body. */
    char head[HEAD_BYTES_MAX];
    size_t head_bytes;
    bool in_body, chunked;
    uint64_t left; /* of the body, or of the chunk with its CRLF */
    char size_line[20];
    unsigned size_bytes;
    bool last_chunk;
};

struct results {
    struct latency latency;
    uint64_t answers, errors, bytes;
    unsigned error_status; /* the first one */
};

static struct options options = {
    .connections = 64,
    .seconds = 3,
    .warmup = 0.5,
    .method = "POST",
    .path = "/logs/bench",
    .body_bytes = 128,
};
static struct request request;
static struct results results;
static bool measuring;
static char sink[READ_BYTES];

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "http_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- the request ---- */

static void make_body(void)
{
    size_t line = options.body_bytes + (options.records > 0);
    size_t count = options.records > 0 ? options.records : 1;
    if (options.body) {
        request.body = strdup(options.body);
        request.body_bytes = strlen(options.body);
        return;
    }
    request.body_bytes = line * count;
    request.body = malloc(request.body_bytes + 1);
    if (!request.body)
        die("memory");
    for (size_t i = 0; i < request.body_bytes; i++)
        request.body[i] =
            (char)('!' + (i * 7919 + i / 251) % 90); /* nothing that compresses well */
    for (size_t i = 1; options.records > 0 && i <= count; i++)
        request.body[i * line - 1] = '\n';
}

static void make_request(void)
{
    bool has_body = strcmp(options.method, "GET") != 0;
    char length[64] = "";
    if (has_body)
        make_body();
    if (has_body)
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", request.body_bytes);
    int path_bytes =
        snprintf(request.head, sizeof(request.head), "%s %s", options.method, options.path);
    if (options.logs > 1) {
        request.digits_at = (size_t)path_bytes + 1;
        path_bytes += snprintf(request.head + path_bytes, sizeof(request.head) - (size_t)path_bytes,
                               "-%0*u", DIGITS, 0);
    }
    int rest = snprintf(request.head + path_bytes, sizeof(request.head) - (size_t)path_bytes,
                        " HTTP/1.1\r\nHost: localhost\r\n%s%s%s\r\n", length,
                        options.records > 0 ? "Content-Type: application/x-ndjson\r\n" : "",
                        options.headers);
    request.head_bytes = (size_t)(path_bytes + rest);
    if (request.head_bytes >= sizeof(request.head)) {
        errno = EMSGSIZE;
        die("the request's head");
    }
}

/* ---- sending ---- */

static void want_writable(int epoll_fd, struct connection *connection, bool wanted)
{
    if (connection->writable_wanted == wanted)
        return;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0u),
                                .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) < 0)
        die("epoll_ctl");
    connection->writable_wanted = wanted;
}

static void go_on_sending(int epoll_fd, struct connection *connection)
{
    size_t whole = request.head_bytes + request.body_bytes;
    while (connection->sent < whole) {
        size_t in_head =
            connection->sent < request.head_bytes ? connection->sent : request.head_bytes;
        size_t in_body = connection->sent - in_head;
        struct iovec parts[] = {
            {request.head + in_head, request.head_bytes - in_head},
            {request.body + in_body, request.body_bytes - in_body},
        };
        ssize_t sent = writev(connection->fd, parts, 2);
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0)
            die("sending");
        connection->sent += (size_t)sent;
    }
    want_writable(epoll_fd, connection, connection->sent < whole);
}

static void send_next(int epoll_fd, struct connection *connection)
{
    if (request.digits_at > 0) {
        unsigned number = connection->log;
        for (int i = DIGITS - 1; i >= 0; i--, number /= 10)
            request.head[request.digits_at + (size_t)i] = (char)('0' + number % 10);
        connection->log = connection->log + 1 < options.logs ? connection->log + 1 : 0;
    }
    connection->sent = 0;
    connection->head_bytes = 0;
    connection->in_body = connection->chunked = connection->last_chunk = false;
    connection->begun_ns = now_ns();
    go_on_sending(epoll_fd, connection);
    /* The digits are everybody's: a head that did not go out whole would get those of another. */
    if (request.digits_at > 0 && connection->sent < request.head_bytes) {
        errno = EAGAIN;
        die("sending a head");
    }
}

/* ---- receiving ---- */

static const char *find_header(const char *head, const char *name)
{
    size_t bytes = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r';
         line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, bytes) == 0 && line[2 + bytes] == ':')
            return line + 3 + bytes + strspn(line + 3 + bytes, " ");
    }
    return NULL;
}

static void end_answer(int epoll_fd, struct connection *connection)
{
    unsigned status = (unsigned)strtoul(connection->head + 9, NULL, 10);
    if (measuring) {
        latency_add(&results.latency, now_ns() - connection->begun_ns);
        results.answers++;
        if (status >= 300) {
            if (results.errors++ == 0)
                results.error_status = status;
        }
    }
    send_next(epoll_fd, connection);
}

/* The head is there. What follows it of the body begins with the first of `rest`. */
static void begin_body(struct connection *connection)
{
    const char *length = find_header(connection->head, "content-length");
    const char *coding = find_header(connection->head, "transfer-encoding");
    connection->in_body = true;
    connection->chunked = coding && strncasecmp(coding, "chunked", 7) == 0;
    connection->left = length && !connection->chunked ? strtoull(length, NULL, 10) : 0;
    connection->size_bytes = 0;
}

/* Takes bytes of chunks. Returns how many; *ret_end: that was the end. */
static size_t take_chunks(struct connection *connection, const char *data, size_t bytes,
                          bool *ret_end)
{
    size_t taken = 0;
    while (taken < bytes && !*ret_end) {
        if (connection->left > 0) {
            size_t part = connection->left < bytes - taken ? connection->left : bytes - taken;
            connection->left -= part;
            taken += part;
            *ret_end = connection->last_chunk && connection->left == 0;
            continue;
        }
        char byte = data[taken++];
        if (byte != '\n') {
            if (connection->size_bytes + 1 < sizeof(connection->size_line))
                connection->size_line[connection->size_bytes++] = byte;
            continue;
        }
        connection->size_line[connection->size_bytes] = '\0';
        connection->size_bytes = 0;
        uint64_t size = strtoull(connection->size_line, NULL, 16);
        connection->last_chunk = size == 0;
        connection->left = size + 2; /* with the CRLF behind it */
    }
    return taken;
}

static void take(int epoll_fd, struct connection *connection, const char *data, size_t bytes)
{
    size_t head_had = connection->head_bytes;
    bool end = false;
    if (!connection->in_body) {
        size_t room = sizeof(connection->head) - 1 - head_had;
        size_t part = bytes < room ? bytes : room;
        memcpy(connection->head + head_had, data, part);
        connection->head_bytes += part;
        connection->head[connection->head_bytes] = '\0';
        char *blank = strstr(connection->head, "\r\n\r\n");
        if (!blank) {
            errno = EPROTO;
            if (part < bytes)
                die("the head of an answer");
            return;
        }
        size_t of_head = (size_t)(blank + 4 - connection->head) - head_had;
        data += of_head;
        bytes -= of_head;
        begin_body(connection);
        end = !connection->chunked && connection->left == 0;
    }
    if (connection->chunked) {
        take_chunks(connection, data, bytes, &end);
    } else if (!end) {
        connection->left -= bytes < connection->left ? bytes : connection->left;
        end = connection->left == 0;
    }
    if (end)
        end_answer(epoll_fd, connection);
}

static void receive(int epoll_fd, struct connection *connection)
{
    ssize_t got = recv(connection->fd, sink, sizeof(sink), 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        if (got == 0)
            errno = ECONNRESET;
        die("receiving");
    }
    if (measuring)
        results.bytes += (uint64_t)got;
    take(epoll_fd, connection, sink, (size_t)got);
}

/* ---- the loop ---- */

static void connect_all(int epoll_fd, struct connection *connections)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (unsigned i = 0; i < options.connections; i++) {
        int on = 1;
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
            die("connecting");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
            die("fcntl");
        connections[i].fd = fd;
        connections[i].log =
            options.logs > 1 ? (unsigned)((uint64_t)i * options.logs / options.connections) : 0;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl");
    }
}

static void run(int epoll_fd, double seconds)
{
    struct epoll_event events[256];
    uint64_t end_ns = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end_ns) {
        int count = epoll_wait(epoll_fd, events, 256, 100);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                go_on_sending(epoll_fd, connection);
            if (events[i].events & ~(uint32_t)EPOLLOUT)
                receive(epoll_fd, connection);
        }
    }
}

/* User and system time of the server in seconds; 0 if it is not asked for. */
static double server_cpu(void)
{
    char path[64], line[1024];
    unsigned long user = 0, system = 0;
    if (options.pid <= 0)
        return 0;
    snprintf(path, sizeof(path), "/proc/%ld/stat", options.pid);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, sizeof(line), file))
        die(path);
    fclose(file);
    const char *rest = strrchr(line, ')');
    if (!rest || sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                        &system) != 2)
        die(path);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double own_cpu(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* ---- */

static void add_header(const char *header)
{
    size_t bytes = strlen(options.headers);
    int more = snprintf(options.headers + bytes, sizeof(options.headers) - bytes, "%s\r\n", header);
    if (more < 0 || (size_t)more >= sizeof(options.headers) - bytes) {
        errno = EMSGSIZE;
        die("headers");
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", 1, NULL, 'p'},   {"connections", 1, NULL, 'c'}, {"seconds", 1, NULL, 's'},
        {"warmup", 1, NULL, 'w'}, {"method", 1, NULL, 'm'},      {"path", 1, NULL, 'u'},
        {"logs", 1, NULL, 'l'},   {"body-bytes", 1, NULL, 'b'},  {"records", 1, NULL, 'r'},
        {"body", 1, NULL, 'B'},   {"header", 1, NULL, 'h'},      {"pid", 1, NULL, 'P'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0) {
        switch (option) {
        case 'p': options.port = (uint16_t)atoi(optarg); break;
        case 'c': options.connections = (unsigned)atoi(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'w': options.warmup = atof(optarg); break;
        case 'm': options.method = optarg; break;
        case 'u': options.path = optarg; break;
        case 'l': options.logs = (unsigned)atoi(optarg); break;
        case 'b': options.body_bytes = (size_t)atoll(optarg); break;
        case 'r': options.records = (unsigned)atoi(optarg); break;
        case 'B': options.body = optarg; break;
        case 'h': add_header(optarg); break;
        case 'P': options.pid = atol(optarg); break;
        default: exit(64);
        }
    }
    if (options.port == 0 || options.connections == 0 || options.logs > LOGS_MAX) {
        fprintf(stderr,
                "usage: http_load --port P [--connections C] ...; see the head of load.c\n");
        exit(64);
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    make_request();
    struct connection *connections = calloc(options.connections, sizeof(*connections));
    int epoll_fd = epoll_create1(0);
    if (!connections || epoll_fd < 0)
        die("starting");

    connect_all(epoll_fd, connections);
    for (unsigned i = 0; i < options.connections; i++)
        send_next(epoll_fd, &connections[i]);
    run(epoll_fd, options.warmup);

    measuring = true;
    double server = server_cpu(), own = own_cpu();
    uint64_t begin_ns = now_ns();
    run(epoll_fd, options.seconds);
    double seconds = (double)(now_ns() - begin_ns) / 1e9;
    server = server_cpu() - server;
    own = own_cpu() - own;

    double answers = (double)(results.answers > 0 ? results.answers : 1);
    printf("{\"answers\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"error_status\":%u,\"rate\":%.1f,"
           "\"megabytes\":%.3f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,"
           "\"server_cpu_us\":%.3f,\"client_cpu_us\":%.3f,\"server_cores\":%.3f}\n",
           results.answers, results.errors, results.error_status, (double)results.answers / seconds,
           (double)results.bytes / 1e6 / seconds, latency_percentile_us(&results.latency, 0.5),
           latency_percentile_us(&results.latency, 0.99),
           latency_percentile_us(&results.latency, 0.999), (double)results.latency.max_ns / 1e3,
           server * 1e6 / answers, own * 1e6 / answers, server / seconds);
    return 0;
}
