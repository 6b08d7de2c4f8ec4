#include "tests/sim/sim_image.h"

#include <stdlib.h>
#include <string.h>

/*
 * Memory, and the contents of files: the durable image as blocks in chunks, and over it the list of
 * writes that are not durable. Reading lays the list over the blocks; syncing moves its blocks in;
 * a power cut does so with some of the sectors.
 */

static const size_t slab_bytes = 1u << 20;
static const uint8_t zero_block[WAL_BLOCK_BYTES];

/* --- Memory ----------------------------------------------------------------------------------- */

static void *slabs_take(struct sim_slabs *slabs, size_t size)
{
    must(size <= slab_bytes);
    if (slabs->at < slabs->count && slabs->used + size > slab_bytes) {
        slabs->at++;
        slabs->used = 0;
    }
    if (slabs->at == slabs->count) {
        slabs->slabs = realloc(slabs->slabs, (slabs->count + 1) * sizeof(*slabs->slabs));
        must(slabs->slabs);
        slabs->slabs[slabs->count] = aligned_alloc(WAL_BLOCK_BYTES, slab_bytes);
        must(slabs->slabs[slabs->count]);
        slabs->count++;
    }
    void *memory = slabs->slabs[slabs->at] + slabs->used;
    slabs->used += size;
    return memory;
}

static void slabs_done(struct sim_slabs *slabs)
{
    for (size_t i = 0; i < slabs->count; i++)
        free(slabs->slabs[i]);
    free(slabs->slabs);
}

/* Sizes are rounded up to powers of two, so that what is released fits the next of its kind. */
static unsigned small_class(size_t size)
{
    return size <= 16 ? 4 : 64u - (unsigned)__builtin_clzll((unsigned long long)size - 1);
}

void *sim_store_alloc(struct sim_store *store, size_t size)
{
    unsigned class = small_class(size);
    must(class < SMALL_CLASSES);

    void *memory = store->free_small[class];
    if (!memory)
        return slabs_take(&store->small, (size_t)1 << class);
    memcpy(&store->free_small[class], memory, sizeof(void *));
    return memory;
}

void sim_store_release(struct sim_store *store, void *memory, size_t size)
{
    if (!memory)
        return;
    unsigned class = small_class(size);
    memcpy(memory, &store->free_small[class], sizeof(void *));
    store->free_small[class] = memory;
}

static uint8_t *block_alloc(struct sim_store *store)
{
    void *block = store->free_blocks;
    if (!block)
        return slabs_take(&store->blocks, WAL_BLOCK_BYTES);
    memcpy(&store->free_blocks, block, sizeof(void *));
    return block;
}

static void block_release(struct sim_store *store, uint8_t *block)
{
    if (!block)
        return;
    memcpy(block, &store->free_blocks, sizeof(void *));
    store->free_blocks = block;
}

void sim_store_reset(struct sim_store *store)
{
    store->small.at = store->small.used = 0;
    store->blocks.at = store->blocks.used = 0;
    memset(store->free_small, 0, sizeof(store->free_small));
    store->free_blocks = NULL;
    store->inodes = store->root = NULL;
    store->first_change = store->last_change = NULL;
    store->used_blocks = 0;
    store->next_id = 0;
    store->listing = 0;
}

void sim_store_done(struct sim_store *store)
{
    slabs_done(&store->small);
    slabs_done(&store->blocks);
}

/* --- Blocks ----------------------------------------------------------------------------------- */

static struct sim_chunk *chunk_find(const struct sim_inode *file, uint64_t block)
{
    uint64_t index = block / CHUNK_BLOCKS;
    return index < file->chunk_count ? file->chunks[index] : NULL;
}

static struct sim_chunk *chunk_make(struct sim_store *store, struct sim_inode *file, uint64_t block)
{
    uint64_t index = block / CHUNK_BLOCKS;
    if (index >= file->chunk_count) {
        uint64_t count = max_u64(4, file->chunk_count);
        while (count <= index)
            count *= 2;
        struct sim_chunk **chunks = sim_store_alloc(store, count * sizeof(struct sim_chunk *));
        memset(chunks, 0, count * sizeof(struct sim_chunk *));
        if (file->chunk_count)
            memcpy(chunks, file->chunks, file->chunk_count * sizeof(struct sim_chunk *));
        sim_store_release(store, file->chunks, file->chunk_count * sizeof(struct sim_chunk *));
        file->chunks = chunks;
        file->chunk_count = count;
    }
    if (!file->chunks[index]) {
        file->chunks[index] = sim_store_alloc(store, sizeof(struct sim_chunk));
        memset(file->chunks[index], 0, sizeof(struct sim_chunk));
    }
    return file->chunks[index];
}

