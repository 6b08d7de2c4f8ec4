/*
 * power_driver cut: cuts the power of a real file system under a process at work, and has what is
 * left compared with what was acknowledged. Three kinds of cut. The first two shut the file system
 * down by ioctl, and all that it had only in memory is gone: pages, and metadata too unless the
 * journal is flushed. The third lets the file system be and stops the disk, one with a volatile
 * cache: sectors that no flush covered are lost or kept at random.
 *
 * Every acknowledgement counts, also one that arrives after the cut: if the library says durable
 * while the power fails, then it must be durable. But for one case. When a file system is shut down
 * under buffered writes, a sync on its way may drop their pages and still return 0: ext4 and XFS do,
 * and a plain program of write and fdatasync sees it. A machine that lost its power would have
 * returned nothing. So there, acknowledgements later than the shutdown are taken for unanswered.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/power/driver.h"
#include "tests/power/image.h"
#include "tests/power/writer.h"

static struct image image;

int cut_open(struct driver *driver)
{
    char reason[256];
    if (image_prepare(driver->fs, driver->device_cache, reason) < 0) {
        (void)printf("power cut: skipped: %s\n", reason);
        return EXIT_SKIPPED;
    }
    return 0;
}

void cut_close(void)
{
    (void)image_unmount(&image);
}

static enum cut next_cut(const struct driver *driver)
{
    if (driver->device_cache)
        return CUT_CACHE_LOST;
    /* Not in step with the backend and direct I/O, which alternate with the cycles. */
    return driver->cycle / 4 % 2 ^ driver->cycle % 2 ? CUT_LOG_LOST : CUT_LOG_FLUSHED;
}

static int cut_now(struct driver *driver)
{
    if (!driver->device_cache && strcmp(driver_direct(driver), "off") == 0)
        journal_note(driver, LINE_CUT);
    return image_cut(&image, next_cut(driver));
}

static int cut_and_kill(struct driver *driver, struct child *child)
{
    /* So that what failed before the cut is told from what failed by it. */
    (void)child_read(child, 0, 0);
    bool failed_early = child->lines[LINE_ERROR] > 0;
    int rc = cut_now(driver);
    (void)child_read(child, 1 + power_random(&driver->random, 5000), 0);
    int status = child_end(child, SIGKILL);
    if (rc < 0)
        return EXIT_USAGE;
    return check_killed(driver, child, status, !failed_early);
}

/* A process dies, the next one recovers from what the page cache holds, and only then the power
 * goes: what recovery has shown to its readers must have been made durable first. */
static int cut_in_recovery(struct driver *driver, bool restarted)
{
    struct child child;
    int rc = child_start_doomed(driver, &child);
    if (rc != 0)
        return rc;
    (void)child_read(&child, 1 + power_random(&driver->random, restarted ? 60000 : 30000), 0);
    rc = cut_now(driver);
    (void)child_end(&child, SIGKILL); /* however it fared: its disk was taken away */
    return rc < 0 ? EXIT_USAGE : 0;
}

static int remount(struct driver *driver)
{
    if (image_unmount(&image) < 0 ||
        image_mount(&image, power_random(&driver->random, 1u << 30)) < 0)
        return EXIT_USAGE;
    return 0;
}

static int fresh_image(struct driver *driver)
{
    if (image_make(&image, driver->folder, driver->fs, driver->device_cache) < 0)
        return EXIT_USAGE;
    (void)snprintf(driver->dir, sizeof(driver->dir), "%.590s/store", image.mount);
    return driver_new_journal(driver);
}

int cut_cycle(struct driver *driver)
{
    struct child child;
    int rc = (driver->cycle - 1) % driver->per_image == 0 ? fresh_image(driver) : 0;
    if (rc == 0)
        rc = remount(driver);
    if (rc == 0)
        rc = child_start(driver, &child, "work", driver_io(driver), driver_direct(driver), NULL);
    if (rc == 0)
        rc = run_until_moment(driver, &child);
    if (rc != 0)
        return rc;

    bool restarted = driver->cycle % 5 == 2;
    if (restarted) {
        rc = check_killed(driver, &child, child_end(&child, SIGKILL), false);
        rc = rc ? rc : cut_in_recovery(driver, true);
    } else {
        rc = cut_and_kill(driver, &child);
    }
    if (rc == 0)
        rc = remount(driver);
    if (rc == 0 && driver->cycle % 5 == 4) {
        rc = cut_in_recovery(driver, false);
        rc = rc ? rc : remount(driver);
    }
    if (rc == 0)
        rc = run_verify(driver, driver_io(driver), driver_direct(driver), false,
                        driver->cycle % 3 == 0);
    if (rc == 0)
        rc = image_unmount(&image) < 0 ? EXIT_USAGE : 0;
    return rc;
}
