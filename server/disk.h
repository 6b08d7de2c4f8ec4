/* What the data directory lies on, as far as that can be told before anything goes wrong. */
#ifndef SERVER_DISK_H
#define SERVER_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Whether a directory, or the one in which it is going to be made, is in memory: tmpfs or ramfs. */
bool disk_is_in_memory(const char *path);

struct disk {
    char type[32];    /* of the file system: "ext4"; "": unknown */
    bool is_remote;   /* over a network, or through a program: what a sync means is up to others */
    bool no_barriers; /* mounted so that a sync does not reach the medium */
};

/* Of a directory that is there. What cannot be found out stays unknown. */
void disk_look(const char *path, struct disk *ret_disk);

/* Finds a mount in the form of /proc/self/mountinfo. */
void disk_parse(FILE *mounts, uint64_t mount_id, struct disk *ret_disk);

#endif