/* The bits [first, first + count) of a word, count 1 to 64. */
static uint64_t bits(uint64_t first, uint64_t count)
{
    return (UINT64_MAX >> (64 - count)) << first;
}

/* Takes those of the missing blocks that the disk has room for; returns what is still missing. */
static uint64_t chunk_reserve(struct sim_store *store, struct sim_inode *file,
                              struct sim_chunk *chunk, uint64_t missing)
{
    uint64_t capacity = store->options->capacity_blocks;
    uint64_t taken = missing;
    if (capacity && store->used_blocks + (unsigned)__builtin_popcountll(missing) > capacity) {
        uint64_t room = store->used_blocks < capacity ? capacity - store->used_blocks : 0;
        for (taken = 0; room > 0; room--)
            taken |= (missing & ~taken) & -(missing & ~taken);
    }
    uint64_t count = (uint64_t)__builtin_popcountll(taken);
    chunk->reserved |= taken;
    store->used_blocks += count;
    file->blocks += count;
    if (taken)
        file->space_changed = true;
    return missing & ~taken;
}

uint64_t sim_file_reserve(struct sim_store *store, struct sim_inode *file, uint64_t position,
                          uint64_t size)
{
    uint64_t block = position / WAL_BLOCK_BYTES;
    uint64_t end = round_up(position + size, WAL_BLOCK_BYTES) / WAL_BLOCK_BYTES;
    while (block < end) {
        struct sim_chunk *chunk = chunk_make(store, file, block);
        uint64_t first = block % CHUNK_BLOCKS;
        uint64_t count = min_u64(CHUNK_BLOCKS - first, end - block);
        uint64_t missing = chunk_reserve(store, file, chunk, bits(first, count) & ~chunk->reserved);
        if (missing) {
            uint64_t granted =
                (block - first + (unsigned)__builtin_ctzll(missing)) * WAL_BLOCK_BYTES;
            return granted > position ? granted - position : 0;
        }
        block += count;
    }
    return size;
}

static void copy_sectors(uint8_t *to, const uint8_t *from, uint8_t mask)
{
    for (unsigned sector = 0; sector < BLOCK_SECTORS; sector++) {
        if (!(mask & 1u << sector))
            continue;
        size_t begin = (size_t)sector * WAL_SECTOR_BYTES;
        memcpy(to + begin, from ? from + begin : zero_block, WAL_SECTOR_BYTES);
    }
}

/* Moves the slice into the durable image. */
static void slice_apply(struct sim_store *store, struct sim_inode *file, uint64_t block,
                        struct sim_slice slice)
{
    if (slice.mask == 0) {
        block_release(store, slice.data);
        return;
    }
    struct sim_chunk *chunk = chunk_make(store, file, block);
    uint8_t **slot = &chunk->block[block % CHUNK_BLOCKS];
    chunk->reserved_durable |= chunk->reserved & bits(block % CHUNK_BLOCKS, 1);
    if (slice.mask == UINT8_MAX) {
        block_release(store, *slot);
        *slot = slice.data;
        return;
    }
    if (!*slot && slice.data) {
        *slot = block_alloc(store);
        memset(*slot, 0, WAL_BLOCK_BYTES);
    }
    if (*slot)
        copy_sectors(*slot, slice.data, slice.mask);
    block_release(store, slice.data);
}

/* --- Reading ---------------------------------------------------------------------------------- */

/* Bytes [begin, end) of one block. */
static void block_read(const struct sim_inode *file, enum sim_image image, uint64_t block,
                       uint64_t begin, uint64_t end, uint8_t *data)
{
    const struct sim_chunk *chunk = chunk_find(file, block);
    const uint8_t *durable = chunk ? chunk->block[block % CHUNK_BLOCKS] : NULL;
    if (durable)
        memcpy(data, durable + begin, end - begin);
    else
        memset(data, 0, end - begin);
    if (image == SIM_DURABLE)
        return;

    for (const struct sim_write *write = file->writes; write; write = write->next) {
        if ((write->dropped && image == SIM_DIRECT) || block < write->first_block ||
            block - write->first_block >= write->block_count)
            continue;
        const struct sim_slice *slice = &write->slices[block - write->first_block];
        for (uint64_t sector = begin / WAL_SECTOR_BYTES; sector * WAL_SECTOR_BYTES < end;
             sector++) {
            if (!(slice->mask & 1u << sector))
                continue;
            uint64_t from = max_u64(begin, sector * WAL_SECTOR_BYTES);
            uint64_t to = min_u64(end, (sector + 1) * WAL_SECTOR_BYTES);
            memcpy(data + (from - begin), slice->data ? slice->data + from : zero_block, to - from);
        }
    }
}

