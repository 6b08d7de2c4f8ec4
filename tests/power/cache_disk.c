/*
 * A disk with a volatile write cache, for power cuts below the file system: one file, served by the
 * FUSE protocol, that a loop device turns into a disk. A write goes to the cache (a private mapping
 * of the image file), a flush (FUSE_FSYNC, which is what the loop device makes of it) brings the
 * cache to the image file. When the power goes, each sector of the cache that no flush has covered
 * is written to the image or forgotten by the throw of a coin, so writes are lost, torn and
 * reordered as on a real disk. Requests are served one after the other, so a flush covers every
 * write that was answered before it.
 *
 * It can also be told to fail: every write, every flush, or every write for want of space, until it is
 * told that it works again. What a write that failed was to write is not there; what a flush that
 * failed was to save is still in the cache.
 *
 * The protocol is spoken here by hand, since a handful of requests is all that it takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/power/content.h"
#include "tests/power/image.h"

#define SECTOR_BYTES 512u
#define WRITE_MAX (1u << 20)
#define REQUEST_BYTES (WRITE_MAX + 8192)
#define FILE_NODE 2u /* 1 is the root */

struct disk {
    int fuse_fd;
    int image_fd;
    unsigned char *cache;
    uint64_t bytes;
    uint64_t *dirty; /* a bit for each sector */
    enum disk_fault fault;
};

static bool is_dirty(const struct disk *disk, uint64_t sector)
{
    return disk->dirty[sector / 64] >> (sector % 64) & 1;
}

static void store_sectors(struct disk *disk, uint64_t begin, uint64_t end)
{
    uint64_t at = begin * SECTOR_BYTES, left = (end - begin) * SECTOR_BYTES;
    while (left > 0) {
        ssize_t put = pwrite(disk->image_fd, disk->cache + at, left, (off_t)at);
        if (put <= 0) {
            (void)fprintf(stderr, "power: image: %s\n", strerror(errno));
            _exit(1); /* the disk dies with its cache: a loss, and a test that fails */
        }
        at += (uint64_t)put;
        left -= (uint64_t)put;
    }
}

static void flush(struct disk *disk)
{
    uint64_t sectors = disk->bytes / SECTOR_BYTES;
    for (uint64_t sector = 0; sector < sectors;) {
        if (disk->dirty[sector / 64] == 0) {
            sector = (sector / 64 + 1) * 64;
            continue;
        }
        if (!is_dirty(disk, sector)) {
            sector++;
            continue;
        }
        uint64_t end = sector;
        while (end < sectors && is_dirty(disk, end))
            end++;
        store_sectors(disk, sector, end);
        sector = end;
    }
    memset(disk->dirty, 0, (sectors + 63) / 64 * sizeof(*disk->dirty));
}

/* The power is gone. In one cut of four all is lost, in one all is kept; else a coin decides, and
 * its side is kept for some sectors, so that whole writes go too. */
static void lose_power(struct disk *disk, uint64_t random)
{
    uint64_t mode = power_random(&random, 4), left = 0;
    bool keep = false;
    for (uint64_t sector = 0; sector < disk->bytes / SECTOR_BYTES; sector++) {
        if (!is_dirty(disk, sector))
            continue;
        if (left-- == 0) {
            keep = power_random(&random, 2) == 1;
            left = power_random(&random, mode == 2 ? 2 : 64);
        }
        if (mode == 1 || (mode > 1 && keep))
            store_sectors(disk, sector, sector + 1);
    }
    _exit(0);
}

static void answer(struct disk *disk, const struct fuse_in_header *in, int error, void *data,
                   size_t size)
{
    if (error < 0)
        size = 0;
    struct fuse_out_header out = {
        .len = (uint32_t)(sizeof(out) + size), .error = error, .unique = in->unique};
    struct iovec parts[] = {{&out, sizeof(out)}, {data, size}};
    /* A request may have been given up meanwhile (-ENOENT): its sender does not miss the answer. */
    if (writev(disk->fuse_fd, parts, size > 0 ? 2 : 1) < 0)
        return;
}

static struct fuse_attr attributes_of(const struct disk *disk, uint64_t node)
{
    struct fuse_attr attr = {.ino = node, .nlink = 1, .blksize = 4096};
    attr.mode = node == FILE_NODE ? S_IFREG | 0600 : S_IFDIR | 0700;
    attr.size = node == FILE_NODE ? disk->bytes : 0;
    attr.blocks = attr.size / SECTOR_BYTES;
    return attr;
}

static void answer_lookup(struct disk *disk, const struct fuse_in_header *in, const char *name)
{
    struct fuse_entry_out entry = {.nodeid = FILE_NODE,
                                   .entry_valid = 3600,
                                   .attr_valid = 3600,
                                   .attr = attributes_of(disk, FILE_NODE)};
    bool found = in->nodeid == FUSE_ROOT_ID && strcmp(name, "disk") == 0;
    answer(disk, in, found ? 0 : -ENOENT, &entry, sizeof(entry));
}

