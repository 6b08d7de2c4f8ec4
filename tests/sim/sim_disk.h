/*
 * A disk in memory that loses power: the backend of wal/io.h for tests. One seed decides everything
 * that a real disk leaves open (latencies, the order of completions, what a power cut keeps), so a
 * history is replayed exactly by running it again. It has its own clock and never sleeps, and it
 * belongs to one thread.
 *
 * What it promises, and no more:
 *   durable write that returned success   its bytes, and the size and space needed to find them
 *   sync of a file                        all its completed writes and its size
 *   sync of a directory                   all completed creations, renames and removals in it
 * Everything else may be kept, lost or torn at any 512 bytes by the next sim_crash(), in any order.
 *
 * A file has three images. SIM_DURABLE is what a power cut cannot take away. SIM_DIRECT adds the
 * writes that are not synced yet: what a handle of WAL_OPEN_DIRECT reads. SIM_CACHED adds the bytes
 * that a failed sync dropped and marked clean: what a buffered handle reads, until the machine
 * reboots or the cache is dropped. A later sync returns 0 and saves none of them.
 *
 * The life of a sweep: run a workload once and take sim_ops(); then for every k run it again with
 * sim_crash_at(disk, k). At operation k the disk dies: that operation and all later ones answer
 * -EIO, rings hand back their ops with -EIO, and close() and ring_free() work as ever. The test
 * sees sim_is_dead(), closes the objects of the dead life, calls sim_crash() and opens again.
 * Closing after sim_crash() works too: handles and rings of an earlier life are recognised.
 */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "wal/io.h"

struct sim_disk;

/* Operations by kind: what is counted, traced and made to fail. The clocks and close() are none. */
enum sim_kind {
    SIM_OPEN_DIR,
    SIM_OPEN_FILE,
    SIM_CREATE, /* open_file with WAL_OPEN_CREATE */
    SIM_MAKE_DIR,
    SIM_RENAME,
    SIM_REMOVE_FILE,
    SIM_REMOVE_DIR,
    SIM_LIST,
    SIM_SYNC_FILE,
    SIM_SYNC_DIR,
    SIM_READ,
    SIM_WRITE,
    SIM_WRITE_DURABLE,
    SIM_ALLOCATE,
    SIM_FILE_BYTES,
    SIM_LOCK,
    SIM_FREE_BYTES,
    SIM_RANDOM,
    SIM_RING_NEW,
    SIM_KINDS,
    SIM_ANY = SIM_KINDS,
};

const char *sim_kind_name(enum sim_kind kind);

/* What a power cut does to writes that were not synced. */
enum sim_tear {
    SIM_TEAR_BY_SEED, /* one of the following for each write, or the first two for all of them */
    SIM_TEAR_LOSE,
    SIM_TEAR_KEEP,
    SIM_TEAR_PREFIX, /* of its sectors */
    SIM_TEAR_SUFFIX,
    SIM_TEAR_SECTORS, /* each sector by itself */
    SIM_TEAR_BLOCKS,  /* each 4 KiB block by itself */
    SIM_TEAR_HOLE,    /* all sectors but one */
    SIM_TEAR_SPECK,   /* one sector alone */
    SIM_TEAR_COUNT,
};

/* All zero is a well-behaved disk without limits. May be changed at any time: sim_options_of(). */
struct sim_options {
    bool direct;        /* wal_io.direct: handles for writing are to be direct ones */
    bool no_direct;     /* WAL_OPEN_DIRECT is refused with -EINVAL */
    bool no_allocate;   /* allocate answers -EOPNOTSUPP */
    bool split_renames; /* the two halves of a file's rename persist one by one, the addition first.
                         * Directories are always moved as one. */
    bool ext4_like;     /* one journal: any sync() saves all changes of directories, in order */
    bool garbage;       /* sectors of a torn write may hold neither old nor new bytes */
    bool check_buffers; /* count data that changes while its op is in flight as a misuse */
    enum sim_tear tear; /* LOSE and KEEP hold for sizes and directories too */
    uint64_t capacity_blocks; /* of 4 KiB, 0: no limit */
    uint64_t file_bytes_max;  /* -EFBIG beyond; 0: 16 GiB, which is also the most */
    uint32_t handles_max;     /* -EMFILE beyond; 0: no limit */
    uint32_t latency_us;      /* usual upper bound of one operation, one in 16 is slower; 0: 100 */
    uint32_t fault_ppm[SIM_KINDS]; /* chance of a fault by seed in each operation, in millionths */
    uint32_t clock_jump_ppm; /* chance that realtime_ns() finds the clock set by up to a day */
    FILE *trace;             /* one readable line an operation; NULL: none */
};

