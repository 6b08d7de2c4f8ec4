#include "api/clients.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "api/digest.h"
#include "wal/base.h"

/* How far ahead a client may be. */
#define BURST_US UINT64_C(1000000)

/* Clients that nobody holds and that are remembered for what they have taken. */
#define IDLE_MAX 65536u

#define KEY_BYTES 17

struct client {
    struct client *next; /* in its bucket */
    struct list_node idle;
    uint8_t key[KEY_BYTES]; /* a kind, and an address or the beginning of a digest */
    uint32_t bucket;
    uint32_t connections;
    uint32_t holders; /* connections among them */
    uint64_t requests_paid_us, bytes_paid_us;
};

int clients_init(struct clients *clients, const struct client_limits *limits)
{
    *clients = (struct clients){.limits = *limits};
    list_init(&clients->idle);
    return getentropy(clients->secret, sizeof(clients->secret)) < 0 ? -errno : 0;
}

bool clients_are_limited(const struct clients *clients)
{
    const struct client_limits *limits = &clients->limits;
    return limits->connections_max || limits->requests_per_second || limits->bytes_per_second;
}

/* ---- the table ---- */

static uint32_t bucket_of(const struct clients *clients, const uint8_t key[KEY_BYTES])
{
    uint8_t text[CLIENT_SECRET_BYTES + KEY_BYTES], digest[DIGEST_BYTES];
    uint32_t number;
    memcpy(text, clients->secret, CLIENT_SECRET_BYTES);
    memcpy(text + CLIENT_SECRET_BYTES, key, KEY_BYTES);
    digest_of(digest, 'c', text, sizeof(text));
    memcpy(&number, digest, sizeof(number));
    return number % CLIENT_BUCKETS;
}

static void forget(struct clients *clients, struct client *client)
{
    struct client **link = &clients->buckets[client->bucket];
    while (*link != client)
        link = &(*link)->next;
    *link = client->next;
    list_remove(&client->idle);
    clients->idle_count--;
    free(client);
}

void clients_done(struct clients *clients)
{
    struct list_node *node;
    while ((node = list_first(&clients->idle)) != NULL)
        forget(clients, container_of(node, struct client, idle));
    for (unsigned i = 0; i < CLIENT_BUCKETS; i++)
        must(!clients->buckets[i]);
}

struct client *clients_hold(struct client *client)
{
    if (client)
        client->holders++;
    return client;
}

void clients_put(struct clients *clients, struct client *client)
{
    if (!client)
        return;
    must(client->holders > 0);
    if (--client->holders > 0)
        return;
    list_add(&clients->idle, &client->idle);
    if (++clients->idle_count > IDLE_MAX)
        forget(clients, container_of(list_first(&clients->idle), struct client, idle));
}

/* Held; NULL: no memory. */
static struct client *find(struct clients *clients, const uint8_t key[KEY_BYTES])
{
    uint32_t bucket = bucket_of(clients, key);
    struct client *client = clients->buckets[bucket];
    while (client && memcmp(client->key, key, KEY_BYTES) != 0)
        client = client->next;
    if (client && client->holders == 0) {
        list_remove(&client->idle);
        clients->idle_count--;
    }
    if (client)
        return clients_hold(client);

    client = calloc(1, sizeof(*client));
    if (!client)
        return NULL;
    memcpy(client->key, key, KEY_BYTES);
    list_init(&client->idle);
    client->bucket = bucket;
    client->next = clients->buckets[bucket];
    clients->buckets[bucket] = client;
    return clients_hold(client);
}

/* ---- connections ---- */

/* False: it has no address. */
static bool key_of(const struct sockaddr *address, uint8_t ret_key[KEY_BYTES])
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
    memset(ret_key, 0, KEY_BYTES);
    if (address->sa_family == AF_INET) {
        ret_key[0] = '4';
        memcpy(ret_key + 1, &v4->sin_addr, 4);
        return true;
    }
    if (address->sa_family != AF_INET6)
        return false;
    bool is_v4 = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
    ret_key[0] = is_v4 ? '4' : '6';
    memcpy(ret_key + 1, v6->sin6_addr.s6_addr + (is_v4 ? 12 : 0), is_v4 ? 4 : 8);
    return true;
}

bool clients_connect(struct clients *clients, const struct sockaddr *address,
                     struct client **ret_client)
{
    uint8_t key[KEY_BYTES];
    *ret_client = NULL;
    if (!clients_are_limited(clients) || !address || !key_of(address, key))
        return true;
    struct client *client = find(clients, key);
    uint32_t most = clients->limits.connections_max;
    if (client && (most == 0 || client->connections < most)) {
        client->connections++;
        *ret_client = client;
        return true;
    }
    clients_put(clients, client);
    return false;
}

void clients_share(struct client *client)
{
    if (clients_hold(client))
        client->connections++;
}

void clients_disconnect(struct clients *clients, struct client *client)
{
    if (client)
        client->connections--;
    clients_put(clients, client);
}

struct client *clients_get(struct clients *clients, const uint8_t *digest)
{
    uint8_t key[KEY_BYTES] = {'t'};
    memcpy(key + 1, digest, KEY_BYTES - 1);
    return find(clients, key);
}

/* ---- rates ---- */

static uint64_t price_us(uint64_t count, uint64_t per_second)
{
    return (uint64_t)((unsigned __int128)count * 1000000 / per_second);
}

/* How long until a client that has paid up to then may take something of this price; 0: it may. */
static uint64_t wait_us(uint64_t paid_us, uint64_t now_us, uint64_t price)
{
    uint64_t ahead = paid_us > now_us ? paid_us - now_us : 0;
    return ahead > 0 && ahead + price > BURST_US ? ahead + price - BURST_US : 0;
}

enum client_rate clients_take_request(const struct clients *clients, struct client *client,
                                      uint64_t now_us, uint64_t *ret_wait_us)
{
    const struct client_limits *limits = &clients->limits;
    uint64_t price = limits->requests_per_second ? price_us(1, limits->requests_per_second) : 0;
    uint64_t requests_us = price ? wait_us(client->requests_paid_us, now_us, price) : 0;
    uint64_t bytes_us = limits->bytes_per_second ? wait_us(client->bytes_paid_us, now_us, 0) : 0;
    *ret_wait_us = max_u64(requests_us, bytes_us);
    if (*ret_wait_us > 0)
        return bytes_us >= requests_us ? CLIENT_TOO_MANY_BYTES : CLIENT_TOO_MANY_REQUESTS;
    client->requests_paid_us = max_u64(client->requests_paid_us, now_us) + price;
    return CLIENT_FINE;
}

void clients_take_bytes(const struct clients *clients, struct client *client, uint64_t now_us,
                        uint64_t bytes)
{
    uint64_t rate = clients->limits.bytes_per_second;
    if (client && rate)
        client->bytes_paid_us = max_u64(client->bytes_paid_us, now_us) + price_us(bytes, rate);
}
