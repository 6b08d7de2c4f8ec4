#include "tests/sim/sim_call.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The disk as a whole: the beginning and end of every operation, faults, power cuts, counters. */

struct sim_store *sim_store_of(struct sim_disk *disk)
{
    return &disk->store;
}

const char *sim_kind_name(enum sim_kind kind)
{
    static const char *const names[SIM_KINDS] = {
        "open_dir",    "open_file",  "create",        "make_dir",  "rename",
        "remove_file", "remove_dir", "list",          "sync_file", "sync_dir",
        "read",        "write",      "write_durable", "allocate",  "file_bytes",
        "lock",        "free_bytes", "random",        "ring_new",
    };
    return kind < SIM_KINDS ? names[kind] : "any";
}

static bool kind_changes(enum sim_kind kind)
{
    switch (kind) {
    case SIM_CREATE:
    case SIM_MAKE_DIR:
    case SIM_RENAME:
    case SIM_REMOVE_FILE:
    case SIM_REMOVE_DIR:
    case SIM_SYNC_FILE:
    case SIM_SYNC_DIR:
    case SIM_WRITE:
    case SIM_WRITE_DURABLE:
    case SIM_ALLOCATE:
    case SIM_LOCK: return true;
    default: return false;
    }
}

static bool kind_writes(enum sim_kind kind)
{
    return kind == SIM_WRITE || kind == SIM_WRITE_DURABLE;
}

/* --- Calls ------------------------------------------------------------------------------------ */

