#include "server/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "wal/base.h"

bool disk_is_in_memory(const char *path)
{
    struct statfs info;
    char parent[4096];
    int rc = statfs(path, &info);
    if (rc < 0 && errno == ENOENT && strlen(path) < sizeof(parent)) {
        size_t end = strlen(path);
        memcpy(parent, path, end + 1);
        while (end > 1 && parent[end - 1] == '/')
            parent[--end] = '\0';
        char *slash = strrchr(parent, '/');
        if (slash)
            slash[slash == parent] = '\0';
        rc = statfs(slash ? parent : ".", &info);
    }
    return rc == 0 && (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC);
}

static bool type_is_remote(const char *type)
{
    static const char *const types[] = {
        "nfs", "nfs4", "cifs",  "smb3",   "smbfs", "9p",     "virtiofs", "ceph",  "glusterfs",
        "afs", "coda", "ncpfs", "lustre", "gpfs",  "beegfs", "orangefs", "pvfs2",
    };
    if (strncmp(type, "fuse", 4) == 0) /* fuse, fuseblk, fuse.sshfs, ... */
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (strcmp(types[i], type) == 0)
            return true;
    }
    return false;
}

/* In a list such as "rw,relatime,nobarrier". */
static bool options_lack_barriers(const char *options)
{
    while (*options) {
        size_t bytes = strcspn(options, ",");
        if ((bytes == 9 && memcmp(options, "nobarrier", 9) == 0) ||
            (bytes == 9 && memcmp(options, "barrier=0", 9) == 0) ||
            (bytes == 12 && memcmp(options, "barrier=none", 12) == 0))
            return true;
        options += bytes + strspn(options + bytes, ",");
    }
    return false;
}

/* "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue": of any number
 * of fields before the dash. Takes the line apart. */
static bool read_mount(char *line, uint64_t mount_id, struct disk *disk)
{
    char *rest = NULL;
    const char *fields[6];
    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
        fields[i] = strtok_r(i == 0 ? line : NULL, " \n", &rest);
        if (!fields[i])
            return false;
    }
    if (strtoull(fields[0], NULL, 10) != mount_id)
        return false;
    const char *field = strtok_r(NULL, " \n", &rest);
    while (field && strcmp(field, "-") != 0)
        field = strtok_r(NULL, " \n", &rest);
    const char *type = field ? strtok_r(NULL, " \n", &rest) : NULL;
    if (!type)
        return false;
    const char *source = strtok_r(NULL, " \n", &rest);
    const char *options = source ? strtok_r(NULL, " \n", &rest) : NULL;

    snprintf(disk->type, sizeof(disk->type), "%s", type);
    disk->is_remote = type_is_remote(type);
    disk->no_barriers =
        options_lack_barriers(fields[5]) || (options && options_lack_barriers(options));
    return true;
}

void disk_parse(FILE *mounts, uint64_t mount_id, struct disk *ret_disk)
{
    char *line = NULL;
    size_t room = 0;
    *ret_disk = (struct disk){0};
    while (getline(&line, &room, mounts) > 0 && !read_mount(line, mount_id, ret_disk))
        ;
    free(line);
}

void disk_look(const char *path, struct disk *ret_disk)
{
    struct statx about;
    *ret_disk = (struct disk){0};
    if (statx(AT_FDCWD, path, 0, STATX_MNT_ID, &about) < 0 || !(about.stx_mask & STATX_MNT_ID))
        return;
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    if (!mounts)
        return;
    disk_parse(mounts, about.stx_mnt_id, ret_disk);
    fclose(mounts);
}
