#include "tests/power/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "wal/base.h"

/* Far above what any run of these tests makes: a wild number is a torn journal. */
#define NUMBERS_MAX (1u << 20)

typedef void violation_fn(uint32_t log, uint64_t offset, const char *format, ...);

void log_name(uint32_t log, char ret_name[32])
{
    (void)snprintf(ret_name, 32, "%s-%u", log < BASE_LOGS ? "log" : "extra", log);
}

uint32_t log_number(const char *name)
{
    const char *dash = strchr(name, '-');
    char again[32];
    uint32_t number = dash ? (uint32_t)strtoul(dash + 1, NULL, 10) : UINT32_MAX;
    log_name(number, again);
    return strcmp(name, again) == 0 ? number : UINT32_MAX;
}

void line_finish(struct line *line)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    line->magic = LINE_MAGIC;
    line->time_us = (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

void journal_emit(struct line line)
{
    line_finish(&line);
    ssize_t written;
    do {
        /* Below PIPE_BUF, so whole or not at all, and never mixed with another thread's. */
        written = write(STDOUT_FILENO, &line, sizeof(line));
    } while (written < 0 && errno == EINTR);
    if (written != (ssize_t)sizeof(line))
        _exit(4);
}

bool progress_less(struct progress a, struct progress b)
{
    if (!a.any || !b.any)
        return b.any && !a.any;
    return a.run != b.run ? a.run < b.run : a.number < b.number;
}

static void progress_raise(struct progress *progress, uint32_t run, uint32_t number)
{
    struct progress other = {true, run, number};
    if (progress_less(*progress, other))
        *progress = other;
}

static void *must_calloc(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    must(memory != NULL);
    return memory;
}

/* How many logs and runs there are, and below which offset a log needs no memory of its records:
 * first of two passes. */
static int measure(struct journal *journal, const struct line *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct line *line = &lines[i];
        if (line->magic != LINE_MAGIC || line->kind == 0 || line->kind >= LINE_KINDS ||
            line->log >= NUMBERS_MAX || line->run >= NUMBERS_MAX || line->writer >= WRITERS)
            return -EBADMSG;
        if (line->log >= journal->log_count)
            journal->log_count = line->log + 1;
    }

    journal->logs = must_calloc(journal->log_count, sizeof(*journal->logs));
    for (size_t i = 0; i < count; i++) {
        struct log_model *log = &journal->logs[lines[i].log];
        if (lines[i].kind == LINE_TRIM_ACK)
            log->acked_base = max_u64(log->acked_base, lines[i].offset);
        if (lines[i].kind != LINE_ISSUE)
            continue;
        if (log->run_end == 0)
            log->run_min = lines[i].run;
        if (lines[i].run < log->run_min)
            return -EBADMSG; /* runs follow each other */
        log->run_end = lines[i].run + 1;
    }
    for (uint32_t i = 0; i < journal->log_count; i++) {
        struct log_model *log = &journal->logs[i];
        size_t runs = log->run_end - log->run_min;
        log->issued = must_calloc(runs * WRITERS, sizeof(uint32_t));
    }
    return 0;
}

static void acked_put(struct log_model *log, uint64_t offset, struct power_id id)
{
    uint64_t at = offset - log->acked_base;
    if (at >= log->acked_capacity) {
        uint64_t capacity = max_u64(1024, 2 * at);
        log->acked = realloc(log->acked, capacity * sizeof(*log->acked));
        must(log->acked != NULL);
        memset(log->acked + log->acked_capacity, 0xff,
               (capacity - log->acked_capacity) * sizeof(*log->acked));
        log->acked_capacity = capacity;
    }
    log->acked[at] = id;
}

bool journal_acked_at(const struct log_model *log, uint64_t offset, struct power_id *ret_id)
{
    if (offset < log->acked_base || offset - log->acked_base >= log->acked_capacity)
        return false;
    *ret_id = log->acked[offset - log->acked_base];
    return ret_id->writer != UINT16_MAX;
}

