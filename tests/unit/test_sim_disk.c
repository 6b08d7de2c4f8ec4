/* tests/sim: the disk that the crash tests believe. A simulator that keeps too much finds nothing,
 * one that loses too much is never satisfied, so each promise is looked at from both sides: that it
 * holds under every seed, and that what is not promised does fail under some. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/sim_disk.h"
#include "wal/base.h"

/* Wide and signed: they are multiplied, and compared with positions and with results. */
#define BLOCK ((int64_t)WAL_BLOCK_BYTES)
#define SECTOR ((int64_t)WAL_SECTOR_BYTES)

enum { PATTERNS = 8, PATTERN_BLOCKS = 4 };
enum { NEW = WAL_OPEN_WRITE | WAL_OPEN_CREATE, SEEDS = 300 };

/* Block contents: pattern i is all bytes i, pattern 0 zeros. */
static _Alignas(BLOCK) uint8_t pattern[PATTERNS][PATTERN_BLOCKS * BLOCK];

static struct sim_disk *disk;
static struct wal_io *io;
static const struct wal_io_ops *ops;

static int setup(void **state)
{
    for (int i = 0; i < PATTERNS; i++)
        memset(pattern[i], i, sizeof(pattern[i]));
    if (sim_disk_new(NULL, &disk) < 0)
        return -1;
    io = sim_io(disk);
    ops = io->ops;
    return 0;
}

static int teardown(void **state)
{
    /* A test that failed may leave a ring behind; freeing the disk would end the others, too. */
    if (sim_rings(disk) > 0 || sim_counters(disk)->misuses > 0)
        return -1;
    sim_disk_free(disk);
    return 0;
}

/* --- Small words ------------------------------------------------------------------------------ */

static int open_root(void)
{
    int root = ops->open_dir(io, WAL_IO_CWD, ".");
    assert_true(root >= 0);
    return root;
}

static int make_file(const char *path)
{
    int file = ops->open_file(io, WAL_IO_CWD, path, NEW);
    assert_true(file >= 0);
    return file;
}

static int make_durable_file(const char *path)
{
    int file = make_file(path);
    sim_settle(disk);
    return file;
}

static int open_again(const char *path, unsigned flags)
{
    return ops->open_file(io, WAL_IO_CWD, path, flags);
}

static void make_dir(const char *path)
{
    assert_int_equal(ops->make_dir(io, WAL_IO_CWD, path), 0);
}

static void sync_dir(const char *path)
{
    int dir = ops->open_dir(io, WAL_IO_CWD, path);
    assert_int_equal(ops->sync(io, dir), 0);
    ops->close(io, dir);
}

static int rename_path(const char *from, const char *to)
{
    return ops->rename(io, WAL_IO_CWD, from, WAL_IO_CWD, to);
}

static int put(int file, int number, uint64_t block, uint64_t blocks, bool durable)
{
    return ops->write(io, file, pattern[number], blocks * BLOCK, block * BLOCK, durable);
}

/* The byte in an image, or -1 past its end. */
static int byte_at(const char *path, enum sim_image image, uint64_t position)
{
    uint8_t byte = 0;
    return sim_peek(disk, path, image, position, &byte, 1) == 1 ? byte : -1;
}

static int read_byte(int file, uint64_t block)
{
    static _Alignas(BLOCK) uint8_t data[BLOCK];
    int64_t bytes = ops->read(io, file, data, BLOCK, block * BLOCK);
    return bytes > 0 ? data[0] : (int)bytes;
}

static bool is_there(const char *path)
{
    return sim_exists(disk, path, SIM_CACHED);
}

static int count_names(void *context, const char *name, bool is_dir)
{
    ++*(unsigned *)context;
    return 0;
}

static void arm(enum sim_kind kind, uint64_t after, int error, enum sim_effect effect)
{
    struct sim_fault fault = {
        .kind = kind, .after = after, .times = 1, .error = error, .effect = effect};
    sim_arm(disk, &fault);
}

static struct wal_op make_op(enum wal_op_kind kind, int file, int number, uint64_t block)
{
    return (struct wal_op){.kind = kind,
                           .handle = file,
                           .data = kind == WAL_OP_ALLOCATE ? NULL : pattern[number],
                           .size = BLOCK,
                           .position = block * BLOCK};
}

static struct wal_ring *make_ring(void)
{
    struct wal_ring *ring = NULL;
    assert_int_equal(ops->ring_new(io, 16, -1, &ring), 0);
    return ring;
}

static int64_t run_op(struct wal_ring *ring, struct wal_op *op)
{
    ops->ring_submit(ring, op);
    assert_ptr_equal(ops->ring_wait(ring, UINT64_MAX), op);
    return op->result;
}

/* --- Writes and power cuts -------------------------------------------------------------------- */

/* The first promise, and all that an acknowledgement rests on. Four unsynced writes around it give
 * the cut something to do. */
static void a_durable_write_survives_every_cut(void **state)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        int file = make_durable_file("f");
        assert_int_equal(put(file, 7, 0, 4, false), 0);
        assert_int_equal(put(file, 1, 1, 1, true), 0);
        assert_int_equal(put(file, 6, 2, 2, false), 0);
        sim_crash(disk);
        for (unsigned i = 0; i < BLOCK; i += SECTOR)
            assert_int_equal(byte_at("f", SIM_DURABLE, BLOCK + i), 1);
    }
}

/* A log that forgets the sync must be caught: unsynced bytes are shown at once, and are then found
 * whole, missing and torn, at different seeds. Each sector is of one kind. */
static void an_unsynced_write_is_kept_lost_or_torn(void **state)
{
    unsigned kept = 0;
    unsigned lost = 0;
    unsigned torn = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        int file = make_file("f");
        put(file, 1, 0, 2, true);
        sim_settle(disk);
        put(file, 2, 0, 2, false);
        assert_int_equal(byte_at("f", SIM_DIRECT, 0), 2);
        assert_int_equal(read_byte(file, 1), 2);
        assert_int_equal(byte_at("f", SIM_DURABLE, 0), 1);
        sim_crash(disk);
        unsigned count = 0;
        for (unsigned i = 0; i < 2 * BLOCK; i += SECTOR) {
            int first = byte_at("f", SIM_CACHED, i);
            assert_true(first == 1 || first == 2);
            assert_int_equal(byte_at("f", SIM_DURABLE, i + SECTOR - 1), first);
            count += first == 2;
        }
        kept += count == 16;
        lost += count == 0;
        torn += count > 0 && count < 16;
    }
    assert_true(kept > SEEDS / 10 && lost > SEEDS / 10 && torn > SEEDS / 4);
}

static unsigned kept_sectors(enum sim_tear tear, uint64_t seed)
{
    unsigned mask = 0;
    sim_reset(disk, seed);
    sim_options_of(disk)->tear = tear;
    int file = make_durable_file("f");
    put(file, 0, 0, 2, true);
    put(file, 3, 0, 2, false);
    sim_crash(disk);
    for (unsigned i = 0; i < 16; i++)
        mask |= (unsigned)(byte_at("f", SIM_DURABLE, (uint64_t)i * SECTOR) == 3) << i;
    return mask;
}

/* A torn tail can have any shape. Each pattern has its own, and none of them is always the same. */
static void each_way_of_tearing_has_its_shape(void **state)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        unsigned prefix = kept_sectors(SIM_TEAR_PREFIX, seed);
        unsigned suffix = kept_sectors(SIM_TEAR_SUFFIX, seed);
        unsigned blocks = kept_sectors(SIM_TEAR_BLOCKS, seed);
        assert_int_equal(kept_sectors(SIM_TEAR_LOSE, seed), 0);
        assert_int_equal(kept_sectors(SIM_TEAR_KEEP, seed), 0xffff);
        assert_true(is_power_of_two(prefix + 1) && prefix < 0xffff);
        assert_true(is_power_of_two((~suffix & 0xffff) + 1) && suffix > 0);
        assert_true(blocks == 0 || blocks == 0xff || blocks == 0xff00 || blocks == 0xffff);
        assert_true(is_power_of_two(kept_sectors(SIM_TEAR_SPECK, seed)));
        assert_true(is_power_of_two(~kept_sectors(SIM_TEAR_HOLE, seed) & 0xffff));
    }
    for (enum sim_tear tear = SIM_TEAR_PREFIX; tear < SIM_TEAR_COUNT; tear++) {
        unsigned differ = 0;
        for (uint64_t seed = 1; seed < 50; seed++)
            differ += kept_sectors(tear, seed) != kept_sectors(tear, 0);
        assert_true(differ > 10);
    }
}

/* Recovery syncs before it reads: after a sync nothing may come or go any more. */
static void a_sync_makes_the_whole_file_durable(void **state)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        int file = make_durable_file("f");
        put(file, 1, 0, 4, false);
        put(file, 2, 1, 1, false);
        assert_int_equal(ops->allocate(io, file, 8 * BLOCK, 8 * BLOCK), 0);
        assert_int_equal(ops->sync(io, file), 0);
        assert_int_equal(sim_file_bytes(disk, "f", SIM_DURABLE), 16 * BLOCK);
        sim_crash(disk);
        assert_int_equal(sim_file_bytes(disk, "f", SIM_CACHED), 16 * BLOCK);
        assert_int_equal(sim_used_blocks(disk), 1 + 4 + 8);
        for (unsigned i = 0; i < 16; i++)
            assert_int_equal(byte_at("f", SIM_DURABLE, (uint64_t)i * BLOCK), i == 1  ? 2
                                                                             : i < 4 ? 1
                                                                                     : 0);
    }

    /* The space, too, and it does not hang on whether later changes are lost. */
    sim_reset(disk, 0);
    sim_options_of(disk)->tear = SIM_TEAR_LOSE;
    int file = make_durable_file("f");
    assert_int_equal(ops->allocate(io, file, 0, 8 * BLOCK), 0);
    assert_int_equal(ops->sync(io, file), 0);
    assert_int_equal(ops->allocate(io, file, 8 * BLOCK, 8 * BLOCK), 0);
    assert_int_equal(sim_used_blocks(disk), 1 + 16);
    sim_crash(disk);
    assert_int_equal(sim_used_blocks(disk), 1 + 8);
}

/* The end of the file is not where the log ends: after a cut it may be the old one, the new one or
 * one in between, and bytes that were lost below it are zeros. */
