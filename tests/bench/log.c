/*
 * Closed-loop clients of the log. A client is a completion handler that appends its next record
 * from done(), as an event loop would: it has one append in flight at all times and needs no thread.
 * Client i writes to log i modulo the number of logs.
 *
 * A lane collects what the handlers of one committer measure. Handlers of one committer run on one
 * thread, so a lane needs no lock; this thread reads it when the lane's last client has stopped.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "wal/base.h"
#include "wal/store.h"

#define LANES_MAX 8u
/* A visit ends early when it has written this much: the disk must not fill up. */
#define VISIT_BYTES_MAX (2ull << 30)
/* Logs that were just opened open their files with the first append: with many of them that takes. */
#define LONG_WARM_UP_NS 2000000000u
/* Records from this size on have a buffer for each client, as they would in earnest. */
#define OWN_BUFFER_BYTES (64u << 10)

struct lane {
    struct latency latency;
    uint64_t acks;  /* in the window */
    uint64_t bytes; /* since the visit began */
    int error;
    /* Clients with an append in flight. Written by the lane's thread; pairs with lanes_idle(). */
    _Atomic unsigned active;
};

struct client {
    struct wal_handler handler;
    struct load *load;
    struct lane *lane;
    struct wal *wal;
    const void *data;
    uint64_t begin_ns;
    struct client *next; /* in `ready` */
};

struct load {
    const struct point *point;
    struct store *store;
    char path[600];
    struct wal **wals;
    struct client *clients;
    struct lane *lanes;
    void **buffers;
    unsigned buffer_count;
    /* The window of this visit: set before its first append. */
    uint64_t measure_ns, end_ns;
    /* Clients to be served by the feeder. Guarded by lock. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct client *ready, **ready_last;
};

static bool is_driven(const struct point *point)
{
    return point->mode == MODE_DRIVEN || point->mode == MODE_WAIT_DRIVEN;
}

static bool is_wait(const struct point *point)
{
    return point->mode == MODE_WAIT || point->mode == MODE_WAIT_DRIVEN;
}

/* ---- The clients ----------------------------------------------------------------------------- */

static int client_append(struct client *client)
{
    struct wal_record record = {.data = client->data, .size = client->load->point->record_bytes};

    return wal_append(client->wal, &record, 1, NULL, &client->handler, NULL);
}

static void client_stop(struct client *client, int error)
{
    struct lane *lane = client->lane;

    if (error < 0 && lane->error == 0)
        lane->error = error;
    /* Pairs with the load in lanes_idle(): who sees 0 sees what was measured. */
    atomic_fetch_sub_explicit(&lane->active, 1, memory_order_release);
}

static void ready_put(struct client *client)
{
    struct load *load = client->load;

    pthread_mutex_lock(&load->lock);
    client->next = NULL;
    *load->ready_last = client;
    load->ready_last = &client->next;
    pthread_cond_signal(&load->wake);
    pthread_mutex_unlock(&load->lock);
}

static void client_done(struct wal_handler *handler, struct wal_token token, int status)
{
    struct client *client = container_of(handler, struct client, handler);
    struct load *load = client->load;
    struct lane *lane = client->lane;
    uint64_t now = now_ns();

    if (status == 0 && now >= load->measure_ns && now < load->end_ns) {
        latency_add(&lane->latency, now - client->begin_ns);
        lane->acks++;
    }
    lane->bytes += load->point->record_bytes;
    if (status < 0 || now >= load->end_ns || lane->bytes >= VISIT_BYTES_MAX) {
        client_stop(client, status);
        return;
    }
    if (load->point->mode == MODE_FEEDER) {
        ready_put(client);
        return;
    }

    /* The next append begins where this one ended: one look at the clock for each. */
    client->begin_ns = now;
    status = client_append(client);
    if (status < 0)
        client_stop(client, status);
}

static bool lanes_idle(struct load *load)
{
    for (unsigned i = 0; i < load->point->committers; i++) {
        /* Pairs with client_stop(). */
        if (atomic_load_explicit(&load->lanes[i].active, memory_order_acquire) > 0)
            return false;
    }
    return true;
}

/* Serves the clients that wait for the feeder, or waits a moment for one. */
static void feed(struct load *load)
{
    struct timespec until;

    pthread_mutex_lock(&load->lock);
    if (!load->ready) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&load->wake, &load->lock, &until);
    }
    struct client *ready = load->ready;

    load->ready = NULL;
    load->ready_last = &load->ready;
    pthread_mutex_unlock(&load->lock);

    for (struct client *next; ready; ready = next) {
        next = ready->next;
        ready->begin_ns = now_ns();
        int rc = client_append(ready);

        if (rc < 0)
            client_stop(ready, rc);
    }
}

