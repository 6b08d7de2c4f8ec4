/* A store on a simulated disk that behaves, driven by the caller: for tests of what lies above it. */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include <stdint.h>

#include "tests/sim/sim_disk.h"
#include "wal/store.h"

/* The disk begins anew, empty and always the same. */
struct store *sim_store_open(struct sim_disk *disk);

/* Everything must have been given back. */
void sim_store_close(struct sim_disk *disk, struct store *store);

/* Changes with any record, position or log: what has not changed has been left alone. */
uint64_t sim_store_hash(struct store *store);

#endif