static void the_size_after_a_cut_is_old_or_new(void **state)
{
    unsigned seen[8] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        int file = make_file("f");
        put(file, 1, 0, 1, true);
        sim_settle(disk);
        put(file, 2, 1, 1, false);
        put(file, 3, 2, 2, false);
        sim_crash(disk);
        int64_t size = sim_file_bytes(disk, "f", SIM_CACHED);
        assert_true(size == BLOCK || size == 2 * BLOCK || size == 4 * BLOCK);
        seen[size / BLOCK]++;
        for (int64_t at = BLOCK; at < size; at += SECTOR) {
            int byte = byte_at("f", SIM_CACHED, (uint64_t)at);
            assert_true(byte == 0 || byte == (at < 2 * BLOCK ? 2 : 3));
        }
    }
    assert_true(seen[1] > 20 && seen[2] > 20 && seen[4] > 20);

    /* A size that is kept says nothing about the space below it. */
    unsigned holes = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        int file = make_durable_file("f");
        assert_int_equal(ops->allocate(io, file, 0, 4 * BLOCK), 0);
        sim_crash(disk);
        int64_t size = sim_file_bytes(disk, "f", SIM_CACHED);
        assert_true(size == 0 || size == 4 * BLOCK);
        assert_true(sim_used_blocks(disk) == 1 || sim_used_blocks(disk) == 5);
        holes += size > 0 && sim_used_blocks(disk) == 1;
    }
    assert_in_range(holes, 20, SEEDS / 2);
}

/* A data sync of one write must not be taken for a sync of the file: the log writes zeros ahead and
 * never syncs them, and its end of file may fall back behind them. */
static void a_durable_write_covers_itself_alone(void **state)
{
    sim_options_of(disk)->tear = SIM_TEAR_LOSE;
    int file = make_durable_file("f");
    put(file, 1, 0, 1, false);
    put(file, 2, 2, 2, false);
    assert_int_equal(put(file, 3, 1, 1, true), 0);
    sim_crash(disk);
    assert_int_equal(sim_file_bytes(disk, "f", SIM_CACHED), 2 * BLOCK);
    assert_int_equal(byte_at("f", SIM_CACHED, 0), 0);
    assert_int_equal(byte_at("f", SIM_CACHED, BLOCK), 3);
}

/* Zeros ahead of the log's end that are still unsynced lie under every frame. Were they able to
 * come back over it, no log could ever be right. */
static void an_older_unsynced_write_cannot_undo_a_durable_one(void **state)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        int file = make_durable_file("f");
        put(file, 0, 0, 4, false);
        put(file, 5, 0, 4, false);
        put(file, 1, 1, 2, true);
        assert_int_equal(byte_at("f", SIM_CACHED, 0), 5);
        sim_crash(disk);
        for (unsigned i = BLOCK; i < 3 * BLOCK; i += SECTOR)
            assert_int_equal(byte_at("f", SIM_DURABLE, i), 1);
    }
}

/* A disk knows no order between two unsynced writes: either may be the one that is left. */
static void unsynced_writes_reach_the_disk_in_any_order(void **state)
{
    bool seen[3] = {false};
    for (uint64_t seed = 0; seed < 100; seed++) {
        sim_reset(disk, seed);
        int file = make_file("f");
        put(file, 0, 0, 1, true);
        sim_settle(disk);
        put(file, 1, 0, 1, false);
        put(file, 2, 0, 1, false);
        assert_int_equal(byte_at("f", SIM_CACHED, 0), 2);
        sim_crash(disk);
        seen[byte_at("f", SIM_CACHED, 0)] = true;
    }
    assert_true(seen[0] && seen[1] && seen[2]);

    /* Both kept, and the older one on top. */
    unsigned older = 0;
    sim_options_of(disk)->tear = SIM_TEAR_KEEP;
    for (uint64_t seed = 0; seed < 100; seed++) {
        sim_reset(disk, seed);
        int file = make_durable_file("f");
        put(file, 1, 0, 1, false);
        put(file, 2, 0, 1, false);
        sim_crash(disk);
        older += byte_at("f", SIM_CACHED, 0) == 1;
    }
    assert_in_range(older, 30, 70);
}

/* After the reboot there is no second chance: what survived one cut survives the next. */
static void what_survives_a_cut_is_durable(void **state)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        uint8_t *before;
        uint8_t *after;
        size_t size_before;
        size_t size_after;
        sim_reset(disk, seed);
        int file = make_durable_file("f");
        put(file, 1, 0, 4, false);
        put(file, 2, 2, 4, false);
        sim_crash(disk);
        assert_int_equal(sim_copy_file(disk, "f", SIM_CACHED, &before, &size_before), 0);
        sim_crash(disk);
        assert_int_equal(sim_copy_file(disk, "f", SIM_DURABLE, &after, &size_after), 0);
        assert_int_equal(size_before, size_after);
        assert_memory_equal(before, after, size_before);
        free(before);
        free(after);
    }
}

/* META and settings are written through buffered handles at any position; what shares a sector with
 * them stays. */
static void writes_need_no_alignment_on_a_buffered_handle(void **state)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        int file = make_file("f");
        put(file, 1, 0, 2, true);
        sim_settle(disk);
        assert_int_equal(ops->write(io, file, pattern[2], 1000, 3900, false), 0);
        assert_int_equal(byte_at("f", SIM_CACHED, 3899), 1);
        assert_int_equal(byte_at("f", SIM_CACHED, 3900), 2);
        assert_int_equal(byte_at("f", SIM_CACHED, 4899), 2);
        assert_int_equal(byte_at("f", SIM_CACHED, 4900), 1);
        assert_int_equal(ops->write(io, file, pattern[3], 10, 2 * BLOCK, true), 0);
        assert_int_equal(sim_file_bytes(disk, "f", SIM_DURABLE), 2 * BLOCK + 10);
        sim_crash(disk);
        assert_int_equal(byte_at("f", SIM_CACHED, 3899), 1);
        assert_int_equal(byte_at("f", SIM_CACHED, 4900), 1);
        assert_int_equal(byte_at("f", SIM_CACHED, 2 * BLOCK + 9), 3);
        /* 4096 is a border of sectors: on each side of it the write is whole or missing. */
        assert_int_equal(byte_at("f", SIM_CACHED, 3900), byte_at("f", SIM_CACHED, 4095));
        assert_int_equal(byte_at("f", SIM_CACHED, 4096), byte_at("f", SIM_CACHED, 4607));
    }
}

/* Some disks leave neither the old nor the new bytes in a torn sector. There a log may refuse, and
 * it has to be asked. Outside the write nothing changes. */
static void a_torn_write_may_leave_garbage(void **state)
{
    unsigned seen = 0;
    sim_options_of(disk)->garbage = true;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        int file = make_file("f");
        put(file, 1, 0, 4, true);
        sim_settle(disk);
        put(file, 2, 1, 2, false);
        sim_crash(disk);
        for (unsigned i = 0; i < 4 * BLOCK; i += SECTOR) {
            int a = byte_at("f", SIM_CACHED, i);
            int b = byte_at("f", SIM_CACHED, i + 1);
            bool garbage = a != b || a < 1 || a > 2;
            assert_true(!garbage || (i >= BLOCK && i < 3 * BLOCK));
            seen += garbage;
        }
    }
    assert_true(seen > 10);
}

/* --- Rings ------------------------------------------------------------------------------------ */

/* Nothing may be decided from the order of submission: completions come in any. */
static void ops_complete_in_any_order(void **state)
{
    unsigned in_order = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct wal_op op[3];
        struct wal_op *order[3];
        unsigned count = 0;
        sim_reset(disk, seed);
        int file = make_durable_file("f");
        struct wal_ring *ring = make_ring();
        for (int i = 0; i < 3; i++) {
            op[i] = make_op(WAL_OP_WRITE_DURABLE, file, i + 1, (uint64_t)i);
            ops->ring_submit(ring, &op[i]);
        }
        while (count < 3) {
            struct wal_op *next = ops->ring_wait(ring, UINT64_MAX);
            assert_non_null(next);
            for (; next; next = next->next) {
                assert_int_equal(next->result, BLOCK);
                order[count++] = next;
            }
        }
        in_order += order[0] == &op[0] && order[1] == &op[1];
        assert_int_equal(byte_at("f", SIM_DURABLE, 2 * BLOCK), 3);
        ops->ring_free(ring);
    }
    assert_true(in_order > 3 && in_order < 50);
}

/* An acknowledgement before the completion must be caught: until then the disk has nothing, and at
 * a cut an op in flight fares like an unsynced write. One that no ring_wait() started is lost. */
static void an_op_in_flight_is_nowhere_yet(void **state)
{
    unsigned kept = 0;
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        int file = make_file("f");
        assert_int_equal(ops->allocate(io, file, 0, 2 * BLOCK), 0);
        sim_settle(disk);
        struct wal_ring *ring = make_ring();
        struct wal_op started = make_op(WAL_OP_WRITE_DURABLE, file, 1, 0);
        struct wal_op waiting = make_op(WAL_OP_WRITE_DURABLE, file, 2, 1);
        ops->ring_submit(ring, &started);
        assert_null(ops->ring_wait(ring, 0));
        ops->ring_submit(ring, &waiting);
        assert_int_equal(byte_at("f", SIM_CACHED, 0), 0);
        sim_crash(disk);
        assert_int_equal(byte_at("f", SIM_CACHED, BLOCK), 0);
        unsigned sectors = 0;
        for (unsigned i = 0; i < BLOCK; i += SECTOR)
            sectors += byte_at("f", SIM_CACHED, i) == 1;
        kept += sectors == 8;
        lost += sectors == 0;

        /* The old life gets its ops back, in any case with an error. */
        unsigned count = 0;
        for (struct wal_op *op = ops->ring_wait(ring, UINT64_MAX); op; op = op->next)
            count += op->result == -EIO;
        assert_int_equal(count, 2);
        ops->ring_free(ring);
    }
    assert_true(kept > SEEDS / 10 && lost > SEEDS / 10 && kept + lost < SEEDS);
}

/* Waiting takes no time and never hangs, or a wrong log would stop the search instead of failing
 * it. */
