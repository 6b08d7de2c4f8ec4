/*
 * Files, directories, clocks and chance on Linux system calls, for the backends on a real disk.
 *
 * Interrupted calls are repeated and short transfers continued here, since no caller of the
 * synchronous half could do better. The exception is io_file_write_once(), which serves the
 * asynchronous half: there a short write is a result, and commit.c decides what it means.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/io_file.h"

_Static_assert(WAL_IO_CWD == AT_FDCWD, "paths"); /* NOLINT(misc-redundant-expression) */

/* Logs hold what clients sent, so only the service's own user may look. */
#define FILE_MODE 0600
#define DIR_MODE 0700

/* A single transfer may not pass 2 GiB less one page; a rounder limit below it keeps alignment. */
#define TRANSFER_BYTES_MAX (1ul << 30)

/* One step down, and no way up or out. */
static bool name_is_plain(int dir, const char *name)
{
    return dir == WAL_IO_CWD || (name[0] && !strchr(name, '/') && strcmp(name, "..") != 0);
}

/* Newer C libraries have a function for it. */
extern int openat2(int dir, const char *name, const struct open_how *how, size_t bytes)
    __attribute__((weak));

static int call_openat2(int dir, const char *name, const struct open_how *how)
{
    return openat2 ? openat2(dir, name, how, sizeof(*how))
                   : (int)syscall(SYS_openat2, dir, name, how, sizeof(*how));
}

/*
 * Inside the data directory a symbolic link is always somebody's mischief or mistake, and nothing in
 * it leads outside: the kernel holds to that where it has openat2() (5.6). Where it has not, or a
 * filter of system calls forbids what it does not know, a plain name and O_NOFOLLOW say the same.
 */
