#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/load/load.h"
#include "wal/base.h"

#define READY_US (60 * SECOND_US)
#define FILES_US (90 * SECOND_US)
#define STOP_US (120 * SECOND_US)

/* ---- words that all share ---- */

void complain(const char *format, ...)
{
    va_list values;
    (void)fputs("FAILED: ", stdout);
    va_start(values, format);
    (void)vfprintf(stdout, format, values);
    va_end(values);
    (void)fputc('\n', stdout);
    (void)fflush(stdout);
}

bool is_planted(const struct program *program, const char *plant)
{
    return program->options->plant && strcmp(program->options->plant, plant) == 0;
}

uint64_t clock_us(void)
{
    struct timespec now;
    must(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * SECOND_US + (uint64_t)now.tv_nsec / 1000u;
}

void sleep_us(uint64_t us)
{
    struct timespec time = {(time_t)(us / SECOND_US), (long)(us % SECOND_US) * 1000};
    (void)nanosleep(&time, NULL);
}

uint64_t random_below(uint64_t *state, uint64_t limit)
{
    *state = splitmix64_of(*state);
    return *state % limit;
}

/* ---- files ---- */

/* The program lets a fifth of its files be connections. */
bool files_suffice(unsigned connections)
{
    struct rlimit files;
    uint64_t wanted = 5 * ((uint64_t)connections + 64);
    must(getrlimit(RLIMIT_NOFILE, &files) == 0);
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max >= wanted)
        return true;
    printf("skipped: %u connections want a hard limit of %llu open files, and it is %llu\n",
           connections, (unsigned long long)wanted, (unsigned long long)files.rlim_max);
    return false;
}

unsigned program_files(const struct program *program)
{
    char path[64];
    unsigned count = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)program->pid);
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count >= 2 ? count - 2 : 0; /* without "." and ".." */
}

int program_files_return(const struct program *program, unsigned files)
{
    bool planted = is_planted(program, "files");
    uint64_t until_us = clock_us() + (planted ? program->options->stall_s * SECOND_US : FILES_US);
    unsigned now = program_files(program);
    while (now > files && clock_us() < until_us) {
        sleep_us(20000);
        now = program_files(program);
    }
    if (now <= files)
        return 0;
    complain("the program had %u files open before, and has %u long after", files, now);
    return EXIT_VIOLATION;
}

uint64_t program_memory(const struct program *program)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)program->pid);
    FILE *file = fopen(path, "re");
    while (file && kib == 0 && fgets(line, sizeof(line), file)) {
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtoull(line + 6, NULL, 10);
    }
    if (file)
        (void)fclose(file);
    return kib * 1024;
}

/* ---- its life ---- */

static void path_in(const struct program *program, const char *name, char ret_path[600])
{
    (void)snprintf(ret_path, 600, "%s/%s", program->folder, name);
}

int program_open(struct program *program, const struct options *options)
{
    *program = (struct program){.options = options};
    (void)snprintf(program->folder, sizeof(program->folder), "%s/load-XXXXXX", options->parent);
    if (!mkdtemp(program->folder)) {
        complain("%s: %s", program->folder, strerror(errno));
        return EXIT_TROUBLE;
    }
    return 0;
}

