#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "tests/power/driver.h"
#include "tests/power/writer.h"

static const char usage[] =
    "usage: power_driver kill [options]\n"
    "       power_driver cut [options]   (as root)\n"
    "\n"
    "  --cycles N        how many (kill: 200, cut: 25)\n"
    "  --seed N          repeat the choices of an earlier run (timing differs)\n"
    "  --io NAME         uring or posix; both in turn if not given\n"
    "  --direct HOW      on or off: O_DIRECT; auto and off in turn if not given\n"
    "  --moment MIN,MAX  milliseconds from the first acknowledgement to the end (20,150)\n"
    "  --parent DIR      where the working folder is made ($TMPDIR or /tmp)\n"
    "  --keep            keep the working folder, also after success\n"
    "  --writer PATH     power_writer, or power_writer_defects (the former, beside this program)\n"
    "  --defect NAME     have the writer switch on a planted defect (wal/defects.h)\n"
    "  --no-sync         the defect SKIP_DATA_SYNC\n"
    "  --expect-loss     succeed only if a violation is found\n"
    "cut only:\n"
    "  --fs NAME         ext4 (default) or xfs\n"
    "  --device-cache    cut the power of a disk with a volatile cache, not of the file system\n"
    "  --per-image N     cycles on one file system before a fresh one (5)\n";

static int parse(struct driver *driver, int argc, char **argv)
{
    static const struct option names[] = {
        {"cycles", required_argument, NULL, 'c'},
        {"seed", required_argument, NULL, 's'},
        {"io", required_argument, NULL, 'i'},
        {"direct", required_argument, NULL, 'O'},
        {"moment", required_argument, NULL, 'm'},
        {"parent", required_argument, NULL, 'p'},
        {"keep", no_argument, NULL, 'k'},
        {"writer", required_argument, NULL, 'w'},
        {"defect", required_argument, NULL, 'd'},
        {"no-sync", no_argument, NULL, 'n'},
        {"expect-loss", no_argument, NULL, 'e'},
        {"fs", required_argument, NULL, 'f'},
        {"device-cache", no_argument, NULL, 'D'},
        {"per-image", required_argument, NULL, 'P'},
        {NULL, 0, NULL, 0},
    };
    int letter;
    char *end;
    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (letter) {
        case 'c': driver->cycles = (unsigned)strtoul(optarg, NULL, 0); break;
        case 's': driver->seed = strtoull(optarg, NULL, 0); break;
        case 'i': driver->io = optarg; break;
        case 'O': driver->direct = optarg; break;
        case 'm':
            driver->moment_ms_min = (unsigned)strtoul(optarg, &end, 0);
            if (*end != ',')
                return -EINVAL;
            driver->moment_ms_max = (unsigned)strtoul(end + 1, NULL, 0);
            break;
        case 'p': driver->parent = optarg; break;
        case 'k': driver->keep = true; break;
        case 'w': driver->writer = optarg; break;
        case 'd': driver->defect = optarg; break;
        case 'n': driver->defect = "SKIP_DATA_SYNC"; break;
        case 'e': driver->expect_loss = true; break;
        case 'f': driver->fs = optarg; break;
        case 'D': driver->device_cache = true; break;
        case 'P': driver->per_image = (unsigned)strtoul(optarg, NULL, 0); break;
        default: return -EINVAL;
        }
    }
    if (strcmp(driver->fs, "ext4") != 0 && strcmp(driver->fs, "xfs") != 0)
        return -EINVAL;
    return driver->cycles > 0 && driver->per_image > 0 &&
                   driver->moment_ms_max >= driver->moment_ms_min
               ? 0
               : -EINVAL;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    bool cuts = strcmp(verb, "cut") == 0;
    const char *parent = getenv("TMPDIR");
    struct driver driver = {
        .verb = verb,
        .cycles = cuts ? 25 : 200,
        .moment_ms_min = 20,
        .moment_ms_max = 150,
        .fs = "ext4",
        .per_image = 5,
        .parent = parent ? parent : "/tmp",
        .journal_fd = -1,
    };
    char beside[4096];
    const char *slash = strrchr(argv[0], '/');
    (void)snprintf(beside, sizeof(beside), "%.*spower_writer",
                   slash ? (int)(slash - argv[0] + 1) : 0, argv[0]);
    driver.writer = beside;
    uint32_t seed = 0;
    if (getrandom(&seed, sizeof(seed), 0) < 0)
        seed = (uint32_t)getpid();
    driver.seed = seed;
    if ((!cuts && strcmp(verb, "kill") != 0) || parse(&driver, argc, argv) < 0) {
        (void)fputs(usage, stderr);
        return EXIT_USAGE;
    }
    int status = driver_open(&driver);
    if (status != 0)
        return status;

    status = cuts ? cut_open(&driver) : driver_new_journal(&driver);
    while (status == 0 && driver.cycle < driver.cycles && !driver_interrupted()) {
        driver.cycle++;
        status = cuts ? cut_cycle(&driver) : kill_cycle(&driver);
        if (driver.cycle % 50 == 0)
            (void)printf("power %s: %u cycles, %llu appends acknowledged\n", verb, driver.cycle,
                         (unsigned long long)driver.appends_acked);
        (void)fflush(stdout);
    }
    if (cuts)
        cut_close();
    return driver_close(&driver, status);
}
