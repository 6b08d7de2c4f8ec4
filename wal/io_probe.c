/*
 * Which backend a data directory gets. Each candidate, the best first, makes one durable write in
 * it, through the same ring that commits will use; the first that manages is taken. Whatever it
 * cost to get there is said in one sentence, since a service that runs slower than it could must
 * not do so in silence.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/io.h"

#define REASON_BYTES sizeof(((struct wal_io *)NULL)->reason)

/* A ring as large as a store's is by default: a smaller one could fit the limit of locked memory
 * where that does not. */
#define PROBE_RING_ENTRIES 256

/* Where a candidate failed, which tells much about why. */
enum probe_step { PROBE_NEW, PROBE_DIR, PROBE_FILE, PROBE_RING, PROBE_WRITE, PROBE_DONE };

struct attempt {
    bool uring;
    bool direct;
    enum probe_step step;
    int error;
};

static const char *error_name(int error)
{
    const char *name = strerrorname_np(-error);

    return name ? name : "unknown error";
}

static const char *error_text(int error)
{
    const char *text = strerrordesc_np(-error);

    return text ? text : "unknown error";
}

/* ---- the likely cause of a refusal ---- */

/* The number behind `key` in a file of /proc, -1 if there is none. */
static long proc_number(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    char line[256];
    long number = -1;

    if (!file)
        return -1;

    while (number < 0 && fgets(line, sizeof(line), file)) {
        if (!strncmp(line, key, strlen(key)))
            number = strtol(line + strlen(key), NULL, 10);
    }
    (void)fclose(file);
    return number;
}

static void describe_forbidden(char *text, size_t bytes)
{
    long disabled = proc_number("/proc/sys/kernel/io_uring_disabled", "");

    if (disabled > 0)
        (void)snprintf(text, bytes, "kernel.io_uring_disabled=%ld", disabled);
    else if (proc_number("/proc/self/status", "Seccomp:") > 0)
        (void)snprintf(text, bytes, "seccomp forbids it (container runtimes do by default)");
    else
        (void)snprintf(text, bytes, "a security policy forbids it");
}

static void describe_missing(char *text, size_t bytes)
{
    struct utsname kernel;

    if (proc_number("/proc/self/status", "Seccomp:") > 0)
        (void)snprintf(text, bytes, "seccomp hides it, or the kernel is too old (5.11 is needed)");
    else if (uname(&kernel) == 0)
        (void)snprintf(text, bytes, "kernel too old (%.24s, 5.11 is needed) or built without",
                       kernel.release);
}

static void describe_memory(char *text, size_t bytes)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        (void)snprintf(text, bytes, "locked memory limit %llu KiB",
                       (unsigned long long)limit.rlim_cur / 1024);
    else
        (void)snprintf(text, bytes, "out of memory");
}

/* Why there is no io_uring: what was asked for, the errno, and what is likely behind it. */
static void describe_uring(const struct attempt *attempt, char *text, size_t bytes)
{
    char cause[80] = "";
    const char *call = attempt->step == PROBE_WRITE ? "io_uring write" : "io_uring_setup";

    switch (attempt->error) {
    case -EPERM:
    case -EACCES: describe_forbidden(cause, sizeof(cause)); break;
    case -ENOSYS: describe_missing(cause, sizeof(cause)); break;
    case -ENOMEM: describe_memory(cause, sizeof(cause)); break;
    case -ECANCELED:
        (void)snprintf(cause, sizeof(cause), "no worker for it: the limit of processes is too low");
        break;
    default: (void)snprintf(cause, sizeof(cause), "%s", error_text(attempt->error)); break;
    }
    (void)snprintf(text, bytes, "%s: %s; %s", call, error_name(attempt->error), cause);
}

static void describe_failure(const struct attempt *attempt, char *text, size_t bytes)
{
    static const char *const steps[] = {
        [PROBE_NEW] = "start",
        [PROBE_DIR] = "open the directory",
        [PROBE_FILE] = "create a file in the directory",
        [PROBE_RING] = "start its threads",
        [PROBE_WRITE] = "write durably to a file in the directory",
    };

    (void)snprintf(text, bytes, "cannot %s: %s; %s", steps[attempt->step],
                   error_name(attempt->error), error_text(attempt->error));
}