static void execute(const struct program *program, int log, pid_t parent)
{
    char data[600];
    path_in(program, "data", data);
    const struct options *options = program->options;
    /* In its sandbox only root can count its files, as program_files() does. */
    const char *words[10 + SERVE_MAX + 1] = {
        options->program, "serve", "--data",    data,        "--listen",
        "127.0.0.1:0",    "--io",  options->io, "--sandbox", geteuid() == 0 ? "auto" : "off"};
    memcpy(words + 10, options->serve, sizeof(options->serve));
    /* Nothing may outlive the driver. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    execv(words[0], (char *const *)words);
    _exit(127);
}

int program_launch(struct program *program)
{
    char path[600];
    path_in(program, "log", path);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0) {
        complain("%s: %s", path, strerror(errno));
        return EXIT_TROUBLE;
    }
    program->log_begin = (long)lseek(log, 0, SEEK_END);
    program->port = 0;
    pid_t parent = getpid();
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        execute(program, log, parent);
    close(log);
    if (pid < 0) {
        complain("fork: %s", strerror(errno));
        return EXIT_TROUBLE;
    }
    program->pid = pid;
    return 0;
}

/* What this process has said, as far as it fits. */
static void read_log(const struct program *program, char *ret_text, size_t size)
{
    char path[600];
    path_in(program, "log", path);
    size_t bytes = 0;
    FILE *file = fopen(path, "re");
    if (file && fseek(file, program->log_begin, SEEK_SET) == 0)
        bytes = fread(ret_text, 1, size - 1, file);
    ret_text[bytes] = '\0';
    if (file)
        (void)fclose(file);
}

static bool has_said(const struct program *program, const char *what)
{
    char text[16384];
    read_log(program, text, sizeof(text));
    return strstr(text, what) != NULL;
}

/* Waits for its end. False: it has not come in time. */
static bool reap(struct program *program, uint64_t us, int *ret_status)
{
    uint64_t until_us = clock_us() + us;
    while (waitpid(program->pid, ret_status, WNOHANG) == 0) {
        if (clock_us() >= until_us)
            return false;
        sleep_us(1000);
    }
    program->pid = 0;
    return true;
}

bool program_is_running(struct program *program)
{
    int status = 0;
    if (program->pid && !reap(program, 0, &status)) /* still there */
        return true;
    if (program->port)
        complain("the program ended by itself, with wait status %#x", (unsigned)status);
    return false;
}

int program_start(struct program *program)
{
    static const char address[] = " listen=127.0.0.1:";
    uint64_t until_us = clock_us() + READY_US;
    int rc = program_launch(program);
    if (rc != 0)
        return rc;
    while (clock_us() < until_us && program_is_running(program)) {
        char text[16384];
        read_log(program, text, sizeof(text));
        const char *ready = strstr(text, "event=ready");
        const char *found = ready ? strstr(ready, address) : NULL;
        if (found && strchr(ready, '\n')) {
            program->port = (unsigned)strtoul(found + sizeof(address) - 1, NULL, 10);
            return 0;
        }
        sleep_us(2000);
    }
    if (!program->pid && strcmp(program->options->io, "uring") == 0 &&
        has_said(program, "io_uring")) {
        printf("skipped: the program has no io_uring here\n");
        return EXIT_SKIPPED;
    }
    complain("the program did not become ready");
    return EXIT_VIOLATION;
}

int program_kill(struct program *program)
{
    int status = 0;
    (void)kill(program->pid, SIGKILL);
    if (!reap(program, STOP_US, &status)) {
        complain("the program does not end on SIGKILL");
        return EXIT_TROUBLE;
    }
    program->port = 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return 0;
    complain("the program had ended before it was killed, with wait status %#x", (unsigned)status);
    return EXIT_VIOLATION;
}

int program_stop(struct program *program)
{
    int status = 0;
    (void)kill(program->pid, SIGTERM);
    if (!reap(program, STOP_US, &status)) {
        complain("the program has not ended within two minutes of SIGTERM");
        return EXIT_VIOLATION;
    }
    program->port = 0;
    if (status == 0 && has_said(program, "event=stopped"))
        return 0;
    complain("after SIGTERM the program ended with wait status %#x", (unsigned)status);
    return EXIT_VIOLATION;
}

static int remove_entry(const char *path, const struct stat *info, int flag, struct FTW *where)
{
    return remove(path);
}

static void show_log(const struct program *program)
{
    char path[600], text[8192];
    path_in(program, "log", path);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    if (fseek(file, -(long)sizeof(text) + 1, SEEK_END) < 0)
        rewind(file);
    size_t bytes = fread(text, 1, sizeof(text) - 1, file);
    text[bytes] = '\0';
    printf("--- what the program said last:\n%s\n--- kept: %s\n", text, program->folder);
    (void)fclose(file);
}

int program_close(struct program *program, int status)
{
    int ignored;
    if (program->pid) {
        (void)kill(program->pid, SIGCONT);
        (void)kill(program->pid, SIGKILL);
        (void)reap(program, STOP_US, &ignored);
    }
    if (status == EXIT_VIOLATION || status == EXIT_TROUBLE)
        show_log(program);
    else if (!program->options->keep)
        (void)nftw(program->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    return status;
}
