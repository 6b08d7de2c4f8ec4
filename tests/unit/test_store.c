/*
 * wal/store.h, the logs of a directory: their names, making, deleting and listing them, how many are
 * open and what that costs, draining and driving. How the directory itself is opened, locked and
 * configured is in test_store_open.c.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/io.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_OWN_MALLOC true
#else
#define HAS_OWN_MALLOC false
#endif

static struct store_stats store_stats_of(struct fixture *f)
{
    struct store_stats stats;
    store_stats(f->store, &stats);
    return stats;
}

static void name_log(char ret_name[16], unsigned number)
{
    snprintf(ret_name, 16, "log-%05u", number);
}

/* ---- Names ----------------------------------------------------------------------------------- */

/* Edge case 27: a name becomes a file name, so what is not certainly harmless is no name. */
static void names_are_letters_digits_and_three_marks(void **state)
{
    struct fixture *f = fixture_of(state);
    fixture_open(f);
    char longest[130] = "";
    memset(longest, 'n', 128);
    const char *valid[] = {"a", "Z", "0", "a.b", "a-b_c.d", "lock", "tmp", "9.9", "a..b", longest};
    for (size_t i = 0; i < ARRAY_SIZE(valid); i++) {
        assert_true(store_name_is_valid(valid[i]));
        struct wal *wal;
        assert_int_equal(store_get(f->store, valid[i], true, &wal), 0);
        assert_string_equal(wal_name(wal), valid[i]);
        store_put(f->store, wal);
    }
    const char *invalid[] = {"",         ".",     "..",    ".a",         "-a",      "_a",   "a/b",
                             "/",        "../a",  "a b",   "a%2fb",      "a\nb",    "a\\b", "a:b",
                             "\xc3\xa4", "a\x7f", "a\x01", "lost+found", "a\xff.b", "~"};
    for (size_t i = 0; i < ARRAY_SIZE(invalid); i++) {
        struct wal *wal;
        assert_false(store_name_is_valid(invalid[i]));
        assert_int_equal(store_get(f->store, invalid[i], true, &wal), -EINVAL);
        assert_int_equal(store_create(f->store, invalid[i], NULL, 0, &wal), -EINVAL);
        assert_int_equal(store_delete(f->store, invalid[i]), -EINVAL);
        assert_int_equal(store_reopen(f->store, invalid[i]), -EINVAL);
    }
    longest[128] = 'n';
    assert_false(store_name_is_valid(longest));
}

/* Names that differ in case are different logs: nothing may fold them together. */
static void names_differ_by_case(void **state)
{
    struct fixture *f = fixture_start(state);
    struct wal *upper = fixture_get(f, "LOG", true);
    commit_number(f->wal, 0, 10);
    assert_int_equal(positions_of(upper).next_offset, 0);
    fixture_put(f, upper);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 0, 1, 10);
    assert_int_equal(positions_of(fixture_get(f, "LOG", false)).next_offset, 0);
}

/* ---- Making and deleting --------------------------------------------------------------------- */

/* Getting makes a log only when asked to, and twice the same one. */
static void a_log_is_made_when_asked_for(void **state)
{
    struct fixture *f = fixture_of(state);
    fixture_open(f);
    struct wal *wal = NULL;
    assert_int_equal(store_get(f->store, "log", false, &wal), -ENOENT);
    assert_null(wal);
    assert_int_equal(store_delete(f->store, "log"), -ENOENT);
    assert_int_equal(store_reopen(f->store, "log"), -ENOENT);
    wal = fixture_get(f, "log", true);
    assert_ptr_equal(fixture_get(f, "log", true), wal);
    assert_ptr_equal(fixture_get(f, "log", false), wal);
    assert_int_equal(store_stats_of(f).logs_open, 1);
    commit_number(wal, 0, 10);
    fixture_reopen(f);
    expect_numbers(f, f->wal, 0, 1, 10);
}

/* Making is exclusive, and the log begins with the state it was given: its settings. */
static void a_new_log_must_be_new_and_begins_with_its_state(void **state)
{
    struct fixture *f = fixture_of(state);
    fixture_open(f);
    struct wal_state_update updates[] = {state_update("type", "text/plain"),
                                         state_update("none", NULL)};
    struct wal *wal, *second = NULL;
    assert_int_equal(store_create(f->store, "log", updates, 2, &wal), 0);
    assert_int_equal(store_create(f->store, "log", NULL, 0, &second), -EEXIST);
    expect_state(wal, "type", "text/plain");
    expect_state(wal, "none", NULL);
    store_put(f->store, wal);
    assert_int_equal(store_create(f->store, "log", NULL, 0, &second), -EEXIST);
    assert_int_equal(fixture_close(f), 0);
    fixture_open(f);
    assert_int_equal(store_create(f->store, "log", NULL, 0, &second), -EEXIST);
    assert_null(second);
    f->wal = fixture_get(f, "log", false);
    expect_state(f->wal, "type", "text/plain");
}

