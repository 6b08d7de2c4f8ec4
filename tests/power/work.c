/*
 * power_writer work: four writers of different habits on a few logs, each telling the journal what
 * it is about to do and what it was promised. They go on until SIGTERM, or until someone cuts the
 * power or kills the process, which is the point.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "wal/base.h"

#include "tests/power/writer.h"

#define WAIT_US (30ull * 1000 * 1000) /* no write takes longer; a hang ends the test */
#define WINDOW_MAX 64u
#define FLUSH_MAX 8u
#define EXTRAS_MAX 64u
#define EXTRAS_KEPT 4u /* older ones are deleted */

struct base_log {
    struct wal *wal;
    _Atomic int status; /* the first error: this log is left alone from then on */
};

struct workload {
    const struct options *options;
    struct store *store;
    struct base_log logs[BASE_LOGS];
    bool slow; /* naps between appends, so that logs fall idle now and then */
    _Atomic bool stopping;
    _Atomic uint64_t unanswered; /* appends with a handler that has not run */
};

/* One per thread, or per chain of handlers. */
struct writer {
    struct workload *load;
    uint16_t number;
    uint64_t random;
    uint32_t next[BASE_LOGS];       /* append numbers */
    uint32_t next_state[BASE_LOGS]; /* numbers of changes of state alone */
    struct power_append append;
};

static void nap_us(uint64_t us)
{
    struct timespec time = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    (void)nanosleep(&time, NULL);
}

