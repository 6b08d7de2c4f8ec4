/*
 * wald crashtest: does this disk, with this kernel, keep what was acknowledged when the writer is
 * killed? A child appends records that can be told apart and reports each one that the log calls
 * durable; at a random moment it gets SIGKILL; then the files are opened and read.
 *
 * What stands at an offset follows from the seed, the log and the offset, so nothing has to be
 * remembered but how far each log was acknowledged.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/file_commands.h"
#include "server/files.h"
#include "wal/base.h"
#include "wal/check.h"
#include "wal/store.h"

#define LOGS 4
#define IN_FLIGHT 16 /* appends on each log */
#define RECORD_BYTES_MIN 32
#define RECORD_BYTES_MAX 8192
#define MAGIC UINT64_C(0x746573742d776c64)
#define OPEN_PATIENCE_MS 30000
#define LIFE_PATIENCE_US (UINT64_C(60) * 1000000)
#define APPENDS_FIRST_MAX 256

/* When a life ends. */
enum life_end {
    END_BUSY,       /* some time after the first appends were durable, amid others */
    END_QUIET,      /* when all that was appended is durable: not one byte of it may be missing */
    END_BUSY_AGAIN, /* as the first */
    END_FROM_START, /* some time after the start, perhaps while the logs are being opened */
    LIFE_ENDS
};

struct crashtest {
    const char *parent;
    char dir[4096];
    uint64_t seed, cycles, life_ms;
    const char *cut; /* a command that takes the power away, and gives it back; NULL: none */
    bool json, keep, buffered;
    uint64_t random;
    uint64_t acknowledged[LOGS]; /* offsets below are durable, as the log said */
    uint64_t seen[LOGS];         /* and these were read once: they stay */
    /* Of the life at hand. */
    enum life_end end;
    uint64_t first; /* appends that become durable before its time runs; END_QUIET: all there are */
    uint64_t told;  /* appends that its writer called durable */
    struct {
        uint64_t kills, recovered, lost, doubled, reordered, wrong;
    } found;
};

/* What a child tells of an append that is durable. */
struct told {
    uint32_t log;
    uint64_t end;
};

struct mark {
    uint64_t magic, seed, log, offset;
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t value = *state += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

/* Returns its size. */
static size_t make_record(uint64_t seed, uint64_t log, uint64_t offset, uint8_t *ret_data)
{
    uint64_t random = seed ^ log << 56 ^ offset;
    uint64_t range = next_random(&random) % 8 == 0 ? RECORD_BYTES_MAX : 256;
    size_t size = RECORD_BYTES_MIN + next_random(&random) % (range - RECORD_BYTES_MIN + 1);
    const struct mark mark = {MAGIC, seed, log, offset};
    memcpy(ret_data, &mark, sizeof(mark));
    for (size_t i = sizeof(mark); i < size; i += sizeof(uint64_t)) {
        uint64_t value = next_random(&random);
        memcpy(ret_data + i, &value, min_u64(sizeof(value), size - i));
    }
    return size;
}

static void log_name(char ret_name[16], unsigned log)
{
    snprintf(ret_name, 16, "crashtest-%u", log);
}

static int open_store(const struct crashtest *test, bool drives, struct store **ret_store)
{
    struct store_config config;
    char reason[256];
    store_config_default(&config);
    config.lock_timeout_ms = OPEN_PATIENCE_MS; /* the kernel may still work for who was killed */
    config.threads = !drives;
    if (test->buffered)
        config.direct = STORE_DIRECT_OFF;
    config.log.segment_bytes = 1u << 20;
    int rc = store_open(ret_store, test->dir, &config, reason);
    if (rc < 0)
        files_complain("%s cannot be opened: %s", test->dir, reason);
    return rc;
}

/* ---- the child ---- */

struct writer {
    struct crashtest *test;
    struct store *store;
    struct wal *wals[LOGS];
    int out;
    unsigned waiting[LOGS];
    uint64_t left; /* appends it may still make */
    bool failed;
    struct slot {
        struct wal_handler handler;
        struct writer *writer;
        unsigned log;
        bool busy;
    } slots[LOGS][IN_FLIGHT];
};

static void tell(struct wal_handler *handler, struct wal_token token, int status)
{
    struct slot *slot = container_of(handler, struct slot, handler);
    struct writer *writer = slot->writer;
    struct told told = {.log = slot->log, .end = token.end};
    slot->busy = false;
    writer->waiting[slot->log]--;
    if (status < 0 || write(writer->out, &told, sizeof(told)) != sizeof(told))
        writer->failed = true;
}

static int append_one(struct writer *writer, unsigned log, struct slot *slot)
{
    struct wal_positions positions;
    uint8_t data[RECORD_BYTES_MAX];
    wal_positions(writer->wals[log], &positions);
    struct wal_record record = {.data = data};
    record.size = make_record(writer->test->seed, log, positions.next_offset, data);
    const struct wal_append_options options = {.expected_offset = positions.next_offset};
    slot->handler = (struct wal_handler){.done = tell};
    slot->busy = true;
    writer->waiting[log]++;
    return wal_append(writer->wals[log], &record, 1, &options, &slot->handler, NULL);
}

/* Appends until it is killed. */
static int write_on(struct writer *writer)
{
    uint64_t random = writer->test->random;
    while (!writer->failed) {
        for (unsigned log = 0; log < LOGS; log++) {
            /* Now alone, now in groups. */
            unsigned most = 1 + (unsigned)(next_random(&random) % IN_FLIGHT);
            for (unsigned i = 0; i < IN_FLIGHT && writer->waiting[log] < most; i++) {
                if (writer->slots[log][i].busy || writer->left == 0)
                    continue;
                writer->left--;
                int rc = append_one(writer, log, &writer->slots[log][i]);
                if (rc < 0)
                    return rc;
            }
        }
        store_run(writer->store, 0, 1000);
    }
    return -EIO;
}

static int run_writer(struct crashtest *test, int out)
{
    struct writer *writer = calloc(1, sizeof(*writer));
    if (!writer)
        return FILES_SYSTEM;
    writer->test = test;
    writer->out = out;
    writer->left = test->end == END_QUIET ? test->first : UINT64_MAX;
    int rc = open_store(test, true, &writer->store);
    for (unsigned log = 0; log < LOGS && rc == 0; log++) {
        char name[16];
        log_name(name, log);
        rc = store_get(writer->store, name, true, &writer->wals[log]);
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            writer->slots[log][i].writer = writer;
            writer->slots[log][i].log = log;
        }
    }
    if (rc == 0)
        rc = write_on(writer);
    files_complain("the writer failed: %s", strerror(-rc));
    return FILES_IO;
}