void sim_trace_mix(struct sim_disk *disk, uint64_t value)
{
    disk->hash = splitmix64_mix(disk->hash + value + 0x9e3779b97f4a7c15u);
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool name_ends(const char *name, const char *end)
{
    size_t name_size = strlen(name);
    size_t end_size = strlen(end);
    return name_size >= end_size && strcmp(name + name_size - end_size, end) == 0;
}

static int error_by_seed(struct sim_disk *disk, enum sim_kind kind)
{
    static const int of_disk[] = {-EIO, -EIO, -ENOSPC, -EDQUOT};
    static const int of_writes[] = {-EIO, -ENOSPC, -EDQUOT, -EFBIG, -EINTR, -EAGAIN, 0, 0};
    static const int of_opens[] = {-EIO, -EMFILE, -ENFILE, -ENOMEM};
    switch (kind) {
    case SIM_WRITE:
    case SIM_WRITE_DURABLE: return of_writes[rng_below(&disk->rng, ARRAY_SIZE(of_writes))];
    case SIM_OPEN_DIR:
    case SIM_OPEN_FILE:
    case SIM_LOCK:
    case SIM_RING_NEW: return of_opens[rng_below(&disk->rng, ARRAY_SIZE(of_opens))];
    case SIM_READ:
    case SIM_LIST:
    case SIM_FILE_BYTES:
    case SIM_FREE_BYTES:
    case SIM_RANDOM: return -EIO;
    default: return of_disk[rng_below(&disk->rng, ARRAY_SIZE(of_disk))];
    }
}

static void call_fail(struct call *call, int error, enum sim_effect effect, uint64_t bytes)
{
    struct sim_disk *disk = call->disk;
    if (effect == SIM_EFFECT_BY_SEED) {
        /* The result of a fault without an error is the work done, so something must be undone. */
        effect =
            error == 0 ? SIM_PARTLY : (enum sim_effect)rng_below(&disk->rng, SIM_EFFECT_BY_SEED);
        bytes = rng_below(&disk->rng, min_u64(call->size, UINT32_MAX));
        /* Most short writes end at a block; any byte is possible. */
        if (rng_below(&disk->rng, 4) != 0)
            bytes = round_down(bytes, WAL_SECTOR_BYTES);
    }
    if (error == -EINTR || error == -EAGAIN || (effect == SIM_PARTLY && !kind_writes(call->kind)))
        effect = SIM_NOTHING;
    call->error = error;
    call->effect = effect;
    call->bytes = bytes;
    disk->counters.faults++;
}

static void call_meet_faults(struct call *call)
{
    struct sim_disk *disk = call->disk;
    for (unsigned i = 0; i < disk->fault_count; i++) {
        struct armed_fault *armed = &disk->faults[i];
        const struct sim_fault *fault = &armed->fault;
        if ((fault->kind != SIM_ANY && fault->kind != call->kind) ||
            (fault->name && !name_ends(call->name, fault->name)))
            continue;
        uint64_t seen = armed->seen++;
        if (seen < fault->after || seen - fault->after >= fault->times)
            continue;
        call_fail(call, fault->error, fault->effect, fault->bytes);
        return;
    }
    uint32_t chance = disk->options.fault_ppm[call->kind];
    if (chance && rng_below(&disk->rng, 1000000) < chance)
        call_fail(call, error_by_seed(disk, call->kind), SIM_EFFECT_BY_SEED, 0);
}

uint64_t sim_latency_us(struct sim_disk *disk)
{
    uint64_t limit = disk->options.latency_us ? disk->options.latency_us : 100;
    uint64_t draw = rng_next(&disk->rng);
    return 1 + (draw >> 32) % (draw % 16 == 0 ? limit * 10 : limit);
}

struct call sim_call_begin(struct sim_disk *disk, enum sim_kind kind, const struct sim_inode *inode,
                           const char *path, uint64_t position, uint64_t size)
{
    struct call call = {
        .disk = disk,
        .kind = kind,
        .effect = SIM_EVERYTHING,
        .inode_id = inode ? inode->id : UINT64_MAX,
        .name = path    ? last_name(path)
                : inode ? inode->name
                        : "",
        .position = position,
        .size = size,
    };
    if (disk->dead) {
        call.effect = SIM_NOTHING;
        call.error = -EIO;
        return call;
    }
    disk->ops++;
    disk->changes += kind_changes(kind);
    if (disk->ops == disk->crash_op ||
        (kind_changes(kind) && disk->changes == disk->crash_change)) {
        /* Begun and not finished: it may have happened, and nothing of it is durable. */
        call.effect = SIM_UNSYNCED;
        call.error = -EIO;
        call.dies = true;
        return call;
    }
    call_meet_faults(&call);
    return call;
}

static void disk_die(struct sim_disk *disk);

int64_t sim_call_end(struct call *call, int64_t result)
{
    struct sim_disk *disk = call->disk;
    if (disk->dead)
        return -EIO;
    if (call->error)
        result = call->error;
    if (result < 0)
        disk->counters.failed[call->kind]++;
    else
        disk->counters.done[call->kind]++;
    sim_trace_mix(disk, call->kind);
    sim_trace_mix(disk, call->inode_id);
    sim_trace_mix(disk, call->position);
    sim_trace_mix(disk, call->size);
    sim_trace_mix(disk, (uint64_t)result);
    if (disk->options.trace)
        fprintf(disk->options.trace,
                "%10" PRIu64 " us  %5" PRIu64 "  %-13s %s  %" PRIu64 "+%" PRIu64 " = %" PRId64
                "%s\n",
                disk->now_us, disk->ops, sim_kind_name(call->kind), call->name, call->position,
                call->size, result, call->dies ? "  power cut" : "");
    if (call->dies)
        disk_die(disk);
    return result;
}

/* --- Power cuts ------------------------------------------------------------------------------- */

static void disk_die(struct sim_disk *disk)
{
    sim_rings_die(disk);
    disk->dead = true;
}

/* The handles, locks and rings of this life are no longer known. */
static void life_end(struct sim_disk *disk)
{
    disk->handle_base += (int)disk->handle_count;
    disk->handle_count = 0;
    disk->life++;
    disk->crash_op = disk->crash_change = 0;
    disk->dead = false;
}

void sim_crash(struct sim_disk *disk)
{
    if (!disk->dead)
        disk_die(disk);
    sim_store_crash(&disk->store, &disk->crash_rng);
    life_end(disk);
    disk->now_us += 1000000 + rng_below(&disk->crash_rng, 10000000);
    disk->counters.crashes++;
    sim_trace_mix(disk, disk->crash_rng);
    sim_trace_mix(disk, disk->store.used_blocks);
    if (disk->options.trace)
        fprintf(disk->options.trace, "%10" PRIu64 " us  reboot after a power cut\n", disk->now_us);
}

void sim_kill(struct sim_disk *disk)
{
    must(!disk->dead);
    sim_rings_kill(disk);
    sim_handles_kill(disk);
    life_end(disk);
    disk->now_us += 1000 + rng_below(&disk->rng, 1000000);
    if (disk->options.trace)
        fprintf(disk->options.trace, "%10" PRIu64 " us  process killed\n", disk->now_us);
}

void sim_crash_at(struct sim_disk *disk, uint64_t k)
{
    disk->crash_op = k;
}

void sim_crash_at_change(struct sim_disk *disk, uint64_t k)
{
    disk->crash_change = k;
}

void sim_crash_seed(struct sim_disk *disk, uint64_t seed)
{
    disk->crash_rng = splitmix64_mix(seed);
}

uint64_t sim_ops(const struct sim_disk *disk)
{
    return disk->ops;
}

uint64_t sim_changes(const struct sim_disk *disk)
{
    return disk->changes;
}

bool sim_is_dead(const struct sim_disk *disk)
{
    return disk->dead;
}

/* --- Faults ----------------------------------------------------------------------------------- */

void sim_arm(struct sim_disk *disk, const struct sim_fault *fault)
{
    bool may_lie =
        kind_writes(fault->kind) || fault->kind == SIM_SYNC_FILE || fault->kind == SIM_SYNC_DIR;
    must(disk->fault_count < FAULTS_MAX);
    must(fault->error < 0 || (fault->error == 0 && may_lie));
    disk->faults[disk->fault_count++] = (struct armed_fault){.fault = *fault};
}

void sim_disarm(struct sim_disk *disk)
{
    disk->fault_count = 0;
    for (struct sim_inode *inode = disk->store.inodes; inode; inode = inode->next) {
        while (inode->read_faults) {
            struct sim_read_fault *fault = inode->read_faults;
            inode->read_faults = fault->next;
            sim_store_release(&disk->store, fault, sizeof(*fault));
        }
    }
}

void sim_step_realtime(struct sim_disk *disk, int64_t step_ns)
{
    disk->realtime_step_ns += step_ns;
}

void sim_advance(struct sim_disk *disk, uint64_t us)
{
    disk->now_us += us;
}

uint64_t sim_now_us(const struct sim_disk *disk)
{
    return disk->now_us;
}

/* --- Life ------------------------------------------------------------------------------------- */

int sim_disk_new(const struct sim_options *options, struct sim_disk **ret_disk)
{
    struct sim_disk *disk = calloc(1, sizeof(*disk));
    must(disk);
    if (options)
        disk->options = *options;
    disk->io.ops = &sim_io_table;
    snprintf(disk->io.reason, sizeof(disk->io.reason), "a simulated disk, for tests");
    disk->store.options = &disk->options;
    disk->store.counters = &disk->counters;
    sim_reset(disk, 0);
    *ret_disk = disk;
    return 0;
}

void sim_disk_free(struct sim_disk *disk)
{
    if (!disk)
        return;
    must(!disk->rings);
    sim_store_done(&disk->store);
    free(disk->handles);
    free(disk);
}

void sim_reset(struct sim_disk *disk, uint64_t seed)
{
    must(!disk->rings);
    sim_store_reset(&disk->store);
    sim_store_format(&disk->store);
    memset(&disk->counters, 0, sizeof(disk->counters));
    life_end(disk);
    disk->handle_base = 0;
    disk->now_us = 1;
    disk->realtime_step_ns = 0;
    disk->rng = splitmix64_mix(seed);
    disk->bytes_rng = splitmix64_mix(seed + 1) ^ UINT64_MAX;
    disk->crash_rng = splitmix64_mix(seed ^ (UINT64_C(1) << 63));
    disk->store.damage_rng = disk->bytes_rng ^ disk->crash_rng;
    disk->ops = disk->changes = 0;
    disk->fault_count = 0;
    disk->hash = 0;
}

struct sim_options *sim_options_of(struct sim_disk *disk)
{
    return &disk->options;
}

struct wal_io *sim_io(struct sim_disk *disk)
{
    disk->io.direct = disk->options.direct;
    return &disk->io;
}

const struct sim_counters *sim_counters(const struct sim_disk *disk)
{
    return &disk->counters;
}

unsigned sim_handles(const struct sim_disk *disk)
{
    unsigned count = 0;
    for (unsigned i = 0; i < disk->handle_count; i++)
        count += disk->handles[i].open;
    return count;
}

uint64_t sim_used_blocks(const struct sim_disk *disk)
{
    return disk->store.used_blocks;
}

uint64_t sim_trace_hash(const struct sim_disk *disk)
{
    return disk->hash;
}
