/*
 * wal/store.h, the directory: its configuration, its backend, its lock between processes, the version
 * of its layout, and what a start finds half done.
 */
#include "tests/support/store_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/io.h"

/* ---- Configuration --------------------------------------------------------------------------- */

#define FIELD(path, minimum, maximum)                                                              \
    {                                                                                              \
#path, offsetof(struct store_config, path), sizeof(((struct store_config *)NULL)->path),   \
            minimum, maximum                                                                       \
    }

/*
 * Every field with a range, and what it admits. That each of them acts is shown elsewhere:
 *
 *   io, direct           the_direct_setting_is_obeyed, a_forbidden_ring_is_replaced_or_said (here)
 *   custom_io            every test on the simulated disk
 *   committers           logs_are_spread_over_committers_by_name (test_store.c)
 *   ring_entries         more_logs_than_ring_entries_are_all_served (test_wal_groups.c)
 *   threads, worker      each test that runs posix as well as driven
 *   logs_max             idle_logs_make_room_for_others (test_store.c)
 *   log_count_max        no_more_logs_are_made_than_there_may_be (test_store.c)
 *   write_handles_max    a_thousand_logs_share_eight_handles (test_store.c)
 *   memory_bytes_max     the_memory_of_all_queues_has_a_limit (test_wal.c)
 *   lock_timeout_ms      the_lock_is_waited_for_as_long_as_configured (here)
 *   log.batch_*          test_wal_groups.c
 *   log.record_bytes_max a_record_is_taken_at_its_limit_and_refused_above (test_wal.c)
 *   log.queue_*          a_queue_full_of_records_refuses_more, … (test_wal.c)
 *   log.segment_bytes    batches_may_end_with_a_segment_or_be_larger_than_one (test_wal.c)
 *   log.space_bytes      space_on_disk_is_made_ahead_and_counted (test_wal_groups.c)
 *   log.mark_idle_us     an_idle_log_is_marked_once (test_faults.c)
 */
static const struct {
    const char *name;
    size_t offset, size;
    uint64_t min, max;
} fields[] = {
    FIELD(io, STORE_IO_AUTO, STORE_IO_POSIX),
    FIELD(direct, STORE_DIRECT_AUTO, STORE_DIRECT_OFF),
    FIELD(committers, 1, 64),
    FIELD(ring_entries, 8, 4096),
    FIELD(logs_max, 1, 1 << 24),
    FIELD(write_handles_max, 1, 1 << 24),
    FIELD(memory_bytes_max, 1 << 20, UINT64_MAX >> 1),
    FIELD(log.batch_records_max, 1, WAL_APPEND_RECORDS_MAX),
    FIELD(log.batch_bytes_max, 1, WAL_APPEND_BYTES_MAX),
    FIELD(log.batch_delay_us, 0, 10000000),
    FIELD(log.record_bytes_max, 1, WAL_RECORD_BYTES_MAX),
    FIELD(log.queue_records_max, 1, UINT32_MAX),
    FIELD(log.queue_bytes_max, 1, UINT64_MAX >> 1),
    FIELD(log.segment_bytes, 16 << 10, UINT64_C(1) << 40),
    FIELD(log.space_bytes, 8 << 10, 1 << 20),
    FIELD(log.mark_idle_us, 0, UINT32_MAX),
};

static void set_field(struct store_config *config, size_t i, uint64_t value)
{
    uint32_t narrow = (uint32_t)value;
    void *at = (char *)config + fields[i].offset;
    if (fields[i].size == sizeof(narrow))
        memcpy(at, &narrow, sizeof(narrow));
    else
        memcpy(at, &value, sizeof(value));
}

static void expect_refused(const struct store_config *config, size_t i)
{
    const char *field = NULL, *name = fields[i].name;
    if (strncmp(name, "log.", 4) == 0)
        name += 4;
    assert_int_equal(store_config_check(config, &field), -EINVAL);
    assert_non_null(field);
    assert_int_equal(strncmp(field, name, strlen(name)), 0);
    assert_int_equal(field[strlen(name)], ':');
    assert_int_equal(store_config_check(config, NULL), -EINVAL);

    struct store *store = NULL;
    char reason[256] = "";
    assert_int_equal(store_open(&store, "/nowhere/at/all", config, reason), -EINVAL);
    assert_non_null(strstr(reason, name));
    assert_null(store);
}