/* `options` may be NULL. Memory that runs out is a must(). */
int sim_disk_new(const struct sim_options *options, struct sim_disk **ret_disk);
void sim_disk_free(struct sim_disk *disk); /* no ring may be left */

/* An empty disk at its first moment, cheaply: memory is kept, and so are the options. Faults, the
 * crash point and the counters are cleared. No ring may be left. A new disk begins at seed 0. */
void sim_reset(struct sim_disk *disk, uint64_t seed);
struct sim_options *sim_options_of(struct sim_disk *disk);

/* The backend. Its free() checks that no ring or handle is left and leaves the disk alone. Names
 * with WAL_IO_CWD are paths from the root, with or without a leading '/'. */
struct wal_io *sim_io(struct sim_disk *disk);

/* --- Power cuts ------------------------------------------------------------------------------- */

/* Cuts the power and reboots: what was not durable is kept, lost or torn, and what is left is
 * durable. Every handle, ring and lock of the old life is dead. */
void sim_crash(struct sim_disk *disk);

/* kill -9: handles, rings and locks die, the kernel keeps its cache and goes on. Each op in flight
 * is finished or was never begun. Nothing becomes durable by it. */
void sim_kill(struct sim_disk *disk);

/* The k-th operation since sim_reset(), counted from 1, finds the disk dead; 0: none. What it was
 * to do counts as in flight. sim_crash() takes the point back. The second form counts those
 * operations alone that can change the disk: between two of them all crashes are the same crash. */
void sim_crash_at(struct sim_disk *disk, uint64_t k);
void sim_crash_at_change(struct sim_disk *disk, uint64_t k);
uint64_t sim_ops(const struct sim_disk *disk);
uint64_t sim_changes(const struct sim_disk *disk);
bool sim_is_dead(const struct sim_disk *disk);

/* Seeds the next sim_crash() alone, so that one moment can be cut in many ways. */
void sim_crash_seed(struct sim_disk *disk, uint64_t seed);

/* Makes durable all that the disk holds, to set a scene. */
void sim_settle(struct sim_disk *disk);

/* Forgets what only the cache still shows after a failed sync. */
void sim_drop_caches(struct sim_disk *disk);

/* --- Faults ----------------------------------------------------------------------------------- */

/* How much of a failing operation happens all the same. */
enum sim_effect {
    SIM_NOTHING,
    /* Writes: the first `bytes` bytes reach the disk, unsynced. Others: NOTHING. */
    SIM_PARTLY,
    /* Writes and syncs: the unsynced bytes are marked clean and never reach the disk. A directory
     * forgets its changes the same way. Others: UNSYNCED. */
    SIM_DROPPED,
    /* It happened, and is not durable; a later sync covers it. */
    SIM_UNSYNCED,
    /* It happened as if it had succeeded. */
    SIM_EVERYTHING,
    SIM_EFFECT_BY_SEED,
};

struct sim_fault {
    enum sim_kind kind;     /* or SIM_ANY */
    uint64_t after;         /* so many matching operations are spared first */
    uint64_t times;         /* then so many fail; UINT64_MAX: for good */
    int error;              /* negative errno. 0: the result is what was done, so PARTLY is a short
                             * write, and DROPPED a disk that lies */
    enum sim_effect effect; /* NOTHING with -EINTR and -EAGAIN, whatever stands here */
    uint64_t bytes;         /* of PARTLY */
    const char *name;       /* only where the last name of the path ends so; NULL: any. Kept */
};

void sim_arm(struct sim_disk *disk, const struct sim_fault *fault); /* up to 16 */
void sim_disarm(struct sim_disk *disk); /* all, and the ranges of sim_fail_reads() */