/* ---- one life ---- */

static void take_told(struct crashtest *test, const struct told *told)
{
    test->told++;
    if (told->log < LOGS)
        test->acknowledged[told->log] = max_u64(test->acknowledged[told->log], told->end);
}

/* Listens until the child has told of `enough` appends, or until `until_us`, or until it has closed
 * its end. Returns false then. */
static bool listen_to(struct crashtest *test, int in, uint64_t enough, uint64_t until_us)
{
    while (test->told < enough) {
        struct told told[128];
        uint64_t now = files_now_us();
        if (now >= until_us)
            return true;
        struct pollfd pollfd = {.fd = in, .events = POLLIN};
        uint64_t wait_ms = min_u64((until_us - now) / 1000 + 1, 1000);
        if (poll(&pollfd, 1, (int)wait_ms) <= 0)
            continue;
        /* The pipe takes and gives whole ones, as it holds a multiple of them. */
        ssize_t got = read(in, told, sizeof(told));
        if (got <= 0)
            return got < 0 && errno == EINTR;
        for (size_t i = 0; i < (size_t)got / sizeof(*told); i++)
            take_told(test, &told[i]);
    }
    return true;
}

/*
 * Lets the child live for a while. Most lives begin to count when some appends are durable: on a busy
 * machine they would end before the first one, life by life, and nothing would have been tested.
 * Returns false if the child ended.
 */
static bool let_live(struct crashtest *test, int in)
{
    uint64_t lifetime_us = next_random(&test->random) % (test->life_ms * 1000 + 1);
    if (test->end != END_FROM_START &&
        !listen_to(test, in, test->first, files_now_us() + LIFE_PATIENCE_US))
        return false;
    if (test->end == END_QUIET)
        return true;
    return listen_to(test, in, UINT64_MAX, files_now_us() + lifetime_us);
}

/* A child that appends and is killed. Returns 0 or the status to exit with. */
static int live_once(struct crashtest *test)
{
    int ends[2], status;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return files_error("pipe", -errno);
    test->end = (enum life_end)(test->found.kills % LIFE_ENDS);
    test->first = 1 + next_random(&test->random) % APPENDS_FIRST_MAX;
    test->told = 0;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        _exit(run_writer(test, ends[1]));
    }
    int error = errno;
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        return files_error("fork", -error);
    }
    bool lives = let_live(test, ends[0]);
    kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (lives)
        listen_to(test, ends[0], UINT64_MAX, UINT64_MAX); /* what it had said before */
    close(ends[0]);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        test->found.kills++;
        return 0;
    }
    files_complain("the writer ended by itself, which is not what is tested here.");
    return FILES_IO;
}

