/*
 * wal/io_probe.c: which backend a directory gets, and what an operator is told about it. Each probe
 * runs in a child process, which first takes away from itself what the test is about.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/tempdir.h"
#include "wal/base.h"
#include "wal/io.h"

#define NOBODY 65534

static char *folder;

static int setup(void **state)
{
    folder = tempdir_make();
    return 0;
}

static int teardown(void **state)
{
    tempdir_remove(folder);
    free(folder);
    return 0;
}

/* ---- probing in a child ---- */

struct outcome {
    bool prepared; /* else the surroundings did not let the test be set up */
    int rc;
    bool direct;
    char backend[16];
    char reason[160];
    int ring_rc;          /* of a ring made for use, after the probe's own */
    unsigned left_behind; /* names in the directory after the probe, other than "kept" */
};

static int count_name(void *context, const char *name, bool is_dir)
{
    unsigned *count = context;

    if (strcmp(name, "kept") != 0)
        ++*count;
    return 0;
}

static unsigned count_names(const char *path)
{
    struct wal_io *io;
    unsigned count = 0;
    int dir;

    if (wal_io_posix_new(false, &io) < 0)
        return UINT32_MAX;
    dir = io->ops->open_dir(io, WAL_IO_CWD, path);
    if (dir >= 0) {
        if (io->ops->list(io, dir, count_name, &count) < 0)
            count = UINT32_MAX;
        io->ops->close(io, dir);
    }
    io->ops->free(io);
    return count;
}

static void probe(const char *path, enum wal_io_choice choice, enum wal_direct_choice direct,
                  struct outcome *outcome)
{
    struct wal_io *io = NULL;
    struct wal_ring *ring;

    outcome->rc = wal_io_probe(path, choice, direct, &io, outcome->reason);
    if (io) {
        (void)snprintf(outcome->backend, sizeof(outcome->backend), "%s", io->ops->name);
        outcome->direct = io->direct;
        if (strcmp(io->reason, outcome->reason) != 0)
            outcome->rc = -EBADMSG;
        outcome->ring_rc = io->ops->ring_new(io, 256, -1, &ring);
        if (outcome->ring_rc == 0)
            io->ops->ring_free(ring);
        io->ops->free(io);
    }
    outcome->left_behind = count_names(path);
}

/* `prepare` runs in the child before the probe; false: it could not. */
static struct outcome probe_after(bool (*prepare)(void), const char *path,
                                  enum wal_io_choice choice, enum wal_direct_choice direct)
{
    struct outcome outcome = {0};
    int ends[2];
    int status;

    assert_int_equal(pipe(ends), 0);

    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        outcome.prepared = !prepare || prepare();
        if (outcome.prepared)
            probe(path, choice, direct, &outcome);
        _exit(write(ends[1], &outcome, sizeof(outcome)) != (ssize_t)sizeof(outcome));
    }
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &outcome, sizeof(outcome)), sizeof(outcome));
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);

    if (!outcome.prepared) {
        print_message("this process may not set that up here\n");
        skip();
    }
    assert_int_equal(outcome.ring_rc, 0);
    return outcome;
}

static struct outcome probe_here(enum wal_io_choice choice, enum wal_direct_choice direct)
{
    return probe_after(NULL, folder, choice, direct);
}

static void skip_without_uring(void)
{
    struct outcome outcome = probe_here(WAL_IO_URING, WAL_DIRECT_AUTO);

    if (outcome.rc < 0) {
        print_message("no io_uring here: %s\n", outcome.reason);
        skip();
    }
}

#define assert_mentions(text, part)                                                                \
    do {                                                                                           \
        if (!strstr(text, part))                                                                   \
            fail_msg("\"%s\" does not mention \"%s\"", text, part);                                \
    } while (0)

/* A sentence that ran out of room helps nobody. */
static void assert_complete(const char *reason)
{
    assert_in_range(strlen(reason), 10, 158);
}

/* ---- what a child takes away from itself ---- */

