/*
 * A file system in a file, on a loop device, in a mount namespace of its own: something whose power
 * can be cut. The namespace ends with the last process in it, the mount with the namespace, and the
 * loop device with its mount, so nothing stays behind however the test ends.
 */
#ifndef POWER_IMAGE_H
#define POWER_IMAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum cut {
    CUT_LOG_FLUSHED, /* the file system's journal reaches the disk, unsynced data does not */
    CUT_LOG_LOST,    /* neither does */
    CUT_CACHE_LOST,  /* the disk stops, and any sectors that it was not told to flush may be lost */
};

/* What a disk with a cache is told through its pipe: a byte each. */
enum disk_fault {
    DISK_WORKS = 'o',
    DISK_WRITES_FAIL = 'w',  /* with EIO */
    DISK_FLUSHES_FAIL = 'f', /* with EIO */
    DISK_IS_FULL = 's', /* writes fail with ENOSPC, as on a volume that was promised too often */
    DISK_LOSES_POWER = 'c',
};

struct image {
    const char *fs;
    bool device_cache;
    char file[600];  /* the image */
    char mount[600]; /* where it is mounted */
    char disk[600];  /* with a device cache: where the disk's own file system is mounted */
    bool disk_mounted, mounted;
    pid_t disk_pid;   /* of the process that plays the disk */
    int disk_control; /* its pipe */
};

/* Enters a private mount namespace and looks for all that is needed. 0, or a negative errno with a
 * sentence in reason (256 bytes). */
int image_prepare(const char *fs, bool device_cache, char *reason);

/* All return 0 or a negative errno, with a sentence on stderr. */
int image_make(struct image *image, const char *folder, const char *fs, bool device_cache);
int image_mount(struct image *image, uint64_t seed);
int image_cut(struct image *image, enum cut cut);
int image_unmount(struct image *image);

/* The process behind a disk with a cache: serves `file` as DIR/disk through FUSE, until it is
 * unmounted or loses its power. Never returns. See cache_disk.c. */
_Noreturn void cache_disk_serve(int fuse_fd, const char *file, int control, uint64_t seed);

#endif