/* State that no append could set is refused before anything is made: a log must not begin with what
 * it could never change again. */
static void a_log_with_impossible_state_is_not_made(void **state)
{
    struct fixture *f = fixture_of(state);
    fixture_open(f);
    char *bytes = calloc(1, WAL_STATE_BYTES_MAX + 1);
    assert_non_null(bytes);
    const struct {
        struct wal_state_update update;
        int error;
    } cases[] = {
        {{"big", 3, bytes, WAL_STATE_BYTES_MAX}, -E2BIG},
        {{"bigger", 6, bytes, WAL_STATE_BYTES_MAX + 1}, -E2BIG},
        {{"", 0, "x", 1}, -EINVAL},
        {{NULL, 3, "x", 1}, -EINVAL},
        {{bytes, WAL_STATE_KEY_BYTES_MAX + 1, "x", 1}, -EINVAL},
    };
    int rc[ARRAY_SIZE(cases)];
    struct wal *wal = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        rc[i] = store_create(f->store, "log", &cases[i].update, 1, &wal);
    free(bytes);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(rc[i], cases[i].error);
    assert_null(wal);
    assert_int_equal(store_get(f->store, "log", false, &wal), -ENOENT);
}

/* A log made again under an old name is another log: new id, no records, no state. */
static void a_log_made_again_is_another_log(void **state)
{
    struct fixture *f = fixture_start(state);
    uint8_t before[16], after[16];
    wal_id(f->wal, before);
    struct wal_state_update update = state_update("key", "old");
    struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
    struct wal_record record = {.data = "x", .size = 1};
    assert_int_equal(wal_append(f->wal, &record, 1, &options, NULL, NULL), 0);
    fixture_put(f, f->wal);
    assert_int_equal(store_delete(f->store, FIXTURE_LOG), 0);
    assert_int_equal(store_delete(f->store, FIXTURE_LOG), -ENOENT);
    f->wal = fixture_get(f, FIXTURE_LOG, true);
    wal_id(f->wal, after);
    assert_memory_not_equal(before, after, 16);
    assert_int_equal(positions_of(f->wal).next_offset, 0);
    expect_state(f->wal, "key", NULL);
    fixture_reopen(f);
    wal_id(f->wal, before);
    assert_memory_equal(before, after, 16);
}

/* The answer lies in the first segment, and goes with it. The caller's pointer is of this opening of
 * the log only. */