/* A value that cannot act is refused, with a word on which one and why: none is ever ignored. */
static void each_field_is_checked_at_both_ends(void **state)
{
    struct store_config config;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        store_config_default(&config);
        assert_int_equal(store_config_check(&config, NULL), 0);
        set_field(&config, i, fields[i].min);
        assert_int_equal(store_config_check(&config, NULL), 0);
        set_field(&config, i, fields[i].max);
        assert_int_equal(store_config_check(&config, NULL), 0);
        if (fields[i].min > 0) {
            set_field(&config, i, fields[i].min - 1);
            expect_refused(&config, i);
        }
        if (fields[i].size == 8 || fields[i].max < UINT32_MAX) {
            set_field(&config, i, fields[i].max + 1);
            expect_refused(&config, i);
        }
    }
    store_config_default(&config);
    config.ring_entries = 48;
    assert_int_equal(store_config_check(&config, NULL), -EINVAL); /* no power of two */
    config.ring_entries = 64;
    config.log.space_bytes = 10000;
    assert_int_equal(store_config_check(&config, NULL), -EINVAL); /* no multiple of a block */
}

/* The defaults are what the header says they are. */
static void the_defaults_are_the_documented_ones(void **state)
{
    struct store_config config;
    memset(&config, 0xff, sizeof(config));
    store_config_default(&config);
    assert_int_equal(config.io, STORE_IO_AUTO);
    assert_int_equal(config.direct, STORE_DIRECT_AUTO);
    assert_null(config.custom_io);
    assert_int_equal(config.committers, 1);
    assert_int_equal(config.ring_entries, 256);
    assert_true(config.threads && config.worker);
    assert_int_equal(config.logs_max, 65536);
    assert_int_equal(config.log_count_max, 0);
    assert_true(config.write_handles_max >= 8);
    assert_int_equal(config.memory_bytes_max, 256 << 20);
    assert_int_equal(config.lock_timeout_ms, 5000);
    assert_int_equal(config.log.batch_records_max, 65536);
    assert_int_equal(config.log.batch_bytes_max, 4 << 20);
    assert_int_equal(config.log.batch_delay_us, 0);
    assert_int_equal(config.log.record_bytes_max, 1 << 20);
    assert_int_equal(config.log.queue_records_max, 1 << 20);
    assert_int_equal(config.log.queue_bytes_max, 64 << 20);
    assert_int_equal(config.log.segment_bytes, 64 << 20);
    assert_int_equal(config.log.space_bytes, 64 << 10);
    assert_int_equal(config.log.mark_idle_us, 200000);
}

/* ---- The disk backend ------------------------------------------------------------------------- */

/* Counts the segment files that this process has open for writing, and those with O_DIRECT. */
static unsigned open_segments(unsigned *ret_direct)
{
    unsigned count = 0;
    *ret_direct = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    const struct dirent *entry;
    while ((entry = readdir(folder))) {
        char path[300], target[300] = "";
        snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
        ssize_t size = readlink(path, target, sizeof(target) - 1);
        if (size < 4 || strcmp(target + size - 4, ".seg") != 0)
            continue;
        int flags = fcntl((int)strtol(entry->d_name, NULL, 10), F_GETFL);
        if ((flags & O_ACCMODE) != O_RDWR)
            continue;
        count++;
        *ret_direct += !!(flags & O_DIRECT);
    }
    closedir(folder);
    return count;
}

/* The model of this log took the flag and ignored it. Here it holds, or the start fails and says why.
 * Edge case 10: O_DIRECT may be refused. */
