#include "tests/sim/sim_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * What tests do to a simulated disk from outside: damage to durable bytes, and looking at its
 * images without an operation. None of it moves the clock, counts, or is traced.
 */

static struct sim_inode *find(struct sim_disk *disk, const char *path, enum sim_image image)
{
    return sim_dir_resolve(sim_store_of(disk)->root, path, image);
}

static struct sim_inode *find_file(struct sim_disk *disk, const char *path, enum sim_image image)
{
    struct sim_inode *inode = find(disk, path, image);
    return inode && !inode->is_dir ? inode : NULL;
}

void sim_settle(struct sim_disk *disk)
{
    sim_store_settle(sim_store_of(disk));
}

void sim_drop_caches(struct sim_disk *disk)
{
    struct sim_store *store = sim_store_of(disk);
    for (struct sim_inode *inode = store->inodes; inode; inode = inode->next)
        sim_file_forget_dropped(store, inode);
}

int sim_fail_reads(struct sim_disk *disk, const char *path, uint64_t begin, uint64_t end, int error)
{
    struct sim_inode *file = find_file(disk, path, SIM_CACHED);
    if (!file)
        return -ENOENT;
    struct sim_read_fault *fault = sim_store_alloc(sim_store_of(disk), sizeof(*fault));
    *fault = (struct sim_read_fault){file->read_faults, begin, end, error};
    file->read_faults = fault;
    return 0;
}

/* --- Damage ----------------------------------------------------------------------------------- */

int sim_poke(struct sim_disk *disk, const char *path, uint64_t position, const void *data,
             size_t size)
{
    struct sim_inode *file = find_file(disk, path, SIM_CACHED);
    if (!file)
        return -ENOENT;
    if (position > file->size || size > file->size - position)
        return -EINVAL;
    sim_file_poke(sim_store_of(disk), file, data, size, position);
    return 0;
}

static int64_t peek_block(struct sim_disk *disk, const char *path, uint64_t block, uint8_t *data)
{
    memset(data, 0, WAL_BLOCK_BYTES);
    return sim_peek(disk, path, SIM_DURABLE, block * WAL_BLOCK_BYTES, data, WAL_BLOCK_BYTES);
}

int sim_flip_bit(struct sim_disk *disk, const char *path, uint64_t position, unsigned bit)
{
    uint8_t byte;
    int64_t bytes = sim_peek(disk, path, SIM_DURABLE, position, &byte, 1);
    if (bytes < 1)
        return bytes < 0 ? (int)bytes : -EINVAL;
    byte ^= (uint8_t)(1u << bit % 8);
    return sim_poke(disk, path, position, &byte, 1);
}

/* The last block of a file may be a part of one. */
static int poke_block(struct sim_disk *disk, const char *path, uint64_t block, const uint8_t *data)
{
    int64_t size = sim_file_bytes(disk, path, SIM_DURABLE);
    if (size < 0)
        return (int)size;
    if (block >= (uint64_t)size / WAL_BLOCK_BYTES + (size % WAL_BLOCK_BYTES != 0))
        return -EINVAL;
    uint64_t position = block * WAL_BLOCK_BYTES;
    return sim_poke(disk, path, position, data,
                    min_u64(WAL_BLOCK_BYTES, (uint64_t)size - position));
}

int sim_zero_block(struct sim_disk *disk, const char *path, uint64_t block)
{
    static const uint8_t zeros[WAL_BLOCK_BYTES];
    return poke_block(disk, path, block, zeros);
}

int sim_copy_block(struct sim_disk *disk, const char *from, uint64_t from_block, const char *to,
                   uint64_t to_block)
{
    uint8_t data[WAL_BLOCK_BYTES];
    int64_t bytes = peek_block(disk, from, from_block, data);
    if (bytes <= 0)
        return bytes < 0 ? (int)bytes : -EINVAL;
    return poke_block(disk, to, to_block, data);
}

int sim_fill_garbage(struct sim_disk *disk, const char *path, uint64_t position, size_t size)
{
    int rc = 0;
    for (size_t at = 0; at < size && rc == 0; at += sizeof(uint64_t)) {
        uint64_t word = rng_next(&sim_store_of(disk)->damage_rng);
        rc = sim_poke(disk, path, position + at, &word, min_u64(size - at, sizeof(word)));
    }
    return rc;
}

int sim_truncate(struct sim_disk *disk, const char *path, uint64_t size)
{
    struct sim_inode *file = find_file(disk, path, SIM_CACHED);
    if (!file)
        return -ENOENT;
    struct sim_store *store = sim_store_of(disk);
    sim_file_truncate(store, file, size);
    store->used_blocks -= file->blocks;
    file->blocks = sim_file_count_blocks(file);
    store->used_blocks += file->blocks;
    return 0;
}

int sim_delete(struct sim_disk *disk, const char *path)
{
    struct sim_inode *dir;
    const char *name;
    int rc = sim_dir_walk(sim_store_of(disk)->root, path, SIM_CACHED, &dir, &name);
    if (rc < 0)
        return rc;
    struct sim_entry *entry = sim_dir_find(dir, name, strlen(name), SIM_CACHED);
    if (!entry || entry->inode->is_dir)
        return -ENOENT;
    sim_dir_erase(sim_store_of(disk), entry);
    return 0;
}

/* --- Looking ---------------------------------------------------------------------------------- */

int64_t sim_file_bytes(struct sim_disk *disk, const char *path, enum sim_image image)
{
    const struct sim_inode *file = find_file(disk, path, image);
    if (!file)
        return -ENOENT;
    return (int64_t)(image == SIM_DURABLE ? file->size_durable : file->size);
}

int64_t sim_peek(struct sim_disk *disk, const char *path, enum sim_image image, uint64_t position,
                 void *data, size_t size)
{
    int64_t bytes = sim_file_bytes(disk, path, image);
    if (bytes < 0)
        return bytes;
    uint64_t rest = position < (uint64_t)bytes ? (uint64_t)bytes - position : 0;
    uint64_t count = min_u64(size, rest);
    sim_file_read(find_file(disk, path, image), image, data, count, position);
    return (int64_t)count;
}

int sim_copy_file(struct sim_disk *disk, const char *path, enum sim_image image, uint8_t **ret_data,
                  size_t *ret_size)
{
    int64_t size = sim_file_bytes(disk, path, image);
    if (size < 0)
        return (int)size;
    uint8_t *data = malloc((size_t)size + 1);
    must(data);
    *ret_size = (size_t)sim_peek(disk, path, image, 0, data, (size_t)size);
    *ret_data = data;
    return 0;
}

bool sim_exists(struct sim_disk *disk, const char *path, enum sim_image image)
{
    return find(disk, path, image) != NULL;
}

int sim_list(struct sim_disk *disk, const char *path, enum sim_image image,
             int (*visit)(void *context, const char *name, bool is_dir), void *context)
{
    const struct sim_inode *dir = find(disk, path, image);
    if (!dir || !dir->is_dir)
        return -ENOENT;
    int rc = 0;
    for (const struct sim_entry *entry = dir->entries; entry && rc == 0; entry = entry->next) {
        if (image == SIM_DURABLE ? entry->durable : entry->live)
            rc = visit(context, entry->name, entry->inode->is_dir);
    }
    return rc;
}