void sim_file_read(const struct sim_inode *file, enum sim_image image, uint8_t *data, uint64_t size,
                   uint64_t position)
{
    while (size > 0) {
        uint64_t begin = position % WAL_BLOCK_BYTES;
        uint64_t end = min_u64(WAL_BLOCK_BYTES, begin + size);
        block_read(file, image, position / WAL_BLOCK_BYTES, begin, end, data);
        data += end - begin;
        position += end - begin;
        size -= end - begin;
    }
}

/* --- Writes that are not durable -------------------------------------------------------------- */

static size_t write_bytes(uint32_t block_count)
{
    return sizeof(struct sim_write) + block_count * sizeof(struct sim_slice);
}

/* The slice of [begin, end) of one block. A sector is the unit of what survives, so the rest of a
 * sector written in part comes from the cache, as in a kernel. */
static struct sim_slice slice_new(struct sim_store *store, const struct sim_inode *file,
                                  uint64_t block, uint64_t begin, uint64_t end, const uint8_t *data)
{
    if (end - begin == WAL_BLOCK_BYTES) {
        struct sim_slice whole = {.mask = UINT8_MAX};
        if (memcmp(data, zero_block, WAL_BLOCK_BYTES) != 0) {
            whole.data = block_alloc(store);
            memcpy(whole.data, data, WAL_BLOCK_BYTES);
        }
        return whole;
    }
    uint64_t first = begin / WAL_SECTOR_BYTES;
    uint64_t past = (end + WAL_SECTOR_BYTES - 1) / WAL_SECTOR_BYTES;
    struct sim_slice part = {block_alloc(store), (uint8_t)bits(first, past - first)};
    block_read(file, SIM_CACHED, block, 0, WAL_BLOCK_BYTES, part.data);
    memcpy(part.data + begin, data, end - begin);
    return part;
}

struct sim_write *sim_write_new(struct sim_store *store, struct sim_inode *file,
                                const uint8_t *data, uint64_t size, uint64_t position)
{
    uint64_t first = position / WAL_BLOCK_BYTES;
    uint64_t past = round_up(position + size, WAL_BLOCK_BYTES) / WAL_BLOCK_BYTES;
    must(size > 0 && past - first < 1u << 15);

    uint32_t count = (uint32_t)(past - first);
    struct sim_write *write = sim_store_alloc(store, write_bytes(count));
    write->next = NULL;
    write->first_block = first;
    write->end = position + size;
    write->block_count = write->slices_left = count;
    write->dropped = false;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t start = (first + i) * WAL_BLOCK_BYTES;
        uint64_t begin = max_u64(position, start) - start;
        uint64_t end = min_u64(position + size - start, WAL_BLOCK_BYTES);
        write->slices[i] = slice_new(store, file, first + i, begin, end, data);
        data += end - begin;
    }
    return write;
}

/* The slices' data have been moved or released. */
static void write_free_empty(struct sim_store *store, struct sim_write *write)
{
    sim_store_release(store, write, write_bytes(write->block_count));
}

static void write_free(struct sim_store *store, struct sim_write *write)
{
    for (uint32_t i = 0; i < write->block_count; i++)
        block_release(store, write->slices[i].data);
    write_free_empty(store, write);
}

/* Takes the sectors of `newer` out of one write; whether nothing of it is left. */
static bool write_shadow(struct sim_store *store, struct sim_write *write,
                         const struct sim_write *newer)
{
    uint64_t begin = max_u64(write->first_block, newer->first_block);
    uint64_t end =
        min_u64(write->first_block + write->block_count, newer->first_block + newer->block_count);
    for (uint64_t block = begin; block < end; block++) {
        struct sim_slice *slice = &write->slices[block - write->first_block];
        if (slice->mask == 0)
            continue;
        slice->mask &= (uint8_t)~newer->slices[block - newer->first_block].mask;
        if (slice->mask == 0) {
            block_release(store, slice->data);
            slice->data = NULL;
            write->slices_left--;
        }
    }
    return write->slices_left == 0;
}

