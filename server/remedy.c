/*
 * Containers have made three mistakes common: a folder of the host that belongs to root, a volume that
 * is mounted read-only, and limits nobody knew of. Each is told with who we are and what would help,
 * since the one who reads it sees neither the host nor the program.
 */
#include "server/remedy.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The directory, or nothing: then what cannot be written is the folder it would be made in. */
static void describe_owner(const char *path, char *text, size_t bytes)
{
    struct stat about;
    if (stat(path, &about) == 0)
        snprintf(text, bytes, "the directory belongs to uid %u, gid %u, mode %04o", about.st_uid,
                 about.st_gid, about.st_mode & 07777);
    else
        snprintf(text, bytes, "the directory is not there, and cannot be made");
}

static void describe_permission(const char *path, char *text, size_t bytes)
{
    char owner[96];
    describe_owner(path, owner, sizeof(owner));
    snprintf(
        text, bytes,
        "; this process is uid %u, gid %u, and %s: give it to that user with all that is in it "
        "(chown -R %u:%u on the host), or run as its owner (docker run --user; in Kubernetes "
        "fsGroup: %u)",
        geteuid(), getegid(), owner, geteuid(), getegid(), getegid());
}

static void describe_space(const char *path, char *text, size_t bytes)
{
    struct statvfs info;
    unsigned long long free_bytes = 0, free_files = 0;
    if (statvfs(path, &info) == 0) {
        free_bytes = (unsigned long long)info.f_bavail * info.f_frsize;
        free_files = info.f_favail;
    }
    snprintf(text, bytes,
             "; %llu bytes and %llu files are free there for this user: make room on that file "
             "system or enlarge it, and start again",
             free_bytes, free_files);
}

void remedy_describe(const char *path, int error, char *ret_text, size_t bytes)
{
    ret_text[0] = '\0';
    switch (error) {
    case -EACCES: describe_permission(path, ret_text, bytes); break;
    case -EROFS:
        snprintf(ret_text, bytes,
                 "; a log has to be written even to be opened: mount it for writing (docker run -v "
                 "without :ro; in Kubernetes without readOnly), or choose another directory with "
                 "--data");
        break;
    case -ENOSPC:
    case -EDQUOT: describe_space(path, ret_text, bytes); break;
    default: break;
    }
}