static void the_direct_setting_is_obeyed(void **state)
{
    struct fixture *f = fixture_of(state);
    const enum store_direct settings[] = {STORE_DIRECT_ON, STORE_DIRECT_OFF, STORE_DIRECT_AUTO};
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        char reason[256] = "";
        f->config.direct = settings[i];
        int rc = store_open(&f->store, f->path, &f->config, reason);
        if (rc < 0) {
            f->store = NULL;
            assert_int_equal(settings[i], STORE_DIRECT_ON);
            assert_int_equal(rc, -EINVAL);
            assert_true(reason[0] != '\0');
            continue;
        }
        f->wal = fixture_get(f, FIXTURE_LOG, true);
        for (uint64_t k = 0; k < 3; k++)
            commit_number(f->wal, 3 * i + k, 5000);
        struct store_stats stats;
        store_stats(f->store, &stats);
        unsigned direct;
        assert_int_equal(open_segments(&direct), 1);
        assert_int_equal(direct, stats.direct ? 1 : 0);
        if (settings[i] != STORE_DIRECT_AUTO)
            assert_int_equal(stats.direct, settings[i] == STORE_DIRECT_ON);
        assert_int_equal(fixture_close(f), 0);
    }
    fixture_open(f);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    uint64_t end = positions_of(f->wal).committed_offset;
    assert_true(end == 6 || end == 9);
    if (end == 9)
        expect_numbers(f, f->wal, 0, 9, 5000);
}

/* Edge case 10 again, on a disk that refuses O_DIRECT file by file: an error, and no half a log. */
static void a_disk_that_refuses_direct_handles_is_said_so(void **state)
{
    struct fixture *f = fixture_of(state);
    sim_options_of(f->disk)->no_direct = true;
    fixture_open(f);
    struct wal *wal;
    assert_int_equal(store_get(f->store, "log", true, &wal), -EINVAL);
    assert_int_equal(fixture_close(f), 0);
    sim_options_of(f->disk)->direct = false;
    f->config.custom_io = sim_io(f->disk);
    fixture_begin(f);
    for (uint64_t i = 0; i < 20; i++)
        commit_number(f->wal, i, 3000);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 0, 20, 3000);
}

/* Makes io_uring_setup() fail with this error, in this process and for good. */
static int forbid_rings(int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_SIZE(filter), filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* What a child found: small numbers, since they are exit statuses. */
enum { FOUND_IT_SO = 0, FOUND_NO_SECCOMP = 77 };

static int try_without_rings(struct fixture *f, int error)
{
    struct store *store;
    struct wal *wal;
    struct store_stats stats;
    char reason[256] = "";
    if (forbid_rings(error) < 0)
        return FOUND_NO_SECCOMP;
    f->config.io = STORE_IO_URING;
    if (store_open(&store, f->path, &f->config, reason) != -error)
        return 1;
    if (strlen(reason) < 20)
        return 2;
    f->config.io = STORE_IO_AUTO;
    if (store_open(&store, f->path, &f->config, reason) != 0)
        return 3;
    store_stats(store, &stats);
    if (strcmp(stats.backend, "posix") != 0 || !strstr(stats.reason, "io_uring"))
        return 4;
    if (store_get(store, FIXTURE_LOG, true, &wal) < 0)
        return 5;
    struct wal_record record = {.data = "x", .size = 1};
    if (wal_append(wal, &record, 1, NULL, NULL, NULL) < 0 ||
        wal_flush(wal, FIXTURE_PATIENCE_US) < 0)
        return 6;
    store_put(store, wal);
    return store_close(store, UINT64_MAX) < 0 ? 7 : FOUND_IT_SO;
}

static int in_child(struct fixture *f, int (*body)(struct fixture *f, int argument), int argument)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(body(f, argument));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Edge case 9: containers forbid io_uring in several ways. A demand for it then fails and names the
 * cause; without a demand the log runs on system calls and says so. */
static void a_forbidden_ring_is_replaced_or_said(void **state)
{
    struct fixture *f = fixture_of(state);
    const int errors[] = {EPERM, ENOSYS, ENOMEM};
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        int found = in_child(f, try_without_rings, errors[i]);
        if (found == FOUND_NO_SECCOMP) {
            print_message("skipped: no seccomp filters here\n");
            skip();
        }
        assert_int_equal(found, FOUND_IT_SO);
    }
}

/* ---- One process at a time -------------------------------------------------------------------- */

