/*
 * What is on the simulated disk: inodes, their blocks, the writes and changes of directories that
 * are not durable yet, and what a power cut makes of them. It knows no handles, operations, faults
 * or clocks; those are sim_disk.c. Private to tests/sim.
 */
#ifndef SIM_IMAGE_H
#define SIM_IMAGE_H

#include "tests/sim/sim_disk.h"
#include "tests/support/splitmix64.h"
#include "wal/base.h"

enum {
    BLOCK_SECTORS = WAL_BLOCK_BYTES / WAL_SECTOR_BYTES,
    CHUNK_BLOCKS = 64,
    SMALL_CLASSES = 21, /* up to 1 MiB */
};

_Static_assert(BLOCK_SECTORS == 8, "a mask of the sectors of one block is a uint8_t");

/* --- Chance ----------------------------------------------------------------------------------- */

/* A history has as many independent streams as it likes. */
static inline uint64_t rng_next(uint64_t *rng)
{
    return splitmix64_next(rng);
}

/* Below `limit`, which is at most 2^32; 0 for 0. */
static inline uint64_t rng_below(uint64_t *rng, uint64_t limit)
{
    return ((rng_next(rng) >> 32) * limit) >> 32;
}

/* --- Files ------------------------------------------------------------------------------------ */

/* 64 blocks of a file. A block without memory reads as zeros. */
struct sim_chunk {
    uint8_t *block[CHUNK_BLOCKS];
    uint64_t reserved;         /* a bit for each block that takes up space */
    uint64_t reserved_durable; /* what of it a power cut leaves */
};

/* One block as a write would leave it; only the sectors in `mask` count. NULL data are zeros. */
struct sim_slice {
    uint8_t *data;
    uint8_t mask;
};

/* A write that is not durable. Later writes take the sectors they make durable out of the masks. */
struct sim_write {
    struct sim_write *next;
    uint64_t first_block;
    uint64_t end; /* bytes */
    uint32_t block_count;
    uint32_t slices_left; /* with a sector in their mask; the write goes with the last one */
    bool dropped;         /* by a failed sync: only the cache shows it */
    struct sim_slice slices[];
};

struct sim_read_fault {
    struct sim_read_fault *next;
    uint64_t begin, end;
    int error;
};

struct sim_inode {
    struct sim_inode *next, **link; /* of all inodes */
    uint64_t id;                    /* dense in order of creation: names it in traces */
    const char *name;               /* its latest one */
    bool is_dir;
    bool locked;
    bool reached; /* by the walk of a crash */
    bool chosen;  /* by the selection of changes: its earlier ones go along */
    unsigned opens;
    unsigned links, links_durable;
    unsigned changes; /* not durable yet, that name it */
    uint64_t blocks;  /* that it takes up */
    /* Files. Sizes in bytes. */
    uint64_t size, size_durable;
    struct sim_chunk **chunks;
    uint64_t chunk_count;
    struct sim_write *writes, **writes_tail; /* in order of completion */
    bool space_changed;                      /* some `reserved` may differ from what is durable */
    struct sim_read_fault *read_faults;
    /* Directories. */
    struct sim_entry *entries;
    uint64_t live_entries;
};

/* --- Directories ------------------------------------------------------------------------------ */

/* That `dir` holds `inode` under `name`: now, or on the durable disk, or both. */
struct sim_entry {
    struct sim_entry *next, **link; /* of its directory */
    struct sim_inode *dir, *inode;
    const char *name;
    uint32_t hash;
    uint32_t size; /* of the name */
    bool live, durable;
    unsigned changes;
};

/* A change of directories that is not durable yet; a rename has both sides. */
struct sim_change {
    struct sim_change *next, *previous;
    struct sim_entry *remove, *add;
    bool dropped; /* by a failed sync */
    bool chosen;
};

/* --- The disk --------------------------------------------------------------------------------- */

/* Memory that is given back all at once. Blocks lie apart from the rest, for their alignment. */
struct sim_slabs {
    uint8_t **slabs;
    size_t count, at; /* slabs there are, the one in use */
    size_t used;      /* bytes of it */
};

struct sim_store {
    const struct sim_options *options;
    struct sim_counters *counters;
    struct sim_slabs small, blocks;
    void *free_small[SMALL_CLASSES];
    void *free_blocks;
    struct sim_inode *inodes, *root;
    struct sim_change *first_change, *last_change;
    uint64_t used_blocks;
    uint64_t next_id;
    uint64_t damage_rng;
    unsigned listing; /* depth: entries stay while a listing may hold them */
};

