/*
 * What is read of /proc is opened at the start and kept open: later the process may not be allowed to
 * open it any more.
 */
#include "api/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct {
    DIR *fds;
    int memory_fd;
    uint64_t started_us;
    bool is_open;
} kept;

static uint64_t micros(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000u + (uint64_t)time->tv_usec;
}

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) < 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* From Linux 6.2 on the size of the directory is the number; before that its entries are counted,
 * without the descriptor that it takes to read them. */
static uint64_t open_fds(void)
{
    struct stat info;
    if (stat("/proc/self/fd", &info) == 0 && info.st_size > 0)
        return (uint64_t)info.st_size;

    uint64_t count = 0;
    if (!kept.fds)
        return 0;
    rewinddir(kept.fds);
    for (struct dirent *entry; (entry = readdir(kept.fds));)
        count += entry->d_name[0] != '.';
    return count;
}

static void read_memory(struct process_stats *stats)
{
    char text[128];
    uint64_t size_pages, resident_pages;
    ssize_t bytes = pread(kept.memory_fd, text, sizeof(text) - 1, 0);
    text[bytes > 0 ? bytes : 0] = '\0';
    if (sscanf(text, "%" SCNu64 " %" SCNu64, &size_pages, &resident_pages) != 2)
        return;
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    stats->virtual_bytes = size_pages * page_bytes;
    stats->resident_bytes = resident_pages * page_bytes;
}

void process_stats(struct process_stats *ret_stats)
{
    struct process_stats stats = {0};
    struct rusage usage;
    struct rlimit files;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        stats.cpu_us = micros(&usage.ru_utime) + micros(&usage.ru_stime);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        stats.max_fds = files.rlim_cur;
    process_open();
    stats.open_fds = open_fds();
    read_memory(&stats);
    *ret_stats = stats;
}

static uint64_t read_started_us(void)
{
    /* The 22nd field; the second is the program's name in brackets, and may hold anything. */
    char line[1024];
    uint64_t ticks = 0;
    FILE *file = fopen("/proc/self/stat", "re");
    if (!file)
        return 0;
    size_t bytes = fread(line, 1, sizeof(line) - 1, file);
    fclose(file);
    line[bytes] = '\0';
    const char *rest = strrchr(line, ')');
    if (!rest || sscanf(rest,
                        ") %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                        "%*s %*s %" SCNu64,
                        &ticks) != 1)
        return 0;

    uint64_t started_us = ticks * (1000000u / (uint64_t)sysconf(_SC_CLK_TCK)); /* since boot */
    uint64_t boot_us = clock_us(CLOCK_BOOTTIME);
    uint64_t age_us = boot_us > started_us ? boot_us - started_us : 0;
    return clock_us(CLOCK_REALTIME) - age_us;
}

void process_open(void)
{
    if (kept.is_open)
        return;
    kept.is_open = true;
    kept.fds = opendir("/proc/self/fd");
    kept.memory_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    kept.started_us = read_started_us();
}

void process_close(void)
{
    if (!kept.is_open)
        return;
    if (kept.fds)
        closedir(kept.fds);
    if (kept.memory_fd >= 0)
        close(kept.memory_fd);
    kept.is_open = false;
}

uint64_t process_started_us(void)
{
    process_open();
    return kept.started_us;
}
