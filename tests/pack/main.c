/*
 * What packing brings, and what it costs.
 *
 *   wal_pack size [--records N] [--logs N]     asserted
 *   wal_pack ratio [--seconds N] [--rounds N] [--logs N] [--rate BYTES] [--backlog RECORDS]    printed
 *
 * `size` appends records of 100 bytes, lines of JSON, to some logs, each log's one by one, every record in
 * a commit of its own, and waits until the segments that are full are packed: they may take 1.3 times
 * their payload and 24 bytes for each record; and with compression half of that. `ratio` appends in turn with packing and without, and prints
 * the rates; there are full segments from before, so that packing never rests. Both work in a folder of their own,
 * below the current one or $TMPDIR.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/splitmix64.h"
#include "tests/support/tempdir.h"
#include "wal/base.h"
#include "wal/inspect.h"
#include "wal/store.h"

#define RECORD_BYTES 100
#define LOGS_MAX 64
#define SEGMENT_BYTES (4u << 20)
#define PATIENCE_S 600
#define ROUNDS_MAX 99

struct options {
    uint64_t records, rate, backlog;
    unsigned logs, seconds, rounds;
    const char *dir;
};

/* Appends one record when the one before it is durable. */
struct chain {
    struct wal_handler handler;
    struct wal *wal;
    uint64_t left, done;
    char data[RECORD_BYTES];
};

struct run {
    struct store *store;
    struct chain chains[LOGS_MAX];
    char path[600];
    unsigned logs;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned running;
    int error;
    bool stop;
};

static struct run run = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void chain_append(struct chain *chain);

static void chain_end(int error)
{
    pthread_mutex_lock(&run.lock);
    run.running--;
    if (run.error == 0)
        run.error = error;
    pthread_cond_signal(&run.ended);
    pthread_mutex_unlock(&run.lock);
}

static void chain_done(struct wal_handler *handler, struct wal_token token, int status)
{
    struct chain *chain = (struct chain *)handler;

    (void)token;
    chain->done += status == 0;
    pthread_mutex_lock(&run.lock);
    bool stop = run.stop;
    pthread_mutex_unlock(&run.lock);
    if (status < 0 || stop || --chain->left == 0)
        chain_end(status);
    else
        chain_append(chain);
}

static void chain_append(struct chain *chain)
{
    struct wal_record record = {.data = chain->data, .size = RECORD_BYTES};
    const uint64_t random = splitmix64_mix(chain->left);

    char line[RECORD_BYTES * 2];
    int bytes = snprintf(line, sizeof(line),
                         "{\"seq\":%" PRIu64 ",\"level\":\"%s\",\"path\":\"/orders/%" PRIu64
                         "\",\"status\":%d,\"ms\":%" PRIu64 ",\"trace\":\"%016" PRIx64
                         "\",\"message\":\"done\"}",
                         chain->left, random % 10 ? "info" : "warn", random % 10000,
                         random % 9 ? 200 : 404, random % 5000, random);
    must(bytes >= RECORD_BYTES);
    memcpy(chain->data, line, RECORD_BYTES);
    chain->handler.done = chain_done;
    int rc = wal_append(chain->wal, &record, 1, NULL, &chain->handler, NULL);
    if (rc < 0)
        chain_end(rc);
}

/* ---- one run --------------------------------------------------------------------------------- */

static int open_run(const struct options *options, const char *name, bool pack,
                    enum store_compression compression)
{
    struct store_config config;
    char reason[256] = "";

    store_config_default(&config);
    config.pack = pack;
    config.pack_compression = compression;
    config.pack_bytes_per_s = options->rate;
    config.log.segment_bytes = SEGMENT_BYTES;
    snprintf(run.path, sizeof(run.path), "%s/%s", options->dir, name);
    int rc = store_open(&run.store, run.path, &config, reason);
    if (rc < 0)
        fprintf(stderr, "wal_pack: %s: %s\n", run.path, reason);
    run.logs = options->logs;
    for (unsigned i = 0; i < run.logs && rc == 0; i++) {
        snprintf(reason, sizeof(reason), "log%u", i);
        rc = store_get(run.store, reason, true, &run.chains[i].wal);
    }
    return rc;
}

