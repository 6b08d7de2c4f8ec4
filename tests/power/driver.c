#include "tests/power/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/power/writer.h"

#define FIRST_ACK_US (30ull * 1000 * 1000)
#define END_US (90ull * 1000 * 1000)
#define WORDS_MAX 32
#define PIPE_BYTES (1 << 20)

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

bool driver_interrupted(void)
{
    return interrupted != 0;
}

uint64_t clock_us(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

void sleep_us(uint64_t us)
{
    struct timespec time = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    (void)nanosleep(&time, NULL);
}

void complain(const struct driver *driver, const char *format, ...)
{
    va_list values;
    (void)fprintf(stderr, "power %s: seed %llu cycle %u: ", driver->verb,
                  (unsigned long long)driver->seed, driver->cycle);
    va_start(values, format);
    (void)vfprintf(stderr, format, values);
    va_end(values);
    (void)fputc('\n', stderr);
}

const char *driver_io(const struct driver *driver)
{
    if (driver->io)
        return driver->io;
    return driver->cycle % 2 ? "posix" : "uring";
}

const char *driver_direct(const struct driver *driver)
{
    if (driver->direct)
        return driver->direct;
    return driver->cycle / 2 % 2 ? "off" : "auto";
}

/* ---- Start and end of a driver --------------------------------------------------------------- */

/* Containers often forbid io_uring. Then there is one backend to test, or none of those asked for. */
static int settle_io(struct driver *driver)
{
    struct io_uring_params params = {.flags = 0};
    int ring = driver->io && strcmp(driver->io, "uring") != 0
                   ? 0
                   : (int)syscall(SYS_io_uring_setup, 1, &params);
    if (ring > 0)
        close(ring);
    if (ring >= 0)
        return 0;
    (void)printf("power %s: %s: no io_uring: %s\n", driver->verb,
                 driver->io ? "skipped" : "posix only", strerror(errno));
    if (driver->io)
        return EXIT_SKIPPED;
    driver->io = "posix";
    return 0;
}

int driver_open(struct driver *driver)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: sleeps end early */
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    if (access(driver->writer, X_OK) < 0) {
        complain(driver, "%s: %s", driver->writer, strerror(errno));
        return EXIT_USAGE;
    }
    int rc = settle_io(driver);
    if (rc != 0)
        return rc;

    (void)snprintf(driver->folder, sizeof(driver->folder), "%s/power-%s-XXXXXX", driver->parent,
                   driver->verb);
    if (!mkdtemp(driver->folder)) {
        complain(driver, "%s: %s", driver->folder, strerror(errno));
        return EXIT_USAGE;
    }
    (void)snprintf(driver->dir, sizeof(driver->dir), "%s/store", driver->folder);
    driver->random = driver->seed;
    driver->began_us = clock_us();
    (void)printf("power %s: seed %llu, %u cycles, in %s\n", driver->verb,
                 (unsigned long long)driver->seed, driver->cycles, driver->folder);
    (void)fflush(stdout);
    return 0;
}

static int remove_entry(const char *path, const struct stat *info, int flag, struct FTW *where)
{
    return remove(path);
}

static const char *judge(const struct driver *driver, int *status)
{
    if (interrupted) {
        *status = EXIT_USAGE;
        return "interrupted";
    }
    if (driver->expect_loss && *status == EXIT_VIOLATION) {
        *status = 0;
        return "ok, the loss was found";
    }
    if (driver->expect_loss && *status == 0) {
        *status = EXIT_BROKEN;
        return "FAILED: nothing was found, but the writer was to lose records";
    }
    return *status == 0 ? "ok" : "FAILED";
}