static void learn_ack(struct journal *journal, struct log_model *log, const struct line *line,
                      violation_fn *violation)
{
    struct power_id id = {line->run, line->log, line->append, line->writer, 0};
    unsigned count = power_append_count(journal->seed, id);

    if (line->kind == LINE_ACK && line->offset < log->opened_at)
        violation(line->log, line->offset,
                  "given to append %u of writer %u in run %u, though the log had been opened with "
                  "%llu records committed",
                  id.append, id.writer, id.run, (unsigned long long)log->opened_at);
    for (unsigned i = 0; i < count; i++) {
        struct power_id other;
        id.index = (uint16_t)i;
        if (line->offset + i < log->acked_base)
            continue;
        if (journal_acked_at(log, line->offset + i, &other) && !power_id_equal(id, other))
            violation(line->log, line->offset + i,
                      "acknowledged twice: run %u writer %u append %u, and run %u writer %u "
                      "append %u",
                      other.run, other.writer, other.append, id.run, id.writer, id.append);
        acked_put(log, line->offset + i, id);
    }
    log->acked_end = max_u64(log->acked_end, line->offset + count);
    if (power_append_changes_state(journal->seed, id))
        progress_raise(&log->update_acked[id.writer], id.run, id.append);
}

static void learn_issue(struct journal *journal, struct log_model *log, const struct line *line)
{
    struct power_id id = {line->run, line->log, line->append, line->writer, 0};
    uint32_t *issued = &log->issued[(size_t)(line->run - log->run_min) * WRITERS + line->writer];
    *issued = (uint32_t)max_u64(*issued, line->append + 1u);
    if (power_append_changes_state(journal->seed, id))
        progress_raise(&log->update_issued[id.writer], id.run, id.append);
}

static bool line_promises(const struct line *line)
{
    switch (line->kind) {
    case LINE_OPENED:
    case LINE_ACK:
    case LINE_SEEN:
    case LINE_STATE_ACK:
    case LINE_TRIM_ACK:
    case LINE_CREATE_ACK:
    case LINE_DELETE_ACK: return true;
    default: return false;
    }
}

static void learn(struct journal *journal, const struct line *line, violation_fn *violation)
{
    struct log_model *log = &journal->logs[line->log];
    if (line->time_us >= journal->cut_us && line_promises(line))
        return;

    switch (line->kind) {
    case LINE_CUT: journal->cut_us = line->time_us; break;
    case LINE_READY: journal->cut_us = UINT64_MAX; break; /* another process, another disk */
    case LINE_OPENED:
        if (line->offset < log->acked_end)
            violation(line->log, line->offset,
                      "is all that run %u found committed at opening, of %llu acknowledged",
                      line->run, (unsigned long long)log->acked_end);
        log->opened_at = line->offset;
        break;
    case LINE_ISSUE: learn_issue(journal, log, line); break;
    case LINE_ACK:
    case LINE_SEEN: learn_ack(journal, log, line, violation); break;
    case LINE_STATE_ISSUE:
        progress_raise(&log->state_issued[line->writer], line->run, line->append);
        break;
    case LINE_STATE_ACK:
        progress_raise(&log->state_acked[line->writer], line->run, line->append);
        break;
    case LINE_TRIM_ISSUE: log->trim_issued = max_u64(log->trim_issued, line->offset); break;
    case LINE_TRIM_ACK: log->trim_acked = max_u64(log->trim_acked, line->offset); break;
    case LINE_CREATE_ISSUE: log->may_exist = true; break;
    case LINE_CREATE_ACK: log->may_exist = log->must_exist = true; break;
    case LINE_DELETE_ISSUE: log->must_exist = false; break;
    case LINE_DELETE_ACK: log->may_exist = log->must_exist = false; break;
    default: break;
    }
}

int journal_load(struct journal *journal, const char *path, uint64_t seed, violation_fn *violation)
{
    memset(journal, 0, sizeof(*journal));
    journal->seed = seed;
    journal->cut_us = UINT64_MAX;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;

    struct stat info;
    int rc = fstat(fd, &info) < 0 ? -errno : 0;
    size_t count = rc < 0 ? 0 : (size_t)info.st_size / sizeof(struct line);
    if (count > 0) {
        size_t size = count * sizeof(struct line);
        struct line *lines = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        rc = lines == MAP_FAILED ? -errno : measure(journal, lines, count);
        for (size_t i = 0; rc == 0 && i < count; i++)
            learn(journal, &lines[i], violation);
        if (lines != MAP_FAILED)
            munmap(lines, size);
    }
    close(fd);
    return rc;
}

void journal_done(struct journal *journal)
{
    for (uint32_t i = 0; i < journal->log_count; i++) {
        free(journal->logs[i].acked);
        free(journal->logs[i].issued);
    }
    free(journal->logs);
}

uint32_t journal_issued(const struct log_model *log, uint32_t run, unsigned writer)
{
    if (run < log->run_min || run >= log->run_end || writer >= WRITERS)
        return 0;
    return log->issued[(size_t)(run - log->run_min) * WRITERS + writer];
}