static uint64_t now_us(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static bool log_works(struct workload *load, uint32_t log)
{
    /* The order does not matter: at worst one more append is refused. */
    return atomic_load_explicit(&load->logs[log].status, memory_order_relaxed) == 0;
}

static bool stopping(struct workload *load)
{
    return atomic_load_explicit(&load->stopping, memory_order_relaxed);
}

/* -ESHUTDOWN is what a closing store answers, and no failure while we stop. */
static void log_failed(struct workload *load, uint32_t log, int status)
{
    int none = 0;
    if (status == -ESHUTDOWN && stopping(load))
        return;
    if (log < BASE_LOGS && !atomic_compare_exchange_strong(&load->logs[log].status, &none, status))
        return; /* told already */
    journal_emit(
        (struct line){.kind = LINE_ERROR, .run = load->options->run, .log = log, .status = status});
}

static void tell(const struct writer *writer, enum line_kind kind, uint32_t log, uint32_t append,
                 uint64_t offset)
{
    journal_emit((struct line){.kind = (uint16_t)kind,
                               .writer = writer->number,
                               .run = writer->load->options->run,
                               .log = log,
                               .append = append,
                               .offset = offset});
}

/* A log that still works, or -1. */
static int pick_log(struct writer *writer)
{
    uint32_t first = (uint32_t)power_random(&writer->random, BASE_LOGS);
    for (uint32_t i = 0; i < BASE_LOGS; i++) {
        uint32_t log = (first + i) % BASE_LOGS;
        if (log_works(writer->load, log))
            return (int)log;
    }
    return -1;
}

static void maybe_nap(struct writer *writer)
{
    if (writer->load->slow)
        nap_us(power_random(&writer->random, 4000));
}

/*
 * Queues append number `number` of this writer. On a handler's thread nobody may sleep, since it is
 * the one that empties the queue: there -EAGAIN is returned (`patient` false).
 */
static int append(struct writer *writer, struct wal *wal, uint32_t log, uint32_t number,
                  struct wal_handler *handler, struct wal_token *ret_token, bool patient)
{
    const struct options *options = writer->load->options;
    struct power_id id = {
        .run = options->run, .log = log, .append = number, .writer = writer->number};
    power_append_make(&writer->append, options->seed, id);
    tell(writer, LINE_ISSUE, log, number, 0);
    int rc;
    while ((rc = wal_append(wal, writer->append.records, writer->append.count,
                            &writer->append.options, handler, ret_token)) == -EAGAIN) {
        if (!patient || stopping(writer->load))
            return rc;
        nap_us(200);
    }
    if (rc < 0)
        log_failed(writer->load, log, rc);
    return rc;
}

/* ---- The writer that waits, and does the chores ---------------------------------------------- */

static void append_and_wait(struct writer *writer, uint32_t log)
{
    struct wal *wal = writer->load->logs[log].wal;
    struct wal_token token;
    if (append(writer, wal, log, writer->next[log], NULL, &token, true) < 0)
        return;

    uint32_t number = writer->next[log]++;
    int rc = wal_wait(wal, token, WAIT_US);
    if (rc == 0)
        tell(writer, LINE_ACK, log, number, token.begin);
    else
        log_failed(writer->load, log, rc);
}

/* Two keys that must always agree: "s" holds the number of the change, "t" holds it too when it is
 * odd and is removed when it is even. */
static void change_state(struct writer *writer, uint32_t log)
{
    const struct options *options = writer->load->options;
    struct wal *wal = writer->load->logs[log].wal;
    uint32_t number = writer->next_state[log]++;
    unsigned char value[POWER_STATE_BYTES_MAX];
    size_t size = power_state_make(value, options->run, number);
    struct wal_state_update updates[] = {
        {.key = "s", .key_bytes = 1, .value = value, .value_bytes = (uint32_t)size},
        {.key = "t",
         .key_bytes = 1,
         .value = number % 2 ? value : NULL,
         .value_bytes = number % 2 ? (uint32_t)size : 0},
    };
    struct wal_append_options with = {
        .expected_offset = WAL_ANY_OFFSET, .updates = updates, .update_count = ARRAY_SIZE(updates)};
    struct wal_token token;

    tell(writer, LINE_STATE_ISSUE, log, number, 0);
    int rc = wal_append(wal, NULL, 0, &with, NULL, &token);
    if (rc == 0)
        rc = wal_wait(wal, token, WAIT_US);
    if (rc == 0)
        tell(writer, LINE_STATE_ACK, log, number, 0);
    else if (rc != -EAGAIN)
        log_failed(writer->load, log, rc);
}

static void trim_if_large(struct writer *writer, uint32_t log)
{
    struct wal *wal = writer->load->logs[log].wal;
    struct wal_stats stats;
    wal_stats(wal, &stats);
    if (stats.bytes_on_disk < (uint64_t)writer->load->options->trim_kib << 10)
        return;

    struct wal_positions at;
    wal_positions(wal, &at);
    uint64_t kept = at.committed_offset - at.first_offset;
    uint64_t before = at.first_offset + kept / 2 + power_random(&writer->random, kept / 2 + 1);
    struct wal_token token;
    tell(writer, LINE_TRIM_ISSUE, log, 0, before);
    int rc = wal_trim(wal, before, NULL, &token);
    if (rc == 0)
        rc = wal_wait(wal, token, WAIT_US);
    if (rc == 0)
        tell(writer, LINE_TRIM_ACK, log, 0, before);
    else if (rc != -EAGAIN)
        log_failed(writer->load, log, rc);
}

struct extras {
    uint32_t logs[EXTRAS_MAX];
    uint32_t count;
};

static int note_extra(void *context, const char *name)
{
    struct extras *extras = context;
    uint32_t number = log_number(name);
    if (number != UINT32_MAX && extras->count < EXTRAS_MAX)
        extras->logs[extras->count++] = number;
    return 0;
}

/* A log whose making and first records must survive together. */
static void make_extra(struct writer *writer, struct extras *extras, uint32_t log)
{
    struct store *store = writer->load->store;
    char name[32];
    struct wal *wal;
    log_name(log, name);
    tell(writer, LINE_CREATE_ISSUE, log, 0, 0);
    int rc = store_create(store, name, NULL, 0, &wal);
    if (rc < 0) {
        log_failed(writer->load, log, rc);
        return;
    }

    tell(writer, LINE_CREATE_ACK, log, 0, 0);
    extras->logs[extras->count++] = log;
    for (uint32_t i = 0; rc == 0 && i < power_random(&writer->random, 4); i++) {
        struct wal_token token;
        rc = append(writer, wal, log, i, NULL, &token, true);
        if (rc == 0)
            rc = wal_wait(wal, token, WAIT_US);
        if (rc == 0)
            tell(writer, LINE_ACK, log, i, token.begin);
    }
    if (rc < 0 && rc != -EAGAIN)
        log_failed(writer->load, log, rc);
    store_put(store, wal);
}

static void delete_extra(struct writer *writer, struct extras *extras)
{
    char name[32];
    uint32_t at = (uint32_t)power_random(&writer->random, extras->count);
    uint32_t log = extras->logs[at];
    extras->logs[at] = extras->logs[--extras->count];
    log_name(log, name);
    tell(writer, LINE_DELETE_ISSUE, log, 0, 0);
    int rc = store_delete(writer->load->store, name);
    if (rc == 0)
        tell(writer, LINE_DELETE_ACK, log, 0, 0);
    else
        log_failed(writer->load, log, rc);
}

static void *run_waiting(void *argument)
{
    struct writer *writer = argument;
    struct workload *load = writer->load;
    struct extras extras = {.count = 0};
    uint32_t extra = EXTRA_LOG_MIN + load->options->run * EXTRA_LOGS_PER_RUN;
    uint32_t extra_end = extra + EXTRA_LOGS_PER_RUN;
    (void)store_list(load->store, "extra-", "", note_extra, &extras);

    int log;
    while (!stopping(load) && (log = pick_log(writer)) >= 0) {
        uint64_t chance = power_random(&writer->random, 100);
        if (chance < 5)
            change_state(writer, (uint32_t)log);
        else if (chance < 6 && extra < extra_end && extras.count < EXTRAS_MAX)
            make_extra(writer, &extras, extra++);
        else if (chance < 8 && extras.count > EXTRAS_KEPT)
            delete_extra(writer, &extras);
        else
            append_and_wait(writer, (uint32_t)log);
        trim_if_large(writer, (uint32_t)log);
        maybe_nap(writer);
    }
    return NULL;
}

/* ---- The writer with many handlers in flight ------------------------------------------------- */

struct flight {
    struct wal_handler handler;
    struct writer *writer;
    uint32_t log, number;
    _Atomic bool busy;
};

static void answered(struct writer *writer, uint32_t log, uint32_t number, struct wal_token token,
                     int status)
{
    if (status == 0)
        tell(writer, LINE_ACK, log, number, token.begin);
    else
        log_failed(writer->load, log, status);
    atomic_fetch_sub(&writer->load->unanswered, 1);
}

static void flight_done(struct wal_handler *handler, struct wal_token token, int status)
{
    struct flight *flight = container_of(handler, struct flight, handler);
    answered(flight->writer, flight->log, flight->number, token, status);
    /* Pairs with the load in run_window(): whoever finds the slot free may use it. */
    atomic_store_explicit(&flight->busy, false, memory_order_release);
}

/* The flights belong to the caller of work(): handlers still run after this thread has ended. */
struct window {
    struct writer writer;
    struct flight flights[WINDOW_MAX];
};

static void *run_window(void *argument)
{
    struct window *window = argument;
    struct writer *writer = &window->writer;
    int log;
    while (!stopping(writer->load) && (log = pick_log(writer)) >= 0) {
        struct flight *flight = &window->flights[power_random(&writer->random, WINDOW_MAX)];
        if (atomic_load_explicit(&flight->busy, memory_order_acquire)) {
            nap_us(20);
            continue;
        }
        flight->handler.done = flight_done;
        flight->writer = writer;
        flight->log = (uint32_t)log;
        flight->number = writer->next[log];
        atomic_store(&flight->busy, true);
        atomic_fetch_add(&writer->load->unanswered, 1);
        if (append(writer, writer->load->logs[log].wal, flight->log, flight->number,
                   &flight->handler, NULL, true) == 0) {
            writer->next[log]++;
        } else {
            atomic_store(&flight->busy, false);
            atomic_fetch_sub(&writer->load->unanswered, 1);
        }
        maybe_nap(writer);
    }
    return NULL;
}

/* ---- The chain: each handler appends the next ------------------------------------------------ */

struct chain {
    struct wal_handler handler;
    struct writer writer;
    uint32_t log;
    _Atomic bool running;
};

static void chain_done(struct wal_handler *handler, struct wal_token token, int status);

static void chain_append(struct chain *chain)
{
    struct writer *writer = &chain->writer;
    /* The handler may run, and append again, before wal_append() has returned here. So all that is
     * needed afterwards is settled before, and undone only where no handler will run. */
    uint32_t number = writer->next[chain->log]++;
    chain->handler.done = chain_done;
    atomic_fetch_add(&writer->load->unanswered, 1);
    if (append(writer, writer->load->logs[chain->log].wal, chain->log, number, &chain->handler,
               NULL, false) < 0) {
        writer->next[chain->log] = number;
        atomic_fetch_sub(&writer->load->unanswered, 1);
        /* Pairs with the load in run_chains(), which starts the chain again. */
        atomic_store_explicit(&chain->running, false, memory_order_release);
    }
}

static void chain_done(struct wal_handler *handler, struct wal_token token, int status)
{
    struct chain *chain = container_of(handler, struct chain, handler);
    struct writer *writer = &chain->writer;
    answered(writer, chain->log, writer->next[chain->log] - 1, token, status);
    /* A chain rests now and then, or its log would never be idle. */
    if (status < 0 || stopping(writer->load) || writer->load->slow ||
        power_random(&writer->random, 50) == 0)
        atomic_store_explicit(&chain->running, false, memory_order_release);
    else
        chain_append(chain);
}

static void *run_chains(void *argument)
{
    struct chain *chains = argument;
    struct workload *load = chains[0].writer.load;
    while (!stopping(load)) {
        for (uint32_t i = 0; i < BASE_LOGS; i++) {
            if (!log_works(load, i) ||
                atomic_load_explicit(&chains[i].running, memory_order_acquire))
                continue;
            atomic_store(&chains[i].running, true);
            chain_append(&chains[i]);
        }
        nap_us(load->slow ? 10000 : 500);
    }
    return NULL;
}

/* ---- The writer that flushes ----------------------------------------------------------------- */

static void *run_flush(void *argument)
{
    struct writer *writer = argument;
    int picked;
    while (!stopping(writer->load) && (picked = pick_log(writer)) >= 0) {
        uint32_t log = (uint32_t)picked;
        struct wal *wal = writer->load->logs[log].wal;
        struct wal_token tokens[FLUSH_MAX];
        uint32_t first = writer->next[log], wanted, queued = 0;
        wanted = 1 + (uint32_t)power_random(&writer->random, FLUSH_MAX);
        while (queued < wanted &&
               append(writer, wal, log, first + queued, NULL, &tokens[queued], true) == 0)
            queued++;
        writer->next[log] = first + queued;

        int rc = queued > 0 ? wal_flush(wal, WAIT_US) : -EAGAIN;
        for (uint32_t i = 0; rc == 0 && i < queued; i++)
            tell(writer, LINE_ACK, log, first + i, tokens[i].begin);
        if (rc < 0 && rc != -EAGAIN)
            log_failed(writer->load, log, rc);
        maybe_nap(writer);
    }
    return NULL;
}

/* ---- All of it ------------------------------------------------------------------------------- */

static void writer_init(struct writer *writer, struct workload *load, unsigned number,
                        unsigned twin)
{
    uint64_t who = (uint64_t)load->options->run << 16 | number << 8 | twin;
    writer->load = load;
    writer->number = (uint16_t)number;
    writer->random = splitmix64_of(load->options->seed ^ splitmix64_of(who));
}

static int open_logs(struct workload *load)
{
    for (uint32_t i = 0; i < BASE_LOGS; i++) {
        struct line line = {.kind = LINE_CREATE_ISSUE, .run = load->options->run, .log = i};
        char name[32];
        log_name(i, name);
        journal_emit(line);
        int rc = store_get(load->store, name, true, &load->logs[i].wal);
        if (rc < 0) {
            log_failed(load, i, rc);
            return rc;
        }

        line.kind = LINE_CREATE_ACK;
        journal_emit(line);
        struct wal_positions at;
        wal_positions(load->logs[i].wal, &at);
        line.kind = LINE_OPENED;
        line.offset = at.committed_offset;
        journal_emit(line);
    }
    return 0;
}

struct crew {
    struct writer waiting, flushing;
    struct window window;
    struct chain chains[BASE_LOGS];
    pthread_t threads[4];
};

static void crew_start(struct crew *crew, struct workload *load)
{
    writer_init(&crew->waiting, load, WRITER_WAIT, 0);
    writer_init(&crew->flushing, load, WRITER_FLUSH, 0);
    writer_init(&crew->window.writer, load, WRITER_WINDOW, 0);
    for (uint32_t i = 0; i < BASE_LOGS; i++) {
        writer_init(&crew->chains[i].writer, load, WRITER_CHAIN, i);
        crew->chains[i].log = i;
    }
    must(pthread_create(&crew->threads[0], NULL, run_waiting, &crew->waiting) == 0);
    must(pthread_create(&crew->threads[1], NULL, run_flush, &crew->flushing) == 0);
    must(pthread_create(&crew->threads[2], NULL, run_window, &crew->window) == 0);
    must(pthread_create(&crew->threads[3], NULL, run_chains, crew->chains) == 0);
}

/* The scrub of the store has looked at all of this while it came to be. */
static bool has_damage(struct store *store)
{
    struct store_damage damage;
    if (!store_take_damage(store, &damage))
        return false;
    (void)fprintf(stderr, "power_writer: %s, segment %llu at %llu: %s\n", damage.log,
                  (unsigned long long)damage.segment_no, (unsigned long long)damage.position,
                  damage.what);
    return true;
}

/* Ends as a service does: no new appends, then an answer for every one that was taken. */
static int wind_up(struct workload *load, struct crew *crew)
{
    atomic_store(&load->stopping, true);
    store_drain(load->store);
    for (size_t i = 0; i < ARRAY_SIZE(crew->threads); i++)
        pthread_join(crew->threads[i], NULL);
    for (uint32_t i = 0; i < BASE_LOGS; i++)
        store_put(load->store, load->logs[i].wal);
    if (has_damage(load->store))
        return EXIT_BROKEN;
    int rc = store_close(load->store, WAIT_US);
    uint64_t unanswered = atomic_load(&load->unanswered);
    if (rc < 0 || unanswered > 0) {
        (void)fprintf(stderr, "power_writer: store_close: %s, %llu appends without an answer\n",
                      strerror(-rc), (unsigned long long)unanswered);
        return EXIT_BROKEN;
    }
    journal_emit((struct line){.kind = LINE_DRAINED, .run = load->options->run});
    return 0;
}

int work(const struct options *options)
{
    struct workload load = {.options = options};
    struct store_config config;
    char reason[256] = "";
    uint64_t began_us = now_us();

    /* Blocked before any thread is made, so that all inherit it and only sigwait() sees it. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    power_store_config(&config, options);
    load.slow = splitmix64_of(options->seed + options->run) % 3 == 0;
    int rc = store_open(&load.store, options->dir, &config, reason);
    if (rc < 0) {
        (void)fprintf(stderr, "power_writer: %s: %s: %s\n", options->dir, strerror(-rc), reason);
        return EXIT_STORE;
    }

    journal_emit(
        (struct line){.kind = LINE_READY, .run = options->run, .offset = now_us() - began_us});
    rc = open_logs(&load);
    if (rc < 0)
        return EXIT_STORE; /* the process ends here: there is nothing to keep */

    struct crew *crew = calloc(1, sizeof(*crew));
    must(crew != NULL);
    crew_start(crew, &load);
    int signal_number;
    (void)sigwait(&signals, &signal_number);
    int status = wind_up(&load, crew);
    free(crew);
    return status;
}
