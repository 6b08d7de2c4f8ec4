#include "tests/power/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* XFS_IOC_GOINGDOWN, which ext4 and others took over; newer headers name it FS_IOC_SHUTDOWN. */
#define SHUTDOWN_IOCTL _IOR('X', 125, uint32_t)
#define SHUTDOWN_LOG_FLUSHED 1u
#define SHUTDOWN_LOG_LOST 2u

#define EXT4_BYTES (96ll << 20)
#define XFS_BYTES (320ll << 20) /* mkfs.xfs makes nothing below 300 MiB */

#define BUSY_TRIES 1500 /* of 10 ms: writes in flight hold a file of a killed process open */
#define LOOP_TRIES 100  /* others may take the free device that we were told of */

static const char path_variable[] = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";

static int failed(const char *what, const char *where)
{
    int error = errno;
    (void)fprintf(stderr, "power: %s %s: %s\n", what, where, strerror(error));
    return error ? -error : -EIO;
}

static void wait_ms(unsigned ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

static bool program_exists(const char *name)
{
    char path[256];
    const char *at = path_variable;
    while (*at) {
        size_t size = strcspn(at, ":");
        (void)snprintf(path, sizeof(path), "%.*s/%s", (int)size, at, name);
        if (access(path, X_OK) == 0)
            return true;
        at += size + (at[size] == ':');
    }
    return false;
}

/* Whether a loop device is to be had: the control device alone says little in a container. */
static int probe_loops(void)
{
    char device[32];
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
    int error = number < 0 ? errno : 0;
    if (control >= 0)
        close(control);
    if (error)
        return error;
    (void)snprintf(device, sizeof(device), "/dev/loop%d", number);
    return access(device, R_OK | W_OK) < 0 ? errno : 0;
}

int image_prepare(const char *fs, bool device_cache, char *reason)
{
    char mkfs[32];
    (void)snprintf(mkfs, sizeof(mkfs), "mkfs.%s", fs);
    int error = 0;
    reason[0] = '\0';
    if (geteuid() != 0) {
        error = EPERM;
        (void)snprintf(reason, 256, "not root");
    } else if (!program_exists(mkfs)) {
        error = ENOENT;
        (void)snprintf(reason, 256, "no %s", mkfs);
    } else if ((error = probe_loops()) != 0) {
        (void)snprintf(reason, 256, "no loop devices: %s", strerror(error));
    } else if (device_cache && access("/dev/fuse", R_OK | W_OK) < 0) {
        error = errno;
        (void)snprintf(reason, 256, "no /dev/fuse: %s", strerror(error));
    } else if (unshare(CLONE_NEWNS) < 0 ||
               mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        error = errno;
        (void)snprintf(reason, 256, "no mount namespace: %s", strerror(error));
    }
    return -error;
}

static int run(char *const *words)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)setenv("PATH", path_variable, 1);
        execvp(words[0], words);
        _exit(127);
    }
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status == 0)
        return 0;
    (void)fprintf(stderr, "power: %s failed, wait status %#x\n", words[0], (unsigned)status);
    return -EIO;
}