/* Reads that touch [begin, end) of a file answer this error. -ENOENT: there is no such path. */
int sim_fail_reads(struct sim_disk *disk, const char *path, uint64_t begin, uint64_t end,
                   int error);

/* The realtime clock is set; the monotonic one does not notice. */
void sim_step_realtime(struct sim_disk *disk, int64_t step_ns);
void sim_advance(struct sim_disk *disk, uint64_t us); /* both clocks */
/* Where the next operation would begin, without moving the clock. */
uint64_t sim_now_us(const struct sim_disk *disk);

/* --- Damage ----------------------------------------------------------------------------------- */

/* What disks do to bytes that were durable. 0, -ENOENT, or -EINVAL past the end. */

int sim_flip_bit(struct sim_disk *disk, const char *path, uint64_t position, unsigned bit);
int sim_poke(struct sim_disk *disk, const char *path, uint64_t position, const void *data,
             size_t size);
int sim_zero_block(struct sim_disk *disk, const char *path, uint64_t block);
int sim_copy_block(struct sim_disk *disk, const char *from, uint64_t from_block, const char *to,
                   uint64_t to_block);
int sim_fill_garbage(struct sim_disk *disk, const char *path, uint64_t position, size_t size);
int sim_truncate(struct sim_disk *disk, const char *path, uint64_t size); /* may also extend */
int sim_delete(struct sim_disk *disk, const char *path);                  /* a file */

/* --- Looking at the disk ---------------------------------------------------------------------- */

/* None of it is an operation: it takes no time, is not counted and cannot fail by a fault. */

enum sim_image { SIM_DURABLE, SIM_DIRECT, SIM_CACHED };

/* Size of a file, or -ENOENT. Paths are looked up in the same image, durable or not. */
int64_t sim_file_bytes(struct sim_disk *disk, const char *path, enum sim_image image);
/* Bytes read, fewer at the end of the file, or -ENOENT. */
int64_t sim_peek(struct sim_disk *disk, const char *path, enum sim_image image, uint64_t position,
                 void *data, size_t size);
/* A whole file; free() it. 0 or -ENOENT. */
int sim_copy_file(struct sim_disk *disk, const char *path, enum sim_image image, uint8_t **ret_data,
                  size_t *ret_size);
bool sim_exists(struct sim_disk *disk, const char *path, enum sim_image image);
/* Visits the entries of a directory, newest first. 0, -ENOENT, or what visit returned. */
int sim_list(struct sim_disk *disk, const char *path, enum sim_image image,
             int (*visit)(void *context, const char *name, bool is_dir), void *context);

struct sim_counters {
    uint64_t done[SIM_KINDS];   /* operations that returned success, short writes included */
    uint64_t failed[SIM_KINDS]; /* operations that returned an error */
    uint64_t faults;            /* of these, armed or by seed */

    /* Writes onto bytes that were durable, not zero, and other than the new ones; and the first. */
    uint64_t overwrites;
    const char *overwrite_name; /* last name of the path, until the next sim_reset() */
    uint64_t overwrite_position;

    uint64_t crashes;
    uint64_t writes_kept, writes_lost, writes_torn; /* by crashes */
    uint64_t entries_kept, entries_lost;            /* changes of directories, likewise */

    /* Uses that wal/io.h forbids: unknown handles, a ring freed with work in flight, data changed
     * in flight. A test asserts that this stays 0. */
    uint64_t misuses;
    uint64_t idle_waits; /* ring_wait() without limit and with nothing in flight: would hang */
};

const struct sim_counters *sim_counters(const struct sim_disk *disk);
/* Open handles of the present life, and rings of any: what a test of leaks asserts to be 0. */
unsigned sim_handles(const struct sim_disk *disk);
unsigned sim_rings(const struct sim_disk *disk);
uint64_t sim_used_blocks(const struct sim_disk *disk);

/* Covers every operation with its kind, file, position, size, result and the first bytes written,
 * and every crash: the same seed and the same calls give the same hash. */
uint64_t sim_trace_hash(const struct sim_disk *disk);

#endif