/* Edge case 20: two processes in one directory would write over each other. */
static void a_directory_has_one_owner_at_a_time(void **state)
{
    struct fixture *f = fixture_start(state);
    struct store *second = NULL;
    char reason[256] = "";
    assert_int_equal(store_open(&second, f->path, &f->config, reason), -EWOULDBLOCK);
    assert_non_null(strstr(reason, "another process"));
    assert_null(second);
    commit_number(f->wal, 0, 10); /* the first one has not noticed */
    fixture_reopen(f);
    expect_numbers(f, f->wal, 0, 1, 10);
}

static int try_to_open(struct fixture *f, int gate)
{
    char go;
    if (read(gate, &go, 1) != 1)
        return 100;
    struct store *store;
    int rc = store_open(&store, f->path, &f->config, NULL);
    if (rc == 0)
        store_close(store, UINT64_MAX);
    return -rc;
}

/* The same with two processes; when the first is gone, the second one has it. */
static void a_second_process_is_kept_out_until_the_first_is_gone(void **state)
{
    struct fixture *f = fixture_of(state);
    for (unsigned round = 0; round < 2; round++) {
        int gate[2];
        assert_int_equal(pipe(gate), 0);
        pid_t child = fork(); /* before this process has threads */
        assert_true(child >= 0);
        if (child == 0)
            _exit(try_to_open(f, gate[0]));
        fixture_begin(f);
        if (round == 1)
            assert_int_equal(fixture_close(f), 0);
        assert_int_equal(write(gate[1], "g", 1), 1);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), round == 0 ? EWOULDBLOCK : 0);
        if (round == 0)
            assert_int_equal(fixture_close(f), 0);
        close(gate[0]);
        close(gate[1]);
    }
}

static uint64_t wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void *close_later(void *argument)
{
    usleep(100000);
    return store_close(argument, UINT64_MAX) == 0 ? NULL : argument;
}

static void the_lock_is_waited_for_as_long_as_configured(void **state)
{
    struct fixture *f = fixture_of(state);
    fixture_open(f);
    struct store *second;
    f->config.lock_timeout_ms = 150;
    uint64_t begin_us = wall_us();
    assert_int_equal(store_open(&second, f->path, &f->config, NULL), -EWOULDBLOCK);
    assert_true(wall_us() - begin_us >= 150000);

    f->config.lock_timeout_ms = 30000;
    pthread_t thread;
    void *failed;
    assert_int_equal(pthread_create(&thread, NULL, close_later, TAKE(f->store)), 0);
    begin_us = wall_us();
    int rc = store_open(&f->store, f->path, &f->config, NULL);
    pthread_join(thread, &failed);
    assert_null(failed);
    assert_int_equal(rc, 0);
    assert_true(wall_us() - begin_us < 20000000);
}

/* Appends for ever, and tells how many are durable. */
static int append_until_killed(struct fixture *f, int told)
{
    struct store *store;
    struct wal *wal;
    uint8_t data[300];
    if (store_open(&store, f->path, &f->config, NULL) < 0 ||
        store_get(store, FIXTURE_LOG, true, &wal) < 0)
        return 1;
    for (uint64_t i = positions_of(wal).next_offset;; i++) {
        record_fill(data, sizeof(data), i);
        struct wal_record record = {.data = data, .size = sizeof(data)};
        struct wal_token token;
        if (wal_append(wal, &record, 1, NULL, NULL, &token) < 0 ||
            wal_wait(wal, token, FIXTURE_PATIENCE_US) < 0)
            return 2;
        i = token.begin;
        if (write(told, &i, sizeof(i)) != sizeof(i))
            return 3;
    }
}

/* Edge case 11 and 20: kill -9 in the middle of writes, and a start at once. The kernel may hold the
 * lock until the last write has landed; that is waited for. What was acknowledged is there. */