int image_make(struct image *image, const char *folder, const char *fs, bool device_cache)
{
    memset(image, 0, sizeof(*image));
    image->fs = fs;
    image->device_cache = device_cache;
    image->disk_control = -1;
    (void)snprintf(image->file, sizeof(image->file), "%s/image", folder);
    (void)snprintf(image->mount, sizeof(image->mount), "%s/mnt", folder);
    (void)snprintf(image->disk, sizeof(image->disk), "%s/disk", folder);
    if ((mkdir(image->mount, 0700) < 0 || mkdir(image->disk, 0700) < 0) && errno != EEXIST)
        return failed("mkdir", image->mount);

    /* Made anew, so that no block of an earlier file system is left in it. */
    bool xfs = strcmp(fs, "xfs") == 0;
    (void)unlink(image->file);
    int fd = open(image->file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc =
        fd < 0 || ftruncate(fd, xfs ? XFS_BYTES : EXT4_BYTES) < 0 ? failed("make", image->file) : 0;
    if (fd >= 0)
        close(fd);
    if (rc < 0)
        return rc;

    char *ext4_words[] = {(char[]){"mkfs.ext4"}, (char[]){"-q"}, (char[]){"-F"},
                          (char[]){"-m0"},       image->file,    NULL};
    char *xfs_words[] = {(char[]){"mkfs.xfs"}, (char[]){"-q"}, (char[]){"-f"}, image->file, NULL};
    return run(xfs ? xfs_words : ext4_words);
}

/* Attaches a file to a loop device that lets go of it as soon as nobody uses it. Returns the
 * device's descriptor. */
static int loop_attach(const char *file, char ret_device[32])
{
    int backing = open(file, O_RDWR | O_CLOEXEC);
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    struct loop_config config = {.fd = (uint32_t)backing, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
    int device = -1;
    for (int i = 0; backing >= 0 && control >= 0 && device < 0 && i < LOOP_TRIES; i++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
            break;
        (void)snprintf(ret_device, 32, "/dev/loop%d", number);
        device = open(ret_device, O_RDWR | O_CLOEXEC);
        if (device < 0)
            break;
        if (ioctl(device, LOOP_CONFIGURE, &config) < 0) {
            close(device);
            device = -1;
            if (errno != EBUSY)
                break;
            wait_ms(10);
        }
    }
    int rc = device < 0 ? failed("attach a loop device to", file) : device;
    if (backing >= 0)
        close(backing);
    if (control >= 0)
        close(control);
    return rc;
}

static int disk_start(struct image *image, uint64_t seed)
{
    int ends[2];
    char options[128];
    int fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse_fd < 0)
        return failed("open", "/dev/fuse");
    (void)snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse_fd);
    int rc = 0;
    if (mount("power", image->disk, "fuse", MS_NODEV | MS_NOSUID, options) < 0 ||
        pipe2(ends, O_CLOEXEC) < 0) {
        rc = failed("mount the disk on", image->disk);
        close(fuse_fd);
        return rc;
    }

    image->disk_mounted = true;
    image->disk_pid = fork();
    if (image->disk_pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[1]);
        cache_disk_serve(fuse_fd, image->file, ends[0], seed);
    }
    if (image->disk_pid < 0)
        rc = failed("start", "the disk");
    close(fuse_fd);
    close(ends[0]);
    image->disk_control = ends[1];
    return rc;
}

static void disk_wait(struct image *image)
{
    if (image->disk_control >= 0)
        close(image->disk_control);
    image->disk_control = -1;
    while (image->disk_pid > 0 && waitpid(image->disk_pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    image->disk_pid = 0;
}

int image_mount(struct image *image, uint64_t seed)
{
    char device[32], file[640];
    (void)snprintf(file, sizeof(file), "%s", image->file);
    if (image->device_cache) {
        int rc = disk_start(image, seed);
        if (rc < 0)
            return rc;
        (void)snprintf(file, sizeof(file), "%s/disk", image->disk);
    }

    int loop = loop_attach(file, device);
    if (loop < 0)
        return loop;
    /* A commit every few seconds would save some of what a missing sync ought to lose. */
    const char *options = strcmp(image->fs, "ext4") == 0 ? "commit=300" : "";
    int rc = mount(device, image->mount, image->fs, MS_NOATIME | MS_NODEV | MS_NOSUID, options);
    if (rc < 0)
        rc = failed("mount", device);
    else
        image->mounted = true;
    close(loop);
    return rc;
}

int image_cut(struct image *image, enum cut cut)
{
    if (cut == CUT_CACHE_LOST) {
        if (write(image->disk_control, &(char){DISK_LOSES_POWER}, 1) != 1)
            return failed("cut the power of", image->disk);
        disk_wait(image);
        return 0;
    }
    uint32_t flag = cut == CUT_LOG_LOST ? SHUTDOWN_LOG_LOST : SHUTDOWN_LOG_FLUSHED;
    int fd = open(image->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || ioctl(fd, SHUTDOWN_IOCTL, &flag) < 0 ? failed("shut down", image->mount) : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

static int unmount_when_idle(const char *where)
{
    for (int i = 0; i < BUSY_TRIES; i++) {
        if (umount2(where, UMOUNT_NOFOLLOW) == 0)
            return 0;
        if (errno != EBUSY)
            break;
        wait_ms(10);
    }
    int rc = failed("unmount", where);
    (void)umount2(where, MNT_DETACH);
    return rc;
}

int image_unmount(struct image *image)
{
    int rc = 0;
    if (image->mounted)
        rc = unmount_when_idle(image->mount);
    image->mounted = false;
    if (image->disk_mounted) {
        int disk_rc = unmount_when_idle(image->disk);
        rc = rc < 0 ? rc : disk_rc;
        disk_wait(image);
    }
    image->disk_mounted = false;
    return rc;
}