static void waiting_moves_the_clock_only(void **state)
{
    struct wal_ring *ring = make_ring();
    int file = make_file("f");
    uint64_t start = sim_now_us(disk);
    assert_null(ops->ring_wait(ring, 5000000));
    assert_in_range(sim_now_us(disk) - start, 5000000, 5000010);

    assert_int_equal(sim_counters(disk)->idle_waits, 0);
    assert_null(ops->ring_wait(ring, UINT64_MAX));
    assert_int_equal(sim_counters(disk)->idle_waits, 1);

    start = sim_now_us(disk);
    ops->ring_wake(ring);
    assert_null(ops->ring_wait(ring, 5000000));
    assert_in_range(sim_now_us(disk) - start, 0, 10);
    assert_null(ops->ring_wait(ring, 7000));
    assert_in_range(sim_now_us(disk) - start, 7000, 7020);

    struct wal_op op = make_op(WAL_OP_WRITE, file, 1, 0);
    ops->ring_submit(ring, &op);
    unsigned polls = 0;
    while (!ops->ring_wait(ring, 0))
        assert_true(++polls < 2000);
    assert_int_equal(op.result, BLOCK);
    assert_int_equal(ops->ring_poll_fd(ring), -ENOTSUP);
    ops->ring_free(ring);
}

/* Every kind of op works through the ring, and none says more than it did. */
static void each_kind_of_op_does_its_part(void **state)
{
    struct wal_ring *ring = make_ring();
    int file = make_durable_file("f");
    struct wal_op op = make_op(WAL_OP_ALLOCATE, file, 0, 4);
    assert_int_equal(run_op(ring, &op), 0);
    assert_int_equal(sim_file_bytes(disk, "f", SIM_CACHED), 5 * BLOCK);
    assert_int_equal(sim_file_bytes(disk, "f", SIM_DURABLE), 0);

    op = make_op(WAL_OP_WRITE, file, 1, 0);
    assert_int_equal(run_op(ring, &op), BLOCK);
    assert_int_equal(byte_at("f", SIM_CACHED, 0), 1);
    assert_int_equal(byte_at("f", SIM_DURABLE, 0), -1);

    op = make_op(WAL_OP_WRITE_DURABLE, file, 2, 1);
    assert_int_equal(run_op(ring, &op), BLOCK);
    assert_int_equal(byte_at("f", SIM_DURABLE, BLOCK), 2);
    assert_int_equal(byte_at("f", SIM_DURABLE, 0), 0);
    assert_int_equal(sim_counters(disk)->done[SIM_WRITE_DURABLE], 1);
    assert_int_equal(sim_counters(disk)->done[SIM_WRITE], 1);
    assert_int_equal(sim_counters(disk)->done[SIM_ALLOCATE], 1);
    ops->ring_free(ring);
}

/* The kernel holds on to a file that has work in flight: closing it takes nothing back, and its
 * number may already belong to another file. */
static void an_op_outlives_the_handle_it_was_started_with(void **state)
{
    struct wal_ring *ring = make_ring();
    int file = make_durable_file("f");
    struct wal_op op = make_op(WAL_OP_WRITE_DURABLE, file, 1, 0);
    ops->ring_submit(ring, &op);
    assert_null(ops->ring_wait(ring, 0));
    ops->close(io, file);
    assert_int_equal(ops->remove_file(io, WAL_IO_CWD, "f"), 0);
    assert_int_equal(make_file("g"), file);
    assert_ptr_equal(ops->ring_wait(ring, UINT64_MAX), &op);
    assert_int_equal(op.result, BLOCK);
    assert_int_equal(byte_at("f", SIM_DURABLE, 0), 1);
    assert_int_equal(sim_file_bytes(disk, "g", SIM_CACHED), 0);
    ops->ring_free(ring);
}

/* --- Names ------------------------------------------------------------------------------------ */

/* A log whose directory was never synced is gone after a cut with all that was synced in it. */
static void a_new_name_is_durable_with_its_directory_alone(void **state)
{
    unsigned kept = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        make_dir("d");
        sync_dir(".");
        int file = make_file("d/synced");
        sync_dir("d");
        int other = make_file("d/other");
        assert_int_equal(put(file, 1, 0, 1, true), 0);
        assert_int_equal(put(other, 2, 0, 1, true), 0);
        assert_int_equal(ops->sync(io, other), 0);
        assert_true(is_there("d/other"));
        unsigned count = 0;
        assert_false(sim_exists(disk, "d/other", SIM_DURABLE));
        assert_int_equal(sim_list(disk, "d", SIM_DURABLE, count_names, &count), 0);
        assert_int_equal(count, 1);
        assert_int_equal(sim_list(disk, "d", SIM_CACHED, count_names, &count), 0);
        assert_int_equal(count, 3);
        sim_crash(disk);
        assert_int_equal(byte_at("d/synced", SIM_CACHED, 0), 1);
        if (is_there("d/other")) {
            assert_int_equal(byte_at("d/other", SIM_CACHED, 0), 2);
            kept++;
        }
    }
    assert_in_range(kept, SEEDS / 5, SEEDS * 4 / 5);
}

/* A name in a directory that is itself lost is lost, whatever was synced. */
static void a_lost_directory_takes_its_contents_along(void **state)
{
    sim_options_of(disk)->tear = SIM_TEAR_LOSE;
    make_dir("d");
    make_dir("d/e");
    int file = make_file("d/e/f");
    assert_int_equal(put(file, 1, 0, 3, true), 0);
    sync_dir("d/e");
    sync_dir("d");
    assert_int_equal(sim_used_blocks(disk), 6);
    sim_crash(disk);
    assert_false(is_there("d"));
    assert_int_equal(sim_used_blocks(disk), 1);

    /* But not a file that has another name outside, which is then its only one. */
    unsigned seen = 0;
    sim_options_of(disk)->tear = SIM_TEAR_BY_SEED;
    sim_options_of(disk)->split_renames = true;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        make_dir("d");
        assert_int_equal(put(make_file("d/f"), 1, 0, 3, true), 0);
        sync_dir("d");
        assert_int_equal(rename_path("d/f", "g"), 0);
        sim_crash(disk);
        if (is_there("d") || !is_there("g"))
            continue;
        assert_int_equal(byte_at("g", SIM_CACHED, BLOCK), 1);
        assert_int_equal(sim_used_blocks(disk), 4);
        assert_int_equal(ops->remove_file(io, WAL_IO_CWD, "g"), 0);
        assert_int_equal(sim_used_blocks(disk), 1);
        seen++;
    }
    assert_true(seen > 20);
}

/* Where fsync of a file commits the journal of the whole file system, less can be lost: changes of
 * directories fall away from the end only. */
static void one_journal_keeps_changes_in_order(void **state)
{
    bool seen[4] = {false};
    sim_options_of(disk)->ext4_like = true;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        int file = make_file("a");
        assert_int_equal(ops->sync(io, file), 0);
        make_file("b");
        make_file("c");
        make_file("d");
        sim_crash(disk);
        assert_true(is_there("a"));
        assert_true(is_there("b") || !is_there("c"));
        assert_true(is_there("c") || !is_there("d"));
        seen[is_there("b") + is_there("c") + is_there("d")] = true;
    }
    assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
}

/* Without one they fall away singly. */
static void changes_of_names_are_lost_one_by_one(void **state)
{
    bool later_alone = false;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        make_file("a");
        make_file("b");
        sim_crash(disk);
        later_alone = later_alone || (is_there("b") && !is_there("a"));
    }
    assert_true(later_alone);
}

/* A deleted log may be back after a cut, with its bytes, until the directory was synced. */
static void a_removal_may_be_undone(void **state)
{
    unsigned back = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        int file = make_file("a");
        assert_int_equal(put(file, 1, 0, 2, true), 0);
        make_file("b");
        sim_settle(disk);
        ops->close(io, file);
        assert_int_equal(ops->remove_file(io, WAL_IO_CWD, "b"), 0);
        sync_dir(".");
        assert_int_equal(ops->remove_file(io, WAL_IO_CWD, "a"), 0);
        assert_false(is_there("a"));
        assert_int_equal(open_again("a", 0), -ENOENT);
        sim_crash(disk);
        assert_false(is_there("b"));
        if (is_there("a")) {
            assert_int_equal(byte_at("a", SIM_CACHED, 2 * BLOCK - 1), 1);
            assert_int_equal(sim_used_blocks(disk), 3);
            back++;
        }
    }
    assert_in_range(back, SEEDS / 5, SEEDS * 4 / 5);
}

/* Creation and deletion of a log are renames: under a journal one name or the other is there, never
 * both and never none. */
static void a_rename_is_one_change(void **state)
{
    unsigned moved = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        make_dir("from");
        make_dir("to");
        make_file("from/x");
        make_dir("from/d");
        make_file("from/d/f");
        sim_settle(disk);
        assert_int_equal(rename_path("from/x", "to/y"), 0);
        assert_int_equal(rename_path("from/d", "to/d"), 0);
        assert_true(is_there("to/d/f"));
        sim_crash(disk);
        assert_int_equal(is_there("from/x") + is_there("to/y"), 1);
        assert_int_equal(is_there("from/d/f") + is_there("to/d/f"), 1);
        moved += is_there("to/y");
    }
    assert_in_range(moved, SEEDS / 5, SEEDS * 4 / 5);

    for (int side = 0; side < 2; side++) {
        sim_reset(disk, 0);
        sim_options_of(disk)->tear = SIM_TEAR_LOSE;
        make_dir("from");
        make_dir("to");
        make_file("from/x");
        sim_settle(disk);
        assert_int_equal(rename_path("from/x", "to/y"), 0);
        sync_dir(side == 0 ? "from" : "to");
        sim_crash(disk);
        assert_true(is_there("to/y") && !is_there("from/x"));
    }
}

/* A file that takes the place of another: after a cut the name has the old one or the new one, and
 * never neither; after a sync of the directory the new one. Who had the old one open reads it on. */
static void a_replaced_name_has_one_file_or_the_other(void **state)
{
    unsigned old = 0, synced_old = 0;
    for (uint64_t seed = 0; seed < 4 * SEEDS; seed++) {
        sim_reset(disk, seed);
        sim_options_of(disk)->split_renames = seed % 2;
        int file = make_file("f");
        assert_int_equal(put(file, 1, 0, 2, true), 0);
        assert_int_equal(put(make_file("tmp"), 2, 0, 1, true), 0);
        sim_settle(disk);
        assert_int_equal(ops->replace(io, WAL_IO_CWD, "tmp", "f"), 0);
        assert_int_equal(read_byte(file, 1), 1);
        assert_int_equal(read_byte(open_again("f", 0), 0), 2);
        assert_false(is_there("tmp"));
        bool synced = seed & 2;
        if (synced)
            sync_dir("/");
        sim_crash(disk);
        int found = byte_at("f", SIM_DURABLE, 0);
        assert_true(found == 1 || found == 2);
        assert_int_equal(sim_file_bytes(disk, "f", SIM_DURABLE), found == 1 ? 2 * BLOCK : BLOCK);
        old += found == 1;
        synced_old += synced && found == 1;
    }
    assert_true(old > 20 && synced_old == 0);
    assert_int_equal(ops->replace(io, WAL_IO_CWD, "none", "f"), -ENOENT);
}

