/*
 * power_driver kill: kills a process at work, again and again on the same directory, and has what
 * is left compared with what was acknowledged. It proves recovery, framing, and that each append is
 * there once; it proves nothing about syncing, since a killed process takes no page cache with it.
 * For that see cut.c.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/power/driver.h"
#include "tests/power/writer.h"

/* Kills up to three processes while they recover, or soon after. */
static int kill_recoveries(struct driver *driver)
{
    uint64_t times = 1 + power_random(&driver->random, 3);
    for (uint64_t i = 0; i < times; i++) {
        struct child child;
        int rc =
            child_start(driver, &child, "verify", driver_io(driver), driver_direct(driver), NULL);
        if (rc != 0)
            return rc;
        (void)child_read(&child, 1 + power_random(&driver->random, 20000), 0);
        int status = child_end(&child, SIGKILL);
        /* One that had ended by itself was just quick; what it says still counts. */
        if (status == -ETIMEDOUT || (WIFEXITED(status) && WEXITSTATUS(status) != 0) ||
            (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)) {
            complain(driver, "a verification that was to be killed ended with wait status %#x",
                     (unsigned)status);
            return EXIT_BROKEN;
        }
    }
    return 0;
}

/* SIGTERM: every append that was taken is answered, and the status is 0. */
static int check_drained(struct driver *driver, const struct child *child, int status)
{
    if (status == 0 && child->lines[LINE_DRAINED] == 1 && child->lines[LINE_ERROR] == 0)
        return 0;
    complain(driver, "after SIGTERM: wait status %#x%s, %s, first error %d (%s)", (unsigned)status,
             status == -ETIMEDOUT ? ": it hung" : "",
             child->lines[LINE_DRAINED] ? "drained" : "not drained", child->error.status,
             strerror(-child->error.status));
    return EXIT_BROKEN;
}

int kill_cycle(struct driver *driver)
{
    struct child child;
    bool terminates = driver->cycle % 10 == 3;
    int rc = child_start(driver, &child, "work", driver_io(driver), driver_direct(driver), NULL);
    if (rc != 0)
        return rc;
    rc = run_until_moment(driver, &child);
    if (rc != 0)
        return rc;

    int status = child_end(&child, terminates ? SIGTERM : SIGKILL);
    if (driver_interrupted())
        return EXIT_USAGE;
    rc = terminates ? check_drained(driver, &child, status)
                    : check_killed(driver, &child, status, false);
    if (rc == 0 && driver->cycle % 10 == 7)
        rc = kill_recoveries(driver);
    if (rc != 0)
        return rc;
    /* The other backend reads what this one wrote, every other time. */
    const char *io = driver->cycle % 3 ? driver_io(driver) : "auto";
    return run_verify(driver, io, driver_direct(driver), terminates, driver->cycle % 4 == 1);
}
