/* Stores as the benchmark opens them: the defaults, and many logs at once. */
#include <pthread.h>
#include <string.h>

#include "tests/bench/bench.h"
#include "wal/base.h"
#include "wal/store.h"

#define CREATE_THREADS 8u

struct creation {
    struct store *store;
    struct wal **wals;
    unsigned first, count;
    bool create;
    int rc;
};

/* Gets every CREATE_THREADS-th log. */
static void *get_some(void *context)
{
    struct creation *creation = context;

    for (unsigned i = creation->first; i < creation->count; i += CREATE_THREADS) {
        char name[32];

        snprintf(name, sizeof(name), LOG_NAME_FORMAT, i);
        creation->rc = store_get(creation->store, name, creation->create, &creation->wals[i]);
        if (creation->rc < 0)
            break;
    }
    return NULL;
}

/* Several threads, because logs that are made at the same time share their directory syncs. */
int logs_get(struct store *store, struct wal **wals, unsigned count, bool create)
{
    struct creation creations[CREATE_THREADS];
    pthread_t threads[CREATE_THREADS];
    int rc = 0;

    for (unsigned i = 0; i < CREATE_THREADS; i++) {
        creations[i] = (struct creation){
            .store = store, .wals = wals, .first = i, .count = count, .create = create};
        must(pthread_create(&threads[i], NULL, get_some, &creations[i]) == 0);
    }
    for (unsigned i = 0; i < CREATE_THREADS; i++) {
        pthread_join(threads[i], NULL);
        if (rc == 0)
            rc = creations[i].rc;
    }
    return rc;
}

int bench_store_open(struct store **ret_store, const char *path, const char *backend, bool threads,
                     unsigned committers, uint64_t segment_bytes)
{
    struct store_config config;
    char reason[256] = "";
    int rc;

    store_config_default(&config);
    config.io = strcmp(backend, "uring") == 0 ? STORE_IO_URING : STORE_IO_POSIX;
    config.threads = threads;
    config.committers = committers;
    if (segment_bytes > 0)
        config.log.segment_bytes = segment_bytes;
    rc = store_open(ret_store, path, &config, reason);
    if (rc < 0)
        fprintf(stderr, "wal_bench: backend %s: %s: %s\n", backend, strerror(-rc), reason);
    return rc;
}

void stores_describe(struct bench *bench)
{
    static const char *const names[] = {"uring", "posix"};
    char path[600];

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        char *text = bench->machine.store_backend[i];
        struct store *store = NULL;
        struct store_stats stats;

        text[0] = '\0';
        if (i == 0 ? !bench->options.uring : !bench->options.posix)
            continue;
        snprintf(path, sizeof(path), "%s/probe-%s", bench->dir, names[i]);
        if (bench_store_open(&store, path, names[i], true, 1, 0) < 0) {
            snprintf(text, 224, "%s: not available", names[i]);
            continue;
        }
        store_stats(store, &stats);
        snprintf(text, 224, "%s, direct I/O %s: %.180s", stats.backend, stats.direct ? "on" : "off",
                 stats.reason);
        store_close(store, UINT64_MAX);
        tree_remove(path);
    }
}