static void answer_read(struct disk *disk, const struct fuse_in_header *in,
                        const struct fuse_read_in *read_in)
{
    uint64_t size = read_in->size;
    if (read_in->offset >= disk->bytes)
        size = 0;
    else if (size > disk->bytes - read_in->offset)
        size = disk->bytes - read_in->offset;
    answer(disk, in, 0, disk->cache + (size ? read_in->offset : 0), size);
}

static void answer_write(struct disk *disk, const struct fuse_in_header *in,
                         const struct fuse_write_in *write_in)
{
    struct fuse_write_out out = {.size = write_in->size};
    uint64_t begin = write_in->offset, end = begin + write_in->size;
    if (disk->fault == DISK_WRITES_FAIL || disk->fault == DISK_IS_FULL) {
        answer(disk, in, disk->fault == DISK_IS_FULL ? -ENOSPC : -EIO, NULL, 0);
        return;
    }
    bool fits = write_in->size <= WRITE_MAX && end <= disk->bytes &&
                in->len >= sizeof(*in) + sizeof(*write_in) + write_in->size;
    if (fits) {
        memcpy(disk->cache + begin, write_in + 1, write_in->size);
        for (uint64_t sector = begin / SECTOR_BYTES; sector * SECTOR_BYTES < end; sector++)
            disk->dirty[sector / 64] |= 1ull << (sector % 64);
    }
    answer(disk, in, fits ? 0 : -ENOSPC, &out, sizeof(out));
}

static void serve_one(struct disk *disk, const struct fuse_in_header *in, const void *body)
{
    struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION,
                                 .minor = 31,
                                 .max_readahead = WRITE_MAX,
                                 .flags = FUSE_MAX_PAGES | FUSE_BIG_WRITES,
                                 .max_background = 64,
                                 .max_write = WRITE_MAX,
                                 .max_pages = WRITE_MAX / 4096};
    struct fuse_attr_out attr = {.attr_valid = 3600, .attr = attributes_of(disk, in->nodeid)};
    struct fuse_open_out opened = {.open_flags = FOPEN_DIRECT_IO};
    switch (in->opcode) {
    case FUSE_INIT: answer(disk, in, 0, &init, sizeof(init)); break;
    case FUSE_LOOKUP: answer_lookup(disk, in, body); break;
    case FUSE_GETATTR: answer(disk, in, 0, &attr, sizeof(attr)); break;
    case FUSE_OPEN: answer(disk, in, 0, &opened, sizeof(opened)); break;
    case FUSE_READ: answer_read(disk, in, body); break;
    case FUSE_WRITE: answer_write(disk, in, body); break;
    case FUSE_FSYNC:
        if (disk->fault != DISK_FLUSHES_FAIL)
            flush(disk);
        answer(disk, in, disk->fault == DISK_FLUSHES_FAIL ? -EIO : 0, NULL, 0);
        break;
    case FUSE_FLUSH:
    case FUSE_RELEASE: answer(disk, in, 0, NULL, 0); break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: break; /* these want no answer */
    default: answer(disk, in, -ENOSYS, NULL, 0); break;
    }
}

static bool disk_open(struct disk *disk, const char *file)
{
    struct stat info;
    disk->image_fd = open(file, O_RDWR | O_CLOEXEC);
    if (disk->image_fd < 0 || fstat(disk->image_fd, &info) < 0)
        return false;
    disk->bytes = (uint64_t)info.st_size;
    disk->dirty = calloc(disk->bytes / SECTOR_BYTES / 64 + 1, sizeof(*disk->dirty));
    disk->cache = mmap(NULL, disk->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
                       disk->image_fd, 0);
    return disk->dirty && disk->cache != MAP_FAILED;
}

_Noreturn void cache_disk_serve(int fuse_fd, const char *file, int control, uint64_t seed)
{
    struct disk disk = {.fuse_fd = fuse_fd};
    unsigned char *request = malloc(REQUEST_BYTES);
    if (!request || !disk_open(&disk, file))
        _exit(1);
    for (;;) {
        struct pollfd fds[] = {{.fd = fuse_fd, .events = POLLIN},
                               {.fd = control, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0)
            continue;
        char byte;
        if (fds[1].revents & POLLIN && read(control, &byte, 1) == 1) {
            if (byte == DISK_LOSES_POWER)
                lose_power(&disk, seed);
            disk.fault = (enum disk_fault)byte;
        }
        if (!(fds[0].revents & (POLLIN | POLLERR | POLLHUP)))
            continue;
        ssize_t got = read(fuse_fd, request, REQUEST_BYTES);
        if (got < 0 && errno == ENODEV) {
            flush(&disk); /* unmounted in good order: a disk that keeps its power keeps all */
            _exit(0);
        }
        if (got >= (ssize_t)sizeof(struct fuse_in_header))
            serve_one(&disk, (struct fuse_in_header *)(void *)request,
                      request + sizeof(struct fuse_in_header));
    }
}