/* From now on the system call answers with the error. */
static bool forbid(unsigned number, unsigned error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error & SECCOMP_RET_DATA)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static bool forbid_setup(void)
{
    return forbid(SYS_io_uring_setup, EPERM);
}

static bool hide_setup(void)
{
    return forbid(SYS_io_uring_setup, ENOSYS);
}

static bool forbid_enter(void)
{
    return forbid(SYS_io_uring_enter, EPERM);
}

static bool hide_pwritev2(void)
{
    return forbid(SYS_pwritev2, ENOSYS);
}

static bool limit_locked_memory(rlim_t bytes)
{
    const struct rlimit limit = {.rlim_cur = bytes, .rlim_max = bytes};

    return setrlimit(RLIMIT_MEMLOCK, &limit) == 0;
}

/* As old kernels do for unprivileged users whose limit is too low. */
static bool lock_no_memory_and_say_so(void)
{
    return limit_locked_memory(0) && forbid(SYS_io_uring_setup, ENOMEM);
}

static bool be_nobody(void)
{
    return setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0;
}

/* A folder above ours may be closed to others. */
static bool own_folder_as_nobody(void)
{
    return chown(folder, NOBODY, NOBODY) == 0 && be_nobody() && access(folder, W_OK) == 0;
}

static bool lock_no_memory_as_nobody(void)
{
    return limit_locked_memory(0) && own_folder_as_nobody();
}

/* Too little for the ring of a store, enough for a tiny one. */
static bool lock_16_kib_as_nobody(void)
{
    return limit_locked_memory(16u << 10) && own_folder_as_nobody();
}

/* Enough for one ring, and not for two. */
static bool lock_64_kib_as_nobody(void)
{
    return limit_locked_memory(64u << 10) && own_folder_as_nobody();
}