static void a_log_knows_when_it_was_made_and_keeps_a_pointer(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.segment_bytes = 64 << 10;
    fixture_begin(f);
    uint64_t created_ns = wal_created_ns(f->wal);
    assert_true(created_ns > 0);
    assert_null(wal_user(f->wal));
    wal_set_user(f->wal, f);
    assert_ptr_equal(wal_user(f->wal), f);
    commit_numbers(f->wal, 0, 100, 3000);
    assert_ptr_equal(wal_user(f->wal), f);
    fixture_reopen(f);
    assert_null(wal_user(f->wal));
    assert_int_equal(wal_created_ns(f->wal), created_ns);

    struct wal_token token;
    uint64_t end = positions_of(f->wal).committed_offset;
    assert_int_equal(wal_trim(f->wal, end, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    fixture_settle(f);
    assert_true(stats_of(f->wal).positions.first_offset > 0);
    assert_int_equal(wal_created_ns(f->wal), 0);
}

/* Deleting decides what is in flight, then nothing more is taken; who still holds the log gets
 * errors, and never the bytes of a new log with the same name. */
static void who_holds_a_deleted_log_is_told(void **state)
{
    struct fixture *f = fixture_start(state);
    struct wal *old = f->wal;
    struct witness witness;
    struct wal_record record = {.data = "old", .size = 3};
    witness_begin();
    assert_int_equal(wal_append(old, &record, 1, NULL, witness_handler(&witness), NULL), 0);
    assert_int_equal(store_delete(f->store, FIXTURE_LOG), 0);
    assert_int_equal(witness.calls, 1);
    assert_int_equal(witness.status, 0);
    assert_int_equal(wal_append(old, &record, 1, NULL, NULL, NULL), -ESHUTDOWN);
    assert_int_equal(wal_trim(old, 0, NULL, NULL), -ESHUTDOWN);
    assert_int_equal(wal_flush_async(old, witness_handler(&witness)), -ESHUTDOWN);
    assert_int_equal(wal_status(old), -ESHUTDOWN);

    struct wal_entry entry;
    struct wal_cursor *cursor = fixture_cursor(f, old, 0);
    assert_int_equal(wal_cursor_next(cursor, &entry), -ENOENT);
    struct wal *new = fixture_get(f, FIXTURE_LOG, true);
    assert_ptr_not_equal(new, old);
    commit_number(new, 0, 100);
    wal_cursor_seek(cursor, 0);
    assert_int_equal(wal_cursor_next(cursor, &entry), -ENOENT);
    fixture_cursor_close(f, cursor);
    fixture_put(f, old);
    expect_numbers(f, new, 0, 1, 100);
}

/* Space comes back: nothing of a deleted log is left on the disk. */
static void a_deleted_log_leaves_nothing_behind(void **state)
{
    struct fixture *f = fixture_of(state);
    fixture_open(f);
    sim_settle(f->disk);
    uint64_t blocks = sim_used_blocks(f->disk);
    for (unsigned i = 0; i < 5; i++) {
        struct wal *wal = fixture_get(f, "log", true);
        commit_numbers(wal, 0, 100, 10000);
        fixture_put(f, wal);
        assert_true(sim_used_blocks(f->disk) > blocks + 100);
        assert_int_equal(store_delete(f->store, "log"), 0);
        sim_settle(f->disk);
        assert_int_equal(sim_used_blocks(f->disk), blocks);
    }
}

static int count_name(void *context, const char *name, bool is_dir)
{
    (*(unsigned *)context)++;
    return 0;
}

static unsigned names_in(struct fixture *f, const char *folder)
{
    char path[64];
    unsigned count = 0;
    snprintf(path, sizeof(path), "%s/%s", FIXTURE_SIM_PATH, folder);
    assert_int_equal(sim_list(f->disk, path, SIM_CACHED, count_name, &count), 0);
    return count;
}

/* Edge case 12: a power cut at each operation of making and of deleting a log leaves the whole of it
 * or nothing; once the call has returned there is no question; and the next start tidies up. */
static void a_cut_while_making_or_deleting_leaves_all_or_nothing(void **state)
{
    struct fixture *f = fixture_of(state);
    unsigned made = 0, unmade = 0, ended = 0;
    for (uint64_t k = 1; ended < 20; k++) {
        sim_reset(f->disk, k);
        fixture_open(f);
        struct wal_state_update update = state_update("key", "value");
        struct wal *wal;
        sim_crash_at(f->disk, sim_ops(f->disk) + k);
        int create = store_create(f->store, "log", &update, 1, &wal);
        int append = -EIO, delete = -EIO;
        if (create == 0) {
            struct wal_token token;
            struct wal_record record = {.data = "x", .size = 1};
            append = wal_append(wal, &record, 1, NULL, NULL, &token);
            if (append == 0)
                append = wait_for(wal, token);
            store_put(f->store, wal);
            delete = store_delete(f->store, "log");
        }
        ended += !sim_is_dead(f->disk);
        fixture_crash(f);
        fixture_open(f);
        assert_int_equal(names_in(f, "tmp"), 0);
        assert_int_equal(names_in(f, "trash"), 0);
        int rc = store_get(f->store, "log", false, &wal);
        if (rc == 0) {
            expect_state(wal, "key", "value");
            if (append == 0)
                assert_int_equal(positions_of(wal).committed_offset, 1);
            store_put(f->store, wal);
            assert_int_not_equal(delete, 0);
        } else {
            assert_int_equal(rc, -ENOENT);
            if (create == 0)
                assert_int_equal(append, 0); /* it stood, and the delete had begun */
            unmade += create == 0 && delete < 0;
        }
        made += rc == 0;
        assert_int_equal(fixture_close(f), 0);
    }
    assert_true(made > 3);
    assert_true(unmade > 0);
    f->checks_overwrites = false;
}

/* ---- Listing --------------------------------------------------------------------------------- */

struct names {
    char text[400];
    unsigned count, stop_at;
};

static int add_name(void *context, const char *name)
{
    struct names *names = context;
    size_t used = strlen(names->text);
    snprintf(names->text + used, sizeof(names->text) - used, "%s ", name);
    return ++names->count == names->stop_at ? 7 : 0;
}

static const char *list(struct fixture *f, const char *prefix, const char *after, unsigned stop_at)
{
    static struct names names;
    names = (struct names){.stop_at = stop_at};
    assert_int_equal(store_list(f->store, prefix, after, add_name, &names), stop_at ? 7 : 0);
    return names.text;
}

/* Pages of a listing: in byte order, from behind a name, with a prefix, and ended by the visitor. */
static void logs_are_listed_in_order(void **state)
{
    struct fixture *f = fixture_of(state);
    fixture_open(f);
    assert_string_equal(list(f, "", "", 0), "");
    const char *made[] = {"b", "a.1", "B", "a", "a-1", "10", "9", "ab"};
    for (size_t i = 0; i < ARRAY_SIZE(made); i++)
        (void)fixture_get(f, made[i], true);
    assert_string_equal(list(f, "", "", 0), "10 9 B a a-1 a.1 ab b ");
    assert_string_equal(list(f, "a", "", 0), "a a-1 a.1 ab ");
    assert_string_equal(list(f, "a", "a-1", 0), "a.1 ab ");
    assert_string_equal(list(f, "", "a", 0), "a-1 a.1 ab b ");
    assert_string_equal(list(f, "", "a0", 0), "ab b "); /* need not exist */
    assert_string_equal(list(f, "z", "", 0), "");
    assert_string_equal(list(f, "", "zz", 0), "");
    assert_string_equal(list(f, "", "", 3), "10 9 B ");
    for (size_t i = 0; i < ARRAY_SIZE(f->held); i++) {
        if (f->held[i])
            store_put(f->store, TAKE(f->held[i]));
    }
    assert_int_equal(store_delete(f->store, "a"), 0);
    assert_string_equal(list(f, "a", "", 0), "a-1 a.1 ab ");
    assert_int_equal(fixture_close(f), 0);
    fixture_open(f);
    assert_string_equal(list(f, "", "", 0), "10 9 B a-1 a.1 ab b ");
}

/* ---- How many are open ----------------------------------------------------------------------- */

/* A server with more logs than it may have open closes the ones nobody has used for longest. */
static void idle_logs_make_room_for_others(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.logs_max = 3;
    fixture_open(f);
    struct wal *a = fixture_get(f, "a", true), *b = fixture_get(f, "b", true);
    struct wal *c = fixture_get(f, "c", true), *d = NULL;
    commit_number(a, 0, 10);
    commit_number(b, 0, 10);
    assert_int_equal(store_get(f->store, "d", true, &d), -EMFILE);
    fixture_put(f, b);
    fixture_put(f, a); /* b has been idle for longer */
    d = fixture_get(f, "d", true);
    assert_int_equal(store_stats_of(f).logs_open, 3);
    assert_int_equal(stats_of(fixture_get(f, "a", false)).commits,
                     1); /* it was open all the time */
    assert_int_equal(store_get(f->store, "b", false, &b), -EMFILE);
    fixture_put(f, c);
    b = fixture_get(f, "b", false);
    assert_int_equal(stats_of(b).commits, 0); /* opened again */
    assert_true(stats_of(b).recovery.clean);
    expect_numbers(f, b, 0, 1, 10);
}

/* A thousand logs take turns at eight handles, on a disk that has few more to give. When all of them
 * are busy at once there are as many as there are writes in flight, and afterwards eight again. */
static void a_thousand_logs_share_eight_handles(void **state)
{
    struct fixture *f = fixture_of(state);
    enum { LOGS = 1000 };
    static struct wal *logs[LOGS];
    sim_options_of(f->disk)->handles_max = 20;
    f->config.write_handles_max = 8;
    f->config.log.mark_idle_us = 0; /* nothing is written but what the test appends */
    f->config.log.space_bytes = 8 << 10;
    fixture_open(f);
    for (unsigned i = 0; i < LOGS; i++) {
        char name[16];
        name_log(name, i);
        assert_int_equal(store_get(f->store, name, true, &logs[i]), 0);
    }
    for (unsigned i = 0; i < 2 * LOGS; i++) {
        commit_number(logs[(i * 7) % LOGS], i / LOGS, 50);
        assert_true(store_stats_of(f).write_handles <= 8);
    }
    sim_options_of(f->disk)->handles_max = 0;
    for (unsigned i = 0; i < LOGS; i++)
        append_number(logs[i], 2, 50);
    for (unsigned i = 0; i < LOGS; i++)
        assert_int_equal(wal_flush(logs[i], FIXTURE_PATIENCE_US), 0);
    fixture_settle(f);
    commit_number(logs[0], 3, 50);
    assert_true(store_stats_of(f).write_handles <= 8);
    for (unsigned i = 0; i < LOGS; i++) {
        assert_int_equal(positions_of(logs[i]).committed_offset, i == 0 ? 4 : 3);
        store_put(f->store, logs[i]);
    }
}

struct few {
    struct fixture *f;
    struct wal *logs[12];
    uint64_t next;
};

/* Each append to another log is an occasion to close what is above the limit and quiet. */
static bool handles_are_few(void *context)
{
    struct few *few = context;
    uint64_t number = few->next++;
    commit_number(few->logs[number % ARRAY_SIZE(few->logs)], number / ARRAY_SIZE(few->logs), 300);
    return store_stats_of(few->f).write_handles <= 2;
}

/* The same on a real disk with its descriptors, and fewer logs. What is busy keeps its handle. */
static void logs_take_turns_at_few_handles(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.write_handles_max = 2;
    f->config.log.mark_idle_us = 0;
    fixture_open(f);
    struct few few = {.f = f};
    for (unsigned i = 0; i < ARRAY_SIZE(few.logs); i++) {
        char name[16];
        name_log(name, i);
        few.logs[i] = fixture_get(f, name, true);
    }
    for (uint64_t round = 0; round < 5; round++) {
        for (unsigned i = 0; i < ARRAY_SIZE(few.logs); i++)
            append_number(few.logs[i], round, 300);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(few.logs); i++) {
        assert_int_equal(wal_flush(few.logs[i], FIXTURE_PATIENCE_US), 0);
        expect_numbers(f, few.logs[i], 0, 5, 300);
    }
    few.next = 5 * ARRAY_SIZE(few.logs);
    assert_true(fixture_until(f, handles_are_few, &few));
}

/* Leaves the process without a free descriptor: a limit behind the highest one in use, and the gaps
 * below it filled. */
struct starvation {
    struct rlimit limit;
    int gaps[1000];
    size_t count;
};

static void starve(struct starvation *starvation)
{
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &starvation->limit), 0);
    int highest = 0;
    for (int fd = 0; fd < 1000; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            highest = fd;
    }
    struct rlimit none = starvation->limit;
    none.rlim_cur = (rlim_t)highest + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    starvation->count = 0;
    for (int fd; (fd = dup(0)) >= 0;)
        starvation->gaps[starvation->count++] = fd;
}

