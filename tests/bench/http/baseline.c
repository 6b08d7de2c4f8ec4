/*
 * mhd_baseline: what libmicrohttpd itself can answer, with nothing behind it. It takes each body and
 * answers at once, with as many headers and as many bytes as a receipt has, in the loop and with the
 * connection memory of the service. Prints the port it listens on.
 *
 *   mhd_baseline [CONNECTION_MEMORY]
 */
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define ROUNDS_MAX 8

static const char body[] =
    "{\"log\":\"bench\",\"offset\":1234567,\"count\":1,\"next_offset\":1234568,"
    "\"committed_offset\":1234568,\"durability\":\"committed\",\"bytes\":128}\n";

static enum MHD_Result serve(void *argument, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *upload,
                             size_t *upload_bytes, void **context)
{
    static char seen;
    if (!*context) {
        *context = &seen;
        return MHD_YES;
    }
    if (*upload_bytes > 0) {
        *upload_bytes = 0;
        return MHD_YES;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(
        sizeof(body) - 1, (void *)(uintptr_t)body, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, "Content-Type", "application/json");
    MHD_add_response_header(response, "Location", "/logs/bench/records/1234567");
    MHD_add_response_header(response, "ETag", "\"0123456789abcdef0123456789abcdef-1234567\"");
    MHD_add_response_header(response, "Server-Timing", "queue;dur=0.123, commit;dur=0.456");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    enum MHD_Result result = MHD_queue_response(connection, 200, response);
    MHD_destroy_response(response);
    return result;
}

static volatile sig_atomic_t stopping;

static void stop(int number)
{
    stopping = 1;
}

int main(int argc, char **argv)
{
    size_t memory = argc > 1 ? strtoul(argv[1], NULL, 10) : 8192;
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, serve, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory,
        MHD_OPTION_CONNECTION_LIMIT, 15000u, MHD_OPTION_END);
    if (!daemon)
        return 1;
    signal(SIGTERM, stop);
    printf("%u\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);

    int library_fd = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    int epoll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, library_fd, &event);
    for (bool pending = false; !stopping;) {
        MHD_UNSIGNED_LONG_LONG left_ms = 0;
        epoll_wait(epoll_fd, &event, 1, pending ? 0 : 1000);
        pending = true;
        for (int i = 0; i < ROUNDS_MAX && pending; i++) {
            MHD_run(daemon);
            pending = MHD_get_timeout(daemon, &left_ms) == MHD_YES && left_ms == 0;
        }
    }
    MHD_stop_daemon(daemon);
    return 0;
}