/* What a newer write has replaced for good can neither be shown nor kept any more. */
static void file_shadow(struct sim_store *store, struct sim_inode *file,
                        const struct sim_write *newer, bool only_dropped)
{
    struct sim_write **link = &file->writes;
    while (*link) {
        struct sim_write *write = *link;
        if ((only_dropped && !write->dropped) || !write_shadow(store, write, newer)) {
            link = &write->next;
            continue;
        }
        *link = write->next;
        write_free_empty(store, write);
    }
    file->writes_tail = link;
}

void sim_write_hold(struct sim_store *store, struct sim_inode *file, struct sim_write *write)
{
    /* Over a write that can still reach the disk both stay, since a power cut may keep either. But
     * a dropped one was the only copy of what it replaced in the cache, so that is lost with it. */
    if (file->writes)
        file_shadow(store, file, write, !write->dropped);
    *file->writes_tail = write;
    file->writes_tail = &write->next;
}

void sim_write_commit(struct sim_store *store, struct sim_inode *file, struct sim_write *write)
{
    if (file->writes)
        file_shadow(store, file, write, false);
    for (uint32_t i = 0; i < write->block_count; i++)
        slice_apply(store, file, write->first_block + i, write->slices[i]);
    file->size_durable = max_u64(file->size_durable, min_u64(write->end, file->size));
    write_free_empty(store, write);
}

static bool sector_lost(const uint8_t *durable, const uint8_t *data)
{
    return memcmp(durable, data, WAL_SECTOR_BYTES) != 0 &&
           memcmp(durable, zero_block, WAL_SECTOR_BYTES) != 0;
}

void sim_write_check(struct sim_store *store, const struct sim_inode *file,
                     const struct sim_write *write)
{
    for (uint32_t i = 0; i < write->block_count; i++) {
        const struct sim_chunk *chunk = chunk_find(file, write->first_block + i);
        const uint8_t *durable =
            chunk ? chunk->block[(write->first_block + i) % CHUNK_BLOCKS] : NULL;
        if (!durable)
            continue;
        const struct sim_slice *slice = &write->slices[i];
        for (unsigned sector = 0; sector < BLOCK_SECTORS; sector++) {
            size_t begin = (size_t)sector * WAL_SECTOR_BYTES;
            if (!(slice->mask & 1u << sector) ||
                !sector_lost(durable + begin, slice->data ? slice->data + begin : zero_block))
                continue;
            if (store->counters->overwrites++ == 0) {
                store->counters->overwrite_name = file->name;
                store->counters->overwrite_position =
                    (write->first_block + i) * WAL_BLOCK_BYTES + begin;
            }
            return;
        }
    }
}

/* --- Whole files ------------------------------------------------------------------------------ */

static void file_commit_space(struct sim_inode *file)
{
    for (uint64_t i = 0; file->space_changed && i < file->chunk_count; i++) {
        if (file->chunks[i])
            file->chunks[i]->reserved_durable = file->chunks[i]->reserved;
    }
    file->space_changed = false;
    file->size_durable = file->size;
}

void sim_file_commit(struct sim_store *store, struct sim_inode *file)
{
    struct sim_write **link = &file->writes;
    while (*link) {
        struct sim_write *write = *link;
        if (write->dropped) {
            link = &write->next;
            continue;
        }
        *link = write->next;
        for (uint32_t i = 0; i < write->block_count; i++)
            slice_apply(store, file, write->first_block + i, write->slices[i]);
        write_free_empty(store, write);
    }
    file->writes_tail = link;
    file_commit_space(file);
}

void sim_file_drop(struct sim_inode *file)
{
    for (struct sim_write *write = file->writes; write; write = write->next)
        write->dropped = true;
}

void sim_file_forget_dropped(struct sim_store *store, struct sim_inode *file)
{
    struct sim_write **link = &file->writes;
    while (*link) {
        struct sim_write *write = *link;
        if (!write->dropped) {
            link = &write->next;
            continue;
        }
        *link = write->next;
        write_free(store, write);
    }
    file->writes_tail = link;
}

