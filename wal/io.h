/*
 * The disk seam: everything the log asks of files, directories, clocks and chance goes through one
 * table of operations, so that the same log runs on io_uring (io_uring.c), on plain system calls
 * (io_posix.c) and on a simulated disk that loses power (tests/sim). Internal to wal/.
 *
 * Two halves. The synchronous half may be called from any thread and blocks. The asynchronous half
 * is a ring: it belongs to the one thread that runs its committer, except ring_wake().
 *
 * Errors are negative errno throughout. Nothing here retries on behalf of the log: what a failed
 * write means is decided in commit.c alone.
 */
#ifndef WAL_IO_H
#define WAL_IO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Unit of placement and of direct transfers: frames start at multiples of it, and the addresses and
 * sizes of all writes are multiples of it. */
#define WAL_BLOCK_BYTES 4096u

/* What a power cut writes whole or not at all. */
#define WAL_SECTOR_BYTES 512u

enum wal_op_kind {
    /* Write, then data sync of what was written. Success means: durable. */
    WAL_OP_WRITE_DURABLE,
    /* Write without a sync: zeros ahead of the log's end. */
    WAL_OP_WRITE,
    /* Reserve blocks (fallocate); they read as zeros. -EOPNOTSUPP where the file system cannot. */
    WAL_OP_ALLOCATE,
};

/*
 * One asynchronous operation. The submitter fills the first group, keeps the struct and the data in
 * place until the ring hands the op back, and then reads `result`.
 */
struct wal_op {
    enum wal_op_kind kind;
    int handle;        /* of an open file */
    const void *data;  /* aligned to WAL_BLOCK_BYTES; NULL for WAL_OP_ALLOCATE */
    uint64_t size;     /* bytes, a multiple of WAL_BLOCK_BYTES */
    uint64_t position; /* bytes, a multiple of WAL_BLOCK_BYTES */

    /* Bytes written (0 for WAL_OP_ALLOCATE), or a negative errno. A WAL_OP_WRITE_DURABLE whose sync
     * failed reports that error, never a byte count; fewer bytes than `size` is a failure too. */
    int64_t result;

    struct wal_op *next; /* the ring's, between submit and wait; then links the list of done ops */
    int64_t partial;     /* the ring's: the write's result while a linked sync is outstanding */
    uint8_t parts;       /* the ring's: completions still to come */
};

struct wal_io;
struct wal_ring;

enum {
    WAL_OPEN_READ = 0,          /* buffered, read only */
    WAL_OPEN_WRITE = 1 << 0,    /* read and write */
    WAL_OPEN_CREATE = 1 << 1,   /* must not exist yet: -EEXIST */
    WAL_OPEN_DIRECT = 1 << 2,   /* O_DIRECT; -EINVAL where the file system refuses it */
    WAL_OPEN_UNCACHED = 1 << 3, /* first drop the clean pages that the page cache has of the file:
                                   after a failed sync they may show what the disk lacks */
};

struct wal_io_ops {
    const char *name; /* "uring", "posix", "sim": the `backend` of stats and start-up lines */

    /* Releases the backend. Every ring and handle must be gone. */
    void (*free)(struct wal_io *io);

    /* Handles are small non-negative integers (file descriptors on a real disk). `dir` is a handle
     * of open_dir(), or WAL_IO_CWD for paths. Names never contain '/', except with WAL_IO_CWD. */
    int (*open_dir)(struct wal_io *io, int dir, const char *name);
    int (*open_file)(struct wal_io *io, int dir, const char *name, unsigned flags);
    void (*close)(struct wal_io *io, int handle);
    int (*make_dir)(struct wal_io *io, int dir, const char *name);
    /* Never replaces an existing name: -EEXIST. */
    int (*rename)(struct wal_io *io, int from_dir, const char *from, int to_dir, const char *to);
    /* The same within one directory for a file that takes the place of another one, which is there:
     * a crash leaves the name with the one or with the other. Who has the old file open keeps it. */
    int (*replace)(struct wal_io *io, int dir, const char *from, const char *to);
    int (*remove_file)(struct wal_io *io, int dir, const char *name);
    int (*remove_dir)(struct wal_io *io, int dir, const char *name); /* must be empty */
    /* Calls visit for each entry but "." and "..", in any order; a non-zero return of visit ends
     * the listing and is returned. Entries may be removed by visit. */
    int (*list)(struct wal_io *io, int dir,
                int (*visit)(void *context, const char *name, bool is_dir), void *context);
    /* fsync of a file or a directory. */
    int (*sync)(struct wal_io *io, int handle);
    /* Bytes read: fewer than size only at the end of the file. On a direct handle data, size and
     * position are multiples of WAL_BLOCK_BYTES (the count may still be short at the end). */
    int64_t (*read)(struct wal_io *io, int handle, void *data, size_t size, uint64_t position);
    /* Writes all of size and, if `durable`, data-syncs it: 0 or a negative errno. Alignment as for
     * read. */
    int (*write)(struct wal_io *io, int handle, const void *data, size_t size, uint64_t position,
                 bool durable);
    /* As WAL_OP_ALLOCATE. */
    int (*allocate)(struct wal_io *io, int handle, uint64_t position, uint64_t size);
    int64_t (*file_bytes)(struct wal_io *io, int handle);
    /* Takes the exclusive lock of a data directory on the file `name` in dir, made if missing, and
     * keeps it until the returned handle is closed. -EWOULDBLOCK where another process has it. */
    int (*lock)(struct wal_io *io, int dir, const char *name);
    /* Bytes that an unprivileged writer may still use on the file system of dir, and its size. */
    int (*free_bytes)(struct wal_io *io, int dir, uint64_t *ret_free, uint64_t *ret_total);

