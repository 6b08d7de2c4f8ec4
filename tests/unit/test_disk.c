/* server/disk.c: what a data directory lies on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/disk.h"
#include "tests/support/tempdir.h"
#include "wal/base.h"

static const char mounts[] =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
    "23 22 0:21 / /proc rw - proc proc rw\n"
    "24 22 8:2 / /fast rw,relatime - ext4 /dev/sda2 rw,nobarrier,data=ordered\n"
    "25 22 8:3 / /xfs rw,nobarrier shared:7 master:2 - xfs /dev/sda3 rw\n"
    "26 22 8:4 / /old rw - ext3 /dev/sda4 rw,barrier=0\n"
    "27 22 0:30 /export /nfs rw - nfs4 server:/export rw,vers=4.2\n"
    "28 22 0:31 / /ssh\\040fs rw - fuse.sshfs me@host:/ rw,user_id=0\n"
    "29 22 0:32 / /share rw - cifs //server/share rw\n"
    "30 22 0:33 / /vm rw - 9p host rw,trans=virtio\n"
    "31 22 8:5 / /named rw - ext4 /dev/nobarrier rw,note=nobarriers\n"
    "2 22 8:6 / /short rw - btrfs /dev/sda6\n"
    "32 22 broken\n";

/* A warning where there is no reason for one is soon not read any more. */
static void mounts_are_told_apart(void **state)
{
    static const struct {
        uint64_t id;
        const char *type;
        bool is_remote, no_barriers;
    } cases[] = {
        {22, "ext4", false, false}, {24, "ext4", false, true}, {25, "xfs", false, true},
        {26, "ext3", false, true},  {27, "nfs4", true, false}, {28, "fuse.sshfs", true, false},
        {29, "cifs", true, false},  {30, "9p", true, false},   {31, "ext4", false, false},
        {2, "btrfs", false, false}, {32, "", false, false},    {99, "", false, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char copy[sizeof(mounts)];
        struct disk disk;
        memcpy(copy, mounts, sizeof(mounts));
        FILE *file = fmemopen(copy, strlen(copy), "r");
        assert_non_null(file);
        disk_parse(file, cases[i].id, &disk);
        fclose(file);
        assert_string_equal(disk.type, cases[i].type);
        assert_int_equal(disk.is_remote, cases[i].is_remote);
        assert_int_equal(disk.no_barriers, cases[i].no_barriers);
    }
}

/* The real thing, on the machine the tests run on. */
static void the_type_of_a_real_directory_is_found(void **state)
{
    char *folder = tempdir_make();
    struct disk disk;
    disk_look(folder, &disk);
    assert_true(disk.type[0] != '\0');
    disk_look("/proc", &disk);
    assert_string_equal(disk.type, "proc");
    disk_look("/nowhere/at/all", &disk);
    assert_string_equal(disk.type, "");
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mounts_are_told_apart),
        cmocka_unit_test(the_type_of_a_real_directory_is_found),
    };

    return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
