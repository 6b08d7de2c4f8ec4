/*
 * Somebody who has taken over the process: loaded into the program (LD_PRELOAD), it tries on SIGUSR2
 * what serving never does, on the thread that serves, and says what came of it. For sandbox.sh. On
 * SIGUSR1 it holds that thread up for three seconds, for notify.py.
 *
 *   INTRUDER_REPORT   the file that gets a line for each attempt: "read-outside EACCES"
 *   INTRUDER_DATA     the data directory
 *   INTRUDER_CALLS    if set, also system calls that are on no list
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int report_fd = -1;
static char inside[4096], through_link[4096], by_dots[4096], new_outside[4096];

static void report(const char *attempt, long rc)
{
    const char *error = rc < 0 ? strerrorname_np(errno) : "done";
    (void)dprintf(report_fd, "%s %s\n", attempt, error);
}

static void try_files(void)
{
    report("read-outside", open("/etc/passwd", O_RDONLY));
    report("list-outside", open("/", O_RDONLY | O_DIRECTORY));
    report("write-outside", open(new_outside, O_WRONLY | O_CREAT, 0600));
    report("through-link", open(through_link, O_RDONLY));
    report("by-dots", open(by_dots, O_RDONLY));
    report("inside", open(inside, O_RDONLY));
}

static void try_calls(void)
{
    char *const nothing[] = {NULL};
    struct io_uring_params parameters = {0};
    report("socket", socket(AF_INET, SOCK_STREAM, 0));
    report("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    report("ring", syscall(SYS_io_uring_setup, 4, &parameters));
    report("kill", kill(getppid(), 0));
    report("execute", execve("/bin/true", nothing, nothing));
}

static void intrude(int signal)
{
    int error = errno;
    try_files();
    if (getenv("INTRUDER_CALLS"))
        try_calls();
    report("end", 0);
    errno = error;
}

static void hold_up(int signal)
{
    struct timespec left = {.tv_sec = 3};
    int error = errno;
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        continue;
    errno = error;
}

static __attribute__((constructor)) void enter(void)
{
    struct sigaction hold = {.sa_handler = hold_up, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &hold, NULL);
    const char *path = getenv("INTRUDER_REPORT"), *data = getenv("INTRUDER_DATA");
    if (!path || !data)
        return;
    report_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    snprintf(inside, sizeof(inside), "%s/format", data);
    snprintf(through_link, sizeof(through_link), "%s/link", data);
    snprintf(new_outside, sizeof(new_outside), "%s.intruded", data);
    snprintf(by_dots, sizeof(by_dots), "%s/../outside", data);
    struct sigaction action = {.sa_handler = intrude, .sa_flags = SA_RESTART};
    sigaction(SIGUSR2, &action, NULL);
}
