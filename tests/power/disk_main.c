/*
 * power_disk FOLDER COMMAND...: runs a command that finds, in its environment,
 *
 *   POWER_DISK     a directory: an ext4 on a disk that can be told to fail
 *   POWER_DEVICE   the file that the disk is, to mount again by `mount -o loop`
 *   POWER_CONTROL  the number of a descriptor: what is written to it the disk is told (image.h)
 *
 * and ends with its status. Nothing of it stays behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/power/image.h"

#define SKIPPED 77
#define TROUBLE 2
#define CONTROL_FD 9

static struct image image;

static void run_command(char **words)
{
    char device[640], control[16];
    (void)snprintf(device, sizeof(device), "%s/disk", image.disk);
    (void)snprintf(control, sizeof(control), "%d", CONTROL_FD);
    (void)setenv("POWER_DISK", image.mount, 1);
    (void)setenv("POWER_DEVICE", device, 1);
    (void)setenv("POWER_CONTROL", control, 1);
    if (dup2(image.disk_control, CONTROL_FD) == CONTROL_FD)
        execvp(words[0], words);
    perror(words[0]);
    _exit(TROUBLE);
}

int main(int argc, char **argv)
{
    char reason[256];
    if (argc < 3)
        return TROUBLE;
    if (image_prepare("ext4", true, reason) < 0) {
        printf("skipped: %s\n", reason);
        return SKIPPED;
    }
    if (image_make(&image, argv[1], "ext4", true) < 0 || image_mount(&image, 1) < 0)
        return TROUBLE;
    pid_t pid = fork();
    if (pid == 0)
        run_command(argv + 2);
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    (void)image_unmount(&image); /* what it is worth the command has said */
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : TROUBLE;
}
