/*
 * wald doctor: what on this machine keeps the service from being safe or fast, and what to do about
 * it. It tries things rather than believing what is said about them: a ring with a durable write in
 * it, a direct write, some hundred synced writes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "server/disk.h"
#include "server/file_commands.h"
#include "server/files.h"
#include "server/sandbox.h"
#include "wal/base.h"
#include "wal/check.h"

#define LATENCY_WRITES 300
#define CLIENTS 64
/* 64 records of 100 bytes in one frame. */
#define GROUP_BYTES 8192u
#define FREE_BYTES_MIN (UINT64_C(1) << 30)
#define FILES_MIN 4096
/* No disk that a power cut leaves alone is as fast; one with a battery may be. */
#define SUSPICIOUS_US 15

enum { CHECKS_MAX = 24, TEXT_BYTES = 320 };

struct check {
    const char *name;
    bool is_problem;
    char text[TEXT_BYTES];
    char remedy[TEXT_BYTES];
};

struct doctor {
    const char *dir;
    struct check checks[CHECKS_MAX];
    unsigned count, problems;
    bool can_write;
};

static struct check *add(struct doctor *doctor, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void remedy(struct doctor *doctor, struct check *check, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static struct check *add(struct doctor *doctor, const char *name, const char *format, ...)
{
    must(doctor->count < CHECKS_MAX);
    struct check *check = &doctor->checks[doctor->count++];
    va_list arguments;
    check->name = name;
    va_start(arguments, format);
    vsnprintf(check->text, sizeof(check->text), format, arguments);
    va_end(arguments);
    return check;
}

/* It is a problem, and this is what to do. */
static void remedy(struct doctor *doctor, struct check *check, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(check->remedy, sizeof(check->remedy), format, arguments);
    va_end(arguments);
    doctor->problems += !check->is_problem;
    check->is_problem = true;
}

/* ---- facts ---- */

/* The number behind `key` in a file, -1 if there is none. */
static long long number_in(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    char line[512];
    long long number = -1;
    if (!file)
        return -1;
    while (number < 0 && fgets(line, sizeof(line), file)) {
        char *end, *digits = line + strlen(key);
        if (strncmp(line, key, strlen(key)) != 0)
            continue;
        number = strtoll(digits, &end, 10);
        if (end == digits)
            number = -1;
    }
    fclose(file);
    return number;
}

/* The limit of tasks in this process's control group, -1: none is known. */
static long long pids_limit(long long *ret_used)
{
    static const char mounted[] = "/sys/fs/cgroup";
    char line[1024], path[2300];
    long long limit = -1;
    FILE *file = fopen("/proc/self/cgroup", "re");
    *ret_used = -1;
    while (file && limit < 0 && fgets(line, sizeof(line), file)) {
        char *controllers = strchr(line, ':'),
             *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        group[strcspn(group, "\n")] = '\0';
        *group++ = '\0';
        const char *sub = strcmp(controllers + 1, "pids") == 0 ? "/pids" : "";
        if (controllers[1] != '\0' && *sub == '\0')
            continue;
        /* Inside of a container the group is often the root of what is mounted. */
        for (unsigned i = 0; i < 2 && limit < 0; i++) {
            const char *inner = i == 0 ? group : "";
            snprintf(path, sizeof(path), "%s%s%s/pids.max", mounted, sub, inner);
            limit = number_in(path, "");
            snprintf(path, sizeof(path), "%s%s%s/pids.current", mounted, sub, inner);
            *ret_used = number_in(path, "");
        }
    }
    if (file)
        fclose(file);
    return limit;
}

static void describe_limit(int resource, uint64_t unit, char *text, size_t bytes)
{
    struct rlimit limit;
    if (getrlimit((unsigned)resource, &limit) < 0)
        snprintf(text, bytes, "unknown");
    else if (limit.rlim_cur == RLIM_INFINITY)
        snprintf(text, bytes, "unlimited");
    else
        snprintf(text, bytes, "%" PRIu64, (uint64_t)limit.rlim_cur / unit);
}

static void look_at_kernel(struct doctor *doctor)
{
    struct utsname kernel;
    unsigned major = 0, minor = 0;
    if (uname(&kernel) < 0)
        return;
    struct check *check =
        add(doctor, "kernel", "%s %s on %s", kernel.sysname, kernel.release, kernel.machine);
    if (sscanf(kernel.release, "%u.%u", &major, &minor) == 2 &&
        (major < 5 || (major == 5 && minor < 11)))
        remedy(doctor, check,
               "io_uring as it is used here needs Linux 5.11 or newer. The service "
               "runs without it, slower.");
}

static void look_at_limits(struct doctor *doctor)
{
    char text[32];
    long long seccomp = number_in("/proc/self/status", "Seccomp:");
    long long disabled = number_in("/proc/sys/kernel/io_uring_disabled", "");
    long long used, pids = pids_limit(&used);
    struct rlimit files;

    add(doctor, "sysctl",
        disabled < 0 ? "kernel.io_uring_disabled is not there%.0lld"
                     : "kernel.io_uring_disabled is %lld",
        disabled);
    add(doctor, "seccomp",
        seccomp == 2   ? "a filter is on"
        : seccomp == 0 ? "off"
                       : "unknown, or strict");
    describe_limit(RLIMIT_MEMLOCK, 1024, text, sizeof(text));
    add(doctor, "memlock", "locked memory: %s KiB", text);
    if (pids >= 0)
        add(doctor, "pids", "tasks in the control group: %lld of %lld", used, pids);
    else
        add(doctor, "pids", "no limit of tasks in the control group is known");
    describe_limit(RLIMIT_NOFILE, 1, text, sizeof(text));
    struct check *check = add(doctor, "nofile", "open files: %s", text);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < FILES_MIN)
        remedy(doctor, check,
               "Each connection and each log in use takes one. Raise it to %d or "
               "more: ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of "
               "docker.",
               FILES_MIN);
}

/* ---- the directory ---- */

static void look_at_file_system(struct doctor *doctor)
{
    struct disk disk;
    struct statvfs space;
    disk_look(doctor->dir, &disk);
    bool in_memory = disk_is_in_memory(doctor->dir);
    struct check *check =
        add(doctor, "file system", "%s%s%s", disk.type[0] ? disk.type : "unknown",
            disk.is_remote ? ", remote" : "", disk.no_barriers ? ", mounted without barriers" : "");
    if (in_memory)
        remedy(doctor, check,
               "This is memory (%s): everything is lost when the machine stops. Use a "
               "directory on a disk; in a container, a volume.",
               disk.type[0] ? disk.type : "tmpfs");
    else if (disk.no_barriers)
        remedy(doctor, check,
               "A sync does not reach the medium: mount it without nobarrier or "
               "barrier=0.");
    else if (disk.is_remote)
        remedy(doctor, check,
               "What a sync is worth here is up to another machine or program: use a "
               "local file system such as ext4 or xfs.");
    if (statvfs(doctor->dir, &space) < 0)
        return;
    uint64_t free_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    check = add(doctor, "space", "%" PRIu64 " MiB free of %" PRIu64 " MiB", free_bytes >> 20,
                (uint64_t)space.f_blocks * space.f_frsize >> 20);
    if (free_bytes < FREE_BYTES_MIN)
        remedy(doctor, check,
               "Less than 1 GiB is left: appends are refused when it is used up. Make "
               "room, or use a larger disk.");
}

static void try_directory(struct doctor *doctor)
{
    struct wal_check found;
    int rc = wal_check_io(doctor->dir, STORE_IO_POSIX, STORE_DIRECT_OFF, &found);
    doctor->can_write = rc == 0;
    struct check *check = add(doctor, "directory", "%s: %s", doctor->dir,
                              rc == 0 ? "can be written to" : strerror(-rc));
    switch (rc) {
    case 0: break;
    case -EACCES:
    case -EPERM:
        remedy(doctor, check,
               "User %u may not write there: chown %u %s, or in Kubernetes set "
               "fsGroup.",
               (unsigned)geteuid(), (unsigned)geteuid(), doctor->dir);
        break;
    case -EROFS:
        remedy(doctor, check,
               "The file system is read-only: mount it for writing; in a container "
               "with --read-only give a volume for the data.");
        break;
    case -ENOENT: remedy(doctor, check, "Make it: mkdir -p %s", doctor->dir); break;
    case -ENOSPC:
    case -EDQUOT: remedy(doctor, check, "There is no room left: make some."); break;
    default:
        remedy(doctor, check,
               "No durable write could be made (%s). See the kernel's messages: "
               "dmesg.",
               found.reason);
    }
}

/* ---- the sandbox ---- */

static void look_at_sandbox(struct doctor *doctor)
{
    struct sandbox sandbox;
    if (!sandbox_examine(&sandbox)) {
        add(doctor, "sandbox", "none in this build");
        return;
    }
    const struct sandbox_layer *files = &sandbox.layers[SANDBOX_FILES];
    const struct sandbox_layer *calls = &sandbox.layers[SANDBOX_CALLS];
    struct check *check = add(doctor, "sandbox files", "%s", files->text);
    if (!files->active)
        remedy(
            doctor, check,
            "A service that is taken over could read and write what its user may: use Linux 5.19 "
            "or newer with landlock in lsm=, and in a container a seccomp profile that allows "
            "the landlock calls.");
    check = add(doctor, "sandbox calls", "%s", calls->text);
    if (!calls->active)
        remedy(doctor, check,
               "A service that is taken over could make any system call: use a kernel with "
               "CONFIG_SECCOMP_FILTER, and in a container a profile that allows seccomp().");
}

/* ---- io_uring ---- */

static void remedy_forbidden(struct doctor *doctor, struct check *check)
{
    if (number_in("/proc/sys/kernel/io_uring_disabled", "") > 0)
        remedy(doctor, check,
               "EPERM, since kernel.io_uring_disabled is not 0: sysctl -w "
               "kernel.io_uring_disabled=0 as root of the host.");
    else if (number_in("/proc/self/status", "Seccomp:") == 2)
        remedy(doctor, check,
               "EPERM, from a seccomp filter (Docker since 25.0 and containerd since "
               "2.0 have one): run with --security-opt seccomp= and a profile that "
               "allows io_uring_setup, io_uring_enter and io_uring_register.");
    else
        remedy(doctor, check, "EPERM, from a security module: see the audit log of the host.");
}

static void remedy_missing(struct doctor *doctor, struct check *check)
{
    if (number_in("/proc/self/status", "Seccomp:") == 2)
        remedy(doctor, check,
               "ENOSYS, from a seccomp filter (podman and CRI-O have one), or a "
               "kernel without io_uring: run with --security-opt seccomp= and a "
               "profile that allows the three io_uring calls.");
    else
        remedy(doctor, check,
               "ENOSYS: the kernel is older than 5.11, or was built without "
               "io_uring, or is a sandbox such as gVisor: use another one.");
}

static void try_uring(struct doctor *doctor)
{
    struct wal_check found;
    char limit[32];
    long long used;
    int rc = wal_check_io(doctor->dir, STORE_IO_URING, STORE_DIRECT_AUTO, &found);
    struct check *check = add(doctor, "io_uring", "%s", found.reason);
    switch (rc) {
    case 0: break;
    case -EPERM:
    case -EACCES: remedy_forbidden(doctor, check); break;
    case -ENOSYS: remedy_missing(doctor, check); break;
    case -ENOMEM:
        describe_limit(RLIMIT_MEMLOCK, 1024, limit, sizeof(limit));
        remedy(doctor, check,
               "ENOMEM: the limit of locked memory is %s KiB, which all processes of "
               "this user share: ulimit -l, LimitMEMLOCK= of systemd, --ulimit "
               "memlock= of docker; 1 MiB is plenty.",
               limit);
        break;
    case -ECANCELED:
    case -EAGAIN:
        remedy(doctor, check,
               "The kernel could not start its helper thread: the limit of tasks is "
               "used up (control group: %lld). Raise it: --pids-limit of docker, "
               "TasksMax= of systemd, ulimit -u.",
               pids_limit(&used));
        break;
    case -EMFILE:
    case -ENFILE: remedy(doctor, check, "Too many files are open: raise ulimit -n."); break;
    default: remedy(doctor, check, "The service falls back to system calls, which are slower.");
    }
}

static void try_direct(struct doctor *doctor)
{
    struct wal_check found;
    int rc = wal_check_io(doctor->dir, STORE_IO_AUTO, STORE_DIRECT_ON, &found);
    struct check *check = add(doctor, "O_DIRECT", "%s", rc == 0 ? "works" : found.reason);
    if (rc == -EINVAL || rc == -EOPNOTSUPP)
        remedy(doctor, check,
               "Writes go through the page cache, which is slower: use a file system "
               "with O_DIRECT, such as ext4 or xfs.");
    rc = wal_check_io(doctor->dir, STORE_IO_AUTO, STORE_DIRECT_AUTO, &found);
    add(doctor, "backend", "%s", found.reason);
}

/* ---- how fast ---- */

static void try_latency(struct doctor *doctor)
{
    uint32_t one[LATENCY_WRITES], group[LATENCY_WRITES];
    int rc = wal_check_latency(doctor->dir, LATENCY_WRITES, 4096, one);
    if (rc == 0)
        rc = wal_check_latency(doctor->dir, LATENCY_WRITES, GROUP_BYTES, group);
    if (rc < 0) {
        struct check *check = add(doctor, "sync", "cannot be measured: %s", strerror(-rc));
        remedy(doctor, check, "Durable writes fail here: see the line \"directory\" above.");
        return;
    }
    uint32_t p50 = one[LATENCY_WRITES / 2], p99 = one[LATENCY_WRITES * 99 / 100];
    uint32_t group_p50 = group[LATENCY_WRITES / 2];
    struct check *check =
        add(doctor, "sync", "%d durable writes of 4 KiB: p50 %" PRIu32 " us, p99 %" PRIu32 " us",
            LATENCY_WRITES, p50, p99);
    if (p50 < SUSPICIOUS_US && !disk_is_in_memory(doctor->dir))
        remedy(doctor, check,
               "Faster than a medium can be: unless there is a cache with a battery, "
               "something below says done too early. A virtual disk must not have "
               "cache=unsafe.");
    add(doctor, "prediction",
        "one client that waits for each append to one log: %" PRIu64 "/s (one sync each); %d such "
        "clients: %" PRIu64 "/s (half of them travel in each sync, the others wait for the next; "
        "8 KiB: p50 %" PRIu32 " us), unless the processor or the network is slower",
        UINT64_C(1000000) / (p50 + !p50), CLIENTS,
        UINT64_C(1000000) * (CLIENTS / 2) / (group_p50 + !group_p50), group_p50);
}

/* ---- the report ---- */

static void print_plain(const struct doctor *doctor)
{
    for (unsigned i = 0; i < doctor->count; i++) {
        const struct check *check = &doctor->checks[i];
        printf("%-8s %-12s %s\n", check->is_problem ? "PROBLEM" : "ok", check->name, check->text);
        if (check->is_problem)
            printf("%21s -> %s\n", "", check->remedy);
    }
    if (doctor->problems == 0)
        printf("nothing to remedy\n");
    else
        printf("%u to remedy\n", doctor->problems);
}

static void print_json(const struct doctor *doctor)
{
    printf("{\"directory\":");
    files_json_text(stdout, doctor->dir, strlen(doctor->dir));
    printf(",\"problems\":%u,\"checks\":[", doctor->problems);
    for (unsigned i = 0; i < doctor->count; i++) {
        const struct check *check = &doctor->checks[i];
        printf("%s{\"name\":\"%s\",\"ok\":%s,\"text\":", i ? "," : "", check->name,
               check->is_problem ? "false" : "true");
        files_json_text(stdout, check->text, strlen(check->text));
        if (check->is_problem) {
            printf(",\"remedy\":");
            files_json_text(stdout, check->remedy, strlen(check->remedy));
        }
        printf("}");
    }
    printf("]}\n");
}

int command_doctor(int argc, const char *const *argv)
{
    bool json = false;
    const struct files_option options[] = {
        {.name = "json", .help = "one JSON object on stdout", .flag = &json},
    };
    static const char about[] =
        "Looks at the kernel, the limits of this process and the disk under DIR (the present\n"
        "directory, if none is given), and says what to do about each problem. Writes, syncs and\n"
        "removes small files there (under 5 MiB); beside a service it takes the disk's time for a\n"
        "moment.\n";
    static const char statuses[] =
        "exit status: 0 nothing to remedy; 1 something to remedy; 64 usage; 74 output\n";
    const struct files_usage usage = {"[DIR]", about, statuses, options, ARRAY_SIZE(options), 0, 1};
    struct doctor doctor = {.dir = "."};
    const char *path = NULL;
    unsigned count;
    int status = files_options(&usage, argc, argv, &path, &count);
    if (status >= 0)
        return status;
    if (path)
        doctor.dir = path;
    look_at_kernel(&doctor);
    look_at_limits(&doctor);
    look_at_sandbox(&doctor);
    try_directory(&doctor);
    look_at_file_system(&doctor);
    if (doctor.can_write) {
        try_uring(&doctor);
        try_direct(&doctor);
        try_latency(&doctor);
    }
    if (json)
        print_json(&doctor);
    else
        print_plain(&doctor);
    return files_finish(doctor.problems > 0 ? FILES_DAMAGED : FILES_OK);
}