/* ---- one candidate ---- */

/* The write as a commit does it, on a file that is open. */
static int probe_write(struct wal_io *io, int handle, enum probe_step *step)
{
    static const _Alignas(WAL_BLOCK_BYTES) unsigned char block[WAL_BLOCK_BYTES];
    struct wal_op op = {
        .kind = WAL_OP_WRITE_DURABLE, .handle = handle, .data = block, .size = sizeof(block)};
    struct wal_ring *ring;
    struct wal_op *done;
    int rc;

    *step = PROBE_RING;
    rc = io->ops->ring_new(io, PROBE_RING_ENTRIES, -1, &ring);
    if (rc < 0)
        return rc;

    *step = PROBE_WRITE;
    io->ops->ring_submit(ring, &op);
    do {
        done = io->ops->ring_wait(ring, UINT64_MAX);
    } while (!done);
    must(done == &op && !done->next);
    io->ops->ring_free(ring);

    if (op.result < 0)
        return (int)op.result;
    if ((uint64_t)op.result != op.size)
        return -EIO;

    *step = PROBE_DONE;
    return 0;
}

#define PROBE_PREFIX ".probe-"

struct leftovers {
    struct wal_io *io;
    int dir;
};

static int remove_leftover(void *context, const char *name, bool is_dir)
{
    const struct leftovers *leftovers = context;

    if (!is_dir && !strncmp(name, PROBE_PREFIX, strlen(PROBE_PREFIX)))
        (void)leftovers->io->ops->remove_file(leftovers->io, leftovers->dir, name);
    return 0;
}

/* The file has a name for a moment only, so that a process that is killed while its disk is slow
 * leaves none behind; one that is killed in that moment does, until the next probe here. To another
 * process that probes at the same time it makes no difference whose hand takes the name away. */
static int probe_file(struct wal_io *io, int dir, enum probe_step *step)
{
    struct leftovers leftovers = {io, dir};
    char name[32];
    unsigned flags = WAL_OPEN_WRITE | WAL_OPEN_CREATE | (io->direct ? WAL_OPEN_DIRECT : 0);
    int handle;
    int rc;

    *step = PROBE_FILE;
    (void)io->ops->list(io, dir, remove_leftover, &leftovers);
    (void)snprintf(name, sizeof(name), PROBE_PREFIX "%ld", (long)getpid());
    handle = io->ops->open_file(io, dir, name, flags);
    if (handle < 0)
        return handle;

    (void)io->ops->remove_file(io, dir, name);
    rc = probe_write(io, handle, step);
    io->ops->close(io, handle);
    return rc;
}

static int try_candidate(const char *path, struct attempt *attempt, struct wal_io **ret_io)
{
    struct wal_io *io;
    int dir;
    int rc;

    attempt->step = PROBE_NEW;
    rc = attempt->uring ? wal_io_uring_new(attempt->direct, &io)
                        : wal_io_posix_new(attempt->direct, &io);
    if (rc < 0)
        return rc;

    attempt->step = PROBE_DIR;
    dir = io->ops->open_dir(io, WAL_IO_CWD, path);
    rc = dir;
    if (dir >= 0) {
        rc = probe_file(io, dir, &attempt->step);
        io->ops->close(io, dir);
    }
    if (rc < 0) {
        io->ops->free(io);
        return rc;
    }
    *ret_io = io;
    return 0;
}

/* ---- the choice ---- */

static bool is_wanted(const struct attempt *attempt, enum wal_io_choice choice,
                      enum wal_direct_choice direct)
{
    return !(choice == WAL_IO_URING && !attempt->uring) &&
           !(choice == WAL_IO_POSIX && attempt->uring) &&
           !(direct == WAL_DIRECT_ON && !attempt->direct) &&
           !(direct == WAL_DIRECT_OFF && attempt->direct);
}

