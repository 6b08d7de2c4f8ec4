/* Nothing in the data directory leads out of it: wal/io_file.c, with openat2() and without. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/tempdir.h"
#include "wal/base.h"
#include "wal/io.h"

static int openat2_error; /* what a kernel without openat2() answers; 0: the real one is asked */
static unsigned openat2_calls;

/* Found by io_file.c before the system call. */
int openat2(int dir, const char *name, const struct open_how *how, size_t bytes);
int openat2(int dir, const char *name, const struct open_how *how, size_t bytes)
{
    openat2_calls++;
    if (openat2_error == 0)
        return (int)syscall(SYS_openat2, dir, name, how, bytes);
    errno = openat2_error;
    return -1;
}

static void assert_nothing_leads_outside(struct wal_io *io, int dir)
{
    static const unsigned ways[] = {WAL_OPEN_READ, WAL_OPEN_WRITE, WAL_OPEN_DIRECT};
    unsigned before = openat2_calls;

    assert_true(io->ops->open_dir(io, dir, "folder") < 0);
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
        assert_int_equal(io->ops->open_file(io, dir, "file", ways[i]), -ELOOP);
    assert_int_equal(io->ops->open_file(io, dir, "file", WAL_OPEN_CREATE | WAL_OPEN_WRITE),
                     -EEXIST);
    assert_true(io->ops->lock(io, dir, "file") < 0);

    /* While what is in it opens, and is for nobody else. */
    struct stat about;
    int handle = io->ops->open_file(io, dir, "own", WAL_OPEN_CREATE | WAL_OPEN_WRITE);
    assert_true(handle >= 0);
    assert_int_equal(fstat(handle, &about), 0);
    assert_int_equal(about.st_mode & 07777, 0600);
    io->ops->close(io, handle);
    assert_int_equal(io->ops->remove_file(io, dir, "own"), 0);
    assert_true(openat2_calls > before);
}

/* What somebody put into the data directory must not make the service read or write elsewhere. */
static void a_link_never_leads_outside(void **state)
{
    static const int errors[] = {0, ENOSYS, EPERM};
    char *path = tempdir_make();
    struct wal_io *io;

    assert_int_equal(wal_io_posix_new(false, &io), 0);
    int dir = io->ops->open_dir(io, WAL_IO_CWD, path);
    assert_true(dir >= 0);
    assert_int_equal(symlinkat("/etc", dir, "folder"), 0);
    assert_int_equal(symlinkat("/etc/passwd", dir, "file"), 0);
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        openat2_error = errors[i];
        assert_nothing_leads_outside(io, dir);
    }
    io->ops->close(io, dir);
    io->ops->free(io);
    free(path);
}

/* A path that the operator gave is the operator's. */
static void a_given_path_may_be_a_link(void **state)
{
    char *path = tempdir_make(), link[4096];
    struct wal_io *io;

    assert_int_equal(wal_io_posix_new(false, &io), 0);
    (void)snprintf(link, sizeof(link), "%s/link", path);
    assert_int_equal(symlink(path, link), 0);
    int dir = io->ops->open_dir(io, WAL_IO_CWD, link);
    assert_true(dir >= 0);
    io->ops->close(io, dir);
    io->ops->free(io);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_never_leads_outside),
        cmocka_unit_test(a_given_path_may_be_a_link),
    };

    (void)umask(022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
