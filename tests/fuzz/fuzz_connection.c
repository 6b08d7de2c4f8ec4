/*
 * Fuzz target for a connection: arbitrary bytes through a socket into the whole service in process,
 * with api/wire.c, libmicrohttpd, the gate and everything behind it, on a store on the simulated
 * disk. It must answer or hang up in bounded work, never with a 500, and be as good as new once the
 * client has gone.
 *
 * The lowest two bits of the first byte of an input say in how many further places the bytes are cut,
 * so that they arrive in pieces; then a byte for each place, in 256ths of the whole; then the bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/api.h"
#include "api/http.h"
#include "api/mhd.h"
#include "tests/support/sim_store.h"
#include "wal/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    CUTS_MAX = 3,
    TURNS_MAX = 2000,
    QUIET_TURNS = 3,
    ANSWERS_BYTES_MAX = 1 << 20,
    TIMEOUT_US = 600000000, /* longer than any input takes */
};

struct service {
    struct store *store;
    struct api *api;
    struct mhd *mhd;
    int listen_fd, client_fd;
};

static struct sim_disk *disk;
static char answers[ANSWERS_BYTES_MAX];
static size_t answers_bytes;

static void ignore_event(void *context, const struct api_event *event)
{
}

/* ---- the service ---- */

static int listen_somewhere(struct sockaddr_un *ret_address, socklen_t *ret_bytes)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    must(fd >= 0);
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    *ret_bytes = sizeof(*ret_address);
    /* A name that the kernel chooses, and that is on no disk. */
    must(bind(fd, (struct sockaddr *)ret_address, sizeof(sa_family_t)) == 0);
    must(getsockname(fd, (struct sockaddr *)ret_address, ret_bytes) == 0);
    must(listen(fd, 4) == 0);
    return fd;
}

static void start(struct service *service)
{
    struct sockaddr_un address;
    socklen_t address_bytes;

    service->store = sim_store_open(disk);
    must(store_run(service->store, 0, 0) >= 0);
    service->listen_fd = listen_somewhere(&address, &address_bytes);

    const struct api_config api = {
        .store = service->store,
        .version = "fuzz",
        .record_bytes_max = 64 << 10,
        .auto_create = true,
        .followers_max = 4,
        .follow_bytes_total = 1 << 20,
        .answer_timeout_us = TIMEOUT_US,
        .heartbeat_us = TIMEOUT_US,
        .long_poll_max_us = TIMEOUT_US,
        .stream_life_us = TIMEOUT_US,
        .tell = ignore_event,
    };
    const struct mhd_config mhd = {
        .listen_fd = service->listen_fd,
        .connections_max = 16,
        .header_bytes_max = HTTP_HEADERS_BYTES_MAX,
        .answer_bytes_total = 1 << 20,
        .header_timeout_us = TIMEOUT_US,
        .body_timeout_us = TIMEOUT_US,
        .answer_timeout_us = TIMEOUT_US,
        .idle_timeout_us = TIMEOUT_US,
        .body_bytes_total = 1 << 20,
    };

    must(api_new(&service->api, &api) == 0);
    must(mhd_open(&service->mhd, &mhd, service->api) == 0);
    service->client_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    must(service->client_fd >= 0);
    must(connect(service->client_fd, (struct sockaddr *)&address, address_bytes) == 0);
}

static void turn(struct service *service)
{
    bool waiting = api_appends_waiting(service->api) > 0;

    must(store_run(service->store, 0, waiting ? UINT64_MAX : 0) >= 0);
    mhd_run(service->mhd);
}

static void stop(struct service *service)
{
    close(service->client_fd);
    for (unsigned i = 0; i < TURNS_MAX && api_in_progress(service->api) > 0; i++) {
        turn(service);
        if (i == TURNS_MAX / 2)
            api_drain(service->api); /* what waits for other requests waits no longer */
    }
    must(api_in_progress(service->api) == 0);
    mhd_quiesce(service->mhd);
    mhd_close(service->mhd);
    api_free(service->api);
    sim_store_close(disk, service->store);
}

/* ---- the client ---- */

/* Whether there was anything. */
static bool take_answers(struct service *service)
{
    ssize_t bytes = recvfrom(service->client_fd, answers + answers_bytes,
                             sizeof(answers) - answers_bytes, 0, NULL, NULL);

    if (bytes <= 0)
        return false;
    answers_bytes += (size_t)bytes;
    return true;
}

/* Until nothing happens any more. */
static void let_work(struct service *service)
{
    unsigned quiet = 0;

    for (unsigned i = 0; i < TURNS_MAX && quiet < QUIET_TURNS; i++) {
        turn(service);
        bool busy = take_answers(service) || api_appends_waiting(service->api) > 0;
        quiet = busy ? 0 : quiet + 1;
    }
    must(quiet == QUIET_TURNS);
}

static void send_piece(struct service *service, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t bytes = send(service->client_fd, data, size, MSG_NOSIGNAL);

        if (bytes < 0) {
            must(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
            if (errno != EAGAIN)
                return;
            bytes = 0;
        }
        data += bytes;
        size -= (size_t)bytes;
        let_work(service);
        if (bytes == 0)
            return; /* it takes no more */
    }
}

/* ---- what must hold ---- */

/* So that an input that does nothing is known to do so by itself. */
static void check_service(struct service *service)
{
    static const char request[] =
        "POST /logs/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";

    send_piece(service, (const uint8_t *)request, sizeof(request) - 1);
    let_work(service);
    must(answers_bytes > 12 && memcmp(answers, "HTTP/1.1 200", 12) == 0);
    answers_bytes = 0;
}

/* How long the answer is that stands there whole; 0 if none does. */
static size_t answer_bytes(const char *answer, size_t left)
{
    const char *end = memmem(answer, left, "\r\n\r\n", 4);
    unsigned status;

    if (!end || left < 12 || memcmp(answer, "HTTP/1.", 7) != 0)
        return 0;
    status = (unsigned)strtoul(answer + 9, NULL, 10);
    /* 505 is the library's, for a version of HTTP that it does not speak. */
    must(status < 500 || status == 505);

    size_t head = (size_t)(end - answer) + 4;
    const char *length = memmem(answer, head, "\r\nContent-Length: ", 18);
    size_t body = length ? strtoul(length + 18, NULL, 10) : 0;

    return body <= left - head ? head + body : 0;
}

/* HEAD is answered by the length of a body that does not come: then it cannot be told where the next
 * answer begins. */
static void check_answers(const uint8_t *data, size_t size)
{
    size_t done = 0;

    if (size > 0 && memmem(data, size, "HEAD", 4))
        return;
    for (size_t bytes = 1; bytes > 0 && done < answers_bytes; done += bytes)
        bytes = answer_bytes(answers + done, answers_bytes - done);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct service service;
    size_t cuts[CUTS_MAX];
    unsigned cut_count = size > 0 ? data[0] % (CUTS_MAX + 1) : 0;

    if (size < 1 + cut_count)
        return 0;
    data++;
    size -= 1 + cut_count;
    for (unsigned i = 0; i < cut_count; i++)
        cuts[i] = size * *data++ / 256;

    if (!disk)
        must(sim_disk_new(NULL, &disk) == 0);
    answers_bytes = 0;
    start(&service);

    check_service(&service);

    size_t sent = 0;

    for (unsigned i = 0; i <= cut_count; i++) {
        size_t end = i < cut_count ? max_u64(cuts[i], sent) : size;

        send_piece(&service, data + sent, end - sent);
        let_work(&service);
        sent = end;
    }
    stop(&service);
    check_answers(data, size);
    return 0;
}