static void a_start_right_after_a_kill_finds_all_that_was_acknowledged(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.lock_timeout_ms = 5000;
    f->config.log.segment_bytes = 64 << 10;
    uint64_t acknowledged = 0;
    for (unsigned life = 0; life < 4; life++) {
        int told[2];
        assert_int_equal(pipe(told), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(told[0]);
            _exit(append_until_killed(f, told[1]));
        }
        close(told[1]);
        uint64_t last, until = acknowledged + 30;
        while (acknowledged < until && read(told[0], &last, sizeof(last)) == sizeof(last))
            acknowledged = last + 1;
        kill(child, SIGKILL);
        while (read(told[0], &last, sizeof(last)) == sizeof(last))
            acknowledged = last + 1;
        close(told[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        fixture_open(f);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
        uint64_t found = positions_of(f->wal).committed_offset;
        assert_in_range(found, acknowledged, acknowledged + 1);
        expect_numbers(f, f->wal, 0, found, 300);
        acknowledged = found;
        assert_int_equal(fixture_close(f), 0);
    }
}

/* ---- What a start finds ------------------------------------------------------------------------ */

static const char *path_in(struct fixture *f, const char *name)
{
    static char path[1024];
    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    return path;
}

static void write_file(struct fixture *f, const char *name, const char *text, size_t size)
{
    FILE *file = fopen(path_in(f, name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static size_t read_file(struct fixture *f, const char *name, char *text, size_t capacity)
{
    FILE *file = fopen(path_in(f, name), "r");
    assert_non_null(file);
    size_t size = fread(text, 1, capacity, file);
    fclose(file);
    return size;
}

/* A layout that this program does not know must be left alone, whoever made it. One cut short is
 * from a first start that a crash ended, and is completed. */
static void a_layout_of_another_version_is_left_alone(void **state)
{
    struct fixture *f = fixture_start(state);
    commit_number(f->wal, 0, 10);
    assert_int_equal(fixture_close(f), 0);
    char text[100], after[100];
    size_t size = read_file(f, "format", text, sizeof(text));
    assert_in_range(size, 10, 90);

    const char *others[] = {"wald data directory, layout 2\n", "something else", "\x7f\x45\x4c\x46",
                            "wald data directory, layout 1\nand more"};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        char reason[256] = "";
        struct store *store = NULL;
        write_file(f, "format", others[i], strlen(others[i]));
        assert_int_equal(store_open(&store, f->path, &f->config, reason), -EPROTONOSUPPORT);
        assert_true(reason[0] != '\0');
        assert_null(store);
        assert_int_equal(read_file(f, "format", after, sizeof(after)), strlen(others[i]));
        assert_memory_equal(after, others[i], strlen(others[i]));
    }
    for (size_t cut = 0; cut <= size; cut += 1 + cut / 2) {
        write_file(f, "format", text, cut);
        fixture_open(f);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
        expect_numbers(f, f->wal, 0, 1, 10);
        assert_int_equal(fixture_close(f), 0);
        assert_int_equal(read_file(f, "format", after, sizeof(after)), size);
        assert_memory_equal(after, text, size);
    }
}

static unsigned entries_in(struct fixture *f, const char *folder)
{
    unsigned count = 0;
    DIR *stream = opendir(path_in(f, folder));
    assert_non_null(stream);
    const struct dirent *entry;
    while ((entry = readdir(stream)))
        count += entry->d_name[0] != '.';
    closedir(stream);
    return count;
}

/* Logs half made and half removed are nobody's: a start clears them away. What does not have one of
 * our names there is somebody's, who may have pointed us at the wrong directory. */
static void a_start_empties_tmp_and_trash(void **state)
{
    struct fixture *f = fixture_start(state);
    commit_number(f->wal, 0, 10);
    assert_int_equal(fixture_close(f), 0);
    const char *folders[] = {"tmp/0123456789abcdef0123456789abcdef", "tmp/half",
                             "trash/0123456789abcdef0123456789abcdef", "trash/empty"};
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
        assert_int_equal(mkdir(path_in(f, folders[i]), 0700), 0);
    write_file(f, "tmp/0123456789abcdef0123456789abcdef/00000000000000000000.seg", "half", 4);
    write_file(f, "trash/0123456789abcdef0123456789abcdef/00000000000000000000.seg", "old", 3);
    write_file(f, "trash/0123456789abcdef0123456789abcdef/next.tmp", "", 0);
    write_file(f, "tmp/file", "x", 1);
    write_file(f, "trash/file", "x", 1);
    fixture_open(f);
    assert_int_equal(entries_in(f, "tmp"), 2);
    assert_int_equal(entries_in(f, "trash"), 2);
    assert_int_equal(access(path_in(f, "tmp/half"), F_OK), 0);
    assert_int_equal(access(path_in(f, "tmp/file"), F_OK), 0);
    assert_int_equal(access(path_in(f, "trash/empty"), F_OK), 0);
    assert_int_equal(access(path_in(f, "trash/file"), F_OK), 0);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    expect_numbers(f, f->wal, 0, 1, 10);
}

/* Edge case 19: somebody put a folder of their own into a log's, and the log was deleted. That what
 * is in the trash cannot all be removed must not keep the service from starting. */
static void a_foreign_folder_in_the_trash_does_not_stop_a_start(void **state)
{
    struct fixture *f = fixture_start(state);
    struct wal *other = fixture_get(f, "other", true);
    commit_number(other, 0, 10);
    char folder[1024];
    snprintf(folder, sizeof(folder), "%s", fixture_file(f, FIXTURE_LOG, "backup"));
    assert_int_equal(mkdir(folder, 0700), 0);
    fixture_put(f, f->wal);
    assert_int_equal(store_delete(f->store, FIXTURE_LOG), 0);
    struct wal *wal;
    assert_int_equal(store_get(f->store, FIXTURE_LOG, false, &wal), -ENOENT);
    for (unsigned life = 0; life < 2; life++) {
        assert_int_equal(fixture_close(f), 0);
        fixture_open(f);
        expect_numbers(f, fixture_get(f, "other", false), 0, 1, 10);
        assert_int_equal(store_get(f->store, FIXTURE_LOG, false, &wal), -ENOENT);
    }
}

static int collect(void *context, const char *name)
{
    char *names = context;
    snprintf(names + strlen(names), 40, "%s ", name);
    return 0;
}

/* Edge case 19: what is not a log is not listed, and asking for it is an error of that name alone. */
static void stray_files_among_the_logs_are_not_logs(void **state)
{
    struct fixture *f = fixture_start(state);
    assert_int_equal(fixture_close(f), 0);
    write_file(f, "logs/notes", "x", 1);
    assert_int_equal(mkdir(path_in(f, "logs/lost+found"), 0700), 0);
    assert_int_equal(mkdir(path_in(f, "logs/empty"), 0700), 0);
    assert_int_equal(symlink("log", path_in(f, "logs/link")), 0);
    fixture_open(f);
    char names[100] = "";
    assert_int_equal(store_list(f->store, "", "", collect, names), 0);
    assert_string_equal(names, "empty log ");
    struct wal *wal = NULL;
    assert_true(store_get(f->store, "notes", false, &wal) < 0);
    assert_true(store_get(f->store, "notes", true, &wal) < 0);
    assert_true(store_get(f->store, "link", false, &wal) < 0);
    assert_true(store_get(f->store, "empty", false, &wal) < 0);
    assert_null(wal);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    commit_number(f->wal, 0, 10);
}

/* A path that cannot be a data directory gives an error and a sentence, and makes nothing. */
static void a_path_that_cannot_be_opened_is_said_why(void **state)
{
    struct fixture *f = fixture_of(state);
    write_file(f, "file", "x", 1);
    const char *paths[] = {"missing/folder", "file", "file/below"};
    const int errors[] = {-ENOENT, -ENOTDIR, -ENOTDIR};
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        char reason[256] = "";
        struct store *store = NULL;
        assert_int_equal(store_open(&store, path_in(f, paths[i]), &f->config, reason), errors[i]);
        assert_true(reason[0] != '\0');
        assert_null(store);
        assert_int_equal(store_open(&store, path_in(f, paths[i]), &f->config, NULL), errors[i]);
    }
    assert_int_equal(access(path_in(f, "missing"), F_OK), -1);
}

/* The first acknowledgement ever is worth as much as any: the directory that the first start made
 * must have become durable before, all the way up. */
static void a_new_data_directory_survives_a_cut(void **state)
{
    struct fixture *f = fixture_of(state);
    for (uint64_t seed = 0; seed < 20; seed++) {
        sim_reset(f->disk, seed);
        fixture_begin(f);
        commit_number(f->wal, 0, 100);
        fixture_crash(f);
        fixture_open(f);
        f->wal = fixture_get(f, FIXTURE_LOG, false);
        expect_numbers(f, f->wal, 0, 1, 100);
        assert_int_equal(fixture_close(f), 0);
    }
}

/* ---- Many creations at once -------------------------------------------------------------------- */

/* The system calls' backend with syncs that take their time and are counted. */
static struct wal_io slow_io;
static struct wal_io_ops slow_ops;
static _Atomic unsigned sync_count;

static int sync_slowly(struct wal_io *io, int handle)
{
    atomic_fetch_add(&sync_count, 1);
    usleep(5000);
    return 0;
}

struct maker {
    struct store *store;
    pthread_t thread;
    unsigned number;
    int rc;
};

enum { MAKERS = 8, LOGS_EACH = 8 };

static void *make_logs(void *argument)
{
    struct maker *maker = argument;
    for (unsigned i = 0; i < LOGS_EACH && maker->rc == 0; i++) {
        char name[32];
        struct wal *wal;
        snprintf(name, sizeof(name), "log-%u-%u", maker->number, i);
        maker->rc = store_create(maker->store, name, NULL, 0, &wal);
        if (maker->rc == 0)
            store_put(maker->store, wal);
    }
    return NULL;
}

/* Making a log is durable when it returns, which takes a sync of each directory that is involved.
 * Those of callers who wait together are one. */
static void logs_made_at_the_same_time_share_their_directory_syncs(void **state)
{
    struct fixture *f = fixture_of(state);
    struct wal_io *posix;
    assert_int_equal(wal_io_posix_new(false, &posix), 0);
    slow_io = *posix;
    slow_ops = *posix->ops;
    slow_ops.sync = sync_slowly;
    slow_io.ops = &slow_ops;
    f->config.custom_io = &slow_io;
    fixture_open(f);

    /* Alone: one sync of the new log's own directory, and three of the shared ones. Recovery, which
     * opens it, adds some more. */
    struct wal *wal;
    atomic_store(&sync_count, 0);
    assert_int_equal(store_create(f->store, "alone", NULL, 0, &wal), 0);
    store_put(f->store, wal);
    unsigned alone = atomic_load(&sync_count);
    assert_true(alone >= 4);

    atomic_store(&sync_count, 0);
    struct maker makers[MAKERS];
    for (unsigned i = 0; i < MAKERS; i++) {
        makers[i] = (struct maker){.store = f->store, .number = i};
        assert_int_equal(pthread_create(&makers[i].thread, NULL, make_logs, &makers[i]), 0);
    }
    for (unsigned i = 0; i < MAKERS; i++) {
        pthread_join(makers[i].thread, NULL);
        assert_int_equal(makers[i].rc, 0);
    }
    unsigned together = atomic_load(&sync_count), unshared = MAKERS * LOGS_EACH * alone;
    print_message("%u syncs for %u logs, and %u for one\n", together, MAKERS * LOGS_EACH, alone);
    assert_true(together < unshared - MAKERS * LOGS_EACH); /* a third of the shared ones at least */
    assert_int_equal(fixture_close(f), 0);
    posix->ops->free(posix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_is_checked_at_both_ends),
        cmocka_unit_test(the_defaults_are_the_documented_ones),
        ON_DISKS(the_direct_setting_is_obeyed),
        ON_SIM(a_disk_that_refuses_direct_handles_is_said_so),
        ON(driven, a_forbidden_ring_is_replaced_or_said),
        ON_ALL(a_directory_has_one_owner_at_a_time),
        ON_DISKS(a_second_process_is_kept_out_until_the_first_is_gone),
        ON_DISKS(the_lock_is_waited_for_as_long_as_configured),
        ON_DISKS(a_start_right_after_a_kill_finds_all_that_was_acknowledged),
        ON(driven, a_layout_of_another_version_is_left_alone),
        ON(driven, a_start_empties_tmp_and_trash),
        ON(driven, a_foreign_folder_in_the_trash_does_not_stop_a_start),
        ON(driven, stray_files_among_the_logs_are_not_logs),
        ON(driven, a_path_that_cannot_be_opened_is_said_why),
        ON_SIM(a_new_data_directory_survives_a_cut),
        ON(posix, logs_made_at_the_same_time_share_their_directory_syncs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