static bool is_refusal_of_direct(const struct attempt *attempt)
{
    return attempt->direct && (attempt->step == PROBE_FILE || attempt->step == PROBE_WRITE) &&
           (attempt->error == -EINVAL || attempt->error == -EOPNOTSUPP);
}

static bool is_refusal_of_uring(const struct attempt *attempt)
{
    return attempt->uring && (attempt->step == PROBE_RING || attempt->step == PROBE_WRITE) &&
           !is_refusal_of_direct(attempt);
}

static bool is_refusal_of_ring(const struct attempt *attempt)
{
    return attempt->uring && attempt->step == PROBE_RING;
}

/* What went before the candidate at hand: attempts[0, count). */
struct history {
    struct attempt attempts[4];
    size_t count;
};

static const struct attempt *find_refusal(const struct history *history,
                                          bool (*is_it)(const struct attempt *attempt))
{
    for (size_t i = 0; i < history->count; i++) {
        if (is_it(&history->attempts[i]))
            return &history->attempts[i];
    }
    return NULL;
}

static void describe_choice(const struct history *history, const struct attempt *taken,
                            enum wal_io_choice choice, enum wal_direct_choice direct, char *text,
                            size_t bytes)
{
    const struct attempt *no_uring = find_refusal(history, is_refusal_of_uring);
    const char *backend = taken->uring ? "io_uring" : "system calls";
    const char *way = "O_DIRECT and per-write data sync";
    const char *why_not_direct = "";
    char why_not_uring[96] = "";

    if (!taken->direct) {
        way = taken->uring ? "buffered writes linked to data syncs" : "buffered synced writes";
        why_not_direct = direct == WAL_DIRECT_OFF ? ", O_DIRECT off" : ", O_DIRECT refused";
    }
    if (!taken->uring && no_uring)
        describe_uring(no_uring, why_not_uring, sizeof(why_not_uring));
    else if (!taken->uring && choice == WAL_IO_POSIX)
        (void)snprintf(why_not_uring, sizeof(why_not_uring), "io_uring is switched off");

    (void)snprintf(text, bytes, "%s with %s%s%s%s", backend, way, why_not_direct,
                   why_not_uring[0] ? "; " : "", why_not_uring);
}

static void describe_refusal(const struct history *history, enum wal_direct_choice direct,
                             char *text, size_t bytes)
{
    const struct attempt *last = &history->attempts[history->count - 1];

    if (is_refusal_of_uring(last))
        describe_uring(last, text, bytes);
    else if (is_refusal_of_direct(last) && direct == WAL_DIRECT_ON)
        (void)snprintf(text, bytes, "the file system refuses O_DIRECT: %s",
                       error_name(last->error));
    else
        describe_failure(last, text, bytes);
}

int wal_io_probe(const char *path, enum wal_io_choice choice, enum wal_direct_choice direct,
                 struct wal_io **ret_io, char *ret_reason)
{
    static const struct attempt candidates[] = {
        {.uring = true, .direct = true},
        {.uring = true, .direct = false},
        {.uring = false, .direct = true},
        {.uring = false, .direct = false},
    };
    struct history history = {.count = 0};

    for (size_t i = 0; i < ARRAY_SIZE(candidates); i++) {
        struct attempt *attempt = &history.attempts[history.count];
        struct wal_io *io;

        *attempt = candidates[i];
        if (!is_wanted(attempt, choice, direct))
            continue;
        if (attempt->uring && find_refusal(&history, is_refusal_of_ring))
            continue; /* would be refused again */

        attempt->error = try_candidate(path, attempt, &io);
        if (attempt->error == 0) {
            describe_choice(&history, attempt, choice, direct, io->reason, sizeof(io->reason));
            (void)memcpy(ret_reason, io->reason, sizeof(io->reason));
            *ret_io = io;
            return 0;
        }
        history.count++;
        /* The directory itself is at fault, and would be for the others. */
        if (!is_refusal_of_direct(attempt) && !is_refusal_of_uring(attempt))
            break;
    }
    describe_refusal(&history, direct, ret_reason, REASON_BYTES);
    return history.attempts[history.count - 1].error;
}