    uint64_t (*monotonic_us)(struct wal_io *io);
    uint64_t (*realtime_ns)(struct wal_io *io);
    /* Fills data with unpredictable bytes (uuids, salts): 0 or a negative errno. */
    int (*random)(struct wal_io *io, void *data, size_t size);

    /* The asynchronous half. ring_new is called on the thread that will run the ring. `keep` is a
     * handle that stays referenced as long as the ring has work in flight, even past the death of
     * the process (the lock of the data directory), or -1. */
    int (*ring_new)(struct wal_io *io, unsigned entries, int keep, struct wal_ring **ret_ring);
    void (*ring_free)(struct wal_ring *ring); /* nothing may be in flight */
    /* Accepts one op; nothing reaches the disk before the next ring_wait(). The caller never has
     * more than `entries` ops in flight. */
    void (*ring_submit)(struct wal_ring *ring, struct wal_op *op);
    /* Starts what was submitted, sleeps until at least one op is done, ring_wake() was called or
     * timeout_us passed (0: do not sleep; UINT64_MAX: no limit), and returns the list of done ops,
     * linked by `next` in order of completion, NULL if none. */
    struct wal_op *(*ring_wait)(struct wal_ring *ring, uint64_t timeout_us);
    /* Whether ring_wait(0) starts ops and returns; false: it may do one itself first. */
    bool overlaps;
    /* Makes the present or the next ring_wait() return soon. Any thread. */
    void (*ring_wake)(struct wal_ring *ring);
    /* A descriptor that polls readable when ring_wait(0) has something to return or was woken, for
     * callers with an event loop of their own; -ENOTSUP where there is none. */
    int (*ring_poll_fd)(struct wal_ring *ring);
};

struct wal_io {
    const struct wal_io_ops *ops;
    /* Whether handles for writing are to be opened with WAL_OPEN_DIRECT. */
    bool direct;
    /* One sentence: why this backend was chosen, for stats and the start-up line. */
    char reason[160];
    /* Whether the kernel holds the ring made last to the operations that this backend uses. Any
     * thread. */
    _Atomic bool ring_restricted;
};

#define WAL_IO_CWD (-100)

/* The backends on a real disk. `direct` false: buffered writes, each linked to a data sync. */
int wal_io_uring_new(bool direct, struct wal_io **ret_io);
int wal_io_posix_new(bool direct, struct wal_io **ret_io);

enum wal_io_choice { WAL_IO_AUTO, WAL_IO_URING, WAL_IO_POSIX };
enum wal_direct_choice { WAL_DIRECT_AUTO, WAL_DIRECT_ON, WAL_DIRECT_OFF };

/*
 * Chooses a backend for the directory at path by making a real durable write in it (through a file
 * that is removed again), and keeps the reason in (*ret_io)->reason.
 *
 * WAL_IO_URING and WAL_DIRECT_ON are demands: where they cannot be met the error is returned and
 * ret_reason names the likely cause (sysctl kernel.io_uring_disabled, a seccomp profile, the limit
 * of locked memory, the kernel's age, the file system). ret_reason has room for 160 bytes.
 *
 * Errors:
 *   -EPERM    io_uring is forbidden to this process and was demanded
 *   -ENOSYS   the kernel has no io_uring, or too old a one, and it was demanded
 *   -ENOMEM   the ring did not fit the limit of locked memory, and was demanded
 *   -EINVAL   direct I/O was demanded and the file system refuses it
 *   others    from opening, writing or syncing in the directory (-EROFS, -EACCES, -ENOSPC, …)
 */
int wal_io_probe(const char *path, enum wal_io_choice choice, enum wal_direct_choice direct,
                 struct wal_io **ret_io, char *ret_reason);

#endif