void sim_file_poke(struct sim_store *store, struct sim_inode *file, const uint8_t *data,
                   uint64_t size, uint64_t position)
{
    must(position + size <= file->size);
    while (size > 0) {
        uint64_t begin = position % WAL_BLOCK_BYTES;
        uint64_t end = min_u64(WAL_BLOCK_BYTES, begin + size);
        uint64_t block = position / WAL_BLOCK_BYTES;
        struct sim_slice slice = {block_alloc(store), UINT8_MAX};
        block_read(file, SIM_DURABLE, block, 0, WAL_BLOCK_BYTES, slice.data);
        memcpy(slice.data + begin, data, end - begin);
        slice_apply(store, file, block, slice);
        data += end - begin;
        position += end - begin;
        size -= end - begin;
    }
}

static void chunk_cut(struct sim_store *store, struct sim_chunk *chunk, uint64_t first)
{
    for (uint64_t i = first; i < CHUNK_BLOCKS; i++) {
        block_release(store, chunk->block[i]);
        chunk->block[i] = NULL;
    }
    chunk->reserved &= ~bits(first, CHUNK_BLOCKS - first);
    chunk->reserved_durable &= chunk->reserved;
}

static void write_cut(struct sim_store *store, struct sim_write *write, uint64_t size)
{
    for (uint32_t i = 0; i < write->block_count; i++) {
        if ((write->first_block + i) * WAL_BLOCK_BYTES < size)
            continue;
        block_release(store, write->slices[i].data);
        write->slices[i] = (struct sim_slice){0};
    }
    write->end = min_u64(write->end, size);
}

void sim_file_truncate(struct sim_store *store, struct sim_inode *file, uint64_t size)
{
    uint64_t past = round_up(size, WAL_BLOCK_BYTES) / WAL_BLOCK_BYTES;
    for (uint64_t i = past / CHUNK_BLOCKS; i < file->chunk_count; i++) {
        uint64_t first = i == past / CHUNK_BLOCKS ? past % CHUNK_BLOCKS : 0;
        if (file->chunks[i])
            chunk_cut(store, file->chunks[i], first);
    }
    struct sim_chunk *chunk = chunk_find(file, size / WAL_BLOCK_BYTES);
    uint8_t *tail = chunk ? chunk->block[size / WAL_BLOCK_BYTES % CHUNK_BLOCKS] : NULL;
    if (tail && size % WAL_BLOCK_BYTES != 0)
        memset(tail + size % WAL_BLOCK_BYTES, 0, WAL_BLOCK_BYTES - size % WAL_BLOCK_BYTES);
    for (struct sim_write *write = file->writes; write; write = write->next)
        write_cut(store, write, size);
    file->size = file->size_durable = size;
}

uint64_t sim_file_count_blocks(const struct sim_inode *file)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < file->chunk_count; i++) {
        if (file->chunks[i])
            count += (uint64_t)__builtin_popcountll(file->chunks[i]->reserved);
    }
    return count;
}

void sim_file_free_blocks(struct sim_store *store, struct sim_inode *file)
{
    while (file->writes) {
        struct sim_write *write = file->writes;
        file->writes = write->next;
        write_free(store, write);
    }
    file->writes_tail = &file->writes;
    for (uint64_t i = 0; i < file->chunk_count; i++) {
        if (file->chunks[i])
            chunk_cut(store, file->chunks[i], 0);
        sim_store_release(store, file->chunks[i], sizeof(struct sim_chunk));
    }
    sim_store_release(store, file->chunks, file->chunk_count * sizeof(struct sim_chunk *));
    file->chunks = NULL;
    file->chunk_count = 0;
}

/* --- Power cuts ------------------------------------------------------------------------------- */

/* Which sectors of the i-th block of a write survive; `pick` is a sector of the write. */
static uint8_t tear_mask(enum sim_tear tear, uint64_t i, uint64_t pick, uint64_t *rng)
{
    uint64_t begin = i * BLOCK_SECTORS;
    uint64_t before = pick <= begin ? 0 : min_u64(pick - begin, BLOCK_SECTORS);
    uint8_t prefix = (uint8_t)((1u << before) - 1);
    uint8_t speck = pick - begin < BLOCK_SECTORS ? (uint8_t)(1u << (pick - begin)) : 0;
    switch (tear) {
    case SIM_TEAR_KEEP: return UINT8_MAX;
    case SIM_TEAR_PREFIX: return prefix;
    case SIM_TEAR_SUFFIX: return (uint8_t)~prefix;
    case SIM_TEAR_SECTORS: return (uint8_t)rng_next(rng);
    case SIM_TEAR_BLOCKS: return rng_next(rng) & 1 ? UINT8_MAX : 0;
    case SIM_TEAR_HOLE: return (uint8_t)~speck;
    case SIM_TEAR_SPECK: return speck;
    default: return 0;
    }
}