/* Until each log has so many records, or so many seconds have passed. Returns how many there are. */
static uint64_t append_all(uint64_t records_each, double seconds)
{
    struct timespec end;
    uint64_t done = 0;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += (time_t)seconds;
    run.running = run.logs;
    run.stop = false;
    run.error = 0;
    for (unsigned i = 0; i < run.logs; i++) {
        run.chains[i].left = records_each;
        run.chains[i].done = 0;
        chain_append(&run.chains[i]);
    }
    pthread_mutex_lock(&run.lock);
    while (run.running > 0) {
        if (!run.stop && pthread_cond_timedwait(&run.ended, &run.lock, &end) == ETIMEDOUT)
            run.stop = true;
        else if (run.stop)
            pthread_cond_wait(&run.ended, &run.lock);
    }
    pthread_mutex_unlock(&run.lock);
    for (unsigned i = 0; i < run.logs; i++)
        done += run.chains[i].done;
    return done;
}

static uint64_t packs(uint64_t *ret_failures)
{
    struct store_stats stats;

    store_stats(run.store, &stats);
    *ret_failures = stats.totals.pack_failures;
    return stats.totals.packs;
}

static bool await_packing(void)
{
    uint64_t sealed = 0, failures;

    for (unsigned i = 0; i < run.logs; i++) {
        struct wal_stats stats;

        wal_stats(run.chains[i].wal, &stats);
        sealed += stats.segments - 1;
    }
    for (unsigned i = 0; i < PATIENCE_S * 50; i++) {
        if (packs(&failures) == sealed)
            return true;
        if (failures > 0)
            break;
        usleep(20000);
    }
    fprintf(stderr, "wal_pack: of %" PRIu64 " segments %" PRIu64 " were packed\n", sealed,
            packs(&failures));
    return false;
}

static int close_run(void)
{
    for (unsigned i = 0; i < run.logs; i++)
        store_put(run.store, run.chains[i].wal);
    return store_close(run.store, 10000000);
}

/* ---- size ------------------------------------------------------------------------------------ */

struct sealed {
    uint64_t records, bytes, segments;
    uint64_t last_base, last_bytes; /* of the segment at hand, which may be the active one */
};

static int see_segment(void *context, const struct inspect_segment *segment)
{
    struct sealed *sealed = context;

    sealed->records += segment->base_offset - sealed->last_base;
    sealed->bytes += sealed->last_bytes;
    sealed->segments += sealed->last_bytes > 0;
    sealed->last_base = segment->base_offset;
    sealed->last_bytes = segment->file_bytes;
    return 0;
}

static int measure(struct sealed *sum)
{
    for (unsigned i = 0; i < run.logs; i++) {
        struct sealed sealed = {0};
        struct inspect_visitor visitor = {.context = &sealed, .segment = see_segment};
        struct inspection found;
        char path[700];

        snprintf(path, sizeof(path), "%s/logs/log%u", run.path, i);
        int rc = wal_inspect_path(path, &visitor, &found);
        if (rc == 0 && found.verdict != INSPECT_INTACT)
            rc = -EBADMSG;
        if (rc == 0 && found.records != found.next_offset)
            rc = -ENODATA;
        inspection_done(&found);
        if (rc < 0)
            return rc;
        sum->records += sealed.records;
        sum->bytes += sealed.bytes;
        sum->segments += sealed.segments;
    }
    return 0;
}

static int measure_size(const struct options *options, enum store_compression compression)
{
    const bool compressed = compression != STORE_COMPRESSION_NONE;
    struct sealed sealed = {0};
    double began = now_s();
    int rc = open_run(options, compressed ? "size-compressed" : "size", true, compression);

    if (rc < 0)
        return rc;
    uint64_t done = append_all(options->records / options->logs, PATIENCE_S * 100);
    double appended = now_s();
    bool packed = run.error == 0 && await_packing();
    rc = close_run();
    if (rc == 0 && run.error < 0)
        rc = run.error;
    if (rc == 0)
        rc = packed ? measure(&sealed) : -ETIME;
    if (rc < 0)
        return rc;
    double each = sealed.records ? (double)sealed.bytes / (double)sealed.records : 0;
    double most = (1.3 * RECORD_BYTES + 24) / (compressed ? 2 : 1);
    printf("%" PRIu64 " records in %.1f s, %s %.1f s later: in %" PRIu64 " full segments %" PRIu64
           " records of %d bytes take %.1f bytes each, %.0f at most\n",
           done, appended - began, compressed ? "compressed" : "packed", now_s() - appended,
           sealed.segments, sealed.records, RECORD_BYTES, each, most);
    return sealed.records > 0 && each <= most ? 0 : -ERANGE;
}