/* ---- A visit --------------------------------------------------------------------------------- */

/* Lets the clients work until `until_ns`, or until all have stopped; 0: the latter alone. */
static int load_run_until(struct load *load, uint64_t until_ns)
{
    while ((until_ns == 0 || now_ns() < until_ns) && !lanes_idle(load)) {
        switch (load->point->mode) {
        case MODE_DRIVEN: {
            int rc = store_run(load->store, 0, 100000);

            if (rc < 0)
                return rc;
            break;
        }
        case MODE_FEEDER: feed(load); break;
        default:
            sleep_until_ns(now_ns() + (until_ns ? min_u64(until_ns - now_ns(), 10000000) : 200000));
        }
    }
    return 0;
}

static int clients_start(struct load *load)
{
    for (unsigned i = 0; i < load->point->clients; i++) {
        struct client *client = &load->clients[i];

        client->begin_ns = now_ns();
        atomic_fetch_add_explicit(&client->lane->active, 1, memory_order_relaxed);
        int rc = client_append(client);

        if (rc < 0) {
            client_stop(client, rc);
            return rc;
        }
    }
    return 0;
}

/* The client that appends and waits. */
static int wait_loop(struct load *load, uint64_t until_ns, bool measure)
{
    struct client *client = &load->clients[0];
    struct wal_record record = {.data = client->data, .size = load->point->record_bytes};
    struct wal_token token;
    uint64_t begin = now_ns();

    while (begin < until_ns) {
        int rc = wal_append(client->wal, &record, 1, NULL, NULL, &token);

        if (rc == 0)
            rc = wal_wait(client->wal, token, UINT64_MAX);
        if (rc < 0)
            return rc;
        uint64_t now = now_ns();

        if (measure) {
            latency_add(&client->lane->latency, now - begin);
            client->lane->acks++;
        }
        begin = now;
    }
    return 0;
}

struct counts {
    uint64_t commits, records;
    uint64_t writes, rounds;
};

static struct counts counts_of(struct load *load)
{
    struct counts counts = {0};
    struct store_stats store;

    for (unsigned i = 0; i < load->point->logs; i++) {
        struct wal_stats stats;

        wal_stats(load->wals[i], &stats);
        counts.commits += stats.commits;
        counts.records += stats.commit_records;
    }
    store_stats(load->store, &store);
    counts.writes = store.writes;
    counts.rounds = store.rounds;
    return counts;
}

static void sample_fill(struct load *load, struct window *window, struct sample *ret_sample)
{
    const struct point *point = load->point;
    struct latency *latency = calloc(1, sizeof(*latency));
    uint64_t acks = 0;

    must(latency);
    for (unsigned i = 0; i < point->committers; i++) {
        latency_merge(latency, &load->lanes[i].latency);
        acks += load->lanes[i].acks;
    }
    /* Handlers counted by these two times, whenever this thread woke up. */
    window->begin_ns = load->measure_ns;
    window->end_ns = min_u64(window->end_ns, load->end_ns);
    window_report(window, latency, acks, acks * point->record_bytes, ret_sample);
    free(latency);
}

/* Warm-up, window, and the end of the last append. */
static int load_visit(struct bench *bench, struct load *load, struct sample *ret_sample)
{
    uint64_t visit_ns = (uint64_t)(bench->options.seconds * 1e9);
    bool wait = is_wait(load->point);
    struct window window;
    int rc;

    load->measure_ns = now_ns() + (load->point->keep ? LONG_WARM_UP_NS : visit_ns / 5);
    load->end_ns = load->measure_ns + visit_ns;
    rc = wait ? wait_loop(load, load->measure_ns, false) : clients_start(load);
    if (rc == 0 && !wait)
        rc = load_run_until(load, load->measure_ns);

    window_open(&window);
    if (rc == 0)
        rc = wait ? wait_loop(load, load->end_ns, true) : load_run_until(load, load->end_ns);
    window_close(&window);

    if (rc == 0)
        rc = load_run_until(load, 0);
    for (unsigned i = 0; rc == 0 && i < load->point->committers; i++)
        rc = load->lanes[i].error;
    if (rc == 0)
        sample_fill(load, &window, ret_sample);
    return rc;
}

