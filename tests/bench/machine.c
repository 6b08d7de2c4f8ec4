/* What the benchmark runs on: names for the header, clocks, processor time, folders and memory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/support/splitmix64.h"
#include "wal/base.h"

#define TMPFS_MAGIC_NUMBER 0x01021994
#define RAMFS_MAGIC_NUMBER 0x858458f6

uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void sleep_until_ns(uint64_t when_ns)
{
    struct timespec when = {
        .tv_sec = (time_t)(when_ns / 1000000000u),
        .tv_nsec = (long)(when_ns % 1000000000u),
    };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
        continue;
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

double cpu_seconds_own(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

/* User time only: the kernel's work for this process is done by kernel threads, too, and is not
 * foreign. */
double cpu_seconds_foreign(void)
{
    unsigned long long user = 0, nice = 0;
    struct rusage usage;
    FILE *file = fopen("/proc/stat", "re");

    if (!file)
        return 0;
    if (fscanf(file, "cpu %llu %llu", &user, &nice) != 2)
        user = nice = 0;
    fclose(file);
    getrusage(RUSAGE_SELF, &usage);
    return (double)(user + nice) / (double)sysconf(_SC_CLK_TCK) - seconds_of(usage.ru_utime);
}

void window_open(struct window *window)
{
    window->cpu = cpu_seconds_own();
    window->foreign = cpu_seconds_foreign();
    window->begin_ns = now_ns();
}

void window_close(struct window *window)
{
    window->end_ns = now_ns();
    window->cpu = cpu_seconds_own() - window->cpu;
    window->foreign = cpu_seconds_foreign() - window->foreign;
}

void window_report(const struct window *window, const struct latency *latency, uint64_t operations,
                   uint64_t bytes, struct sample *ret_sample)
{
    double seconds = (double)(window->end_ns - window->begin_ns) / 1e9;
    double *value = ret_sample->value;

    value[METRIC_RATE] = (double)operations / seconds;
    value[METRIC_MBPS] = (double)bytes / 1e6 / seconds;
    value[METRIC_CPU] = operations ? window->cpu * 1e6 / (double)operations : (double)NAN;
    /* Clock ticks are coarse, so a short window can come out a little below zero. */
    value[METRIC_FOREIGN] = fmax(0, window->foreign * 100 / seconds);
    if (!latency || latency->count == 0)
        return;

    value[METRIC_P50] = latency_percentile_us(latency, 0.5);
    value[METRIC_P99] = latency_percentile_us(latency, 0.99);
    value[METRIC_P999] = latency_percentile_us(latency, 0.999);
    value[METRIC_MAX] = (double)latency->max_ns / 1e3;
}

/* The first line of a file of the kernel's, without its newline; "?" where there is none. */
static void line_read(char *ret_text, size_t capacity, const char *path)
{
    FILE *file = fopen(path, "re");

    snprintf(ret_text, capacity, "?");
    if (!file)
        return;
    if (fgets(ret_text, (int)capacity, file))
        ret_text[strcspn(ret_text, "\n")] = '\0';
    fclose(file);
}

static void cpu_describe(struct machine *machine)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");

    snprintf(machine->cpu, sizeof(machine->cpu), "?");
    while (file && fgets(line, sizeof(line), file)) {
        char *value = strchr(line, ':');

        if (strncmp(line, "model name", 10) != 0 || !value)
            continue;
        value[strcspn(value, "\n")] = '\0';
        snprintf(machine->cpu, sizeof(machine->cpu), "%.90s", value + 2);
        break;
    }
    if (file)
        fclose(file);
    machine->cores = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    machine->memory_gib =
        (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (double)(1u << 30);
}

/* The mount whose device is that of dir: type and options. */
static void file_system_describe(struct machine *machine, dev_t device)
{
    struct mntent *mount;
    struct stat info;
    FILE *table = setmntent("/proc/self/mounts", "re");

    snprintf(machine->file_system, sizeof(machine->file_system), "?");
    while (table && (mount = getmntent(table))) {
        if (stat(mount->mnt_dir, &info) == 0 && info.st_dev == device)
            snprintf(machine->file_system, sizeof(machine->file_system), "%.40s (%.100s)",
                     mount->mnt_type, mount->mnt_opts);
    }
    if (table)
        endmntent(table);
}

static void disk_describe(struct machine *machine, dev_t device)
{
    char path[128], link[256], cache[64], fua[16], scheduler[64];
    ssize_t bytes;

    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(device), minor(device));
    bytes = readlink(path, link, sizeof(link) - 1);
    link[bytes < 0 ? 0 : bytes] = '\0';
    const char *slash = strrchr(link, '/');

    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue/write_cache", major(device),
             minor(device));
    line_read(cache, sizeof(cache), path);
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue/fua", major(device), minor(device));
    line_read(fua, sizeof(fua), path);
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue/scheduler", major(device),
             minor(device));
    line_read(scheduler, sizeof(scheduler), path);
    snprintf(machine->disk, sizeof(machine->disk), "%.32s, write cache: %.32s, FUA %.8s, %.40s",
             slash ? slash + 1 : "?", cache, fua, scheduler);
}

/* Refuses what is not a disk, since nothing that is measured there means anything. */
int machine_describe(struct machine *machine, const char *dir)
{
    struct utsname name;
    struct statfs kind;
    struct stat info;

    if (stat(dir, &info) < 0 || statfs(dir, &kind) < 0)
        return -errno;
    if (kind.f_type == TMPFS_MAGIC_NUMBER || kind.f_type == RAMFS_MAGIC_NUMBER)
        return -ENOTBLK;

    if (uname(&name) < 0)
        return -errno;
    snprintf(machine->kernel, sizeof(machine->kernel), "%.60s %.20s", name.release, name.machine);
    cpu_describe(machine);
    file_system_describe(machine, info.st_dev);
    disk_describe(machine, info.st_dev);
    machine_load(machine->load_begin);
    return 0;
}

void machine_load(char ret_text[64])
{
    line_read(ret_text, 64, "/proc/loadavg");
}

int bench_dir_make(char *ret_path, size_t capacity, const char *parent)
{
    if ((size_t)snprintf(ret_path, capacity, "%s/wal_bench.XXXXXX", parent) >= capacity)
        return -ENAMETOOLONG;
    return mkdtemp(ret_path) ? 0 : -errno;
}

static int entry_remove(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)remove(path);
    return 0;
}

/* Without this the discards of freed blocks, which the file system sends at its next commit, would
 * fall into the measurement that comes after. */
void tree_settle(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)syncfs(fd);
    (void)syncfs(fd);
    close(fd);
}

void tree_remove(const char *path)
{
    char parent[600];

    (void)nftw(path, entry_remove, 32, FTW_DEPTH | FTW_PHYS);
    snprintf(parent, sizeof(parent), "%.500s", path);
    char *slash = strrchr(parent, '/');

    if (!slash || slash == parent)
        return;
    *slash = '\0';
    tree_settle(parent);
}

void *random_bytes_new(size_t size)
{
    uint64_t *words = aligned_alloc(BLOCK_BYTES, round_up(size, BLOCK_BYTES));
    uint64_t state = 0;

    must(words);
    must(getrandom(&state, sizeof(state), 0) == (ssize_t)sizeof(state));
    for (size_t i = 0; i < round_up(size, BLOCK_BYTES) / sizeof(*words); i++) {
        words[i] = splitmix64_next(&state); /* no zero sectors, nothing that compresses */
    }
    return words;
}