/* On a file system without a journal each side persists by itself. The file may then be there
 * twice, but a rename never loses it, and a directory is never there twice. */
static void split_renames_may_leave_both_names(void **state)
{
    unsigned both = 0;
    unsigned synced_both = 0;
    sim_options_of(disk)->split_renames = true;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        make_dir("from");
        make_dir("to");
        make_dir("from/d");
        make_file("from/x");
        make_file("from/z");
        make_file("from/w");
        sim_settle(disk);
        assert_int_equal(rename_path("from/z", "to/z"), 0);
        sync_dir("from");
        assert_int_equal(rename_path("from/w", "to/w"), 0);
        sync_dir("to");
        assert_int_equal(rename_path("from/x", "to/y"), 0);
        assert_int_equal(rename_path("from/d", "to/d"), 0);
        sim_crash(disk);
        assert_true(is_there("to/z") && !is_there("from/z"));
        assert_true(is_there("to/w"));
        assert_true(is_there("from/x") || is_there("to/y"));
        assert_int_equal(is_there("from/d") + is_there("to/d"), 1);
        both += is_there("from/x") && is_there("to/y");
        synced_both += is_there("from/w");
    }
    assert_true(both > 20 && synced_both > 20);
}

/* A file that is made, written and moved twice is under exactly one of its names or none, never
 * two, whichever directories were synced on the way. */
static void a_file_moved_twice_is_never_doubled(void **state)
{
    static const char *const path[] = {"a/1", "b/2", "c/3"};
    unsigned at[4] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        make_dir("a");
        make_dir("b");
        make_dir("c");
        sim_settle(disk);
        make_file("a/1");
        assert_int_equal(rename_path("a/1", "b/2"), 0);
        assert_int_equal(rename_path("b/2", "c/3"), 0);
        if (seed % 4 == 0)
            sync_dir("c");
        sim_crash(disk);
        unsigned count = 0;
        for (unsigned i = 0; i < 3; i++) {
            count += is_there(path[i]);
            at[i] += is_there(path[i]);
        }
        assert_true(count <= 1);
        assert_true(seed % 4 != 0 || is_there("c/3"));
        at[3] += count == 0;
    }
    assert_true(at[0] > 5 && at[1] > 5 && at[2] > 5 && at[3] > 5);
}

/* A name can be given to another file before its removal is durable: after a cut it is the old
 * file, the new one or none. */
static void a_name_used_again_is_one_of_its_files(void **state)
{
    bool seen[3] = {false};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        put(make_file("a"), 1, 0, 1, true);
        sim_settle(disk);
        assert_int_equal(ops->remove_file(io, WAL_IO_CWD, "a"), 0);
        assert_int_equal(put(make_file("a"), 2, 0, 1, true), 0);
        sim_crash(disk);
        int byte = byte_at("a", SIM_CACHED, 0);
        unsigned count = 0;
        assert_int_equal(sim_list(disk, ".", SIM_DURABLE, count_names, &count), 0);
        assert_int_equal(count, byte > 0);
        seen[byte < 0 ? 0 : byte] = true;
    }
    assert_true(seen[0] && seen[1] && seen[2]);
}

struct names {
    unsigned count;
    char first[8];
};

static int remove_visited(void *context, const char *name, bool is_dir)
{
    struct names *names = context;
    if (names->count++ == 0)
        snprintf(names->first, sizeof(names->first), "%s", name);
    assert_false(is_dir);
    assert_int_equal(ops->remove_file(io, WAL_IO_CWD, name), 0);
    sync_dir(".");
    return 0;
}

/* Replaces the three files of the root by three in "d", with a write between them, so that one of
 * them takes the memory of one that is gone. */
static int replace_all(void *context, const char *name, bool is_dir)
{
    if (is_dir)
        return 0;
    ++*(unsigned *)context;
    for (char number[] = "0"; number[0] < '3'; number[0]++)
        assert_int_equal(ops->remove_file(io, WAL_IO_CWD, number), 0);
    sync_dir(".");
    put(make_file("d/0"), 1, 0, 1, false);
    make_file("d/1");
    make_file("d/2");
    return 0;
}

static int stop_at_once(void *context, const char *name, bool is_dir)
{
    return 42;
}

/* Clearing a directory is a listing that removes what it visits; and nothing may rest on the order
 * in which files are found. */
static void a_listing_stands_removals_and_has_no_order(void **state)
{
    bool seen[3] = {false};
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct names names = {0};
        sim_reset(disk, seed);
        make_file("0");
        make_file("1");
        make_file("2");
        int root = open_root();
        assert_int_equal(ops->list(io, root, stop_at_once, NULL), 42);
        assert_int_equal(ops->list(io, root, remove_visited, &names), 0);
        assert_int_equal(names.count, 3);
        seen[names.first[0] - '0'] = true;
        assert_int_equal(ops->list(io, root, stop_at_once, NULL), 0);
    }
    assert_true(seen[0] && seen[1] && seen[2]);

    for (uint64_t seed = 0; seed < 10; seed++) {
        unsigned count = 0;
        sim_reset(disk, seed);
        make_dir("d");
        make_file("0");
        make_file("1");
        make_file("2");
        assert_int_equal(ops->list(io, open_root(), replace_all, &count), 0);
        assert_int_equal(count, 1);
    }
}

/* The errors that the seam documents. */
static void names_answer_the_documented_errors(void **state)
{
    char name[300] = {0};
    memset(name, 'x', 256);
    make_dir("d");
    int file = make_file("d/f");
    int dir = ops->open_dir(io, WAL_IO_CWD, "/d");
    assert_int_equal(ops->open_file(io, dir, "f", NEW), -EEXIST);
    assert_int_equal(ops->open_file(io, dir, "g", WAL_OPEN_WRITE), -ENOENT);
    assert_int_equal(ops->open_file(io, dir, name, NEW), -ENAMETOOLONG);
    assert_int_equal(ops->open_file(io, WAL_IO_CWD, "d", 0), -EISDIR);
    assert_int_equal(ops->open_file(io, WAL_IO_CWD, "d/f/x", 0), -ENOTDIR);
    assert_int_equal(ops->open_file(io, file, "x", NEW), -ENOTDIR);
    assert_int_equal(ops->open_dir(io, dir, "f"), -ENOTDIR);
    assert_int_equal(ops->make_dir(io, WAL_IO_CWD, "d"), -EEXIST);
    assert_int_equal(ops->rename(io, dir, "g", dir, "h"), -ENOENT);
    assert_int_equal(ops->remove_dir(io, WAL_IO_CWD, "d"), -ENOTEMPTY);
    assert_int_equal(ops->remove_dir(io, dir, "f"), -ENOTDIR);
    assert_int_equal(ops->remove_file(io, WAL_IO_CWD, "d"), -EISDIR);
    assert_int_equal(ops->remove_file(io, dir, "g"), -ENOENT);
    make_file("d/g");
    assert_int_equal(ops->rename(io, dir, "g", dir, "f"), -EEXIST);
    assert_int_equal(ops->list(io, file, stop_at_once, NULL), -ENOTDIR);
    assert_int_equal(put(dir, 1, 0, 1, true), -EISDIR);
    assert_int_equal(ops->remove_file(io, dir, "g"), 0);
    assert_int_equal(ops->remove_file(io, dir, "f"), 0);
    assert_int_equal(ops->remove_dir(io, WAL_IO_CWD, "d"), 0);
}

/* --- Ends of a life --------------------------------------------------------------------------- */

/* The objects of a life that ended are closed after it, by code that knows nothing of its end. */
static void a_cut_ends_handles_locks_and_rings(void **state)
{
    int file = make_durable_file("f");
    int lock = ops->lock(io, WAL_IO_CWD, "lock");
    struct wal_ring *ring = make_ring();
    assert_true(lock >= 0);
    assert_int_equal(ops->lock(io, WAL_IO_CWD, "lock"), -EWOULDBLOCK);
    assert_int_equal(sim_handles(disk), 2);
    assert_int_equal(sim_rings(disk), 1);
    sim_crash(disk);
    assert_int_equal(sim_handles(disk), 0);
    assert_int_equal(put(file, 1, 0, 1, true), -EIO);
    assert_int_equal(ops->sync(io, file), -EIO);

    int again = ops->lock(io, WAL_IO_CWD, "lock");
    assert_true(again > lock);
    ops->close(io, lock);
    ops->close(io, file);
    struct wal_op op = make_op(WAL_OP_WRITE, file, 1, 0);
    assert_int_equal(run_op(ring, &op), -EIO);
    ops->ring_free(ring);
    assert_int_equal(sim_rings(disk), 0);
    assert_int_equal(ops->lock(io, WAL_IO_CWD, "lock"), -EWOULDBLOCK);
    ops->close(io, again);
    assert_true(ops->lock(io, WAL_IO_CWD, "lock") >= 0);
}

/* The lock outlives its handle while a ring keeps it: work in flight is still the old owner's. */
static void a_ring_keeps_the_lock(void **state)
{
    struct wal_ring *ring;
    int lock = ops->lock(io, WAL_IO_CWD, "lock");
    assert_int_equal(ops->ring_new(io, 4, lock, &ring), 0);
    ops->close(io, lock);
    assert_int_equal(ops->lock(io, WAL_IO_CWD, "lock"), -EWOULDBLOCK);
    ops->ring_free(ring);
    assert_true(ops->lock(io, WAL_IO_CWD, "lock") >= 0);
}

/* kill -9 proves nothing about syncs: the cache lives on. What was not synced is there, and still
 * goes with the next cut. An op in flight was finished or never begun, and is never torn. */