static void garbage_apply(struct sim_store *store, struct sim_inode *file, uint64_t block,
                          uint8_t mask, uint64_t *rng)
{
    struct sim_slice slice = {block_alloc(store), mask};
    for (size_t at = 0; at < WAL_BLOCK_BYTES; at += sizeof(uint64_t)) {
        uint64_t word = rng_next(rng);
        memcpy(slice.data + at, &word, sizeof(word));
    }
    slice_apply(store, file, block, slice);
}

/* Keeps some sectors of the write and frees it. */
static void write_tear(struct sim_store *store, struct sim_inode *file, struct sim_write *write,
                       enum sim_tear tear, uint64_t *rng)
{
    if (tear == SIM_TEAR_BY_SEED)
        tear = SIM_TEAR_LOSE + (enum sim_tear)rng_below(rng, SIM_TEAR_COUNT - SIM_TEAR_LOSE);
    uint64_t pick = rng_below(rng, (uint64_t)write->block_count * BLOCK_SECTORS);
    bool kept = false;
    bool lost = false;
    for (uint32_t i = 0; i < write->block_count; i++) {
        struct sim_slice slice = write->slices[i];
        uint8_t gone = slice.mask & (uint8_t)~tear_mask(tear, i, pick, rng);
        slice.mask &= (uint8_t)~gone;
        kept = kept || slice.mask != 0;
        lost = lost || gone != 0;
        slice_apply(store, file, write->first_block + i, slice);
        if (gone && store->options->garbage && tear != SIM_TEAR_LOSE && rng_below(rng, 8) == 0)
            garbage_apply(store, file, write->first_block + i, gone, rng);
    }
    if (kept && lost)
        store->counters->writes_torn++;
    else if (kept)
        store->counters->writes_kept++;
    else
        store->counters->writes_lost++;
    write_free_empty(store, write);
}

/* The size after the cut: the old one, the new one, or one that was passed on the way. */
static uint64_t crash_size(const struct sim_inode *file, struct sim_write *const *writes,
                           size_t count, enum sim_tear style, uint64_t *rng)
{
    if (style == SIM_TEAR_LOSE)
        return file->size_durable;
    if (style == SIM_TEAR_KEEP)
        return file->size;

    uint64_t choice = rng_below(rng, 3);
    if (choice == 0)
        return file->size_durable;
    if (choice == 1 || count == 0)
        return file->size;
    return max_u64(file->size_durable, writes[rng_below(rng, count)]->end);
}

void sim_file_crash(struct sim_store *store, struct sim_inode *file, enum sim_tear style,
                    uint64_t *rng)
{
    if (!file->writes && !file->space_changed && file->size == file->size_durable)
        return;

    sim_file_forget_dropped(store, file);
    size_t count = 0;
    for (struct sim_write *write = file->writes; write; write = write->next)
        count++;
    struct sim_write **writes = sim_store_alloc(store, (count + 1) * sizeof(struct sim_write *));
    count = 0;
    for (struct sim_write *write = file->writes; write; write = write->next) {
        /* A disk knows no order between writes: each goes to a random place among those before. */
        size_t place = rng_below(rng, count + 1);
        if (place < count)
            writes[count] = writes[place];
        writes[place] = write;
        count++;
    }
    file->writes = NULL;
    file->writes_tail = &file->writes;

    uint64_t size = crash_size(file, writes, count, style, rng);
    bool keep_space = style == SIM_TEAR_BY_SEED ? rng_next(rng) & 1 : style != SIM_TEAR_LOSE;
    if (keep_space)
        file_commit_space(file);
    for (size_t i = 0; i < count; i++)
        write_tear(store, file, writes[i], style, rng);
    sim_store_release(store, writes, (count + 1) * sizeof(struct sim_write *));

    sim_file_truncate(store, file, size);
    for (uint64_t i = 0; i < file->chunk_count; i++) {
        if (file->chunks[i])
            file->chunks[i]->reserved = file->chunks[i]->reserved_durable;
    }
    file->space_changed = false;
}
