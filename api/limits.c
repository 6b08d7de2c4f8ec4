#include "api/limits.h"

#include <inttypes.h>

#include "api/errors.h"
#include "api/request.h"
#include "wal/base.h"

bool api_connect(struct api *api, const struct sockaddr *address, struct client **ret_client)
{
    bool fine = clients_connect(&api->clients, address, ret_client);
    api->counters.connections_refused += !fine;
    return fine;
}

void api_count_tls(struct api *api, uint64_t handshakes, uint64_t failed, uint64_t refused)
{
    struct api_counters *counters = &api->counters;
    counters->tls_handshakes = handshakes;
    counters->tls_handshakes_failed = failed;
    counters->connections_refused += refused - counters->tls_refused;
    counters->tls_refused = refused;
}

void api_disconnect(struct api *api, struct client *client)
{
    clients_disconnect(&api->clients, client);
}

static struct client *payer_of(const struct request *request)
{
    return request->payer ? request->payer : request->client;
}

void request_count_bytes(struct request *request, uint64_t bytes)
{
    struct api *api = request->api;
    if (api->clients.limits.bytes_per_second && payer_of(request) && bytes > 0)
        clients_take_bytes(&api->clients, payer_of(request), api_now_us(), bytes);
}

static void refuse(struct request *request, enum client_rate rate, uint64_t wait_us)
{
    const struct client_limits *limits = &request->api->clients.limits;
    uint64_t seconds = (wait_us + 999999) / 1000000;
    response_clear(&request->response);
    if (rate == CLIENT_TOO_MANY_REQUESTS)
        response_problem(&request->response, PROBLEM_TOO_MANY_REQUESTS,
                         "%" PRIu64
                         " requests a second are allowed to one token, or to one address "
                         "without a token (--client-requests-per-second). Nothing was looked at or "
                         "changed. Send it again in %" PRIu64 " s.",
                         limits->requests_per_second, seconds);
    else
        response_problem(&request->response, PROBLEM_TOO_MANY_REQUESTS,
                         "%" PRIu64 " bytes of bodies a second are allowed to one token, or to one "
                         "address without a token (--client-bytes-per-second), and more were sent "
                         "or received. Nothing was looked at or changed. Send it again in "
                         "%" PRIu64 " s.",
                         limits->bytes_per_second, seconds);
    response_header(&request->response, "Retry-After", "%" PRIu64, seconds);
}

bool limits_admit(struct request *request)
{
    struct clients *clients = &request->api->clients;
    const struct route *route = request->route;
    uint64_t wait_us;
    if (!clients->limits.requests_per_second && !clients->limits.bytes_per_second)
        return true;
    /* Who presents a token is known by it, wherever the request comes from. Without memory for that
     * the address counts. */
    if (request->who.is_known && !request->payer)
        request->payer = clients_get(clients, request->who.digest);
    /* Whoever watches over the service has to be answered whatever else comes from there. */
    if (!payer_of(request) || request->facts.method == HTTP_OPTIONS ||
        (route && (route->opened_by & API_OPEN_HEALTH)))
        return true;
    enum client_rate rate =
        clients_take_request(clients, payer_of(request), api_now_us(), &wait_us);
    if (rate != CLIENT_FINE)
        refuse(request, rate, wait_us);
    return rate == CLIENT_FINE;
}