static void a_kill_keeps_the_cache(void **state)
{
    bool seen[2] = {false};
    sim_options_of(disk)->tear = SIM_TEAR_LOSE;
    for (uint64_t seed = 0; seed < 50; seed++) {
        sim_reset(disk, seed);
        int file = make_durable_file("f");
        assert_true(ops->lock(io, WAL_IO_CWD, "lock") >= 0);
        struct wal_ring *ring = make_ring();
        struct wal_op op = make_op(WAL_OP_WRITE_DURABLE, file, 2, 1);
        put(file, 1, 0, 1, false);
        ops->ring_submit(ring, &op);
        assert_null(ops->ring_wait(ring, 0));
        sim_kill(disk);
        assert_ptr_equal(ops->ring_wait(ring, UINT64_MAX), &op);
        assert_int_equal(op.result, -EIO);
        ops->ring_free(ring);
        ops->close(io, file);
        assert_true(ops->lock(io, WAL_IO_CWD, "lock") >= 0);
        assert_int_equal(byte_at("f", SIM_CACHED, 0), 1);
        assert_int_not_equal(byte_at("f", SIM_DURABLE, 0), 1);
        int byte = byte_at("f", SIM_DURABLE, 2 * BLOCK - 1);
        assert_true(byte == -1 || byte == 2);
        seen[byte == 2] = true;
        sim_crash(disk);
        assert_int_not_equal(byte_at("f", SIM_CACHED, 0), 1);
    }
    assert_true(seen[0] && seen[1]);
}

/* What a sweep runs: a file made, filled, synced, renamed and made durable, in 10 operations and
 * one in the ring. Returns how far it came. */
static unsigned small_workload(void)
{
    unsigned steps = 0;
    int file = ops->open_file(io, WAL_IO_CWD, "tmp", NEW);
    steps += file >= 0;
    steps += ops->allocate(io, file, 0, 2 * BLOCK) == 0;
    steps += put(file, 1, 0, 1, false) == 0;
    steps += ops->sync(io, file) == 0;
    steps += read_byte(file, 0) == 1;
    steps += rename_path("tmp", "f") == 0;
    int root = ops->open_dir(io, WAL_IO_CWD, ".");
    steps += root >= 0;
    steps += ops->sync(io, root) == 0;
    struct wal_ring *ring;
    if (ops->ring_new(io, 4, -1, &ring) == 0) {
        struct wal_op op = make_op(WAL_OP_WRITE_DURABLE, file, 2, 1);
        steps += 1 + (run_op(ring, &op) == BLOCK);
        ops->ring_free(ring);
    }
    if (root >= 0)
        ops->close(io, root);
    if (file >= 0)
        ops->close(io, file);
    return steps;
}

/* The sweep itself: at each operation in turn the disk dies, everything answers -EIO from there on,
 * nothing leaks, and what was done before is as durable as it was. */
static void a_cut_can_be_placed_at_every_operation(void **state)
{
    sim_options_of(disk)->tear = SIM_TEAR_LOSE;
    assert_int_equal(small_workload(), 10);
    uint64_t count = sim_ops(disk);
    assert_int_equal(count, 10);
    assert_int_equal(sim_changes(disk), 7);

    for (uint64_t k = 1; k <= count + 1; k++) {
        sim_reset(disk, 0);
        sim_crash_at(disk, k);
        assert_int_equal(small_workload(), min_u64(k - 1, count));
        assert_int_equal(sim_is_dead(disk), k <= count);
        assert_int_equal(sim_handles(disk), 0);
        assert_int_equal(sim_rings(disk), 0);
        assert_int_equal(sim_counters(disk)->misuses, 0);
        sim_crash(disk);
        assert_false(sim_is_dead(disk));
        assert_int_equal(byte_at("f", SIM_CACHED, 0), k > 8 ? 1 : -1);
        assert_int_equal(byte_at("f", SIM_CACHED, BLOCK), k > 10 ? 2 : k > 8 ? 0 : -1);
    }
    for (uint64_t k = 1; k <= 7; k++) {
        sim_reset(disk, 0);
        sim_crash_at_change(disk, k);
        small_workload();
        assert_true(sim_is_dead(disk));
        sim_crash(disk);
    }
}

/* The operation that the cut hits was begun: it may have happened all the same. */
static void the_operation_at_the_cut_may_have_happened(void **state)
{
    static const uint64_t rename_is = 6;
    bool seen[2] = {false};
    bool data[2] = {false};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_reset(disk, seed);
        make_file("tmp");
        sim_settle(disk);
        assert_int_equal(ops->remove_file(io, WAL_IO_CWD, "tmp"), 0);
        sync_dir(".");
        sim_crash_at(disk, sim_ops(disk) + rename_is);
        small_workload();
        sim_crash(disk);
        if (is_there("tmp"))
            seen[0] = true;
        if (is_there("f"))
            seen[1] = true;

        sim_reset(disk, seed);
        int file = make_durable_file("g");
        sim_crash_at(disk, sim_ops(disk) + 1);
        assert_int_equal(put(file, 1, 0, 1, true), -EIO);
        sim_crash(disk);
        data[byte_at("g", SIM_CACHED, 0) == 1] = true;
    }
    assert_true(seen[0] && seen[1] && data[0] && data[1]);
}

/* One moment can be cut in many ways, without running up to it each time from another seed. */
static void a_crash_seed_changes_the_cut_alone(void **state)
{
    unsigned seen = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        sim_reset(disk, 7);
        int file = make_durable_file("f");
        put(file, 1, 0, 1, false);
        uint64_t hash = sim_trace_hash(disk);
        sim_crash_seed(disk, seed / 2);
        sim_crash(disk);
        unsigned mask = 0;
        for (unsigned i = 0; i < 8; i++)
            mask |= (unsigned)(byte_at("f", SIM_CACHED, (uint64_t)i * SECTOR) == 1) << i;
        if (mask != 0 && mask != 0xff)
            seen++;
        static unsigned before;
        static uint64_t hash_before;
        assert_true(seed % 2 == 0 || mask == before);
        assert_true(seed == 0 || hash == hash_before);
        before = mask;
        hash_before = hash;
    }
    assert_true(seen > 5);
}

/* --- Faults ----------------------------------------------------------------------------------- */

/* Every operation can be the one that fails, once or for good, here or there. */
static void the_nth_operation_of_a_kind_fails(void **state)
{
    arm(SIM_CREATE, 1, -EDQUOT, SIM_NOTHING);
    int file = make_file("a");
    assert_int_equal(open_again("b", NEW), -EDQUOT);
    assert_false(is_there("b"));
    make_file("c");
    assert_int_equal(sim_counters(disk)->faults, 1);
    assert_int_equal(sim_counters(disk)->failed[SIM_CREATE], 1);
    assert_int_equal(sim_counters(disk)->done[SIM_CREATE], 2);

    struct sim_fault fault = {
        .kind = SIM_ANY, .after = 2, .times = UINT64_MAX, .error = -EROFS, .name = ".seg"};
    make_file("x.seg");
    sim_arm(disk, &fault);
    assert_true(open_again("x.seg", 0) >= 0);
    assert_true(open_again("x.seg", 0) >= 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(open_again("x.seg", 0), -EROFS);
    assert_int_equal(rename_path("a", "a.seg"), -EROFS);
    assert_true(open_again("c", 0) >= 0);
    sim_disarm(disk);
    assert_true(open_again("x.seg", 0) >= 0);

    uint64_t bytes;
    uint8_t data[8];
    struct wal_ring *ring;
    arm(SIM_RANDOM, 0, -EIO, SIM_NOTHING);
    arm(SIM_RING_NEW, 0, -ENOMEM, SIM_NOTHING);
    arm(SIM_FREE_BYTES, 0, -EIO, SIM_NOTHING);
    arm(SIM_FILE_BYTES, 0, -EIO, SIM_NOTHING);
    arm(SIM_LOCK, 0, -EACCES, SIM_NOTHING);
    arm(SIM_MAKE_DIR, 0, -ENOSPC, SIM_EVERYTHING);
    arm(SIM_REMOVE_FILE, 0, -EIO, SIM_NOTHING);
    arm(SIM_LIST, 0, -EIO, SIM_NOTHING);
    arm(SIM_OPEN_DIR, 0, -EMFILE, SIM_NOTHING);
    assert_int_equal(ops->random(io, data, sizeof(data)), -EIO);
    assert_int_equal(ops->ring_new(io, 4, -1, &ring), -ENOMEM);
    assert_int_equal(ops->free_bytes(io, WAL_IO_CWD, &bytes, &bytes), -EIO);
    assert_int_equal(ops->file_bytes(io, file), -EIO);
    assert_int_equal(ops->lock(io, WAL_IO_CWD, "lock"), -EACCES);
    assert_int_equal(ops->make_dir(io, WAL_IO_CWD, "d"), -ENOSPC);
    assert_true(is_there("d"));
    assert_int_equal(ops->remove_file(io, WAL_IO_CWD, "c"), -EIO);
    assert_int_equal(ops->list(io, WAL_IO_CWD, stop_at_once, NULL), -EIO);
    assert_int_equal(ops->open_dir(io, WAL_IO_CWD, "d"), -EMFILE);
}

/* A short write is no success: the count says so, the rest is untouched, and nothing of it is
 * durable, since its sync was never begun. */
static void a_short_write_stops_at_any_byte(void **state)
{
    static const uint64_t sizes[] = {0, 1, 511, 512, 2048, 4095};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct sim_fault fault = {
            .kind = SIM_WRITE_DURABLE, .times = 1, .effect = SIM_PARTLY, .bytes = sizes[i]};
        sim_reset(disk, i);
        sim_options_of(disk)->tear = SIM_TEAR_LOSE;
        int file = make_file("f");
        put(file, 1, 0, 1, true);
        sim_settle(disk);
        sim_arm(disk, &fault);
        struct wal_ring *ring = make_ring();
        struct wal_op op = make_op(WAL_OP_WRITE_DURABLE, file, 2, 0);
        assert_int_equal(run_op(ring, &op), sizes[i]);
        if (sizes[i] > 0)
            assert_int_equal(byte_at("f", SIM_CACHED, sizes[i] - 1), 2);
        assert_int_equal(byte_at("f", SIM_CACHED, sizes[i]), 1);
        assert_int_equal(byte_at("f", SIM_DURABLE, 0), 1);
        ops->ring_free(ring);
        sim_crash(disk);
        assert_int_equal(byte_at("f", SIM_CACHED, 0), 1);
    }
    int file = make_durable_file("g");
    struct sim_fault fault = {
        .kind = SIM_WRITE, .times = 1, .error = -ENOSPC, .effect = SIM_PARTLY, .bytes = 512};
    sim_arm(disk, &fault);
    assert_int_equal(put(file, 3, 0, 1, false), -ENOSPC);
    assert_int_equal(sim_file_bytes(disk, "g", SIM_CACHED), 512);
}

