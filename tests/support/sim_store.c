#include "tests/support/sim_store.h"

#include <string.h>

#include "wal/base.h"

struct store *sim_store_open(struct sim_disk *disk)
{
    struct store_config config;
    struct store *store;

    *sim_options_of(disk) = (struct sim_options){.direct = true, .check_buffers = true};
    sim_reset(disk, 1);
    store_config_default(&config);
    config.custom_io = sim_io(disk);
    config.threads = config.worker = false;
    config.ring_entries = 8;
    config.lock_timeout_ms = 0;
    config.log.segment_bytes = UINT64_C(1) << 20;
    must(store_open(&store, "data", &config, NULL) == 0);
    return store;
}

void sim_store_close(struct sim_disk *disk, struct store *store)
{
    must(store_close(store, UINT64_MAX) == 0);
    must(sim_handles(disk) == 0 && sim_rings(disk) == 0);
    must(sim_counters(disk)->misuses == 0 && sim_counters(disk)->idle_waits == 0);
}

struct sum {
    struct store *store;
    uint64_t hash;
};

static void add(struct sum *sum, uint64_t number)
{
    sum->hash = (sum->hash ^ number) * UINT64_C(0x100000001b3);
}

static int add_log(void *context, const char *name)
{
    struct sum *sum = context;
    struct wal_positions positions;
    struct wal *wal;

    for (const char *c = name; *c; c++)
        add(sum, (unsigned char)*c);
    must(store_get(sum->store, name, false, &wal) == 0);
    wal_positions(wal, &positions);
    add(sum, positions.first_offset);
    add(sum, positions.committed_offset);
    add(sum, positions.next_offset);
    store_put(sum->store, wal);
    return 0;
}

uint64_t sim_store_hash(struct store *store)
{
    struct sum sum = {store, UINT64_C(0xcbf29ce484222325)};

    must(store_list(store, "", "", add_log, &sum) == 0);
    return sum.hash;
}
