/*
 * seccomp: the system calls that serving takes, from when all is set up to the end, and no others.
 * Sockets, rings and programs are not made any more by then. docker/seccomp.json is the longer list of
 * a whole life, from a container's start.
 *
 * What is not on the list is refused with ENOSYS, so that a C library newer than this list takes the
 * older call. Debug builds end the process instead, and so their tests find what is missing here.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/sandbox.h"
#include "wal/base.h"

static const int calls[] = {
    /* Files. Where they may lie is Landlock's. */
    SCMP_SYS(close),
    SCMP_SYS(fadvise64),
    SCMP_SYS(fallocate),
    SCMP_SYS(fcntl),
    SCMP_SYS(fdatasync),
    SCMP_SYS(flock),
    SCMP_SYS(fstat),
    SCMP_SYS(fstatfs),
    SCMP_SYS(fsync),
    SCMP_SYS(ftruncate),
    SCMP_SYS(getdents64),
    SCMP_SYS(lseek),
    SCMP_SYS(mkdirat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(openat),
    SCMP_SYS(openat2),
    SCMP_SYS(pread64),
    SCMP_SYS(preadv),
    SCMP_SYS(preadv2),
    SCMP_SYS(pwrite64),
    SCMP_SYS(pwritev),
    SCMP_SYS(pwritev2),
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(statfs),
    SCMP_SYS(statx),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(io_uring_enter),
    /* Connections, of listeners that are there. */
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(dup),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(eventfd2),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendfile),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown),
    /* Memory, threads, signals, time. */
    SCMP_SYS(brk),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(futex),
    SCMP_SYS(getegid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getpid),
    SCMP_SYS(getrandom),
    SCMP_SYS(getrusage),
    SCMP_SYS(gettid),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getuid),
    SCMP_SYS(madvise),
    SCMP_SYS(membarrier),
    SCMP_SYS(mremap),
    SCMP_SYS(munmap),
    SCMP_SYS(nanosleep),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(sysinfo),
    SCMP_SYS(time),
    SCMP_SYS(uname),
};

static int allow_plain(scmp_filter_ctx filter)
{
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Calls that are fine with some arguments. */
static int allow_some(scmp_filter_ctx filter)
{
    const pid_t self = getpid();
    /* Memory is never made executable. */
    const struct scmp_arg_cmp no_code = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, no_code);
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, no_code);
    /* Threads, no processes. clone3() is not on the list, since its flags cannot be seen. */
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    /* abort() */
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)self, 0));
    /* Limits are read, not set. */
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1,
                              SCMP_A2(SCMP_CMP_EQ, 0, 0));
    /* A tunnel behind TLS: two ends that lead to each other. */
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1,
                              SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0));
    /* How much a client has not taken yet. */
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                              SCMP_A1(SCMP_CMP_EQ, SIOCOUTQ, 0));
    return rc;
}

/* The C library tries this first and makes threads with clone() then: no reason to end anything. */
static int refuse_clone3(scmp_filter_ctx filter, bool kill)
{
    return kill ? seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) : 0;
}

/* What the end of a ring takes. A newer liburing marks the call with the topmost bit. */
static int allow_end_of_ring(scmp_filter_ctx filter)
{
    static const unsigned ends[] = {IORING_UNREGISTER_FILES, IORING_UNREGISTER_RING_FDS};
    int rc = 0;
    for (size_t i = 0; i < ARRAY_SIZE(ends) && rc == 0; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(io_uring_register), 1,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, 0x7fffffff, ends[i]));
    return rc;
}

static int set_ways(scmp_filter_ctx filter, uint32_t refusal)
{
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, refusal);
    if (rc == 0)
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    /* A binary tree: the length of the list costs nothing. */
    if (rc == 0)
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    /* Nothing foreign runs in here, so nothing is gained by slowing the processor down. */
    if (rc == 0)
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    return rc;
}

/* libseccomp (2.5.4) does not look whether it gets the memory that it asks for, and crashes where it gets
 * none: that there is some is made sure of before. It takes an eighth of this. */
static bool have_memory(void)
{
    void *pieces[16] = {NULL};
    bool enough = true;
    for (size_t i = 0; i < ARRAY_SIZE(pieces) && enough; i++) {
        pieces[i] = malloc(65536);
        enough = pieces[i] != NULL;
    }
    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++)
        free(pieces[i]);
    return enough;
}

void sandbox_calls_close(bool kill, struct sandbox_layer *layer)
{
    uint32_t refusal = kill ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(ENOSYS);
    scmp_filter_ctx filter = have_memory() ? seccomp_init(refusal) : NULL;
    int rc = filter ? set_ways(filter, refusal) : -ENOMEM;
    if (rc == 0)
        rc = allow_plain(filter);
    if (rc == 0)
        rc = allow_some(filter);
    if (rc == 0)
        rc = allow_end_of_ring(filter);
    if (rc == 0)
        rc = refuse_clone3(filter, kill);
    if (rc == 0)
        rc = seccomp_load(filter);
    if (filter)
        seccomp_release(filter);
    if (rc < 0)
        sandbox_say(layer, false, "seccomp refuses: %s", strerror(-rc));
    else
        sandbox_say(layer, true, "only the system calls that serving takes (seccomp)%s",
                    kill ? "; any other ends the process" : "");
}

void sandbox_calls_examine(struct sandbox_layer *layer)
{
    if (seccomp_api_get() >= 2)
        sandbox_say(layer, true, "only the system calls that serving takes (seccomp)");
    else
        sandbox_say(
            layer, false,
            "no seccomp filters here: the kernel was built without them, or a filter that is "
            "there forbids more");
}