int driver_close(struct driver *driver, int status)
{
    double seconds = (double)(clock_us() - driver->began_us) / 1e6;
    if (driver->journal_fd >= 0)
        close(driver->journal_fd);
    if (status != EXIT_SKIPPED) {
        const char *verdict = judge(driver, &status);
        (void)printf(
            "power %s: seed %llu, %u cycles, %llu appends acknowledged, %llu records "
            "compared, opened in at most %.0f ms, verified in at most %.0f ms, %.1f s: %s\n",
            driver->verb, (unsigned long long)driver->seed, driver->cycle,
            (unsigned long long)driver->appends_acked, (unsigned long long)driver->verified,
            (double)driver->ready_us_max / 1e3, (double)driver->verify_us_max / 1e3, seconds,
            verdict);
    }
    if ((status == 0 || status == EXIT_SKIPPED || interrupted) && !driver->keep)
        /* FTW_MOUNT: whatever happened, nothing mounted in there is emptied. */
        (void)nftw(driver->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    else
        (void)printf("power %s: kept for inspection: %s\n", driver->verb, driver->folder);
    return status;
}

int driver_new_journal(struct driver *driver)
{
    if (driver->journal_fd >= 0)
        close(driver->journal_fd);
    (void)snprintf(driver->journal, sizeof(driver->journal), "%s/journal", driver->folder);
    driver->journal_fd =
        open(driver->journal, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (driver->journal_fd < 0) {
        complain(driver, "%s: %s", driver->journal, strerror(errno));
        return EXIT_USAGE;
    }
    driver->run = 0;
    driver->content_seed = power_random(&driver->random, 1000000000);
    return 0;
}

/* ---- Children -------------------------------------------------------------------------------- */

static void child_exec(const struct driver *driver, char *const *words, int output, pid_t parent,
                       bool quiet)
{
    /* Nothing may outlive the driver: it would hold the mount, and the mount the loop device. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    (void)dup2(output, STDOUT_FILENO);
    int nowhere = quiet ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;
    if (nowhere >= 0)
        (void)dup2(nowhere, STDERR_FILENO);
    execv(driver->writer, words);
    _exit(127);
}

static int start(struct driver *driver, struct child *child, const char *verb, const char *io,
                 const char *direct, const char *const *more, bool quiet)
{
    char seed[32], run[32];
    const char *words[WORDS_MAX] = {driver->writer,  verb,     "--dir",    driver->dir, "--journal",
                                    driver->journal, "--seed", seed,       "--run",     run,
                                    "--io",          io,       "--direct", direct};
    size_t count = 14;
    (void)snprintf(seed, sizeof(seed), "%llu", (unsigned long long)driver->content_seed);
    (void)snprintf(run, sizeof(run), "%u", driver->run++);
    if (driver->defect) {
        words[count++] = "--defect";
        words[count++] = driver->defect;
    }
    while (more && *more && count < WORDS_MAX - 1)
        words[count++] = *more++;

    int ends[2];
    memset(child, 0, sizeof(*child));
    child->driver = driver;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        complain(driver, "pipe: %s", strerror(errno));
        return EXIT_USAGE;
    }
    (void)fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES); /* a writer should not wait for us */
    pid_t parent = getpid();
    child->pid = fork();
    if (child->pid == 0)
        child_exec(driver, (char *const *)words, ends[1], parent, quiet);
    close(ends[1]);
    child->output = ends[0];
    if (child->pid > 0)
        return 0;
    complain(driver, "fork: %s", strerror(errno));
    close(ends[0]);
    return EXIT_USAGE;
}

int child_start(struct driver *driver, struct child *child, const char *verb, const char *io,
                const char *direct, const char *const *more)
{
    return start(driver, child, verb, io, direct, more, false);
}

int child_start_doomed(struct driver *driver, struct child *child)
{
    return start(driver, child, "verify", driver_io(driver), driver_direct(driver), NULL, true);
}

/* Counts whole lines and leaves the beginning of the next one in the buffer. */
static void take_lines(struct child *child)
{
    size_t at = 0;
    for (struct line line; child->held - at >= sizeof(line); at += sizeof(line)) {
        memcpy(&line, child->buffer + at, sizeof(line));
        if (line.magic != LINE_MAGIC || line.kind >= LINE_KINDS)
            continue;
        if (line.kind == LINE_ERROR && child->lines[LINE_ERROR] == 0)
            child->error = line;
        child->lines[line.kind]++;
        if (line.kind == LINE_VERIFIED)
            child->driver->verified += line.offset;
        if (line.kind == LINE_READY && line.offset > child->driver->ready_us_max)
            child->driver->ready_us_max = line.offset;
        child->driver->appends_acked += line.kind == LINE_ACK;
    }
    child->held -= at;
    memmove(child->buffer, child->buffer + at, child->held);
}

static void journal_write(struct driver *driver, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t at = 0; at < size;) {
        ssize_t put = write(driver->journal_fd, bytes + at, size - at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            complain(driver, "journal: %s", strerror(errno));
            _exit(EXIT_USAGE); /* without its journal no verdict can be trusted */
        }
        at += (size_t)put;
    }
}

void journal_note(struct driver *driver, enum line_kind kind)
{
    struct line line = {.kind = (uint16_t)kind};
    line_finish(&line);
    journal_write(driver, &line, sizeof(line));
}

static void take_bytes(struct child *child)
{
    size_t room = sizeof(child->buffer) - child->held;
    ssize_t got = read(child->output, child->buffer + child->held, room);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got <= 0) {
        child->ended = true;
        return;
    }
    child->held += (size_t)got;
    /* Only whole lines go to the journal: the driver has lines of its own to put between them. */
    journal_write(child->driver, child->buffer,
                  child->held / sizeof(struct line) * sizeof(struct line));
    take_lines(child);
}