static void feed(const struct starvation *starvation)
{
    for (size_t i = 0; i < starvation->count; i++)
        close(starvation->gaps[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &starvation->limit), 0);
}

/* Edge case 21: a process out of descriptors refuses appends, and nothing more: nothing was written,
 * the log is whole, and as soon as there is a descriptor again it goes on, with the same offsets. */
static void appends_without_a_descriptor_are_refused_until_there_is_one(void **state)
{
    struct fixture *f = fixture_start(state);
    commit_number(f->wal, 0, 10);
    fixture_reopen(f); /* its file is not open for writing now */
    fixture_settle(f);
    struct starvation starvation;
    starve(&starvation);
    struct wal_token refused[3];
    int rc[ARRAY_SIZE(refused)];
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        struct wal_record record = {.data = "x", .size = 1};
        rc[i] = wal_append(f->wal, &record, 1, NULL, NULL, &refused[i]);
        if (rc[i] == 0)
            rc[i] = wal_wait(f->wal, refused[i], FIXTURE_PATIENCE_US);
    }
    struct wal_cursor *cursor;
    struct wal_entry entry;
    int read = wal_cursor_open(&cursor, f->wal, 0);
    if (read == 0) {
        read = wal_cursor_next(cursor, &entry);
        wal_cursor_close(cursor);
    }
    feed(&starvation);

    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        assert_int_equal(rc[i], -EMFILE);
        assert_true(wal_error_is_refusal(rc[i]));
    }
    assert_int_equal(read, -EMFILE);
    assert_int_equal(wal_status(f->wal), 0);
    assert_int_equal(positions_of(f->wal).next_offset, 1);
    struct wal_token token = append_number(f->wal, 1, 10);
    assert_int_equal(token.begin, 1);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_int_equal(wal_poll(f->wal, refused[0]), -EMFILE); /* still what it was */
    expect_numbers(f, f->wal, 0, 2, 10);
}