static int open_beneath(int dir, const char *name, int flags)
{
    const struct open_how how = {
        .flags = (uint64_t)(flags | O_NOFOLLOW),
        .mode = flags & O_CREAT ? FILE_MODE : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd = call_openat2(dir, name, &how);

    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = openat(dir, name, flags | O_NOFOLLOW, FILE_MODE);
    return fd;
}

/* A path given by the operator may well lead through a symbolic link. */
static int open_retry(int dir, const char *name, int flags)
{
    int fd;

    flags |= O_CLOEXEC;
    do {
        fd = dir == WAL_IO_CWD ? openat(dir, name, flags, FILE_MODE)
                               : open_beneath(dir, name, flags);
    } while (fd < 0 && errno == EINTR);

    return fd < 0 ? -errno : fd;
}

int io_file_open_dir(struct wal_io *io, int dir, const char *name)
{
    must(name_is_plain(dir, name));
    return open_retry(dir, name, O_RDONLY | O_DIRECTORY);
}

/*
 * Creates buffered and opens a second time for O_DIRECT: a file system that refuses O_DIRECT does
 * so after it has made the file, and then only the one who knows that it was made here may remove
 * it again.
 */
static int create_direct(int dir, const char *name, int access)
{
    int created = open_retry(dir, name, access | O_CREAT | O_EXCL);
    int fd;

    if (created < 0)
        return created;

    fd = open_retry(dir, name, access | O_DIRECT);
    if (fd < 0)
        (void)unlinkat(dir, name, 0);
    (void)close(created);
    return fd;
}

int io_file_open_file(struct wal_io *io, int dir, const char *name, unsigned flags)
{
    int access = flags & WAL_OPEN_WRITE ? O_RDWR : O_RDONLY;

    must(name_is_plain(dir, name));
    if ((flags & WAL_OPEN_CREATE) && (flags & WAL_OPEN_DIRECT))
        return create_direct(dir, name, access);
    if (flags & WAL_OPEN_CREATE)
        access |= O_CREAT | O_EXCL;
    if (flags & WAL_OPEN_DIRECT)
        access |= O_DIRECT;
    int fd = open_retry(dir, name, access);
    if (fd < 0 || !(flags & WAL_OPEN_UNCACHED))
        return fd;

    int error = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (error == 0)
        return fd;
    (void)close(fd);
    return -error;
}

void io_file_close(struct wal_io *io, int handle)
{
    must(handle >= 0);
    /* Nothing to repeat: Linux has released the descriptor even where it reports EINTR. Nor to
     * report: what mattered was synced before. */
    (void)close(handle);
}

int io_file_make_dir(struct wal_io *io, int dir, const char *name)
{
    must(name_is_plain(dir, name));
    return mkdirat(dir, name, DIR_MODE) < 0 ? -errno : 0;
}

/* The data directory is locked, so no other process makes the name between look and rename. */
static int rename_after_look(int from_dir, const char *from, int to_dir, const char *to)
{
    struct stat st;

    if (fstatat(to_dir, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    if (errno != ENOENT)
        return -errno;

    return renameat(from_dir, from, to_dir, to) < 0 ? -errno : 0;
}

int io_file_rename(struct wal_io *io, int from_dir, const char *from, int to_dir, const char *to)
{
    must(name_is_plain(from_dir, from));
    must(name_is_plain(to_dir, to));
    if (renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS) /* some network and FUSE file systems */
        return rename_after_look(from_dir, from, to_dir, to);

    return -errno;
}

int io_file_replace(struct wal_io *io, int dir, const char *from, const char *to)
{
    must(name_is_plain(dir, from));
    must(name_is_plain(dir, to));
    return renameat(dir, from, dir, to) < 0 ? -errno : 0;
}

int io_file_remove_file(struct wal_io *io, int dir, const char *name)
{
    must(name_is_plain(dir, name));
    return unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

int io_file_remove_dir(struct wal_io *io, int dir, const char *name)
{
    must(name_is_plain(dir, name));
    return unlinkat(dir, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static void closedirp(DIR **stream)
{
    if (*stream)
        (void)closedir(*stream);
}

static int entry_is_dir(int dir, const struct dirent *entry, bool *ret_is_dir)
{
    struct stat st;

    if (entry->d_type != DT_UNKNOWN) {
        *ret_is_dir = entry->d_type == DT_DIR;
        return 0;
    }
    if (fstatat(dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;

    *ret_is_dir = S_ISDIR(st.st_mode);
    return 0;
}

int io_file_list(struct wal_io *io, int dir,
                 int (*visit)(void *context, const char *name, bool is_dir), void *context)
{
    CLEANUP(closedirp) DIR *stream = NULL;
    /* A descriptor of its own: the position of a listing belongs to the open file. */
    int fd = open_retry(dir, ".", O_RDONLY | O_DIRECTORY);

    if (fd < 0)
        return fd;

    stream = fdopendir(fd);
    if (!stream) {
        int error = -errno;

        (void)close(fd);
        return error;
    }

    for (;;) {
        const struct dirent *entry;
        bool is_dir = false;
        int rc;

        errno = 0;
        entry = readdir(stream);
        if (!entry)
            return -errno;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;

        rc = entry_is_dir(fd, entry, &is_dir);
        if (rc == -ENOENT) /* removed since the kernel listed it */
            continue;
        if (rc == 0)
            rc = visit(context, entry->d_name, is_dir);
        if (rc != 0)
            return rc;
    }
}

int io_file_sync(struct wal_io *io, int handle)
{
    int rc;

    do {
        rc = fsync(handle);
    } while (rc < 0 && errno == EINTR);

    return rc < 0 ? -errno : 0;
}

int64_t io_file_read(struct wal_io *io, int handle, void *data, size_t size, uint64_t position)
{
    size_t done = 0;

    must(size <= INT64_MAX && position <= INT64_MAX - size);
    while (done < size) {
        ssize_t got = pread(handle, (char *)data + done, min_u64(size - done, TRANSFER_BYTES_MAX),
                            (off_t)(position + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0) /* at the end; even a direct read may ask again from inside a block there */
            break;

        done += (size_t)got;
    }
    return (int64_t)done;
}

/* For kernels and sandboxes without RWF_DSYNC: the same in two calls. */
static int64_t write_then_sync(int handle, const void *data, size_t size, uint64_t position)
{
    ssize_t written = pwrite(handle, data, size, (off_t)position);

    if (written < 0)
        return -errno;
    if (fdatasync(handle) < 0)
        return -errno;

    return written;
}

int64_t io_file_write_once(int handle, const void *data, size_t size, uint64_t position,
                           bool durable)
{
    struct iovec part = {.iov_base = (void *)data, .iov_len = size};
    ssize_t written = pwritev2(handle, &part, 1, (off_t)position, durable ? RWF_DSYNC : 0);

    if (written >= 0)
        return written;
    if (durable && (errno == EOPNOTSUPP || errno == ENOSYS))
        return write_then_sync(handle, data, size, position);

    return -errno;
}

int io_file_write(struct wal_io *io, int handle, const void *data, size_t size, uint64_t position,
                  bool durable)
{
    size_t done = 0;

    must(size <= INT64_MAX && position <= INT64_MAX - size);
    while (done < size) {
        int64_t written =
            io_file_write_once(handle, (const char *)data + done,
                               min_u64(size - done, TRANSFER_BYTES_MAX), position + done, durable);

        if (written == -EINTR)
            continue;
        if (written < 0)
            return (int)written;
        if (written == 0) /* never on a regular file; and never endless */
            return -EIO;

        done += (size_t)written;
    }
    return 0;
}

int io_file_allocate(struct wal_io *io, int handle, uint64_t position, uint64_t size)
{
    int rc;

    must(size <= INT64_MAX && position <= INT64_MAX - size);
    do {
        rc = fallocate(handle, 0, (off_t)position, (off_t)size);
    } while (rc < 0 && errno == EINTR);

    return rc < 0 ? -errno : 0;
}

int64_t io_file_bytes(struct wal_io *io, int handle)
{
    struct stat st;

    return fstat(handle, &st) < 0 ? -errno : st.st_size;
}

int io_file_lock(struct wal_io *io, int dir, const char *name)
{
    int fd;

    must(name_is_plain(dir, name));
    fd = open_retry(dir, name, O_RDWR | O_CREAT);
    if (fd < 0)
        return fd;

    /* flock and not fcntl: it goes with the open file, so that a ring can keep it past our death,
     * and no other close() in this process releases it. */
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int error = -errno;

        (void)close(fd);
        return error;
    }
    return fd;
}

int io_file_free_bytes(struct wal_io *io, int dir, uint64_t *ret_free, uint64_t *ret_total)
{
    struct statvfs vfs;
    int rc;

    do {
        rc = dir == WAL_IO_CWD ? statvfs(".", &vfs) : fstatvfs(dir, &vfs);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0)
        return -errno;

    *ret_free = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    *ret_total = (uint64_t)vfs.f_blocks * vfs.f_frsize;
    return 0;
}

uint64_t io_file_monotonic_us(struct wal_io *io)
{
    struct timespec now;

    must(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t io_file_realtime_ns(struct wal_io *io)
{
    struct timespec now;

    must(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int io_file_random(struct wal_io *io, void *data, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got = getrandom((char *)data + done, size - done, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;

        done += (size_t)got;
    }
    return 0;
}