/* What was only in memory goes with the power, as the command has it. Returns the status to exit with. */
static int cut_power(const struct crashtest *test)
{
    if (!test->cut)
        return 0;
    int status = system(test->cut);
    if (status == 0)
        return 0;
    files_complain("\"%s\" ended with status %#x, so nothing is known of the power.", test->cut,
                   (unsigned)status);
    return FILES_IO;
}

/* ---- reading what is left ---- */

static void judge(struct crashtest *test, unsigned log, const struct wal_entry *entry)
{
    uint8_t expected[RECORD_BYTES_MAX];
    struct mark mark;
    size_t size = make_record(test->seed, log, entry->offset, expected);
    if (size == entry->size && memcmp(expected, entry->data, size) == 0)
        return;
    memset(&mark, 0, sizeof(mark));
    if (entry->size >= sizeof(mark))
        memcpy(&mark, entry->data, sizeof(mark));
    bool is_ours = mark.magic == MAGIC && mark.seed == test->seed && mark.log == log;
    if (is_ours && mark.offset < entry->offset)
        test->found.doubled++;
    else if (is_ours && mark.offset > entry->offset)
        test->found.reordered++;
    else
        test->found.wrong++;
}

static int read_log(struct crashtest *test, struct store *store, unsigned log)
{
    struct wal *wal;
    char name[16];
    uint64_t must_be = max_u64(test->acknowledged[log], test->seen[log]), end = 0;
    log_name(name, log);
    int rc = store_get(store, name, false, &wal);
    if (rc == -ENOENT) {
        test->found.lost += must_be;
        return 0;
    }
    if (rc < 0)
        return files_error(name, rc);
    {
        CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
        struct wal_entry entry;
        rc = wal_cursor_open(&cursor, wal, 0);
        while (rc == 0 || rc == -EBADMSG) {
            rc = wal_cursor_next(cursor, &entry);
            if (rc == 0) {
                judge(test, log, &entry);
                end = entry.offset + 1;
            } else if (rc == -EBADMSG) {
                test->found.lost +=
                    min_u64(entry.gap_end, max_u64(must_be, entry.offset)) - entry.offset;
                end = entry.gap_end;
            }
        }
    }
    store_put(store, wal);
    if (rc != -ENODATA)
        return files_error(name, rc);
    if (end < must_be)
        test->found.lost += must_be - end;
    /* From here on what is there is the truth, so that a loss is told once. */
    test->acknowledged[log] = test->seen[log] = end;
    return 0;
}

static int read_all(struct crashtest *test)
{
    struct store *store;
    int status = 0;
    if (open_store(test, false, &store) < 0)
        return FILES_IO;
    for (unsigned log = 0; log < LOGS && status == 0; log++)
        status = read_log(test, store, log);
    int rc = store_close(store, UINT64_MAX);
    if (status == 0 && rc < 0)
        status = files_error(test->dir, rc);
    return status;
}

/* ---- the whole ---- */

static bool has_failed(const struct crashtest *test)
{
    return test->found.lost + test->found.doubled + test->found.reordered + test->found.wrong > 0;
}

static void report(struct crashtest *test, uint64_t acknowledged)
{
    for (unsigned log = 0; log < LOGS; log++)
        test->found.recovered += test->seen[log];
    if (test->json) {
        printf("{\"seed\":%" PRIu64 ",\"kills\":%" PRIu64 ",\"acknowledged\":%" PRIu64
               ",\"recovered\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"doubled\":%" PRIu64
               ",\"reordered\":%" PRIu64 ",\"wrong\":%" PRIu64 ",\"tests_power_loss\":%s}\n",
               test->seed, test->found.kills, acknowledged, test->found.recovered, test->found.lost,
               test->found.doubled, test->found.reordered, test->found.wrong,
               test->cut ? "true" : "false");
        return;
    }
    printf("killed        %" PRIu64 " times (seed %" PRIu64 ")\n"
           "acknowledged  %" PRIu64 "\nrecovered     %" PRIu64
           " (what was on its way may be there, too)\n"
           "lost          %" PRIu64 "\ndoubled       %" PRIu64 "\nreordered     %" PRIu64
           "\nwrong         %" PRIu64 "\n\n%s",
           test->found.kills, test->seed, acknowledged, test->found.recovered, test->found.lost,
           test->found.doubled, test->found.reordered, test->found.wrong,
           test->cut
               ? "After each kill the power was cut, as far as the command given does that.\n"
               : "kill -9 does not test power loss: the kernel lived on, and with it everything "
                 "that it\nhad been given. Whether the disk keeps what it calls synced, only a "
                 "power cut shows.\n");
}