/* The descriptors of quiet logs are there to be taken before anybody is refused. */
static void quiet_logs_give_up_their_descriptors_first(void **state)
{
    struct fixture *f = fixture_start(state);
    struct wal *quiet[3];
    for (unsigned i = 0; i < ARRAY_SIZE(quiet); i++) {
        char name[16];
        name_log(name, i);
        quiet[i] = fixture_get(f, name, true);
        commit_number(quiet[i], 0, 10);
    }
    fixture_settle(f);
    assert_int_equal(store_stats_of(f).write_handles, ARRAY_SIZE(quiet));
    struct starvation starvation;
    starve(&starvation);
    struct wal_record record = {.data = "x", .size = 1};
    struct wal_token token;
    int rc = wal_append(f->wal, &record, 1, NULL, NULL, &token);
    if (rc == 0)
        rc = wal_wait(f->wal, token, FIXTURE_PATIENCE_US);
    feed(&starvation);
    assert_int_equal(rc, 0);
    assert_true(store_stats_of(f).write_handles < ARRAY_SIZE(quiet) + 1);
}

/* Edge case 27: ten thousand logs, open and idle. What each of them costs is a promise. */
static void an_idle_log_costs_at_most_4096_bytes(void **state)
{
    struct fixture *f = fixture_of(state);
    enum { LOGS = 10000 };
    if (HAS_OWN_MALLOC) {
        print_message("skipped: a sanitizer replaces malloc(), whose figures this test reads\n");
        skip();
    }
    f->config.log.space_bytes = 16 << 10;
    f->config.logs_max = 100;
    fixture_open(f);
    for (unsigned i = 0; i < LOGS; i++) {
        char name[16];
        struct wal *wal;
        name_log(name, i);
        assert_int_equal(store_get(f->store, name, true, &wal), 0);
        commit_number(wal, 0, 100);
        store_put(f->store, wal);
    }
    assert_int_equal(fixture_close(f), 0);

    f->config.logs_max = LOGS;
    fixture_open(f);
    struct wal *wal;
    assert_int_equal(store_get(f->store, "log-00000", false, &wal), 0);
    store_put(f->store, wal);
    size_t before = mallinfo2().uordblks;
    for (unsigned i = 1; i < LOGS; i++) {
        char name[16];
        name_log(name, i);
        assert_int_equal(store_get(f->store, name, false, &wal), 0);
        store_put(f->store, wal);
    }
    size_t each = (mallinfo2().uordblks - before) / (LOGS - 1);
    print_message("%zu bytes for each open idle log\n", each);
    assert_int_equal(store_stats_of(f).logs_open, LOGS);
    assert_int_equal(store_stats_of(f).write_handles, 0);
    assert_true(each <= 4096);
    assert_true(sim_handles(f->disk) < 10);
}