/* ---- Stores and logs ------------------------------------------------------------------------- */

static int load_open(struct bench *bench, struct load *load)
{
    const struct point *point = load->point;
    int rc;

    snprintf(load->path, sizeof(load->path), "%.500s/store-%s", bench->dir, point->name);
    for (char *c = load->path + strlen(bench->dir) + 1; *c; c++) {
        if (*c == '/' || *c == ' ')
            *c = '-';
    }
    rc = bench_store_open(&load->store, load->path, point->backend, !is_driven(point),
                          point->committers, 0);
    if (rc < 0)
        return rc;
    load->wals = calloc(point->logs, sizeof(struct wal *));
    must(load->wals);
    rc = logs_get(load->store, load->wals, point->logs, true);
    if (rc < 0)
        return rc;

    for (unsigned i = 0; i < point->clients; i++) {
        char name[32];
        unsigned log = i % point->logs;

        snprintf(name, sizeof(name), LOG_NAME_FORMAT, log);
        load->clients[i].wal = load->wals[log];
        load->clients[i].lane = &load->lanes[store_committer_of(load->store, name)];
    }
    tree_settle(bench->dir);
    return 0;
}

static int load_close(struct load *load)
{
    int rc = 0;

    for (unsigned i = 0; load->wals && i < load->point->logs; i++) {
        if (load->wals[i])
            store_put(load->store, load->wals[i]);
    }
    free(load->wals);
    load->wals = NULL;
    if (load->store)
        rc = store_close(load->store, UINT64_MAX);
    load->store = NULL;
    if (!load->point->keep)
        tree_remove(load->path);
    return rc;
}

static int log_prepare(struct bench *bench, struct point *point)
{
    struct load *load = calloc(1, sizeof(*load));
    bool own = point->record_bytes >= OWN_BUFFER_BYTES;

    must(load && point->committers >= 1 && point->committers <= LANES_MAX);
    point->state = load;
    load->point = point;
    pthread_mutex_init(&load->lock, NULL);
    pthread_cond_init(&load->wake, NULL);
    load->ready_last = &load->ready;
    load->lanes = calloc(point->committers, sizeof(*load->lanes));
    load->clients = calloc(point->clients, sizeof(*load->clients));
    load->buffer_count = own ? point->clients : 1;
    load->buffers = calloc(load->buffer_count, sizeof(void *));
    must(load->lanes && load->clients && load->buffers);
    for (unsigned i = 0; i < load->buffer_count; i++)
        load->buffers[i] = random_bytes_new(point->record_bytes);
    for (unsigned i = 0; i < point->clients; i++) {
        load->clients[i].handler.done = client_done;
        load->clients[i].load = load;
        load->clients[i].data = load->buffers[own ? i : 0];
    }
    return 0;
}

static int log_run(struct bench *bench, struct point *point, struct sample *ret_sample)
{
    struct load *load = point->state;
    struct counts before, after;
    struct wal_stats stats;
    int rc = load_open(bench, load);

    if (rc == 0) {
        for (unsigned i = 0; i < point->committers; i++)
            memset(&load->lanes[i], 0, sizeof(load->lanes[i]));
        before = counts_of(load);
        rc = load_visit(bench, load, ret_sample);
    }
    if (rc == 0) {
        after = counts_of(load);
        wal_stats(load->wals[0], &stats);
        ret_sample->value[METRIC_GROUP] =
            (double)(after.records - before.records) / (double)(after.commits - before.commits);
        ret_sample->value[METRIC_OVERLAP] =
            (double)(after.writes - before.writes) / (double)(after.rounds - before.rounds);
        ret_sample->value[METRIC_SYNC_P50] = (double)stats.sync_latency.p50_us;
    }

    int close_rc = load_close(load);

    return rc < 0 ? rc : close_rc;
}

static void log_finish(struct bench *bench, struct point *point)
{
    struct load *load = point->state;

    if (point->keep)
        tree_remove(load->path);
    for (unsigned i = 0; i < load->buffer_count; i++)
        free(load->buffers[i]);
    free(load->buffers);
    free(load->clients);
    free(load->lanes);
    pthread_cond_destroy(&load->wake);
    pthread_mutex_destroy(&load->lock);
    free(load);
    point->state = NULL;
}

const struct workload log_workload = {
    .prepare = log_prepare,
    .run = log_run,
    .finish = log_finish,
};