static int run_cycles(struct crashtest *test)
{
    struct files_bar bar = {.what = "crashtest"};
    uint64_t acknowledged = 0;
    int status = 0;
    for (uint64_t i = 0; i < test->cycles && status == 0 && !has_failed(test); i++) {
        uint64_t before[LOGS];
        memcpy(before, test->acknowledged, sizeof(before));
        status = live_once(test);
        for (unsigned log = 0; log < LOGS; log++)
            acknowledged += test->acknowledged[log] - before[log];
        if (status == 0)
            status = cut_power(test);
        if (status == 0)
            status = read_all(test);
        files_bar_show(&bar, i + 1, test->cycles);
    }
    files_bar_clear(&bar);
    if (status != 0)
        return status;
    if (acknowledged == 0) {
        files_complain("no append became durable within a minute: nothing was tested.");
        return FILES_IO;
    }
    report(test, acknowledged);
    return has_failed(test) ? FILES_DAMAGED : FILES_OK;
}

static void remove_logs(const struct crashtest *test)
{
    struct store *store;
    char path[4096 + 16];
    static const char *const rest[] = {"logs", "tmp", "trash"};
    static const char *const files[] = {"format", "lock"};
    if (open_store(test, false, &store) < 0)
        return;
    for (unsigned log = 0; log < LOGS; log++) {
        char name[16];
        log_name(name, log);
        (void)store_delete(store, name);
    }
    (void)store_close(store, UINT64_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(rest); i++) {
        snprintf(path, sizeof(path), "%s/%s", test->dir, rest[i]);
        (void)rmdir(path);
    }
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        snprintf(path, sizeof(path), "%s/%s", test->dir, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(test->dir);
}

int command_crashtest(int argc, const char *const *argv)
{
    struct crashtest test = {
        .cycles = 30, .life_ms = 300, .seed = (uint64_t)getpid() ^ files_now_us()};
    const struct files_option options[] = {
        {.name = "cycles", .help = "N  kills the writer so many times; 30", .number = &test.cycles},
        {.name = "life-ms",
         .help = "N  lets it live on so long at most, once some appends are durable; 300",
         .number = &test.life_ms},
        {.name = "seed", .help = "N  what is written, and when it is killed", .number = &test.seed},
        {.name = "keep", .help = "leaves the files there", .flag = &test.keep},
        {.name = "buffered",
         .help = "writes through the page cache, as the service does with --direct off",
         .flag = &test.buffered},
        {.name = "cut-power",
         .help = "COMMAND  after each kill: it takes all that is not synced from the file system",
         .text = &test.cut},
        {.name = "json", .help = "one JSON object on stdout", .flag = &test.json},
    };
    static const char about[] =
        "Makes a data directory in DIR, and there lets a process append to four logs until it gets\n"
        "kill -9, again and again; after each kill everything is read and held against what was\n"
        "acknowledged. Stops at the first thing that is wrong, and then leaves the files there.\n"
        "It does not test power loss, unless a command is given that can do that to the file system\n"
        "of DIR: shut it down or stop its disk, unmount it, and mount it again.\n";
    static const char statuses[] =
        "exit status: 0 nothing lost, doubled, reordered or wrong; 1 something was; 64 usage; 71 no\n"
        "memory; 74 input or output\n";
    const struct files_usage usage = {"DIR", about, statuses, options, ARRAY_SIZE(options), 1, 1};
    unsigned count;
    int status = files_options(&usage, argc, argv, &test.parent, &count);
    if (status >= 0)
        return status;
    if (test.cycles == 0 || test.life_ms == 0 || test.life_ms > 3600000) {
        files_complain("--cycles must be above 0, and --life-ms from 1 to 3600000.");
        return FILES_USAGE;
    }
    snprintf(test.dir, sizeof(test.dir), "%s/wald-crashtest-%ld", test.parent, (long)getpid());
    if (mkdir(test.dir, 0700) < 0)
        return files_error(test.dir, -errno);
    wal_plant_defect(getenv("WALD_PLANTED_DEFECT"));
    test.random = test.seed;
    status = run_cycles(&test);
    if (status == FILES_OK && !test.keep)
        remove_logs(&test);
    else
        fprintf(stderr, "wald crashtest: the files are in %s\n", test.dir);
    return files_finish(status);
}