static bool have_own_mounts(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static bool mount_read_only(void)
{
    return have_own_mounts() && mount(folder, folder, NULL, MS_BIND, NULL) == 0 &&
           mount(NULL, folder, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0;
}

/* Has no O_DIRECT, and no fallocate either. */
static bool mount_ramfs(void)
{
    return have_own_mounts() && mount("ramfs", folder, "ramfs", 0, NULL) == 0;
}

static bool mount_ramfs_and_forbid_setup(void)
{
    return mount_ramfs() && forbid_setup();
}

static bool mount_full_file_system(void)
{
    static const char block[WAL_BLOCK_BYTES];
    char path[4096];
    ssize_t written;
    int fd;

    if (!have_own_mounts() || mount("tmpfs", folder, "tmpfs", 0, "size=64k") != 0)
        return false;
    (void)snprintf(path, sizeof(path), "%s/kept", folder);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    do {
        written = write(fd, block, sizeof(block));
    } while (written > 0);
    (void)close(fd);
    return written < 0 && errno == ENOSPC;
}

/* ---- the choice ---- */

static void the_best_that_works_is_taken(void **state)
{
    struct outcome outcome;

    skip_without_uring();
    outcome = probe_here(WAL_IO_AUTO, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, 0);
    assert_string_equal(outcome.backend, "uring");
    assert_int_equal(outcome.left_behind, 0);
    if (outcome.direct)
        assert_string_equal(outcome.reason, "io_uring with O_DIRECT and per-write data sync");
    else
        assert_mentions(outcome.reason, "O_DIRECT refused");
}

static void a_demand_is_met(void **state)
{
    struct outcome outcome = probe_here(WAL_IO_POSIX, WAL_DIRECT_OFF);

    assert_int_equal(outcome.rc, 0);
    assert_string_equal(outcome.backend, "posix");
    assert_false(outcome.direct);
    assert_mentions(outcome.reason, "io_uring is switched off");
    assert_mentions(outcome.reason, "O_DIRECT off");
    assert_complete(outcome.reason);
    assert_int_equal(outcome.left_behind, 0);

    skip_without_uring();
    outcome = probe_here(WAL_IO_URING, WAL_DIRECT_OFF);
    assert_int_equal(outcome.rc, 0);
    assert_string_equal(outcome.backend, "uring");
    assert_false(outcome.direct);
    assert_int_equal(outcome.left_behind, 0);
}

/* What is left of earlier processes that were killed in their probes, one of them with the number of
 * this one, is in nobody's way and goes: killed often enough, they would fill the directory. */
static bool leave_probes_behind(void)
{
    const long numbers[] = {(long)getpid(), 1};
    char path[4096];

    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/.probe-%ld", folder, numbers[i]);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || close(fd) < 0)
            return false;
    }
    return true;
}

static void stale_probe_files_are_removed(void **state)
{
    struct outcome outcome = probe_after(leave_probes_behind, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);

    assert_int_equal(outcome.rc, 0);
    assert_int_equal(outcome.left_behind, 0);
}

/* ---- no io_uring ---- */

/* What a plain container does. The service still runs, and says what it runs on and why. */
static void a_forbidden_ring_falls_back_and_says_so(void **state)
{
    struct outcome outcome = probe_after(forbid_setup, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);

    assert_int_equal(outcome.rc, 0);
    assert_string_equal(outcome.backend, "posix");
    assert_mentions(outcome.reason, "io_uring_setup: EPERM; ");
    assert_complete(outcome.reason);
    if (access("/proc/sys/kernel/io_uring_disabled", F_OK) != 0 ||
        !strstr(outcome.reason, "kernel.io_uring_disabled"))
        assert_mentions(outcome.reason, "seccomp forbids it");

    outcome = probe_after(forbid_setup, folder, WAL_IO_URING, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, -EPERM);
    assert_mentions(outcome.reason, "io_uring_setup: EPERM; ");
    assert_complete(outcome.reason);
    assert_int_equal(outcome.left_behind, 0);
}

static void a_missing_ring_falls_back_and_says_so(void **state)
{
    struct outcome outcome = probe_after(hide_setup, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);

    assert_int_equal(outcome.rc, 0);
    assert_string_equal(outcome.backend, "posix");
    assert_mentions(outcome.reason, "io_uring_setup: ENOSYS; ");
    assert_mentions(outcome.reason, "seccomp hides it");
    assert_mentions(outcome.reason, "5.11");
    assert_complete(outcome.reason);

    outcome = probe_after(hide_setup, folder, WAL_IO_URING, WAL_DIRECT_ON);
    assert_int_equal(outcome.rc, -ENOSYS);
    assert_mentions(outcome.reason, "io_uring_setup: ENOSYS; ");
    assert_int_equal(outcome.left_behind, 0);
}

/* A profile that lets rings be made and not be used is found out by the write. */
static void a_ring_that_may_not_be_entered_falls_back(void **state)
{
    struct outcome outcome;

    skip_without_uring();
    outcome = probe_after(forbid_enter, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, 0);
    assert_string_equal(outcome.backend, "posix");
    assert_mentions(outcome.reason, "io_uring write: EPERM; ");

    outcome = probe_after(forbid_enter, folder, WAL_IO_URING, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, -EPERM);
    assert_int_equal(outcome.left_behind, 0);
}

static void a_limit_of_locked_memory_is_named(void **state)
{
    struct outcome outcome =
        probe_after(lock_no_memory_and_say_so, folder, WAL_IO_URING, WAL_DIRECT_AUTO);

    assert_int_equal(outcome.rc, -ENOMEM);
    assert_mentions(outcome.reason, "ENOMEM; locked memory limit 0 KiB");

    outcome = probe_after(lock_no_memory_and_say_so, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, 0);
    assert_string_equal(outcome.backend, "posix");
    assert_mentions(outcome.reason, "locked memory limit 0 KiB");
    assert_complete(outcome.reason);
}

/* Some kernels hold an unprivileged user's rings to the limit (before 5.12, and 6.18 again), and
 * count one still for a while after it was closed. What the probe chose has to work all the same. */
static void a_choice_under_a_limit_of_locked_memory_works(void **state)
{
    struct outcome outcome;

    skip_without_uring();
    outcome = probe_after(lock_no_memory_as_nobody, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, 0);
    if (!strcmp(outcome.backend, "uring"))
        print_message("RLIMIT_MEMLOCK has no effect on rings of this kernel\n");
    else
        assert_mentions(outcome.reason, "ENOMEM; locked memory limit 0 KiB");

    outcome = probe_after(lock_16_kib_as_nobody, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, 0);
    outcome = probe_after(lock_64_kib_as_nobody, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, 0);
    assert_string_equal(outcome.backend, "uring");
}

/* ---- no O_DIRECT, no directory, no room ---- */

static void a_file_system_without_direct_writing(void **state)
{
    struct outcome outcome = probe_after(mount_ramfs, folder, WAL_IO_AUTO, WAL_DIRECT_ON);

    assert_int_equal(outcome.rc, -EINVAL);
    assert_mentions(outcome.reason, "the file system refuses O_DIRECT");
    assert_int_equal(outcome.left_behind, 0);

    outcome = probe_after(mount_ramfs, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, 0);
    assert_false(outcome.direct);
    assert_mentions(outcome.reason, "O_DIRECT refused");
    assert_complete(outcome.reason);
    assert_int_equal(outcome.left_behind, 0);

    outcome = probe_after(mount_ramfs_and_forbid_setup, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, 0);
    assert_string_equal(outcome.backend, "posix");
    assert_false(outcome.direct);
    assert_mentions(outcome.reason, "O_DIRECT refused");
    assert_mentions(outcome.reason, "io_uring_setup: EPERM");
    assert_complete(outcome.reason);
}

/* gVisor and old kernels have no pwritev2() with flags; a sync of its own does the same. */
static void a_missing_pwritev2_is_made_up_for(void **state)
{
    for (int direct = WAL_DIRECT_AUTO; direct <= WAL_DIRECT_OFF; direct++) {
        struct outcome outcome = probe_after(hide_pwritev2, folder, WAL_IO_POSIX, direct);

        assert_int_equal(outcome.rc, 0);
        assert_string_equal(outcome.backend, "posix");
    }
}

static void a_directory_that_cannot_be_written_is_named_as_the_fault(void **state)
{
    struct outcome outcome;
    char path[4096];

    outcome = probe_after(mount_read_only, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, -EROFS);
    assert_mentions(outcome.reason, "create a file in the directory: EROFS");

    outcome = probe_after(be_nobody, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, -EACCES);
    assert_mentions(outcome.reason, "EACCES");

    (void)snprintf(path, sizeof(path), "%s/none", folder);
    outcome = probe_after(NULL, path, WAL_IO_AUTO, WAL_DIRECT_AUTO);
    assert_int_equal(outcome.rc, -ENOENT);
    assert_mentions(outcome.reason, "open the directory: ENOENT");
}

static void a_full_file_system_is_an_error_and_left_as_it_was(void **state)
{
    struct outcome outcome =
        probe_after(mount_full_file_system, folder, WAL_IO_AUTO, WAL_DIRECT_AUTO);

    assert_int_equal(outcome.rc, -ENOSPC);
    assert_mentions(outcome.reason, "ENOSPC");
    assert_int_equal(outcome.left_behind, 0);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(the_best_that_works_is_taken),
        WITH_FOLDER(a_demand_is_met),
        WITH_FOLDER(stale_probe_files_are_removed),
        WITH_FOLDER(a_forbidden_ring_falls_back_and_says_so),
        WITH_FOLDER(a_missing_ring_falls_back_and_says_so),
        WITH_FOLDER(a_ring_that_may_not_be_entered_falls_back),
        WITH_FOLDER(a_limit_of_locked_memory_is_named),
        WITH_FOLDER(a_choice_under_a_limit_of_locked_memory_works),
        WITH_FOLDER(a_file_system_without_direct_writing),
        WITH_FOLDER(a_missing_pwritev2_is_made_up_for),
        WITH_FOLDER(a_directory_that_cannot_be_written_is_named_as_the_fault),
        WITH_FOLDER(a_full_file_system_is_an_error_and_left_as_it_was),
    };

    return cmocka_run_group_tests_name("io_probe", tests, NULL, NULL) > 0;
}
