/*
 * Files that stay open for whoever reads there next: a few, no longer than somebody reads there, and no
 * longer than they are the log's, whose space they would keep.
 */
#include "tests/support/store_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/log.h"

enum { COUNT = 200, RECORD_BYTES = 100 };

/* Those of this process that have these words in their names. */
static unsigned open_files(const char *words)
{
    DIR *files = opendir("/proc/self/fd");
    unsigned count = 0;
    assert_non_null(files);
    for (const struct dirent *file; (file = readdir(files));) {
        char name[512];
        ssize_t bytes = readlinkat(dirfd(files), file->d_name, name, sizeof(name) - 1);
        name[bytes > 0 ? bytes : 0] = '\0';
        count += strstr(name, words) != NULL;
    }
    closedir(files);
    return count;
}

/* A log of some segments, no file of which is kept for readers. */
static struct fixture *start(void **state, bool pack)
{
    struct fixture *f = fixture_of(state);
    f->config.pack = pack;
    f->config.log.segment_bytes = 128 << 10;
    fixture_begin(f);
    assert_true(store_close_unread(f->store) == UINT64_MAX);
    return f;
}

static void append_all(struct fixture *f)
{
    for (uint64_t i = 0; i < COUNT; i++)
        commit_number(f->wal, i, RECORD_BYTES);
    assert_true(stats_of(f->wal).segments >= 4);
}

static bool no_removed_file_is_open(void *context)
{
    return open_files(".seg (deleted)") == 0;
}

static bool first_segment_is_gone(void *context)
{
    struct fixture *f = context;
    return access(fixture_segment(f, FIXTURE_LOG, 0), F_OK) != 0;
}

static bool nobody_has_read_for_long(void *context)
{
    struct fixture *f = context;
    return store_close_unread(f->store) == UINT64_MAX;
}

static void a_file_is_kept_for_the_next_reader_and_then_closed(void **state)
{
    struct fixture *f = start(state, false);
    append_all(f);
    unsigned before = open_files(".seg");
    expect_numbers(f, f->wal, 0, COUNT, RECORD_BYTES);
    unsigned kept = open_files(".seg") - before;
    assert_in_range(kept, 1, READ_HANDLES_MAX);
    expect_numbers(f, f->wal, 0, COUNT, RECORD_BYTES);
    assert_int_equal(open_files(".seg") - before, kept);
    assert_in_range(store_close_unread(f->store), 1, 1000000);
    assert_int_equal(open_files(".seg") - before, kept);

    assert_true(fixture_until(f, nobody_has_read_for_long, f));
    assert_int_equal(open_files(".seg"), before);
    expect_numbers(f, f->wal, 0, COUNT, RECORD_BYTES);
}

static void there_are_no_more_than_so_many(void **state)
{
    struct fixture *f = start(state, false);
    for (uint64_t i = 0; i < 32 * (READ_HANDLES_MAX + 2); i++)
        commit_number(f->wal, i, RECORD_BYTES);
    unsigned before = open_files(".seg");
    assert_true(stats_of(f->wal).segments > READ_HANDLES_MAX);
    expect_numbers(f, f->wal, 0, 32 * (READ_HANDLES_MAX + 2), RECORD_BYTES);
    assert_in_range(open_files(".seg") - before, 1, READ_HANDLES_MAX);
}

static void it_goes_when_its_segment_is_trimmed(void **state)
{
    struct fixture *f = start(state, false);
    struct wal_token token;
    append_all(f);
    expect_numbers(f, f->wal, 0, COUNT, RECORD_BYTES);
    assert_int_equal(wal_trim(f->wal, COUNT - 1, NULL, &token), 0);
    assert_int_equal(wait_for(f->wal, token), 0);
    assert_true(fixture_until(f, first_segment_is_gone, f));
    assert_true(fixture_until(f, no_removed_file_is_open, NULL));
}

static void it_goes_when_its_log_is_deleted(void **state)
{
    struct fixture *f = start(state, false);
    append_all(f);
    unsigned before = open_files(".seg");
    expect_numbers(f, f->wal, 0, COUNT, RECORD_BYTES);
    assert_true(open_files(".seg") > before);
    assert_int_equal(store_delete(f->store, FIXTURE_LOG), 0);
    assert_true(fixture_until(f, no_removed_file_is_open, NULL));
}

/* What is read while segments are packed keeps files of which some are replaced meanwhile. */
static void it_goes_when_its_segment_is_packed(void **state)
{
    struct fixture *f = start(state, true);
    for (uint64_t i = 0; i < COUNT; i++) {
        commit_number(f->wal, i, RECORD_BYTES);
        expect_numbers(f, f->wal, i > 40 ? i - 40 : 0, i + 1, RECORD_BYTES);
    }
    fixture_settle(f);
    assert_true(totals_of(f).packs > 0);
    assert_int_equal(open_files(".seg (deleted)"), 0);
    expect_numbers(f, f->wal, 0, COUNT, RECORD_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DISKS(a_file_is_kept_for_the_next_reader_and_then_closed),
        ON_DISKS(there_are_no_more_than_so_many),
        ON_DISKS(it_goes_when_its_segment_is_trimmed),
        ON_DISKS(it_goes_when_its_log_is_deleted),
        ON_DISKS(it_goes_when_its_segment_is_packed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