/* These two alone may be sent again, so nothing may have been written. */
static void eintr_and_eagain_leave_nothing_behind(void **state)
{
    int file = make_durable_file("f");
    struct wal_ring *ring = make_ring();
    struct wal_op op = make_op(WAL_OP_WRITE_DURABLE, file, 2, 0);
    arm(SIM_WRITE_DURABLE, 0, -EINTR, SIM_EVERYTHING);
    arm(SIM_WRITE_DURABLE, 0, -EAGAIN, SIM_EFFECT_BY_SEED);
    assert_int_equal(run_op(ring, &op), -EINTR);
    assert_int_equal(run_op(ring, &op), -EAGAIN);
    assert_int_equal(sim_file_bytes(disk, "f", SIM_CACHED), 0);
    assert_int_equal(run_op(ring, &op), BLOCK);
    ops->ring_free(ring);
}

/* What Linux does after a failed fsync: the pages are clean, the next fsync returns 0, the cache
 * shows the new bytes and the disk has the old ones. A log that retries, or recovers from the
 * cache, believes them. */
static void a_failed_sync_drops_what_it_was_to_save(void **state)
{
    int file = make_file("f");
    put(file, 1, 0, 2, true);
    sim_settle(disk);
    put(file, 2, 0, 1, false);
    arm(SIM_SYNC_FILE, 0, -EIO, SIM_DROPPED);
    assert_int_equal(ops->sync(io, file), -EIO);
    assert_int_equal(ops->sync(io, file), 0);

    int direct = open_again("f", WAL_OPEN_DIRECT);
    assert_int_equal(read_byte(file, 0), 2);
    assert_int_equal(read_byte(direct, 0), 1);
    sim_kill(disk);
    file = open_again("f", WAL_OPEN_WRITE);
    direct = open_again("f", WAL_OPEN_DIRECT);
    assert_int_equal(ops->sync(io, file), 0);
    assert_int_equal(read_byte(file, 0), 2);
    assert_int_equal(read_byte(direct, 0), 1);

    /* Written anew they are as good as any. */
    assert_int_equal(put(file, 3, 0, 1, true), 0);
    assert_int_equal(read_byte(file, 0), 3);
    assert_int_equal(byte_at("f", SIM_DURABLE, 0), 3);

    arm(SIM_WRITE_DURABLE, 0, -EIO, SIM_DROPPED);
    assert_int_equal(put(file, 4, 1, 1, true), -EIO);
    assert_int_equal(read_byte(file, 1), 4);
    sim_drop_caches(disk);
    assert_int_equal(read_byte(file, 1), 1);
    arm(SIM_WRITE_DURABLE, 0, -EIO, SIM_DROPPED);
    assert_int_equal(put(file, 4, 1, 1, true), -EIO);
    assert_int_equal(read_byte(file, 1), 4);
    int uncached = open_again("f", WAL_OPEN_READ | WAL_OPEN_UNCACHED);
    assert_int_equal(read_byte(uncached, 1), 1);
    ops->close(io, uncached);
    arm(SIM_WRITE_DURABLE, 0, -EIO, SIM_DROPPED);
    assert_int_equal(put(file, 5, 1, 1, true), -EIO);
    sim_options_of(disk)->tear = SIM_TEAR_KEEP;
    sim_crash(disk);
    assert_int_equal(byte_at("f", SIM_CACHED, BLOCK), 1);
}

/* The cache held one copy of the page. With a failed durable write over them, earlier unsynced
 * bytes are gone too, and bytes written later are not. */
static void a_dropped_page_takes_older_bytes_along(void **state)
{
    int file = make_file("f");
    put(file, 1, 0, 1, true);
    sim_settle(disk);
    put(file, 2, 0, 1, false);
    arm(SIM_WRITE_DURABLE, 0, -EIO, SIM_DROPPED);
    assert_int_equal(put(file, 3, 0, 1, true), -EIO);
    assert_int_equal(ops->sync(io, file), 0);
    assert_int_equal(byte_at("f", SIM_DURABLE, 0), 1);
    put(file, 4, 0, 1, false);
    assert_int_equal(read_byte(file, 0), 4);
    assert_int_equal(ops->sync(io, file), 0);
    assert_int_equal(read_byte(file, 0), 4);
    assert_int_equal(byte_at("f", SIM_DURABLE, 0), 4);
}

/* An error says nothing about what reached the disk. The same call may have done everything, or
 * left it to a later sync; for directories likewise. */
static void a_failed_call_may_have_done_its_work(void **state)
{
    int file = make_durable_file("f");
    arm(SIM_WRITE_DURABLE, 0, -EIO, SIM_EVERYTHING);
    assert_int_equal(put(file, 1, 0, 1, true), -EIO);
    assert_int_equal(byte_at("f", SIM_DURABLE, 0), 1);
    arm(SIM_WRITE_DURABLE, 0, -EIO, SIM_UNSYNCED);
    assert_int_equal(put(file, 2, 0, 1, true), -EIO);
    assert_int_equal(byte_at("f", SIM_DURABLE, 0), 1);
    assert_int_equal(ops->sync(io, file), 0);
    assert_int_equal(byte_at("f", SIM_DURABLE, 0), 2);

    arm(SIM_RENAME, 0, -EIO, SIM_EVERYTHING);
    assert_int_equal(rename_path("f", "g"), -EIO);
    assert_true(is_there("g"));
    int root = open_root();
    arm(SIM_SYNC_DIR, 0, -EIO, SIM_DROPPED);
    assert_int_equal(ops->sync(io, root), -EIO);
    assert_int_equal(ops->sync(io, root), 0);
    sim_options_of(disk)->tear = SIM_TEAR_KEEP;
    sim_crash(disk);
    assert_true(is_there("f") && !is_there("g"));
}

/* A disk that says yes and does nothing. No log can survive it, and a test of what is reported
 * wants one. */
static void a_disk_may_lie(void **state)
{
    int file = make_file("f");
    sim_settle(disk);
    arm(SIM_WRITE_DURABLE, 0, 0, SIM_DROPPED);
    arm(SIM_SYNC_FILE, 0, 0, SIM_NOTHING);
    assert_int_equal(put(file, 1, 0, 1, true), 0);
    assert_int_equal(ops->sync(io, file), 0);
    assert_int_equal(byte_at("f", SIM_CACHED, 0), 1);
    assert_int_equal(byte_at("f", SIM_DURABLE, 0), -1);
}

/* A full disk refuses new space and nothing else: in blocks that are there a log goes on. Space
 * comes back with the last name and the last handle. */
static void a_full_disk_refuses_new_space(void **state)
{
    uint64_t bytes, total_bytes;
    sim_options_of(disk)->capacity_blocks = 9; /* one is the root directory's */
    int file = make_file("f");
    assert_int_equal(ops->allocate(io, file, 0, 6 * BLOCK), 0);
    assert_int_equal(ops->free_bytes(io, WAL_IO_CWD, &bytes, &total_bytes), 0);
    assert_int_equal(bytes, 2 * BLOCK);
    assert_int_equal(total_bytes, 9 * BLOCK);
    int other = make_file("g");

    assert_int_equal(put(other, 1, 0, 3, false), -ENOSPC);
    assert_int_equal(sim_used_blocks(disk), 9);
    assert_int_equal(sim_truncate(disk, "g", 0), 0);
    struct wal_ring *ring = make_ring();
    struct wal_op op = {
        .kind = WAL_OP_WRITE_DURABLE, .handle = other, .data = pattern[1], .size = 3 * BLOCK};
    assert_int_equal(run_op(ring, &op), 2 * BLOCK); /* first it comes as a short write */
    assert_int_equal(run_op(ring, &op), 2 * BLOCK);
    op.position = 2 * BLOCK;
    assert_int_equal(run_op(ring, &op), -ENOSPC);
    ops->ring_free(ring);
    assert_int_equal(put(other, 1, 2, 1, false), -ENOSPC);
    assert_int_equal(ops->allocate(io, file, 6 * BLOCK, BLOCK), -ENOSPC);
    assert_int_equal(open_again("h", NEW), -ENOSPC);
    assert_int_equal(ops->make_dir(io, WAL_IO_CWD, "d"), -ENOSPC);
    assert_int_equal(put(file, 1, 0, 4, true), 0);
    assert_int_equal(ops->sync(io, file), 0);

    assert_int_equal(ops->remove_file(io, WAL_IO_CWD, "g"), 0);
    assert_int_equal(sim_used_blocks(disk), 9);
    ops->close(io, other);
    assert_int_equal(sim_used_blocks(disk), 7);
    assert_int_equal(ops->allocate(io, file, 6 * BLOCK, 2 * BLOCK), 0);
    sim_options_of(disk)->capacity_blocks = 0;
    assert_int_equal(put(file, 1, 100, 4, true), 0);
}

/* What the disk can do differs; the log asks and goes on without. */
static void a_disk_may_lack_features(void **state)
{
    struct sim_options *options = sim_options_of(disk);
    int file = make_file("f");
    options->no_allocate = options->no_direct = options->direct = true;
    options->handles_max = 2;
    options->file_bytes_max = 8 * BLOCK;
    assert_true(sim_io(disk)->direct);
    assert_int_equal(ops->allocate(io, file, 0, BLOCK), -EOPNOTSUPP);
    assert_int_equal(open_again("f", WAL_OPEN_DIRECT), -EINVAL);
    int second = open_again("f", 0);
    assert_int_equal(open_again("f", 0), -EMFILE);
    assert_int_equal(open_again("g", NEW), -EMFILE);
    assert_false(is_there("g"));
    ops->close(io, second);
    assert_int_equal(open_again("f", 0), second);
    assert_int_equal(put(file, 1, 7, 1, true), 0);
    assert_int_equal(put(file, 1, 7, 2, true), -EFBIG);
    assert_int_equal(put(file, 1, 8, 1, true), -EFBIG);
    options->no_allocate = options->no_direct = options->direct = false;
    assert_false(sim_io(disk)->direct);
    assert_int_equal(ops->allocate(io, file, 0, 9 * BLOCK), -EFBIG);
}