bool child_read(struct child *child, uint64_t us, enum line_kind until)
{
    uint64_t deadline_us = clock_us() + us;
    while (!child->ended && !interrupted && (until == 0 || child->lines[until] == 0)) {
        uint64_t now_us = clock_us();
        if (us > 0 && now_us >= deadline_us)
            break;
        uint64_t left_us = us > 0 ? deadline_us - now_us : 0;
        struct pollfd poll_fd = {.fd = child->output, .events = POLLIN};
        struct timespec timeout = {(time_t)(left_us / 1000000), (long)(left_us % 1000000) * 1000};
        int ready = ppoll(&poll_fd, 1, &timeout, NULL);
        if (ready > 0)
            take_bytes(child);
        else if (ready == 0)
            break;
    }
    return !child->ended;
}

int child_end(struct child *child, int signal_number)
{
    if (signal_number)
        (void)kill(child->pid, signal_number);
    uint64_t deadline_us = clock_us() + END_US;
    while (!child->ended && clock_us() < deadline_us) {
        struct pollfd poll_fd = {.fd = child->output, .events = POLLIN};
        if (interrupted)
            (void)kill(child->pid, SIGKILL);
        if (poll(&poll_fd, 1, 1000) > 0)
            take_bytes(child);
    }
    bool late = !child->ended;
    if (late)
        (void)kill(child->pid, SIGKILL);
    close(child->output);

    int status = 0;
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return late ? -ETIMEDOUT : status;
}

/* ---- Steps of a cycle ------------------------------------------------------------------------ */

int run_until_moment(struct driver *driver, struct child *child)
{
    (void)child_read(child, FIRST_ACK_US, LINE_ACK);
    if (interrupted) {
        (void)child_end(child, SIGKILL);
        return EXIT_USAGE;
    }
    if (child->lines[LINE_ACK] == 0) {
        bool hung = !child->ended;
        int status = child_end(child, SIGKILL);
        complain(driver, "no append was acknowledged: wait status %#x%s, first error %d (%s)",
                 (unsigned)status, hung ? ": it hung" : "", child->error.status,
                 strerror(-child->error.status));
        return EXIT_BROKEN;
    }
    uint64_t spread_us = (driver->moment_ms_max - driver->moment_ms_min) * 1000ull + 1;
    uint64_t us = driver->moment_ms_min * 1000ull + power_random(&driver->random, spread_us);
    (void)child_read(child, us ? us : 1, 0);
    return 0;
}

int check_killed(struct driver *driver, const struct child *child, int wait_status,
                 bool errors_allowed)
{
    if (wait_status == -ETIMEDOUT || !WIFSIGNALED(wait_status) ||
        WTERMSIG(wait_status) != SIGKILL) {
        complain(driver, "the writer was not killed by us, but ended with wait status %#x",
                 (unsigned)wait_status);
        return EXIT_BROKEN;
    }
    if (!errors_allowed && child->lines[LINE_ERROR] > 0) {
        char name[32];
        log_name(child->error.log, name);
        complain(driver, "an operation on %s failed on a healthy disk: %s", name,
                 strerror(-child->error.status));
        return EXIT_BROKEN;
    }
    return 0;
}

int run_verify(struct driver *driver, const char *io, const char *direct, bool expect_clean,
               bool leave_open)
{
    struct child child;
    const char *more[3] = {NULL};
    size_t count = 0;
    if (expect_clean)
        more[count++] = "--expect-clean";
    if (leave_open)
        more[count++] = "--leave-open";

    uint64_t began_us = clock_us();
    int rc = child_start(driver, &child, "verify", io, direct, more);
    if (rc != 0)
        return rc;
    int status = child_end(&child, 0);
    uint64_t took_us = clock_us() - began_us;
    if (took_us > driver->verify_us_max)
        driver->verify_us_max = took_us;
    if (status == 0)
        return 0;

    if (interrupted)
        return EXIT_USAGE;
    complain(driver, "verification (%s, direct %s) failed, wait status %#x%s", io, direct,
             (unsigned)status, status == -ETIMEDOUT ? ": it hung" : "");
    /* The store was open before, so if it cannot be opened now, all that was in it is lost. */
    if (status > 0 && WIFEXITED(status) &&
        (WEXITSTATUS(status) == EXIT_VIOLATION || WEXITSTATUS(status) == EXIT_STORE))
        return EXIT_VIOLATION;
    return EXIT_BROKEN;
}