/* ---- ratio ----------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static int rate_of(const struct options *options, unsigned round, bool pack, double *ret_rate)
{
    char name[32];
    uint64_t failures;

    snprintf(name, sizeof(name), "ratio-%u-%d", round, pack);
    /* Full segments that wait to be packed, so that packing goes on all the time. */
    int rc = open_run(options, name, false, STORE_COMPRESSION_NONE);
    if (rc < 0)
        return rc;
    append_all(options->backlog / options->logs, PATIENCE_S);
    rc = run.error < 0 ? run.error : close_run();
    if (rc == 0)
        rc = open_run(options, name, pack, STORE_COMPRESSION_NONE);
    if (rc < 0)
        return rc;
    double began = now_s();
    uint64_t done = append_all(UINT64_MAX, options->seconds);
    *ret_rate = (double)done / (now_s() - began);
    uint64_t packed = packs(&failures);
    rc = run.error < 0 ? run.error : 0;
    int closed = close_run();
    if (rc == 0)
        rc = closed;
    printf("  round %u, packing %-3s %8.0f appends/s, %" PRIu64 " segments packed, %" PRIu64
           " failures\n",
           round + 1, pack ? "on" : "off", *ret_rate, packed, failures);
    return rc;
}

static int measure_ratio(const struct options *options)
{
    double ratios[ROUNDS_MAX], rates[2];

    for (unsigned i = 0; i < options->rounds; i++) {
        for (unsigned j = 0; j < 2; j++) {
            bool pack = (i + j) % 2; /* who begins takes turns, too */
            int rc = rate_of(options, i, pack, &rates[pack]);
            if (rc < 0)
                return rc;
        }
        ratios[i] = rates[1] / rates[0];
    }
    qsort(ratios, options->rounds, sizeof(*ratios), compare);
    printf("appends beside packing: %.2f times the rate without (%.2f to %.2f), %u logs\n",
           ratios[options->rounds / 2], ratios[0], ratios[options->rounds - 1], options->logs);
    return 0;
}

/* ---- options --------------------------------------------------------------------------------- */

static int usage(void)
{
    fprintf(stderr, "usage: wal_pack size|ratio [--records N] [--logs N] [--seconds N] "
                    "[--rounds N] [--rate BYTES] [--backlog RECORDS]\n");
    return 2;
}

static bool read_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {{"records", required_argument, NULL, 'r'},
                                          {"logs", required_argument, NULL, 'l'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"rounds", required_argument, NULL, 'n'},
                                          {"rate", required_argument, NULL, 'b'},
                                          {"backlog", required_argument, NULL, 'g'},
                                          {NULL, 0, NULL, 0}};
    int letter;

    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (letter) {
        case 'r': options->records = strtoull(optarg, NULL, 0); break;
        case 'l': options->logs = (unsigned)strtoul(optarg, NULL, 0); break;
        case 's': options->seconds = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'n': options->rounds = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'g': options->backlog = strtoull(optarg, NULL, 0); break;
        case 'b': options->rate = strtoull(optarg, NULL, 0); break;
        default: return false;
        }
    }
    return optind + 1 == argc && options->logs >= 1 && options->logs <= LOGS_MAX &&
           options->rounds >= 1 && options->rounds <= ROUNDS_MAX && options->records > 0;
}

int main(int argc, char **argv)
{
    struct options options = {
        .records = 100000, .backlog = 60000, .logs = 16, .seconds = 5, .rounds = 5};
    bool of_size = argc > 1 && strcmp(argv[1], "size") == 0;

    if (argc > 1 && !of_size)
        options.rate = 64u << 20;
    if (!read_options(argc, argv, &options) || (!of_size && strcmp(argv[optind], "ratio") != 0))
        return usage();

    char *dir = tempdir_make();
    options.dir = dir;
    int rc = of_size ? measure_size(&options, STORE_COMPRESSION_NONE) : measure_ratio(&options);
    if (rc == 0 && of_size)
        rc = measure_size(&options, STORE_COMPRESSION_ZSTD);
    tempdir_remove(dir);
    free(dir);
    if (rc < 0)
        fprintf(stderr, "wal_pack: %s\n", rc == -ERANGE ? "that is too much" : strerror(-rc));
    return rc < 0;
}