void sim_store_reset(struct sim_store *store);
void sim_store_done(struct sim_store *store);

/* Room for `size` bytes, not cleared, until released or the store is reset. */
void *sim_store_alloc(struct sim_store *store, size_t size);
void sim_store_release(struct sim_store *store, void *memory, size_t size);

/* --- sim_image.c: contents of files --- */

/* Takes space for [position, position + size), from the front; returns the bytes that have it. */
uint64_t sim_file_reserve(struct sim_store *store, struct sim_inode *file, uint64_t position,
                          uint64_t size);
struct sim_write *sim_write_new(struct sim_store *store, struct sim_inode *file,
                                const uint8_t *data, uint64_t size, uint64_t position);
/* Both take the write over: for the next sync or power cut to decide, or durable at once. */
void sim_write_hold(struct sim_store *store, struct sim_inode *file, struct sim_write *write);
void sim_write_commit(struct sim_store *store, struct sim_inode *file, struct sim_write *write);
/* Counts sectors whose durable bytes are neither zero nor what the write brings. */
void sim_write_check(struct sim_store *store, const struct sim_inode *file,
                     const struct sim_write *write);

void sim_file_commit(struct sim_store *store, struct sim_inode *file); /* all that is not dropped */
void sim_file_drop(struct sim_inode *file);
void sim_file_forget_dropped(struct sim_store *store, struct sim_inode *file);
void sim_file_read(const struct sim_inode *file, enum sim_image image, uint8_t *data, uint64_t size,
                   uint64_t position);
/* Straight into the durable image; past the end of the file is the caller's mistake. */
void sim_file_poke(struct sim_store *store, struct sim_inode *file, const uint8_t *data,
                   uint64_t size, uint64_t position);
void sim_file_truncate(struct sim_store *store, struct sim_inode *file, uint64_t size);
void sim_file_crash(struct sim_store *store, struct sim_inode *file, enum sim_tear style,
                    uint64_t *rng);
/* The blocks it takes up, counted anew. */
uint64_t sim_file_count_blocks(const struct sim_inode *file);
void sim_file_free_blocks(struct sim_store *store, struct sim_inode *file);

/* --- sim_tree.c: names --- */

struct sim_entry *sim_dir_find(const struct sim_inode *dir, const char *name, size_t size,
                               enum sim_image image);
/* Follows a path to its last name, which is "." for `dir` itself: 0, -ENOENT or -ENOTDIR. */
int sim_dir_walk(struct sim_inode *dir, const char *path, enum sim_image image,
                 struct sim_inode **ret_dir, const char **ret_name);
/* The inode of a path, or NULL. */
struct sim_inode *sim_dir_resolve(struct sim_inode *dir, const char *path, enum sim_image image);

int sim_dir_create(struct sim_store *store, struct sim_inode *dir, const char *name, bool is_dir,
                   struct sim_inode **ret_inode);
int sim_dir_rename(struct sim_store *store, struct sim_inode *from_dir, const char *from,
                   struct sim_inode *to_dir, const char *to);
/* The file `from` takes the place of the file `to`. */
int sim_dir_replace(struct sim_store *store, struct sim_inode *dir, const char *from,
                    const char *to);
int sim_dir_remove(struct sim_store *store, struct sim_inode *dir, const char *name, bool is_dir);
/* Of one directory, or of the whole disk for NULL. */
void sim_dir_commit(struct sim_store *store, const struct sim_inode *dir);
void sim_dir_drop(struct sim_store *store, const struct sim_inode *dir);
/* Takes a name away at once, now and durably. */
void sim_dir_erase(struct sim_store *store, struct sim_entry *entry);
/* Gives space back when the last name and handle are gone, and memory when a crash cannot bring the
 * inode back. Call it after taking away either. */
void sim_inode_settle(struct sim_store *store, struct sim_inode *inode);

/* Makes the root directory; the store must be empty. */
void sim_store_format(struct sim_store *store);
void sim_store_crash(struct sim_store *store, uint64_t *rng);
void sim_store_settle(struct sim_store *store);

/* --- sim_disk.c --- */

struct sim_store *sim_store_of(struct sim_disk *disk);

#endif