/* Direct handles take whole blocks, at aligned addresses and positions. */
static void a_direct_handle_wants_alignment(void **state)
{
    static _Alignas(BLOCK) uint8_t data[2 * BLOCK];
    make_file("f");
    int file = open_again("f", WAL_OPEN_WRITE | WAL_OPEN_DIRECT);
    assert_int_equal(put(file, 1, 0, 1, true), 0);
    assert_int_equal(ops->write(io, file, pattern[1], 512, 0, true), -EINVAL);
    assert_int_equal(ops->write(io, file, pattern[1], BLOCK, 512, true), -EINVAL);
    assert_int_equal(ops->write(io, file, pattern[1] + 8, BLOCK, 0, true), -EINVAL);
    assert_int_equal(ops->read(io, file, data + 1, BLOCK, 0), -EINVAL);
    assert_int_equal(ops->read(io, file, data, 2 * BLOCK, 0), BLOCK);
    assert_int_equal(ops->read(io, file, data, BLOCK, BLOCK), 0);
    assert_int_equal(ops->file_bytes(io, file), BLOCK);
}

/* A sector that cannot be read costs the records in it, not the log. */
static void reads_fail_where_they_are_told_to(void **state)
{
    int file = make_file("f");
    put(file, 1, 0, 4, true);
    assert_int_equal(sim_fail_reads(disk, "f", BLOCK + 100, BLOCK + 101, -EIO), 0);
    assert_int_equal(sim_fail_reads(disk, "g", 0, 1, -EIO), -ENOENT);
    assert_int_equal(read_byte(file, 0), 1);
    assert_int_equal(read_byte(file, 1), -EIO);
    assert_int_equal(read_byte(file, 2), 1);
    sim_disarm(disk);
    assert_int_equal(read_byte(file, 1), 1);
}

/* Swarm testing: faults by chance, of all kinds, and the same ones again with the same seed. */
static void faults_come_by_seed(void **state)
{
    uint64_t hash[2];
    unsigned broken = 0;
    for (unsigned kind = 0; kind < SIM_KINDS; kind++)
        sim_options_of(disk)->fault_ppm[kind] = 50000;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        for (int i = 0; i < 2; i++) {
            sim_reset(disk, seed);
            int root = ops->open_dir(io, WAL_IO_CWD, ".");
            if (root >= 0)
                ops->close(io, root);
            for (unsigned j = 0; j < 10; j++) {
                int file = ops->open_file(io, WAL_IO_CWD, j % 2 ? "a" : "b", NEW);
                if (file < 0)
                    continue;
                put(file, 1, j, 2, j % 3 != 0);
                ops->sync(io, file);
                ops->close(io, file);
                ops->remove_file(io, WAL_IO_CWD, j % 2 ? "a" : "b");
            }
            hash[i] = sim_trace_hash(disk);
        }
        assert_int_equal(hash[0], hash[1]);
        broken += sim_counters(disk)->faults > 0;
    }
    assert_true(broken > SEEDS / 2 && broken <= SEEDS);
}

/* Wall clocks are set; timers run on the other one. */
static void the_wall_clock_jumps_and_the_other_does_not(void **state)
{
    uint64_t real = ops->realtime_ns(io);
    uint64_t mono = ops->monotonic_us(io);
    sim_step_realtime(disk, -3600000000000);
    assert_true(ops->realtime_ns(io) < real - 3599000000000);
    assert_in_range(ops->monotonic_us(io) - mono, 1, 10);
    sim_step_realtime(disk, 3600000000000);
    sim_advance(disk, 2000000);
    assert_in_range(ops->realtime_ns(io) - real, 2000000000, 2001000000);
    assert_true(ops->monotonic_us(io) >= mono + 2000000);
    uint64_t now = sim_now_us(disk);
    make_file("f");
    assert_true(sim_now_us(disk) > now);
    sim_crash(disk);
    assert_true(ops->monotonic_us(io) >= mono + 3000000);

    unsigned jumps = 0;
    sim_options_of(disk)->clock_jump_ppm = 500000;
    for (int i = 0; i < 100; i++) {
        uint64_t before = ops->realtime_ns(io);
        uint64_t after = ops->realtime_ns(io);
        jumps += after < before || after - before > 1000000;
    }
    assert_in_range(jumps, 20, 80);
}

/* --- Damage ----------------------------------------------------------------------------------- */

/* Damage is not a crash: it hits bytes that were durable, and shows in every image. */
static void damage_hits_what_was_durable(void **state)
{
    make_dir("d");
    int file = make_file("d/f");
    put(file, 1, 0, 3, true);
    put(file, 2, 1, 1, true);
    sim_settle(disk);
    assert_int_equal(sim_flip_bit(disk, "d/f", 17, 3), 0);
    assert_int_equal(byte_at("d/f", SIM_DURABLE, 17), 1 ^ 8);
    assert_int_equal(byte_at("d/f", SIM_CACHED, 16), 1);
    assert_int_equal(sim_copy_block(disk, "d/f", 1, "/d/f", 2), 0);
    assert_int_equal(byte_at("d/f", SIM_CACHED, 3 * BLOCK - 1), 2);
    assert_int_equal(sim_zero_block(disk, "d/f", 1), 0);
    assert_int_equal(read_byte(file, 1), 0);
    assert_int_equal(sim_fill_garbage(disk, "d/f", BLOCK, 100), 0);
    uint64_t word = 0;
    assert_int_equal(sim_peek(disk, "d/f", SIM_CACHED, BLOCK, &word, sizeof(word)), sizeof(word));
    assert_int_not_equal(word, 0);
    assert_int_equal(byte_at("d/f", SIM_CACHED, BLOCK + 100), 0);
    assert_int_equal(sim_poke(disk, "d/f", 2 * BLOCK - 1, "ab", 2), 0);
    assert_int_equal(byte_at("d/f", SIM_DURABLE, 2 * BLOCK), 'b');
    assert_int_equal(sim_poke(disk, "d/f", 3 * BLOCK - 1, "ab", 2), -EINVAL);
    assert_int_equal(sim_zero_block(disk, "d/f", 3), -EINVAL);
    assert_int_equal(sim_flip_bit(disk, "d/g", 0, 0), -ENOENT);

    assert_int_equal(sim_used_blocks(disk), 5);
    assert_int_equal(sim_truncate(disk, "d/f", BLOCK + 10), 0);
    assert_int_equal(ops->file_bytes(io, file), BLOCK + 10);
    assert_int_equal(sim_used_blocks(disk), 4);
    assert_int_equal(sim_truncate(disk, "d/f", 2 * BLOCK), 0);
    assert_int_equal(byte_at("d/f", SIM_CACHED, BLOCK + 10), 0);
    assert_int_equal(sim_delete(disk, "d/f"), 0);
    assert_int_equal(sim_delete(disk, "d/f"), -ENOENT);
    sim_crash(disk);
    assert_false(is_there("d/f"));
    assert_true(is_there("d"));
    assert_int_equal(sim_used_blocks(disk), 2);
}

/* --- Counters and traces ---------------------------------------------------------------------- */

/* An acknowledged block is never written again. If it is, the place is needed to find out why. */
static void writes_over_durable_bytes_are_counted(void **state)
{
    int file = make_durable_file("f");
    put(file, 0, 0, 4, true);
    put(file, 1, 1, 1, true);
    put(file, 1, 1, 1, true); /* the same bytes: nothing is lost */
    put(file, 2, 2, 1, false);
    put(file, 3, 2, 1, true); /* the bytes under it were never durable */
    ops->write(io, file, pattern[4], SECTOR, 8 * BLOCK, true);
    ops->write(io, file, pattern[4], SECTOR, 8 * BLOCK + 4 * SECTOR, true); /* zeros were */
    assert_int_equal(sim_counters(disk)->overwrites, 0);
    struct wal_ring *ring = make_ring();
    struct wal_op op = make_op(WAL_OP_WRITE, file, 0, 1);
    assert_int_equal(run_op(ring, &op), BLOCK);
    assert_int_equal(sim_counters(disk)->overwrites, 1);
    assert_string_equal(sim_counters(disk)->overwrite_name, "f");
    assert_int_equal(sim_counters(disk)->overwrite_position, BLOCK);
    ops->ring_free(ring);
}

/* Wrong uses of the seam that a real kernel would let pass are counted. */
static void misuses_are_counted(void **state)
{
    const uint64_t *misuses = &sim_counters(disk)->misuses;
    uint8_t *data = aligned_alloc(BLOCK, BLOCK);
    int file = make_file("f");
    int reader = open_again("f", WAL_OPEN_READ);
    struct wal_ring *ring = make_ring();
    sim_options_of(disk)->check_buffers = true;
    memset(data, 1, BLOCK);
    struct wal_op op = make_op(WAL_OP_WRITE, file, 1, 0);
    op.data = data;
    assert_int_equal(run_op(ring, &op), BLOCK);
    assert_int_equal(*misuses, 0);
    ops->ring_submit(ring, &op);
    assert_null(ops->ring_wait(ring, 0));
    data[100] ^= 1;
    assert_ptr_equal(ops->ring_wait(ring, UINT64_MAX), &op);
    assert_int_equal(*misuses, 1);

    op.handle = reader;
    assert_int_equal(run_op(ring, &op), -EBADF);
    assert_int_equal(*misuses, 2);
    assert_int_equal(put(reader, 1, 0, 1, true), -EBADF);
    assert_int_equal(*misuses, 3);
    ops->close(io, reader);
    ops->close(io, reader);
    assert_int_equal(*misuses, 4);
    assert_int_equal(ops->sync(io, reader), -EBADF);
    assert_int_equal(*misuses, 5);
    op.handle = file;
    ops->ring_submit(ring, &op);
    ops->ring_free(ring);
    assert_int_equal(*misuses, 6);
    free(data);
    sim_reset(disk, 0);
}

static uint64_t history_hash(uint64_t seed, int number)
{
    sim_reset(disk, seed);
    for (int life = 0; life < 3; life++) {
        struct wal_ring *ring = make_ring();
        int file = open_again("f", WAL_OPEN_WRITE);
        if (file < 0)
            file = make_file("f");
        for (unsigned i = 0; i < 8; i++) {
            struct wal_op op = make_op(WAL_OP_WRITE_DURABLE, file, number, i);
            struct wal_op ahead = make_op(WAL_OP_WRITE, file, 0, i + 20);
            ops->ring_submit(ring, &ahead);
            ops->ring_submit(ring, &op);
            unsigned count = 0;
            while (count < 2) {
                for (struct wal_op *done = ops->ring_wait(ring, 50); done; done = done->next)
                    count++;
            }
        }
        ops->ring_free(ring);
        sim_crash(disk);
    }
    return sim_trace_hash(disk);
}