/* ---- Draining, and opening again ----------------------------------------------------------------- */

/* The first half of a shutdown: nothing more is taken, what was taken is written, and readers go on
 * to the end. Edge case 24. */
static void a_drained_store_reads_and_takes_nothing(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = 10000000;
    fixture_begin(f);
    struct wal *other = fixture_get(f, "other", true);
    fixture_put(f, other);
    struct wal_token token = append_number(f->wal, 0, 100);
    store_drain(f->store);
    struct wal_record record = {.data = "x", .size = 1};
    assert_int_equal(wal_append(f->wal, &record, 1, NULL, NULL, NULL), -ESHUTDOWN);
    assert_int_equal(wal_trim(f->wal, 0, NULL, NULL), -ESHUTDOWN);
    assert_int_equal(wait_for(f->wal, token), 0);
    expect_numbers(f, f->wal, 0, 1, 100);
    other = fixture_get(f, "other", false);
    assert_int_equal(wal_append(other, &record, 1, NULL, NULL, NULL), -ESHUTDOWN);
    assert_int_equal(wal_flush(f->wal, FIXTURE_PATIENCE_US), 0);
    struct wal *late = fixture_get(f, "late", true);
    assert_int_equal(wal_append(late, &record, 1, NULL, NULL, NULL), -ESHUTDOWN);
    fixture_reopen(f);
    assert_true(stats_of(f->wal).recovery.clean);
    assert_int_equal(wal_status(f->wal), 0);
    expect_numbers(f, f->wal, 0, 1, 100);
}

/* The way out for a log that failed: whoever holds it lets go, and it is read from the disk again. */
static void a_failed_log_can_be_opened_again(void **state)
{
    struct fixture *f = fixture_start(state);
    commit_number(f->wal, 0, 100);
    fixture_settle(f);
    sim_arm(f->disk, &(struct sim_fault){.kind = SIM_WRITE_DURABLE, .times = 1, .error = -EIO});
    struct wal_token token = append_number(f->wal, 1, 100);
    assert_int_equal(wait_for(f->wal, token), -EIO);
    assert_int_equal(store_stats_of(f).logs_failed, 1);
    assert_int_equal(store_reopen(f->store, FIXTURE_LOG), -EBUSY);
    assert_int_equal(wal_status(f->wal), -EIO);
    fixture_put(f, f->wal);
    assert_int_equal(store_reopen(f->store, FIXTURE_LOG), 0);
    assert_int_equal(store_stats_of(f).logs_failed, 0);
    f->wal = fixture_get(f, FIXTURE_LOG, false);
    assert_int_equal(wal_status(f->wal), 0);
    assert_int_equal(positions_of(f->wal).next_offset, 1);
    commit_number(f->wal, 1, 100);
    expect_numbers(f, f->wal, 0, 2, 100);
    fixture_put(f, f->wal);
    assert_int_equal(store_reopen(f->store, FIXTURE_LOG), 0); /* a healthy one, too */
}

/* ---- Many committers, and callers with an event loop ----------------------------------------------- */