/* A failure that cannot be run again is half a failure. The hash sees what is written, too: uuids
 * or times that do not come from the seam would show. */
static void the_same_seed_gives_the_same_history(void **state)
{
    uint64_t previous = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        uint64_t hash = history_hash(seed, 1);
        assert_int_equal(history_hash(seed, 1), hash);
        assert_int_not_equal(history_hash(seed, 2), hash);
        assert_int_not_equal(hash, previous);
        previous = hash;
    }
    uint64_t a;
    uint64_t b;
    sim_reset(disk, 1);
    assert_int_equal(ops->random(io, &a, sizeof(a)), 0);
    sim_reset(disk, 1);
    assert_int_equal(ops->random(io, &b, sizeof(b)), 0);
    assert_int_equal(a, b);
    assert_int_equal(ops->random(io, &b, sizeof(b)), 0);
    assert_int_not_equal(a, b);

    /* Another disk, with other memory. */
    struct sim_disk *first = disk;
    uint64_t hash = history_hash(5, 1);
    assert_int_equal(sim_disk_new(NULL, &disk), 0);
    io = sim_io(disk);
    assert_int_equal(history_hash(5, 1), hash);
    sim_disk_free(disk);
    disk = first;
    io = sim_io(disk);
}

/* What a developer reads first: a line an operation. Writing it changes nothing. */
static void a_trace_can_be_read(void **state)
{
    char *text = NULL;
    size_t size = 0;
    uint64_t hash = history_hash(3, 1);
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    sim_options_of(disk)->trace = file;
    assert_int_equal(history_hash(3, 1), hash);
    fclose(file);
    assert_non_null(strstr(text, "write_durable f  0+4096 = 4096\n"));
    assert_non_null(strstr(text, "reboot after a power cut\n"));
    free(text);
    for (unsigned kind = 0; kind <= SIM_ANY; kind++)
        assert_true(strlen(sim_kind_name((enum sim_kind)kind)) > 2);
}

/* Thousands of histories use one disk: nothing of the one before may shine through. */
static void a_reset_disk_is_empty(void **state)
{
    make_dir("d");
    put(make_file("d/f"), 1, 0, 4, true);
    sim_fail_reads(disk, "d/f", 0, 100, -EIO);
    arm(SIM_CREATE, 0, -EIO, SIM_NOTHING);
    sim_disarm(disk);
    sim_crash_at(disk, sim_ops(disk) + 1);
    assert_int_equal(open_again("d/f", 0), -EIO);
    assert_true(sim_is_dead(disk));
    sim_reset(disk, 8);
    assert_false(sim_is_dead(disk));
    arm(SIM_CREATE, 0, -EIO, SIM_NOTHING);
    sim_crash_at(disk, 3);
    sim_reset(disk, 9);
    assert_false(is_there("d"));
    assert_int_equal(sim_used_blocks(disk), 1);
    assert_int_equal(sim_ops(disk), 0);
    assert_int_equal(sim_counters(disk)->done[SIM_CREATE], 0);
    int file = make_file("f");
    assert_int_equal(ops->allocate(io, file, 0, 4 * BLOCK), 0);
    assert_int_equal(read_byte(file, 3), 0);
    assert_int_equal(ops->sync(io, file), 0);
}

/* Logs are sparse and many: neither a far position nor a thousand files may cost much. */
static void large_disks_are_cheap(void **state)
{
    int file = make_durable_file("big");
    uint64_t far = UINT64_C(8) << 30;
    assert_int_equal(ops->allocate(io, file, far, 64 << 20), 0);
    assert_int_equal(ops->write(io, file, pattern[1], BLOCK, far + BLOCK, true), 0);
    assert_int_equal(byte_at("big", SIM_DURABLE, far + BLOCK), 1);
    assert_int_equal(byte_at("big", SIM_CACHED, far - 1), 0);
    sim_crash(disk);
    assert_int_equal(byte_at("big", SIM_CACHED, far + 2 * BLOCK - 1), 1);

    for (unsigned i = 0; i < 2000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "log%u", i);
        ops->close(io, make_file(name));
    }
    unsigned count = 0;
    sync_dir(".");
    sim_crash(disk);
    assert_int_equal(sim_list(disk, "/", SIM_DURABLE, count_names, &count), 0);
    assert_int_equal(count, 2001);
}

/* --- Against a model -------------------------------------------------------------------------- */

enum { MODEL_BLOCKS = 12, MODEL_SECTORS = MODEL_BLOCKS * 8 };

/* Which contents each sector may have: a bit for each number that may be found there. */
struct model {
    uint32_t durable[MODEL_SECTORS];
    uint32_t pending[MODEL_SECTORS];
};

static void model_write(struct model *model, uint64_t block, uint64_t blocks, int number,
                        bool durable)
{
    for (uint64_t i = block * 8; i < (block + blocks) * 8; i++) {
        if (durable) {
            model->durable[i] = 1u << number;
            model->pending[i] = 0;
        } else {
            model->pending[i] |= 1u << number;
        }
    }
}

static void model_check(struct model *model)
{
    for (unsigned i = 0; i < MODEL_SECTORS; i++) {
        int byte = byte_at("f", SIM_DURABLE, (uint64_t)i * SECTOR);
        int last = byte_at("f", SIM_CACHED, (uint64_t)i * SECTOR + SECTOR - 1);
        uint32_t found = byte < 0 ? 1 : 1u << byte;
        assert_int_equal(byte, last);
        if (!(found & (model->durable[i] | model->pending[i])))
            fail_msg("sector %u holds %d", i, byte);
        model->durable[i] = found;
        model->pending[i] = 0;
    }
}

/* Random writes, syncs and cuts against the plainest statement of what a disk promises. */
static void random_histories_agree_with_a_model(void **state)
{
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct model model = {.durable = {0}};
        uint32_t random = (uint32_t)seed * 2654435761u + 1;
        int last[MODEL_BLOCKS] = {0};
        for (unsigned i = 0; i < MODEL_SECTORS; i++)
            model.durable[i] = 1;
        sim_reset(disk, seed);
        int file = make_durable_file("f");
        for (unsigned step = 0; step < 60; step++) {
            random = random * 1664525u + 1013904223u;
            uint64_t block = (random >> 8) % (MODEL_BLOCKS - 3);
            uint64_t blocks = 1 + (random >> 16) % 3;
            int number = (int)(random >> 20 & (PATTERNS - 1));
            bool durable = (random >> 24) % 3 == 0;
            if (random >> 28 == 0) {
                sim_crash(disk);
                model_check(&model);
                for (unsigned i = 0; i < MODEL_BLOCKS; i++)
                    last[i] = -1;
                file = open_again("f", WAL_OPEN_WRITE);
            } else if (random >> 28 == 1) {
                assert_int_equal(ops->sync(io, file), 0);
                for (unsigned i = 0; i < MODEL_BLOCKS; i++) {
                    if (last[i] >= 0)
                        model_write(&model, i, 1, last[i], true);
                }
            } else {
                assert_int_equal(put(file, number, block, blocks, durable), 0);
                model_write(&model, block, blocks, number, durable);
                for (uint64_t i = block; i < block + blocks; i++)
                    last[i] = number;
                assert_int_equal(read_byte(file, block), number);
            }
        }
        sim_crash(disk);
        model_check(&model);
    }
    assert_true(sim_counters(disk)->crashes > 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_durable_write_survives_every_cut),
        CASE(an_unsynced_write_is_kept_lost_or_torn),
        CASE(each_way_of_tearing_has_its_shape),
        CASE(a_sync_makes_the_whole_file_durable),
        CASE(the_size_after_a_cut_is_old_or_new),
        CASE(a_durable_write_covers_itself_alone),
        CASE(an_older_unsynced_write_cannot_undo_a_durable_one),
        CASE(unsynced_writes_reach_the_disk_in_any_order),
        CASE(what_survives_a_cut_is_durable),
        CASE(writes_need_no_alignment_on_a_buffered_handle),
        CASE(a_torn_write_may_leave_garbage),
        CASE(ops_complete_in_any_order),
        CASE(an_op_in_flight_is_nowhere_yet),
        CASE(waiting_moves_the_clock_only),
        CASE(each_kind_of_op_does_its_part),
        CASE(an_op_outlives_the_handle_it_was_started_with),
        CASE(a_new_name_is_durable_with_its_directory_alone),
        CASE(a_lost_directory_takes_its_contents_along),
        CASE(one_journal_keeps_changes_in_order),
        CASE(changes_of_names_are_lost_one_by_one),
        CASE(a_removal_may_be_undone),
        CASE(a_rename_is_one_change),
        CASE(a_replaced_name_has_one_file_or_the_other),
        CASE(split_renames_may_leave_both_names),
        CASE(a_file_moved_twice_is_never_doubled),
        CASE(a_name_used_again_is_one_of_its_files),
        CASE(a_listing_stands_removals_and_has_no_order),
        CASE(names_answer_the_documented_errors),
        CASE(a_cut_ends_handles_locks_and_rings),
        CASE(a_ring_keeps_the_lock),
        CASE(a_kill_keeps_the_cache),
        CASE(a_cut_can_be_placed_at_every_operation),
        CASE(the_operation_at_the_cut_may_have_happened),
        CASE(a_crash_seed_changes_the_cut_alone),
        CASE(the_nth_operation_of_a_kind_fails),
        CASE(a_short_write_stops_at_any_byte),
        CASE(eintr_and_eagain_leave_nothing_behind),
        CASE(a_failed_sync_drops_what_it_was_to_save),
        CASE(a_dropped_page_takes_older_bytes_along),
        CASE(a_failed_call_may_have_done_its_work),
        CASE(a_disk_may_lie),
        CASE(a_full_disk_refuses_new_space),
        CASE(a_disk_may_lack_features),
        CASE(a_direct_handle_wants_alignment),
        CASE(reads_fail_where_they_are_told_to),
        CASE(faults_come_by_seed),
        CASE(the_wall_clock_jumps_and_the_other_does_not),
        CASE(damage_hits_what_was_durable),
        CASE(writes_over_durable_bytes_are_counted),
        CASE(misuses_are_counted),
        CASE(the_same_seed_gives_the_same_history),
        CASE(a_trace_can_be_read),
        CASE(a_reset_disk_is_empty),
        CASE(large_disks_are_cheap),
        CASE(random_histories_agree_with_a_model),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}