/* Logs are spread by name alone, so that a name always has the same committer; none is left out. */
static void logs_are_spread_over_committers_by_name(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.committers = 4;
    fixture_open(f);
    struct wal *logs[12];
    unsigned of[4] = {0};
    for (unsigned i = 0; i < ARRAY_SIZE(logs); i++) {
        char name[16];
        name_log(name, i);
        unsigned number = store_committer_of(f->store, name);
        assert_in_range(number, 0, 3);
        assert_int_equal(store_committer_of(f->store, name), number);
        of[number]++;
        logs[i] = fixture_get(f, name, true);
        append_number(logs[i], 0, 10);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(logs); i++)
        assert_int_equal(wal_flush(logs[i], FIXTURE_PATIENCE_US), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_true(of[i] > 0);
    assert_int_equal(store_stats_of(f).committers, 4);
}

/* A server's own loop: sleep in poll() until there is work or a timer is due, do it, and go on. */
static void a_poll_loop_can_drive_the_store(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log.batch_delay_us = 5000;
    fixture_begin(f);
    fixture_run(f); /* the first pass makes the ring, on this thread */
    struct pollfd pollfd = {.fd = store_poll_fd(f->store, 0), .events = POLLIN};
    assert_true(pollfd.fd >= 0);
    for (uint64_t i = 0; i < 20; i++) {
        struct wal_token token = append_number(f->wal, i, 100);
        unsigned passes = 0;
        while (wal_poll(f->wal, token) == -EINPROGRESS) {
            uint64_t delay_us = store_run_delay_us(f->store, 0);
            int timeout_ms = delay_us > 1000000 ? 1000 : (int)((delay_us + 999) / 1000);
            assert_true(poll(&pollfd, 1, timeout_ms) >= 0);
            assert_true(store_run(f->store, 0, 0) >= 0);
            assert_true(++passes < 1000);
        }
        assert_int_equal(wal_poll(f->wal, token), 0);
    }
    assert_int_equal(store_run(f->store, 1, 0), -EINVAL);
    assert_int_equal(store_poll_fd(f->store, 1), -EINVAL);
    assert_true(store_run_delay_us(f->store, 1) == UINT64_MAX);
    expect_numbers(f, f->wal, 0, 20, 100);
}

/* The first durable writes are interrupted before any byte of them was written. */
static unsigned interruptions;
static struct wal_io interrupted_io;
static struct wal_io_ops interrupted_ops;
static struct wal_op *(*wait_undisturbed)(struct wal_ring *ring, uint64_t timeout_us);

static struct wal_op *wait_interrupted(struct wal_ring *ring, uint64_t timeout_us)
{
    struct wal_op *done = wait_undisturbed(ring, timeout_us);
    for (struct wal_op *op = done; op; op = op->next) {
        if (op->kind == WAL_OP_WRITE_DURABLE && interruptions > 0) {
            interruptions--;
            op->result = -EAGAIN;
        }
    }
    return done;
}

/* A write that is sent again waits for the next pass, and nothing but the descriptor can tell a loop
 * that sleeps on it that there is to be one. */
static void a_poll_loop_is_woken_for_a_write_that_is_sent_again(void **state)
{
    struct fixture *f = fixture_of(state);
    struct wal_io *posix;
    assert_int_equal(wal_io_posix_new(false, &posix), 0);
    interrupted_io = *posix;
    interrupted_ops = *posix->ops;
    wait_undisturbed = posix->ops->ring_wait;
    interrupted_ops.ring_wait = wait_interrupted;
    interrupted_io.ops = &interrupted_ops;
    f->config.custom_io = &interrupted_io;
    f->config.log.mark_idle_us = 0; /* no timer that would run the store anyway */
    fixture_begin(f);
    commit_number(f->wal, 0, 100);
    struct pollfd pollfd = {.fd = store_poll_fd(f->store, 0), .events = POLLIN};
    for (unsigned times = 1; times <= 3; times++) {
        interruptions = times;
        struct wal_token token = append_number(f->wal, times, 100);
        int ready = 1;
        while (ready == 1 && wal_poll(f->wal, token) == -EINPROGRESS) {
            ready = poll(&pollfd, 1, 1000);
            if (ready == 1)
                assert_true(store_run(f->store, 0, 0) >= 0);
        }
        interruptions = 0;
        assert_int_equal(ready, 1);
        assert_int_equal(wal_poll(f->wal, token), 0);
    }
    assert_int_equal(fixture_close(f), 0);
    posix->ops->free(posix);
}

/* A store with threads of its own is nobody else's to drive. */
static void a_store_with_threads_is_not_driven(void **state)
{
    struct fixture *f = fixture_start(state);
    assert_int_equal(store_run(f->store, 0, 0), -EINVAL);
    assert_true(store_run_delay_us(f->store, 0) == UINT64_MAX);
    commit_number(f->wal, 0, 10);
}

/* ---- Many threads ------------------------------------------------------------------------------------ */

struct visitor {
    struct fixture *f;
    pthread_t thread;
    unsigned number;
    int rc;
};

/* Makes, uses, deletes and lists logs whose names it shares with the others. */
static void *visit_logs(void *argument)
{
    struct visitor *visitor = argument;
    struct store *store = visitor->f->store;
    for (unsigned i = 0; i < 40 && visitor->rc == 0; i++) {
        char name[16];
        name_log(name, (i + visitor->number) % 5);
        struct wal *wal;
        int rc = store_get(store, name, true, &wal);
        if (rc == 0) {
            struct wal_record record = {.data = "x", .size = 1};
            struct wal_token token;
            int append = wal_append(wal, &record, 1, NULL, NULL, &token);
            if (append == 0)
                append = wal_wait(wal, token, FIXTURE_PATIENCE_US);
            if (append < 0 && append != -ESHUTDOWN)
                visitor->rc = append;
            store_put(store, wal);
        } else if (rc != -EMFILE) {
            visitor->rc = rc;
        }
        if (i % 8 == visitor->number) {
            rc = store_delete(store, name);
            if (rc < 0 && rc != -ENOENT)
                visitor->rc = rc;
        }
        if (i % 16 == 3) {
            struct names names = {0};
            if (store_list(store, "", "", add_name, &names) < 0)
                visitor->rc = -EPROTO;
        }
    }
    return NULL;
}

/* What is refused, deleted or tried again with a name that stands does not count; a start counts anew. */
static void no_more_logs_are_made_than_there_may_be(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.log_count_max = 2;
    fixture_open(f);
    struct wal *wal;
    fixture_get(f, "a", true);
    fixture_get(f, "b", true);
    assert_int_equal(store_get(f->store, "c", true, &wal), -EMLINK);
    assert_int_equal(store_create(f->store, "c", NULL, 0, &wal), -EMLINK);
    assert_int_equal(store_create(f->store, "b", NULL, 0, &wal), -EEXIST);
    assert_int_equal(store_get(f->store, "c", false, &wal), -ENOENT);
    assert_int_equal(store_stats_of(f).logs, 2);

    assert_int_equal(store_delete(f->store, "a"), 0);
    assert_int_equal(store_delete(f->store, "a"), -ENOENT);
    assert_int_equal(store_stats_of(f).logs, 1);
    fixture_get(f, "c", true);
    assert_int_equal(store_get(f->store, "a", true, &wal), -EMLINK);

    assert_int_equal(fixture_close(f), 0);
    fixture_open(f);
    assert_int_equal(store_stats_of(f).logs, 2);
    assert_int_equal(store_get(f->store, "a", true, &wal), -EMLINK);
    fixture_get(f, "b", false);
}

/* Everything at once, with too few places: each call ends in one of its documented ways. */
static void threads_may_make_use_and_delete_the_same_logs(void **state)
{
    struct fixture *f = fixture_of(state);
    f->config.logs_max = 4;
    f->config.write_handles_max = 2;
    fixture_open(f);
    struct visitor visitors[4];
    for (unsigned i = 0; i < ARRAY_SIZE(visitors); i++) {
        visitors[i] = (struct visitor){.f = f, .number = i};
        assert_int_equal(pthread_create(&visitors[i].thread, NULL, visit_logs, &visitors[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(visitors); i++) {
        pthread_join(visitors[i].thread, NULL);
        assert_int_equal(visitors[i].rc, 0);
    }
    assert_int_equal(fixture_close(f), 0);
    fixture_open(f);
    for (unsigned i = 0; i < 5; i++) {
        char name[16];
        name_log(name, i);
        struct wal *wal;
        int rc = store_get(f->store, name, false, &wal);
        assert_true(rc == 0 || rc == -ENOENT);
        if (rc == 0) {
            assert_true(stats_of(wal).recovery.clean);
            store_put(f->store, wal);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(names_are_letters_digits_and_three_marks),
        ON_ALL(names_differ_by_case),
        ON_ALL(a_log_is_made_when_asked_for),
        ON_ALL(a_new_log_must_be_new_and_begins_with_its_state),
        ON_ALL(a_log_with_impossible_state_is_not_made),
        ON_ALL(a_log_made_again_is_another_log),
        ON_ALL(a_log_knows_when_it_was_made_and_keeps_a_pointer),
        ON_ALL(who_holds_a_deleted_log_is_told),
        ON_SIM(a_deleted_log_leaves_nothing_behind),
        ON_SIM(a_cut_while_making_or_deleting_leaves_all_or_nothing),
        ON_ALL(logs_are_listed_in_order),
        ON_ALL(idle_logs_make_room_for_others),
        ON_ALL(no_more_logs_are_made_than_there_may_be),
        ON_SIM(a_thousand_logs_share_eight_handles),
        ON_ALL(logs_take_turns_at_few_handles),
        ON_DISKS(appends_without_a_descriptor_are_refused_until_there_is_one),
        ON(driven, appends_without_a_descriptor_are_refused_until_there_is_one),
        ON_DISKS(quiet_logs_give_up_their_descriptors_first),
        ON_SIM(an_idle_log_costs_at_most_4096_bytes),
        ON_ALL(a_drained_store_reads_and_takes_nothing),
        ON_SIM(a_failed_log_can_be_opened_again),
        ON_DISKS(logs_are_spread_over_committers_by_name),
        ON(driven, a_poll_loop_can_drive_the_store),
        ON(driven, a_poll_loop_is_woken_for_a_write_that_is_sent_again),
        ON_DISKS(a_store_with_threads_is_not_driven),
        ON_DISKS(threads_may_make_use_and_delete_the_same_logs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
